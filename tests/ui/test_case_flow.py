"""The main job by hand: drop a folder on the window, look, sort, filter, query, export.

The same case run by the command line, in a home of its own, must give the same bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QComboBox, QLineEdit, QPushButton, QRadioButton

from casparian.ui.export_dialog import ExportDialog

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "resources" / "sample"
PATIENCE_MS = 60_000


@pytest.fixture
def by_command(tmp_path):
    """Run the program's command line in a home of its own."""

    def run(*arguments):
        home = str(tmp_path / "other home")
        command = [sys.executable, "-m", "casparian", "--home", home, *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "desktop")}
        done = subprocess.run(command, capture_output=True, env=environment, text=True, check=False)
        assert done.returncode in {0, 4}, done.stderr
        return done.stdout

    return run


def export(results, qtbot, target, choice):
    results.window().findChild(QAction, "results.export").trigger()
    dialog = results.window().findChild(ExportDialog)
    dialog.findChildren(QRadioButton)[choice].click()
    dialog.set_target(target)
    dialog.findChild(QPushButton, "export_button").click()
    qtbot.waitUntil(lambda: "SHA-256" in dialog.state(), timeout=PATIENCE_MS)
    with qtbot.waitSignal(dialog.destroyed):
        dialog.reject()
    return target.read_bytes()


def test_window_and_command_line_give_the_same_bytes(
    window, drop, qtbot, tmp_path, by_command
) -> None:
    results = window.results
    assert drop(window, SAMPLE)
    window.show_view("results")
    qtbot.waitUntil(
        lambda: any(line.startswith("  access_log") for line in results.catalog.lines()),
        timeout=PATIENCE_MS,
    )
    qtbot.waitUntil(lambda: window._jobs_at_work == 0, timeout=PATIENCE_MS)

    tree = results.catalog.tree
    (item,) = tree.findItems("access_log", Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchRecursive)
    tree.setCurrentItem(item)
    qtbot.keyClick(tree, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: results.viewer().rows > 0, timeout=PATIENCE_MS)
    viewer = results.viewer()

    names = [one.name for one in viewer.model.columns]
    header = viewer.grid.horizontalHeader()
    for _ in range(2):  # ascending, then descending
        place = QPoint(header.sectionViewportPosition(0) + 8, 8)
        with qtbot.waitSignal(viewer.loaded):
            qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
    for name in names[1:]:
        if name in viewer.shown_columns():  # so that no two rows tie
            with qtbot.waitSignal(viewer.loaded):
                viewer.sort_by(name, add=True)
    number = next(one.name for one in viewer.model.columns if one.type == "int64")
    viewer.ask_filter(number)
    editor = viewer._editor
    operators = editor.findChild(QComboBox, "filter_operator")
    operators.setCurrentIndex(operators.findData(">="))
    qtbot.keyClicks(editor.findChild(QLineEdit, "filter_value"), "100")
    with qtbot.waitSignal(viewer.loaded):
        qtbot.keyClick(editor.findChild(QLineEdit, "filter_value"), Qt.Key.Key_Return)
    assert viewer.rows > 0
    shown = export(results, qtbot, tmp_path / "shown.csv", 1)
    told = viewer.view.sql.replace("SELECT *", f"SELECT {', '.join(viewer.shown_columns())}")

    sql = f"SELECT {names[0]}, count(*) AS rows FROM access_log GROUP BY ALL ORDER BY ALL"
    results.show_sql()
    results.console.set_sql(sql)
    with qtbot.waitSignal(results.console.viewer.loaded):
        results.console.run()
    asked = export(results, qtbot, tmp_path / "asked.parquet", 0)

    by_command("run", str(SAMPLE))
    by_command("query", told, "-o", str(tmp_path / "shown again.csv"))
    by_command("query", sql, "-o", str(tmp_path / "asked again.parquet"))
    assert shown == (tmp_path / "shown again.csv").read_bytes()
    assert asked == (tmp_path / "asked again.parquet").read_bytes()
