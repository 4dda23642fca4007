"""Attaching: Parquet files that the state store does not know are put back on record, from what they say.

For a store that was reset, or came back out of an older copy. Every file says in its metadata which job made
it, by which parser, under which columns, and which files of evidence it has rows of (`worker.parts`). From
that come workspaces, contracts, sources, files, jobs, outputs and materializations, all in one transaction,
so that a scan of the same evidence finds everything done. Sources come back as removed ones: nothing is
looked at until the user adds them again, and then they take up where they were.

Which rows counted is not written in the files. Of one job it follows as `testimony` says, and of several
by the rules of `committing`:

    content        of two jobs of a parser that read the same content, the newer one's rows count
    change         of a file of evidence that changed, the rows of what it held last count

What was replaced is put on record as such, and can be purged. A job of which a file is damaged or missing is
left alone whole: it is not done, and its evidence is to be read again.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from casparian import parsers
from casparian.domain.errors import CasparianError
from casparian.domain.events import WorkspacesChanged
from casparian.domain.evidence import (
    EvidenceFile,
    FileState,
    Scan,
    ScanState,
    Source,
    shown_path,
)
from casparian.domain.ids import FileId, JobId, OutputId, ScanId, SourceId, new_id
from casparian.domain.jobs import Job, JobFile, JobFileState, JobState
from casparian.domain.lineage import materialization_key, schema_hash
from casparian.services.committing import Committer, fits, sentences, target_key, widened
from casparian.services.sinks import Place, is_parquet
from casparian.services.testimony import NOWHERE, FoundJob, heard, joined, lacking
from casparian.state.outputs import Materialization, OutputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from casparian.domain.contracts import Column
    from casparian.domain.events import EventBus
    from casparian.domain.evidence import Workspace
    from casparian.domain.ids import WorkspaceId
    from casparian.services.catalog import CatalogService
    from casparian.services.reading import Target
    from casparian.services.sinks import Sinks
    from casparian.services.testimony import Evidence, Piece
    from casparian.services.workspaces import WorkspaceService
    from casparian.settings import Settings
    from casparian.state.database import Store, UnitOfWork
    from casparian.state.outputs import TableContract


@dataclass(frozen=True, slots=True)
class Unattached:
    """A Parquet file that is left alone, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """What is put on record, or was."""

    workspaces: tuple[str, ...] = ()
    """Those that are made for it, by name."""
    tables: int = 0
    jobs: int = 0
    evidence: int = 0
    """Files of evidence that were read."""
    files: int = 0
    """Parquet files."""
    superseded: int = 0
    """Those of them whose rows newer ones have replaced."""
    rows: int = 0
    """Rows that count, without those in quarantine."""
    quarantined: int = 0
    left_alone: tuple[Unattached, ...] = ()

    @property
    def text(self) -> str:
        """Sentences to confirm it by."""
        told = []
        if self.files:
            told.append(
                f"{_count(self.files, 'Parquet file')} of {_count(self.jobs, 'job')} come back on "
                f"record: {_count(self.rows, 'row')} and {self.quarantined:,} in quarantine, in "
                f"{_count(self.tables, 'table')}, read from {_count(self.evidence, 'file')} of "
                "evidence."
            )
        else:
            told.append("There is nothing to attach.")
        if self.workspaces:
            told.append(f"Workspaces made for it: {', '.join(self.workspaces)}.")
        if self.superseded:
            told.append(
                f"Of the Parquet files {self.superseded:,} hold rows that newer ones have replaced: "
                "they are not shown, and can be purged."
            )
        if self.left_alone:
            told.append(f"{_count(len(self.left_alone), 'other file')} left alone.")
        return " ".join(told)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


