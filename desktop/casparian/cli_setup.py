"""The command line's verbs that look after the program itself: configuration, routes, workers, the doctor.

Those of `config`, and `doctor --sink`, work on the settings alone, so that they can be used where the
state store cannot be reached. What changes a place where things live says first what stays where, and asks.
"""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from casparian import credentials
from casparian.domain.addresses import DATABASES, SINK_SCHEMES, STATE_SCHEMES, parse
from casparian.domain.errors import Cancelled, UserProblem
from casparian.domain.evidence import shown_path, shown_text
from casparian.printing import print_json, print_rows, tell
from casparian.services import configuration, doctor
from casparian.services.purging import PurgeScope
from casparian.services.state_copy import copy_state, reset_state

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from casparian.bootstrap import Services
    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.settings import Settings

POLL_S = 1.0
"""How often a worker looks whether somebody queued a job."""
EXIT_UNREACHABLE = 3


def _config(settings: Settings, options: argparse.Namespace, _cancel: CancelToken) -> int:
    return _CONFIG[options.act](settings, options)


def _config_show(settings: Settings, options: argparse.Namespace) -> int:
    rows = []
    for role in configuration.roles(settings):
        found = configuration.probe(settings, role.name)
        rows.append(
            {
                "role": role.name,
                "kind": role.kind,
                "place": role.place,
                "state": "good" if found.ok else "bad",
                "version": found.version,
                "size": found.size_bytes or 0,
                "free": "" if found.free_bytes is None else f"{found.free_bytes:,}",
                "detail": f"{found.sentence}. {found.hint}".rstrip(". ") + ".",
            }
        )
    if not options.json:
        print(f"profile {settings.profile}, {settings.config_path}")
    print_rows(rows, as_json=options.json)
    return 0 if all(row["state"] == "good" for row in rows) else EXIT_UNREACHABLE


def _config_profile(settings: Settings, options: argparse.Namespace) -> int:
    new, secrets = configuration.changed(
        settings, profile=options.profile, state=options.state, sink=options.sink
    )
    for sentence in configuration.consequences(settings, new):
        tell(sentence)
    _confirm(options, "Change the profile?")
    configuration.apply(new, secrets)
    return _config_show(new, options)


def _config_test(settings: Settings, options: argparse.Namespace) -> int:
    if not options.address:
        return _config_show(settings, options)
    address = parse(options.address, schemes=tuple({*SINK_SCHEMES, *STATE_SCHEMES}))
    look = configuration.probe_state if options.state else configuration.probe_sink
    found = look(address, settings)
    row = {
        "address": address.text,
        "state": "good" if found.ok else "bad",
        "version": found.version,
        "detail": f"{found.sentence}. {found.hint}".rstrip(". ") + ".",
        "seconds": round(found.seconds, 2),
    }
    print_rows([row], as_json=options.json)
    return 0 if found.ok else EXIT_UNREACHABLE


def _config_password(_settings: Settings, options: argparse.Namespace) -> int:
    address = parse(options.address, schemes=("postgres", "sqlserver"))
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {address.text}: ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    credentials.keep(address.with_password(password))
    tell(f"The password of {address.text} is in the keyring.")
    return 0


_CONFIG: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "show": _config_show,
    "profile": _config_profile,
    "test": _config_test,
    "password": _config_password,
}


def _state(settings: Settings, options: argparse.Namespace, cancel: CancelToken) -> int:
    if options.act == "copy":
        address = parse(options.to, schemes=STATE_SCHEMES)
        _keep(address)
        tell(f"The control plane is copied from {settings.state.text} to {address.text}.")
        tell("It is not changed where it is; `casparian config profile` moves the program over.")
        _confirm(options, "Copy it?")
        copied = copy_state(settings, address, cancel=cancel)
        rows: list[dict[str, Any]] = [
            {"table": name, "rows": count} for name, count in copied.rows.items()
        ]
        print_rows(rows, as_json=options.json)
        return 0
    tell(f"The control plane in {settings.state.text} is moved aside, dated; nothing is deleted.")
    tell(
        "Cases, sources, rules and jobs are not seen any more. Outputs stay where they are, and can"
    )
    tell("be attached again with `casparian outputs attach`.")
    _confirm(options, "Move it aside?")
    print_rows([{"moved to": reset_state(settings)}], as_json=options.json)
    return 0


