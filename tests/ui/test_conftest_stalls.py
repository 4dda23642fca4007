import threading

from PySide6.QtCore import QObject


def test_the_watchdog_sees_code_of_ours_that_waits(qtbot, tasks, stalls):
    owner, waited = QObject(), []
    stalls.start()
    tasks.run(owner, int, lambda _: waited.append(threading.Event().wait(0.2)), key="wait")
    qtbot.waitUntil(lambda: bool(waited))
    qtbot.wait(50)
    stalls.stop()
    assert stalls.longest_ms > 100
    assert "tasks.py" in stalls.where


def test_the_watchdog_does_not_mind_an_idle_window(qtbot, tasks, stalls):
    stalls.start()
    qtbot.wait(300)
    stalls.stop()
    assert stalls.longest_ms < 100
