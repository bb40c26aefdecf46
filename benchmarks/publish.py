"""Times the publish of one session into a warehouse that has much already, beside an empty one.

    python benchmarks/publish.py [--years 10] [--symbols 11000] [--runs 5]

The history is manifests alone: of each month and data type, all symbols. No partition of it is
there, for a publish looks at none. Each update runs in a process of its own, in turn; medians.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from market import HEADER, run

from warehouse import Warehouse
from warehouse.core import config as configuration
from warehouse.core.calendar import trading_hours
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import ALL_SYMBOLS
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store.catalog import CatalogChange
from warehouse.store.partitions import ENTRIES, Partition, sessions_of, slices_of
from warehouse.store.publish import Committer, writer_lock

SESSION = date(2025, 1, 2)


def month_of_all(data_type: str, days: list[date], symbols: list[str]) -> Partition:
    """A partition of all symbols as a manifest knows it."""
    count = len(days) * len(symbols)
    sources = [f"us_stocks_sip/{data_type}_v1/{day:%Y/%m}/{day}.csv.gz" for day in days]
    hashes = [f"{day.toordinal():064x}" for day in days]
    entries = pa.Table.from_arrays(
        [
            pa.array(np.repeat(symbols, len(days))),
            pa.array(np.tile(days, len(symbols)), pa.date32()),
            pa.array(np.ones(count, np.int64)),
            pa.array(np.zeros(count, np.int64)),
            pa.array(np.tile(sources, len(symbols))),
            pa.nulls(count, pa.string()),
            pa.array(np.tile(hashes, len(symbols))),
            pa.nulls(count, pa.string()),
        ],
        schema=ENTRIES,
    )
    first = pa.array(np.full(len(symbols), days[0].toordinal(), np.int64))
    last = pa.array(np.full(len(symbols), days[-1].toordinal(), np.int64))
    sessions = sessions_of(entries)
    slices = slices_of(entries, first, last)
    month = days[0].replace(day=1)
    whole = Partition(data_type, ALL_SYMBOLS, month, sessions, "made", count, 1, 0, 1, "0" * 64)
    return replace(whole, slices=slices)


def fill(root: Path, years: int, symbols: int) -> None:
    """Name the months of so many years in a warehouse's catalog."""
    config = configuration.load(root / configuration.CONFIG_FILE)
    layout = config.layout(root)
    committer = Committer(layout, SqlFolder(config.sql_dir(root)))
    listed = [f"S{number:05}" for number in range(symbols)]
    with writer_lock(layout):
        for year in range(SESSION.year - years, SESSION.year):
            hours = trading_hours(date(year, 1, 1), date(year, 12, 31))
            days = [one.session for one in hours]
            for data_type in DATA_TYPES:
                months = sorted({day.month for day in days})
                found = [
                    month_of_all(data_type, [day for day in days if day.month == month], listed)
                    for month in months
                ]
                committer.commit(CatalogChange(partitions=found))


def source(folder: Path, symbols: int) -> None:
    stamp = int(np.datetime64(SESSION).astype("datetime64[ns]").astype(int)) + 5 * 3600 * 10**9
    lines = [f"S{number:05},100,10,10.5,11,9.5,{stamp},9\n" for number in range(symbols)]
    path = folder / f"us_stocks_sip/day_aggs_v1/{SESSION:%Y/%m}/{SESSION}.csv.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress((HEADER + "".join(lines)).encode(), mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--symbols", type=int, default=11_000)
    parser.add_argument("--runs", type=int, default=5)
    told = parser.parse_args()
    binary = str(Path(sys.executable).with_name("warehouse"))
    folder = Path(tempfile.mkdtemp(prefix="publish-"))
    try:
        source(folder / "source", told.symbols)
        roots = {}
        for name in ("empty", "history"):
            roots[name] = folder / name
            made = [binary, "init", str(roots[name]), "--source", str(folder / "source")]
            subprocess.run(made, check=True, capture_output=True)
        fill(roots["history"], told.years, told.symbols)
        costs = {name: [] for name in roots}
        day = f"{SESSION}"
        for number in range(told.runs):
            for name, root in roots.items():
                copy = folder / f"{name}-{number}"
                shutil.copytree(root, copy)
                command = [binary, "-C", str(copy), "update", "day_aggs", "--start", day]
                costs[name].append(run([*command, "--end", day]))
                if number < told.runs - 1:
                    shutil.rmtree(copy)
        print("| one session into | wall | CPU | peak memory |\n|---|---:|---:|---:|")
        for name, some in costs.items():
            wall = statistics.median(one.wall for one in some)
            cpu = statistics.median(one.cpu for one in some)
            memory = statistics.median(one.memory for one in some)
            print(f"| {name} | {wall:.2f} s | {cpu:.2f} s | {memory / 2**20:.0f} MiB |")
        began = time.perf_counter()
        with Warehouse(folder / f"history-{told.runs - 1}") as wh:
            wh.aggs("S00001", SESSION, freq="day")
            print(f"\nopened there, with a first answer: {time.perf_counter() - began:.2f} s")
            began = time.perf_counter()
            ask = "select * from day_aggs_of('S00002', $day, $day)"
            wh.query(ask, day=SESSION)
            wh.query(ask, day=SESSION + timedelta(days=0))
            print(f"day_aggs_of: {(time.perf_counter() - began) * 500:.0f} ms")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
