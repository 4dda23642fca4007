"""Event logs: every record is a row or is in quarantine, whatever became of the file around it."""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casparian.api import ParserFault
from casparian.domain.contracts import check
from casparian.parsers.evtx import EvtxParser
from casparian.parsers.evtx import rows as common_rows
from casparian.parsers.evtx.odd import Odd
from golden.parsers import evtx_cases
from helpers import evtx_writer as w
from helpers.parse_context import Parsed, parse_bytes, parse_file

if TYPE_CHECKING:
    from pathlib import Path


def parse(data: bytes) -> Parsed:
    return parse_bytes(EvtxParser(), data, "log.evtx")


def accepted(parsed: Parsed) -> pa.Table:
    """The rows that keep the contract, in the order of the file."""
    checked = [check(one.rows, evtx_cases.CONTRACT, one.raw) for one in parsed.batches]
    tables = [
        pa.Table.from_batches([one.accepted])
        .append_column("at", batch.positions.filter(one.keep))
        .cast(pa.schema([*evtx_cases.CONTRACT.schema, pa.field("at", pa.int64())]))
        for one, batch in zip(checked, parsed.batches, strict=True)
    ]
    return pa.concat_tables(tables).sort_by("at") if tables else pa.table({"at": []})


def counts(parsed: Parsed) -> tuple[int, int]:
    """Accepted, and quarantined: rows that break the contract, and what was no row."""
    rows = accepted(parsed).num_rows
    given = sum(one.rows.num_rows for one in parsed.batches)
    return rows, given - rows + len(parsed.rejected)


# --- the real files --------------------------------------------------------------------------------

REAL = {
    # path: (rows, quarantined), where tools disagree or records are lost, and why
    "evtx-edge-cases/sample_with_a_bad_chunk_magic.evtx": (
        270,
        118,
    ),  # libevtx leaves out 3 of 270; chunk 7 has lost its header, 2 runs of chunks are empty
    "evtx-edge-cases/sample-with-zero-data-size-event.evtx": (
        335,
        115,
    ),  # all tools stop at a record of no size; those behind it are kept in quarantine
    "evtx-edge-cases/Microsoft-Windows-HelloForBusiness%4Operational.evtx": (
        6,
        0,
    ),  # libevtx leaves out the last record
    "evtx-edge-cases/Microsoft-Windows-LanguagePackSetup%4Operational.evtx": (
        17,
        0,
    ),  # libevtx leaves out the last record
}
DAMAGED = {
    # path: (rows, quarantined, what is noted), where that is not (the count of the tools, 0, nothing)
    "corrupt/evtx/truncated_in_a_chunk.evtx": (
        81,
        4,
        "",
    ),  # missing chunks; two records before the cut, one that it goes through
    "corrupt/evtx/truncated_at_a_chunk_boundary.evtx": (76, 1, ""),  # missing chunks
    "corrupt/evtx/header_only.evtx": (0, 1, ""),  # missing chunks
    "corrupt/evtx/header_counts_9999_chunks.evtx": (3, 1, ""),  # missing chunks
    "corrupt/evtx/bad_file_magic.evtx": (
        3,
        0,
        "signature is damaged",
    ),  # python-evtx reads them too
    "corrupt/evtx/flipped_bytes_in_header.evtx": (3, 0, "header is damaged"),
    "corrupt/evtx/one_chunk_magic_zeroed.evtx": (
        91,
        0,
        "lost the signature",
    ),  # evtx gives 86: the checksums prove the other 5
    "corrupt/evtx/one_chunk_zeroed.evtx": (86, 1, ""),  # the empty chunk
    "corrupt/evtx/flipped_bytes_in_records.evtx": (
        86,
        5,
        "a checksum does not hold",
    ),  # libevtx counts the 5 that it cannot read
    "corrupt/evtx/trailing_garbage.evtx": (3, 0, "The last 5,000 bytes are no chunk"),
}
UNREADABLE = {
    "corrupt/evtx/all_zeros.evtx": "no event log",
    "corrupt/evtx/first_100_bytes.evtx": "cut within its header",
    "corrupt/evtx/zero_length.evtx": "empty",
    "corrupt/wrong-extension/hive.evtx": "no event log",
}


@pytest.fixture(scope="module")
def expected(evidence: Path) -> dict[str, dict]:
    found = json.loads((evidence / "expected.json").read_bytes())
    listed = {one["path"]: one["figures"] for one in found["files"] if one["kind"] == "evtx"}
    listed |= {one["path"]: one["figures"] for one in found["corrupt"] if one["read_as"] == "evtx"}
    return listed


def test_real_logs_have_the_records_that_independent_tools_count(evidence, expected):
    paths = [path for path in expected if not path.startswith("corrupt/")]
    given = {path: counts(parse_file(EvtxParser(), evidence / path)) for path in paths}

    agreed = {path: (expected[path]["evtx"]["records"], 0) for path in paths}
    assert {path: one for path, one in given.items() if one != agreed[path]} == {
        path: one for path, one in REAL.items() if one != agreed[path]
    }
    assert {path for path in paths if not expected[path]["agree"]} <= REAL.keys()
    assert len(paths) == 54


