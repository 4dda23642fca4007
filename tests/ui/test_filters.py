"""What people type becomes a filter, or a sentence that says why it cannot be one."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QComboBox, QLabel, QLineEdit, QPushButton

from casparian.domain.errors import UserProblem
from casparian.domain.results import OPERATORS, ColumnInfo, Filter, Sort
from casparian.ui import filters
from casparian.ui.filter_bar import FilterChips, FilterEditor

EVENT = ColumnInfo("event_id", "int64")
TIME = ColumnInfo("time", "timestamp_utc")
USER = ColumnInfo("user", "string")
PRICE = ColumnInfo("price", "decimal(10,2)")
COLUMNS = (EVENT, TIME, USER, PRICE)


@pytest.mark.parametrize(
    "word",
    ["string", "json", "int64", "float64", "decimal(5,2)", "boolean", "date", "time", "timestamp",
     "timestamp_utc", "duration", "binary", "list<int64>", "struct<a:string>"],
)  # fmt: skip
def test_every_type_has_comparisons_that_the_catalog_knows(word) -> None:
    operators = [operator for operator, _ in filters.comparisons(word)]
    assert set(operators) - {filters.BETWEEN} <= set(OPERATORS)
    assert {"is null", "not null"} <= set(operators)


@pytest.mark.parametrize(
    ("column", "operator", "text", "text_to", "expected"),
    [
        (EVENT, "=", "4624", "", (Filter("event_id", "=", "4624"),)),
        (EVENT, "in", "4624, 4625\n4634,", "", (Filter("event_id", "in", ("4624", "4625", "4634")),)),
        (EVENT, "is null", "whatever", "", (Filter("event_id", "is null"),)),
        (TIME, filters.BETWEEN, "2022-03-10", "2022-03-11 12:00",
         (Filter("time", ">=", "2022-03-10"), Filter("time", "<=", "2022-03-11 12:00"))),
        (USER, "contains", " adm ", "", (Filter("user", "contains", " adm "),)),
        (USER, "=", "", "", (Filter("user", "=", ""),)),
    ],
)  # fmt: skip
def test_what_is_typed_becomes_filters(column, operator, text, text_to, expected) -> None:
    assert filters.made(column, operator, text, text_to) == expected


@pytest.mark.parametrize(
    ("column", "operator", "text"),
    [(EVENT, "=", "abc"), (EVENT, "=", ""), (TIME, ">", "yesterday"), (PRICE, "=", "1.234"),
     (EVENT, "in", " , "), (EVENT, filters.BETWEEN, "1")],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_with_a_sentence(column, operator, text) -> None:
    with pytest.raises(UserProblem) as caught:
        filters.made(column, operator, text)
    assert str(caught.value).endswith(".")


def test_the_refusal_shows_what_would_do() -> None:
    with pytest.raises(UserProblem, match="such as 4624"):
        filters.made(EVENT, "=", "abc")


def test_filters_read_like_sentences() -> None:
    assert filters.in_words(Filter("event_id", "=", "4624"), "int64") == "event_id is 4624"
    assert filters.in_words(Filter("time", "<", "2022"), "timestamp_utc") == "time is before 2022"
    assert filters.in_words(Filter("user", "contains", "a\u202eb")) == "user contains “a\\u202eb”"
    assert filters.in_words(Filter("user", "is null")) == "user is null"
    assert filters.in_words(Filter("a", "in", ("1", "2")), "int64") == "a is one of 1, 2"
    assert len(filters.in_words(Filter("user", "=", "x" * 500))) < 100
    assert (
        filters.sort_in_words((Sort("time", descending=True), Sort("a"))) == "sorted by time ↓, a ↑"
    )


@pytest.fixture
def editor(qtbot, look):
    made = FilterEditor()
    qtbot.addWidget(made)
    made.ask(COLUMNS, "event_id", QPoint(10, 10))
    return made


def part(widget, kind, name):
    found = widget.findChild(kind, name)
    assert found is not None
    return found


def test_the_editor_gives_a_filter_on_the_column_it_was_opened_for(editor, qtbot) -> None:
    qtbot.keyClicks(part(editor, QLineEdit, "filter_value"), "4624")
    with qtbot.waitSignal(editor.chosen) as chosen:
        part(editor, QPushButton, "filter_apply").click()
    assert chosen.args == [(Filter("event_id", "=", "4624"),)]
    assert not editor.isVisible()


def test_the_editor_stays_open_and_says_what_is_wrong(editor, qtbot) -> None:
    qtbot.keyClicks(part(editor, QLineEdit, "filter_value"), "abc\r")
    assert editor.isVisible()
    assert "whole numbers" in part(editor, QLabel, "filter_problem").text()


def test_the_editor_asks_for_as_many_values_as_the_comparison_takes(editor) -> None:
    operators = part(editor, QComboBox, "filter_operator")
    value, value_to = (part(editor, QLineEdit, one) for one in ("filter_value", "filter_value_to"))
    for operator, expected in [
        ("=", (True, False)),
        ("between", (True, True)),
        ("is null", (False, False)),
    ]:
        operators.setCurrentIndex(operators.findData(operator))
        assert (value.isVisible(), value_to.isVisible()) == expected


def test_the_comparisons_follow_the_column(editor) -> None:
    columns = part(editor, QComboBox, "filter_column")
    columns.setCurrentIndex(columns.findData("user"))
    operators = part(editor, QComboBox, "filter_operator")
    offered = [operators.itemData(at) for at in range(operators.count())]
    assert offered == [operator for operator, _ in filters.comparisons("string")]


def test_chips_show_each_filter_and_take_it_away(qtbot, look) -> None:
    chips = FilterChips()
    qtbot.addWidget(chips)
    held = (Filter("event_id", "=", "4624"), Filter("user", "contains", "adm"))
    chips.show_filters(held, COLUMNS)
    assert chips.texts() == ["event_id is 4624", "user contains “adm”"]
    with qtbot.waitSignal(chips.removed) as removed:
        chips.findChildren(object, "filter_remove_1")[0].click()
    assert removed.args == [held[1]]
    with qtbot.waitSignal(chips.removed) as removed:
        part(chips, QPushButton, "filter_clear").click()
    assert removed.args == [None]
    chips.show_filters((), COLUMNS)
    assert chips.isHidden()
