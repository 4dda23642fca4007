"""Export: what, in which form, where to; then how far it is, and what came of it.

The whole of what is named is written, not what is on screen. The work is done by the service in a thread
of its own; the dialog looks at its progress ten times a second, so that no signal crosses threads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, QStandardPaths, Qt, QTimer, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from casparian.catalog.export import SHEET_ROWS
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled
from casparian.domain.evidence import shown_text
from casparian.ui import formats, parts, problems, theme
from casparian.ui.problems import Banner
from casparian.ui.table_model import tip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casparian.catalog.export import Exported
    from casparian.domain.errors import CasparianError
    from casparian.domain.evidence import Workspace
    from casparian.domain.jobs import Progress
    from casparian.domain.results import ViewSpec
    from casparian.services.results import ResultService
    from casparian.ui.tasks import Tasks

_LOOK_MS = 100


@dataclass(frozen=True, slots=True)
class Format:
    """A form in which rows can be written."""

    label: str
    word: str
    """As the service calls it."""
    ending: str
    safe: bool
    note: str


FORMATS = (
    Format(
        "CSV, safe for spreadsheets",
        "csv",
        ".csv",
        safe=True,
        note="Cells that a spreadsheet would take for a formula begin with an apostrophe.",
    ),
    Format(
        "CSV, as it is",
        "csv",
        ".csv",
        safe=False,
        note="Cells may hold formulas from the evidence: for programs, not for spreadsheets.",
    ),
    Format("JSON Lines", "jsonl", ".jsonl", safe=True, note="One object a line, typed."),
    Format("JSON", "json", ".json", safe=True, note="One list of objects."),
    Format("Parquet", "parquet", ".parquet", safe=True, note="All types kept, compressed."),
    Format(
        "Excel workbook",
        "xlsx",
        ".xlsx",
        safe=True,
        note=f"All but numbers is text, so nothing runs. A new sheet begins every {SHEET_ROWS:,} rows.",
    ),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that can be exported."""

    label: str
    """`The whole table`, `What is shown now`, `The result of the query`."""
    what: ViewSpec | str
    """A view of a table, or the SQL of a query."""
    rows: int | None
    """None where it must be counted first."""
    name: str
    """What the file is called, without its ending."""
    target: str = ""
    """The key of the target that it is in; empty for the catalog."""


_ALTERED = {
    "neutralised_cells": "got an apostrophe in front, so that no spreadsheet runs them",
    "cut_cells": "had to be cut to what a spreadsheet's cell holds",
}


