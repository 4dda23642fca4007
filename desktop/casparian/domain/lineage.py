"""Identity: each hash of DESIGN's table is computed by exactly one function, and this is its home."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import blake3

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casparian.domain.contracts import Column

LINEAGE_KEY = b"cf.lineage"
"""Where in its metadata a Parquet file says what it holds and from where, as JSON."""

_END = b"\x1f"


def schema_hash(columns: Iterable[Column]) -> str:
    """BLAKE3 of the canonical JSON of the columns: name, type and nullability, in order."""
    rows = [[column.name, column.type, column.nullable] for column in columns]
    return blake3.blake3(
        json.dumps(rows, separators=(",", ":")).encode("utf-8", "surrogatepass")
    ).hexdigest()


def layout_key(parser: str, columns: Sequence[str]) -> str:
    """BLAKE3 that names a layout: the same parser and header, in order, give the same table."""
    text = json.dumps([parser, *columns], separators=(",", ":"))
    return blake3.blake3(text.encode("utf-8", "surrogatepass")).hexdigest()


def artifact_hash(source: bytes, dependencies: str, manifest: str, schemas: str) -> str:
    """SHA-256 over a parser's source, pinned distributions, manifest and schemas, each ended by 0x1f."""
    digest = hashlib.sha256()
    for part in (source, dependencies.encode(), manifest.encode(), schemas.encode()):
        digest.update(part)
        digest.update(_END)
    return digest.hexdigest()


def output_target_key(output: str, sink_uri: str, mode: str, table: str, schema: str) -> str:
    """BLAKE3 over where an output's rows go and in what shape; credentials never enter a key."""
    return _joined(output, without_credentials(sink_uri), mode, table, schema)


def materialization_key(target_key: str, source_hash: str, artifact: str) -> str:
    """BLAKE3 that says: this content, read by this parser, is in this output."""
    return _joined(target_key, source_hash, artifact)


def without_credentials(uri: str) -> str:
    """Return a sink's or a store's address without user name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _joined(*parts: str) -> str:
    digest = blake3.blake3()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(_END)
    return digest.hexdigest()
