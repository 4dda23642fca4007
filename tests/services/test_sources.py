"""Sources and scans: everything is found, hashed or left out with its reason."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import blake3
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled, UserProblem
from casparian.domain.evidence import FileState, ScanState
from casparian.services import sources as sources_module
from casparian.state.evidence import FileQuery

posix = pytest.mark.skipif(os.name != "posix", reason="names and rights as POSIX has them")


@pytest.fixture
def workspace(services):
    return services.workspaces.default()


def add_and_scan(services, workspace, path, **options):
    [source] = services.sources.add(workspace.id, [os.fsencode(path)])
    return services.sources.scan(source.id, cancel=CancelToken(), **options)


def listed(services, workspace, **query):
    return services.sources.files(FileQuery(workspace.id, **query), 0, None).rows


def test_both_hashes_and_the_size_are_those_of_the_bytes(services, workspace, case):
    scan = add_and_scan(services, workspace, case(a__txt="hello"))

    [row] = listed(services, workspace)
    assert row.file.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert row.file.source_hash == blake3.blake3(b"hello").hexdigest()
    assert (row.file.size_bytes, scan.found, scan.hashed, scan.bytes_hashed) == (5, 1, 1, 5)


def test_a_rescan_reads_only_what_changed_and_force_reads_everything(services, workspace, case):
    folder = case(a__txt="one", b__txt="two")
    add_and_scan(services, workspace, folder)
    (folder / "b.txt").write_text("other")

    again = add_and_scan(services, workspace, folder)
    forced = add_and_scan(services, workspace, folder, force=True)

    assert (again.hashed, again.unchanged) == (1, 1)
    assert (forced.hashed, forced.unchanged) == (2, 0)


def test_a_file_that_is_gone_is_marked_missing_and_stays_on_record(services, workspace, case):
    folder = case(a__txt="one", b__txt="two")
    add_and_scan(services, workspace, folder)
    (folder / "b.txt").unlink()

    scan = add_and_scan(services, workspace, folder)

    assert scan.missing == 1
    assert {row.file.path: row.status for row in listed(services, workspace)} == {
        "a.txt": "unclaimed",
        "b.txt": "missing",
    }


def test_a_file_that_comes_back_is_read_again(services, workspace, case):
    folder = case(a__txt="one")
    add_and_scan(services, workspace, folder)
    (folder / "a.txt").rename(folder.parent / "aside")
    add_and_scan(services, workspace, folder)
    (folder.parent / "aside").rename(folder / "a.txt")

    scan = add_and_scan(services, workspace, folder)

    assert (scan.hashed, scan.missing) == (1, 0)
    assert listed(services, workspace)[0].file.state is FileState.HASHED


def test_the_same_source_again_is_the_same_source(services, workspace, case):
    folder = os.fsencode(case(a__txt="one"))

    assert services.sources.add(workspace.id, [folder]) == services.sources.add(
        workspace.id, [folder]
    )


def test_an_overlapping_source_is_refused_with_a_sentence(services, workspace, case):
    folder = case(a__txt="one")
    services.sources.add(workspace.id, [os.fsencode(folder)])

    with pytest.raises(UserProblem, match="lies inside the source"):
        services.sources.add(workspace.id, [os.fsencode(folder / "a.txt")])
    with pytest.raises(UserProblem, match="contains"):
        services.sources.add(workspace.id, [os.fsencode(folder.parent)])


def test_a_path_that_is_not_there_is_refused_and_nothing_is_added(services, workspace, case):
    folder = case(a__txt="one")

    with pytest.raises(UserProblem, match="is not there"):
        services.sources.add(workspace.id, [os.fsencode(folder), b"/nowhere/at/all"])
    assert services.sources.list(workspace.id) == []


@posix
def test_links_and_pipes_are_left_out_with_a_reason(services, workspace, case):
    folder = case(a__txt="one")
    (folder / "link").symlink_to("/etc")
    os.mkfifo(folder / "pipe")

    scan = add_and_scan(services, workspace, folder)

    skips = {one.path: one.kind.value for one in services.sources.problems(workspace.id)}
    assert skips == {"link": "link", "pipe": "special"}
    assert (scan.found, scan.hashed, scan.skipped) == (3, 1, 2)


NASTY = [
    b"two\nlines.txt",
    b"quo'te\".txt",
    b"100% {0} $(id).txt",
    "evil\u202etxt.exe".encode(),
    b"not-utf8-\xff\xfe.txt",
    b"'; DROP TABLE files;--",
    b" blank ",
]


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems keep names in UTF-8")
@pytest.mark.parametrize("name", NASTY)
def test_any_name_is_found_hashed_and_given_back(services, workspace, case, name):
    folder = os.fsencode(case(other__txt="x"))
    with Path(os.fsdecode(folder + b"/" + name)).open("wb") as file:
        file.write(b"evidence")

    add_and_scan(services, workspace, os.fsdecode(folder))
    services.catalog.refresh()

    row = next(row for row in listed(services, workspace) if row.file.path_bytes == name)
    assert row.file.sha256 == hashlib.sha256(b"evidence").hexdigest()
    assert services.sources.read_bytes(row.file.id, 0, 100) == b"evidence"
    with services.results.query(
        workspace.id, "SELECT path FROM files ORDER BY size", CancelToken()
    ) as view:
        assert row.file.path in view.page(0, 10).column(0).to_pylist()


def test_a_folder_named_like_a_file_is_walked(services, workspace, case):
    folder = case(a__txt="one")
    (folder / "log.evtx").mkdir()
    (folder / "log.evtx" / "inner.txt").write_text("two")

    add_and_scan(services, workspace, folder)

    assert [row.file.path for row in listed(services, workspace)] == ["a.txt", "log.evtx/inner.txt"]
    [below] = services.sources.folders(services.sources.list(workspace.id)[0].source.id, "")
    assert (below.name, below.files, below.size_bytes) == ("log.evtx", 1, 3)


def test_a_cancelled_scan_says_so_and_marks_nothing_missing(services, workspace, case):
    folder = case(a__txt="one")
    add_and_scan(services, workspace, folder)
    cancel = CancelToken()
    cancel.cancel()

    with pytest.raises(Cancelled):
        services.sources.scan(services.sources.list(workspace.id)[0].source.id, cancel=cancel)

    [summary] = services.sources.list(workspace.id)
    assert summary.last_scan.state is ScanState.CANCELLED
    assert listed(services, workspace)[0].status == "unclaimed"


def test_evidence_is_not_touched(services, workspace, case):
    folder = case(a__csv="a,b\n1,2\n")
    path = folder / "a.csv"
    path.chmod(0o444)
    before = path.stat()

    services.intake.take_in(workspace.id, [os.fsencode(folder)], cancel=CancelToken())
    services.jobs.wait(CancelToken())

    after = path.stat()
    assert (after.st_mtime_ns, after.st_ctime_ns, after.st_size) == (
        before.st_mtime_ns,
        before.st_ctime_ns,
        before.st_size,
    )


def test_removing_a_source_says_what_it_does_and_keeps_the_rows(services, workspace, case, run):
    run(services, case(a__csv="a,b\n1,2\n"))
    [summary] = services.sources.list(workspace.id)

    assert "1 files leave" in services.sources.removal_impact(summary.source.id)
    services.sources.remove(summary.source.id)

    assert services.sources.list(workspace.id) == []
    assert listed(services, workspace) == []
    assert [one.rows for one in services.results.tables(workspace.id)] == [1]


names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20
).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200)


@posix
@profile(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(names, st.binary(max_size=50), max_size=8))
def test_what_is_found_is_what_is_hashed_plus_what_is_left_out(services, tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("found")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    made = services.workspaces.create(folder.name)

    scan = add_and_scan(services, made, folder)

    totals = services.workspaces.overview(made.id).files
    assert scan.found == scan.hashed + scan.unchanged + scan.skipped == len(files)
    assert totals.found == totals.hashed + totals.skipped == len(files)
    assert {row.file.sha256 for row in listed(services, made)} == {
        hashlib.sha256(content).hexdigest() for content in files.values()
    }


def test_two_scans_of_one_source_at_once_find_every_file_once(services, case, monkeypatch):
    workspace = services.workspaces.default()
    folder = case(**{f"f{number}__csv": f"a,b\n{number},2\n" for number in range(20)})
    [source] = services.sources.add(workspace.id, [os.fsencode(folder)])
    hashing = sources_module.hash_file
    second = []

    def hash_then_scan_beside(*arguments):
        hashed = hashing(*arguments)
        if not second:
            second.append(True)
            services.sources.scan(source.id, cancel=CancelToken())
        return hashed

    monkeypatch.setattr(sources_module, "hash_file", hash_then_scan_beside)

    services.sources.scan(source.id, cancel=CancelToken())

    page = services.sources.files(FileQuery(workspace.id), 0, 100)
    assert page.total == 20
    assert {one.status for one in page.rows} == {"waiting"}
    assert all(one.file.tags == ("delimited",) for one in page.rows)
