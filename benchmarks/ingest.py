"""Times our ingest beside polars and DuckDB doing the bare conversion of the same file.

Each contender is a process of its own, whole from start to exit, taking the same market day from
csv.gz to one Parquet file a symbol, sorted by (timestamp, sequence_number). Ours verifies the
file, rejects and accounts for rows, writes page checksums and provenance, publishes and syncs; the
others only convert. They run in turn, and the medians of their figures are printed with the
ratios to ours pair by pair.

    python benchmarks/ingest.py                     5 M trades, 8,000 symbols, 5 runs of each
    python benchmarks/ingest.py --memory            peak memory at 5 M and at 20 M trades
    python benchmarks/ingest.py --only ours unvalidated     what validation adds to the ingest

Peak memory is the largest resident set plus the growth of the system's shared memory, which is
where our inflated pieces lie.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from warehouse.synthetic.files import write
from warehouse.synthetic.market import benchmark_market

WORKERS = os.cpu_count() or 1


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds, CPU seconds, bytes."""

    wall: float
    cpu: float
    memory: int


def ours(source: Path, out: Path) -> None:
    """The command a user types, on a new warehouse."""
    _lay_out(source, out)
    _update(out)


def _lay_out(source: Path, out: Path) -> None:
    (out / "config").mkdir(parents=True)
    root = Path(__file__).resolve().parents[1]
    for name in ("trade_conditions.csv", "quote_conditions.csv", "exchanges.csv"):
        shutil.copy(root / "config" / name, out / "config")
    shutil.copytree(root / "sql", out / "sql")
    (out / "config" / "data_config.yaml").write_text(
        f"source:\n  url: {source}\nprocessing:\n  parallel_workers: {WORKERS}\n"
    )


def _update(out: Path) -> None:
    from warehouse.cli.main import main

    sys.argv = ["warehouse", "-C", str(out), "update", "trades"]
    main()


def unvalidated(source: Path, out: Path) -> None:
    """The same on a warehouse without rules."""
    _lay_out(source, out)
    shutil.rmtree(out / "sql" / "validate")
    _update(out)


def polars(source: Path, out: Path) -> None:
    """scan_csv → sort → sink_parquet(PartitionBy)."""
    import polars as pl

    schema = {
        "ticker": pl.String,
        "conditions": pl.String,
        "correction": pl.Int8,
        "exchange": pl.Int16,
        "id": pl.String,
        "participant_timestamp": pl.Int64,
        "price": pl.Float64,
        "sequence_number": pl.Int64,
        "sip_timestamp": pl.Int64,
        "size": pl.Float64,
        "tape": pl.Int8,
        "trf_id": pl.Int16,
        "trf_timestamp": pl.Int64,
    }
    (
        pl.scan_csv(_only_file(source), schema_overrides=schema)
        .sort("ticker", "sip_timestamp", "sequence_number")
        .sink_parquet(pl.PartitionBy(out, key=["ticker"], include_key=True), mkdir=True)
    )


def duckdb(source: Path, out: Path) -> None:
    """read_csv → ORDER BY → COPY … PARTITION_BY."""
    import duckdb

    with duckdb.connect(config={"threads": WORKERS}) as connection:
        connection.execute(
            """
            copy (
                select * from read_csv($file, types = {'ticker': 'VARCHAR', 'id': 'VARCHAR',
                    'conditions': 'VARCHAR', 'price': 'DOUBLE', 'size': 'DOUBLE'})
                order by ticker, sip_timestamp, sequence_number
            ) to '"""
            + str(out).replace("'", "''")
            + "' (format parquet, partition_by (ticker), write_partition_columns)",
            {"file": str(_only_file(source))},
        )


CONTENDERS = {"ours": ours, "polars": polars, "duckdb": duckdb, "unvalidated": unvalidated}


def _only_file(source: Path) -> Path:
    (file,) = source.rglob("*.csv.gz")
    return file


def run(name: str, source: Path, folder: Path) -> Cost:
    """Run a contender in a process of its own, writing to a new folder."""
    out = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder)) / "out"
    command = [sys.executable, __file__, "--contender", name, str(source), str(out)]
    shared = _SharedMemory()
    with shared:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        complaint = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{name} failed:\n{complaint.decode()}")
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) + shared.growth
    return Cost(wall, usage.ru_utime + usage.ru_stime, memory)


class _SharedMemory:
    """By how much the system's shared memory grew at most, where it can be told."""

    def __init__(self) -> None:
        self.growth = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._start = self._now()
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.growth = max(self.growth, self._now() - self._start)

    @staticmethod
    def _now() -> int:
        try:
            lines = Path("/proc/meminfo").read_text().splitlines()
        except OSError:
            return 0
        return next(int(x.split()[1]) for x in lines if x.startswith("Shmem:")) * 1024


def compare(source: Path, folder: Path, runs: int, names: list[str]) -> None:
    """Print medians of alternating runs, and the ratios to the first contender."""
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for number in range(runs + 1):
        for name in names:
            cost = run(name, source, folder)
            # The first round warms the caches and is not counted, unless it is the only one.
            if number or runs == 0:
                costs[name].append(cost)
    print(f"{'':12}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}   wall of ours / theirs")
    for name, found in costs.items():
        ratios = [a.wall / b.wall for a, b in zip(costs[names[0]], found, strict=True)]
        spread = f"{min(ratios):.2f} – {max(ratios):.2f}"
        print(
            f"{name:12}"
            f"{statistics.median(c.wall for c in found):9.2f}"
            f"{statistics.median(c.cpu for c in found):9.2f}"
            f"{statistics.median(c.memory for c in found) / 1e6:9.0f}"
            f"   {statistics.median(ratios):.2f}  ({spread})"
        )


def memory(folder: Path, trades: int, symbols: int) -> None:
    """Print our peak memory for a day of so many trades, and for one four times as large."""
    peaks = []
    for count in (trades, 4 * trades):
        source = folder / f"market-{count}"
        write(benchmark_market(count, symbols), source, data_types=("trades",))
        cost = run("ours", source, folder)
        peaks.append(cost.memory)
        print(f"{count:>12,} trades: {cost.memory / 1e6:.0f} MB in {cost.wall:.1f} s")
    print(f"ratio: {peaks[1] / peaks[0]:.2f}")


def main() -> None:
    """Parse the arguments, make the market, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trades", type=int, default=5_000_000)
    parser.add_argument("--symbols", type=int, default=8_000)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default 5)")
    parser.add_argument(
        "--only", nargs="+", choices=CONTENDERS, default=["ours", "polars", "duckdb"]
    )
    parser.add_argument("--memory", action="store_true", help="compare our peaks instead")
    parser.add_argument("--contender", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        name, source, out = arguments.contender
        CONTENDERS[name](Path(source), Path(out))
        return
    # Nothing is deleted in between: ext4 makes files slowly for minutes after many were deleted.
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as temporary:
        folder = Path(temporary)
        if arguments.memory:
            memory(folder, arguments.trades, arguments.symbols)
            return
        source = folder / "market"
        write(benchmark_market(arguments.trades, arguments.symbols), source, ("trades",))
        size = _only_file(source).stat().st_size
        print(f"{arguments.trades:,} trades, {arguments.symbols:,} symbols, {size / 1e6:.0f} MB gz")
        compare(source, folder, arguments.runs, arguments.only)


if __name__ == "__main__":
    main()
