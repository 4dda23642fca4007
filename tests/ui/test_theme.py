import itertools
import re

import pytest
from PySide6.QtGui import QFontInfo, QFontMetricsF

from casparian.ui import theme

TEXTS = ("ink", "faint", "accent", "good", "partial", "bad", "busy")
BACKGROUNDS = ("paper", "panel", "raised", "hover", "select")


def luminance(color):
    """WCAG 2.1, relative luminance."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    r, g, b = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one, other):
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("tokens", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_every_text_can_be_read_on_every_background(tokens):
    pairs = itertools.product(TEXTS, BACKGROUNDS)
    weak = {
        (text, under): round(contrast(tokens[text], tokens[under]), 2)
        for text, under in pairs
        if contrast(tokens[text], tokens[under]) < 4.5
    }
    assert not weak
    assert contrast(tokens["on_accent"], tokens["accent"]) >= 4.5


@pytest.mark.parametrize("tokens", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_borders_of_controls_can_be_seen(tokens):
    for under in ("paper", "panel"):
        assert contrast(tokens["edge"], tokens[under]) >= 3


def test_both_themes_have_the_same_tokens():
    assert theme.LIGHT.keys() == theme.DARK.keys()


@pytest.mark.parametrize("tokens", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_the_style_sheet_has_no_colour_of_its_own(look, tokens):
    sheet = theme.style_sheet(tokens)
    assert "@" not in sheet
    assert set(re.findall(r"#[0-9a-f]{6}", sheet)) <= set(tokens.values())


def test_a_switch_changes_what_widgets_ask_for(look):
    theme.apply(look, "dark")
    try:
        assert theme.is_dark()
        assert theme.color("paper").name() == theme.DARK["paper"]
        assert look.palette().base().color() == theme.color("paper")
    finally:
        theme.apply(look, "light")
    assert not theme.is_dark()


@pytest.mark.parametrize("mono", [False, True], ids=["sans", "mono"])
def test_figures_are_tabular_in_the_bundled_fonts(look, mono):
    font = theme.font(mono=mono)
    assert QFontInfo(font).family() == (theme.MONO if mono else theme.SANS)
    widths = {QFontMetricsF(font).horizontalAdvance(digit) for digit in "0123456789"}
    assert len(widths) == 1
