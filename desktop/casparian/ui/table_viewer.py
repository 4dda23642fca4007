"""The table viewer: rows of a table or of a query's result, narrowed and ordered by the database.

What is shown is a `Shape` (filters, search, order). A change of it opens another view off the GUI thread;
until that is here the old rows stay on screen, and Cancel keeps them. The viewer does not know where
views come from: whoever makes it gives an `Opener`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QItemSelectionRange, QModelIndex, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QHBoxLayout,
    QInputDialog,
    QMenu,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE_COLUMNS
from casparian.domain.errors import CasparianError, UserProblem
from casparian.domain.evidence import shown_text
from casparian.domain.results import Filter, Sort
from casparian.ui import filters, formats, icons, parts, theme
from casparian.ui.column_chooser import ColumnChooser
from casparian.ui.column_layout import ColumnLayout
from casparian.ui.filter_bar import FilterChips, FilterEditor
from casparian.ui.grid import Grid
from casparian.ui.problems import Banner
from casparian.ui.table_model import PAGE_ROWS, Page, TableModel, is_number, read_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from PySide6.QtGui import QAction

    from casparian.catalog.reader import View
    from casparian.domain.results import ColumnInfo
    from casparian.ui.tasks import Tasks

    Opener = Callable[["Shape", CancelToken], View]

MOST_COPIED = 100_000
"""Rows that the clipboard takes; more than that is an export."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Which rows, in which order."""

    filters: tuple[Filter, ...] = ()
    search: str = ""
    sort: tuple[Sort, ...] = ()

    @property
    def narrows(self) -> bool:
        """Whether some rows may be left out."""
        return bool(self.filters or self.search)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A view that is open and counted, and its first rows."""

    shape: Shape
    view: View
    rows: int
    page: Page
    seconds: float


@dataclass(frozen=True, slots=True)
class ChosenRow:
    """The row that somebody looks at."""

    view: View
    row: int
    """From 0, in the view."""


def load(opener: Opener, shape: Shape, token: CancelToken) -> Loaded:
    """Open a view, read its first rows and count them; runs off the GUI thread.

    The first rows come before the count: those of a sorted table are known long before all are.
    """
    began = time.perf_counter()
    view = opener(shape, token)
    try:
        page = first_page(view, token)
        rows = view.count(token)
        token.check()
    except BaseException:
        view.close()
        raise
    return Loaded(shape, view, rows, page, time.perf_counter() - began)


def first_page(view: View, token: CancelToken) -> Page:
    """Return the rows that are on screen first."""
    return read_page(view, 0, token)


def as_text(
    view: View, ranges: Sequence[tuple[int, int]], columns: Sequence[int], *, header: bool
) -> str:
    """Return rows as tab-separated text; runs off the GUI thread.

    Args:
        view: where they are.
        ranges: first and last row of each stretch.
        columns: which columns, in the order in which they are to stand.
        header: whether their names come first.

    Tabs and line ends within a value are escaped, so that a row is a line wherever it is pasted.
    """
    names = [shown_text(view.columns[one].name) for one in columns]
    lines = ["\t".join(names)] if header else []
    for first, last in ranges:
        for at in range(first, last + 1, PAGE_ROWS):
            page = view.page(at, min(PAGE_ROWS, last + 1 - at))
            lines.extend(
                "\t".join(_line_text(page.column(one)[row]) for one in columns)
                for row in range(page.num_rows)
            )
    return "\n".join(lines)


def _line_text(scalar: Any) -> str:
    return shown_text(formats.plain(scalar)) if scalar.is_valid else ""


class TableViewer(QWidget):
    """Shows a table.

    Signals:
        row_chosen: the ChosenRow that is current now, or None.
        row_opened: nothing; Enter or a double click on the current row.
        loaded: nothing; other rows are on screen.
        loading_changed: whether rows are being opened now.
    """

    row_chosen = Signal(object)
    row_opened = Signal()
    loaded = Signal()
    loading_changed = Signal(bool)

    def __init__(
        self,
        tasks: Tasks,
        tools: Sequence[QAction],
        name: str,
        parent: QWidget | None = None,
        *,
        invitation: str = "",
        layout: ColumnLayout | None = None,
    ) -> None:
        """Make an empty viewer.

        Args:
            tasks: run what is read.
            tools: actions for the line above the table.
            name: of the widget, and the beginning of those of its parts.
            parent: the widget it stands in.
            invitation: what it says as long as it was given nothing to show.
            layout: how its columns were the last time.
        """
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName("Table")
        self._tasks, self._invitation = tasks, invitation
        self._opener: Opener | None = None
        self._loaded: Loaded | None = None
        self._wanted = Shape()
        self._total: int | None = None
        self._note = ""
        self._layout = layout
        self._hidden = set(layout.hidden if layout else LINEAGE_COLUMNS)
        self._widths: dict[str, int] = {}
        self._token: CancelToken | None = None
        self._fitted: tuple[str, ...] = ()
        self._is_stale = False
        self._failed_shape: Shape | None = None
        self._model = TableModel(tasks, self)
        self._search = parts.search_field("Search everywhere in these rows", f"{name}_search")
        self._chips = FilterChips(self)
        self._banner = Banner(f"{name}_banner", self)
        self._grid = Grid(f"{name}_grid", self)
        self._grid.show_model(self._model)
        self._editor = FilterEditor(self)
        self._chooser = ColumnChooser(self)
        self._status = parts.Elided(name=f"{name}_status", look="faint")
        self._busy = QProgressBar()
        self._cancel = QPushButton(icons.icon("cancel"), "Cancel")
        self._build(name)
        self._lay_out(tools)
        self._connect()
        self._render()

    # what others ask of it

    def show_rows_of(self, opener: Opener, shape: Shape | None = None, *, note: str = "") -> None:
        """Show what an opener opens; `note` is said in the status line."""
        self._opener, self._note, self._total = opener, note, None
        self._fitted = ()
        self._load(shape or Shape())

    def show_loaded(self, loaded: Loaded, opener: Opener, *, note: str = "") -> None:
        """Show a view that is open already; the opener is for other shapes of it."""
        self._opener, self._note, self._total = opener, note, loaded.rows
        self._fitted = ()
        self._wanted = loaded.shape
        self._on_loaded(loaded)

    def reload(self) -> None:
        """Open the same rows again, as the catalog has them now."""
        self._total = None
        self._load(self._wanted)

    def set_shape(self, shape: Shape) -> None:
        """Show other rows, or in another order."""
        if shape != self._wanted:
            self._load(shape)

    @property
    def shape(self) -> Shape:
        """What is shown, or being opened."""
        return self._wanted

    @property
    def view(self) -> View | None:
        """The view on screen."""
        return self._loaded.view if self._loaded else None

    @property
    def rows(self) -> int:
        """How many rows the view on screen has."""
        return self._loaded.rows if self._loaded else 0

    @property
    def model(self) -> TableModel:
        """What the grid shows."""
        return self._model

    @property
    def grid(self) -> Grid:
        """The grid."""
        return self._grid

    @property
    def is_loading(self) -> bool:
        """Whether rows are being opened now."""
        return self._token is not None

    def chosen(self) -> ChosenRow | None:
        """Return the row that is current."""
        current = self._grid.currentIndex()
        if self._loaded is None or not current.isValid():
            return None
        return ChosenRow(self._loaded.view, current.row())

    def say_stale(self) -> None:
        """Say that the catalog holds other rows by now; what is shown stays until it is reloaded."""
        if self._loaded is None:
            self.reload()
            return
        self._is_stale = True
        self._banner.say("More has been committed since these rows were opened.", "busy", "Reload")

    def column_layout(self) -> ColumnLayout:
        """Return how the columns are now, to be given to the next viewer of the table."""
        header = self._grid.horizontalHeader()
        names = [one.name for one in self._model.columns]
        order = tuple(names[header.logicalIndex(visual)] for visual in range(len(names)))
        shown = [at for at, name in enumerate(names) if name not in self._hidden]
        widths = {names[at]: self._grid.columnWidth(at) for at in shown}
        changed = {name: one for name, one in widths.items() if one != self._widths.get(name)}
        moved = order if list(order) != names else ()
        return ColumnLayout(moved, frozenset(self._hidden), changed, self._grid.frozen_columns)

    def shown_columns(self) -> list[str]:
        """Return the names of the columns on screen, in their order."""
        columns = self._model.columns
        return [columns[one].name for one in self._grid.columns_in_order()]

    def status(self) -> str:
        """Return what the status line says."""
        return self._status.text()

    def clear(self) -> None:
        """Show nothing."""
        self.close_view()
        self._opener, self._wanted, self._note, self._total = None, Shape(), "", None
        self._model.clear()
        self._banner.clear()
        self._render()
        self.row_chosen.emit(None)

    def close_view(self) -> None:
        """Let go of the view, in a moment."""
        self.cancel()
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            self._close_later(loaded.view)

    def close_now(self) -> None:
        """Let go of the view; may block until what is being read for it has ended."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.view.close()

    # actions

    def cancel(self) -> None:
        """Stop what is being opened, and keep the rows that are there."""
        if self._token is None:
            return
        self._tasks.drop(self, "open")
        self._token = None
        if self._loaded is None:
            self._banner.say(
                "It was cancelled before any row was read.", "partial", "Read the rows"
            )
        else:
            self._wanted = self._loaded.shape
        self._render()

    def focus_search(self) -> None:
        """Go to the field that searches everywhere."""
        self._search.setFocus()
        self._search.selectAll()

    def ask_filter(self, column: str = "") -> None:
        """Ask for a filter on a column; without one, on that of the current cell."""
        columns = self._model.columns
        if not columns:
            return
        current = self._grid.currentIndex()
        at = current.column() if current.isValid() else self._grid.columns_in_order()[0]
        name = column or columns[at].name
        header = self._grid.horizontalHeader()
        x = header.sectionViewportPosition([one.name for one in columns].index(name))
        x = max(0, min(x, header.width() - 40))
        self._editor.ask(columns, name, header.mapToGlobal(QPoint(x, header.height())))

    def ask_columns(self) -> None:
        """Ask which columns are shown."""
        header = self._grid.horizontalHeader()
        columns = self._model.columns
        listed = [
            (index, columns[index].name, columns[index].name not in self._hidden)
            for index in map(header.logicalIndex, range(header.count()))
        ]
        self._chooser.ask(listed, header.mapToGlobal(QPoint(0, header.height())))

    def ask_row(self) -> None:
        """Ask for the number of a row, and go there."""
        rows = self._model.rowCount()
        if not rows:
            return
        dialog = QInputDialog(self)
        dialog.setObjectName("go_to_row")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle("Go to row")
        dialog.setLabelText(f"Row, 1 to {formats.number(rows)}")
        dialog.setInputMode(QInputDialog.InputMode.IntInput)
        dialog.setIntRange(1, rows)
        dialog.setIntValue(max(self._grid.currentIndex().row(), 0) + 1)
        dialog.intValueSelected.connect(self._on_row_asked)
        dialog.open()

    def toggle_lineage(self) -> None:
        """Show or hide the columns that say where each row comes from."""
        here = {one.name for one in self._model.columns} & set(LINEAGE_COLUMNS)
        self._hidden = self._hidden - here if here & self._hidden else self._hidden | here
        self._show_columns()

    def clear_filters(self) -> None:
        """Show every row again."""
        self._search.clear()
        self.set_shape(replace(self._wanted, filters=(), search=""))

    def add_filters(self, more: Iterable[Filter]) -> None:
        """Narrow the rows further."""
        new = tuple(one for one in more if one not in self._wanted.filters)
        self.set_shape(replace(self._wanted, filters=(*self._wanted.filters, *new)))

    def sort_by(self, column: str, *, add: bool = False, descending: bool | None = None) -> None:
        """Order the rows by a column.

        Args:
            column: its name.
            add: as a further key, behind those that hold.
            descending: None goes on from what holds: ascending, descending, not at all.
        """
        held = {one.column: one for one in self._wanted.sort}
        before = held.get(column)
        new = _next_sort(column, before) if descending is None else Sort(column, descending)
        if add:
            keys = [new if one.column == column else one for one in self._wanted.sort]
            keys += [] if before else [new]
        else:
            keys = [new]
        self.set_shape(replace(self._wanted, sort=tuple(one for one in keys if one is not None)))

    def unsort(self) -> None:
        """Show the rows in the order in which they were read."""
        self.set_shape(replace(self._wanted, sort=()))

    def sort_current(self) -> None:
        """Order the rows by the column of the current cell, then the other way round, then not."""
        current = self._grid.currentIndex()
        if current.isValid():
            self.sort_by(self._model.columns[current.column()].name)

    def freeze_current(self) -> None:
        """Keep the columns up to that of the current cell in sight; all of them scroll if they were."""
        current = self._grid.currentIndex()
        columns = self._grid.columns_in_order()
        if current.isValid() and current.column() in columns:
            place = columns.index(current.column()) + 1
            self._grid.freeze(0 if self._grid.frozen_columns == place else place)

    def copy_cells(self) -> None:
        """Copy the selected cells; a single one whole and as it is."""
        self._copy(whole_rows=False, header=False)

    def copy_rows(self) -> None:
        """Copy the selected rows, all visible columns."""
        self._copy(whole_rows=True, header=False)

    def copy_rows_with_header(self) -> None:
        """Copy the selected rows with the names of the columns above."""
        self._copy(whole_rows=True, header=True)

    # loading

    def _load(self, shape: Shape) -> None:
        if self._opener is None:
            return
        self._wanted = shape
        self._token = CancelToken("Opening the rows")
        self._tasks.run(
            self,
            partial(load, self._opener, shape, self._token),
            self._on_loaded,
            key="open",
            failed=self._on_load_failed,
            token=self._token,
            long=True,
        )
        self._render()

    def _on_loaded(self, loaded: Loaded) -> None:
        before = self._loaded
        self._token, self._failed_shape, self._is_stale = None, None, False
        self._loaded = loaded
        if not loaded.shape.narrows:
            self._total = loaded.rows
        self._banner.clear()
        self._model.show(loaded.view, loaded.rows, loaded.page)
        self._show_columns()
        if before is not None and before.view is not loaded.view:
            self._close_later(before.view)
        self._render()
        self.row_chosen.emit(None)
        self.loaded.emit()

    def _on_load_failed(self, error: CasparianError) -> None:
        self._token = None
        self._failed_shape = self._wanted
        self._wanted = self._loaded.shape if self._loaded else self._wanted
        self._banner.show_problem(error, "Retry")
        self._render()

    def _close_later(self, view: View) -> None:
        self._tasks.run(self, view.close, key=f"close {id(view)}")

    # rendering

    def _render(self) -> None:
        """Show in the lines around the table what holds; can run twice."""
        shape = self._wanted
        self._chips.show_filters(shape.filters, self._model.columns)
        if self._search.text() != shape.search and not self._search.hasFocus():
            self._search.setText(shape.search)
        narrowed = {one.column for one in shape.filters}
        self._model.mark([(one.column, one.descending) for one in shape.sort], frozenset(narrowed))
        marked = narrowed | {one.column for one in shape.sort}
        for at, one in enumerate(self._model.columns):
            if one.name in marked:
                self._grid.widen_to_header(at)
        is_busy = self._token is not None
        self._busy.setVisible(is_busy)
        self._cancel.setVisible(is_busy)
        self.loading_changed.emit(is_busy)
        self._status.say(self._status_text(is_busy=is_busy))
        self._grid.say_when_empty(self._empty_text(is_busy=is_busy))

    def _status_text(self, *, is_busy: bool) -> str:
        if self._loaded is None:
            return "Reading…" if is_busy else ""
        if is_busy:
            return _doing(self._loaded.shape, self._wanted)
        shape, rows = self._loaded.shape, self._loaded.rows
        parts_ = [formats.count(rows, "row")]
        if shape.narrows and self._total is not None:
            parts_ = [f"{formats.number(rows)} of {formats.count(self._total, 'row')}"]
        if self._model.rowCount() < rows:
            parts_.append(
                f"the first {formats.number(self._model.rowCount())} are shown; filter to see others"
            )
        if self._note:
            parts_.append(self._note)
        if shape.filters:
            parts_.append(formats.count(len(shape.filters), "filter"))
        if shape.search:
            parts_.append(f"containing “{shape.search}”")
        parts_ += [filters.sort_in_words(shape.sort)] if shape.sort else []
        parts_.append(formats.duration(self._loaded.seconds))
        return " · ".join(parts_)

    def _empty_text(self, *, is_busy: bool) -> str:
        if self._loaded is None and not is_busy:
            return self._invitation
        if is_busy or self._loaded is None or self._loaded.rows:
            return ""
        if self._loaded.shape.narrows:
            return "No row matches. Remove a filter to see more."
        return "No rows."

    def _show_columns(self) -> None:
        columns = self._model.columns
        names = tuple(one.name for one in columns)
        self._grid.show_columns([name not in self._hidden for name in names])
        if names != self._fitted:
            self._fitted = names
            least = {index: _least_chars(one) for index, one in enumerate(columns)}
            self._grid.fit_columns(least)
            self._widths = {name: self._grid.columnWidth(at) for at, name in enumerate(names)}
            self._apply_layout(names)

    def _apply_layout(self, names: tuple[str, ...]) -> None:
        if self._layout is None:
            return
        place = {name: at for at, name in enumerate(names)}
        for name, width in self._layout.widths.items():
            if name in place:
                self._grid.setColumnWidth(place[name], width)
        self._grid.order_columns([place[one] for one in self._layout.order if one in place])
        self._grid.freeze(self._layout.frozen)

    # copying

    def _copy(self, *, whole_rows: bool, header: bool) -> None:
        loaded = self._loaded
        selected = self._grid.selectionModel().selection().toList()
        if loaded is None or not selected:
            return
        ranges = _row_ranges(selected)
        if sum(last - first + 1 for first, last in ranges) > MOST_COPIED:
            self._banner.show_problem(
                UserProblem(
                    "That is too much for the clipboard",
                    f"It takes {formats.number(MOST_COPIED)} rows at most",
                    "Use Export for all of them",
                )
            )
            return
        shown = self._grid.columns_in_order()
        if not whole_rows:
            chosen = {at for one in selected for at in range(one.left(), one.right() + 1)}
            shown = [one for one in shown if one in chosen]
        is_one_cell = not whole_rows and len(shown) == 1 and ranges == [(ranges[0][0],) * 2]
        work = (
            partial(_one_cell, loaded.view, ranges[0][0], shown[0])
            if is_one_cell
            else partial(as_text, loaded.view, ranges, shown, header=header)
        )
        self._tasks.run(self, work, QGuiApplication.clipboard().setText, key="copy")

    # slots

    @Slot()
    def _on_search_entered(self) -> None:
        self.set_shape(replace(self._wanted, search=self._search.text()))

    @Slot(str)
    def _on_search_edited(self, text: str) -> None:
        if not text and self._wanted.search:
            self.set_shape(replace(self._wanted, search=""))

    @Slot(object)
    def _on_filters_chosen(self, chosen: tuple[Filter, ...]) -> None:
        self.add_filters(chosen)
        self._grid.setFocus()

    @Slot(object)
    def _on_filter_removed(self, removed: Filter | None) -> None:
        kept = tuple(one for one in self._wanted.filters if removed is not None and one != removed)
        self.set_shape(replace(self._wanted, filters=kept))

    @Slot(int, bool)
    def _on_sort_wanted(self, column: int, add: bool) -> None:  # noqa: FBT001  (Qt calls it by position)
        self.sort_by(self._model.columns[column].name, add=add)

    @Slot(QModelIndex, QModelIndex)
    def _on_current_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        if self._loaded is None or current.row() == previous.row():
            return
        chosen = ChosenRow(self._loaded.view, current.row()) if current.isValid() else None
        self.row_chosen.emit(chosen)

    @Slot(object)
    def _on_page_failed(self, error: CasparianError) -> None:
        self._banner.show_problem(error, "Retry")

    @Slot()
    def _on_banner_acted(self) -> None:
        self._banner.clear()
        if self._loaded is None or self._is_stale:
            self.reload()
        elif self._failed_shape is not None:
            self._load(self._failed_shape)
        else:
            self._model.retry()

    @Slot(int)
    def _on_row_asked(self, number: int) -> None:
        self._grid.go_to(number - 1)
        self._grid.setFocus()

    @Slot(int, bool)
    def _on_column_ticked(self, column: int, shown: bool) -> None:  # noqa: FBT001  (as above)
        name = self._model.columns[column].name
        self._hidden = self._hidden - {name} if shown else self._hidden | {name}
        self._show_columns()

    @Slot(int, int)
    def _on_column_moved(self, column: int, places: int) -> None:
        header = self._grid.horizontalHeader()
        at = header.visualIndex(column)
        header.moveSection(at, at + places)

    @Slot(int, QPoint)
    def _on_header_menu(self, column: int, at: QPoint) -> None:
        if not 0 <= column < len(self._model.columns):
            return
        name = self._model.columns[column].name
        menu = _menu(self, "header_menu")
        _item(menu, "Sort ascending", partial(self.sort_by, name, descending=False), "sort")
        _item(menu, "Sort descending", partial(self.sort_by, name, descending=True))
        _item(menu, "Add to the sort", partial(self.sort_by, name, add=True, descending=False))
        _item(menu, "Do not sort", self.unsort)
        menu.addSeparator()
        _item(menu, "Filter…", partial(self.ask_filter, name), "filter")
        _item(menu, "Hide this column", partial(self._on_column_ticked, column, False))  # noqa: FBT003  (as above)
        _item(menu, "Columns…", self.ask_columns, "columns")
        place = self._grid.columns_in_order().index(column) + 1
        _item(menu, "Freeze up to this column", partial(self._grid.freeze, place))
        if self._grid.frozen_columns:
            _item(menu, "Freeze no column", partial(self._grid.freeze, 0))
        menu.addSeparator()
        _item(menu, "Copy the name", partial(QGuiApplication.clipboard().setText, name), "copy")
        menu.popup(at)

    @Slot(QPoint)
    def _on_cell_menu(self, at: QPoint) -> None:
        index = self._grid.currentIndex()
        if not index.isValid():
            return
        menu = _menu(self, "cell_menu")
        _item(menu, "Copy the cells", self.copy_cells, "copy")
        _item(menu, "Copy the rows", self.copy_rows)
        _item(menu, "Copy the rows with header", self.copy_rows_with_header)
        menu.addSeparator()
        text = index.data() or ""
        said = f"{text[:40]}…" if len(text) > 40 else text
        _item(menu, f"Only rows where it is {said}", partial(self._filter_by_cell, "="), "filter")
        _item(menu, f"Only rows where it is not {said}", partial(self._filter_by_cell, "!="))
        menu.popup(at)

    def _filter_by_cell(self, operator: str) -> None:
        """Filter by the value of the current cell, as the database has it: the grid may show less."""
        index = self._grid.currentIndex()
        if self._loaded is None or not index.isValid():
            return
        self._tasks.run(
            self,
            partial(_cell_filter, self._loaded.view, index.row(), index.column(), operator),
            self.add_filters,
            key="cell filter",
        )

    # building

    def _build(self, name: str) -> None:
        self._search.setMaximumWidth(340)
        self._status.setAccessibleName("Status of the table")
        self._busy.setObjectName(f"{name}_busy")
        self._busy.setAccessibleName("Reading")
        self._busy.setRange(0, 0)
        self._busy.setFixedWidth(80)
        self._busy.setTextVisible(False)
        self._cancel.setObjectName(f"{name}_cancel")
        self._cancel.setAccessibleName("Cancel what is being read")
        self._cancel.setProperty("look", "link")

    def _lay_out(self, tools: Sequence[QAction]) -> None:
        above = QHBoxLayout()
        above.setContentsMargins(theme.GRID, theme.GRID // 2, theme.GRID, theme.GRID // 2)
        above.setSpacing(theme.GRID // 2)
        above.addWidget(self._search, 4)
        for tool in tools:
            above.addWidget(parts.action_button(tool))
        above.addStretch(1)
        below = QHBoxLayout()
        below.setContentsMargins(theme.GRID, theme.GRID // 2, theme.GRID, theme.GRID // 2)
        below.addWidget(self._status, 1)
        below.addWidget(self._busy)
        below.addWidget(self._cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(above)
        column.addWidget(self._chips)
        column.addWidget(self._banner)
        column.addWidget(parts.hairline())
        column.addWidget(self._grid, 1)
        column.addWidget(parts.hairline())
        column.addLayout(below)

    def _connect(self) -> None:
        self._search.returnPressed.connect(self._on_search_entered)
        self._search.textChanged.connect(self._on_search_edited)
        self._chips.removed.connect(self._on_filter_removed)
        self._editor.chosen.connect(self._on_filters_chosen)
        self._chooser.shown_changed.connect(self._on_column_ticked)
        self._chooser.moved.connect(self._on_column_moved)
        self._banner.acted.connect(self._on_banner_acted)
        self._cancel.clicked.connect(self.cancel)
        self._grid.rows_shown.connect(self._model.want)
        self._grid.sort_wanted.connect(self._on_sort_wanted)
        self._grid.header_menu_wanted.connect(self._on_header_menu)
        self._grid.cell_menu_wanted.connect(self._on_cell_menu)
        self._grid.selectionModel().currentChanged.connect(self._on_current_changed)
        self._grid.row_opened.connect(self.row_opened)
        self._model.page_failed.connect(self._on_page_failed)


def _next_sort(column: str, before: Sort | None) -> Sort | None:
    if before is None:
        return Sort(column)
    return None if before.descending else Sort(column, descending=True)


def _doing(before: Shape, after: Shape) -> str:
    if before.sort != after.sort and after.sort:
        return f"Sorting… {filters.sort_in_words(after.sort)}"
    if before.search != after.search and after.search:
        return f"Searching for “{after.search}”…"
    return "Filtering…" if before.filters != after.filters else "Reading…"


def _least_chars(column: ColumnInfo) -> int:
    """Return the characters that values of a type need, where a page may have shorter ones by chance."""
    if column.type == "timestamp_utc":
        return len("2022-03-10 16:33:50.089 UTC")
    return 6 if is_number(column) else 8


def _row_ranges(selected: Iterable[QItemSelectionRange]) -> list[tuple[int, int]]:
    """Return the stretches of rows that a selection touches, in order, none twice."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted((one.top(), one.bottom()) for one in selected):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _one_cell(view: View, row: int, column: int) -> str:
    scalar = view.page(row, 1).column(column)[0]
    return formats.plain(scalar) if scalar.is_valid else ""


def _cell_filter(view: View, row: int, at: int, operator: str) -> tuple[Filter, ...]:
    column, scalar = view.columns[at], view.page(row, 1).column(at)[0]
    if not scalar.is_valid:
        return (Filter(column.name, "is null" if operator == "=" else "not null"),)
    return filters.made(column, operator, formats.plain(scalar))


def _menu(parent: QWidget, name: str) -> QMenu:
    menu = QMenu(parent)
    menu.setObjectName(name)
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    return menu


def _item(menu: QMenu, text: str, act: Callable[[], object], icon: str = "") -> None:
    # An ampersand in evidence must not become a shortcut.
    item = menu.addAction(shown_text(text).replace("&", "&&"))
    if icon:
        item.setIcon(icons.icon(icon))
    item.triggered.connect(lambda: act())
