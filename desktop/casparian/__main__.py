"""The entrance: no verb opens the window, `worker-process` is one that parses, the rest is the command line.

Each way imports only what it needs: a worker never loads Qt, the window's first frame waits for no
database.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Start the program as the arguments ask; return its exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["worker-process"]:
        from casparian.worker.child import main as serve

        serve()
    from casparian import cli

    request = cli.parse(arguments)
    if request.verb:
        return cli.main(request)
    from casparian.ui.app import main as open_window

    return open_window(request.home, request.workspace, request.paths)


if __name__ == "__main__":
    sys.exit(main())
