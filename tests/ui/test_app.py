import os
import subprocess
import sys

import pytest

ROUND = """
import sys
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
                print(state, flush=True)
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
    assert ended.stdout.split() == ["done"]
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
