"""The Parquet sink: promoted all or nothing, never overwritten, rewritten without the replaced rows."""

from __future__ import annotations

import json
import stat

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casparian.domain.errors import EnvironmentProblem
from casparian.domain.lineage import LINEAGE_KEY
from casparian.sinks.parquet import ParquetSink, Promotion


@pytest.fixture
def sink(tmp_path):
    return ParquetSink(tmp_path / "output")


def staged(tmp_path, name, rows):
    """A small file with lineage: rows is a list of (text, file id)."""
    table = pa.table({"text": [row[0] for row in rows], "_cf_file_id": [row[1] for row in rows]})
    path = tmp_path / name
    with pq.ParquetWriter(path, table.schema) as writer:
        for at in range(0, table.num_rows, 2):
            writer.write_table(table.slice(at, 2))
        files = [{"file_id": one} for one in dict.fromkeys(row[1] for row in rows)]
        writer.add_key_value_metadata(
            {LINEAGE_KEY.decode(): json.dumps({"rows": len(rows), "files": files})}
        )
    return path


def test_promoted_files_are_in_place_and_read_only(sink, tmp_path):
    sink.promote([Promotion(staged(tmp_path, "a", [("x", "f1")]), "case/t/job.parquet")])

    path = sink.absolute("case/t/job.parquet")
    assert pq.read_table(path)["text"].to_pylist() == ["x"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert not (tmp_path / "a").exists()
    assert list(sink.paths()) == ["case/t/job.parquet"]


def test_a_committed_file_is_never_overwritten_and_nothing_else_is_left(sink, tmp_path):
    sink.promote([Promotion(staged(tmp_path, "a", [("old", "f1")]), "case/t/1.parquet")])

    with pytest.raises(EnvironmentProblem, match="a committed file of that name"):
        sink.promote(
            [
                Promotion(staged(tmp_path, "b", [("new", "f2")]), "case/t/2.parquet"),
                Promotion(staged(tmp_path, "c", [("new", "f1")]), "case/t/1.parquet"),
            ]
        )

    assert list(sink.paths()) == ["case/t/1.parquet"]
    assert pq.read_table(sink.absolute("case/t/1.parquet"))["text"].to_pylist() == ["old"]


def test_a_copy_lacks_the_rows_of_the_replaced_files_and_says_so(sink, tmp_path):
    rows = [("a", "f1"), ("b", "f2"), ("c", "f2"), ("d", "f3")]
    sink.promote([Promotion(staged(tmp_path, "a", rows), "case/t/1.parquet")])

    left = sink.rewrite("case/t/1.parquet", {"f2"}, tmp_path / "copy")

    copy = pq.read_table(tmp_path / "copy")
    facts = json.loads(pq.read_metadata(tmp_path / "copy").metadata[LINEAGE_KEY])
    assert (left, copy["text"].to_pylist()) == (2, ["a", "d"])
    assert facts == {"rows": 2, "files": [{"file_id": "f1"}, {"file_id": "f3"}]}


def test_a_copy_without_any_row_is_not_written(sink, tmp_path):
    sink.promote([Promotion(staged(tmp_path, "a", [("a", "f1")]), "case/t/1.parquet")])

    assert sink.rewrite("case/t/1.parquet", {"f1"}, tmp_path / "copy") == 0
    assert not (tmp_path / "copy").exists()


def test_a_file_that_is_not_whole_is_a_sentence(sink, tmp_path):
    path = staged(tmp_path, "a", [("x", "f1")])
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(EnvironmentProblem, match="could not be read"):
        sink.rows(path)
