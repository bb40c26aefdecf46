"""Files on their way into the raw tier: what of them is safe on disk, across kills and restarts.

Beside `2024-01-02.csv.gz` stand, until it is whole, `2024-01-02.csv.gz.part` with its bytes and
`2024-01-02.csv.gz.part.json`, which says which of them can be trusted. Data is synced before the
state that speaks of it, so the state never promises what a power cut took.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Condition, Lock

from warehouse.core import small_files
from warehouse.core.paths import sync_folder
from warehouse.core.permissions import Modes
from warehouse.errors import StorageError, TransferError

CHUNK_BYTES = 8 << 20
"""How much one request asks for, and the most that is fetched again after a kill."""

_BLOCK = 1 << 20
_sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


def part_of(target: Path) -> Path:
    """Where a file's bytes are gathered until it is whole."""
    return target.with_name(f"{target.name}.part")


def state_of(target: Path) -> Path:
    """Which of the bytes of `part_of(target)` are safe."""
    return target.with_name(f"{target.name}.part.json")


def lock_of(target: Path) -> Path:
    """Held by the one who fetches the file."""
    return target.with_name(f"{target.name}.part.lock")


def superseded(target: Path) -> Path:
    """The version of a file that was in its place before, until the present one is published."""
    return target.with_name(f"{target.name}.old")


def put_in_place(part: Path, target: Path) -> None:
    """Give a whole file its name; what bore it before is kept as `superseded(target)`.

    Raises:
        OSError
    """
    if target.is_dir():
        # A rename would take the folder for a version of the file.
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(target))
    old = superseded(target)
    if target.exists() and not old.exists():
        try:
            os.link(target, old)
        except OSError:
            # No links on this disk: for a moment there is none.
            os.replace(target, old)
    os.replace(part, target)
    sync_folder(target.parent)


