"""One Parquet file of a run: what its rows carry, and what it says of itself.

Every file tells in its metadata (`cf.lineage`) what it holds and from where, so that a lost state store
can be rebuilt from the files alone. The Arrow schema is not stored: text may be dictionary-encoded
while it is written, and a reader should see plain text.

Row groups are encoded and compressed in a thread of their own while the parser goes on. Arrow releases
the interpreter for that; what it takes is about a tenth of an event log's time.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from casparian.domain.contracts import (
    QUARANTINE,
    QUARANTINE_SCHEMA,
    Column,
    Contract,
    Violation,
    table_schema,
)
from casparian.domain.errors import EnvironmentProblem, ParserFault, from_os_error
from casparian.domain.lineage import LINEAGE_KEY, schema_hash
from casparian.durable import sync_file
from casparian.worker.messages import ColumnSpec, FileSpec, Part, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from casparian.api import Parser, Rejected

ROW_GROUP_ROWS = 122_880
"""DuckDB's own row group: the unit in which it reads in parallel."""
ROW_GROUP_BYTES = 48 * 1024 * 1024
"""Rows with much text end their row group earlier, so that memory stays bounded."""
RAW_BYTES = 8 * 1024
"""What is kept of a rejected record; its message says how much was cut."""
MAX_NOTES = 20
"""So many of a parser's notes on a file stand in the lineage."""

_QUARANTINE_BATCH = 1_024
_PLAIN_TEXT_SHARE = 0.7
_FIRST = pa.scalar(0, pa.int32())
_ORDINAL = "_cf_row"


@dataclass(frozen=True, slots=True)
class Target:
    """A table, in one set of types, or its quarantine: what a part is made for."""

    output: str
    layout: str
    columns: tuple[Column, ...]
    suggested_table: str = field(default="", compare=False)
    quarantine: bool = False

    @property
    def beside(self) -> Target:
        """The quarantine of the table."""
        return replace(self, columns=QUARANTINE, quarantine=True)


@dataclass(slots=True)
class Count:
    """The rows of one file in one table and in its quarantine."""

    accepted: int = 0
    quarantined: int = 0


def file_facts(
    spec: FileSpec, count: Count, read: int, notes: Sequence[str] = ()
) -> dict[str, object]:
    """What a Parquet file says of a file of evidence.

    Args:
        spec: the file; where it lay may be no text, which surrogate escapes hold without loss.
        count: its rows in this table and in the quarantine beside it.
        read: its rows in all tables; where a table's are not at hand, that shows.
        notes: what the parser had to say of it.
    """
    return {
        "file_id": spec.file_id,
        "source_hash": spec.source_hash,
        "path": spec.shown,
        "source": spec.root.decode("utf-8", "surrogateescape"),
        "absolute": spec.path.decode("utf-8", "surrogateescape"),
        "size_bytes": spec.size_bytes,
        "mtime_ns": spec.mtime_ns,
        "accepted": count.accepted,
        "quarantined": count.quarantined,
        "read": read,
        "notes": list(notes),
    }


class Lineage:
    """Adds what every row of a file carries."""

    def __init__(self, run: Run, parser_version: str, spec: FileSpec) -> None:
        self._source_hash = pa.array([spec.source_hash])
        self._job_id = pa.array([run.job_id])
        self._processed_at = pa.scalar(run.processed_at_us, pa.timestamp("us", tz="UTC"))
        self._version = pa.array([parser_version])
        self._file_id = pa.array([spec.file_id])
        self._last = (pa.schema([]), pa.schema([]))
        """The schema of the last rows, without and with the lineage."""

    def columns(self, positions: pa.Int64Array) -> list[pa.Array[Any]]:
        """The lineage columns, in order."""
        count = len(positions)
        first = pa.repeat(_FIRST, count)
        return [
            pa.DictionaryArray.from_arrays(first, self._source_hash),
            pa.DictionaryArray.from_arrays(first, self._job_id),
            pa.repeat(self._processed_at, count),
            pa.DictionaryArray.from_arrays(first, self._version),
            positions,
            pa.DictionaryArray.from_arrays(first, self._file_id),
        ]

    def added(
        self, target: Target, rows: pa.RecordBatch, positions: pa.Int64Array
    ) -> pa.RecordBatch:
        """Accepted rows with their lineage behind them."""
        arrays = [*rows.columns, *self.columns(positions)]
        if rows.schema != self._last[0]:
            schema = table_schema(Contract(target.output, target.columns))
            self._last = rows.schema, _with_types(schema, arrays)
        return pa.RecordBatch.from_arrays(arrays, schema=self._last[1])


