"""Partitions into Arrow: the columns asked, of the row groups that hold the span, verified.

Every page's checksum is verified. Footers and the headers of pages have none. A column of a row
group is one page, whose header is looked at where several groups are decoded in one go; and as
little of the footer is believed as can be: its schema and counts only as far as it says them twice
and the catalog says the same, and its statistics not at all (to look at those of a damaged footer
can end the process). Where a span begins in a partition follows from the catalog's rows per session
and, within a session, from the stamps themselves.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core.calendar import Span, day_bounds_ns
from warehouse.core.datatypes import DataType
from warehouse.core.process import available_bytes
from warehouse.errors import TooLargeError
from warehouse.read import availability
from warehouse.read.frames import compact, nanoseconds, symbol_column
from warehouse.read.snapshot import Snapshot, Stored
from warehouse.store import page_check
from warehouse.store.partitions import columns_of, damaged, edges_of, open_partition

_WORTH_A_THREAD = 4_096
"""Rows of a partition. Of smaller ones threads spend their time waiting for the interpreter."""
_LITTLE = 1_024
_TEXT_BYTES = 16
"""Of a text and its place: symbols, ids and conditions have a few characters each."""
_MUCH = 64 << 20
"""Bytes that are always there: to ask how many are takes a tenth of a millisecond."""


@dataclass(frozen=True)
class Piece:
    """Rows [low, high) of a partition are those of the span's sessions.

    Attributes:
        start_ns, end_ns: the rows of it that are wanted lie in [start_ns, end_ns); None: all do.
    """

    stored: Stored
    path: Path
    low: int
    high: int
    start_ns: int | None
    end_ns: int | None

    @property
    def is_bounded(self) -> bool:
        return self.start_ns is not None or self.end_ns is not None


@dataclass(frozen=True)
class Rows:
    """Rows that were read.

    Attributes:
        table: symbol by symbol, each in the order of the tape.
        edges: by symbol, the rows [low, high) of the table that are its.
    """

    table: pa.Table
    edges: dict[str, tuple[int, int]]


def touched(snapshot: Snapshot, kind: DataType, symbols: Sequence[str], span: Span) -> list[Stored]:
    """Partitions that may hold rows of the span, symbol by symbol in the order asked."""
    found = snapshot.partitions(kind.name, symbols)
    return [
        stored
        for symbol in symbols
        for stored in found[symbol]
        if stored.overlaps(span.start_ns, span.end_ns)
    ]


def read(
    snapshot: Snapshot,
    kind: DataType,
    stored: Mapping[str, Sequence[Stored]],
    columns: Sequence[str],
    span: Span,
    pool: Executor | None,
) -> Rows:
    """Rows of the span.

    Args:
        stored: what `touched` found, by symbol in the order asked.
        columns: of the data type, in the order wanted.
        pool: reads several partitions at once; None: everything on this thread.

    Raises:
        TooLargeError: the rows would not fit into memory.
        CorruptPartitionError: a file is damaged, or not the one the catalog knows.
    """
    partitions = [one for each in stored.values() for one in each]
    pieces = pieces_of(snapshot, partitions, span)
    _check_room(kind, list(stored), columns, pieces, span)

    def read_one(piece: Piece) -> tuple[pa.Table, bool]:
        return _read(kind, piece, columns, threads=False)

    parts: Iterable[tuple[pa.Table, bool]]
    if pool is not None and len(pieces) == 1:
        parts = [_read(kind, pieces[0], columns, threads=True)]
    elif pool is not None and sum(one.rows for one in partitions) > _WORTH_A_THREAD * len(pieces):
        parts = pool.map(read_one, pieces)
    else:
        parts = map(read_one, pieces)
    found = list(parts)
    tables = [table for table, _ in found if table.num_rows]
    if tables:
        table = pa.concat_tables(tables) if len(tables) > 1 else tables[0]
        if any(is_cut for _, is_cut in found):
            table = compact(table)
    else:
        table = kind.fields(columns).empty_table()
    return Rows(table, _edges(stored, [part.num_rows for part, _ in found]))


def _check_room(
    kind: DataType,
    symbols: Sequence[str],
    columns: Sequence[str],
    pieces: Sequence[Piece],
    span: Span,
) -> None:
    rows = sum(piece.high - piece.low for piece in pieces)
    size = _frame_bytes(kind, columns, rows)
    # While several are put together, they are there twice.
    needed = 2 * size if len(pieces) > 1 else size
    if needed > _MUCH and needed > (available := available_bytes()):
        raise TooLargeError(availability.asked(kind, symbols, span), rows, size, needed, available)


def _edges(
    stored: Mapping[str, Sequence[Stored]], counts: Iterable[int]
) -> dict[str, tuple[int, int]]:
    """Where each symbol's rows stand, of so many rows of each partition."""
    rows = iter(counts)
    edges, low = {}, 0
    for symbol, each in stored.items():
        high = low + sum(next(rows) for _ in each)
        edges[symbol] = low, high
        low = high
    return edges


