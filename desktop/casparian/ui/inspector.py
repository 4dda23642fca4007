"""The inspector: one row with every value whole, and where it came from, down to the place in its file.

The row is read anew, off the GUI thread, since the grid keeps only the beginning of long values. What is
shown of a value is bounded all the same (a cell may hold 50 MB); copying takes the whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QSplitter,
    QStackedLayout,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from casparian.domain.contracts import LINEAGE_COLUMNS
from casparian.domain.evidence import shown_text
from casparian.domain.ids import FileId, JobId
from casparian.ui import formats, icons, parts, problems, theme
from casparian.ui.problems import Banner
from casparian.ui.table_model import tip

if TYPE_CHECKING:
    from casparian.catalog.reader import View
    from casparian.domain.errors import CasparianError
    from casparian.domain.evidence import Workspace
    from casparian.services.results import Lineage, ResultService
    from casparian.ui.table_viewer import ChosenRow
    from casparian.ui.tasks import Tasks

MOST_CHARS = 200_000
"""Characters of a value that are shown; a text view lays out no more than that in a moment."""
MOST_BYTES = 16_384
"""Bytes of a binary value that are shown as hex."""
_MOST_JSON = 2_000_000
_MOST_NODES = 3_000
_LINE_CHARS = 200


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the row."""

    name: str
    type: str
    text: str
    """The whole of it, as it is copied."""
    shown: str
    """As people read it: JSON indented, bytes as hex, cut where it is too long."""
    is_null: bool
    parsed: object = None
    """What it holds where it is JSON: an object or a list."""


@dataclass(frozen=True, slots=True)
class RowDetail:
    """A row, read whole."""

    chosen: ChosenRow
    values: tuple[Value, ...]
    lineage: dict[str, str]
    """The lineage columns that the row has, as text."""


def read_row(chosen: ChosenRow) -> RowDetail:
    """Read a row whole; runs off the GUI thread."""
    view: View = chosen.view
    page = view.page(chosen.row, 1)
    values = tuple(
        read_value(column.name, column.type, page.column(at)[0])
        for at, column in enumerate(view.columns)
    )
    lineage = {
        one.name: one.text for one in values if one.name in LINEAGE_COLUMNS and not one.is_null
    }
    return RowDetail(chosen, values, lineage)


def read_value(name: str, word: str, scalar: Any) -> Value:
    """Make a value ready to be shown."""
    if not scalar.is_valid:
        return Value(name, word, "", "", is_null=True)
    raw = scalar.as_py() if word in {"binary", "string", "json"} else None
    if isinstance(raw, bytes):
        return Value(name, word, raw.hex(), hex_dump(raw), is_null=False)
    text = raw if isinstance(raw, str) else formats.plain(scalar)
    parsed = _parsed(text)
    pretty = json.dumps(parsed, indent=2, ensure_ascii=False) if parsed is not None else text
    return Value(name, word, text, _cut(pretty), is_null=False, parsed=parsed)


def _parsed(text: str) -> object:
    """Return what a text holds if it is a JSON object or list; None for any other text."""
    if len(text) > _MOST_JSON or text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _cut(text: str) -> str:
    shown = "\n".join(shown_text(line) for line in text[:MOST_CHARS].split("\n"))
    if len(text) <= MOST_CHARS:
        return shown
    said = f"{formats.number(MOST_CHARS)} of {formats.number(len(text))} characters are shown"
    return f"{shown}\n… {said}; Copy takes all of them"


def hex_dump(raw: bytes) -> str:
    """Return bytes as offset, hex and characters, sixteen a line."""
    lines = []
    for at in range(0, min(len(raw), MOST_BYTES), 16):
        part = raw[at : at + 16]
        chars = "".join(chr(one) if 0x20 <= one < 0x7F else "." for one in part)
        lines.append(f"{at:08x}  {part.hex(' '):<47}  {chars}")
    if len(raw) > MOST_BYTES:
        said = f"{formats.number(MOST_BYTES)} of {formats.number(len(raw))} bytes are shown"
        lines.append(f"… {said}; Copy takes all of them")
    return "\n".join(lines)


_VALUE = Qt.ItemDataRole.UserRole


