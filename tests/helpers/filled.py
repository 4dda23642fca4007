"""A case that was taken in and parsed by the real program: a table with quarantine, and one of JSON."""

from __future__ import annotations

import json

PEOPLE = 500


def write_case(write):
    """Write the evidence with the fixture `case`; return its folder."""
    people = [f"{at},person {at % 50},2022-03-{at % 28 + 1:02}T16:33:50Z" for at in range(PEOPLE)]
    events = [
        json.dumps(
            {
                "n": at,
                "who": f"<b>user {at}</b>",
                "detail": {"depth": {"at": at}, "list": [1, "two"]},
            }
        )
        for at in range(20)
    ]
    return write(
        people__csv="\n".join(["id,name,seen", *people, "too,few", "a,b,c,d,e"]) + "\n",
        events__jsonl="\n".join(events) + "\n",
    )  # fmt: skip
