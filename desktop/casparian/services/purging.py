"""Purging: Parquet files that nobody needs any more leave the disk, at the user's word alone.

What counts no longer goes: files whose rows newer ones have replaced, and what jobs left behind that are at
their end. So that no catalog ever names a file that is missing, the steps are

    withdrawn      (transaction) only where everything is to go: the rows count no longer
    refreshed      the query catalog is built anew, and names nothing of what is to go
    deleted        the files; a crash here leaves rows of outputs that count no longer, and the next purge
                   finds them again
    recorded       (transaction) the outputs stay on record, without a path

Files of jobs that this store does not know may be another store's, or this one's before it was reset: they
are told and left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from typing_extensions import override

from casparian.domain.errors import UserProblem
from casparian.domain.results import QUARANTINE_SUFFIX
from casparian.services.sinks import is_parquet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casparian.domain.evidence import Workspace
    from casparian.domain.ids import WorkspaceId
    from casparian.services.catalog import CatalogService
    from casparian.services.sinks import Sinks, Stray
    from casparian.state.database import Store, UnitOfWork
    from casparian.state.outputs import Materialization, OutputFile


@dataclass(frozen=True, slots=True)
class PurgeScope:
    """What a purge is about."""

    workspace_id: WorkspaceId | None = None
    """None for every workspace, archived ones included."""
    table: str = ""
    """One table of the workspace and its quarantine; empty for all."""
    everything: bool = False
    """Also the rows that count: the tables are empty then, and a run reads the evidence again."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So many files, and what they take."""

    files: int = 0
    size_bytes: int = 0

    @override
    def __str__(self) -> str:
        """As it stands in sentences."""
        return f"{self.files:,} file{'' if self.files == 1 else 's'} ({self.size_bytes:,} bytes)"


@dataclass(frozen=True, slots=True)
class Purge:
    """What a purge deletes, or has deleted."""

    current: Amount
    """Files whose rows count; none unless everything is to go."""
    rows: int
    """The rows in these, quarantine included."""
    superseded: Amount
    """Files whose rows newer ones have replaced."""
    strays: Amount
    """What jobs left behind that are at their end."""
    unknown: Amount
    """Files that this store knows nothing of: they stay."""
    held: int = 0
    """Files that could not be deleted, since a program has them open; the next purge tries again."""

    @property
    def size_bytes(self) -> int:
        """What it frees."""
        return sum(one.size_bytes for one in (self.current, self.superseded, self.strays))

    @property
    def text(self) -> str:
        """Sentences to confirm it by."""
        told = []
        if self.current.files:
            told.append(
                f"Deleted with all their rows ({self.rows:,}): {self.current}. "
                "The rows leave their tables; a run reads the evidence again."
            )
        if self.superseded.files:
            told.append(f"Deleted, since newer rows have replaced theirs: {self.superseded}.")
        if self.strays.files:
            told.append(f"Deleted, since jobs left them behind: {self.strays}.")
        if not told:
            told.append("There is nothing to purge.")
        if self.unknown.files:
            told.append(
                f"Kept, since this store does not know their jobs: {self.unknown}. "
                "They can be attached."
            )
        if self.held:
            told.append(f"In use, and kept until the next purge: {self.held:,}.")
        return " ".join(told)


