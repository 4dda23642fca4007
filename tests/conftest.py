"""What every test may ask for: a home of its own, services over it, and the real evidence set."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from casparian import parsers
from casparian.domain.cancel import CancelToken
from casparian.settings import load
from helpers import hostile
from helpers.postgres import running

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def evidence() -> Path:
    """The folder CASPARIAN_TEST_EVIDENCE, or `shared/evidence` beside the checkout."""
    folder = Path(os.environ.get("CASPARIAN_TEST_EVIDENCE") or ROOT.parent / "shared" / "evidence")
    if not (folder / "expected.json").is_file():
        pytest.skip(f"no real evidence in {folder}: set CASPARIAN_TEST_EVIDENCE to run this")
    return folder


@pytest.fixture(scope="session")
def tsql():
    """Microsoft's T-SQL parser; the first use on a machine fetches its packages."""
    from helpers.tsql import GateMissing, TSqlGate

    try:
        gate = TSqlGate()
    except GateMissing as missing:
        pytest.skip(f"no T-SQL was checked with Microsoft's parser: {missing}")
    with gate:
        yield gate


@pytest.fixture(scope="session")
def tsql_model(tsql):
    """The same, where its model of a database loads too."""
    if not tsql.has_model:
        pytest.skip(f"no T-SQL was checked against Microsoft's model: {tsql.model_missing}")
    return tsql


@pytest.fixture(scope="session")
def postgres_server():
    """A running PostgreSQL (`helpers.postgres.Server`)."""
    with running() as server:
        yield server


@pytest.fixture
def postgres(postgres_server):
    """The address of an empty database of its own on a real PostgreSQL."""
    with postgres_server.database() as address:
        yield address


@pytest.fixture
def settings(tmp_path):
    """A home of its own, with a watchdog that barks early."""
    found = load(tmp_path / "home")
    return dataclasses.replace(
        found, workers=2, worker_silence_s=5.0, worker_stall_s=5.0, worker_memory_mb=1024
    )


@pytest.fixture
def services(settings):
    """Services over a home of their own, with the program's own workers."""
    from casparian.bootstrap import open_services

    opened = open_services(settings)
    yield opened
    opened.close()


@pytest.fixture
def hostile_services(settings, monkeypatch):
    """Services whose workers know the hostile parser, and a rule that gives it `*.hostile` files."""
    from casparian.bootstrap import open_services

    monkeypatch.setitem(parsers.BUILTIN, hostile.NAME, "helpers.hostile:HostileParser")
    opened = open_services(settings, worker_command=hostile.WORKER)
    workspace = opened.workspaces.default()
    opened.rules.save(workspace.id, opened.rules.new("*.hostile", hostile.NAME))
    yield opened
    opened.close()


@pytest.fixture
def run(request):
    """Run the main job over paths with some services, and wait for its end."""

    def run(services, *paths, force=False):
        workspace = services.workspaces.default()
        report = services.intake.take_in(
            workspace.id, [os.fsencode(one) for one in paths], force=force, cancel=CancelToken()
        )
        services.jobs.wait(CancelToken())
        return report

    return run


@pytest.fixture
def case(tmp_path):
    """Write evidence files: name -> text or bytes; return their folder."""

    def write(**contents: str | bytes) -> Path:
        folder = tmp_path / "evidence"
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            raw = content.encode() if isinstance(content, str) else content
            (folder / name.replace("__", ".")).write_bytes(raw)
        return folder

    return write
