"""Lets through to a server what looks like one query; what protects the server is the server.

This is a scanner, no parser: it knows texts, quoted names and comments, and with them where a statement
ends and which words stand bare. It keeps out what is a mistake here, a second statement or a DELETE, with
a sentence of ours. What is not a query in spite of its first word is refused by the server: it runs in a
transaction that may only read (PostgreSQL), and in one that is always taken back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casparian.domain.errors import UserProblem
from casparian.duck import checked

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "This statement is not allowed here"
_HINT = "Write one SELECT, or EXPLAIN and a SELECT"
_BEGINNINGS = frozenset({"select", "with", "values", "table", "explain", "("})


@dataclass(frozen=True, slots=True)
class Language:
    """What a kind of server takes for texts, names and comments, and what it must not be asked."""

    tokens: re.Pattern[str]
    """Named groups: comment, block, text, quoted, word, open, end; anything else is `other`."""
    beginnings: frozenset[str]
    words: re.Pattern[str]
    """Words, in lower case, that begin or make something else than a query where they stand bare."""
    names: re.Pattern[str] | None = None
    """Functions, in lower case, that do more than read; quoted, they do the same."""
    dollar: re.Pattern[str] | None = None
    """What begins a text that ends with the same again."""


POSTGRES = Language(
    re.compile(
        r"""(?P<comment>--[^\n\r]*)|(?P<block>/\*)
        |(?P<text>[eE]'(?:[^'\\]|\\.|'')*'|(?:[uU]&)?'(?:[^']|'')*')
        |(?P<quoted>(?:[uU]&)?"(?:[^"]|"")*")
        |(?P<word>[^\W\d][\w$]*)|(?P<number>\d\w*)|(?P<open>['"])|(?P<end>;)|(?P<other>.)""",
        re.VERBOSE | re.DOTALL,
    ),
    _BEGINNINGS,
    re.compile("into"),
    # Functions that write files, wait, reach other servers, end what others do, or run SQL that stands in
    # a text. A transaction that may only read keeps from none of these.
    re.compile(
        r"lo_(im|ex)port|lo_put|pg_read_.*file|pg_file_.*|pg_ls_.*|pg_stat_file|pg_current_logfile"
        r"|dblink.*|query_to_.*|cursor_to_.*|table_to_.*|schema_to_.*|database_to_.*|ts_stat|set_config"
        r"|pg_(terminate|cancel)_backend|pg_reload_conf|pg_rotate_logfile.*|pg_switch_wal|pg_promote"
        r"|pg_.*advisory_.*|pg_notify|pg_logical_.*|pg_create_.*|pg_drop_.*|pg_backup_.*|pg_.*_backup_.*"
        r"|pg_wal_.*|pg_stat_reset.*|pg_log_.*|pg_export_snapshot|setval|nextval"
    ),
    re.compile(r"\$(?:[^\W\d]\w*)?\$"),
)
SQL_SERVER = Language(
    re.compile(
        r"""(?P<comment>--[^\n]*)|(?P<block>/\*)|(?P<text>[nN]?'(?:[^']|'')*')
        |(?P<quoted>"(?:[^"]|"")*"|\[(?:[^\]]|\]\])*\])
        |(?P<word>[^\W\d][\w$@\#]*)|(?P<number>\d\w*)|(?P<open>['"\[])|(?P<end>;)|(?P<other>.)""",
        re.VERBOSE | re.DOTALL,
    ),
    _BEGINNINGS - {"values", "table", "explain"},
    # A statement needs no semicolon before it, but its first word is reserved: bare, it is nothing else.
    re.compile(
        r"alter|backup|begin|bulk|checkpoint|close|commit|create|dbcc|deallocate|declare|delete|deny|drop"
        r"|dump|exec|execute|fetch|go|goto|grant|if|insert|into|kill|load|merge|open|opendatasource"
        r"|openquery|openrowset|print|raiserror|readtext|reconfigure|restore|return|revert|revoke|rollback"
        r"|save|set|setuser|shutdown|throw|truncate|update|updatetext|use|waitfor|while|writetext"
    ),
)
"""`IF`, `BEGIN` and `FETCH` of `OFFSET … FETCH` aside, none of these words stands in a query."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A statement that was let through."""

    sql: str
    """As it was typed, without a closing semicolon; what stands before it stays, so that lines count."""
    is_explain: bool
    names: frozenset[str]
    """Every word and quoted name in it, or every name of a table or schema, in lower case."""
    bare: frozenset[str] = frozenset()
    """Names of tables that name no schema, in lower case, where the database may look elsewhere for them."""


