"""Choosing a row of the configuration matrix: the rows side by side, and the addresses that one needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QButtonGroup, QFrame, QGridLayout, QHBoxLayout, QRadioButton, QWidget
from typing_extensions import override

from casparian.domain.addresses import SERVERS
from casparian.domain.errors import UserProblem
from casparian.services import configuration
from casparian.settings import MATRIX
from casparian.ui import parts, theme
from casparian.ui.probing import PlaceField
from casparian.ui.problems import plain_label

if TYPE_CHECKING:
    from PySide6.QtGui import QMouseEvent

    from casparian.domain.addresses import Address
    from casparian.services.configuration import Probe
    from casparian.settings import Row, Settings
    from casparian.ui.tasks import Tasks

IN_HOME = "Empty: the folder output in the program's home"


class ProfileForm(QWidget):
    """Three cards, and the fields of the one that is chosen. What is typed for each stays with it.

    Signals:
        changed: another profile, address or password stands there.
    """

    changed = Signal()

    def __init__(self, settings: Settings, tasks: Tasks, *, asks_for_files: bool = True) -> None:
        """`asks_for_files` offers a place for outputs where the profile needs none to be named."""
        super().__init__()
        self.setObjectName("profile_form")
        self._settings, self._asks_for_files = settings, asks_for_files
        self._profile = settings.profile
        self._typed = {name: _known(settings, row) for name, row in MATRIX.items()}
        self._group = QButtonGroup(self)
        self._cards = {name: _Choice(name, row) for name, row in MATRIX.items()}
        self._state = PlaceField(tasks, "profile_state", "state store", self._look_at_state)
        self._sink = PlaceField(tasks, "profile_sink", "outputs", self._look_at_sink)
        self._lay_out()
        for name, card in self._cards.items():
            self._group.addButton(card.radio)
            card.radio.setChecked(name == self._profile)
        self._show_fields()
        self._group.buttonClicked.connect(self._on_chosen)
        self._state.changed.connect(self.changed)
        self._sink.changed.connect(self.changed)
        self.setFocusProxy(self._cards[self._profile].radio)

    def candidate(self) -> tuple[Settings, list[Address]]:
        """What the settings would be, and the addresses whose passwords are to be kept.

        Raises:
            UserProblem: an address is missing or none.
        """
        row = MATRIX[self._profile]
        state = _named(self._state, "Say where state is kept") if row.state == SERVERS else None
        sink = _named(self._sink, "Say where outputs go") if row.sinks == SERVERS else None
        if row.sinks != SERVERS and self._asks_for_files and self._sink.text():
            sink = self._sink.address()
        new, _ = configuration.changed(
            self._settings,
            profile=self._profile,
            state=state.text if state is not None else "sqlite",
            sink=sink.text if sink is not None else "",
        )
        if row.sinks != SERVERS and self._asks_for_files and sink is None:
            new = replace(new, default_sink="")
        return new, [one for one in (state, sink) if one is not None and one.is_server]

    def _look_at_state(self, address: Address) -> Probe:
        return configuration.probe_state(address, self._settings)

    def _look_at_sink(self, address: Address) -> Probe:
        return configuration.probe_sink(address, self._settings)

    @Slot()
    def _on_chosen(self) -> None:
        self._typed[self._profile] = (self._state.text(), self._sink.text())
        self._profile = next(n for n, card in self._cards.items() if card.radio.isChecked())
        self._show_fields()
        self.changed.emit()

    def _show_fields(self) -> None:
        row = MATRIX[self._profile]
        state, sink = self._typed[self._profile]
        self._state.offer(SERVERS)
        self._sink.offer(row.sinks, empty="" if row.sinks == SERVERS else IN_HOME)
        self._state.set_text(state)
        self._sink.set_text(sink)
        has_state = row.state == SERVERS
        has_sink = row.sinks == SERVERS or self._asks_for_files
        for part, is_shown in (
            (self._state_label, has_state), (self._state, has_state),
            (self._sink_label, has_sink), (self._sink, has_sink),
            (self._kept, has_state or row.sinks == SERVERS),
        ):  # fmt: skip
            part.setVisible(is_shown)
        for name, card in self._cards.items():
            card.mark(is_chosen=name == self._profile)

    def _lay_out(self) -> None:
        column = parts.margins(self, all_round=0, gap=2 * theme.GRID)
        cards = parts.row(*self._cards.values(), gap=theme.GRID)
        layout = cards.layout()
        if isinstance(layout, QHBoxLayout):
            for at in range(len(self._cards)):
                layout.setStretch(at, 1)
        column.addWidget(cards)
        fields = QWidget()
        grid = QGridLayout(fields)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2 * theme.GRID)
        grid.setVerticalSpacing(theme.GRID)
        grid.setColumnStretch(1, 1)
        self._state_label, self._sink_label = parts.heading("State"), parts.heading("Outputs")
        for at, (label, field) in enumerate(
            ((self._state_label, self._state), (self._sink_label, self._sink))
        ):
            label.setContentsMargins(0, 6, 0, 0)
            grid.addWidget(label, at, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(field, at, 1)
        self._kept = plain_label(
            "Passwords are kept in the system's keyring, never in the settings.", look="faint"
        )
        grid.addWidget(self._kept, 2, 1)
        column.addWidget(fields)


class _Choice(QFrame):
    """One row of the matrix as a card; a press anywhere on it chooses it."""

    def __init__(self, name: str, row: Row) -> None:
        super().__init__()
        self.setObjectName(f"profile_card_{name}")
        self.setProperty("look", "card")
        self.radio = QRadioButton(name.capitalize())
        self.radio.setObjectName(f"profile_{name}")
        self.radio.setAccessibleName(f"Profile {name}")
        self.radio.setAccessibleDescription(row.doc)
        self.radio.setFont(theme.font(strong=True))
        column = parts.margins(self, all_round=theme.GRID, gap=theme.GRID)
        column.addWidget(self.radio)
        column.addWidget(plain_label(row.doc))
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.GRID)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        query = "SQL and BI tools on the tables" if row.sinks == SERVERS else "DuckDB catalog"
        for at, (word, kinds) in enumerate(
            (
                ("State", " or ".join(row.state)),
                ("Outputs", " or ".join(row.sinks)),
                ("Query", query),
            )
        ):
            grid.addWidget(parts.faint(word), at, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(plain_label(kinds), at, 1)
        column.addStretch(1)
        column.addLayout(grid)

    def mark(self, *, is_chosen: bool) -> None:
        """Show whether it is the one."""
        parts.set_look(self, "chosen" if is_chosen else "card")

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton:
            self.radio.click()
            self.radio.setFocus()
        super().mousePressEvent(event)


def _named(field: PlaceField, wish: str) -> Address:
    if not field.text():
        raise UserProblem(wish, "An address names the server and the database")
    return field.address()


def _known(settings: Settings, row: Row) -> tuple[str, str]:
    """The addresses that the settings have already and that a row allows."""
    state = settings.state_store if settings.state.is_server and row.state == SERVERS else ""
    sink = settings.default_sink if settings.sink.scheme in row.sinks else ""
    return state, sink
