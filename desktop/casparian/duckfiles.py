"""Who in this process has a DuckDB file open: one at a time, in the order they came.

Measured on DuckDB 2.0.0, with a file that is attached in one in-memory instance:

    same process, another instance    attached read-write: every other ATTACH fails at once (`Unique file
                                      handle conflict`). Attached read-only: so does a read-write one,
                                      while a read-only one succeeds
    another process                   many readers or one writer, else ATTACH fails at once (`Could not
                                      set lock`), naming the program that holds the lock
    DETACH                            frees the file once no cursor streams from it and no transaction
                                      that read it is open

On Linux and macOS that lock belongs to the process and is gone as soon as *anything* in the process opens
the file and closes it again: `open`, a hash, a preview, `duckdb.connect(path)` that fails, and the DETACH
of a second read-only attachment (all but the last tried). From then on another process may write to a
file that we write to. Hence the rule, for the sink and for whoever reads its file:

    Attach the file of a sink within `exclusively(path)` only; there it is the one attachment of this
    process. Do not open the file in any other way, here or elsewhere. Detach, with all cursors closed,
    before leaving.

A reader that keeps its attachment from one page to the next gives `let_go`: it is called, in the thread
of whoever comes next, each time somebody joins the queue behind it, and should make the reader leave soon
(interrupt the query, or mark the attachment as to be closed after it). It must not wait for anything.
A delivery does not let go: a reader waits for it, for as long as it cares to.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from casparian.domain.errors import EnvironmentProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from casparian.domain.cancel import CancelToken

_LetGo: TypeAlias = "Callable[[], None]"
_LOOK_S = 0.1
"""How often somebody who waits looks whether he is to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    let_go: _LetGo | None


_changed = threading.Condition()
_queues: dict[str, deque[_Turn]] = {}
"""By real path: who has the file, and who waits for it. Guarded by `_changed`."""


@contextlib.contextmanager
def exclusively(
    path: Path,
    *,
    wait_s: float | None = None,
    cancel: CancelToken | None = None,
    let_go: _LetGo | None = None,
) -> Iterator[None]:
    """Have a DuckDB file to oneself in this process; see the module for the rule.

    Not reentrant: a thread that has the file must not ask for it again.

    Args:
        path: need not exist; symbolic links are followed.
        wait_s: how long to wait for those before; None for as long as it takes.
        cancel: looked at while waiting.
        let_go: called when somebody else wants the file.

    Raises:
        EnvironmentProblem: others of this process still had it after that time; retryable.
        Cancelled: somebody asked to stop.
    """
    key, turn = os.path.realpath(path), _Turn(let_go)
    with _changed:
        queue = _queues.setdefault(key, deque())
        queue.append(turn)
        before = list(queue)[:-1]
    try:
        for one in before:
            if one.let_go is not None:
                one.let_go()
        _wait(queue, turn, path, wait_s, cancel)
        yield
    finally:
        with _changed:
            queue.remove(turn)
            if not queue:
                del _queues[key]
            _changed.notify_all()


def _wait(
    queue: deque[_Turn],
    turn: _Turn,
    path: Path,
    wait_s: float | None,
    cancel: CancelToken | None,
) -> None:
    until = None if wait_s is None else time.monotonic() + wait_s
    with _changed:
        while queue[0] is not turn:
            if cancel is not None:
                cancel.check()
            if until is not None and time.monotonic() >= until:
                raise EnvironmentProblem(
                    f"{path.name} is in use",
                    f"This program reads from {path}, or delivers to it",
                    "Try again when that is done",
                    retryable=True,
                )
            _changed.wait(_LOOK_S)
