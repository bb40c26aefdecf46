"""The headers of pages, which have no checksum: what a decoder would make of them.

That each page has as many values as its row group: a decoder that reads several row groups in one
go takes from each page as many values as its header says. Were a bit of that number flipped, it
could take padding for a value, and all values of the row groups that follow would stand a row too
late, which no checksum tells. Where one row group is read it takes no more than that has, and
whoever counts notices less.

And how long its texts may be: a text that repeats stands in a dictionary once, and in memory as
often as it is said, so a stranger's file of a few kB could fill it. A writer of ours puts a column
of a row group into one page, behind a dictionary or without one: so their headers say it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.store.parquet_writer import ABSENT_KEY

_BYTES = 64
# Thrift's compact protocol, as parquet.thrift has PageHeader: the type (0, a data page), the two
# sizes and the checksum, then the data page's own header, which begins with the number of values.
_VARINT = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
_BEGINNING = rb"\x15\x00(?:\x15" + _VARINT + rb"){3}\x1c\x15"
_NUMBER = rb"([\x80-\xff]{0,9}[\x00-\x7f])"
# The same with the size of the page as it is unpacked, the number of values, and the encoding:
# plain, or places in a dictionary.
_PAGE = re.compile(
    rb"\x15\x00\x15" + _NUMBER + rb"(?:\x15" + _VARINT + rb"){2}\x1c\x15" + _NUMBER
    + rb"\x15([\x00\x04\x10])"
)  # fmt: skip
_PLAIN = b"\x00"
# A dictionary's (2): the sizes, the checksum, its own header, and nothing more.
_DICTIONARY = re.compile(
    rb"\x15\x04\x15" + _NUMBER + rb"\x15" + _NUMBER + rb"\x15" + _VARINT
    + rb"\x3c\x15" + _VARINT + rb"\x15[\x00\x04][\x11\x12]?\x00\x00"
)  # fmt: skip
_END = struct.Struct("<I4s")
_MOST_FOOTER = 64 << 20


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


def most_text(
    size: int,
    read_at: Callable[[int, int], bytes],
    rows: Sequence[int],
    groups: Iterable[int],
    columns: Iterable[str],
) -> int | None:
    """How many bytes texts can take at most once they are decoded; None: the headers do not say.

    Nothing is asked of pyarrow, which ends the process over some damaged footers.

    Args:
        size: of the file.
        read_at: as `check` has it.
        rows: of each of its row groups.
        groups, columns: what would be decoded; the columns are texts.

    Raises:
        OSError: the file cannot be read.
    """
    end = read_at(size - _END.size, _END.size)
    if len(end) < _END.size:
        return None
    length, _ = _END.unpack(end)
    if length > min(_MOST_FOOTER, size):
        return None
    footer = read_at(size - _END.size - length, length)
    wanted, total = list(groups), 0
    for name in columns:
        places = _chunk(name).findall(footer)
        if len(places) != len(rows):
            return None
        for group in wanted:
            page, dictionary = (_of_varint(each) for each in places[group])
            start = dictionary if 0 < dictionary < page else page
            found = _most_text_of(start, rows[group], read_at)
            if found is None:
                return None
            total += found
    return total


def _most_text_of(start: int, rows: int, read_at: Callable[[int, int], bytes]) -> int | None:
    held = 0
    if before := _DICTIONARY.match(head := read_at(start, _BYTES)):
        held = _of_varint(before[1])
        head = read_at(start + before.end() + _of_varint(before[2]), _BYTES)
    page = _PAGE.match(head)
    if page is None or _of_varint(page[2]) != rows:
        return None
    return _of_varint(page[1]) if page[3] == _PLAIN else rows * held


@lru_cache(maxsize=64)
def _chunk(name: str) -> re.Pattern[bytes]:
    """What a footer says of a column of a row group, from its name to its pages' places.

    As parquet.thrift has ColumnMetaData: the path, the codec, the values, two sizes, the place of
    the first page and, where there is one, that of the dictionary.
    """
    path = rb"\x19\x18" + bytes([len(name)]) + re.escape(name.encode())
    sizes = rb"\x15" + _VARINT + (rb"\x16" + _NUMBER.replace(b"(", b"(?:")) * 3
    return re.compile(path + sizes + rb"\x26" + _NUMBER + rb"(?:\x26" + _NUMBER + rb")?")


def _of_varint(data: bytes) -> int:
    found = 0
    for place, byte in enumerate(data):
        found |= (byte & 0x7F) << 7 * place
    return found >> 1
