"""Workspaces, sources, scans, files, rules and tags in the state store."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import blake3
import sqlalchemy as sa

from casparian.domain.evidence import (
    EvidenceFile,
    FileState,
    ProblemKind,
    Scan,
    ScanProblem,
    ScanState,
    Source,
    Workspace,
    shown_path,
)
from casparian.domain.ids import FileId, RuleId, ScanId, SourceId, WorkspaceId, new_id
from casparian.domain.jobs import JobFileState, JobState
from casparian.domain.rules import Rule
from casparian.state.tables import (
    file_tags,
    files,
    job_files,
    jobs,
    materializations,
    rules,
    scan_problems,
    scans,
    source_roots,
    sources,
    workspaces,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

T = TypeVar("T")

CHUNK = 500
"""Rows of a bound `IN` list: every backend takes that many parameters."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What a rescan needs to know of a file to leave it unread."""

    id: FileId
    size_bytes: int
    mtime_ns: int
    state: FileState


class PlacedFile(NamedTuple):
    """Where a file lies, and what it holds."""

    id: FileId
    source_id: SourceId
    root: bytes
    """The path of its source."""
    path_bytes: bytes
    source_hash: str
    scan_id: ScanId
    """The newest scan that met it."""


@dataclass(frozen=True, slots=True)
class FileQuery:
    """Which files to list, and in which order."""

    workspace_id: WorkspaceId
    source_id: SourceId | None = None
    folder: str = ""
    """A folder below the source, without a slash at its end; needs `source_id`."""
    text: str = ""
    """Part of the path, case-insensitive."""
    kind: str = ""
    tag: str = ""
    status: str = ""
    file_id: FileId | None = None
    sort: str = "path"
    """`path`, `size`, `kind`, `modified`, `status`, `accepted` or `quarantined`."""
    descending: bool = False


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file as the Sources view lists it."""

    file: EvidenceFile
    source_path: str
    status: str
    """`unclaimed`, `waiting`, `done`, `partial`, `failed`, `unreadable`, `changed` or `missing`."""
    accepted: int
    quarantined: int
    note: str
    """What is the matter with it, as a sentence; empty for most."""

    @property
    def read(self) -> int:
        """Rows read: accepted + quarantined, always."""
        return self.accepted + self.quarantined


@dataclass(frozen=True, slots=True)
class FileTotals:
    """Files of a workspace: found = hashed + skipped."""

    found: int
    hashed: int
    skipped: int
    unclaimed: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SkipRow:
    """Something that a scan left out, with its reason."""

    source_path: str
    path: str
    kind: ProblemKind
    message: str
    at: datetime


def absolute(root: bytes, relative: bytes, *, is_folder: bool) -> bytes:
    """The absolute path of a file: a source that is a file is its own only file."""
    return root.rstrip(b"/") + b"/" + relative if is_folder else root


def path_hash(path_bytes: bytes) -> str:
    """The key by which a path is found again; paths have no bounded length, keys do."""
    return blake3.blake3(path_bytes).hexdigest(length=16)


class EvidenceRepository:
    """What lies where, as the scans found it."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    # Workspaces

    def workspaces(self, *, archived: bool) -> list[Workspace]:
        """The workspaces by name, with or without the archived ones."""
        query = sa.select(workspaces).order_by(workspaces.c.name)
        if not archived:
            query = query.where(workspaces.c.archived_at.is_(None))
        return [_workspace(row) for row in self._c.execute(query).mappings()]

    def workspace(self, workspace_id: WorkspaceId) -> Workspace:
        """One workspace."""
        query = sa.select(workspaces).where(workspaces.c.id == workspace_id)
        return _workspace(self._c.execute(query).mappings().one())

    def add_workspace(self, workspace: Workspace) -> None:
        """Add a workspace."""
        row = {name: getattr(workspace, name) for name in ("id", "name", "folder", "created_at")}
        self._c.execute(workspaces.insert().values(row))

    def change_workspace(self, workspace_id: WorkspaceId, **values: Any) -> None:
        """Set columns of a workspace."""
        self._c.execute(workspaces.update().where(workspaces.c.id == workspace_id).values(values))

    # Sources

    def add_source(self, source: Source) -> None:
        """Add a source."""
        names = ("id", "workspace_id", "path", "path_bytes", "is_folder", "added_at")
        self._c.execute(sources.insert().values({name: getattr(source, name) for name in names}))

    def bring_back(self, source: Source) -> Source | None:
        """Undo the newest removal of the same folder or file; None if there was none."""
        query = (
            sa.select(sources)
            .where(
                sources.c.workspace_id == source.workspace_id,
                sources.c.path_bytes == source.path_bytes,
                sources.c.is_folder == source.is_folder,
                sources.c.removed_at.is_not(None),
            )
            .order_by(sources.c.removed_at.desc(), sources.c.id.desc())
            .limit(1)
        )
        row = self._c.execute(query).mappings().one_or_none()
        if row is None:
            return None
        here = sources.c.id == row["id"]
        self._c.execute(sources.update().where(here).values(removed_at=None))
        return replace(Source(**row), removed_at=None)

    def sources(self, workspace_id: WorkspaceId, *, removed: bool = False) -> list[Source]:
        """The sources of a workspace, oldest first; without those that were removed, or with them."""
        query = sa.select(sources).where(sources.c.workspace_id == workspace_id)
        if not removed:
            query = query.where(sources.c.removed_at.is_(None))
        query = query.order_by(sources.c.id)
        return [Source(**row) for row in self._c.execute(query).mappings()]

    def source(self, source_id: SourceId) -> Source:
        """One source, removed or not."""
        query = sa.select(sources).where(sources.c.id == source_id)
        return Source(**self._c.execute(query).mappings().one())

    def remove_source(self, source_id: SourceId, at: datetime) -> None:
        """Take a source out of its workspace; its files, jobs and rows stay on record."""
        self._c.execute(sources.update().where(sources.c.id == source_id).values(removed_at=at))

    def roots(self, source_id: SourceId) -> dict[str, bytes]:
        """Where a source lies on hosts where it does not lie under its own path: host -> path."""
        c = source_roots.c
        query = sa.select(c.host, c.path_bytes).where(c.source_id == source_id).order_by(c.host)
        return {host: path for host, path in self._c.execute(query)}  # noqa: C416  (rows)

    def set_root(self, source_id: SourceId, host: str, path_bytes: bytes) -> None:
        """Say where a source lies on a host."""
        c = source_roots.c
        self._c.execute(source_roots.delete().where(c.source_id == source_id, c.host == host))
        self._c.execute(
            source_roots.insert().values(
                source_id=source_id,
                host=host,
                path=shown_path(path_bytes),
                path_bytes=path_bytes,
            )
        )

    # Scans

    def start_scan(self, scan: Scan) -> None:
        """Record that a scan has begun."""
        values = {"id": scan.id, "source_id": scan.source_id, "state": scan.state}
        self._c.execute(scans.insert().values(started_at=scan.started_at, **values))

    def end_scan(self, scan: Scan) -> None:
        """Record how a scan ended, with its counts."""
        names = (
            "state",
            "ended_at",
            "found",
            "hashed",
            "unchanged",
            "skipped",
            "missing",
            "bytes_hashed",
        )
        values = {name: getattr(scan, name) for name in names}
        self._c.execute(scans.update().where(scans.c.id == scan.id).values(values))

    def interrupt_scans(self, at: datetime, started_before: datetime) -> None:
        """Mark scans failed that a program which is gone left running."""
        self._c.execute(
            scans.update()
            .where(scans.c.state == ScanState.RUNNING, scans.c.started_at < started_before)
            .values(state=ScanState.FAILED, ended_at=at)
        )

    def newest_scan(self, source_id: SourceId) -> ScanId | None:
        """The newest scan of a source, running or ended."""
        query = sa.select(sa.func.max(scans.c.id)).where(scans.c.source_id == source_id)
        found: ScanId | None = self._c.execute(query).scalar_one()
        return found

    def last_scans(self, workspace_id: WorkspaceId) -> dict[SourceId, Scan]:
        """The newest scan of every source that has one."""
        newest = (
            sa.select(sa.func.max(scans.c.id))
            .join(sources, sources.c.id == scans.c.source_id)
            .where(sources.c.workspace_id == workspace_id)
            .group_by(scans.c.source_id)
        )
        query = sa.select(scans).where(scans.c.id.in_(newest))
        return {row["source_id"]: Scan(**row) for row in self._c.execute(query).mappings()}

    def add_problems(self, scan_id: ScanId, problems: Sequence[ScanProblem]) -> None:
        """Record what a scan had to leave out."""
        if problems:
            rows = [
                {
                    "id": new_id(),
                    "scan_id": scan_id,
                    "path": one.path,
                    "path_bytes": one.path_bytes,
                    "kind": one.kind,
                    "message": one.message,
                }
                for one in problems
            ]
            self._c.execute(scan_problems.insert(), rows)

    def skips(self, workspace_id: WorkspaceId) -> list[SkipRow]:
        """What the newest scan of each source left out, by source and path."""
        newest = [scan.id for scan in self.last_scans(workspace_id).values()]
        query = (
            sa.select(
                sources.c.path.label("source_path"),
                scan_problems.c.path,
                scan_problems.c.kind,
                scan_problems.c.message,
                scans.c.started_at.label("at"),
            )
            .select_from(scan_problems.join(scans).join(sources))
            .where(sources.c.removed_at.is_(None))
            .order_by(sources.c.id, scan_problems.c.path, scan_problems.c.id)
        )
        rows: list[SkipRow] = []
        for chunk in _chunks(newest):
            found = self._c.execute(query.where(scans.c.id.in_(chunk))).mappings()
            rows.extend(SkipRow(**row) for row in found)
        return rows

    # Files

    def known_files(self, source_id: SourceId) -> dict[bytes, KnownFile]:
        """Every file of a source by its path's bytes."""
        c = files.c
        query = sa.select(c.path_bytes, c.id, c.size_bytes, c.mtime_ns, c.state).where(
            c.source_id == source_id
        )
        return {
            path: KnownFile(file_id, size, mtime, state)
            for path, file_id, size, mtime, state in self._c.execute(query)
        }

    def placed(self, workspace_id: WorkspaceId) -> Iterator[PlacedFile]:
        """Every file of a workspace, also of sources that were removed."""
        c = files.c
        query = (
            sa.select(
                c.id, c.source_id, sources.c.path_bytes, c.path_bytes, c.source_hash, c.scan_id
            )
            .select_from(files.join(sources))
            .where(sources.c.workspace_id == workspace_id)
        )
        yield from (PlacedFile(*row) for row in self._c.execute(query))

    def others_since(self, scan: Scan) -> bool:
        """Whether another scan of the same source may have met files since this one began."""
        query = sa.select(scans.c.id).where(
            scans.c.source_id == scan.source_id,
            scans.c.id != scan.id,
            (scans.c.state == ScanState.RUNNING) | (scans.c.ended_at >= scan.started_at),
        )
        return self._c.execute(query.limit(1)).first() is not None

    def add_files(self, scan_id: ScanId, found: Sequence[EvidenceFile]) -> None:
        """Insert files that no earlier scan has seen."""
        _insert(self._c, files, [_file_row(one, scan_id) for one in found])

    def change_files(self, scan_id: ScanId, found: Sequence[EvidenceFile]) -> None:
        """Update files whose content or state is no longer what an earlier scan saw."""
        if not found:
            return
        names = files.columns.keys()
        rows = [dict(zip(names, _file_row(one, scan_id), strict=True)) for one in found]
        for row in rows:
            row["b_id"] = row.pop("id")
            del row["scan_id"]
        met = files.c.scan_id
        later = sa.case((met > scan_id, met), else_=sa.literal(scan_id))
        change = files.update().where(files.c.id == sa.bindparam("b_id"))
        self._c.execute(change.values(scan_id=later), rows)

    def see_files(self, scan_id: ScanId, ids: Sequence[FileId]) -> None:
        """Record that a scan met these files unchanged."""
        for chunk in _chunks(ids):
            # A newer scan beside this one may have met them already, and goes by that.
            older = files.c.scan_id < scan_id
            self._c.execute(
                files.update().where(files.c.id.in_(chunk), older).values(scan_id=scan_id)
            )

    def see_below(self, source_id: SourceId, scan_id: ScanId, folder: str) -> None:
        """Record that a scan could not tell what has become of the files below a folder."""
        here = (files.c.source_id == source_id) & (files.c.scan_id < scan_id)
        if folder:
            here &= _below(folder)
        self._c.execute(files.update().where(here).values(scan_id=scan_id))

    def mark_missing(self, source_id: SourceId, scan_id: ScanId) -> int:
        """Mark the files of a source that neither this scan nor a newer one met; return how many."""
        missing = (files.c.source_id == source_id) & (files.c.scan_id < scan_id)
        marked = self._c.execute(files.update().where(missing).values(state=FileState.MISSING))
        return marked.rowcount

    def files(self, workspace_id: WorkspaceId) -> Iterator[EvidenceFile]:
        """Every file of a workspace's sources, in the order of sources and paths, with its tags."""
        tags = self._tags(workspace_id)
        query = _workspace_files(sa.select(files), workspace_id).order_by(
            sources.c.id, files.c.path
        )
        for row in self._c.execute(query).mappings():
            yield _file(row, tags.get(row["id"], ()))

    def find(
        self, query: FileQuery, *, offset: int, limit: int | None
    ) -> tuple[list[FileRow], int]:
        """One page of the files that a query names, and how many there are in all."""
        order: sa.ColumnElement[Any] | None = {
            "path": files.c.path,
            "size": files.c.size_bytes,
            "kind": files.c.kind,
            "modified": files.c.mtime_ns,
        }.get(query.sort)
        if order is not None and not query.status and limit is not None:
            # What became of a file is asked for those of the page alone: for all, it takes seconds.
            plain = _workspace_files(sa.select(files.c.id), query.workspace_id)
            plain = plain.where(*_conditions(query))
            total = self._c.execute(
                sa.select(sa.func.count()).select_from(plain.subquery())
            ).scalar_one()
            order_by = (order.desc() if query.descending else order, files.c.id)
            ids = list(
                self._c.execute(plain.order_by(*order_by).offset(offset).limit(limit)).scalars()
            )
            found = {
                row["id"]: row
                for chunk in _chunks(ids)
                for row in self._c.execute(_file_rows(query, chunk)[0]).mappings()
            }
            page: Sequence[sa.RowMapping] = [found[one] for one in ids]
        else:
            rows, status = _file_rows(query)
            total = self._c.execute(
                sa.select(sa.func.count()).select_from(rows.subquery())
            ).scalar_one()
            if order is None:
                order = status if query.sort == "status" else sa.literal_column(query.sort)
            ordered = rows.order_by(order.desc() if query.descending else order, files.c.id)
            page = self._c.execute(ordered.offset(offset).limit(limit)).mappings().all()
        tags = self._tags_of([row["id"] for row in page])
        return [_listed(row, tags.get(row["id"], ())) for row in page], int(total)

    def source_of(self, file_id: FileId) -> SourceId:
        """The source that a file belongs to."""
        query = sa.select(files.c.source_id).where(files.c.id == file_id)
        return SourceId(self._c.execute(query).scalar_one())

    def absolute_path(self, file_id: FileId) -> bytes:
        """Where a file lies."""
        query = (
            sa.select(sources.c.path_bytes, sources.c.is_folder, files.c.path_bytes)
            .select_from(files.join(sources))
            .where(files.c.id == file_id)
        )
        root, is_folder, relative = self._c.execute(query).one()
        return absolute(root, relative, is_folder=is_folder)

    def totals(self, workspace_id: WorkspaceId) -> FileTotals:
        """Counts over the files of a workspace as they are on record now."""
        rows, _ = _file_rows(FileQuery(workspace_id))
        listed = rows.subquery()
        query = sa.select(
            listed.c.status, sa.func.count(), sa.func.sum(listed.c.size_bytes)
        ).group_by(listed.c.status)
        counts = {status: (n, size or 0) for status, n, size in self._c.execute(query)}
        skipped = len(self.skips(workspace_id))
        hashed = sum(n for status, (n, _) in counts.items() if status not in _NOT_HASHED)
        return FileTotals(
            found=hashed + skipped,
            hashed=hashed,
            skipped=skipped,
            unclaimed=counts.get("unclaimed", (0, 0))[0],
            size_bytes=int(
                sum(size for status, (_, size) in counts.items() if status != "missing")
            ),
        )

    def source_totals(self, workspace_id: WorkspaceId) -> dict[SourceId, tuple[int, int]]:
        """By source: how many files it has now, and their size in bytes."""
        query = _workspace_files(
            sa.select(files.c.source_id, sa.func.count(), sa.func.sum(files.c.size_bytes)),
            workspace_id,
        )
        present = query.where(files.c.state != FileState.MISSING).group_by(files.c.source_id)
        return {source: (n, int(size or 0)) for source, n, size in self._c.execute(present)}

    def kinds(self, workspace_id: WorkspaceId) -> list[tuple[str, int]]:
        """The kinds of files there are, with their counts, commonest first."""
        query = _workspace_files(sa.select(files.c.kind, sa.func.count()), workspace_id)
        rows = self._c.execute(query.group_by(files.c.kind))
        return sorted(((kind, n) for kind, n in rows), key=lambda one: (-one[1], one[0]))

    def paths_below(self, source_id: SourceId, folder: str) -> Iterator[tuple[str, int]]:
        """Path and size of every file below a folder of a source."""
        query = sa.select(files.c.path, files.c.size_bytes).where(
            files.c.source_id == source_id, files.c.state != FileState.MISSING
        )
        if folder:
            query = query.where(_below(folder))
        yield from ((path, size) for path, size in self._c.execute(query))

    # Rules and tags

    def rules(self, workspace_id: WorkspaceId) -> list[Rule]:
        """The rules of a workspace by priority."""
        query = (
            sa.select(rules)
            .where(rules.c.workspace_id == workspace_id)
            .order_by(rules.c.priority, rules.c.id)
        )
        return [_rule(row) for row in self._c.execute(query).mappings()]

    def rule(self, rule_id: RuleId) -> tuple[Rule, WorkspaceId]:
        """One rule, and the workspace it belongs to."""
        row = self._c.execute(sa.select(rules).where(rules.c.id == rule_id)).mappings().one()
        return _rule(row), row["workspace_id"]

    def save_rule(self, workspace_id: WorkspaceId, rule: Rule) -> None:
        """Add a rule, or change the one with its id."""
        row = _rule_row(rule)
        changed = self._c.execute(rules.update().where(rules.c.id == rule.id).values(row))
        if not changed.rowcount:
            self._c.execute(rules.insert().values(workspace_id=workspace_id, **row))

    def delete_rule(self, rule_id: RuleId) -> None:
        """Delete a rule and the tags it gave."""
        self._c.execute(file_tags.delete().where(file_tags.c.rule_id == rule_id))
        self._c.execute(rules.delete().where(rules.c.id == rule_id))

    def set_tags(self, rule_id: RuleId, tag: str, ids: Iterable[FileId]) -> None:
        """Make these files, and no others, bear the tag of a rule."""
        self._c.execute(file_tags.delete().where(file_tags.c.rule_id == rule_id))
        self.add_tags((file_id, tag, rule_id) for file_id in ids)

    def forget_tags(self, ids: Sequence[FileId]) -> None:
        """Take every tag from these files."""
        for chunk in _chunks(ids):
            self._c.execute(file_tags.delete().where(file_tags.c.file_id.in_(chunk)))

    def add_tags(self, tags: Iterable[tuple[FileId, str, RuleId]]) -> None:
        """Give tags to files, each with the rule it comes from."""
        _insert(self._c, file_tags, list(tags))

    def tagged(self, workspace_id: WorkspaceId) -> dict[RuleId, tuple[int, int]]:
        """By rule: how many files bear its tag, and their size in bytes."""
        query = (
            sa.select(file_tags.c.rule_id, sa.func.count(), sa.func.sum(files.c.size_bytes))
            .select_from(file_tags.join(files).join(rules, rules.c.id == file_tags.c.rule_id))
            .where(rules.c.workspace_id == workspace_id)
            .group_by(file_tags.c.rule_id)
        )
        return {rule: (n, int(size or 0)) for rule, n, size in self._c.execute(query)}

    def _tags(self, workspace_id: WorkspaceId) -> dict[FileId, tuple[str, ...]]:
        query = (
            sa.select(file_tags.c.file_id, file_tags.c.tag)
            .select_from(file_tags.join(files).join(sources))
            .where(sources.c.workspace_id == workspace_id)
        )
        return _grouped(self._c.execute(query))

    def _tags_of(self, ids: Sequence[FileId]) -> dict[FileId, tuple[str, ...]]:
        found: dict[FileId, tuple[str, ...]] = {}
        for chunk in _chunks(ids):
            query = sa.select(file_tags.c.file_id, file_tags.c.tag)
            found.update(_grouped(self._c.execute(query.where(file_tags.c.file_id.in_(chunk)))))
        return found


