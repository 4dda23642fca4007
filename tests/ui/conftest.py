"""The window over real services, and a watchdog that says where the GUI thread stood still."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
import qasync
from PySide6.QtCore import QEvent, QMimeData, QPointF, Qt, QTimer, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication

from casparian.ui import theme
from casparian.ui.actions import Actions
from casparian.ui.bridge import EventBridge
from casparian.ui.tasks import PoolExecutor, Tasks

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

STALL_MS = 100


@pytest.fixture(scope="session")
def look(qapp):
    """The program's fonts and colours, as it starts with."""
    theme.load_fonts()
    theme.apply(qapp, "light")
    return qapp


@pytest.fixture
def tasks(look):
    """Tasks over pools of their own; a test that leaves one busy fails."""
    loop = qasync.QEventLoop(look)
    asyncio.set_event_loop(loop)
    short, long = PoolExecutor(4, "short"), PoolExecutor(4, "long")
    made = Tasks(loop, short, long)
    yield made
    made.close()
    for pool in (short, long):
        pool.shutdown(wait=False, cancel_futures=True)
        assert pool.wait(20), "a pool is still busy"
    look.processEvents()
    made.deleteLater()
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def actions(look):
    """A registry without a window."""
    made = Actions()
    yield made
    made.deleteLater()


@pytest.fixture
def bridge(services):
    """The bridge of the services' events."""
    made = EventBridge(services.bus)
    yield made
    made.close()


@pytest.fixture
def open_window(qtbot, services, tasks, bridge):
    """Open a window over the services, as often as asked; each is closed at the end."""
    from casparian.ui.main_window import MainWindow

    opened = []

    def open_one(workspace=""):
        window = MainWindow(services, tasks, bridge, workspace)
        opened.append(window)
        window.show()
        qtbot.waitUntil(lambda: window.workspace is not None)
        return window

    yield open_one
    tasks.close()
    for window in opened:
        window.intake.cancel()
    services.jobs.close()
    for window in opened:
        window.close()
        window.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    left = [one for one in QApplication.topLevelWidgets() if one.isVisible()]
    assert not left, f"left open: {left}"


@pytest.fixture
def window(open_window):
    """The window, with its workspace open."""
    return open_window()


@pytest.fixture
def drop():
    """Drop paths on a widget as a file manager would; say whether it took them."""

    def drop(widget, *paths):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        at, buttons = QPointF(200, 200), Qt.MouseButton.LeftButton
        keys, act = Qt.KeyboardModifier.NoModifier, Qt.DropAction.CopyAction
        enter = QDragEnterEvent(at.toPoint(), act, data, buttons, keys)
        QApplication.sendEvent(widget, enter)
        let_go = QDropEvent(at, act, data, buttons, keys)
        QApplication.sendEvent(widget, let_go)
        return enter.isAccepted() and let_go.isAccepted()

    return drop


class Stalls:
    """Measures how long the event loop was away, and what the GUI thread did at that time.

    Time in which the thread could have run and the machine gave it no processor is not counted, where
    the system tells (Linux, /proc/.../schedstat): other programs are no fault of ours.
    """

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.where = ""
        self._gui = threading.get_ident()
        self._ledger = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._beat, self._starved_s = time.perf_counter(), self._starved()
        self._over = threading.Event()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._on_beat)
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._on_beat()
        self.longest_ms = 0.0
        self._timer.start(5)
        self._watcher.start()

    def stop(self) -> None:
        self._over.set()
        self._timer.stop()
        if self._watcher.is_alive():
            self._watcher.join()

    def _starved(self) -> float:
        return int(self._ledger.read_text().split()[1]) / 1e9 if self._ledger.exists() else 0.0

    def _on_beat(self) -> None:
        now, starved_s = time.perf_counter(), self._starved()
        away_s = now - self._beat - (starved_s - self._starved_s)
        self.longest_ms = max(self.longest_ms, away_s * 1000)
        self._beat, self._starved_s = now, starved_s

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            if time.perf_counter() - self._beat > STALL_MS / 1000:
                frame = sys._current_frames().get(self._gui)
                self.where = "".join(traceback.format_stack(frame)) if frame else ""


@pytest.fixture
def stalls(look):
    """Call `.start()`, do something, look at `.longest_ms`; `.where` is the stack of the last stall."""
    made = Stalls()
    yield made
    made.stop()
