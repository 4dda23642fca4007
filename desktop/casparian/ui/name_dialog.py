"""Asks for a name, and keeps asking while the service says why it cannot be that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QLineEdit, QWidget

from casparian.ui import parts, theme
from casparian.ui.problems import plain_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.domain.errors import CasparianError
    from casparian.ui.tasks import Tasks


class NameDialog(QDialog):
    """A field, a sentence under it, and a verb."""

    def __init__(
        self,
        tasks: Tasks,
        title: str,
        verb: str,
        act: Callable[[str], object],
        then: Callable[[str], None],
        parent: QWidget,
        name: str = "",
    ) -> None:
        """`act` runs off the GUI thread and may raise; `then` gets the name once it went well."""
        super().__init__(parent)
        self.setObjectName("name_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self._tasks, self._act, self._then = tasks, act, then
        label = QLabel("&Name")
        self._field = QLineEdit(name)
        self._field.setObjectName("name_field")
        self._field.setAccessibleName("Name")
        self._field.setMaxLength(100)
        self._field.setMinimumWidth(360)
        self._field.selectAll()
        label.setBuddy(self._field)
        self._problem = plain_label(look="bad", name="name_problem")
        self._problem.hide()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self._yes = buttons.addButton(verb, QDialogButtonBox.ButtonRole.AcceptRole)
        self._yes.setObjectName("name_accept")
        self._yes.setProperty("look", "primary")
        buttons.accepted.connect(self._on_accepted)
        buttons.rejected.connect(self.reject)
        self._field.textChanged.connect(self._on_text_changed)
        column = parts.margins(self, all_round=2 * theme.GRID)
        for part in (label, self._field, self._problem, buttons):
            column.addWidget(part)
        self._on_text_changed()

    @Slot()
    def _on_text_changed(self) -> None:
        self._yes.setEnabled(bool(self._field.text().strip()))
        self._problem.hide()

    @Slot()
    def _on_accepted(self) -> None:
        name = self._field.text().strip()
        self._yes.setEnabled(False)
        self._tasks.run(
            self,
            lambda: self._act(name),
            lambda _: self._on_done(name),
            key="name",
            failed=self._on_failed,
        )

    def _on_done(self, name: str) -> None:
        self.accept()
        self._then(name)

    def _on_failed(self, error: CasparianError) -> None:
        self._yes.setEnabled(True)
        self._problem.setText(str(error))
        self._problem.show()
        self._field.setFocus()
