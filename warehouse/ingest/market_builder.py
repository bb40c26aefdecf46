"""The partitions of all symbols of a month, or of a session: what there is and what comes in.

A session of a symbol that comes in takes the place of what was there of it; all else stays. The
rows are put together by ranges of symbols, so that no more than a few ranges are in memory. Bars of
a day share one file a month. Of the other data types each session has files of its own, cut
between symbols: small enough that a footer costs nothing, and no more than a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import DataType
from warehouse.core.paths import ALL_SYMBOLS, Layout, month_of, part_name
from warehouse.ingest.incoming_rules import IncomingRules, Taken
from warehouse.ingest.merge import Merge, Merged, Origin
from warehouse.ingest.row_sorter import SortedRows
from warehouse.store.partitions import (
    ENTRIES,
    Partition,
    read_rows_of,
    sessions_of,
    slices_of,
    starts_of,
    write_partition,
)

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]

_RANGE_ROWS = 262_144
FILE_ROWS = 262_144
"""So many rows of a session go into a file, unless a symbol alone, or a hundredth, has more."""
_MOST_FILES = 48
"""Of twice this size: two files that follow on each other have more than that together."""
_DAYS = 1 << 24
"""More than there are days in a calendar: a code is a symbol's place times this, plus the day."""


@dataclass
class Part:
    """Rows that go into the partition, by symbol, from one raw file or from the one there is.

    Attributes:
        edges: of the symbols of all parts in turn, the row at which each begins, and the end.
        wanted: codes of the symbols and sessions whose rows are taken; None: of all.
        rows: the part's rows between two places; None: of the partitions that there are.
    """

    edges: Codes
    wanted: Codes | None
    rows: SortedRows | None


