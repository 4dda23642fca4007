"""Opening a sink by its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from casparian.domain.addresses import Address
    from casparian.sinks.base import Sink


def open_sink(address: Address, reserved: Sequence[Path]) -> Sink:
    """Open the database that an address names; `reserved` are files that are no sinks.

    Drivers are loaded when they are needed: a local case needs none.

    Raises:
        UserProblem, EnvironmentProblem: it cannot be used.
    """
    match address.scheme:
        case "duckdb":
            from casparian.sinks.duckdb import DuckdbSink

            return DuckdbSink(address, reserved=reserved)
        case "postgres":
            from casparian.sinks.postgres import PostgresSink

            return PostgresSink(address)
        case "sqlserver":
            from casparian.sinks.sqlserver import SqlServerSink

            return SqlServerSink(address)
    raise ValueError(f"{address.scheme} is not a database")
