"""What workers staged, as the batches that a database loads: every column of the table, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from casparian.domain.errors import EnvironmentProblem, from_os_error
from casparian.domain.types import arrow_type
from casparian.sinks.texts import as_text, nulls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casparian.domain.cancel import CancelToken
    from casparian.sinks.base import TableDelivery

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

BATCH_ROWS = 65_536


def schema_of(table: TableDelivery) -> pa.Schema:
    """The table's columns as Arrow fields, of the types of `domain.types`."""
    return pa.schema(
        [pa.field(one.name, arrow_type(one.type), one.nullable) for one in table.columns]
    )


def batches(table: TableDelivery, cancel: CancelToken) -> Iterator[pa.RecordBatch]:
    """Read the parts of a delivery, at most `BATCH_ROWS` rows at a time.

    A column that a part lacks is null; one of a narrower type is cast to what the table has, never to a
    type that could lose something.

    Raises:
        EnvironmentProblem: a part is not there or not whole.
        Cancelled: somebody asked to stop.
    """
    schema = schema_of(table)
    try:
        for path in table.parts:
            with pq.ParquetFile(path) as part:
                for batch in part.iter_batches(BATCH_ROWS):
                    cancel.check()
                    yield _shaped(batch, schema)
    except OSError as error:
        raise from_os_error(error, "A staged file could not be read") from error
    except pa.ArrowException as error:
        raise EnvironmentProblem("A staged file could not be read", str(error)) from error


def _shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    present = {name: at for at, name in enumerate(batch.schema.names)}
    columns: list[pa.Array[Any]] = []
    for field in schema:
        at = present.get(field.name)
        if at is None:
            columns.append(pa.nulls(batch.num_rows, field.type))
        else:
            column = batch.column(at)
            columns.append(_cast(column, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array[Any], wanted: pa.DataType) -> pa.Array[Any]:
    if column.type == wanted:
        return column
    if column.null_count == len(column) or _is_empty(column):
        return nulls(len(column), wanted)
    text = pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type)
    if wanted == pa.string() and not text:
        return as_text(column)
    return column.cast(wanted)


def _is_empty(column: pa.Array[Any]) -> bool:
    """Whether it is text, all of it empty: so is a column that never held a value, whatever its type."""
    if not pa.types.is_string(column.type):
        return False
    return not pc.any(pc.not_equal(column, "")).as_py()
