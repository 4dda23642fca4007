"""The PostgreSQL sink: what every sink must do, and what only a server can do to it."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time

import pyarrow as pa
import pytest
from psycopg import sql

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.types import read_text
from casparian.sinks import postgres as module
from casparian.sinks.postgres import PostgresSink
from casparian.sinks.samples import (
    HARD,
    TEXT,
    columns_of,
    delivery,
    part,
    same,
    table_delivery,
)
from casparian.sinks.scratch import PostgresPlace
from casparian.sinks.texts import as_text
from helpers.delivering import Opening
from sinks.conformance import Place, SinkConformance, read, seen

PASSWORD = "not to be shown"


class Schema(PostgresPlace, Place):
    """A schema of a server, looked at by drivers alone."""

    def __init__(self, server, address):
        super().__init__(address)
        self.server = server
        self.opening = Opening("casparian.sinks.postgres:PostgresSink", address)

    def leftovers(self):
        """Tables that lack the lineage columns, in any schema."""
        query = """
            SELECT c.relname FROM pg_class c
            WHERE c.relkind = 'r' AND c.relname <> 'cf_ledger' AND c.oid >= 16384
                AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid
                    AND a.attname IN ('_cf_job_id', 'stranger'))"""
        return [name for (name,) in self.execute(query)]

    def is_busy(self):
        return bool(
            self.execute(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'Casparian Flow'"
                " AND datname = current_database()"
            )
        )

    def connect(self):
        """A connection of another program."""
        return self.server.connect(self.address)

    def execute(self, statement, *values):
        """Run a statement as the server's owner, `{}` standing for the schema; return its rows."""
        query = sql.SQL(statement).format(sql.Identifier(self.address.schema))
        with self.connect() as admin:
            cursor = admin.execute(query, values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def place(postgres_server, postgres):
    return Schema(postgres_server, postgres)


@pytest.fixture
def sink(place):
    return place.opening.open()


@pytest.fixture
def texts(tmp_path):
    """A delivery of some texts to the table `t`."""

    def make(job, *values, **options):
        path = part(tmp_path / "staging", TEXT, {"text": list(values)}, job=job)
        return delivery(job, table_delivery("t", TEXT, path), **options)

    return make


class TestPostgresSink(SinkConformance):
    @pytest.fixture
    def place(self, postgres_server, postgres):
        return Schema(postgres_server, postgres)


# What is kept


def test_the_ledger_says_how_many_texts_had_a_nul(place, sink, tmp_path):
    columns = columns_of(text="string", many="list<string>")
    values = {"text": ["a\0b\0", None, "plain"], "many": [["\0", "x"], ["\0"], None]}
    path = part(tmp_path / "staging", columns, values, job="j1")
    clean = part(tmp_path / "staging", TEXT, {"text": ["a"]}, job="j1")
    tables = table_delivery("t", columns, path), table_delivery("u", TEXT, clean)

    sink.deliver(delivery("j1", *tables), CancelToken())

    [(told,)] = place.execute("SELECT delivered FROM {}.cf_ledger")
    assert told == [{"table": "t", "rows": 3, "nul_replaced": 3}, {"table": "u", "rows": 1}]


def test_columns_say_what_they_are_called_and_hold(place, sink, tmp_path):
    name = "a long name " * 20
    columns = columns_of(**{name: "json"})
    path = part(tmp_path / "staging", columns, {name: ["{}"]}, job="j1")
    sink.deliver(delivery("j1", table_delivery("t" * 100, columns, path)), CancelToken())

    comments = place.execute(
        "SELECT obj_description(c.oid), col_description(c.oid, 1) FROM pg_class c"
        " WHERE relkind = 'r' AND relnamespace = %s::regnamespace AND relname LIKE 'ttt%%'",
        place.address.schema,
    )

    assert comments == [("t" * 100, f"{name}\njson")]


@pytest.mark.parametrize(
    "case",
    [name for name, (word, _) in HARD.items() if not word.startswith(("struct", "list"))],
)
def test_a_column_that_becomes_text_reads_as_what_it_was(place, sink, tmp_path, case):
    word, values = HARD[case]
    before, after = columns_of(a=word), columns_of(a="string")
    first = part(tmp_path / "staging", before, {"a": values}, job="j1")
    sink.deliver(delivery("j1", table_delivery("t", before, first)), CancelToken())
    second = part(tmp_path / "staging", after, {"a": ["text"]}, job="j2")
    sink.deliver(delivery("j2", table_delivery("t", after, second)), CancelToken())
    third = part(tmp_path / "staging", before, {"a": values}, job="j3")
    sink.deliver(delivery("j3", table_delivery("t", before, third)), CancelToken())

    found = read(place, "t", after)["a"].combine_chunks()
    count = len(values)
    altered, loaded = found[:count], found[count + 1 :]
    assert loaded.equals(as_text(values))
    if word not in {"float64"} and not word.startswith("decimal"):
        assert altered.equals(loaded)
    back, ok = read_text(word, altered)
    assert all(ok.to_pylist())
    if word == "binary":  # no bytes are no hexadecimal digits, and empty text is read as null
        values = pa.array([one or None for one in values.to_pylist()], pa.binary())
    assert same(back, values)


def test_a_decimal_becomes_wider(place, sink, tmp_path):
    narrow, wide = columns_of(a="decimal(5,2)"), columns_of(a="decimal(12,4)")
    first = part(tmp_path / "staging", narrow, {"a": [1]}, job="j1")
    second = part(tmp_path / "staging", wide, {"a": [2]}, job="j2")
    third = part(tmp_path / "staging", narrow, {"a": [3]}, job="j3")
    for job, columns, path in (("j1", narrow, first), ("j2", wide, second), ("j3", narrow, third)):
        sink.deliver(delivery(job, table_delivery("t", columns, path)), CancelToken())

    assert [str(one) for one in read(place, "t", wide)["a"]] == ["1.0000", "2.0000", "3.0000"]


def test_types_that_do_not_meet_are_refused(place, sink, tmp_path):
    one, other = columns_of(size="int64"), columns_of(size="timestamp_utc")
    first = part(tmp_path / "staging", one, {"size": [1]}, job="j1")
    second = part(tmp_path / "staging", other, {"size": [1]}, job="j2")
    sink.deliver(delivery("j1", table_delivery("t", one, first)), CancelToken())

    with pytest.raises(UserProblem, match=r"t cannot be written.*size is bigint and must be"):
        sink.deliver(delivery("j2", table_delivery("t", other, second)), CancelToken())


def test_columns_of_the_user_are_left_alone(place, sink, texts):
    sink.deliver(texts("j1", "a"), CancelToken())
    place.execute("ALTER TABLE {}.t ADD COLUMN note text DEFAULT 'to be looked at'")

    sink.deliver(texts("j2", "b"), CancelToken())

    rows = place.execute("SELECT text, note FROM {}.t ORDER BY 1")
    assert rows == [("a", "to be looked at"), ("b", "to be looked at")]


def test_a_view_is_not_a_table(place, sink, texts):
    sink.deliver(texts("j1", "a"), CancelToken())
    place.execute("ALTER TABLE {}.t RENAME TO u")
    place.execute(f'CREATE VIEW {{}}.t AS SELECT * FROM "{place.address.schema}".u')

    with pytest.raises(UserProblem, match="not a table of this program"):
        sink.deliver(texts("j2", "b"), CancelToken())


def test_the_ledger_is_no_table_for_rows(place, sink, tmp_path):
    path = part(tmp_path / "staging", TEXT, {"text": ["a"]}, job="j1")

    with pytest.raises(UserProblem, match="cf_ledger"):
        sink.deliver(delivery("j1", table_delivery("cf_ledger", TEXT, path)), CancelToken())


def test_a_table_that_was_dropped_meanwhile_is_no_matter(place, sink, texts):
    sink.deliver(texts("j1", "a"), CancelToken())
    place.execute("DROP TABLE {}.t")

    sink.revoke("j1")
    sink.deliver(texts("j1", "a"), CancelToken())

    assert seen(place, "t") == ["a"]


# Locks and cancelling


def test_a_locked_table_is_a_sentence_that_says_so(place, sink, texts, monkeypatch):
    sink.deliver(texts("j1", "a"), CancelToken())
    monkeypatch.setattr(module, "_LOCK_MS", 200)

    with (
        holding(place, "LOCK TABLE {}.t IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(EnvironmentProblem, match="locked") as caught,
    ):
        sink.deliver(texts("j2", "b"), CancelToken())

    assert caught.value.retryable


def test_a_table_in_use_is_changed_when_it_is_free(place, sink, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_DDL_LOCK_MS", 50)
    sink.deliver(texts("j1", "a"), CancelToken())
    wide = columns_of(text="string", size="int64")
    path = part(tmp_path / "staging", wide, {"text": ["b"], "size": [1]}, job="j2")
    done = []
    running = threading.Thread(
        target=lambda: done.append(
            sink.deliver(delivery("j2", table_delivery("t", wide, path)), CancelToken())
        )
    )

    with holding(place, "INSERT INTO {0}.t SELECT * FROM {0}.t WHERE false"):
        running.start()
        running.join(0.5)
        assert not done
    running.join(10)

    assert done
    assert seen(place, "t") == ["a", "b"]


def test_a_statement_that_runs_is_stopped(place, sink, texts):
    sink.deliver(texts("j1", "a"), CancelToken())
    token = CancelToken("The delivery")
    threading.Timer(0.3, token.cancel).start()
    begin = time.monotonic()

    with (
        holding(place, "LOCK TABLE {}.t IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(Cancelled, match="delivery"),
    ):
        sink.deliver(texts("j2", "b"), token)

    assert time.monotonic() - begin < 3


def holding(place, statement):
    """A transaction of another program that stays open."""
    connection = place.connect()
    connection.autocommit = False
    connection.execute(sql.SQL(statement).format(sql.Identifier(place.address.schema)))
    return connection


# What a server does


class Cuts(CancelToken):
    """Ends the connections of the program when it is asked for the third time."""

    def __init__(self, place):
        super().__init__()
        self._place, self._asked = place, 0

    def check(self):
        self._asked += 1
        if self._asked == 5:
            self._place.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'Casparian Flow' AND datname = current_database()"
            )


def test_a_connection_that_drops_in_mid_load_leaves_nothing(place, sink, tmp_path):
    files = [
        part(tmp_path / "staging", TEXT, {"text": ["x" * 100] * 5000}, job="j1", file=f"f{at}")
        for at in range(8)
    ]
    whole = delivery("j1", table_delivery("t", TEXT, *files))

    with pytest.raises(EnvironmentProblem) as caught:
        sink.deliver(whole, Cuts(place))

    assert caught.value.retryable, str(caught.value)
    assert seen(place, "t") == []
    sink.deliver(whole, CancelToken())
    assert len(seen(place, "t")) == 40_000


def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def without_tls():
    """The port of a server that answers a request for TLS with no."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        client, _ = listening.accept()
        with client:
            client.recv(8)
            client.sendall(b"N")
            client.recv(1)

    answering = threading.Thread(target=serve, daemon=True)
    answering.start()
    yield listening.getsockname()[1]
    answering.join(5)
    listening.close()


@pytest.fixture
def silent():
    """The port of a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def somewhere(place, **changes):
    """A sink at an address that differs in some respect, with a password."""
    return PostgresSink(dataclasses.replace(place.address, password=PASSWORD, **changes))


def problem(place, texts, **changes):
    """What a probe and a delivery say; both must say the same kind of thing, without the password."""
    found = []
    for act in (
        lambda sink: sink.probe(),
        lambda sink: sink.deliver(texts("j1", "a"), CancelToken()),
        lambda sink: sink.delivered("j1"),
    ):
        begin = time.monotonic()
        with pytest.raises(CasparianError) as caught:
            act(somewhere(place, **changes))
        assert time.monotonic() - begin < 7
        assert PASSWORD not in str(caught.value)
        assert caught.value.hint
        found.append(caught.value)
    assert len({type(one) for one in found}) == 1
    return found[0]


TCP = {"host": "127.0.0.1", "options": ()}


def test_a_port_where_nobody_listens(place, texts):
    found = problem(place, texts, **TCP, port=closed_port())
    assert isinstance(found, EnvironmentProblem)
    assert found.retryable
    assert "nothing answers at that port" in str(found)


def test_a_host_that_nobody_knows(place, texts):
    found = problem(place, texts, host="nobody.invalid", options=(), port=5432)
    assert isinstance(found, EnvironmentProblem)
    assert "host cannot be reached" in str(found)


def test_a_server_that_does_not_answer(place, silent):
    begin = time.monotonic()

    with pytest.raises(EnvironmentProblem, match="cannot be reached") as caught:
        somewhere(place, **TCP, port=silent).probe()

    assert caught.value.retryable
    assert time.monotonic() - begin < 5


def test_tls_that_the_server_does_not_speak(place, without_tls):
    with pytest.raises(UserProblem, match="no encrypted connection"):
        somewhere(
            place, host="127.0.0.1", options=(("sslmode", "require"),), port=without_tls
        ).probe()


def test_an_option_that_is_not_known(place, texts):
    found = problem(place, texts, options=(*place.address.options, ("colour", "blue")))
    assert isinstance(found, UserProblem)
    assert "colour" in str(found)


def test_a_database_that_is_not_there(place, texts):
    found = problem(place, texts, database="nowhere")
    assert isinstance(found, UserProblem)
    assert "no such database" in str(found)


@pytest.fixture
def role(place):
    """Make a user of the server; it is removed in the end."""
    made = []

    def make(options=""):
        name = f"role_{place.address.database}_{len(made)}"
        made.append(name)
        place.execute(f"CREATE ROLE {name} LOGIN {options}")
        return name

    yield make
    for name in made:
        place.execute(f"DROP OWNED BY {name}")
        place.execute(f"DROP ROLE {name}")


def test_a_user_that_is_not_there(place, texts):
    found = problem(place, texts, user="nobody_of_that_name")
    assert isinstance(found, UserProblem)
    assert "login was refused" in str(found)


def test_a_wrong_password(place, texts):
    guarded = place.server.guarded(place.address)
    found = problem(place, texts, user="guarded", host=guarded.host, port=guarded.port, options=())
    assert isinstance(found, UserProblem)
    assert "login was refused" in str(found)


def test_the_right_password(place, texts):
    address = place.server.guarded(place.address)
    place.execute("CREATE SCHEMA {} AUTHORIZATION guarded")
    sink = PostgresSink(address)

    sink.deliver(texts("j1", "a"), CancelToken())

    assert sink.probe().version.startswith("PostgreSQL ")
    assert sink.address.password is None


def test_a_user_without_rights(place, texts, role):
    address = dataclasses.replace(place.address, user=role(), password=PASSWORD)
    sink = PostgresSink(address)

    with pytest.raises(UserProblem, match="may not make tables"):
        sink.probe()
    with pytest.raises(UserProblem, match="lacks a right"):
        sink.deliver(texts("j1", "a"), CancelToken())


def test_a_user_who_may_not_change_a_table(place, sink, texts, role, tmp_path):
    sink.deliver(texts("j1", "a"), CancelToken())
    name = role()
    place.execute(f"GRANT USAGE ON SCHEMA {{}} TO {name}")
    place.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {{}} TO {name}")
    other = PostgresSink(dataclasses.replace(place.address, user=name))

    other.deliver(texts("j2", "b"), CancelToken())
    wide = columns_of(text="string", more="string")
    path = part(tmp_path / "staging", wide, {"text": ["c"], "more": ["d"]}, job="j3")
    with pytest.raises(UserProblem, match="lacks a right"):
        other.deliver(delivery("j3", table_delivery("t", wide, path)), CancelToken())

    assert seen(place, "t") == ["a", "b"]


def test_a_server_that_takes_no_changes(place, texts, role):
    name = role()
    place.execute(f"ALTER ROLE {name} SET default_transaction_read_only = on")
    place.execute(f"CREATE SCHEMA {{}} AUTHORIZATION {name}")
    sink = PostgresSink(dataclasses.replace(place.address, user=name))

    for act in (sink.probe, lambda: sink.deliver(texts("j1", "a"), CancelToken())):
        with pytest.raises(EnvironmentProblem, match="read-only") as caught:
            act()
        assert not caught.value.retryable


def test_no_connection_left(place, texts, role):
    found = problem(place, texts, user=role("CONNECTION LIMIT 0"))
    assert isinstance(found, EnvironmentProblem)
    assert found.retryable
    assert "no connection left" in str(found)


def test_a_database_that_cannot_hold_every_character(place, texts):
    name = f"latin_{place.address.database}"
    place.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        sink = PostgresSink(dataclasses.replace(place.address, database=name))
        for act in (sink.probe, lambda: sink.deliver(texts("j1", "a"), CancelToken())):
            with pytest.raises(UserProblem, match="LATIN1"):
                act()
    finally:
        place.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_place_tells_version_and_size(sink, texts):
    assert sink.probe().size_bytes == 0
    sink.deliver(texts("j1", "a"), CancelToken())
    found = sink.probe()
    assert found.version.startswith("PostgreSQL ")
    assert found.size_bytes > 8192
    assert found.free_bytes is None
