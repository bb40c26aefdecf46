"""A file of ours against what is recorded of it: what is wrong with it, or None where all is right.

A file's hash is looked at first. One whose bytes are not those that were written is not opened:
nobody knows what a reader makes of it.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from datetime import date
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.core.datatypes import DataType, completed, data_type
from warehouse.core.file_state import FileState
from warehouse.core.paths import ALL_SYMBOLS, month_of
from warehouse.core.small_files import parsed_json, plain
from warehouse.errors import one_line
from warehouse.ingest.rejects import rejected_rows
from warehouse.ingest.tape_order import Key, Keys, keys_of
from warehouse.store.catalog import SourceFile
from warehouse.store.parquet_writer import MOST_GROUP_ROWS
from warehouse.store.partitions import (
    METADATA_KEY,
    SLICES,
    Partition,
    SessionSource,
    provenance,
    read_groups,
    slices_in,
    starts_of,
)

_AT_ONCE = 8 << 20
_EPOCH = date(1970, 1, 1)


def partition(path: Path, expected: Partition) -> str | None:
    """What is wrong with a partition: its bytes, its pages, its rows, their order, their labels."""
    if path.is_symlink() or path.parent.is_symlink():
        return "it is a link, which may lead out of the warehouse"
    try:
        with open(plain(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != expected.bytes:
                return f"{size:,} bytes, {expected.bytes:,} were written"
            # A small file is read once; of a large one no more than a row group is in memory.
            content = file.read() if size <= _AT_ONCE else None
            if content is not None:
                digest = hashlib.sha256(content).hexdigest()
            else:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if digest != expected.sha256:
        return "its bytes are not those that were written (SHA-256)"
    try:
        with (
            pa.OSFile(str(path)) if content is None else pa.BufferReader(content) as source,
            pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False) as parquet,
        ):
            return _content(parquet, source, expected)
    except (OSError, ValueError, pa.ArrowException) as error:
        return f"cannot be read back: {one_line(error, 200)}"


def _content(file: pq.ParquetFile, source: Any, expected: Partition) -> str | None:
    kind = data_type(expected.data_type)
    told = (file.metadata.metadata or {}).get(METADATA_KEY)
    due = provenance(expected.key, expected.sessions, expected.fingerprint)
    if told is None or (told != due and parsed_json(told) != parsed_json(due)):
        return "it says of itself what the catalog does not"
    if file.metadata.num_rows != expected.rows:
        return f"{file.metadata.num_rows:,} rows, the catalog says {expected.rows:,}"
    if any(month_of(session.session) != expected.month for session in expected.sessions):
        return "a session of it is of another month"
    only = expected.key.session
    if only is not None and any(session.session != only for session in expected.sessions):
        return "a session of it is not that of its name"
    sessions: Counter[int] = Counter()
    last: tuple[int, Key] | None = None
    groups = range(file.metadata.num_row_groups)
    counts = [file.metadata.row_group(group).num_rows for group in groups]
    if max(counts, default=0) > MOST_GROUP_ROWS:
        return f"a row group of it has {max(counts):,} rows"
    edges = [0, *accumulate(counts)]
    if expected.symbol == ALL_SYMBOLS:
        return _content_of_all(file, source, edges, kind, expected)
    for group in groups:
        rows = completed(read_groups(file, source, edges, [group]), kind.columns)
        if any(symbol != expected.symbol for symbol in rows["symbol"].unique().to_pylist()):
            return "rows of another symbol stand in it"
        days = rows["session"].cast(pa.int32()).to_numpy()
        sessions.update(dict(zip(*_counted(days), strict=True)))
        keys = keys_of(rows, kind)
        if not _ascend(days, keys, last):
            return "its rows are not in the order of the tape"
        last = (int(days[-1]), keys.at(-1)) if len(days) else last
    days_due = {(s.session - _EPOCH).days: s.rows for s in expected.sessions}
    if days_due != sessions:
        return "rows of a session are not as many as it says"
    return None


def _content_of_all(
    file: pq.ParquetFile, source: Any, edges: Sequence[int], kind: DataType, expected: Partition
) -> str | None:
    """What is wrong with the rows of all symbols: their order, and where the catalog has each."""
    last: tuple[str, int, Key] | None = None
    for group in range(len(edges) - 1):
        rows = completed(read_groups(file, source, edges, [group]), kind.columns)
        symbols = rows["symbol"].combine_chunks()
        starts = np.flatnonzero(starts_of(symbols))
        names = symbols.take(pa.array(starts)).to_pylist()
        days, keys = rows["session"].cast(pa.int32()).to_numpy(), keys_of(rows, kind)
        for name, low, high in zip(names, starts, [*starts[1:], rows.num_rows], strict=True):
            before = None
            if last is not None:
                if name < last[0]:
                    return "its rows are not by symbol"
                before = last[1:] if name == last[0] else None
            if not _ascend(days[low:high], keys[low:high], before):
                return "its rows are not in the order of the tape"
            last = name, int(days[high - 1]), keys.at(high - 1)
    found = slices_in(file, source, edges, expected.sessions)
    due = SLICES.empty_table() if expected.slices is None else expected.slices
    if not found.drop_columns(["sessions"]).equals(due.drop_columns(["sessions"])):
        return "its symbols do not stand where the catalog says"
    told, said = (_as_told(one, expected.sessions) for one in (found, due))
    if not told.equals(said):
        return "rows of a symbol's session are not as many as the catalog says, or of another file"
    return None


def _as_told(slices: pa.Table, sessions: Sequence[SessionSource]) -> pa.Table:
    """Each symbol's sessions without what neither the rows nor the footer tell.

    Of a session of which some symbols were made anew (from a later version of its file, or by other
    SQL) the footer says what is from which, and how many rows, and not whose.
    """
    entries = slices["sessions"].combine_chunks().flatten()
    made = Counter((one.session, one.source) for one in sessions)
    several = pa.array(sorted({day for (day, _), times in made.items() if times > 1}), pa.date32())
    told = {name: entries.field(name) for name in ("session", "rows", "source")}
    is_one = pc.invert(pc.is_in(entries.field("session"), several))
    for name in ("etag", "sha256", "fingerprint"):
        told[name] = pc.if_else(is_one, entries.field(name), pa.scalar(None, pa.string()))
    return pa.table(told)


def _counted(days: npt.NDArray[np.int32]) -> tuple[list[int], list[int]]:
    values, counts = np.unique(days, return_counts=True)
    return values.tolist(), counts.tolist()


def _ascend(days: npt.NDArray[np.int32], keys: Keys, last: tuple[int, Key] | None) -> bool:
    """Whether no row stands before its predecessor; `last` is the one before the first."""
    same = (days[1:] == days[:-1]) & (keys.later() | keys.same())
    if not bool(((days[1:] > days[:-1]) | same).all()):
        return False
    return last is None or not len(days) or (int(days[0]), keys.at(0)) >= last


def rejects(path: Path, record: SourceFile) -> str | None:
    """What is wrong with the rejects of a raw file.

    Those of symbols that the record does not speak of may be of an earlier version of the file.
    """
    due = Counter(record.rejects_by_reason or {})
    counted: Counter[str] = Counter()
    try:
        for batch in rejected_rows(path, data_type(record.data_type)):
            if set(batch.column("source").unique().to_pylist()) - {record.source}:
                return "rows of another file stand in it"
            pairs = zip(
                batch.column("symbol").to_pylist(),
                batch.column("reason").to_pylist(),
                strict=True,
            )
            counted.update(reason for symbol, reason in pairs if _is_of(record, symbol))
    except FileNotFoundError:
        return "missing" if due else None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        return f"cannot be read back: {one_line(error, 200)}"
    if (
        record.state == FileState.INGESTED
        and record.rejects_by_reason is not None
        and counted != due
    ):
        return f"{counted.total():,} rows, the catalog says {due.total():,}, or of other reasons"
    return None


def _is_of(record: SourceFile, symbol: str | None) -> bool:
    if record.symbols is None or record.symbol is not None or symbol is None:
        return True
    return symbol in record.symbols
