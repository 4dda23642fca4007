"""Checks T-SQL with Microsoft's own parser, since no SQL Server can run where the tests run.

The parser (ScriptDom) and the model of a database (DacFx) are of SQL Server 2019. They come out of
packages that are fetched once into a cache, CASPARIAN_TEST_CACHE or ~/.cache/casparian-tests, are never
installed beside the program, and run in a process of their own, with the .NET runtime of a package.

The model finds unknown types, tables, columns and functions, names given twice, keys that refer to no
key, and a second clustered index. It does not find: errors of number and type (values against columns,
UNION, GROUP BY, comparisons, arguments of functions), misspelt variables, anything of `sys`,
INFORMATION_SCHEMA and the system procedures, and columns of temporary tables and table variables. What
a server refuses by size, `limit_faults` finds from the text alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Self

from sqlalchemy.dialects.mssql import mssqlpython
from sqlalchemy.engine.mock import MockConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import sqlalchemy as sa

WHEELS = """\
mssql-cli==1.0.0 --hash=sha256:edb3850ab8ffa077c64270f27263f6377fdb5bd5bb5c5b4990c5fb08f49627b6
dotnetcore2==3.1.23 --hash=sha256:5f076ddc39da0c685e7de20ecb91ee81185928918ec86fbeb3bffc55dd867ab5
psycopg2-binary==2.9.3 --hash=sha256:57804fc02ca3ce0dbfbef35c4b3a4a774da66d66ea20f4bda601294ad2ea6092
"""
"""Taken apart, not installed: the parser, the runtime, and the libssl 1.1 that the runtime links to."""
PARTS = (
    ("mssql_cli-*.whl", "mssqlcli/mssqltoolsservice/bin/*.dll", "tools"),
    ("dotnetcore2-*.whl", "dotnetcore2/bin/**", "dotnet"),
    ("psycopg2_binary-*.whl", "psycopg2_binary.libs/libcrypto-*", "ssl"),
    ("psycopg2_binary-*.whl", "psycopg2_binary.libs/libssl-*", "ssl"),
)
INSTALLED = ("pythonnet==3.2.1", "clr-loader==0.3.1")
RUNTIME = {
    "runtimeOptions": {
        "tfm": "netcoreapp3.1",
        "framework": {"name": "Microsoft.NETCore.App", "version": "3.1.23"},
    }
}
WHEEL_TAGS = (
    *("--platform", "manylinux1_x86_64", "--platform", "manylinux2014_x86_64"),
    *("--platform", "manylinux_2_17_x86_64", "--python-version", "3.10"),
    *("--implementation", "cp", "--abi", "cp310", "--abi", "none"),
)
NEEDED = (
    "tools/Microsoft.SqlServer.TransactSql.ScriptDom.dll",
    "tools/Microsoft.SqlServer.Dac.Extensions.dll",
    "dotnet/host/fxr/3.1.23/libhostfxr.so",
    "dotnet/shared/Microsoft.NETCore.App/3.1.23/libcoreclr.so",
    "site/pythonnet/__init__.py",
    "ssl/libssl.so.1.1",
)
MANIFEST = "manifest.json"
FETCH_S = 240.0
"""For all that is fetched; below the time that a test may take."""
ANSWER_S = 60.0


class GateMissing(Exception):  # noqa: N818  # it tells of a place, not of a fault
    """Microsoft's parser cannot be had here; says why."""


