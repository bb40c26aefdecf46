"""What tells a raw file from another that takes its name: of a descriptor, never of a path alone.

A path may name another file by the time that it is looked at again. So what was read is known by
the stamp of the descriptor it was read from.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# An inode may use all of 64 bits and a disk may date a file after 2262; the catalog's columns hold
# 63 bits and a sign.
_BITS = (1 << 63) - 1


@dataclass(frozen=True)
class Stamp:
    """A file's inode, modification time (nanoseconds UTC) and bytes."""

    inode: int
    modified_ns: int
    bytes: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        modified = stat.st_mtime_ns if abs(stat.st_mtime_ns) <= _BITS else stat.st_mtime_ns & _BITS
        return cls(stat.st_ino & _BITS, modified, stat.st_size)


def is_at(path: Path, stamp: Stamp) -> bool:
    """Whether the path still names the file that had the stamp."""
    try:
        return Stamp.of(path.stat()) == stamp
    except OSError:
        return False
