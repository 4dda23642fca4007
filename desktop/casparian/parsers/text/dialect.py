"""How a file of delimited text is laid out: delimiter, quotes, header, and the directives of log formats.

The delimiter is the one that gives most records the same number of fields, the first record included;
among equals, the usual one. A header is taken for granted unless the values speak against it: the first
record holds numbers or times exactly where the records below it do, and nowhere a word above them. Lines
before the header are told from it by having far fewer fields than the table.

Zeek logs and W3C extended logs (IIS, Exchange, proxies) name their fields in directives, lines that
begin with `#`, and leave nothing to be detected.

References:
    RFC 4180 (quotes, doubled quotes, line ends); https://www.w3.org/TR/WD-logfile;
    https://docs.zeek.org/en/current/log-formats.html
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, replace
from io import StringIO
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import _csv
    from collections.abc import Iterable

csv.field_size_limit(2**31 - 1)

_USUAL = ",;\t|"
_UNUSUAL = "\x1f\x01^~"
_NEVER = "\x1f"
"""The delimiter of a table of one column: whatever else is in a line belongs to the value."""
_BLANK = " \t\r\n"
_SAMPLE_LINES = 1000
_SAMPLE_CHARS = 256 * 1024
_SHARE = 0.5
"""So many of the records must have the same number of fields, or there is no delimiter."""
_SHARE_WITH_HEADER = 0.3
_MOST_TITLES = 20
_NO_HEADER = "There is no header; the columns are numbered"
_DAY = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
_HOUR = r"\d{1,2}:\d\d(?::\d\d)?\S*(?: [AP]M)?"
_KINDS = (
    ("number", re.compile(r"[-+]?(?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][-+]?\d+)?%?")),
    ("hex", re.compile(r"0[xX][0-9a-fA-F]+|[0-9a-fA-F]{32,128}")),
    ("guid", re.compile(r"\{?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}?")),
    ("time", re.compile(rf"{_DAY}[T ]?(?:{_HOUR})?|{_HOUR}")),
    (
        "address",
        re.compile(
            r"\d{1,3}(?:\.\d{1,3}){3}(?:[:/]\d+)?|(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}"
        ),
    ),
    ("boolean", re.compile("(?i:true|false|yes|no)")),
)
"""What values may look like where headings would not, as far as it takes to tell a header."""
_LONGEST_HEADING = 200
_SINGLE_NAME = re.compile(r"[^\W\d][\w .#/()\[\]-]{0,63}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What separates fields, and what encloses them."""

    delimiter: str
    quote: str = '"'
    """Empty if quotes mean nothing."""
    skip_space: bool = False
    """Whether a blank after a delimiter is no part of the field."""


@dataclass(frozen=True, slots=True)
class Form:
    """How to read a file."""

    dialect: Dialect
    headings: tuple[str, ...]
    """What the file calls its columns; empty texts where it has no header."""
    first_line: int
    """The line on which the records begin, from 1."""
    directives: bool = False
    """Whether lines beginning with `#` are not records."""
    types: tuple[str, ...] = ()
    """The type of each column in the format's own words, where it says so (Zeek)."""
    null: str = ""
    """How the format writes that there is no value."""
    empty: str = ""
    """How the format writes that the value is empty."""
    notes: tuple[str, ...] = ()
    """Sentences on what was decided that people may want to know."""


@dataclass(slots=True)
class Split:
    """Lines as records."""

    rows: list[list[str]]
    """Records of the expected width."""
    starts: list[int]
    """The index of each row's first line."""
    bad: list[tuple[int, int, int]]
    """Records of another width: index of the first line, of the one behind the last, number of fields;
    none (0) where the quotes do not close or are not followed by a delimiter."""
    done: int
    """Index of the first line that was not used, since its record may go on behind the last."""


def lines_of(text: str) -> list[str]:
    """The lines with their ends; only a line feed ends one."""
    return list(StringIO(text, newline="\n"))


def split(lines: list[str], dialect: Dialect, width: int, *, at_end: bool) -> Split:
    """Make records of lines, any of which may be spread over several by quotes.

    An error costs one line: reading goes on at the next. So does a quote that is never closed, and one
    whose closing makes no record of the right width out of lines that would be records by themselves.

    Args:
        lines: with their ends.
        dialect: with a quote.
        width: the number of fields of a good record; 0 for any.
        at_end: whether these are the last lines of the file; if not, the last record may be left open.
    """
    if width and (rows := _line_by_line(lines, dialect, width)):
        return Split(rows, list(range(len(rows))), [], len(lines))
    result = Split([], [], [], 0)
    at = 0
    while at < len(lines):
        base = at
        reader = _reader(lines, at, dialect)
        try:
            for fields in reader:
                stop = base + reader.line_num
                if fields and width in {0, len(fields)}:
                    result.rows.append(fields)
                    result.starts.append(at)
                elif fields:
                    if _any_alone(lines[at + 1 : stop], dialect, width):
                        result.bad.append((at, at + 1, 0))
                        at += 1
                        break
                    result.bad.append((at, stop, len(fields)))
                at = stop
        except csv.Error as error:
            if not at_end and "unexpected end" in str(error):
                break
            result.bad.append((at, at + 1, 0))
            at += 1
    result.done = at
    return result


