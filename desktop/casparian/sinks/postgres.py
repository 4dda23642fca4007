"""The PostgreSQL sink: a schema for each workspace, loaded by ADBC, all of a delivery in one transaction.

Rows are loaded straight into the tables, within the transaction that also takes out what they replace and
writes the ledger: nobody sees them before, and a connection that ends takes them back. A stage table
beside would hold locks shorter but costs a third more; here the only locks held during a load are those
that any insert takes, which keep nobody from reading, nor others from loading the same table.

    prepare    in a transaction of its own, only if a table has to be made or changed: DDL, one program at a
               time, never waiting longer than two seconds at once, since readers queue behind it
    begin      the job's own lock, so that two attempts of it do not cross; the tables cannot change now
    deleted    what an earlier attempt delivered, and what the delivery replaces
    inserted   the rows, counted by the server
    ledger     `cf_ledger` says so, in the schema of the address
    committed

A delivery that fails may leave a table that it made, without a row in it. Nothing has to be swept.
"""

# ruff: noqa: S608  (SQL is made here: names pass `quote`, values are bound)
from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote as percent

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as adbc  # type: ignore[import-untyped]
import pyarrow as pa
from blake3 import blake3

from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem
from casparian.servers import CONNECT_TIMEOUT_S, is_postgres_state, postgres_problem
from casparian.sinks.ahead import Ahead
from casparian.sinks.base import Delivered, RowsOf, SinkState
from casparian.sinks.names import POSTGRES_BYTES, fitted, namespace
from casparian.sinks.postgres_tables import (
    Found,
    Shaping,
    Target,
    alter,
    create,
    literal,
    losses,
    name_in,
    quote,
    refused,
    target,
)
from casparian.sinks.staged import batches

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.sinks.base import Delivery, TableDelivery

LEDGER = "cf_ledger"
OLDEST_VERSION = 130_000
DDL_WAIT_S = 300.0
"""How long a table may be in use by others before a delivery that must change it gives up."""
_DDL_LOCK_MS = 2_000
_LOCK_MS = 60_000
_PROBE_CONNECT_S = 3
_PROBE_MS = 1_500
_LOOK_S = 0.1
_GONE_AT_ONCE = 5_000

_LOCKED = ("55P03", "40P01")
_MADE_BY_ANOTHER = ("23505", "42P06", "42P07", "42701")

_SESSION = """
SELECT set_config('standard_conforming_strings', 'on', false), set_config('TimeZone', 'UTC', false),
    set_config('DateStyle', 'ISO, YMD', false), set_config('IntervalStyle', 'postgres', false),
    set_config('extra_float_digits', '1', false), current_setting('server_encoding')
"""

_FIND = """
SELECT c.relname::text, c.relkind::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
    col_description(c.oid, a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = $1 AND c.relname = ANY ($2) AND c.relkind NOT IN ('i', 'I', 't', 'c')
"""
_SIZE = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname = $1 OR starts_with(n.nspname, $1 || '_')) AND c.relkind = 'r'
    AND (c.relname = $2 OR EXISTS (SELECT 1 FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attname = '_cf_job_id'))
"""
_STATE = """
SELECT current_setting('server_version'), current_setting('server_version_num')::bigint,
    current_setting('transaction_read_only') = 'on',
    CASE WHEN to_regnamespace(quote_ident($1)) IS NULL
        THEN has_database_privilege(current_database(), 'CREATE')
        ELSE has_schema_privilege(quote_ident($1), 'CREATE')
            AND has_schema_privilege(quote_ident($1), 'USAGE') END,
    current_user::text
