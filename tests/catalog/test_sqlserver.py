"""What the reader says to SQL Server, checked by Microsoft's parser: no server runs where these tests do."""

from __future__ import annotations

import pyarrow as pa
import pytest

from casparian.catalog.databases import Database
from casparian.catalog.elsewhere import SinkReader
from casparian.catalog.sqlserver import DESCRIBE, SqlServer, SqlServerConnection
from casparian.catalog.statements import SQL_SERVER, check_query
from casparian.domain.addresses import parse
from casparian.domain.contracts import LINEAGE, Column
from casparian.domain.errors import UserProblem
from casparian.domain.results import OPERATORS, Filter, Sort, ViewSpec
from helpers.tsql import named

ADDRESS = parse("sqlserver://analyst@db.example/cases", schemes=("sqlserver",))
COLUMNS = {
    "yes": ("boolean", "bit", "true"),
    "whole": ("int64", "bigint", "-5"),
    "real": ("float64", "float", "1e300"),
    "exact": ("decimal(20,2)", "decimal(20,2)", "0.50"),
    "day": ("date", "date", "2022-03-10"),
    "clock": ("time", "time", "16:33:50.089354"),
    "local": ("timestamp", "datetime2", "2022-03-10 16:33:50"),
    "instant": ("timestamp_utc", "datetime2", "2022-03-10 16:33:50Z"),
    "lasted": ("duration", "bigint", "-1.02:03:04"),
    "said": ("string", "nvarchar", "it's % [x] ? Ä"),
    "bytes": ("binary", "varbinary", "00ff"),
    "object": ("json", "nvarchar", '{"a": 1}'),
    "many": ("list<string>", "nvarchar", "x"),
    "a]b ?": ("string", "nvarchar", "x"),
    "select": ("string", "nvarchar", "x"),
}


class Cursor:
    """Answers as the driver's cursor would, from a script."""

    def __init__(self, said):
        self._said = said
        self._sql = ""

    def execute(self, sql, *values):
        self._said.append((sql, values))
        self._sql = sql

    def arrow_batch(self, rows):
        if "sys.tables" in self._sql:
            return _listed()
        if "AS place" in self._sql:
            return pa.RecordBatch.from_pydict({"place": [0], "n": [7]})
        if "COUNT_BIG" in self._sql:
            return pa.RecordBatch.from_pydict({"n": [7]})
        if "DISTINCT" in self._sql:
            return pa.RecordBatch.from_pydict({"v": ["00"]})
        if "FROM [casparian].[t]" in self._sql:
            width = self._sql.count(" AS c")
            empty = {f"c{at}": pa.nulls(0) for at in range(width)}
            return pa.RecordBatch.from_pydict(empty)
        return pa.RecordBatch.from_pydict({"n": pa.array([1, 2], pa.int32())})

    def fetchall(self):
        return [("n", "int", None, None)] if self._sql == DESCRIBE else []

    def close(self):
        pass


class Driver:
    """A connection of the driver, which records what is said."""

    def __init__(self):
        self.said = []
        self.timeout = 0

    def cursor(self):
        return Cursor(self.said)

    def close(self):
        pass


def _listed():
    rows = [("casparian", "t", name, kind, None, None) for name, (_, kind, _) in COLUMNS.items()]
    rows += [
        ("casparian", "t", one.name, "bigint" if one.type == "int64" else "nvarchar", None, None)
        for one in LINEAGE
    ]
    names = ("schema", "name", "attribute", "type", "modifier", "comment")
    return pa.RecordBatch.from_pydict(dict(zip(names, zip(*rows, strict=True), strict=True)))


@pytest.fixture
def driver():
    return Driver()


@pytest.fixture
def reader(driver, tmp_path):
    """A reader over the scripted driver, with a table of every type."""
    columns = [Column(name, word) for name, (word, _, _) in COLUMNS.items()]
    database = Database(SqlServer(), lambda: SqlServerConnection(ADDRESS, 3, lambda _: driver))
    with_it = SinkReader(database, ADDRESS, tmp_path, lambda _schema, _table: columns)
    yield with_it
    with_it.close()


def test_types_that_only_the_contract_knows_are_known(reader):
    words = {one.name: one.type for one in reader.tables()[0].columns}
    lists = {"many": "json"}  # a list is kept as the text of its JSON
    assert {n: words[n] for n in COLUMNS} == {n: w for n, (w, _, _) in COLUMNS.items()} | lists
    assert words["_cf_row"] == "int64"


