"""Features hold what their sources say: beside plain loops and pandas, which share nothing."""

from __future__ import annotations

import csv
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from building import REPOSITORY, Made, instant, make
from featuring import FEATURES, Bench, Tables, table, tapes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warehouse import Warehouse
from warehouse.errors import SqlFileError

Row = dict[str, Any]
Oracle = Callable[..., list[Row]]
NAN = math.nan


def rows_of(table: pa.Table) -> list[Row]:
    """Rows as dictionaries; stamps as nanoseconds in `ns`."""
    stamps = table["timestamp"].cast(pa.int64()).to_pylist()
    rows = table.drop_columns(["timestamp"]).to_pylist()
    return [{**row, "ns": ns} for row, ns in zip(rows, stamps, strict=True)]


def first_none(*values: Any) -> tuple[Any, ...]:
    return tuple((value is not None, value if value is not None else 0) for value in values)


def by_tape(rows: list[Row]) -> list[Row]:
    sides = ("bid_exchange", "ask_exchange") if rows and "bid_price" in rows[0] else ("exchange",)
    return sorted(
        rows,
        key=lambda row: (
            row["ns"],
            first_none(row["sequence_number"], *(row[side] for side in sides)),
            str(row.get("id")),
        ),
    )


def sessions(rows: list[Row]) -> Iterator[list[Row]]:
    ordered = sorted(rows, key=lambda row: row["session"])
    for _, group in groupby(ordered, key=lambda row: row["session"]):
        found = list(group)
        is_bar = "open" in found[0]
        yield sorted(found, key=lambda row: row["ns"]) if is_bar else by_tape(found)


def middle(quote: Row) -> float:
    both = quote["bid_price"] > 0 and quote["ask_price"] > 0
    return (quote["bid_price"] + quote["ask_price"]) / 2 if both else NAN


class Middles:
    """The middle of the quote at an instant of one session."""

    def __init__(self, quotes: list[Row]) -> None:
        # A later quote of the same nanosecond takes the place of an earlier one.
        last = {quote["ns"]: middle(quote) for quote in by_tape(quotes)}
        self.stamps, self.middles = sorted(last), [last[ns] for ns in sorted(last)]

    def at(self, ns: int, strictly: bool = False) -> float:
        place = (bisect_left if strictly else bisect_right)(self.stamps, ns)
        return self.middles[place - 1] if place else NAN


def middles_by_session(tables: Tables) -> Callable[[date], Middles]:
    found = {
        quotes[0]["session"]: Middles(quotes) for quotes in sessions(rows_of(tables["quotes"]))
    }
    return lambda session: found.get(session) or Middles([])


def spread(tables: Tables) -> list[Row]:
    out = []
    for quotes in sessions(rows_of(tables["quotes"])):
        for quote in quotes:
            there = not math.isnan(middle(quote))
            wide = quote["ask_price"] - quote["bid_price"] if there else NAN
            out.append({"spread": wide, "mid_price": middle(quote),
                        "spread_pct": wide / middle(quote)})  # fmt: skip
    return out


def quote_imbalance(tables: Tables) -> list[Row]:
    out = []
    for quotes in sessions(rows_of(tables["quotes"])):
        for quote in quotes:
            bid, ask = quote["bid_size"], quote["ask_size"]
            if math.isnan(middle(quote)) or bid + ask == 0:
                out.append({"quote_imbalance": NAN, "micro_price": NAN})
                continue
            # The middle, moved by half the spread times the imbalance: the same in other words.
            lean = (bid - ask) / (bid + ask)
            half = (quote["ask_price"] - quote["bid_price"]) / 2
            out.append({"quote_imbalance": lean, "micro_price": middle(quote) + half * lean})
    return out


def signed(tables: Tables, strictly_before: bool) -> Iterator[tuple[Row, float, float, bool]]:
    """Trades with the middle of their quote, their sign and whether the quote told it."""
    middles = middles_by_session(tables)
    for trades in sessions(rows_of(tables["trades"])):
        previous, tick = None, NAN
        for trade in trades:
            if previous is not None and trade["price"] != previous:
                tick = 1.0 if trade["price"] > previous else -1.0
            previous = trade["price"]
            mid = middles(trade["session"]).at(trade["ns"], strictly_before)
            away = trade["price"] - mid
            by_quote = not math.isnan(mid) and abs(away) > 1e-7
            yield trade, mid, math.copysign(1, away) if by_quote else tick, by_quote


