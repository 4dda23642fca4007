"""How fast rows reach a sink, against the least that a driver or a writer can do in the same run.

Rows are of the shape of event logs. Prints ratios: 1.0 means that replacing, recording and counting cost
nothing on top of loading.

    PYTHONPATH=tests python tests/bench/bench_sinks.py [--rows 1000000] [--inserts 30000] [--rounds 3]

What is loaded by hand comes from memory, and once more from the same Parquet files that the sinks read.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from casparian.domain.addresses import parse
from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE, Contract, table_schema
from casparian.parsers.evtx import EvtxParser
from casparian.sinks import postgres
from casparian.sinks.base import Delivery, RowsOf, TableDelivery
from casparian.sinks.parquet import ParquetSink, Promotion
from casparian.sinks.postgres import PostgresSink
from casparian.worker.messages import Run
from casparian.worker.parts import ROW_GROUP_ROWS, PartWriter, Target
from helpers.postgres import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH_ROWS = 20_000
PART_ROWS = 250_000
FILES = 20
CONTRACT = EvtxParser.outputs[0]
COLUMNS = (*CONTRACT.columns, *LINEAGE)
TABLE = "evtx_events"


def main() -> None:
    """Make the rows, take the times, print the ratios."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--inserts", type=int, default=30_000)
    arguments.add_argument("--rounds", type=int, default=3)
    chosen = arguments.parse_args()
    rows = events(chosen.rows)
    print(f"{rows.num_rows:,} events of {rows.num_columns} columns, {rows.nbytes / 1e6:,.0f} MB")
    with tempfile.TemporaryDirectory() as name:
        staged = stage(rows, Path(name) / "staged")
        to_parquet(rows, Path(name), chosen.rounds)
        to_duckdb(rows, staged, Path(name), chosen.rounds)
        try:
            to_postgres(rows, staged, chosen.inserts, chosen.rounds)
        except pytest.skip.Exception as reason:
            print(reason)


def to_postgres(rows: pa.Table, staged: tuple[Path, ...], inserts: int, rounds: int) -> None:
    """Deliver to a real server: a new table, and once more in place of what is there."""
    with running() as server, server.database() as address:
        uri = postgres.uri(address, 5)
        sink = PostgresSink(address)

        def clean() -> None:
            with server.connect(address) as connection:
                connection.execute("DROP SCHEMA IF EXISTS casparian CASCADE")
                connection.execute("DROP TABLE IF EXISTS bare")
                connection.execute("CHECKPOINT")

        def bare(reader: pa.RecordBatchReader) -> None:
            with adbc.connect(uri) as connection, connection.cursor() as cursor:
                cursor.adbc_ingest("bare", reader, mode="create")
                connection.commit()

        def deliver(job: str, *gone: RowsOf) -> None:
            sink.deliver(delivery(job, rows.num_rows, staged, *gone), CancelToken())

        def one_round() -> tuple[float, ...]:
            clean()
            memory = seconds(bare, reader_of(rows))
            clean()
            files = seconds(bare, reader_of_files(staged))
            clean()
            first = seconds(deliver, "j1")
            gone = [RowsOf("j1", file_id(at)) for at in range(FILES)]
            second = seconds(deliver, "j2", *gone)
            clean()
            with server.connect(address) as connection:
                return memory, files, first, second, by_sqlalchemy(connection, rows[:inserts])

        memory, files, first, second, inserted = best(one_round, rounds)
        inserted *= rows.num_rows / inserts
        print("PostgreSQL")
        told("bare ADBC ingest from memory", rows, memory)
        told("bare ADBC ingest from Parquet", rows, files, memory)
        told("delivery into a new table", rows, first, memory)
        told("delivery in place of as many rows", rows, second, memory)
        told(f"SQLAlchemy inserts ({inserts:,} rows)", rows, inserted, memory)
        print(f"  the delivery is {inserted / first:.1f} times as fast as SQLAlchemy's inserts")


