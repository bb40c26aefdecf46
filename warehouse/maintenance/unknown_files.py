"""Files of the warehouse's trees that nobody knows: not the catalog, and no unfinished work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path

from warehouse.core.datatypes import DataType
from warehouse.core.paths import (
    SHELF_MARKER,
    SHELF_STAGING,
    Layout,
    RawFile,
    parse_raw_path,
)
from warehouse.objects.disk_cache import is_part
from warehouse.store import manifests
from warehouse.store.catalog import Catalog, SourceFile
from warehouse.store.publishing import kept_tables
from warehouse.store.reference import reference_files

_UNFINISHED = (".part", ".part.json", ".part.json.new", ".part.lock", ".old")
"""What stands beside a raw file while it is on its way, or until it is published."""

FILE_MANAGERS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What Finder and Explorer write into each folder that they show: it is nobody's mistake."""


def strays(
    layout: Layout,
    catalog: Catalog,
    kinds: Iterable[DataType],
    known: Mapping[RawFile, SourceFile],
) -> Iterator[tuple[Path, str]]:
    """Such files of the data types' folders, and what is odd about each."""
    for kind in kinds:
        yield from _partitions(layout, catalog, kind)
        yield from _rejects(layout, kind, known)
        yield from _raw(layout, kind)
        yield from _ledger(layout, kind, known)
        yield from _manifests(layout, catalog, kind)
    known_pages = {page.path(layout) for page in kept_tables.pages_there(layout)}
    for below in _files(layout.history):
        if layout.history / below not in known_pages:
            yield layout.history / below, "no name that a file of the history has"
    due = {*(catalog.reference() or reference_files.newest(layout)).values()}
    for below in _files(layout.reference):
        path = layout.reference / below
        if below not in due and not reference_files.is_superseded(path):
            yield path, "the catalog names no such reference table"


def _files(folder: Path) -> Iterator[str]:
    """Every file below the folder, by its path in it, but for file managers' and what is staged.

    At what is staged a writer is, or was killed: the next clears it, as it does the staging folder.
    Folders may be nested more deeply than `os.walk` follows. A file in the folder's own place has
    no name in it: "".
    """
    if os.path.isfile(folder):
        yield ""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(folder / below) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            if not os.path.isdir(entry.path):
                if entry.name not in FILE_MANAGERS and name != SHELF_MARKER:
                    yield name
            elif not entry.is_symlink() and name != SHELF_STAGING:
                waiting.append(name)


def _partitions(layout: Layout, catalog: Catalog, kind: DataType) -> Iterator[tuple[Path, str]]:
    known = catalog.partition_names(kind.name, date.min, date.max)
    folder = layout.cache / kind.name
    for below in _files(folder):
        if f"{kind.name}/{below}" not in known and not is_part(below):
            yield folder / below, "the catalog knows no such partition"


def _rejects(
    layout: Layout, kind: DataType, known: Mapping[RawFile, SourceFile]
) -> Iterator[tuple[Path, str]]:
    due = {layout.rejects_of(file) for file in known if file.data_type == kind.name}
    folder = layout.rejects / kind.name
    for below in _files(folder):
        if folder / below not in due:
            yield folder / below, "the catalog knows no file that these are rejects of"


def _raw(layout: Layout, kind: DataType) -> Iterator[tuple[Path, str]]:
    folder = layout.raw / kind.name
    for below in _files(folder):
        name = below
        for suffix in _UNFINISHED:
            name = name.removesuffix(suffix)
        if parse_raw_path(kind.name, name) is not None:
            continue
        # What stands in the source's own folders is its owner's.
        if layout.of_the_source(kind.name, below.rpartition("/")[0]) is None:
            yield folder / below, "no name that a file of the vendor's has here"


def _ledger(
    layout: Layout, kind: DataType, known: Mapping[RawFile, SourceFile]
) -> Iterator[tuple[Path, str]]:
    due = {layout.ledger_of(kind.name, file.day) for file in known if file.data_type == kind.name}
    folder = layout.ledger / kind.name
    for below in _files(folder):
        if folder / below not in due:
            yield folder / below, "the catalog knows no file of that month"


def _manifests(layout: Layout, catalog: Catalog, kind: DataType) -> Iterator[tuple[Path, str]]:
    due = {one.path(layout) for one in catalog.manifests}
    folder = layout.manifests / kind.name
    for below in _files(folder):
        if folder / below not in due and not manifests.is_superseded(folder / below):
            yield folder / below, "the catalog names no such manifest"
