"""The plan says for every file what runs, and why the rest does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.evidence import EvidenceFile, FileState
from casparian.domain.planning import BatchLimits, Known, ParserInfo, plan

EVTX = ParserInfo("evtx", "1", "artifact-1", ("evtx",))
TEXT = ParserInfo("delimited", "1", "artifact-2", ("delimited",))
NOTHING = Known({}, frozenset(), frozenset())
WIDE = BatchLimits(1_000, 100)


def a_file(
    name="a.evtx", *, content="h1", tags=("evtx",), size=10, state=FileState.HASHED, kind="evtx"
):
    return EvidenceFile(
        id=f"id-{name}", source_id="s", path=name, path_bytes=name.encode(), size_bytes=size, mtime_ns=0,
        kind=kind, source_hash=content, sha256="", state=state, tags=tags,
    )  # fmt: skip


def reasons(planned):
    return [(one.file.path, one.parser, one.runs, one.reason) for one in planned.decisions]


def test_a_new_file_runs():
    planned = plan([a_file()], [EVTX], NOTHING, WIDE)

    assert reasons(planned) == [("a.evtx", "evtx", True, "new")]
    assert [[file.path for file in job.files] for job in planned.jobs] == [["a.evtx"]]


def test_what_is_done_for_the_current_contract_does_not_run_again():
    known = Known({("h1", "artifact-1"): ""}, frozenset({("h1", "evtx")}), frozenset())

    planned = plan([a_file()], [EVTX], known, WIDE)

    assert reasons(planned) == [("a.evtx", "evtx", False, "done already by evtx 1")]
    assert planned.jobs == ()


def test_what_is_done_runs_again_when_asked_for():
    known = Known({("h1", "artifact-1"): ""}, frozenset({("h1", "evtx")}), frozenset())

    assert reasons(plan([a_file()], [EVTX], known, WIDE, force=True))[0][2:] == (
        True,
        "asked for again",
    )


def test_a_widened_table_and_another_version_are_reasons_to_run():
    widened = Known({("h1", "artifact-1"): "the types of t have widened"}, frozenset(), frozenset())
    other = Known({}, frozenset({("h1", "evtx")}), frozenset())

    assert reasons(plan([a_file()], [EVTX], widened, WIDE))[0][2:] == (
        True,
        "the types of t have widened",
    )
    assert reasons(plan([a_file()], [EVTX], other, WIDE))[0][2:] == (
        True,
        "read by another version of evtx before",
    )


def test_what_an_open_job_reads_is_not_queued_twice_even_if_asked_for():
    known = Known({}, frozenset(), frozenset({("h1", "evtx")}))

    assert reasons(plan([a_file()], [EVTX], known, WIDE, force=True))[0][2:] == (
        False,
        "a job is going to read it",
    )


def test_what_could_not_be_read_is_left_alone_until_somebody_asks():
    known = Known({}, frozenset(), frozenset(), frozenset({("h1", "artifact-1")}))

    assert reasons(plan([a_file()], [EVTX], known, WIDE))[0][2:] == (
        False,
        "evtx 1 could not read it before; retry its job to try again",
    )
    assert reasons(plan([a_file()], [EVTX], known, WIDE, force=True))[0][2:] == (
        True,
        "asked for again",
    )


def test_the_same_content_runs_once():
    planned = plan([a_file("a"), a_file("b")], [EVTX], NOTHING, WIDE)

    assert [(path, runs) for path, _, runs, _ in reasons(planned)] == [("a", True), ("b", False)]
    assert planned.rest[0].reason == "another file with the same content is read"


def test_why_the_rest_does_not_run():
    files = [
        a_file("unread", state=FileState.UNREADABLE),
        a_file("moving", state=FileState.CHANGED),
        a_file("gone", state=FileState.MISSING),
        a_file("empty", tags=(), size=0),
        a_file("hive", tags=(), kind="registry"),
        a_file("odd", tags=("lnk",)),
    ]

    assert [one.reason for one in plan(files, [EVTX], NOTHING, WIDE).decisions] == [
        "it could not be read",
        "it changed while it was being read; scan it again",
        "it is no longer there",
        "it is empty",
        "no rule gives it a tag that a parser reads (kind registry)",
        "no parser reads the tag lnk",
    ]


def test_two_parsers_may_read_one_file():
    planned = plan([a_file(tags=("delimited", "evtx"))], [EVTX, TEXT], NOTHING, WIDE)

    assert sorted(job.parser.name for job in planned.jobs) == ["delimited", "evtx"]


def test_a_large_file_is_a_job_of_its_own():
    files = [
        a_file("a", content="1"),
        a_file("big", content="2", size=5_000),
        a_file("c", content="3"),
    ]

    jobs = plan(files, [EVTX], NOTHING, WIDE).jobs

    assert sorted([file.path for file in job.files] for job in jobs) == [["a", "c"], ["big"]]


sizes = st.lists(st.integers(0, 2_000), max_size=60)


@given(sizes, st.integers(1, 1_500), st.integers(1, 10))
def test_every_planned_file_is_in_exactly_one_batch_within_the_limits(
    found, size_limit, count_limit
):
    files = [a_file(f"f{at}", content=f"h{at}", size=size) for at, size in enumerate(found)]

    planned = plan(files, [EVTX], NOTHING, BatchLimits(size_limit, count_limit))

    batched = [file.path for job in planned.jobs for file in job.files]
    assert sorted(batched) == sorted(file.path for file in files)
    for job in planned.jobs:
        assert len(job.files) <= count_limit
        assert job.size_bytes <= size_limit or len(job.files) == 1


@given(st.lists(st.sampled_from([("h1", True), ("h2", True), ("h3", False)]), max_size=20))
def test_every_file_gets_a_decision(found):
    files = [
        a_file(f"f{at}", content=h, tags=("evtx",) if t else ()) for at, (h, t) in enumerate(found)
    ]

    planned = plan(files, [EVTX], NOTHING, WIDE)

    assert [one.file.path for one in planned.decisions] == [file.path for file in files]
    ran = sum(one.files for one in planned.items)
    assert ran + sum(one.files for one in planned.rest) == len(files)
