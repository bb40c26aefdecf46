"""Where the vendor's files come from: a folder laid out as the vendor's bucket."""

from __future__ import annotations

import filecmp
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from warehouse.errors import MissingFileError, RawFileError, SourceError, StorageError
from warehouse.layout import MAX_SYMBOL_BYTES, RawFile, parse_raw_path, source_folder
from warehouse.modes import Modes
from warehouse.partfile import part_of, put_in_place
from warehouse.schema import DataType

logger = logging.getLogger("warehouse")


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
    """

    item: SourceObject
    problem: SourceError | RawFileError | None = None
    seconds: float = 0.0


_FOLDER_MARK = "folder:"


def portable(etag: str | None) -> str | None:
    """The etag where it depends on the content alone (S3's), None where it is a folder's mark.

    A folder's files are marked by size and modification time, which a copy does not share: that
    must not find its way into the bytes of a partition.
    """
    return None if etag is None or etag.startswith(_FOLDER_MARK) else etag


def _mark(stat: os.stat_result) -> str:
    return f"{_FOLDER_MARK}{stat.st_size:x}-{stat.st_mtime_ns:x}"


def vouches_for(etag: str | None, raw: Path) -> bool:
    """Whether the file in the raw tier is, as far as can be told, what the source has."""
    if etag is None or not raw.exists():
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

    Raises:
        SourceError: there is no such folder.
    """

    retries = 0
    """Requests that were made again: a folder asks once."""

    def __init__(self, folder: Path, modes: Modes | None = None) -> None:
        self.url = str(folder)
        self._folder, self._modes = folder, modes or Modes()
        if not folder.is_dir():
            raise SourceError(self.url, "there is no such folder; set source.url to one")

    def list(self, kind: DataType, layout: str, first: date, last: date) -> Iterator[SourceObject]:
        """Files of a data type that may hold sessions from first to last, both inclusive."""
        folder = self._folder / source_folder(kind, layout)
        for path in sorted(folder.rglob("*.csv.gz")):
            file = file_of(kind, layout, path.relative_to(folder).as_posix())
            if file is not None and file.overlaps(first, last):
                stat = path.stat()
                yield SourceObject(
                    file,
                    path.relative_to(self._folder).as_posix(),
                    stat.st_size,
                    _mark(stat),
                )

    def fetch_all(
        self,
        wanted: Sequence[tuple[SourceObject, Path]],
        tell: Callable[[int], None] = lambda count: None,
    ) -> Iterator[Fetched]:
        """Put files where the raw tier wants them; each is told of when it is done.

        A file that cannot be read does not keep the others.

        Args:
            wanted: what, and where to.
            tell: is told of bytes that are done.

        Raises:
            StorageError: a file cannot be written.
        """
        for item, target in wanted:
            began = time.monotonic()
            try:
                self.fetch(item, target)
            except SourceError as problem:
                yield Fetched(item, problem)
            else:
                tell(item.size)
                yield Fetched(item, seconds=time.monotonic() - began)

    def fetch(self, item: SourceObject, target: Path) -> SourceObject:
        """Put a file where the raw tier wants it: as a hard link, or else as a verified copy.

        A link is the source's own file and keeps its mode.

        `target` never names a file that is not whole.

        Raises:
            SourceError: it cannot be read, or changed while it was copied.
            StorageError: it cannot be written.
        """
        path = self._folder / item.key
        part = part_of(target)
        try:
            self._modes.make_folders(target.parent)
            part.unlink(missing_ok=True)
            try:
                os.link(path, part)
            except OSError:
                self._copy(path, part)
            put_in_place(part, target)
        except FileNotFoundError as error:
            raise MissingFileError(self.url, item.key) from error
        except OSError as error:
            raise StorageError(target, f"cannot be written: {error.strerror or error}") from error
        finally:
            # A rename onto another link to the same file leaves both names.
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return item

    def differs(self, item: SourceObject, path: Path) -> bool:
        """Whether the file at `path` holds other bytes than the source's; False: it is not there.

        Reads both to their end where their sizes are the same.
        """
        try:
            return not filecmp.cmp(self._folder / item.key, path, shallow=False)
        except OSError:
            return False

    def _copy(self, path: Path, part: Path) -> None:
        try:
            with open(path, "rb") as source:
                before = hashlib.file_digest(source, "sha256").digest()
        except PermissionError as error:
            raise SourceError(self.url, f"no permission to read {path}") from error
        # With its modification time, which tells it from one that was changed later.
        shutil.copyfile(path, part)
        shutil.copystat(path, part)
        self._modes.settle(part)
        with open(part, "rb") as copy:
            os.fsync(copy.fileno())
            if hashlib.file_digest(copy, "sha256").digest() != before:
                raise SourceError(self.url, f"{path} changed while it was copied; try again")
