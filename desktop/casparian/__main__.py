"""The entrance: no verb opens the window, `worker-process` is one that parses, the rest is the command line.

Each way imports only what it needs: a worker never loads Qt, the window's first frame waits for no
database.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

EXIT_ENVIRONMENT = 3


def main() -> int:
    """Start the program as the arguments ask; return its exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["worker-process"]:
        from casparian.worker.child import main as serve

        serve()
    _have_streams()
    from casparian import cli

    request = cli.parse(arguments)
    if request.verb:
        return cli.main(request)
    try:
        from casparian.ui import app, selftest
    except ImportError as error:
        from casparian.libraries import missing_library

        line = missing_library(error)
        if not line:
            raise
        sys.stderr.write(f"{line}\n")
        return EXIT_ENVIRONMENT
    if request.options.self_test is not None:
        return selftest.main(Path(request.options.self_test) if request.options.self_test else None)
    return app.main(request.home, request.workspace, request.paths)


def _have_streams() -> None:
    """Give a program without a console, which Windows starts without streams, somewhere to write to."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (until the end)
    if sys.stderr is None:
        sys.stderr = sys.stdout


if __name__ == "__main__":
    sys.exit(main())
