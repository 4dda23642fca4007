"""The main job over the real evidence, from an empty home: how long, how many rows, and what a rerun costs.

    python tests/bench/bench_run.py [EVIDENCE]

Start of the program and of the workers included. The baseline is the bare read of the same files with
both hashes, in one loop of one process.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import blake3

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = Path(os.environ.get("CASPARIAN_TEST_EVIDENCE") or ROOT.parent / "shared" / "evidence")


def timed_run(home: Path, evidence: Path) -> tuple[float, dict]:
    command = [
        sys.executable,
        "-m",
        "casparian",
        "--home",
        str(home),
        "run",
        str(evidence),
        "--json",
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT / "desktop")}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, env=env)
    seconds = time.perf_counter() - started
    return seconds, json.loads(done.stdout.splitlines()[-1])


def bare_hashing(evidence: Path) -> float:
    started = time.perf_counter()
    for path in evidence.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            hashlib.sha256(data).hexdigest()
            blake3.blake3(data).hexdigest()
    return time.perf_counter() - started


def main() -> None:
    evidence = Path(sys.argv[1]) if len(sys.argv) > 1 else EVIDENCE
    if not evidence.is_dir():
        print(f"run: no evidence in {evidence}; name a folder")
        return
    bare = bare_hashing(evidence)
    with tempfile.TemporaryDirectory(prefix="casparian-bench-") as folder:
        first, summary = timed_run(Path(folder), evidence)
        second, again = timed_run(Path(folder), evidence)
    rows = sum(one["rows"] for one in summary["tables"].values())
    quarantined = sum(one["quarantined"] for one in summary["tables"].values())
    files = summary["files"]
    print(
        f"run: {files['found']:,} files, {rows:,} rows, {quarantined:,} in quarantine, {first:.2f} s"
    )
    print(f"run: of which without the program's start {summary['seconds']:.2f} s")
    print(f"run: {first / bare:.1f} times the bare hashing of the same files ({bare:.2f} s)")
    print(
        f"rerun: {second:.2f} s, {second / first:.2f} of the first; {len(again['plan']['runs'])} parsers ran"
    )


if __name__ == "__main__":
    main()
