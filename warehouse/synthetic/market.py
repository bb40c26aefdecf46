"""A synthetic market: trades and quotes such as the vendor's flat files hold.

Prices walk in ticks of 1/10,000 dollar, sizes are counted in millionths of a share, stamps in
nanoseconds since the epoch, UTC; everything is int64 and drawn from PCG64's raw bits, whose stream
numpy promises never to change (it promises no such thing of `Generator`), so one `Market` holds the
same rows on every machine. A column of text (`conditions`, `indicators`) holds indices into a
vocabulary. `warehouse.synthetic.files` builds the bars and writes it all down as the vendor does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Columns = dict[str, Ints]  # of equal length, under the vendor's names, without the ticker

NEW_YORK = ZoneInfo("America/New_York")
TICK = 10_000  # in a dollar
SHARE = 1_000_000  # units of size
_SECOND, _MINUTE, _HOUR = 10**9, 60 * 10**9, 3_600 * 10**9


@dataclass(frozen=True)
class Market:
    """What a synthetic market is made of; equal markets hold equal rows.

    `sessions` ascend; those in `half_days` close at 13:00 and end at 17:00 New York time instead
    of 16:00 and 20:00, and hold half the rows. `symbols` stand busiest first: row counts fall off
    as Zipf's law has them. `*_per_session` are exact row counts of a whole session over all
    symbols, duplicates and records of corrections among them (0: none). Sizes have fractions, and
    numbers are printed with six decimals, in sessions from `fractional_from` on; by default from
    the day on which the vendor began. `corrections_ppm` and `duplicates_ppm` say how many of a
    million rows are corrected later, or are exact copies of another; the defaults are as in
    reality.
    """

    sessions: tuple[date, ...]
    half_days: frozenset[date]
    symbols: tuple[str, ...]
    trades_per_session: int
    quotes_per_session: int
    seed: int = 7
    fractional_from: date = date(2026, 2, 23)
    corrections_ppm: int = 200
    duplicates_ppm: int = 100

    def __post_init__(self) -> None:
        if list(self.sessions) != sorted(set(self.sessions)):
            raise ValueError(f"sessions must ascend and be distinct, got {self.sessions}")
        if not self.symbols or "" in self.symbols or len(set(self.symbols)) < len(self.symbols):
            raise ValueError("symbols must be distinct and not empty, at least one")
        if min(self.trades_per_session, self.quotes_per_session) < 0:
            raise ValueError("rows per session must not be negative")

    @cached_property
    def _rank(self) -> Mapping[str, int]:
        return {symbol: rank for rank, symbol in enumerate(self.symbols)}

    def rows(self, per_session: int, session: date, symbol: str) -> int:
        """How many of a whole session's `per_session` rows fall to one symbol and session."""
        total = per_session // 2 if session in self.half_days else per_session
        return _zipf(len(self.symbols), total)[self._rank[symbol]]


DEMO = Market(
    # Thanksgiving 2025 stands between: four whole sessions and a half-day, in two months.
    sessions=tuple(date(2025, *day) for day in ((11, 25), (11, 26), (11, 28), (12, 1), (12, 2))),
    half_days=frozenset({date(2025, 11, 28)}),
    symbols=("SPY", "AAPL", "F", "BRK.B", "NA", "BCPC", "ABR", "TRUE", "CON", "BCpC", "ABRpD",
             "ABRC", "NAN", "VST.WS.A", "ZVZZT"),
    trades_per_session=13_000,
    quotes_per_session=13_000,
    # Months earlier than in reality, so that the demo shows both ways of writing numbers.
    fractional_from=date(2025, 12, 1),
    # Ten times as many as in reality, so that a small market shows every kind.
    corrections_ppm=2_000,
    duplicates_ppm=1_000,
)  # fmt: skip
"""Small and quick: 15 symbols whose names are traps, about 60,000 trades and as many quotes."""


def benchmark_market(trades: int, symbols: int = 8_000) -> Market:
    """One session of trades alone; of 8,000 symbols half have fewer than 170 in 5,000,000."""
    dice = _Dice(symbols)
    lengths, suffixes = (1, 2, 3, 3, 3, 4, 4, 4, 4, 5), (".A", ".B", "pA", "pD", ".WS")
    names: dict[str, None] = {}
    while len(names) < symbols:
        length, suffix, *letters = dice.below(1 << 30, 7).tolist()
        name = "".join(chr(65 + letter % 26) for letter in letters)[: lengths[length % 10]]
        names[name + suffixes[suffix % 5] if suffix % 11 == 0 else name] = None
    return Market((date(2026, 3, 4),), frozenset(), tuple(names), trades, 0)


