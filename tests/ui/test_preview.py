import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QToolButton

from casparian.domain.cancel import CancelToken
from casparian.ui.preview import STRETCH, Preview, as_text, hex_lines


def test_hex_shows_offset_bytes_and_what_can_be_printed():
    assert hex_lines(b"ElfFile\x00\x00\xffAB<&", 0x1000) == (
        "0000001000  45 6c 66 46 69 6c 65 00  00 ff 41 42 3c 26        ElfFile...AB<&"
    )


@given(st.binary(max_size=400), st.integers(min_value=0, max_value=2**40))
def test_every_byte_is_in_its_hex_line(data, offset):
    lines = hex_lines(data, offset).splitlines()
    assert b"".join(bytes.fromhex(line[12:61]) for line in lines) == data


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"one\r\ntwo", "one\ntwo"),
        ("\ufeffdía".encode(), "día"),
        ("naïve".encode("utf-16"), "naïve"),
        ("plain".encode("utf-16-le"), "plain"),
        (b"a\x00b\x1b[31m", "a\\x00b\\x1b[31m"),
        (b"caf\xe9", "caf\ufffd"),
        ("evil\u202etxt.exe".encode(), "evil\\u202etxt.exe"),
        (b"", ""),
    ],
    ids=repr,
)
def test_text_is_readable_and_harmless(data, shown):
    assert as_text(data) == shown


@given(st.binary(max_size=2_000))
def test_any_bytes_can_be_looked_at_as_text(data):
    assert all(char == "\n" or char.isprintable() for char in as_text(data) if ord(char) < 0xA0)


@pytest.fixture
def preview(qtbot, services, tasks):
    made = Preview(services, tasks)
    qtbot.addWidget(made)
    return made


@pytest.fixture
def row_of(services, case):
    def row_of(content):
        from casparian.state.evidence import FileQuery

        folder = case(a__bin=content)
        workspace = services.workspaces.default()
        (source,) = services.sources.add(workspace.id, [os.fsencode(folder)])
        services.sources.scan(source.id, cancel=CancelToken())
        return services.sources.files(FileQuery(workspace.id), 0, 10).rows[0]

    return row_of


def test_a_large_file_is_read_stretch_by_stretch(qtbot, preview, row_of):
    row = row_of(bytes(STRETCH) + b"the end")
    preview.show_file(row)
    body = preview.findChild(QPlainTextEdit, "preview_hex")
    qtbot.waitUntil(lambda: body.blockCount() == STRETCH // 16)
    further = preview.findChild(QToolButton, "preview_on")
    QTest.mouseClick(further, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "the end" in body.toPlainText())
    assert body.toPlainText().startswith("0000004000  74 68 65")
    assert not further.isEnabled()
    QTest.mouseClick(preview.findChild(QToolButton, "preview_back"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: body.blockCount() == STRETCH // 16)


def test_hashes_are_short_and_copied_whole(qtbot, preview, row_of):
    row = row_of(b"hello")
    preview.show_file(row)
    label = preview.findChild(QLabel, "preview_SHA-256")
    assert label.text() == f"{row.file.sha256[:10]}…"
    assert label.toolTip() == row.file.sha256
    QTest.mouseClick(
        preview.findChild(QToolButton, "preview_copy_SHA-256"), Qt.MouseButton.LeftButton
    )
    assert QGuiApplication.clipboard().text() == row.file.sha256


def test_a_file_that_is_gone_is_said_so_in_place(qtbot, preview, row_of, case):
    row = row_of(b"hello")
    (case() / "a.bin").unlink()
    preview.show_file(row)
    text = preview.findChild(QLabel, "preview_banner_text")
    qtbot.waitUntil(lambda: bool(text.text()))
    assert "a.bin" in text.text()
