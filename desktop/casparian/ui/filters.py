"""Filters in words: which comparisons a column's type allows, what people type, and how it reads.

The filter itself is `domain.results.Filter`; what it compares with is checked here, by the same reading of
text as everywhere (`domain.types`), so that a wrong value is told at the field and not by the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from casparian.domain.errors import UserProblem
from casparian.domain.evidence import shown_text
from casparian.domain.results import Filter
from casparian.domain.types import read_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.domain.results import Sort

BETWEEN = "between"
"""Two filters in one: at least the first value, at most the second."""

_LABELS = {
    "contains": "contains",
    "=": "is",
    "!=": "is not",
    "starts": "starts with",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
    BETWEEN: "is between",
    "in": "is one of",
    "is null": "is null",
    "not null": "is not null",
}
_TIME_LABELS = {"<": "is before", ">": "is after", "<=": "is not after", ">=": "is not before"}
_TEXT = ("contains", "=", "!=", "starts", "in", "is null", "not null")
_ORDERED = ("=", "!=", "<", "<=", ">", ">=", BETWEEN, "in", "is null", "not null")
_BOOLEAN = ("=", "is null", "not null")
_OTHER = ("is null", "not null")
_TIMES = ("date", "time", "timestamp", "timestamp_utc", "duration")
_MOST_SHOWN = 60


def comparisons(word: str) -> tuple[tuple[str, str], ...]:
    """Return the comparisons that make sense for a type, as (operator, what people read)."""
    if word in {"string", "json"}:
        operators: tuple[str, ...] = _TEXT
    elif word in _TIMES or word.startswith(("int", "float", "decimal")):
        operators = _ORDERED
    else:
        operators = _BOOLEAN if word == "boolean" else _OTHER
    labels = _LABELS | _TIME_LABELS if word in _TIMES else _LABELS
    return tuple((one, labels[one]) for one in operators)


def takes_value(operator: str) -> bool:
    """Whether the comparison compares with something."""
    return operator not in {"is null", "not null"}


def made(column: str, word: str, operator: str, text: str, text_to: str = "") -> tuple[Filter, ...]:
    """Return the filters that somebody asked for.

    Args:
        column: its name.
        word: its type.
        operator: one of `comparisons(word)`.
        text: what was typed; for `in` the values are separated by commas or lines.
        text_to: the second value of `between`.

    Raises:
        UserProblem: a value is not of the column's type.
    """
    if not takes_value(operator):
        return (Filter(column, operator, None),)
    if operator == BETWEEN:
        low, high = _value(column, word, text), _value(column, word, text_to)
        return (Filter(column, ">=", low), Filter(column, "<=", high))
    if operator == "in":
        parts = [one.strip() for one in text.replace("\n", ",").split(",")]
        values = tuple(_value(column, word, one) for one in parts if one)
        if not values:
            raise UserProblem("No value was given", hint="Type one or more, separated by commas")
        return (Filter(column, "in", values),)
    return (Filter(column, operator, _value(column, word, text)),)


def _value(column: str, word: str, text: str) -> str:
    if word in {"string", "json"}:
        return text
    typed = _completed(word, text.strip())
    values, ok = read_text(word, pa.array([typed], pa.string()))
    if not ok[0].as_py() or not values[0].is_valid:
        raise UserProblem(
            f"{text.strip()!r} is not a value of {column}",
            f"The column holds {_EXAMPLES.get(word.partition('(')[0], word)}",
        )
    return typed


_EXAMPLES = {
    "int64": "whole numbers, such as 4624",
    "float64": "numbers, such as 0.5",
    "decimal": "numbers, such as 12.50",
    "boolean": "true or false",
    "date": "dates, such as 2022-03-10",
    "time": "times of day, such as 16:33:50",
    "timestamp": "times, such as 2022-03-10 16:33:50",
    "timestamp_utc": "times, such as 2022-03-10 16:33:50 UTC",
    "duration": "durations, such as 01:30:00",
}


def _completed(word: str, text: str) -> str:
    """Write out what people leave away: the time of a day, and that it is UTC."""
    if word == "timestamp_utc":
        bare = text.removesuffix("UTC").removesuffix("Z").strip()
        if bare.count("-") == 2 and ":" not in bare:
            return f"{bare} 00:00 UTC"
        return f"{bare} UTC" if bare != text or not _has_zone(text) else text
    return text.lower() if word == "boolean" else text


def _has_zone(text: str) -> bool:
    time = text.partition(":")[2]
    return "+" in time or "-" in time


def in_words(one: Filter, word: str = "string") -> str:
    """Return a filter as people read it: `event_id is 4624`."""
    labels = _LABELS | _TIME_LABELS if word in _TIMES else _LABELS
    said = f"{one.column} {labels.get(one.op, one.op)}"
    if not takes_value(one.op):
        return shown_text(said)
    if one.op == "in" and isinstance(one.value, tuple):
        value = ", ".join(str(each) for each in one.value)
    else:
        value = f"“{one.value}”" if word in {"string", "json"} else str(one.value)
    if len(value) > _MOST_SHOWN:
        value = f"{value[:_MOST_SHOWN]}…"
    return shown_text(f"{said} {value}")


def sort_in_words(sort: Sequence[Sort]) -> str:
    """Return what rows are sorted by: `sorted by time ↓, event_id ↑`."""
    keys = ", ".join(f"{one.column} {'↓' if one.descending else '↑'}" for one in sort)
    return shown_text(f"sorted by {keys}") if keys else ""
