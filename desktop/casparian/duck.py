"""How this program writes what DuckDB reads: names, text, types and files.

Identifiers are quoted by `quote`, text by `literal`; nothing else in this program builds SQL for DuckDB
from foreign text. Values that people compare with are bound, not written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

from casparian.domain.errors import UserProblem
from casparian.domain.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from casparian.domain.contracts import Column
    from casparian.domain.results import ColumnInfo

STORAGE = "v1.5.0"
"""Files that we make are of this storage version, so that DuckDB 1.5 opens them too."""

_SIMPLE: dict[pa.DataType, str] = {
    pa.bool_(): "BOOLEAN",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.timestamp("us"): "TIMESTAMP",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    # Parquet has no duration: pyarrow writes microseconds as a plain 64-bit integer.
    pa.duration("us"): "BIGINT",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
}
_STORED = {**_SIMPLE, pa.duration("us"): "INTERVAL"}


def quote(identifier: str) -> str:
    """Quote an identifier, whatever is in it.

    Raises:
        UserProblem: it cannot be a name in SQL: it is empty, or holds NUL or a lone surrogate.
    """
    if not identifier or "\0" in identifier:
        raise UserProblem("The name cannot be used", f"{identifier!r} is empty or holds NUL")
    return '"' + checked(identifier).replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write text as an SQL literal, whatever is in it."""
    parts = ["'" + one.replace("'", "''") + "'" for one in checked(text).split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"


def checked(text: str) -> str:
    """Return the text, if it is one.

    Raises:
        UserProblem: it holds a lone surrogate, which has no place in UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserProblem(
            "The text holds half a character",
            f"Character {error.start + 1} of {text[:80]!a} is a lone surrogate; "
            "tables hold whole characters only",
        ) from error
    return text


def duck_type(word: str) -> str:
    """The DuckDB type that holds a type of ours in a Parquet file."""
    return _duck(arrow_type(word), _SIMPLE)


def stored_type(word: str) -> str:
    """The DuckDB type that holds a type of ours in a table of a DuckDB file."""
    return _duck(arrow_type(word), _STORED)


def _duck(arrow: pa.DataType, simple: Mapping[pa.DataType, str]) -> str:
    if arrow in simple:
        return simple[arrow]
    if isinstance(arrow, pa.Decimal128Type):
        return f"DECIMAL({arrow.precision},{arrow.scale})"
    if isinstance(arrow, pa.ListType):
        return f"{_duck(arrow.value_type, simple)}[]"
    if isinstance(arrow, pa.StructType):
        fields = (arrow.field(at) for at in range(arrow.num_fields))
        return (
            f"STRUCT({', '.join(f'{quote(one.name)} {_duck(one.type, simple)}' for one in fields)})"
        )
    raise ValueError(f"no DuckDB type for {arrow}")


def read_parquet(
    columns: Sequence[Column | ColumnInfo], paths: Iterable[str], names: str = ""
) -> str:
    """The table function over exactly these files, bound to these columns.

    Binding by `schema` makes a column of another type an error and a missing one NULL, and costs no
    look into every footer. `allow_empty` is left out on purpose: with it a file of the list that is
    gone is left out without a word (measured on 2.0.0), and a table must not shrink silently.

    Args:
        columns: in the order wanted; a file may hold others.
        paths: absolute.
        names: a prefix to call the columns by, followed by their place: `c` for c0, c1, ...
    """
    bound = ", ".join(
        f"{literal(one.name)}: {{name: {literal(f'{names}{at}' if names else one.name)}, "
        f"type: {literal(duck_type(one.type))}, default_value: NULL}}"
        for at, one in enumerate(columns)
    )
    files = ", ".join(literal(without_glob(one)) for one in paths)
    return f"read_parquet([{files}], schema = MAP {{{bound}}})"


def without_glob(path: str) -> str:
    """DuckDB reads every path as a pattern: put characters that mean something in brackets."""
    return re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", path)
