"""Whether a feature keeps its word: no row changes with what comes after it, or with the start.

Both are tried, not proved: the same question is put for shorter and shorter stretches, and each row
has to be the same in every answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.calendar import Span
from warehouse.errors import LookAheadError
from warehouse.read.frames import nanoseconds
from warehouse.sqlfolder.feature import Feature

_CUTS = 10

Ask = Callable[[int, int], pa.Table]
"""The rows whose stamps lie in [start, end), nanoseconds, in the feature's order."""


@dataclass(frozen=True)
class Difference:
    """A row that is another in a shorter answer.

    Attributes:
        cut: nanoseconds UTC. The shorter answer ends (or begins) there, exclusive (inclusive).
        ahead: it ends there: the row looked at what comes after. Else it begins there: the row
            needs more than the lookback gives it.
        row: in the whole answer; None where it has no such row.
        other: in the shorter one; likewise.
    """

    cut: int
    ahead: bool
    row: dict[str, Any] | None
    other: dict[str, Any] | None

    def __str__(self) -> str:
        row, other = self.row or {}, self.other or {}
        names = [name for name in row or other if not _same(row.get(name), other.get(name))]
        stamp = (row or other)["timestamp"]
        before = ", ".join(f"{name} is {row.get(name, 'absent')}" for name in names)
        after = ", ".join(f"{other.get(name, 'absent')}" for name in names)
        why = "what comes later is taken away" if self.ahead else "the question begins later"
        at = np.datetime64(self.cut, "ns")
        return f"at {stamp} {before}, but {after} when {why} (cut at {at})"


def check(feature: Feature, ask: Ask, span: Span) -> int:
    """Try a feature at a few instants of a span.

    Returns:
        How many rows it has there; of none nothing was tried.

    Raises:
        LookAheadError: a row is not the same in each answer.
    """
    stamps = ask(span.start_ns, span.end_ns)["timestamp"]
    found = first_difference(ask, span.start_ns, span.end_ns, instants(stamps, _CUTS))
    if found is not None:
        raise LookAheadError(feature.file.path, found)
    return len(stamps)


def first_difference(ask: Ask, start: int, end: int, cuts: Sequence[int]) -> Difference | None:
    """The first row that depends on where the question [start, end) ends or begins; None: no row.

    Args:
        cuts: instants at which it is cut in two.
    """
    whole = ask(start, end)
    stamps = nanoseconds(whole["timestamp"])
    for cut in cuts:
        before = whole.filter(pa.array(stamps < cut))
        if found := _compare(before, ask(start, cut)):
            return Difference(cut, True, *found)
        after = whole.filter(pa.array(stamps >= cut))
        if found := _compare(after, ask(cut, end)):
            return Difference(cut, False, *found)
    return None


def instants(stamps: pa.ChunkedArray, count: int) -> list[int]:
    """At most `count` instants spread over the stamps, each just after one of them."""
    distinct = np.sort(nanoseconds(pc.unique(stamps)))
    if not len(distinct):
        return []
    places = np.linspace(0, len(distinct) - 1, min(count, len(distinct))).astype(np.int64)
    return [int(stamp) + 1 for stamp in distinct[np.unique(places)]]


def _compare(
    expected: pa.Table, found: pa.Table
) -> tuple[dict[str, Any] | None, dict[str, Any] | None] | None:
    """The first row that is not the same, on both sides; None where all are."""
    if expected.equals(found):
        return None
    rows, others = expected.to_pylist(), found.to_pylist()
    for row, other in zip(rows, others, strict=False):
        if row.keys() != other.keys() or not all(_same(row[name], other[name]) for name in row):
            return row, other
    longer = max(rows, others, key=len)
    if len(rows) == len(others):
        return None
    extra = longer[min(len(rows), len(others))]
    return (extra, None) if longer is rows else (None, extra)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)
