"""One window for a home folder: a second start hands its evidence to the first and ends.

A lock file says who has the home folder, a folder beside it takes what is handed over. No socket is
opened for it: files work on every system, and nothing listens on an investigator's workstation.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QFileSystemWatcher, QLockFile, QObject, Signal, Slot

from casparian.domain.errors import EnvironmentProblem, UserProblem, from_os_error
from casparian.domain.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

ANSWER_S = 5.0
"""How long the first window may take to fetch what is handed over."""
POLL_S = 0.05


class Handed(msgspec.Struct):
    """What a second start asks of the window."""

    workspace: str
    paths: list[bytes]


class Instance(QObject):
    """The right to be the one window of a home folder.

    Signals:
        handed: a Handed, from a second start.
    """

    handed = Signal(object)

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._inbox = home / "handover"
        self._lock = QLockFile(str(home / "window.lock"))
        # Never by age: a window may be open for weeks. One whose process is gone is stale at once.
        self._lock.setStaleLockTime(0)
        self._watcher: QFileSystemWatcher | None = None

    def take(self) -> bool:
        """Take the right; False if another window has it.

        Raises:
            EnvironmentProblem: the home folder cannot be written.
        """
        if self._lock.tryLock(0):
            return True
        if self._lock.error() == QLockFile.LockError.LockFailedError:
            return False
        raise EnvironmentProblem(
            "The program's home folder cannot be written",
            str(self._inbox.parent),
            "Check that you may write there and that the disk is not full, or choose another with --home",
        )

    def listen(self) -> None:
        """Begin to emit what is handed over."""
        try:
            self._inbox.mkdir(exist_ok=True)
        except OSError as error:
            raise from_os_error(error, "The home folder cannot be written") from error
        self._watcher = QFileSystemWatcher([str(self._inbox)], self)
        self._watcher.directoryChanged.connect(self._on_changed)
        self._on_changed()

    def hand_over(self, workspace: str, paths: Sequence[bytes]) -> None:
        """Give the first window what this start was asked for, and wait until it has it.

        Raises:
            UserProblem: the other window does not answer; it may be on another machine.
            EnvironmentProblem: the home folder cannot be written.
        """
        note = self._inbox / f"{new_id()}.json"
        aside = note.with_suffix(".new")
        try:
            self._inbox.mkdir(exist_ok=True)
            aside.write_bytes(msgspec.json.encode(Handed(workspace, list(paths))))
            aside.replace(note)
        except OSError as error:
            raise from_os_error(error, "The home folder cannot be written") from error
        until = time.monotonic() + ANSWER_S
        while note.exists() and time.monotonic() < until:
            time.sleep(POLL_S)
        if not note.exists():
            return
        note.unlink(missing_ok=True)
        pid, host, _ = self._lock.getLockInfo()
        raise UserProblem(
            f"A window is open on {self._inbox.parent} and does not answer",
            f"It is process {pid} on {host}",
            "Close it, or start this one with another folder: --home FOLDER",
        )

    def close(self) -> None:
        """Let the next start have the home folder."""
        if self._watcher is not None:
            self._watcher.deleteLater()
            self._watcher = None
        self._lock.unlock()

    @Slot()
    def _on_changed(self) -> None:
        for note in sorted(self._inbox.glob("*.json")):
            try:
                asked = msgspec.json.decode(note.read_bytes(), type=Handed)
                note.unlink()
            except (OSError, msgspec.MsgspecError):
                logger.warning("%s cannot be read", note, exc_info=True)
                continue
            self.handed.emit(asked)
