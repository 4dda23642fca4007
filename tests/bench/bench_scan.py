"""How fast evidence is scanned, against hashing alone in the same run.

Prints ratios: 1.0 means that walking, telling kinds and recording cost nothing on top.
    python tests/bench/bench_scan.py [--files 100000] [--megabytes 2048]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from casparian.domain.cancel import CancelToken
from casparian.scout.hashing import hash_file
from casparian.scout.walk import Found, walk

if TYPE_CHECKING:
    from collections.abc import Callable

LINE = "2024-03-05 10:%02d:%02d host sshd[%d]: Accepted publickey for user%d from 10.0.0.%d\n"
BATCH = 1000


def main() -> None:
    """Make the files, take the times, print the ratios."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=100_000)
    arguments.add_argument("--megabytes", type=int, default=2048)
    arguments.add_argument("--folder", type=Path, default=None, help="where to make the files")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        small_files(Path(name), chosen.files)
        big_file(Path(name), chosen.megabytes)


def small_files(folder: Path, count: int) -> None:
    """Walk, hash and record many small files, against hashing them in one loop."""
    root = folder / "small"
    paths = [root / f"{number // 500:04}" / f"log{number:06}.txt" for number in range(count)]
    total = 0
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [LINE % (line % 60, number % 60, number, line, number % 250) for line in range(12)]
        total += path.write_text("".join(lines))
    print(f"{count:,} files, {total / count:,.0f} bytes each")

    names = [os.fsencode(path) for path in paths]
    hash_alone(names)
    alone = best_of(3, lambda: hash_alone(names))
    print(f"  hashing alone in one loop      {count / alone:9,.0f} files/s")
    report("  walk and hash with kinds       ", count, best_of(3, lambda: scan(root, None)), alone)

    def recorded() -> None:
        (folder / "scan.sqlite").unlink(missing_ok=True)
        scan(root, folder / "scan.sqlite")

    report("  walk, hash, record in sqlite   ", count, best_of(3, recorded), alone)


def report(what: str, count: int, seconds: float, baseline: float) -> None:
    """Print one line with its ratio."""
    print(f"{what}{count / seconds:9,.0f} files/s   ratio {baseline / seconds:.2f}")


def hash_alone(paths: list[bytes]) -> None:
    """Do the least: open, read, both hashes."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (the bare loop)
            content = file.read()
        blake3(content).hexdigest()
        hashlib.sha256(content).hexdigest()


def scan(root: Path, database: Path | None) -> None:
    """Walk and hash; record in batches, if asked to."""
    cancel = CancelToken()
    raw = os.fsencode(root)
    store = sqlite3.connect(database, isolation_level=None) if database else None
    if store:
        store.execute("PRAGMA journal_mode=WAL")
        store.execute(
            "CREATE TABLE files (path TEXT UNIQUE, path_bytes BLOB, size INTEGER, mtime INTEGER,"
            " kind TEXT, source_hash TEXT, sha256 TEXT)"
        )
    rows: list[tuple[object, ...]] = []
    for found in walk(raw, is_folder=True, cancel=cancel):
        assert isinstance(found, Found)
        file = hash_file(raw + b"/" + found.path_bytes, cancel)
        rows.append(
            (
                found.path_bytes.decode(),
                found.path_bytes,
                file.size_bytes,
                file.mtime_ns,
                file.kind,
                file.source_hash,
                file.sha256,
            )
        )
        if store and len(rows) == BATCH:
            record(store, rows)
            rows = []
    if store:
        record(store, rows)
        store.close()


def record(store: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    """Insert a batch in one transaction."""
    store.execute("BEGIN")
    store.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    store.execute("COMMIT")


def big_file(folder: Path, megabytes: int) -> None:
    """Hash one big file both ways, against SHA-256 over it alone."""
    path = folder / "big.bin"
    block = os.urandom(1024 * 1024)
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(block)

    def plain() -> None:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    plain()
    alone = best_of(3, plain)
    both = best_of(3, lambda: hash_file(os.fsencode(path), CancelToken()))
    size = megabytes / 1000
    print(f"one file of {megabytes:,} MB")
    print(f"  plain SHA-256                  {size / alone:9.2f} GB/s")
    print(f"  both hashes and the kind       {size / both:9.2f} GB/s   ratio {alone / both:.2f}")


def best_of(times: int, act: Callable[[], object]) -> float:
    """Return the shortest of several times, in seconds."""
    shortest = float("inf")
    for _ in range(times):
        begin = time.perf_counter()
        act()
        shortest = min(shortest, time.perf_counter() - begin)
    return shortest


if __name__ == "__main__":
    main()
