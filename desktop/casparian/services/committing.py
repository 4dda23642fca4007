"""Committing what a job has read: contracts, delivery, and the one transaction that makes it count.

Every output goes to the sink that its route names. Parquet files are put in place by rename, and count
once the state store names them; a database takes all that the job has for it in one transaction of
its own, with a row in its ledger, before the state store records the job. A crash between the two sends
the job back to the queue, and what it delivers then takes the place of what it delivered before. A job
that fails for good takes its rows out of databases again (`undo`).

What a commit replaces leaves in the same step: the same content read by another version of the
parser or under an older contract, and what a file held before it changed. A Parquet file that other
files of evidence share is copied without the replaced rows; the old one stays until the user purges it.
What a changed file held before and no commit replaces, because its new content is read by nobody or is
done already, is retired: the same without a job.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from casparian import parsers
from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE, QUARANTINE
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.events import JobChanged
from casparian.domain.ids import JobId, OutputId, WorkspaceId, new_id
from casparian.domain.inference import widen
from casparian.domain.jobs import JobFile, JobFileState, JobState
from casparian.domain.lineage import materialization_key, output_target_key, schema_hash
from casparian.domain.results import QUARANTINE_SUFFIX
from casparian.services.sinks import is_parquet
from casparian.services.workspaces import safe_name
from casparian.sinks.base import Delivery, RowsOf, TableDelivery
from casparian.sinks.parquet import Promotion
from casparian.state.database import StoreAway
from casparian.state.outputs import Materialization, OutputFile, TableContract
from casparian.worker import messages as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from casparian.domain.contracts import Column
    from casparian.domain.events import EventBus
    from casparian.domain.evidence import Workspace
    from casparian.domain.jobs import Claim, Job
    from casparian.services.reading import Part, Reading, Target
    from casparian.services.sinks import Place, Sinks
    from casparian.state.database import Store, UnitOfWork

logger = logging.getLogger(__name__)

COMMIT_TRIES = 5


@dataclass(frozen=True, slots=True)
class _Change:
    """What takes the place of a parser's rows in a workspace: a job's of these contents, or nothing."""

    workspace_id: WorkspaceId
    parser: str
    contents: frozenset[str] = frozenset()
    by: JobId | None = None
    staying: Callable[[Materialization], bool] = lambda _: False
    """Whether rows stay beside those that are done for them now (mode `append`)."""


@dataclass(frozen=True, slots=True)
class _Replaced:
    """What a change takes out of the catalog, and the copies that stay in without the replaced rows."""

    materializations: tuple[str, ...]
    outputs: tuple[OutputId, ...]
    copies: tuple[tuple[Path | None, OutputFile], ...]
    """Each with the file that is to be put in place; None where the rows stay in their database."""
    rows: tuple[tuple[str, str, RowsOf], ...]
    """What leaves databases: sink, table or quarantine, rows."""


@dataclass(frozen=True, slots=True)
class _Output:
    """What a job has for one table, or for its quarantine, in one sink."""

    place: Place
    parts: tuple[Part, ...]
    row: OutputFile


class _OutdatedError(Exception):
    """Another program changed the outputs that this commit replaces; decide again."""


class Committer:
    """Makes the results of jobs count."""

    def __init__(self, store: Store, bus: EventBus, sinks: Sinks) -> None:
        self._store = store
        self._bus = bus
        self._sinks = sinks

    def commit(
        self, claim: Claim, reading: Reading, parts: list[Part], folder: Path, cancel: CancelToken
    ) -> JobState:
        """Deliver a job's parts and record them; return the state in which the job ended.

        Raises:
            Cancelled: the claim is lost, or somebody asked to stop; nothing is recorded.
            UserProblem: a sink refuses what is to be delivered.
            EnvironmentProblem: a disk or server would not have it, or other programs kept interfering.
        """
        job = claim.job
        with self._store.write() as uow:
            workspace = uow.evidence.workspace(job.workspace_id)
            contracts = self._contracts(uow, job, parts)
            place = self._sinks.places(uow, job.workspace_id)
            outputs = self._outputs(job, workspace, contracts, parts, place)
            undo = any(not one.place.is_parquet for one in outputs)
            if not uow.jobs.move(job.id, claim.token, JobState.COMMITTING, undo=undo):
                raise Cancelled("The job")
            uow.commit()
        self._bus.publish(JobChanged(job.workspace_id, job.id, JobState.COMMITTING))
        files = [
            (part.staged, one.row) for one in outputs if one.place.is_parquet for part in one.parts
        ]
        self._promote(files)
        try:
            for _ in range(COMMIT_TRIES):
                done = self._materialized(job, contracts, reading, parts, place)
                change = self._change(job, contracts, done, place)
                replaced = self._replaced(change, folder)
                self._promote(replaced.copies)
                try:
                    self._deliver(job, workspace, contracts, outputs, replaced, cancel)
                    state = self._recorded(claim, reading, outputs, done, change, replaced)
                except _OutdatedError:
                    self._revoke(replaced.copies)
                except BaseException:
                    self._revoke(replaced.copies)
                    raise
                else:
                    self._bus.publish(JobChanged(job.workspace_id, job.id, state))
                    return state
        except BaseException:
            self._revoke(files)
            raise
        self._revoke(files)
        raise _kept_changing()

    def withdraw(
        self, decide: Callable[[UnitOfWork], Sequence[Materialization]], folder: Path
    ) -> None:
        """Take rows of Parquet files out of the catalog, in the transaction that finds out which.

        `decide` begins it: it records what it has to, and names what leaves; `folder` is for staging.

        Raises:
            EnvironmentProblem: the disk or the store would not have it; nothing is changed.
        """

        def record(uow: UnitOfWork) -> _Replaced:
            gone = decide(uow)
            replaced = self._taken_out(gone, gone, _related(uow, gone), None, folder)
            _swap_rows(uow, replaced, None, datetime.now(UTC))
            return replaced

        self._settle(record)

    def undo(self, job: Job) -> None:
        """Take out of databases what a job delivered that did not succeed.

        What it had replaced there has left already: it counts as not done any more, and is read again.

        Raises:
            UserProblem, EnvironmentProblem: a database cannot be reached; ask again later.
        """
        with self._store.read() as uow:
            keys = [one for one in uow.outputs.sinks() if not is_parquet(one)]
        for key in keys:
            sink = self._sinks.database(key)
            found = sink.delivered(job.id)
            if found is None:
                continue
            with self._store.write() as uow:
                gone = (
                    (table.removesuffix(QUARANTINE_SUFFIX), rows.job_id, rows.file_id)
                    for table, rows in found.gone
                )
                uow.outputs.supersede_rows(key, gone, datetime.now(UTC))
                uow.commit()
            sink.revoke(job.id)
        with self._store.write() as uow:
            uow.jobs.undone(job.id)
            uow.commit()

    def retire(self, workspace_id: WorkspaceId, parser: str, folder: Path) -> bool:
        """Take out what a parser read from contents that no file holds any more; say whether there was any.

        `folder` is for staging; a program that starts meanwhile may sweep it away.

        Raises:
            EnvironmentProblem: the disk would not have it, or other programs kept interfering.
            OSError: it would not have the staging folder.
        """
        change = _Change(workspace_id, parser)
        for _ in range(COMMIT_TRIES):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                replaced = self._replaced(change, folder)
                if replaced.materializations:
                    self._retire(change, replaced)
                return bool(replaced.materializations)
            except _OutdatedError:
                continue
            except (EnvironmentProblem, OSError):
                if folder.is_dir():
                    raise
        raise _kept_changing()

    def _retire(self, change: _Change, replaced: _Replaced) -> None:
        with self._store.read() as uow:
            workspace = uow.evidence.workspace(change.workspace_id)
        for key, tables in _leaving(replaced).items():
            gone = tuple(TableDelivery(name, (), gone=rows) for name, rows in tables.items())
            delivery = Delivery(new_id(), 1, workspace.folder, gone)
            self._sinks.database(key).deliver(delivery, CancelToken())

        def record(uow: UnitOfWork) -> _Replaced:
            self._swap(uow, change, replaced, datetime.now(UTC))
            return replaced

        self._settle(record)

    def _settle(self, record: Callable[[UnitOfWork], _Replaced]) -> None:
        """Record what leaves, and put the copies in place that stay, in one transaction."""
        promoted: Sequence[tuple[Path | None, OutputFile]] = ()
        try:
            with self._store.write() as uow:
                replaced = record(uow)
                # No job keeps the copies from a program that starts meanwhile, but it sweeps in a
                # transaction that writes: before they are there, or when they are on record.
                self._promote(replaced.copies)
                promoted = replaced.copies
                uow.commit()
        except BaseException:
            self._revoke(promoted)
            raise

    def _promote(self, files: Iterable[tuple[Path | None, OutputFile]]) -> None:
        """Put staged files in place: all of them, or none."""
        by_sink = _by_sink(files)
        done: list[str] = []
        try:
            for key, promotions in by_sink.items():
                self._sinks.parquet(key).promote(promotions)
                done.append(key)
        except BaseException:
            for key in done:
                self._sinks.parquet(key).revoke([one.path for one in by_sink[key]])
            raise

    def _revoke(self, files: Sequence[tuple[Path | None, OutputFile]]) -> None:
        """Take files back that no record names.

        The connection to the store may have been lost after a commit had been done. Where it cannot be
        asked they stay: a program that starts sweeps what is not on record.
        """
        if not files:
            return
        try:
            # As one that writes it waits for a commit that the server may still be at.
            with self._store.write() as uow:
                kept = uow.outputs.on_record([one.id for _, one in files])
        except CasparianError as error:
            logger.warning("files stay where they are until the next start: %s", error)
            return
        left = [(staged, one) for staged, one in files if one.id not in kept]
        for key, promotions in _by_sink(left).items():
            self._sinks.parquet(key).revoke([one.path for one in promotions])

    def _ended(self, job: Job) -> JobState | None:
        """The state in which this attempt of a job was recorded; None if it was not."""
        with self._store.write() as uow:
            found = uow.jobs.job(job.id)
        done = found.state in {JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED}
        return found.state if done and found.attempt == job.attempt else None

    def _deliver(
        self,
        job: Job,
        workspace: Workspace,
        contracts: Mapping[Target, TableContract],
        outputs: Sequence[_Output],
        replaced: _Replaced,
        cancel: CancelToken,
    ) -> None:
        """Give every database what is for it, and take out of it what that replaces."""
        leaving = _leaving(replaced)
        here = [one for one in outputs if not one.place.is_parquet]
        for key in dict.fromkeys([*(one.place.key for one in here), *leaving]):
            gone = dict(leaving.get(key, {}))
            tables: list[TableDelivery] = []
            for one in here:
                if one.place.key != key:
                    continue
                quarantine = one.row.quarantine
                name = f"{one.row.table}{QUARANTINE_SUFFIX if quarantine else ''}"
                columns = _columns(contracts[one.parts[0].target], quarantine=quarantine)
                staged = tuple(part.staged for part in one.parts)
                left = gone.pop(name, ())
                tables.append(TableDelivery(name, columns, staged, one.row.rows, left))
            tables += [TableDelivery(name, (), gone=rows) for name, rows in gone.items()]
            delivery = Delivery(job.id, job.attempt, workspace.folder, tuple(tables))
            self._sinks.database(key).deliver(delivery, cancel)

    @staticmethod
    def _change(
        job: Job,
        contracts: Mapping[Target, TableContract],
        done: Sequence[Materialization],
        place: Callable[[str, str], Place],
    ) -> _Change:
        outputs = {one.table: one.output for one in contracts.values()}

        contents = frozenset(one.source_hash for one in done)

        def staying(old: Materialization) -> bool:
            new = place(job.parser, outputs.get(old.table, old.table))
            if new.key != old.sink or new.mode == "replace":
                return False
            if new.mode == "error" and old.source_hash in contents:
                raise UserProblem(
                    f"{old.table} has rows of the same content already",
                    f"its route to {new.uri} says that this is an error",
                    "Set the mode of the route to replace or append",
                )
            return True

        return _Change(job.workspace_id, job.parser, contents, job.id, staying)

    def _contracts(
        self, uow: UnitOfWork, job: Job, parts: Iterable[Part]
    ) -> dict[Target, TableContract]:
        """The contract of every output of the job, made or widened where it must be."""
        parser = parsers.load(job.parser)
        wanted: dict[Target, tuple[str, tuple[Column, ...]]] = {
            (one.name, ""): (one.name, one.columns) for one in parser.outputs
        }
        for part in parts:
            if part.target[1]:
                name, before = wanted.get(part.target, ("", ()))
                # Where every row of a layout was rejected, its columns are not known yet.
                columns = before if part.quarantine else widened(before, part.columns)
                wanted[part.target] = (name or part.suggested_table or part.target[0], columns)
        return self.contracts(uow, job.workspace_id, job.parser, wanted)

    def contracts(
        self,
        uow: UnitOfWork,
        workspace_id: WorkspaceId,
        parser: str,
        wanted: Mapping[Target, tuple[str, tuple[Column, ...]]],
    ) -> dict[Target, TableContract]:
        """The contracts of a parser's outputs, made or widened where they must be.

        `wanted` has the name that a new table should have, and the columns.
        """
        every = uow.outputs.contracts(workspace_id)
        known = {
            (one.output, one.layout_key): one for one in every.values() if one.parser == parser
        }
        now = datetime.now(UTC)
        resolved: dict[Target, TableContract] = {}
        for target, (name, columns) in wanted.items():
            old = known.get(target)
            if old is not None and target[1]:
                columns = widened(old.columns, columns)
            new = TableContract(
                workspace_id=workspace_id,
                table=old.table if old else safe_name(name, set(every), fallback=target[0]),
                parser=parser,
                output=target[0],
                layout_key=target[1],
                columns=columns,
                schema_hash=schema_hash(columns),
                version=old.version + 1 if old else 1,
            )
            if old is None or old.schema_hash != new.schema_hash:
                uow.outputs.add_contract(new, now)
                if old is not None and fits(old.columns, new):
                    self._carry_over(uow, old, new)
                every[new.table] = new
                resolved[target] = new
            else:
                resolved[target] = old
        return resolved

    def _carry_over(self, uow: UnitOfWork, old: TableContract, new: TableContract) -> None:
        """A table that only gains columns makes nothing stale: what is done is done for it as well."""
        place = self._sinks.places(uow, new.workspace_id)(new.parser, new.output)
        before, after = (target_key(one, place, one.schema_hash) for one in (old, new))
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

    def _outputs(
        self,
        job: Job,
        workspace: Workspace,
        contracts: dict[Target, TableContract],
        parts: Sequence[Part],
        place: Callable[[str, str], Place],
    ) -> list[_Output]:
        """What goes where: a row for each Parquet file, and for each table of a database."""
        now = datetime.now(UTC)
        grouped: dict[tuple[str, bool, int], list[Part]] = defaultdict(list)
        for number, part in enumerate(parts):
            contract = contracts[part.target]
            alone = number if place(job.parser, contract.output).is_parquet else -1
            grouped[contract.table, part.quarantine, alone].append(part)
        made: list[_Output] = []
        numbers: dict[str, int] = defaultdict(int)
        for (table, quarantine, _), group in grouped.items():
            where = place(job.parser, contracts[group[0].target].output)
            path = ""
            if where.is_parquet:
                folder = f"{workspace.folder}/{table}{QUARANTINE_SUFFIX if quarantine else ''}"
                numbers[folder] += 1
                again = f"-a{job.attempt}" if job.attempt > 1 else ""
                more = f"-{numbers[folder]}" if numbers[folder] > 1 else ""
                path = f"{folder}/{job.id}{again}{more}.parquet"
            row = OutputFile(
                id=OutputId(new_id()),
                workspace_id=job.workspace_id,
                job_id=job.id,
                table=table,
                quarantine=quarantine,
                sink=where.key,
                path=path,
                rows=sum(part.rows for part in group),
                size_bytes=sum(part.staged.stat().st_size for part in group),
                schema_hash=schema_hash(group[0].columns),
                committed_at=now,
            )
            made.append(_Output(where, tuple(group), row))
        return made

    def _materialized(
        self,
        job: Job,
        contracts: dict[Target, TableContract],
        reading: Reading,
        parts: Sequence[Part],
        place: Callable[[str, str], Place],
    ) -> list[Materialization]:
        """One record for each file and table: this content, by this parser, is there."""
        with self._store.read() as uow:
            hashes = {one.file_id: one.source_hash for one in uow.jobs.evidence(job.id)}
        shapes = {
            (file_id, part.target): schema_hash(part.columns)
            for part in parts
            if not part.quarantine and not fits(part.columns, contracts[part.target])
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
                where = place(job.parser, contract.output)
                key = target_key(contract, where, shape)
                made.append(
                    Materialization(
                        id=new_id(),
                        key=materialization_key(key, hashes[file_id], job.artifact_hash),
                        workspace_id=job.workspace_id,
                        source_hash=hashes[file_id],
                        parser=job.parser,
                        parser_version=job.parser_version,
                        artifact_hash=job.artifact_hash,
                        table=contract.table,
                        target_key=key,
                        sink=where.key,
                        job_id=job.id,
                        file_id=file_id,
                        accepted=count.accepted,
                        quarantined=count.quarantined,
                        note=sentences(reading.notes.get(file_id, ())),
                        created_at=now,
                    )
                )
        return made

    def _replaced(self, change: _Change, folder: Path) -> _Replaced:
        """What a change takes the place of: the same content, or what changed files held before."""
        with self._store.read() as uow:
            old = uow.outputs.replaced_by(change.workspace_id, change.parser, change.contents)
            related = _related(uow, old)
        gone = [one for one in old if not change.staying(one)]
        return self._taken_out(old, gone, related, change.by, folder)

    def _taken_out(
        self,
        old: Sequence[Materialization],
        gone: Sequence[Materialization],
        related: _Related,
        by: JobId | None,
        folder: Path,
    ) -> _Replaced:
        """What has to leave so that `gone`, which is some of `old`, leaves, and what stays of it."""
        beside, outputs = related
        ids = {one.id for one in gone}
        leaving: dict[_Group, set[str]] = defaultdict(set)
        for one in gone:
            leaving[_group(one)].add(one.file_id)
        staying: dict[_Group, list[Materialization]] = defaultdict(list)
        for one in beside:
            if one.id not in ids:
                staying[_group(one)].append(one)
        retired: list[OutputId] = []
        copies: list[tuple[Path | None, OutputFile]] = []
        for output in outputs:
            group = _group(output)
            if group not in leaving:
                continue
            if group in staying and not self._holds(output, leaving[group]):
                continue
            retired.append(output.id)
            if group in staying:
                copies += self._without(output, leaving[group], staying[group], by, folder)
        rows = tuple(
            (one.sink, name, RowsOf(one.job_id, one.file_id))
            for one in gone
            if not is_parquet(one.sink)
            for name, count in (
                (one.table, one.accepted),
                (f"{one.table}{QUARANTINE_SUFFIX}", one.quarantined),
            )
            if count
        )
        return _Replaced(tuple(one.id for one in old), tuple(retired), tuple(copies), rows)

    def _holds(self, output: OutputFile, leaving: set[str]) -> bool:
        """Whether an output has rows of these files of evidence; one that does not say may have."""
        if not is_parquet(output.sink):
            return True
        held = self._sinks.parquet(output.sink).file_ids(output.path)
        return not held or not held.isdisjoint(leaving)

    def _without(
        self,
        output: OutputFile,
        leaving: set[str],
        staying: Sequence[Materialization],
        by: JobId | None,
        folder: Path,
    ) -> list[tuple[Path | None, OutputFile]]:
        """An output without the rows of some files of evidence: a copy, or a row that counts fewer."""
        now = datetime.now(UTC)
        if not is_parquet(output.sink):
            rows = sum(one.quarantined if output.quarantine else one.accepted for one in staying)
            left = replace(output, id=OutputId(new_id()), rows=rows, committed_at=now)
            return [(None, left)] if rows else []
        staged = folder / f"{new_id()}.parquet"
        rows = self._sinks.parquet(output.sink).rewrite(output.path, leaving, staged)
        if not rows:
            return []
        # Named after the job that writes it: what it has promoted and not recorded yet is
        # swept away with its job only, never by a program that starts meanwhile.
        name = f"{by or output.job_id}-{new_id()}.parquet"
        copy = replace(
            output,
            id=OutputId(new_id()),
            path=f"{output.path.rpartition('/')[0]}/{name}",
            rows=rows,
            size_bytes=staged.stat().st_size,
            committed_at=now,
        )
        return [(staged, copy)]

    def _recorded(
        self,
        claim: Claim,
        reading: Reading,
        outputs: Sequence[_Output],
        done: Sequence[Materialization],
        change: _Change,
        replaced: _Replaced,
    ) -> JobState:
        """Record, and where the connection was lost over it, ask whether it was done."""
        try:
            return self._record(claim, reading, outputs, done, change, replaced)
        except StoreAway:
            state = self._ended(claim.job)
            if state is None:
                raise
            return state

    def _record(
        self,
        claim: Claim,
        reading: Reading,
        outputs: Sequence[_Output],
        done: Sequence[Materialization],
        change: _Change,
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
            moved = uow.jobs.move(
                job.id,
                claim.token,
                state,
                ended_at=now,
                rows=sum(one.accepted for one in done),
                quarantined=quarantined,
                failed_files=len(reading.failed),
                problem=problem,
                undo=False,
            )
            if not moved:
                raise Cancelled("The job")
            uow.outputs.add_outputs([one.row for one in outputs])
            self._swap(uow, change, replaced, now)
            uow.outputs.add_materializations(done)
            uow.jobs.end_files(results)
            for file_id, notes in reading.notes.items():
                path = next((one.path for one in results if one.file_id == file_id), "")
                uow.jobs.note(job.id, now, f"{path}: {sentences(notes)}")
            uow.commit()
        return state

    @staticmethod
    def _swap(uow: UnitOfWork, change: _Change, replaced: _Replaced, at: datetime) -> None:
        # Another program may have committed the same content since this was decided.
        old = uow.outputs.replaced_by(change.workspace_id, change.parser, change.contents)
        if {one.id for one in old} != set(replaced.materializations):
            raise _OutdatedError
        if not uow.outputs.are_current(replaced.outputs):
            raise _OutdatedError
        _swap_rows(uow, replaced, change.by, at)


_Related: TypeAlias = tuple[list[Materialization], list[OutputFile]]
"""All that jobs did and wrote, as far as it counts."""


def _related(uow: UnitOfWork, some: Iterable[Materialization]) -> _Related:
    jobs = {one.job_id for one in some}
    return uow.outputs.materializations_of(jobs), uow.outputs.of_jobs(jobs)


def _swap_rows(uow: UnitOfWork, replaced: _Replaced, by: JobId | None, at: datetime) -> None:
    uow.outputs.add_outputs([output for _, output in replaced.copies])
    uow.outputs.supersede_outputs(replaced.outputs, by, at)
    uow.outputs.supersede_materializations(replaced.materializations, at)


_Group: TypeAlias = tuple[str, str, str]
"""Job, table, sink: the rows of evidence files that share outputs."""


def _group(one: Materialization | OutputFile) -> _Group:
    return (one.job_id, one.table, one.sink)


def _kept_changing() -> EnvironmentProblem:
    return EnvironmentProblem(
        "The outputs kept changing",
        "another program commits to the same tables",
        retryable=True,
    )


def target_key(contract: TableContract, place: Place, shape: str) -> str:
    """The key of a contract's table in a sink, for rows of a given schema."""
    return output_target_key(contract.output, place.uri, place.mode, contract.table, shape)


