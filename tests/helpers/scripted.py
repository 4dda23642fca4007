"""One script over every method of every repository, with hard values; its answers are the same everywhere."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from casparian.domain.contracts import Column
from casparian.domain.evidence import (
    EvidenceFile,
    FileState,
    ProblemKind,
    Scan,
    ScanProblem,
    ScanState,
    Source,
    Workspace,
    shown_path,
)
from casparian.domain.jobs import Job, JobFile, JobFileState, JobState
from casparian.domain.rules import Rule
from casparian.state import evidence, outputs, queue, records
from casparian.state.evidence import FileQuery
from casparian.state.outputs import Materialization, OutputFile, Route, TableContract
from casparian.state.records import HistoryEntry

if TYPE_CHECKING:
    import pytest

    from casparian.state.database import Store, UnitOfWork

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
MOST = 2**63 - 1
HARD = "50%_[x]|'\"\\ \U0001f4a9 e\u0301 ;-- NULL \u202e\ttab\nline"
NAMES = [
    b"plain.txt",
    b"Plain.txt",
    b"logs/a.txt",
    b"Logs/a.txt",
    b"log[s]/b.txt",
    b"logs%/b.txt",
    b"log_s/b.txt",
    b"logs|/b.txt",
    b"\xff\xfe undecodable/\x80.bin",
    HARD.encode(),
    "\U0001f4a9/\u00dcber.TXT".encode(),
    "\u00e4/\uffff.txt".encode(),
    b"a" * 3000 + b"/" + b"z" * 255,
    b" leading and trailing ",
    b"trailing",
    b"'; DROP TABLE files; --",
]


def hash_of(number: int) -> str:
    return f"{number:064x}"


def numbered_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the ids that repositories give the same in every run."""
    numbers = itertools.count(1)
    for module in (evidence, outputs, queue, records):
        monkeypatch.setattr(module, "new_id", lambda: f"made-{next(numbers):06}")


@dataclass
class Told:
    """What a script was told, and which methods it called."""

    answers: list[tuple[str, Any]] = field(default_factory=list)
    called: Counter[str] = field(default_factory=Counter)

    def note(self, what: str, answer: Any) -> None:
        self.answers.append((what, answer))

    def watch(self, uow: UnitOfWork) -> UnitOfWork:
        """Count the calls of the repositories of a unit of work."""
        for name in ("evidence", "jobs", "outputs", "records"):
            setattr(uow, name, _Watched(getattr(uow, name), self.called))
        return uow


class _Watched:
    def __init__(self, repository: Any, called: Counter[str]) -> None:
        self._repository, self._called = repository, called

    def __getattr__(self, name: str) -> Any:
        self._called[f"{type(self._repository).__name__}.{name}"] += 1
        return getattr(self._repository, name)


def every_method() -> set[str]:
    """The public methods of the repositories."""
    kinds = (
        evidence.EvidenceRepository,
        queue.JobRepository,
        outputs.OutputRepository,
        records.RecordRepository,
    )
    return {
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, one in vars(kind).items()
        if callable(one) and not name.startswith("_")
    }


def play(store: Store, *, looking: bool = True) -> Told:
    """Play the script on an empty store; between its acts everything that can be listed is read."""
    told = Told()
    for act in (_workspaces, _sources, _scans, _rules, _jobs, _outputs, _records, _changes):
        with store.write() as uow:
            act(told.watch(uow), told)
            uow.commit()
        if not looking:
            continue
        with store.read() as uow:
            _look(told.watch(uow), told, act.__name__)
    return told


CASE = Workspace("w1", HARD[:200], "folder", NOW)
OTHER = Workspace("w2", "Z", "other", NOW)
LOWER = Workspace("w3", "a", "lower", NOW)
ROOT = Source("s1", "w1", shown_path(b"/ev/\xff"), b"/ev/\xff", is_folder=True, added_at=NOW)
FILE = Source("s2", "w1", "/ev/one", b"/ev/one", is_folder=False, added_at=LATEST)


