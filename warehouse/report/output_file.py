"""A file that a person names with -o: looked at before the work, written whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from warehouse.core.paths import Layout
from warehouse.errors import RequestError, StorageError

_OPEN = re.compile(r"(/dev/stdout|/dev/stderr)|(?:/dev/fd|/proc/self/fd)/([0-9]{1,6})")
_PICTURES = {".pdf", ".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp"}
_DATA = {".json", ".csv", ".tsv", ".txt", ".md", ".xlsx", ".docx", ".parquet", ".gz"}
_STANDARD = {"/dev/stdout": "1", "/dev/stderr": "2"}


def named(text: str) -> Path:
    """The file that a person names; `-` is standard output."""
    return Path("/dev/stdout" if text == "-" else text)


def is_standard_output(path: Path) -> bool:
    return _descriptor(path) == 1


def check(path: Path) -> None:
    """Refuse early what cannot become the file; the work for it may take long.

    Raises:
        StorageError: it is a folder, or there is no folder to put it in, or that may not be
            written to.
    """
    with _told(path):
        if (number := _descriptor(path)) is not None:
            os.fstat(number)
            return
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise StorageError(path, "is a folder; name a file in it")
        if not target.parent.is_dir():
            raise StorageError(path, f"cannot be written: there is no folder {target.parent}")
        place = target.parent if _is_replaced(target) else target
        if not os.access(place, os.W_OK):
            raise StorageError(path, f"cannot be written: {place} may not be written to")


def check_is_page(parameter: str, path: Path) -> None:
    """Refuse a name by which no program would open a page of HTML.

    Raises:
        RequestError: it ends as a picture or a document of another kind does.
    """
    if (ending := path.suffix.lower()) in _PICTURES | _DATA:
        problem = (
            f"it would be a page of HTML, which nothing opens as {ending}; let it end in .html"
        )
        raise RequestError(parameter, str(path), problem)


def check_apart(path: Path, layout: Layout) -> None:
    """Refuse what would take the place of a file of the warehouse's own.

    Raises:
        StorageError: it would, or would stand among them.
    """
    if layout.keeps(path):
        raise StorageError(path, "is where the warehouse keeps its own files; name another place")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """The file to write to; under `path` a reader sees what was there before, or all of it.

    A link stays one, and what it points to is replaced. Into a pipe, a device or what is open
    already (`/dev/stdout`) it is written as it comes.

    Raises:
        StorageError: the disk refuses.
        BrokenPipeError: whoever read the pipe has gone.
    """
    with _told(path):
        if (number := _descriptor(path)) is not None:
            with os.fdopen(os.dup(number), "wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        if not _is_replaced(target):
            with open(target, "wb") as file:
                yield file
            return
        descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), _mode(target))
                # A disk may tell only now that it is full.
                os.fsync(file.fileno())
            os.replace(draft, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise


def _descriptor(path: Path) -> int | None:
    """The number of what is open already that a path names, as /dev/stdout does; None: none.

    What the shell has opened (`> x.csv`, `>> x.csv`, a pipe) is the shell's to name.
    """
    found = _OPEN.fullmatch(os.path.abspath(path))
    return None if found is None else int(_STANDARD.get(found[1]) or found[2])


def _is_replaced(target: Path) -> bool:
    """Whether a new file takes its place; pipes and devices stay what they are."""
    return target.is_file() or not target.exists()


def _mode(target: Path) -> int:
    """As the file was before, or as the user's other new files are."""
    with suppress(FileNotFoundError):
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(path, f"cannot be written: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise StorageError(path, f"cannot be written: {error}") from error
