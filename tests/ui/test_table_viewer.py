"""The table viewer over the real catalog: what is asked for is shown, and the window never waits for it."""

from __future__ import annotations

import threading
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PySide6.QtCore import QItemSelection, QItemSelectionModel, QPoint, Qt
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QInputDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
)

from casparian.domain.contracts import LINEAGE_COLUMNS, Column
from casparian.domain.errors import EnvironmentProblem
from casparian.domain.results import CommittedTable, Filter, Sort, ViewSpec
from casparian.ui.table_model import MAX_ROWS
from casparian.ui.table_viewer import Shape, TableViewer
from helpers.fake_results import FakeView, view_of
from helpers.tables import Case, written

COLUMNS = [("number", "int64"), ("name", "string"), ("note", "string")]
ROWS = 3_000


@pytest.fixture
def reader(tmp_path):
    catalog = Case(tmp_path / "home")
    numbers = [(at * 7) % ROWS for at in range(ROWS)]
    catalog.add(
        "events",
        COLUMNS,
        {
            "number": numbers,
            "name": [f"name {at % 10}" for at in numbers],
            "note": [None if at % 3 == 0 else "" if at % 3 == 1 else f"tab\there {at}" for at in numbers],
        },
    )  # fmt: skip
    made = catalog.reader()
    yield made
    made.close()


@pytest.fixture
def open_viewer(qtbot, tasks):
    made = []

    def open_it(opener, **options):
        viewer = TableViewer(tasks, [QAction("Filter")], "tested")
        qtbot.addWidget(viewer)
        made.append(viewer)
        viewer.resize(900, 500)
        viewer.show()
        with qtbot.waitSignal(viewer.loaded):
            viewer.show_rows_of(opener, **options)
        return viewer

    yield open_it
    for viewer in made:
        viewer.close_now()


@pytest.fixture
def viewer(open_viewer, reader):
    return open_viewer(partial(opened, reader))


def opened(reader, shape, _token):
    return reader.open(ViewSpec("main", "events", shape.filters, shape.search, shape.sort))


def column(viewer, name, rows=5):
    at = [one.name for one in viewer.model.columns].index(name)
    return [viewer.model.index(row, at).data() for row in range(rows)]


def part(viewer, kind, name):
    found = viewer.findChild(kind, name)
    assert found is not None, name
    return found


def test_the_first_rows_are_there_as_soon_as_the_table_is(viewer) -> None:
    assert column(viewer, "number") == ["0", "7", "14", "21", "28"]
    assert viewer.status().startswith("3,000 rows · ")


def test_lineage_columns_are_hidden_until_asked_for(viewer) -> None:
    assert viewer.shown_columns() == ["number", "name", "note"]
    viewer.toggle_lineage()
    assert viewer.shown_columns() == ["number", "name", "note", *LINEAGE_COLUMNS]
    viewer.toggle_lineage()
    assert viewer.shown_columns() == ["number", "name", "note"]


def click_header(viewer, qtbot, name, keys=Qt.KeyboardModifier.NoModifier):
    header = viewer.grid.horizontalHeader()
    at = [one.name for one in viewer.model.columns].index(name)
    place = QPoint(header.sectionViewportPosition(at) + 10, 10)
    with qtbot.waitSignal(viewer.loaded):
        qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, keys, place)


def test_a_click_on_the_header_sorts_up_then_down_then_not(viewer, qtbot) -> None:
    click_header(viewer, qtbot, "number")
    assert column(viewer, "number") == ["0", "1", "2", "3", "4"]
    assert "sorted by number ↑" in viewer.status()
    click_header(viewer, qtbot, "number")
    assert column(viewer, "number") == ["2999", "2998", "2997", "2996", "2995"]
    click_header(viewer, qtbot, "number")
    assert column(viewer, "number") == ["0", "7", "14", "21", "28"]


def test_shift_adds_a_further_key(viewer, qtbot) -> None:
    click_header(viewer, qtbot, "name")
    click_header(viewer, qtbot, "number", Qt.KeyboardModifier.ShiftModifier)
    click_header(viewer, qtbot, "number", Qt.KeyboardModifier.ShiftModifier)
    assert viewer.shape.sort == (Sort("name"), Sort("number", descending=True))
    assert column(viewer, "number", 3) == ["2990", "2980", "2970"]


