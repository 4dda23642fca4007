"""JSON records as tables: one for each layout of keys.

The file is read twice, unless it is small: first to learn which keys there are and of what kinds their
values, so that every batch has all columns and mixed kinds are told from the start; then for the rows.
Records are taken apart only one level deep; what lies deeper stays the text that it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.compute
from typing_extensions import override

from casparian.api import Batch, Layout, Output, ParseContext, Parser, Rejected
from casparian.parsers.text import reading
from casparian.parsers.text.names import column_names, table_name
from casparian.parsers.text.times import FinerTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

_OUTPUT = "jsonlines"
_SPACE = b" \t\r\n\x1e"
"""Blanks, and the record separator of RFC 7464."""
_HEAD_BYTES = 1024 * 1024
_HEAD_LINES = 20
_LONGEST_BYTES = reading.LONGEST_LINE_BYTES
_KEPT_BYTES = 8192
_KEPT_FROM_FIRST_READING_BYTES = 4 * 1024 * 1024
"""Records of a small file are kept, so that it need not be read again."""
_MOST_COLUMNS = 2000
_BATCH_ROWS = 20_000
_BATCH_CELLS = 400_000
_BATCH_BYTES = 16 * 1024 * 1024
_values = msgspec.json.Decoder(list[msgspec.Raw]).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_any = msgspec.json.Decoder(msgspec.Raw).decode
_text = msgspec.json.Decoder(str).decode
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING = rb'"(?>(?:[^"\\\n]+|\\.)*)"'
_NEXT = re.compile(
    rb'(?>(?:[^"\[\]{}]+|' + _STRING + rb")*)"
    rb"(?:([\[\]{}])(?=(?>[ \t\r\n]*)(.?))"
    rb'|(")(?>(?:[^"\\\n]+|\\.)*)(\n|\\?\Z)'
    rb"|\Z)",
    re.DOTALL,
)
"""Up to the next bracket outside of strings (1) and the first byte behind it that is no blank (2); or to a
quote (3) whose string does not close by the end of the line, which no string of JSON crosses, or of the
buffer (4)."""
_KEYS = re.compile(rb"(" + _STRING + rb")(\s*:)?", re.DOTALL)
_AGAIN = "\ud800"
"""Can be in no key, since no text holds it."""
_QUOTE = ord('"')
_ARRAY_END = ord("]")
_OPENERS = {ord("}"): ord("{"), _ARRAY_END: ord("[")}
_MOST_SEEN = 1000


class JsonLines(Parser):
    """Records of JSON: JSON Lines, arrays of objects, `{"Records": [...]}` and objects one after another.

    Every object is a row, every key of its first level a column, named as in the file but made safe for SQL,
    in the order of first appearance. A missing key and null are null. What is nested is JSON text. Numbers
    are int64 or float64 and booleans boolean, if all values of the column are; strings may turn out to be
    dates or times, never numbers. Where a column holds several kinds it is text, and where even that would
    leave a string such as "5" looking like the number 5, it is the JSON of each value. A key that a record
    names twice has its second value in a column of its own, such as `key_2`.

    A file whose one object holds most of its bytes in one list of objects, as CloudTrail writes them, is
    read as that list; a warning names what stands beside it. Files with more than 2,000 keys give one
    column, `record`, of whole records.

    What is no record goes to quarantine, with the number of its line in JSON Lines, and of the element in
    arrays and lists:

        bad_json     it does not parse (NaN and Infinity are not JSON)
        not_object   it is JSON, but a number, a text, a list, ...
        encoding     it holds bytes that are not UTF-8
        surrogate    it holds half of a surrogate pair, which no text can hold
        too_deep     it is nested too deep to be read
        overlong     it is longer than 64 MB
        truncated    the file ends within it

    References:
        RFC 8259; https://jsonlines.org; CloudTrail log file examples in the AWS documentation.
    """

    name = "jsonlines"
    version = "1"
    topics = ("jsonl",)
    libraries = ("msgspec",)
    outputs = (Output(_OUTPUT, (), "JSON records: a table for each layout of keys"),)

    @override
    def parse(self, source: BinaryIO, context: ParseContext) -> Iterator[Batch | Rejected]:
        encoding = reading.detect(source, must_be_unicode=True)
        if encoding.note:
            context.warn(encoding.note)
        shape = _shape(source, encoding)
        if shape.beside:
            context.warn(
                f'The records are those of "{shape.member}"; beside it the file has '
                + ", ".join(f'"{key}"' for key in shape.beside)
            )
        first = _records(source, encoding, shape, lambda done: context.progress(done // 2))
        columns, found_again = _first_reading(first)
        table = columns.table(context)

        def progress(done: int) -> None:
            context.progress((context.size_bytes + done) // 2)

        for found in found_again or _records(source, encoding, shape, progress):
            if isinstance(found.value, dict):
                yield from table.add(found, found.value)
            else:
                yield Rejected(
                    _OUTPUT, found.position, found.value.violation, found.value.message, found.data
                )
        yield from table.rest()
        table.finer_times.tell(context)
        if not table.rows_given:
            context.warn("The file holds no records")


_Fields = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class _Fault:
    violation: str
    message: str


@dataclass(frozen=True, slots=True)
class _Found:
    position: int
    value: _Fields | _Fault
    """The JSON of each value by key; a key that is named again has `_AGAIN` and a number behind it."""
    data: bytes


def _read(data: bytes, where: str, position: int) -> _Found:
    """What a stretch of the file is."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return _Found(position, _Fault("encoding", f"{where} holds bytes that are not UTF-8"), data)
    try:
        fields = {key: bytes(raw) for key, raw in _fields(data).items()}
    except msgspec.ValidationError:
        return _Found(position, _Fault("not_object", f"{where} is JSON, but no object"), data)
    except RecursionError:
        return _Found(position, _Fault("too_deep", f"{where} is nested too deep to be read"), data)
    except (msgspec.DecodeError, UnicodeError) as error:
        if _SURROGATE.search(data):
            return _Found(position, _with_surrogates(data, where), data)
        return _Found(position, _Fault("bad_json", f"{where} is not JSON: {error}"), data)
    # A key that is named twice leaves quotes that belong to no pair: at least two for the key.
    if data.count(b'"') != 2 * len(fields) + b"".join(fields.values()).count(b'"'):
        fields = _pairs(data)
    return _Found(position, fields, data)


