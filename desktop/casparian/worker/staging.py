"""What a parser yields becomes staged Parquet: checked, with lineage, and nothing of a file that failed.

The rows of a file are held back until the file is done, so that a failed one contributes nothing. Small
files are held in memory and then share a part with the other files of the run; a file that grows beyond
`HELD_BYTES`, and the only file of a run, streams into parts of its own, which are deleted if it fails.

The tables of an output that follows the layout of its files learn their types only when a file ends.
Its text is spilled to disk until then, and read as those types batch by batch.

Every Parquet file tells in its metadata (`cf.lineage`) what it holds and from where, so that a lost
state store can be rebuilt from the files alone. The Arrow schema is not stored: the lineage columns are
dictionary-encoded while they are written, and a reader should see plain text.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, cast

import pyarrow as pa
import pyarrow.parquet as pq

from casparian.api import Batch, Layout, Output, Parser, Rejected
from casparian.domain import inference
from casparian.domain.contracts import (
    QUARANTINE,
    QUARANTINE_SCHEMA,
    Column,
    Contract,
    Violation,
    check,
    table_schema,
)
from casparian.domain.errors import ParserFault, from_os_error
from casparian.domain.lineage import layout_key, schema_hash
from casparian.worker.messages import ColumnSpec, FileDone, FileSpec, Part, Run, TableCount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO
    from pathlib import Path
    from types import TracebackType

HELD_BYTES = 64 * 1024 * 1024
"""Arrow bytes of one file that are held in memory before it streams into parts of its own."""
PENDING_BYTES = 96 * 1024 * 1024
"""Arrow bytes that all the shared parts together keep for their next row groups."""
ROW_GROUP_ROWS = 122_880
"""DuckDB's own row group: the unit in which it reads in parallel."""
ROW_GROUP_BYTES = 48 * 1024 * 1024
"""Rows with much text end their row group earlier, so that memory stays bounded."""
RAW_BYTES = 8 * 1024
"""What is kept of a rejected record; its message says how much was cut."""
LINEAGE_KEY = "cf.lineage"

_QUARANTINE_BATCH = 1_024
_POSITION, _RAW = "_cf_position", "_cf_raw"
_PLAIN_TEXT_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class _Target:
    """A table, in one set of types, or its quarantine: what a part is made for."""

    output: str
    layout: str
    columns: tuple[Column, ...]
    suggested_table: str = field(default="", compare=False)
    quarantine: bool = False

    @property
    def beside(self) -> _Target:
        """The quarantine of the table."""
        return replace(self, columns=QUARANTINE, quarantine=True)


class Staging:
    """The staged output of one run: a parser over a batch of files."""

    def __init__(self, run: Run, parser: Parser, folder: Path) -> None:
        self.run = run
        self.parser = parser
        self.folder = folder
        self.outputs: dict[str, Output] = {output.name: output for output in parser.outputs}
        self.contracts = {
            name: Contract(name, _columns(specs)) for name, specs in run.contracts.items()
        }
        self.layouts = {key: _columns(specs) for key, specs in run.layouts.items()}
        """The types of each layout so far; they only ever widen."""
        self._shared: dict[_Target, _Writer] = {}
        self._finished: list[_Writer] = []
        self._made = 0

    def file(self, spec: FileSpec) -> FileStaging:
        """Begin a file; end it with `done` or `discard`."""
        return FileStaging(self, spec)

    def path(self, name: str) -> Path:
        """A new path in the staging folder."""
        self._made += 1
        return self.folder / f"{self._made:04d}-{name}"

    def writer(self, target: _Target) -> _Writer:
        """A new part for a table."""
        kind = "quarantine" if target.quarantine else "rows"
        return _Writer(self, target, self.path(f"{target.output}-{kind}.parquet"))

    def shared(self, target: _Target) -> _Writer:
        """The part that the small files of the run share."""
        if target not in self._shared:
            self._shared[target] = self.writer(target)
        return self._shared[target]

    def share(self, target: _Target, batch: pa.RecordBatch) -> None:
        """Write rows into the part that the small files of the run share."""
        self.shared(target).write(batch)
        while sum(one.pending_bytes for one in self._shared.values()) > PENDING_BYTES:
            max(self._shared.values(), key=lambda one: one.pending_bytes).flush()

    def keep(self, writer: _Writer) -> None:
        """Take over the part of a file that is done."""
        self._finished.append(writer)

    def finish(self) -> list[Part]:
        """Complete the parts and sync them to disk.

        Raises:
            EnvironmentProblem: the disk is full or fails.
        """
        with _edge("The staged output could not be completed"):
            parts = [one.complete() for one in (*self._finished, *self._shared.values())]
            _sync_folder(self.folder)
        return parts


