"""The program killed at every boundary: reopening shows no half output, no double row, no lost job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from helpers import contents

ROOT = Path(__file__).resolve().parents[2]
KILLED_RUNS = ROOT / "tests" / "helpers" / "workers" / "killed_runs.py"

FIRST = "when,what\n2024-01-01 10:00:00,one\n2024-01-01 10:00:01,two\nragged\n"
OTHER = "name,size\na,1\nb,2\n"
CHANGED = "when,what\n2024-01-01 10:00:00,one\n2024-01-02 10:00:00,three\n"
QUERIES = {
    "first": "SELECT * EXCLUDE (_cf_job_id, _cf_processed_at, _cf_file_id) FROM first ORDER BY ALL",
    "other": "SELECT * EXCLUDE (_cf_job_id, _cf_processed_at, _cf_file_id) FROM other ORDER BY ALL",
    "quarantine": "SELECT row_or_offset, violation, raw FROM first_quarantine ORDER BY ALL",
    "files": "SELECT path, state, read, accepted, quarantined FROM files ORDER BY ALL",
    "open jobs": "SELECT * FROM jobs WHERE state NOT IN ('succeeded', 'partial')",
}


CONTROL = ("files", "open jobs")


def picture(home):
    """What a person can see of a home once everything is done."""
    with duckdb.connect(str(home / "query.duckdb"), read_only=True) as catalog:
        return {name: catalog.execute(sql).fetchall() for name, sql in QUERIES.items()}


def control(home):
    """What a home says of files and jobs."""
    with duckdb.connect(str(home / "query.duckdb"), read_only=True) as catalog:
        return {name: catalog.execute(QUERIES[name]).fetchall() for name in CONTROL}


def lay(tmp_path, kind):
    """Write the evidence of a case, and what is to change in it."""
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "first.csv").write_text(FIRST)
    (tmp_path / "evidence" / "other.csv").write_text(OTHER)
    if kind == "done already":
        # The rows of two files share an output, and those of one of them leave without a job.
        (tmp_path / "evidence" / "second.csv").write_text(CHANGED)
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "first.csv").write_text(CHANGED)


def killed_folders(tmp_path, kind, *more):
    """Run the case with a kill before each step; return the folders of the runs that were killed."""
    command = [sys.executable, str(KILLED_RUNS), str(tmp_path)]
    command += ["new" if kind == "new" else "changed", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folders = [one for one in tmp_path.iterdir() if one.name.isdigit()]
    return sorted(folders, key=lambda one: int(one.name))


@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform == "win32", reason="a process is forked for each kill")
@pytest.mark.parametrize("kind", ["new", "changed", "done already"])
def test_a_kill_before_any_step_leaves_nothing_half_done(tmp_path, kind):
    lay(tmp_path, kind)
    killed = killed_folders(tmp_path, kind)
    wanted = picture(tmp_path / "whole" / "home")
    assert wanted["open jobs"] == []
    assert len(wanted["first"]) == 2
    assert len(killed) > 15

    for folder in killed[:-1]:
        home = folder / "home"
        summary = json.loads((folder / "summary.json").read_text().splitlines()[-1])
        assert summary["jobs"]["failed"] == 0, folder.name
        assert picture(home) == wanted, folder.name
        outputs = [one for one in (home / "output").rglob("*") if one.is_file()]
        recorded = {"new": 3, "changed": len(outputs), "done already": 4}[kind]
        assert len(outputs) == recorded, (folder.name, outputs)
        assert all(one.suffix == ".parquet" for one in outputs)
        assert not any((home / "staging").iterdir()), folder.name


EVERY_KIND = [
    (scheme, kind)
    for scheme in ("duckdb", "postgres")
    for kind in ("new", "changed", "done already")
]
"""All of them take minutes: CASPARIAN_TEST_EVERY_KILL asks for them, else there is one of each database."""
KINDS = (
    EVERY_KIND
    if os.environ.get("CASPARIAN_TEST_EVERY_KILL")
    else [("duckdb", "changed"), ("postgres", "new")]
)


@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform == "win32", reason="a process is forked for each kill")
@pytest.mark.parametrize(("scheme", "kind"), KINDS)
def test_a_kill_before_any_step_leaves_every_row_in_a_database_exactly_once(
    tmp_path, scheme, kind, request
):
    lay(tmp_path, kind)
    if scheme == "duckdb":
        killed = killed_folders(tmp_path, kind, "local", f"duckdb://{tmp_path}/case{{n}}.duckdb")

        def tables(number):
            return contents.of_duckdb(tmp_path / f"case{number}.duckdb")
    else:
        address = request.getfixturevalue("postgres")
        killed = killed_folders(tmp_path, kind, "hybrid", f"{address.text}&schema=case{{n}}")

        def tables(number):
            return contents.of_postgres(address, f"case{number}")

    whole = killed.pop()
    wanted, told = tables(whole.name), control(whole / "home")
    assert told["open jobs"] == []
    assert wanted["first"][0] == 2
    assert len(killed) > 15

    for folder in killed:
        summary = json.loads((folder / "summary.json").read_text().splitlines()[-1])
        assert summary["jobs"]["failed"] == 0, folder.name
        assert tables(folder.name) == wanted, folder.name
        assert control(folder / "home") == told, folder.name
