"""A result narrowed further is what the database would give for the statement as people would write it."""

from __future__ import annotations

import pytest

from casparian.catalog.guard import check_select
from casparian.domain.errors import UserProblem
from casparian.domain.results import ColumnInfo, Filter, Sort

COLUMNS = (ColumnInfo("order", "string"), ColumnInfo("n", "int64"))
SQL = "SELECT * FROM (VALUES ('b', 1), ('a', 2), ('A''x', 2), (NULL, 3)) AS v(\"order\", n)"


@pytest.fixture
def reader(case, opened):
    return opened()


def rows(reader, **wishes):
    statement = reader.narrowed(SQL, COLUMNS, **wishes)
    check_select(statement)
    with reader.query(statement) as view:
        return [tuple(row.values()) for row in view.page(0, 100).to_pylist()]


def test_filters_search_and_order_hold_together(reader) -> None:
    assert rows(reader, sort=[Sort("n", descending=True), Sort("order")]) == [
        (None, 3),
        ("A'x", 2),
        ("a", 2),
        ("b", 1),
    ]
    assert rows(reader, filters=[Filter("order", "=", "A'x")]) == [("A'x", 2)]
    assert sorted(rows(reader, search="a")) == [("A'x", 2), ("a", 2)]
    assert rows(reader, filters=[Filter("n", ">=", "2")], search="'") == [("A'x", 2)]


def test_a_comment_at_the_end_of_the_query_hides_nothing(reader) -> None:
    statement = reader.narrowed(
        "SELECT 1 AS n -- one", [ColumnInfo("n", "int64")], sort=[Sort("n")]
    )
    with reader.query(statement) as view:
        assert view.count() == 1


@pytest.mark.parametrize("name", ["nothing", "n) --"])
def test_a_column_that_is_not_there_is_refused(reader, name) -> None:
    with pytest.raises(UserProblem, match="no column"):
        reader.narrowed(SQL, COLUMNS, sort=[Sort(name)])


def test_columns_of_one_name_are_told_and_not_guessed(reader) -> None:
    twice = [ColumnInfo("n", "int64"), ColumnInfo("n", "int64")]
    with pytest.raises(UserProblem, match="names of their own"):
        reader.narrowed("SELECT 1 AS n, 2 AS n", twice, sort=[Sort("n")])


def test_what_may_not_run_is_not_wrapped_either(reader) -> None:
    with pytest.raises(UserProblem):
        reader.narrowed("DROP TABLE x", COLUMNS)
