"""Libraries of the system that Qt needs, and what brings them, for the one who has to install them."""

from __future__ import annotations

import re

_PACKAGES = {
    "libEGL.so.1": ("libegl1", "libglvnd-egl"),
    "libGL.so.1": ("libgl1", "libglvnd-glx"),
    "libdbus-1.so.3": ("libdbus-1-3", "dbus-libs"),
    "libfontconfig.so.1": ("libfontconfig1", "fontconfig"),
    "libglib-2.0.so.0": ("libglib2.0-0", "glib2"),
    "libgthread-2.0.so.0": ("libglib2.0-0", "glib2"),
    "libxkbcommon.so.0": ("libxkbcommon0", "libxkbcommon"),
}
"""By library: the package of Debian and Ubuntu, and that of Fedora and RHEL."""
_MISSING = re.compile(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file")


def missing_library(error: ImportError) -> str:
    """A line that says which library is missing and how to install it; empty if it is something else."""
    found = _MISSING.search(str(error))
    if found is None:
        return ""
    library = found[1]
    line = f"The window cannot be opened: the system's library {library} is missing."
    if library not in _PACKAGES:
        return f"{line} Install the package that has it."
    debian, fedora = _PACKAGES[library]
    return f"{line} Install it: apt install {debian} (Debian, Ubuntu), dnf install {fedora} (Fedora, RHEL)."
