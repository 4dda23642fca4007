from dataclasses import dataclass

import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from casparian.ui import theme
from casparian.ui.record_table import MAX_ROWS, PAGE, Column, PagedModel, RecordModel, RecordTable


@dataclass(frozen=True)
class Thing:
    id: int
    name: str = "thing"
    digest: str = "ab" * 32


COLUMNS = (
    Column("Name", lambda one: f"{one.name} {one.id}", sort="name"),
    Column("Number", lambda one: f"{one.id:,}", right=True, whole=lambda one: str(one.id)),
    Column("State", lambda _: "done", state=lambda _: ("good", "good")),
)


def model_of(*rows):
    model = RecordModel(COLUMNS, lambda one: one.id)
    model.replace(rows)
    return model


def paged(total):
    model = PagedModel(COLUMNS, lambda one: one.id)
    model.start(total, [Thing(n) for n in range(min(total, PAGE))])
    return model


def picture(model, rows):
    wide = range(model.columnCount())
    return [
        " | ".join(str(model.index(row, at).data() or "") for at in wide).strip() for row in rows
    ]


def test_both_models_keep_qts_rules(look, qtmodeltester):
    qtmodeltester.check(model_of(Thing(1), Thing(2)))
    qtmodeltester.check(paged(1000))


def test_rows_show_what_the_columns_say(look):
    model = model_of(Thing(1), Thing(2_000))
    assert picture(model, range(2)) == ["thing 1 | 1 | done", "thing 2000 | 2,000 | done"]
    assert model.index(0, 2).data(Qt.ItemDataRole.ForegroundRole) == theme.color("good")


def test_evidence_text_is_escaped_and_never_markup(look):
    model = model_of(Thing(1, "<b>a\nb\u202ec</b>"))
    assert model.index(0, 0).data() == "<b>a\\nb\\u202ec</b> 1"
    assert "&lt;b&gt;" in model.index(0, 0).data(Qt.ItemDataRole.ToolTipRole)


def test_replacing_by_the_same_things_redraws_only_what_changed(look, qtbot):
    model = model_of(*(Thing(n) for n in range(9)))
    with qtbot.assertNotEmitted(model.modelReset), qtbot.waitSignal(model.dataChanged) as changed:
        model.replace([Thing(n, "changed" if n == 4 else "thing") for n in range(9)])
    top, bottom, *_ = changed.args
    assert (top.row(), bottom.row()) == (4, 4)


def test_the_chosen_thing_stays_chosen_when_rows_come_and_go(look, qtbot):
    model = model_of(Thing(1), Thing(2))
    table = RecordTable(model, "table", "Things")
    qtbot.addWidget(table)
    table.choose(2)
    model.replace([Thing(3), Thing(1), Thing(2)])
    assert table.current() == Thing(2)


def test_pages_are_asked_for_by_what_is_on_screen_and_never_by_data(look, qtbot):
    model = paged(1_000_000)
    asked = []
    model.page_wanted.connect(lambda offset, limit: asked.append(offset))
    assert model.index(600_000, 0).data() is None
    assert asked == []

    table = RecordTable(model, "table", "Things")
    qtbot.addWidget(table)
    table.resize(QSize(600, 480))
    table.show()
    table.scrollTo(model.index(600_000, 0))
    qtbot.waitUntil(lambda: bool(asked))

    assert set(asked) <= {599_808, 600_064 - PAGE, 600_064}
    model.put_page(asked[0], [Thing(asked[0] + n) for n in range(PAGE)])
    assert model.index(asked[0], 0).data() == f"thing {asked[0]}"


def test_a_page_is_asked_for_once(look):
    model = paged(1_000)
    asked = []
    model.page_wanted.connect(lambda offset, limit: asked.append(offset))
    model.want(300, 600)
    model.want(310, 620)
    assert asked == [256, 512]


def test_few_pages_are_kept(look):
    model = paged(100_000)
    for offset in range(0, 100_000, PAGE):
        model.put_page(offset, [Thing(offset + n) for n in range(PAGE)])
    held = [row for row in range(0, 100_000, PAGE) if model.record(row) is not None]
    assert len(held) <= 64


@pytest.mark.parametrize("total", [10**7, 10**9])
def test_more_rows_than_a_view_can_take_are_clamped(look, qtbot, total):
    model = paged(total)
    table = RecordTable(model, "table", "Things")
    qtbot.addWidget(table)
    table.show()
    assert model.rowCount() == min(total, MAX_ROWS)
    assert table.rowHeight(0) == theme.ROW_HEIGHT


def test_copying_takes_the_whole_value(look, qtbot):
    model = model_of(Thing(1_000), Thing(2_000))
    table = RecordTable(model, "table", "Things")
    qtbot.addWidget(table)
    table.setCurrentIndex(model.index(0, 1))
    QTest.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "1000"

    table.selectAll()
    table.copy()
    assert QGuiApplication.clipboard().text() == "thing 1000\t1000\tdone\nthing 2000\t2000\tdone"


def test_a_click_on_a_header_asks_the_service_to_sort(look, qtbot):
    table = RecordTable(model_of(Thing(1)), "table", "Things")
    qtbot.addWidget(table)
    with qtbot.waitSignal(table.sort_wanted) as wanted:
        table.horizontalHeader().setSortIndicator(0, Qt.SortOrder.DescendingOrder)
    assert wanted.args == ["name", True]
