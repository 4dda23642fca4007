"""A case with committed tables, and a reader over its catalog."""

from __future__ import annotations

import pytest

from helpers.tables import Case


@pytest.fixture
def case(tmp_path):
    """A home without tables."""
    return Case(tmp_path / "home")


@pytest.fixture
def opened(case):
    """Opens readers that are closed when the test is over."""
    readers = []

    def open_reader(**options):
        readers.append(case.reader(**options))
        return readers[-1]

    yield open_reader
    for one in readers:
        one.close()
