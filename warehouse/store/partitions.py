"""Partitions: rows of one data type and month in one Parquet file, and where they came from.

In the layout `symbol` a partition has one symbol's rows. In the layout `market` it has those of all
symbols, by symbol and then in the order of the tape, and the catalog knows where each one's begin.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.core import small_files
from warehouse.core.datatypes import DATA_TYPES, DataType, completed, data_type
from warehouse.core.paths import (
    ALL_SYMBOLS,
    Layout,
    PartitionKey,
    parse_key,
    parse_partition,
)
from warehouse.core.process import available_bytes
from warehouse.errors import (
    CorruptPartitionError,
    StorageError,
    UnreadablePartitionError,
    one_line,
)
from warehouse.objects import disk_cache
from warehouse.objects.disk_cache import Wanted
from warehouse.objects.partial_object import PartialObject
from warehouse.store import page_check
from warehouse.store.parquet_writer import (
    MOST_GROUP_ROWS,
    Edges,
    declared_by,
    encode,
    encode_market,
)

METADATA_KEY = b"flatfile_warehouse"
DIGEST_KEY = b"flatfile_warehouse.sha256"
"""Under this a footer has the SHA-256 of what it says of itself: it has no checksum of its own."""
FORMAT_VERSION = 1
OF_TRADES = "trades of "
"""So the source of kept bars begins; the key of the file that the trades came from follows."""

_BUFFERED_ROWS = 1_000_000
_ALWAYS_THERE = 64 << 20
"""Bytes of memory that are always there: to ask how many are takes a tenth of a millisecond."""
_READ_AT_ONCE = 1 << 16
"""A file of no more bytes is read once, and not piece by piece."""
_PLACE_BYTES = 64
"""Of a row of all symbols, while it is looked where each one's stand."""
_TEXTS = frozenset(
    field.name
    for kind in DATA_TYPES.values()
    for field in kind.columns
    if pa.types.is_string(field.type)
)
_SESSION = pa.struct(
    [
        ("session", pa.date32()),
        ("rows", pa.int64()),
        ("rejects", pa.int64()),
        ("source", pa.string()),
        ("etag", pa.string()),
        ("sha256", pa.string()),
        ("fingerprint", pa.string()),
    ]
)
ENTRIES = pa.schema([("symbol", pa.string()), *_SESSION])
"""Where each symbol's sessions came from, one row each; `fingerprint` is NULL where it is the
partition's."""
SLICES = pa.schema(
    [
        ("symbol", pa.string()),
        ("first_row", pa.int64()),
        ("rows", pa.int64()),
        ("first_timestamp", pa.timestamp("ns")),
        ("last_timestamp", pa.timestamp("ns")),
        ("sessions", pa.list_(_SESSION)),
    ]
)
"""Where each symbol's rows stand in a partition of all symbols, and where they came from."""
_PLACE = pa.schema(
    [("symbol", pa.string()), ("timestamp", pa.timestamp("ns")), ("session", pa.date32())]
)

FileVersion: TypeAlias = tuple[str, str]
"""One of the vendor's files as it was once: its key, and the SHA-256 of its bytes."""


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
        data_type, symbol, month: which one; `month` is its first day. `ALL_SYMBOLS`: of all.
        sessions: in ascending order; of all symbols one for each file that a session came from.
        fingerprint: of the SQL and the settings that made it, its latest part at least.
        rows, bytes: its size.
        first_ns, last_ns: its earliest and latest stamp, both inclusive, nanoseconds UTC.
        sha256: of the file.
        part: which file of a session's rows of all symbols; see `PartitionKey`.
        slices: of all symbols, where each one's rows stand, as `SLICES`; None: it was not asked.
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
    part: str = ""
    slices: pa.Table | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> PartitionKey:
        return PartitionKey(self.data_type, self.symbol, self.month, self.part)


def rows_by_file(
    partitions: Iterable[Partition], entries: pa.Table, symbols: AbstractSet[str]
) -> Counter[FileVersion]:
    """How many rows of the symbols (none: of all) came from each version of the vendor's files.

    Args:
        entries: of the partition of all symbols among them.
    """
    rows: Counter[FileVersion] = Counter()
    for partition in partitions:
        if partition.symbol != ALL_SYMBOLS and (not symbols or partition.symbol in symbols):
            for session in partition.sessions:
                rows[session.source, session.sha256] += session.rows
    if symbols:
        entries = entries.filter(pc.is_in(entries["symbol"], pa.array(sorted(symbols))))
    by_version = entries.group_by(["source", "sha256"]).aggregate([("rows", "sum")])
    for found in by_version.to_pylist():
        rows[found["source"], found["sha256"]] += found["rows_sum"]
    return rows


