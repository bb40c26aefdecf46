"""Securities and the symbols they trade under: who bore a symbol on a day, and one series of them.

No permanent id of a security is in the vendor's files: a security is a name of ours and a list of
symbols with the sessions of each, both inclusive. A symbol that no security is said to have borne
on a day is of an unknown one (None), which is the same wherever that is so.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

_DAY = timedelta(days=1)


class Bearing(NamedTuple):
    """A security bears a symbol from one session to another, both inclusive; None: an unknown one.

    What is open begins with `date.min`, or ends with `date.max`.
    """

    security: str | None
    symbol: str
    first: date
    last: date


class Securities:
    """What is known of all securities.

    Args:
        rows: security, symbol, first and last session; no last one: it still bears it. Of two that
            are said to bear a symbol on one day the one that began later does.
    """

    def __init__(self, rows: Iterable[tuple[str, str, date, date | None]] = ()) -> None:
        self._of_symbol: dict[str, list[Bearing]] = {}
        self._symbols: dict[str, set[str]] = {}
        for security, symbol, first, last in rows:
            one = Bearing(security, symbol, first, last or date.max)
            self._of_symbol.setdefault(symbol, []).append(one)
            self._symbols.setdefault(security, set()).add(symbol)

    def bearer(self, symbol: str, day: date) -> str | None:
        """The security that bears a symbol on a day; None: an unknown one."""
        bearing = [one for one in self._of_symbol.get(symbol, ()) if one.first <= day <= one.last]
        return max(bearing, key=_begun).security if bearing else None

    def subject(self, symbol: str, day: date) -> str | None:
        """The security that an action of a symbol is of, which is in force from a day on.

        On the day of a change of symbol an action may be told under the one of the day before.
        """
        return self.bearer(symbol, day) or self.bearer(symbol, day - _DAY)

    def borne(
        self, security: str | None, symbol: str, first: date, last: date
    ) -> tuple[Bearing, ...]:
        """Under which symbols a security traded from one day to another, in the order of time.

        Args:
            symbol: of an unknown security (None) it is the days that no other is known to have had
                this one.
        """
        return cut(self._all_of(security, symbol), first, last)

    def related(self, symbols: Iterable[str]) -> set[str]:
        """These symbols, and all others of the securities that ever bore them."""
        found = set(symbols)
        for symbol in list(found):
            for one in self._of_symbol.get(symbol, ()):
                found |= self._symbols[one.security or ""]
        return found

    def bearings(self, symbol: str) -> tuple[Bearing, ...]:
        """Who bears a symbol when: all days, in order, each once."""
        known = self._of_symbol.get(symbol, ())
        begins = {date.min, *(one.first for one in known)}
        begins |= {one.last + _DAY for one in known if one.last < date.max}
        ordered = sorted(begins)
        ends = [*(day - _DAY for day in ordered[1:]), date.max]
        return tuple(
            Bearing(self.bearer(symbol, first), symbol, first, last)
            for first, last in zip(ordered, ends, strict=True)
        )

    def pieces(self, symbol: str, first: date, last: date) -> tuple[Bearing, ...]:
        """The series that a symbol names on the session `last`, cut to sessions from `first` to it.

        Returns:
            Under which symbols it traded, in the order of time.
        """
        return cut(self.series(symbol, first, last), first, last)

    def series(self, symbol: str, first: date, last: date) -> tuple[Bearing, ...]:
        """All of the series that a symbol names on the session `last`.

        It is that of the security that bears the symbol then; where none does, of the last that
        did, if it has borne one since `first`. Of a symbol of an unknown security it is the days
        that no other is known to have had it.
        """
        borne = [one for one in self._of_symbol.get(symbol, ()) if one.first <= last]
        if borne:
            latest = max(borne, key=lambda one: (min(one.last, last), *_begun(one)))
            series = self._all_of(latest.security, symbol)
            if cut(series, first, last):
                return series
        return self._all_of(None, symbol)

    def _all_of(self, security: str | None, symbol: str) -> tuple[Bearing, ...]:
        """All days of a security; of an unknown one those of the symbol that are no other's."""
        names = (symbol,) if security is None else sorted(self._symbols[security])
        return tuple(
            one for name in names for one in self.bearings(name) if one.security == security
        )


def _begun(one: Bearing) -> tuple[date, str]:
    return one.first, one.security or ""


def cut(series: Iterable[Bearing], first: date, last: date) -> tuple[Bearing, ...]:
    """A series as far as it is of the sessions from `first` to `last`, in the order of time."""
    inside = [one for one in series if one.first <= last and first <= one.last]
    parts = [one._replace(first=max(one.first, first), last=min(one.last, last)) for one in inside]
    return tuple(sorted(parts, key=lambda one: (one.first, one.symbol)))
