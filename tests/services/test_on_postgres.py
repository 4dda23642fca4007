"""The services over a control plane on PostgreSQL: the same as on sqlite, also when the server goes away."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from datetime import datetime, timedelta

import pytest

from casparian import parsers
from casparian.bootstrap import open_services
from casparian.domain import ids
from casparian.domain.cancel import CancelToken
from casparian.domain.events import JobChanged, JobProgressed
from casparian.domain.jobs import JobState
from casparian.services import committing, reading, running
from casparian.services import jobs as jobs_module
from casparian.services.committing import Committer
from casparian.settings import load
from casparian.state import queue
from casparian.state.evidence import FileQuery
from casparian.state.queue import LEASE
from helpers import hostile
from helpers.contents import digest
from helpers.cut import COMMIT, wire_to


@pytest.fixture
def wire(postgres_server):
    if postgres_server.port is None:
        pytest.skip("the server is not ours: no wire to it is cut")
    with wire_to(postgres_server.port) as wire:
        yield wire


@pytest.fixture
def opened(monkeypatch):
    """Open services with the hostile parser; they are closed at the end."""
    monkeypatch.setitem(parsers.BUILTIN, hostile.NAME, "helpers.hostile:HostileParser")
    every = []

    def opened(settings):
        services = open_services(settings, worker_command=hostile.WORKER)
        every.append(services)
        workspace = services.workspaces.default()
        services.rules.save(workspace.id, services.rules.new("*.hostile", hostile.NAME))
        return services

    yield opened
    for one in every:
        one.close()


@pytest.fixture
def over_the_wire(settings, postgres, wire, opened, monkeypatch):
    """Services with one slot whose way to the state store can be cut, and which do not wait for long."""
    monkeypatch.setattr(running, "FIRST_REST", running.FIRST_REST / 20)
    monkeypatch.setattr(running, "RECORD_AGAIN_S", 0.1)
    monkeypatch.setattr(running, "BEAT_AGAIN_S", 0.1)
    monkeypatch.setattr(jobs_module, "FIRST_NAP_S", 0.1)
    address = f"postgres://postgres@127.0.0.1:{wire.port}/{postgres.database}?gssencmode=disable"
    return opened(
        dataclasses.replace(settings, workers=1, profile="enterprise", state_store=address)
    )


def on_postgres(settings, address):
    return dataclasses.replace(settings, profile="enterprise", state_store=address.text)


def texts(services):
    sql = "SELECT text FROM hostile_rows ORDER BY text"
    services.catalog.refresh()
    with services.results.query(services.workspaces.default().id, sql, CancelToken()) as view:
        return view.page(0, 100).column(0).to_pylist()


def outcome(services, report):
    """What came of a run, without ids, times and places."""
    workspace = services.workspaces.default()
    services.catalog.refresh()
    contents = {}
    for table in services.results.tables(workspace.id):
        sql = f'SELECT * EXCLUDE (_cf_processed_at) FROM "{table.name}"'
        with services.results.query(workspace.id, sql, CancelToken()) as view:
            contents[table.name] = digest(view.page(0, 10_000))
    files = services.sources.files(FileQuery(workspace.id), 0, None)
    return {
        "planned": sorted((one.parser.name, len(one.files)) for one in report.plan.jobs),
        "left": sorted(one.reason for one in report.plan.rest),
        "jobs": sorted(
            (one.parser, one.state, one.files, one.rows, one.quarantined, one.failed_files)
            for one in services.jobs.list(workspace.id)
        ),
        "files": [
            (one.file.path, one.status, one.accepted, one.quarantined, one.file.tags, one.note)
            for one in files.rows
        ],
        "tables": sorted(
            (one.name, one.rows, one.quarantined) for one in services.results.tables(workspace.id)
        ),
        "contents": contents,
        "counts": services.sources.kinds(workspace.id),
    }


def test_a_case_goes_the_same_way_on_both(tmp_path, settings, postgres, case, run, opened):
    told = []
    for name in ("here", "there"):
        home = dataclasses.replace(
            load(tmp_path / name), workers=2, worker_silence_s=5.0, worker_stall_s=5.0
        )
        folder = case(
            a__hostile="one 1\nreject x\n",
            b__hostile="two 2",
            broken__hostile="raise",
            table__csv="a,b\n1,2\nragged\n",
            odd="\0\1\2",
        )
        (folder / os.fsdecode(b"n\xff\xfe.hostile")).write_text("three 3")
        services = opened(home if name == "here" else on_postgres(home, postgres))
        first = outcome(services, run(services, folder))
        again = outcome(services, run(services, folder))
        (folder / "b.hostile").write_text("four 4")
        (folder / "odd").unlink()
        changed = outcome(services, run(services, folder))
        forced = outcome(services, run(services, folder, force=True))
        told.append({"first": first, "again": again, "changed": changed, "forced": forced})
        assert again["planned"] == []
        assert texts(services) == ["four", "one", "three"]
        assert all(check.ok for check in services.examine())

    here, there = told
    for step, found in here.items():
        assert there[step] == found


def outputs_of(services):
    """Whether every file on record is there with its rows, and what else lies there."""
    [check] = [one for one in services.examine() if one.name == "outputs"]
    return check.ok, check.detail


def wait_for(services, cancel=None):
    services.jobs.wait(cancel or CancelToken())
    return services.jobs.list(services.workspaces.default().id)


def submitted(services, folder):
    workspace = services.workspaces.default()
    report = services.intake.take_in(
        workspace.id, [os.fsencode(folder)], run=False, cancel=CancelToken()
    )
    [job_id] = services.jobs.submit(workspace.id, report.plan)
    return job_id


def once(services, matches, act):
    """Do something when the first such event is told."""
    done = threading.Event()

    def on_event(event):
        if matches(event) and not done.is_set():
            done.set()
            act()

    services.bus.subscribe(on_event)


def is_now(state):
    return lambda event: isinstance(event, JobChanged) and event.state is state


def test_a_server_that_is_away_for_a_while_in_mid_job_costs_nothing(
    over_the_wire, wire, case, caplog
):
    job_id = submitted(over_the_wire, case(a__hostile="one 1", b__hostile="two 2"))
    back = threading.Timer(1.0, wire.join)
    once(
        over_the_wire,
        lambda event: isinstance(event, JobProgressed),
        lambda: (wire.cut(), back.start()),
    )

    with caplog.at_level(logging.WARNING):
        over_the_wire.jobs.start()
        [job] = wait_for(over_the_wire)

    assert (job.id, job.state, job.attempt) == (job_id, JobState.SUCCEEDED, 2)
    assert "The state store" in over_the_wire.jobs.log(job_id)
    assert texts(over_the_wire) == ["one", "two"]
    assert any("waits for the state store" in one for one in caplog.messages)


def test_a_slot_whose_claim_fails_tries_again_and_says_so_once(over_the_wire, wire, case, caplog):
    submitted(over_the_wire, case(a__hostile="one 1"))
    wire.cut()
    threading.Timer(1.0, wire.join).start()

    with caplog.at_level(logging.WARNING):
        over_the_wire.jobs.start()
        [job] = wait_for(over_the_wire)

    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert len([one for one in caplog.messages if "queue waits for the state" in one]) == 1


def test_closing_ends_a_slot_at_once_that_waits_for_the_server(over_the_wire, wire, case, caplog):
    submitted(over_the_wire, case(a__hostile="one 1"))
    wire.cut()
    with caplog.at_level(logging.WARNING):
        over_the_wire.jobs.start()
        while not caplog.messages:
            threading.Event().wait(0.01)

        closing = threading.Thread(target=over_the_wire.jobs.close)
        closing.start()
        closing.join(3)

    assert not closing.is_alive()


@pytest.mark.parametrize(
    ("is_answered", "attempts"), [(True, 1), (False, 2)], ids=["after it", "before it"]
)
def test_a_commit_over_which_the_connection_is_lost_counts_once(
    over_the_wire, wire, case, run, is_answered, attempts, caplog
):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(over_the_wire, folder)
    (folder / "a.hostile").write_text("three 3")
    submitted(over_the_wire, folder)
    once(
        over_the_wire,
        is_now(JobState.COMMITTING),
        lambda: wire.lose(COMMIT, is_answered=is_answered),
    )

    with caplog.at_level(logging.WARNING):
        over_the_wire.jobs.start()
        job, _ = wait_for(over_the_wire)

    assert wire.lost.is_set()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, attempts)
    assert texts(over_the_wire) == ["three", "two"]
    assert outputs_of(over_the_wire) == (True, "2 files with 2 rows, 0 others")


@pytest.mark.parametrize("is_answered", [True, False], ids=["after it", "before it"])
def test_rows_retire_once_though_the_connection_is_lost_over_it(
    over_the_wire, wire, case, run, is_answered, caplog, monkeypatch
):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(over_the_wire, folder)
    (folder / "a.hostile").write_text("two 2")
    swap = Committer._swap

    def swap_and_lose(*arguments):
        swap(*arguments)
        if not wire.lost.is_set():
            wire.lose(COMMIT, is_answered=is_answered)

    monkeypatch.setattr(Committer, "_swap", staticmethod(swap_and_lose))

    with caplog.at_level(logging.WARNING):
        run(over_the_wire, folder)
        assert outputs_of(over_the_wire)[0]
        over_the_wire.jobs.start()
        wait_for(over_the_wire)

    assert wire.lost.is_set()
    assert texts(over_the_wire) == ["two"]
    assert outputs_of(over_the_wire) == (True, "1 files with 1 rows, 0 others")


def test_a_claim_over_which_the_connection_is_lost_is_given_back(over_the_wire, wire, case, caplog):
    job_id = submitted(over_the_wire, case(a__hostile="one 1"))
    wire.lose(COMMIT, is_answered=True)

    with caplog.at_level(logging.WARNING):
        over_the_wire.jobs.start()
        [job] = wait_for(over_the_wire)

    assert wire.lost.is_set()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert "Its claim was lost on the way." in over_the_wire.jobs.log(job_id)


def test_a_heartbeat_that_fails_is_tried_again(over_the_wire, wire, case, caplog, monkeypatch):
    monkeypatch.setattr(running, "BEATS_PER_LEASE", 200)
    submitted(over_the_wire, case(a__hostile="loop"))
    workspace = over_the_wire.workspaces.default()
    begun = threading.Event()
    once(over_the_wire, lambda event: isinstance(event, JobProgressed), begun.set)
    with caplog.at_level(logging.WARNING):
        over_the_wire.jobs.start()
        assert begun.wait(20)
        wire.cut()
        while not any("heartbeat failed" in one for one in caplog.messages):
            threading.Event().wait(0.01)
        wire.join()
        with over_the_wire._store.read() as uow:
            [before] = uow.jobs.held()
        after = before
        while after.lease_until == before.lease_until:
            threading.Event().wait(0.05)
            with over_the_wire._store.read() as uow:
                [after] = uow.jobs.held()

        [job] = over_the_wire.jobs.list(workspace.id)
        assert job.state is JobState.RUNNING
        over_the_wire.jobs.cancel(job.id)
        [job] = wait_for(over_the_wire)
    assert job.state is JobState.CANCELLED


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("hours", [1, -1], ids=["ahead", "behind"])
def test_a_program_whose_clock_is_wrong_goes_by_the_stores(
    settings, postgres, opened, case, monkeypatch, kind, hours
):
    services = opened(on_postgres(settings, postgres) if kind == "postgres" else settings)
    live = submitted(services, case(a__hostile="one 1"))
    lost = submitted(services, case(b__hostile="two 2"))
    with services._store.write() as uow:
        [now, held] = [uow.now(), uow.jobs.claim("elsewhere", 1, uow.now())]
        uow.jobs.claim("elsewhere", 2, now - LEASE - timedelta(seconds=1))
        uow.commit()

    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    for module in (jobs_module, running, committing, reading, queue):
        if hasattr(module, "datetime"):
            monkeypatch.setattr(module, "datetime", Wrong)
    leases = []

    def look(event):
        with services._store.read() as uow:
            leases.append(next(one for one in uow.jobs.held() if one.job.id == lost))

    once(services, is_now(JobState.RUNNING), lambda: look(None))
    services.jobs.start()
    wait_for(services)

    with services._store.write() as uow:
        assert uow.jobs.job(live).state is JobState.CLAIMED
        assert uow.jobs.beat(live, held.token, uow.now())
        assert uow.jobs.job(lost).state is JobState.SUCCEEDED
        [ours] = leases
        assert abs(ours.lease_until - (uow.now() + LEASE)) < timedelta(minutes=2)


def test_a_scan_by_a_host_whose_clock_is_behind_still_is_the_newest(
    settings, postgres, opened, case, run, monkeypatch
):
    services = opened(on_postgres(settings, postgres))
    folder = case(a__txt="one", b__txt="two")
    [workspace, nanoseconds] = [services.workspaces.default(), time.time_ns]
    monkeypatch.setattr(ids.time, "time_ns", lambda: nanoseconds() + 3600 * 10**9)
    run(services, folder)
    monkeypatch.undo()
    monkeypatch.setattr(ids, "_last", 0)
    (folder / "a.txt").unlink()
    run(services, folder)

    rows = services.sources.files(FileQuery(workspace.id), 0, None).rows
    assert (rows[0].file.path, rows[0].status) == ("a.txt", "missing")
    assert services.sources.list(workspace.id)[0].last_scan.missing == 1


def test_connections_that_the_server_ends_in_mid_job_cost_nothing(
    settings, postgres, postgres_server, opened, case, run, caplog
):
    services = opened(on_postgres(settings, postgres))

    def end_all():
        with postgres_server.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> pg_backend_pid()",
                [postgres.database],
            )

    once(services, is_now(JobState.RUNNING), end_all)
    once(services, is_now(JobState.COMMITTING), end_all)

    with caplog.at_level(logging.WARNING):
        run(services, case(a__hostile="one 1"))

    [job] = services.jobs.list(services.workspaces.default().id)
    assert job.state is JobState.SUCCEEDED
    assert texts(services) == ["one"]
