"""Time bars by numpy: the twin of the statements of sql/bars, in a fraction of their time.

It gives what the shipped statements give, bit for bit (a test holds the two against each other),
and is asked only while they are the shipped ones. Where it cannot be sure that a sum is exact, or
where rules are valid for a time, it steps aside.

Each trade is of one of eight kinds: it may set high and low or not, open and close or not, count or
not. Sums by bar and kind are of floats that are whole numbers: of none that is negative the sum is
exact where it is below 2^53. So dollars are summed as ticks times whole shares, and as ticks times
millionths of a share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

FORM_T = 12
HIGH_LOW, OPEN_CLOSE, COUNTS = 4, 2, 1
"""What a trade may do."""
_BEFORE_OPEN_NS = 19_800_000_000_000
_AFTER_CLOSE_NS = 14_400_000_000_000
_EXACT = 1 << 53
_PRICE_SCALES = (2, 4, 6)
_MILLION = 10**6


@dataclass(frozen=True)
class _Whole:
    """Numbers as whole multiples of 10^-scale: floats, for they are summed as such."""

    values: Floats
    scale: int


def time_bars(
    trades: pa.Table, rules: pa.Table, sessions: pa.Table, every_ns: int, hours: str
) -> pa.Table | None:
    """What the statements eligible, time and bars make of the tape.

    Args:
        trades: the tape in order, as `tape.on_tape` gives it; texts may be dictionaries.
        rules, sessions: the tables `trade_conditions` and `sessions` of the statements.
        every_ns, hours: the parameters of sql/bars/time.

    Returns:
        The rows of sql/bars/bars, or None: it cannot tell.
    """
    if any(rules[name].null_count < len(rules) for name in ("valid_from", "valid_to")):
        return None
    prices, sizes = _whole(trades["price"], _PRICE_SCALES), _whole(trades["size"], (0, 6))
    if sizes is None or prices is None:
        return None
    blocks = _blocks(trades)
    stamps = _numpy(trades["timestamp"].cast(pa.int64()))
    lengths = np.diff(blocks, append=len(stamps))
    of_block = _sessions_of(trades, blocks, sessions)
    opens, closes = (np.repeat(of_block[name], lengths) for name in ("open_ns", "close_ns"))
    is_before, is_after = stamps < opens, stamps >= closes
    is_extended = is_before | is_after
    asked = _asked(is_extended, hours)
    if asked is not None:
        trades = trades.filter(pa.array(asked))
        kept = np.flatnonzero(asked)
        stamps, opens, closes = stamps[kept], opens[kept], closes[kept]
        is_before, is_after = is_before[kept], is_after[kept]
        is_extended = is_extended[kept]
        sizes = _Whole(sizes.values[kept], sizes.scale)
        prices = _Whole(prices.values[kept], prices.scale)
        blocks = np.searchsorted(kept, blocks)
    if not len(stamps):
        return None
    part = np.where(is_before, opens - _BEFORE_OPEN_NS, np.where(is_after, closes, opens))
    if is_after.any():
        ends = closes + _AFTER_CLOSE_NS
        part = np.where(stamps >= ends, ends, part)
    begins = stamps - (stamps - part) % every_ns
    changes = begins[1:] != begins[:-1]
    changes[blocks[(blocks > 0) & (blocks < len(stamps))] - 1] = True
    firsts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    counts = np.diff(firsts, append=len(stamps))
    kinds = _kinds(trades["conditions"], rules, is_extended if is_extended.any() else None)
    sums = _sums(counts, kinds, prices, sizes)
    if sums is None:
        return None
    return _table(
        trades,
        firsts,
        {
            "begins": begins[firsts],
            "parts": part[firsts],
            "opens": opens[firsts],
            "closes": closes[firsts],
        },
        every_ns,
        _prices(_numpy(trades["price"]), firsts, kinds),
        sums,
    )


def _numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column without NULL as an array."""
    found: npt.NDArray[Any] = column.combine_chunks().to_numpy(zero_copy_only=False)
    return found


def _whole(column: pa.ChunkedArray, scales: tuple[int, ...]) -> _Whole | None:
    """The numbers as whole multiples of the coarsest of the scales that holds all of them."""
    values = _numpy(column)
    if not len(values) or not (np.isfinite(values).all() and values.min() >= 0):
        return None
    for scale in scales:
        factor = 10.0**scale
        whole = np.rint(values * factor)
        if (whole / factor == values).all():
            return _Whole(whole, scale)
    return None


