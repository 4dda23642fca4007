"""A walk tells of every entry: a file, or a problem with its reason."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.evidence import ProblemKind, ScanProblem
from casparian.scout.walk import Found, overlaps, walk
from helpers.rights import a_folder_for_all, an_ordinary_user

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")


def walked(root: Path | bytes, *, is_folder: bool = True) -> list[Found | ScanProblem]:
    return list(walk(os.fsencode(root), is_folder=is_folder, cancel=CancelToken()))


def files(entries: list[Found | ScanProblem]) -> list[bytes]:
    return [entry.path_bytes for entry in entries if isinstance(entry, Found)]


def problems(entries: list[Found | ScanProblem]) -> dict[bytes, ProblemKind]:
    return {entry.path_bytes: entry.kind for entry in entries if isinstance(entry, ScanProblem)}


def test_files_come_by_name_and_before_the_folders_beside_them(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/x/3", "a/0", "z", "A", "a.txt", "empty/"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_bytes(b"")

    entries = walked(tmp_path)

    assert files(entries) == [b"A", b"a.txt", b"z", b"a/0", b"a/x/3", b"b/1", b"b/2"]
    assert problems(entries) == {}


def test_a_file_has_its_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    os.utime(path, ns=(0, 1_234_567_890_123_456_789))

    assert walked(tmp_path) == [Found(b"x", 5, path.stat().st_mtime_ns)]
    assert walked(path, is_folder=False) == [Found(b"x", 5, path.stat().st_mtime_ns)]


@posix
def test_links_are_recorded_with_their_target_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real" / "file").write_text("x")
    (root / "to-folder").symlink_to(outside)
    (root / "to-file").symlink_to(outside / "secret")
    (root / "within").symlink_to("real")
    (root / "dangling").symlink_to("no\u202ewhere")
    (root / "real" / "loop").symlink_to("..")

    entries = walked(root)

    assert files(entries) == [b"real/file"]
    assert problems(entries) == dict.fromkeys(
        [b"dangling", b"to-file", b"to-folder", b"within", b"real/loop"], ProblemKind.LINK
    )
    [dangling] = [entry for entry in entries if entry.path_bytes == b"dangling"]
    assert isinstance(dangling, ScanProblem)
    assert dangling.message == r"It is a link to no\u202ewhere, and is not followed"


@posix
def test_special_files_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        entries = walked(tmp_path)

    assert problems(entries) == {b"pipe": ProblemKind.SPECIAL, b"socket": ProblemKind.SPECIAL}
    assert [entry.message for entry in entries if isinstance(entry, ScanProblem)] == [
        "It is a named pipe, and is not read",
        "It is a socket, and is not read",
    ]


@posix
def test_hostile_names_come_as_the_bytes_that_they_are(tmp_path: Path) -> None:
    names = [
        b"new\nline",
        b"quo\"te's",
        b"100%s%n{}",
        b"-rf",
        b"\xff\xfe invalid",
        "gpj\u202eexe.\u2066x\u2069".encode(),
        b" leading and trailing ",
        b"back\\slash",
        b"folder.evtx",
        b"n" * 255,
        b"\x01\x1b[31mred",
        b"*?[x]{a,b}",
    ]
    root = os.fsencode(tmp_path)
    for name in names:
        Path(os.fsdecode(root + b"/" + name)).write_bytes(b"x")
    like_a_file = root + b"/Security.evtx"
    Path(os.fsdecode(like_a_file)).mkdir()
    Path(os.fsdecode(like_a_file + b"/in\nside")).write_bytes(b"x")

    entries = walked(tmp_path)

    assert files(entries) == [*sorted(names), b"Security.evtx/in\nside"]
    assert problems(entries) == {}


@posix
@given(
    names=st.sets(
        st.binary(min_size=1, max_size=12).map(
            lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_")
        ),
        max_size=12,
    ).map(lambda names: names - {b".", b".."})
)
def test_any_names_are_all_found_in_order(
    names: set[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = os.fsencode(tmp_path_factory.mktemp("names"))
    for name in names:
        Path(os.fsdecode(root + b"/" + name)).write_bytes(b"")

    assert files(walked(root)) == sorted(names)


@posix
def test_an_unreadable_folder_is_recorded_and_its_neighbours_are_read() -> None:
    with a_folder_for_all() as root:
        (root / "closed").mkdir(mode=0)
        (root / "open").write_text("x")
        with an_ordinary_user():
            entries = walked(root)

    assert problems(entries) == {b"closed": ProblemKind.UNREADABLE}
    assert files(entries) == [b"open"]


@posix
def test_a_folder_that_vanishes_or_becomes_a_link_meanwhile_is_recorded(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "first").write_text("x")

    steps = walk(os.fsencode(tmp_path), is_folder=True, cancel=CancelToken())
    met = [next(steps)]
    (tmp_path / "a" / "file").unlink()
    (tmp_path / "a").rmdir()
    (tmp_path / "b" / "file").unlink()
    (tmp_path / "b").rmdir()
    (tmp_path / "b").symlink_to("c")
    met.extend(steps)

    assert files(met) == [b"first", b"c/file"]
    assert problems(met) == {b"a": ProblemKind.VANISHED, b"b": ProblemKind.LINK}


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="makes a path longer than the system takes")
def test_a_folder_too_deep_to_be_opened_is_recorded(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=descriptor)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)

    [problem] = walked(tmp_path)

    assert isinstance(problem, ScanProblem)
    assert problem.kind is ProblemKind.UNREADABLE
    assert problem.message == "The folder could not be read: File name too long"


def test_a_tree_deeper_than_the_stack_is_walked(tmp_path: Path) -> None:
    folders = [str(tmp_path) + "/d" * depth for depth in range(1, 1100)]
    for folder in folders:
        os.mkdir(folder)  # noqa: PTH102  (a Path this deep is slow)
    try:
        assert walked(tmp_path) == []
    finally:
        # What clears temporary folders after the tests calls itself for each level.
        for folder in reversed(folders):
            os.rmdir(folder)  # noqa: PTH106


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_source_that_is_gone_is_an_error_and_not_an_empty_walk(
    tmp_path: Path, *, is_folder: bool
) -> None:
    with pytest.raises(EnvironmentProblem, match="Could not read the source"):
        walked(tmp_path / "gone", is_folder=is_folder)


@posix
def test_a_source_that_became_something_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file").write_text("x")
    (tmp_path / "file-link").symlink_to("file")

    for name, is_folder in [("link", True), ("file", True)]:
        with pytest.raises(CasparianError):
            walked(tmp_path / name, is_folder=is_folder)
    for name in ("folder", "file-link"):
        with pytest.raises(UserProblem, match="no longer a file"):
            walked(tmp_path / name, is_folder=False)


def test_a_cancelled_walk_stops(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    cancel = CancelToken("The scan")
    cancel.cancel()

    with pytest.raises(Cancelled, match="The scan was cancelled"):
        list(walk(os.fsencode(tmp_path), is_folder=True, cancel=cancel))


@pytest.mark.parametrize(
    ("new", "existing", "expected"),
    [
        (b"/c/a", [b"/c/a"], "/c/a is already a source"),
        (b"/c/a/", [b"/c/a"], "/c/a is already a source"),
        (b"/c/a/b", [b"/x", b"/c/a"], "It lies inside the source /c/a, which already covers it"),
        (b"/c", [b"/c/a"], "It contains /c/a, which is already a source"),
        (b"/", [b"/c/a"], "It contains /c/a, which is already a source"),
        (b"/c/a", [b"/"], "It lies inside the source /, which already covers it"),
        (b"/c/ab", [b"/c/a"], None),
        (b"/c/a", [b"/c/ab"], None),
        (b"/c/A", [b"/c/a"], None),
        (b"/c/\xff", [b"/c/\xfe"], None),
        (b"/c/a", [], None),
    ],
)
@posix
def test_overlapping_sources_are_told_in_a_sentence(
    new: bytes, existing: list[bytes], expected: str | None
) -> None:
    assert overlaps(new, existing, ignore_case=False) == expected


@posix
def test_case_is_ignored_where_the_file_system_ignores_it() -> None:
    assert overlaps(b"/C/\xc3\x84/x", [b"/c/\xc3\xa4"], ignore_case=True)
    assert overlaps(b"/c/\xff", [b"/C/\xff"], ignore_case=True)


@posix
@given(st.lists(st.sampled_from([b"a", b"b", b"ab"]), min_size=1, max_size=4), st.data())
def test_overlap_is_symmetric(parts: list[bytes], data: st.DataObject) -> None:
    others = data.draw(st.lists(st.sampled_from([b"a", b"b", b"ab"]), min_size=1, max_size=4))
    one, other = b"/" + b"/".join(parts), b"/" + b"/".join(others)

    shorter = min(len(parts), len(others))
    assert (overlaps(one, [other]) is not None) == (parts[:shorter] == others[:shorter])
    assert (overlaps(one, [other]) is None) == (overlaps(other, [one]) is None)
