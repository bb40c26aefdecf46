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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.bars.securities import Bearing
from warehouse.core.calendar import Span, day_bounds_ns
from warehouse.core.datatypes import DataType
from warehouse.core.process import available_bytes
from warehouse.errors import CorruptPartitionError, TooLargeError
from warehouse.objects.partial_object import PartialObject
from warehouse.objects.range_reader import RangeReader, WantedRows
from warehouse.read import availability
from warehouse.read.frames import compact, nanoseconds, symbol_column
from warehouse.read.snapshot import Snapshot, Stored
from warehouse.store import page_check
from warehouse.store.partitions import (
    columns_of,
    damaged,
    edges_of,
    open_partition,
    read_groups,
    refuse,
)

T = TypeVar("T")

_WORTH_A_THREAD = 4_096
"""Rows of a partition. Of smaller ones threads spend their time waiting for the interpreter."""
_LITTLE = 1_024
_TEXT_BYTES = 16
"""Of a text and its place: symbols, ids and conditions have a few characters each."""
_MUCH = 64 << 20
"""Bytes that are always there: to ask how many are takes a tenth of a millisecond."""


@dataclass(frozen=True)
class Piece:
    """Rows [low, high) of a partition's file are those of the span's sessions.

    Attributes:
        start_ns, end_ns: the rows of it that are wanted lie in [start_ns, end_ns); None: all do.
        objects: where the file comes from that is not here; None: all are.
    """

    stored: Stored
    path: Path
    low: int
    high: int
    start_ns: int | None
    end_ns: int | None
    objects: RangeReader | None = field(default=None, compare=False, repr=False)

    @property
    def is_bounded(self) -> bool:
        return self.start_ns is not None or self.end_ns is not None


class _Opened(NamedTuple):
    """An open partition; of one that is not here whole, what is here of it."""

    file: pq.ParquetFile
    path: Path
    part: PartialObject | None


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
    bring(snapshot, pieces)
    table, counts = _read_pieces(kind, pieces, columns, pool)
    return Rows(table, _edges(stored, counts))


Series = Sequence[tuple[str, Span]]
"""Symbols that securities traded under, and when: one after the other."""


def series_of(snapshot: Snapshot, symbols: Sequence[str], span: Span) -> Series | None:
    """Under which symbols the securities of these symbols traded in a span; None: under these.

    Whose a symbol is says the end of the span. A security that several of them name comes once.
    """
    securities = snapshot.securities()
    every = dict.fromkeys(securities.pieces(symbol, span.first, span.last) for symbol in symbols)
    series = within(span, (one for pieces in every for one in pieces))
    return None if series == [(symbol, span) for symbol in symbols] else series


def within(span: Span, pieces: Iterable[Bearing]) -> list[tuple[str, Span]]:
    """Symbols that were borne in a span, each with its own part of it."""
    return [(one.symbol, narrowed_span(span, one.first, one.last)) for one in pieces]


def narrowed_span(span: Span, first: date, last: date) -> Span:
    """The span as far as it is of the sessions from `first` to `last`, which are some of its."""
    if (first, last) == (span.first, span.last):
        return span
    start_ns, end_ns = day_bounds_ns(first, last)
    return Span(max(span.start_ns, start_ns), min(span.end_ns, end_ns), first, last)


def read_series(
    snapshot: Snapshot,
    kind: DataType,
    series: Series,
    columns: Sequence[str],
    span: Span,
    pool: Executor | None,
) -> pa.Table:
    """Rows of symbols, of each in a span of its own, one after the other; else as `read`.

    Args:
        span: all of them lie in it.
    """
    pieces = [
        piece
        for symbol, own in series
        for piece in pieces_of(snapshot, touched(snapshot, kind, [symbol], own), own)
    ]
    _check_room(kind, [symbol for symbol, _ in series], columns, pieces, span)
    bring(snapshot, pieces)
    return _read_pieces(kind, pieces, columns, pool)[0]


def bring(snapshot: Snapshot, pieces: Iterable[Piece]) -> None:
    """See to it that what the pieces have is here: of a large file that is not, only that.

    Raises:
        ObjectStorageError: it cannot be had.
    """
    if snapshot.objects is None:
        return
    whole: list[Stored] = []
    ranges: list[WantedRows] = []
    for path, some in by_file(pieces).items():
        wanted = wanted_of(some)
        if wanted.is_worth_ranges and not os.path.lexists(path):
            ranges.append(wanted)
        else:
            whole.append(some[0].stored)
    snapshot.bring(whole)
    snapshot.objects.fetch(ranges)


