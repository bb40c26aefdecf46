"""Partitions: one data type, one symbol, one month, one Parquet file, and where its rows came from.

The bytes that a version of this library gives a partition depend on its rows and their provenance
alone: not on threads, pieces or what was ingested before what. Pages carry checksums, which pyarrow
verifies on reading.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core import small_files
from warehouse.core.datatypes import DATA_TYPES, DataType, completed, data_type
from warehouse.core.paths import decode_symbol, partition_name
from warehouse.errors import (
    CorruptPartitionError,
    StorageError,
    UnreadablePartitionError,
    one_line,
)
from warehouse.store.parquet_writer import declared_by, encode

METADATA_KEY = b"flatfile_warehouse"
DIGEST_KEY = b"flatfile_warehouse.sha256"
"""Under this a footer has the SHA-256 of what it says of itself: it has no checksum of its own."""
FORMAT_VERSION = 1

_BUFFERED_ROWS = 1_000_000
REFUSED = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)
"""With these the system refuses, and says nothing of the file: whatever else is told is damage."""


@dataclass(frozen=True)
class SessionSource:
    """Where one session of a partition came from.

    Attributes:
        session: the session.
        rows: rows of it in the partition; they stand together, sessions ascending.
        rejects: rows of the symbol and session that cleaning refused.
        source: key of the vendor's file.
        etag: the source's, where it depends on the content alone (S3), else None.
        sha256: of the vendor's file.
        fingerprint: of the SQL and the settings that made it; None: the partition's.
    """

    session: date
    rows: int
    rejects: int
    source: str
    etag: str | None
    sha256: str
    fingerprint: str | None = None


@dataclass(frozen=True)
class Partition:
    """A written partition.

    Attributes:
        data_type, symbol, month: which one; `month` is its first day.
        sessions: in ascending order.
        fingerprint: of the SQL and the settings that made it, its latest part at least.
        rows, bytes: its size.
        first_ns, last_ns: stamps of its first and last row, both inclusive, nanoseconds UTC.
        sha256: of the file.
    """

    data_type: str
    symbol: str
    month: date
    sessions: tuple[SessionSource, ...]
    fingerprint: str
    rows: int
    bytes: int
    first_ns: int
    last_ns: int
    sha256: str


def rows_by_file(partitions: Iterable[Partition], symbols: AbstractSet[str]) -> Counter[str]:
    """How many rows of the symbols (none: of all) came from each of the vendor's files, by key."""
    rows: Counter[str] = Counter()
    for partition in partitions:
        if not symbols or partition.symbol in symbols:
            for session in partition.sessions:
                rows[session.source] += session.rows
    return rows


def provenance(
    data_type_name: str, symbol: str, month: date, sessions: Iterable[SessionSource], made_by: str
) -> bytes:
    """What a partition says of itself in its metadata, as JSON in a fixed form."""
    record = {"fingerprint": made_by, "sessions": [_entry(session) for session in sessions]}
    told = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return b"%b,%b" % (_named(data_type_name, symbol, month), told[1:].encode())


def _digest(told: bytes) -> bytes:
    return hashlib.sha256(told).hexdigest().encode()


def _entry(session: SessionSource) -> dict[str, Any]:
    entry = {**vars(session), "session": session.session.isoformat()}
    if session.fingerprint is None:
        del entry["fingerprint"]
    return entry


def _session(entry: dict[str, Any]) -> SessionSource:
    """What `_entry` told.

    Raises:
        ValueError, TypeError: nothing of ours told it.
    """
    found = SessionSource(**{**entry, "session": date.fromisoformat(entry["session"])})
    told: tuple[Any, ...] = (found.source, found.sha256, found.etag, found.fingerprint)
    if not all(
        isinstance(text, str) for text in (*told[:2], *(t for t in told[2:] if t is not None))
    ):
        raise TypeError("what it says of a session is no text")
    if type(found.rows) is not int or type(found.rejects) is not int or found.rows < 0:
        raise TypeError("what it says of a session is no number of rows")
    return found


def write_partition(
    path: str,
    kind: DataType,
    rows: Iterable[pa.RecordBatch],
    symbol: str,
    month: date,
    sessions: tuple[SessionSource, ...],
    fingerprint: str,
) -> Partition:
    """Write a partition to `path`, which must not be inside the cache folder: it is not synced.

    Args:
        rows: the data type's columns (others are left out) in the order of the tape.
        sessions: in ascending order; their rows add up to those of `rows`.

    Raises:
        StorageError: the disk refuses.
        SqlFileError: a row lacks a value that every row of the data type has.
    """
    told = provenance(kind.name, symbol, month, sessions, fingerprint)
    metadata = {METADATA_KEY: told, DIGEST_KEY: _digest(told)}
    counts = [session.rows for session in sessions]
    expected = sum(counts)
    try:
        if expected <= _BUFFERED_ROWS:
            buffer = pa.BufferOutputStream()
            edges = encode(buffer, kind, rows, metadata, counts)
            encoded = buffer.getvalue()
            with open(path, "wb", buffering=0) as file:
                rest = memoryview(encoded)
                while rest:
                    # A disk that is filling up takes a part, and refuses what follows.
                    rest = rest[file.write(rest) :]
                written = encoded.size
            size, digest = encoded.size, hashlib.sha256(encoded).hexdigest()
        else:
            with pa.OSFile(path, "wb") as sink:
                edges = encode(sink, kind, rows, metadata, counts)
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            written = size = os.path.getsize(path)
    except OSError as error:
        raise StorageError(path, f"cannot be written: {error.strerror or error}") from error
    if edges.rows != expected or written != size:
        raise StorageError(
            path,
            f"{expected:,} rows and {size:,} bytes were due, {edges.rows:,} and {written:,} came",
        )
    return Partition(
        kind.name,
        symbol,
        month,
        sessions,
        fingerprint,
        edges.rows,
        size,
        edges.first_ns,
        edges.last_ns,
        digest,
    )