def _workspaces(uow: UnitOfWork, told: Told) -> None:
    for one in (CASE, OTHER, LOWER, Workspace("w4", "\u00e4", "umlaut", LATEST)):
        uow.evidence.add_workspace(one)
    uow.evidence.change_workspace("w2", archived_at=LATEST)
    told.note("workspace", uow.evidence.workspace("w2"))


def _sources(uow: UnitOfWork, told: Told) -> None:
    for one in (ROOT, FILE):
        uow.evidence.add_source(one)
    uow.evidence.remove_source("s2", NOW)
    told.note("nothing to bring back", uow.evidence.bring_back(replace(FILE, path_bytes=b"/no")))
    told.note("brought back", uow.evidence.bring_back(FILE))
    uow.evidence.set_root("s1", "host \U0001f4a9", b"/there/\x80")
    uow.evidence.set_root("s1", "host \U0001f4a9", b"/here/\x80")
    told.note("roots", uow.evidence.roots("s1"))
    told.note("source", uow.evidence.source("s1"))


def a_file(number: int, name: bytes, **values: Any) -> EvidenceFile:
    made = EvidenceFile(
        id=f"f{number:02}",
        source_id="s1",
        path=shown_path(name),
        path_bytes=name,
        size_bytes=number,
        mtime_ns=-number,
        kind=("text", "evtx", "")[number % 3],
        source_hash=hash_of(number),
        sha256=hash_of(number),
        state=FileState.HASHED,
    )
    return made._replace(**values)


def _scans(uow: UnitOfWork, told: Told) -> None:
    scan = Scan("scan-1", "s1", NOW, ScanState.RUNNING)
    uow.evidence.start_scan(scan)
    uow.evidence.start_scan(Scan("scan-0", "s1", NOW - timedelta(days=9), ScanState.RUNNING))
    uow.evidence.interrupt_scans(LATEST, NOW - timedelta(days=1))
    told.note("others", uow.evidence.others_since(scan))
    files = [a_file(number, name) for number, name in enumerate(NAMES)]
    files[3] = files[3]._replace(size_bytes=MOST, mtime_ns=MOST)
    files[4] = files[4]._replace(state=FileState.UNREADABLE, source_hash="", sha256="")
    uow.evidence.add_files("scan-1", files)
    uow.evidence.add_files("scan-1", [])
    problems = [
        ScanProblem(shown_path(name), name, kind, f"{HARD} \0 \udcff")
        for name, kind in zip(NAMES, itertools.cycle(ProblemKind), strict=False)
    ]
    uow.evidence.add_problems("scan-1", problems)
    uow.evidence.end_scan(
        replace(scan, state=ScanState.FINISHED, ended_at=LATEST, found=MOST, skipped=len(problems))
    )
    second = Scan("scan-2", "s1", NOW, ScanState.RUNNING)
    uow.evidence.start_scan(second)
    uow.evidence.see_files("scan-2", [one.id for one in files[:2]])
    uow.evidence.change_files("scan-2", [files[5]._replace(size_bytes=77, kind="mft")])
    for folder in ("logs", "log[s]", "logs|", "a" * 3000):
        uow.evidence.see_below("s1", "scan-2", folder)
    told.note("missing", uow.evidence.mark_missing("s1", "scan-2"))
    uow.evidence.start_scan(Scan("scan-3", "s1", LATEST, ScanState.RUNNING))
    uow.evidence.add_problems("scan-3", problems)
    uow.evidence.see_below("s1", "scan-3", "")
    uow.evidence.change_files("scan-3", files[6:])
    uow.evidence.end_scan(replace(second, state=ScanState.CANCELLED, ended_at=NOW))
    told.note("newest scan", (uow.evidence.newest_scan("s1"), uow.evidence.newest_scan("s2")))
    told.note("known", uow.evidence.known_files("s1"))
    told.note("source of", uow.evidence.source_of("f08"))
    told.note("where", uow.evidence.absolute_path("f08"))


