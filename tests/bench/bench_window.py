"""How long from the start of the process until the window is on screen, against an empty Qt window.

Run it warm: the first of the starts fills the caches and is not counted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from casparian.ui.welcome import VARIABLE

STARTS = 7

BARE = """
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMainWindow
app = QApplication([])
window = QMainWindow()
window.resize(1280, 800)
window.show()
"""

OURS = """
import sys
from casparian.ui import app as program
from casparian.ui.main_window import MainWindow
shown = MainWindow.show
def show(window):
    shown(window)
    QTimer.singleShot(0, lambda: say(window))
MainWindow.show = show
"""

SAY = """
import os, time, psutil
from PySide6.QtCore import QTimer
def say(window):
    if not window.windowHandle().isExposed():
        QTimer.singleShot(1, lambda: say(window))
        return
    print(time.time() - psutil.Process().create_time(), flush=True)
    os._exit(0)
"""

SHOW_BARE = "QTimer.singleShot(0, lambda: say(window)); app.exec()"
SHOW_OURS = "program.main(Path(sys.argv[1]), '', [])"


def seconds(code: str, home: Path) -> list[float]:
    """Start it so many times; return the seconds of each start but the first."""
    command = [sys.executable, "-c", code, str(home)]
    options = {"capture_output": True, "check": True, "timeout": 60}
    environment = {
        **os.environ,
        VARIABLE: "1",
    }  # else the first start asks before there is a window
    runs = [subprocess.run(command, env=environment, **options) for _ in range(STARTS + 1)]
    return [float(run.stdout.split()[-1]) for run in runs[1:]]


def main() -> None:
    """Print the median and the worst of both."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        bare = seconds(f"{SAY}{BARE}{SHOW_BARE}", home)
        ours = seconds(f"from pathlib import Path\n{SAY}{OURS}{SHOW_OURS}", home)
    for name, found in (("empty window", bare), ("Casparian Flow", ours)):
        print(f"{name:15} median {statistics.median(found):5.2f} s   worst {max(found):5.2f} s")
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"ratio {ratio:.1f}; the target is a window within 2 s of the start")


if __name__ == "__main__":
    main()
