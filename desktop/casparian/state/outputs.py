"""Contracts, outputs and materializations in the state store: what is committed, and for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from casparian.domain.contracts import Column
from casparian.domain.evidence import FileState, ScanState
from casparian.domain.ids import FileId, JobId, OutputId, WorkspaceId, new_id
from casparian.domain.jobs import JobState
from casparian.state.evidence import path_hash
from casparian.state.tables import (
    contracts,
    files,
    jobs,
    materializations,
    outputs,
    routes,
    scans,
    sinks,
    sources,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from casparian.domain.results import Mode


@dataclass(frozen=True, slots=True)
class TableContract:
    """The newest contract of a table, and which parser's output it is of."""

    workspace_id: WorkspaceId
    table: str
    parser: str
    output: str
    layout_key: str
    """Empty for an output with fixed columns."""
    columns: tuple[Column, ...]
    schema_hash: str
    version: int


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One committed file of a table."""

    id: OutputId
    workspace_id: WorkspaceId
    job_id: JobId
    table: str
    quarantine: bool
    sink: str
    """The key of the sink that it is in; empty for the Parquet folder of the home."""
    path: str
    """Relative to the sink's root; empty where the rows are in a database, or were purged."""
    rows: int
    size_bytes: int
    schema_hash: str
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class Materialization:
    """This content, read by this parser, is in this table."""

    id: str
    key: str
    workspace_id: WorkspaceId
    source_hash: str
    parser: str
    parser_version: str
    artifact_hash: str
    table: str
    target_key: str
    sink: str
    job_id: JobId
    file_id: FileId
    accepted: int
    quarantined: int
    note: str
    """What the parser had to say of the file: cut short, a stale header; empty for most."""
    created_at: datetime


class Done(NamedTuple):
    """What a plan needs to know of a materialization."""

    source_hash: str
    parser: str
    artifact_hash: str
    table: str
    target_key: str
    sink: str


@dataclass(frozen=True, slots=True)
class Route:
    """To which sink a parser's output goes, and what happens to rows that are there already."""

    parser: str
    output: str
    """Empty for every output of the parser."""
    sink: str
    """The sink's key; empty for the Parquet folder of the home."""
    mode: Mode


@dataclass(frozen=True, slots=True)
class Outdated:
    """A parser with rows in a workspace that are of contents which no file holds any more."""

    workspace_id: WorkspaceId
    parser: str
    job_id: JobId
    """One of the jobs that wrote them."""


