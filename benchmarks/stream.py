"""Times streams of many symbols beside DuckDB sorting the same partitions.

    python benchmarks/stream.py                     trades of 1, 50 and 500 symbols, 5 runs of each
    python benchmarks/stream.py --rows 60000000 --runs 3

Each run is a process of its own over synthetic partitions, all columns, the files in the system's
page cache: ours as Arrow batches and as rows; DuckDB's `order by timestamp, symbol,
sequence_number` as Arrow batches with as much memory (`processing.memory_limit_gb`), which checks
no page's checksum; and, as the floor, pyarrow decoding one partition after the other on one thread,
checksums verified, in no common order. They take turns. Rows a second and CPU are of reading alone;
the peak of memory is the process's. Medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import building
import synthetic_partitions

from warehouse import Warehouse

SESSIONS = synthetic_partitions.weekdays(date(2024, 1, 2), date(2024, 1, 31))
SPAN = (SESSIONS[0], SESSIONS[-1])
MEMORY_GB = 2


def shapes(rows: int) -> dict[str, dict[str, int]]:
    """Rows a session of each symbol: about `rows` in all but for one symbol, that has a tenth."""
    a_day = rows // len(SESSIONS)
    weights = [1 / (number + 10) for number in range(500)]
    return {
        "1 symbol": {"S000": a_day // 10},
        "50 symbols": {f"S{number:03}": a_day // 50 for number in range(50)},
        "500 symbols": {
            f"S{number:03}": max(1, int(a_day * weight / sum(weights)))
            for number, weight in enumerate(weights)
        },
    }


def ours(root: Path, to: str) -> int:
    with Warehouse(root) as wh:
        stream = wh.stream(wh.symbols("trades"), *SPAN, "trades", to=to)
        return sum(1 for _ in stream) if to == "rows" else sum(batch.num_rows for batch in stream)


def arrow(root: Path) -> int:
    return ours(root, "arrow")


def rows(root: Path) -> int:
    return ours(root, "rows")


def duckdb(root: Path) -> int:
    import duckdb

    with duckdb.connect(config={"memory_limit": f"{MEMORY_GB}GB"}) as connection:
        found = connection.sql(
            f"select * from read_parquet('{root}/data/cache/trades/*/*.parquet')"
            " order by timestamp, symbol, sequence_number"
        )
        return sum(batch.num_rows for batch in found.to_arrow_reader(65_536))


def decode(root: Path) -> int:
    import pyarrow.parquet as pq

    count = 0
    for path in root.glob("data/cache/trades/*/*.parquet"):
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            batches = file.iter_batches(use_threads=False)
            count += sum(batch.num_rows for batch in batches)
    return count


CONTENDERS = {"arrow": arrow, "rows": rows, "duckdb": duckdb, "decode": decode}


def measure(name: str, root: Path) -> dict[str, float]:
    """One run, in this process."""
    began, cpu = time.perf_counter(), time.process_time()
    count = CONTENDERS[name](root)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"rows": count, "rate": count / seconds, "cpu": cpu / count, "peak": peak_memory()}


def peak_memory() -> int:
    """Of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage says there begins with the memory of whoever started the process.
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(name: str, root: Path) -> dict[str, float]:
    """One run, in a process of its own."""
    command = [sys.executable, __file__, "--contender", name, str(root)]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000_000, help="of 50 and of 500 symbols")
    parser.add_argument("--runs", type=int, default=5, help="of each; the median counts")
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        name, root = options.contender
        print(json.dumps(measure(name, Path(root))))
        return
    for title, symbols in shapes(options.rows).items():
        with tempfile.TemporaryDirectory(prefix="stream-") as folder:
            made = building.make(
                Path(folder),
                processing__parallel_workers=max(2, os.cpu_count() or 1),
                processing__memory_limit_gb=MEMORY_GB,
            )
            partitions = synthetic_partitions.fill(made, "trades", SESSIONS, symbols)
            synthetic_partitions.catalog(made, partitions)
            # Rows take longer, and are as many a second whatever the number of symbols.
            names = [name for name in CONTENDERS if name != "rows" or len(symbols) == 1]
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for _ in range(options.runs):
                for name in names:
                    runs[name].append(run(name, made.root))
        print(f"\n{title}: {sum(one.rows for one in partitions):,} trades")
        for name, results in runs.items():
            assert len({result["rows"] for result in results}) == 1
            rate, cpu, peak = (
                statistics.median(result[what] for result in results)
                for what in ("rate", "cpu", "peak")
            )
            print(
                f"  {name:7} {rate / 1e6:6.2f} M rows/s  {cpu * 1e9:6.0f} ns of CPU a row"
                f"  {peak / 1e6:6.0f} MB at most"
            )


if __name__ == "__main__":
    main()