def all_of_it(reader):
    """Everything that the reader says, by way of every filter, sort and page."""
    filters = [
        (Filter(name, op, (value, value) if op == "in" else value),)
        for name, (word, _, value) in COLUMNS.items()
        for op in OPERATORS
        if not (word == "boolean" and op in {"<", "<=", ">", ">="})
    ]
    sorts = [(Sort(name, descending),) for name in COLUMNS for descending in (False, True)]
    specs = [
        *(ViewSpec("casparian", "t", filters=one) for one in filters),
        *(ViewSpec("casparian", "t", sort=one) for one in sorts),
        ViewSpec(
            "casparian", "t", search="4624", columns=("said", "_cf_row"), sort=(Sort("_cf_row"),)
        ),
        ViewSpec("casparian", "t", filters=(Filter("whole", "in", ()),)),
    ]
    written = []
    for spec in specs:
        with reader.open(spec) as view:
            assert view.count() == 7
            view.page(10, 5)
            view.page(0, 5, clip=400)
            written.append(view.sql)
        with reader.selected(spec) as rows:
            list(rows.stream())
            rows.values_of("_cf_source_hash", rows.infos[0], None)
    with reader.query("SELECT 1 AS n") as view:
        written.append(reader.narrowed(view.sql, view.columns, sort=[Sort("n")], search="1"))
    reader.functions()
    return written


def test_microsofts_parser_takes_all_that_is_said(reader, driver, tsql):
    written = all_of_it(reader)
    said = {sql for sql, _ in driver.said} | set(written)
    assert len(said) > 400
    assert {sql: faults for sql in said if (faults := tsql.syntax(named(sql)))} == {}


def test_values_are_bound_and_as_many_as_there_are_places(reader, driver):
    all_of_it(reader)
    for sql, values in driver.said:
        assert named(sql).count("@p") == len(values), sql


def test_the_equivalent_statements_pass_the_check(reader):
    for sql in all_of_it(reader):
        assert check_query(sql, SQL_SERVER).sql == sql


def test_every_transaction_is_taken_back(reader, driver):
    reader.query("SELECT 1 AS n")
    said = [sql for sql, _ in driver.said if "TRAN" in sql]
    assert said[::2] == ["BEGIN TRANSACTION"] * (len(said) // 2)
    assert said[1::2] == ["IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"] * (len(said) // 2)


def test_a_result_is_widened_to_types_of_ours(reader):
    with reader.query("SELECT CAST(1 AS int) AS n", cap=1) as view:
        assert [one.type for one in view.columns] == ["int64"]
        assert view.page(0, 9).column("n").to_pylist() == [1]
        assert view.truncated


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM t",
        "SELECT 1 DELETE FROM t",
        "WITH x AS (SELECT 1 AS a) DELETE FROM t",
        "SELECT 1; SELECT 2",
        "SELECT * INTO other FROM t",
        "SELECT 1 EXEC xp_cmdshell 'dir'",
        "EXEC sp_who",
        "SELECT * FROM OPENROWSET('x', 'y', 'z')",
        "SELECT * FROM OPENQUERY(other, 'DELETE FROM t')",
        "SELECT 1 COMMIT",
        "SELECT 1 /* /* */ */ DROP TABLE t",
        "SELECT 1 -- nothing\nSHUTDOWN",
        "SELECT [a FROM t",
        "SELECT 1 WAITFOR DELAY '1:00'",
        "EXPLAIN SELECT 1",
        "MERGE t USING u ON 1 = 1 WHEN MATCHED THEN DELETE",
    ],
)
def test_what_does_more_than_read_is_refused(reader, driver, sql):
    with pytest.raises(UserProblem):
        reader.query(sql)
    assert driver.said == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT [delete], \"drop\", 'insert; update' FROM t -- exec",
        "WITH x AS (SELECT 1 AS a) SELECT a FROM x ORDER BY a OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY",
        "SELECT deleted_at, [a]]b;c] FROM t;",
        "SELECT N'it''s; drop' AS x /* ; */",
    ],
)
def test_what_reads_is_let_through(sql, tsql):
    statement = check_query(sql, SQL_SERVER).sql
    assert tsql.syntax(statement) == []
