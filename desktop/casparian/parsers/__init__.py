"""One module or package per artifact; a parser knows only `casparian.api` and its format's library.

`BUILTIN` names the parsers that come with the program; each is imported when it is first asked for,
so that a worker pays only for the one it runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from casparian.api import Parser

BUILTIN = {
    "evtx": "casparian.parsers.evtx:EvtxParser",
    "delimited": "casparian.parsers.delimited:Delimited",
    "jsonlines": "casparian.parsers.jsonlines:JsonLines",
}


def load(name: str) -> type[Parser]:
    """Import the class of a built-in parser.

    Raises:
        KeyError: there is no parser of that name.
    """
    module, _, attribute = BUILTIN[name].partition(":")
    return cast("type[Parser]", getattr(import_module(module), attribute))
