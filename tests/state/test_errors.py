"""What a real PostgreSQL can do to the state store: a sentence each time, and nothing half done."""

from __future__ import annotations

import dataclasses
import socket
import time
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from casparian import servers
from casparian.domain.addresses import parse
from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.evidence import Workspace
from casparian.domain.ids import WorkspaceId
from casparian.state import backends
from casparian.state.database import Store, StoreAway

SECRET = "correct horse"


def an_address(text):
    return parse(text, schemes=("postgres", "sqlserver")).with_password(SECRET)


def a_workspace(name="case"):
    return Workspace(WorkspaceId(name), name, name, datetime(2026, 1, 1, tzinfo=UTC))


def refused(address):
    """The error that opening gives; it tells nothing that is secret, and comes soon."""
    begin = time.monotonic()
    with pytest.raises(CasparianError) as caught:
        Store(address)
    assert time.monotonic() - begin < 5.5
    assert (address.password or SECRET) not in str(caught.value)
    assert address.key in caught.value.detail
    return caught.value


@pytest.fixture
def postgres_store(postgres):
    opened = Store(postgres)
    yield opened
    opened.close()


@pytest.fixture
def sql(postgres_server, postgres):
    """Do something to the server, beside the store; `{db}` is the database."""

    def sql(*statements):
        with postgres_server.connect() as connection:
            for one in statements:
                connection.execute(one.format(db=postgres.database))

    return sql


CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = '{db}' AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize(
    ("address", "words", "hint"),
    [
        (
            "postgres://u@127.0.0.1:1/x",
            "nothing answers at that port",
            "Check that the server runs",
        ),
        ("postgres://u@no-such-host.invalid/x", "cannot be reached", "the host's name"),
        ("postgres:///x?host=/no/such/folder", "nothing answers", "Check that the server runs"),
    ],
    ids=["port", "host", "socket"],
)
def test_a_dead_address_says_so(address, words, hint):
    error = refused(an_address(address))

    assert isinstance(error, StoreAway)
    assert words in error.detail
    assert hint in error.hint


