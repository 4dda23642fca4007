"""The catalog shows exactly what is committed, to any DuckDB client, and is swapped whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casparian.catalog import views
from casparian.domain.contracts import LINEAGE_COLUMNS, QUARANTINE_SCHEMA, Column
from casparian.domain.errors import CasparianError, EnvironmentProblem
from casparian.domain.results import CommittedFile, CommittedTable
from helpers.tables import Case, with_lineage, written

COLUMNS = (("event_id", "int64"), ("channel", "string"))


HOLDER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
for line in sys.stdin:
    print(connection.execute("SELECT count(*) FROM t").fetchall()[0][0], flush=True)
"""


def ask(case, sql):
    """What another client reads."""
    with duckdb.connect(str(case.catalog), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_view_shows_the_rows_of_its_files_in_the_order_they_were_committed(case):
    case.add(
        "evtx_events",
        COLUMNS,
        {"event_id": [3, 1], "channel": ["System", None]},
        {"event_id": [2], "channel": ["Security"]},
    )
    case.build()

    assert ask(case, "SELECT event_id, channel FROM evtx_events") == [
        (3, "System"),
        (1, None),
        (2, "Security"),
    ]


def test_a_view_has_the_contract_columns_then_the_lineage(case):
    case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]})
    case.build()

    described = ask(case, "DESCRIBE t")
    assert [row[0] for row in described] == ["event_id", "channel", *LINEAGE_COLUMNS]
    assert described[4][1] == "TIMESTAMP WITH TIME ZONE"


def test_a_table_without_files_still_has_its_views(case):
    case.add("t", [*COLUMNS, ("lasted", "duration"), ("all", "list<struct<a:int64>>")])
    case.build()

    assert ask(case, "SELECT count(*) FROM t") == [(0,)]
    assert [row[1] for row in ask(case, "DESCRIBE t")][:4] == [
        "BIGINT",
        "VARCHAR",
        "INTERVAL",
        "STRUCT(a BIGINT)[]",
    ]


def test_every_table_has_its_quarantine_beside_it(case):
    case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]}, quarantined=3)
    case.add("u", COLUMNS)
    case.build()

    assert [row[0] for row in ask(case, "DESCRIBE t_quarantine")] == QUARANTINE_SCHEMA.names
    assert ask(case, "SELECT count(*), any_value(raw) FROM t_quarantine") == [(3, "raw-0")]
    assert ask(case, "SELECT count(*) FROM u_quarantine") == [(0,)]


def test_a_stray_file_beside_the_committed_ones_is_not_seen(case):
    table = case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]})
    pq.write_table(
        pq.read_table(table.files[0].path), Path(table.files[0].path).with_name("9.parquet")
    )
    case.build()

    assert ask(case, "SELECT count(*) FROM t") == [(1,)]


def test_a_column_that_a_file_lacks_is_null_and_one_too_many_is_ignored(case, tmp_path):
    table = case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]})
    other = with_lineage(
        (Column("event_id", "int64"), Column("more", "string")), {"event_id": [2], "more": ["m"]}
    )
    file = written(case.outputs / "other.parquet", other)
    case.tables[0] = CommittedTable("main", "t", table.columns, (*table.files, file))
    case.build()

    assert ask(case, "SELECT event_id, channel FROM t") == [(1, "a"), (2, None)]


def test_text_where_a_number_belongs_is_an_error_that_names_file_and_column(case, opened):
    table = case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]})
    other = with_lineage((Column("event_id", "string"),), {"event_id": ["x"]})
    file = written(case.outputs / "wrong.parquet", other)
    case.tables[0] = CommittedTable("main", "t", table.columns, (*table.files, file))

    with pytest.raises(EnvironmentProblem) as problem:
        opened().query("SELECT sum(event_id) FROM t")
    assert "wrong.parquet" in problem.value.detail
    assert "event_id" in problem.value.detail


def test_a_missing_file_is_told_and_breaks_no_other_table(case):
    broken = case.add(
        "broken", COLUMNS, {"event_id": [1], "channel": ["a"]}, {"event_id": [2], "channel": ["b"]}
    )
    case.add("whole", COLUMNS, {"event_id": [1], "channel": ["a"]})
    Path(broken.files[1].path).unlink()
    case.build()

    assert ask(case, "SELECT count(*) FROM whole") == [(1,)]
    assert len(ask(case, "DESCRIBE broken")) == 8
    with pytest.raises(duckdb.Error, match=r"1\.parquet is missing"):
        ask(case, "SELECT count(*) FROM broken")


def test_a_file_that_goes_missing_later_is_an_error_and_no_smaller_table(case):
    table = case.add(
        "t", COLUMNS, {"event_id": [1], "channel": ["a"]}, {"event_id": [2], "channel": ["b"]}
    )
    case.build()
    Path(table.files[0].path).unlink()

    with pytest.raises(duckdb.IOException, match=r"0\.parquet"):
        ask(case, "SELECT count(*) FROM t")


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"garbage" * 99], ids=["empty", "stub", "garbage"]
)
def test_a_damaged_file_breaks_no_other_table(case, content):
    broken = case.add("broken", COLUMNS, {"event_id": [1], "channel": ["a"]})
    case.add("whole", COLUMNS, {"event_id": [1], "channel": ["a"]})
    Path(broken.files[0].path).write_bytes(content)
    case.build()

    assert ask(case, "SELECT count(*) FROM whole") == [(1,)]
    with pytest.raises(duckdb.Error, match=r"0\.parquet"):
        ask(case, "SELECT * FROM broken")


