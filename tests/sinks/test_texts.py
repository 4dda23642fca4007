"""Values as text: what is written is read back as what it was."""

from __future__ import annotations

import pyarrow as pa
import pytest

from casparian.domain.types import arrow_type, read_text
from casparian.sinks.samples import HARD, same
from casparian.sinks.texts import as_text, nulls

AS_TEXT = {name: case for name, case in HARD.items() if case[0] not in {"string", "json", "null"}}


def without_empty_binary(values):
    """No bytes are no hexadecimal digits, and empty text is read as null."""
    if pa.types.is_binary(values.type):
        return pa.array([one or None for one in values.to_pylist()], values.type)
    if values.type == pa.list_(pa.binary()):
        lists = values.to_pylist()
        return pa.array([one and [part or None for part in one] for one in lists], values.type)
    return values


@pytest.mark.parametrize("case", AS_TEXT)
def test_values_of_every_type_are_read_back(case):
    word, values = AS_TEXT[case]

    back, ok = read_text(word, as_text(values))

    assert all(ok.to_pylist())
    assert same(back, without_empty_binary(values))


@pytest.mark.parametrize("case", HARD)
def test_slices_are_written_as_they_are(case):
    _, values = HARD[case]
    twice = pa.concat_arrays([values, values])

    assert (
        as_text(twice[1 : len(values) + 1]).to_pylist()
        == as_text(twice).to_pylist()[1 : len(values) + 1]
    )


def test_text_of_far_instants_is_right_where_arrows_is_not():
    values = pa.array([3_093_527_980_799_999_999, 0, -62_135_596_800_000_000, None], pa.int64())

    assert as_text(values.cast(pa.timestamp("us", "UTC"))).to_pylist() == [
        "99999-12-31 23:59:59.999999Z",
        "1970-01-01 00:00:00.000000Z",
        "0001-01-01 00:00:00.000000Z",
        None,
    ]


def test_nested_values_are_json():
    kind = arrow_type("struct<at:duration,many:list<decimal(5,2)>,more:struct<x:float64>>")
    values = pa.array([{"at": -1, "many": [1, None], "more": {"x": float("inf")}}, None], kind)

    assert as_text(values).to_pylist() == [
        '{"at": "-00:00:00.000001", "many": ["1.00", null], "more": {"x": "Infinity"}}',
        None,
    ]


def test_nulls_of_any_type():
    for word, _ in HARD.values():
        made = nulls(3, arrow_type(word))
        assert (made.type, made.null_count) == (arrow_type(word), 3)
