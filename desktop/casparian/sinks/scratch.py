"""Scratch places of a sink: made for a trial, looked at without the sink, and dropped after it.

On a server it is a schema with a name of its own, and those beside it that begin with that name; for a
DuckDB file it is a file beside the one that is named. What is read goes through the driver alone.
"""

# ruff: noqa: S608  (SQL is made here: names pass `quote`, values are bound)
from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
from typing_extensions import override

from casparian.domain.errors import EnvironmentProblem, from_os_error
from casparian.domain.types import arrow_type, read_text
from casparian.sinks.names import (
    DEFAULT_FOLDER,
    POSTGRES_BYTES,
    SQLSERVER_UNITS,
    fitted,
    namespace,
    utf16_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from casparian.domain.addresses import Address
    from casparian.domain.contracts import Column

PREFIX = "cf_accept_"
OTHER = "other"
"""The folder of a second workspace."""
_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{8}}")
_WHAT = "The scratch tables could not be looked at"
_LOCK_MS = 10_000


def scratch(address: Address) -> Address:
    """An address beside another where nothing is yet."""
    name = PREFIX + os.urandom(4).hex()
    if address.path is not None:
        return replace(address, path=address.path.with_name(f"{name}.duckdb"))
    return replace(address, schema=name)


class Place(ABC):
    """Where a sink under trial delivers, looked at without the sink."""

    nul: ClassVar[str] = "\0"
    """What a NUL character of a text becomes."""
    folds_case: ClassVar[bool] = False
    """Whether names that differ in case only are one name."""
    refuses: ClassVar[frozenset[str]] = frozenset()
    """Cases of `samples.HARD` that the sink cannot hold and refuses with a sentence."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What is made there, in a few words."""

    @abstractmethod
    def read(self, schema: str, table: str, columns: Sequence[Column]) -> pa.Table | None:
        """Those columns of a table, in the Arrow types of their words; None if it is not there.

        The order of rows is the sink's own.
        """

    @abstractmethod
    def make_foreign(self, schema: str, table: str) -> None:
        """Make a table of that name as another program would, with one row in a column `stranger`."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """What loads have left beside the tables: stage tables, files."""

    @abstractmethod
    def drop(self) -> None:
        """Remove all that is there; it must be a place that `scratch` named.

        Raises:
            UserProblem, EnvironmentProblem: it could not be removed.
        """


def place_of(address: Address) -> Place:
    """The place that an address names, which carries the password if there is one."""
    kinds: dict[str, Callable[[Address], Place]] = {
        "duckdb": DuckdbPlace,
        "postgres": PostgresPlace,
        "sqlserver": SqlServerPlace,
    }
    return kinds[address.scheme](address)


def _checked(name: str) -> str:
    """The name, if it is one that may be dropped."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name} is no scratch place")
    return name


def _of_server(address: Address) -> str:
    return f"the schema {address.schema}, with {namespace(address, OTHER)} beside it,"


def _table(columns: Sequence[Column], arrays: Sequence[pa.Array[Any]]) -> pa.Table:
    return pa.Table.from_arrays(list(arrays), names=[one.name for one in columns])


def _read_text(word: str, texts: pa.StringArray) -> pa.Array[Any]:
    values, ok = read_text(word, texts)
    if not all(ok.to_pylist()):
        raise EnvironmentProblem("A value was kept as text that cannot be read", f"as {word}")
    return values


# --- DuckDB


