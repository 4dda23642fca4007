"""Tables, pages of any depth, and queries: what is shown is what is there, in an order that stays."""

from __future__ import annotations

import random
import threading
import time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from casparian.catalog.guard import check_select
from casparian.catalog.reader import ResultView
from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE_COLUMNS, Column
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.results import CommittedTable, Filter, Sort, ViewSpec
from helpers.tables import PROCESSED_AT_US, info

EVENTS = (("event_id", "int64"), ("channel", "string"))
YEAR_1601_US = -11_644_473_600_000_000
YEAR_30828_US = 910_692_730_085_477_580


def values(view, column, offset=0, limit=10_000):
    return view.page(offset, limit).column(column).to_pylist()


def until(reached):
    """Wait for what another thread does, and fail if it does not."""
    given_up_at = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < given_up_at
        threading.Event().wait(0.005)


@pytest.fixture
def events(case, opened):
    """A reader of 30,000 rows in three files: numbers in no order, and some channels missing."""
    draw = random.Random(1)
    files = [
        {
            "event_id": [draw.randrange(50) for _ in range(10_000)],
            "channel": [draw.choice(["System", "Security", None]) for _ in range(10_000)],
        }
        for _ in range(3)
    ]
    case.add("events", EVENTS, *files, quarantined=5)
    case.rows = [
        (number, channel, file, row + 1)
        for file, columns in enumerate(files)
        for row, (number, channel) in enumerate(zip(*columns.values(), strict=True))
    ]
    return opened()


# Tables.


def test_tables_tell_their_columns_kinds_rows_and_parser(case, opened):
    case.add(
        "t", ((Column("a", "json", doc="what it is"), ""),), {"a": ["{}", "[]"]}, quarantined=3
    )
    case.control["main", "files"] = pa.table({"path": ["p"]})
    reader = opened()

    assert [(one.name, one.kind, one.rows, one.parser) for one in reader.tables()] == [
        ("t", "table", 2, "evtx"),
        ("t_quarantine", "quarantine", 3, "evtx"),
        ("files", "control", 1, ""),
    ]
    columns = info(reader, "t").columns
    assert [one.name for one in columns] == ["a", *LINEAGE_COLUMNS]
    assert (columns[0].type, columns[0].doc) == ("json", "what it is")


def test_a_catalog_that_is_not_there_yet_has_no_tables(case, opened):
    reader = opened()
    case.catalog.unlink()
    assert reader.refresh() == 0
    assert reader.tables() == []


# Pages.


def test_a_view_pages_through_all_rows_in_the_order_of_the_files(events, case):
    with events.open(ViewSpec("main", "events")) as view:
        assert view.rows == view.count() == 30_000
        got = [
            row
            for offset in range(0, 30_000, 7_777)
            for row in zip(
                *(values(view, name, offset, 7_777) for name in ("event_id", "channel")),
                strict=True,
            )
        ]
    assert got == [row[:2] for row in case.rows]


@pytest.mark.parametrize(
    ("offset", "limit", "rows"),
    [
        (0, 0, 0),
        (29_999, 10, 1),
        (30_000, 10, 0),
        (99_999, 10, 0),
        (9_995, 10, 10),
        (0, 99_999, 30_000),
    ],
)
@pytest.mark.parametrize("sort", [(), (Sort("event_id"),)], ids=["plain", "sorted"])
def test_a_page_ends_where_the_rows_end(events, offset, limit, rows, sort):
    with events.open(ViewSpec("main", "events", sort=sort)) as view:
        view.count()
        assert view.page(offset, limit).num_rows == rows


@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
def test_a_sorted_view_gives_the_same_order_at_once_and_later(events, case, descending):
    expected = sorted(case.rows, key=lambda row: -row[0] if descending else row[0])
    with events.open(ViewSpec("main", "events", sort=(Sort("event_id", descending),))) as view:
        at_once = view.page(0, 500)
        view.page(29_000, 500)
        later = view.page(0, 500)
        deep = view.page(12_345, 500)

    assert at_once.equals(later)
    assert at_once.column("_cf_row").to_pylist() == [row[3] for row in expected[:500]]
    assert deep.column("_cf_row").to_pylist() == [row[3] for row in expected[12_345:12_845]]
    assert deep.column("event_id").to_pylist() == [row[0] for row in expected[12_345:12_845]]


