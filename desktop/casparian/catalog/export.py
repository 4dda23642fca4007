"""Writes whole results to files, and says beside each what it is and where it came from.

An export is everything that a table, a view of it or a query gives, never only what is on screen. It is
written aside in the folder of its target, forced to disk and renamed, so that a file of that name is
whole; a cancelled or failed export leaves nothing. The same rows give the same bytes, whoever exports
them, whenever.

Beside `NAME` stands `NAME.manifest.json`: the query, rows, columns, sources with both hashes, parsers,
what was changed on the way, and the SHA-256 of the file. Nothing is altered without being counted there.

What the formats hold:

    csv      UTF-8, RFC 4180 with LF. NULL is nothing, empty text is `""`. Spreadsheet-safe unless asked
             otherwise: text that a spreadsheet would run as a formula gets a leading apostrophe.
    jsonl    One object a line; json: the same objects in one array. Text that is JSON is put in as JSON,
             binaries as hexadecimal, NaN and infinities as text.
    parquet  zstd; the types as they are, the type words in the fields' metadata.
    xlsx     Numbers as numbers, everything else as text, times too: a spreadsheet's own have neither
             zone nor microseconds nor years before 1900. 1,048,575 rows a sheet, then another sheet.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import time
import zipfile
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from typing_extensions import override

from casparian.catalog import cells
from casparian.catalog.selection import shaped
from casparian.domain.errors import EnvironmentProblem, UserProblem, from_os_error
from casparian.domain.ids import new_id
from casparian.domain.jobs import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from casparian.catalog.reader import Reader
    from casparian.catalog.rows import Rows
    from casparian.domain.cancel import CancelToken
    from casparian.domain.results import ColumnInfo, ViewSpec

# The stubs know only some of the overloads.
pc: Any = pyarrow.compute

FORMATS = ("csv", "jsonl", "json", "parquet", "xlsx")
MANIFEST_SUFFIX = ".manifest.json"
SHEET_ROWS = 1_048_575
"""Rows of a sheet below its header: a sheet ends with row 1,048,576."""

_SHEET_COLUMNS = 16_384
_ROW_GROUP_ROWS = 122_880
_ROW_GROUP_BYTES = 256 << 20
_STREAM_ROWS = 8_192
_PROGRESS_EVERY_S = 0.1
_HASH = "_cf_source_hash"
_VERSION = "_cf_parser_version"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest a ZIP file can hold: the same for all, so that the same rows give the same bytes."""


