"""The job queue: claims with a token, an attempt and a lease, and the history of each job.

A claim locks the row that it takes and skips those that others hold (on sqlite it holds the whole file),
so no two programs get the same job. The lease is prolonged by heartbeats; when it ran out, or the program
that held it is gone, the job goes back to the queue until its attempts are used up. A move by somebody
whose token is stale is refused. All times are by the store's clock (`UnitOfWork.now`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from casparian.domain.ids import FileId, JobId, WorkspaceId, new_id
from casparian.domain.jobs import Claim, Job, JobFile, JobFileState, JobState, check_move
from casparian.state.evidence import absolute
from casparian.state.tables import (
    files,
    job_events,
    job_files,
    job_refusals,
    jobs,
    source_roots,
    sources,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 3

_ACTIVE = (JobState.CLAIMED, JobState.RUNNING, JobState.COMMITTING)


@dataclass(frozen=True, slots=True)
class JobEvidence:
    """A file of a job with what its worker needs to read it."""

    file_id: FileId
    source_hash: str
    """As planned."""
    root_bytes: bytes
    """The source it belongs to, as it lies on this host."""
    path_bytes: bytes
    """Absolute."""
    shown: str
    size_bytes: int
    mtime_ns: int
    current_hash: str
    """As the newest scan has it; another than planned means that the file has changed since."""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that some program holds, or held."""

    job: Job
    token: str
    host: str
    pid: int
    lease_until: datetime


