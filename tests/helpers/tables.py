"""Builds committed tables and a catalog over them, without the program that would commit them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from casparian.catalog import views
from casparian.catalog.reader import CatalogReader
from casparian.domain.contracts import LINEAGE, QUARANTINE_SCHEMA, Column, Contract, table_schema
from casparian.domain.results import CommittedFile, CommittedTable, TableInfo
from casparian.domain.types import arrow_type

if TYPE_CHECKING:
    from pathlib import Path

PROCESSED_AT_US = 1_646_930_030_089_354
"""2022-03-10 16:33:50.089354 UTC."""


def with_lineage(columns, rows, *, file=0, version="1.0.0"):
    """Rows of a contract's columns as an Arrow table with lineage, as a parser's worker writes them."""
    schema = table_schema(Contract("t", columns))
    count = len(next(iter(rows.values()))) if rows else 0
    arrays = [pa.array(rows[one.name], arrow_type(one.type)) for one in columns]
    told = {
        "_cf_source_hash": [f"{file:064x}"] * count,
        "_cf_job_id": [f"job-{file}"] * count,
        "_cf_processed_at": [PROCESSED_AT_US] * count,
        "_cf_parser_version": [version] * count,
        "_cf_row": list(range(1, count + 1)),
        "_cf_file_id": [f"file-{file}"] * count,
    }
    arrays += [pa.array(told[one.name], arrow_type(one.type)) for one in LINEAGE]
    return pa.Table.from_arrays(arrays, schema=schema)


def written(path, table, **options):
    """Write an Arrow table as a committed file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", **options)
    return CommittedFile(str(path), table.num_rows, path.stat().st_size)


@dataclass
class Case:
    """A home with tables, their catalog, and a reader over it."""

    home: Path
    tables: list[CommittedTable] = field(default_factory=list)
    control: dict = field(default_factory=dict)
    generation: int = 0

    @property
    def catalog(self):
        return self.home / "query.duckdb"

    @property
    def outputs(self):
        return self.home / "output"

    def add(self, name, columns, *files, schema="main", parser="evtx", quarantined=0):
        """Commit a table; each of *files* is a dict of column name to values."""
        columns = tuple(Column(one, word) if isinstance(one, str) else one for one, word in columns)
        folder = self.outputs / f"{len(self.tables)}"
        committed = tuple(
            written(folder / f"{at}.parquet", with_lineage(columns, rows, file=at))
            for at, rows in enumerate(files)
        )
        rejected = self._quarantined(folder, quarantined) if quarantined else ()
        table = CommittedTable(schema, name, columns, committed, rejected, parser, "1.0.0")
        self.tables.append(table)
        return table

    def build(self):
        """Write the catalog as of now."""
        self.generation += 1
        views.build(self.catalog, self.tables, self.control, self.generation)

    def reader(self, **options):
        """A reader over the catalog, which is built first."""
        self.build()
        return CatalogReader(self.catalog, lambda: [self.outputs], self.home / "tmp", **options)

    def _quarantined(self, folder, rows):
        given = {
            one.name: pa.array(
                list(range(rows))
                if one.type == pa.int64()
                else [f"{one.name}-{at}" for at in range(rows)]
                if one.type == pa.string()
                else [PROCESSED_AT_US] * rows,
                one.type,
            )
            for one in QUARANTINE_SCHEMA
        }
        table = pa.table(given, schema=QUARANTINE_SCHEMA)
        return (written(folder / "quarantine.parquet", table),)


def info(reader, name, schema="main") -> TableInfo:
    """A table of the catalog by its name."""
    return next(one for one in reader.tables() if (one.schema, one.name) == (schema, name))
