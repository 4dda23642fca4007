"""Rules: preview, count and apply are one and the same."""

from __future__ import annotations

import dataclasses
import os

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import UserProblem
from casparian.state.evidence import FileQuery


@pytest.fixture
def workspace(services, case):
    found = services.workspaces.default()
    folder = case(a__log="x", b__LOG="y", c__txt="z")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "d.log").write_text("w")
    [source] = services.sources.add(found.id, [os.fsencode(folder)])
    services.sources.scan(source.id, cancel=CancelToken())
    return found


def tagged(services, workspace, tag):
    return [
        row.file.path
        for row in services.sources.files(FileQuery(workspace.id, tag=tag), 0, None).rows
    ]


def test_saving_a_rule_tags_what_its_preview_shows(services, workspace):
    rule = services.rules.new("**/*.log", "logs")

    preview = services.rules.preview(workspace.id, rule)
    services.rules.save(workspace.id, rule)

    assert (
        [file.path for file in preview.rows]
        == tagged(services, workspace, "logs")
        == [
            "a.log",
            "b.LOG",
            "deep/er/d.log",
        ]
    )
    summary = next(one for one in services.rules.list(workspace.id) if one.rule == rule)
    assert (summary.files, summary.size_bytes) == (preview.files, preview.size_bytes) == (3, 3)


def test_a_changed_rule_takes_its_tag_from_what_it_no_longer_matches(services, workspace):
    rule = services.rules.save(workspace.id, services.rules.new("**/*.log", "logs"))

    services.rules.save(workspace.id, dataclasses.replace(rule, exclude=("deep/**",)))

    assert tagged(services, workspace, "logs") == ["a.log", "b.LOG"]


def test_a_disabled_or_deleted_rule_gives_no_tag(services, workspace):
    rule = services.rules.save(workspace.id, services.rules.new("*.log", "logs"))

    services.rules.set_enabled(rule.id, False)
    assert tagged(services, workspace, "logs") == []
    services.rules.set_enabled(rule.id, True)
    assert len(tagged(services, workspace, "logs")) == 3
    services.rules.delete(rule.id)
    assert tagged(services, workspace, "logs") == []


def test_a_file_may_bear_many_tags_and_each_says_its_rule(services, workspace):
    services.rules.save(workspace.id, services.rules.new("*.log", "logs"))
    services.rules.save(workspace.id, services.rules.new("a.*", "first"))

    row = services.sources.files(FileQuery(workspace.id, text="a.log"), 0, 1).rows[0]
    assert row.file.tags == ("first", "logs")


def test_a_rule_that_does_not_hold_is_refused_and_not_saved(services, workspace):
    before = services.rules.list(workspace.id)
    for glob, tag in (("", "x"), ("*.log", "No Tag")):
        with pytest.raises(UserProblem):
            services.rules.save(workspace.id, services.rules.new(glob, tag))
    assert services.rules.list(workspace.id) == before


def test_a_new_file_is_tagged_by_the_scan_that_finds_it(services, workspace, case):
    services.rules.save(workspace.id, services.rules.new("*.log", "logs"))
    case(new__log="n")

    services.sources.scan(services.sources.list(workspace.id)[0].source.id, cancel=CancelToken())

    assert "new.log" in tagged(services, workspace, "logs")


globs = st.lists(
    st.sampled_from(["**", "*", "a", "b", ".log", "/", "?", "deep", "er", "d", "[ab]"]),
    min_size=1,
    max_size=5,
)


@profile(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(globs.map("".join))
def test_preview_count_and_apply_agree_for_any_glob(services, workspace, glob):
    rule = services.rules.new(glob, "any")
    try:
        preview = services.rules.preview(workspace.id, rule)
    except UserProblem:
        return
    services.rules.save(workspace.id, rule)

    assert tagged(services, workspace, "any") == sorted(file.path for file in preview.rows)
    services.rules.delete(rule.id)
