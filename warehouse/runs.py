"""A batch of cleaned rows cut into runs: stretches of one symbol and session, in tape order.

The vendor's files come symbol by symbol, each in the order of the tape but for a few rows. So a
run is a slice of its batch that copies nothing, unless rows were rejected out of it or stand out
of order. Rows whose keys are equal may be one event told twice: they are pointed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.schema import DataType

Key = tuple[int, int]
"""Where a row stands on the tape: timestamp (ns), sequence number (0 where there is none)."""

Ints = npt.NDArray[np.int64]
_LOWEST = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Run:
    """Kept rows of one symbol and session, ascending by key.

    Attributes:
        first, last: keys of its first and last row.
        twins: [start, stop) of each group of rows with equal keys.
    """

    symbol: str
    session: date
    rows: pa.RecordBatch
    first: Key
    last: Key
    twins: list[tuple[int, int]]


def cut(batch: pa.RecordBatch, kept: npt.NDArray[np.bool_] | None, kind: DataType) -> Iterator[Run]:
    """The runs of a batch, in its order.

    Args:
        kept: which rows are wanted; None: all.
    """
    starts = _starts(batch)
    if len(starts) > batch.num_rows // 8:
        # Many short runs: symbols are mixed. Gather them, each still in the file's order.
        codes = batch.column("symbol").dictionary_encode().indices
        order = np.argsort(codes.fill_null(-1).to_numpy(zero_copy_only=False), kind="stable")
        batch = batch.take(pa.array(order))
        kept = kept[order] if kept is not None else None
        starts = _starts(batch)
    stops = np.append(starts[1:], batch.num_rows)
    time, number = keys_of(batch, kind)
    unusual = _unusual(starts, time, number, kept)
    symbols = batch.column("symbol").take(pa.array(starts)).to_pylist()
    sessions = batch.column("session").take(pa.array(starts)).to_pylist()
    bounds = zip(symbols, sessions, starts.tolist(), stops.tolist(), strict=True)
    for place, (symbol, session, start, stop) in enumerate(bounds):
        rows = batch.slice(start, stop - start)
        if place not in unusual:
            first = (int(time[start]), int(number[start]))
            last = (int(time[stop - 1]), int(number[stop - 1]))
            yield Run(symbol, session, rows, first, last, [])
            continue
        wanted = None if kept is None else kept[start:stop]
        if wanted is None or wanted.any():
            yield _put_in_order(symbol, session, rows, time[start:stop], number[start:stop], wanted)


def _unusual(
    starts: Ints, time: Ints, number: Ints, kept: npt.NDArray[np.bool_] | None
) -> set[int]:
    """Places of the runs that hold a row that is not wanted, or not after the one before it."""
    later = (time[1:] > time[:-1]) | ((time[1:] == time[:-1]) & (number[1:] > number[:-1]))
    rows = np.flatnonzero(~later) + 1
    places = np.searchsorted(starts, rows, side="right") - 1
    # A run's own first row stands after nothing.
    found = set(places[rows != starts[places]].tolist())
    if kept is not None:
        found.update((np.searchsorted(starts, np.flatnonzero(~kept), side="right") - 1).tolist())
    return found


def _put_in_order(
    symbol: str,
    session: date,
    rows: pa.RecordBatch,
    time: Ints,
    number: Ints,
    wanted: npt.NDArray[np.bool_] | None,
) -> Run:
    if wanted is not None and not wanted.all():
        rows = rows.filter(pa.array(wanted))
        time, number = time[wanted], number[wanted]
    order = np.lexsort((number, time))
    if not (order[1:] > order[:-1]).all():
        rows = rows.take(pa.array(order))
        time, number = time[order], number[order]
    same = (time[1:] == time[:-1]) & (number[1:] == number[:-1])
    # Each maximal stretch of rows equal to the one before, with the row that it begins after.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    twins = [(int(low), int(high) + 1) for low, high in edges.reshape(-1, 2)]
    first, last = (int(time[0]), int(number[0])), (int(time[-1]), int(number[-1]))
    return Run(symbol, session, rows, first, last, twins)


EventKey = tuple[object, ...]
"""Symbol, session and the columns of the data type's order, as integers or None."""


def by_key(batch: pa.RecordBatch, kind: DataType) -> Iterator[tuple[EventKey, pa.RecordBatch]]:
    """Groups of consecutive rows with equal symbol, session and place on the tape."""
    columns = [batch.column("symbol"), batch.column("session").cast(pa.int32())]
    columns += [batch.column(name).cast(pa.int64()) for name in kind.order]
    changed = np.zeros(batch.num_rows, np.bool_)
    changed[:1] = True
    for column in columns:
        codes = column.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
        changed[1:] |= codes[1:] != codes[:-1]
    starts = np.flatnonzero(changed)
    keys = zip(*(column.take(pa.array(starts)).to_pylist() for column in columns), strict=True)
    for key, start, stop in zip(keys, starts, [*starts[1:], batch.num_rows], strict=True):
        yield key, batch.slice(int(start), int(stop - start))


def _starts(batch: pa.RecordBatch) -> Ints:
    """Where a symbol (or, in files of a month, a session) differs from that of the row before."""
    symbol = batch.column("symbol")
    changed = pc.not_equal(symbol[1:], symbol[:-1]).fill_null(True)
    starts = changed.to_numpy(zero_copy_only=False)
    session = batch.column("session").cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
    starts = starts | (session[1:] != session[:-1])
    return np.concatenate([[0], np.flatnonzero(starts) + 1]).astype(np.int64)


def keys_of(rows: pa.RecordBatch | pa.Table, kind: DataType) -> tuple[Ints, Ints]:
    """The columns that order the tape. An absent number is the lowest."""
    keys = [
        rows.column(name).cast(pa.int64()).fill_null(_LOWEST).to_numpy(zero_copy_only=False)
        for name in kind.order
    ]
    return keys[0], keys[1] if len(keys) > 1 else np.zeros_like(keys[0])
