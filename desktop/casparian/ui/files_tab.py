"""The files of the sources: filtered and sorted by the service, page by page, with a preview of any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QComboBox, QSplitter, QStackedWidget, QWidget

from casparian.ui import formats, icons, parts, problems, theme
from casparian.ui.preview import Preview
from casparian.ui.record_table import PAGE, Column, PagedModel, RecordTable
from casparian.ui.tasks import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PySide6.QtGui import QAction

    from casparian.bootstrap import Services
    from casparian.domain.errors import CasparianError
    from casparian.domain.evidence import Workspace
    from casparian.domain.ids import SourceId
    from casparian.services.sources import FilePage
    from casparian.state.evidence import FileQuery, FileRow
    from casparian.ui.tasks import Tasks

TYPING_PAUSE_MS = 200

_ROWS_UNREAD = {"unclaimed", "waiting", "unreadable", "changed"}


def _rows(row: FileRow, count: int) -> str:
    return (
        formats.NO_VALUE if row.status in _ROWS_UNREAD and not row.read else formats.number(count)
    )


def _state(row: FileRow) -> tuple[str, theme.Token]:
    _, icon, token = parts.FILE_LOOKS[row.status]
    return icon, token


FILE_COLUMNS: tuple[Column[FileRow], ...] = (
    Column("File", lambda row: row.file.path, 320, sort="path",
           tip=lambda row: f"{row.source_path.rstrip('/')}/{row.file.path}",
           whole=lambda row: f"{row.source_path.rstrip('/')}/{row.file.path}"),
    Column("State", lambda row: parts.FILE_LOOKS[row.status][0], 128, sort="status", state=_state,
           tip=lambda row: row.note or parts.FILE_LOOKS[row.status][0]),
    Column("Size", lambda row: formats.size(row.file.size_bytes), 88, right=True, sort="size",
           tip=lambda row: formats.exact_size(row.file.size_bytes),
           whole=lambda row: str(row.file.size_bytes)),
    Column("Kind", lambda row: row.file.kind, 88, sort="kind"),
    Column("Tags", lambda row: ", ".join(row.file.tags), 112),
    Column("Read", lambda row: _rows(row, row.read), 80, right=True,
           whole=lambda row: str(row.read)),
    Column("Accepted", lambda row: _rows(row, row.accepted), 88, right=True, sort="accepted",
           whole=lambda row: str(row.accepted)),
    Column("Quarantined", lambda row: _rows(row, row.quarantined), 104, right=True,
           sort="quarantined", whole=lambda row: str(row.quarantined)),
    Column("Modified", lambda row: formats.file_time(row.file.mtime_ns), 208, sort="modified"),
    Column("BLAKE3", lambda row: formats.short_hash(row.file.source_hash), 104, mono=True,
           tip=lambda row: row.file.source_hash, whole=lambda row: row.file.source_hash),
    Column("SHA-256", lambda row: formats.short_hash(row.file.sha256), 104, mono=True,
           tip=lambda row: row.file.sha256, whole=lambda row: row.file.sha256),
    Column("Note", lambda row: row.note, 320, faint=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """The first page of a query, and what the filters offer."""

    query: FileQuery
    page: FilePage
    kinds: tuple[str, ...]
    tags: tuple[str, ...]


class FilesTab(QWidget):
    """Filters, the table, and the preview of the file that is chosen.

    Signals:
        counted: how many files the scope holds under the filters.
    """

    counted = Signal(int)

    def __init__(
        self, services: Services, tasks: Tasks, add: Sequence[QAction], sample: QAction
    ) -> None:
        super().__init__()
        self.setObjectName("files_tab")
        self._services, self._tasks = services, tasks
        self._workspace: Workspace | None = None
        self._scope: tuple[SourceId | None, str] = (None, "")
        self._sort = ("path", False)
        self._query: FileQuery | None = None
        self._wanted_file: str | None = None
        self._refresh = Refresh(
            tasks, self, self._ask, self._on_listing, self._on_failed, pause_ms=500
        )
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_PAUSE_MS)
        self._typing.timeout.connect(self._refresh.now)
        self._build(add, sample)

    def set_workspace(self, workspace: Workspace) -> None:
        """List the files of another workspace."""
        self._workspace = workspace
        self._scope = (None, "")
        self._preview.show_file(None)
        self._refresh.now()

    def set_scope(self, source_id: SourceId | None, folder: str) -> None:
        """List one source, or one folder of it, or everything."""
        if (source_id, folder) != self._scope:
            self._scope = (source_id, folder)
            self._refresh.now()

    def offer_sample(self, *, offers: bool) -> None:
        """Offer the sample case where there is nothing yet, or no longer."""
        self._empty.offer(quiet=offers)

    def refresh(self) -> None:
        """Something about the files changed."""
        self._refresh.soon()

    def set_status(self, status: str) -> None:
        """Show only the files of one state; empty shows all."""
        self._status.setCurrentIndex(max(self._status.findData(status), 0))

    def show_file(self, file_id: str) -> None:
        """Bring one file into sight, whatever the filters say, with its preview."""
        sources = self._services.sources
        self._tasks.run(self, lambda: sources.file(file_id), self._on_file, key="file")  # type: ignore[arg-type]  # ids cross signals as text

    def focus_filter(self) -> None:
        """Put the cursor into the filter."""
        self._text.setFocus()
        self._text.selectAll()

    def _build(self, add: Sequence[QAction], sample: QAction) -> None:
        self._text = parts.search_field("Filter by path", "files_filter")
        self._text.textChanged.connect(self._typing.start)
        self._kind = _combo("Kind", "files_kind")
        self._tag = _combo("Tag", "files_tag")
        self._status = _combo("State", "files_status")
        for word, (shown, icon, token) in parts.FILE_LOOKS.items():
            self._status.addItem(icons.icon(icon, token), shown, word)
        for combo in (self._kind, self._tag, self._status):
            combo.currentIndexChanged.connect(self._on_filter_changed)
        self._count = parts.faint(name="files_count")
        filters = parts.row(self._text, self._kind, self._tag, self._status, self._count, gap=8)
        filters.setContentsMargins(8, 8, 8, 8)
        self._banner = problems.Banner("files_banner")
        self._banner.acted.connect(self._refresh.now)

        self._model: PagedModel[FileRow] = PagedModel(FILE_COLUMNS, lambda row: row.file.id, self)
        self._model.page_wanted.connect(self._on_page_wanted)
        self._table = RecordTable(self._model, "files_table", "Files")
        self._table.sort_wanted.connect(self._on_sort_wanted)
        self._table.chosen.connect(self._on_chosen)
        self._empty = parts.EmptyState(
            "sources",
            "No evidence yet",
            "Drop a folder or files anywhere on this window, or browse for them. Evidence is only read, "
            "never changed.",
            add,
            name="files_empty",
            quiet=sample,
        )
        nothing = parts.EmptyState(
            "filter", "No file matches", "Widen the filters above to see more.", name="files_none"
        )
        self._stack = QStackedWidget()
        for page in (self._empty, nothing, self._table):
            self._stack.addWidget(page)
        self._preview = Preview(self._services, self._tasks)
        self._preview.closed.connect(self._on_preview_closed)
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.setObjectName("files_splitter")
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(self._stack)
        self.splitter.addWidget(self._preview)
        self.splitter.setSizes([320, 280])
        self.splitter.setStretchFactor(0, 1)
        column = parts.margins(self, all_round=0, gap=0)
        column.addWidget(filters)
        column.addWidget(self._banner)
        column.addWidget(self.splitter, 1)

    def _ask(self) -> Callable[[], Listing | None]:
        services, workspace = self._services, self._workspace
        (source_id, folder), (sort, descending) = self._scope, self._sort
        text = self._text.text().strip()
        kind, tag, status = (
            str(combo.currentData() or "") for combo in (self._kind, self._tag, self._status)
        )

        def work() -> Listing | None:
            from casparian.state.evidence import FileQuery  # the state store loads slowly

            if workspace is None:
                return None
            query = FileQuery(
                workspace.id,
                source_id=source_id,
                folder=folder,
                text=text,
                kind=kind,
                tag=tag,
                status=status,
                sort=sort,
                descending=descending,
            )
            page = services.sources.files(query, 0, PAGE)
            kinds = tuple(one for one, _ in services.sources.kinds(workspace.id))
            tags = sorted({one.rule.tag for one in services.rules.list(workspace.id)})
            return Listing(query, page, kinds, tuple(tags))

        return work

    def _on_listing(self, listing: Listing | None) -> None:
        if listing is None:
            return
        self._banner.clear()
        is_other = listing.query != self._query
        self._query = listing.query
        _offer(self._kind, listing.kinds)
        _offer(self._tag, listing.tags)
        self._model.start(listing.page.total, listing.page.rows)
        if is_other:
            self._table.scrollToTop()
        self._count.setText(formats.count(listing.page.total, "file"))
        filtered = bool(self._text.text().strip()) or any(
            combo.currentData() for combo in (self._kind, self._tag, self._status)
        )
        filtered = filtered or self._scope != (None, "")
        self._stack.setCurrentIndex(2 if listing.page.total else 1 if filtered else 0)
        self.counted.emit(listing.page.total)
        if self._wanted_file is not None:
            self._table.choose(self._wanted_file)
            self._wanted_file = None

    def _on_failed(self, error: CasparianError) -> None:
        self._banner.show_problem(error, "Retry")

    @Slot(int, int)
    def _on_page_wanted(self, offset: int, limit: int) -> None:
        query, sources = self._query, self._services.sources
        if query is None:
            return
        self._tasks.run(
            self,
            lambda: (query, offset, sources.files(query, offset, limit)),
            self._on_page,
            key=f"page {offset}",
            failed=self._on_failed,
        )

    def _on_page(self, reply: tuple[FileQuery, int, FilePage]) -> None:
        query, offset, page = reply
        if query == self._query:
            self._model.put_page(offset, page.rows)

    @Slot(str, bool)
    def _on_sort_wanted(self, key: str, descending: bool) -> None:  # noqa: FBT001  (from a signal)
        self._sort = (key, descending)
        self._refresh.now()

    @Slot()
    def _on_filter_changed(self) -> None:
        self._refresh.now()

    @Slot(object)
    def _on_chosen(self, row: FileRow | None) -> None:
        if row is not None:
            self._preview.show_file(row)

    @Slot()
    def _on_preview_closed(self) -> None:
        self._preview.show_file(None)
        self._table.setFocus()

    def _on_file(self, row: FileRow) -> None:
        self._wanted_file = row.file.id
        self._scope = (row.file.source_id, "")
        for combo in (self._kind, self._tag, self._status):
            with QSignalBlocker(combo):
                combo.setCurrentIndex(0)
        self._text.setText(row.file.path)
        self._preview.show_file(row)
        self._refresh.now()


def _combo(title: str, name: str) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    combo.setAccessibleName(title)
    combo.setMinimumWidth(112)
    combo.addItem(f"Any {title.lower()}", "")
    return combo


def _offer(combo: QComboBox, words: Sequence[str]) -> None:
    """Offer other words, and keep the one that is chosen."""
    present = [combo.itemData(at) for at in range(1, combo.count())]
    chosen = combo.currentData()
    wanted = [*words, *([chosen] if chosen and chosen not in words else [])]
    if present == wanted:
        return
    with QSignalBlocker(combo):
        while combo.count() > 1:
            combo.removeItem(1)
        for word in wanted:
            combo.addItem(word, word)
        combo.setCurrentIndex(max(combo.findData(chosen), 0))
