"""A parse context that records what a parser says, and a look at what it yields."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from casparian.api import Batch, Layout, Parser, Rejected
from casparian.domain.inference import Elimination
from casparian.domain.types import read_text

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class RecordingContext:
    name: str = "file"
    path: str = ""
    size_bytes: int = 0
    warnings: list[str] = field(default_factory=list)
    done_bytes: list[int] = field(default_factory=list)

    def warn(self, message: str, offset: int | None = None) -> None:
        self.warnings.append(message)

    def progress(self, done_bytes: int) -> None:
        self.done_bytes.append(done_bytes)


@dataclass
class Parsed:
    """All that a parser said of one file."""

    batches: list[Batch]
    rejected: list[Rejected]
    warnings: list[str]

    @property
    def layout(self) -> Layout:
        return next(one.layout for one in reversed(self.batches) if one.layout)

    @property
    def columns(self) -> tuple[str, ...]:
        return self.layout.columns

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows as text, in order."""
        return [
            row
            for batch in self.batches
            for row in zip(*(column.to_pylist() for column in batch.rows.columns), strict=True)
        ]

    @property
    def positions(self) -> list[int]:
        return [at for batch in self.batches for at in batch.positions.to_pylist()]

    @property
    def violations(self) -> list[tuple[int, str]]:
        return [(one.position, one.violation) for one in self.rejected]

    @cached_property
    def types(self) -> dict[str, str]:
        """What elimination leaves of each column."""
        columns = {name: Elimination() for name in self.columns}
        for batch in self.batches:
            for at, one in enumerate(batch.rows.schema):
                tried = one.metadata[b"cf.types"].decode().split(",")
                columns[one.name].see(batch.rows.column(at), tried)
        return {name: one.type() for name, one in columns.items()}

    def values(self, name: str) -> list[Any]:
        """A column, read as the type that elimination leaves."""
        values: list[Any] = []
        for batch in self.batches:
            read, ok = read_text(self.types[name], batch.rows.column(name))
            assert all(ok.to_pylist())
            values += read.to_pylist()
        return values


def parse_bytes(parser: Parser, data: bytes, name: str = "file.txt") -> Parsed:
    context = RecordingContext(name=name, size_bytes=len(data))
    yielded = list(parser.parse(io.BytesIO(data), context))
    return Parsed(
        [one for one in yielded if isinstance(one, Batch)],
        [one for one in yielded if isinstance(one, Rejected)],
        context.warnings,
    )


def parse_file(parser: Parser, path: Path) -> Parsed:
    context = RecordingContext(name=path.name, path=str(path), size_bytes=path.stat().st_size)
    with path.open("rb") as source:
        yielded = list(parser.parse(source, context))
    return Parsed(
        [one for one in yielded if isinstance(one, Batch)],
        [one for one in yielded if isinstance(one, Rejected)],
        context.warnings,
    )
