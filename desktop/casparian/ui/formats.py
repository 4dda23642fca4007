"""How values look to people: the only formatter of the window. Exports never pass through here.

Instants may lie anywhere in 64 bits of microseconds (years -290,308 to +294,247), so they are split by
integer arithmetic (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"), never by `datetime`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from casparian.domain.evidence import shown_text

if TYPE_CHECKING:
    import pyarrow as pa

    from casparian.domain.jobs import Progress

NO_VALUE = "\N{EN DASH}"
"""Where there is nothing to say; a table cell that is null says `NULL` instead."""
CELL_CHARS = 300
"""A cell shows at most so many characters; the inspector shows the whole."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY_S = 86_400


def number(value: int) -> str:
    """`1,234,567`."""
    return f"{value:,}"


def count(value: int, noun: str, plural: str = "") -> str:
    """`1 file`, `2,000 files`; give the plural where it is not noun + s."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def size(size_bytes: int) -> str:
    """`512 bytes`, `64.0 kB`, `1.25 GB`: decimal units, three figures; the exact count is `exact_size`."""
    if size_bytes < 1_000:
        return count(size_bytes, "byte")
    value, unit = float(size_bytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1_000, unit + 1
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {_UNITS[unit]}"


def exact_size(size_bytes: int) -> str:
    """`1,250,000,000 bytes`, for hover."""
    return count(size_bytes, "byte")


def duration(seconds: float) -> str:
    """`0.42 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def age(at: datetime, now: datetime | None = None) -> str:
    """How long ago: `just now`, `4 min ago`, `3 h ago`, `12 days ago`."""
    seconds = int(((now or datetime.now(UTC)) - at).total_seconds())
    if seconds < 60:
        return "just now"
    for limit, unit, per in ((3_600, "min", 60), (_DAY_S, "h", 3_600)):
        if seconds < limit:
            return f"{seconds // per} {unit} ago"
    return f"{count(seconds // _DAY_S, 'day')} ago"


def moment(at: datetime) -> str:
    """An instant that the program itself took: `2026-11-23 09:05:00 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def timestamp(value: int, unit: str = "us", *, utc: bool = True) -> str:
    """An instant of evidence since 1970: `2022-03-10 16:33:50.089 UTC`; more digits only where not zero."""
    seconds, fraction = divmod(value, _PER_SECOND[unit])
    day, second = divmod(seconds, _DAY_S)
    zone = " UTC" if utc else ""
    return f"{day_text(day)} {clock(second * 1_000_000_000 + _nanos(fraction, unit))}{zone}"


def file_time(mtime_ns: int) -> str:
    """When a file was last changed, as its file system has it."""
    return timestamp(mtime_ns // 1_000_000, "ms")


def day_text(days: int) -> str:
    """A date by its days since 1970, proleptic Gregorian, whatever the year."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153  # months from March
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    sign = "-" if year < 0 else ""
    return f"{sign}{abs(year):04}-{month:02}-{day_of_year - (153 * shifted + 2) // 5 + 1:02}"


def clock(nanoseconds: int) -> str:
    """A time of day by its nanoseconds: `16:33:50.089`, with six or nine digits only where not zero."""
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    if nanos % 1_000_000 == 0:
        fraction = f"{nanos // 1_000_000:03}"
    elif nanos % 1_000 == 0:
        fraction = f"{nanos // 1_000:06}"
    else:
        fraction = f"{nanos:09}"
    return f"{seconds // 3_600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction}"


def short_hash(digest: str) -> str:
    """The first ten characters of a hash; the whole belongs into the tool tip and the clipboard."""
    return f"{digest[:10]}…" if len(digest) > 12 else digest


def progress(what: Progress) -> str:
    """`1,204 of 5,000 files · 812/s`, or without a total `1,204 files`."""
    is_bytes = what.unit == "bytes"
    done = size(what.done) if is_bytes else number(what.done)
    noun = "" if is_bytes else f" {what.unit}"
    text = f"{done}{noun}"
    if what.total is not None:
        total = size(what.total) if is_bytes else number(what.total)
        text = f"{done} of {total}{noun}"
    if what.rate is None:
        return text
    rate = size(int(what.rate)) if is_bytes else number(round(what.rate))
    return f"{text} · {rate}/s"


def cell(scalar: pa.Scalar[Any], limit: int = CELL_CHARS) -> str:
    """A value of a result on one line, escaped and cut to `limit` characters; null is `NULL`."""
    text = shown_text(plain(scalar, limit + 1))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def plain(scalar: pa.Scalar[Any], limit: int | None = None) -> str:
    """A value of a result as text, not escaped; only its first `limit` characters are looked at.

    Numbers are not grouped: ports, ids and offsets are no quantities.
    """
    if not scalar.is_valid:
        return "NULL"
    special = _special(scalar)
    if special is not None:
        return special
    value = scalar.as_py()
    if isinstance(value, bytes):
        return value[: limit and (limit + 1) // 2].hex()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:limit]


def _special(scalar: pa.Scalar[Any]) -> str | None:
    """Types whose Python value would not do: it has no such years, no nanoseconds, or another look."""
    import pyarrow as pa  # heavy, and loaded already by whoever has a scalar

    kind = scalar.type
    if pa.types.is_timestamp(kind):
        return timestamp(scalar.cast(pa.int64()).as_py(), kind.unit, utc=kind.tz is not None)
    if pa.types.is_date(kind):
        return day_text(scalar.cast(pa.date32()).cast(pa.int32()).as_py())
    if pa.types.is_time(kind):
        raw = scalar.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64()).as_py()
        return clock(_nanos(raw, kind.unit))
    if pa.types.is_duration(kind):
        return _span(scalar.cast(pa.int64()).as_py(), kind.unit)
    if isinstance(scalar, pa.StructScalar):
        inner = (f"{name}: {plain(scalar[name])}" for name in scalar)
        return "{" + ", ".join(inner) + "}"
    if isinstance(scalar, pa.ListScalar | pa.LargeListScalar):
        return "[" + ", ".join(plain(one) for one in scalar.values or ()) + "]"
    return None


def _span(value: int, unit: str) -> str:
    sign, nanos = ("-" if value < 0 else ""), _nanos(abs(value), unit)
    days, rest = divmod(nanos, _DAY_S * 1_000_000_000)
    return f"{sign}{f'{days} d ' if days else ''}{clock(rest)}"


def _nanos(value: int, unit: str) -> int:
    return value * (1_000_000_000 // _PER_SECOND[unit])
