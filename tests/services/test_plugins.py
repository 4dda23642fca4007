"""Who a parser is: its source, and everything of ours and of others that it is made of."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from casparian import parsers
from casparian.services import plugins


@pytest.mark.parametrize("name", list(parsers.BUILTIN))
def test_every_parser_is_described_for_people_and_identified(name):
    kind, info = parsers.load(name), plugins.parser_info(name)

    assert kind.__doc__
    assert info.name == name == kind.name
    assert len(info.artifact_hash) == 64
    assert info.topics
    for output in kind.outputs:
        assert output.doc
        assert all(column.doc for column in output.columns)
        assert len({column.name for column in output.columns}) == len(output.columns)
        assert not any(column.name.startswith("_cf_") for column in output.columns)


def test_the_modules_that_a_parser_is_made_of_are_part_of_it():
    kind = parsers.load("delimited")

    sources = plugins._sources(inspect.getmodule(kind))

    from casparian.parsers.text import dialect

    assert inspect.getsource(dialect).encode() in sources
    assert len(sources) > 2


def test_every_module_of_a_parser_that_is_a_package_is_part_of_it():
    kind = parsers.load("evtx")
    folder = Path(inspect.getfile(kind)).parent

    assert {one.read_bytes() for one in folder.glob("*.py")} <= set(
        plugins._sources(inspect.getmodule(kind))
    )


def test_another_version_of_a_library_is_another_parser(monkeypatch):
    kind = parsers.load("evtx")
    before = plugins._artifact_hash(kind)
    monkeypatch.setattr(plugins, "version", lambda _: "99")

    assert kind.libraries
    assert plugins._artifact_hash(kind) != before
