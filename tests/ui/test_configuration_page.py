import threading
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QDialog, QLabel, QLineEdit, QPushButton, QTabWidget

from casparian.services import configuration
from casparian.services.configuration import Probe
from casparian.ui.actions import Actions
from casparian.ui.configuration_page import ConfigurationPage

DEAD = {"profile": "hybrid", "default_sink": "postgres://x@127.0.0.1:1/db"}


@pytest.fixture
def changes():
    """What the settings of a test have otherwise."""
    return {}


@pytest.fixture
def settings(settings, changes):
    return replace(settings, **changes)


@pytest.fixture
def page(qtbot, tasks, settings, keyring):
    actions = Actions()
    made = ConfigurationPage(settings, tasks, actions)
    made.test_actions = actions
    qtbot.addWidget(made)
    made.resize(960, 600)
    return made


def text(page, name):
    return page.findChild(QLabel, name).text()


def word(page, role):
    return text(page, f"test_{role}_word")


def press(page, name):
    QTest.mouseClick(page.findChild(QPushButton, name), Qt.MouseButton.LeftButton)


def test_the_page_looks_at_the_three_places_when_it_is_shown(page, settings, services, qtbot):
    assert {word(page, role) for role in configuration.ROLES} == {"Not looked at"}
    page.show()
    qtbot.waitUntil(lambda: all(word(page, role) == "Reachable" for role in configuration.ROLES))
    places = [text(page, f"path_{role}") for role in configuration.ROLES]
    assert places == [
        str(settings.state_path), str(settings.output_dir), str(settings.catalog_path),
    ]  # fmt: skip
    assert [text(page, f"kind_{role}") for role in configuration.ROLES] == [
        "sqlite", "parquet", "duckdb",
    ]  # fmt: skip
    size = page.findChild(QLabel, "size_state")
    assert size.text().endswith(("kB", "MB"))
    assert size.toolTip().endswith("bytes")
    assert text(page, "free_space_outputs").endswith("B")
    assert text(page, "looked_at_query").endswith("UTC")


def test_a_path_is_copied(page, settings):
    press(page, "copy_state")
    assert QGuiApplication.clipboard().text() == str(settings.state_path)


@pytest.mark.parametrize("changes", [DEAD], ids=["dead"])
def test_a_dead_server_is_said_in_a_sentence_while_the_window_goes_on(
    page, settings, qtbot, stalls
):
    # Loading a driver holds Python for a moment, once.
    configuration.probe(settings, "outputs")
    stalls.start()
    page.show()
    qtbot.waitUntil(lambda: word(page, "outputs") == "Cannot be used", timeout=8_000)
    stalls.stop()
    assert stalls.longest_ms < 100, stalls.where
    assert "127.0.0.1:1" in text(page, "test_outputs_sentence")
    assert word(page, "state") == "Reachable"
    assert text(page, "path_outputs") == "postgres://x@127.0.0.1:1/db"
    assert page.findChild(QLabel, "size_outputs").isHidden()


@pytest.mark.parametrize(
    "changes", [{**DEAD, "default_sink": "sqlserver://x@127.0.0.1:1/db"}], ids=["sqlserver"]
)
def test_sql_server_says_what_it_was_checked_against(page):
    said = text(page, "untried_outputs")
    assert "not against a running server" in said
    assert "casparian doctor --sink sqlserver://x@127.0.0.1:1/db" in said


class Answers(list):
    """Events that let probes answer, and which probes have begun."""

    begun: list


@pytest.fixture
def slow(monkeypatch):
    """Probes that answer when they are let; each says which one it is."""
    answers, begun = Answers(threading.Event() for _ in range(3)), []

    def probe(_settings, _role):
        number = len(begun)
        begun.append(number)
        assert answers[number].wait(20)
        return Probe(ok=True, sentence=f"Answer {number}")

    monkeypatch.setattr(configuration, "probe", probe)
    answers.begun = begun
    yield answers
    for one in answers:
        one.set()


def test_a_test_can_be_cancelled_and_its_answer_is_not_heard(page, slow, qtbot):
    tester = page.roles["state"].tester
    press(page, "test_state_button")
    assert word(page, "state") == "Looking…"
    assert tester.button.text() == "Cancel"
    press(page, "test_state_button")
    assert tester.button.text() == "Test"
    slow[0].set()
    qtbot.wait(50)
    assert text(page, "test_state_sentence") == "The test was cancelled."


