"""Committing what a job has read: contracts, promotion, and the one transaction that makes it count.

What a commit replaces leaves the catalog in the same transaction: the same content read by another
version of the parser or under an older contract, and what a file held before it changed. An output that
other files share is copied without the replaced rows; the old file stays until the user purges it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from casparian import parsers
from casparian.domain.errors import Cancelled, EnvironmentProblem
from casparian.domain.events import JobChanged
from casparian.domain.ids import JobId, OutputId, new_id
from casparian.domain.inference import widen
from casparian.domain.jobs import JobFile, JobFileState, JobState
from casparian.domain.lineage import materialization_key, output_target_key, schema_hash
from casparian.services.workspaces import safe_name
from casparian.sinks.parquet import Promotion
from casparian.state.outputs import Materialization, OutputFile, TableContract
from casparian.worker import messages as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from casparian.domain.contracts import Column
    from casparian.domain.events import EventBus
    from casparian.domain.evidence import Workspace
    from casparian.domain.jobs import Claim, Job
    from casparian.services.reading import Part, Reading, Target
    from casparian.sinks.parquet import ParquetSink
    from casparian.state.database import Store, UnitOfWork

MODE = "supersede"
COMMIT_TRIES = 5


@dataclass(frozen=True, slots=True)
class _Replaced:
    """What a commit takes out of the catalog, and the copies that stay in without the replaced rows."""

    materializations: tuple[str, ...]
    outputs: tuple[OutputId, ...]
    copies: tuple[tuple[Path, OutputFile], ...]


class _OutdatedError(Exception):
    """Another program changed the outputs that this commit replaces; decide again."""


class Committer:
    """Makes the results of jobs count."""

    def __init__(self, store: Store, bus: EventBus, sink: ParquetSink) -> None:
        self._store = store
        self._bus = bus
        self._sink = sink

    def commit(self, claim: Claim, reading: Reading, parts: list[Part], folder: Path) -> JobState:
        """Promote a job's parts and record them; return the state in which the job ended.

        Raises:
            Cancelled: the claim is lost; nothing is recorded.
            EnvironmentProblem: the disk would not have it, or other programs kept interfering.
        """
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
        self, uow: UnitOfWork, job: Job, parts: Iterable[Part]
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
        parts: Sequence[Part],
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
        reading: Reading,
        parts: Sequence[Part],
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
        """What these results take the place of: the same content, or what changed files held before."""
        with self._store.read() as uow:
            old = uow.outputs.replaced_by(
                workspace.id, job.parser, {one.source_hash for one in done}
            )
            jobs = {one.job_id for one in old}
            beside = uow.outputs.materializations_of(jobs)
            outputs = uow.outputs.of_jobs(jobs)
        gone = {one.id for one in old}
        leaving: dict[tuple[JobId, str], set[str]] = defaultdict(set)
        for one in old:
            leaving[one.job_id, one.table].add(one.file_id)
        staying = {(one.job_id, one.table) for one in beside if one.id not in gone}
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
                    # Named after the job that writes it: what it has promoted and not recorded yet is
                    # swept away with its job only, never by a program that starts meanwhile.
                    name = f"{job.id}-{new_id()}.parquet"
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
        reading: Reading,
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
            # Another program may have committed the same content since this was decided.
            contents = {one.source_hash for one in done}
            old = uow.outputs.replaced_by(job.workspace_id, job.parser, contents)
            if {one.id for one in old} != set(replaced.materializations):
                raise _OutdatedError
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


def target_key(contract: TableContract, sink_uri: str, shape: str) -> str:
    """The key of a contract's table in a sink, for rows of a given schema."""
    return output_target_key(contract.output, sink_uri, MODE, contract.table, shape)


def _results(job: Job, reading: Reading) -> list[JobFile]:
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
