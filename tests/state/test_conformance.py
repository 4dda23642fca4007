"""What every backend must do: give the same answers, keep units of work apart, and run one queue."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from casparian.domain.errors import EnvironmentProblem
from casparian.domain.evidence import Workspace
from casparian.domain.ids import JobId, WorkspaceId, new_id
from casparian.domain.jobs import Job, JobState
from casparian.services.jobs import JobService
from casparian.state import tables
from casparian.state.backends import Sqlite
from casparian.state.database import Store, look
from casparian.state.queue import LEASE
from helpers import scripted

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


def a_workspace(name="case"):
    return Workspace(WorkspaceId(name), name, name, NOW)


def names(store):
    with store.read() as uow:
        return [one.name for one in uow.evidence.workspaces(archived=True)]


def add(store, name):
    with store.write() as uow:
        uow.evidence.add_workspace(a_workspace(name))
        uow.commit()


@pytest.fixture
def another(place, store):
    """The same store, as another program has it open."""
    opened = Store(place)
    yield opened
    opened.close()


# --- The same answers


def test_every_method_takes_hard_values_and_gives_them_back(store, monkeypatch):
    scripted.numbered_ids(monkeypatch)

    told = scripted.play(store)

    assert scripted.every_method() - set(told.called) == set()
    answers = dict(told.answers)
    skips = answers["_changes: skips"]
    picture = scripted.HARD + " \u2400 \\udcff"
    assert {one.message for one in skips} == {picture}
    assert [one.path for one in skips] == sorted(one.path for one in skips)
    files = answers["_changes: files"]
    assert {one.path_bytes for one in files} == set(scripted.NAMES)
    assert next(one for one in files if one.id == "f03").mtime_ns == scripted.MOST
    assert answers["_changes: job files"][1][0].read == scripted.MOST
    assert answers["_changes: history"][1][0] == (
        scripted.LATEST,
        scripted.HARD + "\u2400\\udcff",
    )
    assert answers["_changes: workspaces"][0].created_at == scripted.NOW


def test_the_same_calls_have_the_same_answers_here_and_there(tmp_path, postgres, monkeypatch):
    told = []
    for place in (tmp_path / "state.sqlite", postgres):
        scripted.numbered_ids(monkeypatch)
        with contextlib.closing(Store(place)) as store:
            told.append(scripted.play(store).answers)

    for here, there in zip(*told, strict=True):
        assert here == there


def test_text_is_ordered_by_its_code_points(store):
    unordered = ["\U0001f4a9", "a", "B", "\u00e4", "A b", "a b", "_", "Z", "10", "9", "-"]
    for name in unordered:
        add(store, name)

    assert names(store) == sorted(unordered)


# --- Units of work


def test_what_is_not_committed_is_rolled_back(store):
    with store.write() as uow:
        uow.evidence.add_workspace(a_workspace())

    def fail():
        with store.write() as uow:
            uow.evidence.add_workspace(a_workspace())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert names(store) == []


def test_a_reader_sees_one_picture_while_another_writes(store, another):
    with store.read() as reader:
        assert reader.evidence.workspaces(archived=True) == []
        add(another, "case")
        assert reader.evidence.workspaces(archived=True) == []

    assert names(store) == ["case"]


def test_a_reader_neither_sees_nor_waits_for_what_is_not_committed(store, another):
    with store.write() as writer:
        writer.evidence.add_workspace(a_workspace())
        assert names(another) == []


def test_a_decision_on_what_was_read_holds_when_it_is_committed(store, another):
    """Two programs add workspaces by their number: without turns both would take the same one."""
    begin = threading.Barrier(2)

    def count_up(one):
        begin.wait()
        for _ in range(20):
            with one.write() as uow:
                number = len(uow.evidence.workspaces(archived=True))
                uow.evidence.add_workspace(a_workspace(f"{number:03}"))
                uow.commit()

    threads = [threading.Thread(target=count_up, args=(one,)) for one in (store, another)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert names(store) == [f"{number:03}" for number in range(40)]


def test_a_claim_on_a_server_does_not_wait_for_units_that_write(store, another, place):
    if isinstance(place, Path):
        pytest.skip("a file has one writer at a time")
    add(store, "w")
    queue(store)

    with store.write() as uow:
        uow.evidence.add_workspace(a_workspace("later"))
        assert claim(another) is not None


# --- Opening


def change_version(store, version):
    with store.write() as uow:
        uow._connection.execute(tables.schema_version.update().values(version=version))
        uow.commit()


@pytest.mark.parametrize(("version", "age"), [(0, "an older"), (99, "a newer")])
def test_a_store_of_another_version_is_left_alone(store, place, version, age):
    add(store, "case")
    change_version(store, version)

    with pytest.raises(EnvironmentProblem, match=f"{age} version") as caught:
        Store(place)

    assert f"schema {version}" in caught.value.detail
    assert "state reset" in caught.value.hint
    assert names(store) == ["case"]


def test_what_is_somebody_elses_is_left_alone(store, place):
    with store.write() as uow:
        tables.metadata.drop_all(uow._connection)
        theirs = sa.Table("theirs", sa.MetaData(), sa.Column("x", sa.Integer))
        theirs.create(uow._connection)
        uow.commit()

    with pytest.raises(EnvironmentProblem, match="not one of ours") as caught:
        Store(place)
    assert "theirs" in caught.value.detail
    with pytest.raises(EnvironmentProblem, match="not one of ours"):
        look(place)


OPENER = """
import sys, time
sys.path.insert(0, {desktop!r})
from pathlib import Path
from casparian.domain.addresses import parse
from casparian.state.database import Store
place = {place!r}
place = Path(place) if "://" not in place else parse(place, schemes=("postgres", "sqlserver"))
print("ready", flush=True)
sys.stdin.readline()
store = Store(place)
with store.read() as uow:
    print(len(uow.evidence.workspaces(archived=True)))
