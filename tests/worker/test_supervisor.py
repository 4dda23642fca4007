import os
import subprocess
import sys

from casparian.worker import supervisor
from casparian.worker.supervisor import worker_command


def test_a_checkout_starts_itself_as_a_module():
    assert worker_command() == [sys.executable, "-m", "casparian", "worker-process"]


def test_a_frozen_program_starts_itself(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", "/usr/lib/casparian-flow/casparian")
    assert worker_command() == ["/usr/lib/casparian-flow/casparian", "worker-process"]


def test_the_window_on_windows_starts_the_program_that_has_streams(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "Casparian Flow.exe"))
    made = type(tmp_path)  # a path of this system: the other kind cannot be made here
    monkeypatch.setattr("casparian.worker.supervisor.Path", made)
    monkeypatch.setattr(os, "name", "nt")
    command = worker_command()
    monkeypatch.undo()
    assert command == [str(tmp_path / "casparian.exe"), "worker-process"]


def test_on_windows_no_tool_is_taken_from_the_current_folder(monkeypatch):
    asked, ended = [], []

    def refuse(command, **_):
        asked.append(command)
        raise PermissionError("blocked")

    class Process:
        pid = 7

        def kill(self):
            ended.append(self.pid)

    monkeypatch.setenv("SYSTEMROOT", "D:\\Windows")
    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(os, "name", "nt")
    supervisor._kill_group(Process())
    monkeypatch.undo()
    assert asked == [["D:\\Windows\\System32\\taskkill.exe", "/F", "/T", "/PID", "7"]]
    assert ended == [7], "a worker must end even where that tool is blocked"