class JobRepository:
    """Jobs, their files and their history."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def add(self, job: Job, evidence: Sequence[tuple[FileId, str]], priority: int = 100) -> None:
        """Queue a job over files, each given with the hash of the content that is to be read."""
        row = {name: getattr(job, name) for name in _JOB_COLUMNS}
        self._c.execute(jobs.insert().values(priority=priority, **row))
        rows = [
            {
                "job_id": job.id,
                "file_id": file_id,
                "source_hash": source_hash,
                "ordinal": ordinal,
                "state": JobFileState.WAITING,
            }
            for ordinal, (file_id, source_hash) in enumerate(evidence)
        ]
        if rows:
            self._c.execute(job_files.insert(), rows)

    def claim(self, host: str, pid: int, now: datetime, token: str | None = None) -> Claim | None:
        """Take the next queued job that this host may have, or None if there is none.

        Who names a token can tell later whether a claim was made over which the connection was lost.
        """
        token, until = token or new_id(), now + LEASE
        values = {"b_host": host, "b_pid": pid, "b_now": now, "b_token": token, "b_until": until}
        row = self._c.execute(_CLAIM, values).mappings().one_or_none()
        return None if row is None else Claim(_job(row), token, until)

    def beat(self, job_id: JobId, token: str, now: datetime) -> bool:
        """Prolong a lease; False means that the claim is lost or the job is to be cancelled."""
        changed = self._c.execute(
            jobs.update()
            .where(jobs.c.id == job_id, jobs.c.token == token, jobs.c.cancel_asked == sa.false())
            .values(lease_until=now + LEASE)
        )
        return bool(changed.rowcount)

    def move(self, job_id: JobId, token: str | None, state: JobState, **values: Any) -> bool:
        """Put a job into another state; False if the token is not (or no longer) the job's.

        A job that somebody asked to cancel meanwhile does not go back to the queue, where nobody would
        claim it: it is cancelled.

        Raises:
            AssertionError: the move is not a legal one.
        """
        query = (
            sa.select(jobs.c.state, jobs.c.token, jobs.c.cancel_asked)
            .where(jobs.c.id == job_id)
            .with_for_update()
            .with_hint(jobs, "WITH (UPDLOCK, ROWLOCK)", "mssql")
        )
        row = self._c.execute(query).one()
        if token is not None and row.token != token:
            return False
        check_move(row.state, state)
        if state is JobState.QUEUED and row.cancel_asked:
            state = JobState.CANCELLED
            values["ended_at"] = datetime.now(UTC)
            values.pop("not_before", None)
        if state is JobState.QUEUED or state.is_terminal:
            values["token"] = None
            values["lease_until"] = None
        self._c.execute(jobs.update().where(jobs.c.id == job_id).values(state=state, **values))
        return True

    def ask_cancel(self, job_id: JobId) -> None:
        """Ask whoever holds the job to stop."""
        self._c.execute(jobs.update().where(jobs.c.id == job_id).values(cancel_asked=True))

    def refuse(self, job_id: JobId, host: str, until: datetime) -> None:
        """Keep a job from a host for a while: it cannot reach what the job needs."""
        key = (job_refusals.c.job_id == job_id) & (job_refusals.c.host == host)
        changed = self._c.execute(job_refusals.update().where(key).values(until=until))
        if not changed.rowcount:
            row = {"job_id": job_id, "host": host, "until": until}
            self._c.execute(job_refusals.insert().values(row))

    def next_due(self, host: str, now: datetime) -> datetime | None:
        """When the next job is to be tried again that rests after a trouble, or may be already.

        None if there is none.
        """
        query = sa.select(sa.func.min(jobs.c.not_before)).where(*_for_host(host, now))
        found: datetime | None = self._c.execute(query).scalar_one()
        return found

    def waits_for(self, host: str, now: datetime) -> bool:
        """Whether a job waits in the queue that this host may have, now or after a rest."""
        query = sa.select(jobs.c.id).where(*_for_host(host, now)).limit(1)
        return self._c.execute(query).first() is not None

    def to_undo(self) -> list[Job]:
        """Jobs that did not succeed, and of which a sink may still hold rows."""
        query = sa.select(jobs).where(
            jobs.c.undo == sa.true(), jobs.c.state.in_((JobState.FAILED, JobState.CANCELLED))
        )
        return [_job(row) for row in self._c.execute(query.order_by(jobs.c.id)).mappings()]

    def undone(self, job_id: JobId) -> None:
        """Record that no sink holds rows of a job that did not succeed."""
        self._c.execute(jobs.update().where(jobs.c.id == job_id).values(undo=False))

    def held(self, *, expired_at: datetime | None = None) -> list[Held]:
        """Every job that is claimed, running or committing.

        With `expired_at` of these only those whose lease had run out then, locked, so that no two
        programs take back the same one.
        """
        query = sa.select(jobs).where(jobs.c.state.in_(_ACTIVE)).order_by(jobs.c.id)
        if expired_at is not None:
            query = _locked(query.where(jobs.c.lease_until < expired_at))
        return [
            Held(_job(row), row["token"], row["host"], row["pid"], row["lease_until"])
            for row in self._c.execute(query).mappings()
        ]

    def queued_ids(self) -> list[JobId]:
        """Every job that waits to be claimed, oldest first."""
        query = sa.select(jobs.c.id).where(jobs.c.state == JobState.QUEUED)
        return [JobId(one) for one in self._c.execute(query.order_by(jobs.c.id)).scalars()]

    def count_open(self, workspace_id: WorkspaceId | None = None) -> int:
        """How many jobs are not at their end."""
        query = sa.select(sa.func.count()).select_from(jobs)
        query = query.where(jobs.c.state.in_((JobState.QUEUED, *_ACTIVE)))
        if workspace_id is not None:
            query = query.where(jobs.c.workspace_id == workspace_id)
        return int(self._c.execute(query).scalar_one())

    def job(self, job_id: JobId) -> Job:
        """One job."""
        return _job(self._c.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().one())

    def jobs(self, workspace_id: WorkspaceId) -> list[Job]:
        """The jobs of a workspace, newest first."""
        query = (
            sa.select(jobs).where(jobs.c.workspace_id == workspace_id).order_by(jobs.c.id.desc())
        )
        return [_job(row) for row in self._c.execute(query).mappings()]

    def known(self, ids: Iterable[str]) -> set[str]:
        """Which of these ids are jobs of this store."""
        wanted = list(ids)
        found: set[str] = set()
        for at in range(0, len(wanted), 500):
            query = sa.select(jobs.c.id).where(jobs.c.id.in_(wanted[at : at + 500]))
            found.update(self._c.execute(query).scalars())
        return found

    def ended(self, ids: Iterable[str]) -> set[str]:
        """Which of these jobs are at their end."""
        wanted = list(ids)
        found: set[str] = set()
        for at in range(0, len(wanted), 500):
            query = sa.select(jobs.c.id).where(
                jobs.c.id.in_(wanted[at : at + 500]),
                jobs.c.state.not_in((JobState.QUEUED, *_ACTIVE)),
            )
            found.update(self._c.execute(query).scalars())
        return found

    def evidence(self, job_id: JobId, host: str = "") -> list[JobEvidence]:
        """The files of a job, in the order in which they are to be read.

        Where a source lies elsewhere on `host`, the paths are those that hold there.
        """
        here = (source_roots.c.source_id == sources.c.id) & (source_roots.c.host == host)
        query = (
            sa.select(
                job_files.c.file_id,
                job_files.c.source_hash,
                sa.func.coalesce(source_roots.c.path_bytes, sources.c.path_bytes).label("root"),
                sources.c.is_folder,
                files.c.path_bytes,
                files.c.path,
                files.c.size_bytes,
                files.c.mtime_ns,
                files.c.source_hash.label("current_hash"),
            )
            .select_from(job_files.join(files).join(sources).outerjoin(source_roots, here))
            .where(job_files.c.job_id == job_id)
            .order_by(job_files.c.ordinal)
        )
        return [
            JobEvidence(
                file_id=row["file_id"],
                source_hash=row["source_hash"],
                root_bytes=row["root"],
                path_bytes=absolute(row["root"], row["path_bytes"], is_folder=row["is_folder"]),
                shown=row["path"],
                size_bytes=row["size_bytes"],
                mtime_ns=row["mtime_ns"],
                current_hash=row["current_hash"],
            )
            for row in self._c.execute(query).mappings()
        ]

    def files(self, job_id: JobId) -> list[JobFile]:
        """What became of each file of a job."""
        query = (
            sa.select(job_files, files.c.path)
            .select_from(job_files.join(files))
            .where(job_files.c.job_id == job_id)
            .order_by(job_files.c.ordinal)
        )
        names = ("job_id", "file_id", "path", "state", "read", "accepted", "quarantined", "problem")
        rows = self._c.execute(query).mappings()
        return [JobFile(**{name: row[name] for name in names}) for row in rows]

    def end_files(self, results: Sequence[JobFile]) -> None:
        """Record what became of files of a job."""
        if not results:
            return
        key = (job_files.c.job_id == sa.bindparam("b_job")) & (
            job_files.c.file_id == sa.bindparam("b_file")
        )
        rows = [
            {
                "b_job": one.job_id,
                "b_file": one.file_id,
                "state": one.state,
                "read": one.read,
                "accepted": one.accepted,
                "quarantined": one.quarantined,
                "problem": one.problem,
            }
            for one in results
        ]
        self._c.execute(job_files.update().where(key), rows)

    def waiting(self, workspace_id: WorkspaceId) -> set[tuple[str, str]]:
        """Content hash and parser of everything that an open job is going to read."""
        query = (
            sa.select(job_files.c.source_hash, jobs.c.parser)
            .select_from(job_files.join(jobs))
            .where(
                jobs.c.workspace_id == workspace_id, jobs.c.state.in_((JobState.QUEUED, *_ACTIVE))
            )
        )
        return {(source_hash, parser) for source_hash, parser in self._c.execute(query)}

    def failed(self, workspace_id: WorkspaceId) -> set[tuple[str, str]]:
        """Content hash and artifact hash of everything that a parser could not read."""
        query = (
            sa.select(job_files.c.source_hash, jobs.c.artifact_hash)
            .select_from(job_files.join(jobs))
            .where(jobs.c.workspace_id == workspace_id, job_files.c.state == JobFileState.FAILED)
        )
        return {(source_hash, artifact) for source_hash, artifact in self._c.execute(query)}

    def note(self, job_id: JobId, at: datetime, message: str) -> None:
        """Add a line to a job's history."""
        row = {"id": new_id(), "job_id": job_id, "at": at, "message": message}
        self._c.execute(job_events.insert().values(row))

    def history(self, job_id: JobId) -> list[tuple[datetime, str]]:
        """What happened to a job, oldest first."""
        query = (
            sa.select(job_events.c.at, job_events.c.message)
            .where(job_events.c.job_id == job_id)
            .order_by(job_events.c.id)
        )
        return [(at, message) for at, message in self._c.execute(query)]


