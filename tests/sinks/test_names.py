"""Names that a database takes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casparian.domain.addresses import parse
from casparian.domain.errors import UserProblem
from casparian.sinks import names
from casparian.sinks.names import (
    POSTGRES_BYTES,
    SQLSERVER_UNITS,
    fitted,
    fitted_columns,
    namespace,
    utf8_size,
    utf16_size,
)

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
LIMITS = [(POSTGRES_BYTES, utf8_size), (SQLSERVER_UNITS, utf16_size)]


@pytest.mark.parametrize(("limit", "size"), LIMITS, ids=["postgres", "sqlserver"])
@given(name=ANY)
@example(name="🦊" * 200)
@example(name="a" * 54 + "_0123abcd")
def test_a_name_fits_and_is_the_same_each_time(limit, size, name):
    short = fitted(name, limit, size)

    assert size(short) <= limit
    assert "\0" not in short
    assert short == fitted(name, limit, size)
    if size(name) <= limit - 9 and "\0" not in name:
        assert short == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("computer", "computer"),
        ("x" * 63, "x" * 63),
        ("x" * 64, "x" * 54 + "_84421676"),
        ("ä" * 32, "ä" * 27 + "_ee12c9d0"),
        ("a\0b", "a\u2400b"),
    ],
    ids=["short", "just fits", "one too long", "in bytes", "NUL"],
)
def test_names_stay_what_they_are_from_version_to_version(name, expected):
    assert fitted(name, POSTGRES_BYTES) == expected


def test_what_was_shortened_is_no_other_names_own_name():
    long = "x" * 80
    short = fitted(long, POSTGRES_BYTES)

    assert fitted(short, POSTGRES_BYTES) != short


def test_two_columns_never_become_one(monkeypatch):
    monkeypatch.setattr(
        names, "blake3", lambda data: type("", (), {"hexdigest": lambda s: "0" * 8})()
    )

    with pytest.raises(UserProblem, match="would have one name"):
        fitted_columns("t", ["x" * 80, "x" * 90], POSTGRES_BYTES)


def test_each_workspace_has_a_schema():
    address = parse("postgres://me@host/db?schema=evidence", schemes=("postgres",))

    assert namespace(address, "default") == "evidence"
    assert namespace(address, "case-2") == "evidence_case-2"
    assert len(namespace(address, "c" * 100)) == POSTGRES_BYTES
