"""A partition as it was at one moment, though a publish may put another in its place.

What the file is (inode, size, time of change) is noted while nothing is being published. A
descriptor that is open keeps the old file alive; one that is opened later must find the file that
was noted, or `Replaced` says that it is gone. Bytes of another generation are never returned.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from warehouse.errors import StorageError

Identity = tuple[int, int, int]

_NONE_LEFT = (errno.EMFILE, errno.ENFILE)


class Replaced(Exception):  # noqa: N818 (no error: `stream` says what it means)
    """The file at `path` is no longer the one that was noted. Never leaves this library."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(str(path))


class Descriptors:
    """How many files may be kept open. Whoever gets no descriptor opens its file for each read."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def take(self) -> bool:
        """Take one, if there is one."""
        if self._free < 1:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        self._free += 1


class HeldFile:
    """A file that pyarrow can read from (`pa.PythonFile`); not for several threads at once.

    Raises:
        OSError: there is no such file.
    """

    def __init__(self, path: Path, descriptors: Descriptors) -> None:
        stat = os.stat(path)
        self.path, self.size = path, stat.st_size
        self.closed = False
        self._identity = _identity(stat)
        self._descriptors = descriptors
        self._descriptor: int | None = None
        self._place = 0

    def hold(self) -> None:
        """Keep a descriptor from here on, if one may be had.

        Raises:
            Replaced
            StorageError: the file cannot be opened.
        """
        if self._descriptor is None and self._descriptors.take():
            try:
                self._descriptor = self._open()
            except OSError as error:
                self._descriptors.give_back()
                if error.errno not in _NONE_LEFT:
                    raise self._refused(error) from error
            except BaseException:
                self._descriptors.give_back()
                raise

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            raise Replaced(self.path) from None
        if _identity(os.fstat(descriptor)) != self._identity:
            os.close(descriptor)
            raise Replaced(self.path)
        return descriptor

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(self.path, f"cannot be opened: {error.strerror or error}")

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            count = self.size - self._place
        if self._descriptor is not None:
            found = os.pread(self._descriptor, count, self._place)
        else:
            try:
                descriptor = self._open()
            except OSError as error:
                raise self._refused(error) from error
            try:
                found = os.pread(descriptor, count, self._place)
            finally:
                os.close(descriptor)
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        """Let go of the descriptor; it may be done twice."""
        self.closed = True
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._descriptors.give_back()


def _identity(stat: os.stat_result) -> Identity:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
