"""The tables of a case, put into PostgreSQL as a sink would: the same rows, in the same order."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from adbc_driver_postgresql import dbapi

from casparian.domain.contracts import LINEAGE, QUARANTINE

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES = {
    "boolean": "boolean",
    "int64": "bigint",
    "float64": "double precision",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamp_utc": "timestamptz",
    "duration": "interval",
    "string": "text",
    "binary": "bytea",
    "json": "json",
    "list<string>": "text[]",
}
SCHEMA = "casparian"


def pg_type(word):
    return _TYPES.get(word) or (word.replace("decimal", "numeric") if "decimal" in word else "json")


def put(uri, case, schema=SCHEMA):
    """Put every table of a case there."""
    with psycopg.connect(uri, autocommit=True) as plain, dbapi.connect(uri) as arrow:
        plain.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        for table in case.tables:
            _put(plain, arrow, schema, table.name, (*table.columns, *LINEAGE), table.files)
            rejected = table.quarantine_files
            name = f"{table.name}_quarantine"
            _put(plain, arrow, schema, name, (*LINEAGE, *QUARANTINE), rejected)


def _put(plain, arrow, schema, name, columns, files):
    made = ", ".join(f'"{_quoted(one.name)}" {pg_type(one.type)}' for one in columns)
    plain.execute(f'CREATE TABLE "{schema}"."{name}" ({made})')
    casts = ", ".join(
        f'"{_quoted(one.name)}"::json' if pg_type(one.type) == "json" else f'"{_quoted(one.name)}"'
        for one in columns
    )
    for file in files:
        rows = pq.read_table(file.path)
        rows = pa.table(
            [_sent(rows.column(one.name), one.type) for one in columns],
            names=[one.name for one in columns],
        )
        with arrow.cursor() as cursor:
            cursor.adbc_ingest("stage", rows, mode="replace", temporary=True)
            cursor.execute(f'INSERT INTO "{schema}"."{name}" SELECT {casts} FROM stage')
        arrow.commit()


def _quoted(name):
    return name.replace('"', '""')


def _sent(values, word):
    import json

    if word == "duration":
        return values.cast(pa.duration("us"))
    if word.startswith("struct<"):
        return pa.array(
            [None if one is None else json.dumps(one, default=str) for one in values.to_pylist()],
            pa.string(),
        )
    if word in {"string", "json"}:
        return pa.array(
            [None if one is None else one.replace("\0", "\u2400") for one in values.to_pylist()],
            pa.string(),
        )
    return values


@contextlib.contextmanager
def a_database(uri) -> Iterator[str]:
    """A database of its own."""
    from uuid import uuid4

    name = f"t{uuid4().hex[:12]}"
    with psycopg.connect(uri, autocommit=True) as plain:
        plain.execute(f"CREATE DATABASE {name}")
        yield uri.replace("/postgres?", f"/{name}?")
        plain.execute(f"DROP DATABASE {name} WITH (FORCE)")
