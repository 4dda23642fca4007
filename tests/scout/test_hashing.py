"""One read pass gives both hashes and the kind, or says why not."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled
from casparian.domain.evidence import ProblemKind
from casparian.scout.hashing import AT_ONCE_BYTES, CHUNK_BYTES, NotHashed, hash_file
from helpers.rights import a_folder_for_all, an_ordinary_user

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")

SIZES = [
    0,
    1,
    1023,
    AT_ONCE_BYTES - 1,
    AT_ONCE_BYTES,
    AT_ONCE_BYTES + 1,
    AT_ONCE_BYTES + CHUNK_BYTES,
    5 * CHUNK_BYTES + 17,
]


def a_file(folder: Path, content: bytes) -> bytes:
    path = folder / "file"
    path.write_bytes(content)
    return os.fsencode(path)


@pytest.mark.parametrize("size", SIZES)
def test_both_hashes_are_those_of_the_bytes(tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    path = a_file(tmp_path, content)
    told: list[int] = []

    hashed = hash_file(path, CancelToken(), told.append)

    assert hashed.source_hash == blake3(content).hexdigest()
    assert hashed.sha256 == hashlib.sha256(content).hexdigest()
    assert hashed.size_bytes == size == sum(told)
    assert hashed.mtime_ns == os.stat(path).st_mtime_ns  # noqa: PTH116  (bytes)
    assert hashed.kind == ("binary" if size > 1 else hashed.kind)


def test_the_hashes_of_known_vectors_are_right(tmp_path: Path) -> None:
    # BLAKE3 of nothing: the reference test vectors; SHA-256 of nothing: FIPS 180-4 examples.
    hashed = hash_file(a_file(tmp_path, b""), CancelToken())

    assert hashed.source_hash == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert hashed.sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@posix
def test_evidence_is_not_touched(tmp_path: Path) -> None:
    path = a_file(tmp_path, b"x" * 100)
    os.utime(path, ns=(1, 2))
    before = os.stat(path)  # noqa: PTH116  (bytes)

    hash_file(path, CancelToken())

    after = os.stat(path)  # noqa: PTH116  (bytes)
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    if hasattr(os, "O_NOATIME"):
        assert after.st_atime_ns == before.st_atime_ns


def refused(path: bytes) -> ProblemKind:
    with pytest.raises(NotHashed) as caught:
        hash_file(path, CancelToken())
    assert caught.value.detail.startswith("It ")
    return caught.value.kind


def test_a_file_that_is_gone_is_told_as_such(tmp_path: Path) -> None:
    assert refused(os.fsencode(tmp_path / "gone")) is ProblemKind.VANISHED


@posix
def test_what_was_swapped_for_something_else_is_not_read(tmp_path: Path) -> None:
    a_file(tmp_path, b"x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")

    assert refused(os.fsencode(tmp_path / "link")) is ProblemKind.LINK
    assert refused(os.fsencode(tmp_path / "folder")) is ProblemKind.SPECIAL
    assert refused(os.fsencode(tmp_path / "pipe")) is ProblemKind.SPECIAL
    assert refused(b"/dev/null") is ProblemKind.SPECIAL


@posix
def test_a_socket_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert refused(b"socket") is ProblemKind.SPECIAL


@posix
def test_an_unreadable_file_is_told_with_its_reason() -> None:
    with a_folder_for_all() as root:
        path = a_file(root, b"x")
        Path(os.fsdecode(path)).chmod(0)
        with (
            an_ordinary_user(),
            pytest.raises(NotHashed, match="It could not be read: Permission denied") as caught,
        ):
            hash_file(path, CancelToken())

    assert caught.value.kind is ProblemKind.UNREADABLE


@posix
def test_a_file_of_another_owner_is_read() -> None:
    with a_folder_for_all() as root:
        path = a_file(root, b"x")
        with an_ordinary_user():
            hashed = hash_file(path, CancelToken())

    assert hashed.size_bytes == 1


@posix
@pytest.mark.parametrize(
    "change", ["grows", "shrinks", "is written to"], ids=lambda change: change.replace(" ", "-")
)
def test_a_file_that_changes_while_it_is_read_has_no_hash(tmp_path: Path, change: str) -> None:
    path = Path(os.fsdecode(a_file(tmp_path, bytes(4 * CHUNK_BYTES))))
    os.utime(path, ns=(1, 1))

    def meddle(_: int) -> None:
        with path.open("r+b") as file:
            if change == "grows":
                file.seek(0, os.SEEK_END)
                file.write(b"more")
            elif change == "shrinks":
                file.truncate(CHUNK_BYTES)
            else:
                file.write(b"other")

    with pytest.raises(NotHashed) as caught:
        hash_file(os.fsencode(path), CancelToken(), meddle)
    assert caught.value.kind is ProblemKind.CHANGED


@posix
def test_a_file_that_never_stops_growing_is_given_up(tmp_path: Path) -> None:
    path = Path(os.fsdecode(a_file(tmp_path, bytes(3 * CHUNK_BYTES))))
    told: list[int] = []

    def grow(count: int) -> None:
        told.append(count)
        with path.open("ab") as file:
            file.write(bytes(2 * CHUNK_BYTES))

    with pytest.raises(NotHashed):
        hash_file(os.fsencode(path), CancelToken(), grow)
    assert len(told) <= 4


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_file_that_holds_more_than_its_size_says_is_not_hashed() -> None:
    assert refused(b"/proc/self/status") is ProblemKind.CHANGED


def test_a_cancelled_hash_stops_and_leaves_no_thread(tmp_path: Path) -> None:
    path = a_file(tmp_path, bytes(8 * CHUNK_BYTES))
    cancel = CancelToken("The scan")

    with pytest.raises(Cancelled):
        hash_file(path, cancel, lambda _: cancel.cancel())
    assert threading.active_count() == 1


@posix
def test_descriptors_are_closed_whatever_happens(tmp_path: Path) -> None:
    path = a_file(tmp_path, b"x")
    (tmp_path / "folder").mkdir()
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208  (names only)
    hash_file(path, CancelToken())
    refused(os.fsencode(tmp_path / "folder"))

    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208  (names only)
