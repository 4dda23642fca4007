"""Every row of the configuration matrix does the main job, and every sink holds the same rows.

The command line runs over the real evidence from an empty home, profile by profile; tables are
compared with those of the local profile by count and content.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import contents

ROOT = Path(__file__).resolve().parents[2]


def casparian(home, *arguments):
    env = os.environ | {"PYTHONPATH": str(ROOT / "desktop")}
    command = [sys.executable, "-m", "casparian", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def run(home, evidence):
    done = casparian(home, "run", str(evidence), "--json")
    assert done.returncode in {0, 4}, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def set_up(home, *arguments):
    done = casparian(home, "config", "profile", *arguments, "--yes")
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture(scope="module")
def local(evidence, tmp_path_factory):
    """What the local profile makes of the evidence: the summary, and its tables' contents, twice."""
    home = tmp_path_factory.mktemp("local")
    summary = run(home, evidence)
    catalog = home / "query.duckdb"
    # PostgreSQL cannot hold the character NUL: it gets its picture, and the ledger says how often.
    return summary, contents.of_catalog(catalog), contents.of_catalog(catalog, nul="\u2400")


def compared(tables):
    """Without tables that are there for no rows: a database has none of them."""
    return {name: found for name, found in tables.items() if found[0]}


def test_local_with_a_duckdb_file(local, evidence, tmp_path):
    summary, tables, _ = local
    set_up(tmp_path, "local", "--sink", f"duckdb://{tmp_path}/case.duckdb")

    assert run(tmp_path, evidence)["tables"] == summary["tables"]
    assert compared(contents.of_duckdb(tmp_path / "case.duckdb")) == compared(tables)
    assert run(tmp_path, evidence)["plan"]["runs"] == []


def test_hybrid_with_postgres(local, evidence, tmp_path, postgres):
    summary, _, tables = local
    set_up(tmp_path, "hybrid", "--sink", postgres.text)

    assert run(tmp_path, evidence)["tables"] == summary["tables"]
    assert compared(contents.of_postgres(postgres)) == compared(tables)
    assert run(tmp_path, evidence)["plan"]["runs"] == []


def test_enterprise_with_postgres(local, evidence, tmp_path, postgres):
    summary, _, tables = local
    set_up(tmp_path, "enterprise", "--state", postgres.text, "--sink", postgres.text)

    assert run(tmp_path, evidence)["tables"] == summary["tables"]
    assert compared(contents.of_postgres(postgres)) == compared(tables)
    assert run(tmp_path, evidence)["plan"]["runs"] == []
    assert not (tmp_path / "state.sqlite").exists()
