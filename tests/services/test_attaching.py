"""What the Parquet files say is enough to put them back on record when the state store is lost."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from casparian.bootstrap import open_services
from casparian.domain.cancel import CancelToken
from casparian.domain.evidence import DEFAULT_WORKSPACE
from casparian.domain.jobs import JobState
from casparian.domain.lineage import LINEAGE_KEY
from casparian.services.committing import Committer
from casparian.services.purging import PurgeScope
from casparian.sinks.parquet import ParquetSink
from casparian.state.evidence import FileQuery
from helpers import hostile


@pytest.fixture
def afresh(settings):
    """Close services, lose their state store and catalog, and open the home again."""
    opened = []

    def afresh(services):
        services.close()
        for path in settings.home.glob("state.sqlite*"):
            path.rename(path.with_name(f"lost-{len(opened)}-{path.name}"))
        settings.catalog_path.unlink(missing_ok=True)
        opened.append(open_services(settings, worker_command=hostile.WORKER))
        rules = opened[-1].rules
        rules.save(opened[-1].workspaces.default().id, rules.new("*.hostile", hostile.NAME))
        return opened[-1]

    yield afresh
    for one in opened:
        one.close()


def shown(services):
    """Every table and quarantine of the catalog: its columns, and a digest of its rows in any order."""
    services.catalog.refresh()
    found = {}
    for info in services.results.reader.tables():
        if info.kind == "control":
            continue
        sql = f'SELECT * FROM "{info.schema}"."{info.name}"'
        workspace = services.workspaces.default()
        with services.results.query(workspace.id, sql, CancelToken()) as view:
            rows = view.page(0, 100_000).to_pylist()
        digest = hashlib.sha256("\n".join(sorted(map(str, rows))).encode()).hexdigest()
        columns = tuple((one.name, one.type, one.doc) for one in info.columns)
        found[info.schema, info.name] = (columns, len(rows), digest)
    return found


def counts(services):
    """By path: what was read of each file, and what became of it."""
    rows = services.sources.files(FileQuery(services.workspaces.default().id), 0, None).rows
    return {one.file.path: (one.status, one.read, one.accepted, one.quarantined) for one in rows}


def texts(services):
    services.catalog.refresh()
    workspace = services.workspaces.default()
    sql = "SELECT text FROM hostile_rows ORDER BY text"
    with services.results.query(workspace.id, sql, CancelToken()) as view:
        return view.page(0, 100).column(0).to_pylist()


def outputs(services):
    return next(one for one in services.examine() if one.name == "outputs")


def is_sound(services):
    return outputs(services).ok


def parquet(services):
    return sorted(ParquetSink(services.settings.output_dir).paths())


def relined(path: Path, change) -> None:
    """Write a committed file anew with another lineage."""
    table = pq.read_table(path)
    lineage = json.loads(pq.read_metadata(path).metadata[LINEAGE_KEY])
    path.unlink()
    with pq.ParquetWriter(path, table.schema.remove_metadata(), store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({LINEAGE_KEY.decode(): json.dumps(change(lineage))})


EVIDENCE = {
    "one__csv": "a,b\n1,2\nragged\n",
    "two__csv": "a,b\n3,4.5\n",
    "other__csv": "x,y,z\n1,2,3\n",
    "events__jsonl": '{"ts": "2022-03-10T16:33:50Z", "id": 7, "who": "x"}\n{"ts": 1}\nbroken\n',
    "some__hostile": "warn\none 1\nreject x\ntwo two\n",
    "none__hostile": "",
    "quiet__hostile": "warn",
}


def test_the_catalog_is_what_it_was_and_a_run_has_nothing_to_do(
    hostile_services, case, run, afresh
):
    folder = case(**EVIDENCE)
    run(hostile_services, folder)
    before, read = shown(hostile_services), counts(hostile_services)
    assert len(before) >= 6

    services = afresh(hostile_services)
    assert shown(services) == {}
    told = services.attacher.impact()
    assert shown(services) == {}
    attached = services.attacher.attach()

    assert attached == told
    assert shown(services) == before
    assert attached.left_alone == ()
    report = run(services, folder)
    assert report.jobs == ()
    assert counts(services) == read
    assert shown(services) == before
    assert is_sound(services)


def test_attaching_twice_does_nothing(hostile_services, case, run, afresh):
    run(hostile_services, case(**EVIDENCE))
    services = afresh(hostile_services)
    services.attacher.attach()
    before = shown(services)

    again = services.attacher.attach()

    assert (again.files, again.jobs, again.left_alone) == (0, 0, ())
    assert again.text == "There is nothing to attach."
    assert shown(services) == before


def test_a_row_tells_where_it_came_from_before_its_source_is_added_again(
    hostile_services, case, run, afresh
):
    folder = case(a__hostile="warn\none 1\nreject x")
    run(hostile_services, folder)
    services = afresh(hostile_services)
    services.attacher.attach()
    workspace = services.workspaces.default()
    sql = "SELECT _cf_file_id, _cf_job_id FROM hostile_rows"
    with services.results.query(workspace.id, sql, CancelToken()) as view:
        [row] = view.page(0, 1).to_pylist()

    lineage = services.results.lineage(workspace.id, row["_cf_file_id"], row["_cf_job_id"])

    assert lineage.path == f"{folder}/a.hostile"
    assert (lineage.job.state, lineage.job.rows, lineage.job.quarantined) == (
        JobState.PARTIAL,
        1,
        1,
    )
    [file] = services.jobs.files(lineage.job.id)
    assert (file.path, file.read, file.problem) == ("a.hostile", 2, "the header is stale.")
    assert "Put back on record from 2 Parquet files" in services.jobs.log(lineage.job.id)
    assert services.sources.list(workspace.id) == []


def test_what_was_read_again_counts_as_it_was_read_last(hostile_services, case, run, afresh):
    folder = case(**EVIDENCE)
    run(hostile_services, folder)
    run(hostile_services, folder, force=True)
    before = shown(hostile_services)
    services = afresh(hostile_services)

    attached = services.attacher.attach()

    assert shown(services) == before
    counting = attached.files - attached.superseded
    assert outputs(services).detail.startswith(f"{counting} files with")
    assert run(services, folder).jobs == ()


def test_a_file_that_changed_counts_with_what_it_held_last(hostile_services, case, run, afresh):
    folder = case(a__hostile="one 1\nreject x", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("three 3")
    run(hostile_services, folder)
    before = shown(hostile_services)
    assert texts(hostile_services) == ["three", "two"]
    services = afresh(hostile_services)
    files = parquet(services)

    attached = services.attacher.attach()

    assert shown(services) == before
    # The first two files, of which one was copied without what had changed.
    assert (attached.files, attached.superseded) == (4, 2)
    assert parquet(services) == files
    assert run(services, folder).jobs == ()
    assert texts(services) == ["three", "two"]


def test_without_the_copy_it_is_made_again(hostile_services, case, run, afresh):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("three 3")
    run(hostile_services, folder)
    services = afresh(hostile_services)
    [copy] = [one for one in parquet(services) if len(Path(one).stem) > 60]
    (services.settings.output_dir / copy).unlink()

    services.attacher.attach()

    assert texts(services) == ["three", "two"]
    assert is_sound(services)
    assert run(services, folder).jobs == ()


def test_a_program_that_dies_before_it_commits_leaves_nothing_on_record(
    hostile_services, case, run, afresh, monkeypatch
):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("three 3")
    run(hostile_services, folder)
    services = afresh(hostile_services)
    [copy] = [one for one in parquet(services) if len(Path(one).stem) > 60]
    (services.settings.output_dir / copy).unlink()
    promote = Committer._promote

    def promote_and_die(self, files):
        promote(self, files)
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(Committer, "_promote", promote_and_die)
        patched.setattr(Committer, "_revoke", lambda *_: None)
        with pytest.raises(SystemExit):
            services.attacher.attach()
    assert shown(services) == {}

    services.attacher.attach()

    assert texts(services) == ["three", "two"]
    assert is_sound(services)


def test_what_a_reset_store_has_read_meanwhile_counts(hostile_services, case, run, afresh):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    services = afresh(hostile_services)
    (folder / "b.hostile").unlink()
    run(services, folder)
    assert texts(services) == ["one"]

    attached = services.attacher.attach()

    assert (attached.files, attached.rows) == (1, 1)
    assert texts(services) == ["one", "two"]
    assert is_sound(services)
    assert services.attacher.attach().files == 0


def test_a_changed_file_that_a_reset_store_has_read_meanwhile_counts(
    hostile_services, case, run, afresh
):
    folder = case(a__hostile="one 1")
    run(hostile_services, folder)
    services = afresh(hostile_services)
    (folder / "a.hostile").write_text("three 3")
    run(services, folder)

    attached = services.attacher.attach()

    assert (attached.files, attached.superseded, attached.rows) == (1, 1, 0)
    assert texts(services) == ["three"]


def test_an_older_copy_of_the_store_learns_what_came_after(
    hostile_services, case, run, settings, afresh
):
    folder = case(a__hostile="one 1", b__hostile="two 2")
    run(hostile_services, folder)
    kept = settings.home / "kept.sqlite"
    hostile_services.close()
    shutil.copy(settings.state_path, kept)
    later = open_services(settings, worker_command=hostile.WORKER)
    (folder / "a.hostile").write_text("three 3")
    (folder / "c.hostile").write_text("four 4")
    run(later, folder)
    before = shown(later)
    later.close()
    kept.rename(settings.state_path)
    services = open_services(settings, worker_command=hostile.WORKER)
    assert texts(services) == ["one", "two"]

    services.attacher.attach()

    assert shown(services) == before
    assert run(services, folder).jobs == ()
    assert texts(services) == ["four", "three", "two"]
    services.close()


def test_workspaces_come_back_by_their_folders(hostile_services, case, run, afresh, tmp_path):
    run(hostile_services, case(a__csv="a,b\n1,2\n"))
    case_two = hostile_services.workspaces.create("Case Two")
    second = tmp_path / "second"
    second.mkdir()
    (second / "a.csv").write_text("a,b\n3,4\n")
    hostile_services.intake.take_in(case_two.id, [os.fsencode(second)], cancel=CancelToken())
    hostile_services.jobs.wait(CancelToken())
    services = afresh(hostile_services)

    attached = services.attacher.attach()

    assert attached.workspaces == ("case_two",)
    assert "Workspaces made for it: case_two." in attached.text
    names = [one.name for one in services.workspaces.list()]
    assert names == ["case_two", DEFAULT_WORKSPACE]
    made = services.workspaces.by_name("case_two")
    assert services.rules.list(made.id)
    assert [(one.name, one.rows) for one in services.results.tables(made.id)] == [("a", 1)]
    report = services.intake.take_in(made.id, [os.fsencode(second)], cancel=CancelToken())
    assert report.jobs == ()


def test_a_job_with_a_damaged_file_is_left_alone_and_read_again(
    hostile_services, case, run, afresh
):
    folder = case(a__hostile="one 1\nreject x", b__csv="a,b\n1,2\n")
    run(hostile_services, folder)
    services = afresh(hostile_services)
    [rejected] = [one for one in parquet(services) if "_quarantine/" in one]
    damaged = services.settings.output_dir / rejected
    whole = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(whole[:-20])
    (services.settings.output_dir / "other.parquet").write_bytes(b"no parquet")

    attached = services.attacher.attach()

    [rows] = [one for one in parquet(services) if "hostile_rows/" in one]
    reasons = {one.path: one.reason for one in attached.left_alone}
    assert set(reasons) == {rejected, rows, "other.parquet"}
    assert "Other rows that its job read from a.hostile are missing" in reasons[rows]
    assert {name for _, name in shown(services)} == {"b", "b_quarantine"}

    damaged.write_bytes(whole)
    assert services.attacher.attach().files == 2
    assert texts(services) == ["one"]
    assert run(services, folder).jobs == ()


def test_a_missing_file_is_noticed(hostile_services, case, run, afresh):
    folder = case(a__hostile="one 1\nreject x")
    run(hostile_services, folder)
    services = afresh(hostile_services)
    [rejected] = [one for one in parquet(services) if "_quarantine/" in one]
    (services.settings.output_dir / rejected).unlink()

    assert services.attacher.attach().files == 0
    run(services, folder)
    assert texts(services) == ["one"]


def test_files_of_before_say_less_and_can_be_attached(hostile_services, case, run, afresh):
    folder = case(a__hostile="one 1\nreject x", b__csv="a,b\n1,2\n")
    run(hostile_services, folder)
    before = shown(hostile_services)
    services = afresh(hostile_services)
    kept = {"file_id", "source_hash", "path", "size_bytes", "accepted", "quarantined"}

    def older(lineage):
        del lineage["without_rows"]
        files = [{key: one[key] for key in kept} for one in lineage["files"]]
        return lineage | {"files": files}

    for path in parquet(services):
        relined(services.settings.output_dir / path, older)

    services.attacher.attach()

    assert shown(services) == before
    [job, _] = services.jobs.list(services.workspaces.default().id)
    [file] = services.jobs.files(job.id)
    lineage = services.results.lineage(services.workspaces.default().id, file.file_id, job.id)
    assert lineage.path == f"(where it lay is not recorded)/{file.path}"
    assert run(services, folder).jobs == ()
    assert shown(services) == before


def test_a_later_attempt_counts_in_place_of_what_an_earlier_one_left(
    hostile_services, case, run, afresh
):
    run(hostile_services, case(a__hostile="one 1"))
    services = afresh(hostile_services)
    [path] = parquet(services)
    first = services.settings.output_dir / path
    second = first.with_name(f"{first.stem}-a2.parquet")
    shutil.copy(first, second)
    relined(second, lambda said: said | {"processed_at_us": said["processed_at_us"] + 1})

    attached = services.attacher.attach()

    assert (attached.files, attached.superseded, attached.rows) == (2, 1, 1)
    assert texts(services) == ["one"]


def test_a_table_name_that_is_taken_meanwhile_is_not_shared(
    hostile_services, case, run, afresh, tmp_path
):
    run(hostile_services, case(log__csv="a,b\n1,2\n"))
    services = afresh(hostile_services)
    other = tmp_path / "other"
    other.mkdir()
    (other / "log.csv").write_text("x,y,z\n1,2,3\n")
    run(services, other)

    services.attacher.attach()

    tables = services.results.tables(services.workspaces.default().id)
    assert [(one.name, one.rows, len(one.columns)) for one in tables] == [
        ("log", 1, 3),
        ("log_2", 1, 2),
    ]
    assert is_sound(services)


def test_the_files_of_a_job_in_progress_are_none_of_its_business(
    hostile_services, case, run, monkeypatch
):
    promote = Committer._promote
    seen = []

    def promote_and_attach(self, files):
        promote(self, files)
        monkeypatch.undo()
        seen.append(hostile_services.attacher.attach())

    monkeypatch.setattr(Committer, "_promote", promote_and_attach)
    run(hostile_services, case(a__hostile="one 1"))

    assert [one.files for one in seen] == [0]
    assert texts(hostile_services) == ["one"]


def test_what_is_left_alone_outlives_the_next_start(hostile_services, case, run, afresh, settings):
    """A copy is named after a job that is on record by then, and holds rows of one that is not."""
    folder = case(a__hostile="one 1\nreject x", b__hostile="two 2\nreject y")
    run(hostile_services, folder)
    (folder / "a.hostile").write_text("three 3")
    run(hostile_services, folder)
    services = afresh(hostile_services)
    for one in parquet(services):
        if "_quarantine/" in one:
            (services.settings.output_dir / one).unlink()
    assert services.attacher.attach().jobs == 1
    files = parquet(services)

    open_services(dataclasses.replace(settings)).close()

    assert parquet(services) == files
    assert services.purger.impact(PurgeScope()).unknown.files == 2


def test_a_new_store_on_a_server_learns_the_same(hostile_services, case, run, settings, postgres):
    folder = case(**EVIDENCE)
    run(hostile_services, folder)
    before, read = shown(hostile_services), counts(hostile_services)
    hostile_services.close()
    moved = dataclasses.replace(settings, profile="enterprise", state_store=postgres.text)
    services = open_services(moved, worker_command=hostile.WORKER)
    rules, workspace = services.rules, services.workspaces.default()
    rules.save(workspace.id, rules.new("*.hostile", hostile.NAME))

    services.attacher.attach()

    assert shown(services) == before
    assert run(services, folder).jobs == ()
    assert counts(services) == read
    assert services.purger.purge(PurgeScope()).current.files == 0
    assert services.purger.purge(PurgeScope(everything=True)).current.files > 0
    assert parquet(services) == []
    services.close()


def test_the_real_evidence_comes_back_whole(services, evidence, run, settings):
    run(services, evidence)
    before, read = shown(services), counts(services)
    services.close()
    settings.state_path.unlink()
    again = open_services(settings)

    attached = again.attacher.attach()

    assert shown(again) == before
    assert attached.left_alone == ()
    # What could not be read left no Parquet file that could tell of it.
    failed = {path for path, (status, *_) in read.items() if status == "failed"}
    assert {one.file.path for one in run(again, evidence).plan.decisions if one.runs} == failed
    assert counts(again) == read
    assert shown(again) == before
    again.close()