def _pairs(data: bytes) -> _Fields:
    """The fields of an object that is known to parse, each of them, though a key be named twice."""
    fields: _Fields = {}
    for key, value in _members(data):
        name, copy = key, 1
        while name in fields:
            copy += 1
            name = f"{key}{_AGAIN}{copy}"
        fields[name] = value
    return fields


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Keys and values of an object that is known to parse."""
    depth, key, value_from = 0, b"", 0
    at = data.index(b"{") + 1
    marks = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]', re.DOTALL)
    for found in marks.finditer(data, at):
        mark = found[0]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}" and depth:
            depth -= 1
        elif depth:
            continue
        elif mark == b":":
            value_from = found.end()
        elif mark in b",}":
            if key:
                yield _text(key), data[value_from : found.start()].strip(_SPACE)
            key, value_from = b"", 0
        elif not value_from:
            key = mark


def _with_surrogates(data: bytes, where: str) -> _Fields | _Fault:
    """The fields of what JSON allows and text does not hold: they may only be in nested values."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(data, parse_int=str, parse_float=str, parse_constant=refuse)
    except ValueError as error:
        return _Fault("bad_json", f"{where} is not JSON: {error}")
    except RecursionError:
        return _Fault("too_deep", f"{where} is nested too deep to be read")
    if not isinstance(value, dict):
        return _Fault("not_object", f"{where} is JSON, but no object")
    try:
        fields = _pairs(data)
        for one in fields.values():
            if one.startswith(b'"'):
                _text(one)
    except msgspec.DecodeError:
        return _Fault(
            "surrogate", f"{where} holds half of a surrogate pair, which no text can hold"
        )
    return fields


# --- which records there are -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the records lie in the file."""

    kind: str
    """`lines`, `array`, `member` (a list within one object) or `documents` (one after another)."""
    skip: int = 0
    """Bytes of the text, as UTF-8, before the first element."""
    member: str = ""
    beside: tuple[str, ...] = ()
    """The keys beside the list."""


