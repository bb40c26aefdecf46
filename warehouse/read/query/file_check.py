"""Looks at the files that a query reads for what DuckDB would not notice.

For a pipe in the place of one it would wait for ever, and another Parquet file it would read as if
it were the one that was published.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import duckdb

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import REFERENCE_TABLES, RawFile
from warehouse.errors import CorruptPartitionError
from warehouse.read.query.names import files, known
from warehouse.read.snapshot import Snapshot
from warehouse.sqlfolder.determinism import names_of
from warehouse.store.catalog import cuts_told
from warehouse.store.partitions import open_partition
from warehouse.store.publishing import schema_files
from warehouse.store.reference import reference_files

_MANIFESTS = "partitions"
"""The view that reads manifests."""
_REJECTS = "rejects"
_ANY = "query_table"
"""A function that is told by a text what it reads."""
_SHARE = 20
"""A look at files holds so many times as long as it took."""

_Stamp = tuple[int, int, int, int]


def check(snapshot: Snapshot, named: Iterable[str]) -> None:
    """Refuse them among the files that the catalog's views and macros of these names read.

    So are manifests, where `partitions` is among the views.

    Another file is told by its size, DuckDB says itself that one cannot be read, and only where it
    would be. Files that were looked at are looked at again by later questions, and one that was
    written since is read as a whole. What they take for that is a small part of their time: of
    files by the hundred thousand a look holds for some seconds.

    Raises:
        CorruptPartitionError: names the file.
    """
    kinds = _kinds(snapshot, named)
    # Each time: between two questions room may have been made.
    for kind in sorted(kinds - {_MANIFESTS, _REJECTS, *REFERENCE_TABLES}):
        snapshot.bring_all(kind)
    if _MANIFESTS in kinds:
        snapshot.look_at()
    for kind in sorted(kinds - {_MANIFESTS}):
        snapshot.once(("file check", kind), partial(_check_kind, snapshot, kind)).again()


def _kinds(snapshot: Snapshot, named: Iterable[str]) -> set[str]:
    """Data types, and reference tables, whose files are read; "rejects" and `_MANIFESTS` too."""
    definitions, listing = known(snapshot).definitions, files(snapshot)
    waiting, seen, kinds = set(named), set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name == _ANY:
            kinds = {*listing.values(), _MANIFESTS}
            return kinds if snapshot.reference is not None else kinds - {*REFERENCE_TABLES}
        if name == _MANIFESTS:
            kinds.add(_MANIFESTS)
        if name in listing:
            kinds.add(listing[name])
            continue
        for one in definitions.get(name, ()):
            waiting |= set(names_of(one.tree)) - seen
    return kinds


class _Looked:
    """Files that were looked at; `again` finds those that were written since."""

    def __init__(self, files: Iterable[tuple[Path, int | None, str | None]]) -> None:
        began = time.monotonic()
        self._seen = [(path, digest, _look_at(path, size)) for path, size, digest in files]
        self._rest(began)

    def again(self) -> None:
        """Look at them again, unless they were just looked at.

        Raises:
            CorruptPartitionError: names one whose content is another.
        """
        began = time.monotonic()
        if began < self._until:
            return
        for number, (path, digest, before) in enumerate(self._seen):
            try:
                is_same = _stamp(os.stat(path)) == before
            except OSError:
                continue  # who opens it is told why not
            if not is_same:
                now = _look_at(path, None)
                if digest is not None and _is_parquet(path) and _sha256(path) != digest:
                    problem = "it was replaced, and is not what was published"
                    raise CorruptPartitionError(path, problem, "warehouse verify --repair")
                self._seen[number] = path, digest, now
        self._rest(began)

    def _rest(self, began: float) -> None:
        now = time.monotonic()
        self._until = now + _SHARE * (now - began)


def _stamp(facts: os.stat_result) -> _Stamp:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _look_at(path: Path, size: int | None) -> _Stamp | None:
    """What tells whether it was written later; None: it is not there."""
    try:
        facts = os.stat(path)
    except OSError:
        return None  # who opens it is told why not
    problem = ""
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
        problem = "it is no regular file"
    elif size is not None and size != facts.st_size and _is_parquet(path):
        problem = f"it has {facts.st_size:,} bytes, the catalog says {size:,}"
    if problem:
        raise CorruptPartitionError(path, problem, "warehouse verify --repair")
    return _stamp(facts)


def _check_kind(snapshot: Snapshot, kind: str) -> _Looked:
    # Its rows would be taken for published ones.
    for path in (snapshot.layout.schema / f"{kind}.parquet", *_of_cut(snapshot, kind)):
        if not _is_refused(path) and (problem := schema_files.problem_of(path)) is not None:
            raise CorruptPartitionError(path, problem, "warehouse verify --repair")
    if kind in REFERENCE_TABLES:
        name = (snapshot.reference or {}).get(kind)
        if name is not None:
            reference_files.read(snapshot.layout, name)
        return _Looked(())
    return _Looked(_rejects(snapshot) if kind == _REJECTS else snapshot.files(kind))


def _of_cut(snapshot: Snapshot, kind: str) -> list[Path]:
    """The file that stands for how a data type's sessions are cut, where the catalog names one."""
    with snapshot.connection(about=()) as connection:
        try:
            cuts = cuts_told(connection, [kind])
        except duckdb.Error as error:
            raise snapshot.refused(error) from error
    return [snapshot.layout.schema_of_cut(kind, cut) for cut in cuts.values()]


def _is_refused(path: Path) -> bool:
    """Whether the system does not let it be read: DuckDB says so."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return not os.access(path, os.R_OK)


def _is_parquet(path: Path) -> bool:
    try:
        with open_partition(path, "", ""):
            return True
    except CorruptPartitionError:
        return False


def _rejects(snapshot: Snapshot) -> Iterator[tuple[Path, int | None, str | None]]:
    """Of these the catalog says neither how large they are nor their hashes."""
    sql = "select data_type, day, symbol from source_files where rows_rejected > 0"
    for data_type, day, symbol in snapshot.fetch(sql):
        kind = DATA_TYPES.get(data_type)
        if kind is not None:
            is_monthly = symbol is not None and kind.monthly_by_symbol
            file = RawFile(data_type, day, symbol, monthly=is_monthly)
            yield snapshot.layout.rejects_of(file), None, None
