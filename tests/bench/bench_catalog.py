"""How fast tables of ten million rows are opened, paged, sorted, filtered, searched and exported.

Each figure stands beside the barest way to the same rows in the same run: one DuckDB query over the same
files, without views, keys, lock or types. A ratio of 1.0 means that ours takes as long.

    python tests/bench/bench_catalog.py [--rows 10000000] [--export-rows 1000000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq

from casparian.catalog import views
from casparian.catalog.export import FORMATS, ManifestFacts, export
from casparian.catalog.reader import CatalogReader
from casparian.domain.contracts import LINEAGE_COLUMNS, Column
from casparian.domain.results import CommittedFile, CommittedTable, Filter, Sort, ViewSpec
from casparian.domain.types import word_of

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 200
FILES = 10
RANDOM_PAGES = 15

EVENTS = """
SELECT make_timestamptz(1609459200000000 + i * 3000000 + CAST(hash(i) % 90000000000 AS BIGINT)) AS time,
    [4624,4625,4634,4648,4672,4688,4689,5156,7036,7045,10,11,12,13,1,3,22][1 + CAST(hash(i * 7) % 17 AS INT)]
        ::BIGINT AS event_id,
    i AS record_id,
    ['Microsoft-Windows-Security-Auditing', 'Microsoft-Windows-Sysmon', 'Service Control Manager',
        'Microsoft-Windows-PowerShell'][1 + CAST(hash(i * 3) % 4 AS INT)] AS provider_name,
    ['Security', 'Microsoft-Windows-Sysmon/Operational', 'System', 'Windows PowerShell']
        [1 + CAST(hash(i * 3) % 4 AS INT)] AS channel,
    'WS-' || (hash(i * 11) % 200) || '.corp.example' AS computer,
    ['Information', 'Warning', 'Error', 'Verbose'][1 + CAST(hash(i * 13) % 4 AS INT)] AS level,
    CAST(hash(i * 17) % 14000 AS BIGINT) AS task,
    CAST(hash(i * 19) % 3 AS BIGINT) AS opcode,
    printf('0x%016x', CAST(hash(i * 23) % 16 AS BIGINT)) AS keywords,
    CAST(hash(i * 31) % 9000 AS BIGINT) AS process_id,
    CAST(hash(i * 37) % 9000 AS BIGINT) AS thread_id,
    CASE WHEN hash(i * 41) % 3 = 0 THEN 'S-1-5-21-1004336348-1177238915-682003330-' || (hash(i) % 1000)
        ELSE 'S-1-5-18' END AS user_sid,
    '{"SubjectUserSid":"S-1-5-18","TargetUserName":"user' || (hash(i * 47) % 5000) || '","LogonType":'
        || (hash(i * 53) % 12) || ',"ProcessName":"C:\\\\Windows\\\\System32\\\\'
        || ['svchost', 'lsass', 'winlogon', 'powershell'][1 + CAST(hash(i * 59) % 4 AS INT)]
        || '.exe","IpAddress":"10.' || (hash(i * 61) % 256) || '.' || (hash(i * 67) % 256)
        || '.7","CommandLine":"' || md5(CAST(i AS VARCHAR)) || '"}' AS event_data,
    md5(CAST(i // 100000 AS VARCHAR)) || md5('x' || (i // 100000)) AS _cf_source_hash,
    'job-' || (i // 1000000) AS _cf_job_id,
    make_timestamptz(1795406400000000) AS _cf_processed_at,
    '1.0.0' AS _cf_parser_version,
    i % 100000 + 1 AS _cf_row,
    'file-' || (i // 100000) AS _cf_file_id
FROM range({start}, {end}) t(i)
"""


def main() -> None:
    """Make the table, take the times, print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--export-rows", type=int, default=1_000_000)
    arguments.add_argument("--folder", type=Path, default=None, help="where to make the files")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        home = Path(name)
        table = made(home, "events", chosen.rows, FILES)
        small = made(home, "some", chosen.export_rows, 1)
        timed(
            f"catalog of {len(table.files)} files built",
            lambda: views.build(home / "query.duckdb", [table, small], {}, 1),
        )
        reader = CatalogReader(home / "query.duckdb", lambda: [home], home / "tmp")
        timed("catalog opened", reader.refresh)
        browse(reader, table)
        exports(reader, home, small)
        reader.close()
    print(
        f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB"
    )


def made(home: Path, name: str, rows: int, files: int) -> CommittedTable:
    """A table of realistic events, committed in so many files."""
    committed = []
    with duckdb.connect() as connection:
        for at in range(files):
            start, end = rows * at // files, rows * (at + 1) // files
            data = connection.sql(EVENTS.replace("{start}", str(start)).replace("{end}", str(end)))
            path = home / name / f"{at:02}.parquet"
            path.parent.mkdir(exist_ok=True)
            part = data.to_arrow_table()
            pq.write_table(part, path, compression="zstd", row_group_size=122_880)
            committed.append(CommittedFile(str(path), end - start, path.stat().st_size))
    columns = tuple(
        Column(one.name, "timestamp_utc" if one.name == "time" else word_of(one.type))
        for one in part.schema
        if one.name not in LINEAGE_COLUMNS
    )
    size = sum(one.size_bytes for one in committed)
    print(f"{name}: {rows:,} rows, {files} files, {size / 1e6:,.0f} MB")
    return CommittedTable("main", name, columns, tuple(committed), (), "evtx", "1.0.0")


def browse(reader: CatalogReader, table: CommittedTable) -> None:
    """Pages, sorted, filtered and searched."""
    rows = table.rows
    source = f"read_parquet([{', '.join(repr(one.path) for one in table.files)}])"
    bare = duckdb.connect()
    bare.execute("SET memory_limit = '2GB'")

    def ask(sql: str) -> Any:
        return bare.sql(sql).to_arrow_table()

    ask(f"SELECT count(*) FROM {source}")
    draw = random.Random(7)

    with reader.open(ViewSpec("main", "events")) as view:
        first = timed("first page", lambda: view.page(0, PAGE))
        beside(first, lambda: ask(f"FROM {source} LIMIT {PAGE}"))
        timed("count", view.count)
        places = [draw.randrange(rows - PAGE) for _ in range(RANDOM_PAGES)]
        ours = several("random page", [lambda at=at: view.page(at, PAGE) for at in places])
        bare_ms = statistics.median(
            took(lambda at=at: ask(f"FROM {source} LIMIT {PAGE} OFFSET {at}"))[0] for at in places
        )
        print(f"      bare LIMIT/OFFSET median {bare_ms:,.0f} ms, ratio {ours / bare_ms:.2f}")

    for column in ("time", "event_id", "computer", "event_data"):
        sort(reader, rows, column, draw)
        beside(
            None,
            lambda c=column: ask(f"FROM {source} ORDER BY {c} LIMIT {PAGE}"),
            "bare top-n of all columns",
        )
    deep = f"FROM {source} ORDER BY time LIMIT {PAGE} OFFSET {rows // 2}"
    beside(None, lambda: ask(deep), "bare deep page by time")

    for name, filters, search, where in (
        ("filter, 1 in 17", (Filter("event_id", "=", 4624),), "", "event_id = 4624"),
        ("filter, half", (Filter("process_id", "<", 4500),), "", "process_id < 4500"),
        (
            "contains in event_data",
            (Filter("event_data", "contains", "USER4711"),),
            "",
            "event_data ILIKE '%user4711%'",
        ),
        ("search everywhere, rare", (), "user4711", "event_data ILIKE '%user4711%'"),
        ("search everywhere, nothing", (), "nosuchuser", "event_data ILIKE '%nosuchuser%'"),
        ("search everywhere, address", (), "10.99.98.7", "contains(event_data, '10.99.98.7')"),
    ):
        with reader.open(ViewSpec("main", "events", filters=filters, search=search)) as view:
            timed(f"{name}: first page", lambda v=view: v.page(0, PAGE))
            timed(f"{name}: counted", view.count)
            deep = max(0, view.count() - PAGE)
            timed(f"{name}: last page of {view.count():,}", lambda v=view, d=deep: v.page(d, PAGE))
        beside(None, lambda w=where: ask(f"SELECT count(*) FROM {source} WHERE {w}"), "bare count")
    bare.close()


def sort(reader: CatalogReader, rows: int, column: str, draw: random.Random) -> None:
    """A sorted view: its first page, all its keys, then pages anywhere."""
    with reader.open(ViewSpec("main", "events", sort=(Sort(column, descending=True),))) as view:
        timed(f"sorted by {column}: first page", lambda: view.page(0, PAGE))
        timed(f"sorted by {column}: last page", lambda: view.page(rows - PAGE, PAGE))
        timed(
            f"sorted by {column}: a middle page, with all keys", lambda: view.page(rows // 2, PAGE)
        )
        places = [draw.randrange(rows - PAGE) for _ in range(RANDOM_PAGES)]
        several(
            f"sorted by {column}: deep page",
            [lambda at=at: view.page(at, PAGE) for at in places],
        )


def exports(reader: CatalogReader, home: Path, table: CommittedTable) -> None:
    """Every format, against DuckDB's own COPY of the same rows to the same format."""
    about = ManifestFacts("default", "0", lambda _: [])
    source = f"read_parquet([{', '.join(repr(one.path) for one in table.files)}])"
    bare = {
        "csv": "(FORMAT csv)",
        "jsonl": "(FORMAT json)",
        "json": "(FORMAT json, ARRAY true)",
        "parquet": "(FORMAT parquet, COMPRESSION zstd)",
    }
    for fmt in FORMATS:
        target = home / f"out.{fmt}"
        ms, done = took(
            lambda f=fmt, t=target: export(
                reader, ViewSpec("main", "some"), "main", t, f, about=about
            )
        )
        print(
            f"export {fmt}: {done.rows:,} rows in {ms / 1000:.2f} s, {done.rows / ms:,.0f}k rows/s,"
            f" {done.size_bytes / ms / 1000:,.0f} MB/s"
        )
        if fmt in bare:
            copy = home / f"bare.{fmt}"
            with duckdb.connect() as connection:
                other, _ = took(
                    lambda c=connection, p=copy, f=fmt: c.execute(
                        f"COPY (FROM {source}) TO '{p}' {bare[f]}"
                    )
                )
            print(f"      bare COPY {other / 1000:.2f} s, ratio {ms / other:.2f}")


def took(work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds that a piece of work takes, and what it gives."""
    started = time.perf_counter()
    result = work()
    return (time.perf_counter() - started) * 1000, result


def timed(what: str, work: Callable[[], Any]) -> float:
    """Print how long a piece of work takes, and how much of the processors it takes meanwhile."""
    before = time.process_time()
    ms, _ = took(work)
    print(f"{what}: {ms:,.0f} ms ({(time.process_time() - before) * 1000:,.0f} ms of processor)")
    return ms


def several(what: str, works: list[Callable[[], Any]]) -> float:
    """Print the median and the longest of several pieces of work; return the median."""
    times = [took(one)[0] for one in works]
    median = statistics.median(times)
    print(f"{what}: median {median:,.0f} ms, longest {max(times):,.0f} ms of {len(times)}")
    return median


def beside(ours: float | None, work: Callable[[], Any], what: str = "bare") -> None:
    """Print how long the bare way takes, and how many times as long ours does."""
    before = time.process_time()
    ms, _ = took(work)
    spent = (time.process_time() - before) * 1000
    ratio = f", ratio {ours / ms:.2f}" if ours is not None else ""
    print(f"      {what} {ms:,.0f} ms ({spent:,.0f} ms of processor){ratio}")


if __name__ == "__main__":
    main()
