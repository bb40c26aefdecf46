"""Bars are adjusted and follow renames as rows do.

A golden case of bars that are filled by adjusted shares or dollars, worked out by hand, is a folder
`adjusted_bar_cases/<claim>` with

    trades.csv      the trades as they were made: `session`, and `clock`, New York's
    actions.csv     the table `actions`
    question.json   the arguments of `Warehouse.bars`
    expected.csv    the bars: the session, its clock at the first and the last trade, their numbers
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from adjusting import dividend, know, rows_of, split, table_of, warehouse_of
from building import Made, MakeWarehouse, instant

from warehouse import Warehouse

CASES = Path(__file__).parent / "adjusted_bar_cases"
DAYS = [date(2024, 1, 29), date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1)]
SPLIT, PAID = split("A", DAYS[2], 1, 4), dividend("A", DAYS[1], 0.75)
PRICES = ("open", "high", "low", "close", "vwap")
DOLLARS = ("dollar_volume", "high_low_barred_dollars")
FOLDERS = sorted(path.parent for path in CASES.glob("*/expected.csv"))


def trades(symbol: str, days: list[date]) -> list[dict[str, str]]:
    return [
        {
            "symbol": symbol,
            "session": str(day),
            "clock": f"{clock}:{second:02}",
            "price": f"{100 + DAYS.index(day)}.{second}",
            "size": f"{100 + second}",
        }
        for day in days
        for clock in ("09:31", "09:33", "15:59")
        for second in (5, 25)
    ]


@pytest.fixture(scope="module", params=["symbol", "market"])
def made(request: pytest.FixtureRequest, make_warehouse: MakeWarehouse) -> Made:
    rows = [*trades("A", DAYS), *trades("OLD", DAYS[:2]), *trades("NEW", DAYS[2:])]
    return warehouse_of(make_warehouse, "trades", rows, request.param)


@pytest.fixture
def wh(made: Made) -> Iterator[Warehouse]:
    know(made, [SPLIT, PAID], [("S", "OLD", DAYS[0], DAYS[1]), ("S", "NEW", DAYS[2], None)])
    with Warehouse(made.root) as opened:
        yield opened


@pytest.mark.parametrize(
    "how", [{}, {"every": "1d"}, {"every": "30m", "fill": True}, {"hours": "all"}]
)
def test_bars_are_multiplied_by_the_factors_of_their_session(
    wh: Warehouse, how: dict[str, Any]
) -> None:
    plain = wh.bars("A", DAYS[0], DAYS[3], **how)
    adjusted = wh.bars("A", DAYS[0], DAYS[3], adjust="all", **how)
    days = plain["session"].dt.date
    prices = days.map({DAYS[0]: 0.25 * 0.75, DAYS[1]: 0.25, DAYS[2]: 1.0, DAYS[3]: 1.0})
    sizes = days.map({DAYS[0]: 4.0, DAYS[1]: 4.0, DAYS[2]: 1.0, DAYS[3]: 1.0})
    dollars = days.map({DAYS[0]: 0.75, DAYS[1]: 1.0, DAYS[2]: 1.0, DAYS[3]: 1.0})
    expected = plain.copy()
    for names, by in ((PRICES, prices), (("volume",), sizes), (DOLLARS, dollars)):
        for name in names:
            expected[name] = plain[name] * by
    pd.testing.assert_frame_equal(adjusted, expected, check_exact=True)
    assert len(adjusted) >= 4
    every = wh.bars("*", DAYS[0], DAYS[3], adjust="all", **how)
    own = every[every["symbol"] == "A"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, adjusted, check_exact=True)


def test_bars_of_adjusted_trades_are_the_adjusted_bars(wh: Warehouse) -> None:
    """Within a bar all is multiplied by one factor: high, low and volume say so."""
    rows = wh.trades("A", DAYS[0], DAYS[3], adjust="all")
    bars = wh.bars("A", DAYS[0], DAYS[3], adjust="all", every="1m")
    minutes = rows.groupby(rows["timestamp"].dt.floor("min"))
    assert list(bars["high"]) == list(minutes["price"].max())
    assert list(bars["low"]) == list(minutes["price"].min())
    assert list(bars["volume"]) == list(minutes["size"].sum())
    with_dollars = rows.assign(dollars=rows["price"] * rows["size"])
    sums = with_dollars.groupby(rows["timestamp"].dt.floor("min"))["dollars"].sum()
    assert list(bars["dollar_volume"]) == pytest.approx(list(sums), rel=1e-12)


def test_bars_follow_a_rename(wh: Warehouse) -> None:
    options: dict[str, Any] = {"every": "1d", "follow_renames": True}
    bars = wh.bars("NEW", DAYS[0], DAYS[3], **options)
    assert list(bars["symbol"]) == ["OLD"] * 2 + ["NEW"] * 2
    assert bars["timestamp"].is_monotonic_increasing
    several = wh.bars(["A", "NEW", "OLD"], DAYS[0], DAYS[3], **options)
    assert list(several["symbol"]) == ["A"] * 4 + ["OLD"] * 2 + ["NEW"] * 2
    alone = wh.bars("NEW", DAYS[2], DAYS[3], **options)
    assert (
        alone.attrs["fingerprint"]
        == (wh.bars("NEW", DAYS[2], DAYS[3], every="1d").attrs["fingerprint"])
    )


def test_a_macro_follows_no_rename_and_those_of_each_symbol_joined_are_the_series(
    wh: Warehouse,
) -> None:
    """As docs/guides/adjusting.md says to readers of macros."""
    every = wh.trades("NEW", DAYS[0], DAYS[3], follow_renames=True, to="arrow").to_pylist()
    own = "from trades_of('NEW', $first, $last) order by timestamp"
    alone = wh.query(own, "arrow", first=DAYS[0], last=DAYS[3]).to_pylist()
    assert alone == [row for row in every if row["symbol"] == "NEW"]
    assert 0 < len(alone) < len(every)
    spans = wh.query(
        "select symbol, first_session, least(coalesce(last_session, $last), $last) as last_session"
        " from securities"
        " where security in (select security from securities where symbol = 'NEW')"
        " order by first_session",
        "arrow",
        last=DAYS[3],
    ).to_pylist()
    assert [span["symbol"] for span in spans] == ["OLD", "NEW"]
    parts = " union all ".join(
        "from trades_of('{symbol}', '{first_session}', '{last_session}')".format(**span)
        for span in spans
    )
    joined = wh.query(f"from ({parts}) order by timestamp", "arrow").to_pylist()
    assert joined == every


def test_the_id_of_bars_knows_the_actions_that_reach_them(made: Made, wh: Warehouse) -> None:
    def told(**options: Any) -> str:
        return str(wh.bars("A", DAYS[0], DAYS[2], **options).attrs["fingerprint"])

    plain, adjusted = told(), told(adjust="all")
    assert plain != adjusted
    assert plain == told(follow_renames=True)
    later = [split("A", DAYS[3], 1, 2, id="later"), split("OLD", DAYS[1], 1, 2, id="other")]
    know(made, [SPLIT, PAID, *later])
    assert (told(), told(adjust="all")) == (plain, adjusted)
    know(made, [SPLIT])
    assert told() == plain
    assert told(adjust="all") not in (plain, adjusted)


@pytest.mark.parametrize("layout", ["symbol", "market"])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_bars_filled_by_adjusted_shares_or_dollars_come_to_these(
    folder: Path, layout: str, make_warehouse: MakeWarehouse
) -> None:
    made = warehouse_of(make_warehouse, "trades", rows_of(folder / "trades.csv"), layout)
    know(made, table_of(folder / "actions.csv"))
    question = json.loads((folder / "question.json").read_text("utf-8"))
    with Warehouse(made.root) as wh:
        found = wh.bars(**question, to="arrow").to_pylist()
    expected = rows_of(folder / "expected.csv")
    assert len(found) == len(expected), found
    for bar, wanted in zip(found, expected, strict=True):
        session = date.fromisoformat(wanted.pop("session"))
        stamps = [instant(session, wanted.pop(name)) for name in ("begin", "end")]
        assert [bar["timestamp"].value, bar["end_timestamp"].value] == stamps
        assert bar["session"] == session
        assert bar["is_short"] == (wanted.pop("is_short") == "true")
        for name, text in wanted.items():
            assert math.isclose(bar[name], float(text), rel_tol=1e-12), (name, bar)
