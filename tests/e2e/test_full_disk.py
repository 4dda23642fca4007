"""A disk that is full: a sentence with the next act, no traceback, and nothing half done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "resources" / "sample"


@pytest.fixture
def disk(tmp_path: Path):
    """Make a disk of so many kilobytes."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("A small disk can only be made by root on Linux")
    made = []

    def make(kilobytes: int) -> Path:
        place = tmp_path / "disk"
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("A small disk cannot be mounted here")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", str(place)], check=True)


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "casparian", "--home", str(home), *arguments],
        cwd=ROOT / "desktop", capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("kilobytes", [40, 300, 900])
def test_a_full_disk_is_said_and_what_is_missing_is_done_later(disk, kilobytes, tmp_path):
    place = disk(kilobytes)
    full = run(place / "home", "run", str(SAMPLE))
    assert full.returncode == 3, full.stdout + full.stderr
    assert "Traceback" not in full.stderr
    assert "Free some space" in full.stderr

    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    again = run(place / "home", "run", str(SAMPLE))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1,229" in run(place / "home", "tables").stdout
