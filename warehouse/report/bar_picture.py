"""A picture of one bar: every trade of its window, what each may set, and what the bar came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from warehouse.report.answers import Row
from warehouse.report.bar_facts import MOST_TRADES, clock, may_set
from warehouse.report.chart_style import INK, MARKS, OTHER_MARK, plain, style
from warehouse.report.output_file import replacing

_PRICES = ("low", "open", "close", "high")
"""In the order in which their names stand above each other where the prices are the same."""
_HEIGHT = 520
_LABEL_HEIGHT = 16
_AROUND = 110
"""Pixels of a picture's height that are not the plot's."""
_BESIDE = 0.02
"""Of the window's length, left free on both sides: a mark at its edge is whole."""
_STRETCHES = 500
"""Into so many the window is cut where there are more trades than a screen shows apart."""
_REACH, _LEAST = 3, 0.0005
"""A trade farther from the bar than so many times its range is far; a bar of one price has a range
of so much of it."""


def save(told: Row, path: Path) -> int:
    """Write the picture as one HTML file that needs no network; returns its bytes.

    Args:
        told: a bar, as `bar_facts.explained` tells it.

    Raises:
        StorageError: it cannot be written.
    """
    figure = picture(told, _HEIGHT)
    begins, ends = clock(told["begins"]), clock(told["ends"])
    title = f"{told['symbol']} {begins[:19]} to {ends[11:19]}: {told['text'].split('; ')[0]}"
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.15})
    page = figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})
    # Of plotly's own titles what is wider than the window, or the paper, is cut off.
    heading = f"<p>{plain(title)}{_left_away(told, figure)}</p>"
    page = page.replace("<body>", f'<body style="font: 15px system-ui, sans-serif">{heading}', 1)
    with replacing(path) as file:
        return file.write(page.encode(errors="backslashreplace"))


