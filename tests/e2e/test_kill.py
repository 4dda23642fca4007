"""The program killed at every boundary: reopening shows no half output, no double row, no lost job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLED_RUN = ROOT / "tests" / "helpers" / "workers" / "killed_run.py"

FIRST = "when,what\n2024-01-01 10:00:00,one\n2024-01-01 10:00:01,two\nragged\n"
OTHER = "name,size\na,1\nb,2\n"
CHANGED = "when,what\n2024-01-01 10:00:00,one\n2024-01-02 10:00:00,three\n"


def killed_run(home, folder, step, side):
    command = [sys.executable, str(KILLED_RUN), str(step), side, str(home), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def whole_run(home, folder):
    done = killed_run(home, folder, -1, "before")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), int(done.stderr.split()[-1])


def query(home, sql):
    command = [
        sys.executable,
        "-m",
        "casparian",
        "--home",
        str(home),
        "query",
        sql,
        "--format",
        "json",
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT / "desktop")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return json.loads(done.stdout)


def picture(home):
    """What a person can see: every table's rows, and what is on disk beside it."""
    tables = {
        name: query(
            home,
            f"SELECT * EXCLUDE (_cf_job_id, _cf_processed_at, _cf_file_id) FROM {name} ORDER BY ALL",
        )
        for name in ("first", "other")
    }
    tables["quarantine"] = query(home, "SELECT row_or_offset, violation FROM first_quarantine")
    return tables


def first_case(folder):
    folder.mkdir()
    (folder / "first.csv").write_text(FIRST)
    (folder / "other.csv").write_text(OTHER)


def steps_of(tmp_path_factory, *, changed):
    base = tmp_path_factory.mktemp("steps")
    folder = base / "evidence"
    first_case(folder)
    _, steps = whole_run(base / "home", folder)
    if changed:
        (folder / "first.csv").write_text(CHANGED)
        _, steps = whole_run(base / "home", folder)
    return steps, picture(base / "home")


@pytest.fixture(scope="module")
def new_case(tmp_path_factory):
    return steps_of(tmp_path_factory, changed=False)


@pytest.fixture(scope="module")
def changed_case(tmp_path_factory):
    return steps_of(tmp_path_factory, changed=True)


def check_after_kill(home, folder, wanted):
    summary, _ = whole_run(home, folder)
    assert summary["jobs"]["failed"] == 0
    assert picture(home) == wanted
    on_disk = {one for one in (home / "output").rglob("*") if one.is_file()}
    on_record = query(
        home, "SELECT count(*) AS n FROM jobs WHERE state NOT IN ('succeeded', 'partial')"
    )
    assert on_record == [{"n": 0}]
    assert all(one.suffix == ".parquet" for one in on_disk)
    assert not any((home / "staging").iterdir())
    return on_disk


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_new_case_survives_a_kill_at_every_step(tmp_path, new_case, side):
    steps, wanted = new_case
    for step in range(1, steps + 1):
        base = tmp_path / f"{side}-{step}"
        base.mkdir()
        first_case(base / "evidence")
        killed = killed_run(base / "home", base / "evidence", step, side)
        assert killed.returncode == -signal.SIGKILL, f"step {step} was not reached"

        files = check_after_kill(base / "home", base / "evidence", wanted)
        assert len(files) == 3, f"step {step}: {files}"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("side", ["before", "after"])
def test_superseding_survives_a_kill_at_every_step(tmp_path, changed_case, side):
    steps, wanted = changed_case
    for step in range(1, steps + 1):
        base = tmp_path / f"{side}-{step}"
        base.mkdir()
        first_case(base / "evidence")
        whole_run(base / "home", base / "evidence")
        (base / "evidence" / "first.csv").write_text(CHANGED)
        killed = killed_run(base / "home", base / "evidence", step, side)
        assert killed.returncode == -signal.SIGKILL, f"step {step} was not reached"

        check_after_kill(base / "home", base / "evidence", wanted)
