"""The program's own eyes on the catalog: tables, pages of any depth, and guarded SQL.

`refresh` moves on to the newest catalog; a view that is open keeps the one it was opened on, so its
rows stay where they are until it is closed.

How pages stay fast. A view without filter and order knows which file holds row n and reads just there.
Any other view has the keys of its rows (eight bytes each) written to a temporary file, by one pass in a
thread of its own; a page is then a slice of that file and a read of just those rows. While the keys of
a sorted view are still being made, its first and its last rows come from a top-n query. Position
settles ties, so pages neither overlap nor change.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from array import array
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute
from typing_extensions import override

from casparian.catalog import guard
from casparian.catalog.narrowing import narrowed
from casparian.catalog.selection import named, of_sql, of_table, shaped
from casparian.catalog.session import Opening, Session
from casparian.catalog.sql import readable
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem, from_os_error
from casparian.domain.results import ColumnInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from casparian.catalog.rows import Rows
    from casparian.domain.results import Filter, Sort, TableInfo, ViewSpec

# The stubs know only some of the overloads.
pc: Any = pyarrow.compute

_TOP_ROWS = 2_000
"""How deep into a sorted view a page may lie to be answered by a top-n query."""
_KEPT_BYTES = 512 << 20
"""What a query's result may take in memory; it counts as cut short beyond."""
_KEY_BYTES = 8
FUNCTIONS = (
    "SELECT DISTINCT function_name FROM duckdb_functions()"
    " WHERE regexp_full_match(function_name, '[a-z][a-z0-9_]*') ORDER BY ALL"
)
_WAIT_S = 0.02


FIRST_ROWS = "SELECT *\nFROM {table}\nLIMIT {rows}"


class Spelling(NamedTuple):
    """How names are written in a reader's SQL; nothing of it waits."""

    name: Callable[[str], str]
    """An identifier, quoted only where it must be."""
    table: Callable[[TableInfo], str]
    """A table, as a query of its own workspace names it."""
    first_rows: str
    """The query for the first `{rows}` rows of a `{table}`."""


class Reader(ABC):
    """Tables that can be looked at, queried and exported; safe to use from any thread.

    Nothing here but `close` is free of waiting: call it off the GUI thread.
    """

    @abstractmethod
    def refresh(self) -> int:
        """Move on to the tables as they are now, and return a number that increases with them.

        Raises:
            EnvironmentProblem: they cannot be opened; the reader stays where it was.
        """

    @abstractmethod
    def tables(self) -> list[TableInfo]:
        """What can be queried, in order."""

    @abstractmethod
    def open(self, spec: ViewSpec, cancel: CancelToken | None = None) -> View:
        """Open a table, filtered and sorted, for paging; close it when it is no longer shown.

        Raises:
            UserProblem: there is no such table or column, or a value is not of its column's type.
            Cancelled: it was.
        """

    @abstractmethod
    def query(
        self, sql: str, schema: str = ..., cancel: CancelToken | None = None, cap: int = ...
    ) -> View:
        """Run one SELECT, or plain EXPLAIN of one, and keep up to *cap* of its rows.

        Args:
            sql: what somebody typed.
            schema: of the workspace, where names of tables are looked up first.
            cancel: ends it within a moment.
            cap: rows kept. One more is asked for, so that `View.truncated` is known and not guessed.

        Raises:
            UserProblem: not allowed, or wrong; the detail holds a `LINE n:` and caret where it can.
            EnvironmentProblem: out of memory or disk, out of reach, gone or damaged.
            Cancelled: it was.
        """

    @abstractmethod
    def selected(
        self, what: ViewSpec | str, schema: str = ..., cancel: CancelToken | None = None
    ) -> contextlib.AbstractContextManager[Rows]:
        """Everything that a view or a query gives, to be streamed; always in the same order.

        Raises:
            UserProblem: as `open` and `query`; an EXPLAIN has no rows to stream.
        """

    @abstractmethod
    def narrowed(
        self,
        sql: str,
        columns: Sequence[ColumnInfo],
        *,
        filters: Sequence[Filter] = (),
        search: str = "",
        sort: Sequence[Sort] = (),
    ) -> str:
        """The statement whose rows are those of `sql` that pass the filters, in the order given.

        Args:
            sql: one SELECT.
            columns: what it gives.
            filters: joined by AND.
            search: looked for in every text column.
            sort: the keys, the first one first.

        Raises:
            UserProblem: the statement is not allowed, or a column is not one of its own, or not
                the only one of its name.
        """

    @abstractmethod
    def functions(self) -> list[str]:
        """The names of functions that queries may call."""

    @abstractmethod
    def spelling(self) -> Spelling:
        """How names are written in queries."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the tables; views that are open work until they are closed."""


