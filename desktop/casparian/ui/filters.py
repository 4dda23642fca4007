"""Filters in words: which comparisons a column's type allows, what people type, and how it reads.

The filter itself is `domain.results.Filter`, and `catalog.conditions` makes SQL of it. What people type is
checked by that when it is typed, so that a wrong value is told at the field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casparian.catalog.conditions import Written, condition
from casparian.domain.errors import UserProblem
from casparian.domain.evidence import shown_text
from casparian.domain.results import Filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.domain.results import ColumnInfo, Sort

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
_ORDERED = ("=", "!=", "<", "<=", ">", ">=", BETWEEN, "in", "contains", "is null", "not null")
_BOOLEAN = ("=", "!=", "is null", "not null")
_OTHER = ("contains", "is null", "not null")
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


def made(column: ColumnInfo, operator: str, text: str, text_to: str = "") -> tuple[Filter, ...]:
    """Return the filters that somebody asked for.

    Args:
        column: what is compared.
        operator: one of `comparisons(column.type)`.
        text: what was typed; for `in` the values are separated by commas or lines.
        text_to: the second value of `between`.

    Raises:
        UserProblem: a value is not of the column's type.
    """
    if operator == BETWEEN:
        wanted: tuple[Filter, ...] = (
            Filter(column.name, ">=", text),
            Filter(column.name, "<=", text_to),
        )
    elif operator == "in":
        values = tuple(one.strip() for one in text.replace("\n", ",").split(",") if one.strip())
        if not values:
            raise UserProblem("No value was given", hint="Type one or more, separated by commas")
        wanted = (Filter(column.name, "in", values),)
    else:
        wanted = (Filter(column.name, operator, text if takes_value(operator) else None),)
    for one in wanted:
        _check(column, one)
    return wanted


def _check(column: ColumnInfo, one: Filter) -> None:
    """Let the catalog read the value now, so that a wrong one is told at the field."""
    try:
        condition(column, one, column.name, Written())
    except UserProblem as problem:
        example = _EXAMPLES.get(column.type.partition("(")[0])
        raise UserProblem(
            problem.title, f"The column holds {example}" if example else problem.detail
        ) from problem


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
