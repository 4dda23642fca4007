"""How fast event logs become typed Parquet, against merely iterating the library over the same log.

Prints ratios: 1.0 means that columns, contract, lineage and Parquet cost nothing on top. The worker is the
program's own, told what to read by its own messages; its start is not counted.
    python tests/bench/bench_evtx.py [--records 1000000] [--rounds 3] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import msgspec

from casparian.parsers.evtx import EvtxParser
from casparian.worker import messages as wire
from casparian.worker.supervisor import worker_command

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 65_536
HEADER = 4_096
HOST_1 = "hosts/DESKTOP-TMKU40H/C/Windows/System32/winevt/Logs/"
HOST_2 = "hosts/WIN-FUDU2CKJOE8/C/Windows/System32/winevt/Logs/"
LOGS = (
    f"{HOST_1}Security.evtx",
    f"{HOST_1}System.evtx",
    f"{HOST_1}Application.evtx",
    f"{HOST_1}Microsoft-Windows-Sysmon%4Operational.evtx",
    f"{HOST_1}Microsoft-Windows-Windows Defender%4Operational.evtx",
    f"{HOST_2}Security.evtx",
    f"{HOST_2}System.evtx",
    f"{HOST_2}Microsoft-Windows-Sysmon%4Operational.evtx",
    "evtx-edge-cases/security_bad_string_cache.evtx",
)
ITERATE = """
import sys, time
from evtx import PyEvtxParser
start = time.perf_counter()
for record in PyEvtxParser(sys.argv[1]).records_json():
    pass
print(time.perf_counter() - start)
"""
decode = msgspec.json.Decoder(wire.Up).decode


def main() -> None:
    """Make the log, take the times in turn, print the ratios of the best."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=1_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--folder", type=Path, default=None, help="where to make the logs")
    arguments.add_argument("--evidence", type=Path, default=None, help="the real evidence set")
    chosen = arguments.parse_args()
    evidence = chosen.evidence or Path(
        os.environ.get("CASPARIAN_TEST_EVIDENCE") or ROOT.parent / "shared" / "evidence"
    )
    if not (evidence / LOGS[0]).is_file():
        print(
            f"No real event logs in {evidence}: set CASPARIAN_TEST_EVIDENCE to measure with them."
        )
        return
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        measure(Path(name), evidence, chosen.records, chosen.rounds)


def measure(folder: Path, evidence: Path, wanted: int, rounds: int) -> None:
    """Iterate, one worker, two workers: in turn, so that a busy moment falls on each."""
    log, other = folder / "a.evtx", folder / "b.evtx"
    records = make_log(evidence, log, wanted)
    os.link(log, other)
    print(f"{records:,} records, {log.stat().st_size / 1e6:,.0f} MB")
    iterated, one, two, peak = [], [], [], 0
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-c", ITERATE, str(log)], capture_output=True, check=True
        )
        iterated.append(float(done.stdout))
        seconds, size = work(folder, [log], records)
        one.append(seconds)
        peak = max(peak, size)
        seconds, size = work(folder, [log, other], records)
        two.append(seconds)
        peak = max(peak, size)
        print(
            f"  iterate {iterated[-1]:.2f} s, one worker {one[-1]:.2f} s, two workers {two[-1]:.2f} s"
        )
    print(f"iterate only:              {records / min(iterated):10,.0f} records/s")
    print(f"one worker, typed Parquet: {records / min(one):10,.0f} records/s")
    print(f"one worker / iterate only: {min(iterated) / min(one):10.2f}")
    print(f"two workers / one worker:  {2 * min(one) / min(two):10.2f}")
    print(f"peak memory of a worker:   {peak / 1e6:10,.0f} MB")


def work(folder: Path, logs: list[Path], records: int) -> tuple[float, int]:
    """Seconds that workers take for a log each, side by side; and the peak memory of the largest."""
    workers = [
        subprocess.Popen(worker_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in logs
    ]
    for worker in workers:
        worker.stdout.readline()  # hello
    with tempfile.TemporaryDirectory(dir=folder) as staging:
        start = time.perf_counter()
        for number, (worker, log) in enumerate(zip(workers, logs, strict=True)):
            target = Path(staging) / str(number)
            target.mkdir()
            worker.stdin.write(wire.encode(order(log, target)) + b"\n")
            worker.stdin.flush()
        for worker in workers:
            parts = staged(worker)
            assert sum(part.rows for part in parts) == records
        seconds = time.perf_counter() - start
    sizes = []
    for worker in workers:
        worker.stdin.write(wire.encode(wire.Stop()) + b"\n")
        worker.stdin.close()
        _, status, usage = os.wait4(worker.pid, 0)
        assert status == 0
        worker.returncode = 0
        worker.stdout.close()
        sizes.append(usage.ru_maxrss * 1024)
    return seconds, max(sizes)


def staged(worker: subprocess.Popen[bytes]) -> list[wire.Part]:
    """Hear a worker out until its parts are complete."""
    for line in worker.stdout:
        message = decode(line)
        if isinstance(message, wire.Staged):
            return message.parts
        if isinstance(message, wire.FileFailed | wire.RunFailed):
            raise SystemExit(message.message)
    raise SystemExit("the worker ended")


def order(log: Path, target: Path) -> wire.Run:
    """The message that has a worker read one log."""
    facts = log.stat()
    spec = wire.FileSpec(
        "f", os.fsencode(log), log.name, "0" * 64, facts.st_size, facts.st_mtime_ns
    )
    contracts = {
        one.name: [
            wire.ColumnSpec(column.name, column.type, column.nullable) for column in one.columns
        ]
        for one in EvtxParser.outputs
    }
    return wire.Run(
        "job", EvtxParser.name, str(target), time.time_ns() // 1_000, [spec], contracts, {}
    )


def make_log(evidence: Path, target: Path, records: int) -> int:
    """Write a log of at least so many records out of real chunks, repeated; return how many it has."""
    chunks = [one for name in LOGS for one in sound_chunks((evidence / name).read_bytes())]
    header = bytearray((evidence / LOGS[0]).read_bytes()[:HEADER])
    made = count = 0
    with target.open("wb") as file:
        file.write(header)
        while made < records:
            for held, chunk in chunks:
                file.write(chunk)
                made += held
            count += len(chunks)
        struct.pack_into("<QQQ", header, 8, 0, count - 1, made + 1)
        struct.pack_into("<H", header, 42, min(count, 0xFFFF))
        struct.pack_into("<I", header, 120, 0)
        struct.pack_into("<I", header, 124, zlib.crc32(header[:120]))
        file.seek(0)
        file.write(header)
    return made


def sound_chunks(log: bytes) -> list[tuple[int, bytes]]:
    """The chunks of a log whose checksums hold, each with its number of records."""
    found = []
    for at in range(HEADER, len(log) - CHUNK + 1, CHUNK):
        chunk = log[at : at + CHUNK]
        if chunk[:8] != b"ElfChnk\0":
            continue
        first, last, _, _, _, _, free, data_crc = struct.unpack_from("<4Q4I", chunk, 8)
        header_crc = struct.unpack_from("<I", chunk, 124)[0]
        if zlib.crc32(chunk[512:free]) == data_crc and (
            zlib.crc32(chunk[:120] + chunk[128:512]) == header_crc
        ):
            found.append((last - first + 1, chunk))
    return found


if __name__ == "__main__":
    main()