@dataclass(frozen=True, slots=True)
class SourceFact:
    """A file of evidence that rows were read from."""

    path: str
    source_hash: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ManifestFacts:
    """What the manifest says and an export cannot know by itself."""

    workspace: str
    program_version: str
    sources_of: Callable[[Sequence[str] | None], Sequence[SourceFact]]
    """The files with these source hashes; with None, all of the workspace."""
    exported_at: datetime | None = None
    """The instant to tell; None for the end of the export."""


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that is done."""

    path: Path
    rows: int
    size_bytes: int
    sha256: str
    manifest_path: Path
    changed: dict[str, int] = field(default_factory=dict)
    """What was altered on the way: `neutralised_cells` (CSV), `cut_cells` (XLSX). Zero is not listed."""
    sheets: int = 1

    @property
    def files(self) -> tuple[Path, ...]:
        """What was written."""
        return self.path, self.manifest_path


def export(  # noqa: PLR0913  (they are what an export is asked for; all but the first five by name)
    reader: Reader,
    what: ViewSpec | str,
    schema: str,
    target: Path,
    fmt: str,
    *,
    about: ManifestFacts,
    safe: bool = True,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    cancel: CancelToken | None = None,
) -> Exported:
    """Write everything that a view or a query gives to a file, and its manifest beside it.

    Args:
        reader: of the catalog, or of a sink elsewhere.
        what: a table as somebody wants to see it, or one SELECT.
        schema: of the workspace, where the query's tables are looked up.
        target: the file to write.
        fmt: one of `FORMATS`.
        about: what else the manifest says.
        safe: whether CSV is to be safe to open in a spreadsheet, rather than exact to the byte.
        overwrite: whether a file of that name may be replaced.
        progress: told how many rows are written, ten times a second at most.
        cancel: ends it within a moment.

    Raises:
        UserProblem: the query is refused, or the target is there, or not to be written in that format.
        EnvironmentProblem: it cannot be read or written, e.g. the disk is full.
        Cancelled: it was. In each of these cases no file is left.
    """
    _check_target(target, fmt, overwrite=overwrite)
    with reader.selected(what, schema, cancel) as selection:
        if cancel is not None:
            cancel.check()
        job = _Job(selection, _Steps(progress, selection.total, cancel), safe=safe)
        aside = target.with_name(f".{target.name[:100]}.{new_id()}.part")
        try:
            with _written(target):
                _WRITERS[fmt](job).write(aside)
                size, sha256 = _sealed(aside)
            manifest = _manifest(job, what, about, (target.name, fmt, size, sha256))
            place = target.with_name(target.name + MANIFEST_SUFFIX)
            with _written(target):
                _put_in_place(aside, target, manifest, place)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
    job.steps.last(job.rows)
    return Exported(
        target, job.rows, size, sha256, place, _without_zeros(job.changed), sheets=job.sheets
    )


class _Steps:
    """Tells how far the export is, not too often, and ends it when somebody asks."""

    def __init__(
        self,
        progress: Callable[[Progress], None] | None,
        total: int | None,
        cancel: CancelToken | None,
    ) -> None:
        self._progress, self._total, self.cancel = progress, total, cancel
        self._told_at = 0.0

    def to(self, rows: int) -> None:
        """So many rows are written."""
        if self.cancel is not None:
            self.cancel.check()
        if time.monotonic() - self._told_at >= _PROGRESS_EVERY_S:
            self._tell(rows, self._total)

    def last(self, rows: int) -> None:
        """All rows are written."""
        self._tell(rows, rows)

    def _tell(self, rows: int, total: int | None) -> None:
        self._told_at = time.monotonic()
        if self._progress is not None:
            self._progress(Progress(rows, total, "rows"))


class _Job:
    """What is exported, and what was learnt of it while it streamed by."""

    def __init__(self, selection: Rows, steps: _Steps, *, safe: bool) -> None:
        self.selection = selection
        self.steps = steps
        self.safe = safe
        self.rows = 0
        self.sheets = 1
        self.changed: dict[str, int] = {}
        self.hashes: set[str] = set()
        self.versions: set[str] = set()
        self._watched = {
            name: place for name in (_HASH, _VERSION) if (place := selection.place(name))
        }

    @property
    def columns(self) -> tuple[ColumnInfo, ...]:
        return self.selection.columns

    @property
    def knows_sources(self) -> bool:
        """Whether the rows themselves say which files they were read from."""
        return _HASH in self._watched

    def stream(
        self, expressions: Sequence[str], rows: int = _STREAM_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Give the expressions for all rows, and note what their lineage says."""
        wanted = len(expressions)
        batches = self.selection.stream(
            [*expressions, *self._watched.values()], self.steps.cancel, rows
        )
        with contextlib.closing(batches):
            for batch in batches:
                for at, name in enumerate(self._watched, start=wanted):
                    seen = self.hashes if name == _HASH else self.versions
                    seen.update(one for one in pc.unique(batch.column(at)).to_pylist() if one)
                self.rows += batch.num_rows
                self.steps.to(self.rows)
                yield batch.select(range(wanted))

    def lines(
        self, row: str, changes: str, name: str
    ) -> Iterator[tuple[memoryview, pa.RecordBatch]]:
        """Give the rows as text: the bytes of each batch, and the batch."""
        expressions = [row] + ([f"CAST({changes} AS BIGINT)"] if changes else [])
        for batch in self.stream(expressions):
            if changes:
                count = pc.sum(batch.column(1)).as_py() or 0
                self.changed[name] = self.changed.get(name, 0) + count
            yield _bytes_of(batch.column(0)), batch


