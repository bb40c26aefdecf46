"""Many tapes as one, in the order (timestamp, symbol, data type, sequence number).

Each tape is in order already, so a stable sort by the stamp alone does it, if before it the tapes
stand one after the other by symbol and data type. It is done slice by slice: some rows are fetched,
always from the tape that is furthest behind, and then those before the stamp that every tape has
reached can be sorted and given out.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from warehouse.core import process
from warehouse.core.datatypes import DataType
from warehouse.errors import WarehouseError
from warehouse.read.stream.partition_cursor import END_NS, Rows, Tape
from warehouse.read.stream.pinned_file import Replaced

TYPE = "type"
"""The column that says which data type a row is of."""

Part = tuple[int, int, Rows]
"""Some rows of a tape, with its symbol and its data type as places in a `Shape`."""

_Numbers = np.ndarray[Any, Any]


class Shape:
    """What the rows of a stream look like.

    Args:
        kinds: the data types, in the order that they have at the same stamp and symbol.
        columns: of one or more of them, and `TYPE`, in the order wanted.
        zone: that stamps are shown in.
        symbols: in byte order.
    """

    def __init__(
        self,
        kinds: Sequence[DataType],
        columns: Sequence[str],
        zone: str,
        symbols: Sequence[str],
    ) -> None:
        self.kinds = tuple(kinds)
        self.symbols = pa.array(symbols, pa.string())
        self.types = pa.array([kind.name for kind in kinds], pa.string())
        stamp = pa.timestamp("ns")
        fields = []
        # For each column which of the kinds have it.
        self.sources: dict[str, list[int]] = {}
        for name in columns:
            of = [place for place, kind in enumerate(kinds) if name in kind.columns.names]
            self.sources[name] = of
            if name == TYPE:
                fields.append(pa.field(name, pa.dictionary(pa.int8(), pa.string())))
            else:
                field = kinds[of[0]].columns.field(name)
                shown = pa.timestamp("ns", zone)
                fields.append(field.with_type(shown) if field.type == stamp else field)
        self.schema = pa.schema(fields)


class Interleaved:
    """The rows of all tapes, slice by slice; not for several threads at once.

    Args:
        tapes: by symbol, then by data type.
        of: for each its symbol and its data type, as places in a `Shape`.
        rows: so many are fetched for a slice; on average it has as many.
    """

    def __init__(self, tapes: Sequence[Tape], of: Sequence[tuple[int, int]], rows: int) -> None:
        self._tapes, self._of = list(tapes), list(of)
        self._rows = rows
        self._behind = [(tape.fetched_ns, place) for place, tape in enumerate(tapes)]
        heapq.heapify(self._behind)
        self._failure: Exception | None = None

    @property
    def reached_ns(self) -> int:
        """The stamp that every tape has reached."""
        return self._behind[0][0] if self._behind else END_NS

    def next_parts(self) -> list[Part]:
        """What the next slice is made of; nothing: that were all.

        What a tape raises is raised after all rows before it, stamped before `reached_ns`.

        Raises:
            Replaced, CorruptPartitionError, StorageError: see `Tape.fetch`.
        """
        while True:
            if self._failure is None:
                try:
                    with process.answers:
                        self._fetch(self._rows)
                except (Replaced, WarehouseError) as failure:
                    self._failure = failure
            taken = [
                (*self._of[place], rows)
                for place, tape in enumerate(self._tapes)
                if tape.rows
                for rows in tape.take(self.reached_ns)
            ]
            if taken:
                return taken
            if self._failure is not None:
                raise self._failure
            if not self._behind:
                return []

    def _fetch(self, count: int) -> None:
        """Fetch so many rows, or all there are; always of the tape that is furthest behind."""
        while self._behind and count > 0:
            place = self._behind[0][1]
            tape = self._tapes[place]
            count -= tape.fetch()
            if tape.fetched_ns == END_NS:
                heapq.heappop(self._behind)
            else:
                heapq.heapreplace(self._behind, (tape.fetched_ns, place))

    def close(self) -> None:
        """Let go of every file; it may be done twice."""
        for tape in self._tapes:
            tape.close()


class Slice:
    """Some rows of all tapes that follow one another.

    Args:
        parts: by symbol, then by data type.
    """

    def __init__(self, shape: Shape, parts: Sequence[Part]) -> None:
        self._shape = shape
        stamps = [stamps for _, _, (_, stamps) in parts]
        counts = [len(some) for some in stamps]
        self.rows = sum(counts)
        self._batches: list[pa.RecordBatch | None] = []
        self._offsets: list[int] = []
        starts = np.empty(len(parts), np.int64)
        offset = 0
        for kind in range(len(shape.kinds)):
            of = [n for n, part in enumerate(parts) if part[1] == kind]
            self._offsets.append(offset)
            for n in of:
                starts[n] = offset
                offset += counts[n]
            batches = [parts[n][2][0] for n in of]
            self._batches.append(pa.concat_batches(batches) if batches else None)
        order = np.argsort(np.concatenate(stamps), kind="stable") if len(parts) > 1 else None
        # Where each sorted row stands in the batches, which come one after the other.
        self._order = order
        if order is not None and len(shape.kinds) > 1:
            first = np.concatenate(([0], np.cumsum(counts)[:-1]))
            self._order = order + np.repeat(starts - first, counts)[order]
        self._symbols = _sorted(np.array([part[0] for part in parts], np.int32), counts, order)
        self._kinds = _sorted(np.array([part[1] for part in parts], np.int8), counts, order)
        self._columns = {
            name: self._joined(name)
            for name, of in shape.sources.items()
            if len(of) > 1 and name != "symbol"
        }

    def _joined(self, name: str) -> pa.Array:
        """A column that several data types have, of all of them one after the other."""
        field = self._shape.schema.field(name)
        parts = []
        for kind, batch in zip(self._shape.kinds, self._batches, strict=True):
            if batch is None:
                continue
            if name in kind.columns.names:
                parts.append(batch.column(name).cast(field.type))
            else:
                parts.append(pa.nulls(batch.num_rows, field.type))
        return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)

    def block(self, start: int, stop: int) -> pa.RecordBatch:
        """Rows [start, stop)."""
        shape, count = self._shape, stop - start
        kinds = self._kinds[start:stop]
        places: dict[int, pa.Array] = {}
        columns = []
        for field in shape.schema:
            name, of = field.name, shape.sources[field.name]
            if name == TYPE:
                column = pa.DictionaryArray.from_arrays(pa.array(kinds), shape.types)
            elif name == "symbol":
                column = shape.symbols.take(pa.array(self._symbols[start:stop]))
            elif name in self._columns:
                source = self._columns[name]
                if self._order is None:
                    column = source.slice(start, count)
                else:
                    column = source.take(pa.array(self._order[start:stop]))
            elif (batch := self._batches[of[0]]) is None:
                column = pa.nulls(count, field.type)
            elif self._order is None:
                column = batch.column(name).slice(start, count)
            else:
                if of[0] not in places:
                    order = self._order[start:stop] - self._offsets[of[0]]
                    absent = kinds != of[0] if len(shape.kinds) > 1 else None
                    places[of[0]] = pa.array(order, mask=absent)
                column = batch.column(name).take(places[of[0]])
            columns.append(column.cast(field.type))
        return pa.RecordBatch.from_arrays(columns, schema=shape.schema)


def _sorted(values: _Numbers, counts: Sequence[int], order: _Numbers | None) -> _Numbers:
    """A value for each part as one for each row, in the rows' order."""
    repeated = np.repeat(values, counts)
    return repeated if order is None else repeated[order]
