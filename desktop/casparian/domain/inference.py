"""The types of columns that come as text, by elimination: one value that contradicts a type removes it.

Never by majority and never from a sample: a type that is left reads every value of the column. The types
form a tree, and what two of them have in common is where their branches meet:

    int64 -> float64 ─┐
    date -> timestamp ┤
    timestamp_utc     ├-> string
    boolean           │
    json              ┘

Below them all is null, the type of a column that has held no value so far: it becomes whatever comes.
`widen` is that meeting point. Being a tree makes it commutative, associative and idempotent: the order of
batches and of files does not matter. A floor is the type that a table has already; a file may only go up
from there, and only to a type that reads all of its own values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from casparian.domain.types import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

CANDIDATES = ("boolean", "int64", "float64", "date", "timestamp", "timestamp_utc", "string")
"""What a column of delimited text may turn out to be, narrowest first.

Not time and duration, which cannot be told from each other, nor json, which would only forbid more.
"""

_WIDER = {"int64": "float64", "date": "timestamp"}
"""The next type up, where that is not string."""
_NARROWEST_FIRST = (*CANDIDATES[:-1], "json")
_LIKE_HEX = r"^\d+[eE]\d+$"
"""Text such as 12e5 is as likely to be hexadecimal; where a column may be text, it does not make a number."""
_HEAD_ROWS = 32
"""Most columns are plain text, and a few values show it."""


def widen(a: str, b: str) -> str:
    """The narrowest type whose values include those of both."""
    if "null" in (a, b):
        return b if a == "null" else a
    above = _upwards(b)
    return next(word for word in _upwards(a) if word in above)


def _upwards(word: str) -> list[str]:
    path = [word]
    while path[-1] != "string":
        path.append(_WIDER.get(path[-1], "string"))
    return path


class Elimination:
    """What one column may still be.

    Args:
        floor: the type that the column has in its table already; empty for a new table.
    """

    def __init__(self, floor: str = "") -> None:
        self._floor = floor
        self._left: frozenset[str] | None = None

    def see(self, texts: pa.StringArray, types: Iterable[str]) -> None:
        """Remove every type that one of these texts contradicts, and those that were not to be tried."""
        if self._left == frozenset({"string"}):
            return
        words = frozenset(types)
        is_value = pc.is_valid(texts) if words == {"string"} else pc.not_equal(texts, "")
        values = texts.filter(pc.fill_null(is_value, fill_value=False))
        if not len(values):
            return
        if "string" in words and _any_matches(values, _LIKE_HEX):
            words -= {"int64", "float64"}
        tried = frozenset(wider for word in words for wider in _upwards(word)) | {"string"}
        left = tried if self._left is None else self._left & tried
        self._left = frozenset(word for word in left if word == "string" or _holds(word, values))

    def type(self, floor: str = "") -> str:
        """The narrowest type left that is not below the floor; null if there was neither value nor floor.

        Args:
            floor: for a table that was found out only after the values were seen.
        """
        floor = floor or self._floor
        if self._left is None:
            return floor or "null"
        floor = floor.removeprefix("null")
        for word in _NARROWEST_FIRST:
            if word in self._left and (not floor or widen(floor, word) == word):
                return word
        return "string"


def _holds(word: str, values: pa.StringArray) -> bool:
    """Whether every value reads as the type."""
    head = values[:_HEAD_ROWS]
    return _all_read(word, head) and (len(head) == len(values) or _all_read(word, values))


def _all_read(word: str, values: pa.StringArray) -> bool:
    return pc.all(read_text(word, values)[1]).as_py() is True


def _any_matches(values: pa.StringArray, pattern: str) -> bool:
    return pc.any(pc.match_substring_regex(values, pattern)).as_py() is True