def picture(told: Row, height: int) -> go.Figure:
    """The trades by time and price, a mark for each kind; the bar's prices, and what set them.

    Lines are the bar's prices, rings go around the trades that set them. A trade far beyond the bar
    is told at the edge in words. Of more trades than a screen shows apart those are drawn that are
    the lowest or the highest of their kind and stretch of time: a browser would not open them all.

    Args:
        told: a bar, as `bar_facts.explained` tells it.
        height: in pixels.
    """
    figure = go.Figure()
    is_thinned = len(told["trades"]) > MOST_TRADES
    kinds: dict[str, list[Row]] = {}
    for trade in told["trades"]:
        kinds.setdefault(kind_of(trade), []).append(trade)
    for kind, trades in kinds.items():
        mark, colour = MARKS.get(kind, OTHER_MARK)
        thin = mark.endswith("-thin")
        drawn = _extremes(told, trades) if is_thinned else trades
        figure.add_scatter(
            x=[clock(trade["timestamp"]) for trade in drawn],
            y=[trade["price"] for trade in drawn],
            customdata=[[trade["size"], plain(_said_of(trade))] for trade in drawn],
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
    if setting := [trade for trade in told["trades"] if trade["sets"]]:
        figure.add_scatter(
            x=[clock(trade["timestamp"]) for trade in setting],
            y=[trade["price"] for trade in setting],
            mode="markers",
            name=f"set a price of the bar ({len(setting):,})",
            marker={"symbol": "circle-open", "color": INK, "size": 13, "line": {"width": 1.3}},
            hoverinfo="skip",
        )
    style(figure, height)
    begins, ends = pd.Timestamp(told["begins"]), pd.Timestamp(told["ends"])
    room = (ends - begins) * _BESIDE
    figure.update_xaxes(
        title="New York time",
        type="date",
        nticks=7,
        range=[clock(begins - room), clock(ends + room)],
    )
    figure.update_yaxes(title="US dollars", tickformat=",")
    figure.update_layout(showlegend=False, hovermode="closest", margin={"r": 50})
    if told["bar"]:
        low, high = _shown(told)
        gap = (high - low) * _LABEL_HEIGHT / (height - _AROUND)
        figure.update_yaxes(range=[low - gap, high + gap])
        _draw_prices(figure, told["bar"], gap)
        _name_outliers(figure, told, low, high)
    return figure


def kind_of(trade: Row) -> str:
    """What a trade may set, in words."""
    if trade["left_out"]:
        return "no part of the tape"
    return may_set(trade["sets_high_low"], trade["sets_open_close"], trade["counts"])


def _extremes(told: Row, trades: Sequence[Row]) -> list[Row]:
    """The lowest and the highest of these trades in each stretch of the window, in their order."""
    begins, ends = pd.Timestamp(told["begins"]), pd.Timestamp(told["ends"])
    stamps = pd.to_datetime([trade["timestamp"] for trade in trades], format="ISO8601", utc=True)
    prices = pd.Series([trade["price"] for trade in trades], dtype="float64").dropna()
    by_stretch = prices.groupby(((stamps - begins) * _STRETCHES // (ends - begins))[prices.index])
    return [trades[n] for n in sorted({*by_stretch.idxmin(), *by_stretch.idxmax()})]


def _left_away(told: Row, figure: go.Figure) -> str:
    """Of how many trades how many are drawn, as a line of its own; none where all are."""
    drawn = sum(len(trace.x) for trace in figure.data if trace.customdata is not None)
    number = len(told["trades"])
    if number <= MOST_TRADES:
        return ""
    stretch = (pd.Timestamp(told["ends"]) - pd.Timestamp(told["begins"])) / _STRETCHES
    return (
        f"<br>{drawn:,} of {number:,} trades: of each kind the lowest and the highest price"
        f" in every {stretch.total_seconds():,.4g} s"
    )


def _shown(told: Row) -> tuple[float, float]:
    """The lowest and the highest price that are drawn: whatever is beyond, the bar is seen."""
    bar, trades = told["bar"], _by_price(told)
    lowest, highest = _price(trades[0]), _price(trades[-1])
    size = max(bar["high"] - bar["low"], bar["high"] * _LEAST)
    low = lowest if lowest >= bar["low"] - _REACH * size else bar["low"] - size
    high = highest if highest <= bar["high"] + _REACH * size else bar["high"] + size
    least = max(size - (high - low), 0)
    return low - least / 2, high + least / 2


def _draw_prices(figure: go.Figure, bar: Row, gap: float) -> None:
    """A line at each of the bar's prices, its name beside it.

    Args:
        gap: how far names have to stand apart, in dollars.
    """
    names = sorted(_PRICES, key=lambda name: bar[name])
    places = _apart([bar[name] for name in names], gap)
    for name, place in zip(names, places, strict=True):
        figure.add_hline(y=bar[name], line={"color": INK, "width": 0.7, "dash": "dot"})
        figure.add_annotation(
            x=1, xref="paper", xanchor="left", xshift=6, y=place, yref="y", showarrow=False,
            text=name, font={"color": INK},
        )  # fmt: skip


def _name_outliers(figure: go.Figure, told: Row, low: float, high: float) -> None:
    """Beside the lowest and the highest trade beyond the bar: what kept it out.

    Args:
        low, high: what is drawn; of trades that are farther only this tells.
    """
    begins, ends = pd.Timestamp(told["begins"]), pd.Timestamp(told["ends"])
    trades = _by_price(told)
    far_below = sum(_price(trade) < low for trade in trades)
    far_above = sum(_price(trade) > high for trade in trades)
    for trade, is_beyond, far, arrow in (
        (trades[0], _price(trades[0]) < told["bar"]["low"], far_below, "↓"),
        (trades[-1], _price(trades[-1]) > told["bar"]["high"], far_above, "↑"),
    ):
        if not is_beyond:
            continue
        price = f"${trade['price']:,.10g}"
        place = f"{arrow} {price if far == 1 else f'{far:,} trades, to {price}'}<br>" if far else ""
        reason = plain(f"{trade['left_out'] or trade['high_low_barred_by']}")
        is_late = pd.Timestamp(trade["timestamp"]) - begins > (ends - begins) / 2
        figure.add_annotation(
            x=clock(trade["timestamp"]),
            y=min(max(_price(trade), low), high),
            showarrow=False,
            text=f"{place}{reason}",
            font={"color": INK},
            align="right" if is_late else "left",
            xanchor="right" if is_late else "left",
            xshift=0 if far else -9 if is_late else 9,
            yanchor="middle" if not far else "bottom" if arrow == "↓" else "top",
        )


def _by_price(told: Row) -> list[Row]:
    """The trades by price; one that was rejected may have none."""
    return sorted((one for one in told["trades"] if one["price"] is not None), key=_price)


def _price(trade: Row) -> float:
    price: float = trade["price"]
    return price


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Places for ascending values: each as near its own as it can, `gap` above the one before.

    Neighbours that would overlap are put together, around the mean of their values.
    """
    blocks: list[tuple[float, int]] = []
    for n, value in enumerate(values):
        mean, size = value - n * gap, 1
        while blocks and blocks[-1][0] >= mean:
            before, number = blocks.pop()
            mean, size = (before * number + mean * size) / (number + size), number + size
        blocks.append((mean, size))
    means = [mean for mean, size in blocks for _ in range(size)]
    return [mean + n * gap for n, mean in enumerate(means)]


def _said_of(trade: Row) -> str:
    """What it set, what it carries, and what forbids it."""
    words = {
        "set": trade["sets"],
        "conditions": trade["conditions"],
        "prices barred by": trade["high_low_barred_by"],
        "left out:": trade["left_out"],
    }
    said = [f"{word} {value}" for word, value in words.items() if value is not None]
    return "; ".join(said) or "no condition"
