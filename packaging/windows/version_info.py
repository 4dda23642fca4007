"""Writes the version resource that PyInstaller puts into the programs for Windows.

python packaging/windows/version_info.py FILE VERSION
"""

from __future__ import annotations

import sys
from pathlib import Path

_TEMPLATE = """\
VSVersionInfo(
  ffi=FixedFileInfo(filevers={numbers}, prodvers={numbers}),
  kids=[
    StringFileInfo([StringTable("040904B0", [
      StringStruct("CompanyName", "Casparian Flow"),
      StringStruct("FileDescription", "Casparian Flow"),
      StringStruct("FileVersion", "{version}"),
      StringStruct("LegalCopyright", "Apache License 2.0"),
      StringStruct("ProductName", "Casparian Flow"),
      StringStruct("ProductVersion", "{version}"),
    ])]),
    VarFileInfo([VarStruct("Translation", [0x0409, 1200])]),
  ],
)
"""


def write(path: Path, version: str) -> None:
    """Write the resource for a version like `1.2.3`."""
    numbers = (*map(int, version.split(".")), 0)
    path.write_text(_TEMPLATE.format(numbers=numbers, version=version), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
