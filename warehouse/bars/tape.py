"""The trades that stand, in the order of the tape: what sql/bars/tape.sql says, without a sort.

Partitions hold a symbol's rows by (timestamp, sequence_number). Where no two rows agree in both,
they are in the order of the tape already, and need no more than a number each.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ORDER = ("sequence_number", "exchange", "id")
"""Columns that say which of two trades of one moment came first."""
_STANDS = pa.array([0, 1], pa.int8())


def is_in_order(trades: pa.Table) -> bool:
    """Whether no two neighbours are of one symbol, timestamp and sequence number.

    Args:
        trades: one symbol after the other, each by (timestamp, sequence_number), NULL first.
    """
    stamps = trades["timestamp"].cast(pa.int64()).to_numpy()
    same = np.flatnonzero(stamps[1:] == stamps[:-1])
    numbers = trades["sequence_number"]
    if not numbers.null_count and len(same):
        told = numbers.to_numpy()
        same = same[told[same + 1] == told[same]]
    for name in ("sequence_number", "symbol"):
        if not len(same):
            return True
        one, other = (trades[name].take(pa.array(at)) for at in (same, same + 1))
        differs = pc.fill_null(pc.not_equal(one, other), False)
        # Of two that are NULL nobody knows the order; one NULL comes before any number.
        differs = pc.or_(differs, pc.xor(pc.is_null(one), pc.is_null(other)))
        same = same[~differs.to_numpy(zero_copy_only=False)]
    return not len(same)


def standing(trades: pa.Table) -> pa.Table:
    """The trades that stand: as they were made (correction 0 or none), or as they were corrected.

    The table itself, where all do.
    """
    correction = trades["correction"]
    if correction.null_count == len(correction):
        return trades
    if not correction.null_count:
        bounds = pc.min_max(correction).as_py()
        if bounds["min"] >= 0 and bounds["max"] <= 1:
            return trades
    stands = pc.or_(pc.is_null(correction), pc.is_in(correction, value_set=_STANDS))
    return trades if pc.all(stands, min_count=0).as_py() else trades.filter(stands)


def on_tape(trades: pa.Table) -> pa.Table:
    """The trades that stand, numbered.

    Args:
        trades: as `is_in_order` takes them, and finds them in order.

    Returns:
        The same columns and `ordinal`, int64, ascending in the order of the tape within each symbol
        and session, none twice.
    """
    trades = standing(trades)
    return trades.append_column("ordinal", pa.array(np.arange(trades.num_rows, dtype=np.int64)))
