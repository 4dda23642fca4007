"""Looking at places: what a test found, a field for an address with its password apart, and the password."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import (
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from casparian import credentials
from casparian.domain.addresses import SERVERS, parse
from casparian.domain.errors import UserProblem
from casparian.services.configuration import Probe
from casparian.ui import parts, theme
from casparian.ui.problems import plain_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.domain.addresses import Address, Scheme
    from casparian.domain.errors import CasparianError
    from casparian.ui.tasks import Tasks

DEADLINE_S = 5.5
"""A place is given five seconds by the probe itself; what has not answered then is told so."""
EXAMPLES = {
    "parquet": "parquet:///FOLDER",
    "duckdb": "duckdb:///FILE",
    "postgres": "postgres://USER@HOST/DATABASE",
    "sqlserver": "sqlserver://USER@HOST/DATABASE",
}
_SERVER_STARTS = ("postgres://", "postgresql://", "sqlserver://", "mssql://")
_LOOKS: dict[str, tuple[str, str, theme.Token]] = {
    "unknown": ("Not looked at", "waiting", "faint"),
    "busy": ("Looking…", "busy", "busy"),
    "good": ("Reachable", "good", "good"),
    "bad": ("Cannot be used", "bad", "bad"),
}


class Tester(QWidget):
    """A place's state as icon, word and sentence, and the button that looks anew.

    While it looks the button cancels; looking again overtakes what is on its way. Nobody waits longer
    than `DEADLINE_S`: what answers later is not heard.

    Signals:
        started: a look has begun.
        looked: the Probe, whenever a look has come to its end.
    """

    started = Signal()
    looked = Signal(object)

    def __init__(
        self, tasks: Tasks, name: str, place: str, ask: Callable[[], Callable[[], Probe]]
    ) -> None:
        """`ask` is called in the GUI thread and returns the work; a `UserProblem` says why it cannot."""
        super().__init__()
        self.setObjectName(name)
        self._tasks, self._place, self._ask = tasks, place, ask
        self._is_busy = self.has_something_to_say = False
        self.button = QPushButton("Test")
        self.button.setObjectName(f"{name}_button")
        # Enter in a field is for the dialog's own act.
        self.button.setAutoDefault(False)
        self.button.clicked.connect(self._on_clicked)
        self._picture = parts.Picture("waiting", "faint")
        self._word = parts.heading(name=f"{name}_word")
        self._sentence = plain_label(name=f"{name}_sentence")
        self._sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._deadline = QTimer(self)
        self._deadline.setSingleShot(True)
        self._deadline.setInterval(int(DEADLINE_S * 1_000))
        self._deadline.timeout.connect(self._on_too_late)
        column = parts.margins(self, all_round=0, gap=theme.GRID // 2)
        column.addWidget(parts.row(self._picture, self._word, None, gap=theme.GRID // 2))
        column.addWidget(self._sentence)
        self._show("unknown", "")

    def look(self) -> None:
        """Look at the place; the answer to an older look is not heard any more."""
        try:
            work = self._ask()
        except UserProblem as error:
            self._on_looked(Probe(ok=False, sentence=str(error)))
            return
        self._is_busy = True
        self._show("busy", "")
        self.started.emit()
        self._deadline.start()
        self._tasks.run(self, work, self._on_looked, key="probe", failed=self._on_failed, long=True)

    def forget(self) -> None:
        """What was found is no longer about what is named."""
        self._end()
        self._show("unknown", "")

    def _end(self) -> None:
        self._tasks.drop(self, "probe")
        self._is_busy = False
        self._deadline.stop()

    @Slot()
    def _on_clicked(self) -> None:
        if self._is_busy:
            self._end()
            self._show("unknown", "The test was cancelled.")
        else:
            self.look()

    @Slot()
    def _on_too_late(self) -> None:
        self._tasks.drop(self, "probe")
        hint = "Check that the server is on and that the way to it is open"
        self._on_looked(Probe(ok=False, sentence="There was no answer within 5 s", hint=hint))

    def _on_failed(self, error: CasparianError) -> None:
        self._on_looked(Probe(ok=False, sentence=error.title, hint=error.hint))

    def _on_looked(self, found: Probe) -> None:
        self._is_busy = False
        self._deadline.stop()
        said = " ".join(f"{one.rstrip('.')}." for one in (found.sentence, found.hint) if one)
        self._show("good" if found.ok else "bad", said)
        self.looked.emit(found)

    def _show(self, state: str, sentence: str) -> None:
        word, icon, token = _LOOKS[state]
        self.has_something_to_say = state != "unknown" or bool(sentence)
        self._picture.show_icon(icon, token)
        self._word.setText(word)
        parts.set_look(self._word, token)
        self._sentence.setText(sentence)
        self._sentence.setVisible(bool(sentence))
        self.button.setText("Cancel" if self._is_busy else "Test")
        act = "Cancel the test of" if self._is_busy else "Test"
        self.button.setAccessibleName(f"{act} {self._place}")


class PlaceField(QWidget):
    """An address, the password of it apart, and a test of both.

    A password that is typed or pasted with the address is moved into its own field.

    Signals:
        changed: the user typed.
    """

    changed = Signal()

    def __init__(
        self,
        tasks: Tasks,
        name: str,
        title: str,
        look: Callable[[Address], Probe],
        schemes: tuple[Scheme, ...] = SERVERS,
    ) -> None:
        super().__init__()
        self.setObjectName(name)
        self._look, self._schemes = look, schemes
        self._address = QLineEdit()
        self._address.setObjectName(f"{name}_address")
        self._address.setAccessibleName(f"Address of the {title}")
        self._address.setFont(theme.font(theme.SMALL, mono=True))
        self._password = QLineEdit()
        self._password.setObjectName(f"{name}_password")
        self._password.setAccessibleName(f"Password of the {title}")
        self._password.setEchoMode(QLineEdit.EchoMode.Password)
        self._password.setPlaceholderText("Password")
        self._password.setToolTip("Empty if the server asks for none, or if it is kept already")
        self._password.setFixedWidth(160)
        self.tester = Tester(tasks, f"{name}_test", f"the {title}", self._ask)
        self._address.textChanged.connect(self._on_typed)
        self._address.editingFinished.connect(self._on_address_finished)
        self._password.textChanged.connect(self._on_typed)
        self.tester.looked.connect(self._render)
        self.tester.started.connect(self._render)
        head = parts.row(self._address, self._password, self.tester.button)
        layout = head.layout()
        if isinstance(layout, QHBoxLayout):
            layout.setStretch(0, 1)
        column = parts.margins(self, all_round=0, gap=theme.GRID // 2)
        column.addWidget(head)
        column.addWidget(self.tester)
        self.offer(schemes)

    def offer(self, schemes: tuple[Scheme, ...], *, empty: str = "") -> None:
        """Take these kinds of addresses; `empty` says what no address at all means."""
        self._schemes = schemes
        examples = "  or  ".join(EXAMPLES[one] for one in schemes)
        self._address.setPlaceholderText(f"{empty}  or  {examples}" if empty else examples)
        self._render()

    def text(self) -> str:
        """What is typed as the address."""
        return self._address.text().strip()

    def password(self) -> str:
        """What is typed as the password."""
        return self._password.text() if not self._password.isHidden() else ""

    def set_text(self, text: str) -> None:
        """Show another address."""
        self._address.setText(text)
        self._password.clear()

    def address(self) -> Address:
        """What is typed, with the password that is typed.

        Raises:
            UserProblem: the address is none of those that are taken.
        """
        address = parse(self.text(), schemes=self._schemes)
        typed = self.password()
        return address.with_password(typed) if typed else address

    def _ask(self) -> Callable[[], Probe]:
        return partial(self._look, self.address())

    @Slot()
    def _on_typed(self) -> None:
        self.tester.forget()
        self._render()
        self.changed.emit()

    @Slot()
    def _on_address_finished(self) -> None:
        try:
            address = parse(self.text(), schemes=self._schemes)
        except UserProblem:
            return
        if address.password is not None:
            self._address.setText(address.text)
            self._password.setText(address.password)

    @Slot()
    def _render(self, _found: object = None) -> None:
        text = self.text().lower()
        is_server = text.startswith(_SERVER_STARTS) or (not text and self._schemes == SERVERS)
        self._password.setVisible(is_server)
        self.tester.button.setEnabled(bool(text))
        self.tester.setVisible(self.tester.has_something_to_say)


class PasswordDialog(parts.Dialog):
    """Asks for the password of a server, keeps it in the keyring, and says where that is."""

    def __init__(
        self, tasks: Tasks, address: Address, then: Callable[[], None], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setObjectName("password_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Password")
        self._tasks, self._address, self._then = tasks, address, then
        label = QLabel("&Password")
        self._field = QLineEdit()
        self._field.setObjectName("password_field")
        self._field.setAccessibleName("Password")
        self._field.setEchoMode(QLineEdit.EchoMode.Password)
        self._field.textChanged.connect(self._on_typed)
        label.setBuddy(self._field)
        self._problem = plain_label(look="bad", name="password_problem")
        self._problem.hide()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self._keep = buttons.addButton("Keep", QDialogButtonBox.ButtonRole.AcceptRole)
        self._keep.setObjectName("password_keep")
        self._keep.setProperty("look", "primary")
        buttons.accepted.connect(self._on_accepted)
        buttons.rejected.connect(self.reject)
        column = parts.margins(self, all_round=2 * theme.GRID)
        place = parts.Elided(address.text, name="password_address")
        place.setFont(theme.font(theme.SMALL, mono=True))
        place.setMinimumWidth(440)
        column.addWidget(place)
        column.addWidget(label)
        column.addWidget(self._field)
        column.addWidget(plain_label(kept_where(address), look="faint", name="password_where"))
        for part in (self._problem, buttons):
            column.addWidget(part)
        self._on_typed()

    @Slot()
    def _on_typed(self) -> None:
        self._keep.setEnabled(bool(self._field.text()))
        self._problem.hide()

    @Slot()
    def _on_accepted(self) -> None:
        self._keep.setEnabled(False)
        keep = partial(credentials.keep, self._address.with_password(self._field.text()))
        self._tasks.run(self, keep, self._on_kept, key="keep", failed=self._on_failed)

    def _on_kept(self, _nothing: object) -> None:
        self.accept()
        self._then()

    def _on_failed(self, error: CasparianError) -> None:
        self._keep.setEnabled(True)
        self._problem.setText(str(error))
        self._problem.show()


def kept_where(address: Address) -> str:
    """Where the password of a server is kept, and what comes before it."""
    names = list(credentials.variables(address))
    used = next((one for one in names if one in os.environ), "")
    said = (
        f"It is kept in this system's keyring under the name {credentials.SERVICE}, never in the "
        "settings. Test uses it at once, the program from its next start."
    )
    if used:
        return f"{said} Now {used} is set in the environment, and is used instead."
    return f"{said} Where there is no keyring, the environment variable {names[0]} does the same."
