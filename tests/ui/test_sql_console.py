"""The console over a real case: it runs, refuses, stops, remembers, and says when rows were left out."""

from __future__ import annotations

import dataclasses

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QLineEdit, QListWidget

from casparian.domain.results import Filter
from casparian.ui.actions import Action
from casparian.ui.sql_console import SqlConsole, Tools
from casparian.ui.targets import listed
from helpers.filled import PEOPLE, write_case

SLOW = "SELECT count(*) FROM range(100000) a, range(100000) b WHERE a.range ^ b.range = 7.5"


@pytest.fixture
def settings(settings):
    return dataclasses.replace(settings, console_rows=100)


@pytest.fixture
def console(qtbot, services, tasks, actions, case, run):
    run(services, write_case(case))
    tools = Tools(
        *(
            actions.add(Action(f"test.{icon}", icon, int, "Results", icon=icon))
            for icon in ("run", "cancel", "history")
        )
    )
    made = SqlConsole(services.results, tasks, tools, [], services.settings.console_rows)
    qtbot.addWidget(made)
    made.resize(900, 700)
    made.show()
    made.set_workspace(services.workspaces.default())
    workspace = services.workspaces.default()
    [catalog] = services.results.targets(workspace.id)
    made.show_targets([listed(services.results, workspace.id, catalog)], "")
    yield made
    made.viewer.close_now()


def run_sql(console, qtbot, sql):
    console.set_sql(sql)
    console.run()
    qtbot.waitUntil(lambda: not console.is_running, timeout=20_000)


def shown(console, row=0):
    model = console.viewer.model
    return [model.index(row, at).data() for at in range(model.columnCount())]


def problem(console):
    label = console.findChild(QLabel, "sql_problem_text")
    return label.text() if label.isVisible() else ""


def test_a_query_shows_its_rows_their_number_and_how_long_it_took(console, qtbot) -> None:
    run_sql(console, qtbot, "SELECT id, name FROM people ORDER BY id DESC LIMIT 3")
    assert shown(console) == [str(PEOPLE - 1), f"person {(PEOPLE - 1) % 50}"]
    assert console.viewer.status().startswith("3 rows · ")
    assert console.viewer.status().endswith(" s")


def test_ctrl_enter_runs_the_selection_alone(console, qtbot) -> None:
    console.set_sql("SELECT 1 AS one;\nSELECT 2 AS two")
    cursor = console.editor.textCursor()
    cursor.movePosition(cursor.MoveOperation.End)
    cursor.movePosition(cursor.MoveOperation.StartOfBlock, cursor.MoveMode.KeepAnchor)
    console.editor.setTextCursor(cursor)
    with qtbot.waitSignal(console.viewer.loaded):
        qtbot.keyClick(console.editor, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert shown(console) == ["2"]


def test_rows_that_were_left_out_are_told(console, qtbot) -> None:
    run_sql(console, qtbot, "SELECT * FROM people")
    assert console.viewer.rows == 100
    assert "the first 100 rows of more: Export takes all of them" in console.viewer.status()


def test_a_result_without_rows_keeps_its_columns(console, qtbot) -> None:
    run_sql(console, qtbot, "SELECT id, name FROM people WHERE id < 0")
    model = console.viewer.model
    assert [model.headerData(at, Qt.Orientation.Horizontal) for at in range(2)] == ["id", "name"]
    assert console.viewer.status().startswith("0 rows")


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE people",
        "COPY people TO '/tmp/x.csv'",
        "EXPLAIN ANALYZE COPY people TO '/tmp/x.csv'",
        "SELECT 1; SELECT 2",
        "ATTACH 'x.db'",
        "SET threads = 1",
    ],
)
def test_what_does_more_than_read_is_refused_and_the_text_stays(console, qtbot, sql) -> None:
    run_sql(console, qtbot, "SELECT 7 AS before")
    run_sql(console, qtbot, sql)
    assert problem(console)
    assert console.editor.toPlainText() == sql
    assert shown(console) == ["7"]


def test_a_mistake_is_marked_where_it_is(console, qtbot) -> None:
    run_sql(console, qtbot, "SELECT 1 +\n\nFORM people x y")
    assert problem(console).endswith("(line 3).")
    assert console.editor.textCursor().blockNumber() == 2
    run_sql(console, qtbot, "SELECT 1")
    assert problem(console) == ""


def test_cancel_really_ends_the_query_and_keeps_the_rows(console, qtbot, services) -> None:
    run_sql(console, qtbot, "SELECT 7 AS before")
    console.set_sql(SLOW)
    console.run()
    assert console.is_running
    qtbot.wait(200)
    console.cancel()
    assert not console.is_running
    assert "cancelled" in problem(console)
    assert shown(console) == ["7"]
    # The next query would wait for the pool if the engine were still at it.
    run_sql(console, qtbot, "SELECT 8 AS after")
    assert shown(console) == ["8"]
    workspace = services.workspaces.default()
    qtbot.waitUntil(
        lambda: any(one.sql == SLOW and one.error for one in services.results.history(workspace.id))
    )


def test_history_is_kept_found_and_used_again(console, qtbot) -> None:
    run_sql(console, qtbot, "SELECT 'first' AS a")
    run_sql(console, qtbot, "SELECT broken FROM nowhere")
    console.toggle_history()
    listed = console.findChild(QListWidget, "history_list")
    qtbot.waitUntil(lambda: listed.count() == 2)
    assert "failed" in listed.item(0).text()
    assert "1 row, " in listed.item(1).text()
    qtbot.keyClicks(console.findChild(QLineEdit, "history_search"), "FIRST")
    assert [listed.item(row).isHidden() for row in range(2)] == [True, False]
    listed.itemActivated.emit(listed.item(1))
    assert console.editor.toPlainText() == "SELECT 'first' AS a"
    console.editor.undo()
    assert console.editor.toPlainText() == "SELECT broken FROM nowhere"


def test_a_result_is_sorted_and_filtered_as_a_whole_not_as_it_was_cut(console, qtbot) -> None:
    run_sql(console, qtbot, "SELECT id, name FROM people")
    with qtbot.waitSignal(console.viewer.loaded):
        console.viewer.sort_by("id", descending=True)
    assert shown(console) == [str(PEOPLE - 1), f"person {(PEOPLE - 1) % 50}"]
    with qtbot.waitSignal(console.viewer.loaded):
        console.viewer.add_filters([Filter("name", "=", "person 3")])
    assert console.viewer.rows == PEOPLE // 50
    assert shown(console) == ["453", "person 3"]


def test_completion_knows_tables_columns_and_functions(console, qtbot, services) -> None:
    qtbot.waitUntil(lambda: bool(console._functions.get("")))
    console.set_sql("SELECT strft")
    console.editor.offer(asked=True)
    assert any(line.startswith("strftime") for line in console.editor.offered())
    console.set_sql("SELECT * FROM peop")
    console.editor.offer(asked=True)
    assert [line.split("   ")[0].rstrip() for line in console.editor.offered()] == [
        "people",
        "people_quarantine",
    ]
