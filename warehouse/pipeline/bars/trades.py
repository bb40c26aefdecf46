"""The published trades of a month, read a few symbols and sessions at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars.build import READS
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import ALL_SYMBOLS, Layout
from warehouse.store.catalog import Catalog
from warehouse.store.partitions import (
    Partition,
    SessionSource,
    brought,
    ranks_of,
    read_rows_of,
    read_sessions,
)

TRADES = DATA_TYPES["trades"]
_PIECE_ROWS = 2_000_000
"""So many trades are read at once, unless one symbol has more of a session."""

Unit: TypeAlias = tuple[str, date]
"""A symbol and a session of its."""


def in_order(symbols: AbstractSet[str] | Mapping[str, object]) -> list[str]:
    """Symbols in the order of their bytes, in which partitions of all symbols have them."""
    return sorted(symbols, key=str.encode)


@dataclass(frozen=True)
class _Shared:
    """Files of all symbols of one session, whose rows follow on each other.

    Attributes:
        symbols: those that have rows.
        edges: the row at which each of them begins, and the end.
    """

    files: list[Partition]
    symbols: list[str]
    edges: npt.NDArray[np.int64]


class MonthOfTrades:
    """What is published of a month's trades, as one generation of the catalog has it.

    Attributes:
        units: of each symbol and session what its rows were made of, by symbol and session.
    """

    def __init__(self, layout: Layout, catalog: Catalog, month: date) -> None:
        self._layout = layout
        found = catalog.partitions(TRADES.name, None, month, month)
        self._own = {one.symbol: one for one in found if one.symbol != ALL_SYMBOLS}
        self._files: defaultdict[date, list[Partition]] = defaultdict(list)
        for one in sorted(found, key=lambda one: one.part):
            if one.key.session is not None:
                self._files[one.key.session].append(one)
        self._entries = catalog.entries(TRADES.name, month)
        made = {session: files[0].fingerprint for session, files in self._files.items()}
        units: dict[Unit, SessionSource] = {
            (symbol, each.session): replace(each, fingerprint=each.fingerprint or one.fingerprint)
            for symbol, one in self._own.items()
            for each in one.sessions
        }
        for entry in self._entries.to_pylist():
            symbol = entry.pop("symbol")
            each = SessionSource(**entry)
            told = each.fingerprint or made[each.session]
            units[symbol, each.session] = replace(each, fingerprint=told)
        order = sorted(units, key=lambda unit: (unit[0].encode(), unit[1]))
        self.units = {unit: units[unit] for unit in order}

    @property
    def is_shared(self) -> bool:
        return bool(self._files)

    def of(self, wanted: AbstractSet[Unit]) -> Iterator[pa.Table]:
        """The trades of symbols and sessions: the columns `bars.build.READS`, by symbol, session
        and the order of the tape. Each piece has some sessions of some symbols, in turn.

        Raises:
            CorruptPartitionError: a file is damaged, or not the one the catalog knows.
        """
        pieces = self._of_all(wanted) if self.is_shared else self._of_each(wanted)
        held: list[pa.Table] = []
        rows = 0
        for piece in pieces:
            if held and rows + piece.num_rows > _PIECE_ROWS:
                yield pa.concat_tables(held)
                held, rows = [], 0
            held.append(piece.select(READS))
            rows += piece.num_rows
        if held:
            yield pa.concat_tables(held)

    def _of_each(self, wanted: AbstractSet[Unit]) -> Iterator[pa.Table]:
        by_symbol = _by_symbol(wanted)
        for symbol in in_order(by_symbol):
            one = self._own[symbol]
            sessions = frozenset(by_symbol[symbol])
            for _, batches in read_sessions(brought(self._layout, one), one, sessions):
                yield pa.Table.from_batches(list(batches), TRADES.columns)

    def _of_all(self, wanted: AbstractSet[Unit]) -> Iterator[pa.Table]:
        """Ranges of symbols, each of all its sessions: a file is opened once for many symbols."""
        by_symbol = _by_symbol(wanted)
        symbols = in_order(by_symbol)
        counts = [
            sum(self.units[symbol, day].rows for day in by_symbol[symbol]) for symbol in symbols
        ]
        until = np.concatenate([[0], np.cumsum(counts)])
        low = 0
        while low < len(symbols):
            high = max(
                int(np.searchsorted(until, until[low] + _PIECE_ROWS, side="right")) - 1, low + 1
            )
            some = {symbol: by_symbol[symbol] for symbol in symbols[low:high]}
            days = sorted({day for each in some.values() for day in each})
            parts = (self._of_session(day, [s for s in some if day in some[s]]) for day in days)
            if high == low + 1:
                yield from parts
            else:
                rows = pa.concat_tables(parts)
                ranks, _ = ranks_of(rows["symbol"])
                yield rows.take(pa.array(np.argsort(ranks, kind="stable")))
            low = high

    def _of_session(self, session: date, symbols: Sequence[str]) -> pa.Table:
        """The trades of some symbols, in the order of their bytes."""
        shared = self._shared[session]
        places = [shared.symbols.index(symbols[0]), shared.symbols.index(symbols[-1])]
        low, high = shared.edges[places[0]], shared.edges[places[1] + 1]
        rows = read_rows_of(self._layout, shared.files, int(low), int(high))
        if len(symbols) < places[1] + 1 - places[0]:
            rows = rows.filter(pc.is_in(rows["symbol"], pa.array(symbols)))
        return rows

    @cached_property
    def _shared(self) -> dict[date, _Shared]:
        found = {}
        for session, files in self._files.items():
            own = self._entries.filter(pc.equal(self._entries["session"], pa.scalar(session)))
            edges = np.concatenate([[0], np.cumsum(own["rows"].to_numpy())]).astype(np.int64)
            found[session] = _Shared(files, own["symbol"].to_pylist(), edges)
        return found


def _by_symbol(wanted: AbstractSet[Unit]) -> dict[str, set[date]]:
    found: defaultdict[str, set[date]] = defaultdict(set)
    for symbol, session in wanted:
        found[symbol].add(session)
    return dict(found)
