"""The schema of the control plane: one SQLAlchemy Core schema for every backend.

Ids are UUIDv7 text, enums are stored by value and checked by the database, instants are UTC. What is
indexed has a bounded length, so that the same schema holds on servers that cannot index long text;
paths are therefore found by a hash of their bytes. Text is compared and ordered by its code points on
every backend, whatever a server's own collation. A store of another version is never touched.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import sqlalchemy.dialects.mssql
from typing_extensions import override

from casparian.domain.evidence import FileState, ProblemKind, ScanState
from casparian.domain.jobs import JobFileState, JobState

if TYPE_CHECKING:
    from enum import StrEnum

SCHEMA_VERSION = 2

# The makers of its types carry no annotations.
_mssql: Any = sqlalchemy.dialects.mssql

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware UTC instant, kept as the backend's timestamp without a zone."""

    impl = sa.DateTime
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        # SQL Server's DATETIME counts in steps of 3.33 ms.
        kind = _mssql.DATETIME2(6) if dialect.name == "mssql" else sa.DateTime()
        return dialect.type_descriptor(kind)

    @override
    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise AssertionError("an instant without a zone cannot be stored")
        return value.astimezone(UTC).replace(tzinfo=None)

    @override
    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


_COLLATIONS = {"postgresql": "C", "mssql": "Latin1_General_100_BIN2"}


def storable(text: str) -> str:
    r"""The text as every backend can hold it, so that a store reads the same wherever it is.

    PostgreSQL cannot hold the character NUL: its picture stands for it. No database can hold half of a
    surrogate pair, which messages with file names may have: it becomes `\udcXX`.
    """
    if "\0" in text:
        text = text.replace("\0", "\u2400")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


class Text(sa.types.TypeDecorator[str]):
    """Text of people and evidence: Unicode, of a bounded length or of none."""

    impl = sa.Unicode
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        length = getattr(self.impl_instance, "length", None)
        collation = _COLLATIONS.get(dialect.name)
        kind = sa.Unicode(length, collation) if length else sa.UnicodeText(collation=collation)
        return dialect.type_descriptor(kind)

    @override
    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else storable(value)


class Word(sa.types.TypeDecorator[str]):
    """Ids, hashes and enum values: ASCII, of a bounded length."""

    impl = sa.String
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        length = getattr(self.impl_instance, "length", None)
        kind = sa.String(length, _COLLATIONS.get(dialect.name))
        return dialect.type_descriptor(kind)


_BYTES = sa.LargeBinary().with_variant(_mssql.VARBINARY("max"), "mssql")


def _id(name: str = "id", *, key: bool = True) -> sa.Column[str]:
    return sa.Column(name, Word(36), primary_key=key, nullable=False)


def _ref(name: str, target: str, *, nullable: bool = False, index: bool = True) -> sa.Column[str]:
    return sa.Column(name, Word(36), sa.ForeignKey(target), nullable=nullable, index=index)


def _enum(name: str, values: type[StrEnum]) -> sa.Column[Any]:
    kind = sa.Enum(
        values,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda enum: [one.value for one in enum],
    )
    return sa.Column(name, kind, nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, default=0)


def _text(name: str, length: int | None = None, **more: Any) -> sa.Column[str]:
    return sa.Column(name, Text(length), nullable=False, **more)


def _hash(name: str, **more: Any) -> sa.Column[str]:
    return sa.Column(name, Word(64), nullable=False, **more)


schema_version = sa.Table(
    "schema_version",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("created_at", Instant, nullable=False),
)

