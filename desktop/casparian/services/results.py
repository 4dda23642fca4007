"""Results: tables, views, queries, history, lineage and exports."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from casparian import __version__, parsers
from casparian.catalog.elsewhere import open_reader
from casparian.catalog.export import ManifestFacts, SourceFact, export
from casparian.catalog.reader import CatalogReader
from casparian.domain.addresses import SINK_SCHEMES, parse
from casparian.domain.errors import CasparianError, UserProblem
from casparian.domain.evidence import shown_path
from casparian.domain.results import ColumnInfo, ViewSpec
from casparian.services.sinks import is_parquet
from casparian.services.tables import TableSummary, table_summaries
from casparian.sinks.names import namespace
from casparian.state.evidence import FileQuery
from casparian.state.records import HistoryEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casparian.catalog.export import Exported
    from casparian.catalog.reader import Reader, View
    from casparian.domain.cancel import CancelToken
    from casparian.domain.evidence import EvidenceFile, Source, Workspace
    from casparian.domain.ids import FileId, JobId, WorkspaceId
    from casparian.domain.jobs import Job, Progress
    from casparian.domain.results import TableInfo
    from casparian.services.catalog import CatalogService
    from casparian.services.sinks import Sinks
    from casparian.settings import Settings
    from casparian.state.database import Store
    from casparian.state.evidence import FileRow

HISTORY_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a row came from."""

    file: FileRow | None
    """None where its source was removed since."""
    path: str
    """Where the file lay, also where its source was removed."""
    job: Job
    parser_doc: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where tables are queried: the query catalog, or a database that is a sink."""

    key: str
    """Of the sink; empty for the catalog."""
    kind: str
    """`catalog`, `duckdb`, `postgres` or `sqlserver`."""
    place: str
    """The catalog's path, or the database's address without a password."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A target that can be asked, and the schema in it that holds a workspace's tables."""

    reader: Reader
    schema: str