def _rules(uow: UnitOfWork, told: Told) -> None:
    rule = Rule("r1", "**/*.txt", "t\u00e4g", ("a'b", "\0"), ("text",), 0, MOST, note=HARD)
    uow.evidence.save_rule("w1", rule)
    uow.evidence.save_rule("w1", replace(rule, priority=-1, enabled=False))
    uow.evidence.save_rule("w1", Rule("r2", "*", "Tag", builtin=True))
    uow.evidence.save_rule("w1", Rule("r3", "x", "gone"))
    uow.evidence.set_tags("r1", rule.tag, ["f00", "f01", "f08"])
    uow.evidence.set_tags("r3", "gone", ["f00"])
    uow.evidence.add_tags([("f00", "Tag", "r2"), ("f02", "Tag", "r2")])
    uow.evidence.forget_tags(["f02"])
    uow.evidence.delete_rule("r3")
    told.note("rule", uow.evidence.rule("r1"))
    told.note("tagged", uow.evidence.tagged("w1"))


def a_job(number: int, **values: Any) -> Job:
    made = Job(
        f"job-{number}", "w1", "parser", "1", hash_of(7), JobState.QUEUED, 1, MOST, NOW,
        problem=HARD,
    )  # fmt: skip
    return replace(made, **values)


def _jobs(uow: UnitOfWork, told: Told) -> None:
    evidence = [("f00", hash_of(0)), ("f01", hash_of(1)), ("f08", hash_of(8))]
    for number in range(8):
        uow.jobs.add(a_job(number, retry_of=None), evidence if number < 6 else [], 100 - number % 2)
    uow.jobs.ask_cancel("job-7")
    uow.jobs.refuse("job-5", "host", LATEST - timedelta(days=1))
    uow.jobs.refuse("job-5", "host", NOW + timedelta(days=1))
    told.note("queued", uow.jobs.queued_ids())
    claims = [uow.jobs.claim("host", 7, NOW, f"token-{n}") for n in range(5)]
    told.note("claims", claims)
    told.note("unnamed claim", uow.jobs.claim("host", 7, NOW).token is not None)
    told.note("no more", uow.jobs.claim("host", 7, NOW))
    told.note("elsewhere", uow.jobs.claim("another", 7, NOW, "token-9").job.id)
    [one, two, three, *_] = [claim.job.id for claim in claims]
    told.note("beat", uow.jobs.beat(one, "token-0", NOW + timedelta(seconds=1)))
    told.note("stale beat", uow.jobs.beat(one, "token-1", NOW))
    told.note("stale move", uow.jobs.move(one, "token-1", JobState.RUNNING))
    told.note("held", uow.jobs.held())
    told.note("expired", [held.job.id for held in uow.jobs.held(expired_at=NOW + queue.LEASE * 2)])
    for state in (JobState.RUNNING, JobState.COMMITTING):
        told.note("move", uow.jobs.move(one, "token-0", state, undo=True))
    uow.jobs.end_files(
        [
            JobFile(one, "f00", "", JobFileState.DONE, MOST, MOST, 0, f"{HARD}\0"),
            JobFile(one, "f01", "", JobFileState.FAILED, problem="\udc80"),
        ]
    )
    uow.jobs.end_files([])
    uow.jobs.note(one, LATEST, f"{HARD}\0\udcff")
    uow.jobs.note(one, NOW, "")
    told.note("fail", uow.jobs.move(one, "token-0", JobState.FAILED, ended_at=LATEST))
    told.note("to undo", uow.jobs.to_undo())
    uow.jobs.undone(one)
    told.note("undone", uow.jobs.to_undo())
    uow.jobs.move(two, None, JobState.QUEUED, not_before=LATEST)
    told.note("due", uow.jobs.next_due("host", NOW))
    told.note("waits", [uow.jobs.waits_for(one, NOW) for one in ("host", "elsewhere")])
    told.note("due elsewhere", uow.jobs.next_due("host", LATEST))
    told.note("evidence", uow.jobs.evidence(three, "host \U0001f4a9"))
    told.note("its own path", uow.jobs.evidence(three))
    told.note("known", uow.jobs.known(["job-1", "nobody", *(f"x{n}" for n in range(1200))]))
    told.note("ended", uow.jobs.ended([f"job-{n}" for n in range(1200)]))


