"""The user guide: pages of Markdown that come with the program, in a window of their own.

Nothing in it leaves the machine: links lead to other pages, addresses of the web are text to copy. Which page
belongs to which part of the window is decided here, in `PAGES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QUrl, Slot
from PySide6.QtGui import (
    QCloseEvent,
    QImage,
    QKeySequence,
    QResizeEvent,
    QShortcut,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextFrameFormat,
    QTextLength,
    QTextTable,
)
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QSplitter, QTextBrowser, QWidget
from typing_extensions import override

from casparian import assets
from casparian.ui import icons, parts, theme

if TYPE_CHECKING:
    from pathlib import Path

PAGES = {
    "start": "Start here",
    "sources": "Sources and what was left out",
    "rules": "Rules, tags and routes",
    "jobs": "Plan, jobs and quarantine",
    "results": "Tables, filters and lineage",
    "sql": "SQL",
    "export": "Exports and their manifests",
    "configuration": "Where things live",
    "command-line": "The command line",
    "problems": "When something goes wrong",
}
"""The pages in order: the file's name, and the title that its first line has."""
_PARTS = {
    "sql_console": "sql",
    "jobs_panel": "jobs",
    "plan_view": "jobs",
    "configuration_page": "configuration",
    "routes_tab": "rules",
}
"""Parts of the window with a page of their own, by the name of the widget."""
_VIEWS = {"workspace": "start", "sources": "sources", "rules": "rules", "results": "results"}
_MARGIN = 3 * theme.GRID
_PICTURE_WIDTH = 880


def page_for(widget: QWidget | None, view: str) -> str:
    """The page on what a widget is part of, else on the view that is shown."""
    at = widget
    while at is not None:
        if page := _PARTS.get(at.objectName()):
            return page
        at = at.parentWidget()
    return _VIEWS.get(view, "start")


def page_text(page: str) -> str:
    """The Markdown of a page."""
    return _folder().joinpath(f"{page}.md").read_text("utf-8")


def _folder() -> Path:
    return assets.folder("guide")


