"""The model shows what is here, asks for what is on screen, and never waits."""

from __future__ import annotations

import pyarrow as pa
import pytest
from PySide6.QtCore import QModelIndex, Qt

from casparian.domain.errors import EnvironmentProblem
from casparian.domain.results import ColumnInfo
from casparian.ui.table_model import (
    CELL_CHARS,
    MAX_ROWS,
    PAGE_ROWS,
    Page,
    PageCache,
    TableModel,
    cell_text,
    trimmed,
)
from helpers.fake_results import FakeView, HeldTasks, view_of

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def held() -> HeldTasks:
    return HeldTasks()


@pytest.fixture
def model(qapp, held) -> TableModel:
    return TableModel(held)


def text(model: TableModel, row: int, column: int) -> str:
    return model.data(model.index(row, column))


def test_qt_finds_nothing_wrong_with_the_model(qtmodeltester, model, held) -> None:
    view = FakeView(2_000)
    model.show(view, 2_000)
    model.want(0, 40)
    held.release()
    qtmodeltester.check(model)


def test_rows_that_are_not_here_are_placeholders_and_come_later(model, held, qtbot) -> None:
    model.show(FakeView(5_000), 5_000)
    model.want(1_000, 1_040)
    assert text(model, 1_000, 1) == "…"
    with qtbot.waitSignal(model.dataChanged):
        held.release()
    assert text(model, 1_000, 1) == "text 1000"
    assert text(model, 1_535, 1) == "text 1535"


def test_looking_at_a_cell_never_asks_for_rows(model, held) -> None:
    view = FakeView(100_000)
    model.show(view, 100_000)
    for row in range(0, 100_000, 997):
        text(model, row, 1)
    assert held.keys() == []
    assert view.pages == []


