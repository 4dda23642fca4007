"""Which files share a table, where the keys of records are optional."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.layouts import MIN_SHARED, kin

FRAME = ["ts", "uid", "host", "port"]
TRAIL = ["eventVersion", "userIdentity", "eventTime", "eventSource", "eventName", "awsRegion"]


def test_a_file_with_a_few_keys_more_or_less_joins():
    assert kin([*TRAIL, "errorCode"], {"trail": TRAIL}) == "trail"
    assert kin(TRAIL[:-1], {"trail": TRAIL}) == "trail"


def test_logs_that_share_only_their_frame_stay_apart():
    dns = [*FRAME, "proto", "query", "rcode", "ttl", "answers"]
    http = [*FRAME, "proto", "method", "uri", "status", "agent"]

    assert kin(dns, {"http": http}) is None


def test_a_handful_of_keys_says_nothing():
    assert kin(["id", "name"], {"other": ["id", "name", "size"]}) is None


def test_the_table_that_knows_most_of_the_keys_is_taken():
    known = {"narrow": TRAIL[:5], "wide": [*TRAIL, "errorCode"]}

    assert kin([*TRAIL, "errorCode"], known) == "wide"


def test_names_that_differ_only_in_case_stay_apart():
    assert kin([*TRAIL, "Region"], {"other": [*TRAIL, "region"]}) is None


sets = st.sets(st.sampled_from("abcdefghijklmnop"), max_size=12).map(sorted)


@given(sets, st.dictionaries(st.text("xyz", min_size=1, max_size=3), sets, max_size=5))
def test_what_is_joined_shares_enough_and_the_order_does_not_matter(columns, known):
    found = kin(columns, known)

    assert found == kin(columns[::-1], dict(reversed(known.items())))
    if found is not None:
        shared = set(columns) & set(known[found])
        assert len(shared) >= MIN_SHARED
