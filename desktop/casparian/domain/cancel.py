"""A wish to stop, passed down to whatever may take long."""

from __future__ import annotations

import threading

from casparian.domain.errors import Cancelled


class CancelToken:
    """Set by whoever wants the work to stop; looked at once per batch by whoever does it."""

    def __init__(self, what: str = "The work") -> None:
        self._what = what
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask for the work to stop."""
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked for the work to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if somebody asked for the work to stop."""
        if self._event.is_set():
            raise Cancelled(self._what)

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until cancelled; return whether it was cancelled."""
        return self._event.wait(seconds)
