"""The program's test of itself: it holds, says what does not, and asks the network for nothing."""

import os
import platform
import subprocess
import sys

import pytest

from casparian.ui import selftest

# A filter of system calls (seccomp, see seccomp(2) and linux/filter.h) for x86-64: socket() for any family
# but AF_UNIX ends the process, and with it the test, at once.
SOCKETS_KILL = """
import ctypes, os, struct, sys
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
KILL, ALLOW, SOCKET, AF_UNIX = 0x80000000, 0x7FFF0000, 41, 1
code = [
    (LOAD, 0, 0, 0), (EQUAL, 0, 3, SOCKET),
    (LOAD, 0, 0, 16), (EQUAL, 1, 0, AF_UNIX),
    (RETURN, 0, 0, KILL),
    (RETURN, 0, 0, ALLOW),
]
packed = b"".join(struct.pack("HBBI", *one) for one in code)
buffer = ctypes.create_string_buffer(packed)
program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0  # PR_SET_SECCOMP, a filter
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
linux_x64 = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="system calls are watched on Linux on x86-64 only",
)


def run(*command):
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, check=False
    )


@linux_x64
def test_no_socket_but_the_systems_own_is_opened():
    asks = "import socket; socket.socket(socket.AF_INET)"
    assert run("-c", SOCKETS_KILL, "-c", asks).returncode < 0  # the trap works
    asks = "import socket; socket.socket(socket.AF_UNIX)"
    assert run("-c", SOCKETS_KILL, "-c", asks).returncode == 0

    tested = run("-c", SOCKETS_KILL, "-m", "casparian", "--self-test")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert tested.stdout.splitlines()[-1].startswith("passed")


def test_every_part_is_told_and_the_picture_kept(tmp_path):
    tested = run("-m", "casparian", "--self-test", str(tmp_path / "window.png"))
    assert tested.returncode == 0, tested.stdout + tested.stderr
    told = [line.split()[0] for line in tested.stdout.splitlines()]
    assert told == [
        "program", "window", "worker", "query", "export", "rerun", "picture", "drivers", "passed",
    ]  # fmt: skip
    assert (tmp_path / "window.png").read_bytes().startswith(b"\x89PNG")


def test_what_does_not_hold_is_said(monkeypatch):
    code = (
        "from casparian.ui import selftest\n"
        "selftest._EXPORTED = selftest._EXPORTED[:-1] + ('started',)\n"
        "raise SystemExit(selftest.main())"
    )
    tested = run("-c", code)
    assert tested.returncode == selftest.FAILED
    last = tested.stdout.splitlines()[-1]
    assert last.startswith("FAILED")
    assert "export" in last
