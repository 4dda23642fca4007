"""The process that holds the .NET runtime: answers what Microsoft's T-SQL parser says of statements.

Started by `helpers.tsql` with the folder of its packages as the only argument. Reads a request a line
on stdin, answers a line on stdout, both JSON. It imports nothing of the project.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

ABOUT = re.compile(r"^(Error|Warning) SQL(\d+): ", re.MULTILINE)
ELEMENT = re.compile(r"^Error validating element (.+?): (?=[A-Z])")
# A model knows no system objects, since it has no copy of master: what names one is not judged.
SYSTEM = re.compile(
    r"object \[(sys|INFORMATION_SCHEMA)\]\.|object \[dbo\]\.\[(sp|xp)_", re.IGNORECASE
)
DEFINES = ("Create", "AlterTableAdd")
FUNCTIONS = frozenset(
    """
    abs acos ascii asin atan atn2 avg binary_checksum ceiling char charindex checksum checksum_agg choose
    col_length col_name columnproperty compress concat concat_ws connectionproperty context_info cos cot
    count count_big cume_dist current_request_id current_transaction_id databasepropertyex datalength
    dateadd datediff datediff_big datefromparts datename datepart datetime2fromparts datetimefromparts
    datetimeoffsetfromparts day db_id db_name decompress degrees dense_rank difference eomonth
    error_line error_message error_number error_procedure error_severity error_state exp first_value
    floor format formatmessage get_filestream_transaction_context getansinull getdate getutcdate grouping
    grouping_id has_dbaccess hashbytes has_perms_by_name host_id host_name ident_current ident_incr
    ident_seed index_col indexproperty indexkey_property is_member is_rolemember is_srvrolemember isdate
    isjson isnull isnumeric json_modify json_query json_value lag last_value lead len log log10 lower
    ltrim max min min_active_rowversion month nchar newid newsequentialid ntile object_definition
    object_id object_name object_schema_name objectproperty objectpropertyex original_login parsename
    patindex percent_rank percentile_cont percentile_disc permissions pi power quotename radians rand
    rank replace replicate reverse round row_number rowcount_big rtrim schema_id schema_name
    scope_identity serverproperty session_context sessionproperty sign sin
    smalldatetimefromparts soundex space sql_variant_property sqrt square stats_date stdev stdevp str
    string_agg string_escape stuff substring sum suser_id suser_name suser_sid suser_sname switchoffset
    sysdatetime sysdatetimeoffset sysutcdatetime tan timefromparts todatetimeoffset translate trim
    type_id type_name typeproperty unicode upper user_id user_name var varp xact_state year
    """.split()  # noqa: SIM905
)
"""The functions of SQL Server 2019 that are written as plain calls."""
NO_CALLS = FUNCTIONS | frozenset(
    """
    and as by cast check coalesce convert decimal else exists from iif in into key left not nullif numeric
    nvarchar on or over right select then top try_cast try_convert unique using values varbinary varchar
    when where with
    """.split()  # noqa: SIM905
)
"""Words before a parenthesis that need no closer look."""
MAYBE_CALL = re.compile(r"(?<!into )(?<!table )(?<!references )\b(\w+)\s*\(")
ENDS_DECLARE = {"Semicolon", "Select", "Insert", "Update", "Delete", "With", "If", "Begin", "Set"}


class Parser:
    """Microsoft's parser, and its model of a database where that loads."""

    def __init__(self, packages: Path) -> None:
        import pythonnet

        config = packages / "runtimeconfig.json"
        pythonnet.load("coreclr", runtime_config=str(config), dotnet_root=str(packages / "dotnet"))
        import clr

        self._dlls = packages / "tools"
        sys.path.append(str(self._dlls))
        self._clr = clr
        clr.AddReference(str(self._dlls / "Microsoft.SqlServer.TransactSql.ScriptDom.dll"))
        from Microsoft.SqlServer.TransactSql import ScriptDom
        from System.IO import StringReader

        self._dom, self._reader = ScriptDom, StringReader
        self._visitor = _calls_visitor(ScriptDom)

    def load_model(self) -> bool:
        """Load DacFx and build an empty model: without ICU or libssl 1.1 this ends the process."""
        self._clr.AddReference(str(self._dlls / "Microsoft.SqlServer.Dac.Extensions.dll"))
        self._new_model()
        return True

    def syntax(self, sql: str) -> list[str]:
        """Give the errors of one script as `line:column message`."""
        return self._parse(sql)[1]

    def model(self, ddl: list[str], statements: list[str], types: dict[str, str]) -> list[str]:
        """Give the faults of a database of these definitions with these statements as procedures."""
        faults: list[str] = []
        scripts: list[tuple[str, str]] = []
        for number, sql in enumerate(ddl, 1):
            title = _title("definition", number, sql)
            fragment, errors = self._parse(sql)
            errors = errors or _no_definitions(fragment) + self._unknown_functions(sql, fragment)
            faults += [f"{title}: {one}" for one in errors]
            if not errors:
                scripts.append((title, sql))
        titles: dict[str, str] = {}
        for number, sql in enumerate(statements, 1):
            title = _title("statement", number, sql)
            fragment, errors = self._parse(sql)
            errors = errors or self._unknown_functions(sql, fragment)
            faults += [f"{title}: {one}" for one in errors]
            if not errors:
                titles[f"[dbo].[_gate_{number}]"] = title
                parameters = ", ".join(f"{one} {types[one[1:]]}" for one in _free(fragment, types))
                head = f"CREATE PROCEDURE [dbo].[_gate_{number}] {parameters} AS"
                scripts.append((title, f"{head} BEGIN\n{sql}\nEND"))
        model, refused = self._build(scripts)
        return faults + refused + _validated(model, titles)

    def _parse(self, sql: str) -> tuple[Any, list[str]]:
        parser = self._dom.TSql150Parser(True)
        fragment, errors = parser.Parse(self._reader(sql), None)
        return fragment, [f"{one.Line}:{one.Column} {one.Message}" for one in errors]

    def _unknown_functions(self, sql: str, fragment: Any) -> list[str]:
        """Name the functions that a server would miss: a model takes any name of one."""
        if NO_CALLS.issuperset(MAYBE_CALL.findall(sql.lower())):
            return []  # as mostly: a visit takes some 40 ms
        calls = self._visitor()
        calls.places = {}
        fragment.Accept(calls)
        return [
            f"{at} {name} is no function of SQL Server 2019" for at, name in calls.places.items()
        ]

    def _new_model(self) -> Any:
        from Microsoft.SqlServer.Dac.Model import SqlServerVersion, TSqlModel, TSqlModelOptions

        return TSqlModel(SqlServerVersion.Sql150, TSqlModelOptions())

    def _build(self, scripts: list[tuple[str, str]]) -> tuple[Any, list[str]]:
        """Give a model of all scripts that it takes, and why it refused the others."""
        from Microsoft.SqlServer.Dac.Model import DacModelException

        faults: list[str] = []
        left = list(scripts)
        while True:
            model = self._new_model()
            for script in left:
                title, sql = script
                try:
                    model.AddOrUpdateObjects(sql, title, None)
                except DacModelException as error:
                    # A model that refused one script takes no other: begin again without it.
                    lines = [one for one in str(error.Message).splitlines() if ABOUT.match(one)]
                    faults += [f"{title}: {_told(one)}" for one in lines or [str(error.Message)]]
                    left.remove(script)
                    break
            else:
                return model, faults


