"""The configuration matrix as typed settings: where state lives, where outputs go, what users query.

One file, `config.toml` in the home folder, written by the program with every key explained. A key at
its default is written as a comment, so that a better default of a later version takes effect. A key
that is unknown, of the wrong type or out of range stops the program with a sentence: a setting that
is silently ignored is worse than none.
"""

from __future__ import annotations

import difflib
import math
import os
import socket
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from casparian.domain.addresses import (
    FILES,
    SERVERS,
    SINK_SCHEMES,
    STATE_SCHEMES,
    Address,
    parse,
)
from casparian.domain.errors import UserProblem, from_os_error
from casparian.domain.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from dataclasses import Field

DEFAULT_HOME = "~/.casparian_flow"
HOME_VARIABLE = "CASPARIAN_HOME"
MIB = 1024 * 1024

_T = TypeVar("_T", bool, int, float, str)


def _key(
    default: _T,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    words: tuple[str, ...] = (),
) -> _T:
    metadata = {"doc": doc, "low": low, "high": high, "words": words}
    # The dataclass takes the field, every reader of the class sees the default's type.
    made: _T = field(default=default, metadata=metadata)
    return made


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the configuration matrix: what may hold the state, and what the outputs."""

    state: tuple[str, ...]
    sinks: tuple[str, ...]
    doc: str


MATRIX = {
    "local": Row(
        ("sqlite",), FILES, "Everything on this machine: no server, no network, nothing to set up."
    ),
    "enterprise": Row(
        SERVERS, SERVERS, "A team on one queue: state and outputs in databases on servers."
    ),
    "hybrid": Row(
        ("sqlite",), SERVERS, "State stays on this machine; outputs go to a database on a server."
    ),
}
"""The profiles: which kinds of address may stand for which role."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the program is set up; made by `load`, changed with `dataclasses.replace` and `save`."""

    home: Path
    """Absolute; everything the program writes by default lies below it."""

    profile: str = _key(
        "local",
        "Which row of the configuration matrix: local (all on this machine), enterprise (state and\n"
        "outputs in databases on servers) or hybrid (state here, outputs on a server).",
        words=tuple(MATRIX),
    )
    state_store: str = _key(
        "sqlite",
        "Where the control plane lives: sqlite (state.sqlite in the home), or\n"
        "postgres://USER@HOST/DATABASE or sqlserver://USER@HOST/DATABASE. Never with a password:\n"
        "that is kept in the system's keyring or in CASPARIAN_PASSWORD.",
    )
    default_sink: str = _key(
        "",
        "Where outputs go: parquet://FOLDER or duckdb://FILE with an absolute path or ~, or\n"
        "postgres://USER@HOST/DATABASE or sqlserver://USER@HOST/DATABASE; empty for the folder\n"
        "output in the program's home.",
    )
    host: str = _key(
        "", "The name of this machine in the job list; empty for the name that it has anyway."
    )
    workers: int = _key(
        min(4, os.cpu_count() or 1), "Worker processes that parse at the same time.", low=1, high=64
    )
    worker_silence_s: float = _key(
        60.0, "A worker that says nothing for so many seconds is ended.", low=1, high=86_400
    )
    worker_stall_s: float = _key(
        600.0,
        "A worker that reads no further for so many seconds is ended; its file counts as failed.",
        low=1,
        high=604_800,
    )
    worker_memory_mb: int = _key(
        2048, "Memory that one worker may take, in MB.", low=256, high=1_048_576
    )
    batch_bytes: int = _key(
        64 * MIB, "A job takes files up to so many bytes in all; a bigger file is a job of its own.",
        low=MIB,
        high=1024 * 1024 * MIB,
    )  # fmt: skip
    batch_files: int = _key(500, "A job takes at most so many files.", low=1, high=100_000)
    query_memory_mb: int = _key(
        2048, "Memory that queries may take, in MB.", low=128, high=1_048_576
    )
    console_rows: int = _key(
        100_000, "Rows of a query that the console keeps; exports are always whole.",
        low=100,
        high=10_000_000,
    )  # fmt: skip
    theme: str = _key(
        "system", "Colours: system, light or dark.", words=("system", "light", "dark")
    )
    run_after_drop: bool = _key(
        default=True,
        doc="Whether what is dropped on the window is parsed at once (true) or only scanned.",
    )

    @property
    def config_path(self) -> Path:
        """The file these settings are kept in."""
        return self.home / "config.toml"

    @property
    def state_path(self) -> Path:
        """The state store, where it is a file."""
        return self.home / "state.sqlite"

    @property
    def state(self) -> Address:
        """Where the control plane lives."""
        return parse(self.state_store, schemes=STATE_SCHEMES)

    @property
    def sink(self) -> Address:
        """The default sink."""
        if self.default_sink:
            return parse(self.default_sink, schemes=SINK_SCHEMES)
        return Address("parquet", path=self.output_dir)

    @property
    def output_dir(self) -> Path:
        """The Parquet folder of this home, used unless another sink is configured."""
        return self.home / "output"

    @property
    def host_name(self) -> str:
        """What this machine is called in the job list."""
        return self.host or socket.gethostname()

    @property
    def catalog_path(self) -> Path:
        """The query catalog that any DuckDB client can open."""
        return self.home / "query.duckdb"

    @property
    def logs_dir(self) -> Path:
        """Logs of the program and of its jobs."""
        return self.home / "logs"

    @property
    def staging_dir(self) -> Path:
        """What workers write before it is promoted; on the same disk as the outputs by default."""
        return self.home / "staging"


