"""Where a source lies on this host, when another host has added it under a path of its own."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from casparian.domain.evidence import shown_path
from casparian.ui import parts, theme
from casparian.ui.problems import plain_label

if TYPE_CHECKING:
    from casparian.domain.errors import CasparianError
    from casparian.domain.evidence import Source
    from casparian.services.sources import SourceService
    from casparian.ui.tasks import Tasks


class RootDialog(parts.Dialog):
    """A path for one source on one host."""

    def __init__(
        self, sources: SourceService, tasks: Tasks, source: Source, host: str, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setObjectName("root_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Where the source lies here")
        self._sources, self._tasks, self._source, self._host = sources, tasks, source, host
        label = QLabel(f"&Path on {host}")
        self._field = QLineEdit()
        self._field.setObjectName("root_path")
        self._field.setAccessibleName("Path on this host")
        self._field.setFont(theme.font(theme.SMALL, mono=True))
        label.setBuddy(self._field)
        browse = QPushButton("Browse…")
        browse.setObjectName("root_browse")
        browse.setAccessibleName("Browse for the source")
        browse.clicked.connect(self._on_browse)
        line = parts.row(self._field, browse)
        layout = line.layout()
        if isinstance(layout, QHBoxLayout):
            layout.setStretch(0, 1)
        self._problem = plain_label(look="bad", name="root_problem")
        self._problem.hide()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self._ok = buttons.addButton("Use this path", QDialogButtonBox.ButtonRole.AcceptRole)
        self._ok.setObjectName("root_ok")
        self._ok.setProperty("look", "primary")
        buttons.accepted.connect(self._on_accepted)
        buttons.rejected.connect(self.reject)
        self._field.textChanged.connect(self._on_typed)
        place = parts.Elided(source.path, name="root_source")
        place.setFont(theme.font(theme.SMALL, mono=True))
        column = parts.margins(self, all_round=2 * theme.GRID)
        for part in (
            place,
            plain_label(
                "The source was added under this path. If this host sees the same evidence under "
                "another one, jobs that run here read it there. A file whose size or time of change is "
                "another there counts as changed.",
                look="faint",
            ),
            label, line, self._problem, buttons,
        ):  # fmt: skip
            column.addWidget(part)
        self.setMinimumWidth(560)
        self._on_typed()
        read = partial(sources.roots, source.id)
        tasks.run(self, read, self._on_roots, key="roots", failed=self._on_failed)

    def _on_roots(self, roots: dict[str, bytes]) -> None:
        if not self._field.text() and (path := roots.get(self._host)) is not None:
            self._field.setText(shown_path(path))

    @Slot()
    def _on_typed(self) -> None:
        self._ok.setEnabled(bool(self._field.text().strip()))
        self._problem.hide()

    @Slot()
    def _on_browse(self) -> None:
        dialog = QFileDialog(self, "Where the source lies here", self._field.text())
        dialog.setObjectName("root_browser")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        mode = QFileDialog.FileMode
        dialog.setFileMode(mode.Directory if self._source.is_folder else mode.ExistingFile)
        dialog.fileSelected.connect(self._field.setText)
        dialog.open()

    @Slot()
    def _on_accepted(self) -> None:
        self._ok.setEnabled(False)
        path = os.fsencode(self._field.text().strip())
        one = self._source
        keep = partial(self._sources.map_root, one.workspace_id, one.path_bytes, self._host, path)
        self._tasks.run(self, keep, self._on_kept, key="keep", failed=self._on_failed)

    def _on_kept(self, _nothing: object) -> None:
        self.accept()

    def _on_failed(self, error: CasparianError) -> None:
        self._ok.setEnabled(bool(self._field.text().strip()))
        self._problem.setText(str(error))
        self._problem.show()
