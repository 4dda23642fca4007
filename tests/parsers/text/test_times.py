"""Times finer than microseconds are noticed, since a timestamp cuts them."""

from __future__ import annotations

import pyarrow as pa

from casparian.parsers.text.times import FinerTimes
from helpers.parse_context import RecordingContext

FINER = "2022-03-10 16:33:50.0893545"


def warned(*columns: list[str | None], tried: str = "timestamp,string") -> list[str]:
    schema = pa.schema(
        pa.field(f"c{at}", pa.string(), metadata={"cf.types": tried}) for at in range(len(columns))
    )
    times, context = FinerTimes(), RecordingContext()
    times.see(
        pa.RecordBatch.from_arrays([pa.array(one, pa.string()) for one in columns], schema=schema)
    )
    times.tell(context)
    return context.warnings


def test_columns_that_hold_finer_times_are_named():
    assert warned(["x", "y"], [None, FINER], ["2022-03-10 16:33:50", FINER]) == [
        "Times in c1, c2 have more than six fraction digits; a column of times keeps microseconds"
    ]


def test_zeros_beyond_the_microsecond_are_no_loss():
    assert not warned(["2022-03-10 16:33:50.0893540", "2022-03-10T16:33:50.123456Z"])


def test_columns_that_will_be_no_times_are_not_looked_at():
    assert not warned([FINER], tried="string")
    assert not warned(["at 2022-03-10 16:33:50.0893545", "1.1234567"])


def test_a_column_that_begins_empty_is_looked_at_to_its_end():
    assert warned([""] * 100 + [FINER])
