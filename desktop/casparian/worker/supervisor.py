"""One worker process, kept honest: started, listened to, watched, and ended with all it started.

A worker that crashes, goes silent, makes no progress or breaks the protocol is killed with its whole
process group, and what happened becomes a `Died` that names the file in flight: the caller marks that
file failed and gives the rest to a fresh worker. Nothing that a worker says is believed unchecked.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from casparian import __version__
from casparian.domain.errors import EnvironmentProblem
from casparian.domain.evidence import shown_text
from casparian.worker import messages as wire
from casparian.worker.child import MEMORY_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.domain.cancel import CancelToken

logger = logging.getLogger(__name__)

WORKER_PROCESS = "worker-process"
"""The argument that makes the program one of its own workers (see `__main__`)."""
POLL_S = 0.05
GRACE_S = 1.0
STDERR_TAIL_BYTES = 16 * 1024
STDERR_LIMIT_BYTES = 64 * 1024 * 1024

_NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)
_KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "WINDIR", "TEMP", "TMP", "TMPDIR", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """When a worker is ended."""

    silence_s: float
    stall_s: float
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Died:
    """A worker ended before its run did."""

    file_id: str
    """The file in flight; empty where none was."""
    message: str
    """What happened, as a sentence without its full stop."""
    stderr_tail: str


def worker_command() -> list[str]:
    """How this program starts itself as a worker; the one place that knows frozen from source."""
    if getattr(sys, "frozen", False):
        program = Path(sys.executable)
        if os.name == "nt":
            # The window is a program without streams there; the one beside it has them.
            program = program.with_name("casparian.exe")
        return [str(program), WORKER_PROCESS]
    return [sys.executable, "-m", "casparian", WORKER_PROCESS]


class WorkerProcess:
    """A child process that parses; used by one thread at a time."""

    def __init__(self, limits: WorkerLimits, command: list[str] | None = None) -> None:
        """Start the process.

        Raises:
            EnvironmentProblem: it cannot be started.
        """
        self._limits = limits
        self._inbox: queue.SimpleQueue[wire.Up | str | None] = queue.SimpleQueue()
        self._tail: collections.deque[bytes] = collections.deque()
        self._tail_bytes = 0
        self._ended = False
        try:
            self._process = subprocess.Popen(  # noqa: S603  (our own program)
                command or worker_command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(limits),
                # A group of its own: a kill reaches whatever the parser may have started.
                start_new_session=os.name == "posix",
                creationflags=_NO_WINDOW,
            )
        except OSError as error:
            raise EnvironmentProblem("A worker process could not be started", str(error)) from error
        # Each thread owns its pipe and closes it; both end when the process group has ended.
        self._readers = [
            threading.Thread(target=target, args=(pipe,), daemon=True)
            for target, pipe in (
                (self._listen, self._process.stdout),
                (self._drain, self._process.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The operating system's number of the process."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether another run can be given to it."""
        return not self._ended and self._process.poll() is None

    def run(
        self, run: wire.Run, on_message: Callable[[wire.Up], None], cancel: CancelToken
    ) -> wire.Staged | Died:
        """Let the worker do a run, and tell what it says on the way.

        Raises:
            Cancelled: the token was set; the process is gone.
            EnvironmentProblem: the run cannot go on, and no file is to blame.
        """
        watch = _Watch(self._limits)
        try:
            self._send(run)
            while True:
                cancel.check()
                message = self._next()
                if message is _SILENCE:
                    if reason := watch.overdue():
                        return self._died(watch.file_id, reason)
                    continue
                if message is None or isinstance(message, str):
                    return self._died(watch.file_id, message or self._how_it_ended())
                watch.heard(message)
                if isinstance(message, wire.RunFailed):
                    raise EnvironmentProblem(  # noqa: TRY301  (the process is killed below)
                        "The job could not go on", message.message, retryable=True
                    )
                if isinstance(message, wire.Hello) and message.version != __version__:
                    return self._died("", f"the worker is of version {message.version}")
                if isinstance(message, wire.Staged):
                    return message
                on_message(message)
        except OSError as error:
            return self._died(watch.file_id, f"its input broke ({error}); {self._how_it_ended()}")
        except BaseException:
            self.kill()
            raise

    def greet(self) -> int:
        """Wait for a fresh worker's first word; return its pid.

        Raises:
            EnvironmentProblem: it does not start.
        """
        try:
            message = self._inbox.get(timeout=self._limits.silence_s)
        except queue.Empty:
            message = None
        if not isinstance(message, wire.Hello):
            tail = b"".join(self._tail).decode("utf-8", "replace")[-500:]
            raise EnvironmentProblem("A worker process does not start", tail)
        return message.pid

    def stop(self) -> None:
        """Let an idle worker end, and see to it that it does."""
        with contextlib.suppress(OSError):
            self._send(wire.Stop())
        self._end(GRACE_S)

    def kill(self) -> None:
        """End the process and everything it started, now."""
        self._end(0)

    def _send(self, message: wire.Down) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise AssertionError("the worker was started without a pipe")
        stdin.write(wire.encode(message) + b"\n")
        stdin.flush()

    def _next(self) -> wire.Up | str | None:
        try:
            return self._inbox.get(timeout=POLL_S)
        except queue.Empty:
            return _SILENCE

    def _listen(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(wire.MAX_LINE_BYTES):
                if not line.endswith(b"\n"):
                    self._inbox.put("it sent a message that is too long")
                    return
                try:
                    self._inbox.put(wire.decode_up(line))
                except msgspec.MsgspecError as error:
                    self._inbox.put(f"it broke the protocol ({error})")
                    return
            self._inbox.put(None)

    def _drain(self, pipe: IO[bytes]) -> None:
        seen = 0
        with pipe:
            while block := os.read(pipe.fileno(), 65_536):
                seen += len(block)
                self._tail.append(block)
                self._tail_bytes += len(block)
                while self._tail_bytes - len(self._tail[0]) > STDERR_TAIL_BYTES:
                    self._tail_bytes -= len(self._tail.popleft())
                if seen > STDERR_LIMIT_BYTES:
                    self._inbox.put("it flooded its error output")
                    return

    def _died(self, file_id: str, message: str) -> Died:
        self.kill()
        tail = b"".join(self._tail).decode("utf-8", "replace")[-STDERR_TAIL_BYTES:]
        shown = "\n".join(shown_text(line) for line in tail.splitlines())
        logger.warning("worker %s: %s", self.pid, message)
        return Died(file_id, message, shown)

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        if status < 0:
            try:
                return f"it was ended by {signal.Signals(-status).name}"
            except ValueError:
                return f"it was ended by signal {-status}"
        return f"it ended with exit code {status}"

    def _end(self, grace_s: float) -> None:
        self._ended = True
        if grace_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        _kill_group(self._process)
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        for reader in self._readers:
            reader.join(GRACE_S)


class _Watch:
    """Since when the worker is silent, and since when it reads no further."""

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._heard_at = self._moved_at = time.monotonic()
        self._at: tuple[str, int, int] = ("", 0, 0)
        self.file_id = ""

    def heard(self, message: wire.Up) -> None:
        self._heard_at = time.monotonic()
        if isinstance(message, wire.FileStarted):
            self.file_id = message.file_id
        elif isinstance(message, wire.FileDone | wire.FileFailed):
            self.file_id = ""
        at = (
            (message.file_id, message.done_bytes, message.rows)
            if isinstance(message, wire.Alive)
            else None
        )
        if at != self._at:
            self._at = at or self._at
            self._moved_at = self._heard_at

    def overdue(self) -> str:
        now = time.monotonic()
        if now - self._heard_at > self._limits.silence_s:
            return f"it was silent for {self._limits.silence_s:g} s"
        if now - self._moved_at > self._limits.stall_s:
            return f"it read no further for {self._limits.stall_s:g} s"
        return ""


_SILENCE = "silence"


def _environment(limits: WorkerLimits) -> dict[str, str]:
    """Nothing of the user's environment that a parser could spy out."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    package_root = str(Path(__file__).resolve().parents[2])
    return kept | {
        MEMORY_VARIABLE: str(limits.memory_mb),
        "PYTHONPATH": package_root,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONIOENCODING": "utf-8",
        # Arrow's allocator would claim 1 GiB at once, which the limit on memory counts as used.
        "MIMALLOC_ARENA_EAGER_COMMIT": "0",
        # Threads of a library's own would fight over the cores with the other workers.
        "OMP_NUM_THREADS": "1",
    }


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return
    # By its path: Windows looks for a bare name in the current folder too, and evidence may lie there.
    tool = os.environ.get("SYSTEMROOT", r"C:\Windows") + r"\System32\taskkill.exe"
    with contextlib.suppress(OSError):
        subprocess.run(  # noqa: S603
            [tool, "/F", "/T", "/PID", str(process.pid)],
            check=False,
            capture_output=True,
            creationflags=_NO_WINDOW,
        )
    # Where that tool may not be run, at least the worker itself ends.
    with contextlib.suppress(OSError):
        process.kill()
