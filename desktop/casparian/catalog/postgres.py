"""PostgreSQL as the catalog reads it: its SQL, and its connections.

What keeps a query from doing more than read, from the outside in: `statements` lets one query through; it
runs as `DECLARE … CURSOR FOR SELECT … FROM (query)`, where PostgreSQL takes nothing but a query and no
data-modifying WITH; the transaction is READ ONLY and always rolled back.

What remains is what functions can do that the login may call and a read-only transaction does not stop:
as a superuser those that read and write files of the server, else functions of extensions and those that
somebody wrote in a language that is not trusted. Those we know are refused by name, which is no wall. Give
a login that only reads.

A query streams through a cursor, so that nothing is held but one batch (ADBC keeps the whole result of a
statement with parameters in memory). ADBC ends a transaction of ours when it binds an instant with a zone
(measured on 1.13): instants are bound without one, and given it in SQL.
"""

# ruff: noqa: S608  (SQL is made here: names and text pass `quote` and `literal`, values are bound)
from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, ClassVar

import adbc_driver_manager
import adbc_driver_postgresql.dbapi  # type: ignore[import-untyped]
import pyarrow as pa
from psycopg.conninfo import make_conninfo
from typing_extensions import override

from casparian.catalog.databases import Connection, DatabaseDialect, Described, Reading
from casparian.catalog.dialects import TEXTS, Scalar, has_case, is_plain_number
from casparian.catalog.sql import readable
from casparian.catalog.statements import POSTGRES, Checked, check_query
from casparian.domain.errors import CasparianError, UserProblem
from casparian.duck import literal, quote
from casparian.servers import CONNECT_TIMEOUT_S, is_postgres_state, postgres_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken

_CANCEL_AGAIN_S = 0.25
_OF_THE_QUERY = (
    "0A",
    "20",
    "21",
    "22",
    "23",
    "25",
    "26",
    "2F",
    "34",
    "38",
    "39",
    "3F",
    "42",
    "44",
    "P0",
)
"""Classes of SQLSTATE that say that the query is at fault."""
_NUL_SHOWN = "\u2400"
"""What sinks put in the place of NUL, which PostgreSQL has no place for."""
_SETTINGS = {
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "default_transaction_read_only": "on",
    # What is streamed is read to its end.
    "cursor_tuple_fraction": "1.0",
}

_READINGS = {
    "bool": Reading("boolean"),
    "int2": Reading("int64", "({})::int8"),
    "int4": Reading("int64", "({})::int8"),
    "int8": Reading("int64"),
    "oid": Reading("int64", "({})::int8"),
    "float4": Reading("float64", "({})::float8"),
    "float8": Reading("float64"),
    "date": Reading("date"),
    "time": Reading("time"),
    "timestamp": Reading("timestamp"),
    "timestamptz": Reading("timestamp_utc"),
    "interval": Reading("duration", "(extract(epoch FROM {}) * 1000000)::int8"),
    "text": Reading("string"),
    "json": Reading("json", "({})::text"),
    "jsonb": Reading("json", "({})::text"),
    "record": Reading("json", "to_json({})::text"),
    "bytea": Reading("binary"),
}
"""Types by their names in pg_type; all others are read as their text."""
_LISTS = {
    "_bool": "boolean",
    "_int8": "int64",
    "_float8": "float64",
    "_date": "date",
    "_time": "time",
    "_timestamp": "timestamp",
    "_timestamptz": "timestamp_utc",
    "_text": "string",
    "_bytea": "binary",
}
"""Arrays that a sink of ours writes. Those of other queries may have several dimensions: they are JSON."""
_AS_JSON = ("json", "list<", "struct<")
"""What sinks write as text that is JSON."""
_NUMERIC = "numeric"
_AS_TEXT = "({})::text"
_RESERVED = frozenset(
    [
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "authorization",
        "binary",
        "both",
        "case",
        "cast",
        "check",
        "collate",
        "collation",
        "column",
        "concurrently",
        "constraint",
        "create",
        "cross",
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "freeze",
        "from",
        "full",
        "grant",
        "group",
        "having",
        "ilike",
        "in",
        "initially",
        "inner",
        "intersect",
        "into",
        "is",
        "isnull",
        "join",
        "lateral",
        "leading",
        "left",
        "like",
        "limit",
        "localtime",
        "localtimestamp",
        "natural",
        "not",
        "notnull",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "outer",
        "overlaps",
        "placing",
        "primary",
        "references",
        "returning",
        "right",
        "select",
        "session_user",
        "similar",
        "some",
        "symmetric",
        "system_user",
        "table",
        "tablesample",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "variadic",
        "verbose",
        "when",
        "where",
        "window",
        "with",
    ]
)
"""Words that cannot be names without quotes (PostgreSQL 18, pg_get_keywords)."""

