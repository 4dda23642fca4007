"""The acceptance of a sink: good sinks pass and nothing stays; each promise that is broken is found out."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from psycopg import sql as psycopg_sql

from casparian import cli
from casparian.domain.addresses import parse
from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import Column
from casparian.domain.errors import Cancelled, EnvironmentProblem, UserProblem
from casparian.domain.ids import new_id
from casparian.domain.types import arrow_type
from casparian.sinks import acceptance, samples, scratch
from casparian.sinks import tsql as say
from casparian.sinks.acceptance import CHECKS, accept
from casparian.sinks.opening import open_sink
from casparian.sinks.scratch import from_sqlserver, place_of
from casparian.sinks.texts import as_text
from helpers.postgres import GUARDED_PASSWORD
from helpers.tsql import limit_faults

ROOT = Path(__file__).resolve().parents[2]
SQLSERVER = parse("sqlserver://analyst@db.example/cases", schemes=("sqlserver",))
ALL = ["connection and rights", *CHECKS, "dropped"]


@pytest.fixture
def casparian(tmp_path, capsysbinary):
    """Run the program in this process; return exit code, stdout and stderr."""

    def casparian(*arguments):
        request = cli.parse(["--home", str(tmp_path / "home"), *map(str, arguments)])
        code = cli.main(request)
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return casparian


@pytest.fixture
def schemas(postgres_server, postgres):
    """The scratch schemas that are in the database."""

    def schemas():
        with postgres_server.connect(postgres) as connection:
            found = connection.execute(
                "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'cf_accept_')"
            )
            return [name for (name,) in found.fetchall()]

    return schemas


@pytest.fixture
def file(tmp_path):
    """The address of a DuckDB file that is not there."""
    return parse(f"duckdb://{(tmp_path / 'case.duckdb').as_posix()}", schemes=("duckdb",))


def tried(address, *checks, wrap=lambda sink: sink, cancel=None, **more):
    """Outcomes of some checks, by default of all, of a sink that is wrapped."""
    beside = scratch.scratch(address)
    chosen = {one: CHECKS[one] for one in checks} | more
    sink = wrap(open_sink(beside, ()))
    return list(accept(place_of(beside), sink, cancel or CancelToken(), checks=chosen or None))


# Good sinks


def test_a_postgres_passes_and_nothing_of_it_stays(casparian, postgres, schemas, tmp_path):
    code, out, err = casparian("doctor", "--sink", postgres.text)

    lines = out.splitlines()
    assert [re.split("  +", one)[:2] for one in lines] == [["good", name] for name in ALL]
    assert re.search(r"200,000 rows in .* s, [\d,]+ rows/s", lines[-2])
    [name] = set(re.findall(r"the schema (cf_accept_[0-9a-f]{8}),", err))
    assert f"the schema {name}, with {name}_other beside it, is dropped" in lines[-1]
    assert code == 0
    assert schemas() == []
    assert not (tmp_path / "home" / "state.sqlite").exists()


def test_a_duckdb_file_passes_and_nothing_lies_beside_it(file, tmp_path):
    theirs = tmp_path / "somebody.else"
    theirs.touch()

    found = tried(file)

    assert [(one.name, one.ok) for one in found] == [(name, True) for name in ALL], found
    assert [*tmp_path.iterdir()] == [theirs]


def test_folders_that_were_made_are_removed(file, tmp_path):
    below = replace(file, path=tmp_path / "new" / "folder" / "case.duckdb")

    assert all(one.ok for one in tried(below, "rows"))
    assert not (tmp_path / "new").exists()


def test_outcomes_are_json_when_asked_for(casparian, file, monkeypatch):
    monkeypatch.setattr(acceptance, "CHECKS", {"load": CHECKS["load"]})

    code, out, _ = casparian("--json", "doctor", "--sink", f"duckdb://{file.path}")

    rows = json.loads(out)
    assert code == 0
    assert [one["check"] for one in rows] == ["connection and rights", "load", "dropped"]
    assert [one["state"] for one in rows] == ["good"] * 3
    assert rows[1]["rows_per_s"] > 1_000
    assert rows[1]["seconds"] > 0


def test_every_kind_of_type_is_among_the_hard_values():
    tried = {re.split("[(<]", word)[0] for word, _ in samples.HARD.values()}
    assert tried == {
        *("boolean", "int64", "float64", "decimal", "date", "time", "timestamp", "timestamp_utc"),
        *("duration", "string", "binary", "json", "null", "list", "struct"),
    }


# Sinks that break a promise


class Liar:
    """A sink that does as another one does, but for one thing."""

    def __init__(self, sink):
        self.sink = sink

    def __getattr__(self, name):
        return getattr(self.sink, name)

    def deliver(self, delivery, cancel):
        self.sink.deliver(self.changed(delivery), cancel)

    def changed(self, delivery):
        tables = tuple(self.changed_table(one) for one in delivery.tables)
        return replace(delivery, tables=tables)

    def changed_table(self, table):
        parts = tuple(self.rewritten(one) for one in table.parts)
        wrong = table.rows - sum(pq.read_metadata(one).num_rows for one in table.parts)
        rows = sum(pq.read_metadata(one).num_rows for one in parts)
        return replace(table, parts=parts, rows=rows + wrong)

    def rewritten(self, path):
        new = path.with_name(f"{new_id()}.parquet")
        pq.write_table(self.changed_rows(pq.read_table(path)), new, store_schema=False)
        return new

    def changed_rows(self, rows):
        return rows


class LosesARow(Liar):
    def changed_rows(self, rows):
        return rows.slice(0, max(1, rows.num_rows - 1))


class LosesARowOfMany(Liar):
    def changed_rows(self, rows):
        return rows.slice(1) if rows.num_rows > 1_000 else rows


class ShufflesValues(Liar):
    def changed_rows(self, rows):
        if "size" not in rows.column_names:
            return rows
        at = rows.schema.get_field_index("size")
        return rows.set_column(at, "size", rows["size"].take(pa.array(range(rows.num_rows)[::-1])))


class TrimsText(Liar):
    def changed_rows(self, rows):
        at = rows.schema.get_field_index("value")
        if at < 0 or rows.schema.field(at).type != pa.string():
            return rows
        return rows.set_column(at, "value", pc.utf8_trim_whitespace(rows["value"]))


class DropsNul(Liar):
    def changed_rows(self, rows):
        at = rows.schema.get_field_index("text")
        return rows.set_column(at, "text", pc.replace_substring(rows["text"], "\0", ""))


class Doubles(Liar):
    def changed(self, delivery):
        return replace(delivery, job_id=new_id()) if delivery.attempt > 1 else delivery


class KeepsWhatIsGone(Liar):
    def changed_table(self, table):
        return replace(table, gone=())


class KnowsOneWorkspace(Liar):
    def changed(self, delivery):
        return replace(delivery, schema="default")


class TableByTable(Liar):
    def deliver(self, delivery, cancel):
        for one in delivery.tables:
            self.sink.deliver(replace(delivery, job_id=new_id(), tables=(one,)), cancel)


class CountsAnew(Liar):
    def changed_table(self, table):
        return replace(table, rows=sum(pq.read_metadata(one).num_rows for one in table.parts))


class SwallowsRefusals(Liar):
    def deliver(self, delivery, cancel):
        try:
            self.sink.deliver(delivery, cancel)
        except UserProblem:
            return


class CutsNames(Liar):
    def changed_table(self, table):
        return replace(table, name=table.name[:30])


class KeepsOldColumns(Liar):
    def changed_table(self, table):
        columns = tuple(one for one in table.columns if one.name != "c")
        return replace(table, columns=columns)


class NeverTakesBack(Liar):
    def revoke(self, job_id):
        pass


class SweepsTooMuch(Liar):
    def sweep(self, alive):
        return ["a table"]


class DeliversAfterCancel(Liar):
    def deliver(self, delivery, cancel):
        try:
            self.sink.deliver(delivery, cancel)
        except Cancelled:
            self.sink.deliver(delivery, CancelToken())
            raise


class IsDeafToCancel(Liar):
    def deliver(self, delivery, cancel):
        self.sink.deliver(delivery, CancelToken())


class IsBusy(Liar):
    def __init__(self, sink):
        super().__init__(sink)
        self.lock = threading.Lock()

    def deliver(self, delivery, cancel):
        if not self.lock.acquire(blocking=False):
            raise EnvironmentProblem("The sink is busy")
        try:
            self.sink.deliver(delivery, cancel)
        finally:
            self.lock.release()


class Forgets(Liar):
    def delivered(self, job_id):
        return None


class Raises(Liar):
    def deliver(self, delivery, cancel):
        raise RuntimeError("driver error 7")


@pytest.mark.parametrize(
    ("check", "liar", "says"),
    [
        ("types", TrimsText, "kinds of values: string: "),
        ("NUL in text", DropsNul, "'ab'"),
        ("rows", LosesARow, "there are 'a', 'c'; wanted are 'a', 'b', 'c'"),
        ("rows", Forgets, "the ledger says None"),
        ("rows", Raises, "RuntimeError instead of a sentence: driver error 7"),
        ("redelivery", Doubles, "after a second attempt, there are 'a', 'a', 'b', 'c'"),
        ("replaced rows", KeepsWhatIsGone, "there are 'new', 'old 0', 'old 1'"),
        ("workspaces", KnowsOneWorkspace, "there are 'a', 'b'; wanted are 'a'"),
        ("all or nothing", TableByTable, "after one of two tables was refused"),
        ("foreign table", SwallowsRefusals, "a table of another program is not refused"),
        ("counts", CountsAnew, "is not refused"),
        ("new columns", KeepsOldColumns, ""),
        ("wider types", SwallowsRefusals, "loses digits is not refused"),
        ("names", CutsNames, "there are none; wanted are 'new'"),
        ("revoke", NeverTakesBack, "after a job was revoked once"),
        ("sweep", SweepsTooMuch, "a table was left"),
        ("cancel", DeliversAfterCancel, "after a delivery was cancelled"),
        ("cancel", IsDeafToCancel, "a delivery that is cancelled is not refused"),
        ("two at once", IsBusy, "The sink is busy"),
        ("load", LosesARowOfMany, "199,996 of 200,000 rows are there"),
        ("load", ShufflesValues, "values are in other rows than theirs"),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
def test_a_broken_promise_is_found_by_the_check_named_for_it(file, check, liar, says):
    first, found, last = tried(file, check, wrap=liar)

    assert (first.ok, found.name, found.ok, last.ok) == (True, check, False, True)
    assert says in found.detail


# Where it cannot be tried


def test_a_user_without_rights_gets_the_sentence(casparian, postgres_server, postgres, schemas):
    address = postgres_server.guarded(postgres)
    text = address.text.replace("guarded@", f"guarded:{quote(GUARDED_PASSWORD)}@")

    code, out, err = casparian("doctor", "--sink", text)

    [line] = out.splitlines()
    assert code == 3
    assert line.startswith("bad   connection and rights")
    assert re.search(r"guarded may not make tables in the schema cf_accept_[0-9a-f]{8}\.", line)
    assert GUARDED_PASSWORD not in out + err
    assert quote(GUARDED_PASSWORD) not in out + err


def test_a_password_of_the_environment_is_used(
    casparian, postgres_server, postgres, schemas, monkeypatch
):
    monkeypatch.setattr(acceptance, "CHECKS", {"rows": CHECKS["rows"]})
    monkeypatch.setenv("CASPARIAN_PASSWORD", GUARDED_PASSWORD)
    with postgres_server.connect(postgres) as connection:
        grant = psycopg_sql.SQL("GRANT CREATE ON DATABASE {} TO guarded")
        connection.execute(grant.format(psycopg_sql.Identifier(postgres.database)))

    code, out, err = casparian("doctor", "--sink", postgres_server.guarded(postgres).text)

    assert (code, len(out.splitlines())) == (0, 3)
    assert GUARDED_PASSWORD not in out + err
    assert schemas() == []


def test_a_port_where_nobody_listens_is_one_bad_line(casparian):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]

    code, out, _ = casparian("doctor", "--sink", f"postgres://u@127.0.0.1:{port}/d")

    [line] = out.splitlines()
    assert code == 3
    assert line.startswith("bad   connection and rights")
    assert "nothing answers at that port" in line


@pytest.mark.parametrize(
    "address", ["parquet:///tmp/x", "sqlite", "postgres://h", "nonsense", "duckdb://{home}"]
)
def test_what_is_no_database_is_refused(casparian, tmp_path, address):
    address = address.format(home=tmp_path / "home" / "state.sqlite")

    code, out, err = casparian("doctor", "--sink", address)

    assert (code, out) == (2, "")
    assert "cannot be" in err


# Stopping


def test_ctrl_c_drops_what_was_made(postgres, schemas, tmp_path):
    command = [sys.executable, "-m", "casparian", "--home", str(tmp_path / "home")]
    env = os.environ | {"PYTHONPATH": str(ROOT / "desktop")}
    with subprocess.Popen(
        [*command, "doctor", "--sink", postgres.text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as running:
        lines = [running.stdout.readline() for _ in range(3)]
        running.send_signal(signal.SIGINT)
        rest, err = running.communicate(timeout=60)

    assert all(one.startswith("good") for one in lines)
    assert "load" not in rest
    assert rest.splitlines()[-1].endswith("is dropped")
    assert err.splitlines()[-1] == "The run was cancelled."
    assert running.returncode == 130
    assert schemas() == []


def test_a_cancel_within_a_check_is_no_fault_of_the_sink(file):
    cancel = CancelToken("The run")

    def stop(trial):
        cancel.cancel()
        return CHECKS["rows"](trial)

    outcomes = []
    beside = scratch.scratch(file)
    running = accept(place_of(beside), open_sink(beside, ()), cancel, checks={"stop": stop})
    with pytest.raises(Cancelled, match="The run"):
        outcomes.extend(running)

    assert [(one.name, one.ok) for one in outcomes] == [(ALL[0], True), ("dropped", True)]
    assert not beside.path.exists()


def test_whoever_stops_listening_leaves_nothing_behind(postgres, schemas):
    beside = scratch.scratch(postgres)
    running = accept(place_of(beside), open_sink(beside, ()), CancelToken())
    names = [next(running).name for _ in range(3)]
    assert schemas() != []

    running.close()

    assert names == ALL[:3]
    assert schemas() == []


def test_what_cannot_be_dropped_is_named(postgres_server, postgres, schemas, monkeypatch):
    monkeypatch.setattr(scratch, "_LOCK_MS", 100)
    other = postgres_server.connect(postgres)
    other.autocommit = False

    def held(trial):
        CHECKS["rows"](trial)
        [name] = schemas()
        ledger = psycopg_sql.Identifier(name, "cf_ledger")
        other.execute(psycopg_sql.SQL("LOCK TABLE {}").format(ledger))
        return "held"

    [*_, last] = tried(postgres, held=held)
    other.close()

    [name] = schemas()
    assert not last.ok
    assert f"the schema {name}" in last.detail
    assert "could not be dropped, remove it by hand" in last.detail
    assert "another program has it locked" in last.detail


@pytest.mark.parametrize(
    "name", ["casparian", "cf_accept_", "cf_accept_123", "cf_accept_1234567890"]
)
def test_only_scratch_places_are_dropped(file, postgres, name):
    for one in (
        replace(postgres, schema=name),
        replace(SQLSERVER, schema=name),
        replace(file, path=file.path.with_name(f"{name}.duckdb")),
    ):
        with pytest.raises(ValueError, match="no scratch place"):
            place_of(one).drop()


# SQL Server, without one


class Recorded:
    """A connection, and its cursor, that keeps what is said and answers with schemas and tables."""

    description = (("name",),)

    def __init__(self, answers):
        self.answers, self.said, self.rows = answers, [], []

    def cursor(self):
        return self

    def close(self):
        pass

    def execute(self, statement, *values):
        self.said.append((statement, values))
        self.rows = self.answers.get((statement, values), [])

    def fetchall(self):
        return self.rows


def test_a_scratch_schema_of_sql_server_is_dropped_with_its_tables(monkeypatch, tsql):
    one = "cf_accept_0123abcd"
    server = Recorded(
        {
            (say.SCHEMAS, (one, f"{one}_", f"{one}_")): [(one,), (f"{one}_other",)],
            (say.TABLES, (one,)): [("t1",), ("a]b",)],
            (say.TABLES, (f"{one}_other",)): [("t2",)],
        }
    )
    monkeypatch.setattr("casparian.sqlserver.connect", lambda address: server)

    place_of(replace(SQLSERVER, schema=one)).drop()

    assert [statement for statement, _ in server.said if statement.startswith("DROP")] == [
        "DROP TABLE IF EXISTS [cf_accept_0123abcd].[t1]",
        "DROP TABLE IF EXISTS [cf_accept_0123abcd].[a]]b]",
        "DROP SCHEMA [cf_accept_0123abcd]",
        "DROP TABLE IF EXISTS [cf_accept_0123abcd_other].[t2]",
        "DROP SCHEMA [cf_accept_0123abcd_other]",
    ]


TYPES = (
    *("boolean", "int64", "float64", "decimal(10,2)", "decimal(38,38)", "date", "time"),
    *("timestamp", "timestamp_utc", "duration", "string", "binary", "json", "null"),
    *("list<string>", "struct<at:timestamp_utc,many:list<int64>>"),
)
STRANGE = (*(Column(word, word) for word in TYPES), *(Column(f"]{n}'?", "date") for n in range(3)))
PLACE = say.place("cf_accept_0123abcd", "it's [a] table")


def statements():
    """All that a scratch place says to SQL Server beyond what the sink says."""
    return [
        *(say.TABLES.replace("?", "@p"), say.SCHEMAS.replace("?", "@p")),
        *(say.table_id(PLACE), say.read_back(PLACE, STRANGE), say.make_foreign(PLACE)),
        *(say.drop(PLACE), say.drop_schema("cf_accept_0123abcd")),
    ]


def test_microsofts_parser_takes_every_statement(tsql):
    assert {one: faults for one in statements() if (faults := tsql.syntax(one))} == {}
    assert [one for one in statements() if limit_faults(one)] == []


def test_microsofts_model_knows_what_is_read_back(tsql_model):
    ddl = [say.make_schema("cf_accept_0123abcd"), say.make_table(PLACE, STRANGE)]
    assert tsql_model.model(ddl, [say.read_back(PLACE, STRANGE)]) == []


@pytest.mark.parametrize(
    ("word", "text", "value"),
    [
        ("boolean", "true", True),
        ("int64", "-9223372036854775808", -(2**63)),
        ("float64", "1.0000000000000001e-001", 0.1),
        ("float64", "0.10000000000000001", 0.1),
        ("float64", "4.9406564584124654e-324", 5e-324),
        ("float64", "1.0000000000000000e+308", 1e308),
        ("float64", "9.0071992547409920e+015", 2.0**53),
        ("decimal(10,2)", "-0.01", Decimal("-0.01")),
        ("decimal(38,38)", "0." + "0" * 37 + "1", Decimal("1E-38")),
        ("binary", "0x", b""),
        ("binary", "0x00FF", b"\0\xff"),
        ("string", "", ""),
        ("json", " null ", " null "),
        ("string", None, None),
        ("binary", None, None),
    ],
)
def test_what_sql_server_writes_is_read_as_what_it_was(word, text, value):
    assert from_sqlserver(word, pa.array([text], pa.string())).equals(
        pa.array([value], arrow_type(word))
    )


@pytest.mark.parametrize("case", samples.HARD.keys() - scratch.SqlServerPlace.refuses)
def test_hard_values_in_the_words_of_sql_server_are_read_as_what_they_were(case):
    word, values = samples.HARD[case]
    kind = arrow_type(word)
    if word == "timestamp_utc":  # as DATETIME2, without a zone
        texts = as_text(values.cast(pa.int64()).cast(pa.timestamp("us")))
    elif word == "duration":
        texts = as_text(values.cast(pa.int64()))
    elif word == "binary":
        hexes = as_text(values).to_pylist()
        texts = pa.array([one if one is None else f"0x{one.upper()}" for one in hexes])
    else:
        texts = as_text(values)

    found = from_sqlserver(word, texts)

    assert found.type == kind
    assert samples.same(found, values)
