import re

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QImage, QTextDocument
from PySide6.QtWidgets import QListWidget, QPlainTextEdit, QTextBrowser, QWidget

from casparian import assets
from casparian.settings import load
from casparian.ui import guide as module
from casparian.ui.about import AboutDialog, licences, places
from casparian.ui.guide import PAGES, Guide, page_for, page_text
from casparian.ui.main_window import VIEWS
from casparian.ui.problems import versions


@pytest.fixture
def guide(qtbot, look):
    window = QWidget()
    made = Guide(window)
    made.show_page("start")
    yield made
    window.deleteLater()  # kept until here: it owns the guide


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_its_title_and_whole_links(page):
    text = page_text(page)
    assert text.startswith(f"# {PAGES[page]}\n")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.endswith(".md"):
            assert target.removesuffix(".md") in PAGES, target
        else:
            for theme in ("light", "dark"):
                picture = assets.folder("guide") / target.replace("-light.", f"-{theme}.")
                assert picture.is_file(), target
    assert "http" not in text, "there is no network to follow it into"


def test_every_page_is_a_file_and_every_file_a_page():
    assert {one.stem for one in assets.folder("guide").glob("*.md")} == set(PAGES)


def test_every_view_and_part_has_a_page():
    assert set(module._VIEWS) == set(VIEWS)
    assert set(module._VIEWS.values()) | set(module._PARTS.values()) <= set(PAGES)


def test_the_page_is_that_of_what_has_the_focus(qtbot):
    console = QWidget()
    qtbot.addWidget(console)
    console.setObjectName("sql_console")
    inside = QPlainTextEdit(console)
    assert page_for(inside, "results") == "sql"
    assert page_for(None, "results") == "results"
    assert page_for(QWidget(), "rules") == "rules"


def test_links_lead_to_pages_and_nowhere_else(guide):
    browser = guide.findChild(QTextBrowser)
    browser.anchorClicked.emit(QUrl("sql.md"))
    assert guide.page == "sql"
    for away in ("https://example.com", "file:///etc/passwd", "start.md/../../x"):
        browser.anchorClicked.emit(QUrl(away))
        assert guide.page == "sql"
    assert not browser.openExternalLinks()


def test_search_leaves_the_pages_with_all_the_words(qtbot, guide):
    search, pages = guide._search, guide.findChild(QListWidget)
    search.setText("manifest SHA-256")
    assert [pages.item(at).text() for at in range(pages.count())] == [
        PAGES[page]
        for page in PAGES
        if all(word in page_text(page).casefold() for word in ("manifest", "sha-256"))
    ]
    assert guide.page == "export"
    search.setText("zzz")
    assert pages.count() == 0
    assert not guide._nothing.isHidden()
    search.clear()
    assert pages.count() == len(PAGES)


def test_pictures_fit_the_page(qtbot, guide):
    browser = guide.findChild(QTextBrowser)
    document = browser.document()
    name = document.baseUrl().resolved(QUrl("../screenshots/workspace-light.png"))
    picture = document.resource(QTextDocument.ResourceType.ImageResource.value, name)
    assert isinstance(picture, QImage)
    assert 0 < picture.width() <= browser.viewport().width()


def test_f1_opens_one_guide_for_what_is_in_front(window):
    for view, page in (("rules", "rules"), ("results", "results")):
        window.show_view(view)
        window.actions_registry.get("help.guide").trigger()
        assert [one.page for one in window.findChildren(Guide)] == [page]
    assert window.actions_registry.get("help.guide").shortcut().toString() == "F1"


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
