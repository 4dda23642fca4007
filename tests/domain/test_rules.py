"""The one matcher, against an oracle that was written from the sentences of the documentation."""

from __future__ import annotations

import random
import re
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casparian.domain.errors import UserProblem
from casparian.domain.ids import RuleId
from casparian.domain.rules import Rule, compiled, load_pack


def a_rule(glob: str = "**", **values: object) -> Rule:
    return Rule(**{"id": RuleId("1"), "glob": glob, "tag": "evtx", **values})  # type: ignore[arg-type]  # builder


def matches(glob: str, path: str) -> bool:
    return compiled(a_rule(glob)).matches(path, "text", 1)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.evtx", "Security.evtx"),
        ("*.evtx", "C/Windows/System32/winevt/Logs/Security.EVTX"),
        ("**", "anything/at all"),
        ("*", "a/b/c"),
        ("C/*/x.log", "C/Users/x.log"),
        ("/C/*/x.log", "C/Users/x.log"),
        ("C/**/x.log", "C/x.log"),
        ("C/**/x.log", "C/a/b/c/x.log"),
        ("**/Logs/*.evtx", "Logs/a.evtx"),
        ("**/Logs/*.evtx", "C/Windows/Logs/a.evtx"),
        ("logs/", "Logs/deep/er.txt"),
        ("logs**", "logs/deep/er.txt"),
        ("a**b", "a/x/b"),
        ("?.txt", "ä.txt"),
        ("[a-c]x", "Bx"),
        ("[!a-c]x", "dx"),
        ("[]]x", "]x"),
        ("[!]]x", "ax"),
        ("[a-]x", "-x"),
        ("[--/]x", ".x"),
        ("[a&&b]x", "&x"),
        ("[*]", "*"),
        ("[[]", "["),
        ("[x", "[x"),
        ("[{]a[,]b}", "{a,b}"),
        ("*.{csv,tsv}", "x.TSV"),
        ("*.{csv,t{s,a}v}", "x.tav"),
        ("{*.csv,logs/*.txt}", "deep/x.csv"),
        ("{*.csv,logs/*.txt}", "logs/x.txt"),
        ("{a,}b", "b"),
        ("{4d36e972-e325}.log", "{4d36e972-e325}.log"),
        ("{a", "{a"),
        ("a}", "a}"),
        ("a,b", "a,b"),
        ("a\nb*", "a\nb\nc"),
        ("*.log", "with\nnewline.log"),
        ("100%*", "100%'\"; DROP TABLE files; --"),
        ("*gpj.exe", "invoice\u202egpj.exe"),
        (r"a\b", r"a\b"),
        ("*(1)+.txt", "x(1)+.txt"),
        ("straße*", "STRAßE 1"),
    ],
)
def test_a_glob_matches(glob: str, path: str) -> None:
    assert matches(glob, path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.evtx", "Security.evtx.bak"),
        ("*.evtx", "x.evtx/inside"),
        ("C/*/x.log", "C/a/b/x.log"),
        ("C/*/x.log", "D/C/a/x.log"),
        ("Logs/*.evtx", "C/Logs/a.evtx"),
        ("a?b/x", "a/b/x"),
        ("a[!x]b/x", "a/b/x"),
        ("a[--0]b/x", "a/b/x"),
        ("logs/", "logs"),
        ("a/**/b", "ab"),
        ("a.c", "abc"),
        ("[!]]x", "]x"),
        ("{a}b", "ab"),
        ("x*", "y/x/z"),
        ("*.log", "x.log\n"),
    ],
)
def test_a_glob_does_not_match(glob: str, path: str) -> None:
    assert not matches(glob, path)


# -- the oracle: one character at a time, every possibility tried, folders as lists of characters


def oracle(glob: str, path: str) -> bool:
    glob, path = glob.lower(), path.lower()
    if "/" not in glob:
        return oracle_at(glob, path.rpartition("/")[2]) or (
            "**" in glob and oracle_name(glob, path)
        )
    if glob.endswith("/"):
        glob += "**"
    return oracle_at(glob.removeprefix("/"), path)