class DuckdbPlace(Place):
    """A DuckDB file; nobody else of this process may have it open meanwhile."""

    folds_case = True

    def __init__(self, address: Address) -> None:
        if address.path is None:
            raise ValueError("a DuckDB file has a path")
        self.path = address.path
        self._new_folders = [one for one in self.path.parents if not one.exists()]

    @property
    @override
    def name(self) -> str:
        return f"the file {self.path}"

    @override
    def read(self, schema: str, table: str, columns: Sequence[Column]) -> pa.Table | None:
        import duckdb

        from casparian.duck import quote

        if not self.path.exists():
            return None
        where = "main" if schema == DEFAULT_FOLDER else schema
        shown = ", ".join(_asked_of_duckdb(one) for one in columns)
        with self._opened(read_only=True) as connection:
            try:
                found = connection.sql(f"SELECT {shown} FROM {quote(where)}.{quote(table)}")
                rows: pa.Table = found.to_arrow_table()
            except duckdb.CatalogException:
                return None
        return rows.cast(pa.schema([(one.name, arrow_type(one.type)) for one in columns]))

    @override
    def make_foreign(self, schema: str, table: str) -> None:
        from casparian.duck import quote

        where = "main" if schema == DEFAULT_FOLDER else schema
        with self._opened(read_only=False) as connection:
            connection.execute(
                f"CREATE TABLE {quote(where)}.{quote(table)} AS SELECT 'theirs' AS stranger"
            )

    @override
    def leftovers(self) -> list[str]:
        # What was committed before a crash stays in the log until the file is opened again.
        ours = {self.path.name, f"{self.path.name}.wal"}
        return [one.name for one in self._files() if one.name not in ours]

    @override
    def drop(self) -> None:
        _checked(self.path.stem)
        try:
            for one in self._files():
                if one.is_dir():
                    shutil.rmtree(one)
                else:
                    one.unlink()
        except OSError as error:
            raise from_os_error(error, f"{self.path} could not be removed") from error
        with contextlib.suppress(OSError):  # somebody else has put something there
            for folder in self._new_folders:
                folder.rmdir()

    def _files(self) -> list[Path]:
        """The file, and what lies beside it by a name that holds its own."""
        beside = self.path.parent.iterdir() if self.path.parent.exists() else ()
        return [one for one in beside if self.path.stem in one.name]

    @contextlib.contextmanager
    def _opened(self, *, read_only: bool) -> Iterator[Any]:
        import duckdb

        from casparian.duckfiles import exclusively

        with exclusively(self.path):
            try:
                with duckdb.connect(str(self.path), read_only=read_only) as connection:
                    connection.execute("SET TimeZone = 'UTC'")
                    yield connection
            except duckdb.Error as error:
                raise EnvironmentProblem(_WHAT, str(error)) from error


def _asked_of_duckdb(column: Column) -> str:
    """A column as Arrow has it: beyond 292 years DuckDB hands it intervals wrong."""
    from casparian.duck import quote

    name = quote(column.name)
    if column.type == "duration":
        return f"epoch_us({name}) AS {name}"
    if column.type == "list<duration>":
        return f"list_transform({name}, lambda x: epoch_us(x)) AS {name}"
    return name


# --- PostgreSQL


class PostgresPlace(Place):
    """A schema of a PostgreSQL server, and those beside it."""

    nul = "\u2400"

    def __init__(self, address: Address) -> None:
        self.address = address

    @property
    @override
    def name(self) -> str:
        return _of_server(self.address)

    @override
    def read(self, schema: str, table: str, columns: Sequence[Column]) -> pa.Table | None:
        from casparian.sinks.postgres_tables import quote

        where, name = namespace(self.address, schema), fitted(table, POSTGRES_BYTES)
        shown = ", ".join(_asked_of_postgres(one) for one in columns)
        with self._cursor() as cursor:
            cursor.execute("SET TimeZone = 'UTC'")
            cursor.execute(
                "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = $2", (where, name)
            )
            if not cursor.fetchall():
                return None
            cursor.execute(f"SELECT {shown} FROM {quote(where)}.{quote(name)}")
            found = cursor.fetch_arrow_table().combine_chunks()
        return _table(
            columns,
            [
                _from_postgres(one.type, found.column(at).combine_chunks())
                for at, one in enumerate(columns)
            ],
        )

    @override
    def make_foreign(self, schema: str, table: str) -> None:
        from casparian.sinks.postgres_tables import quote

        where = quote(namespace(self.address, schema))
        with self._cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {where}")
            cursor.execute(f"CREATE TABLE {where}.{quote(table)} AS SELECT 'theirs' AS stranger")

    @override
    def leftovers(self) -> list[str]:
        """Tables that are neither ours nor a stranger's."""
        from casparian.sinks.postgres import LEDGER

        query = """
            SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE (n.nspname = $1 OR starts_with(n.nspname, $1 || '_'))
                AND c.relkind = 'r' AND c.relname <> $2
                AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid
                    AND a.attname IN ('_cf_job_id', 'stranger'))"""
        with self._cursor() as cursor:
            cursor.execute(query, (self.address.schema, LEDGER))
            return [name for (name,) in cursor.fetchall()]

    @override
    def drop(self) -> None:
        from casparian.sinks.postgres_tables import quote

        name = _checked(self.address.schema)
        with self._cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {_LOCK_MS}")
            cursor.execute(
                "SELECT nspname::text FROM pg_namespace"
                " WHERE nspname = $1 OR starts_with(nspname, $1 || '_')",
                (name,),
            )
            for (one,) in cursor.fetchall():
                cursor.execute(f"DROP SCHEMA {quote(one)} CASCADE")

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        import adbc_driver_manager
        import adbc_driver_postgresql.dbapi as adbc  # type: ignore[import-untyped]

        from casparian.servers import CONNECT_TIMEOUT_S, postgres_problem
        from casparian.sinks.postgres import uri

        try:
            with (
                adbc.connect(uri(self.address, CONNECT_TIMEOUT_S), autocommit=True) as connection,
                connection.cursor() as cursor,
            ):
                yield cursor
        except adbc_driver_manager.Error as error:
            raise postgres_problem(error, _WHAT, self.address) from error


