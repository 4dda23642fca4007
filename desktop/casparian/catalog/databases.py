"""Databases whose tables are seen as those of the catalog: what each must tell, and connections to them.

What differs from one to another is small, and is all in two parts that are named here and written elsewhere
(`postgres`, `duckfile`, `sqlserver`): a `DatabaseDialect`, which makes statements and does nothing, and a
`Connection`, which runs them.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute

from casparian.catalog.dialects import Dialect
from casparian.catalog.reader import (
    FIRST_ROWS,
)
from casparian.catalog.rows import BATCH_ROWS
from casparian.catalog.session import interrupting
from casparian.domain.errors import CasparianError, EnvironmentProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from casparian.catalog.statements import Checked
    from casparian.domain.cancel import CancelToken
    from casparian.domain.results import TableInfo

_IDLE_KEPT = 3


class Reading(NamedTuple):
    """How a column of a database is read."""

    word: str
    form: str = "{}"
    """SQL over the column that gives a value which becomes one of ours."""
    is_loose: bool = False
    """Whether it is a number of which only the values tell the digits."""


class Described(NamedTuple):
    """A column as the database describes it."""

    name: str
    type: str
    modifier: int | None = None


class DatabaseDialect(Dialect):
    """The SQL of one kind of database: pure functions that make statements."""

    tie: str = ""
    """What settles the order of rows that even have the same lineage."""
    first_rows: str = FIRST_ROWS
    """See `Spelling`."""

    @abstractmethod
    def check(self, sql: str) -> Checked:
        """Return the statement, if it may run.

        Raises:
            UserProblem: it may not.
        """

    @abstractmethod
    def name(self, identifier: str) -> str:
        """An identifier, quoted, whatever is in it."""

    @abstractmethod
    def readable(self, identifier: str) -> str:
        """An identifier as people write it: quoted only where it must be."""

    def readable_table(self, info: TableInfo) -> str:
        """A table as people write it, who look at its workspace."""
        return self.readable(info.name)

    @abstractmethod
    def reading(self, described: Described, *, told: str | None = None) -> Reading:
        """How a column is read.

        Args:
            described: by the database.
            told: for a column of a table of ours, the type that its comment tells; it may be empty.
        """

    @abstractmethod
    def clipped(self, word: str, form: str, size: int) -> str:
        """A form of a text or binary, cut to that size."""

    @abstractmethod
    def tables(self, schema: str) -> tuple[str, list[object]]:
        """The statement that lists columns of tables: schema, table, column, type, modifier, comment."""

    @abstractmethod
    def functions(self) -> str:
        """The statement that lists functions people may call."""

    @abstractmethod
    def result(self, statement: str, readings: Sequence[Reading]) -> str:
        """The statement that gives what a query gives, its columns as c0, c1, ... where that can be."""

    @abstractmethod
    def part(self, offset: int, limit: int) -> str:
        """What stands at the end of a statement to give some of its rows."""

    def key(self, source: str) -> str:
        """A row's place in a table, which is called t, as a whole number; empty where there is none."""
        del source
        return ""

    def of_keys(self, keys: Sequence[int]) -> str:
        """The condition that rows have these places; none has one where `key` tells none."""
        del keys
        return self.nothing()

    def counted(self) -> str:
        """The number of rows."""
        return "count(*)"

    def digits(self, place: str) -> tuple[str, str]:
        """The digits after the point of a number, and those before it; both null where nothing tells."""
        del place
        return "NULL", "NULL"


class Connection(ABC):
    """One connection to a database, for one thread at a time."""

    @abstractmethod
    def begin(self, schema: str, cancel: CancelToken | None) -> None:
        """Begin a transaction that changes nothing, where names are looked up in a schema, if given."""

    @abstractmethod
    def end(self) -> None:
        """Take the transaction back."""

    @abstractmethod
    def describe(self, statement: str) -> list[Described]:
        """The columns of a query, without running it."""

    @abstractmethod
    def explain(self, statement: str) -> pa.Table:
        """Run an EXPLAIN."""

    @abstractmethod
    def stream(self, sql: str, values: Sequence[object], rows: int) -> Iterator[pa.Table]:
        """Run a query, and give its rows as they come, up to *rows* at once."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop what runs, from another thread; may be called again and again."""

    @abstractmethod
    def close(self) -> None:
        """Close it; never raises."""

    @abstractmethod
    def problem(self, error: Exception) -> CasparianError | None:
        """The sentence for an error of the driver; None for any other error."""


