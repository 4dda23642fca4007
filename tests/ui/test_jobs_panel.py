import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractItemView, QPlainTextEdit, QTabWidget, QWidget

from casparian.domain.errors import EnvironmentProblem
from casparian.domain.events import JobChanged, JobProgressed
from casparian.domain.jobs import Job, JobFile, JobFileState, JobState, Progress
from casparian.ui import jobs_panel
from casparian.ui.actions import Actions
from casparian.ui.jobs_panel import JobsPanel
from casparian.ui.record_table import FRACTION_ROLE

SHARED = {
    "profile": "enterprise",
    "state_store": "postgres://me@db.example/state",
    "default_sink": "postgres://me@db.example/cases",
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class FakeJobs:
    """Jobs as a list, and what was asked of them."""

    def __init__(self, jobs):
        self.jobs = {job.id: job for job in jobs}
        self.asked = []
        self.looks = 0

    def list(self, workspace_id):
        self.looks += 1
        return list(self.jobs.values())

    def progress(self, job_id):
        return None

    def files(self, job_id):
        return [JobFile(job_id, "f", "a.csv", JobFileState.PARTIAL, 6, 5, 1, "one row is ragged")]

    def log(self, job_id):
        return f"log of {job_id}\nevil \u202e\x1b[31m"

    def cancel(self, job_id):
        self.asked.append(("cancel", job_id))

    def retry(self, job_id):
        self.asked.append(("retry", job_id))


class FakeServices:
    def __init__(self, jobs, services, **changes):
        self.jobs = jobs
        self.bus = services.bus
        self.settings = replace(services.settings, host="here", **changes)


def a_job(number, state=JobState.SUCCEEDED, **facts):
    return Job(
        id=f"job {number:04}", workspace_id="w", parser="evtx", parser_version="1",
        artifact_hash="", state=state, files=3, size_bytes=1_000, created_at=NOW, **facts,
    )  # fmt: skip


@pytest.fixture
def panel_of(qtbot, tasks, services, bridge):
    def panel_of(*jobs, **changes):
        actions = Actions()
        fake = FakeServices(FakeJobs(jobs), services, **changes)
        panel = JobsPanel(fake, tasks, actions, bridge)
        panel.test_actions = actions
        qtbot.addWidget(panel)
        panel.resize(1200, 300)
        panel.show()
        workspace = type("W", (), {"id": "w"})()
        panel.set_workspace(workspace)
        model = table(panel).model()
        qtbot.waitUntil(lambda: model.rowCount() == len(jobs))
        return panel

    return panel_of


def table(panel):
    return panel.findChild(QAbstractItemView, "jobs_table")


def cells(panel, row):
    model = table(panel).model()
    return [model.index(row, at).data() for at in range(model.columnCount())]


def test_jobs_are_shown_newest_first_with_state_in_words(panel_of):
    panel = panel_of(
        a_job(1, rows=1_234, started_at=NOW, ended_at=NOW + timedelta(seconds=2)),
        a_job(2, JobState.FAILED, problem="The worker died", failed_files=3),
    )
    assert cells(panel, 0)[:2] == ["failed", "evtx 1"]
    assert cells(panel, 0)[10] == "The worker died"
    assert cells(panel, 1)[0] == "done"
    assert cells(panel, 1)[4] == "1,234"
    assert cells(panel, 1)[7] == "took 2.00 s"


def test_a_job_that_rests_says_when_it_is_tried_again_and_why(panel_of):
    soon = datetime.now(UTC) + timedelta(minutes=5)
    panel = panel_of(
        a_job(1, JobState.QUEUED, problem="The database is gone.", not_before=soon, host="here"),
        a_job(2, JobState.QUEUED, problem="here cannot reach /evidence.", host="here"),
    )
    assert cells(panel, 0)[0] == "queued again"
    assert cells(panel, 0)[10] == "here cannot reach /evidence."
    assert cells(panel, 1)[0] == "resting"
    assert cells(panel, 1)[7] == f"tried again at {soon:%H:%M:%S} UTC"
    assert cells(panel, 1)[10] == "The database is gone."


@pytest.mark.parametrize(
    ("host", "is_hidden"), [("here", True), ("there", False)], ids=["ours", "another"]
)
def test_the_host_is_shown_where_there_is_more_than_one(panel_of, host, is_hidden):
    panel = panel_of(a_job(1, host=host))
    assert cells(panel, 0)[8] == host
    assert table(panel).isColumnHidden(8) is is_hidden


def test_what_other_hosts_do_is_noticed_on_a_shared_store(panel_of, services, qtbot, monkeypatch):
    monkeypatch.setattr(jobs_panel, "FOLLOW_MS", 20)
    panel = panel_of(a_job(1, JobState.QUEUED), **SHARED)
    assert not table(panel).isColumnHidden(8)
    told = []
    undo = services.bus.subscribe(told.append)
    fake = panel._services.jobs
    # Those of the panel itself, and one to compare with.
    qtbot.waitUntil(lambda: fake.looks > 3)
    fake.jobs["job 0001"] = a_job(1, JobState.SUCCEEDED, host="there")
    fake.jobs["job 0002"] = a_job(2, JobState.RUNNING, host="there")
    qtbot.waitUntil(lambda: cells(panel, 0)[8] == "there" and table(panel).model().rowCount() == 2)
    looks = fake.looks
    qtbot.waitUntil(lambda: fake.looks > looks + 2)
    assert [one for one in told if isinstance(one, JobChanged)] == [
        JobChanged("w", "job 0001", JobState.SUCCEEDED),
        JobChanged("w", "job 0002", JobState.RUNNING),
    ]
    undo()


def test_a_shared_store_that_goes_away_and_comes_back_is_said(panel_of, qtbot, monkeypatch):
    monkeypatch.setattr(jobs_panel, "FOLLOW_MS", 20)
    panel = panel_of(a_job(1), **SHARED)
    fake, listed = panel._services.jobs, FakeJobs.list

    def lost(_self, _workspace_id):
        raise EnvironmentProblem("The state store cannot be reached")

    monkeypatch.setattr(FakeJobs, "list", lost)
    banner = panel.findChild(QWidget, "jobs_banner")
    qtbot.waitUntil(banner.isVisible)
    assert table(panel).model().rowCount() == 1
    monkeypatch.setattr(FakeJobs, "list", listed)
    fake.jobs["job 0002"] = a_job(2)
    qtbot.waitUntil(lambda: table(panel).model().rowCount() == 2)
    assert not banner.isVisible()


def test_progress_is_shown_as_it_comes_and_an_unknown_total_is_not_guessed(
    panel_of, services, qtbot
):
    panel = panel_of(a_job(1, JobState.RUNNING))
    at = table(panel).model().index(0, 7)
    services.bus.publish(JobProgressed("job 0001", Progress(50, 200, "rows", "a.evtx", 10)))
    qtbot.waitUntil(lambda: at.data() == "50 of 200 rows · 10/s")
    assert at.data(FRACTION_ROLE) == 0.25
    assert cells(panel, 0)[10] == "a.evtx"
    services.bus.publish(JobProgressed("job 0001", Progress(60, None, "rows")))
    qtbot.waitUntil(lambda: at.data() == "60 rows")
    assert at.data(FRACTION_ROLE) == -1


def test_cancel_says_stopping_until_it_has_stopped(panel_of, services, qtbot):
    panel = panel_of(a_job(1, JobState.RUNNING))
    fake = panel._services.jobs
    cancel = panel.test_actions.get("jobs.cancel")
    assert not cancel.isEnabled()
    table(panel).selectRow(0)
    cancel.trigger()
    assert cells(panel, 0)[0] == "stopping"
    qtbot.waitUntil(lambda: fake.asked == [("cancel", "job 0001")])

    fake.jobs["job 0001"] = a_job(1, JobState.CANCELLED)
    services.bus.publish(JobChanged("w", "job 0001", JobState.CANCELLED))
    qtbot.waitUntil(lambda: cells(panel, 0)[0] == "cancelled")
    assert not cancel.isEnabled()


def test_what_failed_can_be_tried_again(panel_of, qtbot):
    panel = panel_of(a_job(1, JobState.FAILED), a_job(2))
    retry = panel.test_actions.get("jobs.retry")
    table(panel).selectRow(0)
    assert not retry.isEnabled()
    table(panel).selectRow(1)
    retry.trigger()
    fake = panel._services.jobs
    qtbot.waitUntil(lambda: fake.asked == [("retry", "job 0001")])


def test_a_job_shows_its_files_and_its_log_without_harm(panel_of, qtbot):
    panel = panel_of(a_job(1))
    table(panel).selectRow(0)
    files = panel.findChild(QAbstractItemView, "job_files_table").model()
    qtbot.waitUntil(lambda: files.rowCount() == 1)
    assert [files.index(0, at).data() for at in range(6)] == [
        "partial", "a.csv", "6", "5", "1", "one row is ragged",
    ]  # fmt: skip
    panel.findChild(QTabWidget, "job_detail").setCurrentIndex(1)
    log = panel.findChild(QPlainTextEdit, "job_log")
    qtbot.waitUntil(lambda: log.toPlainText() == "log of job 0001\nevil \\u202e\\x1b[31m")


def test_hundreds_of_jobs_that_all_change_stay_quick(panel_of, services, qtbot, stalls):
    panel = panel_of(*(a_job(n, JobState.RUNNING) for n in range(600)))
    panel.resize(QSize(1200, 600))
    stalls.start()
    for done in range(1, 11):
        for n in range(600):
            services.bus.publish(JobProgressed(f"job {n:04}", Progress(done, 10, "files")))
            services.bus.publish(JobChanged("w", f"job {n:04}", JobState.RUNNING))
        qtbot.wait(50)
    at = table(panel).model().index(0, 7)
    qtbot.waitUntil(lambda: at.data() is not None)
    stalls.stop()
    assert stalls.longest_ms < 100, stalls.where


def test_the_end_of_all_jobs_is_told_once(panel_of, services, qtbot):
    panel = panel_of(a_job(1, JobState.RUNNING), a_job(2))
    fake = panel._services.jobs
    fake.jobs["job 0001"] = a_job(1, JobState.PARTIAL)
    with qtbot.waitSignal(panel.calmed) as told:
        services.bus.publish(JobChanged("w", "job 0001", JobState.PARTIAL))
    assert told.args == ["2 jobs: 1 done, 1 partial"]


def test_a_real_job_can_be_followed_to_its_end(window, case, qtbot):
    window.take_in([os.fsencode(case(a__csv="x,y\n1,2\n1,2,3,4\n"))])
    model = window.jobs.findChild(QAbstractItemView, "jobs_table").model()
    qtbot.waitUntil(lambda: model.rowCount() == 1, timeout=30_000)
    qtbot.waitUntil(lambda: model.index(0, 0).data() == "partial", timeout=30_000)
    assert [model.index(0, at).data() for at in (4, 5)] == ["1", "1"]
    jobs = window.jobs.findChild(QAbstractItemView, "jobs_table")
    QTest.mouseClick(
        jobs.viewport(), Qt.MouseButton.LeftButton, pos=jobs.visualRect(model.index(0, 1)).center()
    )
    files = window.jobs.findChild(QAbstractItemView, "job_files_table").model()
    qtbot.waitUntil(lambda: files.rowCount() == 1)
    assert [files.index(0, at).data() for at in (2, 3, 4)] == ["2", "1", "1"]
