"""The grid that shows a `TableModel`: rows of a fixed height, columns that can be frozen at the left.

Everything in it is made for tables of millions of rows: no height is ever computed, no width is measured
over more rows than are on screen, and it says which rows those are (`rows_shown`), so that only they
are read. Frozen columns are a second view on the same model, laid over the left edge.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPoint, QRect, Qt, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QFontMetrics,
    QGuiApplication,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)
from typing_extensions import override

from casparian.ui import theme
from casparian.ui.table_model import PAGE_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.ui.table_model import TableModel

_PADDING = theme.GRID
_NARROWEST_CHAR = 3
"""No character of the font is narrower, px: more of a text than width / this cannot be seen."""
_MOST_CHARS = 26
_MEASURED_ROWS = 64
_MEASURED_CELLS = 1_000
_FITTED_COLUMNS = 100
"""Columns that get a width of their own; to measure thousands would hold up the window."""


class _CellPainter(QStyledItemDelegate):
    """Paints a cell: the style sheet's own way costs three times as much, and there are a thousand."""

    @override
    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        view = self.parent()
        assert isinstance(view, QTableView)  # noqa: S101  (it is made with its view as the parent)
        area: QRect = option.rect
        current = view.currentIndex()
        is_selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if is_selected:
            painter.fillRect(area, theme.color("select"))
        elif current.isValid() and index.row() == current.row():
            painter.fillRect(area, theme.color("hover"))
        width = area.width() - 2 * _PADDING
        text = str(index.data() or "")[: max(width, 0) // _NARROWEST_CHAR + 2]
        font = index.data(Qt.ItemDataRole.FontRole)
        if font is not None:
            painter.save()
            painter.setFont(font)
        painter.setPen(index.data(Qt.ItemDataRole.ForegroundRole) or theme.color("ink"))
        painter.drawText(
            area.adjusted(_PADDING, 0, -_PADDING, 0),
            index.data(Qt.ItemDataRole.TextAlignmentRole),
            painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, width),
        )
        if font is not None:
            painter.restore()
        if index == current and view.hasFocus():
            painter.setPen(QPen(theme.color("accent"), 1))
            painter.drawRect(area.adjusted(0, 0, -1, -1))


