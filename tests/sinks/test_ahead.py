"""Reading ahead."""

from __future__ import annotations

import threading

import pytest

from casparian.sinks.ahead import Ahead


def running():
    return [one for one in threading.enumerate() if one.name == "ahead"]


def test_items_come_in_order_and_the_thread_ends():
    ahead = Ahead(iter(range(100)), "ahead")

    assert list(ahead) == list(range(100))
    ahead.close()
    assert not running()


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise KeyError("2")

    ahead = Ahead(items(), "ahead")
    found = iter(ahead)

    assert next(found) == 1
    with pytest.raises(KeyError):
        next(found)
    ahead.close()


def test_no_more_is_made_than_two_ahead_and_none_when_closed():
    made = []
    third = threading.Event()

    def items():
        for at in range(100):
            made.append(at)
            if at == 3:
                third.set()
            yield at

    ahead = Ahead(items(), "ahead")
    assert next(iter(ahead)) == 0
    assert third.wait(5)

    ahead.close()

    assert not running()
    assert made == [0, 1, 2, 3]
