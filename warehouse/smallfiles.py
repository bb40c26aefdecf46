"""Files that people write, read whole: settings, SQL, lists. They are small, or are not read."""

from __future__ import annotations

import errno
from pathlib import Path

MOST_BYTES = 1 << 20


def read_small(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file.

    Raises:
        OSError: it cannot be read, or is no regular file: a pipe would never end.
        ValueError: it is larger than `most` bytes, or no UTF-8.
    """
    check_small(path, most)
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return content.decode("utf-8")


def plain(path: Path) -> Path:
    """The path of a file that is about to be opened.

    Raises:
        OSError: a pipe or a device stands there, which might never end.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def check_small(path: Path, most: int = MOST_BYTES) -> None:
    """Refuse a file that is larger, or none: as `read_small`."""
    if path.exists() and not path.is_file():
        raise OSError("it is no regular file")
    if path.stat().st_size > most:
        raise ValueError(f"it is larger than {most:,} bytes")
