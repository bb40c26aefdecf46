"""A warehouse whose partitions are in a bucket alone: a copy of one that has them in its folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import s3server
from building import Made, _sha256
from s3server import BUCKET, S3TestServer

from warehouse.objects.bucket import Bucket, bucket_of


def elsewhere(local: Made, folder: Path, url: str, server: S3TestServer, **keys: Any) -> Made:
    """The copy. What it reads it brings; nothing of it is here yet.

    Args:
        url: a prefix of its own, where objects are put by their content.
    """
    made = Made(folder / "warehouse", local.source)
    left_out = shutil.ignore_patterns("raw", "cache", "logs", "metrics")
    shutil.copytree(local.root, made.root, ignore=left_out)
    (made.root / "data/cache").mkdir()
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
    tier = made.layout.tier
    assert tier is not None
    bucket: Bucket = bucket_of(tier)
    before, found = sum(bucket.requests.values()), list[int]()
    yield found
    found.append(sum(bucket.requests.values()) - before)


def forget(made: Made) -> None:
    """Remove what was brought of partitions."""
    shutil.rmtree(made.layout.partial, ignore_errors=True)
    shutil.rmtree(made.layout.cache)
    made.layout.cache.mkdir()


__all__ = ["counted", "elsewhere", "forget", "s3server", "upload"]
