"""Pull: this machine's folder becomes what was published last.

The small files are brought and put in place by a publish, as if it had been made here: readers see
one generation or the next. Of the partitions those go that are others now; a question brings the
new ones when it reads them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from warehouse.core.datatypes import with_bars
from warehouse.core.file_state import FileState
from warehouse.core.paths import (
    STAGED_CATALOG,
    Layout,
    parse_partition,
    partition_paths,
    reference_table,
)
from warehouse.core.process import Threads
from warehouse.errors import (
    CorruptPartitionError,
    DamagedCatalogError,
    LockedError,
    NotOursError,
    ObjectChangedError,
    ObjectMissingError,
    ObjectStorageError,
    StorageError,
    UnreadablePartitionError,
    one_line,
)
from warehouse.objects import disk_cache, generation
from warehouse.objects.generation import CATALOG, Content, Current, Record
from warehouse.store import data_folder_id, manifests
from warehouse.store.catalog import SourceFile, file_record
from warehouse.store.journal import Change
from warehouse.store.manifests import Key
from warehouse.store.publishing import kept_tables, next_catalog
from warehouse.store.publishing.publish import publish, writer_lock
from warehouse.store.reference import reference_files
from warehouse.text import count, some

if TYPE_CHECKING:
    from warehouse.objects.bucket import Bucket

logger = logging.getLogger("warehouse")

ASKED_SECONDS = 30.0
"""A program that asks again and again looks so often whether something was published."""

_AT_ONCE = 16
_ATTEMPTS = 5
_FIRST_WAIT = 600.0
"""Seconds: where nothing is here yet, another process that brings it is waited for so long."""
_BRING_BACK = "bring it back from a machine that has it, with: warehouse verify --repair"
KEPT_A_DAY = ("manifests", "reference")
"""What is superseded here stays for a day, for readers of an older generation."""

Published: TypeAlias = dict[str, tuple[int, str]]
"""Bytes and SHA-256 by the name of a partition below the cache folder."""


_asked: dict[str, float] = {}
"""By data folder: when this process has last looked."""


def refresh_at_times(layout: Layout) -> None:
    """`refresh`, unless this process has done so a moment ago; see `ASKED_SECONDS`."""
    last = _asked.get(str(layout.data))
    if last is None or time.monotonic() - last >= ASKED_SECONDS:
        refresh(layout)


def refresh(layout: Layout) -> None:
    """Bring what was published last, where it is not here; where a folder is all there is: nothing.

    Where the bucket cannot be reached, or the folder not be written to, what is here stands, and
    the log has a warning.

    Raises:
        ObjectStorageError: nothing is here, and nothing can be brought.
    """
    if layout.tier is None:
        return
    from warehouse.objects.bucket import bucket_of  # a folder alone needs no client

    is_empty = not os.path.lexists(layout.catalog)
    _asked[str(layout.data)] = time.monotonic()
    try:
        bucket = bucket_of(layout.tier)
        newest = generation.current(bucket)
        if newest is None:
            check_not_lost(layout, bucket)
            return
        _check_own(layout, newest)
        if _is_here(layout, newest):
            return
        wait = _FIRST_WAIT if is_empty else 0
        # Nor is a writer of this process waited for: it may be at work for hours.
        with writer_lock(layout, wait, lambda: newest.warehouse, turn=wait):
            pull(layout, bucket)
    except LockedError:
        # Who holds it brings it, or publishes; what is here is a whole generation.
        if is_empty:
            raise
    except StorageError as error:
        if is_empty or isinstance(error, NotOursError):
            raise
        logger.warning("the generation that is here is answered from: %s", error)


def check_not_lost(layout: Layout, bucket: Bucket, *, thoroughly: bool = False) -> None:
    """Refuse a bucket that does not say what is the newest, though something was published to it.

    Who began anew there would leave out whatever this machine has not pulled.

    Args:
        thoroughly: look for generations, too: this machine may have nothing of them.
    """
    is_lost = generation.record(layout) is not None
    if not is_lost and thoroughly:
        # The first one may be a writer's that was killed before it said so.
        listed = bucket.list(generation.GENERATIONS)
        is_lost = any((generation.number_of(one.key) or 0) > 1 for one in listed)
    if is_lost:
        raise ObjectStorageError(
            bucket.url,
            f"{generation.CURRENT}, which says what was published last, is gone: put it back from a"
            " backup or the bucket's versions, or set storage.cache_dir to a prefix that was never"
            " used",
        )


def _check_own(layout: Layout, newest: Current) -> None:
    """Refuse a bucket of another warehouse than the data folder, where that holds anything."""
    assert layout.tier is not None
    is_own = data_folder_id.id_of(layout) in (None, newest.warehouse)
    if not is_own and not data_folder_id.is_bare(layout):
        raise NotOursError(layout.tier.url, layout.data)


def _is_here(layout: Layout, newest: Current) -> bool:
    found = generation.record(layout)
    return found is not None and found.etag == newest.etag and os.path.lexists(layout.catalog)


def pull(layout: Layout, bucket: Bucket, *, anew: bool = False) -> tuple[Current, Record] | None:
    """Make what is here what was published last; hold the writer's lock.

    Args:
        anew: believe nothing of what is here, but compare all of it.

    Returns:
        What that is; None: nothing was ever published.

    Raises:
        ObjectStorageError: it cannot be had, or is another warehouse's.
        StorageError: the disk refuses.
    """
    missing = ""
    for _ in range(_ATTEMPTS):
        newest = generation.current(bucket)
        if newest is None:
            return None
        _check_own(layout, newest)
        known = None if anew else generation.record(layout)
        if known is not None and not known.doubtful and _is_here(layout, newest):
            return newest, known
        if known is not None and newest.number < known.number:
            logger.warning(
                "%s has gone back from generation %d to %d, as where a backup was put back: what"
                " was published in between is there no more, and update brings it anew",
                *(bucket.url, known.number, newest.number),
            )
        try:
            files = generation.contents(layout, bucket, newest.key, newest.sha256)
            data_folder_id.become(layout, newest.warehouse)
            return newest, _bring(layout, bucket, newest, files, known)
        except ObjectMissingError as error:
            missing = error.key
            # So much was published meanwhile that it is garbage: there is a newer one.
            continue
        except OSError as error:
            place = error.filename or layout.data
            problem = f"cannot be pulled to: {error.strerror or error}"
            raise StorageError(place, problem) from error
    raise ObjectStorageError(
        bucket.url, f"{missing}, which its newest generation names, is missing; {_BRING_BACK}"
    )


def _bring(
    layout: Layout,
    bucket: Bucket,
    newest: Current,
    files: dict[str, Content],
    known: Record | None,
) -> Record:
    folder = layout.staging / "pull"
    shutil.rmtree(folder, ignore_errors=True)
    layout.modes.make_folders(folder)
    if generation.record(layout) is None:
        _check_followed(layout, bucket, files, folder / "ledger")
        _check_loaded(layout, bucket, files, folder)
    wanted = _due(layout, files, known)
    staged = {name: folder / str(number) for number, name in enumerate(wanted)}
    staged[CATALOG] = layout.data / STAGED_CATALOG
    staged[CATALOG].unlink(missing_ok=True)

    def fetch(name: str) -> None:
        _download(layout, bucket, files[name], staged[name])

    with Threads(_AT_ONCE, "pull") as pool:
        list(pool.map(fetch, wanted))
    outdated = next_catalog.adapt(staged[CATALOG], layout, layout.root / "config")
    after = Record(bucket.url, newest.etag, files, number=newest.number)
    publish_noted(layout, _change(layout, files, staged, known, outdated), known, after)
    return after


def _check_followed(
    layout: Layout, bucket: Bucket, files: Mapping[str, Content], draft: Path
) -> None:
    """Look whether all that was ingested here is in the bucket; nobody knows where this is from.

    A copy of a warehouse that went on alone has its id, and so has one that was published to a
    folder, or to another bucket, for a while. Pulled over, what it has alone would be gone.

    Args:
        draft: where a page of the ledger may be brought to.

    Raises:
        ObjectStorageError: there is something that is here alone.
    """
    alone = []
    for path in kept_tables.ledger_paths(layout):
        content = files.get(path.relative_to(layout.data).as_posix())
        if content is not None and is_file(path, content):
            continue
        there: dict[str, SourceFile] = {}
        if content is not None:
            draft.unlink(missing_ok=True)
            _download(layout, bucket, content, draft)
            there = _ingested(draft)
        alone += [
            source
            for source, here in _ingested(path).items()
            if here.rows_published and not _is_followed(here, there.get(source))
        ]
    if alone:
        raise ObjectStorageError(
            bucket.url,
            f"does not have {count(len(alone), 'file')} of the vendor's as ingested in"
            f" {layout.data}, {some(sorted(alone), 3)}: that is a copy that went on alone, or was"
            " published to a folder or to another bucket meanwhile. Nothing of it is changed: ask"
            f" it with storage.cache_dir: {layout.cache}, or move it away, put its raw/ back and"
            " run update, which publishes them to the bucket",
        )


def _check_loaded(
    layout: Layout, bucket: Bucket, files: Mapping[str, Content], folder: Path
) -> None:
    """Look, as `_check_followed` does, whether a bucket has what was loaded here of splits, …

    Args:
        folder: where a file of them may be brought to.

    Raises:
        ObjectStorageError: it has not, nor as many loads since.
    """
    there = {Path(name).name for name in files if name.startswith(f"{layout.reference.name}/")}
    for table, here in reference_files.newest(layout).items():
        if here in there:
            continue
        for name in there:
            if reference_table(name) == table:
                _download(layout, bucket, files[f"{layout.reference.name}/{name}"], folder / name)
                number = reference_files.number_at(folder / name)
                if number > reference_files.number_of(layout, here):
                    break
        else:
            raise ObjectStorageError(
                bucket.url,
                f"does not have the {table} as loaded in {layout.data}: that is a copy that went on"
                " alone, or was published to a folder or to another bucket meanwhile. Nothing of"
                f" it is changed: ask it with storage.cache_dir: {layout.cache}, or move it away,"
                f" put its raw/ back and load the vendor's export of {table} again, which publishes"
                " them to the bucket",
            )


def _is_followed(here: SourceFile, there: SourceFile | None) -> bool:
    """Whether a bucket has a file's rows, or what was made of the file since."""
    if there is None:
        return False
    is_same = here.sha256 == there.sha256 and bool(there.rows_published)
    return is_same or there.recorded_at >= here.recorded_at