def is_new(home: Path | None = None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether nobody has set up the program in this home yet: there is no settings file.

    Raises:
        UserProblem: the home folder is not known.
    """
    return not Settings(_home_folder(home, environ)).config_path.exists()


def load(
    home: Path | None = None, environ: Mapping[str, str] = os.environ, *, writes: bool = True
) -> Settings:
    """Read the settings, and make the folders and the explained file where they are missing.

    The home folder is `home`, else what CASPARIAN_HOME says, else ~/.casparian_flow. Without `writes` a
    missing file is left to be written by whoever asks the user first.

    Raises:
        UserProblem: the file does not parse, or has a key that is unknown or not usable.
        EnvironmentProblem: the home folder cannot be made, read or written.
    """
    settings = Settings(_home_folder(home, environ))
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        text = settings.config_path.read_text("utf-8") if settings.config_path.exists() else None
    except UnicodeDecodeError as error:
        raise UserProblem(
            f"{settings.config_path} is not UTF-8 text", str(error), "Save it as UTF-8"
        ) from error
    except OSError as error:
        raise from_os_error(error, "Could not read the program's home folder") from error

    if text is not None:
        settings = _parsed(text, settings)
    elif writes:
        save(settings)

    try:
        folders = [settings.output_dir, settings.logs_dir, settings.staging_dir]
        if settings.sink.scheme == "parquet" and settings.sink.path is not None:
            folders.append(settings.sink.path)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, "Could not make a folder of the program") from error
    return settings


def save(settings: Settings) -> None:
    """Write the settings into their file, whole or not at all.

    Raises:
        UserProblem: a value does not hold.
        EnvironmentProblem: the file cannot be written.
    """
    for key in _keys():
        _check(settings.config_path, key, getattr(settings, key.name))
    _check_matrix(settings)
    beside = settings.config_path.with_name(f"config.toml.{new_id()}")
    try:
        beside.write_text(to_toml(settings), "utf-8", newline="\n")
        beside.replace(settings.config_path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise from_os_error(error, "Could not save the settings") from error


_HEADING = """\
# Settings of Casparian Flow. A line that begins with '#' shows a default;
# remove the '#' to set a value of your own.
"""


def to_toml(settings: Settings) -> str:
    """Return the settings as the text of their file."""
    parts = [_HEADING]
    for key in _keys():
        doc = str(key.metadata["doc"]).replace("\n", "\n# ")
        value = getattr(settings, key.name)
        mark = "# " if value == key.default else ""
        parts.append(f"# {doc}\n{mark}{key.name} = {_toml_value(value)}\n")
    return "\n".join(parts)


def _home_folder(home: Path | None, environ: Mapping[str, str]) -> Path:
    chosen = home or Path(environ.get(HOME_VARIABLE) or DEFAULT_HOME)
    try:
        return chosen.expanduser().absolute()
    except RuntimeError as error:
        raise UserProblem(
            "The home folder is not known", str(error), f"Set {HOME_VARIABLE} to a folder"
        ) from error


def _keys() -> Iterator[Field[Any]]:
    return (one for one in fields(Settings) if one.metadata)


def _parsed(text: str, defaults: Settings) -> Settings:
    path = defaults.config_path
    try:
        read = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise UserProblem(
            f"{path} does not parse", str(error), "Mend that line, or remove the file"
        ) from error

    known = {key.name: key for key in _keys()}
    for name, value in read.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise UserProblem(
                f"{path} has an unknown key", f"{name!r}", f"The nearest valid key is {near[0]!r}"
            )
        _check(path, known[name], value)
    values: dict[str, Any] = {
        name: float(value) if isinstance(known[name].default, float) else value
        for name, value in read.items()
    }
    settings = replace(defaults, **values)
    _check_matrix(settings)
    return settings


def _check_matrix(settings: Settings) -> None:
    """Raise UserProblem unless state and outputs are of the profile's row."""
    row = MATRIX[settings.profile]
    for name, role, address, allowed in (
        ("state_store", "state", settings.state, row.state),
        ("default_sink", "outputs", settings.sink, row.sinks),
    ):
        if address.scheme not in allowed:
            raise UserProblem(
                f"{settings.config_path} does not hold together",
                f"with profile = '{settings.profile}' the {role} must be in"
                f" {' or '.join(allowed)}, but {name} says {address.scheme}",
                "Use `casparian config profile`, which sets what belongs together",
            )


def _check(path: Path, key: Field[Any], value: object) -> None:
    """Raise UserProblem unless the value may stand for that key."""
    fault = _fault_of_type(key.default, value) or _fault_of_range(key, value)
    is_address = key.name in _ADDRESSES
    if not fault and is_address:
        fault = _fault_of_address(key.name, str(value))
    if fault:
        # An address may carry a password, and must not reach a log.
        shown = "" if is_address else f" (it is {value!r})"
        raise UserProblem(
            f"{path} has a value that cannot be used",
            f"{key.name} {fault}{shown}",
            str(key.metadata["doc"]).replace("\n", " "),
        )


def _fault_of_type(default: object, value: object) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    wanted = type(default)
    given = type(value)
    if given is wanted or (wanted is float and given is int):
        return ""
    return f"must be {names[wanted]}"


def _fault_of_range(key: Field[Any], value: object) -> str:
    meta = key.metadata
    words: tuple[str, ...] = meta["words"]
    if words and value not in words:
        near = difflib.get_close_matches(str(value), words, n=1)
        return f"must be {' or '.join(words)}" + (f", perhaps {near[0]!r} is meant" if near else "")
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = meta["low"], meta["high"]
        if not math.isfinite(value) or not low <= value <= high:
            return f"must be from {low:,} to {high:,}"
    return ""


_ADDRESSES = {"state_store": STATE_SCHEMES, "default_sink": SINK_SCHEMES}


def _fault_of_address(name: str, text: str) -> str:
    if not text and name == "default_sink":
        return ""
    try:
        address = parse(text, schemes=_ADDRESSES[name])
    except UserProblem as error:
        return f"cannot be used: {error.detail}"
    if address.password is not None:
        return "must not hold a password: it belongs into the keyring or into CASPARIAN_PASSWORD"
    return ""


def _toml_value(value: float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    # TOML basic strings take JSON's escapes (TOML 1.0, Strings).
    escaped = "".join(
        {'"': '\\"', "\\": "\\\\"}.get(char, char)
        if ord(char) >= 0x20 and ord(char) != 0x7F
        else f"\\u{ord(char):04x}"
        for char in value
    )
    return f'"{escaped}"'
