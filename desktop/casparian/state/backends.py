"""What differs between the databases that may hold the control plane: sqlite, PostgreSQL, SQL Server.

A backend opens connections, begins a unit of work in one of three ways, tells the time, and turns the
driver's errors into sentences:

    read    a consistent picture that blocks nobody
    write   alone: units that write wait for each other, so that what one decides on what it has read
            still holds when it commits. `BEGIN IMMEDIATE` on sqlite, a lock of the transaction's own
            on servers (`pg_advisory_xact_lock`, `sp_getapplock`); who waits too long is told so
    touch   claims and heartbeats, which concern the row of one job: on servers they do not wait for
            units that write, and skip rows that others hold

The clock of leases is the database's, so that hosts whose clocks differ agree on when one has run out.
"""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import sqlalchemy as sa
from sqlalchemy import event

from casparian import sqlserver
from casparian.domain.errors import EnvironmentProblem
from casparian.servers import CONNECT_TIMEOUT_S, is_postgres_state, postgres_problem

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

    from casparian.domain.addresses import Address
    from casparian.domain.errors import CasparianError

Kind: TypeAlias = Literal["read", "write", "touch"]

BUSY_TIMEOUT_S = 30
STATE_SUFFIX = "_state"
"""On a server the control plane has a schema of its own, beside those of the tables."""


class Backend(Protocol):
    """One kind of database."""

    @property
    def place(self) -> str:
        """Where the store is, for sentences: a path, or an address without a password."""

    @property
    def schema(self) -> str | None:
        """The schema its tables are in; None where there are none."""

    def engine(self) -> sa.Engine:
        """An engine whose connections are set up."""

    def begin(self, connection: sa.Connection, kind: Kind) -> datetime | None:
        """Begin a unit of work; the time by the database's clock where that was learnt over it.

        A connection that the server has dropped meanwhile is found out here, before anything is done.
        """

    def prepare(self, connection: sa.Connection, /) -> None:
        """Make what must be there before tables can be made."""

    def now(self, connection: sa.Connection, /) -> datetime:
        """The time by the database's clock."""

    def check(self, connection: sa.Connection, /) -> str:
        """Let the database check itself; say what it is.

        Raises:
            EnvironmentProblem: it is damaged.
        """

    def size_bytes(self, connection: sa.Connection, /) -> int:
        """What the control plane takes."""

    def explained(self, error: DBAPIError) -> CasparianError | None:
        """The error as a sentence; None if it is a bug of ours."""

    def let_go(self) -> None:
        """See to it that nothing of it is open, and that a file is whole by itself.

        Raises:
            EnvironmentProblem: another program has it open.
        """


class ServerBackend(Backend, Protocol):
    """A database of a server, where the control plane has a schema."""

    def set_aside(self, connection: sa.Connection, name: str, /) -> None:
        """Give the schema another name."""


