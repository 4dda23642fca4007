"""What somebody wants to see, as one query: a table filtered and sorted, or the result of some SQL.

Inside the query columns are called c0, c1, ... by their place, so that no name a file brought along,
and no two columns of one name, can get in the way. Pages and exports are built on the same selection,
so they show the same rows in the same order.
"""

# ruff: noqa: S608  (SQL is made here: names and text pass `quote` and `literal`, values are bound)
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from typing_extensions import override

from casparian.catalog import guard
from casparian.catalog.conditions import Bound, Written, condition, ordering, searching
from casparian.catalog.dialects import DUCKDB
from casparian.catalog.rows import BATCH_ROWS, Rows
from casparian.catalog.sql import readable, shape_of
from casparian.domain.contracts import TYPE_KEY
from casparian.domain.errors import EnvironmentProblem, UserProblem
from casparian.domain.results import ColumnInfo
from casparian.domain.types import arrow_type
from casparian.duck import duck_type, quote, read_parquet

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from casparian.catalog.session import Session, Stored
    from casparian.domain.cancel import CancelToken
    from casparian.domain.results import TableInfo, ViewSpec

_ROW_BITS = 40
"""A row's key is its file's place in the table, shifted by this, plus its row in that file."""
_FILES_AT_ONCE = 32

_STEP = re.compile(r'"name": "([A-Z_]+)')
_ORDERLY = frozenset(
    {
        "COLUMN_DATA_SCAN",
        "DUMMY_SCAN",
        "EMPTY_RESULT",
        "FILTER",
        "LIMIT",
        "PROJECTION",
        "READ_PARQUET",
        "STREAMING_LIMIT",
        "TABLE_SCAN",
        "UNNEST",
    }
)
"""Steps of a plan that give rows in the order they get them. Sorting is none: it does not settle ties."""


@dataclass(frozen=True)
class Selection(Rows):
    """One query over one session; make it with `of_table` or `of_sql`."""

    session: Session
    columns: tuple[ColumnInfo, ...]
    places: tuple[str, ...]
    source: str
    """What stands behind FROM."""
    schema: str
    sql: str
    tables: tuple[Stored, ...]
    """The tables it reads, as far as it names them."""
    where: str = ""
    order: str = ""
    back: str = ""
    """The opposite of `order`."""
    key: str = ""
    """The position of a row, as SQL; empty for the result of some SQL."""
    values: tuple[object, ...] = ()

    @property
    def stored(self) -> Stored | None:
        """The table, where the selection is of one that lies in files."""
        return self.tables[0] if self.key and self.tables[0].info.kind != "control" else None

    @property
    @override
    def temp(self) -> Path:
        return self.session.opening.temp

    @property
    @override
    def infos(self) -> tuple[TableInfo, ...]:
        return tuple(one.info for one in self.tables)

    @property
    @override
    def total(self) -> int | None:
        return self.tables[0].info.rows if self.key and not self.where else None

    @property
    @override
    def has_quick_ends(self) -> bool:
        return bool(self.order)

    @property
    @override
    def has_keys(self) -> bool:
        # All the rows of a table, in their own order, need none.
        return bool(self.key and (self.where or self.order))

    @override
    def place(self, name: str) -> str:
        known = self.tables[0].info.columns if self.key else self.columns
        return next((f"c{at}" for at, one in enumerate(known) if one.name == name), "")

    @override
    def stream(
        self,
        expressions: Sequence[str] | None = None,
        cancel: CancelToken | None = None,
        rows: int = BATCH_ROWS,
    ) -> Generator[pa.RecordBatch, None, None]:
        wanted = ", ".join(expressions or self.places)
        order = f" ORDER BY {self.order}" if self.order else ""
        return self.session.stream(
            f"SELECT {wanted} FROM {self.source}{self.where}{order}",
            self.values,
            schema=self.schema,
            cancel=cancel,
            rows=rows,
        )

    def keeps_order(self, cancel: CancelToken | None) -> bool:
        """Whether the rows come in one order only, however many threads there are."""
        if self.key:
            return True
        plan = self.session.table(
            f"EXPLAIN (FORMAT json) SELECT * FROM {self.source}", schema=self.schema, cancel=cancel
        )
        steps = set(_STEP.findall(str(plan.column(1)[0])))
        return steps <= _ORDERLY

    @override
    def keys(
        self,
        cancel: CancelToken | None,
        limit: tuple[int, int] | None = None,
        *,
        backwards: bool = False,
    ) -> Generator[pa.RecordBatch, None, None]:
        settled = self.back if backwards else self.order
        order = f" ORDER BY {settled}" if settled else ""
        part = f" LIMIT {limit[1]} OFFSET {limit[0]}" if limit else ""
        return self.session.stream(
            f"SELECT {self.key} AS k FROM {self.source}{self.where}{order}{part}",
            self.values,
            schema=self.schema,
            cancel=cancel,
        )

    @override
    def at(self, offset: int, limit: int, clip: int | None, cancel: CancelToken | None) -> pa.Table:
        source, skip = self.source, offset
        stored = self.stored
        if stored is not None:
            # Which files hold these rows is known: the others need not even be opened.
            found = _files_with(stored, offset, limit)
            source = _files(stored.info.columns, [stored.paths[at] for at in found])
            skip = offset - (stored.ends[found[0] - 1] if found and found[0] else 0)
        rows = self.session.table(
            f"SELECT {self._shown(clip)} FROM {source} LIMIT {limit} OFFSET {skip}",
            schema=self.schema,
            cancel=cancel,
        )
        return shaped(rows, self.columns)

    @override
    def by_keys(
        self, keys: Sequence[int], clip: int | None, cancel: CancelToken | None
    ) -> pa.Table:
        stored = self.stored
        by_file: dict[int, list[int]] = {}
        for key in keys:
            by_file.setdefault(key >> _ROW_BITS, []).append(key & ((1 << _ROW_BITS) - 1))
        parts = []
        for at, rows in by_file.items():
            wanted = ", ".join(map(str, rows))
            if stored is None:
                source, where = self.source, f"{self.key} IN ({wanted})"
            else:
                # One file at a time: a condition over several of them makes DuckDB read far more.
                source = _files(stored.info.columns, [stored.paths[at]])
                where = f"file_row_number IN ({wanted})"
            here = self.key if stored is None else f"{at << _ROW_BITS} + file_row_number"
            parts.append(f"SELECT {here} AS k, {self._shown(clip)} FROM {source} WHERE {where}")

        found = [
            self.session.table(" UNION ALL ".join(some), schema=self.schema, cancel=cancel)
            for some in _chunks(parts, _FILES_AT_ONCE)
        ]
        if not found:
            return shaped(None, self.columns)
        table = pa.concat_tables(found)
        row_of = {key: row for row, key in enumerate(table.column(0).to_pylist())}
        return shaped(
            table.take(pa.array([row_of[key] for key in keys])).remove_column(0), self.columns
        )

    @override
    def count(self, cancel: CancelToken | None) -> int:
        rows = self.session.table(
            f"SELECT count(*) FROM {self.source}{self.where}",
            self.values,
            schema=self.schema,
            cancel=cancel,
        )
        return int(rows.column(0)[0].as_py())

    @override
    def values_of(self, column: str, info: TableInfo, cancel: CancelToken | None) -> set[str]:
        place = self.session.place(info)
        rows = self.session.table(f"SELECT DISTINCT {quote(column)} FROM {place}", cancel=cancel)
        return {str(value) for value in rows.column(0).to_pylist() if value}

    @override
    def hold(self) -> None:
        self.session.hold()

    @override
    def release(self) -> None:
        self.session.release()

    def _shown(self, clip: int | None) -> str:
        if clip is None:
            return ", ".join(self.places)
        parts = []
        for column, place in zip(self.columns, self.places, strict=True):
            if column.type in {"string", "json"}:
                parts.append(f"left({place}, {clip}) AS {place}")
            elif column.type == "binary":
                # DuckDB cuts text, not bytes: by way of two hexadecimal digits for each.
                cut = f"unhex(left(hex({place}), {2 * clip}))"
                parts.append(
                    f"CASE WHEN octet_length({place}) > {clip} THEN {cut} ELSE {place} END"
                )
            else:
                parts.append(place)
        return ", ".join(parts)


