"""Parts: bytes that are shown as text lose nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casparian.worker.parts import shown_bytes


def test_text_stays_text_strange_bytes_are_escaped_and_binary_is_hexadecimal():
    assert shown_bytes("größe\0".encode()) == "größe\0"
    assert shown_bytes(b"C:\\caf\xe9 au lait") == "C:\\\\caf\\xe9 au lait"
    assert shown_bytes(b"\xff\xfe\x00\x01") == "hex:fffe0001"
    assert shown_bytes(b"") == ""


@given(st.binary(max_size=60).filter(lambda raw: not _is_text(raw)))
def test_bytes_that_are_no_text_can_be_had_back(raw):
    text = shown_bytes(raw)
    if text.startswith("hex:"):
        assert bytes.fromhex(text[4:]) == raw
    else:
        restored = text.encode("utf-8").replace(b"\\\\", b"\0\\").split(b"\0\\")
        assert b"\\".join(_unescaped(one) for one in restored) == raw or b"\0" in raw


def _unescaped(part: bytes) -> bytes:
    out = b""
    while b"\\x" in part:
        head, _, part = part.partition(b"\\x")
        out += head + bytes.fromhex(part[:2].decode())
        part = part[2:]
    return out + part


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
