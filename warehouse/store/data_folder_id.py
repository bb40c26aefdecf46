"""Whose data folder it is: a file in it with an id, and the name of the cache folder it belongs to.

What is derived stands beside the cache folder, and its staging folder is emptied by every writer.
So a folder that already holds another's files, or another warehouse's, is not taken, nor one in
which a file that nobody knows bears the name of one that a writer would put there.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core import small_files
from warehouse.core.paths import (
    OWN_FOLDERS,
    SHELF_MARKER,
    Layout,
    parse_partition,
    partition_paths,
)
from warehouse.core.permissions import is_own, owner_of
from warehouse.core.small_files import plain
from warehouse.errors import EngineError, StorageError
from warehouse.store.partitions import METADATA_KEY

A_FOLDER_IS_THERE = "a folder stands in its place; move it away"
_MOST_BYTES = 4_096
_DEEPEST = 3
"""Folders that a tier has below it: a data type, a symbol or all of them, and of these a month."""
_COLUMNS_OF_OURS = (
    {"source", "state", "rows_published"},
    {"source", "reason", "line_number"},
    {"run_id", "command", "cache_hit_rate"},
    {"run_id", "rule", "allowed"},
    {"run_id", "earlier_sha256"},
    {"run_id", "difference_class"},
    {"data_type", "sha256", "sessions"},
    {"symbol", "counts", "problem"},
    {"security", "first_session", "last_session"},
)
"""Some of the ledger's, those of the rejects, of each table of the history, of manifests and of
the reference tables."""
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Marker:
    """What is said of a data folder.

    Attributes:
        id: of the warehouse, 32 hexadecimal digits, made by its first writer.
        cache: name of its cache folder, which stands in the data folder.
    """

    id: str
    cache: str


def read(layout: Layout) -> Marker | None:
    """The data folder's marker; None where there is none, or what is there is none."""
    return _read(layout.marker)


