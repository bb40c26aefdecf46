"""What the files themselves say: from this a lost catalog is made anew.

Every partition carries its provenance, every reject its source, and the ledger says what became of
each of the vendor's files, so that nothing is lost with the catalog but the history of runs and
what validation found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import FileState
from warehouse.core.paths import BUCKET_PREFIX, Layout, RawFile, month_of, parse_raw_path
from warehouse.core.small_files import plain
from warehouse.errors import CorruptPartitionError
from warehouse.store import ledger
from warehouse.store.catalog import CatalogChange, SourceFile, file_record
from warehouse.store.partitions import Partition, SessionSource, describe


def take_inventory(layout: Layout, workers: int) -> tuple[CatalogChange, list[Path]]:
    """Records of all partitions and of the raw files they came from.

    Returns:
        The records, and the files that cannot be read. What was ingested of the month of such a
        partition is not known: no file of it has a record, so that all are read again.
    """
    paths = [
        path for name in DATA_TYPES for path in sorted((layout.cache / name).glob("*/*.parquet"))
    ]
    with ThreadPoolExecutor(workers, thread_name_prefix="inventory") as threads:
        described = list(threads.map(_described, paths))
    partitions = [found for found in described if isinstance(found, Partition)]
    damaged = [found.path for found in described if isinstance(found, CorruptPartitionError)]
    in_doubt = {(path.parts[-3], path.stem) for path in damaged}
    records, lost = _told(layout)
    damaged += lost
    for record in _derived(layout, partitions, damaged):
        # The ledger knows more. Where it has no word, the files' own stands.
        records.setdefault(record.source, record)
    files = [
        record
        for record in records.values()
        if record.state != FileState.INGESTED
        or (record.data_type, f"{month_of(record.day):%Y_%m}") not in in_doubt
    ]
    return CatalogChange(partitions=partitions, files=files), damaged


def _described(path: Path) -> Partition | CorruptPartitionError:
    try:
        return describe(path)
    except CorruptPartitionError as error:
        return error


def _told(layout: Layout) -> tuple[dict[str, SourceFile], list[Path]]:
    """What the ledger says, by source, and its files that cannot be read."""
    found: dict[str, SourceFile] = {}
    damaged = []
    for path in ledger.paths(layout):
        try:
            told = [file_record(row) for row in ledger.read(path).to_pylist()]
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


def parse_key(key: str) -> RawFile | None:
    """The raw file of that key in the source, or None where it is no such key."""
    for kind in DATA_TYPES.values():
        for folder in (kind.vendor_folder, kind.symbol_folder):
            prefix = f"{BUCKET_PREFIX}/{folder}/"
            if key.startswith(prefix):
                return parse_raw_path(kind.name, key.removeprefix(prefix))
    return None


def _derived(layout: Layout, partitions: list[Partition], damaged: list[Path]) -> list[SourceFile]:
    """What partitions and rejects say of the files they came from."""
    sessions: defaultdict[str, list[SessionSource]] = defaultdict(list)
    for partition in partitions:
        for session in partition.sessions:
            sessions[session.source].append(session)
    rejects: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path in layout.rejects.glob("*/*/*.parquet"):
        try:
            pairs = Counter(_rejects(path))
        except (OSError, ValueError, KeyError, pa.ArrowException):
            damaged.append(path)
            continue
        for (source, reason), rows in pairs.items():
            file = parse_key(source)
            # A copy beside it would count twice.
            if file is not None and layout.rejects_of(file) == path:
                rejects[source][reason] += rows
    return [
        _record(file, sessions[source], rejects[source])
        for source in {*sessions, *rejects}
        if (file := parse_key(source)) is not None
    ]


def _rejects(path: Path) -> list[tuple[str, str]]:
    with pq.ParquetFile(plain(path), page_checksum_verification=True) as file:
        told = file.read(columns=["source", "reason"], use_threads=False)
    table = told.cast(pa.schema([("source", pa.string()), ("reason", pa.string())]))
    return list(zip(table["source"].to_pylist(), table["reason"].to_pylist(), strict=True))


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
