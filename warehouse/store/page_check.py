"""The headers of pages, which have no checksum: that each page has as many values as its row group.

A decoder that reads several row groups in one go takes from each page as many values as its header
says. Were a bit of that number flipped, it could take padding for a value, and all values of the
row groups that follow would stand a row too late, which no checksum tells. Where one row group is
read it takes no more than that has, and whoever counts notices less.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.store.parquet_writer import ABSENT_KEY

_BYTES = 32
# Thrift's compact protocol, as parquet.thrift has PageHeader: the type (0, a data page), the two
# sizes and the checksum, then the data page's own header, which begins with the number of values.
_VARINT = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
_BEGINNING = rb"\x15\x00(?:\x15" + _VARINT + rb"){3}\x1c\x15"


def check(
    file: pq.ParquetFile,
    groups: Sequence[int],
    columns: Iterable[str],
    read_at: Callable[[int, int], bytes],
) -> None:
    """Look at the header of each column's page in row groups that were decoded in one go.

    Args:
        file: a partition; one of an earlier version, which has several pages, is not looked at. The
            same columns and row groups were decoded before: pyarrow ends the process over some
            damaged footers if it is asked for a column's place first.
        read_at: so many bytes of it (the second) from an offset on (the first).

    Raises:
        ArrowInvalid: a header is damaged.
        OSError: the file cannot be read.
    """
    metadata = file.metadata
    if len(groups) < 2 or ABSENT_KEY not in (metadata.metadata or {}):
        return
    names = file.schema.names
    places = [names.index(name) for name in columns]
    for number in groups:
        group = metadata.row_group(number)
        header = _header(group.num_rows)
        for place in places:
            if not header.match(read_at(group.column(place).data_page_offset, _BYTES)):
                raise pa.ArrowInvalid(
                    f"the header of a page of {names[place]} is damaged (row group {number})"
                )


@lru_cache(maxsize=4_096)
def _header(values: int) -> re.Pattern[bytes]:
    """How the header of a page of so many values begins."""
    left, number = 2 * values, bytearray()  # zigzag: a positive number doubled
    while left > 0x7F:
        number.append(left & 0x7F | 0x80)
        left >>= 7
    number.append(left)
    return re.compile(_BEGINNING + re.escape(bytes(number)))
