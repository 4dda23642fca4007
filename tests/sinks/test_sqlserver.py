"""The SQL Server sink: all that it can say, checked by Microsoft's parser; and a server, where one is given.

No SQL Server runs where these tests usually run. A scripted connection takes the place of the driver's:
it records every statement, answers what the sink asks, and reads what is loaded, as the driver would.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.credentials import with_secret
from casparian.domain.addresses import parse
from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE, QUARANTINE, Column
from casparian.domain.errors import Cancelled, EnvironmentProblem, UserProblem
from casparian.domain.ids import new_id
from casparian.domain.types import arrow_type, read_text
from casparian.sinks import tsql as say
from casparian.sinks.base import Delivered, RowsOf
from casparian.sinks.samples import HARD, columns_of, delivery, part, table_delivery
from casparian.sinks.scratch import SqlServerPlace, scratch
from casparian.sinks.sqlserver import SqlServerSink
from casparian.sqlserver import OPTIONS, connect, connection_string, problem
from helpers.delivering import Opening
from helpers.tsql import limit_faults, named
from sinks.conformance import STEPS, Place, SinkConformance, fails_at

URL = os.environ.get("CASPARIAN_TEST_SQLSERVER_URL", "")
ADDRESS = parse("sqlserver://analyst@db.example/cases", schemes=("sqlserver",))
J1, J2 = "019a0000-0000-7000-8000-000000000001", "019a0000-0000-7000-8000-000000000002"
MOST_PARAMETERS = 2_100
STAGES = ("cf_stage_alive_1_0", "cf_stage_dead_job_2_11", "cf_stage_of_others")
TYPES = (
    *(
        "boolean",
        "int64",
        "float64",
        "decimal(10,2)",
        "decimal(38,38)",
        "date",
        "time",
        "timestamp",
    ),
    *("timestamp_utc", "duration", "string", "binary", "json", "null", "list<string>"),
    "struct<at:timestamp_utc,many:list<int64>>",
)
HARD_NAMES = (
    *(
        "select",
        "order",
        "table",
        "user",
        "with blank",
        'say "hi"',
        "it's",
        "a;b--c",
        "100%s",
        "a?",
    ),
    *("[bracket]", "]", "]]", "{brace}", "Grüße 🦊", "tab\tname", "a.b", "1st", "@var", "#temp"),
    *("x" * 200, "🦊" * 100, "/* a", "a */", "GO", "$action"),
)


@dataclass
class Server:
    """What a SQL Server would remember, as far as the sink asks."""

    tables: dict[tuple[str, str], list[tuple]] = field(default_factory=dict)
    """Columns by schema and table, as `sys.columns` has them."""
    schemas: set[str] = field(default_factory=set)
    ledger: dict[str, tuple] = field(default_factory=dict)
    has_ledger: bool = False
    filled: bool = True
    """Whether columns hold something."""
    long_numbers: bool = False
    loads: list[tuple[str, pa.Table, dict]] = field(default_factory=list)
    said: list[tuple[str, tuple]] = field(default_factory=list)
    lost: int = 0
    """So many rows of a load do not arrive."""
    fails_on: str = ""

    def connect(self, _address) -> Scripted:
        return Scripted(self)

    @property
    def statements(self) -> list[str]:
        return [sql for sql, _ in self.said]


class DriverError(Exception):
    """As the driver raises."""


DriverError.__module__ = "mssql_python.exceptions"


@dataclass
class Scripted:
    """A connection and its cursor."""

    server: Server
    rows: list[tuple] = field(default_factory=list)

    def cursor(self):
        return Scripted(self.server)

    def close(self):
        pass

    def execute(self, sql, *values):
        server = self.server
        server.said.append((sql, values))
        if server.fails_on and re.search(server.fails_on, sql):
            raise DriverError("[Microsoft][SQL Server]Transaction was deadlocked")
        self.rows = self.answer(sql, values)
        if sql.startswith(f"CREATE TABLE {say.bracket('casparian')}.[cf_stage"):
            server.loads.append((sql.split("(")[0][13:-1], None, {}))
        elif sql.startswith("IF OBJECT_ID"):
            server.has_ledger = True
        elif sql.startswith("CREATE SCHEMA"):
            server.schemas.add(sql[15:-1])

    def answer(self, sql, values):
        server = self.server
        answers = {
            say.SCHEMA_ID: lambda: [(1 if values[0] in server.schemas else None,)],
            say.COLUMNS: lambda: server.tables.get(values, []),
            say.STAGES: lambda: [(one,) for one in STAGES],
            say.PROBE: lambda: [("15.0.2000.5", "READ_WRITE", 1, 1)],
            say.SIZE: lambda: [(Decimal(81_920),)],
            "SELECT OBJECT_ID": lambda: [(7 if server.has_ledger else None,)],
            "SELECT COUNT_BIG": lambda: [(server.loads[-1][1].num_rows - server.lost,)],
            "SELECT attempt": lambda: [
                server.ledger[one] for one in values if one in server.ledger
            ],
            "SELECT TOP": lambda: [(1,)] * self.finds(sql),
        }
        return next((give() for begin, give in answers.items() if sql.startswith(begin)), [])

    def finds(self, sql):
        return self.server.long_numbers if "NOT BETWEEN" in sql else self.server.filled

    def fetchall(self):
        return self.rows

    def bulkcopy_arrow(self, table_name, source, **options):
        try:
            loaded = source.read_all()
        except Exception as error:  # the driver's core makes a text of it
            raise RuntimeError(str(error)) from None
        self.server.loads[-1] = (table_name, loaded, options)
        return {"rows_copied": loaded.num_rows}


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def sink(server):
    return SqlServerSink(ADDRESS.with_password("s3cret"), connect=server.connect)


@pytest.fixture
def parts(tmp_path):
    def write(columns, values, **options):
        return part(tmp_path / "staging", columns, values, **options)

    return write


def hard_delivery(parts, *, gone=(), folder="default", names=HARD_NAMES):
    """A table of every type, one of every name, and a quarantine table."""
    typed = (*(Column(f"as {word}", word) for word in TYPES), *LINEAGE)
    by_name = (*(Column(name, "string") for name in names), *LINEAGE)
    values = {"as int64": [2**63 - 1], "as string": ["a'b]c"], "as list<string>": [["x", None]]}
    tables = [
        table_delivery("select [all]", typed, parts(typed, values, job=J1), gone=gone),
        table_delivery("t" * 200, by_name, parts(by_name, {names[0]: ["v"]}, job=J1)),
        table_delivery("nothing_quarantine", (*LINEAGE, *QUARANTINE)),
    ]
    return delivery(J1, *tables, schema=folder)


def found(columns):
    """What `sys.columns` tells of a table made for these columns."""
    rows = []
    for one in columns:
        kind = say.without_collation(say.column_type(one))
        name, _, size = kind.rstrip(")").partition("(")
        precision, _, scale = size.partition(",")
        wide = 2 if name == "NVARCHAR" else 1
        rows.append(
            (
                one.name,
                name.lower(),
                -1 if size == "MAX" else int(size) * wide if "CHAR" in name else 8,
                int(precision) if name in {"DECIMAL", "FLOAT"} else 0,
                int(scale or precision) if name in {"DECIMAL", "TIME", "DATETIME2"} else 0,
            )
        )
    return rows


def everything_said(parts) -> list[tuple[str, tuple]]:
    """Every statement that the sink can send."""
    said = []
    gone = [(J2, new_id()) for _ in range(say.BOUND_AT_ONCE + 1)] + [("019a", new_id())]

    server = Server()
    sink = SqlServerSink(ADDRESS, connect=server.connect)
    sink.deliver(hard_delivery(parts, gone=gone, folder="it's [a] case"), CancelToken())
    sink.sweep({"alive"})
    sink.probe()
    said += server.said

    changes = [
        *((word, "string") for word in TYPES),
        *(("string", word) for word in TYPES),
        *(("int64", "float64"), ("int64", "decimal(38,10)"), ("decimal(10,2)", "decimal(38,10)")),
        *(("date", "timestamp_utc"), ("float64", "int64"), ("timestamp", "date")),
    ]
    for filled in (True, False):
        for old, new in changes:
            before, after = columns_of(**{"[changed]": old}), columns_of(**{"[changed]": new})
            server = Server(
                schemas={"casparian"}, has_ledger=True, filled=filled, long_numbers=False
            )
            server.tables["casparian", "t"] = found([*before[1:], before[0]])
            server.ledger[J1] = (1, "default", '[["t", 3]]', "[]")
            sink = SqlServerSink(ADDRESS, connect=server.connect)
            path = parts(after, {"[changed]": [None]}, job=J1)
            added = (*after, Column("added", new))
            try:
                sink.deliver(delivery(J1, table_delivery("t", added, path)), CancelToken())
            except UserProblem:
                assert filled
            sink.revoke(J1)
            said += server.said

    server = Server(filled=False)
    sink = SqlServerSink(ADDRESS, connect=server.connect)
    sink.deliver(hard_delivery(parts, gone=gone), CancelToken())
    return said + server.said


class TestStatements:
    """What is said, checked as text."""

    def test_microsofts_parser_takes_every_statement(self, parts, tsql):
        said = {sql for sql, _ in everything_said(parts)}

        assert len(said) > 100
        assert {sql: faults for sql in said if (faults := tsql.syntax(named(sql)))} == {}

    def test_microsofts_model_knows_every_name(self, parts, tsql_model):
        server = Server()
        sink = SqlServerSink(ADDRESS, connect=server.connect)
        gone = [(J2, new_id()), (J2, new_id())]
        sink.deliver(hard_delivery(parts, gone=gone, folder="case-2"), CancelToken())
        again = Server(has_ledger=True, schemas={"casparian", "casparian_case-2"})
        again.ledger[J1] = (1, "case-2", '[["select [all]", 3]]', "[]")
        again.tables["casparian_case-2", "select [all]"] = found(LINEAGE)
        SqlServerSink(ADDRESS, connect=again.connect).revoke(J1)

        said = dict.fromkeys([*server.statements, *again.statements])
        ddl = [
            re.sub(r"^IF OBJECT_ID\(.*?, N'U'\) IS NULL ", "", sql)
            for sql in said
            if re.match(r"CREATE|IF OBJECT_ID", sql)
        ]
        # The model knows nothing of the catalogue views.
        queries = [
            named(sql)
            for sql in said
            if re.match(r"SELECT|DELETE|INSERT|UPDATE", sql) and " sys." not in sql
        ]

        assert len(ddl) == 12
        assert len(queries) > 8
        assert tsql_model.model(ddl, queries) == []

    def test_no_statement_breaks_a_limit(self, parts):
        said = everything_said(parts)
        ddl = [sql for sql, _ in said if re.match(r"CREATE|ALTER|IF OBJECT_ID", sql)]

        assert {sql: faults for sql in ddl if (faults := limit_faults(sql))} == {}
        # The keys of an index are looked at with its table.
        for table, index in itertools.pairwise(said):
            if index[0].startswith("CREATE INDEX"):
                assert limit_faults(f"{table[0]}; {index[0]}") == []
        assert max(len(values) for _, values in said) < MOST_PARAMETERS

    def test_every_value_has_its_mark_and_every_mark_its_value(self, parts):
        for sql, values in everything_said(parts):
            marks = re.sub(r"\[(?:[^\]]|\]\])*\]|N'(?:[^']|'')*'", "", sql).count("?")
            assert marks == len(values), sql

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
    def test_a_name_is_one_token_whatever_is_in_it(self, name):
        name = name.replace("\0", "")
        if not name:
            return
        quoted = say.bracket(name)
        assert re.fullmatch(r"\[(?:[^\]]|\]\])+\]", quoted, re.DOTALL)
        assert quoted[1:-1].replace("]]", "]") == name

    @pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 129, "🦊" * 65])
    def test_what_cannot_be_a_name_is_refused(self, name):
        with pytest.raises(UserProblem):
            say.bracket(name)

    @given(st.text())
    def test_a_literal_is_one_token(self, text):
        assert re.fullmatch(r"N'(?:[^']|'')*'", say.literal(text), re.DOTALL)

    def test_types_are_the_exact_ones(self):
        assert [say.stored_type(word) for word in TYPES] == [
            *("BIT", "BIGINT", "FLOAT(53)", "DECIMAL(10,2)", "DECIMAL(38,38)", "DATE", "TIME(6)"),
            *("DATETIME2(6)", "DATETIME2(6)", "BIGINT", say.TEXT, "VARBINARY(MAX)"),
            *[say.TEXT] * 4,
        ]

    def test_a_table_of_too_many_columns_is_refused(self):
        columns = [Column(f"c{at}", "string") for at in range(1_025)]
        with pytest.raises(UserProblem, match="too many columns"):
            say.make_table("t", columns)

    def test_long_texts_are_never_altered_by_the_server(self):
        doubled = say.widen_column("t", Column("c", "string"), "FLOAT(53)")
        assert "CONVERT(NVARCHAR(MAX), [c], 3)" in list(doubled)[1]


class TestDelivery:
    """The order of things, over a scripted connection."""

    def test_rows_are_loaded_aside_and_promoted_in_one_transaction(self, server, sink, parts):
        columns = columns_of(text="string")
        path = parts(columns, {"text": ["a", "b"]}, job=J1)

        sink.deliver(
            delivery(J1, table_delivery("t", columns, path, gone=[(J2, "f1")])), CancelToken()
        )

        stage = f"[casparian].[cf_stage_{J1}_1_0]"
        said = [re.sub(r" .*", "", one, flags=re.DOTALL) for one in server.statements]
        begin = len(said) - 1 - said[::-1].index("BEGIN")
        promoted = server.statements[begin : said.index("COMMIT", begin) + 1]
        assert [one for one in promoted if one[:6] in {"DELETE", "INSERT"}] == [
            say.take_out("[casparian].[t]", 1),
            say.insert("[casparian].[t]", stage, columns, [f"c{at}" for at in range(7)]),
            say.record("casparian"),
        ]
        assert said.index("COMMIT", begin) < len(said) - 1
        assert server.statements[-1] == say.drop(stage)
        assert stage not in "".join(server.statements[begin : begin + 3])

    def test_the_driver_is_told_which_column_is_which(self, server, sink, parts):
        columns = columns_of(text="string")
        path = parts(columns, {"text": ["a"]}, job=J1)

        sink.deliver(delivery(J1, table_delivery("t", columns, path)), CancelToken())

        [(stage, loaded, options)] = server.loads
        assert stage == f"[casparian].[cf_stage_{J1}_1_0]"
        assert options == {
            "timeout": 0,
            "table_lock": True,
            "column_mappings": [(at, f"c{at}") for at in range(7)],
        }
        assert loaded["c0"].to_pylist() == ["a"]

    @pytest.mark.parametrize("case", HARD)
    def test_hard_values_are_loaded_as_they_are_or_refused(self, server, sink, parts, case):
        word, values = HARD[case]
        columns = columns_of(value=word)
        path = parts(columns, {"value": values}, job=J1)
        act = delivery(J1, table_delivery("t", columns, path))

        if case in SqlServerPlace.refuses:
            with pytest.raises(UserProblem, match="value"):
                sink.deliver(act, CancelToken())
            assert say.record("casparian") not in server.statements
            return
        sink.deliver(act, CancelToken())

        loaded = server.loads[0][1]["c0"].combine_chunks()
        assert loaded.type in LOADED
        if case == "list of binary":  # an empty text in JSON is read as null, but is not null there
            assert loaded.to_pylist() == ['["00ff", null, ""]', "[]", None]
        else:
            assert back(loaded, word).equals(values)

    def test_a_load_that_lost_rows_is_refused(self, server, sink, parts):
        server.lost = 1
        columns = columns_of(text="string")
        path = parts(columns, {"text": ["a", "b"]}, job=J1)

        with pytest.raises(EnvironmentProblem, match="2 were staged, 1 were loaded"):
            sink.deliver(delivery(J1, table_delivery("t", columns, path)), CancelToken())

        assert say.record("casparian") not in server.statements
        assert server.statements[-1].startswith("DROP TABLE IF EXISTS [casparian].[cf_stage_")

    @pytest.mark.parametrize("step", STEPS[:-1])
    def test_a_fault_at_any_step_undoes_and_drops_the_stage(self, server, parts, step):
        sink = SqlServerSink(ADDRESS, connect=server.connect, on_step=fails_at(step))
        columns = columns_of(text="string")
        path = parts(columns, {"text": ["a"]}, job=J1)

        with pytest.raises(RuntimeError, match=step):
            sink.deliver(delivery(J1, table_delivery("t", columns, path)), CancelToken())

        assert server.statements[-2] == say.ROLLBACK
        assert server.statements[-1].startswith("DROP TABLE IF EXISTS [casparian].[cf_stage_")

    def test_a_deadlock_is_a_sentence_that_says_to_try_again(self, server, sink, parts):
        server.fails_on = "^INSERT"
        columns = columns_of(text="string")
        path = parts(columns, {"text": ["a"]}, job=J1)

        with pytest.raises(EnvironmentProblem, match="another program has it locked") as told:
            sink.deliver(delivery(J1, table_delivery("t", columns, path)), CancelToken())

        assert told.value.retryable
        assert server.statements[-2] == say.ROLLBACK

    def test_a_cancelled_load_is_told_as_such(self, server, sink, parts):
        token = CancelToken("The delivery")
        columns = columns_of(text="string")
        path = parts(columns, {"text": ["a"]}, job=J1)
        sink = SqlServerSink(
            ADDRESS, connect=lambda address: token.cancel() or server.connect(address)
        )

        with pytest.raises(Cancelled):
            sink.deliver(delivery(J1, table_delivery("t", columns, path)), token)

        assert say.record("casparian") not in server.statements

    def test_rows_leave_though_none_come(self, server, sink):
        server.has_ledger = True
        server.schemas.add("casparian")
        server.tables["casparian", "t"] = found(LINEAGE)
        server.tables["casparian", "theirs"] = [("stranger", "nvarchar", -1, 0, 0)]
        gone = [(J2, "f1")]
        tables = [table_delivery(name, (), gone=gone) for name in ("t", "theirs", "never there")]

        sink.deliver(delivery(J1, *tables), CancelToken())

        assert [
            one for one in server.statements if one.startswith(("DELETE", "CREATE", "DROP"))
        ] == [say.take_out("[casparian].[t]", 1)]

    def test_names_that_differ_in_case_only_are_refused(self, sink, parts):
        columns = columns_of(Name="string", name="string")
        with pytest.raises(UserProblem, match=r"(?s)(?=.*Name)(?=.*name)"):
            sink.deliver(delivery(J1, table_delivery("t", columns)), CancelToken())

    def test_a_table_of_another_program_is_left_alone(self, server, sink, parts):
        server.schemas.add("casparian")
        server.tables["casparian", "theirs"] = [("stranger", "nvarchar", -1, 0, 0)]

        with pytest.raises(UserProblem, match="theirs"):
            sink.deliver(
                delivery(J1, table_delivery("theirs", columns_of(a="date"))), CancelToken()
            )

        assert not any("theirs" in one for one in server.statements)

    def test_the_ledger_gives_back_what_was_entered(self, server, sink, parts):
        sink.deliver(hard_delivery(parts, gone=[(J2, "f1")], folder="case-2"), CancelToken())
        values = next(values for sql, values in server.said if sql == say.record("casparian"))
        job, attempt, folder, tables, gone = values
        server.ledger[job] = (attempt, folder, tables, gone)

        assert sink.delivered(J1) == Delivered(
            J1,
            1,
            "case-2",
            (("select [all]", 1), ("t" * 200, 1), ("nothing_quarantine", 0)),
            (("select [all]", RowsOf(J2, "f1")),),
        )
        assert json.loads(tables)[0] == ["select [all]", 1]

    def test_sweep_drops_the_stages_of_jobs_that_are_not_alive(self, server, sink):
        assert sink.sweep({"alive"}) == ["cf_stage_dead_job_2_11"]
        assert [one for one in server.statements if one.startswith("DROP")] == [
            "DROP TABLE IF EXISTS [casparian].[cf_stage_dead_job_2_11]"
        ]

    def test_a_sink_tells_how_it_is(self, sink):
        state = sink.probe()
        assert (state.version, state.size_bytes) == ("SQL Server 15.0.2000.5", 81_920)

    def test_the_address_shows_no_password(self, sink):
        assert sink.address.password is None


LOADED = {
    *(pa.bool_(), pa.int64(), pa.float64(), pa.date32(), pa.time64("us"), pa.timestamp("us")),
    *(pa.string(), pa.binary(), pa.decimal128(10, 2), pa.decimal128(38, 0)),
    *(pa.decimal128(38, 10), pa.decimal128(38, 38)),
}
"""What the driver's bulk load takes for the types of `tsql`."""


