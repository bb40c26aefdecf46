"""Small files, read whole, or not read at all.

Those that people write (settings, SQL, lists), and sidecars: what a warehouse brings along beside
its data, a stranger's word until it is checked. Reading one cannot harm: of a sidecar no link or
pipe is opened, no more is read than such a file has, and text that is none of ours is a
`ValueError` and nothing else.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 20
MOST_SIDECAR_BYTES = 16 << 20


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
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return path  # who opens it is told why not
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def check_small(path: Path, most: int = MOST_BYTES) -> None:
    """Refuse a file that is larger, or none: as `read_small`."""
    if path.exists() and not path.is_file():
        raise OSError("it is no regular file")
    if path.stat().st_size > most:
        raise ValueError(f"it is larger than {most:,} bytes")


def read_sidecar(path: Path, most: int = MOST_SIDECAR_BYTES) -> tuple[bytes, os.stat_result]:
    """The content of a file, and what the system says of it.

    Raises:
        OSError: it cannot be read, or is a link.
        ValueError: it is no file, or larger than `most` bytes.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is no file")
        if facts.st_size > most:
            raise ValueError(f"it has {facts.st_size:,} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most), facts
    finally:
        os.close(descriptor)


def parsed_json(text: bytes | str) -> Any:
    """The value of a JSON text in which no key comes twice.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def load_json(path: Path, most: int = MOST_SIDECAR_BYTES) -> Any:
    """The value of a JSON file; see `read_sidecar` and `parsed_json`."""
    return parsed_json(read_sidecar(path, most)[0])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found
