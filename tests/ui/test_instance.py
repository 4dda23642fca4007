import os
import subprocess
import sys

import pytest
from PySide6.QtCore import QLockFile

from casparian.domain.errors import EnvironmentProblem, UserProblem
from casparian.ui import instance as module
from casparian.ui.instance import Handed, Instance

HOLD = """
import sys
from PySide6.QtCore import QLockFile
lock = QLockFile(sys.argv[1])
lock.setStaleLockTime(0)
assert lock.tryLock(0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that has the home folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "window.lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_start_hands_over_what_it_was_asked_for(qtbot, tmp_path):
    first = Instance(tmp_path)
    assert first.take()
    heard = []
    first.handed.connect(heard.append)
    first.listen()
    code = (
        "import sys\nfrom pathlib import Path\nfrom casparian.ui.instance import Instance\n"
        "second = Instance(Path(sys.argv[1]))\nassert not second.take()\n"
        "second.hand_over('case', [b'/evidence/\\xff'])\n"
    )
    second = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    qtbot.waitUntil(lambda: bool(heard))
    assert second.wait(30) == 0
    assert heard == [Handed("case", [b"/evidence/\xff"])]
    first.close()
    assert Instance(tmp_path).take()


def test_what_was_handed_over_before_anybody_listened_is_not_lost(
    qtbot, tmp_path, other, monkeypatch
):
    monkeypatch.setattr(module, "ANSWER_S", 0)
    with pytest.raises(UserProblem, match=f"process {other.pid}"):
        Instance(tmp_path).hand_over("", [b"/evidence"])
    assert not list((tmp_path / "handover").iterdir()), "nobody may find it later"


def test_a_window_whose_process_is_gone_holds_nothing(qtbot, tmp_path, other):
    assert not Instance(tmp_path).take()
    other.kill()
    other.wait()
    assert Instance(tmp_path).take()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written_is_said(qtbot, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        Instance(tmp_path).take()


def test_a_note_that_does_not_hold_is_left_alone(qtbot, tmp_path):
    (tmp_path / "handover").mkdir()
    (tmp_path / "handover" / "a.json").write_text("{")
    first = Instance(tmp_path)
    assert first.take()
    heard = []
    first.handed.connect(heard.append)
    first.listen()
    assert heard == []
    first.close()
    assert QLockFile(str(tmp_path / "window.lock")).tryLock(0)
