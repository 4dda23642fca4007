"""Tables on a server look, page, search and export as the same rows do in the catalog."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casparian.catalog.elsewhere import open_reader
from casparian.catalog.export import export
from casparian.domain.addresses import parse
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.results import Filter, Sort, ViewSpec
from casparian.domain.types import arrow_type
from helpers.hard import HARD, about
from helpers.on_server import put
from helpers.tables import Case

SCHEMA = "casparian"
US = 1_000_000
VALUES = {
    "yes": ("boolean", [True, False, None]),
    "whole": ("int64", [2**63 - 1, -(2**63), 0, 4624, None]),
    "real": ("float64", [0.1, -0.0, float("nan"), float("inf"), float("-inf"), 1e300, None]),
    "exact": ("decimal(20,2)", [Decimal("123456789012345678.90"), Decimal("-0.50"), None]),
    "day": ("date", [19_061, -134_774, 10_540_425, None]),
    "clock": ("time", [59_630_089_354, 0, 86_399 * US, None]),
    "local": ("timestamp", [1_646_930_030_089_354, -11_644_473_600 * US, None]),
    "instant": ("timestamp_utc", [1_646_930_030_089_354, 910_692_730_085_477_580, 0, None]),
    "lasted": ("duration", [-5, 90_061_000_001, 0, None]),
    "said": (
        "string",
        ["", "Straße", "STRASSE", "a'b\"c\\d", "100 %_", "Ärger", "ärger", "😀 x", "4624"],
    ),
    "bytes": ("binary", [b"\x00\xff", b"", b"abc", None]),
    "object": ("json", ['{"a": "b\\nc",\n "d": [1, 2.50]}', '"Text"', "null", None]),
    'odd "name"': ("string", ["x", "Y", None]),
    "c1": ("string", ["é", "e", "z", "Z", None]),
    "select": ("int64", [3, 1, 2, None]),
}
PLAIN = (
    "boolean",
    "int64",
    "decimal(20,2)",
    "date",
    "time",
    "timestamp",
    "timestamp_utc",
    "string",
)


@pytest.fixture
def reader(postgres, tmp_path):
    """A reader of an empty database, closed when the test is over."""
    with_it = open_reader(postgres, tmp_path / "tmp")
    yield with_it
    with_it.close()


@pytest.fixture(scope="module", params=["postgres", "duckdb"])
def hard(request, tmp_path_factory):
    """The same 500 rows of hard values in the catalog and in a sink; nobody changes them."""
    folder = tmp_path_factory.mktemp("hard")
    case, draw = Case(folder / "home"), random.Random(7)
    files = [
        {name: [draw.choice(some) for _ in range(250)] for name, (_, some) in VALUES.items()}
        for _ in range(2)
    ]
    case.add("hard", tuple((n, word) for n, (word, _) in VALUES.items()), *files, quarantined=3)
    with a_sink(request, folder) as address:
        put(address, case)
        local, remote = case.reader(), open_reader(address, folder / "tmp", contract=contract(case))
        yield local, remote, schema_of(address)
        local.close()
        remote.close()


@contextlib.contextmanager
def a_sink(request, folder):
    """The address of an empty sink of the kind that is asked for."""
    if request.param == "duckdb":
        yield parse(f"duckdb://{folder}/sink.duckdb", schemes=("duckdb",))
        return
    with request.getfixturevalue("postgres_server").database() as address:
        yield address


def contract(case):
    """Tell the columns of a table by its contract."""
    columns = {one.name: one.columns for one in case.tables}
    return lambda schema, table: columns.get(table, ())


def schema_of(address):
    """Where the tables of the default workspace are."""
    return "main" if address.path else SCHEMA


@pytest.fixture
def numbers(postgres, postgres_server, reader):
    """A reader of 100,000 rows."""
    with postgres_server.connect(postgres) as plain:
        plain.execute(f"CREATE SCHEMA {SCHEMA}")
        plain.execute(
            f"CREATE TABLE {SCHEMA}.numbers AS SELECT g AS id, g::bigint * 7919 % 100003 AS mixed,"
            " 'host' || g % 50 AS host, 'job' AS _cf_job_id, 'file' AS _cf_file_id, g AS _cf_row"
            " FROM generate_series(0, 99999) AS g"
        )
    return reader


def table_of(view):
    """All rows of a view, read page by page."""
    rows = []
    for at in range(0, view.count() or 1, 260):
        page = view.page(at, 260)
        columns = [[str(one) for one in _comparable(each)] for each in page.columns]
        rows += [list(row) for row in zip(*columns, strict=True)]
    return rows


def _comparable(column):
    """Values that Python can hold, for times of any year."""
    if pa.types.is_date(column.type):
        return column.cast(pa.int32()).to_pylist()
    if pa.types.is_temporal(column.type):
        return column.cast(pa.int64()).to_pylist()
    return column.to_pylist()


def both(readers, **wishes):
    """What the catalog shows, and what the server does."""
    local, remote, schema = readers
    with (
        local.open(ViewSpec("main", "hard", **wishes)) as here,
        remote.open(ViewSpec(schema, "hard", **wishes)) as there,
    ):
        assert there.columns == here.columns
        assert there.page(0, 5).schema.equals(here.page(0, 5).schema, check_metadata=True)
        assert there.count() == here.count()
        return table_of(here), table_of(there)


# Tables and pages.


def test_tables_are_listed_with_their_types_and_rows(hard):
    _, remote, schema = hard
    listed = [(one.schema, one.name, one.kind, one.rows) for one in remote.tables()]
    assert listed == [(schema, "hard", "table", 500), (schema, "hard_quarantine", "quarantine", 3)]
    words = {one.name: one.type for one in remote.tables()[0].columns}
    assert {name: words[name] for name in VALUES} == {n: word for n, (word, _) in VALUES.items()}


def test_what_is_not_ours_is_not_listed(postgres, postgres_server, reader):
    with postgres_server.connect(postgres) as plain:
        for schema in (SCHEMA, f"{SCHEMA}_case1", "casparianx", "public"):
            plain.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            plain.execute(f"CREATE TABLE {schema}.a (x int, _cf_job_id text)")
        plain.execute(f"CREATE TABLE {SCHEMA}.cf_ledger (job_id text, _cf_job_id text)")
        plain.execute(f"CREATE TABLE {SCHEMA}.theirs (x int)")
    assert [one.schema for one in reader.tables()] == [SCHEMA, f"{SCHEMA}_case1"]


def test_a_database_without_a_schema_of_ours_has_no_tables(reader):
    assert reader.tables() == []
    with pytest.raises(UserProblem, match="no table"):
        reader.open(ViewSpec(SCHEMA, "hard"))


def test_rows_and_their_order_are_those_of_the_catalog(hard):
    here, there = both(hard)
    assert here == there


@pytest.mark.parametrize("name", list(VALUES))
@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
def test_every_type_is_sorted_as_in_the_catalog(hard, name, descending):
    here, there = both(hard, sort=(Sort(name, descending), Sort("select")))
    assert here == there


def as_written(word, value):
    """A value as people write it."""
    scalar = pa.array([value], arrow_type(word))
    if word == "binary":
        return value.hex()
    if word == "duration":
        sign, micros = ("-", -value) if value < 0 else ("", value)
        days, rest = divmod(micros, 86_400 * US)
        clock = f"{rest // (3600 * US):02}:{rest // (60 * US) % 60:02}:{rest // US % 60:02}.{rest % US:06}"
        return f"{sign}{days}.{clock}"
    if word == "float64":
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), repr(value))
    return str(scalar.cast(pa.string())[0])


@pytest.mark.parametrize("op", ["=", "!=", "<", "<=", ">", ">=", "in", "is null", "not null"])
@pytest.mark.parametrize("name", list(VALUES))
def test_every_type_is_filtered_as_in_the_catalog(hard, name, op):
    word, some = VALUES[name]
    for value in some:
        if value not in {None, b""}:
            text = as_written(word, value)
            given = (text, as_written(word, some[0])) if op == "in" else text
            wish = Filter(name, op, None if "null" in op else given)
            here, there = both(hard, filters=(wish,))
            assert here == there, (name, op, text)
            if "null" in op:
                return


@pytest.mark.parametrize("op", ["contains", "starts"])
@pytest.mark.parametrize(
    "text",
    ["a", "ä", "STRASS", "4", "%", "_", "'", "\\", "😀", "2022", "00", "-", "[1", "TEXT", "true", "ff"],
)  # fmt: skip
def test_texts_are_found_as_in_the_catalog(hard, op, text):
    for name, (word, _) in VALUES.items():
        if word != "float64":
            here, there = both(hard, filters=(Filter(name, op, text),))
            assert here == there, name


@pytest.mark.parametrize("text", ["ärg", "4624", "x", "-9223372036854775808", "nowhere", "null"])
def test_search_finds_what_it_finds_in_the_catalog(hard, text):
    here, there = both(hard, search=text, sort=(Sort("said"),))
    assert here == there


def test_conditions_may_be_joined(hard):
    draw = random.Random(3)
    for _ in range(40):
        chosen = draw.sample([n for n, (w, _) in VALUES.items() if w in PLAIN], 3)
        filters = tuple(
            Filter(name, draw.choice(["<", ">", "!=", "="]), as_written(word, value))
            for name in chosen[:2]
            for word, some in [VALUES[name]]
            for value in [draw.choice([one for one in some if one is not None])]
        )
        here, there = both(hard, filters=filters, sort=(Sort(chosen[2], draw.random() < 0.5),))
        assert here == there, filters


def test_some_columns_may_be_shown_and_sorted_by_others(hard):
    here, there = both(hard, columns=("c1", "whole"), sort=(Sort("select"), Sort("c1", True)))
    assert here == there


def test_long_cells_are_cut_where_that_is_asked_for(hard):
    _, remote, schema = hard
    with remote.open(ViewSpec(schema, "hard")) as view:
        page = view.page(0, 500, clip=2)
    assert max(len(one) for one in page.column("said").to_pylist()) == 2
    assert max(len(one) for one in page.column("bytes").to_pylist() if one is not None) == 2
    assert max(len(one) for one in page.column("object").to_pylist() if one is not None) == 2


def test_the_equivalent_statement_gives_the_same_rows(hard):
    _, remote, schema = hard
    wishes = {
        "filters": (
            Filter("instant", ">=", "2022-03-10"),
            Filter("lasted", ">", "-00:00:01"),
            Filter("bytes", "!=", "00ff"),
            Filter("real", "!=", "NaN"),
            Filter('odd "name"', "contains", "X"),
        ),
        "sort": (Sort("c1"), Sort("_cf_file_id"), Sort("_cf_row")),
    }
    with remote.open(ViewSpec(schema, "hard", **wishes)) as view:
        expected = table_of(view)
        # Of an interval that a query gives nobody knows that it has no months.
        with remote.query(
            f"SELECT c1, said, bytes, instant, object FROM ({view.sql}) AS q"
        ) as again:
            shown = [[row[at] for at in (13, 9, 10, 7, 11)] for row in expected]
            assert table_of(again) == shown
    assert expected


@pytest.mark.parametrize(
    "sort", [(), (Sort("mixed"),), (Sort("host"), Sort("mixed", True))], ids=["as is", "one", "two"]
)
def test_any_page_of_many_rows_is_the_right_one(numbers, sort):
    rows = [(g, g * 7919 % 100_003, f"host{g % 50}") for g in range(100_000)]
    for one in reversed(sort):
        rows.sort(
            key=lambda row, one=one: row[{"mixed": 1, "host": 2}[one.column]],
            reverse=one.descending,
        )
    with numbers.open(ViewSpec(SCHEMA, "numbers", sort=sort)) as view:
        for offset in (0, 99_990, 50_000, 1, 65_530, 99_000, 31_337):
            page = view.page(offset, 40)
            got = list(
                zip(*(page.column(n).to_pylist() for n in ("id", "mixed", "host")), strict=True)
            )
            assert got == rows[offset : offset + 40]
        assert view.page(100_000, 10).num_rows == 0
        assert view.count() == view.rows == 100_000


def test_pages_of_a_filtered_table_are_counted(numbers):
    with numbers.open(ViewSpec(SCHEMA, "numbers", (Filter("host", "=", "host7"),))) as view:
        assert view.page(1_990, 100).column("id").to_pylist() == list(range(99_507, 100_000, 50))
        assert view.count() == view.rows == 2_000


def test_a_view_says_that_its_rows_left_instead_of_showing_others(
    numbers, postgres, postgres_server
):
    with numbers.open(ViewSpec(SCHEMA, "numbers")) as view:
        assert view.page(50_000, 10).num_rows == 10
        view.count()
        until_known(view)
        with postgres_server.connect(postgres) as plain:
            plain.execute(f"DELETE FROM {SCHEMA}.numbers WHERE id BETWEEN 60000 AND 69999")
            plain.execute(f"VACUUM {SCHEMA}.numbers")
            plain.execute(
                f"INSERT INTO {SCHEMA}.numbers SELECT g, g, 'new', 'job2', 'file', g"
                " FROM generate_series(0, 20000) AS g"
            )
        assert view.page(50_000, 10).column("id").to_pylist() == list(range(50_000, 50_010))
        with pytest.raises(EnvironmentProblem, match="has changed since") as raised:
            view.page(65_000, 10)
        assert raised.value.retryable


def test_a_view_notices_that_its_table_was_written_anew(numbers, postgres, postgres_server):
    with numbers.open(ViewSpec(SCHEMA, "numbers", sort=(Sort("mixed"),))) as view:
        view.page(50_000, 10)
        with postgres_server.connect(postgres) as plain:
            plain.execute(f"DELETE FROM {SCHEMA}.numbers WHERE id < 5")
            plain.execute(f"VACUUM FULL {SCHEMA}.numbers")
        with pytest.raises(EnvironmentProblem, match="has changed since"):
            view.page(50_000, 10)


def until_known(view):
    given_up_at = time.monotonic() + 20
    while view._keys.total is None:
        assert time.monotonic() < given_up_at
        threading.Event().wait(0.01)


# Queries.


def test_a_query_gives_names_types_and_rows(hard):
    _, remote, _ = hard
    with remote.query(
        "SELECT yes, count(*) AS n, sum(exact) AS s FROM hard GROUP BY 1 ORDER BY 1"
    ) as view:
        words = [(one.name, one.type) for one in view.columns]
        assert words == [("yes", "boolean"), ("n", "int64"), ("s", "decimal(38,2)")]
        assert view.count() == 3
        assert not view.truncated


@pytest.mark.parametrize(
    ("sql", "word", "value"),
    [
        ("SELECT 1::int2", "int64", 1),
        ("SELECT 1.50::numeric(10,2)", "decimal(10,2)", Decimal("1.50")),
        ("SELECT 1.500::numeric", "decimal(38,3)", Decimal("1.500")),
        ("SELECT 'NaN'::numeric", "string", "NaN"),
        ("SELECT 1e60::numeric", "string", "1" + "0" * 60),
        ("SELECT ARRAY[ARRAY[1, 2], ARRAY[3, 4]]", "json", "[[1,2],[3,4]]"),
        ("SELECT '1.2.3.4'::inet", "string", "1.2.3.4/32"),
        ("SELECT row(1, 'a')", "json", '{"f1":1,"f2":"a"}'),
        ("SELECT '{\"a\": 1}'::jsonb", "json", '{"a": 1}'),
        ("SELECT 'infinity'::timestamptz::text", "string", "infinity"),
        ("SELECT NULL", "string", None),
        ("SELECT repeat('ab', 16)::uuid", "string", "abababab-abab-abab-abab-abababababab"),
        ("VALUES (true)", "boolean", True),
        ("SELECT $$a;b$$ -- why not", "string", "a;b"),
        ("WITH x AS (SELECT 5 AS a) SELECT a FROM x;", "int64", 5),
    ],
)  # fmt: skip
def test_whatever_the_server_has_is_shown(reader, sql, word, value):
    with reader.query(sql) as view:
        assert [one.type for one in view.columns] == [word]
        assert view.page(0, 1).column(0).to_pylist() == [value]


def test_an_infinite_time_is_said_and_not_shown_as_another(reader):
    with pytest.raises(UserProblem, match="time without end"):
        reader.query("SELECT 'infinity'::timestamptz AS t")
    with pytest.raises(UserProblem, match="time without end"):
        reader.query("SELECT '-infinity'::date AS t")


def test_columns_of_one_name_are_both_there(reader):
    with reader.query("SELECT 1 AS n, 2 AS n") as view:
        assert [one.name for one in view.columns] == ["n", "n"]
        assert [one.to_pylist() for one in view.page(0, 1).columns] == [[1], [2]]


def test_rows_beyond_the_limit_are_cut_and_told(numbers):
    with numbers.query("SELECT id FROM numbers ORDER BY id", cap=20_000) as view:
        assert view.truncated
        assert view.count() == 20_000
        assert view.page(19_999, 5).column(0).to_pylist() == [19_999]
    with numbers.query("SELECT id FROM numbers WHERE id < 10", cap=10) as view:
        assert not view.truncated
        assert view.rows == 10


def test_explain_is_shown(numbers):
    with numbers.query("EXPLAIN SELECT * FROM numbers") as view:
        assert "numbers" in view.page(0, 1).column(0)[0].as_py()


def test_names_are_looked_up_in_the_workspace_and_nowhere_else(numbers, postgres, postgres_server):
    with postgres_server.connect(postgres) as plain:
        plain.execute(f"CREATE SCHEMA {SCHEMA}_b")
        plain.execute("CREATE TABLE public.elsewhere (x int)")
    with pytest.raises(UserProblem, match="does not exist"):
        numbers.query("SELECT * FROM numbers", f"{SCHEMA}_b")
    with pytest.raises(UserProblem, match="does not exist"):
        numbers.query("SELECT * FROM elsewhere")
    assert numbers.query(f"SELECT * FROM {SCHEMA}.numbers", f"{SCHEMA}_b").count() == 100_000


def test_a_mistake_is_shown_where_it_is(reader):
    with pytest.raises(UserProblem) as raised:
        reader.query("SELECT 1,\n  nope\nFROM pg_class")
    assert raised.value.detail == 'column "nope" does not exist\nLINE 2:   nope\n          ^'


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM numbers",
        "COPY numbers TO '/tmp/x'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM numbers",
        "SELECT * INTO other FROM numbers",
        "DO $$ BEGIN DELETE FROM numbers; END $$",
        "CALL something()",
        "WITH x AS (DELETE FROM numbers RETURNING *) SELECT * FROM x",
        "WITH x AS (SELECT 1) DELETE FROM numbers",
        "WITH x AS (INSERT INTO numbers VALUES (1) RETURNING *) TABLE x",
        "EXPLAIN ANALYZE DELETE FROM numbers",
        "EXPLAIN (ANALYZE) SELECT 1",
        "SELECT * FROM numbers FOR UPDATE",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        'SELECT "set_config"(\'transaction_read_only\', \'off\', true)',
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT nextval('s')",
        "SELECT query_to_xml('DELETE FROM numbers', true, true, '')",
        "SELECT wipe()",
        "SELECT 1) AS q; DELETE FROM numbers; SELECT (1",
        "/* /* */ DELETE FROM numbers; */ */ DELETE FROM numbers",
        "SELECT 'never closed",
        "TRUNCATE numbers",
        "SET ROLE postgres",
        "SELECT U&\"\\0070g_read_file\"('/etc/passwd')",
        "  -- nothing",
        "SELECT",
        "BEGIN",
        "ROLLBACK",
    ],
)  # fmt: skip
def test_what_does_more_than_read_is_refused_and_changes_nothing(
    numbers, postgres, postgres_server, sql
):
    with postgres_server.connect(postgres) as plain:
        plain.execute(f"CREATE SEQUENCE {SCHEMA}.s")
        plain.execute(
            f"CREATE FUNCTION {SCHEMA}.wipe() RETURNS int LANGUAGE sql AS"
            f" 'DELETE FROM {SCHEMA}.numbers; SELECT 1'"
        )
        with pytest.raises(UserProblem) as raised:
            numbers.query(sql)
        assert "\n" not in raised.value.title
        found = plain.execute(f"SELECT count(*) FROM {SCHEMA}.numbers").fetchone()
        assert found == (100_000,)
        assert plain.execute(f"SELECT is_called FROM {SCHEMA}.s").fetchone() == (False,)
    with pytest.raises(UserProblem), numbers.selected(sql) as rows:
        list(rows.stream())


def test_a_result_is_narrowed_on_the_server(hard):
    _, remote, _ = hard
    with remote.query('SELECT said, whole AS "order", exact FROM hard -- all') as view:
        sql = remote.narrowed(
            view.sql,
            view.columns,
            filters=[Filter("order", "=", "4624"), Filter("said", "contains", "ÄRG")],
            search="ärger",
            sort=[Sort("said", True)],
        )
    with remote.query(sql) as view:
        rows = view.page(0, 500).to_pylist()
    assert rows
    assert {one["order"] for one in rows} == {4624}
    assert [one["said"] for one in rows] == sorted((one["said"] for one in rows), reverse=True)


def test_functions_are_told(reader):
    assert {"count", "now", "starts_with"} <= set(reader.functions())


def test_a_cancelled_query_has_ended_on_the_server(reader, postgres, postgres_server):
    cancel = CancelToken("The query")
    threading.Timer(0.5, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        reader.query("SELECT pg_sleep(60)", cancel=cancel)
    assert time.monotonic() - began < 2
    with postgres_server.connect(postgres) as plain:
        running = plain.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active'"
            " AND pid <> pg_backend_pid()"
        ).fetchone()
    assert running == (0,)
    assert reader.query("SELECT 1").count() == 1


def test_a_query_may_take_only_so_long(postgres, postgres_server, tmp_path):
    reader = open_reader(postgres, tmp_path, statement_timeout_s=0.2)
    with pytest.raises(UserProblem, match="longer than it may"):
        reader.query("SELECT pg_sleep(60)")
    reader.close()


# What stands in the way.


def test_a_dead_server_is_a_sentence(tmp_path):
    where = parse("postgres://u@127.0.0.1:1/d", schemes=("postgres",)).with_password("geheim")
    reader = open_reader(where, tmp_path)
    with pytest.raises(EnvironmentProblem, match="nothing answers at that port") as raised:
        reader.tables()
    assert raised.value.retryable
    assert "geheim" not in str(raised.value)


def test_a_wrong_password_is_a_sentence_without_it(postgres, postgres_server, tmp_path):
    right = open_reader(postgres_server.guarded(postgres), tmp_path)
    assert right.tables() == []
    right.close()
    wrong = open_reader(postgres_server.guarded(postgres, password="secret-and-wrong"), tmp_path)
    with pytest.raises(UserProblem, match="login was refused") as raised:
        wrong.tables()
    assert "secret-and-wrong" not in f"{raised.value!r} {raised.value.__cause__}"


def test_a_lost_connection_is_retryable_and_the_next_page_works(numbers, postgres, postgres_server):
    def end_all():
        with postgres_server.connect(postgres) as plain:
            plain.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    with numbers.open(ViewSpec(SCHEMA, "numbers")) as view:
        assert view.page(70_000, 3).num_rows == 3
        end_all()
        time.sleep(0.1)
        assert view.page(70_000, 3).column("id").to_pylist() == [70_000, 70_001, 70_002]
        with numbers.selected(ViewSpec(SCHEMA, "numbers")) as rows:
            batches = rows.stream(rows=1_000)
            next(batches)
            end_all()
            time.sleep(0.1)
            with pytest.raises(EnvironmentProblem, match="connection was lost") as raised:
                list(batches)
            assert raised.value.retryable
        assert view.page(70_003, 1).column("id").to_pylist() == [70_003]


def test_a_closed_reader_keeps_open_views_alive(numbers):
    view = numbers.open(ViewSpec(SCHEMA, "numbers"))
    numbers.close()
    assert view.page(99_999, 5).num_rows == 1
    view.close()
    view.close()
    with pytest.raises(CasparianError):
        numbers.query("SELECT 1")


# A file.


@pytest.fixture
def numbers_file(tmp_path):
    """The address of a DuckDB sink with 20,000 rows."""
    case = Case(tmp_path / "home")
    address = parse(f"duckdb://{tmp_path}/numbers.duckdb", schemes=("duckdb",))
    case.add("numbers", (("id", "int64"),), {"id": list(range(20_000))})
    put(address, case)
    return address


@pytest.fixture
def file_reader(numbers_file, tmp_path):
    """A reader of that file."""
    with_it = open_reader(numbers_file, tmp_path / "tmp")
    yield with_it
    with_it.close()


def another_delivery(address, tmp_path, rows):
    """Take out what the first job delivered, and deliver rows of another."""
    case = Case(tmp_path / "more")
    case.add("numbers", (("id", "int64"),), {"id": []}, {"id": list(range(rows))})
    put(address, case)


def test_a_file_is_free_between_pages(numbers_file, file_reader):
    with file_reader.open(ViewSpec("main", "numbers")) as view:
        assert view.page(15_000, 2).column("id").to_pylist() == [15_000, 15_001]
        until_known(view)
        with duckdb.connect(str(numbers_file.path)) as other:
            assert other.execute("SELECT count(*) FROM numbers").fetchall() == [(20_000,)]
        assert view.page(15_002, 1).column("id").to_pylist() == [15_002]


def test_deliveries_and_pages_of_a_file_wait_for_each_other(numbers_file, file_reader, tmp_path):
    stop, failed = threading.Event(), []

    def read():
        try:
            while not stop.is_set():
                with file_reader.query("SELECT count(*) AS n FROM numbers") as view:
                    assert view.page(0, 1).column("n")[0].as_py() in {20_000, 0, 10, 11, 12}
        except BaseException as error:
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for one in readers:
        one.start()
    for rows in (10, 11, 12):
        another_delivery(numbers_file, tmp_path / str(rows), rows)
    stop.set()
    for one in readers:
        one.join(30)
    assert failed == []


def test_a_view_of_a_file_says_that_its_rows_left(numbers_file, file_reader, tmp_path):
    with file_reader.open(ViewSpec("main", "numbers")) as view:
        view.page(15_000, 2)
        until_known(view)
        another_delivery(numbers_file, tmp_path, 20_000)
        with pytest.raises(EnvironmentProblem, match="has changed since"):
            view.page(15_000, 2)


def test_a_file_that_another_program_writes_to_is_a_sentence(numbers_file, file_reader):
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True);"
        " sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(numbers_file.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(EnvironmentProblem, match="in use by another program") as raised:
            file_reader.query("SELECT 1")
        assert raised.value.retryable
        assert str(other.pid) in raised.value.detail
        other.stdin.close()
    assert file_reader.query("SELECT 1").count() == 1


def test_a_file_that_is_not_there_has_no_tables(tmp_path):
    reader = open_reader(parse(f"duckdb://{tmp_path}/no.duckdb", schemes=("duckdb",)), tmp_path)
    assert reader.tables() == []
    assert not (tmp_path / "no.duckdb").exists()
    reader.close()


def test_a_file_that_is_none_is_a_sentence(tmp_path):
    (tmp_path / "odd.duckdb").write_text("not a database" * 1000)
    reader = open_reader(parse(f"duckdb://{tmp_path}/odd.duckdb", schemes=("duckdb",)), tmp_path)
    with pytest.raises(EnvironmentProblem, match="cannot be opened"):
        reader.tables()
    reader.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM numbers",
        "COPY numbers TO 'x.csv'",
        "SELECT 1; SELECT 2",
        "SELECT * FROM read_text('/etc/passwd')",
        "ATTACH 'x.duckdb'",
        "WITH x AS (COPY numbers TO 'x.csv') FROM x",
        "EXPLAIN ANALYZE SELECT 1",
    ],
)
def test_what_does_more_than_read_a_file_is_refused(file_reader, sql):
    with pytest.raises(UserProblem):
        file_reader.query(sql)


def test_names_of_another_workspace_are_not_found_by_falling_back(file_reader):
    with pytest.raises(UserProblem, match="does not exist in this workspace"):
        file_reader.query("SELECT * FROM numbers", "case1")
    assert file_reader.query("WITH numbers AS (SELECT 1) SELECT * FROM numbers", "case1").rows == 1


def test_a_query_of_a_file_is_cancelled(file_reader):
    cancel = CancelToken("The query")
    threading.Timer(0.3, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        file_reader.query("SELECT count(*) FROM range(10000000000) AS a", cancel=cancel)
    assert time.monotonic() - began < 2


# Exports.


@pytest.fixture(params=["postgres", "duckdb"])
def same(request, case, opened, tmp_path):
    """The table of every hard type, but for what a server has no place for, here and there."""
    columns = {name: one for name, one in HARD.items() if name != "parts"}
    rows = {
        name: [one.replace("\0", "\u2400") if isinstance(one, str) else one for one in some]
        for name, (_, some) in columns.items()
    }
    case.add("hard", tuple((name, word) for name, (word, _) in columns.items()), rows)
    with a_sink(request, tmp_path) as address:
        put(address, case)
        remote = open_reader(address, tmp_path / "tmp", contract=contract(case))
        yield opened(), remote, schema_of(address)
        remote.close()


@pytest.mark.parametrize("fmt", ["csv", "jsonl", "json", "xlsx"])
def test_exports_are_the_same_to_the_byte(same, tmp_path, fmt):
    local, remote, schema = same
    here = export(
        local, ViewSpec("main", "hard"), "main", tmp_path / f"here.{fmt}", fmt, about=about()
    )
    there = export(
        remote, ViewSpec(schema, "hard"), schema, tmp_path / f"there.{fmt}", fmt, about=about()
    )
    assert there.path.read_bytes() == here.path.read_bytes()
    assert there.rows == 3
    assert there.changed == here.changed


def test_a_parquet_export_holds_the_same_table(same, tmp_path):
    local, remote, schema = same
    spec, name = ViewSpec("main", "hard"), ViewSpec(schema, "hard")
    here = export(local, spec, "main", tmp_path / "here.parquet", "parquet", about=about())
    there = export(remote, name, schema, tmp_path / "there.parquet", "parquet", about=about())
    first, second = pq.read_table(here.path), pq.read_table(there.path)
    assert second.schema.equals(first.schema, check_metadata=True)
    for here, there in zip(first.columns, second.columns, strict=True):
        assert [str(one) for one in _comparable(there)] == [str(one) for one in _comparable(here)]


def test_a_filtered_and_sorted_export_is_the_same(hard, tmp_path):
    local, remote, schema = hard
    wishes = {
        "filters": (Filter("whole", "not null"),),
        "sort": (Sort("said"), Sort("whole", True)),
        "columns": ("said", "whole", "instant"),
    }
    here = export(
        local, ViewSpec("main", "hard", **wishes), "main", tmp_path / "a.csv", "csv", about=about()
    )
    there = export(
        remote, ViewSpec(schema, "hard", **wishes), schema, tmp_path / "b.csv", "csv", about=about()
    )
    assert there.path.read_bytes() == here.path.read_bytes()


def test_a_query_is_exported_whole_with_its_sources(hard, tmp_path):
    _, remote, schema = hard
    sql = 'SELECT said, sum(exact) AS total FROM hard GROUP BY said ORDER BY said COLLATE "C"'
    done = export(remote, sql, schema, tmp_path / "q.jsonl", "jsonl", about=about())
    lines = [json.loads(one) for one in done.path.read_text().splitlines()]
    assert len(lines) == len(VALUES["said"][1])
    assert isinstance(lines[0]["total"], float | int)
    told = json.loads(done.manifest_path.read_text())
    assert told["columns"][1] == {"name": "total", "type": "decimal(38,2)"}
    assert [one["path"] for one in told["sources"]] == ["evidence/0.evtx", "evidence/1.evtx"]


def test_a_cancelled_export_leaves_nothing(numbers, tmp_path):
    cancel = CancelToken("The export")
    target = tmp_path / "out" / "t.csv"
    target.parent.mkdir()
    with pytest.raises(Cancelled):
        export(
            numbers, ViewSpec(SCHEMA, "numbers"), SCHEMA, target, "csv", about=about(),
            cancel=cancel, progress=lambda _: cancel.cancel(),
        )  # fmt: skip
    assert list(target.parent.iterdir()) == []


def test_many_readers_at_once_do_not_meet(numbers):
    failed = []

    def read(at):
        try:
            with numbers.open(ViewSpec(SCHEMA, "numbers", sort=(Sort("mixed"),))) as view:
                for offset in range(at, 100_000, 20_000):
                    assert view.page(offset, 5).num_rows == 5
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read, args=(at,)) for at in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    assert [one.rows for one in numbers.tables()] == [100_000]
