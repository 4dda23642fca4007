import os
import sys
import threading

import pytest
from PySide6.QtCore import QObject, QUrl
from PySide6.QtWidgets import QFileDialog, QWidget

from casparian.domain.errors import UserProblem
from casparian.domain.events import ScanProgressed
from casparian.domain.jobs import Progress
from casparian.ui import problems
from casparian.ui.intake import IntakeControl, path_of


@pytest.fixture
def control(services, tasks, bridge):
    parent = QObject()
    made = IntakeControl(services, tasks, bridge, parent)
    made.test_parent = parent
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
@pytest.mark.parametrize(
    "name", [b"plain", b"a b%20c#d?e", "día\u202e".encode(), b"new\nline", b"bad\xff\xfe"], ids=repr
)
def test_the_path_of_a_dropped_file_is_exact(name):
    encoded = "".join(f"%{byte:02X}" for byte in name)
    assert path_of(QUrl.fromEncoded(f"file:///evidence/{encoded}".encode())) == b"/evidence/" + name


def test_an_intake_reports_how_it_ended(qtbot, control, services, case):
    workspace = services.workspaces.default()
    folder = case(a__csv="x\n1\n", b__txt="hello")
    running = []
    control.running_changed.connect(running.append)
    with qtbot.waitSignal(control.ended) as ended:
        control.take_in(workspace, [os.fsencode(folder)], run=False)
    qtbot.waitUntil(lambda: running == [1, 0])
    (report,) = ended.args
    assert report.scans[0].found == 2
    assert report.jobs == ()


def test_an_intake_that_fails_is_over_too(qtbot, control, services, tmp_path, monkeypatch):
    shown, running = [], []
    monkeypatch.setattr(problems, "show", lambda error, parent: shown.append(error))
    control.running_changed.connect(running.append)
    workspace = services.workspaces.default()
    control.take_in(workspace, [os.fsencode(tmp_path / "nowhere")], run=True)
    qtbot.waitUntil(lambda: running == [1, 0])
    qtbot.waitUntil(lambda: bool(shown))
    assert isinstance(shown[0], UserProblem)


def test_every_intake_can_be_stopped(qtbot, control, services, monkeypatch):
    started, running = threading.Event(), []

    def take_in(workspace_id, paths, *, force, run, cancel):
        started.set()
        cancel.wait(10)
        cancel.check()

    monkeypatch.setattr(type(services.intake), "take_in", staticmethod(take_in))
    control.running_changed.connect(running.append)
    control.take_in(services.workspaces.default(), [b"/x"], run=True)
    started.wait(10)
    control.cancel()
    qtbot.waitUntil(lambda: running == [1, 0])


def test_progress_is_told_only_while_an_intake_of_ours_runs(qtbot, control, services, bridge):
    told = []
    control.progressed.connect(told.append)
    with qtbot.waitSignal(bridge.scan_progressed):
        services.bus.publish(ScanProgressed("s", Progress(1, None, "files")))
    assert told == []


def test_browsing_takes_in_what_was_chosen(qtbot, control, services, case, monkeypatch):
    folder = case(a__csv="x\n1\n")
    host = QWidget()
    qtbot.addWidget(host)
    host.show()
    control.browse(host, services.workspaces.default(), folder=True, run=False)
    dialog = host.findChild(QFileDialog, "browse_dialog")
    with qtbot.waitSignal(control.ended):
        dialog.urlsSelected.emit([QUrl.fromLocalFile(str(folder))])
    dialog.close()
    assert len(services.sources.list(services.workspaces.default().id)) == 1
