"""The query catalog that any DuckDB client can open: stable names over exactly what is committed.

Views hold no data and can be thrown away: `build` writes them anew from what the state store says is
committed, beside the old file, and swaps the two. A reader of the old file goes on reading it.

Beside the views lies the schema `_casparian`, which says what they are made of: `tables`, `columns`,
`files` and `generation`. The program's own reader starts from it, and so can anybody else's.

The file is written in the storage format of DuckDB 1.5, so that clients of that line open it as well.
"""

# ruff: noqa: S608  (SQL is made here: names and text pass `quote` and `literal`)
from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa

from casparian.catalog.sql import from_duckdb, shape_of
from casparian.domain.contracts import LINEAGE, QUARANTINE
from casparian.domain.errors import EnvironmentProblem, UserProblem, from_os_error
from casparian.domain.ids import new_id
from casparian.domain.results import QUARANTINE_SUFFIX
from casparian.duck import STORAGE, duck_type, literal, quote, read_parquet
from casparian.durable import sync_file, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from casparian.domain.contracts import Column
    from casparian.domain.results import CommittedFile, CommittedTable, TableKind

INTERNAL = "_casparian"
"""The schema that describes the catalog itself."""

EMPTY = "_casparian_empty"
"""A schema with nothing in it: where a workspace without tables looks names up."""

_ABANDONED_AFTER_S = 3600
_CREATE = f"""
CREATE SCHEMA made.{INTERNAL};
CREATE SCHEMA made.{EMPTY};
CREATE TABLE made.{INTERNAL}.generation (generation BIGINT);
CREATE TABLE made.{INTERNAL}.tables (id BIGINT, schema_name VARCHAR, table_name VARCHAR, kind VARCHAR,
    parser VARCHAR, parser_version VARCHAR, row_count BIGINT);
CREATE TABLE made.{INTERNAL}.columns (table_id BIGINT, position BIGINT, column_name VARCHAR, type VARCHAR,
    doc VARCHAR);
CREATE TABLE made.{INTERNAL}.files (table_id BIGINT, position BIGINT, path VARCHAR, row_count BIGINT,
    size_bytes BIGINT);
"""


class _View(NamedTuple):
    schema: str
    name: str
    kind: TableKind
    columns: tuple[Column, ...]
    files: tuple[CommittedFile, ...]
    table: CommittedTable

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.files)


