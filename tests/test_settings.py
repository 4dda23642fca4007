"""Settings are typed, explained in their file, and never silently ignored."""

from __future__ import annotations

import math
import os
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.errors import EnvironmentProblem, UserProblem
from casparian.settings import Settings, is_new, load, save, to_toml
from helpers.rights import a_folder_for_all, an_ordinary_user


def home_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "config.toml").write_text(text, "utf-8")
    return tmp_path


def test_a_first_start_makes_the_folders_and_an_explained_file(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"

    settings = load(home)

    assert settings == Settings(home)
    assert {path.name for path in home.iterdir()} == {"config.toml", "output", "logs", "staging"}
    assert settings.state_path == home / "state.sqlite"
    assert settings.catalog_path == home / "query.duckdb"
    assert settings.sink.text == f"parquet://{home.as_posix()}/output"
    assert load(home) == settings


def test_the_file_explains_every_key_and_sets_none_at_its_default(tmp_path: Path) -> None:
    text = to_toml(Settings(tmp_path))

    assert tomllib.loads(text) == {}
    names = [field.name for field in fields(Settings) if field.name != "home"]
    assert [line for line in text.splitlines() if " = " in line] == [
        line
        for name in names
        for line in text.splitlines()
        if line.startswith(f"# {name} = ")
    ]  # fmt: skip
    uncommented = "\n".join(line.removeprefix("# ") for line in text.splitlines() if " = " in line)
    assert set(tomllib.loads(uncommented)) == set(names)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    sink = tmp_path / 'a "quoted" \\ folder\u202e'
    settings = replace(
        load(tmp_path),
        workers=3,
        worker_silence_s=1.5,
        theme="dark",
        run_after_drop=False,
        default_sink=f"parquet://{sink.as_posix()}/",
    )

    save(settings)

    assert load(tmp_path) == settings
    assert load(tmp_path).sink.path == sink
    assert sink.is_dir()
    assert not list(tmp_path.glob("config.toml.*"))


@given(
    st.integers(1, 64),
    st.floats(1, 604_800, allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.booleans(),
)
def test_any_value_comes_back_as_it_was(workers: int, stall: float, text: str, run: bool) -> None:
    settings = Settings(
        Path("/home"), workers=workers, worker_stall_s=stall, default_sink=text, run_after_drop=run
    )
    read = tomllib.loads(to_toml(settings))

    assert replace(Settings(Path("/home")), **read) == settings


def test_the_home_is_the_argument_then_the_environment_then_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "me"))
    environ = {"CASPARIAN_HOME": str(tmp_path / "environ")}

    assert load(tmp_path / "argument", environ).home == tmp_path / "argument"
    assert load(None, environ).home == tmp_path / "environ"
    assert load(None, {"CASPARIAN_HOME": ""}).home == tmp_path / "me" / ".casparian_flow"
    assert load(Path("~/x"), {}).home == tmp_path / "me" / "x"


def test_a_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert load(Path("here")).home == tmp_path / "here"


