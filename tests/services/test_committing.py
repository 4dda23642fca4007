"""What a commit makes count and takes out, also when another program works on the same home."""

from __future__ import annotations

import os
import threading

import duckdb
import pytest

from casparian.bootstrap import open_services
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import EnvironmentProblem
from casparian.domain.evidence import ProblemKind
from casparian.domain.jobs import JobState
from casparian.scout.hashing import NotHashed
from casparian.services import sources
from casparian.services.committing import Committer
from casparian.sinks.parquet import ParquetSink
from casparian.state.evidence import FileQuery
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


# Rows that leave without a job of their parser


def counted(services):
    """Accepted and quarantined rows of the tables, and of the files' different contents."""
    workspace = services.workspaces.default()
    rows = services.sources.files(FileQuery(workspace.id), 0, None).rows
    contents = {one.file.source_hash: (one.accepted or 0, one.quarantined or 0) for one in rows}
    tables = [(one.rows, one.quarantined) for one in services.results.tables(workspace.id)]
    return [tuple(map(sum, zip(*counts, strict=True))) for counts in (tables, contents.values())]


def no_rule(services):
    """Let no rule give files to the hostile parser any more."""
    workspace = services.workspaces.default()
    for one in services.rules.list(workspace.id):
        if one.rule.tag == hostile.NAME:
            services.rules.set_enabled(one.rule.id, False)


def generation(services):
    with duckdb.connect(str(services.settings.catalog_path), read_only=True) as catalog:
        return catalog.execute("FROM _casparian.generation").fetchall()


def test_a_file_that_comes_to_hold_what_is_done_already_loses_its_old_rows(
    hostile_services, case, run, texts
):
    folder = case(a__hostile="one 1\nreject", b__hostile="two 2\nreject", c__hostile="three 3")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("two 2\nreject")

    report = run(hostile_services, folder)

    assert report.plan.jobs == ()
    assert len(hostile_services.jobs.list(hostile_services.workspaces.default().id)) == 1
    assert texts() == ["three", "two"]
    assert counted(hostile_services) == [(2, 1), (2, 1)]
    assert not any(hostile_services.settings.staging_dir.iterdir())


def test_the_catalog_shows_at_once_that_rows_have_left(hostile_services, case, run):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("two 2")
    run(hostile_services, folder)

    with duckdb.connect(str(hostile_services.settings.catalog_path), read_only=True) as catalog:
        assert catalog.execute("SELECT text FROM hostile_rows").fetchall() == [("two",)]


def test_a_file_that_comes_to_hold_what_another_parser_reads_loses_its_old_rows(
    services, case, run
):
    folder = case(a__csv="a,b\n1,2\n3,4\n", b__csv="a,b\n5,6\n")
    run(services, folder)
    (folder / "a.csv").write_text('{"n": 1}\n{"n": 2}\n')

    run(services, folder)

    workspace = services.workspaces.default()
    tables = {one.parser: one.rows for one in services.results.tables(workspace.id)}
    assert tables == {"delimited": 1, "jsonlines": 2}
    assert counted(services) == [(3, 0), (3, 0)]


def test_a_file_that_comes_to_hold_what_nothing_reads_loses_its_old_rows(services, case, run):
    folder = case(a__csv="a,b\n1,2\nragged\n", b__csv="a,b\n5,6\nragged\n")
    run(services, folder)
    (folder / "a.csv").write_bytes(bytes(range(256)))

    report = run(services, folder)

    assert report.plan.jobs == ()
    assert counted(services) == [(1, 1), (1, 1)]


def test_changed_content_that_no_rule_gives_to_its_parser_takes_its_old_rows_along(
    hostile_services, case, run, texts
):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    no_rule(hostile_services)
    run(hostile_services, folder)
    assert texts() == ["one", "two"]

    (folder / "a.hostile").write_text("three 3")
    run(hostile_services, folder)

    assert texts() == ["two"]


def test_a_table_whose_every_row_has_left_is_no_table(hostile_services, case, run):
    folder = case(a__hostile="one 1")
    run(hostile_services, folder)
    no_rule(hostile_services)
    (folder / "a.hostile").write_text("two 2")

    run(hostile_services, folder)

    assert hostile_services.results.tables(hostile_services.workspaces.default().id) == []


