"""Why a bar is what it is, and how bars compare with the vendor's: as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from warehouse.cli.render.run import row as labelled
from warehouse.core.calendar import NEW_YORK
from warehouse.read.bars.reconciliation import ReconcileReport
from warehouse.text import count

SHOWN = 40
"""So many trades are shown, unless more are asked for."""
_HEADER = ("time (New York)", "price", "size", "exchange", "may set", "sets", "conditions, and why")
_LEFT = (4, 5, 6)
"""Columns of text."""


def explained_lines(symbol: str, found: pd.DataFrame, limit: int | None) -> Iterator[str]:
    """A bar in a sentence, and a line for each trade that has something to tell.

    Args:
        limit: trades that are shown; 0: all of them, None: those that set a price, may not do all,
            or are no part of the tape, at most SHOWN.
    """
    begins, ends = (each.tz_convert(NEW_YORK) for each in found.attrs["window"])
    day = "" if ends.date() == begins.date() else f"{ends:%Y-%m-%d} "
    yield f"{symbol} {begins:%Y-%m-%d %H:%M:%S} to {day}{ends:%H:%M:%S}, New York"
    yield from (f"  {part}" for part in found.attrs["text"].split("; "))
    if not len(found):
        return
    shown = found
    if limit is None:
        may_all = found["sets_high_low"] & found["sets_open_close"] & found["counts"]
        shown = found[found["sets"].notna() | ~may_all.fillna(False).astype(bool)].head(SHOWN)
    elif limit:
        shown = found.head(limit)
    yield ""
    yield from _columns([_HEADER, *map(_line, shown.itertuples())])
    if rest := len(found) - len(shown):
        yield f"and {count(rest, 'trade')} more; --limit 0 shows all, -o FILE writes them"


def _line(trade: Any) -> tuple[str, ...]:
    if isinstance(trade.left_out, str):
        may, why = "nothing", f"no part of the tape: {trade.left_out}"
    else:
        may, why = _may(trade), _why(trade)
    return (
        f"{trade.timestamp.tz_convert(NEW_YORK):%H:%M:%S.%f}{trade.timestamp.nanosecond:03}",
        f"{trade.price:,.10g}",
        f"{trade.size:,.10g}",
        "" if pd.isna(trade.exchange) else f"{int(trade.exchange)}",
        may,
        trade.sets if isinstance(trade.sets, str) else "",
        why,
    )


def _may(trade: Any) -> str:
    allowed = [
        name
        for name, may in (
            ("high/low", trade.sets_high_low),
            ("open/close", trade.sets_open_close),
            ("volume", trade.counts),
        )
        if may
    ]
    return "all" if len(allowed) == 3 else ", ".join(allowed) or "nothing"


def _why(trade: Any) -> str:
    codes = trade.conditions if isinstance(trade.conditions, str) else ""
    reasons = dict.fromkeys(
        each
        for each in (
            trade.high_low_barred_by,
            trade.open_close_barred_by,
            trade.volume_barred_by,
        )
        if isinstance(each, str)
    )
    return f"{codes}: {', '.join(reasons)}" if reasons else codes


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADER))]
    for row in rows:
        cells = [
            cell.ljust(width) if place in _LEFT else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def reconcile_lines(report: ReconcileReport) -> Iterator[str]:
    """How our bars compare with the vendor's, and what to do about a cause."""
    yield from report.lines()
    if any(one.comparison.causes for one in report.results):
        yield labelled(
            "next", "see a bar that differs with explain-bar; to build bars by such a rule,"
        )
        yield labelled("", "change config/trade_conditions.csv")
    if any(one.comparison.groups for one in report.results):
        yield labelled("", "--json has every class with examples")
