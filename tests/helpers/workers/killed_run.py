"""The command line's `run`, killed without warning at its N-th step; says how many steps it took.

A step is a commit of the state store, a promoted file, a rewritten output or the catalog's swap; the
process is killed before it or after it. Usage: killed_run.py N before|after HOME PATH...
"""

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "desktop")]

from casparian import cli  # noqa: E402
from casparian.sinks.parquet import ParquetSink  # noqa: E402
from casparian.state.database import UnitOfWork  # noqa: E402

wanted, side, home, *paths = sys.argv[1:]
count = 0


def stepped(function):
    def step(*args, **kwargs):
        global count
        count += 1
        here = count == int(wanted)
        if here and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if here and side == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return step


UnitOfWork.commit = stepped(UnitOfWork.commit)
ParquetSink._promote = stepped(ParquetSink._promote)
ParquetSink.rewrite = stepped(ParquetSink.rewrite)
os.replace = stepped(os.replace)

code = cli.main(cli.parse(["--home", home, "--json", "run", *paths]))
print(f"steps {count}", file=sys.stderr)
sys.exit(code)
