"""The command line: the services without a window.

Exit codes: 0 done, 2 the user can put it right, 3 the environment is in the way, 4 some files failed,
70 a bug of ours, 130 interrupted. What was asked for goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from casparian import __version__, cli_setup
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import CasparianError, UserProblem
from casparian.domain.evidence import DEFAULT_WORKSPACE, ProblemKind, shown_text
from casparian.domain.jobs import JobFileState, JobState
from casparian.printing import print_columns, print_json, print_rows, say, tell, texts
from casparian.settings import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from casparian.bootstrap import Services
    from casparian.domain.events import Event
    from casparian.domain.evidence import Workspace
    from casparian.domain.planning import Plan
    from casparian.domain.results import ViewSpec
    from casparian.services.tables import TableSummary

EXIT_FILES_FAILED = 4
EXIT_BUG = 70
FORMATS = ("csv", "json", "jsonl", "parquet", "xlsx")
_ON_STDOUT = ("csv", "json", "jsonl")
_BAD_SKIPS = {ProblemKind.UNREADABLE, ProblemKind.VANISHED, ProblemKind.CHANGED}
MAX_PROBLEMS = 1000


@dataclass(slots=True)
class Request:
    """What the arguments ask for; without a verb it is the window."""

    verb: str
    home: Path | None
    workspace: str
    paths: list[bytes]
    options: argparse.Namespace


def parse(arguments: Sequence[str]) -> Request:
    """Read the arguments; ends the program with 2 and a sentence where they do not hold."""
    verb = next((one for one in _positionals(arguments) if one in ALL_VERBS), "")
    first = next(_positionals(arguments), "")
    parser = _verb_parser() if first and first == verb else _window_parser()
    options = parser.parse_args(list(arguments))
    home = Path(options.home).expanduser() if options.home else None
    chosen = options.workspace or (DEFAULT_WORKSPACE if verb else "")
    paths = [os.fsencode(one) for one in getattr(options, "paths", [])]
    return Request(getattr(options, "verb", ""), home, chosen, paths, options)


def main(request: Request) -> int:
    """Do what a verb asks for; return the exit code."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(message)s")
    cancel = CancelToken("The run")
    signal.signal(signal.SIGINT, lambda *_: cancel.cancel())
    try:
        if request.verb in cli_setup.VERBS:
            settings = load(request.home)
            return cli_setup.VERBS[request.verb](settings, request.options, cancel)
        with _services(request) as services:
            return _VERBS[request.verb](services, request, cancel)
    except CasparianError as error:
        say(error)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception:  # noqa: BLE001  (the last line of defence: exit code 70)
        traceback.print_exc()
        sys.stderr.write(
            f"This is a bug in Casparian Flow {__version__}; please report the above.\n"
        )
        return EXIT_BUG


# Verbs


def _run(services: Services, request: Request, cancel: CancelToken) -> int:
    started, at = time.monotonic(), datetime.now(UTC)
    workspace = services.workspaces.by_name(request.workspace)
    force = request.options.force
    with _Ticker(services):
        report = services.intake.take_in(workspace.id, request.paths, force=force, cancel=cancel)
        services.jobs.finish(report.jobs, cancel)
    services.catalog.refresh()
    jobs = [one for one in services.jobs.list(workspace.id) if one.created_at >= at]
    states = Counter(one.state for one in jobs)
    totals = services.workspaces.overview(workspace.id)
    problems = list(_problems(services, workspace, [one.id for one in jobs]))
    summary = {
        "files": {
            "found": totals.files.found,
            "hashed": totals.files.hashed,
            "skipped": totals.files.skipped,
            "unclaimed": totals.files.unclaimed,
        },
        "scans": {
            "hashed": sum(one.hashed for one in report.scans),
            "unchanged": sum(one.unchanged for one in report.scans),
        },
        "plan": _plan_facts(report.plan),
        "jobs": {
            state.value: states[state]
            for state in (
                JobState.SUCCEEDED,
                JobState.PARTIAL,
                JobState.FAILED,
                JobState.CANCELLED,
            )
        },
        "tables": _table_counts(totals.tables),
        "problems": problems,
        "seconds": round(time.monotonic() - started, 3),
    }
    if request.options.json:
        print_json(summary)
    else:
        _print_summary(summary, report.plan)
    failed = sum(one.failed_files for one in jobs) + states[JobState.FAILED]
    # What never left the queue was not read either.
    failed += sum(not one.state.is_terminal for one in jobs)
    unread = sum(one.kind in _BAD_SKIPS for one in services.sources.problems(workspace.id))
    return EXIT_FILES_FAILED if failed or unread else 0