def test_a_newer_test_overtakes_an_older_one(page, slow, qtbot):
    tester = page.roles["state"].tester
    tester.look()
    qtbot.waitUntil(lambda: slow.begun == [0])
    tester.look()
    qtbot.waitUntil(lambda: slow.begun == [0, 1])
    slow[1].set()
    qtbot.waitUntil(lambda: text(page, "test_state_sentence") == "Answer 1.")
    slow[0].set()
    qtbot.wait(50)
    assert text(page, "test_state_sentence") == "Answer 1."


def test_what_does_not_answer_in_time_is_said_to(page, slow, qtbot):
    tester = page.roles["outputs"].tester
    tester._deadline.setInterval(20)
    tester.look()
    qtbot.waitUntil(lambda: word(page, "outputs") == "Cannot be used")
    assert "no answer within 5 s" in text(page, "test_outputs_sentence")


def test_every_action_of_the_page_is_in_the_registry(page):
    ids = {action.id for action, _ in page.test_actions.all()}
    assert ids == {"configuration.test", "configuration.change"}


class TestGuarded:
    """Outputs on a server that asks for a password."""

    @pytest.fixture
    def changes(self, postgres_server, postgres):
        with postgres_server.connect(postgres) as connection:
            connection.execute(f'GRANT CREATE ON DATABASE "{postgres.database}" TO guarded')
        guarded = postgres_server.guarded(postgres, password=None)
        return {"profile": "hybrid", "default_sink": guarded.text}

    def test_a_wrong_password_is_said_and_the_right_one_kept(
        self, page, settings, keyring, qtbot, monkeypatch
    ):
        keyring["Casparian Flow", settings.sink.text] = "wrong"
        page.show()
        qtbot.waitUntil(lambda: word(page, "outputs") == "Cannot be used")
        assert "password" in text(page, "test_outputs_sentence").lower()
        assert "wrong" not in text(page, "test_outputs_sentence")

        press(page, "password_outputs")
        dialog = page.findChild(QDialog, "password_dialog")
        assert "keyring" in dialog.findChild(QLabel, "password_where").text()
        QTest.keyClicks(dialog.findChild(QLineEdit, "password_field"), "let me in")
        press(dialog, "password_keep")
        qtbot.waitUntil(lambda: word(page, "outputs") == "Reachable")
        assert keyring["Casparian Flow", settings.sink.text] == "let me in"
        assert text(page, "version_outputs").startswith("PostgreSQL")


class TestOnAServer:
    """State and outputs in a real database."""

    @pytest.fixture
    def changes(self, postgres):
        return {
            "profile": "enterprise",
            "state_store": postgres.text,
            "default_sink": postgres.text,
        }

    def test_the_window_shows_and_tests_it(self, window, settings, qtbot):
        window.actions_registry.get("configuration.show").trigger()
        page = window.findChild(QTabWidget, "board_pages").currentWidget()
        assert isinstance(page, ConfigurationPage)
        qtbot.waitUntil(
            lambda: all(word(page, role) == "Reachable" for role in configuration.ROLES)
        )
        assert text(page, "configuration_profile") == "Profile enterprise"
        assert text(page, "path_state") == settings.state.text
        answer = window.findChild(QPushButton, "answer_state")
        assert answer.text().startswith("State  postgres ")
        assert settings.state.database[:10] in answer.text()
        assert answer.toolTip() == f"State: {settings.state.text}"

    def test_a_source_may_lie_elsewhere_on_this_host(self, window, services, case, qtbot):
        workspace = services.workspaces.default()
        folder = case(a__txt="x")
        (source,) = services.sources.add(workspace.id, [bytes(folder)])
        window.show_view("sources")
        act = window.actions_registry.get("sources.map_root")
        qtbot.waitUntil(act.isEnabled)
        act.trigger()
        dialog = window.findChild(QDialog, "root_dialog")
        field = dialog.findChild(QLineEdit, "root_path")
        QTest.keyClicks(field, "elsewhere")
        press(dialog, "root_ok")
        problem = dialog.findChild(QLabel, "root_problem")
        qtbot.waitUntil(problem.isVisible)
        assert "absolute" in problem.text()
        field.clear()
        QTest.keyClicks(field, "/mnt/evidence")
        press(dialog, "root_ok")
        host = services.settings.host_name
        qtbot.waitUntil(lambda: services.sources.roots(source.id) == {host: b"/mnt/evidence"})


def test_on_one_machine_no_source_lies_elsewhere(window):
    assert "sources.map_root" not in {one.id for one, _ in window.actions_registry.all()}
