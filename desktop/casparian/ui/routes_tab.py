"""Routes: where the rows of each output go, and sending one elsewhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, get_args

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QFormLayout,
    QPushButton,
    QRadioButton,
    QWidget,
)

from casparian import credentials
from casparian.domain.addresses import SINK_SCHEMES
from casparian.domain.errors import UserProblem
from casparian.domain.results import Mode
from casparian.services import configuration
from casparian.ui import parts, problems, theme
from casparian.ui.actions import Action
from casparian.ui.probing import PlaceField
from casparian.ui.problems import Banner
from casparian.ui.record_table import Column, RecordModel, RecordTable
from casparian.ui.tasks import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.bootstrap import Services
    from casparian.domain.addresses import Address
    from casparian.domain.errors import CasparianError
    from casparian.domain.events import RulesChanged
    from casparian.domain.evidence import Workspace
    from casparian.domain.ids import WorkspaceId
    from casparian.services.routes import RoutedOutput, RouteService
    from casparian.settings import Settings
    from casparian.ui.actions import Actions
    from casparian.ui.bridge import EventBridge
    from casparian.ui.tasks import Tasks

MODES: dict[Mode, str] = {
    "replace": "rows of the same content that are there leave in the same step",
    "append": "new rows stand beside those that are there",
    "error": "the job fails where rows of the same content are there",
}
PLANNED_AGAIN = "Files that were read before are planned again, since their rows are not there."


def _by(row: RoutedOutput) -> str:
    if row.is_parsers:
        return f"route of all of {row.parser}"
    return "own route" if row.is_own else "default"


def _state(row: RoutedOutput) -> tuple[str, theme.Token]:
    return ("edit", "busy") if row.is_own else ("outputs", "faint")


ROUTE_COLUMNS: tuple[Column[RoutedOutput], ...] = (
    Column("Parser", lambda row: row.parser, 128),
    Column("Output", lambda row: row.output, 176),
    Column("By", _by, 160, state=_state),
    Column("Mode", lambda row: row.mode, 88, tip=lambda row: f"{row.mode}: {MODES[row.mode]}"),
    Column("Goes to", lambda row: row.sink, 480, mono=True),
)


class RoutesTab(QWidget):
    """Every output that there can be, and where it goes."""

    def __init__(
        self, services: Services, tasks: Tasks, actions: Actions, bridge: EventBridge
    ) -> None:
        super().__init__()
        self.setObjectName("routes_tab")
        self._services, self._tasks = services, tasks
        self._workspace: Workspace | None = None
        self._refresh = Refresh(tasks, self, self._ask, self._on_routes, self._on_failed)
        add = actions.add
        self._change = add(
            Action(
                "rules.route", "Change route…", self._on_change, "Rules", icon="edit",
                hint="Send the chosen output to another sink from now on",
            )
        )  # fmt: skip
        self._default = add(
            Action(
                "rules.route_default", "Send back to default", self._on_default, "Rules", icon="retry",
                hint="Let the chosen output go where the others go",
            )
        )  # fmt: skip
        self._model: RecordModel[RoutedOutput] = RecordModel(
            ROUTE_COLUMNS, lambda row: (row.parser, row.output), self
        )
        self._table = RecordTable(self._model, "routes_table", "Routes of outputs")
        self._table.chosen.connect(self._enable)
        self._table.opened.connect(self._on_opened)
        self._banner = Banner("routes_banner")
        self._banner.acted.connect(self._refresh.now)
        tools = parts.row(
            parts.action_button(self._change), parts.action_button(self._default), None,
            parts.faint("Rows go to the default sink unless a route says otherwise."), gap=0,
        )  # fmt: skip
        tools.setContentsMargins(4, 4, 8, 4)
        column = parts.margins(self, all_round=0, gap=0)
        column.addWidget(tools)
        column.addWidget(parts.hairline())
        column.addWidget(self._banner)
        column.addWidget(self._table, 1)
        self.setFocusProxy(self._table)
        self._enable()
        bridge.rules_changed.connect(self._on_rules_changed)

    def set_workspace(self, workspace: Workspace) -> None:
        """Show the routes of another workspace."""
        self._workspace = workspace
        self._banner.clear()
        self._refresh.now()

    def _ask(self) -> Callable[[], list[RoutedOutput]]:
        routes, workspace = self._services.routes, self._workspace
        return lambda: routes.list(workspace.id) if workspace is not None else []

    def _on_routes(self, rows: list[RoutedOutput]) -> None:
        self._model.replace(rows)
        self._enable()

    def _on_failed(self, error: CasparianError) -> None:
        self._banner.show_problem(error, "Retry")

    @Slot(object)
    def _on_rules_changed(self, event: RulesChanged) -> None:
        if self._workspace is not None and event.workspace_id == self._workspace.id:
            self._refresh.soon()

    @Slot()
    def _enable(self, _row: object = None) -> None:
        row = self._table.current()
        self._change.setEnabled(row is not None)
        self._default.setEnabled(row is not None and row.is_own)

    @Slot(object)
    def _on_opened(self, _row: RoutedOutput) -> None:
        self._on_change()

    def _on_change(self) -> None:
        row, workspace = self._table.current(), self._workspace
        if row is None or workspace is None:
            return
        dialog = RouteDialog(self._services, self._tasks, workspace.id, row, self.window())
        dialog.routed.connect(self._on_routed)
        dialog.open()

    @Slot(str)
    def _on_routed(self, said: str) -> None:
        self._banner.say(f"{said} {PLANNED_AGAIN}", "good")

    def _on_default(self) -> None:
        row, workspace = self._table.current(), self._workspace
        if row is None or workspace is None:
            return
        act = partial(self._remove, workspace.id, row)
        if not row.is_parsers:
            act()
            return
        others = [
            one.output
            for at in range(self._model.rowCount())
            if (one := self._model.record(at)) is not None
            and one.parser == row.parser
            and one.is_parsers
        ]
        problems.confirm(
            self.window(),
            f"Send all of {row.parser} back to the default?",
            f"The route is of the whole parser: {', '.join(others)}. {PLANNED_AGAIN}",
            "Send back",
            act,
        )

    def _remove(self, workspace_id: WorkspaceId, row: RoutedOutput) -> None:
        output = "" if row.is_parsers else row.output
        remove = partial(self._services.routes.remove, workspace_id, row.parser, output)
        said = partial(self._on_removed, f"{row.parser}.{output or '*'}")
        self._tasks.run(self, remove, said, key="remove", failed=self._on_failed)

    def _on_removed(self, name: str, _nothing: object) -> None:
        self._banner.say(f"{name} goes where the default is again. {PLANNED_AGAIN}", "good")
        self._refresh.soon()


class RouteDialog(parts.Dialog):
    """Asks where an output is to go, and what becomes of rows that are there.

    Signals:
        routed: a sentence on where it goes now.
    """

    routed = Signal(str)

    def __init__(
        self,
        services: Services,
        tasks: Tasks,
        workspace_id: WorkspaceId,
        row: RoutedOutput,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("route_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"Route of {row.parser}.{row.output}")
        self._services, self._tasks = services, tasks
        self._workspace_id, self._row = workspace_id, row
        self._field = PlaceField(
            tasks, "route_sink", "sink", partial(_look, services.settings), SINK_SCHEMES
        )
        self._field.set_text(row.sink)
        self._group = QButtonGroup(self)
        self._modes: dict[Mode, QRadioButton] = {}
        for mode in get_args(Mode):
            radio = QRadioButton(f"{mode.capitalize()}: {MODES[mode]}")
            radio.setObjectName(f"route_mode_{mode}")
            radio.setAccessibleName(f"Mode {mode}")
            radio.setChecked(mode == row.mode)
            self._group.addButton(radio)
            self._modes[mode] = radio
        self._banner = Banner("route_banner")
        cancel = QPushButton("Cancel")
        cancel.setObjectName("route_cancel")
        cancel.setAccessibleName("Cancel")
        cancel.clicked.connect(self.reject)
        self._ok = QPushButton("Change")
        self._ok.setObjectName("route_ok")
        self._ok.setAccessibleName("Change the route")
        self._ok.setProperty("look", "primary")
        self._ok.clicked.connect(self._on_ok)
        form = QFormLayout()
        form.setHorizontalSpacing(2 * theme.GRID)
        form.setVerticalSpacing(2 * theme.GRID)
        form.addRow(parts.faint("Goes to"), self._field)
        listed = QWidget()
        lines = parts.margins(listed, all_round=0, gap=theme.GRID // 2)
        for radio in self._modes.values():
            lines.addWidget(radio)
        form.addRow(parts.faint("Mode"), listed)
        column = parts.margins(self, all_round=2 * theme.GRID, gap=2 * theme.GRID)
        column.addLayout(form)
        column.addWidget(
            problems.plain_label(
                f"It holds for what is read from now on; rows stay where they are. {PLANNED_AGAIN}",
                look="faint",
            )
        )
        column.addWidget(self._banner)
        column.addStretch(1)
        column.addWidget(parts.row(None, cancel, self._ok, gap=theme.GRID))
        self._field.changed.connect(self._render)
        self._ok.setDefault(True)
        self.resize(680, 320)
        self._render()

    @Slot()
    def _render(self) -> None:
        self._banner.clear()
        self._ok.setEnabled(bool(self._field.text()))

    @Slot()
    def _on_ok(self) -> None:
        try:
            address = self._field.address()
        except UserProblem as error:
            self._banner.show_problem(error)
            return
        mode = next(mode for mode, radio in self._modes.items() if radio.isChecked())
        work = partial(_route, self._services.routes, self._workspace_id, self._row, address, mode)
        self._ok.setEnabled(False)
        self._tasks.run(self, work, self._on_done, key="route", failed=self._on_failed)

    def _on_done(self, said: str) -> None:
        self.accept()
        self.routed.emit(said)

    def _on_failed(self, error: CasparianError) -> None:
        self._ok.setEnabled(True)
        self._banner.show_problem(error)


def _look(settings: Settings, address: Address) -> configuration.Probe:
    return configuration.probe_sink(address, settings)


def _route(
    routes: RouteService,
    workspace_id: WorkspaceId,
    row: RoutedOutput,
    address: Address,
    mode: Mode,
) -> str:
    credentials.keep(address)
    routes.set(workspace_id, row.parser, row.output, address, mode)
    return f"{row.parser}.{row.output} goes to {address.text} from now on, mode {mode}."
