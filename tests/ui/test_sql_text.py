"""The scanner never loses a character, and completion offers what fits where the cursor stands."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.ui.sql_text import (
    Kind,
    KnownTable,
    Open,
    complete,
    error_offset,
    needs_quotes,
    scan,
)

EVENTS = KnownTable("evtx_events", (("event_id", "int64"), ("time", "timestamp_utc")))
LOGONS = KnownTable("logons", (("user", "string"), ("event", "int64")))
TABLES = (EVENTS, LOGONS)


def kinds(sql: str) -> list[tuple[str, str]]:
    return [(token.kind.value, token.text) for token in scan(sql)[0]]


def offered(sql_with_cursor: str, **more: object) -> list[str]:
    cursor = sql_with_cursor.index("|")
    text = sql_with_cursor.replace("|", "", 1)
    return [one.name for one in complete(text, cursor, TABLES, **more).suggestions]  # type: ignore[arg-type]  # keyword of the function under test


def test_each_part_is_told_apart() -> None:
    assert kinds("SELECT \"a b\", 1.5e3 FROM t -- all\nWHERE x = 'it''s'") == [
        ("keyword", "SELECT"),
        ("quoted name", '"a b"'),
        ("symbol", ","),
        ("number", "1.5e3"),
        ("keyword", "FROM"),
        ("name", "t"),
        ("comment", "-- all"),
        ("keyword", "WHERE"),
        ("name", "x"),
        ("symbol", "="),
        ("string", "'it''s'"),
    ]


def test_destructive_words_stand_out_but_not_as_a_column_of_something() -> None:
    assert kinds("DROP TABLE t")[0] == ("destructive", "DROP")
    assert kinds("t.delete") == [("name", "t"), ("symbol", "."), ("name", "delete")]


@pytest.mark.parametrize(
    ("text", "open_"),
    [
        ("select /* a", Open.COMMENT),
        ("select 'a", Open.STRING),
        ("select 'a''", Open.STRING),
        ('select "a', Open.QUOTED_NAME),
        ("select $$a", Open.DOLLAR_STRING),
        ("select 'a' -- 'b", Open.NOTHING),
    ],
)
def test_what_is_open_at_the_end_is_known(text: str, open_: Open) -> None:
    assert scan(text)[1] is open_


@given(st.lists(st.sampled_from(["a", "'", '"', "/*", "*/", "--", "\n", " ", "$$", ".", "1", ";"])))
def test_line_by_line_gives_the_same_end_as_the_whole(parts: list[str]) -> None:
    text = "".join(parts)
    open_ = Open.NOTHING
    for line in text.split("\n"):
        tokens, open_ = scan(line, open_)
        assert all(line[token.start : token.end] == token.text for token in tokens)
    tokens, whole = scan(text)
    assert all(text[token.start : token.end] == token.text for token in tokens)
    shown = sum(len(token.text) for token in tokens)
    spaces = len(text) - shown
    assert spaces <= sum(char.isspace() for char in text)
    if "''" not in text.replace("\n", "") and '""' not in text.replace("\n", ""):
        assert open_ is whole


def test_tables_come_behind_from_and_join() -> None:
    assert offered("select * from |") == ["evtx_events", "logons"]
    assert offered("select * from logons l join ev|") == ["evtx_events"]
    assert offered("select * from logons, ev|") == ["evtx_events"]


def test_columns_of_the_tables_that_are_read_come_first() -> None:
    assert offered("select | from logons")[:2] == ["user", "event"]
    assert offered("select ev| from evtx_events") == ["event_id", "evtx_events"]


def test_behind_a_dot_come_the_columns_of_that_table_or_alias_alone() -> None:
    assert offered("select e.| from evtx_events as e, logons l") == ["event_id", "time"]
    assert offered("select l.ev| from evtx_events e join logons l using (x)") == ["event"]
    assert offered("select * from main.|") == ["evtx_events", "logons"]


def test_another_statement_of_the_text_does_not_lend_its_tables() -> None:
    assert offered("select 1 from logons; select us|") == ["USING"]


def test_nothing_is_offered_inside_text_or_comments() -> None:
    assert offered("select 'ev|") == []
    assert offered("select 1 -- ev|") == []
    assert offered("select 12|") == []


def test_functions_and_keywords_are_offered_where_values_stand() -> None:
    assert offered("select str| from logons", functions=["strftime", "lower"])[:1] == ["strftime"]
    assert offered("sel|") == ["SELECT"]


def test_names_that_are_not_plain_need_quotes() -> None:
    assert [needs_quotes(name) for name in ("a_1", "A", "a b", "order", "1a", "")] == [
        False,
        True,
        True,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT *\n FORM x y z",
        "SELECT 1 +\n\n  , 2",
        f"SELECT {', '.join(str(n) for n in range(200))} FRM x y",
        "SELECT 'ä' FORM x y",
    ],
)
def test_an_error_is_found_where_the_database_says_it_is(sql: str) -> None:
    with pytest.raises(duckdb.ParserException) as caught:
        duckdb.connect().execute(sql)
    at = error_offset(sql, str(caught.value))
    near = str(caught.value).split('"')[1]
    assert at is not None
    assert sql[at:].startswith(near)


def test_a_message_without_a_place_has_none() -> None:
    assert error_offset("select 1", "Out of memory") is None
    assert error_offset("select 1", "LINE 9: select\n       ^") is None


def test_quoted_names_are_read_as_what_they_stand_for() -> None:
    (token,) = scan('"a ""b"""')[0]
    assert (token.kind, token.name) == (Kind.QUOTED_NAME, 'a "b"')
