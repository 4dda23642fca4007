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


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("postgres://ada:geheim@db/cases", "postgres://ada:***@db/cases"),
        ("sqlserver://sa:g%40heim@h:1/d?x=1", "sqlserver://sa:***@h:1/d?x=1"),
        ("postgres://ada@db/cases", "postgres://ada@db/cases"),
        ("host=db password=geheim user=ada", "host=db password=*** user=ada"),
        ("connect(password='ge heim', port=1)", "connect(password=***, port=1)"),
        ("Driver={x};PWD={ge;heim};UID=sa", "Driver={x};PWD=***;UID=sa"),
        ('{"password": "geheim"}', '{"password": ***}'),
        ("from the environment: tr0ub4dor", "from the environment: ***"),
        ("no secret here", "no secret here"),
    ],
)
def test_a_report_has_no_passwords(said, told, monkeypatch):
    monkeypatch.setenv("CASPARIAN_PASSWORD_CASES", "tr0ub4dor")
    assert problems.redacted(said) == told


@pytest.mark.parametrize(
    ("home", "said", "told"),
    [
        ("/home/ada", "/home/ada/x and /srv/ada", "~/x and /srv/ada"),
        ("/", "/etc/hosts", "/etc/hosts"),
    ],
)
def test_a_report_does_not_say_whose_folder_it_is(home, said, told, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path(home))
    assert problems.redacted(said) == told


def test_a_report_needs_no_home(monkeypatch):
    def unknown():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", unknown)
    assert "by nothing" in problems.report(ZeroDivisionError("by nothing"))


def test_a_report_of_a_name_that_is_no_text_can_be_saved(host, tmp_path):
    dialog = problems.show(ValueError("/evidence/\udcff"), host)
    dialog._on_chosen(str(tmp_path / "report.txt"))
    assert "/evidence/\\udcff" in (tmp_path / "report.txt").read_text("utf-8")
    dialog.close()


def test_a_report_has_the_end_of_a_long_log_only(host, tmp_path):
    handler = RotatingFileHandler(tmp_path / "window.log", encoding="utf-8")
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        root.warning("x" * 1_000_000)
        root.warning("the last")
        text = problems.report(ZeroDivisionError())
    finally:
        root.removeHandler(handler)
        handler.close()
    assert text.endswith("the last")
    assert len(text) < 100_000


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


def test_a_bug_of_a_task_while_a_report_is_shown_is_only_logged(host, caplog):
    first = problems.show(ZeroDivisionError(), host)
    assert problems.show(ZeroDivisionError(), host) is None
    assert "another bug" in caplog.text
    first.close()
    again = problems.show(ZeroDivisionError(), host)
    assert again is not None
    again.close()


def test_a_bug_in_the_crash_dialog_does_not_recurse(host, monkeypatch, caplog):
    told = []
    monkeypatch.setattr(sys, "excepthook", lambda *what: told.append(what[0]))

    def fails(_error):
        sys.excepthook(KeyError, KeyError(), None)
        raise ValueError("the report has a bug")

    monkeypatch.setattr(problems, "report", fails)
    undo = problems.install_excepthook(lambda: host)
    sys.excepthook(ZeroDivisionError, ZeroDivisionError("by nothing"), None)
    undo()
    assert told == [KeyError, ZeroDivisionError]
    assert "the report has a bug" in caplog.text


def test_the_buttons_of_a_report_have_names_and_close_is_the_default(host, qtbot):
    dialog = problems.show(ZeroDivisionError(), host)
    buttons = {one.text().replace("&", ""): one for one in dialog.findChildren(QPushButton)}
    assert set(buttons) == {"Copy report", "Save report…", "Close"}
    assert [one.isDefault() for one in buttons.values()].count(True) == 1
    assert buttons["Close"].isDefault()
    dialog.close()


def test_the_quiet_button_has_the_focus(host, qtbot):
    for dialog, quiet in (
        (problems.show(UserProblem("A problem"), host), "Close"),
        (problems.show(ZeroDivisionError(), host), "Close"),
        (problems.confirm(host, "Sure?", "It goes.", "Delete", int), "Cancel"),
    ):
        qtbot.waitUntil(dialog.isVisible)
        assert dialog.focusWidget().text().replace("&", "") == quiet
        dialog.close()


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
