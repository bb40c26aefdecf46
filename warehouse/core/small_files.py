"""Small files, read whole, or not read at all.

Those that people write (settings, SQL, lists), and sidecars: what a warehouse brings along beside
its data, a stranger's word until it is checked. Reading one cannot harm: of a sidecar no link or
pipe is opened, no more is read than such a file has, and text that is none of ours is a
`ValueError` and nothing else. Nor may one be small on disk and none in memory: of Parquet, a value
that repeats takes next to nothing in the file, and is read out as often as it stands.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from warehouse.core.process import Threads

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_BYTES = 1 << 20
MOST_SIDECAR_BYTES = 16 << 20
REFUSED = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
        *(errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT),
    )
)
"""The system does not let a file be read, which says nothing of what stands in it."""

_LEAST_NAME = 16
"""So many bytes of a JSON text of names there are at least for each value, list or object: shorter
ones are no names, and would take many times their bytes in memory."""
_MOST_VALUES = 1 << 20
"""Of any other JSON text: so many of them, or one for so many of its bytes."""
_EPOCH = date(1970, 1, 1).toordinal()
_OF_A_DAY = {"date32[day]": 1, "timestamp[ms]": 86_400_000, "timestamp[us]": 86_400_000_000}
_MOST_TEXT = 512 << 20
_MOST_UNPACKED = 1 << 30
_VALUES_A_ROW = 2
"""Of a Parquet file in memory: bytes of all texts of a column, of all pages once they are unpacked,
and of lists so many values for each row there may be."""


def read_small(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file, without the mark that some editors and Excel begin theirs with.

    Raises:
        OSError: it cannot be read, or is no regular file: a pipe would never end.
        ValueError: it is larger than `most` bytes, or no UTF-8.
    """
    check_small(path, most)
    with open(path, "rb") as file:
        content = up_to(file, most)
    if len(content) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        line = content.count(b"\n", 0, error.start) + 1
        told = "UTF-16, not UTF-8" if is_utf16 else f"not UTF-8 (line {line})"
        raise ValueError(f"it is {told}; save it as UTF-8") from error
    if "\0" in text:
        # What is UTF-16 without a mark is UTF-8, too, where all of it is ASCII.
        raise ValueError("it holds NUL, as UTF-16 does; save it as UTF-8")
    return text


def up_to(file: BinaryIO, most: int) -> bytes:
    """The content of a file; of one that is larger than `most` bytes, more than so many.

    Python sets room aside for all that is asked for, before it reads.
    """
    return file.read(min(most, os.fstat(file.fileno()).st_size) + 1)


