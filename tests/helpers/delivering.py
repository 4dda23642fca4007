"""Deliveries for tests of sinks, and a process of its own that delivers: to be killed, or to compete.

As a program it takes a pickled list of deliveries and delivers one after the other, trying again while
a problem says that this may help:

    python -m helpers.delivering JOBS.pickle [STEP]

With a step it kills itself there, as a crash would: no handler runs, nothing is closed.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE, Column
from casparian.domain.errors import EnvironmentProblem
from casparian.domain.types import arrow_type
from casparian.sinks.base import Delivery, RowsOf, TableDelivery

if TYPE_CHECKING:
    from casparian.domain.addresses import Address

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
PROCESSED_AT_US = 1_646_930_030_089_354


def columns_of(**words: str) -> tuple[Column, ...]:
    """Columns by name and type, and the lineage columns after them."""
    return (*(Column(name, word) for name, word in words.items()), *LINEAGE)


def part(folder: Path, columns, values, *, job, file="f1", start=1):
    """Write a staged file: values by column name, every row of one job and one file.

    Columns that are not named are left out of the file.
    """
    count = len(next(iter(values.values())))
    given = {name: (one, values[name]) for one in columns if (name := one.name) in values}
    arrays = {
        name: array if isinstance(array, pa.Array) else pa.array(array, arrow_type(column.type))
        for name, (column, array) in given.items()
    }
    lineage = {
        "_cf_source_hash": [f"hash of {file}"] * count,
        "_cf_job_id": [job] * count,
        "_cf_processed_at": [PROCESSED_AT_US] * count,
        "_cf_parser_version": ["1.0.0"] * count,
        "_cf_row": list(range(start, start + count)),
        "_cf_file_id": [file] * count,
    }
    arrays |= {one.name: pa.array(lineage[one.name], arrow_type(one.type)) for one in LINEAGE}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir())):04}-{job}.parquet"
    pq.write_table(pa.table(arrays), path)
    return path


def table_delivery(name, columns, *parts, gone=()):
    """What a job delivers to one table; `gone` is (job, file) pairs."""
    return TableDelivery(
        name,
        columns,
        parts,
        sum(pq.read_metadata(one).num_rows for one in parts),
        tuple(RowsOf(*one) for one in gone),
    )


def delivery(job, *tables, attempt=1, schema="default", mode="replace"):
    """What a job delivers."""
    return Delivery(job, attempt, schema, tables, mode)


@dataclass(frozen=True)
class Opening:
    """How to open a sink in any process."""

    path: str
    """`module:Class`; called with the address and `on_step`."""
    address: Address
    password: str | None = None

    def open(self, on_step=lambda step: None):
        """Open one more of the sink."""
        module, _, name = self.path.partition(":")
        made = getattr(importlib.import_module(module), name)
        return made(self.address.with_password(self.password), on_step=on_step)


def start(opening: Opening, deliveries, folder: Path, step="") -> subprocess.Popen:
    """Deliver in a process of its own, which kills itself at a step if one is named."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = folder / f"{len(list(folder.iterdir())):04}.pickle"
    jobs.write_bytes(pickle.dumps((opening, deliveries)))
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "desktop"), str(ROOT / "tests")]),
        "PYTHONWARNINGS": "default",
    }
    return subprocess.Popen([sys.executable, "-m", "helpers.delivering", str(jobs), step], env=env)


def was_killed(status: int) -> bool:
    """Whether a process that was to kill itself has done so."""
    return status == (-signal.SIGKILL if os.name == "posix" else signal.SIGTERM)


def _kill_at(wanted: str):
    def on_step(step: str) -> None:
        if step == wanted:
            os.kill(os.getpid(), signal.SIGKILL if os.name == "posix" else signal.SIGTERM)

    return on_step


def main() -> None:
    """Deliver what was asked for."""
    opening, deliveries = pickle.loads(Path(sys.argv[1]).read_bytes())
    sink = opening.open(on_step=_kill_at(sys.argv[2]))
    until = time.monotonic() + PATIENCE_S
    for one in deliveries:
        while True:
            try:
                sink.deliver(one, CancelToken())
                break
            except EnvironmentProblem as problem:
                if not problem.retryable or time.monotonic() > until:
                    raise
                time.sleep(0.05)
    sink.close()


if __name__ == "__main__":
    main()
