"""Opening the store: versions, foreign files, transactions, and its errors as sentences."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

import pytest

from casparian.domain.errors import EnvironmentProblem
from casparian.domain.evidence import Workspace
from casparian.domain.ids import WorkspaceId
from casparian.state.database import Store


def a_workspace(name="case"):
    return Workspace(WorkspaceId(name), name, name, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite"


def test_what_is_not_committed_is_rolled_back(path):
    store = Store(path)
    with store.write() as uow:
        uow.evidence.add_workspace(a_workspace())
    with store.read() as uow:
        assert uow.evidence.workspaces(archived=True) == []
    store.close()


def test_what_is_committed_is_there_after_reopening(path):
    store = Store(path)
    with store.write() as uow:
        uow.evidence.add_workspace(a_workspace())
        uow.commit()
    store.close()

    again = Store(path)
    with again.read() as uow:
        assert uow.evidence.workspaces(archived=True) == [a_workspace()]
    again.close()


def test_a_reader_sees_one_picture_while_another_writes(path):
    store = Store(path)
    with store.read() as reader:
        assert reader.evidence.workspaces(archived=True) == []
        with store.write() as writer:
            writer.evidence.add_workspace(a_workspace())
            writer.commit()
        assert reader.evidence.workspaces(archived=True) == []
    store.close()


@pytest.mark.parametrize(("version", "age"), [(0, "an older"), (99, "a newer")])
def test_a_store_of_another_version_is_left_alone(path, version, age):
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = ?", (version,))
    connection.close()
    before = path.read_bytes()

    with pytest.raises(EnvironmentProblem, match=f"{age} version"):
        Store(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_with_a_sentence(path):
    path.write_bytes(b"not a database" * 100)

    with pytest.raises(EnvironmentProblem, match="is not a state store"):
        Store(path)


def test_a_database_of_somebody_else_is_refused_with_a_sentence(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()

    with pytest.raises(EnvironmentProblem, match="not one of ours"):
        Store(path)


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot be opened"):
        Store(tmp_path / "missing" / "state.sqlite")


def test_the_database_checks_itself(path):
    store = Store(path)
    assert store.integrity().endswith("sound")
    store.close()
