"""Sources: add, scan, list, look into, remove. A scan hashes what is new and leaves a reason for the rest."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casparian.domain.errors import Cancelled, UserProblem, from_os_error
from casparian.domain.events import ScanProgressed, SourcesChanged
from casparian.domain.evidence import (
    EvidenceFile,
    FileState,
    ProblemKind,
    Scan,
    ScanProblem,
    ScanState,
    Source,
    shown_path,
)
from casparian.domain.ids import FileId, ScanId, SourceId, WorkspaceId, new_id
from casparian.domain.jobs import Progress
from casparian.domain.rules import compiled
from casparian.scout.hashing import Hashed, NotHashed, hash_file
from casparian.scout.walk import Found, overlaps, walk
from casparian.state.evidence import FileQuery, FileRow, SkipRow, absolute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.domain.cancel import CancelToken
    from casparian.domain.events import EventBus
    from casparian.domain.rules import CompiledRule
    from casparian.state.database import Store, UnitOfWork
    from casparian.state.evidence import KnownFile

# A commit costs by the pages of the indexes that it touches, so few big ones are cheap; a crash costs
# what was scanned within two seconds. The number of files bounds the memory that a batch takes.
BATCH_FILES = 50_000
BATCH_S = 2.0
PROGRESS_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """A source, and what its newest scan found."""

    source: Source
    files: int
    size_bytes: int
    problems: int
    last_scan: Scan | None


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some of the files that a query names."""

    rows: list[FileRow]
    total: int


@dataclass(frozen=True, slots=True)
class FolderRow:
    """A folder within a source, with everything below it."""

    name: str
    path: str
    files: int
    size_bytes: int


