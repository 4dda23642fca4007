"""What can be queried as a tree: tables with their rows, quarantine beneath each, columns, the control plane.

Where there is more than the query catalog, the tables stand below the target that they are in. A target
that does not answer says why in a row of its own, and can be asked again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import (
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QGuiApplication, QKeyEvent, QPainter, QTextOption
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QMenu,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)
from typing_extensions import override

from casparian.domain.evidence import shown_text
from casparian.domain.results import QUARANTINE_SUFFIX, TableInfo
from casparian.ui import formats, icons, parts, theme
from casparian.ui.table_model import tip
from casparian.ui.targets import title_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casparian.domain.errors import CasparianError
    from casparian.domain.results import ColumnInfo
    from casparian.ui.targets import Listing

_AnyIndex = QModelIndex | QPersistentModelIndex

_TABLE = Qt.ItemDataRole.UserRole
_COLUMN = Qt.ItemDataRole.UserRole + 1
_TARGET = Qt.ItemDataRole.UserRole + 2
"""The key of the target that an item belongs to."""
_SORT = Qt.ItemDataRole.UserRole + 3
"""What an item is that is neither table nor column: one of the words below."""
_PLACE, _SENTENCE, _RETRY = "target", "sentence", "retry"
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_ICONS = {"table": "results", "quarantine": "quarantine", "control": "state"}


class _Tree(QTreeWidget):
    """A tree that says when Enter is pressed.

    Signals:
        entered: the item, and the column 0.
    """

    entered = Signal(QTreeWidgetItem, int)

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        item = self.currentItem()
        if item is not None and Qt.Key(event.key()) in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self.entered.emit(item, 0)
            return
        super().keyPressEvent(event)


class _Rows(QStyledItemDelegate):
    """Gives up the middle of where a target is; shows a sentence whole, on as many lines as it takes."""

    def __init__(self, tree: QTreeWidget) -> None:
        super().__init__(tree)
        self._tree = tree

    @override
    def initStyleOption(self, option: QStyleOptionViewItem, index: _AnyIndex) -> None:
        super().initStyleOption(option, index)
        if index.data(_SORT) == _PLACE:
            option.textElideMode = Qt.TextElideMode.ElideMiddle

    @override
    def sizeHint(self, option: QStyleOptionViewItem, index: _AnyIndex) -> QSize:
        size = super().sizeHint(option, index)
        if index.data(_SORT) != _SENTENCE:
            return size
        # It stands below a target, so two steps in.
        width = self._tree.viewport().width() - 2 * self._tree.indentation()
        inside = _sentence_rect(QRect(0, 0, width, 0))
        flags = Qt.TextFlag.TextWordWrap | Qt.TextFlag.TextWrapAnywhere
        text = option.fontMetrics.boundingRect(
            QRect(0, 0, inside.width(), 10_000), int(flags), index.data()
        )
        return QSize(size.width(), max(size.height(), text.height() + theme.GRID))

    @override
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _AnyIndex) -> None:
        if index.data(_SORT) != _SENTENCE:
            super().paint(painter, option, index)
            return
        rect: QRect = option.rect
        painter.save()
        if index in self._tree.selectedIndexes():
            painter.fillRect(rect, theme.color("select"))
        icons.icon("bad", "bad").paint(painter, QRect(rect.x() + 4, rect.y() + 4, 16, 16))
        painter.setPen(theme.color("ink"))
        painter.setFont(option.font)
        wrap = QTextOption(Qt.AlignmentFlag.AlignLeft)
        wrap.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        painter.drawText(QRectF(_sentence_rect(rect)), index.data(), wrap)
        painter.restore()


def _sentence_rect(row: QRect) -> QRect:
    """Where the words of a row stand: behind the icon."""
    half = theme.GRID // 2
    return row.adjusted(16 + 2 * half + 2, half, -half, -half)


class CatalogTree(QWidget):
    """Shows what can be queried.

    Signals:
        open_wanted: the name and the target of a table that is to be shown.
        query_wanted: those of a table that is to be queried.
        export_wanted: those of a table that is to be exported.
        name_wanted: a column's name, to be put into the SQL, and the target.
        retry_wanted: the target that is to be asked again.
    """

    open_wanted = Signal(str, str)
    query_wanted = Signal(str, str)
    export_wanted = Signal(str, str)
    name_wanted = Signal(str, str)
    retry_wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("catalog")
        self._listings: tuple[Listing, ...] = ()
        self._tables: dict[tuple[str, str], TableInfo] = {}
        self._search = parts.search_field("Find a table or a column", "catalog_search")
        self._tree = _Tree()
        self._tree.setObjectName("catalog_tree")
        self._tree.setAccessibleName("Tables")
        self._tree.setColumnCount(2)
        self._tree.setHeaderLabels(["Table", "Rows"])
        self._tree.setUniformRowHeights(True)
        self._tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._tree.setItemDelegate(_Rows(self._tree))
        header = self._tree.header()
        header.setAccessibleName("Columns of the list")
        header.setStretchLastSection(False)
        self._tree.headerItem().setTextAlignment(1, _RIGHT)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        column = parts.margins(self, all_round=0, gap=0)
        holder = parts.row(self._search)
        holder.setContentsMargins(*[theme.GRID // 2] * 4)
        column.addWidget(holder)
        column.addWidget(self._tree, 1)
        self._search.textChanged.connect(self._on_search)
        self._tree.itemDoubleClicked.connect(self._on_entered)
        self._tree.entered.connect(self._on_entered)
        self._tree.entered.connect(self._on_retry)
        self._tree.itemClicked.connect(self._on_retry)
        header.sectionResized.connect(self._on_resized)
        self._tree.itemExpanded.connect(self._add_columns)
        self._tree.customContextMenuRequested.connect(self._on_menu)

    def show_targets(self, listings: Sequence[Listing]) -> None:
        """Show what is in these targets; what was open or current stays so.

        Columns come when they are looked at: there may be ten thousand of them, and a catalog that
        changes while jobs run must not hold up the window.
        """
        if tuple(listings) == self._listings:
            return
        self._listings = tuple(listings)
        self._tables = {
            (listing.key, one.name): one for listing in listings for one in listing.tables
        }
        self._show()

    def _show(self) -> None:
        opened = {self._key(item) for item in self._items() if item.isExpanded()}
        closed = {self._key(item) for item in self._items() if _is_shut(item)}
        current = self._tree.currentItem()
        chosen = self._key(current) if current else ""
        # Only a sentence takes more than one line.
        self._tree.setUniformRowHeights(all(one.problem is None for one in self._listings))
        self._fill()
        for item in self._items():
            if self._key(item) in opened:
                item.setExpanded(True)  # which brings its columns
            elif self._key(item) in closed:
                item.setExpanded(False)
        for item in self._items():
            if self._key(item) == chosen:
                self._tree.setCurrentItem(item)
        self._on_search(self._search.text())

    def _fill(self) -> None:
        self._tree.clear()
        several = len(self._listings) > 1
        for listing in self._listings:
            about = _group("About the case")
            group = _target_group(listing) if several else _group("Tables")
            self._add_tables(listing, group, about)
            # Below its own target, where there are others.
            above = group if several else self._tree.invisibleRootItem()
            if several or group.childCount() or listing.problem is not None:
                self._tree.addTopLevelItem(group)
            if about.childCount():
                above.addChild(about)
                about.setExpanded(True)
            if several:
                group.setFirstColumnSpanned(True)
            self._add_state(listing, group, several=several)
            group.setExpanded(True)

    def _add_tables(self, listing: Listing, group: QTreeWidgetItem, about: QTreeWidgetItem) -> None:
        items: dict[str, QTreeWidgetItem] = {}
        for table in sorted(listing.tables, key=lambda one: (one.kind == "quarantine", one.name)):
            items[table.name] = item = _table_item(table, listing.key)
            owner = items.get(table.name.removesuffix(QUARANTINE_SUFFIX))
            if table.kind == "quarantine" and owner is not None:
                owner.insertChild(0, item)
                _mark_quarantined(owner, table.rows)
            else:
                (about if table.kind == "control" else group).addChild(item)

    @staticmethod
    def _add_state(listing: Listing, group: QTreeWidgetItem, *, several: bool) -> None:
        """Say of a target that it is being asked, that it did not answer, or that nothing is in it."""
        if listing.problem is not None:
            rows = _problem_items(listing.problem, listing.key)
        elif several and listing.is_asked and not listing.tables:
            rows = [_note("Reading its tables…", "busy", "busy")]
        elif several and all(one.kind == "control" for one in listing.tables):
            rows = [_note("No tables yet", "info", "faint")]
        else:
            return
        group.insertChildren(0, rows)
        for row in rows:
            row.setFirstColumnSpanned(True)

    def focus_search(self) -> None:
        """Go to the field that finds tables."""
        self._search.setFocus()
        self._search.selectAll()

    @property
    def tree(self) -> QTreeWidget:
        """The tree itself."""
        return self._tree

    def current_table(self) -> str:
        """Return the name of the table that is chosen; empty for none."""
        item = self._tree.currentItem()
        return str(item.data(0, _TABLE) or "") if item else ""

    def choose_table(self, name: str, target: str = "") -> None:
        """Make a table the current item, if it is here."""
        for item in self._items():
            if _table_of(item) == (target, name):
                self._tree.setCurrentItem(item)
                return

    def lines(self) -> list[str]:
        """Return what the tree shows, a line for each item that is not hidden, indented by depth."""
        return [
            f"{'  ' * _depth(item)}{item.text(0)} {item.text(1)}".rstrip()
            for item in self._items()
            if not item.isHidden() and item.data(0, _COLUMN) is None
        ]

    @override
    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            # Items keep the colours they were made with.
            self._show()

    def _items(self) -> Iterator[QTreeWidgetItem]:
        waiting = _children(self._tree.invisibleRootItem())[::-1]
        while waiting:
            item = waiting.pop()
            yield item
            waiting += _children(item)[::-1]

    @staticmethod
    def _key(item: QTreeWidgetItem) -> str:
        named = (item.data(0, role) for role in (_TARGET, _SORT, _TABLE, _COLUMN))
        return f"{'/'.join(map(str, named))}/{_depth(item)}"

    @Slot(str)
    def _on_search(self, text: str) -> None:
        wanted = text.strip().lower()
        for item in [*self._items()]:
            # Quarantine stands or falls with the table above it.
            if _table_of(item) in self._tables and not _table_of(item.parent())[1]:
                self._narrow(item, wanted)

    def _narrow(self, table: QTreeWidgetItem, wanted: str) -> None:
        """Hide a table unless it, its quarantine or one of its columns is wanted."""
        info = self._tables[_table_of(table)]
        named = wanted in info.name.lower()
        if wanted and any(wanted in one.name.lower() for one in info.columns):
            self._add_columns(table)
        children = _children(table)
        found = [child for child in children if wanted in child.text(0).lower()]
        table.setHidden(not (named or found))
        for child in children:
            child.setHidden(bool(wanted) and not named and child not in found)
        if wanted and found and not named:
            table.setExpanded(True)

    @Slot(QTreeWidgetItem)
    def _add_columns(self, item: QTreeWidgetItem) -> None:
        """Give a table its columns, unless it has them."""
        table = self._tables.get(_table_of(item))
        if table is None or item.data(0, _COLUMN) is not None:
            return
        if any(child.data(0, _COLUMN) is not None for child in _children(item)):
            return
        target = str(item.data(0, _TARGET))
        item.addChildren([_column_item(table, column, target) for column in table.columns])

    @Slot(QTreeWidgetItem, int)
    def _on_entered(self, item: QTreeWidgetItem, _column: int) -> None:
        column, (target, name) = item.data(0, _COLUMN), _table_of(item)
        if column is not None:
            self.name_wanted.emit(column, target)
        elif name:
            self.open_wanted.emit(name, target)

    @Slot(QTreeWidgetItem, int)
    def _on_retry(self, item: QTreeWidgetItem, _column: int) -> None:
        if item.data(0, _SORT) == _RETRY:
            self.retry_wanted.emit(item.data(0, _TARGET))

    @Slot()
    def _on_resized(self) -> None:
        if not self._tree.uniformRowHeights():
            self._tree.scheduleDelayedItemsLayout()

    @Slot(QPoint)
    def _on_menu(self, at: QPoint) -> None:
        item = self._tree.itemAt(at)
        if item is None or not item.data(0, _TABLE):
            return
        target, name = _table_of(item)
        column = item.data(0, _COLUMN)
        menu = QMenu(self)
        menu.setObjectName("catalog_menu")
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        acts = [
            ("Open", "results", partial(self.open_wanted.emit, name, target)),
            ("Query", "sql", partial(self.query_wanted.emit, name, target)),
            (
                "Copy the name",
                "copy",
                partial(QGuiApplication.clipboard().setText, name if column is None else column),
            ),
            ("Export…", "export", partial(self.export_wanted.emit, name, target)),
        ]
        for text, icon, act in acts:
            # Dropping the argument: a partial would be called with `checked`.
            menu.addAction(icons.icon(icon), text).triggered.connect(lambda _=False, do=act: do())
        menu.popup(self._tree.viewport().mapToGlobal(at))


def _children(item: QTreeWidgetItem) -> list[QTreeWidgetItem]:
    children = (item.child(at) for at in range(item.childCount()))
    return [child for child in children if child is not None]


def _depth(item: QTreeWidgetItem) -> int:
    depth, above = 0, item.parent()
    while above is not None:
        depth, above = depth + 1, above.parent()
    return depth


def _table_of(item: QTreeWidgetItem | None) -> tuple[str, str]:
    """The target and the name of the table that an item is, or is a column of; an empty name for none."""
    if item is None:
        return "", ""
    return str(item.data(0, _TARGET) or ""), str(item.data(0, _TABLE) or "")


def _is_shut(item: QTreeWidgetItem) -> bool:
    """Whether somebody has closed a group: those are open unless they were."""
    return bool(item.childCount()) and not item.isExpanded() and not item.data(0, _TABLE)


def _group(title: str) -> QTreeWidgetItem:
    group = QTreeWidgetItem([title])
    group.setFont(0, theme.font(strong=True))
    group.setFlags(Qt.ItemFlag.ItemIsEnabled)
    return group


def _target_group(listing: Listing) -> QTreeWidgetItem:
    title = title_of(listing.target)
    group = _group(shown_text(title))
    group.setData(0, _TARGET, listing.key)
    group.setData(0, _SORT, _PLACE)
    group.setToolTip(0, tip(title))
    return group


def _note(text: str, icon: str, token: theme.Token) -> QTreeWidgetItem:
    item = QTreeWidgetItem([text])
    item.setIcon(0, icons.icon(icon, token))
    item.setForeground(0, theme.color("faint"))
    item.setFlags(Qt.ItemFlag.ItemIsEnabled)
    return item


def _problem_items(problem: CasparianError, target: str) -> list[QTreeWidgetItem]:
    """The sentence, and below it the next act."""
    sentence = QTreeWidgetItem([shown_text(str(problem))])
    sentence.setData(0, _SORT, _SENTENCE)
    sentence.setToolTip(0, tip(str(problem)))
    again = QTreeWidgetItem(["Try again"])
    again.setData(0, _SORT, _RETRY)
    again.setIcon(0, icons.icon("retry", "accent"))
    again.setForeground(0, theme.color("accent"))
    for item in (sentence, again):
        item.setData(0, _TARGET, target)
    return [sentence, again]


def _mark_quarantined(item: QTreeWidgetItem, rows: int) -> None:
    """Let a table show that some of what was read is not in it."""
    if not rows:
        return
    item.setIcon(0, icons.icon("partial", "partial"))
    item.setToolTip(0, f"{item.toolTip(0)}<br>{formats.count(rows, 'row')} in quarantine")


def _table_item(table: TableInfo, target: str) -> QTreeWidgetItem:
    label = "quarantine" if table.kind == "quarantine" else shown_text(table.name)
    item = QTreeWidgetItem([label, formats.number(table.rows)])
    item.setData(0, _TABLE, table.name)
    item.setData(0, _TARGET, target)
    token: theme.Token = "partial" if table.kind == "quarantine" and table.rows else "faint"
    item.setIcon(0, icons.icon(_ICONS[table.kind], token))
    item.setTextAlignment(1, _RIGHT)
    parser = f"{table.parser} {table.parser_version}".strip()
    said = f"{table.name}: {formats.count(table.rows, 'row')}"
    item.setToolTip(0, tip(f"{said}, read by {parser}" if parser else said))
    if table.columns:
        item.setChildIndicatorPolicy(QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator)
    return item


def _column_item(table: TableInfo, column: ColumnInfo, target: str) -> QTreeWidgetItem:
    item = QTreeWidgetItem([shown_text(column.name), column.type])
    item.setData(0, _TABLE, table.name)
    item.setData(0, _TARGET, target)
    item.setData(0, _COLUMN, column.name)
    item.setForeground(1, theme.color("faint"))
    item.setToolTip(0, tip(column.doc or column.name))
    return item