def packages() -> Path:
    """Give the folder of the parser's packages, fetched if this is the first use.

    Raises:
        GateMissing: they cannot run here, or cannot be fetched.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64") or not platform.libc_ver()[0]:
        raise GateMissing("its packages are for Linux with glibc on x86-64")
    cache = Path(os.environ.get("CASPARIAN_TEST_CACHE") or "~/.cache/casparian-tests").expanduser()
    pins = repr((WHEELS, PARTS, INSTALLED, RUNTIME, sys.implementation.cache_tag))
    folder = cache / f"tsql-{hashlib.sha256(pins.encode()).hexdigest()[:16]}"
    if _is_whole(folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".tsql-") as aside:
            _fetch(Path(aside) / "new")
            if folder.exists() and not _is_whole(folder):
                folder.rename(Path(aside) / "damaged")
            _put_in_place(Path(aside) / "new", folder)
    except OSError as error:
        raise GateMissing(f"its packages cannot be kept in {cache} ({error})") from error
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((folder / MANIFEST).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _put_in_place(new: Path, folder: Path) -> None:
    try:
        new.rename(folder)
    except OSError:
        if not _is_whole(folder):  # else another test session was quicker, with the same
            raise


def _fetch(new: Path) -> None:
    wheels, requirements = new / "wheels", new / "wheels.txt"
    new.mkdir()
    requirements.write_text(WHEELS)
    deadline = time.monotonic() + FETCH_S
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    net = ["--retries", "1", "--timeout", "30", "--only-binary", ":all:", "--quiet"]
    _run_pip(
        [
            *(*pip, "download", *net, "--no-deps", "--require-hashes", *WHEEL_TAGS),
            *("--dest", str(wheels), "--requirement", str(requirements)),
        ],
        deadline,
    )
    target = str(new / "site")
    _run_pip([*pip, "install", *net, "--no-compile", "--target", target, *INSTALLED], deadline)
    for wheel, pattern, part in PARTS:
        _take_out(next(wheels.glob(wheel)), pattern, new / part)
    shutil.rmtree(wheels)
    for libssl in (new / "ssl").glob("libssl-*"):
        libssl.rename(libssl.with_name("libssl.so.1.1"))
    (new / "runtimeconfig.json").write_text(json.dumps(RUNTIME))

    missing = [one for one in NEEDED if not (new / one).is_file()]
    if missing:
        raise GateMissing(f"its packages lack {', '.join(missing)}")
    sizes = {
        str(one.relative_to(new)): one.stat().st_size for one in new.rglob("*") if one.is_file()
    }
    (new / MANIFEST).write_text(json.dumps(sizes))


def _run_pip(command: list[str], deadline: float) -> None:
    left_s = deadline - time.monotonic()
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=left_s)
    except subprocess.CalledProcessError as error:
        lines = [one for one in error.stderr.splitlines() if "ERROR" in one or "No module" in one]
        reason = lines[-1] if lines else f"pip ended with {error.returncode}"
        raise GateMissing(f"its packages could not be fetched ({reason})") from error
    except subprocess.TimeoutExpired as error:
        raise GateMissing(f"its packages did not come within {FETCH_S:.0f} s") from error


def _take_out(wheel: Path, pattern: str, folder: Path) -> None:
    base = PurePosixPath(pattern).parent
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if not name.endswith("/") and _is_below(path, base, PurePosixPath(pattern).name):
                target = folder / path.relative_to(base)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))


def _is_below(path: PurePosixPath, base: PurePosixPath, pattern: str) -> bool:
    if pattern == "**":
        return path.is_relative_to(base)
    return path.parent == base and path.match(pattern)


def _icu_version() -> str | None:
    """Give the number of the system's ICU, which .NET looks for only up to the versions of its time."""
    folders = (
        "/usr/lib/x86_64-linux-gnu",
        "/lib/x86_64-linux-gnu",
        "/usr/lib64",
        "/lib64",
        "/usr/lib",
    )
    for folder in folders:
        for found in Path(folder).glob("libicuuc.so.*"):
            version = found.name.removeprefix("libicuuc.so.")
            if version.isdigit() and found.with_name(f"libicui18n.so.{version}").exists():
                return version
    return None


