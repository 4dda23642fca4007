"""Windows event logs (`.evtx`) as one table of events.

The `evtx` library renders a record as JSON; this module makes typed columns of it, and sees to it that
nothing of a damaged log goes missing, which the library alone would let happen without a word.

Speed comes from cutting the text of a record where nearly all records have the same marks, and from decoding
what repeats between the marks once, into structs that know its shape exactly. A record of any other shape is
*odd*: it is taken apart by a table of places, becomes text, and is typed by the contract. Both ways give the
same row for the same record.

Damage, and what becomes of it:

    file signature or header damaged         the chunks are read behind a header of our making; noted
    header older than the chunks             as in a log collected from a running system; noted
    header counts chunks that are not there  one quarantine row: `cut_short`
    last chunk cut                           what can be read of it goes to quarantine as text: `cut_chunk`
    chunk signature destroyed                its records are rows if its checksums prove it whole, else
                                             they go to quarantine as text: `lost_chunk_header`
    chunk of zeros amid others               one quarantine row: `empty_chunk`
    chunk checksum does not hold             its records are rows, as other readers have it; noted; those that
                                             lie behind damage go to quarantine as text: `bad_record`
    record that does not decode              one quarantine row with its bytes: `bad_record`
"""

from __future__ import annotations

import datetime
import io
import re
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypedDict, cast

import msgspec
import pyarrow as pa
import pyarrow.compute
from evtx import PyEvtxParser
from typing_extensions import override

from casparian.api import Batch, Column, Output, ParseContext, Parser, ParserFault, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

