"""Small parts that several views are made of, in one look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, Slot
from PySide6.QtGui import QAction, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from casparian.domain.evidence import shown_text
from casparian.domain.jobs import JobState
from casparian.ui import icons, theme

if TYPE_CHECKING:
    from collections.abc import Sequence

JOB_LOOKS: dict[JobState, tuple[str, str, theme.Token]] = {
    JobState.QUEUED: ("queued", "waiting", "faint"),
    JobState.CLAIMED: ("starting", "busy", "busy"),
    JobState.RUNNING: ("running", "busy", "busy"),
    JobState.COMMITTING: ("committing", "busy", "busy"),
    JobState.SUCCEEDED: ("done", "good", "good"),
    JobState.PARTIAL: ("partial", "partial", "partial"),
    JobState.FAILED: ("failed", "bad", "bad"),
    JobState.CANCELLED: ("cancelled", "cancel", "faint"),
}
"""The word, the icon and the colour of a job's state."""

FILE_LOOKS: dict[str, tuple[str, str, theme.Token]] = {
    "unclaimed": ("unclaimed", "info", "faint"),
    "waiting": ("waiting", "waiting", "busy"),
    "done": ("done", "good", "good"),
    "partial": ("partial", "partial", "partial"),
    "failed": ("failed", "bad", "bad"),
    "unreadable": ("unreadable", "bad", "bad"),
    "changed": ("changed while read", "partial", "partial"),
    "missing": ("no longer there", "partial", "partial"),
}
"""The same for what became of a file."""


LINK_CHARS = 52
"""A button cannot give up the middle of its text by itself."""


def margins(widget: QWidget, *, all_round: int = theme.GRID, gap: int = theme.GRID) -> QVBoxLayout:
    """Give a widget a column of children on the grid."""
    column = QVBoxLayout(widget)
    column.setContentsMargins(all_round, all_round, all_round, all_round)
    column.setSpacing(gap)
    return column


def heading(text: str = "", *, large: bool = False, name: str = "") -> QLabel:
    """A title; plain text on one line, cut in the middle of nothing: give it room."""
    label = QLabel(shown_text(text))
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setFont(theme.font(theme.LARGE if large else theme.NORMAL, strong=True))
    label.setObjectName(name)
    return label


def faint(text: str = "", *, name: str = "") -> QLabel:
    """A secondary line."""
    label = QLabel(shown_text(text))
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setProperty("look", "faint")
    label.setObjectName(name)
    return label


def set_look(widget: QWidget, look: str) -> None:
    """Give a widget another look of the style sheet."""
    if widget.property("look") != look:
        widget.setProperty("look", look)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def hairline(*, vertical: bool = False) -> QFrame:
    """A line between areas."""
    line = QFrame()
    line.setProperty("look", "rule")
    if vertical:
        line.setFixedWidth(1)
    else:
        line.setFixedHeight(1)
    return line


def action_button(action: QAction, *, text: bool = True) -> QToolButton:
    """A button that does an action; with `text=False` the words are in its tool tip and its name."""
    button = QToolButton()
    button.setDefaultAction(action)
    button.setObjectName(f"{action.objectName()}.button")
    button.setAccessibleName(action.text())
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    style = Qt.ToolButtonStyle
    button.setToolButtonStyle(style.ToolButtonTextBesideIcon if text else style.ToolButtonIconOnly)
    return button


def icon_button(icon: str, title: str, name: str) -> QToolButton:
    """A small button with a picture; its words are in the tool tip and for screen readers."""
    button = QToolButton()
    button.setIcon(icons.icon(icon))
    button.setObjectName(name)
    button.setToolTip(title)
    button.setAccessibleName(title)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


def push_button(action: QAction, *, look: str = "") -> QPushButton:
    """A full button for the main act of a view; it follows its action."""
    return _ActionPush(action, look)


class _ActionPush(QPushButton):
    def __init__(self, action: QAction, look: str) -> None:
        super().__init__(action.text())
        self._action = action
        self.setObjectName(f"{action.objectName()}.push")
        self.setAccessibleName(action.text())
        self.setToolTip(action.toolTip())
        self.setProperty("look", look)
        self.setIcon(icons.icon(action.property("icon_name"), "on_accent" if look else "ink"))
        self.clicked.connect(action.trigger)
        action.changed.connect(self._on_action_changed)
        self._on_action_changed()

    @Slot()
    def _on_action_changed(self) -> None:
        self.setEnabled(self._action.isEnabled())


def link_button(text: str, name: str, icon: str = "", token: theme.Token = "accent") -> QPushButton:  # noqa: S107  (a colour, not a secret)
    """A line of text that leads somewhere when it is pressed."""
    whole = shown_text(text)
    shown = whole if len(whole) <= LINK_CHARS else f"{whole[:28]}…{whole[-(LINK_CHARS - 29) :]}"
    button = QPushButton(shown.replace("&", "&&"))
    button.setObjectName(name)
    button.setAccessibleName(whole)
    button.setToolTip(whole if shown != whole else "")
    button.setProperty("look", "link")
    button.setCursor(Qt.CursorShape.PointingHandCursor)
    if icon:
        button.setIcon(icons.icon(icon, token))
    return button