@dataclass(slots=True)
class _Count:
    accepted: int = 0
    quarantined: int = 0


class FileStaging:
    """The rows of one file, held back until it is done."""

    def __init__(self, staging: Staging, spec: FileSpec) -> None:
        self._staging = staging
        self._spec = spec
        self._lineage = _Lineage(staging.run, staging.parser.version, spec)
        self._read = 0
        self._counts: dict[_Target, _Count] = {}
        self._held: list[tuple[_Target, pa.RecordBatch]] = []
        self._held_bytes = 0
        self._own: dict[_Target, _Writer] | None = {} if len(staging.run.files) == 1 else None
        self._rejected: dict[_Target, _QuarantineRows] = {}
        self._following: dict[str, _Following] = {}
        self._widened: dict[str, tuple[Column, ...]] = {}
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._ended:
            self.discard()

    def add(self, item: Batch | Rejected) -> None:
        """Take what the parser yields.

        Raises:
            ParserFault: it is not what the parser's outputs promise.
            EnvironmentProblem: the disk is full or fails.
        """
        output = self._staging.outputs.get(item.output)
        if output is None:
            raise ParserFault(f"The parser wrote to an output that it does not have: {item.output}")
        self._read += 1 if isinstance(item, Rejected) else item.rows.num_rows
        with _edge("The staged output could not be written"):
            if output.follows_layout:
                self._follow(item)
            elif isinstance(item, Rejected):
                self._quarantine(self._fixed(item.output), _from_rejected(item))
            else:
                self._check(self._fixed(item.output), item.rows, item.positions, item.raw)

    def done(self) -> FileDone:
        """End the file: its rows count from now on.

        Raises:
            ParserFault: rows came without a layout.
            EnvironmentProblem: the disk is full or fails.
        """
        with _edge("The staged output could not be written"):
            for output, following in self._following.items():
                self._settle(output, following)
            for target, rows in self._rejected.items():
                self._put(target, rows.take(self._lineage))
            self._hand_over()
        for output in self._staging.contracts:
            self._count(self._fixed(output))
        self._staging.layouts.update(self._widened)
        self._end()
        tables = [
            TableCount(target.output, target.layout, count.accepted, count.quarantined)
            for target, count in self._counts.items()
        ]
        return FileDone(self._spec.file_id, self._read, tables)

    def discard(self) -> None:
        """End the file: nothing of it remains."""
        for writer in (self._own or {}).values():
            writer.delete()
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._held.clear()
        self._rejected.clear()
        for following in self._following.values():
            following.spill.delete()
        self._following.clear()
        self._own = None

    def _hand_over(self) -> None:
        """Give the file's rows to the run."""
        if self._own is None:
            for target, batch in self._held:
                self._staging.share(target, batch)
            writers = {self._staging.shared(target) for target, _ in self._held}
        else:
            writers = set(self._own.values())
            for writer in self._own.values():
                self._staging.keep(writer)
        for writer in writers:
            writer.note(self._spec, self._count(writer.target))

    def _fixed(self, output: str) -> _Target:
        return _Target(output, "", self._staging.contracts[output].columns)

    def _count(self, target: _Target) -> _Count:
        return self._counts.setdefault(replace(target, columns=(), quarantine=False), _Count())

    def _check(
        self,
        target: _Target,
        rows: pa.RecordBatch,
        positions: pa.Int64Array,
        raw: pa.StringArray | None,
    ) -> None:
        checked = check(rows, Contract(target.output, target.columns), raw)
        self._count(target).accepted += checked.accepted.num_rows
        if checked.violations:
            taken = pa.array([one.row for one in checked.violations], pa.int64())
            places = cast("list[int]", positions.take(taken).to_pylist())
            for violation, place in zip(checked.violations, places, strict=True):
                self._quarantine(target, _from_violation(violation, place))
            positions = positions.filter(checked.keep)
        self._put(target, self._lineage.added(target, checked.accepted, positions))

    def _quarantine(self, target: _Target, row: _QuarantineRow) -> None:
        self._count(target).quarantined += 1
        rows = self._rejected.setdefault(target.beside, _QuarantineRows())
        rows.add(row)
        if rows.is_full:
            self._put(target.beside, rows.take(self._lineage))

    def _put(self, target: _Target, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        if self._own is not None:
            self._stream(self._own, target, batch)
            return
        self._held.append((target, batch))
        self._held_bytes += batch.nbytes
        if self._held_bytes > HELD_BYTES:
            held, self._held, self._own = self._held, [], {}
            for held_target, held_batch in held:
                self._stream(self._own, held_target, held_batch)

    def _stream(self, own: dict[_Target, _Writer], target: _Target, batch: pa.RecordBatch) -> None:
        if target not in own:
            own[target] = self._staging.writer(target)
        own[target].write(batch)

    def _follow(self, item: Batch | Rejected) -> None:
        following = self._following.get(item.output)
        if following is None:
            spill = _Spill(self._staging.path("text.arrows"))
            following = self._following[item.output] = _Following(spill)
        if isinstance(item, Batch):
            following.see(item)
            return
        following.rejected.add(_from_rejected(item))
        if following.rejected.is_full:
            following.spill.write(following.rejected.take(self._lineage))

    def _settle(self, output: str, following: _Following) -> None:
        """Read the text of a file as the types that its columns turned out to be of."""
        layout = following.layout
        if layout is None:
            target = _Target(output, "", (), output)
        else:
            key = layout_key(self._staging.parser.name, layout.columns)
            columns = following.columns(layout, self._staging.layouts.get(key, ()))
            self._widened[key] = columns
            target = _Target(output, key, columns, layout.suggested_table)
        count = self._count(target)
        following.spill.write(following.rejected.take(self._lineage))
        for batch in following.spill.batches():
            if _POSITION not in batch.schema.names:
                count.quarantined += batch.num_rows
                self._put(target.beside, batch)
            elif layout is None:
                raise ParserFault("The parser gave rows without saying what their columns are")
            else:
                self._check(target, *_unspilled(batch, layout))


class _Lineage:
    """Adds what every row of a file carries."""

    def __init__(self, run: Run, parser_version: str, spec: FileSpec) -> None:
        self._source_hash = pa.array([spec.source_hash])
        self._job_id = pa.array([run.job_id])
        self._processed_at = pa.scalar(run.processed_at_us, pa.timestamp("us", tz="UTC"))
        self._version = pa.array([parser_version])
        self._file_id = pa.array([spec.file_id])

    def columns(self, positions: pa.Int64Array) -> list[pa.Array[Any]]:
        """The lineage columns, in order."""
        count = len(positions)
        first = pa.repeat(pa.scalar(0, pa.int32()), count)
        return [
            pa.DictionaryArray.from_arrays(first, self._source_hash),
            pa.DictionaryArray.from_arrays(first, self._job_id),
            pa.repeat(self._processed_at, count),
            pa.DictionaryArray.from_arrays(first, self._version),
            positions,
            pa.DictionaryArray.from_arrays(first, self._file_id),
        ]

    def added(
        self, target: _Target, rows: pa.RecordBatch, positions: pa.Int64Array
    ) -> pa.RecordBatch:
        """Accepted rows with their lineage behind them."""
        schema = table_schema(Contract(target.output, target.columns))
        return _batch([*rows.columns, *self.columns(positions)], schema)


def _batch(arrays: list[pa.Array[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """A batch of that schema, save that text may be dictionary-encoded."""
    fields = [one.with_type(array.type) for one, array in zip(schema, arrays, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


@dataclass(frozen=True, slots=True)
class _QuarantineRow:
    position: int
    violation: str
    column: str | None
    expected: str | None
    message: str
    raw: str


class _QuarantineRows:
    """Collects quarantine rows into batches."""

    def __init__(self) -> None:
        self._rows: list[_QuarantineRow] = []

    @property
    def is_full(self) -> bool:
        return len(self._rows) >= _QUARANTINE_BATCH

    def add(self, row: _QuarantineRow) -> None:
        self._rows.append(row)

    def take(self, lineage: _Lineage) -> pa.RecordBatch:
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
        return _batch(arrays, QUARANTINE_SCHEMA)


def _text_array(texts: list[str | None] | list[str]) -> pa.StringArray:
    # A parser's message may quote a name with surrogate escapes, which are no Unicode text.
    return pa.array(
        [
            None if text is None else text.encode("utf-8", "backslashreplace").decode()
            for text in texts
        ],
        pa.string(),
    )


def _from_violation(violation: Violation, position: int) -> _QuarantineRow:
    raw, message = _kept(violation.raw.encode("utf-8", "surrogatepass"), violation.message)
    return _QuarantineRow(
        position, violation.violation, violation.column, violation.expected, message, raw
    )


def _from_rejected(item: Rejected) -> _QuarantineRow:
    raw, message = _kept(item.raw, item.message)
    return _QuarantineRow(item.position, item.violation, None, None, message, raw)


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


@dataclass(slots=True)
class _Following:
    """A file's text for an output that follows the layout, until its types are known."""

    spill: _Spill
    layout: Layout | None = None
    rejected: _QuarantineRows = field(default_factory=_QuarantineRows)
    _found: dict[str, inference.Elimination] = field(default_factory=dict)

    def see(self, batch: Batch) -> None:
        """Take rows of text, and narrow down what their columns may be."""
        self.layout = batch.layout or self.layout
        for one, texts in zip(batch.rows.schema, batch.rows.columns, strict=True):
            words = (one.metadata or {}).get(b"cf.types", b"string").decode().split(",")
            self._found.setdefault(one.name, inference.Elimination()).see(
                cast("pa.StringArray", texts), words
            )
        rows = batch.rows.append_column(_POSITION, batch.positions)
        if batch.raw is not None:
            rows = rows.append_column(_RAW, batch.raw)
        self.spill.write(rows)

    def columns(self, layout: Layout, floors: Sequence[Column]) -> tuple[Column, ...]:
        """The columns with the types that hold for this file and for all that came before."""
        floor = {column.name: column.type for column in floors}
        nothing = inference.Elimination()
        return tuple(
            Column(name, self._found.get(name, nothing).type(floor.get(name, "")))
            for name in layout.columns
        )


def _unspilled(
    batch: pa.RecordBatch, layout: Layout
) -> tuple[pa.RecordBatch, pa.Int64Array, pa.StringArray | None]:
    """The rows, positions and raw texts of a spilled batch; a column that came later is null."""
    given = dict(zip(batch.schema.names, batch.columns, strict=True))
    positions, raw = given.pop(_POSITION), given.pop(_RAW, None)
    if unknown := given.keys() - set(layout.columns):
        raise ParserFault("The parser gave columns that its layout lacks", ", ".join(unknown))
    nothing = pa.nulls(batch.num_rows, pa.string())
    arrays = [given.get(name, nothing) for name in layout.columns]
    rows = pa.RecordBatch.from_arrays(arrays, names=list(layout.columns))
    return rows, cast("pa.Int64Array", positions), cast("pa.StringArray | None", raw)


class _Spill:
    """Batches of whatever schemas, on disk until they are read back once: Arrow streams in a row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO = path.open("w+b", buffering=0)
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        if self._stream is None or batch.schema != self._schema:
            self._close_stream()
            self._schema = batch.schema
            self._stream = pa.ipc.new_stream(self._file, batch.schema)
        self._stream.write_batch(batch)

    def batches(self) -> Iterator[pa.RecordBatch]:
        self._close_stream()
        end = self._file.tell()
        self._file.seek(0)
        while self._file.tell() < end:
            yield from pa.ipc.open_stream(self._file)

    def delete(self) -> None:
        self._close_stream()
        self._file.close()
        self._path.unlink()

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Writer:
    """One Parquet file; it is opened when its first row group is full."""

    def __init__(self, staging: Staging, target: _Target, path: Path) -> None:
        self.target = target
        self.rows = 0
        self.pending_bytes = 0
        self._staging = staging
        self._path = path
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._schema: pa.Schema | None = None
        self._file: FileIO | None = None
        self._writer: pq.ParquetWriter | None = None
        self._files: list[dict[str, object]] = []

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

    def note(self, spec: FileSpec, count: _Count) -> None:
        """Say in the metadata that the file's rows are here."""
        self._files.append(
            {
                "file_id": spec.file_id,
                "source_hash": spec.source_hash,
                "path": spec.shown,
                "size_bytes": spec.size_bytes,
                "accepted": count.accepted,
                "quarantined": count.quarantined,
            }
        )

    def flush(self) -> None:
        """Write what is pending as a row group."""
        if self._pending_rows:
            self._write_group(self._pending_rows)

    def complete(self) -> Part:
        """Close the file and sync it to disk."""
        self.flush()
        writer, file = self._opened()
        writer.add_key_value_metadata({LINEAGE_KEY: self._lineage()})
        writer.close()
        os.fsync(file.fileno())
        file.close()
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
        """Close and remove the file, if there is one."""
        self._pending.clear()
        if self._file is not None:
            self._file.close()
            self._path.unlink()

    def _write_group(self, rows: int) -> None:
        table = pa.Table.from_batches(self._pending)
        group, rest = table.slice(0, rows), table.slice(rows)
        # One dictionary a column chunk: a change of dictionary would end the encoding.
        self._opened()[0].write_table(group.unify_dictionaries(), row_group_size=rows)
        self._pending = rest.to_batches()
        self._pending_rows = rest.num_rows
        self.pending_bytes = rest.nbytes

    def _opened(self) -> tuple[pq.ParquetWriter, FileIO]:
        if self._writer is None or self._file is None:
            if self._schema is None:
                raise AssertionError("a part is made for rows")
            self._file = self._path.open("xb", buffering=0)
            self._writer = pq.ParquetWriter(
                self._file,
                self._schema.remove_metadata(),
                compression="zstd",
                compression_level=1,
                use_dictionary=cast("bool", _with_dictionary(self._schema, self.target.columns)),
                store_schema=False,
            )
        return self._writer, self._file

    def _lineage(self) -> str:
        run, parser, target = self._staging.run, self._staging.parser, self.target
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
            }
        )


def _with_dictionary(schema: pa.Schema, columns: tuple[Column, ...]) -> list[str]:
    """The columns worth a dictionary: JSON texts hardly ever repeat."""
    texts = {one.name for one in columns if one.type == "json"}
    return [name for name in schema.names if name not in texts]


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with its text encoded as that of the batches before it."""
    arrays = [
        array if array.type == one.type else array.cast(one.type)
        for array, one in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _columns(specs: Sequence[ColumnSpec]) -> tuple[Column, ...]:
    return tuple(Column(one.name, one.type, one.nullable) for one in specs)


@contextmanager
def _edge(what: str) -> Iterator[None]:
    """Turn the errors of the disk and of Arrow into ours."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, what) from error
    except pa.ArrowException as error:
        raise ParserFault(what, str(error)) from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals its entries
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
