"""Cases: create, open, rename, archive; and the readiness board over one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from casparian.domain.errors import UserProblem
from casparian.domain.events import WorkspacesChanged
from casparian.domain.evidence import DEFAULT_WORKSPACE, Workspace
from casparian.domain.ids import RuleId, WorkspaceId, new_id
from casparian.domain.results import QUARANTINE_SUFFIX, RESERVED_TABLES
from casparian.services.tables import TableSummary, table_summaries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.domain.events import EventBus
    from casparian.domain.jobs import JobState
    from casparian.domain.rules import Rule
    from casparian.services.sinks import Sinks
    from casparian.state.database import Store, UnitOfWork
    from casparian.state.evidence import FileTotals

_RESERVED_NAMES = {"main", "temp", "system", "pg_catalog", "information_schema"}


@dataclass(frozen=True, slots=True)
class Overview:
    """The readiness board of a workspace."""

    tables: tuple[TableSummary, ...]
    jobs: dict[JobState, int]
    files: FileTotals


class WorkspaceService:
    """What can be done with cases."""

    def __init__(
        self, store: Store, bus: EventBus, sinks: Sinks, builtin_rules: Sequence[Rule]
    ) -> None:
        self._store = store
        self._bus = bus
        self._sinks = sinks
        self._builtin_rules = builtin_rules

    def list(self, *, archived: bool = False) -> list[Workspace]:
        """The cases by name, with or without the archived ones."""
        with self._store.read() as uow:
            return uow.evidence.workspaces(archived=archived)

    def default(self) -> Workspace:
        """The case that is there from the beginning; made on the first call."""
        with self._store.write() as uow:
            for one in uow.evidence.workspaces(archived=True):
                if one.name == DEFAULT_WORKSPACE:
                    return one
            made = self._add(uow, DEFAULT_WORKSPACE)
            uow.commit()
        return made

    def by_name(self, name: str) -> Workspace:
        """The case of that name.

        Raises:
            UserProblem: there is none.
        """
        if name == DEFAULT_WORKSPACE:
            return self.default()
        every = self.list(archived=True)
        for one in every:
            if one.name.casefold() == name.casefold():
                return one
        names = ", ".join(one.name for one in every)
        raise UserProblem(f"There is no workspace {name!r}", f"There are: {names}")

    def create(self, name: str) -> Workspace:
        """Create a case, with the built-in rules in it.

        Raises:
            UserProblem: the name is taken or not usable.
        """
        with self._store.write() as uow:
            self._check_name(uow, name)
            made = self._add(uow, name)
            uow.commit()
        self._bus.publish(WorkspacesChanged())
        return made

    def rename(self, workspace_id: WorkspaceId, name: str) -> None:
        """Give a case another name; its outputs stay where they are.

        Raises:
            UserProblem: the name is taken or not usable, or it is the default case.
        """
        with self._store.write() as uow:
            workspace = uow.evidence.workspace(workspace_id)
            if workspace.name == DEFAULT_WORKSPACE:
                raise UserProblem("The default workspace keeps its name", hint="Create another one")
            if workspace.name.casefold() != name.casefold():
                self._check_name(uow, name)
            uow.evidence.change_workspace(workspace_id, name=name)
            uow.commit()
        self._bus.publish(WorkspacesChanged())

    def archive(self, workspace_id: WorkspaceId) -> None:
        """Put a case away; nothing of it is deleted.

        Raises:
            UserProblem: jobs of it are not at their end, or it is the default case.
        """
        with self._store.write() as uow:
            workspace = uow.evidence.workspace(workspace_id)
            if workspace.name == DEFAULT_WORKSPACE:
                raise UserProblem("The default workspace cannot be archived")
            if count := uow.jobs.count_open(workspace_id):
                raise UserProblem(
                    f"{workspace.name} has jobs in progress",
                    f"{count} of its jobs are not at their end",
                    "Wait for them or cancel them first",
                )
            uow.evidence.change_workspace(workspace_id, archived_at=datetime.now(UTC))
            uow.commit()
        self._bus.publish(WorkspacesChanged())

    def restore(self, workspace_id: WorkspaceId) -> None:
        """Take a case out of the archive."""
        with self._store.write() as uow:
            uow.evidence.change_workspace(workspace_id, archived_at=None)
            uow.commit()
        self._bus.publish(WorkspacesChanged())

    def overview(self, workspace_id: WorkspaceId) -> Overview:
        """What is ready, what is going on, and what to look at."""
        with self._store.read() as uow:
            workspace = uow.evidence.workspace(workspace_id)
            tables = tuple(table_summaries(uow, self._sinks, workspace))
            jobs = Counter(job.state for job in uow.jobs.jobs(workspace_id))
            files = uow.evidence.totals(workspace_id)
        return Overview(tables, dict(jobs), files)

    def of_folder(self, uow: UnitOfWork, folder: str) -> Workspace:
        """The case with that folder below the outputs; made if there is none, and named after it."""
        every = uow.evidence.workspaces(archived=True)
        found = next((one for one in every if one.folder == folder), None)
        if found is not None:
            return found
        taken = {one.name.casefold() for one in every} | _RESERVED_NAMES
        name, number = folder, 1
        while name in taken:
            number += 1
            name = f"{folder}_{number}"
        return self._add(uow, name, folder)

    def _add(self, uow: UnitOfWork, name: str, folder: str = "") -> Workspace:
        taken = {one.folder for one in uow.evidence.workspaces(archived=True)}
        folder = folder or safe_name(name, taken, fallback="case")
        made = Workspace(WorkspaceId(new_id()), name, folder, datetime.now(UTC))
        uow.evidence.add_workspace(made)
        for rule in self._builtin_rules:
            uow.evidence.save_rule(made.id, replace(rule, id=RuleId(new_id())))
        return made

    @staticmethod
    def _check_name(uow: UnitOfWork, name: str) -> None:
        folded = name.casefold()
        if not name.strip() or name != name.strip() or len(name) > 100 or not name.isprintable():
            raise UserProblem(
                "The name is not usable",
                f"{name!r} is empty, too long, or has characters that do not show",
                "Use up to 100 letters, digits, blanks and marks",
            )
        if folded in _RESERVED_NAMES:
            raise UserProblem(
                "The name is reserved", f"{name!r} has a meaning in the query catalog"
            )
        if any(one.name.casefold() == folded for one in uow.evidence.workspaces(archived=True)):
            raise UserProblem(f"There is a workspace {name!r} already", hint="Choose another name")


def safe_name(wanted: str, taken: set[str], *, fallback: str) -> str:
    """Return a lower-case name for folders and tables that is not taken yet.

    Made of a-z, 0-9 and `_`, beginning with a letter, at most 60 characters and no word that names a
    view of the control plane; `_2`, `_3` ... tell names apart.
    """
    plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60].rstrip("_") or fallback
    if not base[0].isalpha():
        base = f"t_{base}"
    if base.endswith(QUARANTINE_SUFFIX):
        base = f"{base}_table"
    name, number = base, 1
    while name in taken or name in RESERVED_TABLES:
        number += 1
        name = f"{base}_{number}"
    return name
