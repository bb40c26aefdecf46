"""What the report's charts share: their colours, their look, and what stands beside each.

Colours are those of the light page; the page swaps them for their dark twins in `PALETTE`. They
keep apart for colour-blind eyes (Okabe and Ito's), and none says anything alone.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from warehouse.text import printable

PALETTE = {
    "#1c2126": "#e4e7ea",  # ink
    "#59626b": "#a3adb7",  # muted ink
    "#dfe3e7": "#31373e",  # grid
    "#1f5fa8": "#7db4f0",  # accent
    "#0072b2": "#56b4e9",  # up; blue
    "#b34700": "#f0a05a",  # down; vermilion
    "#9aa3ac": "#6d7680",  # volume; grey
    "#00795c": "#35c79a",  # green
    "#a34784": "#e29ac6",  # purple
    "#f1e3c6": "#4a3f28",  # gaps
    "#ffffff": "#1d2125",  # surface
}
INK, MUTED, GRID, ACCENT, UP, DOWN, GREY, GREEN, PURPLE, GAP, SURFACE = PALETTE

CLEAR = "rgba(0,0,0,0)"

MARKS = {
    "everything": ("circle", UP),
    "volume only": ("x-thin", MUTED),
    "high and low, volume": ("triangle-up", DOWN),
    "open and close, volume": ("square", GREEN),
    "high and low, open and close": ("diamond", GREEN),
    "nothing": ("cross-thin", PURPLE),
    "no part of the tape": ("star-triangle-down-open", PURPLE),
}
"""What a trade may set of a bar → its mark and colour."""
OTHER_MARK = ("star", GREEN)

_SECOND, _MINUTE = 1_000, 60_000
DAY = 86_400_000
"""In milliseconds, as dates are counted on an axis."""
FEW_DAYS = 12
"""So many days have a tick each."""
TIMES = {
    "type": "date",
    "nticks": 8,
    "tickformatstops": [
        {"dtickrange": [None, _SECOND - 1], "value": "%H:%M:%S.%3f\n%-d %b %Y"},
        {"dtickrange": [_SECOND, _MINUTE - 1], "value": "%H:%M:%S\n%-d %b %Y"},
        {"dtickrange": [_MINUTE, DAY - 1], "value": "%H:%M\n%-d %b %Y"},
        {"dtickrange": [DAY, "M1"], "value": "%-d %b\n%Y"},
        {"dtickrange": ["M1", None], "value": "%b\n%Y"},
    ],
}
"""An axis of time: its ticks say enough to differ, however near each other they are."""
AMOUNTS = {"tickformat": "~s", "tickformatstops": [{"dtickrange": [None, 0.999], "value": ","}]}
"""An axis of amounts: 2k for 2,000, but no 500m for a half, which reads as minutes or millions."""


@dataclass(frozen=True)
class Table:
    """A table that stands below a chart, shut at first."""

    id: str
    label: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Chart:
    """A figure, what it shows in words, and its data.

    Attributes:
        id: unique on the page.
        alternative: what a reader hears who does not see it.
        note: what it was drawn of, and how; under its title.
        command: what tells more of it, without the program's name; empty: nothing.
        columns, rows: the data that it shows.
        also: more of it, of other columns.
    """

    id: str
    title: str
    alternative: str
    note: str
    figure: go.Figure
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    also: Sequence[Table] = ()
    command: str = ""


def plain(text: str) -> str:
    """A text as plotly shows it: it takes some of HTML's tags in labels for its own.

    Letters that a page would obey are spelt out.
    """
    return html.escape(printable(text), quote=False)


def style(figure: go.Figure, height: int) -> None:
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor=SURFACE,
        plot_bgcolor=SURFACE,
        font={"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 12,
              "color": MUTED},
        margin={"l": 64, "r": 16, "t": 22, "b": 46},
        hoverlabel={"align": "left"},
    )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, linecolor=GRID, zeroline=False, ticks="outside",
                        tickcolor=GRID, showgrid=False, automargin=True,
                        spikecolor=MUTED, spikethickness=1, spikedash="dot")  # fmt: skip
    figure.update_yaxes(gridcolor=GRID, linecolor=GRID, zeroline=False, automargin=True)
