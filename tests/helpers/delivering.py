"""A process of its own that delivers to a sink: to be killed, or to compete.

It takes a pickled list of deliveries and delivers one after the other, trying again while
a problem says that this may help:

    python -m helpers.delivering JOBS.pickle [STEP]

With a step it kills itself there, as a crash would: no handler runs, nothing is closed.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from casparian.domain.cancel import CancelToken
from casparian.domain.errors import EnvironmentProblem

if TYPE_CHECKING:
    from casparian.domain.addresses import Address

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Opening:
    """How to open a sink in any process."""

    path: str
    """`module:Class`; called with the address and `on_step`."""
    address: Address
    password: str | None = None

    def open(self, on_step=lambda step: None):
        """Open one more of the sink."""
        module, _, name = self.path.partition(":")
        made = getattr(importlib.import_module(module), name)
        return made(self.address.with_password(self.password), on_step=on_step)


def start(opening: Opening, deliveries, folder: Path, step="") -> subprocess.Popen:
    """Deliver in a process of its own, which kills itself at a step if one is named."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = folder / f"{len(list(folder.iterdir())):04}.pickle"
    jobs.write_bytes(pickle.dumps((opening, deliveries)))
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "desktop"), str(ROOT / "tests")]),
        "PYTHONWARNINGS": "default",
    }
    return subprocess.Popen([sys.executable, "-m", "helpers.delivering", str(jobs), step], env=env)


def was_killed(status: int) -> bool:
    """Whether a process that was to kill itself has done so."""
    return status == (-signal.SIGKILL if os.name == "posix" else signal.SIGTERM)


def _kill_at(wanted: str):
    def on_step(step: str) -> None:
        if step == wanted:
            os.kill(os.getpid(), signal.SIGKILL if os.name == "posix" else signal.SIGTERM)

    return on_step


def main() -> None:
    """Deliver what was asked for."""
    opening, deliveries = pickle.loads(Path(sys.argv[1]).read_bytes())
    sink = opening.open(on_step=_kill_at(sys.argv[2]))
    until = time.monotonic() + PATIENCE_S
    for one in deliveries:
        while True:
            try:
                sink.deliver(one, CancelToken())
                break
            except EnvironmentProblem as problem:
                if not problem.retryable or time.monotonic() > until:
                    raise
                time.sleep(0.05)
    sink.close()


if __name__ == "__main__":
    main()
