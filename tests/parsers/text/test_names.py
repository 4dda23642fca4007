"""Names that SQL can take, from whatever a file calls its columns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian.parsers.text.names import column_names, table_name


@pytest.mark.parametrize(
    ("headings", "names"),
    [
        (["Key name", "# values", "Last write timestamp"], ("Key_name", "values", "Last_write_timestamp")),
        (["id.orig_h", "cs(User-Agent)"], ("id_orig_h", "cs_User_Agent")),
        (["_path", "@stream"], ("_path", "stream")),
        (["a", "A", "a"], ("a", "A_2", "a_3")),
        (["a", "a_2", "a"], ("a", "a_2", "a_3")),
        (["", "x", "  ", "###"], ("column_1", "x", "column_3", "column_4")),
        (["column_2", ""], ("column_2", "column_2_2")),
        (["_cf_row", "_CF_x", "cf_row"], ("cf_row", "CF_x", "cf_row_2")),
        (["2020", "1st"], ("c_2020", "c_1st")),
        (["Größe", "名前"], ("Größe", "名前")),
        (["a\x00b", "c\nd"], ("a_b", "c_d")),
    ],
)  # fmt: skip
def test_headings_become_names(headings, names):
    assert column_names(headings) == names


@settings(deadline=None)
@given(st.lists(st.text()))
def test_names_are_safe_unique_and_always_the_same(headings):
    names = column_names(headings)
    assert names == column_names(headings)
    assert len({name.casefold() for name in names}) == len(names) == len(headings)
    for name in names:
        assert re.fullmatch(r"[^\W\d]\w*", name)
        assert not name.casefold().startswith("_cf_")


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("AppCompatCacheParser_SYSTEM.csv", "appcompatcacheparser_system"),
        ("20220528_KAPE CopyLog.csv", "t_20220528_kape_copylog"),
        ("conn.log", "conn"),
        ("archive.tar.gz", "archive_tar"),
        (".csv", "csv"),
        ("...", "table"),
        ("_hidden", "hidden"),
    ],
)
def test_a_table_is_named_after_the_stem(file, table):
    assert table_name(file) == table


@settings(deadline=None)
@given(st.text())
def test_any_file_name_gives_a_table_name(file):
    assert re.fullmatch(r"[^\W\d]\w*", table_name(file))
