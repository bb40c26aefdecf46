"""The vendor's files in an S3 bucket: the same verbs as a folder has."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path

from warehouse.core.config import DownloadConfig
from warehouse.core.datatypes import DataType
from warehouse.core.paths import source_folder
from warehouse.core.permissions import Modes
from warehouse.errors import (
    CredentialsError,
    MissingFileError,
    NotInPlanError,
    RawFileError,
    SourceError,
    TransferError,
)
from warehouse.source.etag_check import EtagCheck, check, read_into
from warehouse.source.folder import (
    Complain,
    Misnamed,
    Unlisted,
    file_of,
    warn,
    without_doubles,
)
from warehouse.source.parallel_download import Counts, Fetcher
from warehouse.source.partfile import CHUNK_BYTES
from warehouse.source.refusals import Refusals
from warehouse.source.retry import Retry, TransientError
from warehouse.source.s3client import Listed, S3Server
from warehouse.source.transfer import SourceObject, Transfer

logger = logging.getLogger("warehouse")

_FIRST_PAUSE = 1.0
# The largest object that S3 has is of 50 TB.
_MAX_BYTES, _MAX_ETAG = 50 * 10**12, 256
# What begins alike: months or years. More keys than that are not the vendor's.
_MAX_KEYS, _MAX_EMPTY = 400_000, 20
_OF_ONE_FILE = (MissingFileError, NotInPlanError, TransferError, RawFileError)


class S3Source:
    """A bucket that holds `us_stocks_sip/…` on an S3 server.

    Credentials are looked for in POLYGON_S3_ACCESS_KEY and POLYGON_S3_SECRET, then where AWS
    tools look for them. Nothing is asked of the server before the first `list` or `fetch`.

    Args:
        url: s3://BUCKET or s3://BUCKET/FOLDER.
        endpoint: URL of the server.
        settings: how many connections, how patient.
        environ: in place of os.environ, for the first two names alone.
        chunk_bytes: bytes one request asks for.
        first_pause: seconds before the first repetition; doubled before each further one.
        modes: of the files and folders that are made.

    Raises:
        SourceError: the url or the endpoint is none.
        CredentialsError: half of the credentials is set.
    """

    def __init__(
        self,
        url: str,
        endpoint: str,
        settings: DownloadConfig | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        first_pause: float = _FIRST_PAUSE,
        modes: Modes | None = None,
    ) -> None:
        self._settings = settings or DownloadConfig()
        self._server = S3Server(
            url,
            endpoint,
            self._settings.concurrent_downloads,
            self._settings.timeout_seconds,
            environ,
        )
        self.url = self._server.url
        self.counts = Counts()
        self._has_listed = False
        self._chunk_bytes, self._first_pause = chunk_bytes, first_pause
        self._modes = modes or Modes()

    @property
    def answers(self) -> bool:
        """Whether the server has answered, whatever it said."""
        return self._server.reached

    @property
    def retries(self) -> int:
        """Requests that were made again, and files fetched again, so far."""
        return self.counts.retries + self.counts.refetched

    def list(
        self, kind: DataType, layout: str, first: date, last: date, complain: Complain = warn
    ) -> Iterator[SourceObject]:
        """Files of a data type that may hold sessions from first to last, both inclusive.

        Args:
            complain: is told of what cannot be taken; the rest goes on.

        Where only some months, or years, cannot be listed, that is raised after the others' files.

        Raises:
            CredentialsError: the server does not accept them.
            SourceError: there is no such bucket or server, or these may not be listed.
            TransferError: the server does not answer, however often it is asked.
        """
        folder = source_folder(kind, layout)
        prefixes = [f"{folder}/{below}" for below in _prefixes(layout, first, last)]
        # The first alone: where nothing is to be had, one request says so, or another about the
        # last month.
        at_once = self._settings.concurrent_downloads
        group, rest, is_second = prefixes[:1], prefixes[1:], False
        misnamed, taken = Misnamed(kind, layout, first, last), set[date]()
        problem: SourceError | None = None
        with ThreadPoolExecutor(at_once, "list") as pool:
            while group:
                for found in pool.map(self._tried, group):
                    if isinstance(found, SourceError):
                        if isinstance(found, CredentialsError) or not self.answers:
                            raise found
                        problem = problem or found
                        continue
                    self._has_listed = True
                    these = []
                    for item in found:
                        file = file_of(kind, layout, item.key.removeprefix(f"{folder}/"))
                        if file is None:
                            misnamed.see(item.key)
                            continue
                        if not file.overlaps(first, last):
                            continue
                        taken.add(file.day)
                        if (oddity := _oddity(item)) is not None:
                            complain(Unlisted(item.key, oddity, file, file.day, file.day))
                            continue
                        these.append(SourceObject(file, item.key, item.size, item.etag))
                    # Keys that mean the same file begin alike.
                    yield from without_doubles(these, complain)
                if self._has_listed:
                    group, rest = rest[:at_once], rest[at_once:]
                elif is_second or not rest:
                    break
                else:
                    group, rest, is_second = rest[-1:], rest[:-1], True
        misnamed.tell(taken, complain)
        if problem is not None:
            raise problem

    def names(self) -> Sequence[str]:
        """Keys of what is there; the first of them."""
        retry = Retry(self._settings.retry_attempts, self._first_pause, lambda: None)
        try:
            found, _ = retry(partial(self._server.page, "", None), threading.Event())
        except (SourceError, TransientError):
            return []
        return [item.key for item in found]

    def differs(self, item: SourceObject, path: Path) -> bool:
        """Whether the file at `path` holds other bytes than the source's; False: it is not there.

        Its ETag tells, so nothing is fetched; where that cannot tell, they are taken for the same.
        One that cannot be read counts as other.
        """
        try:
            with io.FileIO(path) as file:
                if os.fstat(file.fileno()).st_size != item.size:
                    return True
                verdict = check(read_into(file), EtagCheck(item.etag, item.size))
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return verdict.same is False

    def fetch(self, item: SourceObject, target: Path) -> SourceObject:
        """Bring one file to `target`, which never names one that is not whole and checked.

        Returns:
            What came: a newer version than `item`, where that was replaced meanwhile.

        Raises:
            SourceError: it is not to be had, or the server not to be spoken to.
            RawFileError: it came, but is damaged; what came lies at `part_of(target)`.
            StorageError: the disk has no room, or refuses.
        """
        (fetched,) = self.fetch_all([(item, target)])
        if fetched.problem is not None:
            raise fetched.problem
        return fetched.item

    def fetch_all(
        self,
        wanted: Sequence[tuple[SourceObject, Path]],
        tell: Callable[[int], None] = lambda count: None,
        ended: Callable[[], None] = lambda: None,
    ) -> Transfer:
        """Begin to bring many files, several at a time, those wanted first go first.

        A file that is not to be had does not keep the others. What has come in of one when the
        transfer is closed is kept, and the next call goes on there.

        Args:
            wanted: what, and where to.
            tell: is told of bytes as they come in; may be called from any thread.
            ended: is told once nothing more will come; called from any thread.

        What the transfer raises, SourceError: the server cannot be spoken to at all; StorageError:
        a disk has no room for all that goes there, of which nothing was asked then, or refuses.
        """
        refusals = Refusals()
        refusals.add_short([(target, item.size) for item, target in wanted])
        fetcher = Fetcher(
            self._server,
            self._settings,
            self.counts,
            total=sum(item.size for item, _ in wanted),
            chunk_bytes=self._chunk_bytes,
            first_pause=self._first_pause,
            tell=tell,
            modes=self._modes,
        )
        ranks = {item.file: rank for rank, (item, _) in enumerate(wanted)}
        return Transfer(
            lambda item, target: fetcher.fetch(item, target, ranks[item.file]),
            wanted,
            self._settings.concurrent_downloads,
            _OF_ONE_FILE,
            fetcher.stop,
            fetcher.close,
            ended,
            refusals,
        )

    def _tried(self, prefix: str) -> Sequence[Listed] | SourceError:
        try:
            return self._all(prefix)
        except SourceError as error:
            return error

    def _all(self, prefix: str) -> Sequence[Listed]:
        retry = Retry(
            self._settings.retry_attempts,
            self._first_pause,
            lambda: self.counts.add(retries=1),
        )
        found: list[Listed] = []
        token: str | None = None
        tokens: set[str] = set()
        empty = 0
        try:
            while True:
                more, token = retry(partial(self._server.page, prefix, token), threading.Event())
                found += more
                if token is None:
                    return found
                empty = 0 if more else empty + 1
                if token in tokens or empty > _MAX_EMPTY or len(found) > _MAX_KEYS:
                    raise SourceError(
                        self.url,
                        f"the list of {prefix} does not end ({len(found):,} keys so far);"
                        " check source.endpoint",
                    )
                tokens.add(token)
        except TransientError as error:
            times = self._settings.retry_attempts + 1
            raise TransferError(
                self.url, f"the list of {prefix}", f"{error.problem} ({times} times)"
            ) from None


def _oddity(item: Listed) -> str | None:
    """Why an object cannot be what the server says of it; None: it can."""
    if not 0 <= item.size <= _MAX_BYTES:
        return f"is listed with {item.size:,} bytes, which no object has"
    if not item.etag.isascii() or not item.etag.isprintable() or len(item.etag) > _MAX_ETAG:
        return "is listed with an ETag that is none"
    return None


def _prefixes(layout: str, first: date, last: date) -> Iterator[str]:
    """What the keys of these sessions begin with: months, or where a file is a day whole years."""
    year, month = first.year, first.month
    while (year, month) <= (last.year, last.month):
        if layout == "day" and month == 1 and year < last.year:
            yield f"{year:04}/"
            year += 1
            continue
        yield f"{year:04}/{month:02}/"
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