def oracle_name(glob: str, path: str) -> bool:
    places = [0, *(found.end() for found in re.finditer("/", path))]
    return any(oracle_at(glob, path[place:]) for place in places)


def oracle_at(glob: str, path: str, before: str = "/") -> bool:
    if not glob:
        return not path
    if glob.startswith("**/") and before == "/":
        rest = glob[3:]
        places = [0, *(found.end() for found in re.finditer("/", path))]
        return any(oracle_at(rest, path[place:], "/") for place in places)
    if glob.startswith("**"):
        return any(oracle_at(glob[2:], path[place:], "*") for place in range(len(path) + 1))
    if glob[0] == "*":
        within = len(path.partition("/")[0])
        return any(oracle_at(glob[1:], path[place:], "*") for place in range(within + 1))
    if not path:
        return False
    fits = path[0] != "/" if glob[0] == "?" else path[0] == glob[0]
    return fits and oracle_at(glob[1:], path[1:], glob[0])


GLOBS = st.lists(
    st.sampled_from(["a", "b", "B", "/", "?", "*", "**", "**/", "/*"]), max_size=8
).map("".join)
PATHS = st.lists(st.text("abA", min_size=1, max_size=5), min_size=1, max_size=4).map("/".join)


@given(GLOBS.filter(lambda glob: glob.strip("/")), PATHS)
@example("**a*a/**/b*", "ba/aab/b/ba")
@example("**/*a", "a/ba")
@example("***/a", "b/a")
def test_a_glob_means_what_the_documentation_says(glob: str, path: str) -> None:
    # `***` may be cut into `**` and `*` only, from the left, as the matcher does.
    assert matches(glob, path) == oracle(glob, path)


def test_a_glob_means_what_the_documentation_says_often() -> None:
    chance = random.Random(2026)
    pieces = ["a", "b", "/", "?", "*", "**", "**/", "a*", "*b"]
    for _ in range(20_000):
        glob = "".join(chance.choices(pieces, k=chance.randint(1, 9)))
        if not glob.strip("/"):
            continue
        path = "/".join(
            "".join(chance.choices("ab", k=chance.randint(1, 6)))
            for _ in range(chance.randint(1, 4))
        )
        assert matches(glob, path) == oracle(glob, path), (glob, path)


@given(GLOBS.filter(lambda glob: glob.strip("/")), PATHS)
def test_case_does_not_matter(glob: str, path: str) -> None:
    assert matches(glob, path) == matches(glob.upper(), path.swapcase())


HOSTILE = st.text(
    st.sampled_from("*?[]{},!-/\\^$.|()+&~# \n\t\x00\u202eaé\U0001f600\udc80"), max_size=30
)


@given(HOSTILE, HOSTILE)
def test_any_glob_is_refused_with_a_sentence_or_matches_without_a_fault(
    glob: str, path: str
) -> None:
    with suppress(UserProblem):
        compiled(a_rule(glob)).matches(path, "text", 1)


@given(st.text(min_size=1, max_size=40).filter(lambda name: "/" not in name))
def test_every_name_can_be_written_as_a_glob(name: str) -> None:
    glob = re.sub(r"([*?\[{])", r"[\1]", name)

    assert matches(glob, f"some/folder/{name}")


@given(
    st.lists(st.sampled_from(["*.a", "*.b", "x/**", "**/y/*", "[ab]*"]), max_size=4),
    st.lists(PATHS, max_size=12),
    st.randoms(use_true_random=False),
)
def test_what_matches_does_not_depend_on_the_order_it_is_asked_in(
    globs: list[str], paths: list[str], chance: random.Random
) -> None:
    rules = [compiled(a_rule(glob)) for glob in globs]
    asked = [(rule, path) for rule in rules for path in paths]
    first = {(id(rule), path): rule.matches(path, "", 0) for rule, path in asked}
    chance.shuffle(asked)

    assert {(id(rule), path): rule.matches(path, "", 0) for rule, path in asked} == first


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*a*a*a*a*a*a*a*a*a*a*a*a*b", "a" * 255),
        ("**/*a*a*a*a*a*a*a*a*b", "/".join(["a" * 40] * 20)),
        ("**/a/**/a/**/a/**/a/**/a/**/b", "/".join(["a"] * 200)),
        ("**a**a**a**a**a**a**b", "a" * 400),
        ("{*a,*a*a,**a}" * 3 + "b", "a" * 200),
    ],
)
@pytest.mark.timeout(30)  # Backtracking would take from minutes to years.
def test_no_glob_takes_exponential_time(glob: str, path: str) -> None:
    assert not compiled(a_rule(glob)).matches(path, "", 0)


