"""Types are found by elimination over every value, whatever the order."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian.domain.inference import CANDIDATES, Elimination, widen
from casparian.domain.types import read_text

WORDS = st.sampled_from([*CANDIDATES, "json", "null"])
TEXTS = st.one_of(
    st.none(),
    st.sampled_from(
        [
            "", "0", "-7", "007", "9007199254740993", "1.5", "1e-7", "12e5", "true", "False", "NaN",
            "2022-03-10", "2022-02-30", "2022-03-10 16:33:50", "2022-03-10T16:33:50Z", "word", "-",
        ]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=5),
)  # fmt: skip


def type_of(*texts: str | None, floor: str = "", types: tuple[str, ...] = CANDIDATES) -> str:
    column = Elimination(floor)
    column.see(pa.array(texts, pa.string()), types)
    return column.type()


@settings(deadline=None)
@given(WORDS, WORDS, WORDS)
def test_widening_is_a_join(a, b, c):
    assert widen(a, a) == a
    assert widen(a, b) == widen(b, a)
    assert widen(a, widen(b, c)) == widen(widen(a, b), c)
    assert widen(a, widen(a, b)) == widen(a, b)


@settings(deadline=None)
@given(st.lists(TEXTS), st.sampled_from(["", "null", *CANDIDATES]))
def test_the_type_that_is_left_reads_every_value(texts, floor):
    word = type_of(*texts, floor=floor)
    _, ok = read_text(word, pa.array(texts, pa.string()))
    assert all(ok.to_pylist())
    assert not floor or widen(floor, word) == word


@settings(deadline=None)
@given(st.lists(st.lists(TEXTS)), st.randoms())
def test_the_order_of_batches_does_not_matter(batches, random):
    shuffled = list(batches)
    random.shuffle(shuffled)
    first, second = Elimination(), Elimination()
    for batch in batches:
        first.see(pa.array(batch, pa.string()), CANDIDATES)
    for batch in shuffled:
        second.see(pa.array(batch, pa.string()), CANDIDATES)
    whole = type_of(*(text for batch in batches for text in batch))
    assert first.type() == second.type() == whole


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        ((), "null"),
        ((None, ""), "null"),
        (("1", "2", None, ""), "int64"),
        (("1", "2.5"), "float64"),
        (("1", "007"), "string"),
        (("9007199254740993",), "int64"),
        (("9007199254740993", "1.5"), "string"),
        (("99999999999999999999",), "string"),
        (("12e5",), "string"),
        (("1.2e5", "3e-7", "4"), "float64"),
        (("true", "FALSE"), "boolean"),
        (("true", "1"), "string"),
        (("2022-03-10", ""), "date"),
        (("2022-03-10", "2022-03-10 16:33:50.0893545"), "timestamp"),
        (("2022-03-10", "2022-02-30"), "string"),
        (("2022-03-10T16:33:50Z", "1601-01-01 00:00:00 UTC"), "timestamp_utc"),
        (("2022-03-10T16:33:50Z", "2022-03-10T16:33:50"), "string"),
    ],
)
def test_one_value_is_enough_to_remove_a_type(texts, word):
    assert type_of(*texts) == word
    assert type_of(*reversed(texts)) == word


def test_a_late_contradiction_counts():
    column = Elimination()
    column.see(pa.array([str(n) for n in range(50_000)] + ["n/a"]), CANDIDATES)
    assert column.type() == "string"


@pytest.mark.parametrize(
    ("floor", "texts", "word"),
    [
        ("float64", ("1",), "float64"),
        ("float64", ("9007199254740993",), "string"),
        ("timestamp", ("2022-03-10",), "timestamp"),
        ("date", ("2022-03-10 10:00",), "timestamp"),
        ("boolean", ("1",), "string"),
        ("string", ("1",), "string"),
        ("int64", (), "int64"),
        ("null", (), "null"),
        ("null", ("1",), "int64"),
        ("json", ("{}",), "string"),
    ],
)
def test_a_floor_is_only_left_upwards(floor, texts, word):
    assert type_of(*texts, floor=floor) == word


def test_kinds_that_share_no_type_are_string():
    column = Elimination()
    column.see(pa.array(["1", "2"]), ("int64", "float64"))
    column.see(pa.array(["2022-03-10"]), ("date", "timestamp"))
    assert column.type() == "string"


def test_empty_text_is_a_value_where_it_can_be_nothing_but_text():
    assert type_of("", types=("string",)) == "string"
    assert type_of(None, types=("string",)) == "null"
    assert type_of("", types=("date", "string")) == "null"
