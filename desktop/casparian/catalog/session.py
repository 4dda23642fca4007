"""One state of the catalog, opened for reading and locked; queries run here, and can be stopped.

DuckDB gives every connection of one process that opens the same path the same database, even after
another file was put in its place. So each session takes a private copy of the (small) catalog file and opens
that. No swap is ever in the way of a reader, nor a reader of a swap, on Windows either.

The lock: only the committed files can be read, no setting can be changed, and nothing can be written but
by `COPY … TO` over a committed file, which `guard` keeps out. The lock is the last thing that is set.
"""

# ruff: noqa: S608  (SQL is made here: names and text pass `quote` and `literal`, values are bound)
from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from casparian.catalog import views
from casparian.catalog.rows import BATCH_ROWS
from casparian.catalog.sql import from_duckdb, is_fatal, reachable
from casparian.domain.errors import EnvironmentProblem, UserProblem, from_os_error
from casparian.domain.results import ColumnInfo, TableInfo
from casparian.duck import literal, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence

    from casparian.domain.cancel import CancelToken

_WATCH_S = 0.02
_LINE = re.compile(r"^LINE (\d+): ", re.MULTILINE)
_NAME = "casparian"
"""Of the private copy, and with it of its database; `SHOW DATABASES` tells."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a session comes from, and what it may use."""

    catalog: Path
    """What `views.build` writes; it need not be there yet."""
    outputs: Callable[[], Collection[Path]]
    """Nothing outside of these folders can be read, whatever the catalog says. Asked for each generation,
    since outputs may go to a new folder meanwhile."""
    temp: Path
    memory_mb: int
    threads: int | None = None
    """None for as many as there are cores. With one, a query without ORDER BY gives its rows in the same
    order every time."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A table as a session finds it: what it is, and the files that hold it."""

    info: TableInfo
    paths: tuple[str, ...]
    ends: tuple[int, ...]
    """For each file, how many rows it and those before it hold."""


