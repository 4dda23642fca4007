from dataclasses import replace
from datetime import UTC, datetime

import pytest

from casparian.domain.events import EventBus, JobChanged
from casparian.domain.jobs import Job, JobState
from casparian.services.following import Follower

QUEUED = Job(
    id="1", workspace_id="w", parser="evtx", parser_version="1", artifact_hash="",
    state=JobState.QUEUED, files=1, size_bytes=1, created_at=datetime(2026, 1, 1, tzinfo=UTC),
)  # fmt: skip


class Listed:
    """Jobs as another program left them."""

    def __init__(self, *jobs):
        self.jobs = list(jobs)

    def list(self, _workspace_id):
        return self.jobs


@pytest.fixture
def told():
    return []


@pytest.fixture
def follow(told):
    """A follower on the host `here` over some jobs, that has looked once."""

    def follow(*jobs):
        bus = EventBus()
        bus.subscribe(told.append)
        listed = Listed(*jobs)
        follower = Follower(listed, bus, "here")
        follower.look("w")
        return listed, follower

    return follow


def test_what_is_there_at_first_is_no_news(follow, told):
    _, follower = follow(QUEUED)
    follower.look("w")
    assert told == []


def test_what_another_host_does_is_told_once(follow, told):
    listed, follower = follow(QUEUED)
    listed.jobs = [replace(QUEUED, state=JobState.SUCCEEDED, host="there")]
    follower.look("w")
    follower.look("w")
    assert told == [JobChanged("w", "1", JobState.SUCCEEDED)]


def test_a_refusal_is_told_though_the_state_is_the_same(follow, told):
    listed, follower = follow(QUEUED)
    listed.jobs = [replace(QUEUED, host="there", problem="there cannot reach /evidence")]
    follower.look("w")
    assert told == [JobChanged("w", "1", JobState.QUEUED)]


def test_what_ended_here_was_told_when_it_ended(follow, told):
    listed, follower = follow(QUEUED)
    listed.jobs = [replace(QUEUED, state=JobState.SUCCEEDED, host="here")]
    follower.look("w")
    assert told == []


def test_another_workspace_begins_anew(follow, told):
    listed, follower = follow(QUEUED)
    listed.jobs = [replace(QUEUED, id="2", workspace_id="v")]
    follower.look("v")
    assert told == []
