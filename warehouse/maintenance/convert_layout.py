"""Convert what is published from one layout into the other, from the partitions themselves.

Row for row, and with where each came from: the raw files may be gone. A month is published at once,
as a run publishes it, so that a conversion that is killed leaves each month in one layout or in the
other; the next goes on with the rest.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.config import PartitionLayout
from warehouse.core.datatypes import DataType, is_kept_bars
from warehouse.core.paths import ALL_SYMBOLS, Layout, month_of, partition_name
from warehouse.core.representation import Face
from warehouse.core.request import Request
from warehouse.errors import RequestError, StorageError
from warehouse.ingest.market_builder import MarketWriter, Part, edges_of_symbols, symbols_of
from warehouse.ingest.row_sorter import RowsOnDisk, RowsToDisk, SortedRows
from warehouse.pipeline.bars.work import Scope
from warehouse.pipeline.batches import ByType
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.store.catalog import Catalog, CatalogChange, of_run
from warehouse.store.partitions import (
    ENTRIES,
    Partition,
    SessionSource,
    brought,
    ranks_of,
    read_rows_of,
    read_sessions,
    write_partition,
)
from warehouse.store.publishing.publish import check_places

_RANGE_ROWS = 1_048_576
_SPOOL_ROWS = 16_384
"""Of each session, held before they are put away: a month has up to 23."""
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
        RequestError: symbols are named.
        LockedError: another process is writing to the warehouse.
        CorruptPartitionError: a partition is damaged; other months are converted.
        SqlFileError: a statement of sql/bars fails; what are no bars is converted.
        StorageError: the disk refuses.
    """
    if request.symbols:
        raise RequestError(
            "symbols",
            ", ".join(sorted(request.symbols)),
            "a layout is that of whole months: name no symbols",
        )
    with pipeline.run("rebuild", dry_run) as run:
        report = LayoutReport(layout, run, [])
        by_type = ByType(pipeline.progress, pipeline.layout)
        for kind in request.kinds:
            if is_kept_bars(kind.name):
                _remake(pipeline, kind, request, report, by_type, dry_run=dry_run)
                continue
            for month in _months(pipeline, kind, request):
                if by_type.is_stopped(kind.name, month):
                    continue
                with by_type.work_on(kind.name, month=month):
                    _convert(pipeline, kind, month, report, dry_run=dry_run)
        by_type.raise_stopped()
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
        written = _joined(pipeline, kind, present, folder)
    else:
        written = _parted(pipeline, kind, month, present, entries, folder)
    moves = [(path, f"{layout.cache}/{partition_name(*one.key)}") for one, path in written]
    removals = [layout.partition(*one.key) for one in present]
    check_places(layout, moves, removals=removals)
    pipeline.writer.publish(
        CatalogChange(
            partitions=[one for one, _ in written],
            removed=[one.key for one in present],
            runs=[of_run(report.run.metrics, "running")],
        ),
        moves,
        removals,
    )
    shutil.rmtree(folder)
    report.files_after += len(written)
    report.bytes_after += sum(one.bytes for one, _ in written)


def _remake(
    pipeline: Pipeline,
    kind: DataType,
    request: Request,
    report: LayoutReport,
    by_type: ByType,
    *,
    dry_run: bool,
) -> None:
    """Bars are built anew from the trades, in the other layout: it takes no longer."""
    scope = Scope((kind,), month_of(request.first), request.last, place=report.layout)
    for work in pipeline.bars.work(scope, by_type.work_on):
        if by_type.is_stopped(kind.name, work.month):
            continue
        report.months.append((kind.name, work.month))
        with Catalog(pipeline.layout) as catalog:
            before = catalog.partitions(kind.name, None, work.month, work.month)
        report.files_before += len(before)
        report.bytes_before += sum(one.bytes for one in before)
        report.rows += sum(one.rows for one in before)
        if dry_run:
            continue
        with by_type.work_on(kind.name, month=work.month):
            pipeline.publish_bars(report.run, work, "running")
        with Catalog(pipeline.layout) as catalog:
            after = catalog.partitions(kind.name, None, work.month, work.month)
        report.files_after += len(after)
        report.bytes_after += sum(one.bytes for one in after)


def _joined(
    pipeline: Pipeline, kind: DataType, present: Sequence[Partition], folder: Path
) -> list[tuple[Partition, str]]:
    """The partitions of all symbols, from those of each."""
    ordered = sorted(present, key=lambda one: one.symbol.encode())
    # What most of it was made by need not be said of each session.
    made_by = max(ordered, key=lambda one: (one.sessions[-1].session, one.symbol)).fingerprint
    by_place: dict[date, list[dict[str, Any]]] = {}
    for one in ordered:
        for session in one.sessions:
            fingerprint = _unless(made_by, session.fingerprint or one.fingerprint)
            told = {**vars(session), "symbol": one.symbol, "fingerprint": fingerprint}
            by_place.setdefault(_place(kind, session.session), []).append(told)
    rows = _put_by_place(pipeline, kind, ordered, folder, by_place)
    written: list[tuple[Partition, str]] = []
    workers = pipeline.config.processing.parallel_workers
    for place, some in sorted(by_place.items()):
        entries = pa.Table.from_pylist(some, ENTRIES)
        symbols = symbols_of([entries])
        with closing(rows.pop(place)) as on_disk:
            own = SortedRows(entries, on_disk.count, 0, on_disk=on_disk)
            shelf = folder / f"{place:%d}"
            pipeline.layout.modes.make_folders(shelf)
            writer = MarketWriter(pipeline.layout, kind, place, (), shelf, workers)
            part = Part(edges_of_symbols(entries, symbols), None, own)
            written += writer.write([part], symbols, entries, made_by)
        on_disk.path.unlink()
    return written


