"""Cleaned rows gathered by symbol and session, in bounded memory.

The vendor's files come symbol by symbol in the order of the tape, for the most part. So rows are
never copied to be sorted: what is kept of a piece are slices of it, and only what is found out of
order, or may repeat a line by the columns that sql/dedupe partitions by, goes through that file.
Past its budget the store writes what it holds to one Arrow file in the staging folder, a batch per
symbol and session, and goes on empty.

Rows of a symbol that the file has left behind can be written at once and released (`take_ended`,
`release`). Should the symbol come back after all, they are read back from where they were written.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import chain, count
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import DataType
from warehouse.core.paths import RawFile
from warehouse.errors import StorageError
from warehouse.ingest.cleaning import Cleaner
from warehouse.ingest.segments import EventKey, Key, Run, by_key, cut, is_mixed

RejectRows = Callable[[RawFile, pa.RecordBatch], None]
"""Takes rows with their `reason` and `line_number`."""

Load = Callable[[], Iterator[pa.RecordBatch]]
"""Reads rows back from where they were written; without their `line_number`."""

_Suspects = tuple["Stretch", int, bool]
"""A stretch, the place among its slices of rows with equal keys, and whether those are of several
keys: of a whole run."""

_SETTLE_SHARE = 4
_DEDUPE_GROUPS = 20_000
_COMBINE_ROWS = 65_536
# So many rows with one key are looked at in memory at once; more go by way of the disk.
_CROWD_ROWS = 50_000
# A run with more groups of rows with equal keys is looked at whole: each slice has its price.
_FEW_TWINS = 500


@dataclass(frozen=True)
class _Spilled:
    """Rows of one stretch in a file of the staging folder."""

    spill: int
    batch: int


Slice: TypeAlias = pa.RecordBatch | _Spilled | Load


@dataclass
class Stretch:
    """The kept rows of one symbol and session of one raw file, in the file's order.

    Attributes:
        rows: how many.
        bytes: of those rows that are in memory.
        volume: bytes of all of them, wherever they are; about.
        ascending: each row stands strictly after the one before it in the data type's order,
            so that there is nothing to sort and nothing stands twice.
    """

    rows: int = 0
    ascending: bool = True
    last_key: Key | None = None
    slices: list[Slice] = field(default_factory=list)
    bytes: int = 0
    volume: int = 0


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
        cleaner: runs sql/sort and sql/dedupe.
    """

    def __init__(
        self,
        kind: DataType,
        scratch: Path,
        budget: int,
        selected: frozenset[str],
        reject: RejectRows,
        cleaner: Cleaner,
    ) -> None:
        self.kind = kind
        self._by_event = cleaner.by_event(kind)
        self.files: dict[RawFile, FileRows] = {}
        self._scratch, self._budget = scratch, budget
        self._selected, self._reject, self._cleaner = selected, reject, cleaner
        self._columns = pa.schema([*kind.columns, ("line_number", pa.int64())])
        self._held = 0
        self._spills: list[tuple[pa.ipc.RecordBatchFileReader, pa.OSFile]] = []
        self._spill_lock = threading.Lock()

    def __enter__(self) -> Gatherer:
        return self

    def __exit__(self, *exception: object) -> None:
        for _, source in self._spills:
            source.close()

    def open(self, file: RawFile) -> FileRows:
        """Begin a file anew: what was gathered of it before is forgotten."""
        self.files[file] = FileRows()
        return self.files[file]

    def discard(self, file: RawFile) -> None:
        """Forget a file that turned out not to be whole."""
        self.files.pop(file, None)

    def add(self, file: RawFile, rows: pa.Table) -> None:
        """Take the cleaned rows of one piece of `file` (with `reason` and `line_number`)."""
        suspects: list[_Suspects] = []
        batches = rows.to_batches()
        if len(batches) > 1 and is_mixed(batches[0]):
            # Else each of a dozen batches would have some rows of every symbol.
            batches = rows.combine_chunks().to_batches()
        for batch in batches:
            self._add_batch(file, batch, suspects)
        if suspects:
            self._clear(file, suspects)

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

    def release(self, file: RawFile, key: tuple[str, date], rows: int, load: Load) -> None:
        """Forget the rows of a stretch, which `load` can read back; unless more have come."""
        stretch = self.files[file].stretches[key]
        if stretch.rows != rows:
            return
        self._held -= stretch.bytes
        stretch.slices, stretch.bytes = [load], 0

    def _add_batch(self, file: RawFile, batch: pa.RecordBatch, suspects: list[_Suspects]) -> None:
        batch, unselected = accepted(batch, self._selected)
        self.files[file].unselected += unselected
        if batch.num_rows == 0:
            return
        reasons = batch.column("reason")
        kept: npt.NDArray[np.bool_] | None = None
        if reasons.null_count < batch.num_rows:
            rejected = reasons.is_valid()
            kept = ~rejected.to_numpy(zero_copy_only=False)
            self.reject(file, batch.filter(rejected))
        for run in cut(batch.select(self._columns.names), kept, self._by_event):
            self._add_run(file, run, suspects, batch)

    def _add_run(
        self, file: RawFile, run: Run, suspects: list[_Suspects], batch: pa.RecordBatch
    ) -> None:
        gathered = self.files[file]
        key = (run.symbol, run.session)
        stretch = gathered.stretches.get(key)
        if key != gathered.present:
            if gathered.present is not None:
                gathered.ended.append(gathered.present)
            gathered.in_runs = gathered.in_runs and stretch is None
            gathered.present = key
        if stretch is None:
            stretch = gathered.stretches[key] = Stretch()
        if stretch.last_key is not None and run.first <= stretch.last_key:
            stretch.ascending = False
        stretch.last_key = run.last
        self._append(stretch, run, suspects, batch, may_wait=True)

    def _append(
        self,
        stretch: Stretch,
        run: Run,
        suspects: list[_Suspects],
        batch: pa.RecordBatch,
        *,
        may_wait: bool,
    ) -> None:
        """Put a run's rows at the end of a stretch; those with equal keys are suspects.

        Args:
            may_wait: the file is still to be settled.
        """
        done = 0
        # Where whole crowds have one key, they are looked at when all of them are there.
        twins = run.twins
        if may_wait and sum(stop - start for start, stop in twins) > _CROWD_ROWS:
            twins, stretch.ascending = [], False
        is_whole = len(twins) > _FEW_TWINS
        if is_whole:
            twins = [(0, run.rows.num_rows)]
        for start, stop in twins:
            if start > done:
                stretch.slices.append(run.rows.slice(done, start - done))
            suspects.append((stretch, len(stretch.slices), is_whole))
            stretch.slices.append(run.rows.slice(start, stop - start))
            done = stop
        if done < run.rows.num_rows:
            stretch.slices.append(run.rows.slice(done))
        size = batch.nbytes * run.rows.num_rows // batch.num_rows
        stretch.rows += run.rows.num_rows
        stretch.bytes += size
        stretch.volume += size
        self._held += size

    def _clear(self, file: RawFile, suspects: list[_Suspects]) -> None:
        """Let sql/dedupe say which of the rows with equal keys are repeats, and take those out."""
        groups = [(stretch, place) for stretch, place, is_whole in suspects if not is_whole]
        for start in range(0, len(groups), _DEDUPE_GROUPS):
            self._clear_some(file, groups[start : start + _DEDUPE_GROUPS])
        # From the end, for what one becomes may be several.
        for stretch, place, is_whole in reversed(suspects):
            if is_whole:
                self._clear_run(file, stretch, place)

    def _clear_run(self, file: RawFile, stretch: Stretch, place: int) -> None:
        run = stretch.slices[place]
        assert isinstance(run, pa.RecordBatch)
        unsettled = pa.RecordBatchReader.from_batches(self._columns, [run])
        deduped = self._cleaner.dedupe(self.kind, unsettled, run.num_rows)
        kept = list(self._cleared(file, deduped))
        stretch.slices[place : place + 1] = kept
        stretch.rows += sum(batch.num_rows for batch in kept) - run.num_rows

    def _clear_some(self, file: RawFile, suspects: list[tuple[Stretch, int]]) -> None:
        groups = [
            group
            for stretch, place in suspects
            if isinstance(group := stretch.slices[place], pa.RecordBatch)
        ]
        unsettled = pa.RecordBatchReader.from_batches(self._columns, groups)
        found: dict[EventKey, list[pa.RecordBatch]] = {}
        due = sum(group.num_rows for group in groups)
        deduped = self._cleaner.dedupe(self.kind, unsettled, due)
        for rows in self._cleared(file, deduped):
            for key, group in by_key(rows, self._by_event):
                found.setdefault(key, []).append(group)
        for stretch, place in suspects:
            group = stretch.slices[place]
            assert isinstance(group, pa.RecordBatch)
            key, _ = next(by_key(group, self._by_event))
            # Where the same key came up twice, the first place has the rows of both.
            kept = pa.Table.from_batches(found.pop(key, []), self._columns).combine_chunks()
            batches = kept.to_batches()
            stretch.slices[place] = batches[0] if batches else group.slice(0, 0)
            stretch.rows += kept.num_rows - group.num_rows

    def _cleared(
        self, file: RawFile, deduped: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """What sql/dedupe keeps, in its order; the rest goes to the rejects."""
        for batch in deduped:
            if batch.column("reason").null_count < batch.num_rows:
                rejected = batch.column("reason").is_valid()
                self.reject(file, batch.filter(rejected))
                batch = batch.filter(pc.invert(rejected))
            if batch.num_rows:
                yield batch.select(self._columns.names)

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
        with self._away() as put:
            for stretch in self._stretches():
                stretch.slices, stretch.bytes = _put_away(stretch.slices, put), 0

    @contextmanager
    def _away(self) -> Iterator[Callable[[pa.RecordBatch], _Spilled]]:
        """Opens a file of the staging folder; what is put there can be read once it is closed."""
        number = len(self._spills)
        path = self._scratch / f"spill-{self.kind.name}-{number}.arrow"
        places = count()
        try:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self._columns) as writer:

                def put(rows: pa.RecordBatch) -> _Spilled:
                    writer.write_batch(rows)
                    return _Spilled(number, next(places))

                yield put
        except OSError as error:
            raise StorageError(
                path, f"cannot hold rows that exceed the memory limit: {error}"
            ) from error
        source = pa.OSFile(str(path), "rb")
        self._spills.append((pa.ipc.open_file(source), source))

    def _stretches(self) -> Iterator[Stretch]:
        for file in self.files.values():
            yield from file.stretches.values()

    def batches(self, slices: Sequence[Slice]) -> Iterator[pa.RecordBatch]:
        """The rows of slices, with `line_number`, as they were gathered. Safe on any thread."""
        for part in slices:
            if isinstance(part, _Spilled):
                with self._spill_lock:
                    batch = self._spills[part.spill][0].get_batch(part.batch)
                yield batch
            elif isinstance(part, pa.RecordBatch):
                yield part
            else:
                for batch in part():
                    absent = pa.nulls(batch.num_rows, pa.int64())
                    yield batch.append_column("line_number", absent)

    def settle(self, file: RawFile) -> None:
        """Put the stretches of a file whose rows came back late in order, without repeats."""
        group: dict[tuple[str, date], Stretch] = {}
        count = 0
        for key, stretch in list(self.files[file].stretches.items()):
            if stretch.ascending:
                continue
            group[key] = stretch
            count += stretch.volume
            if count >= self._budget // _SETTLE_SHARE:
                self._settle(file, group)
                group, count = {}, 0
        if group:
            self._settle(file, group)

    def _settle(self, file: RawFile, group: dict[tuple[str, date], Stretch]) -> None:
        stretches = self.files[file].stretches
        if sum(stretch.bytes for stretch in group.values()) > self._budget // _SETTLE_SHARE:
            # They are held until the last is in order, and what is in order beside them.
            self.spill()
        unsettled = pa.RecordBatchReader.from_batches(
            self._columns,
            (batch for stretch in group.values() for batch in self.batches(stretch.slices)),
        )
        for key, stretch in group.items():
            stretches[key] = Stretch()
            self._held -= stretch.bytes
        ordered = self._cleaner.sort(self.kind, unsettled, _rows_in(group))
        crowds = []
        for part in whole_keys(ordered, self._by_event):
            if isinstance(part, pa.RecordBatch):
                self._settle_some(file, part)
            else:
                crowds.append(self._hold_crowd(file, part))
            # What DuckDB holds for the sort stands beside it.
            if self._held > self._budget // 2:
                self.spill()
        # One after the other, and after the sort: each takes what memory DuckDB has.
        for stretch, waiting in crowds:
            self._settle_crowd(file, stretch, waiting)

    def _settle_some(self, file: RawFile, rows: pa.RecordBatch) -> None:
        stretches = self.files[file].stretches
        suspects: list[_Suspects] = []
        for run in cut(rows, None, self._by_event):
            stretch = stretches[run.symbol, run.session]
            self._append(stretch, run, suspects, rows, may_wait=False)
        if suspects:
            self._clear(file, suspects)

    def _hold_crowd(
        self, file: RawFile, crowd: Iterator[pa.RecordBatch]
    ) -> tuple[Stretch, list[_Spilled]]:
        """Put rows with one key, too many to be looked at in memory, where they belong, on disk."""
        first = next(crowd)
        key = (first.column("symbol")[0].as_py(), first.column("session")[0].as_py())
        stretch = self.files[file].stretches[key]
        waiting: list[_Spilled] = []
        with self._away() as put:
            for rows in chain([first], crowd):
                waiting.append(put(rows))
                stretch.rows += rows.num_rows
        stretch.slices += waiting
        return stretch, waiting

    def _settle_crowd(self, file: RawFile, stretch: Stretch, waiting: list[_Spilled]) -> None:
        """Let sql/dedupe say which of a crowd's rows are repeats, by way of the disk."""
        self.spill()
        place = stretch.slices.index(waiting[0])
        due = sum(batch.num_rows for batch in self.batches(waiting))
        stretch.rows -= due
        unsettled = pa.RecordBatchReader.from_batches(self._columns, self.batches(waiting))
        settled: list[Slice] = []
        with self._away() as put:
            deduped = self._cleaner.dedupe_crowd(self.kind, unsettled, due)
            for rows in self._cleared(file, deduped):
                settled.append(put(rows))
                stretch.rows += rows.num_rows
        stretch.slices[place : place + len(waiting)] = settled

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


