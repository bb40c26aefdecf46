"""Convert what is published from one layout into the other, from the partitions themselves.

Row for row, and with where each came from: the raw files may be gone. A month is published at once,
as a run publishes it, so that a conversion that is killed leaves each month in one layout or in the
other; the next goes on with the rest.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from warehouse.core.config import MARKET_TYPES, PartitionLayout
from warehouse.core.datatypes import DataType
from warehouse.core.paths import ALL_SYMBOLS, month_of, partition_name
from warehouse.core.representation import Face
from warehouse.core.request import Request
from warehouse.errors import RequestError
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.store.catalog import Catalog, CatalogChange, of_run
from warehouse.store.partitions import (
    ENTRIES,
    Partition,
    SessionSource,
    read_rows,
    read_sessions,
    sessions_of,
    slices_of,
    write_partition,
)

_RANGE_ROWS = 262_144
_SHELF_FILES = 32


@dataclass(repr=False)
class LayoutReport(Face):
    """What was converted.

    Attributes:
        layout: the one that all is in now.
        months: the data type and the first day of each month that was converted, or would be.
        files_before, files_after: how many files they had, and have.
        bytes_before, bytes_after: of these.
        rows: of these months.
    """

    layout: PartitionLayout
    run: RunReport
    months: list[tuple[str, date]]
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    rows: int = 0

    def _face(self) -> dict[str, Any]:
        return {
            "layout": self.layout,
            "months": len(self.months),
            "rows": self.rows,
            "files_before": self.files_before,
            "files_after": self.files_after,
        }


def convert_layout(
    pipeline: Pipeline, request: Request, layout: PartitionLayout, *, dry_run: bool = False
) -> LayoutReport:
    """Convert the months that a request takes in, each whole, into a layout. Recorded as a run.

    Raises:
        RequestError: symbols are named, or the data type has one layout only.
        LockedError: another process is writing to the warehouse.
        CorruptPartitionError: a partition is damaged; months before it are converted.
        StorageError: the disk refuses.
    """
    if request.symbols:
        raise RequestError(
            "symbols",
            ", ".join(sorted(request.symbols)),
            "a layout is that of whole months: name no symbols",
        )
    for kind in request.kinds:
        if layout == "market" and kind.name not in MARKET_TYPES:
            raise RequestError(
                "layout", layout, f"{kind.name} have the layout symbol alone; name day_aggs"
            )
    with pipeline.run("rebuild", dry_run) as run:
        report = LayoutReport(layout, run, [])
        for kind in request.kinds:
            for month in _months(pipeline, kind, request):
                _convert(pipeline, kind, month, report, dry_run=dry_run)
        if not dry_run:
            pipeline.writer.publish(CatalogChange(runs=[of_run(run.metrics, "done")]))
        return report


def _months(pipeline: Pipeline, kind: DataType, request: Request) -> list[date]:
    with Catalog(pipeline.layout) as catalog:
        found = catalog.rows(
            "select distinct month from partitions where data_type = $data_type order by month",
            data_type=kind.name,
        )
    first, last = month_of(request.first), month_of(request.last)
    return [row["month"] for row in found if first <= row["month"] <= last]


def _convert(
    pipeline: Pipeline, kind: DataType, month: date, report: LayoutReport, *, dry_run: bool
) -> None:
    layout = pipeline.layout
    with Catalog(layout) as catalog:
        present = catalog.partitions(kind.name, None, month, month)
        is_shared = [one.symbol == ALL_SYMBOLS for one in present]
        if all(is_shared) if report.layout == "market" else not any(is_shared):
            return
        entries = catalog.entries(kind.name, month)
    report.months.append((kind.name, month))
    report.files_before += len(present)
    report.bytes_before += sum(one.bytes for one in present)
    report.rows += sum(one.rows for one in present)
    if dry_run:
        return
    pipeline.progress.begin(f"{kind.name} {month:%Y-%m}: {report.layout}", 0)
    folder = layout.staging / f"{report.run.metrics.run_id}-{kind.name}-{month:%Y_%m}"
    layout.modes.make_folders(folder)
    if report.layout == "market":
        written = [_joined(pipeline, kind, month, present, folder)]
    else:
        written = _parted(pipeline, kind, present[0], entries, folder)
    cache = layout.cache
    pipeline.writer.publish(
        CatalogChange(
            partitions=[one for one, _ in written],
            removed=[(one.data_type, one.symbol, one.month) for one in present],
            runs=[of_run(report.run.metrics, "running")],
        ),
        [
            (path, f"{cache}/{partition_name(one.data_type, one.symbol, one.month)}")
            for one, path in written
        ],
        [layout.partition(one.data_type, one.symbol, one.month) for one in present],
    )
    shutil.rmtree(folder)
    report.files_after += len(written)
    report.bytes_after += sum(one.bytes for one, _ in written)


def _joined(
    pipeline: Pipeline, kind: DataType, month: date, present: Sequence[Partition], folder: Path
) -> tuple[Partition, str]:
    """The partition of all symbols, from those of each."""
    ordered = sorted(present, key=lambda one: one.symbol.encode())
    # What most of it was made by need not be said of each session.
    made_by = max(ordered, key=lambda one: (one.sessions[-1].session, one.symbol)).fingerprint
    rows = [
        {
            **vars(session),
            "symbol": one.symbol,
            "fingerprint": _unless(made_by, session.fingerprint or one.fingerprint),
        }
        for one in ordered
        for session in one.sessions
    ]
    entries = pa.Table.from_pylist(rows, ENTRIES)

    def batches() -> Iterator[pa.RecordBatch]:
        for one in ordered:
            path = pipeline.layout.partition(kind.name, one.symbol, month)
            every = frozenset(session.session for session in one.sessions)
            for _, some in read_sessions(path, one, every):
                yield from some

    path = str(folder / "market.parquet")
    partition = write_partition(
        path, kind, batches(), ALL_SYMBOLS, month, sessions_of(entries), made_by
    )
    first, last = (
        pa.array([getattr(one, name) for one in ordered], pa.int64())
        for name in ("first_ns", "last_ns")
    )
    return replace(partition, slices=slices_of(entries, first, last)), path


def _parted(
    pipeline: Pipeline, kind: DataType, shared: Partition, entries: pa.Table, folder: Path
) -> list[tuple[Partition, str]]:
    """The partitions of each symbol, from that of all."""
    layout = pipeline.layout
    path = layout.partition(kind.name, ALL_SYMBOLS, shared.month)
    sessions: dict[str, list[SessionSource]] = {}
    for entry in entries.to_pylist():
        sessions.setdefault(entry.pop("symbol"), []).append(SessionSource(**entry))
    symbols = list(sessions)
    counts = [sum(one.rows for one in each) for each in sessions.values()]
    until = np.concatenate([[0], np.cumsum(counts)])
    workers = pipeline.config.processing.parallel_workers
    written: list[tuple[Partition, str]] = []
    low = 0
    while low < len(symbols):
        wanted = until[low] + _RANGE_ROWS
        high = max(int(np.searchsorted(until, wanted, side="right")) - 1, low + 1)
        rows = read_rows(path, shared, int(until[low]), int(until[high])).combine_chunks()

        def write(place: int, rows: pa.Table = rows, low: int = low) -> tuple[Partition, str]:
            symbol = symbols[place]
            shelf = folder / str(place // _SHELF_FILES)
            own = rows.slice(int(until[place] - until[low]), counts[place])
            made_by = sessions[symbol][-1].fingerprint or shared.fingerprint
            each = tuple(
                replace(one, fingerprint=_unless(made_by, one.fingerprint or shared.fingerprint))
                for one in sessions[symbol]
            )
            staged = str(shelf / f"{place}.parquet")
            args = (staged, kind, own.to_batches(), symbol, shared.month, each, made_by)
            return write_partition(*args), staged

        for shelf in range(low // _SHELF_FILES, (high - 1) // _SHELF_FILES + 1):
            layout.modes.make_folders(folder / str(shelf))
        with ThreadPoolExecutor(workers, thread_name_prefix="encode") as threads:
            written += threads.map(write, range(low, high))
        low = high
    return written


def _unless(made_by: str, fingerprint: str) -> str | None:
    """What made a session, where it is not what made the partition."""
    return None if fingerprint == made_by else fingerprint