class MarketBuilder:
    """Writes the partitions of all symbols of one data type and month, or session.

    Args:
        merge: the rows that come in.
        place: which; of a data type that goes by session the session, else the month's first day.
        present: the partitions as they are published, by their part.
        entries: of those, where each symbol's sessions came from, as `partitions.ENTRIES`.
    """

    def __init__(
        self, merge: Merge, place: date, present: Sequence[Partition], entries: pa.Table
    ) -> None:
        self._merge, self._present, self._entries = merge, present, entries
        self._writer = MarketWriter(
            merge.layout,
            merge.kind,
            place,
            present,
            merge.folder,
            merge.workers,
            merge.incoming_rules,
        )

    def finish(self, origins: Sequence[Origin]) -> Merged:
        """Write them.

        Args:
            origins: the batch's good files.
        """
        merged = Merged()
        files = [
            (origin, rows) for origin in origins if (rows := self._merge.rows[origin.file]).rows
        ]
        symbols = symbols_of([self._entries, *(rows.entries for _, rows in files)])
        fresh = [_codes(rows.entries, symbols) for _, rows in files]
        again = self._again(origins)
        taken = self._taken(files, fresh, again, symbols, merged)
        for origin, rows in files:
            key = origin.file.key
            merged.brought[key] += rows.rows - merged.passed_over[key]
        kept = ~again
        for codes, _ in taken:
            kept &= ~np.isin(_codes(self._entries, symbols), codes)
        entries, made_by = self._new_entries(files, fresh, taken, kept, symbols)
        if not entries.num_rows:
            merged.removed += [old.key for old in self._present]
            return merged
        if self._present and not files and kept.all():
            # What is read again, if anything, brought nothing and took nothing away.
            return merged
        if self._merge.changed_only and self._present:
            is_same = all(old.fingerprint == made_by for old in self._present)
            if is_same and entries.equals(self._entries.cast(ENTRIES).combine_chunks()):
                merged.unchanged += self._present
                return merged
        parts = [
            Part(edges_of_symbols(rows.entries, symbols), codes if is_part else None, rows)
            for (_, rows), (codes, is_part) in zip(files, taken, strict=True)
        ]
        if kept.any():
            codes = _codes(self._entries, symbols)
            wanted = None if kept.all() else codes[kept]
            parts.insert(0, Part(edges_of_symbols(self._entries, symbols), wanted, None))
        merged.written = self._writer.write(parts, symbols, entries, made_by)
        written = {partition.key for partition, _ in merged.written}
        merged.removed += [old.key for old in self._present if old.key not in written]
        return merged

    def _taken(
        self,
        files: Sequence[tuple[Origin, SortedRows]],
        fresh: Sequence[Codes],
        again: Bools,
        symbols: pa.Array,
        merged: Merged,
    ) -> list[tuple[Codes, bool]]:
        """Of each file the codes that are taken from it, and whether some are not.

        Where two have a symbol's session, the one that it came from before stays; else it is the
        symbol's own.
        """
        everything = np.concatenate(fresh) if fresh else np.empty(0, np.int64)
        values, counts = np.unique(everything, return_counts=True)
        twice = values[counts > 1]
        others = np.empty(0, np.int64)
        if any(origin.file in self._merge.settled for origin, _ in files):
            others = _codes(self._entries, symbols)[~again]
        if not len(twice) and not len(others):
            return [(codes, False) for codes in fresh]
        before = dict(
            zip(
                _codes(self._entries, symbols).tolist(),
                self._entries["source"].to_pylist(),
                strict=True,
            )
        )
        owner: dict[int, int] = {}
        for place, ((origin, _), codes) in enumerate(zip(files, fresh, strict=True)):
            if origin.file in self._merge.settled:
                codes = codes[~np.isin(codes, others)]
            for code in codes[np.isin(codes, twice)].tolist():
                if code not in owner:
                    owner[code] = place
                    continue
                present = files[owner[code]][0].file
                if origin.file.key == before.get(code) or (
                    origin.file.symbol is not None and present.key != before.get(code)
                ):
                    owner[code] = place
        taken = []
        for place, ((origin, rows), codes) in enumerate(zip(files, fresh, strict=True)):
            is_taken = np.array(
                [owner.get(code, place) == place for code in codes.tolist()], np.bool_
            )
            if origin.file in self._merge.settled:
                is_taken &= ~np.isin(codes, others)
            left = rows.entries["rows"].to_numpy()[~is_taken].sum()
            if left:
                merged.passed_over[origin.file.key] += int(left)
            taken.append((codes[is_taken], not is_taken.all()))
        return taken

    def _again(self, origins: Sequence[Origin]) -> Bools:
        """Which of the present entries came from a file that is read again, for this symbol too."""
        again = pc.is_in(
            self._entries["source"], pa.array([o.file.key for o in origins], pa.string())
        )
        if self._merge.selected:
            named = pa.array(sorted(self._merge.selected), pa.string())
            again = pc.and_(again, pc.is_in(self._entries["symbol"], named))
        found: Bools = again.to_numpy().astype(np.bool_)
        return found

    def _new_entries(
        self,
        files: Sequence[tuple[Origin, SortedRows]],
        fresh: Sequence[Codes],
        taken: Sequence[tuple[Codes, bool]],
        kept: Bools,
        symbols: pa.Array,
    ) -> tuple[pa.Table, str]:
        """Where each symbol's sessions come from, by symbol and session, and what made them."""
        made_by = self._merge.fingerprint
        parts = []
        if kept.any():
            by = self._made_by().filter(pa.array(kept))
            old = self._entries.filter(pa.array(kept))
            if not files:
                made_by = by[-1].as_py()
            marked = pc.if_else(pc.equal(by, made_by), pa.scalar(None, pa.string()), by)
            at = old.schema.get_field_index("fingerprint")
            parts.append(old.set_column(at, "fingerprint", marked).cast(ENTRIES))
        for (origin, rows), codes, (some, is_part) in zip(files, fresh, taken, strict=True):
            entries = rows.entries
            if is_part:
                entries = entries.filter(pa.array(np.isin(codes, some)))
            parts.append(_entries_of(origin, entries))
        if not parts:
            return ENTRIES.empty_table(), made_by
        found = pa.concat_tables(parts)
        order = np.argsort(_codes(found, symbols), kind="stable")
        return found.take(pa.array(order)).combine_chunks(), made_by

    def _made_by(self) -> pa.ChunkedArray:
        """What made each of the present entries."""
        by = [old.fingerprint for old in self._present]
        counts = [old.rows for old in self._present]
        # Rows of the files follow on each other, as the entries do.
        starts = np.cumsum(self._entries["rows"].to_numpy()) - self._entries["rows"].to_numpy()
        whose = np.searchsorted(np.cumsum(counts), starts, side="right")
        return pc.coalesce(self._entries["fingerprint"], pa.array(by).take(pa.array(whose)))


