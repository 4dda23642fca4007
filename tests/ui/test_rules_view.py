import os

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QPushButton,
    QRadioButton,
)

from casparian.domain.addresses import parse
from casparian.domain.cancel import CancelToken


@pytest.fixture
def view(window, services, case, qtbot):
    folder = case(app__log="x", sys__log="y", notes__txt="z", evil__csv="a,b\n1,2\n")
    workspace = services.workspaces.default()
    (source,) = services.sources.add(workspace.id, [os.fsencode(folder)])
    services.sources.scan(source.id, cancel=CancelToken())
    window.show_view("rules")
    model = table(window.rules, "rules_table").model()
    qtbot.waitUntil(lambda: model.rowCount() > 0)
    return window.rules


def table(view, name):
    return view.findChild(QAbstractItemView, name)


def label(view, name):
    return view.findChild(QLabel, name)


def field(view, name):
    return view.findChild(QLineEdit, name)


def rows(view, name="rules_table"):
    model = table(view, name).model()
    return [
        [model.index(row, at).data() for at in range(model.columnCount())]
        for row in range(model.rowCount())
    ]


def act(window, action_id):
    window.actions_registry.get(action_id).trigger()


def test_matches_are_shown_while_one_types(window, view, qtbot):
    act(window, "rules.new")
    QTest.keyClicks(field(view, "rule_glob"), "*.log")
    count = label(view, "rule_count")
    qtbot.waitUntil(lambda: count.text().startswith("2 files match"))
    assert [row[0] for row in rows(view, "rule_matches")] == ["app.log", "sys.log"]

    QTest.keyClicks(field(view, "rule_glob"), "x")
    qtbot.waitUntil(lambda: count.text() == "No file matches")


def test_a_saved_rule_gives_its_tag_to_what_was_shown(window, view, services, qtbot):
    act(window, "rules.new")
    QTest.keyClicks(field(view, "rule_glob"), "*.log")
    save = window.actions_registry.get("rules.save")
    assert not save.isEnabled()
    QTest.keyClicks(field(view, "rule_tag"), "logs")
    assert save.isEnabled()
    save.trigger()
    qtbot.waitUntil(lambda: ["on", "logs", "*.log", "any", "2"] in [row[:5] for row in rows(view)])
    workspace = services.workspaces.default()
    found = {one.rule.tag: one.files for one in services.rules.list(workspace.id)}
    assert found["logs"] == 2


def test_what_does_not_hold_is_said_under_its_field(window, view, qtbot):
    act(window, "rules.new")
    QTest.keyClicks(field(view, "rule_tag"), "My Tag")
    problem = label(view, "rule_tag_problem")
    assert problem.isVisible()
    assert "lower-case letters" in problem.text()
    assert not label(view, "rule_glob_problem").isVisible()
    assert not window.actions_registry.get("rules.save").isEnabled()


def test_edits_stay_while_one_looks_elsewhere_and_can_be_given_up(window, view, qtbot):
    act(window, "rules.new")
    QTest.keyClicks(field(view, "rule_glob"), "*.log")
    rules = table(view, "rules_table")
    rules.setCurrentIndex(rules.model().index(1, 0))
    assert field(view, "rule_glob").text() != "*.log"
    rules.setCurrentIndex(rules.model().index(0, 0))
    assert field(view, "rule_glob").text() == "*.log"
    assert rows(view)[0][0] == "new"

    act(window, "rules.revert")
    assert all(row[0] == "on" for row in rows(view))


def test_a_built_in_rule_is_switched_or_duplicated_but_not_edited(window, view, services, qtbot):
    rules = table(view, "rules_table")
    rules.setCurrentIndex(rules.model().index(0, 0))
    assert field(view, "rule_glob").isReadOnly()
    assert not window.actions_registry.get("rules.delete").isEnabled()

    act(window, "rules.switch")
    qtbot.waitUntil(lambda: rows(view)[0][0] == "off")
    assert rows(view)[0][7] == "built in"

    act(window, "rules.duplicate")
    assert not field(view, "rule_glob").isReadOnly()
    assert rows(view)[0][:2] == ["new", rows(view)[1][1]]


