"""What the command line prints: tables, JSON, and sentences on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from casparian.domain.errors import Cancelled
from casparian.domain.evidence import shown_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.domain.errors import CasparianError


def print_rows(
    rows: Sequence[dict[str, Any]], *, as_json: bool, hidden: Sequence[str] = ()
) -> None:
    """Print records as a table, or as JSON; `hidden` are in the JSON only."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        print("nothing yet")
        return
    names = [name for name in rows[0] if name not in hidden]
    texts = [[_cell(row[name]) for name in names] for row in rows]
    print_columns(names, texts, [isinstance(rows[0][name], int) for name in names])


def print_columns(names: list[str], texts: Sequence[Sequence[str]], right: list[bool]) -> None:
    """Print lines of texts below their names, aligned; `right` says which columns go to the right."""
    widths = [max(len(line[at]) for line in (names, *texts)) for at in range(len(names))]
    for line in (names, *texts):
        cells = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        )
        print("  ".join(cells).rstrip())


def texts(column: pa.ChunkedArray[Any]) -> list[str]:
    """The cells of a column as text; Arrow's own cast knows times of any year."""
    try:
        column = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return ["" if value is None else shown_text(str(value)) for value in column.to_pylist()]
    return ["" if value is None else shown_text(value) for value in column.to_pylist()]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return shown_text(str(value))


def print_json(value: object) -> None:
    """Print a value as one line of JSON, as UTF-8 whatever the terminal's encoding is."""
    # A lone surrogate has no place in UTF-8: JSON's own escape keeps it.
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value)
    sys.stdout.buffer.write(text.encode() + b"\n")
    sys.stdout.flush()


def say(error: CasparianError) -> None:
    """Tell what went wrong: title, detail and hint on lines of their own."""
    if isinstance(error, Cancelled):
        tell(str(error))
        return
    tell(error.title)
    for line in f"{error.detail}\n{error.hint}".splitlines():
        if line:
            tell(f"  {line}")


def tell(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(shown_text(text) + "\n")
