"""Copying the control plane from any backend to any, and setting it aside."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled, EnvironmentProblem, UserProblem
from casparian.domain.jobs import JobState
from casparian.state import moving, tables
from casparian.state.database import Store, look
from casparian.state.moving import copy_store, set_aside
from helpers import scripted

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def places(tmp_path, request):
    """Places of a kind, each with its own store or none."""

    def places(kind, name):
        if kind == "sqlite":
            return tmp_path / f"{name}.sqlite"
        return dataclasses.replace(request.getfixturevalue("postgres"), schema=name)

    return places


def fill(place):
    with contextlib.closing(Store(place)) as store:
        scripted.play(store, looking=False)
        with store.write() as uow:
            # A row that names one which comes later in the order of ids.
            uow._connection.execute(
                tables.jobs.update().where(tables.jobs.c.id == "job-0").values(retry_of="job-7")
            )
            uow.commit()


def contents(place):
    with contextlib.closing(Store(place)) as store, store.read() as uow:
        return {
            table.name: sorted(map(repr, uow._connection.execute(sa.select(table)).all()))
            for table in tables.metadata.sorted_tables
        }


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("sqlite", "postgres"),
        ("postgres", "sqlite"),
        ("sqlite", "sqlite"),
        ("postgres", "postgres"),
    ],
)
def test_a_copy_has_every_row_and_the_origin_is_as_it_was(places, here, there, monkeypatch):
    monkeypatch.setattr(moving, "BATCH_ROWS", 3)
    origin, target = places(here, "origin"), places(there, "target")
    fill(origin)
    before, told = contents(origin), []

    copied = copy_store(origin, target, cancel=CancelToken(), on_progress=told.append)

    assert contents(origin) == contents(target) == before
    assert copied.rows == {name: len(rows) for name, rows in before.items()}
    assert copied.rows["files"] == len(scripted.NAMES)
    assert copied.rows["schema_version"] == 1
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert told[-1].done == told[-1].total == 2 * sum(copied.rows.values())


def test_a_copy_to_where_a_store_is_is_refused(places):
    origin, target = places("sqlite", "origin"), places("sqlite", "target")
    fill(origin)
    Store(target).close()
    before = digest_of(target)

    with pytest.raises(UserProblem, match="There is a state store already"):
        copy_store(origin, target, cancel=CancelToken())
    assert digest_of(target) == before


def test_a_copy_to_somebody_elses_tables_is_refused(places):
    origin, target = places("sqlite", "origin"), places("sqlite", "target")
    fill(origin)
    with contextlib.closing(sqlite3.connect(target)) as connection:
        connection.execute("CREATE TABLE theirs (x)")

    with pytest.raises(EnvironmentProblem, match="not one of ours"):
        copy_store(origin, target, cancel=CancelToken())
    assert target.exists()


def test_a_copy_of_nothing_is_refused_and_makes_nothing(places):
    origin, target = places("sqlite", "origin"), places("sqlite", "target")

    with pytest.raises(UserProblem, match="no state store to copy"):
        copy_store(origin, target, cancel=CancelToken())
    assert not origin.exists()
    assert not target.exists()


def test_a_copy_while_a_job_runs_is_refused(places):
    origin, target = places("sqlite", "origin"), places("sqlite", "target")
    fill(origin)
    with contextlib.closing(Store(origin)) as store, store.write() as uow:
        uow.jobs.add(dataclasses.replace(scripted.a_job(9), state=JobState.QUEUED), [])
        assert uow.jobs.claim("host", 1, uow.now()) is not None
        uow.commit()

    with pytest.raises(UserProblem, match="while jobs run") as caught:
        copy_store(origin, target, cancel=CancelToken())
    assert "Finish or cancel them first" in caught.value.hint
    assert not target.exists()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_cancelled_copy_leaves_nothing(places, kind, monkeypatch):
    monkeypatch.setattr(moving, "BATCH_ROWS", 3)
    origin, target = places("sqlite", "origin"), places(kind, "target")
    fill(origin)
    cancel = CancelToken()

    def stop(progress):
        if progress.current == "files":
            cancel.cancel()

    with pytest.raises(Cancelled):
        copy_store(origin, target, cancel=cancel, on_progress=stop)

    assert look(target).schema_version is None
    if isinstance(target, Path):
        assert list(target.parent.glob("target*")) == []


def test_a_copy_that_is_not_what_it_should_be_is_not_kept(places, monkeypatch):
    origin, target = places("sqlite", "origin"), places("postgres", "target")
    fill(origin)
    kept = moving._kept

    def spoilt(value):
        return 4 if value == 3 else kept(value)

    batches = moving._Copy._batches

    def spoil(self, side, table):
        for batch in batches(self, side, table):
            for row in batch if side is self._there else ():
                row.update({name: spoilt(value) for name, value in row.items()})
            yield batch

    monkeypatch.setattr(moving._Copy, "_batches", spoil)

    with pytest.raises(EnvironmentProblem, match="not what it should be") as caught:
        copy_store(origin, target, cancel=CancelToken())
    assert "digest another" in caught.value.detail
    assert look(target).schema_version is None


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- Setting aside


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("version", [tables.SCHEMA_VERSION, 99], ids=["ours", "newer"])
def test_what_is_set_aside_is_whole_and_makes_room(places, kind, version):
    place = places(kind, "state")
    fill(place)
    before = contents(place)
    with contextlib.closing(Store(place)) as store, store.write() as uow:
        uow._connection.execute(tables.schema_version.update().values(version=version))
        uow.commit()

    moved = set_aside(place, AT)

    if isinstance(place, Path):
        aside = place.with_name("state-20260102-030405.sqlite")
        assert moved == str(aside)
        assert [one.name for one in place.parent.glob("state*")] == [aside.name]
    else:
        aside = dataclasses.replace(place)
        assert moved.endswith("schema state_state_20260102_030405")
    assert look(place).schema_version is None
    if isinstance(place, Path) and version == tables.SCHEMA_VERSION:
        assert contents(aside) == before
    with contextlib.closing(Store(place)) as store, store.read() as uow:
        assert uow.evidence.workspaces(archived=True) == []


def test_a_schema_set_aside_keeps_its_rows(places, postgres_server):
    place = places("postgres", "state")
    fill(place)
    set_aside(place, AT)

    with postgres_server.connect(place) as connection:
        [count] = connection.execute(
            "SELECT count(*) FROM state_state_20260102_030405.files"
        ).fetchone()
    assert count == len(scripted.NAMES)


def test_a_damaged_file_is_set_aside_as_it_is(tmp_path):
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"not a database" * 100)

    moved = Path(set_aside(path, AT))

    assert moved.read_bytes() == b"not a database" * 100
    assert not path.exists()


def test_a_file_that_is_open_is_not_set_aside(tmp_path):
    path = tmp_path / "state.sqlite"
    with contextlib.closing(Store(path)) as store:
        with store.read():
            pass
        with pytest.raises(EnvironmentProblem, match="locked by another program"):
            set_aside(path, AT)
        with store.read() as uow:
            assert uow.evidence.workspaces(archived=True) == []
    assert path.exists()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_where_nothing_is_nothing_is_set_aside(places, kind):
    with pytest.raises(UserProblem, match="no state store to move"):
        set_aside(places(kind, "state"), AT)
