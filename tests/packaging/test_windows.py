"""The installer for Windows and the recipe for the three systems, as far as texts can be tested."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = ROOT / "packaging" / "windows"
SCRIPT = (WINDOWS / "casparian.nsi").read_text("utf-8")


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    folder = tmp_path / "frozen"
    (folder / "_internal").mkdir(parents=True)
    for name in ("casparian.exe", "Casparian Flow.exe", "LICENSE.txt", "_internal/a.dll"):
        (folder / name).write_bytes(b"x")
    return folder


def test_the_script_makes_an_installer(frozen: Path, tmp_path: Path) -> None:
    if not shutil.which("makensis"):
        pytest.skip("The installer for Windows is not made: makensis is not installed")
    icon = ROOT / "build" / "art" / "casparian.ico"
    if not icon.is_file():
        pytest.skip("The installer for Windows is not made: packaging/build.py has drawn no icons")
    made = tmp_path / "casparian-setup.exe"
    done = subprocess.run(
        [
            "makensis", "-V2", "-DVERSION=1.2.3", f"-DSOURCE={frozen}", f"-DOUTPUT={made}",
            str(WINDOWS / "casparian.nsi"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.read_bytes().startswith(b"MZ")


def test_the_users_data_goes_only_when_asked_for() -> None:
    lines = [line.strip() for line in SCRIPT.splitlines() if "${DATA}" in line]
    deleting = [line for line in lines if line.startswith(("RMDir", "Delete"))]
    assert deleting == ['RMDir /r "${DATA}"']
    before = SCRIPT[: SCRIPT.index(deleting[0])].splitlines()
    assert before[-2].strip() == "${If} $Purge = 1" or before[-1].strip() == "${If} $Purge = 1"
    assert "/SD IDNO" in SCRIPT


def test_only_folders_of_ours_are_emptied() -> None:
    emptied = re.findall(r"RMDir /r (.+)", SCRIPT)
    assert set(emptied) == {'"$INSTDIR\\_internal"', '"${DATA}"'}


def test_open_with_takes_nothing_over() -> None:
    offered = set(re.findall(r"insertmacro Offer (\w+)", SCRIPT))
    assert offered == set(re.findall(r"insertmacro Withdraw (\w+)", SCRIPT)) != set()
    for line in SCRIPT.splitlines():
        if "Software\\Classes\\.${extension}" in line and "Write" in line:
            assert "OpenWithProgids" in line, "the default of a file type is not ours to change"


def test_no_administrator_is_needed() -> None:
    assert "RequestExecutionLevel user" in SCRIPT


def test_the_version_resource_is_what_pyinstaller_reads(tmp_path: Path) -> None:
    target = tmp_path / "version.txt"
    subprocess.run(
        [sys.executable, str(WINDOWS / "version_info.py"), str(target), "1.2.3"], check=True
    )
    text = target.read_text("utf-8")
    compile(text, "version.txt", "eval")
    assert "filevers=(1, 2, 3, 0)" in text


def test_the_workflow_names_what_is_there() -> None:
    text = (ROOT / ".github" / "workflows" / "build.yml").read_text("utf-8")
    named = set(re.findall(r"packaging/[\w/]+\.(?:sh|py|nsi|txt)", text))
    assert named
    assert all((ROOT / one).is_file() for one in named)
    assert "permissions:\n  contents: read" in text