def test_filters_narrow_and_say_so_and_go_away(viewer, qtbot) -> None:
    with qtbot.waitSignal(viewer.loaded):
        viewer.add_filters([Filter("name", "=", "name 3"), Filter("number", "<", "100")])
    assert sorted(column(viewer, "number", 10)) == sorted(str(at) for at in range(3, 100, 10))
    assert viewer.status().startswith("10 of 3,000 rows · 2 filters")
    with qtbot.waitSignal(viewer.loaded):
        part(viewer, QToolButton, "filter_remove_0").click()
    assert viewer.rows == 100
    with qtbot.waitSignal(viewer.loaded):
        viewer.clear_filters()
    assert viewer.rows == ROWS


def test_a_filter_that_nothing_passes_says_what_to_do(viewer, qtbot) -> None:
    with qtbot.waitSignal(viewer.loaded):
        viewer.add_filters([Filter("name", "=", "nobody")])
    assert viewer.status().startswith("0 of 3,000 rows")
    assert [one.name for one in viewer.model.columns][:3] == ["number", "name", "note"]


def test_the_search_looks_everywhere_and_is_emptied_by_clearing(viewer, qtbot) -> None:
    field = part(viewer, QLineEdit, "tested_search")
    qtbot.keyClicks(field, "NAME 4")
    with qtbot.waitSignal(viewer.loaded):
        qtbot.keyClick(field, Qt.Key.Key_Return)
    assert viewer.rows == ROWS // 10
    assert "containing “NAME 4”" in viewer.status()
    with qtbot.waitSignal(viewer.loaded):
        field.clear()
    assert viewer.rows == ROWS


def test_cancel_keeps_the_rows_that_are_there(open_viewer, qtbot) -> None:
    gate = threading.Event()

    def slow(shape, token):
        if shape.search:
            while not gate.is_set():
                token.check()
        return FakeView(100)

    viewer = open_viewer(slow)
    viewer.set_shape(Shape(search="x"))
    assert viewer.status().startswith("Searching")
    cancel = part(viewer, QPushButton, "tested_cancel")
    assert cancel.isVisible()
    cancel.click()
    assert not viewer.is_loading
    assert viewer.shape == Shape()
    assert viewer.status().startswith("100 rows")
    assert not cancel.isVisible()
    gate.set()


def test_only_the_newest_wish_is_shown(viewer, qtbot) -> None:
    for text in ("name 1", "name 2", "7"):
        viewer.set_shape(Shape(filters=(Filter("name", "contains", text),)))
    with qtbot.waitSignal(viewer.loaded):
        pass
    assert {*column(viewer, "name")} == {"name 7"}


def test_a_table_that_cannot_be_opened_says_why_and_is_tried_again(qtbot, tasks) -> None:
    problems = [EnvironmentProblem("The disk is gone", hint="Plug it in")]

    def opener(_shape, _token):
        if problems:
            raise problems.pop()
        return FakeView(7)

    viewer = TableViewer(tasks, [], "tested")
    qtbot.addWidget(viewer)
    viewer.show()
    viewer.show_rows_of(opener)
    text = part(viewer, QLabel, "tested_banner_text")
    qtbot.waitUntil(text.isVisible)
    assert "The disk is gone" in text.text()
    with qtbot.waitSignal(viewer.loaded):
        part(viewer, QPushButton, "tested_banner_act").click()
    assert viewer.rows == 7
    assert not text.isVisible()


def test_a_page_that_cannot_be_read_is_read_again_on_retry(open_viewer, qtbot) -> None:
    view = FakeView(50_000)
    viewer = open_viewer(lambda _shape, _token: view)
    view.problem = EnvironmentProblem("The disk is gone")
    viewer.grid.go_to(30_000)
    qtbot.waitUntil(lambda: viewer.model.index(30_000, 0).data() == "could not be read")
    view.problem = None
    with qtbot.waitSignal(viewer.model.page_arrived):
        part(viewer, QPushButton, "tested_banner_act").click()
    qtbot.waitUntil(lambda: viewer.model.index(30_000, 1).data() == "text 30000")


def test_more_rows_than_can_be_shown_are_told(open_viewer) -> None:
    viewer = open_viewer(lambda _shape, _token: FakeView(MAX_ROWS + 21_000_000))
    assert viewer.status().startswith("71,000,000 rows · the first 50,000,000 are shown")
    viewer.grid.go_to(MAX_ROWS - 1)
    assert viewer.grid.currentIndex().row() == MAX_ROWS - 1


def test_go_to_row_is_asked_for_and_done(viewer, qtbot) -> None:
    viewer.ask_row()
    dialog = viewer.findChild(QInputDialog, "go_to_row")
    dialog.setIntValue(2_345)
    dialog.accept()
    qtbot.waitUntil(lambda: viewer.model.is_here(2_344))
    assert viewer.grid.currentIndex().row() == 2_344
    assert viewer.model.index(2_344, 0).data() == str(2_344 * 7 % ROWS)


