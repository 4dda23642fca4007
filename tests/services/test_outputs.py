"""Committed files carry what is needed to rebuild the record of them, should the state store be lost."""

from __future__ import annotations

import pyarrow.parquet as pq

from casparian.domain.lineage import schema_hash
from casparian.services.plugins import parser_info
from casparian.sinks.parquet import ParquetSink


def test_the_files_alone_tell_job_parser_contract_and_evidence(services, case, run):
    run(services, case(one__csv="a,b\n1,2\nragged\n", two__csv="a,b\n3,4\n"))
    workspace = services.workspaces.default()
    sink = ParquetSink(services.settings.output_dir)

    said = {path: sink.lineage(path) for path in sink.paths()}

    [table] = services.results.tables(workspace.id)
    [job] = services.jobs.list(workspace.id)
    rows = next(one for path, one in said.items() if "/one/" in path)
    rejected = next(one for path, one in said.items() if "/one_quarantine/" in path)
    assert len(said) == 2
    for one in (rows, rejected):
        assert one["job_id"] == job.id
        assert one["parser"] == "delimited"
        assert one["artifact_hash"] == parser_info("delimited").artifact_hash
        assert one["layout"] == rows["layout"]
    assert rows["schema_hash"] == schema_hash(table.columns)
    assert [column[:2] for column in rows["columns"]] == [["a", "int64"], ["b", "int64"]]
    assert [(file["path"], file["accepted"], file["quarantined"]) for file in rows["files"]] == [
        ("one.csv", 1, 1),
        ("two.csv", 1, 0),
    ]
    assert (rows["quarantine"], rejected["quarantine"]) == (False, True)


def test_every_row_says_where_it_came_from(services, case, run):
    folder = case(one__csv="a,b\n1,2\n\n3,4\n")
    run(services, folder)
    [row] = services.sources.files(_query(services), 0, 10).rows
    [job] = services.jobs.list(services.workspaces.default().id)

    [path] = list(ParquetSink(services.settings.output_dir).paths())
    table = pq.read_table(services.settings.output_dir / path)

    assert table["_cf_source_hash"].unique().to_pylist() == [row.file.source_hash]
    assert table["_cf_file_id"].unique().to_pylist() == [row.file.id]
    assert table["_cf_job_id"].unique().to_pylist() == [job.id]
    assert table["_cf_row"].to_pylist() == [2, 4]
    assert table["_cf_processed_at"].null_count == 0


def _query(services):
    from casparian.state.evidence import FileQuery

    return FileQuery(services.workspaces.default().id)
