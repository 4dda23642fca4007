"""Event logs of every sort, made by our own writer, and what the parser makes of each.

`python tests/golden/parsers/evtx_cases.py` writes the results anew; the difference is to be read before it
is committed. The logs themselves are made when they are needed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "desktop")]

from casparian.domain.contracts import Contract, check  # noqa: E402  (the paths come first)
from casparian.parsers.evtx import EvtxParser  # noqa: E402
from helpers import evtx_writer as w  # noqa: E402
from helpers.parse_context import Parsed, parse_bytes  # noqa: E402

FOLDER = Path(__file__).resolve().parent / "evtx"
CONTRACT = Contract("evtx_events", EvtxParser.outputs[0].columns)
NOON_TICKS = w.EPOCH_TICKS + 16_469_316_300_893_545


def _sound() -> bytes:
    activity = w.guid("0FE2C4BC-34B5-0005-AAC5-E28FB534D801")
    related = "{AAAAAAAA-0000-0000-0000-BBBBBBBBBBBB}"
    links = w.element("Correlation", ActivityID=activity, RelatedActivityID=related)
    classic = w.element("EventID", w.u16(7), Qualifiers=w.u16(16384))
    cleared = w.element("UserData", w.element("Cleared", w.element("By", "名前"), xmlns="urn:x"))
    values = w.data(User="Zoë", Id=w.u32(7))
    return w.log(
        w.event(1, time=w.filetime(NOON_TICKS), written=NOON_TICKS, payload=(values,)),
        w.event(2, event_id=classic, system=(w.element("Security"),)),
        w.event(3, payload=(cleared,)),
        w.event(4, system=(links,), payload=(w.element("EventData"),)),
        w.event(5, system=(w.element("Provider", Name="Classic", EventSourceName="Old"),)),
        w.event(6, system_id=990_001, computer="forwarded.example"),
        chunk_of=4,
    )


def _odd() -> bytes:
    process = w.element("Execution", ProcessID=w.u32(4), ThreadID=w.u32(8), ProcessorID=w.u8(3))
    rendered = w.element("RenderingInfo", w.element("Message", "Hello"), Culture="en-US")
    texts = (w.element("Level", "2"), w.element("Opcode"), w.element("Task", "n/a"))
    unknown = w.element("Unknown", "thing", way="odd")
    return w.log(
        w.event(1, system=(process,)),
        w.event(2, payload=(w.data(A="x"), rendered)),
        w.event(3, event_id=w.text("4625"), system=texts),
        w.event(4, payload=(w.data(A="x"), w.element("UserData", w.element("B", "y")))),
        w.event(5, system=(w.element("TimeCreated"), w.element("Provider"), unknown)),
        w.event(6, time=w.text("yesterday")),
        w.event(7, event_id=w.u64(2**64 - 1)),
        w.Record(8, w.element("Nothing", "like it")),
        w.Record(9, w.element("Event", w.element("Other", "no System"), xmlns="urn:other")),
    )


def _far_times() -> bytes:
    return w.log(
        w.event(1, time=w.filetime(1), written=0),
        w.event(2, written=w.YEAR_30828),
        w.event(3),
        w.event(4, time=w.filetime(w.YEAR_30828)),
        w.event(5, time=w.text("30828-09-14T02:48:05.477580Z")),
    )


def _damaged() -> bytes:
    chunks = [
        bytearray(w.chunk(tuple(w.event(n) for n in range(start, start + 3))))
        for start in range(1, 19, 3)
    ]
    chunks[1][:8] = bytes(8)  # signature lost, all else whole
    chunks[2][:512] = bytes(512)  # header lost
    chunks[3][:] = bytes(w.CHUNK_BYTES)  # nothing left
    second = chunks[4].index(b"**\0\0", 600)
    chunks[4][second + 4 : second + 8] = bytes(
        4
    )  # a record of no size: its neighbour is not to be lost
    cut = w.chunk((w.event(19), w.event(20)))[:2_600]
    return w.file_header(9) + b"".join(chunks) + cut


def _stale_header() -> bytes:
    chunks = w.chunk((w.event(1),)) + w.chunk((w.event(2),))
    return w.file_header(2, counted=1, flags=1) + chunks


LOGS = {
    "sound": _sound,
    "odd": _odd,
    "far_times": _far_times,
    "damaged": _damaged,
    "stale_header": _stale_header,
    "header_damaged": lambda: b"XlfFile\0" + w.log(w.event(1))[8:] + b"behind",
}


def result(parsed: Parsed) -> dict[str, Any]:
    """What a log gives: accepted rows, quarantined rows, rejected records, notes."""
    rows, broken = [], []
    for batch in parsed.batches:
        checked = check(batch.rows, CONTRACT, batch.raw)
        positions = batch.positions.to_pylist()
        columns = [column.cast("string").to_pylist() for column in checked.accepted.columns]
        kept = [at for at, keep in zip(positions, checked.keep.to_pylist(), strict=True) if keep]
        for at, values in zip(kept, zip(*columns, strict=True), strict=True):
            named = zip(checked.accepted.schema.names, values, strict=True)
            rows.append(
                {"_cf_row": at} | {name: value for name, value in named if value is not None}
            )
        broken += [
            [positions[one.row], one.violation, one.column, one.message]
            for one in checked.violations
        ]
    rejected = [[one.position, one.violation, one.message, len(one.raw)] for one in parsed.rejected]
    rows.sort(key=lambda row: row["_cf_row"])
    return {"rows": rows, "broken": broken, "rejected": rejected, "notes": parsed.warnings}


def text(name: str) -> str:
    found = result(parse_bytes(EvtxParser(), LOGS[name](), f"{name}.evtx"))
    return json.dumps(found, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    for one in LOGS:
        (FOLDER / f"{one}.json").write_text(text(one), encoding="utf-8")