def test_a_host_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(backends, "CONNECT_TIMEOUT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = refused(an_address(f"postgres://u@127.0.0.1:{silent.getsockname()[1]}/x"))

    assert servers.CONNECT_TIMEOUT_S <= 5
    assert "cannot be reached" in error.detail


def test_a_wrong_password_is_refused_and_never_shown(postgres_server, postgres):
    for password in ("wrong horse", None):
        error = refused(postgres_server.guarded(postgres, password=password))

        assert isinstance(error, UserProblem)
        assert "the login was refused" in error.detail
        assert "password of the address" in error.hint


def test_a_database_that_is_not_there_is_a_sentence(postgres_server):
    error = refused(postgres_server.at("not_there"))

    assert isinstance(error, UserProblem)
    assert "there is no such database" in error.detail


def test_a_login_that_may_not_make_tables_is_a_sentence(postgres_server, postgres, sql):
    sql("REVOKE ALL ON DATABASE {db} FROM PUBLIC", "GRANT CONNECT ON DATABASE {db} TO guarded")

    error = refused(postgres_server.guarded(postgres))

    assert isinstance(error, UserProblem)
    assert "the user lacks a right" in error.detail


def test_a_login_that_may_not_read_the_store_is_a_sentence(
    postgres_server, postgres, postgres_store
):
    error = refused(postgres_server.guarded(postgres))

    assert "the user lacks a right" in error.detail


def test_encryption_that_the_server_does_not_have_is_a_sentence(postgres_server, postgres):
    guarded = postgres_server.guarded(postgres)

    error = refused(dataclasses.replace(guarded, options=(("sslmode", "require"),)))

    assert isinstance(error, UserProblem)
    assert "no encrypted connection" in error.detail


def test_an_option_that_the_driver_does_not_know_is_a_sentence(postgres):
    error = refused(dataclasses.replace(postgres, options=(*postgres.options, ("sslmod", "x"))))

    assert isinstance(error, UserProblem)
    assert "an option of the address" in error.detail


def test_a_server_without_a_free_connection_may_have_one_later(postgres_server, postgres, sql):
    sql("ALTER ROLE guarded CONNECTION LIMIT 0")
    try:
        error = refused(postgres_server.guarded(postgres))
    finally:
        sql("ALTER ROLE guarded CONNECTION LIMIT -1")

    assert isinstance(error, StoreAway)
    assert "no connection left" in error.detail


def test_a_read_only_database_can_be_read_and_says_why_it_takes_no_changes(
    postgres, postgres_store, sql
):
    sql("ALTER DATABASE {db} SET default_transaction_read_only = on")
    store = Store(postgres)
    for _ in range(2):
        with store.read() as uow:
            assert uow.evidence.workspaces(archived=True) == []
        with pytest.raises(EnvironmentProblem, match="read-only") as caught, store.write() as uow:
            uow.evidence.add_workspace(a_workspace())
        assert not caught.value.retryable
    store.close()


def test_a_connection_lost_in_mid_transaction_leaves_nothing_half_done(postgres_store, sql):
    def write_two():
        with postgres_store.write() as uow:
            uow.evidence.add_workspace(a_workspace())
            sql(CUT)
            uow.evidence.add_workspace(a_workspace("another"))

    with pytest.raises(StoreAway, match="was lost"):
        write_two()

    with postgres_store.write() as uow:
        assert uow.evidence.workspaces(archived=True) == []
        uow.evidence.add_workspace(a_workspace())
        uow.commit()


def test_a_connection_lost_before_a_commit_is_no_commit(postgres_store, sql):
    def write_one():
        with postgres_store.write() as uow:
            uow.evidence.add_workspace(a_workspace())
            sql(CUT)
            uow.commit()

    with pytest.raises(StoreAway):
        write_one()

    with postgres_store.read() as uow:
        assert uow.evidence.workspaces(archived=True) == []


def test_a_connection_lost_while_nobody_used_it_is_not_noticed(postgres_store, sql):
    sql(CUT)

    with postgres_store.read() as uow:
        assert uow.evidence.workspaces(archived=True) == []


def test_who_waits_too_long_for_the_store_is_told_so(postgres, postgres_store, monkeypatch):
    monkeypatch.setattr(backends, "BUSY_TIMEOUT_S", 0.2)
    another = Store(postgres)

    with (
        postgres_store.write(),
        pytest.raises(StoreAway, match="another program has it locked"),
        another.write(),
    ):
        pass
    another.close()


def test_a_bug_of_ours_stays_one(postgres_store):
    with pytest.raises(sa.exc.ProgrammingError), postgres_store.read() as uow:
        uow._connection.execute(sa.text("SELECT no_such_column"))
    with postgres_store.write() as uow:
        uow.evidence.add_workspace(a_workspace())
        uow.commit()
    with pytest.raises(sa.exc.IntegrityError), postgres_store.write() as uow:
        uow.evidence.add_workspace(a_workspace())


def raised(kind, *, state=None, said="it said so", lost=False, statement="SELECT 1"):
    """An error as SQLAlchemy hands it on."""
    orig = Exception(said)
    if state is not None:
        orig.sqlstate = state
    return kind(statement, None, orig, connection_invalidated=lost)


@pytest.mark.parametrize(
    ("state", "words", "retryable"),
    [
        ("53100", "disk is full", True),
        ("53300", "no connection left", True),
        ("57P01", "starting or stopping", True),
        ("57P03", "starting or stopping", True),
        ("08006", "connection was lost", True),
        ("55P03", "locked", True),
        ("40P01", "crossed another change", True),
        ("25006", "read-only", False),
        ("XX001", "damaged", False),
    ],
)
def test_what_cannot_be_done_to_a_server_here_is_told_by_its_code(state, words, retryable):
    backend = backends.Postgres(an_address("postgres://u@h/x"))

    error = backend.explained(raised(sa.exc.OperationalError, state=state))

    assert words in error.detail
    assert error.retryable == retryable


@pytest.mark.parametrize(
    ("said", "words", "kind"),
    [
        ("[Microsoft]TCP Provider: Error code 0x2749", "nothing answers", "away"),
        ("[Microsoft]Login failed for user 'u'.", "login was refused", "user"),
        ('[Microsoft]Cannot open database "x" requested by the login.', "no such database", "user"),
        ("[Microsoft]SSL Provider: certificate verify failed", "no encrypted connection", "user"),
        (
            "[Microsoft]The INSERT permission was denied on the object 'jobs'",
            "lacks a right",
            "user",
        ),
        ("[Microsoft]The transaction log for database 'x' is full", "no room left", "away"),
        ("[Microsoft]Could not allocate space for object: filegroup is full", "no room", "away"),
        ('[Microsoft]Failed to update database "x" because it is read-only.', "read-only", "other"),
        (
            "[Microsoft]Transaction was deadlocked on lock resources: 1205 deadlock",
            "locked",
            "away",
        ),
        ("[Microsoft]Lock request time out period exceeded.", "locked", "away"),
        ("[Microsoft]Lock request time out: another program writes", "locked", "away"),
        ("[Microsoft]Communication link failure", "connection was lost", "away"),
        ("Failed to load the driver. Please read", "driver for SQL Server does not load", "other"),
    ],
)
def test_what_sql_server_says_is_told(said, words, kind):
    backend = backends.SqlServer(an_address("sqlserver://u@h/x"))

    error = backend.explained(raised(sa.exc.ProgrammingError, said=f"{said} {SECRET}"))

    assert words in error.detail
    assert SECRET not in str(error)
    found = "user" if isinstance(error, UserProblem) else "away" if error.retryable else "other"
    assert found == kind


def test_a_bug_in_t_sql_stays_one():
    backend = backends.SqlServer(an_address("sqlserver://u@h/x"))

    assert backend.explained(raised(sa.exc.ProgrammingError, said="Invalid column name")) is None
    assert backend.explained(raised(sa.exc.IntegrityError, said="UNIQUE KEY constraint")) is None


def test_a_lost_connection_to_sql_server_is_told():
    backend = backends.SqlServer(an_address("sqlserver://u@h/x"))

    error = backend.explained(raised(sa.exc.OperationalError, lost=True))

    assert error.retryable
    assert "was lost" in error.title


def test_a_dead_sql_server_or_a_missing_driver_is_a_sentence():
    error = refused(an_address("sqlserver://u@127.0.0.1:1/x"))

    assert isinstance(error, EnvironmentProblem)
    assert error.hint


def test_an_option_that_sql_server_does_not_know_is_a_sentence():
    with pytest.raises(UserProblem, match="is not known"):
        Store(an_address("sqlserver://u@127.0.0.1:1/x?nonsense=3"))
