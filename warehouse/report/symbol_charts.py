"""The report's charts of one symbol, and their data as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from warehouse.report.answers import Row
from warehouse.report.bar_facts import clock, command
from warehouse.report.bar_picture import kind_of, picture
from warehouse.report.chart_style import (
    ACCENT,
    AMOUNTS,
    CLEAR,
    DAY,
    DOWN,
    FEW_DAYS,
    GAP,
    GREY,
    MARKS,
    OTHER_MARK,
    TIMES,
    UP,
    Chart,
    Table,
    plain,
    style,
)
from warehouse.report.collect import Facts
from warehouse.report.coverage_calendar import day_in_words
from warehouse.text import count

_NEW_YORK = "New York time"
_MOST_NAMED = 8
_FIRST_HOUR, _LAST_HOUR = 4, 20
"""Of a session, extended hours and all."""


def candles(facts: Facts, symbol: Row, place: int) -> Chart | None:
    """Candlesticks with volume, gaps shaded; None where there are no bars."""
    found = symbol["candles"]
    if found is None:
        return None
    rows, gaps = found["rows"], symbol["gaps"]
    by_minute = found["data_type"] == "minute_aggs"
    x = [_wall(row["start"]) for row in rows]
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.04
    )
    figure.add_candlestick(
        x=x,
        **{key: [row[key] for row in rows] for key in ("open", "high", "low", "close")},
        name="price",
        increasing={"line": {"color": UP, "width": 1}, "fillcolor": CLEAR},
        decreasing={"line": {"color": DOWN, "width": 1}, "fillcolor": DOWN},
        row=1,
        col=1,
    )
    alone = len(rows) == 1
    apart = timedelta(minutes=1) if by_minute else timedelta(days=1)
    if alone:
        # A candle is as wide as the next is near: without one it would be a millisecond.
        moment, close = datetime.fromisoformat(x[0]), rows[0]["close"]
        figure.add_candlestick(
            x=[(moment - apart).isoformat(), (moment + apart).isoformat()],
            **{key: [close, close] for key in ("open", "high", "low", "close")},
            opacity=0,
            hoverinfo="skip",
            row=1,
            col=1,
        )
    figure.add_bar(
        x=x,
        y=[row["volume"] for row in rows],
        width=0.8 * apart / timedelta(milliseconds=1) if alone else None,
        name="volume",
        marker={"color": GREY},
        hovertemplate="volume: %{y:,} shares<extra></extra>",
        row=2,
        col=1,
    )
    for gap in gaps["rows"]:
        start = gap["start"] or f"{gap['session']}T00:00:00"
        end = gap["end"] or f"{gap['session']}T23:59:59"
        figure.add_shape(
            type="rect", x0=_wall(start), x1=_wall(end), y0=0, y1=1, xref="x", yref="paper",
            fillcolor=GAP, line={"width": 0}, layer="below",
        )  # fmt: skip
    figure.update_yaxes(title="US dollars", tickformat=",", row=1, col=1)
    figure.update_yaxes(title="shares", nticks=3, rangemode="tozero", row=2, col=1, **AMOUNTS)
    figure.update_xaxes(rangeslider={"visible": False})
    figure.update_xaxes(title=_NEW_YORK if by_minute else "session", row=2, col=1)
    style(figure, 440)
    figure.update_layout(showlegend=False, bargap=0.2, hovermode="x unified")
    _days(figure, x, facts, by_minute=by_minute, width=found["width"])
    return Chart(
        f"candles-{place}",
        "Price and volume",
        f"Candlesticks of {len(rows):,} times {found['width']} with volume below;"
        f" {count(gaps['of_gaps'], 'gap')} shaded. Hollow candles close higher, filled ones lower.",
        _candles_note(found, gaps),
        figure,
        ("start", "open", "high", "low", "close", "volume"),
        [[row[key] for key in ("start", "open", "high", "low", "close", "volume")] for row in rows],
        _gaps_table(gaps, place),
    )


def _candles_note(found: Row, gaps: Row) -> str:
    rows = found["rows"]
    source = f"{found['of_bars']:,} {found['data_type']}"
    width = found["width"]
    if found["of_bars"] == len(rows):
        note = f"{source}, unadjusted; hollow candles close higher than they open."
    else:
        note = (
            f"{len(rows):,} candles of {'a ' if width in ('week', 'month') else ''}{width}, drawn"
            f" together from {source}, which are more than a screen shows apart; unadjusted, hollow"
            " candles close higher than they open."
        )
    if not gaps["of_gaps"]:
        return note
    longer = gaps["longer_than_minutes"]
    if longer is None:
        shaded = f"{count(gaps['of_gaps'], 'trading day')} without a bar"
    else:
        shaded = f"{count(gaps['of_gaps'], 'gap')} of more than {longer:g} minutes in regular hours"
    if len(gaps["rows"]) < gaps["of_gaps"]:
        shaded = f"the {len(gaps['rows']):,} longest of {shaded}"
    return f"{note} Shaded: {shaded}."


def _gaps_table(gaps: Row, place: int) -> list[Table]:
    rows = [[row["session"], row["start"], row["end"], row["minutes"]] for row in gaps["rows"]]
    columns = ("session", "from", "to", "minutes")
    return [Table(f"gaps-{place}", "Gaps as data", columns, rows)] if rows else []


def _days(
    figure: go.Figure, x: Sequence[str], facts: Facts, *, by_minute: bool, width: str
) -> None:
    """The axis of time: nights, weekends and holidays take no room, and sessions are named."""
    first, last = date.fromisoformat(x[0][:10]), date.fromisoformat(x[-1][:10])
    figure.update_xaxes(**TIMES, hoverformat="%a %-d %b %Y %H:%M" if by_minute else "%a %-d %b %Y")
    if first == last:
        # Of one moment, or two a second apart, the axis would be of milliseconds.
        room = timedelta(minutes=5) if by_minute else timedelta(hours=14)
        ends = (datetime.fromisoformat(x[0]) - room, datetime.fromisoformat(x[-1]) + room)
        figure.update_xaxes(autorangeoptions={"include": [each.isoformat() for each in ends]})
    if by_minute and first != last:
        named = sorted({each[:10] for each in x})
        named = named[:: -(-len(named) // _MOST_NAMED)]
        figure.update_xaxes(
            tickvals=[f"{day}T09:30:00" for day in named],
            ticktext=[f"{date.fromisoformat(day):%-d %b}<br>09:30" for day in named],
        )
    if not by_minute and width != "day":
        return
    if not by_minute and (last - first).days <= FEW_DAYS:
        figure.update_xaxes(dtick=DAY)
    figure.update_xaxes(rangebreaks=list(_breaks(x, facts, by_minute=by_minute)))


def _breaks(x: Sequence[str], facts: Facts, *, by_minute: bool) -> Iterator[dict[str, Any]]:
    """What lies between the open hours of one trading day and those of the next, one by one.

    Patterns (nights, weekends) would be shorter, but plotly counts twice where they overlap.
    """
    first, last = x[0][:10], x[-1][:10]
    open_days = {row["session"] for row in facts.coverage if row["is_trading_day"]}
    open_days = {day for day in open_days if first <= day <= last} | {each[:10] for each in x}
    opens, closes = (_FIRST_HOUR, _LAST_HOUR) if by_minute else (0, 24)
    for before, after in pairwise(sorted(map(datetime.fromisoformat, open_days))):
        start, end = before + timedelta(hours=closes), after + timedelta(hours=opens)
        if start < end:
            yield {"bounds": [start.isoformat(), end.isoformat()]}


def quoted(symbol: Row, place: int) -> list[Chart]:
    """The quoted spread and the quoted depth over the day; none where there are no quotes."""
    found = symbol["quoted"]
    if found is None:
        return []
    rows = [row for row in found["rows"] if row["seconds"]]
    if not rows:
        return []
    times = [row["time"] for row in rows]
    sessions = symbol["sessions"].get("quotes", 0)
    together = f", {sessions:,} sessions taken together" if sessions > 1 else ""
    note = (
        f"Regular hours in stretches of {found['minutes']} minutes{together}. Each quote counts for"
        " as long as it stood; one-sided and crossed quotes are left out."
    )
    spread = go.Figure()
    spread.add_scatter(
        x=times,
        y=[row["spread_basis_points"] for row in rows],
        customdata=[[row["spread_cents"], row["quotes"]] for row in rows],
        mode="lines",
        line={"color": ACCENT, "width": 2, "shape": "hvh"},
        hovertemplate="%{x}: %{y:.2f} basis points, %{customdata[0]:.2f} cents"
        " (%{customdata[1]:,} quotes)<extra></extra>",
        name="spread",
    )
    spread.update_yaxes(title="basis points of the mid", rangemode="tozero", nticks=6)
    depth = go.Figure()
    for name, key, colour, dash in (
        ("bid", "bid_size", UP, "solid"),
        ("ask", "ask_size", DOWN, "dash"),
    ):
        depth.add_scatter(
            x=times,
            y=[row[key] for row in rows],
            mode="lines",
            line={"color": colour, "width": 2, "shape": "hvh", "dash": dash},
            name=name,
            hovertemplate=f"%{{x}}: %{{y:,.0f}} at the {name}<extra></extra>",
        )
    depth.update_yaxes(title="size, as in the file", rangemode="tozero", nticks=6, **AMOUNTS)
    for figure in (spread, depth):
        style(figure, 260)
        figure.update_xaxes(
            title=_NEW_YORK,
            type="category",
            tickvals=[time for time in times if time.endswith(":00")],
            tickangle=0,
        )
        figure.update_layout(showlegend=False)
    return [
        Chart(
            f"spread-{place}",
            "Quoted spread over the day",
            "Line of the quoted spread in basis points by time of day.",
            note,
            spread,
            ("time", "basis points", "cents", "quotes", "seconds left out"),
            [
                [
                    row["time"],
                    row["spread_basis_points"],
                    row["spread_cents"],
                    row["quotes"],
                    row["seconds_out"],
                ]
                for row in rows
            ],
        ),
        Chart(
            f"depth-{place}",
            "Quoted depth over the day",
            "Lines of the size quoted at the best bid and at the best ask by time of day.",
            "As the spread. Sizes stand as the vendor's files have them: round lots until"
            " 2025-11-03, shares since (older files have been rewritten in shares).",
            depth,
            ("time", "bid size", "ask size"),
            [[row["time"], row["bid_size"], row["ask_size"]] for row in rows],
        ),
    ]


def trades(facts: Facts, symbol: Row, place: int) -> Chart | None:
    """Trades marked by what their conditions let them set; None where there are none."""
    found = symbol["trades"]
    if found is None:
        return None
    figure = go.Figure()
    every = [_wall(row["time"]) for row in found["rows"]]
    for kind in found["kinds"]:
        name = kind["may_set"]
        mark, colour = MARKS.get(name, OTHER_MARK)
        rows = [row for row in found["rows"] if row["may_set"] == name]
        thin = mark.endswith("-thin")
        figure.add_scatter(
            x=[_wall(row["time"]) for row in rows],
            y=[row["price"] for row in rows],
            customdata=[[row["size"], plain(row["conditions"] or "none")] for row in rows],
            mode="markers",
            name=f"{name} ({kind['trades']:,})",
            marker={
                "symbol": mark,
                "color": colour,
                "size": 4 if mark == "circle" else 7,
                "line": {"width": 1.3 if thin else 0, "color": colour},
            },
            hovertemplate="%{x|%a %-d %b %H:%M:%S}: $%{y}, %{customdata[0]:,} shares, conditions"
            f" %{{customdata[1]}}: may set {name}<extra></extra>",
        )
    style(figure, 380)
    figure.update_yaxes(title="US dollars", tickformat=",")
    figure.update_xaxes(title=_NEW_YORK)
    figure.update_layout(showlegend=False, hovermode="closest")
    _days(figure, sorted(every), facts, by_minute=True, width="")
    drawn = len(found["rows"])
    if drawn == found["of_trades"]:
        note = "The one trade." if drawn == 1 else f"All {drawn:,} trades."
    else:
        note = (
            f"{drawn:,} of {found['of_trades']:,} trades, which are more than a screen shows apart:"
            f" of each kind the lowest and the highest price in every {found['slice_seconds']:,.0f}"
            " seconds."
        )
    return Chart(
        f"trades-{place}",
        "Trades by what they may set",
        f"Scatter of the prices of {count(drawn, 'trade')} by time, one mark for each kind: "
        + ", ".join(f"{kind['may_set']} {kind['trades']:,}" for kind in found["kinds"]) + ".",
        f"{note} What a trade may set of a bar follows from its conditions, by the table"
        " trade_conditions.",
        figure,
        ("time", "price", "size", "conditions", "may set"),
        [
            [row["time"], row["price"], row["size"], row["conditions"], row["may_set"]]
            for row in found["rows"]
        ],
    )  # fmt: skip


def bar(symbol: Row, place: int) -> Chart | None:
    """The trades of the bar that tells most; None where there is none."""
    found = symbol["bar"]
    if found is None or found["explained"] is None:
        return None
    told = found["explained"]
    begins = clock(told["begins"])
    named = f"{day_in_words(begins[:10])} {begins[11:16]}"
    return Chart(
        f"bar-{place}",
        f"One bar, explained: the minute {named}",
        f"Scatter of the prices of {count(len(told['trades']), 'trade')} by time, one mark for each"
        f" kind; lines at the bar's open, high, low and close: {told['text']}.",
        _bar_note(found),
        picture(told, 420),
        ("time", "price", "size", "exchange", "conditions", "may set", "set", "kept out by"),
        [
            [
                clock(trade["timestamp"])[11:],
                trade["price"],
                trade["size"],
                trade["exchange"],
                trade["conditions"],
                kind_of(trade),
                trade["sets"],
                trade["left_out"] or trade["high_low_barred_by"] or trade["open_close_barred_by"],
            ]
            for trade in told["trades"]
        ],
        command=command(symbol["symbol"], _moment(begins)),
    )


def _moment(begins: str) -> str:
    """A moment of a minute as `explain-bar` takes it: midnight itself is the whole session."""
    return f"{begins[:10]} 00:00:01" if begins[11:16] == "00:00" else begins[:16]


def _bar_note(found: Row) -> str:
    """Which bar it is, of how many, and what it came to."""
    hours = "regular minutes" if found["hours"] == "regular" else "minutes"
    fit = f"{found['of_bars']:,} {hours} with at most {found['most_trades']:,} trades"
    if found["sessions"] < found["of_sessions"]:
        fit += f" in the last {count(found['sessions'], 'session')}"
    bar = found["explained"]["bar"]
    if found["changed"] is None:
        chosen = f"Of {fit} the busiest: in none do the rules change the high or the low."
    else:
        extreme = found["changed"]
        side = {"high": "highest", "low": "lowest"}[extreme]
        chosen = (
            f"Of {fit} the one whose {extreme} the rules change most, by ${found['change']:,.10g}:"
            f" the {side} of all trades is ${found[side]:,.10g}, the bar's {extreme}"
            f" ${bar[extreme]:,.10g}."
        )
    prices = found["explained"]["text"].split("; ")[0]
    return f"{chosen} The bar: {prices}. Marks tell what a trade may set."


def _wall(clock: str) -> str:
    """The clock's time to the microsecond, without the offset: plotly has no time zones."""
    seconds, _, rest = clock[:29].partition(".")
    digits = rest[:6].partition("-")[0].partition("+")[0]
    return f"{seconds[:19]}.{digits}" if digits else seconds[:19]