def back(loaded: pa.Array, word: str) -> pa.Array:
    """What was loaded, as the type that it was."""
    wanted = arrow_type(word)
    if loaded.type == wanted:
        return loaded
    if pa.types.is_nested(wanted):
        values, ok = read_text(word, loaded)
        assert all(ok.to_pylist())
        return values
    return loaded.view(wanted)


# --- The connection


VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
HOSTILE = st.sampled_from(
    ["};UID=sa", "x;PWD=y", "{", "}", "}}", "};{", " a ", "a=b", "{x}", ";", "a}};Server={b", ""]
)


@given(
    user=(VALUES | HOSTILE).filter(bool),
    password=VALUES | HOSTILE,
    database=(VALUES | HOSTILE).filter(bool),
    option=(VALUES | HOSTILE).filter(bool),
)
def test_no_value_of_an_address_begins_another(user, password, database, option):
    parser = pytest.importorskip("mssql_python.connection_string_parser")
    address = replace(
        ADDRESS, user=user, database=database, options=(("Encrypt", option),), password=password
    )

    read = parser._ConnectionStringParser(validate_keywords=True)._parse(connection_string(address))

    assert read == {
        "server": "tcp:db.example,1433",
        "database": database,
        "uid": user,
        "encrypt": option,
    } | ({"pwd": password} if password else {})


