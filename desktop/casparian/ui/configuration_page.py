"""The configuration matrix as it stands: where state and outputs live, what is queried, and how they do."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl, Signal, Slot
from PySide6.QtGui import QDesktopServices, QShowEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QScrollArea, QWidget
from typing_extensions import override

from casparian.services import configuration
from casparian.settings import MATRIX, load
from casparian.ui import formats, parts, problems, theme
from casparian.ui.actions import Action
from casparian.ui.probing import PasswordDialog, Tester
from casparian.ui.profile_dialog import ProfileDialog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casparian.domain.addresses import Address
    from casparian.services.configuration import Probe, Role
    from casparian.settings import Settings
    from casparian.ui.actions import Actions
    from casparian.ui.tasks import Tasks

_FACTS = ("Kind", "Version", "Size", "Free space", "Looked at")
UNTRIED = (
    "The SQL for SQL Server is checked against Microsoft's parser and model, not against a running "
    "server. For acceptance run: casparian doctor --sink {address}"
)


class ConfigurationPage(QWidget):
    """The row of the matrix that is in use, a card for each role; shown, it looks at all of them.

    Signals:
        restart_wanted: a change is to hold now.
    """

    restart_wanted = Signal()

    def __init__(self, settings: Settings, tasks: Tasks, actions: Actions) -> None:
        super().__init__()
        self.setObjectName("configuration_page")
        self._settings, self._tasks = settings, tasks
        self.roles = {
            role.name: RoleCard(role, _address(settings, role), tasks, settings)
            for role in configuration.roles(settings)
        }
        for card in self.roles.values():
            card.password_wanted.connect(self._on_password_wanted)
        self._register(actions)
        self._build()

    def focus(self, role: str) -> None:
        """Bring one of the roles into sight."""
        card = self.roles[role]
        self._scroll.ensureWidgetVisible(card)
        card.tester.button.setFocus()

    def look(self) -> None:
        """Look at every role anew."""
        for card in self.roles.values():
            card.tester.look()

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.look()

    def _register(self, actions: Actions) -> None:
        group = "Workspace"
        self._test = actions.add(
            Action(
                "configuration.test", "Test the configuration", self.look, group, icon="run",
                hint="Look whether state, outputs and the query catalog can be used now",
            )
        )  # fmt: skip
        self._change = actions.add(
            Action(
                "configuration.change", "Change profile…", self._on_change, group, icon="settings",
                hint="Choose another row of the configuration matrix; nothing is moved or deleted",
            )
        )  # fmt: skip
        for role, card in self.roles.items():
            if card.has_password:
                word = configuration.ROLES[role][0].lower()
                ask = partial(self._ask_password, card)
                text = f"Password of the {word} server…"
                actions.add(Action(f"configuration.password_{role}", text, ask, group, icon="edit"))

    def _build(self) -> None:
        settings = self._settings
        title = parts.heading(f"Profile {settings.profile}", name="configuration_profile")
        head = parts.row(
            title, parts.Elided(MATRIX[settings.profile].doc, look="faint"),
            parts.action_button(self._test), parts.push_button(self._change), gap=theme.GRID,
        )  # fmt: skip
        layout = head.layout()
        if isinstance(layout, QHBoxLayout):
            layout.setStretch(1, 1)
        self._banner = problems.Banner("configuration_banner")
        self._banner.acted.connect(self.restart_wanted)
        inner = QWidget()
        column = parts.margins(inner, all_round=0, gap=2 * theme.GRID)
        column.addWidget(head)
        column.addWidget(self._banner)
        cards = QWidget()
        line = QHBoxLayout(cards)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(theme.GRID)
        for card in self.roles.values():
            line.addWidget(card, 1)
        column.addWidget(cards)
        column.addWidget(self._settings_line())
        column.addStretch(1)
        self._scroll = QScrollArea()
        self._scroll.setObjectName("configuration_scroll")
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(inner)
        outer = parts.margins(self, all_round=0, gap=0)
        outer.addWidget(self._scroll)

    def _settings_line(self) -> QWidget:
        path = self._settings.config_path
        place = parts.Elided(str(path), name="path_settings", look="faint")
        line = parts.row(
            parts.Picture("settings", "faint"), parts.heading("Settings"), place,
            *_links("settings", "Settings", path), gap=theme.GRID,
        )  # fmt: skip
        layout = line.layout()
        if isinstance(layout, QHBoxLayout):
            layout.setStretch(2, 1)
        return line

    def _on_change(self) -> None:
        read = partial(load, self._settings.home)
        self._tasks.run(self, read, self._open_change, key="change")

    def _open_change(self, settings: Settings) -> None:
        dialog = ProfileDialog(settings, self._tasks, self.window())
        dialog.applied.connect(self._on_applied)
        dialog.restart_wanted.connect(self.restart_wanted)
        dialog.open()

    @Slot(object)
    def _on_applied(self, new: Settings) -> None:
        was = self._settings
        if (new.profile, new.state, new.sink) == (was.profile, was.state, was.sink):
            self._banner.clear()
            return
        kinds = ", ".join(
            f"{configuration.ROLES[one.name][0].lower()} in {one.place}"
            for one in configuration.roles(new)[:2]
        )
        self._banner.say(
            f"From the next start the profile is {new.profile}: {kinds}.", "partial", "Restart now"
        )

    @Slot(object)
    def _on_password_wanted(self, card: RoleCard) -> None:
        self._ask_password(card)

    def _ask_password(self, card: RoleCard) -> None:
        if card.address is not None:
            PasswordDialog(self._tasks, card.address, self.look, self.window()).open()


class RoleCard(parts.Card):
    """One role: its place, whether it can be used now, and what is known of it.

    Signals:
        password_wanted: this card, whose server's password is to be kept.
    """

    password_wanted = Signal(object)

    def __init__(
        self, role: Role, address: Address | None, tasks: Tasks, settings: Settings
    ) -> None:
        word, meaning = configuration.ROLES[role.name]
        self.tester = Tester(
            tasks,
            f"test_{role.name}",
            word,
            lambda: partial(configuration.probe, settings, role.name),
        )
        super().__init__(word, f"role_{role.name}", self.tester.button, icon=role.name)
        self.address = address
        self.tester.looked.connect(self._on_looked)
        self._values: dict[str, QLabel] = {}
        self._labels: dict[str, QLabel] = {}
        inner = QWidget()
        column = parts.margins(inner, gap=theme.GRID)
        place = parts.Elided(role.place, name=f"path_{role.name}")
        place.setFont(theme.font(theme.SMALL, mono=True))
        column.addWidget(parts.faint(meaning))
        column.addWidget(place)
        column.addWidget(parts.row(*self._tools(role, word), None))
        column.addWidget(self.tester)
        column.addLayout(self._facts(role))
        if role.kind == "sqlserver":
            text = UNTRIED.format(address=role.place)
            column.addWidget(problems.plain_label(text, look="faint", name=f"untried_{role.name}"))
        column.addStretch(1)
        self.body.addWidget(inner, 1)

    @property
    def has_password(self) -> bool:
        """Whether the role is on a server whose password is asked for here."""
        return self.address is not None

    def _tools(self, role: Role, word: str) -> list[QWidget]:
        if role.path is not None:
            return list(_links(role.name, word, role.path))
        copy = parts.link_button("Copy address", f"copy_{role.name}")
        copy.setAccessibleName(f"Copy the address of {word}")
        copy.clicked.connect(partial(problems.copy_text, role.place))
        if self.address is None:
            return [copy]
        ask = parts.link_button("Password…", f"password_{role.name}")
        ask.setAccessibleName(f"Password of {word}")
        ask.clicked.connect(self._on_password)
        return [copy, ask]

    def _facts(self, role: Role) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(2 * theme.GRID)
        grid.setVerticalSpacing(theme.GRID // 2)
        grid.setColumnStretch(1, 1)
        for at, fact in enumerate(_FACTS):
            self._labels[fact] = parts.faint(fact)
            self._values[fact] = problems.plain_label(name=f"{_name(fact)}_{role.name}")
            grid.addWidget(self._labels[fact], at, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(self._values[fact], at, 1)
            self._tell(fact, role.kind if fact == "Kind" else "")
        return grid

    def _tell(self, fact: str, text: str, tip: str = "") -> None:
        """Say a fact; one that is not known has no line."""
        self._values[fact].setText(text)
        self._values[fact].setToolTip(tip)
        for part in (self._labels[fact], self._values[fact]):
            part.setVisible(bool(text))

    @Slot()
    def _on_password(self) -> None:
        self.password_wanted.emit(self)

    @Slot(object)
    def _on_looked(self, found: Probe) -> None:
        self._tell("Version", found.version)
        for fact, count in (("Size", found.size_bytes), ("Free space", found.free_bytes)):
            if count is None:
                self._tell(fact, "")
            else:
                self._tell(fact, formats.size(count), formats.exact_size(count))
        self._tell("Looked at", formats.moment(datetime.now(UTC)))


def _address(settings: Settings, role: Role) -> Address | None:
    """The server whose password a role needs; what is queried is where the outputs are."""
    if role.name == "query":
        return None
    address = settings.state if role.name == "state" else settings.sink
    return address if address.is_server else None


def _name(fact: str) -> str:
    return fact.lower().replace(" ", "_")


def _links(name: str, word: str, path: Path) -> tuple[QWidget, QWidget]:
    copy = parts.link_button("Copy path", f"copy_{name}")
    copy.setAccessibleName(f"Copy the path of {word}")
    copy.clicked.connect(partial(problems.copy_text, str(path)))
    show = parts.link_button("Show", f"show_{name}")
    show.setAccessibleName(f"Show the folder of {word}")
    show.clicked.connect(_opener(path if path.is_dir() else path.parent))
    return copy, show


def _opener(folder: Path) -> Callable[[], object]:
    return partial(QDesktopServices.openUrl, QUrl.fromLocalFile(str(folder)))
