"""The acceptance of a sink: what every sink promises, tried on a real one in a scratch place beside it.

Each check is a function of a `Trial` that returns a sentence, or raises with one where a promise is
broken. Checks go through the public interface of the sink; what it did is looked at without it. Every
check has tables and jobs of its own, so that one that fails leaves the others alone.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from casparian.domain.contracts import Column
from casparian.domain.errors import Cancelled, CasparianError, EnvironmentProblem, UserProblem
from casparian.domain.ids import new_id
from casparian.domain.types import arrow_type
from casparian.sinks import samples
from casparian.sinks.base import Delivered, RowsOf
from casparian.sinks.samples import TEXT, CancelsAtCheck, columns_of, delivery, same, table_delivery
from casparian.sinks.scratch import OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from casparian.domain.cancel import CancelToken
    from casparian.sinks.base import Delivery, Sink
    from casparian.sinks.scratch import Place

logger = logging.getLogger(__name__)

LOAD_ROWS = 200_000
_PARTS = 4
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one check."""

    name: str
    ok: bool
    detail: str
    """In a sentence: what was seen, or which promise is broken."""
    seconds: float
    rows_per_s: int | None = None
    """Of the check that loads many rows."""


class _Broken(Exception):  # noqa: N818  (it tells of a promise)
    """A promise is broken; says how."""


@dataclass(slots=True)
class Trial:
    """A sink on trial, and what a check needs to deliver to it and to see what it did."""

    sink: Sink
    place: Place
    folder: Path
    """Where parts are staged."""
    cancel: CancelToken
    load_rows: int = LOAD_ROWS
    rows_per_s: int | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def job(self) -> str:
        """A new job."""
        return new_id()

    def table(self) -> str:
        """A name for a new table."""
        return f"t{next(self._numbers)}"

    def staged(self, columns: Sequence[Column], values: Mapping[str, Any], **options: Any) -> Path:
        """Stage a file."""
        return samples.part(self.folder, columns, values, **options)

    def texts(
        self,
        job: str,
        table: str,
        files: Mapping[str, Sequence[str]],
        *,
        gone: Sequence[tuple[str, str]] = (),
        attempt: int = 1,
        schema: str = "default",
    ) -> Delivery:
        """A delivery of texts to one table, by file."""
        parts = [
            self.staged(TEXT, {"text": texts}, job=job, file=file) for file, texts in files.items()
        ]
        told = table_delivery(table, TEXT, *parts, gone=gone)
        return delivery(job, told, attempt=attempt, schema=schema)

    def deliver(self, what: Delivery) -> None:
        """Deliver, until the whole trial is cancelled."""
        self.sink.deliver(what, self.cancel)

    def deliver_table(
        self, table: str, columns: tuple[Column, ...], values: Mapping[str, Any]
    ) -> None:
        """Deliver values by column to a table, by a new job."""
        job = self.job()
        path = self.staged(columns, values, job=job)
        self.deliver(delivery(job, table_delivery(table, columns, path)))

    def read(self, table: str, columns: Sequence[Column], schema: str = "default") -> pa.Table:
        """A table in the order of its rows' jobs and numbers."""
        found = self.place.read(schema, table, columns)
        if found is None:
            raise _Broken(f"the table {table} is not there")
        keys = ("_cf_job_id", "_cf_row", "_cf_file_id")
        has = [name for name in keys if name in found.column_names]
        return found.sort_by([(name, "ascending") for name in has])

    def expect(
        self, after: str, table: str, wanted: Sequence[str], schema: str = "default"
    ) -> None:
        """Find exactly these texts in a table; none may mean that there is no table."""
        there = self.place.read(schema, table, TEXT[:1])
        found = [] if there is None else sorted(str(one) for one in there["text"].to_pylist())
        if found != sorted(wanted):
            raise _Broken(f"{after}, there are {_listed(found)}; wanted are {_listed(wanted)}")

    def expect_ledger(self, after: str, job: str, wanted: Delivered | None) -> None:
        """Find exactly that in the ledger."""
        if (found := self.sink.delivered(job)) != wanted:
            raise _Broken(f"{after}, the ledger says {found}; wanted is {wanted}")

    def expect_nothing_beside(self, after: str) -> None:
        """Find nothing that a load has left."""
        if left := self.place.leftovers():
            raise _Broken(f"{after}, {', '.join(left)} was left beside the tables")


