import os
from datetime import UTC, datetime, timedelta

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QTabWidget,
    QTreeWidget,
    QWidget,
)

from casparian import assets
from casparian.domain.evidence import Scan, ScanState, Source
from casparian.services.sources import SourceSummary
from casparian.ui.record_table import PAGE
from casparian.ui.source_tree import staleness

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def view(window):
    window.show_view("sources")
    return window.sources


@pytest.fixture
def take_in(window, qtbot):
    def take_in(folder):
        with qtbot.waitSignal(window.intake.ended, timeout=30_000):
            window.take_in([os.fsencode(folder)])
        window.sources.show_files()

    return take_in


def files(view):
    model = view.findChild(QAbstractItemView, "files_table").model()
    return [model.index(row, 0).data() for row in range(model.rowCount())]


def tree(view):
    return view.findChild(QTreeWidget, "sources_tree")


def summary(scan):
    source = Source("s", "w", "/evidence", b"/evidence", True, NOW)
    return SourceSummary(source, 1, 1, 0, scan)


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        (None, "never scanned"),
        (Scan("x", "s", NOW, ScanState.RUNNING), "scanning"),
        (Scan("x", "s", NOW, ScanState.CANCELLED, NOW), "scan cancelled"),
        (Scan("x", "s", NOW, ScanState.FINISHED, NOW), ""),
        (Scan("x", "s", NOW, ScanState.FINISHED, NOW - timedelta(days=2)), "stale"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_source_says_whether_its_list_can_be_trusted(scan, said):
    assert staleness(summary(scan), NOW) == said


def test_an_empty_view_says_what_to_do_first(view, qtbot):
    qtbot.waitUntil(view.findChild(QWidget, "files_empty").isVisible)


def test_the_sample_case_is_offered_until_there_is_a_source(window, view, take_in, case, qtbot):
    offers = [
        window.findChild(QPushButton, f"{empty}_help.sample")
        for empty in ("files_empty", "ready_empty")
    ]
    qtbot.waitUntil(lambda: not any(one.isHidden() for one in offers))
    assert [one.accessibleName() for one in offers] == ["Try a sample case"] * 2
    take_in(case(a__txt="no table comes of it"))
    qtbot.waitUntil(lambda: all(one.isHidden() for one in offers))


def test_the_sample_case_is_read_from_where_it_lies(view, services, qtbot):
    offer = view.findChild(QPushButton, "files_empty_help.sample")
    qtbot.waitUntil(offer.isVisible)
    QTest.mouseClick(offer, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "staff.json" in files(view))
    (source,) = services.sources.list(services.workspaces.default().id)
    assert source.source.path_bytes == os.fsencode(assets.folder("sample"))


def test_files_are_filtered_sorted_and_opened(view, take_in, case, qtbot):
    folder = case(b__csv="x\n1\n", a__txt="hello", c__txt="hi")
    (folder / "deep").mkdir()
    (folder / "deep" / "d.txt").write_text("deep")
    take_in(folder)
    qtbot.waitUntil(lambda: files(view) == ["a.txt", "b.csv", "c.txt", "deep/d.txt"])

    QTest.keyClicks(view.findChild(QLineEdit, "files_filter"), ".txt")
    qtbot.waitUntil(lambda: files(view) == ["a.txt", "c.txt", "deep/d.txt"])
    table = view.findChild(QAbstractItemView, "files_table")
    table.horizontalHeader().setSortIndicator(0, Qt.SortOrder.DescendingOrder)
    qtbot.waitUntil(lambda: files(view) == ["deep/d.txt", "c.txt", "a.txt"])

    table.setCurrentIndex(table.model().index(0, 0))
    preview = view.findChild(QWidget, "preview")
    qtbot.waitUntil(preview.isVisible)
    hexes = view.findChild(QWidget, "preview_hex")
    qtbot.waitUntil(lambda: "64 65 65 70" in hexes.toPlainText())

    view.findChild(QLineEdit, "files_filter").setText("nothing like this")
    qtbot.waitUntil(view.findChild(QWidget, "files_none").isVisible)


def test_files_of_one_state_can_be_picked(view, take_in, case, qtbot):
    take_in(case(b__csv="x\n1\n", a__txt="hello"))
    combo = view.findChild(QComboBox, "files_status")
    combo.setCurrentIndex(combo.findData("unclaimed"))
    qtbot.waitUntil(lambda: files(view) == ["a.txt"])
    combo.setCurrentIndex(combo.findData("done"))
    qtbot.waitUntil(lambda: files(view) == ["b.csv"], timeout=30_000)


def test_folders_can_be_drilled_into(view, take_in, case, qtbot):
    folder = case(top__txt="1")
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "deep" / "deeper" / "d.txt").write_text("2")
    take_in(folder)
    qtbot.waitUntil(lambda: tree(view).topLevelItemCount() == 1)
    top = tree(view).topLevelItem(0)
    top.setExpanded(True)
    qtbot.waitUntil(lambda: top.childCount() == 1)
    top.child(0).setExpanded(True)
    qtbot.waitUntil(lambda: top.child(0).childCount() == 1)
    tree(view).setCurrentItem(top.child(0).child(0))
    qtbot.waitUntil(lambda: files(view) == ["deep/deeper/d.txt"])


