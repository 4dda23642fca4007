"""Names and texts reach DuckDB as what they are, whatever is in them."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.catalog.sql import from_duckdb, reachable, readable, shape_of
from casparian.domain.errors import Cancelled, EnvironmentProblem, UserProblem
from casparian.duck import duck_type, literal, quote

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
def test_a_literal_is_the_text_itself(text):
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT {literal(text)}").fetchall() == [(text,)]


@given(TEXTS.filter(lambda text: text and "\0" not in text))
def test_a_quoted_name_names_just_that(name):
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({quote(name)} INTEGER)")
        assert connection.table("t").columns == [name]


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"], ids=["empty", "nul", "surrogate"])
def test_what_cannot_be_a_name_is_refused_with_a_sentence(name):
    with pytest.raises(UserProblem):
        quote(name)


def test_half_a_character_is_refused_with_its_place():
    with pytest.raises(UserProblem, match=r"Character 3 of 'ab\\udc00' is a lone"):
        literal("ab\udc00")


def test_names_are_written_plainly_where_they_can_be():
    keywords = frozenset({"level", "time"})
    names = ["event_id", "level", "Time", "two words", 'a"b']

    assert [readable(one, keywords) for one in names] == [
        "event_id",
        '"level"',
        '"Time"',
        '"two words"',
        '"a""b"',
    ]


@pytest.mark.parametrize(
    ("word", "duck"),
    [
        ("int64", "BIGINT"),
        ("decimal(10,2)", "DECIMAL(10,2)"),
        ("timestamp_utc", "TIMESTAMP WITH TIME ZONE"),
        ("json", "VARCHAR"),
        ("duration", "BIGINT"),
        ("list<struct<a:int64,b:list<string>>>", 'STRUCT("a" BIGINT, "b" VARCHAR[])[]'),
    ],
)
def test_each_type_has_a_duckdb_type_that_holds_it(word, duck):
    assert duck_type(word) == duck
    with duckdb.connect() as connection:
        connection.execute(f"SELECT CAST(NULL AS {duck})")


@pytest.mark.parametrize(
    ("duck", "word"),
    [
        ("BIGINT", "int64"),
        ("TINYINT", "int64"),
        ("UBIGINT", "decimal(20,0)"),
        ("HUGEINT", "decimal(38,0)"),
        ("DECIMAL(10,2)", "decimal(10,2)"),
        ("FLOAT", "float64"),
        ("VARCHAR[]", "list<string>"),
        ("INTEGER[]", "string"),
        ("INTERVAL", "string"),
        ("UUID", "string"),
        ("TIMESTAMP_NS", "string"),
        ("MAP(VARCHAR, INTEGER)", "string"),
        ('"NULL"', "string"),
    ],
)
def test_a_type_that_is_not_ours_is_shown_wider_or_as_text(duck, word):
    assert shape_of(duck).word == word


def test_a_path_is_never_taken_for_a_pattern():
    assert reachable("/a/[b]/c*.parquet") == ("/a/[b]/c*.parquet", "/a/[[]b]/c[*].parquet")
    assert reachable("/a/b.parquet") == ("/a/b.parquet",)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("INTERRUPT Error: Interrupted!", Cancelled),
        ("Parser Error: syntax error at or near x\n\nLINE 1: x\n        ^", UserProblem),
        ("Permission Error: Cannot access file", UserProblem),
        ("Out of Memory Error: could not allocate", EnvironmentProblem),
        ("IO Error: No files found", EnvironmentProblem),
        (
            "Invalid Input Error: No magic bytes found at end of file '/o/a.parquet'",
            EnvironmentProblem,
        ),
        ("Invalid Input Error: boom", UserProblem),
        ("something else", EnvironmentProblem),
    ],
)
def test_a_message_tells_whose_fault_it_is(message, kind):
    assert type(from_duckdb(OSError(message), "It does not run")) is kind


def test_the_detail_keeps_the_place_of_the_fault():
    problem = from_duckdb(duckdb.ParserException("Parser Error: bad\n\nLINE 1: x\n   ^"), "No")

    assert problem.detail == "bad\n\nLINE 1: x\n   ^"
