"""Sessions: the exchange's calendar, the instants that days span, and what users write for them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

import exchange_calendars
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from building import NEW_YORK
from hypothesis import given
from hypothesis import strategies as st

from warehouse.core import calendar as sessions
from warehouse.core.calendar import (
    check_order,
    day_bounds_ns,
    last_day_of_month,
    midnight_ns,
    parse_session,
    parse_span,
    session_at,
    trading_days,
)
from warehouse.errors import RequestError

HOUR = 3600 * 1_000_000_000
DAYS = st.dates(date(2003, 9, 10), date(2035, 12, 31))


def new_york(nanoseconds: int) -> str:
    return f"{datetime.fromtimestamp(nanoseconds // 10**9, NEW_YORK):%Y-%m-%d %H:%M:%S}"


# The calendar


@pytest.fixture(scope="module")
def calendar() -> frozenset[date]:
    return frozenset(trading_days(date(2012, 1, 1), date(2025, 12, 31)))


@pytest.mark.parametrize(
    "closed",
    [
        date(2024, 1, 1),
        date(2024, 1, 15),  # Martin Luther King
        date(2024, 3, 29),  # Good Friday
        date(2024, 6, 19),
        date(2024, 11, 28),
        date(2024, 12, 25),
        date(2012, 10, 29),  # Sandy
        date(2018, 12, 5),  # mourning G. H. W. Bush
        date(2025, 1, 9),  # mourning J. Carter
        date(2024, 2, 3),
    ],
    ids=str,
)
def test_a_day_the_exchange_is_closed_is_no_session(
    closed: date, calendar: frozenset[date]
) -> None:
    assert closed not in calendar


@pytest.mark.parametrize(
    "half_day", [date(2024, 7, 3), date(2024, 11, 29), date(2024, 12, 24)], ids=str
)
def test_a_half_day_is_a_session(half_day: date, calendar: frozenset[date]) -> None:
    assert half_day in calendar


def test_a_holiday_alone_is_a_range_without_sessions() -> None:
    assert trading_days(date(2024, 12, 25), date(2024, 12, 25)) == ()
    assert trading_days(date(2024, 12, 24), date(2024, 12, 24)) == (date(2024, 12, 24),)


@pytest.mark.parametrize("day", ["1500-01-03", "2262-12-31", "9999-12-31"])
def test_days_whose_nanoseconds_no_stamp_holds_have_no_sessions(day: str) -> None:
    assert trading_days(date.fromisoformat(day), date.fromisoformat(day)) == ()


def test_a_year_has_the_sessions_that_the_exchange_kept(calendar: frozenset[date]) -> None:
    for year in (2013, 2024):
        assert len([day for day in calendar if day.year == year]) == 252


def test_sessions_ascend_and_both_ends_are_among_them() -> None:
    days = trading_days(date(2024, 1, 2), date(2024, 1, 12))

    assert days[0] == date(2024, 1, 2)
    assert days[-1] == date(2024, 1, 12)
    assert list(days) == sorted(set(days))
    assert {type(day) for day in days} == {date}


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (datetime(2024, 3, 1, 4, 59, tzinfo=UTC), date(2024, 2, 29)),
        (datetime(2024, 3, 1, 5, 0, tzinfo=UTC), date(2024, 3, 1)),
        (datetime(2024, 7, 1, 3, 59, tzinfo=UTC), date(2024, 6, 30)),
    ],
)
def test_today_is_the_day_in_new_york(
    monkeypatch: pytest.MonkeyPatch, instant: datetime, day: date
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return instant.astimezone(tz)

    monkeypatch.setattr(sessions, "datetime", Clock)
    assert sessions.today() == day


def test_there_are_no_sessions_from_a_day_to_one_before_it() -> None:
    assert trading_days(date(2024, 1, 3), date(2024, 1, 2)) == ()


def test_the_history_of_the_vendor_is_within_the_calendar() -> None:
    assert trading_days(date(2003, 9, 10), date(2003, 9, 12)) == (
        date(2003, 9, 10),
        date(2003, 9, 11),
        date(2003, 9, 12),
    )


# Days as instants


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        (date(2024, 3, 9), 24),
        (date(2024, 3, 10), 23),
        (date(2024, 11, 3), 25),
        (date(2024, 11, 4), 24),
    ],
    ids=str,
)
def test_a_day_has_as_many_hours_as_the_clocks_of_new_york_say(day: date, hours: int) -> None:
    start, end = day_bounds_ns(day, day)
    assert end - start == hours * HOUR


@given(DAYS)
def test_a_day_begins_at_midnight_and_ends_where_the_next_begins(day: date) -> None:
    start, end = day_bounds_ns(day, day)
    assert new_york(start) == f"{day} 00:00:00"
    assert end == midnight_ns(day + timedelta(days=1))
    assert start == midnight_ns(day)


@given(DAYS, st.integers(1, 40))
def test_days_together_span_what_they_span_one_by_one(first: date, count: int) -> None:
    days = [first + timedelta(days=n) for n in range(count)]
    bounds = [day_bounds_ns(day, day) for day in days]
    assert all(left[1] == right[0] for left, right in pairwise(bounds))
    assert day_bounds_ns(days[0], days[-1]) == (bounds[0][0], bounds[-1][1])


@given(st.dates(date(2003, 1, 1), date(2100, 12, 31)))
def test_the_last_day_of_a_month_is_followed_by_the_first_of_the_next(day: date) -> None:
    last = last_day_of_month(day)
    assert (last.year, last.month) == (day.year, day.month)
    assert (last + timedelta(days=1)).day == 1


# What users write


def test_a_date_is_a_session_whole_at_both_ends() -> None:
    span = parse_span("2024-01-02", date(2024, 1, 3))

    assert (span.first, span.last) == (date(2024, 1, 2), date(2024, 1, 3))
    assert new_york(span.start_ns) == "2024-01-02 00:00:00"
    assert new_york(span.end_ns) == "2024-01-04 00:00:00"


def test_a_single_session_is_a_whole_day() -> None:
    span = parse_span("2024-03-10", "2024-03-10")
    assert span.end_ns - span.start_ns == 23 * HOUR


def test_a_naive_time_is_new_yorks_and_is_excluded_as_the_end() -> None:
    span = parse_span("2024-01-02 09:30", datetime(2024, 1, 2, 16))

    assert span.start_ns == int(datetime(2024, 1, 2, 14, 30, tzinfo=UTC).timestamp()) * 10**9
    assert span.end_ns - span.start_ns == 6.5 * HOUR
    assert (span.first, span.last) == (date(2024, 1, 2), date(2024, 1, 2))


def test_an_aware_time_is_what_it_says() -> None:
    moment = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    for written in (moment, moment.isoformat(), pd.Timestamp(moment), "2024-01-02 14:30Z"):
        assert parse_span(written, "2024-01-02").start_ns == int(moment.timestamp()) * 10**9


def test_an_aware_midnight_as_the_end_belongs_to_the_session_before_it() -> None:
    for midnight in ("2024-01-03 00:00-05:00", pd.Timestamp("2024-01-03", tz="America/New_York")):
        span = parse_span("2024-01-02 09:30", midnight)
        assert span.last == date(2024, 1, 2)
        assert new_york(span.end_ns) == "2024-01-03 00:00:00"


DAY = date(2025, 11, 28)
AS_A_DAY = {
    "text": "2025-11-28",
    "stamp": pd.Timestamp("2025-11-28"),
    "stamp in seconds": pd.Timestamp("2025-11-28").as_unit("s"),
    "stamp as text": str(pd.Timestamp("2025-11-28")),
    "iso text": "2025-11-28T00:00:00",
    "datetime": datetime(2025, 11, 28),
    "numpy day": np.datetime64("2025-11-28"),
    "numpy ns": np.datetime64("2025-11-28", "ns"),
    "numpy s": np.datetime64("2025-11-28", "s"),
    "numpy minute": np.datetime64("2025-11-28T00:00"),
    "period": pd.Period("2025-11-28", "D"),
    "our session": pd.Series([DAY]).astype("datetime64[s]").iloc[0],
    "arrow": pa.scalar(DAY),
    "arrow s": pa.scalar(datetime(2025, 11, 28), pa.timestamp("s")),
    "range": pd.date_range("2025-11-28", periods=1)[0],
}


@pytest.mark.parametrize("written", AS_A_DAY.values(), ids=AS_A_DAY.keys())
def test_a_day_is_a_session_however_it_is_held(written: Any) -> None:
    assert parse_span(written, written) == parse_span(DAY, DAY)
    assert parse_span(written) == parse_span(DAY, DAY)
    assert parse_span("2025-11-26", written) == parse_span(date(2025, 11, 26), DAY)
    assert parse_span("2025-11-28 09:30", written).last == DAY
    assert session_at("end", written, is_end=True) == DAY


def test_a_label_of_an_exchanges_calendar_is_a_session() -> None:
    calendar = exchange_calendars.get_calendar("XNYS", start="2025-11-01", end="2025-12-31")
    labels = calendar.sessions_in_range("2025-11-26", "2025-11-28")
    assert len(labels) == 2
    assert parse_span(labels[0], labels[-1]) == parse_span("2025-11-26", "2025-11-28")


def test_numpy_instants_are_new_yorks() -> None:
    written = np.datetime64("2025-11-28T09:30:00.000000001")
    assert parse_span(written) == parse_span("2025-11-28 09:30:00.000000001")


def test_without_an_end_it_goes_to_the_end_of_the_session_of_its_start() -> None:
    assert parse_span("2024-01-02") == parse_span("2024-01-02", "2024-01-02")
    assert parse_span("2024-01-02 09:30") == parse_span("2024-01-02 09:30", "2024-01-02")
    assert parse_span("2024-01-03 00:30Z") == parse_span("2024-01-03 00:30Z", "2024-01-02")


@pytest.mark.parametrize(
    "number",
    [20251128, 1_764_288_000 * 10**9, 1.5, True, np.int64(20251128), np.float64(1), pa.scalar(5)],
    ids=repr,
)
def test_a_number_is_no_time(number: Any) -> None:
    for ask in (lambda: parse_span(number, DAY), lambda: parse_span(DAY, number)):
        with pytest.raises(RequestError, match="is neither"):
            ask()
    with pytest.raises(RequestError, match="is neither"):
        session_at("start", number)


def test_the_session_of_an_instant_is_new_yorks() -> None:
    """Half an hour after midnight UTC is an evening in New York."""
    late = datetime(2024, 1, 3, 0, 30, tzinfo=UTC)
    assert session_at("start", late) == date(2024, 1, 2)
    assert session_at("end", pd.Timestamp("2024-01-03", tz="America/New_York"), is_end=True) == (
        date(2024, 1, 2)
    )


def test_the_last_hour_of_a_winter_session_is_of_that_session() -> None:
    # 19:30 in New York is the next day's 00:30 in UTC.
    span = parse_span("2024-02-01 00:30Z", "2024-02-01 00:59:59.999999999Z")
    assert (span.first, span.last) == (date(2024, 1, 31), date(2024, 1, 31))


@given(st.integers(1_064_000_000 * 10**9, 2_000_000_000 * 10**9), st.integers(1, 10**15))
def test_no_nanosecond_is_lost(start: int, length: int) -> None:
    span = parse_span(pd.Timestamp(start, tz="UTC"), pd.Timestamp(start + length, tz="UTC"))
    assert (span.start_ns, span.end_ns) == (start, start + length)
    text = parse_span(str(pd.Timestamp(start, tz="UTC")), pd.Timestamp(start + length, tz="UTC"))
    assert text == span


@given(DAYS, DAYS)
def test_sessions_of_a_span_cover_its_instants(one: date, other: date) -> None:
    first, last = sorted((one, other))
    span = parse_span(first, last)
    assert (span.start_ns, span.end_ns) == day_bounds_ns(span.first, span.last)


@pytest.mark.parametrize(
    "wrong",
    [
        "2024-01-32",
        "2024-13-01",
        "2023-02-29",
        "01/02/2024",
        "yesterday's",
        "",
        "NaT",
        "2024-03-10 02:30",  # the clock never showed it
        "2024-11-03 01:30",  # the clock showed it twice
        None,
        "1500-01-01 00:00",
        "1500-01-01",
        "09:30",  # of which day?
        "01/02/2024 09:30",
        "2024-1-2 09:30",
        pd.NaT,
        np.datetime64("NaT"),
        np.datetime64("2024-01"),
        pd.Period("2024-01", "M"),
        pd.Timestamp.min,
        datetime.min,
        object(),
        ["2024-01-02"],
    ],
    ids=lambda wrong: "object" if type(wrong) is object else str(wrong),
)
def test_what_is_no_time_is_an_error_that_names_it(wrong: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_span(wrong, "2024-12-31")
    assert caught.value.parameter == "start"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("written", ["20240102", "2024-1-2", "2024", "2024-01"])
def test_a_date_written_otherwise_is_no_midnight_in_disguise(written: str) -> None:
    """As an instant it would make of `end` the session before it, without a word."""
    with pytest.raises(RequestError) as caught:
        parse_span("2024-01-01", written)
    assert caught.value.parameter == "end"


def test_the_end_of_time_as_the_end_is_no_crash() -> None:
    """It is how some say that a range is open."""
    try:
        last: object = parse_span("2024-01-02", "9999-12-31").last
    except RequestError as error:
        last = error.parameter
    assert last in {"end", date(9999, 12, 31)}


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2024-01-03", "2024-01-02"),
        ("2024-01-02 10:00", "2024-01-02 09:59:59"),
        (date(2024, 1, 3), datetime(2024, 1, 2, 12)),
    ],
)
def test_an_end_before_the_start_is_an_error_that_names_both(start: object, end: object) -> None:
    with pytest.raises(RequestError, match="it lies before start = ") as caught:
        parse_span(start, end)  # type: ignore[arg-type]
    assert caught.value.parameter == "end"


def test_a_session_is_read_from_a_date_however_it_is_given() -> None:
    day = date(2024, 1, 2)
    assert parse_session("start", "2024-01-02") == day
    assert parse_session("start", day) == day
    assert parse_session("start", datetime(2024, 1, 2, 15)) == day


@pytest.mark.parametrize("wrong", ["2024-01-32", "soon", "", "2024-01-02 09:30"])
def test_what_is_no_session_is_an_error_that_says_how_one_is_written(wrong: str) -> None:
    with pytest.raises(RequestError, match="YYYY-MM-DD") as caught:
        parse_session("--start", wrong)
    assert (caught.value.parameter, caught.value.value) == ("--start", wrong)


def test_sessions_may_be_open_or_equal_but_not_the_wrong_way_round() -> None:
    day = date(2024, 1, 2)
    check_order(None, day)
    check_order(day, None)
    check_order(day, day)
    with pytest.raises(RequestError, match="end = '2024-01-01': it lies before"):
        check_order(day, date(2024, 1, 1))
