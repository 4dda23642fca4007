"""A session is locked: whatever slips past the guard reads no other file and writes none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casparian.catalog.session import Opening, Session
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem

COLUMNS = (("a", "int64"),)
ENDLESS = "SELECT count(*) FROM range(100000000000) WHERE hash(range) % 7 = 1"


@pytest.fixture
def session(case):
    case.add("t", COLUMNS, {"a": [1, 2, 3]})
    case.add("mine", COLUMNS, {"a": [7]}, schema="case A")
    case.build()
    opened = Session(Opening(case.catalog, lambda: [case.outputs], case.home / "tmp", 512))
    yield opened
    opened.release()


def test_it_reads_the_committed_files(session):
    assert session.table("SELECT sum(a) FROM t").column(0).to_pylist() == [6]


def test_it_reads_no_other_file(session, case, tmp_path):
    stray = case.outputs / "stray.parquet"
    pq.write_table(pa.table({"a": [1]}), stray)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    committed = case.tables[0].files[0].path

    for source in (
        f"'{stray}'",
        f"'{tmp_path}/secret.csv'",
        f"read_text('{tmp_path}/secret.csv')",
        f"read_parquet('{case.outputs}/*/*.parquet')",
        f"read_parquet('{committed}/../../../stray.parquet')",
        f"glob('{case.outputs}/*')",
        "read_csv('/dev/stdin')",
        "read_text('/etc/passwd')",
        "duckdb_secrets()",
        "'http://127.0.0.1:9/x.parquet'",
    ):
        with pytest.raises(CasparianError):
            session.table(f"SELECT * FROM {source}")


@pytest.mark.parametrize(
    "sql",
    [
        "SET memory_limit = '99GB'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_paths = ['/']",
        "RESET allowed_paths",
        "SET temp_directory = '/'",
        "PRAGMA enable_profiling",
        "PRAGMA profiling_output = '{home}/profile.json'",
        "CALL enable_logging('QueryLog', storage = 'file', storage_path = '{home}/log.csv')",
        "ATTACH '{home}/other.duckdb'",
        "ATTACH '{home}/query.duckdb' AS q",
        "EXPORT DATABASE '{home}/exported'",
        "LOAD httpfs",
        "INSTALL httpfs",
        "COPY (SELECT 1 AS a) TO '{home}/new.csv'",
        "COPY (SELECT 1 AS a) TO '{home}/output/new.parquet'",
        "EXPLAIN ANALYZE COPY (SELECT 1 AS a) TO '{home}/new.csv'",
        "WITH x AS (COPY (SELECT 1 AS a) TO '{home}/new.csv') FROM x",
        "CREATE TABLE made AS SELECT 1",
        "INSERT INTO _casparian.generation VALUES (9)",
        "DROP VIEW t",
        "CREATE SECRET s (TYPE http)",
    ],
)
def test_no_setting_can_be_changed_and_nothing_written(session, case, sql):
    before = {one: one.read_bytes() for one in case.home.rglob("*") if one.is_file()}

    with pytest.raises(duckdb.Error), session.cursor() as cursor:
        cursor.execute(sql.format(home=case.home)).fetchall()

    assert {one: one.read_bytes() for one in case.home.rglob("*") if one.is_file()} == before


def test_times_are_utc_in_every_cursor_wherever_the_machine_stands(session, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")

    found = session.table("SELECT CAST(TIMESTAMPTZ '2022-03-10 16:33:50+00' AS VARCHAR)")
    assert found.column(0).to_pylist() == ["2022-03-10 16:33:50+00"]


def test_python_variables_are_not_tables(session):
    secret = pa.table({"a": [1]})
    with pytest.raises(UserProblem, match="secret"):
        session.table("SELECT * FROM secret")
    del secret


def test_nothing_outside_the_outputs_is_read_whatever_the_catalog_says(case, tmp_path):
    case.add("t", COLUMNS, {"a": [1]})
    case.build()
    session = Session(
        Opening(case.catalog, lambda: [tmp_path / "elsewhere"], case.home / "tmp", 512)
    )
    try:
        with pytest.raises(UserProblem, match="not allowed"):
            session.table("FROM t")
    finally:
        session.release()


def test_a_link_out_of_the_outputs_is_not_followed(case, tmp_path):
    table = case.add("t", COLUMNS, {"a": [1]})
    path = Path(table.files[0].path)
    outside = path.rename(tmp_path / "outside.parquet")
    path.symlink_to(outside)
    case.build()
    session = Session(Opening(case.catalog, lambda: [case.outputs], case.home / "tmp", 512))
    try:
        with pytest.raises(CasparianError):
            session.table("FROM t")
    finally:
        session.release()


@pytest.mark.parametrize("how", [Session.table, Session.stream], ids=["table", "stream"])
def test_a_query_ends_within_a_moment_of_the_wish(session, how):
    cancel = CancelToken()
    threading.Timer(0.2, cancel.cancel).start()
    started = time.monotonic()

    with pytest.raises(Cancelled):
        list(how(session, ENDLESS, cancel=cancel))

    assert time.monotonic() - started < 3
    assert session.table("SELECT 1").num_rows == 1


def test_a_stream_that_is_cancelled_between_batches_never_ends_as_if_it_were_whole(session):
    cancel = CancelToken()
    batches = session.stream("SELECT range FROM range(100000000)", cancel=cancel)
    next(batches)
    cancel.cancel()

    with pytest.raises(Cancelled):
        for _ in batches:
            pass


def test_a_fault_in_the_middle_of_a_stream_is_told(session):
    sql = "SELECT CASE WHEN range = 90000 THEN error('boom') ELSE range END FROM range(100000)"
    with pytest.raises(UserProblem, match="boom"):
        list(session.stream(sql))


def test_queries_in_many_threads_do_not_meet(session):
    results, faults = [], []

    def ask():
        try:
            for _ in range(20):
                results.append(session.table("SELECT sum(a) FROM t").column(0).to_pylist()[0])
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert faults == []
    assert [int(one) for one in results] == [6] * 160


def test_a_query_that_needs_too_much_memory_is_told_and_the_next_one_runs(case):
    case.add("t", COLUMNS, {"a": [1]})
    case.build()
    session = Session(Opening(case.catalog, lambda: [case.outputs], case.home / "tmp", 64))
    try:
        with pytest.raises(EnvironmentProblem, match="memory"):
            session.table("SELECT list(md5(CAST(range AS VARCHAR))) FROM range(20000000)")
        assert session.table("SELECT 1").num_rows == 1
    finally:
        session.release()


def test_a_catalog_that_is_none_is_told_with_what_to_do(case):
    case.home.mkdir(parents=True)
    case.catalog.write_bytes(b"not a database" * 99)

    with pytest.raises(EnvironmentProblem) as problem:
        Session(Opening(case.catalog, lambda: [case.outputs], case.home / "tmp", 512))
    assert "casparian catalog rebuild" in problem.value.hint
    assert list((case.home / "tmp").iterdir()) == []


def test_the_last_holder_closes_it_and_leaves_nothing(case):
    case.add("t", COLUMNS, {"a": [1]})
    case.build()
    session = Session(Opening(case.catalog, lambda: [case.outputs], case.home / "tmp", 512))
    session.hold()
    session.release()
    assert session.table("FROM t").num_rows == 1

    session.release()
    assert list((case.home / "tmp").iterdir()) == []
    with pytest.raises(CasparianError):
        session.table("FROM t")


def test_what_a_killed_program_left_is_swept_away_and_what_is_in_use_is_not(case):
    case.add("t", COLUMNS, {"a": [1]})
    case.build()
    temp = case.home / "tmp"
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left = temp / f"catalog-{ended.pid}-x"
    alive = temp / f"catalog-{os.getppid()}-x"
    strange = temp / "catalog-notes"
    for one in (left, alive, strange):
        one.mkdir(parents=True)

    Session(Opening(case.catalog, lambda: [case.outputs], temp, 512)).release()

    assert sorted(temp.iterdir()) == sorted([alive, strange])


def test_whoever_lets_go_while_a_query_runs_does_not_cut_it_short(case):
    case.add("t", COLUMNS, {"a": list(range(50_000))})
    case.build()
    session = Session(Opening(case.catalog, lambda: [case.outputs], case.home / "tmp", 512))
    batches = session.stream("FROM t", rows=1_000)
    read = next(batches).num_rows

    session.release()
    assert read + sum(batch.num_rows for batch in batches) == 50_000
    assert list((case.home / "tmp").iterdir()) == []
