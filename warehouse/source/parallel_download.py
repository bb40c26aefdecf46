"""Fetching files from an S3 server: in chunks, many at a time, whole or not at all."""

from __future__ import annotations

import io
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from warehouse.core.config import DownloadConfig
from warehouse.core.permissions import Modes
from warehouse.errors import (
    DamagedInTransitError,
    RawFileError,
    SourceError,
    StorageError,
    TransferError,
)
from warehouse.source.connections import Connections
from warehouse.source.etag_check import EtagCheck, Verdict, check, parts_of, read_into
from warehouse.source.partfile import PartFile, in_the_way, is_in_the_way, lock_of, storage_error
from warehouse.source.retry import Retry, TransientError
from warehouse.source.s3client import Body, ReplacedError, S3Server
from warehouse.source.transfer import Fetched, SourceObject, StoppedError

_READ = 1 << 18
# An attempt that brings so much is none that failed: a link that breaks every minute is still one.
_PROGRESS = 1 << 16
_MAX_VERSIONS = 5
# How often, at most, chunks are halved. More costs requests, and gains little.
_HALVINGS = 3


@dataclass
class Counts:
    """What the transfers of a source have cost so far.

    Attributes:
        bytes: received in bodies, those that were fetched again included.
        requests: GETs of a piece of a file.
        retries: pieces asked for again, after a failure of the connection or the server.
        refetched: files fetched again, because they were damaged or replaced meanwhile.
    """

    bytes: int = 0
    requests: int = 0
    retries: int = 0
    refetched: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, bytes_: int = 0, requests: int = 0, retries: int = 0, again: int = 0) -> None:
        with self._lock:
            self.bytes += bytes_
            self.requests += requests
            self.retries += retries
            self.refetched += again


