"""What a drop does: add the sources, scan them, plan, queue, start. The same for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.domain.cancel import CancelToken
    from casparian.domain.evidence import Scan, Source
    from casparian.domain.ids import JobId, WorkspaceId
    from casparian.domain.planning import Plan
    from casparian.services.jobs import JobService
    from casparian.services.sources import SourceService


@dataclass(frozen=True, slots=True)
class IntakeReport:
    """What came of it, as far as it is known before the jobs have run."""

    sources: tuple[Source, ...]
    scans: tuple[Scan, ...]
    plan: Plan
    jobs: tuple[JobId, ...]


class Intake:
    """From paths to running jobs."""

    def __init__(self, sources: SourceService, jobs: JobService) -> None:
        self._sources = sources
        self._jobs = jobs

    def take_in(
        self,
        workspace_id: WorkspaceId,
        paths: Sequence[bytes],
        *,
        force: bool = False,
        run: bool = True,
        cancel: CancelToken,
    ) -> IntakeReport:
        """Add what was dropped, scan it, and queue and start what the plan says.

        `force` hashes and reads again what is done already; without `run` it ends with the plan.

        Raises:
            UserProblem: a path cannot be a source.
            Cancelled: somebody asked to stop; what was scanned until then stays on record.
        """
        sources = self._sources.add(workspace_id, paths)
        scans = [self._sources.scan(one.id, force=force, cancel=cancel) for one in sources]
        plan = self._jobs.plan(workspace_id, force=force)
        jobs: list[JobId] = []
        if run:
            jobs = self._jobs.submit(workspace_id, plan)
            self._jobs.start()
        return IntakeReport(tuple(sources), tuple(scans), plan, tuple(jobs))
