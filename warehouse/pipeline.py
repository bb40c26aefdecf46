"""The pipeline: plan → stage → publish, one writer at a time.

A run is cut into batches of one data type and month. Each batch is staged whole and published
whole; a run that is killed keeps the batches it has published, and the next run does the rest.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from warehouse import catalogfile, records
from warehouse.catalog import Catalog, CatalogChange, SourceFile
from warehouse.config import Config
from warehouse.download import (
    files_to_ingest,
    open_source,
    plan_download,
    put_aside,
    raw_files,
    records_of,
    take,
)
from warehouse.errors import NoDataError, OutdatedCatalogError, StorageError
from warehouse.inventory import take_inventory
from warehouse.layout import Layout, RawFile, month_of, partition_name
from warehouse.metrics import Progress, RunMetrics, Silent
from warehouse.partfile import superseded
from warehouse.publish import Change, publish, writer_lock
from warehouse.run import Request, RunReport
from warehouse.schema import DataType, data_type
from warehouse.source import vouches_for
from warehouse.sqlfiles import SqlFolder
from warehouse.staging import StagedBatch, StagedFile, Stager

# So much compressed input is staged before it is published: what a batch sets aside on disk in
# between is a few times that.
_BATCH_BYTES = 8 << 30


class Pipeline:
    """Writes to one warehouse."""

    def __init__(self, layout: Layout, config: Config, progress: Progress | None = None) -> None:
        self.layout, self.config = layout, config
        self.sql = SqlFolder(config.sql_dir(layout.root))
        self.config_dir = layout.root / "config"
        self._progress: Progress = progress or Silent()
        self._noted: set[str] = set()

    def download(self, request: Request, *, dry_run: bool = False) -> RunReport:
        """Bring new and changed files of the source into the raw tier."""
        with self._writing(dry_run):
            report = RunReport(RunMetrics("download"))
            self._download(request, report, dry_run=dry_run)
            if not dry_run and report.download and report.download.records:
                self._publish_records(report)
            return report

    def ingest(self, request: Request, *, dry_run: bool = False) -> RunReport:
        """Publish what the raw tier holds and the warehouse does not."""
        with self._writing(dry_run):
            report = RunReport(RunMetrics("ingest"))
            known = self._known()
            report.planned = files_to_ingest(
                self.layout, self.config, request.kinds, request.first, request.last, known
            )
            return self._ingest(report, self._configured(), known, dry_run=dry_run)

    def update(self, request: Request, *, dry_run: bool = False) -> RunReport:
        """Download, then ingest, what is new."""
        with self._writing(dry_run):
            report = RunReport(RunMetrics("update"))
            self._download(request, report, dry_run=dry_run)
            known = self._known() if dry_run else self._known() | self._fetched_records(report)
            report.planned = files_to_ingest(
                self.layout, self.config, request.kinds, request.first, request.last, known
            )
            if dry_run and report.download:
                new = {item.file for item in report.download.fetch}
                report.planned = sorted(new | set(report.planned), key=lambda file: file.sort_key)
            return self._ingest(report, self._configured(), known, dry_run=dry_run)

    def rebuild(self, request: Request, *, dry_run: bool = False) -> RunReport:
        """Make partitions anew from the raw tier, whether anything has changed or not.

        Raises:
            NoDataError: raw files of published sessions are no longer there.
        """
        with self._writing(dry_run):
            report = RunReport(RunMetrics("rebuild"))
            known = self._known()
            report.planned = raw_files(
                self.layout, self.config, request.kinds, request.first, request.last
            )
            if request.symbols:
                report.planned = [
                    file
                    for file in report.planned
                    if file.symbol is None or file.symbol in request.symbols
                ]
            self._check_raw(request, known, report.planned)
            return self._ingest(
                report, request.symbols or self._configured(), known, dry_run=dry_run
            )

    def _configured(self) -> frozenset[str]:
        return frozenset(self.config.source.symbols)

    @contextmanager
    def _writing(self, dry_run: bool) -> Iterator[None]:
        if dry_run:
            yield
            return
        try:
            with writer_lock(self.layout, self._complete):
                try:
                    with Catalog(self.layout) as catalog:
                        folder, features = catalog.folder(), catalog.features()
                except OutdatedCatalogError:
                    self.layout.catalog.unlink()
                    folder, features = None, {}
                if folder is None:
                    self._recover_catalog()
                elif folder != str(self.layout.data) or features != self._features():
                    # The warehouse was moved, and its views point to where it was; or its features
                    # are other than their macros.
                    self._publish(CatalogChange(), [], [])
                yield
        except OSError as error:
            # Not of a raw file, whose errors are its own: the disk refused our own work.
            place = error.filename or self.layout.data
            raise StorageError(place, f"cannot be written: {error.strerror or error}") from error

    def _features(self) -> dict[str, str]:
        return catalogfile.features(self.sql)

    def _recover_catalog(self) -> None:
        """Make a lost catalog anew from the files, without which their rows would be forgotten."""
        found, damaged = take_inventory(self.layout, self.config.processing.parallel_workers)
        if found.partitions or found.files:
            self._progress.note("the catalog is made anew from the partitions")
            self._publish(found, [], [])
        for path in damaged:
            self._progress.note(f"{path} is damaged; its month is read again from the raw files")

    def _complete(self, staged: Path) -> None:
        catalogfile.complete(staged, self.layout, self.sql, self.config_dir)

    def _known(self) -> dict[RawFile, SourceFile]:
        with Catalog(self.layout) as catalog:
            return catalog.source_files()

    def _check_raw(
        self, request: Request, known: dict[RawFile, SourceFile], planned: list[RawFile]
    ) -> None:
        there = set(planned)
        names = {kind.name for kind in request.kinds}
        gone = [
            file
            for file, record in known.items()
            if record.state == "ingested"
            and file.data_type in names
            and file.overlaps(request.first, request.last)
            and (not request.symbols or file.symbol is None or file.symbol in request.symbols)
            and file not in there
        ]
        if gone:
            days = sorted({file.day for file in gone})
            raise NoDataError(
                f"rebuild of {', '.join(sorted({file.data_type for file in gone}))}",
                f"{len(gone)} raw files of {days[0]} to {days[-1]} are gone from {self.layout.raw}",
                f"fetch them with: warehouse download --start {days[0]} --end {days[-1]}",
                [file.key for file in gone],
            )

    def _download(self, request: Request, report: RunReport, *, dry_run: bool) -> None:
        began = time.monotonic()
        source = open_source(self.config, self.layout.root)
        known = self._known()
        plan = plan_download(
            source,
            self.layout,
            self._narrowed(request.symbols),
            request.kinds,
            request.first,
            request.last,
            known,
            open_start=request.start is None,
            open_end=request.end is None,
        )
        report.download = plan
        if dry_run:
            return
        metrics = report.metrics
        self._progress.begin("download", plan.bytes)
        wanted = [(item, self.layout.raw_file(item.file)) for item in plan.fetch]
        for outcome in take(plan, self.layout, source.fetch_all(wanted, self._progress.advance)):
            if outcome.problem is not None:
                metrics.errors += 1
            else:
                metrics.files_fetched += 1
                metrics.bytes_fetched += outcome.item.size
        plan.records = records_of(plan, known)
        metrics.retries += source.retries
        metrics.download_time = time.monotonic() - began

    def _narrowed(self, symbols: frozenset[str]) -> Config:
        """The configuration, with only these symbols selected; none: as it is."""
        if not symbols:
            return self.config
        source = self.config.source.model_copy(update={"symbols": tuple(sorted(symbols))})
        return self.config.model_copy(update={"source": source})

    @staticmethod
    def _fetched_records(report: RunReport) -> dict[RawFile, SourceFile]:
        return report.download.records if report.download else {}

    def _ingest(
        self,
        report: RunReport,
        selected: frozenset[str],
        known: dict[RawFile, SourceFile],
        *,
        dry_run: bool,
    ) -> RunReport:
        if dry_run:
            return report
        began = time.monotonic()
        if not report.planned:
            if report.download and report.download.records:
                self._publish_records(report)
            return report
        sizes = (self.layout.raw_file(file).stat().st_size for file in report.planned)
        self._progress.begin("ingest", sum(sizes))
        for number, files in enumerate(self._batches(report.planned)):
            kind = data_type(files[0].data_type)
            folder = self.layout.staging / f"{report.metrics.run_id}-{number}"
            folder.mkdir(parents=True)
            stager = Stager(
                self.layout,
                self.config,
                self.sql,
                self.fingerprint(kind),
                selected,
                folder,
                self._progress,
            )
            month = month_of(files[0].day)
            with Catalog(self.layout) as catalog:
                present = {
                    partition.symbol: partition
                    for partition in catalog.partitions(kind.name, None, month, month)
                }
            etags = {file: known[file].etag if file in known else None for file in files}
            batch = stager.stage([(file, etags[file]) for file in files], present)
            report.files += batch.files
            self._publish_batch(report, batch, selected)
            shutil.rmtree(folder)
        report.metrics.processing_time = time.monotonic() - began
        return report

    def _batches(self, files: Sequence[RawFile]) -> Iterable[list[RawFile]]:
        for _, group in groupby(files, key=lambda file: (file.data_type, month_of(file.day))):
            batch: list[RawFile] = []
            size = 0
            for file in group:
                bytes_ = self.layout.raw_file(file).stat().st_size
                if batch and size + bytes_ > _BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
                batch.append(file)
                size += bytes_
            yield batch

    def fingerprint(self, kind: DataType) -> str:
        """Of everything that decides what becomes of a row: SQL and settings."""
        names = tuple(f"{step}/{kind.name}" for step in ("ingest", "clean", "sort", "dedupe"))
        return self.sql.fingerprint(names, {"corrections": list(self.config.cleaning.corrections)})

    def _publish_batch(
        self, report: RunReport, batch: StagedBatch, selected: frozenset[str]
    ) -> None:
        metrics, layout = report.metrics, self.layout
        whole = selected == self._configured()
        change = CatalogChange(
            partitions=[partition for partition, _ in batch.partitions],
            removed=[(batch.data_type, symbol, batch.month) for symbol in batch.removed],
        )
        cache = layout.cache
        moves: list[tuple[str, str]] = [
            (staged, f"{cache}/{partition_name(found.data_type, found.symbol, found.month)}")
            for found, staged in batch.partitions
        ]
        removals = [
            layout.partition(batch.data_type, symbol, batch.month) for symbol in batch.removed
        ]
        for item in batch.files:
            metrics.files += 1
            if item.problem is not None:
                metrics.files_set_aside += 1
                metrics.errors += 1
                self._progress.note(f"set aside: {item.file.key}: {item.problem}")
                if not vouches_for(item.etag, item.path):
                    # What is bad is our copy: the next update fetches the file again.
                    item.etag = None
                self._set_aside(item)
            else:
                metrics.lines += item.facts.lines
                metrics.rows_published += item.rows_published
                metrics.rows_rejected += item.rows_rejected
                metrics.rows_unselected += item.rows_unselected
                metrics.bytes_read += item.facts.bytes
                target = layout.rejects_of(item.file)
                if item.rejects is not None:
                    moves.append((str(item.rejects), str(target)))
                elif target.exists():
                    removals.append(target)
            if whole or item.file.symbol is not None or item.problem is not None:
                change.files.append(records.of_file(item, selected, metrics.run_id))
        metrics.partitions += len(batch.partitions)
        metrics.bytes_written += sum(partition.bytes for partition, _ in batch.partitions)
        # What was fetched and is still to be read; what was read has a record that says more.
        read = {item.file.key for item in report.files}
        change.files += [
            record for record in self._fetched_records(report).values() if record.source not in read
        ]
        change.runs = [records.of_run(report.metrics, "done")]
        self._publish(change, moves, removals)
        for item in batch.files:
            if whole and item.problem is None:
                superseded(layout.raw_file(item.file)).unlink(missing_ok=True)

    def _publish_records(self, report: RunReport) -> None:
        change = CatalogChange(
            files=list(self._fetched_records(report).values()),
            runs=[records.of_run(report.metrics, "done")],
        )
        self._publish(change, [], [])

    def _publish(
        self, change: CatalogChange, moves: list[tuple[str, str]], removals: list[Path]
    ) -> None:
        layout = self.layout
        here = f"{layout.data}/"
        staged = layout.staging / "warehouse.duckdb"
        staged.unlink(missing_ok=True)
        catalogfile.build(staged, layout, self.sql, self.config_dir, change)
        for broken in catalogfile.broken_features(self.sql):
            if str(broken) not in self._noted:
                self._progress.note(f"a feature is left out: {broken}")
                self._noted.add(str(broken))
        publish(
            layout,
            Change(
                catalog=str(staged).removeprefix(here),
                renames=[
                    (start.removeprefix(here), end.removeprefix(here)) for start, end in moves
                ],
                removals=[str(path).removeprefix(here) for path in removals],
            ),
            self._complete,
        )

    def _set_aside(self, item: StagedFile) -> None:
        """Move a file that failed out of the raw tier, with a record of why beside it."""
        put_aside(self.layout, item.file, item.path, str(item.problem), item.etag)