class CatalogReader(Reader):
    """Reads the catalog; safe to use from any thread.

    Args:
        catalog_path: what `views.build` writes; it need not be there yet.
        outputs: gives the folders outside of which nothing is ever read, whatever the catalog says.
        temp_dir: for private copies, row keys, and what does not fit into memory.
        memory_mb: what queries may use together.
    """

    def __init__(
        self,
        catalog_path: Path,
        outputs: Callable[[], Collection[Path]],
        temp_dir: Path,
        memory_mb: int = 2048,
    ) -> None:
        self._opening = Opening(catalog_path, outputs, temp_dir, memory_mb)
        self._lock = threading.Lock()
        self._current: Session | None = None
        self._closed = threading.Event()
        self._keywords: frozenset[str] = frozenset()

    @override
    def refresh(self) -> int:
        """Move on to the catalog as it is now, and return its generation.

        Does nothing once the reader is closed.

        Raises:
            EnvironmentProblem: it cannot be opened; the reader stays where it was.
        """
        if self._closed.is_set():
            return 0
        new = Session(self._opening)
        with self._lock:
            old, self._current = (new, None) if self._closed.is_set() else (self._current, new)
        if old is not None:
            old.release()
        return new.generation

    @override
    def tables(self) -> list[TableInfo]:
        """What can be queried, in the order of the catalog."""
        with self.session() as session:
            return [one.info for one in session.tables]

    @override
    def open(self, spec: ViewSpec, cancel: CancelToken | None = None) -> View:
        with self.session() as session:
            return TableView(of_table(session, spec, self.keywords()))

    @override
    def query(
        self, sql: str, schema: str = "main", cancel: CancelToken | None = None, cap: int = 100_000
    ) -> View:
        statement = guard.check_select(sql)
        started = time.monotonic()
        with self.session() as session:
            if guard.is_explain(statement):
                named(session, statement, schema)
                rows, truncated = session.table(statement, schema=schema, cancel=cancel), False
                columns = tuple(ColumnInfo(name, "string") for name in rows.column_names)
                rows = shaped(rows, columns)
            else:
                selection = of_sql(session, statement, schema, cancel)
                columns = selection.columns
                rows, truncated = first_rows(selection, cap, cancel)
        return ResultView(
            columns, statement, rows, truncated=truncated, seconds=time.monotonic() - started
        )

    @override
    @contextlib.contextmanager
    def selected(
        self, what: ViewSpec | str, schema: str = "main", cancel: CancelToken | None = None
    ) -> Iterator[Rows]:
        if not isinstance(what, str):
            with self.session() as session:
                yield of_table(session, what, self.keywords())
            return
        statement = guard.check_select(what)
        if guard.is_explain(statement):
            raise UserProblem("EXPLAIN has no rows to keep", hint="Leave EXPLAIN away")
        with self.session() as session:
            selection = of_sql(session, statement, schema, cancel)
            if selection.keeps_order(cancel):
                yield selection
                return
        # On one thread the rows of a query that does not settle their order come in the same order
        # every time.
        alone = Session(replace(self._opening, threads=1))
        try:
            yield of_sql(alone, statement, schema, cancel)
        finally:
            alone.release()

    @override
    def narrowed(
        self,
        sql: str,
        columns: Sequence[ColumnInfo],
        *,
        filters: Sequence[Filter] = (),
        search: str = "",
        sort: Sequence[Sort] = (),
    ) -> str:
        keywords = self.keywords()
        return narrowed(
            guard.check_select(sql),
            columns,
            lambda name: readable(name, keywords),
            filters=filters,
            search=search,
            sort=sort,
        )

    @override
    def functions(self) -> list[str]:
        with self.session() as session:
            rows = session.table(FUNCTIONS)
        return [str(one) for one in rows.column(0).to_pylist()]

    @override
    def spelling(self) -> Spelling:
        keywords = self.keywords()

        def name(identifier: str) -> str:
            return readable(identifier, keywords)

        return Spelling(name, lambda info: name(info.name), FIRST_ROWS)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """The newest session, held for as long as the block runs."""
        session = self._held()
        try:
            yield session
        finally:
            session.release()

    def keywords(self) -> frozenset[str]:
        """Words that cannot be names without quotes."""
        if not self._keywords:
            with self.session() as session:
                rows = session.table("SELECT keyword_name FROM duckdb_keywords()")
            self._keywords = frozenset(map(str, rows.column(0).to_pylist()))
        return self._keywords

    @override
    def close(self) -> None:
        """Let go of the catalog; views that are open work until they are closed."""
        with self._lock:
            self._closed.set()
            old, self._current = self._current, None
        if old is not None:
            old.release()

    def _held(self) -> Session:
        with self._lock:
            current = self._current
            if current is not None and not current.broken:
                current.hold()
                return current
        self.refresh()
        with self._lock:
            if self._current is None:
                raise EnvironmentProblem("The query catalog was closed")
            self._current.hold()
            return self._current


