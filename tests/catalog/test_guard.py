"""What only reads passes; everything else is refused, however it is dressed."""

from __future__ import annotations

import contextlib

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.catalog.guard import check_select, is_explain, names
from casparian.domain.errors import UserProblem

READS = [
    "SELECT 1",
    "select * from t where a = 'x;y' -- ; DROP TABLE t",
    "FROM t",
    "FROM t SELECT a",
    "TABLE t",
    "VALUES (1), (2)",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "WITH RECURSIVE a AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM a WHERE i < 5) FROM a",
    "WITH a AS MATERIALIZED (SELECT 1) FROM a UNION SELECT 2 INTERSECT SELECT 3",
    "SELECT (SELECT max(a) FROM t), EXISTS (FROM t)",
    "DESCRIBE t",
    "DESCRIBE SELECT 1",
    "SUMMARIZE t",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "PIVOT t ON a IN ('x', 'y') USING count(*)",
    "UNPIVOT t ON a, b",
    "SELECT * FROM range(10), generate_series(1, 3), unnest([1, 2])",
    "SELECT * FROM json_each('[1]')",
    "SELECT * FROM duckdb_columns()",
    "SELECT list_transform([1], lambda x: x + 1), event_data->>'$.a', a[1:2] FROM t",
    "SELECT count(*) FILTER (WHERE a > 1) OVER (PARTITION BY b ORDER BY c) FROM t QUALIFY true",
    "SELECT * FROM t TABLESAMPLE 10%",
    "SELECT * FROM t ASOF JOIN u ON t.a >= u.a",
    "SELECT 'COPY t TO ''x''' AS harmless",
    'SELECT 1 AS "; DROP TABLE t"',
    "EXPLAIN SELECT 1",
    "explain from t",
    "EXPLAIN (SELECT 1)",
    "/* what it does */ EXPLAIN -- it\n SELECT 1",
    "EXPLAIN WITH a AS (SELECT 1) FROM a",
    "SELECT 1;",
    "SELECT 1 ; ; ",
    "SELECT 1; -- done",
]

DOES_MORE = [
    "COPY (SELECT 1) TO 'x'",
    "COPY t FROM 'x'",
    "WITH a AS (COPY (SELECT 1) TO 'x') FROM a",
    "WITH a AS (COPY (SELECT 1) TO 'x' (FORMAT csv)) SELECT 1",
    "SELECT * FROM (WITH a AS (COPY (SELECT 1) TO 'x') FROM a)",
    "SELECT (WITH a AS (COPY (SELECT 1) TO 'x') SELECT count(*) FROM a)",
    "SELECT 1 WHERE EXISTS (WITH a AS (COPY (SELECT 1) TO 'x') FROM a)",
    "SELECT 1 UNION ALL (WITH a AS (COPY (SELECT 1) TO 'x') FROM a)",
    "SELECT 1 FROM t ORDER BY (WITH a AS (COPY (SELECT 1) TO 'x') SELECT 1 FROM a)",
    "SELECT list_transform([1], lambda y: (WITH a AS (COPY (SELECT 1) TO 'x') SELECT 1 FROM a))",
    "DESCRIBE WITH a AS (COPY (SELECT 1) TO 'x') FROM a",
    "SUMMARIZE WITH a AS (COPY (SELECT 1) TO 'x') FROM a",
    "EXPLAIN WITH a AS (COPY (SELECT 1) TO 'x') FROM a",
    "WITH a AS (INSERT INTO t VALUES (1) RETURNING *) FROM a",
    "WITH a AS (UPDATE t SET a = 1 RETURNING *) SELECT (SELECT max(a) FROM a)",
    "WITH a AS (DELETE FROM t RETURNING *) FROM a",
    "WITH a AS (WITH b AS (DELETE FROM t RETURNING *) FROM b) FROM a",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x'",
    "EXPLAIN (ANALYZE) SELECT 1",
    "EXPLAIN (ANALYZE false) SELECT 1",
    "EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO 'x'",
    "EXPLAIN (FORMAT json) SELECT 1",
    "EXPLAIN /* */ ANALYZE SELECT 1",
    "EXPLAIN -- \n ANALYZE SELECT 1",
    "/* EXPLAIN SELECT 1 */ EXPLAIN ANALYZE SELECT 1",
    "/* /* */ EXPLAIN SELECT 1 -- */ EXPLAIN ANALYZE SELECT 1",
    "/* é */ EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN COPY (SELECT 1) TO 'x'",
    "EXPLAIN CREATE TABLE t (a INT)",
    "EXPLAIN EXPLAIN SELECT 1",
    "EXPLAIN",
    "ATTACH 'x'",
    "DETACH x",
    "USE x",
    "SET threads = 1",
    "SET VARIABLE a = 1",
    "RESET threads",
    "PRAGMA version",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "LOAD parquet",
    "INSTALL httpfs",
    "UPDATE EXTENSIONS",
    "EXPORT DATABASE 'x'",
    "IMPORT DATABASE 'x'",
    "COPY FROM DATABASE a TO b",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "CREATE TABLE t (a INT)",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE TEMP VIEW v AS SELECT 1",
    "CREATE TEMP MACRO m() AS 1",
    "CREATE SECRET s (TYPE s3)",
    "DROP TABLE t",
    "ALTER TABLE t ADD COLUMN a INT",
    "COMMENT ON TABLE t IS 'x'",
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "TRUNCATE t",
    "MERGE INTO t USING u ON (1 = 1) WHEN MATCHED THEN DELETE",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "PIVOT t ON a",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE t",
    "SELECT 1\n;\nCOPY (SELECT 1) TO 'x'",
    "EXPLAIN SELECT 1; COPY (SELECT 1) TO 'x'",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('t')",
    "SELECT * FROM QUERY('WITH a AS (COPY (SELECT 1) TO ''x'') FROM a')",
    "SELECT * FROM \"query\"('SELECT 1')",
    "SELECT * FROM system.main.query('SELECT 1')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_parquet('/home/x.parquet')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('x')",
    "SELECT * FROM parquet_metadata('x')",
    "SELECT * FROM enable_logging('QueryLog')",
    "SELECT * FROM enable_profiling()",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM copy_database('a', 'b')",
    "SELECT * FROM truncate_duckdb_logs()",
    "SELECT * FROM python_map_function((SELECT 1))",
    "SELECT * FROM no_such_function()",
    "SELECT write_log('x')",
    "SELECT sleep_ms(100000)",
    "SELECT nextval('s')",
    "SELEC 1",
    "SELECT",
    "x",
    "",
    "   \n",
    ";",
    ";;",
    "-- SELECT 1",
    "/* SELECT 1 */",
    "/* open",
    "SELECT 'open",
    "SELECT 1\0; DROP TABLE t",
    "SELECT '\ud800'",
]


