import os
import re
import sys

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QLabel,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QScrollBar,
    QTextEdit,
    QToolButton,
    QWidget,
)

from casparian import settings as settings_file
from casparian.ui import theme
from casparian.ui.actions import GROUPS
from casparian.ui.problems import ProblemDialog

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
)


def press(window, keys, modifier=Qt.KeyboardModifier.ControlModifier):
    QTest.keyClick(window, keys, modifier)


def test_each_view_has_its_key(window, qtbot):
    for key, view in (
        (Qt.Key.Key_2, window.sources),
        (Qt.Key.Key_3, window.rules),
        (Qt.Key.Key_4, window.results),
        (Qt.Key.Key_1, window.workspaces),
    ):
        press(window, key)
        assert view.isVisible()


def test_every_action_is_in_a_menu_and_no_two_share_keys(window):
    registered = {made for _, made in window.actions_registry.all()}
    in_menus = set()
    for group in GROUPS:
        in_menus.update(window.findChild(QMenu, f"menu_{group}").actions())
    assert registered == in_menus
    assert window.actions_registry.clashes() == []


def test_every_action_says_what_it_does_and_has_a_handler(window):
    for action, made in window.actions_registry.all():
        assert callable(action.handler), action.id
        assert re.fullmatch(r"[A-Z].+[^.]|[A-Z].+…", made.text()), action.id
        assert action.id == made.objectName()


def test_no_key_is_taken_twice_by_what_qt_sees(window):
    seen = {}
    for action, made in window.actions_registry.all():
        if made.shortcutContext() is Qt.ShortcutContext.WindowShortcut:
            for keys in made.shortcuts():
                assert keys.toString() not in seen, (action.id, seen[keys.toString()])
                seen[keys.toString()] = action.id


def test_every_control_has_a_name_for_those_who_do_not_see_it(window):
    nameless = []
    for control in window.findChildren(QWidget):
        inner = control.objectName().startswith("qt_") or isinstance(control, QScrollBar)
        if isinstance(control, CONTROLS) and not inner and not _is_inner(control):
            face = QAccessible.queryAccessibleInterface(control)
            if face is None or not face.text(QAccessible.Text.Name).strip():
                nameless.append(f"{type(control).__name__} {control.objectName()!r}")
    assert not nameless


def _is_inner(control):
    parent = control.parent()
    return isinstance(parent, QComboBox | QAbstractSpinBox | QLineEdit) or (
        type(control).__name__ in {"QHeaderView", "QTableCornerButton"}
        or parent.metaObject().className() in {"QComboBoxPrivateContainer", "QTabBar", "QTabWidget"}
        or control.objectName() == "qt_toolbar_ext_button"
        or control.metaObject().className() in {"QToolBarExtension", "QTableCornerButton"}
    )


def test_no_label_takes_its_text_for_markup(window):
    for label in window.findChildren(QLabel):
        if label.text() and label.buddy() is None:
            assert label.textFormat() is Qt.TextFormat.PlainText or label.text().isprintable()


def test_every_dialog_that_an_action_opens_closes_on_esc(window, qtbot):
    opened = []
    for action_id in ("view.palette", "help.keys", "workspace.create"):
        window.actions_registry.get(action_id).trigger()
        dialogs = [one for one in window.findChildren(QDialog) if one.isVisible()]
        assert len(dialogs) == 1, action_id
        opened += dialogs
        QTest.keyClick(dialogs[0], Qt.Key.Key_Escape)
        assert not dialogs[0].isVisible()
    assert len(opened) == 3


def test_the_three_answers_lead_to_their_places(window, services, qtbot):
    for name, path in (
        ("state", services.settings.state_path),
        ("outputs", services.settings.output_dir),
        ("query", services.settings.catalog_path),
    ):
        answer = window.findChild(QPushButton, f"answer_{name}")
        assert str(path) in answer.toolTip()
        window.show_view("sources")
        QTest.mouseClick(answer, Qt.MouseButton.LeftButton)
        expected = window.results if name == "query" else window.workspaces
        assert expected.isVisible()


def test_a_theme_that_was_chosen_is_kept(window, services, qtbot, look):
    window.actions_registry.get("view.theme_dark").trigger()
    try:
        assert theme.is_dark()
        config = services.settings.config_path
        qtbot.waitUntil(lambda: 'theme = "dark"' in config.read_text())
        assert settings_file.load(services.settings.home).theme == "dark"
    finally:
        theme.apply(look, "light")


def test_panels_stay_where_they_were_put(open_window, services, qtbot):
    window = open_window()
    window.actions_registry.get("view.jobs").trigger()
    window.show_view("rules")
    window.rules.splitter.setSizes([300, 700])
    sizes = window.rules.splitter.sizes()
    window.close()
    assert (services.settings.home / "window.ini").exists()

    again = open_window()
    assert not again.jobs.isVisible()
    assert again.rules.isVisible()
    assert abs(again.rules.splitter.sizes()[0] - sizes[0]) <= 2


def test_the_last_workspace_is_opened_again(open_window, services, qtbot):
    made = services.workspaces.create("Case 7")
    window = open_window("Case 7")
    assert window.workspace == made
    window.close()
    again = open_window()
    assert again.workspace == made
    assert again.windowTitle().startswith("Case 7")


