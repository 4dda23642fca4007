"""One job from claim to commit, with real workers: what a hostile file costs, and that counts add up."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest

from casparian.domain.cancel import CancelToken
from casparian.domain.jobs import JobFileState, JobState


def _jobs(services):
    return services.jobs.list(services.workspaces.default().id)


def _states(services, job):
    return {one.path: one.state for one in services.jobs.files(job.id)}


def test_rows_and_rejected_lines_add_up_to_what_was_read(hostile_services, case, run):
    run(hostile_services, case(a__hostile="one 1\nreject x\ntwo 2\n"))

    [job] = _jobs(hostile_services)
    [file] = hostile_services.jobs.files(job.id)
    assert (job.state, job.rows, job.quarantined) == (JobState.PARTIAL, 2, 1)
    assert (file.read, file.accepted, file.quarantined) == (3, 2, 1)


def test_a_value_that_breaks_the_contract_is_quarantined_and_its_neighbours_stay(
    hostile_services, case, run
):
    run(hostile_services, case(a__hostile="one 1\ntwo not-a-number\nthree 3\n"))

    [job] = _jobs(hostile_services)
    assert (job.state, job.rows, job.quarantined) == (JobState.PARTIAL, 2, 1)


@pytest.mark.parametrize(
    "deed", ["crash", "abort", "freeze", "loop", "garbage", "endless", "allocate", "spawn", "flood"]
)
def test_a_worker_that_dies_costs_only_the_file_in_flight(hostile_services, case, run, deed):
    run(
        hostile_services,
        case(a__hostile="one 1", b__hostile=f"lost 1\n{deed}", c__hostile="three 3"),
    )

    [job] = _jobs(hostile_services)
    assert _states(hostile_services, job) == {
        "a.hostile": JobFileState.DONE,
        "b.hostile": JobFileState.FAILED,
        "c.hostile": JobFileState.DONE,
    }
    assert (job.state, job.rows, job.failed_files) == (JobState.PARTIAL, 2, 1)


def test_a_parser_that_raises_costs_only_its_file_and_says_why(hostile_services, case, run):
    run(
        hostile_services, case(a__hostile="one 1", b__hostile="lost 1\nraise", c__hostile="three 3")
    )

    [job] = _jobs(hostile_services)
    failed = next(
        one for one in hostile_services.jobs.files(job.id) if one.state is JobFileState.FAILED
    )
    assert failed.path == "b.hostile"
    assert "ValueError: a bug in the parser" in failed.problem
    assert job.rows == 2


def test_what_a_parser_prints_does_not_break_the_wire(hostile_services, case, run):
    run(hostile_services, case(a__hostile="print\none 1"))

    [job] = _jobs(hostile_services)
    assert (job.state, job.rows) == (JobState.SUCCEEDED, 1)


def test_whatever_a_worker_started_dies_with_it(hostile_services, case, run):
    run(hostile_services, case(a__hostile="spawn", b__hostile="one 1"))

    [job] = _jobs(hostile_services)
    log = hostile_services.jobs.log(job.id)
    pid = int(log.partition("child ")[2].split(".")[0])
    # Gone, or waiting to be reaped by init: in no case running.
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        state = "gone"
    assert state in {"Z", "X", "gone"}


def test_a_warning_is_kept_with_the_file(hostile_services, case, run):
    run(hostile_services, case(a__hostile="warn\none 1"))

    [job] = _jobs(hostile_services)
    [file] = hostile_services.jobs.files(job.id)
    assert file.problem == "the header is stale."
    assert "the header is stale" in hostile_services.jobs.log(job.id)


def test_a_cancelled_job_leaves_no_output(hostile_services, case):
    workspace = hostile_services.workspaces.default()
    folder = case(a__hostile="one 1", b__hostile="loop")
    cancel = CancelToken()
    started = []

    def on_event(event):
        if type(event).__name__ == "JobProgressed" and event.progress.current == "b.hostile":
            started.append(event)
            cancel.cancel()

    hostile_services.bus.subscribe(on_event)
    hostile_services.intake.take_in(workspace.id, [os.fsencode(folder)], cancel=CancelToken())
    with pytest.raises(Exception, match="cancelled"):
        hostile_services.jobs.wait(cancel)

    [job] = _jobs(hostile_services)
    assert started
    assert job.state is JobState.CANCELLED
    assert hostile_services.results.tables(workspace.id) == []
    assert not any(hostile_services.settings.staging_dir.iterdir())


def test_retry_reads_again_what_failed_and_only_that(hostile_services, case, run):
    folder = case(a__hostile="one 1", b__hostile="raise")
    run(hostile_services, folder)
    [job] = _jobs(hostile_services)

    hostile_services.jobs.retry(job.id)
    hostile_services.jobs.wait(CancelToken())

    again, _ = _jobs(hostile_services)
    assert (again.files, again.retry_of, again.state) == (1, job.id, JobState.FAILED)


def test_a_file_that_changed_since_its_scan_fails_and_gives_no_rows(hostile_services, case):
    workspace = hostile_services.workspaces.default()
    folder = case(a__hostile="one 1")
    report = hostile_services.intake.take_in(
        workspace.id, [os.fsencode(folder)], run=False, cancel=CancelToken()
    )
    (folder / "a.hostile").write_text("one 1\ntwo 2\n")
    hostile_services.jobs.submit(workspace.id, report.plan)
    hostile_services.jobs.start()
    hostile_services.jobs.wait(CancelToken())

    [job] = _jobs(hostile_services)
    assert job.state is JobState.FAILED
    assert "has changed since it was hashed" in job.problem
    assert hostile_services.results.tables(workspace.id) == []


def test_a_second_run_does_nothing_and_says_why(hostile_services, case, run):
    folder = case(a__hostile="one 1")
    run(hostile_services, folder)

    report = run(hostile_services, folder)

    assert report.plan.jobs == ()
    assert [one.reason for one in report.plan.rest] == ["done already by hostile 1"]
    assert report.scans[0].unchanged == 1


def test_a_changed_file_takes_the_place_of_its_old_rows_and_no_others(hostile_services, case, run):
    folder = case(a__hostile="one 1\ntwo 2", b__hostile="three 3")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("four 4")

    run(hostile_services, folder)

    view = hostile_services.results.query(
        hostile_services.workspaces.default().id,
        "SELECT text FROM hostile_rows ORDER BY n",
        CancelToken(),
    )
    assert view.page(0, 10).column(0).to_pylist() == ["three", "four"]


def test_force_reads_again_without_doubling_rows(hostile_services, case, run):
    folder = case(a__hostile="one 1", b__hostile="two 2\nreject")
    run(hostile_services, folder)

    run(hostile_services, folder, force=True)

    [table] = hostile_services.results.tables(hostile_services.workspaces.default().id)
    assert (table.rows, table.quarantined) == (2, 1)


def test_the_same_content_twice_is_read_once(hostile_services, case, run):
    report = run(hostile_services, case(a__hostile="one 1", b__hostile="one 1"))

    [table] = hostile_services.results.tables(hostile_services.workspaces.default().id)
    assert table.rows == 1
    assert [one.reason for one in report.plan.rest] == [
        "another file with the same content is read"
    ]


def test_a_full_disk_fails_the_job_and_not_a_file(settings, case, run, monkeypatch):
    from casparian import parsers
    from casparian.bootstrap import open_services
    from helpers import hostile

    monkeypatch.setitem(parsers.BUILTIN, hostile.NAME, "helpers.hostile:HostileParser")
    services = open_services(
        dataclasses.replace(settings, workers=1), worker_command=hostile.WORKER
    )
    try:
        workspace = services.workspaces.default()
        services.rules.save(workspace.id, services.rules.new("*.hostile", hostile.NAME))

        def full(*_):
            raise OSError(28, "No space left on device", "output")

        monkeypatch.setattr("pathlib.Path.rename", full)
        run(services, case(a__hostile="one 1"))

        [job] = _jobs(services)
        assert job.state is JobState.FAILED
        assert "No space left on device" in job.problem
        assert services.jobs.files(job.id)[0].state is JobFileState.WAITING
        assert services.results.tables(workspace.id) == []
    finally:
        services.close()


def test_closing_puts_a_running_job_back_into_the_queue(hostile_services, case):
    workspace = hostile_services.workspaces.default()
    running = []
    hostile_services.bus.subscribe(
        lambda event: running.append(event) if type(event).__name__ == "JobProgressed" else None
    )
    hostile_services.intake.take_in(
        workspace.id, [os.fsencode(case(a__hostile="loop"))], cancel=CancelToken()
    )
    while not running:
        signal.sigtimedwait([], 0.01)

    hostile_services.jobs.close()

    [job] = _jobs(hostile_services)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)


def test_a_file_that_failed_is_not_tried_again_by_a_mere_rerun(hostile_services, case, run):
    folder = case(a__hostile="one 1", b__hostile="raise")
    run(hostile_services, folder)

    report = run(hostile_services, folder)

    assert report.plan.jobs == ()
    assert {one.reason for one in report.plan.rest} == {
        "done already by hostile 1",
        "hostile 1 could not read it before; retry its job to try again",
    }
