"""What happened, as values: services record them, the window and the command line listen."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casparian.domain.errors import CasparianError

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.domain.ids import JobId, SourceId, WorkspaceId
    from casparian.domain.jobs import JobState, Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkspacesChanged:
    """A workspace was created, renamed or archived."""


@dataclass(frozen=True, slots=True)
class SourcesChanged:
    """A source was added, removed or scanned."""

    workspace_id: WorkspaceId


@dataclass(frozen=True, slots=True)
class ScanProgressed:
    """A scan has come this far."""

    source_id: SourceId
    progress: Progress


@dataclass(frozen=True, slots=True)
class RulesChanged:
    """Rules or tags changed."""

    workspace_id: WorkspaceId


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A job was queued or went into another state."""

    workspace_id: WorkspaceId
    job_id: JobId
    state: JobState


@dataclass(frozen=True, slots=True)
class JobProgressed:
    """A job has come this far."""

    job_id: JobId
    progress: Progress


@dataclass(frozen=True, slots=True)
class RowsRetired:
    """Rows of contents that no file holds any more left their tables."""

    workspace_id: WorkspaceId


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """The query catalog was swapped for a new one."""

    workspace_id: WorkspaceId
    generation: int


Event = (
    WorkspacesChanged
    | SourcesChanged
    | ScanProgressed
    | RulesChanged
    | JobChanged
    | JobProgressed
    | RowsRetired
    | CatalogChanged
)


class EventBus:
    """Calls every listener, in the thread of whoever publishes, in the order they subscribed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: tuple[Callable[[Event], None], ...] = ()

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Add a listener; call what is returned to take it away again."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listener)

        return unsubscribe

    def publish(self, event: Event) -> None:
        """Tell every listener; one that raises is logged and does not keep the others from it."""
        for listener in self._listeners:
            try:
                listener(event)
            except CasparianError as error:
                logger.warning("a listener failed on %r: %s", event, error)
            except Exception:
                logger.exception("a listener failed on %r", event)