class Sqlite:
    """A file on this machine."""

    schema = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)

    def engine(self) -> sa.Engine:
        """An engine over the file, which is made where it is missing."""
        engine = sa.create_engine(
            f"sqlite:///{self.path}", connect_args={"check_same_thread": False}, max_overflow=-1
        )
        event.listen(engine, "connect", self._on_connect)
        # pysqlite's own transactions are off: ours begin where `begin` says so.
        event.listen(engine, "begin", lambda _: None)
        return engine

    @staticmethod
    def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
        # sqlite3's own transaction handling would begin late and commit behind our back.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
        # On a new file sqlite does not wait where two want this at once, since each might wait for the other.
        _in_turn(connection, "PRAGMA journal_mode=WAL")
        for pragma in (
            "foreign_keys=ON",
            # As on servers: folders whose names differ in case are two.
            "case_sensitive_like=ON",
            # A commit of evidence must survive a power cut.
            "synchronous=FULL",
            # Hashes land anywhere in their indexes: room to keep these in memory (KiB), and to write
            # them back seldom (pages), halves the time of a big scan.
            "cache_size=-65536",
            "wal_autocheckpoint=16000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def begin(self, connection: sa.Connection, kind: Kind) -> None:
        """Begin; one that is to write waits for its turn.

        A claim or heartbeat that a power cut takes back leaves a job that waits, or whose lease runs out
        sooner: neither is worth a wait for the disk, which the next unit that writes makes up for.
        """
        synchronous = "NORMAL" if kind == "touch" else "FULL"
        if kind != "read" and connection.info.get("synchronous") != synchronous:
            connection.connection.cursor().execute(f"PRAGMA synchronous={synchronous}")
            connection.info["synchronous"] = synchronous
        connection.begin()
        if kind == "read":
            connection.exec_driver_sql("BEGIN DEFERRED")
            return
        raw: Any = connection.connection.dbapi_connection
        raw.execute("PRAGMA busy_timeout=0")
        try:
            _in_turn(raw, "BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, error) from error
        finally:
            raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")

    def prepare(self, _connection: sa.Connection, /) -> None:
        """Nothing: a file is there once it is opened."""

    def now(self, _connection: sa.Connection, /) -> datetime:
        """The time on this machine: the file is on it as well."""
        return datetime.now(UTC)

    def check(self, connection: sa.Connection) -> str:
        """Let the file be checked page by page."""
        found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        if found != ["ok"]:
            raise EnvironmentProblem("The state store is damaged", "; ".join(found[:3]))
        return f"SQLite {sqlite3.sqlite_version}"

    def size_bytes(self, _connection: sa.Connection, /) -> int:
        """The file and its log."""
        size = 0
        for path in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            with suppress(OSError):
                size += path.stat().st_size
        return size

    def let_go(self) -> None:
        """Take the log into the file, which works only while nobody else has it open."""
        try:
            connection = sqlite3.connect(self.path, timeout=1.0, isolation_level=None)
        except sqlite3.Error:
            return
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            is_locked = mode == "wal"
        except sqlite3.DatabaseError as error:
            # What is damaged is moved as it is, with its log.
            is_locked = error.sqlite_errorcode & 0xFF in {
                sqlite3.SQLITE_BUSY,
                sqlite3.SQLITE_LOCKED,
            }
        finally:
            connection.close()
        if is_locked:
            what, hint, retryable = _LOCKED
            raise EnvironmentProblem(
                f"The state store {what}", self.place, hint, retryable=retryable
            )

    def explained(self, error: DBAPIError) -> CasparianError | None:
        """By SQLite's result codes (sqlite.org/rescode.html)."""
        code = getattr(error.orig, "sqlite_errorcode", None)
        known = _SQLITE_CODES.get(code & 0xFF) if isinstance(code, int) else None
        if known is None:
            return None
        what, hint, retryable = known
        return EnvironmentProblem(
            f"The state store {what}", f"{self.place}: {error.orig}", hint, retryable=retryable
        )


_LOCKED = ("is locked by another program", "Close the other program or try again", True)
_SQLITE_CODES: dict[int, tuple[str, str, bool]] = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: ("has no room: the disk is full", "Free some space on that disk", True),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Check that you may write there", False),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Check the folder and your rights on it", False),
    sqlite3.SQLITE_IOERR: ("cannot be read: the disk reported an error", "Check the drive", True),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Move it aside; outputs can be attached again", False),
    sqlite3.SQLITE_NOTADB: ("is not a state store", "Move it aside or choose another home", False),
}


def _in_turn(connection: sqlite3.Connection, statement: str) -> None:
    """Execute a statement once nobody has the file locked.

    sqlite's own waiting doubles its naps up to 100 ms, and lets whoever comes just then go first: of
    eight processes one waited for seconds. Short naps of random length are fair, and no slower.

    Raises:
        sqlite3.OperationalError: it failed, or was locked out for `BUSY_TIMEOUT_S`.
    """
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            busy = (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.0005, 0.003))  # noqa: S311  (no secret)
        else:
            return


