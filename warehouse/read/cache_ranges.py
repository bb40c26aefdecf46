"""What an answer covers, and a narrower answer cut out of it without reading anything.

A session's rows lie within its New York day, so sessions and instants are alike here: rows from
`start_ns` on, before `end_ns`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from warehouse.bars.adjustment import Factors
from warehouse.core.calendar import span_between
from warehouse.core.datatypes import DataType
from warehouse.read.fingerprint import fingerprint
from warehouse.read.frame_options import Shape, selected, shaped, unshaped
from warehouse.read.frames import first_at, rows_of
from warehouse.read.snapshot import Stored

Edges = Mapping[str, tuple[int, int]]
"""By symbol, the rows [low, high) of an answer that are its."""


@dataclass(frozen=True, eq=False)
class Range:
    """What one answer covers.

    Attributes:
        columns: in the order asked, and not those of the index.
        start_ns, end_ns: stamps lie in [start_ns, end_ns).
        stored: by symbol, in the order asked: the partitions that may hold such rows.
        factors: what their prices and sizes were multiplied by.
    """

    kind: DataType
    shape: Shape
    columns: tuple[str, ...]
    start_ns: int
    end_ns: int
    stored: Mapping[str, Sequence[Stored]]
    factors: Factors = field(default_factory=Factors)

    @property
    def group(self) -> Hashable:
        """What must be the same where one answer is part of another."""
        return self.kind.name, self.shape

    @cached_property
    def key(self) -> Hashable:
        """Equal keys, equal answers."""
        asked = self.group, self.columns, self.start_ns, self.end_ns, self._content
        return (*asked, self.factors.facts) if self.factors else asked

    @property
    def fingerprint(self) -> str:
        """One id of all that stands behind the answer: equal ids, equal answers.

        A partition's SHA-256 covers its rows and, by its metadata, the hashes of the vendor's files
        and the fingerprint of the SQL, the tables and the settings that made it.
        """
        span = (self.start_ns, self.end_ns)
        name, shape = self.kind.name, astuple(self.shape)
        facts = ("load", name, shape, self.columns, span, self._content)
        # Where nothing is multiplied the answer is the one that was not to be adjusted.
        return fingerprint(*facts, self.factors.facts) if self.factors else fingerprint(*facts)

    @property
    def _content(self) -> tuple[tuple[str, ...], ...]:
        return tuple(
            (symbol, *(one.sha256 for one in stored)) for symbol, stored in self.stored.items()
        )

    @property
    def everything(self) -> tuple[str, ...]:
        """The columns and those of the index."""
        return *self.shape.index, *self.columns

    def holds(self, other: Range) -> bool:
        """Whether all of the other's rows and columns are in this answer, as they are now.

        `other.stored` is of the present, this one's of when it was read: they must be the same.
        """
        if not (
            self.start_ns <= other.start_ns
            and other.end_ns <= self.end_ns
            and self.group == other.group
            and (self.has_span_of(other) or "timestamp" in self.everything)
            and set(other.columns) <= set(self.columns)
            and other.stored.keys() <= self.stored.keys()
            and self._multiplies_as(other)
        ):
            return False
        return all(
            [one for one in self.stored[symbol] if one.overlaps(other.start_ns, other.end_ns)]
            == stored
            for symbol, stored in other.stored.items()
        )

    def _multiplies_as(self, other: Range) -> bool:
        """Whether the rows of the other were multiplied by the same here."""
        if not self.factors:
            return not other.factors
        span = span_between(other.start_ns, other.end_ns)
        return self.factors.within(other.stored, span.first, span.last) == other.factors

    def has_span_of(self, other: Range) -> bool:
        return (self.start_ns, self.end_ns) == (other.start_ns, other.end_ns)

    def cut(self, frame: Any, edges: Edges, other: Range) -> Any:
        """The answer to `other`, which this range holds, out of this one's `frame`."""
        if self.shape.by_time:
            pieces = [self._bounds(frame, 0, len(frame), other)]
        else:
            pieces = _joined(self._bounds(frame, *edges[symbol], other) for symbol in other.stored)
        part = rows_of(frame, pieces, other.columns)
        if self.shape.by_time:
            part = selected(part, other.stored.keys())
        if self.shape.depends_on_rows:
            part = shaped(unshaped(part, self.kind, other.everything), self.shape)
        if isinstance(part, pd.DataFrame):
            part.attrs = {**part.attrs, "fingerprint": other.fingerprint}
        return part

    def _bounds(self, frame: Any, low: int, high: int, other: Range) -> tuple[int, int]:
        if self.has_span_of(other):
            return low, high
        low = first_at(frame, other.start_ns, low, high)
        return low, first_at(frame, other.end_ns, low, high)


def _joined(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pieces without empty ones, those that follow on each other as one."""
    joined: list[tuple[int, int]] = []
    for low, high in pieces:
        if low == high:
            continue
        if joined and joined[-1][1] == low:
            low = joined.pop()[0]
        joined.append((low, high))
    return joined
