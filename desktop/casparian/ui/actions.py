"""Every action of the window, once: the registry feeds menus, tool bars, the palette and the help.

A view registers its actions when it is made:

    save = actions.add(Action("rules.save", "Save rule", self._on_save, group="Rules", shortcut="Ctrl+S",
                              icon="save", view="rules"))

What comes back is a QAction: put it on tool bars, enable and disable it. Shortcuts of a view's actions
work while that view is shown, so two views may use the same keys; those of the window work everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QKeySequence

from casparian.ui import icons

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtWidgets import QWidget

GROUPS = ("Workspace", "Sources", "Rules", "Jobs", "Results", "View", "Help")
"""The menus, in order."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something the user can do."""

    id: str
    """`<where>.<verb>`, unique."""
    text: str
    """A verb and its object, as menu and palette show it."""
    handler: Callable[[], object]
    group: str
    """The menu it stands in: one of `GROUPS`."""
    shortcut: str = ""
    """Portable key text, e.g. `Ctrl+K`; several separated by `; `."""
    icon: str = ""
    """The name of one of our icons."""
    view: str = ""
    """The view whose keys these are; empty for the whole window."""
    hint: str = ""
    """One sentence more, for tool tip and help."""
    is_switch: bool = False
    """Whether it is on or off, and says so by a tick."""


class Actions(QObject):
    """The registry."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._all: dict[str, tuple[Action, QAction]] = {}

    def add(self, action: Action, widget: QWidget | None = None) -> QAction:
        """Register an action; `widget` is the view that its shortcut works in (default: the window)."""
        if action.id in self._all:
            raise AssertionError(f"the action {action.id} is registered twice")
        if action.group not in GROUPS:
            raise AssertionError(f"{action.group} is not a group of actions")
        made = QAction(action.text, self)
        made.setObjectName(action.id)
        keys = [QKeySequence(one) for one in action.shortcut.split("; ") if one]
        made.setShortcuts(keys)
        shown = " · ".join(one.toString(QKeySequence.SequenceFormat.NativeText) for one in keys)
        made.setToolTip(f"{action.hint or action.text}{f'  ({shown})' if shown else ''}")
        # A ticked action shows its tick in the menu, where an icon would stand in its place.
        made.setIconVisibleInMenu(not action.is_switch)
        made.setCheckable(action.is_switch)
        if action.icon:
            made.setIcon(icons.icon(action.icon))
            made.setProperty("icon_name", action.icon)
        made.triggered.connect(lambda: action.handler())
        if widget is not None:
            made.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            widget.addAction(made)
        self._all[action.id] = (action, made)
        return made

    def get(self, action_id: str) -> QAction:
        """The QAction of an id."""
        return self._all[action_id][1]

    def all(self) -> list[tuple[Action, QAction]]:
        """Every action, in the order of the groups, then of registration."""
        return sorted(self._all.values(), key=lambda pair: GROUPS.index(pair[0].group))

    def clashes(self) -> list[tuple[str, str, str]]:
        """Pairs of actions whose shortcut is the same in the same place: (id, id, keys)."""
        found: list[tuple[str, str, str]] = []
        seen: list[tuple[Action, str]] = []
        for action, made in self._all.values():
            for keys in made.shortcuts():
                text = keys.toString(QKeySequence.SequenceFormat.PortableText)
                found += [
                    (other.id, action.id, text)
                    for other, taken in seen
                    if taken == text
                    and (not other.view or not action.view or other.view == action.view)
                ]
                seen.append((action, text))
        return found
