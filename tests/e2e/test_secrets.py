"""A password goes to the keyring and to the driver, and nowhere else: no file, no table, no word printed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg import sql

from helpers.postgres import GUARDED_PASSWORD

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "resources" / "sample"
TRACES = (
    GUARDED_PASSWORD.encode(),
    quote(GUARDED_PASSWORD).encode(),
    GUARDED_PASSWORD.replace(" ", "+").encode(),
    base64.b64encode(GUARDED_PASSWORD.encode()),
)


@pytest.fixture
def guarded(postgres, postgres_server):
    """The address of a database by the way that asks for a password, with all rights on it."""
    with postgres_server.connect() as connection:
        grant = sql.SQL("GRANT ALL ON DATABASE {} TO guarded")
        connection.execute(grant.format(sql.Identifier(postgres.database)))
    return postgres_server.guarded(postgres)


@pytest.fixture
def casparian(tmp_path):
    """Run the command line in a home of its own; return its exit code and all that it printed."""

    def call(*arguments, **env):
        variables = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "desktop"), str(ROOT / "tests")]),
            "PYTHON_KEYRING_BACKEND": "helpers.file_keyring.FileKeyring",
            "CASPARIAN_TEST_KEYRING": str(tmp_path / "keyring.json"),
            **env,
        }
        command = [sys.executable, "-m", "casparian", "--home", str(tmp_path / "home"), *arguments]
        done = subprocess.run(command, capture_output=True, check=False, env=variables)
        assert not any(one in done.stdout + done.stderr for one in TRACES), arguments
        return done

    return call


def rows_of(server, address):
    """Every row of every table of a database, as text."""
    with server.connect(address) as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema LIKE 'casparian%'"
        ).fetchall()
        for schema, table in tables:
            every = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
            for (row,) in connection.execute(every):
                yield f"{schema}.{table}", row


def test_a_password_in_an_address_goes_to_the_keyring_and_leaves_no_trace(
    casparian, guarded, postgres, postgres_server, tmp_path
):
    secret = f"guarded:{quote(GUARDED_PASSWORD)}@"
    given = guarded.text.replace("guarded@", secret)
    home = tmp_path / "home"

    done = casparian("config", "profile", "enterprise", "--state", given, "--sink", given, "--yes")
    assert done.returncode == 0, done.stderr
    assert casparian("run", str(SAMPLE), "--json").returncode == 0
    assert casparian("config").returncode == 0
    assert casparian("route").returncode == 0
    assert casparian("doctor").returncode == 0
    jobs = json.loads(casparian("--json", "jobs").stdout)
    assert jobs
    assert casparian("jobs", "--log", jobs[0]["job"]).returncode == 0
    export = tmp_path / "out.csv"
    assert casparian("export", "access_log", "-o", str(export)).returncode == 0

    for path in (*home.rglob("*"), *tmp_path.glob("out.csv*")):
        if path.is_file():
            content = path.read_bytes()
            assert not any(one in content for one in TRACES), path
    for table, row in rows_of(postgres_server, postgres):
        assert not any(one.decode() in row for one in TRACES), table
    held = (tmp_path / "keyring.json").read_text()
    assert GUARDED_PASSWORD in held


def test_the_environment_serves_where_there_is_no_keyring(casparian, guarded):
    none = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    given = guarded.text.replace("guarded@", f"guarded:{quote(GUARDED_PASSWORD)}@")
    refused = casparian("config", "profile", "hybrid", "--sink", given, "--yes", **none)
    assert refused.returncode == 3
    assert b"Set the environment variable CASPARIAN_PASSWORD_127_0_0_1_" in refused.stderr

    password = {"CASPARIAN_PASSWORD": GUARDED_PASSWORD}
    done = casparian(
        "config", "profile", "hybrid", "--sink", guarded.text, "--yes", **none, **password
    )
    assert done.returncode == 0, done.stderr
    wrong = casparian("config", "test", guarded.text, **none, CASPARIAN_PASSWORD="no")
    assert wrong.returncode == 3
    assert b"the login was refused" in wrong.stdout
