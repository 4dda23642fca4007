"""Reading a job's files in a worker, and believing nothing of what it says before it is counted again.

A worker that dies costs the file in flight: that file is marked failed, and the others are read again in
a fresh worker, until the run is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from casparian import parsers
from casparian.domain.contracts import Column
from casparian.domain.errors import EnvironmentProblem, ParserFault
from casparian.domain.events import JobProgressed
from casparian.domain.evidence import shown_path
from casparian.domain.ids import FileId
from casparian.domain.jobs import Progress
from casparian.domain.lineage import LINEAGE_KEY
from casparian.worker import messages as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from casparian.domain.cancel import CancelToken
    from casparian.domain.events import EventBus
    from casparian.domain.jobs import Claim, Job
    from casparian.settings import Settings
    from casparian.state.database import Store
    from casparian.state.queue import JobEvidence
    from casparian.worker.supervisor import Died, WorkerProcess

PROGRESS_EVERY_S = 0.1
BLANK_DEATHS = 2
"""A worker may die so often without a file in flight before the job is given up."""

Target = tuple[str, str]
"""Output, and layout key (empty for fixed columns)."""


@dataclass(slots=True)
class Reading:
    """What came out of the workers of one job."""

    done: dict[FileId, wire.FileDone] = field(default_factory=dict)
    failed: dict[FileId, str] = field(default_factory=dict)
    notes: dict[FileId, list[str]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True, slots=True)
class Part:
    """A staged file that was verified."""

    staged: Path
    target: Target
    quarantine: bool
    columns: tuple[Column, ...]
    rows: int
    suggested_table: str
    file_ids: frozenset[str]


class OutOfReach(EnvironmentProblem):
    """The evidence of a job cannot be reached from this host; another one may."""


class Reader:
    """Has the files of a job read."""

    def __init__(
        self, store: Store, bus: EventBus, workers: WorkerPool, settings: Settings
    ) -> None:
        self._store = store
        self._bus = bus
        self._workers = workers
        self._host = settings.host_name
        # What lies on this machine alone is not to be had by waiting for another host.
        self._is_shared = settings.state.is_server

    def read(self, claim: Claim, folder: Path, cancel: CancelToken) -> tuple[Reading, list[Part]]:
        """Read every file of a job, in a fresh worker after each one that died."""
        job, reading = claim.job, Reading()
        with self._store.read() as uow:
            evidence = uow.jobs.evidence(job.id, self._host)
        if self._is_shared:
            self._check_reach(evidence)
        for one in evidence:
            if one.current_hash != one.source_hash:
                reading.failed[one.file_id] = "It has changed since the job was planned."
        blank_deaths = 0
        for attempt in range(len(evidence) + BLANK_DEATHS):
            left = [one for one in evidence if one.file_id not in reading.failed]
            if not left:
                break
            staging = folder / str(attempt)
            staging.mkdir()
            reading.done.clear()
            run = self._order(job, left, staging)
            with self._workers.borrow() as worker:
                listener = _Listener(self._bus, job, left, reading)
                ended = worker.run(run, listener.hear, cancel)
            if isinstance(ended, wire.Staged):
                return reading, self._verified(ended, staging, left, reading)
            self._bury(job, ended, reading)
            if not ended.file_id:
                blank_deaths += 1
                if blank_deaths == BLANK_DEATHS:
                    raise ParserFault(
                        "The worker ended before it read a file",
                        ended.message,
                        ended.stderr_tail[-500:],
                    )
            shutil.rmtree(staging, ignore_errors=True)
        return reading, []

    def _check_reach(self, evidence: Sequence[JobEvidence]) -> None:
        for root in sorted({one.root_bytes for one in evidence}):
            if not os.path.lexists(root):
                raise OutOfReach(
                    f"{self._host} cannot reach {shown_path(root)}",
                    "the job waits for a host that can",
                    "Say where the source lies on this host, or mount it there",
                )

    def _order(self, job: Job, evidence: Sequence[JobEvidence], staging: Path) -> wire.Run:
        parser = parsers.load(job.parser)
        with self._store.read() as uow:
            layouts = {
                one.layout_key: _specs(one.columns)
                for one in uow.outputs.contracts(job.workspace_id).values()
                if one.parser == job.parser and one.layout_key
            }
        return wire.Run(
            job_id=job.id,
            parser=job.parser,
            staging=str(staging),
            processed_at_us=time.time_ns() // 1000,
            files=[
                wire.FileSpec(
                    file_id=one.file_id,
                    path=one.path_bytes,
                    shown=one.shown,
                    source_hash=one.source_hash,
                    size_bytes=one.size_bytes,
                    mtime_ns=one.mtime_ns,
                    root=one.root_bytes,
                )
                for one in evidence
            ],
            contracts={
                one.name: _specs(one.columns) for one in parser.outputs if not one.follows_layout
            },
            layouts=layouts,
            artifact_hash=job.artifact_hash,
        )

    def _bury(self, job: Job, died: Died, reading: Reading) -> None:
        """Blame the file in flight for its worker's death."""
        lines = [f"The worker ended: {died.message}."]
        if died.stderr_tail:
            lines.append(died.stderr_tail)
        if died.file_id:
            reading.failed[FileId(died.file_id)] = f"The worker that read it ended: {died.message}."
        with self._store.write() as uow:
            uow.jobs.note(job.id, datetime.now(UTC), "\n".join(lines))
            uow.commit()

    def _verified(
        self, staged: wire.Staged, staging: Path, evidence: Sequence[JobEvidence], reading: Reading
    ) -> list[Part]:
        """Believe nothing: every file accounted for, every row counted again from the files."""
        for one in evidence:
            if one.file_id not in reading.done and one.file_id not in reading.failed:
                raise ParserFault("The worker forgot a file", one.shown)
        counted: dict[tuple[Target, bool], int] = defaultdict(int)
        for done in reading.done.values():
            if done.read != sum(one.accepted + one.quarantined for one in done.tables):
                raise ParserFault(
                    "The worker's counts do not add up",
                    f"{done.read} rows read, others accounted for",
                )
            for count in done.tables:
                counted[(count.output, count.layout), False] += count.accepted
                counted[(count.output, count.layout), True] += count.quarantined
        parts = [self._verified_part(one, staging) for one in staged.parts]
        staged_rows: dict[tuple[Target, bool], int] = defaultdict(int)
        for part in parts:
            staged_rows[part.target, part.quarantine] += part.rows
        for key in counted.keys() | staged_rows.keys():
            if counted[key] != staged_rows[key]:
                raise ParserFault(
                    "The staged rows are not those that were counted",
                    f"{key[0][0]}: {counted[key]} counted, {staged_rows[key]} staged",
                )
        return parts

    def _verified_part(self, part: wire.Part, staging: Path) -> Part:
        path = staging / part.path
        if path.parent != staging or part.path.startswith("."):
            raise ParserFault("The worker named a file outside its staging folder", part.path)
        try:
            metadata = pq.read_metadata(path)
        except (OSError, ValueError) as error:
            raise ParserFault("A staged file is not whole", str(error)) from error
        if metadata.num_rows != part.rows:
            raise ParserFault("A staged file does not have the rows it should", part.path)
        lineage = json.loads((metadata.metadata or {}).get(LINEAGE_KEY, b"{}"))
        return Part(
            staged=path,
            target=(part.output, part.layout),
            quarantine=part.quarantine,
            columns=tuple(Column(one.name, one.type, one.nullable) for one in part.columns),
            rows=part.rows,
            suggested_table=part.suggested_table,
            file_ids=frozenset(one["file_id"] for one in lineage.get("files", [])),
        )


