"""A filter bound and the same filter written out find the same rows, whatever people type."""

from __future__ import annotations

import contextlib

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.catalog.conditions import Bound, Written, condition, searching
from casparian.domain.errors import UserProblem
from casparian.domain.results import ColumnInfo, Filter

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ASCII = st.text(st.characters(max_codepoint=127), max_size=8)
COLUMN = ColumnInfo("a", "string")
WORDS = st.sampled_from(["string", "json"])
"""Both hold text, and are searched in different ways."""


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as opened:
        yield opened


def found(connection, cells, make):
    """The cells that a condition finds, bound and written out, which must be the same."""
    bound = Bound()
    sql = make(bound)
    connection.execute("CREATE OR REPLACE TEMP TABLE t (a VARCHAR, row_no INTEGER)")
    connection.executemany(
        "INSERT INTO t VALUES (?, ?)", [(one, at) for at, one in enumerate(cells)]
    )
    first = connection.execute(f"SELECT row_no FROM t WHERE {sql} ORDER BY 1", bound.values)
    rows = first.fetchall()
    written = connection.execute(f"SELECT row_no FROM t WHERE {make(Written())} ORDER BY 1")
    assert written.fetchall() == rows
    return [cells[row[0]] for row in rows]


@given(
    st.lists(ASCII, min_size=1, max_size=6), ASCII, st.sampled_from(["contains", "starts"]), WORDS
)
def test_text_is_looked_for_as_it_stands_whatever_the_case(connection, cells, needle, op, word):
    column = ColumnInfo("a", word)
    cells = [*cells, f"x{needle.swapcase()}y", needle.upper()]
    expected = [
        cell
        for cell in cells
        if (
            needle.lower() in cell.lower()
            if op == "contains"
            else cell.lower().startswith(needle.lower())
        )
    ]

    assert (
        found(
            connection, cells, lambda write: condition(column, Filter("a", op, needle), "a", write)
        )
        == expected
    )


@given(TEXTS, TEXTS, TEXTS, WORDS)
def test_what_is_there_letter_for_letter_is_always_found(connection, before, needle, after, word):
    column = ColumnInfo("a", word)
    cells = [before + needle + after]

    assert (
        found(connection, cells, lambda write: searching(needle, [column], lambda _: "a", write))
        == cells
    )
    assert (
        found(
            connection,
            cells,
            lambda write: condition(column, Filter("a", "contains", needle), "a", write),
        )
        == cells
    )


@given(st.lists(TEXTS, min_size=1, max_size=5), TEXTS, st.sampled_from(["=", "!=", "<", ">="]))
def test_texts_compare_by_their_bytes(connection, cells, value, op):
    cells = [*cells, value]
    compare = {
        "=": lambda cell: cell == value,
        "!=": lambda cell: cell != value,
        "<": lambda cell: cell.encode() < value.encode(),
        ">=": lambda cell: cell.encode() >= value.encode(),
    }[op]

    rows = found(
        connection, cells, lambda write: condition(COLUMN, Filter("a", op, value), "a", write)
    )
    assert rows == [cell for cell in cells if compare(cell)]


@given(st.lists(TEXTS, max_size=4), TEXTS)
def test_in_takes_the_values_as_they_are(connection, values, other):
    cells = [*values, other]
    rows = found(
        connection,
        cells,
        lambda write: condition(COLUMN, Filter("a", "in", tuple(values)), "a", write),
    )
    assert rows == [cell for cell in cells if cell in values]


@given(
    st.text(max_size=12),
    st.sampled_from(["int64", "float64", "date", "timestamp_utc", "binary", "decimal(5,2)"]),
)
def test_a_value_is_read_or_refused_with_a_sentence(value, word):
    with contextlib.suppress(UserProblem):
        sql = condition(ColumnInfo("a", word), Filter("a", "=", value), "a", Written())
        with duckdb.connect() as connection:
            assert connection.execute(f"SELECT NULL {sql[2:]}").fetchall() == [(None,)]


def test_a_search_without_text_columns_finds_nothing():
    assert searching("x", [ColumnInfo("a", "int64")], lambda _: "a", Written()) == "false"