def of_table(session: Session, spec: ViewSpec, keywords: frozenset[str]) -> Selection:
    """The selection of a table, as the spec wants it.

    Raises:
        UserProblem: there is no such table or column, or a value is not of its column's type.
    """
    stored = session.find(spec.schema, spec.table)
    info = stored.info
    place = {column.name: f"c{at}" for at, column in enumerate(info.columns)}
    by_name = {column.name: column for column in info.columns}

    def known(name: str) -> ColumnInfo:
        if name not in by_name:
            raise UserProblem(f"{info.name} has no column {name}", hint="Look at its columns")
        return by_name[name]

    def inside(column: ColumnInfo) -> str:
        return place[column.name]

    def bound_place(column: ColumnInfo) -> str:
        here = place[column.name]
        return f"to_microseconds({here})" if column.type == "duration" else here

    def written_place(column: ColumnInfo) -> str:
        return readable(column.name, keywords)

    bound, written = Bound(), Written()
    where: list[str] = []
    shown: list[str] = []
    for one in spec.filters:
        column = known(one.column)
        where.append(condition(column, one, bound_place(column), bound))
        shown.append(condition(column, one, written_place(column), written))
    if spec.search:
        where.append(searching(spec.search, info.columns, bound_place, bound))
        shown.append(searching(spec.search, info.columns, written_place, written))

    control = info.kind == "control"
    key = "k" if control else f"((CAST(file_index AS BIGINT) << {_ROW_BITS}) | file_row_number)"
    columns = tuple(known(name) for name in spec.columns) or info.columns
    wanted = _list(columns, keywords) if spec.columns else "*"
    statement = f"SELECT {wanted} FROM {readable(info.name, keywords)}"
    if shown:
        statement += f" WHERE {' AND '.join(shown)}"
    if spec.sort:
        statement += f" ORDER BY {ordering(DUCKDB, spec.sort, known, written_place)}"
    return Selection(
        session,
        columns,
        tuple(place[column.name] for column in columns),
        _native(session, stored) if control else _files(info.columns, stored.paths),
        spec.schema,
        statement,
        (stored,),
        where=f" WHERE {' AND '.join(where)}" if where else "",
        order=f"{ordering(DUCKDB, spec.sort, known, inside)}, {key}" if spec.sort else "",
        back=f"{ordering(DUCKDB, spec.sort, known, inside, backwards=True)}, {key} DESC"
        if spec.sort
        else "",
        key=key,
        values=tuple(bound.values),
    )


