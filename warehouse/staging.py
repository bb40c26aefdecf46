"""Stage a batch: raw files of one data type and month → finished partitions in the staging folder.

Merge rule: a new version of a partition = the rows of its present version whose session is not
among those being ingested + the rows of those sessions from raw. So a file ingested twice changes
nothing, and raw files may be pruned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.cleaning import CleanedPiece, Cleaner
from warehouse.config import Config
from warehouse.errors import AccountingError, RawFileError
from warehouse.gather import Gatherer, Stretch
from warehouse.layout import Layout, RawFile, encode_symbol, month_of
from warehouse.metrics import Progress
from warehouse.partitions import Partition, SessionSource, read_sessions, write_partition
from warehouse.rawfile import FileFacts, Inflater, read_ahead
from warehouse.rejects import MALFORMED_LINE, RejectsWriter
from warehouse.schema import DataType, data_type
from warehouse.source import portable
from warehouse.sqlfiles import SqlFolder

# Shares of the memory limit. What remains is the interpreter, the pieces in flight, which are
# bounded by _PIECE_SHARE each, and the partitions being encoded.
_ROWS_SHARE = 0.30
_DUCKDB_SHARE = 0.35
_PIECE_SHARE = 0.05


@dataclass
class StagedFile:
    """What came of one raw file.

    Attributes:
        problem: why it was set aside; None: its rows are staged.
        rejects: the staged rejects file, where there are any.
    """

    file: RawFile
    path: Path
    etag: str | None
    facts: FileFacts = field(default_factory=FileFacts)
    problem: str | None = None
    rows_published: int = 0
    rows_rejected: int = 0
    rows_unselected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    rejects: Path | None = None


@dataclass
class StagedBatch:
    """Finished files that wait to be published.

    Attributes:
        partitions: each with its staged file.
        removed: symbols whose partition of the month has no rows any more.
    """

    data_type: str
    month: date
    files: list[StagedFile]
    partitions: list[tuple[Partition, Path]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


class Stager:
    """Stages one batch.

    Args:
        layout, config, sql: the warehouse's.
        fingerprint: of the SQL and settings the batch is made by.
        selected: the only symbols that are made anew; empty: all.
        folder: an empty folder of the staging tier.
    """

    def __init__(
        self,
        layout: Layout,
        config: Config,
        sql: SqlFolder,
        fingerprint: str,
        selected: frozenset[str],
        folder: Path,
        progress: Progress,
    ) -> None:
        self._layout, self._config, self._sql = layout, config, sql
        self._fingerprint, self._selected = fingerprint, selected
        self._folder, self._progress = folder, progress
        self._memory = int(config.processing.memory_limit_gb * 1e9)
        self._writers: dict[RawFile, RejectsWriter] = {}
        self._texts: dict[int, str] = {}

    def stage(
        self, files: Sequence[tuple[RawFile, str | None]], present: dict[str, Partition]
    ) -> StagedBatch:
        """Read the files and write the partitions they change.

        Args:
            files: of one data type and month, each with the etag it is known by.
            present: the month's partitions as they are published, by symbol.

        Raises:
            AccountingError: the rows of a file do not add up.
            StorageError, SqlFileError: nothing is published.
        """
        kind = data_type(files[0][0].data_type)
        month = month_of(files[0][0].day)
        staged = [
            StagedFile(file, self._layout.raw_file(file), etag) for file, etag in files
        ]
        batch = StagedBatch(kind.name, month, staged)
        gatherer = Gatherer(
            kind, self._folder, int(self._memory * _ROWS_SHARE), self._selected, self._reject
        )
        settings = {"corrections": list(self._config.cleaning.corrections)}
        workers = self._config.processing.parallel_workers
        with Cleaner(
            self._sql, self._folder, workers, int(self._memory * _DUCKDB_SHARE), settings
        ) as cleaner:
            for item in staged:
                self._read(item, kind, gatherer, cleaner)
            self._progress.begin(f"{kind.name} {month:%Y-%m}: putting rows in order", 0)
            gatherer.settle(lambda rows: cleaner.dedupe(kind, rows))
        self._close_rejects(staged, gatherer)
        self._write(batch, kind, gatherer, present)
        self._account(batch)
        return batch

    def _reject(self, file: RawFile, rows: pa.RecordBatch) -> None:
        self._writers[file].add(rows, self._texts)

    def _read(
        self, item: StagedFile, kind: DataType, gatherer: Gatherer, cleaner: Cleaner
    ) -> None:
        chunk_bytes = int(self._memory * _PIECE_SHARE)
        inflater = Inflater(
            item.path, kind.header, self._config.processing.chunk_size, chunk_bytes, self._folder
        )
        number = len(self._writers)
        self._writers[item.file] = RejectsWriter(
            item.file, kind, self._folder / f"rejects-{number}.parquet"
        )
        gatherer.open(item.file)
        try:
            size = item.path.stat().st_size
            self._progress.begin(item.file.key, size)
            # Rows are gathered on a thread of their own while DuckDB reads the next piece.
            with ThreadPoolExecutor(1, thread_name_prefix="gather") as thread:
                gathering: Future[None] | None = None
                seen = 0
                for piece in read_ahead(inflater.pieces()):
                    try:
                        cleaned = cleaner.clean(item.file, kind, item.path, piece)
                    finally:
                        piece.close()
                    if gathering is not None:
                        gathering.result()
                    gathering = thread.submit(self._gather, gatherer, item.file, cleaned)
                    self._progress.advance(inflater.bytes_read - seen)
                    seen = inflater.bytes_read
                if gathering is not None:
                    gathering.result()
        except (RawFileError, OSError) as error:
            gatherer.discard(item.file)
            self._writers.pop(item.file).close()
            item.problem = str(error)
            return
        item.facts = inflater.facts

    def _gather(self, gatherer: Gatherer, file: RawFile, cleaned: CleanedPiece) -> None:
        self._texts = cleaned.texts
        if cleaned.malformed:
            gatherer.files[file].rejected[MALFORMED_LINE] += len(cleaned.malformed)
            self._writers[file].add_lines(cleaned.malformed)
        gatherer.add(file, cleaned.rows)
        self._texts = {}

    def _close_rejects(self, staged: list[StagedFile], gatherer: Gatherer) -> None:
        for item in staged:
            if item.problem is not None:
                continue
            gathered, writer = gatherer.files[item.file], self._writers[item.file]
            if self._selected and item.file.symbol is None:
                writer.carry(self._layout.rejects_of(item.file), self._selected)
            if writer.close():
                item.rejects = writer.path
            item.reasons = gathered.rejected
            item.rows_rejected = writer.rows
            item.rows_unselected = gathered.unselected

    def _write(
        self,
        batch: StagedBatch,
        kind: DataType,
        gatherer: Gatherer,
        present: dict[str, Partition],
    ) -> None:
        gathered = gatherer.by_symbol()
        good = [item for item in batch.files if item.problem is None]
        jobs: list[_Job] = []
        for symbol in sorted({*gathered, *present}):
            job = self._job(symbol, gathered.get(symbol, []), present.get(symbol), good)
            if job is None:
                continue
            if job.sessions:
                jobs.append(job)
            else:
                batch.removed.append(symbol)
        self._progress.begin(f"{kind.name} {batch.month:%Y-%m}: writing partitions", 0)
        # The largest first, so that no thread is left alone with one at the end.
        jobs.sort(key=lambda job: -sum(session.rows for session in job.sessions))
        workers = self._config.processing.parallel_workers
        with ThreadPoolExecutor(workers, thread_name_prefix="encode") as threads:
            futures = [
                threads.submit(self._encode, kind, batch.month, gatherer, job) for job in jobs
            ]
            try:
                batch.partitions = [future.result() for future in futures]
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def _job(
        self,
        symbol: str,
        gathered: list[tuple[date, Stretch, RawFile]],
        old: Partition | None,
        files: list[StagedFile],
    ) -> _Job | None:
        """What a symbol's new partition is made of; None where nothing about it changes."""
        kept = [
            session
            for session in (old.sessions if old else ())
            if not any(self._covers(item.file, symbol, session.session) for item in files)
        ]
        if not gathered and (old is None or len(kept) == len(old.sessions)):
            return None
        by_file = {item.file: item for item in files}
        fresh: list[tuple[SessionSource, Stretch]] = []
        for session, stretch, file in gathered:
            item = by_file[file]
            rejects = self._writers[file].by_symbol[symbol, session]
            source = SessionSource(
                session,
                stretch.rows,
                rejects,
                file.key,
                portable(item.etag),
                item.facts.sha256,
                item.facts.lines,
            )
            fresh.append((source, stretch))
        parts: list[tuple[SessionSource, Stretch | None]] = [
            *fresh,
            *((session, None) for session in kept),
        ]
        parts.sort(key=lambda part: part[0].session)
        return _Job(symbol, old, parts)

    def _covers(self, file: RawFile, symbol: str, session: date) -> bool:
        """Whether the file is now the only word on that symbol and session."""
        if file.symbol is not None and file.symbol != symbol:
            return False
        if self._selected and symbol not in self._selected:
            return False
        return file.day == (month_of(session) if file.monthly else session)

    def _encode(
        self, kind: DataType, month: date, gatherer: Gatherer, job: _Job
    ) -> tuple[Partition, Path]:
        path = self._folder / f"{encode_symbol(job.symbol)}.parquet"
        partition = write_partition(
            path,
            kind,
            self._rows(kind, gatherer, job),
            job.symbol,
            month,
            job.sessions,
            self._fingerprint,
        )
        target = self._layout.partition(kind.name, job.symbol, month)
        target.parent.mkdir(parents=True, exist_ok=True)
        return partition, path

    def _rows(self, kind: DataType, gatherer: Gatherer, job: _Job) -> Iterator[pa.RecordBatch]:
        kept = frozenset(source.session for source, stretch in job.parts if stretch is None)
        old: Any = iter(())
        if kept:
            assert job.old is not None
            path = self._layout.partition(kind.name, job.symbol, job.old.month)
            old = read_sessions(path, job.old, kept)
        for _, stretch in job.parts:
            if stretch is None:
                _, batches = next(old)
                yield from batches
            else:
                yield from gatherer.batches(stretch)

    def _account(self, batch: StagedBatch) -> None:
        """Lines = rows published + rows rejected (+ rows of symbols not asked for), of each file.

        Published rows are counted in what was written, not in what was meant to be.
        """
        written: Counter[str] = Counter()
        for partition, _ in batch.partitions:
            for session in partition.sessions:
                written[session.source] += session.rows
        for item in batch.files:
            if item.problem is not None:
                continue
            item.rows_published = written[item.file.key]
            total = item.rows_published + item.rows_rejected + item.rows_unselected
            if total != item.facts.lines or item.rows_rejected != item.reasons.total():
                raise AccountingError(
                    item.path,
                    item.facts.lines,
                    item.rows_published,
                    item.rows_rejected,
                    item.rows_unselected,
                )


@dataclass(frozen=True)
class _Job:
    """One partition to write: its sessions in order, each from raw or (None) from the old file."""

    symbol: str
    old: Partition | None
    parts: list[tuple[SessionSource, Stretch | None]]

    @property
    def sessions(self) -> tuple[SessionSource, ...]:
        return tuple(source for source, _ in self.parts)