@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
def test_the_end_of_a_sorted_view_is_the_same_at_once_and_later(events, descending):
    spec = ViewSpec(
        "main", "events", sort=(Sort("channel", descending), Sort("event_id", not descending))
    )
    for offset, limit in ((29_500, 400), (29_500, 500), (29_900, 500), (28_000, 1)):
        with events.open(spec) as at_once:
            page = at_once.page(offset, limit)
        with events.open(spec) as later:
            later.page(15_000, 10)
            assert later.page(offset, limit).equals(page)
            assert page.num_rows == min(limit, 30_000 - offset)


def test_rows_without_a_value_come_last_in_both_directions(events):
    for descending in (False, True):
        with events.open(ViewSpec("main", "events", sort=(Sort("channel", descending),))) as view:
            assert values(view, "channel", 29_990, 10) == [None] * 10
            assert None not in values(view, "channel", 0, 10)


def test_several_columns_sort_one_after_the_other(events, case):
    spec = ViewSpec("main", "events", sort=(Sort("channel", True), Sort("event_id")))
    expected = sorted(case.rows, key=lambda row: (row[1] is None, row[1] != "System", row[0]))
    with events.open(spec) as view:
        view.count()
        assert values(view, "_cf_row", 4_000, 3_000) == [row[3] for row in expected[4_000:7_000]]


def test_a_filtered_view_counts_and_pages_the_rows_that_pass(events, case):
    spec = ViewSpec(
        "main", "events", filters=(Filter("event_id", "<", 5), Filter("channel", "=", "System"))
    )
    expected = [row for row in case.rows if row[0] < 5 and row[1] == "System"]
    with events.open(spec) as view:
        assert values(view, "_cf_row", 0, 100) == [row[3] for row in expected[:100]]
        assert view.count() == len(expected)
        assert view.rows == len(expected)
        assert values(view, "_cf_row", 500, 100) == [row[3] for row in expected[500:600]]


def test_a_filtered_and_sorted_view_does_both(events, case):
    spec = ViewSpec(
        "main", "events", filters=(Filter("event_id", ">=", 40),), sort=(Sort("event_id", True),)
    )
    expected = sorted((row for row in case.rows if row[0] >= 40), key=lambda row: -row[0])
    with events.open(spec) as view:
        assert view.count() == len(expected)
        assert values(view, "_cf_row", 2_500, 50) == [row[3] for row in expected[2_500:2_550]]


def test_only_the_columns_wanted_come_in_the_order_wanted(events):
    with events.open(ViewSpec("main", "events", columns=("_cf_row", "event_id"))) as view:
        assert view.page(0, 1).column_names == ["_cf_row", "event_id"]
        assert [one.name for one in view.columns] == ["_cf_row", "event_id"]


def test_a_table_without_rows_pages_filters_and_sorts(case, opened):
    case.add("t", EVENTS)
    reader = opened()
    for spec in (
        ViewSpec("main", "t"),
        ViewSpec("main", "t", sort=(Sort("event_id"),)),
        ViewSpec("main", "t", filters=(Filter("event_id", "=", 1),), search="x"),
    ):
        with reader.open(spec) as view:
            assert view.count() == 0
            page = view.page(0, 10)
            assert page.num_rows == 0
            assert page.column_names == ["event_id", "channel", *LINEAGE_COLUMNS]


def test_control_tables_page_filter_and_sort_like_the_others(case, opened):
    case.control["main", "files"] = pa.table(
        {"path": [f"p{at}" for at in range(100)], "size": list(range(100))}
    )
    reader = opened()
    spec = ViewSpec(
        "main", "files", filters=(Filter("size", ">=", 50),), sort=(Sort("size", True),)
    )
    with reader.open(spec) as view:
        assert view.count() == 50
        assert values(view, "path", 10, 2) == ["p89", "p88"]
    with reader.open(ViewSpec("main", "files")) as view:
        assert values(view, "path", 98, 10) == ["p98", "p99"]


