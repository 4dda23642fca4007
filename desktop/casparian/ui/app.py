"""Starts the window and ends it: one place for the order of both.

The end, in this order: take no more requests, stop scans and jobs, wait for the pools, listen no more,
close the catalog and the state store.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, cast

import qasync  # type: ignore[import-untyped]  # it ships no types
from PySide6.QtCore import QEvent, QMessageLogContext, QtMsgType, qInstallMessageHandler
from PySide6.QtWidgets import QApplication, QDialog

from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem
from casparian.settings import is_new, load
from casparian.ui import icons, problems, theme
from casparian.ui.bridge import EventBridge
from casparian.ui.main_window import MainWindow
from casparian.ui.profile_dialog import NoStoreDialog
from casparian.ui.tasks import PoolExecutor, Tasks
from casparian.ui.welcome import VARIABLE, WelcomeDialog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from PySide6.QtCore import QObject
    from PySide6.QtWidgets import QWidget

    from casparian.settings import Settings

logger = logging.getLogger(__name__)

SHORT_THREADS = 4
LONG_THREADS = 4
POOL_DEADLINE_S = 20.0
RESTART, AGAIN = -1, -2
"""Instead of an exit code: the window is to be opened anew, or could not be opened and is tried again."""

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
    try:
        is_first = is_new(home) and not paths and VARIABLE not in os.environ
        settings = load(home, writes=not is_first)
    except CasparianError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    _log_to_file(settings.logs_dir / "window.log")
    return run(settings, paths, workspace, is_first=is_first)


def run(
    settings: Settings, paths: Sequence[bytes], workspace: str = "", *, is_first: bool = False
) -> int:
    """Show the window, take in `paths`, and return the exit code once the user closed it.

    The first start begins with a welcome; it ends here if the user wants no more of it. A restart
    closes everything and opens it anew, with the settings as they are then.
    """
    qInstallMessageHandler(_log_qt)
    app = make_application(cast("theme.Mode", settings.theme))
    # Qt's own way posts an event that would end the next window too.
    app.setQuitOnLastWindowClosed(False)
    app.lastWindowClosed.connect(app.quit)
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    undo = problems.install_excepthook(_active_window)
    try:
        if is_first and not _welcome(app, loop, settings):
            return 0
        if is_first:
            settings = load(settings.home)
        return _until_closed(app, loop, settings, paths, workspace)
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


def _welcome(app: QApplication, loop: qasync.QEventLoop, settings: Settings) -> bool:
    """Say hello and ask for the profile; return whether to go on."""
    theme.apply(app, cast("theme.Mode", settings.theme))
    with _few_tasks(loop) as tasks:
        return _asked(loop, WelcomeDialog(settings, tasks))


def _until_closed(
    app: QApplication,
    loop: qasync.QEventLoop,
    settings: Settings,
    paths: Sequence[bytes],
    workspace: str,
) -> int:
    while (ended := _opened(app, loop, settings, paths, workspace)) in {RESTART, AGAIN}:
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
) -> int:
    """Open the window; where the state store cannot be used, ask what to do about it."""
    try:
        return _run(app, loop, settings, paths, workspace)
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
) -> int:
    from casparian.bootstrap import open_services  # loads the databases; the look comes first

    slots = PoolExecutor(settings.workers, "worker slots")
    short, long = PoolExecutor(SHORT_THREADS, "short"), PoolExecutor(LONG_THREADS, "long")
    services = open_services(settings, slots)
    bridge = EventBridge(services.bus)
    tasks = Tasks(loop, short, long)
    window = MainWindow(services, tasks, bridge, workspace)
    try:
        theme.apply(app, cast("theme.Mode", settings.theme))
        window.take_in(paths)
        window.show()
        tasks.run(window, services.jobs.start, key="start")
        code = int(loop.run_forever())
        return RESTART if window.is_restarting else code
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
        _destroy(window, tasks, bridge)


def _active_window() -> QWidget | None:
    return QApplication.activeWindow()


def _log_to_file(path: Path) -> None:
    handler = RotatingFileHandler(
        path, maxBytes=2_000_000, backupCount=3, encoding="utf-8", delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _log_qt(kind: QtMsgType, _context: QMessageLogContext, message: str) -> None:
    # Platform plugins without a window manager say so each time a window is laid out.
    if message.startswith("This plugin does not support"):
        return
    logging.getLogger("qt").log(_LEVELS.get(kind, logging.WARNING), "%s", message)
    if kind is QtMsgType.QtFatalMsg:
        # Qt ends the process now; without a window, this is the only place to say why.
        sys.stderr.write(f"{message}\n")
