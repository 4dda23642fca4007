"""Tables in databases, in the real window: listed, opened, queried, exported as those of the catalog are."""

from __future__ import annotations

import dataclasses
import time

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QLabel,
    QPushButton,
    QRadioButton,
    QTabWidget,
)

from casparian.domain.addresses import Address, parse
from casparian.domain.results import Filter
from casparian.services.results import Target
from casparian.ui.export_dialog import ExportDialog
from casparian.ui.palette import Palette
from casparian.ui.targets import Listing, kind_of, title_of, where
from helpers.filled import PEOPLE, write_case

DEAD = "postgres://postgres@127.0.0.1:1/nowhere?gssencmode=disable"


@pytest.fixture
def address(request, postgres_server, tmp_path):
    """The sink that a test asks for: `postgres` or `duckdb`."""
    if getattr(request, "param", "postgres") == "duckdb":
        yield parse(f"duckdb://{tmp_path}/out.duckdb", schemes=("duckdb",))
        return
    with postgres_server.database() as address:
        yield address


@pytest.fixture
def settings(settings, address):
    profile = "hybrid" if address.is_server else "local"
    return dataclasses.replace(
        settings, profile=profile, default_sink=address.text, console_rows=100
    )


@pytest.fixture
def filled(services, address, case, run):
    """People in the database, events in the catalog."""
    workspace = services.workspaces.default()
    home = Address("parquet", path=services.settings.output_dir)
    services.routes.set(workspace.id, "jsonlines", "", home, "replace")
    run(services, write_case(case))
    return services


@pytest.fixture
def key(services):
    return services.results.default_target


@pytest.fixture
def results(filled, open_window, qtbot):
    window = open_window()
    window.show_view("results")
    lines = window.results.catalog.lines
    qtbot.waitUntil(lambda: {"  people 500", "  events 20"} <= set(lines()))
    return window.results


both = pytest.mark.parametrize("address", ["postgres", "duckdb"], indirect=True)


def open_table(results, qtbot, name, target=""):
    results.open_table(name, target)
    qtbot.waitUntil(lambda: results.viewer().property("table_name") == name)
    qtbot.waitUntil(lambda: not results.viewer().is_loading)
    return results.viewer()


def trigger(results, verb):
    results.window().findChild(QAction, f"results.{verb}").trigger()


def run_sql(results, qtbot, sql):
    results.console.set_sql(sql)
    results.console.run()
    qtbot.waitUntil(lambda: not results.console.is_running)


def choose(results, at):
    combo = results.findChild(QComboBox, "sql_target")
    combo.setCurrentIndex(at)
    combo.activated.emit(at)


def shown(viewer, row=0):
    return [viewer.model.index(row, at).data() for at in range(viewer.model.columnCount())]


def problem(results):
    label = results.findChild(QLabel, "sql_problem_text")
    return label.text() if label.isVisible() else ""


def item(results, text):
    tree = results.catalog.tree
    flags = Qt.MatchFlag.MatchStartsWith | Qt.MatchFlag.MatchRecursive
    return tree.findItems(text, flags)[0]


def export(results, qtbot, target, choice=0):
    trigger(results, "export")
    dialog = results.window().findChild(ExportDialog)
    radio = dialog.findChildren(QRadioButton)[choice]
    radio.click()
    qtbot.waitUntil(lambda: "counting" not in radio.text())
    dialog.set_target(target)
    dialog.findChild(QPushButton, "export_button").click()
    qtbot.waitUntil(lambda: "SHA-256" in dialog.state())
    said = radio.text()
    with qtbot.waitSignal(dialog.destroyed):
        dialog.reject()
    return said, target.read_text().splitlines()


@pytest.mark.parametrize(
    ("key", "kind", "line"),
    [
        ("", "Catalog", "Catalog"),
        ("duckdb:///a/b.duckdb", "DuckDB", "DuckDB · /a/b.duckdb"),
        ("postgres://host/cases", "PostgreSQL", "PostgreSQL · host/cases"),
        ("sqlserver://host:99/cases", "SQL Server", "SQL Server · host:99/cases"),
    ],
)
def test_a_target_is_called_by_its_kind_and_its_place(key, kind, line) -> None:
    assert (kind_of(key), where(key)) == (kind, line)


