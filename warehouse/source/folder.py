"""Where the vendor's files come from: a folder laid out as the vendor's bucket."""

from __future__ import annotations

import filecmp
import hashlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import BinaryIO

from warehouse.core.datatypes import DataType
from warehouse.core.paths import (
    MAX_SYMBOL_BYTES,
    THE_SOURCES_OWN,
    RawFile,
    day_meant,
    is_same_folder,
    parse_raw_path,
    source_folder,
    walk,
)
from warehouse.core.permissions import Confines, Modes
from warehouse.errors import MissingFileError, SourceError
from warehouse.source.file_identity import Stamp
from warehouse.source.partfile import (
    in_the_way,
    is_in_the_way,
    part_of,
    put_in_place,
    storage_error,
)
from warehouse.source.transfer import Fetched, SourceObject, StoppedError, Transfer

logger = logging.getLogger("warehouse")

_BLOCK = 1 << 20
# Enough to see how a source is laid out.
_NAMES, _DEPTH = 5_000, 7


@dataclass(frozen=True)
class Unlisted:
    """What a source has and cannot be taken.

    Attributes:
        key: its path in the source.
        problem: why, in words that follow the key.
        file: which file it would be; None: a folder of files.
        first, last: days that it would hold, both inclusive.
        is_double: another key says the same, and counts.
        is_misnamed: its name, or its place, is that of no file of the vendor's.
    """

    key: str
    problem: str
    file: RawFile | None
    first: date
    last: date
    is_double: bool = False
    is_misnamed: bool = False


Complain = Callable[[Unlisted], None]


def warn(found: Unlisted) -> None:
    """Tell the log of what a source has and cannot be taken."""
    logger.warning("%r %s", found.key, found.problem)


def without_doubles(found: Iterable[SourceObject], complain: Complain) -> Iterator[SourceObject]:
    """The objects, of several keys that mean one file (`BCpC`, `BC%70C`) only one.

    The vendor's spelling counts; where it is not among them, the first in the order of keys does.
    """
    chosen: dict[RawFile, SourceObject] = {}
    left: list[SourceObject] = []
    for item in found:
        other = chosen.setdefault(item.file, item)
        if other is item or other.key == item.key:
            continue
        best = min(other, item, key=lambda each: (each.key != each.file.key, each.key))
        chosen[item.file] = best
        left.append(item if best is other else other)
    # Which one counts is known once all are.
    for item in left:
        problem = f"is left out: it means the same file as {chosen[item.file].key!r}, which counts"
        complain(Unlisted(item.key, problem, item.file, item.file.day, item.file.day, True))
    yield from chosen.values()


class Misnamed:
    """What a source has of days in other forms: gunzipped, half written, in another month's folder.

    Of a day whose file is there as it should be they are nobody's business.
    """

    def __init__(self, kind: DataType, layout: str, first: date, last: date) -> None:
        self._kind, self._is_of_days = kind, layout == "day"
        self._first, self._last = first, last
        self._keys: dict[date, str] = {}

    def see(self, key: str) -> None:
        """Take note of a key that is no file's."""
        day = day_meant(key) if self._is_of_days else None
        if day is not None and self._first <= day <= self._last:
            self._keys.setdefault(day, key)

    def tell(self, taken: Container[date], complain: Complain) -> None:
        """Tell of those of the days that are not taken."""
        for day, key in self._keys.items():
            if day not in taken:
                file = RawFile(self._kind.name, day)
                problem = f"is not named as the vendor's files are; looked for {file.key}"
                complain(Unlisted(key, problem, file, day, day, is_misnamed=True))


_FOLDER_MARK = "folder:"


def portable(etag: str | None) -> str | None:
    """The etag where it depends on the content alone (S3's), None where it is a folder's mark.

    A folder's files are marked by size and modification time, which a copy does not share: that
    must not find its way into the bytes of a partition.
    """
    return None if etag is None or etag.startswith(_FOLDER_MARK) else etag


def _mark(of: os.stat_result) -> str:
    return f"{_FOLDER_MARK}{of.st_size:x}-{of.st_mtime_ns:x}"


def vouches_for(etag: str | None, raw: Path) -> bool:
    """Whether the file in the raw tier is, as far as can be told, what the source has."""
    if etag is None or not os.path.exists(raw):
        return False
    return not etag.startswith(_FOLDER_MARK) or etag == _mark(raw.stat())


