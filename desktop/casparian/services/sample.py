"""The sample case that comes with the program: eight made-up logs of a small intrusion."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from casparian import assets
from casparian.domain.errors import from_os_error
from casparian.domain.ids import new_id


def sample_case(home: Path) -> Path:
    """The folder of the sample case: where it lies, which may be read-only.

    A program that unpacks itself for each start lies in a temporary place, and a source there would be gone
    the next time; then it is a copy in the home folder.

    Raises:
        EnvironmentProblem: the copy cannot be made.
    """
    folder = assets.folder("sample")
    if not _is_temporary(folder) or _is_temporary(home):
        return folder
    copy = home / "sample"
    if copy.is_dir():
        return copy
    beside = home / f"sample.{new_id()}"
    try:
        shutil.copytree(folder, beside, copy_function=shutil.copyfile)
        beside.rename(copy)
    except OSError as error:
        raise from_os_error(error, "Could not copy the sample case") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return copy


def _is_temporary(path: Path) -> bool:
    return path.resolve().is_relative_to(Path(tempfile.gettempdir()).resolve())
