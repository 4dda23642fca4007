"""Tables that live in a database elsewhere, seen as those of the catalog are: the same views and exports.

`SinkReader` stands where `CatalogReader` stands: it lists the tables of a database (`databases`), opens views
of their rows (`sinkrows`), and runs queries there.
"""

# ruff: noqa: S608  (SQL is made here: names and text pass the dialect's quoting, values are bound)
from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from typing_extensions import override

from casparian.catalog.conditions import Bound, Written, condition, ordering, searching
from casparian.catalog.databases import Database, Described, Reading
from casparian.catalog.narrowing import narrowed
from casparian.catalog.reader import (
    Reader,
    ResultView,
    Spelling,
    TableView,
    View,
    first_rows,
)
from casparian.catalog.selection import shaped
from casparian.catalog.sinkrows import SinkRows, of_ours
from casparian.domain.contracts import LINEAGE, QUARANTINE
from casparian.domain.errors import EnvironmentProblem, UserProblem
from casparian.domain.results import QUARANTINE_SUFFIX, ColumnInfo, Sort, TableInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from casparian.catalog.rows import Rows
    from casparian.catalog.statements import Checked
    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.domain.contracts import Column
    from casparian.domain.results import Filter, ViewSpec

ContractOf: TypeAlias = "Callable[[str, str], Iterable[ColumnInfo | Column]]"
"""Gives the columns that a table, by schema and name, has by its contract."""

_COUNTED_AT_ONCE = 50
_LINEAGE_ORDER = ("_cf_job_id", "_cf_file_id", "_cf_row")


def no_contract(schema: str, table: str) -> Iterable[ColumnInfo]:
    """What is said of a table where no contract is known."""
    del schema, table
    return ()


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
