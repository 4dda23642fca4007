"""What users query: committed tables, their columns and files, and how somebody wants to see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from casparian.domain.contracts import Column

QUARANTINE_SUFFIX = "_quarantine"
RESERVED_TABLES = ("files", "jobs", "skips")
"""Views of the control plane that stand beside the tables."""

Mode: TypeAlias = Literal["replace", "append", "error"]
"""What happens to rows of the same content that are in a sink already: they leave, they stay beside the
new ones, or the delivery is refused."""

TableKind: TypeAlias = Literal["table", "quarantine", "control"]

OPERATORS = (
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "contains",
    "starts",
    "in",
    "is null",
    "not null",
)
"""The comparisons of a `Filter`."""


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


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column as it can be queried."""

    name: str
    type: str
    """One of the words of `domain.types`."""
    doc: str = ""


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of the catalog, and what is in it."""

    schema: str
    name: str
    kind: TableKind
    columns: tuple[ColumnInfo, ...]
    """With the lineage columns, in the order of `SELECT *`."""
    rows: int
    parser: str = ""
    parser_version: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on one column; several are joined by AND."""

    column: str
    op: str
    """One of `OPERATORS`. `!=` also keeps rows without a value. `contains` and `starts` look at the text
    of a value and ignore case."""
    value: object = None
    """Text as people write it (read by `domain.types.read_text`) or a value of the column's type; a tuple
    of them for `in`; None for `is null` and `not null`."""


@dataclass(frozen=True, slots=True)
class Sort:
    """One column to sort by; rows without a value come last, in either direction."""

    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """A table as somebody wants to see it: which rows, in which order, which columns."""

    schema: str
    table: str
    filters: tuple[Filter, ...] = ()
    search: str = ""
    """Rows where any text column contains this, whatever the case; a whole number also finds the rows
    where an integer column equals it."""
    sort: tuple[Sort, ...] = ()
    """Empty for the order in which the rows were committed; it also settles ties."""
    columns: tuple[str, ...] = ()
    """Empty for all of them."""
