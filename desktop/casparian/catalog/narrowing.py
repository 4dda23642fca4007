"""A query's result narrowed and ordered further: the statement that gives it, as people would write it."""

# ruff: noqa: S608  (names pass `readable`, values are written by `conditions`)
from __future__ import annotations

from typing import TYPE_CHECKING

from casparian.catalog.conditions import Written, condition, ordering, searching
from casparian.catalog.dialects import DUCKDB
from casparian.domain.errors import UserProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casparian.catalog.dialects import Dialect
    from casparian.domain.results import ColumnInfo, Filter, Sort


def narrowed(
    statement: str,
    columns: Sequence[ColumnInfo],
    readable: Callable[[str], str],
    *,
    filters: Sequence[Filter] = (),
    search: str = "",
    sort: Sequence[Sort] = (),
    dialect: Dialect = DUCKDB,
) -> str:
    """Return the statement whose rows are those of another that pass the filters, in the order given.

    Args:
        statement: one SELECT, checked and without a closing semicolon.
        columns: what it gives.
        readable: writes a name, quoted where it must be.
        filters: joined by AND.
        search: looked for in every text column.
        sort: the keys, the first one first.
        dialect: of the database.

    Raises:
        UserProblem: a column is not one of its own, or not the only one of its name.
    """
    by_name = {one.name: one for one in columns}
    names = [one.name for one in columns]

    def place(column: ColumnInfo) -> str:
        if names.count(column.name) > 1:
            raise UserProblem(
                f"Several columns are called {column.name}", hint="Give them names of their own: AS"
            )
        return readable(column.name)

    def known(name: str) -> ColumnInfo:
        if name not in by_name:
            raise UserProblem(f"The result has no column {name}")
        return by_name[name]

    written = Written(dialect)
    parts = [
        condition(known(one.column), one, place(known(one.column)), written) for one in filters
    ]
    if search:
        parts.append(searching(search, columns, place, written))
    made = f"SELECT * FROM (\n{statement}\n) AS result"
    if parts:
        made += f"\nWHERE {' AND '.join(parts)}"
    if sort:
        made += f"\nORDER BY {ordering(dialect, sort, known, place)}"
    return made
