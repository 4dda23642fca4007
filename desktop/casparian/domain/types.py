"""The types that columns may have, and the one way to read text as one of them.

A type is a word in contracts, settings and file metadata: boolean, int64, float64, decimal(p,s), date,
time, timestamp (without a zone), timestamp_utc, duration, string, binary, json (text that is JSON),
list<T> and struct<name:T,...>. A column that held no value yet is of the type null, and kept as text.

Text is of a type only if the value read would mean the same when it is written back; everything else is
refused, never bent. What that means, type by type:

    boolean        true or false, in any case
    int64          canonical: no plus sign, no leading zeros, no -0, within 64 bits
    float64        decimal or exponent form without leading zeros, or NaN, Infinity, -Infinity so spelled; the
                   double must lie within half a unit of the last digit, a whole number not beyond 2**53
    decimal(p,s)   decimal form within p digits, s of them after the point
    date           YYYY-MM-DD
    time           hh:mm[:ss[.fraction]]
    timestamp      date, `T` or a blank, time; or a date alone (midnight). No zone
    timestamp_utc  date and time with an explicit zone: Z, UTC, `Z UTC`, +hh:mm, +hhmm or +hh
    duration       [-][days.]hh:mm:ss[.fraction], as .NET writes it
    binary         hexadecimal, two digits a byte
    json           one JSON value
    list, struct   the JSON of it, its parts read by these same rules

Times hold microseconds, from year 1 to year 99999: FILETIME reaches 30828, beyond what `datetime` and
nanoseconds hold. Fractions may have nine digits; those after the sixth are cut, not rounded, so that
order is kept and no instant moves forward. This is the one loss that is accepted, since .NET writes
seven digits everywhere and a time that is text is of little use; parsers of text warn of it.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    from collections.abc import Callable

# The stubs know only some of the overloads: what works on arrays is untyped, under names that tell.
pc: Any = pyarrow.compute
_Texts: TypeAlias = Any
_Values: TypeAlias = Any
_Arrow: TypeAlias = Any
_Reader: TypeAlias = "Callable[[_Texts, _Arrow], _Values]"

READING_VERSION = 1
"""Part of every parser's identity: raise it when the same text would be read as another value or type."""

_SIMPLE: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamp_utc": pa.timestamp("us", tz="UTC"),
    "duration": pa.duration("us"),
    "string": pa.string(),
    "binary": pa.binary(),
    "json": pa.string(),
    "null": pa.string(),
}
_WORDS = {arrow: word for word, arrow in _SIMPLE.items() if word not in {"json", "null"}}
_DECIMAL_WORD = re.compile(r"decimal\(([1-9]|[12][0-9]|3[0-8]),([0-9]|[12][0-9]|3[0-8])\)")

_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?"
_LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    r"(?:[1-9]?\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    rf"|02-(?:0[1-9]|1\d|2[0-8]))|[1-9]?{_LEAP}-02-29)"
)
_ZONE = r" ?(?:Z|UTC|Z UTC|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)"
_INT64 = r"^(?:0|-?[1-9]\d{0,18})$"
_FLOAT64 = r"^(?:-?(?:(?:0|[1-9]\d*)(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,4})?|NaN|-?Infinity)$"
_SURE_FLOAT_CHARS = 15
"""A double gives back any number of so many digits; a longer text is compared with what it reads as."""
_LARGEST_WHOLE = 2**53
_TEN_THOUSAND_YEARS_US = 25 * 146_097 * 86_400_000_000
"""The Gregorian calendar repeats every 400 years of 146,097 days: year 30828 is 0828 and three of these."""


@lru_cache(maxsize=1024)
def arrow_type(word: str) -> pa.DataType:
    """The Arrow type of a word.

    Raises:
        ValueError: it is no word of the list above.
    """
    if word in _SIMPLE:
        return _SIMPLE[word]
    if (found := _DECIMAL_WORD.fullmatch(word)) and int(found[2]) <= int(found[1]):
        return pa.decimal128(int(found[1]), int(found[2]))
    if word.startswith("list<") and word.endswith(">"):
        return pa.list_(arrow_type(word[5:-1]))
    if word.startswith("struct<") and word.endswith(">"):
        return pa.struct([pa.field(name, arrow_type(part)) for name, part in _members(word)])
    raise ValueError(f"{word!r} is not a type")