def _read(path: Path) -> Marker | None:
    try:
        record = small_files.load_json(path, _MOST_BYTES)
        found = Marker(record["id"], record["cache"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    names = isinstance(found.id, str) and isinstance(found.cache, str)
    if not names or not _ID.fullmatch(found.id) or not _is_name(found.cache):
        return None
    return found


def _is_name(text: str) -> bool:
    return text not in ("", ".", "..") and not {"/", "\0"} & set(text)


def id_of(layout: Layout) -> str | None:
    """The id that the data folder bears; None where it bears none."""
    found = read(layout)
    return found.id if found is not None else None


def check_stands(layout: Layout) -> None:
    """Look whether the warehouse is still where it was opened: its configuration stands there.

    Raises:
        StorageError: it was moved, or its disk is not mounted; who writes would begin another.
    """
    try:
        stands = any(layout.root.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        stands = False
    except OSError:
        return  # who reads there says why not
    if not stands:
        problem = "is gone: moved, or its disk is not mounted; open the warehouse where it is now"
        raise StorageError(layout.root, problem)


def check_same(layout: Layout, opened: str | None, found: str | None) -> None:
    """Look whether the warehouse is still the one that was opened: another may have its place now.

    Args:
        opened: the id that its data folder bore then; None: it bore none yet.
        found: the one that is found now.

    Raises:
        StorageError: it is another.
    """
    if opened not in (None, found):
        problem = "another warehouse stands here now than the one that was opened; open it anew"
        raise StorageError(layout.root, problem)


def check(layout: Layout) -> None:
    """Look whether the data folder is another warehouse's.

    Raises:
        StorageError: it is, or the system does not let it be entered.
    """
    found = read(layout)
    if found is None:
        with suppress(FileNotFoundError, NotADirectoryError):
            _enter(layout)
        return
    if found.cache == layout.cache.name:
        return
    if os.path.lexists(layout.data / found.cache):
        raise _shared(layout, layout.data / found.cache)


def _enter(layout: Layout) -> None:
    try:
        os.lstat(layout.marker)
    except PermissionError as error:
        raise StorageError(layout.data, f"cannot be read: {error.strerror}") from error


def check_shared(layout: Layout, folder_id: str | None) -> None:
    """Look, on another machine perhaps, whether the data folder is the one that is meant.

    Args:
        folder_id: the id that it bears where the work is handed out.

    Raises:
        EngineError: it is not; the machine does not see that folder.
    """
    if id_of(layout) != folder_id:
        raise EngineError(
            f"worker {socket.gethostname()}",
            f"does not see {layout.data} as it is here; a warehouse that a cluster works on lies on"
            " a path that all its machines share",
        )


def look(layout: Layout) -> None:
    """Look whether a writer may take the data folder, before anything is made in it.

    Raises:
        StorageError: it is another warehouse's, or holds what a writer would remove and nobody
            knows, or what stands in it may not be looked at; or the warehouse itself is gone.
    """
    check_stands(layout)
    check(layout)
    _check_outside(layout)
    try:
        is_taken = read(layout) is not None or _any_of_ours(layout, partition_paths(layout.cache))
    except OSError as error:
        raise refused(layout, error, "cannot be read") from error
    if is_taken:
        return
    for other in _other_caches(layout):
        raise _shared(layout, other)
    if _is_begun(layout):
        return
    in_the_way = list(_in_the_way(layout))
    # Another writer of this warehouse may have begun meanwhile: its files are none of a stranger's.
    if in_the_way and not _any_of_ours(layout, in_the_way) and not _is_begun(layout):
        raise StorageError(
            in_the_way[0],
            "no warehouse has made it, and the first update would write over it; move it away, or"
            f" give this warehouse a folder of its own: storage.cache_dir: {_own(layout)}",
        )
    with suppress(FileNotFoundError, NotADirectoryError):
        if any(layout.staging.iterdir()):
            raise StorageError(
                layout.staging,
                "holds files that no warehouse has put there, and a warehouse would empty it; give"
                f" this one a folder of its own: storage.cache_dir: {_own(layout)}",
            )


def _any_of_ours(layout: Layout, paths: Iterable[Path]) -> bool:
    """Whether one of the files is a partition, or has columns that a warehouse's own files have.

    Whoever puts a part of a backup back may have no more: the history alone, or the rejects.
    One that may not be read may be ours: who has to read it is told.
    """
    for path in paths:
        if not layout.is_published(path.relative_to(layout.data).as_posix()):
            continue
        try:
            footer = pq.read_schema(plain(path))
        except (ValueError, pa.ArrowException):
            continue
        except OSError:
            return True
        if METADATA_KEY in (footer.metadata or {}):
            return True
        if any(columns <= {*footer.names} for columns in _COLUMNS_OF_OURS):
            return True
    return False


def _is_begun(layout: Layout) -> bool:
    """Whether a writer has been at work here, of an earlier version too, that made no marker."""
    if any(map(os.path.lexists, (layout.catalog, layout.log))):
        return True
    try:
        # Writers lock it, and write nothing into it.
        return layout.lock.stat().st_size == 0
    except OSError:
        return False


def _in_the_way(layout: Layout) -> Iterator[Path]:
    """Files that a first writer would write over, or remove: they bear the names of its own."""
    log = Path(f"{layout.catalog}.wal")
    notes = (layout.marker, layout.source_note, layout.lock_note, layout.generation)
    yield from filter(os.path.lexists, (*notes, layout.lock, layout.openmetrics, log))
    for tier in sorted({layout.schema.name, *layout.tiers}):
        for folder, below, names in os.walk(layout.data / tier, followlinks=True):
            place = Path(folder).relative_to(layout.data)
            if SHELF_MARKER in names:
                # By a link it is another warehouse's: who claims it is told so.
                below.clear()
                continue
            if len(place.parts) > _DEEPEST:
                below.clear()
            for name in sorted(names):
                is_schema = place.name == tier == layout.schema.name and name.endswith(".parquet")
                if is_schema or layout.is_published(f"{place.as_posix()}/{name}"):
                    yield Path(folder, name)


def _check_outside(layout: Layout) -> None:
    """Look whether the data folder lies in what another warehouse keeps, and would clear."""
    data = Path(os.path.realpath(layout.data))
    for folder in data.parents:
        found = _read(folder / layout.marker.name)
        if found and data.relative_to(folder).parts[0] in {found.cache, *OWN_FOLDERS}:
            raise StorageError(
                layout.data,
                f"lies within what the warehouse of {folder} keeps, to which it would be a stray;"
                " give this one a folder elsewhere: storage.cache_dir",
            )


def refused(
    layout: Layout, error: OSError, problem: str, place: Path | None = None
) -> StorageError:
    """What the system refuses in the data folder, and whose it is where it is another user's.

    One run as root leaves files that their owner may not touch, whosever the folder is.

    Args:
        problem: what cannot be done.
        place: of which it is said; None: what is refused.
    """
    named = Path(error.filename or layout.data)
    told = f"{problem}: {error.strerror or error}"
    there = next(path for path in (named, *named.parents) if os.path.exists(path))
    if isinstance(error, PermissionError):
        told += _whose(layout, there)
    return StorageError(place or named, told)


def unreadable(layout: Layout) -> StorageError | None:
    """What is told of a catalog that the user may not read; None: the user may."""
    # To open it, and close it, would let go of DuckDB's lock where this process holds one.
    by_effective = os.access in os.supports_effective_ids
    is_readable = os.access(layout.catalog, os.R_OK, effective_ids=by_effective)
    if is_readable or not os.path.exists(layout.catalog):
        return None
    told = f"cannot be read: {os.strerror(errno.EACCES)}{_whose(layout, layout.catalog)}"
    return StorageError(layout.catalog, told)


def _whose(layout: Layout, there: Path) -> str:
    """Whose something is that the system refuses, and how its owner gets it back; may be empty."""
    if is_own(there):
        return ""
    told = f"; {there} belongs to {owner_of(there)}, not to you"
    if is_own(layout.data):
        back = f"chown -R {os.stat(layout.data).st_uid} {layout.data}"
        told += f", as a run of theirs left it: let them give it back with: {back}"
    return told


def claim(layout: Layout, told: Callable[[], str | None] = lambda: None) -> None:
    """Mark the data folder as this warehouse's, if it is not; hold the writer's lock.

    Args:
        told: says the id that what stands there bears, where the mark itself is gone.

    Raises:
        OSError, StorageError: the disk refuses.
    """
    found = read(layout)
    if found is None or found.cache != layout.cache.name:
        of_old = found.id if found else told()
        if of_old is None or not _ID.fullmatch(of_old):
            of_old = secrets.token_hex(16)
        found = Marker(of_old, layout.cache.name)
        _mark(layout, layout.marker, found)
    _claim_shelves(layout, found)


def source_of(layout: Layout) -> str | None:
    """Where the vendor's files came from last; None: nobody has noted it."""
    try:
        told = small_files.read_sidecar(layout.source_note, _MOST_BYTES)[0].decode()
    except (OSError, ValueError):
        return None
    return told.removesuffix("\n") or None


def note_source(layout: Layout, source: str) -> None:
    """Note where the vendor's files come from; hold the writer's lock.

    Raises:
        OSError, StorageError: the disk refuses.
    """
    _write(layout, layout.source_note, source)


def _mark(layout: Layout, path: Path, marker: Marker) -> None:
    _write(layout, path, json.dumps(asdict(marker), ensure_ascii=False))


def _write(layout: Layout, path: Path, line: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(draft, "x", encoding="utf-8", opener=layout.modes.opener) as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.replace(draft, path)
    except IsADirectoryError as error:
        raise StorageError(path, A_FOLDER_IS_THERE) from error


def _claim_shelves(layout: Layout, marker: Marker) -> None:
    """Mark the shelves that lie elsewhere, by a link or a mount, as this warehouse's, too.

    Two data folders that lead to one would replace and clear each other's files there.

    Raises:
        StorageError: one is another's, or two are one folder.
    """
    seen: dict[tuple[int, int], Path] = {}
    device = os.stat(layout.data).st_dev
    for shelf in (layout.raw, *(layout.data / name for name in sorted(layout.shelves()))):
        try:
            about = os.stat(shelf)
        except OSError:
            continue  # who has to write there is told
        twin = seen.setdefault((about.st_dev, about.st_ino), shelf)
        if twin is not shelf:
            raise StorageError(
                shelf, f"is one folder with {twin}, by a link or a mount: give each its own"
            )
        if shelf == layout.raw or (about.st_dev == device and not os.path.islink(shelf)):
            continue
        path = shelf / SHELF_MARKER
        found = _read(path)
        if found is None:
            # A disk that is full, or for reading alone, is told by what has to write there.
            with suppress(OSError):
                _mark(layout, path, marker)
        elif found.id != marker.id:
            raise StorageError(
                shelf,
                f"leads to a folder of another warehouse, as {path} says: give this one its own; or"
                " remove that file, if the other warehouse is gone",
            )


def is_bare(layout: Layout) -> bool:
    """Whether nothing was ever published to the data folder: its id then stands for nothing.

    Machines that begin to share a bucket at once each make one.
    """
    places = (layout.catalog, layout.ledger, layout.manifests, layout.history)
    return not any(map(os.path.lexists, places)) and not _has_partitions(layout.cache)


def become(layout: Layout, folder_id: str) -> None:
    """Give a data folder that is bare the id of what is to be put into it; hold the writer's lock.

    Raises:
        OSError, StorageError: the disk refuses.
    """
    before = id_of(layout)
    if before != folder_id and is_bare(layout):
        for shelf in layout.shelves():
            path = layout.data / shelf / SHELF_MARKER
            if (found := _read(path)) is not None and found.id == before:
                path.unlink()
        layout.marker.unlink(missing_ok=True)
        claim(layout, lambda: folder_id)


def _other_caches(layout: Layout) -> list[Path]:
    """Folders beside our cache folder that hold partitions."""
    found = []
    with suppress(OSError):
        for entry in os.scandir(layout.data):
            if entry.name in (layout.cache.name, *OWN_FOLDERS) or not entry.is_dir():
                continue
            folder = Path(entry.path)
            if _has_partitions(folder):
                found.append(folder)
    return sorted(found)


def _shared(layout: Layout, other: Path) -> StorageError:
    return StorageError(
        layout.data,
        f"belongs to the warehouse whose cache is {other}; beside it {layout.cache} would share"
        f" its catalog: give this one a folder of its own: storage.cache_dir: {_own(layout)}",
    )


def _own(layout: Layout) -> Path:
    name = layout.cache.name
    return layout.data / (f"{layout.root.name}-data" if name == "cache" else name) / "cache"


def _has_partitions(cache: Path) -> bool:
    names = (path.relative_to(cache).as_posix() for path in partition_paths(cache))
    return any(parse_partition(name) for name in names)
