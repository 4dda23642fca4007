"""Jobs beside another program's: what is taken over, what is left alone, and when the catalog shows it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from casparian.domain.cancel import CancelToken
from casparian.domain.jobs import JobState
from casparian.services import catalog as catalog_module
from casparian.state.queue import LEASE


def _queued(services, folder):
    workspace = services.workspaces.default()
    report = services.intake.take_in(
        workspace.id, [os.fsencode(folder)], run=False, cancel=CancelToken()
    )
    return services.jobs.submit(workspace.id, report.plan)


def _claimed_elsewhere(services, at):
    with services._store.write() as uow:
        claim = uow.jobs.claim("elsewhere", 1, at)
        uow.commit()
    return claim


def test_a_job_whose_program_died_meanwhile_is_taken_over_without_a_restart(hostile_services, case):
    [job_id] = _queued(hostile_services, case(a__hostile="one 1"))
    _claimed_elsewhere(hostile_services, datetime.now(UTC) - LEASE - timedelta(seconds=1))

    hostile_services.jobs.start()
    hostile_services.jobs.wait(CancelToken())

    job = hostile_services.jobs.job(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert "The program that ran it has ended." in hostile_services.jobs.log(job_id)


def test_cancelling_everything_leaves_what_another_program_runs(hostile_services, case):
    [job_id] = _queued(hostile_services, case(a__hostile="one 1"))
    held = _claimed_elsewhere(hostile_services, datetime.now(UTC))

    hostile_services.jobs.cancel_all()

    with hostile_services._store.write() as uow:
        assert uow.jobs.beat(job_id, held.token, datetime.now(UTC))


def test_the_catalog_rests_between_jobs_and_shows_the_last_one(hostile_services, case, monkeypatch):
    monkeypatch.setattr(catalog_module, "REST_SHARE", 1_000_000)
    workspace = hostile_services.workspaces.default()
    for name in ("a", "b", "c", "d", "e", "f"):
        folder = case(**{f"{name}__hostile": f"{name} 1"})
        _queued(hostile_services, folder)
    built = []
    build = hostile_services.catalog.build
    monkeypatch.setattr(hostile_services.catalog, "build", lambda: (built.append(1), build())[1])

    hostile_services.jobs.start()
    hostile_services.jobs.wait(CancelToken())

    assert len(built) < len(hostile_services.jobs.list(workspace.id)) == 6
    with hostile_services.results.query(
        workspace.id, "SELECT count(*) AS n FROM hostile_rows", CancelToken()
    ) as view:
        assert view.page(0, 1).column(0).to_pylist() == [6]


def test_waiting_for_jobs_includes_those_that_another_program_took(
    hostile_services, case, monkeypatch
):
    [job_id] = _queued(hostile_services, case(a__hostile="one 1"))
    held = _claimed_elsewhere(hostile_services, datetime.now(UTC))
    naps = []

    def the_other_goes_on(seconds):
        naps.append(seconds)
        with hostile_services._store.write() as uow:
            uow.jobs.move(job_id, held.token, JobState.FAILED, problem="It said so.")
            uow.commit()

    clock = SimpleNamespace(sleep=the_other_goes_on)
    monkeypatch.setattr("casparian.services.jobs.time", clock)

    hostile_services.jobs.finish([job_id], CancelToken())

    assert len(naps) == 1
    assert hostile_services.jobs.job(job_id).state is JobState.FAILED