class MarketWriter:
    """Puts rows together and encodes them, as the files of a month or of a session.

    Args:
        place: as `MarketBuilder` has it.
        present: the partitions that a part without rows of its own is of.
        folder, workers, incoming_rules: as `Merge` has them.
    """

    def __init__(
        self,
        layout: Layout,
        kind: DataType,
        place: date,
        present: Sequence[Partition],
        folder: Path,
        workers: int,
        incoming_rules: IncomingRules | None = None,
    ) -> None:
        self._layout, self._kind, self._place = layout, kind, place
        self._present, self._folder = present, folder
        self._workers, self._incoming_rules = workers, incoming_rules

    def write(
        self, parts: Sequence[Part], symbols: pa.Array, entries: pa.Table, made_by: str
    ) -> list[tuple[Partition, str]]:
        """Write them; returns each with its staged file.

        Args:
            symbols: all that one of the parts may have, ascending.
            entries: what there will be, by symbol and session, as `partitions.ENTRIES`.
            made_by: the fingerprint of what made the entries that have none of their own.
        """
        places, edges = _codes(entries, symbols) // _DAYS, edges_of_symbols(entries, symbols)
        until = np.sum([part.edges for part in parts], axis=0)
        cuts = file_cuts(edges) if self._kind.by_session else [0, len(symbols)]
        # Of some symbols no row may be left.
        ranges = [(low, high) for low, high in pairwise(cuts) if edges[low] < edges[high]]
        with ThreadPoolExecutor(self._workers, thread_name_prefix="encode") as threads:
            written = []
            for number, (low, high) in enumerate(ranges):
                first, end = np.searchsorted(places, (low, high))
                rows = self._put_together(parts, symbols, until, low, high)
                own = entries.slice(first, end - first)
                written.append(threads.submit(self._write_one, number, own, made_by, rows))
            try:
                return [one.result() for one in written]
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def _write_one(
        self, number: int, entries: pa.Table, made_by: str, rows: Iterable[pa.RecordBatch]
    ) -> tuple[Partition, str]:
        part = part_name(self._place, number) if self._kind.by_session else ""
        path = str(self._folder / f"market-{number}.parquet")
        stamps = Stamps()
        partition = write_partition(
            path,
            self._kind,
            stamps.seen(rows),
            ALL_SYMBOLS,
            month_of(self._place),
            sessions_of(entries),
            made_by,
            part,
        )
        slices = slices_of(entries, *stamps.of_each())
        return replace(partition, slices=slices), path

    def _put_together(
        self, parts: Sequence[Part], symbols: pa.Array, until: Codes, low: int, stop: int
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the symbols [low, stop) of all parts, by symbol and session, a few at a time.

        Those that are new go to the rules. Each file's rows are put together on the thread that
        encodes them.
        """
        while low < stop:
            wanted = until[low] + _RANGE_ROWS
            high = max(int(np.searchsorted(until, wanted, side="right")) - 1, low + 1)
            high = min(high, stop)
            if high == low + 1 and self._kind.by_session and until[high] - until[low] > _RANGE_ROWS:
                yield from self._of_large(parts, symbols, low)
                low = high
                continue
            old: list[pa.Table] = []
            new: list[pa.Table] = []
            for part in parts:
                rows = self._between(part, int(part.edges[low]), int(part.edges[high]), symbols)
                if rows.num_rows:
                    (old if part.rows is None else new).append(rows)
            low = high
            if not old and not new:
                continue
            table = _in_order(new, symbols) if new else old[0]
            if new and self._incoming_rules is not None:
                self._incoming_rules.take(table)
            if new and old:
                table = _in_order([*old, table], symbols)
            yield from table.combine_chunks().to_batches()

    def _of_large(
        self, parts: Sequence[Part], symbols: pa.Array, place: int
    ) -> Iterator[pa.RecordBatch]:
        """A session's rows of a symbol that has very many, all of one part, a few at a time."""
        for part in parts:
            low, high = int(part.edges[place]), int(part.edges[place + 1])
            taken: Taken | None = None
            for start in range(low, high, _RANGE_ROWS):
                rows = self._between(part, start, min(start + _RANGE_ROWS, high), symbols)
                for batch in rows.combine_chunks().to_batches():
                    if part.rows is not None and self._incoming_rules is not None:
                        taken = taken or self._incoming_rules.begin()
                        taken.add(batch)
                    yield batch
            if taken is not None:
                taken.done()

    def _between(self, part: Part, low: int, high: int, symbols: pa.Array) -> pa.Table:
        if low == high:
            return self._kind.columns.empty_table()
        if part.rows is not None:
            rows = part.rows.between(low, high)
        else:
            rows = read_rows_of(self._layout, self._present, low, high)
        if part.wanted is None:
            return rows
        return rows.filter(pa.array(np.isin(_codes(rows, symbols), part.wanted)))


def file_cuts(edges: Codes) -> list[int]:
    """Where a session is cut into files: places of symbols, with the first and the end.

    Args:
        edges: the row at which each symbol begins, and the end.
    """
    rows = max(FILE_ROWS, int(edges[-1]) // _MOST_FILES + 1)
    cuts = [0]
    while cuts[-1] < len(edges) - 1:
        place = int(np.searchsorted(edges, edges[cuts[-1]] + rows, side="right")) - 1
        cuts.append(max(place, cuts[-1] + 1))
    return cuts


def _in_order(tables: Sequence[pa.Table], symbols: pa.Array) -> pa.Table:
    """The rows of all tables by symbol and session; within a session as they stand."""
    if len(tables) == 1:
        return tables[0]
    table = pa.concat_tables(tables).combine_chunks()
    return table.take(pa.array(np.argsort(_codes(table, symbols), kind="stable")))


class Stamps:
    """The first and the last stamp of each symbol, of rows that come by."""

    def __init__(self) -> None:
        self._symbol: str | None = None
        self._first: list[pa.Array] = []
        self._last: list[pa.Array] = []

    def seen(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self._see(batch)
            yield batch

    def _see(self, batch: pa.RecordBatch) -> None:
        symbols, stamps = batch.column("symbol"), batch.column("timestamp").cast(pa.int64())
        starts = np.flatnonzero(starts_of(symbols))
        lasts = np.append(starts[1:], batch.num_rows) - 1
        first, last = stamps.take(pa.array(starts)), stamps.take(pa.array(lasts))
        if self._symbol == symbols[0].as_py():
            # It goes on from the batch before.
            first = first.slice(1)
            self._last[-1] = self._last[-1].slice(0, len(self._last[-1]) - 1)
        self._first.append(first)
        self._last.append(last)
        self._symbol = symbols[-1].as_py()

    def of_each(self) -> tuple[pa.Array, pa.Array]:
        return pa.concat_arrays(self._first), pa.concat_arrays(self._last)


def symbols_of(entries: Sequence[pa.Table]) -> pa.Array:
    """All symbols, once each, in the order of their bytes."""
    found = pc.unique(pa.concat_tables([one.select(["symbol"]) for one in entries])["symbol"])
    return found.take(pc.sort_indices(found))


def _codes(rows: pa.Table, symbols: pa.Array) -> Codes:
    """One number for each row's symbol and session, ascending by these."""
    places = pc.index_in(rows["symbol"], symbols).to_numpy().astype(np.int64)
    days = rows["session"].cast(pa.int32()).to_numpy().astype(np.int64)
    codes: Codes = places * _DAYS + days
    return codes


def edges_of_symbols(entries: pa.Table, symbols: pa.Array) -> Codes:
    """The row at which each of the symbols begins, and the end."""
    places = pc.index_in(entries["symbol"], symbols).to_numpy()
    rows = np.bincount(places, entries["rows"].to_numpy(), len(symbols))
    return np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)


def _entries_of(origin: Origin, entries: pa.Table) -> pa.Table:
    """The symbols and sessions that a raw file brings, as the partition names them."""
    rejects = np.zeros(entries.num_rows, np.int64)
    if origin.rejects:
        pairs = zip(entries["symbol"].to_pylist(), entries["session"].to_pylist(), strict=True)
        rejects = np.array([origin.rejects[pair] for pair in pairs], np.int64)

    def same(text: str | None) -> pa.Array:
        return pa.repeat(pa.scalar(text, pa.string()), entries.num_rows)

    return pa.Table.from_arrays(
        [
            entries["symbol"],
            entries["session"],
            entries["rows"],
            pa.array(rejects),
            same(origin.file.key),
            same(origin.etag),
            same(origin.sha256),
            same(None),
        ],
        schema=ENTRIES,
    )
