"""Bars by a plain loop over trades, with exact sums: what the library's are held against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

Trade = Mapping[str, Any]
HALF_DAYS = {date(2024, 7, 3), date(2024, 11, 29), date(2025, 11, 28)}
_NEW_YORK = ZoneInfo("America/New_York")
_HOUR = 3_600_000_000_000
_FORM_T = 12


def at(session: date, of_day: time) -> int:
    """Nanoseconds UTC of a time in New York."""
    return int(datetime.combine(session, of_day, _NEW_YORK).timestamp()) * 10**9


@dataclass
class Plain:
    """One window: its trades in the order of the tape, and what they may do."""

    symbol: str
    session: date
    begin: int
    end: int
    is_short: bool
    trades: list[tuple[Trade, bool, bool, bool]] = field(default_factory=list)

    def _of(self, rule: int, *, may: bool = True) -> list[Trade]:
        return [each[0] for each in self.trades if each[rule] == may]

    @property
    def is_bar(self) -> bool:
        return bool(self._of(1)) and bool(self._of(2))

    def row(self) -> dict[str, Any]:
        """The columns of a bar; sums rounded once. `vwap` is a Fraction."""
        ranges, ends, counted = (self._of(rule) for rule in (1, 2, 3))
        barred = {
            name: self._of(rule, may=False)
            for rule, name in enumerate(("high_low", "open_close", "volume"), 1)
        }
        shares = sum((_exact(each["size"]) for each in counted), Fraction())
        dollars = _dollars(counted)
        return {
            "symbol": self.symbol,
            "timestamp": self.begin,
            "open": ends[0]["price"],
            "high": max(each["price"] for each in ranges),
            "low": min(each["price"] for each in ranges),
            "close": ends[-1]["price"],
            "volume": float(shares),
            "vwap": dollars / shares if shares else None,
            "trades": len(counted),
            "dollar_volume": float(dollars),
            "end_timestamp": self.end,
            "is_short": self.is_short,
            **{f"{name}_barred_trades": len(rows) for name, rows in barred.items()},
            **{f"{name}_barred_dollars": float(_dollars(rows)) for name, rows in barred.items()},
            "session": self.session,
        }


def _exact(number: float) -> Fraction:
    """A price or a size as it was written: six decimals."""
    return Fraction(round(Fraction(repr(number)) * 10**6), 10**6)


def _dollars(trades: Iterable[Trade]) -> Fraction:
    return sum((_exact(each["price"]) * _exact(each["size"]) for each in trades), Fraction())


def in_order(trades: Iterable[Trade]) -> list[Trade]:
    """The tape: trades that stand, by symbol, in the order in which they were made."""
    last = (-1, "")

    def key(trade: Trade) -> tuple[Any, ...]:
        place = [
            (0, none) if trade[name] is None else (1, trade[name])
            for name, none in (("sequence_number", last[0]), ("exchange", last[0]), ("id", last[1]))
        ]
        return (trade["symbol"], trade["timestamp"], *place)

    return sorted((each for each in trades if each["correction"] in (None, 0, 1)), key=key)


def allowed(
    trade: Trade, rules: Sequence[Mapping[str, Any]], *, form_t_is_free: bool
) -> tuple[bool, bool, bool]:
    """Whether the trade may set high and low, set open and close, and count."""
    may = [True, True, True]
    for code in (trade["conditions"] or "").split(","):
        for rule in rules:
            if str(rule["id"]) != code.strip():
                continue
            if rule["valid_from"] and trade["session"] < rule["valid_from"]:
                continue
            if rule["valid_to"] and trade["session"] > rule["valid_to"]:
                continue
            flags = [rule[f"updates_{name}"] for name in ("high_low", "open_close", "volume")]
            if rule["id"] == _FORM_T:
                flags[:2] = [form_t_is_free] * 2
            may = [one and other for one, other in zip(may, flags, strict=True)]
    return may[0], may[1], may[2]


def windows(
    trades: Iterable[Trade],
    rules: Sequence[Mapping[str, Any]],
    every_ns: int,
    hours: str,
    *,
    opens: Callable[[date], int] = lambda day: at(day, time(9, 30)),
    closes: Callable[[date], int] = lambda day: at(day, time(13 if day in HALF_DAYS else 16)),
) -> list[Plain]:
    """All windows in which something was traded, by symbol and time.

    Args:
        every_ns: 0: a session's whole day.
    """
    found: dict[tuple[str, date, int], Plain] = {}
    for trade in in_order(trades):
        session, stamp = trade["session"], trade["timestamp"]
        opening, closing = opens(session), closes(session)
        is_regular = opening <= stamp < closing
        if (hours == "regular" and not is_regular) or (hours == "extended" and is_regular):
            continue
        begin, end, is_short = _window(session, stamp, opening, closing, every_ns)
        key = (trade["symbol"], session, begin)
        if key not in found:
            found[key] = Plain(trade["symbol"], session, begin, end, is_short)
        free = bool(every_ns) and not is_regular
        found[key].trades.append((trade, *allowed(trade, rules, form_t_is_free=free)))
    return [found[key] for key in sorted(found)]


def _window(
    session: date, stamp: int, opening: int, closing: int, every_ns: int
) -> tuple[int, int, bool]:
    if not every_ns:
        return at(session, time()), at(session + timedelta(days=1), time()), False
    midnight, next_midnight = at(session, time()), at(session + timedelta(days=1), time())
    edges = [opening - 11 * _HOUR // 2, opening, closing, closing + 4 * _HOUR]
    if stamp < edges[0]:
        begin = edges[0]
        while begin > stamp:
            begin -= every_ns
        # What is left of it within the session.
        return max(begin, midnight), begin + every_ns, begin < midnight
    part = max(edge for edge in edges if edge <= stamp)
    begin = part + (stamp - part) // every_ns * every_ns
    bound = min((edge for edge in edges if edge > stamp), default=next_midnight)
    return begin, min(begin + every_ns, bound), begin + every_ns > bound


def left_over(found: Iterable[Plain]) -> dict[str, Any]:
    """What was traded in windows that have no bar."""
    rest = [each for each in found if not each.is_bar]
    sums: dict[str, Any] = defaultdict(Fraction)
    for each in rest:
        counted = each._of(3)
        sums["trades"] += len(counted)
        sums["shares"] += sum((_exact(trade["size"]) for trade in counted), Fraction())
        sums["dollars"] += _dollars(counted)
    return {
        "windows": len(rest),
        **{name: sums[name] for name in ("trades", "shares", "dollars")},
    }
