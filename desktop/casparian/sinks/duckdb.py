"""The DuckDB sink: tables in one DuckDB file, a schema for each workspace.

A delivery is one transaction, so that nothing has to be staged beside the tables: the file opens
read-write for it alone and closes again, and other programs may read it until the next. Who has the file
open in this process is settled by `duckfiles.exclusively`, between processes by DuckDB's own lock, which
names the program that holds it.

Every column is of the DuckDB type that holds its values exactly; JSON stays the text that it was, since
DuckDB's JSON type refuses some of what is JSON. Durations are intervals of microseconds: DuckDB keeps
them whole but hands those beyond 292 years to Arrow wrong, so a reader takes `epoch_us(column)`.

Rows come straight from the staged Parquet files where these are of the table's types, which is about a
quarter faster; else by way of Arrow, which casts what is narrower and refuses to lose anything.
"""

# ruff: noqa: S608  (SQL is made here: names and text pass `quote` and `literal`, values are bound)
from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE_COLUMNS
from casparian.domain.errors import (
    CasparianError,
    EnvironmentProblem,
    UserProblem,
    from_os_error,
)
from casparian.domain.ids import new_id
from casparian.duck import STORAGE, literal, quote, read_parquet, stored_type
from casparian.duckfiles import exclusively
from casparian.durable import sync_file, sync_folder
from casparian.sinks.base import Delivered, RowsOf, SinkState
from casparian.sinks.names import DEFAULT_FOLDER, refuse_twins
from casparian.sinks.staged import batches, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from casparian.domain.addresses import Address
    from casparian.domain.contracts import Column
    from casparian.sinks.base import Delivery, TableDelivery

    _Connection: TypeAlias = duckdb.DuckDBPyConnection

logger = logging.getLogger(__name__)

LOCK_WAIT_S = 10.0
"""How long a delivery waits for another program that has the file open."""
_PROBE_WAIT_S = 3.0
_LOOK_S = 0.1
_LARGEST_WHOLE = 2**53
"""Beyond it a double does not hold every whole number."""

_SINK = "sink"
"""What the file is called while it is attached."""
_INTERNAL = "_casparian"
_LEDGER = f"{_SINK}.{_INTERNAL}.ledger"
_MAKE_LEDGER = f"""
CREATE SCHEMA IF NOT EXISTS {_SINK}.{_INTERNAL};
CREATE TABLE IF NOT EXISTS {_LEDGER} (job_id VARCHAR NOT NULL, attempt BIGINT NOT NULL,
    schema_name VARCHAR NOT NULL, delivered_at TIMESTAMPTZ NOT NULL, tables VARCHAR NOT NULL,
    gone VARCHAR NOT NULL)
"""
"""`tables` is JSON, [[table, rows], ...]; so is `gone`, [[table, job, file], ...]."""

_HOLDER = re.compile(
    r"(?:held in|already open in)\s*(?P<program>.*?)\s*\(?PID (?P<pid>\d+)", re.DOTALL
)
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_WIDER = {"BIGINT": "DOUBLE", "DATE": "TIMESTAMP"}
_WORDS = {"DOUBLE": "float64", "TIMESTAMP": "timestamp", "VARCHAR": "string"}
_BIGINT_DIGITS = 19


def _nothing(step: str) -> None:
    del step


