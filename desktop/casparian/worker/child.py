"""The worker process: reads evidence with one parser at a time and stages what it gives.

It gets paths of evidence and a staging folder, and nothing else: no credentials, no state store. The
wire is a private copy of stdout; whatever a library prints goes to stderr instead. A thread of its own
says every second that the process lives; another ends the process when the supervisor is gone, so
that no worker outlives the program. A file is checked again after reading: evidence that changed
under the parser gives no rows.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import stat
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from casparian import __version__, parsers
from casparian.api import Batch
from casparian.domain.errors import CasparianError, EnvironmentProblem, ParserFault
from casparian.worker import messages as wire
from casparian.worker.parts import MAX_NOTES
from casparian.worker.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casparian.api import Parser, Rejected

logger = logging.getLogger(__name__)

ALIVE_EVERY_S = 1.0
MEMORY_VARIABLE = "CASPARIAN_WORKER_MEMORY_MB"


def main() -> NoReturn:
    """Serve runs until told to stop or the supervisor is gone.

    Ends the process itself: the thread that waits on stdin would keep the interpreter from closing.
    """
    try:
        _serve()
    except BaseException:  # noqa: BLE001  (reported, then the process ends)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _serve() -> None:
    uplink = _claim_stdout()
    _limit_memory()
    # A parser makes millions of short-lived objects and few cycles: collect rarely.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    worker = _Worker(uplink)
    inbox: queue.SimpleQueue[wire.Down] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()
    threading.Thread(target=worker.keep_saying_alive, daemon=True).start()
    worker.send(wire.Hello(os.getpid(), __version__))
    while True:
        message = inbox.get()
        if isinstance(message, wire.Stop):
            return
        worker.run(message)


def _claim_stdout() -> BinaryIO:
    """Keep stdout for the wire and give everybody else stderr."""
    uplink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return uplink


def _limit_memory() -> None:
    limit = os.environ.get(MEMORY_VARIABLE)
    if limit and sys.platform == "linux":
        import resource

        size = int(limit) * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _listen(inbox: queue.SimpleQueue[wire.Down]) -> None:
    for line in sys.stdin.buffer:
        inbox.put(wire.decode_down(line))
    # The supervisor is gone: nobody will want what is being read.
    os._exit(0)


class _Worker:
    """One run after the other, and what there is to say about them."""

    def __init__(self, uplink: BinaryIO) -> None:
        self._uplink = uplink
        self._lock = threading.Lock()
        self._context: _Context | None = None
        self._bytes_before = 0
        self._rows = 0

    def send(self, message: wire.Up) -> None:
        line = wire.encode(message) + b"\n"
        with self._lock:
            self._uplink.write(line)
            self._uplink.flush()

    def keep_saying_alive(self) -> None:
        tick = threading.Event()
        while not tick.wait(ALIVE_EVERY_S):
            self._say_alive()

    def _say_alive(self) -> None:
        context = self._context
        file_id, read = (context.file_id, context.done_bytes) if context else ("", 0)
        self.send(wire.Alive(file_id, self._bytes_before + read, self._rows))

    def run(self, run: wire.Run) -> None:
        self._bytes_before = self._rows = 0
        try:
            parser = parsers.load(run.parser)()
            staging = Staging(run, parser, Path(run.staging))
            for spec in run.files:
                self._read(parser, staging, spec)
            self.send(wire.Staged(staging.finish()))
        except EnvironmentProblem as error:
            self.send(wire.RunFailed(str(error)))
        except OSError as error:
            self.send(wire.RunFailed(f"The staging folder cannot be written: {error}."))

    def _read(self, parser: Parser, staging: Staging, spec: wire.FileSpec) -> None:
        self.send(wire.FileStarted(spec.file_id))
        context = self._context = _Context(self, spec)
        file = staging.file(spec)
        try:
            with _open(spec) as source:
                for item in _guarded(parser, source, context):
                    self._rows += item.rows.num_rows if isinstance(item, Batch) else 1
                    file.add(item)
                _check_unchanged(source, spec)
            self.send(file.done(context.notes))
        except ParserFault as error:
            file.discard()
            self.send(wire.FileFailed(spec.file_id, str(error)))
        self._context = None
        self._bytes_before += spec.size_bytes


class _Context:
    """What the parser may ask and say while it reads a file."""

    def __init__(self, worker: _Worker, spec: wire.FileSpec) -> None:
        self._worker = worker
        self._spec = spec
        self.file_id = spec.file_id
        self.path = os.fsdecode(spec.path)
        self.name = spec.shown.rpartition("/")[2]
        self.size_bytes = spec.size_bytes
        self.done_bytes = 0
        self.notes: list[str] = []

    def warn(self, message: str, offset: int | None = None) -> None:
        self._worker.send(wire.Warned(self.file_id, message[:2000], offset))
        if len(self.notes) < MAX_NOTES:
            self.notes.append(message[:2000])

    def progress(self, done_bytes: int) -> None:
        self.done_bytes = min(max(done_bytes, self.done_bytes), self.size_bytes)


def _guarded(parser: Parser, source: BinaryIO, context: _Context) -> Iterator[Batch | Rejected]:
    """Turn whatever the parser raises into a fault of this file; what staging raises is not."""
    items: Iterator[Batch | Rejected] | None = None
    while True:
        try:
            items = parser.parse(source, context) if items is None else items
            item = next(items, None)
        except CasparianError as error:
            raise ParserFault(error.title, error.detail, error.hint) from error
        except Exception as error:
            logger.exception("the parser raised")
            kind = type(error).__name__
            raise ParserFault("The parser could not read the file", f"{kind}: {error}") from error
        if item is None:
            return
        yield item


def _open(spec: wire.FileSpec) -> BinaryIO:
    """Open evidence for reading only, if it is still the file that was hashed."""
    flags = os.O_RDONLY
    for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"):
        flags |= getattr(os, name, 0)
    try:
        source = os.fdopen(os.open(spec.path, flags), "rb")
    except OSError as error:
        raise ParserFault("The file could not be opened", error.strerror or str(error)) from error
    try:
        _check_unchanged(source, spec)
    except BaseException:
        source.close()
        raise
    return source


def _check_unchanged(source: BinaryIO, spec: wire.FileSpec) -> None:
    facts = os.fstat(source.fileno())
    if not stat.S_ISREG(facts.st_mode):
        raise ParserFault("The file is not a regular file any more")
    if (facts.st_size, facts.st_mtime_ns) != (spec.size_bytes, spec.mtime_ns):
        raise ParserFault(
            "The file has changed since it was hashed",
            f"then {spec.size_bytes:,} bytes, now {facts.st_size:,}",
            "Scan its source again",
        )