def test_the_title_of_a_target_names_the_user() -> None:
    target = Target("postgres://host/cases", "postgres", "postgres://ann@host/cases")
    assert title_of(target) == "PostgreSQL · ann@host/cases"


@both
def test_tables_stand_below_the_target_they_are_in(results, settings, address) -> None:
    lines = results.catalog.lines()
    assert lines[0] == f"Catalog · {settings.catalog_path}"
    assert lines[1:3] == ["  events 20", "    quarantine 0"]
    assert lines[3] == "  About the case"
    assert {one.split()[0] for one in lines[4:7]} == {"files", "jobs", "skips"}
    assert lines[7].startswith(f"{kind_of(address.key)} · ")
    assert lines[8:] == ["  people 500", "    quarantine 2"]
    group = item(results, kind_of(address.key))
    assert group.isFirstColumnSpanned()
    assert group.text(0).split(" · ")[1] in group.toolTip(0).replace("&amp;", "&")


@both
def test_a_table_of_a_database_is_sorted_filtered_searched_and_paged(results, qtbot, key) -> None:
    viewer = open_table(results, qtbot, "people", key)
    assert viewer.rows == PEOPLE
    with qtbot.waitSignal(viewer.loaded):
        viewer.sort_by("id", descending=True)
    names = [one.name for one in viewer.model.columns]
    assert shown(viewer)[names.index("id")] == "499"
    with qtbot.waitSignal(viewer.loaded):
        viewer.add_filters([Filter("name", "=", "person 3")])
    assert viewer.rows == PEOPLE // 50
    with qtbot.waitSignal(viewer.loaded):
        viewer.clear_filters()
    viewer.focus_search()
    viewer._search.setText("person 49")
    with qtbot.waitSignal(viewer.loaded):
        viewer._search.returnPressed.emit()
    assert viewer.rows == PEOPLE // 50
    viewer._search.clear()
    qtbot.waitUntil(lambda: viewer.rows == PEOPLE)
    viewer.grid.go_to(PEOPLE - 1)
    qtbot.waitUntil(lambda: shown(viewer, PEOPLE - 1)[names.index("id")] == "0")


@both
def test_a_row_of_a_database_shows_the_file_it_is_from(results, qtbot, key) -> None:
    viewer = open_table(results, qtbot, "people", key)
    viewer.grid.setCurrentIndex(viewer.model.index(0, 0))
    qtbot.waitUntil(lambda: results.inspector.origin().get("File", "").endswith("people.csv"))
    with qtbot.waitSignal(viewer.loaded):
        results.inspector.findChild(QPushButton, "origin_rows").click()
    assert viewer.rows == PEOPLE


def test_a_tab_says_where_its_table_is_and_each_target_has_its_own(results, qtbot, key) -> None:
    open_table(results, qtbot, "people", key)
    open_table(results, qtbot, "events")
    open_table(results, qtbot, "people", key)
    tabs = results.findChild(QTabWidget, "results_tabs")
    texts = [tabs.tabText(at) for at in range(tabs.count())]
    assert texts == ["SQL", "people · PostgreSQL", "events"]
    assert tabs.currentIndex() == 1


def test_the_tree_opens_queries_and_exports_in_its_target(results, qtbot, key, tmp_path) -> None:
    tree = results.catalog.tree
    tree.setCurrentItem(item(results, "people"))
    qtbot.keyClick(tree, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: results.viewer().property("target") == key)
    qtbot.waitUntil(lambda: results.viewer().rows == PEOPLE)

    choose(results, 0)
    at = tree.visualItemRect(item(results, "people")).center()
    tree.customContextMenuRequested.emit(QPoint(at))
    menu = next(one for one in QApplication.topLevelWidgets() if one.objectName() == "catalog_menu")
    acts = {one.text(): one for one in menu.actions()}
    acts["Query"].trigger()
    assert results.console.target == key
    assert results.console.editor.toPlainText() == "SELECT *\nFROM people\nLIMIT 1000"
    acts["Export…"].trigger()
    menu.close()
    dialog = results.window().findChild(ExportDialog)
    assert [one.text() for one in dialog.findChildren(QRadioButton)] == [
        "The whole table: 500 rows"
    ]
    dialog.reject()


