"""Publishing to a bucket: one writer at a time, and one conditional write that makes it visible.

A run holds this machine's lock and the bucket's lease. Each publish uploads what it changes under
names that stand for the content, then a generation that names all of it, then puts that in the
place of the one that it follows, if that is still the newest. Only then is it carried out here, as
it is where there is no bucket. Killed before, nothing is visible; killed after, whoever comes next
pulls it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.core.paths import Layout, Tier, partition_paths
from warehouse.errors import ObjectChangedError, ObjectExistsError, ObjectStorageError, StorageError
from warehouse.objects import disk_cache, generation, lease
from warehouse.objects.disk_cache import Hold
from warehouse.objects.generation import CATALOG, Content, Current, Record
from warehouse.objects.lease import Lease
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store import data_folder_id
from warehouse.store.catalog import Catalog
from warehouse.store.journal import Change
from warehouse.store.publishing.publish import Committer, writer_lock
from warehouse.store.tier.pull import (
    KEPT_A_DAY,
    Published,
    check_not_lost,
    is_file,
    publish_noted,
    published,
    pull,
    sizes,
    small_files,
)
from warehouse.text import count, some

if TYPE_CHECKING:
    from warehouse.objects.bucket import Bucket

_AT_ONCE = 8
_KEPT_HOLDS = 2
_PULL_SECONDS = 10.0


@contextmanager
def writing(layout: Layout, sql: SqlFolder, wait: float = 0) -> Iterator[Committer]:
    """Hold the lock, and the lease of a bucket, of which what was published last is here.

    Args:
        sql: the folder whose catalog/ makes the catalog.
        wait: seconds to wait for another writer to end; `math.inf`: as long as it takes.

    Raises:
        LockedError: another process, or machine, is writing.
        ObjectStorageError: the bucket cannot be used.
        StorageError: the folder cannot be written to, or is another's.
    """
    tier = layout.tier
    if tier is None:
        with writer_lock(layout, wait):
            _forget(layout)
            yield Committer(layout, sql)
        return
    from warehouse.objects.bucket import bucket_of  # a folder alone needs no client

    bucket = bucket_of(tier)

    def told() -> str | None:
        newest = generation.current(bucket)
        return None if newest is None else newest.warehouse

    # A reader that pulls holds the lock for a moment.
    with writer_lock(layout, max(wait, _PULL_SECONDS), told):
        _check_once(tier, os.getpid())
        with lease.hold(bucket, layout.data, wait) as held:
            found = pull(layout, bucket)
            if found is None:
                check_not_lost(layout, bucket, thoroughly=True)
            disk_cache.clear_parts(layout)
            publisher = _Publisher(bucket, held, found, Hold(layout))
            try:
                yield Committer(layout, sql, publisher, held.renew)
            finally:
                publisher.let_go()
    disk_cache.make_room(layout)


def _forget(layout: Layout) -> None:
    """Forget which generation is here: a bucket has nothing of what is made without it."""
    if layout.generation.is_dir():
        return  # which is no record of one
    try:
        generation.note(layout, None)
    except OSError as error:
        problem = f"cannot be removed: {error.strerror}"
        raise StorageError(layout.generation, problem) from error


@lru_cache(maxsize=4)
def _check_once(tier: Tier, process: int) -> None:
    from warehouse.objects.bucket import bucket_of, check_conditional_writes

    check_conditional_writes(bucket_of(tier))


def is_known(layout: Layout) -> bool:
    """Whether this machine has a generation of the bucket that is its cache now."""
    return generation.record(layout) is not None


def put_back(layout: Layout, files: Iterable[tuple[Path, Content]]) -> None:
    """Upload what a bucket has lost of what was published; hold the writer's lock.

    Args:
        files: that have it, if they are as they were.

    Raises:
        ObjectStorageError: the bucket cannot be written to.
    """
    assert layout.tier is not None
    from warehouse.objects.bucket import bucket_of  # a folder alone needs no client

    for path, content in files:
        if is_file(path, content):
            bucket_of(layout.tier).put_file(content.key, path)


def restore(layout: Layout) -> bool:
    """Bring all that was published last, whatever is here; hold the writer's lock.

    Returns:
        Whether there was something; else what is here is all there is.
    """
    if layout.tier is None:
        return False
    from warehouse.objects.bucket import bucket_of  # a folder alone needs no client

    return pull(layout, bucket_of(layout.tier), anew=True) is not None


class _Publisher:
    """Makes changes visible in a bucket, then here.

    Args:
        found: the newest generation, and what is here.
        hold: keeps the partitions that the run uses.
    """

    def __init__(
        self, bucket: Bucket, held: Lease, found: tuple[Current, Record] | None, hold: Hold
    ) -> None:
        self._bucket, self._lease, self._holds = bucket, held, [hold]
        self._newest: Current | None = None
        self._record: Record | None = None
        if found is not None:
            self._newest, self._record = found

    def __call__(self, layout: Layout, change: Change, superseded: Sequence[Path]) -> None:
        self._lease.check()
        try:
            files = self._files(layout, change, superseded)
        except OSError as error:
            place = error.filename or layout.data
            raise StorageError(place, f"cannot be uploaded: {error.strerror or error}") from error
        warehouse = data_folder_id.id_of(layout)
        if warehouse is None:
            raise StorageError(layout.marker, "is gone; run the command again")
        self._lease.check()
        try:
            newest = generation.make_visible(self._bucket, self._newest, warehouse, files)
        except (ObjectChangedError, ObjectExistsError):
            raise ObjectStorageError(
                self._bucket.url,
                "another writer has published meanwhile; nothing of this is published: run the"
                " same command again",
            ) from None
        after = Record(self._bucket.url, newest.etag, files, number=newest.number)
        publish_noted(layout, change, self._record, after)
        self._newest, self._record = newest, after
        # What was used before the last publish but one has been read: a long run, too, keeps
        # within the bound.
        self._holds.append(Hold(layout))
        while len(self._holds) > _KEPT_HOLDS:
            self._holds.pop(0).close()
        disk_cache.make_room(layout)

    def let_go(self) -> None:
        """Keep nothing any more: the run is over."""
        for hold in self._holds:
            hold.close()

    def _files(
        self, layout: Layout, change: Change, superseded: Sequence[Path]
    ) -> dict[str, Content]:
        """Upload what is new; the small files of the generation that will be."""
        cache = f"{layout.cache.name}/"
        put: Callable[[tuple[str, Path]], tuple[str, Content]] = self._put
        uploads = {final: layout.data / staged for staged, final in change.renames}
        uploads[CATALOG] = layout.data / change.catalog
        files: dict[str, Content] = {}
        if self._record is not None:
            files |= self._record.files
        else:
            # The first: what the folder held before it had a bucket goes along.
            for name in _there(layout):
                uploads.setdefault(name, layout.data / name)
        for name in change.removals:
            files.pop(name, None)
            uploads.pop(name, None)
        for path in superseded:
            name = path.relative_to(layout.data).as_posix()
            files.pop(name, None)
            uploads.pop(name, None)
        if self._record is None:
            self._check_whole(layout, uploads)
        with ThreadPoolExecutor(_AT_ONCE, "upload") as pool:
            for name, content in pool.map(put, uploads.items()):
                if not name.startswith(cache):
                    files[name] = content
        return files

    def _check_whole(self, layout: Layout, uploads: Mapping[str, Path]) -> None:
        """Look, before the first generation, whether all partitions that it will name are there.

        Raises:
            ObjectStorageError: of some there is nothing here, as where they were in another bucket.
        """
        lost: Published = {}
        for name, path in uploads.items():
            if name.startswith(f"{layout.manifests.name}/"):
                named = published(layout, name, path)
                lost |= {
                    k: v for k, v in named.items() if f"{layout.cache.name}/{k}" not in uploads
                }
        if lost:
            there = sizes(layout)
            lost = {k: v for k, v in lost.items() if there.get(v[1]) != v[0]}
        if lost:
            raise ObjectStorageError(
                self._bucket.url,
                f"of {count(len(lost), 'partition')} of this warehouse, {some(sorted(lost), 3)},"
                " the rows are neither in it nor here; nothing is published: set storage.cache_dir"
                " to what it was and bring them with: warehouse pull, or to"
                " ./data/cache and make them anew with: warehouse verify --repair",
            )

    def _put(self, upload: tuple[str, Path]) -> tuple[str, Content]:
        name, path = upload
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        key = generation.key_of(sha256)
        return name, Content(sha256, self._bucket.put_file(key, path))


def _there(layout: Layout) -> Iterator[str]:
    """The files of the data folder that its catalog rests on."""
    named = set[str]()
    if layout.catalog.exists():
        with Catalog(layout, ()) as catalog:
            named |= {f"manifests/{one.name}" for one in catalog.manifests}
            named |= {f"reference/{name}" for name in (catalog.reference() or {}).values()}
    for path in partition_paths(layout.cache):
        yield path.relative_to(layout.data).as_posix()
    for name in small_files(layout):
        if name in named or name.partition("/")[0] not in KEPT_A_DAY:
            yield name
