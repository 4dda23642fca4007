"""A cell as text, in SQL: what CSV, JSON and spreadsheets hold for each type.

Rows are turned into text by the engine: on all cores, and for times of any year, where Python's own times
end with 9999. The forms are those that `domain.types` reads, so what the program writes, it can read
again. Times are ISO 8601 with six digits of a second, and `Z` where they are UTC.

Most functions take a type's word and a place, which is SQL for the value, and return SQL.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pyarrow as pa

from casparian.domain.types import arrow_type, word_of
from casparian.duck import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casparian.domain.results import ColumnInfo

_DAY_US = 86_400_000_000
_ISO = "%Y-%m-%dT%H:%M:%S.%f"
_TEXT = ("string", "json")
_NESTED = ("list<", "struct<")

_FORMS = {
    "string": "{0}",
    "json": "{0}",
    "float64": "CASE WHEN isfinite({0}) THEN CAST({0} AS VARCHAR) WHEN isnan({0}) THEN 'NaN'"
    " WHEN {0} > 0 THEN 'Infinity' WHEN {0} < 0 THEN '-Infinity' END",
    "time": "strftime(DATE '1970-01-01' + {0}, '%H:%M:%S.%f')",
    "timestamp": f"strftime({{0}}, '{_ISO}')",
    "timestamp_utc": f"strftime({{0}}, '{_ISO}Z')",
    "duration": "CASE WHEN {0} < 0 THEN '-' ELSE '' END"
    f" || CASE WHEN abs({{0}}) >= {_DAY_US} THEN abs({{0}}) // {_DAY_US} || '.' ELSE '' END"
    f" || strftime(make_timestamp(abs({{0}}) % {_DAY_US}), '%H:%M:%S.%f')",
    "binary": "lower(hex({0}))",
}
"""The text of simple types; the others write themselves."""

XLSX_CELL_CHARS = 32_767
"""What a cell of a spreadsheet holds, in UTF-16 code units."""
_XLSX_EXACT = 999_999_999_999_999
"""Spreadsheets keep 15 digits of a number; a longer one is written as text, which keeps them all."""

_NO_NUMBER = r"(?i)(^|[:,\[])\s*-?(nan|inf)"
"""What DuckDB takes for JSON and nobody else does."""

_FORMULA_STARTS = r"^[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001  (the full-width forms are meant)
"""What makes spreadsheets take a cell for a formula (OWASP, CSV injection)."""

_CONTROLS = [chr(at) for at in range(32) if chr(at) not in "\t\n"] + ["\ufffe", "\uffff"]
"""Characters that XML cannot hold, and CR, which it does not keep."""


def text(word: str, place: str) -> str:
    """The text of a value; NULL stays NULL."""
    if word.startswith(_NESTED):
        return json(word, place)
    return _FORMS.get(word, "CAST({0} AS VARCHAR)").format(place)


def json(word: str, place: str) -> str:
    """The value as JSON on one line; NULL stays NULL. What JSON has no form for is a string.

    Text that is JSON is put in as it is. White space in it may hold line breaks, and only there can they
    stand; they become blanks.
    """
    if word == "string":
        return f"CAST(to_json({place}) AS VARCHAR)"
    if word == "json":
        one_line = f"translate({place}, chr(10) || chr(13), '  ')"
        valid = f"json_valid({place}) AND NOT regexp_matches({place}, {literal(_NO_NUMBER)})"
        return f"CASE WHEN {valid} THEN {one_line} ELSE CAST(to_json({place}) AS VARCHAR) END"
    if word.startswith("list<"):
        each = f"e{word.count('<')}"  # lambdas within lambdas need names of their own
        inner = f"list_transform({place}, lambda {each}: {_or_null(json(word[5:-1], each))})"
        joined = f"coalesce(list_aggregate({inner}, 'string_agg', ','), '')"
        return f"CASE WHEN {place} IS NOT NULL THEN '[' || {joined} || ']' END"
    if word.startswith("struct<"):
        return _struct(word, place)
    if word in {"boolean", "int64"} or word.startswith("decimal"):
        return text(word, place)
    if word == "float64":
        return (
            f"CASE WHEN isfinite({place}) THEN CAST({place} AS VARCHAR)"
            f" ELSE '\"' || {text(word, place)} || '\"' END"
        )
    return f"'\"' || {text(word, place)} || '\"'"


def json_row(columns: Sequence[ColumnInfo], places: Sequence[str]) -> str:
    """The row as a JSON object."""
    parts = []
    for column, place in zip(columns, places, strict=True):
        name = f"CAST(to_json({literal(column.name)}) AS VARCHAR) || ':'"
        parts += [name, _or_null(json(column.type, place))]
    return f"concat('{{', {_joined(parts)}, '}}')"


def csv_row(columns: Sequence[ColumnInfo], places: Sequence[str], *, safe: bool) -> str:
    """The row as a line of CSV (RFC 4180), without its end.

    NULL is nothing; text and bytes that are there but empty are `""`.
    """
    parts = []
    for column, place in zip(columns, places, strict=True):
        cell = text(column.type, place)
        if column.type in _TEXT:
            if safe:
                cell = f"(CASE WHEN {is_formula(place)} THEN '''' || {place} ELSE {place} END)"
            cell = _quoted(cell)
        elif column.type == "binary" or column.type.startswith(_NESTED):
            cell = _quoted(cell)
        parts.append(f"coalesce({cell}, '')")
    return f"concat({', '.join(_between(parts, _COMMA))})"


def csv_name(name: str, *, safe: bool) -> str:
    """The name of a column, as `csv_row` writes text."""
    if safe and re.match(_FORMULA_STARTS, name):
        name = f"'{name}"
    special = not name or any(one in name for one in '",\r\n')
    return '"' + name.replace('"', '""') + '"' if special else name


def is_formula(place: str) -> str:
    """Whether a spreadsheet would take the text for a formula."""
    return f"regexp_matches({place}, {literal(_FORMULA_STARTS)})"


def formulas(columns: Sequence[ColumnInfo], places: Sequence[str]) -> str:
    """How many cells of the row `csv_row` changes when it is to be safe."""
    return _count(is_formula(place) for column, place in _texts(columns, places))


def xlsx_row(columns: Sequence[ColumnInfo], places: Sequence[str]) -> str:
    """The row as XML of a sheet. Every cell is a number, a boolean or text, never a formula."""
    cells = [
        f"coalesce({_xlsx_cell(column.type, place)}, '<c/>')"
        for column, place in zip(columns, places, strict=True)
    ]
    return f"concat('<row>', {', '.join(cells)}, '</row>')"


def xml_text(text: str) -> str:
    """Text in XML, as `xlsx_row` writes it."""
    text = escape(text[:XLSX_CELL_CHARS])
    text = re.sub(r"_(x[0-9A-Fa-f]{4})", r"_x005F_\1", text)
    for char in _CONTROLS:
        text = text.replace(char, f"_x{ord(char):04X}_")
    return text


def cut_cells(columns: Sequence[ColumnInfo], places: Sequence[str]) -> str:
    """How many cells of the row `xlsx_row` has to cut."""
    long = (
        _is_long(text(column.type, place)) for column, place in _texts(columns, places, nested=True)
    )
    return _count(long)


def _texts(
    columns: Sequence[ColumnInfo], places: Sequence[str], *, nested: bool = False
) -> list[tuple[ColumnInfo, str]]:
    """The columns whose cells may be long or hold anything."""
    words = (*_TEXT, "binary") if nested else _TEXT
    return [
        (column, place)
        for column, place in zip(columns, places, strict=True)
        if column.type in words or (nested and column.type.startswith(_NESTED))
    ]


def _count(conditions: Iterable[str]) -> str:
    return " + ".join(f"coalesce(CAST({one} AS BIGINT), 0)" for one in conditions) or "0"


_COMMA = "','"


def _between(parts: Sequence[str], comma: str) -> list[str]:
    out: list[str] = []
    for part in parts:
        out += [comma, part] if out else [part]
    return out


def _quoted(cell: str) -> str:
    # Four searches for one character are twice as fast as one pattern.
    special = " OR ".join(
        f"contains({cell}, {one})" for one in ("'\"'", "','", "chr(10)", "chr(13)")
    )
    doubled = f"'\"' || replace({cell}, '\"', '\"\"') || '\"'"
    return f"CASE WHEN {special} OR {cell} = '' THEN {doubled} ELSE {cell} END"


def _or_null(value: str) -> str:
    return f"coalesce({value}, 'null')"


def _struct(word: str, place: str) -> str:
    arrow = arrow_type(word)
    assert isinstance(arrow, pa.StructType)  # noqa: S101  (the word says so)
    parts = []
    for at in range(arrow.num_fields):
        name = literal(arrow.field(at).name)
        value = json(word_of(arrow.field(at).type), f"struct_extract({place}, {name})")
        parts += [f"CAST(to_json({name}) AS VARCHAR) || ':'", _or_null(value)]
    return f"CASE WHEN {place} IS NOT NULL THEN concat('{{', {_joined(parts)}, '}}') END"


def _joined(parts: Sequence[str]) -> str:
    """Names and values in turn, with a comma before every name but the first."""
    return ", ".join(
        f"',', {part}" if at and at % 2 == 0 else part for at, part in enumerate(parts)
    )


def _xlsx_cell(word: str, place: str) -> str:
    number = f"'<c><v>' || CAST({place} AS VARCHAR) || '</v></c>'"
    plain = f"'<c t=\"inlineStr\"><is><t>' || {text(word, place)} || '</t></is></c>'"
    if word == "boolean":
        return f"'<c t=\"b\"><v>' || CAST(CAST({place} AS TINYINT) AS VARCHAR) || '</v></c>'"
    if word == "int64":
        return f"CASE WHEN {place} BETWEEN -{_XLSX_EXACT} AND {_XLSX_EXACT} THEN {number} ELSE {plain} END"
    if word.startswith("decimal"):
        digits = f"length(regexp_replace(CAST({place} AS VARCHAR), '[^0-9]', '', 'g'))"
        return f"CASE WHEN {digits} <= {len(str(_XLSX_EXACT))} THEN {number} ELSE {plain} END"
    if word == "float64":
        return f"CASE WHEN isfinite({place}) THEN {number} ELSE {plain} END"
    if word in (*_TEXT, "binary") or word.startswith(_NESTED):
        cell = _xml(_cut(text(word, place)))
        return f"'<c t=\"inlineStr\"><is><t xml:space=\"preserve\">' || {cell} || '</t></is></c>'"
    return plain


def _astral(cell: str) -> str:
    """How many characters lie beyond the first plane: each takes two UTF-16 code units."""
    return f"length(regexp_replace({cell}, '[^\\x{{10000}}-\\x{{10FFFF}}]', '', 'g'))"


def _is_long(cell: str) -> str:
    # A text of no more bytes than the limit has no more units either: the rest is rarely asked.
    return (
        f"CASE WHEN strlen({cell}) <= {XLSX_CELL_CHARS} THEN false"
        f" ELSE length({cell}) + {_astral(cell)} > {XLSX_CELL_CHARS} END"
    )


def _cut(cell: str) -> str:
    """The beginning of a text that fits; with many characters of two units not quite all that would."""
    head = f"left({cell}, {XLSX_CELL_CHARS})"
    kept = f"greatest({XLSX_CELL_CHARS} - {_astral(head)}, {XLSX_CELL_CHARS // 2})"
    return f"CASE WHEN {_is_long(cell)} THEN left({cell}, {kept}) ELSE {cell} END"


def _xml(cell: str) -> str:
    """Text in XML: characters that XML has no place for are written `_x0001_` (ECMA-376, 22.9.2.19)."""
    plain = f"replace(replace(replace({cell}, '&', '&amp;'), '<', '&lt;'), '>', '&gt;')"
    # What looks like such a sequence already must not be read as one.
    escaped = f"regexp_replace({plain}, '_(x[0-9A-Fa-f]{{4}})', '_x005F_\\1', 'g')"
    for char in _CONTROLS:
        escaped = f"replace({escaped}, chr({ord(char)}), '_x{ord(char):04X}_')"
    odd = literal(r"_x|[\x00-\x08\x0b-\x1f\x{FFFE}\x{FFFF}]")
    return (
        f"CASE WHEN regexp_matches({cell}, {odd}) THEN {escaped}"
        f" WHEN regexp_matches({cell}, '[&<>]') THEN {plain} ELSE {cell} END"
    )