class Card(QFrame):
    """A framed area with a title and, at its right, what can be done there."""

    def __init__(self, title: str, name: str, *tools: QWidget, icon: str = "") -> None:
        super().__init__()
        self.setObjectName(name)
        self.setProperty("look", "card")
        self.body = margins(self, all_round=0, gap=0)
        picture = [Picture(icon, "faint")] if icon else []
        head = row(*picture, heading(title, name=f"{name}_title"), None, *tools)
        head.setContentsMargins(theme.GRID, theme.GRID // 2, theme.GRID // 2, theme.GRID // 2)
        self.body.addWidget(head)
        self.body.addWidget(hairline())


def row(*parts: QWidget | None, gap: int = theme.GRID // 2) -> QWidget:
    """Widgets side by side; None is the stretch between them."""
    holder = QWidget()
    line = QHBoxLayout(holder)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(gap)
    for part in parts:
        if part is None:
            line.addStretch(1)
        else:
            line.addWidget(part)
    return holder


def search_field(placeholder: str, name: str) -> QLineEdit:
    """A field that narrows what is shown below it."""
    field = QLineEdit()
    field.setPlaceholderText(placeholder)
    field.setAccessibleName(placeholder)
    field.setObjectName(name)
    field.setClearButtonEnabled(True)
    icon = field.addAction(icons.icon("search", "faint"), QLineEdit.ActionPosition.LeadingPosition)
    icon.setText("Search")
    return field


class EmptyState(QWidget):
    """What a view without content says: what belongs here, and what to do first.

    `quiet` is an act beside the point, a line below the buttons that `offer` shows and hides.
    """

    def __init__(
        self,
        icon: str,
        title: str,
        detail: str,
        actions: Sequence[QAction] = (),
        name: str = "",
        quiet: QAction | None = None,
    ) -> None:
        super().__init__()
        self.setObjectName(name)
        column = margins(self, all_round=3 * theme.GRID)
        column.addStretch(2)
        self._picture = Picture(icon, "faint", 40)
        column.addWidget(self._picture, 0, Qt.AlignmentFlag.AlignHCenter)
        head = heading(title, name=f"{name}_title")
        head.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(head)
        text = faint(detail, name=f"{name}_detail")
        text.setWordWrap(True)
        text.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(text)
        if actions:
            first, *others = actions
            buttons = [push_button(first, look="primary"), *(push_button(one) for one in others)]
            column.addWidget(row(None, *buttons, None, gap=theme.GRID))
        self._quiet: QPushButton | None = None
        if quiet is not None:
            self._quiet = link_button(quiet.text(), f"{name}_{quiet.objectName()}")
            self._quiet.setToolTip(quiet.toolTip())
            self._quiet.clicked.connect(quiet.trigger)
            self._quiet.hide()
            column.addWidget(self._quiet, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(3)

    def offer(self, *, quiet: bool) -> None:
        """Show or hide the act beside the point."""
        if self._quiet is not None:
            self._quiet.setVisible(quiet)


class Dialog(QDialog):
    """A dialog that is as high as what it says takes, however that changes while it is open."""

    @override
    def event(self, event: QEvent) -> bool:
        handled = super().event(event)
        if event.type() in {QEvent.Type.LayoutRequest, QEvent.Type.Show}:
            self._fit()
        return handled

    def _fit(self) -> None:
        layout = self.layout()
        if layout is None:
            return
        needed = layout.totalMinimumHeightForWidth(self.width())
        if needed < 0:
            needed = layout.totalMinimumSize().height()
        room = self.screen().availableGeometry().height()
        if needed != self.height():
            self.resize(self.width(), min(needed, room))


class Picture(QWidget):
    """An icon as a picture, drawn anew in whatever theme is on."""

    def __init__(self, icon: str, token: theme.Token = "ink", size: int = 16) -> None:  # noqa: S107  (a colour, not a secret)
        super().__init__()
        self._icon, self._token = icon, token
        self.setFixedSize(size, size)

    def show_icon(self, icon: str, token: theme.Token) -> None:
        """Show another icon."""
        if (icon, token) != (self._icon, self._token):
            self._icon, self._token = icon, token
            self.update()

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        icons.icon(self._icon, self._token).paint(painter, self.rect())
        painter.end()


class Elided(QLabel):
    """A plain line that gives up its middle when there is no room; the whole is in its tool tip."""

    def __init__(self, text: str = "", *, name: str = "", look: str = "") -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setObjectName(name)
        self.setProperty("look", look)
        self.setMinimumWidth(24)
        self.say(text)

    def say(self, text: str) -> None:
        """Show another text."""
        self.setText(shown_text(text))
        self.setToolTip("")

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        whole = self.text()
        cut = self.fontMetrics().elidedText(whole, Qt.TextElideMode.ElideMiddle, self.width())
        if self.toolTip() != (whole if cut != whole else ""):
            self.setToolTip(whole if cut != whole else "")
        painter = QPainter(self)
        self.style().drawItemText(
            painter,
            self.rect(),
            int(self.alignment() | Qt.AlignmentFlag.AlignVCenter),
            self.palette(),
            self.isEnabled(),
            cut,
            self.foregroundRole(),
        )
        painter.end()
