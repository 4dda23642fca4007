"""The user guide: pages of Markdown that come with the program, in a window of their own.

Nothing in it leaves the machine: links lead to other pages, addresses of the web are text to copy. Which page
belongs to which part of the window, and to which dialog, is decided here, in `PARTS` and `VIEWS`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QSettings, QSignalBlocker, Qt, QUrl, Slot
from PySide6.QtGui import (
    QCloseEvent,
    QKeySequence,
    QShortcut,
)
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QSplitter,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)
from typing_extensions import override

from casparian.ui import icons, parts
from casparian.ui.guide_page import PAGES, GuidePage, Place, folder, place_of

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = {
    "sql_console": "sql",
    "jobs_panel": "jobs",
    "plan_view": "jobs",
    "routes_tab": "rules",
    "inspector": "results",
    "configuration_page": "configuration",
    # dialogs
    "export_dialog": "export",
    "column_chooser": "results",
    "go_to_row": "results",
    "route_dialog": "rules",
    "name_dialog": "start",
    "root_dialog": "configuration",
    "profile_dialog": "configuration",
    "no_store_dialog": "configuration",
    "password_dialog": "configuration",
    "welcome_dialog": "configuration",
    "problem_dialog": "problems",
    "crash_dialog": "problems",
    "about_dialog": "configuration",
}
"""Parts of the window, and dialogs, with a page of their own, by the name of the widget."""
VIEWS = {"workspace": "start", "sources": "sources", "rules": "rules", "results": "results"}
_HAS_KEY = "opens_guide"


def page_for(widget: QWidget | None, view: str) -> str:
    """The page on what a widget is part of, else on the view that is shown."""
    at = widget
    while at is not None:
        if page := PARTS.get(at.objectName()):
            return page
        at = at.parentWidget()
    return VIEWS.get(view, "start")


def page_text(page: str) -> str:
    """The Markdown of a page."""
    return folder().joinpath(f"{page}.md").read_text("utf-8")


def sections(text: str) -> dict[str, str]:
    """The second headings of a page, each with the text below it."""
    _, *rest = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(rest[::2], rest[1::2], strict=True))


class GuideControl(QObject):
    """Owns the one guide, and opens it at the page on what has the focus.

    A dialog keeps the window's keys from it, so that each gets an F1 of its own when it is first entered.
    """

    def __init__(self, memory: QSettings | None, view: Callable[[], str], parent: QObject) -> None:
        """`memory` keeps the guide's size; `view` says which view is in front."""
        super().__init__(parent)
        self._memory, self._view = memory, view
        self._guide: Guide | None = None
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.focusChanged.connect(self._on_focus_changed)

    @property
    def guide(self) -> Guide | None:
        """The window, once it was opened."""
        return self._guide

    @Slot()
    def open(self) -> None:
        """Bring the guide to the front."""
        page = page_for(QApplication.focusWidget(), self._view())
        if self._guide is None:
            # No child of the window: a dialog would keep it from being read.
            self._guide = Guide()
            if self._memory is not None and (size := self._memory.value("guide")):
                self._guide.restoreGeometry(size)
        self._guide.show_page(page)

    @Slot()
    def close(self) -> None:
        """Close it for good."""
        if self._guide is None:
            return
        if self._memory is not None:
            self._memory.setValue("guide", self._guide.saveGeometry())
        self._guide.close()
        self._guide.deleteLater()
        self._guide = None

    @Slot(QWidget, QWidget)
    def _on_focus_changed(self, _old: QWidget | None, now: QWidget | None) -> None:
        dialog = now.window() if now is not None else None
        if isinstance(dialog, QDialog) and not dialog.property(_HAS_KEY):
            dialog.setProperty(_HAS_KEY, True)  # noqa: FBT003  (Qt's own signature)
            QShortcut(QKeySequence(Qt.Key.Key_F1), dialog, self.open)