def plain(path: Path) -> Path:
    """The path of a file that is about to be opened.

    Raises:
        OSError: a pipe or a device stands there, which might never end.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return path  # who opens it is told why not
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def check_small(path: Path, most: int = MOST_BYTES) -> None:
    """Refuse a file that is larger, or none: as `read_small`."""
    if path.exists() and not path.is_file():
        raise OSError("it is no regular file")
    if path.stat().st_size > most:
        raise ValueError(f"it is larger than {most:,} bytes")


def read_sidecar(path: Path, most: int = MOST_SIDECAR_BYTES) -> tuple[bytes, os.stat_result]:
    """The content of a file, and what the system says of it.

    Raises:
        OSError: it cannot be read, or is a link.
        ValueError: it is no file, or larger than `most` bytes.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is no file")
        if facts.st_size > most:
            raise ValueError(f"it has {facts.st_size:,} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(facts.st_size), facts
    finally:
        os.close(descriptor)


def parsed_json(text: bytes | str, constant: Callable[[str], Any] | None = None) -> Any:
    """The value of a JSON text in which no key comes twice.

    Args:
        constant: gives what NaN and the infinities stand for; None: numbers.

    Raises:
        ValueError: it is none, or would take many times its bytes in memory.
    """
    _check_values(text, _MOST_VALUES)
    return json_value(text, object_pairs_hook=_once, parse_constant=constant)


def json_value(text: bytes | str, **hooks: Any) -> Any:
    """`json.loads`, where it is of no account how deep in calls of its own the caller stands.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return json.loads(text, **hooks)
    except RecursionError:
        # Python counts the caller's calls, too: in a thread there are none of them.
        with Threads(1) as alone:
            found = alone.submit(json.loads, text, **hooks)
    if isinstance(found.exception(), RecursionError):
        raise ValueError("it is nested too deeply")
    return found.result()


def parsed_names(text: bytes) -> Any:
    """The same, of a text that may be long, and holds names: of files, of what is in them.

    Raises:
        ValueError: it is none, or would take far more memory than names do.
    """
    # Some few that are short stand around the names.
    _check_values(text, len(text) // _LEAST_NAME + _LEAST_NAME)
    return parsed_json(text)


def _check_values(text: bytes | str, most: int) -> None:
    signs: tuple[Any, ...] = (",", "[", "{") if isinstance(text, str) else (b",", b"[", b"{")
    if sum(map(text.count, signs)) > max(most, len(text) // _LEAST_NAME):
        raise ValueError("its values are too many, and too short")


def load_json(path: Path, most: int = MOST_SIDECAR_BYTES) -> Any:
    """The value of a JSON file; see `read_sidecar` and `parsed_json`."""
    return parsed_json(read_sidecar(path, most)[0])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def parsed_parquet(content: Any, most_rows: int) -> pa.Table:
    """The rows of a Parquet file, page checksums verified; texts are dictionaries.

    Args:
        content: the whole file, as bytes or a buffer.
        most_rows: that such a file has.

    Raises:
        ValueError: it would take far more memory than such a file does, or names a day that no
            calendar has.
        OSError, pa.ArrowException: it is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(content)) as file:
        check_unpacked(file.metadata, most_rows)
        texts = [
            column.path
            for column in (file.schema.column(place) for place in range(len(file.schema)))
            if column.physical_type == "BYTE_ARRAY"
        ]
    with pq.ParquetFile(
        pa.BufferReader(content), page_checksum_verification=True, read_dictionary=texts
    ) as file:
        found = file.read(use_threads=False)
    for name in found.column_names:
        for text, size in text_sizes(found[name], name):
            if size > _MOST_TEXT:
                raise ValueError(f"{text} holds texts too long to be read")
        _check_days(found[name], name)
    return found


def _check_days(column: pa.ChunkedArray, name: str) -> None:
    """Refuse days and instants that Python has not: to ask for one would be an OverflowError."""
    import pyarrow as pa
    import pyarrow.compute as pc

    a_day = _OF_A_DAY.get(str(column.type))
    if a_day is None:
        return
    numbers = column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64())
    first, last = ((day.toordinal() - _EPOCH) * a_day for day in (date.min, date.max))
    found = pc.min_max(numbers).as_py()
    if found["min"] is not None and not first <= found["min"] <= found["max"] < last + a_day:
        raise ValueError(f"{name} holds a day that no calendar has")


def check_unpacked(metadata: pq.FileMetaData, most_rows: int) -> None:
    """Refuse a Parquet file whose footer tells of more than memory is to hold.

    Raises:
        ValueError: so it is.
    """
    if metadata.num_rows > most_rows:
        raise ValueError(f"it has {metadata.num_rows:,} rows")
    unpacked = 0
    values = [0] * metadata.num_columns
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(metadata.num_columns):
            column = group.column(place)
            unpacked += column.total_uncompressed_size
            values[place] += column.num_values
    if max(values, default=0) > _VALUES_A_ROW * most_rows or unpacked > _MOST_UNPACKED:
        raise ValueError(f"it would be {max(values):,} values in {unpacked:,} bytes")


def text_sizes(column: pa.ChunkedArray, name: str) -> Iterator[tuple[str, int]]:
    """Each column of texts, those of lists too, and how many bytes its texts take in memory.

    Those that are dictionaries yet: how many they would take without.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(column.type):
        parts = [one.flatten() for one in column.chunks]
        yield from text_sizes(pa.chunked_array(parts, column.type.value_type), name)
    elif pa.types.is_struct(column.type):
        for place, field in enumerate(column.type):
            parts = [one.field(place) for one in column.chunks]
            yield from text_sizes(pa.chunked_array(parts, field.type), f"{name}.{field.name}")
    elif pa.types.is_dictionary(column.type):
        sizes = (
            pc.sum(pc.take(pc.binary_length(one.dictionary).cast(pa.int64()), one.indices)).as_py()
            for one in column.chunks
        )
        yield name, sum(size or 0 for size in sizes)