class _Writer(ABC):
    """Writes a job in one format."""

    def __init__(self, job: _Job) -> None:
        self._job = job

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write all rows to a new file."""


class _Csv(_Writer):
    @override
    def write(self, path: Path) -> None:
        job = self._job
        places = job.selection.places
        row = cells.csv_row(job.columns, places, safe=job.safe)
        changes = cells.formulas(job.columns, places) if job.safe else ""
        names = [cells.csv_name(column.name, safe=job.safe) for column in job.columns]
        with path.open("xb") as file:
            file.write((",".join(names) + "\n").encode())
            for data, _ in job.lines(f"{row} || chr(10)", changes, "neutralised_cells"):
                file.write(data)


class _JsonLines(_Writer):
    @override
    def write(self, path: Path) -> None:
        job = self._job
        row = cells.json_row(job.columns, job.selection.places)
        with path.open("xb") as file:
            for data, _ in job.lines(f"{row} || chr(10)", "", ""):
                file.write(data)


class _JsonArray(_Writer):
    @override
    def write(self, path: Path) -> None:
        job = self._job
        row = cells.json_row(job.columns, job.selection.places)
        with path.open("xb") as file:
            file.write(b"[")
            comma = 1  # every row brings one along; the first is not written
            for data, _ in job.lines(f"',' || chr(10) || {row}", "", ""):
                file.write(data[comma:])
                comma = 0
            file.write(b"\n]\n")


class _Parquet(_Writer):
    @override
    def write(self, path: Path) -> None:
        job = self._job
        schema = shaped(None, job.columns).schema
        with (
            path.open("xb") as file,
            pq.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            waiting: list[pa.RecordBatch] = []
            rows = 0
            for batch in job.stream(job.selection.places):
                waiting.append(batch)
                rows += batch.num_rows
                if rows >= _ROW_GROUP_ROWS or _size(waiting) > _ROW_GROUP_BYTES:
                    self._write(writer, waiting)
                    waiting, rows = [], 0
            if waiting:
                self._write(writer, waiting)

    def _write(self, writer: pq.ParquetWriter, batches: list[pa.RecordBatch]) -> None:
        rows = shaped(pa.Table.from_batches(batches), self._job.columns)
        writer.write_table(rows, row_group_size=rows.num_rows)


class _Xlsx(_Writer):
    """A workbook, written as it streams: the sheets first, and what lists them at the end."""

    @override
    def write(self, path: Path) -> None:
        job = self._job
        if len(job.columns) > _SHEET_COLUMNS:
            raise UserProblem(
                "A spreadsheet cannot hold so many columns",
                f"There are {len(job.columns):,}; a sheet has {_SHEET_COLUMNS:,}",
                "Choose fewer columns, or another format",
            )
        places = job.selection.places
        rows = job.lines(
            cells.xlsx_row(job.columns, places),
            cells.cut_cells(job.columns, places),
            "cut_cells",
        )
        with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as book:
            self._write_sheets(book, rows)
            for name, text in _workbook(job.sheets).items():
                with _entry(book, name) as file:
                    file.write(text.encode())

    def _write_sheets(
        self, book: zipfile.ZipFile, rows: Iterator[tuple[memoryview, pa.RecordBatch]]
    ) -> None:
        head = _sheet_head(self._job.columns)
        left: Sequence[memoryview] = ()
        sheet = 0
        while sheet == 0 or left:
            sheet += 1
            with _entry(book, f"xl/worksheets/sheet{sheet}.xml") as file:
                file.write(head)
                left = self._write_rows(file, rows, left)
                file.write(_SHEET_END)
        self._job.sheets = sheet

    def _write_rows(
        self,
        file: IO[bytes],
        rows: Iterator[tuple[memoryview, pa.RecordBatch]],
        left: Sequence[memoryview],
    ) -> Sequence[memoryview]:
        """Fill one sheet; return the rows that were read and have no place in it any more."""
        file.writelines(left[:SHEET_ROWS])
        if len(left) > SHEET_ROWS:
            return left[SHEET_ROWS:]
        room = SHEET_ROWS - len(left)
        for data, batch in rows:
            if batch.num_rows <= room:
                file.write(data)
                room -= batch.num_rows
                continue
            each = _bytes_of_each(batch.column(0))
            file.writelines(each[:room])
            return each[room:]
        return ()


_WRITERS: dict[str, type[_Writer]] = {
    "csv": _Csv,
    "jsonl": _JsonLines,
    "json": _JsonArray,
    "parquet": _Parquet,
    "xlsx": _Xlsx,
}


def _check_target(target: Path, fmt: str, *, overwrite: bool) -> None:
    if fmt not in FORMATS:
        raise UserProblem(f"There is no format {fmt}", hint=f"Use one of: {', '.join(FORMATS)}")
    if not target.parent.is_dir():
        raise UserProblem("The folder is not there", str(target.parent), "Choose another")
    if target.is_dir():
        raise UserProblem("There is a folder of that name", str(target), "Choose another name")
    taken = [
        one for one in (target, target.with_name(target.name + MANIFEST_SUFFIX)) if one.exists()
    ]
    if taken and not overwrite:
        raise UserProblem(
            "There is a file of that name already", str(taken[0]), "Choose another, or overwrite it"
        )


@contextlib.contextmanager
def _written(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError):
            raise from_os_error(error, f"{target.name} could not be written") from error
        raise EnvironmentProblem(f"{target.name} could not be written", str(error)) from error


def _sealed(path: Path) -> tuple[int, str]:
    """Force a file to disk; return its size and SHA-256."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def _put_in_place(aside: Path, target: Path, manifest: bytes, place: Path) -> None:
    beside = aside.with_suffix(".manifest")
    try:
        with beside.open("xb") as file:
            file.write(manifest)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


