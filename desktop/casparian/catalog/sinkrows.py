"""The rows of a table in a database elsewhere, or of a query there, behind a view.

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute
from typing_extensions import override

from casparian.catalog.rows import BATCH_ROWS, Rows
from casparian.catalog.selection import shaped
from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from casparian.catalog.databases import Database
    from casparian.domain.cancel import CancelToken
    from casparian.domain.results import ColumnInfo, TableInfo

# The stubs know only some of the overloads.
pc: Any = pyarrow.compute

_KEYS_AT_ONCE = 65_536
_PLACE = re.compile(r"\bc(\d+)\b")
_BEFORE_ALL = {
    "date": -2_440_588,
    "timestamp": -210_866_803_200_000_000,
    "timestamp_utc": -210_866_803_200_000_000,
}
"""4714 BC, where PostgreSQL's calendar begins; what comes before is its infinity."""


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