def read_sessions(
    path: Path, partition: Partition, wanted: frozenset[date]
) -> Iterator[tuple[SessionSource, Iterator[pa.RecordBatch]]]:
    """Rows of some sessions of a partition, session by session, page checksums verified.

    Raises:
        CorruptPartitionError: the file is damaged, or not the one the catalog knows.
    """
    with open_partition(path, partition.data_type, partition.symbol) as file:
        groups = _RowGroups(file, path, partition)
        start = 0
        for session in partition.sessions:
            stop = start + session.rows
            if session.session in wanted:
                yield session, groups.rows(start, stop)
            start = stop


class _RowGroups:
    """Rows of an open partition by their place in it. Asked in ascending order, it reads each row
    group once: most partitions have a single one, and a month's sessions in it.
    """

    def __init__(self, file: pq.ParquetFile, path: Path, partition: Partition) -> None:
        self._file, self._path, self._partition = file, path, partition
        kind = data_type(partition.data_type)
        self._columns = kind.columns
        self._edges = edges_of(file, path, kind, partition.symbol, partition.rows, partition.month)
        self._present: tuple[int, pa.Table] | None = None

    def rows(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        group = bisect_right(self._edges, start) - 1
        while start < stop:
            offset, end = self._edges[group], min(self._edges[group + 1], stop)
            yield from self._group(group).slice(start - offset, end - start).to_batches()
            start, group = end, group + 1

    def _group(self, index: int) -> pa.Table:
        if self._present is None or self._present[0] != index:
            self._present = None
            partition = self._partition
            due = self._edges[index + 1] - self._edges[index]
            try:
                rows = self._file.read_row_group(index, use_threads=False)
                table = completed(rows, self._columns)
                if table.num_rows != due:
                    raise pa.ArrowInvalid(f"{table.num_rows:,} rows came where {due:,} were due")
            except (OSError, pa.ArrowException) as error:
                raise damaged(self._path, partition.data_type, partition.symbol, error) from error
            self._present = index, table
        return self._present[1]


def edges_of(
    file: pq.ParquetFile, path: Path, kind: DataType, symbol: str, rows: int, month: date
) -> list[int]:
    """The row at which each row group begins, and the end, as far as the footer can be believed.

    Raises:
        CorruptPartitionError: its rows are not so many, its columns not the data type's, or it is
            another partition under this one's name.
    """
    try:
        metadata = file.metadata
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        told = metadata.metadata or {}
        due = declared_by(kind, told)
        found = file.schema_arrow.remove_metadata()
        is_right = found.equals(due) or _is_of_earlier_form(found, due, kind)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise damaged(path, kind.name, symbol, error) from error
    if {metadata.num_rows, sum(counts)} != {rows} or min(counts, default=0) < 1:
        refuse(path, kind.name, symbol, f"{sum(counts):,} rows, the catalog says {rows:,}")
    if not is_right:
        refuse(path, kind.name, symbol, f"its columns are not those of {kind.name}")
    if not told.get(METADATA_KEY, b"").startswith(_named(kind.name, symbol, month)):
        refuse(path, kind.name, symbol, f"it does not say that it is {symbol}'s of {month:%Y-%m}")
    return [0, *accumulate(counts)]


def _named(data_type_name: str, symbol: str, month: date) -> bytes:
    """How `provenance` begins: whose rows they are."""
    name = json.dumps(symbol, ensure_ascii=False)
    whose = f'"data_type":"{data_type_name}","symbol":{name},"month":"{month:%Y-%m}"'
    return f'{{"format":{FORMAT_VERSION},{whose}'.encode()


def _is_of_earlier_form(found: pa.Schema, due: pa.Schema, kind: DataType) -> bool:
    """Whether a partition has the columns of a version before some of them were added."""
    names = set(found.names)
    if not {"symbol", "session", *kind.order} <= names <= set(due.names):
        return False
    return bool(found.equals(pa.schema([field for field in due if field.name in names])))


def columns_of(file: pq.ParquetFile, kind: DataType, names: Sequence[str]) -> list[str]:
    """Those of the data type's columns that an open partition has: of an earlier form, not all."""
    if file.metadata.num_columns == len(kind.columns):
        return list(names)
    there = set(file.schema_arrow.names)
    return [name for name in names if name in there]


@contextmanager
def open_partition(
    path: Path, data_type_name: str, symbol: str, due_bytes: int | None = None
) -> Iterator[pq.ParquetFile]:
    """A partition opened for reading with its page checksums verified.

    Args:
        due_bytes: its size in the catalog, which says nothing of a link; None: none is known.

    Raises:
        CorruptPartitionError: it is no Parquet file, or not the one the catalog knows.
    """
    try:
        # One look at the path and one at the file: threads wait for each other at each of them.
        facts = os.stat(path) if due_bytes is None else os.lstat(path)
        if due_bytes is not None:
            check_no_link(path, data_type_name, symbol, stat.S_ISLNK(facts.st_mode))
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        source = pa.OSFile(str(path))
    except OSError as error:
        raise damaged(path, data_type_name, symbol, error) from error
    with source:
        if due_bytes is not None:
            check_size(path, data_type_name, symbol, source.size(), due_bytes)
        try:
            # Ahead of the decoder a thread would fetch each column of each row group by itself, and
            # from the page cache that takes longer than to read it.
            file = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise damaged(path, data_type_name, symbol, error) from error
        yield file


def check_no_link(path: Path, data_type_name: str, symbol: str, is_link: bool) -> None:
    """Refuse a partition that is a link, or whose folder is one."""
    if is_link or os.path.islink(path.parent):
        refuse(path, data_type_name, symbol, "it is a link, which may lead out of the warehouse")


def check_size(path: Path, data_type_name: str, symbol: str, size: int, due: int) -> None:
    """Refuse a partition that has not the size the catalog says."""
    if size != due:
        refuse(path, data_type_name, symbol, f"{size:,} bytes, the catalog says {due:,}")


def damaged(
    path: Path, data_type_name: str, symbol: str, error: Exception
) -> CorruptPartitionError:
    """The error for a partition that could not be read.

    Raises:
        MemoryError: for want of memory alone; Arrow's own is one too.
    """
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, OSError) and error.errno in REFUSED:
        return UnreadablePartitionError(path, os.strerror(error.errno))
    return _corrupt(path, data_type_name, symbol, one_line(error, 200))


