"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from casparian import cli

ROOT = Path(__file__).resolve().parents[1]
CSV = "when,what,n\n2024-01-01 10:00:00,=one,1\n2024-01-01 10:00:01,two,2\nragged\n"


@pytest.fixture
def casparian(tmp_path, capsysbinary):
    """Run the program in this process; return exit code, stdout and stderr."""

    def casparian(*arguments):
        request = cli.parse(["--home", str(tmp_path / "home"), *map(str, arguments)])
        code = cli.main(request)
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return casparian


@pytest.fixture
def ran(casparian, case):
    folder = case(log__csv=CSV, note__txt="nothing")
    code, out, _ = casparian("run", folder, "--json")
    return folder, code, json.loads(out.splitlines()[-1])


def test_run_ends_with_one_object_that_sums_it_up(ran):
    _, code, summary = ran

    assert code == 0
    assert summary["files"] == {"found": 2, "hashed": 2, "skipped": 0, "unclaimed": 1}
    assert summary["jobs"] == {"succeeded": 0, "partial": 1, "failed": 0, "cancelled": 0}
    assert summary["tables"] == {"log": {"rows": 2, "quarantined": 1}}
    assert summary["seconds"] > 0
    assert summary["problems"] == []


def test_run_as_text_names_tables_and_what_is_not_read(casparian, case):
    code, out, err = casparian("run", case(log__csv=CSV, note__txt="nothing"))

    assert code == 0
    assert "2 files found, 2 hashed, 0 skipped, 1 unclaimed" in out
    assert (
        "not read: 1 files, because no rule gives it a tag that a parser reads (kind text)" in out
    )
    assert "log" in out
    assert err == ""


def test_a_file_that_cannot_be_read_is_exit_code_4(casparian, case):
    folder = case(log__csv=CSV)
    (folder / "log.evtx").write_bytes(b"ElfFile\0" + b"\0" * 50)

    code, out, _ = casparian("run", folder, "--json")

    summary = json.loads(out.splitlines()[-1])
    assert code == 4
    assert any(one.startswith("log.evtx: failed:") for one in summary["problems"])
    assert summary["tables"] == {"log": {"rows": 2, "quarantined": 1}}


def test_a_path_that_is_not_there_is_exit_code_2(casparian):
    code, out, err = casparian("run", "/nowhere/at/all")

    assert (code, out) == (2, "")
    assert err.startswith("/nowhere/at/all is not there\n")


def test_a_home_that_cannot_be_made_is_exit_code_3(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")

    code = cli.main(cli.parse(["--home", str(tmp_path / "file"), "tables"]))

    assert code == 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_is_exit_code_70(casparian, monkeypatch):
    monkeypatch.setitem(cli._VERBS, "tables", lambda *_: 1 / 0)

    code, _, err = casparian("tables")

    assert code == 70
    assert "This is a bug in Casparian Flow" in err


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '/tmp/evil.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/evil.csv'",
        "ATTACH '/tmp/evil.duckdb'",
        "SET threads = 1",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_what_is_not_one_select_is_refused(casparian, ran, sql):
    code, out, err = casparian("query", sql)

    assert (code, out) == (2, "")
    assert err
    assert not Path("/tmp/evil.csv").exists()


def test_query_prints_a_table_and_says_when_it_is_cut(casparian, ran):
    code, out, err = casparian("query", "SELECT n, what FROM log ORDER BY n", "--limit", "1")

    assert code == 0
    assert out.splitlines() == ["n  what", "1  =one"]
    assert "Only the first 1 rows are shown" in err


@pytest.mark.parametrize(
    ("fmt", "wanted"),
    [
        ("csv", "n,what\n1,'=one\n2,two\n"),
        ("json", '[\n{"n":1,"what":"=one"},\n{"n":2,"what":"two"}\n]\n'),
        ("jsonl", '{"n":1,"what":"=one"}\n{"n":2,"what":"two"}\n'),
    ],
)
def test_query_streams_whole_results(casparian, ran, fmt, wanted):
    code, out, _ = casparian("query", "SELECT n, what FROM log ORDER BY n", "--format", fmt)

    assert (code, out) == (0, wanted)


def test_raw_csv_keeps_formulas(casparian, ran):
    _, out, _ = casparian("query", "SELECT what FROM log ORDER BY n", "--format", "csv", "--raw")

    assert out == "what\n=one\ntwo\n"


def test_export_writes_a_file_and_a_manifest_that_names_the_evidence(casparian, ran, tmp_path):
    target = tmp_path / "log.parquet"

    code, out, _ = casparian("export", "log", "-o", target, "--json")

    [facts] = json.loads(out)
    manifest = json.loads(Path(facts["manifest"]).read_text())
    assert (code, facts["rows"], pq.read_metadata(target).num_rows) == (0, 2, 2)
    text = json.dumps(manifest)
    assert facts["sha256"] in text
    assert str(ran[0] / "log.csv") in text


def test_export_does_not_overwrite_unless_told(casparian, ran, tmp_path):
    target = tmp_path / "log.csv"
    target.write_text("mine")

    assert casparian("export", "log", "-o", target)[0] == 2
    assert target.read_text() == "mine"
    assert casparian("export", "log", "-o", target, "--overwrite")[0] == 0
    assert target.read_text() != "mine"


def test_export_never_writes_into_evidence(casparian, ran):
    folder, _, _ = ran
    before = sorted(folder.iterdir())

    code, _, err = casparian("export", "log", "-o", folder / "log.parquet")

    assert code == 2
    assert "written into evidence" in err
    assert sorted(folder.iterdir()) == before


def test_the_lists_are_json_when_asked_for(casparian, ran):
    for verb in ("jobs", "files", "tables", "plan", "scan", "doctor"):
        code, out, _ = casparian("--json", verb)
        assert code == 0, verb
        assert json.loads(out), verb


def test_every_verb_has_help_and_is_described(capsys):
    for verb in cli.ALL_VERBS:
        with pytest.raises(SystemExit) as ended:
            cli.parse([verb, "--help"])
        assert ended.value.code == 0
        assert verb in capsys.readouterr().out


def test_a_job_log_can_be_read(casparian, ran):
    _, out, _ = casparian("--json", "jobs")
    [job] = json.loads(out)

    _, log, _ = casparian("jobs", "--log", job["job"])

    assert "delimited" in log
    assert "1 in quarantine" in log


def test_a_catalog_that_was_deleted_is_rebuilt(casparian, ran, tmp_path):
    (tmp_path / "home" / "query.duckdb").unlink()

    assert casparian("catalog", "rebuild")[0] == 0
    assert (
        casparian("query", "SELECT count(*) AS n FROM log", "--format", "jsonl")[1] == '{"n":2}\n'
    )


def test_paths_alone_ask_for_the_window():
    request = cli.parse(["--home", "/tmp/h", "/evidence/one", "/evidence/two"])

    assert (request.verb, request.home, request.paths) == (
        "",
        Path("/tmp/h"),
        [b"/evidence/one", b"/evidence/two"],
    )


def test_the_program_starts_as_a_module_and_a_closed_pipe_is_no_error(ran, tmp_path):
    command = [sys.executable, "-m", "casparian", "--home", str(tmp_path / "home"), "tables"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "desktop")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("log")


def test_the_common_options_may_stand_behind_an_act():
    from casparian import cli

    for arguments in (
        ["--json", "route", "list"],
        ["route", "--json", "list"],
        ["route", "list", "--json"],
    ):
        assert cli.parse(arguments).options.json is True
    assert str(cli.parse(["config", "test", "--home", "/h"]).home) == "/h"