def provenance(key: PartitionKey, sessions: Iterable[SessionSource], made_by: str) -> bytes:
    """What a partition says of itself in its metadata, as JSON in a fixed form."""
    record = {"fingerprint": made_by, "sessions": [_entry(session) for session in sessions]}
    told = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return _named(key) + told[1:].encode()


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
    part: str = "",
) -> Partition:
    """Write a partition to `path`, which must not be inside the cache folder: it is not synced.

    Args:
        rows: the data type's columns (others are left out) in the order of the tape, of all
            symbols by symbol first.
        sessions: in ascending order; their rows add up to those of `rows`.
        part: which file of a session it is; empty: it is of the month.

    Raises:
        StorageError: the disk refuses.
        SqlFileError: a row lacks a value that every row of the data type has.
    """
    key = PartitionKey(kind.name, symbol, month, part)
    metadata = _metadata(key, sessions, fingerprint)
    counts = [session.rows for session in sessions]
    expected = sum(counts)

    def encode_into(sink: Any) -> Edges:
        if symbol == ALL_SYMBOLS:
            return encode_market(sink, kind, rows, metadata)
        return encode(sink, kind, rows, metadata, counts)

    try:
        if expected <= _BUFFERED_ROWS:
            buffer = pa.BufferOutputStream()
            edges = encode_into(buffer)
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
                edges = encode_into(sink)
            with open(path, "rb") as whole:
                digest = hashlib.file_digest(whole, "sha256").hexdigest()
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
        part,
    )


def _metadata(
    key: PartitionKey, sessions: Iterable[SessionSource], fingerprint: str
) -> dict[bytes, bytes]:
    told = provenance(key, sessions, fingerprint)
    return {METADATA_KEY: told, DIGEST_KEY: _digest(told)}


def slices_of(entries: pa.Table, first: pa.Array, last: pa.Array) -> pa.Table:
    """Where each symbol's rows stand in a partition of all symbols, as `SLICES`.

    Args:
        entries: as `ENTRIES`, by symbol and session; each with the number of its rows.
        first, last: of each symbol in turn, its first and its last stamp.
    """
    entries = entries.combine_chunks()
    symbols = entries["symbol"].chunk(0) if entries.num_rows else pa.array([], pa.string())
    starts = np.flatnonzero(starts_of(symbols))
    offsets = np.append(starts, entries.num_rows).astype(np.int32)
    rows = entries["rows"].to_numpy()
    until = np.concatenate([[0], np.cumsum(rows)])[offsets]
    sessions = pa.StructArray.from_arrays(
        [entries[name].combine_chunks() for name in _SESSION.names], fields=list(_SESSION)
    )
    return pa.Table.from_arrays(
        [
            symbols.take(pa.array(starts)),
            pa.array(until[:-1]),
            pa.array(np.diff(until)),
            first.cast(pa.timestamp("ns")),
            last.cast(pa.timestamp("ns")),
            pa.ListArray.from_arrays(pa.array(offsets), sessions),
        ],
        schema=SLICES,
    )


