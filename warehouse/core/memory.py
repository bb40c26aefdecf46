"""What memory there is, what a frame would take of it, and what this process holds."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from warehouse.core.datatypes import DataType

_TEXT_BYTES = 16
"""Of a text and its place: symbols, ids and conditions have a few characters each."""

_CGROUPS = Path("/sys/fs/cgroup")


def frame_bytes(kind: DataType, columns: Iterable[str], rows: int) -> int:
    """What so many rows of these columns take as a pandas frame; text by what is usual."""
    return rows * sum(_width(kind.columns.field(name).type) for name in columns)


def _width(kind: pa.DataType) -> int:
    if pa.types.is_string(kind):
        return _TEXT_BYTES
    return 8 if pa.types.is_date(kind) else kind.bit_width // 8


def available_bytes() -> int:
    """What this process may still take without swapping, by the system, its container and limits.

    Where the system does not say (macOS) it is all the memory that is built in.
    """
    return max(0, min(_bounds()))


def resident_bytes() -> int:
    """What this process holds in memory; where the system does not say, the most it has held."""
    with suppress(OSError, ValueError, IndexError):
        return _statm()[1]
    return peak_memory_bytes()


def peak_memory_bytes() -> int:
    """The most this process has held resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _bounds() -> Iterator[int]:
    yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines)
        yield int(facts["MemAvailable"].split()[0]) * 1024
    with suppress(OSError, ValueError, IndexError):
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft - _statm()[0]
    with suppress(OSError, ValueError):
        yield from _container()


def _container() -> Iterator[int]:
    """What the control groups that the process is in, one within another, leave free."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, name = line.split(":", 2)
        if number != "0":
            continue
        folder = _CGROUPS / name.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(_CGROUPS):
                break
            with suppress(OSError, ValueError, KeyError):
                limit = (group / "memory.max").read_text().strip()
                if limit == "max":
                    continue
                used = int((group / "memory.current").read_text())
                facts = dict(
                    fact.split() for fact in (group / "memory.stat").read_text().splitlines()
                )
                # Pages of files count as used and are given up when they are wanted.
                yield int(limit) - used + int(facts["inactive_file"])


def _statm() -> list[int]:
    """The process's sizes in bytes: all its addresses, then what of them is resident."""
    pages = Path("/proc/self/statm").read_text().split()
    return [int(count) * os.sysconf("SC_PAGE_SIZE") for count in pages[:2]]
