"""Which tables a workspace has: contracts and committed files joined into what the catalog shows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from casparian.domain.results import CommittedFile, CommittedTable
from casparian.services.plugins import parser_info
from casparian.services.sinks import is_parquet

if TYPE_CHECKING:
    from datetime import datetime

    from casparian.domain.contracts import Column
    from casparian.domain.evidence import Workspace
    from casparian.services.sinks import Sinks
    from casparian.state.database import UnitOfWork
    from casparian.state.outputs import OutputFile


@dataclass(frozen=True, slots=True)
class TableSummary:
    """A table that is ready to be queried."""

    schema: str
    name: str
    rows: int
    quarantined: int
    size_bytes: int
    parser: str
    parser_version: str
    updated_at: datetime
    columns: tuple[Column, ...]
    sink: str = ""
    """The database that it is in, by its key; empty for what the query catalog shows."""


def table_summaries(uow: UnitOfWork, sinks: Sinks, workspace: Workspace) -> list[TableSummary]:
    """Every table with committed rows, by name; one for the catalog, and one for each database it is in."""
    found = [
        TableSummary(
            schema=table.schema,
            name=table.name,
            rows=table.rows,
            quarantined=table.quarantined,
            size_bytes=sum(one.size_bytes for one in (*table.files, *table.quarantine_files)),
            parser=table.parser,
            parser_version=table.parser_version,
            updated_at=updated_at,
            columns=table.columns,
        )
        for table, updated_at in committed_tables(uow, sinks, workspace)
    ]
    contracts = uow.outputs.contracts(workspace.id)
    elsewhere: dict[tuple[str, str], list[OutputFile]] = defaultdict(list)
    for one in uow.outputs.outputs(workspace.id):
        if not is_parquet(one.sink):
            elsewhere[one.table, one.sink].append(one)
    for (name, sink), outputs in elsewhere.items():
        contract = contracts[name]
        found.append(
            TableSummary(
                schema=workspace.schema,
                name=name,
                rows=sum(one.rows for one in outputs if not one.quarantine),
                quarantined=sum(one.rows for one in outputs if one.quarantine),
                # What it takes there only the database knows; this is what came in.
                size_bytes=sum(one.size_bytes for one in outputs),
                parser=contract.parser,
                parser_version=parser_info(contract.parser).version,
                updated_at=max(one.committed_at for one in outputs),
                columns=contract.columns,
                sink=sink,
            )
        )
    return sorted(found, key=lambda one: (one.name, one.sink))


def committed_tables(
    uow: UnitOfWork, sinks: Sinks, workspace: Workspace
) -> list[tuple[CommittedTable, datetime]]:
    """Every table with a committed Parquet file, by name, and when it changed last.

    A contract alone makes no table: one that a job brought which then failed has nothing to show.
    """
    files: dict[str, list[OutputFile]] = defaultdict(list)
    for one in uow.outputs.outputs(workspace.id):
        if is_parquet(one.sink):
            files[one.table].append(one)
    tables = []
    for name, contract in sorted(uow.outputs.contracts(workspace.id).items()):
        if name not in files:
            continue
        parts: dict[bool, list[CommittedFile]] = {True: [], False: []}
        for one in files[name]:
            path = str(sinks.absolute(one))
            parts[one.quarantine].append(CommittedFile(path, one.rows, one.size_bytes))
        table = CommittedTable(
            schema=workspace.schema,
            name=name,
            columns=tuple(
                replace(one, type="string") if one.type == "null" else one
                for one in contract.columns
            ),
            files=tuple(parts[False]),
            quarantine_files=tuple(parts[True]),
            parser=contract.parser,
            parser_version=parser_info(contract.parser).version,
        )
        tables.append((table, max(one.committed_at for one in files[name])))
    return tables
