"""Results in the real window: from the catalog to rows, origin, SQL and export, by mouse and by keyboard."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QTabWidget,
)

from casparian.domain.results import Filter, Sort
from casparian.ui.export_dialog import ExportDialog
from helpers.filled import PEOPLE, write_case


@pytest.fixture
def empty(window, qtbot):
    window.show_view("results")
    return window.results


@pytest.fixture
def results(services, case, run, open_window, qtbot):
    run(services, write_case(case))
    window = open_window()
    window.show_view("results")
    qtbot.waitUntil(lambda: "  people 500" in window.results.catalog.lines())
    return window.results


def open_table(results, qtbot, name):
    results.open_table(name)
    qtbot.waitUntil(lambda: results.viewer().property("table_name") == name)
    qtbot.waitUntil(lambda: not results.viewer().is_loading)
    return results.viewer()


def trigger(results, verb):
    results.window().findChild(QAction, f"results.{verb}").trigger()


def test_without_tables_it_says_what_to_do_first(empty) -> None:
    title = empty.findChild(QLabel, "results_empty_title")
    assert title.isVisible()
    assert title.text() == "No tables yet"
    assert "Drop evidence" in empty.findChild(QLabel, "results_empty_detail").text()
    empty.show_sql()
    assert not title.isVisible()


def test_the_catalog_lists_tables_quarantine_and_the_control_plane(results) -> None:
    lines = results.catalog.lines()
    assert lines[:5] == [
        "Tables",
        "  events 20",
        "    quarantine 0",
        "  people 500",
        "    quarantine 2",
    ]
    assert lines[5] == "About the case"
    assert {line.split()[0] for line in lines[6:]} == {"files", "jobs", "skips"}


@pytest.mark.parametrize(
    "name", ["people", "people_quarantine", "events", "files", "jobs", "skips"]
)
def test_every_table_opens_sorts_and_filters(results, qtbot, name) -> None:
    viewer = open_table(results, qtbot, name)
    first = viewer.model.columns[0].name
    with qtbot.waitSignal(viewer.loaded):
        viewer.sort_by(first, descending=True)
    with qtbot.waitSignal(viewer.loaded):
        viewer.add_filters([Filter(first, "is null")])
    with qtbot.waitSignal(viewer.loaded):
        viewer.clear_filters()
    assert viewer.rows == results._targets.table("", name).rows


def test_a_table_is_in_one_tab_however_often_it_is_opened(results, qtbot) -> None:
    tabs = results.findChild(QTabWidget, "results_tabs")
    open_table(results, qtbot, "people")
    open_table(results, qtbot, "events")
    open_table(results, qtbot, "people")
    assert [tabs.tabText(at) for at in range(tabs.count())] == ["SQL", "people", "events"]
    trigger(results, "close_tab")
    assert [tabs.tabText(at) for at in range(tabs.count())] == ["SQL", "events"]


def test_a_row_shows_its_origin_and_all_rows_of_its_file(results, qtbot) -> None:
    viewer = open_table(results, qtbot, "people_quarantine")
    viewer.grid.setCurrentIndex(viewer.model.index(0, 0))
    qtbot.waitUntil(lambda: results.inspector.origin().get("File", "").endswith("people.csv"))
    viewer = open_table(results, qtbot, "people")
    viewer.grid.setCurrentIndex(viewer.model.index(0, 0))
    qtbot.waitUntil(lambda: "SHA-256" in results.inspector.origin())
    with qtbot.waitSignal(viewer.loaded):
        results.inspector.findChild(QPushButton, "origin_rows").click()
    assert viewer.rows == PEOPLE
    assert viewer.shape.filters[0].column == "_cf_file_id"


def test_the_rows_of_another_workspace_are_gone(results, qtbot, services) -> None:
    open_table(results, qtbot, "people")
    other = services.workspaces.create("other")
    results.window().open_workspace(other)
    tabs = results.findChild(QTabWidget, "results_tabs")
    assert tabs.count() == 1
    qtbot.waitUntil(lambda: "  people 500" not in results.catalog.lines())


def test_rows_that_come_while_the_table_is_open_are_announced(
    results, qtbot, services, run, case
) -> None:
    viewer = open_table(results, qtbot, "people")
    more = "id,name,seen\n9999,new person,2022-03-10T16:33:50Z\n"
    run(services, case(more__csv=more))
    banner = viewer.findChild(QLabel, "table_people_banner_text")
    qtbot.waitUntil(banner.isVisible)
    assert viewer.rows == PEOPLE
    with qtbot.waitSignal(viewer.loaded):
        viewer.findChild(QPushButton, "table_people_banner_act").click()
    assert viewer.rows == PEOPLE + 1


def test_export_offers_the_whole_and_what_is_shown_with_exact_counts(results, qtbot) -> None:
    viewer = open_table(results, qtbot, "people")
    with qtbot.waitSignal(viewer.loaded):
        viewer.add_filters([Filter("name", "=", "person 3")])
    with qtbot.waitSignal(viewer.loaded):
        viewer.sort_by("id", descending=True)
    trigger(results, "export")
    dialog = results.window().findChild(ExportDialog)
    assert [one.text() for one in dialog.findChildren(QRadioButton)] == [
        "The whole table: 500 rows",
        "What is shown now, these columns: 10 rows",
        "What is shown now, all columns: 10 rows",
    ]
    dialog.reject()


def test_what_is_shown_is_exported_as_it_is_shown(results, qtbot, tmp_path) -> None:
    viewer = open_table(results, qtbot, "people")
    with qtbot.waitSignal(viewer.loaded):
        viewer.add_filters([Filter("name", "=", "person 3")])
    with qtbot.waitSignal(viewer.loaded):
        viewer.sort_by("id", descending=True)
    trigger(results, "export")
    dialog = results.window().findChild(ExportDialog)
    dialog.findChild(QRadioButton, "export_what_1").click()
    dialog.set_target(tmp_path / "shown.csv")
    dialog.findChild(QPushButton, "export_button").click()
    qtbot.waitUntil(lambda: "SHA-256" in dialog.state())
    lines = (tmp_path / "shown.csv").read_text().splitlines()
    assert lines[0] == "id,name,seen"
    assert [line.split(",")[0] for line in lines[1:]] == [str(at) for at in range(453, 0, -50)]
    dialog.reject()


def test_the_tree_queries_a_table_in_the_console(results, qtbot) -> None:
    results.catalog.query_wanted.emit("people", "")
    assert results.console.editor.toPlainText() == "SELECT *\nFROM people\nLIMIT 1000"
    with qtbot.waitSignal(results.console.viewer.loaded):
        trigger(results, "run")
    assert results.viewer().rows == PEOPLE
    trigger(results, "export")
    dialog = results.window().findChild(ExportDialog)
    assert dialog.findChild(QRadioButton, "export_what_0").text() == (
        "The result of the query: 500 rows"
    )
    dialog.reject()


def test_keys_reach_every_pane_and_every_act(results, qtbot) -> None:
    viewer = open_table(results, qtbot, "people")
    results.catalog.tree.setFocus()
    seen = []
    for _ in range(3):
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_F6)
        seen.append(QApplication.focusWidget().objectName())
    assert seen == ["table_people_grid", "inspector_fields", "catalog_tree"]

    viewer.grid.setFocus()
    viewer.grid.setCurrentIndex(viewer.model.index(0, 1))
    control = Qt.KeyboardModifier.ControlModifier
    qtbot.keyClick(viewer.grid, Qt.Key.Key_F, control)
    editor = viewer._editor
    qtbot.waitUntil(editor.isVisible)
    assert editor.findChild(QComboBox, "filter_column").currentData() == "name"
    qtbot.keyClicks(editor.findChild(QLineEdit, "filter_value"), "person 7")
    with qtbot.waitSignal(viewer.loaded):
        qtbot.keyClick(editor.findChild(QLineEdit, "filter_value"), Qt.Key.Key_Return)
    assert viewer.rows == 10
    qtbot.keyClick(viewer.grid, Qt.Key.Key_G, control)
    qtbot.waitUntil(lambda: viewer.findChild(object, "go_to_row") is not None)
    viewer.findChild(object, "go_to_row").reject()
    qtbot.keyClick(viewer.grid, Qt.Key.Key_E, control)
    dialog = results.window().findChild(ExportDialog)
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not dialog.isVisible())


def test_sorting_by_key_goes_round(results, qtbot) -> None:
    viewer = open_table(results, qtbot, "people")
    viewer.grid.setCurrentIndex(viewer.model.index(0, 0))
    for expected in [(Sort("id"),), (Sort("id", descending=True),), ()]:
        with qtbot.waitSignal(viewer.loaded):
            trigger(results, "sort")
        viewer.grid.setCurrentIndex(viewer.model.index(0, 0))
        assert viewer.shape.sort == expected


def test_every_control_can_be_named_and_no_label_takes_markup(results, qtbot) -> None:
    open_table(results, qtbot, "people")
    kinds = (QLineEdit, QPlainTextEdit, QComboBox, QAbstractItemView, QAbstractButton)
    for area in (results, results.inspector):
        for kind in kinds:
            for control in area.findChildren(kind):
                if control.isVisibleTo(area) and not control.objectName().startswith("qt_"):
                    name = control.accessibleName() or getattr(control, "text", str)()
                    assert name, (type(control), control.objectName())
        for label in area.findChildren(QLabel):
            assert label.textFormat() is Qt.TextFormat.PlainText or not label.text(), label.text()


def test_evidence_is_shown_as_text_and_never_as_markup(results, qtbot) -> None:
    viewer = open_table(results, qtbot, "events")
    who = [one.name for one in viewer.model.columns].index("who")
    assert viewer.model.index(0, who).data() == "<b>user 0</b>"
    assert "<b>" not in (viewer.model.index(0, who).data(Qt.ItemDataRole.ToolTipRole) or "")


def test_working_in_results_never_holds_up_the_window(results, qtbot, stalls) -> None:
    open_table(results, qtbot, "events")
    stalls.start()
    for name in ("people", "events", "files"):
        viewer = open_table(results, qtbot, name)
        viewer.grid.go_to(viewer.rows - 1)
        qtbot.wait(50)
    results.show_sql()
    results.console.set_sql("SELECT count(*) FROM people")
    with qtbot.waitSignal(results.console.viewer.loaded):
        trigger(results, "run")
    assert stalls.longest_ms < 100, stalls.where


def test_columns_stand_as_they_were_left_when_the_table_is_opened_again(results, qtbot) -> None:
    viewer = open_table(results, qtbot, "people")
    viewer._chooser.moved.emit(0, 1)
    viewer._chooser.shown_changed.emit(2, False)
    viewer.grid.setColumnWidth(1, 333)
    viewer.grid.freeze(1)
    trigger(results, "close_tab")
    again = open_table(results, qtbot, "people")
    assert again is not viewer
    assert again.shown_columns() == ["name", "id"]
    assert again.grid.columnWidth(1) == 333
    assert again.grid.frozen_columns == 1