def by_file(pieces: Iterable[Piece]) -> dict[Path, list[Piece]]:
    """Pieces by the file that they are of."""
    found: dict[Path, list[Piece]] = {}
    for piece in pieces:
        found.setdefault(piece.path, []).append(piece)
    return found


def wanted_of(pieces: Sequence[Piece]) -> WantedRows:
    """The rows of one file that pieces have."""
    stored = pieces[0].stored
    spans = tuple((piece.low, piece.high) for piece in pieces)
    is_narrower = any(piece.is_bounded for piece in pieces)
    return WantedRows(stored.sha256, stored.bytes, stored.file_rows, spans, is_narrower)


@contextmanager
def _open(
    kind: DataType, stored: Stored, path: Path, objects: RangeReader | None
) -> Iterator[_Opened]:
    part = None
    if objects is not None and not os.path.lexists(path):
        part = objects.open(stored.sha256, stored.bytes)
    coded = kind.coded
    with open_partition(path, kind.name, stored.whose, stored.bytes, coded, part) as file:
        yield _Opened(file, path, part)


def _intact(piece: Piece, read: Callable[[], T]) -> T:
    """What `read` reads of the piece's file; where what is here in part is damaged, once anew."""
    try:
        return read()
    except CorruptPartitionError:
        if piece.objects is None or os.path.lexists(piece.path):
            raise
        piece.objects.discard(piece.stored.sha256, piece.stored.bytes)
        return read()


def _read_pieces(
    kind: DataType, pieces: Sequence[Piece], columns: Sequence[str], pool: Executor | None
) -> tuple[pa.Table, list[int]]:
    """The pieces' rows in their order, and how many each has."""

    def read_one(piece: Piece, threads: bool = False) -> tuple[pa.Table, bool]:
        return _intact(piece, lambda: _read(kind, piece, columns, threads))

    if any(piece.stored.first_row is not None for piece in pieces):
        return _read_with_shared(kind, pieces, columns, pool)
    parts: Iterable[tuple[pa.Table, bool]]
    if pool is not None and len(pieces) == 1:
        parts = [read_one(pieces[0], threads=True)]
    elif pool is not None and sum(p.stored.rows for p in pieces) > _WORTH_A_THREAD * len(pieces):
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
    return table, [part.num_rows for part, _ in found]


def _read_with_shared(
    kind: DataType, pieces: Sequence[Piece], columns: Sequence[str], pool: Executor | None
) -> tuple[pa.Table, list[int]]:
    """The pieces' rows in their order, and how many each has; a file of several is read once."""
    places_in: dict[Path, list[int]] = {}
    for place, piece in enumerate(pieces):
        places_in.setdefault(piece.path, []).append(place)

    def read_file(places: list[int]) -> tuple[pa.Table, list[int]]:
        some = [pieces[place] for place in places]
        if len(some) > 1:
            return _intact(some[0], lambda: _read_shared(kind, some, columns))
        table, _ = _intact(some[0], lambda: _read(kind, some[0], columns, threads=False))
        return table, [table.num_rows]

    listed = list(places_in.values())
    found = list(map(read_file, listed) if pool is None else pool.map(read_file, listed))
    table = compact(pa.concat_tables([part for part, _ in found]))
    counts = np.zeros(len(pieces), np.int64)
    begins = np.zeros(len(pieces), np.int64)
    low = 0
    for places, (_, rows) in zip(listed, found, strict=True):
        for place, count in zip(places, rows, strict=True):
            begins[place], counts[place] = low, count
            low += count
    if (np.diff(begins) < 0).any():
        table = table.take(pa.array(_ranges(begins, counts)))
    return table, counts.tolist()


