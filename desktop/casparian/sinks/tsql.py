"""Every statement that goes to a SQL Server sink, as text: nothing here talks to a server.

Identifiers are bracketed by `bracket`, text is written by `literal`; values that come from a delivery are
bound, as `?`. A statement that binds values names no table by way of foreign text that could hold a `?`:
what stands in brackets is not looked at for parameters.

    boolean         BIT
    int64           BIGINT
    float64         FLOAT(53), which holds neither NaN nor infinities
    decimal(p,s)    DECIMAL(p,s)
    date            DATE, up to the year 9999
    time            TIME(6)
    timestamp, _utc DATETIME2(6), in UTC; up to the year 9999
    duration        BIGINT: microseconds
    binary          VARBINARY(MAX)
    everything else NVARCHAR(MAX): text, JSON text, and lists and structures as JSON text

Text compares by code units (BIN2), so that no two values are alike to the server that differ.
"""

# ruff: noqa: S608  (SQL is made here: names pass `bracket`, text passes `literal`)
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from casparian.domain.errors import UserProblem
from casparian.domain.types import arrow_type
from casparian.sinks.names import SQLSERVER_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casparian.domain.contracts import Column

MOST_COLUMNS = 1_024
BOUND_AT_ONCE = 500
"""Values bound in one statement; the server takes 2,100."""
LOCK_WAIT_MS = 60_000
"""How long a delivery waits for another one to commit."""

_BIN2 = "COLLATE Latin1_General_100_BIN2"
TEXT = f"NVARCHAR(MAX) {_BIN2}"
_SIMPLE: dict[pa.DataType, str] = {
    pa.bool_(): "BIT",
    pa.int64(): "BIGINT",
    pa.float64(): "FLOAT(53)",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME(6)",
    pa.timestamp("us"): "DATETIME2(6)",
    pa.timestamp("us", tz="UTC"): "DATETIME2(6)",
    pa.duration("us"): "BIGINT",
    pa.binary(): "VARBINARY(MAX)",
}
_KEYS = {
    "_cf_source_hash": f"VARCHAR(64) {_BIN2}",
    "_cf_job_id": f"VARCHAR(36) {_BIN2}",
    "_cf_file_id": f"VARCHAR(36) {_BIN2}",
}
"""Lineage columns that an index can hold: hexadecimal BLAKE3 and UUIDs."""
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_BIGINT_DIGITS = 19
LARGEST_WHOLE = 2**53
"""Beyond it a double does not hold every whole number."""

LEDGER = "_cf_ledger"
STAGE = "cf_stage_"
_INDEX = "cf_rows_of"


