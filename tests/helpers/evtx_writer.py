"""Writes event logs, so that tests can have any: sound, damaged, and such as no Windows ever wrote.

The format is that of libevtx's description (Windows XML Event Log): a file header, chunks of 64 KiB with
two checksums, records of binary XML. Every record here is one instance of a template that it brings itself,
with each typed value substituted into it: this is how Windows writes, save that it shares templates.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

CHUNK_BYTES = 65_536
HEADER_BYTES = 4_096
FIRST_RECORD = 512
NAMESPACE = "http://schemas.microsoft.com/win/2004/08/events/event"

EPOCH_TICKS = 116_444_736_000_000_000
"""1970-01-01 as a FILETIME: ticks of 100 ns since 1601."""
YEAR_30828 = 0x7FFF_FFFF_FFFF_FFFF
"""The last FILETIME that Windows takes for a time."""


@dataclass(frozen=True)
class Typed:
    """A value of one of binary XML's types, as it stands in the file."""

    code: int
    data: bytes


def null() -> Typed:
    return Typed(0x00, b"")


def text(value: str) -> Typed:
    return Typed(0x01, value.encode("utf-16-le", "surrogatepass"))


def u8(value: int) -> Typed:
    return Typed(0x04, struct.pack("<B", value))


def u16(value: int) -> Typed:
    return Typed(0x06, struct.pack("<H", value))


def u32(value: int) -> Typed:
    return Typed(0x08, struct.pack("<I", value))


def u64(value: int) -> Typed:
    return Typed(0x0A, struct.pack("<Q", value))


def binary(value: bytes) -> Typed:
    return Typed(0x0E, value)


def guid(value: str) -> Typed:
    import uuid

    return Typed(0x0F, uuid.UUID(value).bytes_le)


def filetime(ticks: int) -> Typed:
    return Typed(0x11, struct.pack("<Q", ticks))


def sid(*parts: int) -> Typed:
    """S-1-5-... of its sub-authorities."""
    return Typed(0x13, struct.pack(f"<BB6s{len(parts)}I", 1, len(parts), b"\0\0\0\0\0\5", *parts))


def hex64(value: int) -> Typed:
    return Typed(0x15, struct.pack("<Q", value))


@dataclass(frozen=True)
class Element:
    name: str
    attributes: dict[str, Typed | str] = field(default_factory=dict)
    content: tuple[Element | Typed | str, ...] = ()


def element(name: str, *content: Element | Typed | str, **attributes: Typed | str) -> Element:
    return Element(name, attributes, content)


@dataclass(frozen=True)
class Record:
    """A record: its header, and the XML that it holds."""

    record_id: int
    xml: Element
    written: int = EPOCH_TICKS


def event(
    record_id: int = 1,
    *,
    event_id: Typed | Element | None = None,
    time: Typed | None = None,
    written: int = EPOCH_TICKS,
    system: tuple[Element, ...] = (),
    payload: tuple[Element, ...] = (),
    provider: str = "Acme-Provider",
    computer: str = "HOST-1",
    channel: str = "Acme/Operational",
    system_id: int | None = None,
) -> Record:
    """A record as Windows writes it, with one thing or another different."""
    given = {one.name for one in system}
    parts = (
        element("Provider", Name=provider, Guid=guid("54849625-5478-4994-A5BA-3E3B0328C30D")),
        event_id if isinstance(event_id, Element) else element("EventID", event_id or u16(4624)),
        element("Version", u8(2)),
        element("Level", u8(4)),
        element("Task", u16(12544)),
        element("Opcode", u8(0)),
        element("Keywords", hex64(0x8020000000000000)),
        element("TimeCreated", SystemTime=time or filetime(EPOCH_TICKS)),
        element("EventRecordID", u64(record_id if system_id is None else system_id)),
        element("Correlation"),
        element("Execution", ProcessID=u32(712), ThreadID=u32(4032)),
        element("Channel", channel),
        element("Computer", computer),
        element("Security", UserID=sid(18)),
    )
    merged = (*(one for one in parts if one.name not in given), *system)
    xml = element("Event", element("System", *merged), *payload, xmlns=NAMESPACE)
    return Record(record_id, xml, written)


def data(**values: Typed | str) -> Element:
    """EventData with named values."""
    return element(
        "EventData", *(element("Data", value, Name=name) for name, value in values.items())
    )