def _blocks(trades: pa.Table) -> Ints:
    """The first row of each symbol's session."""
    days = _numpy(trades["session"].cast(pa.int32()))
    changes = days[1:] != days[:-1]
    symbols = trades["symbol"]
    # One symbol comes after the other: where the last is the first, there is no other.
    if symbols[0] != symbols[-1]:
        codes = _codes(symbols)[0]
        changes |= codes[1:] != codes[:-1]
    return np.concatenate([[0], np.flatnonzero(changes) + 1]).astype(np.int64)


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[Any], list[str | None]]:
    """Of each row the number of its text, and the texts; that of NULL is None."""
    whole = column.combine_chunks()
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    texts = [*whole.dictionary.to_pylist(), None]
    codes = pc.fill_null(whole.indices, len(texts) - 1) if whole.null_count else whole.indices
    return codes.to_numpy(zero_copy_only=False), texts


def _sessions_of(trades: pa.Table, blocks: Ints, sessions: pa.Table) -> dict[str, Ints]:
    days = trades["session"].take(pa.array(blocks)).combine_chunks()
    places = pc.index_in(days, value_set=sessions["session"].combine_chunks())
    return {name: _numpy(sessions[name].take(places)) for name in ("open_ns", "close_ns")}


def _asked(is_extended: Flags, hours: str) -> Flags | None:
    """Which rows are of the hours; None: all."""
    if hours == "all":
        return None
    asked = is_extended if hours == "extended" else ~is_extended
    return None if asked.all() else asked


def _kinds(
    conditions: pa.ChunkedArray, rules: pa.Table, is_extended: Flags | None
) -> npt.NDArray[np.uint8]:
    """Of each row what it may do, as a sum of HIGH_LOW, OPEN_CLOSE and COUNTS.

    Args:
        is_extended: which rows are outside the regular hours; None: none of them.
    """
    codes, texts = _codes(conditions)
    known = {str(rule["id"]): rule for rule in rules.to_pylist()}
    strict, freed = (
        np.array(
            [
                HIGH_LOW * _may(text, known, "updates_high_low", freed=is_freed)
                + OPEN_CLOSE * _may(text, known, "updates_open_close", freed=is_freed)
                + COUNTS * _may(text, known, "updates_volume", freed=is_freed)
                for text in texts
            ],
            np.uint8,
        )
        for is_freed in (False, True)
    )
    kinds: npt.NDArray[np.uint8] = strict[codes]
    return kinds if is_extended is None else np.where(is_extended, freed[codes], kinds)


def _may(text: str | None, known: Mapping[str, Any], what: str, *, freed: bool) -> bool:
    """Whether all conditions of a text allow something; `freed`: Form T forbids no price."""
    for code in (text or "").split(","):
        rule = known.get(code.strip())
        if rule is None:
            continue
        if rule["id"] == FORM_T and what != "updates_volume":
            if not freed:
                return False
        elif not rule[what]:
            return False
    return True


def _prices(price: Floats, firsts: Ints, kinds: npt.NDArray[np.uint8]) -> dict[str, pa.Array]:
    """open, high, low, close; NULL where no row may set one."""
    sets_range = kinds & HIGH_LOW > 0
    high = np.maximum.reduceat(np.where(sets_range, price, -np.inf), firsts)
    low = np.minimum.reduceat(np.where(sets_range, price, np.inf), firsts)
    ends = np.flatnonzero(kinds & OPEN_CLOSE)
    opens = np.searchsorted(ends, firsts)
    closes = np.append(opens[1:], len(ends)) - 1
    has_none = opens > closes
    padded = np.append(price[ends], np.nan)
    return {
        "open": pa.array(padded[np.where(has_none, -1, opens)], mask=has_none),
        "high": pa.array(high, mask=np.isneginf(high)),
        "low": pa.array(low, mask=np.isneginf(high)),
        "close": pa.array(padded[np.where(has_none, -1, closes)], mask=has_none),
    }


