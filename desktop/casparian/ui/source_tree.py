"""The sources and the folders in them; a folder's children are read when it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt, Signal, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
)
from typing_extensions import override

from casparian.domain.evidence import ScanState, shown_text
from casparian.ui import formats, icons, theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.bootstrap import Services
    from casparian.domain.evidence import Source
    from casparian.services.sources import FolderRow, SourceSummary
    from casparian.ui.tasks import Tasks

STALE_AFTER = timedelta(hours=24)
"""A scan older than this is marked: the folder may have changed since."""

_DATA = int(Qt.ItemDataRole.UserRole)
_TOKEN = _DATA + 1
"""The token of a cell's colour: a colour itself would stay behind when the theme is switched."""
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True, slots=True)
class Place:
    """What a row of the tree stands for."""

    source: Source
    folder: str = ""


def staleness(summary: SourceSummary, now: datetime) -> str:
    """Why the list of a source may not be what lies there; empty if it should be."""
    scan = summary.last_scan
    if scan is None:
        return "never scanned"
    if scan.state is ScanState.RUNNING:
        return "scanning"
    if scan.state is not ScanState.FINISHED:
        return f"scan {scan.state}"
    return "stale" if now - (scan.ended_at or scan.started_at) > STALE_AFTER else ""


class SourceTree(QTreeWidget):
    """Sources with files, size and age of their scan.

    Signals:
        place_chosen: the Place of the current row, or None.
        failed: a CasparianError: folders could not be listed.
    """

    place_chosen = Signal(object)
    failed = Signal(object)

    def __init__(self, services: Services, tasks: Tasks) -> None:
        super().__init__()
        self._services, self._tasks = services, tasks
        self.setObjectName("sources_tree")
        self.setAccessibleName("Sources and their folders")
        self.setHeaderLabels(["Source", "Files", "Size", "Scanned"])
        self.setUniformRowHeights(True)
        self.setIndentation(16)
        self.setItemDelegate(_Delegate(self))
        head = self.header()
        head.setFont(theme.font(theme.SMALL))
        head.setStretchLastSection(False)
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for at, width in ((1, 56), (2, 72), (3, 96)):
            head.setSectionResizeMode(at, QHeaderView.ResizeMode.Interactive)
            self.setColumnWidth(at, width)
        for at in (1, 2):
            self.headerItem().setTextAlignment(at, _RIGHT)
        self.itemExpanded.connect(self._on_expanded)
        self.currentItemChanged.connect(self._on_current_changed)

    def show_sources(self, summaries: Sequence[SourceSummary]) -> None:
        """Show these sources; what was open stays open."""
        known = {self._place(item).source.id: item for item in self._top_items()}
        for summary in summaries:
            item = known.pop(summary.source.id, None)
            if item is None:
                item = self._new_item(self, Place(summary.source), summary.source.path)
            self._render(item, summary)
        for gone in known.values():
            self.takeTopLevelItem(self.indexOfTopLevelItem(gone))

    def current_source(self) -> Source | None:
        """The source of the current row, or the only one there is."""
        if (item := self.currentItem()) is not None:
            return self._place(item).source
        every = self._top_items()
        return self._place(every[0]).source if len(every) == 1 else None

    def _render(self, item: QTreeWidgetItem, summary: SourceSummary) -> None:
        source, scan = summary.source, summary.last_scan
        stale = staleness(summary, datetime.now(UTC))
        item.setIcon(0, icons.icon("folder" if source.is_folder else "file"))
        _fill(item, summary.files, summary.size_bytes)
        age = formats.age(scan.ended_at or scan.started_at) if scan is not None else ""
        item.setText(3, stale or age)
        item.setData(3, _TOKEN, "partial" if stale else "faint")
        item.setIcon(3, icons.icon("partial", "partial") if stale else icons.icon("good", "faint"))
        tips = [source.path, formats.exact_size(summary.size_bytes)]
        if scan is not None:
            tips.append(f"scanned {formats.moment(scan.ended_at or scan.started_at)}")
        if summary.problems:
            tips.append(f"{formats.count(summary.problems, 'entry', 'entries')} left out")
        for column in range(4):
            item.setToolTip(column, shown_text(" · ".join(tips)))
        if item.isExpanded():
            self._load(self._place(item))

    def _new_item(
        self, parent: QTreeWidget | QTreeWidgetItem, place: Place, name: str
    ) -> QTreeWidgetItem:
        item = QTreeWidgetItem(parent, [shown_text(name)])
        item.setData(0, _DATA, place)
        for column in (1, 2):
            item.setTextAlignment(column, _RIGHT)
        if place.source.is_folder:
            item.setChildIndicatorPolicy(QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator)
        return item

    def _top_items(self) -> list[QTreeWidgetItem]:
        every = (self.topLevelItem(at) for at in range(self.topLevelItemCount()))
        return [item for item in every if item is not None]

    @staticmethod
    def _place(item: QTreeWidgetItem) -> Place:
        place: Place = item.data(0, _DATA)
        return place

    def _load(self, place: Place) -> None:
        sources = self._services.sources
        self._tasks.run(
            self,
            lambda: sources.folders(place.source.id, place.folder),
            partial(self._on_folders, place),
            key=f"folders {place.source.id} {place.folder}",
            failed=self.failed.emit,
        )

    def _on_folders(self, place: Place, folders: list[FolderRow]) -> None:
        item = self._find(place)
        if item is None:
            return
        known = {self._place(child).folder: child for child in _children(item)}
        for row in folders:
            child = known.pop(row.path, None)
            if child is None:
                child = self._new_item(item, Place(place.source, row.path), row.name)
            child.setIcon(0, icons.icon("folder", "faint"))
            child.setToolTip(0, shown_text(row.path))
            _fill(child, row.files, row.size_bytes)
        for gone in known.values():
            item.removeChild(gone)
        if not folders:
            policy = QTreeWidgetItem.ChildIndicatorPolicy.DontShowIndicator
            item.setChildIndicatorPolicy(policy)

    def _find(self, place: Place) -> QTreeWidgetItem | None:
        waiting = self._top_items()
        while waiting:
            item = waiting.pop()
            at = self._place(item)
            if (at.source.id, at.folder) == (place.source.id, place.folder):
                return item
            waiting += _children(item)
        return None

    @Slot(QTreeWidgetItem)
    def _on_expanded(self, item: QTreeWidgetItem) -> None:
        self._load(self._place(item))

    @Slot(QTreeWidgetItem, QTreeWidgetItem)
    def _on_current_changed(
        self, item: QTreeWidgetItem | None, _before: QTreeWidgetItem | None
    ) -> None:
        self.place_chosen.emit(self._place(item) if item is not None else None)


class _Delegate(QStyledItemDelegate):
    """Colours cells by token, and lets go of the beginning of a source's path rather than its end."""

    @override
    def initStyleOption(
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().initStyleOption(option, index)
        is_source = not index.parent().isValid()
        elide = Qt.TextElideMode.ElideLeft if is_source else Qt.TextElideMode.ElideRight
        option.textElideMode = elide
        if token := index.data(_TOKEN):
            for role in (QPalette.ColorRole.Text, QPalette.ColorRole.HighlightedText):
                option.palette.setColor(role, theme.color(token))


def _fill(item: QTreeWidgetItem, files: int, size_bytes: int) -> None:
    item.setText(1, formats.number(files))
    item.setText(2, formats.size(size_bytes))


def _children(item: QTreeWidgetItem) -> list[QTreeWidgetItem]:
    every = (item.child(at) for at in range(item.childCount()))
    return [child for child in every if child is not None]
