"""The columns of events, and how the values of one become a typed array."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute

from casparian.api import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

TABLE = "evtx_events"
COLUMNS = (
    Column("time", "timestamp_utc", doc="When the event happened: System/TimeCreated"),
    Column("computer", "string", doc="The machine that wrote it"),
    Column("channel", "string", doc="The log it was written to: Security, System, ..."),
    Column("provider_name", "string", doc="The component that wrote it"),
    Column("event_id", "int64", doc="What happened; its meaning depends on the provider"),
    Column(
        "level", "int64", doc="1 critical, 2 error, 3 warning, 4 information, 5 verbose, 0 always"
    ),
    Column("user_sid", "string", doc="The account in whose context it was written"),
    Column("event_data", "json", doc="The event's own values: EventData or UserData"),
    Column("record_id", "int64", nullable=False, doc="The record's number in its log"),
    Column("task", "int64", doc="The provider's task or category"),
    Column("opcode", "int64", doc="The step within the task: 1 start, 2 stop, ..."),
    Column(
        "keywords", "string", doc="A mask of 64 bits, hexadecimal; 0x8010... is an audit failure"
    ),
    Column("version", "int64", doc="Version of the event's layout"),
    Column("qualifiers", "int64", doc="Upper half of the event id of classic events"),
    Column("process_id", "int64", doc="The process that wrote it"),
    Column("thread_id", "int64", doc="The thread that wrote it"),
    Column("activity_id", "string", doc="Links events of one activity; lower case, no braces"),
    Column("related_activity_id", "string", doc="The activity that this one came from"),
    Column("provider_guid", "string", doc="The component's GUID; lower case, no braces"),
    Column("event_source_name", "string", doc="The classic name of the provider"),
    Column(
        "written_time",
        "timestamp_utc",
        doc="The time in the record's header. In live logs it is that of the event; exports may have "
        "that of another record, or 1601",
    ),
    Column(
        "extra", "json", doc="What the record holds beyond these columns, by its place in the XML"
    ),
)
NAMES = [column.name for column in COLUMNS]

NAMESPACE = "http://schemas.microsoft.com/win/2004/08/events/event"
GUIDS = frozenset({"activity_id", "related_activity_id", "provider_guid"})
JSON = frozenset({"event_data", "extra"})
TIMES = frozenset({"time", "written_time"})
"""The library writes years beyond 9999 with a sign."""


def _ints(values: Sequence[int | None]) -> pa.Array[Any]:
    return pa.array(values, pa.int64())


def _repeated(values: Sequence[str | None]) -> pa.Array[Any]:
    return pa.array(values, pa.dictionary(pa.int32(), pa.string()))


def _guids(values: Sequence[str | None]) -> pa.Array[Any]:
    encoded = cast("pa.DictionaryArray[Any, Any]", _repeated(values))
    texts = cast("list[str]", encoded.dictionary.to_pylist())
    plain = [plain_guid(text) for text in texts]
    plain_encoded = pa.DictionaryArray.from_arrays(encoded.indices, pa.array(plain, pa.string()))
    if len(set(plain)) == len(plain):
        return plain_encoded
    return plain_encoded.cast(pa.string()).dictionary_encode()  # two spellings of one GUID


_GUID_CHARACTERS = 38
_GUID = re.compile(r"\{?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}?")


def plain_guid(text: str) -> str:
    """A GUID in lower case and without braces; other text as it is."""
    return _known_guid(text) if len(text) <= _GUID_CHARACTERS else text


@lru_cache(maxsize=4096)
def _known_guid(text: str) -> str:
    found = _GUID.fullmatch(text)
    return found[1].lower() if found else text


def _times(values: Sequence[str | None]) -> pa.Array[Any]:
    return pa.array(values, pa.string()).cast(_INSTANT)


def _written_times(values: Sequence[str]) -> pa.Array[Any]:
    # 2016-07-08T18:12:51.6816408Z UTC, with up to seven digits: FILETIME has ticks of 100 ns.
    texts = pc.binary_slice(pa.array(values, pa.binary()), 0, 26).cast(pa.string())
    plain: pa.Array[Any] = pc.ascii_rtrim(texts, "Z UTC")
    return plain.cast(pa.timestamp("us")).cast(_INSTANT)


def _json(values: Sequence[str | None]) -> pa.Array[Any]:
    return pa.array([None if value == "null" else value for value in values], pa.string())


def as_texts(values: Sequence[Any]) -> pa.Array[Any]:
    """Values as text, for the contract to look at."""
    return pa.array([None if value is None else str(value) for value in values], pa.string())


_INSTANT = pa.timestamp("us", tz="UTC")
_FORMS: dict[str, tuple[pa.DataType, Callable[[Any], pa.Array[Any]]]] = {
    "int64": (pa.int64(), _ints),
    "string": (pa.dictionary(pa.int32(), pa.string()), _repeated),
    "timestamp_utc": (_INSTANT, _times),
    "json": (pa.string(), _json),
}
TYPED = pa.schema(
    [pa.field(one.name, _FORMS[one.type][0], metadata={"cf.type": one.type}) for one in COLUMNS]
)
BUILD = {one.name: _FORMS[one.type][1] for one in COLUMNS}
BUILD |= {"written_time": _written_times} | dict.fromkeys(GUIDS, _guids)
"""How the values of each column become an array of its type; raises what Arrow does if one does not fit."""