def _outputs(settings: Settings, options: argparse.Namespace, _cancel: CancelToken) -> int:
    with _opened(settings) as services:
        if options.act == "attach":
            tell(services.attacher.impact().text)
            _confirm(options, "Put them back on record?")
            attached = services.attacher.attach()
            for one in attached.left_alone:
                tell(f"left alone: {one.path}: {one.reason}")
            row = {
                "files": attached.files,
                "jobs": attached.jobs,
                "tables": attached.tables,
                "rows": attached.rows,
                "quarantined": attached.quarantined,
                "left alone": len(attached.left_alone),
            }
            print_rows([row], as_json=options.json)
            return 0
        workspace = services.workspaces.by_name(options.workspace) if options.workspace else None
        if options.table and workspace is None:
            workspace = services.workspaces.default()
        scope = PurgeScope(workspace.id if workspace else None, options.table, options.everything)
        tell(services.purger.impact(scope).text)
        _confirm(options, "Delete them?")
        purged = services.purger.purge(scope)
        files = purged.current.files + purged.superseded.files + purged.strays.files
        row = {"files": files, "freed": purged.size_bytes, "in use": purged.held}
        print_rows([row], as_json=options.json)
    return 0


def _worker(settings: Settings, options: argparse.Namespace, cancel: CancelToken) -> int:
    if not settings.state.is_server and not options.until_idle:
        tell("The state store is a file of this machine: only programs on it share its queue.")
    with _opened(settings) as services:
        tell(f"{settings.host_name} works on the queue of {settings.state.key}; Ctrl+C ends it.")
        services.jobs.start()
        # What runs when it ends goes back to the queue, for another host to take.
        while not cancel.wait(POLL_S):
            if options.until_idle and services.jobs.is_idle():
                break
            services.jobs.start()
    return 0


def _route(settings: Settings, options: argparse.Namespace, _cancel: CancelToken) -> int:
    with _opened(settings) as services:
        workspace = services.workspaces.by_name(options.workspace or "default")
        parser, _, output = getattr(options, "output", "").partition(".")
        if options.act == "set":
            address = parse(options.sink, schemes=SINK_SCHEMES)
            _keep(address)
            services.routes.set(workspace.id, parser, output, address, options.mode)
        elif options.act == "remove":
            services.routes.remove(workspace.id, parser, output)
        rows: list[dict[str, Any]] = [
            {
                "parser": one.parser,
                "output": one.output,
                "sink": one.sink,
                "mode": one.mode,
                "by": "route" if one.is_own else "default",
            }
            for one in services.routes.list(workspace.id)
        ]
        print_rows(rows, as_json=options.json)
    return 0


def _sources(settings: Settings, options: argparse.Namespace, _cancel: CancelToken) -> int:
    with _opened(settings) as services:
        workspace = services.workspaces.by_name(options.workspace or "default")
        if options.act == "map":
            host = options.host or settings.host_name
            services.sources.map_root(
                workspace.id, os.fsencode(options.source), host, os.fsencode(options.path)
            )
        rows = [
            {
                "source": one.source.path,
                "files": one.files,
                "size": one.size_bytes,
                "host": host,
                "lies at": shown_path(path),
            }
            for one in services.sources.list(workspace.id)
            for host, path in (services.sources.roots(one.source.id) or {"": b""}).items()
        ]
        print_rows(rows, as_json=options.json)
    return 0


def _doctor(settings: Settings, options: argparse.Namespace, cancel: CancelToken) -> int:
    if options.sink:
        return _doctor_sink(settings, options, cancel)
    with _opened(settings) as services:
        checks = services.examine()
    print_rows(
        [{"check": one.name, "state": _good(ok=one.ok), "detail": one.detail} for one in checks],
        as_json=options.json,
    )
    return 0 if all(one.ok for one in checks) else EXIT_UNREACHABLE


def _doctor_sink(settings: Settings, options: argparse.Namespace, cancel: CancelToken) -> int:
    address = parse(options.sink, schemes=DATABASES)
    rows = []
    try:
        for one in doctor.examine_sink(address, settings, cancel, tell):
            row = {
                "check": one.name,
                "state": _good(ok=one.ok),
                "seconds": round(one.seconds, 2),
                "rows_per_s": one.rows_per_s,
                "detail": one.detail,
            }
            rows.append(row)
            if not options.json:
                line = f"{row['state']:<4}  {one.name:<21}  {one.seconds:6.2f} s  {one.detail}"
                print(shown_text(line), flush=True)
    finally:
        if options.json and rows:
            print_json(rows)
    return 0 if all(row["state"] == "good" for row in rows) else EXIT_UNREACHABLE


def _good(*, ok: bool) -> str:
    return "good" if ok else "bad"


