"""The limits of SQL Server that a text breaks, whoever wrote it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql

from helpers.tsql import ddl_of, limit_faults

SO_MANY = ", ".join(f"c{one}" for one in range(33))
FINE = {
    "widest types": "CREATE TABLE t (a NVARCHAR(4000), b VARCHAR(8000), c VARBINARY(8000),"
    " d DECIMAL(38, 38), e NVARCHAR(MAX), f DATETIME2(7), g NUMERIC(38))",
    "widest clustered key": "CREATE TABLE t (a NVARCHAR(446) NOT NULL, b BIGINT, PRIMARY KEY (a, b))",
    "widest index": "CREATE TABLE t (a NVARCHAR(850)); CREATE INDEX i ON t (a DESC) INCLUDE (b)",
    "widest unique key": "CREATE TABLE t (a NVARCHAR(850) NOT NULL UNIQUE)",
    "long text beside the key": "CREATE TABLE t (id INT PRIMARY KEY, a NVARCHAR(MAX));"
    " CREATE UNIQUE INDEX i ON t (id) INCLUDE (a) WHERE a IS NOT NULL",
    "key that is not clustered": "CREATE TABLE t (a VARCHAR(1700) PRIMARY KEY NONCLUSTERED)",
    "longest name": f"CREATE TABLE [{'a' * 128}] (a INT)",
    "literals": "CREATE TABLE t (a VARCHAR(9) DEFAULT 'NVARCHAR(9000)' CHECK (a IN ('x, y)', 'it''s')))"
    f" -- {'a' * 200} DECIMAL(50, 2)",
    "names that look like words": "CREATE TABLE [order] ([unique] NVARCHAR(MAX), [check] INT, index_no"
    " INT, [it's] INT, [a]]b] INT, PRIMARY KEY ([a]]b]))",
}
FAULTS = {
    "nvarchar": ("CREATE TABLE t (a NVARCHAR(4001))", "NVARCHAR(4001): 4000 is the most"),
    "quoted type": ("CREATE TABLE t (a [nvarchar](9000))", "NVARCHAR(9000): 4000 is the most"),
    "varchar": ("CREATE TABLE t (a VARCHAR(8001))", "VARCHAR(8001): 8000 is the most"),
    "varbinary": ("CREATE TABLE t (a varbinary(9000))", "VARBINARY(9000): 8000 is the most"),
    "empty": ("CREATE TABLE t (a VARCHAR(0))", "VARCHAR(0): 1 is the least"),
    "decimal": ("CREATE TABLE t (a DECIMAL(50, 2))", "DECIMAL(50): 38 is the most"),
    "scale": (
        "CREATE TABLE t (a NUMERIC(5,6))",
        "NUMERIC(5, 6): more digits after the point than in all",
    ),
    "time": ("CREATE TABLE t (a DATETIME2(9))", "DATETIME2(9): 7 is the most"),
    "cast": ("SELECT CAST(a AS NVARCHAR(5000)) FROM t", "NVARCHAR(5000): 4000 is the most"),
    "char max": ("CREATE TABLE t (a CHAR(MAX))", "CHAR(MAX): there is no such type"),
    "primary key": (
        "CREATE TABLE t (a NVARCHAR(451), CONSTRAINT pk_t PRIMARY KEY (a))",
        "t: primary key pk_t: up to 902 bytes; 900 are allowed",
    ),
    "inline key": (
        "CREATE TABLE dbo.t (a VARCHAR(901) NOT NULL PRIMARY KEY)",
        "dbo.t: primary key: up to 901 bytes; 900 are allowed",
    ),
    "unique": (
        "CREATE TABLE t (a NVARCHAR(800), b NVARCHAR(51), UNIQUE (a, b))",
        "t: unique: up to 1702 bytes; 1700 are allowed",
    ),
    "clustered unique": (
        "CREATE TABLE t (a VARCHAR(901), CONSTRAINT u UNIQUE CLUSTERED (a))",
        "t: unique u: up to 901 bytes; 900 are allowed",
    ),
    "index": (
        "CREATE TABLE [T] ([A] NVARCHAR(851)); CREATE UNIQUE NONCLUSTERED INDEX ix ON t (a)",
        "t: index ix: up to 1702 bytes; 1700 are allowed",
    ),
    "clustered index": (
        "CREATE TABLE t (a VARCHAR(901)); CREATE CLUSTERED INDEX ix ON t (a)",
        "t: index ix: up to 901 bytes; 900 are allowed",
    ),
    "long text in an index": (
        "CREATE TABLE t (a NVARCHAR(max), b INT); CREATE INDEX ix ON t (b, a)",
        "t: index ix: a has no bounded size",
    ),
    "old long text in a key": (
        "CREATE TABLE t (a NTEXT, UNIQUE (a))",
        "t: unique: a has no bounded size",
    ),
    "name": (
        f"CREATE TABLE t ([{'n' * 129}] INT)",
        "nnnnnnnnnnnnnnnnnnnn...: a name of 129 characters; 128 are allowed",
    ),
    "temporary name": (
        f"CREATE TABLE #{'n' * 116} (a INT)",
        "#nnnnnnnnnnnnnnnnnnn...: a name of 117 characters; 116 are allowed",
    ),
    "name in surrogates": (
        f"CREATE TABLE t ([{chr(0x1F4A9) * 65}] INT)",
        f"{chr(0x1F4A9) * 20}...: a name of 130 characters; 128 are allowed",
    ),
    "columns": (
        f"CREATE TABLE t ({', '.join(f'c{one} INT' for one in range(1025))})",
        "t: 1025 columns; 1024 are allowed",
    ),
    "key columns": (
        f"CREATE TABLE t ({SO_MANY.replace(',', ' INT,')} INT, UNIQUE ({SO_MANY}))",
        "t: unique: 33 columns; 32 are allowed",
    ),
}


@pytest.mark.parametrize("ddl", FINE.values(), ids=FINE.keys())
def test_what_a_server_takes_is_fine(ddl):
    assert limit_faults(ddl) == []


@pytest.mark.parametrize(("ddl", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_what_a_server_refuses_is_named(ddl, fault):
    assert limit_faults(ddl) == [fault]


@pytest.mark.parametrize("name", ["longest name", "widest types", "names that look like words"])
def test_what_is_fine_here_is_fine_for_the_model(tsql_model, name):
    assert tsql_model.model([FINE[name]]) == []


def test_the_limits_see_what_sqlalchemy_writes():
    metadata = sa.MetaData()
    sa.Table(
        "t",
        metadata,
        sa.Column("id", sa.Unicode(500), primary_key=True),
        sa.Column("text", sa.UnicodeText, index=True),
        sa.Column("amount", sa.Numeric(40, 2)),
        sa.Column("order", mssql.NVARCHAR(900), unique=True),
    )
    assert limit_faults(";\n".join(ddl_of(metadata))) == [
        "NUMERIC(40): 38 is the most",
        "t: primary key: up to 1000 bytes; 900 are allowed",
        "t: unique: up to 1800 bytes; 1700 are allowed",
        "t: index ix_t_text: text has no bounded size",
    ]