def of_sql(
    session: Session, statement: str, schema: str, cancel: CancelToken | None = None
) -> Selection:
    """The selection of everything that a statement gives, which `guard.check_select` has let through.

    Columns whose types are none of ours are shown as a wider one, or as their text.

    Raises:
        UserProblem: the statement names what is not there.
    """
    tables = named(session, statement, schema)
    session.shape(statement, schema, cancel)  # what is wrong is told of the statement as it stands
    columns, places, names = [], [], []
    # Within another one, columns of the same name get names of their own.
    around = f"SELECT * FROM (\n{statement}\n)"
    for at, (name, duck) in enumerate(session.shape(around, schema, cancel)):
        shape = shape_of(duck)
        columns.append(ColumnInfo(name, shape.word))
        names.append(f"q{at}")
        # DuckDB lets pass some JSON that others would not; written anew, it is as it should be.
        value = f"json(q{at})" if duck == "JSON" else f"q{at}"
        cast = f"CAST({value} AS {shape.cast})" if shape.cast else value
        places.append(f"{cast} AS c{at}")
    inner = f"SELECT {', '.join(places)} FROM (\n{statement}\n) AS q({', '.join(names)})"
    return Selection(
        session,
        tuple(columns),
        tuple(f"c{at}" for at in range(len(columns))),
        f"({inner}) AS q",
        schema,
        statement,
        tables,
    )


def shaped(rows: pa.Table | None, columns: Sequence[ColumnInfo]) -> pa.Table:
    """Give rows their columns' names and types, with the type words in the fields' metadata."""
    schema = pa.schema(
        [
            pa.field(one.name, arrow_type(one.type), metadata={TYPE_KEY: one.type.encode()})
            for one in columns
        ]
    )
    if rows is None:
        return schema.empty_table()
    try:
        arrays = [
            column if column.type == field.type else column.cast(field.type)
            for column, field in zip(rows.columns, schema, strict=True)
        ]
    except pa.ArrowInvalid as error:
        raise EnvironmentProblem(
            "The rows are too large to be held together",
            str(error),
            "Ask for fewer rows or columns",
        ) from error
    return pa.Table.from_arrays(arrays, schema=schema)


def named(session: Session, statement: str, schema: str) -> tuple[Stored, ...]:
    """The tables that a statement names which was let through.

    Raises:
        UserProblem: it names a table that only the default workspace has. DuckDB would fall back to it,
            and rows of one case would answer for another.
    """
    found = guard.names(statement)
    here = {one.info.name.casefold() for one in session.tables if _is_in(one, schema)}
    elsewhere = {one.info.name.casefold() for one in session.tables if _is_in(one, "main")}
    for place, name in found.tables:
        low = name.casefold()
        if not place and low in elsewhere and low not in here and low not in found.own:
            raise UserProblem(
                f"Table with name {name} does not exist in this workspace",
                f"The default workspace has one: main.{quote(name)}",
            )
    wanted = {((place or schema).casefold(), name.casefold()) for place, name in found.tables}
    return tuple(
        one
        for one in session.tables
        if (one.info.schema.casefold(), one.info.name.casefold()) in wanted
    )


def _is_in(stored: Stored, schema: str) -> bool:
    return stored.info.schema.casefold() == schema.casefold()


def _files(columns: Sequence[ColumnInfo], paths: Sequence[str]) -> str:
    if paths:
        return read_parquet(columns, paths, "c")
    nulls = ", ".join(
        f"CAST(NULL AS {duck_type(column.type)}) AS c{at}" for at, column in enumerate(columns)
    )
    return f"(SELECT {nulls}, 0 AS file_index, 0 AS file_row_number WHERE false)"


def _native(session: Session, stored: Stored) -> str:
    named = ", ".join(
        f"{quote(column.name)} AS c{at}" for at, column in enumerate(stored.info.columns)
    )
    return f"(SELECT rowid AS k, {named} FROM {session.place(stored.info)})"


def _files_with(stored: Stored, offset: int, limit: int) -> list[int]:
    """The places of the files that hold rows offset to offset + limit."""
    starts = (0, *stored.ends[:-1])
    return [
        at
        for at, (start, end) in enumerate(zip(starts, stored.ends, strict=False))
        if start < offset + limit and end > offset and end > start
    ]


def _list(columns: Iterable[ColumnInfo], keywords: frozenset[str]) -> str:
    return ", ".join(readable(column.name, keywords) for column in columns)


def _chunks(parts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(parts), size):
        yield parts[start : start + size]
