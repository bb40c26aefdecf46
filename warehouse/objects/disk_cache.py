"""Partitions of a bucket on this machine's disk: brought when they are needed, within a bound.

They lie where those of a warehouse without a bucket do, so that whatever reads them need not know.
Several processes may do all this at once. Three things hold them apart, all beside the partitions:

- A lock. Whoever puts a file in place, or uses one that is there, holds it shared, for a moment;
  a publish, and whoever makes room, holds it alone.
- A file for each question that is being answered, held locked: it says since when.
- The access time of each partition, set here whenever a question uses it. What was used since the
  oldest question began is not removed; of the rest what was not used for the longest time goes
  first.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4
from weakref import finalize

from warehouse.core.paths import Layout, partition_paths
from warehouse.core.process import Threads
from warehouse.core.representation import Face
from warehouse.errors import ObjectChangedError, ObjectStorageError, StorageError
from warehouse.objects import partial_object

if TYPE_CHECKING:
    from warehouse.objects.bucket import Bucket

_AT_ONCE = 8
_PART = ".part"
_LOCK = "lock"
_FORGOTTEN_SECONDS = 24 * 3600
_MOMENT_NS = 10 * 10**9


class Wanted(NamedTuple):
    """A partition that a question reads."""

    path: Path
    bytes: int
    sha256: str


class OutdatedError(Exception):
    """Something was published meanwhile: what was to be brought is no longer what stands there."""


class _Questions(threading.local):
    """How deep in questions this thread is, and what holds the partitions, once any are used."""

    depth = 0
    hold: Hold | None = None


_questions = _Questions()


@contextmanager
def question(layout: Layout) -> Iterator[None]:
    """Keep what is used within the block, by this thread first, until the block ends."""
    if layout.tier is None:
        yield
        return
    _questions.depth += 1
    try:
        yield
    finally:
        _questions.depth -= 1
        if not _questions.depth and _questions.hold is not None:
            _questions.hold.close()
            _questions.hold = None


def keep_for_question(layout: Layout) -> None:
    """Keep what is used from now on until the question ends that this thread is in, if any."""
    if _questions.depth and _questions.hold is None:
        _questions.hold = Hold(layout)


class Hold:
    """Keeps whatever is used from now on, by anybody, until it is closed, or forgotten."""

    def __init__(self, layout: Layout) -> None:
        _make_reading(layout)
        path = layout.reading / f"{os.getpid()}-{uuid4().hex}"
        descriptor = layout.modes.opener(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        now = time.time_ns()
        os.utime(descriptor, ns=(now, now))
        self.close = finalize(self, _let_go, descriptor, path, os.getpid())


def _let_go(descriptor: int, path: Path, process: int) -> None:
    if os.getpid() == process:
        # A child of a fork has it open too, and its parent goes on.
        with suppress(OSError):
            path.unlink(missing_ok=True)
    os.close(descriptor)


def _make_reading(layout: Layout) -> None:
    """The folder of questions; neither it nor that of ranges is one where somebody else's lie."""
    for folder in (layout.reading, layout.partial):
        layout.check_own(folder)
    layout.modes.make_folder(layout.reading)


