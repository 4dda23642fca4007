"""Connections to SQL Server: the line of text that opens one, and what its refusals mean to people.

The driver is loaded when a connection is first asked for. It is a wheel with Microsoft's ODBC driver in
it, which needs one library of the system (`libltdl`), and reaches for nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem

if TYPE_CHECKING:
    from casparian.domain.addresses import Address

LOGIN_S = 4

OPTIONS = frozenset(
    {
        "applicationintent",
        "authentication",
        "connectretrycount",
        "connectretryinterval",
        "encrypt",
        "hostnameincertificate",
        "ipaddresspreference",
        "keepalive",
        "keepaliveinterval",
        "multisubnetfailover",
        "packetsize",
        "servercertificate",
        "serverspn",
        "trusted_connection",
        "trustservercertificate",
    }
)
"""What an address may hand on to the driver, in lower case; who and where are not among it."""


def connection_string(address: Address) -> str:
    """The address as the driver reads it; every value stands in braces, so that none begins another.

    Raises:
        UserProblem: an option is not known or given twice, or a value holds control characters.
    """
    pairs = [("Server", _server(address)), ("Database", address.database)]
    given = [name.lower() for name, _ in address.options]
    for name in given:
        if name not in OPTIONS or given.count(name) > 1:
            raise UserProblem(
                "The address cannot be used",
                f"Its option {name!a} is {'given twice' if name in OPTIONS else 'not known'}",
                f"SQL Server takes {', '.join(sorted(OPTIONS))}",
            )
    if address.user:
        pairs.append(("UID", address.user))
        # The driver takes no empty values.
        pairs += [("PWD", address.password)] if address.password else []
    elif not {"authentication", "trusted_connection"} & {*given}:
        pairs.append(("Trusted_Connection", "yes"))
    pairs += zip(given, (value for _, value in address.options), strict=True)
    for name, value in pairs:
        if not value or re.search(r"[\0-\x1f\x7f]", value):
            fault = "holds control characters" if value else "has no value"
            raise UserProblem("The address cannot be used", f"Its {name} {fault}")
    return ";".join(f"{name}={_braced(value)}" for name, value in pairs)


def _server(address: Address) -> str:
    return f"tcp:{address.host},{address.port}" if address.port else f"tcp:{address.host}"


def _braced(value: str) -> str:
    return "{" + value.replace("}", "}}") + "}"


def connect(address: Address, *, login_s: int = LOGIN_S) -> Any:
    """Open a connection of `mssql_python`, which commits every statement that is in no transaction.

    Raises:
        UserProblem, EnvironmentProblem: it could not be opened.
    """
    text = connection_string(address)
    what = f"{address} could not be opened"
    try:
        import mssql_python  # large, and rarely needed
    except ImportError as error:
        raise problem(error, what, address) from error
    # A pool would keep sessions, and the locks of those that were cut off, after they are closed.
    mssql_python.pooling(enabled=False)
    try:
        return mssql_python.connect(text, autocommit=True, timeout=login_s)
    except (mssql_python.Error, RuntimeError) as error:
        raise problem(error, what, address) from error


def is_of_the_driver(error: Exception) -> bool:
    """Whether the driver raised it; its bulk load raises what Python has, RuntimeError and others."""
    return type(error).__module__.startswith("mssql_python")


@dataclass(frozen=True, slots=True)
class _Cause:
    says: str
    hint: str = ""
    retryable: bool = False
    user: bool = False
    """Whether the user can put it right in the configuration."""


_CAUSES = (
    (
        r"Failed to load the driver|libltdl|cannot open shared object|No module named",
        _Cause(
            "the driver for SQL Server does not load",
            "Install the system package libltdl7 (Debian, Ubuntu) or libtool-ltdl (Fedora, SUSE)",
        ),
    ),
    (
        r"Login failed|\b18456\b|28000|[Ii]nvalid authorization",
        _Cause(
            "the login was refused",
            "Check the user name and the password, and that the server allows this kind of login",
            user=True,
        ),
    ),
    (
        r"Cannot open database|\b4060\b",
        _Cause(
            "there is no such database for this login",
            "Make the database, or check its name in the address",
            user=True,
        ),
    ),
    (
        r"certificate|SSL|TLS|[Ee]ncryption",
        _Cause(
            "no encrypted connection could be agreed on",
            "Have the server's certificate trusted here; TrustServerCertificate=yes in the address"
            " does without, at the risk of talking to somebody else",
            user=True,
        ),
    ),
    (
        r"permission was denied|do(?:es)? not have permission|\b229\b|\b262\b",
        _Cause(
            "the login lacks a right",
            "Ask whoever runs the server for the right to make and write tables there",
            user=True,
        ),
    ),
    (
        r"deadlock|\b1205\b|another delivery is not done|[Ll]ock request time out",
        _Cause("another program has it locked", "Try again when it is done", retryable=True),
    ),
    (
        r"filegroup is full|log .*is full|Could not allocate|\b(?:1105|9002|1101)\b|disk space",
        _Cause(
            "the server has no room left", "Free some space on it and try again", retryable=True
        ),
    ),
    (
        r"read-only|READ_ONLY|\b3906\b",
        _Cause("it takes no changes: it is read-only", "Name the primary server in the address"),
    ),
    (
        r"0x2AF9|0x2AFC|[Nn]o such host|name or service not known|failed to lookup",
        _Cause("the host is not known", "Check the host's name and the network", retryable=True),
    ),
    (
        r"TCP Provider|unable to establish connection|[Tt]imeout|timed out|[Cc]onnection refused",
        _Cause(
            "nothing answers at that host and port",
            "Check that the server runs, the port, and that the network lets it through",
            retryable=True,
        ),
    ),
    (
        r"[Cc]ommunication link failure|08S01|[Cc]onnection (?:is |was )?(?:broken|reset|closed|lost)",
        _Cause(
            "the connection was lost",
            "Nothing of it was kept; it can be tried again",
            retryable=True,
        ),
    ),
    (
        r"row size|8060|\b511\b|1701",
        _Cause(
            "the table would be larger than SQL Server allows",
            "Choose another sink for this output",
            user=True,
        ),
    ),
)


def problem(error: Exception, what: str, address: Address) -> CasparianError:
    """Turn an error of the driver into a sentence: *what* was attempted, where, and why not."""
    said = " ".join(str(error).split())
    if address.password:
        said = re.sub(rf"(?<!\w){re.escape(address.password)}(?!\w)", "***", said)
    cause = next((one for pattern, one in _CAUSES if re.search(pattern, said)), None)
    if cause is None:
        return EnvironmentProblem(what, f"{address}: {said}")
    detail = f"{address}: {cause.says} ({said})"
    if cause.user:
        return UserProblem(what, detail, cause.hint)
    return EnvironmentProblem(what, detail, cause.hint, retryable=cause.retryable)
