"""Sessions (trading days, New York), the instants they span, and the exchange's calendar.

A session is a label, a `date`. All instants are nanoseconds since the epoch, UTC, as Python or
64-bit integers: no float ever holds one.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from warehouse.errors import RequestError

NEW_YORK = ZoneInfo("America/New_York")
_SATURDAY = 5
# 64-bit nanoseconds end in the spring of 2262.
_LAST_DAY = date(2262, 1, 1)
_END_OF_TIME_NS = 2**63 - 1
FIRST_SESSION = date(2003, 9, 10)
"""The vendor's history starts here."""

Moment = str | date | datetime
"""A session or an instant; a pandas Timestamp is a datetime."""


def midnight_ns(day: date) -> int:
    """The instant at which `day` begins in New York."""
    return int(datetime.combine(day, time(), NEW_YORK).timestamp()) * 1_000_000_000


def day_bounds_ns(first: date, last: date) -> tuple[int, int]:
    """The instants [start, end) that the days first to last, both inclusive, span in New York."""
    return midnight_ns(first), midnight_ns(last + timedelta(days=1))


def last_day_of_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def parse_session(parameter: str, value: str | date) -> date:
    """A session from an ISO date.

    Raises:
        RequestError: it is none.
    """
    if isinstance(value, datetime):
        value = value.date()
    if isinstance(value, date):
        return value
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value.strip()):
            raise ValueError
        return date.fromisoformat(value.strip())
    except (ValueError, TypeError):
        raise RequestError(parameter, value, "it must be a session, YYYY-MM-DD") from None


def check_order(start: date | None, end: date | None) -> None:
    """Raises RequestError where `end` lies before `start`; None is open."""
    if start is not None and end is not None and end < start:
        raise RequestError("end", end.isoformat(), f"it lies before start = {start.isoformat()}")


@dataclass(frozen=True)
class Span:
    """A stretch of time: instants [start_ns, end_ns) and the sessions that may hold them."""

    start_ns: int
    end_ns: int
    first: date
    last: date


def parse_span(start: Moment, end: Moment) -> Span:
    """The span from `start` to `end`.

    A date (or "YYYY-MM-DD") is a session: as `end` it is included whole. A datetime (or a string
    with a time) is an instant, excluded as `end`: naive it is New York time, aware it is what
    it says.

    Raises:
        RequestError: a value is neither, does not exist on the clock (or exists twice), or `end`
            lies before `start`.
    """
    start_ns, first = _moment("start", start, is_end=False)
    end_ns, last = _moment("end", end, is_end=True)
    if end_ns < start_ns or (_is_session(start) and _is_session(end) and last < first):
        raise RequestError("end", str(end), f"it lies before start = {start}")
    return Span(start_ns, end_ns, first, last)


def span_between(start_ns: int, end_ns: int) -> Span:
    """The span of the instants [start_ns, end_ns), nanoseconds UTC."""
    return Span(start_ns, end_ns, _day_of(start_ns), _day_of(max(end_ns - 1, start_ns)))


def _day_of(nanoseconds: int) -> date:
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, NEW_YORK).date()


def _is_session(value: Moment) -> bool:
    """Whether it names a day and no time: "2024" is then a wrong day, not a midnight."""
    if isinstance(value, str):
        return ":" not in value
    return isinstance(value, date) and not isinstance(value, datetime)


def _moment(parameter: str, value: Moment, *, is_end: bool) -> tuple[int, date]:
    # Imported here, and below: it takes a third of a second that most commands need not wait for.
    import pandas as pd

    if _is_session(value):
        session = parse_session(parameter, value)
        if session >= _LAST_DAY:
            return _END_OF_TIME_NS, session
        return midnight_ns(session + timedelta(days=1) if is_end else session), session
    try:
        stamp = pd.Timestamp(value)
        if pd.isna(stamp):
            raise ValueError("it is no time")
        if stamp.tzinfo is None:
            stamp = stamp.tz_localize(NEW_YORK)
        nanoseconds = int(stamp.as_unit("ns").value)
    except (ValueError, TypeError) as error:
        raise RequestError(
            parameter,
            str(value),
            "it must be a session (YYYY-MM-DD) or a time (YYYY-MM-DD HH:MM[:SS], New York):"
            f" {error}",
        ) from None
    instant = pd.Timestamp(nanoseconds - is_end, tz="UTC").tz_convert(NEW_YORK)
    return nanoseconds, instant.date()


@dataclass(frozen=True)
class SessionHours:
    """A session of the exchange's calendar.

    Attributes:
        open_ns, close_ns: the regular hours, instants [open_ns, close_ns).
        is_half_day: it closes early.
    """

    session: date
    open_ns: int
    close_ns: int
    is_half_day: bool


def trading_days(first: date, last: date) -> tuple[date, ...]:
    """Sessions of the New York Stock Exchange from first to last, both inclusive, ascending."""
    return tuple(each.session for each in trading_hours(first, last))


@lru_cache(maxsize=8)
def trading_hours(first: date, last: date) -> tuple[SessionHours, ...]:
    """The same sessions with their regular hours."""
    import exchange_calendars
    import pandas as pd

    if last < first:
        return ()
    # A calendar wants at least one session; the margin gives it one around any holiday.
    calendar = exchange_calendars.get_calendar(
        "XNYS", start=first - timedelta(days=14), end=last + timedelta(days=14)
    )
    schedule = calendar.schedule.loc[pd.Timestamp(first) : pd.Timestamp(last)]
    opens, closes = (pd.DatetimeIndex(schedule[name]).as_unit("ns") for name in ("open", "close"))
    early = schedule.index.isin(calendar.early_closes)
    days = (stamp.date() for stamp in schedule.index)
    columns = (opens.asi8.tolist(), closes.asi8.tolist(), early.tolist())
    return tuple(map(SessionHours, days, *columns))


def absent_sessions(first: date, last: date, present: AbstractSet[date]) -> list[date]:
    """Sessions from first to last, both inclusive, that are not among `present`."""
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    if all(day in present for day in days if day.weekday() < _SATURDAY):
        # The calendar takes a while to be made, and could only name days that are there.
        return []
    return [session for session in trading_days(first, last) if session not in present]
