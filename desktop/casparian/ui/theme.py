"""The look: every colour is a token here, and so are the sizes; both palettes and the style sheet follow.

Fusion with palettes of our own, because `QStyleHints.setColorScheme` does nothing on many systems.
Widgets ask `color` when they paint, so that a switch of the theme needs no more than a repaint. Fonts are
set here and by `font`, never in the style sheet: IBM Plex (OFL) is bundled for its tabular figures and
because a bare machine may have no font at all.
"""

from __future__ import annotations

import atexit
import logging
import re
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Literal, cast

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QFontInfo, QPalette

from casparian.assets import folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PySide6.QtWidgets import QApplication

logger = logging.getLogger(__name__)

Mode = Literal["system", "light", "dark"]
Token = Literal[
    "paper",  # what tables and editors are written on
    "panel",  # the window around them
    "raised",  # buttons, header cells
    "hover",
    "select",  # behind the selected row; text on it keeps its own colour
    "line",  # hairlines between areas
    "edge",  # borders of controls that must be seen (3:1)
    "ink",
    "faint",  # labels and secondary text, still 4.5:1
    "accent",
    "on_accent",
    "good",
    "partial",
    "bad",
    "busy",
]

LIGHT: Mapping[Token, str] = {
    "paper": "#ffffff",
    "panel": "#f4f5f7",
    "raised": "#e9ecf0",
    "hover": "#eef1f5",
    "select": "#dbe7f8",
    "line": "#d7dbe0",
    "edge": "#868e99",
    "ink": "#1a1e24",
    "faint": "#535c68",
    "accent": "#1b5bb5",
    "on_accent": "#ffffff",
    "good": "#146a34",
    "partial": "#7d4f00",
    "bad": "#b0201a",
    "busy": "#0b617a",
}
DARK: Mapping[Token, str] = {
    "paper": "#14171b",
    "panel": "#1b1f24",
    "raised": "#282e35",
    "hover": "#22272d",
    "select": "#25384f",
    "line": "#30363e",
    "edge": "#6f7985",
    "ink": "#e6e9ed",
    "faint": "#a3adb9",
    "accent": "#7db0fa",
    "on_accent": "#0d1b2e",
    "good": "#66cf92",
    "partial": "#e5b158",
    "bad": "#f8908a",
    "busy": "#67c5e3",
}

GRID = 8
"""Margins and gaps are multiples (or halves) of this, in pixels."""
ROW_HEIGHT = 24
SMALL, NORMAL, LARGE = 12, 13, 18
"""The three sizes of text, in pixels."""
SANS, MONO = "IBM Plex Sans", "IBM Plex Mono"

_active: Mapping[Token, str] = LIGHT


def color(token: Token) -> QColor:
    """The colour of a token in the theme that is on."""
    return QColor(_active[token])


def is_dark() -> bool:
    """Whether the dark theme is on."""
    return _active is DARK


def font(size: int = NORMAL, *, strong: bool = False, mono: bool = False) -> QFont:
    """A font of the one family, at one of the three sizes; `mono` for hex, hashes and SQL."""
    made = QFont(MONO if mono else SANS)
    made.setPixelSize(size)
    made.setStyleHint(QFont.StyleHint.Monospace if mono else QFont.StyleHint.SansSerif)
    if strong:
        # The family is one variable file: a weight that no static face has is an axis, not a style.
        made.setWeight(QFont.Weight.DemiBold)
        made.setVariableAxis(QFont.Tag("wght"), 600)
    return made


def load_fonts() -> None:
    """Make the bundled families known; a machine's own fonts stand in for scripts they lack."""
    for path in sorted(folder("fonts").glob("*.ttf")):
        if QFontDatabase.addApplicationFont(str(path)) < 0:
            logger.warning("the font %s could not be loaded", path.name)


def apply(app: QApplication, mode: Mode) -> None:
    """Put the application into a theme; `system` follows the desktop where it says what it is."""
    prepare(app, mode)
    app.setStyleSheet(style_sheet(_active))