"""


def _nothing(step: str) -> None:
    del step


class PostgresSink:
    """A database on a PostgreSQL server, 13 or newer; see `base.Sink` for what its methods promise.

    A connection is made for each call and closed after it: deliveries are few and long, and threads
    share nothing.
    """

    def __init__(self, address: Address, *, on_step: Callable[[str], None] = _nothing) -> None:
        """Use the database of an address, which carries the password; nothing is asked of it yet.

        Args:
            address: of the scheme `postgres`.
            on_step: told each step that is done; tests stop there.
        """
        self.address = address.with_password(None)
        self._address = address
        self._on_step = on_step

    def deliver(self, delivery: Delivery, cancel: CancelToken) -> None:
        """Load, replace and record in one transaction."""
        cancel.check()
        what = "The rows could not be delivered"
        with self._session(what, cancel) as session, session.stopped_by(cancel):
            _check_encoding(session, what)
            targets = self._locked_targets(session, delivery, cancel)
            self._on_step("staged")
            self._take_back(session, delivery.job_id)
            for one in targets:
                _take_out(session, one, cancel)
            self._on_step("deleted")
            replaced = {one.table.name: _load(session, one, cancel) for one in targets}
            self._on_step("inserted")
            self._record(session, delivery, replaced)
            self._on_step("ledger")
            cancel.check()
            session.commit()
        self._on_step("committed")

    def delivered(self, job_id: str) -> Delivered | None:
        """Ask the ledger."""
        with self._session("The ledger could not be read") as session:
            return self._delivered(session, job_id) if self._has_ledger(session) else None

    def revoke(self, job_id: str) -> None:
        """Take the rows of a job out again."""
        with self._session("The rows could not be taken back") as session:
            if self._has_ledger(session):
                _begin(session, job_id)
                self._take_back(session, job_id)
                session.commit()

    def sweep(self, alive: Collection[str]) -> Sequence[str]:
        """Nothing is ever beside the tables: what a load has not committed, the server takes back."""
        del alive
        return ()

    def probe(self) -> SinkState:
        """Ask for version, encoding, rights and size."""
        what = "The PostgreSQL server cannot be used as a sink"
        with self._session(what, connect_s=_PROBE_CONNECT_S) as session:
            session.execute(f"SET statement_timeout = {_PROBE_MS}")
            [(version, number, read_only, may_write, user)] = session.query(
                _STATE, self._address.schema
            )
            if number < OLDEST_VERSION:
                raise UserProblem(
                    what, f"{self.address}: it is version {version}", "Version 13 is the oldest"
                )
            _check_encoding(session, what)
            if read_only:
                raise EnvironmentProblem(
                    what,
                    f"{self.address}: the server takes no changes: it is read-only",
                    "Name the primary server in the address",
                )
            if not may_write:
                raise UserProblem(
                    what,
                    f"{self.address}: {user} may not make tables in the schema"
                    f" {self._address.schema}",
                    "Ask whoever runs the server for that right",
                )
            session.rollback()
            return SinkState(f"PostgreSQL {version.split()[0]}", self._size(session), None)

    def close(self) -> None:
        """Nothing stays open between calls."""

    @contextlib.contextmanager
    def _session(
        self, what: str, cancel: CancelToken | None = None, connect_s: int = CONNECT_TIMEOUT_S
    ) -> Iterator[_Session]:
        """A connection of its own; what was not committed is undone."""
        try:
            with _Session(self._address, connect_s) as session:
                yield session
        except adbc_driver_manager.Error as error:
            if cancel is not None and is_postgres_state(error, "57014"):
                cancel.check()
            raise postgres_problem(error, what, self._address) from error
        except pa.ArrowException as error:
            raise EnvironmentProblem("A staged file could not be read", str(error)) from error

    @property
    def _ledger(self) -> str:
        return f"{quote(self._address.schema)}.{quote(LEDGER)}"

    def _has_ledger(self, session: _Session) -> bool:
        return bool(_find(session, self._address.schema, [LEDGER]))

    def _locked_targets(
        self, session: _Session, delivery: Delivery, cancel: CancelToken
    ) -> list[Target]:
        """Begin, with tables that have what the delivery needs and cannot change before it ends."""
        until = time.monotonic() + DDL_WAIT_S
        while True:
            cancel.check()
            self._prepare(session, delivery, cancel, until)
            _begin(session, delivery.job_id)
            targets = self._targets(session, delivery)
            for one in targets:
                if one.found is not None:
                    session.execute(f"LOCK TABLE ONLY {one.place} IN ROW EXCLUSIVE MODE")
            targets = self._targets(session, delivery)
            if all(one.fits for one in targets):
                return targets
            session.rollback()

    def _prepare(
        self, session: _Session, delivery: Delivery, cancel: CancelToken, until: float
    ) -> None:
        """Make or change what the delivery needs, in a transaction of its own."""
        while True:
            try:
                self._shape(session, delivery)
            except adbc_driver_manager.Error as error:
                session.rollback()
                if not is_postgres_state(error, *_LOCKED, *_MADE_BY_ANOTHER):
                    raise
                if time.monotonic() > until:
                    raise
                cancel.wait(_LOOK_S)
                cancel.check()
            else:
                return

    def _shape(self, session: _Session, delivery: Delivery) -> None:
        if self._has_ledger(session) and all(one.fits for one in self._targets(session, delivery)):
            session.rollback()
            return
        session.execute(f"SET LOCAL lock_timeout = {_DDL_LOCK_MS}")
        _take_lock(session, f"casparian ddl {self._address.schema}")
        self._make_ledger(session)
        _make_schema(session, namespace(self._address, delivery.schema))
        for one in self._targets(session, delivery):
            if not one.table.columns:
                continue
            for column, query in losses(one):
                if session.query(query):
                    raise refused(
                        one.table.name,
                        f"its column {column} holds whole numbers that a double cannot,"
                        " and must become double precision",
                        "Rename the table in the database, or choose another schema",
                    )
            for statement in create(one) if one.found is None else alter(one):
                session.execute(statement)
        session.commit()

    def _make_ledger(self, session: _Session) -> None:
        _make_schema(session, self._address.schema)
        if self._has_ledger(session):
            return
        session.execute(
            f"CREATE TABLE {self._ledger} (job_id text PRIMARY KEY, attempt bigint NOT NULL,"
            " schema text NOT NULL, delivered json NOT NULL, gone json NOT NULL,"
            " committed_at timestamptz NOT NULL DEFAULT now())"
        )
        told = "What jobs have delivered; nul_replaced counts texts where U+2400 stands for NUL"
        session.execute(f"COMMENT ON TABLE {self._ledger} IS {literal(told)}")

    def _targets(self, session: _Session, delivery: Delivery) -> list[Target]:
        """The tables of a delivery as they are now, in the order in which all deliveries lock them."""
        where = namespace(self._address, delivery.schema)
        by_name = {fitted(one.name, POSTGRES_BYTES): one for one in delivery.tables}
        found = _find(session, where, list(by_name))
        targets = []
        for name, table in sorted(by_name.items()):
            there = found.get(name)
            filled = _filled(session, table, where, name, there)
            targets.append(target(table, where, there, filled))
        return targets

    def _delivered(self, session: _Session, job_id: str) -> Delivered | None:
        rows = session.query(
            f"SELECT attempt, schema, delivered::text, gone::text FROM {self._ledger}"
            " WHERE job_id = $1",
            job_id,
        )
        if not rows:
            return None
        [(attempt, schema, tables, gone)] = rows
        return Delivered(
            job_id,
            attempt,
            schema,
            tuple((one["table"], one["rows"]) for one in json.loads(tables)),
            tuple((one["table"], RowsOf(one["job"], one["file"])) for one in json.loads(gone)),
        )

    def _take_back(self, session: _Session, job_id: str) -> None:
        """Remove what an earlier attempt of a job delivered, as the ledger has it."""
        if (earlier := self._delivered(session, job_id)) is None:
            return
        where = namespace(self._address, earlier.schema)
        names = {fitted(name, POSTGRES_BYTES) for name, rows in earlier.tables if rows}
        for name, found in sorted(_find(session, where, sorted(names)).items()):
            if found.is_ours:
                session.execute(
                    f"DELETE FROM {quote(where)}.{quote(name)} WHERE _cf_job_id = $1", job_id
                )
        session.execute(f"DELETE FROM {self._ledger} WHERE job_id = $1", job_id)

    def _record(self, session: _Session, delivery: Delivery, replaced: Mapping[str, int]) -> None:
        tables = [
            {"table": one.name, "rows": one.rows}
            | ({"nul_replaced": replaced[one.name]} if replaced[one.name] else {})
            for one in delivery.tables
        ]
        gone = [
            {"table": table.name, "job": one.job_id, "file": one.file_id}
            for table in delivery.tables
            for one in table.gone
        ]
        session.execute(
            f"INSERT INTO {self._ledger} (job_id, attempt, schema, delivered, gone)"
            " VALUES ($1, $2, $3, $4::text::json, $5::text::json)",
            delivery.job_id,
            delivery.attempt,
            delivery.schema,
            json.dumps(tables, ensure_ascii=False),
            json.dumps(gone, ensure_ascii=False),
        )

    def _size(self, session: _Session) -> int | None:
        try:
            [(size,)] = session.query(_SIZE, self._address.schema, LEDGER)
        except adbc_driver_manager.Error as error:
            if is_postgres_state(error, "57014"):  # a table is being changed; its size can wait
                return None
            raise
        return int(size)


class _Session:
    """A connection with the settings that the SQL here relies on."""

    def __init__(self, address: Address, connect_s: int) -> None:
        self._connection = adbc.connect(uri(address, connect_s))
        try:
            [(*_, self.encoding)] = self.query(_SESSION)
            self.commit()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        # A connection that is broken says so once more when it is closed.
        with contextlib.suppress(adbc_driver_manager.Error):
            self._connection.rollback()
        with contextlib.suppress(adbc_driver_manager.Error):
            self._connection.close()

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query; `$1` is the first of the values."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, _bound(values))
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def execute(self, sql: str, *values: Any) -> None:
        """Run a statement."""
        # Not by `executescript`, which commits first.
        with self._connection.cursor() as cursor:
            cursor.execute(sql, _bound(values))

    def load(self, where: str, table: str, reader: pa.RecordBatchReader) -> int:
        """Append to a table; return how many rows the server took."""
        with self._connection.cursor() as cursor:
            return int(cursor.adbc_ingest(table, reader, mode="append", db_schema_name=where))

    def commit(self) -> None:
        """Make it last."""
        self._connection.commit()

    def rollback(self) -> None:
        """Undo it."""
        self._connection.rollback()

    @contextlib.contextmanager
    def stopped_by(self, cancel: CancelToken) -> Iterator[None]:
        """Stop what the server does for this connection, once somebody asks to stop."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_LOOK_S):
                if cancel.is_cancelled:
                    with contextlib.suppress(adbc_driver_manager.Error):
                        self._connection.adbc_cancel()

        watcher = threading.Thread(target=watch, name="postgres-sink-cancel", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _bound(values: Sequence[Any]) -> pa.RecordBatch | None:
    if not values:
        return None
    arrays = [pa.array([one]) for one in values]
    return pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(values))])