class SourceService:
    """What can be done with sources and the files in them."""

    def __init__(self, store: Store, bus: EventBus) -> None:
        self._store = store
        self._bus = bus

    def add(self, workspace_id: WorkspaceId, paths: Sequence[bytes]) -> list[Source]:
        """Add folders and files; one that is a source already is returned as it is.

        One that was removed comes back with what is known of its files, so that a scan reads only what
        has changed meanwhile and the new rows take the place of the old ones.

        Raises:
            UserProblem: a path is not there, is neither file nor folder, or overlaps another source.
        """
        added: list[Source] = []
        with self._store.write() as uow:
            present = {one.path_bytes: one for one in uow.evidence.sources(workspace_id)}
            for path in paths:
                source = _source(workspace_id, path)
                known = present.get(source.path_bytes)
                if known is None:
                    if sentence := overlaps(source.path_bytes, present):
                        raise UserProblem(
                            f"{source.path} cannot be added", sentence, "Rescan that source instead"
                        )
                    known = uow.evidence.bring_back(source)
                    if known is None:
                        uow.evidence.add_source(source)
                        known = source
                    present[source.path_bytes] = known
                added.append(known)
            uow.commit()
        self._bus.publish(SourcesChanged(workspace_id))
        return added

    def list(self, workspace_id: WorkspaceId) -> list[SourceSummary]:
        """The sources of a workspace, oldest first."""
        with self._store.read() as uow:
            scans = uow.evidence.last_scans(workspace_id)
            totals = uow.evidence.source_totals(workspace_id)
            problems = Counter(one.source_path for one in uow.evidence.skips(workspace_id))
            return [
                SourceSummary(
                    one,
                    *totals.get(one.id, (0, 0)),
                    problems=problems[one.path],
                    last_scan=scans.get(one.id),
                )
                for one in uow.evidence.sources(workspace_id)
            ]

    def removal_impact(self, source_id: SourceId) -> str:
        """What removing a source does, as sentences to confirm."""
        with self._store.read() as uow:
            source = uow.evidence.source(source_id)
            files, _ = uow.evidence.source_totals(source.workspace_id).get(source_id, (0, 0))
        return (
            f"{source.path} and its {files:,} files leave the workspace's lists and plans. "
            "The evidence itself is not touched. Rows that were read from it stay in their tables, "
            "with their lineage."
        )

    def remove(self, source_id: SourceId) -> None:
        """Take a source out of its workspace; see `removal_impact`."""
        with self._store.write() as uow:
            source = uow.evidence.source(source_id)
            uow.evidence.remove_source(source_id, datetime.now(UTC))
            uow.commit()
        self._bus.publish(SourcesChanged(source.workspace_id))

    def scan(self, source_id: SourceId, *, force: bool = False, cancel: CancelToken) -> Scan:
        """Walk a source, hash what is new or changed, tag it, and record the rest with its reason.

        `force` hashes everything again; otherwise a file whose size and mtime are those of the last
        scan is taken as unchanged. What was hashed before a cancel stays on record.

        Raises:
            Cancelled: somebody asked to stop.
            EnvironmentProblem: the state store cannot be written.
        """
        with self._store.write() as uow:
            source = uow.evidence.source(source_id)
            # Scans of several hosts are told apart by their order: neither their clocks nor ours rule.
            newest = uow.evidence.newest_scan(source_id)
            scan = Scan(ScanId(new_id(newest)), source_id, uow.now(), ScanState.RUNNING)
            uow.evidence.start_scan(scan)
            known = uow.evidence.known_files(source_id)
            rules = [
                compiled(rule) for rule in uow.evidence.rules(source.workspace_id) if rule.enabled
            ]
            uow.commit()
        run = _Run(self._store, self._bus, source, scan, known, rules)
        state = ScanState.FAILED
        try:
            run.walk(force=force, cancel=cancel)
            state = ScanState.FINISHED
        except Cancelled:
            state = ScanState.CANCELLED
            raise
        finally:
            ended = run.end(state)
            self._bus.publish(SourcesChanged(source.workspace_id))
        return ended

    def files(self, query: FileQuery, offset: int, limit: int | None) -> FilePage:
        """One page of files."""
        with self._store.read() as uow:
            return FilePage(*uow.evidence.find(query, offset=offset, limit=limit))

    def file(self, file_id: FileId) -> FileRow:
        """One file."""
        with self._store.read() as uow:
            source = uow.evidence.source(uow.evidence.source_of(file_id))
            rows, _ = uow.evidence.find(
                FileQuery(source.workspace_id, file_id=file_id), offset=0, limit=1
            )
        if not rows:
            raise UserProblem("The file's source was removed", source.path)
        return rows[0]

    def folders(self, source_id: SourceId, folder: str) -> Sequence[FolderRow]:
        """The folders right below a folder of a source, by name."""
        start = len(folder) + 1 if folder else 0
        counts: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        with self._store.read() as uow:
            for path, size in uow.evidence.paths_below(source_id, folder):
                name, slash, _ = path[start:].partition("/")
                if slash:
                    counts[name] += 1
                    sizes[name] += size
        prefix = f"{folder}/" if folder else ""
        return [
            FolderRow(name, prefix + name, counts[name], sizes[name])
            for name in sorted(counts, key=str.casefold)
        ]

    def roots(self, source_id: SourceId) -> dict[str, bytes]:
        """Where a source lies on hosts where it does not lie under its own path: host -> path."""
        with self._store.read() as uow:
            return uow.evidence.roots(source_id)

    def map_root(self, workspace_id: WorkspaceId, source: bytes, host: str, path: bytes) -> None:
        """Say where a source lies on a host.

        Raises:
            UserProblem: there is no such source, or the path is not absolute.
        """
        if not Path(os.fsdecode(path)).is_absolute():
            raise UserProblem(f"{shown_path(path)} is not an absolute path")
        with self._store.write() as uow:
            sources = uow.evidence.sources(workspace_id)
            found = next((one for one in sources if one.path_bytes == source), None)
            if found is None:
                raise UserProblem(
                    f"{shown_path(source)} is not a source",
                    f"There are: {', '.join(one.path for one in sources) or 'none yet'}",
                )
            uow.evidence.set_root(found.id, host, path)
            uow.commit()
        self._bus.publish(SourcesChanged(workspace_id))

    def problems(self, workspace_id: WorkspaceId) -> Sequence[SkipRow]:
        """What the newest scans left out, with reasons."""
        with self._store.read() as uow:
            return uow.evidence.skips(workspace_id)

    def kinds(self, workspace_id: WorkspaceId) -> Sequence[tuple[str, int]]:
        """The kinds of files there are, commonest first."""
        with self._store.read() as uow:
            return uow.evidence.kinds(workspace_id)

    def read_bytes(self, file_id: FileId, offset: int, length: int) -> bytes:
        """Read a stretch of a file, for its preview.

        Raises:
            EnvironmentProblem: it cannot be read now.
        """
        with self._store.read() as uow:
            path = uow.evidence.absolute_path(file_id)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))
            with os.fdopen(descriptor, "rb") as file:
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise from_os_error(error, "The file could not be read") from error


