"""Identifiers: UUIDv7 text, so that ids sort by the time they were made (RFC 9562, 5.7)."""

from __future__ import annotations

import os
import threading
import time
from typing import NewType

WorkspaceId = NewType("WorkspaceId", str)
SourceId = NewType("SourceId", str)
ScanId = NewType("ScanId", str)
FileId = NewType("FileId", str)
RuleId = NewType("RuleId", str)
JobId = NewType("JobId", str)
OutputId = NewType("OutputId", str)

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """Return a UUIDv7 as text; ids of one process increase strictly.

    The 12 bits behind the version carry the fraction of the millisecond (RFC 9562, 6.2, method 3),
    pushed forward by one where two ids would fall into the same slot.
    """
    global _last
    now = time.time_ns()
    tick = (now // 1_000_000) << 12 | (now % 1_000_000) * 4096 // 1_000_000
    with _lock:
        tick = _last = max(tick, _last + 1)
    value = (tick >> 12) << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62
    text = f"{value | int.from_bytes(os.urandom(8)) >> 2:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
