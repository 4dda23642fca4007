"""What every test may ask for: the real evidence set, and a clear word when it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def evidence() -> Path:
    """The folder CASPARIAN_TEST_EVIDENCE, or `shared/evidence` beside the checkout."""
    folder = Path(os.environ.get("CASPARIAN_TEST_EVIDENCE") or ROOT.parent / "shared" / "evidence")
    if not (folder / "expected.json").is_file():
        pytest.skip(
            f"the real evidence set is absent (looked in {folder}; set CASPARIAN_TEST_EVIDENCE)"
        )
    return folder