_NOT_HASHED = ("unreadable", "changed", "missing")


def _workspace_files(query: sa.Select[Any], workspace_id: WorkspaceId) -> sa.Select[Any]:
    joined = query.select_from(files.join(sources, sources.c.id == files.c.source_id))
    return joined.where(sources.c.workspace_id == workspace_id, sources.c.removed_at.is_(None))


def _file_rows(
    query: FileQuery, only: Sequence[FileId] | None = None
) -> tuple[sa.Select[Any], sa.ColumnElement[str]]:
    """The files of a query with what became of their content, and the expression of their status.

    `only` leaves no more than these: at most `CHUNK`, and quickly.
    """
    m = materializations.c
    of_content = m.workspace_id == query.workspace_id
    of_file: sa.ColumnElement[bool] = sa.true()
    if only is not None:
        hashes = sa.select(files.c.source_hash).where(files.c.id.in_(only))
        of_content &= m.source_hash.in_(hashes)
        of_file = job_files.c.file_id.in_(only)
    done = (
        # What a parser has to say of a file (`note`) does not make it partial: nothing of it is missing.
        sa.select(
            m.source_hash,
            sa.func.sum(m.accepted).label("accepted"),
            sa.func.sum(m.quarantined).label("quarantined"),
            sa.func.max(m.note).label("note"),
        )
        .where(of_content, m.superseded_at.is_(None))
        .group_by(m.source_hash)
        .subquery()
    )
    newest = (
        sa.select(job_files.c.file_id, sa.func.max(job_files.c.job_id).label("job_id"))
        .where(of_file)
        .group_by(job_files.c.file_id)
        .subquery()
    )
    tagged = sa.exists().where(file_tags.c.file_id == files.c.id)
    active = jobs.c.state.in_([one for one in JobState if not one.is_terminal])
    status = sa.case(
        (files.c.state != FileState.HASHED, sa.cast(files.c.state, sa.String)),
        (
            done.c.source_hash.is_not(None),
            sa.case((done.c.quarantined > 0, "partial"), else_="done"),
        ),
        (active, "waiting"),
        (job_files.c.state == JobFileState.FAILED, "failed"),
        (jobs.c.state == JobState.FAILED, "failed"),
        (tagged, "waiting"),
        else_="unclaimed",
    )
    zero = sa.literal(0)
    rows = sa.select(
        files,
        sources.c.path.label("source_path"),
        status.label("status"),
        sa.func.coalesce(done.c.accepted, zero).label("accepted"),
        sa.func.coalesce(done.c.quarantined, zero).label("quarantined"),
        sa.func.coalesce(done.c.note, "").label("done_note"),
        sa.func.coalesce(job_files.c.problem, "").label("job_note"),
    ).select_from(
        files.join(sources, sources.c.id == files.c.source_id)
        .outerjoin(done, done.c.source_hash == files.c.source_hash)
        .outerjoin(newest, newest.c.file_id == files.c.id)
        .outerjoin(
            job_files,
            (job_files.c.file_id == newest.c.file_id) & (job_files.c.job_id == newest.c.job_id),
        )
        .outerjoin(jobs, jobs.c.id == newest.c.job_id)
    )
    rows = rows.where(sources.c.workspace_id == query.workspace_id, sources.c.removed_at.is_(None))
    rows = rows.where(*_conditions(query))
    if query.status:
        rows = rows.where(status == query.status)
    if only is not None:
        rows = rows.where(files.c.id.in_(only))
    return rows, status


