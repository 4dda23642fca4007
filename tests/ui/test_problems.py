import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QPlainTextEdit, QPushButton, QWidget

from casparian.domain.errors import Cancelled, EnvironmentProblem, UserProblem
from casparian.ui import problems


@pytest.fixture
def host(look, qtbot):
    made = QWidget()
    qtbot.addWidget(made)
    made.show()
    return made


def texts(dialog):
    return [label.text() for label in dialog.findChildren(QLabel) if label.text()]


def test_a_problem_says_what_why_and_what_next(host):
    error = EnvironmentProblem("Could not read it", "/evidence: I/O error", "Check the cable")
    dialog = problems.show(error, host)
    assert texts(dialog) == ["Could not read it", "/evidence: I/O error", "Check the cable"]
    dialog.close()


def test_markup_in_a_problem_is_shown_as_text(host):
    dialog = problems.show(UserProblem("<b>bold</b>", "line\nbreak"), host)
    assert texts(dialog) == ["<b>bold</b>", "line\\nbreak"]
    formats = {label.textFormat() for label in dialog.findChildren(QLabel) if label.text()}
    assert formats == {Qt.TextFormat.PlainText}
    dialog.close()


def test_cancelled_is_not_a_problem(host):
    assert problems.show(Cancelled(), host) is None


def test_a_bug_can_be_reported_with_one_click(host, caplog):
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError as error:
        dialog = problems.show(error, host)
    report = dialog.findChild(QPlainTextEdit).toPlainText()
    copy = next(one for one in dialog.findChildren(QPushButton) if one.text() == "Copy report")
    QTest.mouseClick(copy, Qt.MouseButton.LeftButton)

    assert QGuiApplication.clipboard().text() == report
    assert "ZeroDivisionError: by nothing" in report
    assert "Python 3." in report
    assert "test_problems.py" in report
    dialog.close()


def test_a_report_has_the_last_of_the_log_and_not_whose_folder_it_is(host, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    handler = RotatingFileHandler(tmp_path / "window.log", encoding="utf-8")
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        for number in range(80):
            root.warning("line %d of %s", number, tmp_path)
        text = problems.report(ZeroDivisionError())
    finally:
        root.removeHandler(handler)
        handler.close()
    assert "line 79 of ~" in text
    assert "line 29 of" not in text
    assert str(tmp_path) not in text


def test_a_report_can_be_saved(host, tmp_path):
    dialog = problems.show(ZeroDivisionError("by nothing"), host)
    dialog._on_chosen(str(tmp_path / "report.txt"))
    assert "by nothing" in (tmp_path / "report.txt").read_text("utf-8")
    dialog._on_chosen(str(tmp_path / "nowhere" / "report.txt"))
    assert any("Could not save the report" in texts(one) for one in dialog.findChildren(QDialog))
    dialog.close()


def test_a_crash_on_top_of_a_crash_is_only_logged(host, qtbot, caplog):
    undo = problems.install_excepthook(lambda: host)
    try:
        for _ in range(3):
            sys.excepthook(ZeroDivisionError, ZeroDivisionError(), None)
    finally:
        undo()
    shown = [one for one in QApplication.topLevelWidgets() if isinstance(one, problems.CrashDialog)]
    assert len(shown) == 1
    assert caplog.text.count("another bug") == 2
    shown[0].close()


def test_every_dialog_closes_on_esc(host, qtbot):
    asked = []
    for dialog in (
        problems.show(UserProblem("A problem"), host),
        problems.show(ZeroDivisionError(), host),
        problems.confirm(host, "Sure?", "It goes.", "Delete", lambda: asked.append(1)),
    ):
        qtbot.waitUntil(dialog.isVisible)
        QTest.keyClick(dialog, Qt.Key.Key_Escape)
        assert not dialog.isVisible()
    assert asked == []


def test_what_was_confirmed_is_done(host, qtbot):
    asked = []
    dialog = problems.confirm(host, "Sure?", "It goes.", "Delete", lambda: asked.append(1))
    QTest.mouseClick(dialog.findChild(QPushButton, "confirm_button"), Qt.MouseButton.LeftButton)
    assert asked == [1]


def test_a_banner_comes_and_goes(look, qtbot):
    banner = problems.Banner("banner")
    qtbot.addWidget(banner)
    banner.show_problem(Cancelled())
    assert banner.isHidden()
    banner.show_problem(UserProblem("It failed"), "Retry")
    assert not banner.isHidden()
    with qtbot.waitSignal(banner.acted):
        QTest.mouseClick(banner.findChild(QPushButton), Qt.MouseButton.LeftButton)
    banner.clear()
    assert banner.isHidden()


def test_what_nobody_caught_is_shown_and_the_hook_can_be_taken_back(host, monkeypatch):
    before, shown = sys.excepthook, []
    monkeypatch.setattr(problems, "show", lambda error, parent: shown.append((error, parent)))
    undo = problems.install_excepthook(lambda: host)
    error = ValueError("x")
    sys.excepthook(ValueError, error, None)
    undo()
    assert shown == [(error, host)]
    assert sys.excepthook is before
