"""One job from its claim to its end: read, commit, or give up.

The steps and what a kill between them leaves behind:

    claimed -> running      the job goes back to the queue when the program is found dead
    staged                  a staging folder, deleted on recovery
    running -> committing   (transaction) new contracts are on record; nothing is visible yet
    promoted                files that no output row names: deleted on recovery
    delivered               rows in a database, in its ledger; the job goes back to the queue, and what it
                            delivers next takes their place, or they are taken out if it fails for good
    committing -> done      (transaction) outputs, materializations, superseded ones and the job's end

so that no half output is ever visible, no row appears twice, and no job is lost. Rows that leave without
a job are staged as a job's are, and promoted and recorded in one transaction, in which nobody recovers.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem
from casparian.domain.events import JobChanged, RowsRetired
from casparian.domain.ids import new_id
from casparian.domain.jobs import JobState
from casparian.services.committing import Committer
from casparian.services.reading import OutOfReach, Reader
from casparian.state.database import StoreAway
from casparian.state.queue import LEASE, MAX_ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.domain.cancel import CancelToken
    from casparian.domain.events import EventBus
    from casparian.domain.jobs import Claim
    from casparian.services.reading import WorkerPool
    from casparian.services.sinks import Sinks
    from casparian.settings import Settings
    from casparian.state.database import Store

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 6
BEAT_AGAIN_S = 2.0
"""After a heartbeat that failed; a lease has room for many of them."""
RECORD_AGAIN_S = 1.0
FIRST_REST = timedelta(seconds=2)
"""How long a job rests after a trouble that may pass; five times as long each time after."""
REFUSAL = timedelta(minutes=10)
"""For how long a job is kept from a host that cannot reach what it needs."""


class JobRunner:
    """Runs claimed jobs, each to its end."""

    def __init__(
        self, store: Store, bus: EventBus, sinks: Sinks, settings: Settings, workers: WorkerPool
    ) -> None:
        self._store = store
        self._bus = bus
        self._staging = settings.staging_dir
        self._host = settings.host_name
        self._reader = Reader(store, bus, workers, settings)
        self._committer = Committer(store, bus, sinks)
        # Two commits of one program must not rewrite the same older output.
        self._committing = threading.Lock()

    def run(self, claim: Claim, cancel: CancelToken, *, is_closing: Callable[[], bool]) -> JobState:
        """Bring a job to its end, whichever it is; a job whose program closes goes back to the queue."""
        job = claim.job
        folder = self._staging / f"{job.id}-{job.attempt}"
        state, problem, rest = JobState.FAILED, "", timedelta()
        with _Heart(self._store, claim, cancel):
            try:
                self._move(claim, JobState.RUNNING)
                folder.mkdir(parents=True, exist_ok=True)
                reading, parts = self._reader.read(claim, folder, cancel)
                with self._committing:
                    return self._committer.commit(claim, reading, parts, folder, cancel)
            except Cancelled:
                state = JobState.QUEUED if is_closing() else JobState.CANCELLED
            except OutOfReach as error:
                reason = str(error)
                self._in_the_end(lambda: self._refuse(claim, reason), is_closing)
                return JobState.QUEUED
            except EnvironmentProblem as error:
                problem = str(error)
                if error.retryable and job.attempt < MAX_ATTEMPTS:
                    state, rest = JobState.QUEUED, FIRST_REST * 5 ** (job.attempt - 1)
            except CasparianError as error:
                problem = str(error)
            except Exception as error:
                logger.exception("job %s failed on a bug", job.id)
                problem = f"The program has a bug: {type(error).__name__}: {error}"
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        self._in_the_end(lambda: self._give_up(claim, state, problem, rest), is_closing)
        return state

    @staticmethod
    def _in_the_end(record: Callable[[], None], is_closing: Callable[[], bool]) -> None:
        """Record how a job ended, also where the state store is away for a while.

        Who is away for longer than a lease finds the job taken back by then.
        """
        until = time.monotonic() + LEASE.total_seconds()
        while True:
            try:
                return record()
            except StoreAway as error:
                if is_closing() or time.monotonic() > until:
                    raise
                logger.warning("the end of a job waits for the state store: %s", error)
            time.sleep(RECORD_AGAIN_S)

    def retire(self) -> None:
        """Take rows out of their tables that are of contents which no file holds any more.

        Where it cannot be done now they stay until it is asked for again, and the log says so.
        """
        with self._store.read() as uow:
            outdated = uow.outputs.outdated()
        for one in outdated:
            folder = self._staging / f"{one.job_id}-{new_id()}"
            try:
                with self._committing:
                    retired = self._committer.retire(one.workspace_id, one.parser, folder)
            except (CasparianError, OSError) as error:
                logger.error("old rows of %s stay in their tables: %s", one.parser, error)  # noqa: TRY400
            else:
                if retired:
                    self._bus.publish(RowsRetired(one.workspace_id))
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _move(self, claim: Claim, state: JobState) -> None:
        with self._store.write() as uow:
            if not uow.jobs.move(claim.job.id, claim.token, state):
                raise Cancelled("The job")
            uow.commit()
        self._bus.publish(JobChanged(claim.job.workspace_id, claim.job.id, state))

    def _give_up(self, claim: Claim, state: JobState, problem: str, rest: timedelta) -> None:
        """End a job without output, or let it rest and be tried again.

        Of a stale claim nothing is recorded. A job that goes back to the queue without a problem, since
        the program closes, has not used up an attempt.
        """
        job = claim.job
        with self._store.write() as uow:
            values: dict[str, Any] = {"problem": problem}
            if state is not JobState.QUEUED:
                values["ended_at"] = datetime.now(UTC)
            elif problem:
                values["not_before"] = uow.now() + rest
            else:
                values["attempt"] = job.attempt - 1
            if uow.jobs.move(job.id, claim.token, state, **values):
                if problem:
                    uow.jobs.note(job.id, datetime.now(UTC), problem)
                uow.commit()
        self._bus.publish(JobChanged(job.workspace_id, job.id, state))
        self.undo_failed()

    def _refuse(self, claim: Claim, problem: str) -> None:
        """Give a job back that this host cannot run, for another host to take."""
        job = claim.job
        with self._store.write() as uow:
            values = {"attempt": job.attempt - 1, "problem": problem}
            if uow.jobs.move(job.id, claim.token, JobState.QUEUED, **values):
                uow.jobs.refuse(job.id, self._host, uow.now() + REFUSAL)
                uow.jobs.note(job.id, datetime.now(UTC), f"{self._host}: {problem}")
                uow.commit()
        self._bus.publish(JobChanged(job.workspace_id, job.id, JobState.QUEUED))

    def undo_failed(self) -> None:
        """Take out of databases what jobs delivered that did not succeed after all.

        Where a database cannot be reached now it is done when it is asked for again.
        """
        with self._store.read() as uow:
            jobs = uow.jobs.to_undo()
        for job in jobs:
            try:
                with self._committing:
                    self._committer.undo(job)
            except CasparianError as error:
                logger.warning("rows of job %s are still in a database: %s", job.id, error)


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
        every_s = pause_s = LEASE.total_seconds() / BEATS_PER_LEASE
        while not self._stop.wait(pause_s):
            pause_s = BEAT_AGAIN_S
            try:
                with self._store.touch() as uow:
                    held = uow.jobs.beat(self._claim.job.id, self._claim.token, uow.now())
                    uow.commit()
            except CasparianError as error:
                logger.warning("a heartbeat failed, and is tried again: %s", error)
                continue
            except Exception:
                logger.exception("a heartbeat failed on a bug")
                continue
            pause_s = every_s
            if not held:
                self._cancel.cancel()
