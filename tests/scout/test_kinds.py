"""The kind comes from the bytes; a log is never taken for a table."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.scout.kinds import HEAD_BYTES, KINDS, kind_of

if TYPE_CHECKING:
    from pathlib import Path


def kind(content: bytes | str) -> str:
    raw = content.encode() if isinstance(content, str) else content
    return kind_of(raw[:HEAD_BYTES], len(raw))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"\0", "binary"),
        (bytes(5000), "binary"),
        (b"ElfFile\0" + bytes(4088), "evtx"),
        (b"xlfFile\0" + bytes(4088) + b"ElfChnk\0" + bytes(100), "evtx"),
        (b"regf" + bytes(28), "registry"),
        (b"regf", "registry"),
        (b"regf" + bytes(24) + b"\x06\0\0\0", "registry_log"),
        (b"MZ" + bytes(100), "pe"),
        (b"MZ is how this note begins\n", "text"),
        (b"SQLite format 3\0" + bytes(84), "sqlite"),
        (b"PK\x03\x04" + bytes(30), "zip"),
        (b"PK as a word\n", "text"),
        (b"BZh is short\n", "bzip2"),
        (bytes(257) + b"ustar\x0000", "tar"),
        (b"%PDF-1.7\n", "pdf"),
        (b"PAR1\x15\x04", "parquet"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"FILE0\0\x03\0", "mft"),
        (b"FILE0 is what the disk was called\n", "text"),
        (b"\xeb\x52\x90NTFS    \0\x02", "ntfs_boot"),
        (random.Random(1).randbytes(100_000), "binary"),
    ],
)
def test_magic_numbers_decide(content: bytes, expected: str) -> None:
    assert kind(content) == expected


ROWS = "Name,Path,Size\n" + "".join(f"n{i},C:\\x\\{i}.exe,{i}\n" for i in range(50))


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        ROWS.replace("\n", "\r\n"),
        ROWS.replace("\n", "\r"),
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        ROWS.replace(",", "|"),
        "\ufeff" + ROWS,
        b"\xff\xfe" + ROWS.encode("utf-16-le"),
        b"\xfe\xff" + ROWS.encode("utf-16-be"),
        ROWS.encode("utf-16-le"),
        b"\xff\xfe\0\0" + ROWS.encode("utf-32-le"),
        ROWS.replace("n7", "n\xe9").encode("latin-1"),
        ROWS.replace("n7", "n\0\0"),
        "Name,Path,Size\n",
        "Name,Path,Size",
        '"Name","Path, long","Size"\n"a","b, c",1\n',
        '"First\nname","Path"\n"a\nb",c\n"d",e\n',
        ",Name,Path\n0,a,b\n1,c,d\n",
        "Name,Name,Path\na,b,c\n",
        "Name,Path,\na,b,\n",
        "Size (MB);Größe;# values\n1;2;3\n",
        "Name,Note\n" + "a,1\n" * 9 + "b,2,3\n",
        "a,b,c,d\n1,2,3,4\n1,2\n1,2,3,4\n1,2,3,4,5\n",
        "Date, Time, Source\n1, 2, 3\n4, 5, 6\n7, 8, 9\n",
        'Name,Path,Size\na,b,1\nc,"never closed,2\nd,e,3\n',
        "Export of 2024\n\nName\tPath\tSize\na\tb\t1\nc\td\t2\ne\tf\t3\n",
        "#separator \\x09\n#set_separator\t,\n#fields\tts\tuid\n#types\ttime\tstring\n1.5\tx\n",
        "#Version: 1.0\r\n#Fields: date time s-ip\r\n2021-04-01 00:00:21 10.0.0.1\r\n",
        "#Fields: date time s-ip\n",
        "".join(f"wide {n}," for n in range(400)) + "end\n" + "1," * 400 + "2\n",
        "Name,Path,Size\n" + "x" * 40_000 + ",b,c\n" + "y" * 40_000 + ",d,e\n",
    ],
)
def test_a_table_as_text_is_delimited(content: bytes | str) -> None:
    assert kind(content) == "delimited"


@pytest.mark.parametrize(
    "content",
    [
        "Dear Sir,\nI write to you, as I said, about the matter.\nYours, B.\n",
        "Hello, world\n",
        "one\ntwo\nthree\n",
        "apples, pears\noranges, plums\n",
        "2024-01-02 03:04:05,123 INFO started\n2024-01-02 03:04:06,001 INFO ready\n",
        "INFO,2024-01-02 03:04:05,started\nINFO,2024-01-02 03:04:06,ready\n",
        "Mar 27 13:06:56 host sshd[1291]: Failed password for root, port 22\n" * 9,
        '10.0.0.1 - - [13/Jan/2016:19:31:16 +0000] "GET / HTTP/1.1" 200 5 "-" "A; B, C"\n' * 9,
        "key=a, value=b\nkey=c, value=d\n",
        "0|/etc/passwd|12|r/rrw-r--r--|0|0|5|1|2|3|4\n0|/etc/group|13|r/rrw-r--r--|0|0|5|1|2|3|4\n",
        "127.0.0.1\tlocalhost\n10.0.0.7\tfileserver\n",
        "1,2,3\n4,5,6\n",
        "C:\\x.exe,C:\\y.exe\nC:\\z.exe,C:\\w.exe\n",
        "int main(int argc, char **argv)\n{\n  return f(a, b, c);\n}\n",
        "# Fields: a comment\nkey value\n",
        "[Section]\nkey=value\n; a comment\n",
        "<15>1 2021-03-06T04:07:38 host tag - 1 -  message\n",
        "<![LOG[+++ Starting]LOG]!><time=\"1\">\n",
        "[Device Install Log]\n     OS Version = 10.0\n",
        "[2018-08-19T03:09:13.120Z] I santad: action=DISKAPPEAR|mount=|volume=EFI\n" * 3,
        "[1:366:11] PROTOCOL-ICMP\n",
        "{not json}\n",
        "[" * 50_000,
        "x" * 100_000,
        "x," * 50_000,
        "\x1b[31mred\x1b[0m and a bell\x07\n",
        "caf\xe9 au lait\n".encode("latin-1"),
        "line\n" * 30 + "\x00\x00",
        "BEGIN:VCARD\nN:Doe;John;;;\nEND:VCARD\n",
        "tcpmux\t\t1/tcp\t\t# TCP port service multiplexer\necho\t\t7/tcp\n",
    ],
)  # fmt: skip
def test_logs_and_prose_are_text(content: bytes | str) -> None:
    assert kind(content) == "text"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a": 1}\n{"a": 2}\n', "jsonl"),
        ('\ufeff{"a": 1}\r\n\r\n{"a": 2}\r\n', "jsonl"),
        ('{"a": 1}\n{"a": \n{"a": 3}\n{"a": 4}\n', "jsonl"),
        ('{"a": 1}\n[1, 2]\n3\n"x"\n', "jsonl"),
        ("".join(f'{{"a": "{"x" * 3000}", "n": {n}}}\n' for n in range(60)), "jsonl"),
        ('{"a": 1}\n', "json"),
        ('{"a": 1}', "json"),
        ('{\n  "a": [1,\n 2]\n}\n', "json"),
        ('[{"a": 1},\n{"a": 2}]\n', "json"),
        ('[\n{"a": 1},\n{"a": 2}\n]\n', "json"),
        ('{"Records":[' + '{"a": "b"},' * 20_000 + "{}]}", "json"),
        ('{"a": "' + "x" * 100_000 + '"}', "json"),
        ('{"Records":[{"eventVersion":"1.08","userIdentity":{"type":"IAMUser"}},{"cut": ', "json"),
        ("[]", "json"),
        ("{}", "json"),
        (b"\xff\xfe" + '{"a": 1}\r\n{"a": 2}\r\n'.encode("utf-16-le"), "jsonl"),
        ('{"a": 1' + "0" * 5000 + "}\n" + '{"a": 2}\n', "jsonl"),
        ('<?xml version="1.0"?>\n<a/>', "xml"),
        (b"\xff\xfe" + "<?xml version='1.0'?><Task/>".encode("utf-16-le"), "xml"),
        ("<Event xmlns='x'><System/></Event>\n" * 3, "xml"),
        ("<!DOCTYPE html>\n<html>", "html"),
        ("<HTML><body>", "html"),
        ("<kern> a message of the kernel\n", "text"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_json_and_markup_are_told(content: bytes | str, expected: str) -> None:
    assert kind(content) == expected


def test_a_character_cut_at_the_end_of_the_head_does_not_matter() -> None:
    for shift in range(4):
        content = (ROWS.split("\n", 1)[0] + "\n" + "x" * shift + "ä€😀,b,1\n" * 20_000).encode()
        assert kind(content) == "delimited"


@given(st.binary(max_size=3000))
def test_any_bytes_have_a_kind(content: bytes) -> None:
    assert kind(content) in KINDS


@given(st.text(st.sampled_from('{}[]",;\t|\n\r: a1\\<>/#\0\ufeff'), max_size=300))
def test_any_text_has_a_kind(content: str) -> None:
    assert kind(content) in KINDS
    assert kind(content.encode("utf-16")) in KINDS


@given(
    st.integers(3, 8),
    st.lists(
        st.lists(st.text("abcäß, \"';|\t0123", max_size=8), min_size=8, max_size=8), max_size=20
    ),
    st.sampled_from([",", ";", "\t", "|"]),
)
def test_every_quoted_table_is_delimited(width: int, rows: list[list[str]], delimiter: str) -> None:
    lines = [[f"Column {number}" for number in range(width)], *(row[:width] for row in rows)]
    text = "\n".join(
        delimiter.join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines
    )

    assert kind(text) == "delimited"


# What the evidence set calls the kinds, in our words. A word that is not here is the same in both.
WORDS = {
    "csv": {"delimited"},
    "tsv-zeek": {"delimited"},
    "log": {"text", "delimited"},  # Windows Firewall writes a W3C log
    "log-apache": {"text"},
    "log-iis": {"delimited"},  # a W3C log: fields separated by spaces, under a line that names them
    "log-syslog": {"text"},
    "json-cloudtrail": {"json"},
    "task-xml": {"xml"},
    "srum": {"ese"},
    "ntfs-boot": {"ntfs_boot"},
    "ntfs-i30": {"ntfs_index"},
    "registry-log": {"registry_log"},
    "sqlite-browser": {"sqlite"},
    "sqlite": {"sqlite", "sqlite_wal", "binary"},  # the -shm file beside a database has no magic
    "jumplist-auto": {"ole"},
    "container": {"zip", "tar", "gzip", "bzip2", "xz"},
    # No magic number of their own; they are known by their names and places.
    "jumplist-custom": {"binary"},
    "defender-detection": {"binary"},
    "ese-side": {"binary"},
    "recyclebin-i": {"binary"},
    "usn": {"binary"},
    "usn-max": {"binary"},
    "utmp": {"binary"},
}


def test_real_evidence_has_the_kind_that_its_collectors_gave_it(evidence: Path) -> None:
    expected = json.loads((evidence / "expected.json").read_text("utf-8"))
    wrong = []
    for entry in expected["files"]:
        with (evidence / entry["path"]).open("rb") as file:
            found = kind_of(file.read(HEAD_BYTES), entry["size"])
        if found not in WORDS.get(entry["kind"], {entry["kind"]}):
            wrong.append((entry["path"], entry["kind"], found))

    assert not wrong
    assert len(expected["files"]) == 555


DAMAGED = {
    "corrupt/container/plain_text_named.gz": "delimited",  # a log of IIS
    "corrupt/log/binary_lines.log": "delimited",  # a log of IIS
    "corrupt/evtx/all_zeros.evtx": "binary",
    "corrupt/evtx/bad_file_magic.evtx": "evtx",  # by its first chunk
    "corrupt/ntfs/truncated_$J": "binary",
    "corrupt/sqlite/bad_magic_History": "binary",
    "corrupt/wrong-extension/browser_history.log": "sqlite",
    "corrupt/wrong-extension/event_log.csv": "evtx",
    "corrupt/wrong-extension/event_log_without_extension": "evtx",
    "corrupt/wrong-extension/hive.evtx": "registry",
    "corrupt/container/truncated.log.gz": "gzip",
}
BY_FOLDER = {
    "container": "zip", "csv": "delimited", "ese": "ese", "evtx": "evtx", "json": "json",
    "jsonl": "jsonl", "lnk": "lnk", "log": "text", "ntfs": "mft", "prefetch": "prefetch",
    "registry": "registry", "sqlite": "sqlite",
}  # fmt: skip


def test_damaged_evidence_is_still_known(evidence: Path) -> None:
    entries = json.loads((evidence / "expected.json").read_text("utf-8"))["corrupt"]
    wrong = []
    for entry in entries:
        path = entry["path"]
        wanted = DAMAGED.get(path, BY_FOLDER.get(path.split("/")[1], ""))
        if not entry["size"]:
            wanted = "empty"
        with (evidence / path).open("rb") as file:
            found = kind_of(file.read(HEAD_BYTES), entry["size"])
        if found != wanted:
            wrong.append((path, wanted, found))

    assert not wrong
    assert len(entries) == 66
