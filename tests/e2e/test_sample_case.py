"""The sample case through the command line: the tables, the planted faults, and the story."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "resources" / "sample"


class Program:
    """The command line over a home of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "casparian", "--home", str(self._home), *arguments]
        done = subprocess.run(
            command, cwd=ROOT / "desktop", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def query(self, sql: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self("query", sql, "--format", "json")
        return rows


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, dict[str, Any]]:
    program = Program(tmp_path_factory.mktemp("home"))
    return program, program("run", str(SAMPLE), "--json")


@pytest.fixture(scope="module")
def program(ran: tuple[Program, dict[str, Any]]) -> Program:
    return ran[0]


@pytest.fixture(scope="module")
def readme() -> str:
    return (SAMPLE / "README.md").read_text("utf-8")


def test_every_file_is_in_a_table_and_the_readme_is_told_of(
    ran: tuple[Program, dict[str, Any]],
) -> None:
    _, summary = ran

    assert summary["files"] == {"found": 9, "hashed": 9, "skipped": 0, "unclaimed": 1}
    assert {name: table["quarantined"] for name, table in summary["tables"].items()} == {
        "access_log": 3,
        "autoruns": 0,
        "browser_history": 0,
        "edr_events": 3,
        "processes": 0,
        "proxy": 0,
        "staff": 0,
        "vpn_sessions": 0,
    }
    lines = len((SAMPLE / "web01/access_log.csv").read_bytes().splitlines())
    assert summary["tables"]["access_log"]["rows"] == lines - 1 - 3


def test_quarantine_holds_exactly_the_lines_that_the_readme_names(
    program: Program, readme: str
) -> None:
    found = {
        (file, row["row_or_offset"])
        for file, table in [
            ("web01/access_log.csv", "access_log"),
            ("sensor/edr_events.jsonl", "edr_events"),
        ]
        for row in program.query(f"SELECT row_or_offset FROM {table}_quarantine")
    }

    assert len(found) == 6
    assert all(f"| `{file}` | {line} |" in readme for file, line in found)


def test_the_readmes_questions_are_answered(program: Program, readme: str) -> None:
    code = "\n".join(line.strip() for line in readme.splitlines() if line.startswith("    "))
    lines = [line for line in code.splitlines() if not line.startswith("--")]
    failed, session, started, called = [
        program.query(sql) for sql in "\n".join(lines).split(";") if sql.strip()
    ]

    assert failed[0]["client_ip"] == "203.0.113.77"
    assert [row["account"] for row in session] == ["svc_print"]
    assert [row["started_by"].rpartition("\\")[2] for row in started] == ["powershell.exe"]
    assert called[0]["host"] == "cdn-sync.example"


def test_columns_have_the_types_of_their_values(program: Program) -> None:
    types = {
        (row["table_name"], row["column_name"]): row["data_type"]
        for row in program.query(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
        )
    }

    assert types["access_log", "time"] == "TIMESTAMP WITH TIME ZONE"
    assert types["access_log", "status"] == "BIGINT"
    assert types["browser_history", "is_download"] == "BOOLEAN"
    assert types["autoruns", "last_write"] == "VARCHAR"
    assert types["vpn_sessions", "megabytes"] == "VARCHAR"
