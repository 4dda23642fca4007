"""Rules: which there are, what each matches, and an editor that shows its matches while one types.

The matcher is the service's own, so that what is shown is what saving applies. Built-in rules can be
switched on and off; who wants another one duplicates it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QSplitter, QStackedWidget, QTabWidget, QWidget

from casparian.ui import formats, parts, problems
from casparian.ui.actions import Action
from casparian.ui.record_table import Column, RecordModel, RecordTable
from casparian.ui.routes_tab import RoutesTab
from casparian.ui.rule_editor import RuleEditor
from casparian.ui.tasks import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QAction

    from casparian.bootstrap import Services
    from casparian.domain.errors import CasparianError
    from casparian.domain.events import RulesChanged
    from casparian.domain.evidence import Workspace
    from casparian.domain.ids import RuleId
    from casparian.domain.rules import Rule
    from casparian.services.rules import RuleSummary
    from casparian.ui import theme
    from casparian.ui.actions import Actions
    from casparian.ui.bridge import EventBridge
    from casparian.ui.tasks import Tasks


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule as the list shows it."""

    rule: Rule
    files: int = 0
    size_bytes: int = 0
    is_edited: bool = False
    is_new: bool = False


def _word(row: RuleRow) -> str:
    if row.is_new:
        return "new"
    if row.is_edited:
        return "edited"
    return "on" if row.rule.enabled else "off"


def _state(row: RuleRow) -> tuple[str, theme.Token]:
    if row.is_new or row.is_edited:
        return "edit", "partial"
    return ("good", "good") if row.rule.enabled else ("cancel", "faint")


RULE_COLUMNS: tuple[Column[RuleRow], ...] = (
    Column("State", _word, 88, state=_state),
    Column("Tag", lambda row: row.rule.tag, 96),
    Column("Glob", lambda row: row.rule.glob, 176, mono=True),
    Column("Kinds", lambda row: ", ".join(row.rule.kinds) or "any", 96),
    Column(
        "Files", lambda row: formats.number(row.files), 72, right=True,
        tip=lambda row: f"{formats.count(row.files, 'file')} bear this rule's tag",
    ),
    Column(
        "Size", lambda row: formats.size(row.size_bytes), 80, right=True,
        tip=lambda row: formats.exact_size(row.size_bytes),
    ),
    Column("Priority", lambda row: formats.number(row.rule.priority), 72, right=True),
    Column("From", lambda row: "built in" if row.rule.builtin else "own", 80, faint=True),
)  # fmt: skip


