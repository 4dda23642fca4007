"""Rules: a glob and conditions that give files a tag. There is one matcher, and this is it.

Globs are case-insensitive and match the whole path below the source, `/` between the parts:
`*` and `?` stay within one part, `**` crosses parts (`**/` also matches no part at all), `[abc]`,
`[a-z]` and `[!abc]` are one character, `{a,b}` is either (braces without a comma are themselves).
A glob without a `/` is matched against the name alone; one that ends with `/` means all that lies
below. There is no escape character, since names may hold any: `[*]` is a star, `[[]` a bracket.
Preview, count and apply all go through `compiled(rule).matches(...)`.

A glob becomes a regular expression whose time stays bearable however many stars it has and whatever
the path: where one star is followed by another, the first place that fits is as good as any later
one, so the expression never needs to come back to it (an atomic group).
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from casparian.domain.errors import UserProblem
from casparian.domain.ids import RuleId

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Rule:
    """A glob, exclusions and conditions that give files a tag."""

    id: RuleId
    glob: str
    tag: str
    exclude: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    """The kinds it applies to; empty for any."""
    min_size: int | None = None
    max_size: int | None = None
    priority: int = 100
    """Lower comes first; it orders what is shown, it does not keep other rules from matching."""
    enabled: bool = True
    builtin: bool = False
    note: str = ""


class CompiledRule:
    """A rule ready to be asked; make it with `compiled`."""

    __slots__ = ("_excludes", "_include", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._include = _regex(rule.glob)
        self._excludes = tuple(_regex(glob) for glob in rule.exclude)

    def matches(self, path: str, kind: str, size_bytes: int) -> bool:
        """Whether the rule gives its tag to this file; whether it is enabled is not asked here."""
        rule = self.rule
        if rule.kinds and kind not in rule.kinds:
            return False
        if rule.min_size is not None and size_bytes < rule.min_size:
            return False
        if rule.max_size is not None and size_bytes > rule.max_size:
            return False
        if not self._include.fullmatch(path):
            return False
        return not any(one.fullmatch(path) for one in self._excludes)


def compiled(rule: Rule) -> CompiledRule:
    """Check a rule and make it ready to match.

    Raises:
        UserProblem: a glob, the tag or the sizes do not hold.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", rule.tag):
        raise UserProblem(
            "The tag is not usable",
            f"{rule.tag!r} is not made of lower-case letters, digits, '_', '-' and '.'",
            "Use a short word such as evtx or web_logs",
        )
    low, high = rule.min_size or 0, rule.max_size
    if low < 0 or (high is not None and high < low):
        raise UserProblem("The sizes keep every file out", f"from {low} to {high} bytes")
    return CompiledRule(rule)


def load_pack(text: str) -> list[Rule]:
    """Read a rule pack: TOML with a table `[rules.NAME]` per rule, its keys those of `Rule`.

    A rule's id is its name in the pack; whoever stores the rule gives it an id of its own.

    Raises:
        UserProblem: the text does not parse, or a rule has an unknown key, a wrong type, or a glob
            that does not hold.
    """
    try:
        pack = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserProblem("The rule pack does not parse", str(error)) from error
    tables = pack.pop("rules", {})
    if pack or not isinstance(tables, dict):
        raise UserProblem("The rule pack has an unknown key", ", ".join(pack) or "rules")
    return [_pack_rule(name, table) for name, table in tables.items()]


_PACK_KEYS: dict[str, type] = {
    "glob": str,
    "tag": str,
    "exclude": list,
    "kinds": list,
    "min_size": int,
    "max_size": int,
    "priority": int,
    "enabled": bool,
    "note": str,
}


def _pack_rule(name: str, table: object) -> Rule:
    where = f"The rule {name!r} of the pack"
    if not isinstance(table, dict):
        raise UserProblem(f"{where} is not a table", hint=f"Write [rules.{name}] above its keys")
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _PACK_KEYS:
            near = difflib.get_close_matches(key, _PACK_KEYS, n=1, cutoff=0.0)[0]
            raise UserProblem(
                f"{where} has an unknown key", repr(key), f"The nearest valid key is {near!r}"
            )
        is_texts = not isinstance(value, list) or all(isinstance(one, str) for one in value)
        if type(value) is not _PACK_KEYS[key] or not is_texts:
            raise UserProblem(f"{where} has a value that cannot be used", f"{key} = {value!r}")
        values[key] = tuple(value) if isinstance(value, list) else value
    if not {"glob", "tag"} <= values.keys():
        raise UserProblem(f"{where} is not complete", "It needs a glob and a tag")
    return compiled(Rule(id=RuleId(name), builtin=True, **values)).rule


class _Part(Enum):
    """What a glob has besides characters; those are kept as the expression for the one character."""

    STAR = auto()
    """`*`: any text within one part of the path."""
    GLOBSTAR = auto()
    """`**`: any text."""
    FOLDERS = auto()
    """`**/` at the start of a part: no folder, one, or several."""
    OPEN = auto()
    COMMA = auto()
    CLOSE = auto()


_LITERALS = {_Part.OPEN: r"\{", _Part.COMMA: ",", _Part.CLOSE: r"\}"}
_Token = str | _Part
_MOST_CHARACTERS = 1000
_MOST_ALTERNATIVES = 256


