"""Times in text that are finer than the microseconds that a timestamp keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.compute

if TYPE_CHECKING:
    import pyarrow as pa

    from casparian.api import ParseContext

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

_TIME = r"^\d{4,5}-\d\d-\d\d[T ]\d\d:\d\d:\d\d"
_FINER = _TIME + r"\.\d{6}\d*[1-9]"
_HEAD_ROWS = 32


class FinerTimes:
    """Notices the columns of a file that hold such times, to warn of what will be cut."""

    def __init__(self) -> None:
        self._columns: dict[str, None] = {}

    def see(self, rows: pa.RecordBatch) -> None:
        """Look at the columns that may turn out to be times: those whose first values look like it."""
        for field, column in zip(rows.schema, rows.columns, strict=True):
            if (
                field.name in self._columns
                or b"timestamp" not in (field.metadata or {})[b"cf.types"]
            ):
                continue
            head = column.slice(0, _HEAD_ROWS)
            if _any(pc.not_equal(head, "")) and not _any(pc.match_substring_regex(head, _TIME)):
                continue
            if _any(pc.match_substring_regex(column, _FINER)):
                self._columns[field.name] = None

    def tell(self, context: ParseContext) -> None:
        """Warn, if there is anything to warn of."""
        if self._columns:
            context.warn(
                f"Times in {', '.join(self._columns)} have more than six fraction digits; "
                "a column of times keeps microseconds"
            )


def _any(found: Any) -> bool:
    return pc.any(found).as_py() is True
