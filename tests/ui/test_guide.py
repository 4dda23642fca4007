import re

import pytest
from PySide6.QtCore import QEvent, QSettings, Qt, QUrl
from PySide6.QtGui import QImage, QTextDocument
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QTextBrowser,
    QToolButton,
    QTreeWidget,
    QWidget,
)

from casparian import assets
from casparian.ui import guide as module
from casparian.ui import theme
from casparian.ui.guide import PAGES, Guide, GuideControl, page_for, page_text, place_of, sections
from casparian.ui.main_window import VIEWS


@pytest.fixture
def guide(qtbot, look):
    made = Guide()
    qtbot.addWidget(made)
    made.show_page("start")
    return made


@pytest.fixture
def control(look, tmp_path):
    """The guide over a memory of its own, while the rules are in front."""
    memory = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    parent = QWidget()
    made = GuideControl(memory, lambda: "rules", parent)
    yield made
    made.close()
    parent.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def links(page):
    return re.findall(r"\]\(([^)]+)\)", page_text(page))


def tree(guide):
    """The pages that are listed, with their sections."""
    shown = guide.findChild(QTreeWidget, "guide_pages")
    tops = [shown.topLevelItem(at) for at in range(shown.topLevelItemCount())]
    return {one.text(0): [one.child(at).text(0) for at in range(one.childCount())] for one in tops}


def button(guide, name):
    return guide.findChild(QToolButton, f"guide_{name}")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_its_title_whole_links_and_pictures(page):
    text = page_text(page)
    assert text.startswith(f"# {PAGES[page]}\n")
    for target in links(page):
        if target.endswith(".png"):
            for mode in ("light", "dark"):
                picture = assets.folder("guide") / target.replace("-light.", f"-{mode}.")
                assert picture.is_file(), target
        else:
            place = place_of(target)
            assert place is not None, target
            headings = [one.casefold() for one in sections(page_text(place.page))]
            assert not place.section or place.section.casefold() in headings, target
    assert "http" not in text, "there is no network to follow it into"


def test_every_page_is_a_file_and_every_file_a_page():
    assert {one.stem for one in assets.folder("guide").glob("*.md")} == set(PAGES)


def test_every_picture_is_small_and_used():
    folder = assets.folder("guide") / "pictures"
    used = {target.rpartition("/")[2] for page in PAGES for target in links(page)}
    sizes = {one.name: one.stat().st_size for one in folder.glob("*.png")}
    assert max(sizes.values(), default=0) <= 120_000
    assert sum(sizes.values()) <= 1_500_000
    assert {one.replace("-dark.", "-light.") for one in sizes} <= used


def test_every_view_part_and_dialog_has_a_page_and_is_there():
    assert set(module.VIEWS) == set(VIEWS)
    assert set(module.VIEWS.values()) | set(module.PARTS.values()) <= set(PAGES)
    folder = assets.folder("guide").parents[1] / "desktop" / "casparian" / "ui"
    code = "".join(one.read_text("utf-8") for one in folder.glob("*.py"))
    assert [one for one in module.PARTS if f'setObjectName("{one}")' not in code] == []


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


def test_what_leads_out_is_text_and_is_never_read(guide):
    browser = guide.findChild(QTextBrowser)
    browser.show_text("[out](https://example.com) and [in](sql.md)\n")
    shown = browser.document().toHtml()
    assert 'href="sql.md"' in shown
    assert "https://" not in shown
    kind = QTextDocument.ResourceType.ImageResource.value
    assert browser.loadResource(kind, QUrl("https://example.com/x.png")) is None
    browser.show_text(page_text("start"))


def test_a_link_may_lead_to_a_section(guide):
    browser = guide.findChild(QTextBrowser)
    browser.anchorClicked.emit(QUrl("jobs.md#Quarantine"))
    assert browser.textCursor().block().text() == "Quarantine"
    assert guide.findChild(QTreeWidget).currentItem().text(0) == "Quarantine"


def test_a_section_is_chosen_in_the_list(guide):
    browser, pages = guide.findChild(QTextBrowser), guide.findChild(QTreeWidget)
    assert list(tree(guide)) == list(PAGES.values())
    pages.setCurrentItem(pages.topLevelItem(0).child(1))
    assert browser.textCursor().block().text() == tree(guide)["Start here"][1]
    assert browser.verticalScrollBar().value() > 0


