"""Records of another shape than most: taken apart by a table of places, and typed by the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from casparian.api import Batch, Rejected
from casparian.parsers.evtx.columns import GUIDS, NAMES, NAMESPACE, TABLE, TIMES, plain_guid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

_NONE = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Odd:
    """A record of another shape than most."""

    ordinal: int
    event_record_id: int
    timestamp: str
    data: str


def odd_batch(odd: Sequence[Odd]) -> Iterator[Batch | Rejected]:
    """The records as rows of text; those that are no JSON are rejected."""
    rows, kept = [], []
    for one in odd:
        try:
            rows.append(_taken_apart(one))
        except (msgspec.MsgspecError, RecursionError) as error:
            message = f"Record {one.event_record_id} came as JSON that does not hold: {error}"
            yield Rejected(TABLE, one.ordinal, "bad_json", message, one.data.encode())
        else:
            kept.append(one)
    arrays = [pa.array([row.get(name) for row in rows], pa.string()) for name in NAMES]
    yield Batch(
        TABLE,
        pa.RecordBatch.from_arrays(arrays, names=NAMES),
        pa.array([one.ordinal for one in kept], pa.int64()),
        raw=pa.array([one.data for one in kept], pa.string()),
    )


def _taken_apart(one: Odd) -> dict[str, str]:
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
        if value not in (None, {"xmlns": NAMESPACE}):
            extra[name] = value
    row |= {name: row[name].removeprefix("+") for name in TIMES & row.keys()}
    row |= {name: plain_guid(row[name]) for name in GUIDS & row.keys()}
    return row | ({"extra": msgspec.json.encode(extra).decode()} if extra else {})


def _payload(event: dict[str, msgspec.Raw]) -> dict[str, str]:
    """EventData, or else UserData; what is taken is gone from the event."""
    for name in ("EventData", "UserData"):
        if bytes(event.get(name, _NONE)) not in {b"", b"null"}:
            return {"event_data": bytes(event.pop(name)).decode()}
    return {}


def _system(raw: msgspec.Raw, one: Odd, extra: dict[str, Any]) -> dict[str, str]:
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
