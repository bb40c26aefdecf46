"""Files that the system refuses to read, to root as to anybody."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION = 0x20080522
_OVERRIDE = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: modes do not bind who has them."""


@contextmanager
def refused(*paths: Path) -> Iterator[None]:
    """Nobody may read these, nor this thread and those that it begins meanwhile."""
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0)
    before = _effective()
    _set(before & ~_OVERRIDE)
    try:
        yield
    finally:
        _set(before)
        for path, mode in modes.items():
            path.chmod(mode & 0o777)


def _status(name: str) -> int:
    text = Path("/proc/thread-self/status").read_text("utf-8")
    found = re.search(rf"^{name}:\s*([0-9a-f]+)$", text, re.MULTILINE)
    assert found is not None
    return int(found[1], 16)


def _effective() -> int:
    return _status("CapEff")


def _set(effective: int) -> None:
    words = []
    for low in (0, 32):
        some = (effective, _status("CapPrm"), _status("CapInh"))
        words += [each >> low & 0xFFFFFFFF for each in some]
    header, data = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)(*words)
    if ctypes.CDLL(None, use_errno=True).capset(header, data):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