TRADE_CONDITIONS = (
    # Six of the regular hours and the same with Form T: plain, sweep, trade-through exempt, each
    # as round and as odd lot. The order is that of `_prints`' arithmetic.
    "", "37", "14,41", "14,37,41", "41", "37,41",
    "12", "12,37", "14,12,41", "14,12,37,41", "12,41", "12,37,41",
    # Rarer ones in pairs: in regular hours, with Form T.
    "2", "12,2", "53", "12,53", "10,41", "10,12,41", "22", "12,22", "7", "12,7", "9", "12,9",
    "4", "12,4", "32", "12,13",
    # The auctions: opening print, official open, closing print, official close, corrected close.
    "25,41", "16", "8,41", "15", "38",
)  # fmt: skip
QUOTE_CONDITIONS = ("1", "1,81", "", "2", "19", "1,84", "1,85")
QUOTE_INDICATORS = ("", "604", "302,604")

_RARE, _LATE, _AUCTION = (TRADE_CONDITIONS.index(text) for text in ("2", "32", "25,41"))
_CORRECTED = np.array([(8, 10)] * 6 + [(7, 11)] * 2 + [(1, 12)] * 2, np.int64)
"""Codes of a corrected trade and of the record that follows it, as often as they are drawn."""


def _weighted(shares: Mapping[int, int]) -> Ints:
    return np.repeat(np.array(list(shares), np.int64), list(shares.values()))


_OFF_EXCHANGE = 4
_VENUES = _weighted({12: 15, 11: 11, 19: 8, 8: 6, 10: 6, 21: 4, 15: 3, 7: 2, 18: 2, 2: 1})
_PRINTED_AT = np.concatenate([_VENUES, _weighted({_OFF_EXCHANGE: 44})])
_FACILITIES = _weighted({202: 6, 201: 3, 203: 1})
_LOTS = _weighted({1: 10, 2: 4, 3: 2, 5: 2, 10: 1, 40: 1})
_SWEEPS = _weighted({0: 9, 1: 9, 2: 2})
_ONE_SIDED, _CLOSED, _CROSSED, _LOCKED = range(3, 7)
_QUOTED_AS = _weighted({0: 900, 1: 50, 2: 28, _ONE_SIDED: 10, _CROSSED: 3, _LOCKED: 9})
_LISTED_AT = {1: 10, 2: 11, 3: 12}
_KNOWN = {
    "F": (13, 1), "BRK.B": (505, 1), "BCpC": (25, 1), "CON": (20, 1), "ABR": (9, 1),
    "ABRpD": (18, 1), "VST.WS.A": (12, 1), "SPY": (675, 2), "AAPL": (272, 3), "ZVZZT": (16, 3),
    "NA": (4, 3), "BCPC": (155, 3), "TRUE": (2, 3), "NAN": (11, 3), "ABRC": (35, 3),
}  # fmt: skip
"""Symbol -> dollars and tape, of those that readers know."""


