"""What a file is, from its first bytes; never from its name.

Magic numbers come first. What has none and reads as text is looked at as XML, JSON, JSON Lines and
delimited text. `delimited` is said only where a header line stands over lines of the same shape, or a log
names its fields, since logs and prose are full of commas: a file with the right extension that is merely
`text` can still be given to a parser by a rule, but a log taken for a table would be taken apart wrongly.

References: the `file` utility's magic, [MS-CFB] 2.2, [MS-SHLLINK] 2.1, libyal's format documents
(EVTX, REGF, SCCA, ESEDB, MSIECF), the SQLite and Parquet file formats, POSIX pax (ustar), RFC 8259.
"""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import islice

HEAD_BYTES = 64 * 1024
"""As much of a file as `kind_of` looks at."""

# (offset, bytes, kind); the first that fits is it.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"ElfFile\0", "evtx"),
    # The first chunk: the log is there although its header is damaged.
    (4096, b"ElfChnk\0", "evtx"),
    (4, b"LfLe", "evt"),
    (0, b"MAM\x04", "prefetch"),
    (4, b"SCCA", "prefetch"),
    (0, b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F", "lnk"),
    (4, b"\xef\xcd\xab\x89", "ese"),
    (0, b"SQLite format 3\0", "sqlite"),
    (0, b"\x37\x7f\x06\x82", "sqlite_wal"),
    (0, b"\x37\x7f\x06\x83", "sqlite_wal"),
    (0, b"FILE0\0", "mft"),
    (0, b"FILE*\0", "mft"),
    (0, b"BAAD0\0", "mft"),
    (0, b"INDX(\0", "ntfs_index"),
    (3, b"NTFS    ", "ntfs_boot"),
    (0, b"Client UrlCache MMF Ver ", "msiecf"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"PK\x07\x08", "zip"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"BZh", "bzip2"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"MSCF\0\0\0\0", "cab"),
    (257, b"ustar", "tar"),
    (0, b"\x7fELF", "elf"),
    (0, b"\xcf\xfa\xed\xfe", "macho"),
    (0, b"\xce\xfa\xed\xfe", "macho"),
    (0, b"%PDF-", "pdf"),
    (0, b"PAR1", "parquet"),
    (0, b"bplist00", "bplist"),
    (0, b"\xd4\xc3\xb2\xa1", "pcap"),
    (0, b"\xa1\xb2\xc3\xd4", "pcap"),
    (0, b"\x4d\x3c\xb2\xa1", "pcap"),
    (0, b"\x0a\x0d\x0d\x0a", "pcapng"),
    (0, b"EVF\x09\x0d\x0a\xff\0", "ewf"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"),
)
# As dictionaries, so that a small file costs a few look-ups.
_BY_FIRST_BYTE: dict[int, list[tuple[bytes, str]]] = {}
_BY_PLACE: dict[tuple[int, int], dict[bytes, str]] = {}
for _offset, _magic, _kind in _MAGIC:
    if _offset:
        _BY_PLACE.setdefault((_offset, _offset + len(_magic)), {})[_magic] = _kind
    else:
        _BY_FIRST_BYTE.setdefault(_magic[0], []).append((_magic, _kind))

KINDS: frozenset[str] = frozenset(kind for _, _, kind in _MAGIC) | {
    "registry",
    "registry_log",
    "pe",
    "xml",
    "html",
    "json",
    "jsonl",
    "delimited",
    "text",
    "binary",
    "empty",
}
"""Every word that `kind_of` may say."""


def kind_of(head: bytes, size_bytes: int) -> str:
    """Return one of `KINDS` for a file that begins with `head` (up to `HEAD_BYTES` of it)."""
    if not size_bytes:
        return "empty"
    head = head[:HEAD_BYTES]
    kind = _by_magic(head)
    if kind:
        return kind
    text = _as_text(head)
    if text is None:
        return "binary"
    return _kind_of_text(text, is_whole=len(head) >= size_bytes)


def _by_magic(head: bytes) -> str:
    for magic, kind in _BY_FIRST_BYTE.get(head[0], ()):
        if head.startswith(magic):
            return kind
    for (start, end), kinds in _BY_PLACE.items():
        if head[start:end] in kinds:
            return kinds[head[start:end]]
    if head.startswith(b"regf"):
        # REGF 4.1: file type 0 is a hive; 1, 2 and 6 are transaction logs.
        return "registry" if head[28:32] in {b"\0\0\0\0", b""} else "registry_log"
    if head.startswith(b"MZ"):
        return _mz(head)
    return ""


def _mz(head: bytes) -> str:
    """Tell a program from a text that begins with MZ: the program has binary bytes in its header."""
    return "pe" if b"\0" in head[2:64] else ""


_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_BOM_STARTS = frozenset(bom[0] for bom, _ in _BOMS)

# Controls that text does not have; a few of them are damage, many mean that it is no text.
_CONTROLS = (
    bytes(set(range(0x20)) - {0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1A, 0x1B}) + b"\x7f"
)
_CONTROL = re.compile(f"[{re.escape(_CONTROLS.decode('ascii'))}\ufffd]")
_MOST_CONTROLS = 0.03


def _as_text(head: bytes) -> str | None:
    """Return the text that the bytes are, or None; damaged bytes become U+FFFD or Latin-1."""
    for bom, encoding in _BOMS if head[0] in _BOM_STARTS else ():
        if head.startswith(bom):
            text = head[len(bom) :].decode(encoding, "replace")
            return text if _reads_well(text) else None
    has_zeros = b"\0" in head
    if has_zeros and (wide := _wide_encoding(head)):
        text = head.decode(wide, "replace")
        return text if _reads_well(text) else None
    # What is compressed or encrypted has zeros somewhere; without any a part stands for the whole.
    sample = head if has_zeros else head[:1024]
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    if controls > len(sample) * _MOST_CONTROLS:
        return None
    try:
        return head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end >= len(head) - 3 and error.reason == "unexpected end of data":
            return head[: error.start].decode("utf-8")
        return head.decode("latin-1")


def _reads_well(text: str) -> bool:
    return len(_CONTROL.findall(text)) <= len(text) * _MOST_CONTROLS


def _wide_encoding(head: bytes) -> str:
    """Return UTF-16 of the byte order in which nearly every second byte is zero, if there is one.

    Latin text only: other scripts cannot be told from binary data without a byte order mark.
    """
    sample = head[:4096]
    pairs = len(sample) // 2
    if pairs < 4 or not pairs * 0.8 <= sample.count(0) <= pairs * 1.1:
        return ""
    low, high = sample[0 : pairs * 2 : 2].count(0), sample[1 : pairs * 2 : 2].count(0)
    if high >= pairs * 0.9 and low <= pairs * 0.01:
        return "utf-16-le"
    if low >= pairs * 0.9 and high <= pairs * 0.01:
        return "utf-16-be"
    return ""


_TAG = re.compile(r"<[A-Za-z_][\w.:-]*(?:\s[^<>]*)?/?>")
_HTML = re.compile(r"<(?:!doctype\s+html|html[\s>])", re.IGNORECASE)


def _kind_of_text(text: str, *, is_whole: bool) -> str:
    start = text.lstrip("\ufeff \t\r\n")
    first = start[:1]
    if first == "<":
        return _kind_of_markup(start)
    if first in {"{", "["}:
        kind = _kind_of_json(start, is_whole=is_whole)
        if kind:
            return kind
    if _is_delimited(text, is_whole=is_whole):
        return "delimited"
    return "text"


def _kind_of_markup(start: str) -> str:
    if _HTML.match(start):
        return "html"
    if start.startswith(("<?xml", "<!DOCTYPE")):
        return "xml"
    # A syslog line begins with <15>, other logs with <kern> or <![LOG[; XML closes what it opens.
    if _TAG.match(start) and ("</" in start or start.count("/>")):
        return "xml"
    return "text"


_JSON_LINES_LOOKED_AT = 20


def _kind_of_json(start: str, *, is_whole: bool) -> str:
    lines = start.split("\n")
    if not is_whole:
        lines.pop()
    sample = list(islice((line for line in lines if line.strip()), _JSON_LINES_LOOKED_AT))
    values = [_json_value(line) for line in sample]
    objects = sum(isinstance(value, dict) for value in values)
    good = sum(value is not _NO_JSON for value in values)
    if len(sample) > 1 and objects and good * 2 >= len(sample):
        return "jsonl"
    return "json" if _begins_as_json(start, is_whole=is_whole) else ""


_ENOUGH_JSON = 64
_NO_JSON = object()
_DECODER = json.JSONDecoder()


def _json_value(line: str) -> object:
    try:
        return _DECODER.decode(line.strip())
    except (ValueError, RecursionError):
        return _NO_JSON


def _begins_as_json(start: str, *, is_whole: bool) -> bool:
    """Whether the text is JSON up to its end, or up to a fault well behind its beginning."""
    try:
        _, end = _DECODER.raw_decode(start)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string") and not is_whole:
            return True
        return error.pos >= len(start.rstrip()) or error.pos > _ENOUGH_JSON
    except (ValueError, RecursionError):
        return False
    return start[end:].lstrip()[:1] in {"", "{", "["}


_DELIMITERS = (",", "\t", ";", "|")
_RECORDS_LOOKED_AT = 60
_LINES_BEFORE_HEADER = 10
_HEADER_WITHIN = 4096
"""Characters among which a delimiter must stand, for the text to be worth a closer look."""
_W3C_FIELDS = re.compile(r"(?:#[^\n]{0,1000}\n|[ \t\r]*\n){0,20}#Fields:[ \t]")


def _is_delimited(text: str, *, is_whole: bool) -> bool:
    """Whether a header line stands over lines with the same number of fields, most of them at least."""
    if text.startswith("#"):
        # Zeek says the separator first; W3C extended logs (IIS, Windows Firewall) name their fields.
        if text.startswith("#separator "):
            return "\n#fields" in text
        if _W3C_FIELDS.match(text):
            return True
    beginning = text[:_HEADER_WITHIN]
    delimiters = [one for one in _DELIMITERS if one in beginning]
    if not delimiters:
        return False
    beginning = "\n".join(beginning.split("\n", _LINES_BEFORE_HEADER)[:_LINES_BEFORE_HEADER])
    return any(
        one in beginning and _is_table(_records(text, one, is_whole=is_whole)) for one in delimiters
    )


def _records(text: str, delimiter: str, *, is_whole: bool) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        records = list(islice(reader, _RECORDS_LOOKED_AT))
    except csv.Error:
        return []
    # The last one may be cut, or have swallowed the rest behind a quote that is never closed.
    is_last_in_doubt = not is_whole or (records and "\n" in "".join(records[-1][-1:]))
    if is_last_in_doubt and len(records) < _RECORDS_LOOKED_AT:
        del records[-1:]
    return [record for record in records if any(record)]


def _is_table(records: list[list[str]]) -> bool:
    for at, names in enumerate(records[:_LINES_BEFORE_HEADER]):
        if _is_header(names):
            return _fits(names, records[at + 1 :], has_preface=at > 0)
    return False


_LEAST_SAME = {2: 0.9, 3: 0.75}


def _fits(names: list[str], rows: list[list[str]], *, has_preface: bool) -> bool:
    """Whether enough rows have the shape of the header; the weaker the header, the more must."""
    same = sum(len(row) == len(names) for row in rows)
    # "Apples, pears" is prose as a rule, "Date, Time, Source" over rows of three may be a table.
    is_spaced = sum(name.startswith(" ") for name in names) * 2 >= len(names)
    if is_spaced:
        return len(names) > 2 and len(rows) > 2 and same == len(rows)
    if has_preface:
        return len(names) > 2 and len(rows) > 2 and same >= len(rows) * 0.9
    if not rows:
        return len(names) > 2
    return same >= len(rows) * _LEAST_SAME.get(len(names), 0.5)


_LONGEST_NAME = 120
_MOST_WORDS = 8
# Parts of log lines, paths, addresses and code, which no column is called after.
_NO_NAME = re.compile(r"""[={}"\\<>\x00-\x08]|://|^\s*\d{2,4}[-/.]\d|\d:\d\d""")


def _is_header(names: list[str]) -> bool:
    """Whether the fields read as names of columns: short, with letters, mostly distinct."""
    filled = [name.strip() for name in names if name.strip()]
    if len(filled) < 2 or len(filled) * 2 < len(names):
        return False
    if len({name.casefold() for name in filled}) < len(filled) * 0.6:
        return False
    return all(map(_is_name, filled))


def _is_name(name: str) -> bool:
    return (
        len(name) <= _LONGEST_NAME
        and any(map(str.isalpha, name))
        and len(name.split()) <= _MOST_WORDS
        and not _NO_NAME.search(name)
    )
