"""The report's charts of a whole warehouse, and their data as tables."""

from __future__ import annotations

from datetime import datetime, timedelta

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from warehouse.core.datatypes import DATA_TYPES
from warehouse.report.chart_style import (
    ACCENT,
    AMOUNTS,
    DAY,
    DOWN,
    FEW_DAYS,
    INK,
    TIMES,
    Chart,
    plain,
    style,
)
from warehouse.report.collect import Facts
from warehouse.text import minute

_MOST_BARS = 400
"""Sessions that still stand apart on a screen; of more, the bars are months."""
_RUNS_SHOWN = 12


def by_session(facts: Facts, what: str) -> Chart | None:
    """Rows, or bytes of the vendor's files, of each data type by session; None where none are.

    Args:
        what: rows or file_bytes.
    """
    here = [row for row in facts.coverage if row[what]]
    kinds = [name for name in DATA_TYPES if any(row["data_type"] == name for row in here)]
    if not kinds:
        return None
    sessions = {row["session"] for row in here}
    by_month = len(sessions) > _MOST_BARS
    sums: dict[tuple[str, str], int] = {}
    for row in here:
        period = row["session"][:7] + "-01" if by_month else row["session"]
        key = (row["data_type"], period)
        sums[key] = sums.get(key, 0) + row[what]
    noun, unit = ("Rows", "rows") if what == "rows" else ("Bytes", "bytes")
    figure = make_subplots(
        rows=len(kinds), cols=1, shared_xaxes=True, vertical_spacing=0.32 / max(len(kinds), 2)
    )
    shown_as = "%b %Y" if by_month else "%a %-d %b %Y"
    for place, name in enumerate(kinds, start=1):
        periods = sorted(period for kind, period in sums if kind == name)
        figure.add_bar(
            x=periods,
            y=[sums[name, period] for period in periods],
            # Beside no other a bar would be as thin as a millisecond.
            width=0.75 * (28 if by_month else 1) * DAY,
            name=name,
            marker={"color": ACCENT},
            hovertemplate=f"{name}, %{{x|{shown_as}}}: %{{y:,}} {unit}<extra></extra>",
            row=place,
            col=1,
        )
        figure.update_yaxes(
            title={"text": unit, "standoff": 4}, nticks=4, rangemode="tozero", **AMOUNTS,
            row=place, col=1,
        )  # fmt: skip
        figure.add_annotation(
            text=f"<b>{name}</b>", x=0, xref="paper", y=1, yref=_domain("y", place),
            xanchor="left", yanchor="bottom", showarrow=False, font={"color": INK, "size": 12},
        )  # fmt: skip
    _days(figure, min(sums, key=_period)[1], max(sums, key=_period)[1], by_month=by_month)
    style(figure, 120 * len(kinds) + 50)
    figure.update_layout(showlegend=False, bargap=0.25)
    each = "month" if by_month else "session"
    drawn = (
        f" Months, for {len(sessions):,} sessions are more than a screen shows apart."
        if by_month
        else ""
    )
    of_what = "Published rows." if what == "rows" else "The vendor's compressed files."
    return Chart(
        what.replace("_", "-"),
        f"{noun} by {each}",
        f"Bar chart of {unit} by {each} of {', '.join(kinds)}, each on a scale of its own.",
        f"{of_what}{drawn} Each data type has a scale of its own.",
        figure,
        (each, "data type", unit),
        [(period[:7] if by_month else period, name, value) for (name, period), value in
         sorted(sums.items(), key=lambda item: (item[0][1], item[0][0]))],
    )  # fmt: skip


def _period(key: tuple[str, str]) -> str:
    return key[1]


def _domain(axis: str, place: int) -> str:
    return f"{axis}{'' if place == 1 else place} domain"


