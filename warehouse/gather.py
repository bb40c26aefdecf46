"""Cleaned rows gathered by symbol and session, in bounded memory.

The vendor's files come symbol by symbol in the order of the tape, for the most part. So rows are
never copied to be sorted: what is kept of a piece are slices of it, and only what is found out of
order, or to repeat a line, goes through sql/dedupe. Past its budget the store writes what it holds
to one Arrow file in the staging folder, a batch per symbol and session, and goes on empty.

Rows of a symbol that the file has left behind can be written at once and released (`take_ended`,
`release`). Should the symbol come back after all, they are read back from where they were written.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.errors import StorageError
from warehouse.layout import RawFile
from warehouse.schema import DataType

RejectRows = Callable[[RawFile, pa.RecordBatch], None]
"""Takes rows with their `reason` and `line_number`."""

Dedupe = Callable[[pa.RecordBatchReader], Iterator[pa.RecordBatch]]
Load = Callable[[], Iterator[pa.RecordBatch]]
"""Reads rows back from where they were written; without their `line_number`."""

_SETTLE_ROWS = 500_000
_COMBINE_ROWS = 65_536


@dataclass(frozen=True)
class _Spilled:
    """Rows of one stretch in a file of the staging folder."""

    spill: int
    batch: int


@dataclass
class Stretch:
    """The kept rows of one symbol and session of one raw file, in the file's order.

    Attributes:
        rows: how many.
        ascending: each row stands strictly after the one before it in the data type's order,
            so that there is nothing to sort and nothing stands twice.
    """

    rows: int = 0
    ascending: bool = True
    last_key: tuple[int, int] | None = None
    slices: list[pa.RecordBatch | _Spilled | Load] = field(default_factory=list)
    bytes: int = 0


@dataclass
class FileRows:
    """What came of one raw file so far.

    Attributes:
        in_runs: no symbol has come back yet after another one had begun.
        ended: symbols that the file has left behind since they were last asked for.
        present: the symbol and session of the last row.
    """

    stretches: dict[tuple[str, date], Stretch] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    unselected: int = 0
    in_runs: bool = True
    ended: list[tuple[str, date]] = field(default_factory=list)
    present: tuple[str, date] | None = None

    @property
    def kept(self) -> int:
        return sum(stretch.rows for stretch in self.stretches.values())


class Gatherer:
    """The rows of some raw files of one data type.

    Args:
        kind: the data type.
        scratch: an existing folder for what does not fit into the budget.
        budget: bytes of rows held in memory before they are written there.
        selected: the only symbols that are wanted; empty: all.
        reject: is given rejected rows as they are met.
    """

    def __init__(
        self,
        kind: DataType,
        scratch: Path,
        budget: int,
        selected: frozenset[str],
        reject: RejectRows,
    ) -> None:
        self.kind = kind
        self.files: dict[RawFile, FileRows] = {}
        self._scratch, self._budget = scratch, budget
        self._selected, self._reject = selected, reject
        self._columns = pa.schema([*kind.columns, ("line_number", pa.int64())])
        self._held = 0
        self._spills: list[pa.ipc.RecordBatchFileReader] = []
        self._spill_lock = threading.Lock()

    def open(self, file: RawFile) -> FileRows:
        """Begin a file anew: what was gathered of it before is forgotten."""
        self.files[file] = FileRows()
        return self.files[file]

    def discard(self, file: RawFile) -> None:
        """Forget a file that turned out not to be whole."""
        self.files.pop(file, None)

    def add(self, file: RawFile, rows: pa.Table) -> None:
        """Take the cleaned rows of one piece of `file` (with `reason` and `line_number`)."""
        for batch in rows.to_batches():
            self._add_batch(file, batch)

    @property
    def is_full(self) -> bool:
        """Whether the rows in memory exceed the budget: `release` some, or else `spill`."""
        return self._held > self._budget

    def take_ended(self, file: RawFile) -> list[tuple[str, date]]:
        """Symbols (and sessions) that the file has left behind, each told once.

        None, ever more, for a file in which one has come back.
        """
        gathered = self.files[file]
        ended, gathered.ended = gathered.ended, []
        return ended if gathered.in_runs else []

    def release(self, file: RawFile, key: tuple[str, date], load: Load) -> None:
        """Forget the rows of a stretch, which `load` can read back."""
        stretch = self.files[file].stretches[key]
        self._held -= stretch.bytes
        stretch.slices, stretch.bytes = [load], 0

    def _add_batch(self, file: RawFile, batch: pa.RecordBatch) -> None:
        if self._selected:
            wanted = pc.is_in(batch.column("symbol"), pa.array(sorted(self._selected)))
            # A row that names no symbol at all belongs to everybody: it must not go unseen.
            wanted = pc.or_(wanted, pc.is_null(batch.column("symbol")))
            before = batch.num_rows
            batch = batch.filter(wanted)
            self.files[file].unselected += before - batch.num_rows
        if batch.num_rows == 0:
            return
        reasons = batch.column("reason")
        kept: npt.NDArray[np.bool_] | None = None
        if reasons.null_count < batch.num_rows:
            rejected = reasons.is_valid()
            kept = ~rejected.to_numpy(zero_copy_only=False)
            self.reject(file, batch.filter(rejected))
        columns = batch.select(self._columns.names)
        starts = _run_starts(columns)
        if len(starts) > batch.num_rows // 8:
            # Many short runs: symbols are mixed. Gather them, each still in the file's order.
            codes = columns.column("symbol").dictionary_encode().indices
            order = np.argsort(codes.fill_null(-1).to_numpy(zero_copy_only=False), kind="stable")
            columns = columns.take(pa.array(order))
            kept = kept[order] if kept is not None else None
            starts = _run_starts(columns)
        self._add_runs(file, columns, starts, kept)

    def _add_runs(
        self,
        file: RawFile,
        columns: pa.RecordBatch,
        starts: npt.NDArray[np.int64],
        kept: npt.NDArray[np.bool_] | None,
    ) -> None:
        gathered = self.files[file]
        stretches = gathered.stretches
        row_bytes = columns.nbytes / columns.num_rows
        stops = np.append(starts[1:], columns.num_rows)
        first, second = _keys(columns, self.kind)
        later = first[1:] > first[:-1]
        if second is not None:
            later |= (first[1:] == first[:-1]) & (second[1:] > second[:-1])
        # The run in which each row that does not stand after the one before it lies; at a run's
        # own start there is nothing to compare with.
        disordered = np.flatnonzero(~later) + 1
        runs_of = np.searchsorted(starts, disordered, side="right") - 1
        unordered = set(runs_of[disordered != starts[runs_of]].tolist())
        dropped: set[int] = set()
        if kept is not None:
            gone = np.flatnonzero(~kept)
            dropped = set((np.searchsorted(starts, gone, side="right") - 1).tolist())
        symbols = columns.column("symbol").take(pa.array(starts)).to_pylist()
        days = columns.column("session").take(pa.array(starts)).to_pylist()
        bounds = zip(symbols, days, starts.tolist(), stops.tolist(), strict=True)
        for run, (symbol, day, start, stop) in enumerate(bounds):
            rows = columns.slice(start, stop - start)
            is_ordered = run not in unordered
            low, high = start, stop - 1
            if run in dropped:
                assert kept is not None
                left = np.flatnonzero(kept[start:stop])
                if len(left) == 0:
                    continue
                rows = rows.filter(pa.array(kept[start:stop]))
                # What broke the order may be what was dropped, and what was dropped may hide it.
                is_ordered = _is_ascending(rows, self.kind)
                low, high = start + int(left[0]), start + int(left[-1])
            key = (symbol, day)
            stretch = stretches.get(key)
            if key != gathered.present:
                if gathered.present is not None:
                    gathered.ended.append(gathered.present)
                gathered.in_runs = gathered.in_runs and stretch is None
                gathered.present = key
            if stretch is None:
                stretch = stretches[key] = Stretch()
            begin = (int(first[low]), int(second[low]) if second is not None else 0)
            if not is_ordered or (stretch.last_key is not None and begin <= stretch.last_key):
                stretch.ascending = False
            stretch.last_key = (int(first[high]), int(second[high]) if second is not None else 0)
            stretch.rows += rows.num_rows
            stretch.slices.append(rows)
            stretch.bytes += int(row_bytes * rows.num_rows)
            self._held += int(row_bytes * rows.num_rows)

    def reject(self, file: RawFile, rows: pa.RecordBatch) -> None:
        """Hand rows with a `reason` to the rejects, and count them."""
        counts = pc.value_counts(rows.column("reason"))
        self.files[file].rejected.update(
            {entry["values"]: entry["counts"] for entry in counts.to_pylist()}
        )
        self._reject(file, rows)

    def spill(self) -> None:
        """Write all rows held in memory to the staging folder."""
        self._held = 0
        path = self._scratch / f"spill-{self.kind.name}-{len(self._spills)}.arrow"
        count = 0
        try:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self._columns) as writer:
                for stretch in self._stretches():
                    held = [part for part in stretch.slices if isinstance(part, pa.RecordBatch)]
                    away = [p for p in stretch.slices if not isinstance(p, pa.RecordBatch)]
                    stretch.slices, stretch.bytes = away, 0
                    if len(held) > 1 and sum(part.num_rows for part in held) <= _COMBINE_ROWS:
                        held = pa.Table.from_batches(held).combine_chunks().to_batches()
                    for part in held:
                        writer.write_batch(part)
                        stretch.slices.append(_Spilled(len(self._spills), count))
                        count += 1
        except OSError as error:
            raise StorageError(
                path, f"cannot hold rows that exceed the memory limit: {error}"
            ) from error
        self._spills.append(pa.ipc.open_file(pa.OSFile(str(path), "rb")))

    def _stretches(self) -> Iterator[Stretch]:
        for file in self.files.values():
            yield from file.stretches.values()

    def batches(self, stretch: Stretch) -> Iterator[pa.RecordBatch]:
        """The rows of a stretch, with `line_number`, as they were gathered. Safe on any thread."""
        for part in stretch.slices:
            if isinstance(part, _Spilled):
                with self._spill_lock:
                    batch = self._spills[part.spill].get_batch(part.batch)
                yield batch
            elif isinstance(part, pa.RecordBatch):
                yield part
            else:
                for batch in part():
                    absent = pa.nulls(batch.num_rows, pa.int64())
                    yield batch.append_column("line_number", absent)

    def settle(self, file: RawFile, dedupe: Dedupe) -> None:
        """Put a file's stretches in order and take repeated lines out of them.

        Args:
            dedupe: runs sql/dedupe over rows of any symbols and sessions.
        """
        group: dict[tuple[str, date], Stretch] = {}
        count = 0
        for key, stretch in list(self.files[file].stretches.items()):
            if stretch.ascending:
                continue
            group[key] = stretch
            count += stretch.rows
            if count >= _SETTLE_ROWS:
                self._settle(file, group, dedupe)
                group, count = {}, 0
        if group:
            self._settle(file, group, dedupe)

    def _settle(
        self, file: RawFile, group: dict[tuple[str, date], Stretch], dedupe: Dedupe
    ) -> None:
        stretches = self.files[file].stretches
        unsettled = pa.RecordBatchReader.from_batches(
            self._columns,
            (batch for stretch in group.values() for batch in self.batches(stretch)),
        )
        for key, stretch in group.items():
            stretches[key] = Stretch()
            self._held -= stretch.bytes
        for batch in dedupe(unsettled):
            rejected = batch.column("reason").is_valid()
            if batch.column("reason").null_count < batch.num_rows:
                self.reject(file, batch.filter(rejected))
                batch = batch.filter(pc.invert(rejected))
            columns = batch.select(self._columns.names)
            if columns.num_rows == 0:
                continue
            starts = _run_starts(columns)
            stops = np.append(starts[1:], columns.num_rows)
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                rows = columns.slice(start, stop - start)
                key = (rows.column("symbol")[0].as_py(), rows.column("session")[0].as_py())
                stretches[key].rows += rows.num_rows
                stretches[key].slices.append(rows)
                stretches[key].bytes += rows.nbytes
                self._held += rows.nbytes
            if self.is_full:
                self.spill()

    def of_symbol(self, symbol: str) -> list[tuple[date, Stretch, RawFile]]:
        """What was gathered of a symbol, by session, ascending."""
        found = []
        for file, gathered in self.files.items():
            keys = gathered.stretches if file.monthly else [(symbol, file.day)]
            for key in keys:
                stretch = gathered.stretches.get(key)
                if stretch is not None and stretch.rows and key[0] == symbol:
                    found.append((key[1], stretch, file))
        found.sort(key=lambda part: part[0])
        return found

    def symbols(self) -> list[str]:
        """Symbols of which rows were gathered, in the order in which they came."""
        return list(
            dict.fromkeys(
                symbol for gathered in self.files.values() for symbol, _ in gathered.stretches
            )
        )


def _run_starts(columns: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Where a symbol (or, in files of a month, a session) differs from that of the row before."""
    symbol = columns.column("symbol")
    changed = pc.not_equal(symbol[1:], symbol[:-1]).fill_null(True)
    starts = changed.to_numpy(zero_copy_only=False)
    session = columns.column("session").cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
    starts = starts | (session[1:] != session[:-1])
    return np.concatenate([[0], np.flatnonzero(starts) + 1]).astype(np.int64)


def _keys(
    columns: pa.RecordBatch, kind: DataType
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """The columns that order the tape. An absent number is the lowest, so it ends no order."""
    lowest = np.iinfo(np.int64).min
    keys = [
        columns.column(name).cast(pa.int64()).fill_null(lowest).to_numpy(zero_copy_only=False)
        for name in kind.order
    ]
    return keys[0], keys[1] if len(keys) > 1 else None


def _is_ascending(rows: pa.RecordBatch, kind: DataType) -> bool:
    first, second = _keys(rows, kind)
    later = first[1:] > first[:-1]
    if second is not None:
        later |= (first[1:] == first[:-1]) & (second[1:] > second[:-1])
    return bool(later.all())
