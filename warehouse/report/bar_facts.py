"""What is told of a bar and its trades; and of a symbol's bars the one that tells most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from warehouse.bars.spec import BarSpec
from warehouse.core.calendar import NEW_YORK
from warehouse.core.representation import plain
from warehouse.errors import WarehouseError
from warehouse.read.bars.answers import BarAnswers
from warehouse.read.bars.question import Window
from warehouse.report.answers import Row
from warehouse.text import shell_word

EVERY = "1m"
"""The length of the bars among which one is chosen."""
MOST_TRADES = 2_000
"""A bar of more is not chosen: a picture as wide as a screen would not show them apart."""
_MOST_READ = 1_000_000
"""So many trades are looked through for it, unless the last session alone has more."""


def explained(symbol: str, found: pd.DataFrame) -> Row:
    """A bar and the trades of its window in terms of JSON.

    Args:
        found: an answer of `Warehouse.explain_bar`, in UTC.
    """
    begins, ends = found.attrs["window"]
    records = found.astype(object).where(found.notna(), None).to_dict("records")
    return {
        "symbol": symbol,
        "begins": plain(begins),
        "ends": plain(ends),
        "bar": plain(found.attrs["bar"]),
        "text": found.attrs["text"],
        "trades": plain(records),
    }


def may_set(sets_high_low: Any, sets_open_close: Any, counts: Any) -> str:
    """What a trade may do to a bar, in words."""
    does = {"high and low": sets_high_low, "open and close": sets_open_close, "volume": counts}
    parts = [name for name, allowed in does.items() if allowed]
    if len(parts) == len(does):
        return "everything"
    return ", ".join(parts) + (" only" if len(parts) == 1 else "") if parts else "nothing"


def command(symbol: str, at: str, every: str = EVERY) -> str:
    """The command that explains a bar, without the program's name.

    Args:
        at: the session, or a moment of New York's clock.
    """
    length = "" if every == EVERY else f" --every {every}"
    # What begins with a dash would be taken for an option.
    dashes = " --" if symbol.startswith("-") else ""
    return f"explain-bar{length}{dashes} {shell_word(symbol)} {shell_word(at)}"


def telling(ask: Callable[..., list[Row]], bars: BarAnswers, symbol: str) -> Row | None:
    """The bar of a symbol that tells most, explained; None where there are no trades.

    It is the minute whose high or low the rules changed most, else the busiest: `changed` is high,
    low or None, `change` how far in dollars, `highest` and `lowest` are of all trades. Of the
    regular hours, unless these have no bar. Where there is none to show, `problem` says why.

    Args:
        ask: answers a statement of sql/report about the symbol, with values of its own.
    """
    spans = ask("recent_sessions", most=_MOST_READ)
    if not spans:
        return None
    (span,) = spans
    first, last = span["first_session"], span["last_session"]
    told: Row = {
        "every": EVERY,
        "hours": "regular",
        "most_trades": MOST_TRADES,
        **plain(span),
        **dict.fromkeys(("of_bars", "changed", "change", "highest", "lowest", "explained")),
        "problem": None,
    }
    spec = BarSpec.of(EVERY, hours="all")
    try:
        # Where they are broken, the macros that were made of them say less.
        bars.check(spec)
        for hours in ("regular", "all"):
            rows = ask("telling_bar", first=first, last=last, hours=hours, most=MOST_TRADES)
            if rows:
                break
        else:
            problem = f"no minute has a bar, and at most {MOST_TRADES:,} trades"
            return {**told, "problem": problem}
        (chosen,) = rows
        asked = Window(spec, symbol, chosen["begin_ns"], chosen["session"])
        found = bars.explain(asked, "pandas", "UTC")
    except WarehouseError as error:
        # The report is there to say what is wrong with a warehouse: this goes into it.
        return {**told, "problem": str(error)}
    is_high = chosen["highest"] - chosen["high"] >= chosen["low"] - chosen["lowest"]
    return {
        **told,
        "hours": hours,
        "of_bars": chosen["of_bars"],
        "changed": ("high" if is_high else "low") if chosen["change"] else None,
        "change": round(chosen["change"], 6),
        "highest": chosen["highest"],
        "lowest": chosen["lowest"],
        "explained": explained(symbol, found),
    }


def clock(stamp: str | pd.Timestamp) -> str:
    """The time in New York to the microsecond: plotly has no time zones.

    Args:
        stamp: as `explained` tells it, or with its zone.
    """
    return pd.Timestamp(stamp).tz_convert(NEW_YORK).strftime("%Y-%m-%d %H:%M:%S.%f")
