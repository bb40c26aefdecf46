"""What disks and folders refuse of the files that come: it keeps those that go there, no others."""

from __future__ import annotations

import errno
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from warehouse.errors import StorageError
from warehouse.source.partfile import part_of

_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOLD = 3


class Refusals:
    """What was refused so far. A full disk takes no other file; a folder may be refused alone.

    Safe to use from many threads.
    """

    def __init__(self) -> None:
        self._by_place: dict[int | Path, StorageError] = {}
        self._lock = Lock()

    def add(self, target: Path, error: StorageError) -> None:
        """Note why a file could not be written; the first reason of a place is the one told."""
        cause, place = error.__cause__, target.parent
        if isinstance(cause, OSError) and isinstance(cause.filename, str):
            # A folder above it may be the one that refuses.
            named = Path(cause.filename)
            place = named if named in target.parents else place
        is_full = isinstance(cause, OSError) and cause.errno in _IS_FULL
        with self._lock:
            self._by_place.setdefault(_disk(_there(place)) if is_full else place, error)

    def add_short(self, wanted: Sequence[tuple[Path, int]]) -> None:
        """Note the disks that have no room for all that goes there of these (target, bytes).

        What is there of them already, whole or in part, is not counted again. A disk that cannot be
        asked is not one of them: whoever writes there is told.
        """
        by_disk: defaultdict[int, list[tuple[Path, int]]] = defaultdict(list)
        disks: dict[Path, int] = {}
        for target, size in wanted:
            if target.parent not in disks:
                disks[target.parent] = _disk(_there(target.parent))
            by_disk[disks[target.parent]].append((target, size))
        for disk, these in by_disk.items():
            folder = _there(these[0][0].parent)
            try:
                free = shutil.disk_usage(folder).free
            except OSError:
                continue
            need = sum(size for _, size in these)
            if need > free:
                # Only now, as it looks at every file.
                need -= sum(min(size, _held(target)) for target, size in these)
            if need > free:
                self._by_place[disk] = StorageError(
                    folder,
                    f"{need:,} bytes are to be fetched and {free:,} are free; make room, ask for"
                    " fewer sessions, or set storage.raw_data_dir to a larger disk",
                )

    def keep(self, target: Path) -> bool:
        """Whether a file need not be tried: its disk is full, or its folder is refused."""
        if not self._by_place:
            return False
        if any(folder in self._by_place for folder in target.parents):
            return True
        return _disk(_there(target.parent)) in self._by_place

    def error(self) -> StorageError | None:
        """All that was refused, in one line; None: nothing was."""
        first, *others = self._by_place.values() or (None,)
        if first is None or not others:
            return first
        told = [str(other) for other in others[: _TOLD - 1]]
        if len(others) > len(told):
            told.append(f"and {len(others) - len(told):,} places more")
        together = StorageError(first.path, "; ".join((first.problem, *told)))
        together.__cause__ = first.__cause__
        return together


def _there(folder: Path) -> Path:
    """The folder, or the nearest one around it that exists."""
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


def _disk(folder: Path) -> int:
    return folder.stat().st_dev


def _held(target: Path) -> int:
    try:
        return part_of(target).stat().st_blocks * 512
    except OSError:
        return 0
