"""Results: the catalog at the left, tables and the SQL console in tabs, the chosen row in the inspector."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QSettings, QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QApplication,
    QSplitter,
    QStackedWidget,
    QTabBar,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from casparian.domain.evidence import shown_text
from casparian.domain.results import QUARANTINE_SUFFIX, Filter, ViewSpec
from casparian.ui import icons, parts
from casparian.ui.actions import Action
from casparian.ui.catalog_tree import CatalogTree
from casparian.ui.column_layout import ColumnLayouts
from casparian.ui.export_dialog import Choice, ExportDialog
from casparian.ui.inspector import Inspector
from casparian.ui.sql_console import SqlConsole, Tools
from casparian.ui.table_model import tip
from casparian.ui.table_viewer import TableViewer
from casparian.ui.targets import Targets, kind_of, title_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QAction

    from casparian.bootstrap import Services
    from casparian.catalog.reader import View
    from casparian.domain.cancel import CancelToken
    from casparian.domain.errors import CasparianError
    from casparian.domain.events import CatalogChanged
    from casparian.domain.evidence import Workspace
    from casparian.domain.ids import WorkspaceId
    from casparian.services.results import ResultService
    from casparian.ui.actions import Actions
    from casparian.ui.bridge import EventBridge
    from casparian.ui.table_viewer import Shape
    from casparian.ui.tasks import Tasks

_TABLE, _TARGET = "table_name", "target"
"""The properties of a tab's widget that name its table, and the target that it is in."""

_ACTIONS = (
    ("run", "Run", "Ctrl+Return; Ctrl+Enter", "run", "Run the selected SQL, or all of it"),
    ("cancel", "Cancel", "Esc", "cancel", "Stop the query, or what is being read"),
    ("history", "History", "Ctrl+H", "history", "Queries that were run"),
    ("sql", "Go to the SQL console", "Ctrl+Shift+S", "sql", ""),
    ("find_table", "Find a table", "Ctrl+T", "search", ""),
    ("search", "Search everywhere in the rows", "Ctrl+Shift+F", "search", ""),
    ("filter", "Filter", "Ctrl+F", "filter", "Filter by the current column"),
    ("clear_filters", "Clear filters", "Ctrl+Shift+L", "", ""),
    ("sort", "Sort by the current column", "Ctrl+Alt+S", "sort", ""),
    ("columns", "Columns", "Ctrl+Shift+K", "columns", "Which columns are shown, and where"),
    (
        "lineage",
        "Lineage",
        "Ctrl+L",
        "lineage",
        "Show or hide the columns that say where a row comes from",
    ),
    ("freeze", "Freeze up to the current column", "Ctrl+Shift+Z", "", ""),
    ("go_to_row", "Go to row", "Ctrl+G", "", ""),
    ("copy", "Copy cells", "Ctrl+C", "copy", ""),
    ("copy_rows", "Copy rows", "Ctrl+Shift+C", "", ""),
    ("copy_header", "Copy rows with header", "Ctrl+Alt+C", "", ""),
    ("export", "Export", "Ctrl+E", "export", "Write the whole of it to a file"),
    ("reload", "Reload the rows", "F5", "rescan", ""),
    ("close_tab", "Close the table", "Ctrl+W", "close", ""),
    ("next_pane", "Next pane", "F6", "", ""),
    ("previous_pane", "Previous pane", "Shift+F6", "", ""),
)
"""Verb, text, keys, icon and hint of each action."""


def open_shape(
    results: ResultService,
    workspace_id: WorkspaceId,
    target: str,
    table: str,
    shape: Shape,
    token: CancelToken,
) -> View:
    """Open a table as somebody wants to see it; runs off the GUI thread."""
    where = results.at(workspace_id, target)
    return where.reader.open(spec_of(where.schema, table, shape), token)


def spec_of(schema: str, table: str, shape: Shape, columns: tuple[str, ...] = ()) -> ViewSpec:
    """Return what a shape of a table is to its target."""
    return ViewSpec(schema, table, shape.filters, shape.search, shape.sort, columns)


