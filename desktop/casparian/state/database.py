"""Opening the control plane: engine, schema version, and the unit of work around one transaction.

A unit of work that writes takes the write lock at once (`BEGIN IMMEDIATE` on sqlite), so that two
programs on one store wait for each other instead of failing half-way; one that reads does not lock.
Leaving a unit of work without `commit()` rolls it back. What differs between backends is in here.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from casparian.domain.errors import EnvironmentProblem
from casparian.state import tables
from casparian.state.evidence import EvidenceRepository
from casparian.state.outputs import OutputRepository
from casparian.state.queue import JobRepository
from casparian.state.records import RecordRepository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 30


class UnitOfWork:
    """One transaction, with a repository for each noun."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.evidence = EvidenceRepository(connection)
        self.jobs = JobRepository(connection)
        self.outputs = OutputRepository(connection)
        self.records = RecordRepository(connection)

    def commit(self) -> None:
        """Make everything of this unit of work last."""
        self._connection.commit()


class Store:
    """The control plane: the one place where the program remembers what is not data."""

    def __init__(self, path: Path) -> None:
        """Open the sqlite store at `path`, making it where there is none.

        Raises:
            EnvironmentProblem: it cannot be opened, or its schema is of another version.
        """
        self.path = path
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        )
        event.listen(self._engine, "connect", _on_connect)
        event.listen(self._engine, "begin", _on_begin)
        try:
            with _converted(path):
                self._open_schema()
        except BaseException:
            self.close()
            raise

    def _open_schema(self) -> None:
        with self.write() as uow:
            found = self._found_version(uow)
            if found is None:
                tables.metadata.create_all(uow._connection)  # noqa: SLF001  (same module)
                now = datetime.now(UTC)
                uow._connection.execute(  # noqa: SLF001
                    tables.schema_version.insert().values(
                        version=tables.SCHEMA_VERSION, created_at=now
                    )
                )
                uow.commit()
            elif found != tables.SCHEMA_VERSION:
                age = "a newer" if found > tables.SCHEMA_VERSION else "an older"
                raise EnvironmentProblem(
                    f"The state store was made by {age} version of the program",
                    f"{self.path} has schema {found}, this program needs {tables.SCHEMA_VERSION}",
                    "Use the version that made it, or move the file aside to start fresh; outputs stay",
                )

    @staticmethod
    def _found_version(uow: UnitOfWork) -> int | None:
        connection = uow._connection  # noqa: SLF001
        names = sa.inspect(connection).get_table_names()
        if "schema_version" in names:
            return int(connection.execute(sa.select(tables.schema_version.c.version)).scalar_one())
        if names:
            raise EnvironmentProblem(
                "The state store is not one of ours",
                f"it holds the tables {', '.join(names[:5])} and no schema version",
                "Choose another home folder, or move the file aside",
            )
        return None

    @contextlib.contextmanager
    def write(self) -> Iterator[UnitOfWork]:
        """Open a unit of work that may write; it is rolled back unless `commit()` was called."""
        with self._unit("IMMEDIATE") as uow:
            yield uow

    @contextlib.contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """Open a unit of work that only reads: a consistent picture that blocks nobody."""
        with self._unit("DEFERRED") as uow:
            yield uow

    @contextlib.contextmanager
    def _unit(self, begin: str) -> Iterator[UnitOfWork]:
        with _converted(self.path):
            connection = self._engine.connect().execution_options(casparian_begin=begin)
            try:
                connection.begin()
                yield UnitOfWork(connection)
            finally:
                connection.close()

    def integrity(self) -> str:
        """Let the database check itself; return what it says.

        Raises:
            EnvironmentProblem: it is damaged.
        """
        with self.read() as uow:
            found = uow._connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()  # noqa: SLF001
        if found != ["ok"]:
            raise EnvironmentProblem("The state store is damaged", "; ".join(found[:3]))
        return f"{self.path}, schema {tables.SCHEMA_VERSION}, sound"

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
    # sqlite3's own transaction handling would begin late and commit behind our back.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "foreign_keys=ON",
        # A commit of evidence must survive a power cut.
        "synchronous=FULL",
        f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
        # Hashes land anywhere in their indexes: room to keep these in memory (KiB), and to write
        # them back seldom (pages), halves the time of a big scan.
        "cache_size=-65536",
        "wal_autocheckpoint=16000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    begin = connection.get_execution_options().get("casparian_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {begin}")


_CODES: dict[int, tuple[str, str, bool]] = {
    sqlite3.SQLITE_BUSY: (
        "is locked by another program",
        "Close the other program or try again",
        True,
    ),
    sqlite3.SQLITE_LOCKED: (
        "is locked by another program",
        "Close the other program or try again",
        True,
    ),
    sqlite3.SQLITE_FULL: ("has no room: the disk is full", "Free some space on that disk", True),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Check that you may write there", False),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Check the folder and your rights on it", False),
    sqlite3.SQLITE_IOERR: ("cannot be read: the disk reported an error", "Check the drive", True),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Move it aside; outputs can be attached again", False),
    sqlite3.SQLITE_NOTADB: ("is not a state store", "Move it aside or choose another home", False),
}


@contextlib.contextmanager
def _converted(path: Path) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        origin = error.orig
        code = getattr(origin, "sqlite_errorcode", None)
        known = _CODES.get(code & 0xFF) if isinstance(code, int) else None
        if known is None:
            raise
        what, hint, retryable = known
        raise EnvironmentProblem(
            f"The state store {what}", f"{path}: {origin}", hint, retryable=retryable
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise EnvironmentProblem("The disk is full", str(path), retryable=True) from error
        raise
