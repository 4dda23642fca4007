"""The SQL console: type a query, run it, stop it, find it again, look at its rows like at any table.

A statement that is refused or fails keeps its text; the sentence stands above the result and the place it
is about is underlined. The result shows how many rows there are, and says when it holds only the first of
them: an export runs the query again and takes them all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
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
from casparian.ui.sql_text import KnownTable, error_offset
from casparian.ui.table_model import tip
from casparian.ui.table_viewer import Loaded, Shape, TableViewer, first_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QAction

    from casparian.catalog.reader import View
    from casparian.domain.evidence import Workspace
    from casparian.domain.results import TableInfo
    from casparian.services.results import ResultService
    from casparian.state.records import HistoryEntry
    from casparian.ui.tasks import Tasks

_ENTRY = Qt.ItemDataRole.UserRole


@dataclass(frozen=True, slots=True)
class Tools:
    """The actions that stand above the editor."""

    run: QAction
    cancel: QAction
    history: QAction


def run_query(results: ResultService, workspace: Workspace, sql: str, token: CancelToken) -> Loaded:
    """Run a query and read its first rows; runs off the GUI thread."""
    began = time.perf_counter()
    view = results.query(workspace.id, sql, token)
    page = first_page(view, token)
    return Loaded(Shape(), view, view.count(token), page, time.perf_counter() - began)


def open_narrowed(
    results: ResultService,
    workspace: Workspace,
    view: View,
    rows_kept: int,
    shape: Shape,
    token: CancelToken,
) -> View:
    """Run the query of a view again, narrowed and ordered; runs off the GUI thread."""
    reader = results.reader
    sql = reader.narrowed(
        view.sql, view.columns, filters=shape.filters, search=shape.search, sort=shape.sort
    )
    return reader.query(sql, workspace.schema, token, rows_kept)


def read_functions(results: ResultService) -> list[str]:
    """Return the names of the functions that queries may call; runs off the GUI thread."""
    return results.reader.functions()


class SqlConsole(QWidget):
    """Runs queries.

    Signals:
        running_changed: whether a query runs now.
    """

    running_changed = Signal(bool)

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
        self._functions: tuple[str, ...] = ()
        self._tables: tuple[KnownTable, ...] = ()
        self._editor = SqlEditor()
        self._editor.setPlaceholderText(
            "SELECT …   Ctrl+Enter runs the selection, or everything; Ctrl+Space completes"
        )
        self._banner = Banner("sql_problem")
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

    def set_tables(self, tables: Sequence[TableInfo]) -> None:
        """Say what completion may offer."""
        self._tables = tuple(
            KnownTable(one.name, tuple((each.name, each.type) for each in one.columns), one.schema)
            for one in tables
        )
        self._editor.set_catalog(self._tables, self._functions)
        if not self._functions:
            self._tasks.run(
                self,
                partial(read_functions, self._results),
                self._on_functions,
                key="functions",
                failed=self._on_functions_failed,
            )

    def set_sql(self, sql: str) -> None:
        """Put a query into the editor; what was there can be had back by undo."""
        cursor = self._editor.textCursor()
        cursor.select(cursor.SelectionType.Document)
        cursor.insertText(sql)
        self._editor.setFocus()

    def say_problem(self, error: CasparianError) -> None:
        """Say what is the matter with the catalog."""
        self._banner.show_problem(error)

    def insert(self, text: str) -> None:
        """Put a name where the cursor stands."""
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
            partial(run_query, self._results, self._workspace, sql, self._token),
            self._on_result,
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

    def _on_result(self, loaded: Loaded) -> None:
        self._token = None
        if self._workspace is None:
            return
        truncated = loaded.view.truncated
        opener = partial(
            open_narrowed, self._results, self._workspace, loaded.view, self._rows_kept
        )
        self._viewer.show_loaded(loaded, opener, note=_cut_short(loaded) if truncated else "")
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

    def _on_functions(self, functions: list[str]) -> None:
        self._functions = tuple(functions)
        self._editor.set_catalog(self._tables, self._functions)

    def _on_functions_failed(self, _error: CasparianError) -> None:
        """Completion does without functions; what keeps the catalog from being read is said elsewhere."""

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
