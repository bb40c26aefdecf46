"""Warehouses whose partitions are in a bucket alone: copies of some that have them in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from building import Made, _sha256, make
from s3server import BUCKET, S3TestServer
from synthetic_partitions import catalog, fill, rows_of, weekdays

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import ALL_SYMBOLS, month_of
from warehouse.objects.bucket import bucket_of
from warehouse.store.partitions import Partition, SessionSource, describe, write_partition

SESSIONS = weekdays(date(2024, 1, 2), date(2024, 1, 12))
ROWS = {"SPY": 20_000, **{f"S{number:02}": 2_500 for number in range(20)}}
"""Rows a session of each symbol: a session of them all is a file of more than a MiB."""
FEW = ["S03", "S04", "S11", "SPY"]
"""Those that have quotes too."""


def tapes(folder: Path, layout: str) -> Made:
    """Some sessions of trades, and fewer of quotes, in a folder."""
    made = make(folder)
    quotes = dict.fromkeys(FEW, 3_000)
    write = fill if layout == "symbol" else _by_session
    partitions = [*write(made, "trades", SESSIONS, ROWS)]
    partitions += write(made, "quotes", SESSIONS[:4], quotes)
    catalog(made, partitions)
    return made


def _by_session(
    made: Made, data_type: str, sessions: Sequence[date], rows: Mapping[str, int]
) -> list[Partition]:
    """As `fill`, in files of all symbols, one for each session."""
    found = []
    for day in sessions:
        part, month = f"{day:%d}_00", month_of(day)
        path = made.layout.partition(data_type, ALL_SYMBOLS, month, part)
        path.parent.mkdir(parents=True, exist_ok=True)
        tape = [
            rows_of(data_type, symbol, [day], count, seed=number + day.toordinal())
            for number, (symbol, count) in enumerate(sorted(rows.items()))
        ]
        sources = (SessionSource(day, sum(rows.values()), 0, "made", None, "0" * 64),)
        kind = DATA_TYPES[data_type]
        write_partition(str(path), kind, tape, ALL_SYMBOLS, month, sources, "made", part)
        found.append(describe(path))
    return found


def elsewhere(local: Made, folder: Path, url: str, server: S3TestServer, **keys: Any) -> Made:
    """The copy. What it reads it brings; nothing of it is here yet.

    Args:
        url: a prefix of its own, where objects are put by their content.
    """
    made = Made(folder / "warehouse", local.source)
    left_out = shutil.ignore_patterns("raw", "cache", "logs", "metrics")
    shutil.copytree(local.root, made.root, ignore=left_out)
    made.layout.cache.mkdir()
    keys = {"storage__cache_endpoint": server.endpoint, **keys}
    made.configure(storage__cache_dir=url, **keys)
    upload(local, url, server)
    return made


def upload(local: Made, url: str, server: S3TestServer) -> None:
    """Its partitions as objects called by their content."""
    prefix = url.removeprefix(f"s3://{BUCKET}/")
    for path in local.partitions().values():
        server.put(f"{prefix}/objects/{_sha256(path)}", path.read_bytes())


@contextmanager
def counted(made: Made) -> Iterator[list[int]]:
    """How many requests are sent within the block: the list has their number once it ends."""
    assert made.layout.tier is not None
    bucket = bucket_of(made.layout.tier)
    before, found = sum(bucket.requests.values()), list[int]()
    yield found
    found.append(sum(bucket.requests.values()) - before)


def forget(made: Made) -> None:
    """Remove what was brought of partitions."""
    shutil.rmtree(made.layout.partial, ignore_errors=True)
    shutil.rmtree(made.layout.cache)
    made.layout.cache.mkdir()
