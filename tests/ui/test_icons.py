import re
from pathlib import Path

import pytest
from PySide6.QtCore import QSize
from PySide6.QtGui import QIcon
from PySide6.QtSvg import QSvgRenderer

from casparian import ui
from casparian.assets import folder
from casparian.ui import icons, theme

NAMES = sorted(path.stem for path in folder("icons").glob("*.svg"))


@pytest.mark.parametrize("name", NAMES)
def test_every_icon_draws_lines_that_can_be_tinted(look, name):
    path = folder("icons") / f"{name}.svg"
    assert QSvgRenderer(str(path)).isValid()
    assert "currentColor" in path.read_text()
    assert not re.search(r"#[0-9a-fA-F]{3}", path.read_text())


def test_an_icon_follows_the_theme_without_being_made_anew(look):
    icon = icons.icon("good", "good")
    light = icon.pixmap(QSize(16, 16)).toImage()
    theme.apply(look, "dark")
    try:
        dark = icon.pixmap(QSize(16, 16)).toImage()
    finally:
        theme.apply(look, "light")
    assert light != dark


def test_a_disabled_icon_looks_disabled(look):
    icon = icons.icon("run")
    off = icon.pixmap(QSize(16, 16), QIcon.Mode.Disabled).toImage()
    assert off != icon.pixmap(QSize(16, 16)).toImage()


def test_every_icon_that_the_code_names_exists():
    code = "".join(path.read_text() for path in Path(ui.__path__[0]).glob("*.py"))
    named = re.findall(r'icons\.(?:icon|pixmap)\(\s*"(\w+)"', code)
    named += re.findall(r'icon="(\w+)"', code)
    named += re.findall(r"url\((\w+) @", code)
    assert named
    assert set(named) <= set(NAMES)