class Attacher:
    """Puts Parquet files on record that the state store does not know."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        bus: EventBus,
        sinks: Sinks,
        catalog: CatalogService,
        workspaces: WorkspaceService,
    ) -> None:
        self._staging = settings.staging_dir
        self._store = store
        self._bus = bus
        self._sinks = sinks
        self._catalog = catalog
        self._workspaces = workspaces
        self._committer = Committer(store, bus, sinks)

    def impact(self) -> Attachment:
        """Tell what would be put on record; nothing is changed."""
        found, left_alone = self._found()
        with self._store.write() as uow:  # and rolled back
            record = _Record(uow, self._workspaces, self._sinks, self._committer)
            record.add(found)
            return record.told(left_alone)

    def attach(self) -> Attachment:
        """Put on record what `impact` tells, and show it in the catalog; a second time does nothing.

        Raises:
            EnvironmentProblem: the store or the disk would not have it; nothing is changed.
        """
        found, left_alone = self._found()
        if not found:
            return Attachment(left_alone=left_alone)
        told: list[Attachment] = []

        def decide(uow: UnitOfWork) -> Sequence[Materialization]:
            record = _Record(uow, self._workspaces, self._sinks, self._committer)
            gone = record.add(found)
            told.append(record.told(left_alone))
            return gone

        # Named after a job, as what jobs stage is: should this be interrupted, it is swept once it is known.
        folder = self._staging / f"{found[0].id}-{new_id()}"
        folder.mkdir(parents=True)
        try:
            self._committer.withdraw(decide, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._catalog.refresh()
        self._bus.publish(WorkspacesChanged())
        return told[0]

    def _found(self) -> tuple[list[FoundJob], tuple[Unattached, ...]]:
        """The jobs that the store does not know, oldest first, and what cannot be told of."""
        pieces: dict[str, list[Piece]] = defaultdict(list)
        left_alone: list[Unattached] = []
        with self._store.read() as uow:
            folders = {one.folder for one in uow.evidence.workspaces(archived=True)}
            for sink, path in self._sinks.unrecorded(uow):
                try:
                    piece = heard(self._sinks.parquet(sink), sink, path)
                except CasparianError as error:
                    left_alone.append(Unattached(path, str(error)))
                else:
                    pieces[piece.said.job_id].append(piece)
            # What a job left that is on record is its own affair: it did not come to count.
            for job_id in uow.jobs.known(pieces):
                del pieces[job_id]
        found: list[FoundJob] = []
        for _, group in sorted(pieces.items()):
            home = min({one.folder for one in group}, key=lambda one: (one not in folders, one))
            left_alone += [
                Unattached(one.path, f"Its job is attached in {home}.")
                for one in group
                if one.folder != home
            ]
            job = joined([one for one in group if one.folder == home])
            if reason := lacking(job):
                every = (*job.pieces, *job.replaced)
                left_alone += [Unattached(one.path, reason) for one in every]
            else:
                found.append(job)
        return found, tuple(sorted(left_alone, key=lambda one: one.path))


class _Record:
    """What a transaction puts on record."""

    def __init__(
        self, uow: UnitOfWork, workspaces: WorkspaceService, sinks: Sinks, committer: Committer
    ) -> None:
        self._uow = uow
        self._workspaces = workspaces
        self._sinks = sinks
        self._committer = committer
        self._now = datetime.now(UTC)
        self._made: list[str] = []
        self._added: list[FoundJob] = []
        self._gone: set[tuple[str, str]] = set()
        """Job and file of evidence whose rows do not count."""

    def add(self, found: Sequence[FoundJob]) -> list[Materialization]:
        """Record jobs and what they did; return what is not to count of all that is on record then."""
        by_folder: dict[str, list[FoundJob]] = defaultdict(list)
        known = self._uow.jobs.known(one.id for one in found)
        for one in found:
            if one.id not in known:
                by_folder[one.pieces[0].folder].append(one)
                self._added.append(one)
        gone: list[Materialization] = []
        for folder, jobs in by_folder.items():
            before = {one.id for one in self._uow.evidence.workspaces(archived=True)}
            workspace = self._workspaces.of_folder(self._uow, folder)
            if workspace.id not in before:
                self._made.append(workspace.name)
            gone += self._add_to(workspace, jobs)
        self._gone = {(one.job_id, one.file_id) for one in gone}
        return gone

    def told(self, left_alone: tuple[Unattached, ...]) -> Attachment:
        """What was put on record, in figures."""
        found = self._added
        rows = {True: 0, False: 0}
        superseded = 0
        for job in found:
            for piece in job.pieces:
                counts = [
                    one.quarantined if piece.said.quarantine else one.accepted
                    for one in piece.said.files
                    if (job.id, one.file_id) not in self._gone
                ]
                rows[piece.said.quarantine] += sum(counts)
                superseded += not counts
        return Attachment(
            workspaces=tuple(self._made),
            tables=len({(piece.folder, piece.table) for job in found for piece in job.pieces}),
            jobs=len(found),
            evidence=len({file_id for job in found for file_id in job.evidence}),
            files=sum(len(job.pieces) + len(job.replaced) for job in found),
            superseded=superseded + sum(len(job.replaced) for job in found),
            rows=rows[False],
            quarantined=rows[True],
            left_alone=left_alone,
        )

    def _add_to(self, workspace: Workspace, jobs: Sequence[FoundJob]) -> list[Materialization]:
        evidence = _Places(self._uow, workspace.id, self._now)
        evidence.add(jobs)
        contracts = self._contracts(workspace.id, jobs)
        place = self._sinks.places(self._uow, workspace.id)
        for job in jobs:
            self._add_job(workspace.id, job)
            self._add_outputs(workspace.id, job, contracts)
            done = list(_materialized(workspace.id, job, contracts, place))
            self._uow.outputs.add_materializations(done)
        left = {job.id: job.left for job in jobs}
        return [
            one
            for parser in sorted({job.said.parser for job in jobs})
            for one in self._not_counting(workspace.id, parser, left, evidence)
        ]

    def _not_counting(
        self,
        workspace_id: WorkspaceId,
        parser: str,
        left: Mapping[JobId, set[str]],
        evidence: _Places,
    ) -> Iterator[Materialization]:
        """What was replaced of a parser's rows; see the module."""
        done = self._uow.outputs.materializations(workspace_id, parser=parser)
        contracts = self._uow.outputs.contracts(workspace_id)
        place = self._sinks.places(self._uow, workspace_id)
        newest: dict[str, JobId] = {}
        for one in done:
            newest[one.source_hash] = max(one.job_id, newest.get(one.source_hash, one.job_id))
        for one in done:
            last = newest[one.source_hash]
            stays = place(parser, contracts[one.table].output).mode == "append"
            redone = one.job_id != last and (one.job_id in left or last in left) and not stays
            has_left = one.file_id in left.get(one.job_id, ())
            if is_parquet(one.sink) and (has_left or redone or evidence.has_changed(one)):
                yield one

    def _contracts(
        self, workspace_id: WorkspaceId, jobs: Sequence[FoundJob]
    ) -> dict[tuple[str, Target], TableContract]:
        """The contract of every table that the jobs wrote to, by parser and target."""
        before = {
            (one.parser, (one.output, one.layout_key)): one
            for one in self._uow.outputs.contracts(workspace_id).values()
        }
        made: dict[tuple[str, Target], TableContract] = {}
        for job in jobs:
            parser = parsers.load(job.said.parser)
            ours = {(one.name, ""): one.columns for one in parser.outputs}
            wanted: dict[Target, tuple[str, tuple[Column, ...]]] = {}
            for target, columns in ours.items():
                known = made.get((parser.name, target)) or before.get((parser.name, target))
                wanted[target] = (target[0], known.columns if known else columns)
            for piece in (*job.replaced, *job.pieces):
                _, columns = wanted.get(piece.target, ("", ()))
                if piece.said.layout and not piece.said.quarantine:
                    columns = widened(columns, piece.columns)
                elif not piece.said.quarantine:
                    columns = _of_version(
                        piece, ours.get(piece.target, ()), before.get((parser.name, piece.target))
                    )
                wanted[piece.target] = (piece.table, columns)
            resolved = self._committer.contracts(self._uow, workspace_id, parser.name, wanted)
            made |= {(parser.name, target): contract for target, contract in resolved.items()}
        return made

    def _add_job(self, workspace_id: WorkspaceId, job: FoundJob) -> None:
        said, evidence = job.said, job.evidence
        results = []
        for file_id, tables in evidence.items():
            accepted = sum(one.accepted for one in tables)
            quarantined = sum(one.quarantined for one in tables)
            results.append(
                JobFile(
                    job_id=job.id,
                    file_id=FileId(file_id),
                    path=tables[0].path,
                    state=JobFileState.PARTIAL if quarantined else JobFileState.DONE,
                    read=accepted + quarantined,
                    accepted=accepted,
                    quarantined=quarantined,
                    problem=sentences(tables[0].notes),
                )
            )
        quarantined = sum(one.quarantined for one in results)
        row = Job(
            id=job.id,
            workspace_id=workspace_id,
            parser=said.parser,
            parser_version=said.parser_version,
            artifact_hash=said.artifact_hash,
            state=JobState.PARTIAL if quarantined else JobState.SUCCEEDED,
            files=len(evidence),
            size_bytes=sum(tables[0].size_bytes for tables in evidence.values()),
            created_at=job.at,
            started_at=job.at,
            ended_at=job.at,
            attempt=1,
            rows=sum(one.accepted for one in results),
            quarantined=quarantined,
        )
        hashes = [(FileId(one), tables[0].source_hash) for one, tables in evidence.items()]
        self._uow.jobs.add(row, hashes)
        self._uow.jobs.end_files(results)
        count = len(job.pieces) + len(job.replaced)
        self._uow.jobs.note(job.id, self._now, f"Put back on record from {count:,} Parquet files.")

    def _add_outputs(
        self,
        workspace_id: WorkspaceId,
        job: FoundJob,
        contracts: Mapping[tuple[str, Target], TableContract],
    ) -> None:
        def row(piece: Piece) -> OutputFile:
            return OutputFile(
                id=OutputId(new_id()),
                workspace_id=workspace_id,
                job_id=job.id,
                table=contracts[job.said.parser, piece.target].table,
                quarantine=piece.said.quarantine,
                sink=piece.sink,
                path=piece.path,
                rows=piece.rows,
                size_bytes=piece.size_bytes,
                schema_hash=schema_hash(piece.columns),
                committed_at=job.at,
            )

        replaced = [row(one) for one in job.replaced]
        self._uow.outputs.add_outputs([*replaced, *(row(one) for one in job.pieces)])
        self._uow.outputs.supersede_outputs([one.id for one in replaced], None, self._now)


