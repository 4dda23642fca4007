"""Find anything by typing a part of its name: actions, tables, workspaces. And the list of all keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt, Slot
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import QDialog, QLineEdit, QWidget
from typing_extensions import override

from casparian.ui import parts, theme
from casparian.ui.record_table import Column, RecordModel, RecordTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PySide6.QtGui import QAction

    from casparian.ui.actions import Action, Actions


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that the palette can do."""

    what: str
    """The sort of thing: an action's menu, `Table`, `Table · PostgreSQL`, `Workspace`."""
    text: str
    act: Callable[[], object]
    keys: str = ""
    icon: str = ""


ENTRY_COLUMNS: tuple[Column[Entry], ...] = (
    Column("Name", lambda one: one.text, 344, state=lambda one: (one.icon or "run", "ink")),
    Column("Where", lambda one: one.what, 128, faint=True),
    Column("Keys", lambda one: one.keys, 112, faint=True),
)


def entries_of(actions: Actions) -> list[Entry]:
    """The actions that can be done now."""
    return [
        Entry(action.group, action.text, made.trigger, keys_of(made), action.icon)
        for action, made in actions.all()
        if made.isEnabled()
    ]


def keys_of(action: QAction) -> str:
    """An action's keys as this system writes them."""
    form = QKeySequence.SequenceFormat.NativeText
    return ", ".join(keys.toString(form) for keys in action.shortcuts())


def matching(entries: Sequence[Entry], typed: str) -> list[Entry]:
    """The entries that hold every word typed; those that begin with the first word come first."""
    words = typed.casefold().split()
    found = [
        one for one in entries if all(word in f"{one.what} {one.text}".casefold() for word in words)
    ]
    if words:
        found.sort(key=lambda one: not one.text.casefold().startswith(words[0]))
    return found


class Palette(QDialog):
    """A field and what matches it; Enter does the first, the arrows choose another."""

    def __init__(self, entries: Sequence[Entry], parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("palette")
        self.setWindowTitle("Find")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._entries = list(entries)
        self._chosen: Entry | None = None
        self._field = parts.search_field("Search actions, tables and workspaces", "palette_field")
        self._field.textChanged.connect(self._on_typed)
        self._field.installEventFilter(self)
        self._model: RecordModel[Entry] = RecordModel(ENTRY_COLUMNS, lambda one: one, self)
        self._table = RecordTable(self._model, "palette_list", "Matches")
        self._table.horizontalHeader().hide()
        self._table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._table.clicked.connect(self._on_entered)
        column = parts.margins(self)
        column.addWidget(self._field)
        column.addWidget(self._table)
        self.resize(640, 416)
        self._on_typed("")

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
                self._on_entered()
                return True
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
            if step is not None:
                row = self._table.currentIndex().row() + step
                if 0 <= row < self._model.rowCount():
                    self._table.setCurrentIndex(self._model.index(row, 0))
                return True
        return super().eventFilter(watched, event)

    def offer(self, more: Sequence[Entry]) -> None:
        """More that can be found: what had to be read first."""
        self._entries += more
        self._on_typed(self._field.text())

    @Slot(str)
    def _on_typed(self, text: str) -> None:
        self._model.replace(matching(self._entries, text))
        if self._model.rowCount():
            self._table.setCurrentIndex(self._model.index(0, 0))

    @Slot()
    def _on_entered(self, _index: object = None) -> None:
        entry = self._table.current()
        self.accept()
        if entry is not None:
            entry.act()


HELP_COLUMNS: tuple[Column[tuple[Action, str]], ...] = (
    Column("Menu", lambda row: row[0].group, 96, faint=True),
    Column("Action", lambda row: row[0].text, 264),
    Column("Keys", lambda row: row[1], 144),
    Column("What it does", lambda row: row[0].hint, 360, faint=True),
)


class Help(QDialog):
    """Every action with its keys."""

    def __init__(self, actions: Actions, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("help")
        self.setWindowTitle("Actions and keys")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._rows = [(action, keys_of(made)) for action, made in actions.all()]
        self._field: QLineEdit = parts.search_field("Filter actions", "help_filter")
        self._field.textChanged.connect(self._on_typed)
        self._model: RecordModel[tuple[Action, str]] = RecordModel(
            HELP_COLUMNS, lambda row: row[0].id, self
        )
        table = RecordTable(self._model, "help_table", "Actions and keys")
        column = parts.margins(self, all_round=2 * theme.GRID)
        column.addWidget(self._field)
        column.addWidget(table, 1)
        self.resize(920, 560)
        self._on_typed("")

    @Slot(str)
    def _on_typed(self, text: str) -> None:
        words = text.casefold().split()
        self._model.replace(
            [
                row
                for row in self._rows
                if all(
                    word in f"{row[0].group} {row[0].text} {row[1]} {row[0].hint}".casefold()
                    for word in words
                )
            ]
        )
