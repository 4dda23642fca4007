"""Where the tables of a workspace can be queried: each target with its tables, or what is wrong with it.

A target is named by its sink's key; the query catalog's is empty. Nothing here waits: every target is asked
in a thread, each by itself, so that one which does not answer keeps no other from being shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from casparian.domain.errors import CasparianError
from casparian.ui.tasks import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.catalog.reader import Spelling
    from casparian.domain.evidence import Workspace
    from casparian.domain.ids import WorkspaceId
    from casparian.domain.results import TableInfo
    from casparian.services.results import ResultService, Target
    from casparian.ui.tasks import Tasks

_KINDS = {
    "catalog": "Catalog",
    "duckdb": "DuckDB",
    "postgres": "PostgreSQL",
    "sqlserver": "SQL Server",
}


def kind_of(key: str) -> str:
    """The kind of a target, by its key: `Catalog`, `PostgreSQL`."""
    scheme = key.partition("://")[0] or "catalog"
    return _KINDS.get(scheme, scheme)


def where(key: str) -> str:
    """A target in one line, by its key: `Catalog`, `PostgreSQL · host/database`."""
    place = key.partition("://")[2]
    return f"{kind_of(key)} · {place}" if place else kind_of(key)


def title_of(target: Target) -> str:
    """A target in one line, with the user's name, as it was configured."""
    place = target.place.partition("://")[2] or target.place
    return f"{_KINDS.get(target.kind, target.kind)} · {place}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What is known of a target."""

    target: Target
    tables: tuple[TableInfo, ...] = ()
    """As they were when it answered last."""
    problem: CasparianError | None = None
    """Why it did not answer."""
    is_asked: bool = False
    """Whether it is being asked, and did not answer before."""
    spelling: Spelling | None = field(default=None, compare=False)
    """How names are written there; None until it answered once."""

    @property
    def key(self) -> str:
        """Of the target."""
        return self.target.key


def listed(results: ResultService, workspace_id: WorkspaceId, target: Target) -> Listing:
    """Ask a target for its tables; runs off the GUI thread."""
    try:
        tables = results.infos(workspace_id, target.key)
        spelling = results.at(workspace_id, target.key).reader.spelling()
    except CasparianError as problem:
        return Listing(target, problem=problem)
    return Listing(target, tuple(tables), spelling=spelling)


class Targets(QObject):
    """Knows the targets of the workspace that is open.

    Signals:
        changed: nothing; `listings` tells something else now.
        answered: the key of a target that was asked.
        failed: a CasparianError that keeps the targets from being known at all.
    """

    changed = Signal()
    answered = Signal(str)
    failed = Signal(object)

    def __init__(self, results: ResultService, tasks: Tasks, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._results, self._tasks = results, tasks
        self._workspace: Workspace | None = None
        self._listings: dict[str, Listing] = {}
        self._asking: dict[str, Refresh[Listing]] = {}

    @property
    def listings(self) -> list[Listing]:
        """The targets, the catalog first."""
        return list(self._listings.values())

    def get(self, key: str) -> Listing | None:
        """What is known of one."""
        return self._listings.get(key)

    def table(self, key: str, name: str) -> TableInfo | None:
        """A table that is known to be there."""
        listing = self._listings.get(key)
        tables = listing.tables if listing else ()
        return next((one for one in tables if one.name == name), None)

    def set_workspace(self, workspace: Workspace) -> None:
        """Forget those of another workspace, and ask those of this one."""
        if self._workspace is None or workspace.id != self._workspace.id:
            for one in self._asking.values():
                one.stop()
            self._asking, self._listings = {}, {}
            self.changed.emit()
        self._workspace = workspace
        self.read()

    @Slot()
    def read(self) -> None:
        """Find out which targets there are, and ask each for its tables."""
        if self._workspace is None:
            return
        self._tasks.run(
            self,
            partial(self._results.targets, self._workspace.id),
            self._on_targets,
            key="targets",
            failed=self.failed.emit,
        )

    @Slot(str)
    def ask(self, key: str) -> None:
        """Ask one target again, whatever is on its way."""
        if key in self._asking:
            self._asking[key].now()

    def _on_targets(self, targets: list[Target]) -> None:
        self._listings = {
            one.key: replace(self._listings.get(one.key, Listing(one)), target=one)
            for one in targets
        }
        for key in [one for one in self._asking if one not in self._listings]:
            self._asking.pop(key).stop()
        for one in targets:
            if one.key not in self._asking:
                self._asking[one.key] = Refresh(
                    self._tasks,
                    self,
                    partial(self._ask, one.key),
                    self._on_listed,
                    self.failed.emit,
                    long=bool(one.key),
                )
        for refresh in list(self._asking.values()):
            refresh.soon()
        self.changed.emit()

    def _ask(self, key: str) -> Callable[[], Listing]:
        assert self._workspace is not None  # noqa: S101  (only targets of a workspace are asked)
        listing = self._listings[key]
        if listing.spelling is None or listing.problem is not None:
            self._put(replace(listing, problem=None, is_asked=True))
        return partial(listed, self._results, self._workspace.id, listing.target)

    def _on_listed(self, listing: Listing) -> None:
        before = self._listings.get(listing.key)
        if before is None or self._asking.get(listing.key) is None:
            return
        if listing.problem is not None:
            # What was there is shown on: a table that is open is still known by it.
            listing = replace(listing, tables=before.tables, spelling=before.spelling)
        self._put(listing)
        self.answered.emit(listing.key)

    def _put(self, listing: Listing) -> None:
        if self._listings[listing.key] != listing:
            self._listings[listing.key] = listing
            self.changed.emit()
        self._listings[listing.key] = listing
