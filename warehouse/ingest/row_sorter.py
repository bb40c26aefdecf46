"""Cleaned rows, each raw file's in order: what partitions are written from.

A file is put in order once: by symbol, and then as the tape. As the vendor writes it each symbol's
rows stand together, so that they are put in order while the next ones come; a file whose symbols
are mixed is so when all of it has come. Only rows that may be one event told twice go
through sql/dedupe. Nothing is cut symbol by symbol. Past its budget the store writes what it holds
to the staging folder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import DataType
from warehouse.core.paths import RawFile
from warehouse.errors import SqlFileError, StorageError
from warehouse.ingest.cleaning import Cleaner
from warehouse.ingest.tape_order import Bools, Ints, Keys, keys_of, whole_keys
from warehouse.store.parquet_writer import check_complete
from warehouse.store.partitions import ranks_of, starts_of

RejectRows = Callable[[RawFile, pa.RecordBatch], None]
"""Takes rows with their `reason` and `line_number`."""

_SETTLE_SHARE = 4
_BATCH_ROWS = 65_536
_LARGE_ROWS = 1_048_576
"""Of a symbol: more are not put in order in memory."""
_MANY_ROWS = 262_144
"""A file of more is put in order while it comes, on a thread of its own."""
_QUEUED = 4
_PATIENCE_SECONDS = 0.1


class MixedSymbols(Exception):  # noqa: N818 (no error: it says what to do next)
    """A symbol's rows do not stand together: read the file once more. Never leaves this package."""


class RowsOnDisk:
    """Rows in an Arrow file of the staging folder, read back by their places, by any thread.

    Close it. Another process may read them too: what is pickled is where they are.
    """

    def __init__(self, path: Path, edges: Sequence[int]) -> None:
        self.path = path
        self._source: pa.OSFile | None = None
        self._lock = Lock()
        self._edges = np.asarray(edges, np.int64)
        self.count = int(edges[-1])

    def __reduce__(self) -> tuple[Any, ...]:
        return RowsOnDisk, (self.path, self._edges)

    def rows(self, low: int, high: int) -> Iterator[pa.RecordBatch]:
        """The rows [low, high)."""
        place = int(np.searchsorted(self._edges, low, side="right")) - 1
        while low < high:
            start, stop = int(self._edges[place]), min(int(self._edges[place + 1]), high)
            with self._lock:
                batch = self._opened().get_batch(place)
            yield batch.slice(low - start, stop - low)
            low, place = stop, place + 1

    def _opened(self) -> pa.ipc.RecordBatchFileReader:
        if self._source is None:
            try:
                self._source = pa.OSFile(str(self.path), "rb")
                self._file = pa.ipc.open_file(self._source)
            except OSError as error:
                raise StorageError(self.path, f"cannot be read back: {error}") from error
        return self._file

    def close(self) -> None:
        if self._source is not None:
            self._source.close()


