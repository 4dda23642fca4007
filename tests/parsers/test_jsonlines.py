"""JSON records: every object is a row, and everything else is in quarantine."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from casparian.parsers import jsonlines
from casparian.parsers.jsonlines import JsonLines
from casparian.parsers.text import reading
from golden.parsers import text_cases
from helpers.parse_context import Parsed, parse_bytes, parse_file

if TYPE_CHECKING:
    from pathlib import Path


def parse(data: bytes | str, name: str = "file.jsonl") -> Parsed:
    return parse_bytes(JsonLines(), data.encode() if isinstance(data, str) else data, name)


# --- the real files --------------------------------------------------------------------------------

DIFFERENCES = {
    # path: (rows, quarantined), and why that is not what Python's json module counts
    "corrupt/jsonl/invalid_utf8.jsonl": (2, 1),  # it was given the text with the byte replaced
    "corrupt/json/truncated.json": (16, 1),  # it gives up; 16 elements are whole
    "corrupt/json/zero_length.json": (0, 0),
}


def test_the_real_files_give_as_many_records_as_independent_readers_count(evidence: Path):
    expected = json.loads((evidence / "expected.json").read_bytes())
    seen = Counter()
    for entry in (*expected["files"], *expected["corrupt"]):
        figures = entry["figures"].get("python_json")
        if figures is None:
            continue
        parsed = parse_file(JsonLines(), evidence / entry["path"])
        found = len(parsed.rows), len(parsed.rejected)
        if entry["path"] in DIFFERENCES:
            assert found == DIFFERENCES[entry["path"]], entry["path"]
        elif "records" in figures:
            assert found == (figures["records"], 0), entry["path"]
        else:
            bad = figures["bad_lines"] + figures["other_values"]
            assert found == (figures["objects"], bad), entry["path"]
            assert len(parsed.columns) == figures["distinct_top_level_keys"], entry["path"]
        seen["different" if entry["path"] in DIFFERENCES else "equal"] += 1
    assert seen == {"equal": 29, "different": 3}


def test_cloudtrail_names_and_times_are_those_of_another_reader(evidence: Path):
    expected = json.loads((evidence / "expected.json").read_bytes())
    logs = [entry for entry in expected["files"] if entry["kind"] == "json-cloudtrail"]
    for entry in logs:
        figures = entry["figures"]["python_json"]
        parsed = parse_file(JsonLines(), evidence / entry["path"])
        names = Counter(parsed.values("eventName"))
        assert {name: names[name] for name in figures["event_names"]} == figures["event_names"]
        assert parsed.types["eventTime"] == "timestamp_utc"
        times = sorted(row[parsed.columns.index("eventTime")] for row in parsed.rows)
        assert (times[0], times[-1]) == (figures["first"], figures["last"])
    assert len(logs) == 12


def test_every_value_of_the_real_files_means_what_the_json_module_reads(evidence: Path):
    for path in sorted((evidence / "json").rglob("*.*")):
        text = path.read_text(encoding="utf-8")
        if "cloudtrail/" in str(path):
            records = json.loads(text)["Records"]
        else:
            records = [json.loads(line) for line in text.splitlines()]
        parsed = parse_file(JsonLines(), path)
        fields = parsed.batches[0].rows.schema
        keys = [field.metadata[b"cf.heading"].decode() for field in fields]
        quoted = {field.name: field.metadata[b"cf.types"] == b"json" for field in fields}
        for record, row in zip(records, parsed.rows, strict=True):
            for key, name, cell in zip(keys, parsed.columns, row, strict=True):
                value = record.get(key)
                if value is None or (isinstance(value, str) and not quoted[name]):
                    assert cell == value
                else:
                    assert json.loads(cell) == value


def test_broken_lines_keep_their_numbers_and_bytes(evidence: Path):
    path = evidence / "corrupt/jsonl/broken_lines.jsonl"
    lines = path.read_bytes().split(b"\n")
    parsed = parse_file(JsonLines(), path)
    assert len(parsed.rejected) == 19
    for one in parsed.rejected:
        assert one.raw == lines[one.position - 1].strip()


def test_a_truncated_list_keeps_its_whole_elements(evidence: Path):
    parsed = parse_file(JsonLines(), evidence / "corrupt/json/truncated.json")
    assert parsed.positions == list(range(1, 17))
    assert parsed.violations == [(17, "truncated")]
    assert parsed.rejected[0].message == "Element 17 is cut off: the file ends within it"


# --- how records lie in a file ---------------------------------------------------------------------

RECORDS = [{"a": 1, "b": "x,}]"}, {"a": 2, "b": '{"[\\\\"'}, {"a": 3, "b": None}]
ROWS = [("1", "x,}]"), ("2", '{"[\\\\"'), ("3", None)]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, RECORDS)),
        "\r\n\r\n".join(map(json.dumps, RECORDS)) + "\r\n",
        "\ufeff" + "\n".join(map(json.dumps, RECORDS)) + "\n",
        "\x1e" + "\n\x1e".join(map(json.dumps, RECORDS)) + "\n",
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2),
        "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]\n",
        json.dumps({"Records": RECORDS}),
        json.dumps({"next": None, "Records": RECORDS}, indent=1),
        json.dumps({"value": RECORDS, "count": 3}),
        "\n".join(json.dumps(record, indent=4) for record in RECORDS),
        "".join(json.dumps(record, indent=4) for record in RECORDS),
    ],
    ids=["lines", "crlf", "bom", "sequence", "array", "indented", "array of lines", "list", "list behind",
         "list before", "documents", "documents joined"],
)  # fmt: skip
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_the_same_records_in_every_form_are_the_same_rows(text, codec):
    if codec == "utf-16":
        text = "\ufeff" + text.removeprefix("\ufeff")
        parsed = parse(text.encode("utf-16-le"))
    else:
        parsed = parse(text)
    assert parsed.rows == ROWS
    assert parsed.rejected == []
    assert parsed.types == {"a": "int64", "b": "string"}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '{"a": 1, "b": [{"c": 1}], "d": "a long text that outweighs the list"}',
        '{\n  "a": 1,\n  "b": {"c": [1, 2]}\n}\n',
        '{"x": [{"a": 1}], "y": [{"b": 1}]}',
        '{"x": [1, 2, 3]}',
        '{"x": []}',
    ],
)
def test_one_object_that_is_no_wrapper_is_one_record(text):
    parsed = parse(text)
    assert len(parsed.rows) == 1
    assert parsed.rejected == []


def test_what_stands_beside_a_list_is_told():
    parsed = parse('{"token": "t", "Records": [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}], "n": 1}')
    assert len(parsed.rows) == 4
    assert parsed.warnings == [
        'The records are those of "Records"; beside it the file has "token", "n"'
    ]


def test_lines_with_blank_lines_between_keep_their_numbers():
    assert parse('\n{"a": 1}\n\n \n{"a": 2}').positions == [2, 5]


def test_a_broken_first_line_does_not_make_lines_something_else():
    parsed = parse('{"a": 1, "b\n{"a": 2}\n{"a": 3}\n')
    assert parsed.positions == [2, 3]
    assert parsed.violations == [(1, "bad_json")]


@pytest.mark.parametrize("data", ["", "\n \r\n", "[]", "[ ]\n", '{"Records": []}'[:0]])
def test_a_file_without_records_says_so(data):
    parsed = parse(data)
    assert (parsed.rows, parsed.rejected) == ([], [])
    assert parsed.warnings == ["The file holds no records"]


# --- values ----------------------------------------------------------------------------------------


def types_of(*values: str) -> str:
    return parse("\n".join(f'{{"v": {value}}}' for value in values)).types["v"]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (("1", "-2", "null"), "int64"),
        (("1", "2.5"), "float64"),
        (("1e5", "2E-7"), "float64"),
        (("9007199254740993", "0.5"), "string"),
        (("9" * 5000,), "string"),
        (("0.1234567890123456789",), "string"),
        (("true", "false"), "boolean"),
        (('"true"', '"false"'), "string"),
        (('"1"', '"2"'), "string"),
        (('"2022-03-10"',), "date"),
        (('"2022-03-10"', '"2022-03-10T10:00:00"'), "timestamp"),
        (('"2022-03-10T10:00:00Z"', "null"), "timestamp_utc"),
        (('"2022-03-10"', '""'), "string"),
        (("null",), "null"),
        (('""', "null"), "string"),
        (("{}", "[1]"), "json"),
        (("1", "true"), "json"),
        (("1", "[1]"), "json"),
        (("1", '"x"'), "string"),
        (("1", '"1"'), "json"),
        (("[1]", '"[1]"'), "json"),
        (("true", '"true"'), "json"),
        (("{}", '"text"'), "string"),
    ],
)
def test_types_follow_the_kinds_of_json(values, word):
    assert types_of(*values) == word


def test_mixed_kinds_can_still_be_told_apart():
    assert parse('{"v": 1}\n{"v": "x"}\n{"v": [1,  2]}').rows == [("1",), ("x",), ("[1,  2]",)]
    assert parse('{"v": 1}\n{"v": "1"}\n{"v": null}').rows == [("1",), ('"1"',), (None,)]


def test_the_empty_text_is_not_null():
    assert parse('{"v": ""}\n{"v": null}\n{}').rows == [("",), (None,), (None,)]


def test_nested_values_stay_as_they_are_written():
    assert parse('{"v": {"a":1.0,  "a":"\\u00e9\\ud800"}}').rows == [
        ('{"a":1.0,  "a":"\\u00e9\\ud800"}',)
    ]


def test_escapes_and_controls_are_read():
    text = r'{"v": "tab\t \"q\" \\ \u00e9 \ud83d\ude00 \u0000"}'
    assert parse(text).rows == [('tab\t "q" \\ é 😀 \0',)]


def test_columns_come_in_the_order_of_first_appearance_with_safe_names():
    parsed = parse('{"id.orig": 1, "@t": 2}\n{"_cf_row": 3, "": 4, "ID orig": 5}\n')
    assert parsed.columns == ("id_orig", "t", "cf_row", "column_4", "ID_orig_2")


def test_a_key_that_is_named_twice_loses_nothing():
    parsed = parse('{"a": 1, "b": 2, "a": "x", "a": [3]}\n{"a": 4}\n{"a_2": 5}')
    assert parsed.columns == ("a", "b", "a_2", "a_3", "a_2_2")
    assert parsed.rows[0] == ("1", "2", "x", "[3]", None)
    assert parsed.warnings == [
        'Some records name the key "a" more than once; what they say again is in the column a_2',
        'Some records name the key "a" more than once; what they say again is in the column a_3',
    ]


@pytest.mark.parametrize(
    "text", ['{"a\\"": 1, "a\\"": 2}', '{"\\u0061": 1, "a": 2}', '{"a" : {"a": "\\""} ,"a": ":"}']
)
def test_a_key_that_is_named_twice_is_noticed_however_it_is_written(text):
    assert len(parse(text).rows[0]) == 2


def test_too_many_keys_give_whole_records(monkeypatch):
    monkeypatch.setattr(jsonlines, "_MOST_COLUMNS", 3)
    parsed = parse('{"a": 1, "b": 2}\n{"c": 3, "d": 4}\n')
    assert parsed.columns == ("record",)
    assert parsed.rows == [('{"a": 1, "b": 2}',), ('{"c": 3, "d": 4}',)]
    assert parsed.types == {"record": "json"}


def test_empty_objects_are_records():
    assert len(parse("{}\n{}\n").rows) == 2


def test_times_that_are_finer_than_a_timestamp_are_told():
    assert parse('{"at": "2022-03-10T16:33:50.0893545Z"}').warnings == [
        "Times in at have more than six fraction digits; a column of times keeps microseconds"
    ]


# --- bad records -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "violation"),
    [
        (b"nonsense", "bad_json"),
        (b'{"a": 1', "bad_json"),
        (b'{"a": 1,}', "bad_json"),
        (b'{"a": 1} {"a": 2}', "bad_json"),
        (b'{"a": NaN}', "bad_json"),
        (b'{"a": NaN, "b": "\\ud800"}', "bad_json"),
        (b'{"a": 01}', "bad_json"),
        (b'{"a": "tab\tin text"}', "bad_json"),
        (b'{"a": "\x00"}', "bad_json"),
        (b"{'a': 1}", "bad_json"),
        (b"5", "not_object"),
        (b'"text"', "not_object"),
        (b"[1, 2]", "not_object"),
        (b"null", "not_object"),
        (b'["\\ud800"]', "not_object"),
        (b'{"a": "caf\xe9"}', "encoding"),
        (b'{"a": "\xed\xa0\x80"}', "encoding"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
        (b'{"a": ' + b"[" * 100_000, "too_deep"),
        (b'{"b": "\\ud800", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
    ],
)
def test_a_line_that_is_no_object_goes_to_quarantine_with_its_bytes(line, violation):
    parsed = parse(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    assert parsed.rows == [("1",), ("2",)]
    assert parsed.violations == [(2, violation)]
    assert parsed.rejected[0].raw == line


@pytest.mark.parametrize(
    ("text", "rows", "violations"),
    [
        ('[{"a": 1}, {"a": tru}, {"a": 3}]', 2, [(2, "bad_json")]),
        ('[{"a": 1}, 5, "x,y", [], {"a": 2}]', 2, [(2, "not_object"), (3, "not_object"), (4, "not_object")]),
        ('[{"a": 1}, nonsense, {"a": 2}]', 2, [(2, "bad_json")]),
        ('[{"a": 1},, {"a": 2} {"a": 3},]', 3, []),
        ('[{"a": 1}, {"a": [1}, {"a": 3}]', 2, [(2, "bad_json")]),
        ('[{"a": 1}, {"a": {"b": 1}, {"a": 3}, {"a": 4}]', 3, [(2, "bad_json")]),
        ('[{"a": 1}}, {"a": 2}]', 2, [(2, "bad_json")]),
        ('[{"a": 1}, {"a": 2}', 2, [(3, "truncated")]),
        ('[{"a": 1}, {"a": 2', 1, [(2, "truncated")]),
        ('[{"a": 1}, {"a": "2', 1, [(2, "truncated")]),
        ('[\n{"a":\n1}\n]\n{"a": 2}', 1, [(2, "bad_json")]),
        ('[{"a": 1}, 7', 1, [(2, "not_object"), (3, "truncated")]),
        ('[\n{"a": 1},\n{"a": "open},\n{"a": 3}\n]', 2, [(2, "bad_json")]),
        ('{\n"a": 1\n}\n{\n"a": nope\n}\n{\n"a": 3\n}', 2, [(2, "bad_json")]),
        ('{\n"a": 1\n}\ngarbage\n{\n"a": 3\n}', 2, [(2, "bad_json")]),
        ("[" * 100_000, 0, [(1, "truncated")]),
        ("[" * 100_000 + "]" * 100_000, 0, [(1, "not_object")]),
        ('{"Records": [{"a": 1}, {"a": 2}, {"a":', 2, [(3, "truncated")]),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_array_costs_that_element(text, rows, violations):
    parsed = parse(text)
    assert len(parsed.rows) == rows
    assert parsed.violations == violations


def test_the_rest_of_a_cut_element_is_kept_as_read():
    assert parse('[{"a": 1}, {"a": "2').rejected[0].raw == b'{"a": "2'


@pytest.mark.parametrize("size", [16, 64, 1000])
def test_elements_may_lie_across_blocks(monkeypatch, size):
    monkeypatch.setattr(reading, "CHUNK_BYTES", size)
    records = [{"n": n, "text": 'é\\"{[' * n} for n in range(60)]
    parsed = parse(json.dumps(records, ensure_ascii=False, indent=1))
    assert parsed.rows == [(str(record["n"]), record["text"]) for record in records]
    parsed = parse(json.dumps({"x": 1, "items": records}))
    assert parsed.rows == [(str(record["n"]), record["text"]) for record in records]


@pytest.mark.parametrize("value", ['"%s"' % ("x\\\\" * 3000), f"[{','.join(['[1,2]'] * 2000)}]"])
def test_an_element_too_long_to_hold_costs_only_itself(monkeypatch, value):
    monkeypatch.setattr(reading, "CHUNK_BYTES", 64)
    monkeypatch.setattr(jsonlines, "_LONGEST_BYTES", 1000)
    parsed = parse(f'[{{"a": 1}}, {{"a": {value}}}, {{"a": 3}}]')
    assert parsed.rows == [("1",), ("3",)]
    assert parsed.violations == [(2, "overlong")]


def test_a_line_too_long_to_hold_costs_only_itself(monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_BYTES", 64)
    monkeypatch.setattr(reading, "LONGEST_LINE_BYTES", 1000)
    monkeypatch.setattr(jsonlines, "_HEAD_BYTES", 64)
    parsed = parse('{"a": 1}\n{"a": 2}\n{"a": "%s"}\n{"a": 3}\n' % ("x" * 5000))
    assert parsed.positions == [1, 2, 4]
    assert parsed.violations == [(3, "overlong")]


def test_batches_are_bounded_by_cells(monkeypatch):
    monkeypatch.setattr(jsonlines, "_BATCH_CELLS", 400)
    parsed = parse("\n".join(json.dumps({f"k{m}": n for m in range(4)}) for n in range(250)))
    assert [batch.rows.num_rows for batch in parsed.batches] == [100, 100, 50]


# --- golden files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", text_cases.folders()["jsonlines"])
def test_a_golden_file_gives_what_it_gave(name):
    path = text_cases.FOLDER / "jsonlines" / name
    assert path.read_bytes() == text_cases.folders()["jsonlines"][name]
    golden = path.with_name(f"{name}.rows.jsonl").read_text(encoding="utf-8")
    assert text_cases.lines(parse(path.read_bytes(), name)) == golden.splitlines()


# --- whatever comes --------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        TEXTS,
        st.sampled_from(["1", "true", "null", "[1]", "2022-03-10", "2022-03-10T10:00:00Z", ""]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
OBJECTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=5), min_size=2, max_size=8)


@settings(deadline=None)
@given(OBJECTS, st.sampled_from(["lines", "array", "indented", "list", "documents"]), st.booleans())
def test_every_value_comes_back_with_its_kind(records, form, ascii_only):
    assume(any(records))

    def dump(value: object, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    text = {
        "lines": "\n".join(map(dump, records)),
        "array": dump(records),
        "indented": dump(records, 2),
        "list": dump({"Records": records}),
        "documents": "\n".join(dump(one, 1) for one in records),
    }[form]
    if form == "documents":
        assume(all(records))  # an empty object is a line of its own
    parsed = parse(text)
    assert parsed.rejected == []
    assert len(parsed.rows) == len(records)
    schema = parsed.batches[0].rows.schema
    keys = [field.metadata[b"cf.heading"].decode() for field in schema]
    tried = [field.metadata[b"cf.types"] for field in schema]
    for record, row in zip(records, parsed.rows, strict=True):
        for key, words, cell in zip(keys, tried, row, strict=True):
            value = record.get(key)
            if value is None:
                assert cell is None
            elif isinstance(value, str) and words != b"json":
                assert cell == value
            else:
                assert json.loads(cell) == value
    for name in parsed.columns:
        parsed.values(name)  # every text reads as the type that is left


def rows_and_rejected(data: bytes) -> int:
    parsed = parse(data)
    return len(parsed.rows) + len(parsed.rejected)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=10))
def test_no_line_of_arbitrary_bytes_is_lost(lines):
    lines = [b'{"a": 1}', *lines, b'{"a": 2}']
    data = b"\n".join(lines)
    assume(not data.startswith((b"\xff\xfe", b"\xfe\xff")))
    assert rows_and_rejected(data) == sum(bool(line.strip(b" \t\r\x1e")) for line in lines)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise_and_never_vanish(data):
    parsed = parse(data)
    assert parsed.rows or parsed.rejected or parsed.warnings


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([*'{}[],:" \n1a\\', '{"a": 1}', '"a"', "true", '{"a":']), max_size=60
    ).map("".join)
)
def test_something_like_json_never_raises(text):
    for start in ("", "[", '{"x": [', '[{"a": 0}, '):
        parsed = parse(start + text)
        if '{"a": 0}' in start:
            assert parsed.rows or parsed.rejected


@settings(deadline=None)
@given(OBJECTS, st.data())
def test_an_array_that_is_cut_keeps_what_is_whole(records, data):
    text = json.dumps(records)
    ends = [len(json.dumps(records[:n])) - 1 for n in range(1, len(records) + 1)]
    cut = data.draw(st.integers(1, len(text) - 1))
    parsed = parse(text[:cut])
    assert len(parsed.rows) == sum(end <= cut for end in ends)
    assert [one.violation for one in parsed.rejected] == ["truncated"]