def ranks_of(symbols: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Of each symbol its place among them, and the symbols, in the order of their bytes."""
    encoded = symbols.dictionary_encode().unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    names = encoded.dictionary
    order = pc.sort_indices(names)
    places = np.empty(len(names), np.int64)
    places[order.to_numpy()] = np.arange(len(names))
    return places[encoded.indices.to_numpy()], names.take(order)


def starts_of(symbols: pa.Array) -> npt.NDArray[np.bool_]:
    """Of each row, whether its symbol is another than that of the row before; of the first: yes."""
    changed = np.ones(len(symbols), np.bool_)
    if len(symbols) > 1:
        changed[1:] = pc.not_equal(symbols[1:], symbols[:-1]).to_numpy(zero_copy_only=False)
    return changed


def sessions_of(entries: pa.Table) -> tuple[SessionSource, ...]:
    """The sessions of a partition of all symbols: one for each file that a session came from."""
    keys = ["session", "source", "etag", "sha256", "fingerprint"]
    grouped = entries.group_by(keys, use_threads=False).aggregate(
        [("rows", "sum"), ("rejects", "sum")]
    )
    found = [
        SessionSource(
            row["session"],
            row["rows_sum"],
            row["rejects_sum"],
            row["source"],
            row["etag"],
            row["sha256"],
            row["fingerprint"],
        )
        for row in grouped.to_pylist()
    ]
    return tuple(sorted(found, key=lambda one: (one.session, one.source, one.sha256)))


def brought(layout: Layout, partition: Partition) -> Path:
    """Where a partition stands, which is brought there first where its folder is a bucket's.

    Hold the writer's lock.

    Raises:
        ObjectStorageError: it cannot be had.
    """
    path = layout.partition(*partition.key)
    if layout.tier is not None:
        disk_cache.bring(layout, [Wanted(path, partition.bytes, partition.sha256)])
    return path


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


def read_rows(path: Path, partition: Partition, low: int, high: int) -> pa.Table:
    """The rows [low, high) of a partition, page checksums verified.

    Raises:
        CorruptPartitionError: the file is damaged, or not the one the catalog knows.
    """
    with open_partition(path, partition.data_type, partition.symbol) as file:
        rows = _RowGroups(file, path, partition).rows(low, high)
        return pa.Table.from_batches(list(rows), data_type(partition.data_type).columns)


def read_rows_of(layout: Layout, partitions: Sequence[Partition], low: int, high: int) -> pa.Table:
    """The rows [low, high) of partitions whose rows follow on each other.

    Raises:
        CorruptPartitionError: a file is damaged, or not the one the catalog knows.
    """
    found = []
    start = 0
    for one in partitions:
        first, end = max(low - start, 0), min(high - start, one.rows)
        if first < end:
            found.append(read_rows(brought(layout, one), one, first, end))
        start += one.rows
    if not found:
        return data_type(partitions[0].data_type).columns.empty_table()
    return pa.concat_tables(found)


class _RowGroups:
    """Rows of an open partition by their place in it. Asked in ascending order, it reads each row
    group once: most partitions have a single one, and a month's sessions in it.
    """

    def __init__(self, file: pq.ParquetFile, path: Path, partition: Partition) -> None:
        self._file, self._path, self._partition = file, path, partition
        kind = data_type(partition.data_type)
        self._columns = kind.columns
        self._edges = edges_of(file, path, partition.key, partition.rows)
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
                rows = read_groups(self._file, self._path, self._edges, [index])
                table = completed(rows, self._columns)
                if table.num_rows != due:
                    raise pa.ArrowInvalid(f"{table.num_rows:,} rows came where {due:,} were due")
            except (OSError, pa.ArrowException) as error:
                raise damaged(self._path, partition.data_type, partition.symbol, error) from error
            self._present = index, table
        return self._present[1]


def edges_of(file: pq.ParquetFile, path: Path, key: PartitionKey, rows: int) -> list[int]:
    """The row at which each row group begins, and the end, as far as the footer can be believed.

    Raises:
        CorruptPartitionError: its rows are not so many, its columns not the data type's, or it is
            another partition under this one's name.
    """
    kind, symbol = data_type(key.data_type), key.symbol
    try:
        metadata = file.metadata
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        told = metadata.metadata or {}
        due = declared_by(kind, told)
        found = _plain(file.schema_arrow.remove_metadata())
        is_right = found.equals(due) or _is_of_earlier_form(found, due, kind)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise damaged(path, kind.name, symbol, error) from error
    if {metadata.num_rows, sum(counts)} != {rows} or min(counts, default=0) < 1:
        refuse(path, kind.name, symbol, f"{sum(counts):,} rows, the catalog says {rows:,}")
    if max(counts) > MOST_GROUP_ROWS:
        refuse(path, kind.name, symbol, f"a row group of it has {max(counts):,} rows")
    if not is_right:
        refuse(path, kind.name, symbol, f"its columns are not those of {kind.name}")
    if not told.get(METADATA_KEY, b"").startswith(_named(key)):
        whose = f"{symbol}'s" if symbol else "all symbols'"
        of = f"{key.month:%Y-%m}{f', file {key.part}' if key.part else ''}"
        refuse(path, kind.name, symbol, f"it does not say that it is {whose} of {of}")
    return [0, *accumulate(counts)]


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema as the file declares it, whatever is read as a dictionary."""
    for place, each in enumerate(schema):
        if pa.types.is_dictionary(each.type):
            schema = schema.set(place, each.with_type(each.type.value_type))
    return schema


def _named(key: PartitionKey) -> bytes:
    """How `provenance` begins: whose rows they are."""
    name = json.dumps(key.symbol or None, ensure_ascii=False)
    whose = f'"data_type":"{key.data_type}","symbol":{name},"month":"{key.month:%Y-%m}",'
    if key.part:
        whose += f'"part":"{key.part}",'
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


def read_groups(
    file: pq.ParquetFile,
    source: Any,
    edges: Sequence[int],
    groups: Sequence[int],
    columns: Sequence[str] | None = None,
    *,
    use_threads: bool = False,
) -> pa.Table:
    """Row groups of an open partition; texts that would fill the memory are not decoded.

    Args:
        source: what it is read from: its path, or a file of pyarrow's or of `partial_object`.
        edges: the row at which each row group begins, and the end.
        columns: None: all.

    Raises:
        ArrowInvalid: it is damaged, or its texts would fill the memory.
    """
    names = file.schema.names if columns is None else columns
    texts = texts_of(names)
    if not texts or has_room(source, edges, groups, texts):
        return file.read_row_groups(list(groups), columns=columns, use_threads=use_threads)
    coded = coded_file(source, texts)
    found = coded.read_row_groups(list(groups), columns=columns, use_threads=use_threads)
    return decoded(found, file.schema_arrow)


def texts_of(columns: Iterable[str]) -> list[str]:
    """Those of a partition's columns that are texts."""
    return [name for name in columns if name in _TEXTS]


def has_room(
    source: Any, edges: Sequence[int], groups: Iterable[int], texts: Iterable[str]
) -> bool:
    """Whether these columns can be decoded without a look at their texts.

    Else they are read as dictionaries first: see `coded_file` and `decoded`.
    """
    rows = [end - begin for begin, end in pairwise(edges)]
    if isinstance(source, Path):
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            read_at = partial(_pread, descriptor)
            if size <= _READ_AT_ONCE:
                read_at = partial(_part, read_at(0, size))
            most = page_check.most_text(size, read_at, rows, groups, texts)
        finally:
            os.close(descriptor)
    elif isinstance(source, PartialObject):
        most = page_check.most_text(source.size, source.read_at, rows, groups, texts)
    else:
        read_at = partial(_read_of, source)
        most = page_check.most_text(source.size(), read_at, rows, groups, texts)
    return most is not None and (most <= _ALWAYS_THERE or 2 * most <= available_bytes())


def _pread(descriptor: int, offset: int, count: int) -> bytes:
    return os.pread(descriptor, count, offset)


def _part(content: bytes, offset: int, count: int) -> bytes:
    return content[max(offset, 0) : offset + count]


def _read_of(source: pa.NativeFile, offset: int, count: int) -> bytes:
    return bytes(source.read_at(count, offset))


def coded_file(source: Any, texts: Sequence[str]) -> pq.ParquetFile:
    """A partition once more, whose texts are read as dictionaries: however often one is said."""
    return pq.ParquetFile(
        pa.PythonFile(source, mode="r") if isinstance(source, PartialObject) else source,
        page_checksum_verification=True,
        pre_buffer=False,
        read_dictionary=list(texts),
    )


def check_texts(coded: pa.Table) -> None:
    """Look at the texts of rows whose texts are dictionaries yet.

    Raises:
        ArrowInvalid: without them they would fill the memory.
    """
    sizes = (
        size for name in coded.column_names for _, size in small_files.text_sizes(coded[name], name)
    )
    needed = sum(sizes)
    if needed > _ALWAYS_THERE and 2 * needed > available_bytes():
        raise pa.ArrowInvalid(f"its texts would take {needed:,} bytes of memory")


def decoded(coded: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of such a file as another file has them.

    Raises:
        ArrowInvalid: they would fill the memory.
    """
    check_texts(coded)
    fields = [schema.field(name) for name in coded.column_names]
    return pa.Table.from_arrays(
        [coded[each.name].cast(each.type) for each in fields], schema=pa.schema(fields)
    )


@contextmanager
def open_partition(
    path: Path,
    data_type_name: str,
    symbol: str,
    due_bytes: int | None = None,
    coded: Sequence[str] = (),
    part: PartialObject | None = None,
) -> Iterator[pq.ParquetFile]:
    """A partition opened for reading with its page checksums verified.

    Args:
        due_bytes: its size in the catalog, which says nothing of a link; None: none is known.
        coded: columns of texts that are read as dictionaries.
        part: what is here of it, where it is not here whole; it is closed in the end.

    Raises:
        CorruptPartitionError: it is no Parquet file, or not the one the catalog knows.
    """
    source = _opened(path, data_type_name, symbol, due_bytes) if part is None else _of(part)
    with source:
        if due_bytes is not None:
            check_size(path, data_type_name, symbol, source.size(), due_bytes)
        try:
            # Ahead of the decoder a thread would fetch each column of each row group by itself, and
            # from the page cache that takes longer than to read it.
            file = pq.ParquetFile(
                source,
                page_checksum_verification=True,
                pre_buffer=False,
                read_dictionary=list(coded),
            )
        except (OSError, KeyError, UnicodeDecodeError, pa.ArrowException) as error:
            raise damaged(path, data_type_name, symbol, error) from error
        yield file


def _opened(path: Path, data_type_name: str, symbol: str, due_bytes: int | None) -> pa.NativeFile:
    try:
        # One look at the path and one at the file: threads wait for each other at each of them.
        facts = os.stat(path) if due_bytes is None else os.lstat(path)
        if due_bytes is not None:
            check_no_link(path, data_type_name, symbol, stat.S_ISLNK(facts.st_mode))
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return pa.OSFile(str(path))
    except OSError as error:
        raise damaged(path, data_type_name, symbol, error) from error


def _of(part: PartialObject) -> pa.NativeFile:
    return pa.PythonFile(part, mode="r")


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
        TimeoutError: of the caller's own, as a handler of SIGALRM raises it.
    """
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, TimeoutError) and error.errno is None:
        raise error
    if isinstance(error, OSError) and error.errno in small_files.REFUSED:
        return UnreadablePartitionError(path, os.strerror(error.errno))
    return _corrupt(path, data_type_name, symbol, one_line(error, 200))


def unreadable(path: Path, text: str) -> CorruptPartitionError:
    """What it means that DuckDB cannot read a file that the catalog names."""
    problem = text
    for code in small_files.REFUSED:
        # Once DuckDB has let go of its files there may be room for another.
        if text.endswith(f": {os.strerror(code)}"):
            return UnreadablePartitionError(path, os.strerror(code))
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        problem = "missing"
    except OSError as error:
        if error.errno in small_files.REFUSED:
            # It may be sound: to make it anew would help nobody who may not read it.
            return UnreadablePartitionError(path, os.strerror(error.errno))
    return CorruptPartitionError(path, problem, "warehouse verify --repair")


def refuse(path: Path, data_type_name: str, symbol: str, problem: str) -> NoReturn:
    """Raises CorruptPartitionError for a partition that is not what the catalog knows."""
    raise _corrupt(path, data_type_name, symbol, problem)


def _corrupt(path: Path, data_type_name: str, symbol: str, problem: str) -> CorruptPartitionError:
    if symbol == ALL_SYMBOLS:
        return CorruptPartitionError(path, problem, "warehouse verify --repair")
    return CorruptPartitionError(
        path, problem, f"warehouse rebuild {data_type_name} --symbols '{symbol}'"
    )


def describe(path: Path) -> Partition:
    """A partition as it describes itself, read from the file alone.

    Raises:
        CorruptPartitionError: it is damaged, or no partition of ours.
    """
    key = parse_partition("/".join(path.parts[-3:])) or parse_partition("/".join(path.parts[-4:]))
    if key is None:
        raise CorruptPartitionError(path, "no partition is called so", "warehouse verify --repair")
    data_type_name, symbol, month, _ = key
    slices = None
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
            said = date.fromisoformat(f"{record['month']}-01")
            if said != month:
                raise ValueError(f"it says that it is of {said:%Y-%m}")
            if (record["data_type"], record["symbol"] or ALL_SYMBOLS) != (data_type_name, symbol):
                raise ValueError(f"it says that it is {record['data_type']} of {record['symbol']}")
            rows = sum(session.rows for session in sessions)
            edges = edges_of(file, path, key, rows)
            # Rows, not statistics: pyarrow ends the process over those of a damaged footer.
            if symbol == ALL_SYMBOLS:
                slices = slices_in(file, path, edges, sessions)
                first, last = edges_of_slices(slices)
            else:
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
        key.part,
        slices,
    )