_TABLES = """
SELECT n.nspname::text AS schema, c.relname::text AS name, a.attname::text AS attribute,
    t.typname::text AS type, a.atttypmod AS modifier, col_description(c.oid, a.attnum) AS comment
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
    AND (n.nspname = $1 OR starts_with(n.nspname, $1 || '_'))
    AND NOT starts_with(c.relname, 'cf_') AND NOT starts_with(c.relname, '_cf_')
    AND EXISTS (
        SELECT FROM pg_catalog.pg_attribute AS o WHERE o.attrelid = c.oid AND o.attname = '_cf_job_id'
    )
    AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", a.attnum"""
_FUNCTIONS = """
SELECT DISTINCT proname::text AS name FROM pg_catalog.pg_proc
WHERE pg_function_is_visible(oid) AND prokind <> 'p' AND proname ~ '^[a-z][a-z0-9_]*$' ORDER BY name"""


class Postgres(DatabaseDialect):
    """PostgreSQL's SQL."""

    tie = "t.ctid"

    _WRITTEN: ClassVar[dict[str, str]] = {
        "string": "{}",
        "json": "{}",
        "date": "DATE {}",
        "time": "TIME {}",
        "timestamp": "TIMESTAMP {}",
        "timestamp_utc": "TIMESTAMPTZ {}",
    }

    @override
    def check(self, sql: str) -> Checked:
        return check_query(sql, POSTGRES)

    @override
    def name(self, identifier: str) -> str:
        return quote(identifier)

    @override
    def readable(self, identifier: str) -> str:
        return readable(identifier, _RESERVED)

    @override
    def bound(self, word: str, value: Scalar, at: int) -> tuple[str, object]:
        if value.arrow is None:
            return f"${at}", pa.array([_without_nul(value.text)], pa.string())
        if word == "timestamp_utc":
            instant = value.arrow.cast(pa.int64()).cast(pa.timestamp("us"))
            return f"(${at} AT TIME ZONE 'UTC')", instant
        return f"${at}", value.arrow

    @override
    def written(self, word: str, value: Scalar) -> str:
        if word == "duration":
            return f"INTERVAL '{value.number} microseconds'"
        if word == "binary":
            return f"'\\x{value.text}'::bytea"
        if word in self._WRITTEN:
            return self._WRITTEN[word].format(literal(_without_nul(value.text)))
        if word == "float64" and not is_plain_number(value.text):
            return f"{literal(value.text)}::float8"
        return value.text

    @override
    def as_text(self, word: str, place: str) -> str:
        if word == "string":
            return f"{place}::text"
        if word == "binary":
            return f"encode({place}, 'hex')"
        if word.startswith("list<"):
            return f"to_json({place})::text"
        return f"{place}::text"

    @override
    def match(self, word: str, place: str, text: str, op: str, put: Callable[[str], str]) -> str:
        wanted = put(text)
        if has_case(text):
            place, wanted = f"lower({place})", f"lower({wanted})"
        if op == "starts":
            return f"starts_with({place}, {wanted})"
        return f"strpos({place}, {wanted}) > 0"

    @override
    def compared(self, word: str, place: str) -> str:
        return f'{place}::text COLLATE "C"' if word in TEXTS else place

    @override
    def reading(self, described: Described, *, told: str | None = None) -> Reading:
        kind, stored = described.type, told is not None
        if told and kind == "text" and told.startswith(_AS_JSON):
            return Reading("json")
        if kind in _READINGS:
            return _READINGS[kind]
        if kind == _NUMERIC:
            return _of_numeric(described.modifier, stored=stored)
        if stored and kind in _LISTS:
            return Reading(f"list<{_LISTS[kind]}>")
        return (
            Reading("json", "to_json({})::text") if kind[:1] == "_" else Reading("string", _AS_TEXT)
        )

    @override
    def clipped(self, word: str, form: str, size: int) -> str:
        if word == "binary":
            return f"substring({form} FROM 1 FOR {size})"
        return f"left({form}, {size})"

    @override
    def tables(self, schema: str) -> tuple[str, list[object]]:
        return _TABLES, [pa.array([schema])]

    @override
    def functions(self) -> str:
        return _FUNCTIONS

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
        """A row's page and line in the table's file, and 16 bits of which file and whose row.

        A row that takes the place of another was written by another transaction, or to another file.
        """
        place = "(t.ctid::text::point)"
        file = f"(SELECT pg_relation_filenode({literal(source)}::regclass)::int8)"
        return (
            f"((({place}[0])::int8 << 32) | (({place}[1])::int8 << 16)"
            f" | ((t.xmin::text::int8 + {file}) & 65535))"
        )

    @override
    def of_keys(self, keys: Sequence[int]) -> str:
        places = ",".join(f'"({key >> 32},{key >> 16 & 0xFFFF})"' for key in keys)
        return f"t.ctid = ANY('{{{places}}}'::tid[])"

    @override
    def digits(self, place: str) -> tuple[str, str]:
        odd = f"bool_or({place} IN ('NaN', 'Infinity', '-Infinity'))"
        return (
            f"CASE WHEN {odd} THEN NULL ELSE coalesce(max(scale({place})), 0) END",
            f"CASE WHEN {odd} THEN NULL ELSE coalesce(max(length(trunc(abs({place}))::text)), 1) END",
        )


