"""What every sink must do, whatever keeps its rows: one suite that the tests of each sink inherit.

A subclass gives the fixture `place`: where the sink under test delivers, and a way to look at what is
there without it. What a sink cannot hold it must refuse with a sentence; the place names those cases.
What a user can try on a server of their own is in `casparian.sinks.acceptance` too, from the same samples.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE, QUARANTINE, Column
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.types import arrow_type
from casparian.sinks import scratch
from casparian.sinks.base import Delivered, RowsOf
from casparian.sinks.samples import (
    COLUMN_NAMES,
    DAY_US,
    HARD,
    NAMES_BY_CASE,
    TABLE_NAMES,
    TEXT,
    WIDENINGS,
    CancelsAtCheck,
    columns_of,
    delivery,
    part,
    same,
    table_delivery,
)
from helpers.delivering import start, was_killed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from helpers.delivering import Opening

STEPS = ("staged", "deleted", "inserted", "ledger", "committed")
"""What a sink reports to its `on_step`, each once in a delivery to one table: the parts are known (and
loaded beside the table, where there is a stage), what must leave has left, the rows are in, the ledger
says so, and all of it is durable. The order of the first three is the sink's own."""


class Place(scratch.Place):
    """A place of tests: other processes can open its sink too."""

    opening: Opening

    def is_busy(self) -> bool:
        """Whether a server still works for a client that is gone."""
        return False


