"""How problems are shown: a sentence under a field, a banner in a view, a dialog, or the crash report.

This and the command line are the only two places that render an error. Title, detail and hint come from
the error itself (`domain.errors`); they may quote evidence, so they are plain text, escaped.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
import traceback
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal, Slot, qVersion
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)

from casparian import __version__, credentials
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, from_os_error
from casparian.domain.evidence import shown_text
from casparian.ui import icons, theme

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

logger = logging.getLogger(__name__)


def show(error: BaseException, parent: QWidget | None = None) -> QDialog | None:
    """Show an error as what it is; `Cancelled` is not one. Returns the dialog, which is open already.

    One report at a time: a bug while another one is shown is only logged.
    """
    if isinstance(error, Cancelled):
        return None
    if isinstance(error, CasparianError):
        logger.warning("%s", error)
        dialog: QDialog = ProblemDialog(error, parent)
    elif _is_crash_shown():
        logger.error("another bug", exc_info=error)
        return None
    else:
        text = report(error)
        logger.error("a bug", exc_info=error)
        dialog = CrashDialog(text, parent)
    dialog.open()
    return dialog


def confirm(
    parent: QWidget, title: str, detail: str, verb: str, then: Callable[[], None]
) -> QDialog:
    """Ask before something that cannot be undone; `then` is called if the user says yes."""
    dialog = ConfirmDialog(title, detail, verb, parent)
    dialog.accepted.connect(then)
    dialog.open()
    return dialog


def window_of(owner: QObject) -> QWidget | None:
    """The window that a view belongs to."""
    at: QObject | None = owner
    while at is not None and not isinstance(at, QWidget):
        at = at.parent()
    return at.window() if isinstance(at, QWidget) else None


def copy_text(text: str) -> None:
    """Put text on the clipboard."""
    QGuiApplication.clipboard().setText(text)


def plain_label(text: str = "", *, look: str = "", name: str = "") -> QLabel:
    """A label that shows text as it is, whatever markup it holds; long lines wrap."""
    label = QLabel(shown_text(text))
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setProperty("look", look)
    label.setObjectName(name)
    return label


_LIBRARIES = (
    "PySide6-Essentials",
    "duckdb",
    "pyarrow",
    "evtx",
    "SQLAlchemy",
    "psycopg",
    "mssql-python",
)
LOG_LINES = 50
_LOG_BYTES = 64 * 1024
"""At the end of the log; the last lines are within."""
_HIDDEN = "***"
_SHORT = 3
"""Passwords of the environment that are no longer are left: they may be a part of any word."""
_PASSWORD_IN_ADDRESS = re.compile(r"(\w://[^\s/:@]*:)[^\s@/]+(?=@)")
_NAMED_PASSWORD = re.compile(
    r"""((?:password|passwd|pwd|secret)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|\{[^}]*\}|[^\s;,&'")]+)""",
    re.IGNORECASE,
)


def versions() -> str:
    """The program and what it stands on, a line each."""
    lines = [
        f"Casparian Flow {__version__}",
        f"Python {platform.python_version()}, Qt {qVersion()}, {platform.platform()}",
    ]
    for name in _LIBRARIES:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return "\n".join(lines)


def report(error: BaseException) -> str:
    """What a developer needs to know of a bug: versions, the fault, and what the log said before it.

    It says nothing of the evidence but what the error and the log quote; the user's own folder is `~`.
    """
    trace = "".join(traceback.format_exception(error))
    return redacted("\n".join((versions(), "", trace, *_log_tail())))


def redacted(text: str) -> str:
    """Text that may be passed on: no passwords, nobody's folder, and nothing that UTF-8 cannot hold."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    for name, value in os.environ.items():
        if name.startswith(credentials.VARIABLE) and len(value) > _SHORT:
            text = text.replace(value, _HIDDEN)
    text = _PASSWORD_IN_ADDRESS.sub(rf"\1{_HIDDEN}", text)
    text = _NAMED_PASSWORD.sub(rf"\1{_HIDDEN}", text)
    for form in _forms_of_home():
        text = text.replace(form, "~")
    return text


def _forms_of_home() -> list[str]:
    """The user's folder as it may be written; none where it is the root of everything, or not known."""
    try:
        home = Path.home()
    except RuntimeError:
        return []
    if home == Path(home.anchor):
        return []
    plain = str(home)
    return list(dict.fromkeys((plain.replace("\\", "\\\\"), plain, home.as_posix())))


