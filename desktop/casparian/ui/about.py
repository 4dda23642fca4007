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

from casparian import __version__
from casparian.services import configuration
from casparian.services.components import Component, components
from casparian.ui import parts, problems, theme

if TYPE_CHECKING:
    from casparian.settings import Settings
    from casparian.ui.tasks import Tasks


def places(settings: Settings) -> str:
    """Where the program keeps things, a line each; addresses of servers are without passwords."""
    roles = {role.name: role.place for role in configuration.roles(settings)}
    return "\n".join(
        f"{name:<12} {place}"
        for name, place in (
            ("Home", settings.home),
            ("Settings", settings.config_path),
            *((configuration.ROLES[role][0], place) for role, place in roles.items()),
            ("Logs", settings.logs_dir),
            ("Staging", settings.staging_dir),
        )
    )


class AboutDialog(parts.Dialog):
    """Versions, licences and places, each to be read and copied."""

    def __init__(self, settings: Settings, tasks: Tasks, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("about_dialog")
        self.setWindowTitle("About Casparian Flow")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._facts = f"{problems.versions()}\n\n{places(settings)}"
        self._tasks = tasks
        self._components: list[Component] = []
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
        self._terms = _text("", "about_terms", "Terms")
        self._list.currentRowChanged.connect(self._on_chosen)
        splitter = QSplitter()
        splitter.addWidget(self._list)
        splitter.addWidget(self._terms)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([248, 520])
        splitter.setChildrenCollapsible(False)
        self._tasks.run(self, components, self._on_components, key="components")
        return splitter

    def _on_components(self, found: list[Component]) -> None:
        self._components = found
        for one in found:
            item = QListWidgetItem(one.title)
            item.setToolTip(one.terms)
            self._list.addItem(item)
        self._list.setCurrentRow(0)

    @Slot(int)
    def _on_chosen(self, row: int) -> None:
        if row >= 0:
            read = self._components[row].text
            self._tasks.run(self, read, self._terms.setPlainText, key="terms")

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
