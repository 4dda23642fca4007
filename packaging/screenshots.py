"""Take the pictures of the README: the real window, real evidence, every view, light and dark.

    python packaging/screenshots.py EVIDENCE [--out resources/screenshots] [--size 1280x800] [--home HOME]
    python packaging/screenshots.py --guide

The second takes those of the user guide, of parts of the window with the sample case, into its own folder.

It works on a home of its own that is thrown away afterwards, unless --home names one, whose tables it then
shows as they are. Without a screen it draws off screen; the pictures are the same. The configuration is
shown for every profile: with a real PostgreSQL out of the tests' wheel, and with a server that is not
there; --configuration takes these alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "desktop"), str(ROOT / "tests")]
if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import qasync  # type: ignore[import-untyped]  # noqa: E402  # it ships no types
from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Qt  # noqa: E402
from PySide6.QtGui import QImage, QPainter  # noqa: E402
from PySide6.QtWidgets import QAbstractItemView, QApplication, QLabel, QWidget  # noqa: E402

from casparian.bootstrap import open_services  # noqa: E402
from casparian.domain.addresses import parse  # noqa: E402
from casparian.domain.contracts import LINEAGE_COLUMNS  # noqa: E402
from casparian.domain.results import Filter, Sort  # noqa: E402
from casparian.services.configuration import ROLES  # noqa: E402
from casparian.settings import load  # noqa: E402
from casparian.ui import theme  # noqa: E402
from casparian.ui.app import make_application  # noqa: E402
from casparian.ui.bridge import EventBridge  # noqa: E402
from casparian.ui.column_layout import ColumnLayout, ColumnLayouts  # noqa: E402
from casparian.ui.export_dialog import ExportDialog  # noqa: E402
from casparian.ui.main_window import MainWindow  # noqa: E402
from casparian.ui.tasks import PoolExecutor, Tasks  # noqa: E402
from casparian.ui.welcome import WelcomeDialog  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from casparian.bootstrap import Services
    from casparian.settings import Settings

PATIENCE_S = 300.0
COLOURS = 255
PLAIN_COLOURS = 48
ALIKE = 9
"""Beyond the first few, two colours that differ by no more than this in any channel are one."""
TABLE = "evtx_events"
HIDDEN = ("channel", "provider_name", "level", "user_sid")
QUERY = """\
-- Which accounts logged on from where, and how often
SELECT computer,
       event_data ->> 'TargetUserName' AS account,
       event_data ->> 'IpAddress' AS address,
       count(*) AS logons,
       min("time") AS first_seen,
       max("time") AS last_seen
