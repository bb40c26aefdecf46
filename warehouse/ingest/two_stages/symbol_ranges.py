"""Symbols in ranges that take about as long to build as each other."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping

from warehouse.ingest.stage import SortedFile
from warehouse.store.partitions import Partition

LEAST_ROWS = 1 << 20
"""A range of fewer is built sooner than the task for it has begun."""
_ROWS_OF_A_FILE = 4_096
"""To write a partition takes as long as to write so many rows more."""


def rows_by_symbol(files: Iterable[SortedFile], present: Iterable[Partition]) -> Counter[str]:
    """Of each symbol that comes in, how many rows its partition is made of, at most."""
    found: Counter[str] = Counter()
    for one in files:
        if one.rows is not None:
            symbols, rows = (one.rows.entries[name].to_pylist() for name in ("symbol", "rows"))
            for symbol, number in zip(symbols, rows, strict=True):
                found[symbol] += number
    for partition in present:
        if partition.symbol in found:
            found[partition.symbol] += partition.rows
    return found


class SymbolRanges:
    """All symbols there may be, in ranges.

    Args:
        rows: of symbols; those that are not named have none.
        most: so many ranges are wanted. A symbol that has more than its part of the rows is a range
            of its own, so there may be a few more.

    Attributes:
        firsts: the first symbol of each range, ascending; that of the first range is before all.
    """

    def __init__(self, rows: Mapping[str, int], most: int) -> None:
        weights = {symbol: rows[symbol] + _ROWS_OF_A_FILE for symbol in sorted(rows)}
        total = sum(weights.values())
        target = total / max(min(most, total // LEAST_ROWS), 1)
        self.firsts = [""]
        held = 0
        for symbol, weight in weights.items():
            if held and held + weight > target:
                self.firsts.append(symbol)
                held = 0
            held += weight

    def __len__(self) -> int:
        return len(self.firsts)

    def place(self, symbol: str) -> int:
        """Which range the symbol is in."""
        return bisect_right(self.firsts, symbol) - 1

    def bounds(self, place: int) -> tuple[str, str | None]:
        """The first symbol of a range, and that of the next; None: there is none."""
        return self.firsts[place], next(iter(self.firsts[place + 1 :]), None)
