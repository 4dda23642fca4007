"""SQL Server as the catalog reads it: its SQL, and its connections.

SQL Server has no transaction that may only read. What keeps a query from doing more: `statements` refuses
every word that begins another statement, all of which are reserved; and the transaction that it runs in is
always rolled back. Give a login that only reads: that is the wall.

Rows have no places, so that a page is found by its position, at the cost of a sort each time. Names of
tables are looked up where the login has its default: a query names the schema.

This was checked against Microsoft's parser and a scripted driver; it has not met a server yet.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from typing_extensions import override

from casparian.catalog.databases import Connection, DatabaseDialect, Described, Reading
from casparian.catalog.dialects import TEXTS, Scalar, has_case
from casparian.catalog.statements import SQL_SERVER, Checked, check_query
from casparian.domain.errors import CasparianError, UserProblem
from casparian.duck import checked
from casparian.sqlserver import connect, is_of_the_driver, problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.domain.results import TableInfo

_BIN2 = "COLLATE Latin1_General_100_BIN2"
_MAX = "nvarchar(max)"
_LOCK_MS = 10_000
"""How long a page waits for a delivery to commit."""
_BEGIN = (
    "SET NOCOUNT ON",
    f"SET LOCK_TIMEOUT {_LOCK_MS}",
    "BEGIN TRANSACTION",
)
_END = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"

_CASTS = {
    "boolean": "CAST(? AS bit)",
    "int64": "CAST(? AS bigint)",
    "float64": "CAST(? AS float(53))",
    "date": "CAST(? AS date)",
    "time": "CAST(? AS time(6))",
    "timestamp": "CAST(? AS datetime2(6))",
    "timestamp_utc": "CAST(? AS datetime2(6))",
    "duration": "CAST(? AS bigint)",
    "binary": "CONVERT(varbinary(max), ?, 2)",
}
_STYLES = {"float64": 3, "date": 23, "timestamp": 121, "timestamp_utc": 121, "binary": 2}
"""Of CONVERT to text: all digits of a double, ISO 8601, hexadecimal."""

_READINGS = {
    "bit": Reading("boolean"),
    "tinyint": Reading("int64", "CAST({} AS bigint)"),
    "smallint": Reading("int64", "CAST({} AS bigint)"),
    "int": Reading("int64", "CAST({} AS bigint)"),
    "bigint": Reading("int64"),
    "real": Reading("float64", "CAST({} AS float(53))"),
    "float": Reading("float64"),
    "money": Reading("decimal(19,4)", "CAST({} AS decimal(19,4))"),
    "smallmoney": Reading("decimal(19,4)", "CAST({} AS decimal(19,4))"),
    "date": Reading("date"),
    "time": Reading("time", "CAST({} AS time(6))"),
    "datetime": Reading("timestamp", "CAST({} AS datetime2(6))"),
    "smalldatetime": Reading("timestamp", "CAST({} AS datetime2(6))"),
    "datetime2": Reading("timestamp", "CAST({} AS datetime2(6))"),
    "datetimeoffset": Reading("timestamp_utc", "CAST(SWITCHOFFSET({}, 0) AS datetime2(6))"),
    "binary": Reading("binary", "CAST({} AS varbinary(max))"),
    "varbinary": Reading("binary", "CAST({} AS varbinary(max))"),
}
"""By the name of the type; all others are read as their text."""
_AS_TEXT = Reading("string", f"CONVERT({_MAX}, {{}})")
_TOLD = {
    "datetime2": ("timestamp_utc",),
    "bigint": ("duration",),
    "nvarchar": ("json", "list<", "struct<"),
}
"""What sinks keep as another type, which only the contract tells: instants in UTC, microseconds, JSON."""
_DECIMAL = re.compile(r"(?:decimal|numeric)\((\d+),(\d+)\)")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9_]*|[0-9])")
"""Names that are sure to be no reserved words: with a digit at the end, or an underscore."""

_TABLES = """
SELECT s.name AS [schema], t.name AS [name], c.name AS [attribute],
    CASE WHEN y.name IN (N'decimal', N'numeric')
        THEN CONCAT(y.name, N'(', c.precision, N',', c.scale, N')') ELSE y.name END AS [type],
    CAST(NULL AS bigint) AS [modifier],
    (SELECT TOP (1) CAST(e.value AS nvarchar(max)) FROM sys.extended_properties AS e
        WHERE e.class = 1 AND e.major_id = t.object_id AND e.minor_id = c.column_id
            AND e.name = N'MS_Description') AS [comment]
