"""The SQL Server sink: loaded into a stage of its own, then one transaction.

The driver's bulk load opens a connection of its own, which takes part in no transaction and sees no
temporary tables: so a stage is a permanent table, `cf_stage_<job>_<attempt>_<n>`, in the schema of the
address, counted after the load and dropped after the commit. `sweep` drops what a crash left.

What SQL Server has no value for is refused before anything is visible, with a sentence that names the
column: times after the year 9999, NaN and infinities. To keep such a column as text would lose nothing
either, but make the type of a column depend on its data, and a query that worked yesterday would compare
text today; another sink holds these values as what they are.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute

from casparian.domain.contracts import LINEAGE_COLUMNS
from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.types import arrow_type
from casparian.sinks import tsql
from casparian.sinks.base import Delivered, RowsOf, SinkState
from casparian.sinks.names import (
    SQLSERVER_UNITS,
    fitted,
    fitted_columns,
    namespace,
    refuse_twins,
    utf16_size,
)
from casparian.sinks.staged import batches
from casparian.sinks.texts import as_text
from casparian.sqlserver import connect, is_of_the_driver, problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.domain.contracts import Column
    from casparian.sinks.base import Delivery, TableDelivery

logger = logging.getLogger(__name__)
pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

_STAGE = re.compile(rf"{tsql.STAGE}(?P<job>.+)_\d+_\d+")
_INT64 = pa.int64()
_RANGES = {
    "date": (-719_162, 2_932_896),
    "timestamp": (-62_135_596_800_000_000, 253_402_300_799_999_999),
    "timestamp_utc": (-62_135_596_800_000_000, 253_402_300_799_999_999),
}
"""From year 1 to 9999, in days and microseconds since 1970."""


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
        connect: Callable[[Address], Connection] = connect,
        on_step: Callable[[str], None] = _nothing,
    ) -> None:
        """Use the database of an address; nothing is sent yet.

        Args:
            address: of the scheme `sqlserver`, with the password if there is one.
            connect: opens a connection that commits every statement which is in no transaction.
            on_step: told each step that is done; tests stop there.
        """
        self.address = address.with_password(None)
        self._address = address
        self._connect = connect
        self._on_step = on_step

    def deliver(self, delivery: Delivery, cancel: CancelToken) -> None:
        """Load into stages, then replace and record in one transaction."""
        tables = [_fitted(one) for one in delivery.tables]
        with self._session("The rows could not be delivered") as session:
            stages = [self._stage(delivery, at) for at in range(len(tables))]
            try:
                self._prepare(session)
                for table, stage in zip(tables, stages, strict=True):
                    cancel.check()
                    if table.columns:
                        _load(session, table, stage, _Rows(table, cancel))
                    self._on_step("staged")
                cancel.check()
                self._promote(session, delivery, tables, stages, cancel)
                self._on_step("committed")
            finally:
                session.undo()
                for table, stage in zip(tables, stages, strict=True):
                    if table.columns:
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

    def _stage(self, delivery: Delivery, at: int) -> str:
        """Where a table is loaded; two attempts of a job, one of them given up for dead, keep apart."""
        name = f"{tsql.STAGE}{delivery.job_id}_{delivery.attempt}_{at}"
        return tsql.place(self.address.schema, _fitted_name(name))

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
        schema = namespace(self.address, delivery.schema)
        session.run(tsql.BEGIN)
        session.run(tsql.take_turn(self.address.schema))
        _make_schema(session, schema)
        self._take_back(session, delivery.job_id)
        for table, stage in zip(tables, stages, strict=True):
            cancel.check()
            place = tsql.place(schema, table.name)
            if not table.columns:  # rows only leave
                if _is_ours(_found(session, schema, table.name)):
                    _take_out(session, place, table)
                continue
            values = _shape(session, schema, table, stage)
            _take_out(session, place, table)
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
                ]
            ),
        )
        self._on_step("ledger")
        cancel.check()
        session.run(tsql.COMMIT)

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
        schema = namespace(self.address, earlier.schema)
        for name, _ in earlier.tables:
            short = _fitted_name(name)
            if session.rows(tsql.COLUMNS, schema, short):
                session.run(tsql.take_back(tsql.place(schema, short)), job_id)
        session.run(tsql.forget(self.address.schema), job_id)

    # The server

    @contextlib.contextmanager
    def _session(self, what: str) -> Iterator[_Session]:
        try:
            with contextlib.closing(self._connect(self._address)) as connection:
                session = _Session(connection, lambda error: problem(error, what, self._address))
                session.run(tsql.SESSION)
                yield session
        except CasparianError:
            raise
        except Exception as error:
            if not is_of_the_driver(error):
                raise
            raise problem(error, what, self._address) from error


class _Session:
    """Statements over one connection, one after the other."""

    def __init__(
        self, connection: Connection, problem: Callable[[Exception], CasparianError]
    ) -> None:
        self._connection = connection
        self.problem = problem
        """What an error of the driver means."""

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
            if not is_of_the_driver(error):
                raise
            logger.warning("left to the next sweep: %s", type(error).__name__)


def _fitted_name(name: str) -> str:
    return fitted(name, SQLSERVER_UNITS, utf16_size)


def _fitted(table: TableDelivery) -> TableDelivery:
    """A delivery under names that SQL Server takes.

    Raises:
        UserProblem: two columns have the same name to SQL Server.
    """
    names = fitted_columns(
        table.name, (one.name for one in table.columns), SQLSERVER_UNITS, utf16_size
    )
    refuse_twins(table.name, names.values())
    columns = tuple(replace(one, name=names[one.name]) for one in table.columns)
    return replace(table, name=_fitted_name(table.name), columns=columns)


def _make_schema(session: _Session, schema: str) -> None:
    if session.rows(tsql.SCHEMA_ID, schema)[0][0] is None:
        session.run(tsql.make_schema(schema))


# --- Loading


def _load(session: _Session, table: TableDelivery, stage: str, source: _Rows) -> None:
    """Make the stage of a table, load it, and count what is in it."""
    session.run(tsql.drop(stage))
    session.run(tsql.make_stage(stage, table.columns))
    if not table.parts:
        return
    try:
        session.load(stage, pa.RecordBatchReader.from_batches(source.schema, source))
    except Exception as error:
        raise (source.error or session.problem(error)) from error
    [(rows,)] = session.rows(tsql.count(stage))
    if rows != table.rows:
        raise EnvironmentProblem(
            f"The rows of {table.name} could not be delivered",
            f"{table.rows:,} were staged, {rows:,} were loaded",
            "Run the job again",
        )


class _Rows:
    """What a stage is loaded with: the batches of a delivery, in types that the bulk load takes."""

    def __init__(self, table: TableDelivery, cancel: CancelToken) -> None:
        self._table = table
        self._batches = batches(table, cancel)
        self.error: CasparianError | None = None
        """What ended the batches; the bulk load makes a text of it."""
        self.schema = pa.schema(
            [
                pa.field(tsql.staged(at), _loaded_type(one.type))
                for at, one in enumerate(table.columns)
            ]
        )

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                arrays = [
                    self._column(one, batch.column(at))
                    for at, one in enumerate(self._table.columns)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        except CasparianError as error:
            self.error = error
            raise

    def _column(self, column: Column, values: pa.Array[Any]) -> pa.Array[Any]:
        kind = _loaded_type(column.type)
        if column.type in _RANGES:
            self._refuse_far(column, values)
        elif column.type == "float64" and not pc.all(pc.is_finite(values)).as_py():
            if not pc.all(pc.fill_null(pc.is_finite(values), True)).as_py():  # noqa: FBT003
                raise self._refused(column, "NaN or an infinity")
        elif pa.types.is_nested(values.type):
            return as_text(values)
        return values if values.type == kind else values.view(kind)

    def _refuse_far(self, column: Column, values: pa.Array[Any]) -> None:
        first, last = _RANGES[column.type]
        plain = pa.int32() if column.type == "date" else _INT64
        found = pc.min_max(values.view(plain)).as_py()
        for one in (found["min"], found["max"]):
            if one is not None and not first <= one <= last:
                shown = as_text(pa.array([one], plain).view(values.type))[0].as_py()
                raise self._refused(column, shown)

    def _refused(self, column: Column, value: str) -> UserProblem:
        return UserProblem(
            f"The rows of {self._table.name} cannot be kept by SQL Server",
            f"Its column {column.name} holds {value}, for which SQL Server has no value",
            "Send this output to another sink",
        )


def _loaded_type(word: str) -> pa.DataType:
    """The Arrow type by which the bulk load takes a column: it refuses zones, and what is nested."""
    arrow = arrow_type(word)
    if pa.types.is_timestamp(arrow):
        return pa.timestamp("us")
    if pa.types.is_duration(arrow):
        return _INT64
    return pa.string() if pa.types.is_nested(arrow) else arrow


# --- Tables


def _shape(session: _Session, schema: str, table: TableDelivery, stage: str) -> list[str]:
    """Make the table, or give an older one the columns and types that it is to have.

    Returns:
        For each column, what of the stage goes into it.
    """
    place = tsql.place(schema, table.name)
    there = _found(session, schema, table.name)
    if not there:
        session.run(tsql.make_table(place, table.columns))
        session.run(tsql.make_index(place))
        return [tsql.staged(at) for at in range(len(table.columns))]
    if not _is_ours(there):
        raise UserProblem(
            f"The table {table.name} cannot be written",
            f"{schema}.{table.name} is there already and is not a table of this program",
            "Rename or move it, or choose another schema",
        )
    return [
        _column(session, table, place, there.get(one.name.casefold()), at, stage)
        for at, one in enumerate(table.columns)
    ]


def _found(session: _Session, schema: str, name: str) -> dict[str, str]:
    """The types of a table's columns by their names, whose case does not matter; none if it is not there."""
    rows = session.rows(tsql.COLUMNS, schema, name)
    return {one.name.casefold(): one.type for one in (tsql.Found(*row) for row in rows)}


