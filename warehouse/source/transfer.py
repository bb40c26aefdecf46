"""Files on their way from a source, on threads of their own; each is told of when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from types import TracebackType

from warehouse.core.paths import RawFile
from warehouse.errors import RawFileError, SourceError, StorageError
from warehouse.source.refusals import Refusals


@dataclass(frozen=True)
class SourceObject:
    """A file as the source lists it.

    Attributes:
        file: which file it is.
        key: its path in the source.
        size: its bytes.
        etag: changes whenever its content does.
    """

    file: RawFile
    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class Fetched:
    """What came of an attempt to fetch a file.

    Attributes:
        item: the version that came, which may be newer than the one that was asked for.
        problem: why it did not come; None: it did.
        seconds: from its first byte on until it was here, verified; 0: it was here before.
        vouched_by: what says that these are the source's bytes: "etag"; "gzip", its CRC and
            length, where the ETag is no MD5; "repeat", where they came twice and the ETag is said
            to be one; None: nothing had to.
    """

    item: SourceObject
    problem: SourceError | RawFileError | None = None
    seconds: float = 0.0
    vouched_by: str | None = None


class StoppedError(Exception):
    """The work is no longer wanted."""


def _nothing() -> None:
    return


class Transfer:
    """Brings files, in the order in which they are wanted, several at a time.

    It begins at once and goes on whether anybody looks or not. Iterate to be told of each file when
    it is done, in any order; whoever does so waits, and is one thread. What ends everything (the
    server cannot be spoken to at all) stops the others and is raised when all that had come has
    been told. So is a StorageError, which stops those alone that go to the same full disk, or into
    the same folder. `close` stops what is under way, waits until it has ended, and may be called
    twice; what has come by then is still told.

    Args:
        fetch: brings one file; called on any of the threads.
        wanted: what, and where to.
        threads: so many files at a time.
        of_one_file: errors of `fetch` that do not keep the other files.
        stop: lets each `fetch` that is under way end soon; called from any thread.
        close: called once nothing is under way any more.
        ended: told once nothing more will come; called from any thread.
        refusals: what disks and folders are known to refuse.

    Attributes:
        error: what ended everything, so far.
    """

    def __init__(
        self,
        fetch: Callable[[SourceObject, Path], Fetched],
        wanted: Sequence[tuple[SourceObject, Path]],
        threads: int,
        of_one_file: tuple[type[SourceError | RawFileError], ...],
        stop: Callable[[], None],
        close: Callable[[], None] = _nothing,
        ended: Callable[[], None] = _nothing,
        refusals: Refusals | None = None,
    ) -> None:
        self.error: BaseException | None = None
        self._refusals = refusals or Refusals()
        self._fetch, self._of_one_file = fetch, of_one_file
        self._stop, self._close, self._ended = stop, close, ended
        self._untold = self._under_way = len(wanted)
        self._is_stopped, self._lock = False, Lock()
        # Tells futures from the first to the last that was done.
        self._done: SimpleQueue[Future[Fetched]] = SimpleQueue()
        self._items: dict[Future[Fetched], SourceObject] = {}
        self._pool = ThreadPoolExecutor(threads, "file")
        if not wanted:
            ended()
        try:
            for item, target in wanted:
                future = self._pool.submit(self._one, item, target)
                self._items[future] = item
                future.add_done_callback(self._is_done)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Transfer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Transfer:
        return self

    def __next__(self) -> Fetched:
        while self._untold:
            outcome = self._told(self._done.get())
            if outcome is not None:
                return outcome
        self.close()
        error = self.error or self._refusals.error()
        if error is not None:
            raise error
        raise StopIteration

    def news(self) -> list[Fetched]:
        """What is done and was not told yet; waits for nothing and raises nothing."""
        found: list[Fetched] = []
        while True:
            try:
                outcome = self._told(self._done.get_nowait())
            except Empty:
                return found
            if outcome is not None:
                found.append(outcome)

    def close(self) -> None:
        """Stop what is under way, and wait until it has ended."""
        self._is_stopped = True
        self._stop()
        self._pool.shutdown(cancel_futures=True)
        self._close()

    def _one(self, item: SourceObject, target: Path) -> Fetched:
        # At once: a thousand files need not be refused one by one.
        if self._is_stopped or self._refusals.keep(target):
            raise StoppedError
        try:
            return self._fetch(item, target)
        except StorageError as error:
            self._refusals.add(target, error)
            raise

    def _is_done(self, future: Future[Fetched]) -> None:
        error = None if future.cancelled() else future.exception()
        harmless = (*self._of_one_file, StorageError, StoppedError)
        is_fatal = error is not None and not isinstance(error, harmless)
        with self._lock:
            if is_fatal and self.error is None:
                self.error = error
            self._under_way -= 1
            is_last = self._under_way == 0
        if is_fatal:
            self._is_stopped = True
            self._stop()
        self._done.put(future)
        if is_last:
            self._ended()

    def _told(self, future: Future[Fetched]) -> Fetched | None:
        """What came of a file; None: it was stopped, or what came of it is raised in the end."""
        self._untold -= 1
        item = self._items.pop(future)
        if future.cancelled():
            return None
        error = future.exception()
        if isinstance(error, self._of_one_file):
            return Fetched(item, error)
        return future.result() if error is None else None