def by_sqlalchemy(connection: object, rows: pa.Table) -> float:
    """Insert rows as SQLAlchemy does best: executemany, many values in one statement."""
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=sa.pool.StaticPool
    )
    kinds = {
        "int64": sa.BigInteger,
        "string": sa.Text,
        "timestamp[us, tz=UTC]": sa.DateTime(timezone=True),
    }
    table = sa.Table(
        "bare", sa.MetaData(), *(sa.Column(one.name, kinds[str(one.type)]) for one in rows.schema)
    )
    table.create(engine)
    values = rows.to_pylist()
    begin = time.perf_counter()
    with engine.begin() as begun:
        begun.execute(sa.insert(table), values)
    return time.perf_counter() - begin


def to_parquet(rows: pa.Table, folder: Path, rounds: int) -> None:
    """Write batches as workers do and promote the file, against pyarrow's own writing of them."""
    sink = ParquetSink(folder / "output")
    batches = rows.to_batches(BATCH_ROWS)
    numbers = iter(range(1_000))

    def bare(path: Path) -> None:
        pq.write_table(
            rows, path, row_group_size=ROW_GROUP_ROWS, compression="zstd", compression_level=1
        )

    def staged(path: Path, name: str) -> None:
        write_part(batches, path)
        sink.promote([Promotion(path, f"bench/{TABLE}/{name}.parquet")])

    def one_round() -> tuple[float, ...]:
        number = next(numbers)
        return (
            seconds(bare, folder / f"bare-{number}.parquet"),
            seconds(staged, folder / f"staged-{number}.parquet", str(number)),
        )

    plain, promoted = best(one_round, rounds)
    print("Parquet")
    told("bare pyarrow writer", rows, plain)
    told("staged and promoted", rows, promoted, plain)


def to_duckdb(rows: pa.Table, staged: tuple[Path, ...], folder: Path, rounds: int) -> None:
    """Deliver to a DuckDB file, against CREATE TABLE AS from the same rows in memory."""
    if importlib.util.find_spec("casparian.sinks.duckdb") is None:
        print("DuckDB: there is no such sink yet")
        return
    import duckdb

    from casparian.sinks.duckdb import DuckdbSink

    numbers = iter(range(1_000))

    def bare(path: Path) -> None:
        with closing(duckdb.connect(path)) as connection:
            connection.register("rows", rows)
            connection.execute("CREATE TABLE bare AS SELECT * FROM rows")

    def deliver(path: Path) -> None:
        address = parse(f"duckdb://{path.as_posix()}", schemes=("duckdb",))
        with closing(DuckdbSink(address)) as sink:
            sink.deliver(delivery("j1", rows.num_rows, staged), CancelToken())

    def one_round() -> tuple[float, ...]:
        number = next(numbers)
        bare_path, path = folder / f"bare-{number}.duckdb", folder / f"sink-{number}.duckdb"
        taken = seconds(bare, bare_path), seconds(deliver, path)
        bare_path.unlink()
        path.unlink()
        return taken

    plain, delivered = best(one_round, rounds)
    print("DuckDB")
    told("CREATE TABLE AS from memory", rows, plain)
    told("delivery into a new file", rows, delivered, plain)


def delivery(job: str, rows: int, staged: tuple[Path, ...], *gone: RowsOf) -> Delivery:
    """All rows, by one job."""
    return Delivery(job, 1, "default", (TableDelivery(TABLE, COLUMNS, staged, rows, gone),))


def stage(rows: pa.Table, folder: Path) -> tuple[Path, ...]:
    """The rows as parts, as a worker leaves them."""
    folder.mkdir()
    written = []
    for at in range(0, rows.num_rows, PART_ROWS):
        path = folder / f"{at:09}.parquet"
        some = rows.slice(at, PART_ROWS)
        write_part(some.to_batches(BATCH_ROWS), path)
        written.append(path)
    return tuple(written)


def write_part(batches: list[pa.RecordBatch], path: Path) -> None:
    """Write and sync a part by the worker's own writer."""
    run = Run("j1", EvtxParser.name, str(path.parent), 0, [], {}, {})
    target = Target(TABLE, "", COLUMNS)
    with ThreadPoolExecutor(1) as background:
        writer = PartWriter(run, EvtxParser(), target, path, background)
        for batch in batches:
            writer.write(batch)
        writer.complete()


