"""Times the publish of one session into a warehouse that has much already, beside an empty one.

    python benchmarks/publish.py [--years 10] [--symbols 11000] [--runs 5] [--layout market|symbol]

The history is manifests alone: of each month and data type, all symbols; and a record of each of
the vendor's files. The manifests are written directly, and no partition of them is there, for a
publish looks at none. `--layout` is that of trades, quotes and minute_aggs; day_aggs are `market`.
Each update runs in a process of its own, in turn, into a copy at the place where the warehouse was
made; medians. The first questions are asked in a process of their own, too.
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
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from market import HEADER
from process_cost import Cost, cost_or_exit

from warehouse.core import config as configuration
from warehouse.core.calendar import trading_hours
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import FileState
from warehouse.core.paths import ALL_SYMBOLS, RawFile, part_name, partition_name
from warehouse.ingest.market_builder import file_cuts
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store import manifests
from warehouse.store.catalog import CatalogChange, SourceFile
from warehouse.store.partitions import ENTRIES, Partition, slices_of
from warehouse.store.publishing.publish import Committer, writer_lock

SESSION = date(2025, 1, 2)


def rows_of_month(
    data_type: str, days: list[date], symbols: np.ndarray, layout: str, dice: np.random.Generator
) -> pa.Table:
    """What a manifest says of a month in which nearly every symbol has rows of each session."""
    there = np.flatnonzero(dice.random(len(symbols) * len(days)) > 0.04)
    whose, when = np.divmod(there, len(days))
    count = len(there)
    rows = np.ones(count) if data_type == "day_aggs" else np.exp(dice.normal(5, 2, count)) + 1
    sources = [f"us_stocks_sip/{data_type}_v1/{day:%Y/%m}/{day}.csv.gz" for day in days]
    hashes = [dice.bytes(32).hex() for _ in days]
    entries = pa.Table.from_arrays(
        [
            pa.array(symbols[whose]),
            pa.array(np.array(days)[when], pa.date32()),
            pa.array(rows.astype(np.int64)),
            pa.array(np.zeros(count, np.int64)),
            pa.array(np.array(sources)[when]),
            pa.nulls(count, pa.string()),
            pa.array(np.array(hashes)[when]),
            pa.nulls(count, pa.string()),
        ],
        schema=ENTRIES,
    )
    if layout == "market" and DATA_TYPES[data_type].by_session:
        return pa.concat_tables(
            rows_of_session(data_type, day, entries.filter(pc.equal(entries["session"], day)), dice)
            for day in days
        ).sort_by([("symbol", "ascending"), ("file", "ascending")])
    month = days[0].replace(day=1)
    table = manifests.rows_of([partition_of(data_type, month, days, entries, dice)])
    if layout == "market":
        return table
    names = [partition_name(data_type, symbol, month) for symbol in table["symbol"].to_pylist()]
    own = {
        "file": pa.array(names),
        "bytes": pc.multiply(table["rows"], 20),
        "sha256": pa.array([dice.bytes(32).hex() for _ in names]),
        "first_row": pa.nulls(len(names), pa.int64()),
        "file_rows": pa.nulls(len(names), pa.int64()),
    }
    for name, column in own.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table.cast(manifests.SCHEMA)


def rows_of_session(
    data_type: str, day: date, entries: pa.Table, dice: np.random.Generator
) -> pa.Table:
    """The same of a session, cut between symbols as the files are."""
    edges = np.concatenate([[0], np.cumsum(entries["rows"].to_numpy())])
    cuts = file_cuts(edges)
    return manifests.rows_of(
        [
            replace(
                partition_of(data_type, day, [day], entries.slice(low, high - low), dice),
                month=day.replace(day=1),
                part=part_name(day, number),
            )
            for number, (low, high) in enumerate(pairwise(cuts))
        ]
    )


def partition_of(
    data_type: str, month: date, days: list[date], entries: pa.Table, dice: np.random.Generator
) -> Partition:
    """A file of all symbols with these rows."""
    stamps = [pd.Timestamp(day, tz="America/New_York").value for day in (days[0], days[-1])]
    listed = pc.count_distinct(entries["symbol"]).as_py()
    first, last = (pa.array(dice.integers(0, 10**13, listed) + stamp) for stamp in stamps)
    rows = pc.sum(entries["rows"]).as_py()
    sha256, made_by = dice.bytes(32).hex(), "0" * 64
    return Partition(
        data_type, ALL_SYMBOLS, month, (), made_by, rows, rows * 20, 0, 1, sha256,
        slices=slices_of(entries, first, last),
    )  # fmt: skip


def fill(root: Path, years: int, count: int, layout_of_others: str) -> None:
    """Name the months of so many years in a warehouse's catalog, and the vendor's files of them."""
    config = configuration.load(root / configuration.CONFIG_FILE)
    layout = config.layout(root)
    committer = Committer(layout, SqlFolder(config.sql_dir(root)))
    symbols = np.array([f"S{number:05}" for number in range(count)])
    dice = np.random.default_rng(1)
    hours = trading_hours(date(SESSION.year - years, 1, 1), date(SESSION.year - 1, 12, 31))
    named, files = [], []
    with writer_lock(layout):
        for data_type in DATA_TYPES:
            place = "market" if data_type == "day_aggs" else layout_of_others
            for month, some in groupby(hours, key=lambda one: one.session.replace(day=1)):
                days = [one.session for one in some]
                rows = rows_of_month(data_type, days, symbols, place, dice)
                one, staged = manifests.write(layout.staging, (data_type, month), rows)
                layout.modes.make_folders(one.path(layout).parent)
                staged.rename(one.path(layout))
                named.append(one)
                files += [record(data_type, day, dice.bytes(32).hex()) for day in days]
        committer.commit(CatalogChange(files=files))
        with duckdb.connect(layout.catalog) as connection:
            columns = pa.table(manifests.table(named))
            connection.register("named", columns)
            connection.execute("insert into manifests by name select * from named")
            for data_type in DATA_TYPES:
                # So the next publish gathers it from the manifests.
                connection.execute(f"drop macro {data_type}_names")
        committer.commit(CatalogChange())


def record(data_type: str, day: date, sha256: str) -> SourceFile:
    """What the catalog says of a file that was ingested."""
    key = RawFile(data_type, day).key
    state = FileState.INGESTED
    return SourceFile(
        data_type, day, None, key, state, sha256=sha256, bytes=1, lines=9, rows_published=9,
        rows_rejected=0, rows_unselected=0, rejects_by_reason={}, fingerprint="0" * 64, run_id="0",
    )  # fmt: skip


def source(folder: Path, symbols: int) -> None:
    stamp = int(np.datetime64(SESSION).astype("datetime64[ns]").astype(int)) + 5 * 3600 * 10**9
    lines = [f"S{number:05},100,10,10.5,11,9.5,{stamp},9\n" for number in range(symbols)]
    put(folder, "day_aggs", HEADER + "".join(lines))
    opening = stamp + 9 * 3600 * 10**9 + 30 * 60 * 10**9 - 5 * 3600 * 10**9
    trades = [
        f"S{number:05},,0,4,{number},{opening},10.0,1,{opening},100,3,0,\n"
        for number in range(symbols)
    ]
    put(folder, "trades", ",".join(DATA_TYPES["trades"].header) + "\n" + "".join(trades))


def put(folder: Path, data_type: str, text: str) -> None:
    path = folder / f"us_stocks_sip/{data_type}_v1/{SESSION:%Y/%m}/{SESSION}.csv.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


FIRST_ANSWER = """
import sys
from warehouse import Warehouse
with Warehouse(sys.argv[1]) as wh:
    wh.aggs("S00001", sys.argv[2], freq="day")
