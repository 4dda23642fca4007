"""SQL as text: which part of it is what, and what may come next where the cursor stands.

One scanner serves the colours of the editor and its completion. It knows DuckDB's strings, comments
and quoted names, and it never fails: half a statement is what people have most of the time. Whether a
statement may run is not decided here (see `catalog.guard`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from casparian.duck import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# duckdb_keywords() of 2.0.0: all the reserved words; of the others, those that people type in a SELECT.
RESERVED = _words(
    """all analyse analyze and any array as asc asymmetric both case cast check collate column
    constraint create default deferrable desc describe distinct do else end except false fetch for
    foreign from group having in initially intersect into lambda lateral leading limit not null
    offset on only or order pivot pivot_longer pivot_wider placing primary qualify references
    returning select show some summarize symmetric table then to trailing true union unique unpivot
    using variadic when where window with"""
)
_OTHER_KEYWORDS = _words(
    """anti asof at between by cross current date day escape exclude exists explain extract filter
    first following full glob hour ilike inner interval is isnull join last left like map
    materialized minute month names natural notnull nulls outer over partition positional preceding
    range recursive replace right row rows sample second semi similar struct tablesample ties time
    timestamp try_cast unbounded values year bigint blob boolean decimal double float integer json
    varchar uuid timestamptz"""
)
KEYWORDS = RESERVED | _OTHER_KEYWORDS
DESTRUCTIVE = _words(
    """alter attach call checkpoint copy create delete detach drop export import insert install load
    merge pragma reset set truncate update vacuum"""
)
"""Words that begin statements which change something; the console refuses them, and says so in red."""


class Kind(Enum):
    """What a part of the text is."""

    KEYWORD = "keyword"
    DESTRUCTIVE = "destructive"
    NAME = "name"
    QUOTED_NAME = "quoted name"
    NUMBER = "number"
    STRING = "string"
    COMMENT = "comment"
    SYMBOL = "symbol"


class Open(Enum):
    """What is still open at the end of a piece of text; the values are Qt's block states."""

    NOTHING = 0
    COMMENT = 1
    STRING = 2
    QUOTED_NAME = 3
    DOLLAR_STRING = 4


@dataclass(frozen=True, slots=True)
class Token:
    """A part of the text."""

    kind: Kind
    start: int
    text: str

    @property
    def end(self) -> int:
        """The offset behind its last character."""
        return self.start + len(self.text)

    @property
    def name(self) -> str:
        """The identifier that a name or a quoted name stands for."""
        if self.kind is Kind.QUOTED_NAME:
            return self.text.removeprefix('"').removesuffix('"').replace('""', '"')
        return self.text


_CLOSERS = {
    Open.COMMENT: re.compile(r".*?\*/", re.DOTALL),
    Open.STRING: re.compile(r"(?:[^']|'')*'(?!')", re.DOTALL),
    Open.QUOTED_NAME: re.compile(r'(?:[^"]|"")*"(?!")', re.DOTALL),
    Open.DOLLAR_STRING: re.compile(r".*?\$\$", re.DOTALL),
}
_OPENERS = {
    "/*": (Open.COMMENT, Kind.COMMENT),
    "'": (Open.STRING, Kind.STRING),
    '"': (Open.QUOTED_NAME, Kind.QUOTED_NAME),
    "$$": (Open.DOLLAR_STRING, Kind.STRING),
}
_KIND_OF_OPEN = dict(_OPENERS.values())
_PART = re.compile(
    r"""(?P<space>\s+)
    | (?P<comment>--[^\n]*)
    | (?P<opener>/\*|'|"|\$\$)
    | (?P<number>0[xX][0-9a-fA-F]+|(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<symbol>.)""",
    re.VERBOSE | re.DOTALL,
)


def scan(text: str, open_: Open = Open.NOTHING) -> tuple[list[Token], Open]:
    """Split text into its parts, white space left out; say what is still open at its end.

    Args:
        text: a whole statement, or one line of it.
        open_: what was open at the end of the text before.
    """
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        if open_ is not Open.NOTHING:
            at, open_ = _close(text, at, at, open_, tokens)
            continue
        part = _PART.match(text, at)
        if part is None:  # cannot happen: the last alternative takes any character
            break
        piece = part.group()
        if part.lastgroup == "opener":
            open_ = _OPENERS[piece][0]
            at, open_ = _close(text, at, at + len(piece), open_, tokens)
            continue
        if part.lastgroup != "space":
            tokens.append(Token(_kind(part, tokens), at, piece))
        at = part.end()
    return tokens, open_


