"""Views without a database, and tasks whose replies come when the test says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from casparian.domain.errors import Cancelled, CasparianError
from casparian.domain.results import ColumnInfo
from casparian.domain.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.domain.cancel import CancelToken


@dataclass
class FakeView:
    """Rows made up from their number: `row`, then one text for each further column."""

    length: int
    columns: tuple[ColumnInfo, ...] = (ColumnInfo("row", "int64"), ColumnInfo("text", "string"))
    problem: CasparianError | None = None
    pages: list[tuple[int, int]] = field(default_factory=list)
    closed: bool = False
    sql: str = "SELECT * FROM fake"
    truncated: bool = False

    def count(self, cancel: CancelToken | None = None) -> int:
        return self.length

    def page(
        self, offset: int, limit: int, cancel: CancelToken | None = None, *, clip: int | None = None
    ) -> pa.Table:
        self.pages.append((offset, limit))
        if self.problem is not None:
            raise self.problem
        rows = range(offset, min(offset + limit, self.length))
        arrays: dict[str, Any] = {}
        for column in self.columns:
            values = [row if column.type == "int64" else f"{column.name} {row}" for row in rows]
            arrays[column.name] = pa.array(values, arrow_type(column.type))
        return pa.table(arrays)

    def close(self) -> None:
        self.closed = True


@dataclass
class TableView(FakeView):
    """A view over an Arrow table."""

    table: pa.Table = field(default_factory=lambda: pa.table({}))

    def page(
        self, offset: int, limit: int, cancel: CancelToken | None = None, *, clip: int | None = None
    ) -> pa.Table:
        self.pages.append((offset, limit))
        return self.table.slice(offset, limit)


def view_of(table: pa.Table, *words: str) -> TableView:
    """Return a view over a table, its columns of these types."""
    columns = tuple(map(ColumnInfo, table.column_names, words))
    return TableView(table.num_rows, columns, table=table)


class HeldTasks:
    """Keeps every request until `release`; the newest under a key replaces the older one, as in `Tasks`."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[int, str], tuple[Any, ...]] = {}

    def run(
        self,
        owner: object,
        work: Callable[[], Any],
        done: Callable[[Any], None] | None = None,
        *,
        key: str,
        failed: Callable[[CasparianError], None] | None = None,
        token: CancelToken | None = None,
        long: bool = False,
    ) -> None:
        self.drop(owner, key)
        self.waiting[id(owner), key] = (work, done, failed, token)

    def drop(self, owner: object, key: str) -> None:
        dropped = self.waiting.pop((id(owner), key), None)
        if dropped is not None and dropped[3] is not None:
            dropped[3].cancel()

    def keys(self) -> list[str]:
        return [key for _, key in self.waiting]

    def release(self, *, once: bool = False) -> None:
        """Do what waits, and what that asks for in turn."""
        while self.waiting:
            (work, done, failed, _) = self.waiting.pop(next(iter(self.waiting)))
            try:
                result = work()
            except Cancelled:
                pass
            except CasparianError as error:
                if failed is None:
                    raise
                failed(error)
            else:
                if done is not None:
                    done(result)
            if once:
                return