class _Meter:
    """Tells a file's progress, no byte twice however often it is fetched, and how long it takes."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell, self._lock = tell, threading.Lock()
        self._here = self._told = 0
        self._began: float | None = None

    def start(self) -> None:
        """It is its turn: connections are busy with other files until then."""
        with self._lock:
            self._began = self._began or time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began if self._began is not None else 0.0

    def add(self, count: int) -> None:
        with self._lock:
            self._here += count
            new = max(0, self._here - self._told)
            self._told += new
        if new:
            self._tell(new)

    def restart(self) -> None:
        with self._lock:
            self._here = 0


class _Job:
    """One version of a file on its way."""

    def __init__(self, item: SourceObject, part: PartFile, meter: _Meter, rank: int) -> None:
        self.item, self.part, self.meter, self.rank = item, part, meter, rank
        self.admitted = threading.Event()
        self.stop = threading.Event()
        self.is_encrypted = False
        self._lock = threading.Lock()
        self._bodies: set[Body] = set()

    @contextmanager
    def reading(self, body: Body) -> Iterator[None]:
        self.admitted.set()
        with self._lock:
            self._bodies.add(body)
        try:
            yield
        finally:
            with self._lock:
                self._bodies.discard(body)

    def give_up(self) -> None:
        self.stop.set()
        with self._lock:
            for body in self._bodies:
                body.abort()


class Fetcher:
    """Fetches files over a bounded number of connections; `close` it in the end.

    `fetch` may be called from many threads. The chunks of all files share the connections, those
    of the file with the smallest rank go first: it is here before the others, however many come.

    Args:
        total: bytes of all files that will be asked for; about.
        chunk_bytes: the most that one request asks for, and that a kill may lose of a file.
        tell: is told of bytes as they come in, from any thread.
        modes: of the files and folders that are made.
    """

    def __init__(
        self,
        server: S3Server,
        settings: DownloadConfig,
        counts: Counts,
        *,
        total: int,
        chunk_bytes: int,
        first_pause: float,
        tell: Callable[[int], None],
        modes: Modes | None = None,
    ) -> None:
        self._modes = modes or Modes()
        self._server, self._settings, self._counts = server, settings, counts
        self._chunk_bytes, self._first_pause, self._tell = chunk_bytes, first_pause, tell
        self._uncut, self._cutting = total, threading.Lock()
        self._stop = threading.Event()
        self._retry = Retry(settings.retry_attempts, first_pause, lambda: counts.add(retries=1))
        self._connections = Connections(settings.concurrent_downloads)
        self._jobs: set[_Job] = set()

    def close(self) -> None:
        """Stop, and wait until nothing is under way any more."""
        self.stop()
        self._connections.close()

    def stop(self) -> None:
        """Let all that is under way end soon; what has come in is kept for the next time."""
        self._stop.set()
        for job in list(self._jobs):
            job.give_up()

    def fetch(self, item: SourceObject, target: Path, rank: int = 0) -> Fetched:
        """Bring a file to `target`, which never names one that is not whole and checked.

        Args:
            rank: among the files that are fetched at the same time.

        Returns:
            What came: a newer version than `item`, where that was replaced meanwhile; or that it
            is damaged at the vendor: then what came lies at `part_of(target)`.

        Raises:
            SourceError: it is not to be had, something else stands in its place, or the server is
                not to be spoken to.
            DamagedInTransitError: it came, but never as it is there; see `part_of(target)`.
            StorageError: the disk refuses.
            StoppedError: `stop` was called.
        """
        lock = FileLock(lock_of(target), mode=self._modes.file)
        try:
            self._modes.make_folders(target.parent)
            lock.acquire(cancel_check=self._stop.is_set)
        except Timeout:
            raise StoppedError from None
        except OSError as error:
            if is_in_the_way(error):
                raise in_the_way(self._server.url, item.key, target, error) from error
            raise storage_error(target, error) from error
        try:
            return self._fetch(item, target, rank)
        except StorageError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and is_in_the_way(cause):
                raise in_the_way(self._server.url, item.key, target, cause) from cause
            raise
        except TransientError as error:
            times = self._settings.retry_attempts + 1
            raise TransferError(
                self._server.url,
                item.key,
                f"{error.problem} ({times} times); what came is kept, try again later",
            ) from None
        finally:
            # Removed while it is held: who waits for it sees that, and makes it anew.
            with suppress(OSError):
                lock_of(target).unlink(missing_ok=True)
            lock.release()

    def _fetch(self, item: SourceObject, target: Path, rank: int) -> Fetched:
        meter, cut, listed = _Meter(self._tell), self._cut(item.size), item
        if self._is_there(item, target):
            meter.add(item.size)
            return Fetched(item, vouched_by="etag")
        # The SHA-256 of what came before, and was not what its ETag says.
        doubtful: str | None = None
        for _ in range(_MAX_VERSIONS):
            part = PartFile(target, item.etag, item.size, cut, self._chunk_bytes, self._modes)
            try:
                verdict = self._filled(part, item, meter, rank)
            except ReplacedError:
                part.discard()
                doubtful = None
                item = self._newest(item, target)
            else:
                if verdict.good:
                    part.finish()
                    vouched_by = "etag" if verdict.same else "gzip"
                    return self._told(Fetched(item, None, meter.seconds, vouched_by), listed)
                came = None if verdict.same else part.sha256()
                # The same bytes twice, each time from the first on: that is what the server has,
                # and its ETag is no MD5 of them.
                is_repeated = came is not None and came == doubtful
                if is_repeated and verdict.problem is None:
                    part.finish()
                    return self._told(Fetched(item, None, meter.seconds, "repeat"), listed)
                part.forget()
                problem = verdict.problem or "its bytes are not those that its ETag was made of"
                # A bad link may do the same harm twice: an ETag that may be an MD5 outweighs a gzip
                # that is no whole one.
                if verdict.same or (is_repeated and verdict.same is None):
                    vouched_by = "etag" if verdict.same else "repeat"
                    at_vendor = RawFileError(target, f"{problem}, and so it is at the vendor")
                    return self._told(Fetched(item, at_vendor, vouched_by=vouched_by), listed)
                if doubtful is not None:
                    raise DamagedInTransitError(target, f"{problem}, fetched twice")
                doubtful = came
            finally:
                part.close()
            meter.restart()
            self._counts.add(again=1)
        raise TransferError(self._server.url, item.key, "it is replaced again and again")

    def _newest(self, item: SourceObject, target: Path) -> SourceObject:
        """The version that is there now; nobody has looked yet whether there is room for it."""
        newest = self._retry(partial(self._server.head, item.key), self._stop)
        free = shutil.disk_usage(target.parent).free
        if newest.size > free:
            raise TransferError(
                self._server.url,
                item.key,
                f"it was replaced by one of {newest.size:,} bytes, and {free:,} are free",
            )
        return replace(item, size=newest.size, etag=newest.etag)

    def _told(self, fetched: Fetched, listed: SourceObject) -> Fetched:
        """What came, by the ETag that the list has of it.

        The lists of some servers have others than their files, and keep them: by the file's own it
        would look replaced, and be fetched again, each time that it is compared with the list.
        """
        came = fetched.item
        if came.etag == listed.etag or came.size != listed.size:
            return fetched
        try:
            found, _ = self._retry(partial(self._server.page, came.key, None), self._stop)
        except (SourceError, TransientError):
            return fetched
        if not any((one.key, one.etag) == (came.key, listed.etag) for one in found):
            return fetched
        # The one that is recorded is no MD5 of it.
        vouched_by = "gzip" if fetched.vouched_by == "etag" else fetched.vouched_by
        return replace(fetched, item=listed, vouched_by=vouched_by)

    def _cut(self, size: int) -> Callable[[int, int], int]:
        """How large a file's chunks are to be.

        Small enough that all connections have one of a file: it is here sooner than if each of them
        fetched a file of its own. The last ones of all get smaller and smaller, so that the
        connections are done at about the same time: with one file in equal chunks half of them may
        be idle half of the time. And the first one of a file is small: while the server has not
        begun to send the others of the file before, it takes a connection from them.
        """
        with self._cutting:
            self._uncut -= size
            others = max(0, self._uncut)
        connections = self._settings.concurrent_downloads

        def cut(_: int, rest: int) -> int:
            chunk, halvings = self._chunk_bytes, _HALVINGS
            if rest == size:
                return -(-chunk // (1 << halvings))
            while halvings and chunk * connections > min(size, rest + others):
                chunk, halvings = -(-chunk // 2), halvings - 1
            return chunk

        return cut

    def _filled(self, part: PartFile, item: SourceObject, meter: _Meter, rank: int) -> Verdict:
        meter.add(part.received)
        try:
            return self._fill(_Job(item, part, meter, rank))
        except ReplacedError:
            raise
        except Exception:
            # On a full disk this fails as what went before has; that is what there is to say.
            with suppress(StorageError):
                part.save() if part.received else part.discard()
            raise

    def _is_there(self, item: SourceObject, target: Path) -> bool:
        """Whether somebody (or we, before a kill) has brought this very version already."""
        try:
            with io.FileIO(target) as file:
                if os.fstat(file.fileno()).st_size != item.size:
                    return False
                verdict = check(read_into(file), self._etag_check(item))
        except OSError:
            return False
        return verdict.same is True and verdict.problem is None

    def _etag_check(self, item: SourceObject) -> EtagCheck:
        parts = parts_of(item.etag)
        part_size = self._server.part_size(item.key, item.etag) if parts is not None else None
        return EtagCheck(item.etag, item.size, part_size)

    def _fill(self, job: _Job) -> Verdict:
        """Fetch what is missing of a file and look at every byte of it, as it comes."""
        part = job.part
        chunks: dict[int, Future[None]] = {}
        self._jobs.add(job)
        try:
            for index in part.missing():
                if len(chunks) == 1:
                    # One knocks before the others come: a file that is not to be had costs one
                    # request.
                    _admitted(job, *chunks.values())
                if self._stop.is_set():
                    raise StoppedError
                chunks[index] = self._connections.submit(job.rank, partial(self._chunk, job, index))
                chunks[index].add_done_callback(lambda _: part.wake())

            def read(buffer: memoryview, offset: int) -> int:
                future = chunks.get(part.chunk_at(offset))
                here = part.wait(offset, len(buffer), future.done if future else lambda: True)
                if here == 0 and future is not None and offset < part.size:
                    future.result()
                return part.read_into(buffer[:here], offset) if here else 0

            verdict = check(read, self._etag_check(job.item))
            if verdict.same is False and job.is_encrypted:
                # Such an ETag is no MD5.
                return replace(verdict, same=None)
            return verdict
        except CancelledError:
            raise StoppedError from None
        finally:
            job.give_up()
            for future in chunks.values():
                future.cancel()
            wait(chunks.values())
            self._jobs.discard(job)

    def _chunk(self, job: _Job, index: int) -> None:
        job.meter.start()
        while job.part.at(index) < job.part.end(index):
            self._retry(lambda: self._some(job, index), job.stop)

    def _some(self, job: _Job, index: int) -> None:
        """As much of a chunk as one request brings."""
        part, item = job.part, job.item
        start = part.at(index)
        try:
            self._counts.add(requests=1)
            with (
                self._server.get(item.key, item.etag, item.size, start, part.end(index)) as body,
                job.reading(body),
            ):
                job.is_encrypted = job.is_encrypted or body.is_encrypted
                self._read(job, index, body)
        except TransientError as error:
            if job.stop.is_set():
                raise StoppedError from None
            if error.slow or part.at(index) - start < _PROGRESS:
                raise
            self._counts.add(retries=1)
            job.stop.wait(random.uniform(0, self._first_pause))

    def _read(self, job: _Job, index: int, body: Body) -> None:
        limit, least = self._settings.timeout_seconds, self._settings.min_bytes_per_second
        since, count = time.monotonic(), 0
        while data := body.read(_READ):
            if job.stop.is_set():
                raise StoppedError
            job.part.write(index, data)
            self._counts.add(bytes_=len(data))
            job.meter.add(len(data))
            count += len(data)
            elapsed = time.monotonic() - since
            if elapsed >= limit:
                if count < least * elapsed:
                    raise TransientError(f"only {count / elapsed:,.0f} bytes/s came in", slow=True)
                since, count = time.monotonic(), 0


def _admitted(job: _Job, first: Future[None]) -> None:
    """Wait until the server has begun to send; raises what kept it."""
    first.add_done_callback(lambda _: job.admitted.set())
    job.admitted.wait()
    if first.done():
        first.result()
