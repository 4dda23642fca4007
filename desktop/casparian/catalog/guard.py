"""Lets through what only reads: one SELECT, or one plain EXPLAIN of a SELECT.

The statement is judged by what DuckDB's own parser makes of it, never by its words. The type of the
statement is not enough: DuckDB 2.0 types `WITH x AS (COPY … TO …) FROM x` as SELECT, and
`EXPLAIN ANALYZE COPY …`, which runs the COPY, as EXPLAIN (both measured). So the whole tree is walked,
and only known kinds of nodes and known table functions pass: `query('COPY …')` hides SQL in a text, and
the next version of DuckDB may bring more of the kind. What is not known is refused.

The connection is locked besides (see `reader`): this is the first of two walls.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from casparian.catalog.sql import from_duckdb
from casparian.domain.errors import UserProblem
from casparian.duck import checked

if TYPE_CHECKING:
    from collections.abc import Iterator

_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""The nodes of a query that read. Others are known: INSERT_, UPDATE_, DELETE_, COPY_QUERY_NODE."""

_TABLE_FUNCTIONS = frozenset(
    {
        "duckdb_columns",
        "duckdb_functions",
        "duckdb_keywords",
        "duckdb_schemas",
        "duckdb_settings",
        "duckdb_tables",
        "duckdb_types",
        "duckdb_views",
        "generate_series",
        "generate_subscripts",
        "histogram",
        "histogram_values",
        "json_each",
        "json_tree",
        "pragma_table_info",
        "pragma_version",
        "range",
        "repeat",
        "repeat_row",
        "regexp_split_to_table",
        "summary",
        "unnest",
    }
)
"""Table functions that read neither files nor SQL hidden in a text, and change no setting."""

_FUNCTIONS_REFUSED = frozenset(
    {"write_log", "nextval", "setval", "setseed", "sleep_ms", "pg_sleep"}
)
"""Functions that do something else than answer."""

_TITLE = "This statement is not allowed here"
_HINT = "Write one SELECT, or EXPLAIN and a SELECT"


def check_select(sql: str) -> str:
    """Return the statement, without a closing semicolon, if it is one that only reads.

    Allowed is one SELECT in any of its forms (WITH, FROM first, VALUES, PIVOT with given columns,
    UNPIVOT, DESCRIBE, SUMMARIZE, SHOW) or plain EXPLAIN of one.

    Raises:
        UserProblem: it is something else, several statements, nothing at all, or does not parse; the
            detail of the last holds DuckDB's message with its `LINE n:` and caret.
    """
    if "\0" in checked(sql):
        raise UserProblem("The statement holds a NUL character", hint="Remove it")
    statements = _parsed(sql)
    if not statements:
        raise UserProblem("There is no statement", hint=_HINT)
    if len(statements) > 1:
        raise UserProblem(
            _TITLE, f"There are {len(statements)} statements; one runs at a time", _HINT
        )
    statement = _without_semicolon(sql)
    if statements[0] == "EXPLAIN":
        _check_tree(_explained(statement))
    else:
        _check_tree(statement)
    return statement


def is_explain(sql: str) -> bool:
    """Whether a statement that was let through is an EXPLAIN."""
    return _parsed(sql) == ["EXPLAIN"]


class Names(NamedTuple):
    """The tables that a statement names, as it names them."""

    tables: frozenset[tuple[str, str]]
    """(schema, name); the schema is empty where it is not named."""
    own: frozenset[str]
    """Names that it gives to its own WITH parts, in lower case."""


def names(statement: str) -> Names:
    """The tables that a statement names which was let through."""
    tree = _tree(_explained(statement) if is_explain(statement) else statement)
    tables: set[tuple[str, str]] = set()
    own: set[str] = set()
    for node in _nodes(tree):
        kind = node.get("type")
        if kind == "BASE_TABLE" or (kind == "SHOW_REF" and node.get("show_type") == "SHOW"):
            tables.add((str(node.get("schema_name", "")), str(node.get("table_name", ""))))
        parts = node.get("cte_map")
        if isinstance(parts, dict):
            own.update(str(one["key"]).casefold() for one in parts.get("map", ()))
    return Names(frozenset(tables), frozenset(own))


def _parsed(sql: str) -> list[str]:
    """The types of the statements in a text."""
    try:
        return [one.type.name for one in _parser().cursor().extract_statements(sql)]
    except duckdb.Error as error:
        raise from_duckdb(error, "The statement does not parse") from error
    except ValueError as error:
        # A statement that DuckDB knows and its Python types do not.
        raise UserProblem(_TITLE, "It is not a SELECT", _HINT) from error


def _without_semicolon(sql: str) -> str:
    """Cut off what follows the statement: a semicolon, and nothing but comments behind it."""
    end = len(sql)
    while (at := sql.rfind(";", 0, end)) >= 0:
        try:
            if _parsed(sql[at + 1 :]) or len(_parsed(sql[:at])) != 1:
                break
        except UserProblem:
            break  # this semicolon is part of a text, a name or a comment
        sql, end = sql[:at], at
    return sql.strip()


def _explained(sql: str) -> str:
    """What a plain EXPLAIN explains."""
    comment = duckdb.token_type.comment
    start = next(at for at, kind in duckdb.tokenize(sql) if kind != comment)
    text = sql.encode()[start:].decode("utf-8", "replace")
    if text[:7].upper() != "EXPLAIN":
        raise UserProblem(_TITLE, "Only plain EXPLAIN is understood", _HINT)
    rest = text[7:]
    try:
        plain = _parsed(rest) == ["SELECT"]
    except UserProblem:
        plain = False
    if not plain:
        raise UserProblem(
            _TITLE,
            "EXPLAIN may stand before a SELECT only, without ANALYZE or other options: "
            "EXPLAIN ANALYZE runs what it explains",
            _HINT,
        )
    return rest


def _check_tree(sql: str) -> None:
    for node in _nodes(_tree(sql)):
        kind = str(node.get("type", ""))
        if kind.endswith("_NODE") and kind not in _NODES:
            what = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise UserProblem(_TITLE, f"It holds {what}, which does more than read", _HINT)
        name = str(node.get("function_name", "")).lower()
        if name in _FUNCTIONS_REFUSED:
            raise UserProblem(_TITLE, f"{name}() does more than read", _HINT)
        if kind == "TABLE_FUNCTION":
            _check_table_function(node)


def _check_table_function(node: dict[str, Any]) -> None:
    function = node.get("function")
    name = str(function.get("function_name", "")).lower() if isinstance(function, dict) else ""
    if name not in _TABLE_FUNCTIONS:
        raise UserProblem(
            _TITLE,
            f"{name or 'This table function'}() reaches beyond the tables of the catalog",
            "Query the tables by their names",
        )


def _tree(sql: str) -> Any:
    rows = _parser().cursor().execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    try:
        tree = json.loads(rows[0][0])
    except (RecursionError, ValueError) as error:
        raise UserProblem(_TITLE, "It is nested too deeply to be checked", _HINT) from error
    if tree.get("error"):
        raise UserProblem(_TITLE, "It is not a plain SELECT", _HINT)
    return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


@lru_cache(maxsize=1)
def _parser() -> duckdb.DuckDBPyConnection:
    """A locked connection that only ever parses; made once, as a connection costs more than a parse."""
    connection = duckdb.connect()
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    return connection