def a_materialization(number: int, **values: Any) -> Materialization:
    made = Materialization(
        id=f"m{number}",
        key=hash_of(100 + number),
        workspace_id="w1",
        source_hash=hash_of(number),
        parser="parser",
        parser_version="1",
        artifact_hash=hash_of(7),
        table="table",
        target_key=hash_of(5),
        sink="",
        job_id="job-1",
        file_id="f08",
        accepted=MOST,
        quarantined=0,
        note=f"{HARD}\0",
        created_at=NOW,
    )
    return replace(made, **values)


def an_output(number: int, **values: Any) -> OutputFile:
    made = OutputFile(
        f"o{number}", "w1", "job-1", "table", False, "", f"{HARD}/{number}", MOST, 1, hash_of(5), NOW
    )  # fmt: skip
    return replace(made, **values)


def _outputs(uow: UnitOfWork, told: Told) -> None:
    columns = (Column("\U0001f4a9", "int64"), Column("b", "string", nullable=False, doc=HARD))
    contract = TableContract("w1", "table", "parser", "table", "", columns, hash_of(5), 1)
    uow.outputs.add_contract(contract, NOW)
    uow.outputs.add_contract(replace(contract, version=2, columns=columns[:1]), LATEST)
    uow.outputs.add_contract(replace(contract, table="Table", layout_key="k"), NOW)
    sink = "postgres://h/x?a=%25"
    uow.outputs.add_outputs([an_output(1), an_output(2, quarantine=True), an_output(3, sink=sink)])
    uow.outputs.add_outputs([])
    told.note("of jobs", sorted(one.id for one in uow.outputs.of_jobs({"job-1", "job-2"})))
    uow.outputs.supersede_outputs(["o1"], "job-2", LATEST)
    told.note("current", (uow.outputs.are_current(["o2", "o3"]), uow.outputs.are_current(["o1"])))
    told.note("on record", uow.outputs.on_record(["o1", "o9"]))
    uow.outputs.remember_sink(sink, "postgres://a@h/x")
    uow.outputs.remember_sink(sink, "postgres://b@h/x")
    uow.outputs.set_route("w1", Route("parser", "", sink, "append"))
    uow.outputs.set_route("w1", Route("parser", "", sink, "replace"))
    uow.outputs.set_route("w1", Route("Parser", "table", "", "error"))
    uow.outputs.set_route("w1", Route("gone", "", "", "error"))
    uow.outputs.delete_route("w1", "gone", "")
    uow.outputs.add_materializations(
        [
            a_materialization(8),
            a_materialization(1, file_id="f01", note="", quarantined=3),
            a_materialization(99, file_id="f00", sink=sink),
            a_materialization(0, file_id="f00"),
        ]
    )
    uow.outputs.add_materializations([])
    told.note("replaced", uow.outputs.replaced_by("w1", "parser", [hash_of(8)]))
    told.note("outdated while jobs run", uow.outputs.outdated())
    told.note("done by jobs", uow.outputs.materializations_of({"job-1"}))
    uow.outputs.change_targets([a_materialization(8, target_key=hash_of(6), key=hash_of(66))])
    told.note("others", uow.outputs.contents_for_other_targets("w1", {"table": hash_of(5)}))
    told.note("of a parser", uow.outputs.materializations("w1", parser="nobody"))


def _records(uow: UnitOfWork, told: Told) -> None:
    for number in range(3):
        entry = HistoryEntry(f"{HARD}\0{number}", LATEST, 0.1 + number, MOST, "")
        uow.records.add_query("w1", replace(entry, rows=None, error="x") if number else entry)
    told.note("queries", uow.records.queries("w1", 2))
    uow.records.add_export(
        "w1", what=HARD, path=HARD, file_format="csv", rows=MOST, sha256=hash_of(1), at=NOW
    )


