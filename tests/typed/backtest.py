"""A user's script: what an editor knows of each answer is what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from typing import assert_type

import pandas as pd
import polars as pl

from warehouse import Aggregate, Quote, Trade, Warehouse, WarehouseError


def rows_of(trades: pd.DataFrame) -> dict[str, int]:
    return {"rows": len(trades)}


def main() -> None:
    with Warehouse("demo-warehouse") as wh:
        assert_type(wh.trades("AAPL", "2024-01-02"), pd.DataFrame)
        assert_type(wh.quotes(["AAPL"], date(2024, 1, 2), to="pandas"), pd.DataFrame)
        assert_type(wh.aggs("AAPL", "2024-01-02", freq="day", to="polars"), pl.DataFrame)
        assert_type(wh.aggs("AAPL", "2024-01-02", vwap=True), pd.DataFrame)
        assert_type(wh.aggs("AAPL", "2024-01-02", vwap=True, to="polars"), pl.DataFrame)
        assert_type(wh.load("trades", "AAPL", "2024-01-02", columns=["price"]), pd.DataFrame)
        assert_type(wh.features("spread", "AAPL", "2024-01-02", periods=3), pd.DataFrame)
        assert_type(wh.map(len, "*", "2024-01-02"), pd.DataFrame)
        assert_type(wh.map(rows_of, ["AAPL"], "2024-01-02", by="session"), pd.DataFrame)
        assert_type(wh.map(pl.DataFrame.head, "AAPL", "2024-01-02", to="polars"), pl.DataFrame)
        assert_type(wh.query("select $n as n", n=1), pd.DataFrame)
        assert_type(wh.query("select 1 as n", "polars"), pl.DataFrame)
        assert_type(wh.catalog("runs"), pd.DataFrame)
        assert_type(wh.symbols("trades"), list[str])
        assert_type(wh.sessions("trades"), list[date])
        assert_type(wh.fingerprint("trades", "AAPL", "2024-01-02", tz="UTC"), str)
        rows = wh.stream("AAPL", "2024-01-02", data_types="trades", to="rows")
        assert_type(rows, Iterator[Trade | Quote | Aggregate])
        assert_type(next(rows).symbol, str)
        for batch in wh.stream("AAPL", "2024-01-02"):
            print(batch.num_rows)
        assert_type(wh.update("trades", dry_run=True).did_nothing, bool)
        report = asyncio.run(wh.download_async("trades", "2024-01-02", wait=60))
        assert_type(report.did_nothing, bool)
    raise WarehouseError