def test_columns_of_one_name_are_told_and_break_no_other_table(case):
    case.add("broken", (("Time", "string"), ("TIME", "string")), {"Time": ["a"], "TIME": ["b"]})
    case.add("whole", COLUMNS, {"event_id": [1], "channel": ["a"]})
    case.build()

    assert ask(case, "SELECT count(*) FROM whole") == [(1,)]
    with pytest.raises(duckdb.Error, match="duplicate column name"):
        ask(case, "SELECT * FROM broken")


@pytest.mark.parametrize(
    "name",
    [
        "'; DROP VIEW x; --",
        '" OR 1=1',
        "$(id)",
        "%s {0} \\",
        "<img onerror=alert(1)>",
        "\x1b[31mred",
        "\u202egnp.exe",
        "two\nlines",
        "temp",
        "system",
        "query",
        "casparian",
        "select",
        "x" * 5_000,
    ],
)
def test_names_are_only_names(case, opened, name):
    case.add(f"{name}t", ((f"{name}c", "string"),), {f"{name}c": ["a"]}, schema=name)
    case.control[(name, "files")] = pa.table({f"{name}c": ["b"]})
    reader = opened()
    quoted = name.replace('"', '""')

    assert ask(case, f'SELECT "{quoted}c" FROM query."{quoted}"."{quoted}t"') == [("a",)]
    view = reader.query(f'SELECT "{quoted}c" FROM "{quoted}t" UNION ALL FROM files', name)
    assert view.page(0, 9).column(0).to_pylist() == ["a", "b"]


def test_paths_are_only_paths(tmp_path):
    for odd in ("[1]", "a*b", "it's", "{a,b}", "100%", "\u202egnp", "two\nlines", "**"):
        case = Case(tmp_path / odd)
        case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]})
        (case.outputs / "0" / "00.parquet").write_bytes(b"a stray file that a pattern would find")
        reader = case.reader()

        assert ask(case, "SELECT count(*) FROM t") == [(1,)]
        assert reader.query("SELECT count(*) FROM t").page(0, 1).column(0).to_pylist() == [1]
        reader.close()


def test_a_home_that_duckdb_would_misread_is_refused(tmp_path):
    with pytest.raises(EnvironmentProblem, match="question mark"):
        Case(tmp_path / "why?").build()


def test_views_and_columns_carry_comments(case):
    case.add("t", ((Column("event_id", "int64", doc="What's it"), ""),), {"event_id": [1]})
    case.build()

    assert ask(case, "SELECT comment FROM duckdb_views() WHERE view_name = 't'") == [
        ("1 rows in 1 files, read by evtx 1.0.0",)
    ]
    assert ask(
        case,
        "SELECT comment FROM duckdb_columns() WHERE table_name = 't' AND column_name = 'event_id'",
    ) == [("What's it",)]


def test_control_tables_are_stored_with_types_that_people_know(case):
    case.control[("main", "files")] = pa.table(
        {
            "path": pa.array(["a"], pa.dictionary(pa.int32(), pa.string())),
            "size": pa.array([1], pa.uint32()),
            "seen": pa.array([0], pa.timestamp("us", "UTC")),
            "tags": pa.array([["evtx"]]),
        }
    )
    case.build()

    assert [row[:2] for row in ask(case, "DESCRIBE files")] == [
        ("path", "VARCHAR"),
        ("size", "BIGINT"),
        ("seen", "TIMESTAMP WITH TIME ZONE"),
        ("tags", "VARCHAR[]"),
    ]


def test_a_client_that_has_the_old_catalog_open_keeps_it_and_a_new_one_sees_the_new(case):
    case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]})
    case.build()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER,
            str(case.catalog),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "1\n"

        case.tables.clear()
        case.add("t", COLUMNS, {"event_id": [1, 2], "channel": ["a", "b"]})
        case.tables[0] = CommittedTable("main", "t", case.tables[0].columns, case.tables[0].files)
        case.build()

        assert ask(case, "SELECT count(*) FROM t") == [(2,)]
        holder.stdin.write("\n")
        holder.stdin.close()
        assert holder.stdout.readline() in {"1\n", "2\n"}


def test_a_build_that_fails_leaves_the_old_catalog_and_nothing_beside_it(case):
    case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]})
    case.build()
    case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]})

    with pytest.raises(CasparianError, match="already exists"):
        case.build()

    assert ask(case, "SELECT count(*) FROM t") == [(1,)]
    assert sorted(one.name for one in case.home.iterdir()) == ["output", "query.duckdb"]


def test_what_a_killed_build_left_is_swept_away_later_and_a_running_one_is_not(case):
    case.add("t", COLUMNS)
    case.build()
    old = case.home / ".query.duckdb.0.tmp"
    young = case.home / ".query.duckdb.1.tmp"
    for one in (old, young):
        one.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)

    case.build()

    assert not old.exists()
    assert young.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "home").write_bytes(b"a file where the home should be")

    with pytest.raises(EnvironmentProblem, match="could not be written"):
        views.build(tmp_path / "home" / "query.duckdb", [], {}, 1)


def test_thousands_of_files_are_bound_without_opening_them(case):
    table = case.add("t", COLUMNS, {"event_id": [1], "channel": ["a"]})
    content = Path(table.files[0].path).read_bytes()
    files = []
    for at in range(2_000):
        path = case.outputs / "many" / f"{at:04}.parquet"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        files.append(CommittedFile(str(path), 1, len(content)))
    case.tables[0] = CommittedTable("main", "t", table.columns, tuple(files))
    case.build()

    assert ask(case, "SELECT count(*) FROM t") == [(2_000,)]
