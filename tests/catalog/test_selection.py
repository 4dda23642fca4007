"""One query stands behind pages and exports: its rows, their order, and the tables it reads."""

from __future__ import annotations

import pyarrow as pa
import pytest

from casparian.catalog.selection import named, of_sql, of_table, shaped
from casparian.domain.errors import EnvironmentProblem
from casparian.domain.results import ColumnInfo, Filter, Sort, ViewSpec


@pytest.fixture
def session(case, opened):
    for name, schema in (("a", "main"), ("b", "main"), ("c", "case A")):
        case.add(
            name,
            (("n", "int64"), ("s", "string")),
            {"n": [3, 1, 2], "s": ["x", "y", None]},
            schema=schema,
        )
    with opened().session() as held:
        yield held


def test_the_tables_of_a_query_are_those_it_names(session):
    def names(sql, schema="main"):
        return [one.info.name for one in named(session, sql, schema)]

    assert names("SELECT * FROM a") == ["a"]
    assert names("SELECT (SELECT max(n) FROM B) FROM a_quarantine") == ["a_quarantine", "b"]
    assert names('FROM "case A".c JOIN a USING (n)') == ["a", "c"]
    assert names("WITH a AS (SELECT * FROM a WHERE n > 1) FROM a") == ["a"]
    assert names("FROM c", "case A") == ["c"]
    assert names("SELECT 1") == []


@pytest.mark.parametrize(
    ("sql", "keeps"),
    [
        ("SELECT * FROM a", True),
        ("SELECT n + 1 FROM a WHERE s = 'x' LIMIT 2", True),
        ("SELECT unnest([1, 2]), n FROM a", True),
        ("SELECT s, count(*) FROM a GROUP BY s", False),
        ("SELECT DISTINCT s FROM a", False),
        ("SELECT * FROM a ORDER BY s", False),
        ("SELECT * FROM a JOIN b USING (n)", False),
        ("SELECT row_number() OVER () FROM a", False),
        ("SELECT * FROM a USING SAMPLE 1", False),
        ("SELECT sum(n) FROM a", False),
    ],
)
def test_whether_a_query_settles_its_order_is_known_from_its_plan(session, sql, keeps):
    assert of_sql(session, sql, "main").keeps_order(None) is keeps


def test_a_selection_of_a_table_settles_its_order_with_the_position(session):
    selection = of_table(session, ViewSpec("main", "a", sort=(Sort("s"),)), frozenset())
    assert selection.keeps_order(None)
    assert selection.order.startswith("c1 ASC NULLS LAST, ")


def test_the_statement_shown_reads_as_people_write(session):
    spec = ViewSpec(
        "main",
        "a",
        filters=(Filter("n", ">=", "2"), Filter("s", "contains", "X"), Filter("s", "not null")),
        search="4",
        sort=(Sort("n", True), Sort("s")),
        columns=("s", "n"),
    )
    assert of_table(session, spec, frozenset({"n"})).sql == (
        'SELECT s, "n" FROM a WHERE "n" >= 2 AND contains(lower(s), lower(\'X\')) AND s IS NOT NULL'
        " AND (contains(s, '4') OR contains(_cf_source_hash, '4') OR contains(_cf_job_id, '4')"
        " OR contains(_cf_parser_version, '4') OR contains(_cf_file_id, '4')"
        ' OR "n" = 4 OR _cf_row = 4) ORDER BY "n" DESC NULLS LAST, s ASC NULLS LAST'
    )


def test_rows_get_names_types_and_words():
    columns = (ColumnInfo("took", "duration"), ColumnInfo("said", "json"))
    table = shaped(pa.table({"c0": [5], "c1": pa.array(["{}"], pa.large_string())}), columns)

    assert table.schema.field("took").type == pa.duration("us")
    assert table.schema.field("said").metadata == {b"cf.type": b"json"}
    assert shaped(None, columns).num_rows == 0


def test_rows_that_do_not_fit_together_are_told():
    with pytest.raises(EnvironmentProblem, match="too large"):
        shaped(pa.table({"c0": ["x"]}), (ColumnInfo("n", "int64"),))
