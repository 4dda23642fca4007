"""What views, pages and exports ask of a query, wherever its tables live: in our files or on a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from casparian.domain.cancel import CancelToken
    from casparian.domain.results import ColumnInfo, TableInfo

BATCH_ROWS = 8_192


class Rows(ABC):
    """The rows of one query, which come in the same order however they are read."""

    columns: tuple[ColumnInfo, ...]
    sql: str
    """The equivalent statement, as people would write it."""
    places: tuple[str, ...]
    """How each column is called in `stream`'s expressions."""

    @property
    @abstractmethod
    def temp(self) -> Path:
        """A folder for what does not stay."""

    @property
    @abstractmethod
    def infos(self) -> tuple[TableInfo, ...]:
        """The tables it reads, as far as it names them."""

    @property
    @abstractmethod
    def total(self) -> int | None:
        """How many rows there are, where that is known before they are read."""

    @property
    @abstractmethod
    def has_quick_ends(self) -> bool:
        """Whether its first and its last rows are found much sooner than all of them."""

    @property
    @abstractmethod
    def has_keys(self) -> bool:
        """Whether rows are found by their keys; else they are found by their position alone."""

    @abstractmethod
    def place(self, name: str) -> str:
        """How a column is called in `stream`'s expressions, shown or not; empty if there is none."""

    @abstractmethod
    def stream(
        self,
        expressions: Sequence[str] | None = None,
        cancel: CancelToken | None = None,
        rows: int = BATCH_ROWS,
    ) -> Generator[pa.RecordBatch, None, None]:
        """Give the rows, or expressions (DuckDB's SQL over `places`) for each of them, in order."""

    @abstractmethod
    def count(self, cancel: CancelToken | None) -> int:
        """Count the rows."""

    @abstractmethod
    def keys(
        self,
        cancel: CancelToken | None,
        limit: tuple[int, int] | None = None,
        *,
        backwards: bool = False,
    ) -> Generator[pa.RecordBatch, None, None]:
        """Give the keys of the rows, in order.

        Args:
            cancel: ends it.
            limit: (offset, count); None for all.
            backwards: from the last row to the first, the offset counted from there.
        """

    @abstractmethod
    def by_keys(
        self, keys: Sequence[int], clip: int | None, cancel: CancelToken | None
    ) -> pa.Table:
        """Read rows by their keys, and give them in the order of the keys."""

    @abstractmethod
    def at(self, offset: int, limit: int, clip: int | None, cancel: CancelToken | None) -> pa.Table:
        """Read rows by their position; fewer at the end."""

    @abstractmethod
    def values_of(self, column: str, info: TableInfo, cancel: CancelToken | None) -> set[str]:
        """The different values that a text column of a whole table holds."""

    @abstractmethod
    def hold(self) -> None:
        """Keep what the rows come from open until `release`."""

    @abstractmethod
    def release(self) -> None:
        """Let go of it."""
