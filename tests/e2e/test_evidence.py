"""The main job over all the real evidence, against counts that other tools made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[2]

EXPLAINED = {
    # file -> (rows expected in evtx_events, why the tools disagree)
    "evtx-edge-cases/sample_with_a_bad_chunk_magic.evtx": (
        270,
        "libevtx leaves out three records that evtx and python-evtx both read",
    ),
    "evtx-edge-cases/Microsoft-Windows-HelloForBusiness%4Operational.evtx": (
        6,
        "libevtx leaves out the last record, which evtx and python-evtx both read",
    ),
    "evtx-edge-cases/Microsoft-Windows-LanguagePackSetup%4Operational.evtx": (
        17,
        "libevtx leaves out the last record, which evtx and python-evtx both read",
    ),
}


def casparian(home, *arguments):
    env = os.environ | {"PYTHONPATH": str(ROOT / "desktop")}
    command = [sys.executable, "-m", "casparian", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def rows(home, sql):
    """What any DuckDB client sees."""
    with duckdb.connect(str(home / "query.duckdb"), read_only=True) as catalog:
        return catalog.sql(sql).to_arrow_table().to_pylist()


@pytest.fixture(scope="module")
def case(evidence, tmp_path_factory):
    home = tmp_path_factory.mktemp("evidence-home")
    done = casparian(home, "run", str(evidence), "--json")
    assert done.returncode in {0, 4}, done.stderr
    return home, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def expected(evidence):
    return json.loads((evidence / "expected.json").read_text())


def test_every_file_is_found_hashed_and_accounted_for(case, expected):
    home, summary = case
    listed = {one["path"]: one for one in expected["files"] + expected["corrupt"]}
    found = {one["path"]: one for one in rows(home, "SELECT path, sha256, size FROM files")}

    assert not listed.keys() - found.keys()
    assert all(found[path]["sha256"] == one["sha256"] for path, one in listed.items())
    assert all(found[path]["size"] == one["size"] for path, one in listed.items())
    files = summary["files"]
    assert files["found"] == files["hashed"] + files["skipped"] == len(found)


def test_event_logs_have_the_rows_that_independent_tools_count(case, expected):
    home, _ = case
    counts = {
        one["path"]: one["n"]
        for one in rows(
            home,
            "SELECT f.path, count(e._cf_row) AS n FROM files f LEFT JOIN evtx_events e"
            " ON e._cf_source_hash = f.source_hash GROUP BY f.path",
        )
    }
    differences = {}
    for one in expected["files"]:
        if one["kind"] == "evtx":
            wanted = one["figures"]["evtx"]["records"]
            if one["path"] in EXPLAINED:
                wanted, _why = EXPLAINED[one["path"]]
            else:
                assert one["figures"]["agree"], f"{one['path']} needs an explanation"
            if counts[one["path"]] != wanted:
                differences[one["path"]] = (counts[one["path"]], wanted)
    assert differences == {}


def test_accepted_and_quarantined_are_what_was_read_for_every_file_of_every_kind(case):
    home, summary = case
    on_record = {
        one["source_hash"]: (one["read"], one["accepted"], one["quarantined"])
        for one in rows(
            home,
            "SELECT DISTINCT source_hash, read, accepted, quarantined FROM files WHERE read > 0",
        )
    }
    accepted, quarantined = defaultdict(int), defaultdict(int)
    for name in summary["tables"]:
        for table, counts in ((name, accepted), (f"{name}_quarantine", quarantined)):
            for one in rows(
                home, f'SELECT _cf_source_hash AS h, count(*) AS n FROM "{table}" GROUP BY h'
            ):
                counts[one["h"]] += one["n"]

    assert {
        h: (accepted[h] + quarantined[h], accepted[h], quarantined[h])
        for h in accepted.keys() | quarantined.keys()
    } == on_record


def test_no_kind_of_damage_makes_a_job_fail(case):
    _, summary = case
    assert summary["jobs"]["failed"] == summary["jobs"]["cancelled"] == 0


def test_a_second_run_does_nothing_and_says_why(case, evidence):
    home, first = case
    done = casparian(home, "run", str(evidence), "--json")
    again = json.loads(done.stdout.splitlines()[-1])

    assert again["plan"]["runs"] == []
    assert sum(again["jobs"].values()) == 0
    assert again["scans"]["hashed"] == 0
    assert again["tables"] == first["tables"]
    assert (
        sum(
            one["files"]
            for one in again["plan"]["rest"]
            if one["reason"].startswith("done already")
        )
        > 100
    )
