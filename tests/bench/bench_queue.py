"""How fast jobs are claimed when many programs share one queue, on sqlite and on PostgreSQL.

Every program claims as a worker slot does, and asks again at once. Prints claims a second over all of
them, how they were spread, the longest wait of a claim, and what else the machine was doing.
    python tests/bench/bench_queue.py [--jobs 4000] [--programs 8] [--folder PLACE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from casparian.domain.addresses import Address, parse
from casparian.domain.evidence import Workspace
from casparian.domain.ids import JobId, WorkspaceId, new_id
from casparian.domain.jobs import Job, JobState
from casparian.state.database import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Fill a queue on each backend, empty it, print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=4000)
    arguments.add_argument("--programs", type=int, default=8)
    arguments.add_argument("--folder", type=Path, default=None, help="where to make the stores")
    arguments.add_argument("--claim-from", default="", help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.claim_from:
        claim_all(place_of(chosen.claim_from))
        return
    from helpers.postgres import running

    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{chosen.programs} programs, {os.cpu_count()} cores, load before: {load}")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        measure("sqlite", Path(name) / "state.sqlite", chosen.jobs, chosen.programs)
    with running(synced=True) as server, server.database() as address:
        measure("PostgreSQL", address, chosen.jobs, chosen.programs)


def place_of(text: str) -> Path | Address:
    """Read what `measure` hands to its programs."""
    return parse(text, schemes=("postgres",)) if "://" in text else Path(text)


def measure(what: str, place: Path | Address, jobs: int, programs: int) -> None:
    """Let programs empty a queue, and print how it went."""
    fill(place, jobs)
    text = str(place) if isinstance(place, Path) else place.text
    command = [sys.executable, __file__, "--claim-from", text]
    claimers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(programs)
    ]
    for one in claimers:
        assert one.stdout is not None
        one.stdout.readline()
    begin, cpu = time.perf_counter(), cpu_seconds()
    for one in claimers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    told = [json.loads(one.communicate()[0]) for one in claimers]
    took = time.perf_counter() - begin
    busy = cpu_seconds() - cpu
    counts = [one["claims"] for one in told]
    assert sum(counts) == jobs, counts
    print(f"{what}: {jobs:,} claims in {took:.1f} s")
    print(f"  claims/s                       {jobs / took:9,.0f}")
    print(f"  each program                   {min(counts):9,} to {max(counts):,}")
    print(f"  longest wait of a claim        {max(one['longest'] for one in told):9.2f} s")
    used = sum(one["cpu"] for one in told)
    print(f"  their own work                 {1000 * used / jobs:9.2f} ms of a core a claim")
    print(f"  the machine was busy for       {busy / took:9.2f} of {os.cpu_count()} cores")


def fill(place: Path | Address, jobs: int) -> None:
    """Make a store with so many queued jobs."""
    with contextlib.closing(Store(place)) as store, store.write() as uow:
        uow.evidence.add_workspace(Workspace(WorkspaceId("w"), "case", "case", NOW))
        for _ in range(jobs):
            job = Job(
                JobId(new_id()), WorkspaceId("w"), "evtx", "1", "aa", JobState.QUEUED, 0, 0, NOW
            )
            uow.jobs.add(job, [])
        uow.commit()


def claim_all(place: Path | Address) -> None:
    """Claim until there is nothing left, and tell how it went."""
    claims, longest, used = 0, 0.0, 0.0
    with contextlib.closing(Store(place)) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        used -= time.process_time()
        while True:
            begin = time.perf_counter()
            with store.touch() as uow:
                found = uow.jobs.claim("host", os.getpid(), uow.now())
                uow.commit()
            longest = max(longest, time.perf_counter() - begin)
            if found is None:
                break
            claims += 1
        used += time.process_time()
    print(json.dumps({"claims": claims, "longest": longest, "cpu": used}), flush=True)


def cpu_seconds() -> float:
    """What all processes of the machine have used so far, ours among them."""
    with contextlib.suppress(OSError):
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        idle = int(fields[3]) + int(fields[4])
        return (sum(map(int, fields)) - idle) / os.sysconf("SC_CLK_TCK")
    return time.process_time()


if __name__ == "__main__":
    main()
