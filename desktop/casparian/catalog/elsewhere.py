"""Tables that live in a database elsewhere, seen as those of the catalog are: the same views and exports.

`SinkReader` stands where `CatalogReader` stands. What differs from one database to another is small, and
is all in two parts that are named here and written elsewhere (`postgres`, `sqlserver`): a `DatabaseDialect`,
which makes statements and does nothing, and a `Connection`, which runs them.

How pages stay fast and where they are. PostgreSQL tells each row's place; the places of a view's rows are
read once, in their order, into a temporary file (see `reader`), and a page fetches its rows by their
places. A row that moved or left since is noticed, and the page says so instead of showing another. SQL
Server tells no places: there a page is found by its position, at the cost of a sort for each.

What is exported streams through DuckDB, one batch after the other, which writes the cells as ever: the
same rows give the same bytes, wherever they come from.
"""

# ruff: noqa: S608  (SQL is made here: names and text pass the dialect's quoting, values are bound)
from __future__ import annotations

import contextlib
import re
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute
from typing_extensions import override

from casparian.catalog.conditions import Bound, Written, condition, ordering, searching
from casparian.catalog.dialects import Dialect
from casparian.catalog.narrowing import narrowed
from casparian.catalog.reader import (
    FIRST_ROWS,
    Reader,
    ResultView,
    Spelling,
    TableView,
    View,
    first_rows,
)
from casparian.catalog.rows import BATCH_ROWS, Rows
from casparian.catalog.selection import shaped
from casparian.catalog.session import interrupting
from casparian.domain.contracts import LINEAGE, QUARANTINE
from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.results import QUARANTINE_SUFFIX, ColumnInfo, Sort, TableInfo
from casparian.domain.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from casparian.catalog.statements import Checked
    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.domain.contracts import Column
    from casparian.domain.results import Filter, ViewSpec

ContractOf: TypeAlias = "Callable[[str, str], Iterable[ColumnInfo | Column]]"
"""Gives the columns that a table, by schema and name, has by its contract."""

# The stubs know only some of the overloads.
pc: Any = pyarrow.compute

_IDLE_KEPT = 3
_KEYS_AT_ONCE = 65_536
_COUNTED_AT_ONCE = 50
_LINEAGE_ORDER = ("_cf_job_id", "_cf_file_id", "_cf_row")
_PLACE = re.compile(r"\bc(\d+)\b")
_BEFORE_ALL = {
    "date": -2_440_588,
    "timestamp": -210_866_803_200_000_000,
    "timestamp_utc": -210_866_803_200_000_000,
}
"""4714 BC, where PostgreSQL's calendar begins; what comes before is its infinity."""


def no_contract(schema: str, table: str) -> Iterable[ColumnInfo]:
    """What is said of a table where no contract is known."""
    del schema, table
    return ()


class Reading(NamedTuple):
    """How a column of a database is read."""

    word: str
    form: str = "{}"
    """SQL over the column that gives a value which becomes one of ours."""
    is_loose: bool = False
    """Whether it is a number of which only the values tell the digits."""


class Described(NamedTuple):
    """A column as the database describes it."""

    name: str
    type: str
    modifier: int | None = None


class DatabaseDialect(Dialect):
    """The SQL of one kind of database: pure functions that make statements."""

    tie: str = ""
    """What settles the order of rows that even have the same lineage."""
    first_rows: str = FIRST_ROWS
    """See `Spelling`."""

    @abstractmethod
    def check(self, sql: str) -> Checked:
        """Return the statement, if it may run.

        Raises:
            UserProblem: it may not.
        """

    @abstractmethod
    def name(self, identifier: str) -> str:
        """An identifier, quoted, whatever is in it."""

    @abstractmethod
    def readable(self, identifier: str) -> str:
        """An identifier as people write it: quoted only where it must be."""

    def readable_table(self, info: TableInfo) -> str:
        """A table as people write it, who look at its workspace."""
        return self.readable(info.name)

    @abstractmethod
    def reading(self, described: Described, *, told: str | None = None) -> Reading:
        """How a column is read.

        Args:
            described: by the database.
            told: for a column of a table of ours, the type that its comment tells; it may be empty.
        """

    @abstractmethod
    def clipped(self, word: str, form: str, size: int) -> str:
        """A form of a text or binary, cut to that size."""

    @abstractmethod
    def tables(self, schema: str) -> tuple[str, list[object]]:
        """The statement that lists columns of tables: schema, table, column, type, modifier, comment."""

    @abstractmethod
    def functions(self) -> str:
        """The statement that lists functions people may call."""

    @abstractmethod
    def result(self, statement: str, readings: Sequence[Reading]) -> str:
        """The statement that gives what a query gives, its columns as c0, c1, ... where that can be."""

    @abstractmethod
    def part(self, offset: int, limit: int) -> str:
        """What stands at the end of a statement to give some of its rows."""

    def key(self, source: str) -> str:
        """A row's place in a table, which is called t, as a whole number; empty where there is none."""
        del source
        return ""

    @abstractmethod
    def of_keys(self, keys: Sequence[int]) -> str:
        """The condition that rows have these places."""

    def counted(self) -> str:
        """The number of rows."""
        return "count(*)"

    def digits(self, place: str) -> tuple[str, str]:
        """The digits after the point of a number, and those before it; both null if it is none."""
        raise NotImplementedError(place)