class View(ABC):
    """Rows somebody looks at: their number and order do not change while it is open.

    Everything but `close` may block: call it off the GUI thread. Safe to use from several threads.
    """

    columns: tuple[ColumnInfo, ...]
    sql: str
    """The equivalent statement, as people would write it; it passes `guard.check_select`."""
    truncated: bool = False
    """Whether there are more rows than were kept (results of a query only)."""
    seconds: float = 0.0
    """How long the query ran (results of a query only)."""

    @property
    @abstractmethod
    def rows(self) -> int | None:
        """How many rows there are; None while that is not known. Does not block."""

    @abstractmethod
    def count(self, cancel: CancelToken | None = None) -> int:
        """How many rows there are; counts them if need be.

        Raises:
            Cancelled: the wait was; the count goes on until the view is closed.
        """

    @abstractmethod
    def page(
        self, offset: int, limit: int, cancel: CancelToken | None = None, *, clip: int | None = None
    ) -> pa.Table:
        """Rows offset to offset + limit; fewer at the end, none beyond it.

        Args:
            offset: of the first row, from 0.
            limit: how many.
            cancel: ends the wait.
            clip: cut text to so many characters and binaries to so many bytes, as long cells are not
                worth their memory where nobody sees their end. Ask for one character more than you
                show, and you know which were cut.

        Returns:
            A table with `columns`' names and Arrow types; `TYPE_KEY` in the metadata of its fields
            tells the type's word.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop what is still being done for the view, and let go of its catalog. Does not block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ResultView(View):
    """The rows of a query that were kept, in memory."""

    def __init__(
        self,
        columns: tuple[ColumnInfo, ...],
        sql: str,
        table: pa.Table,
        *,
        truncated: bool,
        seconds: float,
    ) -> None:
        self.columns, self.sql = columns, sql
        self.truncated, self.seconds = truncated, seconds
        self._table = table

    @property
    @override
    def rows(self) -> int | None:
        return None if self.truncated else self._table.num_rows

    @property
    def kept(self) -> int:
        """How many rows there are to page through."""
        return self._table.num_rows

    @override
    def count(self, cancel: CancelToken | None = None) -> int:
        return self._table.num_rows

    @override
    def page(
        self, offset: int, limit: int, cancel: CancelToken | None = None, *, clip: int | None = None
    ) -> pa.Table:
        rows = self._table.slice(offset, limit)
        if clip is None:
            return rows
        columns = [_clipped(column, clip) for column in rows.columns]
        return pa.Table.from_arrays(columns, schema=rows.schema)

    @override
    def close(self) -> None:
        pass


def _clipped(column: Any, clip: int) -> Any:
    if pa.types.is_string(column.type):
        return pc.utf8_slice_codeunits(column, 0, clip)
    if pa.types.is_binary(column.type):
        return pc.binary_slice(column, 0, clip)
    return column


class TableView(View):
    """A table, filtered and sorted."""

    def __init__(self, selection: Rows) -> None:
        self.columns, self.sql = selection.columns, selection.sql
        self._selection = selection
        self._keys = _Keys(selection) if selection.has_keys else None
        self._counted: int | None = None
        selection.hold()
        self._closed = threading.Event()

    @property
    @override
    def rows(self) -> int | None:
        known = self._selection.total
        if known is not None:
            return known
        return self._keys.total if self._keys else self._counted

    @override
    def count(self, cancel: CancelToken | None = None) -> int:
        known = self.rows
        if known is not None:
            return known
        if self._keys is not None:
            return self._keys.reach(None, cancel)
        self._counted = self._selection.count(cancel)
        return self._counted

    @override
    def page(
        self, offset: int, limit: int, cancel: CancelToken | None = None, *, clip: int | None = None
    ) -> pa.Table:
        if self._keys is None:
            known = self.rows
            limit = limit if known is None else max(0, min(limit, known - offset))
            return (
                self._selection.at(offset, limit, clip, cancel)
                if limit
                else shaped(None, self.columns)
            )
        keys = self._keys.of_page(offset, limit, cancel)
        return self._selection.by_keys(keys, clip, cancel)

    @override
    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        if self._keys is not None:
            self._keys.close()
        self._selection.release()


class _Keys:
    """The keys of a view's rows, in order, in a temporary file that a thread of its own fills."""

    def __init__(self, selection: Rows) -> None:
        self._selection = selection
        self._changed = threading.Condition()
        self._file = _temporary(selection.temp)
        self._count = 0
        self._done = False
        self._filling = False
        self._error: CasparianError | None = None
        self._stop = CancelToken("The view")
        self._thread: threading.Thread | None = None

    @property
    def total(self) -> int | None:
        """How many rows there are, once that is known."""
        with self._changed:
            return self._count if self._done else None

    def of_page(self, offset: int, limit: int, cancel: CancelToken | None) -> list[int]:
        """The keys of rows offset to offset + limit."""
        with self._changed:
            ready = self._done or self._count >= offset + limit
        if not ready and (near := self._near(offset, limit)) is not None:
            keys = array("q")
            part, backwards = near
            for batch in self._selection.keys(cancel, part, backwards=backwards):
                keys.frombytes(_key_bytes(batch))
            self._start()
            return keys.tolist()[:: -1 if backwards else 1]
        reached = self.reach(offset + limit, cancel)
        wanted = max(0, min(limit, reached - offset))
        with self._changed:
            self._stop.check()
            self._file.seek(offset * _KEY_BYTES)
            keys = array("q", self._file.read(wanted * _KEY_BYTES))
        return keys.tolist()

    def _near(self, offset: int, limit: int) -> tuple[tuple[int, int], bool] | None:
        """Where a top-n query finds a page that lies near the beginning or the end of a sorted view.

        Returns:
            Offset and count, and whether they are counted from the end; None if it lies between.
        """
        selection = self._selection
        if not selection.has_quick_ends:
            return None
        if offset + limit <= _TOP_ROWS:
            return (offset, limit), False
        rows = selection.total
        if rows is not None and offset >= rows - _TOP_ROWS:
            last = min(rows, offset + limit)
            return (rows - last, max(0, last - offset)), True
        return None

    def reach(self, rows: int | None, cancel: CancelToken | None) -> int:
        """Wait until so many keys are there, or all of them; return how many are.

        Raises:
            CasparianError: what kept the keys from being made; the next call tries again.
            Cancelled: the wait was; the keys are still being made.
        """
        self._start()
        with self._changed:
            while not (self._done or self._error) and (rows is None or self._count < rows):
                self._stop.check()
                if cancel is not None:
                    cancel.check()
                self._changed.wait(_WAIT_S if cancel is not None else None)
            if self._error is not None:
                error, self._error, self._thread = self._error, None, None
                raise error
            return self._count

    def close(self) -> None:
        """Stop making keys, and drop those that are there; does not wait for the thread to end."""
        self._stop.cancel()
        with self._changed:
            self._changed.notify_all()
            if not self._filling:
                self._file.close()

    def _start(self) -> None:
        with self._changed:
            if self._thread is not None or self._stop.is_cancelled:
                return
            self._count = 0
            self._filling = True
            self._thread = threading.Thread(target=self._fill, name="view-keys")
            self._thread.start()

    def _fill(self) -> None:
        error: CasparianError | None = None
        try:
            for batch in self._selection.keys(self._stop):
                self._add(batch)
        except CasparianError as problem:
            error = problem
        except OSError as problem:
            error = from_os_error(problem, "The order of the rows could not be kept")
        with self._changed:
            self._error = error
            self._done = error is None
            self._filling = False
            self._changed.notify_all()
            if self._stop.is_cancelled:
                self._file.close()

    def _add(self, batch: pa.RecordBatch) -> None:
        with self._changed:
            self._file.seek(self._count * _KEY_BYTES)
            self._file.write(_key_bytes(batch))
            self._count += batch.num_rows
            self._changed.notify_all()


def _key_bytes(batch: pa.RecordBatch) -> memoryview:
    keys = batch.column(0)
    data = keys.buffers()[1]
    if data is None:
        return memoryview(b"")
    first = keys.offset * _KEY_BYTES
    return memoryview(data)[first : first + len(keys) * _KEY_BYTES]


def _temporary(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder, prefix="keys-")
    except OSError as error:
        raise from_os_error(error, "The table could not be opened") from error


def first_rows(selection: Rows, cap: int, cancel: CancelToken | None) -> tuple[pa.Table, bool]:
    """The first rows of a result, and whether there are more."""
    kept: list[pa.RecordBatch] = []
    rows = size = 0
    more = False
    batches = selection.stream(cancel=cancel)
    with contextlib.closing(batches):
        for batch in batches:
            more = size > _KEPT_BYTES
            if more:
                break
            kept.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
            more = rows > cap
            if more:
                break
    if not kept:
        return shaped(None, selection.columns), False
    return shaped(pa.Table.from_batches(kept), selection.columns).slice(0, cap), more