def _manifest(
    job: _Job, what: ViewSpec | str, about: ManifestFacts, file: tuple[str, str, int, str]
) -> bytes:
    """What the manifest says; but for the instant it is the same for the same rows."""
    name, fmt, size, sha256 = file
    selection = job.selection
    hashes, versions, kind = _lineage(job)
    at = about.exported_at or datetime.now(UTC)
    sources = sorted(
        {(one.path, one.source_hash, one.sha256) for one in about.sources_of(hashes)}
        if hashes
        else ()
    )
    spec = None if isinstance(what, str) else asdict(what)
    told = {
        "manifest": 1,
        "program": {"name": "Casparian Flow", "version": about.program_version},
        "exported_at": at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "workspace": about.workspace,
        "query": selection.sql,
        "view": spec,
        "file": {"name": name, "format": fmt, "size_bytes": size, "sha256": sha256},
        "rows": job.rows,
        "columns": [{"name": one.name, "type": one.type} for one in job.columns],
        "options": _options(fmt, job),
        "changed": _without_zeros(job.changed),
        "parsers": [
            {
                "table": one.name,
                "parser": one.parser,
                "versions": sorted(versions) or [one.parser_version],
            }
            for one in selection.infos
            if one.parser
        ],
        "sources_are": kind,
        "sources": [
            {"path": path, "source_hash": blake3, "sha256": sha} for path, blake3, sha in sources
        ],
    }
    return (json.dumps(told, ensure_ascii=False, indent=1, default=str) + "\n").encode(
        "utf-8", "backslashreplace"
    )


def _lineage(job: _Job) -> tuple[list[str], set[str], str]:
    """The source hashes and parser versions of the rows, and how far that is known."""
    if job.knows_sources:
        return sorted(job.hashes), job.versions, "the files that these rows were read from"
    tables = [one for one in job.selection.infos if one.kind != "control"]
    if not tables:
        return [], set(), "none: the query reads no table that was read from files"
    hashes: set[str] = set()
    versions: set[str] = set()
    for one in tables:
        for column, seen in ((_HASH, hashes), (_VERSION, versions)):
            seen.update(job.selection.values_of(column, one, job.steps.cancel))
    names = ", ".join(one.name for one in tables)
    return (
        sorted(hashes),
        versions,
        f"all files that the tables of the query were read from: {names}",
    )


