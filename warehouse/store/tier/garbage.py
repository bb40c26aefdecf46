"""Garbage of a bucket: what no generation names that anybody may still be reading.

A generation is kept for `storage.keep_replaced_hours` from the moment that another took its place,
so that who reads it finds its objects. What writers left that were killed goes as old.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from warehouse.core.paths import Layout
from warehouse.errors import ObjectStorageError
from warehouse.objects import generation
from warehouse.objects.generation import Content
from warehouse.store import manifests
from warehouse.store.tier.pull import is_file, published

if TYPE_CHECKING:
    from warehouse.objects.bucket import Bucket
    from warehouse.source.s3client import Listed


@dataclass(frozen=True)
class Garbage:
    """What was removed, or would be: objects, and their bytes."""

    objects: int = 0
    bytes: int = 0


def collect(
    layout: Layout, prove: Callable[[], None] | None, *, now: datetime | None = None
) -> Garbage:
    """Remove what was replaced long enough ago.

    Args:
        prove: makes sure that nobody else writes: another might publish a content again that is
            here for garbage. None: say what would be removed.
        now: the present moment, for tests.

    Raises:
        LeaseLostError: another writer has taken over.
        ObjectStorageError: the bucket cannot be read, or nothing removed.
    """
    from warehouse.objects.bucket import PROBES, bucket_of  # a folder alone needs no client

    assert layout.tier is not None
    bucket = bucket_of(layout.tier)
    newest = generation.current(bucket)
    if newest is None:
        return Garbage()
    before = (now or datetime.now(UTC)) - timedelta(seconds=layout.tier.kept_seconds)
    listed = {one.key: one for one in bucket.list(generation.GENERATIONS)}
    kept = {newest.key, *_kept(list(listed.values()), before)}
    named = set[str]()
    seen = set[str]()
    for key in sorted(kept):
        for path, content in generation.contents(layout, bucket, key).items():
            named.add(content.sha256)
            if path.startswith("manifests/") and content.sha256 not in seen:
                seen.add(content.sha256)
                manifest = _manifest(layout, bucket, path, content)
                named |= {sha256 for _, sha256 in published(layout, path, manifest).values()}
    gone = [one for key, one in listed.items() if key not in kept and _is_old(one, before)]
    for prefix in (generation.OBJECTS, PROBES):
        gone += [
            one
            for one in bucket.list(prefix)
            if one.key.removeprefix(generation.OBJECTS) not in named and _is_old(one, before)
        ]
    # A bucket may hold other things of its owner's in folders of these names.
    gone = [one for one in gone if generation.is_of_writers(one.key)]
    if prove is not None:
        # Generations first: what names an object goes before it.
        bucket.delete([one.key for one in gone], prove)
    return Garbage(len(gone), sum(one.size for one in gone))


def _is_old(one: Listed, before: datetime) -> bool:
    return one.modified is not None and one.modified <= before


def _kept(listed: list[Listed], before: datetime) -> Iterator[str]:
    """Generations that were the newest at some moment since `before`, or may have been."""
    written: dict[int, datetime] = {}
    for one in listed:
        number = generation.number_of(one.key)
        if number is not None and one.modified is not None:
            written[number] = min(one.modified, written.get(number, one.modified))
    for one in listed:
        number = generation.number_of(one.key)
        if number is None or one.modified is None:
            continue
        replaced = min((at for later, at in written.items() if later > number), default=None)
        if max(replaced or one.modified, one.modified) > before:
            yield one.key


def _manifest(layout: Layout, bucket: Bucket, path: str, content: Content) -> bytes:
    """A manifest, from the disk where it is here.

    Raises:
        ObjectStorageError: it is not what was published, so nobody knows what it named.
    """
    here = layout.data / path
    if is_file(here, content):
        return manifests.content_of(here)
    found, _ = bucket.get(content.key, manifests.MOST_BYTES)
    if hashlib.sha256(found).hexdigest() != content.sha256:
        raise ObjectStorageError(
            bucket.url, f"{content.key} ({path}) is not what was published; nothing is removed"
        )
    return found
