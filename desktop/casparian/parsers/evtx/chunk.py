"""A chunk of a log, on its own: where its records stand, and what can be read of it if it is damaged."""

from __future__ import annotations

import datetime
import io
import struct
import zlib
from collections import Counter
from functools import cached_property
from typing import NamedTuple

from evtx import PyEvtxParser

from casparian.parsers.evtx.library import Given, reasons_of, records_of

FILE_SIGNATURE = b"ElfFile\0"
CHUNK_SIGNATURE = b"ElfChnk\0"
_RECORD_SIGNATURE = b"**\0\0"
HEADER_BYTES = 4_096
CHUNK_BYTES = 65_536
FIRST_RECORD = 512
"""Offset of the first record in a chunk."""
SMALLEST_RECORD = 28
_NO_LAST = 2**64 - 1
"""As the number of the last record: that of a chunk without any. The library stops at the last."""
NO_CHECKSUMS = 4
"""Flag in both kinds of header."""
KNOWN_FLAGS = 7


class Span(NamedTuple):
    """Where a record stands in its chunk."""

    start: int
    end: int
    record_id: int


class Chunk:
    """One chunk, read on its own."""

    def __init__(self, given: bytes, offset: int) -> None:
        self.given = given
        self.offset = offset
        self._bytes = given.ljust(CHUNK_BYTES, b"\0")
        mended = CHUNK_SIGNATURE + self._bytes[8:]
        self.is_whole = len(given) == CHUNK_BYTES and _checksums_hold(mended)
        """Whether its checksums prove it, once the signature is restored."""
        self.was_mended = not given.startswith(CHUNK_SIGNATURE)
        self.has_header = self.is_whole or not self.was_mended
        self._bytes = mended if self.has_header else self._with_new_header()

    @property
    def _limit(self) -> int:
        """Where the records end; what lies behind was there before them and is not of the log any more."""
        free = int.from_bytes(self._bytes[48:52], "little")
        return min(free if free >= FIRST_RECORD else CHUNK_BYTES, len(self.given))

    @cached_property
    def spans(self) -> list[Span]:
        """Every record that the bytes show: those have a signature, and their size at both ends."""
        limit = self._limit
        spans = []
        at = self._bytes.find(_RECORD_SIGNATURE, FIRST_RECORD, limit)
        while 0 <= at <= limit - SMALLEST_RECORD:
            size, record_id = struct.unpack_from("<IQ", self._bytes, at + 4)
            end = at + size
            if SMALLEST_RECORD <= size <= limit - at and (
                int.from_bytes(self._bytes[end - 4 : end], "little") == size
            ):
                spans.append(Span(at, end, record_id))
            else:
                end = at + len(_RECORD_SIGNATURE)
            at = self._bytes.find(_RECORD_SIGNATURE, end, limit)
        return spans

    @cached_property
    def gaps(self) -> list[Span]:
        """The stretches between records that are none; the number is that of the header there, if any.

        Zeros behind the last record are unused room.
        """
        ends = [FIRST_RECORD, *(span.end for span in self.spans)]
        starts = [*(span.start for span in self.spans), self._limit]
        gaps = [self._gap(end, start) for end, start in zip(ends, starts, strict=True)]
        return [gap for gap in gaps if gap]

    def _gap(self, start: int, end: int) -> Span | None:
        if start >= end or (end == self._limit and not self.given[start:end].strip(b"\0")):
            return None
        head = self._bytes[start : start + 16].ljust(16, b"\0")
        number = int.from_bytes(head[8:], "little")
        return Span(start, end, number if head.startswith(_RECORD_SIGNATURE) else -1)

    def left_by(self, records: list[Given]) -> tuple[list[Span], list[Span]]:
        """The records that the bytes show beyond those that were read, and the gaps that remain."""
        read = Counter(record["event_record_id"] for record in records)
        missing = [span for span in self.spans if not _taken(read, span.record_id)]
        gaps = []
        for whole in self.gaps:
            gap: Span | None = whole
            while gap and _taken(
                read, gap.record_id
            ):  # read, though its size does not stand at its end
                size = int.from_bytes(self._bytes[gap.start + 4 : gap.start + 8], "little")
                gap = self._gap(gap.start + size, gap.end)
            gaps += [gap] if gap else []
        return missing, gaps

    def records(self) -> tuple[list[Given], list[str]]:
        """What the library reads of it, and what it says of the rest."""
        return _read_chunk(self._bytes)

    def rescued(self, missing: list[Span]) -> tuple[dict[int, Given], dict[int, str]]:
        """The missing records that the library reads once nothing stops it before them; why not others.

        Both by the record's start.

        What lies between records becomes one record that it skips, and a time that it does not know is
        taken out of a record's header for the reading.
        """
        led = bytearray(self._bytes[: self._limit].ljust(CHUNK_BYTES, b"\0"))
        struct.pack_into("<Q8xQ", led, 16, _NO_LAST, _NO_LAST)
        for start, end, _ in self.gaps:
            if end - start >= SMALLEST_RECORD:
                struct.pack_into("<4sI16x", led, start, _RECORD_SIGNATURE, end - start)
        starts = {}
        for start, _, record_id in missing:
            # Numbers may repeat in a damaged chunk: the start, as a number, tells the records apart.
            struct.pack_into("<QQ", led, start + 8, start, 0)
            starts[start] = (record_id, struct.unpack_from("<Q", self._bytes, start + 16)[0])
        rescued: dict[int, Given] = {}
        records, errors = _read_chunk(bytes(led))
        for record in records:
            start = record["event_record_id"]
            if start in starts and start not in rescued:
                record_id, ticks = starts[start]
                record["event_record_id"] = record_id
                record["timestamp"] = _time_text(ticks)
                rescued[start] = record
        return rescued, reasons_of(errors)

    def _with_new_header(self) -> bytes:
        """The chunk behind a header that points to nothing but its records."""
        last = max(self.spans, default=Span(FIRST_RECORD, len(self.given), 1))
        ids = [span.record_id for span in self.spans] or [1]
        numbers = (min(ids), max(ids), min(ids), max(ids))
        head = CHUNK_SIGNATURE + struct.pack("<4Q4I", *numbers, 128, last.start, last.end, 0)
        return head.ljust(FIRST_RECORD, b"\0") + self._bytes[FIRST_RECORD:]


