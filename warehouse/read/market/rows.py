"""Rows of all symbols, of whichever layout each month is in.

A file that all symbols share is read whole and once; nothing is done symbol by symbol. Rows come
out by symbol (in the order of its bytes), each symbol's in the order of the tape.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.calendar import Span, day_bounds_ns
from warehouse.core.datatypes import DataType
from warehouse.core.paths import month_of
from warehouse.core.process import available_bytes
from warehouse.errors import TooLargeError
from warehouse.read import partition_reader
from warehouse.read.availability import asked
from warehouse.read.frames import compact
from warehouse.read.snapshot import Snapshot, Stored
from warehouse.store.partitions import ranks_of


def shared_files(snapshot: Snapshot, kind: DataType, span: Span) -> list[Stored]:
    """The files of all symbols that may hold rows of the span, in the order of time."""
    first, last = month_of(span.first), month_of(span.last)
    found = snapshot.once(
        ("shared", kind.name, first, last), lambda: snapshot.shared(kind.name, first, last)
    )
    return [one for one in found if one.overlaps(span.start_ns, span.end_ns)]


def own_files(snapshot: Snapshot, kind: DataType, span: Span) -> dict[str, list[Stored]]:
    """By symbol, files of its own that may hold rows of the span."""
    first, last = month_of(span.first), month_of(span.last)
    symbols = snapshot.own_symbols(kind.name, first, last)
    found: dict[str, list[Stored]] = {}
    for one in partition_reader.touched(snapshot, kind, symbols, span):
        if one.first_row is None:
            found.setdefault(one.symbol, []).append(one)
    return found


def content(snapshot: Snapshot, kind: DataType, span: Span) -> list[str]:
    """Hashes of all files that may hold rows of the span."""
    own = own_files(snapshot, kind, span)
    files = [*shared_files(snapshot, kind, span), *(one for each in own.values() for one in each)]
    return sorted(one.sha256 for one in files)


def read(
    snapshot: Snapshot,
    kind: DataType,
    columns: Sequence[str],
    span: Span,
    pool: Executor | None,
) -> pa.Table:
    """Rows of the span, of all symbols.

    Raises:
        TooLargeError: the rows would not fit into memory.
        CorruptPartitionError: a file is damaged, or not the one the catalog knows.
    """
    files = shared_files(snapshot, kind, span)
    own = own_files(snapshot, kind, span)
    # By these the rows of several files are put in order.
    wanted = list(dict.fromkeys([*columns, "symbol", "session"]))
    _check_room(kind, columns, files, span)
    snapshot.bring(files)
    parts = []
    if own:
        parts.append(partition_reader.read(snapshot, kind, own, wanted, span, pool).table)

    def read_one(file: Stored) -> pa.Table:
        return _read_one(snapshot, kind, file, wanted, span)

    parts += map(read_one, files) if pool is None or len(files) == 1 else pool.map(read_one, files)
    parts = [part for part in parts if part.num_rows]
    if not parts:
        return kind.fields(columns).empty_table()
    table = pa.concat_tables(parts)
    # Dictionaries are for who goes over them piece by piece.
    table = table if kind.coded else compact(table)
    # A session's files follow on each other; months, and files of one symbol, do not.
    if own or not _are_in_order(parts):
        table = table.take(pa.array(_order(table)))
    return table.select(list(columns))


def _are_in_order(parts: Sequence[pa.Table]) -> bool:
    """Whether each part, which is in order, has other symbols than the one before, all behind."""
    ends = [[part["symbol"][place].as_py().encode() for place in (0, -1)] for part in parts]
    return all(one[1] < other[0] for one, other in pairwise(ends))


def _order(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The rows by symbol and session; a session's are together, and in order."""
    symbols = ranks_of(table["symbol"])[0]
    days = table["session"].cast(pa.int32()).to_numpy()
    return np.lexsort((days, symbols))


def _read_one(
    snapshot: Snapshot, kind: DataType, file: Stored, columns: Sequence[str], span: Span
) -> pa.Table:
    first_ns, end_ns = day_bounds_ns(span.first, span.last)
    is_bounded = span.start_ns > first_ns or span.end_ns < end_ns
    names = list(dict.fromkeys([*columns, "session", *(["timestamp"] if is_bounded else [])]))
    table = partition_reader.read_file(snapshot, kind, file, names)
    if span.start_ns <= file.first_ns and file.last_ns < span.end_ns:
        return table.select(list(columns))
    days = table["session"]
    inside = pc.and_(
        pc.greater_equal(days, pa.scalar(span.first)), pc.less_equal(days, pa.scalar(span.last))
    )
    if is_bounded:
        stamps = table["timestamp"].cast(pa.int64())
        inside = pc.and_(inside, pc.greater_equal(stamps, span.start_ns))
        inside = pc.and_(inside, pc.less(stamps, span.end_ns))
    return table.select(list(columns)).filter(inside)


def _check_room(
    kind: DataType, columns: Sequence[str], files: Sequence[Stored], span: Span
) -> None:
    """Raises TooLargeError: the rows, of whole files as they are read, would not fit."""
    rows = sum(file.rows for file in files)
    size = partition_reader.frame_bytes(kind, columns, rows)
    if size and 2 * size > (available := available_bytes()):
        raise TooLargeError(asked(kind, (), span), rows, size, 2 * size, available)
