"""What a drop does, seen from the window: paths as the system has them, progress, a way to stop it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, QMimeData, QObject, Qt, QUrl, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from casparian.domain.cancel import CancelToken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.bootstrap import Services
    from casparian.domain.events import ScanProgressed
    from casparian.domain.evidence import Workspace
    from casparian.domain.jobs import Progress
    from casparian.services.intake import IntakeReport
    from casparian.ui.bridge import EventBridge
    from casparian.ui.tasks import Tasks


def path_of(url: QUrl) -> bytes:
    """The exact path of a local file: names need not be UTF-8, and Qt's text of them would lose that."""
    if os.name == "nt":
        return os.fsencode(url.toLocalFile())
    encoded = url.path(QUrl.ComponentFormattingOption.FullyEncoded).encode("ascii")
    return bytes(QByteArray.fromPercentEncoding(QByteArray(encoded)).data())


def local_paths(data: QMimeData) -> list[bytes]:
    """The files and folders of this machine that something dragged stands for."""
    return [path_of(url) for url in data.urls() if url.isLocalFile()]


class IntakeControl(QObject):
    """Takes in what the user points at, any number of times at once.

    Signals:
        progressed: the Progress of the scan that reported last.
        ended: an IntakeReport.
        running_changed: how many intakes are at work.
    """

    progressed = Signal(object)
    ended = Signal(object)
    running_changed = Signal(int)

    # Emitted by the pool's thread, so that an intake is over for the window also if it failed.
    _over = Signal(str)

    def __init__(
        self, services: Services, tasks: Tasks, bridge: EventBridge, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._services, self._tasks = services, tasks
        self._tokens: dict[str, CancelToken] = {}
        self._count = 0
        self._over.connect(self._on_over, Qt.ConnectionType.QueuedConnection)
        bridge.scan_progressed.connect(self._on_scan_progressed)

    def take_in(
        self, workspace: Workspace, paths: Sequence[bytes], *, run: bool, force: bool = False
    ) -> None:
        """Add, scan, tag and plan; with `run` the jobs start as well."""
        if not paths:
            return
        self._count += 1
        key, token, intake = f"intake {self._count}", CancelToken("The scan"), self._services.intake
        self._tokens[key] = token

        def work() -> IntakeReport:
            try:
                return intake.take_in(workspace.id, paths, force=force, run=run, cancel=token)
            finally:
                self._over.emit(key)

        self._tasks.run(self, work, self.ended.emit, key=key, token=token, long=True)
        self.running_changed.emit(len(self._tokens))

    def cancel(self) -> None:
        """Stop every intake; what was scanned until then stays on record."""
        for token in self._tokens.values():
            token.cancel()

    def browse(self, parent: QWidget, workspace: Workspace, *, folder: bool, run: bool) -> None:
        """Let the user choose a folder, or files, and take them in."""
        title = "Add a folder of evidence" if folder else "Add files of evidence"
        dialog = QFileDialog(parent, title)
        dialog.setObjectName("browse_dialog")
        mode = QFileDialog.FileMode
        dialog.setFileMode(mode.Directory if folder else mode.ExistingFiles)
        if folder:
            dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.finished.connect(dialog.deleteLater)
        dialog.urlsSelected.connect(partial(self._on_chosen, workspace, run=run))
        dialog.open()

    def _on_chosen(self, workspace: Workspace, urls: list[QUrl], *, run: bool) -> None:
        self.take_in(workspace, [path_of(url) for url in urls], run=run)

    @Slot(str)
    def _on_over(self, key: str) -> None:
        self._tokens.pop(key, None)
        self.running_changed.emit(len(self._tokens))

    @Slot(object)
    def _on_scan_progressed(self, event: ScanProgressed) -> None:
        progress: Progress = event.progress
        if self._tokens:
            self.progressed.emit(progress)