_TABLE = "evtx_events"
_COLUMNS = (
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
_NAMES = [column.name for column in _COLUMNS]

_PLACES = {
    ("TimeCreated", "SystemTime"): "time",
    ("Computer", ""): "computer",
    ("Channel", ""): "channel",
    ("Provider", "Name"): "provider_name",
    ("EventID", ""): "event_id",
    ("Level", ""): "level",
    ("Security", "UserID"): "user_sid",
    ("Task", ""): "task",
    ("Opcode", ""): "opcode",
    ("Keywords", ""): "keywords",
    ("Version", ""): "version",
    ("EventID", "Qualifiers"): "qualifiers",
    ("Execution", "ProcessID"): "process_id",
    ("Execution", "ThreadID"): "thread_id",
    ("Correlation", "ActivityID"): "activity_id",
    ("Correlation", "RelatedActivityID"): "related_activity_id",
    ("Provider", "Guid"): "provider_guid",
    ("Provider", "EventSourceName"): "event_source_name",
}
"""Where in System a column's value stands: element, and attribute or nothing for its text."""

_NAMESPACE = "http://schemas.microsoft.com/win/2004/08/events/event"
_GUIDS = frozenset({"activity_id", "related_activity_id", "provider_guid"})
_JSON = frozenset({"event_data", "extra"})
_TIMES = frozenset({"time", "written_time"})
"""The library writes years beyond 9999 with a sign."""
_GROUP_RECORDS = 64
_ODD_RECORDS = 256
_BATCH_RECORDS = 4_096
"""A batch costs about as much as a hundred records, whatever its size."""
_BATCH_CHUNKS = 64
"""Records are at most a chunk long; this bounds the bytes of a batch whatever they are."""


class EvtxParser(Parser):
    """Windows event logs, as written by the Event Log service since Windows Vista.

    One row for each record of every chunk that the file holds, in the order of the file, whatever its header
    says of their number: in a log taken from a running system the header is stale. A log that has come
    full circle starts in the middle; sort by `record_id` or `time`. Records that libraries call
    "recovered" (remains of overwritten records in unused space) are not part of the log and are not read.

    Limits, all of the library: of a string it gives what stands before a NUL, and leaves out lone surrogates;
    TimeCreated has microseconds, and a record with a TimeCreated beyond the year 9999 goes to quarantine.

    The columns are those of the XML element System, see
    https://learn.microsoft.com/windows/win32/wes/eventschema-systempropertiestype-complextype;
    the file format is described at
    https://github.com/libyal/libevtx/blob/main/documentation/Windows%20XML%20Event%20Log%20(EVTX).asciidoc.
    """

    name = "evtx"
    version = "1"
    topics = ("evtx",)
    outputs = (Output(_TABLE, _COLUMNS, "Event records of Windows event logs"),)
    libraries = ("evtx",)

    @override
    def parse(self, source: BinaryIO, context: ParseContext) -> Iterator[Batch | Rejected]:
        """Read every record of every chunk; see the module for what becomes of damage.

        Raises:
            ParserFault: the file is no event log, and there is no chunk of one in it.
        """
        return _Reading(_Log(source, context), context).items()


# ------------------------------------------------------------------------------------------ records


_NONE = msgspec.Raw()


class _Struct(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What is known to be there and nothing else: a record with more is odd."""


class _ProviderAttributes(_Struct, rename="pascal"):
    name: str | None = None
    guid: str | None = None
    event_source_name: str | None = None


class _Provider(_Struct):
    attributes: _ProviderAttributes = msgspec.field(name="#attributes")


class _CorrelationAttributes(_Struct):
    activity_id: str | None = msgspec.field(name="ActivityID", default=None)
    related_activity_id: str | None = msgspec.field(name="RelatedActivityID", default=None)


class _Correlation(_Struct):
    attributes: _CorrelationAttributes = msgspec.field(name="#attributes")


class _ExecutionAttributes(_Struct):
    process_id: int | None = msgspec.field(name="ProcessID", default=None)
    thread_id: int | None = msgspec.field(name="ThreadID", default=None)


class _Execution(_Struct):
    attributes: _ExecutionAttributes = msgspec.field(name="#attributes")


class _SecurityAttributes(_Struct):
    user_id: str | None = msgspec.field(name="UserID", default=None)


class _Security(_Struct):
    attributes: _SecurityAttributes = msgspec.field(name="#attributes")


class _EventIdAttributes(_Struct):
    qualifiers: int | None = msgspec.field(name="Qualifiers")


class _EventId(_Struct):
    attributes: _EventIdAttributes = msgspec.field(name="#attributes")
    text: int | None = msgspec.field(name="#text")


class _Kind(_Struct, rename="pascal"):
    """What stands in System before TimeCreated."""

    provider: _Provider | None = None
    event_id: int | _EventId | None = msgspec.field(name="EventID", default=None)
    version: int | None = None
    level: int | None = None
    task: int | None = None
    opcode: int | None = None
    keywords: str | None = None

    def values(self) -> dict[str, Any]:
        """The values by column."""
        provider = self.provider.attributes if self.provider else _ProviderAttributes()
        event_id = self.event_id
        if not isinstance(event_id, _EventId):
            event_id = _EventId(_EventIdAttributes(None), event_id)
        return {
            "provider_name": provider.name,
            "event_id": event_id.text,
            "level": self.level,
            "task": self.task,
            "opcode": self.opcode,
            "keywords": self.keywords,
            "version": self.version,
            "qualifiers": event_id.attributes.qualifiers,
            "provider_guid": provider.guid,
            "event_source_name": provider.event_source_name,
        }


class _Origin(_Struct, rename="pascal"):
    """What stands in System behind EventRecordID."""

    correlation: _Correlation | None = None
    execution: _Execution | None = None
    channel: str | None = None
    computer: str | None = None
    security: _Security | None = None

    def values(self) -> dict[str, Any]:
        """The values by column."""
        execution = self.execution.attributes if self.execution else _ExecutionAttributes()
        correlation = self.correlation.attributes if self.correlation else _CorrelationAttributes()
        return {
            "computer": self.computer,
            "channel": self.channel,
            "user_sid": self.security.attributes.user_id if self.security else None,
            "process_id": execution.process_id,
            "thread_id": execution.thread_id,
            "activity_id": correlation.activity_id,
            "related_activity_id": correlation.related_activity_id,
        }


_HEAD = f'{{"Event":{{"#attributes":{{"xmlns":"{_NAMESPACE}"}},"System":{{'
_TIME = ',"TimeCreated":{"#attributes":{"SystemTime":"'
_NUMBER = '"}},"EventRecordID":'
_EVENT_DATA = '},"EventData":'
_USER_DATA = '},"UserData":'
_TAIL = "}}"
_PIECES_KEPT = 1_024
_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_origin = msgspec.json.Decoder(_Origin).decode
_check_json = msgspec.json.Decoder(msgspec.Raw).decode


@lru_cache(_PIECES_KEPT)
def _kind_values(piece: str) -> dict[str, Any]:
    if not piece.startswith(_HEAD):
        raise ValueError("The record begins in another way")
    return _decode_kind(f"{{{piece[len(_HEAD) :]}}}").values()


@lru_cache(_PIECES_KEPT)
def _origin_values(piece: str) -> dict[str, Any]:
    return _decode_origin(f"{{{piece}}}").values()


class _Pieces(dict[str, int]):
    """The different pieces among those that the records of a batch have, numbered as they come."""

    def __init__(self, read: Callable[[str], dict[str, Any]]) -> None:
        super().__init__()
        self._read = read
        self._found: list[dict[str, Any]] = []

    def __missing__(self, piece: str) -> int:
        self._found.append(self._read(piece))
        number = self[piece] = len(self)
        return number

    def typed(self, numbers: Sequence[int]) -> dict[str, pa.Array[Any]]:
        """The columns of records that have these pieces.

        Raises:
            OverflowError, ArrowException: a value is not of its column's type.
        """
        names = list(self._found[0])
        arrays = [_BUILD[name]([one[name] for one in self._found]) for name in names]
        pieces = pa.RecordBatch.from_arrays(arrays, names=names)
        return dict(zip(names, pieces.take(pa.array(numbers, pa.int32())).columns, strict=True))

    def plain(self, numbers: Sequence[int]) -> dict[str, Sequence[Any]]:
        """The same as the values are."""
        return {name: [self._found[one][name] for one in numbers] for name in self._found[0]}


class _Given(TypedDict):
    """A record as the library gives it."""

    event_record_id: int
    timestamp: str
    data: str


def _records(parser: PyEvtxParser) -> Iterator[_Given]:
    """The records of a log; one that fails raises RuntimeError, and the next `next` goes on behind it."""
    return cast("Iterator[_Given]", parser.records_json())


class _Rows:
    """Records of the common shape on their way into a batch.

    Nearly all that stands in System before the time is the same in many records, and so is what stands behind
    the record's number. The text is cut there, at marks that no string of JSON holds since in one a quotation
    mark has a backslash before it. Each piece must then be JSON on its own, with the members that belong
    there and no others: so a mark at another place than supposed makes the record odd.
    """

    def __init__(self) -> None:
        self._kinds = _Pieces(_kind_values)
        self._origins = _Pieces(_origin_values)
        self._values: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, record: _Given, ordinal: int) -> None:
        """Take a record apart. This is where most of the time goes that is not the library's.

        Raises:
            ValueError, MsgspecError, RecursionError: it is odd.
        """
        text, record_id = record["data"], record["event_record_id"]
        kind_end = text.index(_TIME)
        time_start = kind_end + len(_TIME)
        time_end = text.index('"', time_start)
        number_start = time_end + len(_NUMBER)
        number_end = text.index(",", number_start)
        origin_end = text.find(_EVENT_DATA, number_end)
        if origin_end >= 0:
            origin = self._origins[text[number_end + 1 : origin_end]]
            payload = text[origin_end + len(_EVENT_DATA) : -len(_TAIL)]
        else:
            piece, payload = _without_event_data(text[number_end + 1 : -len(_TAIL)])
            origin = self._origins[piece]
        kind = self._kinds[text[:kind_end]]
        time = text[time_start:time_end]
        _check_json(payload)
        if text[time_end:number_start] != _NUMBER or "\\" in time or text[-len(_TAIL) :] != _TAIL:
            raise ValueError("The record has another shape")
        number = text[number_start:number_end]
        extra = None if number == str(record_id) else _other_number(number)
        self._values.append(
            (kind, origin, ordinal, time, payload, record_id, record["timestamp"], extra)
        )

    def batch(self) -> Batch:
        """A typed batch, or one of text where a value does not fit its column's type."""
        kinds, origins, ordinals, *own = zip(*self._values, strict=True)
        values: dict[str, Sequence[Any]] = dict(zip(_OWN_COLUMNS, own, strict=True))
        try:
            arrays = {name: _BUILD[name](values[name]) for name in _OWN_COLUMNS}
            arrays |= self._kinds.typed(kinds) | self._origins.typed(origins)
            rows = pa.RecordBatch.from_arrays([arrays[name] for name in _NAMES], schema=_TYPED)
        except (OverflowError, pa.ArrowException):
            # A number beyond 64 bits, a year beyond 9999: let the contract look at every cell.
            values |= self._kinds.plain(kinds) | self._origins.plain(origins)
            for name in _GUIDS:
                values[name] = [one and _plain_guid(one) for one in values[name]]
            for name in _TIMES:
                values[name] = [one.removeprefix("+") for one in values[name]]
            texts = [(_BUILD[name] if name in _JSON else _texts)(values[name]) for name in _NAMES]
            rows = pa.RecordBatch.from_arrays(texts, names=_NAMES)
        return Batch(_TABLE, rows, pa.array(ordinals, pa.int64()))


_OWN_COLUMNS = ("time", "event_data", "record_id", "written_time", "extra")
"""The columns whose values are each record's own, as `_Rows.add` has them."""


def _without_event_data(text: str) -> tuple[str, str]:
    """What stands behind the number, as piece and payload, where there is UserData or neither."""
    piece, _, payload = text.partition(_USER_DATA)
    if payload:
        return piece, payload
    if not piece.endswith("}"):
        raise ValueError("The record ends in another way")
    return piece[:-1], "null"


def _other_number(number: str) -> str | None:
    """What `extra` says of a record with another number inside.

    Forwarded events keep the number that they had where they come from.
    """
    inside = msgspec.json.decode(number, type=int | None)
    return None if inside is None else f'{{"System/EventRecordID":{inside}}}'


def _ints(values: Sequence[int | None]) -> pa.Array[Any]:
    return pa.array(values, pa.int64())


def _repeated(values: Sequence[str | None]) -> pa.Array[Any]:
    return pa.array(values, pa.dictionary(pa.int32(), pa.string()))


def _guids(values: Sequence[str | None]) -> pa.Array[Any]:
    encoded = cast("pa.DictionaryArray[Any, Any]", _repeated(values))
    texts = cast("list[str]", encoded.dictionary.to_pylist())
    plain = [_plain_guid(text) for text in texts]
    plain_encoded = pa.DictionaryArray.from_arrays(encoded.indices, pa.array(plain, pa.string()))
    if len(set(plain)) == len(plain):
        return plain_encoded
    return plain_encoded.cast(pa.string()).dictionary_encode()  # two spellings of one GUID


_GUID_CHARACTERS = 38
_GUID = re.compile(r"\{?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}?")


def _plain_guid(text: str) -> str:
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


def _texts(values: Sequence[Any]) -> pa.Array[Any]:
    return pa.array([None if value is None else str(value) for value in values], pa.string())


_INSTANT = pa.timestamp("us", tz="UTC")
_FORMS: dict[str, tuple[pa.DataType, Callable[[Any], pa.Array[Any]]]] = {
    "int64": (pa.int64(), _ints),
    "string": (pa.dictionary(pa.int32(), pa.string()), _repeated),
    "timestamp_utc": (_INSTANT, _times),
    "json": (pa.string(), _json),
}
_TYPED = pa.schema(
    [pa.field(one.name, _FORMS[one.type][0], metadata={"cf.type": one.type}) for one in _COLUMNS]
)
_BUILD = {one.name: _FORMS[one.type][1] for one in _COLUMNS}
_BUILD |= {"written_time": _written_times} | dict.fromkeys(_GUIDS, _guids)


@dataclass(frozen=True, slots=True)
class _Odd:
    """A record of another shape than most."""

    ordinal: int
    event_record_id: int
    timestamp: str
    data: str


def _odd_batch(odd: Sequence[_Odd]) -> Iterator[Batch | Rejected]:
    rows, kept = [], []
    for one in odd:
        try:
            rows.append(_taken_apart(one))
        except (msgspec.MsgspecError, RecursionError) as error:
            message = f"Record {one.event_record_id} came as JSON that does not hold: {error}"
            yield Rejected(_TABLE, one.ordinal, "bad_json", message, one.data.encode())
        else:
            kept.append(one)
    arrays = [pa.array([row.get(name) for row in rows], pa.string()) for name in _NAMES]
    yield Batch(
        _TABLE,
        pa.RecordBatch.from_arrays(arrays, names=_NAMES),
        pa.array([one.ordinal for one in kept], pa.int64()),
        raw=pa.array([one.data for one in kept], pa.string()),
    )


def _taken_apart(one: _Odd) -> dict[str, str]:
    """The texts of a record's columns, found by their places; what has no place goes to `extra`."""
    extra: dict[str, Any] = msgspec.json.decode(one.data, type=dict[str, msgspec.Raw])
    event = dict(_members(extra.pop("Event", _NONE), extra, "Event"))
    row = {
        "record_id": str(one.event_record_id),
        "written_time": one.timestamp,
        **_payload(event),
        **_system(event.pop("System", _NONE), one, extra),
    }
    for name, raw in event.items():
        value = msgspec.json.decode(raw)
        if value not in (None, {"xmlns": _NAMESPACE}):
            extra[name] = value
    row |= {name: row[name].removeprefix("+") for name in _TIMES & row.keys()}
    row |= {name: _plain_guid(row[name]) for name in _GUIDS & row.keys()}
    return row | ({"extra": msgspec.json.encode(extra).decode()} if extra else {})


def _payload(event: dict[str, msgspec.Raw]) -> dict[str, str]:
    """EventData, or else UserData; what is taken is gone from the event."""
    for name in ("EventData", "UserData"):
        if bytes(event.get(name, _NONE)) not in {b"", b"null"}:
            return {"event_data": bytes(event.pop(name)).decode()}
    return {}


def _system(raw: msgspec.Raw, one: _Odd, extra: dict[str, Any]) -> dict[str, str]:
    row: dict[str, str] = {}
    for element, part in _members(raw, extra, "System"):
        for attribute, value in _leaves(msgspec.json.decode(part)):
            column = _PLACES.get((element, attribute))
            text = _scalar(value)
            if column and text is not None:
                row[column] = text
            elif value is not None and (element, text) != (
                "EventRecordID",
                str(one.event_record_id),
            ):
                extra[f"System/{element}{attribute and '/@'}{attribute}"] = value
    return row


def _members(raw: msgspec.Raw, extra: dict[str, Any], name: str) -> list[tuple[str, msgspec.Raw]]:
    if not bytes(raw).startswith(b"{"):
        if bytes(raw) not in {b"", b"null"}:
            extra[name] = raw
        return []
    return list(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items())


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """The values of an element by attribute, and its text by the name ''."""
    if not isinstance(value, dict):
        yield "", value
        return
    for name, part in value.items():
        if name == "#attributes" and isinstance(part, dict):
            yield from part.items()
        else:
            yield ("" if name == "#text" else f"{name}"), part


def _scalar(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else None


# ----------------------------------------------------------------------------------------- reading


_RECORD_ERROR = re.compile(r"Failed to parse record number (\d+)")
_CHUNK_ERROR = re.compile(r"Failed to parse chunk number (\d+)")


class _Reading:
    """One pass over a log."""

    def __init__(self, log: _Log, context: ParseContext) -> None:
        self._log = log
        self._context = context
        self._rows = _Rows()
        self._rows_since = -1
        """The chunk before the first of these rows."""
        self._odd: list[_Odd] = []
        self._ordinal = 0
        self._seen_to: set[int] = set()
        """The chunks that were read on their own."""
        self._mended: list[int] = []
        self._unproven: list[int] = []

    def items(self) -> Iterator[Batch | Rejected]:
        """All that the log holds."""
        yield from self._log.damage()
        yield from self._read_chunks()
        short = self._ordinal < self._log.expected_records
        for index in self._log.with_signature if short else self._log.doubtful:
            yield from self._read_rest(index)
        yield from self._read_cut_chunk()
        yield from self._flush()
        yield from self._flush_odd()
        self._note_chunks()

    def _note_chunks(self) -> None:
        if self._mended:
            self._context.warn(
                f"{_listed(self._mended)} lost the signature; the checksums prove the rest whole, and the "
                "records were read"
            )
        if self._unproven:
            self._context.warn(
                f"{_listed(self._unproven)} may be altered, or was being written when the log was "
                "collected: a checksum does not hold; the records were read"
            )

    def _read_chunks(self) -> Iterator[Batch | Rejected]:
        records = _records(PyEvtxParser(self._log.view(), validate_checksums=True))
        faulty = -1
        for _ in range(self._log.most_records):
            try:
                yield from self._read_records(records)
            except RuntimeError as error:
                index = self._log.chunk_being_read
                if found := _CHUNK_ERROR.match(str(error)):
                    yield from self._read_damaged_chunk(int(found[1]))
                elif index != faulty:
                    yield from self._read_rest(faulty)
                    faulty = index
                yield from self._flush_full()
            else:
                break
        yield from self._read_rest(faulty)

    def _read_records(self, records: Iterator[_Given]) -> Iterator[Batch | Rejected]:
        while self._take(islice(records, _GROUP_RECORDS)):
            yield from self._flush_full()

    def _take(self, records: Iterable[_Given]) -> bool:
        """Take records as the library gives them; whether there were any.

        Fetched and taken apart some dozens at a time: each of these steps is much code, and the processor
        runs it faster when it stays with one for a while.

        Raises:
            RuntimeError: the library failed on one; those before it are taken.
        """
        group: list[_Given] = []
        try:
            group.extend(records)
        finally:
            self._take_group(group)
        return bool(group)

    def _take_group(self, group: list[_Given]) -> None:
        for record in group:
            self._ordinal += 1
            try:
                self._rows.add(record, self._ordinal)
            except (ValueError, msgspec.MsgspecError, RecursionError):  # it has another shape
                self._odd.append(_Odd(self._ordinal, **record))

    def _flush_full(self) -> Iterator[Batch | Rejected]:
        chunks = self._log.chunk_being_read - self._rows_since
        if len(self._rows) >= _BATCH_RECORDS or chunks >= _BATCH_CHUNKS:
            yield from self._flush()
            self._context.progress(self._log.done_bytes)
        if len(self._odd) >= _ODD_RECORDS:
            yield from self._flush_odd()

    def _flush(self) -> Iterator[Batch]:
        self._rows_since = self._log.chunk_being_read
        if len(self._rows):
            rows, self._rows = self._rows, _Rows()
            yield rows.batch()

    def _flush_odd(self) -> Iterator[Batch | Rejected]:
        odd, self._odd = self._odd, []
        return _odd_batch(odd)

    def _read_rest(self, index: int) -> Iterator[Rejected]:
        """See to what the library has not read of a chunk whose checksums hold; once for each chunk."""
        if index >= 0 and index not in self._seen_to:
            self._seen_to.add(index)
            chunk = self._log.chunk(index)
            yield from self._unread(chunk, *chunk.records())

    def _read_damaged_chunk(self, index: int) -> Iterator[Rejected]:
        """Read a chunk that the library refused as a whole, on its own."""
        self._seen_to.add(index)
        chunk = self._log.chunk(index)
        if not chunk.has_header:
            why = f"chunk {index + 1} has lost its header"
            yield from self._salvage(chunk, "lost_chunk_header", why)
            return
        (self._mended if chunk.was_mended else self._unproven).append(index + 1)
        records, errors = chunk.records()
        self._take(records)
        yield from self._unread(chunk, records, errors)

    def _read_cut_chunk(self) -> Iterator[Rejected]:
        chunk = self._log.cut_chunk()
        if chunk is not None:
            yield from self._salvage(chunk, "cut_chunk", "the file ends within its chunk")

    def _salvage(self, chunk: _Chunk, violation: str, why: str) -> Iterator[Rejected]:
        """What can be read of a chunk that nothing proves: text in quarantine."""
        records, errors = chunk.records()
        whole = {span.record_id for span in chunk.spans}
        records = [one for one in records if one["event_record_id"] in whole]
        for record in records:
            message = f"Record {record['event_record_id']} can be read, but {why}"
            yield self._rejected(violation, message, record["data"].encode())
        yield from self._unread(chunk, records, errors)
        if not chunk.spans:
            message = f"At offset {chunk.offset:,}: {why}, and no record can be made out in it"
            yield Rejected(_TABLE, chunk.offset, violation, message, chunk.given)

    def _unread(
        self, chunk: _Chunk, records: list[_Given], errors: list[str]
    ) -> Iterator[Rejected]:
        """What a chunk's bytes show to be records and the library did not read.

        It stops at a header that it does not take and leaves out the neighbours behind it. Those are read
        in a second attempt: they are rows if the chunk is whole, else text in quarantine.
        """
        reasons = _reasons(errors)
        others = "; ".join(text for text in errors if not _RECORD_ERROR.match(text))
        missing, gaps = chunk.left_by(records)
        rescued, still = chunk.rescued(missing) if missing else ({}, {})
        for span in missing:
            record = rescued.get(span.start)
            if record is not None and chunk.is_whole:
                self._take([record])
                continue
            reason = reasons.pop(span.record_id, still.get(span.start, others))
            reason = reason or "it lies behind damage"
            message = f"Record {span.record_id} at offset {chunk.offset + span.start:,}: {reason}"
            raw = chunk.given[span.start : span.end] if record is None else record["data"].encode()
            yield self._rejected("bad_record", message, raw)
        for start, end, record_id in gaps:
            reason = reasons.pop(record_id, others) or "no record can be made out"
            message = f"{end - start:,} bytes at offset {chunk.offset + start:,}: {reason}"
            yield self._rejected("bad_record", message, chunk.given[start:end])
        for record_id, reason in reasons.items():
            message = f"Record {record_id} in the chunk at offset {chunk.offset:,}: {reason}"
            yield self._rejected("bad_record", message)

    def _rejected(self, violation: str, message: str, raw: bytes = b"") -> Rejected:
        self._ordinal += 1
        return Rejected(_TABLE, self._ordinal, violation, message, raw)


# -------------------------------------------------------------------------------------------- file


_FILE_SIGNATURE = b"ElfFile\0"
_CHUNK_SIGNATURE = b"ElfChnk\0"
_RECORD_SIGNATURE = b"**\0\0"
_HEADER_BYTES = 4_096
_CHUNK_BYTES = 65_536
_FIRST_RECORD = 512
"""Offset of the first record in a chunk."""
_SMALLEST_RECORD = 28
_NO_LAST = 2**64 - 1
"""As the number of the last record: that of a chunk without any. The library stops at the last."""
_NO_CHECKSUMS = 4
"""Flag in both kinds of header."""
_KNOWN_FLAGS = 7
_LISTED = 10


class _Log:
    """What the headers of a file and of its chunks say, and what that is worth."""

    def __init__(self, source: BinaryIO, context: ParseContext) -> None:
        self._source = source
        self._context = context
        self._size = source.seek(0, io.SEEK_END)
        self._whole, self._rest = divmod(max(self._size - _HEADER_BYTES, 0), _CHUNK_BYTES)
        source.seek(0)
        self._head = source.read(_HEADER_BYTES)
        self._empty: list[int] = []
        self.with_signature: list[int] = []
        """The chunks that are some by their signature."""
        self.doubtful: list[int] = []
        """Those whose header does not point to the record that it calls the last."""
        self.expected_records = 0
        """What the headers of the chunks count together."""
        for index in range(self._whole):
            self._survey(index)
        self._check_signature()

    @property
    def most_records(self) -> int:
        """More records than the file can hold: whoever counts more errors goes in circles."""
        return self._size // _SMALLEST_RECORD + 1

    @property
    def chunk_being_read(self) -> int:
        """The library reads a chunk at a time: the index of the last."""
        return (self._source.tell() - _HEADER_BYTES) // _CHUNK_BYTES - 1

    @property
    def done_bytes(self) -> int:
        """How far the file is read."""
        return self._source.tell()

    def view(self) -> BinaryIO:
        """The file for the library: itself, or behind a new header if its own is damaged."""
        if self._header_holds:
            self._source.seek(0)
            return self._source
        return io.BufferedReader(_Behind(_file_header(self._whole), self._source), _CHUNK_BYTES)

    def chunk(self, index: int) -> _Chunk:
        """A whole chunk, on its own."""
        offset = _HEADER_BYTES + index * _CHUNK_BYTES
        at = self._source.tell()
        chunk = _Chunk(self._read_at(offset, _CHUNK_BYTES), offset)
        self._source.seek(at)
        return chunk

    def cut_chunk(self) -> _Chunk | None:
        """The chunk that the end of the file cuts, if there is one."""
        chunk = self.chunk(self._whole)
        return chunk if chunk.given.startswith(_CHUNK_SIGNATURE) else None

    def damage(self) -> Iterator[Rejected]:
        """What the headers show to be missing; what they show to be harmless is only noted."""
        counted = int.from_bytes(self._head[42:44], "little")
        cut = self.cut_chunk()
        last_present = self.with_signature[-1] if self.with_signature else -1
        if not self._header_holds:
            self._note_header()
            counted = len(self.with_signature)
        if counted > self._whole:
            there = f"{self._whole:,} whole" + (" and a part of one" if cut else "")
            message = (
                f"The file is cut short: its header counts {counted:,} chunks, it holds {there}"
            )
            yield Rejected(_TABLE, self._size, "cut_short", message)
        elif counted < len(self.with_signature):
            self._context.warn(
                f"The header is older than the log, as in a log collected from a running system: it "
                f"counts {counted:,} of the {len(self.with_signature):,} chunks in the file; all were read"
            )
        if self._rest and not cut:
            self._context.warn(
                f"The last {self._rest:,} bytes are no chunk and were not read",
                self._size - self._rest,
            )
        for first, last in _runs([one for one in self._empty if one < max(counted, last_present)]):
            offset = _HEADER_BYTES + first * _CHUNK_BYTES
            which = (
                f"Chunk {first + 1} is"
                if first == last
                else f"Chunks {first + 1} to {last + 1} are"
            )
            message = f"{which} empty (offset {offset:,}), though the log goes on behind: records are lost"
            yield Rejected(_TABLE, offset, "empty_chunk", message)

    def _survey(self, index: int) -> None:
        offset = _HEADER_BYTES + index * _CHUNK_BYTES
        head = self._read_at(offset, 64)
        if head.startswith(_CHUNK_SIGNATURE):
            self.with_signature.append(index)
            first, last = struct.unpack_from("<QQ", head, 8)
            if first <= last <= first + _CHUNK_BYTES // _SMALLEST_RECORD:
                self.expected_records += last - first + 1
            last_id, _, start, free = struct.unpack_from("<QIII", head, 32)
            record = self._read_at(offset + start, 16)
            size, record_id = struct.unpack_from("<IQ", record.ljust(16, b"\0"), 4)
            if (start + size, record_id) != (free, last_id) and free > _FIRST_RECORD:
                self.doubtful.append(index)
        elif not head.strip(b"\0") and not self._read_at(offset, _CHUNK_BYTES).strip(b"\0"):
            self._empty.append(index)

    def _read_at(self, offset: int, size: int) -> bytes:
        self._source.seek(offset)
        return self._source.read(size)

    def _check_signature(self) -> None:
        if not self._size:
            raise ParserFault("The file is empty")
        if self.with_signature:
            return
        if not self._head.startswith(_FILE_SIGNATURE):
            raise ParserFault(
                "The file is no event log",
                f"it begins with {self._head[:8].hex(' ')} and holds no chunk of one",
            )
        if len(self._head) < _HEADER_BYTES:
            detail = f"{self._size:,} of {_HEADER_BYTES:,} bytes are there"
            raise ParserFault("The file is cut within its header", detail)

    @property
    def _header_holds(self) -> bool:
        flags, checksum = struct.unpack_from("<II", self._head, 120)
        return self._head.startswith(_FILE_SIGNATURE) and (
            zlib.crc32(self._head[:120]) == checksum
            or bool(flags & _NO_CHECKSUMS and not flags & ~_KNOWN_FLAGS)
        )

    def _note_header(self) -> None:
        what = "header is damaged: its checksum does not hold"
        if not self._head.startswith(_FILE_SIGNATURE):
            what = f"signature is damaged: the file begins with {self._head[:8].hex(' ')}"
        self._context.warn(f"The file's {what}; its chunks were read regardless", 0)


class _Span(NamedTuple):
    """Where a record stands in its chunk."""

    start: int
    end: int
    record_id: int


class _Chunk:
    """One chunk, read on its own."""

    def __init__(self, given: bytes, offset: int) -> None:
        self.given = given
        self.offset = offset
        self._bytes = given.ljust(_CHUNK_BYTES, b"\0")
        mended = _CHUNK_SIGNATURE + self._bytes[8:]
        self.is_whole = len(given) == _CHUNK_BYTES and _checksums_hold(mended)
        """Whether its checksums prove it, once the signature is restored."""
        self.was_mended = not given.startswith(_CHUNK_SIGNATURE)
        self.has_header = self.is_whole or not self.was_mended
        self._bytes = mended if self.has_header else self._with_new_header()

    @property
    def _limit(self) -> int:
        """Where the records end; what lies behind was there before them and is not of the log any more."""
        free = int.from_bytes(self._bytes[48:52], "little")
        return min(free if free >= _FIRST_RECORD else _CHUNK_BYTES, len(self.given))

    @cached_property
    def spans(self) -> list[_Span]:
        """Every record that the bytes show: those have a signature, and their size at both ends."""
        limit = self._limit
        spans = []
        at = self._bytes.find(_RECORD_SIGNATURE, _FIRST_RECORD, limit)
        while 0 <= at <= limit - _SMALLEST_RECORD:
            size, record_id = struct.unpack_from("<IQ", self._bytes, at + 4)
            end = at + size
            if _SMALLEST_RECORD <= size <= limit - at and (
                int.from_bytes(self._bytes[end - 4 : end], "little") == size
            ):
                spans.append(_Span(at, end, record_id))
            else:
                end = at + len(_RECORD_SIGNATURE)
            at = self._bytes.find(_RECORD_SIGNATURE, end, limit)
        return spans

    @cached_property
    def gaps(self) -> list[_Span]:
        """The stretches between records that are none; the number is that of the header there, if any.

        Zeros behind the last record are unused room.
        """
        ends = [_FIRST_RECORD, *(span.end for span in self.spans)]
        starts = [*(span.start for span in self.spans), self._limit]
        gaps = [self._gap(end, start) for end, start in zip(ends, starts, strict=True)]
        return [gap for gap in gaps if gap]

    def _gap(self, start: int, end: int) -> _Span | None:
        if start >= end or (end == self._limit and not self.given[start:end].strip(b"\0")):
            return None
        head = self._bytes[start : start + 16].ljust(16, b"\0")
        number = int.from_bytes(head[8:], "little")
        return _Span(start, end, number if head.startswith(_RECORD_SIGNATURE) else -1)

    def left_by(self, records: list[_Given]) -> tuple[list[_Span], list[_Span]]:
        """The records that the bytes show beyond those that were read, and the gaps that remain."""
        read = Counter(record["event_record_id"] for record in records)
        missing = [span for span in self.spans if not _taken(read, span.record_id)]
        gaps = []
        for whole in self.gaps:
            gap: _Span | None = whole
            while gap and _taken(
                read, gap.record_id
            ):  # read, though its size does not stand at its end
                size = int.from_bytes(self._bytes[gap.start + 4 : gap.start + 8], "little")
                gap = self._gap(gap.start + size, gap.end)
            gaps += [gap] if gap else []
        return missing, gaps

    def records(self) -> tuple[list[_Given], list[str]]:
        """What the library reads of it, and what it says of the rest."""
        return _read_chunk(self._bytes)

    def rescued(self, missing: list[_Span]) -> tuple[dict[int, _Given], dict[int, str]]:
        """The missing records that the library reads once nothing stops it before them; why not others.

        Both by the record's start.

        What lies between records becomes one record that it skips, and a time that it does not know is
        taken out of a record's header for the reading.
        """
        led = bytearray(self._bytes[: self._limit].ljust(_CHUNK_BYTES, b"\0"))
        struct.pack_into("<Q8xQ", led, 16, _NO_LAST, _NO_LAST)
        for start, end, _ in self.gaps:
            if end - start >= _SMALLEST_RECORD:
                struct.pack_into("<4sI16x", led, start, _RECORD_SIGNATURE, end - start)
        starts = {}
        for start, _, record_id in missing:
            # Numbers may repeat in a damaged chunk: the start, as a number, tells the records apart.
            struct.pack_into("<QQ", led, start + 8, start, 0)
            starts[start] = (record_id, struct.unpack_from("<Q", self._bytes, start + 16)[0])
        rescued: dict[int, _Given] = {}
        records, errors = _read_chunk(bytes(led))
        for record in records:
            start = record["event_record_id"]
            if start in starts and start not in rescued:
                record_id, ticks = starts[start]
                record["event_record_id"] = record_id
                record["timestamp"] = _time_text(ticks)
                rescued[start] = record
        return rescued, _reasons(errors)

    def _with_new_header(self) -> bytes:
        """The chunk behind a header that points to nothing but its records."""
        last = max(self.spans, default=_Span(_FIRST_RECORD, len(self.given), 1))
        ids = [span.record_id for span in self.spans] or [1]
        numbers = (min(ids), max(ids), min(ids), max(ids))
        head = _CHUNK_SIGNATURE + struct.pack("<4Q4I", *numbers, 128, last.start, last.end, 0)
        return head.ljust(_FIRST_RECORD, b"\0") + self._bytes[_FIRST_RECORD:]


def _taken(read: Counter[int], record_id: int) -> bool:
    """Whether a record of that number was read; each counts once."""
    if not read[record_id]:
        return False
    read[record_id] -= 1
    return True


def _time_text(ticks: int) -> str:
    """A FILETIME (ticks of 100 ns since 1601, MS-DTYP 2.3.3) as the library writes it, in any year."""
    days, rest = divmod(ticks, 86_400 * 10_000_000)
    ages, days = divmod(days, 146_097)  # 400 years repeat, to the weekday
    date = datetime.date(1601, 1, 1) + datetime.timedelta(days=days)
    seconds, fraction = divmod(rest, 10_000_000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:07}"
    return f"{date.year + 400 * ages:04}-{date.month:02}-{date.day:02}T{clock}Z UTC"


def _reasons(errors: list[str]) -> dict[int, str]:
    """The library's errors by the number of the record."""
    found = [(_RECORD_ERROR.match(text), text) for text in errors]
    return {int(match[1]): text[match.end() :].lstrip(": ") for match, text in found if match}


def _read_chunk(chunk: bytes) -> tuple[list[_Given], list[str]]:
    records: list[_Given] = []
    errors: list[str] = []
    reading = _records(PyEvtxParser(io.BytesIO(_file_header(1) + chunk)))
    while len(errors) <= _CHUNK_BYTES // _SMALLEST_RECORD:
        try:
            records.extend(reading)
        except RuntimeError as error:
            errors.append(str(error))
        else:
            break
    return records, errors


def _checksums_hold(chunk: bytes) -> bool:
    free, of_records = struct.unpack_from("<II", chunk, 48)
    of_header = int.from_bytes(chunk[124:128], "little")
    return zlib.crc32(chunk[:120] + chunk[128:_FIRST_RECORD]) == of_header and (
        zlib.crc32(chunk[_FIRST_RECORD:free]) == of_records
    )


def _file_header(chunks: int) -> bytes:
    """A sound header for a log of so many chunks."""
    head = _FILE_SIGNATURE + struct.pack("<QQQIHHHH", 0, max(chunks - 1, 0), 1, 128, 1, 3, 4096, 0)
    head = (head[:42] + struct.pack("<H", min(chunks, 0xFFFF))).ljust(120, b"\0")
    return (head + struct.pack("<II", 0, zlib.crc32(head))).ljust(_HEADER_BYTES, b"\0")


class _Behind(io.RawIOBase):
    """A file whose first bytes are replaced."""

    def __init__(self, head: bytes, source: BinaryIO) -> None:
        self._head, self._source, self._at = head, source, 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        self._at = self._source.seek(offset, whence) if start is None else start + offset
        return self._at

    @override
    def readinto(self, buffer: Any) -> int:
        if self._at < len(self._head):
            data = self._head[self._at : self._at + len(buffer)]
        else:
            self._source.seek(self._at)
            data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _listed(chunks: list[int]) -> str:
    """Chunks by their numbers, for a person."""
    shown = ", ".join(f"{one:,}" for one in chunks[:_LISTED])
    more = len(chunks) - _LISTED
    return f"Chunk {shown}" + (f" and {more:,} more" if more > 0 else "")


def _runs(indices: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbours in a sorted list as first and last."""
    start = 0
    for at in range(1, len(indices) + 1):
        if at == len(indices) or indices[at] != indices[at - 1] + 1:
            yield indices[start], indices[at - 1]
            start = at
