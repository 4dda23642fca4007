"""Exports are whole, exact, the same every time, and say where they came from."""

# ruff: noqa: RUF001  (the full-width forms are meant)
from __future__ import annotations

import csv
import hashlib
import json
import threading
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian import __version__
from casparian.catalog import export as exporting
from casparian.catalog.cells import XLSX_CELL_CHARS
from casparian.catalog.export import FORMATS, export
from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE_COLUMNS
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.results import Filter, Sort, ViewSpec
from casparian.domain.types import read_text
from helpers.hard import HARD, about

GOLDEN = Path(__file__).parents[1] / "golden" / "exports"


@pytest.fixture
def reader(case, opened):
    """A table with every hard type, and one of two files and 20,000 rows."""
    case.add(
        "hard",
        tuple((name, word) for name, (word, _) in HARD.items()),
        {n: v for n, (_, v) in HARD.items()},
    )
    case.add(
        "events",
        (("event_id", "int64"), ("channel", "string")),
        *(
            {
                "event_id": [at * 7919 % 100 for at in range(10_000)],
                "channel": ["Security", None] * 5_000,
            }
            for _ in "ab"
        ),
        quarantined=2,
    )
    return opened()


def exported(reader, what, target, fmt="csv", **options):
    return export(reader, what, "main", target, fmt, about=about(), **options)


def manifest(done):
    return json.loads(done.manifest_path.read_text())


# Golden: one row of every hard type through each format, to the byte.


@pytest.mark.parametrize("fmt", ["csv", "raw.csv", "jsonl", "json"])
def test_every_hard_type_is_written_as_ever(reader, tmp_path, fmt):
    target = tmp_path / f"hard.{fmt}"
    exported(
        reader, ViewSpec("main", "hard"), target, fmt.removeprefix("raw."), safe=fmt != "raw.csv"
    )

    golden = GOLDEN / f"hard.{fmt}"
    assert target.read_bytes() == golden.read_bytes()


def test_every_hard_type_is_written_to_a_sheet_as_ever(reader, tmp_path):
    done = exported(reader, ViewSpec("main", "hard"), tmp_path / "hard.xlsx", "xlsx")

    with zipfile.ZipFile(done.path) as book:
        assert book.testzip() is None
        parts = {name: book.read(name) for name in sorted(book.namelist())}
    for name, content in parts.items():
        ElementTree.fromstring(content)
        golden = GOLDEN / "hard.xlsx" / name.replace("/", "_").replace("[", "").replace("]", "")
        assert content == golden.read_bytes(), name


def test_the_manifest_is_written_as_ever(reader, tmp_path):
    done = exported(reader, ViewSpec("main", "hard", sort=(Sort("whole"),)), tmp_path / "hard.csv")
    assert done.manifest_path.read_bytes() == (GOLDEN / "hard.csv.manifest.json").read_bytes()


# Round trips: what was exported reads back as it was.


def test_parquet_reads_back_as_the_same_table(reader, tmp_path):
    with reader.open(ViewSpec("main", "hard")) as view:
        page = view.page(0, 10)
    done = exported(reader, ViewSpec("main", "hard"), tmp_path / "hard.parquet", "parquet")
    back = pq.read_table(done.path)

    assert back.schema.equals(page.schema)
    assert back.drop_columns("real").equals(page.drop_columns("real"))
    assert str(back["real"]) == str(page["real"])  # NaN is not equal to itself
    assert back.schema.field("object").metadata[b"cf.type"] == b"json"


