r"""Tables in PostgreSQL: their names, what types their columns have, how they grow, and what goes in.

    boolean, int64, float64     boolean, bigint, double precision
    decimal(p,s)                numeric(p,s)
    date, time                  date, time
    timestamp, timestamp_utc    timestamp, timestamptz: to year 294276
    duration                    interval of microseconds alone: no days, no months, so it is exact
    string, json, null          text
    binary                      bytea
    list<T>                     T[], unless T is a list or struct itself
    other lists, struct         text: the JSON of it (`sinks.texts`)

JSON is `text`, not `jsonb`, which orders keys, drops doubles and refuses \u0000: evidence is to come back
byte for byte. The type `json` would keep it, but refuses what PostgreSQL's parser does not like, and a
load must not fail over a value; `column::json` is a cast away.

PostgreSQL has no NUL in text. It becomes U+2400 (␀), and the ledger says how many values were changed.

A table may have wider types than a delivery: it is never narrowed, the values are written as they would
be after widening. A type that is neither wider nor narrower is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from casparian.domain.contracts import LINEAGE
from casparian.domain.errors import UserProblem
from casparian.domain.inference import widen
from casparian.domain.types import arrow_type
from casparian.sinks.names import POSTGRES_BYTES, fitted, fitted_columns
from casparian.sinks.texts import as_text, nulls

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from casparian.domain.contracts import Column
    from casparian.sinks.base import TableDelivery

pc: Any = pyarrow.compute
"""Untyped: the stubs know only some of the overloads."""

NUL = "\0"
NUL_SHOWN = "\u2400"
LARGEST_WHOLE = 2**53
"""Beyond it a double does not hold every whole number."""

_TYPES = {
    "boolean": "boolean",
    "int64": "bigint",
    "float64": "double precision",
    "date": "date",
    "time": "time without time zone",
    "timestamp": "timestamp without time zone",
    "timestamp_utc": "timestamp with time zone",
    "duration": "interval",
    "string": "text",
    "binary": "bytea",
}
"""As `format_type` spells them."""
_WORDS = {kind: word for word, kind in _TYPES.items()}
_TEXT = frozenset({"json", "null"})
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_INT64_DIGITS = 19

_CLOCK = "HH24:MI:SS.US"
_AS_TEXT = {
    "time": f"to_char({{0}}, '{_CLOCK}')",
    "timestamp": f"to_char({{0}}, 'YYYY-MM-DD {_CLOCK}')",
    "timestamp_utc": f"to_char({{0}} AT TIME ZONE 'UTC', 'YYYY-MM-DD {_CLOCK}') || 'Z'",
    "binary": "encode({0}, 'hex')",
    "duration": (
        "CASE WHEN {0} < interval '0' THEN '-' ELSE '' END"
        " || CASE WHEN abs(extract(hour FROM {0})) < 24 THEN ''"
        " ELSE div(abs(extract(hour FROM {0}))::numeric, 24)::text || '.' END"
        " || lpad(mod(abs(extract(hour FROM {0}))::numeric, 24)::text, 2, '0')"
        " || ':' || lpad(abs(extract(minute FROM {0}))::text, 2, '0') || ':'"
        " || to_char(abs(extract(microseconds FROM {0}))::numeric / 1000000, 'FM00.000000')"
    ),
}
"""What a column is cast to text by, where the cast of PostgreSQL is not what `domain.types` reads."""
_LISTS_AS_TEXT = frozenset(f"list<{one}>" for one in ("boolean", "int64", "float64", "string"))


def quote(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text, for the statements that take no parameters; `standard_conforming_strings` is on."""
    return "'" + text.replace(NUL, NUL_SHOWN).replace("'", "''") + "'"


def stored(word: str) -> str:
    """The word of what a column of a type is kept as."""
    if word in _TEXT or word.startswith("struct<"):
        return "string"
    if word.startswith("list<"):
        inner = word[5:-1]
        nested = inner.startswith(("list<", "struct<"))
        return "string" if nested else f"list<{stored(inner)}>"
    return word


def sql_type(word: str) -> str:
    """The type of a column that is kept as a word."""
    if word.startswith("list<"):
        return f"{sql_type(word[5:-1])}[]"
    if found := _DECIMAL.fullmatch(word):
        return f"numeric({found[1]},{found[2]})"
    return _TYPES[word]


def word_of(kind: str) -> str | None:
    """The word of a type as `format_type` spells it; None for one that is not ours."""
    if kind.endswith("[]"):
        inner = word_of(kind[:-2])
        return f"list<{inner}>" if inner else None
    if found := _NUMERIC.fullmatch(kind):
        return f"decimal({found[1]},{found[2]})"
    return _WORDS.get(kind)


