"""Both hashes and the kind of a file in one read pass, and proof that it held still meanwhile.

BLAKE3 is the `source_hash`; SHA-256 is what courts and hash sets use. Small files are read in one
call. From a few megabytes on a second thread takes SHA-256, the slowest of the three steps, while
this one reads ahead and does BLAKE3: all three release the GIL.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from casparian.domain.errors import EnvironmentProblem
from casparian.domain.evidence import ProblemKind
from casparian.scout.kinds import HEAD_BYTES, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.domain.cancel import CancelToken

CHUNK_BYTES = 2 * 1024 * 1024
AT_ONCE_BYTES = 2 * CHUNK_BYTES
"""Files up to this size are read whole."""

# No link in the last place is followed, and a named pipe swapped in cannot make the open wait.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOINHERIT", 0)
)
# Only the owner of a file may read it without touching its access time.
_NO_ATIME = getattr(os, "O_NOATIME", 0)


class Hashed(NamedTuple):
    """What one read pass says of a file; a named tuple, since those are made at half the cost."""

    size_bytes: int
    mtime_ns: int
    kind: str
    """One of `kinds.KINDS`."""
    source_hash: str
    """BLAKE3, hex."""
    sha256: str


class NotHashed(EnvironmentProblem):
    """A file that could not be read, or did not hold still; `kind` and `detail` go into the scan."""

    def __init__(self, kind: ProblemKind, message: str) -> None:
        super().__init__("The file was not hashed", message)
        self.kind = kind


def hash_file(
    path: bytes, cancel: CancelToken, on_bytes: Callable[[int], object] | None = None
) -> Hashed:
    """Read a file once, for both hashes and its kind.

    `on_bytes` is told how many more bytes are done, chunk by chunk.

    Raises:
        NotHashed: it is unreadable, gone, no regular file, or changed while it was read.
        Cancelled: somebody asked to stop.
    """
    try:
        descriptor = _open(path)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise NotHashed(ProblemKind.SPECIAL, "It is no longer a regular file")
            size = before.st_size
            if size <= AT_ONCE_BYTES:
                source_hash, sha256, head, read = _hash_at_once(descriptor, size)
                if on_bytes:
                    on_bytes(read)
            else:
                source_hash, sha256, head, read = _hash_in_chunks(
                    descriptor, size, cancel, on_bytes
                )
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _not_read(error) from error
    if read != size or size != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise NotHashed(
            ProblemKind.CHANGED, "It changed while it was read; scan again once it rests"
        )
    return Hashed(size, before.st_mtime_ns, kind_of(head, size), source_hash, sha256)


def _open(path: bytes) -> int:
    try:
        return os.open(path, _FLAGS | _NO_ATIME)
    except PermissionError as error:
        if error.errno != errno.EPERM or not _NO_ATIME:
            raise
    return os.open(path, _FLAGS)


_Digests = tuple[str, str, bytes, int]
"""BLAKE3, SHA-256, the head, and the bytes read: more than the size tells that the file has grown."""


def _hash_at_once(descriptor: int, size: int) -> _Digests:
    content = os.read(descriptor, size + 1)
    # Network and user-space file systems may hand out less than was asked for.
    while len(content) < size and (more := os.read(descriptor, size + 1 - len(content))):
        content += more
    return (
        blake3(content).hexdigest(),
        hashlib.sha256(content).hexdigest(),
        content[:HEAD_BYTES],
        len(content),
    )


def _hash_in_chunks(
    descriptor: int, size: int, cancel: CancelToken, on_bytes: Callable[[int], object] | None
) -> _Digests:
    source_hash, sha256 = blake3(), hashlib.sha256()
    head, read = b"", 0
    buffers = memoryview(bytearray(CHUNK_BYTES)), memoryview(bytearray(CHUNK_BYTES))
    with io.FileIO(descriptor, closefd=False) as file, ThreadPoolExecutor(1) as second:
        other: Future[None] | None = None
        for buffer in itertools.cycle(buffers):
            cancel.check()
            count = file.readinto(buffer)
            if not count:
                break
            chunk = buffer[:count]
            source_hash.update(chunk)
            # The other buffer is free again once SHA-256 is through with it.
            if other:
                other.result()
            other = second.submit(sha256.update, chunk)

            head += chunk[: HEAD_BYTES - len(head)]
            read += count
            if on_bytes:
                on_bytes(count)
            if read > size:
                break
    return source_hash.hexdigest(), sha256.hexdigest(), head, read


def _not_read(error: OSError) -> NotHashed:
    if error.errno == errno.ENOENT:
        return NotHashed(ProblemKind.VANISHED, "It vanished while the source was scanned")
    # What O_NOFOLLOW says of a link: ELOOP here, EMLINK and EFTYPE on the BSDs.
    if error.errno in {errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", None)}:
        return NotHashed(ProblemKind.LINK, "It became a link, and is not followed")
    # A socket, or a device without a driver.
    if error.errno == errno.ENXIO:
        return NotHashed(ProblemKind.SPECIAL, "It is no longer a regular file")
    reason = error.strerror or str(error)
    return NotHashed(ProblemKind.UNREADABLE, f"It could not be read: {reason}")
