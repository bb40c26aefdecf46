"""A partition that a bucket has, for a stream: brought when the stream gets there.

What is on this disk already is read from there, as `HeldFile` reads it. Where room was made
meanwhile, or something else was published, the bucket still has the object, whose content never
changes; once it is removed there as well, `Replaced` says so.
"""

from __future__ import annotations

import os
from contextlib import suppress

from warehouse.errors import ObjectMissingError
from warehouse.objects.partial_object import PartialObject
from warehouse.objects.range_reader import RangeReader
from warehouse.read.partition_reader import Piece, wanted_of
from warehouse.read.stream.pinned_file import Descriptors, HeldFile, Replaced


class HeldObject:
    """A file that pyarrow can read from (`pa.PythonFile`); not for several threads at once."""

    def __init__(self, piece: Piece, objects: RangeReader, descriptors: Descriptors) -> None:
        self.path, self.size = piece.path, piece.stored.bytes
        self.closed = False
        self._piece, self._objects, self._descriptors = piece, objects, descriptors
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
            self._objects.fetch([wanted_of([self._piece])])
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
        return self._objects.open(self._piece.stored.sha256, self.size)

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

    def close(self) -> None:
        """Let go of the descriptor; it may be done twice."""
        self.closed = True
        self._let_go_of_file()
        if self._part is not None:
            self._part.close()
            self._part = None
            self._descriptors.give_back()