def pieces_of(snapshot: Snapshot, stored: Sequence[Stored], span: Span) -> list[Piece]:
    """What of each partition has the rows of the span's sessions."""
    inside = [one for one in stored if not _is_whole(one, span)]
    counts = snapshot.rows_by_session(inside)
    first_ns, end_ns = day_bounds_ns(span.first, span.last)
    # A session's rows lie within its day, so what takes in the whole day takes in all of them.
    start = span.start_ns if span.start_ns > first_ns else None
    end = span.end_ns if span.end_ns < end_ns else None
    pieces = []
    for one in stored:
        path = snapshot.layout.partition(one.data_type, one.symbol, one.month)
        if one in counts:
            sessions, rows = counts[one]
            before = sum(n for day, n in zip(sessions, rows, strict=True) if day < span.first)
            until = sum(n for day, n in zip(sessions, rows, strict=True) if day <= span.last)
            pieces.append(Piece(one, path, before, until, start, end))
        else:
            pieces.append(Piece(one, path, 0, one.rows, None, None))
    return pieces


def _is_whole(stored: Stored, span: Span) -> bool:
    return span.start_ns <= stored.first_ns and stored.last_ns < span.end_ns


def _read(
    kind: DataType, piece: Piece, columns: Sequence[str], threads: bool
) -> tuple[pa.Table, bool]:
    """A piece's rows, and whether they were cut out of more that is still in memory."""
    stored, path = piece.stored, piece.path
    # A partition has one symbol: reading it back from the file would take longer than the prices.
    names = _longest_first(kind, [name for name in columns if name != "symbol"])
    try:
        with open_partition(path, stored.data_type, stored.symbol, stored.bytes) as file:
            edges = edges_of(file, path, kind, stored.symbol, stored.rows, stored.month)
            names = columns_of(file, kind, names)
            seen: dict[int, pa.ChunkedArray] = {}
            table = None
            groups = holding(edges, piece.low, piece.high)
            if len(groups) == 1 and piece.is_bounded and "timestamp" in names:
                # Its stamps come with the rest, on as many threads.
                table = _read_groups(file, path, edges, groups, names, seen, threads)
                seen[groups.start] = table["timestamp"]
            low, high = narrowed(file, edges, piece, seen)
            if low >= high:
                return kind.fields(columns).empty_table(), False
            if not names:
                table = pa.table({"symbol": symbol_column(stored.symbol, high - low)})
            elif table is None:
                groups = holding(edges, low, high)
                table = _read_groups(file, path, edges, groups, names, seen, threads)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged(path, stored.data_type, stored.symbol, error) from error
    is_cut = False
    if names:
        more = table.num_rows - (high - low)
        if more:
            table = table.slice(low - edges[groups.start], high - low)
            # What is left of a little more waits: piece by piece this takes as long as reading.
            is_cut = more <= _LITTLE
            table = table if is_cut else compact(table)
        if "symbol" in columns:
            table = table.append_column("symbol", symbol_column(stored.symbol, high - low))
    for name in set(columns) - set(table.column_names):
        absent = pa.nulls(table.num_rows, kind.columns.field(name).type)
        table = table.append_column(name, absent)
    chosen = table.select(list(columns))
    # Partitions differ in which of their columns are declared to lack no value.
    return pa.Table.from_arrays(chosen.columns, schema=kind.fields(columns)), is_cut


