"""Reading partitions out of the bucket by range: the footer, then the row groups asked for.

Where a row group stands only the footer says, which nothing vouches for; so the places are taken
from it only if they follow on each other without a gap from the first byte of the data to the
footer. They merely say what is worth fetching ahead: whatever else the decoder asks for is fetched
when it does, and what it decodes has its checksums.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core.permissions import Modes
from warehouse.objects.partial_object import PartialObject, Ranged
from warehouse.objects.ranges import Range

WHOLE_BYTES = 1 << 20
"""A smaller object is fetched whole: one request, where its footer alone would be another."""
WHOLE_SHARE = 0.5
"""So is one of which more is wanted."""

_CONNECTIONS = 16
_MAGIC = b"PAR1"
_END = struct.Struct("<I4s")
# pyarrow reads so many bytes of the end at first. A footer takes 60 to 90 bytes for each column of
# a row group, which has 8,192 rows or more.
_LEAST_TAIL, _MOST_TAIL = 1 << 16, 1 << 20
_GROUP_ROWS, _GROUP_BYTES = 8_192, 1_500
_REMEMBERED = 4_096
_LONGEST_NUMBER = 10


def key_of(sha256: str) -> str:
    return f"objects/{sha256}"


class Wanted(NamedTuple):
    """Rows of an object that are about to be read.

    Attributes:
        sha256, size: of the object.
        rows: how many it has.
        spans: those wanted, each [low, high).
    """

    sha256: str
    size: int
    rows: int
    spans: tuple[tuple[int, int], ...]

    @property
    def is_worth_ranges(self) -> bool:
        """Whether so little of it is wanted that it need not be here whole."""
        if self.size < WHOLE_BYTES:
            return False
        return sum(high - low for low, high in self.spans) <= WHOLE_SHARE * self.rows


class _Places(NamedTuple):
    """Of an object's row groups: the row and the byte at which each begins, and the ends."""

    rows: list[int]
    starts: list[int]

    def ranges(self, spans: Iterable[tuple[int, int]]) -> list[Range]:
        """The bytes of the row groups that hold the rows."""
        return [
            (
                self.starts[bisect_right(self.rows, low) - 1],
                self.starts[bisect_right(self.rows, high - 1)],
            )
            for low, high in spans
            if 0 <= low < high <= self.rows[-1]
        ]


class RangeReader:
    """Objects of a bucket, of which as little is fetched as is asked. Safe for many threads.

    Args:
        folder: where what came is kept, by SHA-256.
    """

    def __init__(self, bucket: Ranged, folder: Path, modes: Modes | None = None) -> None:
        self._bucket, self._folder, self._modes = bucket, folder, modes
        self._places: dict[str, _Places] = {}

    def open(self, sha256: str, size: int) -> PartialObject:
        """An object, to be read from; what of it is not here is fetched when it is read.

        Raises:
            StorageError: the disk refuses.
        """
        target = self._folder / sha256[:2] / sha256
        found = PartialObject(self._bucket, key_of(sha256), size, sha256, target, self._modes)
        if sha256 in self._places:
            found.starts = self._places[sha256].starts
        return found

    def fetch(self, wanted: Sequence[Wanted]) -> None:
        """Bring the row groups that hold what is wanted, of all objects side by side.

        Raises:
            ObjectMissingError: an object is not there any more.
            ObjectStorageError: one cannot be had.
            StorageError: the disk refuses.
        """
        files = [(self.open(one.sha256, one.size), one) for one in wanted]
        try:
            _side_by_side(
                partial(file.fetch, *request)
                for file, one in files
                if one.sha256 not in self._places
                for request in file.requests([_tail(one)])
            )
            _side_by_side(
                partial(file.fetch, *request)
                for file, one in files
                for request in file.requests(self._ranges(file, one))
            )
        finally:
            for file, _ in files:
                file.close()

    def _ranges(self, file: PartialObject, wanted: Wanted) -> list[Range]:
        """Where the rows stand; nothing, if the footer cannot be believed."""
        found = self._places.get(wanted.sha256)
        if found is None:
            found = places_in(file)
            if found is None:
                return []
            if len(self._places) >= _REMEMBERED:
                self._places.clear()
            self._places[wanted.sha256] = found
        return found.ranges(wanted.spans)


def _tail(wanted: Wanted) -> Range:
    """What holds the footer, in all likelihood."""
    due = (wanted.rows // _GROUP_ROWS + 1) * _GROUP_BYTES
    return max(0, wanted.size - min(max(due, _LEAST_TAIL), _MOST_TAIL)), wanted.size


def _side_by_side(tasks: Iterable[Callable[[], None]]) -> None:
    """Do them all, several at once; what one raises ends the others."""
    listed = list(tasks)
    if len(listed) < 2:
        for task in listed:
            task()
        return
    pool = ThreadPoolExecutor(min(len(listed), _CONNECTIONS), thread_name_prefix="ranges")
    try:
        for done in [pool.submit(task) for task in listed]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def places_in(file: PartialObject) -> _Places | None:
    """Where a Parquet file's row groups stand, by its footer; None: it cannot be believed.

    pyarrow would tell where a column begins, but ends the process over some damaged footers.
    """
    length, magic = _END.unpack(file.read_at(file.size - _END.size, _END.size))
    if magic != _MAGIC or length > file.size:
        return None
    end = file.size - _END.size - length
    footer = file.read_at(end, length)
    try:
        metadata = pq.read_metadata(pa.PythonFile(file, mode="r"))
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return None
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    starts, at = [len(_MAGIC)], 0
    for count in rows:
        # As parquet.thrift has RowGroup, in the compact protocol: its number of rows, the place
        # in the file, and the size, which is all the places of the next one rest on.
        said = b"\x16" + _varint(count) + b"\x26" + _varint(starts[-1]) + b"\x16"
        at = footer.find(said, at)
        if at < 0:
            return None
        size, at = _number(footer, at + len(said))
        starts.append(starts[-1] + size)
    if starts[-1] != end:
        return None
    # With the first the magic number comes, so that in the end nothing is missing.
    return _Places([0, *accumulate(rows)], [0, *starts[1:]])


def _varint(number: int) -> bytes:
    """A number that is not negative, as the protocol has it."""
    left, found = 2 * number, bytearray()  # zigzag: a positive number doubled
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and where it ends; of one that does not end, what there is."""
    found = 0
    for shift, byte in enumerate(data[at : at + _LONGEST_NUMBER]):
        found, at = found | (byte & 0x7F) << 7 * shift, at + 1
        if byte < 0x80:
            break
    return found >> 1, at
