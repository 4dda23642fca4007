"""Starts the window and ends it: one place for the order of both.

The end, in this order: take no more requests, stop scans and jobs, wait for the pools, listen no more,
close the catalog and the state store.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections import deque
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, cast

import qasync  # type: ignore[import-untyped]  # it ships no types
from PySide6.QtCore import QEvent, QMessageLogContext, QTimer, QtMsgType, qInstallMessageHandler
from PySide6.QtWidgets import QApplication, QDialog

from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem
from casparian.durable import SHARE_WARNING, network_share
from casparian.settings import is_new, load
from casparian.ui import icons, problems, theme
from casparian.ui.bridge import EventBridge
from casparian.ui.guide import GuideControl
from casparian.ui.instance import Instance
from casparian.ui.main_window import MainWindow
from casparian.ui.profile_dialog import NoStoreDialog
from casparian.ui.tasks import PoolExecutor, Tasks
from casparian.ui.welcome import VARIABLE, WelcomeDialog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from PySide6.QtCore import QObject
    from PySide6.QtWidgets import QWidget

    from casparian.bootstrap import Services
    from casparian.settings import Settings

logger = logging.getLogger(__name__)

SHORT_THREADS = 4
LONG_THREADS = 4
POOL_DEADLINE_S = 20.0
SIGNAL_PULSE_MS = 500
RESTART, AGAIN = -1, -2
"""Instead of an exit code: the window is to be opened anew, or could not be opened and is tried again."""

_UNSEEN = ("offscreen", "minimal")
"""Platforms of Qt on which nobody would see a dialog."""
_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}


def main(home: Path | None, workspace: str, paths: Sequence[bytes]) -> int:
    """Read the settings and show the window; return its exit code.

    Args:
        home: the program's home folder; None for the usual one.
        workspace: the name of the workspace to open; empty for the last one.
        paths: evidence to take in at once.
    """
    if sys.platform == "linux" and not has_screen():
        return _no_window(
            EnvironmentProblem(
                "There is no screen to open a window on",
                "neither DISPLAY nor WAYLAND_DISPLAY is set",
                "Work without a window: casparian run PATH...",
            )
        )
    try:
        is_first = is_new(home) and not paths and VARIABLE not in os.environ
        settings = load(home, writes=not is_first)
        instance = Instance(settings.home)
        if not instance.take():
            instance.hand_over(workspace, [os.path.abspath(one) for one in paths])  # noqa: PTH100  (bytes)
            return 0
    except CasparianError as error:
        return _no_window(error)
    _log_to_file(settings.logs_dir / "window.log")
    if share := network_share(settings.home):
        logger.warning("%s is on a network share (%s): %s", settings.home, share, SHARE_WARNING)
    try:
        return run(settings, paths, workspace, instance=instance, is_first=is_first)
    finally:
        instance.close()


def has_screen() -> bool:
    """Whether something says where a window could be shown; that it can be reached is not known yet."""
    return any(os.environ.get(one) for one in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def _no_window(error: CasparianError) -> int:
    """Say why no window opens: on stderr, and in a dialog for the one who double-clicked."""
    sys.stderr.write(f"{error}\n")
    if sys.platform != "linux" or has_screen():
        qInstallMessageHandler(log_qt)
        app = make_application("system")
        if app.platformName() not in _UNSEEN:
            theme.apply(app, "system")
            loop = qasync.QEventLoop(app)
            dialog = problems.show(error)
            if dialog is not None:
                dialog.finished.connect(app.quit)
                loop.run_forever()
            loop.close()
    return error.exit_code


def run(
    settings: Settings,
    paths: Sequence[bytes],
    workspace: str = "",
    *,
    instance: Instance | None = None,
    is_first: bool = False,
) -> int:
    """Show the window, take in `paths`, and return the exit code once the user closed it.

    What later starts hand to `instance` is taken in as well.

    The first start begins with a welcome; it ends here if the user wants no more of it. A restart
    closes everything and opens it anew, with the settings as they are then.
    """
    qInstallMessageHandler(log_qt)
    app = make_application(cast("theme.Mode", settings.theme))
    # Qt's own way posts an event that would end the next window too.
    app.setQuitOnLastWindowClosed(False)
    app.lastWindowClosed.connect(app.quit)
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    undo = problems.install_excepthook(_active_window)
    try:
        if is_first:
            welcomed, paths = _welcome(app, loop, settings)
            if not welcomed:
                return 0
            settings = load(settings.home)
        return _until_closed(app, loop, settings, paths, workspace, instance)
    except CasparianError as error:
        dialog = problems.show(error)
        if dialog is not None:
            dialog.finished.connect(app.quit)
            loop.run_forever()
        return error.exit_code
    finally:
        undo()
        asyncio.set_event_loop(None)
        loop.close()


def _welcome(
    app: QApplication, loop: qasync.QEventLoop, settings: Settings
) -> tuple[bool, list[bytes]]:
    """Say hello and ask for the profile; return whether to go on, and with what evidence."""
    theme.apply(app, cast("theme.Mode", settings.theme))
    with _few_tasks(loop) as tasks:
        dialog = WelcomeDialog(settings, tasks)
        guide = GuideControl(None, lambda: "workspace", dialog)
        dialog.finished.connect(guide.close)
        return _asked(loop, dialog), dialog.paths


def _until_closed(
    app: QApplication,
    loop: qasync.QEventLoop,
    settings: Settings,
    paths: Sequence[bytes],
    workspace: str,
    instance: Instance | None,
) -> int:
    while (ended := _opened(app, loop, settings, paths, workspace, instance)) in {RESTART, AGAIN}:
        settings = load(settings.home)
        if ended == RESTART:
            paths, workspace = (), ""
    return ended


def _opened(
    app: QApplication,
    loop: qasync.QEventLoop,
    settings: Settings,
    paths: Sequence[bytes],
    workspace: str,
    instance: Instance | None,
) -> int:
    """Open the window; where the state store cannot be used, ask what to do about it."""
    try:
        return _run(app, loop, settings, paths, workspace, instance)
    except CasparianError as error:
        if not isinstance(error, EnvironmentProblem | UserProblem) or not settings.state.is_server:
            raise
        logger.warning("%s", error)
        theme.apply(app, cast("theme.Mode", settings.theme))
        with _few_tasks(loop) as tasks:
            goes_on = _asked(loop, NoStoreDialog(error, settings, tasks))
        return AGAIN if goes_on else error.exit_code


def _asked(loop: qasync.QEventLoop, dialog: QDialog) -> bool:
    """Show a dialog without a window behind it; return whether it was accepted."""
    answers: list[bool] = []
    dialog.finished.connect(lambda code: answers.append(code == QDialog.DialogCode.Accepted))
    dialog.finished.connect(QApplication.quit)
    dialog.open()
    loop.run_forever()
    _destroy(dialog)
    return bool(answers) and answers[0]


@contextmanager
def _few_tasks(loop: qasync.QEventLoop) -> Iterator[Tasks]:
    """Tasks for a dialog that stands alone."""
    short, long = PoolExecutor(1, "short"), PoolExecutor(2, "long")
    tasks = Tasks(loop, short, long)
    try:
        yield tasks
    finally:
        tasks.close()
        for pool in (long, short):
            pool.shutdown(wait=False, cancel_futures=True)
            pool.wait(POOL_DEADLINE_S)
        _destroy(tasks)


def _destroy(*things: QObject) -> None:
    """Let go of Qt's half now and in this thread: Python's collector may come by in any."""
    for thing in things:
        thing.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()


def make_application(mode: theme.Mode) -> QApplication:
    """The application without a window; its look is whole after `theme.apply`."""
    # A pool thread at work in Python lets the GUI thread in after 1 ms, not after 5.
    sys.setswitchinterval(0.001)
    app = cast("QApplication | None", QApplication.instance()) or QApplication(sys.argv[:1])
    app.setApplicationName("Casparian Flow")
    app.setApplicationDisplayName("Casparian Flow")
    app.setDesktopFileName("casparian-flow")
    theme.load_fonts()
    theme.prepare(app, mode)
    app.setWindowIcon(icons.icon("casparian", "accent"))
    return app


def _run(
    app: QApplication,
    loop: qasync.QEventLoop,
    settings: Settings,
    paths: Sequence[bytes],
    workspace: str,
    instance: Instance | None,
) -> int:
    with opened(app, loop, settings, workspace) as (window, _):
        window.take_in(paths)
        window.show()
        if instance is not None:
            instance.handed.connect(window.on_handed)
            instance.listen()
        if share := network_share(settings.home):
            window.warn_of_share(share)
        with _ends_on_signal(app, window):
            code = int(loop.run_forever())
        return RESTART if window.is_restarting else code


@contextmanager
def _ends_on_signal(app: QApplication, window: MainWindow) -> Iterator[None]:
    """End in order, without a question, when the system or a person at a terminal asks the process to."""

    def end(*_: object) -> None:
        window.leave()
        app.exit(0)  # quit() would ask the windows again

    asked = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(one, end) for one in asked]
    # A handler of Python's runs when Python does: an idle window has to wake up for it.
    pulse = QTimer()
    pulse.timeout.connect(lambda: None)
    pulse.start(SIGNAL_PULSE_MS)
    try:
        yield
    finally:
        pulse.stop()
        for one, handler in zip(asked, before, strict=True):
            signal.signal(one, handler)


@contextmanager
def opened(
    app: QApplication, loop: qasync.QEventLoop, settings: Settings, workspace: str = ""
) -> Iterator[tuple[MainWindow, Services]]:
    """The window over services of its own, not shown yet; everything is closed on the way out.

    Raises:
        CasparianError: the state store cannot be used.
    """
    from casparian.bootstrap import open_services  # loads the databases; the look comes first

    slots = PoolExecutor(settings.workers, "worker slots")
    short, long = PoolExecutor(SHORT_THREADS, "short"), PoolExecutor(LONG_THREADS, "long")
    services = open_services(settings, slots)
    # What is loaded by now stays: the collector need not look through it, which takes up to 80 ms each time
    # and may come in the middle of painting.
    gc.freeze()
    bridge = EventBridge(services.bus)
    tasks = Tasks(loop, short, long)
    window = MainWindow(services, tasks, bridge, workspace)
    try:
        theme.apply(app, cast("theme.Mode", settings.theme))
        tasks.run(window, services.jobs.start, key="start")
        yield window, services
    finally:
        tasks.close()
        window.intake.cancel()
        window.results.close_views()
        services.jobs.close()
        for pool in (slots, long, short):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (slots, long, short):
            if not pool.wait(POOL_DEADLINE_S):
                logger.warning("work was still going on %s s after the end", POOL_DEADLINE_S)
        bridge.close()
        services.close()
        gc.unfreeze()
        _destroy(window, tasks, bridge)


def _active_window() -> QWidget | None:
    return QApplication.activeWindow()


def _log_to_file(path: Path) -> None:
    # A disk that is full takes no line either, and each would be a traceback on stderr.
    logging.raiseExceptions = False
    handler = RotatingFileHandler(
        path, maxBytes=2_000_000, backupCount=3, encoding="utf-8", delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


_said: deque[str] = deque(maxlen=3)
"""What Qt warned of last: the reason, should it give up."""


def log_qt(kind: QtMsgType, _context: QMessageLogContext, message: str) -> None:
    """Put what Qt has to say into the log; where it gives up, say so and end the program."""
    # Platform plugins without a window manager say so each time a window is laid out.
    if message.startswith("This plugin does not support"):
        return
    logging.getLogger("qt").log(_LEVELS.get(kind, logging.WARNING), "%s", message)
    if kind is not QtMsgType.QtFatalMsg:
        _said.append(message.strip())
        return
    # Qt would abort now, and leave a core dump for a screen that cannot be reached.
    reasons = " ".join(dict.fromkeys((*_said, message.split("\n")[0].strip())))
    hint = "Check DISPLAY, or work without a window: casparian run PATH..."
    sys.stderr.write(f"The window cannot be opened. {reasons} {hint}\n")
    sys.stderr.flush()
    os._exit(EnvironmentProblem.exit_code)
