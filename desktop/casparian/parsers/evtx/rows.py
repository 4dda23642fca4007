"""Records of the common shape, fast: the pieces of their text become typed columns."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from casparian.api import Batch
from casparian.parsers.evtx.columns import (
    BUILD,
    GUIDS,
    JSON,
    NAMES,
    NAMESPACE,
    TABLE,
    TIMES,
    TYPED,
    as_texts,
    plain_guid,
)
from casparian.parsers.evtx.odd import Odd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casparian.parsers.evtx.library import Given


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


_HEAD = f'{{"Event":{{"#attributes":{{"xmlns":"{NAMESPACE}"}},"System":{{'
_TIME = ',"TimeCreated":{"#attributes":{"SystemTime":"'
_NUMBER = '"}},"EventRecordID":'
_EVENT_DATA = '},"EventData":'
_USER_DATA = '},"UserData":'
_TAIL = "}}"
_TO_TIME = len(_TIME)
_TO_MARK = _TO_TIME + len("2016-07-08T18:12:51.681640Z")
_TO_NUMBER = _TO_MARK + len(_NUMBER)
_TO_PAYLOAD = len(_EVENT_DATA)
_ODD = (ValueError, msgspec.MsgspecError, RecursionError)
"""What is raised of a record of another shape."""

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
        arrays = [BUILD[name]([one[name] for one in self._found]) for name in names]
        pieces = pa.RecordBatch.from_arrays(arrays, names=names)
        return dict(zip(names, pieces.take(pa.array(numbers, pa.int32())).columns, strict=True))

    def plain(self, numbers: Sequence[int]) -> dict[str, Sequence[Any]]:
        """The same as the values are."""
        return {name: [self._found[one][name] for one in numbers] for name in self._found[0]}


class Rows:
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

    def add(self, records: Sequence[Given], first: int) -> list[Odd]:
        """Take records apart, of which the first has the ordinal `first`; give back those that are odd.

        This is where most of the time goes that is not the library's.
        """
        odd: list[Odd] = []
        kinds, origins, values = self._kinds, self._origins, self._values
        for ordinal, record in enumerate(records, first):
            text, record_id = record["data"], record["event_record_id"]
            try:
                at = text.index(_TIME)
                number_end = text.index(",", at + _TO_NUMBER)
                origin_end = text.find(_EVENT_DATA, number_end)
                if origin_end >= 0:
                    origin = origins[text[number_end + 1 : origin_end]]
                    payload = text[origin_end + _TO_PAYLOAD : -2]
                else:
                    piece, payload = _without_event_data(text[number_end + 1 : -2])
                    origin = origins[piece]
                kind = kinds[text[:at]]
                time = text[at + _TO_TIME : at + _TO_MARK]
                marks = text[at + _TO_MARK : at + _TO_NUMBER], text[-2:]
                if marks != (_NUMBER, _TAIL) or "\\" in time:
                    raise ValueError("The record has another shape")
                _check_json(payload)
                number = text[at + _TO_NUMBER : number_end]
                extra = None if number == str(record_id) else _other_number(number)
            except _ODD:
                odd.append(Odd(ordinal, **record))
            else:
                values.append(
                    (kind, origin, ordinal, time, payload, record_id, record["timestamp"], extra)
                )
        return odd

    def batch(self) -> Batch:
        """A typed batch, or one of text where a value does not fit its column's type."""
        kinds, origins, ordinals, *own = zip(*self._values, strict=True)
        values: dict[str, Sequence[Any]] = dict(zip(_OWN_COLUMNS, own, strict=True))
        try:
            arrays = {name: BUILD[name](values[name]) for name in _OWN_COLUMNS}
            arrays |= self._kinds.typed(kinds) | self._origins.typed(origins)
            rows = pa.RecordBatch.from_arrays([arrays[name] for name in NAMES], schema=TYPED)
        except (OverflowError, pa.ArrowException):
            # A number beyond 64 bits, a year beyond 9999: let the contract look at every cell.
            values |= self._kinds.plain(kinds) | self._origins.plain(origins)
            for name in GUIDS:
                values[name] = [one and plain_guid(one) for one in values[name]]
            for name in TIMES:
                values[name] = [one.removeprefix("+") for one in values[name]]
            texts = [(BUILD[name] if name in JSON else as_texts)(values[name]) for name in NAMES]
            rows = pa.RecordBatch.from_arrays(texts, names=NAMES)
        return Batch(TABLE, rows, pa.array(ordinals, pa.int64()))


_OWN_COLUMNS = ("time", "event_data", "record_id", "written_time", "extra")
"""The columns whose values are each record's own, as `Rows.add` has them."""


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
