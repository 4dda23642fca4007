"""Rules: list, preview, save, delete. Saving a rule retags the files in the same transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from casparian.domain.events import RulesChanged
from casparian.domain.evidence import FileState
from casparian.domain.ids import RuleId, WorkspaceId, new_id
from casparian.domain.rules import Rule, compiled

if TYPE_CHECKING:
    from casparian.domain.events import EventBus
    from casparian.domain.evidence import EvidenceFile
    from casparian.state.database import Store, UnitOfWork


@dataclass(frozen=True, slots=True)
class RuleSummary:
    """A rule, and how many files bear its tag."""

    rule: Rule
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RulePreview:
    """What a rule would match as it stands."""

    files: int
    size_bytes: int
    rows: list[EvidenceFile]
    """The first of them."""


class RuleService:
    """What can be done with rules."""

    def __init__(self, store: Store, bus: EventBus) -> None:
        self._store = store
        self._bus = bus

    def list(self, workspace_id: WorkspaceId) -> list[RuleSummary]:
        """The rules by priority."""
        with self._store.read() as uow:
            tagged = uow.evidence.tagged(workspace_id)
            return [
                RuleSummary(rule, *tagged.get(rule.id, (0, 0)))
                for rule in uow.evidence.rules(workspace_id)
            ]

    @staticmethod
    def new(glob: str, tag: str) -> Rule:
        """A rule that is not saved yet."""
        return Rule(RuleId(new_id()), glob, tag)

    def preview(self, workspace_id: WorkspaceId, rule: Rule, limit: int = 200) -> RulePreview:
        """Match a rule, saved or not, against the files on record.

        Raises:
            UserProblem: the rule does not hold.
        """
        with self._store.read() as uow:
            matched = _matched(uow, workspace_id, rule)
        return RulePreview(len(matched), sum(one.size_bytes for one in matched), matched[:limit])

    def save(self, workspace_id: WorkspaceId, rule: Rule) -> Rule:
        """Add or change a rule, and give its tag to exactly the files that it matches.

        Raises:
            UserProblem: the rule does not hold.
        """
        with self._store.write() as uow:
            self._apply(uow, workspace_id, rule)
            uow.commit()
        self._bus.publish(RulesChanged(workspace_id))
        return rule

    def set_enabled(self, rule_id: RuleId, enabled: bool) -> None:  # noqa: FBT001  (a setter)
        """Let a rule give its tag, or not."""
        with self._store.write() as uow:
            rule, workspace_id = uow.evidence.rule(rule_id)
            self._apply(uow, workspace_id, replace(rule, enabled=enabled))
            uow.commit()
        self._bus.publish(RulesChanged(workspace_id))

    def delete(self, rule_id: RuleId) -> None:
        """Delete a rule and the tags it gave; rows that were read stay."""
        with self._store.write() as uow:
            _, workspace_id = uow.evidence.rule(rule_id)
            uow.evidence.delete_rule(rule_id)
            uow.commit()
        self._bus.publish(RulesChanged(workspace_id))

    @staticmethod
    def _apply(uow: UnitOfWork, workspace_id: WorkspaceId, rule: Rule) -> None:
        matched = _matched(uow, workspace_id, rule)
        uow.evidence.save_rule(workspace_id, rule)
        ids = [file.id for file in matched] if rule.enabled else []
        uow.evidence.set_tags(rule.id, rule.tag, ids)


def _matched(uow: UnitOfWork, workspace_id: WorkspaceId, rule: Rule) -> list[EvidenceFile]:
    ready = compiled(rule)
    return [
        file
        for file in uow.evidence.files(workspace_id)
        if file.state is FileState.HASHED and ready.matches(file.path, file.kind, file.size_bytes)
    ]
