"""A DuckDB file that is a sink, as the catalog reads it.

The file is attached read-only while something is read from it, and not a moment longer: then it is free
for deliveries and for other programs. Whoever reads at the same time shares one attachment (see
`casparian.duckfiles` for why there must be one only). When a delivery waits for the file, what is being
read comes to its end, and what would be read next waits behind the delivery.

The connection is locked as that of the catalog is: nothing outside of the file can be read or written, and
`guard` lets one SELECT through.
"""

# ruff: noqa: S608  (SQL is made here: names and text pass `quote` and `literal`, values are bound)
from __future__ import annotations

import contextlib
import os
import re
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
from typing_extensions import override

from casparian.catalog import guard
from casparian.catalog.databases import Connection, DatabaseDialect, Described, Reading
from casparian.catalog.dialects import DuckDb
from casparian.catalog.reader import FUNCTIONS
from casparian.catalog.session import with_place
from casparian.catalog.sql import from_duckdb, readable, shape_of
from casparian.catalog.statements import Checked
from casparian.domain.errors import CasparianError, EnvironmentProblem
from casparian.duck import literal, quote
from casparian.duckfiles import exclusively

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casparian.domain.cancel import CancelToken

_FILE = "sink"
"""What the file is called while it is attached."""
_WAIT_S = 60.0
_HOLDER = re.compile(r"(?:held in|already open in)\s*(.*?)\s*\(?PID (\d+)", re.DOTALL)

_TABLES = f"""
SELECT c.schema_name, c.table_name, c.column_name, c.data_type, NULL::BIGINT AS modifier, c.comment
FROM duckdb_columns() AS c JOIN duckdb_tables() AS t USING (database_name, schema_name, table_name)
WHERE c.database_name = '{_FILE}' AND c.schema_name <> '_casparian' AND NOT t.internal
    AND EXISTS (
        SELECT 1 FROM duckdb_columns() AS o WHERE o.table_oid = c.table_oid
            AND o.database_name = c.database_name AND o.column_name = '_cf_job_id')
ORDER BY c.schema_name, c.table_name, c.column_index"""


class DuckFile(DuckDb, DatabaseDialect):
    """DuckDB's SQL over tables of a file."""

    tie = "t.rowid"

    @override
    def check(self, sql: str) -> Checked:
        statement = guard.check_select(sql)
        found = guard.names(statement)
        named = {one.casefold() for place in found.tables for one in place}
        bare = {name.casefold() for schema, name in found.tables if not schema}
        return Checked(
            statement, guard.is_explain(statement), frozenset(named), frozenset(bare - found.own)
        )

    @override
    def name(self, identifier: str) -> str:
        return quote(identifier)

    @override
    def readable(self, identifier: str) -> str:
        return readable(identifier, _keywords())

    @override
    def reading(self, described: Described, *, told: str | None = None) -> Reading:
        stored = told is not None
        if told == "json" and described.type == "VARCHAR":
            return Reading("json")
        if stored and described.type == "INTERVAL":
            # An interval as such reaches Arrow wrong beyond 292 years.
            return Reading("duration", "epoch_us({})")
        if stored and (described.type.startswith("STRUCT") or "STRUCT(" in described.type):
            return Reading("json", "CAST(to_json({}) AS VARCHAR)")
        shape = shape_of(described.type)
        if described.type == "JSON":
            return Reading("json", "CAST(json({}) AS VARCHAR)")
        return Reading(shape.word, f"CAST({{}} AS {shape.cast})" if shape.cast else "{}")

    @override
    def clipped(self, word: str, form: str, size: int) -> str:
        if word == "binary":
            cut = f"unhex(left(hex({form}), {2 * size}))"
            return f"CASE WHEN octet_length({form}) > {size} THEN {cut} ELSE {form} END"
        return f"left({form}, {size})"

    @override
    def tables(self, schema: str) -> tuple[str, list[object]]:
        return _TABLES, []

    @override
    def functions(self) -> str:
        return FUNCTIONS

    @override
    def result(self, statement: str, readings: Sequence[Reading]) -> str:
        names = ", ".join(f"c{at}" for at in range(len(readings)))
        forms = ", ".join(
            f"{one.form.format(f'c{at}')} AS c{at}" for at, one in enumerate(readings)
        )
        return f"SELECT {forms} FROM (\n{statement}\n) AS q({names})"

    @override
    def part(self, offset: int, limit: int) -> str:
        return f" LIMIT {limit} OFFSET {offset}"

    @override
    def key(self, source: str) -> str:
        """A row's number in the table, which another may get, and 16 bits of where the row comes from."""
        return "((t.rowid << 16) | (hash(_cf_job_id, _cf_file_id, _cf_row) & 65535)::BIGINT)"

    @override
    def of_keys(self, keys: Sequence[int]) -> str:
        return f"t.rowid IN ({', '.join(str(key >> 16) for key in keys)})"


