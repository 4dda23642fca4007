"""Following a team: what other hosts do to the jobs of a shared store, told as events of this program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casparian.domain.events import JobChanged

if TYPE_CHECKING:
    from casparian.domain.events import EventBus
    from casparian.domain.ids import JobId, WorkspaceId
    from casparian.domain.jobs import Job
    from casparian.services.jobs import JobService


class Follower:
    """Looks into the store now and then; whoever listens to events hears of other hosts as of this one."""

    def __init__(self, jobs: JobService, bus: EventBus, host: str) -> None:
        self._jobs = jobs
        self._bus = bus
        self._host = host
        self._workspace: WorkspaceId | None = None
        self._known: dict[JobId, Job] = {}

    def look(self, workspace_id: WorkspaceId) -> None:
        """Tell of every job that has changed since the last look; the first look tells nothing.

        Raises:
            EnvironmentProblem: the store cannot be reached.
        """
        now = {job.id: job for job in self._jobs.list(workspace_id)}
        known, is_first = self._known, workspace_id != self._workspace
        self._workspace, self._known = workspace_id, now
        if is_first:
            return
        for job in now.values():
            # What ends here was told when it ended, and is costly to hear twice.
            is_ours = job.host == self._host and job.state.is_terminal
            if job != known.get(job.id) and not is_ours:
                self._bus.publish(JobChanged(workspace_id, job.id, job.state))
