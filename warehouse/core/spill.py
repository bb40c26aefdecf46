"""Where a reader's DuckDB puts what does not fit into memory: a folder that nobody else can read.

It goes with its process. What a killed one left behind is removed by the next that makes one.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def make_folder() -> Path | None:
    """A new folder among the system's temporary ones; None where none of them can be written to."""
    try:
        parent = Path(tempfile.gettempdir())
        _sweep(parent)
        return Path(tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-", dir=parent))
    except OSError:
        return None


def remove(folder: Path | None) -> None:
    """Remove such a folder with all that is in it."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def folder() -> Iterator[Path | None]:
    """Such a folder for as long as the block lasts."""
    made = make_folder()
    try:
        yield made
    finally:
        remove(made)


def _sweep(parent: Path) -> None:
    """Remove folders of processes that are gone: of this machine, by its name, and this user."""
    pattern = re.compile(re.escape(_prefix()) + r"(\d+)-.+")
    with os.scandir(parent) as entries:
        for entry in entries:
            found = pattern.fullmatch(entry.name)
            if found is None or _is_alive(int(found[1])):
                continue
            with suppress(OSError):
                is_ours = entry.stat(follow_symlinks=False).st_uid == os.getuid()
                if is_ours and entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _prefix() -> str:
    # A container may share the folder, and counts its processes from 1.
    machine = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:40]
    return f"warehouse-{machine}-"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
