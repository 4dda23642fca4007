"""The queue: claims, leases, tokens; also with many processes at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from casparian.domain.evidence import Workspace
from casparian.domain.ids import JobId, WorkspaceId, new_id
from casparian.domain.jobs import Job, JobState
from casparian.state.queue import LEASE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def workspace(store):
    with store.write() as uow:
        uow.evidence.add_workspace(Workspace(WorkspaceId("w"), "case", "case", NOW))
        uow.commit()


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
    with store.touch() as uow:
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


def test_a_job_that_rests_is_not_claimed_before_its_time(store):
    [job_id] = queue(store)
    held = claim(store)
    later = NOW + timedelta(seconds=10)
    with store.write() as uow:
        uow.jobs.move(job_id, held.token, JobState.QUEUED, not_before=later)
        uow.commit()

    assert claim(store) is None
    with store.read() as uow:
        assert uow.jobs.job(job_id).not_before == later
        assert uow.jobs.next_due("host", NOW) == later
    assert claim(store, later).job.id == job_id


def test_a_job_that_a_host_refused_is_left_to_others(store):
    queue(store)
    held = claim(store)
    with store.write() as uow:
        uow.jobs.move(held.job.id, held.token, JobState.QUEUED)
        uow.jobs.refuse(held.job.id, "host", NOW + timedelta(minutes=5))
        uow.jobs.refuse(held.job.id, "host", NOW + timedelta(minutes=10))
        uow.commit()

    assert claim(store, NOW + timedelta(minutes=7)) is None
    with store.touch() as uow:
        assert uow.jobs.claim("another", 1, NOW).job.id == held.job.id
    assert claim(store, NOW + timedelta(minutes=11)).job.id == held.job.id


def test_two_programs_never_take_back_the_same_lost_job(store):
    queue(store)
    claim(store)
    after = NOW + LEASE + timedelta(seconds=1)

    with store.touch() as uow:
        assert uow.jobs.held(expired_at=NOW) == []
    with store.touch() as uow:
        [lost] = uow.jobs.held(expired_at=after)
        uow.jobs.move(lost.job.id, None, JobState.QUEUED)
        uow.commit()
    with store.touch() as uow:
        assert uow.jobs.held(expired_at=after) == []


def test_the_stores_clock_rules_and_is_about_right(store):
    with store.read() as uow:
        now = uow.now()

    assert now.tzinfo is UTC
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=5)


def test_a_job_that_did_not_succeed_is_undone_once(store):
    [job_id] = queue(store)
    held = claim(store)
    with store.write() as uow:
        uow.jobs.move(job_id, held.token, JobState.RUNNING)
        uow.jobs.move(job_id, held.token, JobState.COMMITTING, undo=True)
        assert uow.jobs.to_undo() == []
        uow.jobs.move(job_id, held.token, JobState.FAILED)
        assert [one.id for one in uow.jobs.to_undo()] == [job_id]
        uow.jobs.undone(job_id)
        assert uow.jobs.to_undo() == []
