from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.jobs import Progress
from casparian.ui import formats

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_that_python_knows_looks_as_python_has_it(at):
    micros = (at - EPOCH) // timedelta(microseconds=1)
    digits = 3 if at.microsecond % 1000 == 0 else 6
    fraction = f"{at.microsecond:06}"[:digits]

    assert formats.timestamp(micros) == f"{at:%Y-%m-%d %H:%M:%S}.{fraction} UTC".rjust(
        len(f"{at.year:04}") + 20 + digits, "0"
    )


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (1_646_930_030_089_000, "2022-03-10 16:33:50.089 UTC"),
        (-11_644_473_600_000_000, "1601-01-01 00:00:00.000 UTC"),
        (910_692_730_085_477_580, "30828-09-14 02:48:05.477580 UTC"),
        (2**63 - 1, "294247-01-10 04:00:54.775807 UTC"),
        (-(2**63), "-290308-12-21 19:59:05.224192 UTC"),
    ],
)
def test_any_instant_of_64_bits_can_be_shown(micros, shown):
    assert formats.timestamp(micros) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.00 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (87_900_000, "87.9 MB"),
        (1_250_000_000, "1.25 GB"),
        (10**18, "1000 PB"),
    ],
)
def test_sizes_have_three_figures(size_bytes, shown):
    assert formats.size(size_bytes) == shown


@given(st.integers(min_value=0, max_value=10**17))
def test_no_size_shows_a_thousand_of_a_unit(size_bytes):
    assert float(formats.size(size_bytes).split()[0].replace(",", "")) < 1_000


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.416, "0.42 s"), (12.34, "12.3 s"), (245, "4 min 05 s"), (7_380, "2 h 03 min")],
)
def test_durations_keep_two_units_at_most(seconds, shown):
    assert formats.duration(seconds) == shown


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(minutes=4), "4 min ago"),
        (timedelta(hours=3), "3 h ago"),
        (timedelta(days=12), "12 days ago"),
        (timedelta(days=1), "1 day ago"),
    ],
)
def test_ages_are_rough(ago, shown):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert formats.age(now - ago, now) == shown


def test_progress_says_done_total_and_rate_and_guesses_no_total():
    assert formats.progress(Progress(1_204, 5_000, "files", rate=812.2)) == (
        "1,204 of 5,000 files · 812/s"
    )
    assert formats.progress(Progress(7, None, "files")) == "7 files"
    assert formats.progress(Progress(4_680_000, 9_000_000, "bytes", rate=1e6)) == (
        "4.68 MB of 9.00 MB · 1.00 MB/s"
    )


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (None, pa.string(), "NULL"),
        (True, pa.bool_(), "true"),
        (1234567, pa.int64(), "1234567"),
        (1.5, pa.float64(), "1.5"),
        ("a\nb\u202ec", pa.string(), "a\\nb\\u202ec"),
        (b"\x00\xff", pa.binary(), "00ff"),
        ([1, None], pa.list_(pa.int64()), "[1, NULL]"),
        ({"a": "x", "b": None}, pa.struct({"a": pa.string(), "b": pa.int64()}), "{a: x, b: NULL}"),
        (0, pa.timestamp("us", "UTC"), "1970-01-01 00:00:00.000 UTC"),
        (0, pa.timestamp("us"), "1970-01-01 00:00:00.000"),
        (1, pa.timestamp("ns"), "1970-01-01 00:00:00.000000001"),
        (3_600_000_001, pa.duration("us"), "01:00:00.000001"),
        (-90_000_000_000, pa.duration("us"), "-1 d 01:00:00.000"),
        (12_345, pa.date32(), "2003-10-20"),
        (5_000, pa.time64("us"), "00:00:00.005"),
    ],
    ids=repr,
)
def test_every_type_of_cell_has_one_look(value, kind, shown):
    assert formats.cell(pa.scalar(value, kind)) == shown


def test_a_huge_cell_is_cut_and_its_whole_can_be_had():
    huge = pa.scalar("x" * 50_000_000)
    assert len(formats.cell(huge)) == formats.CELL_CHARS
    assert len(formats.plain(huge)) == 50_000_000


def test_hashes_are_shortened():
    assert formats.short_hash("ab" * 32) == "ababababab…"
    assert formats.short_hash("") == ""
