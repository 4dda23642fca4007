"""Jobs: one parser over a batch of files, and the table of moves that a job may make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from casparian.domain.ids import FileId, JobId, WorkspaceId


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    RUNNING = "running"
    COMMITTING = "committing"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    """Done, but some rows are in quarantine or some files failed."""
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen to the job."""
        return not MOVES[self]


_S = JobState
MOVES: dict[JobState, frozenset[JobState]] = {
    _S.QUEUED: frozenset({_S.CLAIMED, _S.CANCELLED}),
    # Back to the queue: the lease ran out, or the program that held it ended.
    _S.CLAIMED: frozenset({_S.RUNNING, _S.QUEUED, _S.FAILED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.COMMITTING, _S.QUEUED, _S.FAILED, _S.CANCELLED}),
    # Loading into a database takes its time, and may be cancelled until it is done.
    _S.COMMITTING: frozenset({_S.SUCCEEDED, _S.PARTIAL, _S.QUEUED, _S.FAILED, _S.CANCELLED}),
    _S.SUCCEEDED: frozenset(),
    _S.PARTIAL: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}


def check_move(old: JobState, new: JobState) -> None:
    """Raise AssertionError if a job may not go from `old` to `new`: such a move is a bug."""
    if new not in MOVES[old]:
        raise AssertionError(f"a job cannot go from {old} to {new}")


class JobFileState(StrEnum):
    """What became of one file of a job."""

    WAITING = "waiting"
    DONE = "done"
    PARTIAL = "partial"
    """Read, but some of it is in quarantine."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One parser over a batch of files."""

    id: JobId
    workspace_id: WorkspaceId
    parser: str
    parser_version: str
    artifact_hash: str
    state: JobState
    files: int
    size_bytes: int
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempt: int = 0
    """How often it was claimed."""
    host: str = ""
    rows: int = 0
    quarantined: int = 0
    failed_files: int = 0
    problem: str = ""
    """The sentence that says why it failed, or why it is in the queue again; empty otherwise."""
    not_before: datetime | None = None
    """When a queued job is tried again that rests after a trouble, by the store's clock."""
    retry_of: JobId | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run a job: a result that comes with another token is dropped."""

    job: Job
    token: str
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class JobFile:
    """One file of a job, with its reconciliation: read = accepted + quarantined."""

    job_id: JobId
    file_id: FileId
    path: str
    state: JobFileState
    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work has come; the one who shows it formats it."""

    done: int
    total: int | None
    """None while it cannot be known: shown as a busy bar, never guessed."""
    unit: str
    """`files`, `rows` or `bytes`."""
    current: str = ""
    """What it is at, e.g. a path."""
    rate: float | None = None
    """Units a second over the last moments."""