def select(viewer, first, last, *names):
    columns = [one.name for one in viewer.model.columns]
    chosen = QItemSelection()
    for name in names:
        at = columns.index(name)
        chosen.select(viewer.model.index(first, at), viewer.model.index(last, at))
    viewer.grid.selectionModel().select(chosen, QItemSelectionModel.SelectionFlag.ClearAndSelect)


def test_a_single_cell_is_copied_as_it_is(viewer, qtbot) -> None:
    select(viewer, 2, 2, "note")
    with qtbot.waitSignal(QGuiApplication.clipboard().dataChanged):
        viewer.copy_cells()
    assert QGuiApplication.clipboard().text() == "tab\there 14"


def test_rows_are_copied_as_lines_with_their_tabs_escaped(viewer, qtbot) -> None:
    select(viewer, 0, 2, "number")
    with qtbot.waitSignal(QGuiApplication.clipboard().dataChanged):
        viewer.copy_rows_with_header()
    assert QGuiApplication.clipboard().text() == (
        "number\tname\tnote\n0\tname 0\t\n7\tname 7\t\n14\tname 4\ttab\\there 14"
    )
    select(viewer, 0, 1, "number", "note")
    with qtbot.waitSignal(QGuiApplication.clipboard().dataChanged):
        viewer.copy_cells()
    assert QGuiApplication.clipboard().text() == "0\t\n7\t"


def test_what_is_copied_spans_pages_and_hidden_columns_stay_out(viewer, qtbot) -> None:
    viewer.ask_columns()
    viewer._chooser.shown_changed.emit(1, False)
    select(viewer, 0, ROWS - 1, "number")
    with qtbot.waitSignal(QGuiApplication.clipboard().dataChanged):
        viewer.copy_rows()
    lines = QGuiApplication.clipboard().text().split("\n")
    assert len(lines) == ROWS
    assert lines[2_999] == f"{2_999 * 7 % ROWS}\ttab\\there {2_999 * 7 % ROWS}"


def test_too_much_for_the_clipboard_is_refused_with_the_way_out(open_viewer) -> None:
    viewer = open_viewer(lambda _shape, _token: FakeView(1_000_000))
    viewer.grid.selectAll()
    viewer.copy_rows()
    assert "Use Export" in part(viewer, QLabel, "tested_banner_text").text()


def test_a_cell_filters_by_its_whole_value_and_null_by_being_null(viewer, qtbot) -> None:
    viewer.grid.setCurrentIndex(viewer.model.index(0, 2))
    with qtbot.waitSignal(viewer.loaded):
        viewer._filter_by_cell("=")
    assert viewer.shape.filters == (Filter("note", "is null"),)
    assert viewer.rows == ROWS // 3
    with qtbot.waitSignal(viewer.loaded):
        viewer.clear_filters()
    viewer.grid.setCurrentIndex(viewer.model.index(1, 0))
    with qtbot.waitSignal(viewer.loaded):
        viewer._filter_by_cell("=")
    assert column(viewer, "number", 1) == ["7"]


def test_frozen_columns_stay_and_follow_the_rows(viewer) -> None:
    viewer.resize(300, 400)
    viewer.grid.freeze(1)
    frozen = viewer.grid.findChild(type(viewer.grid).__mro__[1], "tested_grid_frozen")
    assert frozen.isVisible()
    assert [at for at in range(9) if not frozen.isColumnHidden(at)] == [0]
    viewer.grid.verticalScrollBar().setValue(500)
    assert frozen.verticalScrollBar().value() == 500
    viewer.grid.freeze(0)
    assert not frozen.isVisible()


def test_columns_are_moved_and_hidden(viewer) -> None:
    viewer._chooser.moved.emit(0, 1)
    assert viewer.shown_columns() == ["name", "number", "note"]
    viewer._chooser.shown_changed.emit(1, False)
    assert viewer.shown_columns() == ["number", "note"]


def test_columns_have_room_for_their_values(viewer) -> None:
    metrics = viewer.grid.fontMetrics()
    for at, name in enumerate(["number", "name", "note"]):
        widest = max(metrics.horizontalAdvance(text) for text in [name, *column(viewer, name)])
        assert viewer.grid.columnWidth(at) >= widest


def test_the_chosen_row_is_told_once_for_each_row(viewer, qtbot) -> None:
    told = []
    viewer.row_chosen.connect(told.append)
    viewer.grid.setFocus()
    viewer.grid.setCurrentIndex(viewer.model.index(3, 0))
    qtbot.keyClick(viewer.grid, Qt.Key.Key_Right)
    qtbot.keyClick(viewer.grid, Qt.Key.Key_Down)
    assert [one.row for one in told][-2:] == [3, 4]
    assert len([one for one in told if one.row == 3]) == 1


