"""A table of any length as a Qt model: only the rows on screen, and a few around them, are in memory.

`data` never waits and never fetches. Who shows the model says which rows are on screen (`want`); the
pages that hold them are read off the GUI thread and announced when they are here. A page keeps at most
a few hundred characters of a cell: a cell may be 50 MB, and the whole of it is the inspector's matter.

Qt lays out rows in a 32-bit length of pixels: at 24 px a table of more than 89 million rows freezes the
program. The model shows the first 50 million, and `rows_total` tells how many there are.
"""

from __future__ import annotations

import html
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from typing_extensions import override

from casparian.domain.cancel import CancelToken
from casparian.domain.evidence import shown_text
from casparian.ui import formats, icons, theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.domain.errors import CasparianError
    from casparian.domain.results import ColumnInfo
    from casparian.ui.tasks import Tasks

AnyIndex = QModelIndex | QPersistentModelIndex

MAX_ROWS = 50_000_000
PAGE_ROWS = 512
PAGES_KEPT = 64
BYTES_KEPT = 64 << 20
CELL_CHARS = 400
"""What a page keeps of a cell; a column on screen is narrower than that."""
FETCHES_AT_ONCE = 2


class Pages(Protocol):
    """What the model asks of a `catalog.reader.View`."""

    @property
    def columns(self) -> tuple[ColumnInfo, ...]:
        """Its columns, in order."""

    def page(
        self, offset: int, limit: int, cancel: CancelToken | None = None, *, clip: int | None = None
    ) -> pa.Table:
        """Return rows of it; blocks, so it is called off the GUI thread."""


def trimmed(page: pa.Table) -> pa.Table:
    """Return a page whose long texts and bytes are cut to what a cell can show."""
    columns = [_trimmed(column) for column in page.columns]
    return pa.table(columns, names=page.column_names)