def test_without_a_user_the_login_is_that_of_the_system():
    address = parse("sqlserver://db.example/cases", schemes=("sqlserver",))
    assert connection_string(address).endswith(";Trusted_Connection={yes}")


@pytest.mark.parametrize(
    "options", ["Driver=x", "UID=sa", "server=x", "Encrypt=a&encrypt=b", "a=b"]
)
def test_options_that_are_not_the_drivers_are_refused(options):
    address = parse(f"sqlserver://u@h/d?{options}", schemes=("sqlserver",))
    with pytest.raises(UserProblem, match="option"):
        connection_string(address)


@pytest.mark.parametrize(
    "text", ["sqlserver://u%00@h/d", "sqlserver://u@h/d%0A", "sqlserver://u@h/d%7f"]
)
def test_control_characters_are_refused(text):
    with pytest.raises(UserProblem, match="control characters"):
        connection_string(parse(text, schemes=("sqlserver",)))


def test_the_options_are_those_that_the_driver_knows():
    constants = pytest.importorskip("mssql_python.constants")
    assert set(constants._ALLOWED_CONNECTION_STRING_PARAMS) >= OPTIONS


@pytest.mark.parametrize(
    ("said", "kind", "sentence", "retryable"),
    [
        ("[SQL Server]Login failed for user 'analyst'.", UserProblem, "login was refused", None),
        ('Cannot open database "cases" requested', UserProblem, "no such database", None),
        ("SSL Provider: certificate verify failed", UserProblem, "encrypted connection", None),
        ("CREATE TABLE permission was denied", UserProblem, "lacks a right", None),
        ("was deadlocked on lock resources", EnvironmentProblem, "has it locked", True),
        ("The transaction log for database 'c' is full", EnvironmentProblem, "no room", True),
        ("TCP Provider: Error code 0x2AF9", EnvironmentProblem, "host is not known", True),
        ("TCP Provider: Error code 0x2749", EnvironmentProblem, "nothing answers", True),
        ("Communication link failure", EnvironmentProblem, "connection was lost", True),
        ("something else", EnvironmentProblem, "something else", False),
    ],
    ids=lambda one: one[:20] if isinstance(one, str) else "",
)
def test_what_the_server_says_becomes_a_sentence(said, kind, sentence, retryable):
    told = problem(Exception(said), "It could not be done", ADDRESS)

    assert isinstance(told, kind)
    assert sentence in told.detail
    assert getattr(told, "retryable", None) == retryable


