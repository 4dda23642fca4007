"""What a parser yields becomes staged Parquet: checked, with lineage, and nothing of a file that failed.

The rows of a file are held back until the file is done, so that a failed one contributes nothing. Small
files are held in memory and then share a part with the other files of the run; a file that grows beyond
`HELD_BYTES`, and the only file of a run, streams into parts of its own, which are deleted if it fails.

The tables of an output that follows the layout of its files learn their types only when a file ends.
Its text is spilled to disk until then, and read as those types batch by batch.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self, cast

import pyarrow as pa

from casparian.api import Batch, Layout, Output, Parser, Rejected
from casparian.domain import inference
from casparian.domain.contracts import Column, Contract, check
from casparian.domain.errors import ParserFault
from casparian.domain.layouts import kin
from casparian.domain.lineage import layout_key
from casparian.durable import sync_folder
from casparian.worker.messages import ColumnSpec, FileDone, FileSpec, Part, Run, TableCount
from casparian.worker.parts import (
    Count,
    Lineage,
    PartWriter,
    QuarantineRow,
    QuarantineRows,
    Target,
    edge,
    file_facts,
    from_rejected,
    from_violation,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO
    from pathlib import Path
    from types import TracebackType

HELD_BYTES = 64 * 1024 * 1024
"""Arrow bytes of one file that are held in memory before it streams into parts of its own."""
PENDING_BYTES = 96 * 1024 * 1024
"""Arrow bytes that all the shared parts together keep for their next row groups."""

_POSITION, _RAW = "_cf_position", "_cf_raw"


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
        self._shared: dict[Target, PartWriter] = {}
        self._finished: list[PartWriter] = []
        self._without_rows: list[dict[str, object]] = []
        self._made = 0
        self._background = ThreadPoolExecutor(1, "encoding")

    def layout_key(self, layout: Layout) -> str:
        """Which table's layout a file's is: its own, or the one that it joins."""
        key = layout_key(self.parser.name, layout.columns)
        if not layout.optional or key in self.layouts:
            return key
        known = {one: [column.name for column in columns] for one, columns in self.layouts.items()}
        return kin(layout.columns, known) or key

    def file(self, spec: FileSpec) -> FileStaging:
        """Begin a file; end it with `done` or `discard`."""
        return FileStaging(self, spec)

    def path(self, name: str) -> Path:
        """A new path in the staging folder."""
        self._made += 1
        return self.folder / f"{self._made:04d}-{name}"

    def writer(self, target: Target) -> PartWriter:
        """A new part for a table."""
        kind = "quarantine" if target.quarantine else "rows"
        path = self.path(f"{target.output}-{kind}.parquet")
        return PartWriter(self.run, self.parser, target, path, self._background)

    def shared(self, target: Target) -> PartWriter:
        """The part that the small files of the run share."""
        if target not in self._shared:
            self._shared[target] = self.writer(target)
        return self._shared[target]

    def share(self, target: Target, batch: pa.RecordBatch) -> None:
        """Write rows into the part that the small files of the run share."""
        self.shared(target).write(batch)
        while sum(one.pending_bytes for one in self._shared.values()) > PENDING_BYTES:
            max(self._shared.values(), key=lambda one: one.pending_bytes).flush()

    def keep(self, writer: PartWriter) -> None:
        """Take over the part of a file that is done."""
        self._finished.append(writer)

    def mention(self, facts: dict[str, object]) -> None:
        """Have a part say of a file that it gave no rows."""
        self._without_rows.append(facts)

    def finish(self) -> list[Part]:
        """Complete the parts and sync them to disk.

        Raises:
            EnvironmentProblem: the disk is full or fails.
        """
        writers = [*self._finished, *self._shared.values()]
        if writers:
            writers[0].without_rows = self._without_rows
        with edge("The staged output could not be completed"):
            parts = [one.complete() for one in writers]
            sync_folder(self.folder)
        self._background.shutdown()
        return parts


class FileStaging:
    """The rows of one file, held back until it is done."""

    def __init__(self, staging: Staging, spec: FileSpec) -> None:
        self._staging = staging
        self._spec = spec
        self._lineage = Lineage(staging.run, staging.parser.version, spec)
        self._read = 0
        self._counts: dict[Target, Count] = {}
        self._held: list[tuple[Target, pa.RecordBatch]] = []
        self._held_bytes = 0
        self._own: dict[Target, PartWriter] | None = {} if len(staging.run.files) == 1 else None
        self._rejected: dict[Target, QuarantineRows] = {}
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
        with edge("The staged output could not be written"):
            if output.follows_layout:
                self._follow(item)
            elif isinstance(item, Rejected):
                self._quarantine(self._fixed(item.output), from_rejected(item))
            else:
                self._check(self._fixed(item.output), item.rows, item.positions, item.raw)

    def done(self, notes: Sequence[str] = ()) -> FileDone:
        """End the file: its rows count from now on. `notes` is what the parser had to say of it.

        Raises:
            ParserFault: rows came without a layout.
            EnvironmentProblem: the disk is full or fails.
        """
        with edge("The staged output could not be written"):
            for output, following in self._following.items():
                self._settle(output, following)
            for target, rows in self._rejected.items():
                self._put(target, rows.take(self._lineage))
            self._hand_over(notes)
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

    def _hand_over(self, notes: Sequence[str]) -> None:
        """Give the file's rows to the run."""
        if self._own is None:
            for target, batch in self._held:
                self._staging.share(target, batch)
            writers = {self._staging.shared(target) for target, _ in self._held}
        else:
            writers = set(self._own.values())
            for writer in self._own.values():
                writer.wait()
                self._staging.keep(writer)
        for writer in writers:
            writer.note(file_facts(self._spec, self._count(writer.target), self._read, notes))
        if not writers:
            self._staging.mention(file_facts(self._spec, Count(), self._read, notes))

    def _fixed(self, output: str) -> Target:
        return Target(output, "", self._staging.contracts[output].columns)

    def _count(self, target: Target) -> Count:
        return self._counts.setdefault(replace(target, columns=(), quarantine=False), Count())

    def _check(
        self,
        target: Target,
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
                self._quarantine(target, from_violation(violation, place))
            positions = positions.filter(checked.keep)
        self._put(target, self._lineage.added(target, checked.accepted, positions))

    def _quarantine(self, target: Target, row: QuarantineRow) -> None:
        self._count(target).quarantined += 1
        rows = self._rejected.setdefault(target.beside, QuarantineRows())
        rows.add(row)
        if rows.is_full:
            self._put(target.beside, rows.take(self._lineage))

    def _put(self, target: Target, batch: pa.RecordBatch) -> None:
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

    def _stream(self, own: dict[Target, PartWriter], target: Target, batch: pa.RecordBatch) -> None:
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
        following.rejected.add(from_rejected(item))
        if following.rejected.is_full:
            following.spill.write(following.rejected.take(self._lineage))

    def _settle(self, output: str, following: _Following) -> None:
        """Read the text of a file as the types that its columns turned out to be of."""
        layout = following.layout
        if layout is None:
            columns: tuple[Column, ...] = ()
            target = Target(output, "", columns, output)
        else:
            key = self._staging.layout_key(layout)
            columns = following.columns(layout, self._staging.layouts.get(key, ()))
            self._widened[key] = columns
            target = Target(output, key, columns, layout.suggested_table)
        count = self._count(target)
        following.spill.write(following.rejected.take(self._lineage))
        for batch in following.spill.batches():
            if _POSITION not in batch.schema.names:
                count.quarantined += batch.num_rows
                self._put(target.beside, batch)
            elif layout is None:
                raise ParserFault("The parser gave rows without saying what their columns are")
            else:
                self._check(target, *_unspilled(batch, columns))


@dataclass(slots=True)
class _Following:
    """A file's text for an output that follows the layout, until its types are known."""

    spill: _Spill
    layout: Layout | None = None
    rejected: QuarantineRows = field(default_factory=QuarantineRows)
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
            for name in dict.fromkeys((*floor, *layout.columns))
        )


def _unspilled(
    batch: pa.RecordBatch, columns: Sequence[Column]
) -> tuple[pa.RecordBatch, pa.Int64Array, pa.StringArray | None]:
    """The rows, positions and raw texts of a spilled batch; a column that came later is null."""
    given = dict(zip(batch.schema.names, batch.columns, strict=True))
    positions, raw = given.pop(_POSITION), given.pop(_RAW, None)
    names = [one.name for one in columns]
    if unknown := given.keys() - set(names):
        raise ParserFault("The parser gave columns that its layout lacks", ", ".join(unknown))
    nothing = pa.nulls(batch.num_rows, pa.string())
    arrays = [given.get(name, nothing) for name in names]
    rows = pa.RecordBatch.from_arrays(arrays, names=names)
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


def _columns(specs: Sequence[ColumnSpec]) -> tuple[Column, ...]:
    return tuple(Column(one.name, one.type, one.nullable) for one in specs)
