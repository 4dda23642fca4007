"""Where outputs go: the sinks that are configured, and those that rows went to before.

A sink is known by its key: its address without user name and password, or nothing for the Parquet folder
of the home, so that a home can move. A route sends a parser's output elsewhere than to the default sink.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casparian.credentials import with_secret
from casparian.domain.addresses import SINK_SCHEMES, parse
from casparian.domain.errors import EnvironmentProblem, UserProblem
from casparian.sinks.opening import open_sink
from casparian.sinks.parquet import ParquetSink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from casparian.domain.addresses import Address
    from casparian.domain.ids import WorkspaceId
    from casparian.domain.results import Mode
    from casparian.settings import Settings
    from casparian.sinks.base import Sink
    from casparian.state.database import Store, UnitOfWork
    from casparian.state.outputs import OutputFile, Route

HOME_URI = "parquet://output/"
"""The Parquet folder of the home in keys of outputs."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the rows of an output go."""

    key: str
    """Of the sink; empty for the Parquet folder of the home."""
    mode: Mode

    @property
    def uri(self) -> str:
        """The sink in keys of outputs."""
        return self.key or HOME_URI

    @property
    def is_parquet(self) -> bool:
        """Whether the rows are files that the query catalog shows."""
        return is_parquet(self.key)


@dataclass(frozen=True, slots=True)
class Stray:
    """A Parquet file in a sink that no output names."""

    sink: str
    path: str
    jobs: frozenset[str]
    """Those that it is of, by its name and by what it says; empty if this store does not know one."""


def is_parquet(key: str) -> bool:
    """Whether a sink is a folder of Parquet files."""
    return not key or key.startswith("parquet:")


class Sinks:
    """The sinks of this home; databases are opened when they are first needed, and kept."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        opener: Callable[[Address, Sequence[Path]], Sink] = open_sink,
    ) -> None:
        self._settings = settings
        self._store = store
        self._opener = opener
        self._home = ParquetSink(settings.output_dir)
        self._lock = threading.Lock()
        self._open: dict[str, Sink] = {}
        self.default = Place(self.remember(settings.sink), "replace")
        """Where outputs go that no route sends elsewhere."""

    def remember(self, address: Address) -> str:
        """Note an address that rows are going to; return its key."""
        if address.scheme == "parquet" and address.path == self._settings.output_dir:
            return ""
        with self._store.read() as uow:
            known = uow.outputs.sinks().get(address.key)
        if known != address.text:
            with self._store.write() as uow:
                uow.outputs.remember_sink(address.key, address.text)
                uow.commit()
        return address.key

    def address(self, key: str) -> Address:
        """The address of a sink, with its password if one is known.

        Raises:
            UserProblem: no rows ever went there.
        """
        if not key:
            return parse(f"parquet://{self._settings.output_dir.as_posix()}", schemes=SINK_SCHEMES)
        with self._store.read() as uow:
            text = uow.outputs.sinks().get(key)
        if text is None:
            raise UserProblem("The sink is not known", key, "Add it to the configuration")
        return with_secret(parse(text, schemes=SINK_SCHEMES))

    def places(self, uow: UnitOfWork, workspace_id: WorkspaceId) -> Callable[[str, str], Place]:
        """Tell for a parser and its output where the rows go: by the nearest route, else the default."""
        by_output: dict[tuple[str, str], Route] = {
            (one.parser, one.output): one for one in uow.outputs.routes(workspace_id)
        }

        def place(parser: str, output: str) -> Place:
            route = by_output.get((parser, output)) or by_output.get((parser, ""))
            return Place(route.sink, route.mode) if route else self.default

        return place

    def parquet(self, key: str) -> ParquetSink:
        """A folder of Parquet files."""
        if not key:
            return self._home
        path = parse(key, schemes=("parquet",)).path
        assert path is not None  # noqa: S101  (a parquet address has one)
        return ParquetSink(path)

    def databases(self) -> list[str]:
        """The keys of every database that outputs ever went to."""
        with self._store.read() as uow:
            return sorted(one for one in uow.outputs.sinks() if not is_parquet(one))

    def folders(self) -> list[Path]:
        """Every folder that Parquet outputs ever went to."""
        with self._store.read() as uow:
            keys = ["", *filter(is_parquet, uow.outputs.sinks())]
        return [self.parquet(one).root for one in keys]

    def unrecorded(self, uow: UnitOfWork) -> list[tuple[str, str]]:
        """Sink and path of every Parquet file in the sinks that no output names."""
        roots = {one: self.parquet(one) for one in ("", *filter(is_parquet, uow.outputs.sinks()))}
        on_record = {
            sink.absolute(path) for key, sink in roots.items() for path in uow.outputs.paths(key)
        }
        return [
            (key, path)
            for key, sink in roots.items()
            for path in sink.paths()
            if sink.absolute(path) not in on_record
        ]

    def strays(self, uow: UnitOfWork) -> list[Stray]:
        """What `unrecorded` finds, and of which jobs it is."""
        found = [(sink, path, path.rpartition("/")[2][:36]) for sink, path in self.unrecorded(uow)]
        known = uow.jobs.known({name for *_, name in found})
        # A copy is named after the job that wrote it, and holds rows of another one.
        said = {
            (sink, path): self._job_of(sink, path) for sink, path, name in found if name in known
        }
        known |= uow.jobs.known(set(said.values()))
        strays = []
        for sink, path, name in found:
            jobs = frozenset({name, said.get((sink, path)) or name})
            strays.append(Stray(sink, path, jobs if jobs <= known else frozenset()))
        return strays

    def _job_of(self, sink: str, path: str) -> str:
        try:
            return str(self.parquet(sink).lineage(path).get("job_id", ""))
        except EnvironmentProblem:
            return ""

    def absolute(self, output: OutputFile) -> Path:
        """Where a committed Parquet file lies."""
        return self.parquet(output.sink).absolute(output.path)

    def database(self, key: str) -> Sink:
        """A sink that is a database.

        Raises:
            UserProblem, EnvironmentProblem: it is not known, or cannot be used.
        """
        with self._lock:
            found = self._open.get(key)
            if found is None:
                reserved = (self._settings.state_path, self._settings.catalog_path)
                found = self._open[key] = self._opener(self.address(key), reserved)
            return found

    def close(self) -> None:
        """Let go of every database."""
        with self._lock:
            while self._open:
                _, sink = self._open.popitem()
                sink.close()
