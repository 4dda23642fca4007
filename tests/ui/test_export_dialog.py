"""The export dialog writes what the service writes, asks before it replaces, and can be stopped."""

from __future__ import annotations

import json
import threading
from functools import partial

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QComboBox, QLabel, QLineEdit, QPushButton, QRadioButton

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import EnvironmentProblem
from casparian.domain.jobs import Progress
from casparian.domain.results import Filter, ViewSpec
from casparian.ui.export_dialog import FORMATS, Choice, ExportDialog
from casparian.ui.problems import ConfirmDialog
from casparian.ui.results_view import count_rows
from helpers.filled import PEOPLE, write_case

SPEC = ViewSpec("main", "people")
WHOLE = Choice("The whole table", SPEC, PEOPLE, "people")
SOME = Choice(
    "What is shown now",
    ViewSpec("main", "people", (Filter("name", "=", "person 3"),)),
    PEOPLE // 50,
    "people",
)


@pytest.fixture
def filled(services, case, run):
    run(services, write_case(case))
    return services


@pytest.fixture
def ask(qtbot, tasks, filled):
    kept = []

    def ask(*choices, results=filled.results):
        workspace = filled.workspaces.default()
        count = partial(count_rows, filled.results, workspace.id)
        dialog = ExportDialog(results, tasks, workspace, choices, count)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, on=False)
        qtbot.addWidget(dialog)
        # It has no parent here: without a reference it would end in the middle of Qt's own work.
        kept.append(dialog)
        dialog.open()
        return dialog

    yield ask
    for dialog in kept:
        dialog.close()
        dialog.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def part(dialog, kind, name):
    found = dialog.findChild(kind, name)
    assert found is not None, name
    return found


def export(dialog, qtbot, target, form=0):
    part(dialog, QComboBox, "export_format").setCurrentIndex(form)
    dialog.set_target(target)
    part(dialog, QPushButton, "export_button").click()
    qtbot.waitUntil(lambda: "SHA-256" in dialog.state(), timeout=20_000)


@pytest.mark.parametrize("form", range(len(FORMATS)), ids=[one.label for one in FORMATS])
def test_every_format_has_the_bytes_that_the_service_writes(
    ask, qtbot, filled, tmp_path, form
) -> None:
    target = tmp_path / f"shown{FORMATS[form].ending}"
    export(ask(SOME), qtbot, target, form)
    again = tmp_path / f"again{FORMATS[form].ending}"
    filled.results.export(
        filled.workspaces.default().id, SOME.what, again, FORMATS[form].word, safe=FORMATS[form].safe,
        overwrite=False, progress=lambda _progress: None, cancel=CancelToken(),
    )  # fmt: skip
    assert target.read_bytes() == again.read_bytes()


def test_the_end_says_rows_size_and_digest_and_the_manifest_agrees(ask, qtbot, tmp_path) -> None:
    dialog = ask(WHOLE)
    export(dialog, qtbot, tmp_path / "people.csv")
    assert dialog.state().startswith("500 rows · ")
    (manifest,) = tmp_path.glob("*.manifest.json")
    said = json.loads(manifest.read_text())
    part(dialog, QPushButton, "export_digest").click()
    assert QGuiApplication.clipboard().text() in json.dumps(said)
    assert len(QGuiApplication.clipboard().text()) == 64


def test_the_whole_of_a_query_is_written_and_counted_first(ask, qtbot, tmp_path) -> None:
    dialog = ask(Choice("The result of the query", "SELECT id FROM people -- all", None, "query"))
    qtbot.waitUntil(
        lambda: part(dialog, QRadioButton, "export_what_0").text().endswith(": 500 rows")
    )
    export(dialog, qtbot, tmp_path / "q.csv")
    assert len((tmp_path / "q.csv").read_text().splitlines()) == PEOPLE + 1


