"""The tables of a case, delivered to a sink: the same rows, job by job."""

from __future__ import annotations

from pathlib import Path

from casparian.domain.cancel import CancelToken
from casparian.domain.contracts import LINEAGE, QUARANTINE
from casparian.sinks.base import Delivery, TableDelivery
from casparian.sinks.opening import open_sink


def put(address, case):
    """Deliver every table of a case; file number n of each is what `job-n` read."""
    sink = open_sink(address, ())
    for job in range(max(len(one.files) for one in case.tables)):
        tables = []
        for one in case.tables:
            if one.files[job:]:
                tables.append(_delivery(one.name, (*one.columns, *LINEAGE), one.files[job]))
            if job == 0 and one.quarantine_files:
                name, columns = f"{one.name}_quarantine", (*LINEAGE, *QUARANTINE)
                tables.append(_delivery(name, columns, one.quarantine_files[0]))
        sink.deliver(Delivery(f"job-{job}", 1, "default", tuple(tables)), CancelToken())
    sink.close()


def _delivery(name, columns, file):
    return TableDelivery(name, columns, (Path(file.path),), file.rows)
