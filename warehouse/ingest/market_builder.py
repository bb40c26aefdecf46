"""The partition of all symbols of a month: what is published of it, and what comes in, in one file.

A session of a symbol that comes in takes the place of what was there of it; all else stays. The
rows are put together by ranges of symbols, so that no more than one range is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import DataType
from warehouse.core.paths import ALL_SYMBOLS, Layout, RawFile
from warehouse.ingest.incoming_rules import Auditor
from warehouse.ingest.market_rows import MarketRows, SortedRows
from warehouse.ingest.partition_builder import Merged, Origin
from warehouse.store.partitions import (
    ENTRIES,
    Partition,
    read_rows,
    sessions_of,
    slices_of,
    starts_of,
    write_partition,
)

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]

_RANGE_ROWS = 262_144
_DAYS = 1 << 24
"""More than there are days in a calendar: a code is a symbol's place times this, plus the day."""


@dataclass
class _Part:
    """Rows that go into the partition, by symbol, from one raw file or from the one there is.

    Attributes:
        edges: of the symbols of all parts in turn, the row at which each begins, and the end.
        wanted: codes of the symbols and sessions whose rows are taken; None: of all.
        rows: the part's rows between two places; None: of the partition that there is.
    """

    edges: Codes
    wanted: Codes | None
    rows: SortedRows | None


class MarketBuilder:
    """Writes the partition of all symbols of one data type and month.

    Args:
        rows: the batch's rows.
        present: the partition as it is published; None: there is none.
        entries: of that one, where each symbol's sessions came from, as `partitions.ENTRIES`.
        selected: the only symbols that are made anew; empty: all.
        folder: an existing folder for the finished file.
        auditor: is handed the rows that are new, as they are written; None: nobody.
        changed_only: leave a partition alone that would become what it is.
        settled: files that take over no session that another brings.
    """

    def __init__(
        self,
        layout: Layout,
        kind: DataType,
        month: date,
        fingerprint: str,
        rows: MarketRows,
        present: Partition | None,
        entries: pa.Table,
        selected: frozenset[str],
        folder: Path,
        auditor: Auditor | None,
        *,
        changed_only: bool = False,
        settled: AbstractSet[RawFile] = frozenset(),
    ) -> None:
        self._settled = settled
        self._layout, self._kind, self._month = layout, kind, month
        self._fingerprint, self._rows = fingerprint, rows
        self._present, self._entries, self._selected = present, entries, selected
        self._folder, self._auditor = folder, auditor
        self._changed_only = changed_only

    def finish(self, origins: Sequence[Origin]) -> Merged:
        """Write it.

        Args:
            origins: the batch's good files.
        """
        merged = Merged()
        files = [(origin, rows) for origin in origins if (rows := self._sorted(origin.file)).rows]
        symbols = _symbols_of([self._entries, *(rows.entries for _, rows in files)])
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
            if self._present is not None:
                merged.removed.append(ALL_SYMBOLS)
            return merged
        sessions = sessions_of(entries)
        old = self._present
        if old is not None and not files and kept.all():
            # What is read again, if anything, brought nothing and took nothing away.
            return merged
        if self._changed_only and old is not None:
            is_same = (old.fingerprint, old.sessions) == (made_by, sessions)
            if is_same and entries.equals(self._entries.cast(ENTRIES).combine_chunks()):
                merged.unchanged.append(old)
                return merged
        parts = [
            _Part(_edges(rows.entries, symbols), codes if is_part else None, rows)
            for (_, rows), (codes, is_part) in zip(files, taken, strict=True)
        ]
        if kept.any():
            codes = _codes(self._entries, symbols)
            wanted = None if kept.all() else codes[kept]
            parts.insert(0, _Part(_edges(self._entries, symbols), wanted, None))
        path = str(self._folder / "market.parquet")
        stamps = _Stamps()
        partition = write_partition(
            path,
            self._kind,
            self._put_together(parts, symbols, stamps),
            ALL_SYMBOLS,
            self._month,
            sessions,
            made_by,
        )
        slices = slices_of(entries, *stamps.of_each())
        merged.written.append((replace(partition, slices=slices), path))
        return merged

    def _sorted(self, file: RawFile) -> SortedRows:
        found = self._rows.files[file].sorted
        assert found is not None
        return found

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
        if any(origin.file in self._settled for origin, _ in files):
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
            if origin.file in self._settled:
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
            if origin.file in self._settled:
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
        if self._selected:
            named = pa.array(sorted(self._selected), pa.string())
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
        made_by = self._fingerprint
        parts = []
        if kept.any():
            assert self._present is not None
            old = self._entries.filter(pa.array(kept))
            by = pc.fill_null(old["fingerprint"], self._present.fingerprint)
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

    def _put_together(
        self, parts: Sequence[_Part], symbols: pa.Array, stamps: _Stamps
    ) -> Iterator[pa.RecordBatch]:
        """The rows of all parts, by symbol and session; those that are new go to the rules."""
        until = np.sum([part.edges for part in parts], axis=0)
        low = 0
        while low < len(symbols):
            wanted = until[low] + _RANGE_ROWS
            high = max(int(np.searchsorted(until, wanted, side="right")) - 1, low + 1)
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
            if new and self._auditor is not None:
                self._auditor.take(table)
            if new and old:
                table = _in_order([*old, table], symbols)
            for batch in table.combine_chunks().to_batches():
                stamps.see(batch)
                yield batch

    def _between(self, part: _Part, low: int, high: int, symbols: pa.Array) -> pa.Table:
        if low == high:
            return self._kind.columns.empty_table()
        if part.rows is not None:
            rows = part.rows.between(low, high)
        else:
            assert self._present is not None
            path = self._layout.partition(self._kind.name, ALL_SYMBOLS, self._month)
            rows = read_rows(path, self._present, low, high)
        if part.wanted is None:
            return rows
        return rows.filter(pa.array(np.isin(_codes(rows, symbols), part.wanted)))


def _in_order(tables: Sequence[pa.Table], symbols: pa.Array) -> pa.Table:
    """The rows of all tables by symbol and session; within a session as they stand."""
    if len(tables) == 1:
        return tables[0]
    table = pa.concat_tables(tables).combine_chunks()
    return table.take(pa.array(np.argsort(_codes(table, symbols), kind="stable")))


class _Stamps:
    """The first and the last stamp of each symbol, of rows that come by."""

    def __init__(self) -> None:
        self._symbol: str | None = None
        self._first: list[pa.Array] = []
        self._last: list[pa.Array] = []

    def see(self, batch: pa.RecordBatch) -> None:
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


def _symbols_of(entries: Sequence[pa.Table]) -> pa.Array:
    """All symbols, once each, in the order of their bytes."""
    found = pc.unique(pa.concat_tables([one.select(["symbol"]) for one in entries])["symbol"])
    return found.take(pc.sort_indices(found))


def _codes(rows: pa.Table, symbols: pa.Array) -> Codes:
    """One number for each row's symbol and session, ascending by these."""
    places = pc.index_in(rows["symbol"], symbols).to_numpy().astype(np.int64)
    days = rows["session"].cast(pa.int32()).to_numpy().astype(np.int64)
    codes: Codes = places * _DAYS + days
    return codes


def _edges(entries: pa.Table, symbols: pa.Array) -> Codes:
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