workspaces = sa.Table(
    "workspaces",
    metadata,
    _id(),
    _text("name", 200, unique=True),
    # Its folder below the outputs: made from the first name, and kept when the case is renamed.
    _text("folder", 100, unique=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("archived_at", Instant),
)

sources = sa.Table(
    "sources",
    metadata,
    _id(),
    _ref("workspace_id", "workspaces.id"),
    _text("path"),
    sa.Column("path_bytes", _BYTES, nullable=False),
    sa.Column("is_folder", sa.Boolean, nullable=False),
    sa.Column("added_at", Instant, nullable=False),
    sa.Column("removed_at", Instant),
)

# Where a source lies on a host on which it does not lie under its own path.
source_roots = sa.Table(
    "source_roots",
    metadata,
    sa.Column("source_id", Word(36), sa.ForeignKey("sources.id"), primary_key=True),
    sa.Column("host", Text(200), primary_key=True),
    _text("path"),
    sa.Column("path_bytes", _BYTES, nullable=False),
)

scans = sa.Table(
    "scans",
    metadata,
    _id(),
    _ref("source_id", "sources.id"),
    _enum("state", ScanState),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    *[
        _count(name)
        for name in ("found", "hashed", "unchanged", "skipped", "missing", "bytes_hashed")
    ],
)

scan_problems = sa.Table(
    "scan_problems",
    metadata,
    _id(),
    _ref("scan_id", "scans.id"),
    _text("path"),
    sa.Column("path_bytes", _BYTES, nullable=False),
    _enum("kind", ProblemKind),
    _text("message"),
)

files = sa.Table(
    "files",
    metadata,
    _id(),
    _ref("source_id", "sources.id", index=False),
    _hash("path_hash"),
    _text("path"),
    sa.Column("path_bytes", _BYTES, nullable=False),
    _count("size_bytes"),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    _text("kind", 32),
    _hash("source_hash", index=True),
    _hash("sha256"),
    _enum("state", FileState),
    _ref("scan_id", "scans.id", index=False),
    sa.UniqueConstraint("source_id", "path_hash"),
)

rules = sa.Table(
    "rules",
    metadata,
    _id(),
    _ref("workspace_id", "workspaces.id"),
    _text("glob"),
    _text("tag", 64),
    sa.Column("exclude", sa.JSON, nullable=False),
    sa.Column("kinds", sa.JSON, nullable=False),
    sa.Column("min_size", sa.BigInteger),
    sa.Column("max_size", sa.BigInteger),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("builtin", sa.Boolean, nullable=False),
    _text("note"),
)

file_tags = sa.Table(
    "file_tags",
    metadata,
    sa.Column("file_id", Word(36), sa.ForeignKey("files.id"), primary_key=True),
    sa.Column("tag", Text(64), primary_key=True),
    # Which rule gave it: the tag's provenance.
    sa.Column("rule_id", Word(36), sa.ForeignKey("rules.id"), primary_key=True, index=True),
)

# Every sink that rows ever went to, so that what is in it can be found when it is no longer configured.
sinks = sa.Table(
    "sinks",
    metadata,
    # BLAKE3 of the key: text without a bound cannot be indexed everywhere.
    sa.Column("key_hash", Word(64), primary_key=True),
    # Without user name and password, as it stands in `outputs.sink`.
    _text("key"),
    # What to connect with, without the password.
    _text("address"),
)

# Topic configuration: to which sink a parser's output goes; the profile's default sink takes the rest.
routes = sa.Table(
    "routes",
    metadata,
    _id(),
    _ref("workspace_id", "workspaces.id"),
    _text("parser", 64),
    # Empty for every output of the parser.
    _text("output", 100),
    # The key of its sink; empty for the Parquet folder of the home.
    _text("sink"),
    _text("mode", 16),
    sa.UniqueConstraint("workspace_id", "parser", "output"),
)

contracts = sa.Table(
    "contracts",
    metadata,
    _id(),
    _ref("workspace_id", "workspaces.id"),
    _text("table_name", 100),
    _text("parser", 64),
    _text("output", 100),
    # Empty for an output with fixed columns.
    sa.Column("layout_key", Word(64), nullable=False),
    sa.Column("columns", sa.JSON, nullable=False),
    _hash("schema_hash"),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("workspace_id", "table_name", "version"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    _id(),
    _ref("workspace_id", "workspaces.id"),
    _text("parser", 64),
    _text("parser_version", 32),
    _hash("artifact_hash"),
    _enum("state", JobState),
    sa.Column("priority", sa.Integer, nullable=False, default=100),
    _count("files"),
    _count("size_bytes"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("ended_at", Instant),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("token", Word(36)),
    sa.Column("lease_until", Instant),
    _text("host", 200, default=""),
    sa.Column("pid", sa.Integer),
    sa.Column("cancel_asked", sa.Boolean, nullable=False, default=False),
    *[_count(name) for name in ("rows", "quarantined", "failed_files")],
    _text("problem", default=""),
    _ref("retry_of", "jobs.id", nullable=True, index=False),
    # After a trouble that may pass, it is not tried again at once.
    sa.Column("not_before", Instant),
    # It did not succeed, and a sink may hold rows of it that are still to be taken out.
    sa.Column("undo", sa.Boolean, nullable=False, default=False),
    sa.Index(None, "state", "priority", "id"),
)

# Hosts that gave a job back, since they cannot reach its evidence or its sink.
job_refusals = sa.Table(
    "job_refusals",
    metadata,
    sa.Column("job_id", Word(36), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("host", Text(200), primary_key=True),
    sa.Column("until", Instant, nullable=False),
)

job_files = sa.Table(
    "job_files",
    metadata,
    sa.Column("job_id", Word(36), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("file_id", Word(36), sa.ForeignKey("files.id"), primary_key=True, index=True),
    # As planned: what was to be read, should the file change or the path come back with other bytes.
    _hash("source_hash"),
    sa.Column("ordinal", sa.Integer, nullable=False),
    _enum("state", JobFileState),
    *[_count(name) for name in ("read", "accepted", "quarantined")],
    _text("problem", default=""),
)

job_events = sa.Table(
    "job_events",
    metadata,
    _id(),
    _ref("job_id", "jobs.id"),
    sa.Column("at", Instant, nullable=False),
    _text("message"),
)

outputs = sa.Table(
    "outputs",
    metadata,
    _id(),
    _ref("workspace_id", "workspaces.id"),
    _ref("job_id", "jobs.id"),
    _text("table_name", 100),
    sa.Column("quarantine", sa.Boolean, nullable=False),
    # The sink it is in, as it stands in keys; empty for the Parquet folder.
    _text("sink", default=""),
    # Relative to the sink's root, `/` between parts; empty where the rows are in a database, or purged.
    _text("path"),
    _count("rows"),
    _count("size_bytes"),
    _hash("schema_hash"),
    sa.Column("committed_at", Instant, nullable=False),
    # Set when newer rows took the place of these; the file stays until the user purges it.
    sa.Column("superseded_at", Instant),
    _ref("superseded_by", "jobs.id", nullable=True, index=False),
)

materializations = sa.Table(
    "materializations",
    metadata,
    _id(),
    _hash("key", index=True),
    _ref("workspace_id", "workspaces.id", index=False),
    _hash("source_hash"),
    _text("parser", 64),
    _text("parser_version", 32),
    _hash("artifact_hash"),
    _text("table_name", 100),
    _hash("target_key"),
    _text("sink", default=""),
    _ref("job_id", "jobs.id"),
    _ref("file_id", "files.id", index=False),
    *[_count(name) for name in ("accepted", "quarantined")],
    _text("note", default=""),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("superseded_at", Instant),
    sa.Index(None, "workspace_id", "source_hash"),
)

query_history = sa.Table(
    "query_history",
    metadata,
    _id(),
    _ref("workspace_id", "workspaces.id"),
    _text("sql"),
    sa.Column("at", Instant, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("rows", sa.BigInteger),
    _text("error", default=""),
)

exports = sa.Table(
    "exports",
    metadata,
    _id(),
    _ref("workspace_id", "workspaces.id"),
    _text("what"),
    _text("path"),
    _text("format", 16),
    _count("rows"),
    _hash("sha256"),
    sa.Column("at", Instant, nullable=False),
)