def test_a_page_has_the_types_of_the_contract_and_tells_their_words(case, opened):
    words = (
        "boolean",
        "int64",
        "float64",
        "decimal(5,2)",
        "date",
        "time",
        "timestamp",
        "timestamp_utc",
    )
    words += ("duration", "string", "binary", "json", "list<int64>", "struct<a:int64,b:string>")
    case.add(
        "t",
        tuple((f"c{at}", word) for at, word in enumerate(words)),
        {
            "c0": [True],
            "c1": [-1],
            "c2": [0.5],
            "c3": [Decimal("1.50")],
            "c4": [0],
            "c5": [1],
            "c6": [YEAR_1601_US],
            "c7": [YEAR_30828_US],
            "c8": [-5],
            "c9": ["a\0b"],
            "c10": [b"\0\xff"],
            "c11": ['{"a": 1}'],
            "c12": [[1, None]],
            "c13": [{"a": 1, "b": None}],
        },
    )
    reader = opened()
    for sort in ((), (Sort("c1"),)):
        with reader.open(ViewSpec("main", "t", sort=sort)) as view:
            page = view.page(0, 1)
        assert [field.metadata[b"cf.type"].decode() for field in page.schema][:14] == list(words)
        assert page.column("c6").cast(pa.int64()).to_pylist() == [YEAR_1601_US]
        assert page.column("c7").cast(pa.int64()).to_pylist() == [YEAR_30828_US]
        assert page.column("c7").type == pa.timestamp("us", "UTC")
        assert page.column("c8").type == pa.duration("us")
        assert page.column("c9").to_pylist() == ["a\0b"]
        assert page.column("c10").to_pylist() == [b"\0\xff"]
        assert page.column("c12").to_pylist() == [[1, None]]
        assert page.column("c13").to_pylist() == [{"a": 1, "b": None}]


def test_a_cell_of_fifty_megabytes_comes_whole_or_clipped(case, opened):
    huge = "x" * (50 << 20)
    case.add(
        "t", (("a", "string"), ("b", "binary")), {"a": ["é" * 9, huge], "b": [b"", huge.encode()]}
    )
    reader = opened()
    with reader.open(ViewSpec("main", "t", sort=(Sort("_cf_row", True),))) as view:
        clipped = view.page(0, 2, clip=4)
        assert clipped.column("a").to_pylist() == ["xxxx", "éééé"]
        assert clipped.column("b").to_pylist() == [b"xxxx", b""]
        assert len(values(view, "a", 0, 1)[0]) == len(huge)


def test_thousands_of_small_files_page_and_sort(case, opened):
    case.add("t", EVENTS, *({"event_id": [at], "channel": ["a"]} for at in range(500)))
    reader = opened()
    with reader.open(ViewSpec("main", "t")) as view:
        assert values(view, "event_id", 250, 100) == list(range(250, 350))
    with reader.open(ViewSpec("main", "t", sort=(Sort("event_id", True),))) as view:
        view.count()
        assert values(view, "event_id", 250, 100) == list(range(249, 149, -1))


def test_columns_named_like_duckdb_s_own_are_only_columns(case, opened):
    case.add(
        "t",
        (
            ("file_row_number", "string"),
            ("file_index", "int64"),
            ("rowid", "int64"),
            ("k", "string"),
            ("c0", "int64"),
        ),
        {
            "file_row_number": ["b", "a"],
            "file_index": [9, 8],
            "rowid": [5, 6],
            "k": ["x", "y"],
            "c0": [3, 4],
        },
    )
    reader = opened()
    with reader.open(ViewSpec("main", "t", sort=(Sort("file_row_number"),))) as view:
        view.count()
        assert [
            values(view, name) for name in ("file_row_number", "file_index", "rowid", "k", "c0")
        ] == [
            ["a", "b"],
            [8, 9],
            [6, 5],
            ["y", "x"],
            [4, 3],
        ]


# What stays, and what ends.


def test_an_open_view_keeps_its_rows_while_the_catalog_moves_on(events, case):
    with events.open(ViewSpec("main", "events", sort=(Sort("event_id"),))) as view:
        before = view.page(0, 100)
        first = case.tables[0]
        case.tables[0] = CommittedTable("main", "events", first.columns, first.files[:1])
        case.build()
        assert events.refresh() == 2

        assert view.count() == 30_000
        assert view.page(0, 100).equals(before)
        with events.open(ViewSpec("main", "events")) as newer:
            assert newer.count() == 10_000
    until(lambda: len(list((case.home / "tmp").iterdir())) == 1)


def test_a_reader_that_was_closed_stays_closed(events, case):
    events.tables()
    events.close()
    assert events.refresh() == 0
    with pytest.raises(EnvironmentProblem, match="closed"):
        events.tables()
    assert list((case.home / "tmp").iterdir()) == []


