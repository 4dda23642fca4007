"""Opening the control plane: engine, schema version, and the unit of work around one transaction.

A unit of work that writes waits for those of other programs on the same store, instead of failing
half-way; one that reads blocks nobody. Leaving a unit of work without `commit()` rolls it back. What
differs between sqlite, PostgreSQL and SQL Server is in `backends`.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc

from casparian.domain.errors import EnvironmentProblem
from casparian.state import tables
from casparian.state.backends import backend_for
from casparian.state.evidence import EvidenceRepository
from casparian.state.outputs import OutputRepository
from casparian.state.queue import JobRepository
from casparian.state.records import RecordRepository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casparian.domain.addresses import Address
    from casparian.state.backends import Backend, Kind


class StoreAway(EnvironmentProblem):
    """The state store cannot be used just now: what was under way is kept whole or not at all.

    Where that was a commit, only the store can tell whether it was done.
    """

    def __init__(self, title: str, detail: str = "", hint: str = "") -> None:
        super().__init__(title, detail, hint, retryable=True)


@dataclass(frozen=True, slots=True)
class StoreState:
    """How the state store is, for the configuration page and `doctor`."""

    version: str
    """Of the database: `SQLite 3.40.1`, `PostgreSQL 18.4`."""
    place: str
    size_bytes: int
    schema_version: int | None
    """None where no store is there yet."""


class UnitOfWork:
    """One transaction, with a repository for each noun."""

    def __init__(
        self, connection: sa.Connection, backend: Backend, begun_at: datetime | None
    ) -> None:
        self._connection = connection
        self._backend = backend
        self._begun_at = begun_at
        self.evidence = EvidenceRepository(connection)
        self.jobs = JobRepository(connection)
        self.outputs = OutputRepository(connection)
        self.records = RecordRepository(connection)

    def now(self) -> datetime:
        """The time by the store's clock, which all hosts share: leases go by it.

        In a unit of work for a claim or a heartbeat it is the time at which it began.
        """
        return self._begun_at or self._backend.now(self._connection)

    def commit(self) -> None:
        """Make everything of this unit of work last."""
        self._connection.commit()


class Store:
    """The control plane: the one place where the program remembers what is not data."""

    def __init__(self, place: Path | Address) -> None:
        """Open the store in a sqlite file or on a server, making it where there is none.

        Raises:
            EnvironmentProblem: it cannot be opened, or its schema is of another version.
            UserProblem: the address or the login does not hold.
        """
        self._backend = backend_for(place)
        self._engine = self._backend.engine()
        try:
            with self._converted():
                self._open_schema()
        except BaseException:
            self.close()
            raise

    @property
    def place(self) -> str:
        """Where it is: a path, or an address without a password."""
        return self._backend.place

    def _open_schema(self) -> None:
        # Asked first without the lock: a program that only looks need not be able to make tables.
        with self.read() as uow:
            found = self._found_version(uow)
        if found is None:
            with self.write() as uow:
                found = self._found_version(uow)
                if found is None:
                    found = self._make_schema(uow)
        if found != tables.SCHEMA_VERSION:
            age = "a newer" if found > tables.SCHEMA_VERSION else "an older"
            raise EnvironmentProblem(
                f"The state store was made by {age} version of the program",
                f"{self.place} has schema {found}, this program needs {tables.SCHEMA_VERSION}",
                "Use the version that made it, or start fresh with "
                "`casparian state reset`, which moves it aside; outputs stay",
            )

    def _make_schema(self, uow: UnitOfWork) -> int:
        connection = uow._connection  # noqa: SLF001  (same module)
        self._backend.prepare(connection)
        tables.metadata.create_all(connection, checkfirst=False)
        connection.execute(
            tables.schema_version.insert().values(
                version=tables.SCHEMA_VERSION, created_at=datetime.now(UTC)
            )
        )
        uow.commit()
        return tables.SCHEMA_VERSION

    def _found_version(self, uow: UnitOfWork) -> int | None:
        return version_of(uow._connection, self._backend)  # noqa: SLF001  (same module)

    @contextlib.contextmanager
    def write(self) -> Iterator[UnitOfWork]:
        """Open a unit of work that may write, alone; it is rolled back unless `commit()` was called."""
        with self._unit("write") as uow:
            yield uow

    @contextlib.contextmanager
    def touch(self) -> Iterator[UnitOfWork]:
        """Open a unit of work for claims and heartbeats, which concern the row of one job each."""
        with self._unit("touch") as uow:
            yield uow

    @contextlib.contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """Open a unit of work that only reads: a consistent picture that blocks nobody."""
        with self._unit("read") as uow:
            yield uow

    @contextlib.contextmanager
    def _unit(self, kind: Kind) -> Iterator[UnitOfWork]:
        with self._converted():
            connection, begun_at = self._begun(kind)
            with connection:
                yield UnitOfWork(connection, self._backend, begun_at)

    def _begun(self, kind: Kind) -> tuple[sa.Connection, datetime | None]:
        """A connection at its unit of work; one that the server dropped while it rested is replaced."""
        for is_again in (False, True):
            connection = self._engine.connect()
            try:
                return connection, self._backend.begin(connection, kind)
            except BaseException as error:
                connection.close()
                lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
                if is_again or not lost:
                    raise
        raise AssertionError("unreachable")

    def integrity(self) -> str:
        """Let the database check itself; return what it says.

        Raises:
            EnvironmentProblem: it is damaged.
        """
        state = self.probe()
        return f"{state.place}, {state.version}, schema {tables.SCHEMA_VERSION}, sound"

    def probe(self) -> StoreState:
        """Look whether it can be reached now, and how it is.

        Raises:
            EnvironmentProblem: it cannot be reached, or is damaged.
        """
        with self.read() as uow:
            return _state(uow._connection, self._backend)  # noqa: SLF001  (same module)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _converted(self) -> contextlib.AbstractContextManager[None]:
        return converted(self._backend)


def look(place: Path | Address) -> StoreState:
    """Look at a place where a store is, or may be made; nothing is made.

    Raises:
        EnvironmentProblem, UserProblem: it cannot be reached, or is not ours.
    """
    backend = backend_for(place)
    if isinstance(place, Path) and not place.exists():
        return StoreState(f"SQLite {sqlite3.sqlite_version}", backend.place, 0, None)
    engine = backend.engine()
    try:
        with converted(backend), engine.connect() as connection:
            backend.begin(connection, "read")
            return _state(connection, backend)
    finally:
        engine.dispose()


def _state(connection: sa.Connection, backend: Backend) -> StoreState:
    return StoreState(
        backend.check(connection),
        backend.place,
        backend.size_bytes(connection),
        version_of(connection, backend),
    )


def version_of(connection: sa.Connection, backend: Backend) -> int | None:
    """The version of the store's schema; None where there is nothing.

    Raises:
        EnvironmentProblem: what is there is not ours.
    """
    names = sa.inspect(connection).get_table_names(schema=backend.schema)
    if "schema_version" in names:
        return int(connection.execute(sa.select(tables.schema_version.c.version)).scalar_one())
    if names:
        raise EnvironmentProblem(
            "The state store is not one of ours",
            f"it holds the tables {', '.join(names[:5])} and no schema version",
            "Choose another place for it, or move what is there aside",
        )
    return None


@contextlib.contextmanager
def converted(backend: Backend) -> Iterator[None]:
    """Turn a driver's errors into sentences; what is a bug of ours stays one."""
    try:
        yield
    except exc.DBAPIError as error:
        explained = backend.explained(error)
        if explained is None:
            raise
        if isinstance(explained, EnvironmentProblem) and explained.retryable:
            explained = StoreAway(explained.title, explained.detail, explained.hint)
        raise explained from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreAway("The disk is full", backend.place) from error
        raise