def test_one_goes_back_and_forward(guide):
    browser = guide.findChild(QTextBrowser)
    assert not button(guide, "back").isEnabled()
    for link in ("sql.md", "jobs.md#Quarantine"):
        browser.anchorClicked.emit(QUrl(link))
    assert not button(guide, "forward").isEnabled()
    button(guide, "back").click()
    button(guide, "back").click()
    assert (guide.page, button(guide, "back").isEnabled()) == ("start", False)
    button(guide, "forward").click()
    assert guide.page == "sql"
    button(guide, "forward").click()
    assert browser.textCursor().block().text() == "Quarantine"
    button(guide, "back").click()
    browser.anchorClicked.emit(QUrl("rules.md"))
    assert not button(guide, "forward").isEnabled()


def test_search_leaves_the_pages_and_sections_with_all_the_words(guide):
    search = guide.findChild(QLineEdit, "guide_search")
    search.setText("manifest SHA-256")
    assert list(tree(guide)) == [
        PAGES[page]
        for page in PAGES
        if all(word in page_text(page).casefold() for word in ("manifest", "sha-256"))
    ]
    assert tree(guide)[PAGES["export"]] == ["The manifest"]
    search.setText("zzz")
    assert tree(guide) == {}
    assert not guide.findChild(QWidget, "guide_nothing").isHidden()
    search.clear()
    assert list(tree(guide)) == list(PAGES.values())


def test_what_was_searched_is_marked_and_stepped_through(guide):
    search, browser = guide.findChild(QLineEdit, "guide_search"), guide.findChild(QTextBrowser)
    search.setText("workspace")
    count = len(browser.extraSelections())
    assert count > 1
    places = set()
    for _ in range(count):
        assert browser.textCursor().selectedText().casefold() == "workspace"
        places.add(browser.textCursor().position())
        QTest.keyClick(guide, Qt.Key.Key_F3)
    assert len(places) == count
    QTest.keyClick(guide, Qt.Key.Key_Escape)
    assert (search.text(), browser.extraSelections()) == ("", [])
    assert guide.isVisible()


def test_pictures_fit_the_page(guide):
    browser = guide.findChild(QTextBrowser)
    (name,) = [one for one in links("start") if one.endswith(".png")][:1]
    address = browser.document().baseUrl().resolved(QUrl(name))
    picture = browser.document().resource(QTextDocument.ResourceType.ImageResource.value, address)
    assert isinstance(picture, QImage)
    assert 0 < picture.width() <= browser.viewport().width()


def test_lines_stay_readable_in_a_wide_window(guide):
    browser = guide.findChild(QTextBrowser)
    for width in (700, 1900):
        guide.resize(width, 700)
        text = browser.document().textWidth()
        assert text <= min(960, browser.viewport().width())


def test_pages_are_in_the_colours_of_the_theme(guide, look):
    browser = guide.findChild(QTextBrowser)
    for mode in ("dark", "light"):
        theme.apply(look, mode)
        assert theme.color("accent").name() in browser.document().toHtml()


def test_f1_opens_one_guide_for_what_is_in_front(window):
    for view, page in (("rules", "rules"), ("results", "results")):
        window.show_view(view)
        window.actions_registry.get("help.guide").trigger()
        assert window.guide.guide.page == page
    assert sum(isinstance(one, Guide) for one in QApplication.topLevelWidgets()) == 1
    assert window.actions_registry.get("help.guide").shortcut().toString() == "F1"
    window.close()
    assert window.guide.guide is None


def test_f1_works_in_a_dialog_and_the_guide_can_be_used_beside_it(qtbot, control):
    host = QWidget()
    qtbot.addWidget(host)
    host.show()
    dialog = QDialog(host)
    dialog.setObjectName("export_dialog")
    field = QPushButton("Export", dialog)
    dialog.open()
    dialog.activateWindow()
    field.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is field)
    QTest.keyClick(dialog, Qt.Key.Key_F1)
    assert control.guide.page == "export"
    assert control.guide.isVisible()
    assert dialog.isVisible()
    assert control.guide.parent() is None, "a child of the window would wait for the dialog"
    dialog.close()


def test_the_guide_is_reused_and_remembers_its_size(control):
    control.open()
    first = control.guide
    assert first.page == "rules"
    first.resize(700, 600)
    first.close()
    control.open()
    assert control.guide is first
    control.close()
    control.open()
    assert control.guide is not first
    assert (control.guide.width(), control.guide.height()) == (700, 600)
