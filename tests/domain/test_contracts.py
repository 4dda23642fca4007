"""Contracts: every row lands whole on one side, as it was read, with every bad cell named."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.domain import contracts
from casparian.domain.contracts import Checked, Column, Contract, check
from casparian.domain.errors import ParserFault

CONTRACT = Contract(
    "t",
    (
        Column("id", "int64", nullable=False),
        Column("name", "string"),
        Column("at", "timestamp_utc"),
        Column("data", "json"),
    ),
)
GOOD = {"id": "1", "name": "a", "at": "2022-03-10T16:33:50Z", "data": "{}"}


def texts(*rows: dict[str, str | None]) -> pa.RecordBatch:
    names = CONTRACT.schema.names
    return pa.record_batch(
        [pa.array([(GOOD | row)[name] for row in rows], pa.string()) for name in names], names=names
    )


def rows(checked: Checked) -> list[dict]:
    return checked.accepted.to_pylist()


def test_text_is_read_as_the_types_of_the_contract():
    checked = check(texts({}), CONTRACT)
    assert checked.accepted.schema.types == CONTRACT.schema.types
    assert [str(value) for value in rows(checked)[0].values()] == [
        "1",
        "a",
        "2022-03-10 16:33:50+00:00",
        "{}",
    ]
    assert checked.violations == []
    assert checked.keep.to_pylist() == [True]


def test_a_row_with_several_bad_cells_is_one_violation_that_names_them_all_and_keeps_the_row():
    checked = check(texts({}, {"id": "1.0", "at": "yesterday"}, {}), CONTRACT)
    assert [row["id"] for row in rows(checked)] == [1, 1]
    assert checked.keep.to_pylist() == [True, False, True]
    (violation,) = checked.violations
    assert (violation.row, violation.column, violation.violation) == (1, "id", "type")
    assert violation.expected == "int64, not null"
    assert violation.message == "id is not int64: '1.0'; at is not timestamp_utc: 'yesterday'"
    assert json.loads(violation.raw) == GOOD | {"id": "1.0", "at": "yesterday"}


def test_a_missing_value_breaks_only_a_column_that_must_have_one():
    checked = check(texts({"id": None}, {"name": None, "at": None}), CONTRACT)
    assert [row["id"] for row in rows(checked)] == [1]
    assert [(one.row, one.violation, one.message) for one in checked.violations] == [
        (0, "null", "id has no value but must have one")
    ]


def test_the_raw_text_of_a_row_is_kept_where_the_parser_has_it():
    raw = pa.array(["first", "second"])
    checked = check(texts({}, {"id": "x"}), CONTRACT, raw)
    assert [one.raw for one in checked.violations] == ["second"]


def test_typed_columns_are_taken_as_they_are_and_dictionaries_count_as_text():
    batch = pa.record_batch(
        {
            "data": pa.array(["{}", None]),
            "id": pa.array([1, 2], pa.int64()),
            "name": pa.array(["a", "a"]).dictionary_encode(),
            "at": pa.array(["2022-03-10T16:33:50Z", None]).dictionary_encode(),
        }
    )
    checked = check(batch, CONTRACT)
    assert checked.accepted.schema.names == ["id", "name", "at", "data"]
    assert checked.accepted.column("id").equals(batch.column("id"))
    assert checked.accepted.column("name").type == batch.column("name").type
    assert checked.accepted.column("at").type == pa.timestamp("us", tz="UTC")


def test_json_is_checked_unless_the_parser_knows_that_it_is():
    broken = texts({"data": "{"})
    assert len(check(broken, CONTRACT).violations) == 1
    known = broken.schema.field("data").with_metadata({contracts.TYPE_KEY: b"json"})
    trusted = broken.cast(broken.schema.set(broken.schema.get_field_index("data"), known))
    assert check(trusted, CONTRACT).violations == []


@pytest.mark.parametrize(
    ("names", "types"),
    [
        (["id", "name", "at"], ["string"] * 3),
        (["id", "name", "at", "data", "more"], ["string"] * 5),
        (["id", "id", "at", "data"], ["string"] * 4),
        (["id", "name", "at", "data"], ["double", "string", "string", "string"]),
    ],
    ids=["a column short", "a column over", "a column twice", "a foreign type"],
)
def test_a_batch_of_another_shape_is_the_parsers_fault_and_no_rows(names, types):
    arrays = [pa.array([None], pa.type_for_alias(one)) for one in types]
    with pytest.raises(ParserFault):
        check(pa.RecordBatch.from_arrays(arrays, names=names), CONTRACT)


def test_a_long_value_is_shown_in_part_but_kept_whole():
    (violation,) = check(texts({"id": "9" * 500}), CONTRACT).violations
    assert len(violation.message) < 120
    assert violation.message.endswith("…")
    assert json.loads(violation.raw)["id"] == "9" * 500


def test_typed_values_are_quarantined_as_text_in_any_year():
    contract = Contract("t", (Column("id", "int64", nullable=False), Column("at", "timestamp_utc")))
    far = pa.array([910_692_730_085_477_580], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    batch = pa.record_batch({"id": pa.array([None], pa.int64()), "at": far})
    (violation,) = check(batch, contract).violations
    assert json.loads(violation.raw) == {"id": None, "at": "30828-09-14 02:48:05.477580Z"}


def test_the_schemas_name_their_types_and_end_with_the_lineage():
    assert CONTRACT.schema.field("data").metadata == {b"cf.type": b"json"}
    assert not CONTRACT.schema.field("id").nullable
    table = contracts.table_schema(CONTRACT)
    assert table.names == [*CONTRACT.schema.names, *contracts.LINEAGE_COLUMNS]
    assert contracts.QUARANTINE_SCHEMA.names == [
        *contracts.LINEAGE_COLUMNS,
        "row_or_offset",
        "violation",
        "column_name",
        "expected",
        "message",
        "raw",
    ]


cells = st.sampled_from(
    [
        None,
        "",
        "1",
        "-1",
        "01",
        "x",
        "9" * 25,
        "{}",
        "[1",
        "\0",
        "2022-03-10T16:33:50Z",
        "1601-01-01 00:00 UTC",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(GOOD, cells))))
def test_every_row_lands_on_exactly_one_side_unchanged(given_rows):
    checked = check(texts(*given_rows), CONTRACT)
    broken = {one.row: json.loads(one.raw) for one in checked.violations}
    assert checked.accepted.num_rows + len(broken) == len(given_rows)
    assert [row for row, keep in enumerate(checked.keep.to_pylist()) if not keep] == sorted(broken)
    assert all(given_rows[row] == raw for row, raw in broken.items())
    kept = [row for at, row in enumerate(given_rows) if at not in broken]
    assert [row["name"] for row in rows(checked)] == [row["name"] for row in kept]
    assert [str(row["id"]) for row in rows(checked)] == [row["id"] for row in kept]
