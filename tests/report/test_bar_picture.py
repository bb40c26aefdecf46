"""The picture of a bar shows each trade of its window, by what it may set."""

from __future__ import annotations

from pathlib import Path

from building import SESSION, day_key, instant, trade
from conftest import MakeWarehouse

from warehouse import Warehouse
from warehouse.report import bar_picture

LINES = [
    trade("<b>", instant(SESSION, "10:00:01"), 1, price=10),
    trade("<b>", instant(SESSION, "10:00:02"), 2, price=99, conditions="37"),
    trade("<b>", instant(SESSION, "10:00:03"), 3, price=12),
    trade("<b>", instant(SESSION, "10:00:04"), 4, price=13, correction=8),
    trade("<b>", instant(SESSION, "10:00:05"), 5, price=11, conditions="32"),
]


def test_trades_of_each_kind_have_a_mark_and_the_bars_prices_a_line(
    make_warehouse: MakeWarehouse, tmp_path: Path
) -> None:
    made = make_warehouse({day_key("trades", SESSION): LINES})
    made.update()
    with Warehouse(made.root) as wh:
        found = wh.explain_bar("<b>", f"{SESSION} 10:00")
    figure = bar_picture.picture("<b>", found)

    assert {trace.name: list(trace.y) for trace in figure.data} == {
        "all (2)": [10, 12],
        "volume only (1)": [99],
        "high and low, volume (1)": [11],
        "no part of the tape (1)": [13],
    }
    assert {shape.y0 for shape in figure.layout.shapes} == {10, 12}
    assert [note.text for note in figure.layout.annotations] == ["open", "high", "low", "close"]
    assert figure.layout.title.text.startswith("&lt;b&gt; ")
    assert bar_picture.save("<b>", found, tmp_path / "bar.html") > 1_000_000


def test_a_window_without_trades_has_a_picture_that_says_so(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", SESSION): LINES})
    made.update()
    with Warehouse(made.root) as wh:
        figure = bar_picture.picture("A", wh.explain_bar("<b>", f"{SESSION} 11:00"))
    assert not figure.data
    assert "no bar: there is no trade in this window" in figure.layout.title.text
