"""Where evidence comes in: the sources with their folders, every file, what was left out, and the plan."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QWidget,
)

from casparian.ui import formats, parts, problems
from casparian.ui.actions import Action
from casparian.ui.files_tab import FilesTab
from casparian.ui.plan_view import PlanView
from casparian.ui.record_table import Column, RecordModel, RecordTable
from casparian.ui.root_dialog import RootDialog
from casparian.ui.source_tree import SourceTree
from casparian.ui.tasks import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casparian.bootstrap import Services
    from casparian.domain.errors import CasparianError
    from casparian.domain.events import SourcesChanged
    from casparian.domain.evidence import Source, Workspace
    from casparian.services.sources import SourceSummary
    from casparian.state.evidence import SkipRow
    from casparian.ui.actions import Actions
    from casparian.ui.bridge import EventBridge
    from casparian.ui.source_tree import Place
    from casparian.ui.tasks import Tasks

SKIP_COLUMNS: tuple[Column[SkipRow], ...] = (
    Column("Why", lambda row: row.kind.value, 112),
    Column("Path", lambda row: row.path, 360),
    Column("Reason", lambda row: row.message, 400),
    Column("Source", lambda row: row.source_path, 240, faint=True),
    Column("At", lambda row: formats.moment(row.at), 192, faint=True),
)


class SourcesView(QWidget):
    """Sources at the left; their files, what the scans left out, and the plan at the right.

    Signals:
        folder_wanted, files_wanted: the user wants to browse for evidence.
        sources_read: how many sources there are, whenever they were read.
        rescan_wanted: (Source, force).
    """

    folder_wanted = Signal()
    files_wanted = Signal()
    sources_read = Signal(int)
    rescan_wanted = Signal(object, bool)

    def __init__(
        self,
        services: Services,
        tasks: Tasks,
        actions: Actions,
        bridge: EventBridge,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("sources_view")
        self._services, self._tasks = services, tasks
        self._workspace: Workspace | None = None
        self._refresh = Refresh(
            tasks, self, self._ask, self._on_sources, self._on_failed, pause_ms=500
        )
        self._skips_refresh = Refresh(
            tasks, self, self._ask_skips, self._on_skips, self._on_failed, pause_ms=1_000
        )
        self._register(actions)
        self._build(actions, bridge)
        bridge.sources_changed.connect(self._on_sources_changed)
        bridge.job_changed.connect(self._on_files_changed)
        bridge.rules_changed.connect(self._on_files_changed)

    def set_workspace(self, workspace: Workspace) -> None:
        """Show the sources of another workspace."""
        self._workspace = workspace
        self._tree.clear()
        self._refresh.now()
        self._skips_refresh.now()
        self.files.set_workspace(workspace)
        self._plan.set_workspace(workspace)

    def show_skips(self) -> None:
        """Show what the scans left out."""
        self._tabs.setCurrentWidget(self._skips_page)

    def show_plan(self) -> None:
        """Show what will run."""
        self._tabs.setCurrentWidget(self._plan)

    def show_files(self, status: str = "") -> None:
        """Show the files, all or those of one state."""
        self._tabs.setCurrentWidget(self.files)
        self.files.set_status(status)

    def show_file(self, file_id: str) -> None:
        """Bring one file into sight."""
        self._tabs.setCurrentWidget(self.files)
        self.files.show_file(file_id)

    def _register(self, actions: Actions) -> None:
        group = "Sources"
        self._add_folder = actions.add(
            Action(
                "sources.add_folder", "Add folder…", self.folder_wanted.emit, group,
                "Ctrl+O", "folder", hint="Choose a folder of evidence; it is only read",
            )
        )  # fmt: skip
        self._add_files = actions.add(
            Action(
                "sources.add_files", "Add files…", self.files_wanted.emit, group,
                "Ctrl+Shift+O", "file", hint="Choose files of evidence; they are only read",
            )
        )  # fmt: skip
        self._rescan = actions.add(
            Action(
                "sources.rescan", "Rescan", partial(self._on_rescan, force=False), group, "F5",
                "rescan", view="sources",
                hint="Look for new and changed files; what is unchanged is not read again",
            ),
            self,
        )  # fmt: skip
        self._rescan_all = actions.add(
            Action(
                "sources.rescan_all", "Rescan and read everything again",
                partial(self._on_rescan, force=True), group, "Ctrl+F5", "retry", view="sources",
            ),
            self,
        )  # fmt: skip
        self._remove = actions.add(
            Action("sources.remove", "Remove source…", self._on_remove, group, icon="delete")
        )
        self._of_source = [self._rescan, self._rescan_all, self._remove]
        if self._services.settings.state.is_server:
            self._of_source.append(
                actions.add(
                    Action(
                        "sources.map_root", "Lies elsewhere on this host…", self._on_map, group,
                        icon="edit", hint="Say under which path this host sees the chosen source",
                    )
                )
            )  # fmt: skip
        self._filter = actions.add(
            Action(
                "sources.filter", "Filter files", self._on_filter, group, "Ctrl+F", "filter",
                view="sources",
            ),
            self,
        )  # fmt: skip
        self._plan_shown = actions.add(
            Action("sources.plan", "Show the plan", self.show_plan, group, icon="jobs")
        )

    def _build(self, actions: Actions, bridge: EventBridge) -> None:
        self._tree = SourceTree(self._services, self._tasks)
        self._tree.place_chosen.connect(self._on_place_chosen)
        self._tree.failed.connect(self._on_failed)
        empty = parts.EmptyState(
            "sources",
            "No sources",
            "A source is a folder or file that you point at. Drop it on the window.",
            name="sources_empty",
        )
        self._tree_stack = QStackedWidget()
        self._tree_stack.addWidget(empty)
        self._tree_stack.addWidget(self._tree)
        self._banner = problems.Banner("sources_banner")
        self._banner.acted.connect(self._refresh.now)
        main = QWidget()
        right = parts.margins(main, all_round=0, gap=0)
        right.addWidget(self._banner)
        right.addWidget(self._build_tabs(actions, bridge), 1)

        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.setObjectName("sources_splitter")
        self.splitter.addWidget(self._build_side())
        self.splitter.addWidget(main)
        self.splitter.setSizes([400, 1000])
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setChildrenCollapsible(False)
        parts.margins(self, all_round=0).addWidget(self.splitter)
        self.setFocusProxy(self._tree)
        self._enable()

    def _build_side(self) -> QWidget:
        side = QWidget()
        column = parts.margins(side, all_round=0, gap=0)
        first = parts.row(
            parts.action_button(self._add_folder), parts.action_button(self._add_files), None,
            *(parts.action_button(one, text=False)
              for one in self._of_source),
            gap=0,
        )  # fmt: skip
        first.setContentsMargins(4, 4, 4, 4)
        column.addWidget(first)
        column.addWidget(parts.hairline())
        column.addWidget(self._tree_stack, 1)

        return side

    def _build_tabs(self, actions: Actions, bridge: EventBridge) -> QTabWidget:
        self.files = FilesTab(
            self._services,
            self._tasks,
            (self._add_folder, self._add_files),
            actions.get("help.sample"),
        )
        self._plan = PlanView(self._services, self._tasks, actions, bridge)
        self._skips: RecordModel[SkipRow] = RecordModel(
            SKIP_COLUMNS, lambda row: (row.source_path, row.path, row.at, row.kind), self
        )
        self._skips_page = QStackedWidget()
        self._skips_page.addWidget(
            parts.EmptyState(
                "good",
                "Nothing was left out",
                "Links, unreadable files and whatever else a scan could not take in are listed here, "
                "each with its reason.",
                name="skips_empty",
            )
        )
        self._skips_page.addWidget(RecordTable(self._skips, "skips_table", "Left out by the scans"))
        self._tabs = QTabWidget()
        self._tabs.setObjectName("sources_tabs")
        self._tabs.setAccessibleName("Sources")
        self._tabs.setDocumentMode(True)
        self._tabs.addTab(self.files, "Files")
        self._tabs.addTab(self._skips_page, "Left out")
        self._tabs.addTab(self._plan, "Plan")
        return self._tabs

    def _ask(self) -> Callable[[], list[SourceSummary]]:
        sources, workspace = self._services.sources, self._workspace
        return lambda: sources.list(workspace.id) if workspace is not None else []

    def _on_sources(self, summaries: list[SourceSummary]) -> None:
        self._banner.clear()
        self._tree.show_sources(summaries)
        self._tree_stack.setCurrentIndex(1 if summaries else 0)
        self.files.offer_sample(offers=not summaries)
        self.sources_read.emit(len(summaries))
        self._enable()

    @Slot(object)
    def _on_place_chosen(self, place: Place | None) -> None:
        self._enable()
        if place is not None:
            self.files.set_scope(place.source.id, place.folder)
        else:
            self.files.set_scope(None, "")

    def _enable(self) -> None:
        has = self._tree.current_source() is not None
        for action in self._of_source:
            action.setEnabled(has)

    # What was left out

    def _ask_skips(self) -> Callable[[], Sequence[SkipRow]]:
        sources, workspace = self._services.sources, self._workspace
        return lambda: sources.problems(workspace.id) if workspace is not None else []

    def _on_skips(self, rows: Sequence[SkipRow]) -> None:
        self._skips.replace(rows)
        self._skips_page.setCurrentIndex(1 if rows else 0)
        at = self._tabs.indexOf(self._skips_page)
        self._tabs.setTabText(at, f"Left out ({formats.number(len(rows))})" if rows else "Left out")

    def _on_failed(self, error: CasparianError) -> None:
        self._banner.show_problem(error, "Retry")

    @Slot(object)
    def _on_sources_changed(self, event: SourcesChanged) -> None:
        if self._workspace is not None and event.workspace_id == self._workspace.id:
            self._refresh.soon()
            self._skips_refresh.soon()
            self.files.refresh()

    @Slot(object)
    def _on_files_changed(self, _event: object) -> None:
        self.files.refresh()

    # Acts

    def _on_filter(self) -> None:
        self._tabs.setCurrentWidget(self.files)
        self.files.focus_filter()

    def _on_rescan(self, *, force: bool) -> None:
        if (source := self._tree.current_source()) is not None:
            self.rescan_wanted.emit(source, force)

    def _on_map(self) -> None:
        source, services = self._tree.current_source(), self._services
        if source is not None:
            host = services.settings.host_name
            RootDialog(services.sources, self._tasks, source, host, self.window()).open()

    def _on_remove(self) -> None:
        source, sources = self._tree.current_source(), self._services.sources
        if source is not None:
            self._tasks.run(
                self,
                lambda: sources.removal_impact(source.id),
                partial(self._on_impact, source),
                key="impact",
            )

    def _on_impact(self, source: Source, impact: str) -> None:
        remove = partial(self._remove_source, source)
        problems.confirm(self.window(), "Remove this source?", impact, "Remove", remove)

    def _remove_source(self, source: Source) -> None:
        sources = self._services.sources
        self._tasks.run(self, lambda: sources.remove(source.id), key="remove")
