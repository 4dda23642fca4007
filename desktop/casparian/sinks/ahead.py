"""Reading ahead: one thread makes the next batches while another gives the last one away."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_T = TypeVar("_T")
_AHEAD = 2
_LOOK_S = 0.1


class Ahead(Generic[_T]):
    """The items of an iterable, made by a thread of their own, at most two ahead.

    The thread ends with the items, with an error of theirs (which whoever iterates then meets), or with
    `close`, whichever is first. To be iterated once.
    """

    def __init__(self, items: Iterable[_T], name: str) -> None:
        self._made: queue.Queue[tuple[_T] | BaseException | None] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._make, args=(items,), name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[_T]:
        while (made := self._made.get()) is not None:
            if isinstance(made, BaseException):
                raise made
            yield made[0]

    def close(self) -> None:
        """Make no more; returns when the thread is over."""
        self._closed.set()
        self._thread.join()

    def _make(self, items: Iterable[_T]) -> None:
        try:
            for one in items:
                if not self._put((one,)):
                    return
        except BaseException as error:  # noqa: BLE001  (it is raised where the items are awaited)
            self._put(error)
        else:
            self._put(None)

    def _put(self, made: tuple[_T] | BaseException | None) -> bool:
        while not self._closed.is_set():
            try:
                self._made.put(made, timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False
