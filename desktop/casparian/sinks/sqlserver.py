"""The SQL Server sink: loaded into a stage of its own, then one transaction.

The driver's bulk load opens a connection of its own, which takes part in no transaction and sees no
temporary tables: so a stage is a permanent table, `cf_stage_<job>_<n>`, in the schema of the address,
counted after the load and dropped after the commit. `sweep` drops what a crash left.

What SQL Server has no value for is refused before anything is visible, with a sentence that names the
column: times after the year 9999, NaN and infinities. To keep such a column as text would lose nothing
either, but make the type of a column depend on its data, and a query that worked yesterday would compare
text today; another sink holds these values as what they are.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute

from casparian.domain.contracts import LINEAGE_COLUMNS
from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem
from casparian.sinks import tsql
from casparian.sinks.base import Delivered, RowsOf, SinkState
from casparian.sinks.nested import instant_text, json_texts
from casparian.sinks.staged import batches, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.sinks.base import Delivery, TableDelivery

logger = logging.getLogger(__name__)
pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

LOGIN_S = 5
_STAGE = re.compile(rf"{tsql.STAGE}(?P<job>.+)_\d+")
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""From year 1 to 9999, in microseconds and days since 1970."""


class Cursor(Protocol):
    """What is used of the driver's cursor."""

    def execute(self, operation: str, *parameters: Any) -> Any:
        """Send a statement."""

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """All rows of its result."""

    def bulkcopy_arrow(self, table_name: str, source: Any, **options: Any) -> Any:
        """Load rows, by another connection."""

    def close(self) -> None:
        """Let go of it."""


class Connection(Protocol):
    """What is used of the driver's connection."""

    def cursor(self) -> Cursor:
        """For one statement after the other."""

    def close(self) -> None:
        """Let go of it; what is not committed is undone."""


def _nothing(step: str) -> None:
    del step