def refuse(path: Path, data_type_name: str, symbol: str, problem: str) -> NoReturn:
    """Raises CorruptPartitionError for a partition that is not what the catalog knows."""
    raise _corrupt(path, data_type_name, symbol, problem)


def _corrupt(path: Path, data_type_name: str, symbol: str, problem: str) -> CorruptPartitionError:
    return CorruptPartitionError(
        path, problem, f"warehouse rebuild {data_type_name} --symbols '{symbol}'"
    )


def describe(path: Path) -> Partition:
    """A partition as it describes itself, read from the file alone.

    Raises:
        CorruptPartitionError: it is damaged, or no partition of ours.
    """
    data_type_name, symbol = path.parts[-3], decode_symbol(path.parts[-2])
    with open_partition(path, data_type_name, symbol) as file:
        metadata = file.metadata
        try:
            told = metadata.metadata[METADATA_KEY]
            digest = metadata.metadata.get(DIGEST_KEY)
            if digest is not None and digest != _digest(told):
                raise ValueError("what it says of itself is damaged")
            record = small_files.parsed_json(told)
            made_by = str(record["fingerprint"])
            sessions = tuple(_session(entry) for entry in record["sessions"])
            month = date.fromisoformat(f"{record['month']}-01")
            if not path.as_posix().endswith(partition_name(data_type_name, symbol, month)):
                raise ValueError(f"it says that it is of {month:%Y-%m}")
            if (record["data_type"], record["symbol"]) != (data_type_name, symbol):
                raise ValueError(f"it says that it is {record['data_type']} of {record['symbol']}")
            rows = sum(session.rows for session in sessions)
            edges_of(file, path, DATA_TYPES[data_type_name], symbol, rows, month)
            # Rows, not statistics: pyarrow ends the process over those of a damaged footer.
            first = _stamp(file, 0, 0)
            last = _stamp(file, metadata.num_row_groups - 1, -1)
        except (KeyError, ValueError, TypeError, OSError, IndexError, pa.ArrowException) as error:
            raise damaged(path, data_type_name, symbol, error) from error
    with open(path, "rb") as raw:
        sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
    return Partition(
        data_type_name,
        symbol,
        month,
        sessions,
        made_by,
        metadata.num_rows,
        os.path.getsize(path),
        first,
        last,
        sha256,
    )


def _stamp(file: pq.ParquetFile, group: int, row: int) -> int:
    column = file.read_row_group(group, columns=["timestamp"])["timestamp"].cast(pa.int64())
    if len(column) != file.metadata.row_group(group).num_rows:
        raise pa.ArrowInvalid(f"row group {group} has {len(column):,} rows")
    stamp: int = column[row].as_py()
    return stamp
