"""The plan: what will run and why the rest will not, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QSplitter, QWidget
from typing_extensions import override

from casparian.ui import formats, parts, problems, theme
from casparian.ui.actions import Action
from casparian.ui.record_table import Column, RecordModel, RecordTable
from casparian.ui.tasks import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QShowEvent

    from casparian.bootstrap import Services
    from casparian.domain.errors import CasparianError
    from casparian.domain.evidence import Workspace
    from casparian.domain.planning import Plan, PlanItem, PlanRest
    from casparian.ui.actions import Actions
    from casparian.ui.bridge import EventBridge
    from casparian.ui.tasks import Tasks

ITEM_COLUMNS: tuple[Column[PlanItem], ...] = (
    Column("Parser", lambda one: f"{one.parser} {one.version}", 200),
    Column("Files", lambda one: formats.number(one.files), 80, right=True),
    Column(
        "Size", lambda one: formats.size(one.size_bytes), 88, right=True,
        tip=lambda one: formats.exact_size(one.size_bytes),
    ),
    Column("Jobs", lambda one: formats.number(one.jobs), 64, right=True),
)  # fmt: skip
REST_COLUMNS: tuple[Column[PlanRest], ...] = (
    Column("Why not", lambda one: one.reason, 320),
    Column("Files", lambda one: formats.number(one.files), 80, right=True),
    Column(
        "Size", lambda one: formats.size(one.size_bytes), 88, right=True,
        tip=lambda one: formats.exact_size(one.size_bytes),
    ),
    Column("For example", lambda one: ", ".join(one.examples), 400, faint=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with its sums, made off the GUI thread: they walk every file."""

    plan: Plan
    items: tuple[PlanItem, ...]
    rest: tuple[PlanRest, ...]


class PlanView(QWidget):
    """Shows the plan while it is seen, and runs it."""

    def __init__(
        self, services: Services, tasks: Tasks, actions: Actions, bridge: EventBridge
    ) -> None:
        super().__init__()
        self.setObjectName("plan_view")
        self._services, self._tasks = services, tasks
        self._workspace: Workspace | None = None
        self._planned: Planned | None = None
        self._refresh = Refresh(
            tasks, self, self._ask, self._on_planned, self._on_failed, pause_ms=1_000
        )
        self._run = actions.add(
            Action(
                "plan.run", "Run the plan", self._on_run, "Jobs", "Ctrl+R", "run",
                hint="Queue the jobs of the plan and start them",
            )
        )  # fmt: skip
        self._force = actions.add(
            Action(
                "plan.force", "Plan to read everything again", self._on_force, "Jobs",
                icon="rescan", is_switch=True,
                hint="Also what is done already; new rows replace the old ones",
            )
        )  # fmt: skip
        self._build()
        for signal in (bridge.sources_changed, bridge.rules_changed, bridge.job_changed):
            signal.connect(self._on_something_changed)

    def set_workspace(self, workspace: Workspace) -> None:
        """Plan for another workspace."""
        self._workspace = workspace
        self._planned = None
        self._force.setChecked(False)
        if self.isVisible():
            self._refresh.now()

    def _build(self) -> None:
        self._summary = parts.heading(name="plan_summary")
        head = parts.row(
            self._summary,
            None,
            parts.action_button(self._force),
            parts.push_button(self._run, look="primary"),
            gap=theme.GRID,
        )
        head.setContentsMargins(8, 8, 8, 8)
        self._banner = problems.Banner("plan_banner")
        self._banner.acted.connect(self._refresh.now)
        self._items: RecordModel[PlanItem] = RecordModel(
            ITEM_COLUMNS, lambda one: (one.parser, one.version), self
        )
        self._rest: RecordModel[PlanRest] = RecordModel(REST_COLUMNS, lambda one: one.reason, self)
        will = parts.Card("What will run", "plan_items_card")
        will.body.addWidget(RecordTable(self._items, "plan_items", "What will run"))
        rest = parts.Card("What will not, and why", "plan_rest_card")
        rest.body.addWidget(RecordTable(self._rest, "plan_rest", "What will not run, and why"))
        both = QSplitter(Qt.Orientation.Vertical)
        both.setObjectName("plan_splitter")
        both.setChildrenCollapsible(False)
        both.setHandleWidth(theme.GRID)
        both.setProperty("look", "gap")
        both.addWidget(will)
        both.addWidget(rest)
        column = parts.margins(self, gap=0)
        column.addWidget(head)
        column.addWidget(self._banner)
        column.addWidget(both, 1)
        self._render()

    def _ask(self) -> Callable[[], Planned | None]:
        services, workspace, force = self._services, self._workspace, self._force.isChecked()

        def work() -> Planned | None:
            if workspace is None:
                return None
            plan = services.jobs.plan(workspace.id, force=force)
            return Planned(plan, plan.items, plan.rest)

        return work

    def _on_planned(self, planned: Planned | None) -> None:
        self._planned = planned
        self._banner.clear()
        self._render()

    def _on_failed(self, error: CasparianError) -> None:
        self._banner.show_problem(error, "Retry")

    def _render(self) -> None:
        planned = self._planned
        items = planned.items if planned is not None else ()
        self._items.replace(items)
        self._rest.replace(planned.rest if planned is not None else ())
        self._run.setEnabled(bool(items))
        if planned is None:
            self._summary.setText("Planning")
        elif items:
            files = formats.count(sum(one.files for one in items), "file")
            jobs = formats.count(sum(one.jobs for one in items), "job")
            self._summary.setText(f"{files} to read in {jobs}")
        else:
            self._summary.setText("There is nothing to run")

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._refresh.soon()

    @Slot(object)
    def _on_something_changed(self, _event: object) -> None:
        if self.isVisible():
            self._refresh.soon()

    def _on_force(self) -> None:
        self._refresh.now()

    def _on_run(self) -> None:
        planned, workspace, jobs = self._planned, self._workspace, self._services.jobs
        if planned is None or workspace is None:
            return
        self._run.setEnabled(False)

        def work() -> None:
            jobs.submit(workspace.id, planned.plan)
            jobs.start()

        self._tasks.run(self, work, self._on_started, key="run", long=True)

    def _on_started(self, _done: None) -> None:
        self._force.setChecked(False)
        self._refresh.now()