class _Server:
    """What PostgreSQL and SQL Server have in common."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.place = address.key
        self.schema = f"{address.schema}{STATE_SUFFIX}"

    def let_go(self) -> None:
        """Nothing: a server knows who is at it."""

    def _engine(self, url: sa.URL, **arguments: Any) -> sa.Engine:
        engine = sa.create_engine(
            url,
            connect_args=arguments,
            pool_recycle=1800,
            # Every worker slot has a heart beside it: none is to wait for a connection of another's.
            max_overflow=-1,
            hide_parameters=True,
        )
        return engine.execution_options(schema_translate_map={None: self.schema})


class Postgres(_Server):
    """A database on a PostgreSQL server, 13 or newer, by psycopg 3."""

    def engine(self) -> sa.Engine:
        """An engine over the database."""
        address = self._address
        url = sa.URL.create(
            "postgresql+psycopg",
            username=address.user or None,
            password=address.password,
            host=address.host or None,
            port=address.port if address.host else None,
            database=address.database,
            query=dict(address.options),
        )
        own = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "Casparian Flow",
            # A server that fell silent is given up in half a minute, not in the system's two hours.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        }
        given = {name.lower() for name, _ in address.options}
        engine = self._engine(
            url, **{name: value for name, value in own.items() if name not in given}
        )
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "checkin", self._on_checkin)
        return engine

    @staticmethod
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.autocommit = True
        # The second half is for the server: whoever vanished must not keep the store's lock for hours.
        connection.execute(
            f"SET lock_timeout = '{BUSY_TIMEOUT_S}s'; SET tcp_keepalives_idle = 15;"
            " SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
        )
        connection.autocommit = False

    @staticmethod
    def _on_checkin(connection: Any, _record: Any) -> None:
        # SQLAlchemy leaves False behind, which overrides a database that is set to take no changes.
        if connection is not None and not connection.closed:
            connection.read_only = None

    def begin(self, connection: sa.Connection, kind: Kind) -> datetime | None:
        """Begin; one that writes takes the store's lock first."""
        if kind == "read":
            connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        connection.begin()
        if kind == "touch":
            found: datetime = connection.execute(_POSTGRES_TOUCH).scalar_one()
            return found.astimezone(UTC)
        if kind == "write":
            connection.execute(_POSTGRES_LOCK, {"name": f"casparian {self.schema}"})
        else:
            connection.execute(_NOTHING)
        return None

    def prepare(self, connection: sa.Connection) -> None:
        """Make the schema; asked for first, since making it takes a right even where it is there."""
        there = connection.execute(
            sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": self.schema}
        ).first()
        if there is None:
            connection.execute(sa.schema.CreateSchema(self.schema))

    def now(self, connection: sa.Connection) -> datetime:
        """The server's time."""
        found: datetime = connection.execute(_POSTGRES_NOW).scalar_one()
        return found.astimezone(UTC)

    def check(self, connection: sa.Connection) -> str:
        """What server it is."""
        version = connection.execute(sa.text("SHOW server_version")).scalar_one()
        return f"PostgreSQL {str(version).split()[0]}"

    def size_bytes(self, connection: sa.Connection) -> int:
        """The tables of the schema with their indexes."""
        query = sa.text(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = :name AND c.relkind = 'r'"
        )
        return int(connection.execute(query, {"name": self.schema}).scalar_one())

    def set_aside(self, connection: sa.Connection, name: str) -> None:
        """Rename the schema."""
        quoted = connection.dialect.identifier_preparer.quote_identifier
        connection.exec_driver_sql(f"ALTER SCHEMA {quoted(self.schema)} RENAME TO {quoted(name)}")

    def explained(self, error: DBAPIError) -> CasparianError | None:
        """By SQLSTATE; before there is a session, by what libpq says."""
        assert error.orig is not None  # noqa: S101  (the driver's own)
        if is_postgres_state(error.orig, *_OUR_STATES) and not is_postgres_state(
            error.orig, _NO_RIGHT
        ):
            return None
        return _lost(error, self.place) or postgres_problem(error.orig, _TITLE, self._address)


class SqlServer(_Server):
    """A database on a SQL Server, 2019 or newer, by mssql-python."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._snapshots: bool | None = None

    def engine(self) -> sa.Engine:
        """An engine over the database."""
        address = self._address
        # Says which options there are: the driver's own refusal is no error of a database.
        sqlserver.connection_string(address)
        url = sa.URL.create(
            "mssql+mssqlpython",
            username=address.user or None,
            password=address.password,
            host=address.host,
            port=address.port,
            database=address.database,
            query=dict(address.options),
        )
        engine = self._engine(url, timeout=CONNECT_TIMEOUT_S)
        event.listen(engine, "connect", self._on_connect)
        return engine

    @staticmethod
    def _on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(SQLSERVER_WAIT)
        cursor.close()
        connection.commit()

    def begin(self, connection: sa.Connection, kind: Kind) -> datetime | None:
        """Begin; one that writes takes the store's lock first.

        One that reads has a picture of its own where the database allows for it
        (`ALTER DATABASE ... SET ALLOW_SNAPSHOT_ISOLATION ON`); elsewhere it waits for rows that change.
        """
        if kind == "read" and self._has_snapshots(connection):
            connection.execution_options(isolation_level="SNAPSHOT")
        connection.begin()
        if kind == "touch":
            return self.now(connection)
        if kind == "write":
            connection.execute(SQLSERVER_LOCK, {"name": f"casparian {self.schema}"})
        else:
            connection.execute(_NOTHING)
        return None

    def _has_snapshots(self, connection: sa.Connection) -> bool:
        if self._snapshots is None:
            self._snapshots = bool(connection.execute(SQLSERVER_SNAPSHOTS).scalar_one())
            connection.rollback()
        return self._snapshots

    def prepare(self, connection: sa.Connection) -> None:
        """Make the schema where it is missing."""
        there = connection.execute(
            sa.text("SELECT 1 FROM sys.schemas WHERE name = :name"), {"name": self.schema}
        ).first()
        if there is None:
            connection.execute(sa.schema.CreateSchema(self.schema))

    def now(self, connection: sa.Connection) -> datetime:
        """The server's time."""
        found: datetime = connection.execute(SQLSERVER_NOW).scalar_one()
        return found.replace(tzinfo=UTC)

    def check(self, connection: sa.Connection) -> str:
        """What server it is."""
        return f"SQL Server {connection.execute(SQLSERVER_VERSION).scalar_one()}"

    def size_bytes(self, connection: sa.Connection) -> int:
        """The pages of the schema's tables, 8 KiB each."""
        found = connection.execute(SQLSERVER_SIZE, {"name": self.schema}).scalar_one()
        return int(found or 0)

    def set_aside(self, connection: sa.Connection, name: str) -> None:
        """Hand every table over to a schema of that name: schemas cannot be renamed."""
        found = sa.inspect(connection).get_table_names(schema=self.schema)
        connection.execute(sa.schema.CreateSchema(name))
        for table in found:
            connection.exec_driver_sql(sqlserver_transfer(self.schema, table, name))

    def explained(self, error: DBAPIError) -> CasparianError | None:
        """By the server's error numbers, and what the driver says."""
        assert isinstance(error.orig, Exception)  # noqa: S101  (the driver's own)
        if lost := _lost(error, self.place):
            return lost
        found = sqlserver.problem(error.orig, _TITLE, self._address)
        of_ours = isinstance(
            error, sa.exc.ProgrammingError | sa.exc.IntegrityError | sa.exc.DataError
        )
        return None if of_ours and not found.hint else found


