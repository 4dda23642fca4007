"""Staging: what a parser yields is in a part, once, with its lineage, or nothing of its file is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian.api import Batch, Column, Layout, Output, Parser, Rejected
from casparian.domain import contracts
from casparian.domain.errors import EnvironmentProblem, ParserFault
from casparian.domain.lineage import layout_key
from casparian.worker import parts, staging
from casparian.worker.messages import ColumnSpec, FileSpec, Part, Run
from casparian.worker.staging import Staging

FULL = Path("/dev/full")


class Fixed(Parser):
    """A parser with one table."""

    name, version, topics = "fixed", "7", ("x",)
    outputs = (
        Output("events", (Column("id", "int64", nullable=False), Column("text", "string")), ""),
    )

    def parse(self, source, context):
        yield from ()


class Following(Parser):
    """A parser whose tables follow their files."""

    name, version, topics = "following", "1", ("x",)
    outputs = (Output("tables", (), ""),)

    def parse(self, source, context):
        yield from ()


class Stage:
    """A staging folder for a parser over so many files."""

    def __init__(self, folder: Path, parser: Parser, files: int = 2, layouts: Any = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.specs = [
            FileSpec(f"file-{n}", b"/e/%d" % n, f"e/{n}.log", f"hash-{n}", 100 + n, 0)
            for n in range(files)
        ]
        specs = {
            one.name: [ColumnSpec(c.name, c.type, c.nullable) for c in one.columns]
            for one in parser.outputs
            if one.columns
        }
        run = Run(
            "job-1",
            parser.name,
            str(folder),
            1_646_930_030_089_354,
            self.specs,
            specs,
            layouts or {},
        )
        self.staging = Staging(run, parser, folder)

    def read(self, number: int, *items: Batch | Rejected):
        """Stage a file to its end."""
        with self.staging.file(self.specs[number]) as file:
            for item in items:
                file.add(item)
            return file.done()

    def rows(self, part: Part) -> list[dict]:
        table = pq.ParquetFile(self.folder / part.path).read()
        assert table.num_rows == part.rows
        return table.to_pylist()

    def lineage(self, part: Part) -> dict:
        return json.loads(pq.read_metadata(self.folder / part.path).metadata[b"cf.lineage"])


@pytest.fixture
def fixed(tmp_path):
    return Stage(tmp_path / "s", Fixed())


@pytest.fixture
def following(tmp_path):
    return Stage(tmp_path / "s", Following())


def batch(*rows: tuple[str | None, str | None], start: int = 1) -> Batch:
    columns = [pa.array([row[at] for row in rows], pa.string()) for at in (0, 1)]
    positions = pa.array(range(start, start + len(rows)), pa.int64())
    return Batch("events", pa.RecordBatch.from_arrays(columns, names=["id", "text"]), positions)


def wide(size: int, rows: int) -> Batch:
    """Rows of so many bytes each."""
    table = {"id": pa.array(range(rows), pa.int64()), "text": pa.array(["x" * size] * rows)}
    return Batch("events", pa.record_batch(table), pa.array(range(rows), pa.int64()))


def text_batch(columns: dict[str, list], types: str = "int64,float64,string", **more) -> Batch:
    fields = [pa.field(name, pa.string(), metadata={"cf.types": types}) for name in columns]
    arrays = [pa.array(values, pa.string()) for values in columns.values()]
    rows = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
    return Batch("tables", rows, pa.array(range(1, rows.num_rows + 1), pa.int64()), **more)


# --- outputs with fixed columns --------------------------------------------------------------------


def test_the_files_of_a_run_share_a_part_and_every_row_has_its_lineage(fixed):
    first = fixed.read(0, batch(("1", "a"), ("2", "b")))
    fixed.read(1, batch(("3", None), start=9))
    (part,) = fixed.staging.finish()

    assert (first.read, [(c.accepted, c.quarantined) for c in first.tables]) == (2, [(2, 0)])
    assert (part.output, part.layout, part.quarantine, part.rows) == ("events", "", False, 3)
    rows = fixed.rows(part)
    assert [(row["id"], row["text"], row["_cf_row"]) for row in rows] == [
        (1, "a", 1),
        (2, "b", 2),
        (3, None, 9),
    ]
    assert [row["_cf_file_id"] for row in rows] == ["file-0", "file-0", "file-1"]
    assert [row["_cf_source_hash"] for row in rows] == ["hash-0", "hash-0", "hash-1"]
    assert {row["_cf_job_id"] for row in rows} == {"job-1"}
    assert {row["_cf_parser_version"] for row in rows} == {"7"}
    assert {str(row["_cf_processed_at"]) for row in rows} == {"2022-03-10 16:33:50.089354+00:00"}


def test_a_part_has_the_plain_types_of_its_table(fixed):
    fixed.read(0, batch(("1", "a")))
    (part,) = fixed.staging.finish()
    contract = contracts.Contract("events", Fixed.outputs[0].columns)
    assert pq.read_schema(fixed.folder / part.path).equals(contracts.table_schema(contract))


def test_broken_rows_and_rejected_records_go_to_one_quarantine_part(fixed):
    rejected = Rejected("events", 77, "bad_record", "It does not decode", b"\x00\xff\xfe\x01")
    done = fixed.read(0, batch(("1", "a"), ("x", "b"), start=5), rejected)
    rows_part, quarantine = sorted(fixed.staging.finish(), key=lambda part: part.quarantine)

    assert done.read == 3
    assert [(c.accepted, c.quarantined) for c in done.tables] == [(1, 2)]
    assert [row["id"] for row in fixed.rows(rows_part)] == [1]
    assert pq.read_schema(fixed.folder / quarantine.path).equals(contracts.QUARANTINE_SCHEMA)
    broken, bad = fixed.rows(quarantine)
    assert (broken["row_or_offset"], broken["_cf_row"], broken["column_name"]) == (6, 6, "id")
    assert json.loads(broken["raw"]) == {"id": "x", "text": "b"}
    assert (bad["row_or_offset"], bad["violation"], bad["column_name"]) == (77, "bad_record", None)
    assert bad["raw"] == "hex:00fffe01"


def test_nothing_remains_of_a_file_that_is_discarded(fixed):
    fixed.read(0, batch(("1", "a")))
    with fixed.staging.file(fixed.specs[1]) as file:
        file.add(batch(("2", "b")))
        file.discard()
    (part,) = fixed.staging.finish()
    assert [row["id"] for row in fixed.rows(part)] == [1]
    assert [one["file_id"] for one in fixed.lineage(part)["files"]] == ["file-0"]


def test_an_exception_discards_the_file(fixed):
    def fail() -> None:
        with fixed.staging.file(fixed.specs[0]) as file:
            file.add(batch(("1", "a")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert fixed.staging.finish() == []
    assert list(fixed.folder.iterdir()) == []


@pytest.mark.parametrize("files", [1, 2])
def test_a_big_file_streams_into_a_part_of_its_own_and_leaves_nothing_when_discarded(
    tmp_path, monkeypatch, files
):
    monkeypatch.setattr(staging, "HELD_BYTES", 1_000_000)
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 400_000)
    stage = Stage(tmp_path / "s", Fixed(), files)
    file = stage.staging.file(stage.specs[0])
    for _ in range(20):
        file.add(wide(1_000, 100))
    assert [one.name for one in stage.folder.iterdir()]
    file.discard()
    assert list(stage.folder.iterdir()) == []

    stage.read(0, *(wide(1_000, 100) for _ in range(20)))
    if files > 1:
        stage.read(1, batch(("1", "small")))
    assert sorted(part.rows for part in stage.staging.finish()) == [1, 2_000][2 - files :]


def test_row_groups_are_whole_and_bounded_by_rows_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROW_GROUP_ROWS", 1_000)
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 100_000)
    stage = Stage(tmp_path / "s", Fixed(), 1)
    stage.read(0, wide(1, 700), wide(1, 700), wide(1, 700), wide(1_000, 150), wide(1, 10))
    (part,) = stage.staging.finish()
    meta = pq.read_metadata(stage.folder / part.path)
    assert [meta.row_group(at).num_rows for at in range(meta.num_row_groups)] == [
        1_000,
        1_000,
        250,
        10,
    ]


def test_the_shared_parts_together_stay_within_their_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "PENDING_BYTES", 200_000)
    stage = Stage(tmp_path / "s", Fixed(), 30)
    for number in range(30):
        stage.read(number, wide(1_000, 20))
        assert sum(one.pending_bytes for one in stage.staging._shared.values()) <= 200_000
    (part,) = stage.staging.finish()
    assert part.rows == 600


def test_dictionaries_that_change_from_batch_to_batch_give_the_same_text(fixed):
    def encoded(*values):
        rows = {
            "id": pa.array(range(len(values)), pa.int64()),
            "text": pa.array(values).dictionary_encode(),
        }
        return Batch("events", pa.record_batch(rows), pa.array(range(len(values)), pa.int64()))

    fixed.read(0, encoded("a", "b", "a"), encoded("c", None, "b"))
    fixed.read(1, batch(("9", "plain")), encoded("d"))
    (part,) = fixed.staging.finish()
    assert [row["text"] for row in fixed.rows(part)] == [
        "a",
        "b",
        "a",
        "c",
        None,
        "b",
        "plain",
        "d",
    ]


def test_the_metadata_tells_what_a_lost_state_store_would_need(fixed):
    fixed.read(0, batch(("1", "a"), ("x", "b")))
    fixed.read(1, batch(("3", "c")))
    rows_part, quarantine = sorted(fixed.staging.finish(), key=lambda part: part.quarantine)
    known = fixed.lineage(rows_part)
    assert {
        name: known[name] for name in ("job_id", "parser", "parser_version", "output", "rows")
    } == {
        "job_id": "job-1",
        "parser": "fixed",
        "parser_version": "7",
        "output": "events",
        "rows": 2,
    }
    assert known["columns"] == [["id", "int64", False], ["text", "string", True]]
    assert known["processed_at_us"] == 1_646_930_030_089_354
    assert [
        (one["file_id"], one["source_hash"], one["path"], one["accepted"], one["quarantined"])
        for one in known["files"]
    ] == [
        ("file-0", "hash-0", "e/0.log", 1, 1),
        ("file-1", "hash-1", "e/1.log", 1, 0),
    ]
    assert fixed.lineage(quarantine)["quarantine"] is True


def test_the_metadata_tells_where_each_file_lay_and_what_was_said_of_it(tmp_path):
    stage = Stage(tmp_path / "s", Fixed(), files=3)
    lay = msgspec.structs.replace(stage.specs[0], root=b"/e", path=b"/e/\xff.log", mtime_ns=7)
    for spec, items, notes in [
        (lay, [batch(("1", "a"), ("x", "b"))], ["cut short"]),
        (stage.specs[1], [], ["no header"]),
        (stage.specs[2], [batch(("3", "c"))], []),
    ]:
        with stage.staging.file(spec) as file:
            for item in items:
                file.add(item)
            file.done(notes)
    known = [stage.lineage(one) for one in stage.staging.finish()]
    rows = next(one for one in known if not one["quarantine"])
    names = ("source", "absolute", "mtime_ns", "read", "notes")
    assert [rows["files"][0][name] for name in names] == [
        "/e",
        "/e/\udcff.log",
        7,
        2,
        ["cut short"],
    ]
    # A file without rows has no part of its own: one of the others speaks of it.
    [quiet] = [one for said in known for one in said["without_rows"]]
    assert (quiet["file_id"], quiet["read"], quiet["notes"]) == ("file-1", 0, ["no header"])


def test_duckdb_reads_a_part_as_it_was_meant(fixed):
    fixed.read(0, batch(("1", "a\0b"), ("2", "名前")))
    (part,) = fixed.staging.finish()
    with duckdb.connect() as catalog:
        found = catalog.sql(
            f"SELECT id, text, _cf_row, _cf_job_id FROM '{fixed.folder / part.path}'"
        ).fetchall()
    assert found == [(1, "a\0b", 1, "job-1"), (2, "名前", 2, "job-1")]


def test_a_huge_record_is_kept_in_part_and_its_message_says_so(fixed):
    text = "é" * 10_000
    fixed.read(0, Rejected("events", 1, "ragged", "Too long", text.encode()))
    (part,) = fixed.staging.finish()
    (row,) = fixed.rows(part)
    assert row["raw"] == "é" * 4_096
    assert row["message"] == "Too long (the first 8,192 of 20,000 bytes are kept)"


def test_a_file_without_rows_is_done_and_makes_no_part(fixed):
    done = fixed.read(0)
    assert (done.read, [(c.output, c.accepted, c.quarantined) for c in done.tables]) == (
        0,
        [("events", 0, 0)],
    )
    assert fixed.staging.finish() == []


def test_an_output_that_the_parser_does_not_have_is_its_fault(fixed):
    with pytest.raises(ParserFault, match="nowhere"):
        fixed.read(0, Rejected("nowhere", 1, "x", "y"))


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_the_environments_problem_and_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 10_000)
    stage = Stage(tmp_path / "s", Fixed(), 1)
    monkeypatch.setattr(stage.staging, "path", lambda name: FULL)
    monkeypatch.setattr(parts.PartWriter, "delete", lambda self: None)
    with pytest.raises(EnvironmentProblem, match="space"):
        stage.read(0, *(wide(1_000, 100) for _ in range(50)))


# --- outputs that follow the layout of their files -------------------------------------------------


def key(*columns: str) -> str:
    return layout_key("following", columns)


def test_types_are_those_that_every_value_of_the_file_reads_as(following):
    layout = Layout(("a", "b"), "report")
    done = following.read(
        0,
        text_batch({"a": ["1", "2"], "b": ["1", ""]}),
        text_batch({"a": ["3", "x"], "b": [None, "7"]}, layout=layout),
        Rejected("tables", 9, "ragged", "Too few fields", b"1"),
    )
    part, quarantine = sorted(following.staging.finish(), key=lambda one: one.quarantine)
    assert (part.layout, part.suggested_table, part.rows) == (key("a", "b"), "report", 4)
    assert [(one.name, one.type) for one in part.columns] == [("a", "string"), ("b", "int64")]
    assert [(row["a"], row["b"]) for row in following.rows(part)] == [
        ("1", 1),
        ("2", None),
        ("3", None),
        ("x", 7),
    ]
    assert (done.read, done.tables[0].accepted, done.tables[0].quarantined) == (5, 4, 1)
    assert (quarantine.layout, quarantine.rows) == (key("a", "b"), 1)


def test_a_column_that_comes_late_in_the_file_is_null_before(following):
    following.read(
        0,
        text_batch({"a": ["1"]}),
        text_batch({"b": ["x"], "a": ["2"]}),
        text_batch({"a": ["3"]}, layout=Layout(("a", "b"), "t")),
    )
    (part,) = following.staging.finish()
    assert [(row["a"], row["b"]) for row in following.rows(part)] == [
        (1, None),
        (2, "x"),
        (3, None),
    ]


def test_a_second_file_that_widens_a_type_has_a_part_of_its_own(following):
    layout = Layout(("a",), "t")
    following.read(0, text_batch({"a": ["1"]}, layout=layout))
    following.read(1, text_batch({"a": ["1.5"]}, layout=layout))
    found = {
        part.columns[0].type: following.rows(part)[0]["a"] for part in following.staging.finish()
    }
    assert found == {"int64": 1, "float64": 1.5}


def test_types_known_before_are_a_floor(tmp_path):
    floor = {key("a", "b"): [ColumnSpec("a", "float64"), ColumnSpec("b", "int64")]}
    stage = Stage(tmp_path / "s", Following(), 1, floor)
    stage.read(0, text_batch({"a": ["1"], "b": [""]}, layout=Layout(("a", "b"), "t")))
    (part,) = stage.staging.finish()
    assert [one.type for one in part.columns] == ["float64", "int64"]


def test_a_file_that_failed_leaves_neither_text_nor_types(following):
    layout = Layout(("a",), "t")
    with following.staging.file(following.specs[0]) as file:
        file.add(text_batch({"a": ["x"]}, layout=layout))
    following.read(1, text_batch({"a": ["1"]}, layout=layout))
    (part,) = following.staging.finish()
    assert part.columns[0].type == "int64"
    assert [one.name for one in following.folder.iterdir()] == [part.path]


def test_rows_without_a_layout_are_the_parsers_fault(following):
    with pytest.raises(ParserFault, match="columns"):
        following.read(0, text_batch({"a": ["1"]}))
    assert list(following.folder.iterdir()) == []


def test_a_file_of_rejected_lines_alone_has_a_quarantine_without_a_layout(following):
    following.read(0, Rejected("tables", 1, "encoding", "Line 1 is no text", b"caf\xe9 \\ bar"))
    (part,) = following.staging.finish()
    assert (part.layout, part.suggested_table, part.quarantine) == ("", "tables", True)
    assert following.rows(part)[0]["raw"] == "caf\\xe9 \\\\ bar"


# --- whatever the order ----------------------------------------------------------------------------

items = st.one_of(
    st.lists(st.tuples(st.sampled_from(["1", "x", None]), st.text(max_size=3)), max_size=6).map(
        lambda rows: batch(*[(a, b.encode("utf-8", "replace").decode()) for a, b in rows])
    ),
    st.binary(max_size=20).map(lambda raw: Rejected("events", 1, "bad", "Bad", raw)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(items, max_size=5), st.booleans()), min_size=1, max_size=5))
def test_what_is_read_is_accepted_or_quarantined_and_in_the_parts(tmp_path_factory, files):
    stage = Stage(tmp_path_factory.mktemp("s"), Fixed(), len(files))
    accepted = quarantined = 0
    for number, (yielded, fails) in enumerate(files):
        with stage.staging.file(stage.specs[number]) as file:
            for item in yielded:
                file.add(item)
            if not fails:
                done = file.done()
                count = done.tables[0]
                assert done.read == count.accepted + count.quarantined
                accepted += count.accepted
                quarantined += count.quarantined
    found = stage.staging.finish()
    assert sum(part.rows for part in found if not part.quarantine) == accepted
    assert sum(part.rows for part in found if part.quarantine) == quarantined
    assert sum(len(stage.rows(part)) for part in found) == accepted + quarantined
