"""`casparian --self-test`: does this copy of the program do its job on this machine?

The real window takes in the sample case, a real worker process reads it, and what came of it is queried,
exported and compared, byte by byte, with what the standard library reads in the same files. All of it
happens in a folder of its own, which is gone afterwards; the user's home folder is not touched. A build
that lacks a library, a resource or a driver does not get through.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import logging
import os
import platform
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import qasync  # type: ignore[import-untyped]  # it ships no types
from PySide6.QtCore import QTimer, qInstallMessageHandler, qVersion
from PySide6.QtGui import QGuiApplication

from casparian import __version__, assets
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import CasparianError
from casparian.domain.jobs import JobState
from casparian.settings import load
from casparian.ui import app as program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PySide6.QtWidgets import QApplication

    from casparian.bootstrap import Services
    from casparian.domain.evidence import Workspace
    from casparian.ui.main_window import MainWindow

DEADLINE_S = 120
POLL_MS = 50
SETTLE_S = 0.5
"""How long the views are given to draw what they fetched, for the picture."""
FAILED = 70
STARTED = "CASPARIAN_STARTED_AT"
"""When whoever started this process did so, in seconds since 1970."""

_DRIVERS = (
    "adbc_driver_manager._backward",
    "adbc_driver_postgresql",
    "keyring",
    "mssql_python",
    "psycopg",
    "psycopg_binary",  # behind it: it asks for that
    "pytz",
    "sqlalchemy.dialects.mssql",
    "sqlalchemy.dialects.postgresql.psycopg",
)
_EXPORTED = ("pid", "parent_pid", "path", "command_line", "account", "sha256")


class _Fault(Exception):  # noqa: N818  (a check that does not hold is no error of the program)
    """A check that does not hold, in a sentence."""


def main(picture: Path | None = None) -> int:
    """Check everything, print what was checked, and return 0 if all of it holds.

    Args:
        picture: where to keep a picture of the window, as PNG.
    """
    started = time.perf_counter()
    if sys.platform == "linux" and not program.has_screen():
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    qInstallMessageHandler(program.log_qt)
    _say(
        "program",
        f"Casparian Flow {__version__}, Python {platform.python_version()}, Qt {qVersion()}",
    )
    # Spaces and letters beyond Latin: the folders of real people have them.
    with tempfile.TemporaryDirectory(
        prefix="casparian Prüfung 検査 ", ignore_cleanup_errors=True
    ) as name:
        try:
            _check_all(Path(name), picture)
        except (_Fault, CasparianError) as error:
            _say("FAILED", str(error))
            return FAILED
    _say("passed", f"in {time.perf_counter() - started:.1f} s")
    return 0


def _check_all(folder: Path, picture: Path | None) -> None:
    settings = load(folder / "home")
    app = program.make_application("light")
    app.setQuitOnLastWindowClosed(False)
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    try:
        started = time.perf_counter()
        with program.opened(app, loop, settings) as (window, services):
            window.resize(1280, 800)
            window.show()
            app.processEvents()
            _say("window", f"shown {_since(started)} ({QGuiApplication.platformName()})")
            _take_in(loop, window, services)
            workspace = services.workspaces.default()
            _check_jobs(services, workspace)
            _check_query(services, workspace)
            _check_export(services, workspace, folder)
            _check_rerun(services, workspace)
            _check_picture(app, window, picture)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    _check_drivers()


def _since(began: float) -> str:
    """How long the window took; also since the start of the process, where that one says when it was."""
    text = f"in {time.perf_counter() - began:.2f} s"
    at = os.environ.get(STARTED)
    return f"{text}, {time.time() - float(at):.2f} s after the start" if at else text


def _take_in(loop: qasync.QEventLoop, window: MainWindow, services: Services) -> None:
    """Drop the sample case on the window and wait until its tables are there."""
    ended: list[object] = []
    window.intake.ended.connect(ended.append)
    window.take_in([os.fsencode(assets.folder("sample"))])
    until = time.monotonic() + DEADLINE_S

    def look() -> None:
        if time.monotonic() > until or (ended and services.jobs.is_idle()):
            loop.stop()

    with _every(POLL_MS, look):
        loop.run_forever()
    if not ended:
        raise _Fault(f"The sample case was not taken in within {DEADLINE_S} s")
    # The slots are idle before the catalog has swapped.
    services.catalog.catch_up()


def _check_jobs(services: Services, workspace: Workspace) -> None:
    jobs = services.jobs.list(workspace.id)
    for job in jobs:
        if job.state not in {JobState.SUCCEEDED, JobState.PARTIAL}:
            raise _Fault(f"A job of {job.parser} is {job.state}: {services.jobs.log(job.id)}")
    files = [file for job in jobs for file in services.jobs.files(job.id)]
    for file in files:
        if file.read != file.accepted + file.quarantined or not file.read:
            raise _Fault(
                f"{file.path}: {file.read} read, {file.accepted} accepted, {file.quarantined} quarantined"
            )
    read, kept = sum(one.read for one in files), sum(one.quarantined for one in files)
    if not files or not kept:
        raise _Fault("The sample case has faults on purpose, and none was found")
    _say(
        "worker", f"{len(jobs)} jobs, {len(files)} files, {read:,} rows read, {kept} in quarantine"
    )


def _check_query(services: Services, workspace: Workspace) -> None:
    for table in services.results.tables(workspace.id):
        for name, rows in (
            (table.name, table.rows),
            (f"{table.name}_quarantine", table.quarantined),
        ):
            found = services.results.query(
                workspace.id,
                f'SELECT * FROM "{name}"',  # noqa: S608  (names of tables that are on record)
                CancelToken("The query"),
            ).rows
            if found != rows:
                raise _Fault(f"{name} has {found} rows, and {rows} were committed")
    tables = services.results.tables(workspace.id)
    _say("query", f"{len(tables)} tables, {sum(one.rows for one in tables):,} rows, as committed")


def _check_export(services: Services, workspace: Workspace, folder: Path) -> None:
    with (assets.folder("sample") / "wks-014" / "processes.tsv").open(
        encoding="utf-8", newline=""
    ) as file:
        rows = sorted(csv.DictReader(file, delimiter="\t"), key=lambda one: int(one["pid"]))
    expected = io.StringIO()
    writer = csv.writer(expected, lineterminator="\n")
    writer.writerow(_EXPORTED)
    writer.writerows([row[name] for name in _EXPORTED] for row in rows)

    target = folder / "processes.csv"
    exported = services.results.export(
        workspace.id,
        f"SELECT {', '.join(_EXPORTED)} FROM processes ORDER BY pid",  # noqa: S608  (names of ours)
        target,
        "csv",
        safe=False,
        overwrite=False,
        progress=lambda _: None,
        cancel=CancelToken("The export"),
    )
    written = target.read_bytes()
    if written != expected.getvalue().encode():
        raise _Fault("The export does not hold what the file of the sample case holds")
    sha256 = hashlib.sha256(written).hexdigest()
    manifest = exported.manifest_path
    if sha256 != exported.sha256 or sha256 not in manifest.read_text("utf-8"):
        raise _Fault("The manifest of the export does not have its SHA-256")
    json.loads(manifest.read_text("utf-8"))
    _say(
        "export",
        f"{len(rows)} rows, {len(written):,} bytes as in the evidence, SHA-256 in the manifest",
    )


def _check_rerun(services: Services, workspace: Workspace) -> None:
    if jobs := services.jobs.plan(workspace.id).jobs:
        files = sum(len(job.files) for job in jobs)
        raise _Fault(f"{files} files would be read again, though nothing changed")
    _say("rerun", "nothing to do")


def _check_picture(app: QApplication, window: MainWindow, picture: Path | None) -> None:
    """Look whether something was drawn, text too."""
    window.show_view("workspace")
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until:
        app.processEvents()
        time.sleep(0.01)
    image = window.grab().toImage()
    colours = {
        image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)
    }
    few = 16
    if len(colours) < few:
        raise _Fault(f"The window is nearly empty: {len(colours)} colours")
    if picture is not None and not image.save(str(picture)):
        raise _Fault(f"The picture could not be written to {picture}")
    _say("picture", f"{image.width()} x {image.height()}, {len(colours)} colours")


def _check_drivers() -> None:
    for name in _DRIVERS:
        try:
            import_module(name)
        except Exception as error:
            raise _Fault(f"{name} cannot be loaded: {error}") from error
    _say("drivers", "PostgreSQL, SQL Server and the keyring can be loaded")


@contextmanager
def _every(milliseconds: int, act: Callable[[], None]) -> Iterator[None]:
    timer = QTimer()
    timer.timeout.connect(act)
    timer.start(milliseconds)
    try:
        yield
    finally:
        timer.stop()


def _say(what: str, detail: str) -> None:
    sys.stdout.write(f"{what:<8} {detail}\n")
    sys.stdout.flush()
