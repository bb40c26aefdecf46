"""What the files themselves say: from this a lost catalog is made anew.

Every partition carries its provenance, every reject its source, the ledger says what became of
each of the vendor's files, and the history what ran, what was restated and what was found, so that
nothing is lost with the catalog.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import FileState
from warehouse.core.paths import Layout, RawFile, month_of, parse_key, partition_paths
from warehouse.core.small_files import REFUSED, plain
from warehouse.errors import CorruptPartitionError, UnreadablePartitionError
from warehouse.store.catalog import CatalogChange, SourceFile, file_record
from warehouse.store.partitions import (
    Partition,
    SessionSource,
    check_texts,
    describe,
    with_rejects,
)
from warehouse.store.publishing import kept_tables


def take_inventory(layout: Layout, workers: int) -> tuple[CatalogChange, list[Path]]:
    """Records of all partitions and of the raw files they came from.

    What the system refuses to read may be sound: a catalog without it would answer without its
    rows, so none is made.

    Returns:
        The records, and the files that cannot be read. What was ingested of the month of such a
        partition is not known: no file of it has a record, so that all are read again.

    Raises:
        UnreadablePartitionError: the system refuses to read a file.
    """
    for folder in (layout.cache, layout.rejects, layout.ledger, layout.history, layout.reference):
        _look_into(folder)
    paths = sorted(partition_paths(layout.cache))
    with ThreadPoolExecutor(workers, thread_name_prefix="inventory") as threads:
        described = list(threads.map(_described, paths))
    partitions = [found for found in described if isinstance(found, Partition)]
    damaged = [found.path for found in described if isinstance(found, CorruptPartitionError)]
    in_doubt = {_month_of(layout, path) for path in damaged}
    records, lost = _told(layout)
    _note_lost_rows(records, partitions)
    damaged += lost
    rejects = _Rejects.read(layout, damaged)
    partitions = [
        one
        if one.slices is None
        else replace(one, slices=with_rejects(one.slices, rejects.by_symbol))
        for one in partitions
    ]
    for record in _derived(partitions, rejects.by_source):
        # The ledger knows more. Where it has no word, the files' own stands.
        records.setdefault(record.source, record)
    files = [
        record
        for record in records.values()
        if record.state != FileState.INGESTED
        or (record.data_type, f"{month_of(record.day):%Y_%m}") not in in_doubt
    ]
    return CatalogChange(partitions=partitions, files=files), damaged


def _note_lost_rows(records: dict[str, SourceFile], partitions: list[Partition]) -> None:
    """Note of which of the files rows were published that are in no partition any more.

    A partition that is gone together with the catalog is missed by nobody else: no manifest names
    it, and the ledger alone knows how many rows there were.

    Args:
        records: what the ledger says.
    """
    rows: Counter[tuple[str, str]] = Counter()
    for partition in partitions:
        if partition.data_type in DATA_TYPES:
            for session in partition.sessions:
                rows[session.source, session.sha256] += session.rows
    for source, record in records.items():
        if record.state != FileState.INGESTED or record.rows_published is None:
            continue
        found = rows[source, record.sha256 or ""]
        if found < record.rows_published:
            told = f"{record.rows_published:,} rows of it were published"
            problem = f"{told}, its partitions have {found:,}"
            records[source] = replace(record, state=FileState.ROWS_LOST, problem=problem)


_DEEPEST = 3
"""Folders below a tier: a data type, a symbol or all of them, and of these a month."""

_OURS = re.compile(r"[a-z0-9_]+|[A-Z0-9._%-]+")
"""What such a folder may be called: no `lost+found`, which is root's on a disk of its own."""


def _look_into(folder: Path, depth: int = 0) -> None:
    """Refuse a folder that cannot be listed: for a pattern it would have no files."""
    try:
        with os.scandir(folder) as entries:
            found = [one for one in entries if _OURS.fullmatch(one.name) and one.is_dir()]
    except OSError as error:
        if error.errno in REFUSED:
            raise UnreadablePartitionError(folder, os.strerror(error.errno)) from error
        return
    for one in found if depth < _DEEPEST else ():
        _look_into(Path(one.path), depth + 1)


def _month_of(layout: Layout, path: Path) -> tuple[str, str]:
    """The data type and the month of a partition, by its name."""
    name, _, *below = path.relative_to(layout.cache).parts
    return name, below[0].removesuffix(path.suffix)


def _described(path: Path) -> Partition | CorruptPartitionError:
    try:
        return describe(path)
    except UnreadablePartitionError:
        raise
    except CorruptPartitionError as error:
        return error