def _log_tail() -> list[str]:
    """The last lines of the log; none where it cannot be read."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, RotatingFileHandler):
            with suppress(OSError), Path(handler.baseFilename).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
                return ["The log:", *lines[-LOG_LINES:]]
    return []


def _is_crash_shown() -> bool:
    return any(
        isinstance(one, CrashDialog) and one.isVisible() for one in QApplication.topLevelWidgets()
    )


class ProblemDialog(QDialog):
    """Says what happened, why, and the next act."""

    def __init__(self, error: CasparianError, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("problem_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Casparian Flow")
        self._error = error
        title = plain_label(error.title, name="problem_title")
        title.setFont(theme.font(strong=True))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        copy.clicked.connect(self._on_copy)
        buttons.rejected.connect(self.reject)
        environment = isinstance(error, EnvironmentProblem)
        _lay_out(
            self, "bad" if environment else "partial", title, error.detail, error.hint, buttons
        )

    @Slot()
    def _on_copy(self) -> None:
        copy_text(str(self._error))


class ConfirmDialog(QDialog):
    """Asks, and says what will happen."""

    def __init__(self, title: str, detail: str, verb: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("confirm_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Casparian Flow")
        head = plain_label(title, name="confirm_title")
        head.setFont(theme.font(strong=True))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        yes = buttons.addButton(verb, QDialogButtonBox.ButtonRole.AcceptRole)
        yes.setObjectName("confirm_button")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        _lay_out(self, "partial", head, detail, "", buttons)
        buttons.button(QDialogButtonBox.StandardButton.Cancel).setDefault(True)


class CrashDialog(QDialog):
    """Shows our own bug with a report to copy; the program goes on as well as it can."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("crash_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Casparian Flow")
        self._text = text
        title = plain_label("Something in the program went wrong", name="crash_title")
        title.setFont(theme.font(strong=True))
        body = QPlainTextEdit(text)
        body.setReadOnly(True)
        body.setTabChangesFocus(True)
        body.setFont(theme.font(theme.SMALL, mono=True))
        body.setAccessibleName("Report")
        body.setObjectName("crash_report")
        body.setMinimumSize(640, 240)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton("Copy report", QDialogButtonBox.ButtonRole.ActionRole)
        copy.clicked.connect(self._on_copy)
        save = buttons.addButton("Save report…", QDialogButtonBox.ButtonRole.ActionRole)
        save.clicked.connect(self._on_save)
        for one in (copy, save):
            one.setAccessibleName(one.text())
            one.setAutoDefault(False)
        buttons.rejected.connect(self.reject)
        buttons.button(QDialogButtonBox.StandardButton.Close).setDefault(True)
        hint = (
            "Your evidence and what is committed are untouched. The report is in the log as well."
        )
        _lay_out(self, "bad", title, hint, "", buttons, body)

    @Slot()
    def _on_copy(self) -> None:
        copy_text(self._text)

    @Slot()
    def _on_save(self) -> None:
        dialog = QFileDialog(self, "Save the report", str(Path.home() / "casparian-report.txt"))
        dialog.setObjectName("crash_save")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.finished.connect(dialog.deleteLater)
        dialog.fileSelected.connect(self._on_chosen)
        dialog.open()

    @Slot(str)
    def _on_chosen(self, path: str) -> None:
        try:
            Path(path).write_text(self._text, "utf-8", newline="\n")
        except OSError as error:
            show(from_os_error(error, "Could not save the report"), self)


def _lay_out(
    dialog: QDialog,
    sign: theme.Token,
    title: QLabel,
    detail: str,
    hint: str,
    buttons: QDialogButtonBox,
    body: QWidget | None = None,
) -> None:
    grid = QGridLayout(dialog)
    grid.setContentsMargins(*[2 * theme.GRID] * 4)
    grid.setHorizontalSpacing(2 * theme.GRID)
    grid.setVerticalSpacing(theme.GRID)
    picture = QLabel()
    picture.setPixmap(icons.pixmap(sign, sign, 24))
    picture.setAccessibleName("Problem")
    grid.addWidget(picture, 0, 0, Qt.AlignmentFlag.AlignTop)
    title.setMinimumWidth(400)
    grid.addWidget(title, 0, 1)
    for text, look in ((detail, ""), (hint, "faint")):
        if text:
            label = plain_label(text, look=look)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            grid.addWidget(label, grid.rowCount(), 1)
    if body is not None:
        grid.addWidget(body, grid.rowCount(), 0, 1, 2)
        grid.setRowStretch(grid.rowCount() - 1, 1)
    grid.addWidget(buttons, grid.rowCount(), 0, 1, 2)
    quiet = {QDialogButtonBox.StandardButton.Close, QDialogButtonBox.StandardButton.Cancel}
    for button in buttons.buttons():
        if buttons.standardButton(button) in quiet:
            button.setFocus()
    grid.setColumnStretch(1, 1)


class Banner(QFrame):
    """A line across a view that says what is wrong there, with the next act; hidden while all is well.

    Signals:
        acted: the user pressed its button.
    """

    acted = Signal()

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setProperty("look", "card")
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.GRID, theme.GRID // 2, theme.GRID // 2, theme.GRID // 2)
        self._sign = QLabel()
        self._text = plain_label(name=f"{name}_text")
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._act = QPushButton()
        self._act.setObjectName(f"{name}_act")
        self._act.setAccessibleName("Act on the problem")
        self._act.clicked.connect(self.acted)
        row.addWidget(self._sign)
        row.addWidget(self._text, 1)
        row.addWidget(self._act)
        self.clear()

    def show_problem(self, error: CasparianError, act: str = "") -> None:
        """Say what happened; `act` labels the button (`Retry`)."""
        if not isinstance(error, Cancelled):
            self.say(str(error), "bad", act)

    def say(self, text: str, state: theme.Token, act: str = "") -> None:
        """Say a sentence in one of the four states."""
        self._sign.setPixmap(icons.pixmap(state, state))
        self._sign.setAccessibleName(state)
        self._text.setText(shown_text(text))
        self._act.setText(act)
        self._act.setAccessibleName(act or "Act on the problem")
        self._act.setVisible(bool(act))
        self.show()

    def clear(self) -> None:
        """All is well again."""
        self.hide()


def install_excepthook(parent: Callable[[], QWidget | None]) -> Callable[[], None]:
    """Bring what nobody caught to the crash dialog; call what is returned to undo it."""
    before = sys.excepthook
    is_at_work = False

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            before(kind, error, trace)
            return
        nonlocal is_at_work
        if is_at_work:
            before(kind, error, trace)
            return
        is_at_work = True
        try:
            show(error, parent())
        except Exception:
            # What shows bugs has one itself: the log and stderr are what is left.
            logger.exception("a bug, while this one was to be shown: %r", error)
            before(kind, error, trace)
        finally:
            is_at_work = False

    sys.excepthook = hook

    def undo() -> None:
        sys.excepthook = before

    return undo
