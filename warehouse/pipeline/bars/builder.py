"""The partitions of kept bars: what is stale is built from trades, all else is taken over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars.build import build
from warehouse.core.datatypes import DataType
from warehouse.core.paths import Layout, PartitionKey
from warehouse.errors import CorruptPartitionError
from warehouse.ingest.market_builder import MarketWriter, Part, edges_of_symbols, symbols_of
from warehouse.ingest.row_sorter import SortedRows
from warehouse.pipeline.bars import origin
from warehouse.pipeline.bars.trades import MonthOfTrades, in_order
from warehouse.pipeline.bars.work import Work
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.store.partitions import (
    ENTRIES,
    Partition,
    brought,
    ranks_of,
    read_rows_of,
    read_sessions,
    write_partition,
)

_SHELF_FILES = 32
"""So many files stand in one folder of the staging tier."""


@dataclass(frozen=True)
class Builds:
    """Builds bars of one length.

    Attributes:
        connection: of `bars.build.engine`.
    """

    connection: duckdb.DuckDBPyConnection
    folder: BarFolder
    kind: DataType

    def of(self, trades: pa.Table) -> pa.Table:
        """The bars, by symbol, session and time."""
        bars = build(self.connection, self.folder, origin.spec_of(self.kind), trades).table
        bars = bars.select(self.kind.columns.names).cast(self.kind.columns)
        ranks, _ = ranks_of(bars["symbol"])
        days, stamps = (
            bars[name].cast(pa.int32() if name == "session" else pa.int64()).to_numpy()
            for name in ("session", "timestamp")
        )
        return bars.take(pa.array(np.lexsort((stamps, days, ranks)))).combine_chunks()


class Builder:
    """Writes what is stale of a month's bars into a folder of the staging tier.

    Attributes:
        replaced: partitions that are no more, unless one of the same key was written.
    """

    def __init__(
        self,
        layout: Layout,
        builds: Builds,
        work: Work,
        trades: MonthOfTrades,
        folder: Path,
        workers: int,
    ) -> None:
        self._layout, self._builds, self._work = layout, builds, work
        self._trades, self._staging, self._workers = trades, folder, workers
        self._numbers = count()
        self.replaced: set[PartitionKey] = set()

    def write(self) -> list[tuple[Partition, str]]:
        """Write them; returns each with its staged file.

        Raises:
            CorruptPartitionError: a partition of the trades is damaged.
            SqlFileError: a statement of sql/bars fails.
            StorageError: the disk refuses.
        """
        if self._work.place == "symbol":
            return self._symbols()
        return [one for place in self._work.stale for one in self._market(place)]

    def _symbols(self) -> list[tuple[Partition, str]]:
        present = {one.symbol: one for one in self._work.present}
        wanted = {unit for units in self._work.stale.values() for unit in units}
        waiting = [symbol for symbol in self._work.stale if isinstance(symbol, str)]
        waiting = in_order(dict.fromkeys(waiting))
        held: defaultdict[str, list[pa.Table]] = defaultdict(list)
        written: list[tuple[Partition, str]] = []

        def flush(until: str | None) -> None:
            # What comes next is of `until`, or of a symbol behind it.
            while waiting and (until is None or waiting[0].encode() < until.encode()):
                symbol = waiting.pop(0)
                written.extend(self._write_symbol(symbol, held.pop(symbol, []), present))

        for trades in self._trades.of(wanted):
            flush(trades["symbol"][0].as_py())
            bars = self._builds.of(trades)
            for symbol, own in _by_symbol(bars):
                held[symbol].append(own)
        flush(None)
        return written

    def _write_symbol(
        self, symbol: str, built: list[pa.Table], present: dict[str, Partition]
    ) -> Iterator[tuple[Partition, str]]:
        work, old = self._work, present.get(symbol)
        stale = work.stale[symbol]
        if old is not None:
            self.replaced.add(old.key)
        parts = {day: (replace(work.due[symbol, day], rows=own.num_rows), own)
                 for bars in built for day, own in _by_session(bars)}  # fmt: skip
        own = {unit for unit in work.due if unit[0] == symbol}
        fresh = frozenset(day for _, day in own - stale)
        if old is not None and fresh:
            path = brought(self._layout, old)
            try:
                for session, batches in read_sessions(path, old, fresh):
                    rows = pa.Table.from_batches(list(batches), work.kind.columns)
                    parts[session.session] = session, rows
            except CorruptPartitionError:
                # All of it follows from the trades.
                for trades in self._trades.of({(symbol, day) for day in fresh}):
                    for day, bars in _by_session(self._builds.of(trades)):
                        parts[day] = replace(work.due[symbol, day], rows=bars.num_rows), bars
        if not parts:
            return
        ordered = [parts[day] for day in sorted(parts)]
        number = next(self._numbers)
        shelf = self._staging / str(number // _SHELF_FILES)
        self._layout.modes.make_folders(shelf)
        staged = str(shelf / f"{number}.parquet")
        batches = (batch for _, rows in ordered for batch in rows.to_batches())
        sessions = tuple(source for source, _ in ordered)
        yield (
            write_partition(
                staged, work.kind, batches, symbol, work.month, sessions, work.made_by[symbol]
            ),
            staged,
        )

    def _market(self, place: str | date) -> list[tuple[Partition, str]]:
        """The files of all symbols of a session, or of the month."""
        assert isinstance(place, date)
        work = self._work
        own = [one for one in work.present if one.key.session in (None, place)]
        self.replaced |= {one.key for one in own}
        stale = work.stale[place]
        built = [self._builds.of(trades) for trades in self._trades.of(stale)]
        entries = [self._entries(bars) for bars in built]
        if not work.kind.by_session and own:
            days = {day for _, day in work.due} - {day for _, day in stale}
            kept, told = self._kept(own, days)
            built.append(kept)
            entries.append(told)
        bars = pa.concat_tables([work.kind.columns.empty_table(), *built])
        if not bars.num_rows:
            return []
        told = pa.concat_tables(entries)
        order = [("symbol", "ascending"), ("session", "ascending")]
        told = told.take(pc.sort_indices(told, order)).combine_chunks()
        bars = bars.take(pc.sort_indices(bars, [*order, ("timestamp", "ascending")]))
        bars = bars.combine_chunks()
        shelf = self._staging / f"{place:%d}"
        self._layout.modes.make_folders(shelf)
        symbols = symbols_of([told])
        writer = MarketWriter(self._layout, work.kind, place, (), shelf, self._workers)
        rows = SortedRows(told, bars.num_rows, bars.nbytes, held=bars)
        part = Part(edges_of_symbols(told, symbols), None, rows)
        return writer.write([part], symbols, told, work.made_by[place])

    def _kept(self, own: list[Partition], days: AbstractSet[date]) -> tuple[pa.Table, pa.Table]:
        """Day bars that stay as they are, of some sessions, and their entries."""
        wanted = pa.array(sorted(days), pa.date32())
        try:
            rows = read_rows_of(self._layout, own, 0, sum(one.rows for one in own))
        except CorruptPartitionError:
            units = {unit for unit in self._work.due if unit[1] in days}
            built = [self._builds.of(trades) for trades in self._trades.of(units)]
            rows = pa.concat_tables([self._work.kind.columns.empty_table(), *built])
            return rows, self._entries(rows)
        entries = self._work.entries
        return (
            rows.filter(pc.is_in(rows["session"], wanted)),
            entries.filter(pc.is_in(entries["session"], wanted)),
        )

    def _entries(self, bars: pa.Table) -> pa.Table:
        """Where the bars of each symbol and session come from."""
        counts = bars.group_by(["symbol", "session"], use_threads=False).aggregate(
            [([], "count_all")]
        )
        due = self._work.due
        return pa.Table.from_pylist(
            [
                {
                    **vars(due[row["symbol"], row["session"]]),
                    "symbol": row["symbol"],
                    "rows": row["count_all"],
                }
                for row in counts.to_pylist()
            ],
            ENTRIES,
        )


def _by_symbol(bars: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Rows that stand together by symbol."""
    yield from _runs(bars, "symbol")


def _by_session(bars: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """A symbol's rows, which are by session."""
    yield from _runs(bars, "session")


def _runs(bars: pa.Table, name: str) -> Iterator[tuple[Any, pa.Table]]:
    if not bars.num_rows:
        return
    runs = pc.run_end_encode(bars[name].combine_chunks())
    start = 0
    for value, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield value, bars.slice(start, end - start)
        start = end
