"""What the `warehouse` command runs first, before anything that takes long to import."""

from __future__ import annotations

import signal


def main() -> None:
    """Hand on to the command line. Until that can say that it was interrupted, Ctrl-C just ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from warehouse.cli.main import main as run

    run()