@pytest.mark.parametrize("sql", READS)
def test_a_statement_that_only_reads_passes(sql):
    assert check_select(sql) in sql


@pytest.mark.parametrize("sql", DOES_MORE)
def test_a_statement_that_does_more_is_refused_with_a_sentence(sql):
    with pytest.raises(UserProblem) as refused:
        check_select(sql)
    assert refused.value.title


@pytest.mark.parametrize(
    ("sql", "left"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("  SELECT 1 ; -- done;\n", "SELECT 1"),
        ("SELECT ';'", "SELECT ';'"),
        ("SELECT ';' ;", "SELECT ';'"),
        ("SELECT 1 /* ; */", "SELECT 1 /* ; */"),
        ('SELECT 1 AS ";";', 'SELECT 1 AS ";"'),
    ],
)
def test_the_statement_comes_back_without_its_semicolon(sql, left):
    assert check_select(sql) == left


def test_a_fault_of_the_text_is_told_with_its_place():
    with pytest.raises(UserProblem) as refused:
        check_select("SELECT a,\nb FRM t WHERE x = 'y' ORDER")
    assert "LINE 2: b FRM t" in refused.value.detail
    assert "^" in refused.value.detail


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
        "SELECT " + "(SELECT " * 300 + "1" + ")" * 300,
        "SELECT " + " + ".join(["1"] * 3_000),
    ],
    ids=["brackets", "subqueries", "sum"],
)
def test_a_statement_nested_beyond_reason_passes_or_is_refused_with_a_sentence(sql):
    with contextlib.suppress(UserProblem):
        assert check_select(sql) == sql


def test_explain_is_told_apart():
    assert is_explain("EXPLAIN SELECT 1")
    assert not is_explain("SELECT 'EXPLAIN'")


def test_the_tables_a_query_names_are_found_wherever_they_are_named():
    sql = (
        "WITH a AS (FROM t1) SELECT (SELECT max(x) FROM t2) FROM a JOIN other.t3 USING (y)"
        " WHERE z IN (FROM \"T 4\") UNION SELECT * FROM (PIVOT t5 ON p IN ('q') USING count(*))"
    )

    assert names(sql).own == {"a"}
    assert names(sql).tables - {("", "a")} == {
        ("", "t1"),
        ("", "t2"),
        ("other", "t3"),
        ("", "T 4"),
        ("", "t5"),
    }


@given(st.lists(st.sampled_from(READS + DOES_MORE), min_size=2, max_size=3).map("; ".join))
def test_several_statements_never_pass_unless_all_but_one_are_empty(sql):
    try:
        passed = check_select(sql)
    except UserProblem:
        return
    assert len(duckdb.extract_statements(passed)) == 1