@lru_cache(maxsize=4096)
def _regex(glob: str) -> re.Pattern[str]:
    if not glob.strip("/"):
        raise UserProblem("The glob is empty", hint="Use ** to match every file")
    if len(glob) > _MOST_CHARACTERS:
        raise UserProblem(
            "The glob is too long", f"It has {len(glob):,} characters; {_MOST_CHARACTERS:,} may be"
        )
    choices = _alternatives(_tokens(glob), glob)
    return re.compile(
        "|".join(_expression(_completed(one)) for one in choices), re.IGNORECASE | re.DOTALL
    )


def _tokens(glob: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(glob):
        char, width = glob[at], 1
        if glob.startswith("**", at):
            tokens.append(_Part.GLOBSTAR)
            width = 2
        elif char in _SIGNS:
            tokens.append(_SIGNS[char])
        elif char == "[":
            token, width = _bracket(glob, at)
            tokens.append(token)
        else:
            tokens.append(re.escape(char))
        at += width
    return tokens


_SIGNS: dict[str, _Token] = {
    "*": _Part.STAR,
    "?": "[^/]",
    "{": _Part.OPEN,
    ",": _Part.COMMA,
    "}": _Part.CLOSE,
}


def _bracket(glob: str, at: int) -> tuple[str, int]:
    """Return the expression for `[...]` at that place, and its width in the glob.

    A `]` that comes first is one of the characters; a bracket that is never closed is itself.
    """
    start = at + 2 if glob.startswith("[!", at) else at + 1
    end = glob.find("]", start + 1)
    if end < 0:
        return r"\[", 1
    ranges = []
    while start < end:
        low = high = glob[start]
        if glob[start + 1] == "-" and start + 2 < end:
            high = glob[start + 2]
            start += 2
        if low > high:
            raise UserProblem(
                "The glob does not parse",
                f"{glob!r}: the range {low}-{high} is the wrong way round",
            )
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        start += 1
    negation = "^" if glob.startswith("[!", at) else ""
    return f"(?!/)[{negation}{''.join(ranges)}]", end + 1 - at


def _alternatives(tokens: Sequence[_Token], glob: str) -> list[list[_Token]]:
    """Write out `{a,b}`; braces without a comma, or without a partner, are themselves."""
    for at, token in enumerate(tokens):
        edges = _brace_edges(tokens, at) if token is _Part.OPEN else []
        if len(edges) > 2:
            break
    else:
        return [[_LITERALS.get(one, one) if isinstance(one, _Part) else one for one in tokens]]

    before = [_LITERALS.get(one, one) if isinstance(one, _Part) else one for one in tokens[:at]]
    after = _alternatives(tokens[edges[-1] + 1 :], glob)
    choices = [
        choice
        for left, right in pairwise(edges)
        for choice in _alternatives(tokens[left + 1 : right], glob)
    ]
    if len(choices) * len(after) > _MOST_ALTERNATIVES:
        raise UserProblem(
            "The glob has too many alternatives",
            f"{glob!r} stands for more than {_MOST_ALTERNATIVES} globs",
            "Make several rules of it",
        )
    return [[*before, *choice, *rest] for choice in choices for rest in after]


def _brace_edges(tokens: Sequence[_Token], at: int) -> list[int]:
    """Return where the brace opens, its commas, and where it closes; nothing if it never does."""
    edges, depth = [at], 0
    for place in range(at, len(tokens)):
        match tokens[place]:
            case _Part.OPEN:
                depth += 1
            case _Part.COMMA if depth == 1:
                edges.append(place)
            case _Part.CLOSE:
                depth -= 1
                if not depth:
                    return [*edges, place]
    return []


def _completed(tokens: list[_Token]) -> list[_Token]:
    """Anchor a glob: to the name if it has no `/`, else to the whole path; `x/` is `x/**`."""
    if "/" not in tokens:
        return [_Part.FOLDERS, *tokens]
    if tokens[0] == "/":
        tokens = tokens[1:]
    if tokens[-1] == "/":
        tokens = [*tokens, _Part.GLOBSTAR]
    done: list[_Token] = []
    for one in tokens:
        starts_part = len(done) < 2 or done[-2] in {"/", _Part.FOLDERS}
        if one == "/" and done[-1:] == [_Part.GLOBSTAR] and starts_part:
            done[-1] = _Part.FOLDERS
        else:
            done.append(one)
    return done


def _expression(tokens: Sequence[_Token]) -> str:
    """Return the regular expression for a full match; see the module for the atomic groups."""
    groups: list[tuple[_Part | None, list[_Token]]] = [(None, [])]
    for token in tokens:
        if token in {_Part.GLOBSTAR, _Part.FOLDERS}:
            groups.append((_Part(token), []))
        else:
            groups[-1][1].append(token)
    *firsts, (lead, last) = groups
    out = [
        f"(?>{_LAZY[lead_of_first]}{_within_parts(group, is_last=False)})"
        for lead_of_first, group in firsts
    ]
    return "".join(out) + _GREEDY[lead] + _within_parts(last, is_last=True)


_LAZY = {None: "", _Part.GLOBSTAR: ".*?", _Part.FOLDERS: "(?:.*?/)??"}
_GREEDY = {None: "", _Part.GLOBSTAR: ".*", _Part.FOLDERS: "(?:.*/)?"}


def _within_parts(tokens: Sequence[_Token], *, is_last: bool) -> str:
    """Return the expression for characters and single stars."""
    chunks = [""]
    for token in tokens:
        if token is _Part.STAR:
            chunks.append("")
        else:
            chunks[-1] += str(token)
    first, *others = chunks
    if not others:
        return first
    *middle, end = others
    atomic = "".join(f"(?>[^/]*?{chunk})" for chunk in middle)
    return first + atomic + (f"[^/]*{end}" if is_last else f"(?>[^/]*?{end})")