class TSqlGate:
    """Microsoft's parser in a process of its own; use it as a context manager, or close it."""

    def __init__(self) -> None:
        """Start the parser.

        Raises:
            GateMissing: its packages cannot be had, or do not run here.
        """
        self._packages = packages()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # close() closes it
        self.model_missing = ""
        """Why there is no model, as a clause; empty while nothing speaks against it."""
        icu = _icu_version()
        if icu is None:
            self.model_missing = "there is no libicu on this system"
        try:
            self._process = self._start(icu)
        except GateMissing:
            self._log.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the parser's process."""
        _end(self._process)
        self._log.close()

    @functools.cached_property
    def has_model(self) -> bool:
        """Whether `model` can be asked; the first look loads it."""
        if self.model_missing:
            return False
        try:
            return bool(self._ask("load_model"))
        except GateMissing as missing:
            self.model_missing = f"it does not load ({missing})"
            self._process = self._start(None)
            return False

    def syntax(self, sql: str) -> list[str]:
        """Give the syntax errors of a script as `line:column message`; none for what parses."""
        return self._ask("syntax", sql)

    def model(
        self,
        ddl: Sequence[str],
        statements: Sequence[str] = (),
        types: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Give the faults of a database of these definitions, and of statements over it.

        Each statement becomes a procedure. A variable that it does not declare becomes a parameter of
        the type that `types` has for its name without `@`, else nvarchar(4000). Temporary tables are
        known only within the statement that creates them.

        Raises:
            GateMissing: there is no model here; see `has_model`.
        """
        if not self.has_model:
            raise GateMissing(self.model_missing)
        return self._ask("model", list(ddl), list(statements), dict(types or {}))

    def _start(self, icu: str | None) -> subprocess.Popen[bytes]:
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
        environment = kept | {
            "PYTHONPATH": str(self._packages / "site"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
            "LD_LIBRARY_PATH": str(self._packages / "ssl"),
            "COMPlus_EnableDiagnostics": "0",  # else .NET leaves sockets in the temporary folder
        }
        if icu is None:
            environment["DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"] = "1"
        else:
            environment["CLR_ICU_VERSION_OVERRIDE"] = icu
        script = Path(__file__).with_name("tsql_parser.py")
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", str(script), str(self._packages)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )
        try:
            _answer(process, self._log)
        except GateMissing:
            _end(process)
            if icu is None:
                raise
            self.model_missing = f"the system's ICU {icu} does not load"
            return self._start(None)
        return process

    def _ask(self, verb: str, *arguments: object) -> Any:
        request = json.dumps([verb, arguments]).encode() + b"\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except OSError as error:
            raise GateMissing(f"the parser's process is gone: {_last_words(self._log)}") from error
        try:
            return _answer(self._process, self._log)
        except GateMissing:
            _end(self._process)
            raise


def _answer(process: subprocess.Popen[bytes], log: IO[bytes]) -> Any:
    assert process.stdout is not None
    watchdog = threading.Timer(ANSWER_S, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
    finally:
        watchdog.cancel()
    if not line:
        process.wait()
        raise GateMissing(f"the parser ended with {process.returncode}: {_last_words(log)}")
    return json.loads(line)


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return next((one.strip() for one in reversed(lines) if one.strip()), "it said nothing")


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # what is still in the buffer goes to a process that is gone
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- What SQLAlchemy writes, as T-SQL that stands alone


def dialect() -> sa.Dialect:
    """Give SQLAlchemy's dialect as it is when connected to SQL Server 2019."""
    made = mssqlpython.dialect(paramstyle="pyformat", deprecate_large_types=True)
    made.server_version_info = (15, 0, 2000, 5)
    made._setup_version_attributes()
    made._supports_nvarchar_max = True
    return made


def ddl_of(metadata: sa.MetaData) -> list[str]:
    """Give the statements that create a schema, in the order of their execution."""
    spoken: list[str] = []
    written = dialect()

    def note(clause: Any, *_: object, **__: object) -> None:
        spoken.append(str(clause.compile(dialect=written)).strip())

    metadata.create_all(MockConnection(written, note), checkfirst=False)
    return spoken


def sql_of(statement: sa.ClauseElement) -> str:
    """Give a statement as T-SQL with its parameters as variables."""
    compiled = statement.compile(dialect=dialect(), compile_kwargs={"render_postcompile": True})
    return named(str(compiled))


_TEXT = r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\[(?:[^\]]|\]\])*\]|--[^\n]*|/\*.*?\*/"
_PARAMETER = re.compile(
    rf"(?P<text>{_TEXT})|%\((?P<pyformat>\w+)\)s|(?P<mark>\?)|(?<![:\w]):(?P<colon>[A-Za-z_]\w*)",
    re.DOTALL,
)


def named(sql: str) -> str:
    """Turn `%(name)s` and `:name` into `@name`, and each `?` into `@p1`, `@p2`, and so on.

    What stands in literals, quoted names and comments is no parameter. Where parameters are of the first
    kind, or there are none, `%%` stands for `%`, also in literals.
    """
    kinds = {found.lastgroup for found in _PARAMETER.finditer(sql)}
    marks = iter(range(1, sql.count("?") + 1))

    def variable(found: re.Match[str]) -> str:
        if found["text"] is not None:
            return found["text"]
        if found["mark"] is not None:
            return f"@p{next(marks)}"
        return "@" + (found["pyformat"] or found["colon"])

    turned = _PARAMETER.sub(variable, sql)
    return turned if kinds & {"mark", "colon"} else turned.replace("%%", "%")


# --- Limits that neither the parser nor the model looks at

