"""What users query: committed tables, their columns and files, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casparian.domain.contracts import Column

QUARANTINE_SUFFIX = "_quarantine"
RESERVED_TABLES = ("files", "jobs", "skips")
"""Views of the control plane that stand beside the tables."""


@dataclass(frozen=True, slots=True)
class CommittedFile:
    """One committed Parquet file of a table."""

    path: str
    """Absolute."""
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CommittedTable:
    """A table as it is committed: exactly these files, bound to this contract."""

    schema: str
    """Of the catalog: `main` for the default workspace."""
    name: str
    columns: tuple[Column, ...]
    """Without the lineage columns."""
    files: tuple[CommittedFile, ...] = ()
    quarantine_files: tuple[CommittedFile, ...] = field(default=())
    parser: str = ""
    parser_version: str = ""

    @property
    def rows(self) -> int:
        """Rows that can be queried."""
        return sum(one.rows for one in self.files)

    @property
    def quarantined(self) -> int:
        """Rows in the quarantine table beside it."""
        return sum(one.rows for one in self.quarantine_files)
