"""What stands where the warehouse's own files are to go: it is kept in `data/set_aside`."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from warehouse.core.paths import Layout

logger = logging.getLogger(__name__)


def set_aside(layout: Layout, path: Path, name: str | None = None) -> Path:
    """Move a file or a folder out of the way; hold the writer's lock.

    Args:
        name: how what is kept begins; None: with the name that it has.

    Returns:
        Where it is now: under that name and the present moment in UTC.

    Raises:
        OSError, StorageError: it cannot be moved, or the folder for it is a link.
    """
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    kept = layout.set_aside / f"{name or path.stem}-{moment}{path.suffix}"
    layout.make_aside(kept.parent)
    rename(path, kept)
    return kept


def make_way(layout: Layout, places: Iterable[Path]) -> None:
    """Move out of the way each folder that stands where a file of the warehouse's own belongs.

    And each file that stands where a folder of such a file belongs. Nothing can be written there,
    and what is published is published of all data types at once. Hold the writer's lock.

    Raises:
        OSError, StorageError: as `set_aside`.
    """
    for path in places:
        if path.is_dir() and not path.is_symlink():
            kept = set_aside(layout, path)
            logger.warning("%s is a folder, not a file; it is kept as %s", path, kept)
        for folder in path.relative_to(layout.data).parents[:-1]:
            if (place := layout.data / folder).is_file():
                kept = set_aside(layout, place)
                logger.warning("%s is a file, not a folder; it is kept as %s", place, kept)


def rename(path: Path, target: Path) -> None:
    """Rename a file or a folder of the warehouse, to another disk if need be."""
    try:
        os.replace(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.move(path, target)
