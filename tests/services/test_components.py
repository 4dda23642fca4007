"""What the program is made of is told whole, from a build as from what is installed."""

from pathlib import Path

import pytest

from casparian import assets
from casparian.services.components import Component, components


def test_what_is_installed_is_told_with_its_terms():
    found = {one.name: one for one in components()}
    wanted = {"Casparian Flow", "Python", "PySide6_Essentials", "duckdb", "pyarrow", "SQLAlchemy"}
    assert wanted <= set(found)
    assert "pytest" not in found
    assert found["SQLAlchemy"].terms == "MIT"
    assert [one.name for one in found.values() if not one.texts] == []


def test_fonts_and_program_come_with_their_own():
    program, fonts, *_ = components()
    assert "Apache License" in program.text()
    assert "SIL OPEN FONT LICENSE" in fonts.text().upper()


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A build that brings the texts along."""
    folder = assets.folder

    def add(name, *files):
        place = tmp_path / "licences" / name
        place.mkdir(parents=True)
        for file in files:
            (place / file).write_text(f"{file} of {name}")

    monkeypatch.setattr(
        assets, "folder", lambda name: tmp_path / name if name == "licences" else folder(name)
    )
    return add


def test_a_build_tells_what_it_brings(build):
    build("beta-2.0", "LICENSE", "NOTICE.txt")
    build("Alpha-1.0", "COPYING.txt")
    _, _, alpha, beta = components()
    assert (alpha.name, alpha.text()) == ("Alpha-1.0", "COPYING.txt of Alpha-1.0")
    assert beta.name == "beta-2.0"
    assert beta.text().startswith("LICENSE of beta-2.0\n\n---")
    assert beta.text().endswith("NOTICE.txt of beta-2.0")


@pytest.mark.parametrize("texts", [(), (Path("/nowhere/LICENSE"),)], ids=["none", "gone"])
def test_a_part_without_a_text_says_so(texts):
    said = Component("odd", "1.0", "MIT", texts).text()
    assert said == "odd 1.0\n\nMIT. It came without a text."