def trade_sign(tables: Tables, strictly_before: bool = False) -> list[Row]:
    return [
        {"mid_price": mid, "trade_sign": sign, "by_quote": by_quote, "price": trade["price"]}
        for trade, mid, sign, by_quote in signed(tables, strictly_before)
    ]


def effective_spread(tables: Tables, strictly_before: bool = False) -> list[Row]:
    return [
        {"mid_price": mid, "effective_spread": 2 * abs(trade["price"] - mid),
         "effective_spread_pct": 2 * abs(trade["price"] - mid) / mid}
        for trade, mid, _, _ in signed(tables, strictly_before)
    ]  # fmt: skip


def realized_spread(
    tables: Tables, horizon_seconds: float = 300, strictly_before: bool = False
) -> list[Row]:
    middles = middles_by_session(tables)
    out = []
    for trade, mid, sign, _ in signed(tables, strictly_before):
        later = middles(trade["session"]).at(trade["ns"] + round(horizon_seconds * 10**9))
        realized = 2 * sign * (trade["price"] - later)
        out.append({"mid_price": mid, "later_mid_price": later, "realized_spread": realized,
                    "price_impact": 2 * sign * (trade["price"] - mid) - realized})  # fmt: skip
    return out


def vwap(tables: Tables) -> list[Row]:
    with open(REPOSITORY / "config/trade_conditions.csv", encoding="utf-8") as file:
        barred = {row["id"] for row in csv.DictReader(file) if row["updates_volume"] == "false"}
    assert barred
    out = []
    for trades in sessions(rows_of(tables["trades"])):
        dollars: list[float] = []
        shares: list[float] = []
        for trade in trades:
            if barred & {code.strip() for code in (trade["conditions"] or "").split(",")}:
                continue
            dollars.append(trade["price"] * trade["size"])
            shares.append(trade["size"])
            volume = math.fsum(shares)
            out.append({"volume": volume, "vwap": math.fsum(dollars) / volume if volume else NAN})
    return out


def realized_variance(tables: Tables) -> list[Row]:
    out = []
    for bars in sessions(rows_of(tables["minute_aggs"])):
        prices = [bars[0]["open"], *(bar["close"] for bar in bars)]
        steps = np.diff(np.log(prices))
        for count in range(1, len(bars) + 1):
            sizes = np.abs(steps[:count])
            variance = float(sizes @ sizes)
            bipower = math.pi / 2 * float(sizes[1:] @ sizes[:-1])
            out.append({"realized_variance": variance, "bipower_variation": bipower,
                        "jump_variation": max(variance - bipower, 0.0)})  # fmt: skip
    return out


