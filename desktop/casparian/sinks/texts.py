"""Values as the text that `domain.types` reads back, for columns of a database that are text.

A column is text where the table has become so by widening, and where a database has no type of its own:
structs, and lists of lists. Those are kept as JSON whose parts are written by the same rules; what JSON
has no number for (decimals, infinities) is a string in it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

_DAY_US = 86_400_000_000
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def as_text(values: pa.Array[Any]) -> pa.StringArray:
    """Values of any type as text; null stays null."""
    kind = values.type
    if pa.types.is_nested(kind):
        written = [
            None if one is None else json.dumps(one, ensure_ascii=False) for one in _parts(values)
        ]
        texts: pa.StringArray = pa.array(written, pa.string())
    elif pa.types.is_duration(kind):
        texts = pa.array([_duration(one) for one in _whole(values)], pa.string())
    elif pa.types.is_binary(kind):
        texts = pa.array(
            [None if one is None else one.hex() for one in values.to_pylist()], pa.string()
        )
    elif pa.types.is_decimal(kind):
        texts = pa.array(
            [None if one is None else f"{one:f}" for one in values.to_pylist()], pa.string()
        )
    else:
        texts = pc.cast(values, pa.string())
        if pa.types.is_floating(kind) and not pc.all(pc.is_finite(values)).as_py():
            texts = pa.array(
                [one and _NOT_FINITE.get(one, one) for one in texts.to_pylist()], pa.string()
            )
    return texts


def _whole(values: pa.Array[Any]) -> list[int | None]:
    return values.cast(pa.int64()).to_pylist()


def _duration(micros: int | None) -> str | None:
    if micros is None:
        return None
    days, rest = divmod(abs(micros), _DAY_US)
    seconds, fraction = divmod(rest, 1_000_000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"
    return f"{'-' if micros < 0 else ''}{f'{days}.' if days else ''}{clock}"


def _parts(values: pa.Array[Any]) -> list[Any]:
    """Values as Python's, ready for JSON."""
    kind = values.type
    if pa.types.is_list(kind):
        return _lists(values)
    if isinstance(values, pa.StructArray):
        names = [kind.field(at).name for at in range(kind.num_fields)]
        columns = [_parts(one) for one in values.flatten()]
        rows = zip(*columns, strict=True) if columns else iter([()] * len(values))
        return [
            dict(zip(names, row, strict=True)) if there else None
            for row, there in zip(rows, values.is_valid().to_pylist(), strict=True)
        ]
    if pa.types.is_floating(kind):
        return [
            one if one is None or math.isfinite(one) else _NOT_FINITE[str(one)]
            for one in values.to_pylist()
        ]
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return values.to_pylist()
    return as_text(values).to_pylist()


def _lists(values: Any) -> list[Any]:
    inner = _parts(values.flatten())  # only what lists that are not null hold
    lists: list[Any] = []
    at = 0
    for length in pc.list_value_length(values).to_pylist():
        if length is None:
            lists.append(None)
        else:
            lists.append(inner[at : at + length])
            at += length
    return lists


def nulls(count: int, kind: pa.DataType) -> pa.Array[Any]:
    """So many nulls of a type."""
    made: pa.Array[Any] = pa.array([None], kind).take(pa.repeat(0, count))
    return made
