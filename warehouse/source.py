"""Where the vendor's files come from: a folder laid out as the vendor's bucket."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from warehouse.errors import RawFileError, SourceError, StorageError
from warehouse.layout import RawFile, parse_raw_path, source_folder
from warehouse.schema import DataType


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
    """

    item: SourceObject
    problem: SourceError | RawFileError | None = None


_FOLDER_MARK = "folder:"


def portable(etag: str | None) -> str | None:
    """The etag where it depends on the content alone (S3's), None where it is a folder's mark.

    A folder's files are marked by size and modification time, which a copy does not share: that
    must not find its way into the bytes of a partition.
    """
    return None if etag is None or etag.startswith(_FOLDER_MARK) else etag


class FolderSource:
    """A folder that holds `us_stocks_sip/…`, as `aws s3 sync` leaves it.

    Raises:
        SourceError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        self.url = str(folder)
        self._folder = folder
        if not folder.is_dir():
            raise SourceError(self.url, "there is no such folder; set source.url to one")

    def list(self, kind: DataType, layout: str, first: date, last: date) -> Iterator[SourceObject]:
        """Files of a data type that may hold sessions from first to last, both inclusive."""
        folder = self._folder / source_folder(kind, layout)
        for path in sorted(folder.rglob("*.csv.gz")):
            file = parse_raw_path(kind.name, path.relative_to(folder).as_posix())
            if file is None or (file.symbol is None) != (layout == "day"):
                continue
            if file.overlaps(first, last):
                stat = path.stat()
                yield SourceObject(
                    file,
                    path.relative_to(self._folder).as_posix(),
                    stat.st_size,
                    f"{_FOLDER_MARK}{stat.st_size:x}-{stat.st_mtime_ns:x}",
                )

    def fetch(self, item: SourceObject, target: Path) -> None:
        """Put a file where the raw tier wants it: as a hard link, or else as a verified copy.

        `target` never names a file that is not whole.

        Raises:
            SourceError: it cannot be read, or changed while it was copied.
            StorageError: it cannot be written.
        """
        path = self._folder / item.key
        part = target.with_name(f"{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            try:
                os.link(path, part)
            except OSError:
                self._copy(path, part)
            os.replace(part, target)
        except FileNotFoundError as error:
            raise SourceError(self.url, f"{item.key} is gone: {error}") from error
        except OSError as error:
            raise StorageError(target, f"cannot be written: {error.strerror or error}") from error
        finally:
            # A rename onto another link to the same file leaves both names.
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _copy(self, path: Path, part: Path) -> None:
        try:
            with open(path, "rb") as source:
                before = hashlib.file_digest(source, "sha256").digest()
        except PermissionError as error:
            raise SourceError(self.url, f"no permission to read {path}") from error
        shutil.copyfile(path, part)
        with open(part, "rb") as copy:
            os.fsync(copy.fileno())
            if hashlib.file_digest(copy, "sha256").digest() != before:
                raise SourceError(self.url, f"{path} changed while it was copied; try again")