class Inspector(QWidget):
    """Shows the row that is chosen in Results.

    Signals:
        file_wanted: the id of a file that is to be shown in Sources.
        job_wanted: the id of a job that is to be shown.
        rows_of_file_wanted: the name of a lineage column and its value: filter the table by it.
    """

    file_wanted = Signal(str)
    job_wanted = Signal(str)
    rows_of_file_wanted = Signal(str, str)

    def __init__(self, results: ResultService, tasks: Tasks, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("inspector")
        self.setAccessibleName("Inspector")
        self.setMinimumWidth(280)
        self._results, self._tasks = results, tasks
        self._workspace: Workspace | None = None
        self._detail: RowDetail | None = None
        self._lineage: Lineage | None = None
        self._title = parts.heading(name="inspector_title")
        self._search = parts.search_field("Find in this row", "inspector_search")
        self._tree = _field_tree()
        self._value = _value_view()
        self._value_name = parts.Elided(name="inspector_value_name", look="faint")
        self._copy = _copy_button("Copy the value", "inspector_copy")
        self._origin = _Origin()
        self._banner = Banner("inspector_banner")
        self._build()
        self._render_row()

    def set_workspace(self, workspace: Workspace) -> None:
        """Say whose rows are shown from now on."""
        self._workspace = workspace
        self.show_row(None)

    def show_row(self, chosen: ChosenRow | None) -> None:
        """Show a row; None empties the inspector."""
        if chosen is None:
            self._tasks.drop(self, "row")
            self._tasks.drop(self, "lineage")
            self._detail = self._lineage = None
            self._render_row()
            return
        self._tasks.run(
            self,
            partial(read_row, chosen),
            self._on_row,
            key="row",
            failed=self._on_row_failed,
        )

    @property
    def fields_tree(self) -> QTreeWidget:
        """The tree of names and values."""
        return self._tree

    def fields(self) -> dict[str, str]:
        """Return the values that are shown, by name."""
        return {one.name: one.text for one in self._detail.values} if self._detail else {}

    def origin(self) -> dict[str, str]:
        """Return what is said of the row's origin, by label."""
        return self._origin.said()

    @override
    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange and self._detail is not None:
            # Items keep the colours they were made with.
            self._render_row()
            self._origin.say(self._detail.lineage, self._lineage)

    # replies

    def _on_row(self, detail: RowDetail) -> None:
        self._detail = detail
        self._lineage = None
        self._render_row()
        file_id, job_id = (detail.lineage.get(one) for one in ("_cf_file_id", "_cf_job_id"))
        if self._workspace is None or file_id is None or job_id is None:
            self._origin.say_none()
            return
        self._tasks.run(
            self,
            partial(self._results.lineage, self._workspace.id, FileId(file_id), JobId(job_id)),
            self._on_lineage,
            key="lineage",
            failed=self._on_lineage_failed,
        )

    def _on_row_failed(self, error: CasparianError) -> None:
        self._detail = None
        self._render_row()
        self._banner.show_problem(error)

    def _on_lineage(self, lineage: Lineage) -> None:
        self._lineage = lineage
        if self._detail is not None:
            self._origin.say(self._detail.lineage, lineage)

    def _on_lineage_failed(self, error: CasparianError) -> None:
        if self._detail is not None:
            self._origin.say(self._detail.lineage, None)
        self._origin.setToolTip(tip(str(error)))

    # rendering

    def _render_row(self) -> None:
        detail = self._detail
        self._banner.clear()
        self._pages.setCurrentIndex(1 if detail else 0)
        self._tree.clear()
        self._value.clear()
        self._origin.clear()
        if detail is None:
            return
        self._title.setText(f"Row {formats.number(detail.chosen.row + 1)}")
        nodes = _Nodes()
        for value in detail.values:
            if value.name not in LINEAGE_COLUMNS:
                self._tree.addTopLevelItem(nodes.of_value(value))
        for at in range(self._tree.topLevelItemCount()):
            item = self._tree.topLevelItem(at)
            if item is not None and item.childCount():
                item.setExpanded(True)
        first = self._tree.topLevelItem(0)
        if first is not None:
            self._tree.setCurrentItem(first)
        self._on_search(self._search.text())

    # slots

    @Slot(str)
    def _on_search(self, text: str) -> None:
        wanted = text.strip().lower()
        for at in range(self._tree.topLevelItemCount()):
            item = self._tree.topLevelItem(at)
            if item is not None:
                _narrow(item, wanted)

    @Slot(QTreeWidgetItem, QTreeWidgetItem)
    def _on_item(self, item: QTreeWidgetItem | None, _previous: object = None) -> None:
        value = _value_of(item)
        if value is None:
            return
        self._value_name.say(f"{value.name} · {'null' if value.is_null else value.type}")
        self._value.setPlainText(value.shown)

    @Slot()
    def _on_copy(self) -> None:
        value = _value_of(self._tree.currentItem())
        if value is not None:
            QGuiApplication.clipboard().setText(value.text)

    @Slot(QPoint)
    def _on_menu(self, at: QPoint) -> None:
        value = _value_of(self._tree.itemAt(at))
        if value is None:
            return
        menu = QMenu(self)
        menu.setObjectName("inspector_menu")
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        clipboard = QGuiApplication.clipboard()
        copy = menu.addAction(icons.icon("copy"), "Copy the value")
        copy.triggered.connect(lambda: clipboard.setText(value.text))
        menu.addAction("Copy the name").triggered.connect(lambda: clipboard.setText(value.name))
        pair = menu.addAction("Copy name and value")
        pair.triggered.connect(lambda: clipboard.setText(f"{value.name}\t{value.text}"))
        menu.popup(self._tree.viewport().mapToGlobal(at))

    @Slot()
    def _on_file(self) -> None:
        if self._detail is not None:
            self.file_wanted.emit(self._detail.lineage.get("_cf_file_id", ""))

    @Slot()
    def _on_job(self) -> None:
        if self._detail is not None:
            self.job_wanted.emit(self._detail.lineage.get("_cf_job_id", ""))

    @Slot()
    def _on_rows_of_file(self) -> None:
        if self._detail is not None and "_cf_file_id" in self._detail.lineage:
            self.rows_of_file_wanted.emit("_cf_file_id", self._detail.lineage["_cf_file_id"])

    # building

    def _build(self) -> None:
        empty = parts.EmptyState(
            "inspector",
            "No row is chosen",
            "Choose a row of a table to see every value whole, and the file it came from.",
            name="inspector_empty",
        )
        below = QWidget()
        lower = QVBoxLayout(below)
        lower.setContentsMargins(0, 0, 0, 0)
        lower.setSpacing(0)
        line = QHBoxLayout()
        line.setContentsMargins(theme.GRID, theme.GRID // 2, theme.GRID // 2, theme.GRID // 2)
        line.addWidget(self._value_name, 1)
        line.addWidget(self._copy)
        lower.addLayout(line)
        lower.addWidget(self._value, 1)
        split = QSplitter(Qt.Orientation.Vertical)
        split.setObjectName("inspector_split")
        split.addWidget(self._tree)
        split.addWidget(below)
        split.setSizes([400, 140])
        split.setStretchFactor(0, 1)
        split.setChildrenCollapsible(False)
        row = QWidget()
        column = parts.margins(row, all_round=0, gap=0)
        head = QHBoxLayout()
        head.setContentsMargins(theme.GRID, theme.GRID // 2, theme.GRID // 2, theme.GRID // 2)
        head.setSpacing(theme.GRID)
        head.addWidget(self._title)
        head.addWidget(self._search, 1)
        column.addLayout(head)
        column.addWidget(split, 1)
        column.addWidget(parts.hairline())
        column.addWidget(self._origin)
        self._pages = QStackedLayout()
        whole = parts.margins(self, all_round=0, gap=0)
        whole.addWidget(self._banner)
        whole.addLayout(self._pages, 1)
        self._pages.addWidget(empty)
        self._pages.addWidget(row)
        self._search.textChanged.connect(self._on_search)
        self._tree.currentItemChanged.connect(self._on_item)
        self._tree.customContextMenuRequested.connect(self._on_menu)
        self._copy.clicked.connect(self._on_copy)
        self._origin.file.clicked.connect(self._on_file)
        self._origin.job.clicked.connect(self._on_job)
        self._origin.rows.clicked.connect(self._on_rows_of_file)


class _Nodes:
    """Makes tree items of values; JSON becomes a tree, as far as it is not too large to look at."""

    def __init__(self) -> None:
        self._left = _MOST_NODES

    def of_value(self, value: Value) -> QTreeWidgetItem:
        """Return the item of a value."""
        item = _item(value)
        if value.parsed is not None:
            self._add(item, value.parsed)
        return item

    def _add(self, parent: QTreeWidgetItem, parsed: object) -> None:
        pairs: list[tuple[str, object]] = []
        if isinstance(parsed, dict):
            pairs = [(str(name), inner) for name, inner in parsed.items()]
        elif isinstance(parsed, list):
            pairs = [(f"[{at}]", inner) for at, inner in enumerate(parsed)]
        for name, inner in pairs:
            self._left -= 1
            if self._left < 0:
                return
            nested = isinstance(inner, dict | list)
            if nested:
                text = json.dumps(inner, ensure_ascii=False)
                shown = json.dumps(inner, indent=2, ensure_ascii=False)
            else:
                text = inner if isinstance(inner, str) else json.dumps(inner)
                shown = text
            child = _item(Value(name, "json", text, _cut(shown), is_null=inner is None))
            parent.addChild(child)
            if nested:
                self._add(child, inner)


def _item(value: Value) -> QTreeWidgetItem:
    text = "NULL" if value.is_null else shown_text(value.text[:_LINE_CHARS])
    item = QTreeWidgetItem([shown_text(value.name), text])
    item.setData(0, _VALUE, value)
    item.setForeground(0, theme.color("faint"))
    if value.is_null:
        font = theme.font()
        font.setItalic(True)
        item.setFont(1, font)
        item.setForeground(1, theme.color("faint"))
    item.setToolTip(1, tip(value.text[:_LINE_CHARS]))
    return item


def _value_of(item: QTreeWidgetItem | None) -> Value | None:
    value = item.data(0, _VALUE) if item is not None else None
    return value if isinstance(value, Value) else None


def _narrow(item: QTreeWidgetItem, wanted: str) -> bool:
    """Hide what does not hold the text, in its name, its value or below; say whether it does."""
    value = _value_of(item)
    here = value is not None and (wanted in value.name.lower() or wanted in value.text.lower())
    below = [_narrow(child, wanted) for child in parts_of(item)]
    found = here or any(below)
    item.setHidden(not found)
    return found


def parts_of(item: QTreeWidgetItem) -> list[QTreeWidgetItem]:
    """Return the items below an item."""
    children = (item.child(at) for at in range(item.childCount()))
    return [child for child in children if child is not None]


class _Fields(QTreeWidget):
    """Names and values; Ctrl+C takes a value whole, where Qt would take what its cell shows."""

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        value = _value_of(self.currentItem())
        if event.matches(QKeySequence.StandardKey.Copy) and value is not None:
            QGuiApplication.clipboard().setText(value.text)
            return
        super().keyPressEvent(event)


def _field_tree() -> QTreeWidget:
    tree = _Fields()
    tree.setObjectName("inspector_fields")
    tree.setAccessibleName("Values of the row")
    tree.setColumnCount(2)
    tree.setHeaderLabels(["Column", "Value"])
    tree.setUniformRowHeights(True)
    tree.setIndentation(12)
    tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
    header = tree.header()
    header.setAccessibleName("Name and value")
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
    header.setStretchLastSection(True)
    header.resizeSection(0, 136)
    return tree


def _value_view() -> QPlainTextEdit:
    view = QPlainTextEdit()
    view.setObjectName("inspector_value")
    view.setAccessibleName("The value, whole")
    view.setProperty("look", "plain")
    view.setReadOnly(True)
    view.setTabChangesFocus(True)
    view.setFont(theme.font(theme.SMALL, mono=True))
    view.setUndoRedoEnabled(False)
    return view


def _copy_button(label: str, name: str) -> QToolButton:
    button = QToolButton()
    button.setIcon(icons.icon("copy"))
    button.setObjectName(name)
    button.setAccessibleName(label)
    button.setToolTip(label)
    return button


class _Origin(QFrame):
    """Says where the row came from."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("origin")
        self.setAccessibleName("Where the row came from")
        self._whole: dict[str, str] = {}
        self._lines: dict[str, parts.Elided] = {}
        self._sentence = problems.plain_label(look="faint", name="origin_sentence")
        self._form = QWidget()
        form = QFormLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(theme.GRID)
        form.setVerticalSpacing(2)
        for label in _ORIGIN:
            self._lines[label] = parts.Elided(name=f"origin_{label.lower().replace(' ', '_')}")
            self._lines[label].setAccessibleName(label)
            line: QWidget = self._lines[label]
            if label in _COPIED:
                copy = _copy_button(f"Copy: {label}", f"origin_copy_{label.lower()}")
                copy.clicked.connect(partial(self._on_copy, label))
                line = parts.row(self._lines[label], copy)
                stretch = line.layout()
                if isinstance(stretch, QHBoxLayout):
                    stretch.setStretch(0, 1)
            form.addRow(parts.faint(label), line)
        self.file = _link("Show in Sources", "origin_file")
        self.rows = _link("All its rows", "origin_rows")
        self.job = _link("Job", "origin_job")
        self.file.setToolTip("Show the file in Sources")
        self.rows.setToolTip("Show all rows that came from this file")
        self.job.setToolTip("Show the job that read it")
        column = parts.margins(self, gap=theme.GRID // 2)
        column.addWidget(parts.heading("Where it came from"))
        column.addWidget(self._sentence)
        column.addWidget(self._form)
        self._links = parts.row(self.file, self.rows, self.job, None)
        column.addWidget(self._links)
        self._show({})

    def clear(self) -> None:
        """Say nothing."""
        self._show({})
        self.setToolTip("")

    def say_none(self) -> None:
        """Say that the row does not carry its origin."""
        self._show(
            {},
            "The row does not say: it is made of several, or its query leaves _cf_file_id and "
            "_cf_job_id out.",
        )

    def say(self, row: dict[str, str], lineage: Lineage | None) -> None:
        """Say where the row came from; without a lineage only what the row itself says."""
        said = {
            "File": row.get("_cf_file_id", ""),
            "Position": row.get("_cf_row", ""),
            "BLAKE3": row.get("_cf_source_hash", ""),
            "Parser": row.get("_cf_parser_version", ""),
            "Processed": row.get("_cf_processed_at", ""),
            "Job": row.get("_cf_job_id", ""),
        }
        if lineage is not None:
            found, job = lineage.file, lineage.job
            if found is not None:
                said["File"] = f"{found.source_path}/{found.file.path}"
                said["SHA-256"] = found.file.sha256
                said["State"] = f"{found.status}, {formats.size(found.file.size_bytes)}"
            else:
                said["File"] = f"{lineage.path} (its source was removed from the case)"
            said["Parser"] = f"{job.parser} {row.get('_cf_parser_version', job.parser_version)}"
            said["Job"] = f"{job.state} · {job.id}"
        self._show(said)

    def said(self) -> dict[str, str]:
        """Return what is said, by label."""
        return dict(self._whole)

    def _show(self, said: dict[str, str], sentence: str = "") -> None:
        self._whole = {label: text for label, text in said.items() if text}
        for label, line in self._lines.items():
            line.say(self._whole.get(label, formats.NO_VALUE))
        self._sentence.setText(sentence)
        self._sentence.setVisible(bool(sentence))
        self._form.setVisible(not sentence)
        self._links.setVisible(not sentence)
        self._links.setEnabled(bool(self._whole))

    def _on_copy(self, label: str) -> None:
        QGuiApplication.clipboard().setText(self._whole.get(label, ""))


_ORIGIN = ("File", "Position", "State", "SHA-256", "BLAKE3", "Parser", "Processed", "Job")
_COPIED = ("File", "SHA-256", "BLAKE3")


def _link(text: str, name: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setAccessibleName(text)
    button.setProperty("look", "link")
    return button