def accept(
    place: Place,
    sink: Sink,
    cancel: CancelToken,
    *,
    load_rows: int = LOAD_ROWS,
    checks: Mapping[str, Callable[[Trial], str]] | None = None,
) -> Iterator[Outcome]:
    """Try a sink in its scratch place, which is dropped at the end; outcomes come one by one.

    Where the place cannot be used at all there is one outcome, and nothing was made.

    Raises:
        Cancelled: somebody asked to stop; comes when the place is dropped.
    """
    stopped: Cancelled | None = None
    with tempfile.TemporaryDirectory(prefix="casparian-", ignore_cleanup_errors=True) as folder:
        trial = Trial(sink, place, Path(folder), cancel, load_rows)
        first = _judged(trial, "connection and rights", _connection)
        yield first
        if not first.ok:
            return
        try:
            for name, check in (checks or CHECKS).items():
                cancel.check()
                yield _judged(trial, name, check)
        except Cancelled as error:
            stopped = error
        except BaseException:  # a fault of ours, or nobody listens any more
            if not (dropped := _dropped(place)).ok:
                logger.error("%s", dropped.detail)  # noqa: TRY400  (the fault itself is raised)
            raise
        yield _dropped(place)
    if stopped is not None:
        raise stopped


def _judged(trial: Trial, name: str, check: Callable[[Trial], str]) -> Outcome:
    begin = time.monotonic()
    trial.rows_per_s = None
    try:
        detail, ok = check(trial), True
    except Exception as error:
        trial.cancel.check()
        logger.debug("%s", name, exc_info=True)
        detail, ok = _told(error), False
    return Outcome(name, ok, detail, time.monotonic() - begin, trial.rows_per_s)


def _dropped(place: Place) -> Outcome:
    begin = time.monotonic()
    try:
        place.drop()
        detail, ok = f"{place.name} is dropped", True
    except CasparianError as error:
        detail, ok = f"{place.name} could not be dropped, remove it by hand: {error}", False
    return Outcome("dropped", ok, detail, time.monotonic() - begin)


# --- What checks say


@contextlib.contextmanager
def _refused(what: str, kind: type[CasparianError], naming: str = "") -> Iterator[None]:
    """Hold that something is refused by a sentence of that kind, which names the culprit."""
    try:
        yield
    except kind as error:
        if naming not in str(error):
            raise _Broken(f"{what} is refused without naming {naming}: {error}") from error
        return
    raise _Broken(f"{what} is not refused")


def _told(error: Exception) -> str:
    if isinstance(error, (_Broken, CasparianError)):
        return str(error)
    return f"{type(error).__name__} instead of a sentence: {error}"


def _listed(texts: Sequence[str]) -> str:
    return _cut(", ".join(repr(one) for one in sorted(texts)) or "none")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


# --- The checks


def _connection(trial: Trial) -> str:
    state = trial.sink.probe()
    return f"{state.version} answers, and tables can be made"


def _never_used(trial: Trial) -> str:
    trial.expect_ledger("before anything was delivered", trial.job(), None)
    trial.sink.revoke(trial.job())
    if swept := list(trial.sink.sweep(())):
        raise _Broken(f"{', '.join(swept)} is swept where nothing was")
    return "a place that was never used can be asked, swept and revoked from"


def _types(trial: Trial) -> str:
    faults = {case: fault for case in samples.HARD if (fault := _fault_of(trial, case))}
    if faults:
        first = "; ".join(itertools.islice(faults.values(), 3))
        raise _Broken(f"{len(faults)} of {len(samples.HARD)} kinds of values: {first}")
    refused = len(trial.place.refuses)
    kept = f"{len(samples.HARD) - refused} kinds of hard values came back as they were"
    return f"{kept}; {refused} that it has no value for are refused" if refused else kept


def _fault_of(trial: Trial, case: str) -> str:
    """What is wrong about values that are hard to keep; nothing if nothing is."""
    word, values = samples.HARD[case]
    table, columns = trial.table(), columns_of(value=word)
    try:
        if case in trial.place.refuses:
            with _refused(case, CasparianError, "value"):
                trial.deliver_table(table, columns, {"value": values})
            return ""
        trial.deliver_table(table, columns, {"value": values})
        found = trial.read(table, columns)["value"].combine_chunks()
    except Exception as error:
        trial.cancel.check()
        logger.debug("%s", case, exc_info=True)
        return f"{case}: {_told(error)}"
    shown = (_cut(str(one.to_pylist())) for one in (found, values))
    return "" if same(found, values) else "{}: {} came back for {}".format(case, *shown)