def _table_counts(tables: Sequence[TableSummary]) -> dict[str, dict[str, int]]:
    """Rows by table, wherever they are."""
    counts: dict[str, dict[str, int]] = {}
    for one in tables:
        known = counts.setdefault(one.name, {"rows": 0, "quarantined": 0})
        known["rows"] += one.rows
        known["quarantined"] += one.quarantined
    return counts


def _scan(services: Services, request: Request, cancel: CancelToken) -> int:
    workspace = services.workspaces.by_name(request.workspace)
    if request.paths:
        sources = services.sources.add(workspace.id, request.paths)
    else:
        sources = [one.source for one in services.sources.list(workspace.id)]
    rows = []
    with _Ticker(services):
        for source in sources:
            scan = services.sources.scan(source.id, force=request.options.force, cancel=cancel)
            rows.append(
                {
                    "source": source.path,
                    "found": scan.found,
                    "hashed": scan.hashed,
                    "unchanged": scan.unchanged,
                    "skipped": scan.skipped,
                    "missing": scan.missing,
                    "bytes_hashed": scan.bytes_hashed,
                }
            )
    print_rows(rows, as_json=request.options.json)
    return 0


def _plan(services: Services, request: Request, cancel: CancelToken) -> int:
    workspace = services.workspaces.by_name(request.workspace)
    if request.paths:
        with _Ticker(services):
            report = services.intake.take_in(
                workspace.id, request.paths, force=request.options.force, run=False, cancel=cancel
            )
        plan = report.plan
    else:
        plan = services.jobs.plan(workspace.id, force=request.options.force)
    if request.options.submit:
        services.jobs.submit(workspace.id, plan)
    if request.options.files:
        rows = [
            {
                "path": one.file.path,
                "runs": one.runs,
                "parser": one.parser,
                "reason": one.reason,
                "size": one.file.size_bytes,
            }
            for one in plan.decisions
        ]
        print_rows(rows, as_json=request.options.json)
    elif request.options.json:
        print_json(_plan_facts(plan))
    else:
        _print_plan(plan)
    return 0


def _jobs(services: Services, request: Request, _cancel: CancelToken) -> int:
    workspace = services.workspaces.by_name(request.workspace)
    if request.options.log:
        sys.stdout.write(services.jobs.log(request.options.log) + "\n")
        return 0
    rows = [
        {
            "job": one.id,
            "parser": f"{one.parser} {one.parser_version}",
            "state": one.state.value,
            "files": one.files,
            "failed": one.failed_files,
            "rows": one.rows,
            "quarantined": one.quarantined,
            "attempt": one.attempt,
            "host": one.host,
            "problem": one.problem,
        }
        for one in services.jobs.list(workspace.id)
    ]
    print_rows(rows, as_json=request.options.json)
    return 0


def _files(services: Services, request: Request, _cancel: CancelToken) -> int:
    from casparian.state.evidence import FileQuery

    workspace = services.workspaces.by_name(request.workspace)
    options = request.options
    query = FileQuery(
        workspace.id, text=options.text, kind=options.kind, tag=options.tag, status=options.state
    )
    rows = [
        {
            "path": one.file.path,
            "size": one.file.size_bytes,
            "kind": one.file.kind,
            "tags": " ".join(one.file.tags),
            "state": one.status,
            "read": one.read,
            "accepted": one.accepted,
            "quarantined": one.quarantined,
            "sha256": one.file.sha256,
            "source_hash": one.file.source_hash,
            "note": one.note,
        }
        for one in services.sources.files(query, 0, None).rows
    ]
    print_rows(rows, as_json=options.json, hidden=() if options.json else ("source_hash",))
    return 0