def _shape(source: BinaryIO, encoding: reading.Encoding) -> _Shape:
    start = source.tell()
    head = b""
    for block in reading.blocks(source, encoding):
        head += block
        if len(head) >= _HEAD_BYTES:
            break
    source.seek(start)
    whole = len(head) < _HEAD_BYTES
    first = head.lstrip(_SPACE)[:1]
    lines = head.split(b"\n")
    lines = [line for line in (lines if whole else lines[:-1]) if line.strip(_SPACE)]
    good = [_is_json(line) for line in lines[:_HEAD_LINES]]
    if good and good[0]:
        one_line = whole and len(lines) == 1
    else:
        objects = sum(
            fine and line.lstrip(_SPACE).startswith(b"{")
            for fine, line in zip(good, lines, strict=False)
        )
        one_line = objects * 2 < max(len(good), 1)
    if not one_line or first not in {b"[", b"{"}:
        return _Shape("lines")
    if first == b"[":
        return _Shape("array", head.index(b"[") + 1)
    shape = _outline(reading.blocks(source, encoding)) or _Shape("documents")
    source.seek(start)
    return shape


def _is_json(line: bytes) -> bool:
    try:
        _any(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _outline(blocks: Iterable[bytes]) -> _Shape | None:
    """The list that makes up most of a file's only object; None if there is no such list."""
    keys: list[str] = []
    lists: list[tuple[str, int]] = []
    ends: list[int] = []
    first, depth, end = -1, 0, 0
    for base, found in _brackets(blocks):
        offset = base + found.start(1)
        end = offset + 1
        if depth == 1:
            keys += [_key(key) for key, colon in _KEYS.findall(found[0]) if colon]
        if found[1] in b"{[":
            if not depth and first >= 0:
                return None  # a second document
            if depth == 1 and keys and found[1] + found[2] == b"[{":
                lists.append((keys[-1], end))
            first = offset if first < 0 else first
            depth += 1
        else:
            depth -= 1
            if depth == 1 and len(ends) < len(lists):
                ends.append(offset)
    if len(lists) != 1:
        return None
    key, start = lists[0]
    size = (ends or [end])[0] - start
    if len(keys) > 1 and size * 2 < end - first:
        return None
    return _Shape("member", start, key, tuple(one for one in keys if one != key))


def _brackets(blocks: Iterable[bytes]) -> Iterator[tuple[int, re.Match[bytes]]]:
    """The brackets outside of strings, as `_NEXT` finds them, and the offset of what it looked at."""
    held, base = b"", 0
    for block in chain(blocks, [b""]):
        held, at = held + block, 0
        for found in _NEXT.finditer(held):
            if found[1]:
                if block and not found[2]:
                    break
                yield base, found
            elif found[4] != b"\n":
                break
            at = found.end()
        held, base = held[at:], base + at


def _key(token: bytes) -> str:
    try:
        return _text(token)
    except (msgspec.DecodeError, UnicodeError):
        return token.decode(errors="replace")


def _records(
    source: BinaryIO,
    encoding: reading.Encoding,
    shape: _Shape,
    progress: Callable[[int], None],
) -> Iterator[_Found]:
    source.seek(encoding.mark_bytes)
    if shape.kind == "lines":
        yield from _lines(source, encoding, progress)
        return

    def blocks() -> Iterator[bytes]:
        skip = shape.skip
        for block in reading.blocks(source, encoding):
            yield block[skip:]
            skip = max(0, skip - len(block))
            progress(source.tell())

    yield from _Elements(shape).read(blocks())


def _lines(
    source: BinaryIO, encoding: reading.Encoding, progress: Callable[[int], None]
) -> Iterator[_Found]:
    for chunk in reading.chunks(source, encoding):
        errors = "surrogateescape" if encoding.unit_bytes == 1 else "surrogatepass"
        data = chunk.utf8 or chunk.text.encode(errors=errors)
        for number, line in enumerate(data.split(b"\n"), chunk.first_line):
            line = line.strip(_SPACE)
            if line:
                yield _read(line, f"Line {number}", number)
        if chunk.overlong:
            fault = _Fault("overlong", f"Line {chunk.first_line} is longer than 64 MB")
            yield _Found(chunk.first_line, fault, chunk.overlong)
        progress(chunk.end_byte)


class _Elements:
    """The elements of an array, or documents one after another, found by their brackets alone.

    An element need not parse to be found: what is wrong inside it costs only that element. A bracket that
    does not match the last one open closes all up to the one that it does match. If an element swallows the
    rest of its array in this way, reading goes on at the next place that begins as the first element did.
    """

    def __init__(self, shape: _Shape) -> None:
        self._in_array = shape.kind != "documents"
        self._is_all = shape.kind != "member"
        self._count = 0
        self._held = b""
        self._at = 0
        """Up to where brackets have been counted."""
        self._start = -1
        """Where the element began that is open; -1 between elements."""
        self._gap_from = 0
        """Where the last element ended."""
        self._stack = bytearray()
        self._open = dict.fromkeys(b"{[", 0)
        """How many of each are in the stack."""
        self._dropped = b""
        """The beginning of an element that became too long to be held."""
        self._opening: re.Pattern[bytes] | None = None
        self._resumed_bytes = 0
        """What was read again after elements that swallowed what followed."""
        self._ended = False

    def read(self, blocks: Iterable[bytes]) -> Iterator[_Found]:
        """All elements, and what is none."""
        for block in blocks:
            self._held += block
            yield from self._drain(is_last=False)
            yield from self._forget()
            if self._ended and not self._is_all:
                return
        yield from self._drain(is_last=True)
        if self._start >= 0:
            yield self._fault(
                "truncated",
                "is cut off: the file ends within it",
                self._open_bytes(len(self._held)),
            )
            return
        yield from self._gap(len(self._held))
        if self._in_array and not self._ended:
            yield self._fault("truncated", "is missing: the file ends before its array does", b"")

    def _drain(self, *, is_last: bool) -> Iterator[_Found]:
        """Count all brackets that are held; a string that is not finished waits for more."""
        before = -1
        while before != self._at < len(self._held):
            before = self._at
            if self._ended:
                self._at = len(self._held)
            else:
                yield from self._scan(is_last=is_last)

    def _scan(self, *, is_last: bool) -> Iterator[_Found]:
        stack = self._stack
        for found in _NEXT.finditer(self._held, self._at):
            if not found[1]:
                if found[3] and found[4] != b"\n" and not is_last:
                    self._at = found.start(3)
                    return
                continue
            at = found.start(1)
            mark = self._held[at]
            if mark not in _OPENERS:
                if not stack:
                    yield from self._gap(at)
                    self._start = at
                stack.append(mark)
                self._open[mark] += 1
            elif self._open[_OPENERS[mark]]:
                self._close(_OPENERS[mark])
                if not stack:
                    yield self._element(at + 1)
            elif mark == _ARRAY_END and self._in_array:
                yield from self._array_end(at)
                return
        self._at = len(self._held)

    def _close(self, opener: int) -> None:
        """Close the last bracket of a kind, and all that were opened behind it."""
        mark = 0
        while mark != opener:
            mark = self._stack.pop()
            self._open[mark] -= 1

    def _array_end(self, at: int) -> Iterator[_Found]:
        if self._stack:
            yield self._swallowed(at)
        else:
            yield from self._gap(at)
            self._ended, self._gap_from, self._at = True, at + 1, at + 1

    def _element(self, end: int) -> _Found:
        data = self._open_bytes(end)
        is_overlong = bool(self._dropped)
        self._start, self._gap_from, self._dropped = -1, end, b""
        if is_overlong:
            return self._fault("overlong", "is longer than 64 MB", data)
        self._count += 1
        found = _read(data, f"Element {self._count}", self._count)
        if self._opening is None and isinstance(found.value, dict) and found.value:
            key = re.escape(msgspec.json.encode(next(iter(found.value))))
            self._opening = re.compile(rb"(?<=[,\s])\{\s*" + key + rb"\s*:")
        return found

    def _swallowed(self, end: int) -> _Found:
        """The element that is still open where its array ends; reading goes on within it, if it can."""
        found = None
        if self._opening and not self._dropped and self._resumed_bytes < _LONGEST_BYTES:
            found = self._opening.search(self._held, self._start + 1, end)
        stop = found.start() if found else end
        fault = self._fault(
            "bad_json", "is not JSON: its brackets do not match", self._open_bytes(stop)
        )
        self._stack.clear()
        self._open = dict.fromkeys(self._open, 0)
        self._start, self._dropped = -1, b""
        self._gap_from = self._at = stop
        self._resumed_bytes += end - stop
        return fault

    def _gap(self, end: int) -> Iterator[_Found]:
        """What lies between two elements: nothing, or elements that are no objects or arrays."""
        text = self._held[self._gap_from : end].strip(_SPACE + b"," * self._in_array)
        self._gap_from = end
        if not text:
            return
        if self._ended:
            yield self._fault("bad_json", "follows the end of the array", text)
            return
        try:
            values = [bytes(one) for one in _values(b"[%b]" % text)]
        except (msgspec.DecodeError, RecursionError):
            yield self._fault("bad_json", "is not JSON", text)
            return
        for value in values:
            yield self._fault("not_object", "is JSON, but no object", value)

    def _open_bytes(self, end: int) -> bytes:
        return self._dropped or self._held[self._start : end]

    def _fault(self, violation: str, what: str, data: bytes) -> _Found:
        self._count += 1
        return _Found(self._count, _Fault(violation, f"Element {self._count} {what}"), data)

    def _forget(self) -> Iterator[_Found]:
        """Let go of what is not needed any more; of an element that is too long, keep the beginning."""
        if self._start < 0:
            if len(self._held) - self._gap_from > _LONGEST_BYTES:
                yield from self._gap(self._at)
            needed = self._gap_from
        elif self._dropped or len(self._held) - self._start > _LONGEST_BYTES:
            self._dropped = self._dropped or self._held[self._start :][:_KEPT_BYTES]
            needed = self._at
        else:
            needed = self._start
        self._held = self._held[needed:]
        self._at -= needed
        self._gap_from = max(0, self._gap_from - needed)
        if self._start >= 0:
            self._start = max(0, self._start - needed)
        if len(self._held) > _LONGEST_BYTES and self._dropped:
            # One string without end: go on as if it had just begun, mindful of a backslash before the cut.
            escaped = (len(self._held) - len(self._held.rstrip(b"\\"))) % 2
            self._held = b'"' + b"\\" * escaped


# --- what columns they have ------------------------------------------------------------------------


_STRINGS, _NUMBERS, _BOOLEANS, _NESTED, _EMPTY_STRINGS, _LOOK_ALIKES = 1, 2, 4, 8, 16, 32
"""What a column holds. Look-alikes are strings that read as JSON of another kind."""
_KIND_OF = {
    **dict.fromkeys(b"-0123456789", _NUMBERS),
    **dict.fromkeys(b"tf", _BOOLEANS),
    **dict.fromkeys(b"{[", _NESTED),
    ord('"'): _STRINGS,
    ord("n"): 0,
}
_LOOKS_ALIKE = rb'"\s*(?:-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\s*"|(?:true|false)\s*"|[\[{]|\\[utnr])'
_looks_alike = re.compile(_LOOKS_ALIKE).match
_may_be_odd = re.compile(rb'""|' + _LOOKS_ALIKE).search


class _Columns:
    """The keys of a file, in the order of first appearance, and the kinds of their values."""

    def __init__(self) -> None:
        self._kinds: dict[str, int] = {}
        self._seen: set[tuple[object, ...]] = set()
        """Records whose values are of the kinds of these need no second look, unless strings may be odd."""

    def see(self, fields: _Fields, data: bytes) -> None:
        """Take note of a record."""
        kinds = self._kinds
        if len(kinds) > _MOST_COLUMNS:
            return
        alike = (*fields, *[value[0] for value in fields.values()])
        if alike in self._seen and not _may_be_odd(data):
            return
        if len(self._seen) < _MOST_SEEN:
            self._seen.add(alike)
        for key, value in fields.items():
            kind = _KIND_OF[value[0]]
            if kind == _STRINGS:
                if value == b'""':
                    kind |= _EMPTY_STRINGS
                elif _looks_alike(value):
                    kind |= _LOOK_ALIKES
            kinds[key] = kinds.get(key, 0) | kind

    def table(self, context: ParseContext) -> _Table:
        """The table that has them all."""
        name = table_name(context.name)
        if not self._kinds:
            return _Table(name, {}, ())
        if len(self._kinds) > _MOST_COLUMNS:
            context.warn(
                f"The records have more than {_MOST_COLUMNS:,} different keys; "
                "each is kept whole in the column record"
            )
            return _Table(name, {}, ())
        headings = tuple(key.partition(_AGAIN)[0] for key in self._kinds)
        table = _Table(name, self._kinds, headings)
        for column, key, heading in zip(table.columns, self._kinds, headings, strict=True):
            if _AGAIN in key:
                context.warn(
                    f'Some records name the key "{heading}" more than once; '
                    f"what they say again is in the column {column}"
                )
        return table


def _first_reading(records: Iterator[_Found]) -> tuple[_Columns, list[_Found]]:
    """The columns that the records have; and the records, if they are few enough to be kept."""
    columns, kept, size = _Columns(), [], 0
    for found in records:
        if isinstance(found.value, dict):
            columns.see(found.value, found.data)
        size += len(found.data)
        if size <= _KEPT_FROM_FIRST_READING_BYTES:
            kept.append(found)
    return columns, kept if size <= _KEPT_FROM_FIRST_READING_BYTES else []


class _Table:
    """The rows of a file, gathered into batches.

    Args:
        name: what the table should be called.
        kinds: what each key holds; none if records are to be kept whole.
        headings: the keys as the file has them.
    """

    def __init__(self, name: str, kinds: dict[str, int], headings: tuple[str, ...]) -> None:
        self.columns = column_names(headings) or ("record",)
        self.rows_given = 0
        self.finer_times = FinerTimes()
        self._is_whole = not kinds
        kinds = kinds or {"record": _NESTED}
        self._kinds = kinds
        self._layout = Layout(self.columns, name, optional=True)
        tried = [_tried(kind) for kind in kinds.values()]
        self._schema = pa.schema(
            pa.field(column, pa.string(), metadata={"cf.types": types, "cf.heading": heading})
            for column, types, heading in zip(
                self.columns, tried, headings or self.columns, strict=True
            )
        )
        self._limit = max(100, min(_BATCH_ROWS, _BATCH_CELLS // len(self.columns)))
        self._rows: list[tuple[bytes | None, ...]] = []
        self._positions: list[int] = []
        self._bytes = 0

    def add(self, found: _Found, fields: _Fields) -> Iterator[Batch]:
        """Add a record; gives a batch when there are enough."""
        self._rows.append((found.data,) if self._is_whole else tuple(map(fields.get, self._kinds)))
        self._positions.append(found.position)
        self._bytes += len(found.data)
        if len(self._rows) >= self._limit or self._bytes >= _BATCH_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[Batch]:
        """The records that are not given yet."""
        if not self._rows:
            return
        columns = [
            _texts(values, kinds)
            for values, kinds in zip(
                zip(*self._rows, strict=True), self._kinds.values(), strict=True
            )
        ]
        rows = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        self.finer_times.see(rows)
        yield Batch(_OUTPUT, rows, pa.array(self._positions, pa.int64()), self._layout)
        self.rows_given += len(self._rows)
        self._rows, self._positions, self._bytes = [], [], 0


def _tried(kinds: int) -> str:
    """The types to be tried for a column of these kinds; string is always the last resort."""
    if kinds & _STRINGS and not kinds & (_NUMBERS | _BOOLEANS | _NESTED):
        # The empty text is no null in JSON, and only a string can tell the two apart.
        return "string" if kinds & _EMPTY_STRINGS else "date,timestamp,timestamp_utc,string"
    if kinds & _STRINGS:
        return "json" if kinds & _LOOK_ALIKES else "string"
    return {0: "string", _NUMBERS: "int64,float64", _BOOLEANS: "boolean"}.get(kinds, "json")


def _texts(values: tuple[bytes | None, ...], kinds: int) -> Any:
    """The JSON of values as the text of a column of these kinds."""
    if not kinds & _STRINGS or _tried(kinds) == "json":
        written = pa.array(values, pa.binary()).cast(pa.string())
        return pc.if_else(pc.equal(written, "null"), pa.scalar(None, pa.string()), written)
    return pa.array([value and _unquoted(value) for value in values], pa.string())


def _unquoted(value: bytes) -> str | None:
    if value == b"null":
        return None
    if value[0] != _QUOTE:
        return value.decode()
    return _text(value) if b"\\" in value else value[1:-1].decode()