def test_a_sink_may_begin_with_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    home = home_with(tmp_path, "default_sink = 'parquet://~/case 7/output/'")

    assert load(home).sink.path == tmp_path / "case 7" / "output"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worker = 3", "unknown key. 'worker'. The nearest valid key is 'workers'"),
        ("Theme = 'dark'", "unknown key. 'Theme'. The nearest valid key is 'theme'"),
        ("[sinks]\ndefault = 'x'", "unknown key. 'sinks'. The nearest valid key is "),
        ("home = '/x'", "unknown key. 'home'"),
        ("workers = '3'", "workers must be a whole number"),
        ("workers = 3.0", "workers must be a whole number"),
        ("workers = true", "workers must be a whole number"),
        ("workers = 0", r"workers must be from 1 to 64 \(it is 0\)"),
        ("batch_bytes = 9_999_999_999_999_999", "batch_bytes must be from 1,048,576 to "),
        ("worker_silence_s = nan", "worker_silence_s must be from 1 to 86,400"),
        ("worker_silence_s = inf", "worker_silence_s must be from 1 to 86,400"),
        ("worker_silence_s = 'long'", "worker_silence_s must be a number"),
        ("run_after_drop = 1", "run_after_drop must be true or false"),
        ("theme = 'drak'", "theme must be system or light or dark, perhaps 'dark' is meant"),
        ("theme = ['dark']", "theme must be a text"),
        ("profile = 'home'", "profile must be local or enterprise or hybrid"),
        (
            "profile = 'enterprise'",
            "the state must be in postgres or sqlserver, but .* says sqlite",
        ),
        ("profile = 'hybrid'", "the outputs must be in postgres or sqlserver, but .* says parquet"),
        ("state_store = 'postgres://h/d'", "with profile = 'local' the state must be in sqlite"),
        ("state_store = 'oracle://h/d'", "must be sqlite, postgres://USER@HOST/DATABASE or "),
        ("state_store = 'postgres://h'", "must name a database"),
        ("state_store = 'postgres:///d'", "must name a host"),
        ("state_store = 'postgres://h:x/d'", "must look like postgres://USER@HOST/DATABASE"),
        ("default_sink = '/data'", "must be parquet://FOLDER, duckdb://FILE, postgres://"),
        ("default_sink = 'parquet://'", "must name an absolute folder"),
        ("default_sink = 'parquet://data/out'", "must name an absolute folder"),
        ('default_sink = "parquet:///a\\u0000b"', "must not hold control characters"),
        ("workers = 3\nworkers = 4", "does not parse"),
        ("workers = \n", "does not parse.*line 1"),
    ],
)
def test_what_does_not_hold_is_refused_with_the_file_and_the_key(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UserProblem, match=message) as caught:
        load(home_with(tmp_path, text))

    assert str(tmp_path / "config.toml") in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "profile = 'hybrid'\ndefault_sink = 'postgres://me:secret@host/db'",
        "default_sink = 'postgres://me:secret@host'",
        "default_sink = 'postgres://host/db?password=secret'",
        "default_sink = 'postgres://host/db?PWD=secret'",
        "state_store = 'sqlserver://me:secret@host/db'",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserProblem) as caught:
        load(home_with(tmp_path, text))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("profile", "state", "sink"),
    [
        ("local", "sqlite", ""),
        ("local", "sqlite", "duckdb:///data/case.duckdb"),
        ("hybrid", "sqlite", "postgres://me@db.example:5433/cases?sslmode=verify-full"),
        ("enterprise", "postgres://me@db/state", "sqlserver://me@db/cases?Encrypt=yes"),
        ("enterprise", "sqlserver://db/state", "postgres:///cases?host=/run/postgresql"),
    ],
)
def test_every_row_of_the_matrix_can_be_set_up(
    tmp_path: Path, profile: str, state: str, sink: str
) -> None:
    chosen = replace(load(tmp_path), profile=profile, state_store=state, default_sink=sink)

    save(chosen)

    assert load(tmp_path) == chosen
    assert chosen.state.text == state
    assert chosen.sink.text == (sink or f"parquet://{tmp_path.as_posix()}/output")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert load(home_with(tmp_path, "\ufeffworkers = 2")).workers == 2


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(UserProblem, match="not UTF-8"):
        load(tmp_path)


def test_a_home_that_cannot_be_a_folder_is_the_environments_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(EnvironmentProblem, match="Could not read the program's home folder"):
        load(tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX rights")
def test_a_home_that_cannot_be_written_is_told() -> None:
    with (
        a_folder_for_all() as folder,
        an_ordinary_user(),
        pytest.raises(EnvironmentProblem, match="Permission denied"),
    ):
        load(folder / "home")


def test_settings_that_do_not_hold_are_not_saved(tmp_path: Path) -> None:
    settings = load(tmp_path)
    before = settings.config_path.read_bytes()

    for wrong in (replace(settings, workers=0), replace(settings, worker_stall_s=math.inf)):
        with pytest.raises(UserProblem):
            save(wrong)
    assert settings.config_path.read_bytes() == before


def test_a_home_is_new_until_its_settings_are_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert is_new(home)
    settings = load(home, writes=False)
    assert is_new(home)
    save(settings)
    assert not is_new(home)
    assert load(home) == settings
