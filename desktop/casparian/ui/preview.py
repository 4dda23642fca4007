"""A look into any file: its facts, its bytes as hex, its text; one stretch at a time, read off-thread."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import (
    QLabel,
    QPlainTextEdit,
    QSizePolicy,
    QTabWidget,
    QWidget,
)

from casparian.domain.evidence import shown_text
from casparian.ui import formats, parts, problems, theme

if TYPE_CHECKING:
    from casparian.bootstrap import Services
    from casparian.domain.errors import CasparianError
    from casparian.domain.ids import FileId
    from casparian.state.evidence import FileRow
    from casparian.ui.tasks import Tasks

STRETCH = 16_384
"""Bytes shown at once: a thousand lines of hex."""
_WIDTH = 16
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some bytes of a file, ready to be shown."""

    offset: int
    length: int
    hex: str
    text: str


def hex_lines(data: bytes, offset: int) -> str:
    """Bytes as people of this trade read them: offset, sixteen bytes, printable characters."""
    lines = []
    for at in range(0, len(data), _WIDTH):
        piece = data[at : at + _WIDTH]
        left, right = piece[:8].hex(" "), piece[8:].hex(" ")
        chars = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece)
        lines.append(f"{offset + at:010x}  {left:<23}  {right:<23}  {chars}")
    return "\n".join(lines)


def as_text(data: bytes) -> str:
    """Bytes as text for reading, not for evidence: a guessed encoding, every odd character escaped."""
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "")
    if not encoding:
        # Text in two-byte characters without a mark has a zero in every other byte.
        zeros = data[1:512:2].count(0)
        encoding = "utf-16-le" if zeros > len(data[:512]) // 4 else "utf-8"
    text = data.decode(encoding, "replace").removeprefix("\ufeff")
    return "\n".join(shown_text(line) for line in text.splitlines())


class Preview(QWidget):
    """Facts, hex and text of one file.

    Signals:
        closed: the user does not want to see it any more.
    """

    closed = Signal()

    def __init__(self, services: Services, tasks: Tasks, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("preview")
        self._services, self._tasks = services, tasks
        self._row: FileRow | None = None
        self._offset = 0
        self._build()

    def show_file(self, row: FileRow | None) -> None:
        """Show another file from its start; None shows nothing."""
        if row is not None and self._row is not None and row.file == self._row.file:
            self._row = row
            return
        self._row = row
        if row is None:
            self.hide()
            return
        self._render_facts(row)
        self._hex.clear()
        self._text.clear()
        self._read(0)
        self.show()

    def _build(self) -> None:
        self._name = parts.Elided(name="preview_name")
        self._name.setFont(theme.font(strong=True))
        close = parts.icon_button("close", "Close preview", "preview_close")
        close.clicked.connect(self.closed)
        head = parts.row(self._name, close)
        head.setContentsMargins(8, 4, 4, 0)

        self._facts = parts.Elided(name="preview_facts", look="faint")
        self._digests: dict[str, QLabel] = {}
        line: list[QWidget] = [self._facts]
        for name in ("BLAKE3", "SHA-256"):
            value = QLabel()
            value.setObjectName(f"preview_{name}")
            value.setFont(theme.font(theme.SMALL, mono=True))
            copy = parts.icon_button("copy", f"Copy {name}", f"preview_copy_{name}")
            copy.clicked.connect(partial(self._copy, name))
            line += [parts.faint(name), value, copy]
            self._digests[name] = value
        facts = parts.row(*line, gap=theme.GRID)
        facts.setContentsMargins(8, 0, 4, 0)
        self._facts.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

        self._hex = _page("preview_hex", "Bytes of the file")
        self._text = _page("preview_text", "Text of the file")
        self._tabs = QTabWidget()
        self._tabs.setObjectName("preview_tabs")
        self._tabs.setAccessibleName("Preview of the file")
        self._tabs.setDocumentMode(True)
        self._tabs.addTab(self._hex, "Hex")
        self._tabs.addTab(self._text, "Text")
        self._back = parts.icon_button("up", "Earlier bytes", "preview_back")
        self._on = parts.icon_button("down", "Later bytes", "preview_on")
        self._back.clicked.connect(self._on_back)
        self._on.clicked.connect(self._on_on)
        self._where = QLabel()
        self._where.setProperty("look", "faint")
        foot = parts.row(self._where, None, self._back, self._on)
        foot.setContentsMargins(8, 0, 4, 0)
        self._banner = problems.Banner("preview_banner")
        column = parts.margins(self, all_round=0, gap=0)
        for part in (head, facts, self._banner):
            column.addWidget(part)
        column.addWidget(self._tabs, 1)
        column.addWidget(foot)
        self.setMinimumHeight(160)
        self.hide()

    def _render_facts(self, row: FileRow) -> None:
        file = row.file
        self._name.say(f"{row.source_path.rstrip('/')}/{file.path}")
        facts = [formats.exact_size(file.size_bytes), file.kind or "kind unknown"]
        facts.append(f"modified {formats.file_time(file.mtime_ns)}")
        if row.note:
            facts.append(row.note)
        self._facts.say(" · ".join(facts))
        digests = {"BLAKE3": file.source_hash, "SHA-256": file.sha256}
        for name, value in digests.items():
            self._digests[name].setText(formats.short_hash(value) or "not hashed")
            self._digests[name].setToolTip(value)

    def _copy(self, name: str) -> None:
        if self._row is not None:
            file = self._row.file
            problems.copy_text(file.source_hash if name == "BLAKE3" else file.sha256)

    def _read(self, offset: int) -> None:
        row, sources = self._row, self._services.sources
        if row is None:
            return
        self._offset = offset

        def work(file_id: FileId = row.file.id) -> Stretch:
            data = sources.read_bytes(file_id, offset, STRETCH)
            return Stretch(offset, len(data), hex_lines(data, offset), as_text(data))

        self._banner.clear()
        self._tasks.run(self, work, self._on_read, key="read", failed=self._on_failed)

    def _on_read(self, stretch: Stretch) -> None:
        self._hex.setPlainText(stretch.hex)
        self._text.setPlainText(stretch.text)
        size = self._row.file.size_bytes if self._row is not None else 0
        last = stretch.offset + stretch.length
        self._where.setText(
            f"bytes {formats.number(stretch.offset)} to {formats.number(last)} of {formats.number(size)}"
            if stretch.length
            else "empty"
        )
        self._back.setEnabled(stretch.offset > 0)
        self._on.setEnabled(last < size)

    def _on_failed(self, error: CasparianError) -> None:
        self._banner.show_problem(error)
        self._back.setEnabled(False)
        self._on.setEnabled(False)
        self._where.setText("")

    @Slot()
    def _on_back(self) -> None:
        self._read(max(self._offset - STRETCH, 0))

    @Slot()
    def _on_on(self) -> None:
        self._read(self._offset + STRETCH)


def _page(name: str, title: str) -> QPlainTextEdit:
    page = QPlainTextEdit()
    page.setReadOnly(True)
    page.setObjectName(name)
    page.setAccessibleName(title)
    page.setProperty("look", "plain")
    page.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    page.setFont(theme.font(theme.SMALL, mono=True))
    return page