def _conditions(query: FileQuery) -> Iterator[sa.ColumnElement[bool]]:
    """What a query asks of a file by itself, whatever became of it."""
    if query.file_id is not None:
        yield files.c.id == query.file_id
    if query.source_id is not None:
        yield files.c.source_id == query.source_id
    if query.folder:
        yield _below(query.folder)
    if query.text:
        yield _holds(query.text)
    if query.kind:
        yield files.c.kind == query.kind
    if query.tag:
        yield sa.exists().where(file_tags.c.file_id == files.c.id, file_tags.c.tag == query.tag)


_ESCAPE = "|"
_UPPER_ASCII = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def _literal(text: str) -> str:
    """Text as it stands in a pattern; a bracket means something to SQL Server alone."""
    return re.sub(r"[|%_\[]", r"|\g<0>", text)


def _below(folder: str) -> sa.ColumnElement[bool]:
    """Whether a file lies below a folder."""
    return files.c.path.like(f"{_literal(folder)}/%", escape=_ESCAPE)


def _holds(text: str) -> sa.ColumnElement[bool]:
    """Whether a path holds a text, in whichever case; sqlite and PostgreSQL know that of ASCII alone."""
    lower = sa.func.lower(files.c.path)
    return sa.or_(
        *(
            lower.like(f"%{_literal(one)}%", escape=_ESCAPE)
            for one in sorted({text.lower(), text.translate(_UPPER_ASCII)})
        )
    )