store.close()
"""


def test_programs_that_make_the_schema_at_the_same_moment_make_it_once(place):
    text = str(place) if isinstance(place, Path) else place.text
    code = OPENER.format(desktop=str(ROOT / "desktop"), place=text)
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    programs = [subprocess.Popen([sys.executable, "-c", code], **pipe) for _ in range(4)]
    for one in programs:
        assert one.stdout.readline() == "ready\n"
    for one in programs:
        one.stdin.write("go\n")
        one.stdin.flush()

    assert [one.communicate()[0] for one in programs] == ["0\n"] * 4
    assert look(place).schema_version == tables.SCHEMA_VERSION


def test_those_who_open_a_new_file_at_the_same_moment_wait_for_each_other(tmp_path):
    for number in range(100):
        gate = threading.Barrier(6)

        def opened(path, gate=gate):
            gate.wait()
            engine = Sqlite(path).engine()
            with engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            engine.dispose()
            return mode

        with ThreadPoolExecutor(6) as pool:
            found = [pool.submit(opened, tmp_path / f"{number}.sqlite") for _ in range(6)]
            assert [one.result() for one in found] == ["wal"] * 6


# --- The queue


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


def claim(store, host="host"):
    with store.touch() as uow:
        found = uow.jobs.claim(host, 1, uow.now())
        uow.commit()
    return found


CLAIMER = """
import os, sys
sys.path.insert(0, {desktop!r})
from pathlib import Path
from casparian.domain.addresses import parse
from casparian.state.database import Store
place = {place!r}
store = Store(Path(place) if "://" not in place else parse(place, schemes=("postgres", "sqlserver")))
print("ready", flush=True)
sys.stdin.readline()
while True:
    with store.touch() as uow:
        found = uow.jobs.claim("host", os.getpid(), uow.now())
        uow.commit()
    if found is None:
        break
    print(found.job.id, flush=True)
"""


def test_eight_processes_claim_every_job_once_and_none_is_left_out(store, place):
    add(store, "w")
    ids = queue(store, 320)
    text = str(place) if isinstance(place, Path) else place.text
    code = CLAIMER.format(desktop=str(ROOT / "desktop"), place=text)
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([sys.executable, "-c", code], **pipe) for _ in range(8)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    claimed, shares = Counter(), []
    for worker in workers:
        out, _ = worker.communicate()
        assert worker.returncode == 0
        claimed.update(out.split())
        shares.append(len(out.split()))

    assert claimed == Counter(ids)
    # By turns it would be 40 each; whoever gets next to nothing is starved.
    assert min(shares) >= 4, shares


def test_a_lease_that_ran_out_gives_the_job_to_another_and_the_first_may_no_more(store, another):
    add(store, "w")
    [job_id] = queue(store)
    first = claim(store)
    with store.touch() as uow:
        now = uow.now()
        assert uow.jobs.held(expired_at=now) == []
        later = now + LEASE + timedelta(seconds=1)
        JobService._take_back(uow, uow.jobs.held(expired_at=later))
        uow.commit()
    second = claim(another)

    assert second.job.id == job_id
    assert second.job.attempt == 2
    for stale in (first.token, new_id()):
        with store.write() as uow:
            assert not uow.jobs.beat(job_id, stale, now)
            assert not uow.jobs.move(job_id, stale, JobState.RUNNING)
            uow.commit()
    with another.write() as uow:
        assert uow.jobs.move(job_id, second.token, JobState.RUNNING)
        uow.commit()


def test_attempts_run_out(store):
    add(store, "w")
    [job_id] = queue(store)
    for _ in range(3):
        assert claim(store) is not None
        with store.touch() as uow:
            JobService._take_back(uow, uow.jobs.held(expired_at=uow.now() + LEASE * 2))
            uow.commit()

    assert claim(store) is None
    with store.read() as uow:
        job = uow.jobs.job(job_id)
        assert (job.state, job.attempt) == (JobState.FAILED, 3)
        assert job.problem == "It was interrupted 3 times."
        assert len(uow.jobs.history(job_id)) == 3
