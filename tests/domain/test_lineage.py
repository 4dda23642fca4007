"""Keys are stable, and no secret enters one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.contracts import Column
from casparian.domain.lineage import (
    artifact_hash,
    layout_key,
    materialization_key,
    output_target_key,
    schema_hash,
    without_credentials,
)

names = st.text(max_size=20)


def test_keys_are_pinned():
    columns = (
        Column("time", "timestamp_utc"),
        Column("id", "int64", nullable=False, doc="ignored"),
    )
    key = output_target_key(
        "evtx_events", "parquet://output/", "supersede", "evtx_events", schema_hash(columns)
    )

    assert schema_hash(columns) == schema_hash((columns[0], Column("id", "int64", nullable=False)))
    assert schema_hash(columns)[:16] == "e757e05563af8cf1"
    assert key[:16] == "e6fba450516b7e89"
    assert materialization_key(key, "aa", "bb")[:16] == "ea402a8fc03f2a40"
    assert artifact_hash(b"source", "evtx==0.14", "{}", "")[:16] == "8b290fc6aa6b4d66"
    assert layout_key("delimited", ["a", "b"])[:16] == "73557f2a6160dd9d"


@given(st.lists(names, min_size=3, max_size=3), st.lists(names, min_size=3, max_size=3))
def test_parts_of_a_key_do_not_run_into_each_other(left, right):
    same = [part.replace("\x1f", "") for part in left] == [
        part.replace("\x1f", "") for part in right
    ]
    left, right = ([part.replace("\x1f", "") for part in side] for side in (left, right))
    assert (materialization_key(*left) == materialization_key(*right)) == same


@given(names, names)
def test_no_credentials_enter_a_key(user, password):
    user, password = (part.encode().hex() or "x" for part in (user, password))
    plain = "postgres://db.example/case?sslmode=require"
    secret = f"postgres://{user}:{password}@db.example/case?sslmode=require"

    assert without_credentials(secret) == plain
    assert output_target_key("o", secret, "append", "t", "s") == output_target_key(
        "o", plain, "append", "t", "s"
    )
