"""A small backtest on the demo's market: two moving averages of five-minute closes, with `bt`.

    python examples/backtest.py [WAREHOUSE]

What it shows is how a backtest leans on the warehouse, not how to earn money: the demo's prices are
made up. A signal of one bar is traded at the close of the next, so that no price is used before it
was known; the fills are whole shares at a commission.
"""

from __future__ import annotations

import sys

import bt
import exchange_calendars
import pandas as pd

from warehouse import Warehouse

FAST, SLOW = 4, 16
CAPITAL = 1_000_000.0
COMMISSION_PER_SHARE = 0.005


def closes(wh: Warehouse, symbols: list[str]) -> pd.DataFrame:
    """Five-minute closes of the regular hours, UTC: a row a bar, a column a symbol.

    A bar is labelled by its end, when its close is known; one in which a symbol did not trade has
    the last close before it. Bars begin where all symbols have traded.
    """
    sessions = wh.sessions("minute_aggs")
    bars = wh.aggs(symbols, sessions[0], sessions[-1], columns=["symbol", "timestamp", "close"])
    minutes = bars.pivot(index="timestamp", columns="symbol", values="close")[symbols]
    minutes.index += pd.Timedelta(minutes=1)
    calendar = exchange_calendars.get_calendar("XNYS", start=sessions[0], end=sessions[-1])
    ends = calendar.trading_index(
        sessions[0], sessions[-1], "5min", intervals=False, closed="right"
    )
    return minutes.ffill().reindex(ends, method="ffill").dropna()


def target_weights(prices: pd.DataFrame) -> pd.DataFrame:
    """Equal weights of the symbols whose fast average lies above the slow one, one bar later.

    A row for each bar at which they change.
    """
    above = prices.rolling(FAST).mean() > prices.rolling(SLOW).mean()
    weights = above.shift(1, fill_value=False) / len(prices.columns)
    return weights[weights.ne(weights.shift(1, fill_value=0.0)).any(axis=1)]


def run(prices: pd.DataFrame) -> bt.backtest.Result:
    """The crossover beside buying everything at the start and holding it."""
    crossover = bt.Strategy(
        "crossover", [bt.algos.WeighTarget(target_weights(prices)), bt.algos.Rebalance()]
    )
    hold = bt.Strategy(
        "hold",
        [bt.algos.RunOnce(), bt.algos.SelectAll(), bt.algos.WeighEqually(), bt.algos.Rebalance()],
    )
    return bt.run(
        *(
            bt.Backtest(
                strategy,
                prices,
                initial_capital=CAPITAL,
                commissions=lambda quantity, price: abs(quantity) * COMMISSION_PER_SHARE,
                progress_bar=False,
            )
            for strategy in (crossover, hold)
        )
    )


def main(folder: str = "demo-warehouse") -> None:
    with Warehouse(folder) as wh:
        prices = closes(wh, ["AAPL", "F", "SPY"])
    result = run(prices)
    first, last = prices.index[0], prices.index[-1]
    print(f"{len(prices)} bars of {', '.join(prices.columns)}, {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    for name in ("crossover", "hold"):
        test = result.backtests[name]
        value = test.strategy.values
        worst = (value / value.cummax() - 1).min()
        fills = int((test.strategy.get_transactions()["quantity"] != 0).sum())
        print(
            f"{name:<10} return {value.iloc[-1] / CAPITAL - 1:+.2%}"
            f"  worst drawdown {worst:.2%}  fills {fills}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:2])
