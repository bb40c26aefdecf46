"""Files on their way into the raw tier: what of them is safe on disk, across kills and restarts.

Beside `2024-01-02.csv.gz` stand, until it is whole, `2024-01-02.csv.gz.part` with its bytes and
`2024-01-02.csv.gz.part.json`, which says which of them can be trusted. Data is synced before the
state that speaks of it, so the state never promises what a power cut took.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Condition, Lock

from warehouse.errors import StorageError
from warehouse.modes import Modes

CHUNK_BYTES = 8 << 20
"""How much one request asks for, and the most that is fetched again after a kill."""

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
    old = superseded(target)
    if target.exists() and not old.exists():
        try:
            os.link(target, old)
        except OSError:
            # No links on this disk: for a moment there is none.
            os.replace(target, old)
    os.replace(part, target)
    # Makes the renames survive a power cut.
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(target: Path, error: OSError) -> StorageError:
    """What the disk's refusal means for `target`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            target, "the disk is full; make room, and the download goes on where it was"
        )
    return StorageError(target, f"cannot be written: {error.strerror or error}")


def check_space(wanted: Sequence[tuple[Path, int]]) -> None:
    """Raises StorageError where the disk has no room for all these (target, bytes).

    What is there of them already, whole or in part, is not counted again.
    """
    if not wanted:
        return
    folder = wanted[0][0].parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    need = sum(size for _, size in wanted)
    if need > free:
        # Only now, as it looks at every file.
        need -= sum(min(size, _held(target)) for target, size in wanted)
    if need > free:
        raise StorageError(
            folder,
            f"{need:,} bytes are to be fetched and {free:,} are free; make room, ask for fewer"
            " sessions, or set storage.raw_data_dir to a larger disk",
        )


def _held(target: Path) -> int:
    try:
        return part_of(target).stat().st_blocks * 512
    except OSError:
        return 0


class PartFile:
    """A file that is being put together from chunks, each written by one thread at a time.

    What an earlier process left is taken up again where it belongs to the same version of the
    file (`etag`, `size`) and was cut into the same chunks; otherwise everything begins anew.

    Args:
        target: the name the file will bear once it is whole.
        etag, size: the version of the file, as the source lists it.
        chunk_bytes: the size of a chunk; the last one may be shorter.
        modes: of the files and the folder.

    Raises:
        StorageError: the disk refuses; so do the other methods.
    """

    def __init__(
        self,
        target: Path,
        etag: str,
        size: int,
        chunk_bytes: int = CHUNK_BYTES,
        modes: Modes | None = None,
    ) -> None:
        self.target, self.etag, self.size = target, etag, size
        self._modes = modes or Modes()
        self._chunk_bytes = chunk_bytes
        self._changed = Condition()
        self._saving = Lock()
        self._unsaved = self._reserved = 0
        try:
            self._modes.make_folders(target.parent)
            self._file = self._modes.opener(part_of(target), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise storage_error(target, error) from error
        try:
            self._at = self._resumed()
            if self.received == 0:
                self._anew()
        except BaseException:
            os.close(self._file)
            raise

    @property
    def received(self) -> int:
        """Bytes of it that are here."""
        return sum(at - index * self._chunk_bytes for index, at in enumerate(self._at))

    def missing(self) -> list[int]:
        """Chunks that are not wholly here, in order."""
        return [index for index, at in enumerate(self._at) if at < self.end(index)]

    def at(self, index: int) -> int:
        """Up to which offset in the file the chunk is here."""
        return self._at[index]

    def end(self, index: int) -> int:
        """The offset in the file at which the chunk ends."""
        return min((index + 1) * self._chunk_bytes, self.size)

    def chunk_at(self, offset: int) -> int:
        """The chunk that holds the byte at `offset`."""
        return offset // self._chunk_bytes

    def write(self, index: int, data: bytes) -> None:
        """Append to a chunk. What is not safe yet is never more than a chunk in all."""
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
                self._unsaved += offset - self._at[index]
                self._at[index] = offset
                self._reserved -= len(data)
                # Half a chunk: the other half may come in while the disk is at work.
                due = self._unsaved >= self._chunk_bytes // 2
                self._changed.notify_all()
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
        return at_risk == 0 or at_risk + size <= self._chunk_bytes

    def read(self, offset: int, size: int) -> bytes:
        """Bytes that are here."""
        try:
            return os.pread(self._file, size, offset)
        except OSError as error:
            raise StorageError(self.target, f"cannot be read back: {error.strerror}") from error

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
        with self._changed:
            self._at = list(range(0, self.size, self._chunk_bytes))
            self._unsaved = 0

    def _resumed(self) -> list[int]:
        starts = list(range(0, self.size, self._chunk_bytes))
        try:
            state = json.loads(state_of(self.target).read_text("utf-8"))
            version = (state["etag"], state["size"], state["chunk_bytes"])
            at = [int(offset) for offset in state["received_to"]]
        except (OSError, ValueError, KeyError, TypeError):
            return starts
        if version != (self.etag, self.size, self._chunk_bytes) or len(at) != len(starts):
            return starts
        held = os.fstat(self._file).st_size
        for index, (start, offset) in enumerate(zip(starts, at, strict=True)):
            if not start <= offset <= self.end(index) or (offset > start and offset > held):
                return starts
        return at

    def _save(self) -> None:
        with self._changed:
            at, saved = list(self._at), self._unsaved
        state = {
            "etag": self.etag,
            "size": self.size,
            "chunk_bytes": self._chunk_bytes,
            "received_to": at,
        }
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
