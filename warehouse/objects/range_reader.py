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
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core.paths import Layout
from warehouse.objects import disk_cache
from warehouse.objects.partial_object import PartialObject, Ranged, side_by_side
from warehouse.objects.ranges import Range
from warehouse.source.partfile import storage_error

WHOLE_BYTES = 1 << 20
"""A smaller object is fetched whole: one request, where its footer alone would be another."""
WHOLE_SHARE = 0.5
"""So is one of which more is wanted."""

# A stretch that is longer is searched for where the wanted rows begin and end, row group by row
# group; a shorter one is here sooner whole.
_SEARCHED_BYTES = 8 << 20
_ROOM_BYTES = 64 << 20
"""After so many bytes came it is looked whether room must be made."""
_MAGIC = b"PAR1"
_END = struct.Struct("<I4s")
# pyarrow reads so many bytes of the end at first. A footer takes 60 to 90 bytes for each column of
# a row group, which has 8,192 rows or more.
_LEAST_TAIL, _MOST_TAIL = 1 << 16, 1 << 20
_GROUP_ROWS, _GROUP_BYTES = 8_192, 1_500
_REMEMBERED, _OPEN_AT_ONCE = 4_096, 128
_LONGEST_NUMBER = 10


class WantedRows(NamedTuple):
    """Rows of an object that are about to be read.

    Attributes:
        sha256, size: of the object.
        rows: how many it has.
        spans: those wanted, each [low, high).
        is_narrower: only some of them are, which are found among their stamps.
    """

    sha256: str
    size: int
    rows: int
    spans: tuple[tuple[int, int], ...]
    is_narrower: bool = False

    @property
    def is_worth_ranges(self) -> bool:
        """Whether so little of it is wanted that it need not be here whole."""
        if self.size < WHOLE_BYTES:
            return False
        return sum(high - low for low, high in self.spans) <= WHOLE_SHARE * self.rows

    @property
    def due_bytes(self) -> int:
        """How many bytes of it that is, about."""
        share = sum(high - low for low, high in self.spans) / max(self.rows, 1)
        return int(self.size * share) if self.is_worth_ranges else self.size


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
        layout: of a warehouse whose partitions are in a bucket.
        bucket: gives the bucket; None: that of the layout. It is not spoken to before something is
            missing.
    """

    def __init__(self, layout: Layout, bucket: Callable[[], Ranged] | None = None) -> None:
        self._layout, self._bucket = layout, bucket or self._of_layout
        self._places: dict[str, _Places] = {}
        self._came = 0

    def _of_layout(self) -> Ranged:
        # Whoever has a folder and no bucket need not wait for its client.
        from warehouse.objects.bucket import bucket_of

        assert self._layout.tier is not None
        return bucket_of(self._layout.tier)

    def open(self, sha256: str, size: int) -> PartialObject:
        """An object, to be read from; what of it is not here is fetched when it is read.

        Raises:
            StorageError: the disk refuses.
        """
        from warehouse.objects.generation import key_of

        target, modes = self._layout.partial_of(sha256), self._layout.modes
        found = PartialObject(self._bucket, key_of(sha256), size, sha256, target, modes)
        places = self._places.get(sha256)
        if places is not None:
            found.starts = places.starts
        return found

    def discard(self, sha256: str, size: int) -> None:
        """Forget what is here of an object: it is damaged, and the next one fetches it anew."""
        file = self.open(sha256, size)
        self._places.pop(sha256, None)
        file.discard()
        file.close()

    def fetch(self, wanted: Sequence[WantedRows]) -> None:
        """Bring the row groups that hold what is wanted, of all objects side by side.

        Of which so much is wanted that it is not worth ranges (`WantedRows`) is brought whole.

        Raises:
            ObjectMissingError: an object is not there any more.
            ObjectStorageError: one cannot be had.
            StorageError: the disk refuses.
        """
        if not wanted:
            return
        try:
            disk_cache.keep_for_question(self._layout)
        except OSError as error:
            raise storage_error(self._layout.reading, error) from error
        for start in range(0, len(wanted), _OPEN_AT_ONCE):
            self._fetch(wanted[start : start + _OPEN_AT_ONCE])
        # To look at all that is here takes time: once for much that came.
        if self._came > _ROOM_BYTES:
            self._came = 0
            disk_cache.make_room(self._layout)

    def _fetch(self, wanted: Sequence[WantedRows]) -> None:
        files: list[tuple[PartialObject, WantedRows]] = []
        try:
            files += ((self.open(one.sha256, one.size), one) for one in wanted)
            side_by_side(
                partial(file.fetch, *request)
                for file, one in files
                if one.is_worth_ranges and one.sha256 not in self._places
                for request in file.requests([_tail(one)])
            )
            side_by_side(
                partial(file.fetch, *request)
                for file, one in files
                for request in file.requests(self._ranges(file, one))
            )
        finally:
            for file, _ in files:
                self._came += file.came
                file.close()

    def _ranges(self, file: PartialObject, wanted: WantedRows) -> list[Range]:
        """Where the rows stand; nothing, if the footer cannot be believed."""
        if not wanted.is_worth_ranges:
            return [(0, file.size)]
        found = self._places.get(wanted.sha256)
        if found is None:
            found = places_in(file)
            if found is None:
                return []
            if len(self._places) >= _REMEMBERED:
                self._places.clear()
            self._places[wanted.sha256] = found
        file.starts = found.starts
        ranges = found.ranges(wanted.spans)
        if wanted.is_narrower and sum(end - start for start, end in ranges) > _SEARCHED_BYTES:
            return []
        return ranges


def _tail(wanted: WantedRows) -> Range:
    """What holds the footer, in all likelihood."""
    due = (wanted.rows // _GROUP_ROWS + 1) * _GROUP_BYTES
    return max(0, wanted.size - min(max(due, _LEAST_TAIL), _MOST_TAIL)), wanted.size


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
