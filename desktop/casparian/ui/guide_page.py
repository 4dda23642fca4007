"""A page of the user guide: Markdown in the colours and fonts of the program, and where its links lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl, Slot
from PySide6.QtGui import (
    QImage,
    QPainter,
    QResizeEvent,
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
from PySide6.QtWidgets import QTextBrowser, QTextEdit
from typing_extensions import override

from casparian import assets
from casparian.ui import theme

if TYPE_CHECKING:
    from collections.abc import Sequence
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
_MARGIN = 3 * theme.GRID
_LINE_WIDTH = 960
"""Longer lines are hard to read, however wide the window is."""


def place_of(link: str) -> Place | None:
    """Where a link of the guide leads, e.g. `jobs.md#Quarantine`; None where it leads out of it."""
    page, _, section = link.partition("#")
    page = page.removesuffix(".md")
    return Place(page, section.replace("-", " ")) if page in PAGES else None


@dataclass(frozen=True, slots=True)
class Place:
    """A page, or one of its sections."""

    page: str
    section: str = ""


def folder() -> Path:
    """Where the pages lie."""
    return assets.folder("guide")


class GuidePage(QTextBrowser):
    """One page, in the colours and the fonts of the program."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("guide_page")
        self.setAccessibleName("Page")
        self.setOpenLinks(False)
        self.setOpenExternalLinks(False)
        self.setFrameShape(QTextBrowser.Shape.NoFrame)
        self.setProperty("look", "plain")
        self.setLineWrapMode(QTextBrowser.LineWrapMode.FixedPixelWidth)
        self._hits: list[QTextCursor] = []

    @override
    def loadResource(self, kind: int, name: QUrl | str) -> object:
        # Every picture is put into the document by `_fit_pictures`; nothing else is ever read.
        return None

    def show_text(self, text: str) -> None:
        """Show Markdown from its beginning."""
        # There are pictures of both themes.
        theme_name = "dark" if theme.is_dark() else "light"
        text = text.replace("-light.png", f"-{theme_name}.png")
        document = self.document()
        document.setBaseUrl(QUrl.fromLocalFile(f"{folder()}/"))
        document.setDocumentMargin(_MARGIN)
        document.setDefaultFont(theme.font())
        document.setMarkdown(text)
        self._dress()
        self._fit_pictures()
        self.moveCursor(QTextCursor.MoveOperation.Start)

    def go_to_heading(self, title: str) -> None:
        """Bring a heading to the top; without one, the beginning."""
        self.moveCursor(QTextCursor.MoveOperation.Start)
        self.verticalScrollBar().setValue(0)
        block = self.document().begin()
        while title and block.isValid():
            if block.blockFormat().headingLevel() and _same(block.text(), title):
                box = self.document().documentLayout().blockBoundingRect(block)
                self.verticalScrollBar().setValue(round(box.top()) - theme.GRID)
                self.setTextCursor(QTextCursor(block))
                return
            block = block.next()

    def mark(self, words: Sequence[str]) -> None:
        """Mark every place that has one of the words."""
        look = QTextCharFormat()
        look.setBackground(theme.color("select"))
        self._hits = []
        for word in words:
            at = self.document().find(word)
            while not at.isNull():
                self._hits.append(at)
                at = self.document().find(word, at)
        self._hits.sort(key=lambda one: one.selectionStart())
        marked = []
        for hit in self._hits:
            selection = QTextEdit.ExtraSelection()
            selection.cursor, selection.format = hit, look
            marked.append(selection)
        self.setExtraSelections(marked)

    @Slot()
    def go_to_next(self) -> None:
        """Select the next marked place; after the last comes the first."""
        if not self._hits:
            return
        at = self.textCursor().selectionEnd()
        later = (one for one in self._hits if one.selectionStart() >= at)
        self.setTextCursor(next(later, self._hits[0]))
        self.ensureCursorVisible()

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.setLineWrapColumnOrWidth(min(self.viewport().width(), _LINE_WIDTH))
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
            if not _has_picture(block):
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
        """Code is in the fixed font, links in the accent; what leads out of the guide is no link."""
        cursor = QTextCursor(self.document())
        it = block.begin()
        places = []
        while not it.atEnd():
            piece = it.fragment()
            form = piece.charFormat()
            if form.fontFixedPitch() or form.isAnchor():
                places.append((piece.position(), piece.length(), form))
            it += 1
        for start, length, form in places:
            look = QTextCharFormat()
            if not form.isAnchor():
                look.setFont(theme.font(mono=True))
            elif place_of(form.anchorHref()) is not None:
                look.setForeground(theme.color("accent"))
            else:
                look.setAnchor(False)
                look.setAnchorHref("")
                look.setFontUnderline(False)
                look.setForeground(theme.color("ink"))
            cursor.setPosition(start)
            cursor.setPosition(start + length, QTextCursor.MoveMode.KeepAnchor)
            cursor.mergeCharFormat(look)

    def _picture(self, name: str, room: int) -> QImage:
        """A picture as large as it is shown, which is its own size if there is room: Qt shrinks roughly."""
        ratio = self.devicePixelRatioF()
        address = self.document().baseUrl().resolved(QUrl(name))
        whole = QImage(address.toLocalFile())
        picture = whole.scaledToWidth(
            round(min(room, whole.width()) * ratio), Qt.TransformationMode.SmoothTransformation
        ).convertToFormat(QImage.Format.Format_RGB32)
        painter = QPainter(picture)
        painter.setPen(theme.color("edge"))
        painter.drawRect(picture.rect().adjusted(0, 0, -1, -1))
        painter.end()
        picture.setDevicePixelRatio(ratio)
        kind = QTextDocument.ResourceType.ImageResource.value
        self.document().addResource(kind, address, picture)
        return picture

    def _fit_pictures(self) -> None:
        room = min(self.viewport().width(), _LINE_WIDTH) - 2 * _MARGIN
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
                    image.setWidth(picture.deviceIndependentSize().width())
                    image.setHeight(picture.deviceIndependentSize().height())
                    cursor.setPosition(piece.position())
                    cursor.setPosition(
                        piece.position() + piece.length(), QTextCursor.MoveMode.KeepAnchor
                    )
                    cursor.setCharFormat(image)
                    break  # a picture stands in a paragraph of its own
                it += 1
            block = block.next()


def _same(heading: str, wanted: str) -> bool:
    return heading.casefold().replace("-", " ") == wanted.casefold().replace("-", " ")


def _has_picture(block: QTextBlock) -> bool:
    return "\N{OBJECT REPLACEMENT CHARACTER}" in block.text()


def _is_code(block: QTextBlock) -> bool:
    form = block.blockFormat()
    return form.hasProperty(QTextFormat.Property.BlockCodeLanguage) or form.nonBreakableLines()
