"""The installer for Windows and the recipe for the three systems, as far as texts can be tested."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

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
    icon = tmp_path / "casparian.ico"
    image = QImage(32, 32, QImage.Format.Format_ARGB32)
    image.fill(0)
    assert image.save(str(icon))
    made = tmp_path / "casparian-setup.exe"
    done = subprocess.run(
        [
            "makensis", "-V2", "-WX", "-DVERSION=1.2.3", f"-DSOURCE={frozen}", f"-DOUTPUT={made}",
            f"-DICON={icon}", str(WINDOWS / "casparian.nsi"),
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


def test_an_upgrade_leaves_out_nothing_silently() -> None:
    assert "AllowSkipFiles off" in SCRIPT


def test_all_that_is_written_is_withdrawn() -> None:
    """Each key and shortcut that the installer makes is named by the uninstaller too."""
    install, _, uninstall = SCRIPT.partition("Section Uninstall")
    for shortcut in re.findall(r'CreateShortcut ("[^"]+")', install):
        assert f"Delete {shortcut}" in uninstall
    gone = re.findall(r'DeleteRegKey SHCTX "([^"]+)"', uninstall)
    for key in re.findall(r'WriteReg\w+ SHCTX "([^"]+)"', install):
        if "OpenWithProgids" not in key:
            assert any(key == one or key.startswith(f"{one}\\") for one in gone), key
    assert 'DeleteRegValue SHCTX "Software\\Classes\\.${extension}\\OpenWithProgids"' in uninstall


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


def test_line_ends_are_the_same_on_every_system() -> None:
    """Who a parser is follows from its bytes, and Git for Windows turns line ends if nobody forbids it."""
    assert "* -text" in (ROOT / ".gitattributes").read_text("utf-8").splitlines()


def test_the_try_under_wine_says_first_and_last_that_it_is_for_tests_only() -> None:
    text = (WINDOWS / "smoke_wine.sh").read_text("utf-8")
    said = text.index('echo "$never"\ntrap finish EXIT\n')
    assert said < text.index("for step in")
    assert re.search(r'finish\(\) \{.*    echo "\$never"\n\}', text, re.DOTALL)
    assert "FOR-TESTS-ONLY.exe" in text


def test_the_workflow_names_what_is_there() -> None:
    text = (ROOT / ".github" / "workflows" / "build.yml").read_text("utf-8")
    named = set(re.findall(r"packaging/[\w/]+\.(?:sh|py|nsi|txt)", text))
    assert named
    assert all((ROOT / one).is_file() for one in named)
    assert "permissions:\n  contents: read" in text