def test_the_result_of_a_query_is_clipped_like_a_table(events):
    view = events.query("SELECT 'äbc' AS a, 'xyz'::BLOB AS b, 12345 AS c")
    assert view.page(0, 1, clip=2).to_pylist() == [{"a": "äb", "b": b"xy", "c": 12345}]


def test_a_view_works_after_its_reader_was_closed(events, case):
    view = events.open(ViewSpec("main", "events"))
    events.close()
    assert view.page(0, 1).num_rows == 1
    view.close()
    view.close()
    assert list((case.home / "tmp").iterdir()) == []


def test_closing_a_view_ends_what_runs_for_it(case, opened):
    case.add("t", (("a", "string"),), {"a": [f"{at:050}" for at in range(200_000)]})
    reader = opened()
    view = reader.open(
        ViewSpec("main", "t", filters=tuple(Filter("a", "contains", f"{at}x") for at in range(40)))
    )
    ended = []

    def count():
        try:
            view.count()
        except CasparianError as error:
            ended.append(error)

    counting = threading.Thread(target=count)
    counting.start()
    view.close()
    counting.join(5)
    assert not counting.is_alive()
    until(lambda: not [one for one in threading.enumerate() if one.name == "view-keys"])


def test_a_wait_that_is_cancelled_ends_and_the_view_goes_on(events):
    cancel = CancelToken()
    cancel.cancel()
    with events.open(ViewSpec("main", "events", sort=(Sort("event_id"),))) as view:
        with pytest.raises(Cancelled):
            view.page(29_000, 10, cancel)
        with pytest.raises(Cancelled):
            view.page(0, 10, cancel)
        assert view.page(29_000, 10).num_rows == 10


