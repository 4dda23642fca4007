"""What the `evtx` library gives of a log: records as JSON, and errors as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evtx import PyEvtxParser

RECORD_ERROR = re.compile(r"Failed to parse record number (\d+)")
CHUNK_ERROR = re.compile(r"Failed to parse chunk number (\d+)")


class Given(TypedDict):
    """A record as the library gives it."""

    event_record_id: int
    timestamp: str
    data: str


def records_of(parser: PyEvtxParser) -> Iterator[Given]:
    """The records of a log; one that fails raises RuntimeError, and the next `next` goes on behind it."""
    return cast("Iterator[Given]", parser.records_json())


def reasons_of(errors: list[str]) -> dict[int, str]:
    """The library's errors by the number of the record."""
    found = [(RECORD_ERROR.match(text), text) for text in errors]
    return {int(match[1]): text[match.end() :].lstrip(": ") for match, text in found if match}
