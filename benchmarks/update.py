"""Times a day's update as its month grows, beside a plain rewrite of the month to date.

Day by day a session comes to the source and `warehouse update` is run, each time a process of its
own, whole from start to exit. On some of the days a new warehouse takes the month to date from its
csv.gz at once: what an update that knew nothing of the days before would do. Both end with the
same bytes, which is checked.

    python benchmarks/update.py                     300,000 trades a day, 2,000 symbols, a month
    python benchmarks/update.py --trades 1000000 --symbols 300
    python benchmarks/update.py --layout market     symbols share the files of a session

At the end the month of the symbol with the fewest trades is asked for, cold: from a process of its
own, its imports apart, from files in the system's page cache.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from process_cost import Cost, cost_or_exit

from warehouse import Warehouse
from warehouse.core.calendar import trading_days
from warehouse.synthetic.files import write
from warehouse.synthetic.market import benchmark_market

ROOT = Path(__file__).resolve().parents[1]


def make(root: Path, source: Path, layout: str) -> None:
    """A new warehouse, whose trades are laid out so."""
    shutil.copytree(ROOT / "sql", root / "sql")
    shutil.copytree(ROOT / "config", root / "config")
    settings = root / "config" / "data_config.yaml"
    text = settings.read_text("utf-8").replace('url: ""', f"url: {source}")
    text = text.replace("    trades: symbol", f"    trades: {layout}")
    workers = f"parallel_workers: {os.cpu_count() or 1}"
    settings.write_text(text.replace("parallel_workers: 4", workers), "utf-8")


def update(root: Path) -> Cost:
    """The command of every day, as a process of its own."""
    return cost_or_exit([sys.executable, "-m", "warehouse", "-C", str(root), "update", "trades"])


def cold(root: Path, days: Sequence[date]) -> float:
    """Seconds for a month of the symbol with the fewest trades, the median of seven processes."""
    asked = f"""
import sys, time
from warehouse import Warehouse
began = time.perf_counter()
with Warehouse(sys.argv[1]) as wh:
    rows = wh.load("trades", sys.argv[2], "{days[0]}", "{days[-1]}", missing="ignore")
    print(time.perf_counter() - began)
assert len(rows)
"""
    with Warehouse(root) as wh:
        rarest = "select symbol from trades group by symbol order by count(*), symbol limit 1"
        symbol = wh.query(rarest)["symbol"][0]
    command = [sys.executable, "-c", asked, str(root), symbol]
    taken = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(7)]
    return statistics.median(float(done.stdout) for done in taken)


def digest(root: Path) -> str:
    """Of every partition's name and bytes."""
    found = hashlib.sha256()
    for path in sorted((root / "data" / "cache").rglob("*.parquet")):
        found.update(path.relative_to(root).as_posix().encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def run(
    market: Path, days: Sequence[date], folder: Path, beside: Sequence[int], layout: str
) -> None:
    """Print what each day's update took; on the days `beside` (from 1), the rewrite's too."""
    source, root = folder / "source", folder / "daily"
    source.mkdir()
    make(root, source, layout)
    kept = Path("us_stocks_sip", "trades_v1", f"{days[0]:%Y}", f"{days[0]:%m}")
    (source / kept).mkdir(parents=True)
    first = last = Cost(0.0, 0.0, 0)
    daily: list[Cost] = []
    print(f"{'day':>3}  {'update s':>9}{'CPU s':>8}   {'rewrite s':>9}{'CPU s':>8}   of its CPU")
    for number, day in enumerate(days, 1):
        name = f"{day:%Y-%m-%d}.csv.gz"
        os.link(market / kept / name, source / kept / name)
        cost = update(root)
        daily.append(cost)
        line = f"{number:>3}  {cost.wall:9.2f}{cost.cpu:8.2f}"
        if number in beside:
            other = folder / f"rewrite-{number}"
            make(other, source, layout)
            rewrite = update(other)
            if digest(root) != digest(other):
                sys.exit(f"day {number}: the bytes differ")
            ratio = cost.cpu / rewrite.cpu
            line += f"   {rewrite.wall:9.2f}{rewrite.cpu:8.2f}{ratio:13.2f}"
            shutil.rmtree(other)
        print(line, flush=True)
        first, last = (cost if number == 1 else first), cost
    middle = statistics.median(cost.cpu for cost in daily)
    print(f"median {middle:.2f} CPU s; last day / first day: {last.cpu / first.cpu:.2f}")
    print(f"a month of the rarest symbol, cold: {cold(root, days) * 1000:.0f} ms")


def main() -> None:
    """Parse the arguments, make the market, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trades", type=int, default=300_000, help="a day")
    parser.add_argument("--symbols", type=int, default=2_000)
    parser.add_argument("--days", type=int, default=31, help="sessions at most")
    parser.add_argument("--beside", type=int, nargs="*", default=[1, 5, 10, 15, 20])
    parser.add_argument("--layout", choices=("symbol", "market"), default="symbol")
    parser.add_argument("--market", type=Path, help="a month made before, or a folder for it")
    arguments = parser.parse_args()
    days = trading_days(date(2026, 3, 1), date(2026, 3, 31))[: arguments.days]
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as temporary:
        folder = Path(temporary)
        market = arguments.market or folder / "market"
        if not market.exists():
            month = replace(benchmark_market(arguments.trades, arguments.symbols), sessions=days)
            write(month, market, ("trades",))
        print(f"{arguments.trades:,} trades a day, {arguments.symbols:,} symbols")
        run(market, days, folder, arguments.beside, arguments.layout)


if __name__ == "__main__":
    main()