def uri(address: Address, connect_s: int) -> str:
    """What libpq connects by; the options of the address come last and count."""
    options = {
        "client_encoding": "UTF8",
        "connect_timeout": str(connect_s),
        "application_name": "Casparian Flow",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
    } | dict(address.options)
    login = percent(address.user, safe="")
    if address.password:
        login += f":{percent(address.password, safe='')}"
    host = f"[{address.host}]" if ":" in address.host else percent(address.host, safe="")
    port = f":{address.port}" if address.port and address.host else ""
    more = "&".join(f"{percent(name)}={percent(value, safe='')}" for name, value in options.items())
    at = f"{login}@" if login else ""
    return f"postgresql://{at}{host}{port}/{percent(address.database, safe='')}?{more}"


def _check_encoding(session: _Session, what: str) -> None:
    if session.encoding != "UTF8":
        raise UserProblem(
            what,
            f"the database keeps text as {session.encoding}, which cannot hold every character",
            "Make a database with the encoding UTF8",
        )


def _key(text: str) -> int:
    """A number of 64 bits for an advisory lock."""
    return int.from_bytes(blake3(text.encode()).digest(8), "big", signed=True)


def _take_lock(session: _Session, name: str) -> None:
    session.query("SELECT pg_advisory_xact_lock($1)::text", _key(name))


