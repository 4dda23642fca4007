"""What is in a table, whichever sink it is in: a count and a digest that no order of rows changes.

Values are compared by what they mean: an instant by its microseconds, structured values by their JSON.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from adbc_driver_postgresql import dbapi

from casparian.sinks.postgres import LEDGER
from helpers.postgres import uri_of

if TYPE_CHECKING:
    from casparian.domain.addresses import Address

VOLATILE = {"_cf_job_id", "_cf_processed_at", "_cf_file_id"}
"""Lineage that differs from run to run."""


def digest(table: pa.Table, *, nul: str = "\0") -> tuple[int, str]:
    """Count the rows of a table, and add up what they hold; `nul` stands for the character NUL."""
    columns = {
        name: _plain(table.column(name), nul) for name in table.column_names if name not in VOLATILE
    }
    total = 0
    names = sorted(columns)
    for values in zip(*(columns[name] for name in names), strict=True):
        row = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        text = json.dumps(row, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
        total += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
    return table.num_rows, f"{total % 2**128:032x}"


def _plain(column: pa.ChunkedArray, nul: str) -> list[Any]:
    kind = column.type
    if pa.types.is_string(kind):
        return [one and one.replace("\0", nul) for one in column.to_pylist()]
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        unit = pa.timestamp("us") if pa.types.is_timestamp(kind) else None
        unit = unit or (pa.time64("us") if pa.types.is_time(kind) else pa.duration("us"))
        whole = (
            column.cast(unit)
            if not getattr(kind, "tz", None)
            else column.cast(pa.timestamp("us", kind.tz))
        )
        return whole.cast(pa.int64()).to_pylist()
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32()).to_pylist()
    if pa.types.is_list(kind) or pa.types.is_struct(kind):
        return [None if one is None else json.dumps(one, default=str) for one in column.to_pylist()]
    if pa.types.is_decimal(kind) or pa.types.is_binary(kind):
        return [None if one is None else str(one) for one in column.to_pylist()]
    return column.to_pylist()


def of_catalog(path, schema="main", *, nul: str = "\0") -> dict[str, tuple[int, str]]:
    """The tables of a query catalog, as any DuckDB client sees them."""
    with duckdb.connect(str(path), read_only=True) as catalog:
        catalog.execute("SET TimeZone = 'UTC'")
        names = catalog.execute(
            "SELECT view_name FROM duckdb_views() WHERE schema_name = ? AND NOT internal", [schema]
        ).fetchall()
        return {
            name: digest(
                catalog.sql(f'SELECT * FROM "{schema}"."{name}"').to_arrow_table(), nul=nul
            )
            for (name,) in names
        }


def of_duckdb(path, schema="main") -> dict[str, tuple[int, str]]:
    """The tables of a DuckDB file that is a sink."""
    with duckdb.connect(str(path), read_only=True) as file:
        file.execute("SET TimeZone = 'UTC'")
        names = file.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = ?", [schema]
        ).fetchall()
        return {
            name: digest(file.sql(f'SELECT * FROM "{schema}"."{name}"').to_arrow_table())
            for (name,) in names
        }


def of_postgres(address: Address, schema: str = "") -> dict[str, tuple[int, str]]:
    """The tables of a PostgreSQL sink, their columns by the names that they have in the contract."""
    schema = schema or address.schema
    with dbapi.connect(uri_of(address)) as connection, connection.cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.execute(
            "SELECT table_name::text, column_name::text, data_type::text"
            " FROM information_schema.columns WHERE table_schema = $1"
            " ORDER BY table_name, ordinal_position",
            [schema],
        )
        columns: dict[str, list[tuple[str, str]]] = {}
        for table, name, kind in cursor.fetchall():
            columns.setdefault(table, []).append((name, kind))
        columns.pop(LEDGER, None)
        found = {}
        for table, shown in columns.items():
            # ADBC gives an interval as months, days and nanoseconds.
            wanted = ", ".join(
                f"(extract(epoch FROM {quote(name)}) * 1000000)::bigint AS {quote(name)}"
                if kind == "interval"
                else quote(name)
                for name, kind in shown
            )
            cursor.execute(f"SELECT {wanted} FROM {quote(schema)}.{quote(table)}")
            found[table] = digest(cursor.fetch_arrow_table())
        return found


def quote(name: str) -> str:
    """A name as SQL takes it."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
