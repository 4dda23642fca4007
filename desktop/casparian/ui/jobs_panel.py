"""The jobs of a workspace: newest first, what became of each file, the log, cancel and retry."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import (
    QHBoxLayout,
    QPlainTextEdit,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QWidget,
)

from casparian.domain.evidence import shown_text
from casparian.domain.jobs import JobFileState, JobState
from casparian.services.following import Follower
from casparian.ui import formats, parts, problems, theme
from casparian.ui.actions import Action
from casparian.ui.record_table import Column, RecordModel, RecordTable
from casparian.ui.tasks import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casparian.bootstrap import Services
    from casparian.domain.errors import CasparianError
    from casparian.domain.events import JobChanged, JobProgressed
    from casparian.domain.evidence import Workspace
    from casparian.domain.ids import JobId
    from casparian.domain.jobs import Job, JobFile, Progress
    from casparian.ui.actions import Actions
    from casparian.ui.bridge import EventBridge
    from casparian.ui.tasks import Tasks

FOLLOW_MS = 2_000
"""So often a store that is shared is asked what other hosts did."""
LOG_CHARS = 200_000
"""So much of the end of a log is shown; the file on disk has all of it."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job, and how far it has come if it is at work."""

    job: Job
    progress: Progress | None = None
    is_stopping: bool = False
    """Somebody asked for it to stop, and it has not stopped yet."""


def _look(row: JobRow) -> tuple[str, str, theme.Token]:
    if row.is_stopping and not row.job.state.is_terminal:
        return "stopping", "busy", "partial"
    if row.job.state is JobState.QUEUED and row.job.problem:
        return "resting" if _rests(row.job) else "queued again", "waiting", "partial"
    return parts.JOB_LOOKS[row.job.state]


def _rests(job: Job) -> bool:
    return job.not_before is not None and job.not_before > datetime.now(UTC)


def _state(row: JobRow) -> tuple[str, theme.Token]:
    _, icon, token = _look(row)
    return icon, token


def _progress(row: JobRow) -> str:
    if row.job.state.is_terminal:
        return _took(row.job)
    if row.job.state is JobState.QUEUED and row.job.not_before is not None and _rests(row.job):
        return f"tried again at {row.job.not_before.astimezone(UTC):%H:%M:%S} UTC"
    if row.progress is None:
        return ""
    return formats.progress(row.progress)


def _fraction(row: JobRow) -> float | None:
    if row.progress is None or row.job.state.is_terminal:
        return None
    total = row.progress.total
    return -1.0 if not total else row.progress.done / total


def _took(job: Job) -> str:
    if job.started_at is None or job.ended_at is None:
        return ""
    return f"took {formats.duration((job.ended_at - job.started_at).total_seconds())}"


def _now_at(row: JobRow) -> str:
    if row.job.problem:
        return row.job.problem
    if row.progress is not None and not row.job.state.is_terminal:
        return row.progress.current
    return ""


JOB_COLUMNS: tuple[Column[JobRow], ...] = (
    Column(
        "State", lambda row: _look(row)[0], 112, state=_state,
        tip=lambda row: row.job.problem or _look(row)[0],
    ),
    Column("Parser", lambda row: f"{row.job.parser} {row.job.parser_version}", 136),
    Column("Files", lambda row: formats.number(row.job.files), 64, right=True),
    Column(
        "Size", lambda row: formats.size(row.job.size_bytes), 80, right=True,
        tip=lambda row: formats.exact_size(row.job.size_bytes),
    ),
    Column("Rows", lambda row: formats.number(row.job.rows), 88, right=True),
    Column("Quarantined", lambda row: formats.number(row.job.quarantined), 96, right=True),
    Column("Failed files", lambda row: formats.number(row.job.failed_files), 88, right=True),
    Column("Progress", _progress, 224, fraction=_fraction),
    Column("Host", lambda row: row.job.host, 112, faint=True),
    Column(
        "Queued", lambda row: formats.age(row.job.created_at), 96, faint=True,
        tip=lambda row: formats.moment(row.job.created_at),
    ),
    Column("Note", _now_at, 320, faint=True),
)  # fmt: skip