class Session:
    """A locked connection to one generation; it is closed when its last holder lets go."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.generation = 0
        self.tables: tuple[Stored, ...] = ()
        self.broken = False
        """Set when DuckDB gave up on the whole database: another session is needed."""
        self._schemas: frozenset[str] = frozenset()
        self._holders = 1
        self._lock = threading.Lock()
        try:
            opening.temp.mkdir(parents=True, exist_ok=True)
            _sweep(opening.temp)
            self._folder = Path(
                tempfile.mkdtemp(prefix=f"catalog-{os.getpid()}-", dir=opening.temp)
            )
        except OSError as error:
            raise from_os_error(error, "The query catalog could not be opened") from error
        try:
            self._root = self._opened()
        except duckdb.Error as error:
            self._remove()
            raise EnvironmentProblem(
                "The query catalog could not be opened",
                f"{opening.catalog}: {error}",
                "Rebuild it: casparian catalog rebuild",
            ) from error
        except BaseException:
            self._remove()
            raise

    def hold(self) -> None:
        """Keep the session open until `release`.

        Raises:
            EnvironmentProblem: its last holder has let go of it.
        """
        with self._lock:
            if self._holders == 0:
                raise EnvironmentProblem("The query catalog was closed")
            self._holders += 1

    def release(self) -> None:
        """Let go of it; the last one to do so closes it."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._root.close()
            self._remove()

    def find(self, schema: str, name: str) -> Stored:
        """A table by its exact name.

        Raises:
            UserProblem: there is none.
        """
        for one in self.tables:
            if one.info.schema == schema and one.info.name == name:
                return one
        raise UserProblem(f"There is no table {name}", hint="Look at the list of tables")

    def place(self, info: TableInfo) -> str:
        """The full name of a table in SQL."""
        return f"{quote(_NAME)}.{quote(info.schema)}.{quote(info.name)}"

    def stream(
        self,
        sql: str,
        values: Sequence[object] = (),
        *,
        schema: str = "main",
        cancel: CancelToken | None = None,
        rows: int = BATCH_ROWS,
    ) -> Generator[pa.RecordBatch, None, None]:
        """Run a query and give its rows as they come, in batches of up to *rows*.

        Raises:
            CasparianError: see `sql.from_duckdb`; `Cancelled` within a moment of the wish.
        """
        with (
            self._faults(cancel),
            self.cursor(schema) as cursor,
            interrupting(cursor.interrupt, cancel),
        ):
            reader = cursor.sql(sql, params=list(values) or None).to_arrow_reader(rows)
            try:
                for batch in reader:
                    if cancel is not None:
                        cancel.check()
                    yield batch
            finally:
                reader.close()
            if cancel is not None:
                cancel.check()

    def table(
        self,
        sql: str,
        values: Sequence[object] = (),
        *,
        schema: str = "main",
        cancel: CancelToken | None = None,
    ) -> pa.Table:
        """Run a query and give all of its rows.

        Raises:
            CasparianError: as `stream`.
        """
        with (
            self._faults(cancel),
            self.cursor(schema) as cursor,
            interrupting(cursor.interrupt, cancel),
        ):
            rows: pa.Table = cursor.sql(sql, params=list(values) or None).to_arrow_table()
            return rows

    def shape(
        self, sql: str, schema: str, cancel: CancelToken | None = None
    ) -> list[tuple[str, str]]:
        """The names and DuckDB types of a query's columns, without running it.

        Raises:
            CasparianError: as `stream`.
        """
        with (
            self._faults(cancel),
            self.cursor(schema) as cursor,
            interrupting(cursor.interrupt, cancel),
        ):
            try:
                relation = cursor.sql(sql)
            except duckdb.Error as error:
                raise with_place(error, cursor, sql) from error
            return [
                (name, str(one)) for name, one in zip(relation.columns, relation.types, strict=True)
            ]

    @contextlib.contextmanager
    def cursor(self, schema: str = "main") -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own for one query: shared ones are found busy by other threads.

        The session stays open until the query is over, even if whoever asked lets go of it meanwhile:
        DuckDB refuses to close a connection that is at work.
        """
        self.hold()
        try:
            with self._cursor(schema) as cursor:
                yield cursor
        finally:
            self.release()

    @contextlib.contextmanager
    def _cursor(self, schema: str) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            cursor = self._root.cursor()
        except duckdb.Error as error:
            raise from_duckdb(error, "The query catalog is closed") from error
        try:
            if schema != "main":
                # A workspace without any table has no schema; its queries must not see another's.
                known = schema.casefold() in self._schemas
                cursor.execute(f"USE {quote(_NAME)}.{quote(schema if known else views.EMPTY)}")
            yield cursor
        finally:
            cursor.close()

    @contextlib.contextmanager
    def _faults(self, cancel: CancelToken | None) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if cancel is not None:
                cancel.check()
            self.broken = self.broken or is_fatal(error)
            raise self._missing(error) or from_duckdb(error, "The query does not run") from error

    def _missing(self, error: Exception) -> EnvironmentProblem | None:
        """A committed file that is gone is no file that may not be read, as the lock has it."""
        message = str(error)
        if ".parquet" not in message:
            return None
        for table in self.tables:
            for path in table.paths:
                if path in message and not Path(path).is_file():
                    return EnvironmentProblem(
                        "An output file is missing",
                        f"{path}, which is part of {table.info.name}",
                        "Put it back, or run the jobs again that wrote it",
                    )
        return None

    def _opened(self) -> duckdb.DuckDBPyConnection:
        copy = self._folder / f"{_NAME}.duckdb"
        try:
            shutil.copyfile(self.opening.catalog, copy)
        except FileNotFoundError:
            views.build(copy, [], {}, 0)
        except OSError as error:
            raise from_os_error(error, "The query catalog could not be opened") from error
        root = duckdb.connect(str(copy), read_only=True)
        try:
            self._read(root)
            self._lock_down(root)
        except BaseException:
            root.close()
            raise
        return root

    def _read(self, root: duckdb.DuckDBPyConnection) -> None:
        def rows(what: str, table: str, order: str) -> list[tuple[Any, ...]]:
            sql = f"SELECT {what} FROM {views.INTERNAL}.{table} ORDER BY {order}"
            return root.execute(sql).fetchall()

        self.generation = rows("generation", "generation", "1")[0][0]
        columns: dict[int, list[ColumnInfo]] = {}
        for at, name, word, doc in rows(
            "table_id, column_name, type, doc", "columns", "table_id, position"
        ):
            columns.setdefault(at, []).append(ColumnInfo(name, word, doc))
        files: dict[int, list[tuple[str, int]]] = {}
        for at, path, count in rows("table_id, path, row_count", "files", "table_id, position"):
            files.setdefault(at, []).append((path, count))
        self.tables = tuple(
            Stored(
                TableInfo(schema, name, kind, tuple(columns.get(at, ())), count, parser, version),
                tuple(path for path, _ in files.get(at, ())),
                tuple(accumulate(one for _, one in files.get(at, ()))),
            )
            for at, schema, name, kind, count, parser, version in rows(
                "id, schema_name, table_name, kind, row_count, parser, parser_version",
                "tables",
                "id",
            )
        )
        self._schemas = frozenset(one.info.schema.casefold() for one in self.tables)

    def _lock_down(self, root: duckdb.DuckDBPyConnection) -> None:
        opening = self.opening
        outputs = [Path(os.path.realpath(one)) for one in opening.outputs()]
        allowed = [
            spelling
            for table in self.tables
            for path in table.paths
            if any(Path(os.path.realpath(path)).is_relative_to(one) for one in outputs)
            for spelling in reachable(path)
        ]
        settings = [
            # GLOBAL: cursors do not inherit what is set for the one connection.
            "SET GLOBAL TimeZone = 'UTC'",
            f"SET memory_limit = '{opening.memory_mb} MiB'",
            f"SET temp_directory = {literal(str(self._folder / 'spill'))}",
            "SET parquet_metadata_cache = true",
            # Texts of one batch may be more than 2 GB together.
            "SET GLOBAL arrow_large_buffer_size = true",
            "SET autoinstall_known_extensions = false",
            "SET autoload_known_extensions = false",
            "SET python_enable_replacements = false",
            f"SET allowed_paths = [{', '.join(literal(one) for one in allowed)}]",
            "SET enable_external_access = false",
            "SET lock_configuration = true",
        ]
        if opening.threads is not None:
            settings.insert(0, f"SET threads = {opening.threads}")
        for one in settings:
            root.execute(one)

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _sweep(temp: Path) -> None:
    """Remove the copies that a program left behind which did not come to its end."""
    for folder in temp.glob("catalog-*-*"):
        owner = folder.name.split("-")[1]
        if owner.isdecimal() and int(owner) != os.getpid() and not _is_running(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    if os.name == "nt":
        return False  # the system itself keeps what is open from being removed
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def with_place(error: duckdb.Error, cursor: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Error:
    """The same error with the line it is about, which DuckDB tells of statements, not of relations."""
    if _LINE.search(str(error)):
        return error
    try:
        cursor.execute(f"EXPLAIN\n{sql}").fetchall()
    except duckdb.Error as told:
        message = _LINE.sub(lambda found: f"LINE {int(found[1]) - 1}: ", str(told), count=1)
        return type(told)(message) if message != str(told) else error
    return error


@contextlib.contextmanager
def interrupting(stop: Callable[[], object], cancel: CancelToken | None) -> Iterator[None]:
    """Stop the query when somebody asks for it, from a thread that only watches."""
    if cancel is None:
        yield
        return
    cancel.check()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_WATCH_S):
            if cancel.is_cancelled:
                # Again and again: an interrupt that comes before the query has begun is lost.
                stop()

    watcher = threading.Thread(target=watch, name="query-watch")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