def _changes(uow: UnitOfWork, told: Told) -> None:
    """End what is open, and let rows leave."""
    for one in uow.jobs.held():
        uow.jobs.move(one.job.id, None, JobState.CANCELLED, ended_at=NOW)
    for job_id in uow.jobs.queued_ids():
        uow.jobs.move(job_id, None, JobState.CANCELLED, ended_at=LATEST)
    uow.evidence.interrupt_scans(NOW, LATEST)
    told.note("outdated", uow.outputs.outdated())
    uow.outputs.supersede_rows("postgres://h/x?a=%25", [("table", "job-1", "f00")], NOW)
    uow.outputs.supersede_rows("", [], NOW)
    uow.outputs.supersede_materializations(["m8"], LATEST)
    told.note("left", [one.id for one in uow.outputs.materializations("w1")])
    told.note("superseded", uow.outputs.superseded())
    uow.outputs.purged(["o1"])
    told.note("purged", uow.outputs.superseded())


SORTS = ("path", "size", "kind", "modified", "status", "accepted", "quarantined")
QUERIES = (
    *(FileQuery("w1", sort=sort, descending=down) for sort in SORTS for down in (False, True)),
    *(
        FileQuery("w1", source_id="s1", folder=folder)
        for folder in (
            "logs",
            "Logs",
            "log[s]",
            "logs%",
            "log_s",
            "logs|",
            "\U0001f4a9",
            "a" * 3000,
        )
    ),
    *(
        FileQuery("w1", text=text)
        for text in ("PLAIN", "\u00fcber", "\u00dcBER", "50%_[X]", "\\xff", "'", " ", "|", "\\")
    ),
    FileQuery("w1", kind="evtx"),
    FileQuery("w1", tag="t\u00e4g"),
    *(FileQuery("w1", status=status) for status in ("done", "partial", "failed", "missing")),
    FileQuery("w1", file_id="f08"),
    FileQuery("w2"),
)


def _look(uow: UnitOfWork, told: Told, when: str) -> None:
    """Read everything that can be listed."""
    e, j, o = uow.evidence, uow.jobs, uow.outputs
    answers = {
        "workspaces": e.workspaces(archived=False) + e.workspaces(archived=True),
        "sources": e.sources("w1") + e.sources("w1", removed=True),
        "placed": sorted(e.placed("w1")),
        "scans": e.last_scans("w1"),
        "skips": e.skips("w1"),
        "files": list(e.files("w1")),
        "totals": e.totals("w1"),
        "source totals": e.source_totals("w1"),
        "kinds": e.kinds("w1"),
        "below": [sorted(e.paths_below("s1", one)) for one in ("", "logs", "log[s]", "log_s")],
        "rules": e.rules("w1"),
        "jobs": j.jobs("w1"),
        "open": (j.count_open(), j.count_open("w1"), j.count_open("w2")),
        "job files": [j.files(f"job-{one}") for one in range(8)],
        "history": [j.history(f"job-{one}") for one in range(8)],
        "waiting": j.waiting("w1"),
        "failed": j.failed("w1"),
        "contracts": o.contracts("w1"),
        "outputs": o.outputs("w1"),
        "paths": (o.paths(""), o.paths("postgres://h/x?a=%25")),
        "sinks": o.sinks(),
        "routes": o.routes("w1"),
        "materializations": o.materializations("w1"),
        "done": sorted(o.done("w1")),
    }
    if answers["jobs"]:
        answers["job"] = j.job("job-1")
    for what, answer in answers.items():
        told.note(f"{when}: {what}", answer)
    for number, query in enumerate(QUERIES if when in {"_outputs", "_changes"} else ()):
        pages = [e.find(query, offset=0, limit=limit) for limit in (None, 3)]
        pages.append(e.find(query, offset=2, limit=5))
        told.note(f"{when}: page {number}", pages)
