"""The days of the past on which the exchange did otherwise than on others, as the library has them.

    PYTHONPATH=. python tests/core/test_settled_days.py 2026-10-31

writes warehouse/core/settled_days.csv anew, up to a day that has passed; `SETTLED_UNTIL` is that.
"""

from __future__ import annotations

import csv
import sys
from datetime import date, timedelta

import exchange_calendars
import pandas as pd
import pytest

from warehouse.core import calendar
from warehouse.core.calendar import NEW_YORK, SETTLED_DAYS, SETTLED_UNTIL, SessionHours

BEGIN = date(2003, 1, 1)


def hours_of_the_library(first: date, last: date) -> list[SessionHours]:
    xnys = exchange_calendars.get_calendar(
        "XNYS", start=first - timedelta(days=14), end=last + timedelta(days=14)
    )
    schedule = xnys.schedule.loc[pd.Timestamp(first) : pd.Timestamp(last)]
    early = set(xnys.early_closes)
    return [
        SessionHours(day.date(), row["open"].value, row["close"].value, day in early)
        for day, row in schedule.iterrows()
    ]


def test_settled_days_are_those_of_the_library() -> None:
    assert date(2026, 10, 31) <= SETTLED_UNTIL < date.today()
    expected = hours_of_the_library(BEGIN, SETTLED_UNTIL)

    found = calendar.trading_hours(BEGIN, SETTLED_UNTIL)

    assert list(found) == expected
    assert calendar.trading_days(BEGIN, SETTLED_UNTIL) == tuple(one.session for one in expected)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (BEGIN - timedelta(days=40), BEGIN + timedelta(days=40)),
        (SETTLED_UNTIL - timedelta(days=40), SETTLED_UNTIL + timedelta(days=40)),
        (SETTLED_UNTIL + timedelta(days=1), SETTLED_UNTIL + timedelta(days=40)),
        (BEGIN - timedelta(days=40), BEGIN - timedelta(days=1)),
        (BEGIN - timedelta(days=40), SETTLED_UNTIL + timedelta(days=40)),
    ],
)
def test_where_settled_days_end_the_library_goes_on(first: date, last: date) -> None:
    assert list(calendar.trading_hours(first, last)) == hours_of_the_library(first, last)
    assert len(calendar.trading_days(first, last)) == len(hours_of_the_library(first, last))


def test_the_library_is_asked_once_for_the_same_days(monkeypatch: pytest.MonkeyPatch) -> None:
    first = SETTLED_UNTIL + timedelta(days=3)
    asked = []
    get_calendar = exchange_calendars.get_calendar

    def note(*arguments: object, **options: object) -> object:
        asked.append(arguments)
        return get_calendar(*arguments, **options)

    monkeypatch.setattr(exchange_calendars, "get_calendar", note)
    for _ in range(3):
        calendar.trading_days(first, first + timedelta(days=17))

    assert len(asked) == 1


def main(until: date) -> None:
    rows = {one.session: one for one in hours_of_the_library(BEGIN, until)}
    with open(SETTLED_DAYS, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["day", "closes"])
        for number in range((until - BEGIN).days + 1):
            day = BEGIN + timedelta(days=number)
            if day.weekday() >= 5:
                assert day not in rows
            elif day not in rows:
                table.writerow([day, ""])
            elif rows[day].is_half_day:
                closes = pd.Timestamp(rows[day].close_ns, tz="UTC").tz_convert(NEW_YORK)
                table.writerow([day, f"{closes:%H:%M}"])


if __name__ == "__main__":
    main(date.fromisoformat(sys.argv[1]))
