"""Making what was written last through a power cut: a file's content, and its name in its folder.

And where that cannot be promised: on a share of the network, whose locks and syncs are not a disk's.
"""

from __future__ import annotations

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Return once the content of a file is on the disk."""
    # Windows wants the right to write for it.
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk."""
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals its entries
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


SHARE_WARNING = "its locks and syncs may not hold, and a second machine may damage sqlite"
SHARE_HINT = (
    "Use a folder of this machine (CASPARIAN_HOME or --home), or a server for a team's state"
)
_SHARES = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "glusterfs",
        "ncpfs",
        "nfs",
        "nfs4",
    }
    | {"smb3", "smbfs", "webdav", "davfs", "fuse.davfs2"}
)


def network_share(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The file system by which a folder is on a network share; empty if it is not, or is not known.

    Args:
        folder: it need not be there yet.
        mounts: the system's table of mounts, see proc_pid_mounts(5).
    """
    place = folder.absolute()
    if str(place).startswith(("\\\\", "//")):
        return "UNC path"
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    points = ((line.split(" ")[1:3]) for line in lines)
    found = [
        (len(Path(point.replace("\\040", " ")).parts), kind)
        for point, kind in points
        if place.is_relative_to(point.replace("\\040", " "))
    ]
    kind = max(found, default=(0, ""))[1]  # the longest holds
    return kind if kind in _SHARES else ""