def accepted(batch: pa.RecordBatch, selected: frozenset[str]) -> tuple[pa.RecordBatch, int]:
    """The rows of the selected symbols (none: of all), and how many others there were."""
    if not selected:
        return batch, 0
    wanted = pc.is_in(batch.column("symbol"), pa.array(sorted(selected)))
    # A row that names no symbol at all belongs to everybody: it must not go unseen.
    kept = batch.filter(pc.or_(wanted, pc.is_null(batch.column("symbol"))))
    return kept, batch.num_rows - kept.num_rows


def _put_away(slices: Sequence[Slice], put: Callable[[pa.RecordBatch], _Spilled]) -> list[Slice]:
    """The slices in their order, with those in memory put away."""
    found: list[Slice] = []
    held: list[pa.RecordBatch] = []

    def put_held() -> None:
        parts = held
        if len(parts) > 1 and sum(part.num_rows for part in parts) <= _COMBINE_ROWS:
            parts = pa.Table.from_batches(parts).combine_chunks().to_batches()
        found.extend(put(part) for part in parts)
        held.clear()

    for part in slices:
        if isinstance(part, pa.RecordBatch):
            held.append(part)
        else:
            put_held()
            found.append(part)
    put_held()
    return found


def _rows_in(group: dict[tuple[str, date], Stretch]) -> int:
    return sum(stretch.rows for stretch in group.values())


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