def _listed(row: sa.RowMapping, tags: tuple[str, ...]) -> FileRow:
    note = row["done_note"] or (row["job_note"] if row["status"] == "failed" else "")
    return FileRow(
        file=_file(row, tags),
        source_path=row["source_path"],
        status=row["status"],
        accepted=int(row["accepted"]),
        quarantined=int(row["quarantined"]),
        note=note,
    )


def _workspace(row: sa.RowMapping) -> Workspace:
    return Workspace(**row)


def _file(row: sa.RowMapping, tags: tuple[str, ...]) -> EvidenceFile:
    names = (
        "id",
        "source_id",
        "path",
        "path_bytes",
        "size_bytes",
        "mtime_ns",
        "kind",
        "source_hash",
        "sha256",
        "state",
    )
    return EvidenceFile(tags=tags, **{name: row[name] for name in names})


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows that have every column in the table's order, with values as the driver takes them.

    SQLAlchemy's own way prepares each row again, which costs a big scan as much as the insert itself.
    """
    if rows and connection.dialect.paramstyle == "qmark":
        connection.exec_driver_sql(str(table.insert().compile(dialect=connection.dialect)), rows)
    elif rows:
        names = table.columns.keys()
        connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])


def _file_row(file: EvidenceFile, scan_id: ScanId) -> tuple[Any, ...]:
    return (
        file.id,
        file.source_id,
        path_hash(file.path_bytes),
        file.path,
        file.path_bytes,
        file.size_bytes,
        file.mtime_ns,
        file.kind,
        file.source_hash,
        file.sha256,
        # Of what is not exactly a `str` the driver asks first, each time, how to take it.
        str(file.state),
        scan_id,
    )


def _rule(row: sa.RowMapping) -> Rule:
    values = {name: row[name] for name in row if name != "workspace_id"}
    values["exclude"] = tuple(values["exclude"])
    values["kinds"] = tuple(values["kinds"])
    return Rule(**values)


def _rule_row(rule: Rule) -> dict[str, Any]:
    names = ("id", "glob", "tag", "min_size", "max_size", "priority", "enabled", "builtin", "note")
    row: dict[str, Any] = {name: getattr(rule, name) for name in names}
    return row | {"exclude": list(rule.exclude), "kinds": list(rule.kinds)}


def _grouped(rows: Iterable[Any]) -> dict[FileId, tuple[str, ...]]:
    tags: dict[FileId, set[str]] = {}
    for file_id, tag in rows:
        tags.setdefault(file_id, set()).add(tag)
    return {file_id: tuple(sorted(found)) for file_id, found in tags.items()}


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(values), CHUNK):
        yield values[at : at + CHUNK]