FROM evtx_events
WHERE event_id IN (4624, 4625)
GROUP BY ALL
ORDER BY logons DESC"""

GUIDE = ROOT / "resources" / "guide" / "pictures"
GUIDE_SIZE = QSize(1040, 680)
"""Small, so that the guide shows its pictures as large as they are."""
GUIDE_QUERY = """\
-- Which host is called as regularly as a clock?
SELECT host, count(*) AS calls, sum(bytes_sent) AS sent
FROM proxy
GROUP BY ALL
ORDER BY sent DESC"""


class Studio:
    """Shows the window's views one after another, and takes their pictures."""

    def __init__(
        self, app: QApplication, services: Services, window: MainWindow, out: Path
    ) -> None:
        self._app, self._services, self._window, self._out = app, services, window, out

    async def take_all(self, evidence: list[Path]) -> None:
        """Take in the evidence, wait until all is parsed, and take every picture in both themes."""
        await self._until(lambda: self._window.workspace is not None, "the workspace is open")
        if evidence:
            self._window.take_in([os.fsencode(one.resolve()) for one in evidence])
            await self._until(self._has_tables, "the first table is there")
            await self._until(self._is_idle, "every job has ended")
        mode: theme.Mode
        for mode in ("light", "dark"):
            theme.apply(self._app, mode)
            await self._views(mode)

    async def take_guide(self, sample: Path) -> None:
        """Take in the sample case, and take the parts of the window that the guide shows."""
        await self._until(lambda: self._window.workspace is not None, "the workspace is open")
        self._window.take_in([os.fsencode(sample)])
        await self._until(self._has_tables, "the first table is there")
        await self._until(self._is_idle, "every job has ended")
        mode: theme.Mode
        for mode in ("light", "dark"):
            theme.apply(self._app, mode)
            await self._guide_of_work(mode)
            await self._guide_of_results(mode)

    async def _guide_of_work(self, mode: str) -> None:
        window = self._window
        window.show_view("workspace")
        await self._settled()
        window.resize(GUIDE_SIZE)
        await self._settled()
        self._take(window, f"workspace-{mode}")
        jobs = window.findChild(QAbstractItemView, "jobs_table")
        assert jobs is not None
        states = [jobs.model().index(row, 0).data() for row in range(jobs.model().rowCount())]
        jobs.setCurrentIndex(jobs.model().index(states.index("partial"), 0))
        await self._settled()
        self._take(window.jobs, f"jobs-{mode}")

        window.actions_registry.get("view.jobs").trigger()
        window.show_view("sources")
        window.sources.show_files()
        table = window.findChild(QAbstractItemView, "files_table")
        assert table is not None
        table.setCurrentIndex(table.model().index(2, 0))
        await self._settled()
        self._take(window.sources, f"sources-{mode}")
        window.sources.show_plan()
        again = window.actions_registry.get("plan.force")
        again.trigger()  # all is read by now: what would run then
        await self._settled()
        plan = window.findChild(QWidget, "plan_view")
        assert plan is not None
        self._take(plan, f"plan-{mode}", height=440)
        again.trigger()

        window.show_view("rules")
        rules = window.findChild(QAbstractItemView, "rules_table")
        assert rules is not None
        kinds = [rules.model().index(row, 3).data() for row in range(rules.model().rowCount())]
        rules.setCurrentIndex(rules.model().index(kinds.index("delimited"), 0))
        await self._settled()
        self._take(window.rules, f"rules-{mode}", height=470)

    async def _guide_of_results(self, mode: str) -> None:
        window, results = self._window, self._window.results
        window.show_view("results")
        results.open_table("access_log")
        await self._until(lambda: results.viewer().rows > 0, "the table is open")
        viewer = results.viewer()
        viewer.clear_filters()
        viewer.add_filters([Filter("status", "=", "500")])
        await self._settled()
        viewer.grid.go_to(1)
        await self._until(lambda: "SHA-256" in results.inspector.origin(), "the origin is known")
        await self._settled()
        self._take(results.inspector, f"inspector-{mode}")
        inspector = window.actions_registry.get("view.inspector")
        inspector.trigger()  # hides it
        await self._settled()
        self._take(viewer, f"table-{mode}", height=320)

        results.open_table("edr_events_quarantine")
        await self._until(lambda: results.viewer().rows == 3, "the quarantine is open")
        await self._settled()
        self._take(results.viewer(), f"quarantine-{mode}", height=144)

        results.show_sql()
        results.console.set_sql(GUIDE_QUERY)
        results.console.run()
        await self._until(lambda: not results.console.is_running, "the query has ended")
        await self._settled()
        self._take(results.console, f"sql-{mode}", height=470)
        inspector.trigger()

        window.actions_registry.get("results.export").trigger()
        dialog = window.findChild(ExportDialog)
        assert dialog is not None
        dialog.set_target(Path("/cases/harrow/connections.csv"))
        await self._settled()
        self._take(dialog, f"export-{mode}")
        dialog.reject()
        window.actions_registry.get("view.jobs").trigger()

    async def _views(self, mode: str) -> None:
        window = self._window
        for view in ("workspace", "sources", "rules"):
            window.show_view(view)
            await self._settled()
            self._take(window, f"{view}-{mode}")

        await self._results(mode)

    async def take_configuration(self, name: str) -> None:
        """Take the page of the configuration once every role has been looked at."""
        await self._until(lambda: self._window.workspace is not None, "the workspace is open")
        window = self._window
        mode: theme.Mode
        for mode in ("light", "dark"):
            theme.apply(self._app, mode)
            window.show_view("workspace")
            window.workspaces.show_configuration("state")
            await self._until(self._is_looked_at, "every role has been looked at")
            await self._settled()
            self._take(window, f"configuration-{name}-{mode}")

    def _is_looked_at(self) -> bool:
        words = (self._window.findChild(QLabel, f"test_{role}_word") for role in ROLES)
        return all(
            one is not None and one.text() in {"Reachable", "Cannot be used"} for one in words
        )

    async def _results(self, mode: str) -> None:
        window, results = self._window, self._window.results
        window.show_view("results")
        jobs = window.actions_registry.get("view.jobs")
        jobs.trigger()  # hides the panel: the rows want the room
        results.open_table(TABLE)
        await self._until(lambda: results.viewer().rows > 0, "the table is open")
        viewer = results.viewer()
        viewer.clear_filters()
        viewer.add_filters([Filter("event_id", "in", ("4624", "4625", "4688"))])
        await self._settled()
        viewer.set_shape(replace(viewer.shape, sort=(Sort("time", descending=True),)))
        await self._settled()
        viewer.grid.go_to(7)
        await self._until(lambda: "SHA-256" in results.inspector.origin(), "the origin is known")
        await self._settled()
        self._take(window, f"results-table-{mode}")

        window.actions_registry.get("results.export").trigger()
        dialog = window.findChild(ExportDialog)
        assert dialog is not None
        dialog.set_target(Path("/cases/2023-10-18/logons.csv"))
        await self._settled()
        self._take(window, f"results-export-{mode}", over=dialog)
        dialog.reject()

        results.show_sql()
        results.console.set_sql(QUERY)
        results.console.run()
        await self._until(lambda: not results.console.is_running, "the query has ended")
        results.viewer().grid.go_to(2)
        await self._settled()
        self._take(window, f"results-sql-{mode}")
        jobs.trigger()

    def _take(
        self, window: QWidget, name: str, over: QWidget | None = None, height: int = 0
    ) -> None:
        """Take a picture of the window, or its upper part, with another window that stands over it."""
        whole = window.grab(QRect(0, 0, window.width(), height or window.height()))
        if over is not None:
            painter = QPainter(whole)
            at = over.mapToGlobal(QPoint(0, 0)) - window.mapToGlobal(QPoint(0, 0))
            painter.drawPixmap(at, over.grab())
            painter.setPen(theme.color("edge"))
            painter.drawRect(QRect(at, over.size()).adjusted(-1, -1, 0, 0))
            painter.end()
        _save(whole.toImage(), self._out / f"{name}.png")

    def _workspace_id(self) -> str:
        workspace = self._window.workspace
        assert workspace is not None
        return workspace.id

    def _has_tables(self) -> bool:
        return bool(self._services.results.tables(self._workspace_id()))  # type: ignore[arg-type]

    def _is_idle(self) -> bool:
        jobs = self._services.jobs.list(self._workspace_id())  # type: ignore[arg-type]
        return bool(jobs) and all(job.state.is_terminal for job in jobs)

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while not holds():
            if asyncio.get_running_loop().time() > end:
                raise SystemExit(f"gave up waiting until {what}")
            await asyncio.sleep(0.05)

    async def _settled(self) -> None:
        """Let what is on its way arrive: pages, counts, layouts."""
        await asyncio.sleep(1.0)


