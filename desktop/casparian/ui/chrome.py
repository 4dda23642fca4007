"""The window's frame: the rail of views, the bar above them, the status bar, and the drop overlay."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QActionGroup, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QMenu,
    QProgressBar,
    QPushButton,
    QStatusBar,
    QToolBar,
    QToolButton,
    QWidget,
)
from typing_extensions import override

from casparian.domain.evidence import shown_text
from casparian.services.configuration import ROLES, roles
from casparian.ui import formats, icons, parts, theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QAction

    from casparian.domain.evidence import Workspace
    from casparian.domain.jobs import Progress
    from casparian.services.configuration import Role
    from casparian.settings import Settings
    from casparian.ui.actions import Actions

PLACE_CHARS = 28
"""So much of a server's address fits into the status bar."""


class Rail(QToolBar):
    """The views, one below the other at the left edge."""

    def __init__(self, actions: Sequence[QAction]) -> None:
        super().__init__("Views")
        self.setObjectName("rail_bar")
        self.setMovable(False)
        self.setFloatable(False)
        self.toggleViewAction().setEnabled(False)
        holder = QWidget()
        holder.setObjectName("rail")
        holder.setAccessibleName("Views")
        holder.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        column = parts.margins(holder, all_round=0, gap=0)
        group = QActionGroup(self)
        for action in actions:
            group.addAction(action)
            button = QToolButton()
            button.setDefaultAction(action)
            button.setObjectName(f"rail_{action.objectName()}")
            button.setAccessibleName(action.text())
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            button.setIconSize(QSize(20, 20))
            button.setFont(theme.font(theme.SMALL))
            button.setFixedSize(80, 56)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            column.addWidget(button)
        column.addStretch(1)
        if (layout := self.layout()) is not None:
            layout.setContentsMargins(0, 0, 0, 0)
        self.addWidget(holder)


class TopBar(QToolBar):
    """Which workspace is open, the way to everything else, and the way evidence comes in.

    Signals:
        workspace_wanted: a Workspace from the menu.
    """

    workspace_wanted = Signal(object)

    def __init__(self, actions: Actions) -> None:
        super().__init__("Workspace")
        self.setObjectName("top_bar")
        self.setMovable(False)
        self.setFloatable(False)
        self.toggleViewAction().setEnabled(False)
        self._create = actions.get("workspace.create")
        self._menu = QMenu(self)
        self._menu.setObjectName("workspace_menu")
        self._button = QToolButton()
        self._button.setObjectName("workspace_button")
        self._button.setIcon(icons.icon("workspace"))
        self._button.setFont(theme.font(strong=True))
        self._button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._button.setMenu(self._menu)
        self._button.setToolTip("Open another workspace")
        self._button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        search = QPushButton("Search actions, tables and workspaces    Ctrl+K")
        search.setObjectName("palette_button")
        search.setAccessibleName("Search actions, tables and workspaces")
        search.setIcon(icons.icon("search", "faint"))
        search.setMinimumWidth(360)
        search.clicked.connect(actions.get("view.palette").trigger)
        add = [actions.get(f"sources.{one}") for one in ("add_folder", "add_files")]
        line = parts.row(
            self._button, None, search, None, *(parts.action_button(one) for one in add), gap=8
        )
        line.setContentsMargins(8, 4, 8, 4)
        self.addWidget(line)

    def show_workspace(self, workspace: Workspace) -> None:
        """Say which workspace is open."""
        name = shown_text(workspace.name)
        self._button.setText(f"{name.replace('&', '&&')} ")
        self._button.setAccessibleName(f"Workspace {name}")

    def offer(self, workspaces: Sequence[Workspace]) -> None:
        """Offer these workspaces in the menu."""
        self._menu.clear()
        for one in workspaces:
            action = self._menu.addAction(icons.icon("workspace", "faint"), "")
            action.setText(shown_text(one.name).replace("&", "&&"))
            action.triggered.connect(partial(self._on_chosen, one))
        self._menu.addSeparator()
        self._menu.addAction(self._create)

    def _on_chosen(self, workspace: Workspace, _checked: object = None) -> None:
        self.workspace_wanted.emit(workspace)


