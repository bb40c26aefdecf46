"""What tests hand to workers: it stands in a module that they can import."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from warehouse.executors.work import Share


def share_and_process(share: Share) -> tuple[Share, int]:
    return share, os.getpid()


def raises(error: Exception, share: Share) -> None:
    raise error


def killed_once(mark: Path, share: Share) -> str:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return "done"
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"