def _close(text: str, start: int, at: int, open_: Open, tokens: list[Token]) -> tuple[int, Open]:
    closed = _CLOSERS[open_].match(text, at)
    end = closed.end() if closed else len(text)
    tokens.append(Token(_KIND_OF_OPEN[open_], start, text[start:end]))
    return end, Open.NOTHING if closed else open_


def _kind(part: re.Match[str], before: Sequence[Token]) -> Kind:
    group = part.lastgroup or ""
    if group == "word":
        # Right behind a dot a word is a name; with a space between, the name is still to be typed.
        if before and before[-1].text == "." and before[-1].end == part.start():
            return Kind.NAME
        word = part.group().lower()
        if word in DESTRUCTIVE:
            return Kind.DESTRUCTIVE
        return Kind.KEYWORD if word in KEYWORDS else Kind.NAME
    return {"comment": Kind.COMMENT, "number": Kind.NUMBER}.get(group, Kind.SYMBOL)


_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def needs_quotes(name: str) -> bool:
    """Whether a name must be quoted to be taken as it is written."""
    return not _PLAIN_NAME.fullmatch(name) or name in KEYWORDS


def spelled(name: str) -> str:
    """Return a name as it is written where nothing is known of the database that reads it."""
    return quote(name) if needs_quotes(name) else name


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A table that completion may offer."""

    name: str
    columns: tuple[tuple[str, str], ...]
    """Name and type of each."""
    schema: str = "main"
    written: str = ""
    """As a query names it, where that is known."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One thing that may come next."""

    name: str
    kind: str
    """`column`, `table`, `function` or `keyword`."""
    detail: str = ""
    """The type of a column, the table it is of."""
    written: str = ""
    """What is put into the text, where that is known."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What may stand between `start` and the cursor."""

    start: int
    prefix: str
    suggestions: tuple[Suggestion, ...]


_TABLE_COMES_AFTER = frozenset({"from", "join", "table", "describe", "summarize"})
_ENDS_TABLES = _words(
    "where group order by having limit qualify window union except intersect select on using"
)


def complete(
    text: str, cursor: int, tables: Sequence[KnownTable], functions: Iterable[str] = ()
) -> Completion:
    """Say what may come next at the cursor.

    Behind `name.` the columns of that table or alias come, behind FROM and JOIN the tables; elsewhere the
    columns of the tables that the statement reads come first, then tables, functions and keywords.
    Names that begin with what is typed come before names that merely contain it.
    """
    head, open_ = scan(text[:cursor])
    if open_ not in {Open.NOTHING, Open.QUOTED_NAME} or (head and _in_comment(head[-1], cursor)):
        return Completion(cursor, "", ())
    start, prefix, before = cursor, "", head
    if head and head[-1].end == cursor and head[-1].kind in _COMPLETED:
        start, prefix, before = head[-1].start, head[-1].name, head[:-1]
    elif head and head[-1].end == cursor and head[-1].kind is Kind.NUMBER:
        return Completion(cursor, "", ())
    statement = _statement(text, cursor)
    offered = _offered(before, statement, tables, functions)
    return Completion(start, prefix, _ranked(offered, prefix))


_COMPLETED = frozenset({Kind.NAME, Kind.QUOTED_NAME, Kind.KEYWORD, Kind.DESTRUCTIVE})


def _in_comment(last: Token, cursor: int) -> bool:
    return last.kind is Kind.COMMENT and last.text.startswith("--") and last.end == cursor


def _statement(text: str, cursor: int) -> list[Token]:
    """Return the tokens of the statement in which the cursor stands."""
    tokens, _ = scan(text)
    first, last = 0, len(tokens)
    for index, token in enumerate(tokens):
        if token.text == ";" and token.kind is Kind.SYMBOL:
            if token.end <= cursor:
                first = index + 1
            else:
                last = index
                break
    return tokens[first:last]