@both
def test_a_query_runs_where_it_is_to_and_its_result_stays_there(
    results, qtbot, key, tmp_path
) -> None:
    combo = results.findChild(QComboBox, "sql_target")
    results.show_sql()
    assert combo.isVisible()
    assert combo.currentData() == key
    run_sql(results, qtbot, "SELECT id, name FROM people")
    viewer = results.console.viewer
    assert f"the first 100 rows of more: Export takes all of them · {kind_of(key)}" in (
        viewer.status()
    )

    choose(results, 0)
    with qtbot.waitSignal(viewer.loaded):
        viewer.sort_by("id", descending=True)
    assert shown(viewer) == ["499", "person 49"]
    with qtbot.waitSignal(viewer.loaded):
        viewer.add_filters([Filter("id", ">=", "300")])
    said, lines = export(results, qtbot, tmp_path / "asked.csv")
    assert said == "The result of the query: 200 rows"
    assert (len(lines), lines[1]) == (201, "499,person 49")

    run_sql(results, qtbot, "SELECT id FROM people")
    assert "people" in problem(results)
    run_sql(results, qtbot, "SELECT count(*) AS n FROM events")
    assert shown(viewer) == ["20"]
    assert viewer.status().split(" · ")[1] == "Catalog"


def test_the_choice_of_where_queries_run_is_kept_for_the_workspace(
    results, qtbot, services, key
) -> None:
    choose(results, 0)
    window = results.window()
    window.open_workspace(services.workspaces.create("other"))
    qtbot.waitUntil(lambda: results.console.target == key)
    window.open_workspace(services.workspaces.default())
    qtbot.waitUntil(lambda: "  people 500" in results.catalog.lines())
    assert results.console.target == ""
    assert results.findChild(QComboBox, "sql_target").currentIndex() == 0


def test_history_runs_again_in_the_target_of_now(results, qtbot, key) -> None:
    results.show_sql()
    run_sql(results, qtbot, "SELECT count(*) AS n FROM people")
    choose(results, 0)
    trigger(results, "history")
    listed = results.findChild(QAbstractItemView, "history_list")
    qtbot.waitUntil(lambda: listed.count() == 1)
    listed.itemActivated.emit(listed.item(0))
    results.console.run()
    qtbot.waitUntil(lambda: not results.console.is_running)
    assert "people" in problem(results)


def test_a_mistake_is_marked_where_the_server_says_it_is(results, qtbot) -> None:
    results.show_sql()
    run_sql(results, qtbot, "SELECT id,\n\n  nothing\nFROM people")
    assert problem(results).endswith("(line 3).")
    cursor = results.console.editor.textCursor()
    assert (cursor.blockNumber(), cursor.positionInBlock()) == (2, 2)


@both
def test_completion_knows_what_is_in_the_target(results, qtbot, key) -> None:
    console = results.console
    results.show_sql()

    def offered(sql):
        console.set_sql(sql)
        console.editor.offer(asked=True)
        return [one.split("   ")[0].rstrip() for one in console.editor.offered()]

    assert offered("SELECT * FROM ") == ["people", "people_quarantine"]
    assert "seen" in offered("SELECT * FROM people WHERE s")
    qtbot.waitUntil(lambda: bool(console._functions.get(key)))
    assert "regexp_replace" in offered("SELECT regexp_rep")
    choose(results, 0)
    assert "people" not in offered("SELECT * FROM ")
    assert "events" in offered("SELECT * FROM ")


def test_names_are_written_as_the_database_needs_them(results, qtbot) -> None:
    results.show_sql()
    results.console.set_sql("")
    # Not a word of DuckDB's, but PostgreSQL takes it for its own.
    results.catalog.name_wanted.emit("session_user", "")
    assert results.console.editor.toPlainText() == '"session_user"'
    choose(results, 0)
    results.console.set_sql("")
    results.catalog.name_wanted.emit("session_user", "")
    assert results.console.editor.toPlainText() == "session_user"


