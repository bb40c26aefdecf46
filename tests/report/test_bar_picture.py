"""The picture of a bar shows each trade of its window, by what it may set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from building import SESSION, Made, MakeWarehouse, day_key, instant, trade

from warehouse import Warehouse
from warehouse.report import bar_picture
from warehouse.report.bar_facts import explained
from warehouse.report.chart_style import plain

LINES = [
    trade("<b>", instant(SESSION, "10:00:01"), 1, price=10),
    trade("<b>", instant(SESSION, "10:00:02"), 2, price=99, conditions="37"),
    trade("<b>", instant(SESSION, "10:00:03"), 3, price=12),
    trade("<b>", instant(SESSION, "10:00:04"), 4, price=13, correction=8),
    trade("<b>", instant(SESSION, "10:00:05"), 5, price=11, conditions="32"),
    trade("<b>", instant(SESSION, "10:02:01"), 6, price=20),
    trade("<b>", instant(SESSION, "10:02:02"), 7, price=20.2),
    trade("<b>", instant(SESSION, "10:02:03"), 8, price=20.3, conditions="37"),
    trade("<b>", instant(SESSION, "10:03:01"), 9, price=30),
]


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse({day_key("trades", SESSION): LINES})
    made.update()
    return made


def told(made: Made, clock: str) -> dict[str, Any]:
    with Warehouse(made.root) as wh:
        return explained("<b>", wh.explain_bar("<b>", f"{SESSION} {clock}"))


def test_trades_of_each_kind_have_a_mark_and_the_bars_prices_a_line(
    made: Made, tmp_path: Path
) -> None:
    bar = told(made, "10:00")
    figure = bar_picture.picture(bar, 400)

    assert {trace.name: list(trace.y) for trace in figure.data} == {
        "everything (2)": [10, 12],
        "volume only (1)": [99],
        "high and low, volume (1)": [11],
        "no part of the tape (1)": [13],
        "set a price of the bar (2)": [10, 12],
    }
    assert {shape.y0 for shape in figure.layout.shapes} == {10, 12}
    assert bar_picture.save(bar, tmp_path / "bar.html") > 1_000_000
    page = (tmp_path / "bar.html").read_text()
    # A paragraph of the page folds on paper; a title of the plot would be cut off.
    told_above = re.findall("<p>(.*?)</p>", page)
    assert told_above == [
        "&lt;b&gt; 2024-01-31 10:00:00 to 10:01:00: " + bar["text"].split("; ")[0]
    ]


def test_the_names_of_the_prices_stand_apart_and_none_is_far_from_its_line(made: Made) -> None:
    # Open and low are one price, high and close another.
    figure = bar_picture.picture(told(made, "10:00"), 400)
    places = {note.text: note.y for note in figure.layout.annotations}
    low, high = figure.layout.yaxis.range
    label = (high - low) * 14 / (400 - 110)
    assert places["open"] - places["low"] > label
    assert places["high"] - places["close"] > label
    for name, price in (("open", 10), ("low", 10), ("high", 12), ("close", 12)):
        assert abs(places[name] - price) < label


def test_a_trade_far_beyond_the_bar_is_told_at_the_edge_and_the_bar_is_seen(made: Made) -> None:
    figure = bar_picture.picture(told(made, "10:00"), 400)
    low, high = figure.layout.yaxis.range
    # 99 would make a line of what lies between 10 and 12.
    assert low < 10
    assert 12 < high < 15
    (far,) = (note for note in figure.layout.annotations if "99" in note.text)
    assert far.text == "↑ $99<br>37 Odd Lot Trade"
    # One that is near is drawn where it is, and named beside it.
    near = bar_picture.picture(told(made, "10:02"), 400)
    assert [note.text for note in near.layout.annotations][-1] == "37 Odd Lot Trade"
    assert near.layout.annotations[-1].y == 20.3


def test_a_bar_of_one_price_has_a_picture_with_four_names(made: Made) -> None:
    figure = bar_picture.picture(told(made, "10:03"), 400)
    assert sorted(note.text for note in figure.layout.annotations) == [
        "close", "high", "low", "open",
    ]  # fmt: skip
    assert len({note.y for note in figure.layout.annotations}) == 4
    low, high = figure.layout.yaxis.range
    assert low < 30 < high


def test_a_rejected_trade_without_a_price_stops_no_picture(made: Made) -> None:
    bar = told(made, "10:00")
    bar["trades"].append({**bar["trades"][-1], "price": None, "left_out": "price_missing"})
    assert len(bar_picture.picture(bar, 400).data) == 5


def test_a_window_without_trades_has_a_picture_that_says_so(made: Made, tmp_path: Path) -> None:
    bar = told(made, "11:00")
    assert not bar_picture.picture(bar, 400).data
    bar_picture.save(bar, tmp_path / "bar.html")
    assert "no bar: there is no trade in this window" in (tmp_path / "bar.html").read_text()


def test_of_more_trades_than_a_screen_shows_apart_the_extremes_are_drawn_and_it_is_said(
    made: Made, tmp_path: Path
) -> None:
    bar = told(made, "10:00")
    first = bar["trades"][0]
    begins = pd.Timestamp(bar["begins"])
    many = [
        {**first, "sets": None, "price": 10 + n % 7 / 10,
         "timestamp": (begins + pd.Timedelta(n * 2, "ms")).isoformat()}
        for n in range(30_000)
    ]  # fmt: skip
    bar["trades"] = sorted([*bar["trades"], *many], key=lambda one: pd.Timestamp(one["timestamp"]))
    whole = bar_picture.picture(bar, 400)

    by_name = {trace.name: list(trace.y) for trace in whole.data}
    drawn = by_name.pop("everything (30,002)")
    assert len(drawn) <= 2 * 500
    assert (min(drawn), max(drawn)) == (10, 12)
    assert by_name == {
        "volume only (1)": [99],
        "high and low, volume (1)": [11],
        "no part of the tape (1)": [13],
        "set a price of the bar (2)": [10, 12],
    }
    assert bar_picture.save(bar, tmp_path / "many.html") < 5_500_000
    said = f"{len(drawn) + 3:,} of 30,005 trades: of each kind the lowest and the highest price"
    assert said in (tmp_path / "many.html").read_text()


def test_a_label_spells_out_what_a_page_would_obey() -> None:
    assert plain("<b>A\u202e\x1b") == "&lt;b&gt;A\\u202e\\x1b"