def test_raw_csv_reads_back_as_the_same_values(reader, tmp_path):
    done = exported(reader, ViewSpec("main", "hard"), tmp_path / "hard.csv", safe=False)
    text = done.path.read_bytes().decode()
    header, *rows = csv.reader(text.splitlines(keepends=True), strict=True)

    assert header == [*HARD, *LINEAGE_COLUMNS]
    for at, (name, (word, values)) in enumerate(HARD.items()):
        texts = [row[at] for row in rows]
        if word in {"string", "json"}:
            assert texts == [value or "" for value in values], name
            continue
        if word.startswith(("list", "struct")):
            texts = [one or None for one in texts]
        back, ok = read_text(word, pa.array(texts, pa.string()))
        with reader.open(ViewSpec("main", "hard", columns=(name,))) as view:
            expected = view.page(0, 10).column(0)
        assert all(ok.to_pylist()), name
        if word == "binary":
            assert back.to_pylist() == [b"\x00\xff", None, None]
        elif word == "float64":
            assert str(back.to_pylist()) == str(expected.to_pylist())
        else:
            assert back.cast(expected.type).equals(expected.combine_chunks()) or (
                back.to_pylist() == expected.to_pylist()
            ), name


def test_nothing_and_empty_text_are_told_apart_in_csv(case, opened, tmp_path):
    case.add("t", (("a", "string"), ("b", "string")), {"a": [None, ""], "b": ["", None]})
    done = exported(opened(), ViewSpec("main", "t", columns=("a", "b")), tmp_path / "t.csv")
    assert done.path.read_text() == 'a,b\n,""\n"",\n'


def test_json_lines_hold_one_object_each_and_the_array_the_same_ones(reader, tmp_path):
    lines = exported(
        reader, ViewSpec("main", "hard"), tmp_path / "t.jsonl", "jsonl"
    ).path.read_bytes()
    array = exported(
        reader, ViewSpec("main", "hard"), tmp_path / "t.json", "json"
    ).path.read_bytes()

    objects = [json.loads(line) for line in lines.split(b"\n")[:-1]]
    assert json.loads(array) == objects
    assert [list(one) for one in objects] == [[*HARD, *LINEAGE_COLUMNS]] * 3
    assert objects[0]["whole"] == 2**63 - 1
    assert objects[0]["object"] == {"a": "b\nc", "d": [1, 2.5]}
    assert objects[1]["real"] == "NaN"
    assert objects[2]["said"] == HARD["said"][1][2]
    assert objects[2]["instant"] == "30828-09-14T02:48:05.477580Z"
    assert objects[0]["many"] == ["a", None, 'say "b"']
    assert objects[0]["parts"] == {"at": "1970-01-01T00:00:00.000000Z", "n": [1]}


def test_an_empty_result_still_has_its_header(reader, tmp_path):
    what = ViewSpec(
        "main", "events", filters=(Filter("event_id", "=", 9999),), columns=("event_id",)
    )
    contents = {fmt: exported(reader, what, tmp_path / f"t.{fmt}", fmt) for fmt in FORMATS}

    assert {one.rows for one in contents.values()} == {0}
    assert contents["csv"].path.read_text() == "event_id\n"
    assert contents["jsonl"].path.read_text() == ""
    assert json.loads(contents["json"].path.read_text()) == []
    assert pq.read_table(contents["parquet"].path).column_names == ["event_id"]
    assert sheet_rows(contents["xlsx"].path) == [[["event_id"]]]


# Spreadsheets.


def sheet_rows(path):
    """Every cell of every sheet, as a strict reader sees it: text decoded, numbers as their text."""
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(path) as book:
        names = [one for one in book.namelist() if one.startswith("xl/worksheets/")]
        sheets = [
            ElementTree.fromstring(book.read(name))
            for name in sorted(names, key=lambda n: int(n[19:-4]))
        ]

    def value(cell):
        text = cell.findtext(f"{space}is/{space}t")
        return cell.findtext(f"{space}v") if text is None else decoded(text)

    return [
        [[value(cell) for cell in row] for row in sheet.iter(f"{space}row")] for sheet in sheets
    ]


def decoded(text):
    """Undo `_xHHHH_`, as spreadsheets do, from left to right."""
    out, at = "", 0
    while at < len(text):
        part = text[at : at + 7]
        if (
            len(part) == 7
            and part[:2] == "_x"
            and part[6] == "_"
            and all(c in "0123456789abcdefABCDEF" for c in part[2:6])
        ):
            out, at = out + chr(int(part[2:6], 16)), at + 7
        else:
            out, at = out + text[at], at + 1
    return out