def test_a_folder_dropped_anywhere_becomes_tables(window, case, drop, qtbot, services):
    folder = case(people__csv="name,age\nAda,36\nGrace,45\n", notes__txt="hello\n")
    assert drop(window, folder)

    qtbot.waitUntil(lambda: bool(_tables(services)), timeout=30_000)
    assert _tables(services) == {"people": 2}
    window.show_view("workspace")
    board = window.findChild(QAbstractItemView, "ready_table")
    qtbot.waitUntil(lambda: board.model().rowCount() == 1)
    assert board.model().index(0, 0).data() == "people"
    qtbot.waitUntil(lambda: "done" in window.findChild(QPushButton, "activity").text())


def _tables(services):
    workspace = services.workspaces.default()
    return {one.name: one.rows for one in services.results.tables(workspace.id)}


def test_what_is_not_a_file_is_not_taken(window, qtbot):
    from PySide6.QtCore import QMimeData, QPoint
    from PySide6.QtGui import QDragEnterEvent

    data = QMimeData()
    data.setText("https://example.org")
    enter = QDragEnterEvent(
        QPoint(9, 9), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(window, enter)
    assert not enter.isAccepted()


def test_a_drop_on_a_text_field_is_evidence_too(window):
    for kind in (QLineEdit, QPlainTextEdit):
        assert not any(field.acceptDrops() for field in window.findChildren(kind))


def test_an_overlapping_drop_is_refused_with_a_sentence(window, case, drop, qtbot):
    folder = case(a__csv="x\n1\n")
    drop(window, folder)
    qtbot.waitUntil(
        lambda: window.sources.findChild(QWidget, "sources_tree").topLevelItemCount() == 1
    )
    drop(window, folder.parent)
    qtbot.waitUntil(lambda: window.findChild(QDialog, "problem_dialog") is not None)
    dialog = window.findChild(QDialog, "problem_dialog")
    assert "cannot be added" in dialog.findChild(QLabel, "problem_title").text()
    dialog.close()


def test_scan_and_jobs_never_hold_the_gui_thread(window, case, qtbot, stalls, drop):
    rows = "".join(f"{n},{n * 7},name {n}\n" for n in range(20_000))
    folder = case(**{f"table{n}__csv": f"a{n},b,c\n{rows}" for n in range(4)})
    for n in range(2_000):
        (folder / f"note {n}.txt").write_text(f"{n}")
    qtbot.wait(200)
    stalls.start()
    drop(window, folder)
    for view in ("workspace", "sources", "rules"):
        window.show_view(view)
        qtbot.wait(100)
    board = window.findChild(QAbstractItemView, "ready_table").model()
    qtbot.waitUntil(lambda: board.rowCount() == 4, timeout=60_000)
    stalls.stop()
    assert stalls.longest_ms < 100, stalls.where


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_names_that_are_not_text_are_taken_in_exactly(window, tmp_path, qtbot, services, drop):
    name = b"bad\xff%41\n<b>.csv"
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(b"x\n1\n")
    window.take_in([os.fsencode(path)])
    qtbot.waitUntil(lambda: sum(_tables(services).values()) == 1, timeout=30_000)
    (source,) = services.sources.list(services.workspaces.default().id)
    assert source.source.path_bytes.endswith(name)


def test_quitting_while_jobs_run_is_asked_about(window, qtbot):
    window._on_busy_changed(1, 0)
    window.close()
    assert window.isVisible()
    dialog = window.findChild(QDialog, "confirm_dialog")
    QTest.mouseClick(dialog.findChild(QPushButton, "confirm_button"), Qt.MouseButton.LeftButton)
    assert not window.isVisible()


def test_the_workspace_menu_opens_another_one(window, services, qtbot):
    services.workspaces.create("Case & 7")
    menu = window.findChild(QMenu, "workspace_menu")
    qtbot.waitUntil(lambda: len(menu.actions()) == 4)
    other = next(one for one in menu.actions() if one.text() == "Case && 7")
    other.trigger()
    assert window.workspace.name == "Case & 7"
    assert window.findChild(QToolButton, "workspace_button").text().strip() == "Case && 7"


def test_a_scan_can_be_stopped_from_the_status_bar(window, case, qtbot, services, monkeypatch):
    def scan(source_id, *, force=False, cancel):
        cancel.wait(30)
        cancel.check()

    monkeypatch.setattr(type(services.sources), "scan", staticmethod(scan))
    window.take_in([os.fsencode(case(a__csv="x\n1\n"))])
    stop = window.findChild(QPushButton, "activity_stop")
    qtbot.waitUntil(stop.isVisible)
    QTest.mouseClick(stop, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not stop.isVisible())
    assert "was stopped" in window.findChild(QPushButton, "activity").text()
    assert not window.findChildren(QDialog, "problem_dialog")


def test_a_home_on_a_network_share_is_told_once(window):
    window.warn_of_share("nfs4")
    (told,) = window.findChildren(ProblemDialog)
    assert any("network share" in one.text() for one in told.findChildren(QLabel))
    told.close()
    window.warn_of_share("nfs4")
    assert [one for one in window.findChildren(ProblemDialog) if one.isVisible()] == []
