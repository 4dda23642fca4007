"""What is in a table, whichever sink it is in: a count and a digest that no order of rows changes.

Values are compared by what they mean: an instant by its microseconds, structured values by their JSON.
A column that is null in every row does not count, since a database gets it only with its first value.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import duckdb
import pyarrow as pa

VOLATILE = {"_cf_job_id", "_cf_processed_at", "_cf_file_id"}
"""Lineage that differs from run to run."""


def digest(table: pa.Table) -> tuple[int, str]:
    """Count the rows of a table, and add up what they hold."""
    columns = {
        name: _plain(table.column(name))
        for name in table.column_names
        if name not in VOLATILE and table.column(name).null_count < table.num_rows
    }
    total = 0
    names = sorted(columns)
    for values in zip(*(columns[name] for name in names), strict=True):
        row = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        text = json.dumps(row, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
        total += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
    return table.num_rows, f"{total % 2**128:032x}"


def _plain(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
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


def of_catalog(path, schema="main") -> dict[str, tuple[int, str]]:
    """The tables of a query catalog, as any DuckDB client sees them."""
    with duckdb.connect(str(path), read_only=True) as catalog:
        catalog.execute("SET TimeZone = 'UTC'")
        names = catalog.execute(
            "SELECT view_name FROM duckdb_views() WHERE schema_name = ? AND NOT internal", [schema]
        ).fetchall()
        return {
            name: digest(catalog.sql(f'SELECT * FROM "{schema}"."{name}"').to_arrow_table())
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
