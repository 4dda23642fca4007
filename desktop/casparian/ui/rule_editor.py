"""The fields of one rule, a sentence under each that does not hold, and what it matches as one types."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QSizePolicy,
    QSpinBox,
    QStackedWidget,
    QWidget,
)

from casparian.domain.errors import UserProblem
from casparian.domain.rules import compiled
from casparian.ui import formats, parts, problems, theme
from casparian.ui.record_table import Column, RecordModel, RecordTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QAction

    from casparian.bootstrap import Services
    from casparian.domain.errors import CasparianError
    from casparian.domain.evidence import EvidenceFile, Workspace
    from casparian.domain.rules import Rule
    from casparian.services.rules import RulePreview
    from casparian.ui.tasks import Tasks

TYPING_PAUSE_MS = 200
SHOWN_MATCHES = 500

MATCH_COLUMNS: tuple[Column[EvidenceFile], ...] = (
    Column("File", lambda file: file.path, 320),
    Column("Kind", lambda file: file.kind, 88),
    Column(
        "Size", lambda file: formats.size(file.size_bytes), 88, right=True,
        tip=lambda file: formats.exact_size(file.size_bytes),
    ),
    Column("Tags", lambda file: ", ".join(file.tags), 160, faint=True),
)  # fmt: skip


class RuleEditor(QWidget):
    """Edits a copy of a rule; says at every change what it has become.

    Signals:
        edited: the Rule as the fields have it.
        file_wanted: the id of a match that was opened.
    """

    edited = Signal(object)
    file_wanted = Signal(str)

    def __init__(self, services: Services, tasks: Tasks, acts: Sequence[QAction]) -> None:
        super().__init__()
        self.setObjectName("rule_editor")
        self._services, self._tasks = services, tasks
        self._workspace: Workspace | None = None
        self._rule: Rule | None = None
        self._kind_words: tuple[str, ...] = ()
        self.is_sound = False
        """Whether the rule holds, so that it can be saved."""
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_PAUSE_MS)
        self._typing.timeout.connect(self._on_typing_paused)
        self._build(acts)

    def set_workspace(self, workspace: Workspace) -> None:
        """Match against the files of another workspace."""
        self._workspace = workspace

    def show_rule(self, rule: Rule | None, same_as: str = "") -> None:
        """Show a rule; one that is shown already keeps the cursor where it is."""
        self._stack.setCurrentIndex(1 if rule is not None else 0)
        before, self._rule = self._rule, rule
        if rule is None:
            self._tasks.drop(self, "preview")
            self._typing.stop()
            return
        if self._read() != rule or before is None or before.id != rule.id:
            self._fill(rule)
        self._title.say(f"Editing: {rule.tag}" if rule.tag else "New rule")
        self._fixed.setVisible(rule.builtin)
        self._check(rule, same_as)
        if before is None or _asks(before) != _asks(rule):
            self._tasks.drop(self, "preview")
            self._typing.start()

    def focus_glob(self) -> None:
        """Put the cursor where typing begins."""
        self._glob.setFocus()

    def _build(self, acts: Sequence[QAction]) -> None:
        self._build_fields()
        self._matches: RecordModel[EvidenceFile] = RecordModel(
            MATCH_COLUMNS, lambda file: file.id, self
        )
        matches = RecordTable(self._matches, "rule_matches", "Files that the rule matches")
        matches.opened.connect(self._on_match_opened)
        self._count = parts.heading(name="rule_count")
        head = parts.row(self._count, None)
        head.setContentsMargins(16, 8, 16, 8)
        shown = QWidget()
        column = parts.margins(shown, all_round=0, gap=0)
        column.addWidget(self._build_form(acts))
        column.addWidget(parts.hairline())
        column.addWidget(head)
        column.addWidget(matches, 1)
        self._stack = QStackedWidget()
        self._stack.addWidget(
            parts.EmptyState(
                "rules",
                "No rule is chosen",
                "Choose one to see what it matches, or make a new one.",
                name="rule_none",
            )
        )
        self._stack.addWidget(shown)
        parts.margins(self, all_round=0).addWidget(self._stack)

    def _build_fields(self) -> None:
        self._glob = _line("Glob", "rule_glob", "**/*.evtx")
        self._glob.setFont(theme.font(mono=True))
        self._glob.setToolTip(
            "* and ? stay within one part of the path, ** crosses parts, [abc] is one of them, {a,b} "
            "either. Without a / it is matched against the name alone. Case does not matter."
        )
        self._glob_problem = problems.plain_label(look="bad", name="rule_glob_problem")
        self._tag = _line("Tag", "rule_tag", "evtx")
        self._tag_problem = problems.plain_label(look="bad", name="rule_tag_problem")
        self._priority = QSpinBox()
        self._priority.setRange(0, 100_000)
        # The style sheet gives the field within no room at its left.
        self._priority.lineEdit().setTextMargins(7, 0, 0, 0)
        self._priority.setObjectName("rule_priority")
        self._priority.setAccessibleName("Priority")
        self._priority.setToolTip(
            "Lower comes first in lists; it keeps no other rule from matching"
        )
        self._enabled = QCheckBox("Give the tag to what matches")
        self._enabled.setObjectName("rule_enabled")
        self._exclude = QPlainTextEdit()
        self._exclude.setObjectName("rule_exclude")
        self._exclude.setAccessibleName("Exclusions")
        self._exclude.setPlaceholderText("One glob a line; what one of them matches is left out")
        self._exclude.setFont(theme.font(theme.SMALL, mono=True))
        self._exclude.setTabChangesFocus(True)
        self._exclude.setFixedHeight(104)
        self._kinds = QListWidget()
        self._kinds.setObjectName("rule_kinds")
        self._kinds.setAccessibleName("Kinds")
        self._kinds.setProperty("look", "field")
        self._kinds.setToolTip("What the bytes say a file is; none ticked means any")
        self._kinds.setFixedHeight(104)

        self._glob.textEdited.connect(self._on_changed)
        self._tag.textEdited.connect(self._on_changed)
        self._exclude.textChanged.connect(self._on_changed)
        self._priority.valueChanged.connect(self._on_changed)
        self._enabled.toggled.connect(self._on_changed)
        self._kinds.itemChanged.connect(self._on_changed)

    def _build_form(self, acts: Sequence[QAction]) -> QWidget:
        form = QWidget()
        form.setObjectName("rule_form")
        grid = QGridLayout(form)
        grid.setContentsMargins(16, 16, 16, 8)
        grid.setHorizontalSpacing(theme.GRID)
        grid.setVerticalSpacing(theme.GRID // 2)
        grid.setColumnStretch(1, 3)
        grid.setColumnStretch(3, 2)
        self._title = parts.Elided(name="rule_title")
        self._title.setFont(theme.font(theme.LARGE, strong=True))
        self._title.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        save = parts.push_button(acts[-1], look="primary")
        others = (parts.push_button(one) for one in acts[:-1])
        grid.addWidget(parts.row(self._title, *others, save, gap=theme.GRID), 0, 0, 1, 4)
        self._fixed = parts.faint(
            "This rule is built in: switch it on or off, or duplicate it to change it.",
            name="rule_fixed",
        )
        grid.addWidget(self._fixed, 1, 0, 1, 4)
        _place(grid, 2, 0, "&Glob", self._glob)
        _place(grid, 2, 2, "&Tag", self._tag)
        grid.addWidget(self._glob_problem, 3, 1)
        grid.addWidget(self._tag_problem, 3, 3)
        _place(grid, 4, 0, "E&xclusions", self._exclude)
        _place(grid, 4, 2, "&Kinds", self._kinds)
        _place(grid, 5, 0, "&Priority", self._priority)
        grid.addWidget(self._enabled, 5, 3)
        return form

    def _fill(self, rule: Rule) -> None:
        widgets = (self._glob, self._tag, self._exclude, self._priority, self._enabled)
        blockers = [QSignalBlocker(widget) for widget in widgets]
        self._glob.setText(rule.glob)
        self._tag.setText(rule.tag)
        self._exclude.setPlainText("\n".join(rule.exclude))
        self._priority.setValue(rule.priority)
        self._enabled.setChecked(rule.enabled)
        self._offer_kinds(rule)
        del blockers
        for field in (self._glob, self._tag, self._exclude, self._priority):
            field.setReadOnly(rule.builtin)
            field.style().unpolish(field)
            field.style().polish(field)

    def _offer_kinds(self, rule: Rule) -> None:
        # What is ticked comes first: it is seen without scrolling.
        words = sorted(
            {*self._kind_words, *rule.kinds}, key=lambda one: (one not in rule.kinds, one)
        )
        with QSignalBlocker(self._kinds):
            self._kinds.clear()
            for word in words:
                item = QListWidgetItem(word, self._kinds)
                change = (
                    Qt.ItemFlag.NoItemFlags if rule.builtin else Qt.ItemFlag.ItemIsUserCheckable
                )
                item.setFlags(change | Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                ticked = word in rule.kinds
                item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)

    def _read(self) -> Rule | None:
        if self._rule is None:
            return None
        items = (self._kinds.item(at) for at in range(self._kinds.count()))
        lines = (line.strip() for line in self._exclude.toPlainText().splitlines())
        return replace(
            self._rule,
            glob=self._glob.text().strip(),
            tag=self._tag.text().strip(),
            exclude=tuple(line for line in lines if line),
            kinds=tuple(one.text() for one in items if one.checkState() is Qt.CheckState.Checked),
            priority=self._priority.value(),
            enabled=self._enabled.isChecked(),
        )

    def _check(self, rule: Rule, same_as: str) -> None:
        glob = _problem(replace(rule, tag="any"))
        tag = _problem(replace(rule, glob="**", exclude=()))
        self.is_sound = not glob and not tag
        # An untouched new rule is not scolded for being empty.
        if not glob and same_as:
            _say(self._glob_problem, f"Another rule gives {same_as} to the same files.", "partial")
        else:
            _say(self._glob_problem, glob if rule.glob else "", "bad")
        _say(self._tag_problem, tag if rule.tag else "", "bad")
        _mark(self._glob, invalid=bool(glob and rule.glob))
        _mark(self._tag, invalid=bool(tag and rule.tag))

    @Slot()
    def _on_changed(self, _value: object = None) -> None:
        rule = self._read()
        if rule is not None and rule != self._rule:
            self.edited.emit(rule)

    @Slot()
    def _on_typing_paused(self) -> None:
        rule, workspace, services = self._rule, self._workspace, self._services
        if rule is None or workspace is None:
            return
        if _problem(replace(rule, tag="any")):
            self._matches.replace([])
            self._count.setText("")
            return
        asked = replace(rule, tag=rule.tag if not _problem(rule) else "any")
        if not self._count.text():
            self._count.setText("Matching")

        def work() -> tuple[RulePreview, tuple[str, ...]]:
            kinds = services.sources.kinds(workspace.id)
            preview = services.rules.preview(workspace.id, asked, SHOWN_MATCHES)
            return preview, tuple(word for word, _ in kinds if word)

        self._tasks.run(self, work, self._on_preview, key="preview", failed=self._on_failed)

    def _on_preview(self, reply: tuple[RulePreview, tuple[str, ...]]) -> None:
        preview, kinds = reply
        if kinds != self._kind_words and self._rule is not None:
            self._kind_words = kinds
            self._offer_kinds(self._rule)
        self._matches.replace(preview.rows)
        if not preview.files:
            self._count.setText("No file matches")
            return
        verb = "matches" if preview.files == 1 else "match"
        text = f"{formats.count(preview.files, 'file')} {verb} · {formats.size(preview.size_bytes)}"
        if preview.files > len(preview.rows):
            text = f"{text} · the first {formats.number(len(preview.rows))} are shown"
        self._count.setText(text)

    def _on_failed(self, error: CasparianError) -> None:
        self._matches.replace([])
        self._count.setText(str(error))

    @Slot(object)
    def _on_match_opened(self, file: EvidenceFile) -> None:
        self.file_wanted.emit(file.id)


def _asks(rule: Rule) -> tuple[object, ...]:
    """What of a rule decides about its matches."""
    return rule.id, rule.glob, rule.exclude, rule.kinds, rule.min_size, rule.max_size


def _problem(rule: Rule) -> str:
    try:
        compiled(rule)
    except UserProblem as problem:
        return str(problem)
    return ""


def _say(label: QLabel, text: str, look: str) -> None:
    label.setText(text)
    label.setVisible(bool(text))
    parts.set_look(label, look)


def _mark(field: QLineEdit, *, invalid: bool) -> None:
    if field.property("invalid") is not invalid:
        field.setProperty("invalid", invalid)
        field.style().unpolish(field)
        field.style().polish(field)


def _line(title: str, name: str, example: str) -> QLineEdit:
    field = QLineEdit()
    field.setObjectName(name)
    field.setAccessibleName(title)
    field.setPlaceholderText(example)
    return field


def _place(grid: QGridLayout, row: int, column: int, title: str, field: QWidget) -> None:
    label = QLabel(title)
    label.setProperty("look", "faint")
    label.setBuddy(field)
    tall = isinstance(field, QPlainTextEdit | QListWidget)
    align = Qt.AlignmentFlag.AlignTop if tall else Qt.AlignmentFlag.AlignVCenter
    grid.addWidget(label, row, column, align)
    grid.addWidget(field, row, column + 1)
