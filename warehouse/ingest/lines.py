"""What a line of a raw file is. Each is judged by itself, whatever stands before and after it.

A line is what stands between two newlines; no quote holds a newline in. It is a row where it has as
many fields as the header has names, with one comma between each two. A field is either free of
quotes, and then it is what it is, blanks and all; or it is quoted whole: a quote, anything but
quotes save in pairs, a quote, and neither a blank nor anything else beside them. So these are no
rows: a line with a comma too many or too few, an empty one, `A"B`, `"A" `, ` "A"`, `"A"B`, and one
with a quote that is not closed on it.

DuckDB is laxer, and laxer in some company than in other: it is given rows alone.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

Octets = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

LF = 10
_QUOTE, _COMMA = ord('"'), ord(",")
_FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",]*+)'
_ROW = re.compile(rb"%b(?:,%b)*+" % (_FIELD, _FIELD))
_QUOTED = re.compile(rb'"(?:[^"]++|"")*+"')
_WORD_BITS = 6
_WORD = 1 << _WORD_BITS


def is_row(line: bytes, fields: int) -> bool:
    """Whether a line, without its newline, is a row of so many fields."""
    return _ROW.fullmatch(line) is not None and _QUOTED.sub(b"", line).count(b",") + 1 == fields


def no_rows(block: Octets, ends: Places, fields: int) -> Places:
    """Which lines of a block are no rows, counted from 0, ascending.

    As `is_row` says of each, without looking at each: nearly all lines are plain.

    Args:
        block: whole lines.
        ends: where its newlines stand.
    """
    commas = _Counter(block == _COMMA)
    until = commas.before(ends)
    found = np.diff(until, prepend=0)
    odd = np.zeros(ends.size, np.bool_)
    quotes = np.flatnonzero(block == _QUOTE)
    if quotes.size:
        lines = np.searchsorted(ends, quotes)
        odd = (np.bincount(lines, minlength=ends.size) & 1).astype(np.bool_)
        if odd.any():
            paired = ~odd[lines]
            quotes, lines = quotes[paired], lines[paired]
        opening, closing, lines = quotes[0::2], quotes[1::2], lines[0::2]
        # Before a block's first byte is, as it were, its last: the end of a line.
        before, after = block[opening - 1], block[closing + 1]
        plain = ((before == _COMMA) | (before == LF)) & ((after == _COMMA) | (after == LF))
        odd[lines[~plain]] = True
        within = commas.before(closing) - commas.before(opening)
        some = within > 0
        found -= np.bincount(lines[some], within[some], ends.size).astype(np.int64)
    odd |= found != fields - 1
    suspects = np.flatnonzero(odd)
    texts = texts_of(block, ends, suspects)
    is_none = [not is_row(text, fields) for text in texts]
    none: Places = suspects[np.array(is_none, np.bool_)]
    return none


def texts_of(block: Octets, ends: Places, lines: Places) -> list[bytes]:
    """Some lines of a block, without their newlines."""
    starts = np.where(lines > 0, ends[lines - 1] + 1, 0).tolist()
    return [
        block[start:end].tobytes() for start, end in zip(starts, ends[lines].tolist(), strict=True)
    ]


def without(block: Octets, ends: Places, lines: Places) -> Octets:
    """The block without some of its lines."""
    starts = np.where(lines > 0, ends[lines - 1] + 1, 0)
    edges = np.zeros(block.size + 1, np.int8)
    edges[starts] += 1
    # The line before may be one of them.
    edges[ends[lines] + 1] -= 1
    kept: Octets = block[np.cumsum(edges[:-1], dtype=np.int8) == 0]
    return kept


class _Counter:
    """Counts the true values of a mask before a place, for many places at once."""

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        # A prefix sum of each byte would be eight times the size of the block.
        bits = np.zeros(mask.size // _WORD + 1, np.uint64)
        packed = np.packbits(mask, bitorder="little")
        bits.view(np.uint8)[: packed.size] = packed
        self._bits = bits
        self._before = np.concatenate([[0], np.cumsum(np.bitwise_count(bits), dtype=np.int64)])

    def before(self, places: Places) -> Places:
        word = places >> _WORD_BITS
        lower = (np.uint64(1) << (places & (_WORD - 1)).astype(np.uint64)) - np.uint64(1)
        rest = np.bitwise_count(self._bits[word] & lower)
        counted: Places = self._before[word] + rest
        return counted