def log(*records: Record, chunk_of: int = 40, **header: int) -> bytes:
    """A whole file, with so many records in a chunk."""
    groups = [records[at : at + chunk_of] for at in range(0, len(records), chunk_of)]
    chunks = [chunk(group) for group in groups]
    return file_header(len(chunks), **header) + b"".join(chunks)


def file_header(chunks: int, *, counted: int | None = None, flags: int = 0) -> bytes:
    head = struct.pack("<8s3QIHHHH", b"ElfFile\0", 0, max(chunks - 1, 0), 1, 128, 1, 3, 4096, 0)
    head = (head[:42] + struct.pack("<H", chunks if counted is None else counted)).ljust(120, b"\0")
    return (head + struct.pack("<II", flags, zlib.crc32(head))).ljust(HEADER_BYTES, b"\0")


def chunk(records: tuple[Record, ...]) -> bytes:
    body = bytearray(FIRST_RECORD)
    last = FIRST_RECORD
    for one in records:
        last = len(body)
        body += _record(one, last)
    free = len(body)
    if free > CHUNK_BYTES:
        raise ValueError("the records do not fit into a chunk")
    ids = [one.record_id for one in records] or [1]
    numbers = (ids[0], ids[-1], ids[0], ids[-1])
    checksum = zlib.crc32(body[FIRST_RECORD:])
    struct.pack_into("<8s4Q4I", body, 0, b"ElfChnk\0", *numbers, 128, last, free, checksum)
    struct.pack_into("<I", body, 124, zlib.crc32(body[:120] + body[128:FIRST_RECORD]))
    return bytes(body.ljust(CHUNK_BYTES, b"\0"))


def _record(record: Record, offset: int) -> bytes:
    values: list[Typed] = []
    xml = _template_instance(record.xml, offset + 24, values)
    size = 24 + len(xml) + 4
    padding = -size % 8
    size += padding
    head = struct.pack("<4sIQQ", b"**\0\0", size, record.record_id, record.written)
    return head + xml + b"\0" * padding + struct.pack("<I", size)


def _template_instance(xml: Element, offset: int, values: list[Typed]) -> bytes:
    """A fragment that is one template, defined right there, and its values."""
    start = offset + 4 + 10  # behind the fragment's header and the instance's
    body = b"\x0f\x01\x01\0" + _element(xml, start + 24 + 4, values) + b"\0"
    definition = struct.pack("<I16sI", 0, zlib.crc32(body).to_bytes(16, "little"), len(body)) + body
    instance = struct.pack("<BBII", 0x0C, 1, zlib.crc32(body), start)
    sizes = b"".join(struct.pack("<HBB", len(one.data), one.code, 0) for one in values)
    data = b"".join(one.data for one in values)
    return (
        b"\x0f\x01\x01\0"
        + instance
        + definition
        + struct.pack("<I", len(values))
        + sizes
        + data
        + b"\0"
    )


def _element(one: Element, offset: int, values: list[Typed]) -> bytes:
    head = 1 + 2 + 4 + 4  # token, dependency, size, offset of the name
    name = _name(one.name)
    out = b""
    at = offset + head + len(name)
    if one.attributes:
        at += 4
        items = b""
        left = len(one.attributes)
        for key, value in one.attributes.items():
            left -= 1
            token = 0x46 if left else 0x06
            key_name = _name(key)
            items += (
                struct.pack("<BI", token, at + len(items) + 5) + key_name + _value(value, values)
            )
        out += struct.pack("<I", len(items)) + items
        at += len(items)
    if one.content:
        out += b"\x02"
        at += 1
        for part in one.content:
            written = (
                _element(part, at, values) if isinstance(part, Element) else _value(part, values)
            )
            out += written
            at += len(written)
        out += b"\x04"
    else:
        out += b"\x03"
    token = 0x41 if one.attributes else 0x01
    size = 4 + len(name) + len(out)
    return struct.pack("<BHII", token, 0xFFFF, size, offset + head) + name + out


def _name(name: str) -> bytes:
    code = 0
    for char in name.encode("utf-16-le"):
        code = (code * 65599 + char) & 0xFFFFFFFF
    chars = name.encode("utf-16-le")
    return struct.pack("<IHH", 0, code & 0xFFFF, len(name)) + chars + b"\0\0"


def _value(value: Typed | str, values: list[Typed]) -> bytes:
    if isinstance(value, str):
        chars = value.encode("utf-16-le", "surrogatepass")
        return struct.pack("<BBH", 0x05, 0x01, len(chars) // 2) + chars
    values.append(value)
    return struct.pack("<BHB", 0x0D, len(values) - 1, value.code)