class ResultService:
    """What can be done with committed tables."""

    def __init__(
        self, settings: Settings, store: Store, sinks: Sinks, catalog: CatalogService
    ) -> None:
        self._settings = settings
        self._store = store
        self._sinks = sinks
        self._catalog = catalog
        self._reader: CatalogReader | None = None
        self._elsewhere: dict[str, Reader] = {}
        self._opening = threading.Lock()
        catalog.on_swap = self._on_swap

    @property
    def reader(self) -> CatalogReader:
        """The program's own guarded sessions over the catalog."""
        if self._reader is None:
            if not self._settings.catalog_path.exists():
                self._catalog.build()
            self._reader = CatalogReader(
                self._settings.catalog_path,
                self._sinks.folders,
                self._settings.home / "tmp",
                self._settings.query_memory_mb,
            )
        return self._reader

    def tables(self, workspace_id: WorkspaceId) -> list[TableSummary]:
        """The tables of a workspace by name."""
        with self._store.read() as uow:
            workspace = uow.evidence.workspace(workspace_id)
            return table_summaries(uow, self._sinks, workspace)

    def targets(self, workspace_id: WorkspaceId) -> list[Target]:
        """Where tables of a workspace can be queried, the catalog first; nothing is connected to."""
        with self._store.read() as uow:
            keys = {one.sink for one in uow.outputs.outputs(workspace_id)}
            keys |= {one.sink for one in uow.outputs.routes(workspace_id)}
        keys.add(self._sinks.default.key)
        found = [Target("", "catalog", str(self._settings.catalog_path))]
        for key in sorted(keys):
            if not is_parquet(key):
                address = self._sinks.address(key)
                found.append(Target(key, address.scheme, address.text))
        return found

    @property
    def default_target(self) -> str:
        """The key of where the profile's outputs are queried; empty for the catalog."""
        key = self._sinks.default.key
        return "" if is_parquet(key) else key

    def target_of(self, workspace_id: WorkspaceId, text: str) -> str:
        """The key of a target as people name it: `catalog`, or an address.

        Raises:
            UserProblem: it is neither, or no tables of the workspace are there.
        """
        if text == "catalog":
            return ""
        key = parse(text, schemes=tuple({*SINK_SCHEMES} - {"parquet"})).key
        known = self.targets(workspace_id)
        if key not in {one.key for one in known}:
            raise UserProblem(
                "There are no tables of the workspace there",
                f"There are some in: {', '.join(one.place for one in known)}",
            )
        return key

    def at(self, workspace_id: WorkspaceId, sink: str = "") -> Opened:
        """A target, ready to be asked.

        Raises:
            UserProblem, EnvironmentProblem: the sink is not known or cannot be used.
        """
        with self._store.read() as uow:
            workspace = uow.evidence.workspace(workspace_id)
        if is_parquet(sink):
            return Opened(self.reader, workspace.schema)
        with self._opening:
            reader = self._elsewhere.get(sink)
            if reader is None:
                reader = self._elsewhere[sink] = open_reader(
                    self._sinks.address(sink),
                    self._settings.home / "tmp",
                    contract=lambda schema, table: self._contract(sink, schema, table),
                    memory_mb=self._settings.query_memory_mb,
                )
        return Opened(reader, self._schema_at(sink, workspace))

    def _schema_at(self, sink: str, workspace: Workspace) -> str:
        address = self._sinks.address(sink)
        return namespace(address, workspace.folder) if address.is_server else workspace.schema

    def _contract(self, sink: str, schema: str, table: str) -> list[ColumnInfo]:
        """The columns of a table in a database, as its contract has them."""
        with self._store.read() as uow:
            for workspace in uow.evidence.workspaces(archived=True):
                if self._schema_at(sink, workspace) == schema:
                    contract = uow.outputs.contracts(workspace.id).get(table)
                    columns = contract.columns if contract else ()
                    return [ColumnInfo(one.name, one.type, one.doc) for one in columns]
        return []

    def query(
        self, workspace_id: WorkspaceId, sql: str, cancel: CancelToken, sink: str = ""
    ) -> View:
        """Run a query in the catalog, or in a database, and remember it.

        Raises:
            UserProblem: it is refused or fails.
            EnvironmentProblem: the database cannot be reached.
            Cancelled: somebody asked to stop.
        """
        started, at = time.monotonic(), datetime.now(UTC)
        rows, error = None, ""
        try:
            where = self.at(workspace_id, sink)
            view = where.reader.query(sql, where.schema, cancel, self._settings.console_rows)
            rows = view.rows
        except CasparianError as problem:
            error = str(problem)
            raise
        finally:
            entry = HistoryEntry(sql, at, time.monotonic() - started, rows, error)
            with self._store.write() as uow:
                uow.records.add_query(workspace_id, entry)
                uow.commit()
        return view

    def history(self, workspace_id: WorkspaceId) -> list[HistoryEntry]:
        """The newest queries, newest first."""
        with self._store.read() as uow:
            return uow.records.queries(workspace_id, HISTORY_LIMIT)

    def lineage(self, workspace_id: WorkspaceId, file_id: FileId, job_id: JobId) -> Lineage:
        """Where a row with these lineage columns came from."""
        with self._store.read() as uow:
            job = uow.jobs.job(job_id)
            query = FileQuery(workspace_id, file_id=file_id)
            rows, _ = uow.evidence.find(query, offset=0, limit=1)
            path = shown_path(uow.evidence.absolute_path(file_id))
        return Lineage(rows[0] if rows else None, path, job, parsers.load(job.parser).__doc__ or "")

    def export(  # noqa: PLR0913  (they are what an export is asked for)
        self,
        workspace_id: WorkspaceId,
        what: ViewSpec | str,
        target: Path,
        fmt: str,
        *,
        sink: str = "",
        safe: bool,
        overwrite: bool,
        progress: Callable[[Progress], None],
        cancel: CancelToken,
    ) -> Exported:
        """Write a table, a view of it or a query's whole result to a file, with its manifest.

        `sink` says where the tables are: in the catalog, or in a database.

        Raises:
            UserProblem: the query is refused, or the target is there and `overwrite` is not set.
            EnvironmentProblem: it cannot be written.
            Cancelled: somebody asked to stop; no file is left.
        """
        with self._store.read() as uow:
            workspace = uow.evidence.workspace(workspace_id)
            sources = uow.evidence.sources(workspace_id)
        _refuse_evidence(target, sources)
        about = ManifestFacts(
            workspace=workspace.name,
            program_version=__version__,
            sources_of=lambda hashes: self._sources(workspace_id, hashes),
        )
        where = self.at(workspace_id, sink)
        exported = export(
            where.reader,
            what,
            where.schema,
            target,
            fmt,
            safe=safe,
            overwrite=overwrite,
            progress=progress,
            cancel=cancel,
            about=about,
        )
        with self._store.write() as uow:
            uow.records.add_export(
                workspace_id,
                what=what if isinstance(what, str) else f"{what.schema}.{what.table}",
                path=str(exported.path),
                file_format=fmt,
                rows=exported.rows,
                sha256=exported.sha256,
                at=datetime.now(UTC),
            )
            uow.commit()
        return exported

    def rebuild(self) -> int:
        """Build the catalog anew; return how many tables it shows."""
        self._catalog.refresh()
        return len(self.reader.tables())

    def close(self) -> None:
        """Close the sessions."""
        if self._reader is not None:
            self._reader.close()
        with self._opening:
            while self._elsewhere:
                _, reader = self._elsewhere.popitem()
                reader.close()

    def infos(self, workspace_id: WorkspaceId, sink: str = "") -> list[TableInfo]:
        """The tables of a workspace in a target, as they can be queried there.

        Raises:
            UserProblem, EnvironmentProblem: the database cannot be asked.
        """
        where = self.at(workspace_id, sink)
        return [one for one in where.reader.tables() if one.schema == where.schema]

    def spec(self, workspace_id: WorkspaceId, table: str, sink: str = "") -> ViewSpec:
        """The whole of a table, by its name.

        Raises:
            UserProblem: there is no such table.
        """
        where = self.at(workspace_id, sink)
        names = [one.name for one in where.reader.tables() if one.schema == where.schema]
        if table not in names:
            raise UserProblem(
                f"There is no table {table!r}", f"There are: {', '.join(names) or 'none yet'}"
            )
        return ViewSpec(where.schema, table)

    def _sources(self, workspace_id: WorkspaceId, hashes: Sequence[str] | None) -> list[SourceFact]:
        wanted = None if hashes is None else set(hashes)
        with self._store.read() as uow:
            roots = {one.id: one for one in uow.evidence.sources(workspace_id)}
            return [
                SourceFact(_shown(roots[one.source_id], one), one.source_hash, one.sha256)
                for one in uow.evidence.files(workspace_id)
                if one.source_hash and (wanted is None or one.source_hash in wanted)
            ]

    def _on_swap(self) -> None:
        if self._reader is not None:
            self._reader.refresh()
        with self._opening:
            readers = list(self._elsewhere.values())
        for one in readers:
            # Asks nothing yet: the tables are listed anew when they are looked at.
            one.refresh()


def _shown(source: Source, file: EvidenceFile) -> str:
    """A file's whole path as it is shown."""
    return f"{source.path}/{file.path}" if source.is_folder else source.path


def _refuse_evidence(target: Path, sources: Sequence[Source]) -> None:
    """Raise if an export would write into evidence: a source is never modified."""
    folder = target.expanduser().absolute().parent.resolve()
    for one in sources:
        evidence = Path(os.fsdecode(one.path_bytes))
        if folder.is_relative_to(evidence) or target.resolve() == evidence:
            raise UserProblem(
                "The export would be written into evidence",
                f"{target} lies in the source {one.path}",
                "Choose a folder outside the sources",
            )