class DuckdbSink:
    """A DuckDB file as a place for tables; see `base.Sink` for what its methods promise."""

    def __init__(
        self,
        address: Address,
        *,
        reserved: Collection[Path] = (),
        lock_wait_s: float = LOCK_WAIT_S,
        on_step: Callable[[str], None] = _nothing,
    ) -> None:
        """Use the file of an address; it is made when first delivered to.

        Args:
            address: of the scheme `duckdb`.
            reserved: files that are no sink: the state store and the catalog.
            lock_wait_s: how long to wait for another program that has the file open.
            on_step: told each step that is done; tests stop there.

        Raises:
            UserProblem: the file is a reserved one, or has a name that DuckDB cannot open.
        """
        if address.path is None:
            raise ValueError("a DuckDB sink is a file")
        self.address = address
        self._path = Path(os.path.realpath(address.path))
        self._lock_wait_s = lock_wait_s
        self._on_step = on_step
        if any(_is_same(self._path, one) for one in reserved):
            raise UserProblem(
                f"{self._path.name} cannot be a sink",
                f"{self._path} is a file that this program keeps for itself",
                "Choose another file",
            )
        if "?" in str(self._path):
            # DuckDB takes what stands behind it for options, and looks for its log elsewhere.
            raise UserProblem(
                f"{self._path.name} cannot be a sink",
                f"{self._path} holds a question mark",
                "Choose a path without one",
            )

    def deliver(self, delivery: Delivery, cancel: CancelToken) -> None:
        """Load, replace and record in one transaction."""
        with self._opened("The rows could not be delivered", cancel=cancel) as connection:
            connection.execute("BEGIN")
            with _stopped_by(connection, cancel):
                connection.execute(_MAKE_LEDGER)
                connection.execute(
                    f"CREATE SCHEMA IF NOT EXISTS {_SINK}.{quote(_schema(delivery.schema))}"
                )
                _take_back(connection, delivery.job_id)
                for table in delivery.tables:
                    self._deliver_table(connection, delivery, table, cancel)
            _record(connection, delivery)
            self._on_step("ledger")
            cancel.check()
            connection.execute("COMMIT")
            self._on_step("committed")
            _checkpoint(connection)

    def delivered(self, job_id: str) -> Delivered | None:
        """Ask the ledger."""
        if not self._path.exists():
            return None
        with self._opened("The ledger could not be read", read_only=True) as connection:
            return _delivered(connection, job_id) if _has_ledger(connection) else None

    def revoke(self, job_id: str) -> None:
        """Take the rows of a job out again."""
        if not self._path.exists():
            return
        with self._opened("The rows could not be taken back") as connection:
            if _has_ledger(connection):
                connection.execute("BEGIN")
                _take_back(connection, job_id)
                connection.execute("COMMIT")
                _checkpoint(connection)

    def sweep(self, alive: Collection[str]) -> Sequence[str]:
        """Remove files that were about to become the sink's when the program ended."""
        del alive  # a transaction leaves nothing
        swept = []
        with exclusively(self._path):
            for one in self._path.parent.glob(f".{_escaped(self._path.name)}.*.new"):
                with contextlib.suppress(OSError):
                    one.unlink()
                    swept.append(one.name)
        return swept

    def probe(self) -> SinkState:
        """Look whether the file can be opened and written, or made."""
        folder = next(one for one in self._path.parents if one.exists())
        place = self._path if self._path.exists() else folder
        if not os.access(place, os.W_OK):
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
            raise from_os_error(denied, f"{self._path.name} cannot be written")
        size = None
        if self._path.exists():
            with self._opened("The file could not be opened", wait_s=_PROBE_WAIT_S):
                size = self._path.stat().st_size
        return SinkState(f"DuckDB {duckdb.__version__}", size, shutil.disk_usage(folder).free)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _deliver_table(
        self,
        connection: _Connection,
        delivery: Delivery,
        table: TableDelivery,
        cancel: CancelToken,
    ) -> None:
        place = _place(delivery.schema, table.name)
        if not table.columns:  # rows only leave
            if _is_ours(_columns(connection, _schema(delivery.schema), table.name)):
                _take_out(connection, place, table)
            return
        refuse_twins(table.name, (one.name for one in table.columns))
        table = self._shape(connection, delivery.schema, table)
        plain = _is_plain(table, cancel)
        self._on_step("staged")
        if table.gone:
            _take_out(connection, place, table)
        self._on_step("deleted")
        rows = _insert(connection, place, table, cancel, plain=plain) if table.parts else 0
        if rows != table.rows:
            raise EnvironmentProblem(
                f"The rows of {table.name} could not be delivered",
                f"{table.rows:,} were staged, {rows:,} were read",
                "Run the job again",
            )
        self._on_step("inserted")

    def _shape(self, connection: _Connection, folder: str, table: TableDelivery) -> TableDelivery:
        """Make the table, or give an older one the columns and types that it is to have.

        Returns:
            The delivery, with the wider types that the table has already.
        """
        place = _place(folder, table.name)
        wanted = _types(connection, table.columns)
        found = _columns(connection, _schema(folder), table.name)
        if found is None:
            made = ", ".join(f"{quote(name)} {kind}" for name, kind in wanted.items())
            connection.execute(f"CREATE TABLE {place} ({made})")
            return table
        if not _is_ours(found):
            raise UserProblem(
                f"{table.name} in {self._path.name} is not a table of this program",
                "It lacks the columns that say where a row comes from",
                "Rename it, or choose another sink",
            )
        folded = {name.casefold(): kind for name, kind in found.items()}
        columns = []
        for column in table.columns:
            old, new = folded.get(column.name.casefold(), ""), wanted[column.name]
            name = quote(column.name)
            if not old:
                connection.execute(f"ALTER TABLE {place} ADD COLUMN {name} {new}")
            elif old != new and _can_become(connection, place, name, old, new):
                value = f"nullif({name}, '')" if old == "VARCHAR" else name
                connection.execute(
                    f"ALTER TABLE {place} ALTER {name} TYPE {new} USING CAST({value} AS {new})"
                )
            elif old != new and not _is_wider(old, new):
                raise UserProblem(
                    f"{table.name} in {self._path.name} has a column of another type",
                    f"{column.name} is {old} and not all of its values can become {new}",
                    "Rename the table, or choose another sink",
                )
            elif old != new:
                column = replace(column, type=_word(old))
            columns.append(column)
        return replace(table, columns=tuple(columns))

    @contextlib.contextmanager
    def _opened(
        self,
        what: str,
        *,
        read_only: bool = False,
        wait_s: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[_Connection]:
        """The file, attached as `sink`, alone in this process; a transaction left open is undone."""
        cancel = cancel or CancelToken()
        with exclusively(self._path, wait_s=wait_s, cancel=cancel), self._converted(what, cancel):
            if not read_only:
                self._make()
            with contextlib.closing(_connect(self._path)) as connection:
                until = time.monotonic() + min(self._lock_wait_s, wait_s or self._lock_wait_s)
                options = "READ_ONLY, TYPE duckdb" if read_only else "TYPE duckdb"
                attach = f"ATTACH {literal(str(self._path))} AS {_SINK} ({options})"
                while not _attached(connection, attach, cancel, until):
                    cancel.wait(_LOOK_S)
                    cancel.check()
                try:
                    yield connection
                finally:
                    # Both fail after DuckDB gave up on the file; closing the instance then frees it.
                    for statement in ("ROLLBACK", f"DETACH {_SINK}"):
                        with contextlib.suppress(duckdb.Error):
                            connection.execute(statement)

    def _make(self) -> None:
        """Put an empty database in place, if nothing is there; a crash leaves no half of one."""
        if self._path.exists():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_name(f".{self._path.name}.{new_id()}.new")
        try:
            with contextlib.closing(duckdb.connect()) as connection:
                connection.execute(
                    f"ATTACH {literal(str(aside))} AS made"
                    f" (TYPE duckdb, STORAGE_VERSION {literal(STORAGE)})"
                )
                connection.execute("CHECKPOINT made")
                connection.execute("DETACH made")
            sync_file(aside)
            with contextlib.suppress(FileExistsError):  # another process was quicker
                _put(aside, self._path)
            sync_folder(self._path.parent)
        finally:
            aside.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _converted(self, what: str, cancel: CancelToken) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise from_os_error(error, what) from error
        except pa.ArrowException as error:
            raise EnvironmentProblem("A staged file could not be read", str(error)) from error
        except duckdb.Error as error:
            if isinstance(error, duckdb.InterruptException):
                cancel.check()
            raise _from_duckdb(error, what, self._path) from error


def _connect(path: Path) -> _Connection:
    connection = duckdb.connect(
        config={
            "temp_directory": f"{path}.tmp",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            # Else what several threads loaded is written once more at the checkpoint, in their order:
            # a third of the time, and twice the file. Rows carry their place (`_cf_row`).
            "preserve_insertion_order": "false",
        }
    )
    # What is text of an instant from now on, says so in UTC.
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _attached(connection: _Connection, attach: str, cancel: CancelToken, until: float) -> bool:
    """Whether it could be attached; False if another process has the file open and time is left."""
    cancel.check()
    try:
        connection.execute(attach)
    except duckdb.IOException as error:
        if not _is_locked(error) or time.monotonic() >= until:
            raise
        return False
    return True


@contextlib.contextmanager
def _stopped_by(connection: _Connection, cancel: CancelToken) -> Iterator[None]:
    """Interrupt what the connection does, once somebody asks to stop."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            if cancel.is_cancelled:
                connection.interrupt()

    watcher = threading.Thread(target=watch, name="duckdb-sink-cancel", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _types(connection: _Connection, columns: Sequence[Column]) -> dict[str, str]:
    """The types of columns, spelled as DuckDB spells them."""
    spelled = ", ".join(f"typeof(CAST(NULL AS {stored_type(one.type)}))" for one in columns)
    found = connection.execute(f"SELECT {spelled}").fetchall()[0]
    return {one.name: str(kind) for one, kind in zip(columns, found, strict=True)}


def _columns(connection: _Connection, schema: str, name: str) -> dict[str, str] | None:
    """Columns and types of a table or view; None if there is none."""
    rows = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = ?"
        " AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?) ORDER BY column_index",
        [_SINK, schema, name],
    ).fetchall()
    return dict(rows) or None


def _is_ours(columns: Mapping[str, str] | None) -> bool:
    """Whether rows of ours may be in a table: it says of each row where it comes from."""
    return columns is not None and columns.keys() >= {*LINEAGE_COLUMNS}


def _can_become(connection: _Connection, place: str, name: str, old: str, new: str) -> bool:
    """Whether every value of the column survives the change of type."""
    if not _is_wider(new, old):
        # A column that held no value so far is text, all of it empty, and becomes whatever comes.
        where = f"{name} <> ''" if old == "VARCHAR" else f"{name} IS NOT NULL"
    elif new == "DOUBLE":
        where = f"{name} NOT BETWEEN -{_LARGEST_WHOLE} AND {_LARGEST_WHOLE}"
    else:
        return True
    return not connection.execute(f"SELECT 1 FROM {place} WHERE {where} LIMIT 1").fetchall()


def _is_wider(wide: str, narrow: str) -> bool:
    """Whether a type holds the values of another; whole numbers in doubles are looked at one by one."""
    if wide == "VARCHAR" or _WIDER.get(narrow) == wide:
        return True
    if not (to := _DECIMAL.fullmatch(wide)):
        return False
    whole, scale = int(to[1]) - int(to[2]), int(to[2])
    if narrow == "BIGINT":
        return whole >= _BIGINT_DIGITS
    if not (of := _DECIMAL.fullmatch(narrow)):
        return False
    return int(of[1]) - int(of[2]) <= whole and int(of[2]) <= scale


def _word(wide: str) -> str:
    """The word of a type that is wider than another."""
    return _WORDS.get(wide) or wide.lower()


def _take_out(connection: _Connection, place: str, table: TableDelivery) -> None:
    """Remove the rows that the delivery replaces."""
    gone = pa.table(
        {
            "job_id": pa.array([one.job_id for one in table.gone], pa.string()),
            "file_id": pa.array([one.file_id for one in table.gone], pa.string()),
        }
    )
    where = "(_cf_job_id, _cf_file_id) IN (SELECT (job_id, file_id) FROM gone)"
    with _known_as(connection, "gone", gone):
        connection.execute(f"DELETE FROM {place} WHERE {where}")


def _insert(
    connection: _Connection,
    place: str,
    table: TableDelivery,
    cancel: CancelToken,
    *,
    plain: bool,
) -> int:
    names = ", ".join(quote(one.name) for one in table.columns)
    if plain:
        source = read_parquet(table.columns, (str(one.absolute()) for one in table.parts))
        values = ", ".join(
            f"to_microseconds({quote(one.name)})" if one.type == "duration" else quote(one.name)
            for one in table.columns
        )
        return _count(
            connection.execute(f"INSERT INTO {place} ({names}) SELECT {values} FROM {source}")
        )
    staged = _Batches(table, cancel)
    reader = pa.RecordBatchReader.from_batches(schema_of(table), staged)
    with _known_as(connection, "staged", reader):
        try:
            return _count(
                connection.execute(f"INSERT INTO {place} ({names}) SELECT {names} FROM staged")
            )
        except duckdb.Error:
            if staged.error is not None:
                raise staged.error from None
            raise


class _Batches:
    """The batches of a delivery; keeps the error that ended them, of which DuckDB makes a text."""

    def __init__(self, table: TableDelivery, cancel: CancelToken) -> None:
        self._batches = batches(table, cancel)
        self.error: CasparianError | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except CasparianError as error:
            self.error = error
            raise


def _is_plain(table: TableDelivery, cancel: CancelToken) -> bool:
    """Whether DuckDB reads the parts as what they are: all columns of the table's types, or missing.

    Raises:
        EnvironmentProblem: a part is not there or not whole.
        Cancelled: somebody asked to stop.
    """
    wanted = {one.name: one.type for one in schema_of(table)}
    plain = not any("duration>" in one.type or "duration," in one.type for one in table.columns)
    try:
        for path in table.parts:
            cancel.check()
            for field in pq.read_schema(path):
                kind = wanted.get(field.name, field.type)
                # Parquet has no duration: it is written as a whole number.
                plain &= field.type in (kind, pa.int64() if kind == pa.duration("us") else kind)
    except OSError as error:
        raise from_os_error(error, "A staged file could not be read") from error
    except pa.ArrowException as error:
        raise EnvironmentProblem("A staged file could not be read", str(error)) from error
    return plain


def _count(result: _Connection) -> int:
    return int(result.fetchall()[0][0])


def _schema(folder: str) -> str:
    """The schema of a workspace's folder."""
    return "main" if folder == DEFAULT_FOLDER else folder


def _place(folder: str, table: str) -> str:
    return f"{_SINK}.{quote(_schema(folder))}.{quote(table)}"


@contextlib.contextmanager
def _known_as(
    connection: _Connection, name: str, source: pa.Table | pa.RecordBatchReader
) -> Iterator[None]:
    connection.register(name, source)
    try:
        yield
    finally:
        with contextlib.suppress(duckdb.Error):
            connection.unregister(name)


def _has_ledger(connection: _Connection) -> bool:
    return _columns(connection, _INTERNAL, "ledger") is not None


def _delivered(connection: _Connection, job_id: str) -> Delivered | None:
    rows = connection.execute(
        f"SELECT attempt, schema_name, tables, gone FROM {_LEDGER} WHERE job_id = ?", [job_id]
    ).fetchall()
    if not rows:
        return None
    attempt, schema, tables, gone = rows[0]
    return Delivered(
        job_id,
        attempt,
        schema,
        tuple((name, count) for name, count in json.loads(tables)),
        tuple((name, RowsOf(job, file)) for name, job, file in json.loads(gone)),
    )


def _take_back(connection: _Connection, job_id: str) -> None:
    """Remove what an earlier attempt of a job delivered, as the ledger has it, and its ledger row."""
    if (earlier := _delivered(connection, job_id)) is None:
        return
    for name, _ in earlier.tables:
        if _columns(connection, _schema(earlier.schema), name) is not None:
            place = _place(earlier.schema, name)
            connection.execute(f"DELETE FROM {place} WHERE _cf_job_id = ?", [job_id])
    connection.execute(f"DELETE FROM {_LEDGER} WHERE job_id = ?", [job_id])


def _record(connection: _Connection, delivery: Delivery) -> None:
    tables = [[one.name, one.rows] for one in delivery.tables]
    gone = [
        [table.name, one.job_id, one.file_id] for table in delivery.tables for one in table.gone
    ]
    connection.execute(
        f"INSERT INTO {_LEDGER} VALUES (?, ?, ?, now(), ?, ?)",
        [delivery.job_id, delivery.attempt, delivery.schema, json.dumps(tables), json.dumps(gone)],
    )


def _checkpoint(connection: _Connection) -> None:
    """Move what is committed from the log into the file; where that fails, it stays in the log."""
    try:
        connection.execute(f"CHECKPOINT {_SINK}")
    except duckdb.Error as error:
        logger.warning("the log of a DuckDB sink stays beside it: %s", error)


def _put(aside: Path, path: Path) -> None:
    """Give a file its name, unless the name is taken.

    Raises:
        FileExistsError: it is.
    """
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:  # the disk knows no links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        aside.rename(path)


def _is_same(path: Path, other: Path) -> bool:
    real = os.path.realpath(other)
    with contextlib.suppress(OSError):
        if path.samefile(real):
            return True
    return os.path.normcase(path) == os.path.normcase(real)


def _escaped(name: str) -> str:
    return re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", name)


def _is_locked(error: duckdb.Error) -> bool:
    text = str(error)
    return "Could not set lock" in text or "being used by another process" in text


def _holder(text: str) -> str:
    """The program that has a file open, as far as DuckDB and the system tell."""
    if not (found := _HOLDER.search(text)):
        return "Another program"
    pid, program = found["pid"], re.split(r"[\\/]", found["program"])[-1]
    if not program:
        with contextlib.suppress(OSError):
            program = (
                Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
            )
    return f"{program or 'A program'} (process {pid})"


_DAMAGED = (
    ("not a valid DuckDB database file", "is not a DuckDB database", "Choose another file"),
    (
        "can only read storage versions",
        "was made by a newer DuckDB",
        "Choose another file, or one that this version made",
    ),
    ("ncrypt", "is encrypted", "Choose a file that is not"),
)


def _from_duckdb(error: duckdb.Error, what: str, path: Path) -> CasparianError:
    """Turn an error of DuckDB into one of ours; the message tells the kind."""
    text = str(error)
    detail = text.partition(" Error: ")[2] or text
    if _is_locked(error):
        return EnvironmentProblem(
            f"{path.name} is open in another program",
            f"{_holder(text)} has {path} open",
            "Close it there and try again",
            retryable=True,
        )
    for sign, fault, hint in _DAMAGED:
        if sign in text:
            return UserProblem(f"{path.name} cannot be a sink", f"{path} {fault}", hint)
    if "No space left" in text or "disk is full" in text or "not enough space" in text:
        return EnvironmentProblem(
            what, detail, "Free some space on that disk and try again", retryable=True
        )
    if "Permission denied" in text or "Read-only file system" in text or "Is a directory" in text:
        return EnvironmentProblem(what, detail, "Check that you may read and write there")
    if ".parquet" in text:
        return EnvironmentProblem("A staged file could not be read", detail, "Run the job again")
    if "orrupt" in text or "checksum" in text:
        return EnvironmentProblem(
            f"{path.name} is damaged",
            detail,
            "Put a copy of it in its place, or choose another file",
        )
    if isinstance(error, (duckdb.ConversionException, duckdb.OutOfRangeException)):
        return UserProblem(what, detail, "Rename the table, or choose another sink")
    return EnvironmentProblem(what, f"{path}: {detail}")
