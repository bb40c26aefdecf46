"""Coverage as calendars: months of weeks of days, each day with its look and a sentence."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import WORDS, FileState
from warehouse.report.answers import ABSENT, Row
from warehouse.report.collect import Facts
from warehouse.text import count, size

GLYPHS = {
    FileState.MISSING: "×",
    FileState.ROWS_LOST: "¿",
    FileState.SET_ASIDE: "!",
    FileState.FAILED: "#",
    "never": "?",
    "waiting": "…",
    FileState.NOT_IN_PLAN: "–",
    FileState.NOT_YET: "○",
    "outside": "",
}
WEEKDAYS = [(name[:2], name) for name in calendar.day_name]
_LEVELS = 5


def facets(facts: Facts) -> Iterator[Row]:
    """The calendar of each data type: years of months of weeks of days."""
    days = {(row["data_type"], row["session"]): row for row in facts.coverage}
    months = sorted({row["session"][:7] for row in facts.coverage})
    span = (facts.start or "", facts.end or "")
    half_days = frozenset(facts.half_days)
    for name in DATA_TYPES:
        rows = [row for row in facts.coverage if row["data_type"] == name]
        held = facts.holdings[name]
        if not rows:
            yield {"name": name, "said": "none", "years": []}
            continue
        most = max(row["rows"] for row in rows)
        years: dict[str, list[Row]] = {}
        for month in months:
            first = date.fromisoformat(f"{month}-01")
            years.setdefault(month[:4], []).append(
                {
                    "name": f"{first:%B %Y}",
                    "weeks": [
                        [
                            _cell(
                                name, day, days.get((name, day.isoformat())), most, half_days, span
                            )
                            if day.month == first.month
                            else None
                            for day in week
                        ]
                        for week in calendar.Calendar().monthdatescalendar(first.year, first.month)
                    ],
                }
            )
        yield {
            "name": name,
            "said": f"{held['sessions']:,} of {count(held['expected_sessions'], 'session')}",
            "years": [
                {"name": year, "said": _said_of_year(rows, year), "months": listed}
                for year, listed in years.items()
            ],
        }


def _said_of_year(rows: Sequence[Row], year: str) -> str:
    those = [row for row in rows if row["session"].startswith(year)]
    here = sum(row["state"] == "here" for row in those)
    due = here + sum(row["state"] in ABSENT for row in those)
    return f"{here:,} of {count(due, 'session')}"


def _cell(
    name: str,
    day: date,
    row: Row | None,
    most: int,
    half_days: frozenset[str],
    span: tuple[str, str],
) -> Row:
    """A day of a calendar: its look, its text and the sentence about it; none beyond the span."""
    if not span[0] <= day.isoformat() <= span[1]:
        return {"classes": "beyond", "state": "", "text": day.day, "said": ""}
    title = f"{day:%a} {day_in_words(day.isoformat())}, {name}"
    if row is None:
        return {
            "classes": "closed", "state": "", "text": day.day, "said": f"{title}: exchange closed"
        }  # fmt: skip
    classes, said = [], []
    if day.isoformat() in half_days:
        classes.append("half")
        said.append("half-day")
    if not row["is_trading_day"]:
        classes.append("unexpected")
        said.append("the exchange was closed")
    state = row["state"]
    if state != "here":
        said.append(WORDS[state] + (f" ({row['problem']})" if row["problem"] else ""))
        classes.append(state)
        text: Any = GLYPHS[state] or day.day
    else:
        level = -(-_LEVELS * row["rows"] // most) if most else 0
        classes.append(f"l{level}")
        text = day.day
        said.append(f"{count(row['rows'], 'row')} of {count(row['symbols'], 'symbol')}")
        if row["rejects"]:
            said.append(f"{row['rejects']:,} rejected")
        if row["file_bytes"]:
            said.append(f"file of {size(row['file_bytes'])}")
        if row["unfinished"]:
            classes.append("stale")
            said.append("a later version of its file is not published")
    return {
        "classes": " ".join(classes),
        "state": state,
        "text": text,
        "said": f"{title}: {', '.join(said)}",
    }


def day_in_words(session: str) -> str:
    """`7 Oct 2013`."""
    day = date.fromisoformat(session)
    return f"{day.day} {day:%b %Y}"