@pytest.mark.parametrize("glob", ["", "/", "//", "[z-a]", "{a,b}" * 9, "x" * 1001, "{a," * 300])
def test_a_glob_that_does_not_hold_is_refused_or_taken_literally(glob: str) -> None:
    if glob == "{a," * 300:
        assert matches(glob, glob)
    else:
        with pytest.raises(UserProblem, match=r"^The glob "):
            compiled(a_rule(glob))


def test_exclusions_take_files_out() -> None:
    rule = compiled(a_rule("*.csv", exclude=("**/Temp/**", "~*")))

    assert rule.matches("a/x.csv", "text", 1)
    assert not rule.matches("a/temp/deep/x.csv", "text", 1)
    assert not rule.matches("a/~x.csv", "text", 1)


def test_a_rule_with_kinds_takes_no_other_kind() -> None:
    rule = compiled(a_rule(kinds=("evtx", "evt")))

    assert rule.matches("x", "evt", 1)
    assert not rule.matches("x.evtx", "registry", 1)
    assert not rule.matches("x.evtx", "", 1)


def test_sizes_are_inclusive() -> None:
    rule = compiled(a_rule(min_size=10, max_size=20))

    assert [rule.matches("x", "", size) for size in (9, 10, 20, 21)] == [False, True, True, False]


@pytest.mark.parametrize(
    "values",
    [{"tag": "Web Logs"}, {"tag": ""}, {"min_size": 5, "max_size": 4}, {"min_size": -1}],
)
def test_a_rule_that_does_not_hold_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(UserProblem):
        compiled(a_rule(**values))


def test_an_exclusion_that_does_not_parse_is_refused() -> None:
    with pytest.raises(UserProblem, match="wrong way round"):
        compiled(a_rule(exclude=("[z-a]",)))


# -- the pack


def test_a_pack_gives_its_rules_in_order() -> None:
    rules = load_pack(
        "[rules.b]\nglob = '*.b'\ntag = 'b'\n"
        "[rules.a]\nglob = '*.a'\ntag = 'a'\nexclude = ['x*']\nkinds = ['text']\npriority = 3\n"
    )

    assert [(rule.id, rule.glob, rule.tag) for rule in rules] == [
        ("b", "*.b", "b"),
        ("a", "*.a", "a"),
    ]
    assert rules[1].exclude == ("x*",)
    assert rules[1].kinds == ("text",)
    assert rules[1].priority == 3
    assert all(rule.builtin and rule.enabled for rule in rules)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rules.a", "does not parse"),
        ("[rulez.a]", "unknown key"),
        ("rules = 3", "unknown key"),
        ("[rules]\na = 3", "not a table"),
        ("[rules.a]\nglob = '*'\ntag = 'a'\nkind = ['text']", "nearest valid key is 'kinds'"),
        ("[rules.a]\nglob = '*'", "needs a glob and a tag"),
        ("[rules.a]\nglob = '*'\ntag = 'a'\nkinds = 'text'", "cannot be used"),
        ("[rules.a]\nglob = '*'\ntag = 'a'\nkinds = [3]", "cannot be used"),
        ("[rules.a]\nglob = '*'\ntag = 'a'\npriority = true", "cannot be used"),
        ("[rules.a]\nglob = '[z-a]'\ntag = 'a'", "does not parse"),
        ("[rules.a]\nglob = '*'\ntag = 'A B'", "tag is not usable"),
    ],
)
def test_a_pack_that_does_not_hold_says_where(text: str, message: str) -> None:
    with pytest.raises(UserProblem, match=message):
        load_pack(text)