@contextmanager
def shelf(layout: Layout, *, alone: bool = False) -> Iterator[None]:
    """Hold the lock: shared, to use or to put in place; alone, to publish or to make room."""
    _make_reading(layout)
    descriptor = layout.modes.opener(layout.reading / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@dataclass(repr=False)
class Brought(Face):
    """Partitions that were asked for, and are on this disk now.

    Attributes:
        partitions, bytes: how many there are, and what they take.
        fetched: how many of them were not here before.
    """

    partitions: int = 0
    bytes: int = 0
    fetched: int = 0

    def _face(self) -> dict[str, Any]:
        return dict(vars(self))

    def __add__(self, other: Brought) -> Brought:
        """Both together."""
        return Brought(
            self.partitions + other.partitions,
            self.bytes + other.bytes,
            self.fetched + other.fetched,
        )


def bring(
    layout: Layout, wanted: Iterable[Wanted], is_current: Callable[[], bool] = lambda: True
) -> Brought:
    """See to it that partitions are here; where a folder is all there is, they are.

    Each is brought whole, to a name of its own, compared with its SHA-256 and put in place.

    Args:
        is_current: whether what is wanted is still what was published last; a writer, who holds
            the lock, need not ask.

    Returns:
        What that is; of a folder that is all there is, nothing.

    Raises:
        OutdatedError: it is not.
        ObjectStorageError: an object cannot be had, or is not what was published.
        StorageError: the disk refuses.
    """
    if layout.tier is None:
        return Brought()
    by_path = {one.path: one for one in wanted}
    found = Brought(len(by_path), sum(one.bytes for one in by_path.values()))
    if not by_path:
        return found
    try:
        try:
            keep_for_question(layout)
            with shelf(layout):
                missing = [one for one in by_path.values() if not _use(one)]
        except OSError as error:
            missing = [one for one in by_path.values() if not _use(one)]
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or missing:
                raise
        if not missing:
            return found
        # Whoever has a folder and no bucket need not wait for its client.
        from warehouse.objects.bucket import bucket_of

        bucket = bucket_of(layout.tier)

        def fetch(one: Wanted) -> None:
            _fetch(layout, bucket, one, is_current)

        if len(missing) == 1:
            fetch(missing[0])
        else:
            with Threads(_AT_ONCE, "bring") as pool:
                list(pool.map(fetch, missing))
        make_room(layout)
        found.fetched = len(missing)
        return found
    except OSError as error:
        place = error.filename or layout.cache
        raise StorageError(
            place, f"a partition cannot be brought: {error.strerror or error}"
        ) from error


def _use(one: Wanted) -> bool:
    """Whether a partition is here; if so it counts as just used."""
    try:
        facts = os.stat(one.path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if facts.st_size != one.bytes:
        return False
    with suppress(OSError):
        # Another user's can be read, and not be touched.
        os.utime(one.path, ns=(time.time_ns(), facts.st_mtime_ns))
    return True


def _fetch(layout: Layout, bucket: Bucket, one: Wanted, is_current: Callable[[], bool]) -> None:
    layout.modes.make_folders(one.path.parent)
    part = one.path.with_name(f".{one.path.name}.{uuid4().hex}{_PART}")
    from warehouse.objects.generation import key_of

    key = key_of(one.sha256)
    try:
        if not _taken(layout.partial_of(one.sha256), part):
            try:
                bucket.download(key, part, one.bytes, layout.modes)
            except ObjectChangedError:
                raise _is_other(bucket, one, "it is of another size") from None
        with open(part, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if found != one.sha256:
            raise _is_other(bucket, one, f"its SHA-256 is {found}")
        with shelf(layout):
            if not is_current():
                raise OutdatedError
            os.replace(part, one.path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _is_other(bucket: Bucket, one: Wanted, problem: str) -> ObjectStorageError:
    from warehouse.objects.generation import key_of

    told = f"{key_of(one.sha256)} is not what was published ({one.path.name}): {problem}; make it"
    return ObjectStorageError(bucket.url, f"{told} anew with: warehouse verify --repair")


def _taken(whole: Path, part: Path) -> bool:
    """Whether all ranges of it had come, so that it need not be fetched again."""
    try:
        os.rename(whole, part)
    except OSError:
        return False
    return True


def make_room(layout: Layout) -> int:
    """Remove partitions beyond the bound, those not used for the longest time first.

    Those that a question reads stay, however many they are. Nothing is removed before all of it is
    in the bucket, nor while a publish is under way.

    Returns:
        How many were removed.
    """
    tier = layout.tier
    if tier is None:
        return 0
    from warehouse.objects.generation import record

    listed = _listed(layout)
    if sum(size for _, size, _ in listed) <= tier.max_bytes or record(layout) is None:
        return 0
    removed = 0
    with shelf(layout, alone=True):
        if os.path.lexists(layout.journal):
            return 0
        since = _oldest_question(layout)
        listed = sorted(_listed(layout))
        total = sum(size for _, size, _ in listed)
        for used, size, path in listed:
            if total <= tier.max_bytes or used >= since:
                break
            with suppress(OSError):
                _remove(layout, path)
                removed += 1
                total -= size
    return removed


def _listed(layout: Layout) -> list[tuple[int, int, Path]]:
    """What is here of each partition: when it was used (nanoseconds), its bytes, where it is."""
    found = []
    for path in partition_paths(layout.cache):
        with suppress(OSError):
            facts = os.lstat(path)
            found.append((facts.st_atime_ns, facts.st_size, path))
    found.extend(partial_object.kept_in(layout.partial))
    return found


def _remove(layout: Layout, path: Path) -> None:
    if not _is_here(layout, path):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if path.is_relative_to(layout.partial):
        partial_object.remove(path)
    else:
        path.unlink()


def _is_here(layout: Layout, path: Path) -> bool:
    """Whether no link is on the way to a file, but for a whole shelf that stands elsewhere."""
    if path.is_relative_to(layout.partial):
        shelf = layout.partial
    else:
        shelf = layout.cache / path.relative_to(layout.cache).parts[0]
    place = os.path.join(os.path.realpath(shelf), path.parent.relative_to(shelf))
    return os.path.realpath(path.parent) == os.path.normpath(place)


def _oldest_question(layout: Layout) -> int:
    """When the oldest question began that is being answered (nanoseconds); else: now.

    What those left behind that were killed is removed.
    """
    oldest = time.time_ns()
    with os.scandir(layout.reading) as entries:
        for entry in entries:
            if entry.name == _LOCK:
                continue
            with suppress(OSError):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    began = os.fstat(descriptor).st_mtime_ns
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    oldest = min(oldest, began)
                else:
                    # One that was just made is locked in a moment.
                    if began > time.time_ns() - _MOMENT_NS:
                        oldest = min(oldest, began)
                    else:
                        os.unlink(entry.path)
                finally:
                    os.close(descriptor)
    return oldest


def is_part(below: str) -> bool:
    """Whether a file's name, its folders before it, is one that is being fetched."""
    name = below.rpartition("/")[2]
    return name.startswith(".") and name.endswith(_PART)


def clear_parts(layout: Layout) -> None:
    """Remove what killed processes left half fetched; hold the writer's lock."""
    since = time.time() - _FORGOTTEN_SECONDS
    for folder, _, names in os.walk(layout.cache):
        for name in names:
            if is_part(name):
                with suppress(OSError):
                    path = os.path.join(folder, name)
                    if os.lstat(path).st_mtime < since:
                        os.unlink(path)
