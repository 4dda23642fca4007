"""The parsers there are, and who they are: name, version, topics and the hash of what they are made of."""

from __future__ import annotations

import inspect
import json
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from casparian import parsers
from casparian.domain.lineage import artifact_hash, schema_hash
from casparian.domain.planning import ParserInfo
from casparian.domain.types import READING_VERSION

if TYPE_CHECKING:
    from types import ModuleType

    from casparian.api import Parser


@cache
def parser_info(name: str) -> ParserInfo:
    """Identify a built-in parser."""
    kind = parsers.load(name)
    return ParserInfo(kind.name, kind.version, _artifact_hash(kind), kind.topics)


def all_parsers() -> tuple[ParserInfo, ...]:
    """Every parser that may run, in the order in which plans list them."""
    return tuple(parser_info(name) for name in parsers.BUILTIN)


def _artifact_hash(kind: type[Parser]) -> str:
    source = b"".join(_sources(inspect.getmodule(kind)))
    libraries = "\n".join(f"{name}=={version(name)}" for name in sorted(kind.libraries))
    manifest = json.dumps([kind.name, kind.version, sorted(kind.topics), READING_VERSION])
    schemas = "\n".join(f"{one.name}:{schema_hash(one.columns)}" for one in kind.outputs)
    return artifact_hash(source, libraries, manifest, schemas)


def _sources(module: ModuleType | None) -> list[bytes]:
    """The source of a parser's module and of the parsers' modules that it is made of, by name."""
    found: dict[str, ModuleType] = {}
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one is None or one.__name__ in found:
            continue
        found[one.__name__] = one
        names = {getattr(value, "__module__", "") or "" for value in vars(one).values()}
        names |= {value.__name__ for value in vars(one).values() if inspect.ismodule(value)}
        waiting.extend(
            sys.modules.get(name) for name in names if name.startswith(f"{parsers.__name__}.")
        )
    return [_source_file(found[name]).read_bytes() for name in sorted(found)]


def _source_file(module: ModuleType) -> Path:
    """Where a module's source lies. A frozen program runs its own copy and has the source beside it."""
    return Path(inspect.getfile(module)).with_suffix(".py")