class SqlServerSink:
    """A database of SQL Server as a place for tables; see `base.Sink` for what its methods promise."""

    def __init__(
        self,
        address: Address,
        *,
        connect: Callable[[Address], Connection] | None = None,
        on_step: Callable[[str], None] = _nothing,
    ) -> None:
        """Use the database of an address; nothing is sent yet.

        Args:
            address: of the scheme `sqlserver`, with the password if there is one.
            connect: opens a connection in autocommit mode; the driver's if None.
            on_step: told each step that is done; tests stop there.
        """
        self.address = address.with_password(None)
        self._address = address
        self._connect = connect or connection_to
        self._on_step = on_step

    def deliver(self, delivery: Delivery, cancel: CancelToken) -> None:
        """Load into stages, then replace and record in one transaction."""
        tables = [_fitted(one) for one in delivery.tables]
        with self._session("The rows could not be delivered") as session:
            stages = [self._stage(delivery.job_id, at) for at in range(len(tables))]
            try:
                self._prepare(session)
                for table, stage in zip(tables, stages, strict=True):
                    cancel.check()
                    _load(session, table, stage, cancel)
                    self._on_step("staged")
                cancel.check()
                self._promote(session, delivery, tables, stages, cancel)
                self._on_step("committed")
            finally:
                session.undo()
                for stage in stages:
                    session.try_to(tsql.drop(stage))

    def delivered(self, job_id: str) -> Delivered | None:
        """Ask the ledger."""
        with self._session("The ledger could not be read") as session:
            return self._recorded(session, job_id)

    def revoke(self, job_id: str) -> None:
        """Take the rows of a job out again."""
        with self._session("The rows could not be taken back") as session:
            if self._has_ledger(session):
                session.run(tsql.BEGIN)
                session.run(tsql.take_turn(self.address.schema))
                self._take_back(session, job_id)
                session.run(tsql.COMMIT)

    def sweep(self, alive: Collection[str]) -> Sequence[str]:
        """Drop the stages of jobs that are not alive."""
        swept = []
        with self._session("What a crash left could not be removed") as session:
            for (name,) in session.rows(tsql.STAGES, self.address.schema):
                found = _STAGE.fullmatch(name)
                if found and found["job"] not in alive:
                    session.run(tsql.drop(tsql.place(self.address.schema, name)))
                    swept.append(name)
        return swept

    def probe(self) -> SinkState:
        """Look whether the server can be reached, and lets this login make tables."""
        with self._session("The database could not be looked at") as session:
            [(version, updates, makes_tables, makes_schemas)] = session.rows(tsql.PROBE)
            if updates != "READ_WRITE":
                raise EnvironmentProblem(
                    f"{self.address} cannot be written", f"The database is {updates}"
                )
            if not (makes_tables and makes_schemas):
                raise UserProblem(
                    f"{self.address} cannot be written",
                    "The login may not make tables and schemas there",
                    "Ask for CREATE TABLE and CREATE SCHEMA in that database",
                )
            begin = f"{self.address.schema}_"
            [(size,)] = session.rows(tsql.SIZE, self.address.schema, begin, begin)
        return SinkState(f"SQL Server {version}", int(size or 0), None)

    def close(self) -> None:
        """Nothing stays open between calls."""

    # One delivery

    def _stage(self, job_id: str, at: int) -> str:
        return tsql.place(self.address.schema, tsql.fitted(f"{tsql.STAGE}{job_id}_{at}"))

    def _prepare(self, session: _Session) -> None:
        """Make the schema of the address and the ledger."""
        if self._has_ledger(session):
            return
        session.run(tsql.BEGIN)
        session.run(tsql.take_turn(self.address.schema))
        _make_schema(session, self.address.schema)
        session.run(tsql.make_ledger(self.address.schema))
        session.run(tsql.COMMIT)

    def _promote(
        self,
        session: _Session,
        delivery: Delivery,
        tables: Sequence[TableDelivery],
        stages: Sequence[str],
        cancel: CancelToken,
    ) -> None:
        schema = self._schema(delivery.schema)
        session.run(tsql.BEGIN)
        session.run(tsql.take_turn(self.address.schema))
        _make_schema(session, schema)
        self._take_back(session, delivery.job_id)
        gone = []
        for table, stage in zip(tables, stages, strict=True):
            cancel.check()
            place = tsql.place(schema, table.name)
            values = _shape(session, schema, table, stage)
            if delivery.mode != "append":
                _take_out(session, place, table, delivery.mode)
                gone += [(table.name, one.job_id, one.file_id) for one in table.gone]
            self._on_step("deleted")
            session.run(tsql.insert(place, stage, table.columns, values))
            self._on_step("inserted")
        session.run(
            tsql.record(self.address.schema),
            delivery.job_id,
            delivery.attempt,
            delivery.schema,
            json.dumps([(one.name, one.rows) for one in delivery.tables]),
            json.dumps(
                [
                    (one.name, rows.job_id, rows.file_id)
                    for one in delivery.tables
                    for rows in one.gone
                    if delivery.mode != "append"
                ]
            ),
        )
        self._on_step("ledger")
        cancel.check()
        session.run(tsql.COMMIT)

    def _schema(self, folder: str) -> str:
        """The schema of a workspace's folder."""
        schema = self.address.schema
        return schema if folder == "default" else tsql.fitted(f"{schema}_{folder}")

    # The ledger

    def _has_ledger(self, session: _Session) -> bool:
        [(number,)] = session.rows(tsql.ledger_exists(self.address.schema))
        return number is not None

    def _recorded(self, session: _Session, job_id: str) -> Delivered | None:
        if not self._has_ledger(session):
            return None
        rows = session.rows(tsql.recorded(self.address.schema), job_id)
        if not rows:
            return None
        attempt, folder, tables, gone = rows[0]
        return Delivered(
            job_id,
            int(attempt),
            folder,
            tuple((name, count) for name, count in json.loads(tables)),
            tuple((name, RowsOf(job, file)) for name, job, file in json.loads(gone)),
        )

    def _take_back(self, session: _Session, job_id: str) -> None:
        """Remove what an earlier attempt of a job delivered, as the ledger has it, and its ledger row."""
        if (earlier := self._recorded(session, job_id)) is None:
            return
        schema = self._schema(earlier.schema)
        for name, _ in earlier.tables:
            fitted = tsql.fitted(name)
            if session.rows(tsql.COLUMNS, schema, fitted):
                session.run(tsql.take_back(tsql.place(schema, fitted)), job_id)
        session.run(tsql.forget(self.address.schema), job_id)

    # The server

    @contextlib.contextmanager
    def _session(self, what: str) -> Iterator[_Session]:
        try:
            with contextlib.closing(self._connect(self._address)) as connection:
                session = _Session(connection)
                session.run(tsql.SESSION)
                yield session
        except CasparianError:
            raise
        except Exception as error:
            if not _is_of_the_driver(error):
                raise
            raise problem(error, what, self._address) from error


class _Session:
    """Statements over one connection, one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, *values: object) -> None:
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, *values)

    def rows(self, sql: str, *values: object) -> Sequence[Sequence[Any]]:
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, *values)
            return cursor.fetchall()

    def load(self, stage: str, rows: pa.RecordBatchReader) -> None:
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.bulkcopy_arrow(
                stage,
                rows,
                timeout=0,
                column_mappings=[(at, name) for at, name in enumerate(rows.schema.names)],
                table_lock=True,
            )

    def undo(self) -> None:
        self.try_to(tsql.ROLLBACK)

    def try_to(self, sql: str) -> None:
        """Run what need not succeed: the connection may be gone, and `sweep` comes by."""
        try:
            self.run(sql)
        except Exception as error:
            if not _is_of_the_driver(error):
                raise
            logger.warning("left to the next sweep: %s", type(error).__name__)


def _fitted(table: TableDelivery) -> TableDelivery:
    """A delivery under names that SQL Server takes.

    Raises:
        UserProblem: two columns have the same name to SQL Server.
    """
    columns = tuple(replace(one, name=tsql.fitted(one.name)) for one in table.columns)
    seen: set[str] = set()
    for one in columns:
        if (folded := one.name.casefold()) in seen:
            raise UserProblem(
                f"{table.name} has two columns {one.name}",
                "Their names differ in case only, which SQL Server does not tell apart",
                "Send this output to another sink",
            )
        seen.add(folded)
    return replace(table, name=tsql.fitted(table.name), columns=columns)


def _make_schema(session: _Session, schema: str) -> None:
    if session.rows(tsql.SCHEMA_ID, schema)[0][0] is None:
        session.run(tsql.make_schema(schema))