class OutputRepository:
    """What was committed, under which contract, and what it makes unnecessary to do again."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    # Contracts

    def contracts(self, workspace_id: WorkspaceId) -> dict[str, TableContract]:
        """The newest contract of each table of a workspace, by table."""
        query = (
            sa.select(contracts)
            .where(contracts.c.workspace_id == workspace_id)
            .order_by(contracts.c.table_name, contracts.c.version)
        )
        return {row["table_name"]: _contract(row) for row in self._c.execute(query).mappings()}

    def add_contract(self, contract: TableContract, at: datetime) -> None:
        """Add a table's first or next contract."""
        self._c.execute(
            contracts.insert().values(
                id=new_id(),
                workspace_id=contract.workspace_id,
                table_name=contract.table,
                parser=contract.parser,
                output=contract.output,
                layout_key=contract.layout_key,
                columns=[[one.name, one.type, one.nullable, one.doc] for one in contract.columns],
                schema_hash=contract.schema_hash,
                version=contract.version,
                created_at=at,
            )
        )

    # Outputs

    def add_outputs(self, committed: Sequence[OutputFile]) -> None:
        """Record committed files."""
        rows = [
            {
                "id": one.id,
                "workspace_id": one.workspace_id,
                "job_id": one.job_id,
                "table_name": one.table,
                "quarantine": one.quarantine,
                "sink": one.sink,
                "path": one.path,
                "rows": one.rows,
                "size_bytes": one.size_bytes,
                "schema_hash": one.schema_hash,
                "committed_at": one.committed_at,
            }
            for one in committed
        ]
        if rows:
            self._c.execute(outputs.insert(), rows)

    def outputs(self, workspace_id: WorkspaceId) -> list[OutputFile]:
        """The files whose rows count, in the order in which they were committed."""
        query = (
            sa.select(outputs)
            .where(outputs.c.workspace_id == workspace_id, outputs.c.superseded_at.is_(None))
            .order_by(outputs.c.id)
        )
        return [_output(row) for row in self._c.execute(query).mappings()]

    def of_jobs(self, ids: set[JobId]) -> list[OutputFile]:
        """The files of these jobs whose rows count."""
        wanted = sorted(ids)
        found: list[OutputFile] = []
        for at in range(0, len(wanted), 500):
            query = (
                sa.select(outputs)
                .where(
                    outputs.c.job_id.in_(wanted[at : at + 500]), outputs.c.superseded_at.is_(None)
                )
                .order_by(outputs.c.id)
            )
            found.extend(_output(row) for row in self._c.execute(query).mappings())
        return found

    def supersede_outputs(self, ids: Sequence[OutputId], by: JobId | None, at: datetime) -> None:
        """Take files out of the catalog; they stay on disk until the user purges them."""
        for one in ids:
            self._c.execute(
                outputs.update()
                .where(outputs.c.id == one)
                .values(superseded_at=at, superseded_by=by)
            )

    def superseded(self) -> list[OutputFile]:
        """The files whose rows count no longer, and that were not purged."""
        query = (
            sa.select(outputs)
            .where(outputs.c.superseded_at.is_not(None), outputs.c.path != "")
            .order_by(outputs.c.id)
        )
        return [_output(row) for row in self._c.execute(query).mappings()]

    def purged(self, ids: Sequence[OutputId]) -> None:
        """Record that files are there no longer; what they were stays on record."""
        for one in ids:
            self._c.execute(outputs.update().where(outputs.c.id == one).values(path=""))

    def are_current(self, ids: Sequence[OutputId]) -> bool:
        """Whether all of these files still count."""
        return all(
            self._c.execute(
                sa.select(outputs.c.superseded_at).where(outputs.c.id == one)
            ).scalar_one()
            is None
            for one in ids
        )

    def on_record(self, ids: Sequence[OutputId]) -> set[OutputId]:
        """Which of these files are on record."""
        found: set[OutputId] = set()
        for at in range(0, len(ids), 500):
            query = sa.select(outputs.c.id).where(outputs.c.id.in_(ids[at : at + 500]))
            found.update(OutputId(one) for one in self._c.execute(query).scalars())
        return found

    def paths(self, sink: str) -> set[str]:
        """The path of every file of a sink that is on record, superseded or not."""
        return set(
            self._c.execute(sa.select(outputs.c.path).where(outputs.c.sink == sink)).scalars()
        )

    # Sinks and routes

    def remember_sink(self, key: str, address: str) -> None:
        """Note a sink, and what to connect to it with."""
        here = sinks.c.key_hash == path_hash(key.encode())
        changed = self._c.execute(sinks.update().where(here).values(address=address))
        if not changed.rowcount:
            row = {"key_hash": path_hash(key.encode()), "key": key, "address": address}
            self._c.execute(sinks.insert().values(row))

    def sinks(self) -> dict[str, str]:
        """Every sink that rows ever went to: key -> address."""
        rows = self._c.execute(sa.select(sinks.c.key, sinks.c.address))
        return {row.key: row.address for row in rows}

    def routes(self, workspace_id: WorkspaceId) -> list[Route]:
        """The routes of a workspace, by parser and output."""
        query = (
            sa.select(routes)
            .where(routes.c.workspace_id == workspace_id)
            .order_by(routes.c.parser, routes.c.output)
        )
        names = ("parser", "output", "sink", "mode")
        rows = self._c.execute(query).mappings()
        return [Route(**{name: row[name] for name in names}) for row in rows]

    def set_route(self, workspace_id: WorkspaceId, route: Route) -> None:
        """Add a route, or change the one for the same output."""
        self.delete_route(workspace_id, route.parser, route.output)
        self._c.execute(
            routes.insert().values(
                id=new_id(),
                workspace_id=workspace_id,
                parser=route.parser,
                output=route.output,
                sink=route.sink,
                mode=route.mode,
            )
        )

    def delete_route(self, workspace_id: WorkspaceId, parser: str, output: str) -> None:
        """Let an output go where the others go."""
        self._c.execute(
            routes.delete().where(
                routes.c.workspace_id == workspace_id,
                routes.c.parser == parser,
                routes.c.output == output,
            )
        )

    # Materializations

    def materializations(
        self, workspace_id: WorkspaceId, *, parser: str | None = None
    ) -> list[Materialization]:
        """What is done, and still counts."""
        query = sa.select(materializations).where(
            materializations.c.workspace_id == workspace_id,
            materializations.c.superseded_at.is_(None),
        )
        if parser is not None:
            query = query.where(materializations.c.parser == parser)
        rows = self._c.execute(query.order_by(materializations.c.id)).mappings()
        return [_materialization(row) for row in rows]

    def done(self, workspace_id: WorkspaceId) -> Iterator[Done]:
        """What counts, as a plan asks."""
        m = materializations.c
        query = sa.select(
            m.source_hash, m.parser, m.artifact_hash, m.table_name, m.target_key, m.sink
        )
        counting = query.where(m.workspace_id == workspace_id, m.superseded_at.is_(None))
        yield from (Done(*row) for row in self._c.execute(counting))

    def contents_for_other_targets(
        self, workspace_id: WorkspaceId, targets: Mapping[str, str]
    ) -> set[str]:
        """Hashes of what is in one of these tables (table -> target key) for another target key."""
        m = materializations.c
        found: set[str] = set()
        for table, target in targets.items():
            query = sa.select(m.source_hash).where(
                m.workspace_id == workspace_id,
                m.superseded_at.is_(None),
                m.table_name == table,
                m.target_key != target,
            )
            found.update(self._c.execute(query).scalars())
        return found

    def materializations_of(self, ids: set[JobId]) -> list[Materialization]:
        """What these jobs did, and still counts."""
        return self._counting(materializations.c.job_id, ids)

    def replaced_by(
        self, workspace_id: WorkspaceId, parser: str, contents: Collection[str]
    ) -> list[Materialization]:
        """What a parser's new rows of these contents take the place of.

        That is what it read from the same contents before, and what it read from a file that has
        another content now, unless a file of the workspace still holds the old one. Removed sources
        count: their rows stay. So does a file that could not be read lately: nobody knows what it holds.
        """
        m = materializations.c
        of_parser = (m.workspace_id == workspace_id) & (m.parser == parser)
        same = self._counting(m.source_hash, contents, of_parser)
        rows = self._c.execute(_orphaned(materializations).where(of_parser)).mappings()
        found = {one.id: one for one in (*same, *(_materialization(row) for row in rows))}
        return [found[one] for one in sorted(found)]

    def outdated(self) -> list[Outdated]:
        """Whose rows of contents that no file holds any more are left to no job.

        A job of the same parser that is still to commit takes them out itself, as its own rows come in; and
        where a scan still runs, the content may turn up again, or such a job may follow.
        """
        m = materializations.c
        is_open = sa.exists().where(
            jobs.c.workspace_id == m.workspace_id,
            jobs.c.parser == m.parser,
            jobs.c.state.in_([one for one in JobState if not one.is_terminal]),
        )
        running = sa.select(scans.c.id).where(scans.c.state == ScanState.RUNNING)
        orphaned = (
            _orphaned(m.workspace_id, m.parser, sa.func.max(m.job_id))
            .where(~is_open, files.c.scan_id.not_in(running))
            .group_by(m.workspace_id, m.parser)
            .order_by(m.workspace_id, m.parser)
        )
        rows = self._c.execute(orphaned)
        return [Outdated(*row) for row in rows]

    def _counting(
        self,
        column: sa.ColumnElement[str],
        values: Collection[str],
        condition: sa.ColumnElement[bool] | None = None,
    ) -> list[Materialization]:
        wanted = sorted(values)
        query = sa.select(materializations).where(materializations.c.superseded_at.is_(None))
        if condition is not None:
            query = query.where(condition)
        found: list[Materialization] = []
        for at in range(0, len(wanted), 500):
            chunk = query.where(column.in_(wanted[at : at + 500]))
            rows = self._c.execute(chunk.order_by(materializations.c.id)).mappings()
            found.extend(_materialization(row) for row in rows)
        return found

    def supersede_rows(self, sink: str, rows: Iterable[tuple[str, str, str]], at: datetime) -> None:
        """Record that these rows (table, job, file) are in a sink no longer."""
        m = materializations.c
        gone = [
            {"b_table": table, "b_job": job, "b_file": file_id, "at": at}
            for table, job, file_id in rows
        ]
        if gone:
            change = materializations.update().where(
                m.sink == sink,
                m.table_name == sa.bindparam("b_table"),
                m.job_id == sa.bindparam("b_job"),
                m.file_id == sa.bindparam("b_file"),
                m.superseded_at.is_(None),
            )
            self._c.execute(change.values(superseded_at=sa.bindparam("at")), gone)

    def add_materializations(self, done: Sequence[Materialization]) -> None:
        """Record what is done."""
        if done:
            self._c.execute(materializations.insert(), [_materialization_row(one) for one in done])

    def change_targets(self, changed: Sequence[Materialization]) -> None:
        """Record that what is done is done for another target as well."""
        rows = [{"b_id": one.id, "key": one.key, "target_key": one.target_key} for one in changed]
        if rows:
            key = materializations.c.id == sa.bindparam("b_id")
            self._c.execute(materializations.update().where(key), rows)

    def supersede_materializations(self, ids: Sequence[str], at: datetime) -> None:
        """Record that other rows took the place of these."""
        rows = [{"b_id": one, "superseded_at": at} for one in ids]
        if rows:
            key = materializations.c.id == sa.bindparam("b_id")
            self._c.execute(materializations.update().where(key), rows)


