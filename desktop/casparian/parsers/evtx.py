"""Windows event logs (`.evtx`) as one table of events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import pyarrow as pa
from evtx import PyEvtxParser
from typing_extensions import override

from casparian.api import Batch, Column, Output, ParseContext, Parser, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BATCH_RECORDS = 4_096
_TABLE = "evtx_events"

_COLUMNS = (
    Column("time", "timestamp_utc", doc="System/TimeCreated"),
    Column("computer", "string", doc="System/Computer"),
    Column("channel", "string", doc="System/Channel"),
    Column("provider_name", "string", doc="System/Provider/@Name"),
    Column("event_id", "int64", doc="System/EventID"),
    Column("level", "int64", doc="System/Level"),
    Column("user_sid", "string", doc="System/Security/@UserID"),
    Column("event_data", "json", doc="EventData or UserData"),
    Column("record_id", "int64", nullable=False, doc="the record's number in its log"),
    Column("task", "int64", doc="System/Task"),
    Column("opcode", "int64", doc="System/Opcode"),
    Column("keywords", "string", doc="System/Keywords: a mask of 64 bits"),
    Column("version", "int64", doc="System/Version"),
    Column("qualifiers", "int64", doc="System/EventID/@Qualifiers"),
    Column("process_id", "int64", doc="System/Execution/@ProcessID"),
    Column("thread_id", "int64", doc="System/Execution/@ThreadID"),
    Column("activity_id", "string", doc="System/Correlation/@ActivityID"),
    Column("related_activity_id", "string", doc="System/Correlation/@RelatedActivityID"),
    Column("provider_guid", "string", doc="System/Provider/@Guid"),
)


class EvtxParser(Parser):
    """Windows event logs, as the Windows Event Log service writes them since Vista."""

    name = "evtx"
    version = "1"
    topics = ("evtx",)
    outputs = (Output(_TABLE, _COLUMNS, "One row for each event record"),)
    libraries = ("evtx",)

    @override
    def parse(self, source: BinaryIO, context: ParseContext) -> Iterator[Batch | Rejected]:
        """Read every record of every chunk, whatever the header says of their number."""
        records = PyEvtxParser(source).records_json()
        ordinal = 0
        rows: list[dict[str, str | None]] = []
        positions: list[int] = []
        raws: list[str] = []
        errors = 0
        while True:
            try:
                record: Any = next(records)
            except StopIteration:
                break
            except RuntimeError as error:
                ordinal += 1
                errors += 1
                yield Rejected(_TABLE, ordinal, "bad_record", str(error))
                if errors > 1_000_000:
                    break
                continue
            ordinal += 1
            rows.append(_row(record["data"], record["event_record_id"]))
            positions.append(ordinal)
            raws.append(record["data"])
            if len(rows) >= _BATCH_RECORDS:
                yield _batch(rows, positions, raws)
                rows, positions, raws = [], [], []
                context.progress(source.tell())
        if rows:
            yield _batch(rows, positions, raws)


def _batch(rows: list[dict[str, str | None]], positions: list[int], raws: list[str]) -> Batch:
    arrays = [pa.array([row.get(c.name) for row in rows], pa.string()) for c in _COLUMNS]
    batch = pa.RecordBatch.from_arrays(arrays, names=[c.name for c in _COLUMNS])
    return Batch(_TABLE, batch, pa.array(positions, pa.int64()), raw=pa.array(raws, pa.string()))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _row(data: str, record_id: int) -> dict[str, str | None]:
    event = json.loads(data)["Event"]
    system = event["System"]

    def attribute(element: str, name: str) -> str | None:
        return _text(((system.get(element) or {}).get("#attributes") or {}).get(name))

    event_id, qualifiers = system.get("EventID"), None
    if isinstance(event_id, dict):
        qualifiers = attribute("EventID", "Qualifiers")
        event_id = event_id.get("#text")
    payload = event.get("EventData", event.get("UserData"))
    return {
        "time": attribute("TimeCreated", "SystemTime"),
        "computer": system.get("Computer"),
        "channel": system.get("Channel"),
        "provider_name": attribute("Provider", "Name"),
        "provider_guid": attribute("Provider", "Guid"),
        "event_id": _text(event_id),
        "qualifiers": qualifiers,
        "level": _text(system.get("Level")),
        "user_sid": attribute("Security", "UserID"),
        "event_data": None if payload is None else json.dumps(payload),
        "record_id": str(record_id),
        "task": _text(system.get("Task")),
        "opcode": _text(system.get("Opcode")),
        "keywords": system.get("Keywords"),
        "version": _text(system.get("Version")),
        "process_id": attribute("Execution", "ProcessID"),
        "thread_id": attribute("Execution", "ThreadID"),
        "activity_id": attribute("Correlation", "ActivityID"),
        "related_activity_id": attribute("Correlation", "RelatedActivityID"),
    }