def test_a_view_may_be_asked_from_many_threads(events, case):
    expected = [row[3] for row in sorted(case.rows, key=lambda row: row[0])]
    wrong = []
    with events.open(ViewSpec("main", "events", sort=(Sort("event_id"),))) as view:

        def look(seed):
            draw = random.Random(seed)
            for _ in range(10):
                offset = draw.randrange(29_000)
                if values(view, "_cf_row", offset, 50) != expected[offset : offset + 50]:
                    wrong.append(offset)

        threads = [threading.Thread(target=look, args=(at,)) for at in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert wrong == []


def test_a_file_that_is_gone_is_told_by_page_and_count(events, case):
    Path(case.tables[0].files[1].path).unlink()
    for sort in ((), (Sort("event_id"),)):
        view = events.open(ViewSpec("main", "events", sort=sort))
        with view, pytest.raises(EnvironmentProblem, match=r"1\.parquet"):
            view.page(10_000, 10)


# Filters.

WORDS = {
    "int64": [None, 0, -1, 42, 2**62],
    "float64": [None, 0.0, -1.5, 42.0, float("inf")],
    "decimal(6,2)": [None, Decimal("0.00"), Decimal("-1.50"), Decimal("42.00"), Decimal("9999.99")],
    "boolean": [None, True, False, True, False],
    "date": [None, 0, -134_774, 19_061, 10_540_425],
    "time": [None, 0, 1, 59_630_089_354, 86_399_999_999],
    "timestamp": [None, 0, YEAR_1601_US, PROCESSED_AT_US, YEAR_30828_US],
    "timestamp_utc": [None, 0, YEAR_1601_US, PROCESSED_AT_US, YEAR_30828_US],
    "duration": [None, 0, -5, 90_061_000_001, 10**15],
    "string": [None, "", "a'b", "Ünïcode\0%_", "zz"],
    "binary": [None, b"\x00", b"\x01\x02", b"abc", b"\xff"],
    "json": [None, "{}", "[1]", '"x"', "1"],
}
SAID = {
    "int64": ["0", "-1", "42", 2**62],
    "float64": ["0", -1.5, "42.0", "Infinity"],
    "decimal(6,2)": ["0.00", Decimal("-1.50"), "42.00", "9999.99"],
    "boolean": ["true", False],
    "date": ["1970-01-01", "1601-01-01", "2022-03-10", "30828-09-14"],
    "time": ["00:00:00", "00:00:00.000001", "16:33:50.089354", "23:59:59.999999"],
    "timestamp": [
        "1970-01-01",
        "1601-01-01T00:00:00",
        "2022-03-10 16:33:50.089354",
        "30828-09-14 02:48:05.477580",
    ],
    "timestamp_utc": [
        "1970-01-01",
        "1601-01-01 00:00",
        "2022-03-10 16:33:50.089354 UTC",
        "30828-09-14T02:48:05.477580Z",
    ],
    "duration": ["00:00:00", "-00:00:00.000005", "1.01:01:01.000001", "11574.01:46:40"],
    "string": ["", "a'b", "Ünïcode\0%_", "zz"],
    "binary": ["00", "0102", b"abc", "ff"],
    "json": ["{}", "[1]", '"x"', "1"],
}


@pytest.mark.parametrize("word", WORDS)
def test_each_type_is_compared_as_itself_and_the_statement_shown_says_the_same(case, opened, word):
    case.add("t", (("a", word),), {"a": WORDS[word]})
    reader = opened()
    rows = WORDS[word]
    for said in SAID[word]:
        for op in ("=", "!=", "<", "<=", ">", ">="):
            spec = ViewSpec("main", "t", filters=(Filter("a", op, said),))
            with reader.open(spec) as view:
                found = values(view, "_cf_row")
                shown = view.sql
            told = reader.query(shown)
            assert values(told, "_cf_row") == found, shown
            if op == "=":
                assert len(found) >= 1, (word, said)
                for row in found:
                    assert rows[row - 1] == rows[found[0] - 1]
            if op == "!=":
                assert 1 in found  # the row without a value
                assert (
                    len(found)
                    + rows.count(rows[next(at for at in range(1, 6) if at not in found) - 1])
                    == 5
                )


def test_in_null_and_not_null(case, opened):
    case.add(
        "t", (("a", "int64"), ("b", "string")), {"a": [1, 2, None, 4], "b": ["x", None, "y", ""]}
    )
    reader = opened()
    for one, rows in (
        (Filter("a", "in", ("1", 4, 9)), [1, 4]),
        (Filter("a", "in", ()), []),
        (Filter("b", "in", ("", "x")), [1, 4]),
        (Filter("a", "is null"), [3]),
        (Filter("b", "not null"), [1, 3, 4]),
    ):
        with reader.open(ViewSpec("main", "t", filters=(one,))) as view:
            assert values(view, "_cf_row") == rows
            assert values(reader.query(view.sql), "_cf_row") == rows


@pytest.mark.parametrize(
    ("word", "cell", "needle", "found"),
    [
        ("string", "Straße C:\\Windows\\System32", "c:\\WINDOWS\\s", True),
        ("string", "50% of [a-z]+", "% of [A-Z]+", True),
        ("string", "Ärger", "äRGER", True),
        ("string", "abc", "a.c", False),
        ("string", "a\nb\0c", "A\nB\0c", True),
        ("string", "10.1.2.3", "1.2", True),
        ("string", "x", "", True),
        ("string", "😀 smile", "😀 S", True),
        ("json", '{"User": "Admin"}', "admin", True),
        ("int64", 4624, "62", True),
        ("timestamp_utc", PROCESSED_AT_US, "2022-03-10 16:33", True),
        ("binary", b"\xde\xad", "DEAD", True),
        ("list<string>", ["evtx", "csv"], "evt", True),
        ("duration", 90_061_000_001, "25:01", True),
    ],
)
def test_contains_looks_at_the_text_of_any_type_whatever_the_case(
    case, opened, word, cell, needle, found
):
    case.add("t", (("a", word),), {"a": [cell, None]})
    with opened().open(ViewSpec("main", "t", filters=(Filter("a", "contains", needle),))) as view:
        assert values(view, "_cf_row") == ([1] if found else [])


def test_starts_looks_at_the_beginning_only(case, opened):
    case.add("t", (("a", "string"),), {"a": ["Sec", "xSec", "line\nSec", "10.1", "110.1"]})
    reader = opened()
    for needle, rows in (("sec", [1]), ("10.", [4])):
        with reader.open(ViewSpec("main", "t", filters=(Filter("a", "starts", needle),))) as view:
            assert values(view, "_cf_row") == rows


def test_a_search_looks_in_every_text_column_and_for_whole_numbers_too(case, opened):
    case.add(
        "t",
        (("a", "string"), ("b", "json"), ("n", "int64")),
        {
            "a": ["needle", "x", "x", "x"],
            "b": ["{}", '{"k":"NEEDLE"}', "{}", "{}"],
            "n": [1, 2, 3, 4624],
        },
    )
    reader = opened()
    for needle, rows in (
        ("Needle", [1, 2]),
        ("4624", [4]),
        ("job-0", [1, 2, 3, 4]),
        ("nowhere", []),
    ):
        with reader.open(ViewSpec("main", "t", search=needle)) as view:
            assert values(view, "_cf_row") == rows
            assert values(reader.query(view.sql), "_cf_row") == rows


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ViewSpec("main", "nope"), "no table nope"),
        (ViewSpec("other", "t"), "no table t"),
        (ViewSpec("main", "t", columns=("nope",)), "no column nope"),
        (ViewSpec("main", "t", sort=(Sort("nope"),)), "no column nope"),
        (ViewSpec("main", "t", filters=(Filter("nope", "=", 1),)), "no column nope"),
        (ViewSpec("main", "t", filters=(Filter("a", "like", 1),)), "no comparison 'like'"),
        (ViewSpec("main", "t", filters=(Filter("a", "=", "abc"),)), "'abc' is not a value of a"),
        (ViewSpec("main", "t", filters=(Filter("a", "=", "1; DROP"),)), "is not a value of a"),
        (ViewSpec("main", "t", filters=(Filter("a", "=", 2**64),)), "is not a value of a"),
        (ViewSpec("main", "t", filters=(Filter("a", "="),)), "no value to compare a with"),
        (ViewSpec("main", "t", filters=(Filter("l", "=", "x"),)), "l cannot be compared"),
        (ViewSpec("main", "t", filters=(Filter("s", "=", "\ud800"),)), "half a character"),
        (ViewSpec("main", "t", search="\udfff"), "half a character"),
        (ViewSpec("main", "t", search="x" * 2_000), "too long"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_sentence(case, opened, spec, said):
    case.add("t", (("a", "int64"), ("s", "string"), ("l", "list<string>")))
    with pytest.raises(UserProblem, match=said):
        opened().open(spec)


# Queries.


def test_a_query_gives_typed_rows_and_knows_that_they_are_all(events):
    view = events.query(
        "SELECT channel, count(*) AS n FROM events GROUP BY ALL ORDER BY n DESC, channel"
    )
    assert [(one.name, one.type) for one in view.columns] == [("channel", "string"), ("n", "int64")]
    assert view.rows == view.count() == 3
    assert not view.truncated
    assert sum(values(view, "n")) == 30_000
    assert view.seconds >= 0


@pytest.mark.parametrize(
    ("cap", "truncated"), [(29_999, True), (30_000, False), (10, True), (0, True)]
)
def test_that_rows_are_left_out_is_known_and_not_guessed(events, cap, truncated):
    view = events.query("SELECT * FROM events", cap=cap)
    assert isinstance(view, ResultView)
    assert view.truncated is truncated
    assert view.kept == view.count() == min(cap, 30_000)
    assert view.rows == (None if truncated else 30_000)


def test_types_that_are_not_ours_are_widened_or_shown_as_text(events):
    view = events.query(
        "SELECT 1::TINYINT a, 1::UBIGINT b, sum(2::HUGEINT) c, 1.5::FLOAT d, INTERVAL 1 DAY e,"
        " MAP {'k': 1} f, uuid() IS NOT NULL g, NULL i, [1::BIGINT] j,"
        " '2020-01-01 00:00:00.123456789'::TIMESTAMP_NS h,"
        " json('{\"x\":1}') k, {'p': 1} l, 'a'::BLOB m, TIME '01:02:03' n, DATE '30828-09-14' o"
    )
    assert [one.type for one in view.columns] == [
        "int64", "decimal(20,0)", "decimal(38,0)", "float64", "string", "string",
        "boolean", "string", "list<int64>", "string",
        "json", "string", "binary", "time", "date",
    ]  # fmt: skip
    page = view.page(0, 1)
    assert page.column("h").to_pylist() == ["2020-01-01 00:00:00.123456789"]
    assert page.column("e").to_pylist() == ["1 day"]
    assert page.column("c").to_pylist() == [Decimal(2)]


def test_columns_of_one_name_get_names_of_their_own(events):
    view = events.query("SELECT 1 AS a, 2 AS a, 3 AS A")
    assert [one.name for one in view.columns] == ["a", "a_1", "A_2"]
    assert [values(view, name) for name in ("a", "a_1", "A_2")] == [[1], [2], [3]]


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT * FROM events",
        "DESCRIBE events",
        "SUMMARIZE events",
        "SHOW TABLES",
        "FROM events LIMIT 1",
        "VALUES (1), (2)",
        "PIVOT events ON channel IN ('System') USING count(*)",
        "WITH a AS (SELECT 1 AS x) FROM a -- the end",
        "SELECT * FROM events WHERE channel = 'a;b' ; ",
        "SELECT 1 WHERE false",
    ],
)
def test_every_form_of_reading_runs(events, sql):
    view = events.query(sql)
    assert view.page(0, 10).num_columns == len(view.columns) > 0


