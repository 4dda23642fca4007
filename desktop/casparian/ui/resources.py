"""Where icons and fonts lie: inside the package once it is installed or frozen, beside it in a checkout."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path


@cache
def folder(name: str) -> Path:
    """The folder of one sort of resource, e.g. `icons`."""
    package = Path(str(files("casparian")))
    installed = package / "resources" / name
    return installed if installed.is_dir() else package.parents[1] / "resources" / name
