"""One at a time in a DuckDB file, in the order they came."""

from __future__ import annotations

import threading

import pytest

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled, EnvironmentProblem
from casparian.duckfiles import exclusively


class Holder(threading.Thread):
    """Has a file until told to leave."""

    def __init__(self, path, *, let_go=None):
        super().__init__()
        self.path, self.let_go = path, let_go
        self.has, self.leave = threading.Event(), threading.Event()

    def run(self):
        with exclusively(self.path, let_go=self.let_go):
            self.has.set()
            self.leave.wait(10)

    def __enter__(self):
        self.start()
        assert self.has.wait(10)
        return self

    def __exit__(self, *_):
        self.leave.set()
        self.join()


def test_others_wait_in_the_order_they_came(tmp_path):
    path, came, joined = tmp_path / "a.duckdb", [], threading.Event()

    def take(name):
        with exclusively(path):
            came.append(name)

    waiting = [threading.Thread(target=take, args=(name,)) for name in "abc"]
    with Holder(path, let_go=joined.set):
        for one in waiting:
            joined.clear()
            one.start()
            assert joined.wait(10)
    for one in waiting:
        one.join()

    assert came == ["a", "b", "c"]


def test_who_has_a_file_is_asked_to_let_go_by_everyone_who_comes(tmp_path):
    path, asked = tmp_path / "a.duckdb", []

    with Holder(path, let_go=lambda: asked.append(1)):
        for _ in range(2):
            with pytest.raises(EnvironmentProblem) as told, exclusively(path, wait_s=0):
                pass
            assert told.value.retryable

    assert asked == [1, 1]


def test_waiting_can_be_cancelled(tmp_path):
    token = CancelToken()

    with Holder(tmp_path / "a.duckdb"):
        token.cancel()
        with pytest.raises(Cancelled), exclusively(tmp_path / "a.duckdb", cancel=token):
            pass


def test_files_do_not_wait_for_each_other(tmp_path):
    with Holder(tmp_path / "a.duckdb"), exclusively(tmp_path / "b.duckdb", wait_s=0):
        pass


def test_a_link_is_the_file_it_leads_to(tmp_path):
    (tmp_path / "a.duckdb").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a.duckdb")

    with (
        Holder(tmp_path / "a.duckdb"),
        pytest.raises(EnvironmentProblem),
        exclusively(tmp_path / "link", wait_s=0),
    ):
        pass


def test_an_error_inside_gives_the_file_back(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusively(tmp_path / "a.duckdb"):
        raise ZeroDivisionError

    with exclusively(tmp_path / "a.duckdb", wait_s=0):
        pass