def _nul(trial: Trial) -> str:
    table, columns = trial.table(), columns_of(text="string", many="list<string>")
    texts, many = ["a\0b\0", "plain", "\0"], [["x\0"], ["y"], None]
    trial.deliver_table(table, columns, {"text": texts, "many": many})

    found, nul = trial.read(table, columns), trial.place.nul
    wanted = [one.replace("\0", nul) for one in texts], [[f"x{nul}"], ["y"], None]
    got = found["text"].to_pylist(), found["many"].to_pylist()
    if got != wanted:
        raise _Broken(f"{got!a} came back for {wanted!a}")
    return "NUL in text is kept" if nul == "\0" else f"NUL in text becomes U+{ord(nul):04X}"


def _rows(trial: Trial) -> str:
    table, job = trial.table(), trial.job()
    trial.deliver(trial.texts(job, table, {"f1": ["a", "b"], "f2": ["c"]}))

    trial.expect("after a delivery", table, ["a", "b", "c"])
    trial.expect_ledger("after it", job, Delivered(job, 1, "default", ((table, 3),), ()))
    row = trial.read(table, TEXT).to_pylist()[0]
    lineage = row["_cf_job_id"], row["_cf_file_id"], row["_cf_row"], row["_cf_source_hash"]
    if lineage != (job, "f1", 1, "hash of f1"):
        raise _Broken(f"the lineage of a row is {lineage}")
    return "rows appear once, with their lineage, and the ledger says so"


def _redelivery(trial: Trial) -> str:
    table, other, job = trial.table(), trial.table(), trial.job()
    trial.deliver(trial.texts(trial.job(), table, {"f9": ["stays"]}))
    trial.deliver(trial.texts(job, table, {"f1": ["a", "b"], "f2": ["c"]}))
    trial.deliver(trial.texts(job, table, {"f1": ["a"], "f3": ["d"]}, attempt=2))
    trial.expect("after a second attempt", table, ["a", "d", "stays"])

    trial.deliver(trial.texts(job, other, {"f1": ["a"]}, attempt=3))
    trial.expect("after a third attempt, to another table", table, ["stays"])
    trial.expect("after it", other, ["a"])
    trial.expect_ledger("after it", job, Delivered(job, 3, "default", ((other, 1),), ()))
    return "a job that delivers again takes the place of what it delivered before"


def _replacing(trial: Trial) -> str:
    table, old, new = trial.table(), trial.job(), trial.job()
    files = {f"f{at}": [f"old {at}"] for at in range(4)}
    trial.deliver(trial.texts(old, table, files))
    gone = [(old, f"f{at}") for at in range(1_000) if at != 3]
    trial.deliver(trial.texts(new, table, {"f1": ["new"]}, gone=gone))
    trial.expect("after rows of three files were replaced", table, ["new", "old 3"])
    told = trial.sink.delivered(new)
    if told is None or {*told.gone} != {(table, RowsOf(*one)) for one in gone}:
        raise _Broken("the ledger does not say what has left")

    leave = table_delivery(table, (), gone=[(old, "f3")])
    trial.deliver(delivery(trial.job(), leave))
    trial.expect("after rows left and none came", table, ["new"])
    return "replaced rows leave, others stay, and the ledger says so"


def _workspaces(trial: Trial) -> str:
    table = trial.table()
    trial.deliver(trial.texts(trial.job(), table, {"f1": ["a"]}))
    trial.deliver(trial.texts(trial.job(), table, {"f1": ["b"]}, schema=OTHER))
    trial.expect("in the default workspace", table, ["a"])
    trial.expect("in the other workspace", table, ["b"], schema=OTHER)
    return "tables of two workspaces keep apart"


def _all_or_nothing(trial: Trial) -> str:
    good, theirs, old, new = trial.table(), trial.table(), trial.job(), trial.job()
    trial.deliver(trial.texts(old, good, {"f1": ["old"]}))
    trial.place.make_foreign("default", theirs)
    path = trial.staged(TEXT, {"text": ["new"]}, job=new)
    tables = (
        table_delivery(good, TEXT, path, gone=[(old, "f1")]),
        table_delivery(theirs, TEXT, path),
    )
    for order in (tables, tables[::-1]):
        with _refused("a table of another program", UserProblem):
            trial.deliver(delivery(new, *order))
        trial.expect("after one of two tables was refused", good, ["old"])
    trial.expect_ledger("after it", new, None)
    trial.expect_nothing_beside("after it")

    fine = table_delivery(trial.table(), TEXT, path)
    trial.deliver(delivery(new, tables[0], fine))
    trial.expect("after a delivery to two tables", good, ["new"])
    trial.expect("after it", fine.name, ["new"])
    return "several tables are delivered together, or none of them"


