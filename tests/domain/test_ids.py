"""Ids sort by the time they were made."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

from casparian.domain.ids import new_id


def test_ids_are_uuid7_and_increase():
    made = [new_id() for _ in range(10_000)]

    assert made == sorted(set(made))
    assert {uuid.UUID(one).version for one in made} == {7}
    assert {uuid.UUID(one).variant for one in made} == {uuid.RFC_4122}


def test_ids_of_many_threads_are_distinct():
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_id(), range(20_000)))

    assert len(set(made)) == len(made)


def test_an_id_comes_after_one_of_a_host_whose_clock_is_ahead():
    ahead = f"{0xFFFFFFFFFF00:012x}"
    other = f"{ahead[:8]}-{ahead[8:]}-7fff-8000-000000000000"

    made = new_id(other)

    assert other < made < new_id()
    assert uuid.UUID(made).version == 7
