"""Tables of records: what a column shows of a record is said once, and model and view follow.

`RecordModel` holds all its rows; `PagedModel` holds the pages around what is on screen and asks for the
others when the view says what it shows, never from `data()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    QTimer,
    Signal,
    Slot,
)
from PySide6.QtGui import (
    QColor,
    QGuiApplication,
    QIcon,
    QKeyEvent,
    QKeySequence,
    QPainter,
    QPalette,
    QResizeEvent,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)
from typing_extensions import override

from casparian.domain.evidence import shown_text
from casparian.ui import icons, theme

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

R = TypeVar("R")
AnyIndex = QModelIndex | QPersistentModelIndex

RECORD_ROLE = int(Qt.ItemDataRole.UserRole)
"""The record itself."""
FRACTION_ROLE = RECORD_ROLE + 1
"""How full a bar is: 0 to 1, or -1 where it cannot be known; None for no bar."""
MAX_ROWS = 50_000_000
"""More rows than this overflow QTableView's header at 24 pixels a row, and hang it."""
PAGE = 256
_KEPT_PAGES = 64


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """What one column shows of a record."""

    title: str
    text: Callable[[R], str]
    """One line for people; escaped by the model."""
    width: int = 120
    tip: Callable[[R], str] | None = None
    whole: Callable[[R], str] | None = None
    """What is copied, where the text is shortened."""
    state: Callable[[R], tuple[str, theme.Token]] | None = None
    """The icon and the colour that go with the text; the text says the same in words."""
    fraction: Callable[[R], float | None] | None = None
    """Draws a bar behind the text (see FRACTION_ROLE)."""
    right: bool = False
    faint: bool = False
    mono: bool = False
    sort: str = ""
    """The key that a service sorts by; empty where it cannot."""


class RecordModel(QAbstractTableModel, Generic[R]):
    """Rows of records; `key` tells which row is which when they are replaced."""

    def __init__(
        self,
        columns: Sequence[Column[R]],
        key: Callable[[R], Hashable],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.columns = tuple(columns)
        self.key = key
        self._rows: list[R] = []
        self._row_by_key: dict[Hashable, int] = {}

    def replace(self, rows: Sequence[R]) -> None:
        """Show these rows; if they are the same things as before, only what changed is redrawn."""
        new = list(rows)
        if [self.key(row) for row in new] == [self.key(row) for row in self._rows]:
            changed = [n for n, (a, b) in enumerate(zip(self._rows, new, strict=True)) if a != b]
            self._rows = new
            if changed:
                last = len(self.columns) - 1
                self.dataChanged.emit(self.index(changed[0], 0), self.index(changed[-1], last))
            return
        self.beginResetModel()
        self._rows = new
        self._row_by_key = {self.key(new[at]): at for at in reversed(range(len(new)))}
        self.endResetModel()

    def record(self, row: int) -> R | None:
        """The record of a row; None if it is not here (yet)."""
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def row_of(self, key: Hashable) -> int:
        """The row of a thing, or -1."""
        return self._row_by_key.get(key, -1)

    def put(self, row: int, record: R) -> None:
        """Show another state of the thing in a row."""
        self._rows[row] = record
        self.dataChanged.emit(self.index(row, 0), self.index(row, len(self.columns) - 1))

    @override
    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self._rows)

    @override
    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self.columns)

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation is Qt.Orientation.Horizontal and section < len(self.columns):
            column = self.columns[section]
            if role == Qt.ItemDataRole.DisplayRole:
                return column.title
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(column)
        return None

    @override
    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        record = self.record(index.row()) if index.isValid() else None
        if record is None:
            return None
        show = _SHOWN.get(role)
        return show(self.columns[index.column()], record) if show is not None else None

    def copied(self, index: AnyIndex) -> str:
        """What copying a cell gives: the whole value, not what fits."""
        record = self.record(index.row())
        if record is None:
            return ""
        column = self.columns[index.column()]
        return (column.whole or column.text)(record)