def test_deleting_says_what_it_takes_away(window, view, services, qtbot):
    workspace = services.workspaces.default()
    services.rules.save(workspace.id, services.rules.new("*.log", "logs"))
    qtbot.waitUntil(lambda: any(row[1] == "logs" for row in rows(view)))
    at = next(n for n, row in enumerate(rows(view)) if row[1] == "logs")
    rules = table(view, "rules_table")
    rules.setCurrentIndex(rules.model().index(at, 0))
    act(window, "rules.delete")
    dialog = window.findChild(QPushButton, "confirm_button").window()
    assert any("2 files lose the tag logs" in one.text() for one in dialog.findChildren(QLabel))
    QTest.mouseClick(dialog.findChild(QPushButton, "confirm_button"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: all(row[1] != "logs" for row in rows(view)))


def test_a_kind_that_is_ticked_narrows_the_matches(window, view, qtbot):
    act(window, "rules.new")
    QTest.keyClicks(field(view, "rule_glob"), "*")
    count = label(view, "rule_count")
    qtbot.waitUntil(lambda: count.text().startswith("4 files match"))
    kinds = view.findChild(QListWidget, "rule_kinds")
    words = [kinds.item(at).text() for at in range(kinds.count())]
    kinds.item(words.index("delimited")).setCheckState(Qt.CheckState.Checked)
    qtbot.waitUntil(lambda: count.text().startswith("1 file matches"))


@pytest.fixture
def routes(window, view, qtbot):
    act(window, "rules.routes")
    model = table(view, "routes_table").model()
    qtbot.waitUntil(lambda: model.rowCount() > 2)
    return view


def choose_route(view, output):
    at = next(n for n, row in enumerate(rows(view, "routes_table")) if row[1] == output)
    table(view, "routes_table").selectRow(at)
    return at


def test_an_output_is_sent_elsewhere_and_back(window, routes, services, tmp_path, qtbot):
    at = choose_route(routes, "evtx_events")
    home = rows(routes, "routes_table")[at][4]
    assert rows(routes, "routes_table")[at][2:4] == ["default", "replace"]
    assert not window.actions_registry.get("rules.route_default").isEnabled()

    act(window, "rules.route")
    dialog = window.findChild(QDialog, "route_dialog")
    address = field(dialog, "route_sink_address")
    address.clear()
    QTest.keyClicks(address, f"duckdb://{tmp_path}/events.duckdb")
    button = dialog.findChild(QPushButton, "route_sink_test_button")
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: label(dialog, "route_sink_test_word").text() == "Reachable")
    dialog.findChild(QRadioButton, "route_mode_append").click()
    QTest.mouseClick(dialog.findChild(QPushButton, "route_ok"), Qt.MouseButton.LeftButton)
    expected = ["own route", "append", f"duckdb://{tmp_path}/events.duckdb"]
    qtbot.waitUntil(lambda: rows(routes, "routes_table")[at][2:] == expected)
    assert "planned again" in label(routes, "routes_banner_text").text()
    assert not (tmp_path / "events.duckdb").exists()

    act(window, "rules.route_default")
    expected = ["default", "replace", home]
    qtbot.waitUntil(lambda: rows(routes, "routes_table")[at][2:] == expected)


def test_a_route_of_a_whole_parser_is_asked_about_before_it_goes(window, routes, services, qtbot):
    workspace = services.workspaces.default()
    address = parse("postgres://me@db.example/cases", schemes=("postgres",))
    services.routes.set(workspace.id, "evtx", "", address, "error")
    at = choose_route(routes, "evtx_events")
    qtbot.waitUntil(lambda: rows(routes, "routes_table")[at][2] == "route of all of evtx")
    act(window, "rules.route_default")
    yes = window.findChild(QPushButton, "confirm_button")
    QTest.mouseClick(yes, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: rows(routes, "routes_table")[at][2] == "default")


def test_a_route_that_is_no_address_is_refused_in_the_dialog(window, routes, qtbot):
    choose_route(routes, "evtx_events")
    act(window, "rules.route")
    dialog = window.findChild(QDialog, "route_dialog")
    field(dialog, "route_sink_address").setText("postgres://nowhere")
    QTest.mouseClick(dialog.findChild(QPushButton, "route_ok"), Qt.MouseButton.LeftButton)
    assert "must name a database" in label(dialog, "route_banner_text").text()
    assert dialog.isVisible()
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
