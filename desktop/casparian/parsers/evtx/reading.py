"""One pass over a log: which of its records become rows, and what goes to quarantine."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from evtx import PyEvtxParser

from casparian.api import Batch, ParseContext, Rejected
from casparian.parsers.evtx.columns import TABLE
from casparian.parsers.evtx.library import CHUNK_ERROR, RECORD_ERROR, Given, reasons_of, records_of
from casparian.parsers.evtx.odd import Odd, odd_batch
from casparian.parsers.evtx.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from casparian.parsers.evtx.chunk import Chunk
    from casparian.parsers.evtx.log import Log

_GROUP_RECORDS = 64
_ODD_RECORDS = 256
_BATCH_RECORDS = 4_096
"""A batch costs about as much as a hundred records, whatever its size."""
_BATCH_CHUNKS = 64
"""Records are at most a chunk long; this bounds the bytes of a batch whatever they are."""

_LISTED = 10


class Reading:
    """One pass over a log."""

    def __init__(self, log: Log, context: ParseContext) -> None:
        self._log = log
        self._context = context
        self._rows = Rows()
        self._rows_since = -1
        """The chunk before the first of these rows."""
        self._odd: list[Odd] = []
        self._ordinal = 0
        self._seen_to: set[int] = set()
        """The chunks that were read on their own."""
        self._mended: list[int] = []
        self._unproven: list[int] = []

    def items(self) -> Iterator[Batch | Rejected]:
        """All that the log holds."""
        yield from self._log.damage()
        yield from self._read_chunks()
        short = self._ordinal < self._log.expected_records
        for index in self._log.with_signature if short else self._log.doubtful:
            yield from self._read_rest(index)
        yield from self._read_cut_chunk()
        yield from self._flush()
        yield from self._flush_odd()
        self._note_chunks()

    def _note_chunks(self) -> None:
        if self._mended:
            self._context.warn(
                f"{_listed(self._mended)} lost the signature; the checksums prove the rest whole, and the "
                "records were read"
            )
        if self._unproven:
            self._context.warn(
                f"{_listed(self._unproven)} may be altered, or was being written when the log was "
                "collected: a checksum does not hold; the records were read"
            )

    def _read_chunks(self) -> Iterator[Batch | Rejected]:
        records = records_of(PyEvtxParser(self._log.view(), validate_checksums=True))
        faulty = -1
        for _ in range(self._log.most_records):
            try:
                yield from self._read_records(records)
            except RuntimeError as error:
                index = self._log.chunk_being_read
                if found := CHUNK_ERROR.match(str(error)):
                    yield from self._read_damaged_chunk(int(found[1]))
                elif index != faulty:
                    yield from self._read_rest(faulty)
                    faulty = index
                yield from self._flush_full()
            else:
                break
        yield from self._read_rest(faulty)

    def _read_records(self, records: Iterator[Given]) -> Iterator[Batch | Rejected]:
        while self._take(islice(records, _GROUP_RECORDS)):
            yield from self._flush_full()

    def _take(self, records: Iterable[Given]) -> bool:
        """Take records as the library gives them; whether there were any.

        Fetched and taken apart some dozens at a time: each of these steps is much code, and the processor
        runs it faster when it stays with one for a while.

        Raises:
            RuntimeError: the library failed on one; those before it are taken.
        """
        group: list[Given] = []
        try:
            group.extend(records)
        finally:
            self._take_group(group)
        return bool(group)

    def _take_group(self, group: list[Given]) -> None:
        self._odd += self._rows.add(group, self._ordinal + 1)
        self._ordinal += len(group)

    def _flush_full(self) -> Iterator[Batch | Rejected]:
        chunks = self._log.chunk_being_read - self._rows_since
        if len(self._rows) >= _BATCH_RECORDS or chunks >= _BATCH_CHUNKS:
            yield from self._flush()
            self._context.progress(self._log.done_bytes)
        if len(self._odd) >= _ODD_RECORDS:
            yield from self._flush_odd()

    def _flush(self) -> Iterator[Batch]:
        self._rows_since = self._log.chunk_being_read
        if len(self._rows):
            rows, self._rows = self._rows, Rows()
            yield rows.batch()

    def _flush_odd(self) -> Iterator[Batch | Rejected]:
        odd, self._odd = self._odd, []
        return odd_batch(odd)

    def _read_rest(self, index: int) -> Iterator[Rejected]:
        """See to what the library has not read of a chunk whose checksums hold; once for each chunk."""
        if index >= 0 and index not in self._seen_to:
            self._seen_to.add(index)
            chunk = self._log.chunk(index)
            yield from self._unread(chunk, *chunk.records())

    def _read_damaged_chunk(self, index: int) -> Iterator[Rejected]:
        """Read a chunk that the library refused as a whole, on its own."""
        self._seen_to.add(index)
        chunk = self._log.chunk(index)
        if not chunk.has_header:
            why = f"chunk {index + 1} has lost its header"
            yield from self._salvage(chunk, "lost_chunk_header", why)
            return
        (self._mended if chunk.was_mended else self._unproven).append(index + 1)
        records, errors = chunk.records()
        self._take(records)
        yield from self._unread(chunk, records, errors)

    def _read_cut_chunk(self) -> Iterator[Rejected]:
        chunk = self._log.cut_chunk()
        if chunk is not None:
            yield from self._salvage(chunk, "cut_chunk", "the file ends within its chunk")

    def _salvage(self, chunk: Chunk, violation: str, why: str) -> Iterator[Rejected]:
        """What can be read of a chunk that nothing proves: text in quarantine."""
        records, errors = chunk.records()
        whole = {span.record_id for span in chunk.spans}
        records = [one for one in records if one["event_record_id"] in whole]
        for record in records:
            message = f"Record {record['event_record_id']} can be read, but {why}"
            yield self._rejected(violation, message, record["data"].encode())
        yield from self._unread(chunk, records, errors)
        if not chunk.spans:
            message = f"At offset {chunk.offset:,}: {why}, and no record can be made out in it"
            yield Rejected(TABLE, chunk.offset, violation, message, chunk.given)

    def _unread(self, chunk: Chunk, records: list[Given], errors: list[str]) -> Iterator[Rejected]:
        """What a chunk's bytes show to be records and the library did not read.

        It stops at a header that it does not take and leaves out the neighbours behind it. Those are read
        in a second attempt: they are rows if the chunk is whole, else text in quarantine.
        """
        reasons = reasons_of(errors)
        others = "; ".join(text for text in errors if not RECORD_ERROR.match(text))
        missing, gaps = chunk.left_by(records)
        rescued, still = chunk.rescued(missing) if missing else ({}, {})
        for span in missing:
            record = rescued.get(span.start)
            if record is not None and chunk.is_whole:
                self._take([record])
                continue
            reason = reasons.pop(span.record_id, still.get(span.start, others))
            reason = reason or "it lies behind damage"
            message = f"Record {span.record_id} at offset {chunk.offset + span.start:,}: {reason}"
            raw = chunk.given[span.start : span.end] if record is None else record["data"].encode()
            yield self._rejected("bad_record", message, raw)
        for start, end, record_id in gaps:
            reason = reasons.pop(record_id, others) or "no record can be made out"
            message = f"{end - start:,} bytes at offset {chunk.offset + start:,}: {reason}"
            yield self._rejected("bad_record", message, chunk.given[start:end])
        for record_id, reason in reasons.items():
            message = f"Record {record_id} in the chunk at offset {chunk.offset:,}: {reason}"
            yield self._rejected("bad_record", message)

    def _rejected(self, violation: str, message: str, raw: bytes = b"") -> Rejected:
        self._ordinal += 1
        return Rejected(TABLE, self._ordinal, violation, message, raw)


def _listed(chunks: list[int]) -> str:
    """Chunks by their numbers, for a person."""
    shown = ", ".join(f"{one:,}" for one in chunks[:_LISTED])
    more = len(chunks) - _LISTED
    return f"Chunk {shown}" + (f" and {more:,} more" if more > 0 else "")
