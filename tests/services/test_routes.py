"""Routes: an output goes where its route says, and what went elsewhere before is read again."""

from __future__ import annotations

import dataclasses

import pytest

from casparian.bootstrap import open_services
from casparian.domain.addresses import SINK_SCHEMES, parse
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import UserProblem
from casparian.domain.jobs import JobState
from helpers import contents


def address(text):
    return parse(text, schemes=SINK_SCHEMES)


def count(services, table, sink=""):
    """How many rows a target shows."""
    workspace = services.workspaces.default()
    where = services.results.at(workspace.id, sink)
    with where.reader.query(
        f"SELECT count(*) AS n FROM {table}", where.schema, CancelToken()
    ) as view:
        return view.page(0, 1).column(0).to_pylist()[0]


def test_an_output_goes_to_another_folder_and_the_catalog_shows_it(services, case, run, tmp_path):
    workspace = services.workspaces.default()
    other = address(f"parquet://{tmp_path}/other")
    services.routes.set(workspace.id, "delimited", "", other, "replace")

    run(services, case(a__csv="x,y\n1,2\n3,4\n"))

    assert len(list((tmp_path / "other").rglob("*.parquet"))) == 1
    assert not list(services.settings.output_dir.rglob("*.parquet"))
    assert count(services, "a") == 2


def test_a_new_route_plans_again_what_is_elsewhere_and_moves_its_rows(
    services, case, run, tmp_path
):
    workspace = services.workspaces.default()
    folder = case(a__csv="x,y\n1,2\n3,4\n", b__jsonl='{"k": 1}\n')
    run(services, folder)
    file = address(f"duckdb://{tmp_path}/case.duckdb")

    services.routes.set(workspace.id, "delimited", "delimited", file, "replace")
    report = run(services, folder)

    assert [(one.parser, one.files) for one in report.plan.items] == [("delimited", 1)]
    assert f"goes to {file.key} now" in next(
        one.reason for one in report.plan.decisions if one.runs
    )
    assert contents.of_duckdb(tmp_path / "case.duckdb")["a"][0] == 2
    assert [(one.name, one.sink) for one in services.results.tables(workspace.id)] == [
        ("a", file.key),
        ("b", ""),
    ]
    assert count(services, "a", file.key) == 2
    assert run(services, folder).plan.items == ()

    services.routes.remove(workspace.id, "delimited", "delimited")
    run(services, folder)
    assert count(services, "a") == 2
    assert contents.of_duckdb(tmp_path / "case.duckdb")["a"][0] == 0


def test_appending_keeps_what_was_there_and_an_error_refuses_it(services, case, run, tmp_path):
    workspace = services.workspaces.default()
    folder = case(a__csv="x,y\n1,2\n3,4\n")
    file = address(f"duckdb://{tmp_path}/case.duckdb")
    services.routes.set(workspace.id, "delimited", "", file, "append")

    run(services, folder)
    run(services, folder, force=True)
    assert contents.of_duckdb(tmp_path / "case.duckdb")["a"][0] == 4
    assert [one.rows for one in services.results.tables(workspace.id)] == [4]

    services.routes.set(workspace.id, "delimited", "", file, "error")
    run(services, folder, force=True)
    newest = services.jobs.list(workspace.id)[0]
    assert newest.state is JobState.FAILED
    assert "has rows of the same content already" in newest.problem
    assert contents.of_duckdb(tmp_path / "case.duckdb")["a"][0] == 4


def test_a_changed_file_takes_its_old_rows_out_of_a_database(services, case, run, tmp_path):
    workspace = services.workspaces.default()
    folder = case(a__csv="x,y\n1,2\n3,4\n", b__csv="x,y\n5,6\n")
    file = address(f"duckdb://{tmp_path}/case.duckdb")
    services.routes.set(workspace.id, "delimited", "", file, "replace")
    run(services, folder)

    case(a__csv="x,y\n1,2\nragged\n7,8\n9,9\n")
    run(services, folder)

    found = contents.of_duckdb(tmp_path / "case.duckdb")
    assert (found["a"][0], found["a_quarantine"][0]) == (4, 1)
    [table] = services.results.tables(workspace.id)
    assert (table.rows, table.quarantined) == (4, 1)


def test_a_route_names_outputs_that_there_are(services, tmp_path):
    workspace = services.workspaces.default()
    file = address(f"duckdb://{tmp_path}/case.duckdb")

    with pytest.raises(UserProblem, match=r"There are: evtx.evtx_events, delimited.delimited"):
        services.routes.set(workspace.id, "evtx", "registry", file, "replace")


def test_a_sink_that_cannot_be_reached_rests_the_job_and_then_fails_it_with_its_history(
    settings, case, run, monkeypatch
):
    from datetime import timedelta

    monkeypatch.setattr("casparian.services.running.FIRST_REST", timedelta(milliseconds=1))
    chosen = dataclasses.replace(
        settings, profile="hybrid", default_sink="postgres://nobody@127.0.0.1:1/none"
    )
    services = open_services(chosen)
    try:
        run(services, case(a__csv="x,y\n1,2\n"))
        [job] = services.jobs.list(services.workspaces.default().id)

        assert (job.state, job.attempt) == (JobState.FAILED, 3)
        assert "nothing answers at that port" in job.problem
        assert services.jobs.log(job.id).count("nothing answers at that port") >= 3
        assert services.results.tables(services.workspaces.default().id) == []
    finally:
        services.close()
