"""Small files of every sort for the parsers of text, and what each gives, line by line.

`python tests/golden/parsers/text_cases.py` writes the files anew and what the parsers make of them now; the
difference is to be read before it is committed. Nothing here comes from real evidence.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent

DELIMITED = {
    "tool.csv": (
        b"\xef\xbb\xbfKey Name,# values,Last Write,Seen,Ratio,Deleted,Note,note,\r\n"
        b"ROOT,0,2022-03-10 16:33:50.0893545,2022-03-10T16:33:50Z,1,False,plain,,\r\n"
        b'"A, B",12,1601-01-01 00:00:00,2022-03-10T18:33:50+02:00,0.5,TRUE,"two\r\nlines ""quoted""",x,\r\n'
        b"short,1,2022-03-10\r\n"
        b'"open,2,,,,,,,\r\n'
        b"\r\n"
        b'NUL\x00inside,9007199254740993,30828-09-14 02:48:05,,1e-7,,5" disk,y,'
    ),
    "umlauts.txt": "Name;Größe;Ort\nMüller;1,5;Köln\nSoufflé;2,25;Málaga\n".encode("cp1252"),
    "damaged.csv": "name,city\nZoë,東京\n".encode()
    + b"Ren\xe9e,Lyon\n"
    + "Łukasz,Kraków\n".encode(),
    "utf16.tsv": "\ufeffid\tname\r\n1\t名前\r\n2\t\r\n3\ta\tb\r\n".encode("utf-16-le"),
    "titled.tsv": b"Browser history of host A\n\nTYPE\tURL\tCOUNT\nURL\thttp://a/?q=1,2\t3\nLEAK\thttp://b/\t4\n",
    "numbered.csv": b"1,10.0.0.1,2022-03-10\n2,10.0.0.2,2022-03-11\n3,10.0.0.3,n/a\n",
    "conn.log": (
        b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
        b"#fields\tts\tid.orig_h\tid.orig_p\tduration\tlocal\ttunnels\n"
        b"#types\ttime\taddr\tport\tinterval\tbool\tset[string]\n"
        b"1646930030.089354\t10.0.0.1\t443\t0.25\tT\t(empty)\n1646930031.5\t10.0.0.2\t-\t-\tF\ta,b\n#close\t2022\n"
    ),
    "ex220310.log": (
        b"#Software: a web server\n#Fields: date time cs-method cs-uri-stem sc-status cs(User-Agent)\n"
        b"2022-03-10 16:33:50 GET / 200 Mozilla/5.0+(X11)\n2022-03-10 16:33:51 GET /a b 404 -\n"
        b"2022-03-10 16:33:52 POST /b 500 -\n#Fields: date time\n2022-03-10 16:33:53\n"
    ),
}

JSON = {
    "mixed.jsonl": (
        b'{"id": 1, "at": "2022-03-10T16:33:50.1234567Z", "pid": 4, "ok": true, "tags": ["a"], "v": 1}\n'
        b"\n"
        b'{"id": 2, "at": "2022-03-10T18:33:50+02:00", "pid": "0x1f", "ok": null, "v": "1", "x y": 0.5}\n'
        b'{"id": 3, "at": \n[1, 2]\nnull\n{"id": NaN}\n{"id": "caf\xe9"}\n{"id": "\\ud800"}\n'
        b'{"id": 9007199254740993, "id": 5, "tags": {"deep": {"x": [1,  2]}}, "x y": 1e5}'
    ),
    "records.json": (
        b'{"next": null,\n "Records": [\n  {"name": "a", "n": 1},\n  {"name": "b", "n": tru},\n  7,\n'
        b'  {"name": "c",\n   "n": -0.5}\n ]}\n'
    ),
    "cut.json": b'[{"name": "a", "size": 1}, {"name": "b", "size": 2}, {"name": "c", "si',
    "documents.json": b'{\n  "a": "x"\n}\n{\n  "a": "y\\n",\n  "b": {}\n}\n',
}


def folders() -> dict[str, dict[str, bytes]]:
    """The files of each parser's folder."""
    return {"delimited": DELIMITED, "jsonlines": JSON}


def lines(parsed: Any) -> list[str]:
    """What a file gave: its table and warnings, then rows as text and rejected records by position."""
    about = {"warnings": parsed.warnings}
    if parsed.batches:
        about |= {"table": parsed.layout.suggested_table, "columns": parsed.types}
    found = [
        (position, {"at": position, "row": row})
        for position, row in zip(parsed.positions, parsed.rows, strict=True)
    ]
    for one in parsed.rejected:
        raw = one.raw.decode(errors="backslashreplace")
        rejected = {
            "at": one.position,
            "violation": one.violation,
            "message": one.message,
            "raw": raw,
        }
        found.append((one.position, rejected))
    found.sort(key=lambda one: one[0])
    return [json.dumps(one, ensure_ascii=False) for one in (about, *(one for _, one in found))]


def main() -> None:
    """Write all files and what they give now."""
    root = FOLDER.parents[2]
    sys.path[:0] = [str(root / "desktop"), str(root / "tests")]
    from casparian.parsers.delimited import Delimited
    from casparian.parsers.jsonlines import JsonLines
    from helpers.parse_context import parse_bytes

    parsers = {"delimited": Delimited(), "jsonlines": JsonLines()}
    for folder, files in folders().items():
        for name, data in files.items():
            path = FOLDER / folder / name
            path.write_bytes(data)
            text = "\n".join(lines(parse_bytes(parsers[folder], data, name))) + "\n"
            path.with_name(f"{name}.rows.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