def test_the_keyboard_reaches_every_row(viewer, qtbot) -> None:
    grid = viewer.grid
    grid.setFocus()
    keys = Qt.KeyboardModifier.ControlModifier
    qtbot.keyClick(grid, Qt.Key.Key_End, keys)
    assert grid.currentIndex().row() == ROWS - 1
    qtbot.waitUntil(lambda: viewer.model.is_here(ROWS - 1))
    qtbot.keyClick(grid, Qt.Key.Key_Home, keys)
    assert (grid.currentIndex().row(), grid.currentIndex().column()) == (0, 0)
    qtbot.keyClick(grid, Qt.Key.Key_PageDown)
    assert grid.currentIndex().row() > 5


def test_a_stale_table_says_so_and_keeps_its_rows_until_reloaded(viewer, qtbot) -> None:
    viewer.say_stale()
    assert column(viewer, "number", 2) == ["0", "7"]
    with qtbot.waitSignal(viewer.loaded):
        part(viewer, QPushButton, "tested_banner_act").click()
    assert not part(viewer, QLabel, "tested_banner_text").isVisible()


def test_views_that_are_no_longer_shown_are_closed(open_viewer, qtbot) -> None:
    views = []

    def opener(_shape, _token):
        views.append(FakeView(10))
        return views[-1]

    viewer = open_viewer(opener)
    with qtbot.waitSignal(viewer.loaded):
        viewer.set_shape(Shape(sort=(Sort("row"),)))
    qtbot.waitUntil(lambda: views[0].closed)
    assert not views[1].closed
    viewer.close_view()
    qtbot.waitUntil(lambda: views[1].closed)


@pytest.fixture
def ten_million(tmp_path):
    """Ten million rows: one file of a million, committed ten times over."""
    catalog = Case(tmp_path / "home")
    numbers = pa.array(range(1_000_000), pa.int64())
    words = (Column("number", "int64"), Column("text", "string"))
    table = pa.table({"number": numbers, "text": pc.cast(numbers, pa.string())})
    one = written(catalog.outputs / "0.parquet", table, row_group_size=122_880)
    catalog.tables.append(CommittedTable("main", "events", words, (one,) * 10))
    made = catalog.reader()
    yield made
    made.close()


def test_scrolling_through_ten_million_rows_never_holds_up_the_window(
    open_viewer, ten_million, qtbot, stalls
) -> None:
    viewer = open_viewer(partial(opened, ten_million))
    assert viewer.rows == 10_000_000
    bar = viewer.grid.verticalScrollBar()
    QApplication.processEvents()
    stalls.start()
    for step in range(60):
        bar.setValue(bar.maximum() * ((step * 37) % 60) // 60)
        qtbot.wait(10)
    viewer.grid.go_to(9_999_999)
    qtbot.waitUntil(lambda: viewer.model.is_here(9_999_999))
    assert viewer.model.index(9_999_999, 1).data() == "999999"
    assert stalls.longest_ms < 100, stalls.where


def test_sorting_ten_million_rows_shows_the_first_at_once_and_the_last_in_time(
    open_viewer, ten_million, qtbot, stalls
) -> None:
    viewer = open_viewer(partial(opened, ten_million))
    stalls.start()
    with qtbot.waitSignal(viewer.loaded, timeout=20_000):
        viewer.sort_by("number", descending=True)
    assert column(viewer, "number", 2) == ["999999", "999999"]
    viewer.grid.go_to(9_999_999)
    qtbot.waitUntil(lambda: viewer.model.is_here(9_999_999), timeout=60_000)
    assert viewer.model.index(9_999_999, 0).data() == "0"
    assert stalls.longest_ms < 100, stalls.where


def test_a_table_of_two_thousand_columns_opens_without_holding_up_the_window(
    open_viewer, qtbot, stalls
) -> None:
    values = pa.array([f"value {at}" for at in range(1_000)])
    table = pa.table([values] * 2_000, [f"column_{at}" for at in range(2_000)])
    view = view_of(table, *["string"] * 2_000)
    stalls.start()
    viewer = open_viewer(lambda _shape, _token: view)
    viewer.grid.go_to(900)
    qtbot.waitUntil(lambda: viewer.model.is_here(900))
    viewer.toggle_lineage()
    viewer.grid.horizontalScrollBar().setValue(viewer.grid.horizontalScrollBar().maximum())
    qtbot.wait(50)
    assert stalls.longest_ms < 100, stalls.where