def _sums(
    counts: Ints, kinds: npt.NDArray[np.uint8], prices: _Whole, sizes: _Whole
) -> dict[str, Any] | None:
    """What is summed of each bar; None: a sum is too large to be exact.

    Args:
        counts: rows of each bar.
    """
    cells = np.repeat(np.arange(0, 8 * len(counts), 8), counts)
    cells += kinds
    has_fractions = sizes.scale > 0
    whole = np.floor(sizes.values / _MILLION) if has_fractions else sizes.values
    terms = [None, whole, prices.values * whole]
    if has_fractions:
        rest = sizes.values - whole * _MILLION
        terms += [rest, prices.values * rest]
    found = [np.bincount(cells, values, 8 * len(counts)) for values in terms]
    if any(each.max() >= _EXACT for each in found):
        return None
    trades, shares, dollars, *rests = (each.astype(np.int64).reshape(-1, 8) for each in found)
    more_shares, more_dollars = rests or (np.zeros_like(shares), np.zeros_like(dollars))

    def dollars_of(chosen: Flags) -> Floats:
        ticks = dollars[:, chosen].sum(axis=1), more_dollars[:, chosen].sum(axis=1)
        return _double(*ticks, prices.scale)

    every = np.arange(8)
    counting = every & COUNTS > 0
    volume = shares[:, counting].sum(axis=1), more_shares[:, counting].sum(axis=1)
    sums = {
        "trades": trades[:, counting].sum(axis=1),
        "volume": _double(*volume, 0),
        "dollar_volume": dollars_of(counting),
    }
    has_none = volume[0] + volume[1] == 0
    shown = np.where(has_none, 1.0, sums["volume"])
    sums["vwap"] = pa.array(sums["dollar_volume"] / shown, mask=has_none)
    for rule, what in (("high_low", HIGH_LOW), ("open_close", OPEN_CLOSE), ("volume", COUNTS)):
        barred = every & what == 0
        sums[f"{rule}_barred_trades"] = trades[:, barred].sum(axis=1)
        sums[f"{rule}_barred_dollars"] = dollars_of(barred)
    return sums


def _double(whole: Ints, millionths: Ints, scale: int) -> Floats:
    """Sums in units of 10^-scale, and millionths of these, as doubles that were rounded once."""
    found: Floats = whole / 10.0**scale
    # Whole numbers below 2^53 are exact, and their division is rounded once; so is Python's own.
    places = np.flatnonzero((millionths > 0) | (whole >= _EXACT))
    pairs = zip(whole[places].tolist(), millionths[places].tolist(), strict=True)
    found[places] = [(one * _MILLION + rest) / 10 ** (scale + 6) for one, rest in pairs]
    return found


def _table(
    trades: pa.Table,
    firsts: Ints,
    at: Mapping[str, Ints],
    every_ns: int,
    prices: Mapping[str, pa.Array],
    sums: Mapping[str, Any],
) -> pa.Table:
    begins, parts, opens, closes = (at[name] for name in ("begins", "parts", "opens", "closes"))
    part_ends = np.where(
        parts < opens, opens, np.where(parts == opens, closes, closes + _AFTER_CLOSE_NS)
    )
    is_inside = begins < part_ends
    is_short = is_inside & (begins + every_ns > part_ends)
    rows = pa.array(firsts)
    stamp = pa.timestamp("ns")
    symbols = trades["symbol"].take(rows).combine_chunks()
    table = pa.table(
        {
            "symbol": symbols.cast(pa.string()),
            "timestamp": pa.array(begins).cast(stamp),
            **prices,
            "volume": sums["volume"],
            "vwap": sums["vwap"],
            "trades": sums["trades"].astype(np.int32),
            "dollar_volume": sums["dollar_volume"],
            "end_timestamp": pa.array(np.where(is_short, part_ends, begins + every_ns)).cast(stamp),
            "is_short": is_short,
            "high_low_barred_trades": sums["high_low_barred_trades"].astype(np.int32),
            "high_low_barred_dollars": sums["high_low_barred_dollars"],
            "open_close_barred_trades": sums["open_close_barred_trades"].astype(np.int32),
            "open_close_barred_dollars": sums["open_close_barred_dollars"],
            "volume_barred_trades": sums["volume_barred_trades"].astype(np.int32),
            "volume_barred_dollars": sums["volume_barred_dollars"],
            "session": trades["session"].take(rows).combine_chunks(),
        }
    )
    is_bar = pc.and_(pc.is_valid(table["open"]), pc.is_valid(table["high"]))
    return table.append_column("is_bar", is_bar)
