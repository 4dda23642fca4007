"""The queue: claims, leases, tokens; also with many processes at once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from casparian.domain.evidence import Workspace
from casparian.domain.ids import JobId, WorkspaceId, new_id
from casparian.domain.jobs import Job, JobState
from casparian.state.database import Store
from casparian.state.queue import LEASE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "state.sqlite")
    with opened.write() as uow:
        uow.evidence.add_workspace(Workspace(WorkspaceId("w"), "case", "case", NOW))
        uow.commit()
    yield opened
    opened.close()


def queue(store, count=1):
    ids = []
    with store.write() as uow:
        for _ in range(count):
            job = Job(
                JobId(new_id()), WorkspaceId("w"), "evtx", "1", "aa", JobState.QUEUED, 0, 0, NOW
            )
            uow.jobs.add(job, [])
            ids.append(job.id)
        uow.commit()
    return ids


def claim(store, now=NOW):
    with store.write() as uow:
        found = uow.jobs.claim("host", 1, now)
        uow.commit()
    return found


def test_jobs_are_claimed_oldest_first_and_once(store):
    ids = queue(store, 3)

    assert [claim(store).job.id for _ in range(3)] == ids
    assert claim(store) is None


def test_a_claim_counts_the_attempt_and_carries_a_lease(store):
    queue(store)

    found = claim(store)

    assert (found.job.attempt, found.job.state, found.lease_until) == (
        1,
        JobState.CLAIMED,
        NOW + LEASE,
    )


def test_a_stale_token_moves_nothing(store):
    [job_id] = queue(store)
    first = claim(store)
    with store.write() as uow:
        uow.jobs.move(job_id, None, JobState.QUEUED)
        uow.commit()
    second = claim(store)

    with store.write() as uow:
        assert not uow.jobs.move(job_id, first.token, JobState.RUNNING)
        assert not uow.jobs.beat(job_id, first.token, NOW)
        assert uow.jobs.move(job_id, second.token, JobState.RUNNING)
        uow.commit()


def test_a_heartbeat_prolongs_the_lease_until_a_cancel_is_asked_for(store):
    [job_id] = queue(store)
    found = claim(store)
    later = NOW + timedelta(seconds=30)

    with store.write() as uow:
        assert uow.jobs.beat(job_id, found.token, later)
        assert uow.jobs.held()[0].lease_until == later + LEASE
        uow.jobs.ask_cancel(job_id)
        assert not uow.jobs.beat(job_id, found.token, later)


def test_an_illegal_move_is_a_bug(store):
    [job_id] = queue(store)
    with store.write() as uow, pytest.raises(AssertionError, match="cannot go"):
        uow.jobs.move(job_id, None, JobState.SUCCEEDED)


CLAIMER = """
import os, sys
sys.path.insert(0, {desktop!r})
from datetime import UTC, datetime
from pathlib import Path
from casparian.state.database import Store
store = Store(Path({path!r}))
while True:
    with store.write() as uow:
        found = uow.jobs.claim("host", os.getpid(), datetime.now(UTC))
        uow.commit()
    if found is None:
        break
    print(found.job.id, flush=True)
"""


def test_eight_processes_claim_every_job_exactly_once(store):
    ids = queue(store, 200)
    code = CLAIMER.format(desktop=str(ROOT / "desktop"), path=store.place)

    workers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    claimed = Counter()
    for worker in workers:
        out, _ = worker.communicate()
        assert worker.returncode == 0
        claimed.update(out.split())

    assert claimed == Counter(ids)


def test_a_job_to_be_cancelled_does_not_go_back_to_the_queue(store):
    queue(store)
    held = claim(store)

    with store.write() as uow:
        uow.jobs.ask_cancel(held.job.id)
        uow.jobs.move(held.job.id, held.token, JobState.QUEUED)
        job, still_open = uow.jobs.job(held.job.id), uow.jobs.count_open()
        uow.commit()

    assert (job.state, still_open) == (JobState.CANCELLED, 0)
    assert job.ended_at is not None