def _taken(read: Counter[int], record_id: int) -> bool:
    """Whether a record of that number was read; each counts once."""
    if not read[record_id]:
        return False
    read[record_id] -= 1
    return True


def _time_text(ticks: int) -> str:
    """A FILETIME (ticks of 100 ns since 1601, MS-DTYP 2.3.3) as the library writes it, in any year."""
    days, rest = divmod(ticks, 86_400 * 10_000_000)
    ages, days = divmod(days, 146_097)  # 400 years repeat, to the weekday
    date = datetime.date(1601, 1, 1) + datetime.timedelta(days=days)
    seconds, fraction = divmod(rest, 10_000_000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:07}"
    return f"{date.year + 400 * ages:04}-{date.month:02}-{date.day:02}T{clock}Z UTC"


def _read_chunk(chunk: bytes) -> tuple[list[Given], list[str]]:
    records: list[Given] = []
    errors: list[str] = []
    reading = records_of(PyEvtxParser(io.BytesIO(file_header(1) + chunk)))
    while len(errors) <= CHUNK_BYTES // SMALLEST_RECORD:
        try:
            records.extend(reading)
        except RuntimeError as error:
            errors.append(str(error))
        else:
            break
    return records, errors


def _checksums_hold(chunk: bytes) -> bool:
    free, of_records = struct.unpack_from("<II", chunk, 48)
    of_header = int.from_bytes(chunk[124:128], "little")
    return zlib.crc32(chunk[:120] + chunk[128:FIRST_RECORD]) == of_header and (
        zlib.crc32(chunk[FIRST_RECORD:free]) == of_records
    )


def file_header(chunks: int) -> bytes:
    """A sound header for a log of so many chunks."""
    head = FILE_SIGNATURE + struct.pack("<QQQIHHHH", 0, max(chunks - 1, 0), 1, 128, 1, 3, 4096, 0)
    head = (head[:42] + struct.pack("<H", min(chunks, 0xFFFF))).ljust(120, b"\0")
    return (head + struct.pack("<II", 0, zlib.crc32(head))).ljust(HEADER_BYTES, b"\0")