def _longest_first(kind: DataType, names: Sequence[str]) -> list[str]:
    """The columns as threads should take them up: what takes longest to decode must not be last."""
    types = {name: kind.columns.field(name).type for name in names}
    width = {name: 1_000 if of == pa.string() else of.bit_width for name, of in types.items()}
    return sorted(names, key=width.__getitem__, reverse=True)


def holding(edges: Sequence[int], low: int, high: int) -> range:
    """The row groups that hold the rows [low, high)."""
    return range(bisect_right(edges, low) - 1, bisect_right(edges, high - 1))


def _read_groups(
    file: pq.ParquetFile,
    path: Path,
    edges: Sequence[int],
    groups: range,
    names: Sequence[str],
    seen: Mapping[int, pa.ChunkedArray],
    threads: bool,
) -> pa.Table:
    """Columns of row groups; stamps of them that were seen are not read again."""
    due = edges[groups.stop] - edges[groups.start]
    rest = [name for name in names if name != "timestamp"]
    if not rest or len(rest) == len(names) or any(group not in seen for group in groups):
        rest = list(names)
    table = file.read_row_groups(list(groups), columns=rest, use_threads=threads)
    if len(groups) > 1:
        # Afterwards: to look at a damaged footer's columns before a decoder did ends the process.
        with open(path, "rb", buffering=0) as raw:
            page_check.check(file, groups, rest, partial(_read_at, raw.fileno()))
    if table.num_rows != due:
        raise pa.ArrowInvalid(f"{table.num_rows:,} rows came where {due:,} were due")
    if len(rest) < len(names):
        chunks = [chunk for group in groups for chunk in seen[group].chunks]
        table = table.append_column("timestamp", pa.chunked_array(chunks))
    return table


def _read_at(descriptor: int, offset: int, count: int) -> bytes:
    return os.pread(descriptor, count, offset)


def narrowed(
    file: pq.ParquetFile,
    edges: Sequence[int],
    piece: Piece,
    seen: dict[int, pa.ChunkedArray] | None = None,
) -> tuple[int, int]:
    """Rows [low, high) of the piece that lie in its span, by binary search over the row groups.

    Args:
        seen: stamps by row group; it is given those of the row groups that were looked at.
    """

    @cache
    def stamps(group: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        if seen is not None and group in seen:
            return nanoseconds(seen[group])
        table = file.read_row_group(group, columns=["timestamp"], use_threads=False)
        if table.num_rows != edges[group + 1] - edges[group]:
            raise pa.ArrowInvalid(f"row group {group} has {table.num_rows:,} rows")
        if seen is not None:
            seen[group] = table["timestamp"]
        return nanoseconds(table["timestamp"])

    low, high = piece.low, piece.high
    if piece.start_ns is not None:
        low = _first_at(piece.start_ns, stamps, edges, low, high)
    if piece.end_ns is not None:
        high = _first_at(piece.end_ns, stamps, edges, low, high)
    return low, high


def _first_at(
    bound_ns: int,
    stamps: Callable[[int], np.ndarray[Any, np.dtype[np.int64]]],
    edges: Sequence[int],
    low: int,
    high: int,
) -> int:
    """The first of the rows [low, high), which ascend, whose stamp is not before `bound_ns`."""
    if low >= high:
        return low
    first, last = bisect_right(edges, low) - 1, bisect_right(edges, high - 1) - 1
    while first < last:
        middle = (first + last) // 2
        if stamps(middle)[-1] < bound_ns:
            first = middle + 1
        else:
            last = middle
    # As an int64, or numpy would compare as floats.
    row = edges[first] + int(np.searchsorted(stamps(first), np.int64(bound_ns), side="left"))
    return min(max(row, low), high)


def _frame_bytes(kind: DataType, columns: Iterable[str], rows: int) -> int:
    """What so many rows of these columns take as a pandas frame; text by what is usual."""
    return rows * sum(_width(kind.columns.field(name).type) for name in columns)


def _width(kind: pa.DataType) -> int:
    if pa.types.is_string(kind):
        return _TEXT_BYTES
    return 8 if pa.types.is_date(kind) else kind.bit_width // 8
