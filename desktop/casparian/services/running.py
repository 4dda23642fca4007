"""One job from its claim to its commit: read in a worker, verify, promote, record.

The steps and what a kill between them leaves behind:

    claimed -> running      the job goes back to the queue when the program is found dead
    staged                  a staging folder, deleted on recovery
    running -> committing   (transaction) new contracts are on record; nothing is visible yet
    promoted                files that no output row names: deleted on recovery
    committing -> done      (transaction) outputs, materializations, superseded ones and the job's end

so that no half output is ever visible, no row appears twice, and no job is lost.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from casparian import parsers
from casparian.domain.contracts import Column
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, ParserFault
from casparian.domain.events import JobChanged, JobProgressed
from casparian.domain.ids import FileId, JobId, OutputId, new_id
from casparian.domain.inference import widen
from casparian.domain.jobs import JobFile, JobFileState, JobState, Progress
from casparian.domain.lineage import (
    materialization_key,
    output_target_key,
    schema_hash,
)
from casparian.services.workspaces import safe_name
from casparian.sinks.parquet import LINEAGE_KEY, Promotion
from casparian.state.outputs import Materialization, OutputFile, TableContract
from casparian.state.queue import LEASE
from casparian.worker import messages as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from casparian.domain.cancel import CancelToken
    from casparian.domain.events import EventBus
    from casparian.domain.evidence import Workspace
    from casparian.domain.jobs import Claim, Job
    from casparian.sinks.parquet import ParquetSink
    from casparian.state.database import Store, UnitOfWork
    from casparian.state.queue import JobEvidence
    from casparian.worker.supervisor import Died, WorkerProcess

logger = logging.getLogger(__name__)

MODE = "supersede"
BEATS_PER_LEASE = 6
PROGRESS_EVERY_S = 0.1
BLANK_DEATHS = 2
"""A worker may die so often without a file in flight before the job is given up."""
COMMIT_TRIES = 5

Target = tuple[str, str]
"""Output, and layout key (empty for fixed columns)."""


@dataclass(slots=True)
class _Reading:
    """What came out of the workers of one job."""

    done: dict[FileId, wire.FileDone] = field(default_factory=dict)
    failed: dict[FileId, str] = field(default_factory=dict)
    notes: dict[FileId, list[str]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True, slots=True)
class _Part:
    """A staged file that was verified."""

    staged: Path
    target: Target
    quarantine: bool
    columns: tuple[Column, ...]
    rows: int
    suggested_table: str
    file_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Replaced:
    """What a commit takes out of the catalog, and the copies that stay in without the replaced rows."""

    materializations: tuple[str, ...]
    outputs: tuple[OutputId, ...]
    copies: tuple[tuple[Path, OutputFile], ...]


class _OutdatedError(Exception):
    """Another program changed the outputs that this commit replaces; decide again."""


class JobRunner:
    """Runs claimed jobs, each to its end."""

    def __init__(
        self, store: Store, bus: EventBus, sink: ParquetSink, staging: Path, workers: WorkerPool
    ) -> None:
        self._store = store
        self._bus = bus
        self._sink = sink
        self._staging = staging
        self._workers = workers
        # Two commits of one program must not rewrite the same older output.
        self._committing = threading.Lock()

    def run(self, claim: Claim, cancel: CancelToken, *, is_closing: Callable[[], bool]) -> JobState:
        """Bring a job to its end, whichever it is; a job whose program closes goes back to the queue."""
        job = claim.job
        folder = self._staging / f"{job.id}-{job.attempt}"
        state, problem = JobState.FAILED, ""
        with _Heart(self._store, claim, cancel):
            try:
                self._move(claim, JobState.RUNNING)
                folder.mkdir(parents=True, exist_ok=True)
                reading, parts = self._read(claim, folder, cancel)
                with self._committing:
                    return self._commit(claim, reading, parts, folder)
            except Cancelled:
                state = JobState.QUEUED if is_closing() else JobState.CANCELLED
            except CasparianError as error:
                problem = str(error)
            except Exception as error:
                logger.exception("job %s failed on a bug", job.id)
                problem = f"The program has a bug: {type(error).__name__}: {error}"
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        self._give_up(claim, state, problem)
        return state

    # Reading

    def _read(
        self, claim: Claim, folder: Path, cancel: CancelToken
    ) -> tuple[_Reading, list[_Part]]:
        """Read every file of a job, in a fresh worker after each one that died."""
        job, reading = claim.job, _Reading()
        with self._store.read() as uow:
            evidence = uow.jobs.evidence(job.id)
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
                )
                for one in evidence
            ],
            contracts={
                one.name: _specs(one.columns) for one in parser.outputs if not one.follows_layout
            },
            layouts=layouts,
            artifact_hash=job.artifact_hash,
        )

    def _bury(self, job: Job, died: Died, reading: _Reading) -> None:
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
        self, staged: wire.Staged, staging: Path, evidence: Sequence[JobEvidence], reading: _Reading
    ) -> list[_Part]:
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

    def _verified_part(self, part: wire.Part, staging: Path) -> _Part:
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
        return _Part(
            staged=path,
            target=(part.output, part.layout),
            quarantine=part.quarantine,
            columns=tuple(Column(one.name, one.type, one.nullable) for one in part.columns),
            rows=part.rows,
            suggested_table=part.suggested_table,
            file_ids=frozenset(one["file_id"] for one in lineage.get("files", [])),
        )

    # Committing

    def _commit(
        self, claim: Claim, reading: _Reading, parts: list[_Part], folder: Path
    ) -> JobState:
        job = claim.job
        with self._store.write() as uow:
            workspace = uow.evidence.workspace(job.workspace_id)
            if not uow.jobs.move(job.id, claim.token, JobState.COMMITTING):
                raise Cancelled("The job")
            contracts = self._contracts(uow, job, parts)
            uow.commit()
        self._bus.publish(JobChanged(job.workspace_id, job.id, JobState.COMMITTING))
        moves = self._placed(job, workspace, contracts, parts)
        self._sink.promote([promotion for promotion, _ in moves])
        promoted = [promotion.path for promotion, _ in moves]
        try:
            for _ in range(COMMIT_TRIES):
                done = self._materialized(job, contracts, reading, parts)
                replaced = self._replaced(workspace, job, done, folder)
                copies = [Promotion(staged, output.path) for staged, output in replaced.copies]
                self._sink.promote(copies)
                try:
                    state = self._record(claim, reading, moves, done, replaced)
                except _OutdatedError:
                    self._sink.revoke([copy.path for copy in copies])
                except BaseException:
                    self._sink.revoke([copy.path for copy in copies])
                    raise
                else:
                    self._bus.publish(JobChanged(job.workspace_id, job.id, state))
                    return state
        except BaseException:
            self._sink.revoke(promoted)
            raise
        self._sink.revoke(promoted)
        raise EnvironmentProblem(
            "The outputs kept changing",
            "another program commits to the same tables",
            retryable=True,
        )

    def _contracts(
        self, uow: UnitOfWork, job: Job, parts: Iterable[_Part]
    ) -> dict[Target, TableContract]:
        """The contract of every output of the job, made or widened where it must be."""
        parser = parsers.load(job.parser)
        every = uow.outputs.contracts(job.workspace_id)
        known = {
            (one.output, one.layout_key): one for one in every.values() if one.parser == job.parser
        }
        wanted: dict[Target, tuple[str, tuple[Column, ...]]] = {
            (one.name, ""): (one.name, one.columns) for one in parser.outputs
        }
        for part in parts:
            if part.target[1]:
                name, before = wanted.get(part.target, ("", ()))
                # Where every row of a layout was rejected, its columns are not known yet.
                columns = before if part.quarantine else _widened(before, part.columns)
                wanted[part.target] = (name or part.suggested_table or part.target[0], columns)
        now = datetime.now(UTC)
        resolved: dict[Target, TableContract] = {}
        for target, (name, columns) in wanted.items():
            old = known.get(target)
            if old is not None and target[1]:
                columns = _widened(old.columns, columns)
            new = TableContract(
                workspace_id=job.workspace_id,
                table=old.table if old else safe_name(name, set(every), fallback=target[0]),
                parser=job.parser,
                output=target[0],
                layout_key=target[1],
                columns=columns,
                schema_hash=schema_hash(columns),
                version=old.version + 1 if old else 1,
            )
            if old is None or old.schema_hash != new.schema_hash:
                uow.outputs.add_contract(new, now)
                if old is not None and _fits(old.columns, new):
                    self._carry_over(uow, old, new)
                every[new.table] = new
                resolved[target] = new
            else:
                resolved[target] = old
        return resolved

    def _carry_over(self, uow: UnitOfWork, old: TableContract, new: TableContract) -> None:
        """A table that only gains columns makes nothing stale: what is done is done for it as well."""
        before, after = (self._target_key(one, one.schema_hash) for one in (old, new))
        same = [
            replace(
                one,
                target_key=after,
                key=materialization_key(after, one.source_hash, one.artifact_hash),
            )
            for one in uow.outputs.materializations(new.workspace_id, parser=new.parser)
            if one.target_key == before
        ]
        uow.outputs.change_targets(same)

    def _placed(
        self,
        job: Job,
        workspace: Workspace,
        contracts: dict[Target, TableContract],
        parts: Sequence[_Part],
    ) -> list[tuple[Promotion, OutputFile]]:
        """Where each part goes, and the row that will say so."""
        placed: list[tuple[Promotion, OutputFile]] = []
        numbers: dict[str, int] = defaultdict(int)
        now = datetime.now(UTC)
        for part in parts:
            table = contracts[part.target].table
            folder = f"{workspace.folder}/{table}{'_quarantine' if part.quarantine else ''}"
            numbers[folder] += 1
            again = f"-a{job.attempt}" if job.attempt > 1 else ""
            more = f"-{numbers[folder]}" if numbers[folder] > 1 else ""
            path = f"{folder}/{job.id}{again}{more}.parquet"
            output = OutputFile(
                id=OutputId(new_id()),
                workspace_id=job.workspace_id,
                job_id=job.id,
                table=table,
                quarantine=part.quarantine,
                path=path,
                rows=part.rows,
                size_bytes=part.staged.stat().st_size,
                schema_hash=schema_hash(part.columns),
                committed_at=now,
            )
            placed.append((Promotion(part.staged, path), output))
        return placed

    def _materialized(
        self,
        job: Job,
        contracts: dict[Target, TableContract],
        reading: _Reading,
        parts: Sequence[_Part],
    ) -> list[Materialization]:
        """One record for each file and table: this content, by this parser, is there."""
        with self._store.read() as uow:
            hashes = {one.file_id: one.source_hash for one in uow.jobs.evidence(job.id)}
        shapes = {
            (file_id, part.target): schema_hash(part.columns)
            for part in parts
            if not part.quarantine and not _fits(part.columns, contracts[part.target])
            for file_id in part.file_ids
        }
        now = datetime.now(UTC)
        made: list[Materialization] = []
        for file_id, done in reading.done.items():
            counts = done.tables or [
                wire.TableCount(output, layout, 0, 0) for output, layout in contracts if not layout
            ]
            for count in counts:
                target = (count.output, count.layout)
                contract = contracts[target]
                shape = shapes.get((file_id, target), contract.schema_hash)
                target_key = self._target_key(contract, shape)
                made.append(
                    Materialization(
                        id=new_id(),
                        key=materialization_key(target_key, hashes[file_id], job.artifact_hash),
                        workspace_id=job.workspace_id,
                        source_hash=hashes[file_id],
                        parser=job.parser,
                        parser_version=job.parser_version,
                        artifact_hash=job.artifact_hash,
                        table=contract.table,
                        target_key=target_key,
                        job_id=job.id,
                        file_id=file_id,
                        accepted=count.accepted,
                        quarantined=count.quarantined,
                        note=_sentences(reading.notes.get(file_id, ())),
                        created_at=now,
                    )
                )
        return made

    def _target_key(self, contract: TableContract, shape: str) -> str:
        return target_key(contract, self._sink.uri, shape)

    def _replaced(
        self, workspace: Workspace, job: Job, done: Sequence[Materialization], folder: Path
    ) -> _Replaced:
        """What these results take the place of: the same content, or what a changed file held before."""
        contents = {one.source_hash for one in done}
        files = {one.file_id for one in done}
        with self._store.read() as uow:
            before = uow.outputs.materializations(job.workspace_id, parser=job.parser)
            present = {one.source_hash for one in uow.evidence.files(workspace.id)}
            old = [
                one
                for one in before
                if one.source_hash in contents
                or (one.file_id in files and one.source_hash not in present)
            ]
            outputs = uow.outputs.of_jobs({one.job_id for one in old})
        gone = {one.id for one in old}
        leaving: dict[tuple[JobId, str], set[str]] = defaultdict(set)
        for one in old:
            leaving[one.job_id, one.table].add(one.file_id)
        staying = {(one.job_id, one.table) for one in before if one.id not in gone}
        retired: list[OutputId] = []
        copies: list[tuple[Path, OutputFile]] = []
        for output in outputs:
            key = (output.job_id, output.table)
            if key not in leaving:
                continue
            retired.append(output.id)
            if key in staying:
                staged = folder / f"{new_id()}.parquet"
                rows = self._sink.rewrite(output.path, leaving[key], staged)
                if rows:
                    name = f"{output.job_id}-{new_id()}.parquet"
                    path = f"{output.path.rpartition('/')[0]}/{name}"
                    size = staged.stat().st_size
                    copy = replace(
                        output, id=OutputId(new_id()), path=path, rows=rows, size_bytes=size,
                        committed_at=datetime.now(UTC),
                    )  # fmt: skip
                    copies.append((staged, copy))
        return _Replaced(tuple(gone), tuple(retired), tuple(copies))

    def _record(
        self,
        claim: Claim,
        reading: _Reading,
        moves: Sequence[tuple[Promotion, OutputFile]],
        done: Sequence[Materialization],
        replaced: _Replaced,
    ) -> JobState:
        job, now = claim.job, datetime.now(UTC)
        results = _results(job, reading)
        quarantined = sum(one.quarantined for one in done)
        if not reading.done:
            state = JobState.FAILED
        else:
            state = JobState.PARTIAL if quarantined or reading.failed else JobState.SUCCEEDED
        problem = ""
        if reading.failed:
            first = next(iter(reading.failed.values()))
            problem = f"{len(reading.failed)} of {job.files} files could not be read. {first}"
        with self._store.write() as uow:
            if not uow.outputs.are_current(replaced.outputs):
                raise _OutdatedError
            moved = uow.jobs.move(
                job.id,
                claim.token,
                state,
                ended_at=now,
                rows=sum(one.accepted for one in done),
                quarantined=quarantined,
                failed_files=len(reading.failed),
                problem=problem,
            )
            if not moved:
                raise Cancelled("The job")
            uow.outputs.add_outputs([output for _, output in moves])
            uow.outputs.add_outputs([output for _, output in replaced.copies])
            uow.outputs.supersede_outputs(replaced.outputs, job.id, now)
            uow.outputs.supersede_materializations(replaced.materializations, now)
            uow.outputs.add_materializations(done)
            uow.jobs.end_files(results)
            for file_id, notes in reading.notes.items():
                path = next((one.path for one in results if one.file_id == file_id), "")
                uow.jobs.note(job.id, now, f"{path}: {_sentences(notes)}")
            uow.commit()
        return state

    # Ends

    def _move(self, claim: Claim, state: JobState) -> None:
        with self._store.write() as uow:
            if not uow.jobs.move(claim.job.id, claim.token, state):
                raise Cancelled("The job")
            uow.commit()
        self._bus.publish(JobChanged(claim.job.workspace_id, claim.job.id, state))

    def _give_up(self, claim: Claim, state: JobState, problem: str) -> None:
        """End a job without output; of a stale claim nothing is recorded."""
        job, values = claim.job, {"problem": problem}
        more = (
            {"attempt": job.attempt - 1}
            if state is JobState.QUEUED
            else {"ended_at": datetime.now(UTC)}
        )
        with self._store.write() as uow:
            if uow.jobs.move(job.id, claim.token, state, **values, **more):
                if problem:
                    uow.jobs.note(job.id, datetime.now(UTC), problem)
                uow.commit()
        self._bus.publish(JobChanged(job.workspace_id, job.id, state))


def target_key(contract: TableContract, sink_uri: str, shape: str) -> str:
    """The key of a contract's table in a sink, for rows of a given schema."""
    return output_target_key(contract.output, sink_uri, MODE, contract.table, shape)