_NAME = r"(?:\[(?:[^\]]|\]\])+\]|\"(?:[^\"]|\"\")+\"|[A-Za-z_#@][\w#@$]*)"
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_TABLE = re.compile(rf"\bCREATE\s+TABLE\s+(?P<name>{_DOTTED})\s*\(", re.IGNORECASE)
_INDEX = re.compile(
    rf"\bCREATE\s+(?:UNIQUE\s+)?(?P<kind>CLUSTERED\s+|NONCLUSTERED\s+)?INDEX\s+(?P<name>{_NAME})"
    rf"\s+ON\s+(?P<table>{_DOTTED})\s*\(",
    re.IGNORECASE,
)
_KEY = re.compile(
    rf"(?:CONSTRAINT\s+(?P<name>{_NAME})\s+)?(?<![\[\"])\b(?P<what>PRIMARY\s+KEY|UNIQUE)\b\s*"
    r"(?P<kind>CLUSTERED|NONCLUSTERED)?\s*(?P<columns>\()?",
    re.IGNORECASE,
)
_TYPE = re.compile(
    r"\b(?P<type>N?VARCHAR|N?CHAR|VARBINARY|BINARY|DECIMAL|NUMERIC|FLOAT|DATETIME2|DATETIMEOFFSET|TIME)"
    r"\]?\s*\(\s*(?P<size>MAX|\d+)\s*(?:,\s*(?P<scale>\d+)\s*)?\)",
    re.IGNORECASE,
)
_COLUMN = re.compile(rf"(?P<name>{_NAME})\s+\[?(?P<type>\w+)", re.IGNORECASE)
_LARGEST = (
    dict.fromkeys(("NVARCHAR", "NCHAR"), 4000)
    | dict.fromkeys(("VARCHAR", "CHAR", "VARBINARY", "BINARY"), 8000)
    | dict.fromkeys(("DECIMAL", "NUMERIC"), 38)
    | dict.fromkeys(("DATETIME2", "DATETIMEOFFSET", "TIME"), 7)
    | {"FLOAT": 53}
)
_HAS_MAX = {"NVARCHAR", "VARCHAR", "VARBINARY"}
_BYTES = {
    "BIT": 1, "TINYINT": 1, "SMALLINT": 2, "INT": 4, "INTEGER": 4, "BIGINT": 8, "REAL": 4, "FLOAT": 8,
    "MONEY": 8, "SMALLMONEY": 4, "DATE": 3, "TIME": 5, "DATETIME": 8, "SMALLDATETIME": 4,
    "DATETIME2": 8, "DATETIMEOFFSET": 10, "UNIQUEIDENTIFIER": 16, "ROWVERSION": 8, "TIMESTAMP": 8,
    "SYSNAME": 256,
}  # fmt: skip
_EXACT = {"DECIMAL", "NUMERIC"}
_EXACT_BYTES = ((9, 5), (19, 9), (28, 13), (sys.maxsize, 17))
_NO_KEY = {"TEXT", "NTEXT", "IMAGE", "XML", "GEOMETRY", "GEOGRAPHY"}
_KEY_BYTES = {True: 900, False: 1700}
"""The largest key of a clustered and of a nonclustered index (maximum capacity, SQL Server 2016 on)."""
_KEY_COLUMNS, _TABLE_COLUMNS, _NAME_LENGTH, _TEMPORARY_NAME_LENGTH = 32, 1024, 128, 116


def limit_faults(ddl: str) -> list[str]:
    """Name what SQL Server refuses by size in the CREATE TABLE and CREATE INDEX statements of a text.

    Sizes of types and names are looked at everywhere; those of keys need the table and its indexes in one
    text. A key that could grow too long counts, as the row that does it would be refused.
    """
    text = re.sub(_TEXT, _only_names, ddl, flags=re.DOTALL)
    faults = [*_long_names(text), *_large_types(text)]
    tables: dict[str, dict[str, int | None]] = {}
    for found in _TABLE.finditer(text):
        table = _plain(found["name"])
        parts = _parts(text, found.end())
        columns = dict(_columns(parts))
        tables[table] = columns
        if len(columns) > _TABLE_COLUMNS:
            faults.append(f"{table}: {len(columns)} columns; {_TABLE_COLUMNS} are allowed")
        faults += _table_keys(table, parts, columns)
    for found in _INDEX.finditer(text):
        table = _plain(found["table"])
        clustered = (found["kind"] or "").strip().upper() == "CLUSTERED"
        names = [_first_name(one) for one in _parts(text, found.end())]
        title = f"{table}: index {_plain(found['name'])}"
        if table in tables:
            faults += _key_faults(title, names, tables[table], clustered=clustered)
    return faults