class _Dice:
    """Whole numbers from one stream of bits, which the key alone decides."""

    def __init__(self, *key: int | str) -> None:
        words = [int.from_bytes(k.encode(), "big") if isinstance(k, str) else k for k in key]
        self._bits = np.random.PCG64(np.random.SeedSequence(words))

    def below(self, bound: int | Ints, size: int) -> Ints:
        """`size` numbers of [0, bound)."""
        raw: npt.NDArray[np.uint64] = self._bits.random_raw(size)
        return (raw % np.asarray(bound, np.uint64)).astype(np.int64)

    def one(self, bound: int) -> int:
        return int(self.below(bound, 1)[0])

    def distinct(self, bound: int, size: int, but: Sequence[int] = ()) -> Ints:
        """`size` different numbers of [0, bound), none of them in `but`; for small sizes."""
        found: dict[int, None] = {}
        while len(found) < size:
            if (number := self.one(bound)) not in but:
                found[number] = None
        return np.array(list(found), np.int64)

    def share(self, rows: int, ppm: int) -> int:
        """`ppm` millionths of the rows; a fraction of a row comes up as often as it is large."""
        return min((rows * ppm + self.one(1_000_000)) // 1_000_000, rows // 4)


@lru_cache(maxsize=16)
def _zipf(symbols: int, total: int) -> tuple[int, ...]:
    # The shift of thousands of symbols keeps the first one at a few percent, as the busiest are.
    weights = [10**9 // (rank + symbols // 2_000) for rank in range(1, symbols + 1)]
    whole = sum(weights)
    counts = [total * weight // whole for weight in weights]
    counts[0] += total - sum(counts)
    return tuple(counts)


@dataclass(frozen=True)
class Hours:
    """Instants of a session, nanoseconds since the epoch: `[start, end)` bounds its rows and
    `[open, close)` the regular hours; `midnight` is New York's, at which its date begins."""

    midnight: int
    start: int
    open: int
    close: int
    end: int


def hours(market: Market, session: date) -> Hours:
    """04:00, 09:30, 16:00 and 20:00 New York time; 04:00, 09:30, 13:00 and 17:00 on half-days."""
    half = session in market.half_days
    clock = (time(0), time(4), time(9, 30), time(13 if half else 16), time(17 if half else 20))
    instants = (datetime.combine(session, at, NEW_YORK) for at in clock)
    return Hours(*(int(instant.timestamp()) * _SECOND for instant in instants))


@lru_cache(maxsize=2)
def _activity(regular: int) -> Ints:
    """Running total of the minutes' weights; `regular` is the regular hours' length in minutes."""
    early = [2] * 180 + [4] * 60 + [12] * 90
    middle = regular // 2
    ushape = [60 + 140 * (m - middle) ** 2 // middle**2 for m in range(regular)]
    ushape = [2 * w for w in ushape[:5]] + ushape[5:-5] + [3 * w for w in ushape[-5:]]
    return np.cumsum(np.array(early + ushape + [12] * 30 + [3] * 210, np.int64))


def _stamps(dice: _Dice, at: Hours, size: int) -> Ints:
    weights = _activity((at.close - at.open) // _MINUTE)
    minute = np.searchsorted(weights, dice.below(int(weights[-1]), size), side="right")
    return at.start + minute * _MINUTE + dice.below(_MINUTE, size)


def _leaders(same: npt.NDArray[np.bool_]) -> Ints:
    """For each row the last one at or before it that is not the same as the one before it."""
    leaders: Ints = np.maximum.accumulate(np.where(same, 0, np.arange(len(same))))
    return leaders


def _security(market: Market, session: date, symbol: str, at: Hours) -> tuple[int, Ints]:
    """Its tape, and the middle price (ticks) by the session's minutes, for trades and quotes."""
    dice = _Dice(market.seed, symbol)
    dollars, tape = _KNOWN.get(symbol, (0, 1 + dice.one(3)))
    # The others cost one to a thousand dollars, each decade as likely.
    price = dollars * TICK or (1_000 + dice.one(9_000)) * 10 ** (1 + dice.one(3))
    dice = _Dice(market.seed, session.toordinal(), 0, symbol)
    steps = (dice.below(21, (at.end - at.start) // _MINUTE) - 10) * max(1, price // 20_000)
    steps[0] += price * (9_900 + dice.one(201)) // 10_000
    return tape, np.maximum(np.cumsum(steps), 500)


def trades(market: Market, session: date, symbol: str) -> Columns:
    """A symbol's trades of one session, as the file has them.

    Columns as in the vendor's header but for the ticker, in rows by `sip_timestamp`; of a few
    rows that share a nanosecond the `sequence_number` says the order, not the place. `price` in
    ticks, `size` in millionths of a share, `conditions` as index into `TRADE_CONDITIONS`.
    """
    rows = market.rows(market.trades_per_session, session, symbol)
    dice = _Dice(market.seed, session.toordinal(), 1, symbol)
    records = dice.share(rows, market.corrections_ppm)
    copies = dice.share(rows, market.duplicates_ppm)
    table = _prints(market, session, symbol, rows - records - copies, records, dice)
    sip = table["sip_timestamp"]
    sequence = 1_000 + np.cumsum(1 + dice.below(60, len(sip)))
    ties = 1 + np.flatnonzero(sip[1:] == sip[:-1])
    ties = ties[(dice.below(10, len(ties)) == 0) & (ties % 2 == 0)]
    sequence[ties], sequence[ties - 1] = sequence[ties - 1], sequence[ties]
    table["sequence_number"] = sequence
    # Copies of regular rows only: the counts of corrected trades and of their records stay equal.
    return _with_copies(table, np.flatnonzero(table["correction"] == 0), copies, dice)


def _with_copies(table: Columns, eligible: Ints, copies: int, dice: _Dice) -> Columns:
    if not copies:
        return table
    copied = eligible[dice.distinct(len(eligible), copies)]
    order = np.sort(np.append(np.arange(len(table["sip_timestamp"])), copied))
    return {name: column[order] for name, column in table.items()}


def _prints(
    market: Market, session: date, symbol: str, rows: int, records: int, dice: _Dice
) -> Columns:
    """`rows` trades and `records` records of corrections to some of them, by SIP stamp."""
    at = hours(market, session)
    tape, path = _security(market, session, symbol, at)
    # As in reality, the closing print comes after the bell, without Form T: it is the day's close.
    bells = np.array([at.open, at.open, at.close, at.close, at.close + 10 * _MINUTE], np.int64)
    after = dice.below(_SECOND, 5) + np.array([1, 3, 1, 3, 3], np.int64) * _SECOND
    # Hardly traded symbols have no auctions, and only some a corrected close.
    moments = (bells + after)[: 0 if rows < 30 else 5 if dice.one(4) == 0 else 4]
    sip = np.sort(np.concatenate([_stamps(dice, at, rows - len(moments)), moments]))
    auctions = np.searchsorted(sip, moments)
    same = dice.below(100, rows) < 6
    for alone in (slice(1), auctions, np.minimum(auctions + 1, rows - 1)):
        same[alone] = False
    leader = _leaders(same)
    sip = sip[leader]
    alike = np.where(dice.below(2, rows) == 0, leader, np.arange(rows))

    exchange = _PRINTED_AT[dice.below(len(_PRINTED_AT), rows)][alike]
    exchange[auctions] = _LISTED_AT[tape]
    off = exchange == _OFF_EXCHANGE
    odd = 1 + np.minimum(dice.below(99, rows), dice.below(99, rows))
    lots = 100 * _LOTS[dice.below(len(_LOTS), rows)]
    size = (np.where(dice.below(100, rows) < 66, odd, lots) * SHARE)[alike]
    small = off & (size < 100 * SHARE)
    if session >= market.fractional_from:
        fraction = small & (dice.below(4, rows) == 0)
        size[fraction] = 1 + dice.below(20 * SHARE, int(fraction.sum()))
    size[small & (dice.below(1_500, rows) == 0)] = 0

    price = path[(sip - at.start) // _MINUTE] // 100 * 100
    price = (price + (dice.below(3, rows) - 1) * 100)[leader]
    # Off the exchanges a fifth of the prints improve the price by less than a cent.
    price += np.where(off & (dice.below(5, rows) == 0), dice.below(100, rows) - 50, 0)
    # The official rows repeat the prints.
    size[auctions] = (rows * (1_000 + dice.below(1_000, len(moments))) // 100 + 100) * SHARE
    size[auctions[1:4:2]] = size[auctions[0:3:2]]
    price[auctions[1:4:2]] = price[auctions[0:3:2]]
    corrected = dice.distinct(rows, records, auctions.tolist())
    # Those that are taken back are seldom small.
    size[corrected] = (10 + dice.below(490, records)) * 100 * SHARE

    extended = (sip < at.open) | (sip >= at.close)
    sweep = np.where(off, 0, _SWEEPS[dice.below(len(_SWEEPS), rows)])
    rare, round_lot = _RARE + 2 * dice.below(400, rows), size >= 100 * SHARE
    conditions = 6 * extended + 2 * sweep + ~round_lot
    late = off & round_lot & (dice.below(150, rows) == 0)
    conditions = np.where(round_lot & (rare < _LATE), rare + extended, conditions)
    conditions = np.where(late, _LATE + extended, conditions)
    conditions[auctions] = _AUCTION + np.arange(len(moments))

    lag = 10_000 + dice.below(400_000, rows) + np.where(off, dice.below(2 * _SECOND, rows), 0)
    hours_ago = np.minimum(_HOUR + dice.below(5 * _HOUR, rows), sip - at.start)
    serial = np.cumsum(1 + dice.below(40, rows))
    # Each venue counts in its own way: from one, or on from some large number.
    first = np.where((exchange == 10) | (exchange == 12), 0, 52_983_525_000_000)
    table = {
        "conditions": conditions,
        "correction": np.zeros(rows, np.int64),
        "exchange": exchange,
        "id": serial + np.where(off, 71_675_222_000_000, first),
        "participant_timestamp": sip - np.where(late, np.maximum(lag, hours_ago), lag),
        "price": price,
        "sequence_number": serial,
        "sip_timestamp": sip,
        "size": size,
        "tape": np.full(rows, tape, np.int64),
        "trf_id": np.where(off, _FACILITIES[dice.below(len(_FACILITIES), rows)], 0),
        "trf_timestamp": np.where(off, sip - 5_000 - dice.below(5_000, rows), 0),
    }
    return _with_records(table, corrected, dice, at.end) if records else table


def _with_records(table: Columns, corrected: Ints, dice: _Dice, end: int) -> Columns:
    """Mark the trades `corrected` and put in the records that say so, each after its trade."""
    rows, records = len(table["sip_timestamp"]), len(corrected)
    record = np.arange(rows, rows + records)
    table = {name: np.append(column, column[corrected]) for name, column in table.items()}
    kinds = _CORRECTED[dice.below(len(_CORRECTED), records)]
    table["correction"][corrected], table["correction"][record] = kinds[:, 0], kinds[:, 1]
    # A wrong price is far off, so that a bar which takes it cannot go unseen. It stands in the
    # record; and in the trade itself, unless that was put right.
    away = (3 + dice.below(10, records)) * (2 * dice.below(2, records) - 1)
    wrong = np.maximum(table["price"][corrected] * (100 + away) // 10_000 * 100, 100)
    table["price"][record] = wrong
    table["price"][corrected] = np.where(kinds[:, 0] == 1, table["price"][corrected], wrong)
    table["size"][record[kinds[:, 0] == 1]] *= 10
    sip = table["sip_timestamp"]
    last = np.maximum(end - 1 - dice.below(_SECOND, records), sip[corrected] + 1)
    sip[record] = np.minimum(sip[corrected] + _SECOND + dice.below(30 * _MINUTE, records), last)
    order = np.argsort(sip, kind="stable")
    return {name: column[order] for name, column in table.items()}


def quotes(market: Market, session: date, symbol: str) -> Columns:
    """A symbol's best bids and offers of one session, in rows by `sip_timestamp`.

    Columns as in the vendor's header but for the ticker. Prices in ticks and sizes in shares, both
    0 on a side that is missing; `conditions` and `indicators` as indices into `QUOTE_CONDITIONS`
    and `QUOTE_INDICATORS`.
    """
    rows = market.rows(market.quotes_per_session, session, symbol)
    dice = _Dice(market.seed, session.toordinal(), 2, symbol)
    copies = dice.share(rows, market.duplicates_ppm)
    rows -= copies
    at = hours(market, session)
    tape, path = _security(market, session, symbol, at)
    sip = np.sort(_stamps(dice, at, rows))
    sip = sip[_leaders(dice.below(100, rows) < 5)]

    conditions = _QUOTED_AS[dice.below(len(_QUOTED_AS), rows)]
    # The first quote of a session says that the market makers have none.
    conditions[:1] = _CLOSED
    bid = (path[(sip - at.start) // _MINUTE] - 50 * dice.below(3, rows)) // 100 * 100
    spread = 1 + dice.below(2 + int(path[0]) // 1_000_000, rows)
    spread[conditions == _CROSSED], spread[conditions == _LOCKED] = -1, 0
    side = dice.below(2, rows)
    table = {}
    for name, price, missing in (("ask", bid + 100 * spread, 0), ("bid", bid, 1)):
        absent = (conditions == _CLOSED) | ((conditions == _ONE_SIDED) & (side == missing))
        venue = _VENUES[dice.below(len(_VENUES), rows)]
        lots = 100 * (1 + np.minimum(dice.below(30, rows), dice.below(30, rows)))
        size = np.where(dice.below(10, rows) == 0, 1 + dice.below(99, rows), lots)
        # Both ways of marking an absent side have been seen: no exchange, and the last one.
        table[f"{name}_exchange"] = np.where(absent & (dice.below(2, rows) == 0), 0, venue)
        table[f"{name}_price"] = np.where(absent, 0, price)
        table[f"{name}_size"] = np.where(absent, 0, size)
    indicators = dice.below(200, rows)
    table |= {
        "conditions": conditions,
        "indicators": np.where(indicators < len(QUOTE_INDICATORS), indicators, 0),
        "participant_timestamp": sip - 10_000 - dice.below(400_000, rows),
        "sequence_number": 1_000 + np.cumsum(1 + dice.below(300, rows)),
        "sip_timestamp": sip,
        "tape": np.full(rows, tape, np.int64),
        "trf_timestamp": np.zeros(rows, np.int64),
    }
    return _with_copies(table, np.arange(rows), copies, dice)
