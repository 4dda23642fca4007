"""The one place that joins everything: settings in, services out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from casparian import assets
from casparian.credentials import with_secret
from casparian.domain.events import EventBus
from casparian.domain.rules import load_pack
from casparian.services.attaching import Attacher
from casparian.services.catalog import CatalogService
from casparian.services.doctor import examine
from casparian.services.intake import Intake
from casparian.services.jobs import JobService
from casparian.services.purging import Purger
from casparian.services.results import ResultService
from casparian.services.routes import RouteService
from casparian.services.rules import RuleService
from casparian.services.sinks import Sinks
from casparian.services.sources import SourceService
from casparian.services.workspaces import WorkspaceService
from casparian.state.database import Store

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from casparian.services.doctor import Check
    from casparian.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a front end may call."""

    settings: Settings
    bus: EventBus
    workspaces: WorkspaceService
    sources: SourceService
    rules: RuleService
    jobs: JobService
    results: ResultService
    catalog: CatalogService
    intake: Intake
    sinks: Sinks
    routes: RouteService
    purger: Purger
    attacher: Attacher
    _store: Store
    _executor: Executor | None

    def examine(self) -> list[Check]:
        """Look whether everything is as it should be."""
        return examine(self.settings, self._store, self.sinks, self.results)

    def close(self) -> None:
        """Stop what runs and let go of every file; jobs in progress go back to the queue."""
        self.jobs.close()
        self.catalog.close()
        self.results.close()
        self.sinks.close()
        self._store.close()
        if self._executor is not None:
            self._executor.shutdown()


def open_services(
    settings: Settings,
    executor: Executor | None = None,
    worker_command: list[str] | None = None,
) -> Services:
    """Open the home folder and everything in it, and put right what a crash left behind.

    Jobs run on `executor`; without one, on threads of the services' own. `worker_command` starts a worker
    process; without one it is this program's own.

    Raises:
        EnvironmentProblem: the state store cannot be opened or is of another version.
    """
    state = settings.state
    store = Store(with_secret(state) if state.is_server else settings.state_path)
    bus = EventBus()
    sinks = Sinks(settings, store)
    slots = executor or ThreadPoolExecutor(settings.workers, "worker-slot")
    sources = SourceService(store, bus)
    jobs = JobService(settings, store, bus, sinks, slots, worker_command)
    catalog = CatalogService(store, bus, sinks, settings.catalog_path)
    workspaces = WorkspaceService(store, bus, sinks, load_pack(assets.text("rules.toml")))
    services = Services(
        settings=settings,
        bus=bus,
        workspaces=workspaces,
        sources=sources,
        rules=RuleService(store, bus),
        jobs=jobs,
        results=ResultService(settings, store, sinks, catalog),
        catalog=catalog,
        intake=Intake(sources, jobs),
        sinks=sinks,
        routes=RouteService(store, bus, sinks),
        purger=Purger(store, sinks, catalog),
        attacher=Attacher(settings, store, bus, sinks, catalog, workspaces),
        _store=store,
        _executor=None if executor else slots,
    )
    jobs.on_idle = catalog.catch_up
    services.workspaces.default()
    jobs.recover()
    with store.write() as uow:
        # No scan outlives a day; one that still says so belongs to a program that is gone.
        now = uow.now()
        uow.evidence.interrupt_scans(now, now - timedelta(days=1))
        uow.commit()
    return services
