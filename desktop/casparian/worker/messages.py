"""The wire between the supervisor and a worker: one JSON object a line, each with a `type`.

Down (stdin): `run`, `stop`. Up (stdout): `hello`, `alive`, `file_started`, `warning`, `file_done`,
`file_failed`, `staged`, `run_failed`. What comes up is not trusted: a line has a length limit, unknown
types and paths outside the staging folder break the protocol, and counts are checked against the files.
Paths of evidence travel as base64, since they need not be text.
"""

from __future__ import annotations

import msgspec

MAX_LINE_BYTES = 4 * 1024 * 1024


class ColumnSpec(msgspec.Struct, frozen=True):
    """A column of a contract, as in `domain.contracts.Column` without its documentation."""

    name: str
    type: str
    nullable: bool = True


class FileSpec(msgspec.Struct, frozen=True):
    """A file to read."""

    file_id: str
    path: bytes
    """Absolute, as the operating system has it."""
    shown: str
    source_hash: str
    size_bytes: int
    mtime_ns: int
    root: bytes = b""
    """The source that it belongs to, as it lies on this host; for the lineage in the staged files."""


class Run(msgspec.Struct, tag_field="type", tag="run", frozen=True):
    """Read these files with this parser and stage what they give."""

    job_id: str
    parser: str
    staging: str
    """An empty folder for this run alone."""
    processed_at_us: int
    """Instant for `_cf_processed_at`, microseconds since 1970 UTC."""
    files: list[FileSpec]
    contracts: dict[str, list[ColumnSpec]]
    """By output: the contract of an output with fixed columns."""
    layouts: dict[str, list[ColumnSpec]]
    """By layout key: the types known so far; a file may only widen them."""
    artifact_hash: str = ""
    """The parser's identity, for the lineage in the staged files."""


class Stop(msgspec.Struct, tag_field="type", tag="stop", frozen=True):
    """End after the current job."""


class Hello(msgspec.Struct, tag_field="type", tag="hello", frozen=True):
    """A worker is ready."""

    pid: int
    version: str


class Alive(msgspec.Struct, tag_field="type", tag="alive", frozen=True):
    """Sent every second by a thread of its own, whatever the parser does."""

    file_id: str
    """The file in flight; empty between files."""
    done_bytes: int
    """Bytes read of all the files of the run; that it grows is the sign of progress."""
    rows: int
    """Rows read so far, accepted or not."""


class FileStarted(msgspec.Struct, tag_field="type", tag="file_started", frozen=True):
    """A file is opened now; if the worker dies, this is the one to blame."""

    file_id: str


class Warned(msgspec.Struct, tag_field="type", tag="warning", frozen=True):
    """A problem of a file that is no row."""

    file_id: str
    message: str
    offset: int | None = None


class TableCount(msgspec.Struct, frozen=True):
    """What one file gave to one table."""

    output: str
    layout: str
    """Layout key, empty for an output with fixed columns."""
    accepted: int
    quarantined: int


class FileDone(msgspec.Struct, tag_field="type", tag="file_done", frozen=True):
    """A file is read to its end: read = sum of accepted + sum of quarantined."""

    file_id: str
    read: int
    tables: list[TableCount]


class FileFailed(msgspec.Struct, tag_field="type", tag="file_failed", frozen=True):
    """A file gave nothing: it changed, could not be opened, or the parser raised."""

    file_id: str
    message: str


class Part(msgspec.Struct, frozen=True):
    """One staged Parquet file."""

    path: str
    """Relative to the staging folder, no separators."""
    output: str
    layout: str
    suggested_table: str
    """For a layout: the name its table should have if it is new."""
    quarantine: bool
    columns: list[ColumnSpec]
    """Without the lineage columns."""
    rows: int


class Staged(msgspec.Struct, tag_field="type", tag="staged", frozen=True):
    """The run is over; these files are complete and synced to disk."""

    parts: list[Part]


class RunFailed(msgspec.Struct, tag_field="type", tag="run_failed", frozen=True):
    """The run cannot go on, and no file is to blame: the disk is full, staging is gone."""

    message: str


Up = Hello | Alive | FileStarted | Warned | FileDone | FileFailed | Staged | RunFailed
Down = Run | Stop

encode = msgspec.json.Encoder().encode
decode_up = msgspec.json.Decoder(Up).decode
decode_down = msgspec.json.Decoder(Down).decode
