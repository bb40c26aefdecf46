"""Where rows stand on the tape: by stamp, then by sequence number.

Rows that stand in one place may be one event told twice: those must be looked at together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import DataType

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_CROWD_ROWS = 50_000
"""So many rows that stand in one place are looked at in memory at once; more go by the disk."""

Key = tuple[int, bool, int]
"""Where a row stands on the tape: timestamp (ns), whether it has a sequence number, and which."""


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


def whole_keys(
    batches: Iterator[pa.RecordBatch], kind: DataType
) -> Iterator[pa.RecordBatch | Iterator[pa.RecordBatch]]:
    """The same rows, cut so that rows with equal keys stand in one batch.

    Where they are too many for that, they come as an iterator, which is to be read to its end.
    """
    waiting = batches
    held: pa.RecordBatch | None = None
    while (batch := next(waiting, None)) is not None:
        if held is not None:
            batch = pa.Table.from_batches([held, batch]).combine_chunks().to_batches()[0]
        start = _last_key(batch, batch.slice(batch.num_rows - 1), kind)
        if start:
            yield batch.slice(0, start)
        held = batch.slice(start)
        if held.num_rows > _CROWD_ROWS:
            crowd = _Crowd(held, waiting, kind)
            yield iter(crowd)
            held, waiting = None, crowd.rest()
    if held is not None:
        yield held


class _Crowd:
    """Rows with one key: those that are there, and those at the head of what is still to come."""

    def __init__(
        self, held: pa.RecordBatch, coming: Iterator[pa.RecordBatch], kind: DataType
    ) -> None:
        self._held, self._coming, self._kind = held, coming, kind
        self._after: pa.RecordBatch | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield self._held
        key = self._held.slice(0, 1)
        for batch in self._coming:
            end = _end_of_key(batch, key, self._kind)
            if end:
                yield batch.slice(0, end)
            if end < batch.num_rows:
                self._after = batch.slice(end)
                return

    def rest(self) -> Iterator[pa.RecordBatch]:
        """What comes after them."""
        if self._after is not None:
            yield self._after
        yield from self._coming


def _others(batch: pa.RecordBatch, key: pa.RecordBatch, kind: DataType) -> npt.NDArray[np.int64]:
    """Places of the rows whose key is not that of the one row given."""
    same = None
    for name in ("symbol", "session", *kind.order):
        value = key.column(name)[0]
        column = batch.column(name)
        equal = pc.equal(column, value).fill_null(False) if value.is_valid else column.is_null()
        same = equal if same is None else pc.and_(same, equal)
    assert same is not None
    return np.flatnonzero(~same.to_numpy(zero_copy_only=False))


def _last_key(batch: pa.RecordBatch, key: pa.RecordBatch, kind: DataType) -> int:
    """Where the rows with the key begin that end the batch."""
    others = _others(batch, key, kind)
    return int(others[-1]) + 1 if others.size else 0


def _end_of_key(batch: pa.RecordBatch, key: pa.RecordBatch, kind: DataType) -> int:
    """Where the rows with the key end that begin the batch."""
    others = _others(batch, key, kind)
    return int(others[0]) if others.size else batch.num_rows
