"""The first start: what the program will use, and one button to go on."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QGridLayout, QPushButton, QWidget
from typing_extensions import override

from casparian import assets
from casparian.domain.errors import UserProblem
from casparian.services import configuration
from casparian.ui import icons, parts, problems, theme
from casparian.ui.intake import local_paths
from casparian.ui.profile_form import ProfileForm

if TYPE_CHECKING:
    from PySide6.QtGui import QDragEnterEvent, QDropEvent

    from casparian.domain.errors import CasparianError
    from casparian.settings import Settings
    from casparian.ui.tasks import Tasks

VARIABLE = "CASPARIAN_NO_WELCOME"
"""Set to anything, it keeps the welcome from being shown: for starts that nobody watches."""


class WelcomeDialog(parts.Dialog):
    """Says hello, answers the three questions, and lets one choose another profile.

    Accepted, the settings are written and the program goes on with the evidence in `paths`: what was dropped
    here, or the sample case. It stands alone.
    """

    def __init__(self, settings: Settings, tasks: Tasks, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("welcome_dialog")
        self.setWindowTitle("Casparian Flow")
        self._tasks = tasks
        self._form = ProfileForm(settings, tasks, asks_for_files=False)
        self._form.changed.connect(self._render)
        self._places = {
            role: parts.Elided(name=f"welcome_{role}", look="faint") for role in configuration.ROLES
        }
        self._fault = problems.plain_label(look="partial", name="welcome_fault")
        self._banner = problems.Banner("welcome_banner")
        self._quit = QPushButton("Quit")
        self._quit.setObjectName("welcome_quit")
        self._quit.setAccessibleName("Quit")
        self._quit.clicked.connect(self.reject)
        self._sample = QPushButton("Try it with a sample case")
        self._sample.setObjectName("welcome_sample")
        self._sample.setAccessibleName("Try it with a sample case")
        self._sample.setToolTip(
            "Start, and take in eight made-up logs of a small intrusion that come with the program"
        )
        self._sample.clicked.connect(self._on_sample)
        self.paths: list[bytes] = []
        self.setAcceptDrops(True)
        self._start = QPushButton("Start")
        self._start.setObjectName("welcome_start")
        self._start.setAccessibleName("Start")
        self._start.setProperty("look", "primary")
        self._start.clicked.connect(self._on_start)
        self._lay_out()
        self._start.setDefault(True)
        self._start.setFocus()
        self._render()

    def _lay_out(self) -> None:
        column = parts.margins(self, all_round=3 * theme.GRID, gap=2 * theme.GRID)
        sign = parts.Picture("casparian", "accent", 24)
        title = parts.heading("Welcome to Casparian Flow", large=True)
        column.addWidget(parts.row(sign, title, None, gap=theme.GRID))
        column.addWidget(
            problems.plain_label(
                "Drop evidence here, or later on the window, and get typed tables, with the way each "
                "row came about. Evidence is only read. This is where everything else is kept; you can "
                "change it later under Workspace, Configuration."
            )
        )
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.GRID)
        grid.setVerticalSpacing(theme.GRID // 2)
        grid.setColumnStretch(2, 1)
        for at, (role, (word, meaning)) in enumerate(configuration.ROLES.items()):
            grid.addWidget(parts.Picture(role, "faint"), at, 0)
            label = parts.heading(word)
            label.setToolTip(meaning)
            grid.addWidget(label, at, 1)
            grid.addWidget(self._places[role], at, 2)
        column.addLayout(grid)
        column.addWidget(self._form)
        column.addWidget(self._fault)
        column.addWidget(self._banner)
        column.addStretch(1)
        column.addWidget(parts.row(self._quit, None, self._sample, self._start, gap=theme.GRID))
        self.setWindowIcon(icons.icon("casparian", "accent"))
        self.resize(840, 440)

    @Slot()
    def _render(self) -> None:
        self._banner.clear()
        try:
            new, _ = self._form.candidate()
        except UserProblem as error:
            self._fault.setText(str(error))
            self._fault.show()
            self._let_start(on=False)
            for line in self._places.values():
                line.say("not known yet")
            return
        self._fault.hide()
        self._let_start(on=True)
        for role in configuration.roles(new):
            self._places[role.name].say(f"{role.kind} · {role.place}")

    def _let_start(self, *, on: bool) -> None:
        for button in (self._sample, self._start):
            button.setEnabled(on)

    @Slot()
    def _on_sample(self) -> None:
        self.paths = [os.fsencode(assets.folder("sample"))]
        self._on_start()

    @override
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if self._start.isEnabled() and local_paths(event.mimeData()):
            event.acceptProposedAction()

    @override
    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        self.paths = local_paths(event.mimeData())
        self._on_start()

    @Slot()
    def _on_start(self) -> None:
        new, secrets = self._form.candidate()
        self._let_start(on=False)
        self._tasks.run(
            self,
            partial(configuration.apply, new, secrets),
            self._on_applied,
            key="apply",
            failed=self._on_failed,
        )

    def _on_applied(self, _nothing: object) -> None:
        self.accept()

    def _on_failed(self, error: CasparianError) -> None:
        self.paths = []
        self._let_start(on=True)
        self._banner.show_problem(error)
