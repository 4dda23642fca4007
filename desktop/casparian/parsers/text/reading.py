"""Text files as chunks of whole lines, whatever their encoding, without losing a byte.

The encoding comes from the bytes: a byte order mark; else UTF-16 where every other byte is NUL; else
UTF-8, which is proved by reading the whole file once. Where that fails, the question is whether the file
is damaged or of an older encoding, and it is answered for the file as a whole: if hardly any of it is
UTF-8 beyond ASCII, and the lines in question hold no control characters, it is read as windows-1252, which
the reader must say (`Encoding.note`); otherwise it is UTF-8, and the lines that are not can be told from
the others, since their bytes are kept in the text as lone surrogates (`Chunk.text`).
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 2 * 1024 * 1024
LONGEST_LINE_BYTES = 64 * 1024 * 1024
"""A line beyond this is not held in memory; it is reported as overlong."""
_KEPT_OF_OVERLONG = 8192
_HEAD_BYTES = 64 * 1024
_ESCAPED = re.compile("[\ud800-\udfff]")
_ESCAPED_LINE = re.compile("[^\n]*[\udc80-\udcff][^\n]*")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", 4),
    (codecs.BOM_UTF32_BE, "utf-32-be", 4),
    (codecs.BOM_UTF8, "utf-8", 1),
    (codecs.BOM_UTF16_LE, "utf-16-le", 2),
    (codecs.BOM_UTF16_BE, "utf-16-be", 2),
)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the bytes of a file are text."""

    codec: str
    unit_bytes: int = 1
    mark_bytes: int = 0
    """Length of the byte order mark."""
    line_end: str = "\n"
    r"""`\r` for files that have no `\n` at all; `\r\n` ends with `\n` like any other."""
    note: str = ""
    """A sentence, where the encoding is not what people take for granted."""

    def bytes_of(self, text: str) -> bytes:
        """The bytes that were read as this text."""
        errors = "surrogateescape" if self.unit_bytes == 1 else "surrogatepass"
        return text.replace("\n", self.line_end).encode(self.codec, errors)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some whole lines; the last of a file may lack its end."""

    first_line: int
    """Number of its first line, from 1."""
    utf8: bytes = b""
    """The lines as valid UTF-8, ends included; empty if they cannot be, or were overlong."""
    text: str = ""
    """The lines where some bytes are no characters: each such byte is a lone surrogate."""
    overlong: bytes = b""
    """The beginning of one line that was too long to be held."""
    end_byte: int = 0
    """Where in the file it ends."""


def detect(source: BinaryIO, *, must_be_unicode: bool = False) -> Encoding:
    """Find the encoding; leaves the file where the text begins, behind a byte order mark.

    Args:
        source: seekable.
        must_be_unicode: whether the format knows no other encodings, so that what is not UTF-8 is damage.
    """
    source.seek(0)
    head = source.read(_HEAD_BYTES)
    encoding = _by_mark(head) or _by_nuls(head)
    if encoding is None:
        encoding = Encoding("utf-8") if must_be_unicode else _by_reading(source)
    source.seek(encoding.mark_bytes)
    first = head[encoding.mark_bytes :].decode(encoding.codec, "replace")
    if "\n" not in first and "\r" in first:
        encoding = Encoding(
            encoding.codec, encoding.unit_bytes, encoding.mark_bytes, "\r", encoding.note
        )
    return encoding


def _by_mark(head: bytes) -> Encoding | None:
    for mark, codec, unit in _MARKS:
        if head.startswith(mark):
            return Encoding(codec, unit, len(mark))
    return None


def _by_nuls(head: bytes) -> Encoding | None:
    """UTF-16 of mostly Latin text: NUL in every other byte, and on one side only."""
    pairs = len(head) // 2
    if not pairs:
        return None
    even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    for codec, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if high > pairs * 0.4 and low < pairs * 0.05:
            return Encoding(
                codec, 2, note=f"There is no byte order mark; the bytes are read as {codec.upper()}"
            )
    return None


def _by_reading(source: BinaryIO) -> Encoding:
    source.seek(0)
    multiple = escaped = suspect = lines = first = 0
    for chunk in chunks(source, Encoding("utf-8")):
        data = chunk.utf8 or chunk.text.encode(errors="surrogateescape")
        if not data.isascii():
            multiple += len(data) - len(chunk.text or chunk.utf8.decode())
        for found in _ESCAPED_LINE.finditer(chunk.text):
            lines += 1
            first = first or chunk.first_line + chunk.text.count("\n", 0, found.start())
            escaped += len(_ESCAPED.findall(found[0]))
            suspect += _CONTROL.search(found[0]) is not None
    if lines and multiple * 20 <= escaped and suspect * 10 <= lines:
        return Encoding(
            "cp1252",
            note=f"The file is not UTF-8 ({lines:,} lines, the first is line {first:,}); "
            "it is read as windows-1252",
        )
    return Encoding("utf-8")


def chunks(source: BinaryIO, encoding: Encoding) -> Iterator[Chunk]:
    """Read the text in chunks of whole lines, about two megabytes each, from where the file stands."""
    end = encoding.line_end.encode(encoding.codec)
    line, held = 1, b""
    while True:
        # What is held grows by its own length, so that a long line is not moved again and again.
        wanted = max(CHUNK_BYTES, min(len(held), 8 * CHUNK_BYTES))
        block = source.read(wanted)
        data = held + block
        is_end = len(block) < wanted
        cut = len(data) if is_end else _after_last(data, end)
        if cut:
            chunk = _chunk(data[:cut], encoding, line, source.tell() - (len(data) - cut))
            line += chunk.utf8.count(b"\n") or chunk.text.count("\n")
            yield chunk
        held = data[cut:]
        if is_end:
            return
        if len(held) > LONGEST_LINE_BYTES:
            kept = held[:_KEPT_OF_OVERLONG]
            held = _behind_line(source, end)
            yield Chunk(line, overlong=kept, end_byte=source.tell() - len(held))
            line += 1


def blocks(source: BinaryIO, encoding: Encoding) -> Iterator[bytes]:
    """Read the text as UTF-8, about two megabytes at a time, from where the file stands.

    What is no character in the file is not valid in the blocks either; a character may lie across two.
    """
    if encoding.codec == "utf-8":
        while block := source.read(CHUNK_BYTES):
            yield block
        return
    decoder = codecs.getincrementaldecoder(encoding.codec)(_ESCAPE)
    while block := source.read(CHUNK_BYTES):
        yield decoder.decode(block).encode(errors="surrogatepass")
    yield decoder.decode(b"", final=True).encode(errors="surrogatepass")


def _chunk(data: bytes, encoding: Encoding, line: int, end_byte: int) -> Chunk:
    if encoding.codec == "utf-8" and encoding.line_end == "\n" and data.isascii():
        return Chunk(line, data, end_byte=end_byte)
    try:
        text, damaged = data.decode(encoding.codec), False
    except UnicodeDecodeError:
        errors = "surrogateescape" if encoding.unit_bytes == 1 else _ESCAPE
        text, damaged = data.decode(encoding.codec, errors), True
    if encoding.line_end != "\n":
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if damaged:
        return Chunk(line, text=text, end_byte=end_byte)
    return Chunk(line, text.encode(), end_byte=end_byte)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What `surrogateescape` does, for encodings of several bytes; half a surrogate pair is left as it is."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    if len(bad) == 2:
        return chr(
            int.from_bytes(bad, "little" if error.encoding.endswith("le") else "big")
        ), error.end
    return "".join(chr(0xDC00 + byte) for byte in bad), error.end


_ESCAPE = "casparian.escape"
codecs.register_error(_ESCAPE, _escape)


def _after_last(data: bytes, end: bytes) -> int:
    """Where the last whole line ends; 0 if there is none. A line end lies on a unit of its encoding."""
    at = len(data)
    while (at := data.rfind(end, 0, at)) >= 0:
        if at % len(end) == 0:
            return at + len(end)
        at += len(end) - 1
    return 0


def _behind_line(source: BinaryIO, end: bytes) -> bytes:
    """Read on to the next line end; return what was read beyond it."""
    while block := source.read(CHUNK_BYTES):
        at = -1
        while (at := block.find(end, at + 1)) >= 0:
            if at % len(end) == 0:
                return block[at + len(end) :]
    return b""
