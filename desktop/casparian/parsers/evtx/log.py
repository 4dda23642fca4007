"""A log as a file: what the headers of it and of its chunks say, and what that is worth."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

from typing_extensions import override

from casparian.api import ParseContext, ParserFault, Rejected
from casparian.parsers.evtx.chunk import (
    CHUNK_BYTES,
    CHUNK_SIGNATURE,
    FILE_SIGNATURE,
    FIRST_RECORD,
    HEADER_BYTES,
    KNOWN_FLAGS,
    NO_CHECKSUMS,
    SMALLEST_RECORD,
    Chunk,
    file_header,
)
from casparian.parsers.evtx.columns import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator


class Log:
    """What the headers of a file and of its chunks say, and what that is worth."""

    def __init__(self, source: BinaryIO, context: ParseContext) -> None:
        self._source = source
        self._context = context
        self._size = source.seek(0, io.SEEK_END)
        self._whole, self._rest = divmod(max(self._size - HEADER_BYTES, 0), CHUNK_BYTES)
        source.seek(0)
        self._head = source.read(HEADER_BYTES)
        self._empty: list[int] = []
        self.with_signature: list[int] = []
        """The chunks that are some by their signature."""
        self.doubtful: list[int] = []
        """Those whose header does not point to the record that it calls the last."""
        self.expected_records = 0
        """What the headers of the chunks count together."""
        for index in range(self._whole):
            self._survey(index)
        self._check_signature()

    @property
    def most_records(self) -> int:
        """More records than the file can hold: whoever counts more errors goes in circles."""
        return self._size // SMALLEST_RECORD + 1

    @property
    def chunk_being_read(self) -> int:
        """The library reads a chunk at a time: the index of the last."""
        return (self._source.tell() - HEADER_BYTES) // CHUNK_BYTES - 1

    @property
    def done_bytes(self) -> int:
        """How far the file is read."""
        return self._source.tell()

    def view(self) -> BinaryIO:
        """The file for the library: itself, or behind a new header if its own is damaged."""
        if self._header_holds:
            self._source.seek(0)
            return self._source
        return io.BufferedReader(_Behind(file_header(self._whole), self._source), CHUNK_BYTES)

    def chunk(self, index: int) -> Chunk:
        """A whole chunk, on its own."""
        offset = HEADER_BYTES + index * CHUNK_BYTES
        at = self._source.tell()
        chunk = Chunk(self._read_at(offset, CHUNK_BYTES), offset)
        self._source.seek(at)
        return chunk

    def cut_chunk(self) -> Chunk | None:
        """The chunk that the end of the file cuts, if there is one."""
        chunk = self.chunk(self._whole)
        return chunk if chunk.given.startswith(CHUNK_SIGNATURE) else None

    def damage(self) -> Iterator[Rejected]:
        """What the headers show to be missing; what they show to be harmless is only noted."""
        counted = int.from_bytes(self._head[42:44], "little")
        cut = self.cut_chunk()
        last_present = self.with_signature[-1] if self.with_signature else -1
        if not self._header_holds:
            self._note_header()
            counted = len(self.with_signature)
        if counted > self._whole:
            there = f"{self._whole:,} whole" + (" and a part of one" if cut else "")
            message = (
                f"The file is cut short: its header counts {counted:,} chunks, it holds {there}"
            )
            yield Rejected(TABLE, self._size, "cut_short", message)
        elif counted < len(self.with_signature):
            self._context.warn(
                f"The header is older than the log, as in a log collected from a running system: it "
                f"counts {counted:,} of the {len(self.with_signature):,} chunks in the file; all were read"
            )
        if self._rest and not cut:
            self._context.warn(
                f"The last {self._rest:,} bytes are no chunk and were not read",
                self._size - self._rest,
            )
        for first, last in _runs([one for one in self._empty if one < max(counted, last_present)]):
            offset = HEADER_BYTES + first * CHUNK_BYTES
            which = (
                f"Chunk {first + 1} is"
                if first == last
                else f"Chunks {first + 1} to {last + 1} are"
            )
            message = f"{which} empty (offset {offset:,}), though the log goes on behind: records are lost"
            yield Rejected(TABLE, offset, "empty_chunk", message)

    def _survey(self, index: int) -> None:
        offset = HEADER_BYTES + index * CHUNK_BYTES
        head = self._read_at(offset, 64)
        if head.startswith(CHUNK_SIGNATURE):
            self.with_signature.append(index)
            first, last = struct.unpack_from("<QQ", head, 8)
            if first <= last <= first + CHUNK_BYTES // SMALLEST_RECORD:
                self.expected_records += last - first + 1
            last_id, _, start, free = struct.unpack_from("<QIII", head, 32)
            record = self._read_at(offset + start, 16)
            size, record_id = struct.unpack_from("<IQ", record.ljust(16, b"\0"), 4)
            if (start + size, record_id) != (free, last_id) and free > FIRST_RECORD:
                self.doubtful.append(index)
        elif not head.strip(b"\0") and not self._read_at(offset, CHUNK_BYTES).strip(b"\0"):
            self._empty.append(index)

    def _read_at(self, offset: int, size: int) -> bytes:
        self._source.seek(offset)
        return self._source.read(size)

    def _check_signature(self) -> None:
        if not self._size:
            raise ParserFault("The file is empty")
        if self.with_signature:
            return
        if not self._head.startswith(FILE_SIGNATURE):
            raise ParserFault(
                "The file is no event log",
                f"it begins with {self._head[:8].hex(' ')} and holds no chunk of one",
            )
        if len(self._head) < HEADER_BYTES:
            detail = f"{self._size:,} of {HEADER_BYTES:,} bytes are there"
            raise ParserFault("The file is cut within its header", detail)

    @property
    def _header_holds(self) -> bool:
        flags, checksum = struct.unpack_from("<II", self._head, 120)
        return self._head.startswith(FILE_SIGNATURE) and (
            zlib.crc32(self._head[:120]) == checksum
            or bool(flags & NO_CHECKSUMS and not flags & ~KNOWN_FLAGS)
        )

    def _note_header(self) -> None:
        what = "header is damaged: its checksum does not hold"
        if not self._head.startswith(FILE_SIGNATURE):
            what = f"signature is damaged: the file begins with {self._head[:8].hex(' ')}"
        self._context.warn(f"The file's {what}; its chunks were read regardless", 0)


class _Behind(io.RawIOBase):
    """A file whose first bytes are replaced."""

    def __init__(self, head: bytes, source: BinaryIO) -> None:
        self._head, self._source, self._at = head, source, 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        self._at = self._source.seek(offset, whence) if start is None else start + offset
        return self._at

    @override
    def readinto(self, buffer: Any) -> int:
        if self._at < len(self._head):
            data = self._head[self._at : self._at + len(buffer)]
        else:
            self._source.seek(self._at)
            data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _runs(indices: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbours in a sorted list as first and last."""
    start = 0
    for at in range(1, len(indices) + 1):
        if at == len(indices) or indices[at] != indices[at - 1] + 1:
            yield indices[start], indices[at - 1]
            start = at
