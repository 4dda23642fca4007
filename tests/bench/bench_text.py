"""How fast text becomes rows, against Python's own readers over the same file in the same run.

Prints ratios: 1.0 means as fast as the csv or json module alone, which neither check lines nor make columns.
    python tests/bench/bench_text.py [--rows 200000]
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casparian.api import Batch
from casparian.parsers.delimited import Delimited
from casparian.parsers.jsonlines import JsonLines

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.api import Parser


@dataclass
class Context:
    """What a parser may ask for; it says nothing here."""

    size_bytes: int
    path: str = ""
    name: str = "bench"

    def warn(self, message: str, offset: int | None = None) -> None:
        """Nobody listens."""

    def progress(self, done_bytes: int) -> None:
        """Nobody watches."""


NAMES = ["id", "at", "path", "flag", "deleted", "size", "ratio", "note", "address", "tag"]


def main() -> None:
    """Make the files, take the times, print the ratios."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=200_000)
    rows = arguments.parse_args().rows
    for name, note in (("CSV", "some text"), ("CSV, quotes in every row", 'some "text"')):
        data = delimited(rows, note)
        compare(
            name,
            Delimited(),
            data,
            lambda data=data: sum(1 for _ in csv.reader(io.StringIO(data.decode()))),
        )
    records = [dict(zip(NAMES, row, strict=True)) for row in table(rows, "some text")]
    lines = "\n".join(map(json.dumps, records)).encode()
    compare(
        "JSON Lines",
        JsonLines(),
        lines,
        lambda: sum(1 for line in lines.split(b"\n") if json.loads(line)),
    )
    whole = json.dumps({"Records": records}).encode()
    compare("JSON list", JsonLines(), whole, lambda: len(json.loads(whole)["Records"]))


def table(rows: int, note: str) -> list[list[object]]:
    """Rows of every type that text may hold."""
    return [
        [n, f"2022-03-10 16:33:{n % 60:02}.{n % 1000:03}", f"C:\\Windows\\file{n}.exe", "NA", n % 2 == 0,
         n * 7919, n / 7, note, "192.168.1.1", ""]
        for n in range(rows)
    ]  # fmt: skip


def delimited(rows: int, note: str) -> bytes:
    """The same as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([NAMES, *table(rows, note)])
    return text.getvalue().encode()


def compare(name: str, parser: Parser, data: bytes, bare: Callable[[], int]) -> None:
    """Print how the parser does against the bare reader, in processor time."""
    start = time.process_time()
    bare()
    between = time.process_time()
    rows = sum(
        one.rows.num_rows
        for one in parser.parse(io.BytesIO(data), Context(size_bytes=len(data)))
        if isinstance(one, Batch)
    )
    taken = time.process_time() - between
    print(
        f"{name:26} {rows / taken:>11,.0f} rows/s, {(between - start) / taken:.2f} of the bare reader"
    )


if __name__ == "__main__":
    main()