def _refused(host: Any, now: Any) -> sa.ColumnElement[bool]:
    """Whether a host keeps away from a job for now."""
    of_host = job_refusals.c.host == host
    return sa.exists().where(
        job_refusals.c.job_id == jobs.c.id, of_host, job_refusals.c.until > now
    )


def _for_host(host: str, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    """What holds for a queued job that a host may have."""
    return (
        jobs.c.state == JobState.QUEUED,
        jobs.c.cancel_asked == sa.false(),
        ~_refused(host, now),
    )


def _locked(query: sa.Select[Any]) -> sa.Select[Any]:
    """Lock the jobs that are found, and pass over those that others hold."""
    # SQLAlchemy leaves FOR UPDATE out for SQL Server: the hints say the same there.
    locked = query.with_for_update(skip_locked=True, of=jobs)
    return locked.with_hint(jobs, "WITH (UPDLOCK, READPAST, ROWLOCK)", "mssql")


_JOB_COLUMNS = (
    "id",
    "workspace_id",
    "parser",
    "parser_version",
    "artifact_hash",
    "state",
    "files",
    "size_bytes",
    "created_at",
    "started_at",
    "ended_at",
    "attempt",
    "host",
    "rows",
    "quarantined",
    "failed_files",
    "problem",
    "not_before",
    "retry_of",
)


def _job(row: sa.RowMapping) -> Job:
    return Job(**{name: row[name] for name in _JOB_COLUMNS})


def _claim() -> sa.Executable:
    """Find the next job, lock it and take it in one statement: one way to the server and back."""

    def given(name: str, column: sa.Column[Any]) -> sa.BindParameter[Any]:
        return sa.bindparam(f"b_{name}", required=False, type_=column.type)

    now, host = given("now", jobs.c.started_at), given("host", jobs.c.host)
    query = (
        sa.select(jobs.c.id)
        .where(
            jobs.c.state == JobState.QUEUED,
            jobs.c.cancel_asked == sa.false(),
            jobs.c.not_before.is_(None) | (jobs.c.not_before <= now),
            ~_refused(host, now),
        )
        .order_by(jobs.c.priority, jobs.c.id)
        .limit(1)
    )
    return (
        jobs.update()
        .where(jobs.c.id == _locked(query).correlate(None).scalar_subquery())
        .values(
            state=JobState.CLAIMED,
            attempt=jobs.c.attempt + 1,
            token=given("token", jobs.c.token),
            lease_until=given("until", jobs.c.lease_until),
            host=host,
            pid=given("pid", jobs.c.pid),
            started_at=now,
            problem="",
        )
        .returning(*(jobs.c[name] for name in _JOB_COLUMNS))
    )


_CLAIM = _claim()