def test_a_sheet_holds_numbers_as_numbers_and_all_else_as_text(reader, tmp_path):
    done = exported(reader, ViewSpec("main", "hard"), tmp_path / "t.xlsx", "xlsx")
    head, first, second, third = sheet_rows(done.path)[0]

    assert head == [*HARD, *LINEAGE_COLUMNS]
    cells = dict(zip(head, first, strict=True))
    assert cells["yes"] == "1"
    assert cells["whole"] == "9223372036854775807"
    assert cells["exact"] == "123456789012345678.90"
    assert cells["instant"] == "2022-03-10T16:33:50.089354Z"
    assert cells["said"] == HARD["said"][1][0]
    assert dict(zip(head, third, strict=True))["said"] == HARD["said"][1][2]
    assert dict(zip(head, second, strict=True))["said"] == ""
    assert dict(zip(head, third, strict=True))["yes"] is None
    with zipfile.ZipFile(done.path) as book:
        sheet = book.read("xl/worksheets/sheet1.xml")
    assert b"<v>9223372036854775807</v>" not in sheet  # a spreadsheet would round it
    assert b"<f>" not in sheet


def test_rows_beyond_a_sheet_go_to_the_next_and_none_is_lost(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "SHEET_ROWS", 6_001)
    what = ViewSpec("main", "events", columns=("_cf_row", "event_id"))
    done = exported(reader, what, tmp_path / "t.xlsx", "xlsx")

    sheets = sheet_rows(done.path)
    assert done.sheets == 4
    assert [len(one) - 1 for one in sheets] == [6_001, 6_001, 6_001, 1_997]
    assert {tuple(one[0]) for one in sheets} == {("_cf_row", "event_id")}
    rows = [int(row[0]) for one in sheets for row in one[1:]]
    assert rows == [*range(1, 10_001), *range(1, 10_001)]


def test_rows_that_just_fill_a_sheet_make_no_empty_one(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "SHEET_ROWS", 10_000)
    done = exported(reader, ViewSpec("main", "events"), tmp_path / "t.xlsx", "xlsx")
    assert [len(one) for one in sheet_rows(done.path)] == [10_001, 10_001]


def test_a_sheet_ends_where_spreadsheets_end():
    assert exporting.SHEET_ROWS + 1 == 2**20


@pytest.mark.parametrize(
    ("text", "kept", "cut"),
    [
        ("x" * XLSX_CELL_CHARS, XLSX_CELL_CHARS, 0),
        ("x" * (XLSX_CELL_CHARS + 1), XLSX_CELL_CHARS, 1),
        ("é" * XLSX_CELL_CHARS, XLSX_CELL_CHARS, 0),
        ("😀" * 16_383, 16_383, 0),
        ("x" * (50 << 20), XLSX_CELL_CHARS, 1),
    ],
    ids=["fits", "one more", "two bytes each", "two units each", "50 MB"],
)
def test_a_cell_that_is_too_long_for_a_sheet_is_cut_and_counted(
    case, opened, tmp_path, text, kept, cut
):
    case.add("t", (("a", "string"),), {"a": [text, "b"]})
    done = exported(opened(), ViewSpec("main", "t", columns=("a",)), tmp_path / "t.xlsx", "xlsx")

    cells = sheet_rows(done.path)[0]
    assert cells[1] == [text[:kept]]
    assert cells[2] == ["b"]
    assert done.changed == ({"cut_cells": cut} if cut else {})
    assert manifest(done)["changed"] == done.changed


def test_cut_text_of_wide_characters_fits_and_is_whole(case, opened, tmp_path):
    case.add("t", (("a", "string"),), {"a": ["😀" * 20_000 + "x"]})
    done = exported(opened(), ViewSpec("main", "t", columns=("a",)), tmp_path / "t.xlsx", "xlsx")
    text = sheet_rows(done.path)[0][1][0]
    assert set(text) == {"😀"}
    assert 32_700 < len(text.encode("utf-16-le")) // 2 <= XLSX_CELL_CHARS
    assert done.changed == {"cut_cells": 1}


