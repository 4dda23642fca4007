"""The plan: for every file what will run, and why the rest will not, before anything runs.

A pure decision over what is on record. Content is read once per parser, however many files hold it,
and not at all where it is in its table already, under the contract that the table has now.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from casparian.domain.evidence import FileState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from casparian.domain.evidence import EvidenceFile


@dataclass(frozen=True, slots=True)
class ParserInfo:
    """What the plan needs to know of a parser."""

    name: str
    version: str
    artifact_hash: str
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one file, or why nothing does."""

    file: EvidenceFile
    parser: str
    """Empty where no parser comes into question."""
    runs: bool
    reason: str
    """Why it runs, or why it does not: a clause for a person."""


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One parser's share of a plan."""

    parser: str
    version: str
    files: int
    size_bytes: int
    jobs: int


@dataclass(frozen=True, slots=True)
class PlanRest:
    """Files that will not be read, for one reason."""

    reason: str
    files: int
    size_bytes: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One parser over a batch of files."""

    parser: ParserInfo
    files: tuple[EvidenceFile, ...]

    @property
    def size_bytes(self) -> int:
        """The size of the batch."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every decision, and the jobs that follow from them."""

    decisions: tuple[Decision, ...]
    jobs: tuple[PlannedJob, ...]

    @property
    def items(self) -> tuple[PlanItem, ...]:
        """By parser: how much there is to do."""
        ordered = sorted(self.jobs, key=lambda job: job.parser.name)
        found = []
        for parser, group in groupby(ordered, key=lambda job: job.parser):
            batch = list(group)
            found.append(
                PlanItem(
                    parser=parser.name,
                    version=parser.version,
                    files=sum(len(job.files) for job in batch),
                    size_bytes=sum(job.size_bytes for job in batch),
                    jobs=len(batch),
                )
            )
        return tuple(found)

    @property
    def rest(self) -> tuple[PlanRest, ...]:
        """By reason: what will not be read, commonest first."""
        by_reason: dict[str, list[EvidenceFile]] = defaultdict(list)
        for one in self.decisions:
            if not one.runs:
                by_reason[one.reason].append(one.file)
        rest = [
            PlanRest(
                reason=reason,
                files=len(files),
                size_bytes=sum(file.size_bytes for file in files),
                examples=tuple(file.path for file in files[:5]),
            )
            for reason, files in by_reason.items()
        ]
        return tuple(sorted(rest, key=lambda one: (-one.files, one.reason)))


@dataclass(frozen=True, slots=True)
class Known:
    """What is on record about content that some parser has read, or is going to read."""

    done: Mapping[tuple[str, str], str]
    """(source hash, artifact hash) -> empty if done for the current contract, else why not any more."""
    earlier: frozenset[tuple[str, str]]
    """(source hash, parser name) read by any version of the parser."""
    waiting: frozenset[tuple[str, str]]
    """(source hash, parser name) that an open job is going to read."""
    failed: frozenset[tuple[str, str]] = frozenset()
    """(source hash, artifact hash) of content that the parser could not read: it would fail again."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a job may become."""

    size_bytes: int
    files: int


def plan(
    files: Iterable[EvidenceFile],
    parsers: Sequence[ParserInfo],
    known: Known,
    limits: BatchLimits,
    *,
    force: bool = False,
) -> Plan:
    """Decide for every file; `force` reads again what is done already."""
    decisions: list[Decision] = []
    taken: dict[tuple[str, str], EvidenceFile] = {}
    for file in files:
        if reason := _unreadable(file):
            decisions.append(Decision(file, "", runs=False, reason=reason))
            continue
        claimants = [one for one in parsers if set(one.topics) & set(file.tags)]
        if not claimants:
            decisions.append(Decision(file, "", runs=False, reason=_unclaimed(file)))
        for parser in claimants:
            first = taken.get((file.source_hash, parser.name))
            if first is not None:
                reason = "another file with the same content is read"
                decisions.append(Decision(file, parser.name, runs=False, reason=reason))
                continue
            decision = _decide(file, parser, known, force=force)
            decisions.append(decision)
            if decision.runs:
                taken[(file.source_hash, parser.name)] = file
    return Plan(tuple(decisions), _batches(decisions, parsers, limits))


def _unreadable(file: EvidenceFile) -> str:
    if file.state is FileState.HASHED:
        return ""
    return {
        FileState.UNREADABLE: "it could not be read",
        FileState.CHANGED: "it changed while it was being read; scan it again",
        FileState.MISSING: "it is no longer there",
    }[file.state]


def _unclaimed(file: EvidenceFile) -> str:
    if file.size_bytes == 0:
        return "it is empty"
    if file.tags:
        return f"no parser reads the tag {file.tags[0]}"
    return f"no rule gives it a tag that a parser reads (kind {file.kind})"


def _decide(file: EvidenceFile, parser: ParserInfo, known: Known, *, force: bool) -> Decision:
    runs, reason = True, "new"
    stale = known.done.get((file.source_hash, parser.artifact_hash))
    if (file.source_hash, parser.name) in known.waiting:
        runs, reason = False, "a job is going to read it"
    elif force:
        reason = "asked for again"
    elif stale == "":
        runs, reason = False, f"done already by {parser.name} {parser.version}"
    elif stale:
        reason = stale
    elif (file.source_hash, parser.artifact_hash) in known.failed:
        runs = False
        reason = (
            f"{parser.name} {parser.version} could not read it before; retry its job to try again"
        )
    elif (file.source_hash, parser.name) in known.earlier:
        reason = f"read by another version of {parser.name} before"
    return Decision(file, parser.name, runs=runs, reason=reason)


def _batches(
    decisions: Sequence[Decision], parsers: Sequence[ParserInfo], limits: BatchLimits
) -> tuple[PlannedJob, ...]:
    jobs: list[PlannedJob] = []
    for parser in parsers:
        batch: list[EvidenceFile] = []
        size = 0
        for one in decisions:
            if not one.runs or one.parser != parser.name:
                continue
            # A file that is large by itself is a job of its own.
            if one.file.size_bytes > limits.size_bytes:
                jobs.append(PlannedJob(parser, (one.file,)))
                continue
            full = size + one.file.size_bytes > limits.size_bytes or len(batch) == limits.files
            if batch and full:
                jobs.append(PlannedJob(parser, tuple(batch)))
                batch, size = [], 0
            batch.append(one.file)
            size += one.file.size_bytes
        if batch:
            jobs.append(PlannedJob(parser, tuple(batch)))
    return tuple(jobs)