class PagedModel(RecordModel[R]):
    """Rows that lie elsewhere: only the pages around what is on screen are here.

    Signals:
        page_wanted: (offset, limit) of a page that the screen shows and that is not here.
    """

    page_wanted = Signal(int, int)

    def __init__(
        self,
        columns: Sequence[Column[R]],
        key: Callable[[R], Hashable],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(columns, key, parent)
        self._total = 0
        self._pages: dict[int, Sequence[R]] = {}
        self._asked: set[int] = set()

    def start(self, total: int, first: Sequence[R]) -> None:
        """Show another result, whose first page is known."""
        shown = min(total, MAX_ROWS)
        same_size = shown == self._total
        if not same_size:
            self.beginResetModel()
        self._total = shown
        self._pages = {0: first}
        self._asked = set()
        if not same_size:
            self.endResetModel()
        elif shown:
            self.dataChanged.emit(self.index(0, 0), self.index(shown - 1, len(self.columns) - 1))

    def put_page(self, offset: int, rows: Sequence[R]) -> None:
        """A page has come."""
        page = offset // PAGE
        self._asked.discard(page)
        self._pages.pop(page, None)
        self._pages[page] = rows
        while len(self._pages) > _KEPT_PAGES:
            del self._pages[next(iter(self._pages))]
        if rows:
            last = min(offset + len(rows), self._total) - 1
            self.dataChanged.emit(self.index(offset, 0), self.index(last, len(self.columns) - 1))

    def want(self, first: int, last: int) -> None:
        """The screen shows these rows; ask for what of them is missing."""
        for page in range(max(first, 0) // PAGE, min(last, self._total - 1) // PAGE + 1):
            if page not in self._pages and page not in self._asked:
                self._asked.add(page)
                self.page_wanted.emit(page * PAGE, PAGE)

    @override
    def replace(self, rows: Sequence[R]) -> None:
        self.start(len(rows), rows)

    @override
    def record(self, row: int) -> R | None:
        rows = self._pages.get(row // PAGE, ())
        at = row % PAGE
        return rows[at] if 0 <= at < len(rows) else None

    @override
    def row_of(self, key: Hashable) -> int:
        for page, rows in self._pages.items():
            for at, row in enumerate(rows):
                if self.key(row) == key:
                    return page * PAGE + at
        return -1

    @override
    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:
        return 0 if parent.isValid() else self._total


class RecordTable(QTableView, Generic[R]):
    """A table view in the house's look: fixed rows, whole-row selection, copy of whole values.

    Signals:
        chosen: the record that the current row shows, or None.
        selection_changed: which rows are selected.
        opened: a record that was double-clicked or entered.
        sort_wanted: (key, descending), where the model's column can be sorted by its service.
    """

    chosen = Signal(object)
    selection_changed = Signal()
    opened = Signal(object)
    sort_wanted = Signal(str, bool)

    def __init__(
        self, model: RecordModel[R], name: str, title: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(title)
        self._model = model
        self._current: Hashable = None
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(0)
        self._settle.timeout.connect(self._on_settled)
        self._dress()
        self.setModel(model)
        for at, column in enumerate(model.columns):
            self.setColumnWidth(at, column.width)
        self.selectionModel().currentRowChanged.connect(self._on_row_changed)
        self.selectionModel().selectionChanged.connect(self.selection_changed)
        self.activated.connect(self._on_activated)
        model.modelReset.connect(self._on_model_reset)
        model.dataChanged.connect(self._on_scrolled)
        self.verticalScrollBar().valueChanged.connect(self._on_scrolled)

    def _dress(self) -> None:
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setCornerButtonEnabled(False)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setItemDelegate(_Delegate(self))
        rows = self.verticalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(theme.ROW_HEIGHT)
        rows.setMinimumSectionSize(theme.ROW_HEIGHT)
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setStretchLastSection(not self._model.columns[-1].right)
        head.setFixedHeight(theme.ROW_HEIGHT)
        head.setMinimumSectionSize(40)
        head.setSectionsMovable(True)
        head.setFont(theme.font(theme.SMALL))
        sortable = any(column.sort for column in self._model.columns)
        head.setSectionsClickable(sortable)
        if sortable:
            head.setSortIndicatorShown(True)
            head.setSortIndicatorClearable(False)
            head.setSortIndicator(0, Qt.SortOrder.AscendingOrder)
            head.sortIndicatorChanged.connect(self._on_sort_changed)

    def current(self) -> R | None:
        """The record of the current row."""
        return self._model.record(self.currentIndex().row())

    def selected(self) -> list[R]:
        """The records of the selected rows that are here."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [one for row in rows if (one := self._model.record(row)) is not None]

    def choose(self, key: Hashable) -> None:
        """Make the row of a thing the current one, if it is here."""
        self._current = key
        if (row := self._model.row_of(key)) >= 0:
            self.setCurrentIndex(self._model.index(row, 0))

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        else:
            super().keyPressEvent(event)

    def copy(self) -> None:
        """Copy the selected rows as lines of tab-separated whole values; one cell if one row is chosen."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        if len(rows) <= 1 and self.currentIndex().isValid():
            QGuiApplication.clipboard().setText(self._model.copied(self.currentIndex()))
            return
        wide = range(len(self._model.columns))
        lines = [
            "\t".join(self._model.copied(self._model.index(row, at)) for at in wide) for row in rows
        ]
        QGuiApplication.clipboard().setText("\n".join(lines))

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._settle.start()

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._settle.start()

    @Slot()
    def _on_scrolled(self) -> None:
        # Not the timer's own slot: it would take the signal's number for its interval.
        self._settle.start()

    @Slot()
    def _on_settled(self) -> None:
        if isinstance(self._model, PagedModel) and self.isVisible():
            first = self.rowAt(0)
            last = self.rowAt(self.viewport().height() - 1)
            self._model.want(first, last if last >= 0 else self._model.rowCount() - 1)

    @Slot()
    def _on_model_reset(self) -> None:
        self._settle.start()
        if self._current is not None:
            self.choose(self._current)

    @Slot(QModelIndex, QModelIndex)
    def _on_row_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        record = self._model.record(current.row())
        if record is not None:
            self._current = self._model.key(record)
        self.chosen.emit(record)

    @Slot(QModelIndex)
    def _on_activated(self, index: QModelIndex) -> None:
        if (record := self._model.record(index.row())) is not None:
            self.opened.emit(record)

    @Slot(int, Qt.SortOrder)
    def _on_sort_changed(self, section: int, order: Qt.SortOrder) -> None:
        if key := self._model.columns[section].sort:
            self.sort_wanted.emit(key, order is Qt.SortOrder.DescendingOrder)


class _Delegate(QStyledItemDelegate):
    """Draws cells without a focus frame, and a bar under those that have a fraction."""

    @override
    def initStyleOption(self, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        super().initStyleOption(option, index)
        option.decorationSize = QSize(16, 16)
        # A state keeps its colour in a selected row.
        ink = index.data(Qt.ItemDataRole.ForegroundRole)
        if ink is not None:
            option.palette.setColor(QPalette.ColorRole.HighlightedText, ink)

    @override
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        super().paint(painter, option, index)
        fraction = index.data(FRACTION_ROLE)
        if fraction is not None:
            rect: QRect = option.rect
            draw_bar(painter, rect.adjusted(8, rect.height() - 4, -8, -2), fraction)


def draw_bar(painter: QPainter, rect: QRect, fraction: float) -> None:
    """A thin progress bar; a dotted one where the total is not known: no guess."""
    painter.save()
    painter.fillRect(rect, theme.color("line"))
    if fraction < 0:
        step = 4
        for left in range(rect.left(), rect.right(), 2 * step):
            painter.fillRect(QRect(left, rect.top(), step, rect.height()), theme.color("busy"))
    else:
        full = round(rect.width() * min(fraction, 1.0))
        painter.fillRect(QRect(rect.topLeft(), QSize(full, rect.height())), theme.color("busy"))
    painter.restore()


def _alignment(column: Column[Any]) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column.right else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _tip(column: Column[R], record: R) -> str | None:
    text = (column.tip or column.text)(record)
    # Rich text is guessed from the text itself; a file name must not become markup.
    return f"<qt>{_escaped(shown_text(text))}</qt>" if text else None


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _ink(column: Column[R], record: R) -> QColor | None:
    if column.state is not None:
        return theme.color(column.state(record)[1])
    return theme.color("faint") if column.faint else None


def _sign(column: Column[R], record: R) -> QIcon | None:
    return icons.icon(*column.state(record)) if column.state is not None else None


_SHOWN: dict[int, Callable[[Column[Any], Any], Any]] = {
    Qt.ItemDataRole.DisplayRole: lambda column, record: shown_text(column.text(record)),
    Qt.ItemDataRole.ToolTipRole: _tip,
    Qt.ItemDataRole.TextAlignmentRole: lambda column, _: _alignment(column),
    Qt.ItemDataRole.ForegroundRole: _ink,
    Qt.ItemDataRole.DecorationRole: _sign,
    Qt.ItemDataRole.FontRole: lambda column, _: (
        theme.font(theme.SMALL, mono=True) if column.mono else None
    ),
    RECORD_ROLE: lambda _, record: record,
    FRACTION_ROLE: lambda column, record: (
        column.fraction(record) if column.fraction is not None else None
    ),
}
