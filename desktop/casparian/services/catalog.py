"""Keeping the query catalog true: after every commit it is built anew and swapped in.

Builds are joined: while one runs, any number of commits only asks for one more after it; and while jobs
go on, the catalog rests a while between two, so that in a big case jobs do not wait for it most of the
time. It catches up when a worker slot runs out of jobs. The control plane's own tables stand beside the
data, as of the same swap.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pyarrow as pa

from casparian.catalog import views
from casparian.domain.events import (
    CatalogChanged,
    JobChanged,
    RowsRetired,
    RulesChanged,
    SourcesChanged,
)
from casparian.domain.evidence import shown_text
from casparian.services.tables import committed_tables
from casparian.state.evidence import FileQuery

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casparian.domain.events import Event, EventBus
    from casparian.domain.evidence import Workspace
    from casparian.domain.results import CommittedTable
    from casparian.services.sinks import Sinks
    from casparian.state.database import Store, UnitOfWork


REST_SHARE = 4
"""While jobs go on, the catalog rests this many times as long as its last build took."""


class CatalogService:
    """Builds `query.duckdb` from what is committed."""

    def __init__(self, store: Store, bus: EventBus, sinks: Sinks, path: Path) -> None:
        self._store = store
        self._bus = bus
        self._sinks = sinks
        self._path = path
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._asked = self._built = 0
        self._rest_until = 0.0
        self._is_behind = False
        self.on_swap: Callable[[], None] = lambda: None
        """Called after each swap, before anybody is told."""
        self._unsubscribe = bus.subscribe(self._on_event)

    def refresh(self) -> None:
        """Make the catalog show everything committed before this call."""
        with self._counting:
            self._asked += 1
            asked = self._asked
        with self._lock:
            if self._built >= asked:
                return
            with self._counting:
                self._built = self._asked
            self._is_behind = False
            started = time.monotonic()
            generation = self.build()
            ended = time.monotonic()
            self._rest_until = ended + REST_SHARE * (ended - started)
        self.on_swap()
        with self._store.read() as uow:
            workspaces = uow.evidence.workspaces(archived=False)
        for one in workspaces:
            self._bus.publish(CatalogChanged(one.id, generation))

    def build(self) -> int:
        """Write the catalog anew from the state store; return its generation.

        Raises:
            EnvironmentProblem: it cannot be written, or another program keeps it from being replaced.
        """
        generation = time.time_ns() // 1_000_000
        tables: list[CommittedTable] = []
        control: dict[tuple[str, str], pa.Table] = {}
        with self._store.read() as uow:
            for workspace in uow.evidence.workspaces(archived=True):
                tables.extend(table for table, _ in committed_tables(uow, self._sinks, workspace))
                for name, rows in _control(uow, workspace).items():
                    control[workspace.schema, name] = rows
        views.build(self._path, tables, control, generation)
        return generation

    def close(self) -> None:
        """Listen no more."""
        self._unsubscribe()

    def _on_event(self, event: Event) -> None:
        settled = isinstance(event, JobChanged) and event.state.is_terminal
        if settled and time.monotonic() < self._rest_until:
            self._is_behind = True
        elif settled or isinstance(event, SourcesChanged | RulesChanged | RowsRetired):
            self.refresh()

    def catch_up(self) -> None:
        """Show what was left for later while the catalog rested."""
        if self._is_behind:
            self.refresh()


def _control(uow: UnitOfWork, workspace: Workspace) -> dict[str, pa.Table]:
    """The control plane's tables: what files there are, which jobs ran, what was left out."""
    files, _ = uow.evidence.find(FileQuery(workspace.id), offset=0, limit=None)
    instant = pa.timestamp("us", tz="UTC")
    jobs = uow.jobs.jobs(workspace.id)
    skips = uow.evidence.skips(workspace.id)
    return {
        "files": pa.table(
            {
                "source": pa.array([shown_text(one.source_path) for one in files], pa.string()),
                "path": pa.array([one.file.path for one in files], pa.string()),
                "size": pa.array([one.file.size_bytes for one in files], pa.int64()),
                "modified": pa.array([one.file.mtime_ns // 1000 for one in files], instant),
                "sha256": pa.array([one.file.sha256 or None for one in files], pa.string()),
                "source_hash": pa.array(
                    [one.file.source_hash or None for one in files], pa.string()
                ),
                "kind": pa.array([one.file.kind or None for one in files], pa.string()),
                "tags": pa.array([list(one.file.tags) for one in files], pa.list_(pa.string())),
                "state": pa.array([one.status for one in files], pa.string()),
                "read": pa.array([one.read for one in files], pa.int64()),
                "accepted": pa.array([one.accepted for one in files], pa.int64()),
                "quarantined": pa.array([one.quarantined for one in files], pa.int64()),
                "note": pa.array([one.note or None for one in files], pa.string()),
                "file_id": pa.array([one.file.id for one in files], pa.string()),
            }
        ),
        "jobs": pa.table(
            {
                "job_id": pa.array([one.id for one in jobs], pa.string()),
                "parser": pa.array([one.parser for one in jobs], pa.string()),
                "parser_version": pa.array([one.parser_version for one in jobs], pa.string()),
                "artifact_hash": pa.array([one.artifact_hash for one in jobs], pa.string()),
                "state": pa.array([one.state.value for one in jobs], pa.string()),
                "files": pa.array([one.files for one in jobs], pa.int64()),
                "failed_files": pa.array([one.failed_files for one in jobs], pa.int64()),
                "rows": pa.array([one.rows for one in jobs], pa.int64()),
                "quarantined": pa.array([one.quarantined for one in jobs], pa.int64()),
                "created_at": pa.array([one.created_at for one in jobs], instant),
                "started_at": pa.array([one.started_at for one in jobs], instant),
                "ended_at": pa.array([one.ended_at for one in jobs], instant),
                "host": pa.array([one.host or None for one in jobs], pa.string()),
                "problem": pa.array([one.problem or None for one in jobs], pa.string()),
            }
        ),
        "skips": pa.table(
            {
                "source": pa.array([shown_text(one.source_path) for one in skips], pa.string()),
                "path": pa.array([one.path for one in skips], pa.string()),
                "kind": pa.array([one.kind.value for one in skips], pa.string()),
                "message": pa.array([one.message for one in skips], pa.string()),
                "at": pa.array([one.at for one in skips], instant),
            }
        ),
    }