def storage_error(target: Path, error: OSError) -> StorageError:
    """What the disk's refusal means for `target`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            target, "the disk is full; make room, and the download goes on where it was"
        )
    return StorageError(target, f"cannot be written: {error.strerror or error}")


def is_in_the_way(error: BaseException | None) -> bool:
    """Whether the system says that something of another kind stands where a file is to go."""
    is_link = isinstance(error, OSError) and error.errno == errno.ELOOP
    return is_link or isinstance(error, NotADirectoryError | IsADirectoryError)


def in_the_way(url: str, key: str, target: Path, error: OSError) -> TransferError:
    """That something else stands where one file is to go: the disk takes others."""
    place = error.filename or target
    # The system says what is there, our own words what to do, too.
    todo = "" if error.errno is None else "; move away what is there"
    return TransferError(url, key, f"{place}: {error.strerror or error}{todo}")


class PartFile:
    """A file that is being put together from chunks, each written by one thread at a time.

    What an earlier process left is taken up again where it belongs to the same version of the
    file (`etag`, `size`), however it was cut; otherwise everything begins anew.

    Args:
        target: the name the file will bear once it is whole.
        etag, size: the version of the file, as the source lists it.
        cut: how large the next chunk is to be: it begins at the offset (the first), and so many
            bytes of the file are to come (the second).
        most_at_risk: so many bytes, at most, are lost by a kill.
        modes: of the files and the folder.

    Raises:
        StorageError: the disk refuses; so do the other methods.
    """

    def __init__(
        self,
        target: Path,
        etag: str,
        size: int,
        cut: Callable[[int, int], int],
        most_at_risk: int = CHUNK_BYTES,
        modes: Modes | None = None,
    ) -> None:
        self.target, self.etag, self.size = target, etag, size
        self._modes = modes or Modes()
        self._most_at_risk = most_at_risk
        lock = Lock()
        self._changed, self._arrived, self._saving = Condition(lock), Condition(lock), Lock()
        # The offset that `wait` waits for.
        self._awaited = 0
        self._unsaved = self._reserved = 0
        try:
            self._modes.make_folders(target.parent)
            self._file = self._modes.opener(part_of(target), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise storage_error(target, error) from error
        try:
            self._take_up(self._held_ranges(), cut)
            if self.received == 0:
                self._anew()
        except BaseException:
            os.close(self._file)
            raise

    @property
    def received(self) -> int:
        """Bytes of it that are here."""
        return sum(self._at) - sum(self._starts)

    def ranges(self) -> list[tuple[int, int]]:
        """The [start, end) of it that are here, in order; no two of them meet."""
        found: list[tuple[int, int]] = []
        for start, at in zip(self._starts, self._at, strict=True):
            if found and found[-1][1] == start < at:
                found[-1] = (found[-1][0], at)
            elif start < at:
                found.append((start, at))
        return found

    def missing(self) -> list[int]:
        """Chunks that are not wholly here, in order."""
        return [index for index, at in enumerate(self._at) if at < self._ends[index]]

    def at(self, index: int) -> int:
        """Up to which offset in the file the chunk is here."""
        return self._at[index]

    def end(self, index: int) -> int:
        """The offset in the file at which the chunk ends."""
        return self._ends[index]

    def chunk_at(self, offset: int) -> int:
        """The chunk that holds the byte at `offset`."""
        return bisect_right(self._starts, offset) - 1

    def wait(self, offset: int, size: int, unless: Callable[[], bool]) -> int:
        """Wait until the chunk that holds `offset` is here for `size` bytes, or to its end.

        One thread alone may wait.

        Args:
            unless: true once nothing more of it will come; who makes it so calls `wake`.

        Returns:
            How many bytes from `offset` on can be read: `size` at most, 0 at the file's end.
        """
        if offset >= self.size:
            return 0
        index = self.chunk_at(offset)
        until = min(offset + size, self._ends[index])
        if self._at[index] < until:
            with self._arrived:
                self._awaited = until
                self._arrived.wait_for(lambda: self._at[index] >= until or unless())
        return max(0, min(until, self._at[index]) - offset)

    def wake(self) -> None:
        """Let those look again who `wait`."""
        with self._arrived:
            self._arrived.notify_all()

    def write(self, index: int, data: bytes | memoryview) -> None:
        """Append to a chunk. What is not safe yet is never more than `most_at_risk` in all."""
        self._reserve(len(data))
        rest = memoryview(data)
        offset = self._at[index]
        try:
            while rest:
                written = os.pwrite(self._file, rest, offset)
                rest, offset = rest[written:], offset + written
        except OSError as error:
            raise storage_error(self.target, error) from error
        finally:
            with self._changed:
                before, self._at[index] = self._at[index], offset
                self._unsaved += offset - before
                self._reserved -= len(data)
                # Half of it: the other half may come in while the disk is at work.
                due = self._unsaved >= self._most_at_risk // 2
                self._changed.notify_all()
                if before < self._awaited <= offset:
                    self._arrived.notify_all()
        if due and self._saving.acquire(blocking=False):
            try:
                self._save()
            finally:
                self._saving.release()

    def _reserve(self, size: int) -> None:
        """Wait until so many bytes more may be at risk."""
        while True:
            with self._changed:
                # What others have reserved they will soon have written.
                self._changed.wait_for(lambda: self._fits(size) or self._unsaved > 0)
                if self._fits(size):
                    self._reserved += size
                    return
            self.save()

    def _fits(self, size: int) -> bool:
        at_risk = self._unsaved + self._reserved
        return at_risk == 0 or at_risk + size <= self._most_at_risk

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill the buffer with bytes that are here; returns how many there were."""
        try:
            return os.preadv(self._file, [buffer], offset)
        except OSError as error:
            raise StorageError(self.target, f"cannot be read back: {error.strerror}") from error

    def sha256(self) -> str:
        """Of the whole file."""
        digest = hashlib.sha256()
        buffer, offset = memoryview(bytearray(_BLOCK)), 0
        while count := self.read_into(buffer, offset):
            digest.update(buffer[:count])
            offset += count
        return digest.hexdigest()

    def save(self) -> None:
        """Make safe what is here, so that the next one goes on from it."""
        with self._saving:
            self._save()

    def forget(self) -> None:
        """Let the next one begin anew; the bytes stay for who wants to look at them."""
        with suppress(OSError):
            state_of(self.target).unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file, which is whole and has been checked, its name."""
        try:
            os.fsync(self._file)
            put_in_place(part_of(self.target), self.target)
            state_of(self.target).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(self.target, error) from error

    def discard(self) -> None:
        """Remove it: it belongs to a version of the file that is no more."""
        with suppress(OSError):
            state_of(self.target).unlink(missing_ok=True)
            part_of(self.target).unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._file)

    def _anew(self) -> None:
        # The state goes first: it must not speak of bytes that are gone.
        try:
            state_of(self.target).unlink(missing_ok=True)
            os.ftruncate(self._file, 0)
        except OSError as error:
            raise storage_error(self.target, error) from error

    def _take_up(self, held: list[tuple[int, int]], cut: Callable[[int, int], int]) -> None:
        """What is held stays in one piece, the gaps between are cut."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._at: list[int] = []
        rest = self.size - sum(end - start for start, end in held)
        offset = 0
        for start, end in (*held, (self.size, self.size)):
            while offset < start:
                until = min(start, offset + cut(offset, rest))
                self._starts.append(offset)
                self._ends.append(until)
                self._at.append(offset)
                rest -= until - offset
                offset = until
            if start < end:
                self._starts.append(start)
                self._ends.append(end)
                self._at.append(end)
                offset = end

    def _held_ranges(self) -> list[tuple[int, int]]:
        """The [start, end) that an earlier process made safe, in order."""
        try:
            state = small_files.load_json(state_of(self.target))
            version = (state["etag"], state["size"])
            held = [(int(start), int(end)) for start, end in state["received"]]
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return []
        there = os.fstat(self._file).st_size
        if version != (self.etag, self.size) or there > self.size:
            return []
        offset = 0
        for start, end in held:
            if not offset <= start < end <= there:
                return []
            offset = end
        return held

    def _save(self) -> None:
        with self._changed:
            received, saved = self.ranges(), self._unsaved
        state = {"etag": self.etag, "size": self.size, "received": received}
        path = state_of(self.target)
        new = path.with_name(f"{path.name}.new")
        try:
            _sync_data(self._file)
            with open(new, "w", encoding="utf-8", opener=self._modes.opener) as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path)
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise storage_error(self.target, error) from error
        with self._changed:
            self._unsaved -= saved
            self._changed.notify_all()