def reader_of(rows: pa.Table) -> pa.RecordBatchReader:
    """Rows in memory, as batches."""
    return pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches(65_536))


def reader_of_files(paths: tuple[Path, ...]) -> pa.RecordBatchReader:
    """Rows of Parquet files, as batches."""

    def read() -> Iterator[pa.RecordBatch]:
        for path in paths:
            with pq.ParquetFile(path) as one:
                yield from one.iter_batches(65_536)

    return pa.RecordBatchReader.from_batches(pq.read_schema(paths[0]), read())


def file_id(at: int) -> str:
    """The id of a file."""
    return f"01980000-0000-7000-8000-0000000000{at:02x}"


def events(count: int) -> pa.Table:
    """Rows such as event logs give; the same each time."""
    dice = random.Random(1)
    begin = 1_646_930_030_000_000
    data = [
        json.dumps(
            {
                "TargetUserName": f"user{at}",
                "LogonType": str(at % 11),
                "IpAddress": f"10.0.{at % 250}.{at % 99}",
                "ProcessName": "C:\\Windows\\System32\\svchost.exe",
                "SubjectLogonId": hex(at * 977),
            }
        )
        for at in range(5_000)
    ]
    guids = [
        f"{dice.getrandbits(32):08x}-1234-4321-aaaa-{dice.getrandbits(48):012x}"
        for _ in range(2_000)
    ]
    choices = {
        "computer": ["WS-01.corp.example", "WS-02.corp.example", "DC-01.corp.example"],
        "channel": ["Security", "System", "Microsoft-Windows-Sysmon/Operational"],
        "provider_name": ["Microsoft-Windows-Security-Auditing", "Service Control Manager"],
        "event_id": [4624, 4625, 4688, 1, 3, 7036],
        "level": [0, 4, 2],
        "user_sid": ["S-1-5-18", None, "S-1-5-21-1-2-3-1001"],
        "event_data": data,
        "task": [12_544, 1, 13_312],
        "opcode": [0],
        "keywords": ["0x8020000000000000", "0x8010000000000000"],
        "version": [0, 2, 5],
        "qualifiers": [None, None, 16_384],
        "process_id": [4, 700, 1234],
        "thread_id": [44, 7788],
        "activity_id": [*guids, *([None] * 2_000)],
        "provider_guid": guids[:5],
        "event_source_name": [None, "Service Control Manager"],
        "_cf_source_hash": ["ab" * 32],
        "_cf_job_id": ["j1"],
        "_cf_processed_at": [begin],
        "_cf_parser_version": ["1.0.0"],
    }
    counted = pa.array(range(count), pa.int64())
    ordered = {
        "time": pa.array(range(begin, begin + count * 13_337, 13_337), pa.int64()),
        "written_time": pa.array(range(begin, begin + count * 13_337, 13_337), pa.int64()),
        "record_id": counted,
        "_cf_row": counted,
        "_cf_file_id": pa.array([file_id(at * FILES // count) for at in range(count)]),
    }
    columns = []
    for field in table_schema(Contract(TABLE, CONTRACT.columns)):
        if field.name in ordered:
            column = ordered[field.name]
        else:
            few = choices.get(field.name, [None])
            indices = pa.array([at * 7_919 % len(few) for at in range(count)], pa.int64())
            column = pa.array(few, field.type).take(indices)
        columns.append((field.name, column.cast(field.type)))
    return pa.table(dict(columns))


def best(one_round: Callable[[], tuple[float, ...]], rounds: int) -> tuple[float, ...]:
    """The best of each, taken in turns, so that whatever else the machine does falls on all."""
    return tuple(map(min, zip(*(one_round() for _ in range(rounds)), strict=True)))


def told(what: str, rows: pa.Table, taken: float, baseline: float | None = None) -> None:
    """Print one line, with its ratio."""
    ratio = f"   ratio {baseline / taken:.2f}" if baseline else ""
    print(f"  {what:36}{rows.num_rows / taken:11,.0f} rows/s{ratio}")


def seconds(act: Callable[..., object], *arguments: object) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
