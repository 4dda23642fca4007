"""The one seam between the services' events and the window.

Events come in whatever thread publishes them, and in bursts: submitting a folder changes a thousand jobs,
a scan reports a hundred times a second. The bridge keeps the newest of each kind and thing, and hands
them on in the GUI thread at most every `PAUSE_MS`.
"""

from __future__ import annotations

import threading

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot

from casparian.domain.events import (
    CatalogChanged,
    Event,
    EventBus,
    JobChanged,
    JobProgressed,
    RowsRetired,
    RulesChanged,
    ScanProgressed,
    SourcesChanged,
    WorkspacesChanged,
)

PAUSE_MS = 80


class EventBridge(QObject):
    """Turns events into signals of the GUI thread; each carries the event.

    Signals:
        workspaces_changed: WorkspacesChanged
        sources_changed: SourcesChanged
        scan_progressed: ScanProgressed
        rules_changed: RulesChanged
        job_changed: JobChanged, the latest of each job
        job_progressed: JobProgressed, the latest of each job
        catalog_changed: CatalogChanged
    """

    workspaces_changed = Signal(object)
    sources_changed = Signal(object)
    scan_progressed = Signal(object)
    rules_changed = Signal(object)
    job_changed = Signal(object)
    job_progressed = Signal(object)
    catalog_changed = Signal(object)

    _arrived = Signal()

    def __init__(self, bus: EventBus, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, str], Event] = {}
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._on_pause_over)
        self._arrived.connect(self._on_arrived, Qt.ConnectionType.QueuedConnection)
        self._unsubscribe = bus.subscribe(self._take)

    def close(self) -> None:
        """Listen no more."""
        self._unsubscribe()
        self._pause.stop()

    def _take(self, event: Event) -> None:
        """Called in any thread."""
        key = _key(event)
        with self._lock:
            was_empty = not self._pending
            self._pending.pop(key, None)
            self._pending[key] = event
        if was_empty:
            self._arrived.emit()

    @Slot()
    def _on_arrived(self) -> None:
        if not self._pause.isActive():
            self._pause.start()

    @Slot()
    def _on_pause_over(self) -> None:
        with self._lock:
            events, self._pending = list(self._pending.values()), {}
        for event in events:
            self._hand_on(event)

    def _hand_on(self, event: Event) -> None:
        match event:
            case WorkspacesChanged():
                self.workspaces_changed.emit(event)
            case SourcesChanged():
                self.sources_changed.emit(event)
            case ScanProgressed():
                self.scan_progressed.emit(event)
            case RulesChanged():
                self.rules_changed.emit(event)
            case JobChanged():
                self.job_changed.emit(event)
            case JobProgressed():
                self.job_progressed.emit(event)
            case CatalogChanged():
                self.catalog_changed.emit(event)


def _key(event: Event) -> tuple[str, str]:
    name = type(event).__name__
    match event:
        case ScanProgressed():
            return name, event.source_id
        case JobChanged() | JobProgressed():
            return name, event.job_id
        case SourcesChanged() | RulesChanged() | RowsRetired() | CatalogChanged():
            return name, event.workspace_id
        case WorkspacesChanged():
            return name, ""
