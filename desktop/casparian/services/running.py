"""One job from its claim to its end: read, commit, or give up.

The steps and what a kill between them leaves behind:

    claimed -> running      the job goes back to the queue when the program is found dead
    staged                  a staging folder, deleted on recovery
    running -> committing   (transaction) new contracts are on record; nothing is visible yet
    promoted                files that no output row names: deleted on recovery
    committing -> done      (transaction) outputs, materializations, superseded ones and the job's end

so that no half output is ever visible, no row appears twice, and no job is lost.
"""

from __future__ import annotations

import logging
import shutil
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from casparian.domain.errors import Cancelled, CasparianError
from casparian.domain.events import JobChanged
from casparian.domain.jobs import JobState
from casparian.services.committing import Committer
from casparian.services.reading import Reader
from casparian.state.queue import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casparian.domain.cancel import CancelToken
    from casparian.domain.events import EventBus
    from casparian.domain.jobs import Claim
    from casparian.services.reading import WorkerPool
    from casparian.sinks.parquet import ParquetSink
    from casparian.state.database import Store

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 6


class JobRunner:
    """Runs claimed jobs, each to its end."""

    def __init__(
        self, store: Store, bus: EventBus, sink: ParquetSink, staging: Path, workers: WorkerPool
    ) -> None:
        self._store = store
        self._bus = bus
        self._staging = staging
        self._reader = Reader(store, bus, workers)
        self._committer = Committer(store, bus, sink)
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
                reading, parts = self._reader.read(claim, folder, cancel)
                with self._committing:
                    return self._committer.commit(claim, reading, parts, folder)
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

    def _move(self, claim: Claim, state: JobState) -> None:
        with self._store.write() as uow:
            if not uow.jobs.move(claim.job.id, claim.token, state):
                raise Cancelled("The job")
            uow.commit()
        self._bus.publish(JobChanged(claim.job.workspace_id, claim.job.id, state))

    def _give_up(self, claim: Claim, state: JobState, problem: str) -> None:
        """End a job without output; of a stale claim nothing is recorded."""
        job = claim.job
        values: dict[str, Any] = {"problem": problem}
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
                with self._store.touch() as uow:
                    held = uow.jobs.beat(self._claim.job.id, self._claim.token, uow.now())
                    uow.commit()
            except CasparianError as error:
                logger.warning("a heartbeat failed: %s", error)
                continue
            if not held:
                self._cancel.cancel()
