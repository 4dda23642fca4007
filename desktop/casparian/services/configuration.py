"""The configuration matrix: where state and outputs live, whether they can be reached, and changing that.

A change writes the settings and keeps passwords in the keyring; it moves and deletes nothing. What it
leaves behind, and what becomes visible instead, is said before (`consequences`).
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from casparian import credentials
from casparian.credentials import with_secret
from casparian.domain.addresses import SINK_SCHEMES, STATE_SCHEMES, parse
from casparian.domain.errors import CasparianError, EnvironmentProblem, UserProblem, from_os_error
from casparian.settings import MATRIX, save
from casparian.sinks.opening import open_sink
from casparian.state.database import look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casparian.domain.addresses import Address
    from casparian.settings import Settings

ROLES = {
    "state": ("State", "where the control plane lives"),
    "outputs": ("Outputs", "where the data plane writes"),
    "query": ("Query", "what users query"),
}
"""The three questions of the configuration matrix."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What became of looking at a place."""

    ok: bool
    sentence: str
    """What is there, or in one sentence what is wrong."""
    hint: str = ""
    version: str = ""
    size_bytes: int | None = None
    free_bytes: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Role:
    """One of the three answers: where something lives."""

    name: str
    """`state`, `outputs` or `query`."""
    kind: str
    """`sqlite`, `parquet`, `duckdb`, `postgres` or `sqlserver`."""
    place: str
    """A path, or an address without a password."""
    path: Path | None
    """Where it is a file or folder of this machine."""


def roles(settings: Settings) -> tuple[Role, Role, Role]:
    """The three answers, as the settings give them; nothing is looked at."""
    state, sink = settings.state, settings.sink
    state_path = None if state.is_server else settings.state_path
    query = (
        Role("query", sink.scheme, sink.text, None)
        if sink.is_server
        else Role("query", "duckdb", str(settings.catalog_path), settings.catalog_path)
    )
    return (
        Role("state", state.scheme, str(state_path or state.text), state_path),
        Role("outputs", sink.scheme, str(sink.path or sink.text), sink.path),
        query,
    )


def probe(settings: Settings, role: str) -> Probe:
    """Look at what a role names, within about five seconds."""
    if role == "state":
        return probe_state(settings.state, settings)
    if role == "outputs" or settings.sink.is_server:
        return probe_sink(settings.sink, settings)
    return _timed(lambda: _of_catalog(settings))


def probe_state(address: Address, settings: Settings) -> Probe:
    """Look whether a state store is there, or could be made; nothing is made."""

    def seen() -> Probe:
        place = with_secret(address) if address.is_server else settings.state_path
        found = look(place)
        free = None if address.is_server else _free_bytes(settings.home)
        if found.schema_version is None:
            return Probe(
                ok=True,
                sentence=f"{found.version} answers; the store is made at the next start",
                version=found.version,
                free_bytes=free,
            )
        return Probe(
            ok=True,
            sentence=f"{found.version} answers; the store has schema {found.schema_version}",
            version=found.version,
            size_bytes=found.size_bytes,
            free_bytes=free,
        )

    return _timed(seen)


def probe_sink(address: Address, settings: Settings) -> Probe:
    """Look whether a sink can be reached and written."""

    def seen() -> Probe:
        if address.scheme == "parquet":
            return _of_folder(address)
        sink = open_sink(with_secret(address), (settings.state_path, settings.catalog_path))
        try:
            found = sink.probe()
        finally:
            sink.close()
        return Probe(
            ok=True,
            sentence=f"{found.version} answers, and tables can be written",
            version=found.version,
            size_bytes=found.size_bytes,
            free_bytes=found.free_bytes,
        )

    return _timed(seen)