def word_of(arrow: pa.DataType) -> str:
    """The word of an Arrow type; that of json text is `string`, which cannot be told from it.

    Raises:
        ValueError: no word stands for the type.
    """
    if arrow in _WORDS:
        return _WORDS[arrow]
    if pa.types.is_decimal128(arrow):
        return f"decimal({arrow.precision},{arrow.scale})"
    if pa.types.is_list(arrow):
        return f"list<{word_of(arrow.value_type)}>"
    if pa.types.is_struct(arrow):
        parts = (arrow.field(at) for at in range(arrow.num_fields))
        return f"struct<{','.join(f'{one.name}:{word_of(one.type)}' for one in parts)}>"
    raise ValueError(f"no type stands for {arrow}")


def read_text(word: str, texts: pa.StringArray) -> tuple[pa.Array[Any], pa.BooleanArray]:
    """Read text as a type: `(values, ok)`, both as long as the texts.

    Null stays null, and so does empty text unless the type is string; both are ok. Text that is not of
    the type becomes null and is not ok. Never raises on bad data.

    Raises:
        ValueError: the word is no type.
    """
    arrow = arrow_type(word)
    if word in {"string", "null"}:
        return texts, pa.repeat(pa.scalar(value=True), len(texts))
    if word.startswith("decimal("):
        read: _Reader = _decimal
    elif word.startswith(("list<", "struct<")):
        read = _nested
    else:
        read = _READERS[word]
    filled = _only(texts, pc.not_equal(texts, ""))
    values = read(filled, arrow)
    return values, pc.or_(pc.is_null(filled), pc.is_valid(values))


def _only(texts: _Texts, keep: _Values) -> _Texts:
    """The texts to keep, null in the place of the others."""
    if pc.all(keep).as_py() is not False:
        return texts
    return pc.if_else(keep, texts, pa.scalar(None, pa.string()))


def _matching(texts: _Texts, pattern: str) -> _Texts:
    return _only(texts, pc.match_substring_regex(texts, pattern))


def _boolean(texts: _Texts, arrow: _Arrow) -> _Values:
    return _matching(texts, "^(?i:true|false)$").cast(arrow)


def _int64(texts: _Texts, arrow: _Arrow) -> _Values:
    texts = _matching(texts, _INT64)
    # Nineteen digits may or may not fit; texts of one length compare as the numbers do.
    digits = pc.utf8_ltrim(texts, "-")
    limit = pc.if_else(pc.starts_with(texts, "-"), "9223372036854775808", "9223372036854775807")
    fits = pc.or_(pc.less(pc.binary_length(digits), 19), pc.less_equal(digits, limit))
    return _only(texts, fits).cast(arrow)


def _float64(texts: _Texts, arrow: _Arrow) -> _Values:
    texts = _matching(texts, _FLOAT64)
    values = texts.cast(arrow)
    size = pc.abs(values)
    ordinary = pc.and_(pc.greater(size, 1e-300), pc.less(size, 1e300))
    short = pc.less_equal(pc.binary_length(texts), _SURE_FLOAT_CHARS)
    trimmed = pc.utf8_rtrim(texts, "0")
    same = pc.and_(pc.match_substring(texts, "."), pc.equal(trimmed, values.cast(pa.string())))
    sure = pc.or_(pc.and_(ordinary, short), same)
    doubtful = pc.indices_nonzero(pc.fill_null(pc.invert(sure), False))  # noqa: FBT003  (Arrow's own)
    if not len(doubtful):
        return values
    wrong = {
        at
        for at, text, value in zip(
            doubtful.to_pylist(),
            texts.take(doubtful).to_pylist(),
            values.take(doubtful).to_pylist(),
            strict=True,
        )
        if not _is_meant(text, value)
    }
    if not wrong:
        return values
    keep = pa.array([at not in wrong for at in range(len(values))])
    return pc.if_else(keep, values, pa.scalar(None, arrow))