def _orphaned(*wanted: Any) -> sa.Select[Any]:
    """What was read from a file with another content now, where none of its workspace holds the old one."""
    m, holder = materializations.c, files.alias()
    held = sa.exists().where(
        holder.c.source_hash == m.source_hash,
        holder.c.source_id == sources.c.id,
        sources.c.workspace_id == m.workspace_id,
    )
    return (
        sa.select(*wanted)
        .select_from(materializations.join(files, files.c.id == m.file_id))
        .where(
            m.superseded_at.is_(None),
            files.c.state == FileState.HASHED,
            files.c.source_hash != m.source_hash,
            ~held,
        )
    )


def _contract(row: sa.RowMapping) -> TableContract:
    return TableContract(
        workspace_id=row["workspace_id"],
        table=row["table_name"],
        parser=row["parser"],
        output=row["output"],
        layout_key=row["layout_key"],
        columns=tuple(Column(*one) for one in row["columns"]),
        schema_hash=row["schema_hash"],
        version=row["version"],
    )


def _output(row: sa.RowMapping) -> OutputFile:
    return OutputFile(
        id=row["id"],
        workspace_id=row["workspace_id"],
        job_id=row["job_id"],
        table=row["table_name"],
        quarantine=row["quarantine"],
        sink=row["sink"],
        path=row["path"],
        rows=row["rows"],
        size_bytes=row["size_bytes"],
        schema_hash=row["schema_hash"],
        committed_at=row["committed_at"],
    )


_SAME_NAMES = (
    "id",
    "key",
    "workspace_id",
    "source_hash",
    "parser",
    "parser_version",
    "artifact_hash",
    "target_key",
    "sink",
    "job_id",
    "file_id",
    "accepted",
    "quarantined",
    "note",
    "created_at",
)


def _materialization(row: sa.RowMapping) -> Materialization:
    values = {name: row[name] for name in _SAME_NAMES}
    return Materialization(table=row["table_name"], **values)


def _materialization_row(one: Materialization) -> dict[str, Any]:
    return {name: getattr(one, name) for name in _SAME_NAMES} | {"table_name": one.table}