def test_what_is_on_screen_is_read_before_its_neighbours(model, held) -> None:
    view = FakeView(10 * PAGE_ROWS)
    model.show(view, view.length)
    model.want(3 * PAGE_ROWS, 3 * PAGE_ROWS + 40)
    held.release()
    assert [offset // PAGE_ROWS for offset, _ in view.pages] == [3, 4, 2]


def test_scrolling_on_leaves_out_what_was_passed(model, held) -> None:
    view = FakeView(1_000 * PAGE_ROWS)
    model.show(view, view.length)
    for number in range(0, 900, 3):
        model.want(number * PAGE_ROWS, number * PAGE_ROWS + 40)
    held.release()
    read = [offset // PAGE_ROWS for offset, _ in view.pages]
    assert len(read) <= 5
    assert 897 in read


def test_the_reply_for_an_older_view_is_dropped(model, held) -> None:
    older = FakeView(600, (ColumnInfo("old", "string"),))
    model.show(older, 600)
    model.want(0, 40)
    waiting = dict(held.waiting)
    held.waiting.clear()
    newer = FakeView(600, (ColumnInfo("new", "string"),))
    model.show(newer, 600)
    held.waiting = waiting
    held.release()
    assert text(model, 0, 0) == "…"


def test_rows_beyond_what_qt_can_lay_out_are_counted_but_not_shown(model) -> None:
    model.show(FakeView(MAX_ROWS + 1), MAX_ROWS + 1)
    assert (model.rowCount(), model.rows_total) == (MAX_ROWS, MAX_ROWS + 1)
    model.show(FakeView(MAX_ROWS), MAX_ROWS)
    assert (model.rowCount(), model.rows_total) == (MAX_ROWS, MAX_ROWS)
    assert model.rowCount(model.index(0, 0)) == 0
    assert model.columnCount(QModelIndex()) == 2


def test_a_page_that_fails_says_so_in_place_and_is_read_again_on_retry(model, held, qtbot) -> None:
    view = FakeView(600, problem=EnvironmentProblem("The disk is gone"))
    model.show(view, 600)
    model.want(0, 40)
    with qtbot.waitSignal(model.page_failed) as failed:
        held.release(once=True)
    assert failed.args[0].title == "The disk is gone"
    assert text(model, 0, 0) == "could not be read"
    assert "The disk is gone" in model.data(model.index(0, 0), Qt.ItemDataRole.ToolTipRole)
    held.release()
    model.want(0, 40)
    assert held.keys() == []
    view.problem = None
    model.retry()
    held.release()
    assert text(model, 0, 1) == "text 0"


def test_null_is_seen_as_null_and_empty_text_as_nothing(model, held) -> None:
    model.show(view_of(pa.table({"a": ["", None]}), "string"), 2)
    model.want(0, 1)
    held.release()
    assert (text(model, 0, 0), text(model, 1, 0)) == ("", "NULL")
    assert model.data(model.index(0, 0), Qt.ItemDataRole.FontRole) is None
    assert model.data(model.index(1, 0), Qt.ItemDataRole.FontRole).italic()


def test_names_that_deceive_are_escaped(model, held) -> None:
    view = view_of(pa.table({"a\u202eb": ["x\u202egpj.exe\nnext"]}), "string")
    model.show(view, 1)
    model.want(0, 0)
    held.release()
    assert text(model, 0, 0) == "x\\u202egpj.exe\\nnext"
    assert model.headerData(0, Qt.Orientation.Horizontal) == "a\\u202eb"


def test_a_page_keeps_little_of_a_huge_cell() -> None:
    page = pa.table({"a": ["x" * 50_000_000, "y"], "b": [b"\xff" * 10_000, None]})
    kept = trimmed(page)
    assert kept.nbytes < 10 * CELL_CHARS
    assert kept.column("a")[0].as_py() == "x" * CELL_CHARS


def test_dictionary_columns_show_their_values() -> None:
    page = pa.table({"a": pa.array(["x", "x"]).dictionary_encode()})
    assert trimmed(page).column("a").to_pylist() == ["x", "x"]


@pytest.mark.parametrize(
    ("value", "column", "shown"),
    [
        (pa.scalar(4624), ColumnInfo("event_id", "int64"), "4624"),
        (pa.scalar(1234567), ColumnInfo("size_bytes", "int64"), "1,234,567"),
        (pa.scalar(None, pa.int64()), ColumnInfo("size_bytes", "int64"), "NULL"),
        (pa.scalar(DIGEST), ColumnInfo("sha256", "string"), "0123456789…"),
        (pa.scalar(DIGEST), ColumnInfo("_cf_source_hash", "string"), "0123456789…"),
        (pa.scalar(DIGEST), ColumnInfo("command", "string"), DIGEST),
        (pa.scalar("no hash"), ColumnInfo("sha256", "string"), "no hash"),
        (
            pa.scalar(1646930030089000, pa.timestamp("us", "UTC")),
            ColumnInfo("time", "timestamp_utc"),
            "2022-03-10 16:33:50.089 UTC",
        ),
        (
            pa.scalar(-11644473600000000, pa.timestamp("us", "UTC")),
            ColumnInfo("time", "timestamp_utc"),
            "1601-01-01 00:00:00.000 UTC",
        ),
    ],
    ids=str,
)
def test_values_look_like_what_they_are(value, column, shown) -> None:
    assert cell_text(value, column) == shown


def test_a_shortened_hash_is_whole_in_its_tool_tip(model, held) -> None:
    model.show(view_of(pa.table({"sha256": [DIGEST]}), "string"), 1)
    model.want(0, 0)
    held.release()
    assert model.data(model.index(0, 0), Qt.ItemDataRole.ToolTipRole) == f"<qt>{DIGEST}</qt>"


def test_markup_in_evidence_stays_text_in_tool_tips(model, held) -> None:
    hostile = "<img src='file:///etc/passwd'> and so on"
    model.show(view_of(pa.table({"a": [hostile]}), "string"), 1)
    model.want(0, 0)
    held.release()
    shown = model.data(model.index(0, 0), Qt.ItemDataRole.ToolTipRole)
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_the_header_says_what_rows_are_sorted_and_filtered_by(model) -> None:
    model.show(FakeView(10), 10)
    model.mark([("text", True)], frozenset({"row"}))
    assert model.headerData(1, Qt.Orientation.Horizontal) == "text ↓"
    assert not model.headerData(
        0, Qt.Orientation.Horizontal, Qt.ItemDataRole.DecorationRole
    ).isNull()
    model.mark([("text", True), ("row", False)], frozenset())
    assert model.headerData(1, Qt.Orientation.Horizontal) == "text ↓1"
    assert model.headerData(0, Qt.Orientation.Horizontal) == "row ↑2"


def test_numbers_stand_at_the_right(model) -> None:
    model.show(FakeView(10), 10)
    right = model.data(model.index(0, 0), Qt.ItemDataRole.TextAlignmentRole)
    assert right & Qt.AlignmentFlag.AlignRight
    assert not (
        model.data(model.index(0, 1), Qt.ItemDataRole.TextAlignmentRole)
        & Qt.AlignmentFlag.AlignRight
    )


def test_the_cache_keeps_the_pages_used_last_within_its_bounds() -> None:
    cache = PageCache(pages=2, size_bytes=1 << 20)
    for number in range(3):
        cache.put(number, Page(0, pa.table({"a": [1]}), 8))
        cache.get(0)
    assert [number in cache for number in range(3)] == [True, False, True]
    small = PageCache(pages=10, size_bytes=100)
    small.put(0, Page(0, pa.table({"a": list(range(1_000))}), 8_000))
    small.put(1, Page(0, pa.table({"a": list(range(1_000))}), 8_000))
    assert (0 in small, 1 in small, len(small)) == (False, True, 1)
