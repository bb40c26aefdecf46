"""Times minute bars beside polars' `group_by_dynamic`, which makes plain OHLCV without any rule.

    python benchmarks/bars.py [--runs 7] [--month 800000] [--session 5000000]
                              [--symbols 8000] [--plain-text]

Two jobs: a month of one symbol, and one session of all symbols (the layout `market`). Each is asked
twice: of trades that are in memory (ours of an Arrow table whose symbols and conditions are
dictionaries, as the reader hands them over, polars of its own frame), and from the Parquet files,
which lie in the system's page cache (ours with its memory cache emptied before each question).
With `--plain-text` ours has texts in memory, too. Ours applies the condition rules, sums exactly
and has twenty columns, of all hours; polars has six columns. All in one process, in turn, after one
question each that does not count; medians, and the ratio is the median of the ratios pair by pair.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from warehouse import Warehouse
from warehouse.bars.build import build, engine
from warehouse.bars.spec import BarSpec
from warehouse.core.config import Config
from warehouse.core.request import Request
from warehouse.maintenance.init import lay_out
from warehouse.pipeline.pipeline import Pipeline
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.files import SqlFolder
from warehouse.synthetic.files import write
from warehouse.synthetic.market import Market, benchmark_market

MONTH = [date(2026, 3, 2) + timedelta(days) for days in range(30)]
SESSIONS = [day for day in MONTH if day.weekday() < 5]
SPEC = BarSpec.of("1m", hours="all")

Ask = Callable[[], Any]
Cost = tuple[float, float]


def make(
    folder: Path, names: Sequence[str], sessions: list[date], trades: int, layout: str
) -> Path:
    """A warehouse of so many trades in all; returns its root."""
    market = Market(tuple(sessions), frozenset(), tuple(names), trades // len(sessions), 0)
    write(market, folder / "flatfiles", ("trades",))
    root = folder / "warehouse"
    laid = lay_out(root, str(folder / "flatfiles"), partitions={"trades": layout})
    Pipeline(laid.config.layout(root), laid.config).update(Request.of(["trades"]))
    return root


def plain(trades: pl.LazyFrame) -> pl.DataFrame:
    """OHLCV of polars, by symbol and minute."""
    price = pl.col("price")
    return (
        trades.group_by_dynamic("timestamp", every="1m", group_by="symbol")
        .agg(
            price.first().alias("open"),
            price.max().alias("high"),
            price.min().alias("low"),
            price.last().alias("close"),
            pl.col("size").sum().alias("volume"),
        )
        .collect()
    )


def without_symbol(trades: pl.LazyFrame) -> pl.DataFrame:
    """The same of one symbol, which need not be told apart."""
    price = pl.col("price")
    return (
        trades.group_by_dynamic("timestamp", every="1m")
        .agg(
            price.first().alias("open"),
            price.max().alias("high"),
            price.min().alias("low"),
            price.last().alias("close"),
            pl.col("size").sum().alias("volume"),
        )
        .collect()
    )


def cost_of(ask: Ask) -> Cost:
    """Wall and CPU milliseconds."""
    began, used = time.perf_counter(), time.process_time()
    ask()
    return 1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - used)


def compared(name: str, rows: int, ours: Ask, theirs: Ask, runs: int) -> str:
    ours()
    theirs()
    pairs = [(cost_of(ours), cost_of(theirs)) for _ in range(runs)]
    cells = [
        statistics.median(pair[who][what] for pair in pairs) for who in (0, 1) for what in (0, 1)
    ]
    ratios = [statistics.median(pair[0][what] / pair[1][what] for pair in pairs) for what in (0, 1)]
    return (
        f"| {name} | {rows:,} | {cells[0]:,.0f} / {cells[1]:,.0f} |"
        f" {cells[2]:,.0f} / {cells[3]:,.0f} | {ratios[0]:.2f} / {ratios[1]:.2f} |"
    )


def coded(trades: pa.Table) -> pa.Table:
    """Symbols and conditions as dictionaries."""
    for name in ("symbol", "conditions"):
        place = trades.column_names.index(name)
        trades = trades.set_column(place, name, trades[name].dictionary_encode())
    return trades


def report(
    root: Path,
    symbols: str | list[str],
    sessions: list[date],
    runs: int,
    is_coded: bool = True,
) -> None:
    with Warehouse(root) as wh:
        first, last = sessions[0], sessions[-1]
        table: pa.Table = wh.trades(symbols, first, last, to="arrow")
        stamp = table.column_names.index("timestamp")
        table = table.set_column(stamp, "timestamp", table["timestamp"].cast(pa.timestamp("ns")))
        frame = pl.from_arrow(table).lazy()
        if is_coded:
            table = coded(table)
        rules = wh._read(lambda snapshot: snapshot.trade_conditions())
        folder = BarFolder(SqlFolder(root / "sql"))
        files = sorted(str(path) for path in (root / "data/cache/trades").rglob("*.parquet"))
        is_one = isinstance(symbols, list)
        make_plain = without_symbol if is_one else plain
        what = "a month of one symbol" if is_one else "a session of all symbols"

        def from_files() -> Any:
            wh.cache.clear()
            return wh.bars(symbols, first, last, hours="all", to="arrow")

        with engine(Config(), rules) as connection:
            print(
                compared(
                    f"{what}, in memory",
                    table.num_rows,
                    lambda: build(connection, folder, SPEC, table),
                    lambda: make_plain(frame),
                    runs,
                )
            )
        print(
            compared(
                f"{what}, from files",
                table.num_rows,
                from_files,
                lambda: make_plain(pl.scan_parquet(files)),
                runs,
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--month", type=int, default=800_000)
    parser.add_argument("--session", type=int, default=5_000_000)
    parser.add_argument("--symbols", type=int, default=8_000)
    parser.add_argument("--plain-text", action="store_true")
    told = parser.parse_args()
    print("| minute bars of | trades | ours, wall / CPU ms | polars, wall / CPU ms | ratio |")
    print("|---|---|---|---|---|")
    names = benchmark_market(0, told.symbols).symbols
    jobs: list[tuple[Sequence[str], list[date], int, str, str | list[str]]] = [
        (names[:1], SESSIONS, told.month, "symbol", list(names[:1])),
        (names, SESSIONS[:1], told.session, "market", "*"),
    ]
    for listed, sessions, trades, layout, asked in jobs:
        folder = Path(tempfile.mkdtemp(prefix="bars-"))
        try:
            root = make(folder, listed, sessions, trades, layout)
            report(root, asked, sessions, told.runs, not told.plain_text)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
