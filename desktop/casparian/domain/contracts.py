"""Contracts: the schema that rows must keep, and the split into rows that do and rows that do not.

A row lands whole on one side. A cell that is not of its column's type, or is missing where it must not
be, sends its row to quarantine as it was read; nothing is coerced, rounded or guessed. Text is read as
a type by `domain.types.read_text` and by nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute

from casparian.domain import types
from casparian.domain.errors import ParserFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

LINEAGE_COLUMNS = (
    "_cf_source_hash",
    "_cf_job_id",
    "_cf_processed_at",
    "_cf_parser_version",
    "_cf_row",
    "_cf_file_id",
)
"""Added to every accepted row by the worker; the prefix `_cf_` is reserved."""

TYPE_KEY = b"cf.type"
"""Field metadata: the word of `domain.types` that a column is of. On the columns of a parser's batch it
says that the values are known to be of that type, where the Arrow type alone cannot say so (`json`)."""

_SHOWN_CHARACTERS = 80
_TRUE = pa.scalar(True)  # noqa: FBT003  (Arrow's own). Made once: making one costs an import that fails


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an output."""

    name: str
    type: str
    """One of the words of `domain.types`."""
    nullable: bool = True
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """The columns that every row of a table must keep, in order."""

    table: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The columns as Arrow fields, each with its type word as metadata."""
        return _schema(self.columns)


LINEAGE = (
    Column(
        "_cf_source_hash", "string", nullable=False, doc="BLAKE3 of the file the row was read from"
    ),
    Column("_cf_job_id", "string", nullable=False, doc="The job that read it"),
    Column("_cf_processed_at", "timestamp_utc", nullable=False, doc="When that job ran"),
    Column("_cf_parser_version", "string", nullable=False, doc="Version of the parser"),
    Column(
        "_cf_row", "int64", nullable=False, doc="Where in its file: record ordinal or line number"
    ),
    Column("_cf_file_id", "string", nullable=False, doc="The file, as catalogued by the scan"),
)

QUARANTINE = (
    Column(
        "row_or_offset", "int64", nullable=False, doc="Record ordinal, line number or byte offset"
    ),
    Column("violation", "string", nullable=False, doc="The rule that was broken, in a word"),
    Column(
        "column_name", "string", doc="The first column that does not hold, if it is a matter of one"
    ),
    Column("expected", "string", doc="What that column should have held"),
    Column("message", "string", nullable=False, doc="What is wrong, naming every column concerned"),
    Column("raw", "string", doc="The row as it was read"),
)


@lru_cache(maxsize=256)
def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    return pa.schema(
        [
            pa.field(
                column.name,
                types.arrow_type(column.type),
                nullable=column.nullable,
                metadata={TYPE_KEY: column.type.encode()},
            )
            for column in columns
        ]
    )


def table_schema(contract: Contract) -> pa.Schema:
    """The schema of a table's files: the contract's columns, then the lineage columns."""
    return _schema((*contract.columns, *LINEAGE))


QUARANTINE_SCHEMA = _schema((*LINEAGE, *QUARANTINE))
"""The one layout of every quarantine table."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Why one row is not accepted, and the row as it was read."""

    row: int
    """Its index in the batch that was checked."""
    column: str
    """The first column that does not hold."""
    expected: str
    violation: str
    """`type` or `null`."""
    message: str
    """A sentence that names every column that does not hold."""
    raw: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch, split: accepted.num_rows + len(violations) == keep's length."""

    accepted: pa.RecordBatch
    """The rows that hold: the contract's columns and types, text possibly dictionary-encoded."""
    keep: pa.BooleanArray
    """For every row that came in, whether it holds."""
    violations: list[Violation]
    """One for every row that does not, in order."""


@dataclass(frozen=True, slots=True)
class _Cell:
    column: Column
    violation: str
    value: str


