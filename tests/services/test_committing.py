"""What a commit makes count and takes out, also when another program works on the same home."""

from __future__ import annotations

import os

import pytest

from casparian.bootstrap import open_services
from casparian.domain.cancel import CancelToken
from casparian.domain.jobs import JobState
from casparian.services.committing import Committer
from casparian.sinks.parquet import ParquetSink
from helpers import hostile


@pytest.fixture
def texts(hostile_services):
    """The rows that count, as text."""

    def texts():
        sql = "SELECT text FROM hostile_rows ORDER BY text"
        workspace = hostile_services.workspaces.default()
        hostile_services.catalog.refresh()
        with hostile_services.results.query(workspace.id, sql, CancelToken()) as view:
            return view.page(0, 100).column(0).to_pylist()

    return texts


def test_two_programs_that_read_the_same_content_at_once_leave_it_once(
    hostile_services, settings, case, monkeypatch, texts
):
    folder = os.fsencode(case(a__hostile="one 1"))
    workspace = hostile_services.workspaces.default()
    report = hostile_services.intake.take_in(
        workspace.id, [folder], run=False, cancel=CancelToken()
    )
    hostile_services.jobs.submit(workspace.id, report.plan)
    decide = Committer._replaced
    second = []

    def decide_then_the_other_commits(self, *arguments):
        decided = decide(self, *arguments)
        if not second:
            # On another host, so that the first program's job counts as held by a living one.
            monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
            second.append(open_services(settings, worker_command=hostile.WORKER))
            second[0].jobs.submit(workspace.id, report.plan)
            second[0].jobs.start()
            second[0].jobs.wait(CancelToken())
            second[0].close()
        return decided

    monkeypatch.setattr(Committer, "_replaced", decide_then_the_other_commits)

    hostile_services.jobs.start()
    hostile_services.jobs.wait(CancelToken())

    states = [one.state for one in hostile_services.jobs.list(workspace.id)]
    assert states == [JobState.SUCCEEDED, JobState.SUCCEEDED]
    assert texts() == ["one"]


def test_a_program_that_starts_leaves_what_another_one_is_about_to_record(
    hostile_services, settings, case, run, monkeypatch, texts
):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("three 3")
    promote = ParquetSink.promote

    def promote_then_another_starts(self, promotions):
        promote(self, promotions)
        monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
        open_services(settings).close()

    monkeypatch.setattr(ParquetSink, "promote", promote_then_another_starts)

    run(hostile_services, folder)

    assert texts() == ["three", "two"]


def test_content_leaves_when_the_last_of_the_files_that_held_it_changes(
    hostile_services, case, run, texts
):
    folder = case(a__hostile="one 1", b__hostile="one 1")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("two 2")
    run(hostile_services, folder)
    assert texts() == ["one", "two"]

    (folder / "b.hostile").write_text("three 3")
    run(hostile_services, folder)

    assert texts() == ["three", "two"]


def test_files_that_have_come_to_hold_the_same_are_retried_once(hostile_services, case, run, texts):
    folder = case(a__hostile="raise 1", b__hostile="raise 2")
    run(hostile_services, folder)
    for name in ("a.hostile", "b.hostile"):
        (folder / name).write_text("one 1")
    [source] = hostile_services.sources.list(hostile_services.workspaces.default().id)
    hostile_services.sources.scan(source.source.id, cancel=CancelToken())
    [job] = hostile_services.jobs.list(hostile_services.workspaces.default().id)

    hostile_services.jobs.retry(job.id)
    hostile_services.jobs.wait(CancelToken())

    assert texts() == ["one"]


def test_a_removed_source_that_comes_back_takes_up_where_it_was(hostile_services, case, run, texts):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    workspace = hostile_services.workspaces.default()
    [listed] = hostile_services.sources.list(workspace.id)
    hostile_services.sources.remove(listed.source.id)
    (folder / "a.hostile").write_text("three 3")

    report = run(hostile_services, folder)

    assert (report.scans[0].unchanged, report.scans[0].hashed) == (1, 1)
    assert texts() == ["three", "two"]
