"""Changing the profile: what it would be, what stays where it is, and then, from the next start, so it is."""

from __future__ import annotations

import os
import shlex
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QWidget

from casparian.domain.errors import UserProblem
from casparian.services import configuration
from casparian.settings import DEFAULT_HOME, load
from casparian.ui import parts, problems, theme
from casparian.ui.probing import PasswordDialog
from casparian.ui.problems import Banner
from casparian.ui.profile_form import ProfileForm

if TYPE_CHECKING:
    from casparian.domain.addresses import Address
    from casparian.domain.errors import CasparianError
    from casparian.settings import Settings
    from casparian.ui.tasks import Tasks


class ProfileDialog(parts.Dialog):
    """Asks which profile, tells the consequences while one chooses, and writes the settings.

    Signals:
        applied: the Settings that were written.
        restart_wanted: the user wants them to hold now.
    """

    applied = Signal(object)
    restart_wanted = Signal()

    def __init__(self, settings: Settings, tasks: Tasks, parent: QWidget | None = None) -> None:
        """`settings` are those of the file now, which may be newer than those the program runs with."""
        super().__init__(parent)
        self.setObjectName("profile_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Change profile")
        self._settings, self._tasks = settings, tasks
        self._is_done = False
        self._form = ProfileForm(settings, tasks)
        self._form.changed.connect(self._render)
        self._said = problems.plain_label(name="profile_consequences")
        self._copy_label = parts.faint(
            "To take the control plane along, quit the program and run this before the change:"
        )
        self._command = QLineEdit()
        self._command.setObjectName("profile_copy_command")
        self._command.setAccessibleName("Command that copies the control plane")
        self._command.setReadOnly(True)
        self._command.setFont(theme.font(theme.SMALL, mono=True))
        self._copy = QPushButton("Copy command")
        self._copy.setObjectName("profile_copy")
        self._copy.setAccessibleName("Copy the command")
        self._copy.clicked.connect(self._on_copy)
        self._banner = Banner("profile_banner")
        self._cancel = QPushButton("Cancel")
        self._cancel.setObjectName("profile_cancel")
        self._cancel.setAccessibleName("Cancel")
        self._cancel.clicked.connect(self.reject)
        self._ok = QPushButton("Change")
        self._ok.setObjectName("profile_ok")
        self._ok.setAccessibleName("Change the profile")
        self._ok.setProperty("look", "primary")
        self._ok.clicked.connect(self._on_ok)
        self._lay_out()
        self._ok.setDefault(True)
        self._form.setFocus()
        self._render()

    def _lay_out(self) -> None:
        column = parts.margins(self, all_round=2 * theme.GRID, gap=2 * theme.GRID)
        column.addWidget(self._form)
        card = parts.Card("What happens", "profile_what")
        inner = QWidget()
        lines = parts.margins(inner)
        lines.addWidget(self._said)
        command = parts.row(self._command, self._copy)
        layout = command.layout()
        if isinstance(layout, QHBoxLayout):
            layout.setStretch(0, 1)
        self._command_row = command
        lines.addWidget(self._copy_label)
        lines.addWidget(command)
        card.body.addWidget(inner)
        column.addWidget(card)
        column.addWidget(self._banner)
        column.addStretch(1)
        column.addWidget(parts.row(None, self._cancel, self._ok, gap=theme.GRID))
        self.resize(840, 520)

    @Slot()
    def _render(self) -> None:
        new, fault = None, ""
        try:
            new, _ = self._form.candidate()
        except UserProblem as error:
            fault = str(error)
        said = [fault] if new is None else configuration.consequences(self._settings, new)
        # The command stands below, with the address in its place.
        said = [one for one in said if "state copy" not in one]
        parts.set_look(self._said, "" if new is not None else "partial")
        self._said.setText("\n".join(f"•  {one}" if new is not None else one for one in said))
        moves = new is not None and new.state != self._settings.state
        if new is not None and moves:
            self._command.setText(_copy_command(self._settings, new))
            self._command.setCursorPosition(0)
        for part in (self._copy_label, self._command_row):
            part.setVisible(moves)
        self._banner.clear()
        self._ok.setEnabled(new is not None and (new != self._settings or self._has_password()))

    def _has_password(self) -> bool:
        _, secrets = self._form.candidate()
        return any(one.password for one in secrets)

    @Slot()
    def _on_copy(self) -> None:
        problems.copy_text(self._command.text())

    @Slot()
    def _on_ok(self) -> None:
        if self._is_done:
            self.accept()
            self.restart_wanted.emit()
            return
        new, secrets = self._form.candidate()
        self._ok.setEnabled(False)
        self._tasks.run(
            self,
            partial(_apply, new, secrets),
            self._on_applied,
            key="apply",
            failed=self._on_failed,
        )

    def _on_applied(self, new: Settings) -> None:
        self._is_done = True
        self._form.hide()
        self._banner.say(
            f"The profile is {new.profile} from the next start. Until then the program goes on as it is.",
            "good",
        )
        self._cancel.setText("Later")
        self._cancel.setAccessibleName("Restart later")
        self._ok.setText("Restart now")
        self._ok.setAccessibleName("Restart now")
        self._ok.setEnabled(True)
        self._ok.setFocus()
        self.applied.emit(new)

    def _on_failed(self, error: CasparianError) -> None:
        self._ok.setEnabled(True)
        self._banner.show_problem(error)