def prepare(app: QApplication, mode: Mode) -> None:
    """Do the same but for the style sheet.

    A window is built before the sheet is set: each widget that is put into another one would be styled
    anew with all its children, which makes up most of the time that building takes.
    """
    global _active
    dark = mode == "dark" or (
        mode == "system" and app.styleHints().colorScheme() is Qt.ColorScheme.Dark
    )
    _active = DARK if dark else LIGHT
    if app.style().objectName().lower() != "fusion":
        app.setStyle("Fusion")
    if QFontInfo(app.font()).family() != SANS or app.font().pixelSize() != NORMAL:
        app.setFont(font())
    app.setPalette(palette(_active))


def palette(tokens: Mapping[Token, str]) -> QPalette:
    """The tokens as Qt's roles."""
    role = QPalette.ColorRole
    roles: dict[QPalette.ColorRole, Token] = {
        role.Window: "panel",
        role.WindowText: "ink",
        role.Base: "paper",
        role.AlternateBase: "hover",
        role.Text: "ink",
        role.PlaceholderText: "faint",
        role.Button: "raised",
        role.ButtonText: "ink",
        role.BrightText: "bad",
        role.ToolTipBase: "raised",
        role.ToolTipText: "ink",
        role.Highlight: "select",
        role.HighlightedText: "ink",
        role.Link: "accent",
        role.LinkVisited: "accent",
        role.Accent: "accent",
        role.Light: "hover",
        role.Midlight: "line",
        role.Mid: "line",
        role.Dark: "edge",
        role.Shadow: "edge",
    }
    made = QPalette()
    for one, token in roles.items():
        made.setColor(one, QColor(tokens[token]))
    for one in (role.WindowText, role.Text, role.ButtonText, role.HighlightedText):
        made.setColor(QPalette.ColorGroup.Disabled, one, QColor(tokens["edge"]))
    return made


def style_sheet(tokens: Mapping[Token, str]) -> str:
    """What Fusion does not do by palette alone; widgets opt in by object name or the property `look`."""
    sheet = re.sub(
        r"url\((\w+) @(\w+)\)",
        lambda found: f"url({_tinted(found[1], tokens[cast('Token', found[2])])})",
        _SHEET,
    )
    return re.sub(r"@(\w+)", lambda found: tokens[cast("Token", found[1])], sheet)


def _tinted(icon: str, color: str) -> str:
    """The path of an icon in a colour: style sheets take pictures from files only."""
    path = _pictures() / f"{icon}-{color.removeprefix('#')}.svg"
    if not path.exists():
        svg = (folder("icons") / f"{icon}.svg").read_text("utf-8")
        path.write_text(svg.replace("currentColor", color), "utf-8")
    return path.as_posix()