def _tables(services: Services, request: Request, _cancel: CancelToken) -> int:
    workspace = services.workspaces.by_name(request.workspace)
    rows = [
        {
            "table": one.name,
            "rows": one.rows,
            "quarantined": one.quarantined,
            "columns": len(one.columns),
            "size": one.size_bytes,
            "parser": f"{one.parser} {one.parser_version}",
            "sink": one.sink or "catalog",
            "updated": f"{one.updated_at:%Y-%m-%d %H:%M:%S} UTC",
        }
        for one in services.results.tables(workspace.id)
    ]
    print_rows(rows, as_json=request.options.json)
    return 0


def _query(services: Services, request: Request, cancel: CancelToken) -> int:
    workspace = services.workspaces.by_name(request.workspace)
    options = request.options
    file_format = "json" if options.json and options.format == "table" else options.format
    sink = _target(services, workspace, options)
    if options.output or file_format != "table":
        if file_format == "table":
            file_format = _format_of(Path(options.output))
        return _write(services, request, workspace, options.sql, file_format, sink, cancel)
    with services.results.query(workspace.id, options.sql, cancel, sink) as view:
        page = view.page(0, options.limit)
        names = [shown_text(name) for name in page.column_names]
        columns = [texts(column) for column in page.columns]
        right = [
            pa.types.is_integer(one.type) or pa.types.is_floating(one.type) for one in page.schema
        ]
        print_columns(names, list(zip(*columns, strict=True)), right)
        if view.truncated or (view.rows or 0) > page.num_rows:
            tell(
                f"Only the first {page.num_rows:,} rows are shown; use --limit, or -o FILE for all."
            )
    return 0


def _export(services: Services, request: Request, cancel: CancelToken) -> int:
    workspace = services.workspaces.by_name(request.workspace)
    options = request.options
    file_format = options.format or _format_of(Path(options.output))
    sink = _target(services, workspace, options)
    what = services.results.spec(workspace.id, options.table, sink)
    return _write(services, request, workspace, what, file_format, sink, cancel)


def _target(services: Services, workspace: Workspace, options: argparse.Namespace) -> str:
    """The key of what is asked: what `--target` says, else where the profile's outputs go."""
    if options.target:
        return services.results.target_of(workspace.id, options.target)
    return services.results.default_target


def _catalog(services: Services, request: Request, _cancel: CancelToken) -> int:
    services.catalog.refresh()
    path = services.settings.catalog_path
    tables = [one for one in services.results.reader.tables() if one.kind == "table"]
    print_rows([{"catalog": str(path), "tables": len(tables)}], as_json=request.options.json)
    return 0


_VERBS: dict[str, Callable[[Services, Request, CancelToken], int]] = {
    "run": _run,
    "scan": _scan,
    "plan": _plan,
    "jobs": _jobs,
    "files": _files,
    "tables": _tables,
    "query": _query,
    "export": _export,
    "catalog": _catalog,
}
ALL_VERBS = (*_VERBS, *cli_setup.VERBS)


# Arguments


def _positionals(arguments: Sequence[str]) -> Iterator[str]:
    skip = False
    for one in arguments:
        if skip:
            skip = False
        elif one in {"--home", "--workspace"}:
            skip = True
        elif not one.startswith("-"):
            yield one


def _common(*, of_verb: bool) -> argparse.ArgumentParser:
    # An option given before the verb must not be undone by the verb's default for it.
    unset: Any = argparse.SUPPRESS
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home",
        default=unset if of_verb else None,
        help="the program's folder (else CASPARIAN_HOME, else ~/.casparian_flow)",
    )
    common.add_argument(
        "--workspace",
        default=unset if of_verb else "",
        help=f"the case to work in (default: {DEFAULT_WORKSPACE}; of the window: the last one)",
    )
    common.add_argument(
        "--json",
        action="store_true",
        default=unset if of_verb else False,
        help="print JSON instead of text",
    )
    return common


