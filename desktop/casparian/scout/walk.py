"""What lies below a source: every file, and for everything else why it is left out.

Nothing is excluded silently: links, special files, unreadable folders and what vanishes on the way are
yielded as problems beside the files. Links are never followed, not even within the source: their
target, if it lies within, is met on its own. The order is the same each time: the files of a
folder by name, then its folders by name.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from casparian.domain.errors import UserProblem, from_os_error
from casparian.domain.evidence import ProblemKind, ScanProblem, shown_path, shown_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from casparian.domain.cancel import CancelToken

_SEP = os.fsencode(os.sep)
# A folder that is swapped for a link between listing and opening is not entered.
_FOLDER_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_BY_DESCRIPTOR = os.scandir in os.supports_fd
_SPECIAL_NAMES = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


_Listed = os.DirEntry[str] | os.DirEntry[bytes]


class Found(NamedTuple):
    """A regular file, as the folder lists it; a named tuple, since those are made at half the cost."""

    path_bytes: bytes
    """Relative to the source, as the operating system has it; the name where the source is a file."""
    size_bytes: int
    mtime_ns: int


def walk(root: bytes, *, is_folder: bool, cancel: CancelToken) -> Iterator[Found | ScanProblem]:
    """Yield every file below a folder, or the one file, and every entry that is left out.

    Raises:
        EnvironmentProblem: the source itself is gone or cannot be read; nothing may then be
            concluded about the files in it.
        Cancelled: somebody asked to stop.
    """
    if not is_folder:
        yield _single_file(root)
        return

    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        entries, folders = _list(root, folder, cancel)
        yield from entries
        waiting.extend(reversed(folders))


def overlaps(
    new: bytes, existing: Iterable[bytes], *, ignore_case: bool | None = None
) -> str | None:
    """Say in a sentence which source a new one overlaps with, or return None.

    All paths are absolute and real (`os.path.realpath`). Case is ignored where file systems usually
    ignore it (Windows, macOS), unless told.
    """
    if ignore_case is None:
        ignore_case = sys.platform in {"win32", "darwin"}
    ours = _comparable(new, ignore_case=ignore_case)
    for path in existing:
        theirs = _comparable(path, ignore_case=ignore_case)
        name = shown_text(shown_path(path))
        if ours == theirs:
            return f"{name} is already a source"
        if ours.startswith(theirs):
            return f"It lies inside the source {name}, which already covers it"
        if theirs.startswith(ours):
            return f"It contains {name}, which is already a source"
    return None


def _comparable(path: bytes, *, ignore_case: bool) -> bytes:
    path = path.rstrip(_SEP) + _SEP
    if not ignore_case:
        return path
    return path.decode("utf-8", "surrogateescape").casefold().encode("utf-8", "surrogateescape")


def _single_file(root: bytes) -> Found:
    try:
        facts = os.lstat(root)
    except OSError as error:
        raise from_os_error(error, "Could not read the source") from error
    if _is_link(facts) or not stat.S_ISREG(facts.st_mode):
        raise UserProblem(
            "The source is no longer a file",
            shown_text(shown_path(root)),
            "Remove the source, and add what you want to read",
        )
    return Found(os.path.basename(root), facts.st_size, facts.st_mtime_ns)  # noqa: PTH119  (bytes)


def _list(
    root: bytes, folder: bytes, cancel: CancelToken
) -> tuple[list[Found | ScanProblem], list[bytes]]:
    """Return what a folder holds by name, and its folders, each path with a separator at its end."""
    entries: list[Found | ScanProblem] = []
    folders: list[bytes] = []
    cancel.check()
    try:
        # One at a time, since a damaged disk may fail in the middle of a folder.
        with _opened(_full(root, folder)) as listing:
            for number, entry in enumerate(listing, 1):
                met = _met(root, folder + os.fsencode(entry.name), entry)
                if isinstance(met, bytes):
                    folders.append(met)
                else:
                    entries.append(met)
                if not number % 1024:
                    cancel.check()
    except OSError as error:
        if not folder:
            raise from_os_error(error, "Could not read the source") from error
        entries.append(_folder_problem(root, folder.rstrip(_SEP), error))
    entries.sort(key=attrgetter("path_bytes"))
    folders.sort()
    return entries, folders


def _full(root: bytes, path: bytes) -> bytes:
    # Without a separator at the end, which would make the system follow a link.
    return root.rstrip(_SEP) + _SEP + path.rstrip(_SEP) if path else root


@contextmanager
def _opened(path: bytes) -> Iterator[Iterator[_Listed]]:
    if not _BY_DESCRIPTOR:
        with os.scandir(path) as listing:
            yield listing
        return
    descriptor = os.open(path, _FOLDER_FLAGS)
    try:
        with os.scandir(descriptor) as listing_by_descriptor:
            yield listing_by_descriptor
    finally:
        os.close(descriptor)


def _met(root: bytes, path: bytes, entry: _Listed) -> Found | ScanProblem | bytes:
    """Return what an entry is; the path with a separator at its end if it is a folder to enter."""
    try:
        facts = entry.stat(follow_symlinks=False)
    except OSError as error:
        return _os_problem(path, error, "It")
    if stat.S_ISREG(facts.st_mode):
        return Found(path, facts.st_size, facts.st_mtime_ns)
    if _is_link(facts):
        return _problem(path, ProblemKind.LINK, _link_message(root, path))
    if stat.S_ISDIR(facts.st_mode):
        return path + _SEP
    what = _SPECIAL_NAMES.get(stat.S_IFMT(facts.st_mode), "not a regular file")
    return _problem(path, ProblemKind.SPECIAL, f"It is {what}, and is not read")


def _is_link(facts: os.stat_result) -> bool:
    """Whether it is a symbolic link, or a junction of Windows, which is a folder by its mode."""
    if stat.S_ISLNK(facts.st_mode):
        return True
    return sys.platform == "win32" and facts.st_reparse_tag == stat.IO_REPARSE_TAG_MOUNT_POINT


def _link_message(root: bytes, path: bytes) -> str:
    try:
        target = shown_text(shown_path(os.readlink(_full(root, path))))  # noqa: PTH115  (bytes)
    except OSError:
        return "It is a link, and is not followed"
    return f"It is a link to {target}, and is not followed"


def _folder_problem(root: bytes, path: bytes, error: OSError) -> ScanProblem:
    if os.path.islink(_full(root, path)):  # noqa: PTH114  (bytes)
        return _problem(path, ProblemKind.LINK, _link_message(root, path))
    return _os_problem(path, error, "The folder")


def _os_problem(path: bytes, error: OSError, what: str) -> ScanProblem:
    if isinstance(error, FileNotFoundError):
        return _problem(path, ProblemKind.VANISHED, f"{what} vanished while the source was scanned")
    reason = error.strerror or str(error)
    return _problem(path, ProblemKind.UNREADABLE, f"{what} could not be read: {reason}")


def _problem(path: bytes, kind: ProblemKind, message: str) -> ScanProblem:
    return ScanProblem(shown_path(path), path, kind, message)
