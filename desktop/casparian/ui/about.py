"""About: which version this is, what it is made of and on what terms, and where it keeps things."""

from __future__ import annotations

from importlib.metadata import metadata
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QPushButton,
    QSplitter,
    QTabWidget,
    QWidget,
)

from casparian import __version__, assets
from casparian.ui import parts, problems, theme

if TYPE_CHECKING:
    from pathlib import Path

    from casparian.settings import Settings


def places(settings: Settings) -> str:
    """Where the program keeps things, a line each; secrets are no part of an address's key."""
    return "\n".join(
        f"{name:<12} {place}"
        for name, place in (
            ("Home", settings.home),
            ("Settings", settings.config_path),
            ("State", settings.state.key),
            ("Outputs", settings.sink.key),
            ("Query", settings.catalog_path),
            ("Logs", settings.logs_dir),
            ("Staging", settings.staging_dir),
        )
    )


def licences() -> dict[str, list[Path]]:
    """The files with the terms of each component; a checkout has only those of common licences."""
    found: dict[str, list[Path]] = {}
    root = assets.folder("licences")
    for one in sorted(root.rglob("*.txt"), key=lambda path: str(path).casefold()):
        name = one.parent.name if one.parent != root else one.stem
        found.setdefault(name, []).append(one)
    return found


class AboutDialog(parts.Dialog):
    """Versions, licences and places, each to be read and copied."""

    def __init__(self, settings: Settings, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("about_dialog")
        self.setWindowTitle("About Casparian Flow")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._facts = f"{problems.versions()}\n\n{places(settings)}"
        self._licences = licences()
        copy = QPushButton("Copy versions and places")
        copy.setObjectName("about_copy")
        copy.setAccessibleName("Copy versions and places")
        copy.clicked.connect(self._on_copy)
        close = QPushButton("Close")
        close.setObjectName("about_close")
        close.setAccessibleName("Close")
        close.clicked.connect(self.accept)
        tabs = QTabWidget()
        tabs.setObjectName("about_tabs")
        tabs.setAccessibleName("About")
        tabs.addTab(_text(self._facts, "about_facts", "Versions and places"), "Versions and places")
        tabs.addTab(self._licences_page(), "Licences")
        column = parts.margins(self, all_round=2 * theme.GRID, gap=2 * theme.GRID)
        sign = parts.Picture("casparian", "accent", 24)
        title = parts.heading(f"Casparian Flow {__version__}", large=True)
        column.addWidget(parts.row(sign, title, None, gap=theme.GRID))
        column.addWidget(
            parts.faint(
                f"{metadata('casparian-flow')['Summary']} Apache License 2.0. It opens no "
                "connection but to the databases that you name."
            )
        )
        column.addWidget(tabs, 1)
        column.addWidget(parts.row(copy, None, close, gap=theme.GRID))
        tabs.setMinimumHeight(400)
        self.resize(800, 560)
        close.setDefault(True)
        close.setFocus()

    def _licences_page(self) -> QWidget:
        self._list = QListWidget()
        self._list.setObjectName("about_components")
        self._list.setAccessibleName("Components")
        for name in self._licences:
            self._list.addItem(QListWidgetItem(name))
        self._terms = _text("", "about_terms", "Terms")
        self._list.currentTextChanged.connect(self._on_component)
        splitter = QSplitter()
        splitter.addWidget(self._list)
        splitter.addWidget(self._terms)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([248, 520])
        splitter.setChildrenCollapsible(False)
        self._list.setCurrentRow(0)
        return splitter

    @Slot(str)
    def _on_component(self, name: str) -> None:
        texts = [one.read_text("utf-8", "replace") for one in self._licences.get(name, ())]
        self._terms.setPlainText(f"\n\n{'-' * 72}\n\n".join(texts))

    @Slot()
    def _on_copy(self) -> None:
        problems.copy_text(self._facts)


def _text(text: str, name: str, title: str) -> QPlainTextEdit:
    made = QPlainTextEdit(text)
    made.setReadOnly(True)
    made.setTabChangesFocus(True)
    made.setFont(theme.font(theme.SMALL, mono=True))
    made.setObjectName(name)
    made.setAccessibleName(title)
    return made
