"""Which columns of a table are shown, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QWidget,
)

from casparian.domain.evidence import shown_text
from casparian.ui import parts

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMN = Qt.ItemDataRole.UserRole


class ColumnChooser(QFrame):
    """A list of the columns: tick what is shown, move what stands elsewhere.

    Signals:
        shown_changed: logical index of a column, and whether it is shown.
        moved: logical index of a column, and by how many places (-1 or 1).
    """

    shown_changed = Signal(int, bool)
    moved = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setObjectName("column_chooser")
        self.setAccessibleName("Columns")
        self.setProperty("look", "card")
        self._search = parts.search_field("Find a column", "column_search")
        self._list = QListWidget()
        self._list.setObjectName("column_list")
        self._list.setAccessibleName("Columns that are shown")
        self._list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        up, down = _button("Move left", "column_left"), _button("Move right", "column_right")
        everything, nothing = _button("All", "columns_all"), _button("None", "columns_none")
        column = parts.margins(self)
        column.addWidget(self._search)
        column.addWidget(self._list)
        column.addWidget(parts.row(everything, nothing, None, up, down))
        self.setMinimumSize(320, 360)
        self._search.textChanged.connect(self._on_search)
        self._list.itemChanged.connect(self._on_ticked)
        up.clicked.connect(self._on_up)
        down.clicked.connect(self._on_down)
        everything.clicked.connect(self._on_all)
        nothing.clicked.connect(self._on_none)

    def ask(self, columns: Sequence[tuple[int, str, bool]], at: QPoint) -> None:
        """Open at a place on the screen.

        Args:
            columns: logical index, name, and whether it is shown, in the order of the table.
            at: the upper left corner.
        """
        self._list.blockSignals(True)  # noqa: FBT003  (Qt's own signature)
        self._list.clear()
        for index, name, shown in columns:
            item = QListWidgetItem(shown_text(name))
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked)
            item.setData(_COLUMN, index)
            self._list.addItem(item)
        self._list.blockSignals(False)  # noqa: FBT003  (as above)
        self._search.clear()
        screen = self.screen().availableGeometry()
        self.move(
            max(screen.left(), min(at.x(), screen.right() - self.width())),
            max(screen.top(), min(at.y(), screen.bottom() - self.height())),
        )
        self.show()
        self._search.setFocus()

    @Slot(str)
    def _on_search(self, text: str) -> None:
        for item in self._items():
            item.setHidden(text.lower() not in item.text().lower())

    @Slot(QListWidgetItem)
    def _on_ticked(self, item: QListWidgetItem) -> None:
        shown = item.checkState() is Qt.CheckState.Checked
        self.shown_changed.emit(item.data(_COLUMN), shown)

    @Slot()
    def _on_up(self) -> None:
        self._move(-1)

    @Slot()
    def _on_down(self) -> None:
        self._move(1)

    @Slot()
    def _on_all(self) -> None:
        for item in self._items():
            if not item.isHidden():
                item.setCheckState(Qt.CheckState.Checked)

    @Slot()
    def _on_none(self) -> None:
        for item in self._items():
            if not item.isHidden():
                item.setCheckState(Qt.CheckState.Unchecked)

    def _items(self) -> list[QListWidgetItem]:
        return [self._list.item(row) for row in range(self._list.count())]

    def _move(self, places: int) -> None:
        row = self._list.currentRow()
        if row < 0 or not 0 <= row + places < self._list.count():
            return
        item = self._list.takeItem(row)
        self._list.insertItem(row + places, item)
        self._list.setCurrentItem(item)
        self.moved.emit(item.data(_COLUMN), places)


def _button(text: str, name: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setAccessibleName(text)
    return button