@dataclass(frozen=True, slots=True)
class Found:
    """A table or something else of its name, as it is there."""

    is_table: bool
    types: Mapping[str, str]
    """By column, as `format_type` spells them."""
    names: Mapping[str, str]
    """By column, what it is called in contracts, if it says so."""

    @property
    def is_ours(self) -> bool:
        """Whether rows of ours may be in it: it has all lineage columns."""
        return self.is_table and all(
            self.types.get(one.name) == sql_type(one.type) for one in LINEAGE
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A table as a delivery finds or makes it."""

    table: TableDelivery
    namespace: str
    name: str
    """In the database."""
    columns: Mapping[str, str]
    """By name in the contract, the name in the database."""
    words: Mapping[str, str]
    """By name in the contract, the word that the column is kept as."""
    found: Found | None

    @property
    def place(self) -> str:
        """The table, quoted."""
        return f"{quote(self.namespace)}.{quote(self.name)}"

    @property
    def added(self) -> tuple[Column, ...]:
        """Columns that the table does not have yet."""
        has = self.found.types if self.found else {}
        return tuple(one for one in self.table.columns if self.columns[one.name] not in has)

    @property
    def widened(self) -> tuple[tuple[Column, str], ...]:
        """Columns whose type has to change, and what they are kept as now."""
        if self.found is None:
            return ()
        changes = []
        for one in self.table.columns:
            old = self.found.types.get(self.columns[one.name])
            if old is not None and old != sql_type(self.words[one.name]):
                changes.append((one, word_of(old) or ""))
        return tuple(changes)

    @property
    def fits(self) -> bool:
        """Whether the table is ready to be loaded."""
        if not self.table.columns:
            return True
        return self.found is not None and not self.added and not self.widened


def target(
    table: TableDelivery, namespace: str, found: Found | None, filled: frozenset[str]
) -> Target:
    """Decide what a table must become.

    Args:
        table: what is to be delivered.
        namespace: its schema.
        found: what has its name now.
        filled: those of its text columns that hold a value.

    Raises:
        UserProblem: it is not ours, or a column cannot become what it must.
    """
    name = fitted(table.name, POSTGRES_BYTES)
    if found is not None and not found.is_ours:
        raise refused(
            table.name,
            f"{namespace}.{name} is there already and is not a table of this program",
            "Rename or move it, or choose another schema",
        )
    columns = fitted_columns(table.name, (one.name for one in table.columns), POSTGRES_BYTES)
    words = {}
    for one in table.columns:
        short = columns[one.name]
        kind = found.types.get(short) if found else None
        if kind is None or found is None:
            words[one.name] = stored(one.type)
            continue
        called = found.names.get(short, one.name)
        if called != one.name and fitted(called, POSTGRES_BYTES) == short:
            raise refused(
                table.name,
                f"its column {short} holds {called}, so that {one.name} needs another name",
                "Rename the column in the contract",
            )
        words[one.name] = _met(table, one, kind, is_filled=short in filled)
    return Target(table, namespace, name, columns, words, found)


def refused(table: str, detail: str, hint: str = "") -> UserProblem:
    """A table that cannot be what it must be."""
    return UserProblem(f"The table {table} cannot be written", detail, hint)


def _met(table: TableDelivery, column: Column, kind: str, *, is_filled: bool) -> str:
    """What a column is to be kept as, that is of another type now."""
    old, new = word_of(kind), stored(column.type)
    if old is not None:
        if old == new or column.type == "null":
            return old
        if old == "string":
            return old if is_filled else new
        for narrow, wide in ((old, new), (new, old)):
            if _fits(narrow, wide) or widen(narrow, wide) == wide:
                return wide
    raise refused(
        table.name,
        f"its column {column.name} is {kind} and must be {sql_type(new)}",
        "Rename the table in the database, or choose another schema",
    )


def _fits(narrow: str, wide: str) -> bool:
    """Whether a decimal type has room for every value of another type."""
    if not (room := _DECIMAL.fullmatch(wide)):
        return False
    whole, scale = int(room[1]) - int(room[2]), int(room[2])
    if narrow == "int64":
        return whole >= _INT64_DIGITS
    if not (has := _DECIMAL.fullmatch(narrow)):
        return False
    return int(has[1]) - int(has[2]) <= whole and int(has[2]) <= scale


def create(made: Target) -> list[str]:
    """Statements that make a table.

    The index is of the kind that keeps only the bounds of each megabyte: the rows of a job lie together,
    so it finds them as well as a B-tree would, and costs a load nothing (a B-tree costs a fifth).
    """
    columns = ", ".join(_definition(made, one) for one in made.table.columns)
    return [
        f"CREATE TABLE {made.place} ({columns})",
        f'CREATE INDEX ON {made.place} USING brin ("_cf_job_id") WITH (autosummarize = on)',
        f"COMMENT ON TABLE {made.place} IS {literal(made.table.name)}",
        *(_comment(made, one) for one in made.table.columns),
    ]


def alter(changed: Target) -> list[str]:
    """Statements that give a table the columns and types that it lacks."""
    actions = [f"ADD COLUMN {_definition(changed, one)}" for one in changed.added]
    for column, old in changed.widened:
        name, word = quote(changed.columns[column.name]), changed.words[column.name]
        actions.append(
            f"ALTER COLUMN {name} TYPE {sql_type(word)} USING {_cast(changed, column, old, word)}"
        )
    if not actions:
        return []
    return [
        f"ALTER TABLE {changed.place} {', '.join(actions)}",
        *(_comment(changed, one) for one in changed.added),
        *(_comment(changed, one) for one, _ in changed.widened),
    ]


def losses(changed: Target) -> Iterable[tuple[str, str]]:
    """Columns that lose something by widening if a query finds a row, and the query."""
    for column, old in changed.widened:
        if (old, changed.words[column.name]) == ("int64", "float64"):
            name = quote(changed.columns[column.name])
            beyond = f"{name} NOT BETWEEN {-LARGEST_WHOLE} AND {LARGEST_WHOLE}"
            yield column.name, f"SELECT 1 FROM {changed.place} WHERE {beyond} LIMIT 1"  # noqa: S608


def _definition(made: Target, column: Column) -> str:
    lineage = " NOT NULL" if column in LINEAGE and made.found is None else ""
    return f"{quote(made.columns[column.name])} {sql_type(made.words[column.name])}{lineage}"


def _comment(made: Target, column: Column) -> str:
    return (
        f"COMMENT ON COLUMN {made.place}.{quote(made.columns[column.name])}"
        f" IS {literal(comment_of(column))}"
    )


def comment_of(column: Column) -> str:
    """What a column says of itself: its name on the first line, then its type and what it holds."""
    return f"{_on_one_line(column.name)}\n{column.type}{'. ' if column.doc else ''}{column.doc}"


def name_in(comment: str) -> str:
    """The name of a column that says so."""
    return comment.partition("\n")[0]


def _on_one_line(name: str) -> str:
    return name.replace("\n", "\u240a").replace(NUL, NUL_SHOWN)


def _cast(changed: Target, column: Column, old: str, new: str) -> str:
    name = quote(changed.columns[column.name])
    if old == "string":
        return f"NULL::{sql_type(new)}"
    if new != "string":
        return f"{name}::{sql_type(new)}"
    if old.startswith("list<"):
        if old not in _LISTS_AS_TEXT:
            raise refused(
                changed.table.name,
                f"its column {column.name} is {sql_type(old)} and cannot become text",
                "Rename the table in the database, or choose another schema",
            )
        return f"to_json({name})::text"
    # str.format has no use for braces in a name: only the pattern is a format.
    return _AS_TEXT.get(old, "{0}::text").format(name)


@dataclass(slots=True)
class Shaping:
    """Turns batches of a delivery into what the table's columns hold; counts what it had to change."""

    target: Target
    nul_replaced: int = 0
    _schema: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        self._schema = pa.schema(
            [
                pa.field(self.target.columns[one.name], arrow_type(self.target.words[one.name]))
                for one in self.target.table.columns
            ]
        )

    @property
    def schema(self) -> pa.Schema:
        """Of what comes out: the database's names, in the order of the delivery."""
        return self._schema

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Shape a batch of the delivery."""
        arrays = [
            self._column(one.name, batch.column(at), self._schema.field(at).type)
            for at, one in enumerate(self.target.table.columns)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _column(self, name: str, values: pa.Array[Any], wanted: pa.DataType) -> pa.Array[Any]:
        if values.type != wanted:
            values = self._cast(name, values, wanted)
        if pa.types.is_string(wanted) or pa.types.is_list(wanted):
            values, changed = without_nul(values)
            self.nul_replaced += changed
        return values

    def _cast(self, name: str, values: pa.Array[Any], wanted: pa.DataType) -> pa.Array[Any]:
        if values.null_count == len(values):
            return nulls(len(values), wanted)
        if pa.types.is_string(wanted):
            return as_text(values)
        try:
            return values.cast(wanted)
        except pa.ArrowException as error:
            table = self.target.table.name
            raise refused(table, f"its column {name} cannot hold a value: {error}") from error


def without_nul(values: pa.Array[Any]) -> tuple[pa.Array[Any], int]:
    """Texts, or lists of them, with U+2400 for NUL; and how many texts had one."""
    if pa.types.is_list(values.type):
        if not pa.types.is_string(values.type.value_type):
            return values, 0
        if isinstance(values, pa.ListArray) and not _has_nul(values.flatten()):
            return values, 0
        return _lists_without_nul(values)
    if not _has_nul(values):
        return values, 0
    changed = pc.sum(pc.match_substring(values, NUL)).as_py() or 0
    return pc.replace_substring(values, NUL, NUL_SHOWN), changed


def _lists_without_nul(values: pa.Array[Any]) -> tuple[pa.Array[Any], int]:
    lists = values.to_pylist()
    changed = sum(NUL in text for one in lists if one for text in one if text)
    replaced = [
        one and [text and text.replace(NUL, NUL_SHOWN) for text in one]  # null stays null
        for one in lists
    ]
    return pa.array(replaced, values.type), changed


def _has_nul(texts: pa.Array[Any]) -> bool:
    """Whether a NUL is anywhere in the buffer of texts, which is found out far faster than in each."""
    _, offsets, data = texts.buffers()
    if data is None or offsets is None or not len(texts):
        return False
    bounds = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset)
    start, end = bounds[0].as_py(), bounds[len(texts)].as_py()
    return data.slice(start, end - start).to_pybytes().find(b"\0") >= 0