def _of_version(
    piece: Piece, ours: tuple[Column, ...], before: TableContract | None
) -> tuple[Column, ...]:
    """The columns of a table that follows no layout.

    Those of this program's parser, if the file has them. A file of another version is older than what the
    table had before.
    """
    if schema_hash(piece.columns) == schema_hash(ours):
        return ours
    if before is not None:
        return before.columns
    docs = {one.name: one.doc for one in ours}
    return tuple(replace(one, doc=docs.get(one.name, "")) for one in piece.columns)


def _materialized(
    workspace_id: WorkspaceId,
    job: FoundJob,
    contracts: Mapping[tuple[str, Target], TableContract],
    place: Callable[[str, str], Place],
) -> Iterator[Materialization]:
    """One record for each file of evidence and table: this content, by this parser, is there."""
    said = job.said
    shapes = {
        (piece.target, file_id): piece
        for piece in sorted(job.pieces, key=lambda one: not one.said.quarantine)
        for file_id in piece.file_ids
    }
    nothing = [
        ((target, file_id), tables[0])
        for file_id, tables in job.evidence.items()
        if not tables[0].read and not tables[0].accepted and not tables[0].quarantined
        for parser, target in contracts
        if parser == said.parser and not target[1]
    ]
    for (target, file_id), one in (*job.counts.items(), *nothing):
        contract = contracts[said.parser, target]
        where = place(said.parser, contract.output)
        shape = contract.schema_hash
        if (piece := shapes.get((target, file_id))) is not None:
            if piece.sink != where.key:
                where = Place(piece.sink, "replace")
            if not piece.said.quarantine and not fits(piece.columns, contract):
                shape = schema_hash(piece.columns)
        key = target_key(contract, where, shape)
        yield Materialization(
            id=new_id(),
            key=materialization_key(key, one.source_hash, said.artifact_hash),
            workspace_id=workspace_id,
            source_hash=one.source_hash,
            parser=said.parser,
            parser_version=said.parser_version,
            artifact_hash=said.artifact_hash,
            table=contract.table,
            target_key=key,
            sink=where.key,
            job_id=job.id,
            file_id=FileId(file_id),
            accepted=one.accepted,
            quarantined=one.quarantined,
            note=sentences(one.notes),
            created_at=job.at,
        )


