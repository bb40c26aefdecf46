"""What bars are asked for: how long, by what, of which hours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Real
from operator import index
from typing import Literal, TypeAlias, get_args

from warehouse.errors import RequestError
from warehouse.text import one_of

Hours: TypeAlias = Literal["regular", "extended", "all"]
"""09:30 to the close (half-days too); before and after; both. By the time of the trade alone."""
HOURS: tuple[str, ...] = get_args(Hours)

By: TypeAlias = Literal[
    "time",
    "tick",
    "volume",
    "dollar",
    "tick_imbalance",
    "volume_imbalance",
    "dollar_imbalance",
    "tick_run",
    "volume_run",
    "dollar_run",
]
"""What ends a bar."""
BY: tuple[str, ...] = get_args(By)

Excess: TypeAlias = Literal["next", "split", "drop"]
"""What becomes of the part of a trade that overfills a bar."""
EXCESS: tuple[str, ...] = get_args(Excess)

DAY = "1d"
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LENGTH = re.compile(r"([1-9]\d{0,5})([smhd])")
_NANOSECONDS = 1_000_000_000
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class BarSpec:
    """What one bar is.

    Attributes:
        every: the length as it was asked ("5m"; "1d"), or the number that fills a bar.
        every_ns: of time bars but `1d` the length in nanoseconds; else 0.
        threshold: of other bars: trades, shares or dollars; of imbalance and run bars the trades
            that the first bar of a session is expected to have. Of time bars 0.
        span: of imbalance and run bars: bars that the moving expectations look back on.
        is_filled: windows without a bar are filled forward.
    """

    by: By
    every: str
    every_ns: int
    threshold: float
    hours: Hours
    excess: Excess
    span: int
    is_filled: bool

    @property
    def is_day(self) -> bool:
        return self.by == "time" and self.every == DAY

    @classmethod
    def of(
        cls,
        every: str | float = "1m",
        *,
        by: str | None = None,
        hours: str | None = None,
        excess: str = "next",
        span: int = 20,
        fill: bool = False,
    ) -> BarSpec:
        """What is asked, checked.

        Args:
            every: of time bars a length from 1s to 1d; else a number above 0.
            by: None: time, where there is no choice.
            hours: None: `all` of a day's bar, as the SIP has it; else `regular`.

        Raises:
            RequestError: an argument is not one of the things it may be.
        """
        has_choice, by = by is not None, by or "time"
        _check("by", by, BY)
        if hours is not None:
            _check("hours", hours, HOURS)
        _check("excess", excess, EXCESS)
        try:
            bars = 0 if isinstance(span, bool) else index(span)
        except TypeError:
            bars = 0
        if not 1 <= bars <= 10_000:
            raise RequestError("span", span, "it is a number of bars from 1 to 10000")
        is_time = by == "time"
        if not is_time and (excess != "next") and by not in ("tick", "volume", "dollar"):
            raise RequestError(
                "excess", excess, f"{by} bars end with the trade that fills them; leave it out"
            )
        if fill and not (is_time and every != DAY):
            raise RequestError("fill", fill, "only time bars shorter than a day can be filled")
        length = _length(every, has_choice=has_choice) if is_time else 0
        return cls(
            by,  # type: ignore[arg-type]
            str(every) if is_time else f"{_number(every, by):.15g}",
            0 if every == DAY else length,
            0.0 if is_time else _number(every, by),
            hours or ("all" if is_time and every == DAY else "regular"),  # type: ignore[arg-type]
            excess,  # type: ignore[arg-type]
            bars,
            fill,
        )


def _check(name: str, value: object, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise RequestError(name, value, one_of(value, valid))


def _length(every: object, *, has_choice: bool) -> int:
    """A length as "90s", "5m", "1h" or "1d" in nanoseconds.

    Args:
        has_choice: bars that end otherwise may be asked for instead.

    Raises:
        RequestError: it is none, or longer than a day.
    """
    found = _LENGTH.fullmatch(every) if isinstance(every, str) else None
    if found is not None and every == DAY:
        return _DAY_SECONDS * _NANOSECONDS
    if found is None or found[2] == "d" or int(found[1]) * _SECONDS[found[2]] > _DAY_SECONDS:
        others = " (for tick, volume and dollar bars say by=)" if has_choice else ""
        problem = "it is a length such as 30s, 5m, 1h or 1d, and no longer than a day"
        raise RequestError("every", every, f"{problem}{others}")
    return int(found[1]) * _SECONDS[found[2]] * _NANOSECONDS


def _number(every: object, by: str) -> float:
    what = {"tick": "trades", "volume": "shares", "dollar": "dollars"}.get(
        by, "trades that the first bar of a session is expected to have"
    )
    if isinstance(every, str):
        try:
            every = float(every)
        except ValueError:
            raise RequestError("every", every, f"of {by} bars it is a number of {what}") from None
    # Numpy's numbers are numbers too.
    is_number = isinstance(every, Real) and not isinstance(every, bool)
    if not is_number or not 1e-6 <= every <= 1e12:  # type: ignore[operator]
        raise RequestError(
            "every", every, f"of {by} bars it is a number of {what}, from 0.000001 to 10^12"
        )
    if every != int(every) and by not in ("volume", "dollar"):  # type: ignore[call-overload]
        raise RequestError("every", every, f"of {by} bars it is a whole number of {what}")
    return float(every)  # type: ignore[arg-type]
