"""The program's own worker, with a parser that misbehaves as told."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "desktop")]

from casparian.worker.child import main  # noqa: E402
from helpers import hostile  # noqa: E402

hostile.register()
main()