def _asked_of_postgres(column: Column) -> str:
    """A column as Arrow has it, or as text where ADBC has no type for it."""
    from casparian.sinks.postgres_tables import quote

    name = quote(fitted(column.name, POSTGRES_BYTES))
    if column.type == "duration":
        return f"(extract(epoch FROM {name}) * 1000000)::bigint"
    if column.type.startswith("decimal"):
        return f"{name}::text"
    if column.type.startswith("list<decimal"):
        return f"{name}::text[]"
    if column.type == "list<duration>":
        each = "(extract(epoch FROM each) * 1000000)::bigint"
        return f"ARRAY(SELECT {each} FROM unnest({name}) each)"
    return name


def _from_postgres(word: str, values: Any) -> pa.Array[Any]:
    kind = arrow_type(word)
    if word.startswith(("struct<", "list<list", "list<struct")):
        return _read_text(word, values)
    if word == "list<duration>":
        return pa.ListArray.from_arrays(values.offsets, values.values.cast(pa.duration("us")))
    cast: pa.Array[Any] = values if values.type == kind else values.cast(kind)
    return cast


# --- SQL Server


class SqlServerPlace(Place):
    """A schema of a database of SQL Server, and those beside it."""

    folds_case = True
    refuses = frozenset(
        {
            "float64 not finite",
            "date 30828",
            *(
                f"{word} {year}"
                for word in ("timestamp", "timestamp_utc")
                for year in ("30828", "99999")
            ),
        }
    )

    def __init__(self, address: Address) -> None:
        self.address = address

    @property
    @override
    def name(self) -> str:
        return _of_server(self.address)

    @override
    def read(self, schema: str, table: str, columns: Sequence[Column]) -> pa.Table | None:
        from casparian.sinks import tsql

        place = self._place(schema, table)
        if self._rows(tsql.table_id(place))[0][0] is None:
            return None
        asked = [replace(one, name=_fitted(one.name)) for one in columns]
        rows = self._rows(tsql.read_back(place, asked))
        return _table(
            columns,
            [
                from_sqlserver(one.type, pa.array([row[at] for row in rows], pa.string()))
                for at, one in enumerate(columns)
            ],
        )

    @override
    def make_foreign(self, schema: str, table: str) -> None:
        from casparian.sinks import tsql

        where = namespace(self.address, schema)
        if self._rows(tsql.SCHEMA_ID, where)[0][0] is None:
            self._rows(tsql.make_schema(where))
        self._rows(tsql.make_foreign(self._place(schema, table)))

    @override
    def leftovers(self) -> list[str]:
        from casparian.sinks import tsql

        return [name for (name,) in self._rows(tsql.STAGES, self.address.schema)]

    @override
    def drop(self) -> None:
        from casparian.sinks import tsql

        name = _checked(self.address.schema)
        for (schema,) in self._rows(tsql.SCHEMAS, name, f"{name}_", f"{name}_"):
            for (table,) in self._rows(tsql.TABLES, schema):
                self._rows(tsql.drop(tsql.place(schema, table)))
            self._rows(tsql.drop_schema(schema))

    def _place(self, schema: str, table: str) -> str:
        from casparian.sinks import tsql

        return tsql.place(namespace(self.address, schema), _fitted(table))

    def _rows(self, sql: str, *values: object) -> Sequence[Sequence[Any]]:
        from casparian.sqlserver import connect, is_of_the_driver, problem

        try:
            with (
                contextlib.closing(connect(self.address)) as connection,
                contextlib.closing(connection.cursor()) as cursor,
            ):
                cursor.execute(sql, *values)
                rows: Sequence[Sequence[Any]] = cursor.fetchall() if cursor.description else []
                return rows
        except Exception as error:
            if not is_of_the_driver(error):
                raise
            raise problem(error, _WHAT, self.address) from error


def _fitted(name: str) -> str:
    return fitted(name, SQLSERVER_UNITS, utf16_size)


def from_sqlserver(word: str, texts: pa.StringArray) -> pa.Array[Any]:
    """What `tsql.read_back` gave for a column, as the type that it was."""
    kind = arrow_type(word)
    if kind == pa.string():
        return texts
    if word == "binary":
        return pa.array([one and bytes.fromhex(one[2:]) for one in texts.to_pylist()], kind)
    if word == "duration":
        return _read_text("int64", texts).cast(kind)
    if word == "timestamp_utc":
        return _read_text("timestamp", texts).cast(pa.int64()).cast(kind)
    if word == "list<binary>":  # no bytes are no digits, and empty text is read as null
        return pa.array(
            [
                one and [each if each is None else bytes.fromhex(each) for each in json.loads(one)]
                for one in texts.to_pylist()
            ],
            kind,
        )
    return _read_text(word, texts)
