"""The window: views, panels and bars, and who tells whom. It decides nothing about evidence."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QSettings, Qt, Signal, Slot
from PySide6.QtGui import (
    QActionGroup,
    QCloseEvent,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QSplitter,
    QStackedWidget,
    QWidget,
)
from typing_extensions import override

from casparian import assets
from casparian import settings as settings_file
from casparian.domain.errors import EnvironmentProblem
from casparian.durable import SHARE_HINT, SHARE_WARNING
from casparian.ui import chrome, formats, parts, problems, theme
from casparian.ui.about import AboutDialog
from casparian.ui.actions import GROUPS, Action, Actions
from casparian.ui.guide import GuideControl
from casparian.ui.intake import IntakeControl, local_paths
from casparian.ui.jobs_panel import JobsPanel
from casparian.ui.palette import Entry, Help, Palette, entries_of
from casparian.ui.results_view import ResultsView
from casparian.ui.rules_view import RulesView
from casparian.ui.sources_view import SourcesView
from casparian.ui.targets import kind_of
from casparian.ui.workspace_view import WorkspaceView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PySide6.QtGui import QAction

    from casparian.bootstrap import Services
    from casparian.domain.evidence import Source, Workspace
    from casparian.services.intake import IntakeReport
    from casparian.services.tables import TableSummary
    from casparian.ui.bridge import EventBridge
    from casparian.ui.instance import Handed
    from casparian.ui.tasks import Tasks

VIEWS = ("workspace", "sources", "rules", "results")


class MainWindow(QMainWindow):
    """Four views, the jobs below, the inspector at the right.

    Signals:
        workspace_opened: the Workspace that is shown now.
    """

    workspace_opened = Signal(object)

    def __init__(
        self, services: Services, tasks: Tasks, bridge: EventBridge, workspace: str = ""
    ) -> None:
        """Open the workspace of that name; without one, the one that was open last."""
        super().__init__()
        self.setObjectName("main_window")
        self.setWindowTitle("Casparian Flow")
        self.setAcceptDrops(True)
        self.setDockNestingEnabled(False)
        self._services, self._tasks = services, tasks
        self._settings = services.settings
        self._memory = QSettings(
            str(services.settings.home / "window.ini"), QSettings.Format.IniFormat
        )
        self._workspace: Workspace | None = None
        self._workspaces: list[Workspace] = []
        self._paths: list[bytes] = []
        self._is_leaving = self._is_restarting = False
        self._jobs_at_work = 0
        self.actions_registry = Actions(self)
        self.guide = GuideControl(self._memory, self._view_in_front, self)
        self.intake = IntakeControl(services, tasks, bridge, self)
        self._build(bridge)
        self._connect()
        self._restore()
        self._open_first(workspace)

    @property
    def workspace(self) -> Workspace | None:
        """The workspace that is open."""
        return self._workspace

    @property
    def is_restarting(self) -> bool:
        """Whether the window closes in order to be opened anew, with the settings as they are then."""
        return self._is_restarting

    def take_in(self, paths: Sequence[bytes]) -> None:
        """Take in evidence; what comes before a workspace is open waits for it."""
        if self._workspace is None:
            self._paths += paths
        elif paths:
            self.intake.take_in(self._workspace, paths, run=self._settings.run_after_drop)
            self.show_view("sources")

    @Slot(object)
    def on_handed(self, asked: Handed) -> None:
        """A second start hands over what it was asked for: come to the front and take it in."""
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()
        if asked.workspace and (self._workspace is None or asked.workspace != self._workspace.name):
            self._open_first(asked.workspace)
        self.take_in(asked.paths)

    def warn_of_share(self, kind: str) -> None:
        """Say once for each home folder that it is on a network share."""
        if self._memory.value("share") == kind:
            return
        self._memory.setValue("share", kind)
        where = f"{self._settings.home} ({kind}): {SHARE_WARNING}"
        problems.show(
            EnvironmentProblem("The home folder is on a network share", where, SHARE_HINT), self
        )

    def show_view(self, name: str) -> None:
        """Bring one of the views to the front."""
        self._views.setCurrentWidget(self._view[name])
        self._view[name].setFocus()
        self.actions_registry.get(f"view.{name}").setChecked(True)
        self._render_inspector()

    @Slot(object)
    def open_workspace(self, workspace: Workspace) -> None:
        """Show a workspace in every view."""
        self._workspace = workspace
        self._memory.setValue("workspace", workspace.id)
        self._top.show_workspace(workspace)
        self.setWindowTitle(f"{workspace.name} - Casparian Flow")
        for view in self._view.values():
            view.set_workspace(workspace)
        self.jobs.set_workspace(workspace)
        self.workspace_opened.emit(workspace)
        waiting, self._paths = self._paths, []
        self.take_in(waiting)

    # Building

    def _build(self, bridge: EventBridge) -> None:
        actions = self.actions_registry
        services, tasks = self._services, self._tasks
        self._register_views()
        self._register_help()
        self.sources = SourcesView(services, tasks, actions, bridge)
        self.workspaces = WorkspaceView(services, tasks, actions, bridge)
        self.rules = RulesView(services, tasks, actions, bridge)
        self.results = ResultsView(services, tasks, actions, bridge, self)
        self.jobs = JobsPanel(services, tasks, actions, bridge)
        self._view: dict[str, WorkspaceView | SourcesView | RulesView | ResultsView] = {
            "workspace": self.workspaces,
            "sources": self.sources,
            "rules": self.rules,
            "results": self.results,
        }
        self._views = QStackedWidget()
        self._views.setObjectName("views")
        for view in self._view.values():
            self._views.addWidget(view)
        self.setCentralWidget(self._views)
        self._register_rest()

        self._top = chrome.TopBar(actions)
        self.addToolBar(Qt.ToolBarArea.TopToolBarArea, self._top)
        rail = chrome.Rail([actions.get(f"view.{name}") for name in VIEWS])
        self.addToolBar(Qt.ToolBarArea.LeftToolBarArea, rail)
        self.status = chrome.StatusBar(self._settings)
        self.setStatusBar(self.status)
        self.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        self._jobs_dock = _dock("Jobs", "jobs_dock", self.jobs, self._jobs_shown, self.jobs.buttons)
        self.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self._jobs_dock)
        self._inspector_dock = _dock(
            "Inspector", "inspector_dock", self.results.inspector, self._inspector_shown
        )
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self._inspector_dock)
        self.resizeDocks([self._jobs_dock], [184], Qt.Orientation.Vertical)
        self.resizeDocks([self._inspector_dock], [360], Qt.Orientation.Horizontal)
        self._build_menus()
        self._overlay = chrome.DropOverlay(self)
        # What is dropped on a text field is evidence as well: the window takes it, not the field.
        for kind in (QLineEdit, QPlainTextEdit):
            for field in self.findChildren(kind):
                field.setAcceptDrops(False)

    def _register_views(self) -> None:
        for number, name in enumerate(VIEWS, start=1):
            self.actions_registry.add(
                Action(
                    f"view.{name}", name.capitalize(), partial(self.show_view, name), "View",
                    f"Ctrl+{number}", name, is_switch=True,
                )
            )  # fmt: skip

    def _register_help(self) -> None:
        add = self.actions_registry.add
        add(
            Action(
                "help.guide", "User guide", self.guide.open, "Help", "F1", "help",
                hint="Open the guide at the page on what is in front",
            )
        )  # fmt: skip
        add(
            Action(
                "help.sample", "Try a sample case", self._on_sample_wanted, "Help", icon="run",
                hint="Take in eight made-up logs of a small intrusion that come with the program",
            )
        )  # fmt: skip
        add(Action("help.keys", "Actions and keys", self._on_help, "Help", "?; Shift+F1", "help"))
        add(Action("help.about", "About Casparian Flow", self._on_about, "Help", icon="info"))

    def _register_rest(self) -> None:
        add = self.actions_registry.add
        self._jobs_shown = add(
            Action(
                "view.jobs", "Jobs panel", self._on_jobs_toggled, "View", "Ctrl+J", "jobs",
                is_switch=True,
            )
        )  # fmt: skip
        self._inspector_shown = add(
            Action(
                "view.inspector", "Inspector", self._render_inspector, "View", "Ctrl+I",
                "inspector", is_switch=True,
            )
        )  # fmt: skip
        add(Action("view.palette", "Find anything", self._on_palette, "View", "Ctrl+K", "search"))
        texts: tuple[tuple[theme.Mode, str], ...] = (
            ("system", "Follow the system's colours"),
            ("light", "Light colours"),
            ("dark", "Dark colours"),
        )
        modes = QActionGroup(self)
        for mode, text in texts:
            choose = partial(self._on_theme, mode)
            made = add(
                Action(f"view.theme_{mode}", text, choose, "View", icon="theme", is_switch=True)
            )
            made.setChecked(self._settings.theme == mode)
            modes.addAction(made)
        add(
            Action(
                "app.restart", "Restart", self.restart, "Workspace", icon="rescan",
                hint="Close the window and open it anew with the settings as they are now",
            )
        )  # fmt: skip
        add(Action("app.quit", "Quit", self.close, "Workspace", "Ctrl+Q", "close"))

    def _build_menus(self) -> None:
        menus = {group: self.menuBar().addMenu(f"&{group}") for group in GROUPS}
        for action, made in self.actions_registry.all():
            menus[action.group].addAction(made)
        for group, menu in menus.items():
            menu.setObjectName(f"menu_{group}")
            menu.setToolTipsVisible(True)
            menu.menuAction().setVisible(not menu.isEmpty())

    def _connect(self) -> None:
        view = self.workspaces
        view.workspace_wanted.connect(self.open_workspace)
        view.workspaces_read.connect(self._on_workspaces_read)
        view.table_wanted.connect(self._on_table_wanted)
        view.jobs_wanted.connect(self._on_jobs_wanted)
        view.problems_wanted.connect(self._on_skips_wanted)
        view.configuration_wanted.connect(partial(self._on_answer_wanted, "state"))
        view.restart_wanted.connect(self.restart)
        self.sources.folder_wanted.connect(self._on_folder_wanted)
        self.sources.files_wanted.connect(self._on_files_wanted)
        self.sources.sources_read.connect(view.on_sources_read)
        self.sources.rescan_wanted.connect(self._on_rescan_wanted)
        self.rules.file_wanted.connect(self._on_file_wanted)
        self.rules.routes_wanted.connect(self._on_routes_wanted)
        self.jobs.file_wanted.connect(self._on_file_wanted)
        self.jobs.busy_changed.connect(self._on_busy_changed)
        self.jobs.calmed.connect(self.status.say)
        self.results.file_wanted.connect(self._on_file_wanted)
        self.results.job_wanted.connect(self._on_job_wanted)
        self.results.inspector_wanted.connect(self._on_inspector_wanted)
        self.intake.progressed.connect(self.status.show_progress)
        self.intake.running_changed.connect(self.status.show_scans)
        self.intake.ended.connect(self._on_intake_ended)
        self.status.activity_wanted.connect(self._on_jobs_wanted)
        self.status.stop_wanted.connect(self._on_stop_wanted)
        self.status.answer_wanted.connect(self._on_answer_wanted)
        self._top.workspace_wanted.connect(self.open_workspace)
        self._jobs_dock.visibilityChanged.connect(self._jobs_shown.setChecked)
        hints = QApplication.styleHints()
        hints.colorSchemeChanged.connect(self._on_system_colours_changed)

    # Where things were

    def _restore(self) -> None:
        self.resize(1280, 800)
        if geometry := self._memory.value("geometry"):
            self.restoreGeometry(geometry)
        if state := self._memory.value("panels"):
            self.restoreState(state)
        for splitter in self.findChildren(QSplitter):
            if kept := self._memory.value(f"splitters/{splitter.objectName()}"):
                splitter.restoreState(kept)
        self._jobs_shown.setChecked(not self._jobs_dock.isHidden())
        self._inspector_shown.setChecked(self._memory.value("inspector", "true") == "true")
        view = str(self._memory.value("view", "workspace"))
        self.show_view(view if view in VIEWS else "workspace")

    def _remember(self) -> None:
        self._memory.setValue("geometry", self.saveGeometry())
        self._memory.setValue("panels", self.saveState())
        self._memory.setValue("inspector", str(self._inspector_shown.isChecked()).lower())
        self._memory.setValue("view", self._view_in_front())
        for splitter in self.findChildren(QSplitter):
            if splitter.objectName():
                self._memory.setValue(f"splitters/{splitter.objectName()}", splitter.saveState())
        self._memory.sync()

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        if self._jobs_at_work and not self._is_leaving:
            event.ignore()
            verb = "Restart" if self._is_restarting else "Quit"
            problems.confirm(
                self,
                f"{verb} while jobs are at work?",
                f"{formats.count(self._jobs_at_work, 'job')} stop and begin anew the next time; nothing "
                "half-done is kept.",
                verb,
                self.leave,
            ).rejected.connect(self._stay)
            return
        self.guide.close()
        self._remember()
        self.intake.cancel()
        event.accept()

    @Slot()
    def restart(self) -> None:
        """Close the window, to be opened anew with the settings as they are then."""
        self._is_restarting = True
        self.close()

    def leave(self) -> None:
        """Close without asking, whatever is at work."""
        self._is_leaving = True
        self.close()

    @Slot()
    def _stay(self) -> None:
        self._is_restarting = False

    # Drag and drop

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if local_paths(event.mimeData()):
            event.acceptProposedAction()
            name = self._workspace.name if self._workspace is not None else "the workspace"
            self._overlay.invite(
                f"Add to {name}: scan, tag and parse. Nothing is changed or copied."
            )

    @override
    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._overlay.hide()

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        self._overlay.hide()
        if paths := local_paths(event.mimeData()):
            event.acceptProposedAction()
            self.take_in(paths)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._overlay.setGeometry(self.rect())

    # What the views announce

    def _open_first(self, name: str) -> None:
        service, last = self._services.workspaces, self._memory.value("workspace")

        def work() -> Workspace:
            if name:
                return service.by_name(name)
            return (
                next((one for one in service.list() if one.id == last), None) or service.default()
            )

        self._tasks.run(self, work, self.open_workspace, key="first")

    @Slot(object)
    def _on_workspaces_read(self, workspaces: list[Workspace]) -> None:
        self._workspaces = [one for one in workspaces if one.archived_at is None]
        self._top.offer(self._workspaces)

    @Slot(str, str)
    def _on_table_wanted(self, name: str, target: str) -> None:
        self.show_view("results")
        self.results.open_table(name, target)

    @Slot(str)
    def _on_file_wanted(self, file_id: str) -> None:
        self.show_view("sources")
        self.sources.show_file(file_id)

    @Slot(str)
    def _on_job_wanted(self, job_id: str) -> None:
        self._jobs_dock.show()
        self.jobs.choose(job_id)

    @Slot()
    def _on_jobs_wanted(self) -> None:
        self._jobs_dock.show()
        self.jobs.setFocus()

    @Slot()
    def _on_skips_wanted(self) -> None:
        self.show_view("sources")
        self.sources.show_skips()

    @Slot()
    def _on_routes_wanted(self) -> None:
        self.show_view("rules")
        self.rules.show_routes()

    @Slot()
    def _on_inspector_wanted(self) -> None:
        self._inspector_shown.setChecked(True)
        self._render_inspector()

    @Slot()
    def _on_folder_wanted(self) -> None:
        self._browse(folder=True)

    @Slot()
    def _on_files_wanted(self) -> None:
        self._browse(folder=False)

    def _on_sample_wanted(self) -> None:
        self.take_in([os.fsencode(assets.folder("sample"))])

    def _browse(self, *, folder: bool) -> None:
        if self._workspace is not None:
            run = self._settings.run_after_drop
            self.intake.browse(self, self._workspace, folder=folder, run=run)

    @Slot(object, bool)
    def _on_rescan_wanted(self, source: Source, force: bool) -> None:  # noqa: FBT001  (from a signal)
        if self._workspace is not None:
            run = self._settings.run_after_drop
            self.intake.take_in(self._workspace, [source.path_bytes], run=run, force=force)

    @Slot(object)
    def _on_intake_ended(self, report: IntakeReport) -> None:
        found = formats.count(sum(scan.found for scan in report.scans), "file")
        skipped = sum(scan.skipped for scan in report.scans)
        left_out = f", {formats.number(skipped)} left out" if skipped else ""
        queued = formats.count(len(report.jobs), "job") if report.jobs else "nothing new to run"
        self.status.say(f"Scanned {found}{left_out}; {queued}")
        if not report.jobs:
            self.sources.show_plan()

    @Slot()
    def _on_stop_wanted(self) -> None:
        self.intake.cancel()
        self.status.say("The scan was stopped; what was scanned until then is kept")

    @Slot(int, int)
    def _on_busy_changed(self, running: int, waiting: int) -> None:
        self._jobs_at_work = running
        self.status.show_jobs(running, waiting)

    @Slot(str)
    def _on_answer_wanted(self, answer: str) -> None:
        if answer == "query":
            self.show_view("results")
            self.results.show_sql()
        else:
            self.show_view("workspace")
            self.workspaces.show_configuration(answer)

    # The window's own actions

    def _on_jobs_toggled(self) -> None:
        self._jobs_dock.setVisible(self._jobs_dock.isHidden())

    def _render_inspector(self) -> None:
        in_results = self._views.currentWidget() is self.results
        self._inspector_shown.setEnabled(in_results)
        self._inspector_dock.setVisible(in_results and self._inspector_shown.isChecked())

    def _on_theme(self, mode: theme.Mode) -> None:
        self._settings = replace(self._settings, theme=mode)
        theme.apply(cast("QApplication", QApplication.instance()), mode)
        keep = partial(_keep_theme, self._settings.home, mode)
        self._tasks.run(self, keep, key="settings")

    @Slot()
    def _on_system_colours_changed(self) -> None:
        if self._settings.theme == "system":
            theme.apply(cast("QApplication", QApplication.instance()), "system")

    def _view_in_front(self) -> str:
        front = self._views.currentWidget()
        return next(name for name, view in self._view.items() if view is front)

    @Slot()
    def _on_about(self) -> None:
        AboutDialog(self._settings, self._tasks, self).open()

    @Slot()
    def _on_help(self) -> None:
        Help(self.actions_registry, self).open()

    def _on_palette(self) -> None:
        palette = Palette([*entries_of(self.actions_registry), *self._workspace_entries()], self)
        palette.open()
        workspace, results = self._workspace, self._services.results
        if workspace is not None:
            read = partial(results.tables, workspace.id)
            show = partial(self._on_tables_for_palette, palette)
            self._tasks.run(palette, read, show, key="tables")

    def _on_tables_for_palette(self, palette: Palette, tables: list[TableSummary]) -> None:
        palette.offer(
            [
                Entry(
                    f"Table · {kind_of(one.sink)}" if one.sink else "Table",
                    one.name,
                    partial(self._on_table_wanted, one.name, one.sink),
                    icon="results",
                )
                for one in tables
            ]
        )

    def _workspace_entries(self) -> list[Entry]:
        return [
            Entry("Workspace", one.name, partial(self.open_workspace, one), icon="workspace")
            for one in self._workspaces
            if one != self._workspace
        ]


def _keep_theme(home: Path, mode: theme.Mode) -> None:
    """Write the colours into the settings as they are now: a profile may have been changed meanwhile."""
    settings_file.save(replace(settings_file.load(home), theme=mode))


def _dock(
    title: str, name: str, body: QWidget, shown: QAction, buttons: QWidget | None = None
) -> QDockWidget:
    """A panel with a quiet title line; it is moved by its edge, and closed by its action."""
    dock = QDockWidget(title)
    dock.setObjectName(name)
    dock.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
    close = parts.icon_button("close", f"Hide {title.lower()}", f"{name}_close")
    close.clicked.connect(shown.trigger)
    head = parts.row(parts.heading(title), buttons, None, close, gap=theme.GRID)
    head.setContentsMargins(8, 2, 4, 2)
    dock.setTitleBarWidget(head)
    dock.setWidget(body)
    return dock