class RulesView(QWidget):
    """The list at the left, the editor at the right. What is edited stays until it is saved or given up.

    Where the rows of each output go is on a page of its own.

    Signals:
        file_wanted: the id of a file that the user opened from the matches.
        routes_wanted: the routes are to be brought into sight.
    """

    file_wanted = Signal(str)
    routes_wanted = Signal()

    def __init__(
        self,
        services: Services,
        tasks: Tasks,
        actions: Actions,
        bridge: EventBridge,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("rules_view")
        self._services, self._tasks = services, tasks
        self._workspace: Workspace | None = None
        self._saved: dict[RuleId, RuleSummary] = {}
        self._drafts: dict[RuleId, Rule] = {}
        self._refresh = Refresh(tasks, self, self._ask, self._on_rules, self._on_failed)
        self._routes = RoutesTab(services, tasks, actions, bridge)
        self._register(actions)
        self._build()
        bridge.rules_changed.connect(self._on_rules_changed)
        bridge.sources_changed.connect(self._on_rules_changed)

    def set_workspace(self, workspace: Workspace) -> None:
        """Show the rules of another workspace; what was not saved is gone."""
        self._workspace = workspace
        self._drafts.clear()
        self._editor.set_workspace(workspace)
        self._editor.show_rule(None)
        self._routes.set_workspace(workspace)
        self._refresh.now()

    def show_routes(self) -> None:
        """Show where the rows of each output go."""
        self._tabs.setCurrentWidget(self._routes)
        self._routes.setFocus()

    def _register(self, actions: Actions) -> None:
        def add(
            verb: str, text: str, act: Callable[[], object], keys: str, icon: str, hint: str = ""
        ) -> QAction:
            shown = partial(self._show_rules_and, act)
            action = Action(f"rules.{verb}", text, shown, "Rules", keys, icon, "rules", hint)
            return actions.add(action, self)

        self._new = add("new", "New rule", self._on_new, "Ctrl+N", "add")
        self._save = add(
            "save", "Save rule", self._on_save, "Ctrl+S", "save",
            "Save the rule and give its tag to exactly the files that it matches",
        )  # fmt: skip
        self._revert = add("revert", "Give up changes", self._on_revert, "", "history")
        self._duplicate = add("duplicate", "Duplicate rule", self._on_duplicate, "Ctrl+D", "copy")
        self._switch = add(
            "switch", "Switch rule on or off", self._on_switch, "Ctrl+E", "good",
            "A rule that is off gives its tag to no file",
        )  # fmt: skip
        self._delete = add("delete", "Delete rule…", self._on_delete, "", "delete")
        actions.add(
            Action(
                "rules.routes", "Show the routes", self.routes_wanted.emit, "Rules", icon="outputs",
                hint="Where the rows of each output go",
            )
        )  # fmt: skip

    def _show_rules_and(self, act: Callable[[], object]) -> None:
        self._tabs.setCurrentWidget(self.splitter)
        act()

    def _build(self) -> None:
        self._model: RecordModel[RuleRow] = RecordModel(RULE_COLUMNS, lambda row: row.rule.id, self)
        self._table = RecordTable(self._model, "rules_table", "Rules")
        self._table.chosen.connect(self._on_chosen)
        self._banner = problems.Banner("rules_banner")
        self._banner.acted.connect(self._refresh.now)
        empty = parts.EmptyState(
            "rules",
            "No rules",
            "A rule gives a tag to the files that its glob matches; parsers read the files of their tags.",
            [self._new],
            name="rules_empty",
        )
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        self._stack.addWidget(self._table)
        side = QWidget()
        column = parts.margins(side, all_round=0, gap=0)
        tools = parts.row(
            parts.action_button(self._new), None,
            *(parts.action_button(one, text=False)
              for one in (self._duplicate, self._switch, self._delete)),
            gap=0,
        )  # fmt: skip
        tools.setContentsMargins(4, 4, 4, 4)
        column.addWidget(tools)
        column.addWidget(parts.hairline())
        column.addWidget(self._banner)
        column.addWidget(self._stack, 1)

        self._editor = RuleEditor(self._services, self._tasks, (self._revert, self._save))
        self._editor.edited.connect(self._on_edited)
        self._editor.file_wanted.connect(self.file_wanted)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.setObjectName("rules_splitter")
        self.splitter.addWidget(side)
        self.splitter.addWidget(self._editor)
        self.splitter.setSizes([560, 640])
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setChildrenCollapsible(False)
        self._tabs = QTabWidget()
        self._tabs.setObjectName("rules_tabs")
        self._tabs.setAccessibleName("Rules and routes")
        self._tabs.setDocumentMode(True)
        self._tabs.addTab(self.splitter, "Rules")
        self._tabs.addTab(self._routes, "Routes")
        parts.margins(self, all_round=0).addWidget(self._tabs)
        self.setFocusProxy(self._table)
        self._enable()

    def _ask(self) -> Callable[[], list[RuleSummary]]:
        rules, workspace = self._services.rules, self._workspace
        return lambda: rules.list(workspace.id) if workspace is not None else []

    def _on_rules(self, summaries: list[RuleSummary]) -> None:
        self._banner.clear()
        self._saved = {one.rule.id: one for one in summaries}
        self._drafts = {
            rule_id: draft
            for rule_id, draft in self._drafts.items()
            if rule_id not in self._saved or self._saved[rule_id].rule != draft
        }
        self._render()

    def _render(self) -> None:
        fresh = [
            RuleRow(draft, is_new=True)
            for rule_id, draft in self._drafts.items()
            if rule_id not in self._saved
        ]
        kept = [
            RuleRow(
                self._drafts.get(one.rule.id, one.rule),
                one.files,
                one.size_bytes,
                is_edited=one.rule.id in self._drafts,
            )
            for one in self._saved.values()
        ]
        self._model.replace([*reversed(fresh), *kept])
        self._stack.setCurrentIndex(1 if self._model.rowCount() else 0)
        self._editor.show_rule(self._current(), self._same_glob())
        self._enable()

    def _current(self) -> Rule | None:
        row = self._table.current()
        return row.rule if row is not None else None

    def _same_glob(self) -> str:
        """The tag of another rule with the same glob, to point at what is probably a slip."""
        rule = self._current()
        others = (one.rule for one in self._saved.values())
        return next(
            (
                other.tag
                for other in others
                if rule is not None
                and other.id != rule.id
                and (other.glob, other.kinds, other.tag) == (rule.glob, rule.kinds, rule.tag)
            ),
            "",
        )

    def _enable(self) -> None:
        rule = self._current()
        saved = rule is not None and rule.id in self._saved
        drafted = rule is not None and rule.id in self._drafts
        self._save.setEnabled(drafted and self._editor.is_sound)
        self._revert.setEnabled(drafted)
        self._duplicate.setEnabled(rule is not None)
        self._switch.setEnabled(saved and not drafted)
        self._delete.setEnabled(rule is not None and not rule.builtin)

    def _on_failed(self, error: CasparianError) -> None:
        self._banner.show_problem(error, "Retry")

    @Slot(object)
    def _on_rules_changed(self, event: RulesChanged) -> None:
        if self._workspace is not None and event.workspace_id == self._workspace.id:
            self._refresh.soon()

    @Slot(object)
    def _on_chosen(self, row: RuleRow | None) -> None:
        self._editor.show_rule(row.rule if row is not None else None, self._same_glob())
        self._enable()

    @Slot(object)
    def _on_edited(self, rule: Rule) -> None:
        saved = self._saved.get(rule.id)
        if saved is not None and saved.rule == rule:
            self._drafts.pop(rule.id, None)
        else:
            self._drafts[rule.id] = rule
        self._render()

    def _on_new(self) -> None:
        self._draft(self._services.rules.new("", ""))

    def _on_duplicate(self) -> None:
        rule = self._current()
        if rule is not None:
            fresh = self._services.rules.new(rule.glob, rule.tag)
            self._draft(replace(rule, id=fresh.id, builtin=False))

    def _draft(self, rule: Rule) -> None:
        self._drafts[rule.id] = rule
        self._render()
        self._table.choose(rule.id)
        self._editor.focus_glob()

    def _on_save(self) -> None:
        rule, workspace, rules = self._current(), self._workspace, self._services.rules
        if rule is None or workspace is None or not self._editor.is_sound:
            return
        self._tasks.run(
            self,
            lambda: rules.save(workspace.id, rule),
            self._on_saved,
            key="save",
            failed=self._on_failed,
            long=True,
        )

    def _on_saved(self, rule: Rule) -> None:
        if self._drafts.get(rule.id) == rule:
            del self._drafts[rule.id]
        self._refresh.now()

    def _on_revert(self) -> None:
        rule = self._current()
        if rule is not None:
            self._drafts.pop(rule.id, None)
            self._render()

    def _on_switch(self) -> None:
        rule, rules = self._current(), self._services.rules
        if rule is not None:
            switch = partial(rules.set_enabled, rule.id, not rule.enabled)
            self._tasks.run(self, switch, key="switch", failed=self._on_failed, long=True)

    def _on_delete(self) -> None:
        rule = self._current()
        if rule is None:
            return
        if rule.id not in self._saved:
            self._on_revert()
            return
        files = formats.count(self._saved[rule.id].files, "file")
        problems.confirm(
            self.window(),
            f"Delete the rule for {rule.glob}?",
            f"{files} lose the tag {rule.tag} that it gave. Rows that were read from them stay.",
            "Delete",
            partial(self._delete_rule, rule),
        )

    def _delete_rule(self, rule: Rule) -> None:
        rules = self._services.rules
        self._drafts.pop(rule.id, None)
        self._tasks.run(self, lambda: rules.delete(rule.id), key="delete", failed=self._on_failed)