_HOST = next(at for at, column in enumerate(JOB_COLUMNS) if column.title == "Host")

_FILE_LOOKS: dict[JobFileState, tuple[str, theme.Token]] = {
    JobFileState.WAITING: ("waiting", "faint"),
    JobFileState.DONE: ("good", "good"),
    JobFileState.PARTIAL: ("partial", "partial"),
    JobFileState.FAILED: ("bad", "bad"),
}
FILE_COLUMNS: tuple[Column[JobFile], ...] = (
    Column("State", lambda row: row.state.value, 96, state=lambda row: _FILE_LOOKS[row.state]),
    Column("File", lambda row: row.path, 240),
    Column("Read", lambda row: formats.number(row.read), 72, right=True),
    Column("Accepted", lambda row: formats.number(row.accepted), 80, right=True),
    Column("Quarantined", lambda row: formats.number(row.quarantined), 96, right=True),
    Column("Problem", lambda row: row.problem, 320),
)


class JobsPanel(QWidget):
    """Jobs, newest first, with what became of the files of the one that is chosen.

    Signals:
        busy_changed: (running, waiting), whenever the list was read anew.
        calmed: a sentence on what became of the jobs, once none is open any more.
        file_wanted: the file id of a job's file that was opened.
    """

    busy_changed = Signal(int, int)
    calmed = Signal(str)
    file_wanted = Signal(str)

    def __init__(
        self,
        services: Services,
        tasks: Tasks,
        actions: Actions,
        bridge: EventBridge,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("jobs_panel")
        self._services, self._tasks = services, tasks
        self._workspace: Workspace | None = None
        self._stopping: set[JobId] = set()
        self._was_busy = self._is_lost = False
        self._refresh = Refresh(tasks, self, self._ask, self._on_jobs, self._on_failed)
        self._detail = Refresh(tasks, self, self._ask_detail, self._on_detail, self._on_failed)
        self._register(actions)
        self._build()
        bridge.job_changed.connect(self._on_job_changed)
        bridge.job_progressed.connect(self._on_job_progressed)
        settings = services.settings
        self._host, self._is_shared = settings.host_name, settings.state.is_server
        self._follower = Follower(services.jobs, services.bus, self._host)
        self._follow = QTimer(self)
        self._follow.setSingleShot(True)
        self._follow.setInterval(FOLLOW_MS)
        self._follow.timeout.connect(self._on_follow)
        if self._is_shared:
            self._follow.start()

    def set_workspace(self, workspace: Workspace) -> None:
        """Show the jobs of another workspace."""
        self._workspace = workspace
        self._was_busy = False
        self._model.replace([])
        self._refresh.now()

    def choose(self, job_id: str) -> None:
        """Make a job the current one."""
        self._table.choose(job_id)

    def _register(self, actions: Actions) -> None:
        add = actions.add
        self._cancel = add(
            Action(
                "jobs.cancel", "Cancel job", self._on_cancel, "Jobs", icon="cancel",
                hint="Stop the chosen jobs; nothing of a cancelled job is kept",
            )
        )  # fmt: skip
        self._cancel_all = add(
            Action("jobs.cancel_all", "Cancel all jobs", self._on_cancel_all, "Jobs", icon="close")
        )
        self._retry = add(
            Action(
                "jobs.retry", "Retry job", self._on_retry, "Jobs", icon="retry",
                hint="Queue the files that failed in the chosen job once more",
            )
        )  # fmt: skip
        self._copy_log = add(
            Action("jobs.copy_log", "Copy job log", self._on_copy_log, "Jobs", icon="copy")
        )

    def _build(self) -> None:
        self._model: RecordModel[JobRow] = RecordModel(JOB_COLUMNS, lambda row: row.job.id, self)
        self._table = RecordTable(self._model, "jobs_table", "Jobs")
        self._table.hideColumn(_HOST)
        self._table.chosen.connect(self._on_chosen)
        self._table.selection_changed.connect(self._enable)
        self._banner = problems.Banner("jobs_banner")
        self._banner.acted.connect(self._refresh.now)
        empty = parts.EmptyState(
            "jobs",
            "No jobs yet",
            "A job reads a batch of files with one parser. Jobs start by themselves when you add evidence.",
            name="jobs_empty",
        )
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        self._stack.addWidget(self._table)

        self._files_model: RecordModel[JobFile] = RecordModel(
            FILE_COLUMNS, lambda row: row.file_id, self
        )
        self._files = RecordTable(self._files_model, "job_files_table", "Files of the job")
        self._files.opened.connect(self._on_file_opened)
        self._log = QPlainTextEdit()
        self._log.setReadOnly(True)
        self._log.setObjectName("job_log")
        self._log.setAccessibleName("Log of the job")
        self._log.setProperty("look", "plain")
        self._log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._log.setFont(theme.font(theme.SMALL, mono=True))
        self._log.setPlaceholderText("The chosen job has no log yet.")
        self._tabs = QTabWidget()
        self._tabs.setObjectName("job_detail")
        self._tabs.setAccessibleName("Details of the job")
        self._tabs.setDocumentMode(True)
        self._tabs.addTab(self._files, "Files")
        self._tabs.addTab(self._log, "Log")
        self._tabs.currentChanged.connect(lambda _at: self._detail.now())
        self._tabs.hide()

        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.setObjectName("jobs_splitter")
        self.splitter.addWidget(self._stack)
        self.splitter.addWidget(self._tabs)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 2)
        self.splitter.setChildrenCollapsible(False)
        self.buttons = QWidget()
        line = QHBoxLayout(self.buttons)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(theme.GRID // 2)
        for action in (self._retry, self._cancel, self._cancel_all, self._copy_log):
            line.addWidget(parts.action_button(action))
        column = parts.margins(self, all_round=0, gap=0)
        column.addWidget(self._banner)
        column.addWidget(self.splitter)
        self._enable()

    def _ask(self) -> Callable[[], list[JobRow]]:
        jobs, workspace = self._services.jobs, self._workspace

        def work() -> list[JobRow]:
            if workspace is None:
                return []
            found = sorted(jobs.list(workspace.id), key=lambda job: job.id, reverse=True)
            return [
                JobRow(job, None if job.state.is_terminal else jobs.progress(job.id))
                for job in found
            ]

        return work

    def _on_jobs(self, rows: list[JobRow]) -> None:
        self._banner.clear()
        self._stopping -= {row.job.id for row in rows if row.job.state.is_terminal}
        self._model.replace([self._marked(row) for row in rows])
        elsewhere = any(row.job.host not in {"", self._host} for row in rows)
        self._table.setColumnHidden(_HOST, not (self._is_shared or elsewhere))
        self._stack.setCurrentIndex(1 if rows else 0)
        waiting = sum(row.job.state is JobState.QUEUED for row in rows)
        running = sum(not row.job.state.is_terminal for row in rows) - waiting
        self.busy_changed.emit(running, waiting)
        if self._was_busy and not running + waiting:
            self.calmed.emit(_summary(rows))
        self._was_busy = bool(running + waiting)
        self._enable()

    def _marked(self, row: JobRow) -> JobRow:
        return replace(row, is_stopping=row.job.id in self._stopping)

    def _on_failed(self, error: CasparianError) -> None:
        self._banner.show_problem(error, "Retry")

    @Slot(object)
    def _on_job_changed(self, event: JobChanged) -> None:
        if self._workspace is None or event.workspace_id != self._workspace.id:
            return
        self._refresh.soon()
        current = self._table.current()
        if current is not None and current.job.id == event.job_id:
            self._detail.soon()

    @Slot()
    def _on_follow(self) -> None:
        if self._workspace is None:
            self._follow.start()
            return
        look = partial(self._follower.look, self._workspace.id)
        self._tasks.run(
            self, look, self._on_followed, key="follow", failed=self._on_lost, long=True
        )

    def _on_followed(self, _nothing: object) -> None:
        self._follow.start()
        if self._is_lost:
            self._is_lost = False
            self._refresh.now()

    def _on_lost(self, error: CasparianError) -> None:
        self._follow.start()
        self._is_lost = True
        self._on_failed(error)

    @Slot(object)
    def _on_job_progressed(self, event: JobProgressed) -> None:
        at = self._model.row_of(event.job_id)
        row = self._model.record(at)
        if row is not None:
            self._model.put(at, replace(row, progress=event.progress))

    @Slot(object)
    def _on_chosen(self, row: JobRow | None) -> None:
        self._tabs.setVisible(row is not None)
        if row is not None:
            self._detail.now()

    def _ask_detail(self) -> Callable[[], tuple[Sequence[JobFile], str]]:
        jobs, row = self._services.jobs, self._table.current()
        wants_log = self._tabs.currentWidget() is self._log

        def work() -> tuple[Sequence[JobFile], str]:
            if row is None:
                return [], ""
            return jobs.files(row.job.id), jobs.log(row.job.id)[-LOG_CHARS:] if wants_log else ""

        return work

    def _on_detail(self, detail: tuple[Sequence[JobFile], str]) -> None:
        files, log = detail
        self._files_model.replace(files)
        text = "\n".join(shown_text(line) for line in log.splitlines())
        if text != self._log.toPlainText():
            self._log.setPlainText(text)
            bar = self._log.verticalScrollBar()
            bar.setValue(bar.maximum())

    @Slot()
    def _enable(self) -> None:
        chosen = self._table.selected()
        rows = [self._model.record(at) for at in range(self._model.rowCount())]
        self._cancel.setEnabled(any(not row.job.state.is_terminal for row in chosen))
        self._cancel_all.setEnabled(any(row and not row.job.state.is_terminal for row in rows))
        again = {JobState.FAILED, JobState.PARTIAL, JobState.CANCELLED}
        self._retry.setEnabled(any(row.job.state in again for row in chosen))
        self._copy_log.setEnabled(len(chosen) == 1)

    def _each(self, rows: list[JobRow], verb: Callable[[JobId], object], key: str) -> None:
        ids = [row.job.id for row in rows]
        self._tasks.run(self, lambda: [verb(one) for one in ids], self._on_acted, key=key)

    def _on_acted(self, _done: object) -> None:
        self._refresh.soon()

    def _on_cancel(self) -> None:
        self._stop([row for row in self._table.selected() if not row.job.state.is_terminal])

    def _stop(self, rows: list[JobRow]) -> None:
        self._stopping |= {row.job.id for row in rows}
        for row in rows:
            self._model.put(self._model.row_of(row.job.id), self._marked(row))
        self._each(rows, self._services.jobs.cancel, "cancel")

    def _on_cancel_all(self) -> None:
        every = (self._model.record(at) for at in range(self._model.rowCount()))
        self._stop([row for row in every if row is not None and not row.job.state.is_terminal])

    def _on_retry(self) -> None:
        again = {JobState.FAILED, JobState.PARTIAL, JobState.CANCELLED}
        rows = [row for row in self._table.selected() if row.job.state in again]
        self._each(rows, self._services.jobs.retry, "retry")

    def _on_copy_log(self) -> None:
        row = self._table.current()
        if row is not None:
            jobs, job_id = self._services.jobs, row.job.id
            self._tasks.run(self, lambda: jobs.log(job_id), problems.copy_text, key="copy_log")

    @Slot(object)
    def _on_file_opened(self, row: JobFile) -> None:
        self.file_wanted.emit(row.file_id)


def _summary(rows: Sequence[JobRow]) -> str:
    counts = Counter(row.job.state for row in rows)
    words = [
        f"{formats.number(counts[state])} {word}"
        for state, (word, _, _) in parts.JOB_LOOKS.items()
        if counts[state]
    ]
    return f"{formats.count(len(rows), 'job')}: {', '.join(words)}"