class FileSharing:
    """The one attachment of a file, shared by what reads from it at the same time."""

    def __init__(self, path: Path, memory_mb: int) -> None:
        self._path = Path(os.path.realpath(path))
        self._memory_mb = memory_mb
        self._changed = threading.Condition()
        self._users = 0
        self._is_wanted = False
        """Whether somebody else waits for the file."""
        self._root: duckdb.DuckDBPyConnection | None = None
        """Locked, with nothing but the file in reach; there from the first use on."""
        self._turn = contextlib.ExitStack()

    def enter(self, cancel: CancelToken | None) -> duckdb.DuckDBPyConnection:
        """A cursor over the file, to be given back by `leave`.

        Raises:
            EnvironmentProblem: another program has the file, or a delivery of ours for too long.
            Cancelled: the wait was.
        """
        with self._changed:
            while self._is_wanted and self._users:
                self._changed.wait(0.05)
                if cancel is not None:
                    cancel.check()
            if self._root is None:
                self._root = _locked(self._path, self._memory_mb)
            if not self._users:
                self._attach(self._root, cancel)
            self._users += 1
            return self._root.cursor()

    def leave(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Give a cursor back; the last one to do so frees the file."""
        cursor.close()
        with self._changed:
            self._users -= 1
            if not self._users:
                self._free()
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of everything; nobody reads any more."""
        with self._changed:
            root, self._root = self._root, None
        if root is not None:
            root.close()

    def _attach(self, root: duckdb.DuckDBPyConnection, cancel: CancelToken | None) -> None:
        self._is_wanted = False
        with contextlib.ExitStack() as turn:
            turn.enter_context(
                exclusively(self._path, wait_s=_WAIT_S, cancel=cancel, let_go=self._let_go)
            )
            # A file that no delivery has made yet has no tables.
            attach = (
                f"ATTACH {literal(str(self._path))} AS {_FILE} (READ_ONLY, TYPE duckdb)"
                if self._path.exists()
                else f"ATTACH ':memory:' AS {_FILE}"
            )
            try:
                root.execute(attach)
            except duckdb.Error as error:
                raise _not_attached(error, self._path) from error
            self._turn = turn.pop_all()

    def _free(self) -> None:
        with self._turn:
            if self._root is not None and not _detached(self._root):
                # DuckDB gave up on the file: the next to come looks at it with a new instance.
                self._root.close()
                self._root = None

    def _let_go(self) -> None:
        self._is_wanted = True


class FileConnection(Connection):
    """One cursor over the file, from `begin` to `end`."""

    def __init__(self, sharing: FileSharing) -> None:
        self._sharing = sharing
        self._cursor: duckdb.DuckDBPyConnection | None = None

    @override
    def begin(self, schema: str, cancel: CancelToken | None) -> None:
        cursor = self._cursor = self._sharing.enter(cancel)
        known = cursor.execute(
            f"SELECT 1 FROM duckdb_schemas() WHERE database_name = '{_FILE}' AND schema_name = $1",
            [schema or "main"],
        ).fetchall()
        # A workspace without tables has no schema; its queries must not see those of another.
        cursor.execute(f"USE {_FILE}.{quote(schema or 'main')}" if known else "USE memory.main")
        cursor.execute("BEGIN TRANSACTION READ ONLY")

    @override
    def end(self) -> None:
        self.close()

    @override
    def describe(self, statement: str) -> list[Described]:
        cursor = self._open
        try:
            relation = cursor.sql(statement)
        except duckdb.Error as error:
            raise with_place(error, cursor, statement) from error
        return [
            Described(name, str(kind))
            for name, kind in zip(relation.columns, relation.types, strict=True)
        ]

    @override
    def explain(self, statement: str) -> pa.Table:
        rows: pa.Table = self._open.sql(statement).to_arrow_table()
        return rows

    @override
    def stream(self, sql: str, values: Sequence[object], rows: int) -> Iterator[pa.Table]:
        reader = self._open.sql(sql, params=list(values) or None).to_arrow_reader(rows)
        try:
            yield reader.schema.empty_table()
            for batch in reader:
                yield pa.Table.from_batches([batch])
        finally:
            reader.close()

    @override
    def cancel(self) -> None:
        if self._cursor is not None:
            self._cursor.interrupt()

    @override
    def close(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            self._sharing.leave(cursor)

    @override
    def problem(self, error: Exception) -> CasparianError | None:
        if isinstance(error, duckdb.Error | pa.ArrowException | OSError):
            return from_duckdb(error, "The query does not run")
        return None

    @property
    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._cursor is None:
            raise EnvironmentProblem("The connection was closed")
        return self._cursor


def _locked(path: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    root = duckdb.connect()
    for one in (
        "SET autoinstall_known_extensions = false",
        "SET autoload_known_extensions = false",
        "SET python_enable_replacements = false",
        "SET GLOBAL TimeZone = 'UTC'",
        f"SET memory_limit = '{memory_mb} MiB'",
        "SET GLOBAL arrow_large_buffer_size = true",
        f"SET allowed_paths = [{literal(str(path))}, {literal(f'{path}.wal')}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        root.execute(one)
    return root


def _detached(root: duckdb.DuckDBPyConnection) -> bool:
    try:
        root.execute(f"DETACH {_FILE}")
    except duckdb.Error:
        return False
    return True


def _not_attached(error: duckdb.Error, path: Path) -> CasparianError:
    message = str(error)
    if "set lock" in message or "already open in" in message or "used by another" in message:
        found = _HOLDER.search(message)
        who = f"{found[1].strip()}, process {found[2]}" if found else message
        return EnvironmentProblem(
            f"{path.name} is in use by another program",
            f"{path} is open in {who}",
            "Close it there and try again",
            retryable=True,
        )
    return EnvironmentProblem(
        f"{path.name} cannot be opened", message, "Check that it is a whole DuckDB file"
    )


@lru_cache(maxsize=1)
def _keywords() -> frozenset[str]:
    with contextlib.closing(duckdb.connect()) as connection:
        rows = connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
    return frozenset(str(name) for (name,) in rows)
