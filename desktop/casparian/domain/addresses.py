"""Addresses: where a state store or a sink lives, as one line of text, and what of it is a secret.

    sqlite                                   the control plane in the home folder
    parquet://FOLDER                         an absolute folder, or one that begins with ~
    duckdb://FILE                            likewise a file
    postgres://USER@HOST:PORT/DATABASE?OPTIONS
    sqlserver://USER@HOST:PORT/DATABASE?OPTIONS

`postgresql` and `mssql` are taken as other spellings. Options are those of the driver (`sslmode`,
`sslrootcert`, `Encrypt`, ...), passed on as they are, and `schema`, which names where our tables go.
A password is taken out where an address enters the program, and lives in the keyring or the
environment (`casparian.credentials`): what is kept, shown, logged and hashed never holds it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from typing_extensions import override

from casparian.domain.errors import UserProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

Scheme: TypeAlias = str
"""`sqlite`, `parquet`, `duckdb`, `postgres` or `sqlserver`."""

FILES = ("parquet", "duckdb")
SERVERS = ("postgres", "sqlserver")
STATE_SCHEMES = ("sqlite", *SERVERS)
SINK_SCHEMES = (*FILES, *SERVERS)
DATABASES = ("duckdb", *SERVERS)
"""Sinks that are more than a folder of files."""
DEFAULT_SCHEMA = "casparian"

_SPELLINGS = {"postgresql": "postgres", "mssql": "sqlserver"}
_PORTS = {"postgres": 5432, "sqlserver": 1433}
_EXAMPLES = {
    "sqlite": "sqlite",
    "parquet": "parquet://FOLDER",
    "duckdb": "duckdb://FILE",
    "postgres": "postgres://USER@HOST/DATABASE",
    "sqlserver": "sqlserver://USER@HOST/DATABASE",
}
_SECRET_OPTIONS = frozenset({"password", "pwd", "passfile", "sslpassword", "accesstoken", "token"})
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where something lives; made by `parse`."""

    scheme: Scheme
    path: Path | None = None
    """Of a folder or file; None for servers and sqlite."""
    host: str = ""
    """Empty where an option names a socket."""
    port: int | None = None
    user: str = ""
    database: str = ""
    schema: str = DEFAULT_SCHEMA
    """On a server: where our tables of the default workspace go; other workspaces add their name."""
    options: tuple[tuple[str, str], ...] = ()
    """The driver's own, in the order given."""
    password: str | None = field(default=None, repr=False, compare=False)
    """Only on its way from the user to the keyring, or from there to a driver."""

    @property
    def is_server(self) -> bool:
        """Whether a network and a login lie between."""
        return self.scheme in SERVERS

    @property
    def text(self) -> str:
        """The address as settings keep it: with the user's name, without a password."""
        return self._text(f"{quote(self.user, safe='')}@" if self.user else "")

    @property
    def key(self) -> str:
        """The address as it enters keys, records and logs: without user name and password."""
        return self._text("")

    @override
    def __str__(self) -> str:
        return self.key

    def with_password(self, password: str | None) -> Address:
        """The same address, ready to connect."""
        return replace(self, password=password)

    def _text(self, user: str) -> str:
        if self.scheme == "sqlite":
            return "sqlite"
        if self.path is not None:
            return f"{self.scheme}://{self.path.as_posix()}"
        port = f":{self.port}" if self.port and self.port != _PORTS[self.scheme] else ""
        options = list(self.options)
        if self.schema != DEFAULT_SCHEMA:
            options.append(("schema", self.schema))
        more = f"?{urlencode(options, quote_via=quote, safe='/')}" if options else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}{port}/{quote(self.database)}{more}"


def parse(text: str, *, schemes: tuple[Scheme, ...]) -> Address:
    """Read an address.

    Raises:
        UserProblem: it is none of these schemes, or lacks what the scheme needs. The sentence never
            repeats the text, which may hold a password.
    """
    if text == "sqlite" and "sqlite" in schemes:
        return Address("sqlite")
    scheme, mark, rest = text.partition("://")
    scheme = _SPELLINGS.get(scheme.lower(), scheme.lower())
    if not mark or scheme not in schemes:
        raise _problem(f"It must be {_or(_EXAMPLES[one] for one in schemes)}")
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        raise _problem("It must not hold control characters")
    return _of_path(scheme, rest) if scheme in FILES else _of_server(scheme, rest)


def _of_path(scheme: Scheme, rest: str) -> Address:
    # On Windows parquet:///C:/data and parquet://C:/data are the same.
    if os.name == "nt" and rest[:1] == "/" and rest[2:3] == ":":
        rest = rest[1:]
    try:
        path = Path(rest).expanduser()
    except RuntimeError:
        path = Path(rest)
    what = "folder" if scheme == "parquet" else "file"
    if not path.is_absolute():
        raise _problem(f"It must name an absolute {what}, or one that begins with ~")
    return Address(scheme, path=path)


def _of_server(scheme: Scheme, rest: str) -> Address:
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "", parts.port
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _problem(
            f"It must look like {_EXAMPLES[scheme]}",
            "Write special characters of a name or password as %XX",
        ) from None
    database = unquote(parts.path.lstrip("/"))
    named = {name.lower(): value for name, value in options}
    if not database or "/" in database:
        raise _problem(f"It must name a database: {_EXAMPLES[scheme]}")
    if not host and "host" not in named:
        raise _problem(f"It must name a host: {_EXAMPLES[scheme]}")
    if secret := next((one for one in named if one in _SECRET_OPTIONS - {"password"}), ""):
        raise _problem(f"It must not hold the option {secret}", "Keep secrets out of addresses")
    schema = named.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA_NAME.fullmatch(schema):
        raise _problem("The schema must be of a-z, 0-9 and _, and begin with a letter")
    own = {"schema", "password"}
    password = parts.password if parts.password is not None else named.get("password")
    return Address(
        scheme,
        host=host,
        port=port or (_PORTS[scheme] if host else None),
        user=unquote(parts.username or ""),
        database=database,
        schema=schema,
        options=tuple((name, value) for name, value in options if name.lower() not in own),
        password=unquote(password) if password else None,
    )


def _or(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _problem(detail: str, hint: str = "") -> UserProblem:
    return UserProblem("The address cannot be used", detail, hint)