def changed(
    settings: Settings, *, profile: str = "", state: str = "", sink: str = ""
) -> tuple[Settings, list[Address]]:
    """What settings would be with another profile, and the addresses whose passwords are to be kept.

    A role that the profile's row of the matrix does not allow any more goes back to what the row has by
    default; a server must be named.

    Raises:
        UserProblem: a profile or address that is none, or one that the row does not allow.
    """
    profile = profile or settings.profile
    if profile not in MATRIX:
        raise UserProblem(f"There is no profile {profile!r}", f"There are: {', '.join(MATRIX)}")
    row = MATRIX[profile]
    secrets: list[Address] = []
    texts = {"state_store": settings.state_store, "default_sink": settings.default_sink}
    for key, given, schemes, allowed, fallback in (
        ("state_store", state, STATE_SCHEMES, row.state, "sqlite"),
        ("default_sink", sink, SINK_SCHEMES, row.sinks, ""),
    ):
        if given:
            address = parse(given, schemes=schemes)
            secrets.append(address)
            texts[key] = address.text
        elif (settings.state if key == "state_store" else settings.sink).scheme not in allowed:
            texts[key] = fallback
    made = replace(
        settings,
        profile=profile,
        state_store=texts["state_store"],
        default_sink=texts["default_sink"],
    )
    for word, option, address, allowed in (
        ("state", "--state", made.state, row.state),
        ("outputs", "--sink", made.sink, row.sinks),
    ):
        if address.scheme not in allowed:
            raise UserProblem(
                f"The profile {profile} needs its {word} in {' or '.join(allowed)}",
                f"it is in {address.scheme}",
                f"Name a place with {option}",
            )
    return made, secrets


def consequences(old: Settings, new: Settings) -> list[str]:
    """What a change leaves where it is, as sentences to confirm."""
    said: list[str] = []
    if old.state != new.state:
        before, after = (roles(one)[0].place for one in (old, new))
        said.append(
            f"Cases, sources, rules, jobs and the record of what is done stay in {before}; "
            "nothing of them is moved or deleted."
        )
        said.append(
            f"The program works with {after} from its next start; it shows what is there, "
            "which is nothing where the store is new."
        )
        said.append(
            "`casparian state copy --to ADDRESS` copies the control plane there first, row for row."
        )
    if old.sink != new.sink:
        before, after = (roles(one)[1].place for one in (old, new))
        said.append(
            f"Tables that are in {before} stay there, and can still be queried and exported."
        )
        said.append(
            f"What is read from now on goes to {after}. Files that were read before are planned "
            "again, since their rows are not there."
        )
    if not said:
        said.append("Nothing changes.")
    return said


def apply(new: Settings, secrets: list[Address]) -> None:
    """Keep passwords in the keyring and write the settings; they hold from the next start.

    Raises:
        UserProblem: the settings do not hold.
        EnvironmentProblem: they cannot be written, or a password cannot be kept. Nothing is changed then.
    """
    for address in secrets:
        credentials.keep(address)
    save(new)


def _timed(look_at: Callable[[], Probe]) -> Probe:
    began = time.monotonic()
    try:
        found = look_at()
    except CasparianError as error:
        sentence = f"{error.title.rstrip('.')}: {error.detail}" if error.detail else error.title
        found = Probe(ok=False, sentence=sentence, hint=error.hint)
    return replace(found, seconds=time.monotonic() - began)


def _of_folder(address: Address) -> Probe:
    folder = address.path
    assert folder is not None  # noqa: S101  (a parquet address has one)
    try:
        size = sum(one.stat().st_size for one in folder.rglob("*.parquet") if not one.is_symlink())
        aside = folder / ".casparian-probe"
        aside.touch()
        aside.unlink()
    except OSError as error:
        raise from_os_error(error, "The folder cannot be written") from error
    return Probe(
        ok=True,
        sentence="The folder is there and can be written",
        version="Parquet",
        size_bytes=size,
        free_bytes=_free_bytes(folder),
    )


def _of_catalog(settings: Settings) -> Probe:
    path = settings.catalog_path
    if not path.is_file():
        return Probe(ok=True, sentence="It is made with the first table", version="DuckDB")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise EnvironmentProblem("The query catalog cannot be read", str(error)) from error
    return Probe(
        ok=True,
        sentence="It is there, and any DuckDB client can open it",
        version="DuckDB",
        size_bytes=size,
        free_bytes=_free_bytes(path.parent),
    )


def _free_bytes(path: Path) -> int | None:
    with suppress(OSError):
        return shutil.disk_usage(path).free
    return None