_NOTHING = sa.text("SELECT 1")
_POSTGRES_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
# A claim that a crash of the server takes back is worth no wait for its disk: whoever made it finds its
# token stale. And the queue's index gives jobs in their order; where the planner takes the queue for
# short, it would sort all of it for every claim.
_POSTGRES_TOUCH = sa.text(
    "SELECT clock_timestamp(), set_config('synchronous_commit', 'off', true),"
    " set_config('enable_bitmapscan', 'off', true)"
)
_POSTGRES_NOW = sa.text("SELECT clock_timestamp()")
SQLSERVER_LOCK = sa.text(
    "DECLARE @taken int; "
    "EXEC @taken = sp_getapplock @Resource = :name, @LockMode = 'Exclusive',"
    f" @LockOwner = 'Transaction', @LockTimeout = {BUSY_TIMEOUT_S * 1000}; "
    "IF @taken < 0 THROW 50001, 'Lock request time out: another program writes to the state store', 1"
)
SQLSERVER_WAIT = f"SET LOCK_TIMEOUT {BUSY_TIMEOUT_S * 1000}"
SQLSERVER_SNAPSHOTS = sa.text(
    "SELECT CASE WHEN snapshot_isolation_state = 1 THEN 1 ELSE 0 END FROM sys.databases"
    " WHERE database_id = DB_ID()"
)


def sqlserver_transfer(schema: str, table: str, to: str) -> str:
    """The statement that hands a table with its keys and indexes over to another schema."""
    old, name, new = (f"[{one.replace(']', ']]')}]" for one in (schema, table, to))
    return f"ALTER SCHEMA {new} TRANSFER {old}.{name}"


SQLSERVER_NOW = sa.text("SELECT SYSUTCDATETIME()")
SQLSERVER_VERSION = sa.text("SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128))")
SQLSERVER_SIZE = sa.text(
    "SELECT SUM(a.total_pages) * 8192 FROM sys.tables t"
    " JOIN sys.schemas s ON s.schema_id = t.schema_id"
    " JOIN sys.partitions p ON p.object_id = t.object_id"
    " JOIN sys.allocation_units a ON a.container_id = p.partition_id WHERE s.name = :name"
)


_TITLE = "The state store cannot be used"
_OUR_STATES = ("21", "22", "23", "2F", "34", "42", "54")
"""Classes of SQLSTATE that tell of a statement, not of a server."""
_NO_RIGHT = "42501"


def _lost(error: DBAPIError, place: str) -> EnvironmentProblem | None:
    if not error.connection_invalidated:
        return None
    return EnvironmentProblem(
        "The connection to the state store was lost",
        place,
        "What was under way is kept as a whole or not at all; try again",
        retryable=True,
    )


def backend_for(place: Path | Address) -> Backend:
    """The backend for a sqlite file, or for the address of a server."""
    return Sqlite(place) if isinstance(place, Path) else server_backend(place)


def server_backend(address: Address) -> ServerBackend:
    """The backend for the address of a server."""
    return Postgres(address) if address.scheme == "postgres" else SqlServer(address)
