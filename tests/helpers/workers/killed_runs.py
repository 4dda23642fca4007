"""The command line's `run`, killed without warning before each of its steps in turn.

A step is a commit of the state store, a promoted or rewritten output, or the catalog's swap. Everything
is imported once; every run is a fork, so that a kill costs milliseconds. For each step N the case of
BASE is laid anew into BASE/N, run until it is killed, and run again to its end; what the second run
printed goes to BASE/N/summary.json. With `changed` a whole first run comes before, and then the files of
BASE/changes take the place of those they are named after. Usage: killed_runs.py BASE new|changed
"""

import contextlib
import io
import os
import shutil
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "desktop")]

import casparian.bootstrap  # noqa: E402, F401  (imported before the forks)
from casparian import cli  # noqa: E402
from casparian.sinks.parquet import ParquetSink  # noqa: E402
from casparian.state.database import UnitOfWork  # noqa: E402

NEVER = -1
killed_before = NEVER
steps = 0


def stepped(function):
    def step(*args, **kwargs):
        global steps
        steps += 1
        if steps == killed_before:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return step


UnitOfWork.commit = stepped(UnitOfWork.commit)
ParquetSink._promote = stepped(ParquetSink._promote)
ParquetSink.rewrite = stepped(ParquetSink.rewrite)
os.replace = stepped(os.replace)


def forked_run(folder, step):
    """Run the case below a folder in a process of its own; return its wait status."""
    global killed_before
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    killed_before = step
    said = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(said):
        code = cli.main(
            cli.parse(["--home", str(folder / "home"), "--json", "run", str(folder / "evidence")])
        )
    (folder / "summary.json").write_bytes(said.buffer.getvalue())
    (folder / "steps").write_text(str(steps))
    sys.stderr.flush()
    os._exit(code)


def prepare(base, step, kind):
    folder = base / str(step)
    shutil.copytree(base / "evidence", folder / "evidence")
    if kind == "changed":
        assert forked_run(folder, NEVER) == 0
        shutil.copytree(base / "changes", folder / "evidence", dirs_exist_ok=True)
    return folder


base, kind = Path(sys.argv[1]), sys.argv[2]
step = 0
while True:
    step += 1
    folder = prepare(base, step, kind)
    status = forked_run(folder, step)
    if status == 0:
        break  # the run has no such step: it is the whole run to compare with
    assert os.WTERMSIG(status) == signal.SIGKILL, f"step {step} ended with {status}"
    assert forked_run(folder, NEVER) == 0
(base / "whole").symlink_to(folder)
