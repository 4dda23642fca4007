"""The tree says what there is, how much of it, and what was rejected; it finds, opens, queries, exports."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLineEdit, QMenu

from casparian.domain.results import ColumnInfo, TableInfo
from casparian.services.results import Target
from casparian.ui.catalog_tree import CatalogTree
from casparian.ui.targets import Listing

COLUMNS = (ColumnInfo("time", "timestamp_utc", "When"), ColumnInfo("<b>user</b>", "string"))
TABLES = [
    TableInfo("main", "people", "table", COLUMNS, 1_234_567),
    TableInfo("main", "people_quarantine", "quarantine", COLUMNS[:1], 12),
    TableInfo("main", "clean", "table", (ColumnInfo("id", "int64"),), 3),
    TableInfo("main", "clean_quarantine", "quarantine", (), 0),
    TableInfo("main", "files", "control", (ColumnInfo("path", "string"),), 9),
]
CATALOG = Target("", "catalog", "/cases/home/query.duckdb")


def of_catalog(tables):
    return [Listing(CATALOG, tuple(tables))]


@pytest.fixture
def tree(qtbot, look):
    made = CatalogTree()
    qtbot.addWidget(made)
    made.resize(260, 500)
    made.show_targets(of_catalog(TABLES))
    made.show()
    return made


def test_tables_stand_with_their_rows_and_quarantine_beneath(tree) -> None:
    assert tree.lines() == [
        "Tables",
        "  clean 3",
        "    quarantine 0",
        "  people 1,234,567",
        "    quarantine 12",
        "About the case",
        "  files 9",
    ]


def test_a_table_is_found_by_its_name_or_by_that_of_a_column(tree, qtbot) -> None:
    field = tree.findChild(QLineEdit, "catalog_search")
    qtbot.keyClicks(field, "PEOP")
    assert tree.lines() == ["Tables", "  people 1,234,567", "    quarantine 12", "About the case"]
    field.clear()
    qtbot.keyClicks(field, "path")
    assert tree.lines() == ["Tables", "About the case", "  files 9"]
    field.clear()
    assert len(tree.lines()) == 7


def items(tree):
    return {item.text(0): item for item in tree._items()}


def test_enter_opens_a_table_and_its_quarantine_and_names_a_column(tree, qtbot) -> None:
    for name, expected in [("people", "people"), ("clean", "clean")]:
        tree.tree.setCurrentItem(items(tree)[name])
        with qtbot.waitSignal(tree.open_wanted) as wanted:
            qtbot.keyClick(tree.tree, Qt.Key.Key_Return)
        assert wanted.args == [expected, ""]
    items(tree)["people"].setExpanded(True)
    tree.tree.setCurrentItem(items(tree)["people"].child(0))
    with qtbot.waitSignal(tree.open_wanted) as wanted:
        qtbot.keyClick(tree.tree, Qt.Key.Key_Return)
    assert wanted.args == ["people_quarantine", ""]
    tree.tree.setCurrentItem(items(tree)["<b>user</b>"])
    with qtbot.waitSignal(tree.name_wanted) as wanted:
        qtbot.keyClick(tree.tree, Qt.Key.Key_Return)
    assert wanted.args == ["<b>user</b>", ""]


def test_what_is_open_and_chosen_stays_when_the_catalog_changes(tree) -> None:
    items(tree)["people"].setExpanded(True)
    tree.tree.setCurrentItem(items(tree)["people"])
    tree.show_targets(of_catalog([*TABLES, TableInfo("main", "another", "table", (), 1)]))
    assert items(tree)["people"].isExpanded()
    assert tree.current_table() == "people"


def test_the_menu_opens_queries_copies_and_exports(tree, qtbot) -> None:
    at = tree.tree.visualItemRect(items(tree)["people"]).center()
    tree.tree.customContextMenuRequested.emit(at)
    menu = next(one for one in QApplication.topLevelWidgets() if isinstance(one, QMenu))
    acts = {one.text(): one for one in menu.actions()}
    assert list(acts) == ["Open", "Query", "Copy the name", "Export…"]
    for text, signal in [
        ("Open", tree.open_wanted),
        ("Query", tree.query_wanted),
        ("Export…", tree.export_wanted),
    ]:
        with qtbot.waitSignal(signal) as wanted:
            acts[text].trigger()
        assert wanted.args == ["people", ""]
    acts["Copy the name"].trigger()
    assert QGuiApplication.clipboard().text() == "people"
    menu.close()


def test_names_from_evidence_are_no_markup_in_tool_tips(tree) -> None:
    items(tree)["people"].setExpanded(True)
    assert "&lt;b&gt;" in items(tree)["<b>user</b>"].toolTip(0)


def test_a_catalog_of_ten_thousand_columns_that_changes_holds_up_nothing(
    tree, stalls, qtbot
) -> None:
    columns = tuple(ColumnInfo(f"column_{at}", "string") for at in range(50))
    many = [TableInfo("main", f"table_{at}", "table", columns, at) for at in range(200)]
    stalls.start()
    for extra in range(5):
        tree.show_targets(
            of_catalog([*many, TableInfo("main", f"new_{extra}", "table", columns, 1)])
        )
        qtbot.wait(10)
    assert stalls.longest_ms < 100, stalls.where
