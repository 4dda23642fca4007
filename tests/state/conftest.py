"""A state store on every backend that can be had here."""

from __future__ import annotations

import os

import pytest

from casparian.domain.addresses import parse
from casparian.state.database import Store

SQLSERVER = "CASPARIAN_TEST_SQLSERVER_URL"


@pytest.fixture(params=["sqlite", "postgres", "sqlserver"])
def place(request, tmp_path):
    """Where a new store may be made: a path, or the address of an empty database."""
    if request.param == "sqlite":
        return tmp_path / "state.sqlite"
    if request.param == "postgres":
        return request.getfixturevalue("postgres")
    if not (url := os.environ.get(SQLSERVER)):
        pytest.skip(f"no SQL Server to test against: set {SQLSERVER} to run this")
    return parse(url, schemes=("sqlserver",))


@pytest.fixture
def store(place):
    """An open store."""
    opened = Store(place)
    yield opened
    opened.close()