@both
def test_a_table_of_a_database_is_exported_whole_and_as_it_is_shown(
    results, qtbot, key, tmp_path
) -> None:
    viewer = open_table(results, qtbot, "people", key)
    with qtbot.waitSignal(viewer.loaded):
        viewer.add_filters([Filter("name", "=", "person 3")])
    with qtbot.waitSignal(viewer.loaded):
        viewer.sort_by("id", descending=True)
    said, lines = export(results, qtbot, tmp_path / "whole.csv", 0)
    assert (said, len(lines)) == ("The whole table: 500 rows", PEOPLE + 1)
    said, lines = export(results, qtbot, tmp_path / "shown.csv", 1)
    assert said == "What is shown now, these columns: 10 rows"
    assert [line.split(",")[0] for line in lines[1:]] == [str(at) for at in range(453, 0, -50)]


def test_cancel_ends_the_query_on_the_server(results, qtbot, postgres_server, address) -> None:
    def at_work():
        with postgres_server.connect() as connection:
            return connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active'",
                [address.database],
            ).fetchone()[0]

    results.show_sql()
    run_sql(results, qtbot, "SELECT 7 AS before")
    results.console.set_sql("SELECT pg_sleep(60)")
    results.console.run()
    qtbot.waitUntil(lambda: at_work() > 0)
    trigger(results, "cancel")
    assert "cancelled" in problem(results)
    assert shown(results.console.viewer) == ["7"]
    qtbot.waitUntil(lambda: at_work() == 0)


def test_opening_a_table_can_be_cancelled_on_the_server(
    results, qtbot, postgres_server, address, key
) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    )

    def waits():
        with postgres_server.connect() as connection:
            return connection.execute(waiting, [address.database]).fetchone()[0]

    with postgres_server.connect(address) as connection:
        connection.execute("BEGIN; LOCK TABLE casparian.people IN ACCESS EXCLUSIVE MODE")
        results.open_table("people", key)
        viewer = results.viewer()
        qtbot.waitUntil(lambda: waits() > 0)
        viewer.findChild(QPushButton, "table_people_cancel").click()
        qtbot.waitUntil(lambda: waits() == 0)
        connection.execute("ROLLBACK")
    with qtbot.waitSignal(viewer.loaded):
        viewer.findChild(QPushButton, "table_people_banner_act").click()
    assert viewer.rows == PEOPLE


# A database that does not answer


@pytest.fixture
def dead(filled):
    """A sink where nobody listens, which a route of the workspace names."""
    workspace = filled.workspaces.default()
    address = parse(DEAD, schemes=("postgres",))
    filled.routes.set(workspace.id, "evtx", "", address, "replace")
    return address.key


def test_a_database_out_of_reach_says_so_and_the_others_stay(results, dead, qtbot) -> None:
    results._targets.read()
    lines = results.catalog.lines
    qtbot.waitUntil(lambda: "  Try again" in lines())
    at = lines().index("  Try again")
    assert lines()[at - 2] == "PostgreSQL · postgres@127.0.0.1:1/nowhere?gssencmode=disable"
    sentence = item(results, lines()[at - 1].strip())
    assert "could not" in sentence.text(0)
    assert "127.0.0.1" in sentence.text(0)
    assert sentence.text(0) != sentence.text(0).split(".")[0]  # title, detail and hint
    line = results.catalog.tree.visualItemRect(item(results, "people")).height()
    assert results.catalog.tree.visualItemRect(sentence).height() > line
    assert {"  people 500", "  events 20"} <= set(lines())
    assert open_table(results, qtbot, "events").rows == 20

    again = item(results, "Try again")
    results.catalog.tree.setCurrentItem(again)
    qtbot.keyClick(results.catalog.tree, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "  Reading its tables…" in lines())
    qtbot.waitUntil(lambda: "  Try again" in lines())