def _source(workspace_id: WorkspaceId, path: bytes) -> Source:
    real = os.path.realpath(path)
    if Path(os.fsdecode(real)).is_dir():
        is_folder = True
    elif Path(os.fsdecode(real)).is_file():
        is_folder = False
    elif os.path.lexists(path):
        raise UserProblem(f"{shown_path(path)} is neither a file nor a folder")
    else:
        raise UserProblem(f"{shown_path(path)} is not there", hint="Check the path")
    return Source(
        SourceId(new_id()), workspace_id, shown_path(real), real, is_folder, datetime.now(UTC)
    )


class _Run:
    """One scan under way: what it has met, and what is not written yet."""

    def __init__(
        self,
        store: Store,
        bus: EventBus,
        source: Source,
        scan: Scan,
        known: dict[bytes, KnownFile],
        rules: list[CompiledRule],
    ) -> None:
        self._store, self._bus = store, bus
        self._source, self._scan = source, scan
        self._known, self._rules = known, rules
        self._new: list[EvidenceFile] = []
        self._changed: list[EvidenceFile] = []
        self._seen: list[FileId] = []
        self._problems: list[ScanProblem] = []
        self._unlisted: list[str] = []
        self._counts: Counter[str] = Counter()
        self._by_kind: dict[str, list[CompiledRule]] = {}
        self._current = b""
        self._waiting = 0
        self._written_at = self._told_at = time.monotonic()
        self._started = self._written_at

    def walk(self, *, force: bool, cancel: CancelToken) -> None:
        """Take in everything that the source holds."""
        for item in walk(self._source.path_bytes, is_folder=self._source.is_folder, cancel=cancel):
            cancel.check()
            self._counts["found"] += 1
            self._current = item.path_bytes
            if isinstance(item, ScanProblem):
                self._skip(item)
            elif not force and self._is_unchanged(item):
                self._seen.append(self._known[item.path_bytes].id)
                self._counts["unchanged"] += 1
            else:
                self._hash(item, cancel)
            self._waiting += 1
            if self._waiting >= BATCH_FILES or time.monotonic() - self._written_at > BATCH_S:
                self._write()
            self._tell()
        self._write()
        with self._store.write() as uow:
            # What lies below a folder that could not be listed is not known to be gone.
            for path in self._unlisted:
                uow.evidence.see_below(self._source.id, self._scan.id, path)
            missing = uow.evidence.mark_missing(self._source.id, self._scan.id)
            uow.commit()
        self._counts["missing"] = missing

    def end(self, state: ScanState) -> Scan:
        """Write what is left, and how the scan ended."""
        counts: dict[str, Any] = dict(self._counts)
        if state is not ScanState.FAILED:
            self._write()
        with self._store.write() as uow:
            self._scan = replace(self._scan, state=state, ended_at=uow.now(), **counts)
            uow.evidence.end_scan(self._scan)
            uow.commit()
        return self._scan

    def _is_unchanged(self, item: Found) -> bool:
        known = self._known.get(item.path_bytes)
        return (
            known is not None
            and known.state is FileState.HASHED
            and (known.size_bytes, known.mtime_ns) == (item.size_bytes, item.mtime_ns)
        )

    def _hash(self, item: Found, cancel: CancelToken) -> None:
        path = absolute(self._source.path_bytes, item.path_bytes, is_folder=self._source.is_folder)
        try:
            hashed = hash_file(path, cancel, self._read)
        except NotHashed as error:
            shown = shown_path(item.path_bytes)
            self._skip(ScanProblem(shown, item.path_bytes, error.kind, error.detail))
            if error.kind is not ProblemKind.VANISHED:
                is_changed = error.kind is ProblemKind.CHANGED
                state = FileState.CHANGED if is_changed else FileState.UNREADABLE
                self._keep(item, Hashed(item.size_bytes, item.mtime_ns, "", "", ""), state)
            return
        self._counts["hashed"] += 1
        self._keep(item, hashed, FileState.HASHED)

    def _keep(self, item: Found, hashed: Hashed, state: FileState) -> None:
        path = item.path_bytes
        known = self._known.get(path)
        file_id = known.id if known else FileId(new_id())
        file = EvidenceFile(file_id, self._source.id, shown_path(path), path, *hashed, state)
        (self._changed if known else self._new).append(file)

    def _skip(self, problem: ScanProblem) -> None:
        self._problems.append(problem)
        self._counts["skipped"] += 1
        if problem.kind is ProblemKind.UNREADABLE:
            self._unlisted.append(problem.path)

    def _read(self, count: int) -> None:
        self._counts["bytes_hashed"] += count
        self._tell()

    def _rules_for(self, kind: str) -> list[CompiledRule]:
        """The rules that may apply to a kind: few, where all of them would be asked for every file."""
        if kind not in self._by_kind:
            self._by_kind[kind] = [
                one for one in self._rules if not one.rule.kinds or kind in one.rule.kinds
            ]
        return self._by_kind[kind]

    def _write(self) -> None:
        if self._waiting:
            with self._store.write() as uow:
                if self._new and uow.evidence.others_since(self._scan):
                    self._join(uow)
                uow.evidence.add_files(self._scan.id, self._new)
                uow.evidence.change_files(self._scan.id, self._changed)
                uow.evidence.see_files(self._scan.id, self._seen)
                uow.evidence.forget_tags([file.id for file in self._changed])
                uow.evidence.add_tags(
                    (file.id, one.rule.tag, one.rule.id)
                    for file in (*self._new, *self._changed)
                    if file.state is FileState.HASHED
                    for one in self._rules_for(file.kind)
                    if one.matches(file.path, file.kind, file.size_bytes)
                )
                uow.evidence.add_problems(self._scan.id, self._problems)
                uow.commit()
            for waiting in (self._new, self._changed, self._seen, self._problems):
                waiting.clear()
            self._waiting = 0
        self._written_at = time.monotonic()

    def _join(self, uow: UnitOfWork) -> None:
        """Give files that a scan beside this one has added the ids that they have got there."""
        added = uow.evidence.known_files(self._source.id)
        met = [file for file in self._new if file.path_bytes in added]
        self._changed.extend(file._replace(id=added[file.path_bytes].id) for file in met)
        self._new[:] = [file for file in self._new if file.path_bytes not in added]

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at < PROGRESS_EVERY_S:
            return
        self._told_at = now
        progress = Progress(
            done=self._counts["found"],
            total=None,
            unit="files",
            current=shown_path(self._current),
            rate=self._counts["found"] / max(now - self._started, 0.001),
        )
        self._bus.publish(ScanProgressed(self._source.id, progress))
