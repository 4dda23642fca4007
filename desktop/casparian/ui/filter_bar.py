"""What narrows a table, seen and changed: the field to search everywhere, filters as chips, their editor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QWidget,
)

from casparian.domain.errors import UserProblem
from casparian.domain.evidence import shown_text
from casparian.ui import filters, icons, problems, theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.domain.results import ColumnInfo, Filter

_VALUE_HINTS = {
    "in": "values, separated by commas",
    filters.BETWEEN: "from",
}


class FilterEditor(QFrame):
    """Asks for one filter: a column, a comparison, a value; what is wrong is said under the value.

    Signals:
        chosen: a tuple of Filter.
    """

    chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setObjectName("filter_editor")
        self.setAccessibleName("Filter")
        self.setProperty("look", "card")
        self._columns: dict[str, ColumnInfo] = {}
        self._column = _combo("filter_column", "Column")
        self._operator = _combo("filter_operator", "Comparison")
        self._value = _field("filter_value", "Value")
        self._value_to = _field("filter_value_to", "Upper value")
        self._problem = problems.plain_label(look="bad", name="filter_problem")
        self._apply = QPushButton("Filter")
        self._apply.setObjectName("filter_apply")
        self._apply.setAccessibleName("Filter")
        self._apply.setProperty("look", "primary")
        self._lay_out()
        self._column.currentIndexChanged.connect(self._on_column_chosen)
        self._operator.currentIndexChanged.connect(self._on_operator_chosen)
        self._value.returnPressed.connect(self._on_apply)
        self._value_to.returnPressed.connect(self._on_apply)
        self._apply.clicked.connect(self._on_apply)

    def ask(self, columns: Sequence[ColumnInfo], column: str, at: QPoint) -> None:
        """Open at a place on the screen, for a column."""
        self._columns = {one.name: one for one in columns}
        self._column.blockSignals(True)  # noqa: FBT003  (Qt's own signature)
        self._column.clear()
        for one in columns:
            self._column.addItem(shown_text(one.name), one.name)
        self._column.blockSignals(False)  # noqa: FBT003  (as above)
        self._column.setCurrentIndex(max(self._column.findData(column), 0))
        self._on_column_chosen()
        self._value.clear()
        self._value_to.clear()
        self._say("")
        self.adjustSize()
        self.move(self._inside_screen(at))
        self.show()
        (self._value if self._value.isVisible() else self._operator).setFocus()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(*[theme.GRID] * 4)
        grid.setSpacing(theme.GRID)
        grid.addWidget(self._column, 0, 0)
        grid.addWidget(self._operator, 0, 1)
        grid.addWidget(self._value, 1, 0, 1, 2)
        grid.addWidget(self._value_to, 2, 0, 1, 2)
        grid.addWidget(self._problem, 3, 0, 1, 2)
        grid.addWidget(self._apply, 4, 1)
        self.setMinimumWidth(360)

    def _inside_screen(self, at: QPoint) -> QPoint:
        screen = self.screen().availableGeometry()
        return QPoint(
            max(screen.left(), min(at.x(), screen.right() - self.width())),
            max(screen.top(), min(at.y(), screen.bottom() - self.height())),
        )

    def _chosen_column(self) -> ColumnInfo | None:
        return self._columns.get(str(self._column.currentData()))

    @Slot()
    def _on_column_chosen(self) -> None:
        column = self._chosen_column()
        before = self._operator.currentData()
        self._operator.clear()
        for operator, label in filters.comparisons(column.type if column else ""):
            self._operator.addItem(label, operator)
        self._operator.setCurrentIndex(max(self._operator.findData(before), 0))

    @Slot()
    def _on_operator_chosen(self) -> None:
        operator = str(self._operator.currentData())
        self._value.setVisible(filters.takes_value(operator))
        self._value.setPlaceholderText(_VALUE_HINTS.get(operator, "value"))
        self._value_to.setVisible(operator == filters.BETWEEN)
        self._value_to.setPlaceholderText("to")
        self.adjustSize()

    @Slot()
    def _on_apply(self) -> None:
        column = self._chosen_column()
        if column is None:
            return
        try:
            made = filters.made(
                column,
                str(self._operator.currentData()),
                self._value.text(),
                self._value_to.text(),
            )
        except UserProblem as problem:
            self._say(str(problem))
            return
        self.close()
        self.chosen.emit(made)

    def _say(self, text: str) -> None:
        self._problem.setText(shown_text(text))
        self._problem.setVisible(bool(text))
        self.adjustSize()


class FilterChips(QWidget):
    """The filters that hold, each with a way to take it away; hidden while there are none.

    Signals:
        removed: the Filter that is to go; None for all of them.
    """

    removed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("filter_chips")
        self.setAccessibleName("Filters that hold")
        self._texts: list[str] = []
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(theme.GRID, 0, theme.GRID, theme.GRID // 2)
        self._row.setSpacing(theme.GRID // 2)
        self.hide()

    def show_filters(self, held: Sequence[Filter], columns: Sequence[ColumnInfo]) -> None:
        """Show these filters."""
        while (item := self._row.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        words = {one.name: one.type for one in columns}
        self._texts = [filters.in_words(one, words.get(one.column, "string")) for one in held]
        for index, (text, one) in enumerate(zip(self._texts, held, strict=True)):
            self._row.addWidget(self._chip(index, text, one))
        if len(held) > 1:
            self._row.addWidget(self._clear_all())
        self._row.addStretch(1)
        self.setVisible(bool(held))

    def texts(self) -> list[str]:
        """Return what the chips say."""
        return list(self._texts)

    def _chip(self, index: int, text: str, one: Filter) -> QFrame:
        chip = QFrame()
        chip.setProperty("look", "card")
        line = QHBoxLayout(chip)
        line.setContentsMargins(theme.GRID, 0, 2, 0)
        line.setSpacing(2)
        label = QLabel(text)
        label.setTextFormat(Qt.TextFormat.PlainText)
        close = QToolButton()
        close.setIcon(icons.icon("close", "faint"))
        close.setObjectName(f"filter_remove_{index}")
        close.setAccessibleName(f"Remove the filter: {text}")
        close.setToolTip("Remove this filter")
        close.clicked.connect(partial(self.removed.emit, one))
        line.addWidget(label)
        line.addWidget(close)
        return chip

    def _clear_all(self) -> QPushButton:
        button = QPushButton("Clear all")
        button.setObjectName("filter_clear")
        button.setAccessibleName("Clear all filters")
        button.setProperty("look", "link")
        button.clicked.connect(partial(self.removed.emit, None))
        return button


def _combo(name: str, label: str) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    combo.setAccessibleName(label)
    combo.setMinimumContentsLength(12)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return combo


def _field(name: str, label: str) -> QLineEdit:
    field = QLineEdit()
    field.setObjectName(name)
    field.setAccessibleName(label)
    return field