class Guide(QWidget):
    """The pages at the left, the chosen one at the right; Ctrl+F finds a word in all of them."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.setObjectName("guide")
        self.setWindowTitle("User guide")
        self.setWindowIcon(icons.icon("help", "accent"))
        self._texts = {page: page_text(page) for page in PAGES}
        self._search = parts.search_field("Search the guide", "guide_search")
        self._search.textChanged.connect(self._on_typed)
        self._list = QListWidget()
        self._list.setObjectName("guide_pages")
        self._list.setAccessibleName("Pages")
        self._list.currentItemChanged.connect(self._on_chosen)
        self._nothing = parts.faint("No page has these words.", name="guide_nothing")
        self._nothing.hide()
        self._page = _Page()
        self._page.anchorClicked.connect(self._on_link)
        self._shown = ""
        self._lay_out()
        self._on_typed("")
        QShortcut(QKeySequence.StandardKey.Find, self, self._search.setFocus)
        QShortcut(QKeySequence(Qt.Key.Key_Escape), self, self.close)

    def _lay_out(self) -> None:
        left = QWidget()
        column = parts.margins(left)
        column.addWidget(self._search)
        column.addWidget(self._nothing)
        column.addWidget(self._list, 1)
        splitter = QSplitter()
        splitter.setObjectName("guide_splitter")
        splitter.addWidget(left)
        splitter.addWidget(self._page)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([264, 936])
        splitter.setChildrenCollapsible(False)
        parts.margins(self, all_round=0).addWidget(splitter)
        self.resize(1200, 760)

    def show_page(self, page: str) -> None:
        """Bring the window to the front with a page of `PAGES`."""
        self._search.clear()
        self._choose(page)
        self.show()
        self.raise_()
        self.activateWindow()
        self._page.setFocus()

    @property
    def page(self) -> str:
        """The page that is shown."""
        return self._shown

    @override
    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self._shown:
            self._page.show_text(self._texts[self._shown], self._search.text())

    def _choose(self, page: str) -> None:
        for at in range(self._list.count()):
            if self._list.item(at).data(Qt.ItemDataRole.UserRole) == page:
                self._list.setCurrentRow(at)

    @Slot(str)
    def _on_typed(self, text: str) -> None:
        words = text.casefold().split()
        found = [
            page for page in PAGES if all(word in self._texts[page].casefold() for word in words)
        ]
        self._list.clear()
        for page in found:
            item = QListWidgetItem(PAGES[page])
            item.setData(Qt.ItemDataRole.UserRole, page)
            self._list.addItem(item)
        self._nothing.setVisible(not found)
        self._choose(self._shown if self._shown in found else next(iter(found), ""))

    @Slot(QListWidgetItem, QListWidgetItem)
    def _on_chosen(self, item: QListWidgetItem | None, _before: QListWidgetItem | None) -> None:
        if item is not None:
            self._shown = item.data(Qt.ItemDataRole.UserRole)
            self._page.show_text(self._texts[self._shown], self._search.text())

    @Slot(QUrl)
    def _on_link(self, link: QUrl) -> None:
        page = link.toString().removesuffix(".md")
        if page in PAGES:
            self._search.clear()
            self._choose(page)

    @override
    def closeEvent(self, event: QCloseEvent) -> None:
        super().closeEvent(event)
        parent = self.parentWidget()
        if parent is not None:
            parent.activateWindow()


class _Page(QTextBrowser):
    """One page, in the colours and the fonts of the program."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("guide_page")
        self.setAccessibleName("Page")
        self.setOpenLinks(False)
        self.setOpenExternalLinks(False)
        self.setFrameShape(QTextBrowser.Shape.NoFrame)

    def show_text(self, text: str, word: str) -> None:
        """Show Markdown, at the first place that has a word."""
        # There are pictures of both themes.
        theme_name = "dark" if theme.is_dark() else "light"
        text = text.replace("-light.png", f"-{theme_name}.png")
        document = self.document()
        document.setBaseUrl(QUrl.fromLocalFile(f"{_folder()}/"))
        document.setDocumentMargin(_MARGIN)
        document.setDefaultFont(theme.font())
        document.setMarkdown(text)
        self._dress()
        self._fit_pictures()
        self.moveCursor(QTextCursor.MoveOperation.Start)
        if word:
            self.find(word)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_pictures()

    def _dress(self) -> None:
        """Headings, code, tables and distances; Qt's own look of Markdown knows no theme."""
        block = self.document().begin()
        while block.isValid():
            cursor = QTextCursor(block)
            level = block.blockFormat().headingLevel()
            is_code = _is_code(block)
            shape = QTextBlockFormat()
            shape.setTopMargin(2 * theme.GRID if level else 0)
            goes_on = is_code and _is_code(block.next())
            shape.setBottomMargin(0 if goes_on else theme.GRID)
            shape.setLineHeight(130, QTextBlockFormat.LineHeightTypes.ProportionalHeight.value)
            if is_code:
                shape.setBackground(theme.color("panel"))
                shape.setLeftMargin(theme.GRID)
            cursor.mergeBlockFormat(shape)
            if level:
                look = QTextCharFormat()
                look.setFont(theme.font(theme.LARGE if level == 1 else theme.NORMAL, strong=True))
                cursor.select(QTextCursor.SelectionType.BlockUnderCursor)
                cursor.mergeCharFormat(look)
            self._dress_words(block)
            block = block.next()
        for frame in self.document().rootFrame().childFrames():
            if isinstance(frame, QTextTable):
                shape_of = frame.format()
                shape_of.setCellPadding(theme.GRID / 2)
                shape_of.setCellSpacing(0)
                shape_of.setBorder(1)
                shape_of.setBorderBrush(theme.color("line"))
                shape_of.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
                shape_of.setBorderCollapse(True)
                shape_of.setWidth(QTextLength(QTextLength.Type.PercentageLength, 100))
                frame.setFormat(shape_of)

    def _dress_words(self, block: QTextBlock) -> None:
        """Code is in the fixed font, links in the accent."""
        cursor = QTextCursor(self.document())
        it = block.begin()
        places = []
        while not it.atEnd():
            piece = it.fragment()
            form = piece.charFormat()
            if form.fontFixedPitch() or form.isAnchor():
                places.append((piece.position(), piece.length(), form.isAnchor()))
            it += 1
        for start, length, is_link in places:
            look = QTextCharFormat()
            if is_link:
                look.setForeground(theme.color("accent"))
            else:
                look.setFont(theme.font(mono=True))
            cursor.setPosition(start)
            cursor.setPosition(start + length, QTextCursor.MoveMode.KeepAnchor)
            cursor.mergeCharFormat(look)

    def _picture(self, name: str, width: int) -> QImage:
        """A picture in the size in which it is shown: Qt would shrink it roughly."""
        ratio = self.devicePixelRatioF()
        address = self.document().baseUrl().resolved(QUrl(name))
        picture = QImage(address.toLocalFile()).scaledToWidth(
            round(width * ratio), Qt.TransformationMode.SmoothTransformation
        )
        picture.setDevicePixelRatio(ratio)
        kind = QTextDocument.ResourceType.ImageResource.value
        self.document().addResource(kind, address, picture)
        return picture

    def _fit_pictures(self) -> None:
        room = min(self.viewport().width() - 3 * _MARGIN, _PICTURE_WIDTH)
        cursor = QTextCursor(self.document())
        block = self.document().begin()
        while block.isValid():
            it = block.begin()
            while not it.atEnd():
                piece = it.fragment()
                form = piece.charFormat()
                if form.isImageFormat() and room > 0:
                    image = form.toImageFormat()
                    picture = self._picture(image.name(), room)
                    image.setWidth(room)
                    image.setHeight(picture.deviceIndependentSize().height())
                    cursor.setPosition(piece.position())
                    cursor.setPosition(
                        piece.position() + piece.length(), QTextCursor.MoveMode.KeepAnchor
                    )
                    cursor.setCharFormat(image)
                    break  # a picture stands in a paragraph of its own
                it += 1
            block = block.next()


def _is_code(block: QTextBlock) -> bool:
    form = block.blockFormat()
    return form.hasProperty(QTextFormat.Property.BlockCodeLanguage) or form.nonBreakableLines()
