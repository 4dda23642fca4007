"""A parser that does to its worker whatever the file says, line by line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa

from casparian import parsers
from casparian.api import Batch, Column, Output, Parser, Rejected

NAME = "hostile"
WORKER = [sys.executable, str(Path(__file__).parent / "workers" / "hostile_worker.py")]


class HostileParser(Parser):
    """Reads `*.hostile` files: each line is a row, or one of the misdeeds below."""

    name = NAME
    version = "1"
    topics = (NAME,)
    outputs = (Output("hostile_rows", (Column("text", "string"), Column("n", "int64")), "Rows"),)

    def parse(self, source, context):
        for number, line in enumerate(source.read().decode().splitlines(), 1):
            word, _, rest = line.partition(" ")
            deed = getattr(self, f"_do_{word}", None)
            if deed is not None:
                deed(context)
            elif word == "reject":
                yield Rejected(
                    "hostile_rows", number, "bad_line", "It was asked for.", rest.encode()
                )
            else:
                rows = pa.record_batch(
                    {"text": pa.array([word]), "n": pa.array([rest or None], pa.string())}
                )
                yield Batch("hostile_rows", rows, pa.array([number], pa.int64()))

    def _do_crash(self, _context):
        os._exit(7)

    def _do_abort(self, _context):
        os.abort()

    def _do_raise(self, _context):
        raise ValueError("a bug in the parser")

    def _do_loop(self, _context):
        while True:
            time.sleep(0.01)

    def _do_freeze(self, _context):
        os.kill(os.getpid(), signal.SIGSTOP)

    def _do_print(self, _context):
        print("noise on stdout")

    def _do_flood(self, _context):
        while True:
            os.write(2, b"x" * 65536)

    def _do_garbage(self, _context):
        for descriptor in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"this is no message\n")
        time.sleep(60)

    def _do_endless(self, _context):
        for descriptor in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"y" * 6_000_000)
        time.sleep(60)

    def _do_allocate(self, _context):
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1) * (64 << 20)))

    def _do_spawn(self, context):
        code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", code])
        context.warn(f"child {child.pid}")
        os._exit(9)

    def _do_warn(self, context):
        context.warn("the header is stale", 24)


def register() -> None:
    parsers.BUILTIN[NAME] = "helpers.hostile:HostileParser"
