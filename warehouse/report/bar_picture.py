"""A picture of one bar: every trade of its window, what each may set, and what the bar came to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import plotly.graph_objects as go

from warehouse.core.calendar import NEW_YORK
from warehouse.report.chart_style import DOWN, GREEN, INK, MUTED, PURPLE, UP, plain, style
from warehouse.report.output_file import replacing

Row: TypeAlias = dict[Any, Any]

_MARKS = {
    "all": ("circle", UP),
    "high and low, volume": ("triangle-up", DOWN),
    "volume only": ("x-thin", MUTED),
    "nothing": ("cross-thin", PURPLE),
    "no part of the tape": ("star-triangle-down-open", PURPLE),
}
_OTHER_MARK = ("square", GREEN)
_PRICES = ("open", "high", "low", "close")
_HEIGHT = 520


def save(symbol: str, found: pd.DataFrame, path: Path) -> int:
    """Write the picture as one HTML file that needs no network; returns its bytes.

    Args:
        found: an answer of `Warehouse.explain_bar`.

    Raises:
        StorageError: it cannot be written.
    """
    figure = picture(symbol, found)
    page = figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})
    with replacing(path) as file:
        return file.write(page.encode(errors="backslashreplace"))


def picture(symbol: str, found: pd.DataFrame) -> go.Figure:
    """The trades by time and price, one mark for each kind; lines at the bar's prices."""
    figure = go.Figure()
    kinds: dict[str, list[Row]] = {}
    for trade in found.to_dict("records"):
        kinds.setdefault(_kind(trade), []).append(trade)
    for kind, trades in kinds.items():
        mark, colour = _MARKS.get(kind, _OTHER_MARK)
        thin = mark.endswith("-thin")
        figure.add_scatter(
            x=[_clock(trade["timestamp"]) for trade in trades],
            y=[trade["price"] for trade in trades],
            customdata=[[trade["size"], plain(_told(trade))] for trade in trades],
            mode="markers",
            name=f"{kind} ({len(trades):,})",
            marker={
                "symbol": mark,
                "color": colour,
                "size": 8 if thin else 6,
                "line": {"width": 1.3 if thin else 0, "color": colour},
            },
            hovertemplate="%{x|%H:%M:%S.%f}: $%{y}, %{customdata[0]:,} shares, %{customdata[1]}"
            "<extra></extra>",
        )
    bar = found.attrs["bar"]
    for name in _PRICES if bar else ():
        figure.add_hline(
            y=bar[name], line={"color": INK, "width": 0.7, "dash": "dot"}, annotation_text=name,
            annotation_position="right",
        )  # fmt: skip
    begins, ends = (_clock(each) for each in found.attrs["window"])
    style(figure, _HEIGHT)
    figure.update_xaxes(title="New York", type="date", range=[begins, ends])
    figure.update_yaxes(title="US dollars", tickformat=",")
    title = f"{symbol} {begins[:19]} to {ends[11:19]}: {found.attrs['text'].split('; ')[0]}"
    figure.update_layout(
        title={"text": plain(title), "font": {"size": 14}, "x": 0.02, "xanchor": "left"},
        margin={"t": 60, "r": 60},
        hovermode="closest",
        legend={"orientation": "h", "y": -0.15},
    )
    return figure


def _clock(stamp: pd.Timestamp) -> str:
    """The time in New York to the microsecond: plotly has no time zones."""
    return stamp.tz_convert(NEW_YORK).strftime("%Y-%m-%d %H:%M:%S.%f")


def _kind(trade: Row) -> str:
    """What a trade may set, in words."""
    if isinstance(trade["left_out"], str):
        return "no part of the tape"
    may = {"high and low": trade["sets_high_low"], "open and close": trade["sets_open_close"]}
    sets = [name for name, allowed in may.items() if allowed]
    if trade["counts"]:
        return "all" if len(sets) == 2 else f"{sets[0]}, volume" if sets else "volume only"
    return ", ".join(sets) or "nothing"


def _told(trade: Row) -> str:
    """What it set, what it carries, and what forbids it."""
    words = {
        "set": trade["sets"],
        "conditions": trade["conditions"],
        "prices barred by": trade["high_low_barred_by"],
        "left out:": trade["left_out"],
    }
    told = [f"{word} {value}" for word, value in words.items() if isinstance(value, str)]
    return "; ".join(told) or "no condition"
