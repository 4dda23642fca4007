import os

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractItemView, QDialog, QLabel, QLineEdit, QPushButton, QWidget

from casparian.settings import load


@pytest.fixture
def view(window):
    window.show_view("workspace")
    return window.workspaces


@pytest.fixture
def read_case(window, services, case, qtbot):
    """Take in a case with quarantine and something left out, and wait until it is read."""

    def read_case():
        people = "name,age\n" + "Ada,36\n" * 5 + "broken,1,2,3\n"
        folder = case(people__csv=people)
        (folder / "link").symlink_to("/etc/hostname")
        window.take_in([os.fsencode(folder)])
        window.show_view("workspace")
        model = window.findChild(QAbstractItemView, "ready_table").model()
        qtbot.waitUntil(lambda: model.rowCount() == 1, timeout=30_000)

    return read_case


def names(view):
    model = view.findChild(QAbstractItemView, "workspaces_table").model()
    return [model.index(row, 0).data() for row in range(model.rowCount())]


def name_dialog(window, name):
    dialog = window.findChild(QDialog, "name_dialog")
    field = dialog.findChild(QLineEdit, "name_field")
    field.clear()
    QTest.keyClicks(field, name)
    QTest.mouseClick(dialog.findChild(QPushButton, "name_accept"), Qt.MouseButton.LeftButton)
    return dialog


def test_a_workspace_is_created_opened_renamed_archived_and_restored(window, view, qtbot):
    act = window.actions_registry.get
    act("workspace.create").trigger()
    name_dialog(window, "Case 7")
    qtbot.waitUntil(lambda: window.workspace.name == "Case 7")
    qtbot.waitUntil(lambda: names(view) == ["Case 7", "default"])

    act("workspace.rename").trigger()
    name_dialog(window, "Case 8")
    qtbot.waitUntil(lambda: window.workspace.name == "Case 8")

    act("workspace.archive").trigger()
    button = window.findChild(QPushButton, "confirm_button")
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.workspace.name == "default")
    qtbot.waitUntil(lambda: names(view) == ["default"])

    act("workspace.archived").trigger()
    qtbot.waitUntil(lambda: names(view) == ["Case 8 (archived)", "default"])
    table = view.findChild(QAbstractItemView, "workspaces_table")
    table.setCurrentIndex(table.model().index(0, 0))
    qtbot.waitUntil(lambda: window.workspace.name == "Case 8")
    act("workspace.restore").trigger()
    qtbot.waitUntil(lambda: names(view) == ["Case 8", "default"])


def test_a_name_that_cannot_be_is_refused_under_the_field(window, view, qtbot):
    window.actions_registry.get("workspace.create").trigger()
    dialog = name_dialog(window, "default")
    problem = dialog.findChild(QLabel, "name_problem")
    qtbot.waitUntil(problem.isVisible)
    assert "already" in problem.text()
    QTest.keyClicks(dialog.findChild(QLineEdit, "name_field"), " 2")
    assert not problem.isVisible()
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_an_empty_board_says_what_to_do_first(view, qtbot):
    assert view.findChild(QWidget, "ready_empty").isVisible()
    assert view.findChild(QPushButton, "sources.add_folder.push").isEnabled()


def test_the_board_shows_tables_and_leads_to_what_is_wrong(window, view, read_case, qtbot):
    read_case()
    table = view.findChild(QAbstractItemView, "ready_table").model()
    assert [table.index(0, at).data() for at in range(3)] == ["people", "5", "1"]
    assert view.findChild(QAbstractItemView, "ready_table").isColumnHidden(table.columnCount() - 1)

    quarantine = view.findChild(QPushButton, "warning_people")
    assert quarantine.text() == "people: 1 row in quarantine"
    skips = view.findChild(QPushButton, "warning_skips")
    assert skips.text() == "1 entry left out by the scans"
    QTest.mouseClick(skips, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(window.sources.findChild(QAbstractItemView, "skips_table").isVisible)

    window.show_view("workspace")
    quarantine = view.findChild(QPushButton, "warning_people")
    QTest.mouseClick(quarantine, Qt.MouseButton.LeftButton)
    assert window.results.isVisible()


def test_a_changed_profile_is_told_until_the_restart(window, view, services, qtbot):
    window.actions_registry.get("configuration.change").trigger()
    qtbot.waitUntil(lambda: window.findChild(QDialog, "profile_dialog") is not None)
    dialog = window.findChild(QDialog, "profile_dialog")
    dialog.findChild(QLineEdit, "profile_sink_address").setText("duckdb:///cases/a.duckdb")
    QTest.mouseClick(dialog.findChild(QPushButton, "profile_ok"), Qt.MouseButton.LeftButton)
    later = dialog.findChild(QPushButton, "profile_cancel")
    qtbot.waitUntil(lambda: later.text() == "Later")
    QTest.mouseClick(later, Qt.MouseButton.LeftButton)

    window.actions_registry.get("configuration.show").trigger()
    banner = view.findChild(QLabel, "configuration_banner_text")
    qtbot.waitUntil(banner.isVisible)
    assert "/cases/a.duckdb" in banner.text()
    # The colours are written into the settings as they are now, not as they were at the start.
    window.actions_registry.get("view.theme_light").trigger()
    qtbot.waitUntil(lambda: load(services.settings.home).theme == "light")
    assert load(services.settings.home).default_sink == "duckdb:///cases/a.duckdb"

    restart = view.findChild(QPushButton, "configuration_banner_act")
    QTest.mouseClick(restart, Qt.MouseButton.LeftButton)
    assert window.is_restarting
    assert not window.isVisible()


def test_a_restart_that_is_thought_better_of_is_forgotten(window, qtbot):
    window._on_busy_changed(1, 0)
    window.actions_registry.get("app.restart").trigger()
    dialog = window.findChild(QDialog, "confirm_dialog")
    assert "Restart while jobs are at work?" in {one.text() for one in dialog.findChildren(QLabel)}
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    assert window.isVisible()
    assert not window.is_restarting
