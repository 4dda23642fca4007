"""Typing SQL: what is offered, what is taken, and where a mistake is shown."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QTextCursor

from casparian.ui import theme
from casparian.ui.sql_editor import SqlEditor
from casparian.ui.sql_text import KnownTable

TABLES = (
    KnownTable("evtx_events", (("event_id", "int64"), ("time", "timestamp_utc"))),
    KnownTable("Odd name", (("a b", "string"),)),
)


@pytest.fixture
def editor(qtbot, look):
    made = SqlEditor()
    qtbot.addWidget(made)
    made.set_catalog(TABLES, ["strftime"])
    made.resize(600, 200)
    made.show()
    made.setFocus()
    qtbot.waitUntil(made.isVisible)
    return made


def names(editor):
    return [line.split("   ")[0].rstrip() for line in editor.offered()]


def test_words_are_offered_while_they_are_typed(editor, qtbot) -> None:
    qtbot.keyClicks(editor, "select e")
    assert names(editor) == []
    qtbot.keyClicks(editor, "v")
    assert names(editor) == ["evtx_events"]
    qtbot.keyClick(editor, Qt.Key.Key_Tab)
    assert editor.toPlainText() == "select evtx_events"
    assert names(editor) == []


def test_ctrl_space_offers_at_once_and_columns_come_from_the_tables_that_are_read(editor, qtbot):
    editor.setPlainText("select  from evtx_events")
    cursor = editor.textCursor()
    cursor.setPosition(len("select "))
    editor.setTextCursor(cursor)
    qtbot.keyClick(editor, Qt.Key.Key_Space, Qt.KeyboardModifier.ControlModifier)
    assert names(editor)[:2] == ["event_id", "time"]
    qtbot.keyClick(editor, Qt.Key.Key_Down)
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert editor.toPlainText() == 'select "time" from evtx_events'


def test_names_that_need_quotes_get_them(editor, qtbot) -> None:
    qtbot.keyClicks(editor, "select * from Odd")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert editor.toPlainText() == 'select * from "Odd name"'


def test_esc_puts_the_offer_away_and_the_text_stays(editor, qtbot) -> None:
    qtbot.keyClicks(editor, "select evt")
    qtbot.keyClick(editor, Qt.Key.Key_Escape)
    assert names(editor) == []
    assert editor.toPlainText() == "select evt"


def test_enter_without_an_offer_is_a_new_line(editor, qtbot) -> None:
    qtbot.keyClicks(editor, "select 1")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert editor.toPlainText() == "select 1\n"


def test_ctrl_enter_asks_to_run_and_adds_no_line(editor, qtbot) -> None:
    qtbot.keyClicks(editor, "select 1")
    with qtbot.waitSignal(editor.run_requested):
        qtbot.keyClick(editor, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert editor.toPlainText() == "select 1"


def test_the_selection_is_what_runs(editor) -> None:
    editor.setPlainText("select 1;\nselect 2")
    assert editor.sql() == "select 1;\nselect 2"
    cursor = editor.textCursor()
    cursor.movePosition(QTextCursor.MoveOperation.End)
    cursor.movePosition(QTextCursor.MoveOperation.StartOfBlock, QTextCursor.MoveMode.KeepAnchor)
    editor.setTextCursor(cursor)
    assert editor.sql() == "select 2"


def test_the_mistake_is_underlined_where_it_stands_beyond_the_basic_plane_too(editor) -> None:
    sql = "select '\N{GRINNING FACE}', FORM x"
    editor.setPlainText(sql)
    editor.mark_error(sql.index("FORM"))
    mark = editor.extraSelections()[-1]
    assert mark.cursor.selectedText() == "FORM"
    assert editor.textCursor().selectedText() == ""
    editor.mark_error(None)
    assert len(editor.extraSelections()) == 1


def colour_at(editor, text):
    block = editor.document().firstBlock()
    at = block.text().index(text)
    for piece in block.layout().formats():
        if piece.start <= at < piece.start + piece.length:
            return piece.format.foreground().color()
    return QColor()


def test_colours_tell_what_is_what_in_both_themes(editor, qapp) -> None:
    editor.setPlainText("SELECT 'text', 12 FROM t -- DROP")
    for mode in ("dark", "light"):
        theme.apply(qapp, mode)
        assert colour_at(editor, "SELECT") == theme.color("accent")
        assert colour_at(editor, "'text'") == theme.color("good")
        assert colour_at(editor, "DROP") == theme.color("faint")
    editor.setPlainText("DROP TABLE t")
    assert colour_at(editor, "DROP") == theme.color("bad")
