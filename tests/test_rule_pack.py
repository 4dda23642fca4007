"""The built-in pack gives every file that the parsers here read the right tag, and no other file."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from casparian.domain.cancel import CancelToken
from casparian.domain.evidence import shown_path
from casparian.domain.rules import Rule, compiled, load_pack
from casparian.scout.hashing import hash_file
from casparian.scout.kinds import KINDS
from casparian.scout.walk import Found, walk

TOPICS = {"evtx", "delimited", "jsonl"}


@pytest.fixture(scope="module")
def pack() -> list[Rule]:
    return load_pack((Path(__file__).parents[1] / "resources" / "rules.toml").read_text("utf-8"))


def tags(pack: list[Rule], path: str, kind: str) -> set[str]:
    return {rule.tag for rule in pack if compiled(rule).matches(path, kind, 1)}


def test_the_pack_names_kinds_that_exist_and_topics_that_are_read(pack: list[Rule]) -> None:
    assert {kind for rule in pack for kind in rule.kinds} <= KINDS
    assert {rule.tag for rule in pack} == TOPICS
    assert all(rule.note and rule.kinds for rule in pack)


@pytest.mark.parametrize(
    ("path", "kind", "expected"),
    [
        ("C/Windows/System32/winevt/Logs/Security.evtx", "evtx", {"evtx"}),
        ("renamed.csv", "evtx", {"evtx"}),
        ("hive.evtx", "registry", set()),
        ("empty.evtx", "empty", set()),
        ("zeek/conn.log", "delimited", {"delimited"}),
        ("one_column.csv", "text", {"delimited"}),
        ("one_column.txt", "text", set()),
        ("events.json", "jsonl", {"jsonl"}),
        ("cloudtrail.json", "json", {"jsonl"}),
        ("broken.ndjson", "text", {"jsonl"}),
        ("picture.json", "png", set()),
        ("syslog", "text", set()),
    ],
)
def test_the_bytes_decide_and_the_name_helps_with_plain_text(
    pack: list[Rule], path: str, kind: str, expected: set[str]
) -> None:
    assert tags(pack, path, kind) == expected


def test_real_evidence_is_tagged_by_what_it_is(pack: list[Rule], evidence: Path) -> None:
    root = os.fsencode(evidence)
    tagged = defaultdict(set)
    for found in walk(root, is_folder=True, cancel=CancelToken()):
        assert isinstance(found, Found)
        hashed = hash_file(root + b"/" + found.path_bytes, CancelToken())
        path = shown_path(found.path_bytes)
        for tag in tags(pack, path, hashed.kind):
            tagged[tag].add(path)
    real = {
        tag: {path for path in paths if "/" in path and not path.startswith("corrupt/")}
        for tag, paths in tagged.items()
    }

    assert len(real["evtx"]) == 54
    assert (
        len(real["delimited"]) == 9 + 5 + 7 + 1
    )  # CSV, Zeek, IIS, and the log of Windows Firewall
    assert len(real["jsonl"]) == 13 + 12
    assert not any(first & second for first, second in [
        (tagged["evtx"], tagged["delimited"]),
        (tagged["evtx"], tagged["jsonl"]),
        (tagged["delimited"], tagged["jsonl"]),
    ])  # fmt: skip