class Purger:
    """Deletes Parquet files that count no longer, or whole tables of them."""

    def __init__(self, store: Store, sinks: Sinks, catalog: CatalogService) -> None:
        self._store = store
        self._sinks = sinks
        self._catalog = catalog

    def impact(self, scope: PurgeScope) -> Purge:
        """Tell what a purge would delete; nothing is changed.

        Raises:
            UserProblem: as `purge`.
        """
        with self._store.read() as uow:
            current, _ = self._current(uow, scope)
            strays, unknown = self._strays(uow, scope)
            superseded = self._superseded(uow, scope)
        return Purge(
            current=self._size(current),
            rows=sum(one.rows for one in current),
            superseded=self._size(superseded),
            strays=self._size(strays),
            unknown=self._size(unknown),
        )

    def purge(self, scope: PurgeScope) -> Purge:
        """Delete what `impact` tells.

        Raises:
            UserProblem: everything is to go, and a job is not at its end, the rows are in a database, or
                the table shares evidence with another one.
            EnvironmentProblem: the catalog or the store cannot be written; files that count stay.
        """
        with self._store.write() as uow:
            current, done = self._current(uow, scope)
            superseded = self._superseded(uow, scope)
            at = datetime.now(UTC)
            uow.outputs.supersede_outputs([one.id for one in current], None, at)
            uow.outputs.supersede_materializations([one.id for one in done], at)
            uow.commit()
        self._catalog.refresh()
        # A copy may be in place just before it is recorded, but never while this transaction writes.
        with self._store.write() as uow:
            strays, unknown = self._strays(uow, scope)
            told = Purge(
                current=self._size(current),
                rows=sum(one.rows for one in current),
                superseded=self._size(superseded),
                strays=self._size(strays),
                unknown=self._size(unknown),
                held=self._delete((*current, *superseded, *strays)),
            )
            gone = [one for one in (*current, *superseded) if not self._is_there(one)]
            uow.outputs.purged([one.id for one in gone])
            uow.commit()
        return told

    def _current(
        self, uow: UnitOfWork, scope: PurgeScope
    ) -> tuple[list[OutputFile], list[Materialization]]:
        """The files that count and are to go, and what is not done any more without them."""
        outputs: list[OutputFile] = []
        done: list[Materialization] = []
        if not scope.everything:
            return outputs, done
        for case in _workspaces(uow, scope):
            found = [
                one
                for one in uow.outputs.outputs(case.id)
                if not scope.table or one.table == scope.table
            ]
            _refuse(uow, case, found)
            outputs += found
            done += _done(uow, case, scope.table)
        return outputs, done

    @staticmethod
    def _superseded(uow: UnitOfWork, scope: PurgeScope) -> list[OutputFile]:
        cases = {one.id for one in _workspaces(uow, scope)}
        return [
            one
            for one in uow.outputs.superseded()
            if one.workspace_id in cases and scope.table in {"", one.table}
        ]

    def _strays(self, uow: UnitOfWork, scope: PurgeScope) -> tuple[list[Stray], list[Stray]]:
        """What jobs at their end left behind, and what is not of this store."""
        folders = (
            [f"{one.folder}/" for one in _workspaces(uow, scope)] if scope.workspace_id else [""]
        )
        if scope.table:
            names = (scope.table, f"{scope.table}{QUARANTINE_SUFFIX}")
            folders = [f"{folder}{name}/" for folder in folders for name in names]
        strays = [one for one in self._sinks.strays(uow) if one.path.startswith(tuple(folders))]
        ended = uow.jobs.ended({job for one in strays for job in one.jobs})
        return (
            [one for one in strays if one.jobs and one.jobs <= ended],
            [one for one in strays if not one.jobs],
        )

    def _delete(self, files: Iterable[OutputFile | Stray]) -> int:
        """Delete files; return how many are still there."""
        held = 0
        for one in files:
            self._sinks.parquet(one.sink).revoke([one.path])
            held += self._is_there(one)
        return held

    def _is_there(self, one: OutputFile | Stray) -> bool:
        return self._sinks.parquet(one.sink).absolute(one.path).exists()

    def _size(self, files: Sequence[OutputFile | Stray]) -> Amount:
        paths = [self._sinks.parquet(one.sink).absolute(one.path) for one in files]
        return Amount(len(files), sum(one.stat().st_size for one in paths if one.exists()))


def _workspaces(uow: UnitOfWork, scope: PurgeScope) -> list[Workspace]:
    if scope.workspace_id is not None:
        return [uow.evidence.workspace(scope.workspace_id)]
    return uow.evidence.workspaces(archived=True)


def _refuse(uow: UnitOfWork, case: Workspace, outputs: Iterable[OutputFile]) -> None:
    """Raise if rows that count cannot go."""
    for one in outputs:
        if not is_parquet(one.sink):
            raise UserProblem(
                f"The rows of {one.table} are in {one.sink}",
                "only Parquet files can be purged",
                "Delete the table there, or purge without the rows that count",
            )
    if count := uow.jobs.count_open(case.id):
        raise UserProblem(
            f"{case.name} has jobs in progress",
            f"{count} of its jobs are not at their end",
            "Wait for them or cancel them first",
        )


def _done(uow: UnitOfWork, case: Workspace, table: str) -> list[Materialization]:
    """What is in a table, so that it is to be done again; that it gave nothing to others goes with it."""
    every = uow.outputs.materializations(case.id)
    done = [one for one in every if table in {"", one.table}]
    contents = {(one.source_hash, one.parser) for one in done}
    beside = [
        one
        for one in every
        if table not in {"", one.table} and (one.source_hash, one.parser) in contents
    ]
    for one in beside:
        if one.accepted or one.quarantined:
            raise UserProblem(
                f"{table} and {one.table} hold rows of the same evidence",
                "what is read again is read for both",
                "Purge everything of the workspace",
            )
    return done + beside