def frame_of(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas().sort_values("timestamp", ignore_index=True)


def volume_ma(tables: Tables, periods: int = 20, kind: str = "minute_aggs") -> list[Row]:
    frame = frame_of(tables[kind])
    average = frame["volume"].rolling(periods).mean()
    ratio = frame["volume"] / average.where(average > 1e-9)
    return pd.DataFrame({"volume_ma": average, "volume_ratio": ratio}).to_dict("records")


def returns(tables: Tables, kind: str = "minute_aggs") -> list[Row]:
    close = frame_of(tables[kind])["close"]
    log = np.log(close / close.shift(1))
    return pd.DataFrame({"returns": close.pct_change(), "log_returns": log}).to_dict("records")


def amihud(tables: Tables, days: int = 21) -> list[Row]:
    frame = frame_of(tables["day_aggs"])
    dollars = (frame["close"] * frame["volume"]).replace(0, np.nan)
    moved = frame["close"].pct_change().abs() / dollars * 1e6
    out = []
    for place in range(len(frame)):
        window = moved[max(place - days + 1, 0) : place + 1]
        out.append({"illiquidity": window.mean() if place >= days else NAN})
    return out


def volatility(
    tables: Tables, periods: int = 20, periods_a_year: float = 252, kind: str = "day_aggs"
) -> list[Row]:
    bars = rows_of(tables[kind].sort_by("timestamp"))
    out = []
    for place in range(len(bars)):
        window = bars[max(place - periods + 1, 0) : place + 1]
        closes = [bar["close"] for bar in bars[max(place - periods, 0) : place + 1]]
        row = {"close_to_close": NAN, "parkinson": NAN, "garman_klass": NAN}
        if len(closes) == periods + 1:
            deviation = np.std(np.diff(np.log(closes)), ddof=1)
            row["close_to_close"] = float(deviation) * math.sqrt(periods_a_year)
        if len(window) == periods:
            ranges = [math.log(bar["high"]) - math.log(bar["low"]) for bar in window]
            bodies = [math.log(bar["close"]) - math.log(bar["open"]) for bar in window]
            squares = [r**2 for r in ranges]
            row["parkinson"] = math.sqrt(periods_a_year * np.mean(squares) / math.log(16))
            terms = [
                r**2 / 2 - (math.log(4) - 1) * b**2 for r, b in zip(ranges, bodies, strict=True)
            ]
            row["garman_klass"] = math.sqrt(periods_a_year * max(float(np.mean(terms)), 0))
        out.append(row)
    return out


def order_flow_imbalance(tables: Tables, window_seconds: float = 10) -> list[Row]:
    window = round(window_seconds * 10**9)
    out = []
    for quotes in sessions(rows_of(tables["quotes"])):
        flows = [NAN]
        for old, new in pairwise(quotes):
            ask_old, ask_new = (q["ask_price"] or math.inf for q in (old, new))
            flow = 0.0
            if new["bid_price"] > old["bid_price"]:
                flow += new["bid_size"]
            elif new["bid_price"] < old["bid_price"]:
                flow -= old["bid_size"]
            else:
                flow += new["bid_size"] - old["bid_size"]
            if ask_new < ask_old:
                flow -= new["ask_size"]
            elif ask_new > ask_old:
                flow += old["ask_size"]
            else:
                flow -= new["ask_size"] - old["ask_size"]
            flows.append(flow)
        stamps = [quote["ns"] for quote in quotes]
        known = np.nan_to_num(flows)
        running = np.concatenate([[0], np.cumsum(known)])
        for place, ns in enumerate(stamps):
            low, high = bisect_left(stamps, ns - window), bisect_right(stamps, ns)
            total = NAN if (low, high) == (0, 1) else float(running[high] - running[low])
            out.append({"order_flow": flows[place], "order_flow_imbalance": total})
    return out


ORACLES: dict[str, Oracle] = {
    oracle.__name__: oracle
    for oracle in (
        *(spread, quote_imbalance, trade_sign, effective_spread, realized_spread, vwap),
        *(realized_variance, volume_ma, returns, amihud, volatility, order_flow_imbalance),
    )
}
VALUES: dict[str, list[dict[str, Any]]] = {
    "trade_sign": [{}, {"strictly_before": True}],
    "effective_spread": [{}, {"strictly_before": True}],
    "realized_spread": [{"horizon_seconds": 1}, {"horizon_seconds": 0, "strictly_before": True}],
    "volume_ma": [{"periods": 3}, {"periods": 1}],
    "amihud": [{"days": 3}, {"days": 1}],
    "volatility": [{"periods": 3}, {"periods": 2, "periods_a_year": 1}],
    "order_flow_imbalance": [{}, {"window_seconds": 0}, {"window_seconds": 1}],
}


def check(found: pa.Table, expected: list[Row]) -> None:
    """Equal to twelve digits; NULL is NaN."""
    assert found.num_rows == len(expected)
    for name in expected[0] if expected else ():
        # In a nullable column None becomes NaN, as a boolean becomes 0 or 1.
        got = np.array([NAN if v is None else float(v) for v in found[name].to_pylist()])
        want = np.array([float(row[name]) for row in expected])
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_every_feature_has_a_computation_of_its_own_beside_it() -> None:
    assert set(ORACLES) == set(FEATURES)


@pytest.mark.parametrize("name", FEATURES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables=tapes(), choice=st.integers(0, 2))
def test_a_feature_is_what_a_plain_loop_says(
    name: str, tables: Tables, choice: int, bench: Bench
) -> None:
    options = VALUES.get(name, [{}])
    values = options[choice % len(options)]
    found = bench.rows(FEATURES[name], tables, values)
    expected = ORACLES[name](tables, **values)
    if name == "realized_spread":
        # Its rows go by when they are known, which is the order of the trades.
        assert [row["ns"] for row in rows_of(found)] == [
            trade["ns"] + values["horizon_seconds"] * 10**9
            for trades in sessions(rows_of(tables["trades"]))
            for trade in trades
        ]
    check(found, expected)


# On real data


@pytest.fixture(scope="module")
def real(real_flatfiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make(tmp_path_factory.mktemp("real"), source__url=str(real_flatfiles))
    made.update("day_aggs", start=date(2013, 1, 1), end=date(2013, 12, 31))
    day = date(2013, 10, 7)
    made.update("trades", "quotes", "minute_aggs", start=day, end=day)
    return made


@pytest.mark.parametrize("name", FEATURES)
def test_on_real_data_too(name: str, real: Made) -> None:
    kinds = FEATURES[name].tables(FEATURES[name].freq).values()
    is_daily = "day_aggs" in kinds
    days = ("2013-01-01", "2013-12-31") if is_daily else ("2013-10-07", "2013-10-07")
    for symbol in ("BAC", "IBM") if {"day_aggs", "minute_aggs"} & {*kinds} else ("IBM",):
        with Warehouse(real.root) as wh:
            tables = {kind: wh.load(kind, symbol, *days, to="arrow") for kind in kinds}
            found = wh.features(name, symbol, *days, to="arrow")
        if name == "vwap":
            # The loop sums all trades so far anew for each.
            tables["trades"] = tables["trades"].slice(0, 2000)
        expected = ORACLES[name](tables)
        assert len(expected) > 200
        check(found.slice(0, len(expected)) if name == "vwap" else found, expected)


STAMP = instant(date(2024, 1, 30), "09:30")
FAR = {
    "vwap": ("trades", [{"price": 10.0, "size": 100.0}, {"price": 1e15, "size": 1e15}]),
    "volume_ma": ("minute_aggs", [{"volume": 100.0}, {"volume": 1e33}]),
    "order_flow_imbalance": (
        "quotes",
        [
            {"bid_price": 10.0, "bid_size": size, "ask_price": 11.0, "ask_size": 1.0}
            for size in (1.0, 1e33)
        ],
    ),
    "realized_variance": ("minute_aggs", [{"open": 1e-300, "close": 1e300}]),
}


@pytest.mark.parametrize("name", FAR)
def test_a_row_that_does_not_fit_a_features_sums_is_named_and_never_left_out(
    name: str, bench: Bench
) -> None:
    kind, rows = FAR[name]
    made = [
        {
            "symbol": "AAPL",
            "session": date(2024, 1, 30),
            "timestamp": STAMP + place * 60_000_000_000,
            **row,
        }
        for place, row in enumerate(rows)
    ]
    with pytest.raises(
        SqlFileError, match=rf"of AAPL at 2024-01-30 14:3{len(rows) - 1}:00"
    ) as told:
        bench.rows(FEATURES[name], {kind: table(kind, made)})
    assert "\n" not in str(told.value)


def test_dollars_beyond_a_double_are_not_infinitely_many(bench: Bench) -> None:
    """Infinite dollars would make a day's illiquidity nothing."""
    rows = [
        {
            "symbol": "AAPL",
            "session": day,
            "timestamp": instant(day, "00:00"),
            "close": close,
            "volume": 1e300,
        }
        for day, close in ((date(2024, 1, 30), 1e10), (date(2024, 1, 31), 2e10))
    ]
    found = bench.rows(FEATURES["amihud"], {"day_aggs": table("day_aggs", rows)}, {"days": 1})
    assert found["illiquidity"].to_pylist() == [None, pytest.approx(5e-305)]