def check_query(sql: str, language: Language) -> Checked:
    """Return the statement, if it looks like one query.

    Raises:
        UserProblem: it is something else, several statements, nothing at all, or does not end.
    """
    if "\0" in checked(sql):
        raise UserProblem("The statement holds a NUL character", hint="Remove it")
    tokens = list(_tokens(sql, language))
    end = next((at for kind, _, at in tokens if kind == "end"), len(sql))
    if any(at > end and kind != "end" for kind, _, at in tokens):
        raise UserProblem(TITLE, "There are several statements; one runs at a time", _HINT)
    tokens = [one for one in tokens if one[2] < end]
    if not tokens:
        raise UserProblem("There is no statement", hint=_HINT)
    words = [text.lower() for _, text, _ in tokens]
    if words[0] not in language.beginnings:
        raise UserProblem(TITLE, f"It begins with {tokens[0][1][:40]}", _HINT)
    if words[0] == "explain" and words[1:2] and words[1] not in language.beginnings - {"("}:
        raise UserProblem(TITLE, "EXPLAIN may stand before a SELECT only, without options", _HINT)
    for before, (kind, text, _) in zip(["", *words], tokens, strict=False):
        name = _name(kind, text)
        if _is_refused(kind, name, before, language):
            raise UserProblem(TITLE, f"{name} does more than read", _HINT)
    return Checked(
        sql[:end].rstrip(),
        words[0] == "explain",
        frozenset(_name(kind, text) for kind, text, _ in tokens),
    )


def _is_refused(kind: str, name: str, before: str, language: Language) -> bool:
    if kind == "word" and language.words.fullmatch(name):
        # OFFSET … ROWS FETCH NEXT … is part of a query.
        return not (name == "fetch" and before in {"row", "rows"})
    functions = language.names
    return functions is not None and kind in {"word", "quoted"} and bool(functions.fullmatch(name))


def _name(kind: str, text: str) -> str:
    if kind != "quoted":
        return text.lower()
    return text[1:-1].replace(text[-1] * 2, text[-1]).lower()


def _tokens(sql: str, language: Language) -> Iterator[tuple[str, str, int]]:
    """Kind, text and place of everything but blanks, comments and texts."""
    at = 0
    while at < len(sql):
        if language.dollar is not None and (mark := language.dollar.match(sql, at)):
            at = _behind(sql, mark[0], mark.end())
            yield "text", "''", mark.start()
            continue
        found = language.tokens.match(sql, at)
        assert found is not None  # noqa: S101  (`other` is any character)
        kind, start, at = str(found.lastgroup), at, found.end()
        if kind == "block":
            at = _behind_comment(sql, at)
        elif kind == "open":
            raise UserProblem("The statement does not end", f"{found[0]} is opened and not closed")
        elif kind == "quoted" and found[0][:1] in "uU":
            raise UserProblem(TITLE, 'Names of the form U&"…" are not understood', "Write the name")
        elif kind != "comment" and not found[0].isspace():
            yield kind, "''" if kind == "text" else found[0], start


def _behind(sql: str, mark: str, at: int) -> int:
    end = sql.find(mark, at)
    if end < 0:
        raise UserProblem("The statement does not end", f"{mark} is opened and not closed")
    return end + len(mark)


def _behind_comment(sql: str, at: int) -> int:
    depth = 1
    while depth:
        found = re.compile(r"/\*|\*/").search(sql, at)
        if found is None:
            raise UserProblem("The statement does not end", "/* is opened and not closed")
        depth += 1 if found[0] == "/*" else -1
        at = found.end()
    return at