FROM sys.tables AS t
JOIN sys.schemas AS s ON s.schema_id = t.schema_id
JOIN sys.columns AS c ON c.object_id = t.object_id
JOIN sys.types AS y ON y.user_type_id = c.system_type_id
WHERE (s.name = ? OR LEFT(s.name, LEN(?) + 1) = CONCAT(?, N'_'))
    AND t.name NOT LIKE N'cf[_]%' AND t.name NOT LIKE N'[_]cf[_]%'
    AND EXISTS (SELECT 1 FROM sys.columns AS o
        WHERE o.object_id = t.object_id AND o.name = N'_cf_job_id')
ORDER BY s.name COLLATE Latin1_General_100_BIN2, t.name COLLATE Latin1_General_100_BIN2, c.column_id"""
_FUNCTIONS = """
SELECT LOWER(name) AS [name] FROM (VALUES (N'ABS'), (N'AVG'), (N'CAST'), (N'CEILING'), (N'CHARINDEX'),
    (N'COALESCE'), (N'CONCAT'), (N'CONVERT'), (N'COUNT'), (N'COUNT_BIG'), (N'DATEADD'), (N'DATEDIFF'),
    (N'DATEPART'), (N'DATETRUNC'), (N'FLOOR'), (N'FORMAT'), (N'IIF'), (N'ISNULL'), (N'JSON_VALUE'),
    (N'LAG'), (N'LEAD'), (N'LEFT'), (N'LEN'), (N'LOWER'), (N'LTRIM'), (N'MAX'), (N'MIN'), (N'NULLIF'),
    (N'OPENJSON'), (N'PATINDEX'), (N'RANK'), (N'REPLACE'), (N'RIGHT'), (N'ROUND'), (N'ROW_NUMBER'),
    (N'RTRIM'), (N'STDEV'), (N'STRING_AGG'), (N'SUBSTRING'), (N'SUM'), (N'TRIM'), (N'TRY_CAST'),
    (N'UPPER')) AS known(name) ORDER BY [name]"""
DESCRIBE = (
    "SELECT name, system_type_name, error_number, error_message"
    " FROM sys.dm_exec_describe_first_result_set(?, NULL, 0)"
    " WHERE is_hidden = 0 OR is_hidden IS NULL ORDER BY column_ordinal"
)


def bracket(name: str) -> str:
    """Quote an identifier, whatever is in it."""
    if not name or "\0" in name:
        raise UserProblem("The name cannot be used", f"{name!r} is empty or holds NUL")
    return "[" + checked(name).replace("]", "]]") + "]"


def text(value: str) -> str:
    """Write text as a literal, whatever is in it."""
    return "N'" + checked(value).replace("'", "''") + "'"


class SqlServer(DatabaseDialect):
    """SQL Server's SQL."""

    first_rows = "SELECT TOP ({rows}) *\nFROM {table}"

    @override
    def check(self, sql: str) -> Checked:
        return check_query(sql, SQL_SERVER)

    @override
    def name(self, identifier: str) -> str:
        return bracket(identifier)

    @override
    def readable(self, identifier: str) -> str:
        return identifier if _PLAIN.fullmatch(identifier) else bracket(identifier)

    @override
    def readable_table(self, info: TableInfo) -> str:
        return f"{self.readable(info.schema)}.{self.readable(info.name)}"

    @override
    def bound(self, word: str, value: Scalar, at: int) -> tuple[str, object]:
        del at  # they have no numbers: the first is the first
        if word.startswith("decimal"):
            return f"CAST(? AS {word})", value.text
        if word == "boolean":
            return _CASTS[word], int(value.text == "true")
        if word in {"int64", "float64", "duration"}:
            return _CASTS[word], value.number
        return _CASTS.get(word, "?"), value.text.removesuffix("Z")

    @override
    def written(self, word: str, value: Scalar) -> str:
        if word == "boolean":
            return f"CAST({int(value.text == 'true')} AS bit)"
        if word in {"int64", "float64"} or word.startswith("decimal"):
            return value.text
        if word == "duration":
            return str(value.number)
        literal = text(value.text.removesuffix("Z") if word == "timestamp_utc" else value.text)
        return _CASTS.get(word, "?").replace("?", literal)

    @override
    def as_text(self, word: str, place: str) -> str:
        if word in TEXTS:
            return place
        if word == "boolean":
            return f"CASE {place} WHEN 1 THEN N'true' WHEN 0 THEN N'false' END"
        style = f", {_STYLES[word]}" if word in _STYLES else ""
        return f"CONVERT({_MAX}, {place}{style})"

    @override
    def match(self, word: str, place: str, text: str, op: str, put: Callable[[str], str]) -> str:
        wanted = put(text)
        if has_case(text):
            place, wanted = f"LOWER({place})", f"LOWER({wanted})"
        found = f"CHARINDEX({wanted}, {place} {_BIN2})"
        return f"{found} = 1" if op == "starts" else f"{found} > 0"

    @override
    def compared(self, word: str, place: str) -> str:
        return f"{place} {_BIN2}" if word in TEXTS else place

    @override
    def differs(self, place: str, value: str) -> str:
        bare = place.removesuffix(f" {_BIN2}")
        return f"({place} <> {value} OR {bare} IS NULL)"

    @override
    def nothing(self) -> str:
        return "1 = 0"

    @override
    def ordered(self, place: str, *, descending: bool, backwards: bool = False) -> str:
        bare = place.removesuffix(f" {_BIN2}")
        nulls = f"CASE WHEN {bare} IS NULL THEN 1 ELSE 0 END {'DESC' if backwards else 'ASC'}"
        return f"{nulls}, {place} {'DESC' if descending != backwards else 'ASC'}"

    @override
    def reading(self, described: Described, *, told: str | None = None) -> Reading:
        if found := _DECIMAL.match(described.type):
            return Reading(f"decimal({found[1]},{found[2]})")
        kind = described.type.partition("(")[0].lower()
        known = _READINGS.get(kind, _AS_TEXT)
        if told and told.startswith(_TOLD.get(kind, ())):
            return known._replace(word=told if told in {"timestamp_utc", "duration"} else "json")
        return known

    @override
    def clipped(self, word: str, form: str, size: int) -> str:
        return f"SUBSTRING({form}, 1, {size})"

    @override
    def tables(self, schema: str) -> tuple[str, list[object]]:
        return _TABLES, [schema] * 3

    @override
    def functions(self) -> str:
        return _FUNCTIONS

    @override
    def result(self, statement: str, readings: Sequence[Reading]) -> str:
        """The statement as it is: WITH and ORDER BY cannot stand within another one."""
        return statement

    @override
    def part(self, offset: int, limit: int) -> str:
        return f" OFFSET {offset} ROWS FETCH NEXT {limit} ROWS ONLY"

    @override
    def counted(self) -> str:
        return "COUNT_BIG(*)"