def _window_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "casparian",
        description="Drop evidence, get typed tables you can trust, and prove how you got them.",
        epilog=f"Verbs for work without a window: {', '.join(ALL_VERBS)}; each has --help.",
        parents=[_common(of_verb=False)],
    )
    parser.add_argument("--version", action="version", version=f"Casparian Flow {__version__}")
    parser.add_argument(
        "--self-test",
        nargs="?",
        const="",
        metavar="PICTURE",
        help="check that this copy of the program works here; keep a picture of its window",
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="evidence to open the window with")
    return parser


def _verb_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("casparian", parents=[_common(of_verb=False)])
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, help_text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=help_text, parents=[_common(of_verb=True)])

    run = verb("run", "add evidence, scan, tag, plan, parse, and sum up")
    run.add_argument("paths", nargs="+", metavar="PATH")
    scan = verb("scan", "scan evidence, or rescan every source")
    scan.add_argument("paths", nargs="*", metavar="PATH")
    plan = verb("plan", "say what would be parsed, and why the rest would not")
    plan.add_argument("paths", nargs="*", metavar="PATH")
    plan.add_argument("--files", action="store_true", help="one line for every file")
    plan.add_argument(
        "--submit", action="store_true", help="queue it, for this host's or a team's workers"
    )
    for one in (run, scan, plan):
        one.add_argument("--force", action="store_true", help="do again what is done already")
    jobs = verb("jobs", "list jobs, newest first")
    jobs.add_argument("--log", metavar="JOB", help="print what happened to a job")
    files = verb("files", "list files with hashes, tags and state")
    files.add_argument("--text", default="", help="part of the path")
    files.add_argument("--kind", default="")
    files.add_argument("--tag", default="")
    files.add_argument("--state", default="", help="unclaimed, waiting, done, partial, failed, ...")
    verb("tables", "list tables with rows and quarantine")
    query = verb("query", "run one SELECT over the catalog")
    query.add_argument("sql", metavar="SQL")
    query.add_argument("--format", choices=("table", *FORMATS), default="table")
    query.add_argument("--limit", type=int, default=100, help="rows of a printed table")
    export = verb("export", "write a whole table to a file, with its manifest")
    export.add_argument("table", metavar="TABLE")
    export.add_argument("--format", choices=FORMATS, default="", help="default: by the file's name")
    for one in (query, export):
        one.add_argument(
            "--target",
            default="",
            metavar="catalog|ADDRESS",
            help="where to ask (default: where the profile's outputs go)",
        )
        one.add_argument("-o", "--output", metavar="FILE", required=one is export)
        one.add_argument(
            "--raw", action="store_true", help="CSV and XLSX: leave formulas as they are"
        )
        one.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    catalog = verb("catalog", "look after the query catalog")
    catalog.add_argument("act", choices=("rebuild",))
    cli_setup.add_verbs(verb, _common(of_verb=True))
    return parser


@contextlib.contextmanager
def _services(request: Request) -> Iterator[Services]:
    from casparian.bootstrap import open_services

    services = open_services(load(request.home))
    try:
        yield services
    finally:
        services.close()


# Writing


def _write(
    services: Services,
    request: Request,
    workspace: Workspace,
    what: ViewSpec | str,
    file_format: str,
    sink: str,
    cancel: CancelToken,
) -> int:
    """Export to a file, or through a temporary one to stdout: the same bytes either way."""
    options = request.options
    aside = None
    if options.output:
        target = Path(options.output).expanduser().absolute()
    elif file_format in _ON_STDOUT:
        aside = tempfile.TemporaryDirectory(prefix="casparian-")
        target = Path(aside.name) / f"result.{file_format}"
    else:
        raise UserProblem(f"{file_format} cannot go to the terminal", hint="Name a file with -o")
    try:
        exported = services.results.export(
            workspace.id,
            what,
            target,
            file_format,
            sink=sink,
            safe=not options.raw,
            overwrite=options.overwrite,
            progress=lambda _: None,
            cancel=cancel,
        )
        if aside is not None:
            sys.stdout.flush()
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            return 0
    finally:
        if aside is not None:
            aside.cleanup()
    facts = {
        "path": str(exported.path),
        "rows": exported.rows,
        "sha256": exported.sha256,
        "manifest": str(exported.manifest_path),
    }
    print_rows([facts], as_json=options.json)
    return 0


