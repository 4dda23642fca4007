"""How columns are seen is kept by name, and what cannot be read is as if it had never been said."""

from __future__ import annotations

import pytest

from casparian.ui.column_layout import ColumnLayout, ColumnLayouts

LAYOUT = ColumnLayout(("b", "a"), frozenset({"c"}), {"a": 200}, 1)


def test_a_layout_is_kept_by_table(tmp_path) -> None:
    ColumnLayouts(tmp_path / "window.ini").put("odd/na me", LAYOUT)
    kept = ColumnLayouts(tmp_path / "window.ini")
    assert kept.get("odd/na me") == LAYOUT
    assert kept.get("another") is None


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "1", '{"order": 3}', '{"order": [], "hidden": [], "widths": {"a": "x"}}'],
)
def test_what_cannot_be_read_is_no_layout(text) -> None:
    assert ColumnLayout.from_json(text) is None