def _calls_visitor(dom: Any) -> Any:
    class Calls(dom.TSqlFragmentVisitor):  # type: ignore[misc]
        __namespace__ = "Gate"

        def Visit(self, node: Any) -> None:  # noqa: N802  # called for a node as each of its kinds
            if node.GetType().Name == "FunctionCall" and node.CallTarget is None:
                name = node.FunctionName.Value
                if name.lower() not in FUNCTIONS:
                    self.places[f"{node.StartLine}:{node.StartColumn}"] = name

    return Calls


def _title(kind: str, number: int, sql: str) -> str:
    words = " ".join(sql.split())
    return f"{kind} {number} ({words if len(words) <= 60 else words[:57] + '...'})"


def _told(line: str) -> str:
    return ABOUT.sub(lambda found: f"SQL{found[2]} ", line)


def _no_definitions(fragment: Any) -> list[str]:
    """Name the statements that a model would pass over in silence."""
    faults = []
    for batch in fragment.Batches:
        for one in batch.Statements:
            kind = one.GetType().Name
            if not kind.startswith(DEFINES):
                faults.append(f"{one.StartLine}:{one.StartColumn} {kind} defines nothing")
    return faults


def _free(fragment: Any, types: dict[str, str]) -> list[str]:
    """Give the variables that a statement uses and does not declare; note a type for each.

    A procedure's own parameter names in EXEC count too: one parameter too many does no harm.
    """
    used: dict[str, str] = {}
    declared: set[str] = set()
    declaring, depth, before = False, 0, ""
    for token in fragment.ScriptTokenStream:
        kind = str(token.TokenType)
        if kind in {"WhiteSpace", "SingleLineComment", "MultilineComment"}:
            continue
        depth += (kind == "LeftParenthesis") - (kind == "RightParenthesis")
        if kind == "Declare":
            declaring, depth = True, 0
        elif kind in ENDS_DECLARE and not depth:
            declaring = False
        elif kind == "Variable" and not token.Text.startswith("@@"):
            used.setdefault(token.Text.lower(), token.Text)
            if declaring and not depth and before in {"Declare", "Comma"}:
                declared.add(token.Text.lower())
        before = kind
    free = [text for low, text in used.items() if low not in declared]
    for one in free:
        types.setdefault(one[1:], "nvarchar(4000)")
    return free


def _validated(model: Any, titles: dict[str, str]) -> list[str]:
    faults = []
    for message in model.Validate():
        text = str(message.Message)
        if SYSTEM.search(text):
            continue
        element = ELEMENT.match(text)
        title = titles.get(element[1]) if element else None
        short = text[element.end() :] if element else text
        if title and element:
            short = short.removeprefix(f"SqlProcedure: {element[1]} ")
            faults.append(f"{title}: SQL{message.Number} {short}")
        else:
            faults.append(f"SQL{message.Number} {short}")
    return sorted(dict.fromkeys(faults))


def main() -> None:
    # Whatever .NET prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    parser = Parser(Path(sys.argv[1]))
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin.buffer:
        verb, arguments = json.loads(line)
        print(json.dumps(getattr(parser, verb)(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