class StatusBar(QStatusBar):
    """What goes on at the left; at the right the three answers, each a way to its place.

    Signals:
        activity_wanted: the user wants to see what goes on.
        stop_wanted: the user wants the scan to stop.
        answer_wanted: `state`, `outputs` or `query`.
    """

    activity_wanted = Signal()
    stop_wanted = Signal()
    answer_wanted = Signal(str)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("status_bar")
        self.setSizeGripEnabled(False)
        self._scans = 0
        self._scan_text = ""
        self._jobs = (0, 0)
        self._last = "Ready"
        self._activity = QPushButton()
        self._activity.setObjectName("activity")
        self._activity.clicked.connect(self.activity_wanted)
        self._busy = QProgressBar()
        self._busy.setObjectName("activity_bar")
        self._busy.setAccessibleName("Activity")
        self._busy.setTextVisible(False)
        self._busy.setRange(0, 0)
        self._busy.setFixedWidth(96)
        self._stop = QPushButton("Stop scan")
        self._stop.setObjectName("activity_stop")
        self._stop.setIcon(icons.icon("cancel"))
        self._stop.setAccessibleName("Stop scan")
        self._stop.clicked.connect(self.stop_wanted)
        self.addWidget(self._activity)
        self.addWidget(self._busy)
        self.addWidget(self._stop)
        for role in roles(settings):
            word, _ = ROLES[role.name]
            answer = QPushButton(icons.icon(role.name, "faint"), f"{word}  {_short(role)}")
            answer.setObjectName(f"answer_{role.name}")
            answer.setAccessibleName(f"{word}: {role.kind}, {role.place}")
            answer.setToolTip(f"{word}: {role.place}")
            answer.clicked.connect(partial(self.answer_wanted.emit, role.name))
            self.addPermanentWidget(answer)
        self._render()

    def show_scans(self, running: int) -> None:
        """So many scans are at work."""
        self._scans = running
        if not running:
            self._scan_text = ""
        self._render()

    def show_progress(self, progress: Progress) -> None:
        """A scan has come this far."""
        self._scan_text = formats.progress(progress)
        self._render()

    def show_jobs(self, running: int, waiting: int) -> None:
        """So many jobs are at work, and so many wait."""
        self._jobs = (running, waiting)
        self._render()

    def say(self, text: str) -> None:
        """What happened last; stands there while nothing goes on."""
        self._last = text
        self._render()

    def _render(self) -> None:
        running, waiting = self._jobs
        words = []
        if self._scans:
            words.append(f"Scanning {self._scan_text}".strip())
        if running or waiting:
            words.append(
                f"{formats.count(running, 'job')} running, {formats.number(waiting)} waiting"
            )
        busy = bool(words)
        text = " · ".join(words) or self._last
        self._activity.setText(text.replace("&", "&&"))
        self._activity.setAccessibleName(text)
        self._activity.setIcon(icons.icon("busy", "busy") if busy else icons.icon("good", "good"))
        self._busy.setVisible(busy)
        self._stop.setVisible(bool(self._scans))


def _short(role: Role) -> str:
    """The kind of a role, and of a server the host and the database too."""
    if role.path is not None:
        return role.kind
    place = role.place.partition("://")[2].rpartition("@")[2].partition("?")[0].strip("/")
    shown = place if len(place) <= PLACE_CHARS else f"{place[: PLACE_CHARS - 1]}…"
    return f"{role.kind} {shown}".replace("&", "&&")


class DropOverlay(QWidget):
    """Covers the window while something is dragged over it, and says what letting go would do."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("drop_overlay")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._text = ""
        self.hide()

    def invite(self, text: str) -> None:
        """Cover the window and say something."""
        self._text = text
        if (window := self.parentWidget()) is not None:
            self.setGeometry(window.rect())
        self.raise_()
        self.show()

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        veil = theme.color("paper")
        veil.setAlpha(230)
        painter.fillRect(self.rect(), veil)
        frame = self.rect().adjusted(16, 16, -16, -16)
        painter.setPen(QPen(theme.color("accent"), 2, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(frame, 8, 8)
        middle = frame.center()
        icons.icon("sources", "accent").paint(
            painter, QRect(middle.x() - 24, middle.y() - 64, 48, 48)
        )
        painter.setPen(theme.color("ink"))
        painter.setFont(theme.font(theme.LARGE, strong=True))
        below = QRect(frame.left(), middle.y(), frame.width(), 64)
        flags = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        painter.drawText(below, int(flags | Qt.TextFlag.TextWordWrap), self._text)
        painter.end()
