"""Is everything as it should be: home folder, store, outputs, catalog, workers; or a database as a sink."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from casparian import __version__
from casparian.credentials import with_secret
from casparian.domain.errors import CasparianError
from casparian.durable import SHARE_HINT, SHARE_WARNING, network_share
from casparian.services.sinks import is_parquet
from casparian.sinks.opening import open_sink
from casparian.worker.supervisor import WorkerLimits, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.services.results import ResultService
    from casparian.services.sinks import Sinks
    from casparian.settings import Settings
    from casparian.sinks.acceptance import Outcome
    from casparian.state.database import Store

LOW_DISK_BYTES = 1024**3
_LIBRARIES = ("PySide6-Essentials", "duckdb", "evtx", "pyarrow", "SQLAlchemy")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def examine(settings: Settings, store: Store, sinks: Sinks, results: ResultService) -> list[Check]:
    """Look at everything; a check that fails says in a sentence what is the matter."""
    checks: dict[str, Callable[[], str]] = {
        "program": _program,
        "home": lambda: _home(settings),
        "state store": store.integrity,
        "outputs": lambda: _outputs(store, sinks),
        "catalog": lambda: f"{len(results.reader.tables())} tables and views can be queried",
        **{f"sink {key}": partial(_database, sinks, key) for key in sinks.databases()},
        "worker": lambda: _worker(settings),
    }
    return list(_examined(checks))


def examine_sink(
    address: Address, settings: Settings, cancel: CancelToken, say: Callable[[str], None]
) -> Iterator[Outcome]:
    """Try on a database all that a sink promises, in a scratch place beside it; say first what is made.

    Raises:
        UserProblem: the address can be no sink.
        Cancelled: somebody asked to stop; the scratch place is dropped then.
    """
    from casparian.sinks.acceptance import accept  # what it needs is needed for nothing else
    from casparian.sinks.scratch import place_of, scratch

    reserved = (settings.state_path, settings.catalog_path)
    open_sink(address, reserved).close()
    beside = scratch(with_secret(address))
    place, sink = place_of(beside), open_sink(beside, reserved)
    say(f"In {address.key}: makes {place.name} and drops it at the end.")
    try:
        yield from accept(place, sink, cancel)
    finally:
        sink.close()


def _examined(checks: dict[str, Callable[[], str]]) -> Iterator[Check]:
    for name, check in checks.items():
        try:
            yield Check(name, ok=True, detail=check())
        except CasparianError as error:
            yield Check(name, ok=False, detail=str(error))


def _program() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return f"Casparian Flow {__version__}, Python {platform.python_version()}, {libraries}"


def _home(settings: Settings) -> str:
    free = shutil.disk_usage(settings.home).free
    if free < LOW_DISK_BYTES or not os.access(settings.home, os.W_OK):
        raise CasparianError(f"{settings.home}", f"{free:,} bytes free, or no right to write")
    if share := network_share(settings.home):
        raise CasparianError(
            f"{settings.home} is on a network share ({share})", SHARE_WARNING, SHARE_HINT
        )
    return f"{settings.home}, {free:,} bytes free"


def _outputs(store: Store, sinks: Sinks) -> str:
    """Every file on record is there with its rows; files that no record names are told."""
    with store.read() as uow:
        current = [
            one
            for case in uow.evidence.workspaces(archived=True)
            for one in uow.outputs.outputs(case.id)
            if is_parquet(one.sink)
        ]
        folders = {"", *(one.sink for one in current)}
        on_record = {key: uow.outputs.paths(key) for key in folders}
    for one in current:
        found = sinks.parquet(one.sink).rows(sinks.absolute(one))
        if found != one.rows:
            raise CasparianError(f"{one.path} has {found:,} rows", f"{one.rows:,} were committed")
    strays = sum(
        path not in on_record[key] for key in folders for path in sinks.parquet(key).paths()
    )
    return (
        f"{len(current):,} files with {sum(one.rows for one in current):,} rows, {strays:,} others"
    )


def _database(sinks: Sinks, key: str) -> str:
    state = sinks.database(key).probe()
    size = "" if state.size_bytes is None else f", {state.size_bytes:,} bytes"
    return f"{state.version} answers{size}"


def _worker(settings: Settings) -> str:
    limits = WorkerLimits(
        settings.worker_silence_s, settings.worker_stall_s, settings.worker_memory_mb
    )
    worker = WorkerProcess(limits)
    try:
        return f"a worker process starts (pid {worker.greet()})"
    finally:
        worker.stop()