def test_the_order_a_query_asks_for_is_kept(events, case):
    view = events.query(
        "SELECT event_id, _cf_row FROM events ORDER BY event_id DESC, _cf_source_hash, _cf_row"
    )
    assert values(view, "event_id") == sorted((row[0] for row in case.rows), reverse=True)[:10_000]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nope FROM events", "LINE 1: SELECT nope FROM events\n               ^"),
        ("SELECT *\nFROM nope", "LINE 2: FROM nope"),
        ("SELECT 'x'::INT", "Could not convert"),
        ("SELECT 1 +", "syntax error"),
        ("SELECT ?", "parameter"),
    ],
)
def test_what_is_wrong_with_a_query_is_told_with_its_place(events, sql, said):
    with pytest.raises(UserProblem) as problem:
        events.query(sql)
    assert said in problem.value.detail
    assert "Traceback" not in str(problem.value)


def test_a_query_that_is_refused_never_runs(events, case):
    for sql in (
        f"COPY (SELECT 1) TO '{case.home}/x.csv'",
        f"WITH a AS (COPY (SELECT 1) TO '{case.home}/x.csv') FROM a",
        "SELECT 1; SELECT 2",
    ):
        with pytest.raises(UserProblem):
            events.query(sql)
    assert not (case.home / "x.csv").exists()