def test_a_table_out_of_reach_says_so_in_its_tab_and_is_read_when_it_is_back(
    results, qtbot, services, address, key
) -> None:
    def move(text):
        with services._store.write() as uow:
            uow.outputs.remember_sink(key, text)
            uow.commit()
        services.results.close()

    move(DEAD)
    results.open_table("people", key)
    viewer = results.viewer()
    banner = viewer.findChild(QLabel, "table_people_banner_text")
    qtbot.waitUntil(banner.isVisible)
    assert "could not" in banner.text()
    move(address.text)
    with qtbot.waitSignal(viewer.loaded):
        viewer.findChild(QPushButton, "table_people_banner_act").click()
    assert viewer.rows == PEOPLE


def test_a_query_that_cannot_reach_its_database_keeps_its_text(results, dead, qtbot) -> None:
    results._targets.read()
    combo = results.findChild(QComboBox, "sql_target")
    qtbot.waitUntil(lambda: combo.findData(dead) >= 0)
    results.show_sql()
    choose(results, combo.findData(dead))
    run_sql(results, qtbot, "SELECT 1")
    assert "could not" in problem(results)
    assert results.console.editor.toPlainText() == "SELECT 1"


def test_a_server_that_does_not_answer_never_holds_up_the_window(
    results, qtbot, stalls, services
) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        port = silent.getsockname()[1]
        address = parse(
            f"postgres://x@127.0.0.1:{port}/x?gssencmode=disable", schemes=("postgres",)
        )
        workspace = services.workspaces.default()
        services.routes.set(workspace.id, "evtx", "", address, "replace")
        stalls.start()
        results._targets.read()
        qtbot.waitUntil(lambda: "  Reading its tables…" in results.catalog.lines())
        began = time.monotonic()
        assert open_table(results, qtbot, "events").rows == 20
        assert time.monotonic() - began < 4
        qtbot.waitUntil(lambda: "  Try again" in results.catalog.lines())
    assert stalls.longest_ms < 100, stalls.where


# Elsewhere in the window


def test_the_board_and_the_palette_say_where_tables_are(
    results, qtbot, settings, address, key
) -> None:
    window = results.window()
    window.show_view("workspace")
    board = window.findChild(QAbstractItemView, "ready_table")
    model = board.model()
    qtbot.waitUntil(lambda: model.rowCount() == 2)
    titles = [model.headerData(at, Qt.Orientation.Horizontal) for at in range(model.columnCount())]
    place = titles.index("Where")
    assert not board.isColumnHidden(place)
    assert [model.index(row, place).data() for row in range(2)] == ["Catalog", where(key)]
    board.setCurrentIndex(model.index(1, 0))
    window.actions_registry.get("workspace.open_table").trigger()
    qtbot.waitUntil(lambda: results.viewer().property("target") == key)
    qtbot.waitUntil(lambda: results.viewer().rows == PEOPLE)

    trigger(results, "close_tab")
    window.actions_registry.get("view.palette").trigger()
    palette = window.findChild(Palette)
    listed = palette.findChild(QAbstractItemView, "palette_list")
    palette._field.setText("people postgresql")
    qtbot.waitUntil(lambda: listed.model().rowCount() == 1)
    assert listed.model().index(0, 1).data() == "Table · PostgreSQL"
    qtbot.keyClick(palette._field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: results.viewer().property("target") == key)


def test_quarantine_in_a_database_is_reached_from_the_board(results, qtbot, key) -> None:
    window = results.window()
    window.show_view("workspace")
    qtbot.waitUntil(lambda: window.findChild(QPushButton, "warning_people") is not None)
    warning = window.findChild(QPushButton, "warning_people")
    assert warning.text() == "people: 2 rows in quarantine, PostgreSQL"
    warning.click()
    qtbot.waitUntil(lambda: results.viewer().property("target") == key)
    qtbot.waitUntil(lambda: results.viewer().rows == 2)


def test_columns_of_one_target_are_found_and_named(results, qtbot) -> None:
    tree = results.catalog
    tree._search.setText("seen")
    assert [one.strip() for one in tree.lines() if "people" in one] == ["people 500"]
    assert not any("events" in one for one in tree.lines())


def test_a_listing_is_the_same_whoever_writes_its_names() -> None:
    target = Target("", "catalog", "/x")
    assert Listing(target, spelling=None) == Listing(target)
