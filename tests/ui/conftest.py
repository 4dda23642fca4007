"""The window over real services, and a watchdog that says where the GUI thread stood still."""

from __future__ import annotations

import asyncio
import gc
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
from pytestqt.qtbot import QtBot

from casparian import credentials
from casparian.ui import theme
from casparian.ui.actions import Actions
from casparian.ui.app import make_application
from casparian.ui.bridge import EventBridge
from casparian.ui.tasks import PoolExecutor, Tasks

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

STALL_MS = 100

# What a test waits for comes within moments, unless the machine is busy with something else.
for wait in (QtBot.waitUntil, QtBot.waitSignal):
    wait.__kwdefaults__["timeout"] = 30_000


@pytest.fixture(scope="session")
def look(qapp):
    """The program's fonts and colours, as it starts with."""
    app = make_application("light")
    theme.apply(app, "light")
    return app


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
def keyring(monkeypatch):
    """A keyring that is a dict: (service, name) -> password."""
    kept = {}

    class Keyring:
        def get_password(self, service, name):
            return kept.get((service, name))

        def set_password(self, service, name, password):
            kept[service, name] = password

        def delete_password(self, service, name):
            kept.pop((service, name), None)

    monkeypatch.setattr(credentials, "_keyring", Keyring)
    return kept


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
        window.results.close_views()
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
    """Measures how long our code kept the GUI thread from its event loop, at work or waiting.

    Not counted is time in which the thread was not let run: the system says how long it had to queue for
    a processor (Linux, /proc/.../schedstat) and how long the host of a virtual machine let another have it
    (/proc/stat), and a thread that was seen nowhere in our code was waiting to get back into Python while
    the whole program was short of processors.
    """

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.where = ""
        self._gui = threading.get_ident()
        self._ledger = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._last = (0.0, 0.0, 0.0, 0.0)
        self._seen = ""
        self._over = threading.Event()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._on_beat)
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        gc.freeze()  # as the program does once all is loaded
        self._on_beat()
        self.longest_ms = 0.0
        self._timer.start(5)
        self._watcher.start()

    def stop(self) -> None:
        gc.unfreeze()
        self._over.set()
        self._timer.stop()
        if self._watcher.is_alive():
            self._watcher.join()

    def _on_beat(self) -> None:
        text = self._ledger.read_text() if self._ledger.exists() else "0 0 0"
        now = (time.perf_counter(), time.thread_time(), int(text.split()[1]) / 1e9, _stolen_s())
        passed, worked, queued, stolen = (
            new - old for new, old in zip(now, self._last, strict=True)
        )
        self._last, seen, self._seen = now, self._seen, ""
        kept_ms = (max(worked, passed - queued if seen else 0.0) - stolen) * 1000
        if kept_ms > self.longest_ms:
            self.longest_ms, self.where = kept_ms, seen

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            if time.perf_counter() - self._last[0] > STALL_MS / 2000:
                stack = traceback.extract_stack(sys._current_frames()[self._gui])
                if any("casparian" in Path(frame.filename).parts for frame in stack):
                    self._seen = "".join(traceback.format_list(stack[-8:]))


def _stolen_s() -> float:
    """What the host of this virtual machine has taken from its processors, proc_stat(5): `steal`."""
    if sys.platform != "linux":
        return 0.0
    with Path("/proc/stat").open(encoding="ascii") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def stalls(look):
    """Call `.start()`, do something, look at `.longest_ms`; `.where` is the stack of the last stall."""
    made = Stalls()
    yield made
    made.stop()
