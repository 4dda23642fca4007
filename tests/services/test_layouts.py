"""Tables by layout: named once, widened when they must be, joined where keys are optional."""

from __future__ import annotations

import json

import pytest

from casparian.domain.cancel import CancelToken


@pytest.fixture
def tables(services):
    def tables():
        found = services.results.tables(services.workspaces.default().id)
        return {one.name: {column.name: column.type for column in one.columns} for one in found}

    return tables


@pytest.fixture
def select(services):
    def select(sql):
        with services.results.query(services.workspaces.default().id, sql, CancelToken()) as view:
            return view.page(0, 1000).to_pylist()

    return select


def test_files_with_the_same_header_share_a_table_named_after_the_first(
    services, case, run, tables, select
):
    run(services, case(a_list__csv="x,y\n1,2\n", b_list__csv="x,y\n3,4\n"))
    run(services, case(a_aaa__csv="x,y\n5,6\n"))

    assert tables() == {"a_list": {"x": "int64", "y": "int64"}}
    assert [row["x"] for row in select("SELECT x FROM a_list ORDER BY x")] == [1, 3, 5]


def test_a_later_file_widens_a_column_and_the_earlier_rows_are_read_again(
    services, case, run, tables, select
):
    run(services, case(one__csv="x,y\n1,0.50\n"))
    run(services, case(two__csv="x,y\nA7,1.25\n"))

    assert tables() == {"one": {"x": "string", "y": "float64"}}
    assert select("SELECT x, y FROM one ORDER BY y") == [
        {"x": "1", "y": 0.5},
        {"x": "A7", "y": 1.25},
    ]


def test_widening_loses_no_text_of_what_was_a_number_before(services, case, run, select):
    run(services, case(one__csv="n\n1.50\n2.25\n"))
    run(services, case(two__csv="n\nunknown\n"))

    assert {row["n"] for row in select("SELECT n FROM one")} == {"1.50", "2.25", "unknown"}


def test_a_column_without_values_takes_the_type_of_the_first_value(
    services, case, run, tables, select
):
    run(services, case(one__csv="a,b\nx,\n"))
    assert tables() == {"one": {"a": "string", "b": "string"}}

    run(services, case(two__csv="a,b\ny,7\n"))

    assert tables() == {"one": {"a": "string", "b": "int64"}}
    assert select("SELECT a, b FROM one ORDER BY a") == [{"a": "x", "b": None}, {"a": "y", "b": 7}]


def record(**more):
    return json.dumps(
        {"time": "2024-01-01T00:00:00Z", "user": "u", "event": "e", "host": "h", "id": 1, **more}
    )


def test_records_that_share_most_keys_share_a_table_which_gains_the_others(
    services, case, run, tables, select
):
    run(services, case(one__jsonl=record() + "\n"))
    report = run(services, case(two__jsonl=record(error="denied") + "\n"))

    assert list(tables()) == ["one"]
    assert tables()["one"]["error"] == "string"
    assert select("SELECT error FROM one ORDER BY error NULLS FIRST") == [
        {"error": None},
        {"error": "denied"},
    ]
    # What was done is done for the wider table as well.
    assert sum(len(job.files) for job in report.plan.jobs) == 1
    assert run(services, case()).plan.jobs == ()
    assert len(services.jobs.list(services.workspaces.default().id)) == 2


def test_two_parsers_do_not_share_a_name(services, case, run, tables):
    run(services, case(log__csv="x,y\n1,2\n", log__jsonl=record() + "\n"))

    assert sorted(tables()) == ["log", "log_2"]


def test_a_file_called_like_a_control_table_gets_another_name(services, case, run, tables):
    run(services, case(files__csv="x,y\n1,2\n"))

    assert list(tables()) == ["files_2"]
