import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QListWidget, QPlainTextEdit, QWidget

from casparian.settings import load
from casparian.ui.about import AboutDialog, places
from casparian.ui.problems import versions


@pytest.fixture
def about(qtbot, tasks, tmp_path):
    window = QWidget()
    qtbot.addWidget(window)
    window.show()
    made = AboutDialog(load(tmp_path), tasks, window)
    made.open()
    yield made
    made.close()


def test_it_says_versions_and_places_and_copies_them(about, look, tmp_path):
    text = about.findChild(QPlainTextEdit, "about_facts").toPlainText()
    assert versions() in text
    assert places(load(tmp_path)) in text
    for name in ("config.toml", "state.sqlite", "output", "query.duckdb", "logs"):
        assert str(tmp_path / name) in text
    assert "duckdb 2." in text
    QTest.mouseClick(about.findChild(QWidget, "about_copy"), Qt.MouseButton.LeftButton)
    assert look.clipboard().text() == text


def test_the_places_of_servers_have_no_password(tmp_path):
    from dataclasses import replace

    address = "postgres://analyst:geheim@db.example/cases"
    said = places(replace(load(tmp_path), state_store=address, default_sink=address))
    assert "db.example/cases" in said
    assert "geheim" not in said


def test_the_terms_of_each_part_can_be_read(about, qtbot):
    parts = about.findChild(QListWidget, "about_components")
    terms = about.findChild(QPlainTextEdit, "about_terms")
    qtbot.waitUntil(lambda: "Apache License" in terms.toPlainText())
    assert parts.item(0).text().startswith("Casparian Flow")
    (qt,) = [one for one in range(parts.count()) if "PySide6" in parts.item(one).text()]
    parts.setCurrentRow(qt)
    qtbot.waitUntil(lambda: "GNU LESSER GENERAL PUBLIC LICENSE" in terms.toPlainText())


def test_it_is_opened_from_the_menu_and_closes_on_esc(window, qtbot):
    window.actions_registry.get("help.about").trigger()
    (shown,) = window.findChildren(AboutDialog)
    qtbot.waitUntil(lambda: shown.findChild(QListWidget, "about_components").count() > 20)
    QTest.keyClick(shown, Qt.Key.Key_Escape)
    assert not shown.isVisible()