def _told(layout: Layout) -> tuple[dict[str, SourceFile], list[Path]]:
    """What the ledger says, by source, and its files that cannot be read."""
    found: dict[str, SourceFile] = {}
    damaged = []
    for path in kept_tables.ledger_paths(layout):
        try:
            told = [file_record(row) for row in kept_tables.read_ledger(path).to_pylist()]
        except UnreadablePartitionError:
            raise
        except (CorruptPartitionError, ValueError, TypeError):
            damaged.append(path)
            continue
        if not all(_is_its_own(record, path) for record in told):
            damaged.append(path)
            continue
        found |= {record.source: record for record in told}
    return found, damaged


def _is_its_own(record: SourceFile, path: Path) -> bool:
    """Whether a record is of the file that its key names, and stands on the ledger's right page."""
    file = parse_key(record.source) if record.source else None
    return (
        file is not None
        and (file.data_type, file.day) == (record.data_type, record.day)
        and (file.symbol is None) == (record.symbol is None)
        and (path.parent.name, path.stem) == (file.data_type, f"{file.day:%Y_%m}")
    )


@dataclass
class _Rejects:
    """How many rows were rejected.

    Attributes:
        by_source: by the key of their file and the reason.
        by_symbol: by the key of their file, symbol and session.
    """

    by_source: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    by_symbol: Counter[tuple[str, str, date]] = field(default_factory=Counter)

    @classmethod
    def read(cls, layout: Layout, damaged: list[Path]) -> _Rejects:
        """What the files of rejects say; those that cannot be read are added to `damaged`."""
        found = cls()
        for path in layout.rejects.glob("*/*/*.parquet"):
            try:
                counts = _rejects(path)
            except MemoryError:
                raise
            except (OSError, ValueError, KeyError, OverflowError, pa.ArrowException) as error:
                # A day that Python has not overflows.
                if isinstance(error, OSError) and error.errno in REFUSED:
                    raise UnreadablePartitionError(path, os.strerror(error.errno)) from error
                damaged.append(path)
                continue
            for (source, reason, symbol, session), rows in counts.items():
                file = parse_key(source)
                # A copy beside it would count twice.
                if file is not None and layout.rejects_of(file) == path:
                    found.by_source[source][reason] += rows
                    found.by_symbol[source, symbol, session] += rows
        return found


def _derived(
    partitions: list[Partition], rejects: defaultdict[str, Counter[str]]
) -> list[SourceFile]:
    """What partitions and rejects say of the files they came from."""
    sessions: defaultdict[str, list[SessionSource]] = defaultdict(list)
    for partition in partitions:
        for session in partition.sessions:
            sessions[session.source].append(session)
    return [
        _record(file, sessions[source], rejects[source])
        for source in {*sessions, *rejects}
        if (file := parse_key(source)) is not None
    ]


_READ_ROWS = 1 << 16
_TOLD = pa.schema(
    [
        ("source", pa.string()),
        ("reason", pa.string()),
        ("symbol", pa.string()),
        ("session", pa.date32()),
    ]
)


def _rejects(path: Path) -> Counter[tuple[str, str, str, date]]:
    """How many rows a file of rejects has, by `_TOLD`.

    Rows that repeat take next to nothing in the file: some at a time are read, and only counted.
    """
    found: Counter[tuple[str, str, str, date]] = Counter()
    texts = [field.name for field in _TOLD if pa.types.is_string(field.type)]
    with pq.ParquetFile(
        plain(path), page_checksum_verification=True, read_dictionary=texts
    ) as file:
        for batch in file.iter_batches(_READ_ROWS, columns=_TOLD.names, use_threads=False):
            check_texts(told := pa.table(batch))
            rows = told.select(_TOLD.names).cast(_TOLD)
            counted = rows.group_by(_TOLD.names, use_threads=False).aggregate([([], "count_all")])
            counts = counted["count_all"].to_pylist()
            keys = zip(*(counted[name].to_pylist() for name in _TOLD.names), strict=True)
            found.update(dict(zip(keys, counts, strict=True)))
    return found


def _record(file: RawFile, sessions: list[SessionSource], rejects: Counter[str]) -> SourceFile:
    published = sum(session.rows for session in sessions)
    return SourceFile(
        file.data_type,
        file.day,
        file.symbol,
        file.key,
        state=FileState.INGESTED,
        etag=sessions[0].etag if sessions else None,
        sha256=sessions[0].sha256 if sessions else None,
        rows_published=published,
        rows_rejected=rejects.total(),
        rejects_by_reason=dict(rejects),
    )