def _begin(session: _Session, job_id: str) -> None:
    """Begin what changes the rows of a job, alone."""
    session.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
    _take_lock(session, f"casparian job {job_id}")


def _make_schema(session: _Session, name: str) -> None:
    """Make a schema; asked for first, since making it takes a right even where it is there."""
    if not session.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", name):
        session.execute(f"CREATE SCHEMA {quote(name)}")


def _find(session: _Session, where: str, names: Sequence[str]) -> dict[str, Found]:
    """What is there under these names."""
    if not names:
        return {}
    found: dict[str, Found] = {}
    types: dict[str, dict[str, str]] = {}
    called: dict[str, dict[str, str]] = {}
    for table, kind, column, spelled, comment in session.query(_FIND, where, list(names)):
        types.setdefault(table, {})
        called.setdefault(table, {})
        if column is not None:
            types[table][column] = spelled
            if comment:
                called[table][column] = name_in(comment)
        found[table] = Found(kind in {"r", "p"}, types[table], called[table])
    return found


def _filled(
    session: _Session, table: TableDelivery, where: str, name: str, found: Found | None
) -> frozenset[str]:
    """Text columns that hold a value, of those that the delivery has as something else."""
    if found is None or not found.is_ours:
        return frozenset()
    filled = set()
    for one in target(table, where, found, frozenset()).widened:
        column, old = one
        short = fitted(column.name, POSTGRES_BYTES)
        if old == "string" and session.query(
            f"SELECT 1 FROM {quote(where)}.{quote(name)} WHERE {quote(short)} <> '' LIMIT 1"
        ):
            filled.add(short)
    return frozenset(filled)


