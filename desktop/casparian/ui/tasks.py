"""How the window gets an answer without waiting for it.

    tasks.run(view, work, done)     `work` runs in a pool thread, `done(result)` in the GUI thread

There is no second way. Work is a plain function that calls a service; the answer comes back through
qasync, whose event loop is Qt's. The newest request of a view under one key wins: the reply to an older
one is dropped and its cancel token set. So is the reply to a view that is gone. `Cancelled` is never
shown; another `CasparianError` goes to `failed`; whatever else is raised is our bug and goes to
`sys.excepthook`.

qasync calls back from a timer that it stops only afterwards: a callback that runs an event loop of its
own would be called again and again. Hence nothing in the window does: dialogs are opened with
`.open()`, menus with `.popup()` (a test holds the code to it).
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

import shiboken6
from PySide6.QtCore import QObject, QRunnable, QThreadPool, QTimer, Slot
from typing_extensions import override

from casparian.domain.errors import Cancelled, CasparianError
from casparian.ui import problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.domain.cancel import CancelToken

T = TypeVar("T")
P = ParamSpec("P")


class PoolExecutor(Executor):
    """The standard library's executor over a QThreadPool of its own."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = QThreadPool()
        self._pool.setObjectName(name)
        self._pool.setMaxThreadCount(threads)
        # Threads stay: services keep connections per thread, and new threads cost more than idle ones.
        self._pool.setExpiryTimeout(-1)
        self._open = True

    @override
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if not self._open:
            raise RuntimeError("the pool is closed")
        future: Future[T] = Future()
        self._pool.start(_Work(partial(_settle, future, partial(fn, *args, **kwargs))))
        return future

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._open = False
        if cancel_futures:
            self._pool.clear()
        if wait:
            self._pool.waitForDone(-1)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing runs any more, at most that long; return whether nothing does."""
        return self._pool.waitForDone(int(seconds * 1_000))


class _Work(QRunnable):
    """Owns no QObject: one that it owned would be destroyed in the pool's thread."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work

    @override
    def run(self) -> None:
        self._work()


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  (whoever asked gets it, whatever it is)
        future.set_exception(error)
    else:
        future.set_result(result)


class Task:
    """One request on its way."""

    def __init__(self, reply: asyncio.Future[object], token: CancelToken | None) -> None:
        self._reply, self._token = reply, token

    def drop(self) -> None:
        """Ask the work to stop, and let its reply go unheard."""
        if self._token is not None:
            self._token.cancel()
        self._reply.cancel()


class Tasks(QObject):
    """Runs work for the views and brings the replies back into the GUI thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        short: Executor,
        long: Executor,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._loop, self._short, self._long = loop, short, long
        self._running: dict[tuple[int, str], Task] = {}
        self._open = True

    def run(
        self,
        owner: QObject,
        work: Callable[[], T],
        done: Callable[[T], None] | None = None,
        *,
        key: str,
        failed: Callable[[CasparianError], None] | None = None,
        token: CancelToken | None = None,
        long: bool = False,
    ) -> Task | None:
        """Run `work` off the GUI thread, then call `done` with its result.

        Args:
            owner: the view that asks; once it is gone, the reply is dropped.
            work: a function that may block; must not touch a widget.
            done: called in the GUI thread.
            key: names the request within the owner; a newer one replaces an older one. Give requests
                that must not replace each other (two exports) keys of their own.
            failed: gets a `CasparianError`; without it the problem is shown in a dialog.
            token: set when the request is replaced, dropped or the window closes.
            long: for work of more than a second or so, so that it does not keep short answers waiting.

        Returns None once the window is closing; nothing is run then.
        """
        if not self._open:
            return None
        slot = (id(owner), key)
        if (older := self._running.get(slot)) is not None:
            older.drop()
        submitted = (self._long if long else self._short).submit(work)
        reply: asyncio.Future[T] = asyncio.wrap_future(submitted, loop=self._loop)
        task = Task(reply, token)  # type: ignore[arg-type]  # a Task never looks at the result
        self._running[slot] = task
        reply.add_done_callback(partial(self._on_reply, slot, task, owner, done, failed))
        return task

    def drop(self, owner: QObject, key: str) -> None:
        """Give up a request; nothing happens if there is none."""
        if (task := self._running.get((id(owner), key))) is not None:
            task.drop()

    def close(self) -> None:
        """Take no more requests, and drop those on their way."""
        self._open = False
        for task in list(self._running.values()):
            task.drop()

    def _on_reply(
        self,
        slot: tuple[int, str],
        task: Task,
        owner: QObject,
        done: Callable[[T], None] | None,
        failed: Callable[[CasparianError], None] | None,
        reply: asyncio.Future[T],
    ) -> None:
        if self._running.get(slot) is task:
            del self._running[slot]
        # asyncio only logs what a callback raises; here it must reach the crash dialog.
        try:
            if not reply.cancelled():
                self._deliver(owner, done, failed, reply)
        except Exception:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())

    def _deliver(
        self,
        owner: QObject,
        done: Callable[[T], None] | None,
        failed: Callable[[CasparianError], None] | None,
        reply: asyncio.Future[T],
    ) -> None:
        error = reply.exception()
        if not self._open or not shiboken6.isValid(owner) or isinstance(error, Cancelled):
            return
        if error is None:
            if done is not None:
                done(reply.result())
        elif isinstance(error, CasparianError):
            if failed is not None:
                failed(error)
            else:
                problems.show(error, problems.window_of(owner))
        else:
            raise error


class Refresh(QObject, Generic[T]):
    """Keeps a view fresh while events pour in: one question at a time, and one more if it went stale.

    Asking anew at every event would drop each reply for the next, and show nothing until it is calm.
    """

    def __init__(
        self,
        tasks: Tasks,
        owner: QObject,
        ask: Callable[[], Callable[[], T]],
        done: Callable[[T], None],
        failed: Callable[[CasparianError], None],
        *,
        pause_ms: int = 250,
        long: bool = False,
    ) -> None:
        """`ask` is called in the GUI thread and returns the work, so that it can take what is current."""
        super().__init__(owner)
        self._tasks, self._ask, self._done, self._failed = tasks, ask, done, failed
        self._in_flight = self._stale = False
        self._long = long
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(pause_ms)
        self._pause.timeout.connect(self._on_pause_over)

    def soon(self) -> None:
        """Something changed: ask again, unless the question is out already."""
        if self._in_flight or self._pause.isActive():
            self._stale = True
        else:
            self.now()

    def now(self) -> None:
        """What is asked for is something else now: drop what is on its way."""
        self._in_flight, self._stale = True, False
        self._pause.stop()
        self._tasks.run(
            self,
            self._ask(),
            self._on_done,
            key="refresh",
            failed=self._on_failed,
            long=self._long,
        )

    def stop(self) -> None:
        """Nobody wants to know any more: drop what is on its way, and ask nothing until it is gone."""
        self._pause.stop()
        self._tasks.drop(self, "refresh")
        self.deleteLater()

    def _on_done(self, result: T) -> None:
        self._rest()
        self._done(result)

    def _on_failed(self, error: CasparianError) -> None:
        self._rest()
        self._failed(error)

    def _rest(self) -> None:
        self._in_flight = False
        self._pause.start()

    @Slot()
    def _on_pause_over(self) -> None:
        if self._stale:
            self.now()
