"""Testimony: what Parquet files say of themselves, joined into the jobs that made them.

What of a job counted is not written in its files; part of it follows from them alone:

    an attempt     of a job that was read twice, the later reading counts
    a copy         of two files with rows of the same evidence, the one that has fewer files of evidence was
                   made from the other, and what it lacks had left
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

from casparian import parsers
from casparian.domain.contracts import Column
from casparian.domain.errors import CasparianError
from casparian.domain.ids import JobId
from casparian.domain.results import QUARANTINE_SUFFIX
from casparian.domain.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casparian.services.reading import Target
    from casparian.sinks.parquet import ParquetSink

NOWHERE = b"(where it lay is not recorded)"
"""The source of files whose lineage does not say where they lay; no real path is like it."""

_COPY_NAME = 36 + 1 + 36
"""Characters of the name of a copy: the job that made it, and an id of its own."""

_PLACE = re.compile(r"(?P<folder>[a-z][a-z0-9_]{,99})/(?P<table>[^/]+)/[^/]+")

_Id: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f-]{36}$")]
_Hash: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
_Instant: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000_000)]


class Evidence(msgspec.Struct, frozen=True):
    """What a Parquet file says of a file of evidence; see `worker.parts.file_facts`."""

    file_id: _Id
    source_hash: _Hash
    path: str
    size_bytes: _Count
    accepted: _Count
    quarantined: _Count
    source: str = ""
    absolute: str = ""
    mtime_ns: int = 0
    read: _Count | None = None
    """Its rows in all tables; None where that was not written yet."""
    notes: list[str] = msgspec.field(default_factory=list)

    @property
    def root(self) -> bytes:
        """The path of its source."""
        return self.source.encode("utf-8", "surrogateescape") or NOWHERE

    @property
    def is_folder(self) -> bool:
        """Whether its source is a folder, and not just this file."""
        return not self.source or self.source != self.absolute

    @property
    def relative(self) -> bytes:
        """Its path within the source."""
        if not self.source or self.source == self.absolute:
            return self.path.encode("utf-8", "backslashreplace")
        return self.absolute[len(self.source.rstrip("/")) + 1 :].encode("utf-8", "surrogateescape")


class Said(msgspec.Struct, frozen=True):
    """What a Parquet file says of itself."""

    job_id: _Id
    parser: str
    parser_version: str
    artifact_hash: _Hash
    output: str
    layout: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")]
    quarantine: bool
    columns: list[tuple[str, str, bool]]
    processed_at_us: _Instant
    """Tells the attempts of a job apart."""
    files: Annotated[list[Evidence], msgspec.Meta(min_length=1)]
    without_rows: list[Evidence] = msgspec.field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Piece:
    """A Parquet file that no output names."""

    sink: str
    path: str
    folder: str
    """Of its workspace."""
    table: str
    size_bytes: int
    rows: int
    said: Said

    @property
    def target(self) -> Target:
        """The table that its rows are of."""
        return (self.said.output, self.said.layout)

    @cached_property
    def file_ids(self) -> frozenset[str]:
        """The files of evidence that it has rows of."""
        return frozenset(one.file_id for one in self.said.files)

    @cached_property
    def age(self) -> tuple[str, str, str, str]:
        """Increases with the time at which it was made, among the files of one reading."""
        name = self.path.rpartition("/")[2].removesuffix(".parquet")
        return (name[37:] if len(name) == _COPY_NAME else "", name, self.sink, self.path)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Without the lineage columns, and without documentation."""
        return tuple(Column(*one) for one in self.said.columns)


