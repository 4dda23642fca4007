"""The parsers there are, and who they are: name, version, topics and the hash of what they are made of."""

from __future__ import annotations

import inspect
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from casparian import parsers
from casparian.domain.lineage import artifact_hash, schema_hash
from casparian.domain.planning import ParserInfo

if TYPE_CHECKING:
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
    source = Path(inspect.getfile(kind)).read_bytes()
    libraries = "\n".join(f"{name}=={version(name)}" for name in sorted(kind.libraries))
    manifest = json.dumps([kind.name, kind.version, sorted(kind.topics)])
    schemas = "\n".join(f"{one.name}:{schema_hash(one.columns)}" for one in kind.outputs)
    return artifact_hash(source, libraries, manifest, schemas)