def first_of(text: str, dialect: Dialect, width: int) -> Split:
    """The first record of a text, without making a list of its lines: as `split`, for one that is long."""
    reader = csv.reader(StringIO(text, newline="\n"), **_options(dialect))
    try:
        fields = next(reader)
    except csv.Error as error:
        if "unexpected end" in str(error):
            return Split([], [], [], 0)
        return Split([], [], [(0, 1, 0)], 1)
    stop = reader.line_num
    if len(fields) == width:
        return Split([fields], [0], [], stop)
    if _any_alone(islice(StringIO(text, newline="\n"), 1, stop), dialect, width):
        return Split([], [], [(0, 1, 0)], 1)
    return Split([], [], [(0, stop, len(fields))], stop)


def _line_by_line(lines: list[str], dialect: Dialect, width: int) -> list[list[str]] | None:
    """The records where every line is a good one, as is usual; otherwise None."""
    try:
        rows = list(_reader(lines, 0, dialect))
    except csv.Error:
        return None
    return rows if len(rows) == len(lines) and set(map(len, rows)) == {width} else None


def _reader(lines: list[str], at: int, dialect: Dialect) -> _csv.Reader:
    rest = map(lines.__getitem__, range(at, len(lines))) if at else lines
    return csv.reader(rest, **_options(dialect))


def _options(dialect: Dialect) -> Any:
    return {
        "delimiter": dialect.delimiter,
        "quotechar": dialect.quote,
        "skipinitialspace": dialect.skip_space,
        "strict": True,
    }


def _any_alone(lines: Iterable[str], dialect: Dialect, width: int) -> bool:
    """Whether any of the lines, having no quotes, is a good record by itself."""
    return any(
        dialect.quote not in line and line.count(dialect.delimiter) == width - 1 for line in lines
    )


def detect(text: str, *, whole: bool) -> Form | None:
    """Find the form of a file from its beginning; None if there is nothing but blank lines.

    Args:
        text: whole lines; characters only.
        whole: whether that is all of the file.
    """
    lines = lines_of(text[:_SAMPLE_CHARS])
    whole = whole and len(text) <= _SAMPLE_CHARS and len(lines) <= _SAMPLE_LINES
    if len(text) > _SAMPLE_CHARS and len(lines) > 1:
        lines.pop()
    lines = lines[:_SAMPLE_LINES]
    lines = [line.replace("\r\n", "\n").replace("\r", " ") for line in lines]
    if not "".join(lines).strip(_BLANK):
        return None
    return _directive_form(lines) or _plain_form(lines, whole=whole)