class Connection(ABC):
    """One connection to a database, for one thread at a time."""

    @abstractmethod
    def begin(self, schema: str, cancel: CancelToken | None) -> None:
        """Begin a transaction that changes nothing, where names are looked up in a schema, if given."""

    @abstractmethod
    def end(self) -> None:
        """Take the transaction back."""

    @abstractmethod
    def describe(self, statement: str) -> list[Described]:
        """The columns of a query, without running it."""

    @abstractmethod
    def explain(self, statement: str) -> pa.Table:
        """Run an EXPLAIN."""

    @abstractmethod
    def stream(self, sql: str, values: Sequence[object], rows: int) -> Iterator[pa.Table]:
        """Run a query, and give its rows as they come, up to *rows* at once."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop what runs, from another thread; may be called again and again."""

    @abstractmethod
    def close(self) -> None:
        """Close it; never raises."""

    @abstractmethod
    def problem(self, error: Exception) -> CasparianError | None:
        """The sentence for an error of the driver; None for any other error."""


class Database:
    """Connections to one database; those that are at rest are closed when the last holder lets go."""

    def __init__(
        self,
        dialect: DatabaseDialect,
        connect: Callable[[], Connection],
        *,
        idle_kept: int = _IDLE_KEPT,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        self.dialect = dialect
        self._closing = closing
        self._idle_kept = idle_kept
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._holders = 1

    def hold(self) -> None:
        """Keep connections until `release`."""
        with self._lock:
            if self._holders == 0:
                raise EnvironmentProblem("The connection was closed")
            self._holders += 1

    def release(self) -> None:
        """Let go; the last one to do so closes what is at rest."""
        with self._lock:
            self._holders -= 1
            is_last = self._holders == 0
            over, self._idle = (self._idle, []) if is_last else ([], self._idle)
        for one in over:
            one.close()
        if is_last:
            self._closing()

    def stream(
        self,
        sql: str,
        values: Sequence[object] = (),
        *,
        schema: str = "",
        cancel: CancelToken | None = None,
        rows: int = BATCH_ROWS,
    ) -> Generator[pa.Table, None, None]:
        """Run a query, and give its rows as they come.

        Raises:
            CasparianError: what the database or the way to it has against it; `Cancelled` within a moment
                of the wish, when the database has stopped.
        """
        with self.at_work(schema, cancel) as connection:
            for batch in connection.stream(sql, values, rows):
                if cancel is not None:
                    cancel.check()
                yield batch

    def table(
        self,
        sql: str,
        values: Sequence[object] = (),
        *,
        schema: str = "",
        cancel: CancelToken | None = None,
    ) -> pa.Table:
        """Run a query, and give all of its rows; at least one batch, so that there are columns."""
        return pa.concat_tables(self.stream(sql, values, schema=schema, cancel=cancel))

    @contextlib.contextmanager
    def at_work(self, schema: str, cancel: CancelToken | None) -> Iterator[Connection]:
        """A connection for one piece of work, in a transaction that changes nothing."""
        if cancel is not None:
            cancel.check()
        self.hold()
        try:
            connection = self._begun(schema, cancel)
            clean = False
            try:
                with interrupting(connection.cancel, cancel):
                    try:
                        yield connection
                    except GeneratorExit:
                        clean = cancel is None or not cancel.is_cancelled
                        raise
                clean = cancel is None or not cancel.is_cancelled
            except Exception as error:
                if cancel is not None:
                    cancel.check()
                problem = connection.problem(error)
                if problem is None:
                    raise
                raise problem from error
            finally:
                self._put_back(connection, clean=clean)
        finally:
            self.release()

    def _begun(self, schema: str, cancel: CancelToken | None) -> Connection:
        """A connection in a transaction: one at rest, if it is still alive."""
        while True:
            with self._lock:
                known = self._idle.pop() if self._idle else None
            connection = known or self._connect()
            try:
                connection.begin(schema, cancel)
            except Exception as error:
                connection.close()
                if known is not None:
                    continue
                problem = connection.problem(error)
                if problem is None:
                    raise
                raise problem from error
            return connection

    def _put_back(self, connection: Connection, *, clean: bool) -> None:
        """Keep a connection for the next; one that failed or was cancelled may still be told to stop."""
        if clean:
            try:
                connection.end()
            except Exception:  # noqa: BLE001  (whatever it is, the connection is of no use any more)
                clean = False
        with self._lock:
            keep = clean and len(self._idle) < self._idle_kept and self._holders > 0
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()


@dataclass(frozen=True)
class SinkRows(Rows):
    """The rows of a table of a database, narrowed and ordered, or those of a query."""

    database: Database
    columns: tuple[ColumnInfo, ...]
    places: tuple[str, ...]
    known: tuple[ColumnInfo, ...]
    """Every column that there is, shown or not: c0, c1, ..."""
    forms: tuple[str, ...]
    """How each of those is read, as SQL."""
    source: str
    """What stands behind FROM; empty for a query."""
    schema: str
    sql: str
    folder: Path
    tables: tuple[TableInfo, ...]
    where: str = ""
    order: str = ""
    back: str = ""
    key: str = ""
    values: tuple[object, ...] = ()
    rows: int | None = None
    query: str = ""
    """The whole statement, for a query."""

    @property
    @override
    def temp(self) -> Path:
        return self.folder

    @property
    @override
    def infos(self) -> tuple[TableInfo, ...]:
        return self.tables

    @property
    @override
    def total(self) -> int | None:
        return self.rows

    @property
    @override
    def has_quick_ends(self) -> bool:
        # To find the first that pass a condition, the database looks at as many as for all.
        return self.rows is not None

    @property
    @override
    def has_keys(self) -> bool:
        return bool(self.key)

    @override
    def place(self, name: str) -> str:
        return next((f"c{at}" for at, one in enumerate(self.known) if one.name == name), "")

    @override
    def stream(
        self,
        expressions: Sequence[str] | None = None,
        cancel: CancelToken | None = None,
        rows: int = BATCH_ROWS,
    ) -> Generator[pa.RecordBatch, None, None]:
        wanted = expressions or self.places
        # An expression that only seems to name a column has one more read, and nothing else comes of it.
        named = sorted({int(at) for one in wanted for at in _PLACE.findall(one)})
        named = list(range(len(self.known))) if self.query else named or [0]
        columns = [self.known[at] for at in named]
        if self.query:
            sql = self.query
        else:
            sql = (
                f"SELECT {self._forms(named)} FROM {self.source}{self.where} ORDER BY {self.order}"
            )
        batches = self.database.stream(
            sql,
            self.values,
            schema=self.schema,
            cancel=cancel,
            rows=rows,
        )
        with contextlib.closing(batches):
            given = _Given(batches, columns)
            if expressions:
                yield from _evaluated(given, [f"c{at}" for at in named], expressions, rows)
            else:
                yield from given

    @override
    def count(self, cancel: CancelToken | None) -> int:
        counted = self.database.dialect.counted()
        rows = self.database.table(
            f"SELECT {counted} AS n FROM {self.source}{self.where}",
            self.values,
            schema=self.schema,
            cancel=cancel,
        )
        return int(rows.column(0)[0].as_py())

    @override
    def keys(
        self,
        cancel: CancelToken | None,
        limit: tuple[int, int] | None = None,
        *,
        backwards: bool = False,
    ) -> Generator[pa.RecordBatch, None, None]:
        order = self.back if backwards else self.order
        sql = f"SELECT {self.key} AS k FROM {self.source}{self.where} ORDER BY {order}"
        if limit:
            sql += self.database.dialect.part(*limit)
        found = 0
        batches = self.database.stream(
            sql,
            self.values,
            schema=self.schema,
            cancel=cancel,
            rows=_KEYS_AT_ONCE,
        )
        with contextlib.closing(batches):
            for batch in batches:
                found += batch.num_rows
                yield from batch.to_batches()
        if limit is None and self.rows is not None and found != self.rows:
            raise self._changed(f"It had {self.rows:,} rows, and has {found:,} now")

    @override
    def by_keys(
        self, keys: Sequence[int], clip: int | None, cancel: CancelToken | None
    ) -> pa.Table:
        if not keys:
            return shaped(None, self.columns)
        found = self.database.table(
            f"SELECT {self.key} AS k, {self._shown(clip)} FROM {self.source}"
            f" WHERE {self.database.dialect.of_keys(keys)}",
            schema=self.schema,
            cancel=cancel,
        )
        row_of = {key: row for row, key in enumerate(found.column(0).to_pylist())}
        gone = sum(key not in row_of for key in keys)
        if gone:
            raise self._changed(f"{gone:,} of {len(keys):,} rows have left it or moved")
        rows = found.take(pa.array([row_of[key] for key in keys])).remove_column(0)
        return of_ours(rows, self.columns)

    @override
    def at(self, offset: int, limit: int, clip: int | None, cancel: CancelToken | None) -> pa.Table:
        rows = self.database.table(
            f"SELECT {self._shown(clip)} FROM {self.source}{self.where}"
            f" ORDER BY {self.order}{self.database.dialect.part(offset, limit)}",
            self.values,
            schema=self.schema,
            cancel=cancel,
        )
        return of_ours(rows, self.columns)

    @override
    def values_of(self, column: str, info: TableInfo, cancel: CancelToken | None) -> set[str]:
        name = self.database.dialect.name
        rows = self.database.table(
            f"SELECT DISTINCT {name(column)} AS v FROM {name(info.schema)}.{name(info.name)}",
            cancel=cancel,
        )
        return {str(value) for value in rows.column(0).to_pylist() if value}

    @override
    def hold(self) -> None:
        self.database.hold()

    @override
    def release(self) -> None:
        self.database.release()

    def _forms(self, named: Sequence[int]) -> str:
        return ", ".join(f"{self.forms[at]} AS c{at}" for at in named)

    def _shown(self, clip: int | None) -> str:
        parts = []
        for column, place in zip(self.columns, self.places, strict=True):
            form = self.forms[int(place[1:])]
            if clip is not None and column.type in {"string", "json", "binary"}:
                form = self.database.dialect.clipped(column.type, form, clip)
            parts.append(f"{form} AS {place}")
        return ", ".join(parts)

    def _changed(self, detail: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"{self.tables[0].name} has changed since it was opened",
            detail,
            "Open it again",
            retryable=True,
        )


class SinkReader(Reader):
    """Reads tables of a sink that is a database; safe to use from any thread.

    Args:
        database: where they are; see `open_reader`.
        address: the same, without a password.
        temp_dir: for row keys.
        contract: gives the columns that a table has by its contract, if any; see `open_reader`.
    """

    def __init__(
        self,
        database: Database,
        address: Address,
        temp_dir: Path,
        contract: ContractOf = no_contract,
    ) -> None:
        self.address = address
        self._contract = contract
        self._held, self._temp = database, temp_dir
        self._schema = "main" if address.path else address.schema
        self._lock = threading.Lock()
        self._tables: tuple[TableInfo, ...] | None = None
        self._readings: dict[tuple[str, str], tuple[Reading, ...]] = {}
        self._refreshed = 0
        self._closed = threading.Event()

    @override
    def refresh(self) -> int:
        with self._lock:
            self._tables = None
            self._refreshed += 1
            return self._refreshed

    @override
    def tables(self) -> list[TableInfo]:
        """What can be queried, by schema and name, with the rows that each has now.

        Raises:
            CasparianError: the database cannot be reached, or refuses.
        """
        return list(self._listed())

    @override
    def open(self, spec: ViewSpec, cancel: CancelToken | None = None) -> View:
        return TableView(self._of_table(spec, cancel))

    @override
    def query(
        self, sql: str, schema: str = "", cancel: CancelToken | None = None, cap: int = 100_000
    ) -> View:
        """Run one SELECT, or plain EXPLAIN of one, and keep up to *cap* of its rows.

        Raises:
            UserProblem: not allowed, or wrong; the detail holds the database's `LINE n:` and caret.
            EnvironmentProblem: the database cannot be reached, or is out of something.
            Cancelled: it was.
        """
        checked = self._database.dialect.check(sql)
        schema = schema or self._schema
        self._refuse_others(checked, schema)
        started = time.monotonic()
        if checked.is_explain:
            with self._database.at_work(schema, cancel) as connection:
                rows, truncated = connection.explain(checked.sql), False
            columns = tuple(ColumnInfo(name, "string") for name in rows.column_names)
            rows = shaped(rows, columns)
        else:
            selection, loose = self._of_query(checked, schema, cancel)
            rows, truncated = first_rows(selection, cap, cancel)
            columns = _settled(selection.columns, loose, rows)
            rows = of_ours(rows, columns)
        return ResultView(
            columns, checked.sql, rows, truncated=truncated, seconds=time.monotonic() - started
        )

    @override
    @contextlib.contextmanager
    def selected(
        self, what: ViewSpec | str, schema: str = "", cancel: CancelToken | None = None
    ) -> Iterator[Rows]:
        if not isinstance(what, str):
            yield self._of_table(what, cancel)
            return
        checked = self._database.dialect.check(what)
        if checked.is_explain:
            raise UserProblem("EXPLAIN has no rows to keep", hint="Leave EXPLAIN away")
        schema = schema or self._schema
        self._refuse_others(checked, schema)
        selection, loose = self._of_query(checked, schema, cancel)
        selection = replace(selection, tables=self._named(checked, schema))
        if loose:
            columns = self._with_digits(selection, loose, checked, cancel)
            selection = replace(selection, columns=columns, known=columns)
        yield selection

    @override
    def narrowed(
        self,
        sql: str,
        columns: Sequence[ColumnInfo],
        *,
        filters: Sequence[Filter] = (),
        search: str = "",
        sort: Sequence[Sort] = (),
    ) -> str:
        dialect = self._database.dialect
        return narrowed(
            dialect.check(sql).sql,
            columns,
            dialect.readable,
            filters=filters,
            search=search,
            sort=sort,
            dialect=dialect,
        )

    @override
    def functions(self) -> list[str]:
        rows = self._database.table(self._database.dialect.functions())
        return [str(one) for one in rows.column(0).to_pylist()]

    @override
    def spelling(self) -> Spelling:
        dialect = self._database.dialect
        dialect.readable("a")  # which may have to read the keywords, once
        return Spelling(dialect.readable, dialect.readable_table, dialect.first_rows)

    @override
    def close(self) -> None:
        """Let go of the database; views that are open work until they are closed."""
        if not self._closed.is_set():
            self._closed.set()
            self._held.release()

    @property
    def _database(self) -> Database:
        if self._closed.is_set():
            raise EnvironmentProblem("The connection was closed")
        return self._held

    def _listed(self) -> tuple[TableInfo, ...]:
        with self._lock:
            if self._tables is not None:
                return self._tables
            asked = self._refreshed
        tables, readings = self._read_tables()
        with self._lock:
            if asked == self._refreshed:
                self._tables, self._readings = tables, readings
        return tables

    def _read_tables(
        self,
    ) -> tuple[tuple[TableInfo, ...], dict[tuple[str, str], tuple[Reading, ...]]]:
        dialect = self._database.dialect
        sql, values = dialect.tables(self.address.schema)
        columns: dict[tuple[str, str], list[ColumnInfo]] = {}
        readings: dict[tuple[str, str], list[Reading]] = {}
        for line in self._database.table(sql, values).to_pylist():
            schema, table, name, kind, modifier, comment = line.values()
            known = self._known(schema, table).get(name, ColumnInfo(name, ""))
            told = _told(comment or "", known)
            reading = dialect.reading(Described(name, kind, modifier), told=told.type)
            doc = told.doc if told.name == name else f"{told.name}. {told.doc}".strip()
            columns.setdefault((schema, table), []).append(ColumnInfo(name, reading.word, doc))
            readings.setdefault((schema, table), []).append(reading)
        rows = self._counted(list(columns))
        infos = tuple(
            TableInfo(
                schema,
                table,
                "quarantine" if _is_quarantine(schema, table, columns) else "table",
                tuple(found),
                rows[schema, table],
            )
            for (schema, table), found in columns.items()
        )
        return infos, {one: tuple(found) for one, found in readings.items()}

    def _known(self, schema: str, table: str) -> dict[str, ColumnInfo]:
        """The columns of a table as its contract has them, where that is known."""
        fixed = (*LINEAGE, *(QUARANTINE if table.endswith(QUARANTINE_SUFFIX) else ()))
        columns = {one.name: ColumnInfo(one.name, one.type, one.doc) for one in fixed}
        given = self._contract(schema, table)
        return {one.name: ColumnInfo(one.name, one.type, one.doc) for one in given} | columns

    def _counted(self, tables: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        dialect = self._database.dialect
        counted: dict[tuple[str, str], int] = {}
        for start in range(0, len(tables), _COUNTED_AT_ONCE):
            some = tables[start : start + _COUNTED_AT_ONCE]
            parts = (
                f"SELECT {at} AS place, {dialect.counted()} AS n"
                f" FROM {dialect.name(schema)}.{dialect.name(table)}"
                for at, (schema, table) in enumerate(some)
            )
            for line in self._database.table(" UNION ALL ".join(parts)).to_pylist():
                counted[some[line["place"]]] = line["n"]
        return counted

    def _find(self, spec: ViewSpec) -> tuple[TableInfo, tuple[Reading, ...]]:
        for one in self._listed():
            if (one.schema, one.name) == (spec.schema, spec.table):
                with self._lock:
                    return one, self._readings[one.schema, one.name]
        raise UserProblem(f"There is no table {spec.table}", hint="Look at the list of tables")

    def _of_table(self, spec: ViewSpec, cancel: CancelToken | None = None) -> SinkRows:
        info, readings = self._find(spec)
        dialect = self._database.dialect
        by_name = {column.name: column for column in info.columns}

        def known(name: str) -> ColumnInfo:
            if name not in by_name:
                raise UserProblem(f"{info.name} has no column {name}", hint="Look at its columns")
            return by_name[name]

        def bound_place(column: ColumnInfo) -> str:
            return f"t.{dialect.name(column.name)}"

        def written_place(column: ColumnInfo) -> str:
            return dialect.readable(column.name)

        bound, written = Bound(dialect), Written(dialect)
        where: list[str] = []
        shown: list[str] = []
        for one in spec.filters:
            column = known(one.column)
            where.append(condition(column, one, bound_place(column), bound))
            shown.append(condition(column, one, written_place(column), written))
        if spec.search:
            where.append(searching(spec.search, info.columns, bound_place, bound))
            shown.append(searching(spec.search, info.columns, written_place, written))

        columns = tuple(known(name) for name in spec.columns) or info.columns
        source = f"{dialect.name(info.schema)}.{dialect.name(info.name)}"
        key = dialect.key(source)
        wanted = ", ".join(dialect.readable(one.name) for one in columns) if spec.columns else "*"
        statement = f"SELECT {wanted} FROM {dialect.readable_table(info)}"
        if shown:
            statement += f" WHERE {' AND '.join(shown)}"
        if spec.sort:
            statement += f" ORDER BY {ordering(dialect, spec.sort, known, written_place)}"
        # Rows come as they were committed: the ids of jobs and files grow with time.
        sorts = (*spec.sort, *(Sort(one) for one in _LINEAGE_ORDER if one in by_name))
        sorts = tuple({one.column: one for one in reversed(sorts)}.values())[::-1]
        order = ordering(dialect, sorts, known, bound_place)
        back = ordering(dialect, sorts, known, bound_place, backwards=True)
        rows = SinkRows(
            self._database,
            columns,
            tuple(f"c{info.columns.index(one)}" for one in columns),
            info.columns,
            tuple(
                reading.form.format(bound_place(one))
                for one, reading in zip(info.columns, readings, strict=True)
            ),
            f"{source} AS t",
            spec.schema,
            statement,
            self._temp,
            (info,),
            where=f" WHERE {' AND '.join(where)}" if where else "",
            order=f"{order}, {dialect.tie}" if dialect.tie else order,
            back=f"{back}, {dialect.tie} DESC" if dialect.tie else back,
            key=key,
            values=tuple(bound.values),
        )
        return rows if where else replace(rows, rows=rows.count(cancel))

    def _of_query(
        self, checked: Checked, schema: str, cancel: CancelToken | None
    ) -> tuple[SinkRows, list[int]]:
        """What a query gives, and which of its columns are numbers of unknown digits."""
        dialect = self._database.dialect
        with self._database.at_work(schema, cancel) as connection:
            described = connection.describe(checked.sql)
        if not described:
            raise UserProblem("The query gives no columns", hint="Name some behind SELECT")
        readings = [dialect.reading(one) for one in described]
        columns = tuple(
            ColumnInfo(one.name, reading.word)
            for one, reading in zip(described, readings, strict=True)
        )
        rows = SinkRows(
            self._database,
            columns,
            tuple(f"c{at}" for at in range(len(columns))),
            columns,
            (),
            "",
            schema,
            checked.sql,
            self._temp,
            (),
            query=dialect.result(checked.sql, readings),
        )
        return rows, [at for at, one in enumerate(readings) if one.is_loose]

    def _named(self, checked: Checked, schema: str) -> tuple[TableInfo, ...]:
        """The tables whose names stand in a statement."""
        return tuple(
            one
            for one in self._listed()
            if one.name.lower() in checked.names
            and (one.schema == schema or one.schema.lower() in checked.names)
        )

    def _refuse_others(self, checked: Checked, schema: str) -> None:
        """Refuse a table that only the default workspace has, where the database would fall back to it."""
        if not checked.bare or schema == self._schema:
            return
        tables = self._listed()
        here = {one.name.casefold() for one in tables if one.schema == schema}
        for one in tables:
            if one.schema == self._schema and one.name.casefold() in checked.bare - here:
                raise UserProblem(
                    f"Table with name {one.name} does not exist in this workspace",
                    f"The default workspace has one: {one.schema}.{one.name}",
                )

    def _with_digits(
        self, rows: SinkRows, loose: Sequence[int], checked: Checked, cancel: CancelToken | None
    ) -> tuple[ColumnInfo, ...]:
        """Ask how many digits the numbers of a whole result have, where their type does not tell."""
        dialect = self._database.dialect
        names = ", ".join(f"c{at}" for at in range(len(rows.columns)))
        asked = ", ".join(
            f"{one} AS {kind}{at}"
            for at in loose
            for kind, one in zip("ab", dialect.digits(f"c{at}"), strict=True)
        )
        found = self._database.table(
            f"SELECT {asked} FROM (\n{checked.sql}\n) AS q({names})",
            schema=rows.schema,
            cancel=cancel,
        ).to_pylist()[0]
        columns = list(rows.columns)
        for at in loose:
            word = _decimal(found[f"a{at}"], found[f"b{at}"])
            columns[at] = replace(columns[at], type=word)
        return tuple(columns)


def open_reader(
    address: Address,
    temp_dir: Path,
    *,
    contract: ContractOf = no_contract,
    memory_mb: int = 2048,
    statement_timeout_s: float = 0,
) -> SinkReader:
    """A reader of the tables of a sink that is a database; connects when it is first asked.

    Args:
        address: of the sink, with the password.
        temp_dir: for row keys.
        contract: gives the columns that a table (schema and name there) has by its contract, so that they
            have the types and descriptions that the database itself does not know, such as JSON.
        memory_mb: what queries of a file may use together.
        statement_timeout_s: how long the server may work at one batch; 0 for as long as it takes.
    """
    # Each brings its driver along, which takes a while to load.
    match address.scheme:
        case "postgres":
            from casparian.catalog.postgres import Postgres, PostgresConnection

            database = Database(
                Postgres(), lambda: PostgresConnection(address, statement_timeout_s)
            )
        case "duckdb" if address.path is not None:
            from casparian.catalog.duckfile import DuckFile, FileConnection, FileSharing

            sharing = FileSharing(address.path, memory_mb)
            # Nothing is kept at rest: that would keep the file from deliveries.
            database = Database(
                DuckFile(),
                lambda: FileConnection(sharing),
                idle_kept=0,
                closing=sharing.close,
            )
        case "sqlserver":
            from casparian.catalog.sqlserver import SqlServer, SqlServerConnection

            database = Database(
                SqlServer(), lambda: SqlServerConnection(address, statement_timeout_s)
            )
        case _:
            raise ValueError(f"{address.scheme} is not a database")
    return SinkReader(database, address.with_password(None), temp_dir, contract)


def of_ours(rows: pa.Table, columns: Sequence[ColumnInfo]) -> pa.Table:
    """Give rows of a database the names and types of ours.

    Raises:
        UserProblem: a value has no place in them, such as the infinity of a date.
    """
    arrays = []
    for array, column in zip(rows.columns, columns, strict=True):
        if column.type in _BEFORE_ALL and len(array):
            whole = array.cast(pa.int32() if column.type == "date" else pa.int64())
            first = pc.min(whole).as_py()
            if first is not None and first < _BEFORE_ALL[column.type]:
                raise UserProblem(
                    f"{column.name} holds a time without end",
                    "It is “infinity”, which no table here has a place for",
                    "Cast the column to text",
                )
        arrays.append(array)
    try:
        return shaped(pa.Table.from_arrays(arrays, names=[one.name for one in columns]), columns)
    except pa.ArrowException as error:
        raise UserProblem(
            "A value cannot be shown", str(error), "Cast its column to text"
        ) from error


class _Given:
    """Rows of a database as batches of ours; keeps the error that ended them, which DuckDB makes a text."""

    def __init__(self, batches: Iterable[pa.Table], columns: Sequence[ColumnInfo]) -> None:
        self._batches, self._columns = batches, columns
        self.error: CasparianError | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                yield from of_ours(batch, self._columns).to_batches()
        except CasparianError as error:
            self.error = error
            raise

    def reader(self, names: Sequence[str]) -> pa.RecordBatchReader:
        """The same for DuckDB: a duration is its microseconds, as in Parquet."""
        fields = [
            (name, pa.int64() if one.type == "duration" else arrow_type(one.type))
            for name, one in zip(names, self._columns, strict=True)
        ]
        schema = pa.schema(fields)
        return pa.RecordBatchReader.from_batches(
            schema, (one.rename_columns(list(names)).cast(schema) for one in self)
        )


def _evaluated(
    given: _Given, names: Sequence[str], expressions: Sequence[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """Work out DuckDB's expressions over rows as they come, in their order."""
    with contextlib.closing(duckdb.connect()) as connection:
        for one in (
            "SET GLOBAL TimeZone = 'UTC'",
            "SET threads = 1",
            "SET GLOBAL arrow_large_buffer_size = true",
            "SET enable_external_access = false",
            "SET lock_configuration = true",
        ):
            connection.execute(one)
        relation = connection.from_arrow(given.reader(names)).project(", ".join(expressions))
        made = relation.to_arrow_reader(rows)
        try:
            yield from made
        except (duckdb.Error, pa.ArrowException, OSError):
            if given.error is not None:
                raise given.error from None
            raise
        finally:
            made.close()


def _told(comment: str, known: ColumnInfo) -> ColumnInfo:
    """What a sink's comment on a column tells: its name in the contract, its type, and what it holds."""
    name, line, rest = comment.partition("\n")
    if not line:
        return known
    word, _, doc = rest.partition(". ")
    return ColumnInfo(name, word, doc)


def _is_quarantine(schema: str, table: str, among: dict[tuple[str, str], Any]) -> bool:
    return table.endswith(QUARANTINE_SUFFIX) and (
        (schema, table.removesuffix(QUARANTINE_SUFFIX)) in among
    )


_MOST_DIGITS = 38


def _decimal(after: int | None, before: int | None) -> str:
    """The type of numbers with so many digits; text where there are too many, or where one is none."""
    if after is None or before is None or after + before > _MOST_DIGITS:
        return "string"
    return f"decimal({_MOST_DIGITS},{after})"


def _settled(
    columns: Sequence[ColumnInfo], loose: Sequence[int], rows: pa.Table
) -> tuple[ColumnInfo, ...]:
    """Give numbers of unknown digits a type that holds all that are here."""
    settled = list(columns)
    for at in loose:
        values = [Decimal(one) for one in rows.column(at).to_pylist() if one is not None]
        word = "string"
        if all(one.is_finite() for one in values):
            after = max((-int(one.as_tuple().exponent) for one in values), default=0)
            before = max((one.adjusted() + 1 for one in values if one), default=1)
            word = _decimal(max(after, 0), max(before, 1))
        settled[at] = replace(settled[at], type=word)
    return tuple(settled)
