"""What a server says, as a sentence; the errors of a real one are tried in `sinks/test_postgres.py`."""

from __future__ import annotations

import psycopg
import pytest

from casparian.domain.addresses import parse
from casparian.domain.errors import EnvironmentProblem, UserProblem
from casparian.servers import is_postgres_state, postgres_problem

ADDRESS = parse("postgres://me:secret@db.example/cases", schemes=("postgres",))


class SaidError(Exception):
    """A driver's error."""

    def __init__(self, text, sqlstate=None):
        super().__init__(text)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("28P01", UserProblem, "login was refused"),
        ("28000", UserProblem, "login was refused"),
        ("3D000", UserProblem, "no such database"),
        ("42501", UserProblem, "lacks a right"),
        ("25006", EnvironmentProblem, "read-only"),
        ("22021", EnvironmentProblem, "cannot hold a value"),
        ("54011", UserProblem, "larger than the database allows"),
        ("58030", EnvironmentProblem, "error of its system"),
        ("XX001", EnvironmentProblem, "damaged"),
        ("42P01", EnvironmentProblem, "relation"),
    ],
)
def test_what_no_second_try_helps(state, kind, words):
    found = postgres_problem(SaidError('ERROR:  relation "x"', state), "It did not work", ADDRESS)

    assert type(found) is kind
    assert words in str(found)
    assert "postgres://db.example/cases" in str(found)
    assert not getattr(found, "retryable", False)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("08006", "connection was lost"),
        ("40001", "crossed another change"),
        ("40P01", "crossed another change"),
        ("53100", "disk is full"),
        ("53200", "out of memory"),
        ("53300", "no connection left"),
        ("55P03", "locked"),
        ("57014", "stopped a statement"),
        ("57P01", "starting or stopping"),
        ("57P03", "starting or stopping"),
    ],
)
def test_what_a_second_try_may_help(state, words):
    found = postgres_problem(SaidError("ERROR:  x", state), "It did not work", ADDRESS)

    assert isinstance(found, EnvironmentProblem)
    assert found.retryable
    assert words in str(found)
    assert found.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('FATAL:  password authentication failed for user "me"', "login was refused"),
        ("FATAL:  no pg_hba.conf entry for host, no encryption", "login was refused"),
        ('connection failed: FATAL:  database "cases" does not exist', "no such database"),
        ("FATAL:  sorry, too many clients already", "no connection left"),
        ("FATAL:  the database system is starting up", "starting or stopping"),
        ("connection timeout expired", "cannot be reached"),
        ("[Errno -2] Name or service not known", "cannot be reached"),
        ("Connection refused\n\tIs the server running on that host", "nothing answers"),
        ("server closed the connection unexpectedly", "connection was lost"),
        ("SSL SYSCALL error: EOF detected", "connection was lost"),
        ("SSL error: certificate verify failed", "no encrypted connection"),
        ("server does not support SSL, but SSL was required", "no encrypted connection"),
        ('invalid URI query parameter: "colour"', "option of the address"),
        ('invalid sslmode value: "maybe"', "option of the address"),
    ],
)
def test_what_comes_without_a_state(text, words):
    assert words in str(postgres_problem(SaidError(text), "It did not work", ADDRESS))


def test_a_sentence_has_neither_password_nor_statement():
    text = (
        "INVALID: [libpq] Failed to execute query 'SELECT secret': ERROR:  secret is not known\n"
        "LINE 1: SELECT secret\nDETAIL:  Failing row contains (evidence).\nQuery was: SELECT 1."
        " SQLSTATE: 42703"
    )

    found = str(postgres_problem(SaidError(text, "42703"), "It did not work", ADDRESS))

    assert "is not known" in found
    for hidden in ("secret", "evidence", "SELECT"):
        assert hidden not in found


def test_errors_of_psycopg_are_understood(postgres_server):
    with postgres_server.connect() as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT 1 FROM nowhere")

    assert is_postgres_state(caught.value, "42P01")
    assert "nowhere" in str(postgres_problem(caught.value, "It did not work", ADDRESS))
