"""Jobs: plan, submit, run, watch, cancel, retry, and pick up what an earlier run of the program left."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import UserProblem
from casparian.domain.events import JobChanged, JobProgressed
from casparian.domain.ids import JobId, WorkspaceId, new_id
from casparian.domain.jobs import Job, JobFile, JobFileState, JobState, Progress
from casparian.domain.planning import BatchLimits, Known, Plan, plan
from casparian.services.committing import target_key
from casparian.services.plugins import all_parsers
from casparian.services.reading import WorkerPool
from casparian.services.running import JobRunner
from casparian.state.database import StoreAway
from casparian.state.queue import MAX_ATTEMPTS
from casparian.worker.supervisor import WorkerLimits, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from casparian.domain.events import Event, EventBus
    from casparian.domain.jobs import Claim
    from casparian.services.sinks import Sinks
    from casparian.settings import Settings
    from casparian.state.database import Store, UnitOfWork
    from casparian.state.queue import Held

logger = logging.getLogger(__name__)

MIN_BATCH_BYTES = 8 * 1024 * 1024
ELSEWHERE_POLL_S = 0.5
FIRST_NAP_S = 0.5
LONGEST_AWAY_NAP_S = 8.0
"""A slot looks so often whether a state store that is away is back; at first sooner."""
LONGEST_NAP_S = 1.0
"""A slot that waits for a job which rests looks so often whether it was cancelled meanwhile."""


class JobService:
    """What can be done with jobs; also the loops that run them, one per worker slot."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        bus: EventBus,
        sinks: Sinks,
        executor: Executor,
        worker_command: list[str] | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._sinks = sinks
        self._executor = executor
        limits = WorkerLimits(
            settings.worker_silence_s, settings.worker_stall_s, settings.worker_memory_mb
        )
        self._workers = WorkerPool(lambda: WorkerProcess(limits, worker_command))
        self._runner = JobRunner(store, bus, sinks, settings, self._workers)
        self._state = threading.Condition()
        self._loops = 0
        self._asked = 0
        self._closing = False
        self._is_settling = False
        self._is_store_away = False
        self._doubtful: set[str] = set()
        self._running: dict[JobId, CancelToken] = {}
        self._progress: dict[JobId, Progress] = {}
        self.on_idle: Callable[[], None] = lambda: None
        """Called when a slot has run out of jobs, before anybody who waits is told."""
        self._unsubscribe = bus.subscribe(self._on_event)

    # Planning

    def plan(self, workspace_id: WorkspaceId, *, force: bool = False) -> Plan:
        """Decide for every file of a workspace what runs, and why the rest does not."""
        with self._store.read() as uow:
            return self._plan(uow, workspace_id, force=force)

    def submit(self, workspace_id: WorkspaceId, planned: Plan) -> list[JobId]:
        """Queue the jobs of a plan."""
        with self._store.write() as uow:
            ids = self._submit(uow, workspace_id, planned)
            uow.commit()
        for job_id in ids:
            self._bus.publish(JobChanged(workspace_id, job_id, JobState.QUEUED))
        return ids

    def _plan(
        self,
        uow: UnitOfWork,
        workspace_id: WorkspaceId,
        *,
        force: bool,
        only: set[str] | None = None,
    ) -> Plan:
        parsers = all_parsers()
        done: dict[tuple[str, str], str] = {}
        earlier: set[tuple[str, str]] = set()
        place = self._sinks.places(uow, workspace_id)
        current = {
            name: (place(one.parser, one.output), one)
            for name, one in uow.outputs.contracts(workspace_id).items()
        }
        targets = {
            name: target_key(contract, where, contract.schema_hash)
            for name, (where, contract) in current.items()
        }
        for one in uow.outputs.done(workspace_id):
            earlier.add((one.source_hash, one.parser))
            stale = ""
            if one.target_key != targets[one.table]:
                where, _ = current[one.table]
                stale = (
                    f"the types of {one.table} have widened"
                    if one.sink == where.key
                    else f"{one.table} goes to {where.uri} now"
                )
            key = (one.source_hash, one.artifact_hash)
            done[key] = done.get(key) or stale
        files = [
            file
            for file in uow.evidence.files(workspace_id)
            if only is None or file.source_hash in only
        ]
        total = sum(file.size_bytes for file in files if file.tags)
        # Enough jobs to keep every worker busy, but no more and smaller outputs than that takes.
        share = total // (self._settings.workers * 2)
        limits = BatchLimits(
            max(min(self._settings.batch_bytes, share), MIN_BATCH_BYTES), self._settings.batch_files
        )
        known = Known(
            done,
            frozenset(earlier),
            frozenset(uow.jobs.waiting(workspace_id)),
            frozenset(uow.jobs.failed(workspace_id)),
        )
        return plan(files, parsers, known, limits, force=force)

    def _submit(self, uow: UnitOfWork, workspace_id: WorkspaceId, planned: Plan) -> list[JobId]:
        ids = []
        for one in planned.jobs:
            job = Job(
                id=JobId(new_id()),
                workspace_id=workspace_id,
                parser=one.parser.name,
                parser_version=one.parser.version,
                artifact_hash=one.parser.artifact_hash,
                state=JobState.QUEUED,
                files=len(one.files),
                size_bytes=one.size_bytes,
                created_at=datetime.now(UTC),
            )
            uow.jobs.add(job, [(file.id, file.source_hash) for file in one.files])
            ids.append(job.id)
        return ids

    def _resubmit_stale(self, workspace_id: WorkspaceId) -> None:
        """Queue again what was committed with narrower types than its table has by now."""
        with self._store.read() as uow:
            if not self._stale(uow, workspace_id):
                return
        with self._store.write() as uow:
            stale = self._stale(uow, workspace_id)
            planned = self._plan(uow, workspace_id, force=False, only=stale)
            ids = self._submit(uow, workspace_id, planned)
            uow.commit()
        for job_id in ids:
            self._bus.publish(JobChanged(workspace_id, job_id, JobState.QUEUED))

    def _stale(self, uow: UnitOfWork, workspace_id: WorkspaceId) -> set[str]:
        place = self._sinks.places(uow, workspace_id)
        keys = {
            name: target_key(one, place(one.parser, one.output), one.schema_hash)
            for name, one in uow.outputs.contracts(workspace_id).items()
            if one.layout_key
        }
        return uow.outputs.contents_for_other_targets(workspace_id, keys)

    # Running

    def start(self) -> None:
        """Run what is queued in the slots of the executor; returns at once."""
        with self._state:
            if self._closing:
                return
            self._asked += 1
            self._state.notify_all()
            self._is_settling = True
            while self._loops < self._settings.workers:
                self._loops += 1
                self._executor.submit(self._loop)

    def finish(self, ids: Sequence[JobId], cancel: CancelToken) -> None:
        """Wait until these jobs are at their end, also those that another program took.

        One that stays in the queue because no slot could take it is left there.

        Raises:
            Cancelled: somebody asked to stop, and what ran here has stopped.
        """
        self.wait(cancel)
        while any(self._is_held(one) for one in ids):
            if cancel.is_cancelled:
                for one in ids:
                    self.cancel(one)
            cancel.check()
            time.sleep(ELSEWHERE_POLL_S)
            # Should the other program die, its jobs are to be had when their lease runs out.
            self.start()
            self.wait(cancel)

    def _is_held(self, job_id: JobId) -> bool:
        try:
            state = self.job(job_id).state
        except StoreAway as error:
            # Whoever has the job will come back to the store as well.
            self._note_store(error)
            return True
        return state is not JobState.QUEUED and not state.is_terminal

    def is_idle(self) -> bool:
        """Whether every slot has run out of jobs, and none waits that this host may have."""
        with self._state:
            if self._loops:
                return False
        with self._store.read() as uow:
            return not uow.jobs.waits_for(self._settings.host_name, uow.now())

    def wait(self, cancel: CancelToken) -> None:
        """Wait until every slot has run out of jobs; a cancel stops the jobs first.

        Raises:
            Cancelled: somebody asked to stop, and everything has stopped.
        """
        asked = False
        while True:
            with self._state:
                if not self._loops:
                    break
                self._state.wait(0.1)
            if cancel.is_cancelled and not asked:
                asked = True
                self.cancel_all()
        cancel.check()

    def cancel(self, job_id: JobId) -> None:
        """Stop a job; nothing of it is ever committed. A job at its end is left alone."""
        self._cancel(job_id)
        self._settle()

    def _settle(self) -> None:
        with self._state:
            is_idle = not self._loops
        if is_idle:
            self.on_idle()

    def _cancel(self, job_id: JobId) -> None:
        with self._store.write() as uow:
            job = uow.jobs.job(job_id)
            if job.state is JobState.QUEUED:
                uow.jobs.move(job_id, None, JobState.CANCELLED, ended_at=datetime.now(UTC))
            elif not job.state.is_terminal:
                uow.jobs.ask_cancel(job_id)
            uow.commit()
        with self._state:
            token = self._running.get(job_id)
        if token is not None:
            token.cancel()
        if job.state is JobState.QUEUED:
            self._bus.publish(JobChanged(job.workspace_id, job_id, JobState.CANCELLED))

    def cancel_all(self) -> None:
        """Stop every job that runs here or is queued; what another program runs is its own affair."""
        with self._state:
            ids = list(self._running)
            tokens = list(self._running.values())
        # What runs here stops even where the store is away.
        for token in tokens:
            token.cancel()
        with self._store.read() as uow:
            ids.extend(uow.jobs.queued_ids())
        for job_id in ids:
            self._cancel(job_id)
        self._settle()

    def retry(self, job_id: JobId) -> JobId:
        """Queue a new job for the files of a job that gave nothing.

        Raises:
            UserProblem: the job is not at its end, or nothing of it failed.
        """
        with self._store.write() as uow:
            old = uow.jobs.job(job_id)
            if not old.state.is_terminal:
                raise UserProblem("The job is still in progress", hint="Wait for it or cancel it")
            done = {JobFileState.DONE, JobFileState.PARTIAL}
            left = {one.file_id for one in uow.jobs.files(job_id) if one.state not in done}
            # With the content as it is now: a file that has changed since is read as it is, and content
            # that several files have come to hold is read once. What a scan could not read stays as it
            # was planned, and fails with that reason.
            now = {
                one.current_hash or one.source_hash: one
                for one in reversed(uow.jobs.evidence(job_id))
                if one.file_id in left
            }
            evidence = dict(reversed(now.items()))
            if not evidence:
                raise UserProblem("There is nothing to retry", "every file of the job was read")
            parser = next(one for one in all_parsers() if one.name == old.parser)
            new = replace(
                old,
                id=JobId(new_id()),
                parser_version=parser.version,
                artifact_hash=parser.artifact_hash,
                state=JobState.QUEUED,
                files=len(evidence),
                size_bytes=sum(one.size_bytes for one in evidence.values()),
                created_at=datetime.now(UTC),
                started_at=None,
                ended_at=None,
                attempt=0,
                host="",
                rows=0,
                quarantined=0,
                failed_files=0,
                problem="",
                not_before=None,
                retry_of=old.id,
            )
            uow.jobs.add(new, [(one.file_id, content) for content, one in evidence.items()])
            uow.commit()
        self._bus.publish(JobChanged(new.workspace_id, new.id, JobState.QUEUED))
        self.start()
        return new.id

    def _loop(self) -> None:
        nap_s = FIRST_NAP_S
        try:
            while True:
                try:
                    if not self._step():
                        return
                    self._note_store(None)
                    nap_s = FIRST_NAP_S
                except StoreAway as error:
                    self._note_store(error)
                    if self._naps(nap_s):
                        return
                    nap_s = min(nap_s * 2, LONGEST_AWAY_NAP_S)
        except Exception:
            # The executor would keep it to itself; the queue stays as it is for the next start.
            logger.exception("a worker slot gave up")
        finally:
            with self._state:
                self._loops -= 1
                self._state.notify_all()

    def _step(self) -> bool:
        """Run the next job, or do what is to be done when there is none; whether to go on after it."""
        with self._state:
            asked = self._asked
        claim = None if self._closing else self._claim()
        if claim is not None:
            self._run(claim)
            return True
        if self._is_settled():
            self._runner.retire()
            self._runner.undo_failed()
        self.on_idle()
        return self._is_more_to_come(asked)

    def _note_store(self, error: StoreAway | None) -> None:
        """Say once that the state store is away, and once that it is back."""
        with self._state:
            before, self._is_store_away = self._is_store_away, error is not None
            self._is_settling |= error is not None
        if error is not None and not before:
            logger.warning("the queue waits for the state store: %s", error)
        elif error is None and before:
            logger.info("the state store answers again")

    def _naps(self, seconds: float) -> bool:
        """Wait that long, or until the program closes; whether it does."""
        with self._state:
            return self._state.wait_for(lambda: self._closing, timeout=seconds)

    def _is_more_to_come(self, asked: int) -> bool:
        """Whether to look for a job again: somebody asked meanwhile, or one is resting and is due soon."""
        with self._store.read() as uow:
            now = uow.now()
            due = uow.jobs.next_due(self._settings.host_name, now)
        with self._state:
            if due is not None and asked == self._asked and not self._closing:
                wait_s = min((due - now).total_seconds(), LONGEST_NAP_S)
                self._state.wait_for(
                    lambda: asked != self._asked or self._closing, timeout=max(wait_s, 0.01)
                )
                return not self._closing
            return asked != self._asked and not self._closing

    def _is_settled(self) -> bool:
        """Whether nothing runs here any more; said to one slot, once after every start and every job."""
        with self._state:
            if self._running or self._closing:
                return False
            settled, self._is_settling = self._is_settling, False
            return settled

    def _claim(self) -> Claim | None:
        self._give_back_doubtful()
        token = new_id()
        try:
            with self._store.touch() as uow:
                now, host = uow.now(), self._settings.host_name
                claim = uow.jobs.claim(host, os.getpid(), now, token)
                if claim is None:
                    # A program beside this one may have died since this one started.
                    self._take_back(uow, uow.jobs.held(expired_at=now))
                    claim = uow.jobs.claim(host, os.getpid(), now, token)
                uow.commit()
        except StoreAway:
            with self._state:
                self._doubtful.add(token)
            raise
        return claim

    def _give_back_doubtful(self) -> None:
        """Put jobs back into the queue whose claim was made though its connection was lost."""
        with self._state:
            doubtful = set(self._doubtful)
        if not doubtful:
            return
        with self._store.write() as uow:
            for one in uow.jobs.held():
                if one.token in doubtful:
                    attempt = one.job.attempt - 1
                    uow.jobs.move(one.job.id, one.token, JobState.QUEUED, attempt=attempt)
                    uow.jobs.note(one.job.id, datetime.now(UTC), "Its claim was lost on the way.")
            uow.commit()
        with self._state:
            self._doubtful -= doubtful

    def _run(self, claim: Claim) -> None:
        job = claim.job
        token = CancelToken("The job")
        with self._state:
            self._running[job.id] = token
            if self._closing:
                token.cancel()
        self._bus.publish(JobChanged(job.workspace_id, job.id, JobState.CLAIMED))
        try:
            state = self._runner.run(claim, token, is_closing=lambda: self._closing)
        finally:
            with self._state:
                del self._running[job.id]
                self._is_settling = True
                self._progress.pop(job.id, None)
        if state in {JobState.SUCCEEDED, JobState.PARTIAL}:
            self._resubmit_stale(job.workspace_id)

    # Looking

    def list(self, workspace_id: WorkspaceId) -> list[Job]:
        """The jobs of a workspace, newest first."""
        with self._store.read() as uow:
            return uow.jobs.jobs(workspace_id)

    def job(self, job_id: JobId) -> Job:
        """One job."""
        with self._store.read() as uow:
            return uow.jobs.job(job_id)

    def files(self, job_id: JobId) -> Sequence[JobFile]:
        """What became of each file of a job."""
        with self._store.read() as uow:
            return uow.jobs.files(job_id)

    def log(self, job_id: JobId) -> str:
        """What happened to a job, as text: its history, and every file with something to say."""
        with self._store.read() as uow:
            job, files = uow.jobs.job(job_id), uow.jobs.files(job_id)
            lines = [f"{at:%Y-%m-%d %H:%M:%S} UTC  {text}" for at, text in uow.jobs.history(job_id)]
        head = [
            f"Job {job.id}",
            f"{job.parser} {job.parser_version} ({job.artifact_hash[:12]}), attempt {job.attempt}",
            f"{job.state}: {job.files:,} files, {job.rows:,} rows, {job.quarantined:,} in quarantine",
        ]
        told = [f"{one.path}: {one.problem}" for one in files if one.problem]
        return "\n".join([*head, job.problem, *lines, *told])

    def progress(self, job_id: JobId) -> Progress | None:
        """How far a job that runs here has come."""
        with self._state:
            return self._progress.get(job_id)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, JobProgressed):
            with self._state:
                self._progress[event.job_id] = event.progress

    # Beginning and end

    def recover(self) -> None:
        """Put right what a program that is gone left behind: jobs, staging, unrecorded outputs."""
        with self._store.write() as uow:
            held, now = uow.jobs.held(), uow.now()
            lost = [one for one in held if _is_lost(one, self._settings.host_name, now)]
            alive = {str(one.job.id) for one in held} - {str(one.job.id) for one in lost}
            self._sweep(uow, alive)
            self._take_back(uow, lost)
            uow.commit()

    @staticmethod
    def _take_back(uow: UnitOfWork, lost: Sequence[Held]) -> None:
        for one in lost:
            again = one.job.attempt < MAX_ATTEMPTS
            state = JobState.QUEUED if again else JobState.FAILED
            now = datetime.now(UTC)
            ended: dict[str, Any] = (
                {}
                if again
                else {"ended_at": now, "problem": f"It was interrupted {one.job.attempt} times."}
            )
            uow.jobs.move(one.job.id, None, state, **ended)
            uow.jobs.note(one.job.id, now, "The program that ran it has ended.")

    def _sweep(self, uow: UnitOfWork, alive: set[str]) -> None:
        folders = _folders(self._settings.staging_dir)
        # A job id is the first 36 characters of whatever a job writes.
        known = uow.jobs.known({one.name[:36] for one in folders})
        for folder in folders:
            if folder.name[:36] in known and folder.name[:36] not in alive:
                shutil.rmtree(folder, ignore_errors=True)
        # Files of jobs that this store does not know may be another store's: they are left alone.
        for stray in self._sinks.strays(uow):
            if stray.jobs and alive.isdisjoint(stray.jobs):
                self._sinks.parquet(stray.sink).revoke([stray.path])

    def close(self) -> None:
        """Stop the slots; what was running goes back to the queue."""
        with self._state:
            self._closing = True
            self._state.notify_all()
            tokens = list(self._running.values())
        for token in tokens:
            token.cancel()
        with self._state:
            self._state.wait_for(lambda: not self._loops, timeout=30)
        self._workers.close()
        self._unsubscribe()


def _is_lost(held: Held, host: str, now: datetime) -> bool:
    if held.lease_until < now:
        return True
    # Signal 0 asks whether a process is there; on Windows it would end it, so the lease decides.
    if held.host != host or os.name != "posix":
        return False
    if held.pid == os.getpid():
        return True
    try:
        os.kill(held.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _folders(parent: Path) -> Sequence[Path]:
    return [one for one in parent.iterdir() if one.is_dir()] if parent.is_dir() else []
