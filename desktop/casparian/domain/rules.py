"""Rules: a glob and conditions that give files a tag. There is one matcher, and this is it.

Globs are case-insensitive and match the whole path below the source, `/` between the parts:
`*` and `?` stay within one part, `**` crosses parts (`**/` also matches no part at all), `[abc]` and
`[!abc]` are one character, `{a,b}` is either. A glob without a `/` is matched against the name alone.
Preview, count and apply all go through `compiled(rule).matches(...)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from casparian.domain.errors import UserProblem

if TYPE_CHECKING:
    from casparian.domain.ids import RuleId


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
        UserProblem: a glob or the tag does not hold.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", rule.tag):
        raise UserProblem(
            "The tag is not usable",
            f"{rule.tag!r} is not made of lower-case letters, digits, '_', '-' and '.'",
            "Use a short word such as evtx or web_logs",
        )
    return CompiledRule(rule)


@lru_cache(maxsize=4096)
def _regex(glob: str) -> re.Pattern[str]:
    if not glob.strip("/"):
        raise UserProblem("The glob is empty", hint="Use ** to match every file")
    pattern = glob if "/" in glob else f"**/{glob}"
    try:
        return re.compile(_translate(pattern.removeprefix("/")), re.IGNORECASE | re.DOTALL)
    except re.error as error:
        raise UserProblem("The glob does not parse", f"{glob!r}: {error}") from error


def _translate(glob: str) -> str:
    out: list[str] = []
    at, depth = 0, 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
            out.append("(?:.*/)?")
            at += 3
            continue
        if glob.startswith("**", at):
            out.append(".*")
            at += 2
            continue
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and (end := glob.find("]", at + 2)) > 0:
            body = glob[at + 1 : end]
            negated = body.startswith("!")
            chars = re.sub(r"([\\^\[\]&~|])", r"\\\1", body[negated:])
            out.append(f"[{'^/' if negated else ''}{chars}]")
            at = end
        elif char == "{" and glob.find("}", at) > 0:
            depth += 1
            out.append("(?:")
        elif char == "}" and depth:
            depth -= 1
            out.append(")")
        elif char == "," and depth:
            out.append("|")
        else:
            out.append(re.escape(char))
        at += 1
    return "".join(out)
