"""The readiness board: which cases there are, and of one what can be queried, what runs, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QFrame,
    QPushButton,
    QScrollArea,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from casparian.domain.jobs import JobState
from casparian.domain.results import QUARANTINE_SUFFIX
from casparian.ui import formats, parts, problems, targets, theme
from casparian.ui.actions import Action
from casparian.ui.configuration_page import ConfigurationPage
from casparian.ui.jobs_panel import JOB_COLUMNS, JobRow
from casparian.ui.name_dialog import NameDialog
from casparian.ui.record_table import Column, RecordModel, RecordTable
from casparian.ui.tasks import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.bootstrap import Services
    from casparian.domain.errors import CasparianError
    from casparian.domain.evidence import Workspace
    from casparian.services.tables import TableSummary
    from casparian.services.workspaces import Overview
    from casparian.ui.actions import Actions
    from casparian.ui.bridge import EventBridge
    from casparian.ui.tasks import Tasks

WORKSPACE_COLUMNS: tuple[Column[Workspace], ...] = (
    Column(
        "Workspace",
        lambda one: f"{one.name} (archived)" if one.archived_at else one.name,
        144,
        tip=lambda one: one.name,
    ),
    Column(
        "Created",
        lambda one: formats.age(one.created_at),
        88,
        tip=lambda one: formats.moment(one.created_at),
        faint=True,
    ),
)

TABLE_COLUMNS: tuple[Column[TableSummary], ...] = (
    Column("Table", lambda one: one.name, 168),
    Column("Rows", lambda one: formats.number(one.rows), 80, right=True),
    Column("Quarantined", lambda one: formats.number(one.quarantined), 88, right=True),
    Column(
        "Updated", lambda one: formats.age(one.updated_at), 88, faint=True,
        tip=lambda one: formats.moment(one.updated_at),
    ),
    Column(
        "Size", lambda one: formats.size(one.size_bytes), 80, right=True,
        tip=lambda one: formats.exact_size(one.size_bytes),
    ),
    Column("Columns", lambda one: formats.number(len(one.columns)), 72, right=True),
    Column("Parser", lambda one: f"{one.parser} {one.parser_version}", 96, faint=True),
    Column("Where", lambda one: targets.where(one.sink), 144, faint=True),
)  # fmt: skip
_WHERE = len(TABLE_COLUMNS) - 1
"""Shown only where a table is not in the catalog."""

_AT_WORK = tuple(
    column for column in JOB_COLUMNS if column.title in {"State", "Parser", "Progress"}
)
_SHOWN_RUNS = 5
_SHOWN_QUARANTINES = 8


@dataclass(frozen=True, slots=True)
class Board:
    """What the view shows of a workspace."""

    overview: Overview
    at_work: tuple[JobRow, ...]


class WorkspaceView(QWidget):
    """Cases at the left; the board of the one that is open, and the configuration of the program.

    Signals:
        workspace_wanted: a Workspace to open.
        workspaces_read: the list of workspaces, whenever it was read.
        table_wanted: the name of a table to look into, and the target that it is in.
        jobs_wanted, problems_wanted, files_wanted: (status) the places that warnings lead to.
        configuration_wanted: the configuration is to be brought into sight.
        restart_wanted: a change of the configuration is to hold now.
    """

    workspace_wanted = Signal(object)
    workspaces_read = Signal(object)
    table_wanted = Signal(str, str)
    jobs_wanted = Signal()
    problems_wanted = Signal()
    files_wanted = Signal(str)
    configuration_wanted = Signal()
    restart_wanted = Signal()

    def __init__(
        self,
        services: Services,
        tasks: Tasks,
        actions: Actions,
        bridge: EventBridge,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("workspace_view")
        self._services, self._tasks = services, tasks
        self._workspace: Workspace | None = None
        self._list_refresh = Refresh(tasks, self, self._ask_list, self._on_list, self._on_failed)
        self._refresh = Refresh(
            tasks, self, self._ask, self._on_board, self._on_failed, pause_ms=500
        )
        self._register(actions)
        self._build(actions)
        bridge.workspaces_changed.connect(self._on_workspaces_changed)
        for signal in (
            bridge.sources_changed,
            bridge.rules_changed,
            bridge.job_changed,
            bridge.job_progressed,
            bridge.catalog_changed,
        ):
            signal.connect(self._on_something_changed)
        self._list_refresh.now()

    def set_workspace(self, workspace: Workspace) -> None:
        """Show another workspace."""
        if self._workspace is None or workspace.id != self._workspace.id:
            self._tables.replace([])
            self._at_work.replace([])
        self._workspace = workspace
        self._list_table.choose(workspace.id)
        self._title.say(workspace.name)
        self._facts.say(f"Created {formats.moment(workspace.created_at)}")
        self._enable()
        self._refresh.now()

    def show_configuration(self, answer: str) -> None:
        """Bring one of the answers into sight: `state`, `outputs`, `query`."""
        self._pages.setCurrentWidget(self._configuration)
        self._configuration.focus(answer)

    @Slot(int)
    def on_sources_read(self, count: int) -> None:
        """Offer the sample case while there is no source."""
        self._empty.offer(quiet=not count)

    def _register(self, actions: Actions) -> None:
        group = "Workspace"
        self._shown = actions.add(
            Action(
                "configuration.show", "Show the configuration",
                self.configuration_wanted.emit, group, icon="settings",
                hint="Where state and outputs live, and what is queried",
            )
        )  # fmt: skip
        self._create = actions.add(
            Action(
                "workspace.create", "New workspace…", self._on_create, group, "Ctrl+Shift+N", "add"
            )
        )
        self._rename = actions.add(
            Action("workspace.rename", "Rename workspace…", self._on_rename, group, icon="edit")
        )
        self._archive = actions.add(
            Action(
                "workspace.archive", "Archive workspace", self._on_archive, group, icon="archive",
                hint="Put the workspace away; nothing of it is deleted",
            )
        )  # fmt: skip
        self._restore = actions.add(
            Action("workspace.restore", "Restore workspace", self._on_restore, group, icon="up")
        )
        self._archived = actions.add(
            Action(
                "workspace.archived", "Show archived workspaces", self._list_again, group,
                icon="filter", is_switch=True,
            )
        )  # fmt: skip

    def _build(self, actions: Actions) -> None:
        self._list: RecordModel[Workspace] = RecordModel(
            WORKSPACE_COLUMNS, lambda one: one.id, self
        )
        self._list_table = RecordTable(self._list, "workspaces_table", "Workspaces")
        self._list_table.chosen.connect(self._on_chosen)
        tools = (self._create, self._rename, self._archive, self._restore, self._archived)
        side = QWidget()
        column = parts.margins(side, all_round=0, gap=0)
        buttons = parts.row(
            *(parts.action_button(one, text=one is self._create) for one in tools), None, gap=0
        )
        buttons.setContentsMargins(4, 4, 4, 4)
        column.addWidget(buttons)
        column.addWidget(parts.hairline())
        column.addWidget(self._list_table)

        board = QWidget()
        main = parts.margins(board, all_round=2 * theme.GRID, gap=2 * theme.GRID)
        self._title = parts.Elided(name="workspace_title")
        self._title.setFont(theme.font(theme.LARGE, strong=True))
        self._facts = parts.Elided(name="workspace_facts", look="faint")
        self._banner = problems.Banner("workspace_banner")
        self._banner.acted.connect(self._refresh.now)
        titles = QWidget()
        title_lines = parts.margins(titles, all_round=0, gap=4)
        title_lines.addWidget(self._title)
        title_lines.addWidget(self._facts)
        main.addWidget(titles)
        main.addWidget(self._banner)
        main.addWidget(self._build_pages(actions), 1)

        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.setObjectName("workspace_splitter")
        self.splitter.addWidget(side)
        self.splitter.addWidget(board)
        self.splitter.setSizes([256, 1024])
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setChildrenCollapsible(False)
        parts.margins(self, all_round=0).addWidget(self.splitter)
        self.setFocusProxy(self._list_table)
        self._enable()

    def _build_pages(self, actions: Actions) -> QWidget:
        columns = QSplitter(Qt.Orientation.Horizontal)
        columns.setObjectName("board_splitter")
        columns.setHandleWidth(2 * theme.GRID)
        columns.setProperty("look", "gap")
        columns.setChildrenCollapsible(False)
        columns.addWidget(self._build_tables(actions))
        columns.addWidget(self._build_side())
        columns.setStretchFactor(0, 5)
        columns.setStretchFactor(1, 4)
        self._configuration = ConfigurationPage(self._services.settings, self._tasks, actions)
        self._configuration.restart_wanted.connect(self.restart_wanted)
        self._pages = QTabWidget()
        self._pages.setObjectName("board_pages")
        self._pages.setAccessibleName("Workspace")
        self._pages.setDocumentMode(True)
        for page, word in ((columns, "Board"), (self._configuration, "Configuration")):
            page.setContentsMargins(0, 2 * theme.GRID, 0, 0)
            self._pages.addTab(page, word)
        return self._pages

    def _build_tables(self, actions: Actions) -> QWidget:
        self._tables: RecordModel[TableSummary] = RecordModel(
            TABLE_COLUMNS, lambda one: (one.name, one.sink), self
        )
        self._tables_view = RecordTable(self._tables, "ready_table", "Tables ready to query")
        self._tables_view.setColumnHidden(_WHERE, True)  # noqa: FBT003  (Qt's own signature)
        self._tables_view.horizontalHeader().moveSection(_WHERE, 1)
        self._tables_view.opened.connect(self._on_table_opened)
        self._open_table = actions.add(
            Action(
                "workspace.open_table", "Open table", self._on_open_table, "Workspace",
                icon="results", hint="Look into the chosen table",
            )
        )  # fmt: skip
        self._tables_view.chosen.connect(self._enable)
        self._empty = parts.EmptyState(
            "results",
            "No tables yet",
            "Drop a folder or files of evidence anywhere on this window. They are hashed, tagged and "
            "parsed; the tables that come of them are listed here.",
            [actions.get("sources.add_folder"), actions.get("sources.add_files")],
            name="ready_empty",
            quiet=actions.get("help.sample"),
        )
        self._tables_stack = QStackedWidget()
        self._tables_stack.addWidget(self._empty)
        self._tables_stack.addWidget(self._tables_view)
        card = parts.Card("Ready to query", "ready_card", parts.action_button(self._open_table))
        card.body.addWidget(self._tables_stack, 1)
        return card

    def _build_side(self) -> QWidget:
        self._at_work: RecordModel[JobRow] = RecordModel(_AT_WORK, lambda row: row.job.id, self)
        at_work = RecordTable(self._at_work, "at_work_table", "Jobs at work")
        at_work.horizontalHeader().hide()
        at_work.opened.connect(self._on_run_opened)
        self._at_work_table = at_work
        self._at_work_note = parts.faint("Nothing runs.", name="at_work_note")
        self._at_work_note.setContentsMargins(8, 8, 8, 8)
        runs = parts.Card("In progress", "runs_card")
        runs.body.addWidget(at_work)
        runs.body.addWidget(self._at_work_note)

        self._warnings_card = parts.Card("To look at", "warnings_card")
        self._warnings = QWidget()
        self._warnings.setObjectName("warnings")
        self._warning_lines = QVBoxLayout(self._warnings)
        self._warning_lines.setContentsMargins(8, 8, 8, 8)
        self._warning_lines.setSpacing(2)
        self._warnings_card.body.addWidget(self._warnings)

        holder = QWidget()
        column = parts.margins(holder, all_round=0, gap=2 * theme.GRID)
        for card in (runs, self._warnings_card):
            column.addWidget(card)
        column.addStretch(1)
        self._scroll = QScrollArea()
        self._scroll.setObjectName("board_side")
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setMinimumWidth(304)
        self._scroll.setWidget(holder)
        return self._scroll

    # The list of workspaces

    def _ask_list(self) -> Callable[[], list[Workspace]]:
        return partial(self._services.workspaces.list, archived=self._archived.isChecked())

    def _list_again(self) -> None:
        self._list_refresh.now()

    def _on_list(self, workspaces: list[Workspace]) -> None:
        self._list.replace(workspaces)
        self.workspaces_read.emit(workspaces)
        if self._workspace is not None:
            self._list_table.choose(self._workspace.id)
            for one in workspaces:
                if one.id == self._workspace.id and one != self._workspace:
                    self.workspace_wanted.emit(one)

    @Slot(object)
    def _on_workspaces_changed(self, _event: object) -> None:
        self._list_refresh.soon()

    @Slot(object)
    def _on_chosen(self, workspace: Workspace | None) -> None:
        if workspace is None:
            return
        if self._workspace is None or workspace.id != self._workspace.id:
            self.workspace_wanted.emit(workspace)

    def _enable(self, _record: object = None) -> None:
        one = self._workspace
        fixed = one is None or one.name == "default"
        archived = one is not None and one.archived_at is not None
        self._rename.setEnabled(not fixed)
        self._archive.setEnabled(not fixed and not archived)
        self._restore.setEnabled(archived)
        self._open_table.setEnabled(self._tables_view.current() is not None)

    def _on_create(self) -> None:
        service = self._services.workspaces
        NameDialog(
            self._tasks,
            "New workspace",
            "Create",
            service.create,
            self._open_by_name,
            self.window(),
        ).open()

    def _on_rename(self) -> None:
        one = self._workspace
        if one is not None:
            rename = partial(self._services.workspaces.rename, one.id)
            NameDialog(
                self._tasks, "Rename workspace", "Rename", rename, self._open_by_name,
                self.window(), one.name,
            ).open()  # fmt: skip

    def _open_by_name(self, name: str) -> None:
        find = partial(self._services.workspaces.by_name, name)
        self._tasks.run(self, find, self.workspace_wanted.emit, key="open")

    def _on_archive(self) -> None:
        one = self._workspace
        if one is None:
            return
        problems.confirm(
            self.window(),
            f"Archive {one.name}?",
            "It leaves the list. Its sources, jobs, tables and outputs stay as they are, and you can "
            "restore it at any time.",
            "Archive",
            partial(self._put_away, one),
        )

    def _put_away(self, one: Workspace) -> None:
        service = self._services.workspaces

        def work() -> Workspace:
            service.archive(one.id)
            return service.default()

        self._tasks.run(self, work, self.workspace_wanted.emit, key="archive")

    def _on_restore(self) -> None:
        one = self._workspace
        if one is not None:
            restore = partial(self._services.workspaces.restore, one.id)
            self._tasks.run(self, restore, lambda _: self._open_by_name(one.name), key="restore")

    # The board

    def _ask(self) -> Callable[[], Board | None]:
        services, workspace = self._services, self._workspace

        def work() -> Board | None:
            if workspace is None:
                return None
            running = [job for job in services.jobs.list(workspace.id) if not job.state.is_terminal]
            running.sort(key=lambda job: (job.state is JobState.QUEUED, job.id))
            rows = (JobRow(job, services.jobs.progress(job.id)) for job in running[:_SHOWN_RUNS])
            return Board(services.workspaces.overview(workspace.id), tuple(rows))

        return work

    def _on_failed(self, error: CasparianError) -> None:
        self._banner.show_problem(error, "Retry")

    def _on_board(self, board: Board | None) -> None:
        if board is None or self._workspace is None:
            return
        self._banner.clear()
        self._render_facts(board.overview)
        self._tables.replace(board.overview.tables)
        elsewhere = any(one.sink for one in board.overview.tables)
        self._tables_view.setColumnHidden(_WHERE, not elsewhere)
        self._tables_stack.setCurrentIndex(1 if board.overview.tables else 0)
        self._render_runs(board)
        self._render_warnings(board.overview)
        self._enable()

    def _render_facts(self, overview: Overview) -> None:
        files = overview.files
        facts = [formats.count(files.found, "file"), formats.size(files.size_bytes)]
        if files.unclaimed:
            facts.append(f"{formats.number(files.unclaimed)} that no parser reads")
        if files.skipped:
            facts.append(f"{formats.number(files.skipped)} left out")
        rows = sum(one.rows for one in overview.tables)
        facts.append(
            f"{formats.count(rows, 'row')} in {formats.count(len(overview.tables), 'table')}"
        )
        self._facts.say(" · ".join(facts))

    def _render_runs(self, board: Board) -> None:
        self._at_work.replace(board.at_work)
        self._at_work_table.setVisible(bool(board.at_work))
        self._at_work_table.setFixedHeight(len(board.at_work) * theme.ROW_HEIGHT + 4)
        open_jobs = sum(n for state, n in board.overview.jobs.items() if not state.is_terminal)
        more = open_jobs - len(board.at_work)
        self._at_work_note.setText(
            f"and {formats.count(more, 'more job')}" if more > 0 else "Nothing runs."
        )
        self._at_work_note.setVisible(more > 0 or not board.at_work)

    def _render_warnings(self, overview: Overview) -> None:
        while (item := self._warning_lines.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        lines = self._quarantine_lines(overview) + self._job_lines(overview)
        if overview.files.skipped:
            text = (
                f"{formats.count(overview.files.skipped, 'entry', 'entries')} left out by the scans"
            )
            line = parts.link_button(text, "warning_skips", "partial", "partial")
            line.clicked.connect(self.problems_wanted)
            lines.append(line)
        for line in lines:
            self._warning_lines.addWidget(line)
        if not lines:
            self._warning_lines.addWidget(parts.faint("Nothing needs your attention."))

    def _quarantine_lines(self, overview: Overview) -> list[QPushButton]:
        lines: list[QPushButton] = []
        worst = sorted(overview.tables, key=lambda table: -table.quarantined)
        for table in worst[:_SHOWN_QUARANTINES]:
            if table.quarantined:
                text = f"{table.name}: {formats.count(table.quarantined, 'row')} in quarantine"
                text += f", {targets.kind_of(table.sink)}" if table.sink else ""
                line = parts.link_button(text, f"warning_{table.name}", "quarantine", "partial")
                line.clicked.connect(
                    partial(self.table_wanted.emit, f"{table.name}{QUARANTINE_SUFFIX}", table.sink)
                )
                lines.append(line)
        return lines

    def _job_lines(self, overview: Overview) -> list[QPushButton]:
        lines: list[QPushButton] = []
        for state, words in ((JobState.FAILED, "failed"), (JobState.PARTIAL, "ended in part")):
            if count := overview.jobs.get(state, 0):
                _, icon, token = parts.JOB_LOOKS[state]
                text = f"{formats.count(count, 'job')} {words}"
                line = parts.link_button(text, f"warning_{state}", icon, token)
                line.clicked.connect(self.jobs_wanted)
                lines.append(line)
        return lines

    @Slot(object)
    def _on_something_changed(self, _event: object) -> None:
        self._refresh.soon()

    @Slot(object)
    def _on_table_opened(self, table: TableSummary) -> None:
        self.table_wanted.emit(table.name, table.sink)

    @Slot(object)
    def _on_run_opened(self, _row: JobRow) -> None:
        self.jobs_wanted.emit()

    def _on_open_table(self) -> None:
        if (table := self._tables_view.current()) is not None:
            self.table_wanted.emit(table.name, table.sink)
