"""A team on one queue: workers of several hosts drain it, and every row is there once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = 16


class Host:
    """A workstation of the team: a home of its own, on the state store of all."""

    def __init__(self, name, folder, address):
        self.name, self.home = name, folder / name
        self.env = os.environ | {"PYTHONPATH": str(ROOT / "desktop")}
        self.call("config", "profile", "enterprise", "--state", address, "--sink", address, "--yes")
        config = self.home / "config.toml"
        config.write_text(f"{config.read_text()}\nhost = '{name}'\nworkers = 1\nbatch_files = 1\n")

    def command(self, *arguments):
        return [sys.executable, "-m", "casparian", "--home", str(self.home), *arguments]

    def call(self, *arguments):
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, env=self.env
        )
        assert done.returncode in {0, 4}, done.stderr
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.call("--json", *arguments))

    def start(self, *arguments):
        with self.said.open("wb") as said:
            return subprocess.Popen(self.command(*arguments), stderr=said, env=self.env)

    @property
    def said(self):
        return self.home / "said.txt"


@pytest.fixture
def team(tmp_path, postgres):
    return [Host(name, tmp_path, postgres.text) for name in ("alpha", "beta", "gamma")]


@pytest.fixture
def evidence(tmp_path):
    folder = tmp_path / "evidence"
    folder.mkdir()
    for number in range(FILES):
        lines = "".join(f"{number},{line}\n" for line in range(50))
        (folder / f"part{number:02}.csv").write_text(f"part,line\n{lines}")
    return folder


def until(said, timeout_s=60):
    """Wait until something holds."""
    end = time.monotonic() + timeout_s
    while not said():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.1)


def test_several_hosts_drain_one_queue_and_a_host_that_dies_loses_nothing(
    team, evidence, postgres_server, postgres
):
    alpha, beta, gamma = team
    workers = [beta.start("worker"), gamma.start("worker")]
    try:
        for one in (beta, gamma):
            until(lambda said=one.said: "works on the queue of" in said.read_text())
        runs = alpha.start("run", str(evidence))

        def at_work():
            return {one["host"] for one in alpha.json("jobs") if one["state"] == "succeeded"}

        until(lambda: {"beta", "gamma"} & at_work())
        # It dies without a word, whatever it is at.
        workers[1].send_signal(signal.SIGKILL)
        with postgres_server.connect(postgres) as connection:
            # Its lease runs out; a test does not wait a minute for that.
            connection.execute(
                "UPDATE casparian_state.jobs SET lease_until = now() - interval '1 hour'"
                " WHERE host = 'gamma' AND state IN ('claimed', 'running', 'committing')"
            )
        assert runs.wait(120) == 0, alpha.said.read_text()
        until(lambda: all(one["state"] == "succeeded" for one in alpha.json("jobs")))
    finally:
        for one in workers:
            one.send_signal(signal.SIGINT)
            one.wait(60)

    jobs = alpha.json("jobs")
    assert len(jobs) == FILES
    assert len({one["host"] for one in jobs}) > 1
    [row] = alpha.json(
        "query", "SELECT count(*) AS n, count(DISTINCT (part, line)) AS d FROM part00"
    )
    assert row == {"n": FILES * 50, "d": FILES * 50}
    assert beta.json("tables") == alpha.json("tables")


def test_a_worker_that_cannot_reach_a_file_leaves_the_job_to_others_with_the_reason(team, evidence):
    alpha, beta, _ = team
    alpha.call("scan", str(evidence))
    alpha.call("sources", "map", str(evidence), str(evidence) + "-elsewhere", "--host", "beta")
    alpha.call("plan", "--submit")

    beta.call("worker", "--until-idle")
    waiting = alpha.json("jobs")
    assert {one["state"] for one in waiting} == {"queued"}
    assert all("beta cannot reach" in one["problem"] for one in waiting)

    alpha.call("worker", "--until-idle")
    assert {one["state"] for one in alpha.json("jobs")} == {"succeeded"}
