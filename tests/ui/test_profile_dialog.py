import os
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QWidget,
)

from casparian.domain.errors import EnvironmentProblem
from casparian.settings import load
from casparian.ui.profile_dialog import NoStoreDialog, ProfileDialog
from casparian.ui.welcome import WelcomeDialog

STATE = "postgres://me@db.example/state"
SINK = "postgres://me@db.example/cases"


@pytest.fixture
def dialog(qtbot, tasks, settings, keyring):
    made = ProfileDialog(load(settings.home), tasks)
    made.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, on=False)
    qtbot.addWidget(made)
    made.open()
    return made


def choose(dialog, profile):
    QTest.mouseClick(
        dialog.findChild(QRadioButton, f"profile_{profile}"), Qt.MouseButton.LeftButton
    )


def field(dialog, name):
    return dialog.findChild(QLineEdit, f"profile_{name}")


def fill(dialog, name, typed):
    field(dialog, name).setFocus()
    field(dialog, name).clear()
    QTest.keyClicks(field(dialog, name), typed)


def said(dialog):
    return dialog.findChild(QLabel, "profile_consequences").text()


def button(dialog, name):
    return dialog.findChild(QPushButton, name)


def press(dialog, name):
    QTest.mouseClick(button(dialog, name), Qt.MouseButton.LeftButton)


def test_nothing_happens_before_it_is_said_what_would(dialog, settings, qtbot):
    assert said(dialog) == "•  Nothing changes."
    assert not button(dialog, "profile_ok").isEnabled()

    choose(dialog, "enterprise")
    assert "Say where state is kept" in said(dialog)
    fill(dialog, "state_address", STATE)
    assert "Say where outputs go" in said(dialog)
    fill(dialog, "sink_address", "postgres://nowhere")
    assert "cannot be used" in said(dialog)
    assert not button(dialog, "profile_ok").isEnabled()
    fill(dialog, "sink_address", SINK)
    assert f"stay in {settings.state_path}" in said(dialog)
    assert f"goes to {SINK}" in said(dialog)
    assert load(settings.home).profile == "local"


def test_a_change_is_written_and_holds_from_the_next_start(dialog, settings, keyring, qtbot):
    choose(dialog, "enterprise")
    fill(dialog, "state_address", STATE)
    fill(dialog, "state_password", "one secret")
    fill(dialog, "sink_address", SINK)
    press(dialog, "profile_ok")
    ok = button(dialog, "profile_ok")
    qtbot.waitUntil(lambda: ok.text() == "Restart now")
    now = load(settings.home)
    assert (now.profile, now.state_store, now.default_sink) == ("enterprise", STATE, SINK)
    assert keyring == {("Casparian Flow", STATE): "one secret"}
    assert "secret" not in settings.config_path.read_text()
    wanted = []
    dialog.restart_wanted.connect(lambda: wanted.append(1))
    press(dialog, "profile_ok")
    assert wanted == [1]
    assert not dialog.isVisible()


def test_a_password_that_comes_with_an_address_goes_into_its_own_field(dialog):
    choose(dialog, "hybrid")
    fill(dialog, "sink_address", "postgres://me:secret@db.example/cases")
    QTest.keyClick(field(dialog, "sink_address"), Qt.Key.Key_Tab)
    assert field(dialog, "sink_address").text() == SINK
    assert field(dialog, "sink_password").text() == "secret"
    assert field(dialog, "sink_password").echoMode() is QLineEdit.EchoMode.Password
    assert "secret" not in said(dialog)


def test_the_control_plane_can_be_taken_along_by_a_command(dialog, settings):
    command = field(dialog, "copy_command")
    assert not command.isVisible()
    choose(dialog, "enterprise")
    fill(dialog, "state_address", STATE)
    fill(dialog, "sink_address", SINK)
    assert command.isVisible()
    press(dialog, "profile_copy")
    expected = f"casparian --home {settings.home} state copy --to {STATE}"
    assert QGuiApplication.clipboard().text() == expected


def test_what_is_typed_for_a_profile_stays_with_it(dialog):
    choose(dialog, "hybrid")
    fill(dialog, "sink_address", SINK)
    choose(dialog, "local")
    assert field(dialog, "sink_address").text() == ""
    choose(dialog, "hybrid")
    assert field(dialog, "sink_address").text() == SINK


def test_outputs_of_the_local_profile_may_go_into_a_file_and_back(dialog, settings, qtbot):
    fill(dialog, "sink_address", f"duckdb://{settings.home}/case.duckdb")
    press(dialog, "profile_ok")
    qtbot.waitUntil(lambda: load(settings.home).default_sink.startswith("duckdb://"))
    again = ProfileDialog(load(settings.home), dialog._tasks)
    again.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, on=False)
    qtbot.addWidget(again)
    again.open()
    assert field(again, "sink_address").text().endswith("case.duckdb")
    fill(again, "sink_address", "")
    press(again, "profile_ok")
    qtbot.waitUntil(lambda: load(settings.home).default_sink == "")