def _with_types(schema: pa.Schema, arrays: list[pa.Array[Any]]) -> pa.Schema:
    """The schema, save that text may be dictionary-encoded."""
    return pa.schema([one.with_type(array.type) for one, array in zip(schema, arrays, strict=True)])


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A row of a quarantine table, without its lineage."""

    position: int
    violation: str
    column: str | None
    expected: str | None
    message: str
    raw: str


class QuarantineRows:
    """Collects quarantine rows into batches."""

    def __init__(self) -> None:
        self._rows: list[QuarantineRow] = []

    @property
    def is_full(self) -> bool:
        """Whether it is time to take them."""
        return len(self._rows) >= _QUARANTINE_BATCH

    def add(self, row: QuarantineRow) -> None:
        """Collect one more."""
        self._rows.append(row)

    def take(self, lineage: Lineage) -> pa.RecordBatch:
        """What was collected, as rows of the quarantine table; begin anew."""
        rows, self._rows = self._rows, []
        positions = pa.array([row.position for row in rows], pa.int64())
        arrays = [
            *lineage.columns(positions),
            positions,
            _text_array([row.violation for row in rows]),
            _text_array([row.column for row in rows]),
            _text_array([row.expected for row in rows]),
            _text_array([row.message for row in rows]),
            _text_array([row.raw for row in rows]),
        ]
        schema = _with_types(QUARANTINE_SCHEMA, arrays)
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _text_array(texts: list[str | None] | list[str]) -> pa.StringArray:
    # A parser's message may quote a name with surrogate escapes, which are no Unicode text.
    return pa.array(
        [
            None if text is None else text.encode("utf-8", "backslashreplace").decode()
            for text in texts
        ],
        pa.string(),
    )


def from_violation(violation: Violation, position: int) -> QuarantineRow:
    """The quarantine row of a row that broke its contract."""
    raw, message = _kept(violation.raw.encode("utf-8", "surrogatepass"), violation.message)
    return QuarantineRow(
        position, violation.violation, violation.column, violation.expected, message, raw
    )


def from_rejected(item: Rejected) -> QuarantineRow:
    """The quarantine row of what a parser could not read as a row."""
    raw, message = _kept(item.raw, item.message)
    return QuarantineRow(item.position, item.violation, None, None, message, raw)


def _kept(raw: bytes, message: str) -> tuple[str, str]:
    """At most `RAW_BYTES` of what was read, as text, and a message that says what was cut."""
    if len(raw) <= RAW_BYTES:
        return shown_bytes(raw), message
    end = RAW_BYTES
    while end > RAW_BYTES - 4 and raw[end] & 0xC0 == 0x80:  # not amid a character of UTF-8
        end -= 1
    return shown_bytes(raw[:end]), f"{message} (the first {end:,} of {len(raw):,} bytes are kept)"


def shown_bytes(raw: bytes) -> str:
    r"""Bytes as text, without loss.

    UTF-8 stays as it is. Other bytes that are mostly text keep it, with strange bytes written `\xNN` and
    every backslash doubled; what is left is binary and becomes hexadecimal digits behind `hex:`.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    readable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in raw)
    if readable >= _PLAIN_TEXT_SHARE * len(raw):
        return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return f"hex:{raw.hex()}"