def build(
    path: Path,
    tables: Sequence[CommittedTable],
    control: Mapping[tuple[str, str], pa.Table],
    generation: int,
) -> None:
    """Write the catalog anew and swap it in; whoever has the old one open keeps it.

    A table that cannot be set up, because a file of it is missing or two columns have one name, gets a
    view that says so when it is read; it keeps no other table from working.

    Args:
        path: of the catalog, e.g. `~/.casparian_flow/query.duckdb`.
        tables: each becomes the view `name` and the view `name_quarantine` in its schema.
        control: tables of the control plane by schema and name, stored as they are.
        generation: told to readers; increases with every build.

    Raises:
        EnvironmentProblem: the file could not be written or swapped; the old one is still in place.
    """
    if "?" in str(path):
        # DuckDB takes what stands behind it for options, and looks for its log elsewhere.
        raise EnvironmentProblem(
            "The query catalog cannot be kept there",
            f"{path} holds a question mark",
            "Choose a home folder without one",
        )
    aside = path.with_name(f".{path.name}.{new_id()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        _write(aside, tables, control, generation)
        sync_file(aside)
        _swap(aside, path)
    except OSError as error:
        raise from_os_error(error, "The query catalog could not be written") from error
    except duckdb.Error as error:
        raise from_duckdb(error, "The query catalog could not be written") from error
    finally:
        for leftover in (aside, aside.with_name(f"{aside.name}.wal")):
            with suppress(OSError):
                leftover.unlink(missing_ok=True)


def _write(
    aside: Path,
    tables: Sequence[CommittedTable],
    control: Mapping[tuple[str, str], pa.Table],
    generation: int,
) -> None:
    connection = duckdb.connect()
    try:
        connection.execute(
            f"ATTACH {literal(str(aside))} AS made (STORAGE_VERSION {literal(STORAGE)}); BEGIN"
        )
        connection.execute(_CREATE)
        connection.execute(f"INSERT INTO made.{INTERNAL}.generation VALUES (?)", [generation])

        views = list(_views(tables))
        schemas = dict.fromkeys([*(one.schema for one in views), *(one for one, _ in control)])
        for schema in schemas:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS made.{quote(schema)}")
        told = _Told()
        for view in views:
            _create_view(connection, view)
            told.add_view(view)
        connection.execute("COMMIT")
        for (schema, name), rows in control.items():
            told.add_control(schema, name, rows.num_rows, _store(connection, schema, name, rows))
        for table, lines in (
            ("tables", told.tables),
            ("columns", told.columns),
            ("files", told.files),
        ):
            _insert(connection, table, lines)
        connection.execute("CHECKPOINT made")
        connection.execute("DETACH made")
    finally:
        connection.close()


def _views(tables: Iterable[CommittedTable]) -> Iterable[_View]:
    for table in tables:
        data = (*table.columns, *LINEAGE)
        yield _View(table.schema, table.name, "table", data, table.files, table)
        yield _View(
            table.schema,
            f"{table.name}{QUARANTINE_SUFFIX}",
            "quarantine",
            (*LINEAGE, *QUARANTINE),
            table.quarantine_files,
            table,
        )


def _create_view(connection: duckdb.DuckDBPyConnection, view: _View) -> None:
    sql, fault = _definition(connection, view)
    place = f"made.{quote(view.schema)}.{quote(view.name)}"
    connection.execute(f"CREATE VIEW {place} AS {_says(view, fault) if fault else sql}")
    connection.execute(f"COMMENT ON VIEW {place} IS {literal(_comment(view))}")
    # Lineage and quarantine are the same everywhere: what they mean stands in `_casparian.columns`.
    own = view.table.columns if view.kind == "table" and not fault else ()
    connection.execute(
        ";".join(
            f"COMMENT ON COLUMN {place}.{quote(one.name)} IS {literal(one.doc)}"
            for one in own
            if one.doc
        )
    )


def _definition(connection: duckdb.DuckDBPyConnection, view: _View) -> tuple[str, str]:
    """The view as SQL, and what keeps it from being one."""
    missing = [one.path for one in view.files if not Path(one.path).is_file()]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        return (
            "",
            f"the output file {missing[0]}{more} is missing; put it back and rebuild the catalog",
        )
    try:
        if not view.files:
            return f"SELECT {_nulls(view.columns)} WHERE false", ""
        columns = ", ".join(_shown(one) for one in view.columns)
        source = read_parquet(view.columns, (one.path for one in view.files))
        sql = f"SELECT {columns} FROM {source}"
        # Tried apart: a statement that fails takes the transaction it is in with it.
        with connection.cursor() as apart:
            apart.execute(f"DESCRIBE {sql}")
    except (duckdb.Error, UserProblem) as error:
        return "", str(error)
    return sql, ""


def _shown(column: Column) -> str:
    if column.type == "duration":
        return f"to_microseconds({quote(column.name)}) AS {quote(column.name)}"
    return quote(column.name)


def _nulls(columns: Iterable[Column]) -> str:
    return ", ".join(
        f"CAST(NULL AS {'INTERVAL' if one.type == 'duration' else duck_type(one.type)})"
        f" AS {quote(one.name)}"
        for one in columns
    )


def _says(view: _View, fault: str) -> str:
    """A view that raises a sentence when it is read, and can still be described."""
    seen: dict[str, Column] = {}
    for column in view.columns:
        if column.name and "\0" not in column.name:
            seen.setdefault(column.name.casefold(), column)
    sentence = literal(f"{view.name} cannot be read: {fault}")
    return f"SELECT * FROM (SELECT {_nulls(seen.values())}) WHERE error({sentence})"


def _comment(view: _View) -> str:
    by = f" by {view.table.parser} {view.table.parser_version}" if view.table.parser else ""
    told = f"{view.rows} rows in {len(view.files)} files, read{by}"
    if view.kind == "quarantine":
        return f"What could not be taken into {view.table.name}, as it was read: {told}"
    return told


class _Told:
    """What the catalog says of itself, gathered to be written at once."""

    def __init__(self) -> None:
        self.tables: list[tuple[object, ...]] = []
        self.columns: list[tuple[object, ...]] = []
        self.files: list[tuple[object, ...]] = []

    def add_view(self, view: _View) -> None:
        number, table = len(self.tables), view.table
        self.tables.append(
            (
                number,
                view.schema,
                view.name,
                view.kind,
                table.parser,
                table.parser_version,
                view.rows,
            )
        )
        self.columns += [
            (number, at, one.name, one.type, one.doc) for at, one in enumerate(view.columns)
        ]
        self.files += [
            (number, at, one.path, one.rows, one.size_bytes) for at, one in enumerate(view.files)
        ]

    def add_control(
        self, schema: str, name: str, rows: int, columns: Iterable[tuple[str, str]]
    ) -> None:
        number = len(self.tables)
        self.tables.append((number, schema, name, "control", "", "", rows))
        self.columns += [
            (number, at, column, word, "") for at, (column, word) in enumerate(columns)
        ]


def _store(
    connection: duckdb.DuckDBPyConnection, schema: str, name: str, rows: pa.Table
) -> list[tuple[str, str]]:
    """Store a table of the control plane, each column as the type of ours that holds it.

    Returns:
        The columns' names and words.
    """
    connection.register("given", rows)
    given = connection.table("given")
    shapes = [
        (column, shape_of(str(duck)))
        for column, duck in zip(given.columns, given.types, strict=True)
    ]
    casts = ", ".join(
        f"CAST({quote(column)} AS {shape.cast}) AS {quote(column)}" if shape.cast else quote(column)
        for column, shape in shapes
    )
    connection.execute(
        f"CREATE TABLE made.{quote(schema)}.{quote(name)} AS SELECT {casts} FROM given"
    )
    connection.unregister("given")
    return [(column, shape.word) for column, shape in shapes]


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[object, ...]]
) -> None:
    if rows:
        # By way of Arrow: executemany is slow for the thousands of files a table may have.
        fields = {f"f{at}": list(values) for at, values in enumerate(zip(*rows, strict=True))}
        given = connection.from_arrow(pa.table(fields))
        given.insert_into(f"made.{INTERNAL}.{table}")


def _swap(aside: Path, path: Path) -> None:
    try:
        aside.replace(path)
    except PermissionError as error:
        # Windows: the file cannot be replaced while another program has it open.
        raise EnvironmentProblem(
            "The query catalog is in use by another program",
            f"{path}: {error.strerror or error}",
            "Close the program that has it open; the catalog is written again after the next job",
            retryable=True,
        ) from error
    sync_folder(path.parent)


def _remove_abandoned(path: Path) -> None:
    """Remove what a build that was killed left behind; a build that runs now is younger."""
    for one in path.parent.glob(f".{path.name}.*.tmp*"):
        with suppress(OSError):
            if one.stat().st_mtime < time.time() - _ABANDONED_AFTER_S:
                one.unlink()
