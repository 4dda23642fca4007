"""Values written as text read back as themselves, by our own reading of text and by anybody's of JSON."""

from __future__ import annotations

import json

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.catalog import cells
from casparian.domain.types import arrow_type, read_text
from casparian.duck import duck_type

YEAR_1_US = -62_135_596_800_000_000
YEAR_99999_US = 3_093_527_980_799_999_999
DAY_US = 86_400_000_000

VALUES = {
    "boolean": st.booleans(),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(),
    "decimal(18,4)": st.decimals(-(10**13), 10**13, places=4, allow_nan=False),
    "date": st.integers(YEAR_1_US // DAY_US, YEAR_99999_US // DAY_US),
    "time": st.integers(0, DAY_US - 1),
    "timestamp": st.integers(YEAR_1_US, YEAR_99999_US),
    "timestamp_utc": st.integers(YEAR_1_US, YEAR_99999_US),
    "duration": st.integers(-(10**17), 10**17),
    "binary": st.binary(min_size=1, max_size=9),
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as opened:
        opened.execute("SET GLOBAL TimeZone = 'UTC'")
        yield opened


def written(connection, word, values, how):
    """What `how` makes of the values, given as a committed file would hold them."""
    given = pa.array(values, arrow_type(word))
    if word == "duration":
        given = given.cast(pa.int64())
    connection.register("given", pa.table({"v": given}))
    try:
        sql = f"SELECT {how(word, f'CAST(v AS {duck_type(word)})')} FROM given"
        return [row[0] for row in connection.execute(sql).fetchall()]
    finally:
        connection.unregister("given")


@given(st.data())
def test_a_value_written_as_text_reads_back_as_itself(connection, data):
    word = data.draw(st.sampled_from(sorted(VALUES)))
    values = [*data.draw(st.lists(VALUES[word], min_size=1, max_size=5)), None]
    texts = written(connection, word, values, cells.text)

    back, ok = read_text(word, pa.array(texts, pa.string()))
    if word == "float64":
        # Text that does not say which double it is, is refused on the way in; none is misread.
        assert [
            b for b, o in zip(back.to_pylist(), ok.to_pylist(), strict=True) if o and b == b
        ] == [v for v, o in zip(values, ok.to_pylist(), strict=True) if o and v == v]
        return
    assert all(ok.to_pylist())
    assert back.equals(pa.array(values, arrow_type(word)))


@given(st.lists(VALUES["float64"], min_size=1, max_size=5))
def test_a_double_is_written_with_all_that_it_holds(connection, values):
    texts = written(connection, "float64", values, cells.text)
    assert [repr(float(one)) for one in texts] == [repr(one) for one in values]


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_text_becomes_a_json_string_on_one_line(connection, values):
    texts = written(connection, "string", values, cells.json)
    assert [json.loads(one) for one in texts] == values
    assert not any("\n" in one for one in texts)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(JSON, min_size=1, max_size=4), st.sampled_from([None, 1, "\t"]))
def test_text_that_is_json_is_put_in_as_json_on_one_line(connection, values, indent):
    given_texts = [json.dumps(one, indent=indent, ensure_ascii=False) for one in values]
    texts = written(connection, "json", given_texts, cells.json)

    for text, value, before in zip(texts, values, given_texts, strict=True):
        assert "\n" not in text
        assert json.loads(text) in (value, before)


@pytest.mark.parametrize(
    "text", ["NaN", "[1, -Infinity]", '{"a": nan}', "[1,]x", "", "{", "\0", "[1] 2"]
)
def test_text_that_others_would_not_take_for_json_becomes_a_string(connection, text):
    assert json.loads(written(connection, "json", [text], cells.json)[0]) == text


def test_lists_and_structs_are_json_all_the_way_down(connection):
    word = "list<struct<a:list<timestamp_utc>,b\"'{}:list<list<float64>>,c:binary>>"
    values = [
        [{"a": [0, None], "b\"'{}": [[1.5, float("nan")], None, []], "c": b"\xff"}, None],
        [],
        None,
    ]
    texts = written(connection, word, values, cells.json)

    assert texts[2] is None
    assert [json.loads(one) for one in texts[:2]] == [
        [
            {
                "a": ["1970-01-01T00:00:00.000000Z", None],
                "b\"'{}": [[1.5, "NaN"], None, []],
                "c": "ff",
            },
            None,
        ],
        [],
    ]