def test_rows_of_what_vanished_could_not_be_read_or_is_held_elsewhere_stay(
    hostile_services, case, run, texts, monkeypatch
):
    folder = case(
        gone__hostile="gone 1", locked__hostile="locked 2", moved__hostile="moved 3", b__hostile="b 4"
    )  # fmt: skip
    run(hostile_services, folder)
    (folder / "gone.hostile").unlink()
    (folder / "moved.hostile").rename(folder / "moved.elsewhere")
    (folder / "moved.hostile").write_text("b 4")
    (folder / "locked.hostile").write_text("not to be read")
    hash_file = sources.hash_file

    def hash_unlocked(path, *arguments):
        if b"locked" in os.fsencode(path):
            raise NotHashed(ProblemKind.UNREADABLE, "it is locked")
        return hash_file(path, *arguments)

    monkeypatch.setattr(sources, "hash_file", hash_unlocked)

    run(hostile_services, folder)

    assert texts() == ["b", "gone", "locked", "moved"]


def test_where_no_rows_are_to_leave_nothing_is_written(hostile_services, case, run):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").unlink()
    run(hostile_services, folder)
    before = generation(hostile_services)
    files = sorted(hostile_services.settings.output_dir.rglob("*"))

    hostile_services.jobs.start()
    hostile_services.jobs.wait(CancelToken())

    assert generation(hostile_services) == before
    assert sorted(hostile_services.settings.output_dir.rglob("*")) == files


def test_old_rows_stay_until_the_new_ones_come_in(hostile_services, case, run, texts, monkeypatch):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("three 3")
    seen = []
    commit = Committer.commit

    def look_then_commit(*arguments):
        hostile_services.jobs.start()
        seen.append(texts())
        return commit(*arguments)

    monkeypatch.setattr(Committer, "commit", look_then_commit)

    run(hostile_services, folder)

    assert seen == [["one", "two"]]
    assert texts() == ["three", "two"]


def test_old_rows_stay_while_a_scan_may_still_find_their_content(
    hostile_services, case, run, texts, monkeypatch
):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").rename(folder / "c.hostile")
    (folder / "a.hostile").write_text("two 2")
    monkeypatch.setattr(sources, "BATCH_FILES", 1)
    hash_file = sources.hash_file
    seen = []

    def hash_while_jobs_end(path, *arguments):
        if b"c.hostile" in os.fsencode(path):
            hostile_services.jobs.start()
            hostile_services.jobs.wait(CancelToken())
            seen.append(texts())
        return hash_file(path, *arguments)

    monkeypatch.setattr(sources, "hash_file", hash_while_jobs_end)

    report = run(hostile_services, folder)

    assert seen == [["one", "two"]]
    assert report.plan.jobs == ()
    assert texts() == ["one", "two"]


@pytest.mark.parametrize("step", ["rewrite", "promote"])
def test_a_program_that_starts_while_rows_leave_takes_nothing_away(
    hostile_services, settings, case, run, monkeypatch, texts, step
):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("two 2")
    do = getattr(ParquetSink, step)
    second = []

    def do_while_another_starts(*arguments):
        done = do(*arguments)
        if not second:
            second.append(threading.Thread(target=lambda: open_services(settings).close()))
            second[0].start()
            # A sweep waits for a transaction that writes.
            second[0].join(None if step == "rewrite" else 0.5)
        return done

    monkeypatch.setattr(ParquetSink, step, do_while_another_starts)

    run(hostile_services, folder)
    second[0].join()

    assert texts() == ["two"]
    assert not any(settings.staging_dir.iterdir())


def test_rows_that_cannot_leave_now_leave_with_the_next_run(
    hostile_services, case, run, monkeypatch, texts, caplog
):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("two 2")

    def full(*_):
        raise EnvironmentProblem("The disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(ParquetSink, "promote", full)
        run(hostile_services, folder)
    assert [one.getMessage() for one in caplog.records] == [
        "old rows of hostile stay in their tables: The disk is full."
    ]
    assert texts() == ["one", "two"]

    run(hostile_services, folder)

    assert texts() == ["two"]
