"""The gate itself: what Microsoft's parser and model accept, refuse, and say of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from helpers import tsql as gate
from helpers.tsql import GateMissing, TSqlGate, ddl_of, named, sql_of

if TYPE_CHECKING:
    from pathlib import Path

JOBS = "CREATE TABLE jobs (id BIGINT NOT NULL PRIMARY KEY, name NVARCHAR(200) NOT NULL, prio INT)"
CLAIM = """
WITH q AS (
    SELECT TOP (1) id, name FROM jobs WITH (UPDLOCK, READPAST, ROWLOCK)
    WHERE prio > @least ORDER BY prio, id
)
UPDATE q SET name = @name OUTPUT inserted.id
"""
VALID = {
    "claim": CLAIM,
    "merge": "MERGE jobs AS d USING (VALUES (1, N'a')) AS s (id, name) ON s.id = d.id"
    " WHEN MATCHED THEN UPDATE SET name = s.name"
    " WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name);",
    "page": "SELECT id FROM jobs ORDER BY id OFFSET @skip ROWS FETCH NEXT @most ROWS ONLY",
    "temporary table": "CREATE TABLE #kept (id BIGINT); INSERT #kept SELECT id FROM jobs;"
    " SELECT id FROM #kept",
    "declared": "DECLARE @done TABLE (id BIGINT); DECLARE @n INT = 1, @m BIGINT = @id;"
    " DELETE TOP (@n) FROM jobs OUTPUT deleted.id INTO @done WHERE id = @m; SELECT id FROM @done",
    "caught": "BEGIN TRY BEGIN TRAN; DELETE FROM jobs WHERE id = @id; COMMIT END TRY"
    " BEGIN CATCH ROLLBACK; THROW; END CATCH",
    "functions": "SELECT COUNT(*) AS n, LEFT(name, 1) AS a, COALESCE(MAX(prio), 0) AS p, CURRENT_TIMESTAMP"
    " AS t, IIF(MIN(id) > 1, N'x', CONVERT(NVARCHAR(9), 0x00, 2)) AS i, SYSUTCDATETIME() AS u,"
    " CAST(N'<a/>' AS XML).value('/a[1]', 'int') AS v FROM jobs GROUP BY name",
    "ranks": "SELECT ROW_NUMBER() OVER (PARTITION BY prio ORDER BY id) AS r, SUM(id) OVER () AS s,"
    " STRING_AGG(name, N',') WITHIN GROUP (ORDER BY name) AS l FROM jobs GROUP BY prio, id",
    "lock": "DECLARE @got INT; EXEC @got = sp_getapplock @Resource = @name, @LockMode = 'Exclusive';"
    " SELECT @got",
    "catalogue": "SELECT name FROM sys.tables WHERE schema_id = SCHEMA_ID(@schema)",
}
REFUSED_SYNTAX = {
    "misspelt": ("SELECT *\nFORM jobs", "2:1 Incorrect syntax near FORM."),
    "limit": ("SELECT id FROM jobs LIMIT 1", "1:21 Incorrect syntax near LIMIT."),
    "returning": ("DELETE FROM jobs RETURNING id", "1:18 Incorrect syntax near RETURNING."),
    "on conflict": (
        "INSERT INTO jobs (id) VALUES (1) ON CONFLICT DO NOTHING",
        "1:34 Incorrect syntax near ON.",
    ),
    "concatenation": ("SELECT name || name FROM jobs", "1:14 Incorrect syntax near |."),
    "if not exists": (
        "CREATE TABLE IF NOT EXISTS jobs (id INT)",
        "1:14 Incorrect syntax near IF.",
    ),
}
REFUSED_DDL = {
    "serial": ("CREATE TABLE t (id SERIAL)", "[dbo].[SERIAL]"),
    "boolean": ("CREATE TABLE t (id INT, done BOOLEAN)", "[dbo].[BOOLEAN]"),
    "column in a view": ("CREATE VIEW v AS SELECT nope FROM jobs", "[dbo].[jobs].[nope]"),
    "column in an index": ("CREATE INDEX i ON jobs (nope)", "[dbo].[jobs].[nope]"),
    "column in a check": ("CREATE TABLE t (a INT CHECK (zz > 1))", "[dbo].[t].[zz]"),
    "column twice": ("CREATE TABLE t (a INT, a INT)", "already has an element"),
    "two clusters": (
        "CREATE TABLE t (a INT PRIMARY KEY CLUSTERED, b INT UNIQUE CLUSTERED)",
        "more than one clustered index",
    ),
    "foreign table": ("CREATE TABLE t (a INT REFERENCES nope (id))", "[dbo].[nope]"),
    "foreign key to no key": (
        "CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES jobs (prio))",
        "no primary or candidate keys",
    ),
    "function in a default": (
        "CREATE TABLE t (a DATETIME2 DEFAULT now())",
        "1:37 now is no function",
    ),
    "no definition": ("IF 1 = 1 CREATE TABLE t (a INT)", "1:1 IfStatement defines nothing"),
    "syntax": ("CREATE TABL t (a INT)", "1:8 Incorrect syntax near TABL."),
}
REFUSED_STATEMENTS = {
    "column": ("SELECT nope FROM jobs", "[dbo].[jobs].[nope]"),
    "inserted column": ("INSERT INTO jobs (id, nope) VALUES (1, 2)", "[dbo].[jobs].[nope]"),
    "set column": ("UPDATE jobs SET nope = 1", "[dbo].[jobs].[nope]"),
    "column under an alias": ("SELECT j.nope FROM jobs AS j", "[dbo].[jobs].[nope]"),
    "output column": ("DELETE FROM jobs OUTPUT deleted.nope", "[dbo].[jobs].[nope]"),
    "table": ("SELECT 1 FROM nothing", "[dbo].[nothing]"),
    "function": ("SELECT LEN(name),\n LENGTH(name) FROM jobs", "2:2 LENGTH is no function"),
    "boolean value": ("SELECT prio IS NULL AS a FROM jobs", "1:8 Incorrect syntax near prio."),
    "is false": ("SELECT id FROM jobs WHERE prio IS 0", "1:35 Incorrect syntax near 0."),
    "true": ("SELECT TRUE", "the column TRUE"),
    "temporary table of another statement": ("SELECT id FROM #elsewhere", "[#elsewhere]"),
    "outside a procedure": ("CREATE VIEW v AS SELECT 1 AS a", "SQL46010"),
    "syntax": ("SELECT 1 +", "1:"),
}


@pytest.mark.parametrize("sql", VALID.values(), ids=VALID.keys())
def test_a_valid_statement_parses(tsql, sql):
    assert tsql.syntax(sql) == []


@pytest.mark.parametrize(("sql", "error"), REFUSED_SYNTAX.values(), ids=REFUSED_SYNTAX.keys())
def test_a_syntax_error_has_its_place(tsql, sql, error):
    assert tsql.syntax(sql) == [error]


def test_one_statement_may_hold_any_text(tsql):
    assert tsql.syntax("SELECT N'ünï\n\u2028\U0001f4a9', '--', 'it''s' -- end\n") == []


def test_all_valid_statements_fit_the_model(tsql_model):
    assert tsql_model.model([JOBS], list(VALID.values()), {"least": "int"}) == []


@pytest.mark.parametrize(("ddl", "words"), REFUSED_DDL.values(), ids=REFUSED_DDL.keys())
def test_the_model_refuses_a_definition(tsql_model, ddl, words):
    faults = tsql_model.model([JOBS, ddl])
    assert any(words in one for one in faults), faults


@pytest.mark.parametrize(
    ("sql", "words"), REFUSED_STATEMENTS.values(), ids=REFUSED_STATEMENTS.keys()
)
def test_the_model_refuses_a_statement(tsql_model, sql, words):
    faults = tsql_model.model([JOBS], ["SELECT 1", sql])
    assert faults
    assert all(one.startswith("statement 2 (") and words in one for one in faults), faults


def test_one_refused_definition_hides_no_other_fault(tsql_model):
    ddl = ["CREATE TABL a (b INT)", JOBS, "CREATE TABLE #t (a INT)", "CREATE TABLE c (d SERIAL)"]
    faults = tsql_model.model(ddl, ["SELECT nope FROM jobs", "SELECT ("])
    for words in ("definition 1", "definition 3", "SERIAL", "statement 1", "statement 2"):
        assert any(words in one for one in faults), (words, faults)


def test_a_model_does_not_remember_the_one_before(tsql_model):
    assert tsql_model.model([JOBS], ["SELECT id FROM jobs"]) == []
    assert tsql_model.model([], ["SELECT id FROM jobs"]) != []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SELECT %(id)s, %(id)s, %(n)s", "SELECT @id, @id, @n"),
        ("SELECT ?, ?", "SELECT @p1, @p2"),
        ("SELECT :id, a::b, 'x:y'", "SELECT @id, a::b, 'x:y'"),
        ("SELECT '?', N'%(a)s''?', ?", "SELECT '?', N'%(a)s''?', @p1"),
        (
            'SELECT [?], "?", [a]]?], ? -- ?\n/* ?\n */',
            'SELECT [?], "?", [a]]?], @p1 -- ?\n/* ?\n */',
        ),
        (
            "SELECT a %% 2 WHERE b LIKE '%%x' AND c = %(c)s",
            "SELECT a % 2 WHERE b LIKE '%x' AND c = @c",
        ),
        ("SELECT a % ?, '%%'", "SELECT a % @p1, '%%'"),
    ],
    ids=["pyformat", "marks", "colons", "literals", "names and comments", "percent", "one percent"],
)
def test_parameters_become_variables(before, after):
    assert named(before) == after


def test_what_sqlalchemy_writes_fits(tsql_model):
    metadata = sa.MetaData()
    jobs = sa.Table(
        "jobs",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("name", sa.Unicode(200), nullable=False, unique=True),
        sa.Column("state", sa.Enum("a", "b", name="state", native_enum=False)),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("parent", sa.ForeignKey("jobs.id"), index=True),
        sa.Column("at", sa.DateTime),
    )
    statements = [
        sa.select(jobs).where(jobs.c.id.in_([1, 2, 3])).order_by(jobs.c.id).limit(5),
        sa.select(jobs.c.id % 2, sa.func.count()).group_by(jobs.c.id % 2),
        sa.select(jobs.c.id).order_by(jobs.c.id).limit(5).offset(10),
        sa.select(jobs.c.id).where(jobs.c.name.like("50%%") | jobs.c.raw.is_(None)),
        jobs.insert().values(name="x").returning(jobs.c.id),
        jobs.update().where(jobs.c.name == "x").values(parent=None),
        jobs.delete().where(sa.exists().where(jobs.c.parent == 1)),
    ]
    assert tsql_model.model(ddl_of(metadata), [sql_of(one) for one in statements]) == []


def test_the_second_start_fetches_nothing(tsql, monkeypatch):
    monkeypatch.setattr(gate, "_fetch", lambda _: pytest.fail("fetched again"))
    with TSqlGate() as again:
        assert again.syntax("SELECT 1") == []


def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("CASPARIAN_TEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gate, "_fetch", _made_up)
    folder = gate.packages()
    (folder / "part").write_text("cut")
    assert gate.packages() == folder
    assert (folder / "part").read_text() == "as made"
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [folder.name]


def test_two_sessions_that_fetch_at_once_end_with_one_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CASPARIAN_TEST_CACHE", str(tmp_path / "cache"))
    inner = []

    def _while_another_does(new: Path) -> None:
        monkeypatch.setattr(gate, "_fetch", _made_up)
        inner.append(gate.packages())
        _made_up(new)

    monkeypatch.setattr(gate, "_fetch", _while_another_does)
    assert [gate.packages()] == inner
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [inner[0].name]


def test_without_a_network_the_gate_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CASPARIAN_TEST_CACHE", str(tmp_path / "cache"))
    for name in [one for one in os.environ if one.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(GateMissing, match=r"its packages could not be fetched \(ERROR: "):
        TSqlGate()
    assert list((tmp_path / "cache").iterdir()) == []


def test_another_system_has_no_gate(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(GateMissing, match="Linux"):
        gate.packages()


def test_without_icu_there_is_syntax_and_no_model(tsql, monkeypatch):
    monkeypatch.setattr(gate, "_icu_version", lambda: None)
    with TSqlGate() as plain:
        assert plain.syntax("SELECT (") == ["1:8 Incorrect syntax near (."]
        assert not plain.has_model
        with pytest.raises(GateMissing, match="libicu"):
            plain.model([JOBS])


def test_a_model_that_does_not_load_leaves_the_syntax(tsql):
    with TSqlGate() as plain:
        if plain.model_missing:
            pytest.skip(f"there is no model to lose: {plain.model_missing}")
        plain._process.kill()
        assert not plain.has_model
        assert plain.model_missing.startswith("it does not load (")
        assert plain.syntax("SELECT 1") == []


def _made_up(new: Path) -> None:
    new.mkdir()
    (new / "part").write_text("as made")
    (new / gate.MANIFEST).write_text('{"part": 7}')
