"""A table with every hard type, and what a manifest of it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from casparian.catalog.export import ManifestFacts, SourceFact

AT = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)

HARD = {
    "yes": ("boolean", [True, False, None]),
    "whole": ("int64", [2**63 - 1, -(2**53) - 1, None]),
    "real": ("float64", [0.1, float("nan"), float("-inf")]),
    "exact": ("decimal(20,2)", [Decimal("123456789012345678.90"), Decimal("-0.50"), None]),
    "day": ("date", [19_061, -134_774, 10_540_425]),
    "clock": ("time", [59_630_089_354, 0, None]),
    "local": ("timestamp", [1_646_930_030_089_354, -11_644_473_600_000_000, None]),
    "instant": (
        "timestamp_utc",
        [1_646_930_030_089_354, -11_644_473_600_000_000, 910_692_730_085_477_580],
    ),
    "lasted": ("duration", [-5, 90_061_000_001, None]),
    "said": (
        "string",
        ['=1+1,"quoted"\nsecond line', "", "NUL \0 bell \x07 CR \r _x0041_ \ufffe 😀 <&>\u202e"],
    ),
    "formula": ("string", ["@SUM(A1)", "\uff1dcmd", "-5"]),
    "bytes": ("binary", [b"\x00\xff", b"", None]),
    "object": ("json", ['{"a": "b\\nc",\n "d": [1, 2.50]}', '"text"', "null"]),
    "many": ("list<string>", [["a", None, 'say "b"'], [], None]),
    "parts": (
        "struct<at:timestamp_utc,n:list<int64>>",
        [{"at": 0, "n": [1]}, {"at": None, "n": None}, None],
    ),
    '=name,"odd"': ("string", ["x", "y", None]),
}


def about(**options):
    facts = {"workspace": "default", "program_version": "0.0.0", "exported_at": AT}
    facts["sources_of"] = lambda hashes: [
        SourceFact(f"evidence/{int(one, 16)}.evtx", one, f"sha256-{int(one, 16)}") for one in hashes
    ]
    return ManifestFacts(**(facts | options))