def _results(job: Job, reading: _Reading) -> list[JobFile]:
    results = [
        JobFile(
            job_id=job.id,
            file_id=file_id,
            path="",
            state=JobFileState.PARTIAL
            if any(one.quarantined for one in done.tables)
            else JobFileState.DONE,
            read=done.read,
            accepted=sum(one.accepted for one in done.tables),
            quarantined=sum(one.quarantined for one in done.tables),
            problem=_sentences(reading.notes.get(file_id, ())),
        )
        for file_id, done in reading.done.items()
    ]
    results.extend(
        JobFile(job.id, file_id, "", JobFileState.FAILED, problem=problem)
        for file_id, problem in reading.failed.items()
    )
    return results


def _sentences(notes: Iterable[str]) -> str:
    return " ".join(f"{note.rstrip('. ')}." for note in notes)


def _specs(columns: Sequence[Column]) -> list[wire.ColumnSpec]:
    return [wire.ColumnSpec(one.name, one.type, one.nullable) for one in columns]


def _widened(old: Sequence[Column], new: Sequence[Column]) -> tuple[Column, ...]:
    """Join two schemas of one layout: the old columns, then what is new."""
    joined = {one.name: one for one in old}
    for one in new:
        before = joined.get(one.name, one)
        joined[one.name] = replace(before, type=widen(before.type, one.type))
    return tuple(joined.values())


def _fits(columns: Sequence[Column], contract: TableContract) -> bool:
    """Whether rows of these columns are rows of a contract: what it has in addition is null in them."""
    types = {one.name: one.type for one in contract.columns}
    return all(types.get(one.name) == one.type for one in columns)


class _Heart:
    """Prolongs a claim while it beats; a claim that is lost or to be cancelled sets the token."""

    def __init__(self, store: Store, claim: Claim, cancel: CancelToken) -> None:
        self._store, self._claim, self._cancel = store, claim, cancel
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(LEASE.total_seconds() / BEATS_PER_LEASE):
            try:
                with self._store.write() as uow:
                    held = uow.jobs.beat(self._claim.job.id, self._claim.token, datetime.now(UTC))
                    uow.commit()
            except CasparianError as error:
                logger.warning("a heartbeat failed: %s", error)
                continue
            if not held:
                self._cancel.cancel()


class _Listener:
    """Turns what a worker says into results and progress."""

    def __init__(
        self, bus: EventBus, job: Job, evidence: Sequence[JobEvidence], reading: _Reading
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