def test_many_files_come_page_by_page(view, take_in, tmp_path, qtbot):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(3 * PAGE):
        (folder / f"{number:05}.txt").write_text(str(number))
    take_in(folder)
    table = view.findChild(QAbstractItemView, "files_table")
    qtbot.waitUntil(lambda: table.model().rowCount() == 3 * PAGE)
    assert table.model().index(3 * PAGE - 1, 0).data() is None

    def scrolled_to():
        # Again and again: news of the scan may have brought the list back to its beginning.
        last = table.model().index(3 * PAGE - 1, 0)
        table.scrollTo(last)
        return last.data()

    qtbot.waitUntil(lambda: scrolled_to() == f"{3 * PAGE - 1:05}.txt")


def test_what_was_left_out_is_listed_with_its_reason(view, take_in, case, qtbot):
    folder = case(a__txt="hello")
    (folder / "link").symlink_to("/etc/hostname")
    take_in(folder)
    table = view.findChild(QAbstractItemView, "skips_table").model()
    qtbot.waitUntil(lambda: table.rowCount() == 1)
    assert [table.index(0, at).data() for at in (0, 1)] == ["link", "link"]
    tabs = view.findChild(QTabWidget, "sources_tabs")
    assert tabs.tabText(1) == "Left out (1)"


def test_the_plan_says_what_will_run_and_why_the_rest_will_not(window, view, case, qtbot, services):
    folder = case(a__csv="x\n1\n", notes__txt="hello")
    with qtbot.waitSignal(window.intake.ended):
        window.intake.take_in(window.workspace, [os.fsencode(folder)], run=False)
    view.show_plan()
    summary = view.findChild(QLabel, "plan_summary")
    qtbot.waitUntil(lambda: summary.text() == "1 file to read in 1 job")
    rest = view.findChild(QAbstractItemView, "plan_rest").model()
    assert "no rule gives it a tag" in rest.index(0, 0).data()
    assert rest.index(0, 3).data() == "notes.txt"

    QTest.mouseClick(view.findChild(QPushButton, "plan.run.push"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: summary.text() == "There is nothing to run", timeout=30_000)
    reasons = [rest.index(row, 0).data() for row in range(rest.rowCount())]
    qtbot.waitUntil(
        lambda: any("done already" in rest.index(row, 0).data() for row in range(rest.rowCount())),
        timeout=30_000,
    )
    assert reasons


def test_removing_says_what_it_affects(window, view, take_in, case, qtbot):
    take_in(case(a__txt="hello"))
    qtbot.waitUntil(lambda: tree(view).topLevelItemCount() == 1)
    remove = window.actions_registry.get("sources.remove")
    qtbot.waitUntil(remove.isEnabled)
    remove.trigger()
    qtbot.waitUntil(lambda: window.findChild(QDialog, "confirm_dialog") is not None)
    dialog = window.findChild(QDialog, "confirm_dialog")
    said = " ".join(label.text() for label in dialog.findChildren(QLabel))
    assert "The evidence itself is not touched" in said
    QTest.mouseClick(dialog.findChild(QPushButton, "confirm_button"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: tree(view).topLevelItemCount() == 0)
    qtbot.waitUntil(lambda: files(view) == [])


def test_a_rescan_finds_what_is_new(window, view, take_in, case, qtbot):
    folder = case(a__txt="hello")
    take_in(folder)
    qtbot.waitUntil(lambda: files(view) == ["a.txt"])
    (folder / "b.txt").write_text("new")
    rescan = window.actions_registry.get("sources.rescan")
    qtbot.waitUntil(rescan.isEnabled)
    rescan.trigger()
    qtbot.waitUntil(lambda: files(view) == ["a.txt", "b.txt"])
    qtbot.waitUntil(lambda: window.status._scans == 0)


def test_a_file_can_be_brought_into_sight_from_elsewhere(
    window, view, take_in, case, qtbot, services
):
    from casparian.state.evidence import FileQuery

    take_in(case(a__txt="hello", b__txt="hi"))
    workspace = services.workspaces.default()
    row = services.sources.files(FileQuery(workspace.id, text="b.txt"), 0, 1).rows[0]
    window.show_view("rules")
    window.rules.file_wanted.emit(row.file.id)
    table = view.findChild(QAbstractItemView, "files_table")
    qtbot.waitUntil(lambda: files(view) == ["b.txt"])
    assert view.isVisible()
    qtbot.waitUntil(lambda: table.currentIndex().row() == 0)