def test_a_place_is_tested_before_it_is_taken(dialog, qtbot):
    choose(dialog, "hybrid")
    fill(dialog, "sink_address", "postgres://x@127.0.0.1:1/db")
    press(dialog, "profile_sink_test_button")
    word = dialog.findChild(QLabel, "profile_sink_test_word")
    qtbot.waitUntil(lambda: word.text() == "Cannot be used")
    QTest.keyClicks(field(dialog, "sink_address"), "2")
    assert word.text() == "Not looked at"


def test_a_password_that_cannot_be_kept_is_said_and_nothing_is_changed(
    dialog, settings, qtbot, monkeypatch
):
    from casparian import credentials

    def refuse(_address):
        raise EnvironmentProblem("The password could not be kept", "no keyring", "Set a variable")

    monkeypatch.setattr(credentials, "keep", refuse)
    choose(dialog, "hybrid")
    fill(dialog, "sink_address", SINK)
    fill(dialog, "sink_password", "secret")
    press(dialog, "profile_ok")
    banner = dialog.findChild(QLabel, "profile_banner_text")
    qtbot.waitUntil(banner.isVisible)
    assert "could not be kept" in banner.text()
    assert load(settings.home).profile == "local"


def test_the_keyboard_is_enough(dialog, settings, qtbot):
    QTest.keyClick(dialog.focusWidget(), Qt.Key.Key_Right)
    assert dialog.findChild(QRadioButton, "profile_enterprise").isChecked()
    QTest.keyClick(dialog.focusWidget(), Qt.Key.Key_Right)
    assert dialog.findChild(QRadioButton, "profile_hybrid").isChecked()
    QTest.keyClick(dialog.focusWidget(), Qt.Key.Key_Tab)
    assert dialog.focusWidget() is field(dialog, "sink_address")
    QTest.keyClicks(dialog.focusWidget(), SINK)
    QTest.keyClick(dialog.focusWidget(), Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: load(settings.home).profile == "hybrid")


def test_the_welcome_goes_on_with_one_click(qtbot, tasks, tmp_path):
    settings = load(tmp_path / "new", writes=False)
    welcome = WelcomeDialog(settings, tasks)
    qtbot.addWidget(welcome)
    welcome.open()
    assert welcome.findChild(QRadioButton, "profile_local").isChecked()
    places = [welcome.findChild(QLabel, f"welcome_{one}").text() for one in ("state", "query")]
    assert places == [f"sqlite · {settings.state_path}", f"duckdb · {settings.catalog_path}"]
    with qtbot.waitSignal(welcome.accepted):
        QTest.keyClick(welcome, Qt.Key.Key_Return)
    assert "profile" in (tmp_path / "new" / "config.toml").read_text()


def test_the_welcome_lets_one_choose_a_server(qtbot, tasks, tmp_path, keyring):
    welcome = WelcomeDialog(load(tmp_path / "new", writes=False), tasks)
    qtbot.addWidget(welcome)
    welcome.open()
    choose(welcome, "hybrid")
    assert not button(welcome, "welcome_start").isEnabled()
    fill(welcome, "sink_address", SINK)
    with qtbot.waitSignal(welcome.accepted):
        press(welcome, "welcome_start")
    assert load(tmp_path / "new").default_sink == SINK


def test_every_control_of_the_dialogs_has_a_name(qtbot, tasks, settings, dialog):
    servers = replace(settings, profile="enterprise", state_store=STATE, default_sink=SINK)
    problem = EnvironmentProblem("It cannot be reached")
    others = [NoStoreDialog(problem, servers, tasks), WelcomeDialog(settings, tasks)]
    for one in others:
        qtbot.addWidget(one)
    nameless = [
        control.objectName()
        for shown in (dialog, *others)
        for control in shown.findChildren(QWidget)
        if isinstance(control, QAbstractButton | QLineEdit)
        and not QAccessible.queryAccessibleInterface(control).text(QAccessible.Text.Name).strip()
    ]
    assert nameless == []


def test_evidence_dropped_on_the_welcome_is_taken_along(qtbot, tasks, drop, tmp_path):
    welcome = WelcomeDialog(load(tmp_path / "new", writes=False), tasks)
    qtbot.addWidget(welcome)
    welcome.open()
    with qtbot.waitSignal(welcome.accepted):
        assert drop(welcome, tmp_path)
    assert welcome.paths == [os.fsencode(tmp_path)]
    assert (tmp_path / "new" / "config.toml").exists()
