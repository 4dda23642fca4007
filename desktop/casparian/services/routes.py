"""Routes: which sink each output of each parser goes to, in a workspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from casparian import parsers
from casparian.domain.errors import UserProblem
from casparian.domain.events import RulesChanged
from casparian.services.plugins import all_parsers
from casparian.state.outputs import Route

if TYPE_CHECKING:
    from casparian.domain.addresses import Address
    from casparian.domain.events import EventBus
    from casparian.domain.ids import WorkspaceId
    from casparian.domain.results import Mode
    from casparian.services.sinks import Sinks
    from casparian.state.database import Store


@dataclass(frozen=True, slots=True)
class RoutedOutput:
    """An output of a parser, and where it goes."""

    parser: str
    output: str
    sink: str
    """The sink's address without a password."""
    mode: Mode
    is_own: bool
    """Whether a route says so; else it goes where the default is."""
    is_parsers: bool = False
    """Whether that route is for all outputs of the parser."""


class RouteService:
    """What can be done with routes."""

    def __init__(self, store: Store, bus: EventBus, sinks: Sinks) -> None:
        self._store = store
        self._bus = bus
        self._sinks = sinks

    def list(self, workspace_id: WorkspaceId) -> list[RoutedOutput]:
        """Every output that there can be, and where it goes."""
        with self._store.read() as uow:
            place = self._sinks.places(uow, workspace_id)
            own = {(one.parser, one.output) for one in uow.outputs.routes(workspace_id)}
        found = []
        for name, output in _outputs():
            where = place(name, output)
            exact, whole = (name, output) in own, (name, "") in own
            address = self._sinks.address(where.key).text
            found.append(
                RoutedOutput(
                    name,
                    output,
                    address,
                    where.mode,
                    exact or whole,
                    is_parsers=whole and not exact,
                )
            )
        return found

    def set(
        self, workspace_id: WorkspaceId, parser: str, output: str, address: Address, mode: Mode
    ) -> None:
        """Send an output (all of a parser's where `output` is empty) to a sink from now on.

        Files that were read before are planned again: their rows are not there.

        Raises:
            UserProblem: there is no such parser or output, or the sink is one of the program's own files.
        """
        _check(parser, output)
        route = Route(parser, output, self._sinks.remember(address), mode)
        with self._store.write() as uow:
            uow.outputs.set_route(workspace_id, route)
            uow.commit()
        self._bus.publish(RulesChanged(workspace_id))

    def remove(self, workspace_id: WorkspaceId, parser: str, output: str) -> None:
        """Let an output go where the default is.

        Raises:
            UserProblem: there is no such parser or output.
        """
        _check(parser, output)
        with self._store.write() as uow:
            uow.outputs.delete_route(workspace_id, parser, output)
            uow.commit()
        self._bus.publish(RulesChanged(workspace_id))


def _outputs() -> list[tuple[str, str]]:
    return [
        (info.name, output.name)
        for info in all_parsers()
        for output in parsers.load(info.name).outputs
    ]


def _check(parser: str, output: str) -> None:
    known = _outputs()
    if (parser, output) not in known and (output or parser not in {name for name, _ in known}):
        raise UserProblem(
            f"There is no output {parser}.{output}" if output else f"There is no parser {parser}",
            f"There are: {', '.join(f'{name}.{one}' for name, one in known)}",
        )