def _only_names(text: re.Match[str]) -> str:
    return text[0] if text[0][0] in '["' else " "


def _plain(name: str) -> str:
    return ".".join(_unquoted(one) for one in re.findall(_NAME, name))


def _unquoted(name: str) -> str:
    if name[0] == "[":
        return name[1:-1].replace("]]", "]").lower()
    return (name[1:-1].replace('""', '"') if name[0] == '"' else name).lower()


def _first_name(part: str) -> str:
    found = re.match(rf"\s*({_NAME})", part)
    return _unquoted(found[1]) if found else part.strip()


def _long_names(text: str) -> Iterator[str]:
    for name in dict.fromkeys(re.findall(_NAME, text)):
        plain = _unquoted(name)
        most = _TEMPORARY_NAME_LENGTH if plain.startswith("#") else _NAME_LENGTH
        length = len(plain.encode("utf-16-le")) // 2
        if length > most:
            yield f"{plain[:20]}...: a name of {length} characters; {most} are allowed"


def _large_types(text: str) -> Iterator[str]:
    for found in _TYPE.finditer(text):
        kind, size, scale = found["type"].upper(), found["size"].upper(), found["scale"]
        if size == "MAX":
            if kind not in _HAS_MAX:
                yield f"{kind}(MAX): there is no such type"
        elif int(size) > _LARGEST[kind]:
            yield f"{kind}({size}): {_LARGEST[kind]} is the most"
        elif int(size) == 0 and kind not in {"DATETIME2", "DATETIMEOFFSET", "TIME"}:
            yield f"{kind}(0): 1 is the least"
        elif scale and int(scale) > int(size):
            yield f"{kind}({size}, {scale}): more digits after the point than in all"


def _parts(text: str, start: int) -> list[str]:
    """Split what stands from `start` to its closing parenthesis at the commas of that level."""
    parts, depth, begun = [], 0, start
    for found in re.compile(rf"{_NAME}|[(),]").finditer(text, start):
        sign = found[0]
        if (sign == "," and not depth) or (sign == ")" and not depth):
            parts.append(text[begun : found.start()].strip())
            begun = found.end()
            if sign == ")":
                break
        depth += (sign == "(") - (sign == ")")
    return parts


def _columns(parts: list[str]) -> Iterator[tuple[str, int | None]]:
    """Give each column with its bytes in a key; None if it can be in none."""
    for part in parts:
        found = _COLUMN.match(part)
        if found and not re.match(
            r"(CONSTRAINT|PRIMARY\s+KEY|UNIQUE|FOREIGN\s+KEY|CHECK|INDEX)\b", part, re.IGNORECASE
        ):
            yield _unquoted(found["name"]), _key_bytes(part[found.start("type") :])


def _key_bytes(declared: str) -> int | None:
    kind = re.split(r"\W", declared, maxsplit=1)[0].upper()
    if kind in _BYTES:
        return _BYTES[kind]
    sized = _TYPE.match(declared)
    size = sized["size"].upper() if sized else "18" if kind in _EXACT else "1"
    if kind in _NO_KEY or size == "MAX":
        return None
    if kind in _EXACT:
        return next(wide for digits, wide in _EXACT_BYTES if int(size) <= digits)
    return int(size) * (2 if kind in {"NVARCHAR", "NCHAR"} else 1)


def _table_keys(table: str, parts: list[str], columns: dict[str, int | None]) -> Iterator[str]:
    for part in parts:
        for found in _KEY.finditer(part):
            names = (
                [_first_name(one) for one in _parts(part, found.end())]
                if found["columns"]
                else [_first_name(part)]
            )
            what = " ".join(found["what"].lower().split())
            kind = (found["kind"] or ("CLUSTERED" if "primary" in what else "")).upper()
            title = f"{table}: {what} {_plain(found['name'] or '')}".rstrip()
            yield from _key_faults(title, names, columns, clustered=kind == "CLUSTERED")


def _key_faults(
    title: str, names: list[str], columns: dict[str, int | None], *, clustered: bool
) -> Iterator[str]:
    if len(names) > _KEY_COLUMNS:
        yield f"{title}: {len(names)} columns; {_KEY_COLUMNS} are allowed"
    known = [(one, columns[one]) for one in names if one in columns]
    yield from (f"{title}: {name} has no bounded size" for name, size in known if size is None)
    total = sum(size for _, size in known if size is not None)
    most = _KEY_BYTES[clustered]
    if total > most:
        yield f"{title}: up to {total} bytes; {most} are allowed"
