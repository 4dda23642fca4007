import re
import sys
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QTimer

from casparian import ui
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled, UserProblem
from casparian.ui import problems
from casparian.ui.tasks import PoolExecutor, Refresh


@pytest.fixture
def owner(look):
    made = QObject()
    yield made
    made.deleteLater()


def test_work_runs_elsewhere_and_the_answer_comes_home(qtbot, tasks, owner):
    where, answers = [], []

    def work():
        where.append(threading.current_thread())
        return 42

    def done(answer):
        answers.append((answer, threading.current_thread()))

    tasks.run(owner, work, done, key="one")
    qtbot.waitUntil(lambda: bool(answers))

    assert answers == [(42, threading.main_thread())]
    assert where[0] is not threading.main_thread()


def test_the_reply_to_an_older_request_is_dropped_and_its_work_told_to_stop(qtbot, tasks, owner):
    answers, token, go = [], CancelToken(), threading.Event()
    tasks.run(owner, lambda: go.wait(10) and "old", answers.append, key="one", token=token)
    tasks.run(owner, lambda: "new", answers.append, key="one")
    go.set()
    tasks.run(owner, lambda: "other", answers.append, key="two")
    qtbot.waitUntil(lambda: len(answers) == 2)

    assert sorted(answers) == ["new", "other"]
    assert token.is_cancelled


def test_a_reply_that_finds_its_view_gone_is_dropped(qtbot, tasks, owner):
    answers, go = [], threading.Event()
    gone = QObject()
    tasks.run(gone, lambda: go.wait(10), answers.append, key="one")
    gone.deleteLater()
    qtbot.waitUntil(lambda: not _is_valid(gone))
    go.set()
    tasks.run(owner, lambda: "later", answers.append, key="one")
    qtbot.waitUntil(lambda: bool(answers))

    assert answers == ["later"]


def _is_valid(thing):
    import shiboken6

    return shiboken6.isValid(thing)


def test_a_problem_goes_to_who_asked_for_it(qtbot, tasks, owner):
    def work():
        raise UserProblem("No such rule")

    failed = []
    tasks.run(owner, work, key="one", failed=failed.append)
    qtbot.waitUntil(lambda: bool(failed))

    assert failed[0].title == "No such rule"


def test_a_problem_that_nobody_asked_for_is_shown(qtbot, tasks, owner, monkeypatch):
    shown = []
    monkeypatch.setattr(problems, "show", lambda error, parent: shown.append(error.title))

    def work():
        raise UserProblem("No such rule")

    tasks.run(owner, work, key="one")
    qtbot.waitUntil(lambda: bool(shown))
    assert shown == ["No such rule"]


def test_cancelled_is_never_shown(qtbot, tasks, owner, monkeypatch):
    monkeypatch.setattr(problems, "show", lambda error, parent: pytest.fail(str(error)))
    answers = []

    def work():
        raise Cancelled

    tasks.run(owner, work, answers.append, key="one", failed=lambda error: pytest.fail(str(error)))
    tasks.run(owner, lambda: "after", answers.append, key="two")
    qtbot.waitUntil(lambda: answers == ["after"])


@pytest.mark.parametrize("where", ["work", "done"])
def test_a_bug_reaches_the_excepthook(qtbot, tasks, owner, monkeypatch, where):
    bugs = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: bugs.append(kind))

    def fails(_answer=None):
        raise ZeroDivisionError

    if where == "work":
        tasks.run(owner, fails, key="one")
    else:
        tasks.run(owner, lambda: 1, fails, key="one")
    qtbot.waitUntil(lambda: bool(bugs))
    assert bugs == [ZeroDivisionError]


def test_nothing_is_taken_or_delivered_once_it_is_closed(qtbot, tasks, owner):
    answers, token, go = [], CancelToken(), threading.Event()
    tasks.run(owner, lambda: go.wait(10), answers.append, key="one", token=token)
    tasks.close()
    go.set()

    assert token.is_cancelled
    assert tasks.run(owner, lambda: 1, answers.append, key="two") is None
    qtbot.wait(50)
    assert answers == []


def test_the_executor_runs_as_many_at_once_as_it_has_threads():
    pool = PoolExecutor(3, "test")
    meet = threading.Barrier(3, timeout=10)
    futures = [pool.submit(meet.wait) for _ in range(3)]

    assert sorted(one.result(10) for one in futures) == [0, 1, 2]
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(int)


def test_the_executor_carries_exceptions_and_drops_what_has_not_begun():
    pool = PoolExecutor(1, "test")
    go = threading.Event()
    first = pool.submit(go.wait, 10)
    waiting = pool.submit(int)
    assert waiting.cancel()
    go.set()
    assert first.result(10) is True
    with pytest.raises(ValueError, match="invalid literal"):
        pool.submit(int, "x").result(10)
    pool.shutdown()


def test_a_refresh_asks_once_at_a_time_and_once_more_if_it_went_stale(qtbot, tasks, owner):
    asked, answers, go = [], [], threading.Event()

    def ask():
        asked.append(len(asked))
        number = len(asked)
        return lambda: go.wait(10) and number

    refresh = Refresh(tasks, owner, ask, answers.append, pytest.fail, pause_ms=10)
    for _ in range(50):
        refresh.soon()
    assert len(asked) == 1
    go.set()
    qtbot.waitUntil(lambda: answers == [1, 2])


def test_a_refresh_that_is_stopped_asks_no_more_though_it_went_stale(qtbot, tasks, owner):
    asked, answers = [], []

    def ask():
        asked.append(len(asked))
        return lambda: None

    def done(answer):
        answers.append(answer)
        refresh.soon()

    refresh = Refresh(tasks, owner, ask, done, pytest.fail, pause_ms=50)
    refresh.soon()
    qtbot.waitUntil(lambda: answers == [None])
    pause = refresh.findChild(QTimer)
    assert pause.isActive()
    refresh.stop()
    assert not pause.isActive()  # which may be over before the refresh is gone
    qtbot.wait(100)
    assert len(asked) == 1


def test_nothing_in_the_window_runs_an_event_loop_of_its_own():
    nested = re.compile(
        r"\.exec\(|\.exec_\(|processEvents|time\.sleep|QMessageBox\.[a-z]|QInputDialog\.get"
        r"|getOpenFileName|getSaveFileName|getExistingDirectory"
    )
    # The one drives the window itself, the other runs where there is no window yet.
    without_a_user = {"selftest.py", "instance.py"}
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in Path(ui.__path__[0]).glob("*.py")
        if path.name not in without_a_user
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if nested.search(line)
    ]
    assert not found