def _foreign(trial: Trial) -> str:
    theirs, job = trial.table(), trial.job()
    trial.place.make_foreign("default", theirs)
    with _refused("a table of another program", UserProblem, theirs):
        trial.deliver(trial.texts(job, theirs, {"f1": ["a"]}))
    found = trial.place.read("default", theirs, (Column("stranger", "string"),))
    if found is None or found.num_rows != 1:
        raise _Broken("a table of another program was changed")
    trial.expect_ledger("after it was refused", job, None)
    return "a table of another program is refused by name and left alone"


def _counts(trial: Trial) -> str:
    table, job = trial.table(), trial.job()
    path = trial.staged(TEXT, {"text": ["a", "b"]}, job=job)
    told = table_delivery(table, TEXT, path)
    for rows in (1, 3):
        with _refused(f"a load of 2 rows where {rows} were told", EnvironmentProblem):
            trial.deliver(delivery(job, replace(told, rows=rows)))
    with _refused("a staged file that is not there", EnvironmentProblem):
        trial.deliver(delivery(job, replace(told, parts=(path, path.with_name("none")))))
    trial.expect("after loads were refused", table, [])
    trial.expect_ledger("after it", job, None)
    trial.expect_nothing_beside("after it")
    return "a load that counts otherwise than told is refused"


def _new_columns(trial: Trial) -> str:
    table = trial.table()
    narrow, wide = columns_of(a="string"), columns_of(a="string", b="int64", c="list<string>")
    trial.deliver_table(table, narrow, {"a": ["1"]})
    trial.deliver_table(table, wide, {"a": ["2"], "b": [2], "c": [["x"]]})
    trial.deliver_table(table, wide, {"b": [3]})
    trial.deliver_table(table, narrow, {"a": ["4"]})

    found = trial.read(table, wide)
    rows = list(zip(*(found[name].to_pylist() for name in "abc"), strict=True))
    wanted = [("1", None, None), ("2", 2, ["x"]), (None, 3, None), ("4", None, None)]
    if rows != wanted:
        raise _Broken(f"{rows} came back for {wanted}")
    return "columns are added, and are null where they were not"


def _wider_types(trial: Trial) -> str:
    for old, values, new, more, expected in samples.WIDENINGS:
        table, after = trial.table(), columns_of(a=new)
        trial.deliver_table(table, columns_of(a=old), {"a": values})
        trial.deliver_table(table, after, {"a": more})
        found = trial.read(table, after)["a"].combine_chunks()
        if not same(found, pa.array(expected, arrow_type(new))):
            raise _Broken(f"{old} as {new}: {found.to_pylist()} came back for {expected}")

    table, before, after = trial.table(), columns_of(size="int64"), columns_of(size="float64")
    trial.deliver_table(table, before, {"size": [2**53 + 1]})
    with _refused("a change that loses digits", UserProblem, "size"):
        trial.deliver_table(table, after, {"size": [0.5]})
    if trial.read(table, before)["size"].to_pylist() != [2**53 + 1]:
        raise _Broken("a change that was refused has lost digits")
    return f"{len(samples.WIDENINGS)} kinds of columns become wider without loss"


def _names(trial: Trial) -> str:
    names = [*samples.COLUMN_NAMES, *(() if trial.place.folds_case else samples.NAMES_BY_CASE)]
    table, columns = trial.table(), columns_of(**dict.fromkeys(names, "string"))
    trial.deliver_table(table, columns, {one: [f"value of {one}"] for one in names})
    found = trial.read(table, columns)
    for one in names:
        if found[one].to_pylist() != [f"value of {one}"]:
            raise _Broken(f"the column {one!a} holds {found[one].to_pylist()!a}")

    for one in samples.TABLE_NAMES:
        old, new = trial.job(), trial.job()
        trial.deliver(trial.texts(old, one, {"f1": ["old"]}))
        trial.deliver(trial.texts(new, one, {"f1": ["new"]}, gone=[(old, "f1")]))
        trial.expect(f"in the table {one!a}", one, ["new"])
    return f"{len(names)} names of columns and {len(samples.TABLE_NAMES)} of tables are kept"


