"""What people did: queries run and exports written, in the state store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from casparian.domain.ids import WorkspaceId, new_id
from casparian.state.tables import exports, query_history

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A query that was run."""

    sql: str
    at: datetime
    seconds: float
    rows: int | None
    """None where it did not end well."""
    error: str
    """The sentence it ended with; empty where it ended well."""


class RecordRepository:
    """The history of queries and exports."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def add_query(self, workspace_id: WorkspaceId, entry: HistoryEntry) -> None:
        """Remember a query."""
        self._c.execute(
            query_history.insert().values(
                id=new_id(),
                workspace_id=workspace_id,
                sql=entry.sql,
                at=entry.at,
                seconds=entry.seconds,
                rows=entry.rows,
                error=entry.error,
            )
        )

    def queries(self, workspace_id: WorkspaceId, limit: int) -> list[HistoryEntry]:
        """The newest queries, newest first."""
        c = query_history.c
        query = (
            sa.select(c.sql, c.at, c.seconds, c.rows, c.error)
            .where(c.workspace_id == workspace_id)
            .order_by(c.id.desc())
            .limit(limit)
        )
        return [HistoryEntry(**row) for row in self._c.execute(query).mappings()]

    def add_export(
        self, workspace_id: WorkspaceId, *, what: str, path: str, file_format: str, rows: int,
        sha256: str, at: datetime,
    ) -> None:  # fmt: skip
        """Remember an export."""
        self._c.execute(
            exports.insert().values(
                id=new_id(),
                workspace_id=workspace_id,
                what=what,
                path=path,
                format=file_format,
                rows=rows,
                sha256=sha256,
                at=at,
            )
        )