def _is_meant(text: str, value: float) -> bool:
    """Whether a double is the number in a text, as exactly as the text says it."""
    if text in {"NaN", "Infinity", "-Infinity"}:
        return True
    if text.lstrip("-").isdigit():
        return abs(value) <= _LARGEST_WHOLE and int(value) == int(text)
    number = Decimal(text)
    last_digit = Decimal(1).scaleb(int(number.as_tuple().exponent))
    return 2 * abs(number - Decimal(value)) <= last_digit


def _decimal(texts: _Texts, arrow: _Arrow) -> _Values:
    precision, scale = arrow.precision, arrow.scale
    whole = rf"(?:0|[1-9]\d{{0,{precision - scale - 1}}})" if precision > scale else "0"
    fraction = rf"(?:\.\d{{1,{scale}}})?" if scale else ""
    return _matching(texts, f"^-?{whole}{fraction}$").cast(arrow)


def _date(texts: _Texts, arrow: _Arrow) -> _Values:
    return _instant(_matching(texts, f"^{_DATE}$")).cast(arrow)


def _time(texts: _Texts, arrow: _Arrow) -> _Values:
    times = _matching(texts, f"^{_TIME}$")
    return _instant(pc.binary_join_element_wise("1970-01-01", times, " ")).cast(arrow)


def _timestamp(texts: _Texts, arrow: _Arrow) -> _Values:
    return _instant(_matching(texts, f"^{_DATE}(?:[T ]{_TIME})?$")).cast(arrow)


def _timestamp_utc(texts: _Texts, arrow: _Arrow) -> _Values:
    texts = _matching(texts, f"^{_DATE}[T ]{_TIME}{_ZONE}$")
    away = pc.match_substring_regex(texts, r"[+-]\d\d:?(?:\d\d)?$")
    if not pc.any(away).as_py():
        return _instant(pc.utf8_rtrim(texts, "Z UTC")).cast(arrow)
    zone = pc.extract_regex(texts, r"(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?$")
    hours, minutes = (
        pc.cast(pc.utf8_lpad(pc.struct_field(zone, part), 2, "0"), pa.int64())
        for part in ("hours", "minutes")
    )
    ahead = pc.multiply(pc.add(pc.multiply(hours, 60), minutes), 60_000_000)
    ahead = pc.if_else(pc.equal(pc.struct_field(zone, "sign"), "-"), pc.negate(ahead), ahead)
    ahead = pc.if_else(away, ahead, 0).cast(pa.duration("us"))
    local = _instant(
        pc.utf8_rtrim(pc.replace_substring_regex(texts, r" ?[+-]\d\d:?(?:\d\d)?$", ""), "Z UTC")
    )
    return pc.subtract(local, ahead).cast(arrow)


def _instant(texts: _Texts) -> _Values:
    """Timestamps of texts that are known to be a date, or a date and a time."""
    texts = _only(texts, pc.invert(pc.starts_with(texts, "0000")))
    far = pc.match_substring_regex(texts, r"^\d{5}")
    if not pc.any(far).as_py():
        return _head(texts, 0, 26).cast(pa.timestamp("us"))
    within = pc.if_else(far, _head(texts, 1, 27), _head(texts, 0, 26))
    ages = pc.if_else(far, _head(texts, 0, 1), "0").cast(pa.int64())
    later = pc.multiply(ages, _TEN_THOUSAND_YEARS_US).cast(pa.duration("us"))
    return pc.add(within.cast(pa.timestamp("us")), later)


def _head(texts: _Texts, start: int, stop: int) -> _Texts:
    """Characters from start to stop of texts known to be ASCII."""
    return pc.binary_slice(texts.cast(pa.binary()), start, stop).cast(pa.string())