def _take_out(session: _Session, one: Target, cancel: CancelToken) -> None:
    """Remove the rows that a delivery replaces, one job at a time: its rows lie together."""
    if one.found is None:
        return
    by_job: dict[str, list[str]] = {}
    for rows in one.table.gone:
        by_job.setdefault(rows.job_id, []).append(rows.file_id)
    for job_id, files in sorted(by_job.items()):
        for start in range(0, len(files), _GONE_AT_ONCE):
            cancel.check()
            session.execute(
                f"DELETE FROM {one.place} WHERE _cf_job_id = $1 AND _cf_file_id = ANY ($2)",
                job_id,
                files[start : start + _GONE_AT_ONCE],
            )


def _load(session: _Session, one: Target, cancel: CancelToken) -> int:
    """Load the parts; return how many texts had a NUL.

    Raises:
        EnvironmentProblem: there were more or fewer rows than told.
    """
    if not one.table.parts:
        _check_count(one.table, 0)
        return 0
    shaping = Shaping(one)
    source = _Batches(one.table, shaping, cancel)
    # Parquet is decoded while the server takes the batch before: a fifth faster.
    ahead = Ahead(source, "postgres-sink-read")
    reader = pa.RecordBatchReader.from_batches(shaping.schema, iter(ahead))
    try:
        taken = session.load(one.namespace, one.name, reader)
    except adbc_driver_manager.Error:
        if source.error is not None:
            raise source.error from None
        raise
    finally:
        ahead.close()
    _check_count(one.table, source.rows)
    _check_count(one.table, taken)
    return shaping.nul_replaced


def _check_count(table: TableDelivery, rows: int) -> None:
    if rows != table.rows:
        raise EnvironmentProblem(
            f"The rows of {table.name} could not be delivered",
            f"{table.rows:,} were staged, {rows:,} were read",
            "Run the job again",
        )


class _Batches:
    """The batches of a table; keeps the error that ended them, of which ADBC makes a text."""

    def __init__(self, table: TableDelivery, shaping: Shaping, cancel: CancelToken) -> None:
        self._table = table
        self._shaping = shaping
        self._cancel = cancel
        self.rows = 0
        self.error: CasparianError | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches(self._table, self._cancel):
                self.rows += batch.num_rows
                yield self._shaping(batch)
        except CasparianError as error:
            self.error = error
            raise