def _ingested(page: Path) -> dict[str, SourceFile]:
    """The vendor's files that a page of the ledger calls ingested, or that it has rows of.

    A page that is damaged names none.
    """
    try:
        records = [file_record(row) for row in kept_tables.read_ledger(page).to_pylist()]
    except UnreadablePartitionError:
        raise
    except (CorruptPartitionError, ValueError, TypeError):
        return {}
    return {
        one.source: one for one in records if one.rows_published or one.state == FileState.INGESTED
    }


def _change(
    layout: Layout,
    files: dict[str, Content],
    staged: dict[str, Path],
    known: Record | None,
    outdated: Iterable[Path],
) -> Change:
    """What becomes of the folder: small files come, those and partitions that are no more go.

    Args:
        outdated: more files that go.
    """
    here = known.files if known is not None else small_files(layout)
    gone = {name for name in here if name not in files and name != CATALOG}
    kept = {name for name in gone if name.partition("/")[0] in KEPT_A_DAY}
    for name in kept:
        with suppress(OSError):
            os.utime(layout.data / name, follow_symlinks=False)
    in_use = {name.removeprefix("manifests/") for name in files if name.startswith("manifests/")}
    expired = [
        path
        for data_type in with_bars(name.split("/")[0] for name in in_use)
        for path in manifests.expired(layout, data_type, in_use)
    ]
    changed: set[Key] | None = None
    if known is not None:
        changed = {
            *_months({name for name, _ in known.files.items() ^ files.items()}),
            *_months_of(layout, known.doubtful),
        }
    removed = {*(layout.data / name for name in gone - kept), *expired, *outdated}
    removed |= {*_stale(layout, files, staged, changed)}
    return Change(
        STAGED_CATALOG,
        [
            (path.relative_to(layout.data).as_posix(), name)
            for name, path in staged.items()
            if name != CATALOG
        ],
        sorted(
            path.relative_to(layout.data).as_posix() for path in removed if os.path.lexists(path)
        ),
    )