VERBS: dict[str, Callable[[Settings, argparse.Namespace, CancelToken], int]] = {
    "config": _config,
    "route": _route,
    "sources": _sources,
    "state": _state,
    "outputs": _outputs,
    "worker": _worker,
    "doctor": _doctor,
}


def add_verbs(
    verb: Callable[[str, str], argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Add the verbs of this module to the command line's."""
    config = verb("config", "show, test and change where state and outputs live")
    acts = config.add_subparsers(dest="act")
    config.set_defaults(act="show")
    acts.add_parser(
        "show", parents=[common], help="where each role lives, and whether it can be reached"
    )
    profile = acts.add_parser(
        "profile", parents=[common], help="choose a row of the configuration matrix"
    )
    profile.add_argument("profile", choices=("local", "enterprise", "hybrid"))
    profile.add_argument("--state", default="", metavar="ADDRESS", help="where state is to live")
    profile.add_argument("--sink", default="", metavar="ADDRESS", help="where outputs are to go")
    _add_yes(profile)
    test = acts.add_parser(
        "test", parents=[common], help="say in one sentence what is wrong with a connection"
    )
    test.add_argument("address", nargs="?", default="", metavar="ADDRESS")
    test.add_argument("--state", action="store_true", help="as a state store, not as a sink")
    password = acts.add_parser("password", parents=[common], help="put a password into the keyring")
    password.add_argument("address", metavar="ADDRESS")

    route = verb("route", "send outputs of parsers to other sinks than the default one")
    acts = route.add_subparsers(dest="act")
    route.set_defaults(act="list")
    acts.add_parser("list", parents=[common], help="where every output goes")
    put = acts.add_parser("set", parents=[common], help="send an output somewhere")
    put.add_argument("output", metavar="PARSER[.OUTPUT]")
    put.add_argument("sink", metavar="ADDRESS")
    put.add_argument(
        "--mode",
        choices=("replace", "append", "error"),
        default="replace",
        help="what happens to rows of the same content that are there (default: replace)",
    )
    remove = acts.add_parser(
        "remove", parents=[common], help="let an output go where the others go"
    )
    remove.add_argument("output", metavar="PARSER[.OUTPUT]")

    sources = verb("sources", "list sources, and say where they lie on other hosts")
    acts = sources.add_subparsers(dest="act")
    sources.set_defaults(act="list")
    acts.add_parser("list", parents=[common], help="sources, and where they lie on which host")
    mapped = acts.add_parser("map", parents=[common], help="say where a source lies on a host")
    mapped.add_argument("source", metavar="SOURCE", help="its path as listed")
    mapped.add_argument("path", metavar="PATH", help="where it lies there")
    mapped.add_argument("--host", default="", help="default: this one")

    state = verb("state", "copy the control plane elsewhere, or start it afresh")
    acts = state.add_subparsers(dest="act", required=True)
    copy = acts.add_parser(
        "copy", parents=[common], help="copy it to another place, compared row by row"
    )
    copy.add_argument("--to", required=True, metavar="ADDRESS")
    reset = acts.add_parser("reset", parents=[common], help="move it aside, dated; outputs stay")
    for one in (copy, reset):
        _add_yes(one)

    outputs = verb("outputs", "delete what counts no longer, or put outputs back on record")
    acts = outputs.add_subparsers(dest="act", required=True)
    purge = acts.add_parser(
        "purge", parents=[common], help="delete Parquet files whose rows newer ones have replaced"
    )
    purge.add_argument("--table", default="", help="of one table only")
    purge.add_argument(
        "--everything", action="store_true", help="also those that count; a run makes them again"
    )
    attach = acts.add_parser(
        "attach", parents=[common], help="put Parquet files on record that the store lacks"
    )
    for one in (purge, attach):
        _add_yes(one)

    worker = verb("worker", "run queued jobs without a window, for a team on one state store")
    worker.add_argument("--until-idle", action="store_true", help="end when the queue is empty")

    checked = verb("doctor", "check the home folder, the store, the outputs and the workers")
    checked.add_argument(
        "--sink",
        default="",
        metavar="ADDRESS",
        help="try on a database what a sink must do instead, in a schema that is dropped again",
    )


def _add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _confirm(options: argparse.Namespace, question: str) -> None:
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise UserProblem("Nothing was done", "there is nobody to ask", "Say --yes to go ahead")
    if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise Cancelled("The change")


def _keep(address: Address) -> None:
    """Keep the password that an address came with, if it came with one."""
    if address.password is not None:
        credentials.keep(address)


@contextmanager
def _opened(settings: Settings) -> Iterator[Services]:
    from casparian.bootstrap import open_services

    services = open_services(settings)
    try:
        yield services
    finally:
        services.close()
