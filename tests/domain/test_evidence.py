"""Paths are shown without loss and without deceit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.evidence import shown_path, shown_text


@given(st.binary(max_size=40))
def test_any_path_becomes_text_that_utf8_can_hold(raw):
    shown_path(raw).encode("utf-8")


@given(st.text(max_size=60))
def test_shown_text_has_no_control_and_no_bidirectional_mark(text):
    shown = shown_text(text)
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in shown)
    assert not any(
        char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
        for char in shown
    )


def test_what_a_name_hides_is_spelt_out():
    assert shown_text("invoice\u202efdp.exe") == "invoice\\u202efdp.exe"
    assert shown_text("two\nlines\t\x1b[31m") == "two\\nlines\\t\\x1b[31m"
    assert shown_path(b"caf\xe9.txt") == "caf\\xe9.txt"
