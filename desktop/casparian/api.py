"""What the author of a parser imports, and nothing else.

A parser reads one file and yields what it finds: `Batch`es of rows and, for what it could not read,
`Rejected` records. It never touches storage, settings, the catalog or other files. It runs in a worker
process of its own; whatever it yields is checked against the contract of its output, row by row.
Nothing may be dropped on the way: what was read is in a batch or in a rejected record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    import pyarrow as pa

from casparian.domain.contracts import Column
from casparian.domain.errors import ParserFault

__all__ = [
    "Batch",
    "Column",
    "Layout",
    "Output",
    "ParseContext",
    "Parser",
    "ParserFault",
    "Rejected",
]


@dataclass(frozen=True, slots=True)
class Output:
    """A table that a parser writes."""

    name: str
    columns: tuple[Column, ...]
    """Empty for an output whose tables follow the layout of the files (see `Layout`)."""
    doc: str

    @property
    def follows_layout(self) -> bool:
        """Whether the columns are those found in each file, and the table is named after the file."""
        return not self.columns


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns found in a file, for an output that follows the layout.

    Files with the same layout share a table. It is named after the file that brought it first
    (`suggested_table`), and keeps that name. The types of its columns are found by elimination: each
    field of a `Batch.rows` is text and says in its metadata, under `b"cf.types"`, which types are to be
    tried (comma-separated words of `domain.types`); a value that contradicts a type removes it.
    """

    columns: tuple[str, ...]
    suggested_table: str
    optional: bool = False
    """Whether a file may lack some of the columns, as the keys of JSON records: it then joins the table
    with which it shares most of them (`domain.layouts`), which gains the others."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of one output, in the order of the file."""

    output: str
    rows: pa.RecordBatch
    """The output's columns, each of its contract's Arrow type, or text that is then read as that type.

    Text may be dictionary-encoded. JSON, whose Arrow type is that of text, is checked unless its field's
    metadata says `cf.type: json`: then the parser knows.
    """
    positions: pa.Int64Array
    """Where in the file each row was read: a record's ordinal or the number of its first line, from 1."""
    layout: Layout | None = None
    """For an output that follows the layout; may be left out until the last batch of the file."""
    raw: pa.StringArray | None = None
    """The text of each row as read, if the parser has it; kept in quarantine should the row not hold."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record, line or stretch of the file that could not be read as a row."""

    output: str
    position: int
    """Record ordinal or line number where there is one, else the byte offset; `message` says which."""
    violation: str
    """A short word for the rule that was broken: `bad_chunk`, `bad_record`, `ragged`, `encoding`, ..."""
    message: str
    """A sentence for a person."""
    raw: bytes = b""
    """What was read; at most a few thousand bytes of it are kept."""


class ParseContext(Protocol):
    """What a parser may ask and say while it reads a file."""

    @property
    def path(self) -> str:
        """The file's path for libraries that open it themselves; may hold surrogate escapes."""

    @property
    def name(self) -> str:
        """The file's name as shown to people."""

    @property
    def size_bytes(self) -> int:
        """The size that the scan found."""

    def warn(self, message: str, offset: int | None = None) -> None:
        """Record what is to be known of the file although nothing of it is lost: its header is stale, ...

        What is lost or damaged must be yielded as `Rejected`: only that makes a file partial.
        """

    def progress(self, done_bytes: int) -> None:
        """Say how many bytes of the file are read; cheap, call it once per batch."""


class Parser(ABC):
    """Reads one kind of artifact.

    The class docstring is the help that people read: what the artifact is, the references, each column.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    """Part of the parser's identity: raise it when the same file would give other rows."""
    topics: ClassVar[tuple[str, ...]]
    """The tags whose files it reads."""
    outputs: ClassVar[tuple[Output, ...]]
    libraries: ClassVar[tuple[str, ...]] = ()
    """The distributions that read the format; their versions are part of the parser's identity."""

    @abstractmethod
    def parse(self, source: BinaryIO, context: ParseContext) -> Iterator[Batch | Rejected]:
        """Read one file.

        Args:
            source: the file, opened for reading only, seekable, at its start.
            context: facts of the file, and where to report to.

        An exception means that the file failed as a whole: none of its rows is kept; a `ParserFault` says
        in a sentence why, any other is taken for an error of the parser. What can be read
        in spite of damage must be yielded, with a `Rejected` for what cannot.
        """
