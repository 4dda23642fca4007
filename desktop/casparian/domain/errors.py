"""The errors people see: what happened, why, and the next act.

    CasparianError(title, detail, hint)      str() is a sentence for a person, never a traceback
    ├── UserProblem         the user can fix it
    ├── EnvironmentProblem  disk full, locked, unreachable, wrong schema version; says if a retry helps
    ├── ParserFault         a worker crashed, went silent, or broke the protocol
    └── Cancelled           not a failure, never shown as one

Anything else that is raised is our own bug and reaches the crash dialog or exit code 70. Bad data is
no exception at all: it is quarantine. Foreign exceptions are converted at the edge where they arise.
"""

from __future__ import annotations

import errno
from typing import ClassVar

from typing_extensions import override


class CasparianError(Exception):
    """An error with a title, a detail and, where there is one, the next act."""

    exit_code: ClassVar[int] = 70

    def __init__(self, title: str, detail: str = "", hint: str = "") -> None:
        super().__init__(title, detail, hint)
        self.title = title
        self.detail = detail
        self.hint = hint

    @override
    def __str__(self) -> str:
        return " ".join(
            f"{part.rstrip('.')}." for part in (self.title, self.detail, self.hint) if part
        )


class UserProblem(CasparianError):  # noqa: N818  (a problem is not always an error)
    """Something the user can put right: a missing source, a rule that does not parse."""

    exit_code = 2


class EnvironmentProblem(CasparianError):  # noqa: N818
    """Something the machine stands in the way with: a full disk, a lock, missing rights."""

    exit_code = 3

    def __init__(
        self, title: str, detail: str = "", hint: str = "", *, retryable: bool = False
    ) -> None:
        super().__init__(title, detail, hint)
        self.retryable = retryable


class ParserFault(CasparianError):  # noqa: N818
    """A worker crashed, went silent, or broke the protocol while it read one file."""

    exit_code = 4

    def __init__(
        self,
        title: str,
        detail: str = "",
        hint: str = "",
        *,
        exit_status: int | None = None,
        stderr_tail: str = "",
    ) -> None:
        super().__init__(title, detail, hint)
        self.exit_status = exit_status
        self.stderr_tail = stderr_tail


class Cancelled(CasparianError):  # noqa: N818
    """The user stopped it."""

    exit_code = 130

    def __init__(self, what: str = "The work") -> None:
        super().__init__(f"{what} was cancelled")


_HINTS = {
    errno.ENOSPC: "Free some space on that disk and try again",
    errno.EDQUOT: "Free some space within your quota and try again",
    errno.EACCES: "Check that you may read and write there",
    errno.EPERM: "Check that you may read and write there",
    errno.EROFS: "The disk is read-only; choose another folder",
    errno.ENOENT: "Check that it is still there",
    errno.EIO: "The disk reported an input/output error; check the drive or the cable",
}


def from_os_error(error: OSError, what: str) -> EnvironmentProblem:
    """Turn an `OSError` into a sentence: *what* was attempted, the path and the system's reason."""
    reason = error.strerror or str(error)
    where = f"{error.filename!s}: " if error.filename else ""
    return EnvironmentProblem(
        what,
        f"{where}{reason}",
        _HINTS.get(error.errno or 0, ""),
        retryable=error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EBUSY, errno.EAGAIN},
    )