def test_a_file_that_is_there_is_replaced_only_after_asking(ask, qtbot, tmp_path) -> None:
    target = tmp_path / "people.csv"
    target.write_text("mine")
    dialog = ask(WHOLE)
    dialog.set_target(target)
    part(dialog, QPushButton, "export_button").click()
    confirm = dialog.findChild(ConfirmDialog)
    assert target.name in part(confirm, QLabel, "confirm_title").text()
    confirm.reject()
    assert target.read_text() == "mine"
    part(dialog, QPushButton, "export_button").click()
    part(dialog.findChildren(ConfirmDialog)[-1], QPushButton, "confirm_button").click()
    qtbot.waitUntil(lambda: "SHA-256" in dialog.state())
    assert target.read_text() != "mine"


def test_the_ending_follows_the_format_until_a_name_was_typed_and_then_still(ask) -> None:
    dialog = ask(WHOLE)
    target = part(dialog, QLineEdit, "export_target")
    assert target.text().endswith("people.csv")
    part(dialog, QComboBox, "export_format").setCurrentIndex(4)
    assert target.text().endswith("people.parquet")


def test_the_format_follows_the_ending_that_is_typed(ask, qtbot, tmp_path) -> None:
    dialog = ask(WHOLE)
    form, target = (
        part(dialog, QComboBox, "export_format"),
        part(dialog, QLineEdit, "export_target"),
    )
    target.clear()
    qtbot.keyClicks(target, str(tmp_path / "mine.JSONL"))
    assert FORMATS[form.currentIndex()].word == "jsonl"
    assert target.text() == str(tmp_path / "mine.JSONL")
    form.setCurrentIndex(1)
    target.clear()
    qtbot.keyClicks(target, str(tmp_path / "raw.csv"))
    assert form.currentIndex() == 1
    target.clear()
    qtbot.keyClicks(target, str(tmp_path / "no ending 1.2"))
    form.setCurrentIndex(4)
    assert target.text() == str(tmp_path / "no ending 1.2")


class Slow:
    """An export that goes on until it is told to stop."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def export(self, *_args, progress, cancel, **_options):
        progress(Progress(40, 500, "rows"))
        try:
            while True:
                cancel.check()
                cancel.wait(0.01)
        finally:
            self.ended.set()


def test_progress_is_shown_and_cancel_is_seen_to_have_ended_it(ask, qtbot, tmp_path) -> None:
    slow = Slow()
    dialog = ask(WHOLE, results=slow)
    dialog.set_target(tmp_path / "x.csv")
    part(dialog, QPushButton, "export_button").click()
    qtbot.waitUntil(lambda: dialog.state() == "40 of 500 rows")
    part(dialog, QPushButton, "export_cancel").click()
    qtbot.waitUntil(lambda: dialog.state().startswith("Cancelled"))
    assert slow.ended.is_set()
    assert dialog.isVisible()
    assert not (tmp_path / "x.csv").exists()


def test_esc_closes_at_once_when_idle_and_after_the_end_when_at_work(ask, qtbot, tmp_path) -> None:
    idle = ask(WHOLE)
    qtbot.keyClick(idle, Qt.Key.Key_Escape)
    assert not idle.isVisible()
    slow = Slow()
    dialog = ask(WHOLE, results=slow)
    dialog.set_target(tmp_path / "x.csv")
    part(dialog, QPushButton, "export_button").click()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not dialog.isVisible())
    assert slow.ended.is_set()


class Full:
    """A disk that is full."""

    def export(self, *_args, **_options):
        raise EnvironmentProblem("The export could not be written", "No space left", "Free some")


def test_what_went_wrong_is_said_and_it_can_be_tried_again(ask, qtbot, tmp_path) -> None:
    dialog = ask(WHOLE, results=Full())
    dialog.set_target(tmp_path / "x.csv")
    part(dialog, QPushButton, "export_button").click()
    banner = part(dialog, QLabel, "export_banner_text")
    qtbot.waitUntil(banner.isVisible)
    assert "No space left" in banner.text()
    assert part(dialog, QPushButton, "export_button").isEnabled()


def test_every_control_has_a_name(ask) -> None:
    dialog = ask(WHOLE, SOME)
    for kind in (QPushButton, QLineEdit, QComboBox, QRadioButton):
        for control in dialog.findChildren(kind):
            if not control.isVisibleTo(dialog):
                continue
            assert control.objectName() or control.accessibleName(), control
            assert control.accessibleName() or control.text(), control.objectName()
