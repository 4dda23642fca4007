import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit, QTableView, QWidget

from casparian.ui.palette import Entry, Help, Palette, matching


@pytest.fixture
def host(look, qtbot):
    made = QWidget()
    qtbot.addWidget(made)
    made.show()
    return made


def entries(*texts, done=None):
    return [Entry("Rules", text, lambda text=text: done.append(text)) for text in texts]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", ["New rule", "Save rule", "Rescan"]),
        ("rule", ["New rule", "Save rule", "Rescan"]),
        ("save", ["Save rule"]),
        ("RULE new", ["New rule"]),
        ("re", ["Rescan"]),
        ("xyz", []),
    ],
)
def test_every_word_typed_must_be_there(typed, found):
    offered = [
        Entry("Rules", "New rule", int),
        Entry("Rules", "Save rule", int),
        Entry("Rules", "Rescan", int),
    ]
    assert [one.text for one in matching(offered, typed)] == found


def test_what_begins_with_the_word_comes_first():
    offered = [Entry("", "Show the plan", int), Entry("", "Plan again", int)]
    assert [one.text for one in matching(offered, "plan")] == ["Plan again", "Show the plan"]


def test_enter_does_what_is_chosen_with_the_arrows(host, qtbot):
    done = []
    palette = Palette(entries("One", "Two", "Three", done=done), host)
    palette.open()
    field = palette.findChild(QLineEdit, "palette_field")
    QTest.keyClicks(field, "t")
    QTest.keyClick(field, Qt.Key.Key_Down)
    QTest.keyClick(field, Qt.Key.Key_Return)
    assert done == ["Three"]
    assert not palette.isVisible()


def test_more_may_be_offered_while_it_is_open(host, qtbot):
    palette = Palette([], host)
    palette.open()
    palette.offer([Entry("Table", "evtx_events", int)])
    table = palette.findChild(QTableView, "palette_list")
    assert table.model().index(0, 0).data() == "evtx_events"
    QTest.keyClick(palette, Qt.Key.Key_Escape)
    assert not palette.isVisible()


def test_help_lists_every_action_with_its_keys(host, actions):
    from casparian.ui.actions import Action

    actions.add(Action("rules.save", "Save rule", int, "Rules", "Ctrl+S", hint="Keep it"))
    actions.add(Action("help.keys", "Actions and keys", int, "Help", "F1; ?"))
    dialog = Help(actions, host)
    dialog.open()
    model = dialog.findChild(QTableView).model()
    rows = [[model.index(row, at).data() for at in range(4)] for row in range(model.rowCount())]
    assert rows == [
        ["Rules", "Save rule", "Ctrl+S", "Keep it"],
        ["Help", "Actions and keys", "F1, ?", ""],
    ]
    dialog.close()
