"""Text comes in chunks of whole lines, in the encoding that its bytes show, and no byte is lost."""

from __future__ import annotations

import io

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from casparian.parsers.text import reading

LINES = "naïve\nΩ ÅØ\n\n東京,😀\nend"


def read(data: bytes, **options: bool) -> tuple[reading.Encoding, list[reading.Chunk]]:
    source = io.BytesIO(data)
    encoding = reading.detect(source, **options)
    return encoding, list(reading.chunks(source, encoding))


@pytest.mark.parametrize(
    ("codec", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16-le"),
        ("utf-32", "utf-32-le"),
    ],
)
def test_unicode_is_found(codec, found):
    encoding, chunks = read(LINES.encode(codec))
    assert encoding.codec == found
    assert b"".join(chunk.utf8 for chunk in chunks).decode() == LINES


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_found_by_its_nuls_and_said(codec):
    encoding, chunks = read("a,b\nplain,text\n".encode(codec))
    assert encoding.codec == codec
    assert "no byte order mark" in encoding.note
    assert chunks[0].utf8 == b"a,b\nplain,text\n"


@pytest.mark.parametrize("codec", ["utf-16-be", "utf-32-be"])
def test_big_endian_marks_are_known(codec):
    encoding, chunks = read(("\ufeff" + LINES).encode(codec))
    assert encoding.codec == codec
    assert b"".join(chunk.utf8 for chunk in chunks).decode() == LINES


def test_an_old_encoding_is_read_as_such_and_said():
    encoding, chunks = read("Größe;Straße\ncafé;€5\n".encode("cp1252"))
    assert encoding.codec == "cp1252"
    assert "2 lines, the first is line 1" in encoding.note
    assert chunks[0].utf8.decode() == "Größe;Straße\ncafé;€5\n"


def test_a_format_that_must_be_unicode_is():
    encoding, chunks = read("café\n".encode("cp1252"), must_be_unicode=True)
    assert encoding.codec == "utf-8"
    assert not chunks[0].utf8


def test_damage_in_utf_8_does_not_make_it_another_encoding():
    data = "naïve\n東京\n".encode() + b"caf\xe9\n"
    encoding, chunks = read(data)
    assert (encoding.codec, encoding.note) == ("utf-8", "")
    assert encoding.bytes_of(chunks[0].text) == data


def test_binary_lines_do_not_make_it_another_encoding():
    encoding, _ = read(b"plain\n\x00\x01\xff\xfe\x9d\x8b\n")
    assert encoding.codec == "utf-8"


def test_carriage_returns_end_lines_only_where_nothing_else_does():
    mac, chunks = read(b"a,b\rc,d\r")
    assert mac.line_end == "\r"
    assert chunks[0].utf8 == b"a,b\nc,d\n"
    usual, chunks = read(b"a,b\rc,d\r\n")
    assert usual.line_end == "\n"
    assert chunks[0].utf8 == b"a,b\rc,d\r\n"


def test_lines_are_numbered_across_chunks(monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_BYTES", 8)
    _, chunks = read(b"one\ntwo\nthree\n" + b"x" * 40 + b"\nlast")
    assert b"".join(chunk.utf8 for chunk in chunks) == b"one\ntwo\nthree\n" + b"x" * 40 + b"\nlast"
    line = 1
    for chunk in chunks:
        assert chunk.first_line == line
        line += chunk.utf8.count(b"\n")


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le"])
def test_a_line_too_long_to_hold_costs_only_itself(monkeypatch, codec):
    monkeypatch.setattr(reading, "CHUNK_BYTES", 64)
    monkeypatch.setattr(reading, "LONGEST_LINE_BYTES", 1000)
    text = "\ufeffbefore\n" + "x" * 5000 + "\nafter\n"
    _, chunks = read(text.encode(codec))
    assert b"".join(chunk.utf8 for chunk in chunks) == b"before\nafter\n"
    overlong = [chunk for chunk in chunks if chunk.overlong]
    assert [chunk.first_line for chunk in overlong] == [2]
    assert chunks[-1].first_line == 3


@settings(deadline=None)
@given(st.binary(), st.integers(4, 40))
def test_no_byte_is_lost(data, size):
    source = io.BytesIO(data)
    encoding = reading.detect(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_BYTES", size * 4)
        chunks = list(reading.chunks(source, encoding))
    if encoding.unit_bytes == 1 and encoding.line_end == "\n":
        read = b"".join(encoding.bytes_of(chunk.utf8.decode() or chunk.text) for chunk in chunks)
        assert data[encoding.mark_bytes :] == read


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]),
)
def test_any_text_comes_back(text, codec):
    assume(not text.startswith("\0"))  # with its mark, UTF-16 of that is the mark of UTF-32
    _, chunks = read(text.encode(codec))
    expected = text.replace("\r\n", "\n").replace("\r", "\n") if "\n" not in text else text
    assert b"".join(chunk.utf8 for chunk in chunks).decode() == expected


@settings(deadline=None)
@given(st.binary(), st.sampled_from(["utf-8", "utf-16-le", "cp1252"]))
def test_blocks_are_the_same_text(data, codec):
    encoding = reading.Encoding(codec, 2 if codec == "utf-16-le" else 1)
    blocks = b"".join(reading.blocks(io.BytesIO(data), encoding))
    assert codec != "utf-8" or blocks == data
    try:
        assert blocks.decode() == data.decode(codec)
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            blocks.decode()