def test_too_many_columns_for_a_sheet_are_told(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_SHEET_COLUMNS", 3)
    with pytest.raises(UserProblem, match="so many columns"):
        exported(reader, "SELECT 1, 2, 3, 4", tmp_path / "t.xlsx", "xlsx")
    assert leftovers(tmp_path) == []


def test_formulas_are_neutralised_and_counted_unless_asked_otherwise(case, opened, tmp_path):
    cells = [
        "=1",
        "+1",
        "-1",
        "@x",
        "\tx",
        "\rx",
        "\nx",
        "＝x",
        "＋x",
        "－x",
        "＠x",
        "a=1",
        " =1",
        "'=1",
        "",
        None,
    ]
    case.add("t", (("a", "string"), ("n", "int64")), {"a": cells, "n": [-5] * len(cells)})
    reader = opened()
    what = ViewSpec("main", "t", columns=("a", "n"))

    safe = exported(reader, what, tmp_path / "safe.csv")
    rows = list(csv.reader(safe.path.read_bytes().decode().splitlines(keepends=True)))[1:]
    assert [row[0] for row in rows] == [f"'{one}" for one in cells[:11]] + [
        "a=1",
        " =1",
        "'=1",
        "",
        "",
    ]
    assert {row[1] for row in rows} == {"-5"}
    assert safe.changed == manifest(safe)["changed"] == {"neutralised_cells": 11}

    raw = exported(reader, what, tmp_path / "raw.csv", safe=False)
    rows = list(csv.reader(raw.path.read_bytes().decode().splitlines(keepends=True)))[1:]
    assert [row[0] for row in rows] == [one or "" for one in cells]
    assert raw.changed == {}


TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=8
)


@settings(max_examples=30, deadline=None)
@given(TEXTS)
def test_any_text_survives_csv_json_and_sheets(tmp_path_factory, cells):
    from helpers.tables import Case

    case = Case(tmp_path_factory.mktemp("case"))
    case.add("t", (("a", "string"),), {"a": cells})
    reader = case.reader()
    try:
        paths = {
            fmt: exported(
                reader,
                ViewSpec("main", "t", columns=("a",)),
                case.home / f"t.{fmt}",
                fmt,
                safe=False,
            ).path
            for fmt in FORMATS
        }
    finally:
        reader.close()

    csv_text = paths["csv"].read_bytes().decode()
    assert [row[0] for row in csv.reader(iter_lines(csv_text))][1:] == cells
    lines = paths["jsonl"].read_bytes().decode().split("\n")[:-1]
    assert [json.loads(one)["a"] for one in lines] == cells
    assert [one["a"] for one in json.loads(paths["json"].read_bytes())] == cells
    assert [row[0] for row in sheet_rows(paths["xlsx"])[0]][1:] == cells
    assert pq.read_table(paths["parquet"]).column("a").to_pylist() == cells


def iter_lines(text):
    """Lines that end with LF only: csv takes other ends for its own when it is given whole text."""
    return [f"{line}\n" for line in text.split("\n")[:-1]]


# Whole, and the same every time.


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    "what",
    [
        ViewSpec("main", "events"),
        ViewSpec("main", "events", sort=(Sort("channel"),)),
        ViewSpec(
            "main",
            "events",
            filters=(Filter("event_id", "<", 50),),
            search="sec",
            sort=(Sort("event_id", True),),
        ),
        "SELECT channel, event_id, count(*) AS n, avg(event_id) AS a FROM events GROUP BY ALL",
        "SELECT * FROM events ORDER BY channel",
        "SELECT a.event_id, b._cf_row FROM events a JOIN events b USING (event_id) WHERE a._cf_row < 50",
        "SELECT event_id, channel FROM events WHERE event_id > 3",
    ],
    ids=["table", "sorted", "view", "groups", "ties", "join", "filter"],
)
def test_the_same_rows_give_the_same_bytes(reader, tmp_path, what, fmt):
    first = exported(reader, what, tmp_path / f"t.{fmt}", fmt)
    content, told = first.path.read_bytes(), manifest(first)
    again = exported(reader, what, tmp_path / f"t.{fmt}", fmt, overwrite=True)

    assert again.path.read_bytes() == content
    assert manifest(again) == told
    assert hashlib.sha256(content).hexdigest() == first.sha256 == told["file"]["sha256"]
    assert len(content) == first.size_bytes == told["file"]["size_bytes"]


