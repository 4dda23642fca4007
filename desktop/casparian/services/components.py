"""What the program is made of, and on what terms: every part with its version and the text of its licence.

A build brings the texts along, `licences/NAME-VERSION/FILE` beside the other resources: packaging/build.py
puts there what `python` and `installed` find. Elsewhere they come from what is installed; the common ones
that some distributions lack lie in `licences/`.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from casparian import __version__, assets

_OURS = "casparian-flow"
_COMMON = ("LGPL-3.0-only", "GPL-3.0-only", "MIT")
_IS_TERMS = re.compile(r"LICEN[CS]E|COPYING|NOTICE", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the program."""

    name: str
    version: str
    """Empty where it is part of the name."""
    terms: str
    """An SPDX expression or the name of a licence; empty where only the texts say it."""
    texts: tuple[Path, ...]
    """The files to read; none where the part came without."""
    purl: str = ""
    """Its package URL, as lists of parts have it; empty where it has none."""

    @property
    def title(self) -> str:
        """The name with its version."""
        return f"{self.name} {self.version}".strip()

    def text(self) -> str:
        """The terms whole; a sentence where there is no text."""
        found = [one.read_text("utf-8", "replace") for one in self.texts if one.is_file()]
        if not found:
            terms = self.terms or "It does not name its terms"
            return f"{self.title}\n\n{terms}. It came without a text."
        return f"\n\n{'-' * 72}\n\n".join(found)


def components() -> list[Component]:
    """Every part, ours first. Reads many small files: not for the GUI thread."""
    folders = sorted(
        (one for one in assets.folder("licences").glob("*") if one.is_dir()),
        key=lambda one: one.name.casefold(),
    )
    others = [_of_build(one) for one in folders] or [python(), *installed()]
    return [_program(), _fonts(), *others]


def _of_build(folder: Path) -> Component:
    texts = sorted(one for one in folder.rglob("*") if one.is_file())
    return Component(folder.name, "", "", tuple(texts))


def _program() -> Component:
    checkout = assets.folder("licences").parents[1] / "LICENSE"
    try:
        texts = _texts(distribution(_OURS))
    except PackageNotFoundError:
        texts = ()
    return Component("Casparian Flow", __version__, "Apache-2.0", texts or (checkout,))


def _fonts() -> Component:
    return Component("IBM Plex (fonts)", "", "OFL-1.1", (assets.folder("fonts") / "LICENSE",))


def python() -> Component:
    """The Python that runs this."""
    version = ".".join(map(str, sys.version_info[:3]))
    places = (
        Path(os.__file__).with_name("LICENSE.txt"),
        Path(sys.base_prefix) / "LICENSE.txt",  # Windows
        Path(f"/usr/share/doc/python3.{sys.version_info[1]}/copyright"),  # Debian
    )
    texts = [one for one in places if one.is_file()][:1]
    return Component("Python", version, "PSF-2.0", tuple(texts), f"pkg:generic/python@{version}")


def installed() -> list[Component]:
    """What the program requires, with what that requires; what another system wants is not there."""
    found: dict[str, Distribution] = {}
    waiting = [_OURS, "psycopg-binary"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        waiting += [
            re.split(r"[^\w.-]", one, maxsplit=1)[0]
            for one in found[name].requires or []
            if "extra ==" not in one
        ]
    found.pop(_OURS, None)
    return [_of_distribution(found[name]) for name in sorted(found)]


def _of_distribution(one: Distribution) -> Component:
    terms = _terms(one)
    texts = _texts(one)
    if not texts:
        folder = assets.folder("licences")
        texts = tuple(
            folder / f"{word}.txt" for word in _COMMON if re.search(rf"\b{word}\b", terms)
        )
    name = one.metadata["Name"]
    return Component(name, one.version, terms, texts, f"pkg:pypi/{name.lower()}@{one.version}")


def _terms(one: Distribution) -> str:
    meta = one.metadata
    named = [
        text.rpartition(" :: ")[2]
        for text in meta.get_all("Classifier") or []
        if text.startswith("License ::")
    ]
    expression, free = (
        meta[key].strip().partition("\n")[0] if key in meta else ""
        for key in ("License-Expression", "License")
    )
    return expression or free or ", ".join(named)


def _texts(one: Distribution) -> tuple[Path, ...]:
    files = [file for file in one.files or [] if ".dist-info" in str(file)]
    return tuple(
        Path(str(one.locate_file(file))) for file in files if _IS_TERMS.search(str(file.name))
    )