_At: TypeAlias = tuple[bytes, bytes]
"""Where a file of evidence lies: the path of its source, and the path within it."""


class _Places:
    """Where the files of evidence of a workspace lie, and what they held last, as far as is known."""

    def __init__(self, uow: UnitOfWork, workspace_id: WorkspaceId, now: datetime) -> None:
        self._uow = uow
        self._workspace_id = workspace_id
        self._now = now
        self._placed = {one.id: one for one in uow.evidence.placed(workspace_id)}
        self._at: dict[str, _At] = {}
        self._last: dict[_At, tuple[str, str]] = {}
        """By place: the newest scan or job that met the content there, and the content."""
        for one in self._placed.values():
            self._see(one.id, (one.root, one.path_bytes), one.scan_id, one.source_hash)
        self._taken = {(one.source_id, one.path_bytes) for one in self._placed.values()}
        self._held: set[str] = set()
        """What the workspace still has, once everything is seen."""
        self._sources: dict[tuple[bytes, bool], list[Source]] = defaultdict(list)
        for source in sorted(
            uow.evidence.sources(workspace_id, removed=True),
            key=lambda one: one.removed_at or now,
            reverse=True,
        ):
            self._sources[source.path_bytes, source.is_folder].append(source)

    def add(self, jobs: Sequence[FoundJob]) -> None:
        """Record the files of evidence of these jobs, oldest first, that are not on record yet."""
        newest: dict[str, Evidence] = {}
        for job in jobs:
            for file_id, (one, *_) in job.evidence.items():
                newest[file_id] = one
                known = self._placed.get(FileId(file_id))
                at = (one.root, one.relative) if one.source else (NOWHERE, file_id.encode())
                at = (known.root, known.path_bytes) if known else at
                self._see(file_id, at, job.id, one.source_hash)
        self._held = {content for _, content in self._last.values()}
        new: dict[SourceId, list[EvidenceFile]] = defaultdict(list)
        changed: list[EvidenceFile] = []
        # The newest first: of two that lay at one place it is the one that a scan will meet again.
        for file_id, one in reversed(newest.items()):
            known = self._placed.get(FileId(file_id))
            if known is None:
                source = self._source(one)
                self._taken.add((source.id, one.relative))
                new[source.id].append(_file(one, source.id, one.relative))
            elif known.source_hash != one.source_hash and self._is_last(one, since=known.scan_id):
                changed.append(_file(one, known.source_id, known.path_bytes))
        for source_id, files in new.items():
            self._uow.evidence.add_files(self._scan(source_id, len(files)), files)
        for file in changed:
            self._uow.evidence.change_files(self._placed[file.id].scan_id, [file])

    def has_changed(self, done: Materialization) -> bool:
        """Whether a file has another content since, and none of the workspace still has what it had."""
        is_known = self._at.get(done.file_id) in self._last
        return is_known and done.source_hash not in self._held

    def _see(self, file_id: str, at: _At, by: str, content: str) -> None:
        self._at[file_id] = at
        if content:  # of what could not be read lately nobody knows what it holds
            self._last[at] = max((by, content), self._last.get(at, ("", "")))

    def _is_last(self, one: Evidence, since: ScanId) -> bool:
        by, content = self._last[self._at[one.file_id]]
        return by > since and content == one.source_hash

    def _source(self, one: Evidence) -> Source:
        """A source at the right place that has no such file yet."""
        there = self._sources[one.root, one.is_folder]
        for source in there:
            if (source.id, one.relative) not in self._taken:
                return source
        removed_at = min((one.removed_at or self._now for one in there), default=None)
        source = Source(
            id=SourceId(new_id()),
            workspace_id=self._workspace_id,
            path=shown_path(one.root),
            path_bytes=one.root,
            is_folder=one.is_folder,
            added_at=self._now,
            # Older than those at the same place: they are what comes back when it is added again.
            removed_at=removed_at - timedelta(seconds=1) if removed_at else self._now,
        )
        self._uow.evidence.add_source(source)
        self._uow.evidence.remove_source(source.id, source.removed_at or self._now)
        there.append(source)
        return source

    def _scan(self, source_id: SourceId, count: int) -> ScanId:
        """A scan for files to belong to: the newest, else one that stands for what jobs have met."""
        newest = self._uow.evidence.newest_scan(source_id)
        if newest is not None:
            return newest
        scan = Scan(ScanId(new_id()), source_id, self._now, ScanState.RUNNING)
        self._uow.evidence.start_scan(scan)
        ended = replace(
            scan, state=ScanState.FINISHED, ended_at=self._now, found=count, unchanged=count
        )
        self._uow.evidence.end_scan(ended)
        return scan.id


def _file(one: Evidence, source_id: SourceId, path_bytes: bytes) -> EvidenceFile:
    return EvidenceFile(
        id=FileId(one.file_id),
        source_id=source_id,
        path=one.path,
        path_bytes=path_bytes,
        size_bytes=one.size_bytes,
        mtime_ns=one.mtime_ns,
        kind="",
        source_hash=one.source_hash,
        sha256="",
        # So that a scan reads it: its kind and its SHA-256 are not known.
        state=FileState.MISSING,
    )
