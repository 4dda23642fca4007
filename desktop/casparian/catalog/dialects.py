"""How a database writes conditions: the one place where the same wish becomes other SQL.

DuckDB's is here; those of servers stand beside their connections (`postgres`, `sqlserver`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from casparian.duck import duck_type, literal

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

TEXTS = ("string", "json")


class Scalar:
    """A value somebody compares with: of a column's type."""

    __slots__ = ("arrow", "number", "text")

    def __init__(
        self, text: str, number: object = None, arrow: pa.Array[Any] | None = None
    ) -> None:
        self.text = text
        """As it is written in SQL between quotes."""
        self.number = number
        """What DuckDB is bound in its place, if not the text."""
        self.arrow = arrow
        """The value alone, of its column's Arrow type; None where that is the text."""


class Dialect(ABC):
    """The SQL of one kind of database, as far as conditions need it."""

    @abstractmethod
    def bound(self, word: str, value: Scalar, at: int) -> tuple[str, object]:
        """The placeholder number *at* (from 1) as a value of that type, and what is bound to it."""

    @abstractmethod
    def written(self, word: str, value: Scalar) -> str:
        """A value written out, as somebody would who types the query."""

    @abstractmethod
    def as_text(self, word: str, place: str) -> str:
        """A value as the text that `contains` and `starts` look at."""

    @abstractmethod
    def match(self, word: str, place: str, text: str, op: str, put: Callable[[str], str]) -> str:
        """Whether a text contains or starts with another, whatever the case.

        Args:
            word: the type of what is looked at.
            place: its text, as SQL.
            text: what to look for.
            op: `contains` or `starts`.
            put: puts a text into the query.
        """

    def compared(self, word: str, place: str) -> str:
        """A value as it is compared and sorted: texts by their code points, in every database."""
        del word
        return place

    def differs(self, place: str, value: str) -> str:
        """Whether a value is there and another one, or is not there."""
        return f"{place} IS DISTINCT FROM {value}"

    def ordered(self, place: str, *, descending: bool, backwards: bool = False) -> str:
        """One key of an order: rows without a value last, or first if all is turned round."""
        direction = "DESC" if descending != backwards else "ASC"
        return f"{place} {direction} NULLS {'FIRST' if backwards else 'LAST'}"

    def nothing(self) -> str:
        """A condition that no row keeps."""
        return "false"


class DuckDb(Dialect):
    """DuckDB's."""

    _BOUND: ClassVar[dict[str, str]] = {
        "boolean": "CAST({} AS BOOLEAN)",
        "date": "CAST({} AS DATE)",
        "time": "CAST({} AS TIME)",
        "timestamp": "make_timestamp(CAST({} AS BIGINT))",
        "timestamp_utc": "make_timestamptz(CAST({} AS BIGINT))",
        "duration": "to_microseconds(CAST({} AS BIGINT))",
        "binary": "unhex({})",
    }
    _WRITTEN: ClassVar[dict[str, str]] = {
        "string": "{}",
        "json": "{}",
        "date": "DATE {}",
        "time": "TIME {}",
        "timestamp": "TIMESTAMP {}",
        "timestamp_utc": "TIMESTAMPTZ {}",
        "binary": "unhex({})",
    }

    @override
    def bound(self, word: str, value: Scalar, at: int) -> tuple[str, object]:
        place = f"${at}"
        given = value.text if value.number is None else value.number
        if word.startswith("decimal"):
            return f"CAST({place} AS {duck_type(word)})", given
        return self._BOUND.get(word, "{}").format(place), given

    @override
    def written(self, word: str, value: Scalar) -> str:
        if word == "duration":
            return f"to_microseconds({value.number})"
        if word in self._WRITTEN:
            return self._WRITTEN[word].format(literal(value.text))
        if word == "float64" and not is_plain_number(value.text):
            return f"CAST({literal(value.text)} AS DOUBLE)"
        return value.text

    @override
    def as_text(self, word: str, place: str) -> str:
        if word in TEXTS:
            return place
        if word == "binary":
            return f"lower(hex({place}))"
        return f"CAST({place} AS VARCHAR)"

    @override
    def match(self, word: str, place: str, text: str, op: str, put: Callable[[str], str]) -> str:
        """Whether a text contains or starts with another, whatever the case.

        Which way is fastest depends on the cells (10 million rows, measured). `lower` is worked out once
        for each value of a dictionary, which makes repetitive columns all but free. Where every cell is
        another, as in JSON, a pattern that ignores case takes half the time of `lower` or ILIKE. What has
        no case, such as an address, needs neither.
        """
        function = "starts_with" if op == "starts" else "contains"
        if not has_case(text):
            return f"{function}({place}, {put(text)})"
        if word == "json":
            pattern = "(?i)" + ("^" if op == "starts" else "") + _escaped(text)
            return f"regexp_matches({place}, {put(pattern)})"
        return f"{function}(lower({place}), lower({put(text)}))"


DUCKDB = DuckDb()


def has_case(text: str) -> bool:
    """Whether a text may be spelled in several ways."""
    return text.upper() != text.lower()


def is_plain_number(text: str) -> bool:
    """Whether a double needs no quotes."""
    return bool(re.fullmatch(r"-?[0-9.]+(e[+-]?[0-9]+)?", text))


def _escaped(text: str) -> str:
    """Text as a pattern that matches just it (RE2's QuoteMeta)."""
    return "".join(_escaped_char(one) for one in text)


def _escaped_char(char: str) -> str:
    if char == "\0":
        return r"\x00"
    return char if char.isalnum() or ord(char) > 127 else f"\\{char}"
