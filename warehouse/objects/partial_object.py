"""An object of which this machine has some ranges: what is not here is fetched when it is read.

Its bytes stand at their places in a sparse file, beside which a small one says which of them are
there (see `source.partfile`). Whoever fetches some holds the sparse file's lock while they are
written, not while they come, so that processes neither wait for each other's links nor take a hole
for data. Once all is there, and is what its name says, the file is an ordinary one.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from warehouse.core.permissions import Modes
from warehouse.core.process import Threads
from warehouse.errors import ObjectChangedError, ObjectStorageError, StorageError
from warehouse.objects.ranges import Range, cut, joined, missing
from warehouse.source.partfile import PartFile, part_of, state_of, storage_error

GAP_BYTES = 1 << 20
"""What lies between two ranges is fetched along if it is no more: a request costs as much."""
REQUEST_BYTES = 8 << 20
"""What is larger is fetched in several requests, side by side."""

_AT_ONCE = 16
_BLOCK_BYTES = 512


class Ranged(Protocol):
    """Where the bytes come from; see `Bucket`."""

    @property
    def url(self) -> str: ...

    def get_range(self, key: str, start: int, end: int, etag: str | None = None) -> bytes: ...


class PartialObject:
    """One object; a file that pyarrow can read from (`pa.PythonFile`). Safe for many threads.

    Args:
        bucket: gives the bucket; it is asked for where something is missing.
        key, size, sha256: of the object, whose content never changes.
        target: where it lies once it is whole; until then it is beside it, see `part_of`.
        modes: of the files and the folder.

    Attributes:
        starts: where each of its row groups begins, and where the last ends; empty: nobody knows.
        came: bytes that were fetched for it.

    Raises:
        StorageError: the disk refuses; so do the other methods.
    """

    def __init__(
        self,
        bucket: Callable[[], Ranged],
        key: str,
        size: int,
        sha256: str,
        target: Path,
        modes: Modes | None = None,
    ) -> None:
        self.key, self.size, self.sha256, self.target = key, size, sha256, target
        self.closed = False
        self.starts: list[int] = []
        self.came = 0
        self._bucket, self._modes = bucket, modes or Modes()
        self._place = 0
        self._lock = threading.Lock()
        self._descriptor, self._held = -1, list[Range]()
        self._take_up()

    @property
    def held(self) -> list[Range]:
        """Which of its bytes are here."""
        return self._held

    @property
    def is_whole(self) -> bool:
        return self._held == [(0, self.size)]

    def requests(self, wanted: Iterable[Range]) -> list[Range]:
        """What is to be asked for so that all that is wanted is here.

        A gap that is small is asked for along with what lies around it.
        """
        return cut(joined(missing(wanted, self._held), GAP_BYTES), REQUEST_BYTES)

    def fetch(self, start: int, end: int) -> None:
        """Bring the bytes [start, end), with one request.

        Raises:
            ObjectMissingError: the object is not there any more.
            ObjectStorageError: it cannot be had, or all of it is here and is not what was written.
        """
        try:
            data = self._bucket().get_range(self.key, start, end)
        except ObjectChangedError:
            raise ObjectStorageError(
                self._bucket().url,
                f"{self.key} is not what was published: it is of another size; make it anew with:"
                " warehouse verify --repair",
            ) from None
        if len(data) != end - start:
            raise ObjectStorageError(
                self._bucket().url,
                f"{len(data):,} bytes of {self.key} came where {end - start:,} were asked for",
            )
        self._take_up(start, data)
        self.came += len(data)

    def bring(self, wanted: Iterable[Range]) -> None:
        """Bring what is missing of all that is wanted; raises what `fetch` does."""
        side_by_side(partial(self.fetch, *one) for one in self.requests(wanted))

    def bring_groups(self, groups: range) -> None:
        """The same of some row groups, where it is known where they stand."""
        if self.starts:
            self.bring([(self.starts[groups.start], self.starts[groups.stop])])

    def read_at(self, offset: int, count: int) -> bytes:
        """So many bytes from an offset on; fewer at the end. What is not here is fetched."""
        end = min(offset + count, self.size)
        if offset >= end:
            return b""
        while True:
            with self._lock:
                if not missing([(offset, end)], self._held):
                    return self._read(offset, end)
            self.bring([self._widened(offset, end)])

    def _read(self, offset: int, end: int) -> bytes:
        try:
            data = os.pread(self._descriptor, end - offset, offset)
        except OSError as error:
            raise StorageError(self.target, f"cannot be read: {error.strerror}") from error
        if len(data) < end - offset:
            raise StorageError(self.target, "is shorter than what was written to it")
        return data

    def _widened(self, start: int, end: int) -> Range:
        """The row groups that the bytes are of: a column is hardly ever read alone."""
        inside = [place for place in self.starts if place <= start]
        behind = [place for place in self.starts if place >= end]
        return (inside[-1], behind[0]) if inside and behind else (start, end)

    def discard(self) -> None:
        """Forget what is here: it is damaged. Whoever reads it now goes on reading it."""
        with self._alone() as stood:
            # In this order: of a file that is gone no state is believed.
            for path in (stood, self.target, state_of(self.target)):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        self._take_up()

    # What pyarrow asks of a file

    def read(self, count: int = -1) -> bytes:
        data = self.read_at(self._place, self.size if count < 0 else count)
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        """Let go of the file; it may be done twice."""
        with self._lock:
            self.closed = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor, self._held = -1, []

    # The sparse file

    def _take_up(self, start: int = 0, data: bytes = b"") -> None:
        """Write what has come, and see what is here, from whomever."""
        try:
            if self._take_up_whole():
                return
            with self._alone() as path:
                if self._take_up_whole():
                    path.unlink(missing_ok=True)
                    return
                part = PartFile(
                    self.target,
                    self.sha256,
                    self.size,
                    _at(start, start + len(data)),
                    modes=self._modes,
                )
                try:
                    self._write(part, start, data)
                    self._use(path, part.ranges())
                    if not part.missing():
                        self._finish(part)
                finally:
                    part.close()
        except OSError as error:
            raise storage_error(self.target, error) from error

    def _write(self, part: PartFile, start: int, data: bytes) -> None:
        end, rest = start + len(data), memoryview(data)
        for index in part.missing():
            low, high = part.at(index), part.end(index)
            if start <= low < high <= end:
                # What another process has written meanwhile is the same.
                part.write(index, rest[low - start : high - start])
        if data:
            part.save()

    def _finish(self, part: PartFile) -> None:
        """Give the file its name, now that all of it is here.

        Raises:
            ObjectStorageError: it is not what its name says. What came is forgotten.
        """
        if part.sha256() == self.sha256:
            part.finish()
            return
        part.discard()
        raise ObjectStorageError(
            self._bucket().url, f"{self.key} came as something else than its name says; ask again"
        )

    def _take_up_whole(self) -> bool:
        """Whether the file has its name already, and with it its bytes."""
        with suppress(FileNotFoundError):
            if os.stat(self.target).st_size == self.size:
                self._use(self.target, [(0, self.size)])
                return True
        return False

    def _use(self, path: Path, held: list[Range]) -> None:
        """Read from this file from now on."""
        descriptor = self._modes.opener(path, os.O_RDONLY)
        with suppress(PermissionError):
            # Whoever makes room goes by it.
            os.utime(descriptor, ns=(time.time_ns(), os.fstat(descriptor).st_mtime_ns))
        with self._lock:
            descriptor, self._descriptor = self._descriptor, descriptor
            self._held = held
        if descriptor >= 0:
            os.close(descriptor)

    @contextmanager
    def _alone(self) -> Iterator[Path]:
        """Hold the lock of the sparse file that stands at its place, which is made if need be."""
        self._modes.make_folders(self.target.parent)
        path = part_of(self.target)
        while True:
            descriptor = self._modes.opener(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # Who held it before may have finished it, or thrown it away.
                if _is_at(descriptor, path):
                    yield path
                    return
            finally:
                os.close(descriptor)


def kept_in(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """What is here of objects: when it was used (nanoseconds), its bytes on the disk, where."""
    for path in folder.glob("*/*"):
        if path.name.endswith((".part.json", ".part.json.new")):
            continue
        with suppress(OSError):
            facts = os.lstat(path)
            yield facts.st_atime_ns, facts.st_blocks * _BLOCK_BYTES, path


def remove(path: Path) -> None:
    """Remove what `kept_in` told; who reads it now goes on reading it.

    Raises:
        OSError: it cannot be removed, or some of it is just being written.
    """
    if not path.name.endswith(".part"):
        path.unlink()
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(descriptor, path):
            # In this order: of a file that is gone no state is believed.
            path.unlink()
            path.with_name(f"{path.name}.json").unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def side_by_side(tasks: Iterable[Callable[[], None]]) -> None:
    """Do them all, several at once; what one raises ends those that have not begun."""
    listed = list(tasks)
    if len(listed) < 2:
        for task in listed:
            task()
        return
    pool = Threads(min(len(listed), _AT_ONCE), "ranges")
    try:
        for done in [pool.submit(task) for task in listed]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _at(start: int, end: int) -> Callable[[int, int], int]:
    """Cuts what is to come so that [start, end) is chunks of its own."""

    def cut_there(offset: int, rest: int) -> int:
        if offset < start:
            return start - offset
        return end - offset if offset < end else max(rest, 1)

    return cut_there