def _place(kind: DataType, session: date) -> date:
    """What files of all symbols are of: a session, or a month."""
    return session if kind.by_session else month_of(session)


def _put_by_place(
    pipeline: Pipeline,
    kind: DataType,
    ordered: Sequence[Partition],
    folder: Path,
    places: Collection[date],
) -> dict[date, RowsOnDisk]:
    """The rows of partitions, which are by symbol, in a file for each session, or for the month.

    So each partition is read once, and of a month with very many rows few are in memory.
    """
    writers = {
        place: RowsToDisk(folder / f"rows-{place}.arrow", kind.columns, _SPOOL_ROWS)
        for place in places
    }
    try:
        for one in ordered:
            path = brought(pipeline.layout, one)
            every = frozenset(session.session for session in one.sessions)
            for session, some in read_sessions(path, one, every):
                for batch in some:
                    writers[_place(kind, session.session)].write(batch)
        return {place: writer.close() for place, writer in writers.items()}
    except OSError as error:
        raise StorageError(
            folder, f"cannot hold the rows that are converted: {error.strerror or error}"
        ) from error


def _parted(
    pipeline: Pipeline,
    kind: DataType,
    month: date,
    present: Sequence[Partition],
    entries: pa.Table,
    folder: Path,
) -> list[tuple[Partition, str]]:
    """The partitions of each symbol, from those of all."""
    layout = pipeline.layout
    sessions: dict[str, list[SessionSource]] = {}
    for entry in entries.to_pylist():
        sessions.setdefault(entry.pop("symbol"), []).append(SessionSource(**entry))
    symbols = list(sessions)
    shared = _shared(present, entries, symbols)
    counts = [sum(one.rows for one in each) for each in sessions.values()]
    until = np.concatenate([[0], np.cumsum(counts)])
    made = {file.key.session: file.fingerprint for file in present}
    workers = pipeline.config.processing.parallel_workers
    written: list[tuple[Partition, str]] = []

    def write(place: int, rows: Iterable[pa.RecordBatch]) -> tuple[Partition, str]:
        symbol = symbols[place]
        by = [
            one.fingerprint or made[one.session if kind.by_session else None]
            for one in sessions[symbol]
        ]
        each = tuple(
            replace(one, fingerprint=_unless(by[-1], made_by))
            for one, made_by in zip(sessions[symbol], by, strict=True)
        )
        staged = str(folder / str(place // _SHELF_FILES) / f"{place}.parquet")
        return write_partition(staged, kind, rows, symbol, month, each, by[-1]), staged

    low = 0
    while low < len(symbols):
        wanted = until[low] + _RANGE_ROWS
        high = max(int(np.searchsorted(until, wanted, side="right")) - 1, low + 1)
        for shelf in range(low // _SHELF_FILES, (high - 1) // _SHELF_FILES + 1):
            layout.modes.make_folders(folder / str(shelf))
        if until[high] - until[low] > _RANGE_ROWS:
            written.append(write(low, _of_large(layout, shared, low)))
        else:
            rows = _between(layout, shared, low, high)
            own = [
                rows.slice(int(until[place] - until[low]), counts[place]).to_batches()
                for place in range(low, high)
            ]
            with ThreadPoolExecutor(workers, thread_name_prefix="encode") as threads:
                written += threads.map(write, range(low, high), own)
        low = high
    return written


@dataclass(frozen=True)
class _Shared:
    """Files of all symbols whose rows follow on each other: those of a session, or of the month.

    Attributes:
        edges: of the symbols of the month in turn, the row at which each begins, and the end.
    """

    files: list[Partition]
    edges: npt.NDArray[np.int64]


def _shared(
    present: Sequence[Partition], entries: pa.Table, symbols: Sequence[str]
) -> list[_Shared]:
    """The files by session, ascending."""
    names = pa.array(symbols, pa.string())
    files: dict[date | None, list[Partition]] = {}
    for one in present:
        files.setdefault(one.key.session, []).append(one)
    found = []
    for session, some in sorted(files.items(), key=lambda item: str(item[0])):
        own = entries
        if session is not None:
            own = entries.filter(pc.equal(entries["session"], pa.scalar(session)))
        found.append(_Shared(some, edges_of_symbols(own, names)))
    return found


def _between(layout: Layout, shared: Sequence[_Shared], low: int, high: int) -> pa.Table:
    """The rows of the symbols [low, high), by symbol and session."""
    parts = [
        read_rows_of(layout, one.files, int(one.edges[low]), int(one.edges[high])) for one in shared
    ]
    rows = pa.concat_tables(parts)
    if len(parts) > 1:
        ranks, _ = ranks_of(rows["symbol"])
        rows = rows.take(pa.array(np.argsort(ranks, kind="stable")))
    return rows.combine_chunks()


def _of_large(layout: Layout, shared: Sequence[_Shared], place: int) -> Iterator[pa.RecordBatch]:
    """The rows of a symbol that has very many, a few at a time."""
    for one in shared:
        stop = int(one.edges[place + 1])
        for start in range(int(one.edges[place]), stop, _RANGE_ROWS):
            rows = read_rows_of(layout, one.files, start, min(start + _RANGE_ROWS, stop))
            yield from rows.to_batches()


def _unless(made_by: str, fingerprint: str) -> str | None:
    """What made a session, where it is not what made the partition."""
    return None if fingerprint == made_by else fingerprint
