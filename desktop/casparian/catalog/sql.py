"""How the catalog reads DuckDB: types of results, names as people write them, and errors."""

from __future__ import annotations

import errno
import os
import re
from typing import NamedTuple

from casparian.domain.errors import (
    Cancelled,
    CasparianError,
    EnvironmentProblem,
    UserProblem,
    from_os_error,
)
from casparian.duck import quote, without_glob

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


def reachable(path: str) -> tuple[str, ...]:
    """The spellings under which DuckDB asks whether a file may be read."""
    escaped = without_glob(path)
    return (path,) if escaped == path else (path, escaped)


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
    if os.strerror(errno.ENOSPC) in detail:
        return from_os_error(OSError(errno.ENOSPC, detail), title)
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
