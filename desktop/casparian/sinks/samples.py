"""Deliveries for trying a sink: parts as workers stage them, and values, names and changes hard to keep."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import override

from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE, Column
from casparian.domain.types import arrow_type
from casparian.sinks.base import Delivery, RowsOf, TableDelivery

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


PROCESSED_AT_US = 1_646_930_030_089_354
"""2022-03-10 16:33:50.089354 UTC."""


# --- Deliveries


def columns_of(**words: str) -> tuple[Column, ...]:
    """Columns by name and type, and the lineage columns after them."""
    return (*(Column(name, word) for name, word in words.items()), *LINEAGE)


TEXT = columns_of(text="string")


def part(
    folder: Path,
    columns: Sequence[Column],
    values: Mapping[str, Any],
    *,
    job: str,
    file: str = "f1",
    start: int = 1,
) -> Path:
    """Write a staged file: values by column name, every row of one job and one file.

    Columns that are not named are left out of the file.
    """
    count = len(next(iter(values.values())))
    given = {name: (one, values[name]) for one in columns if (name := one.name) in values}
    arrays: dict[str, Any] = {
        name: array if isinstance(array, pa.Array) else pa.array(array, arrow_type(column.type))
        for name, (column, array) in given.items()
    }
    lineage: dict[str, list[Any]] = {
        "_cf_source_hash": [f"hash of {file}"] * count,
        "_cf_job_id": [job] * count,
        "_cf_processed_at": [PROCESSED_AT_US] * count,
        "_cf_parser_version": ["1.0.0"] * count,
        "_cf_row": list(range(start, start + count)),
        "_cf_file_id": [file] * count,
    }
    arrays |= {one.name: pa.array(lineage[one.name], arrow_type(one.type)) for one in LINEAGE}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir())):04}-{job}.parquet"
    # As a worker writes them: Parquet has no duration, and the Arrow schema is not kept.
    pq.write_table(pa.table(arrays), path, store_schema=False)
    return path


def table_delivery(
    name: str, columns: tuple[Column, ...], *parts: Path, gone: Iterable[tuple[str, str]] = ()
) -> TableDelivery:
    """What a job delivers to one table; `gone` is (job, file) pairs."""
    return TableDelivery(
        name,
        columns,
        parts,
        sum(pq.read_metadata(one).num_rows for one in parts),
        tuple(RowsOf(*one) for one in gone),
    )


def delivery(
    job: str,
    *tables: TableDelivery,
    attempt: int = 1,
    schema: str = "default",
) -> Delivery:
    """What a job delivers."""
    return Delivery(job, attempt, schema, tables)


class CancelsAtCheck(CancelToken):
    """A token that is cancelled when it has been asked so many times."""

    def __init__(self, checks: int) -> None:
        super().__init__("The delivery")
        self._left = checks

    @property
    @override
    def is_cancelled(self) -> bool:
        self._left -= 1
        if self._left <= 0:
            self.cancel()
        return super().is_cancelled

    @override
    def check(self) -> None:
        if self.is_cancelled:
            super().check()


# --- Values


def us(*values: int | None) -> pa.Array[Any]:
    """Numbers of 64 bits, to be cast to a time."""
    return pa.array(values, pa.int64())


YEAR_1_US = -62_135_596_800_000_000
FILETIME_ZERO_US = -11_644_473_600_000_000
END_OF_9999_US = 253_402_300_799_999_999
END_OF_30828_US = 910_702_051_199_999_999
END_OF_99999_US = 3_093_527_980_799_999_999

INSTANTS = {
    "1601": us(FILETIME_ZERO_US, FILETIME_ZERO_US + 1, None),
    "year 1": us(YEAR_1_US),
    "9999": us(END_OF_9999_US),
    "30828": us(END_OF_30828_US),
    "99999": us(END_OF_99999_US),
    "micros": us(0, -1, 1, 1_646_930_030_089_354, None),
}
DAYS: dict[str, list[Any]] = {
    "1601": [-134_774, None],
    "9999": [2_932_896],
    "30828": [10_540_532],
    "year 1": [-719_162],
}
DAY_US = 86_400_000_000


def _instants(word: str) -> dict[str, tuple[str, pa.Array[Any]]]:
    return {
        f"{word} {name}": (word, array.cast(arrow_type(word))) for name, array in INSTANTS.items()
    }


def _listed(word: str, values: list[Any]) -> tuple[str, pa.Array[Any]]:
    return word, pa.array(values, arrow_type(word))


HARD: dict[str, tuple[str, pa.Array[Any]]] = {
    "boolean": _listed("boolean", [True, False, None]),
    "int64": _listed("int64", [2**63 - 1, -(2**63), 0, -1, None]),
    "float64": _listed("float64", [0.1, -0.0, 1e308, 5e-324, 2.0**53, None]),
    "float64 not finite": _listed(
        "float64", [float("nan"), float("inf"), float("-inf"), 1.0, None]
    ),
    "decimal": _listed("decimal(10,2)", [Decimal("12345678.90"), Decimal("-0.01"), None]),
    "decimal whole": _listed("decimal(38,0)", [Decimal("9" * 38), Decimal("-" + "9" * 38), None]),
    "decimal wide": _listed(
        "decimal(38,10)", [Decimal("9" * 28 + "." + "9" * 10), Decimal("-1E-10"), None]
    ),
    "decimal fine": _listed("decimal(38,38)", [Decimal("1E-38"), Decimal("-0." + "9" * 38), None]),
    **{
        f"date {name}": ("date", pa.array(days, pa.int32()).cast(pa.date32()))
        for name, days in DAYS.items()
    },
    "time": ("time", us(0, DAY_US - 1, 1, None).cast(pa.time64("us"))),
    **_instants("timestamp"),
    **_instants("timestamp_utc"),
    "duration": (
        "duration",
        us(0, 1, -1, 40 * DAY_US + 5, -40 * DAY_US - 5, None).cast(pa.duration("us")),
    ),
    "duration long": (
        "duration",
        us(10**7 * DAY_US - 1, 1 - 10**7 * DAY_US).cast(pa.duration("us")),
    ),
    "string": _listed(
        "string",
        ["", None, "a", " ", "two\nlines\r\n\ttab", "back\\slash", "quote ' and \"", "\\N", "NULL"],
    ),
    "string unicode": _listed(
        "string", ["🦊", "e\u0301", "\u202eabc", "Grüße", "\ufeff", "\U0010ffff"]
    ),
    "string long": _listed("string", ["x" * 1_000_000, "🦊" * 100_000]),
    "string controls": _listed("string", ["\x01\x1f\x7f\x80", "\u2028\ufffe"]),
    "binary": _listed("binary", [b"", b"\0\xff", bytes(range(256)), None]),
    "json": _listed(
        "json", ['{"b": 1,\n "a" :2, "a":3}', '"\\u0000 \\ud800"', "[1.00, 1e400]", " null ", None]
    ),
    "null": _listed("null", [None, None]),
    "list of text": _listed("list<string>", [["a", None, "", "🦊", '"{},\\'], [], None]),
    "list of numbers": _listed("list<int64>", [[2**63 - 1, None], [], None]),
    "list of doubles": _listed("list<float64>", [[0.1, float("inf"), None], [], None]),
    "list of booleans": _listed("list<boolean>", [[True, None, False], None]),
    "list of decimals": _listed("list<decimal(38,10)>", [[Decimal("9" * 28), None], [], None]),
    "list of times": (
        "list<timestamp_utc>",
        pa.ListArray.from_arrays(
            [0, 2, 3], us(FILETIME_ZERO_US, None, END_OF_9999_US).cast(arrow_type("timestamp_utc"))
        ),
    ),
    "list of binary": _listed("list<binary>", [[b"\0\xff", None, b""], [], None]),
    "list of durations": (
        "list<duration>",
        pa.ListArray.from_arrays([0, 2], us(-1, 40 * DAY_US).cast(pa.duration("us"))),
    ),
    "list of lists": _listed("list<list<int64>>", [[[1, 2], [], None], [], None]),
    "struct": _listed(
        "struct<name:string,size:int64,at:timestamp_utc,raw:binary>",
        [
            {"name": "a\0b", "size": 2**63 - 1, "at": 1, "raw": b"\0\xff"},
            {"name": None, "size": None, "at": None, "raw": None},
            None,
        ],
    ),
    "list of structs": _listed(
        "list<struct<name:string,part:list<float64>>>",
        [[{"name": "x", "part": [0.1, None]}, None], [], None],
    ),
}
"""By name: a type's word, and values of it that are hard to keep."""