class Grid(QTableView):
    """A table of any length.

    Signals:
        rows_shown: first and last row on screen, whenever they change.
        header_menu_wanted: logical index of a column and where on the screen, on a right click.
        cell_menu_wanted: where on the screen; the cell is the current one.
        sort_wanted: logical index of a column, and whether it is to be added to the keys.
        row_opened: nothing; Enter or a double click on the current row.
    """

    rows_shown = Signal(int, int)
    header_menu_wanted = Signal(int, QPoint)
    cell_menu_wanted = Signal(QPoint)
    sort_wanted = Signal(int, bool)
    row_opened = Signal()

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName("Rows")
        self._frozen_count = 0
        self._empty_text = ""
        self._frozen = QTableView(self)
        self._frozen.setObjectName(f"{name}_frozen")
        self._frozen.setAccessibleName("Frozen columns")
        self._edge = QFrame(self)
        self._edge.setProperty("look", "rule")
        self._edge.hide()
        for view in (self, self._frozen):
            _set_up(view)
        self._set_up_frozen()
        self.verticalScrollBar().valueChanged.connect(self._say_rows_shown)
        self.verticalScrollBar().rangeChanged.connect(self._say_rows_shown)
        self.horizontalHeader().sectionResized.connect(self._on_resized)
        self.horizontalHeader().sectionMoved.connect(self._on_moved)

    def show_model(self, model: TableModel) -> None:
        """Show a model, for good."""
        self.setModel(model)
        self._frozen.setModel(model)
        self._frozen.setSelectionModel(self.selectionModel())
        self.selectionModel().currentChanged.connect(self._on_current_changed)
        model.modelReset.connect(self._on_reset)
        model.page_arrived.connect(self.viewport().update)

    # columns

    def freeze(self, columns: int) -> None:
        """Keep so many of the first visible columns in sight; 0 lets all of them scroll."""
        self._frozen_count = columns
        self._on_moved(0, 0, 0)
        self._lay_out_frozen()

    @property
    def frozen_columns(self) -> int:
        """How many columns stay in sight."""
        return self._frozen_count

    def columns_in_order(self) -> list[int]:
        """Return the visible columns' logical indexes as they stand, from left to right."""
        header = self.horizontalHeader()
        order = (header.logicalIndex(visual) for visual in range(header.count()))
        return [one for one in order if not header.isSectionHidden(one)]

    def show_columns(self, shown: Sequence[bool]) -> None:
        """Show those columns whose place, by logical index, holds True; hide the others."""
        for column, is_shown in enumerate(shown):
            if self.isColumnHidden(column) is is_shown:
                self.setColumnHidden(column, not is_shown)
        self._lay_out_frozen()

    def fit_columns(self, least: dict[int, int]) -> None:
        """Give each column a width that fits its header and what the first page holds.

        Args:
            least: by logical index, the characters that a column needs whatever the page holds.
        """
        model, metrics = self.model(), self.fontMetrics()
        columns = max(model.columnCount(), 1)
        # Some rows of the first page, all over it: they differ more than neighbours do.
        measured = max(2, min(_MEASURED_ROWS, _MEASURED_CELLS // columns))
        page = min(model.rowCount(), PAGE_ROWS)
        rows = range(0, page, max(1, page // measured))
        for column in range(min(model.columnCount(), _FITTED_COLUMNS)):
            texts = (str(model.index(row, column).data() or "")[:_MOST_CHARS] for row in rows)
            widest = max((metrics.horizontalAdvance(one) for one in texts), default=0)
            typed = metrics.horizontalAdvance("0") * least.get(column, 0)
            room = max(widest, typed) + 2 * _PADDING + 4
            self.setColumnWidth(column, max(room, self._header_width(column)))

    def order_columns(self, columns: Sequence[int]) -> None:
        """Put columns, by logical index, at the left in this order; the others follow as they stand."""
        header = self.horizontalHeader()
        for visual, column in enumerate(columns):
            header.moveSection(header.visualIndex(column), visual)

    def widen_to_header(self, column: int) -> None:
        """Give a column the room that its header needs with the marks it has now."""
        needed = self._header_width(column)
        if self.columnWidth(column) < needed:
            self.setColumnWidth(column, needed)

    def _header_width(self, column: int) -> int:
        model, header = self.model(), self.horizontalHeader()
        text = model.headerData(column, Qt.Orientation.Horizontal)
        mark = model.headerData(column, Qt.Orientation.Horizontal, Qt.ItemDataRole.DecorationRole)
        icon = 0 if mark is None else self.style().pixelMetric(QStyle.PixelMetric.PM_SmallIconSize)
        width = QFontMetrics(header.font()).horizontalAdvance(str(text))
        return width + (icon + 6 if icon else 0) + 2 * _PADDING + 4

    # rows

    def say_when_empty(self, text: str) -> None:
        """Say a sentence where the rows would be, as long as there are none."""
        self._empty_text = text
        self.viewport().update()

    def go_to(self, row: int) -> None:
        """Bring a row to the middle and make it current."""
        model = self.model()
        column = self.currentIndex().column()
        if column < 0 or self.isColumnHidden(column):
            column = self._first_column()
        if not 0 <= row < model.rowCount() or column < 0:
            return
        index = model.index(row, column)
        self.setCurrentIndex(index)
        self.scrollTo(index, QAbstractItemView.ScrollHint.PositionAtCenter)

    def _rows_on_screen(self) -> tuple[int, int]:
        first = max(self.rowAt(0), 0)
        last = self.rowAt(self.viewport().height() - 1)
        rows = self._rows()
        return first, last if last >= 0 else rows - 1

    def _first_column(self) -> int:
        """Return the logical index of the visible column at the left; -1 for none."""
        header = self.horizontalHeader()
        order = (header.logicalIndex(visual) for visual in range(header.count()))
        return next((one for one in order if not header.isSectionHidden(one)), -1)

    def _rows(self) -> int:
        return self.verticalHeader().count()

    def _say_rows_shown(self) -> None:
        first, last = self._rows_on_screen()
        if last >= first:
            self.rows_shown.emit(first, last)

    def _on_reset(self) -> None:
        digits = len(f"{self.model().rowCount():,}")
        width = self.fontMetrics().horizontalAdvance("0") * max(digits, 2) + 2 * _PADDING
        self.verticalHeader().setFixedWidth(width)
        self._lay_out_frozen()
        self._say_rows_shown()

    def _on_current_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        # The whole row is tinted, not only the cell that Qt repaints.
        for index in (current, previous):
            if index.isValid():
                y = self.rowViewportPosition(index.row())
                for view in (self, self._frozen):
                    view.viewport().update(0, y, view.viewport().width(), theme.ROW_HEIGHT)

    # Qt

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place_frozen()
        self._say_rows_shown()

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self._empty_text and not self._rows():
            painter = QPainter(self.viewport())
            painter.setPen(theme.color("faint"))
            area = self.viewport().rect().adjusted(16, 16, -16, -16)
            painter.drawText(area, Qt.AlignmentFlag.AlignHCenter, self._empty_text)
            painter.end()

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if Qt.Key(event.key()) in {Qt.Key.Key_Return, Qt.Key.Key_Enter} and not event.modifiers():
            self.row_opened.emit()
            return
        super().keyPressEvent(event)

    @override
    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        if not self.currentIndex().isValid() and self._rows():
            column = self._first_column()
            if column >= 0:
                self.setCurrentIndex(self.model().index(0, column))
        self.viewport().update()

    @override
    def scrollTo(
        self,
        index: QModelIndex | QPersistentModelIndex,
        hint: QAbstractItemView.ScrollHint = QAbstractItemView.ScrollHint.EnsureVisible,
    ) -> None:
        super().scrollTo(index, hint)
        # A cell may be in the viewport and yet lie under the frozen columns.
        if (
            not self._frozen_count
            or index.column() in self.columns_in_order()[: self._frozen_count]
        ):
            return
        hidden = self._frozen_width() - self.columnViewportPosition(index.column())
        if hidden > 0:
            bar = self.horizontalScrollBar()
            bar.setValue(bar.value() - hidden)

    # frozen columns

    def _set_up_frozen(self) -> None:
        frozen = self._frozen
        frozen.setFocusProxy(self)
        frozen.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        frozen.setFrameShape(QFrame.Shape.NoFrame)
        frozen.verticalHeader().hide()
        frozen.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        frozen.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        frozen.hide()
        frozen.verticalScrollBar().valueChanged.connect(self.verticalScrollBar().setValue)
        self.verticalScrollBar().valueChanged.connect(frozen.verticalScrollBar().setValue)
        for view in (self, frozen):
            header = view.horizontalHeader()
            header.sectionClicked.connect(self._on_header_clicked)
            header.customContextMenuRequested.connect(partial(self._on_header_menu, header))
            view.customContextMenuRequested.connect(partial(self._on_cell_menu, view))
            view.doubleClicked.connect(self.row_opened)
        frozen.horizontalHeader().sectionResized.connect(self._on_frozen_resized)

    def _lay_out_frozen(self) -> None:
        if not self._frozen_count and self._frozen.isHidden():
            return
        frozen = set(self.columns_in_order()[: self._frozen_count])
        header = self._frozen.horizontalHeader()
        # Showing a section announces a width of its own, which must not become that of the real one.
        header.blockSignals(True)  # noqa: FBT003  (Qt's own signature)
        for column in range(self.horizontalHeader().count()):
            self._frozen.setColumnHidden(column, column not in frozen)
            if column in frozen:
                self._frozen.setColumnWidth(column, self.columnWidth(column))
        header.blockSignals(False)  # noqa: FBT003  (as above)
        self._frozen.setVisible(bool(frozen))
        self._edge.setVisible(bool(frozen))
        self._place_frozen()

    def _frozen_width(self) -> int:
        return sum(self.columnWidth(one) for one in self.columns_in_order()[: self._frozen_count])

    def _place_frozen(self) -> None:
        if self._frozen.isHidden():
            return
        # The style gives every table a border, the frozen one too: it must not shift its cells.
        frame, border = self.frameWidth(), self._frozen.frameWidth()
        left, width = self.verticalHeader().width() + frame, self._frozen_width()
        height = self.viewport().height() + self.horizontalHeader().height()
        self._frozen.horizontalHeader().setFixedHeight(self.horizontalHeader().height())
        self._frozen.setGeometry(
            left - border, frame - border, width + 2 * border, height + 2 * border
        )
        self._edge.setGeometry(left + width - 1, frame, 2, height)
        self._frozen.verticalScrollBar().setValue(self.verticalScrollBar().value())
        self._frozen.raise_()
        self._edge.raise_()

    def _on_resized(self, column: int, _old: int, width: int) -> None:
        if not self._frozen.isHidden() and not self._frozen.isColumnHidden(column):
            self._frozen.setColumnWidth(column, width)
            self._place_frozen()

    def _on_frozen_resized(self, column: int, _old: int, width: int) -> None:
        if width and self.columnWidth(column) != width:
            self.setColumnWidth(column, width)

    def _on_moved(self, _column: int, _old: int, _new: int) -> None:
        if not self._frozen_count:
            return
        header, frozen = self.horizontalHeader(), self._frozen.horizontalHeader()
        for visual in range(header.count()):
            frozen.moveSection(frozen.visualIndex(header.logicalIndex(visual)), visual)
        self._lay_out_frozen()

    # headers and menus

    def _on_header_clicked(self, column: int) -> None:
        held = QGuiApplication.keyboardModifiers()
        self.sort_wanted.emit(column, bool(held & Qt.KeyboardModifier.ShiftModifier))

    def _on_header_menu(self, header: QHeaderView, at: QPoint) -> None:
        self.header_menu_wanted.emit(header.logicalIndexAt(at), header.mapToGlobal(at))

    def _on_cell_menu(self, view: QTableView, at: QPoint) -> None:
        index = view.indexAt(at)
        if index.isValid():
            if not self.selectionModel().isSelected(index):
                self.setCurrentIndex(index)
            self.cell_menu_wanted.emit(view.viewport().mapToGlobal(at))


def _set_up(view: QTableView) -> None:
    rows, columns = view.verticalHeader(), view.horizontalHeader()
    rows.setAccessibleName("Row numbers")
    columns.setAccessibleName("Columns")
    rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    rows.setDefaultSectionSize(theme.ROW_HEIGHT)
    rows.setMinimumSectionSize(theme.ROW_HEIGHT)
    rows.setDefaultAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    rows.setHighlightSections(False)
    columns.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
    columns.setMinimumSectionSize(32)
    columns.setDefaultSectionSize(144)
    columns.setSectionsMovable(True)
    columns.setSectionsClickable(True)
    columns.setHighlightSections(False)
    columns.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
    columns.setTextElideMode(Qt.TextElideMode.ElideRight)
    view.setItemDelegate(_CellPainter(view))
    view.setWordWrap(False)
    view.setCornerButtonEnabled(False)
    view.setTabKeyNavigation(False)
    view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectItems)
    view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerItem)
    view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