def test_real_logs_have_the_times_channels_and_event_ids_of_the_figures(evidence, expected):
    for path, figures in expected.items():
        if path.startswith("corrupt/") or not figures["evtx"]["records"]:
            continue
        rows = accepted(parse_file(EvtxParser(), evidence / path))
        facts = figures["evtx"]
        ids = Counter(str(one) for one in rows["event_id"].to_pylist() if one is not None)
        written = pc.min_max(rows["written_time"]).as_py

        assert {name: ids[name] for name in facts["event_ids"]} == facts["event_ids"], path
        assert len(ids) == facts["distinct_event_ids"], path
        assert Counter(rows["computer"].to_pylist()) >= Counter(facts["computers"]), path
        assert [pc.min(rows["record_id"]).as_py(), pc.max(rows["record_id"]).as_py()] == [
            facts["record_id_min"],
            facts["record_id_max"],
        ], path
        first, last = (f"{written()[which]:%Y-%m-%dT%H:%M:%S.%f}" for which in ("min", "max"))
        assert first.startswith(facts["first"].rstrip("Z")[:26].rstrip(".0")), path
        assert last.startswith(facts["last"].rstrip("Z")[:26].rstrip(".0")), path


def test_damaged_logs_give_what_can_be_proved_and_say_what_is_lost(evidence, expected):
    paths = [path for path in expected if path.startswith("corrupt/") and path not in UNREADABLE]
    for path in paths:
        parsed = parse_file(EvtxParser(), evidence / path)
        records = expected[path]["evtx"].get("records")
        rows, quarantined, noted = DAMAGED.get(path, (records, 0, ""))

        assert counts(parsed) == (rows, quarantined), path
        assert [noted in text for text in parsed.warnings] == ([True] if noted else []), path
        if expected[path]["agree"]:
            assert rows == records, path
    assert DAMAGED.keys() <= set(paths)


@pytest.mark.parametrize("path", UNREADABLE)
def test_a_file_that_holds_no_chunk_fails_with_a_sentence(evidence, path):
    with pytest.raises(ParserFault, match=UNREADABLE[path]):
        parse_file(EvtxParser(), evidence / path)


def test_both_ways_of_reading_a_record_give_the_same_row(evidence, expected, monkeypatch):
    logs = [evidence / path for path in expected if not path.startswith("corrupt/")]
    common = [accepted(parse_file(EvtxParser(), path)) for path in logs]

    def refuse(rows, records, first):
        return [Odd(ordinal, **record) for ordinal, record in enumerate(records, first)]

    monkeypatch.setattr(common_rows.Rows, "add", refuse)
    for path, rows in zip(logs, common, strict=True):
        assert accepted(parse_file(EvtxParser(), path)).equals(rows), path.name


