"""Text is read as a type only where the value means the same when it is written back."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casparian.domain.types import arrow_type, read_text, word_of

WORDS = [
    "boolean", "int64", "float64", "decimal(5,2)", "decimal(38,0)", "decimal(3,3)", "date", "time",
    "timestamp", "timestamp_utc", "duration", "string", "binary", "json", "list<int64>", "list<list<string>>",
    "struct<a:int64,b:list<string>>", "struct<a:struct<b:decimal(3,1)>,c:date>",
]  # fmt: skip


def read(word: str, text: str | None):
    """The value as Arrow holds it (times as numbers: Python's end at the year 9999); ... if refused."""
    values, ok = read_text(word, pa.array([text], pa.string()))
    assert values.type == arrow_type(word)
    if not ok[0].as_py():
        assert values[0].as_py() is None
        return ...
    if pa.types.is_temporal(values.type):
        whole = pa.int32() if values.type.bit_width == 32 else pa.int64()
        return values.cast(whole)[0].as_py()
    return values[0].as_py()


def micros(*when: int) -> int:
    return (datetime(*when, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


@pytest.mark.parametrize("word", WORDS)
def test_a_word_and_its_arrow_type_are_inverse(word):
    assert word_of(arrow_type(word)) == ("string" if word in {"json", "null"} else word)


@pytest.mark.parametrize(
    "word",
    ["", "int32", "decimal", "decimal(5,9)", "decimal(39,0)", "list<>", "list<x>", "struct<>", "struct<a>",
     "struct<:int64>", "struct<a:int64", "timestamp[us]"],
)  # fmt: skip
def test_what_is_no_type_is_refused(word):
    with pytest.raises(ValueError, match="is not a type"):
        arrow_type(word)


def test_an_arrow_type_without_a_word_is_refused():
    with pytest.raises(ValueError, match="no type stands for"):
        word_of(pa.int8())


@pytest.mark.parametrize("word", WORDS)
def test_null_is_null_and_empty_text_too_except_for_strings(word):
    assert read(word, None) is None
    assert read(word, "") == ("" if word in {"string", "null"} else None)
    values, ok = read_text(word, pa.array([], pa.string()))
    assert len(values) == len(ok) == 0


@pytest.mark.parametrize(
    ("word", "text", "value"),
    [
        ("boolean", "true", True),
        ("boolean", "FALSE", False),
        ("boolean", "1", ...),
        ("boolean", "yes", ...),
        ("int64", "0", 0),
        ("int64", "-42", -42),
        ("int64", "-0", ...),
        ("int64", "007", ...),
        ("int64", "+7", ...),
        ("int64", " 7", ...),
        ("int64", "0x1f", ...),
        ("int64", "٣", ...),
        ("int64", "9223372036854775807", 2**63 - 1),
        ("int64", "9223372036854775808", ...),
        ("int64", "-9223372036854775808", -(2**63)),
        ("int64", "-9223372036854775809", ...),
        ("int64", "1" * 5000, ...),
        ("float64", "1.5", 1.5),
        ("float64", ".5", 0.5),
        ("float64", "1.", ...),
        ("float64", "1e5", 1e5),
        ("float64", "-1.25E-7", -1.25e-7),
        ("float64", "1e400", ...),
        ("float64", "1e-400", ...),
        ("float64", "5e-324", 5e-324),
        ("float64", "1e99999999999999999999", ...),
        ("float64", "0e-400", 0.0),
        ("float64", "Infinity", float("inf")),
        ("float64", "inf", ...),
        ("float64", "nan", ...),
        ("float64", "1,5", ...),
        ("float64", "1,000.0", ...),
        ("float64", "00.5", ...),
        ("float64", "0x1p3", ...),
        ("float64", "9007199254740992", 2.0**53),
        ("float64", "9007199254740993", ...),
        ("float64", "9007199254740994", ...),
        ("float64", "9007199254740993.0", ...),
        ("float64", "0.1234567890123456789", ...),
        ("float64", "0.10000000000000001", 0.1),
        ("float64", "1379288667.706265", 1379288667.706265),
        ("decimal(5,2)", "123.45", Decimal("123.45")),
        ("decimal(5,2)", "-0.5", Decimal("-0.50")),
        ("decimal(5,2)", "1234.5", ...),
        ("decimal(5,2)", "1.555", ...),
        ("decimal(3,3)", "0.125", Decimal("0.125")),
        ("decimal(3,3)", "1.125", ...),
        ("binary", "00fF", b"\x00\xff"),
        ("binary", "0", ...),
        ("binary", "0g", ...),
        ("json", ' {"a": [1, 2]}', ' {"a": [1, 2]}'),
        ("json", "null", "null"),
        ("json", '"\\ud800"', '"\\ud800"'),
        ("json", "1" * 5000, "1" * 5000),
        ("json", "[1,]", ...),
        ("json", "NaN", ...),
        ("json", '{"a": NaN, "b": "\\ud800"}', ...),
        ("json", "[" * 100_000 + "]" * 100_000, ...),
        ("list<int64>", "[1, null, 3]", [1, None, 3]),
        ("list<int64>", "[1.5]", ...),
        ("list<int64>", "1", ...),
        ("list<string>", '["5", "x"]', ["5", "x"]),
        ("list<string>", "[5]", ...),
        ("list<boolean>", "[true]", [True]),
        ("list<float64>", "[1.5, 2]", [1.5, 2.0]),
        ("list<float64>", "[[1]]", ...),
        ("struct<a:int64,b:string>", '{"b": "x"}', {"a": None, "b": "x"}),
        ("struct<a:int64>", '{"c": 1}', ...),
        ("struct<a:int64>", "[]", ...),
        ("string", "\x00", "\x00"),
    ],
)  # fmt: skip
def test_text_is_read_or_refused(word, text, value):
    assert read(word, text) == value


def test_nan_is_read_as_such():
    assert str(read("float64", "NaN")) == "nan"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2022-03-10", 19061),
        ("1970-01-01", 0),
        ("0001-01-01", (date(1, 1, 1) - date(1970, 1, 1)).days),
        ("2024-02-29", (date(2024, 2, 29) - date(1970, 1, 1)).days),
        ("30828-09-14", 10_540_425),
        ("99999-12-31", 35_804_721),
        ("20000-02-29", 6_585_381),
        ("2100-02-29", ...),
        ("2022-02-30", ...),
        ("2022-04-31", ...),
        ("2022-13-01", ...),
        ("2022-00-10", ...),
        ("2022-3-1", ...),
        ("0000-01-01", ...),
        ("0000-02-29", ...),
        ("01234-01-01", ...),
        ("20220310", ...),
        ("2022-03-10 ", ...),
        ("2022-03-10\n", ...),
    ],
)
def test_dates(text, value):
    assert read("date", text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2022-03-10 16:33:50", micros(2022, 3, 10, 16, 33, 50)),
        ("2022-03-10T16:33:50.5", micros(2022, 3, 10, 16, 33, 50, 500_000)),
        ("2022-03-10 16:33:50.0893545", micros(2022, 3, 10, 16, 33, 50, 89_354)),
        ("2022-03-10 23:59:59.999999999", micros(2022, 3, 10, 23, 59, 59, 999_999)),
        ("2022-03-10 16:33", micros(2022, 3, 10, 16, 33)),
        ("2022-03-10", micros(2022, 3, 10)),
        ("1601-01-01 00:00:00.0000001", micros(1601, 1, 1)),
        ("0001-01-01 00:00:00", micros(1, 1, 1)),
        # The last FILETIME: 2**63 - 1 ticks of 100 ns since 1601.
        ("30828-09-14 02:48:05.4775807", (2**63 - 1) // 10 + micros(1601, 1, 1)),
        ("2022-03-10 16", ...),
        ("2022-03-10 24:00:00", ...),
        ("2022-03-10 16:60:00", ...),
        ("2022-06-30 23:59:60", ...),
        ("2022-02-30 16:33:50", ...),
        ("2022-03-10  16:33:50", ...),
        ("2022-03-10 16:33:50.", ...),
        ("2022-03-10 16:33:50,5", ...),
        ("2022-03-10 16:33:50Z", ...),
        ("2022-03-10 16:33:50+00:00", ...),
        ("03/10/2022 16:33:50", ...),
        ("2022-03-10 16:33:50.0000000001", ...),
    ],
)
def test_timestamps_have_no_zone(text, value):
    assert read("timestamp", text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2022-03-10T16:33:50Z", micros(2022, 3, 10, 16, 33, 50)),
        ("2022-03-10 16:33:50 UTC", micros(2022, 3, 10, 16, 33, 50)),
        ("2016-07-08T18:12:51.6816408Z UTC", micros(2016, 7, 8, 18, 12, 51, 681_640)),
        ("2022-03-10T16:33:50+02:00", micros(2022, 3, 10, 14, 33, 50)),
        ("2022-03-10T16:33:50.25 -0530", micros(2022, 3, 10, 22, 3, 50, 250_000)),
        ("2022-03-10T01:00-05", micros(2022, 3, 10, 6)),
        ("1601-01-01T00:00:00Z", micros(1601, 1, 1)),
        ("0001-01-01T00:00:00+01:00", micros(1, 1, 1) - 3_600_000_000),
        ("30828-09-14T02:48:05.4775807Z", (2**63 - 1) // 10 + micros(1601, 1, 1)),
        ("2022-03-10T16:33:50", ...),
        ("2022-03-10", ...),
        ("2022-03-10Z", ...),
        ("2022-03-10T16:33:50+24:00", ...),
        ("2022-03-10T16:33:50+02:60", ...),
        ("2022-03-10T16:33:50 CET", ...),
        ("2022-03-10T16:33:50 GMT", ...),
        ("2022-03-10T16:33:50Z+01:00", ...),
    ],
)
def test_utc_timestamps_have_one(text, value):
    assert read("timestamp_utc", text) == value


@pytest.mark.parametrize(
    ("word", "text", "value"),
    [
        ("time", "16:33:50.1234567", ((16 * 60 + 33) * 60 + 50) * 1_000_000 + 123_456),
        ("time", "16:33", (16 * 60 + 33) * 60_000_000),
        ("time", "24:00:00", ...),
        ("time", "6:33", ...),
        ("duration", "00:01:02", 62_000_000),
        ("duration", "-1.02:03:04.5", -(((26 * 60 + 3) * 60 + 4) * 1_000_000 + 500_000)),
        ("duration", "25:00:00", ...),
        ("duration", "1:02:03", ...),
    ],
)
def test_times_and_durations(word, text, value):
    assert read(word, text) == value


def test_neighbours_of_all_sorts_are_read_each_by_itself():
    texts = [
        "2022-03-10T16:33:50Z",
        None,
        "x",
        "30828-09-14T02:48:05Z",
        "",
        "2022-03-10T16:33:50-01:00",
    ]
    values, ok = read_text("timestamp_utc", pa.array(texts, pa.string()))
    assert ok.to_pylist() == [True, True, False, True, True, True]
    assert values.is_valid().to_pylist() == [True, False, False, True, False, True]


def test_a_slice_reads_as_its_part():
    texts = pa.array(["x", "1", "", "2", "y"]).slice(1, 3)
    values, ok = read_text("int64", texts)
    assert values.to_pylist() == [1, None, 2]
    assert ok.to_pylist() == [True, True, True]


@settings(deadline=None)
@given(st.integers(-(2**70), 2**70))
def test_int64_holds_exactly_the_integers_that_fit(number):
    assert read("int64", str(number)) == (number if -(2**63) <= number < 2**63 else ...)


@settings(deadline=None)
@given(st.floats(allow_nan=False))
@example(5e-324)
@example(1.7976931348623157e308)
@example(-0.0)
def test_a_double_reads_as_what_wrote_it(number):
    written = {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(number, repr(number))
    assert read("float64", written) == number
    if abs(number) < float("inf") and "e" not in f"{number:.17g}":
        text = f"{number:.17g}"
        whole = text.lstrip("-").isdigit() and abs(number) > 2**53
        assert read("float64", text) == (... if whole else number)


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=19, min_value=-9, max_value=9))
def test_a_decimal_is_a_double_only_if_the_double_is_that_near(number):
    value = read("float64", f"{number:f}")
    if value is not ...:
        last_digit = Decimal(1).scaleb(int(number.normalize().as_tuple().exponent))
        assert abs(Decimal(value) - number) * 2 <= last_digit


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1, 1, 1)), st.sampled_from("T "))  # noqa: DTZ001  (naive on purpose)
def test_any_instant_is_read_to_the_microsecond(when, between):
    expected = (when - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001
    assert read("timestamp", when.isoformat(between)) == expected
    assert read("timestamp_utc", when.isoformat(between) + "Z") == expected


@settings(deadline=None)
@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001
    st.integers(-1439, 1439),
)
def test_any_offset_is_taken_into_account(when, minutes):
    aware = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert read("timestamp_utc", aware.isoformat()) == expected


@settings(deadline=None)
@given(st.integers(1, 99_999), st.integers(1, 12), st.integers(1, 31))
def test_a_day_is_valid_where_the_calendar_has_it(year, month, day):
    try:
        within = date((year - 1) % 400 + 1 if year > 9999 else year, month, day)
    except ValueError:
        expected = ...
    else:
        ages = (year - within.year) // 400
        expected = (within - date(1970, 1, 1)).days + ages * 146_097
    assert read("date", f"{year:04}-{month:02}-{day:02}") == expected


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.text(), st.from_regex(r"[-+0-9.eE:TZ /]{0,30}", fullmatch=True))
    )
)
def test_nothing_raises_and_nothing_is_lost(texts):
    array = pa.array(texts, pa.string())
    for word in WORDS:
        values, ok = read_text(word, array)
        assert len(values) == len(ok) == len(texts)
        for text, value, fine in zip(
            texts, values.is_valid().to_pylist(), ok.to_pylist(), strict=True
        ):
            assert fine == (value or not text), (word, text)


@settings(deadline=None)
@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(),
        ),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    )
)
def test_all_json_is_json(value):
    text = json.dumps(value)
    assert read("json", text) == text