class Database:
    """Connections to one database; those that are at rest are closed when the last holder lets go."""

    def __init__(
        self,
        dialect: DatabaseDialect,
        connect: Callable[[], Connection],
        *,
        idle_kept: int = _IDLE_KEPT,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        self.dialect = dialect
        self._closing = closing
        self._idle_kept = idle_kept
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._holders = 1

    def hold(self) -> None:
        """Keep connections until `release`."""
        with self._lock:
            if self._holders == 0:
                raise EnvironmentProblem("The connection was closed")
            self._holders += 1

    def release(self) -> None:
        """Let go; the last one to do so closes what is at rest."""
        with self._lock:
            self._holders -= 1
            is_last = self._holders == 0
            over, self._idle = (self._idle, []) if is_last else ([], self._idle)
        for one in over:
            one.close()
        if is_last:
            self._closing()

    def stream(
        self,
        sql: str,
        values: Sequence[object] = (),
        *,
        schema: str = "",
        cancel: CancelToken | None = None,
        rows: int = BATCH_ROWS,
    ) -> Generator[pa.Table, None, None]:
        """Run a query, and give its rows as they come.

        Raises:
            CasparianError: what the database or the way to it has against it; `Cancelled` within a moment
                of the wish, when the database has stopped.
        """
        with self.at_work(schema, cancel) as connection:
            for batch in connection.stream(sql, values, rows):
                if cancel is not None:
                    cancel.check()
                yield batch

    def table(
        self,
        sql: str,
        values: Sequence[object] = (),
        *,
        schema: str = "",
        cancel: CancelToken | None = None,
    ) -> pa.Table:
        """Run a query, and give all of its rows; at least one batch, so that there are columns."""
        return pa.concat_tables(self.stream(sql, values, schema=schema, cancel=cancel))

    @contextlib.contextmanager
    def at_work(self, schema: str, cancel: CancelToken | None) -> Iterator[Connection]:
        """A connection for one piece of work, in a transaction that changes nothing."""
        if cancel is not None:
            cancel.check()
        self.hold()
        try:
            connection = self._begun(schema, cancel)
            clean = False
            try:
                with interrupting(connection.cancel, cancel):
                    try:
                        yield connection
                    except GeneratorExit:
                        clean = cancel is None or not cancel.is_cancelled
                        raise
                clean = cancel is None or not cancel.is_cancelled
            except Exception as error:
                if cancel is not None:
                    cancel.check()
                problem = connection.problem(error)
                if problem is None:
                    raise
                raise problem from error
            finally:
                self._put_back(connection, clean=clean)
        finally:
            self.release()

    def _begun(self, schema: str, cancel: CancelToken | None) -> Connection:
        """A connection in a transaction: one at rest, if it is still alive."""
        while True:
            with self._lock:
                known = self._idle.pop() if self._idle else None
            connection = known or self._connect()
            try:
                connection.begin(schema, cancel)
            except Exception as error:
                connection.close()
                if known is not None:
                    continue
                problem = connection.problem(error)
                if problem is None:
                    raise
                raise problem from error
            return connection

    def _put_back(self, connection: Connection, *, clean: bool) -> None:
        """Keep a connection for the next; one that failed or was cancelled may still be told to stop."""
        if clean:
            try:
                connection.end()
            except Exception:  # noqa: BLE001  (whatever it is, the connection is of no use any more)
                clean = False
        with self._lock:
            keep = clean and len(self._idle) < self._idle_kept and self._holders > 0
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
