"""How the catalog speaks to DuckDB: names, values, types, files, and what its errors mean to people.

Identifiers are quoted by `quote`, text by `literal`; nothing else in this program builds SQL from foreign
text. Values that people compare with are bound, not written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casparian.domain.contracts import Column
    from casparian.domain.results import ColumnInfo

_SIMPLE = {
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

_WORD_OF_DUCK = {
    "BOOLEAN": "boolean",
    "DOUBLE": "float64",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp_utc",
    "VARCHAR": "string",
    "JSON": "json",
    "BLOB": "binary",
    "BIGINT": "int64",
}
"""Types that arrive in Arrow as ours are. They need no cast."""

_WIDENED = {
    "FLOAT": ("float64", "DOUBLE"),
    "HUGEINT": ("decimal(38,0)", "DECIMAL(38,0)"),
    "INTEGER": ("int64", "BIGINT"),
    "SMALLINT": ("int64", "BIGINT"),
    "TINYINT": ("int64", "BIGINT"),
    "UBIGINT": ("decimal(20,0)", "DECIMAL(20,0)"),
    "UINTEGER": ("int64", "BIGINT"),
    "USMALLINT": ("int64", "BIGINT"),
    "UTINYINT": ("int64", "BIGINT"),
}
"""Types that a wider one of ours holds exactly."""

_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


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
    return _duck(arrow_type(word))


def _duck(arrow: pa.DataType) -> str:
    if arrow in _SIMPLE:
        return _SIMPLE[arrow]
    if isinstance(arrow, pa.Decimal128Type):
        return f"DECIMAL({arrow.precision},{arrow.scale})"
    if isinstance(arrow, pa.ListType):
        return f"{_duck(arrow.value_type)}[]"
    if isinstance(arrow, pa.StructType):
        fields = (arrow.field(at) for at in range(arrow.num_fields))
        return f"STRUCT({', '.join(f'{quote(one.name)} {_duck(one.type)}' for one in fields)})"
    raise ValueError(f"no DuckDB type for {arrow}")


class Shape(NamedTuple):
    """How a column of a query's result is shown."""

    word: str
    cast: str
    """The type to cast it to first; empty if it is of that type already."""


def shape_of(duck: str) -> Shape:
    """How to show a DuckDB type: as the type of ours that holds it exactly, else as its text."""
    if duck in _WORD_OF_DUCK:
        return Shape(_WORD_OF_DUCK[duck], "")
    if duck in _WIDENED:
        return Shape(*_WIDENED[duck])
    if found := _DECIMAL.fullmatch(duck):
        return Shape(f"decimal({found[1]},{found[2]})", "")
    if duck.endswith("[]") and not (inner := shape_of(duck[:-2])).cast:
        return Shape(f"list<{inner.word}>", "")
    return Shape("string", "VARCHAR")


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
    files = ", ".join(literal(_without_glob(one)) for one in paths)
    return f"read_parquet([{files}], schema = MAP {{{bound}}})"


def reachable(path: str) -> tuple[str, ...]:
    """The spellings under which DuckDB asks whether a file may be read."""
    escaped = _without_glob(path)
    return (path,) if escaped == path else (path, escaped)


def _without_glob(path: str) -> str:
    """DuckDB reads every path as a pattern: put characters that mean something in brackets."""
    return re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", path)


def readable(identifier: str, keywords: frozenset[str]) -> str:
    """An identifier as people write it: quoted only where it must be."""
    plain = _PLAIN.fullmatch(identifier) and identifier not in keywords
    return identifier if plain else quote(identifier)


_USER = frozenset(
    {
        "Binder",
        "Catalog",
        "Constraint",
        "Conversion",
        "Decimal",
        "Divide by Zero",
        "Invalid Input",
        "Invalid Type",
        "Mismatch Type",
        "Not implemented",
        "Out of Range",
        "Parser",
        "Sequence",
        "Syntax",
    }
)
"""What DuckDB's messages begin with when the statement is at fault."""


def from_duckdb(error: Exception, title: str) -> CasparianError:
    """Turn an error of DuckDB into one of ours; the detail keeps its `LINE n:` and caret.

    The message tells the kind and the class does not: what fails while a result streams arrives by way
    of Arrow, as an OSError.
    """
    kind, found, detail = str(error).partition(" Error: ")
    if not found:
        kind, detail = "", str(error)
    if kind == "INTERRUPT":
        return Cancelled("The query")
    if kind == "Permission":
        return UserProblem(
            "This is not allowed here", detail, "A query may read the tables of the catalog only"
        )
    if kind == "Out of Memory":
        return EnvironmentProblem(
            "The query needs more memory or temporary space than it may have",
            detail,
            "Select fewer columns or rows, or raise query_memory_mb in the settings",
        )
    if kind == "IO" or _is_damage(detail):
        return EnvironmentProblem(title, detail, "Check that the output files are there and whole")
    if kind in _USER:
        return UserProblem(title, detail)
    return EnvironmentProblem(title, detail, "Close the results and open them again")


def is_fatal(error: Exception) -> bool:
    """Whether DuckDB has given up on the whole database, not on one query."""
    return str(error).startswith(("FATAL Error", "INTERNAL Error"))


def _is_damage(detail: str) -> bool:
    return ".parquet" in detail and any(
        one in detail
        for one in ("magic bytes", "too small to be", "Error while reading file", "corrupt")
    )