class Guide(QWidget):
    """The pages with their sections at the left, the chosen one at the right; Ctrl+F searches all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("guide")
        self.setWindowTitle("User guide")
        self.setWindowIcon(icons.icon("help", "accent"))
        self._texts = {page: page_text(page) for page in PAGES}
        self._search = parts.search_field("Search the guide", "guide_search")
        self._search.textChanged.connect(self._on_typed)
        self._tree = QTreeWidget()
        self._tree.setObjectName("guide_pages")
        self._tree.setAccessibleName("Pages")
        self._tree.setHeaderHidden(True)
        self._tree.currentItemChanged.connect(self._on_chosen)
        self._nothing = parts.faint("No page has these words.", name="guide_nothing")
        self._nothing.hide()
        self._page = GuidePage()
        self._page.anchorClicked.connect(self._on_link)
        self._back = _button("back", "Back", "Alt+Left", self.go_back)
        self._forward = _button("forward", "Forward", "Alt+Right", self.go_forward)
        self._place = Place("start")
        self._shown = ""
        self._past: list[Place] = []
        self._future: list[Place] = []
        self._lay_out()
        self._on_typed("")
        QShortcut(QKeySequence.StandardKey.Find, self, self._on_find)
        for keys in (QKeySequence(Qt.Key.Key_F3), QKeySequence(Qt.Key.Key_Return)):
            QShortcut(keys, self, self._page.go_to_next)
        QShortcut(QKeySequence(Qt.Key.Key_Escape), self, self._on_escape)

    def _lay_out(self) -> None:
        left = QWidget()
        column = parts.margins(left)
        column.addWidget(parts.row(self._back, self._forward, self._search))
        column.addWidget(self._nothing)
        column.addWidget(self._tree, 1)
        splitter = QSplitter()
        splitter.setObjectName("guide_splitter")
        splitter.addWidget(left)
        splitter.addWidget(self._page)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([288, 912])
        splitter.setChildrenCollapsible(False)
        parts.margins(self, all_round=0).addWidget(splitter)
        self.resize(1200, 760)

    def show_page(self, page: str) -> None:
        """Bring the window to the front with a page of `PAGES`."""
        self._search.clear()
        self.go_to(Place(page))
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()
        self._page.setFocus()

    @property
    def page(self) -> str:
        """The page that is shown."""
        return self._shown

    def go_to(self, place: Place) -> None:
        """Show a place, and remember the one before it."""
        if self._shown and place != self._place:
            self._past.append(self._place)
            self._future.clear()
        self._show(place)

    @Slot()
    def go_back(self) -> None:
        """Show what was shown before."""
        if self._past:
            self._future.append(self._place)
            self._show(self._past.pop())

    @Slot()
    def go_forward(self) -> None:
        """Undo a step back."""
        if self._future:
            self._past.append(self._place)
            self._show(self._future.pop())

    def _show(self, place: Place) -> None:
        self._place = place
        if self._shown != place.page:
            self._shown = place.page
            self._page.show_text(self._texts[place.page])
            self._page.mark(self._search.text().split())
        self._page.go_to_heading(place.section)
        self._back.setEnabled(bool(self._past))
        self._forward.setEnabled(bool(self._future))
        with QSignalBlocker(self._tree):
            for item in self._items():
                if _place(item) == place:
                    self._tree.setCurrentItem(item)

    def _items(self) -> list[QTreeWidgetItem]:
        how = Qt.MatchFlag.MatchContains | Qt.MatchFlag.MatchRecursive
        return self._tree.findItems("", how)

    @override
    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self._shown:
            at = self._page.verticalScrollBar().value()
            self._page.show_text(self._texts[self._shown])
            self._page.mark(self._search.text().split())
            self._page.verticalScrollBar().setValue(at)

    @Slot(str)
    def _on_typed(self, text: str) -> None:
        words = text.casefold().split()
        found = [page for page in PAGES if _has(self._texts[page], words)]
        with QSignalBlocker(self._tree):
            self._tree.clear()
            for page in found:
                item = _item(PAGES[page], Place(page))
                self._tree.addTopLevelItem(item)
                for title, below in sections(self._texts[page]).items():
                    if _has(f"{title}\n{below}", words):
                        item.addChild(_item(title, Place(page, title)))
                item.setExpanded(bool(words))
        self._nothing.setVisible(not found)
        self._page.mark(words)
        if found:
            self._show(self._place if self._place.page in found else Place(found[0]))
            if words:
                self._page.go_to_next()

    @Slot(QTreeWidgetItem, QTreeWidgetItem)
    def _on_chosen(self, item: QTreeWidgetItem | None, _before: QTreeWidgetItem | None) -> None:
        if item is not None:
            self.go_to(_place(item))
            item.setExpanded(True)

    @Slot(QUrl)
    def _on_link(self, link: QUrl) -> None:
        if (place := place_of(link.toString())) is not None:
            self._search.clear()
            self.go_to(place)

    @Slot()
    def _on_find(self) -> None:
        self._search.setFocus()
        self._search.selectAll()

    @Slot()
    def _on_escape(self) -> None:
        if self._search.text():
            self._search.clear()
        else:
            self.close()

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        self._search.clear()
        super().closeEvent(event)


def _has(text: str, words: list[str]) -> bool:
    folded = text.casefold()
    return all(word in folded for word in words)


def _item(title: str, place: Place) -> QTreeWidgetItem:
    item = QTreeWidgetItem([title])
    item.setData(0, Qt.ItemDataRole.UserRole, (place.page, place.section))
    item.setToolTip(0, title)
    return item


def _place(item: QTreeWidgetItem) -> Place:
    page, section = item.data(0, Qt.ItemDataRole.UserRole)
    return Place(page, section)


def _button(icon: str, title: str, keys: str, act: Callable[[], object]) -> QToolButton:
    button = parts.icon_button(icon, title, f"guide_{icon}")
    button.setShortcut(QKeySequence(keys))
    button.setToolTip(
        f"{title}  ({button.shortcut().toString(QKeySequence.SequenceFormat.NativeText)})"
    )
    button.clicked.connect(act)
    return button
