"""Times the whole market's day bars: a year in, and the questions that are asked across it.

    python benchmarks/market.py [--symbols 11000] [--runs 3] [--months 12]

Beside us stands what a user would do by hand: polars scanning the same files, sorting and writing
one Parquet file, and DuckDB and pandas asking that file. Whole commands in processes of their own,
in turn; medians. The market is made up: bars by the log-normal.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from process_cost import Cost, cost_or_exit

from warehouse import Warehouse
from warehouse.core.calendar import last_day_of_month, trading_hours

HEADER = "ticker,volume,open,close,high,low,window_start,transactions\n"
YEAR = 2024


def make(folder: Path, symbols: int, months: int) -> list[date]:
    """The vendor's files of a made-up market; returns their sessions."""
    dice = np.random.default_rng(1)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    names: set[str] = set()
    while len(names) < symbols:
        names.add("".join(dice.choice(letters, dice.integers(2, 6))))
    listed = np.array(sorted(names))
    price = np.exp(dice.normal(3.2, 1.1, symbols))
    size = np.exp(dice.normal(11, 2.2, symbols))
    sessions = []
    for hours in trading_hours(date(YEAR, 1, 1), last_day_of_month(date(YEAR, months, 1))):
        session = hours.session
        sessions.append(session)
        price = price * np.exp(dice.normal(0, 0.02, symbols))
        first = price * np.exp(dice.normal(0, 0.005, symbols))
        high = np.maximum(first, price) * 1.006
        low = np.minimum(first, price) * 0.994
        volume = np.maximum(1, size * np.exp(dice.normal(0, 0.6, symbols))).astype(int)
        stamp = pd.Timestamp(session, tz="America/New_York").value
        there = np.flatnonzero(dice.random(symbols) > 0.04)
        lines = [
            f"{listed[i]},{volume[i]},{first[i]:.4g},{price[i]:.4g},{high[i]:.4g},{low[i]:.4g},"
            f"{stamp},{volume[i] // 120 + 1}\n"
            for i in there
        ]
        path = folder / f"us_stocks_sip/day_aggs_v1/{session:%Y/%m}/{session}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress((HEADER + "".join(lines)).encode(), 6, mtime=0))
    return sessions


POLARS = """
import sys, polars as pl
(
    pl.scan_csv(sys.argv[1] + "/us_stocks_sip/day_aggs_v1/**/*.csv.gz")
    .with_columns(pl.from_epoch("window_start", time_unit="ns"))
    .sort("ticker", "window_start")
    .sink_parquet(sys.argv[2])
)
"""


def ours(source: Path, target: Path, sessions: list[date]) -> Cost:
    shutil.rmtree(target, ignore_errors=True)
    binary = str(Path(sys.executable).with_name("warehouse"))
    subprocess.run(
        [binary, "init", str(target), "--source", str(source)], check=True, capture_output=True
    )
    span = ["--start", f"{sessions[0]}", "--end", f"{sessions[-1]}"]
    return cost_or_exit([binary, "-C", str(target), "update", "day_aggs", *span])


def median(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(one.wall for one in costs),
        statistics.median(one.cpu for one in costs),
        max(one.memory for one in costs),
    )


def asked(ask: Callable[[], Any], runs: int) -> float:
    """The median of the seconds that a question takes, in this process."""
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        ask()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=11_000)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="market-"))
    try:
        sessions = make(folder / "source", told.symbols, told.months)
        report(folder, sessions, told)
    finally:
        shutil.rmtree(folder)


def report(folder: Path, sessions: list[date], told: argparse.Namespace) -> None:
    import duckdb

    source, target, one_file = folder / "source", folder / "warehouse", folder / "market.parquet"
    mine, theirs = [], []
    for _ in range(told.runs):
        mine.append(ours(source, target, sessions))
        theirs.append(cost_or_exit([sys.executable, "-c", POLARS, str(source), str(one_file)]))
    files = list((target / "data/cache").rglob("*.parquet"))
    size = sum(path.stat().st_size for path in files)
    ingest, polars = median(mine), median(theirs)
    middle, questions = sessions[len(sessions) // 2], 2 * told.runs + 1
    start, end = sessions[0], sessions[-1]
    with Warehouse(target) as wh:

        def fresh(ask: Callable[[], Any]) -> float:
            def anew() -> None:
                wh.cache.clear()
                ask()

            return asked(anew, questions)

        wh.symbols("day_aggs")
        closes_sql = fresh(
            lambda: wh.query("select symbol, close from day_aggs where session = $day", day=middle)
        )
        closes = fresh(lambda: wh.cross_section("day_aggs", middle, columns=["close"]))
        mean = fresh(lambda: wh.query("select symbol, avg(close) from day_aggs group by symbol"))
        panel = fresh(lambda: wh.panel("day_aggs", "close", start, end, missing="ignore"))
        symbol = wh.symbols("day_aggs")[told.symbols // 2]
        single = fresh(lambda: wh.aggs(symbol, start, end, freq="day", missing="ignore"))
        (rows,) = wh.query("select count(*) as n from day_aggs")["n"]
    database = duckdb.connect()
    mean_of_file = asked(
        lambda: database.execute(
            f"select ticker, avg(close) from '{one_file}' group by ticker"
        ).df(),
        questions,
    )
    pivot = asked(
        lambda: pd.read_parquet(one_file, columns=["ticker", "window_start", "close"]).pivot(
            index="window_start", columns="ticker", values="close"
        ),
        questions,
    )
    found = {
        "rows": int(rows),
        "sessions": len(sessions),
        "ingest": vars(ingest),
        "polars": vars(polars),
        "files": len(files),
        "bytes": size,
        "bytes_of_polars": one_file.stat().st_size,
        "closes_sql": closes_sql,
        "closes": closes,
        "mean": mean,
        "mean_of_duckdb": mean_of_file,
        "panel": panel,
        "pivot_of_pandas": pivot,
        "one_symbol": single,
    }
    if told.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{rows:,} rows, {len(sessions)} sessions, {told.symbols:,} symbols\n")
    print("| job | ours | beside | ratio |\n|---|---:|---:|---:|")
    for name, left, right, unit in (
        ("in, wall", ingest.wall, polars.wall, "s"),
        ("in, CPU", ingest.cpu, polars.cpu, "s"),
        ("in, peak memory", ingest.memory / 2**20, polars.memory / 2**20, "MiB"),
        ("files", len(files), 1, ""),
        ("bytes", size / 2**20, one_file.stat().st_size / 2**20, "MiB"),
        ("mean close by symbol, SQL", mean * 1e3, mean_of_file * 1e3, "ms"),
        ("panel of closes", panel * 1e3, pivot * 1e3, "ms"),
    ):
        print(f"| {name} | {left:,.1f} {unit} | {right:,.1f} {unit} | {left / right:.2f} |")
    for name, seconds in (
        ("closes of a session, SQL", closes_sql),
        ("closes of a session, Python", closes),
        ("one symbol, all sessions", single),
    ):
        print(f"| {name} | {seconds * 1e3:.1f} ms | | |")


if __name__ == "__main__":
    main()