# --- made logs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", evtx_cases.LOGS)
def test_a_golden_log_gives_what_it_gave(name):
    golden = (evtx_cases.FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert evtx_cases.text(name) == golden


def test_every_record_of_a_long_log_is_read_in_order():
    rows = accepted(parse(w.log(*(w.event(n) for n in range(1, 5_001)))))
    assert rows["record_id"].to_pylist() == rows["at"].to_pylist() == list(range(1, 5_001))


def test_a_log_without_records_is_empty_and_sound():
    parsed = parse(w.log() + w.chunk(()))
    assert counts(parsed) == (0, 0)


def test_unused_chunks_behind_the_last_are_no_damage():
    parsed = parse(w.log(w.event(1)) + bytes(5 * w.CHUNK_BYTES))
    assert counts(parsed) == (1, 0)
    assert parsed.warnings == []


def test_one_value_beyond_its_type_changes_nothing_in_its_neighbours():
    plus = w.event(1, computer="+HOST", channel="+1")
    parsed = parse(w.log(plus, w.event(2, event_id=w.u64(2**64 - 1))))
    assert accepted(parsed).select(["computer", "channel"]).to_pylist() == [
        {"computer": "+HOST", "channel": "+1"}
    ]
    assert counts(parsed) == (1, 1)


def test_odd_records_come_in_bounded_batches():
    odd = [w.event(n, system=(w.element("Unknown", "x"),)) for n in range(1, 1_501)]
    parsed = parse(w.log(*odd))
    assert counts(parsed) == (1_500, 0)
    assert max(one.rows.num_rows for one in parsed.batches) <= 600


def test_a_huge_string_is_kept_whole():
    text = "x" * 30_000
    rows = accepted(parse(w.log(w.event(1, payload=(w.data(Text=text),)))))
    assert json.loads(rows["event_data"][0].as_py()) == {"Text": text}


def test_a_record_nested_beyond_all_measure_does_not_cost_its_neighbours():
    deep = w.element("Leaf", "x")
    for _ in range(900):
        deep = w.element("N", deep)
    parsed = parse(
        w.log(w.event(1), w.event(2, payload=(w.element("EventData", deep),)), w.event(3))
    )
    assert {1, 3} <= set(accepted(parsed)["record_id"].to_pylist())
    assert sum(counts(parsed)) == 3


def test_many_damaged_chunks_are_noted_in_one_sentence():
    chunks = [bytearray(w.chunk((w.event(n),))) for n in range(1, 31)]
    for one in chunks:
        one[52] ^= 1
    parsed = parse(w.file_header(30) + b"".join(chunks))
    assert counts(parsed) == (30, 0)
    assert [text[:52] for text in parsed.warnings] == [
        "Chunk 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 20 more may "
    ]


def test_a_record_of_no_size_hides_no_neighbour_though_all_checksums_hold():
    chunk = bytearray(w.chunk(tuple(w.event(n) for n in range(1, 6))))
    second = chunk.index(b"**\0\0", 600)
    chunk[second + 4 : second + 8] = bytes(4)
    parsed = parse(w.file_header(1) + checksummed(chunk))
    assert accepted(parsed)["record_id"].to_pylist() == [1, 3, 4, 5]
    assert [one.violation for one in parsed.rejected] == ["bad_record"]
    assert b"**\0\0" in parsed.rejected[0].raw


def test_a_gap_wiped_within_a_chunk_hides_no_neighbour_though_all_checksums_hold():
    chunk = bytearray(w.chunk(tuple(w.event(n) for n in range(1, 6))))
    second = chunk.index(b"**\0\0", 600)
    third = chunk.index(b"**\0\0", second + 4)
    chunk[second:third] = bytes(third - second)
    parsed = parse(w.file_header(1) + checksummed(chunk))
    assert accepted(parsed)["record_id"].to_pylist() == [1, 3, 4, 5]


def test_a_chunk_header_that_calls_an_early_record_the_last_hides_none():
    chunk = bytearray(w.chunk(tuple(w.event(n) for n in range(1, 6))))
    struct.pack_into("<Q8xQ", chunk, 16, 2, 2)
    parsed = parse(w.file_header(1) + checksummed(chunk))
    assert accepted(parsed)["record_id"].to_pylist() == [1, 2, 3, 4, 5]


def test_what_overwriting_left_behind_the_records_is_not_read():
    chunk = bytearray(w.chunk(tuple(w.event(n) for n in range(1, 6))))
    fourth = [at for at in range(512, 9_000) if chunk[at : at + 4] == b"**\0\0"][3]
    third = fourth - struct.unpack_from("<I", chunk, fourth - 4)[0]
    struct.pack_into("<Q8xQ4xII", chunk, 16, 3, 3, third, fourth)
    parsed = parse(w.file_header(1) + checksummed(chunk))
    assert accepted(parsed)["record_id"].to_pylist() == [1, 2, 3]
    assert parsed.rejected == []


def checksummed(chunk: bytearray) -> bytes:
    """The chunk with checksums that hold, as somebody would leave it who knows the format."""
    free = min(struct.unpack_from("<I", chunk, 48)[0], len(chunk))
    struct.pack_into("<I", chunk, 52, zlib.crc32(chunk[w.FIRST_RECORD : free]))
    struct.pack_into("<I", chunk, 124, zlib.crc32(chunk[:120] + chunk[128 : w.FIRST_RECORD]))
    return bytes(chunk)


scalars = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(w.text),
    st.integers(0, 2**64 - 1).map(w.u64),
    st.integers(0, 2**64 - 1).map(w.filetime),
    st.integers(0, 2**64 - 1).map(w.hex64),
    st.binary(max_size=40).map(w.binary),
    st.just(w.null()),
)
events = st.builds(
    w.event,
    st.integers(0, 2**64 - 1),
    event_id=scalars,
    time=scalars,
    written=st.integers(0, 2**64 - 1),
    computer=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    payload=st.one_of(st.just(()), st.builds(lambda a, b: (w.data(A=a, B=b),), scalars, scalars)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=12, unique_by=lambda one: one.record_id))
def test_whatever_the_values_each_record_is_a_row_or_in_quarantine(records):
    parsed = parse(w.log(*records, chunk_of=6))
    assert sum(counts(parsed)) == len(records)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_the_damage_the_reader_survives_it_and_invents_no_record(data):
    log = bytearray(
        w.log(*(w.event(n, payload=(w.data(N=str(n)),)) for n in range(1, 13)), chunk_of=6)
    )
    flips = st.tuples(
        st.integers(0, len(log) - 1) | st.integers(w.HEADER_BYTES, 10_000), st.integers(0, 255)
    )
    for at, byte in data.draw(st.lists(flips, max_size=20)):
        log[at] = byte
    end = data.draw(st.just(len(log)) | st.integers(0, len(log)))
    if data.draw(st.booleans()):
        for at in range(w.HEADER_BYTES, len(log), w.CHUNK_BYTES):
            log[at : at + w.CHUNK_BYTES] = checksummed(log[at : at + w.CHUNK_BYTES])
    try:
        parsed = parse(bytes(log[:end]))
    except ParserFault:
        return
    assert accepted(parsed).num_rows <= 12
