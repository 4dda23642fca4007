"""The Parquet sink: staged files are promoted by rename, all or nothing, and never overwritten.

A committed file is read-only (also against a `COPY … TO` of our own console) and stays where it is
until the user purges it; what counts is decided by the state store alone. Paths are relative to the
sink's root, `<workspace>/<table>/<job>.parquet`, so that a home folder can move.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from casparian.domain.errors import EnvironmentProblem, from_os_error
from casparian.domain.lineage import LINEAGE_KEY
from casparian.durable import sync_file, sync_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class Promotion:
    """A staged file, and the place that it is to take."""

    staged: Path
    path: str
    """Relative to the sink's root, `/` between parts."""


class ParquetSink:
    """A folder of committed Parquet files."""

    def __init__(self, root: Path) -> None:
        """Use the folder `root`; it is made when first written to."""
        self.root = root

    def absolute(self, path: str) -> Path:
        """Where a committed file lies."""
        return self.root.joinpath(*path.split("/"))

    def promote(self, promotions: Sequence[Promotion]) -> None:
        """Make staged files visible under their names: all of them, or none.

        Raises:
            EnvironmentProblem: a name is taken, or the disk would not have it.
        """
        done: list[str] = []
        try:
            with _converted("The outputs could not be written"):
                for one in promotions:
                    self._promote(one)
                    done.append(one.path)
                for folder in {self.absolute(one.path).parent for one in promotions}:
                    sync_folder(folder)
        except BaseException:
            self.revoke(done)
            raise

    def revoke(self, paths: Sequence[str]) -> None:
        """Take promoted files away again; for those that no transaction has recorded."""
        for path in paths:
            with contextlib.suppress(OSError):
                _unlink(self.absolute(path))

    def rewrite(self, path: str, without: Collection[str], staged: Path) -> int:
        """Write a copy of a committed file without the rows of some of its files.

        Args:
            path: the committed file.
            without: file ids whose rows are to leave.
            staged: where to write the copy; nothing is there yet.

        Returns:
            How many rows are left; the copy is not written when none is.
        """
        with (
            _converted("Older outputs could not be read"),
            pq.ParquetFile(self.absolute(path)) as old,
        ):
            gone = pa.array(sorted(without), pa.string())
            metadata = old.metadata.metadata or {}
            writer: pq.ParquetWriter | None = None
            rows = 0
            try:
                for group in range(old.num_row_groups):
                    table = old.read_row_group(group)
                    kept = table.filter(pc.invert(pc.is_in(table["_cf_file_id"], gone)))
                    if not kept.num_rows:
                        continue
                    if writer is None:
                        writer = pq.ParquetWriter(
                            staged, kept.schema, compression="zstd", store_schema=False
                        )
                    writer.write_table(kept)
                    rows += kept.num_rows
                if writer is not None and (lineage := metadata.get(LINEAGE_KEY)):
                    writer.add_key_value_metadata(
                        {LINEAGE_KEY.decode(): _without(lineage, without, rows)}
                    )
            finally:
                if writer is not None:
                    writer.close()
            if writer is not None:
                sync_file(staged)
            return rows

    def rows(self, path: Path) -> int:
        """Rows of a Parquet file by its footer.

        Raises:
            EnvironmentProblem: it is not there, or not whole.
        """
        with _converted("A staged file could not be read"):
            return int(pq.read_metadata(path).num_rows)

    def lineage(self, path: str) -> dict[str, object]:
        """What a committed file says of itself: job, parser, contract and files."""
        with _converted("A committed file could not be read"):
            metadata = pq.read_metadata(self.absolute(path)).metadata or {}
        found: dict[str, object] = json.loads(metadata.get(LINEAGE_KEY, b"{}"))
        return found

    def file_ids(self, path: str) -> set[str]:
        """The files of evidence that a committed file has rows of, as it says itself."""
        files = self.lineage(path).get("files")
        return {one["file_id"] for one in files} if isinstance(files, list) else set()

    def paths(self) -> Iterator[str]:
        """Every Parquet file below the root, whoever wrote it."""
        for folder, _, names in os.walk(self.root):
            for name in sorted(names):
                if name.endswith(".parquet"):
                    yield (Path(folder) / name).relative_to(self.root).as_posix()

    def _promote(self, one: Promotion) -> None:
        target = self.absolute(one.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise FileExistsError(
                errno.EEXIST, "a committed file of that name is there", str(target)
            )
        try:
            one.staged.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The sink is on another disk: copy aside, then rename there.
            aside = target.with_name(f".{target.name}.part")
            shutil.copyfile(one.staged, aside)
            sync_file(aside)
            aside.rename(target)
        target.chmod(_READ_ONLY)


def _without(lineage: bytes, gone: Collection[str], rows: int) -> str:
    facts = json.loads(lineage)
    facts["files"] = [one for one in facts.get("files", []) if one.get("file_id") not in gone]
    facts["rows"] = rows
    return json.dumps(facts)


def _unlink(path: Path) -> None:
    if os.name == "nt":  # a read-only file cannot be deleted there
        path.chmod(0o666)
    path.unlink()


@contextlib.contextmanager
def _converted(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os_error(error, what) from error
    except pa.ArrowException as error:
        raise EnvironmentProblem(what, str(error)) from error
