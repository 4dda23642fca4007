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
_TEN_THOUSAND_YEARS_DAYS = 25 * 146_097
"""The Gregorian calendar repeats every 400 years of 146,097 days."""
_YEAR_0_DAYS = 719_528
"""From the first day of the year 0 to that of 1970."""
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
    elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        texts = _calendar(values)
    else:
        texts = pc.cast(values, pa.string())
        if pa.types.is_floating(kind) and not pc.all(pc.is_finite(values)).as_py():
            texts = pa.array(
                [one and _NOT_FINITE.get(one, one) for one in texts.to_pylist()], pa.string()
            )
    return texts


def _calendar(values: Any) -> pa.StringArray:
    """Dates and instants as text; Arrow writes wrong ones beyond the year 32767."""
    day = pa.types.is_date(values.type)
    whole = pc.cast(values, pa.int32()).cast(pa.int64()) if day else pc.cast(values, pa.int64())
    age = _TEN_THOUSAND_YEARS_DAYS if day else _TEN_THOUSAND_YEARS_DAYS * _DAY_US
    since = pc.add(whole, _YEAR_0_DAYS if day else _YEAR_0_DAYS * _DAY_US)
    ages = pc.divide(since, age)
    near = pc.subtract(whole, pc.multiply(ages, age))
    written = pc.cast(pc.cast(near.cast(pa.int32()) if day else near, values.type), pa.string())
    before = pc.if_else(pc.greater(ages, 0), ages.cast(pa.string()), "")
    texts: pa.StringArray = pc.binary_join_element_wise(before, written, "")
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
