"""Ranges of bytes: which of them are missing, and in what requests they are best fetched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

Range = tuple[int, int]
"""The bytes [start, end)."""


def joined(ranges: Iterable[Range], gap: int = 0) -> list[Range]:
    """The same bytes in order, no two ranges nearer to each other than more than `gap` bytes."""
    found: list[Range] = []
    for start, end in sorted(one for one in ranges if one[0] < one[1]):
        if found and start <= found[-1][1] + gap:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def missing(wanted: Iterable[Range], held: Sequence[Range]) -> list[Range]:
    """What of the wanted bytes is not among those held, which are in order and do not meet."""
    found = []
    for start, end in joined(wanted):
        for low, high in held:
            if high <= start:
                continue
            if low >= end:
                break
            if start < low:
                found.append((start, low))
            start = high
        if start < end:
            found.append((start, end))
    return found


def cut(ranges: Iterable[Range], most: int) -> list[Range]:
    """The ranges in equal parts of `most` bytes or fewer each."""
    found: list[Range] = []
    for start, end in ranges:
        parts = -(-(end - start) // most)
        edges = [start + (end - start) * part // parts for part in range(parts + 1)]
        found += pairwise(edges)
    return found