def publish_noted(layout: Layout, change: Change, before: Record | None, after: Record) -> None:
    """Make a change visible here, and say which generation is here; hold the writer's lock.

    Whatever moment this is killed at, who pulls next knows which files may be of either.

    Raises:
        StorageError: the disk refuses.
    """
    touched = [*(final for _, final in change.renames), *change.removals]
    try:
        generation.note(layout, before, touched)
        with disk_cache.shelf(layout, alone=True):
            there = [name for name in change.removals if os.path.lexists(layout.data / name)]
            publish(layout, Change(change.catalog, change.renames, there))
        generation.note(layout, after)
    except OSError as error:
        place = error.filename or layout.generation
        raise StorageError(place, f"cannot be written: {error.strerror or error}") from error


def _due(layout: Layout, files: dict[str, Content], known: Record | None) -> list[str]:
    """The small files that are not here; the catalog never is: here it is of this folder."""
    before = {} if known is None else known.files
    doubtful = frozenset[str]() if known is None else known.doubtful
    due = [CATALOG]
    for name, content in files.items():
        if name == CATALOG:
            continue
        # What was put in place here, and not touched since, need not be read again.
        is_known = before.get(name) == content and name not in doubtful
        look = _stands if is_known else is_file
        if not look(layout.data / name, content):
            due.append(name)
    return due


def _stands(path: Path, content: Content) -> bool:
    try:
        return os.lstat(path).st_size == content.size
    except OSError:
        return False


def is_file(path: Path, content: Content) -> bool:
    """Whether a file holds just that."""
    try:
        facts = os.lstat(path)
        # A pipe would never end, and what is a link may be one.
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != content.size:
            return False
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == content.sha256
    except OSError:
        return False