def _columns(contract: TableContract, *, quarantine: bool) -> tuple[Column, ...]:
    """The columns of a table in a database."""
    return (*LINEAGE, *QUARANTINE) if quarantine else (*contract.columns, *LINEAGE)


def _by_sink(files: Iterable[tuple[Path | None, OutputFile]]) -> dict[str, list[Promotion]]:
    by_sink: dict[str, list[Promotion]] = defaultdict(list)
    for staged, output in files:
        if staged is not None:
            by_sink[output.sink].append(Promotion(staged, output.path))
    return by_sink


def _leaving(replaced: _Replaced) -> dict[str, dict[str, tuple[RowsOf, ...]]]:
    """What leaves databases: sink -> table or quarantine -> rows."""
    found: dict[str, dict[str, tuple[RowsOf, ...]]] = defaultdict(dict)
    for sink, name, rows in replaced.rows:
        found[sink][name] = (*found[sink].get(name, ()), rows)
    return found


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
            problem=sentences(reading.notes.get(file_id, ())),
        )
        for file_id, done in reading.done.items()
    ]
    results.extend(
        JobFile(job.id, file_id, "", JobFileState.FAILED, problem=problem)
        for file_id, problem in reading.failed.items()
    )
    return results


def sentences(notes: Iterable[str]) -> str:
    """What a parser had to say of a file, as sentences."""
    return " ".join(f"{note.rstrip('. ')}." for note in notes)


def widened(old: Sequence[Column], new: Sequence[Column]) -> tuple[Column, ...]:
    """Join two schemas of one layout: the old columns, then what is new."""
    joined = {one.name: one for one in old}
    for one in new:
        before = joined.get(one.name, one)
        joined[one.name] = replace(before, type=widen(before.type, one.type))
    return tuple(joined.values())


def fits(columns: Sequence[Column], contract: TableContract) -> bool:
    """Whether rows of these columns are rows of a contract: what it has in addition is null in them."""
    types = {one.name: one.type for one in contract.columns}
    return all(types.get(one.name) == one.type for one in columns)
