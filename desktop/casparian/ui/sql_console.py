"""The SQL console: type a query, run it, stop it, find it again, look at its rows like at any table.

A statement that is refused or fails keeps its text; the sentence stands above the result and the place it
is about is underlined. The result shows how many rows there are, and says when it holds only the first of
them: an export runs the query again and takes them all. Where tables are in several places, a query runs in
the one that is chosen, and its result stays bound to it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import CasparianError, UserProblem
from casparian.domain.evidence import shown_text
from casparian.ui import formats, icons, parts, theme
from casparian.ui.problems import Banner
from casparian.ui.sql_editor import SqlEditor
from casparian.ui.sql_text import KnownTable, error_offset, spelled
from casparian.ui.table_model import tip
from casparian.ui.table_viewer import Loaded, Shape, TableViewer, first_page
from casparian.ui.targets import kind_of, title_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QAction

    from casparian.catalog.reader import View
    from casparian.domain.evidence import Workspace
    from casparian.services.results import ResultService
    from casparian.state.records import HistoryEntry
    from casparian.ui.targets import Listing
    from casparian.ui.tasks import Tasks

_ENTRY = Qt.ItemDataRole.UserRole
_FIRST_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Tools:
    """The actions that stand above the editor."""

    run: QAction
    cancel: QAction
    history: QAction


def run_query(
    results: ResultService, workspace: Workspace, target: str, sql: str, token: CancelToken
) -> Loaded:
    """Run a query in a target and read its first rows; runs off the GUI thread."""
    began = time.perf_counter()
    view = results.query(workspace.id, sql, token, target)
    page = first_page(view, token)
    return Loaded(Shape(), view, view.count(token), page, time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a result is from."""

    workspace: Workspace
    target: str
    rows_kept: int


def open_narrowed(
    results: ResultService, source: Source, view: View, shape: Shape, token: CancelToken
) -> View:
    """Run the query of a view again, narrowed and ordered; runs off the GUI thread."""
    where = results.at(source.workspace.id, source.target)
    sql = where.reader.narrowed(
        view.sql, view.columns, filters=shape.filters, search=shape.search, sort=shape.sort
    )
    return where.reader.query(sql, where.schema, token, source.rows_kept)


def read_functions(results: ResultService, workspace: Workspace, target: str) -> list[str]:
    """Return the names of the functions that queries may call; runs off the GUI thread."""
    return results.at(workspace.id, target).reader.functions()


