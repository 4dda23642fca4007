"""Purging frees the disk of what nobody needs, and of nothing else."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from pathlib import Path

import duckdb
import pytest

from casparian.bootstrap import open_services
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import UserProblem
from casparian.services.catalog import CatalogService
from casparian.services.purging import PurgeScope
from casparian.sinks.parquet import ParquetSink
from helpers import hostile


def parquet(services):
    return sorted(ParquetSink(services.settings.output_dir).paths())


def texts(services):
    workspace = services.workspaces.default()
    sql = "SELECT text FROM hostile_rows ORDER BY text"
    with services.results.query(workspace.id, sql, CancelToken()) as view:
        return view.page(0, 100).column(0).to_pylist()


def outputs(services):
    return next(one for one in services.examine() if one.name == "outputs")


def named_in_catalog(services):
    """The names of the Parquet files that the catalog on disk names."""
    with duckdb.connect(str(services.settings.catalog_path), read_only=True) as catalog:
        sql = "SELECT string_agg(sql, ' ') FROM duckdb_views() WHERE NOT internal"
        [(text,)] = catalog.sql(sql).fetchall()
    return re.findall(r"[^/']+\.parquet", text or "")


@pytest.fixture
def replaced(hostile_services, case, run):
    """Two files of evidence, of which one has changed: an old file, its copy and a new one."""
    folder = case(a__hostile="one 1\nreject x", b__hostile="two 2")
    run(hostile_services, folder)
    old = parquet(hostile_services)
    (folder / "a.hostile").write_text("three 3")
    run(hostile_services, folder)
    return folder, old


def test_what_was_replaced_goes_and_what_counts_stays(hostile_services, replaced, run):
    folder, old = replaced
    before = parquet(hostile_services)
    told = hostile_services.purger.impact(PurgeScope())
    assert parquet(hostile_services) == before

    done = hostile_services.purger.purge(PurgeScope())

    assert done == told
    assert (done.superseded.files, done.strays.files, done.current.files) == (2, 0, 0)
    assert "newer rows have replaced theirs: 2 files (" in done.text
    assert parquet(hostile_services) == sorted(set(before) - set(old))
    assert texts(hostile_services) == ["three", "two"]
    assert outputs(hostile_services).ok
    assert hostile_services.purger.purge(PurgeScope()).text == "There is nothing to purge."
    assert run(hostile_services, folder).jobs == ()


def test_after_a_purge_a_program_starts_and_goes_on(hostile_services, replaced, settings, run):
    folder, _ = replaced
    hostile_services.purger.purge(PurgeScope())
    hostile_services.close()

    again = open_services(settings, worker_command=hostile.WORKER)

    (folder / "b.hostile").write_text("four 4")
    run(again, folder)
    assert texts(again) == ["four", "three"]
    assert outputs(again).ok
    again.close()


def test_a_workspace_is_purged_without_the_others(hostile_services, replaced):
    other = hostile_services.workspaces.create("other")
    before = parquet(hostile_services)

    assert hostile_services.purger.purge(PurgeScope(other.id)).size_bytes == 0
    assert parquet(hostile_services) == before
    here = PurgeScope(hostile_services.workspaces.default().id, "hostile_rows")
    assert hostile_services.purger.purge(here).superseded.files == 2


@pytest.mark.parametrize("step", ["refreshed", "deleted"])
def test_a_crash_on_the_way_leaves_a_catalog_that_can_be_read(
    hostile_services, replaced, monkeypatch, step
):
    hostile_services.catalog.refresh()

    def die(*_):
        raise SystemExit

    with monkeypatch.context() as patched:
        if step == "refreshed":
            patched.setattr(CatalogService, "refresh", die)
        else:
            patched.setattr("casparian.state.outputs.OutputRepository.purged", die)
        with pytest.raises(SystemExit):
            hostile_services.purger.purge(PurgeScope(everything=True))

    there = set(parquet(hostile_services))
    assert bool(there) == (step == "refreshed")
    if there:
        assert texts(hostile_services) == ["three", "two"]
    else:
        assert named_in_catalog(hostile_services) == []
    hostile_services.purger.purge(PurgeScope())
    assert parquet(hostile_services) == []
    assert outputs(hostile_services).ok


def test_nothing_is_deleted_that_the_catalog_still_names(hostile_services, replaced, monkeypatch):
    named = []
    revoke = ParquetSink.revoke
    assert len(named_in_catalog(hostile_services)) == 2

    def look_and_revoke(self, paths):
        named.extend(set(named_in_catalog(hostile_services)) & {Path(one).name for one in paths})
        revoke(self, paths)

    monkeypatch.setattr(ParquetSink, "revoke", look_and_revoke)
    hostile_services.purger.purge(PurgeScope(everything=True))

    assert named == []
    assert parquet(hostile_services) == []


def test_everything_goes_and_a_run_reads_it_again(hostile_services, replaced, run):
    folder, _ = replaced
    told = hostile_services.purger.impact(PurgeScope(everything=True))
    assert (told.current.files, told.rows) == (2, 2)

    assert hostile_services.purger.purge(PurgeScope(everything=True)) == told

    assert hostile_services.results.tables(hostile_services.workspaces.default().id) == []
    assert outputs(hostile_services).ok
    assert len(run(hostile_services, folder).jobs) == 1
    assert texts(hostile_services) == ["three", "two"]


def test_one_table_goes_and_the_others_stay(hostile_services, case, run):
    folder = case(a__hostile="one 1", b__csv="a,b\n1,2\n")
    run(hostile_services, folder)
    workspace = hostile_services.workspaces.default()

    hostile_services.purger.purge(PurgeScope(workspace.id, "b", everything=True))

    assert texts(hostile_services) == ["one"]
    assert [one.name for one in hostile_services.results.tables(workspace.id)] == ["hostile_rows"]
    report = run(hostile_services, folder)
    assert [one.parser for one in report.plan.items] == ["delimited"]


def test_what_jobs_left_behind_goes_and_what_another_store_made_stays(hostile_services, case, run):
    run(hostile_services, case(a__hostile="one 1"))
    [path] = parquet(hostile_services)
    committed = hostile_services.settings.output_dir / path
    shutil.copy(committed, committed.with_name(f"{committed.stem}-9.parquet"))
    foreign = committed.with_name("0198c0de-0000-7000-8000-000000000000.parquet")
    shutil.copy(committed, foreign)

    done = hostile_services.purger.purge(PurgeScope())

    assert (done.strays.files, done.unknown.files) == (1, 1)
    assert "Kept, since this store does not know their jobs: 1 file (" in done.text
    assert parquet(hostile_services) == sorted([path, path.replace(committed.name, foreign.name)])


def test_nothing_of_a_job_in_progress_goes(hostile_services, case, run, monkeypatch):
    promote = ParquetSink.promote
    done = []

    def promote_and_purge(self, promotions):
        promote(self, promotions)
        done.append(hostile_services.purger.purge(PurgeScope()))
        with pytest.raises(UserProblem, match="jobs in progress"):
            hostile_services.purger.purge(PurgeScope(everything=True))

    monkeypatch.setattr(ParquetSink, "promote", promote_and_purge)
    run(hostile_services, case(a__hostile="one 1"))

    assert [one.size_bytes for one in done] == [0]
    assert texts(hostile_services) == ["one"]


def test_rows_in_a_database_are_refused_by_name(settings, case, tmp_path):
    sink = f"duckdb://{tmp_path}/rows.duckdb"
    services = open_services(dataclasses.replace(settings, default_sink=sink))
    workspace = services.workspaces.default()
    folder = os.fsencode(case(b__csv="a,b\n1,2\n"))
    services.intake.take_in(workspace.id, [folder], cancel=CancelToken())
    services.jobs.wait(CancelToken())

    with pytest.raises(UserProblem, match=r"The rows of b are in duckdb:.*rows\.duckdb"):
        services.purger.impact(PurgeScope(everything=True))
    assert services.purger.purge(PurgeScope()).size_bytes == 0
    services.close()


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_fresh_catalog_is_made_whatever_became_of_the_old_one(
    hostile_services, settings, case, run, damage
):
    run(hostile_services, case(a__hostile="one 1"))
    hostile_services.close()
    if damage == "missing":
        settings.catalog_path.unlink()
    else:
        settings.catalog_path.write_bytes(b"no database" * 1000)

    again = open_services(settings, worker_command=hostile.WORKER)
    assert again.results.rebuild() >= 4

    assert texts(again) == ["one"]
    again.close()