def _download(layout: Layout, bucket: Bucket, content: Content, path: Path) -> None:
    is_whole = False
    with suppress(ObjectChangedError):
        bucket.download(content.key, path, content.size, layout.modes)
        is_whole = is_file(path, content)
    if not is_whole:
        raise ObjectStorageError(
            bucket.url,
            f"{content.key} is not what was published; {_BRING_BACK}",
        )


def small_files(layout: Layout) -> Iterator[str]:
    """Small files that stand where a publish puts them."""
    for tier in sorted(layout.tiers - {layout.cache.name}):
        for folder, _, names in os.walk(layout.data / tier):
            for name in names:
                below = os.path.relpath(os.path.join(folder, name), layout.data)
                if layout.is_published(below):
                    yield below


def _months(names: Iterable[str]) -> Iterator[Key]:
    """The data types and months of the manifests among files."""
    for name in names:
        top, _, below = name.partition("/")
        if top == "manifests":
            yield _of_manifest(below)


def _of_manifest(below: str) -> Key:
    data_type, _, name = below.partition("/")
    return data_type, date(int(name[:4]), int(name[5:7]), 1)


def _months_of(layout: Layout, names: Iterable[str]) -> Iterator[Key]:
    """The data types and months of the partitions among files."""
    for name in names:
        top, _, below = name.partition("/")
        key = parse_partition(below) if top == layout.cache.name else None
        if key is not None:
            yield key.data_type, key.month


def _stale(
    layout: Layout,
    files: dict[str, Content],
    staged: dict[str, Path],
    changed: set[Key] | None,
) -> list[Path]:
    """Partitions that are here and are no longer what is published.

    Args:
        changed: only of these data types and months; None: of all.
    """
    if changed is not None and not changed:
        return []
    named: Published = {}
    for name in files:
        top, _, below = name.partition("/")
        if top == "manifests" and (changed is None or _of_manifest(below) in changed):
            named |= published(layout, name, staged.get(name, layout.data / name))
    found = []
    for path in partition_paths(layout.cache):
        below = path.relative_to(layout.cache).as_posix()
        key = parse_partition(below)
        if key is None or (changed is not None and (key.data_type, key.month) not in changed):
            continue
        due = named.get(below)
        if due is None or not is_file(path, Content(due[1], due[0])):
            found.append(path)
    return found


def sizes(layout: Layout) -> dict[str, int]:
    """The objects that hold contents: bytes by SHA-256; where a folder is all there is: none.

    Raises:
        ObjectStorageError: they cannot be listed.
    """
    if layout.tier is None:
        return {}
    from warehouse.objects.bucket import bucket_of  # a folder alone needs no client

    listed = bucket_of(layout.tier).list(generation.OBJECTS)
    return {one.key.removeprefix(generation.OBJECTS): one.size for one in listed}


def objects_amiss(layout: Layout, objects: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """What keeps other machines from bringing the newest generation, and what is wrong.

    Small files of the one that is here whose objects the bucket has lost; or what names them all.

    Args:
        objects: what there is; see `sizes`.
    """
    if layout.tier is None:
        return
    from warehouse.objects.bucket import bucket_of  # a folder alone needs no client

    bucket, known = bucket_of(layout.tier), generation.record(layout)
    newest = generation.current(bucket)
    name = os.path.relpath(layout.generation, layout.data)
    if newest is None and known is not None:
        yield name, f"{generation.CURRENT}, which says what was published last, is gone"
    elif newest is not None and bucket.head(newest.key) is None:
        yield name, f"{newest.key}, which names all there is, is missing in the bucket"
    for name, content in known.files.items() if known is not None else ():
        problem = object_problem(objects.get(content.sha256), content.size)
        if problem is not None:
            yield name, problem


def object_problem(size: int | None, due: int) -> str | None:
    """What is wrong with an object of so many bytes, None: that is not there; None: nothing."""
    if size is None:
        return "its object is missing in the bucket"
    return None if size == due else f"its object has {size:,} bytes, the catalog says {due:,}"


def published(layout: Layout, name: str, manifest: Path | bytes) -> Published:
    """The partitions that a manifest names.

    Raises:
        DamagedCatalogError: it is none.
    """
    try:
        content = manifest if isinstance(manifest, bytes) else manifests.content_of(manifest)
        rows = manifests.parsed(content)
    except (OSError, ValueError) as error:
        problem = f"{name} cannot be read: {one_line(error, 200)}"
        raise DamagedCatalogError(layout.catalog, problem) from error
    columns = (rows[name].to_pylist() for name in ("file", "bytes", "sha256"))
    return {file: (size, sha256) for file, size, sha256 in zip(*columns, strict=True)}