class PostgresConnection(Connection):
    """A connection by ADBC, which gives Arrow."""

    def __init__(self, address: Address, statement_timeout_s: float = 0) -> None:
        """Connect.

        Args:
            address: with the password.
            statement_timeout_s: how long the server works at one batch; 0 for as long as it takes.

        Raises:
            UserProblem, EnvironmentProblem: it is out of reach, or refuses the login.
        """
        self._address = address
        self._described = ""
        self._cancelled_at = 0.0
        settings = dict(_SETTINGS, statement_timeout=str(int(statement_timeout_s * 1000)))
        try:
            self._connection = adbc_driver_postgresql.dbapi.connect(
                _conninfo(address, settings), autocommit=True
            )
        except adbc_driver_manager.Error as error:
            raise postgres_problem(error, f"{address} could not be opened", address) from error

    @override
    def begin(self, schema: str, cancel: CancelToken | None) -> None:
        steps = ["BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"]
        if schema:
            steps.append(f"SET LOCAL search_path = {quote(schema)}")
        with self._cursor() as cursor:
            cursor.executescript("; ".join(steps))

    @override
    def end(self) -> None:
        with self._cursor() as cursor:
            cursor.executescript("ROLLBACK")

    @override
    def describe(self, statement: str) -> list[Described]:
        self._described = statement
        with self._cursor() as cursor:
            schema = cursor.adbc_execute_schema(statement)
        self._described = ""
        return [
            Described(
                one.name,
                _told(one, b"POSTGRESQL:type") or _told(one, b"ADBC:postgresql:typname"),
                int(_told(one, b"POSTGRESQL:typmod") or -1),
            )
            for one in schema
        ]

    @override
    def explain(self, statement: str) -> pa.Table:
        with self._cursor() as cursor:
            cursor.execute(statement)
            rows: pa.Table = cursor.fetch_arrow_table()
            return rows

    @override
    def stream(self, sql: str, values: Sequence[object], rows: int) -> Iterator[pa.Table]:
        arrays: list[Any] = list(values)
        given = (
            pa.RecordBatch.from_arrays(arrays, [f"p{at}" for at in range(len(values))])
            if values
            else None
        )
        with self._cursor() as cursor:
            cursor.execute(f"DECLARE given NO SCROLL CURSOR FOR {sql}", parameters=given)
        with self._cursor() as cursor:
            while True:
                cursor.execute(f"FETCH FORWARD {rows} FROM given")
                batch = _plain(cursor.fetch_arrow_table())
                yield batch
                if batch.num_rows < rows:
                    return

    @override
    def cancel(self) -> None:
        # Each time costs a connection of its own.
        if time.monotonic() - self._cancelled_at > _CANCEL_AGAIN_S:
            self._cancelled_at = time.monotonic()
            self._connection.adbc_cancel()

    @override
    def close(self) -> None:
        with contextlib.suppress(adbc_driver_manager.Error, RuntimeError):
            self._connection.close()

    @override
    def problem(self, error: Exception) -> CasparianError | None:
        if not isinstance(error, adbc_driver_manager.Error):
            return None
        if is_postgres_state(error, "57014"):
            return UserProblem(
                "The query took longer than it may",
                _message(error, ""),
                "Ask for less, or raise the limit",
            )
        if is_postgres_state(error, "25006"):
            return UserProblem(
                "This is not allowed here", _message(error, ""), "A query may only read"
            )
        if is_postgres_state(error, *_OF_THE_QUERY) and not is_postgres_state(error, "42501"):
            return UserProblem("The query does not run", _message(error, self._described))
        return postgres_problem(error, f"{self._address} could not be read", self._address)

    def _cursor(self) -> Any:
        """A cursor that takes statements as they are: by itself ADBC makes a COPY of every query."""
        cursor = self._connection.cursor()
        cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
        return cursor


