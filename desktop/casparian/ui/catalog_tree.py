"""The catalog as a tree: tables with their rows, quarantine beneath each, columns, the control plane."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication, QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QMenu,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)
from typing_extensions import override

from casparian.domain.evidence import shown_text
from casparian.domain.results import QUARANTINE_SUFFIX, TableInfo
from casparian.ui import formats, icons, parts, theme
from casparian.ui.table_model import tip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casparian.domain.results import ColumnInfo

_TABLE = Qt.ItemDataRole.UserRole
_COLUMN = Qt.ItemDataRole.UserRole + 1
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


class CatalogTree(QWidget):
    """Shows what can be queried.

    Signals:
        open_wanted: the name of a table that is to be shown.
        query_wanted: the name of a table that is to be queried.
        export_wanted: the name of a table that is to be exported.
        name_wanted: a column's name, to be put into the SQL.
    """

    open_wanted = Signal(str)
    query_wanted = Signal(str)
    export_wanted = Signal(str)
    name_wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("catalog")
        self._tables: dict[str, TableInfo] = {}
        self._search = parts.search_field("Find a table or a column", "catalog_search")
        self._tree = _Tree()
        self._tree.setObjectName("catalog_tree")
        self._tree.setAccessibleName("Tables")
        self._tree.setColumnCount(2)
        self._tree.setHeaderLabels(["Table", "Rows"])
        self._tree.setUniformRowHeights(True)
        self._tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
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
        self._tree.itemExpanded.connect(self._add_columns)
        self._tree.customContextMenuRequested.connect(self._on_menu)

    def show_tables(self, tables: Sequence[TableInfo]) -> None:
        """Show these tables; what was open or current stays so.

        Their columns come when they are looked at: there may be ten thousand of them, and a catalog that
        changes while jobs run must not hold up the window.
        """
        opened = {self._key(item) for item in self._items() if item.isExpanded()}
        current = self._tree.currentItem()
        chosen = self._key(current) if current else ""
        self._tables = {one.name: one for one in tables}
        self._fill()
        for item in self._items():
            if self._key(item) in opened:
                item.setExpanded(True)  # which brings its columns
        for item in self._items():
            if self._key(item) == chosen:
                self._tree.setCurrentItem(item)
        self._on_search(self._search.text())

    def _fill(self) -> None:
        self._tree.clear()
        groups = {"table": _group("Tables"), "control": _group("About the case")}
        items: dict[str, QTreeWidgetItem] = {}
        tables = self._tables.values()
        for table in sorted(tables, key=lambda one: (one.kind == "quarantine", one.name)):
            items[table.name] = item = _table_item(table)
            owner = items.get(table.name.removesuffix(QUARANTINE_SUFFIX))
            if table.kind == "quarantine" and owner is not None:
                owner.insertChild(0, item)
                _mark_quarantined(owner, table.rows)
            else:
                groups["control" if table.kind == "control" else "table"].addChild(item)
        for group in groups.values():
            if group.childCount():
                self._tree.addTopLevelItem(group)
                group.setExpanded(True)

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
            self.show_tables([*self._tables.values()])

    def _items(self) -> Iterator[QTreeWidgetItem]:
        waiting = _children(self._tree.invisibleRootItem())[::-1]
        while waiting:
            item = waiting.pop()
            yield item
            waiting += _children(item)[::-1]

    @staticmethod
    def _key(item: QTreeWidgetItem) -> str:
        return f"{item.data(0, _TABLE)}/{item.data(0, _COLUMN)}/{_depth(item)}"

    @Slot(str)
    def _on_search(self, text: str) -> None:
        wanted = text.strip().lower()
        for group in _children(self._tree.invisibleRootItem()):
            for table in _children(group):
                self._narrow(table, wanted)

    def _narrow(self, table: QTreeWidgetItem, wanted: str) -> None:
        """Hide a table unless it, its quarantine or one of its columns is wanted."""
        name = str(table.data(0, _TABLE))
        named = wanted in name.lower()
        if wanted and any(wanted in one.name.lower() for one in self._tables[name].columns):
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
        table = self._tables.get(str(item.data(0, _TABLE)))
        if table is None or item.data(0, _COLUMN) is not None:
            return
        if any(child.data(0, _COLUMN) is not None for child in _children(item)):
            return
        item.addChildren([_column_item(table, column) for column in table.columns])

    @Slot(QTreeWidgetItem, int)
    def _on_entered(self, item: QTreeWidgetItem, _column: int) -> None:
        column = item.data(0, _COLUMN)
        if column is not None:
            self.name_wanted.emit(column)
        elif item.data(0, _TABLE):
            self.open_wanted.emit(item.data(0, _TABLE))

    @Slot(QPoint)
    def _on_menu(self, at: QPoint) -> None:
        item = self._tree.itemAt(at)
        if item is None or not item.data(0, _TABLE):
            return
        name = str(item.data(0, _TABLE))
        column = item.data(0, _COLUMN)
        menu = QMenu(self)
        menu.setObjectName("catalog_menu")
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        acts = [
            ("Open", "results", partial(self.open_wanted.emit, name)),
            ("Query", "sql", partial(self.query_wanted.emit, name)),
            (
                "Copy the name",
                "copy",
                partial(QGuiApplication.clipboard().setText, name if column is None else column),
            ),
            ("Export…", "export", partial(self.export_wanted.emit, name)),
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


def _group(title: str) -> QTreeWidgetItem:
    group = QTreeWidgetItem([title])
    group.setFont(0, theme.font(strong=True))
    group.setFlags(Qt.ItemFlag.ItemIsEnabled)
    return group


def _mark_quarantined(item: QTreeWidgetItem, rows: int) -> None:
    """Let a table show that some of what was read is not in it."""
    if not rows:
        return
    item.setIcon(0, icons.icon("partial", "partial"))
    item.setToolTip(0, f"{item.toolTip(0)}<br>{formats.count(rows, 'row')} in quarantine")


def _table_item(table: TableInfo) -> QTreeWidgetItem:
    label = "quarantine" if table.kind == "quarantine" else shown_text(table.name)
    item = QTreeWidgetItem([label, formats.number(table.rows)])
    item.setData(0, _TABLE, table.name)
    token: theme.Token = "partial" if table.kind == "quarantine" and table.rows else "faint"
    item.setIcon(0, icons.icon(_ICONS[table.kind], token))
    item.setTextAlignment(1, _RIGHT)
    parser = f"{table.parser} {table.parser_version}".strip()
    said = f"{table.name}: {formats.count(table.rows, 'row')}"
    item.setToolTip(0, tip(f"{said}, read by {parser}" if parser else said))
    if table.columns:
        item.setChildIndicatorPolicy(QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator)
    return item


def _column_item(table: TableInfo, column: ColumnInfo) -> QTreeWidgetItem:
    item = QTreeWidgetItem([shown_text(column.name), column.type])
    item.setData(0, _TABLE, table.name)
    item.setData(0, _COLUMN, column.name)
    item.setForeground(1, theme.color("faint"))
    item.setToolTip(0, tip(column.doc or column.name))
    return item