"""
IMPORT = "from warehouse import Warehouse"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--symbols", type=int, default=11_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--layout", choices=("market", "symbol"), default="market")
    told = parser.parse_args()
    binary = str(Path(sys.executable).with_name("warehouse"))
    folder = Path(tempfile.mkdtemp(prefix="publish-"))
    day = f"{SESSION}"
    costs: dict[str, list[Cost]] = {}
    try:
        source(folder / "source", told.symbols)
        roots = {name: folder / name for name in ("empty", "history")}
        for name, root in roots.items():
            made = [binary, "init", str(root), "--source", str(folder / "source")]
            subprocess.run(made, check=True, capture_output=True)
            if name == "history":
                fill(root, told.years, told.symbols, told.layout)
            root.rename(folder / f"{name}-as-it-was")
        for _ in range(told.runs):
            for name, root in roots.items():
                shutil.rmtree(root, ignore_errors=True)
                shutil.copytree(folder / f"{name}-as-it-was", root)
                update = [binary, "-C", str(root), "update", "day_aggs", "--start", day]
                python = [sys.executable, "-c"]
                for job, command in (
                    (f"one session into {name}", [*update, "--end", day]),
                    (f"first answer of {name}", [*python, FIRST_ANSWER, str(root), day]),
                    ("import alone", [*python, IMPORT]),
                ):
                    costs.setdefault(job, []).append(cost_or_exit(command))
        print("| job | wall | CPU | peak memory |\n|---|---:|---:|---:|")
        for job, some in costs.items():
            wall = statistics.median(one.wall for one in some)
            cpu = statistics.median(one.cpu for one in some)
            memory = statistics.median(one.memory for one in some)
            print(f"| {job} | {wall:.2f} s | {cpu:.2f} s | {memory / 2**20:.0f} MiB |")
        for name, root in roots.items():
            trades = [binary, "-C", str(root), "update", "trades", "--start", day, "--end", day]
            subprocess.run(trades, check=True, capture_output=True)
            catalog = root / "data/warehouse.duckdb"
            for macro in ("day_aggs_of", "trades_of"):
                took = [of_one_symbol(catalog, macro, f"S{number:05}") for number in range(1, 22)]
                print(f"{macro} in {name}: {statistics.median(took) * 1e3:.0f} ms CPU")
    finally:
        shutil.rmtree(folder)


def of_one_symbol(catalog: Path, macro: str, symbol: str) -> float:
    """CPU seconds of one symbol's rows of a session, in a DuckDB that has the catalog open."""
    ask = f"select * from {macro}(?, '{SESSION}', '{SESSION}')"
    with duckdb.connect(catalog, read_only=True) as connection:
        connection.execute(ask, ["S00000"]).fetchall()
        began = time.process_time()
        rows = connection.execute(ask, [symbol]).fetchall()
        took = time.process_time() - began
        assert len(rows) == 1
        return took


if __name__ == "__main__":
    main()