def _save(image: QImage, path: Path) -> None:
    _with_few_colours(image).save(str(path), quality=0)
    print(f"{path}  {path.stat().st_size:,} bytes")


def _with_few_colours(image: QImage) -> QImage:
    """A window has few colours: a table of the most frequent ones halves the file, and nobody sees it."""
    whole = image.convertToFormat(QImage.Format.Format_RGB32)
    seen = Counter(bytes(whole.constBits()).hex(",", 4).split(","))
    table: list[tuple[int, int, int]] = []
    for pixel, _ in seen.most_common():
        # Four bytes a pixel, blue first on the machines this runs on.
        blue, green, red, _ = bytes.fromhex(pixel)
        if len(table) == COLOURS:
            break
        if len(table) < PLAIN_COLOURS or all(
            max(abs(red - r), abs(green - g), abs(blue - b)) > ALIKE for r, g, b in table
        ):
            table.append((red, green, blue))
    colours = [0xFF000000 | red << 16 | green << 8 | blue for red, green, blue in table]
    return whole.convertToFormat(
        QImage.Format.Format_Indexed8, colours, Qt.ImageConversionFlag.ThresholdDither
    )


def main() -> int:
    """Read the arguments, show the window, take the pictures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("evidence", nargs="*", type=Path)
    arguments.add_argument("--out", type=Path, default=ROOT / "resources" / "screenshots")
    arguments.add_argument("--size", default="1280x800")
    arguments.add_argument("--home", type=Path)
    arguments.add_argument("--configuration", action="store_true", help="of these pages alone")
    arguments.add_argument("--guide", action="store_true", help="those of the user guide")
    given = arguments.parse_args()
    if given.guide:
        given.out, given.evidence = GUIDE, [ROOT / "resources" / "sample"]
    width, height = map(int, given.size.split("x"))
    given.out.mkdir(parents=True, exist_ok=True)
    app = make_application("light")
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    show = Showing(app, loop, given.out, QSize(width, height))
    with tempfile.TemporaryDirectory(prefix="case-", ignore_cleanup_errors=True) as folder:
        # A copy: pictures are to show a path that means nothing, not where somebody keeps evidence.
        evidence = [Path(folder) / one.resolve().name for one in given.evidence]
        for one, copy in zip(given.evidence, evidence, strict=True):
            shutil.copytree(one, copy) if one.is_dir() else shutil.copy2(one, copy)
        home = load(given.home or Path(folder) / "home")
        if given.guide:
            show = Showing(app, loop, GUIDE, GUIDE_SIZE)
            show(home, lambda studio: studio.take_guide(evidence[0]))
            _welcome(app, loop, Path(folder) / "first")
            return 0
        if not given.configuration:
            show(home, lambda studio: studio.take_all(evidence))
        show(home, lambda studio: studio.take_configuration("local"))
        for name, changes in _other_profiles():
            settings = replace(load(Path(folder) / name), **changes)
            show(settings, lambda studio, name=name: studio.take_configuration(name))
    loop.close()
    return 0


def _welcome(app: QApplication, loop: qasync.QEventLoop, home: Path) -> None:
    """Take the dialog of the first start."""
    short, long = PoolExecutor(1, "short"), PoolExecutor(1, "long")
    tasks = Tasks(loop, short, long)
    dialog = WelcomeDialog(replace(load(home, writes=False), home=Path("~/.casparian_flow")), tasks)
    dialog.setFixedWidth(760)
    dialog.show()
    mode: theme.Mode
    for mode in ("light", "dark"):
        theme.apply(app, mode)
        loop.run_until_complete(asyncio.sleep(1.0))
        _save(dialog.grab().toImage(), GUIDE / f"welcome-{mode}.png")
    dialog.close()
    tasks.close()
    for pool in (short, long):
        pool.shutdown()
    for one in (dialog, tasks):
        one.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def _other_profiles() -> Iterator[tuple[str, dict[str, str]]]:
    """The profiles that need a server, one of them with a server that is not there."""
    from helpers import postgres

    with postgres.running() as server:
        with server.connect() as connection:
            connection.execute("CREATE ROLE analyst LOGIN SUPERUSER")
            for database in ("control", "cases"):
                connection.execute(f"CREATE DATABASE {database}")
        place = f"postgres://analyst@127.0.0.1:{server.port}"
        outputs = parse(f"{place}/cases", schemes=("postgres",)).text
        yield "hybrid", {"profile": "hybrid", "default_sink": outputs}
        state = f"{place}/control"
        yield (
            "enterprise",
            {"profile": "enterprise", "state_store": state, "default_sink": outputs},
        )
    yield "dead", {"profile": "hybrid", "default_sink": "postgres://analyst@127.0.0.1:1/cases"}


class Showing:
    """Opens the window over some settings, has its pictures taken, and closes everything."""

    def __init__(self, app: QApplication, loop: qasync.QEventLoop, out: Path, size: QSize) -> None:
        self._app, self._loop, self._out, self._size = app, loop, out, size

    def __call__(
        self, settings: Settings, take: Callable[[Studio], Coroutine[None, None, None]]
    ) -> None:
        """Show the window while the pictures are taken."""
        slots, short, long = (
            PoolExecutor(count, name) for count, name in ((2, "slots"), (4, "short"), (4, "long"))
        )
        services = open_services(settings, slots)
        bridge, tasks = EventBridge(services.bus), Tasks(self._loop, short, long)
        # As somebody leaves the columns who looks at logons.
        layout = ColumnLayout(hidden=frozenset({*LINEAGE_COLUMNS, *HIDDEN}))
        ColumnLayouts(settings.home / "window.ini").put(TABLE, layout)
        window = MainWindow(services, tasks, bridge)
        window.resize(self._size)
        window.show()
        try:
            studio = Studio(self._app, services, window, self._out)
            self._loop.run_until_complete(take(studio))
        finally:
            tasks.close()
            window.intake.cancel()
            services.jobs.close()
            window.results.close_views()
            for pool in (slots, long, short):
                pool.shutdown()
            bridge.close()
            services.close()
            window.close()
            for one in (window, tasks, bridge):
                one.deleteLater()
            QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            gc.collect()


if __name__ == "__main__":
    sys.exit(main())