def _offered(
    before: Sequence[Token],
    statement: Sequence[Token],
    tables: Sequence[KnownTable],
    functions: Iterable[str],
) -> Iterator[Suggestion]:
    named = _tables_read(statement, tables)
    if len(before) >= 2 and before[-1].text == ".":
        owner = before[-2].name.lower()
        if owner in named:
            yield from _columns(named[owner])
        else:
            # Its schema is there already.
            of_schema = (table for table in tables if table.schema.lower() == owner)
            yield from (Suggestion(table.name, "table") for table in of_schema)
        return
    if _expects_table(before):
        yield from _tables(tables)
        return
    seen: set[str] = set()
    for table in named.values():
        if table.name not in seen:
            seen.add(table.name)
            yield from _columns(table)
    yield from _tables(tables)
    yield from (Suggestion(name, "function") for name in functions)
    yield from (Suggestion(word.upper(), "keyword") for word in sorted(KEYWORDS))


def _columns(table: KnownTable) -> Iterator[Suggestion]:
    return (Suggestion(name, "column", f"{type_} · {table.name}") for name, type_ in table.columns)


def _tables(tables: Iterable[KnownTable]) -> Iterator[Suggestion]:
    return (Suggestion(table.name, "table", written=table.written) for table in tables)


def _expects_table(before: Sequence[Token]) -> bool:
    """Whether a table must come next: behind FROM or JOIN, or behind a comma of that list."""
    if not before:
        return False
    last = before[-1].text.lower()
    return last in _TABLE_COMES_AFTER or (last == "," and _lists_tables(before))


def _lists_tables(before: Sequence[Token]) -> bool:
    """Whether what comes next stands in the list of tables that a FROM or JOIN began."""
    depth = 0
    for token in reversed(before):
        if token.text == ")":
            depth += 1
        elif token.text == "(":
            depth -= 1
        elif depth == 0 and token.kind is Kind.KEYWORD:
            word = token.text.lower()
            if word in _TABLE_COMES_AFTER or word in _ENDS_TABLES:
                return word in _TABLE_COMES_AFTER
        if depth < 0:
            return False
    return False


def _tables_read(statement: Sequence[Token], tables: Sequence[KnownTable]) -> dict[str, KnownTable]:
    """Return the tables that a statement names behind FROM and JOIN, by name and by alias."""
    known = {table.name.lower(): table for table in tables}
    named: dict[str, KnownTable] = {}
    for index, token in enumerate(statement):
        follows = index > 0 and (
            statement[index - 1].text.lower() in _TABLE_COMES_AFTER
            or statement[index - 1].text in {",", "."}
        )
        table = known.get(token.name.lower()) if token.kind in _COMPLETED else None
        if table is None or not follows or not _lists_tables(statement[:index]):
            continue
        named[table.name.lower()] = table
        alias = _alias(statement[index + 1 : index + 3])
        if alias:
            named[alias.lower()] = table
    return named


def _alias(following: Sequence[Token]) -> str:
    rest = [*following]
    if rest and rest[0].text.lower() == "as":
        rest = rest[1:]
    if rest and rest[0].kind in {Kind.NAME, Kind.QUOTED_NAME}:
        return rest[0].name
    return ""


def _ranked(offered: Iterable[Suggestion], prefix: str) -> tuple[Suggestion, ...]:
    wanted = prefix.lower()
    begin: dict[tuple[str, str], Suggestion] = {}
    contain: dict[tuple[str, str], Suggestion] = {}
    for one in offered:
        name = one.name.lower()
        if name.startswith(wanted):
            begin.setdefault((name, one.kind), one)
        elif wanted in name and one.kind in {"column", "table"}:
            contain.setdefault((name, one.kind), one)
    return (*begin.values(), *contain.values())


_AT_LINE = re.compile(r"^LINE (\d+): ", re.MULTILINE)


def error_offset(sql: str, message: str) -> int | None:
    """Return the offset in the statement that DuckDB's message points at; None where it does not.

    The message ends with `LINE n: <that line>` and a caret below it; a long line is cut on both sides and
    begins with `...`, so that only its text tells where the caret stands.
    """
    found = _AT_LINE.search(message)
    if found is None:
        return None
    lines = sql.splitlines(keepends=True)
    number = int(found.group(1))
    if not 1 <= number <= len(lines):
        return None
    rest = message[found.end() :].split("\n")
    caret = rest[1].find("^") if len(rest) > 1 else -1
    column = max(caret - (found.end() - found.start()), 0)
    shown = rest[0]
    if shown.startswith("..."):
        cut = shown.removeprefix("...").removesuffix("...")
        column += lines[number - 1].find(cut) - len("...")
    before = sum(len(line) for line in lines[: number - 1])
    return before + min(max(column, 0), len(lines[number - 1].rstrip("\n")))