def _ranges(
    begins: np.ndarray[Any, np.dtype[np.int64]], counts: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The numbers [begin, begin + count) of each pair, one after the other."""
    before = np.cumsum(counts) - counts
    found: np.ndarray[Any, np.dtype[np.int64]] = np.repeat(begins - before, counts) + np.arange(
        counts.sum()
    )
    return found


def _read_shared(
    kind: DataType, pieces: Sequence[Piece], columns: Sequence[str]
) -> tuple[pa.Table, list[int]]:
    """The rows of several symbols of one file, in the pieces' order, and how many each has."""
    first, path = pieces[0].stored, pieces[0].path
    is_bounded = any(piece.is_bounded for piece in pieces)
    wanted = dict.fromkeys([*columns, "symbol", *(["timestamp"] if is_bounded else [])])
    try:
        with _open(kind, first, path, pieces[0].objects) as opened:
            edges = edges_of(opened.file, path, first.file, first.file_rows)
            names = columns_of(opened.file, kind, _longest_first(kind, list(wanted)))
            table, offsets = _read_stretches(opened, edges, pieces, names)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged(path, first.data_type, first.whose, error) from error
    stamps = nanoseconds(table["timestamp"]) if is_bounded else None
    begins, counts = [], []
    for piece in pieces:
        low = piece.low + offsets.get(bisect_right(edges, piece.low) - 1, 0)
        high = low + max(piece.high - piece.low, 0)
        if stamps is not None and low < high:
            own, begin = stamps[low:high], low
            if piece.start_ns is not None:
                low = begin + int(np.searchsorted(own, np.int64(piece.start_ns)))
            if piece.end_ns is not None:
                high = max(begin + int(np.searchsorted(own, np.int64(piece.end_ns))), low)
        begins.append(low)
        counts.append(high - low)
    places = _ranges(np.array(begins, np.int64), np.array(counts, np.int64))
    if len(places) != table.num_rows or (np.diff(places) != 1).any():
        table = table.take(pa.array(places))
    symbols = pa.array([piece.stored.symbol for piece in pieces], pa.string())
    due = symbols.take(pa.array(np.repeat(np.arange(len(pieces)), counts)))
    check_symbols(table, due, first, path)
    return _completed(table, kind, columns), counts


def read_file(
    snapshot: Snapshot, kind: DataType, stored: Stored, columns: Sequence[str]
) -> pa.Table:
    """All rows of a file that all symbols share.

    Args:
        stored: the file: its symbol is `ALL_SYMBOLS`, its rows are all that it has.

    Raises:
        CorruptPartitionError: it is damaged, or not the one the catalog knows.
    """
    path = stored.path(snapshot.layout)
    try:
        with _open(kind, stored, path, snapshot.objects) as opened:
            edges = edges_of(opened.file, path, stored.file, stored.file_rows)
            names = columns_of(opened.file, kind, _longest_first(kind, columns))
            table = _read_groups(opened, edges, range(len(edges) - 1), names, {}, False)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged(path, stored.data_type, stored.whose, error) from error
    return _completed(table, kind, columns)


def _read_stretches(
    opened: _Opened, edges: Sequence[int], pieces: Sequence[Piece], names: Sequence[str]
) -> tuple[pa.Table, dict[int, int]]:
    """The row groups that hold the pieces, and by row group what its rows' places differ by."""
    needed = sorted(
        {
            group
            for piece in pieces
            if piece.low < piece.high
            for group in holding(edges, piece.low, piece.high)
        }
    )
    tables: list[pa.Table] = []
    offsets: dict[int, int] = {}
    low = 0
    for _, stretch in groupby(enumerate(needed), key=lambda item: item[1] - item[0]):
        groups = [group for _, group in stretch]
        whole = range(groups[0], groups[-1] + 1)
        tables.append(_read_groups(opened, edges, whole, names, {}, False))
        offsets |= dict.fromkeys(groups, low - edges[whole.start])
        low += edges[whole.stop] - edges[whole.start]
    if not tables:
        return opened.file.schema_arrow.empty_table().select(names), {}
    return pa.concat_tables(tables), offsets


def check_symbols(
    table: pa.Table | pa.RecordBatch, due: pa.Array | pa.Scalar, stored: Stored, path: Path
) -> None:
    """Look whether rows of a file of all symbols are those of the symbols that they should be.

    Raises:
        CorruptPartitionError: they are not: the file is not the one the catalog knows.
    """
    is_right = pc.equal(table["symbol"], due)
    if is_right.null_count or not pc.all(is_right, min_count=0).as_py():
        problem = "its symbols do not stand where the catalog says"
        refuse(path, stored.data_type, stored.whose, problem)


def _completed(table: pa.Table, kind: DataType, columns: Sequence[str]) -> pa.Table:
    """The columns in the order asked; those that a file of an earlier version lacks are NULL."""
    for name in set(columns) - set(table.column_names):
        absent = pa.nulls(table.num_rows, kind.columns.field(name).type)
        table = table.append_column(name, absent)
    chosen = table.select(list(columns))
    # Partitions differ in which of their columns are declared to lack no value.
    return pa.Table.from_arrays(chosen.columns, schema=kind.fields(columns))


def _check_room(
    kind: DataType,
    symbols: Sequence[str],
    columns: Sequence[str],
    pieces: Sequence[Piece],
    span: Span,
) -> None:
    rows = sum(piece.high - piece.low for piece in pieces)
    size = frame_bytes(kind, columns, rows)
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
        path, begin = one.path(snapshot.layout), one.first_row or 0
        if one in counts:
            sessions, rows = counts[one]
            before = sum(n for day, n in zip(sessions, rows, strict=True) if day < span.first)
            until = sum(n for day, n in zip(sessions, rows, strict=True) if day <= span.last)
            low, high = begin + before, begin + until
            pieces.append(Piece(one, path, low, high, start, end, snapshot.objects))
        else:
            low, high = begin, begin + one.rows
            pieces.append(Piece(one, path, low, high, None, None, snapshot.objects))
    return pieces


def _is_whole(stored: Stored, span: Span) -> bool:
    return span.start_ns <= stored.first_ns and stored.last_ns < span.end_ns


def _read(
    kind: DataType, piece: Piece, columns: Sequence[str], threads: bool
) -> tuple[pa.Table, bool]:
    """A piece's rows, and whether they were cut out of more that is still in memory."""
    stored, path = piece.stored, piece.path
    # A file of one symbol need not say it: reading it back would take longer than the prices.
    is_shared = stored.first_row is not None
    wanted = [name for name in columns if name != "symbol"] + (["symbol"] if is_shared else [])
    names = _longest_first(kind, wanted)
    try:
        with _open(kind, stored, path, piece.objects) as opened:
            file = opened.file
            edges = edges_of(file, path, stored.file, stored.file_rows)
            names = columns_of(file, kind, names)
            seen: dict[int, pa.ChunkedArray] = {}
            table = None
            groups = holding(edges, piece.low, piece.high)
            if len(groups) == 1 and piece.is_bounded and "timestamp" in names:
                # Its stamps come with the rest, on as many threads.
                table = _read_groups(opened, edges, groups, names, seen, threads)
                seen[groups.start] = table["timestamp"]
            low, high = narrowed(file, edges, piece, seen)
            if low >= high:
                return kind.fields(columns).empty_table(), False
            if not names:
                table = pa.table({"symbol": _symbol(kind, stored, high - low)})
            elif table is None:
                groups = holding(edges, low, high)
                table = _read_groups(opened, edges, groups, names, seen, threads)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged(path, stored.data_type, stored.whose, error) from error
    is_cut = False
    if names:
        more = table.num_rows - (high - low)
        if more:
            table = table.slice(low - edges[groups.start], high - low)
            # What is left of a little more waits: piece by piece this takes as long as reading.
            is_cut = more <= _LITTLE
            table = table if is_cut else compact(table)
        if is_shared:
            check_symbols(table, pa.scalar(stored.symbol), stored, path)
        elif "symbol" in columns:
            table = table.append_column("symbol", _symbol(kind, stored, high - low))
    return _completed(table, kind, columns), is_cut


def _symbol(kind: DataType, stored: Stored, rows: int) -> pa.Array:
    """The column of a file that does not say whose its rows are."""
    if "symbol" not in kind.coded:
        return symbol_column(stored.symbol, rows)
    codes = pa.array(np.zeros(rows, np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array([stored.symbol], pa.string()))


def _longest_first(kind: DataType, names: Sequence[str]) -> list[str]:
    """The columns as threads should take them up: what takes longest to decode must not be last."""
    types = {name: kind.columns.field(name).type for name in names}
    width = {name: 1_000 if of == pa.string() else of.bit_width for name, of in types.items()}
    return sorted(names, key=width.__getitem__, reverse=True)


def holding(edges: Sequence[int], low: int, high: int) -> range:
    """The row groups that hold the rows [low, high)."""
    return range(bisect_right(edges, low) - 1, bisect_right(edges, high - 1))


def _read_groups(
    opened: _Opened,
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
    file, part = opened.file, opened.part
    if part is not None:
        part.bring_groups(groups)
    source = opened.path if part is None else part
    table = read_groups(file, source, edges, groups, rest, use_threads=threads)
    if len(groups) > 1:
        # Afterwards: to look at a damaged footer's columns before a decoder did ends the process.
        if part is not None:
            page_check.check(file, groups, rest, part.read_at)
        else:
            with open(opened.path, "rb", buffering=0) as raw:
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
    # A row group may hold rows of other symbols, before the first of these and after the last.
    begin, end = max(low, edges[first]), min(high, edges[first + 1])
    own = stamps(first)[begin - edges[first] : end - edges[first]]
    # As an int64, or numpy would compare as floats.
    return begin + int(np.searchsorted(own, np.int64(bound_ns), side="left"))


def frame_bytes(kind: DataType, columns: Iterable[str], rows: int) -> int:
    """What so many rows of these columns take as a pandas frame; text by what is usual."""
    return rows * sum(_width(kind.columns.field(name).type) for name in columns)


def _width(kind: pa.DataType) -> int:
    if pa.types.is_string(kind):
        return _TEXT_BYTES
    return 8 if pa.types.is_date(kind) else kind.bit_width // 8