def test_a_query_is_cancelled_within_a_moment(events):
    cancel = CancelToken()
    threading.Timer(0.1, cancel.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        events.query(
            "SELECT count(*) FROM range(100000000000) WHERE hash(range) % 7 = 1", cancel=cancel
        )
    assert time.monotonic() - started < 3


def test_tables_are_looked_up_in_the_own_workspace_only(case, opened):
    case.add("mine", EVENTS, {"event_id": [1], "channel": ["a"]}, schema="case A")
    case.add("shared", EVENTS, {"event_id": [2], "channel": ["a"]}, schema="case A")
    case.add("shared", EVENTS, {"event_id": [3], "channel": ["a"]})
    case.add("theirs", EVENTS, {"event_id": [4], "channel": ["a"]})
    reader = opened()

    assert values(reader.query("FROM mine", "case A"), "event_id") == [1]
    assert values(reader.query("FROM shared", "case A"), "event_id") == [2]
    assert values(reader.query("FROM shared"), "event_id") == [3]
    assert values(reader.query("FROM main.shared", "case A"), "event_id") == [3]
    assert values(reader.query("WITH theirs AS (FROM mine) FROM theirs", "case A"), "event_id") == [
        1
    ]
    for sql, schema in (
        ("FROM mine", "main"),
        ("FROM theirs", "case A"),
        ("DESCRIBE theirs", "case A"),
        ("SUMMARIZE theirs", "case A"),
        ("EXPLAIN FROM theirs", "case A"),
        ("FROM THEIRS", "case A"),
        ("FROM theirs", "a case without tables"),
        ("FROM mine", "a case without tables"),
    ):
        with pytest.raises(UserProblem, match="does not exist"):
            reader.query(sql, schema)


def test_the_statement_shown_passes_the_guard_even_with_hostile_names(case, opened):
    name = "'; DROP VIEW x; -- \" {0} %s"
    case.add(name, ((name, "string"), ("select", "int64")), {name: ["a", "b"], "select": [1, 2]})
    reader = opened()
    spec = ViewSpec(
        "main",
        name,
        filters=(Filter(name, "in", ("a", "'; --")), Filter("select", "<", 9)),
        search="a",
        sort=(Sort(name, True),),
        columns=(name, "select"),
    )
    with reader.open(spec) as view:
        assert check_select(view.sql) == view.sql
        assert view.page(0, 9).to_pylist() == [{name: "a", "select": 1}]
        assert reader.query(view.sql).page(0, 9).to_pylist() == [{name: "a", "select": 1}]
