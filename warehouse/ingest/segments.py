"""A batch of cleaned rows cut into runs: stretches of one symbol and session, in tape order.

The vendor's files come symbol by symbol, each in the order of the tape but for a few rows. So a
run is a slice of its batch that copies nothing, unless rows were rejected out of it or stand out
of order. Rows whose keys are equal may be one event told twice: they are pointed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import DataType

Key = tuple[int, bool, int]
"""Where a row stands on the tape: timestamp (ns), whether it has a sequence number, and which."""

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Keys:
    """Where each of some rows stands on the tape. A row without a number stands before the others.

    Attributes:
        time: timestamps (ns).
        number: sequence numbers, 0 where there is none.
        numbered: which rows have one; None: all, or the data type has none.
    """

    time: Ints
    number: Ints | None
    numbered: Bools | None

    def __getitem__(self, some: Any) -> Keys:
        """Those of a slice, a mask or an order."""
        number = None if self.number is None else self.number[some]
        numbered = None if self.numbered is None else self.numbered[some]
        return Keys(self.time[some], number, numbered)

    def at(self, place: int) -> Key:
        number = 0 if self.number is None else int(self.number[place])
        is_numbered = self.number is not None
        if self.numbered is not None:
            is_numbered = bool(self.numbered[place])
        return int(self.time[place]), is_numbered, number

    def later(self) -> Bools:
        """Of each row but the first: whether it stands strictly after the one before it."""
        later: Bools = self.time[1:] > self.time[:-1]
        if self.number is not None:
            greater = self.number[1:] > self.number[:-1]
            if self.numbered is not None:
                has, had = self.numbered[1:], self.numbered[:-1]
                greater = (has & ~had) | (has & had & greater)
            later = later | ((self.time[1:] == self.time[:-1]) & greater)
        return later

    def same(self) -> Bools:
        """Of each row but the first: whether it stands where the one before it does."""
        same: Bools = self.time[1:] == self.time[:-1]
        if self.number is not None:
            same = same & (self.number[1:] == self.number[:-1])
        if self.numbered is not None:
            same = same & (self.numbered[1:] == self.numbered[:-1])
        return same

    def order(self) -> Ints:
        """The rows in the order of the tape; those that stand in one place as they came."""
        columns = (self.number, self.numbered, self.time)
        order: Ints = np.lexsort([column for column in columns if column is not None])
        return order


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


def cut(batch: pa.RecordBatch, kept: Bools | None, kind: DataType) -> Iterator[Run]:
    """The runs of a batch, in its order.

    Args:
        kept: which rows are wanted; None: all.
    """
    starts = _starts(batch)
    if _are_short(starts, batch):
        # Gather the symbols, each still in the file's order.
        codes = batch.column("symbol").dictionary_encode().indices
        order = np.argsort(codes.fill_null(-1).to_numpy(zero_copy_only=False), kind="stable")
        batch = batch.take(pa.array(order))
        kept = kept[order] if kept is not None else None
        starts = _starts(batch)
    stops = np.append(starts[1:], batch.num_rows)
    keys = keys_of(batch, kind)
    unusual = _unusual(starts, keys, kept)
    symbols = batch.column("symbol").take(pa.array(starts)).to_pylist()
    sessions = batch.column("session").take(pa.array(starts)).to_pylist()
    bounds = zip(symbols, sessions, starts.tolist(), stops.tolist(), strict=True)
    for place, (symbol, session, start, stop) in enumerate(bounds):
        rows = batch.slice(start, stop - start)
        if place not in unusual:
            yield Run(symbol, session, rows, keys.at(start), keys.at(stop - 1), [])
            continue
        wanted = None if kept is None else kept[start:stop]
        if wanted is None or wanted.any():
            yield _put_in_order(symbol, session, rows, keys[start:stop], wanted)


def is_mixed(batch: pa.RecordBatch) -> bool:
    """Whether symbols stand among each other, as where a file is in the order of time."""
    return _are_short(_starts(batch), batch)


def _are_short(starts: Ints, batch: pa.RecordBatch) -> bool:
    return bool(len(starts) > batch.num_rows // 8)


def _unusual(starts: Ints, keys: Keys, kept: Bools | None) -> set[int]:
    """Places of the runs that hold a row that is not wanted, or not after the one before it."""
    rows = np.flatnonzero(~keys.later()) + 1
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
    keys: Keys,
    wanted: Bools | None,
) -> Run:
    if wanted is not None and not wanted.all():
        rows = rows.filter(pa.array(wanted))
        keys = keys[wanted]
    order = keys.order()
    if not (order[1:] > order[:-1]).all():
        rows = rows.take(pa.array(order))
        keys = keys[order]
    same = keys.same()
    # Each maximal stretch of rows equal to the one before, with the row that it begins after.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    twins = [(int(low), int(high) + 1) for low, high in edges.reshape(-1, 2)]
    return Run(symbol, session, rows, keys.at(0), keys.at(-1), twins)


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


def keys_of(rows: pa.RecordBatch | pa.Table, kind: DataType) -> Keys:
    """Where the rows stand on the tape; of rows without a stamp, which are never kept, anywhere."""
    # With an absent value among them numpy would make them floats.
    stamps = rows.column(kind.order[0]).cast(pa.int64()).fill_null(0)
    time = stamps.to_numpy(zero_copy_only=False)
    if len(kind.order) == 1:
        return Keys(time, None, None)
    column = rows.column(kind.order[1])
    # No number can stand for an absent one: each may be in a file.
    numbered = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
    number = column.fill_null(0).to_numpy(zero_copy_only=False)
    return Keys(time, number, numbered)
