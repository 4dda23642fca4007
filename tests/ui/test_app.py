import os
import subprocess
import sys

import pytest

from casparian import assets

ROUND = """
import gc, sys
from pathlib import Path
from PySide6.QtCore import QTimer
from casparian.ui import app
from casparian.ui.main_window import MainWindow

shown = MainWindow.show
def show(window):
    shown(window)
    timer = QTimer(window)
    def look():
        if window.jobs.findChild(object, "jobs_table").model().rowCount() and not window._jobs_at_work:
            state = window.jobs.findChild(object, "jobs_table").model().index(0, 0).data()
            if state in ("done", "partial", "failed"):
                print(state, gc.get_freeze_count() > 20_000, flush=True)
                window.close()
    timer.timeout.connect(look)
    timer.start(50)
MainWindow.show = show
sys.exit(app.main(Path(sys.argv[1]), "", [sys.argv[2].encode()]))
"""


@pytest.fixture
def start(tmp_path):
    def start(code, *arguments):
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-c", code, *map(str, arguments)],
            capture_output=True, text=True, timeout=120, env=environment, check=False,
        )  # fmt: skip

    return start


def test_the_program_takes_evidence_in_and_ends_cleanly(start, tmp_path, case):
    home = tmp_path / "home"
    ended = start(ROUND, home, case(a__csv="x,y\n1,2\n"))
    assert ended.stdout.split() == ["done", "True"]  # and what is loaded is not collected again
    noise = [line for line in ended.stderr.splitlines() if "This plugin" not in line]
    assert (ended.returncode, noise) == (0, [])
    assert not list((home / "staging").iterdir())


def test_settings_that_do_not_hold_are_said_before_any_window(start, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text('theme = "pink"\n')
    ended = start(ROUND, home, tmp_path)
    assert ended.returncode == 2
    assert "config.toml" in ended.stderr
    assert "theme" in ended.stderr


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from PySide6.QtCore import QTimer
from casparian.ui import app, problems
from casparian.ui.main_window import MainWindow

def asked(*_):
    print("asked", flush=True)
    os._exit(9)
problems.confirm = asked

shown = MainWindow.show
def show(window):
    shown(window)
    timer = QTimer(window)
    def look():
        if window._jobs_at_work:
            timer.stop()
            print("at work", flush=True)
            os.kill(os.getpid(), getattr(signal, sys.argv[3]))
    timer.timeout.connect(look)
    timer.start(1)
MainWindow.show = show
sys.exit(app.main(Path(sys.argv[1]), "", [sys.argv[2].encode()]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there it ends a process at once")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_program_in_order_though_jobs_are_at_work(start, tmp_path, name):
    home = tmp_path / "home"
    ended = start(SIGNALLED, home, assets.folder("sample"), name)
    assert (ended.stdout, ended.returncode) == ("at work\n", 0), ended.stderr
    assert not list((home / "staging").iterdir())


FIRST = """
import sys
from pathlib import Path
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QPushButton
from casparian.ui import app
from casparian.ui.main_window import MainWindow
from casparian.ui.welcome import WelcomeDialog

opened = WelcomeDialog.open
def open_it(dialog):
    opened(dialog)
    print("welcome", flush=True)
    QTimer.singleShot(50, dialog.findChild(QPushButton, "welcome_" + sys.argv[2]).click)
WelcomeDialog.open = open_it

shown = MainWindow.show
def show(window):
    shown(window)
    print("window", flush=True)
    window.workspace_opened.connect(lambda _: QTimer.singleShot(50, window.close))
MainWindow.show = show
sys.exit(app.main(Path(sys.argv[1]), "", []))
"""


def test_the_first_start_begins_with_a_welcome(start, tmp_path):
    home = tmp_path / "home"
    ended = start(FIRST, home, "quit")
    assert (ended.stdout.split(), ended.returncode) == (["welcome"], 0), ended.stderr
    assert not (home / "config.toml").exists()
    ended = start(FIRST, home, "start")
    assert (ended.stdout.split(), ended.returncode) == (["welcome", "window"], 0), ended.stderr
    assert (home / "config.toml").exists()


def test_the_welcome_offers_the_sample_case(start, tmp_path):
    code = FIRST.replace("window.close)", "check)").replace(
        "MainWindow.show = show",
        "def check():\n"
        "    took.ended.connect(lambda report: (print(sum(one.found for one in report.scans)), "
        "held.close()))\n"
        "MainWindow.show = show",
    )
    code = code.replace(
        "    shown(window)\n",
        "    global took, held\n    took, held = window.intake, window\n    shown(window)\n",
    )
    ended = start(code, tmp_path / "home", "sample")
    assert (ended.stdout.split(), ended.returncode) == (["welcome", "window", "9"], 0), ended.stderr


def test_a_start_that_nobody_watches_needs_no_welcome(start, tmp_path, monkeypatch):
    monkeypatch.setenv("CASPARIAN_NO_WELCOME", "1")
    ended = start(FIRST, tmp_path / "home", "start")
    assert (ended.stdout.split(), ended.returncode) == (["window"], 0), ended.stderr


AGAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QPushButton, QRadioButton
from casparian.settings import load, save
from casparian.ui import app
from casparian.ui.main_window import MainWindow
from casparian.ui.profile_dialog import NoStoreDialog, ProfileDialog

home = Path(sys.argv[1])
settings = load(home)

opened = NoStoreDialog.open
def open_it(dialog):
    opened(dialog)
    print("no store", flush=True)
    QTimer.singleShot(50, dialog.findChild(QPushButton, "no_store_change").click)
NoStoreDialog.open = open_it

asked = ProfileDialog.open
def ask(dialog):
    asked(dialog)
    dialog.findChild(QRadioButton, "profile_local").click()
    ok = dialog.findChild(QPushButton, "profile_ok")
    dialog.applied.connect(lambda _: QTimer.singleShot(0, ok.click))
    ok.click()
ProfileDialog.open = ask

times = []
shown = MainWindow.show
def show(window):
    shown(window)
    times.append(window)
    print("window", window._settings.profile, window._settings.sink.scheme, flush=True)
    if len(times) == 1:
        save(replace(load(home), default_sink=f"duckdb://{home}/case.duckdb"))
        act = window.restart
    else:
        act = window.close
    window.workspace_opened.connect(lambda _: QTimer.singleShot(50, act))
MainWindow.show = show
if len(sys.argv) > 2:
    save(replace(settings, profile="enterprise", state_store=sys.argv[2], default_sink=sys.argv[2]))
sys.exit(app.main(home, "", []))
"""


def test_a_restart_opens_everything_anew_with_the_settings_as_they_are(start, tmp_path):
    ended = start(AGAIN, tmp_path / "home")
    assert ended.stdout.splitlines() == ["window local parquet", "window local duckdb"]
    noise = [line for line in ended.stderr.splitlines() if "This plugin" not in line]
    assert (ended.returncode, noise) == (0, [])


def test_a_state_store_that_is_gone_can_be_changed_at_the_start(start, tmp_path):
    ended = start(AGAIN, tmp_path / "home", "postgres://x@127.0.0.1:1/db")
    assert ended.stdout.splitlines() == [
        "no store", "window local parquet", "window local duckdb",
    ], ended.stderr  # fmt: skip
    assert ended.returncode == 0