def file_of(kind: DataType, layout: str, below: str) -> RawFile | None:
    """The file at `below` its data type's folder; None where it is none that can be taken in.

    A name that is no text, or longer than a symbol can be, is left out: no disk could hold it
    under the name that it would get here.
    """
    file = parse_raw_path(kind.name, below)
    if file is None or (file.symbol is None) != (layout == "day"):
        return None
    if file.symbol is not None:
        try:
            fits = len(file.symbol.encode()) <= MAX_SYMBOL_BYTES
        except UnicodeEncodeError:
            fits = False
        if not fits:
            logger.warning("%r: no symbol has such a name; left out", below[:200])
            return None
    return file


class FolderSource:
    """A folder that holds `us_stocks_sip/…`, as `aws s3 sync` leaves it.

    Args:
        confines: what its files may be links to; None: anything. Those of a stranger's warehouse
            would bring whatever of the user's they name into what is the stranger's to read.

    Raises:
        SourceError: there is no such folder.
    """

    answers = True
    retries = 0
    """Requests that were made again: a folder asks once."""

    def __init__(
        self, folder: Path, modes: Modes | None = None, confines: Confines | None = None
    ) -> None:
        self.url = str(folder)
        self._folder, self._modes, self._confines = folder, modes or Modes(), confines
        try:
            is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
        except PermissionError as error:
            raise SourceError(self.url, "cannot be read: no permission") from error
        except OSError:
            is_folder = False
        if not is_folder:
            raise SourceError(self.url, "there is no such folder; set source.url to one")

    def list(
        self, kind: DataType, layout: str, first: date, last: date, complain: Complain = warn
    ) -> Iterator[SourceObject]:
        """Files of a data type that may hold sessions from first to last, both inclusive.

        Args:
            complain: is told of what cannot be taken; the rest goes on.
        """
        yield from without_doubles(self._list(kind, layout, first, last, complain), complain)

    def _list(
        self, kind: DataType, layout: str, first: date, last: date, complain: Complain
    ) -> Iterator[SourceObject]:
        folder = source_folder(kind, layout)
        misnamed, taken = Misnamed(kind, layout, first, last), set[date]()
        # A file of a month bears its first day.
        for entry in walk(self._folder / folder, first.replace(day=1), last, misnamed=True):
            key = f"{folder}/{entry.below}" if entry.below else folder
            if entry.is_folder:
                begin, end = entry.span
                if begin <= last and first <= end:
                    complain(Unlisted(key, entry.problem or "", None, begin, end))
                continue
            file = file_of(kind, layout, entry.below)
            if file is None:
                misnamed.see(key)
                continue
            if not file.overlaps(first, last):
                continue
            taken.add(file.day)
            if entry.stat is None:
                complain(Unlisted(key, entry.problem or "", file, file.day, file.day))
                continue
            if problem := self._leads_out(key):
                complain(Unlisted(key, problem, file, file.day, file.day))
                continue
            yield SourceObject(file, key, entry.stat.st_size, _mark(entry.stat))
        misnamed.tell(taken, complain)

    def _leads_out(self, key: str) -> str | None:
        """Why a file is not to be read, in words that follow its key; None: it may be."""
        return None if self._confines is None else self._confines.problem(self._folder / key)

    def holds(self, kind: DataType, layout: str) -> bool:
        """Whether it has a file of a data type, or what cannot be looked at and may be one."""
        for entry in walk(self._folder / source_folder(kind, layout)):
            if entry.is_folder or file_of(kind, layout, entry.below) is not None:
                return True
        return False

    def names(self) -> Sequence[str]:
        """Paths of what is there, folders that hold nothing with a `/` behind; the first few
        thousand.
        """
        found: list[str] = []
        for place, folders, files in os.walk(self._folder):
            below = os.path.relpath(place, self._folder)
            folders.sort()
            start = "" if below == "." else f"{below}/"
            found += [f"{start}{name}" for name in sorted(files)]
            if not folders and not files and start:
                found.append(start)
            if len(found) >= _NAMES or below.count(os.sep) >= _DEPTH:
                folders.clear()
        return found[:_NAMES]

    def is_copy(
        self,
        item: SourceObject,
        etag: str | None,
        size: int | None,
        sha256: str | None,
        path: Path,
    ) -> bool:
        """Whether the file only looks new: it was copied since, and has the bytes it had.

        Args:
            etag: the mark that it had; a server's, where it came from one.
            size: in bytes then, which a server's mark does not say.
            sha256: of its bytes then; None: those at `path` are compared.
        """
        if etag is None:
            return False
        is_marks = portable(etag) is None
        # The size stands before the first hyphen; a time before 1970 begins with one of its own.
        if is_marks and etag.partition("-")[0] != item.etag.partition("-")[0]:
            return False
        if not is_marks and size != item.size:
            return False
        source = self._folder / item.key
        try:
            if sha256 is None:
                return filecmp.cmp(source, path, shallow=False)
            with open(source, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def fetch_all(
        self,
        wanted: Sequence[tuple[SourceObject, Path]],
        tell: Callable[[int], None] = lambda count: None,
        ended: Callable[[], None] = lambda: None,
    ) -> Transfer:
        """Begin to put files where the raw tier wants them, one after the other.

        A file that cannot be read does not keep the others.

        Args:
            wanted: what, and where to.
            tell: is told of bytes that are done; called from another thread.
            ended: is told once nothing more will come; called from any thread.

        What the transfer raises, StorageError: files cannot be written.
        """
        stop = threading.Event()

        def fetch(item: SourceObject, target: Path) -> Fetched:
            began = time.monotonic()
            came = self.fetch(item, target, stop)
            tell(item.size)
            return Fetched(came, seconds=time.monotonic() - began)

        return Transfer(fetch, wanted, 1, (SourceError,), stop.set, ended=ended)

    def fetch(
        self, item: SourceObject, target: Path, stop: threading.Event | None = None
    ) -> SourceObject:
        """Put a file where the raw tier wants it: as a hard link, or else as a verified copy.

        A link is the source's own file and keeps its mode.

        `target` never names a file that is not whole.

        Args:
            stop: ends a copy that is under way.

        Returns:
            What came: a newer version than `item`, where that was replaced meanwhile.

        Raises:
            SourceError: it cannot be read, changed while it was copied, or something else stands
                in its place.
            StorageError: it cannot be written.
            StoppedError: `stop` was set.
        """
        if problem := self._leads_out(item.key):
            raise SourceError(self.url, f"{item.key} {problem}")
        part = part_of(target)
        # The file itself: a link would lead elsewhere from the raw tier.
        path = Path(os.path.realpath(self._folder / item.key))
        for folder in ((self._folder / item.key).parent, path.parent):
            if is_same_folder(folder, target.parent):
                raise SourceError(self.url, f"{item.key}: {target.parent} {THE_SOURCES_OWN}")
        try:
            self._modes.make_folders(target.parent)
            part.unlink(missing_ok=True)
            try:
                os.link(path, part)
            except OSError:
                self._copy(path, part, stop or threading.Event())
            came = os.stat(part)
            put_in_place(part, target)
        except FileNotFoundError as error:
            raise MissingFileError(self.url, item.key) from error
        except OSError as error:
            if is_in_the_way(error):
                raise in_the_way(self.url, item.key, target, error) from error
            raise storage_error(target, error) from error
        finally:
            # A rename onto another link to the same file leaves both names.
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return replace(item, size=came.st_size, etag=_mark(came))

    def differs(self, item: SourceObject, path: Path) -> bool:
        """Whether the file at `path` holds other bytes than the source's; False: it is not there.

        Reads both to their end where their sizes are the same. One that cannot be read counts as
        other.
        """
        try:
            return not filecmp.cmp(self._folder / item.key, path, shallow=False)
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def _copy(self, path: Path, part: Path, stop: threading.Event) -> None:
        try:
            opened = open(path, "rb")  # noqa: SIM115 - what it raises is the source's fault alone
        except FileNotFoundError:
            raise
        except PermissionError as error:
            raise SourceError(self.url, f"no permission to read {path}") from error
        except OSError as error:
            raise self._unread(path, error) from error
        digest = hashlib.sha256()
        with opened as source:
            before = os.fstat(source.fileno())
            with open(part, "wb") as copy:
                while block := self._block(source, path):
                    if stop.is_set():
                        raise StoppedError
                    digest.update(block)
                    copy.write(block)
            changed = Stamp.of(os.fstat(source.fileno())) != Stamp.of(before)
        # With its modification time, which tells it from one that was changed later.
        os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
        self._modes.settle(part)
        with open(part, "rb") as copied:
            os.fsync(copied.fileno())
            if changed or hashlib.file_digest(copied, "sha256").digest() != digest.digest():
                raise SourceError(self.url, f"{path} changed while it was copied; try again")

    def _block(self, source: BinaryIO, path: Path) -> bytes:
        try:
            return source.read(_BLOCK)
        except OSError as error:
            raise self._unread(path, error) from error

    def _unread(self, path: Path, error: OSError) -> SourceError:
        return SourceError(self.url, f"{path} cannot be read: {error.strerror or error}")