def with_rejects(slices: pa.Table, rejects: Mapping[tuple[str, str, date], int]) -> pa.Table:
    """The slices, each session with how many of the symbol's rows were rejected.

    Args:
        rejects: by source, symbol and session.
    """
    lists = slices["sessions"].combine_chunks()
    entries = lists.flatten()
    lengths = pc.list_value_length(lists)
    symbols = (
        slices["symbol"]
        .combine_chunks()
        .take(pa.array(np.repeat(np.arange(len(lists)), lengths.to_numpy())))
    )
    keys = zip(
        entries.field("source").to_pylist(),
        symbols.to_pylist(),
        entries.field("session").to_pylist(),
        strict=True,
    )
    found = pa.array([rejects.get(key, 0) for key in keys], pa.int64())
    columns = [found if name == "rejects" else entries.field(name) for name in _SESSION.names]
    sessions = pa.ListArray.from_arrays(
        lists.offsets, pa.StructArray.from_arrays(columns, fields=list(_SESSION))
    )
    at = slices.schema.get_field_index("sessions")
    return slices.set_column(at, SLICES.field("sessions"), sessions)


def edges_of_slices(slices: pa.Table) -> tuple[int, int]:
    """The earliest and the latest stamp of a partition of all symbols, both inclusive."""
    first = pc.min(slices["first_timestamp"].cast(pa.int64())).as_py()
    return first, pc.max(slices["last_timestamp"].cast(pa.int64())).as_py()


