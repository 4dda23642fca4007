"""The editor of the SQL console: line numbers, colours, completion from the catalog.

Everything it knows about SQL comes from `sql_text`. Completion opens while a word is typed and with
Ctrl+Space; Enter or Tab takes what is chosen, Esc puts it away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRect, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QFont,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QSyntaxHighlighter,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
)
from PySide6.QtWidgets import QListWidget, QPlainTextEdit, QTextEdit, QWidget
from typing_extensions import override

from casparian.ui import theme
from casparian.ui.sql_text import (
    Completion,
    Kind,
    KnownTable,
    Open,
    Suggestion,
    complete,
    scan,
    spelled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_COLOURS: dict[Kind, theme.Token] = {
    Kind.KEYWORD: "accent",
    Kind.DESTRUCTIVE: "bad",
    Kind.NUMBER: "busy",
    Kind.STRING: "good",
    Kind.QUOTED_NAME: "ink",
    Kind.COMMENT: "faint",
}
_TYPED_BEFORE_OFFERING = 2
_MOST_OFFERED = 200
_NAME_CHARS = 36


class SqlHighlighter(QSyntaxHighlighter):
    """Colours keywords, text, numbers and comments; words that would change something are red."""

    def __init__(self, document: QTextDocument) -> None:
        super().__init__(document)
        self._formats: dict[Kind, QTextCharFormat] = {}
        self.take_theme()

    def take_theme(self) -> None:
        """Take the colours of the theme that holds now."""
        for kind, token in _COLOURS.items():
            text_format = QTextCharFormat()
            text_format.setForeground(theme.color(token))
            if kind in {Kind.KEYWORD, Kind.DESTRUCTIVE}:
                text_format.setFontWeight(QFont.Weight.DemiBold)
            text_format.setFontItalic(kind is Kind.COMMENT)
            self._formats[kind] = text_format
        self.rehighlight()

    @override
    def highlightBlock(self, text: str) -> None:
        before = self.previousBlockState()
        # QSyntaxHighlighter counts UTF-16 units, Python code points.
        tokens, open_ = scan(text, Open(max(before, 0)))
        for token in tokens:
            text_format = self._formats.get(token.kind)
            if text_format is not None:
                start = utf16_length(text[: token.start])
                self.setFormat(start, utf16_length(token.text), text_format)
        self.setCurrentBlockState(open_.value)


def utf16_length(text: str) -> int:
    """Return the length of a text as Qt counts it: characters beyond U+FFFF are two."""
    return len(text) + sum(char > "\uffff" for char in text)


class _LineNumbers(QWidget):
    def __init__(self, editor: SqlEditor) -> None:
        super().__init__(editor)
        self._editor = editor
        self.setObjectName("sql_line_numbers")
        self.setAccessibleName("Line numbers")

    @override
    def sizeHint(self) -> QSize:
        return QSize(self._editor.line_numbers_width(), 0)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        self._editor.paint_line_numbers(event)


class SqlEditor(QPlainTextEdit):
    """Holds SQL and helps to type it.

    Signals:
        run_requested: Ctrl+Enter was pressed.
    """

    run_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sql_editor")
        self.setAccessibleName("SQL")
        self.setFont(theme.font(mono=True))
        self.setProperty("look", "plain")
        self.setTabStopDistance(4 * self.fontMetrics().horizontalAdvance(" "))
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setTabChangesFocus(True)
        self._highlighter = SqlHighlighter(self.document())
        self._tables: tuple[KnownTable, ...] = ()
        self._functions: tuple[str, ...] = ()
        self._spell: Callable[[str], str] = spelled
        self._error_at: int | None = None
        self._build_line_numbers()
        self._build_completion()

    def set_catalog(
        self,
        tables: Sequence[KnownTable],
        functions: Sequence[str] = (),
        spell: Callable[[str], str] = spelled,
    ) -> None:
        """Say what completion may offer, and how names are written."""
        self._tables, self._functions, self._spell = tuple(tables), tuple(functions), spell

    def sql(self) -> str:
        """Return what is to be run: the selection, or else everything."""
        selected = self.textCursor().selectedText().replace("\u2029", "\n")
        return selected if selected.strip() else self.toPlainText()

    def mark_error(self, offset: int | None) -> None:
        """Underline the word at an offset of `sql()` in red and put the cursor there; None takes it away."""
        cursor = self.textCursor()
        if offset is not None:
            base = cursor.selectionStart() if cursor.selectedText().strip() else 0
            self._error_at = base + utf16_length(self.sql()[:offset])
            cursor.setPosition(min(self._error_at, self.document().characterCount() - 1))
            self.setTextCursor(cursor)
        else:
            self._error_at = None
        self._mark()

    # line numbers

    def _build_line_numbers(self) -> None:
        self._numbers = _LineNumbers(self)
        self.blockCountChanged.connect(self._on_block_count_changed)
        self.updateRequest.connect(self._on_update_request)
        self.cursorPositionChanged.connect(self._mark)
        self._on_block_count_changed(0)

    def line_numbers_width(self) -> int:
        """Return the width of the line numbers, px."""
        digits = max(2, len(str(self.blockCount())))
        return 16 + self.fontMetrics().horizontalAdvance("9") * digits

    def paint_line_numbers(self, event: QPaintEvent) -> None:
        """Paint the numbers of the lines on screen."""
        painter = QPainter(self._numbers)
        painter.fillRect(event.rect(), theme.color("panel"))
        block = self.firstVisibleBlock()
        current = self.textCursor().blockNumber()
        top = self.blockBoundingGeometry(block).translated(self.contentOffset()).top()
        width = self._numbers.width() - 8
        while block.isValid() and top <= event.rect().bottom():
            height = self.blockBoundingRect(block).height()
            is_current = block.blockNumber() == current
            painter.setPen(theme.color("ink" if is_current else "faint"))
            painter.drawText(
                QRect(0, round(top), width, round(height)),
                int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter),
                str(block.blockNumber() + 1),
            )
            top += height
            block = block.next()
        painter.end()

    def _on_block_count_changed(self, _blocks: int) -> None:
        self.setViewportMargins(self.line_numbers_width(), 0, 0, 0)

    def _on_update_request(self, area: QRect, dy: int) -> None:
        if dy:
            self._numbers.scroll(0, dy)
        else:
            self._numbers.update(0, area.y(), self._numbers.width(), area.height())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        inside = self.viewport().geometry()
        left = self.contentsRect().left()
        self._numbers.setGeometry(left, inside.top(), inside.left() - left, inside.height())

    def _mark(self) -> None:
        """Tint the current line and underline the error."""
        line = QTextEdit.ExtraSelection()
        tint = QColor(theme.color("accent"))
        tint.setAlpha(18)
        line.format.setBackground(tint)
        line.format.setProperty(QTextFormat.Property.FullWidthSelection, True)  # noqa: FBT003  (Qt's own signature)
        line.cursor = self.textCursor()
        line.cursor.clearSelection()
        marks = [line]
        if self._error_at is not None:
            marks.append(self._error_mark(self._error_at))
        self.setExtraSelections(marks)
        self._numbers.update()

    def _error_mark(self, position: int) -> QTextEdit.ExtraSelection:
        mark = QTextEdit.ExtraSelection()
        cursor = QTextCursor(self.document())
        cursor.setPosition(min(position, self.document().characterCount() - 1))
        cursor.movePosition(QTextCursor.MoveOperation.EndOfWord, QTextCursor.MoveMode.KeepAnchor)
        if not cursor.hasSelection():
            cursor.movePosition(
                QTextCursor.MoveOperation.NextCharacter, QTextCursor.MoveMode.KeepAnchor
            )
        mark.cursor = cursor
        mark.format.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
        mark.format.setUnderlineColor(theme.color("bad"))
        return mark

    # completion

    def _build_completion(self) -> None:
        self._offer: Completion | None = None
        # A window of its own, so that the editor's edge does not cut it; as a tool tip it takes no focus.
        self._offered = QListWidget(self)
        self._offered.setWindowFlags(Qt.WindowType.ToolTip)
        self._offered.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._offered.setObjectName("sql_completion")
        self._offered.setAccessibleName("What may come next")
        self._offered.setProperty("look", "card")
        self._offered.setFont(self.font())
        self._offered.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._offered.setUniformItemSizes(True)
        self._offered.itemClicked.connect(self._take_offer)
        self._offered.hide()

    def offer(self, *, asked: bool) -> None:
        """Show what may come next; unasked only once a word has begun and is not whole already."""
        text = self.toPlainText()
        at = _code_points(text, self.textCursor().position())
        offer = complete(text, at, self._tables, self._functions)
        after_dot = offer.start > 0 and text[offer.start - 1] == "."
        long_enough = len(offer.prefix) >= _TYPED_BEFORE_OFFERING or after_dot
        is_whole = any(one.name.lower() == offer.prefix.lower() for one in offer.suggestions)
        if not offer.suggestions or not (asked or (long_enough and not is_whole)):
            self._offered.hide()
            return
        self._offer = offer
        self._offered.clear()
        shown = offer.suggestions[:_MOST_OFFERED]
        width = min(max(len(one.name) for one in shown), _NAME_CHARS)
        self._offered.addItems([_offer_line(one, width) for one in shown])
        self._offered.setCurrentRow(0)
        self._show_offered()

    def offered(self) -> list[str]:
        """Return the lines that completion shows now; none while it is away."""
        shown = range(self._offered.count() if self._offered.isVisible() else 0)
        return [self._offered.item(row).text() for row in shown]

    def _show_offered(self) -> None:
        rows = min(self._offered.count(), _ROWS_OFFERED)
        height = rows * self._offered.sizeHintForRow(0) + 2 * self._offered.frameWidth() + 2
        width = min(max(self._offered.sizeHintForColumn(0) + 4 * theme.GRID, 240), 560)
        self._offered.resize(width, height)
        area = self.cursorRect(self._start_of_offer())
        below = self.viewport().mapToGlobal(area.bottomLeft())
        screen = self.screen().availableGeometry()
        if below.y() + height > screen.bottom():
            below.setY(self.viewport().mapToGlobal(area.topLeft()).y() - height)
        below.setX(min(below.x(), screen.right() - width))
        self._offered.move(below)
        self._offered.show()

    def _start_of_offer(self) -> QTextCursor:
        """Return a cursor where what is offered would begin."""
        cursor = self.textCursor()
        if self._offer is not None:
            cursor.setPosition(utf16_length(self.toPlainText()[: self._offer.start]))
        return cursor

    def _take_offer(self) -> None:
        row, offer = self._offered.currentRow(), self._offer
        self._offered.hide()
        if offer is None or not 0 <= row < len(offer.suggestions):
            return
        end = self.textCursor().position()
        cursor = self._start_of_offer()
        cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        cursor.insertText(self._inserted(offer.suggestions[row]))
        self.setTextCursor(cursor)

    def _inserted(self, one: Suggestion) -> str:
        if one.kind in {"column", "table"}:
            return one.written or self._spell(one.name)
        return f"{one.name}(" if one.kind == "function" else one.name

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        control = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        key = Qt.Key(event.key())
        if self._offered.isVisible() and not control and self._steer_offered(key):
            return
        if control and key in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self._offered.hide()
            self.run_requested.emit()
            return
        if control and key == Qt.Key.Key_Space:
            self.offer(asked=True)
            return
        super().keyPressEvent(event)
        if key in _HIDES_OFFERED:
            self._offered.hide()
        elif not control and event.text() and (event.text().isprintable() or key in _DELETES):
            self.offer(asked=False)

    def _steer_offered(self, key: Qt.Key) -> bool:
        """Move within what is offered, take it, or put it away; say whether the key was for that."""
        if key in _STEPS:
            row = self._offered.currentRow() + _STEPS[key]
            self._offered.setCurrentRow(max(0, min(row, self._offered.count() - 1)))
        elif key in {Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Tab}:
            self._take_offer()
        elif key == Qt.Key.Key_Escape:
            self._offered.hide()
        else:
            return False
        return True

    @override
    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self._offered.hide()

    @override
    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._highlighter.take_theme()
            self._mark()

    @override
    def event(self, event: QEvent) -> bool:
        # Tab moves the focus on, unless it is to take what is offered: ask for it before Qt does.
        if event.type() is QEvent.Type.ShortcutOverride and self._offered.isVisible():
            assert isinstance(event, QKeyEvent)  # noqa: S101  (that type of event is always one)
            if Qt.Key(event.key()) in {Qt.Key.Key_Escape, Qt.Key.Key_Tab}:
                event.accept()
                return True
        return super().event(event)

    @override
    def focusNextPrevChild(self, next: bool) -> bool:
        if self._offered.isVisible():
            self._take_offer()
            return True
        return super().focusNextPrevChild(next)


_ROWS_OFFERED = 12
_STEPS = {
    Qt.Key.Key_Up: -1,
    Qt.Key.Key_Down: 1,
    Qt.Key.Key_PageUp: -_ROWS_OFFERED,
    Qt.Key.Key_PageDown: _ROWS_OFFERED,
}
_DELETES = frozenset({Qt.Key.Key_Backspace, Qt.Key.Key_Delete})
_HIDES_OFFERED = frozenset(
    {Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Home, Qt.Key.Key_End, Qt.Key.Key_Return}
)


def _code_points(text: str, position: int) -> int:
    """Return Qt's position in a text as Python's offset."""
    return len(
        text.encode("utf-16-le", "surrogatepass")[: 2 * position].decode("utf-16-le", "replace")
    )


def _offer_line(one: Suggestion, width: int) -> str:
    return f"{one.name:<{width}}   {one.detail or one.kind}"
