"""A partition that a bucket has, for a stream: brought when the stream gets there.

What is on this disk already is read from there, as `HeldFile` reads it. Where room was made
meanwhile, or something else was published, the bucket still has the object, whose content never
changes; once it is removed there as well, `Replaced` says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from pathlib import Path

from warehouse.errors import ObjectMissingError
from warehouse.objects.partial_object import PartialObject
from warehouse.objects.range_reader import RangeReader, WantedRows
from warehouse.read.partition_reader import Piece, by_file, wanted_of
from warehouse.read.stream.pinned_file import Descriptors, HeldFile, Replaced

_AHEAD_BYTES = 128 << 20


class Coming:
    """All that a stream reads of a bucket. With a file come others of the same time, side by side.

    Args:
        pieces: all of the stream's.
    """

    def __init__(self, objects: RangeReader, pieces: Iterable[Piece]) -> None:
        self.objects = objects
        self._waiting: dict[Path, WantedRows] = {}
        self._same_time: dict[Path, dict[Path, None]] = {}
        times: dict[tuple[str, date, str], dict[Path, None]] = {}
        for path, some in by_file(pieces).items():
            key = some[0].stored.file
            time = times.setdefault((key.data_type, key.month, key.part), {})
            time[path] = None
            self._same_time[path] = time
            self._waiting[path] = wanted_of(some)

    def bring(self, path: Path) -> None:
        """Bring a file, unless it was brought before.

        Raises:
            ObjectMissingError: the bucket does not have it any more.
            ObjectStorageError: it cannot be had.
            StorageError: the disk refuses.
        """
        own = self._waiting.pop(path, None)
        if own is None:
            return
        some, left = [own], _AHEAD_BYTES - own.due_bytes
        for other in list(self._same_time[path]):
            wanted = self._waiting.get(other)
            if wanted is not None and not os.path.lexists(other):
                left -= wanted.due_bytes
                if left < 0:
                    break
                some.append(self._waiting.pop(other))
            self._same_time[path].pop(other)
        try:
            self.objects.fetch(some)
        except ObjectMissingError:
            # Which of them it is: the others tell when the stream gets there.
            self.objects.fetch([own])


class HeldObject:
    """A file that pyarrow can read from (`pa.PythonFile`); not for several threads at once."""

    def __init__(self, piece: Piece, coming: Coming, descriptors: Descriptors) -> None:
        self.path, self.size = piece.path, piece.stored.bytes
        self.closed = False
        self._piece, self._coming, self._descriptors = piece, coming, descriptors
        self._part: PartialObject | None = None
        self._file: HeldFile | None = None
        self._place = 0
        with suppress(FileNotFoundError, NotADirectoryError):
            found = HeldFile(piece.path, descriptors)
            if found.size == self.size:
                self._file = found
                self._hold_file()

    def hold(self) -> None:
        """Bring what the stream will read, and keep a descriptor, if one may be had.

        Raises:
            Replaced: neither this disk nor the bucket has it any more.
            ObjectStorageError: it cannot be had.
            StorageError: the disk refuses.
        """
        self._hold_file()
        if self._file is not None or self._part is not None:
            return
        try:
            self._coming.bring(self.path)
        except ObjectMissingError:
            raise Replaced(self.path) from None
        if self._descriptors.take():
            self._part = self._opened()

    def _hold_file(self) -> None:
        if self._file is not None:
            try:
                self._file.hold()
            except Replaced:
                self._let_go_of_file()

    def _let_go_of_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> PartialObject:
        return self._coming.objects.open(self._piece.stored.sha256, self.size)

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            count = self.size - self._place
        data = self._read(count)
        self._place += len(data)
        return data

    def _read(self, count: int) -> bytes:
        if self._file is not None:
            try:
                self._file.seek(self._place)
                return self._file.read(count)
            except Replaced:
                self._let_go_of_file()
        part = self._part or self._opened()
        try:
            return part.read_at(self._place, count)
        except ObjectMissingError:
            raise Replaced(self.path) from None
        finally:
            if part is not self._part:
                part.close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def discard(self) -> None:
        """Forget what has come of it, which is damaged."""
        if self._file is None:
            self._coming.objects.discard(self._piece.stored.sha256, self.size)

    def close(self) -> None:
        """Let go of the descriptor; it may be done twice."""
        self.closed = True
        self._let_go_of_file()
        if self._part is not None:
            self._part.close()
            self._part = None
            self._descriptors.give_back()