def same(found: pa.Array[Any], expected: pa.Array[Any]) -> bool:
    """Whether values are the same; one NaN is like the other, but -0.0 is not 0.0."""
    if found.type != expected.type:
        return False
    if pa.types.is_float64(found.type):
        return [repr(one) for one in found.to_pylist()] == [
            repr(one) for one in expected.to_pylist()
        ]
    return found.equals(expected)


# --- Changes and names


WIDENINGS: tuple[tuple[str, list[Any], str, list[Any], list[Any]], ...] = (
    ("null", [None], "int64", [1], [None, 1]),
    ("null", [None], "timestamp_utc", [1], [None, 1]),
    ("null", [None], "list<int64>", [[1]], [None, [1]]),
    ("int64", [1, None], "float64", [0.5], [1.0, None, 0.5]),
    ("date", [1, None], "timestamp", [1], [DAY_US, None, 1]),
    ("int64", [-1, None], "string", ["x"], ["-1", None, "x"]),
    ("boolean", [True, None], "string", ["x"], ["true", None, "x"]),
    ("date", [1], "string", ["x"], ["1970-01-02", "x"]),
    ("json", ['{"a": 1}'], "string", ["x"], ['{"a": 1}', "x"]),
)
"""A type and values of it, a wider type and values of that, and what the column then holds."""

COLUMN_NAMES = (
    "select", "order", "table", "user", "with blank", 'say "hi"', "it's", "a;b--c", "100%s",
    "back\\slash", "$1", ":name", "[bracket]", "{brace}", "Grüße 🦊", "tab\tname", "a.b",
    "1st", "name",
    "long_" + "x" * 200 + "_1", "long_" + "x" * 200 + "_2", "ä" * 100, "🦊" * 100,
)  # fmt: skip
NAMES_BY_CASE = ("Name", "SELECT")
"""More names of columns, for a database that tells case apart."""
TABLE_NAMES = (
    "order", 'a "b"', "it's", "drop table t;--", "Grüße 🦊", "%s", "x" * 200, "ä" * 90,
)  # fmt: skip
