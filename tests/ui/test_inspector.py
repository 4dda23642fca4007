"""The inspector shows each value whole, and the row's origin down to the place in its file."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QLabel, QLineEdit, QPlainTextEdit, QPushButton, QToolButton

from casparian.domain.errors import EnvironmentProblem
from casparian.domain.results import ViewSpec
from casparian.ui import formats
from casparian.ui.inspector import MOST_CHARS, Inspector, hex_dump, read_value
from casparian.ui.table_viewer import ChosenRow
from helpers.fake_results import FakeView, view_of
from helpers.filled import write_case


@pytest.fixture
def inspector(qtbot, services, tasks):
    made = Inspector(services.results, tasks)
    qtbot.addWidget(made)
    made.resize(360, 700)
    made.show()
    made.set_workspace(services.workspaces.default())
    return made


def show(inspector, qtbot, table, *words, row=0):
    inspector.show_row(ChosenRow(view_of(table, *words), row))
    qtbot.waitUntil(lambda: bool(inspector.fields()))


def choose(inspector, *names):
    tree = inspector.fields_tree
    item, rest = None, list(names)
    children = [tree.topLevelItem(at) for at in range(tree.topLevelItemCount())]
    while rest:
        item = next(one for one in children if one.text(0) == rest[0])
        children = [item.child(at) for at in range(item.childCount())]
        rest.pop(0)
    tree.setCurrentItem(item)
    return item


def value(inspector):
    return inspector.findChild(QPlainTextEdit, "inspector_value").toPlainText()


def copied(inspector, qtbot):
    with qtbot.waitSignal(QGuiApplication.clipboard().dataChanged):
        inspector.findChild(QToolButton, "inspector_copy").click()
    return QGuiApplication.clipboard().text()


def test_json_is_indented_and_opened_down_to_its_parts(inspector, qtbot) -> None:
    told = json.dumps({"User": {"Name": "ann", "Sid": None}, "Ids": [1, 2]})
    show(inspector, qtbot, pa.table({"n": [1], "data": [told]}), "int64", "json")
    choose(inspector, "data")
    assert value(inspector) == json.dumps(json.loads(told), indent=2)
    assert copied(inspector, qtbot) == told
    choose(inspector, "data", "User", "Name")
    assert value(inspector) == "ann"
    assert choose(inspector, "data", "User", "Sid").text(1) == "NULL"
    choose(inspector, "data", "Ids", "[1]")
    assert value(inspector) == "2"


def test_the_search_finds_names_and_values_at_any_depth(inspector, qtbot) -> None:
    told = json.dumps({"User": {"Name": "ann"}, "Other": "x"})
    show(inspector, qtbot, pa.table({"n": [1], "data": [told]}), "int64", "json")
    qtbot.keyClicks(inspector.findChild(QLineEdit, "inspector_search"), "ANN")
    tree = inspector.fields_tree
    assert tree.topLevelItem(0).isHidden()
    data = tree.topLevelItem(1)
    assert [data.child(at).isHidden() for at in range(2)] == [False, True]


def test_null_is_told_from_empty_text(inspector, qtbot) -> None:
    table = pa.table({"a": pa.array([None], pa.string()), "b": [""]})
    show(inspector, qtbot, table, "string", "string")
    assert choose(inspector, "a").text(1) == "NULL"
    assert choose(inspector, "b").text(1) == ""


def test_a_huge_value_is_shown_in_part_and_copied_whole(inspector, qtbot, stalls) -> None:
    stalls.start()
    show(inspector, qtbot, pa.table({"a": ["x" * 5_000_000]}), "string")
    assert len(value(inspector)) < MOST_CHARS + 200
    assert "of 5,000,000 characters" in value(inspector)
    assert len(copied(inspector, qtbot)) == 5_000_000


def test_what_would_deceive_is_escaped_but_copied_exactly(inspector, qtbot) -> None:
    show(inspector, qtbot, pa.table({"a": ["x\u202egpj.exe"]}), "string")
    choose(inspector, "a")
    assert value(inspector) == "x\\u202egpj.exe"
    assert copied(inspector, qtbot) == "x\u202egpj.exe"


def test_bytes_are_shown_as_hex_and_characters() -> None:
    assert hex_dump(b"MZ\x00\xffabc") == (
        "00000000  4d 5a 00 ff 61 62 63                             MZ..abc"
    )
    shown = read_value("a", "binary", pa.scalar(b"\x00" * 20_000)).shown
    assert "16,384 of 20,000 bytes" in shown


@pytest.mark.parametrize("text", ["{not json", "[" * 100_000, "12", "", '{"a": 1} x'])
def test_text_that_is_no_json_object_stays_text(text) -> None:
    found = read_value("a", "string", pa.scalar(text))
    assert found.parsed is None
    assert found.text == text


def test_without_a_row_it_says_what_to_do(inspector, qtbot) -> None:
    show(inspector, qtbot, pa.table({"a": [1]}), "int64")
    inspector.show_row(None)
    assert inspector.fields() == {}
    assert inspector.origin() == {}


def test_only_the_newest_row_is_shown(inspector, qtbot) -> None:
    view = FakeView(1_000)
    for row in range(50):
        inspector.show_row(ChosenRow(view, row))
    qtbot.waitUntil(lambda: inspector.fields().get("row") == "49")
    qtbot.wait(50)
    assert inspector.fields()["row"] == "49"


def test_a_row_that_cannot_be_read_says_why(inspector, qtbot) -> None:
    view = FakeView(10, problem=EnvironmentProblem("The disk is gone"))
    inspector.show_row(ChosenRow(view, 0))
    said = inspector.findChild(QLabel, "inspector_banner_text")
    qtbot.waitUntil(said.isVisible)
    assert "The disk is gone" in said.text()


@pytest.fixture
def chosen(services, case, run):
    folder = write_case(case)
    run(services, folder)
    with services.results.reader.open(ViewSpec("main", "people")) as view:
        yield ChosenRow(view, 41), folder / "people.csv"


def test_the_origin_names_file_hashes_place_parser_and_job(
    inspector, qtbot, services, chosen
) -> None:
    row, path = chosen
    inspector.show_row(row)
    qtbot.waitUntil(lambda: "SHA-256" in inspector.origin())
    said = inspector.origin()
    assert said["File"] == str(path)
    assert said["SHA-256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(said["BLAKE3"]) == 64
    assert said["Position"] == "43"  # the header is line 1
    assert said["State"] == f"partial, {formats.size(path.stat().st_size)}"
    assert said["Parser"].startswith("delimited ")
    (job,) = [
        one
        for one in services.jobs.list(services.workspaces.default().id)
        if one.parser == "delimited"
    ]
    assert said["Job"].endswith(job.id)
    with qtbot.waitSignal(inspector.rows_of_file_wanted) as wanted:
        inspector.findChild(QPushButton, "origin_rows").click()
    assert wanted.args[0] == "_cf_file_id"
    with qtbot.waitSignal(inspector.file_wanted) as wanted_file:
        inspector.findChild(QPushButton, "origin_file").click()
    assert wanted_file.args == [wanted.args[1]]
    with qtbot.waitSignal(inspector.job_wanted) as wanted_job:
        inspector.findChild(QPushButton, "origin_job").click()
    assert wanted_job.args == [job.id]


def test_a_row_without_lineage_says_that_it_has_none(inspector, qtbot) -> None:
    show(inspector, qtbot, pa.table({"a": [1]}), "int64")
    said = inspector.findChild(QLabel, "origin_sentence")
    qtbot.waitUntil(lambda: "does not say" in said.text())
    assert said.isVisible()
    assert inspector.origin() == {}
    assert not inspector.findChild(QPushButton, "origin_file").isVisible()
