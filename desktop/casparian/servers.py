"""What a database server says, as the errors people see: one table of causes for all who talk to one.

PostgreSQL answers with an SQLSTATE (appendix A of its manual), save where a connection was never made:
then only libpq's text tells. Both drivers, psycopg and ADBC, carry the one as `sqlstate` and the other as
the text of the exception. The text of a driver never holds a password; should it ever, it is taken out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem

if TYPE_CHECKING:
    from casparian.domain.addresses import Address

CONNECT_TIMEOUT_S = 4


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why a server did not do as it was told."""

    says: str
    hint: str = ""
    retryable: bool = False
    user: bool = False
    """Whether the user can put it right in the configuration."""


_LOGIN = _Cause(
    "the login was refused", "Check the user name and the password of the address", user=True
)
_NO_DATABASE = _Cause(
    "there is no such database", "Make the database, or check its name in the address", user=True
)
_RIGHTS = _Cause(
    "the user lacks a right",
    "Ask whoever runs the server for the right to make and write tables there",
    user=True,
)
_TLS = _Cause(
    "no encrypted connection could be agreed on",
    "Check sslmode and sslrootcert in the address",
    user=True,
)
_OPTION = _Cause(
    "an option of the address is not known or has no such value",
    "Check what follows the question mark in the address",
    user=True,
)
_READ_ONLY = _Cause(
    "the server takes no changes: it is read-only", "Name the primary server in the address"
)
_DISK = _Cause("the server's disk is full", "Free some space on it and try again", retryable=True)
_FULL = _Cause(
    "the server has no connection left", "Try again when others are done", retryable=True
)
_BUSY = _Cause("another program has it locked", "Try again when it is done", retryable=True)
_LOST = _Cause(
    "the connection was lost", "Nothing of it was kept; it can be tried again", retryable=True
)
_STARTING = _Cause("the server is starting or stopping", "Try again in a minute", retryable=True)
_STOPPED = _Cause("the server stopped a statement", "Try again", retryable=True)
_NOBODY = _Cause(
    "nothing answers at that port", "Check that the server runs, and the port", retryable=True
)
_UNREACHABLE = _Cause(
    "the host cannot be reached", "Check the network and the host's name", retryable=True
)
_VALUE = _Cause("the database cannot hold a value", "Choose another sink for this output")
_LIMIT = _Cause(
    "the table would be larger than the database allows",
    "Choose another sink for this output",
    user=True,
)
_DAMAGED = _Cause("the server reports a damaged file", "Have its disk and its logs looked at")

_BY_STATE = {
    "08": _LOST,
    "22": _VALUE,
    "25006": _READ_ONLY,
    "28": _LOGIN,
    "3D": _NO_DATABASE,
    "40": _Cause("it crossed another change", "Try again", retryable=True),
    "42501": _RIGHTS,
    "53100": _DISK,
    "53200": _Cause("the server is out of memory", "Try again later", retryable=True),
    "53300": _FULL,
    "54": _LIMIT,
    "55P03": _BUSY,
    "55006": _BUSY,
    "57014": _STOPPED,
    "57P": _STARTING,
    "58": _Cause("the server met an error of its system", "Have its logs looked at"),
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
"""By the whole SQLSTATE, its first three characters, or its class."""

_BY_TEXT = (
    (r"password authentication failed|no password supplied|authentication failed", _LOGIN),
    (r"no pg_hba\.conf entry|role \".*\" does not exist|not permitted to log in", _LOGIN),
    (r"database \".*\" does not exist", _NO_DATABASE),
    (r"permission denied for", _RIGHTS),
    (r"too many connections|too many clients|remaining connection slots", _FULL),
    (r"starting up|shutting down|in recovery mode|not yet accepting connections", _STARTING),
    (r"translate host name|resolve host|not known|No address associated", _UNREACHABLE),
    (r"timeout expired|timed out|No route to host|Network is unreachable|Host is", _UNREACHABLE),
    (r"Connection refused|accepting connections on that socket|\(0x0000274D", _NOBODY),
    (r"terminating connection|server closed the connection|connection to server was lost", _LOST),
    (r"Connection reset|Broken pipe|EOF detected|SYSCALL|could not (?:send|receive)", _LOST),
    (r"no connection to the server|connection (?:is closed|not open|is lost)", _LOST),
    (r"query parameter|connection option|invalid \w+ value|invalid (?:port|integer)", _OPTION),
    (r"SSL|certificate|TLS|encryption", _TLS),
)
"""For what comes without an SQLSTATE: libpq's own words, and the server's before a session begins."""

_NOISE = re.compile(
    r"^\s*[A-Z_]+: |\[libpq\] |\. SQLSTATE: \w{5}|Query was:.*|LINE \d+:.*|DETAIL: .*"
    r"|Failed to (?:connect|prepare query|execute [^:]*): |\b(?:PGRES_)?FATAL(?:_ERROR)?:? +|ERROR: +",
    re.DOTALL | re.MULTILINE,
)


def is_postgres_state(error: BaseException, *states: str) -> bool:
    """Whether a driver's error has one of these SQLSTATEs, or is of one of these classes."""
    return (getattr(error, "sqlstate", None) or "").startswith(states)


def postgres_problem(error: BaseException, what: str, address: Address) -> CasparianError:
    """Turn an error of psycopg or ADBC into a sentence: *what* was attempted, where, and why not.

    Wrapped errors are to be unwrapped before (`DBAPIError.orig`).
    """
    text = str(error)
    cause = _cause_of(getattr(error, "sqlstate", None) or "", text)
    said = _without_secret(_cleaned(text), address.password)
    place = f"{address.key}: "
    if cause is None:
        return EnvironmentProblem(what, f"{place}{said}")
    detail = f"{place}{cause.says} ({said})" if said else f"{place}{cause.says}"
    if cause.user:
        return UserProblem(what, detail, cause.hint)
    return EnvironmentProblem(what, detail, cause.hint, retryable=cause.retryable)


def _cause_of(state: str, text: str) -> _Cause | None:
    for key in (state, state[:3], state[:2]):
        if key and (found := _BY_STATE.get(key)):
            return found
    if state:
        return None
    return next((cause for pattern, cause in _BY_TEXT if re.search(pattern, text)), None)


def _cleaned(text: str) -> str:
    """What the server said, without the driver's wrapping and without the statement."""
    plain = _NOISE.sub("", text)
    return " ".join(plain.split()).rstrip(" .")


def _without_secret(text: str, secret: str | None) -> str:
    if not secret:
        return text
    return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
