"""Where icons, fonts and rules lie: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path


@cache
def folder(name: str) -> Path:
    """The folder of one sort of resource, e.g. `icons`."""
    package = Path(str(files("casparian")))
    installed = package / "resources"
    return (installed if installed.is_dir() else package.parents[1] / "resources") / name


def text(name: str) -> str:
    """The text of a resource, e.g. `rules.toml`."""
    return folder(name).read_text("utf-8")
