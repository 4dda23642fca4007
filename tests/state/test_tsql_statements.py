"""Every statement that the state layer can send, as SQL Server gets it: parsed, and held to its tables."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql

from casparian import parsers
from casparian.bootstrap import open_services
from casparian.domain.addresses import parse
from casparian.domain.cancel import CancelToken
from casparian.domain.jobs import JobState
from casparian.settings import load
from casparian.state import backends, tables
from casparian.state.database import Store
from casparian.state.evidence import FileQuery
from casparian.state.outputs import Route
from helpers import hostile, scripted
from helpers.tsql import ddl_of, dialect, limit_faults, named

MOST_PARAMETERS = 2_100
"""Of one request (maximum capacity specifications for SQL Server)."""
SERVER_TEXTS = {
    name: str(text) for name, text in vars(backends).items() if name.startswith("SQLSERVER_")
}


@dataclass
class Heard:
    """The statements of everything that ran, in T-SQL, each with PostgreSQL's wording of it."""

    statements: dict[str, str] = field(default_factory=dict)
    most_parameters: int = 0

    def hear(self, _connection, statement, many, one, _options) -> None:
        if not isinstance(statement, sa.Executable) or isinstance(statement, sa.schema.DDLElement):
            return
        keys = list((many[0] if many else one) or ()) or None
        compiled = statement.compile(
            dialect=dialect(), column_keys=keys, compile_kwargs={"render_postcompile": True}
        )
        there = statement.compile(dialect=postgresql.dialect(), column_keys=keys)
        self.statements[named(str(compiled))] = str(there)
        self.most_parameters = max(self.most_parameters, str(compiled).count("%("))


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """What was said while the script was played and a case went its way."""
    found = Heard()
    folder = tmp_path_factory.mktemp("heard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(parsers.BUILTIN, hostile.NAME, "helpers.hostile:HostileParser")
        event.listen(sa.Engine, "before_execute", found.hear)
        try:
            with contextlib.closing(Store(folder / "state.sqlite")) as store:
                store.integrity()
                scripted.play(store)
            services = open_services(
                replace(load(folder / "home"), workers=1), worker_command=hostile.WORKER
            )
            with contextlib.closing(services):
                _go_its_way(services, folder / "evidence")
        finally:
            event.remove(sa.Engine, "before_execute", found.hear)
    insert = tables.files.insert().compile(dialect=dialect())
    found.statements[named(str(insert))] = "INSERT"
    return found


def _go_its_way(services, folder) -> None:
    """Scan, plan, run, supersede, fail, retry, cancel, refuse, undo, retire, query, export, route."""
    folder.mkdir()
    [workspace] = services.workspaces.list()
    rule = services.rules.save(workspace.id, services.rules.new("*.hostile", hostile.NAME))
    services.rules.preview(workspace.id, rule)

    def run(**more):
        services.intake.take_in(workspace.id, [os.fsencode(folder)], cancel=CancelToken(), **more)
        services.jobs.wait(CancelToken())

    for number in range(3):
        (folder / f"{number}.hostile").write_text(f"row {number}\nreject\n")
    (folder / "broken.hostile").write_text("raise")
    (folder / "link").symlink_to("nowhere")
    run()
    run()
    (folder / "0.hostile").write_text("another 1")
    run()
    (folder / "1.hostile").write_text("row 2\nreject\n")
    run(force=True)
    [failed] = [one for one in services.jobs.list(workspace.id) if one.failed_files][-1:]
    services.jobs.retry(failed.id)
    services.jobs.wait(CancelToken())
    for one in services.jobs.list(workspace.id):
        services.jobs.log(one.id)
    (folder / "2.hostile").write_text("waits 1")
    run(run=False)
    planned = services.jobs.plan(workspace.id)
    [job_id] = services.jobs.submit(workspace.id, planned)
    services.jobs.cancel(job_id)
    services.jobs.submit(workspace.id, planned)
    with services._store.touch() as uow:
        claim = uow.jobs.claim("host", 1, uow.now())
        uow.commit()
    runner = services.jobs._runner
    runner._refuse(claim, "out of reach")
    services.jobs.cancel_all()
    runner._committer.undo(claim.job)
    services.sinks.remember(_address(folder))
    with services._store.write() as uow:
        uow.outputs.set_route(workspace.id, Route(hostile.NAME, "", "", "append"))
        uow.commit()
    sql = "SELECT * FROM hostile_rows"
    services.results.query(workspace.id, sql, CancelToken()).close()
    services.results.history(workspace.id)
    case = services.workspaces.create("Another")
    services.workspaces.rename(case.id, "other")
    services.workspaces.overview(workspace.id)
    services.workspaces.archive(case.id)
    services.workspaces.restore(case.id)
    services.sources.files(FileQuery(workspace.id, text="x", tag=hostile.NAME), 0, 10)
    [source] = services.sources.list(workspace.id)
    services.sources.removal_impact(source.source.id)
    services.sources.folders(source.source.id, "")
    services.sources.problems(workspace.id)
    services.sources.remove(source.source.id)
    services.sources.add(workspace.id, [os.fsencode(folder)])
    services.rules.delete(rule.id)
    services.examine()
    services.jobs.recover()
    assert {one.state for one in services.jobs.list(workspace.id)} > {JobState.CANCELLED}


def _address(folder):
    return parse(f"duckdb://{folder}/x.duckdb", schemes=("duckdb",))


def test_the_tables_are_definitions_that_sql_server_takes(tsql_model):
    assert tsql_model.model(ddl_of(tables.metadata)) == []


def test_the_tables_keep_to_the_limits_of_sql_server():
    assert limit_faults(";\n".join(ddl_of(tables.metadata))) == []


def test_every_statement_fits_the_tables(tsql_model, heard):
    assert len(heard.statements) > 100

    faults = tsql_model.model(ddl_of(tables.metadata), list(heard.statements))

    assert faults == []


def test_what_is_said_to_sql_server_alone_fits_too(tsql_model):
    statements = [named(text) for text in SERVER_TEXTS.values()]
    assert len(statements) == 6
    assert [tsql_model.syntax(one) for one in statements] == [[]] * 6

    # The model knows no columns of `sys`: what names them is judged by its syntax alone.
    judged = [one for one in statements if "sys." not in one]
    assert tsql_model.model(ddl_of(tables.metadata), judged) == []


def test_what_is_locked_elsewhere_is_locked_by_hints(heard):
    skipping = [one for one, there in heard.statements.items() if "SKIP LOCKED" in there]
    waiting = [
        one
        for one, there in heard.statements.items()
        if "FOR UPDATE" in there and "SKIP LOCKED" not in there
    ]

    assert len(skipping) >= 2
    for one in skipping:
        assert "FROM jobs WITH (UPDLOCK, READPAST, ROWLOCK)" in one
    assert any("TOP 1 " in one for one in skipping)
    assert waiting
    for one in waiting:
        assert "FROM jobs WITH (UPDLOCK, ROWLOCK)" in one


def test_no_statement_has_more_parameters_than_a_request_may(heard):
    assert 400 < heard.most_parameters < MOST_PARAMETERS


def test_tables_that_are_set_aside_go_to_another_schema(tsql):
    text = backends.sqlserver_transfer("a_state", "jo]bs", "a_state_20260102_030405")

    assert text == "ALTER SCHEMA [a_state_20260102_030405] TRANSFER [a_state].[jo]]bs]"
    assert tsql.syntax(text) == []


def test_the_lock_of_units_that_write_is_given_up_by_name():
    assert "THROW 50001" in SERVER_TEXTS["SQLSERVER_LOCK"]
    error = sa.exc.ProgrammingError("x", None, Exception(SERVER_TEXTS["SQLSERVER_LOCK"]))
    backend = backends.SqlServer(parse("sqlserver://u@h/x", schemes=("sqlserver",)))
    assert backend.explained(error).retryable
