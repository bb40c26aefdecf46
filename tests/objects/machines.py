"""Machines that share one warehouse by way of a bucket: folders of their own on this one."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from building import SESSION, Made, bar, day_key, instant, make, quote, random_trades

SYMBOLS = ["AAPL", "BRK.B", "MSFT", "ZVZZT"]


def machine(folder: Path, url: str, endpoint: str, source: Path | None = None, **keys: Any) -> Made:
    """A machine whose warehouse is published to `url`.

    Args:
        source: of its files; None: a folder of its own, without any.
    """
    made = make(folder, storage__cache_dir=url, storage__cache_endpoint=endpoint, **keys)
    if source is not None:
        made.configure(source__url=str(source))
        made.source = source
    return made


def a_day(made: Made, day: date, rows: int = 300, seed: int = 0) -> None:
    """Files of one session, of all data types, in the machine's source."""
    made.put(day_key("trades", day), random_trades(SYMBOLS, rows, day, seed))
    quotes = [
        quote(symbol, instant(day) + n * 10**9, n, bid=10 + n % 7, ask=11 + n % 7)
        for symbol in SYMBOLS
        for n in range(1, 20)
    ]
    made.put(day_key("quotes", day), quotes)
    minutes = [bar(symbol, instant(day) + n * 60 * 10**9) for symbol in SYMBOLS for n in range(5)]
    made.put(day_key("minute_aggs", day), minutes)
    bars = [bar(symbol, instant(day, "00:00")) for symbol in SYMBOLS]
    made.put(day_key("day_aggs", day), bars)


def some_days(made: Made, count: int = 2, **options: Any) -> list[date]:
    """Files of the last sessions of January 2024, the last of which is a Wednesday."""
    days = [SESSION - timedelta(days=count - 1 - n) for n in range(count)]
    for day in days:
        a_day(made, day, **options)
    return days
