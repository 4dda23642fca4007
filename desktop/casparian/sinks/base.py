"""What every sink promises, so that a commit need not know where its rows go.

A job delivers to a sink once, all or nothing. The rows appear, those that they replace leave, and the
sink's ledger says so, in one step; after a crash the ledger tells whether that step was taken.
Delivering the same job again, by whatever attempt, takes the place of what it delivered before: rows
are in a sink exactly once, however often a job has to be begun anew.

    stage      what workers wrote is loaded beside the tables; nobody sees it
    promote    one transaction: rows in, replaced rows out, ledger row written
    revoke     a job that ended without success takes its rows back
    sweep      what crashed loads left beside the tables is removed

Parquet is the exception that needs no ledger: a file counts once the state store names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.domain.contracts import Column


@dataclass(frozen=True, slots=True)
class RowsOf:
    """The rows that one job read from one file, in one table."""

    job_id: str
    file_id: str


@dataclass(frozen=True, slots=True)
class TableDelivery:
    """What one job delivers to one table."""

    name: str
    """As the contract has it; `…_quarantine` for what was rejected."""
    columns: tuple[Column, ...]
    """Every column that the table is to have, in order, lineage columns included; empty where rows only
    leave: then nothing is made, also if the table is not there any more."""
    parts: tuple[Path, ...] = ()
    """Staged Parquet files; each has some of the columns, or a narrower type of one: what is missing is
    null, what is narrower is cast."""
    rows: int = 0
    """Rows in all parts by their footers; a load that counts otherwise is refused."""
    gone: tuple[RowsOf, ...] = ()
    """What leaves in the same step."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """All that one job delivers to one sink."""

    job_id: str
    attempt: int
    schema: str
    """Where the workspace's tables are: a folder, or a schema of the database."""
    tables: tuple[TableDelivery, ...]

    @property
    def rows(self) -> int:
        """Rows in all tables, quarantine included."""
        return sum(one.rows for one in self.tables)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a sink's ledger says of a job."""

    job_id: str
    attempt: int
    schema: str
    tables: tuple[tuple[str, int], ...]
    """Table and rows delivered to it."""
    gone: tuple[tuple[str, RowsOf], ...]
    """Table and rows that left."""


@dataclass(frozen=True, slots=True)
class SinkState:
    """How a sink is, for the configuration page and `doctor`."""

    version: str
    """Of what keeps the rows: `PostgreSQL 18.4`, `DuckDB 2.0.0`, `Parquet`."""
    size_bytes: int | None
    """What our tables take; None where the sink does not tell."""
    free_bytes: int | None
    """Room left on its disk; None where the sink does not tell."""


class Sink(Protocol):
    """A place for tables, other than the Parquet folder."""

    @property
    def address(self) -> Address:
        """Where it is, without a password."""

    def deliver(self, delivery: Delivery, cancel: CancelToken) -> None:
        """Stage and promote what a job delivers; see the module.

        Raises:
            UserProblem: a table is there with other columns, or a column cannot become what it must.
            EnvironmentProblem: unreachable, refused, full, or locked by another program; `.retryable`
                where trying again may help. Nothing of the delivery is visible then.
            Cancelled: somebody asked to stop; nothing of the delivery is visible.
        """

    def delivered(self, job_id: str) -> Delivered | None:
        """What the ledger says of a job; None if it never delivered."""

    def revoke(self, job_id: str) -> None:
        """Take the rows of a job out again, and its ledger row; for jobs that did not succeed."""

    def sweep(self, alive: Collection[str]) -> Sequence[str]:
        """Remove what loads of jobs that are not alive left beside the tables; return their names."""

    def probe(self) -> SinkState:
        """Look whether it is reachable and writable now, within five seconds.

        Raises:
            EnvironmentProblem, UserProblem: one sentence on what is wrong: host, port, TLS, login,
                database or rights.
        """

    def close(self) -> None:
        """Let go of connections and files."""