class RowsToDisk:
    """Writes rows to an Arrow file of the staging folder; `close` it.

    Args:
        batch_rows: so many are written, and will be read, at a time.
    """

    def __init__(self, path: Path, columns: pa.Schema, batch_rows: int = _BATCH_ROWS) -> None:
        self._path, self._columns, self._batch_rows = path, columns, batch_rows
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, columns)
        self._held: list[pa.RecordBatch] = []
        self._count = 0
        self._edges = [0]

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows.

        Raises:
            OSError: the disk refuses.
        """
        self._held.append(batch.select(self._columns.names))
        self._count += batch.num_rows
        if self._count >= self._batch_rows:
            self._flush()

    def _flush(self) -> None:
        rows = pa.Table.from_batches(self._held, self._columns).combine_chunks()
        for part in rows.to_batches(self._batch_rows):
            self._writer.write_batch(part)
            self._edges.append(self._edges[-1] + part.num_rows)
        self._held, self._count = [], 0

    def close(self) -> RowsOnDisk:
        """End it; returns its rows."""
        self._flush()
        self._writer.close()
        self._sink.close()
        return RowsOnDisk(self._path, self._edges)


@dataclass
class SortedRows:
    """The kept rows of one raw file, by symbol and then in the order of the tape.

    Attributes:
        entries: its symbols and sessions, in that order, each with the number of its rows.
        rows: how many.
        bytes: of those that are in memory.
        stretches: (low, stored, rows) of rows that stand together where they are stored, from
            `stored` on, as they do here, from `low` on; ascending.
    """

    entries: pa.Table
    rows: int
    bytes: int
    held: pa.Table | None = None
    on_disk: RowsOnDisk | None = None
    stretches: list[tuple[int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.stretches:
            return
        # Each symbol's rows stand together, but the symbols as they came.
        order = pc.sort_indices(self.entries["symbol"]).to_numpy().astype(np.int64)
        counts = self.entries["rows"].to_numpy()
        stored = (np.cumsum(counts) - counts)[order]
        counts = counts[order]
        low = np.cumsum(counts) - counts
        goes_on = np.zeros(len(order), np.bool_)
        goes_on[1:] = stored[1:] == stored[:-1] + counts[:-1]
        firsts = np.flatnonzero(~goes_on)
        lengths = np.diff(np.append(low[firsts], self.rows))
        self.stretches = list(
            zip(low[firsts].tolist(), stored[firsts].tolist(), lengths.tolist(), strict=True)
        )
        if len(firsts) > 1:
            self.entries = self.entries.take(pa.array(order)).combine_chunks()

    def of_symbols(self, first: str, end: str | None) -> SortedRows:
        """Those of the symbols from `first` on, up to `end` and without it; None: of all of them.

        They are read from where these are.
        """
        symbols = self.entries["symbol"]
        begin = pc.sum(pc.less(symbols, first)).as_py() or 0
        stop = len(symbols) if end is None else pc.sum(pc.less(symbols, end)).as_py() or 0
        counts = self.entries["rows"].to_numpy()
        low, high = int(counts[:begin].sum()), int(counts[:stop].sum())
        # A slice would be pickled with all that it is a slice of.
        entries = self.entries.take(pa.array(np.arange(begin, stop)))
        stretches = [
            (
                max(start, low) - low,
                stored + max(low - start, 0),
                min(start + rows, high) - max(start, low),
            )
            for start, stored, rows in self.stretches
            if start < high and start + rows > low
        ]
        return SortedRows(entries, high - low, 0, self.held, self.on_disk, stretches)

    def between(self, low: int, high: int) -> pa.Table:
        """The rows [low, high)."""
        place = max(bisect_right(self.stretches, low, key=lambda one: one[0]) - 1, 0)
        parts = []
        for begin, stored, rows in self.stretches[place:]:
            if begin >= high:
                break
            shift = stored - begin
            parts.append(self._stored(max(low, begin) + shift, min(high, begin + rows) + shift))
        return pa.concat_tables(parts)

    def _stored(self, low: int, high: int) -> pa.Table:
        if self.held is not None:
            return self.held.slice(low, high - low)
        assert self.on_disk is not None
        return pa.Table.from_batches(list(self.on_disk.rows(low, high)))


class Ordering:
    """Rows that are put in order on a thread of their own, while more of them come.

    Args:
        put_in_order: is given the rows as they come.
    """

    def __init__(self, put_in_order: Callable[[Iterator[pa.RecordBatch]], SortedRows]) -> None:
        self._coming: Queue[pa.RecordBatch | None] = Queue(_QUEUED)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="order")
        self._ordered = self._thread.submit(put_in_order, iter(self._coming.get, None))

    def add(self, rows: pa.RecordBatch | None) -> None:
        """Hand over rows; None: there are no more.

        What has gone wrong with those before is raised.
        """
        while True:
            if self._ordered.done():
                self._ordered.result()
            with suppress(Full):
                self._coming.put(rows, timeout=_PATIENCE_SECONDS)
                return

    def finish(self) -> SortedRows:
        """All rows have come: they, in order."""
        self.add(None)
        ordered = self._ordered.result()
        self._thread.shutdown()
        return ordered

    def close(self) -> None:
        """Let go of the rows, if it is not finished."""
        while not self._ordered.done():
            with suppress(Empty):
                self._coming.get_nowait()
            with suppress(Full):
                self._coming.put(None, timeout=_PATIENCE_SECONDS)
        self._thread.shutdown()


@dataclass
class GatheredFile:
    """What came of one raw file so far.

    Attributes:
        rows: how many.
        ordering: where they are put in order while they come; None: they are in `pieces`.
        repeats: rows that were dropped, which are told by symbol when all have come: so rejects
            stand in one order, whichever way the rows went.
        pieces: of kept rows, with `line_number`, in the file's order.
        is_grouped: so far each symbol's rows stand together.
        symbols: those that have come, until the file is in order.
        last_symbol: that of the last row.
        sorted: all of them in order; None: they are still to be.
    """

    rejected: Counter[str] = field(default_factory=Counter)
    unselected: int = 0
    rows: int = 0
    ordering: Ordering | None = None
    repeats: list[pa.RecordBatch | RowsOnDisk] = field(default_factory=list)
    tells_repeats_later: bool = False
    pieces: list[pa.RecordBatch | RowsOnDisk] = field(default_factory=list)
    bytes: int = 0
    is_grouped: bool = True
    sorted: SortedRows | None = None
    symbols: set[str] = field(default_factory=set)
    last_symbol: str | None = None

    def look_at(self, rows: pa.RecordBatch) -> None:
        """Note what there is to know of rows that follow on those before."""
        self.rows += rows.num_rows
        if not self.is_grouped:
            return
        column = rows.column("symbol")
        names = column.filter(pa.array(starts_of(column))).to_pylist()
        if names[0] == self.last_symbol:
            del names[0]
        self.is_grouped = len(set(names)) == len(names) and self.symbols.isdisjoint(names)
        self.symbols.update(names)
        self.last_symbol = names[-1] if names else self.last_symbol


class RowSorter:
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
        self.files: dict[RawFile, GatheredFile] = {}
        cleaner.check_order(kind)
        self._by_event = cleaner.by_event(kind)
        self._scratch, self._budget = scratch, budget
        self._selected, self._reject, self._cleaner = selected, reject, cleaner
        self._columns = pa.schema([*kind.columns, ("line_number", pa.int64())])
        self._held = 0
        self._numbers = count()
        self._on_disk: list[RowsOnDisk] = []
        self._mixed: set[RawFile] = set()

    def __enter__(self) -> RowSorter:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in list(self.files):
            self._close(file)
        for rows in self._on_disk:
            rows.close()

    def open(self, file: RawFile) -> GatheredFile:
        """Begin a file anew: what was gathered of it before is forgotten."""
        self.discard(file)
        self.files[file] = GatheredFile()
        return self.files[file]

    def discard(self, file: RawFile) -> None:
        """Forget a file that turned out not to be whole."""
        self._close(file)
        gathered = self.files.pop(file, None)
        if gathered is not None:
            self._held -= gathered.bytes + (gathered.sorted.bytes if gathered.sorted else 0)

    def _close(self, file: RawFile) -> None:
        gathered = self.files.get(file)
        if gathered is not None and gathered.ordering is not None:
            gathered.ordering.close()
            gathered.ordering = None

    def add(self, file: RawFile, rows: pa.Table) -> None:
        """Take the cleaned rows of one piece of `file` (with `reason` and `line_number`).

        Raises:
            MixedSymbols: `open` it and hand over all its rows once more.
        """
        gathered = self.files[file]
        for batch in rows.to_batches():
            batch, unselected = accepted(batch, self._selected)
            gathered.unselected += unselected
            if batch.column("reason").null_count < batch.num_rows:
                rejected = batch.column("reason").is_valid()
                self.reject(file, batch.filter(rejected))
                batch = batch.filter(pc.invert(rejected))
            if batch.num_rows:
                check_complete(self.kind, batch)
                _check_sessions("clean", file, batch)
                self._take(file, batch.select(self._columns.names))

    def _take(self, file: RawFile, rows: pa.RecordBatch) -> None:
        gathered = self.files[file]
        gathered.look_at(rows)
        if gathered.ordering is None:
            gathered.pieces.append(rows)
            gathered.bytes += rows.nbytes
            self._held += rows.nbytes
            in_memory = [piece for piece in gathered.pieces if isinstance(piece, pa.RecordBatch)]
            if (
                gathered.rows > _MANY_ROWS
                and gathered.is_grouped
                and file not in self._mixed
                and len(in_memory) == len(gathered.pieces)
            ):
                gathered.tells_repeats_later = True
                gathered.ordering = Ordering(partial(self._ordered, file))
                for piece in in_memory:
                    gathered.ordering.add(piece)
                self._held -= gathered.bytes
                gathered.pieces, gathered.bytes = [], 0
        elif gathered.is_grouped:
            gathered.ordering.add(rows)
        else:
            self._mixed.add(file)
            raise MixedSymbols

    def _ordered(self, file: RawFile, pieces: Iterator[pa.RecordBatch]) -> SortedRows:
        """The rows of a file in which each symbol's stand together, put in order as they come."""
        entries = _Entries()
        ordered = entries.seen(self._symbol_by_symbol(file, pieces))
        held: list[pa.RecordBatch] = []
        size = 0
        for batch in ordered:
            held.append(batch)
            size += batch.nbytes
            if self._held + size > self._budget:
                rows = self._put(chain(held, ordered))
                return SortedRows(entries.table(), entries.rows, 0, on_disk=rows)
        table = pa.Table.from_batches(held, self.kind.columns)
        return SortedRows(entries.table(), entries.rows, size, held=table)

    @property
    def sorted(self) -> dict[RawFile, SortedRows]:
        """The rows of each file that is settled."""
        return {
            file: gathered.sorted
            for file, gathered in self.files.items()
            if gathered.sorted is not None
        }

    def reject(self, file: RawFile, rows: pa.RecordBatch) -> None:
        """Hand rows with a `reason` to the rejects, and count them."""
        counts = pc.value_counts(rows.column("reason"))
        self.files[file].rejected.update(
            {entry["values"]: entry["counts"] for entry in counts.to_pylist()}
        )
        self._reject(file, rows)

    @property
    def is_full(self) -> bool:
        """Whether the rows in memory exceed the budget: `spill` them."""
        return self._held > self._budget

    def spill(self) -> None:
        """Write all rows held in memory to the staging folder."""
        for gathered in self.files.values():
            pieces = [piece for piece in gathered.pieces if isinstance(piece, pa.RecordBatch)]
            if pieces:
                before = [piece for piece in gathered.pieces if isinstance(piece, RowsOnDisk)]
                gathered.pieces = [*before, self._put(iter(pieces))]
                gathered.bytes = 0
            if gathered.sorted is not None and gathered.sorted.held is not None:
                table = gathered.sorted.held
                gathered.sorted.on_disk = self._put(iter(table.to_batches(_BATCH_ROWS)))
                gathered.sorted.held, gathered.sorted.bytes = None, 0
        self._held = 0

    def _put(self, batches: Iterator[pa.RecordBatch]) -> RowsOnDisk:
        path = self._scratch / f"rows-{self.kind.name}-{next(self._numbers)}.arrow"
        try:
            first = next(batches, None)
            columns = self.kind.columns if first is None else first.schema
            writer = RowsToDisk(path, columns)
            for batch in batches if first is None else chain([first], batches):
                writer.write(batch)
            rows = writer.close()
        except OSError as error:
            raise StorageError(
                path, f"cannot hold rows that exceed the memory limit: {error}"
            ) from error
        self._on_disk.append(rows)
        return rows

    def settle(self, file: RawFile) -> None:
        """Put a file, all of which has come, in order, without repeats."""
        gathered = self.files[file]
        gathered.symbols = set()
        if gathered.ordering is not None:
            gathered.sorted = gathered.ordering.finish()
            gathered.ordering = None
            self._held += gathered.sorted.bytes
            self._tell_repeats(file)
            return
        on_disk = any(isinstance(piece, RowsOnDisk) for piece in gathered.pieces)
        if on_disk or gathered.bytes > self._budget // _SETTLE_SHARE:
            self.spill()
            gathered.tells_repeats_later = True
            entries = _Entries()
            ordered = self._in_order_by_disk(file, self._in_turn(gathered.pieces))
            rows = self._put(entries.seen(ordered))
            gathered.sorted = SortedRows(entries.table(), entries.rows, 0, on_disk=rows)
            self._tell_repeats(file)
        else:
            pieces = list(self._in_turn(gathered.pieces))
            table = pa.Table.from_batches(pieces, self._columns)
            table = self._in_order(file, table).select(self.kind.columns.names).combine_chunks()
            entries = _Entries()
            for batch in table.to_batches():
                entries.see(batch)
            gathered.sorted = SortedRows(entries.table(), table.num_rows, table.nbytes, held=table)
            self._held += table.nbytes - gathered.bytes
        gathered.pieces, gathered.bytes = [], 0

    @staticmethod
    def _in_turn(pieces: Sequence[pa.RecordBatch | RowsOnDisk]) -> Iterator[pa.RecordBatch]:
        for piece in pieces:
            if isinstance(piece, RowsOnDisk):
                yield from piece.rows(0, piece.count)
            else:
                yield piece

    def _in_order(self, file: RawFile, rows: pa.Table) -> pa.Table:
        """The rows by symbol and in the order of the tape; repeats go to the rejects."""
        if not rows.num_rows:
            return rows
        order, is_same = self._order(rows)
        if order is None:
            return rows
        if not is_same.any():
            return rows.take(pa.array(order))
        # Rows of one event, all of which are among the suspects.
        is_suspect = is_same.copy()
        is_suspect[:-1] |= is_same[1:]
        suspects = rows.take(pa.array(order[is_suspect]))
        deduped = self._cleaner.dedupe(self.kind, suspects.to_reader(), suspects.num_rows)
        kept = pa.Table.from_batches(list(self._cleared(file, deduped)), self._columns)
        chosen = _places_among(suspects, kept)
        if chosen is not None:
            return rows.take(pa.array(_with_chosen(order, is_same, is_suspect, chosen)))
        rows = pa.concat_tables([rows.take(pa.array(order[~is_suspect])), kept])
        order, _ = self._order(rows)
        return rows if order is None else rows.take(pa.array(order))

    def _order(self, rows: pa.Table) -> tuple[Ints | None, Bools]:
        """The rows in order (None: they are), and which, in order, share the event of the last."""
        ranks, _ = ranks_of(rows["symbol"])
        keys = keys_of(rows, self._by_event)
        is_same = np.zeros(rows.num_rows, np.bool_)
        own = ranks[1:] == ranks[:-1]
        if ((ranks[1:] > ranks[:-1]) | (own & keys.later())).all():
            return None, is_same
        order = _order_of(ranks, keys)
        keys, ranks = keys[order], ranks[order]
        is_same[1:] = (ranks[1:] == ranks[:-1]) & keys.same()
        return order, is_same

    def _in_order_by_disk(
        self, file: RawFile, pieces: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """The same of more rows than are to be in memory.

        As the vendor writes a file each symbol's rows stand together. So they are put in order by
        themselves, and only if one has very many, or the symbols are mixed, DuckDB sorts them.
        """
        if self.files[file].is_grouped:
            yield from self._symbol_by_symbol(file, pieces)
        else:
            yield from self._sorted_by_duckdb(file, pieces, self._due(file), is_alone=True)

    def _symbol_by_symbol(
        self, file: RawFile, pieces: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        for part in whole_symbols(pieces):
            if isinstance(part, pa.Table):
                table = self._in_order(file, part)
                yield from table.select(self.kind.columns.names).combine_chunks().to_batches()
                continue
            large = self._put(part)
            yield from self._sorted_by_duckdb(file, large.rows(0, large.count), large.count)

    def _sorted_by_duckdb(
        self,
        file: RawFile,
        pieces: Iterator[pa.RecordBatch],
        due: int,
        *,
        is_alone: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        reader = pa.RecordBatchReader.from_batches(self._columns, pieces)
        ordered = self._cleaner.sort(self.kind, reader, due, is_alone=is_alone)
        for part in whole_keys(ordered, self._by_event):
            if isinstance(part, pa.RecordBatch):
                table = self._in_order(file, pa.Table.from_batches([part], self._columns))
                yield from table.select(self.kind.columns.names).combine_chunks().to_batches()
                continue
            crowd = self._put(part)
            reader = pa.RecordBatchReader.from_batches(self._columns, crowd.rows(0, crowd.count))
            deduped = self._cleaner.dedupe_crowd(self.kind, reader, crowd.count)
            for batch in self._cleared(file, deduped):
                yield batch.select(self.kind.columns.names)

    def _due(self, file: RawFile) -> int:
        return sum(
            piece.count if isinstance(piece, RowsOnDisk) else piece.num_rows
            for piece in self.files[file].pieces
        )

    def _cleared(
        self, file: RawFile, deduped: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """What sql/dedupe keeps, in its order; the rest goes to the rejects."""
        for batch in deduped:
            if batch.column("reason").null_count < batch.num_rows:
                rejected = batch.column("reason").is_valid()
                self._drop(file, batch.filter(rejected))
                batch = batch.filter(pc.invert(rejected))
            if batch.num_rows:
                _check_sessions("dedupe", file, batch)
                yield batch.select(self._columns.names)

    def _drop(self, file: RawFile, repeats: pa.RecordBatch) -> None:
        gathered = self.files[file]
        if not gathered.tells_repeats_later:
            self.reject(file, repeats)
            return
        gathered.repeats.append(repeats)
        in_memory = [one for one in gathered.repeats if isinstance(one, pa.RecordBatch)]
        if sum(one.num_rows for one in in_memory) > _MANY_ROWS:
            before = [one for one in gathered.repeats if isinstance(one, RowsOnDisk)]
            gathered.repeats = [*before, self._put(iter(in_memory))]

    def _tell_repeats(self, file: RawFile) -> None:
        """Hand the rows that were dropped to the rejects, by symbol."""
        repeats, self.files[file].repeats = self.files[file].repeats, []
        if not repeats:
            return
        entries = _Entries()
        stored = self._put(entries.seen(self._in_turn(repeats)))
        by_symbol = SortedRows(entries.table(), entries.rows, 0, on_disk=stored)
        for low in range(0, entries.rows, _BATCH_ROWS):
            found = by_symbol.between(low, min(low + _BATCH_ROWS, entries.rows))
            for batch in found.combine_chunks().to_batches():
                self.reject(file, batch)


def accepted(batch: pa.RecordBatch, selected: frozenset[str]) -> tuple[pa.RecordBatch, int]:
    """The rows of the selected symbols (none: of all), and how many others there were."""
    if not selected:
        return batch, 0
    wanted = pc.is_in(batch.column("symbol"), pa.array(sorted(selected)))
    # A row that names no symbol at all belongs to everybody: it must not go unseen.
    kept = batch.filter(pc.or_(wanted, pc.is_null(batch.column("symbol"))))
    return kept, batch.num_rows - kept.num_rows


def _check_sessions(stage: str, file: RawFile, kept: pa.RecordBatch) -> None:
    """Refuse kept rows of a session that the file is not of.

    They would stand in a partition of another month, or be replaced with that session's own file.

    Raises:
        SqlFileError: names the session.
    """
    found = pc.min_max(kept.column("session"))
    for session in (found["min"].as_py(), found["max"].as_py()):
        if session is None or not file.overlaps(session, session):
            raise SqlFileError(
                Path("sql", stage, f"{file.data_type}.sql"),
                f"keeps a row of session {session} from the file of {file.day}, {file.key};"
                " give such rows a reason",
            )


def _order_of(ranks: Ints, keys: Keys) -> Ints:
    """The places of rows by rank and key; of those with equal ones as they came.

    As the vendor writes a file its rows are in order but for the symbols and a few rows of one
    stamp. Then only those are sorted.
    """
    starts = np.append(0, np.flatnonzero(ranks[1:] != ranks[:-1]) + 1)
    own = ranks[1:] == ranks[:-1]
    is_earlier = own & (keys.time[1:] < keys.time[:-1])
    if len(np.unique(ranks[starts])) < len(starts) or is_earlier.any():
        columns = (keys.number, keys.numbered, keys.time, ranks)
        order: Ints = np.lexsort([column for column in columns if column is not None])
        return order
    places = np.arange(len(ranks))
    is_back = own & ~keys.later() & ~keys.same()
    if is_back.any():
        goes_on = np.append(False, own & (keys.time[1:] == keys.time[:-1]))
        stamp = np.cumsum(~goes_on)
        is_mixed = np.zeros(len(ranks) + 1, np.bool_)
        is_mixed[stamp[1:][is_back]] = True
        some = np.flatnonzero(is_mixed[stamp])
        of_stamp = (keys[some].number, keys[some].numbered, stamp[some])
        places[some] = some[np.lexsort([column for column in of_stamp if column is not None])]
    counts = np.diff(np.append(starts, len(ranks)))
    by_rank = np.argsort(ranks[starts])
    firsts, counts = starts[by_rank], counts[by_rank]
    before = np.cumsum(counts) - counts
    in_order: Ints = places[np.repeat(firsts - before, counts) + np.arange(len(ranks))]
    return in_order


def _places_among(suspects: pa.Table, kept: pa.Table) -> Ints | None:
    """Where the rows that sql/dedupe keeps stood; None: it has not left them as they were."""
    lines, wanted = suspects["line_number"].to_numpy(), kept["line_number"].to_numpy()
    by_line = np.argsort(lines)
    places: Ints = by_line[np.searchsorted(lines, wanted, sorter=by_line) % len(lines)]
    if len(np.unique(places)) < len(places) or not suspects.take(pa.array(places)).equals(kept):
        return None
    return places


def _with_chosen(order: Ints, is_same: Bools, is_suspect: Bools, chosen: Ints) -> Ints:
    """The order, with of each event only the suspects that were chosen, as they were chosen."""
    suspects = np.flatnonzero(is_suspect)
    is_first = ~is_same[suspects]
    event = np.cumsum(is_first) - 1
    chosen = chosen[np.argsort(event[chosen], kind="stable")]
    events = event[chosen]
    nth = np.arange(len(events)) - np.searchsorted(events, events)
    targets = suspects[is_first][events] + nth
    is_left = ~is_suspect
    is_left[targets] = True
    found = order.copy()
    found[targets] = order[suspects[chosen]]
    return found[is_left]


def whole_symbols(
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.Table | Iterator[pa.RecordBatch]]:
    """The same rows, in which each symbol's stand together, in tables of whole symbols.

    Of a symbol that has very many they come as an iterator, which is to be read to its end.
    """
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        while True:
            symbols = batch.column("symbol")
            starts = np.flatnonzero(starts_of(symbols))
            if held and held[-1].column("symbol")[-1].as_py() == symbols[0].as_py():
                starts = starts[1:]
            cut = int(starts[-1]) if len(starts) else 0
            if rows + cut >= _BATCH_ROWS and len(starts):
                yield pa.Table.from_batches([*held, batch.slice(0, cut)])
                held, rows, batch = [], 0, batch.slice(cut)
            held.append(batch)
            rows += batch.num_rows
            if rows <= _LARGE_ROWS:
                break
            large = _Large(held, batches)
            yield iter(large)
            held, rows = [], 0
            if large.after is None:
                break
            batch = large.after
    if held:
        yield pa.Table.from_batches(held)


class _Large:
    """The rows of a symbol: those that are there, and those at the head of what is to come.

    Attributes:
        after: what stood behind them in the last batch.
    """

    def __init__(self, held: Sequence[pa.RecordBatch], coming: Iterator[pa.RecordBatch]) -> None:
        self._held, self._coming = held, coming
        self.after: pa.RecordBatch | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield from self._held
        symbol = self._held[-1].column("symbol")[-1].as_py()
        for batch in self._coming:
            symbols = batch.column("symbol")
            starts = np.flatnonzero(starts_of(symbols))
            own = int(starts[1]) if len(starts) > 1 else batch.num_rows
            if symbols[0].as_py() != symbol:
                own = 0
            if own:
                yield batch.slice(0, own)
            if own < batch.num_rows:
                self.after = batch.slice(own)
                return


class _Entries:
    """Symbols and sessions of rows that come by, and how many rows each has."""

    def __init__(self) -> None:
        self._parts: list[tuple[pa.Array, pa.Array, Ints]] = []
        self.rows = 0

    def seen(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.see(batch)
            yield batch

    def see(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        symbols, days = batch.column("symbol"), batch.column("session")
        numbers = days.cast(pa.int32()).to_numpy()
        is_first = starts_of(symbols)
        is_first[1:] |= numbers[1:] != numbers[:-1]
        starts = np.flatnonzero(is_first)
        places = pa.array(starts)
        counts = np.diff(np.append(starts, batch.num_rows)).astype(np.int64)
        self._parts.append((symbols.take(places), days.take(places), counts))
        self.rows += batch.num_rows

    def table(self) -> pa.Table:
        """`symbol`, `session` and `rows`, in the order in which they came."""
        schema = pa.schema(
            [("symbol", pa.string()), ("session", pa.date32()), ("rows", pa.int64())]
        )
        if not self._parts:
            return schema.empty_table()
        symbols = pa.concat_arrays([part[0] for part in self._parts])
        days = pa.concat_arrays([part[1] for part in self._parts])
        counts = np.concatenate([part[2] for part in self._parts])
        # What one batch ends with the next may begin with.
        numbers = days.cast(pa.int32()).to_numpy()
        is_first = starts_of(symbols)
        is_first[1:] |= numbers[1:] != numbers[:-1]
        starts = np.flatnonzero(is_first)
        places = pa.array(starts)
        rows = np.add.reduceat(counts, starts)
        return pa.Table.from_arrays(
            [symbols.take(places), days.take(places), pa.array(rows)], schema=schema
        )