def _trimmed(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.utf8_slice_codeunits(column, 0, CELL_CHARS)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return pc.binary_slice(column, 0, CELL_CHARS // 2)
    return column


@dataclass(slots=True)
class Page:
    """Some rows that are here, and the texts that were made of them so far."""

    first: int
    table: pa.Table
    size_bytes: int
    texts: dict[tuple[int, int], str] = field(default_factory=dict)


class PageCache:
    """The pages used last, bounded by their number and their bytes."""

    def __init__(self, pages: int = PAGES_KEPT, size_bytes: int = BYTES_KEPT) -> None:
        self._most, self._most_bytes = pages, size_bytes
        self._pages: OrderedDict[int, Page] = OrderedDict()
        self._bytes = 0

    def __contains__(self, number: int) -> bool:
        return number in self._pages

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, number: int) -> Page | None:
        """Return a page if it is here, and remember that it was used."""
        page = self._pages.get(number)
        if page is not None:
            self._pages.move_to_end(number)
        return page

    def put(self, number: int, page: Page) -> None:
        """Keep a page, and let go of those used longest ago; the newest always stays."""
        self._forget(number)
        self._pages[number] = page
        self._bytes += page.size_bytes
        while len(self._pages) > 1 and (
            len(self._pages) > self._most or self._bytes > self._most_bytes
        ):
            self._forget(next(iter(self._pages)))

    def clear(self) -> None:
        """Let go of every page."""
        self._pages.clear()
        self._bytes = 0

    def _forget(self, number: int) -> None:
        page = self._pages.pop(number, None)
        if page is not None:
            self._bytes -= page.size_bytes


def tip(text: str) -> str:
    """Return a text as a tool tip that shows it as it is: Qt takes what looks like markup for markup."""
    lines = (html.escape(shown_text(line)) for line in text.splitlines())
    return f"<qt>{'<br>'.join(lines)}</qt>"


def read_page(view: Pages, number: int, token: CancelToken | None = None) -> Page:
    """Read a page; runs off the GUI thread."""
    first = number * PAGE_ROWS
    rows = trimmed(view.page(first, PAGE_ROWS, token, clip=CELL_CHARS))
    return Page(first, rows, rows.nbytes)


class TableModel(QAbstractTableModel):
    """The rows of one view of the catalog.

    Signals:
        page_failed: the CasparianError that kept rows on screen from being read.
        page_arrived: nothing; rows on screen that were missing are here.
    """

    page_failed = Signal(object)
    page_arrived = Signal()

    def __init__(self, tasks: Tasks, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._tasks = tasks
        self._view: Pages | None = None
        self._columns: tuple[ColumnInfo, ...] = ()
        self._rows_total = 0
        self._cache = PageCache()
        self._wanted: tuple[int, ...] = ()
        self._fetching: set[int] = set()
        self._failed: dict[int, str] = {}
        self._sorted: dict[str, str] = {}
        self._filtered: frozenset[str] = frozenset()
        self._null_font = theme.font()
        self._null_font.setItalic(True)

    def show(self, view: Pages, rows: int, first: Page | None = None) -> None:
        """Show another view.

        Args:
            view: where its pages come from.
            rows: its true number of rows, however many of them can be shown.
            first: its first page, where it is here already.
        """
        self._drop_fetches(keep=())
        self.beginResetModel()
        self._view, self._columns, self._rows_total = view, view.columns, rows
        self._cache.clear()
        self._wanted, self._failed = (), {}
        if first is not None:
            self._cache.put(0, first)
        self.endResetModel()

    def clear(self) -> None:
        """Show nothing."""
        self._drop_fetches(keep=())
        self.beginResetModel()
        self._view, self._columns, self._rows_total = None, (), 0
        self._cache.clear()
        self.endResetModel()

    @property
    def columns(self) -> tuple[ColumnInfo, ...]:
        """The columns of the view, in its order."""
        return self._columns

    @property
    def rows_total(self) -> int:
        """The rows that the view has; more than `rowCount` where Qt could not lay them out."""
        return self._rows_total

    def want(self, first: int, last: int) -> None:
        """Say which rows are on screen: their pages are read, the neighbours' after them."""
        if self._view is None or not self.rowCount():
            return
        end = (self.rowCount() - 1) // PAGE_ROWS
        low, high = max(first, 0) // PAGE_ROWS, min(last // PAGE_ROWS, end)
        around = (high + 1, low - 1)
        self._wanted = (*range(low, high + 1), *(one for one in around if 0 <= one <= end))
        # A page deep in a sorted table may take long: one that nobody looks at any more must not be in
        # the way of one that somebody does.
        self._drop_fetches(keep=self._wanted)
        self._fetch()

    def retry(self) -> None:
        """Read again what could not be read."""
        self._failed.clear()
        self._fetch()

    def is_here(self, row: int) -> bool:
        """Whether a row can be shown at once."""
        return row // PAGE_ROWS in self._cache

    def mark(self, sort: Sequence[tuple[str, bool]], filtered: frozenset[str]) -> None:
        """Mark in the header what the rows are sorted by (name, descending) and filtered by."""
        several = len(sort) > 1
        self._sorted = {
            name: f" {'↓' if descending else '↑'}{index if several else ''}"
            for index, (name, descending) in enumerate(sort, 1)
        }
        self._filtered = filtered
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, max(0, len(self._columns) - 1))

    def _drop_fetches(self, keep: Sequence[int]) -> None:
        for number in self._fetching.difference(keep):
            self._fetching.discard(number)
            self._tasks.drop(self, f"page {number}")

    def _fetch(self) -> None:
        view = self._view
        if view is None:
            return
        for number in self._wanted:
            if len(self._fetching) >= FETCHES_AT_ONCE:
                return
            if number in self._cache or number in self._fetching or number in self._failed:
                continue
            self._fetching.add(number)
            token = CancelToken("Reading the rows")
            self._tasks.run(
                self,
                partial(read_page, view, number, token),
                partial(self._on_page, view),
                key=f"page {number}",
                failed=partial(self._on_page_failed, view, number),
                token=token,
            )

    def _on_page(self, view: Pages, page: Page) -> None:
        if view is not self._view:
            return
        number = page.first // PAGE_ROWS
        self._fetching.discard(number)
        self._cache.put(number, page)
        self._announce(number)
        self.page_arrived.emit()
        self._fetch()

    def _on_page_failed(self, view: Pages, number: int, error: CasparianError) -> None:
        if view is not self._view:
            return
        self._fetching.discard(number)
        self._failed[number] = str(error)
        self._announce(number)
        self.page_failed.emit(error)

    def _announce(self, number: int) -> None:
        first = number * PAGE_ROWS
        last = min(first + PAGE_ROWS, self.rowCount()) - 1
        if last >= first and self._columns:
            self.dataChanged.emit(self.index(first, 0), self.index(last, len(self._columns) - 1))

    # QAbstractTableModel

    @override
    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:
        return 0 if parent.isValid() else min(self._rows_total, MAX_ROWS)

    @override
    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self._columns)

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation is Qt.Orientation.Vertical:
            return formats.number(section + 1) if role == Qt.ItemDataRole.DisplayRole else None
        if not 0 <= section < len(self._columns):
            return None
        column = self._columns[section]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return shown_text(column.name) + self._sorted.get(column.name, "")
            case Qt.ItemDataRole.ToolTipRole:
                return tip(f"{column.name} · {column.type}\n{column.doc}".strip())
            case Qt.ItemDataRole.DecorationRole if column.name in self._filtered:
                return icons.icon("filter", "accent")
            case Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(column.type)
        return None

    @override
    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        row, at = index.row(), index.column()
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._text(row, at)
            case Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(self._columns[at].type)
            case Qt.ItemDataRole.ForegroundRole:
                return theme.color("faint") if self._is_faint(row, at) else None
            case Qt.ItemDataRole.FontRole:
                return self._null_font if self._is_faint(row, at) else None
            case Qt.ItemDataRole.ToolTipRole:
                return self._tool_tip(row, at)
        return None

    def _page(self, row: int) -> Page | None:
        return self._cache.get(row // PAGE_ROWS)

    def _scalar(self, row: int, at: int) -> pa.Scalar[Any] | None:
        page = self._page(row)
        if page is None or row - page.first >= page.table.num_rows:
            return None
        scalar: pa.Scalar[Any] = page.table.column(at)[row - page.first]
        return scalar

    def _text(self, row: int, at: int) -> str:
        page = self._page(row)
        if page is None:
            failed = at == 0 and row // PAGE_ROWS in self._failed
            return "could not be read" if failed else "…"
        text = page.texts.get((row, at))
        if text is None:
            scalar = self._scalar(row, at)
            text = "" if scalar is None else cell_text(scalar, self._columns[at])
            page.texts[row, at] = text
        return text

    def _is_faint(self, row: int, at: int) -> bool:
        scalar = self._scalar(row, at)
        return scalar is None or not scalar.is_valid

    def _tool_tip(self, row: int, at: int) -> str | None:
        failed = self._failed.get(row // PAGE_ROWS)
        if failed is not None:
            return tip(failed)
        scalar = self._scalar(row, at)
        if scalar is None or not scalar.is_valid:
            return None
        text = formats.plain(scalar, CELL_CHARS)
        # Short values are seen whole; a shortened hash or a long text is not.
        return tip(text) if len(text) > _SHORT or text != self._text(row, at) else None


_SHORT = 24
_NUMBERS = ("int", "float", "decimal")
_QUANTITY = re.compile(r"(^|_)(size|bytes|rows|count|files|read|accepted|quarantined|total)(_|$)")
_HASH_NAME = re.compile(r"(^|_)(hash|md5|sha1|sha256|sha512|blake3)(_|$)", re.IGNORECASE)
_HASH = re.compile(r"[0-9a-fA-F]{32,128}")


def is_number(column: ColumnInfo) -> bool:
    """Whether a column holds numbers, which stand at the right."""
    return column.type.startswith(_NUMBERS)


def is_quantity(column: ColumnInfo) -> bool:
    """Whether a column counts something: only then are its thousands grouped.

    Event ids, ports, process ids and offsets are numbers too, but nobody reads 4,624 as an event id.
    """
    return column.type == "int64" and bool(_QUANTITY.search(column.name))


def cell_text(scalar: pa.Scalar[Any], column: ColumnInfo) -> str:
    """Return a value as its cell shows it: one line, escaped, hashes shortened."""
    if is_quantity(column) and scalar.is_valid:
        return formats.number(scalar.as_py())
    text = formats.cell(scalar, CELL_CHARS)
    if _HASH_NAME.search(column.name) and _HASH.fullmatch(text):
        return formats.short_hash(text)
    return text


_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


def _alignment(word: str) -> Qt.AlignmentFlag:
    return _RIGHT if word.startswith(_NUMBERS) else _LEFT