def bracket(name: str) -> str:
    """Quote an identifier, whatever is in it.

    Raises:
        UserProblem: it cannot be a name: it is empty or too long, or holds NUL or half a character.
    """
    try:
        units = len(name.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        units = 0
    if not 0 < units <= SQLSERVER_UNITS or "\0" in name:
        raise UserProblem(
            "The name cannot be used",
            f"{name[:80]!a} is not a name of 1 to {SQLSERVER_UNITS} characters for SQL Server",
        )
    return "[" + name.replace("]", "]]") + "]"


def literal(text: str) -> str:
    """Write text as a literal, whatever is in it."""
    return "N'" + text.replace("'", "''") + "'"


def place(schema: str, table: str) -> str:
    """A table by its full name."""
    return f"{bracket(schema)}.{bracket(table)}"


def column_type(column: Column) -> str:
    """The type that holds a column, with its collation."""
    return _KEYS.get(column.name) or stored_type(column.type)


def stored_type(word: str) -> str:
    """The type that holds a type of ours."""
    arrow = arrow_type(word)
    if isinstance(arrow, pa.Decimal128Type):
        return f"DECIMAL({arrow.precision},{arrow.scale})"
    return _SIMPLE.get(arrow, TEXT)


@dataclass(frozen=True, slots=True)
class Found:
    """A column of a table as the server describes it."""

    name: str
    kind: str
    max_length: int
    """In bytes; -1 for MAX."""
    precision: int
    scale: int

    @property
    def type(self) -> str:
        """The type as `stored_type` spells it, without its collation."""
        kind = self.kind.upper()
        if kind in {"DECIMAL", "NUMERIC"}:
            return f"DECIMAL({self.precision},{self.scale})"
        if kind in {"TIME", "DATETIME2", "DATETIMEOFFSET"}:
            return f"{kind}({self.scale})"
        if kind == "FLOAT":
            return f"FLOAT({self.precision})"
        if kind in {"NVARCHAR", "NCHAR", "VARCHAR", "CHAR", "VARBINARY", "BINARY"}:
            size = self.max_length // (2 if kind[0] == "N" else 1)
            return f"{kind}({'MAX' if self.max_length < 0 else size})"
        return kind


def without_collation(kind: str) -> str:
    """A type as the server describes it."""
    return kind.partition(" COLLATE ")[0]


def is_wider(wide: str, narrow: str) -> bool:
    """Whether a type holds the values of another; whole numbers in doubles are looked at one by one."""
    if wide == "NVARCHAR(MAX)" or (narrow, wide) in {
        ("BIGINT", "FLOAT(53)"),
        ("DATE", "DATETIME2(6)"),
    }:
        return True
    if not (to := _DECIMAL.fullmatch(wide)):
        return False
    whole, scale = int(to[1]) - int(to[2]), int(to[2])
    if narrow == "BIGINT":
        return whole >= _BIGINT_DIGITS
    if not (of := _DECIMAL.fullmatch(narrow)):
        return False
    return int(of[1]) - int(of[2]) <= whole and int(of[2]) <= scale


# --- A connection


SESSION = "SET XACT_ABORT ON; SET NOCOUNT ON"
"""Whatever fails undoes the whole transaction, and says nothing of rows affected."""
BEGIN = "BEGIN TRANSACTION"
COMMIT = "COMMIT TRANSACTION"
ROLLBACK = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"


def take_turn(schema: str) -> str:
    """Wait until no other delivery changes the tables of a sink; held until the transaction ends.

    Not the lock of a state store in the same schema, which must not wait for a delivery.
    """
    return (
        "DECLARE @granted INT;"
        f" EXEC @granted = sp_getapplock @Resource = {literal(f'casparian sink {schema}')},"
        f" @LockMode = N'Exclusive', @LockOwner = N'Transaction', @LockTimeout = {LOCK_WAIT_MS};"
        " IF @granted < 0 THROW 50001, N'another delivery is not done yet', 1"
    )


# --- What is there


SCHEMA_ID = "SELECT SCHEMA_ID(?)"
COLUMNS = (
    "SELECT c.name, t.name, c.max_length, c.precision, c.scale"
    " FROM sys.objects AS o JOIN sys.columns AS c ON c.object_id = o.object_id"
    " JOIN sys.types AS t ON t.user_type_id = c.user_type_id"
    " WHERE o.schema_id = SCHEMA_ID(?) AND o.name = ? ORDER BY c.column_id"
)
"""Of a table or view."""
STAGES = (
    "SELECT name FROM sys.tables WHERE schema_id = SCHEMA_ID(?)"
    " AND name LIKE N'cf[_]stage[_]%' ORDER BY name"
)
PROBE = (
    "SELECT CAST(SERVERPROPERTY(N'ProductVersion') AS NVARCHAR(128)),"
    " CAST(DATABASEPROPERTYEX(DB_NAME(), N'Updateability') AS NVARCHAR(128)),"
    " HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'CREATE TABLE'),"
    " HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'CREATE SCHEMA')"
)
SIZE = (
    "SELECT SUM(a.total_pages) * 8192 FROM sys.tables AS t"
    " JOIN sys.partitions AS p ON p.object_id = t.object_id"
    " JOIN sys.allocation_units AS a ON a.container_id = p.partition_id"
    " WHERE SCHEMA_NAME(t.schema_id) = ? OR LEFT(SCHEMA_NAME(t.schema_id), LEN(?)) = ?"
)


def count(table: str) -> str:
    """How many rows a table has."""
    return f"SELECT COUNT_BIG(*) FROM {table}"


def has_value(table: str, column: str) -> str:
    """A row where the column holds something."""
    return f"SELECT TOP (1) 1 FROM {table} WHERE {bracket(column)} <> N''"


def has_long_number(table: str, column: str) -> str:
    """A row where the column holds a whole number that a double may not."""
    return (
        f"SELECT TOP (1) 1 FROM {table}"
        f" WHERE {bracket(column)} NOT BETWEEN -{LARGEST_WHOLE} AND {LARGEST_WHOLE}"
    )


# --- Tables


def make_schema(schema: str) -> str:
    """Make a schema."""
    return f"CREATE SCHEMA {bracket(schema)}"


def make_ledger(schema: str) -> str:
    """Make the ledger of the sink; `tables` and `gone` are JSON."""
    ledger = place(schema, LEDGER)
    return (
        f"IF OBJECT_ID({literal(ledger)}, N'U') IS NULL CREATE TABLE {ledger} ("
        f"job_id {_KEYS['_cf_job_id']} NOT NULL PRIMARY KEY, attempt BIGINT NOT NULL,"
        f" folder {TEXT} NOT NULL, delivered_at DATETIME2(6) NOT NULL,"
        f" tables {TEXT} NOT NULL, gone {TEXT} NOT NULL)"
    )


def make_table(table: str, columns: Sequence[Column]) -> str:
    """Make a table.

    Raises:
        UserProblem: SQL Server has no table of so many columns, or of such names.
    """
    if len(columns) > MOST_COLUMNS:
        raise UserProblem(
            f"{table} has too many columns",
            f"it has {len(columns):,}; SQL Server takes {MOST_COLUMNS:,}",
            "Send this output to another sink",
        )
    made = ", ".join(f"{bracket(one.name)} {column_type(one)} NULL" for one in columns)
    return f"CREATE TABLE {table} ({made})"


def make_index(table: str) -> str:
    """Make the index by which rows of a job, or of one of its files, are found."""
    return f"CREATE INDEX {bracket(_INDEX)} ON {table} ([_cf_job_id], [_cf_file_id])"


def make_stage(stage: str, columns: Sequence[Column]) -> str:
    """Make the table that rows are loaded into: the columns by their place, c0, c1, ..."""
    made = ", ".join(f"{staged(at)} {column_type(one)} NULL" for at, one in enumerate(columns))
    return f"CREATE TABLE {stage} ({made})"


def staged(at: int) -> str:
    """What the column of that place is called in a stage."""
    return f"c{at}"


def drop(table: str) -> str:
    """Remove a table, if it is there."""
    return f"DROP TABLE IF EXISTS {table}"


def add_column(table: str, column: Column) -> str:
    """Add a column; rows that are there have no value in it."""
    return f"ALTER TABLE {table} ADD {bracket(column.name)} {column_type(column)} NULL"


def remake_column(table: str, column: Column) -> Iterator[str]:
    """Give a column that holds nothing another type."""
    yield f"ALTER TABLE {table} DROP COLUMN {bracket(column.name)}"
    yield add_column(table, column)


def widen_column(table: str, column: Column, old: str) -> Iterator[str]:
    """Give a column a type that holds all its values.

    To text by way of another column: what SQL Server does by itself keeps six digits of a double.
    """
    name = bracket(column.name)
    if without_collation(column_type(column)) != "NVARCHAR(MAX)":
        yield f"ALTER TABLE {table} ALTER COLUMN {name} {column_type(column)} NULL"
        return
    aside = "_cf_as_text"
    yield f"ALTER TABLE {table} ADD {bracket(aside)} {TEXT} NULL"
    yield f"UPDATE {table} SET {bracket(aside)} = {as_text(name, old)}"
    yield f"ALTER TABLE {table} DROP COLUMN {name}"
    yield (
        f"EXEC sp_rename @objname = {literal(f'{table}.{bracket(aside)}')},"
        f" @newname = {literal(column.name)}, @objtype = N'COLUMN'"
    )


def as_text(name: str, kind: str) -> str:
    """A column of a type as text that `domain.types` reads; times in UTC come without their zone."""
    if kind == "BIT":
        return f"CASE {name} WHEN 1 THEN N'true' WHEN 0 THEN N'false' END"
    # Styles: 3 gives all digits of a double, 23 and 126 are ISO 8601, 2 is hexadecimal.
    styles = {"FLOAT(53)": 3, "DATE": 23, "DATETIME2(6)": 126, "VARBINARY(MAX)": 2}
    style = f", {styles[kind]}" if kind in styles else ""
    text = f"CONVERT(NVARCHAR(MAX), {name}{style})"
    return f"LOWER({text})" if kind == "VARBINARY(MAX)" else text


# --- Rows


def take_back(table: str) -> str:
    """Remove the rows of a job: job."""
    return f"DELETE FROM {table} WHERE [_cf_job_id] = {_KEY}"


def take_out(table: str, files: int) -> str:
    """Remove the rows that a job read from some files: job, files."""
    some = ", ".join([_KEY] * files)
    return f"DELETE FROM {table} WHERE [_cf_job_id] = {_KEY} AND [_cf_file_id] IN ({some})"


_KEY = "CAST(? AS VARCHAR(36))"
"""The driver binds text as NVARCHAR, by which an index over VARCHAR is not searched."""


def insert(table: str, stage: str, columns: Sequence[Column], values: Sequence[str]) -> str:
    """Copy the rows of a stage into its table; the values are SQL over columns of the stage."""
    names = ", ".join(bracket(one.name) for one in columns)
    return f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM {stage}"


# --- The ledger


def ledger_exists(schema: str) -> str:
    """The ledger's number, or NULL."""
    return f"SELECT OBJECT_ID({literal(place(schema, LEDGER))}, N'U')"


def recorded(schema: str) -> str:
    """What the ledger says of a job: job."""
    return (
        f"SELECT attempt, folder, tables, gone FROM {place(schema, LEDGER)} WHERE job_id = {_KEY}"
    )


def forget(schema: str) -> str:
    """Remove a job from the ledger: job."""
    return f"DELETE FROM {place(schema, LEDGER)} WHERE job_id = {_KEY}"


def record(schema: str) -> str:
    """Enter a job in the ledger: job, attempt, folder, tables, gone."""
    return (
        f"INSERT INTO {place(schema, LEDGER)} (job_id, attempt, folder, delivered_at, tables, gone)"
        " VALUES (?, ?, ?, SYSUTCDATETIME(), ?, ?)"
    )


# --- A scratch schema, for an acceptance


TABLES = "SELECT name FROM sys.tables WHERE schema_id = SCHEMA_ID(?)"
SCHEMAS = "SELECT name FROM sys.schemas WHERE name = ? OR LEFT(name, LEN(?)) = ?"
"""Those of a sink: its own, and those that begin with it."""


def read_back(table: str, columns: Sequence[Column]) -> str:
    """Columns as text, whatever their type: what the driver makes of a type has no part in it."""
    shown = ", ".join(
        f"CONVERT(NVARCHAR(MAX), {bracket(one.name)}, 1)"
        if stored_type(one.type) == "VARBINARY(MAX)"  # 0x before it, that no bytes are not no value
        else as_text(bracket(one.name), stored_type(one.type))
        for one in columns
    )
    return f"SELECT {shown} FROM {table}"


def table_id(table: str) -> str:
    """A table's number, or NULL."""
    return f"SELECT OBJECT_ID({literal(table)}, N'U')"


def make_foreign(table: str) -> str:
    """Make a table as another program would."""
    return f"SELECT N'theirs' AS stranger INTO {table}"


def drop_schema(schema: str) -> str:
    """Remove a schema that has no tables any more."""
    return f"DROP SCHEMA {bracket(schema)}"
