"""Which files share a table, where the keys of records are optional.

Two CloudTrail logs never have quite the same keys, and yet they are one table. A file joins the table
that knows most of its keys, if one of the two is nearly contained in the other; two logs that only share
the keys of a common frame (`ts`, `uid`, ...) stay apart. The table gains what the file has in addition,
and reads as null what a file lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIN_SHARED = 5
"""Fewer common keys than this say nothing."""
MIN_CONTAINED = 0.75
"""The share of the smaller set of keys that the larger one must have."""


def kin(columns: Sequence[str], known: Mapping[str, Sequence[str]]) -> str | None:
    """The key of the known layout that these columns join, or None if they are a layout of their own.

    Args:
        columns: those of the file.
        known: layout key -> columns.
    """
    ours = set(columns)
    best: tuple[int, str] | None = None
    for key, theirs in known.items():
        shared = len(ours.intersection(theirs))
        if shared < MIN_SHARED or shared < MIN_CONTAINED * min(len(ours), len(theirs)):
            continue
        # SQL does not tell columns apart by case.
        union = ours.union(theirs)
        if len({name.casefold() for name in union}) < len(union):
            continue
        if best is None or (-shared, key) < (-best[0], best[1]):
            best = shared, key
    return best[1] if best else None