def _is_ours(columns: Mapping[str, str]) -> bool:
    """Whether rows of ours may be in a table: it says of each row where it comes from."""
    return columns.keys() >= {*LINEAGE_COLUMNS}


def _column(
    session: _Session, table: TableDelivery, place: str, old: str | None, at: int, stage: str
) -> str:
    """Give a column its type, or find that it has a wider one; return what of the stage goes into it."""
    column, staged = table.columns[at], tsql.staged(at)
    new = tsql.without_collation(tsql.column_type(column))
    if old == new:
        return staged
    if old is None:
        session.run(tsql.add_column(place, column))
        return staged
    changes: Iterator[str] = iter(())
    value = staged
    if tsql.is_wider(new, old) and _keeps_digits(session, place, column.name, old, new):
        changes = tsql.widen_column(place, column, old)
    elif not session.rows(tsql.has_value(place, column.name)):
        changes = tsql.remake_column(place, column)
    elif tsql.is_wider(old, new) and _keeps_digits(session, stage, staged, new, old):
        value = tsql.as_text(staged, new) if old == "NVARCHAR(MAX)" else staged
    else:
        raise UserProblem(
            f"The table {table.name} cannot be written",
            f"Its column {column.name} is {old} and not all of its values can become {new}",
            "Rename the table in the database, or choose another schema",
        )
    for one in changes:
        session.run(one)
    return value


def _keeps_digits(session: _Session, place: str, name: str, old: str, new: str) -> bool:
    """Whether whole numbers stay what they are in doubles."""
    if (old, new) != ("BIGINT", "FLOAT(53)"):
        return True
    return not session.rows(tsql.has_long_number(place, name))


def _take_out(session: _Session, place: str, table: TableDelivery) -> None:
    """Remove the rows that the delivery replaces."""
    files = defaultdict(list)
    for one in table.gone:
        files[one.job_id].append(one.file_id)
    for job_id, ids in files.items():
        for at in range(0, len(ids), tsql.BOUND_AT_ONCE):
            some = ids[at : at + tsql.BOUND_AT_ONCE]
            session.run(tsql.take_out(place, len(some)), job_id, *some)