class SinkConformance:
    """The tests; what is different about one sink is a class attribute."""

    examples: ClassVar[int] = 15
    """Of the property test."""
    own_steps: ClassVar[Mapping[str, str]] = {}
    """What the sink itself calls those of the steps that it calls otherwise."""

    @pytest.fixture
    def place(self) -> Place:
        """To be overridden: a place of its own for each test."""
        raise NotImplementedError

    @pytest.fixture
    def sink(self, place):
        opened = place.opening.open()
        yield opened
        opened.close()

    @pytest.fixture
    def parts(self, tmp_path):
        """Write a staged file."""

        def write(columns, values, **options):
            return part(tmp_path / "staging", columns, values, **options)

        return write

    @pytest.fixture
    def texts(self, parts):
        """A delivery of texts to one table, by file: `texts("job", f1=["a"], f2=["b"])`."""

        def make(job, *, table="t", gone=(), attempt=1, schema="default", **files):
            written = [
                parts(TEXT, {"text": values}, job=job, file=file) for file, values in files.items()
            ]
            tables = table_delivery(table, TEXT, *written, gone=gone)
            return delivery(job, tables, attempt=attempt, schema=schema)

        return make

    def own(self, step: str) -> str:
        """What the sink calls a step."""
        return self.own_steps.get(step, step)

    # What is kept

    @pytest.mark.parametrize("case", HARD)
    def test_hard_values_come_back_as_they_were(self, place, sink, parts, case):
        word, values = HARD[case]
        columns = columns_of(value=word)
        path = parts(columns, {"value": values}, job="j1")

        if case in place.refuses:
            with pytest.raises(CasparianError, match="value"):
                sink.deliver(delivery("j1", table_delivery("t", columns, path)), CancelToken())
            assert seen(place, "t", columns) in (None, [])
            return
        sink.deliver(delivery("j1", table_delivery("t", columns, path)), CancelToken())

        found = read(place, "t", columns)["value"].combine_chunks()
        assert found.type == values.type
        assert same(found, values), (found, values)

    def test_nul_in_text_is_kept_or_replaced_and_told(self, place, sink, parts):
        columns = columns_of(text="string", many="list<string>")
        values = {"text": ["a\0b\0", "plain", "\0"], "many": [["x\0"], ["y"], None]}
        path = parts(columns, values, job="j1")

        sink.deliver(delivery("j1", table_delivery("t", columns, path)), CancelToken())

        found = read(place, "t", columns)
        assert found["text"].to_pylist() == [one.replace("\0", place.nul) for one in values["text"]]
        assert found["many"].to_pylist() == [[f"x{place.nul}"], ["y"], None]

    def test_the_quarantine_table_is_kept(self, place, sink, parts):
        columns = (*LINEAGE, *QUARANTINE)
        values = {
            "row_or_offset": [7],
            "violation": ["type"],
            "column_name": ["size"],
            "expected": ["int64"],
            "message": ["size is not int64: 'x'"],
            "raw": ['{"size": "x"}'],
        }
        path = parts(columns, values, job="j1")

        sink.deliver(delivery("j1", table_delivery("t_quarantine", columns, path)), CancelToken())

        found = read(place, "t_quarantine", columns)
        assert {name: found[name].to_pylist() for name in values} == values

    # Once, and in one step

    def test_rows_appear_once_and_the_ledger_says_so(self, place, sink, texts):
        assert sink.delivered("j1") is None

        sink.deliver(texts("j1", f1=["a", "b"], f2=["c"]), CancelToken())

        assert seen(place, "t") == ["a", "b", "c"]
        assert sink.delivered("j1") == Delivered("j1", 1, "default", (("t", 3),), ())
        assert sink.delivered("j2") is None

    def test_lineage_is_kept(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["a"]), CancelToken())

        [row] = read(place, "t", TEXT).to_pylist()
        assert (row["_cf_job_id"], row["_cf_file_id"], row["_cf_row"]) == ("j1", "f1", 1)
        assert row["_cf_source_hash"] == "hash of f1"
        assert row["_cf_processed_at"].isoformat() == "2022-03-10T16:33:50.089354+00:00"

    def test_a_second_attempt_takes_the_place_of_the_first(self, place, sink, texts):
        sink.deliver(texts("other", f9=["stays"]), CancelToken())
        sink.deliver(texts("j1", f1=["a", "b"], f2=["c"]), CancelToken())

        sink.deliver(texts("j1", attempt=2, f1=["a"], f3=["d"]), CancelToken())

        assert seen(place, "t") == ["a", "d", "stays"]
        assert sink.delivered("j1").attempt == 2
        assert sink.delivered("j1").tables == (("t", 2),)

    def test_a_second_attempt_takes_its_rows_out_of_tables_it_no_longer_has(
        self, place, sink, texts
    ):
        sink.deliver(texts("j1", table="first", f1=["a"]), CancelToken())

        sink.deliver(texts("j1", table="second", attempt=2, f1=["a"]), CancelToken())

        assert (seen(place, "first"), seen(place, "second")) == ([], ["a"])

    def test_replaced_rows_leave_and_others_stay(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["old 1"], f2=["old 2"], f3=["old 3"]), CancelToken())
        sink.deliver(texts("j2", f1=["also 1"]), CancelToken())

        gone = [("j1", "f1"), ("j1", "f2"), ("never", "f1")]
        sink.deliver(texts("j3", gone=gone, f1=["new 1"], f2=["new 2"]), CancelToken())

        assert seen(place, "t") == ["also 1", "new 1", "new 2", "old 3"]
        assert set(sink.delivered("j3").gone) == {("t", RowsOf(*one)) for one in gone}

    def test_many_replaced_files_leave(self, place, sink, parts, texts):
        files = [f"f{at}" for at in range(1_500)]
        sink.deliver(texts("j1", **{one: [one] for one in files[:40]}), CancelToken())

        gone = [("j1", one) for one in files[1:]]
        sink.deliver(texts("j2", gone=gone, f0=["new"]), CancelToken())

        assert seen(place, "t") == ["f0", "new"]

    def test_rows_leave_though_none_come(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["old"], f2=["stays"]), CancelToken())
        tables = [
            table_delivery("t", (), gone=[("j1", "f1")]),
            table_delivery("never there", (), gone=[("j1", "f1")]),
        ]

        sink.deliver(delivery("j2", *tables), CancelToken())

        assert seen(place, "t") == ["stays"]
        assert sink.delivered("j2").tables == (("t", 0), ("never there", 0))

    def test_nothing_to_deliver_is_still_in_the_ledger(self, place, sink):
        sink.deliver(delivery("j1", table_delivery("t", TEXT)), CancelToken())

        assert sink.delivered("j1") == Delivered("j1", 1, "default", (("t", 0),), ())
        assert seen(place, "t") in (None, [])

    def test_workspaces_keep_apart(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["a"]), CancelToken())
        sink.deliver(texts("j2", schema="case-2", f1=["b"]), CancelToken())

        assert (seen(place, "t"), seen(place, "t", schema="case-2")) == (["a"], ["b"])
        assert sink.delivered("j2").schema == "case-2"

    # All or nothing

    def test_one_table_that_cannot_be_written_stops_them_all(self, place, sink, parts, texts):
        sink.deliver(texts("j1", table="good", f1=["old"]), CancelToken())
        place.make_foreign("default", "theirs")
        path = parts(TEXT, {"text": ["new"]}, job="j2")
        tables = [
            table_delivery("good", TEXT, path, gone=[("j1", "f1")]),
            table_delivery("theirs", TEXT, path),
        ]

        for order in (tables, tables[::-1]):
            with pytest.raises(UserProblem, match="theirs"):
                sink.deliver(delivery("j2", *order), CancelToken())

        assert seen(place, "good") == ["old"]
        assert sink.delivered("j2") is None
        assert place.leftovers() == []

    def test_a_load_that_counts_otherwise_is_refused(self, place, sink, parts):
        path = parts(TEXT, {"text": ["a", "b"]}, job="j1")
        told = table_delivery("t", TEXT, path)

        for rows in (1, 3):
            wrong = type(told)(told.name, told.columns, told.parts, rows)
            with pytest.raises(EnvironmentProblem):
                sink.deliver(delivery("j1", wrong), CancelToken())

        assert seen(place, "t") in (None, [])
        assert sink.delivered("j1") is None

    def test_a_missing_part_is_a_sentence_and_nothing_is_visible(
        self, place, sink, parts, tmp_path
    ):
        good = parts(TEXT, {"text": ["a"]}, job="j1")
        told = table_delivery("t", TEXT, good)
        torn = type(told)(told.name, told.columns, (good, tmp_path / "not there.parquet"), 2)

        with pytest.raises(EnvironmentProblem, match="staged file"):
            sink.deliver(delivery("j1", torn), CancelToken())

        assert seen(place, "t") in (None, [])
        assert place.leftovers() == []

    @pytest.mark.parametrize("step", STEPS[:-1])
    def test_a_fault_at_any_step_leaves_what_was(self, place, sink, texts, step):
        sink.deliver(texts("j1", f1=["old"]), CancelToken())
        broken = place.opening.open(on_step=fails_at(self.own(step)))

        with pytest.raises(RuntimeError, match=self.own(step)):
            broken.deliver(texts("j2", gone=[("j1", "f1")], f1=["new"]), CancelToken())

        assert seen(place, "t") == ["old"]
        assert sink.delivered("j2") is None
        broken.close()
        sink.deliver(texts("j2", attempt=2, gone=[("j1", "f1")], f1=["new"]), CancelToken())
        assert seen(place, "t") == ["new"]

    # Cancelling

    @pytest.mark.parametrize("checks", [1, 2, 4])
    def test_a_cancelled_delivery_leaves_nothing(self, place, sink, texts, checks):
        files = {f"f{at}": [str(at)] for at in range(6)}

        with pytest.raises(Cancelled):
            sink.deliver(texts("j1", **files), CancelsAtCheck(checks))

        assert seen(place, "t") in (None, [])
        assert sink.delivered("j1") is None
        assert place.leftovers() == []

    @pytest.mark.parametrize("step", STEPS[:-1])
    def test_cancel_is_honest_at_every_step(self, place, texts, step):
        token = CancelToken()
        here = self.own(step)
        sink = place.opening.open(on_step=lambda one: token.cancel() if one == here else None)

        try:
            sink.deliver(texts("j1", f1=["a"], f2=["b"]), token)
        except Cancelled:
            assert seen(place, "t") in (None, [])
            assert sink.delivered("j1") is None
        else:
            assert step in {"inserted", "ledger"}, "too early to be past stopping"
            assert seen(place, "t") == ["a", "b"]
            assert sink.delivered("j1") is not None
        sink.close()

    # Tables that change

    def test_new_columns_are_added_and_missing_ones_are_null(self, place, sink, parts):
        narrow, wide = columns_of(a="string"), columns_of(a="string", b="int64", c="list<string>")
        first = parts(narrow, {"a": ["1"]}, job="j1")
        second = parts(wide, {"a": ["2"], "b": [2], "c": [["x"]]}, job="j2")
        without = parts(wide, {"b": [3]}, job="j2", file="f2", start=2)

        sink.deliver(delivery("j1", table_delivery("t", narrow, first)), CancelToken())
        sink.deliver(delivery("j2", table_delivery("t", wide, second, without)), CancelToken())
        third = parts(narrow, {"a": ["4"]}, job="j3")
        sink.deliver(delivery("j3", table_delivery("t", narrow, third)), CancelToken())

        found = read(place, "t", wide)
        rows = list(zip(*(found[name].to_pylist() for name in "abc"), strict=True))
        assert rows == [
            ("1", None, None),
            ("2", 2, ["x"]),
            (None, 3, None),
            ("4", None, None),
        ]

    @pytest.mark.parametrize(
        ("old", "values", "new", "more", "expected"),
        WIDENINGS,
        ids=lambda one: one if isinstance(one, str) else "",
    )
    def test_a_column_becomes_wider_without_loss(
        self, place, sink, parts, old, values, new, more, expected
    ):
        before, after = columns_of(a=old), columns_of(a=new)
        first = parts(before, {"a": values}, job="j1")
        second = parts(after, {"a": more}, job="j2")

        sink.deliver(delivery("j1", table_delivery("t", before, first)), CancelToken())
        sink.deliver(delivery("j2", table_delivery("t", after, second)), CancelToken())

        assert same(
            read(place, "t", after)["a"].combine_chunks(), pa.array(expected, arrow_type(new))
        )

    def test_a_part_of_a_narrower_type_is_widened(self, place, sink, parts):
        old, new = (
            columns_of(a="int64", b="date", c="int64"),
            columns_of(a="float64", b="timestamp", c="string"),
        )
        first = parts(old, {"a": [1], "b": [1], "c": [1]}, job="j1")
        second = parts(new, {"a": [0.5], "b": [1], "c": ["x"]}, job="j1", start=2)

        sink.deliver(delivery("j1", table_delivery("t", new, first, second)), CancelToken())

        found = read(place, "t", new)
        assert found["a"].to_pylist() == [1.0, 0.5]
        assert found["b"].cast(pa.int64()).to_pylist() == [DAY_US, 1]
        assert found["c"].to_pylist() == ["1", "x"]

    def test_a_table_is_not_narrowed(self, place, sink, parts):
        wide, narrow = columns_of(a="string", b="float64"), columns_of(a="int64", b="int64")
        first = parts(wide, {"a": ["x"], "b": [0.5]}, job="j1")
        second = parts(narrow, {"a": [7], "b": [7]}, job="j2")

        sink.deliver(delivery("j1", table_delivery("t", wide, first)), CancelToken())
        sink.deliver(delivery("j2", table_delivery("t", narrow, second)), CancelToken())

        found = read(place, "t", wide)
        assert found["a"].to_pylist() == ["x", "7"]
        assert found["b"].to_pylist() == [0.5, 7.0]

    def test_a_column_that_would_lose_digits_stays_and_the_sentence_names_it(
        self, place, sink, parts
    ):
        before, after = columns_of(size="int64"), columns_of(size="float64")
        first = parts(before, {"size": [2**53 + 1]}, job="j1")
        second = parts(after, {"size": [0.5]}, job="j2")
        sink.deliver(delivery("j1", table_delivery("numbers", before, first)), CancelToken())

        with pytest.raises(UserProblem, match=r"(?s)(?=.*numbers)(?=.*size)"):
            sink.deliver(delivery("j2", table_delivery("numbers", after, second)), CancelToken())

        assert read(place, "numbers", before)["size"].to_pylist() == [2**53 + 1]

    def test_a_table_of_another_program_is_left_alone(self, place, sink, texts):
        place.make_foreign("default", "theirs")

        with pytest.raises(UserProblem, match="theirs"):
            sink.deliver(texts("j1", table="theirs", f1=["a"]), CancelToken())

        found = place.read("default", "theirs", (Column("stranger", "string"),))
        assert found.num_rows == 1
        assert sink.delivered("j1") is None

    # Names

    def test_names_are_kept_apart_and_never_run(self, place, sink, parts):
        names = [*COLUMN_NAMES, *(() if place.folds_case else NAMES_BY_CASE)]
        columns = columns_of(**dict.fromkeys(names, "string"))
        path = parts(columns, {name: [f"value of {name}"] for name in names}, job="j1")

        sink.deliver(delivery("j1", table_delivery("t", columns, path)), CancelToken())
        sink.deliver(delivery("j1", table_delivery("t", columns, path), attempt=2), CancelToken())

        found = read(place, "t", columns)
        assert found.num_rows == 1
        assert {name: found[name][0].as_py() for name in names} == {
            name: f"value of {name}" for name in names
        }

    @pytest.mark.parametrize("name", TABLE_NAMES, ids=lambda one: one[:12])
    def test_any_name_is_a_table(self, place, sink, texts, name):
        sink.deliver(texts("j1", table=name, f1=["old"]), CancelToken())
        sink.deliver(texts("j2", table=name, gone=[("j1", "f1")], f1=["new"]), CancelToken())

        assert seen(place, name) == ["new"]
        assert sink.delivered("j2").tables == ((name, 1),)
        sink.revoke("j2")
        assert seen(place, name) == []

    def test_long_names_of_tables_are_kept_apart(self, place, sink, texts):
        one, other = "t" * 200 + "1", "t" * 200 + "2"
        sink.deliver(texts("j1", table=one, f1=["a"]), CancelToken())
        sink.deliver(texts("j2", table=other, f1=["b"]), CancelToken())

        assert (seen(place, one), seen(place, other)) == (["a"], ["b"])

    # More than one at a time

    def test_processes_deliver_to_one_table_at_once(self, place, texts, parts, tmp_path):
        wide = columns_of(text="string", size="int64")
        one = [texts(f"a{at}", f1=[f"a{at}"]) for at in range(4)]
        other = [
            delivery(
                f"b{at}",
                table_delivery(
                    "t", wide, parts(wide, {"text": [f"b{at}"], "size": [at]}, job=f"b{at}")
                ),
            )
            for at in range(4)
        ]

        running = [start(place.opening, jobs, tmp_path / "jobs") for jobs in (one, other)]

        assert [process.wait(timeout=90) for process in running] == [0, 0]
        assert seen(place, "t", wide) == sorted(job.job_id for job in (*one, *other))

    def test_threads_deliver_through_one_sink(self, place, sink, texts):
        jobs = [texts(f"j{at}", f1=[f"j{at}"]) for at in range(4)]
        failed: list[BaseException] = []

        def run(job):
            try:
                sink.deliver(job, CancelToken())
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failed == []
        assert seen(place, "t") == [f"j{at}" for at in range(4)]

    # Crashes

    @pytest.mark.parametrize("step", STEPS)
    def test_a_killed_delivery_is_made_good_by_the_next(self, place, sink, texts, tmp_path, step):
        sink.deliver(texts("j1", f1=["old"], f2=["stays"]), CancelToken())
        again = texts("j2", gone=[("j1", "f1")], f1=["new"])

        assert was_killed(start(place.opening, [again], tmp_path / "jobs", self.own(step)).wait(60))

        wait_for_the_server(place)
        if step == "committed":
            assert seen(place, "t") == ["new", "stays"]
            assert sink.delivered("j2").attempt == 1
        else:
            assert seen(place, "t") == ["old", "stays"]
            assert sink.delivered("j2") is None
        second = texts("j2", gone=[("j1", "f1")], attempt=2, f1=["new"])
        sink.deliver(second, CancelToken())
        assert seen(place, "t") == ["new", "stays"]
        assert sink.delivered("j2").attempt == 2
        sink.sweep(())
        assert place.leftovers() == []
        assert seen(place, "t") == ["new", "stays"]

    @pytest.mark.parametrize("step", STEPS)
    def test_a_killed_first_delivery_is_made_good_too(self, place, sink, texts, tmp_path, step):
        first = texts("j1", f1=["a"])

        assert was_killed(start(place.opening, [first], tmp_path / "jobs", self.own(step)).wait(60))

        sink.sweep(())
        wait_for_the_server(place)
        assert place.leftovers() == []
        assert (sink.delivered("j1") is not None) == (step == "committed")
        sink.deliver(texts("j1", attempt=2, f1=["a"]), CancelToken())
        assert seen(place, "t") == ["a"]

    def test_sweep_leaves_committed_rows_alone(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["a"]), CancelToken())

        assert list(sink.sweep({"j1"})) == []
        assert list(sink.sweep(())) == []
        assert seen(place, "t") == ["a"]

    def test_a_place_that_was_never_used_can_be_asked(self, sink):
        assert sink.delivered("j1") is None
        assert list(sink.sweep(())) == []
        sink.revoke("j1")

    # Taking back

    def test_a_job_takes_its_rows_back(self, place, sink, texts, parts):
        sink.deliver(texts("j1", f1=["stays"]), CancelToken())
        path = parts(TEXT, {"text": ["a", "b"]}, job="j2")
        tables = [table_delivery("t", TEXT, path), table_delivery("u", TEXT, path)]
        sink.deliver(delivery("j2", *tables), CancelToken())

        sink.revoke("j2")
        sink.revoke("j2")

        assert (seen(place, "t"), seen(place, "u")) == (["stays"], [])
        assert sink.delivered("j2") is None
        assert sink.delivered("j1") is not None

    def test_the_place_tells_how_it_is(self, sink, texts):
        begin = time.monotonic()
        empty = sink.probe()
        sink.deliver(texts("j1", f1=["a" * 1000] * 200), CancelToken())
        filled = sink.probe()

        assert time.monotonic() - begin < 5
        assert empty.version
        assert filled.size_bytes is None or filled.size_bytes > 0
        assert filled.free_bytes is None or filled.free_bytes > 0

    def test_the_address_shows_no_password(self, place, sink):
        assert sink.address.password is None
        assert sink.address == place.opening.address

    # Anything, in any order

    def test_any_sequence_gives_exactly_the_rows_of_the_model(self, place, sink, parts):
        schemas = itertools.count()
        acts = st.one_of(
            st.tuples(
                st.sampled_from(["j1", "j2", "j3"]),
                st.frozensets(st.sampled_from(["f1", "f2", "f3"]), min_size=1),
                st.integers(0, 3),
            ),
            st.sampled_from(["j1", "j2", "j3"]),
        )

        @settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        )
        @given(st.lists(acts, max_size=6))
        def check(sequence):
            schema = f"case{next(schemas)}"
            model: dict[str, dict[str, int]] = {}
            for attempt, act in enumerate(sequence, 1):
                if isinstance(act, str):
                    sink.revoke(act)
                    model.pop(act, None)
                else:
                    self._deliver(sink, parts, model, schema, attempt, act)
                expected = sorted(
                    (job, file)
                    for job, files in model.items()
                    for file, rows in files.items()
                    for _ in range(rows)
                )
                found = place.read(schema, "t", TEXT)
                pairs = (
                    zip(
                        *(found[name].to_pylist() for name in ("_cf_job_id", "_cf_file_id")),
                        strict=True,
                    )
                    if found is not None
                    else ()
                )
                assert sorted(pairs) == expected
            for job in ("j1", "j2", "j3"):
                assert (sink.delivered(job) is not None) == (job in model)
                sink.revoke(job)
            assert seen(place, "t", schema=schema) in (None, [])

        check()

    def _deliver(self, sink, parts, model, schema, attempt, act):
        """Deliver and do the same to the model: what other jobs have of these files leaves."""
        job, files, rows = act
        gone = [
            (other, file)
            for other, has in model.items()
            if other != job
            for file in has
            if file in files
        ]
        written = [
            parts(TEXT, {"text": [file] * rows}, job=job, file=file) for file in sorted(files)
        ]
        table = table_delivery("t", TEXT, *written, gone=gone)
        sink.deliver(delivery(job, table, attempt=attempt, schema=schema), CancelToken())
        for other, file in gone:
            model[other].pop(file)
        model[job] = dict.fromkeys(files, rows)


def read(place, table, columns, schema="default"):
    """A table in the order of its rows' jobs and numbers."""
    found = place.read(schema, table, columns)
    assert found is not None, f"no table {table}"
    keys = [(name, "ascending") for name in ("_cf_job_id", "_cf_row", "_cf_file_id")]
    return found.sort_by(keys)


def seen(place, table, columns=TEXT, schema="default"):
    """The first column of a table, sorted; None if it is not there."""
    found = place.read(schema, table, columns)
    return None if found is None else sorted(found[columns[0].name].to_pylist())


def fails_at(step):
    """An `on_step` that fails there."""

    def on_step(one):
        if one == step:
            raise RuntimeError(step)

    return on_step


def wait_for_the_server(place, seconds=10.0):
    """Give a server the time to see that a client is gone."""
    until = time.monotonic() + seconds
    while place.is_busy() and time.monotonic() < until:
        time.sleep(0.02)