def _format_of(path: Path) -> str:
    found = path.suffix.lstrip(".").lower()
    found = {"ndjson": "jsonl"}.get(found, found)
    if found not in FORMATS:
        raise UserProblem(
            f"The format of {path.name} is not clear",
            f"the ending is not one of {', '.join(FORMATS)}",
            "Say it with --format",
        )
    return found


def _problems(services: Services, workspace: Workspace, jobs: Sequence[Any]) -> Iterator[str]:
    count = 0
    for job_id in jobs:
        job = services.jobs.job(job_id)
        if job.problem:
            yield f"{job.parser}: {job.problem}"
        if job.state is JobState.QUEUED:
            yield f"{job.parser}: {job.files:,} files still wait in the queue; run it again"
        for one in services.jobs.files(job_id):
            if one.problem and count < MAX_PROBLEMS:
                count += 1
                word = "failed" if one.state is JobFileState.FAILED else "note"
                yield f"{shown_text(one.path)}: {word}: {one.problem}"
    for skip in services.sources.problems(workspace.id)[:MAX_PROBLEMS]:
        yield f"{shown_text(skip.path)}: {skip.kind}: {skip.message}"


def _plan_facts(plan: Plan) -> dict[str, Any]:
    return {
        "runs": [
            {
                "parser": one.parser,
                "version": one.version,
                "files": one.files,
                "size": one.size_bytes,
                "jobs": one.jobs,
            }
            for one in plan.items
        ],
        "rest": [
            {"reason": one.reason, "files": one.files, "size": one.size_bytes} for one in plan.rest
        ],
    }


def _print_plan(plan: Plan) -> None:
    if not plan.jobs:
        print("Nothing is to be parsed.")
    for item in plan.items:
        print(
            f"{item.parser} {item.version}: {item.files:,} files, {item.size_bytes:,} bytes, "
            f"{item.jobs:,} jobs"
        )
    for rest in plan.rest:
        print(f"not read: {rest.files:,} files, because {rest.reason}")


def _print_summary(summary: dict[str, Any], plan: Plan) -> None:
    files, jobs = summary["files"], summary["jobs"]
    print(
        f"{files['found']:,} files found, {files['hashed']:,} hashed, {files['skipped']:,} skipped, "
        f"{files['unclaimed']:,} unclaimed"
    )
    _print_plan(plan)
    print(
        ", ".join(f"{count:,} jobs {state}" for state, count in jobs.items() if count) or "no jobs"
    )
    width = max((len(name) for name in summary["tables"]), default=0)
    for name, counts in summary["tables"].items():
        print(
            f"  {name:<{width}}  {counts['rows']:>12,} rows  {counts['quarantined']:>9,} in quarantine"
        )
    for problem in summary["problems"][:20]:
        print(f"! {problem}")
    if len(summary["problems"]) > 20:
        print(f"! and {len(summary['problems']) - 20:,} more (--json lists them)")
    print(f"{summary['seconds']:.1f} s")


class _Ticker:
    """One line of progress on stderr, if it is a terminal."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._on = sys.stderr.isatty()

    def __enter__(self) -> None:
        self._unsubscribe = self._services.bus.subscribe(self._show)

    def __exit__(self, *_: object) -> None:
        self._unsubscribe()
        if self._on:
            sys.stderr.write("\r\x1b[K")

    def _show(self, event: Event) -> None:
        progress = getattr(event, "progress", None)
        if not self._on or progress is None:
            return
        done = f"{progress.done:,}" + (f"/{progress.total:,}" if progress.total else "")
        rate = f"  {progress.rate:,.0f}/s" if progress.rate else ""
        text = f"{done} {progress.unit}{rate}  {shown_text(progress.current)}"
        with self._lock:
            columns = shutil.get_terminal_size().columns
            sys.stderr.write(f"\r\x1b[K{text[: columns - 1]}")
            sys.stderr.flush()
