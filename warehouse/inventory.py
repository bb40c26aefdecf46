"""What the files themselves say: from this a lost catalog is made anew.

Every partition carries its provenance and every reject its source, so that nothing is lost with the
catalog but the history of runs and what validation found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq

from warehouse.catalog import CatalogChange, SourceFile
from warehouse.errors import CorruptPartitionError, one_line
from warehouse.layout import BUCKET_PREFIX, Layout, RawFile, parse_raw_path
from warehouse.partitions import Partition, SessionSource, describe
from warehouse.schema import DATA_TYPES


def take_inventory(layout: Layout, workers: int) -> tuple[CatalogChange, list[Path]]:
    """Records of all partitions and of the raw files they came from.

    Returns:
        The records, and the partitions that cannot be read. Which files those came from is not
        known: no file of their month has a record, so that all are read again.

    Raises:
        CorruptPartitionError: a rejects file cannot be read.
    """
    paths = [
        path for name in DATA_TYPES for path in sorted((layout.cache / name).glob("*/*.parquet"))
    ]
    with ThreadPoolExecutor(workers, thread_name_prefix="inventory") as threads:
        described = list(threads.map(_described, paths))
    partitions = [found for found in described if isinstance(found, Partition)]
    damaged = [found.path for found in described if isinstance(found, CorruptPartitionError)]
    in_doubt = {(path.parts[-3], path.stem) for path in damaged}
    sessions: defaultdict[str, list[SessionSource]] = defaultdict(list)
    for partition in partitions:
        for session in partition.sessions:
            sessions[session.source].append(session)
    rejects: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path in layout.rejects.glob("*/*/*.parquet"):
        for source, reason in _rejects(path):
            rejects[source][reason] += 1
    files = [
        _record(file, sessions[source], rejects[source])
        for source in {*sessions, *rejects}
        if (file := parse_key(source)) is not None
        and (file.data_type, f"{file.day:%Y_%m}") not in in_doubt
    ]
    return CatalogChange(partitions=partitions, files=files), damaged


def _described(path: Path) -> Partition | CorruptPartitionError:
    try:
        return describe(path)
    except CorruptPartitionError as error:
        return error


def parse_key(key: str) -> RawFile | None:
    """The raw file of that key in the source, or None where it is no such key."""
    for kind in DATA_TYPES.values():
        for folder in (kind.vendor_folder, kind.symbol_folder):
            prefix = f"{BUCKET_PREFIX}/{folder}/"
            if key.startswith(prefix):
                return parse_raw_path(kind.name, key.removeprefix(prefix))
    return None


def _rejects(path: Path) -> list[tuple[str, str]]:
    try:
        table = pq.read_table(path, columns=["source", "reason"], partitioning=None)
    except (OSError, ValueError) as error:
        raise CorruptPartitionError(
            path, one_line(error, 200), f"warehouse rebuild {path.parts[-3]}"
        ) from error
    return list(zip(table["source"].to_pylist(), table["reason"].to_pylist(), strict=True))


def _record(file: RawFile, sessions: list[SessionSource], rejects: Counter[str]) -> SourceFile:
    published = sum(session.rows for session in sessions)
    return SourceFile(
        file.data_type,
        file.day,
        file.symbol,
        file.key,
        state="ingested",
        etag=sessions[0].etag if sessions else None,
        sha256=sessions[0].sha256 if sessions else None,
        rows_published=published,
        rows_rejected=rejects.total(),
        rejects_by_reason=dict(rejects),
    )
