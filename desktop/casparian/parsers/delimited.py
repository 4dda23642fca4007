"""Delimited text as tables: one for each layout of columns."""

from __future__ import annotations

import csv
import re
import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute
from typing_extensions import override

from casparian.api import Batch, Layout, Output, ParseContext, Parser, Rejected
from casparian.parsers.text import dialect as dialects
from casparian.parsers.text import reading
from casparian.parsers.text.names import column_names, table_name
from casparian.parsers.text.times import FinerTimes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

_OUTPUT = "delimited"
_TRIED = "boolean,int64,float64,date,timestamp,timestamp_utc,string"
_BATCH_ROWS = 20_000
_ZEEK_TYPES = {
    "bool": "boolean,string",
    "count": "int64,string",
    "int": "int64,string",
    "port": "int64,string",
    "double": "float64,string",
    "interval": "float64,string",
    "time": "timestamp_utc,string",
}
"""What Zeek says of a column, in our words; anything else is text."""
_ZEEK_TIME = r"^\d{1,12}\.\d{1,6}$"


class Delimited(Parser):
    """Tables in text: CSV, TSV and their kin, Zeek logs, and W3C extended logs such as those of IIS.

    The encoding is found from the bytes (byte order mark, UTF-16 by its pattern, UTF-8 by proof, else
    windows-1252, which a warning says); the delimiter, the quotes and the header from the text. Files with
    the same header share a table, which is named after the first. Its columns carry the names of the
    header, made safe for SQL: what is no letter, digit or `_` becomes `_`, a name that was there before
    gets `_2`, an empty one is `column_` and its number. The types of the columns are found by elimination.

    A line that is no record of the table goes to quarantine with its number and its bytes:

        ragged          it has more or fewer fields than the header
        quotes          a quote is not closed, or not before a delimiter; reading goes on at the next line
        encoding        it holds bytes that are no characters
        overlong        it is longer than 64 MB
        layout_changed  a log names other fields from here on

    Blank lines, lines before the header (a warning quotes them) and directives of logs are no records. A lone
    carriage return is part of a value unless the file has no other line ends. In Zeek logs the unset
    mark is null, the empty mark is empty text, and epoch seconds of type `time` are written as UTC times.

    References:
        RFC 4180; W3C WD-logfile; Zeek log formats.
    """

    name = "delimited"
    version = "1"
    topics = ("delimited",)
    outputs = (Output(_OUTPUT, (), "Delimited text: a table for each layout of columns"),)

    @override
    def parse(self, source: BinaryIO, context: ParseContext) -> Iterator[Batch | Rejected]:
        encoding = reading.detect(source)
        if encoding.note:
            context.warn(encoding.note)
        table: _Table | None = None
        for chunk, is_last in _marking_last(reading.chunks(source, encoding)):
            if table is None and not chunk.overlong:
                text = chunk.utf8.decode() or chunk.text.encode(errors="replace").decode()
                form = dialects.detect(text, whole=is_last)
                if form is not None:
                    table = _Table(form, encoding, context)
                    yield table.batch([pa.array([], pa.string())] * table.width, [])
                    chunk = _without_lines(chunk, form.first_line - 1)
            if table is not None:
                yield from table.read(chunk, is_last=is_last)
            elif chunk.overlong:
                yield _overlong(chunk)
            context.progress(chunk.end_byte)
        if table is None:
            context.warn("The file holds no text")
        else:
            table.finer_times.tell(context)


def _marking_last(chunks: Iterable[reading.Chunk]) -> Iterator[tuple[reading.Chunk, bool]]:
    held: reading.Chunk | None = None
    for chunk in chunks:
        if held is not None:
            yield held, False
        held = chunk
    if held is not None:
        yield held, True


def _without_lines(chunk: reading.Chunk, lines: int) -> reading.Chunk:
    """The chunk without some of its first lines."""
    utf8, text = chunk.utf8, chunk.text
    for _ in range(lines):
        utf8, text = utf8.partition(b"\n")[2], text.partition("\n")[2]
    return reading.Chunk(chunk.first_line + lines, utf8, text, end_byte=chunk.end_byte)