class NoStoreDialog(parts.Dialog):
    """Says why the state store cannot be used at the start, and what can be done: it stands alone.

    Accepted, the program tries again with the settings as they are then.
    """

    def __init__(self, error: CasparianError, settings: Settings, tasks: Tasks) -> None:
        super().__init__()
        self.setObjectName("no_store_dialog")
        self.setWindowTitle("Casparian Flow")
        self._settings, self._tasks = settings, tasks
        title = parts.heading("The state store cannot be used", name="no_store_title", large=True)
        place = parts.Elided(settings.state.text, name="no_store_place")
        place.setFont(theme.font(theme.SMALL, mono=True))
        said = problems.plain_label(str(error), name="no_store_said")
        said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._banner = Banner("no_store_banner")
        buttons: list[QPushButton] = []
        for name, text, act in (
            ("quit", "Quit", self.reject),
            ("password", "Password…", self._on_password),
            ("change", "Change profile…", self._on_change),
            ("again", "Try again", self.accept),
        ):
            button = QPushButton(text)
            button.setObjectName(f"no_store_{name}")
            button.setAccessibleName(text)
            button.clicked.connect(act)
            buttons.append(button)
        quits, password, change, again = buttons
        again.setProperty("look", "primary")
        column = parts.margins(self, all_round=3 * theme.GRID, gap=2 * theme.GRID)
        column.addWidget(parts.row(parts.Picture("bad", "bad", 24), title, None, gap=theme.GRID))
        for part in (place, said, self._banner):
            column.addWidget(part)
        column.addStretch(1)
        column.addWidget(parts.row(quits, None, password, change, again, gap=theme.GRID))
        self.setMinimumWidth(640)
        again.setDefault(True)
        again.setFocus()

    @Slot()
    def _on_password(self) -> None:
        PasswordDialog(self._tasks, self._settings.state, self._on_kept, self).open()

    def _on_kept(self) -> None:
        self._banner.say("The password is kept.", "good")

    @Slot()
    def _on_change(self) -> None:
        read = partial(load, self._settings.home)
        self._tasks.run(self, read, self._open_change, key="change")

    def _open_change(self, settings: Settings) -> None:
        dialog = ProfileDialog(settings, self._tasks, self)
        dialog.restart_wanted.connect(self.accept)
        dialog.open()


def _copy_command(old: Settings, new: Settings) -> str:
    """The command line that copies the control plane to where it is to be."""
    words = ["casparian", "state", "copy", "--to", new.state.text]
    if old.home != Path(DEFAULT_HOME).expanduser():
        words[1:1] = ["--home", str(old.home)]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _apply(new: Settings, secrets: list[Address]) -> Settings:
    configuration.apply(new, secrets)
    return new