@cache
def _pictures() -> Path:
    made = Path(mkdtemp(prefix="casparian-theme-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


_SHEET = """
QMainWindow::separator { background: @line; width: 1px; height: 1px; }
QMainWindow::separator:hover { background: @accent; }
QToolBar { background: @panel; border: none; padding: 0; spacing: 0; }
#top_bar { border-bottom: 1px solid @line; }
QSplitter::handle { background: @line; }
QSplitter[look="gap"]::handle { background: transparent; }
QSplitter::handle:hover { background: @accent; }
QSplitter::handle:horizontal { width: 1px; }
QSplitter::handle:vertical { height: 1px; }
QToolTip { color: @ink; background: @raised; border: 1px solid @edge; padding: 4px; }

QFrame[look="card"] { background: @paper; border: 1px solid @line; border-radius: 4px; }
QFrame[look="chosen"] { background: @select; border: 1px solid @accent; border-radius: 4px; }
QFrame[look="rule"] { background: @line; border: none; }
QLabel[look="faint"] { color: @faint; }
QLabel[look="bad"] { color: @bad; }
QLabel[look="good"] { color: @good; }
QLabel[look="partial"] { color: @partial; }
QLabel[look="busy"] { color: @busy; }

QAbstractItemView { background: @paper; border: none; outline: 0; selection-background-color: @select;
    alternate-background-color: @paper; }
QTableView, QTreeView, QListView { gridline-color: @line; }
QTableView::item { padding: 0 4px; border: none; }
QTreeView::item, QListView::item { height: 24px; padding: 0 4px; }
QTableView::item:selected, QTreeView::item:selected, QListView::item:selected { background: @select; }
QTableView:focus, QTreeView:focus, QListView:focus { border: 1px solid @accent; }
QTableView, QTreeView, QListView { border: 1px solid transparent; }
QHeaderView { background: @panel; border: none; }
QHeaderView::section { background: @panel; color: @faint; border: none; border-right: 1px solid @line;
    border-bottom: 1px solid @line; padding: 0 8px; height: 24px; }
QHeaderView::section:hover { background: @raised; color: @ink; }
QTableCornerButton::section { background: @panel; border: none; }

QLineEdit, QPlainTextEdit, QTextEdit { background: @paper; border: 1px solid @edge; border-radius: 4px;
    padding: 3px 7px; selection-background-color: @accent; selection-color: @on_accent; }
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus { border: 1px solid @accent; }
QLineEdit:disabled, QPlainTextEdit:disabled { background: @panel; color: @edge; border-color: @line; }
QComboBox, QSpinBox { background: @paper; border: 1px solid @edge; border-radius: 4px; padding: 3px 8px; }
QComboBox:focus, QSpinBox:focus { border: 1px solid @accent; }
QComboBox:disabled, QSpinBox:disabled { background: @panel; color: @edge; border-color: @line; }
QComboBox::drop-down { border: none; width: 20px; }
QComboBox::down-arrow { image: url(chevron @faint); width: 12px; height: 12px; }
QComboBox QAbstractItemView { border: 1px solid @edge; }
QSpinBox QLineEdit, QComboBox QLineEdit { border: none; background: transparent; padding: 0 4px; }
QSpinBox::up-button, QSpinBox::down-button { border: none; background: transparent; width: 16px; }
QSpinBox::up-arrow { image: url(chevron_up @faint); width: 10px; height: 10px; }
QSpinBox::down-arrow { image: url(chevron @faint); width: 10px; height: 10px; }
QSpinBox[readOnly="true"] { background: @panel; border-color: @line; }
QCheckBox::indicator, QListView::indicator, QTreeView::indicator, QTableView::indicator, QMenu::indicator {
    width: 14px; height: 14px; border: 1px solid @edge; border-radius: 3px; background: @paper; }
QCheckBox::indicator:focus { border: 1px solid @accent; }
QCheckBox::indicator:checked, QListView::indicator:checked, QTreeView::indicator:checked,
    QTableView::indicator:checked, QMenu::indicator:checked {
    background: @accent; border: 1px solid @accent; image: url(check @on_accent); }
QRadioButton::indicator { width: 12px; height: 12px; border: 1px solid @edge; border-radius: 7px;
    background: @paper; }
QRadioButton::indicator:focus { border: 1px solid @accent; }
QRadioButton::indicator:checked { width: 6px; height: 6px; border: 4px solid @accent; border-radius: 7px; }
QRadioButton::indicator:checked:disabled { border: 4px solid @edge; background: @paper; }
QRadioButton::indicator:unchecked:disabled { border: 1px solid @line; background: @panel; }
QCheckBox::indicator:disabled, QListView::indicator:disabled { border: 1px solid @line; background: @panel; }
QLineEdit[readOnly="true"], QPlainTextEdit[readOnly="true"] { background: @panel; border-color: @line; }
QPlainTextEdit[look="plain"] { background: @paper; }
QListWidget[look="field"] { border: 1px solid @edge; border-radius: 4px; }
QListWidget[look="field"]:focus { border: 1px solid @accent; }
QLineEdit[invalid="true"] { border: 1px solid @bad; }
QPlainTextEdit[look="plain"], QTextEdit[look="plain"] { border: none; border-radius: 0; }

QPushButton { background: @raised; color: @ink; border: 1px solid @edge; border-radius: 4px;
    padding: 4px 12px; min-height: 16px; }
QPushButton:hover { background: @hover; }
QPushButton:pressed { background: @line; }
QPushButton:focus { border: 1px solid @accent; }
QPushButton:disabled { color: @edge; border-color: @line; background: @panel; }
QPushButton[look="primary"] { background: @accent; color: @on_accent; border: 1px solid @accent; }
QPushButton[look="primary"]:hover, QPushButton[look="primary"]:focus { border: 1px solid @ink; }
QPushButton[look="primary"]:disabled { background: @raised; color: @edge; border-color: @line; }
QPushButton[look="link"] { background: transparent; color: @accent; border: 1px solid transparent;
    padding: 2px 4px; text-align: left; }
QPushButton[look="link"]:hover { border-bottom: 1px solid @accent; }
QPushButton[look="link"]:focus { border: 1px solid @accent; }
QToolButton { background: transparent; border: 1px solid transparent; border-radius: 4px; padding:
    3px 6px; }
QToolButton:hover { background: @raised; }
QToolButton:focus { border: 1px solid @accent; }
QToolButton:checked { background: @select; }
QToolButton:disabled { color: @edge; }

QTabBar::tab { background: transparent; color: @faint; padding: 5px 12px; border: none;
    border-bottom: 2px solid transparent; }
QTabBar::tab:hover { color: @ink; }
QTabBar::tab:selected { color: @ink; border-bottom: 2px solid @accent; }
QTabBar::tab:focus { color: @accent; }
QTabWidget::pane { border: none; }
QTabBar { qproperty-drawBase: 0; }

#rail { background: @panel; border-right: 1px solid @line; }
#rail QToolButton { border-radius: 0; border: none; border-left: 3px solid transparent; padding:
    8px 4px; color: @faint; }
#rail QToolButton:hover { background: @raised; color: @ink; }
#rail QToolButton:checked { border-left: 3px solid @accent; background: @select; color: @ink; }
#rail QToolButton:focus { background: @raised; color: @ink; }
QStatusBar { background: @panel; border-top: 1px solid @line; }
QStatusBar::item { border: none; }
QStatusBar QPushButton { background: transparent; border: 1px solid transparent; padding: 1px 8px;
    color: @ink; }
QStatusBar QPushButton:hover { background: @raised; }
QStatusBar QPushButton:focus { border: 1px solid @accent; }
QMenuBar { background: @panel; border-bottom: 1px solid @line; }
QMenuBar::item { padding: 4px 8px; background: transparent; }
QMenuBar::item:selected { background: @select; color: @ink; }
QMenu { background: @paper; border: 1px solid @edge; padding: 4px; }
QMenu::item { padding: 4px 24px 4px 8px; }
QMenu::icon { padding-left: 8px; }
QMenu::item:selected { background: @select; color: @ink; }
QMenu::item:disabled { color: @edge; }
QMenu::separator { height: 1px; background: @line; margin: 4px 8px; }
QScrollBar { background: @panel; border: none; }
QScrollBar:vertical { width: 12px; }
QScrollBar:horizontal { height: 12px; }
QScrollBar::handle { background: @edge; border-radius: 3px; margin: 3px; }
QScrollBar::handle:vertical { min-height: 24px; }
QScrollBar::handle:horizontal { min-width: 24px; }
QScrollBar::handle:hover { background: @faint; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
QAbstractScrollArea::corner { background: @panel; }
QProgressBar { background: @raised; border: none; border-radius: 2px; max-height: 6px; min-height:
    6px; }
QProgressBar::chunk { background: @busy; border-radius: 2px; }
"""