class _Latest:
    """The progress reported last; written by the export's thread, read by the dialog's."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def take(self, progress: Progress) -> None:
        """Keep a report in place of the one before."""
        self.progress = progress


class ExportDialog(QDialog):
    """Asks what to export and how, does it, and says what came of it."""

    def __init__(
        self,
        results: ResultService,
        tasks: Tasks,
        workspace: Workspace,
        choices: Sequence[Choice],
        count: Callable[[Choice], int],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("export_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Export")
        self._results, self._tasks, self._workspace = results, tasks, workspace
        self._choices, self._count = tuple(choices), count
        self._rows = [one.rows for one in choices]
        self._uncounted: dict[int, str] = {}
        self._token: CancelToken | None = None
        self._latest = _Latest()
        self._began = 0.0
        self._exported: Exported | None = None
        self._typed_target = False
        self._radios = [QRadioButton(shown_text(one.label)) for one in choices]
        self._group = QButtonGroup(self)
        self._format = QComboBox()
        self._note = problems.plain_label(look="faint", name="export_note")
        self._target = QLineEdit()
        self._browse = QPushButton("Browse…")
        self._banner = Banner("export_banner")
        self._bar = QProgressBar()
        self._state = parts.Elided(name="export_state", look="faint")
        self._digest = QPushButton("Copy SHA-256")
        self._folder = QPushButton("Open folder")
        self._cancel = QPushButton("Cancel")
        self._export = QPushButton("Export")
        self._look = QTimer(self)
        self._name_parts()
        self._lay_out()
        self._connect()
        self._radios[-1].setChecked(True)
        self._radios[-1].setFocus()
        self._suggest_target()
        self._render()
        self._count_rows()

    # asked by tests and by whoever opens it

    def set_target(self, target: Path) -> None:
        """Say where to write to."""
        self._target.setText(str(target))
        self._on_target_typed()

    def state(self) -> str:
        """Return what the dialog says about how far it is."""
        return self._state.text()

    # slots

    @Slot()
    def _on_export(self) -> None:
        target = Path(self._target.text()).expanduser()
        if not self._target.text().strip() or not target.name:
            self._banner.say("Say where to write to.", "partial")
            return
        if target.exists():
            problems.confirm(
                self,
                f"{target.name} is there already",
                f"It lies in {target.parent}. Exporting replaces it and its manifest.",
                "Replace",
                partial(self._start, target, overwrite=True),
            )
            return
        self._start(target, overwrite=False)

    @Slot()
    def _on_cancel(self) -> None:
        if self._token is None:
            self.reject()
            return
        self._token.cancel()
        self._state.say("Cancelling…")

    @Slot()
    def _on_look(self) -> None:
        progress = self._latest.progress
        if progress is None or (self._token is not None and self._token.is_cancelled):
            return
        if progress.total:
            self._bar.setRange(0, 1_000)
            self._bar.setValue(round(1_000 * progress.done / progress.total))
        self._state.say(formats.progress(progress))

    @Slot()
    def _on_choice(self) -> None:
        self._suggest_target()
        self._render()

    @Slot()
    def _on_target_typed(self) -> None:
        """Keep to the name; its ending says which format is meant."""
        self._typed_target = True
        ending = Path(self._target.text()).suffix.lower()
        if ending == self._chosen_format().ending:
            return
        meant = [at for at, one in enumerate(FORMATS) if one.ending == ending]
        if meant:
            blocker = QSignalBlocker(self._format)  # the name stays as it is typed
            self._format.setCurrentIndex(meant[0])
            blocker.unblock()
            self._render()

    @Slot()
    def _on_browse(self) -> None:
        dialog = QFileDialog(self, "Export to", str(Path(self._target.text()).parent))
        dialog.setObjectName("export_browse")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        # Replacing is asked about by the dialog itself, whichever way the path got there.
        dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
        dialog.setDefaultSuffix(self._chosen_format().ending.removeprefix("."))
        dialog.selectFile(Path(self._target.text()).name)
        dialog.fileSelected.connect(self._on_browsed)
        dialog.open()

    @Slot(str)
    def _on_browsed(self, path: str) -> None:
        self.set_target(Path(path))

    @Slot()
    def _on_open_folder(self) -> None:
        if self._exported is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._exported.path.parent)))

    @Slot()
    def _on_copy_digest(self) -> None:
        if self._exported is not None:
            QGuiApplication.clipboard().setText(self._exported.sha256)

    @override
    def reject(self) -> None:
        """Close; an export that runs is cancelled, and the dialog closes once it has ended."""
        if self._token is not None:
            self._token.cancel()
            self._closes_after = True
            self._state.say("Cancelling…")
            return
        super().reject()

    # the work

    def _start(self, target: Path, *, overwrite: bool) -> None:
        chosen, form = self._choice(), self._chosen_format()
        self._banner.clear()
        self._exported = None
        self._latest = _Latest()
        self._token = CancelToken("The export")
        self._closes_after = False
        self._began = time.monotonic()
        self._bar.setRange(0, 0)
        token, latest = self._token, self._latest

        def work() -> Exported | None:
            # A cancelled export must be seen to have ended, so it is a reply like any other.
            try:
                return self._results.export(
                    self._workspace.id,
                    chosen.what,
                    target,
                    form.word,
                    sink=chosen.target,
                    safe=form.safe,
                    overwrite=overwrite,
                    progress=latest.take,
                    cancel=token,
                )
            except Cancelled:
                return None

        self._tasks.run(self, work, self._on_done, key="export", failed=self._on_failed, long=True)
        self._look.start(_LOOK_MS)
        self._render()

    def _on_done(self, exported: Exported | None) -> None:
        self._end()
        if exported is None:
            self._state.say("Cancelled. No file was left.")
            if self._closes_after:
                super().reject()
            return
        self._exported = exported
        took = formats.duration(time.monotonic() - self._began)
        said = [formats.count(exported.rows, "row"), formats.size(exported.size_bytes)]
        if exported.sheets > 1:
            said.append(formats.count(exported.sheets, "sheet"))
        said += [f"SHA-256 {formats.short_hash(exported.sha256)}", took]
        self._state.say(" · ".join(said))
        altered = "".join(
            f" {formats.count(cells, 'cell')} {_ALTERED.get(what, what)}."
            for what, cells in exported.changed.items()
        )
        self._banner.say(
            f"Written to {exported.path}, with its manifest {exported.manifest_path.name}.{altered}",
            "partial" if altered else "good",
        )
        self._render()

    def _on_failed(self, error: CasparianError) -> None:
        self._end()
        self._state.say("")
        self._banner.show_problem(error)
        if self._closes_after:
            super().reject()

    def _end(self) -> None:
        self._look.stop()
        self._token = None
        self._render()

    def _count_rows(self) -> None:
        for at, one in enumerate(self._choices):
            if one.rows is None:
                self._tasks.run(
                    self,
                    partial(self._count, one),
                    partial(self._on_counted, at),
                    key=f"count {at}",
                    failed=partial(self._on_not_counted, at),
                    long=True,
                )

    def _on_counted(self, at: int, rows: int) -> None:
        self._rows[at] = rows
        self._render()

    def _on_not_counted(self, at: int, error: CasparianError) -> None:
        """An export does not need the number: it says what is the matter, if anything is."""
        self._uncounted[at] = str(error)
        self._radios[at].setToolTip(tip(str(error)))
        self._render()

    # rendering

    def _choice(self) -> Choice:
        return self._choices[max(self._group.checkedId(), 0)]

    def _chosen_format(self) -> Format:
        return FORMATS[max(self._format.currentIndex(), 0)]

    def _suggest_target(self) -> None:
        if self._typed_target:
            typed = Path(self._target.text())
            if typed.name and typed.suffix.lower() in {one.ending for one in FORMATS}:
                self._target.setText(str(typed.with_suffix(self._chosen_format().ending)))
            return
        where = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
        name = f"{self._choice().name}{self._chosen_format().ending}"
        self._target.setText(str(Path(where or Path.home()) / name))

    def _render(self) -> None:
        running = self._token is not None
        for at, (radio, one) in enumerate(zip(self._radios, self._choices, strict=True)):
            rows = self._rows[at]
            said = "counting…" if rows is None else formats.count(rows, "row")
            said = "not counted" if at in self._uncounted else said
            radio.setText(shown_text(f"{one.label}: {said}").replace("&", "&&"))
            radio.setEnabled(not running)
        form = self._chosen_format()
        rows = self._rows[max(self._group.checkedId(), 0)]
        note = form.note
        if form.word == "xlsx" and rows is not None and rows > SHEET_ROWS:
            sheets = -(-rows // SHEET_ROWS)
            note = f"{formats.count(rows, 'row')} make {formats.number(sheets)} sheets. {note}"
        self._note.setText(note)
        for control in (self._format, self._target, self._browse, self._export):
            control.setEnabled(not running)
        self._bar.setVisible(running)
        self._cancel.setText("Cancel" if running or self._exported is None else "Close")
        self._digest.setVisible(self._exported is not None)
        self._folder.setVisible(self._exported is not None)

    # building

    def _name_parts(self) -> None:
        for at, radio in enumerate(self._radios):
            radio.setObjectName(f"export_what_{at}")
            radio.setAccessibleName(self._choices[at].label)
            self._group.addButton(radio, at)
        named: tuple[tuple[QWidget, str, str], ...] = (
            (self._format, "export_format", "Format"),
            (self._target, "export_target", "Write to"),
            (self._browse, "export_browse_button", "Browse for the file"),
            (self._bar, "export_progress", "Progress"),
            (self._digest, "export_digest", "Copy the SHA-256 of the file"),
            (self._folder, "export_folder", "Open the folder of the file"),
            (self._cancel, "export_cancel", "Cancel"),
            (self._export, "export_button", "Export"),
        )
        for widget, name, label in named:
            widget.setObjectName(name)
            widget.setAccessibleName(label)
        for one in FORMATS:
            self._format.addItem(one.label)
        self._export.setProperty("look", "primary")
        self._export.setDefault(True)
        self._bar.setTextVisible(False)
        self._closes_after = False

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setHorizontalSpacing(2 * theme.GRID)
        form.setVerticalSpacing(theme.GRID)
        what = QWidget()
        listed = parts.margins(what, all_round=0, gap=theme.GRID // 2)
        for radio in self._radios:
            listed.addWidget(radio)
        form.addRow(parts.faint("What"), what)
        form.addRow(parts.faint("Format"), self._format)
        form.addRow("", self._note)
        target = parts.row(self._target, self._browse)
        layout = target.layout()
        if isinstance(layout, QHBoxLayout):
            layout.setStretch(0, 1)
        form.addRow(parts.faint("Write to"), target)
        form.addRow(
            "",
            parts.faint("A manifest is written beside it: query, sources, hashes, parsers."),
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(*[2 * theme.GRID] * 4)
        column.setSpacing(theme.GRID)
        column.addWidget(parts.heading(f"Export from {self._workspace.name}", large=True))
        column.addLayout(form)
        column.addWidget(self._banner)
        column.addWidget(self._bar)
        column.addWidget(self._state)
        column.addStretch(1)
        column.addWidget(
            parts.row(self._digest, self._folder, None, self._cancel, self._export, gap=theme.GRID)
        )
        self.setMinimumWidth(620)

    def _connect(self) -> None:
        self._group.idToggled.connect(self._on_choice)
        self._format.currentIndexChanged.connect(self._on_choice)
        self._target.textEdited.connect(self._on_target_typed)
        self._browse.clicked.connect(self._on_browse)
        self._cancel.clicked.connect(self._on_cancel)
        self._export.clicked.connect(self._on_export)
        self._folder.clicked.connect(self._on_open_folder)
        self._digest.clicked.connect(self._on_copy_digest)
        self._look.timeout.connect(self._on_look)