def _options(fmt: str, job: _Job) -> dict[str, object]:
    common: dict[str, object] = {"encoding": "UTF-8", "times": "ISO 8601, Z for UTC, microseconds"}
    if fmt == "csv":
        return common | {"spreadsheet_safe": job.safe, "null": "nothing", "empty_text": '""'}
    if fmt == "xlsx":
        return common | {
            "sheets": job.sheets,
            "formulas": "none: text is text",
            "null": "empty cell",
        }
    if fmt == "parquet":
        return {"compression": "zstd"}
    return common | {"binary": "hexadecimal", "not_a_number": '"NaN", "Infinity", "-Infinity"'}


def _without_zeros(changed: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(changed.items()) if count}


def _size(batches: Sequence[pa.RecordBatch]) -> int:
    return sum(one.nbytes for one in batches)


def _bytes_of(texts: pa.Array[Any]) -> memoryview:
    """The bytes of all the texts, one after the other, as they lie in memory."""
    offsets = _offsets(texts)
    data = texts.buffers()[2]
    return memoryview(b"") if data is None else memoryview(data)[offsets[0] : offsets[-1]]


def _bytes_of_each(texts: pa.Array[Any]) -> list[memoryview]:
    offsets = _offsets(texts)
    data = memoryview(texts.buffers()[2] or b"")
    return [data[start:end] for start, end in itertools.pairwise(offsets)]


def _offsets(texts: pa.Array[Any]) -> memoryview:
    """Where each text begins, and where the last ends."""
    buffer = texts.buffers()[1]
    wide = pa.types.is_large_string(texts.type)
    offsets = memoryview(buffer or b"\0" * 8).cast("q" if wide else "i")
    return offsets[texts.offset : texts.offset + len(texts) + 1]


def _entry(book: zipfile.ZipFile, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    info = zipfile.ZipInfo(name, _ZIP_DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 0  # the same on every system
    return book.open(info, "w", force_zip64=True)


_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEET_END = b"</sheetData></worksheet>"
_STYLES = (
    f'{_XML}<styleSheet xmlns="{_MAIN}"><fonts count="2"><font/><font><b/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2"><xf/>'
    '<xf fontId="1" applyFont="1"/></cellXfs><cellStyles count="1">'
    '<cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)
_WIDTHS = {"timestamp": 28, "timestamp_utc": 28, "string": 24, "json": 60}


def _sheet_head(columns: Sequence[ColumnInfo]) -> bytes:
    widths = "".join(
        f'<col min="{at}" max="{at}" width="{_WIDTHS.get(one.type, 12)}" customWidth="1"/>'
        for at, one in enumerate(columns, start=1)
    )
    names = "".join(
        f'<c s="1" t="inlineStr"><is><t xml:space="preserve">{cells.xml_text(one.name)}</t></is></c>'
        for one in columns
    )
    return (
        f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
        '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView>'
        f"</sheetViews><cols>{widths}</cols><sheetData><row>{names}</row>"
    ).encode()


def _workbook(sheets: int) -> dict[str, str]:
    """The parts of a workbook that list its sheets."""
    numbers = range(1, sheets + 1)
    types = "".join(
        f'<Override PartName="/xl/worksheets/sheet{at}.xml" ContentType="application/'
        'vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        for at in numbers
    )
    listed = "".join(f'<sheet name="rows {at}" sheetId="{at}" r:id="rId{at}"/>' for at in numbers)
    related = "".join(
        f'<Relationship Id="rId{at}" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet{at}.xml"/>'
        for at in numbers
    )
    return {
        "xl/workbook.xml": f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}">'
        f"<sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{related}'
        f'<Relationship Id="rId{sheets + 1}" Type="{_RELATIONS}/styles" Target="styles.xml"/>'
        "</Relationships>",
        "xl/styles.xml": _STYLES,
        "_rels/.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "[Content_Types].xml": f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/'
        'vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml" ContentType="application/'
        'vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        '<Override PartName="/xl/styles.xml" ContentType="application/'
        'vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/>'
        f"{types}</Types>",
    }
