"""What people filter by, as SQL: once with the values bound, to be run, and once written out, to be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pyarrow as pa

from casparian.domain.errors import UserProblem
from casparian.domain.results import OPERATORS
from casparian.domain.types import read_text
from casparian.duck import checked, duck_type, literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from casparian.domain.results import ColumnInfo, Filter

_TEXT = ("string", "json")
_COMPLETED = {
    "timestamp_utc": ("{}", "{} UTC", "{} 00:00 UTC"),
}
"""What may be left out of a value: an instant is UTC unless it says otherwise."""
_SEARCH_CHARS = 1_000


class Writer(Protocol):
    """Puts a value into SQL."""

    def __call__(self, word: str, value: Scalar) -> str:
        """The SQL that stands for a value of a type."""


class Scalar:
    """A value somebody compares with: of a column's type."""

    __slots__ = ("number", "text")

    def __init__(self, text: str, number: object = None) -> None:
        self.text = text
        """As it is written in SQL between quotes."""
        self.number = number
        """What is bound in its place, if not the text."""


class Bound:
    """Writes placeholders, and keeps what they stand for in `values`."""

    _CASTS: ClassVar[dict[str, str]] = {
        "boolean": "CAST({} AS BOOLEAN)",
        "date": "CAST({} AS DATE)",
        "time": "CAST({} AS TIME)",
        "timestamp": "make_timestamp(CAST({} AS BIGINT))",
        "timestamp_utc": "make_timestamptz(CAST({} AS BIGINT))",
        "duration": "to_microseconds(CAST({} AS BIGINT))",
        "binary": "unhex({})",
    }

    def __init__(self) -> None:
        self.values: list[object] = []

    def __call__(self, word: str, value: Scalar) -> str:
        """Return a placeholder, cast to the type where that is not plain."""
        self.values.append(value.text if value.number is None else value.number)
        place = f"${len(self.values)}"
        if word.startswith("decimal"):
            return f"CAST({place} AS {duck_type(word)})"
        return self._CASTS.get(word, "{}").format(place)


class Written:
    """Writes values out, as somebody would who types the query."""

    _FORMS: ClassVar[dict[str, str]] = {
        "string": "{}",
        "json": "{}",
        "date": "DATE {}",
        "time": "TIME {}",
        "timestamp": "TIMESTAMP {}",
        "timestamp_utc": "TIMESTAMPTZ {}",
        "binary": "unhex({})",
    }

    def __call__(self, word: str, value: Scalar) -> str:
        """Return the value as SQL."""
        if word == "duration":
            return f"to_microseconds({value.number})"
        if word in self._FORMS:
            return self._FORMS[word].format(literal(value.text))
        if word == "float64" and not re.fullmatch(r"-?[0-9.]+(e[+-]?[0-9]+)?", value.text):
            return f"CAST({literal(value.text)} AS DOUBLE)"
        return value.text


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
        return _text_match(column.type, _as_text(column.type, place), str(one.value), write, one.op)

    if column.type.startswith(("list<", "struct<")):
        raise UserProblem(
            f"{column.name} cannot be compared", f"It holds {column.type}", "Use contains"
        )
    if one.op == "in":
        values = one.value if isinstance(one.value, tuple | list) else (one.value,)
        return _any_of(place, [write(column.type, _scalar(column, value)) for value in values])
    value = write(column.type, _scalar(column, one.value))
    if one.op == "!=":
        return f"{place} IS DISTINCT FROM {value}"
    return f"{place} {one.op} {value}"


def searching(
    text: str, columns: Iterable[ColumnInfo], place: Callable[[ColumnInfo], str], write: Writer
) -> str:
    """A search as SQL: rows where any text column contains this, or an integer column equals it."""
    found = [
        _text_match(one.type, place(one), text, write, "contains")
        for one in columns
        if one.type in _TEXT
    ]
    if re.fullmatch(r"-?\d{1,18}", text.strip()):
        number = int(text)
        found += [
            f"{place(one)} = {write('int64', Scalar(str(number), number))}"
            for one in columns
            if one.type == "int64"
        ]
    return f"({' OR '.join(found)})" if found else "false"


def _any_of(place: str, values: list[str]) -> str:
    return f"{place} IN ({', '.join(values)})" if values else "false"


def _as_text(word: str, place: str) -> str:
    if word in _TEXT:
        return place
    if word == "binary":
        return f"lower(hex({place}))"
    return f"CAST({place} AS VARCHAR)"


def _text_match(word: str, place: str, text: str, write: Writer, op: str) -> str:
    """Contains or starts with, whatever the case.

    Which way is fastest depends on the cells (10 million rows, measured). `lower` is worked out once for
    each value of a dictionary, which makes repetitive columns all but free. Where every cell is another,
    as in JSON, a pattern that ignores case takes half the time of `lower` or ILIKE. What has no case,
    such as an address, needs neither.
    """
    if len(checked(text)) > _SEARCH_CHARS:
        raise UserProblem(
            "The text to look for is too long",
            f"It has {len(text):,} characters",
            "Use a part of it",
        )
    starts = op == "starts"
    function = "starts_with" if starts else "contains"
    if text.upper() == text.lower():
        return f"{function}({place}, {write('string', Scalar(text))})"
    if word == "json":
        pattern = "(?i)" + ("^" if starts else "") + _escaped(text)
        return f"regexp_matches({place}, {write('string', Scalar(pattern))})"
    return f"{function}(lower({place}), lower({write('string', Scalar(text))}))"


def _escaped(text: str) -> str:
    """Text as a pattern that matches just it (RE2's QuoteMeta)."""
    return "".join(_escaped_char(one) for one in text)


def _escaped_char(char: str) -> str:
    if char == "\0":
        return r"\x00"
    return char if char.isalnum() or ord(char) > 127 else f"\\{char}"


def _scalar(column: ColumnInfo, value: object) -> Scalar:
    """Read what somebody compares with as the column's type."""
    word = column.type
    if value is None:
        raise UserProblem(
            f"There is no value to compare {column.name} with", hint="Use “is null” for no value"
        )
    if word in _TEXT:
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
        return Scalar(text, micros)
    if word in {"int64", "float64"}:
        return Scalar(repr(value.as_py()), value.as_py())
    if word == "binary":
        return Scalar(value.as_py().hex())
    return Scalar(str(values.cast(pa.string())[0]))
