"""The DuckDB sink: what every sink promises, and the one file that programs share."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
import threading

import duckdb
import pyarrow as pa
import pytest

from casparian.domain.addresses import parse
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import Cancelled, EnvironmentProblem, UserProblem
from casparian.duckfiles import exclusively
from casparian.sinks.duckdb import DuckdbSink
from casparian.sinks.samples import columns_of, delivery, table_delivery
from casparian.sinks.scratch import DuckdbPlace
from helpers.delivering import Opening
from sinks.conformance import Place, SinkConformance, read, seen


class File(DuckdbPlace, Place):
    """A DuckDB file in a folder of its own."""

    def __init__(self, folder):
        super().__init__(_address(folder / "case work.duckdb"))
        self.opening = Opening("casparian.sinks.duckdb:DuckdbSink", _address(self.path))

    def leftovers(self):
        """Whatever is in the folder."""
        ours = {self.path.name, f"{self.path.name}.wal"}
        return [one.name for one in self.path.parent.iterdir() if one.name not in ours]


class TestDuckdbSink(SinkConformance):
    @pytest.fixture
    def place(self, tmp_path):
        folder = tmp_path / "place"
        folder.mkdir()
        return File(folder)

    # The types of DuckDB

    def test_columns_are_of_the_exact_types(self, place, sink, parts):
        columns = columns_of(**{word: word for word in TYPES})
        path = parts(columns, {word: [None] for word in TYPES}, job="j1")

        sink.deliver(delivery("j1", table_delivery("t", columns, path)), CancelToken())

        with duckdb.connect(place.path, read_only=True) as connection:
            found = connection.sql("SELECT column_name, column_type FROM (DESCRIBE t)").fetchall()
        assert dict(found[: len(TYPES)]) == TYPES

    @pytest.mark.parametrize("types", ["as the table's", "narrower"])
    def test_rows_are_the_same_by_either_way(self, place, sink, parts, types):
        columns = columns_of(text="string", took="duration", size="float64")
        size = pa.array([1.0, 2.0, None] if types == "as the table's" else [1, 2, None])
        took = pa.array([1, -1, None], pa.duration("us"))
        path = parts(columns, {"text": ["a", "b", None], "took": took, "size": size}, job="j1")

        sink.deliver(delivery("j1", table_delivery("t", columns, path)), CancelToken())

        found = read(place, "t", columns)
        assert found["text"].to_pylist() == ["a", "b", None]
        assert found["took"].combine_chunks().equals(took)
        assert found["size"].to_pylist() == [1.0, 2.0, None]

    def test_names_that_differ_in_case_only_are_refused(self, sink):
        with pytest.raises(UserProblem, match=r"(?s)(?=.*Name)(?=.*name)"):
            sink.deliver(
                delivery("j1", table_delivery("t", columns_of(Name="string", name="string"))),
                CancelToken(),
            )

    def test_a_whole_number_that_a_wider_column_would_bend_is_refused(self, place, sink, parts):
        wide, narrow = columns_of(size="float64"), columns_of(size="int64")
        first = parts(wide, {"size": [0.5]}, job="j1")
        second = parts(narrow, {"size": [2**60 + 1]}, job="j2")
        sink.deliver(delivery("j1", table_delivery("t", wide, first)), CancelToken())

        with pytest.raises(EnvironmentProblem, match=str(2**60 + 1)):
            sink.deliver(delivery("j2", table_delivery("t", narrow, second)), CancelToken())

        assert seen(place, "t", wide) == [0.5]

    # The file

    def test_an_older_duckdb_can_open_a_new_file(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["a"]), CancelToken())

        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{place.path}' AS made (READ_ONLY)")
            tags = connection.sql(
                "SELECT tags FROM duckdb_databases() WHERE database_name = 'made'"
            ).fetchall()
        assert tags == [({"storage_version": "v1.5.0+"},)]

    def test_the_file_is_free_between_deliveries(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["a"]), CancelToken())

        with duckdb.connect(place.path) as connection:
            assert connection.sql("SELECT text FROM t").fetchall() == [("a",)]

    @pytest.mark.parametrize("fault", ["text", "nothing", "sqlite", "newer"])
    def test_a_file_that_is_none_of_ours_is_refused_and_left_alone(self, place, sink, texts, fault):
        _write(place.path, fault)
        before = place.path.read_bytes()

        for act in (lambda: sink.deliver(texts("j1", f1=["a"]), CancelToken()), sink.probe):
            with pytest.raises(UserProblem, match=r"case work\.duckdb cannot be a sink"):
                act()

        assert place.path.read_bytes() == before
        assert place.leftovers() == []

    def test_files_that_the_program_keeps_for_itself_are_refused(self, place, tmp_path):
        link = tmp_path / "link.duckdb"
        for reserved in (place.path, tmp_path / "place" / ".." / "place" / place.path.name):
            with pytest.raises(UserProblem, match="keeps for itself"):
                DuckdbSink(place.opening.address, reserved=[reserved])
        place.path.touch()
        link.symlink_to(place.path)
        with pytest.raises(UserProblem, match="keeps for itself"):
            DuckdbSink(_address(link), reserved=[place.path])

    def test_a_path_that_duckdb_would_take_apart_is_refused(self, tmp_path):
        with pytest.raises(UserProblem, match="question mark"):
            DuckdbSink(_address(tmp_path / "what?.duckdb"))

    def test_a_folder_that_cannot_be_written_is_a_sentence(self, texts, tmp_path):
        (tmp_path / "file").touch()
        sink = DuckdbSink(_address(tmp_path / "file" / "below.duckdb"))

        with pytest.raises(EnvironmentProblem):
            sink.deliver(texts("j1", f1=["a"]), CancelToken())

    def test_what_a_crash_left_of_a_new_file_is_swept(self, place, sink):
        left = place.path.with_name(f".{place.path.name}.0198.new")
        left.touch()

        assert list(sink.sweep(())) == [left.name]
        assert place.leftovers() == []

    # Other programs, and readers of this one

    def test_another_program_that_reads_is_named(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["a"]), CancelToken())
        hasty = DuckdbSink(place.opening.address, lock_wait_s=0.2)

        with _held(place.path, read_only=True) as process:
            with pytest.raises(EnvironmentProblem, match=rf"python.*process {process.pid}") as told:
                hasty.deliver(texts("j2", f1=["b"]), CancelToken())
            assert told.value.retryable
            assert hasty.delivered("j1") is not None

        hasty.deliver(texts("j2", f1=["b"]), CancelToken())
        assert seen(place, "t") == ["a", "b"]

    def test_a_delivery_waits_for_another_program_a_while(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["a"]), CancelToken())

        with _held(place.path, read_only=True) as process:
            letting_go = threading.Timer(0.5, process.stdin.close)
            letting_go.start()
            sink.deliver(texts("j2", f1=["b"]), CancelToken())
            letting_go.join()

        assert seen(place, "t") == ["a", "b"]

    def test_waiting_for_another_program_can_be_cancelled(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["a"]), CancelToken())
        token = CancelToken()

        with _held(place.path, read_only=True):
            threading.Timer(0.3, token.cancel).start()
            with pytest.raises(Cancelled):
                sink.deliver(texts("j2", f1=["b"]), token)

    def test_a_reader_of_this_process_lets_go_for_a_delivery(self, place, sink, texts):
        sink.deliver(texts("j1", f1=["a"]), CancelToken())
        reading, wanted = threading.Event(), threading.Event()

        def read():
            with exclusively(place.path, let_go=wanted.set), duckdb.connect() as connection:
                connection.execute(f"ATTACH '{place.path}' AS sink (READ_ONLY)")
                reading.set()
                assert wanted.wait(10)
                connection.execute("DETACH sink")

        reader = threading.Thread(target=read)
        reader.start()
        assert reading.wait(10)
        sink.deliver(texts("j2", f1=["b"]), CancelToken())
        reader.join()

        assert seen(place, "t") == ["a", "b"]


TYPES = {
    "boolean": "BOOLEAN",
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "decimal(38,10)": "DECIMAL(38,10)",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamp_utc": "TIMESTAMP WITH TIME ZONE",
    "duration": "INTERVAL",
    "string": "VARCHAR",
    "binary": "BLOB",
    "json": "VARCHAR",
    "null": "VARCHAR",
    "list<decimal(10,2)>": "DECIMAL(10,2)[]",
    "list<duration>": "INTERVAL[]",
    "struct<at:timestamp_utc,took:duration>": (
        'STRUCT("at" TIMESTAMP WITH TIME ZONE, took INTERVAL)'
    ),
}


def _write(path, fault):
    """A file that is no database of DuckDB's, or one of a later version."""
    if fault == "sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t (a)")
    elif fault == "newer":
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{path}' AS made (STORAGE_VERSION 'v1.5.0')")
            connection.execute("DETACH made")
            head = bytearray(path.read_bytes())
            head[12] = 200
            path.write_bytes(head)
            # DuckDB tells the checksum that the changed header would have.
            with pytest.raises(duckdb.Error) as told:
                connection.execute(f"ATTACH '{path}' AS made")
        checksum = int(re.search(r"computed checksum (\d+)", str(told.value))[1])
        head[:8] = checksum.to_bytes(8, "little")
        path.write_bytes(head)
    else:
        path.write_bytes(b"" if fault == "nothing" else b"not a database " * 1000)


def _address(path):
    return parse(f"duckdb://{path.as_posix()}", schemes=("duckdb",))


@contextlib.contextmanager
def _held(path, *, read_only):
    """A file, open in another process until its input ends."""
    code = (
        "import duckdb, sys; held = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == 'True');"
        " print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(read_only)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()
