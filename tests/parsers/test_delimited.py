"""Delimited text: every line is a row, or is in quarantine with its number and its bytes."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from casparian.parsers.delimited import Delimited
from casparian.parsers.text import dialect, reading
from golden.parsers import text_cases
from helpers.parse_context import Parsed, parse_bytes, parse_file

if TYPE_CHECKING:
    from pathlib import Path


def parse(data: bytes | str, name: str = "file.csv") -> Parsed:
    return parse_bytes(Delimited(), data.encode() if isinstance(data, str) else data, name)


# --- the real files --------------------------------------------------------------------------------

DIFFERENCES = {
    # path: (rows, quarantined, columns), and why that is not what Python's csv module counts
    "csv/NIST_index.IE8.csv": (
        351,
        0,
        7,
    ),  # a title before the header; tabs, which the figures do not know
    "corrupt/csv/ragged.csv": (111, 51, 7),  # 32 records too short and 19 too long
    "corrupt/csv/unclosed_quote.csv": (
        161,
        1,
        7,
    ),  # the csv module lets the quote swallow 81 records
    "corrupt/csv/truncated_in_a_record.csv": (113, 1, 7),  # the last record is cut
    "corrupt/csv/zero_length.csv": (0, 0, 0),
}


def test_the_real_files_give_as_many_records_as_independent_readers_count(evidence: Path):
    expected = json.loads((evidence / "expected.json").read_bytes())
    seen = Counter()
    for entry in (*expected["files"], *expected["corrupt"]):
        figures = entry["figures"]
        if "python_csv" in figures:
            count = figures["python_csv"]["records"], 0, figures["python_csv"]["columns"]
        elif "zeek_tsv" in figures:
            count = figures["zeek_tsv"]["records"], 0, figures["zeek_tsv"]["fields"]
        else:
            continue
        parsed = parse_file(Delimited(), evidence / entry["path"])
        columns = len(parsed.columns) if parsed.batches else 0
        found = len(parsed.rows), len(parsed.rejected), columns
        assert found == DIFFERENCES.get(entry["path"], count), entry["path"]
        seen["different" if entry["path"] in DIFFERENCES else "equal"] += 1
    assert seen == {"equal": 22, "different": 5}


def test_logs_of_a_web_server_give_a_record_a_line_less_what_has_a_blank_too_many(evidence: Path):
    expected = json.loads((evidence / "expected.json").read_bytes())
    ragged = {"iis10_edge_cases.log": 6}  # user names that begin with a blank
    logs = [entry for entry in expected["files"] if "w3c" in entry["figures"]]
    for entry in logs:
        parsed = parse_file(Delimited(), evidence / entry["path"])
        records = entry["figures"]["w3c"]["records"]
        assert len(parsed.rows) + len(parsed.rejected) == records
        assert len(parsed.rejected) == ragged.get(entry["path"].rpartition("/")[2], 0)
        assert len(parsed.columns) == len(entry["figures"]["w3c"]["fields"][0])
    assert len(logs) == 7


def test_the_first_and_last_times_of_the_zeek_logs_are_those_of_another_reader(evidence: Path):
    expected = json.loads((evidence / "expected.json").read_bytes())
    logs = [entry for entry in expected["files"] if "zeek_tsv" in entry["figures"]]
    for entry in logs:
        parsed = parse_file(Delimited(), evidence / entry["path"])
        assert parsed.types["ts"] == "timestamp_utc"
        times = sorted(row[0] for row in parsed.rows)
        assert (times[0], times[-1]) == (
            entry["figures"]["zeek_tsv"]["first"],
            entry["figures"]["zeek_tsv"]["last"],
        )
    assert len(logs) == 5


def test_every_cell_of_the_real_csv_files_is_what_the_csv_module_reads(evidence: Path):
    for path in sorted((evidence / "csv").glob("*.csv")):
        if path.name == "NIST_index.IE8.csv":
            continue
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *records = csv.reader(file)
        parsed = parse_file(Delimited(), path)
        assert parsed.rows == [tuple(record) for record in records]
        headings = [one.metadata[b"cf.heading"].decode() for one in parsed.batches[0].rows.schema]
        assert headings == header


@pytest.mark.parametrize("name", ["utf16le_bom", "semicolons", "mixed_line_ends_no_final_newline"])
def test_the_same_table_in_other_clothes_is_the_same(evidence: Path, name):
    control = parse_file(Delimited(), evidence / "corrupt/csv/control_utf8.csv")
    other = parse_file(Delimited(), evidence / f"corrupt/csv/{name}.csv")
    assert other.rows == control.rows
    assert other.columns == control.columns
    assert other.positions == control.positions


def test_an_unclosed_quote_costs_one_line(evidence: Path):
    parsed = parse_file(Delimited(), evidence / "corrupt/csv/unclosed_quote.csv")
    assert parsed.violations == [(82, "quotes")]
    assert parsed.rejected[0].raw.startswith(b'"never closed,1,80,')


def test_latin_1_in_ascii_is_read_as_windows_1252_and_said(evidence: Path):
    parsed = parse_file(Delimited(), evidence / "corrupt/csv/invalid_utf8.csv")
    assert parsed.warnings == [
        "The file is not UTF-8 (54 lines, the first is line 2); it is read as windows-1252"
    ]
    assert sum(row[-1].endswith("café über") for row in parsed.rows) == 54


def test_binary_lines_in_a_log_go_to_quarantine(evidence: Path):
    parsed = parse_file(Delimited(), evidence / "corrupt/log/binary_lines.log")
    lines = (evidence / "corrupt/log/binary_lines.log").read_bytes().split(b"\n")
    encoding = [one for one in parsed.rejected if one.violation == "encoding"]
    assert [(one.position, one.raw) for one in encoding] == [(11, lines[10])]
    assert len(parsed.rows) + len(parsed.rejected) == 15


def test_one_very_long_line_is_a_row(evidence: Path):
    parsed = parse_file(Delimited(), evidence / "corrupt/log/one_very_long_line.log")
    assert len(parsed.rows) == 1


# --- layout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", list(",;\t|\x1f\x01^~"))
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_are_detected(delimiter, end):
    lines = (
        ["name,size", "a b.exe,10", "c; d|e,20"]
        if delimiter == ","
        else ["name,size", "a,10", "b,20"]
    )
    parsed = parse(end.join(line.replace(",", delimiter) for line in lines) + end)
    assert parsed.columns == ("name", "size")
    assert parsed.types["size"] == "int64"
    assert parsed.positions == [2, 3]


def test_the_header_decides_between_delimiters():
    parsed = parse("name;price\na;1,5\nb;2,5\n")
    assert parsed.rows == [("a", "1,5"), ("b", "2,5")]


def test_excel_says_its_delimiter():
    parsed = parse("sep=;\na;b\n1,5;2\n")
    assert parsed.columns == ("a", "b")
    assert parsed.rows == [("1,5", "2")]
    assert parsed.positions == [3]


def test_one_column_is_a_table_whatever_else_is_in_it():
    parsed = parse("path\nC:\\a, b; c\nD:\\x|y\n\nlast\n")
    assert parsed.rows == [("C:\\a, b; c",), ("D:\\x|y",), ("last",)]
    assert parsed.positions == [2, 3, 5]


def test_single_quotes_enclose_where_they_always_do():
    assert parse("'a','b'\n'x,1','it''s'\n'y','z'\n").rows == [("x,1", "it's"), ("y", "z")]
    assert parse("a,b\n'tis,5\nx,'6\n").rows == [("'tis", "5"), ("x", "'6")]


def test_blanks_before_quotes_are_no_part_of_the_field():
    assert parse('a, "b"\n1, "x, y"\n2, "z"\n').rows == [("1", "x, y"), ("2", "z")]


def test_a_header_gives_safe_unique_names_and_keeps_its_own():
    parsed = parse("Key name,# values,key NAME,,_cf_row\na,1,b,c,d\n")
    assert parsed.columns == ("Key_name", "values", "key_NAME_2", "column_4", "cf_row")
    schema = parsed.batches[0].rows.schema
    assert schema.field("Key_name").metadata[b"cf.heading"] == b"Key name"


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("1,2022-03-10,x\n2,2022-03-11,y\n", ("column_1", "column_2", "column_3"), 2),
        ("10.0.0.1,443\n10.0.0.2,80\n", ("column_1", "column_2"), 2),
        ("17,x\n", ("column_1", "column_2"), 1),
        ("C:\\Windows\\notepad.exe\nD:\\x\n", ("column_1",), 2),
        ("id,2020,2021\nx,5,6\n", ("column_1", "column_2", "column_3"), 2),
        ("name,city\nann,rome\n", ("name", "city"), 1),
        ("id,when\n1,2022-03-10\n", ("id", "when"), 1),
        ("id\n1\n2\n", ("id",), 2),
        ("id,7\n1,8\n", ("id", "c_7"), 1),
    ],
)
def test_a_header_is_missing_only_where_the_values_say_so(text, columns, rows):
    parsed = parse(text)
    assert parsed.columns == columns
    assert len(parsed.rows) == rows
    is_numbered = columns[0] == "column_1"
    assert is_numbered == ("There is no header; the columns are numbered" in parsed.warnings)


def test_lines_before_the_header_are_told():
    parsed = parse("Report of host A\n\nname\tsize\tdate\na\t1\t2\nb\t2\t3\n")
    assert parsed.columns == ("name", "size", "date")
    assert parsed.positions == [4, 5]
    assert parsed.warnings == [
        "Line 1 stands before the header and is no record: 'Report of host A'"
    ]


def test_a_delimiter_at_every_line_end_makes_a_column_without_a_name():
    parsed = parse("a,b\n1,2,\n3,4,\n")
    assert parsed.columns == ("a", "b", "column_3")
    assert parsed.rows == [("1", "2", ""), ("3", "4", "")]


def test_a_first_line_of_another_width_names_nothing():
    parsed = parse("a,b\nx,1,2\ny,3,4\nz,5,6\n")
    assert parsed.columns == ("column_1", "column_2", "column_3")
    assert parsed.violations == [(1, "ragged")]
    assert len(parsed.rows) == 3


def test_a_header_alone_gives_the_layout_and_no_row():
    parsed = parse("a,b,c\n", "Some Thing.csv")
    assert parsed.columns == ("a", "b", "c")
    assert parsed.layout.suggested_table == "some_thing"
    assert parsed.rows == []


@pytest.mark.parametrize("data", [b"", b"\n\n", b"  \r\n", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_a_file_without_text_gives_nothing_and_says_so(data):
    parsed = parse(data)
    assert (parsed.batches, parsed.rejected) == ([], [])
    assert parsed.warnings == ["The file holds no text"]


def test_times_that_are_finer_than_a_timestamp_are_told():
    parsed = parse("id,at\n1,2022-03-10 16:33:50.0893545\n")
    assert parsed.types == {"id": "int64", "at": "timestamp"}
    assert parsed.warnings == [
        "Times in at have more than six fraction digits; a column of times keeps microseconds"
    ]


# --- bad lines -------------------------------------------------------------------------------------


def test_ragged_lines_go_to_quarantine_and_blank_ones_nowhere():
    parsed = parse("a,b\n1,2\n\n3\n  \n4,5,6\n7,8\n")
    assert parsed.rows == [("1", "2"), ("7", "8")]
    assert parsed.positions == [2, 7]
    assert parsed.violations == [(4, "ragged"), (6, "ragged")]
    assert parsed.rejected[1].message == "Line 6 has 3 fields; the table has 2"
    assert parsed.rejected[1].raw == b"4,5,6"


@pytest.mark.parametrize(
    ("text", "rows", "violations"),
    [
        ('a,b\n1,"x\n2,y\n3,z\n', [("2", "y"), ("3", "z")], [(2, "quotes")]),
        ('a,b\n1,"x"y\n2,z\n', [("2", "z")], [(2, "quotes")]),
        ('a,b\n1,"x\n2,"y"\n3,z\n', [("2", "y"), ("3", "z")], [(2, "quotes")]),
        # The quote closes far away, but lines between would be records, and what it makes is none.
        ('a,b,c\n1,"x,2\n3,4,5\n6,7,"\n8,9,0\n', [("3", "4", "5"), ("8", "9", "0")],
         [(2, "quotes"), (4, "quotes")]),
        ('a,b\n1,5" disk\n2,"3"" disk"\n', [("1", '5" disk'), ("2", '3" disk')], []),
        ('a,b\n1,"x\r\ny\n\nz"\n2,w\n', [("1", "x\r\ny\n\nz"), ("2", "w")], []),
        ('a,b\n1,"x\ny",z\n2,w\n', [("2", "w")], [(2, "ragged")]),
    ],
)  # fmt: skip
def test_a_bad_quote_costs_its_line_and_no_more(text, rows, violations):
    parsed = parse(text)
    assert parsed.rows == rows
    assert parsed.violations == violations


def test_a_record_is_numbered_by_its_first_line():
    assert parse('a,b\n1,"x\ny\nz"\n2,w\n').positions == [2, 5]


def test_undecodable_lines_of_utf_8_go_to_quarantine_as_they_are():
    data = "a,b\nnaïve,1\n東,2\n".encode() + b"caf\xe9,3\n\xff,4,5\n" + "über,6\n".encode()
    parsed = parse(data)
    assert parsed.rows == [("naïve", "1"), ("東", "2"), ("über", "6")]
    assert sorted(parsed.violations) == [(4, "encoding"), (5, "encoding")]
    assert {one.raw for one in parsed.rejected} == {b"caf\xe9,3", b"\xff,4,5"}


def test_half_a_surrogate_pair_in_utf_16_goes_to_quarantine():
    data = "\ufeffa,b\nx,1\n\ud800y,2\nz,3\n".encode("utf-16-le", "surrogatepass")
    parsed = parse(data)
    assert parsed.rows == [("x", "1"), ("z", "3")]
    assert parsed.violations == [(3, "encoding")]
    assert parsed.rejected[0].raw == "\ud800y,2".encode("utf-16-le", "surrogatepass")


def test_a_utf_16_file_cut_within_a_character_keeps_its_lines():
    parsed = parse("\ufeffa,b\nx,1\ny,2\nz,3".encode("utf-16-le")[:-1])
    assert parsed.rows == [("x", "1"), ("y", "2")]
    assert parsed.violations == [(4, "encoding")]


def test_nul_and_other_controls_are_kept():
    parsed = parse('a,b\n\x00x\x00,"\x01\x00"\ny,\x1b[0m\n')
    assert parsed.rows == [("\x00x\x00", "\x01\x00"), ("y", "\x1b[0m")]


def test_lone_carriage_returns_are_kept():
    text = 'a,b\r\nx\ry,1\r\n"p\rq",2\r\nz\r,3\r\n'
    assert parse(text).rows == [("x\ry", "1"), ("p\rq", "2"), ("z\r", "3")]


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_cell_of_50_megabytes_is_a_cell(quote):
    cell = "x" * 50_000_000
    parsed = parse(f"a,b\n1,{quote}{cell}{quote}\n2,y\n")
    assert [(row[0], len(row[1])) for row in parsed.rows] == [("1", 50_000_000), ("2", 1)]
    assert not parsed.rejected


def test_a_quoted_cell_may_span_chunks(monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_BYTES", 64)
    cell = "\n".join(f"line {n}" for n in range(200))
    parsed = parse(f'a,b\n1,"{cell}"\n2,y\n' + "".join(f"{n},z\n" for n in range(3, 50)))
    assert parsed.rows[0] == ("1", cell)
    assert parsed.positions == [2, *range(202, 250)]
    assert not parsed.rejected


def test_an_unclosed_quote_does_not_hold_the_file_back(monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_BYTES", 64)
    monkeypatch.setattr(reading, "LONGEST_LINE_BYTES", 500)
    lines = [f"{n},y\n" for n in range(300)]
    parsed = parse('a,b\nx,"open\n' + "".join(lines))
    assert parsed.violations == [(2, "quotes")]
    assert parsed.positions == [*range(3, 303)]


def test_an_overlong_line_costs_itself(monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_BYTES", 64)
    monkeypatch.setattr(reading, "LONGEST_LINE_BYTES", 500)
    parsed = parse("a,b\n1,x\n2," + "y" * 3000 + "\n3,z\n")
    assert parsed.rows == [("1", "x"), ("3", "z")]
    assert parsed.positions == [2, 4]
    assert parsed.violations == [(3, "overlong")]


# --- logs with directives --------------------------------------------------------------------------

ZEEK = "\n".join(
    [
        "#separator \\x09",
        "#set_separator\t,",
        "#empty_field\t(empty)",
        "#unset_field\t-",
        "#path\tconn",
        "#fields\tts\tuid\tn\tok\ttags\tnote",
        "#types\ttime\tstring\tcount\tbool\tset[string]\tstring",
        '1379288667.706265\tC1\t5\tT\ta,b\t"quoted',
        "1379288668.5\t007\t-\tF\t(empty)\t-",
        "#close\t2014-04-03-10-08-27",
        "",
    ]
)


def test_zeek_says_names_types_and_what_is_missing():
    parsed = parse(ZEEK, "conn.log")
    assert parsed.columns == ("ts", "uid", "n", "ok", "tags", "note")
    assert parsed.rows == [
        ("2013-09-15T23:44:27.706265Z", "C1", "5", "true", "a,b", '"quoted'),
        ("2013-09-15T23:44:28.500000Z", "007", None, "false", "", None),
    ]
    assert parsed.types == {
        "ts": "timestamp_utc", "uid": "string", "n": "int64", "ok": "boolean", "tags": "string",
        "note": "string",
    }  # fmt: skip
    assert parsed.positions == [8, 9]


def test_fields_that_change_within_a_log_are_no_rows_of_the_table():
    text = ZEEK + "#fields\tts\tuid\n1.5\tC9\n" + ZEEK
    parsed = parse(text)
    assert len(parsed.rows) == 4
    assert parsed.violations == [(12, "ragged")]
    changed = "#Fields: a b\n1 2\n#Fields: a c\n3 4\n#Fields: a b\n5 6\n"
    assert parse(changed).rows == [("1", "2"), ("5", "6")]
    assert parse(changed).violations == [(4, "layout_changed")]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("#Version: 1.0\n#Fields: date cs(User-Agent) sc-status\n2022-03-10 a+b 200\n2022-03-10 - 404\n",
         [("2022-03-10", "a+b", "200"), ("2022-03-10", None, "404")]),
        ('#Fields: date cs(User-Agent)\n2022-03-10 "Mozilla/5.0 (X11)"\n',
         [("2022-03-10", "Mozilla/5.0 (X11)")]),
        ('#Fields: date-time,event\n2022-03-10T10:00:00Z,"a,b"\n', [("2022-03-10T10:00:00Z", "a,b")]),
    ],
)  # fmt: skip
def test_w3c_logs_are_read_by_their_fields(text, rows):
    assert parse(text).rows == rows


# --- golden files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", text_cases.folders()["delimited"])
def test_a_golden_file_gives_what_it_gave(name):
    path = text_cases.FOLDER / "delimited" / name
    assert path.read_bytes() == text_cases.folders()["delimited"][name]
    golden = path.with_name(f"{name}.rows.jsonl").read_text(encoding="utf-8")
    assert text_cases.lines(parse(path.read_bytes(), name)) == golden.splitlines()


# --- whatever comes --------------------------------------------------------------------------------

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HEADER = ["alpha", "beta", "gamma", "delta", "epsilon"]


@st.composite
def tables(draw):
    width = draw(st.integers(2, 5))
    return [
        HEADER[:width],
        *draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=20)),
    ]


@settings(deadline=None)
@given(
    tables(),
    st.sampled_from(",;\t|^~"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from("\"'"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.integers(20, 200),
)
def test_what_a_writer_writes_comes_back(table, delimiter, quoting, quote, end, codec, size):
    if quoting == csv.QUOTE_MINIMAL:
        # Python 3.11 leaves a carriage return unquoted where it is no part of the line end.
        assume(end == "\r\n" or not any("\r" in cell for row in table for cell in row))
        assume(quote == '"')  # that a few fields alone are in single quotes is no sign of anything
    text = io.StringIO(newline="")
    csv.writer(
        text, delimiter=delimiter, quoting=quoting, quotechar=quote, lineterminator=end
    ).writerows(table)
    data = text.getvalue().encode(codec)
    assume(codec != "utf-8" or data.count(0) * 10 < len(data))  # every other byte NUL is UTF-16
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_BYTES", size * 4)
        # The dialect is found in the first chunk; one that ends within its only record tells little.
        assume(len(data) < size * 4 or codec == "utf-8")
        parsed = parse(data)
    assert parsed.rejected == []
    assert list(parsed.columns) == table[0]
    assert [list(row) for row in parsed.rows] == table[1:]


def accounted(data: bytes) -> None:
    """Every line that is not blank, from the header on, is in a row or rejected, and in one only."""
    parsed = parse(data)
    source = io.BytesIO(data)
    encoding = reading.detect(source)
    text = b"".join(
        chunk.utf8 or chunk.text.encode(errors="surrogatepass")
        for chunk in reading.chunks(source, encoding)
    )
    lines = text.split(b"\n")
    if not parsed.batches:
        assert not text.strip(b" \t\r\n") or parsed.rejected
        return
    form = dialect.detect(text.decode(errors="replace").replace("\ufffd", "?"), whole=True)
    taken = Counter()
    for position, row in zip(parsed.positions, parsed.rows, strict=True):
        taken.update(range(position, position + 1 + sum((cell or "").count("\n") for cell in row)))
    for one in parsed.rejected:
        count = one.raw.decode(encoding.codec, "replace").count(
            "\n" if encoding.line_end == "\n" else "\r"
        )
        taken.update(range(one.position, one.position + 1 + count))
    assert set(taken.values()) <= {1}
    for number, line in enumerate(lines, 1):
        if number < form.first_line or not line.strip(b" \r"):
            continue
        if form.directives and line.startswith(b"#"):
            continue
        assert number in taken, (number, line)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_line_of_arbitrary_bytes_is_lost(data):
    accounted(data)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([b"a", b"1", b",", b",", b";", b'"', b'""', b"\n", b"\n", b"\r\n", b" ", b"\xe9",
                         b"\t", b"#", b"'"]),
        max_size=80,
    ).map(b"".join)
)  # fmt: skip
def test_no_line_of_something_like_a_table_is_lost(data):
    accounted(data)
    accounted(b"alpha,beta\n" + data)