def check(rows: pa.RecordBatch, contract: Contract, raw: pa.StringArray | None = None) -> Checked:
    """Split a batch into the rows that keep the contract and the rows that break it.

    Every input row lands in exactly one side. A column that has its contract's Arrow type is taken as
    it is; a text column is read as the type; no value is changed to fit.

    Args:
        rows: the contract's columns, in any order.
        contract: what they must keep.
        raw: the text of each row as read, if there is one; else a violation keeps the row as JSON.

    Raises:
        ParserFault: the batch lacks a column, has one too many, or one of a foreign Arrow type: no row
            is to blame for that.
    """
    given_columns = dict(
        zip(rows.schema.names, zip(rows.columns, rows.schema, strict=True), strict=True)
    )
    _check_names(rows.schema.names, contract)
    arrays: list[pa.Array[Any]] = []
    bad: dict[int, list[_Cell]] = {}
    for column in contract.columns:
        given, field = given_columns[column.name]
        values, ok = _read(given, field, column)
        arrays.append(values)
        if ok is not None:
            _note(bad, pc.invert(ok), given, column, "type")
        if not column.nullable and values.null_count:
            missing = pc.is_null(values)
            _note(bad, missing if ok is None else pc.and_(missing, ok), given, column, "null")

    accepted = pa.RecordBatch.from_arrays(arrays, schema=_as_given(contract.schema, arrays))
    if not bad:
        return Checked(accepted, pa.repeat(_TRUE, rows.num_rows), [])
    mask = [True] * rows.num_rows
    for row in bad:
        mask[row] = False
    keep = pa.array(mask, pa.bool_())
    order = sorted(bad)
    texts = _raw_texts(rows, raw, order)
    violations = [_violation(row, bad[row], text) for row, text in zip(order, texts, strict=True)]
    return Checked(accepted.filter(keep), keep, violations)


def _check_names(names: Sequence[str], contract: Contract) -> None:
    wanted = contract.schema.names
    if names == wanted or (len(names) == len(wanted) and set(names) == set(wanted)):
        return
    detail = f"it gives {', '.join(names)}, the contract has {', '.join(wanted)}"
    raise ParserFault(f"The parser's columns are not those of {contract.table}", detail)


def _read(
    given: pa.Array[Any], field: pa.Field[Any], column: Column
) -> tuple[pa.Array[Any], pa.BooleanArray | None]:
    """The values as the column's type, and which are of it; None where the type says that all are."""
    arrow = _value_type(given.type)
    if arrow == types.arrow_type(column.type) and (
        column.type != "json" or (field.metadata or {}).get(TYPE_KEY) == b"json"
    ):
        return given, None
    if arrow not in (pa.string(), pa.large_string()):
        raise ParserFault(
            f"The parser gives {given.type} where the contract has {column.type}",
            f"column {column.name}",
        )
    if given.type != pa.string():
        given = given.cast(pa.string())
    values, ok = types.read_text(column.type, cast("pa.StringArray", given))
    return values, None if pc.all(ok, min_count=0).as_py() else ok


def _value_type(arrow: pa.DataType) -> pa.DataType:
    return arrow.value_type if isinstance(arrow, pa.DictionaryType) else arrow


def _as_given(schema: pa.Schema, arrays: Sequence[pa.Array[Any]]) -> pa.Schema:
    """The schema with dictionary-encoded text where the arrays have it.

    Nullability is left open: the arrays still hold the rows that are about to be taken out.
    """
    return pa.schema(
        [
            field if array.type == field.type and field.nullable else _open(field, array.type)
            for field, array in zip(schema, arrays, strict=True)
        ]
    )


def _open(field: pa.Field[Any], arrow: pa.DataType) -> pa.Field[Any]:
    return pa.field(field.name, arrow, metadata=field.metadata)


def _note(
    bad: dict[int, list[_Cell]],
    cells: pa.BooleanArray,
    given: pa.Array[Any],
    column: Column,
    violation: str,
) -> None:
    indices = pc.indices_nonzero(cells)
    if not len(indices):
        return
    texts = _texts(given.take(indices))
    for row, text in zip(indices.to_pylist(), texts, strict=True):
        bad.setdefault(row, []).append(_Cell(column, violation, text or ""))


def _texts(array: pa.Array[Any]) -> list[str | None]:
    """Values as text; a type that Arrow cannot write as text is shown by its Arrow form."""
    try:
        return array.cast(pa.string()).to_pylist()
    except pa.ArrowException:
        return [str(value) if value.is_valid else None for value in array]


def _raw_texts(rows: pa.RecordBatch, raw: pa.StringArray | None, order: list[int]) -> Iterable[str]:
    taken = pa.array(order, pa.int64())
    if raw is not None:
        return [text or "" for text in raw.take(taken).to_pylist()]
    names = rows.schema.names
    columns = [_texts(column) for column in rows.take(taken).columns]
    return [
        json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False)
        for values in zip(*columns, strict=True)
    ]


def _violation(row: int, cells: list[_Cell], raw: str) -> Violation:
    first = cells[0]
    return Violation(
        row=row,
        column=first.column.name,
        expected=first.column.type + ("" if first.column.nullable else ", not null"),
        violation=first.violation,
        message="; ".join(_sentence(cell) for cell in cells),
        raw=raw,
    )


def _sentence(cell: _Cell) -> str:
    if cell.violation == "null":
        return f"{cell.column.name} has no value but must have one"
    shown = cell.value[:_SHOWN_CHARACTERS]
    more = "…" if len(cell.value) > len(shown) else ""
    return f"{cell.column.name} is not {cell.column.type}: {shown!r}{more}"
