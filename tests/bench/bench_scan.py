"""How fast evidence is scanned, against hashing alone in the same run.

Prints ratios: 1.0 means that walking, telling kinds and recording cost nothing on top.
    python tests/bench/bench_scan.py [--files 100000] [--megabytes 2048]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from casparian import assets
from casparian.domain.cancel import CancelToken
from casparian.domain.events import EventBus
from casparian.domain.rules import load_pack
from casparian.scout.hashing import hash_file
from casparian.scout.walk import Found, walk
from casparian.services.sinks import Sinks
from casparian.services.sources import SourceService
from casparian.services.workspaces import WorkspaceService
from casparian.settings import load
from casparian.state.database import Store

if TYPE_CHECKING:
    from collections.abc import Callable

LINE = "2024-03-05 10:%02d:%02d host sshd[%d]: Accepted publickey for user%d from 10.0.0.%d\n"


def main() -> None:
    """Make the files, take the times, print the ratios."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=100_000)
    arguments.add_argument("--megabytes", type=int, default=2048)
    arguments.add_argument("--folder", type=Path, default=None, help="where to make the files")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        for lines in (100, 8):
            small_files(Path(name) / str(lines), chosen.files, lines)
        big_file(Path(name), chosen.megabytes)


def small_files(folder: Path, count: int, lines: int) -> None:
    """Walk, hash and record many small files of so many lines and more, against hashing in one loop."""
    root = folder / "small"
    total = 0
    paths = []
    for number in range(count):
        path = root / f"{number // 500:04}" / f"log{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(
            LINE % (line % 60, number % 60, number, line, number % 250)
            for line in range(lines + number * 37 % (lines + lines // 2))
        )
        total += path.write_text(text)
        paths.append(path)
    # The disk must not be busy with our own files while the store waits for it.
    os.sync()
    print(f"{count:,} files, {total / count:,.0f} bytes each")

    names = [os.fsencode(path) for path in paths]
    hash_alone(names)
    # In turns, so that whatever else the machine does falls on all of them.
    rounds = [
        (seconds(hash_alone, names), seconds(scan, root), *by_the_service(folder / str(turn), root))
        for turn in range(3)
    ]
    alone, walked, first, again = map(min, zip(*rounds, strict=True))
    print(f"  hashing alone in one loop      {count / alone:9,.0f} files/s")
    report("  walk, hash, tell kinds         ", count, walked, alone)
    report("  the same into the state store  ", count, first, alone)
    print(f"  rescan of unchanged files      {count / again:9,.0f} files/s")


def by_the_service(home: Path, root: Path) -> tuple[float, float]:
    """Return the seconds of a first scan and a rescan by the program's own service, in a new home.

    The service alone: nothing listens on its bus, so no catalog is made after the scan.
    """
    settings = load(home, {})
    store, bus = Store(settings.state_path), EventBus()
    rules = load_pack(assets.text("rules.toml"))
    workspace = WorkspaceService(store, bus, Sinks(settings, store), rules).default()
    sources = SourceService(store, bus)
    [source] = sources.add(workspace.id, [os.fsencode(root)])
    times = [seconds(lambda: sources.scan(source.id, cancel=CancelToken())) for _ in range(2)]
    store.close()
    return times[0], times[1]


def report(what: str, count: int, taken: float, baseline: float) -> None:
    """Print one line with its ratio."""
    print(f"{what}{count / taken:9,.0f} files/s   ratio {baseline / taken:.2f}")


def hash_alone(paths: list[bytes]) -> None:
    """Do the least: open, read, both hashes."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (the bare loop)
            content = file.read()
        blake3(content).hexdigest()
        hashlib.sha256(content).hexdigest()


def scan(root: Path) -> None:
    """Walk and hash, without recording."""
    cancel = CancelToken()
    raw = os.fsencode(root)
    for found in walk(raw, is_folder=True, cancel=cancel):
        assert isinstance(found, Found)
        hash_file(raw + b"/" + found.path_bytes, cancel)


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
    rounds = [
        (seconds(plain), seconds(hash_file, os.fsencode(path), CancelToken())) for _ in range(3)
    ]
    alone, both = map(min, zip(*rounds, strict=True))
    size = megabytes / 1000
    print(f"one file of {megabytes:,} MB")
    print(f"  plain SHA-256                  {size / alone:9.2f} GB/s")
    print(f"  both hashes and the kind       {size / both:9.2f} GB/s   ratio {alone / both:.2f}")


def seconds(act: Callable[..., object], *arguments: object) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