def _conninfo(address: Address, settings: dict[str, str]) -> str:
    options = dict(address.options)
    given = " ".join(f"-c {name}={value}" for name, value in settings.items())
    where = {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
        "dbname": address.database,
    }
    parts: dict[str, Any] = {
        "client_encoding": "UTF8",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "Casparian Flow",
        **options,
        **{name: value for name, value in where.items() if value},
        "options": f"{options.get('options', '')} {given}".strip(),
    }
    return make_conninfo(**parts)


def _of_numeric(modifier: int | None, *, stored: bool) -> Reading:
    """A number with given digits is a decimal; a stored one without is shown as its text."""
    if modifier is None or modifier < 0:
        return Reading("string", _AS_TEXT, is_loose=not stored)
    digits, after = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
    if digits > pa.decimal128(38).precision or after > digits:
        return Reading("string", _AS_TEXT)
    return Reading(f"decimal({digits},{after})", _AS_TEXT)


def _plain(rows: pa.Table) -> pa.Table:
    """Rows without the types that stand for PostgreSQL's own."""
    columns: list[Any] = [
        column.cast(column.type.storage_type)
        if isinstance(column.type, pa.BaseExtensionType)
        else column
        for column in rows.columns
    ]
    return pa.Table.from_arrays(columns, names=rows.column_names)


def _told(field: pa.Field[Any], key: bytes) -> str:
    return (field.metadata or {}).get(key, b"").decode()


def _without_nul(text: str) -> str:
    return text.replace("\0", _NUL_SHOWN)


def _text(given: str | bytes) -> str:
    return given.decode("utf-8", "replace") if isinstance(given, bytes) else given


def _message(error: adbc_driver_manager.Error, statement: str) -> str:
    """What the server said, and the line it is about."""
    told = {_text(key): _text(value) for key, value in error.details or ()}
    primary = told.get("PG_DIAG_MESSAGE_PRIMARY", "")
    more = told.get("PG_DIAG_MESSAGE_DETAIL", "")
    said = f"{primary}: {more}" if more else primary
    position = told.get("PG_DIAG_STATEMENT_POSITION", "")
    if not (statement and position.isdigit()):
        return said
    at = int(position) - 1
    start = statement.rfind("\n", 0, at) + 1
    line = statement[start:].split("\n", 1)[0]
    lead = f"LINE {statement.count(chr(10), 0, at) + 1}: "
    return f"{said}\n{lead}{line}\n{' ' * (len(lead) + at - start)}^"