class PartWriter:
    """One Parquet file; it is opened when its first row group is full.

    Args:
        run: the run that it is a part of.
        parser: who read the rows.
        target: what it is made for.
        path: where it will be.
        background: runs the encoding; never more than one row group of a file at a time.
    """

    def __init__(
        self, run: Run, parser: Parser, target: Target, path: Path, background: Executor
    ) -> None:
        self.target = target
        self.rows = 0
        self.pending_bytes = 0
        self._run = run
        self._parser = parser
        self._path = path
        self._background = background
        self._encoding: Future[None] | None = None
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._schema: pa.Schema | None = None
        self._file: pa.OSFile | None = None
        self._writer: pq.ParquetWriter | None = None
        self._files: list[dict[str, object]] = []
        self.without_rows: list[dict[str, object]] = []
        """Files of the run that gave no rows, and so have no part of their own that could say so."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; a row group is written once there are enough."""
        if self._schema is None:
            self._schema = batch.schema
        elif batch.schema != self._schema:
            batch = _conformed(batch, self._schema)
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self.pending_bytes += batch.nbytes
        self.rows += batch.num_rows
        while self._pending_rows >= ROW_GROUP_ROWS:
            self._write_group(ROW_GROUP_ROWS)
        if self.pending_bytes >= ROW_GROUP_BYTES:
            self.flush()

    def note(self, facts: dict[str, object]) -> None:
        """Say in the metadata that the file's rows are here."""
        self._files.append(facts)

    def flush(self) -> None:
        """Write what is pending as a row group."""
        if self._pending_rows:
            self._write_group(self._pending_rows)

    def wait(self) -> None:
        """Wait until nothing is being encoded.

        Raises:
            OSError: the disk is full or fails.
            EnvironmentProblem: it could not be encoded. The part may hold rows of other files, so this is
                the end of the run and not of one file.
        """
        encoding, self._encoding = self._encoding, None
        if encoding is None:
            return
        try:
            encoding.result()
        except pa.ArrowException as error:
            raise EnvironmentProblem("A staged file could not be encoded", str(error)) from error

    def complete(self) -> Part:
        """Close the file and sync it to disk."""
        self.flush()
        self.wait()
        writer, file = self._opened()
        writer.add_key_value_metadata({LINEAGE_KEY.decode(): self._lineage()})
        writer.close()
        file.close()
        sync_file(self._path)
        target = self.target
        return Part(
            self._path.name,
            target.output,
            target.layout,
            target.suggested_table,
            target.quarantine,
            [ColumnSpec(one.name, one.type, one.nullable) for one in target.columns],
            self.rows,
        )

    def delete(self) -> None:
        """Close and remove the file, if there is one, whatever became of it."""
        self._pending.clear()
        with suppress(OSError, EnvironmentProblem):
            self.wait()
        with suppress(OSError, pa.ArrowException):
            if self._writer is not None:
                self._writer.close()  # else it would try to once it is forgotten
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._path.unlink(missing_ok=True)

    def _write_group(self, rows: int) -> None:
        table = pa.Table.from_batches(self._pending)
        # One dictionary a column chunk: a change of dictionary would end the encoding.
        group, rest = table.slice(0, rows).unify_dictionaries(), table.slice(rows)
        self._pending = rest.to_batches()
        self._pending_rows = rest.num_rows
        self.pending_bytes = rest.nbytes
        self.wait()
        writer, _ = self._opened()
        self._encoding = self._background.submit(writer.write_table, group, row_group_size=rows)

    def _opened(self) -> tuple[pq.ParquetWriter, pa.OSFile]:
        if self._writer is None or self._file is None:
            if self._schema is None:
                raise AssertionError("a part is made for rows")
            # Not a file of Python's: each write to one would wait for the interpreter.
            self._file = pa.OSFile(cast("str", os.fsencode(self._path)), "wb")
            self._writer = pq.ParquetWriter(
                self._file,
                self._schema.remove_metadata(),
                compression="zstd",
                compression_level=1,
                store_schema=False,
                **self._encodings(self._schema.names),
            )
        return self._writer, self._file

    def _encodings(self, names: list[str]) -> dict[str, Any]:
        """A dictionary for what may repeat; of JSON texts not even the smallest and largest are of use."""
        texts = {one.name for one in self.target.columns if one.type == "json"}
        others = [name for name in names if name not in texts]
        return {
            "use_dictionary": [name for name in others if name != _ORDINAL],
            "column_encoding": {_ORDINAL: "DELTA_BINARY_PACKED"},
            "write_statistics": others,
        }

    def _lineage(self) -> str:
        run, parser, target = self._run, self._parser, self.target
        return json.dumps(
            {
                "version": 1,
                "job_id": run.job_id,
                "parser": parser.name,
                "parser_version": parser.version,
                "artifact_hash": run.artifact_hash,
                "output": target.output,
                "layout": target.layout,
                "suggested_table": target.suggested_table,
                "quarantine": target.quarantine,
                "columns": [[one.name, one.type, one.nullable] for one in target.columns],
                "schema_hash": schema_hash(target.columns),
                "processed_at_us": run.processed_at_us,
                "rows": self.rows,
                "files": self._files,
                "without_rows": self.without_rows,
            }
        )


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with its text encoded as that of the batches before it."""
    arrays = [
        array if array.type == one.type else array.cast(one.type)
        for array, one in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@contextmanager
def edge(what: str) -> Iterator[None]:
    """Turn the errors of the disk and of Arrow into ours."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, what) from error
    except pa.ArrowException as error:
        raise ParserFault(what, str(error)) from error