class SqlServerConnection(Connection):
    """A connection by Microsoft's driver."""

    def __init__(
        self,
        address: Address,
        statement_timeout_s: float = 0,
        connecting: Callable[[Address], Any] = connect,
    ) -> None:
        """Connect.

        Raises:
            UserProblem, EnvironmentProblem: it could not be opened.
        """
        self._address = address
        self._connection = connecting(address)
        self._connection.timeout = int(statement_timeout_s)
        self._cursor: Any = None

    @override
    def begin(self, schema: str, cancel: CancelToken | None) -> None:
        for one in _BEGIN:
            self._run(one)

    @override
    def end(self) -> None:
        self._run(_END)

    @override
    def describe(self, statement: str) -> list[Described]:
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(DESCRIBE, statement)
            rows = cursor.fetchall()
        for _, _, number, message in rows:
            if number is not None:
                raise UserProblem("The query does not run", str(message))
        return [Described(name or "", kind or "") for name, kind, _, _ in rows]

    @override
    def explain(self, statement: str) -> pa.Table:
        raise UserProblem("SQL Server does not explain queries by a statement")

    @override
    def stream(self, sql: str, values: Sequence[object], rows: int) -> Iterator[pa.Table]:
        cursor = self._cursor = self._connection.cursor()
        try:
            cursor.execute(sql, *values)
            while True:
                batch = pa.Table.from_batches([cursor.arrow_batch(rows)])
                yield batch
                if batch.num_rows < rows:
                    return
        finally:
            self._cursor = None
            cursor.close()

    @override
    def cancel(self) -> None:
        cursor = self._cursor
        if cursor is not None:
            # SQLCancel: the driver means it for other threads, and has no public name for it (1.16).
            cursor.hstmt._cancel()  # noqa: SLF001

    @override
    def close(self) -> None:
        with contextlib.suppress(Exception):  # whatever it says, it is gone
            self._connection.close()

    @override
    def problem(self, error: Exception) -> CasparianError | None:
        if not is_of_the_driver(error):
            return None
        if type(error).__name__ in {"ProgrammingError", "DataError", "IntegrityError"}:
            return UserProblem("The query does not run", " ".join(str(error).split()))
        return problem(error, f"{self._address} could not be read", self._address)

    def _run(self, sql: str) -> None:
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute(sql)
