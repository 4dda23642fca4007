"""Moving the control plane: copied row for row to another place, or set aside for a fresh start.

A copy is made in one transaction at its target, read back there, and compared with what was read here:
counts, and a digest of each table that no order of rows changes. Meanwhile the store is held as by a unit
of work that writes, so that nothing is added to it that the copy does not have; nothing of it is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from casparian.domain.errors import EnvironmentProblem, UserProblem, from_os_error
from casparian.domain.jobs import JobState, Progress
from casparian.state import tables
from casparian.state.backends import backend_for, server_backend
from casparian.state.database import Store, converted, look, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.state.backends import Backend

BATCH_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied, and where to."""

    origin: str
    target: str
    """Both as in sentences: a path, or an address without a password."""
    rows: dict[str, int]
    """By table."""


@dataclass(slots=True)
class _Sum:
    """Counts rows and adds up their digests."""

    rows: int = 0
    total: int = 0

    def add(self, row: dict[str, Any]) -> None:
        text = json.dumps(row, sort_keys=True, default=_plain).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=16).digest()
        self.rows += 1
        self.total = (self.total + int.from_bytes(digest)) % 2**128


def copy_store(
    origin: Path | Address,
    target: Path | Address,
    *,
    cancel: CancelToken,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Copied:
    """Copy a store to a place where there is none.

    Raises:
        UserProblem: the target holds a store already, or jobs run here.
        EnvironmentProblem: one of the two cannot be used, or the copy is not what it should be.
        Cancelled: somebody asked to stop; nothing is left at the target.
    """
    if look(origin).schema_version is None:
        raise UserProblem("There is no state store to copy", backend_for(origin).place)
    there = backend_for(target)
    is_new = isinstance(target, Path) and not target.exists()
    with contextlib.closing(Store(origin)) as store:
        try:
            # Whoever writes meanwhile waits, and what is read is one picture.
            with store.write() as held, store.read() as uow, _begun(there) as connection:
                _refuse_busy(held._connection)  # noqa: SLF001  (of this layer)
                here = _Side(uow._connection, backend_for(origin))  # noqa: SLF001
                rows = _Copy(here, _Side(connection, there), cancel, on_progress).run()
                connection.commit()
        except BaseException:
            if is_new and isinstance(target, Path):
                _remove(target)
            raise
        return Copied(store.place, there.place, rows)


def set_aside(place: Path | Address, at: datetime) -> str:
    """Give the store at a place, of whatever version, a name with a date; return where it is then.

    A file becomes `state-YYYYMMDD-HHMMSS.sqlite` beside itself, a schema `<schema>_YYYYMMDD_HHMMSS`. It
    must be closed; the next start makes a new one.

    Raises:
        UserProblem: there is none.
        EnvironmentProblem: it is in use, or cannot be renamed.
    """
    if isinstance(place, Path):
        return _file_aside(place, at)
    backend = server_backend(place)
    name = f"{backend.schema}_{at:%Y%m%d_%H%M%S}"
    with _begun(backend) as connection:
        if not sa.inspect(connection).get_table_names(schema=backend.schema):
            raise _nothing_there(backend.place)
        with converted(backend):
            backend.set_aside(connection, name)
            connection.commit()
    return f"{backend.place}, schema {name}"


@dataclass(frozen=True, slots=True)
class _Side:
    connection: sa.Connection
    backend: Backend


class _Copy:
    """One copy under way."""

    def __init__(
        self,
        here: _Side,
        there: _Side,
        cancel: CancelToken,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._here, self._there = here, there
        self._cancel, self._on_progress = cancel, on_progress
        self._done, self._total = 0, 0

    def run(self) -> dict[str, int]:
        """Make the tables, fill them in the order of their foreign keys, and read them back."""
        # Its own sentence tells of tables that are not ours.
        there, backend = self._there.connection, self._there.backend
        if version_of(there, backend) is not None:
            raise UserProblem(
                "There is a state store already",
                backend.place,
                "Choose another place, or move that one aside with `casparian state reset`",
            )
        backend.prepare(there)
        tables.metadata.create_all(there, checkfirst=False)
        every = tables.metadata.sorted_tables
        counts = {one: self._count(one) for one in every}
        # Every row is written once, and read back once.
        self._total = 2 * sum(counts.values())
        sums = {one: self._fill(one) for one in every}
        for table, said in sums.items():
            found = _Sum()
            for batch in self._batches(self._there, table):
                for row in batch:
                    found.add(row)
            if found != said or said.rows != counts[table]:
                raise EnvironmentProblem(
                    "The copy of the state store is not what it should be",
                    f"{table.name}: {counts[table]:,} rows here, {found.rows:,} there,"
                    f" digest {'the same' if found.total == said.total else 'another'}",
                    "Nothing was kept of it; check the server's encoding and try again",
                )
        return {one.name: rows for one, rows in counts.items()}

    def _count(self, table: sa.Table) -> int:
        query = sa.select(sa.func.count()).select_from(table)
        with converted(self._here.backend):
            return int(self._here.connection.execute(query).scalar_one())

    def _fill(self, table: sa.Table) -> _Sum:
        said = _Sum()
        # A row may name one of its own table that comes later: such names are filled in at the end.
        own = [one.parent.name for one in table.foreign_keys if one.column.table is table]
        later: list[dict[str, Any]] = []
        for batch in self._batches(self._here, table):
            for row in batch:
                said.add(row)
                for name in own:
                    if row[name] is not None:
                        later.append({"b_id": row["id"], name: row[name]})
                        row[name] = None
            self._there.connection.execute(table.insert(), batch)
        if later:
            change = table.update().where(table.c.id == sa.bindparam("b_id"))
            named = change.values({name: sa.bindparam(name) for name in own})
            self._there.connection.execute(named, later)
        return said

    def _batches(self, side: _Side, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
        query = sa.select(table).order_by(*table.primary_key.columns)
        streamed = {"yield_per": BATCH_ROWS}
        with converted(side.backend):
            found = side.connection.execute(query, execution_options=streamed).mappings()
            for rows in found.partitions(BATCH_ROWS):
                self._cancel.check()
                yield [{name: _kept(value) for name, value in row.items()} for row in rows]
                self._done += len(rows)
                self._on_progress(Progress(self._done, self._total, "rows", table.name))


def _kept(value: Any) -> Any:
    return tables.storable(value) if type(value) is str else value


def _plain(value: Any) -> str:
    """What JSON has no word for; digests alone see it."""
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else repr(value)


def _refuse_busy(connection: sa.Connection) -> None:
    jobs = tables.jobs
    busy = (JobState.CLAIMED, JobState.RUNNING, JobState.COMMITTING)
    query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state.in_(busy))
    if count := connection.execute(query).scalar_one():
        raise UserProblem(
            "The state store cannot be copied while jobs run",
            f"{count:,} jobs are claimed or running",
            "Finish or cancel them first",
        )


@contextlib.contextmanager
def _begun(backend: Backend) -> Iterator[sa.Connection]:
    """A connection at its unit of work that writes."""
    engine = backend.engine()
    try:
        with converted(backend), engine.connect() as connection:
            backend.begin(connection, "write")
            yield connection
    finally:
        engine.dispose()


def _file_aside(path: Path, at: datetime) -> str:
    if not path.exists():
        raise _nothing_there(str(path))
    backend = backend_for(path)
    backend.let_go()
    aside = path.with_name(f"{path.stem}-{at:%Y%m%d-%H%M%S}{path.suffix}")
    try:
        if aside.exists():
            raise EnvironmentProblem(
                "The state store could not be moved aside", f"{aside} is there", "Try again"
            )
        path.rename(aside)
        for end in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    except OSError as error:
        raise from_os_error(error, "The state store could not be moved aside") from error
    return str(aside)


def _nothing_there(place: str) -> UserProblem:
    return UserProblem("There is no state store to move aside", place)


def _remove(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