def _days(figure: go.Figure, first: str, last: str, *, by_month: bool) -> None:
    """Axes of days: whole days for ticks, and a little room on both sides."""
    room = timedelta(hours=24 * 16 if by_month else 14)
    start, end = (datetime.fromisoformat(day) for day in (first, last))
    figure.update_xaxes(
        range=[(start - room).isoformat(), (end + room).isoformat()],
        tickangle=0,
        **TIMES,
    )
    if (end - start).days <= FEW_DAYS:
        figure.update_xaxes(dtick=DAY)


def rejects(facts: Facts) -> Chart | None:
    """Rejected rows by reason; None where there are none."""
    rows = facts.rejects
    if not rows:
        return None
    lines: dict[str, int] = {}
    for row in facts.files:
        lines[row["data_type"]] = lines.get(row["data_type"], 0) + (row["lines"] or 0)
    shown = rows[:25]
    names = [plain(f"{row['data_type']}: {row['reason']}") for row in shown]
    figure = go.Figure()
    figure.add_bar(
        x=[row["rows"] for row in shown],
        y=names,
        orientation="h",
        marker={"color": ACCENT},
        text=[f"{row['rows']:,}" for row in shown],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:,} rows<extra></extra>",
    )
    style(figure, 24 * len(shown) + 70)
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    figure.update_xaxes(title="rejected rows", rangemode="tozero", nticks=5, **AMOUNTS)
    figure.update_layout(showlegend=False, bargap=0.3, margin={"r": 48})
    note = 'Kept with their reasons and lines: warehouse query "from rejects".'
    if len(rows) > len(shown):
        note += f" The {len(shown)} most frequent of {len(rows):,} reasons are drawn."
    return Chart(
        "rejects",
        "Rejected rows by reason",
        f"Bar chart of rejected rows by reason, from {shown[0]['reason']} down.",
        note,
        figure,
        ("data type", "reason", "rows", "per million lines"),
        [
            (
                row["data_type"],
                row["reason"],
                row["rows"],
                round(1e6 * row["rows"] / lines[row["data_type"]], 1)
                if lines.get(row["data_type"])
                else None,
            )
            for row in rows
        ],
    )


def run_times(facts: Facts) -> Chart | None:
    """How long the last runs took; None where there are fewer than two to compare."""
    runs = facts.runs[::-1]
    if len(runs) < 2:
        return None
    figure = go.Figure()
    figure.add_bar(
        x=list(range(len(runs))),
        y=[run["seconds"] for run in runs],
        customdata=[
            [
                plain(run["command"]),
                minute(run["started_at"]),
                plain(run["state"]),
                run["rows_published"],
            ]
            for run in runs
        ],
        marker={"color": [ACCENT if run["state"] == "done" else DOWN for run in runs]},
        hovertemplate="%{customdata[0]}, %{customdata[1]}, %{customdata[2]}: %{y:,.1f} s,"
        " %{customdata[3]:,} rows"
        "<extra></extra>",
    )
    style(figure, 240)
    # Dates stand a third of the chart apart, as a phone needs it, the last below the last run.
    step = -(-max(len(runs), _RUNS_SHOWN) // 3)
    labelled = range((len(runs) - 1) % step, len(runs), step)
    figure.update_xaxes(
        tickvals=list(labelled),
        ticktext=[minute(runs[n]["started_at"]).replace(" ", "<br>") for n in labelled],
        # A few runs are not to look like walls.
        range=[min(0, len(runs) - _RUNS_SHOWN) - 0.5, len(runs) - 0.5],
        title="started (UTC), the latest to the right",
    )
    figure.update_yaxes(title="seconds", rangemode="tozero", nticks=5, **AMOUNTS)
    figure.update_layout(showlegend=False)
    return Chart(
        "runs",
        "Run times",
        f"Bar chart of the seconds that the last {len(runs)} runs took.",
        "Of the table runs; one that failed or was interrupted has another colour.",
        figure,
        ("started (UTC)", "command", "seconds", "state"),
        [
            [minute(run["started_at"]), run["command"], round(run["seconds"], 3), run["state"]]
            for run in runs
        ],
    )
