"""Sessions (trading days, New York), the instants they span, and the exchange's calendar.

A session is a label, a `date`. All instants are nanoseconds since the epoch, UTC, as Python or
64-bit integers: no float ever holds one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast
from zoneinfo import ZoneInfo

from warehouse.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

NEW_YORK = ZoneInfo("America/New_York")
_SATURDAY = 5
# 64-bit nanoseconds begin in the autumn of 1677 and end in the spring of 2262.
_FIRST_DAY, _LAST_DAY = date(1678, 1, 1), date(2262, 1, 1)
_END_OF_TIME_NS = 2**63 - 1
FIRST_SESSION = date(2003, 9, 10)
"""The vendor's history starts here."""
SETTLED_DAYS = Path(__file__).with_name("settled_days.csv")
"""Weekdays of the past on which the exchange did otherwise than on others, after the library
exchange_calendars: `closes` is the time of an early close, empty where it was closed all day."""
_SETTLED_FROM, SETTLED_UNTIL = date(2003, 1, 1), date(2026, 10, 31)
"""The first and the last day of that file, both inclusive. What has passed does not change: only
of other days the library is asked."""
_OPENS, _CLOSES = time(9, 30), time(16)

Moment: TypeAlias = "str | date | datetime | np.datetime64 | pd.Period"
"""A session or an instant, as `parse_span` reads them; a pandas Timestamp is a datetime."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# No more than ISO 8601: of what stands beyond it a parser guesses, and "UTC+3" is to one of them
# three hours behind, as POSIX has it.
_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?"
    r" ?(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)?",
    re.ASCII,
)


def midnight_ns(day: date) -> int:
    """The instant at which `day` begins in New York."""
    return int(datetime.combine(day, time(), NEW_YORK).timestamp()) * 1_000_000_000


def day_bounds_ns(first: date, last: date) -> tuple[int, int]:
    """The instants [start, end) that the days first to last, both inclusive, span in New York.

    Days beyond the last that stamps reach are as that one.
    """
    return _begin_ns(first), _end_ns(last)


def _begin_ns(day: date) -> int:
    return midnight_ns(day) if day < _LAST_DAY else _END_OF_TIME_NS


def _end_ns(day: date) -> int:
    return midnight_ns(day + timedelta(days=1)) if day < _LAST_DAY else _END_OF_TIME_NS


def today() -> date:
    """The day that it is in New York, where sessions are held, wherever this runs."""
    return datetime.now(NEW_YORK).date()


def last_day_of_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def parse_session(parameter: str, value: str | date) -> date:
    """A session from an ISO date.

    Raises:
        RequestError: it is none.
    """
    if isinstance(value, str):
        problem = "it must be a session, YYYY-MM-DD"
        if not _DATE.fullmatch(value.strip()):
            raise RequestError(parameter, value, problem)
        try:
            return _within_bounds(date.fromisoformat(value.strip()))
        except ValueError as error:
            raise RequestError(parameter, value, f"{problem}: {error}") from None
    return session_at(parameter, value)


def session_at(parameter: str, value: Moment, *, is_end: bool = False) -> date:
    """The session that is named, or that an instant lies in; as the end, the one before it.

    Raises:
        RequestError: it is neither, as `parse_span` has it.
    """
    return _moment(parameter, _read(parameter, value), is_end=is_end)[1]


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


def parse_span(start: Moment, end: Moment | None = None, *, named: str = "start") -> Span:
    """The span from `start` to `end`; without an end, to the end of the session of `start`.

    A day is a session, as `end` included whole: a date, "YYYY-MM-DD", a midnight without a zone
    (a label of an exchange's calendar, a pandas or numpy day), a pandas Period of a day. Any other
    time is an instant, excluded as `end`: naive it is New York time, aware it is what it says.
    A number is neither: nobody can tell what it counts.

    Args:
        named: what the caller's own caller knows `start` as.

    Raises:
        RequestError: a value is neither, does not exist on the clock (or exists twice), or `end`
            lies before `start`.
    """
    first_at = _read(named, start)
    start_ns, first = _moment(named, first_at, is_end=False)
    last_at = first if end is None else _read("end", end)
    end_ns, last = _moment("end", last_at, is_end=True)
    are_sessions = not isinstance(first_at, datetime) and not isinstance(last_at, datetime)
    if end_ns < start_ns or (are_sessions and last < first):
        raise RequestError("end", str(end), f"it lies before start = {start}")
    # Of no time at all, the one session is that in which it would begin.
    return Span(start_ns, end_ns, first, max(first, last))


def span_between(start_ns: int, end_ns: int) -> Span:
    """The span of the instants [start_ns, end_ns), nanoseconds UTC."""
    return Span(start_ns, end_ns, _day_of(start_ns), _day_of(max(end_ns - 1, start_ns)))


def _day_of(nanoseconds: int) -> date:
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, NEW_YORK).date()


def _read(parameter: str, value: Moment) -> date | pd.Timestamp:
    """The session, or else the instant in its time zone, that a value of any kind says.

    Raises:
        RequestError: it says neither.
    """
    said: object = value
    if hasattr(said, "as_py"):
        said = said.as_py()
    try:
        if isinstance(said, str):
            said = said.strip()
            if _DATE.fullmatch(said):
                said = date.fromisoformat(said)
            elif not _TIME.fullmatch(said):
                # "2024" is a wrong day, and no midnight; "09:30" is not that of today.
                raise ValueError("it is neither; a zone is told as Z or by its offset, -05:00")
        if isinstance(said, date) and not isinstance(said, datetime):
            return _within_bounds(said)
        # Imported here: it takes a third of a second that most commands need not wait for.
        import numpy as np
        import pandas as pd

        if isinstance(said, pd.Period):
            if said.freqstr != "D":
                raise ValueError("a Period must be of one day")
            said = said.start_time
        elif isinstance(said, np.datetime64) and np.datetime_data(said.dtype)[0] in "YMW":
            raise ValueError("it is more than a day")
        elif not isinstance(said, str | datetime | np.datetime64):
            raise ValueError(f"a {type(said).__name__} is neither")
        stamp = pd.Timestamp(said)
        if pd.isna(stamp):
            raise ValueError("it is no time")
        if stamp.tzinfo is None:
            if stamp == stamp.normalize():
                return _within_bounds(stamp.date())
            stamp = in_new_york(stamp)
        return stamp.as_unit("ns")
    except (ValueError, TypeError, OverflowError, NotImplementedError) as error:
        raise RequestError(
            parameter,
            value if isinstance(value, str | int | float | None) else str(value),
            "it must be a session (YYYY-MM-DD) or a time (YYYY-MM-DD HH:MM[:SS], New York):"
            f" {error}",
        ) from None


def in_new_york(stamp: pd.Timestamp) -> pd.Timestamp:
    """The instant at which a clock in New York shows a time without a zone.

    Raises:
        ValueError: none does, or two do.
    """
    try:
        return stamp.tz_localize(NEW_YORK)
    except NotImplementedError:
        # In UTC the last hours of the year 9999 are in the next, which Python's clock has not.
        raise ValueError(f"stamps of nanoseconds end in {_LAST_DAY.year}") from None
    except ValueError:
        shown = stamp.to_pydatetime(warn=False).replace(tzinfo=NEW_YORK)
        before, after = (shown.replace(fold=fold).utcoffset() for fold in (0, 1))
        if before is None or after is None or before == after:
            raise
        if before < after:
            raise ValueError(
                "no clock in New York shows this time, for it is set forward over it"
            ) from None
        offset = f"{shown:%z}"
        raise ValueError(
            "clocks in New York show this time twice that day; say which by its offset, as"
            f" {stamp}{offset[:3]}:{offset[3:]}"
        ) from None


def _within_bounds(session: date) -> date:
    if session < _FIRST_DAY:
        raise ValueError(f"stamps of nanoseconds begin in {_FIRST_DAY.year}")
    return session


def _moment(parameter: str, said: date | pd.Timestamp, *, is_end: bool) -> tuple[int, date]:
    """Where it begins, or as the end where it ends, and the session that it is in."""
    if not isinstance(said, datetime):
        return _end_ns(said) if is_end else _begin_ns(said), said
    nanoseconds = int(cast("pd.Timestamp", said).value)
    return nanoseconds, _day_of(nanoseconds - is_end)


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
    early, settled, late = _parts(first, last)
    closes = _settled_days()
    days = [
        day
        for day in (days_between(*settled) if settled else ())
        if day.weekday() < _SATURDAY and closes.get(day, _CLOSES) is not None
    ]
    return (
        *(each.session for each in _of_library(early)),
        *days,
        *(each.session for each in _of_library(late)),
    )


@lru_cache(maxsize=8)
def trading_hours(first: date, last: date) -> tuple[SessionHours, ...]:
    """The same sessions with their regular hours."""
    early, settled, late = _parts(first, last)
    closes = _settled_days()
    hours = [
        _hours_of(day, closes.get(day) or _CLOSES)
        for day in (trading_days(*settled) if settled else ())
    ]
    return (*_of_library(early), *hours, *_of_library(late))


def sessions_table(days: Sequence[date]) -> pa.Table:
    """The regular hours and the midnights of days, of the columns SESSIONS.

    A day that the calendar does not have has the usual hours: its trades are lost to no bar.

    Args:
        days: ascending, none twice.
    """
    # Imported here: who asks the calendar for days alone need not wait for it.
    import pyarrow as pa

    from warehouse.core.datatypes import SESSIONS

    known = {each.session: each for each in trading_hours(days[0], days[-1])} if days else {}
    hours = [known.get(day) or _hours_of(day, _CLOSES) for day in days]
    columns = (
        days,
        [midnight_ns(day) for day in days],
        [midnight_ns(day + timedelta(days=1)) for day in days],
        [each.open_ns for each in hours],
        [each.close_ns for each in hours],
        [each.is_half_day for each in hours],
    )
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SESSIONS, strict=True)]
    return pa.table(arrays, schema=SESSIONS)


Days: TypeAlias = tuple[date, date]
"""The first and the last, both inclusive."""


def _parts(first: date, last: date) -> tuple[Days | None, Days | None, Days | None]:
    """The days before those that are settled, these, and those after them."""
    begin, until = _SETTLED_FROM, SETTLED_UNTIL
    day = timedelta(days=1)
    parts = (
        (first, min(last, begin - day)),
        (max(first, begin), min(last, until)),
        (max(first, until + day), last),
    )
    early, settled, late = (part if part[0] <= part[1] else None for part in parts)
    return early, settled, late


@lru_cache(maxsize=1)
def _settled_days() -> dict[date, time | None]:
    """Weekdays of the past on which the exchange closed early, and when; None: it was closed."""
    with open(SETTLED_DAYS, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split(",") for line in file][1:]
    return {
        date.fromisoformat(day): time.fromisoformat(closes) if closes else None
        for day, closes in rows
    }


def _hours_of(session: date, closes: time) -> SessionHours:
    opens_ns, closes_ns = (
        int(datetime.combine(session, at, NEW_YORK).timestamp()) * 1_000_000_000
        for at in (_OPENS, closes)
    )
    return SessionHours(session, opens_ns, closes_ns, closes != _CLOSES)


@lru_cache(maxsize=8)
def _of_library(days: Days | None) -> Sequence[SessionHours]:
    """What the library says, which takes a third of a second to be loaded and asked."""
    if days is None:
        return ()
    import exchange_calendars
    import pandas as pd

    # Of days whose nanoseconds no stamp holds there are no sessions.
    first, last = max(days[0], _FIRST_DAY), min(days[1], _LAST_DAY - timedelta(days=31))
    if last < first:
        return ()
    # A calendar wants at least one session; the margin gives it one around any holiday.
    calendar = exchange_calendars.get_calendar(
        "XNYS", start=first - timedelta(days=14), end=last + timedelta(days=14)
    )
    schedule = calendar.schedule.loc[pd.Timestamp(first) : pd.Timestamp(last)]
    opens, closes = (pd.DatetimeIndex(schedule[name]).as_unit("ns") for name in ("open", "close"))
    early = schedule.index.isin(calendar.early_closes)
    sessions = (stamp.date() for stamp in schedule.index)
    columns = (opens.asi8.tolist(), closes.asi8.tolist(), early.tolist())
    return tuple(map(SessionHours, sessions, *columns))


def hours_of(sessions: Iterable[date]) -> dict[date, str]:
    """Of each session what the calendar says of it, as a text."""
    rows = sessions_table(sorted(set(sessions))).to_pylist()
    return {row["session"]: ",".join(map(str, row.values())) for row in rows}


def absent_sessions(first: date, last: date, present: AbstractSet[date]) -> list[date]:
    """Sessions from first to last, both inclusive, that are not among `present`."""
    if not weekdays_absent(first, last, present):
        # The calendar takes a while to be made, and could only name days that are there.
        return []
    return [session for session in trading_days(first, last) if session not in present]


def weekdays_absent(first: date, last: date, present: AbstractSet[date]) -> bool:
    """Whether a Monday to Friday from first to last, both inclusive, is not among `present`."""
    return any(
        day.weekday() < _SATURDAY and day not in present for day in days_between(first, last)
    )


def days_between(first: date, last: date) -> list[date]:
    """Every day from first to last, both inclusive."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