class SqlConsole(QWidget):
    """Runs queries.

    Signals:
        running_changed: whether a query runs now.
        target_chosen: the key of the target in which queries are to run from now on.
    """

    running_changed = Signal(bool)
    target_chosen = Signal(str)

    def __init__(
        self,
        results: ResultService,
        tasks: Tasks,
        tools: Tools,
        table_tools: Sequence[QAction],
        rows_kept: int,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("sql_console")
        self.setAccessibleName("SQL console")
        self._results, self._tasks, self._rows_kept = results, tasks, rows_kept
        self._workspace: Workspace | None = None
        self._token: CancelToken | None = None
        self._listings: dict[str, Listing] = {}
        self._target = ""
        self._source: Source | None = None
        self._functions: dict[str, tuple[str, ...]] = {}
        self._editor = SqlEditor()
        self._editor.setPlaceholderText(
            "SELECT …   Ctrl+Enter runs the selection, or everything; Ctrl+Space completes"
        )
        self._banner = Banner("sql_problem")
        self._where = _target_choice()
        self._state = parts.Elided(name="sql_state", look="faint")
        self._busy = QProgressBar()
        self._history = _History()
        self._viewer = TableViewer(
            tasks, table_tools, "result", invitation="Run a query, and its rows stand here."
        )
        self._build(tools)
        self._editor.run_requested.connect(self.run)
        self._editor.textChanged.connect(self._on_text_changed)
        self._history.chosen.connect(self.set_sql)
        self._where.activated.connect(self._on_target_activated)
        self._render()

    # what others ask of it

    @property
    def viewer(self) -> TableViewer:
        """The table that shows the result."""
        return self._viewer

    @property
    def editor(self) -> SqlEditor:
        """Where the SQL is typed."""
        return self._editor

    @property
    def is_running(self) -> bool:
        """Whether a query runs now."""
        return self._token is not None

    def set_workspace(self, workspace: Workspace) -> None:
        """Query the tables of this workspace from now on."""
        self.cancel()
        self._workspace = workspace
        self._viewer.clear()
        self._banner.clear()
        self._editor.mark_error(None)
        self._read_history()

    def show_targets(self, listings: Sequence[Listing], chosen: str) -> None:
        """Say where queries may run, what is there, and where they run from now on."""
        is_same = [one.target for one in listings] == [
            one.target for one in self._listings.values()
        ]
        self._listings = {one.key: one for one in listings}
        self._target = chosen if chosen in self._listings else ""
        if not is_same:
            self._fill_targets()
        self._where.setCurrentIndex(max(self._where.findData(self._target), 0))
        self._where.setToolTip(str(self._where.currentData(Qt.ItemDataRole.ToolTipRole) or ""))
        self._where.setVisible(len(self._listings) > 1)
        self._complete()

    @property
    def target(self) -> str:
        """The key of where queries run; empty for the catalog."""
        return self._target

    @property
    def target_of_result(self) -> str:
        """The key of where the rows on screen are from."""
        return self._source.target if self._source is not None else ""

    def set_sql(self, sql: str) -> None:
        """Put a query into the editor; what was there can be had back by undo."""
        cursor = self._editor.textCursor()
        cursor.select(cursor.SelectionType.Document)
        cursor.insertText(sql)
        self._editor.setFocus()

    def query_table(self, name: str) -> None:
        """Put the query for the first rows of a table of the target into the editor."""
        listing = self._listings.get(self._target)
        spelling = listing.spelling if listing else None
        info = next((one for one in listing.tables if one.name == name), None) if listing else None
        if spelling is None or info is None:
            self.set_sql(f"SELECT *\nFROM {spelled(name)}\nLIMIT {_FIRST_ROWS}")
            return
        self.set_sql(spelling.first_rows.format(table=spelling.table(info), rows=_FIRST_ROWS))

    def insert_name(self, name: str) -> None:
        """Put a column's name where the cursor stands."""
        self._insert(self._spell(name))

    def say_problem(self, error: CasparianError) -> None:
        """Say what is the matter with the catalog."""
        self._banner.show_problem(error)

    def _insert(self, text: str) -> None:
        self._editor.textCursor().insertText(text)
        self._editor.setFocus()

    def sql_of_result(self) -> str:
        """Return the statement whose rows are on screen, filters and order included; empty for none."""
        view = self._viewer.view
        return view.sql if view is not None else ""

    def close_view(self) -> None:
        """Stop, and let go of the result."""
        self.cancel()
        self._viewer.close_view()

    # actions

    @Slot()
    def run(self) -> None:
        """Run the selection, or everything."""
        sql = self._editor.sql()
        if self._workspace is None or not sql.strip():
            return
        self._banner.clear()
        self._editor.mark_error(None)
        self._token = CancelToken("The query")
        self._tasks.run(
            self,
            partial(run_query, self._results, self._workspace, self._target, sql, self._token),
            partial(self._on_result, Source(self._workspace, self._target, self._rows_kept)),
            key="run",
            failed=partial(self._on_failed, sql),
            token=self._token,
            long=True,
        )
        self._render()

    @Slot()
    def cancel(self) -> None:
        """Stop the query that runs; what was shown before stays."""
        if self._token is None:
            return
        self._tasks.drop(self, "run")
        self._token = None
        self._banner.say("The query was cancelled. The rows below are those of before.", "partial")
        self._render()
        self._read_history()

    @Slot()
    def toggle_history(self) -> None:
        """Show or hide the queries that were run."""
        self._history.setVisible(self._history.isHidden())
        if not self._history.isHidden():
            self._read_history()
            self._history.focus_search()

    # replies

    def _on_result(self, source: Source, loaded: Loaded) -> None:
        self._token = None
        self._source = source
        opener = partial(open_narrowed, self._results, source, loaded.view)
        note = [_cut_short(loaded)] if loaded.view.truncated else []
        note += [kind_of(source.target)] if len(self._listings) > 1 else []
        self._viewer.show_loaded(loaded, opener, note=" · ".join(note))
        self._render()
        self._read_history()

    def _on_failed(self, sql: str, error: CasparianError) -> None:
        self._token = None
        offset = error_offset(sql, error.detail)
        self._banner.show_problem(error if offset is None else _without_excerpt(error))
        if sql == self._editor.sql():
            self._editor.mark_error(offset)
        self._render()
        self._read_history()

    @Slot()
    def _on_text_changed(self) -> None:
        """What was said of the text is not true of another one."""
        self._banner.clear()
        self._editor.mark_error(None)

    @Slot(int)
    def _on_target_activated(self, at: int) -> None:
        key = str(self._where.itemData(at) or "")
        if key != self._target:
            # What was said is not true of another target either.
            self._on_text_changed()
            self.target_chosen.emit(key)

    def _fill_targets(self) -> None:
        self._where.clear()
        for at, one in enumerate(self._listings.values()):
            title = title_of(one.target)
            self._where.addItem(shown_text(title), one.key)
            self._where.setItemData(at, tip(title), Qt.ItemDataRole.ToolTipRole)

    # completion

    def _complete(self) -> None:
        """Offer what is in the target; its functions are read when it is first looked at."""
        listing = self._listings.get(self._target)
        if listing is None or self._workspace is None:
            return
        known = [
            KnownTable(
                one.name,
                tuple((each.name, each.type) for each in one.columns),
                one.schema,
                listing.spelling.table(one) if listing.spelling else "",
            )
            for one in listing.tables
        ]
        functions = self._functions.get(self._target)
        self._editor.set_catalog(known, functions or (), self._spell)
        if functions is None and listing.spelling is not None and listing.problem is None:
            self._functions[self._target] = ()
            self._tasks.run(
                self,
                partial(read_functions, self._results, self._workspace, self._target),
                partial(self._on_functions, self._target),
                key=f"functions {self._target}",
                failed=partial(self._on_functions_failed, self._target),
                long=bool(self._target),
            )

    def _spell(self, name: str) -> str:
        listing = self._listings.get(self._target)
        return listing.spelling.name(name) if listing and listing.spelling else spelled(name)

    def _on_functions(self, target: str, functions: list[str]) -> None:
        self._functions[target] = tuple(functions)
        self._complete()

    def _on_functions_failed(self, target: str, _error: CasparianError) -> None:
        """Completion does without functions; what keeps the target from answering is said elsewhere."""
        self._functions.pop(target, None)

    def _read_history(self) -> None:
        if self._workspace is None or self._history.isHidden():
            return
        self._tasks.run(
            self,
            partial(self._results.history, self._workspace.id),
            self._history.show_entries,
            key="history",
        )

    def _render(self) -> None:
        running = self._token is not None
        self._busy.setVisible(running)
        self._state.say("Running…" if running else "")
        self.running_changed.emit(running)

    # building

    def _build(self, tools: Tools) -> None:
        self._busy.setObjectName("sql_busy")
        self._busy.setAccessibleName("The query runs")
        self._busy.setRange(0, 0)
        self._busy.setFixedWidth(80)
        self._busy.setTextVisible(False)
        bar = QHBoxLayout()
        bar.setContentsMargins(theme.GRID, theme.GRID // 2, theme.GRID, theme.GRID // 2)
        bar.setSpacing(theme.GRID // 2)
        bar.addWidget(parts.push_button(tools.run, look="primary"))
        bar.addWidget(self._where)
        bar.addWidget(parts.action_button(tools.cancel))
        bar.addWidget(self._busy)
        bar.addWidget(self._state, 1)
        bar.addWidget(parts.action_button(tools.history))
        editing = QWidget()
        left = QVBoxLayout(editing)
        left.setContentsMargins(0, 0, 0, 0)
        left.setSpacing(0)
        left.addLayout(bar)
        left.addWidget(parts.hairline())
        left.addWidget(self._editor, 1)
        above = QSplitter(Qt.Orientation.Horizontal)
        above.setObjectName("sql_split_history")
        above.addWidget(editing)
        above.addWidget(self._history)
        above.setStretchFactor(0, 3)
        above.setStretchFactor(1, 2)
        above.setChildrenCollapsible(False)
        below = QWidget()
        lower = QVBoxLayout(below)
        lower.setContentsMargins(0, 0, 0, 0)
        lower.setSpacing(0)
        lower.addWidget(self._banner)
        lower.addWidget(self._viewer, 1)
        split = QSplitter(Qt.Orientation.Vertical)
        split.setObjectName("sql_split")
        split.addWidget(above)
        split.addWidget(below)
        split.setSizes([200, 480])
        split.setStretchFactor(1, 1)
        split.setChildrenCollapsible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(split)


def _target_choice() -> QComboBox:
    choice = QComboBox()
    choice.setObjectName("sql_target")
    choice.setAccessibleName("Where the query runs")
    choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    choice.setMinimumContentsLength(24)
    choice.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)
    choice.hide()
    return choice


def _without_excerpt(error: CasparianError) -> CasparianError:
    """Leave away the line and the caret that DuckDB draws: the editor shows the place itself."""
    said, _, excerpt = error.detail.partition("\nLINE ")
    line = excerpt.partition(":")[0]
    return UserProblem(error.title, f"{said.strip()} (line {line})", error.hint)


def _cut_short(loaded: Loaded) -> str:
    return f"the first {formats.count(loaded.rows, 'row')} of more: Export takes all of them"


class _History(QFrame):
    """The queries that were run, newest first.

    Signals:
        chosen: the SQL of an entry.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("sql_history")
        self.setAccessibleName("History of queries")
        self.setMinimumWidth(240)
        self._search = parts.search_field("Find in the history", "history_search")
        self._list = QListWidget()
        self._list.setObjectName("history_list")
        self._list.setAccessibleName("Queries that were run")
        self._list.setUniformItemSizes(True)
        self._list.setIconSize(QSize(16, 16))
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column = parts.margins(self, all_round=0, gap=0)
        holder = parts.row(self._search)
        holder.setContentsMargins(*[theme.GRID // 2] * 4)
        column.addWidget(holder)
        column.addWidget(self._list, 1)
        self._search.textChanged.connect(self._on_search)
        self._list.itemActivated.connect(self._on_chosen)
        self._list.itemClicked.connect(self._on_chosen)
        self.hide()

    def show_entries(self, entries: Sequence[HistoryEntry]) -> None:
        """Show these queries."""
        self._list.clear()
        for one in entries:
            item = QListWidgetItem(_entry_line(one))
            item.setIcon(icons.icon("bad", "bad") if one.error else icons.icon("good", "good"))
            said = f"{formats.moment(one.at)} · {_outcome(one)}"
            item.setToolTip(tip(f"{one.sql[:2_000]}\n\n{said}"))
            item.setData(_ENTRY, one.sql)
            self._list.addItem(item)
        self._on_search(self._search.text())

    def focus_search(self) -> None:
        """Go to the field that finds queries."""
        self._search.setFocus()

    @Slot(str)
    def _on_search(self, text: str) -> None:
        for row in range(self._list.count()):
            item = self._list.item(row)
            item.setHidden(text.lower() not in str(item.data(_ENTRY)).lower())

    @Slot(QListWidgetItem)
    def _on_chosen(self, item: QListWidgetItem) -> None:
        self.chosen.emit(item.data(_ENTRY))


def _entry_line(one: HistoryEntry) -> str:
    statement = " ".join(one.sql.split())
    return f"{formats.age(one.at)} · {_outcome(one)} · {shown_text(statement[:200])}"


def _outcome(one: HistoryEntry) -> str:
    if one.error:
        return "failed"
    rows = "more than were kept" if one.rows is None else formats.count(one.rows, "row")
    return f"{rows}, {formats.duration(one.seconds)}"