def count_rows(results: ResultService, workspace_id: WorkspaceId, choice: Choice) -> int:
    """Count what is to be exported; runs off the GUI thread."""
    where = results.at(workspace_id, choice.target)
    if isinstance(choice.what, ViewSpec):
        with where.reader.open(choice.what) as view:
            return view.count()
    # The statement has run already: it is a single SELECT.
    sql = f"SELECT count(*) FROM (\n{choice.what}\n) AS result"  # noqa: S608
    with where.reader.query(sql, where.schema) as view:
        return int(view.page(0, 1).column(0)[0].as_py())


class ResultsView(QWidget):
    """Everything that can be asked of the tables.

    Signals:
        file_wanted: the id of a file that is to be shown in Sources.
        job_wanted: the id of a job that is to be shown.
        inspector_wanted: the inspector is to be seen.
    """

    file_wanted = Signal(str)
    job_wanted = Signal(str)
    inspector_wanted = Signal()

    def __init__(
        self,
        services: Services,
        tasks: Tasks,
        actions: Actions,
        bridge: EventBridge,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("results_view")
        self.setAccessibleName("Results")
        self._results, self._tasks = services.results, tasks
        self._workspace: Workspace | None = None
        self._awaited = ""
        self._targets = Targets(services.results, tasks, self)
        memory = services.settings.home / "window.ini"
        self._layouts = ColumnLayouts(memory)
        self._memory = QSettings(str(memory), QSettings.Format.IniFormat)
        self._actions = self._register(actions)
        self.inspector = Inspector(services.results, tasks)
        for verb in ("next_pane", "previous_pane"):
            # The inspector stands in a panel of the window, where the view's own keys do not reach.
            self.inspector.addAction(self._actions[verb])
        self._tree = CatalogTree()
        self._tabs = QTabWidget()
        self._console = SqlConsole(
            services.results,
            tasks,
            Tools(*(self._actions[one] for one in ("run", "cancel", "history"))),
            self._table_tools(),
            services.settings.console_rows,
        )
        self._centre = QStackedWidget()
        self._build()
        self._connect(bridge)

    # what the window asks

    def set_workspace(self, workspace: Workspace) -> None:
        """Show the tables of a workspace; those of another are closed."""
        if self._workspace is None or workspace.id != self._workspace.id:
            self._close_tables()
            self._workspace, self._awaited = workspace, ""
            self._console.set_workspace(workspace)
            self.inspector.set_workspace(workspace)
        self._workspace = workspace
        self._targets.set_workspace(workspace)

    def open_table(self, name: str, target: str = "") -> None:
        """Show a table, in the tab it is in already or in a new one."""
        if self._workspace is None:
            return
        if not target and self._targets.table(target, name) is None:
            # It may have been committed a moment ago: it is opened once the catalog is read again.
            self._awaited = name
            self._targets.ask(target)
            return
        for viewer in self._viewers()[1:]:
            if (viewer.property(_TABLE), viewer.property(_TARGET)) == (name, target):
                self._show_tab(self._tabs.indexOf(viewer))
                return
        self._add_table(self._workspace, name, target)

    def _add_table(self, workspace: Workspace, name: str, target: str) -> None:
        viewer = TableViewer(
            self._tasks, self._table_tools(), f"table_{name}", layout=self._layouts.get(name)
        )
        viewer.setProperty(_TABLE, name)
        viewer.setProperty(_TARGET, target)
        viewer.row_chosen.connect(self.inspector.show_row)
        viewer.row_opened.connect(self.inspector_wanted)
        viewer.loading_changed.connect(self._render)
        # A database that does not answer says so in the tab, which can be read again.
        viewer.show_rows_of(partial(open_shape, self._results, workspace.id, target, name))
        icon = "quarantine" if name.endswith(QUARANTINE_SUFFIX) else "results"
        title = f"{name} · {kind_of(target)}" if target else name
        at = self._tabs.addTab(
            viewer, icons.icon(icon, "faint"), shown_text(title).replace("&", "&&")
        )
        listing = self._targets.get(target)
        if target and listing is not None:
            self._tabs.setTabToolTip(at, tip(f"{name}\n{title_of(listing.target)}"))
        self._tabs.tabBar().setTabButton(
            at, QTabBar.ButtonPosition.RightSide, self._close_button(viewer)
        )
        self._show_tab(at)

    def show_sql(self) -> None:
        """Go to the SQL console."""
        self._show_tab(0)
        self._console.editor.setFocus()

    def close_views(self) -> None:
        """Let go of everything in the catalog, at the end of the program; may block for a moment."""
        for viewer in self._viewers():
            self._remember(viewer)
            viewer.close_now()

    @property
    def console(self) -> SqlConsole:
        """The SQL console."""
        return self._console

    @property
    def catalog(self) -> CatalogTree:
        """The tree of tables."""
        return self._tree

    def viewer(self) -> TableViewer:
        """Return the table that is in front: a table's own, or that of the console's result."""
        current = self._tabs.currentWidget()
        return current if isinstance(current, TableViewer) else self._console.viewer

    # the targets

    @Slot()
    def _on_targets_changed(self) -> None:
        listings = self._targets.listings
        self._tree.show_targets(listings)
        self._console.show_targets(listings, self._chosen_target())
        catalog = self._targets.get("")
        if catalog is not None and catalog.problem is not None:
            self._on_targets_failed(catalog.problem)
        self._render()

    @Slot(str)
    def _on_target_answered(self, key: str) -> None:
        if key:
            return
        awaited, self._awaited = self._awaited, ""
        if self._targets.table(key, awaited) is not None:
            self.open_table(awaited)

    @Slot(object)
    def _on_targets_failed(self, error: CasparianError) -> None:
        self._console.say_problem(error)
        self._centre.setCurrentWidget(self._tabs)

    def _chosen_target(self) -> str:
        """Where queries of this workspace run: where somebody wanted them, or as the profile says."""
        workspace = self._workspace
        kept = self._memory.value(f"targets/{workspace.id}") if workspace is not None else None
        known = isinstance(kept, str) and self._targets.get(kept) is not None
        return str(kept) if known else self._results.default_target

    @Slot(str)
    def _on_target_chosen(self, key: str) -> None:
        if self._workspace is not None:
            self._memory.setValue(f"targets/{self._workspace.id}", key)
            self._console.show_targets(self._targets.listings, key)

    @Slot()
    def _render(self) -> None:
        listings = self._targets.listings
        has_tables = any(one.kind == "table" for each in listings for one in each.tables)
        is_known = bool(listings) and not any(one.is_asked for one in listings)
        if has_tables or self._tabs.count() > 1 or any(one.problem for one in listings):
            self._centre.setCurrentWidget(self._tabs)
        elif is_known and self._tabs.currentIndex() == 0 and not self._console.editor.toPlainText():
            self._centre.setCurrentWidget(self._empty)
        loading = self._console.is_running or self.viewer().is_loading
        self._actions["cancel"].setEnabled(loading)
        self._actions["run"].setEnabled(not self._console.is_running)

    def _show_tab(self, at: int) -> None:
        self._centre.setCurrentWidget(self._tabs)
        self._tabs.setCurrentIndex(at)

    def _viewers(self) -> list[TableViewer]:
        widgets = (self._tabs.widget(at) for at in range(self._tabs.count()))
        return [self._console.viewer, *(one for one in widgets if isinstance(one, TableViewer))]

    def _close_tables(self) -> None:
        for at in reversed(range(1, self._tabs.count())):
            self._close_tab(at)

    # slots

    @Slot(object)
    def _on_catalog_changed(self, event: CatalogChanged) -> None:
        if self._workspace is None or event.workspace_id != self._workspace.id:
            return
        self._targets.read()
        for viewer in self._viewers()[1:]:
            viewer.say_stale()

    @Slot(int)
    def _close_tab(self, at: int) -> None:
        viewer = self._tabs.widget(at)
        if not isinstance(viewer, TableViewer):
            return
        self._tabs.removeTab(at)
        self._remember(viewer)
        viewer.close_view()
        viewer.deleteLater()
        self._render()

    def _remember(self, viewer: TableViewer) -> None:
        """Keep how the columns of a table are, if anybody has seen them."""
        if viewer is not self._console.viewer and viewer.view is not None:
            self._layouts.put(str(viewer.property(_TABLE)), viewer.column_layout())

    def _close_button(self, viewer: TableViewer) -> QToolButton:
        button = QToolButton()
        button.setIcon(icons.icon("close", "faint"))
        button.setIconSize(QSize(12, 12))
        button.setObjectName(f"{viewer.objectName()}_close")
        button.setAccessibleName("Close the table")
        button.setToolTip("Close the table")
        button.clicked.connect(lambda: self._close_tab(self._tabs.indexOf(viewer)))
        return button

    @Slot(int)
    def _on_tab(self, _at: int) -> None:
        self.inspector.show_row(self.viewer().chosen())
        self._render()

    @Slot(str, str)
    def _on_query_wanted(self, table: str, target: str) -> None:
        self.show_sql()
        self._on_target_chosen(target)
        self._console.query_table(table)

    @Slot(str, str)
    def _on_name_wanted(self, column: str, _target: str) -> None:
        self.show_sql()
        self._console.insert_name(column)

    @Slot(str, str)
    def _on_rows_of_file_wanted(self, column: str, value: str) -> None:
        self.viewer().add_filters([Filter(column, "=", value)])

    @Slot(str, str)
    def _on_export_wanted(self, table: str, target: str) -> None:
        info = self._targets.table(target, table)
        if info is not None:
            spec = ViewSpec(info.schema, table)
            self._ask_export([Choice("The whole table", spec, info.rows, table, target)])

    # actions

    def _export(self) -> None:
        choices = self._choices()
        if choices:
            self._ask_export(choices)

    def _choices(self) -> list[Choice]:
        """Return what can be exported of what is in front."""
        viewer = self.viewer()
        if viewer is self._console.viewer:
            sql, target = self._console.sql_of_result(), self._console.target_of_result
            rows = None if viewer.view is None or viewer.view.truncated else viewer.rows
            return [Choice("The result of the query", sql, rows, "query", target)] if sql else []
        name, target = str(viewer.property(_TABLE)), str(viewer.property(_TARGET))
        info = self._targets.table(target, name)
        if info is None:
            return []
        choices = [Choice("The whole table", ViewSpec(info.schema, name), info.rows, name, target)]
        shape, rows = viewer.shape, viewer.rows
        if shape.narrows or shape.sort:
            spec = spec_of(info.schema, name, shape)
            choices.append(Choice("What is shown now, all columns", spec, rows, name, target))
        shown = tuple(viewer.shown_columns())
        if shown != tuple(one.name for one in info.columns):
            spec = spec_of(info.schema, name, shape, shown)
            choices.insert(1, Choice("What is shown now, these columns", spec, rows, name, target))
        return choices

    def _ask_export(self, choices: list[Choice]) -> None:
        if self._workspace is None:
            return
        count = partial(count_rows, self._results, self._workspace.id)
        ExportDialog(
            self._results, self._tasks, self._workspace, choices, count, self.window()
        ).open()

    def _cancel(self) -> None:
        self._console.cancel()
        self.viewer().cancel()

    def _find_table(self) -> None:
        self._tree.focus_search()

    def _close_current(self) -> None:
        self._close_tab(self._tabs.currentIndex())

    def _run(self) -> None:
        is_in_front = self._console.isVisible()
        self.show_sql()
        if is_in_front:
            self._console.run()

    def _history(self) -> None:
        self.show_sql()
        self._console.toggle_history()

    def _cycle(self, step: int) -> None:
        """Move the focus to the next part of the view: tree, editor, rows, inspector."""
        panes: list[QWidget] = [self._tree.tree, self.viewer().grid]
        if self._tabs.currentIndex() == 0:
            panes.insert(1, self._console.editor)
        if self.inspector.isVisible():
            panes.append(self.inspector.fields_tree)
        focused = QApplication.focusWidget() or self
        here = next(
            (at for at, pane in enumerate(panes) if pane.hasFocus() or pane.isAncestorOf(focused)),
            -1 if step > 0 else 0,
        )
        panes[(here + step) % len(panes)].setFocus(Qt.FocusReason.TabFocusReason)

    def _register(self, actions: Actions) -> dict[str, QAction]:
        def viewer(verb: Callable[[TableViewer], object]) -> Callable[[], object]:
            return lambda: verb(self.viewer())

        handlers: dict[str, Callable[[], object]] = {
            "run": self._run,
            "cancel": self._cancel,
            "history": self._history,
            "sql": self.show_sql,
            "find_table": self._find_table,
            "search": viewer(TableViewer.focus_search),
            "filter": viewer(TableViewer.ask_filter),
            "clear_filters": viewer(TableViewer.clear_filters),
            "sort": viewer(TableViewer.sort_current),
            "columns": viewer(TableViewer.ask_columns),
            "lineage": viewer(TableViewer.toggle_lineage),
            "freeze": viewer(TableViewer.freeze_current),
            "go_to_row": viewer(TableViewer.ask_row),
            "copy": viewer(TableViewer.copy_cells),
            "copy_rows": viewer(TableViewer.copy_rows),
            "copy_header": viewer(TableViewer.copy_rows_with_header),
            "export": self._export,
            "reload": viewer(TableViewer.reload),
            "close_tab": self._close_current,
            "next_pane": partial(self._cycle, 1),
            "previous_pane": partial(self._cycle, -1),
        }
        return {
            verb: actions.add(
                Action(
                    f"results.{verb}", text, handlers[verb], "Results", keys, icon, "results", hint
                ),
                widget=self,
            )
            for verb, text, keys, icon, hint in _ACTIONS
        }

    def _table_tools(self) -> list[QAction]:
        return [self._actions[one] for one in ("filter", "columns", "lineage", "export")]

    # building

    def _build(self) -> None:
        self._empty = parts.EmptyState(
            "results",
            "No tables yet",
            "Drop evidence on the window: what it holds is parsed into tables, and they stand here.",
            [self._actions["sql"]],
            name="results_empty",
        )
        self._tabs.setObjectName("results_tabs")
        self._tabs.setAccessibleName("Tables and SQL")
        self._tabs.setDocumentMode(True)
        self._tabs.setMovable(False)
        self._tabs.addTab(self._console, icons.icon("sql", "faint"), "SQL")
        self._centre.addWidget(self._empty)
        self._centre.addWidget(self._tabs)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.setObjectName("results_split")
        split.addWidget(self._tree)
        split.addWidget(self._centre)
        split.setStretchFactor(0, 0)
        split.setStretchFactor(1, 1)
        split.setSizes([260, 1_000])
        split.setChildrenCollapsible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(split)

    def _connect(self, bridge: EventBridge) -> None:
        bridge.catalog_changed.connect(self._on_catalog_changed)
        self._targets.changed.connect(self._on_targets_changed)
        self._targets.answered.connect(self._on_target_answered)
        self._targets.failed.connect(self._on_targets_failed)
        self._console.target_chosen.connect(self._on_target_chosen)
        # The row that was clicked goes away with it.
        queued = Qt.ConnectionType.QueuedConnection
        self._tree.retry_wanted.connect(self._targets.ask, queued)
        self._tree.open_wanted.connect(self.open_table)
        self._tree.query_wanted.connect(self._on_query_wanted)
        self._tree.export_wanted.connect(self._on_export_wanted)
        self._tree.name_wanted.connect(self._on_name_wanted)
        self._tabs.currentChanged.connect(self._on_tab)
        self._console.running_changed.connect(self._render)
        self._console.viewer.row_chosen.connect(self.inspector.show_row)
        self._console.viewer.row_opened.connect(self.inspector_wanted)
        self._console.viewer.loading_changed.connect(self._render)
        self.inspector.file_wanted.connect(self.file_wanted)
        self.inspector.job_wanted.connect(self.job_wanted)
        self.inspector.rows_of_file_wanted.connect(self._on_rows_of_file_wanted)