def test_all_rows_are_written_in_the_order_shown(reader, tmp_path):
    what = ViewSpec(
        "main", "events", filters=(Filter("event_id", ">=", 20),), sort=(Sort("event_id", True),)
    )
    done = exported(reader, what, tmp_path / "t.parquet", "parquet")
    with reader.open(what) as view:
        assert done.rows == view.count()
        assert pq.read_table(done.path).equals(view.page(0, 99_999))


def test_a_query_is_written_whole_whatever_a_screen_would_hold(reader, tmp_path):
    done = exported(reader, "SELECT range AS n FROM range(250000);", tmp_path / "t.csv")
    assert done.rows == 250_000
    assert done.path.read_text().count("\n") == 250_001


def test_progress_only_grows_and_ends_with_all_rows(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_PROGRESS_EVERY_S", 0)
    told = []
    exported(reader, ViewSpec("main", "events"), tmp_path / "t.csv", progress=told.append)

    assert [one.done for one in told] == sorted(one.done for one in told)
    assert (told[-1].done, told[-1].total, told[-1].unit) == (20_000, 20_000, "rows")
    assert {one.total for one in told} == {20_000}


def test_a_total_that_is_not_known_is_not_guessed(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_PROGRESS_EVERY_S", 0)
    told = []
    exported(reader, "SELECT * FROM events", tmp_path / "t.csv", progress=told.append)
    assert told[0].total is None
    assert told[-1].total == 20_000


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_cancelled_export_leaves_no_file(reader, tmp_path, fmt):
    cancel = CancelToken()

    def stop_soon(progress):
        if progress.done:
            cancel.cancel()

    what = "SELECT range AS n, md5(CAST(range AS VARCHAR)) AS h FROM range(100000000)"
    with pytest.raises(Cancelled):
        exported(reader, what, tmp_path / f"t.{fmt}", fmt, progress=stop_soon, cancel=cancel)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_export_that_fails_midway_leaves_no_file_and_keeps_the_old_one(reader, tmp_path, fmt):
    target = tmp_path / f"t.{fmt}"
    target.write_bytes(b"the old one")
    what = (
        "SELECT CASE WHEN range = 90000 THEN error('boom') ELSE range END AS n FROM range(100000)"
    )

    with pytest.raises(UserProblem, match="boom"):
        exported(reader, what, target, fmt, overwrite=True)
    assert leftovers(tmp_path) == [f"t.{fmt}"]
    assert target.read_bytes() == b"the old one"


def leftovers(folder):
    return sorted(one.name for one in folder.iterdir() if one.name != "home")


def test_nothing_is_overwritten_unless_asked(reader, tmp_path):
    target = tmp_path / "t.csv"
    for taken in (target, tmp_path / "t.csv.manifest.json"):
        taken.write_bytes(b"mine")
        with pytest.raises(UserProblem, match="already"):
            exported(reader, ViewSpec("main", "events"), target)
        assert taken.read_bytes() == b"mine"
        taken.unlink()


@pytest.mark.parametrize(
    ("target", "fmt", "said"),
    [
        ("nowhere/t.csv", "csv", "folder is not there"),
        ("home", "csv", "a folder of that name"),
        ("t.doc", "doc", "no format doc"),
    ],
)
def test_a_target_that_cannot_be_is_told_before_anything_runs(reader, tmp_path, target, fmt, said):
    with pytest.raises(UserProblem, match=said):
        exported(reader, ViewSpec("main", "events"), tmp_path / target, fmt)


def test_a_full_disk_is_told_and_leaves_nothing(reader, tmp_path, monkeypatch):
    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left") as problem:
        exported(reader, ViewSpec("main", "events"), tmp_path / "t.csv")
    assert problem.value.retryable
    assert leftovers(tmp_path) == []


def test_what_is_refused_or_has_no_rows_to_keep_is_told(reader, tmp_path):
    for what in (
        "DROP TABLE events",
        "EXPLAIN SELECT 1",
        "SELECT nope FROM events",
        ViewSpec("main", "nope"),
    ):
        with pytest.raises(UserProblem):
            exported(reader, what, tmp_path / "t.csv")
    assert leftovers(tmp_path) == []


def test_a_long_name_of_a_file_is_no_problem(reader, tmp_path):
    target = tmp_path / f"{'n' * 230}.csv"
    assert exported(reader, ViewSpec("main", "events"), target).path.exists()


def test_an_export_keeps_its_rows_while_the_catalog_moves_on(reader, case, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_PROGRESS_EVERY_S", 0)
    moved = threading.Event()

    def move_on(_progress):
        if not moved.is_set():
            case.tables.clear()
            case.build()
            reader.refresh()
            moved.set()

    done = exported(reader, ViewSpec("main", "events"), tmp_path / "t.csv", progress=move_on)
    assert moved.is_set()
    assert done.rows == 20_000
    with pytest.raises(CasparianError):
        exported(reader, ViewSpec("main", "events"), tmp_path / "u.csv")


# Where it came from.


def test_sources_are_those_of_the_rows_where_rows_tell_theirs(reader, tmp_path):
    one_file = Filter("_cf_source_hash", "=", f"{1:064x}")
    spec = ViewSpec("main", "events", filters=(one_file,), columns=("event_id",))
    for what in (
        spec,
        f"SELECT DISTINCT _cf_source_hash FROM events WHERE _cf_source_hash = '{1:064x}'",
    ):
        told = manifest(exported(reader, what, tmp_path / "t.csv", overwrite=True))
        assert told["sources"] == [
            {"path": "evidence/1.evtx", "source_hash": f"{1:064x}", "sha256": "sha256-1"}
        ]
        assert told["sources_are"] == "the files that these rows were read from"


def test_sources_are_all_those_of_the_tables_where_rows_do_not_tell(reader, tmp_path):
    told = manifest(exported(reader, "SELECT count(*) AS n FROM events", tmp_path / "t.csv"))
    assert [one["path"] for one in told["sources"]] == ["evidence/0.evtx", "evidence/1.evtx"]
    assert told["sources_are"].startswith(
        "all files that the tables of the query were read from: events"
    )
    assert told["parsers"] == [{"table": "events", "parser": "evtx", "versions": ["1.0.0"]}]


def test_a_query_over_no_table_has_no_sources(reader, tmp_path):
    told = manifest(exported(reader, "SELECT 1 AS a", tmp_path / "t.csv"))
    assert told["sources"] == []
    assert told["sources_are"].startswith("none")


def test_the_manifest_says_what_was_asked_and_what_was_written(reader, tmp_path):
    spec = ViewSpec(
        "main", "events", filters=(Filter("event_id", "=", "7"),), columns=("event_id", "channel")
    )
    done = exported(reader, spec, tmp_path / "t.csv", safe=False)
    told = manifest(done)

    assert told["query"] == "SELECT event_id, channel FROM events WHERE event_id = 7"
    assert told["view"]["filters"] == [{"column": "event_id", "op": "=", "value": "7"}]
    assert told["rows"] == done.rows == 200
    assert told["columns"] == [
        {"name": "event_id", "type": "int64"},
        {"name": "channel", "type": "string"},
    ]
    assert told["file"]["name"] == "t.csv"
    assert told["options"]["spreadsheet_safe"] is False
    assert told["exported_at"] == "2026-11-23T04:00:00Z"
    assert told["program"]["name"] == "Casparian Flow"
    assert __version__


def test_an_export_without_a_given_instant_tells_its_own(reader, tmp_path):
    done = export(
        reader, "SELECT 1 AS a", "main", tmp_path / "t.csv", "csv", about=about(exported_at=None)
    )
    at = datetime.fromisoformat(manifest(done)["exported_at"])
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
