"""Dates as people hold them: whoever takes a day at the door, takes it as a session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from building import Made, MakeWarehouse, bar, day_key, instant, quote, trade

from warehouse import Warehouse
from warehouse.errors import QueryError, RequestError

SESSIONS = (date(2024, 1, 29), date(2024, 1, 30), date(2024, 1, 31))
FIRST, LAST = SESSIONS[0], SESSIONS[-1]

# How a person may hold a day: as themselves they compare with midnights, and mean sessions.
DAYS: dict[str, Callable[[date], Any]] = {
    "Timestamp": pd.Timestamp,
    "datetime": lambda day: datetime(day.year, day.month, day.day),
    "datetime64[D]": np.datetime64,
    "datetime64[ns]": lambda day: np.datetime64(day, "ns"),
    "Period": lambda day: pd.Period(day, "D"),
    "text of a Timestamp": lambda day: str(pd.Timestamp(day)),
}
ASKED: dict[str, Callable[[Warehouse, Any, Any], Any]] = {
    "trades": lambda wh, start, end: len(wh.trades("AAPL", start, end)),
    "quotes": lambda wh, start, end: len(wh.quotes("AAPL", start, end)),
    "aggs": lambda wh, start, end: len(wh.aggs("AAPL", start, end, "day")),
    "load": lambda wh, start, end: len(wh.load("trades", "AAPL", start, end, to="arrow")),
    "fingerprint": lambda wh, start, end: wh.fingerprint("trades", "AAPL", start, end),
    "coverage": lambda wh, start, end: wh.coverage("trades", "AAPL", start, end).to_dict(),
    "stream": lambda wh, start, end: sum(len(part) for part in wh.stream("AAPL", start, end)),
    "features": lambda wh, start, end: wh.features("volume_ma", "AAPL", start, end).to_csv(),
    "check_feature": lambda wh, start, end: wh.check_feature("volume_ma", "AAPL", start, end),
}


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    files = {}
    for day in SESSIONS:
        stamps = [instant(day, clock) for clock in ("09:30", "12:00", "19:59")]
        files[day_key("trades", day)] = [
            trade("AAPL", stamp, place) for place, stamp in enumerate(stamps, 1)
        ]
        files[day_key("quotes", day)] = [quote("AAPL", stamp) for stamp in stamps]
        files[day_key("minute_aggs", day)] = [bar("AAPL", stamp) for stamp in stamps]
        files[day_key("day_aggs", day)] = [bar("AAPL", instant(day, "00:00"))]
    made = make_warehouse(files)
    made.update()
    return made


@pytest.fixture(scope="module")
def wh(made: Made) -> Iterator[Warehouse]:
    with Warehouse(made.root) as opened:
        yield opened


@pytest.mark.parametrize("held", DAYS.values(), ids=DAYS.keys())
@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED.keys())
def test_every_question_takes_a_day_as_a_session(
    wh: Warehouse, ask: Callable[..., Any], held: Callable[[date], Any]
) -> None:
    assert ask(wh, held(FIRST), held(LAST)) == ask(wh, FIRST, LAST)
    assert ask(wh, held(LAST), held(LAST)) == ask(wh, LAST, LAST)


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED.keys())
def test_the_end_may_be_left_out_and_numbers_are_refused(
    wh: Warehouse, ask: Callable[..., Any]
) -> None:
    assert ask(wh, LAST, None) == ask(wh, LAST, LAST)
    for number in (20240131, instant(LAST), 1.7e18, True):
        with pytest.raises(RequestError, match="is neither"):
            ask(wh, FIRST, number)
        with pytest.raises(RequestError, match="is neither"):
            ask(wh, number, LAST)


def test_the_end_is_left_out_as_one_writes_it(wh: Warehouse) -> None:
    assert len(wh.trades("AAPL", "2024-01-30")) == 3
    assert len(wh.aggs("AAPL", "2024-01-30", freq="day")) == 1
    assert len(wh.load("trades", "AAPL", "2024-01-30", columns=["price"])) == 3
    assert len(wh.features("volume_ma", "AAPL", "2024-01-30")) == 3
    assert sum(map(len, wh.stream("AAPL", "2024-01-30", data_types="trades"))) == 3


def test_our_own_sessions_are_taken_back_in_every_form(wh: Warehouse) -> None:
    whole = len(wh.trades("AAPL", FIRST, LAST))
    assert whole == 9
    for form in ("pandas", "polars", "arrow"):
        sessions = wh.trades("AAPL", FIRST, LAST, to=form)["session"]
        ends = (
            (sessions.iloc[0], sessions.iloc[-1])
            if form == "pandas"
            else (sessions[0], sessions[len(sessions) - 1])
        )
        assert len(wh.trades("AAPL", *ends)) == whole
        if form == "pandas":
            assert len(wh.trades("AAPL", *sessions.to_numpy()[[0, -1]])) == whole


def test_the_day_after_as_the_end_takes_its_session_too(wh: Warehouse) -> None:
    assert len(wh.trades("AAPL", pd.Timestamp(FIRST), pd.Timestamp(SESSIONS[1]))) == 6
    midnight = pd.Timestamp(SESSIONS[1], tz="America/New_York")
    assert len(wh.trades("AAPL", pd.Timestamp(FIRST), midnight)) == 3


@pytest.mark.parametrize("held", DAYS.values(), ids=DAYS.keys())
def test_those_that_write_take_days_alike(made: Made, held: Callable[[date], Any]) -> None:
    with Warehouse(made.root) as wh:
        found = wh.validate("trades", held(SESSIONS[1]), held(LAST))
        due = wh.validate("trades", SESSIONS[1], LAST)
        assert [(one.rule, one.session) for one in found.results] == [
            (one.rule, one.session) for one in due.results
        ]
        assert found.request == due.request
        assert wh.update("trades", held(FIRST), held(LAST)).did_nothing
        assert asyncio.run(wh.download_async("trades", held(FIRST), held(LAST))).not_fetched == []
        with pytest.raises(RequestError, match="is neither"):
            wh.update("trades", 20240129)  # type: ignore[arg-type]


def test_a_query_never_guesses_what_a_midnight_means(wh: Warehouse) -> None:
    ask = "select count(*) as n from trades where session = $day"
    assert wh.query(ask, day=np.datetime64(LAST))["n"].iloc[0] == 3
    session = wh.trades("AAPL", LAST)["session"].iloc[0]
    with pytest.raises(QueryError, match=r"give its \.date\(\)"):
        wh.query(ask, day=session)
    assert wh.query(ask, day=session.date())["n"].iloc[0] == 3


def test_a_span_of_no_time_has_no_rows_wherever_it_lies(wh: Warehouse) -> None:
    midnight = pd.Timestamp(LAST, tz="America/New_York")
    for start in (midnight, LAST, midnight + pd.Timedelta("9h")):
        end = midnight if start == LAST else start
        assert len(wh.trades("AAPL", start, end)) == 0


def test_an_instant_that_no_clock_has_is_a_request_error(wh: Warehouse) -> None:
    for moment in (datetime.max, datetime.min.replace(hour=1), pd.Timestamp.max, pd.NaT):
        with pytest.raises(RequestError, match="it must be a session"):
            wh.trades("AAPL", FIRST, moment)


def test_a_time_that_clocks_show_twice_or_never_is_told_in_words(wh: Warehouse) -> None:
    twice, never = pd.Timestamp("2024-11-03 01:30"), pd.Timestamp("2024-03-10 02:30")
    for asked in (
        lambda when: wh.trades("AAPL", str(when), "2024-12-01"),
        lambda when: wh.query("select $when", when=when),
    ):
        with pytest.raises((RequestError, QueryError), match=r"as 2024-11-03 01:30:00-04:00$"):
            asked(twice)
        with pytest.raises((RequestError, QueryError), match="no clock in New York shows this"):
            asked(never)
    there = wh.trades("AAPL", "2024-11-03 01:30:00-04:00", "2024-11-03 02:30", missing="ignore")
    assert len(there) == 0


@pytest.mark.parametrize(
    "zone", [" UTC+3", " GMT-5", " PM", " EST", " America/New_York", ".0000000001", " 2024"]
)
def test_what_stands_behind_a_time_is_never_guessed(wh: Warehouse, zone: str) -> None:
    # dateutil reads UTC+3 as POSIX has it: three hours behind, and not ahead.
    with pytest.raises(RequestError, match=r"it is neither; a zone is told as Z or by its offset"):
        wh.trades("AAPL", f"2024-01-30 09:30:00{zone}", "2024-01-31")


@pytest.mark.parametrize(
    ("zone", "rows"),
    [("", 2), ("Z", 3), (" UTC", 3), ("+00:00", 3), ("-05", 2), (" -0500", 2), (".000000001", 1)],
)
def test_a_zone_is_told_as_iso_8601_has_it(wh: Warehouse, zone: str, rows: int) -> None:
    found = wh.trades("AAPL", f"2024-01-30 12:00:00{zone}", "2024-01-30")
    assert len(found) == rows


@pytest.mark.parametrize("end", ["2262-04-12", "9999-12-31"])
def test_an_end_beyond_all_stamps_takes_what_there_is(wh: Warehouse, end: str) -> None:
    asked: dict[str, Callable[[str], Any]] = {
        "trades": lambda to: wh.trades("AAPL", FIRST, to, adjust="splits", missing="ignore"),
        "all": lambda to: wh.trades("*", FIRST, to, missing="ignore"),
        "days": lambda to: wh.bars("AAPL", FIRST, to, every="1d", missing="ignore"),
        "filled": lambda to: wh.bars("AAPL", FIRST, to, fill=True, missing="ignore"),
        "vwap": lambda to: wh.aggs("AAPL", FIRST, to, vwap=True, missing="ignore"),
        "panel": lambda to: wh.panel("day_aggs", "close", FIRST, to, missing="ignore"),
        "features": lambda to: wh.features("volume_ma", "AAPL", FIRST, to, missing="ignore"),
        "stream": lambda to: pd.concat(
            part.to_pandas() for part in wh.stream("AAPL", FIRST, to, missing="ignore")
        ),
    }
    for name, ask in asked.items():
        found = ask(end)
        assert len(found) > 0, name
        pd.testing.assert_frame_equal(found, ask(str(LAST)), obj=name)