def _specs(columns: Sequence[Column]) -> list[wire.ColumnSpec]:
    return [wire.ColumnSpec(one.name, one.type, one.nullable) for one in columns]


class _Listener:
    """Turns what a worker says into results and progress."""

    def __init__(
        self, bus: EventBus, job: Job, evidence: Sequence[JobEvidence], reading: Reading
    ) -> None:
        self._bus, self._job, self._reading = bus, job, reading
        self._paths = {one.file_id: one.shown for one in evidence}
        self._sizes = {one.file_id: one.size_bytes for one in evidence}
        self._total = sum(self._sizes.values())
        self._current = ""
        self._before = self._done = 0
        self._started = time.monotonic()
        self._told_at = 0.0

    def hear(self, message: wire.Up) -> None:
        """Take in one message.

        Raises:
            ParserFault: it speaks of a file that is not of this run.
        """
        file_id = FileId(getattr(message, "file_id", ""))
        if file_id and file_id not in self._paths:
            raise ParserFault("The worker speaks of a file that it was not given", file_id[:100])
        match message:
            case wire.FileStarted():
                self._current = self._paths[file_id]
            case wire.FileDone():
                self._reading.done[file_id] = message
                self._before += self._sizes[file_id]
                self._done = self._before
            case wire.FileFailed():
                self._reading.failed[file_id] = message.message
                self._before += self._sizes[file_id]
                self._done = self._before
            case wire.Warned():
                self._reading.notes[file_id].append(message.message)
            case wire.Alive():
                self._done = max(self._done, min(message.done_bytes, self._total))
            case _:
                return
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at < PROGRESS_EVERY_S and self._done < self._total:
            return
        self._told_at = now
        rate = self._done / max(now - self._started, 0.001)
        progress = Progress(self._done, self._total, "bytes", self._current, rate)
        self._bus.publish(JobProgressed(self._job.id, progress))


class WorkerPool:
    """The worker processes of this program: started when first needed, kept while they live."""

    def __init__(self, start: Callable[[], WorkerProcess]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []

    def borrow(self) -> _Borrowed:
        """A worker for one run, in a `with` block."""
        return _Borrowed(self)

    def take(self) -> WorkerProcess:
        """An idle worker, or a new one."""
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_usable:
                    return worker
                worker.kill()
        return self._start()

    def give_back(self, worker: WorkerProcess) -> None:
        """Keep a worker for the next run if it still can do one."""
        if worker.is_usable:
            with self._lock:
                self._idle.append(worker)
        else:
            worker.kill()

    def close(self) -> None:
        """End every idle worker."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.stop()


class _Borrowed:
    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._worker: WorkerProcess | None = None

    def __enter__(self) -> WorkerProcess:
        self._worker = self._pool.take()
        return self._worker

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._pool.give_back(self._worker)
