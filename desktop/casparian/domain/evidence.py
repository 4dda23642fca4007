"""Evidence as it lies there: workspaces, sources, scans, files, and why something was left out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from casparian.domain.ids import FileId, ScanId, SourceId, WorkspaceId


@dataclass(frozen=True, slots=True)
class Workspace:
    """A case."""

    id: WorkspaceId
    name: str
    folder: str
    """Its folder below the outputs: made from its first name, and kept when it is renamed."""
    created_at: datetime
    archived_at: datetime | None = None

    @property
    def schema(self) -> str:
        """The name of its schema in the query catalog; the default workspace lives in `main`."""
        return "main" if self.name == DEFAULT_WORKSPACE else self.name


DEFAULT_WORKSPACE = "default"


@dataclass(frozen=True, slots=True)
class Source:
    """A folder or file that the user pointed at; never modified."""

    id: SourceId
    workspace_id: WorkspaceId
    path: str
    """Absolute, real path, as it is shown (see `shown_path`)."""
    path_bytes: bytes
    """The same path as the operating system has it."""
    is_folder: bool
    added_at: datetime
    removed_at: datetime | None = None


class FileState(StrEnum):
    """What a scan could learn of a file."""

    HASHED = "hashed"
    UNREADABLE = "unreadable"
    CHANGED = "changed"
    """It changed while it was being read: its hash would be of no moment in time."""
    MISSING = "missing"
    """A later scan did not find it any more, or none has met it yet: it is known by the rows that were
    read from it. These stay."""


class EvidenceFile(NamedTuple):
    """A catalogued file of a source; a named tuple, since those are made at half the cost."""

    id: FileId
    source_id: SourceId
    path: str
    """Relative to its source, `/` between parts, as shown; the file's name where the source is a file."""
    path_bytes: bytes
    """The relative path as the operating system has it."""
    size_bytes: int
    mtime_ns: int
    kind: str
    """What the bytes say it is (see `scout.kinds`); empty where it could not be read."""
    source_hash: str
    """BLAKE3 of the content, hex; empty where it could not be read."""
    sha256: str
    state: FileState
    tags: tuple[str, ...] = ()


class ProblemKind(StrEnum):
    """Why a scan left something out, or could not read it."""

    LINK = "link"
    """A symbolic link or junction: recorded, never followed."""
    SPECIAL = "special"
    """A socket, device or named pipe."""
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class ScanProblem:
    """One thing that a scan met and could not turn into a hashed file."""

    path: str
    path_bytes: bytes
    kind: ProblemKind
    message: str
    """A sentence for a person."""


class ScanState(StrEnum):
    """How a scan ended, if it did."""

    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Scan:
    """One walk of a source."""

    id: ScanId
    source_id: SourceId
    started_at: datetime
    state: ScanState
    ended_at: datetime | None = None
    found: int = 0
    """Files met, whatever became of them: found = hashed + unchanged + skipped."""
    hashed: int = 0
    unchanged: int = 0
    """Files whose size and mtime are those of the last scan; they were not read again."""
    skipped: int = 0
    missing: int = 0
    bytes_hashed: int = 0


def shown_path(raw: bytes) -> str:
    r"""Return a path as text that any database, log and screen can hold.

    Bytes that are not UTF-8 become `\xNN`; the exact path is kept beside it as bytes. Control and
    bidirectional characters are left in: what shows them must escape them (`shown_text`).
    """
    text = raw.decode("utf-8", "backslashreplace")
    return text.replace(os.sep, "/") if os.sep != "/" else text


# Bidirectional controls (Unicode UAX #9) can make a file name read as another one.
_UNSHOWABLE = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
    **{
        code: f"\\u{code:04x}"
        for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    },
    0x0A: "\\n",
    0x0D: "\\r",
    0x09: "\\t",
}


def shown_text(text: str) -> str:
    r"""Escape what would disturb or deceive on a screen: controls and bidirectional marks."""
    return text.translate(_UNSHOWABLE)