def _revoke(trial: Trial) -> str:
    table, other, job = trial.table(), trial.table(), trial.job()
    trial.deliver(trial.texts(trial.job(), table, {"f1": ["stays"]}))
    path = trial.staged(TEXT, {"text": ["a", "b"]}, job=job)
    trial.deliver(delivery(job, *(table_delivery(one, TEXT, path) for one in (table, other))))
    for times in ("once", "twice"):
        trial.sink.revoke(job)
        trial.expect(f"after a job was revoked {times}", table, ["stays"])
        trial.expect("after it", other, [])
        trial.expect_ledger("after it", job, None)
    return "a job takes its rows back, and those of others stay"


def _sweep(trial: Trial) -> str:
    table, job = trial.table(), trial.job()
    trial.deliver(trial.texts(job, table, {"f1": ["a"]}))
    for alive in ({job}, ()):
        if swept := list(trial.sink.sweep(alive)):
            raise _Broken(f"{', '.join(swept)} was left by deliveries that are done")
    trial.expect("after sweeping", table, ["a"])
    trial.expect_nothing_beside("after sweeping")
    return "nothing is left beside the tables, and what is delivered stays"


def _cancel(trial: Trial) -> str:
    table, old = trial.table(), trial.job()
    trial.deliver(trial.texts(old, table, {"f1": ["old"]}))
    files = {f"f{at}": [str(at)] for at in range(6)}
    for checks in (1, 2, 4):
        job = trial.job()
        what = trial.texts(job, table, files, gone=[(old, "f1")])
        with _refused("a delivery that is cancelled", Cancelled):
            trial.sink.deliver(what, CancelsAtCheck(checks))
        trial.expect("after a delivery was cancelled", table, ["old"])
        trial.expect_ledger("after it", job, None)
        trial.expect_nothing_beside("after it")
    return "a cancelled delivery leaves nothing, and what it would replace stays"


def _two_at_once(trial: Trial) -> str:
    table, texts = trial.table(), [f"{at}" for at in range(6)]
    jobs = [trial.texts(trial.job(), table, {"f1": [one]}) for one in texts]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(trial.deliver, jobs))
    trial.expect("after two threads delivered at once", table, texts)
    return f"{len(jobs)} deliveries by two threads to one table are all there"


def _load(trial: Trial) -> str:
    columns = columns_of(text="string", size="int64", at="timestamp_utc", score="float64")
    table, job, rows = trial.table(), trial.job(), trial.load_rows // _PARTS
    parts = [_part_of_load(trial, columns, job, start=at * rows, rows=rows) for at in range(_PARTS)]
    what = delivery(job, table_delivery(table, columns, *parts))

    begin = time.monotonic()
    trial.deliver(what)
    seconds = time.monotonic() - begin
    trial.rows_per_s = round(what.rows / seconds)

    found = trial.read(table, (*columns[:2], *(one for one in columns if one.name == "_cf_row")))
    numbers = list(range(what.rows))
    if found["_cf_row"].to_pylist() != numbers:
        raise _Broken(f"{found.num_rows:,} of {what.rows:,} rows are there, or not each once")
    if found["size"].to_pylist() != numbers:
        raise _Broken("values are in other rows than theirs")
    return f"{what.rows:,} rows in {seconds:.2f} s, {trial.rows_per_s:,} rows/s"


def _part_of_load(
    trial: Trial, columns: Sequence[Column], job: str, *, start: int, rows: int
) -> Path:
    numbers = range(start, start + rows)
    values = {
        "text": [f"C:\\Windows\\System32\\{one:08}.dll" for one in numbers],
        "size": list(numbers),
        "at": [samples.PROCESSED_AT_US + one for one in numbers],
        "score": [one / 7 for one in numbers],
    }
    return trial.staged(columns, values, job=job, start=start)


CHECKS: dict[str, Callable[[Trial], str]] = {
    "never used": _never_used,
    "types": _types,
    "NUL in text": _nul,
    "rows": _rows,
    "redelivery": _redelivery,
    "replaced rows": _replacing,
    "workspaces": _workspaces,
    "all or nothing": _all_or_nothing,
    "foreign table": _foreign,
    "counts": _counts,
    "new columns": _new_columns,
    "wider types": _wider_types,
    "names": _names,
    "revoke": _revoke,
    "sweep": _sweep,
    "cancel": _cancel,
    "two at once": _two_at_once,
    "load": _load,
}
"""By the promise that each is about."""
