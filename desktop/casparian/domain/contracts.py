"""Contracts: the schema that rows must keep, and the split into rows that do and rows that do not."""

from __future__ import annotations

from dataclasses import dataclass

LINEAGE_COLUMNS = (
    "_cf_source_hash",
    "_cf_job_id",
    "_cf_processed_at",
    "_cf_parser_version",
    "_cf_row",
    "_cf_file_id",
)
"""Added to every accepted row by the worker; the prefix `_cf_` is reserved."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an output."""

    name: str
    type: str
    """One of the words of `domain.types`."""
    nullable: bool = True
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """The columns that every row of a table must keep, in order."""

    table: str
    columns: tuple[Column, ...]
