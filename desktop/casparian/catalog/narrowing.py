"""A query's result narrowed and ordered further: the statement that gives it, as people would write it."""

# ruff: noqa: S608  (names pass `readable`, values are written by `conditions`)
from __future__ import annotations

from typing import TYPE_CHECKING

from casparian.catalog.conditions import Written, condition, searching
from casparian.catalog.guard import check_select
from casparian.catalog.sql import readable
from casparian.domain.errors import UserProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casparian.domain.results import ColumnInfo, Filter, Sort


def narrowed(
    sql: str,
    columns: Sequence[ColumnInfo],
    keywords: frozenset[str],
    *,
    filters: Sequence[Filter] = (),
    search: str = "",
    sort: Sequence[Sort] = (),
) -> str:
    """Return the statement whose rows are those of `sql` that pass the filters, in the order given.

    Args:
        sql: one SELECT.
        columns: what it gives.
        keywords: words that cannot be names without quotes.
        filters: joined by AND.
        search: looked for in every text column.
        sort: the keys, the first one first.

    Raises:
        UserProblem: the statement is not allowed, or a column is not one of its own or not the only
            one of its name.
    """
    statement = check_select(sql)
    by_name = {one.name: one for one in columns}
    names = [one.name for one in columns]

    def place(column: ColumnInfo) -> str:
        if names.count(column.name) > 1:
            raise UserProblem(
                f"Several columns are called {column.name}", hint="Give them names of their own: AS"
            )
        return readable(column.name, keywords)

    def known(name: str) -> ColumnInfo:
        if name not in by_name:
            raise UserProblem(f"The result has no column {name}")
        return by_name[name]

    written = Written()
    parts = [
        condition(known(one.column), one, place(known(one.column)), written) for one in filters
    ]
    if search:
        parts.append(searching(search, columns, place, written))
    made = f"SELECT * FROM (\n{statement}\n) AS result"
    if parts:
        made += f"\nWHERE {' AND '.join(parts)}"
    if sort:
        keys = (
            f"{place(known(one.column))} {'DESC' if one.descending else 'ASC'} NULLS LAST"
            for one in sort
        )
        made += f"\nORDER BY {', '.join(keys)}"
    return made
