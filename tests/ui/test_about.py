from PySide6.QtCore import Qt
from PySide6.QtWidgets import QListWidget, QPlainTextEdit, QWidget

from casparian import assets
from casparian.settings import load
from casparian.ui.about import AboutDialog, licences, places
from casparian.ui.problems import versions


def test_about_says_versions_and_places_and_copies_them(qtbot, look, tmp_path):
    window = QWidget()
    qtbot.addWidget(window)
    settings = load(tmp_path)
    about = AboutDialog(settings, window)
    about.open()
    text = about.findChild(QPlainTextEdit, "about_facts").toPlainText()
    assert versions() in text
    assert places(settings) in text
    assert str(tmp_path / "config.toml") in text
    assert "duckdb 2." in text
    qtbot.mouseClick(about.findChild(QWidget, "about_copy"), Qt.MouseButton.LeftButton)
    assert look.clipboard().text() == text


def test_about_shows_the_terms_of_each_component(qtbot, look, tmp_path, monkeypatch):
    folder = tmp_path / "licences"
    for name in ("Alpha-1", "Beta-2"):
        (folder / name).mkdir(parents=True)
        (folder / name / "LICENSE.txt").write_text(f"Terms of {name}")
    monkeypatch.setattr(assets, "folder", lambda name: folder)
    assert list(licences()) == ["Alpha-1", "Beta-2"]
    window = QWidget()
    qtbot.addWidget(window)
    about = AboutDialog(load(tmp_path / "home"), window)
    components = about.findChild(QListWidget, "about_components")
    components.setCurrentRow(1)
    assert about.findChild(QPlainTextEdit, "about_terms").toPlainText() == "Terms of Beta-2"