def test_no_sentence_holds_the_password():
    told = problem(Exception("Login s3cret!"), "It failed", ADDRESS.with_password("s3cret!"))
    assert "s3cret!" not in str(told)


def test_a_port_where_nothing_listens_is_a_sentence():
    pytest.importorskip("mssql_python")
    address = replace(ADDRESS, host="127.0.0.1", port=9).with_password("s3cret!")

    with pytest.raises(EnvironmentProblem) as told:
        connect(address, login_s=1)

    assert "s3cret!" not in str(told.value)
    if "does not load" in told.value.detail:
        assert "libltdl7" in told.value.hint
        pytest.skip("the driver for SQL Server does not load here: libltdl7 is not installed")
    assert "nothing answers at that host and port" in told.value.detail
    assert told.value.retryable


# --- A server, where one is given


class Database(SqlServerPlace, Place):
    """A schema of its own in the database that CASPARIAN_TEST_SQLSERVER_URL names."""

    def __init__(self):
        super().__init__(scratch(with_secret(parse(URL, schemes=("sqlserver",)))))
        self.opening = Opening(
            "casparian.sinks.sqlserver:SqlServerSink",
            self.address.with_password(None),
            self.address.password,
        )


@pytest.mark.skipif(
    not URL, reason="no SQL Server: set CASPARIAN_TEST_SQLSERVER_URL to deliver to one"
)
class TestSqlServerSink(SinkConformance):
    examples = 10

    @pytest.fixture
    def place(self):
        made = Database()
        yield made
        made.drop()
