"""Cases: names, archive, and the readiness board."""

from __future__ import annotations

import os

import pytest

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import UserProblem
from casparian.domain.events import WorkspacesChanged
from casparian.services.workspaces import safe_name


def test_the_default_case_is_there_and_is_one(services):
    assert services.workspaces.default() == services.workspaces.default()
    assert [one.name for one in services.workspaces.list()] == ["default"]


def test_a_case_is_created_with_the_built_in_rules_and_announced(services):
    heard = []
    services.bus.subscribe(heard.append)

    made = services.workspaces.create("Fall 12/2026")

    assert services.workspaces.by_name("fall 12/2026") == made
    assert made.folder == "fall_12_2026"
    assert {"evtx", "delimited", "jsonl"} <= {one.rule.tag for one in services.rules.list(made.id)}
    assert heard == [WorkspacesChanged()]


@pytest.mark.parametrize(
    "name", ["", " ", " padded", "DEFAULT", "main", "temp", "a\nb", "x" * 101, "evil\u202e"]
)
def test_a_name_that_is_taken_or_not_usable_is_refused(services, name):
    with pytest.raises(UserProblem):
        services.workspaces.create(name)


def test_a_renamed_case_keeps_its_folder_and_its_rows(services, case):
    made = services.workspaces.create("before")
    services.intake.take_in(made.id, [os.fsencode(case(a__csv="x,y\n1,2\n"))], cancel=CancelToken())
    services.jobs.wait(CancelToken())

    services.workspaces.rename(made.id, "after")
    services.catalog.refresh()

    with services.results.query(made.id, 'SELECT x FROM "after".a', CancelToken()) as view:
        assert view.page(0, 5).column(0).to_pylist() == [1]
    assert services.workspaces.by_name("after").folder == "before"


def test_an_archived_case_leaves_the_list_and_comes_back(services):
    made = services.workspaces.create("old")

    services.workspaces.archive(made.id)
    assert [one.name for one in services.workspaces.list()] == ["default"]
    assert [one.name for one in services.workspaces.list(archived=True)] == ["default", "old"]
    services.workspaces.restore(made.id)
    assert [one.name for one in services.workspaces.list()] == ["default", "old"]


def test_the_default_case_keeps_its_name_and_place(services):
    default = services.workspaces.default()
    with pytest.raises(UserProblem):
        services.workspaces.rename(default.id, "other")
    with pytest.raises(UserProblem):
        services.workspaces.archive(default.id)


def test_the_board_counts_tables_files_and_quarantine(services, case, run):
    run(services, case(a__csv="x,y\n1,2\nragged\n", b__bin=b"\x00\x01\x02"))

    board = services.workspaces.overview(services.workspaces.default().id)

    assert [(one.name, one.rows, one.quarantined) for one in board.tables] == [("a", 1, 1)]
    assert (board.files.found, board.files.hashed, board.files.unclaimed) == (2, 2, 1)


@pytest.mark.parametrize(
    ("wanted", "taken", "name"),
    [
        ("Security Events", set(), "security_events"),
        ("a", {"a"}, "a_2"),
        ("a", {"a", "a_2"}, "a_3"),
        ("files", set(), "files_2"),
        ("2024-01", set(), "t_2024_01"),
        ("Ärger.é", set(), "arger_e"),
        ("漢字", set(), "case"),
        ("x_quarantine", set(), "x_quarantine_table"),
        ("'; DROP VIEW x;--", set(), "drop_view_x"),
    ],
)
def test_safe_names(wanted, taken, name):
    assert safe_name(wanted, taken, fallback="case") == name
