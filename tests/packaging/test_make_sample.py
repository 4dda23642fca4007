"""The sample case is what its generator makes, byte for byte, and what its README says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "resources" / "sample"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_sample", ROOT / "packaging" / "make_sample.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_case_is_what_the_generator_makes(generator: ModuleType) -> None:
    made = generator.make()

    assert {
        path.relative_to(SAMPLE).as_posix() for path in SAMPLE.rglob("*") if path.is_file()
    } == set(made)
    for path, content in made.items():
        assert (SAMPLE / path).read_bytes() == content, path


def test_the_case_is_small(generator: ModuleType) -> None:
    assert sum(map(len, generator.make().values())) < 1_000_000


def test_exactly_the_lines_that_the_readme_names_are_broken(generator: ModuleType) -> None:
    broken = set()
    for path, content in generator.make().items():
        lines = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            if path.endswith(".jsonl") and line:
                try:
                    json.loads(line)
                except ValueError:
                    broken.add((path, number))
            elif path.endswith("access_log.csv") and line:
                try:
                    line.decode()
                except ValueError:
                    broken.add((path, number))
                if line.count(b'"') % 2 or line.count(b",") < 7:
                    broken.add((path, number))

    assert broken == {(path, line) for path, line, _ in generator.FAULTS}
    readme = generator.make()["README.md"].decode()
    assert all(f"`{path}` | {line} |" in readme for path, line in broken)


def test_no_line_of_the_story_is_among_the_broken_ones(generator: ModuleType) -> None:
    made = generator.make()
    for path, line, _ in generator.FAULTS:
        content = made[path].split(b"\n")[line - 1]
        assert generator.ATTACKER.encode() not in content
        assert b"odsync" not in content
    assert made["web01/access_log.csv"].count(b"receipt_8841.php?c=") == 5