def _overlong(chunk: reading.Chunk) -> Rejected:
    return Rejected(
        _OUTPUT,
        chunk.first_line,
        "overlong",
        f"Line {chunk.first_line} is longer than {reading.LONGEST_LINE_BYTES >> 20} MB",
        chunk.overlong,
    )


class _Table:
    """The records of one file, chunk by chunk."""

    def __init__(
        self, form: dialects.Form, encoding: reading.Encoding, context: ParseContext
    ) -> None:
        for note in form.notes:
            context.warn(note)
        names = column_names(form.headings)
        self.width = len(names)
        self.finer_times = FinerTimes()
        self._form = form
        self._dialect = form.dialect
        self._encoding = encoding
        self._layout = Layout(names, table_name(context.name))
        types = [_ZEEK_TYPES.get(word, "string") for word in form.types]
        types += [_TRIED if not form.types else "string"] * (self.width - len(types))
        self._schema = pa.schema(
            pa.field(name, pa.string(), metadata={"cf.types": tried, "cf.heading": heading})
            for name, tried, heading in zip(names, types, form.headings, strict=True)
        )
        self._held: list[str] = []
        """Lines of a record that may go on in the next chunk."""
        self._held_from = 0
        self._held_quotes = 0
        self._held_enough = 0
        self._is_foreign = False
        """Whether a log has named other fields than those of the table."""

    def read(self, chunk: reading.Chunk, *, is_last: bool) -> Iterator[Batch | Rejected]:
        """The records of a chunk."""
        if chunk.overlong:
            yield from self._quoted("", self._held_from, is_last=True)
            yield _overlong(chunk)
        elif chunk.text or self._held or self._needs_care(chunk.utf8):
            text = chunk.text or chunk.utf8.decode()
            if self._form.directives:
                yield from self._log(text, chunk.first_line)
            else:
                yield from self._quoted(text, chunk.first_line, is_last=is_last)
        elif chunk.utf8:
            yield from self._plain(chunk.utf8, chunk.first_line)

    def batch(
        self, columns: Sequence[pa.StringArray], positions: pa.Int64Array | list[int]
    ) -> Batch:
        """Rows of the table."""
        rows = pa.RecordBatch.from_arrays(list(columns), schema=self._schema)
        if self._form.null:
            rows = self._without_marks(rows)
        self.finer_times.see(rows)
        return Batch(_OUTPUT, rows, pa.array(positions, pa.int64()), self._layout)

    def _needs_care(self, data: bytes) -> bool:
        """Whether splitting at line ends and delimiters may be not all there is to do."""
        if self._form.directives:
            return (
                self._is_foreign or data.startswith(b"#") or b"\n#" in data or self._has_quote(data)
            )
        return self._dialect.skip_space or self._has_quote(data)

    def _has_quote(self, data: bytes) -> bool:
        return bool(self._dialect.quote) and self._dialect.quote.encode() in data

    def _plain(self, data: bytes, first_line: int) -> Iterator[Batch | Rejected]:
        """Records that are lines, split without making a Python object of any field."""
        data = data.replace(b"\r\n", b"\n").removesuffix(b"\n")
        whole = pa.StringArray.from_buffers(
            1, pa.py_buffer(struct.pack("=ii", 0, len(data))), pa.py_buffer(data)
        )
        lines = pc.list_flatten(pc.split_pattern(whole, "\n"))
        fields = pc.split_pattern(lines, self._dialect.delimiter)
        positions = _numbers(first_line, first_line + len(lines))
        good = pc.equal(pc.list_value_length(fields), self.width)
        if self.width == 1:
            good = pc.and_(good, pc.not_equal(lines, ""))
        if not pc.all(good).as_py():
            for at in pc.indices_nonzero(pc.invert(good)).to_pylist():
                yield from self._ragged(first_line + at, lines[at].as_py(), len(fields[at]))
            fields, positions = fields.filter(good), positions.filter(good)
        values = pc.list_flatten(fields)
        yield from self._batches(
            [values.take(_numbers(at, len(values), self.width)) for at in range(self.width)],
            positions,
        )

    def _quoted(self, text: str, first_line: int, *, is_last: bool) -> Iterator[Batch | Rejected]:
        """Records that may be spread over lines, and over chunks."""
        if self._held:
            self._held.append(text)
            size = sum(map(len, self._held))
            if is_last or size >= self._held_enough:
                yield from self._settle("".join(self._held), is_last=is_last)
            return
        text, stand_in = _without_lone_returns(text)
        lines = dialects.lines_of(text)
        found = dialects.split(lines, self._dialect, self.width, at_end=is_last)
        yield from self._found(found, lines, first_line, stand_in)
        if found.done < len(lines):
            self._hold(
                "".join(lines[found.done :]).replace(stand_in, "\r"), first_line + found.done
            )

    def _hold(self, text: str, first_line: int) -> None:
        """Keep a record that is open until there is twice as much of it: then another look is worth it."""
        self._held, self._held_from = [text], first_line
        self._held_quotes = text.count(self._dialect.quote)
        self._held_enough = min(2 * len(text), reading.LONGEST_LINE_BYTES)

    def _settle(self, held: str, *, is_last: bool) -> Iterator[Batch | Rejected]:
        """Look again at a record that was open; what lies behind it is then read piece by piece."""
        self._held, first_line = [], self._held_from
        text, stand_in = _without_lone_returns(held)
        found = dialects.Split([], [], [], 0)
        if held.count(self._dialect.quote) > self._held_quotes:
            found = dialects.first_of(text, self._dialect, self.width)
        if not found.done:
            if not is_last and len(held) < reading.LONGEST_LINE_BYTES:
                self._hold(held, first_line)
                return
            found = dialects.Split([], [], [(0, 1, 0)], 1)
        behind = 0
        for _ in range(found.done):
            behind = text.find("\n", behind) + 1 or len(text)
        yield from self._found(found, [text[:behind]], first_line, stand_in)
        line = first_line + found.done
        del text
        while behind < len(held):
            end = held.find("\n", behind + reading.CHUNK_BYTES) + 1 or len(held)
            piece = held[behind:end]
            yield from self._quoted(piece, line, is_last=is_last and end == len(held))
            line += piece.count("\n")
            behind = end

    def _found(
        self, found: dialects.Split, lines: list[str], first_line: int, stand_in: str
    ) -> Iterator[Batch | Rejected]:
        for start, stop, fields in found.bad:
            text = "".join(lines[start:stop]).replace(stand_in, "\r")
            yield from self._ragged(first_line + start, text, fields)
        rows = found.rows
        if stand_in != "\r":
            rows = [[field.replace(stand_in, "\r") for field in row] for row in rows]
        yield from self._rows(rows, [first_line + start for start in found.starts])

    def _log(self, text: str, first_line: int) -> Iterator[Batch | Rejected]:
        """Records of a log with directives; each is a line."""
        rows, positions = [], []
        for position, line in enumerate(dialects.lines_of(text), first_line):
            if line.startswith("#"):
                said = dialects.directive(line)
                if said and said[0] == "fields":
                    self._is_foreign = not self._is_same(said[1])
                continue
            fields = self._fields(line.removesuffix("\n").removesuffix("\r"))
            if len(fields) != self.width:
                yield from self._ragged(position, line, len(fields))
            elif self._is_foreign:
                yield Rejected(
                    _OUTPUT,
                    position,
                    "layout_changed",
                    f"Line {position} follows a directive that names other fields",
                    self._raw(line),
                )
            else:
                rows.append(fields)
                positions.append(position)
        yield from self._rows(rows, positions)

    def _is_same(self, fields: str) -> bool:
        delimiter = self._dialect.delimiter
        return tuple(fields.split(None if delimiter == " " else delimiter)) == self._form.headings

    def _fields(self, line: str) -> list[str]:
        if not self._dialect.quote or self._dialect.quote not in line:
            return line.split(self._dialect.delimiter)
        try:
            return next(csv.reader([line], delimiter=self._dialect.delimiter, strict=True))
        except csv.Error:
            return []

    def _rows(self, rows: list[list[str]], positions: list[int]) -> Iterator[Batch | Rejected]:
        """Good rows, less those that hold bytes that are no characters."""
        if not rows:
            return
        try:
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        except UnicodeEncodeError:
            good = []
            for at, row in enumerate(rows):
                line = self._dialect.delimiter.join(row)
                if _is_text(line):
                    good.append(at)
                    continue
                yield Rejected(
                    _OUTPUT,
                    positions[at],
                    "encoding",
                    f"Line {positions[at]} holds bytes that are not {self._encoding.codec}",
                    self._raw(line),
                )
            yield from self._rows([rows[at] for at in good], [positions[at] for at in good])
            return
        yield from self._batches(columns, pa.array(positions, pa.int64()))

    def _batches(
        self, columns: Sequence[pa.StringArray], positions: pa.Int64Array
    ) -> Iterator[Batch]:
        for start in range(0, len(positions), _BATCH_ROWS):
            yield self.batch(
                [column.slice(start, _BATCH_ROWS) for column in columns],
                positions.slice(start, _BATCH_ROWS),
            )

    def _ragged(self, line: int, text: str, fields: int) -> Iterator[Rejected]:
        """What is to be said of lines that are no record; nothing if they are blank."""
        if not text.strip(" \r\n"):
            return
        if not _is_text(text):
            violation, why = "encoding", f"holds bytes that are not {self._encoding.codec}"
        elif fields:
            violation = "ragged"
            why = f"has {fields} field{'s'[: fields != 1]}; the table has {self.width}"
        else:
            violation, why = "quotes", "has a quote that is not closed, or not before a delimiter"
        yield Rejected(_OUTPUT, line, violation, f"Line {line} {why}", self._raw(text))

    def _raw(self, text: str) -> bytes:
        return self._encoding.bytes_of(text.removesuffix("\n").removesuffix("\r"))

    def _without_marks(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """What a log writes for null, empty, true and times, in our words."""
        columns: list[Any] = []
        types = (*self._form.types, *("" for _ in range(self.width - len(self._form.types))))
        for column, word in zip(rows.columns, types, strict=False):
            values = pc.if_else(
                pc.equal(column, self._form.null), pa.scalar(None, pa.string()), column
            )
            if self._form.empty:
                values = pc.if_else(pc.equal(values, self._form.empty), "", values)
            if word == "time":
                values = _utc_texts(values)
            elif word == "bool":
                values = pc.if_else(pc.equal(values, "T"), "true", values)
                values = pc.if_else(pc.equal(values, "F"), "false", values)
            columns.append(values)
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def _without_lone_returns(text: str) -> tuple[str, str]:
    """The text with another character for carriage returns that end no line, an error to the csv module."""
    if text.count("\r") == text.count("\r\n"):
        return text, "\r"
    stand_in = next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in text)
    return re.sub("\r(?!\n)", stand_in, text), stand_in


def _numbers(start: int, stop: int, step: int = 1) -> pa.Int64Array:
    return pa.arange(start, stop, step)  # type: ignore[attr-defined, no-any-return]  # newer than its stubs


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _utc_texts(texts: Any) -> Any:
    """Epoch seconds as ISO 8601 in UTC; the column as it is if any of them is something else."""
    if not pc.all(pc.match_substring_regex(texts, _ZEEK_TIME)).as_py():
        return texts
    parts = pc.extract_regex(texts, r"^(?P<seconds>\d+)\.(?P<micros>\d+)$")
    seconds = pc.cast(pc.struct_field(parts, "seconds"), pa.int64())
    micros = pc.cast(pc.utf8_rpad(pc.struct_field(parts, "micros"), 6, "0"), pa.int64())
    instants = pc.cast(pc.add(pc.multiply(seconds, 1_000_000), micros), pa.timestamp("us"))
    return pc.strftime(instants, format="%Y-%m-%dT%H:%M:%SZ")