@dataclass
class FoundJob:
    """A job as its files tell of it."""

    pieces: list[Piece]
    """Those that may count: of its last reading, and not copied since."""
    replaced: list[Piece]
    left: set[str] = field(default_factory=set)
    """Ids of files of evidence whose rows had left when a copy was made."""

    @property
    def said(self) -> Said:
        """What holds for the whole job."""
        return self.pieces[0].said

    @property
    def id(self) -> JobId:
        """As it was in the store that is lost."""
        return JobId(self.said.job_id)

    @property
    def at(self) -> datetime:
        """When it was run."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.said.processed_at_us)

    @cached_property
    def counts(self) -> dict[tuple[Target, str], Evidence]:
        """By table and file of evidence: what counts, if it has not left."""
        return {
            (piece.target, one.file_id): one for piece in self.pieces for one in piece.said.files
        }

    @cached_property
    def evidence(self) -> dict[str, list[Evidence]]:
        """Every file of evidence, with what it gave to each table; also those that gave nothing."""
        every = {
            (piece.target, one.file_id): one
            for piece in (*self.replaced, *self.pieces)
            for one in piece.said.files
        }
        found: dict[str, list[Evidence]] = defaultdict(list)
        for (_, file_id), one in every.items():
            found[file_id].append(one)
        for piece in (*self.pieces, *self.replaced):
            for one in piece.said.without_rows:
                found[one.file_id] = found[one.file_id] or [one]
        return found


def heard(sink: ParquetSink, key: str, path: str) -> Piece:
    """What a Parquet file says.

    Raises:
        CasparianError: it is damaged, not where an output would be, or does not say enough.
    """
    absolute = sink.absolute(path)
    rows = sink.rows(absolute)
    lineage = sink.lineage(path)
    if not lineage:
        raise CasparianError("It does not say where its rows come from")
    try:
        said = msgspec.convert(lineage, Said)
    except msgspec.ValidationError as error:
        raise CasparianError("What it says of its rows is not understood", str(error)) from error
    suffix = QUARANTINE_SUFFIX if said.quarantine else ""
    place = _PLACE.fullmatch(path)
    if place is None or not place["table"].endswith(suffix):
        raise CasparianError("It does not lie in the folder of a table")
    if said.parser not in parsers.BUILTIN:
        raise CasparianError(f"There is no parser {said.parser} any more")
    try:
        for _, word, _ in said.columns:
            arrow_type(word)
    except ValueError as error:
        raise CasparianError("Its columns are not understood", str(error)) from error
    counts = [one.quarantined if said.quarantine else one.accepted for one in said.files]
    if rows != sum(counts):
        raise CasparianError(f"It has {rows:,} rows", f"it should have {sum(counts):,}")
    table = place["table"].removesuffix(suffix)
    return Piece(key, path, place["folder"], table, absolute.stat().st_size, rows, said)


def joined(pieces: Sequence[Piece]) -> FoundJob:
    """Tell what may count of a job from what was replaced by a later attempt or a copy."""
    last = max(one.said.processed_at_us for one in pieces)
    alike: dict[tuple[Target, bool], list[Piece]] = defaultdict(list)
    for one in sorted(pieces, key=lambda one: one.age):
        if one.said.processed_at_us == last:
            alike[one.target, one.said.quarantine].append(one)
    counting: list[Piece] = []
    left: set[str] = set()
    for group in alike.values():
        kept = [one for one in group if not any(_replaces(other, one) for other in group)]
        counting += kept
        # What has left one table has left the others, where perhaps no copy tells of it.
        left |= _file_ids(group) - _file_ids(kept)
    return FoundJob(counting, [one for one in pieces if one not in counting], left)


def _file_ids(pieces: Iterable[Piece]) -> set[str]:
    return {one for piece in pieces for one in piece.file_ids}


def _replaces(new: Piece, old: Piece) -> bool:
    return new.file_ids <= old.file_ids and (new.file_ids < old.file_ids or new.age > old.age)


def lacking(job: FoundJob) -> str:
    """Why a job is not whole; empty if it is."""
    there = {
        (piece.target, file_id, piece.said.quarantine)
        for piece in job.pieces
        for file_id in piece.file_ids
    }
    read: dict[str, int] = defaultdict(int)
    for (target, file_id), one in job.counts.items():
        read[file_id] += one.accepted + one.quarantined
        rows = {False: one.accepted, True: one.quarantined}
        if file_id not in job.left and any(
            count and (target, file_id, quarantine) not in there
            for quarantine, count in rows.items()
        ):
            return f"Other rows that its job read from {one.path} are missing."
    for (_, file_id), one in job.counts.items():
        if file_id not in job.left and one.read not in {None, read[file_id]}:
            return f"Other rows that its job read from {one.path} are missing, or in a database."
    return ""
