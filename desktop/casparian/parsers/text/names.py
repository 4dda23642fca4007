"""Names for tables and columns that SQL can take, made from whatever a file calls them."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 60
"""Room for `_quarantine` or a number within what databases take (63 in PostgreSQL)."""


def column_names(headings: Iterable[str]) -> tuple[str, ...]:
    """One name for each heading: letters, digits and `_`; unique whatever the case.

    The same headings always give the same names. Case is kept. A heading without any letter or digit is
    `column_` and its number from 1; one that was there before gets `_2`, `_3`, and so on; a leading
    digit gets `c_` before it; `_cf_` is the program's own and loses its first `_`.
    """
    names: list[str] = []
    taken: set[str] = set()
    for number, heading in enumerate(headings, 1):
        stem = _safe(heading) or f"column_{number}"
        stem = f"c_{stem}" if stem[0].isdigit() else stem
        stem = stem.lstrip("_") if stem.casefold().startswith("_cf_") else stem
        name, copy = stem, 1
        while name.casefold() in taken:
            copy += 1
            name = f"{stem}_{copy}"
        taken.add(name.casefold())
        names.append(name)
    return tuple(names)


def table_name(file_name: str) -> str:
    """A table's name from that of a file: its stem, in lower case, as a safe name."""
    stem = _safe(re.sub(r"(?<=.)\.[^.]*$", "", file_name)).lower().lstrip("_")
    return f"t_{stem}" if stem[:1].isdigit() else stem or "table"


def _safe(text: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"^\W+|\W+$", "", text)
    return re.sub(r"\W+", "_", text)[:_LONGEST]
