"""What people filter by, as SQL: once with the values bound, to be run, and once written out, to be read."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from typing_extensions import override

from casparian.catalog.dialects import DUCKDB, TEXTS, Scalar
from casparian.domain.errors import UserProblem
from casparian.domain.results import OPERATORS
from casparian.domain.types import read_text
from casparian.duck import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from casparian.catalog.dialects import Dialect
    from casparian.domain.results import ColumnInfo, Filter, Sort

_COMPLETED = {
    "timestamp_utc": ("{}", "{} UTC", "{} 00:00 UTC"),
}
"""What may be left out of a value: an instant is UTC unless it says otherwise."""
_SEARCH_CHARS = 1_000


class Writer(ABC):
    """Puts values into SQL."""

    def __init__(self, dialect: Dialect = DUCKDB) -> None:
        self.dialect = dialect

    @abstractmethod
    def __call__(self, word: str, value: Scalar) -> str:
        """The SQL that stands for a value of a type."""


class Bound(Writer):
    """Writes placeholders, and keeps what they stand for in `values`."""

    def __init__(self, dialect: Dialect = DUCKDB) -> None:
        super().__init__(dialect)
        self.values: list[object] = []

    @override
    def __call__(self, word: str, value: Scalar) -> str:
        place, given = self.dialect.bound(word, value, len(self.values) + 1)
        self.values.append(given)
        return place


class Written(Writer):
    """Writes values out, as somebody would who types the query."""

    @override
    def __call__(self, word: str, value: Scalar) -> str:
        return self.dialect.written(word, value)


def condition(column: ColumnInfo, one: Filter, place: str, write: Writer) -> str:
    """A filter as SQL.

    Args:
        column: the column that it is on.
        one: the filter.
        place: how the column is called in the query.
        write: puts the values in.

    Raises:
        UserProblem: the comparison is unknown, or the value is not of the column's type.
    """
    if one.op not in OPERATORS:
        raise UserProblem(
            f"There is no comparison {one.op!r}", hint=f"Use one of: {', '.join(OPERATORS)}"
        )
    if one.op == "is null":
        return f"{place} IS NULL"
    if one.op == "not null":
        return f"{place} IS NOT NULL"
    if one.op in {"contains", "starts"}:
        seen = write.dialect.as_text(column.type, place)
        return _text_match(column.type, seen, str(one.value), write, one.op)

    if column.type.startswith(("list<", "struct<")):
        raise UserProblem(
            f"{column.name} cannot be compared", f"It holds {column.type}", "Use contains"
        )
    place = write.dialect.compared(column.type, place)
    if one.op == "in":
        values = one.value if isinstance(one.value, tuple | list) else (one.value,)
        wanted = [write(column.type, _scalar(column, value)) for value in values]
        return f"{place} IN ({', '.join(wanted)})" if wanted else write.dialect.nothing()
    value = write(column.type, _scalar(column, one.value))
    if one.op == "!=":
        return write.dialect.differs(place, value)
    return f"{place} {one.op} {value}"


def searching(
    text: str, columns: Iterable[ColumnInfo], place: Callable[[ColumnInfo], str], write: Writer
) -> str:
    """A search as SQL: rows where any text column contains this, or an integer column equals it."""
    found = [
        _text_match(one.type, write.dialect.as_text(one.type, place(one)), text, write, "contains")
        for one in columns
        if one.type in TEXTS
    ]
    if re.fullmatch(r"-?\d{1,18}", text.strip()):
        number = int(text)
        found += [
            f"{place(one)} = {write('int64', Scalar(str(number), number, pa.array([number])))}"
            for one in columns
            if one.type == "int64"
        ]
    return f"({' OR '.join(found)})" if found else write.dialect.nothing()


def ordering(
    dialect: Dialect,
    sorts: Iterable[Sort],
    known: Callable[[str], ColumnInfo],
    place: Callable[[ColumnInfo], str],
    *,
    backwards: bool = False,
) -> str:
    """The keys of an order as SQL; `backwards` for the opposite one."""
    columns = ((known(one.column), one.descending) for one in sorts)
    return ", ".join(
        dialect.ordered(
            dialect.compared(column.type, place(column)),
            descending=descending,
            backwards=backwards,
        )
        for column, descending in columns
    )


def _text_match(word: str, place: str, text: str, write: Writer, op: str) -> str:
    """Contains or starts with, whatever the case."""
    if len(checked(text)) > _SEARCH_CHARS:
        raise UserProblem(
            "The text to look for is too long",
            f"It has {len(text):,} characters",
            "Use a part of it",
        )
    return write.dialect.match(word, place, text, op, lambda text: write("string", Scalar(text)))


def _scalar(column: ColumnInfo, value: object) -> Scalar:
    """Read what somebody compares with as the column's type."""
    word = column.type
    if value is None:
        raise UserProblem(
            f"There is no value to compare {column.name} with", hint="Use “is null” for no value"
        )
    if word in TEXTS:
        return Scalar(checked(str(value)))
    text = checked(_plain(value)).strip()
    for form in _COMPLETED.get(word, ("{}",)):
        values, ok = read_text(word, pa.array([form.format(text)], pa.string()))
        if ok[0].as_py() and values[0].is_valid:
            return _of_arrow(word, values)
    raise UserProblem(
        f"{text[:80]!r} is not a value of {column.name}", f"The column is of the type {word}"
    )


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _of_arrow(word: str, values: pa.Array[Any]) -> Scalar:
    value = values[0]
    if word in {"timestamp", "timestamp_utc", "duration"}:
        # By way of the integer: Python's own times end with the year 9999.
        micros = value.cast(pa.int64()).as_py()
        text = "" if word == "duration" else str(values.cast(pa.string())[0])
        return Scalar(text, micros, values)
    if word in {"int64", "float64"}:
        return Scalar(repr(value.as_py()), value.as_py(), values)
    if word == "binary":
        return Scalar(value.as_py().hex(), arrow=values)
    return Scalar(str(values.cast(pa.string())[0]), arrow=values)