def _plain_form(lines: list[str], *, whole: bool) -> Form:
    said = re.fullmatch(r'"?sep=(.)"?\s*', lines[0], re.IGNORECASE)
    if said:
        lines = ["\n", *lines[1:]]
    dialect, width, sample = _best(lines, said[1] if said else "", whole=whole)
    numbered = Form(dialect, ("",) * width, 2 if said else 1, notes=(_NO_HEADER,))
    records = list(zip(sample.starts, sample.rows, strict=True))
    at = next((n for n, (_, row) in enumerate(records) if len(row) == width), 0)
    if at > _MOST_TITLES or any(len(row) > max(1, width // 2) for _, row in records[:at]):
        at = 0
    if not records or any(bad[0] < records[at][0] for bad in sample.bad):
        return numbered
    notes = tuple(
        f"Line {start + 1} stands before the header and is no record: {lines[start].strip()[:200]!r}"
        for start, _ in records[:at]
    )
    start, first = records[at]
    stop = start + 1 + sum(field.count("\n") for field in first)
    rest = [row for _, row in records[at + 1 :] if len(row) == width]
    if len(first) != width:
        return replace(numbered, **_odd_header(first, rest, width, stop))
    if _is_header(first, rest):
        return Form(dialect, tuple(first), stop + 1, notes=notes)
    return replace(numbered, first_line=start + 1, notes=(*notes, _NO_HEADER))


def _odd_header(first: list[str], rest: list[list[str]], width: int, stop: int) -> dict[str, Any]:
    """What is to be done where the first record is about as wide as the others, but not quite."""
    if len(first) < width and not any(any(row[len(first) :]) for row in rest):
        blank = width - len(first)
        note = f"Every record ends with {blank} empty fields that the header does not name"
        return {"headings": (*first, *[""] * blank), "first_line": stop + 1, "notes": (note,)}
    note = (
        f"The first record has {len(first)} fields and the others {width}: "
        "it is not taken for their header, and the columns are numbered"
    )
    return {"notes": (note,)}


def _best(lines: list[str], said: str, *, whole: bool) -> tuple[Dialect, int, Split]:
    best, best_score = (Dialect(_NEVER), 1), (0.0, 0)
    text = "".join(lines)
    for rank, delimiter in enumerate(said or _USUAL + _UNUSUAL):
        for dialect in _variants(text, delimiter):
            sample = split(lines, dialect, 0, at_end=whole)
            counts = Counter(map(len, sample.rows))
            total = sum(counts.values()) + len(sample.bad)
            wide = [(times, width) for width, times in counts.items() if width > 1]
            if not wide:
                continue
            times, width = max(wide, key=lambda one: (one[0], one[1] == len(sample.rows[0])))
            headed = len(sample.rows[0]) == width
            share = times / total
            score = (round(share + 0.25 * headed, 3), -rank)
            enough = share >= (_SHARE_WITH_HEADER if headed else _SHARE)
            if (enough or said) and score > best_score:
                best, best_score = (dialect, width), score
    dialect, width = best
    return dialect, width, split(lines, dialect, 0, at_end=whole)


def _variants(text: str, delimiter: str) -> list[Dialect]:
    """The ways to quote that the text gives reason to try, the usual one first."""
    if delimiter not in text:
        return []
    variants = [Dialect(delimiter)]
    if f'{delimiter} "' in text:
        variants.append(Dialect(delimiter, skip_space=True))
    if re.match(rf"\s*'[^']*'(?=[{re.escape(delimiter)}\n]|$)", text):
        variants.insert(0, Dialect(delimiter, "'"))
    return variants


def _is_header(first: list[str], rest: list[list[str]]) -> bool:
    if max(map(len, first)) > _LONGEST_HEADING:
        return False
    if len(first) == 1 and not rest:
        return _SINGLE_NAME.fullmatch(first[0].strip()) is not None
    if not rest:
        return not any(_kind(value) for value in first)
    like_below = False
    for at, heading in enumerate(first):
        kinds = {_kind(row[at]) for row in rest if row[at]}
        if len(kinds) != 1 or "" in kinds or not heading:
            continue
        if _kind(heading) in kinds:
            like_below = True
        elif not _kind(heading):
            return True
    if like_below:
        return False
    return len(first) > 1 or _SINGLE_NAME.fullmatch(first[0].strip()) is not None


def _kind(value: str) -> str:
    value = value.strip()
    if not value:
        return ""
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(value)), "")


def _directive_form(lines: list[str]) -> Form | None:
    """The form of a log that names its fields in directives; None if it does not."""
    said: dict[str, str] = {}
    at = 0
    while at < len(lines) and (lines[at].startswith("#") or not lines[at].strip(_BLANK)):
        if found := directive(lines[at]):
            said[found[0]] = found[1]
        at += 1
    if not said.get("fields"):
        return None
    return _zeek_form(said, at) if "types" in said else _w3c_form(said["fields"], lines, at)


def directive(line: str) -> tuple[str, str] | None:
    """The name in lower case and the value of a line `#name: value` or `#name<tab>value`."""
    found = re.match(r"#([A-Za-z_]+)(?::|[ \t]|$)[ \t]?(.*?)\s*$", line)
    return (found[1].lower(), found[2]) if found else None


def _zeek_form(said: dict[str, str], at: int) -> Form:
    separator = re.sub(
        r"\\x([0-9a-fA-F]{2})", lambda one: chr(int(one[1], 16)), said.get("separator", "\\x09")
    )
    separator = separator[:1] if separator.isascii() else "\t"
    return Form(
        Dialect(separator or "\t", quote=""),
        tuple(said["fields"].split(separator)),
        at + 1,
        directives=True,
        types=tuple(said["types"].split(separator)),
        null=said.get("unset_field", "-"),
        empty=said.get("empty_field", "(empty)"),
    )


def _w3c_form(fields: str, lines: list[str], at: int) -> Form:
    delimiter = _w3c_delimiter(fields)
    quoted = any(
        line.startswith('"') or f'{delimiter}"' in line
        for line in lines[at:]
        if not line.startswith("#")
    )
    return Form(
        Dialect(delimiter, '"' if quoted else ""),
        tuple(fields.split(None if delimiter == " " else delimiter)),
        at + 1,
        directives=True,
        null="-",
    )


def _w3c_delimiter(fields: str) -> str:
    """What separates the fields of a W3C log; the specification says blanks, Exchange writes commas."""
    if "\t" in fields:
        return "\t"
    return "," if "," in fields and " " not in fields else " "
