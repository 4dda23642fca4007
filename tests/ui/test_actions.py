import pytest
from PySide6.QtWidgets import QWidget

from casparian.ui.actions import Action


def an_action(action_id="rules.save", **changes):
    facts = {"text": "Save", "handler": lambda: None, "group": "Rules", "shortcut": "Ctrl+S"}
    return Action(action_id, **{**facts, **changes})


def test_an_action_does_what_it_says(actions):
    done = []
    actions.add(an_action(handler=lambda: done.append(1))).trigger()
    assert done == [1]


def test_ids_are_unique_and_groups_known(actions):
    actions.add(an_action())
    with pytest.raises(AssertionError):
        actions.add(an_action())
    with pytest.raises(AssertionError):
        actions.add(an_action("other", group="Nowhere"))


def test_the_same_keys_clash_unless_they_belong_to_different_views(actions, qtbot):
    view = QWidget()
    qtbot.addWidget(view)
    actions.add(an_action(view="rules"), view)
    actions.add(an_action("results.save", view="results", group="Results"), view)
    assert actions.clashes() == []
    actions.add(an_action("app.save", group="Workspace"))
    assert {clash[:2] for clash in actions.clashes()} == {
        ("rules.save", "app.save"),
        ("results.save", "app.save"),
    }


def test_the_tool_tip_names_the_keys(actions):
    assert "Ctrl+S" in actions.add(an_action(hint="Keep it")).toolTip()


def test_actions_come_in_the_order_of_the_menus(actions):
    actions.add(an_action("help.keys", group="Help", shortcut=""))
    actions.add(an_action("workspace.new", group="Workspace", shortcut=""))
    assert [action.id for action, _ in actions.all()] == ["workspace.new", "help.keys"]