def slices_in(
    file: pq.ParquetFile, source: Any, edges: Sequence[int], sessions: Sequence[SessionSource]
) -> pa.Table:
    """Where each symbol's rows stand, read from the rows themselves.

    Which file a symbol's session came from: its own, where one is named, or else that of all. How
    many of its rows were rejected the partition does not say: 0 stands for it.

    Raises:
        ValueError: the rows are not by symbol and session, or of a session that is not named.
    """
    if edges[-1] * _PLACE_BYTES > max(_ALWAYS_THERE, available_bytes()):
        raise ValueError(f"its {edges[-1]:,} rows do not fit into memory")
    rows = read_groups(file, source, edges, range(len(edges) - 1), _PLACE.names)
    rows = rows.select(_PLACE.names).cast(_PLACE).combine_chunks()
    symbols, stamps = rows["symbol"].chunk(0), rows["timestamp"].chunk(0)
    days = rows["session"].chunk(0)
    day_numbers = days.cast(pa.int32()).to_numpy()
    is_first = starts_of(symbols)
    starts = np.flatnonzero(is_first | np.append(True, day_numbers[1:] != day_numbers[:-1]))
    counts = np.diff(np.append(starts, len(symbols)))
    entry_symbols, entry_days = symbols.take(pa.array(starts)), days.take(pa.array(starts))
    by_file = _by_file(sessions)
    pairs = zip(entry_symbols.to_pylist(), entry_days.to_pylist(), strict=True)
    sources = []
    for symbol, day in pairs:
        source = by_file.get((symbol, day)) or by_file.get((None, day))
        if source is None:
            raise ValueError(f"it says nothing of where {symbol!r} of {day} came from")
        sources.append(source)
    entries = pa.Table.from_arrays(
        [
            entry_symbols,
            entry_days,
            pa.array(counts),
            pa.array(np.zeros(len(counts), np.int64)),
            *(
                pa.array([getattr(source, name) for source in sources], pa.string())
                for name in ("source", "etag", "sha256", "fingerprint")
            ),
        ],
        schema=ENTRIES,
    )
    firsts = np.flatnonzero(is_first)
    lasts = np.append(firsts[1:], len(symbols)) - 1
    if len(set(symbols.take(pa.array(firsts)).to_pylist())) < len(firsts):
        raise ValueError("its rows are not by symbol")
    return slices_of(entries, stamps.take(pa.array(firsts)), stamps.take(pa.array(lasts)))


def _by_file(
    sessions: Iterable[SessionSource],
) -> dict[tuple[str | None, date], SessionSource]:
    """The sessions by the symbol (None: all) whose file they came from."""
    found = {}
    for session in sessions:
        file = parse_key(session.source.removeprefix(OF_TRADES))
        found[file.symbol if file is not None else None, session.session] = session
    return found


def _stamp(file: pq.ParquetFile, group: int, row: int) -> int:
    column = file.read_row_group(group, columns=["timestamp"])["timestamp"].cast(pa.int64())
    if len(column) != file.metadata.row_group(group).num_rows:
        raise pa.ArrowInvalid(f"row group {group} has {len(column):,} rows")
    stamp: int = column[row].as_py()
    return stamp