def _duration(texts: _Texts, arrow: _Arrow) -> _Values:
    parts = pc.extract_regex(
        texts,
        r"^(?P<sign>-?)(?:(?P<days>\d{1,7})\.)?(?P<hours>[01]\d|2[0-3]):(?P<minutes>[0-5]\d)"
        r":(?P<seconds>[0-5]\d)(?:\.(?P<micros>\d{1,9}))?$",
    )

    def number(name: str) -> _Values:
        text = pc.struct_field(parts, name)
        text = _head(pc.utf8_rpad(text, 6, "0"), 0, 6) if name == "micros" else text
        return pc.cast(pc.utf8_lpad(text, 1, "0"), pa.int64())

    total = number("days")
    for name, factor in (("hours", 24), ("minutes", 60), ("seconds", 60), ("micros", 1_000_000)):
        total = pc.add(pc.multiply(total, factor), number(name))
    negative = pc.equal(pc.struct_field(parts, "sign"), "-")
    return pc.if_else(negative, pc.negate(total), total).cast(arrow)


def _binary(texts: _Texts, arrow: _Arrow) -> _Values:
    texts = _matching(texts, "^(?:[0-9a-fA-F]{2})+$")
    return pa.array(
        [None if text is None else bytes.fromhex(text) for text in texts.to_pylist()], arrow
    )


def _json(texts: _Texts, arrow: _Arrow) -> _Values:
    del arrow  # the values are the texts
    keep = [text is None or _is_json(text) for text in texts.to_pylist()]
    return _only(texts, pa.array(keep, pa.bool_()))


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return _loaded(text) is not _BROKEN  # it refuses a lone surrogate, which JSON allows
    return True


class _Number(str):
    """A number of a JSON text, as it is written there."""

    __slots__ = ()


_BROKEN = object()


def _loaded(text: str) -> Any:
    def no_constant(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=no_constant)
    except (ValueError, RecursionError):
        return _BROKEN


def _nested(texts: _Texts, arrow: _Arrow) -> _Values:
    values = []
    for text in texts.to_pylist():
        try:
            values.append(None if text is None else _part(_loaded(text), arrow))
        except ValueError:
            values.append(None)
    return pa.array(values, arrow)


def _part(value: Any, arrow: _Arrow) -> Any:
    """A part of a JSON value as Arrow takes it; raises ValueError where it is not of that type."""
    if value is None:
        return None
    if pa.types.is_list(arrow):
        if not isinstance(value, list):
            raise ValueError(value)
        return [_part(one, arrow.value_type) for one in value]
    if pa.types.is_struct(arrow):
        names = {arrow.field(at).name for at in range(arrow.num_fields)}
        if not isinstance(value, dict) or not value.keys() <= names:
            raise ValueError(value)
        return {name: _part(value.get(name), arrow.field(name).type) for name in names}
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str) and (arrow != pa.string() or not isinstance(value, _Number)):
        text = value
    else:
        raise ValueError(value)
    read, ok = read_text(word_of(arrow), pa.array([text], pa.string()))
    if not ok[0].as_py():
        raise ValueError(value)
    return read[0]


_READERS: dict[str, _Reader] = {
    "boolean": _boolean,
    "int64": _int64,
    "float64": _float64,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamp_utc": _timestamp_utc,
    "duration": _duration,
    "binary": _binary,
    "json": _json,
}


def _members(word: str) -> list[tuple[str, str]]:
    """The names and types in `struct<name:T,...>`; commas within a part's own brackets are its own."""
    members, depth, start = [], 0, 7
    for at in range(7, len(word)):
        depth += (word[at] in "<(") - (word[at] in ">)")
        if depth < 0 or (depth == 0 and word[at] == ","):
            name, colon, part = word[start:at].partition(":")
            if not (name and colon):
                raise ValueError(f"{word!r} is not a type")
            members.append((name, part))
            start = at + 1
    return members
