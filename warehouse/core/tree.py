"""The folders of the vendor's files, year by year: what is there, and what cannot be looked at.

Folders that are links are followed. Only folders named as years, months and days are looked into,
so nothing is looked at that no file of the vendor's is in, and no loop of links goes on.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

_LEVELS = (re.compile(r"\d{4}"), re.compile(r"\d{2}"), re.compile(r"\d{2}"))
_ENDING = ".csv.gz"
_NO_FILE = {
    stat.S_IFIFO: "is a pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
    stat.S_IFDIR: "is a folder, not a file",
}


@dataclass(frozen=True)
class Entry:
    """A file, or what cannot be looked at.

    Attributes:
        below: its path from the folder that was walked, `/` between names; empty: that folder.
        stat: of the file itself, links followed; None where it cannot be had.
        problem: why it is no file, or cannot be looked at, without its name.
        is_folder: it would hold files.
    """

    below: str
    stat: os.stat_result | None = None
    problem: str | None = None
    is_folder: bool = False

    @property
    def span(self) -> tuple[date, date]:
        """Days of the files that a folder would hold, both inclusive."""
        parts = [int(part) for part in self.below.split("/") if part]
        try:
            if not parts:
                return date.min, date.max
            if len(parts) == 1:
                return date(parts[0], 1, 1), date(parts[0], 12, 31)
            first = date(parts[0], parts[1], 1)
            if len(parts) == 2:
                return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
            return date(*parts[:3]), date(*parts[:3])
        except (ValueError, OverflowError):
            return date.min, date.min


def walk(folder: Path, first: date = date.min, last: date = date.max) -> Iterator[Entry]:
    """The files below a data type's folder that may hold these days, in the order of their paths.

    One that cannot be looked at is told as such and stops nothing. A folder that is not there
    holds nothing.
    """
    return _walk(str(folder), "", 0, first, last)


def _walk(folder: str, below: str, level: int, first: date, last: date) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        if level or error.errno not in (errno.ENOENT, errno.ENOTDIR) or os.path.lexists(folder):
            yield Entry(below, None, explained(folder, error), is_folder=True)
        return
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if level < len(_LEVELS) and _LEVELS[level].fullmatch(entry.name):
            start, end = Entry(path).span
            if start <= last and first <= end:
                yield from _folder(entry, path, level, first, last)
        elif entry.name.endswith(_ENDING):
            yield _file(entry, path)


def _folder(
    entry: os.DirEntry[str], below: str, level: int, first: date, last: date
) -> Iterator[Entry]:
    try:
        # Of a link it says what that leads to.
        is_folder = stat.S_ISDIR(entry.stat().st_mode)
    except OSError as error:
        yield Entry(below, None, explained(entry.path, error), is_folder=True)
        return
    if is_folder:
        yield from _walk(entry.path, below, level + 1, first, last)


def _file(entry: os.DirEntry[str], below: str) -> Entry:
    try:
        found = entry.stat()
    except OSError as error:
        return Entry(below, None, explained(entry.path, error))
    if stat.S_ISREG(found.st_mode):
        return Entry(below, found)
    return Entry(below, None, _NO_FILE.get(stat.S_IFMT(found.st_mode), "is no file"))


def explained(path: str | Path, error: OSError) -> str:
    """Why a path leads to nothing, in words that follow its name."""
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        with suppress(OSError):
            return f"is a link to {os.readlink(path)}, which is not there"
        return "is not there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "cannot be read: no permission"
    return f"cannot be read: {error.strerror or error}"
