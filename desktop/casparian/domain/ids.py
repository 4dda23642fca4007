"""Identifiers: UUIDv7 text, so that ids sort by the time they were made (RFC 9562, 5.7)."""

from __future__ import annotations

import os
import struct
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
_random: list[int] = []


def new_id(after: str | None = None) -> str:
    """Return a UUIDv7 as text; ids of one process increase strictly.

    With `after` it comes after that one too, which a host may have made whose clock is ahead.

    The 12 bits behind the version carry the fraction of the millisecond (RFC 9562, 6.2, method 3),
    pushed forward by one where two ids would fall into the same slot.
    """
    global _last
    before = int(f"{after[:8]}{after[9:13]}{after[15:18]}", 16) if after else 0
    with _lock:
        tick = _last = max(time.time_ns() * 4096 // 1_000_000, _last + 1, before + 1)
        if not _random:
            # One call to the system for many: a scan makes an id for every file.
            _random.extend(struct.unpack("512Q", os.urandom(4096)))
        random = _random.pop()
    at, rest = f"{tick:015x}", f"{0b10 << 62 | random >> 2:x}"
    return f"{at[:8]}-{at[8:12]}-7{at[12:]}-{rest[:4]}-{rest[4:]}"
