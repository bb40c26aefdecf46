"""Stage a batch: raw files of one data type and month → finished partitions, not yet visible.

It has two halves. Raw files are read, and the rows of each put in order; partitions are built of
these rows and of those that there are. One process does both, or several do each: of a file, or of
a range of symbols (`two_stages`).
"""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pyarrow as pa

from warehouse.core.config import Config, PartitionLayout
from warehouse.core.datatypes import DataType, data_type
from warehouse.core.metrics import Progress
from warehouse.core.paths import Layout, PartitionKey, RawFile, month_of
from warehouse.core.representation import Face
from warehouse.errors import AccountingError, RawFileError
from warehouse.executors.work import Share
from warehouse.ingest.cleaning import CleanedPiece, Cleaner
from warehouse.ingest.incoming_rules import IncomingRules
from warehouse.ingest.inflate import GONE, LINES, FileFacts, Inflater, Piece, read_ahead
from warehouse.ingest.market_builder import MarketBuilder
from warehouse.ingest.merge import Merge, Merged, Origin
from warehouse.ingest.rejects import MALFORMED_LINE, RejectsWriter
from warehouse.ingest.row_sorter import MixedSymbols, RowSorter, SortedRows
from warehouse.ingest.symbol_builder import SymbolBuilder
from warehouse.source.folder import portable
from warehouse.sqlfolder import transform_version
from warehouse.sqlfolder.files import SqlFolder
from warehouse.sqlfolder.rule_file import BrokenRule, Rule
from warehouse.store.partitions import Partition
from warehouse.validation.evaluate import ValidationResult

# Shares of the memory limit. What remains is the interpreter, the pieces in flight, which are
# bounded by _PIECE_SHARE each, and the partitions being encoded.
_ROWS_SHARE = 0.30
_DUCKDB_SHARE = 0.35
_PIECE_SHARE = 0.025
_SMALL_BYTES = 2 << 20
"""A raw file of at most this size is read by one thread, beside others; it may be one piece."""


@dataclass(repr=False)
class StagedFile(Face):
    """What came of one raw file.

    Attributes:
        problem: why it was set aside; None: its rows are staged.
        is_gone: it was not there any more: there is nothing to set aside.
        carried: symbols and reasons of the rejects of other symbols that were published before and
            stay; they may be of an earlier version of the file.
        rejects: the staged rejects file, where there are any.
    """

    file: RawFile
    path: Path
    etag: str | None = None
    facts: FileFacts = field(default_factory=FileFacts)
    problem: str | None = None
    is_gone: bool = False
    rows_published: int = 0
    rows_rejected: int = 0
    rows_unselected: int = 0
    rows_taken_over: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    carried: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejects: Path | None = None

    def _face(self) -> dict[str, Any]:
        return {
            "": self.file.key,
            "problem": self.problem,
            "rows_published": self.rows_published,
            "rows_rejected": self.rows_rejected,
            "rows_unselected": self.rows_unselected,
        }


Take: TypeAlias = Callable[[StagedFile], bool]


@dataclass
class _Reading:
    """The pieces of a raw file, each with the compressed bytes that were read by then.

    Attributes:
        first: the first of them, where another thread has begun with it.
    """

    item: StagedFile
    pieces: Generator[tuple[int, CleanedPiece], None, None]
    first: Future[tuple[int, CleanedPiece] | None] | None = None

    def __iter__(self) -> Iterator[tuple[int, CleanedPiece]]:
        if self.first is not None:
            begun = self.first.result()
            if begun is None:
                return
            yield begun
        yield from self.pieces


@dataclass(frozen=True)
class SortedFile:
    """A raw file that was read, and where its rows lie.

    Attributes:
        origin, rows: None where it was set aside.
    """

    item: StagedFile
    origin: Origin | None
    rows: SortedRows | None


@dataclass
class BuiltRange:
    """Finished partitions of some symbols.

    Attributes:
        folder: of the attempt that built them.
        findings, broken, asked: as a batch has them.
    """

    folder: Path
    merged: Merged
    findings: list[ValidationResult] = field(default_factory=list)
    broken: list[BrokenRule] = field(default_factory=list)
    asked: int = 0


@dataclass
class StagedBatch:
    """Finished files that wait to be published.

    Attributes:
        folder: all of them lie in it, and nothing else that is of use.
        partitions: each with its staged file.
        removed: partitions of the month that have no rows any more.
        unchanged: partitions whose rows were read again and stay as they are.
        findings: what the rules found in the rows that are new.
        broken: rules that failed when they were asked.
        asked: how often they were, each time of some of the symbols.
    """

    data_type: str
    month: date
    folder: Path
    files: list[StagedFile]
    partitions: list[tuple[Partition, str]] = field(default_factory=list)
    removed: list[PartitionKey] = field(default_factory=list)
    unchanged: list[Partition] = field(default_factory=list)
    findings: list[ValidationResult] = field(default_factory=list)
    broken: list[BrokenRule] = field(default_factory=list)
    asked: int = 0


class Stager:
    """Stages one batch.

    Args:
        layout, config, sql: the warehouse's.
        fingerprint: of the SQL and settings the batch is made by.
        selected: the only symbols that are made anew; empty: all.
        folder: of the staging tier, there already; each attempt has one of its own in it.
        rules: those that the new rows are asked by.
        changed_only: leave a partition alone that would become what it is.
        settled: files that take over no session that another brings.
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
        rules: Sequence[Rule] = (),
        *,
        changed_only: bool = False,
        settled: AbstractSet[RawFile] = frozenset(),
    ) -> None:
        self._rules = rules
        self._changed_only, self._settled = changed_only, settled
        self._layout, self._config, self._sql = layout, config, sql
        self._fingerprint, self._selected = fingerprint, selected
        self._place, self._progress = folder, progress
        self._writers: dict[RawFile, RejectsWriter] = {}
        self._origins: dict[RawFile, Origin] = {}
        self._texts = LINES.empty_table()

    def stage(
        self,
        files: Sequence[RawFile],
        present: Sequence[Partition],
        layout: PartitionLayout,
        entries: pa.Table,
        take: Take,
        is_here: Callable[[RawFile], bool],
        share: Share,
    ) -> StagedBatch:
        """Read the files and write the partitions they change.

        It may be called again, in another process too: what another attempt wrote is not met.

        Args:
            files: of one data type and month; where the symbols of a session share files, of one
                session.
            present: the month's partitions as they are published, or the session's.
            layout: of the month's partitions.
            entries: of those of all symbols, where each one's sessions came from.
            take: is asked of each file when its turn comes, whether it is to be read: it may wait
                until the file is here, and says by which etag it is known.
            is_here: whether it would not wait.
            share: what it may take of the machine.

        A file whose rows do not add up is set aside, and the others are read without it.

        Raises:
            StorageError, SqlFileError: nothing is published.
        """
        refused: dict[Path, str] = {}
        self._begin(share)
        while True:
            try:
                return self._stage(files, present, refused, layout, entries, take, is_here)
            except AccountingError as error:
                if error.path in refused:
                    raise
                refused[error.path] = str(error)
                # What was staged is forgotten.
                self._writers, self._origins, self._texts = {}, {}, LINES.empty_table()
                _empty(self._folder)

    def items(self, files: Sequence[RawFile], take: Take) -> list[StagedFile]:
        """Those of the files that are to be read, all of which are here."""
        items = [StagedFile(file, self._layout.raw_file(file)) for file in files]
        return [item for item in items if take(item)]

    def read(self, items: Sequence[StagedFile], share: Share) -> list[SortedFile]:
        """The first half: read some of a batch's files and leave their rows, in order, on disk.

        It may be called again, as `stage` may.

        Raises:
            StorageError, SqlFileError: none of them is of use.
        """
        self._begin(share)
        kind = data_type(items[0].file.data_type)
        with self._cleaner() as cleaner, self._sorter(kind, cleaner) as sorter:
            self._read_all(items, kind, cleaner, sorter)
            sorter.spill()
            found = [
                SortedFile(item, self._origins.get(item.file), sorter.sorted.get(item.file))
                for item in items
            ]
        kept = {item.rejects for item in items}
        kept |= {one.rows.on_disk.path for one in found if one.rows and one.rows.on_disk}
        _empty(self._folder, kept)
        return found

    def build(
        self, files: Sequence[SortedFile], month: date, present: Sequence[Partition], share: Share
    ) -> BuiltRange:
        """The second half: write the partitions of some symbols, a file each.

        It may be called again, as `stage` may.

        Args:
            files: all of the batch that were not set aside, in its order; of each the rows of these
                symbols.
            present: those of their partitions that are published.

        Raises:
            StorageError, SqlFileError: nothing is published.
        """
        self._begin(share)
        kind = data_type(files[0].item.file.data_type)
        origins = [one.origin for one in files if one.origin is not None]
        rows = {one.item.file: one.rows for one in files if one.rows is not None}
        with self._cleaner() as cleaner, ExitStack() as opened:
            for one in rows.values():
                if one.on_disk is not None:
                    opened.enter_context(closing(one.on_disk))
            incoming_rules = self._incoming_rules(kind, month, cleaner)
            merge = self._merge(kind, rows, incoming_rules)
            return self._built(SymbolBuilder(merge, month, present).finish(origins), incoming_rules)

    def _begin(self, share: Share) -> None:
        """Begin an attempt, in a folder of its own."""
        self._folder = self._place / uuid4().hex
        # One folder: where the run's is gone, with the run, a task that is left brings it not back.
        self._layout.modes.make_folder(self._folder)
        self._workers, self._memory = share.threads, share.memory_bytes
        self._piece_bytes = int(self._memory * _PIECE_SHARE)

    def _stage(
        self,
        files: Sequence[RawFile],
        present: Sequence[Partition],
        refused: Mapping[Path, str],
        layout: PartitionLayout,
        entries: pa.Table,
        take: Take,
        is_here: Callable[[RawFile], bool],
    ) -> StagedBatch:
        kind = data_type(files[0].data_type)
        month = month_of(files[0].day)
        staged: list[StagedFile] = []
        with self._cleaner() as cleaner:
            incoming_rules = self._incoming_rules(kind, month, cleaner)
            with self._sorter(kind, cleaner) as sorter:
                items = self._taken(files, take, is_here, refused, staged)
                self._read_all(items, kind, cleaner, sorter)
                self._progress.begin(f"{kind.name} {month:%Y-%m}: writing partitions", 0)
                origins = list(self._origins.values())
                merge = self._merge(kind, sorter.sorted, incoming_rules)
                if layout == "market":
                    place = files[0].day if kind.by_session else month
                    merged = MarketBuilder(merge, place, present, entries).finish(origins)
                else:
                    merged = SymbolBuilder(merge, month, present).finish(origins)
                built = self._built(merged, incoming_rules)
        return batch_of(kind.name, month, staged, built)

    def _cleaner(self) -> Cleaner:
        return Cleaner(
            self._sql,
            self._folder,
            self._workers,
            int(self._memory * _DUCKDB_SHARE),
            transform_version.settings(self._config),
            [self._layout.root / "config"],
            self._layout.readable,
        )

    def _sorter(self, kind: DataType, cleaner: Cleaner) -> RowSorter:
        budget = int(self._memory * _ROWS_SHARE)
        return RowSorter(kind, self._folder, budget, self._selected, self._reject, cleaner)

    def _merge(
        self,
        kind: DataType,
        rows: Mapping[RawFile, SortedRows],
        incoming_rules: IncomingRules | None,
    ) -> Merge:
        return Merge(
            self._layout,
            kind,
            self._fingerprint,
            rows,
            self._selected,
            self._folder,
            self._workers,
            incoming_rules,
            self._changed_only,
            self._settled,
        )

    def _built(self, merged: Merged, incoming_rules: IncomingRules | None) -> BuiltRange:
        built = BuiltRange(self._folder, merged)
        if incoming_rules is not None:
            built.findings = incoming_rules.finish()
            built.broken = incoming_rules.broken
            built.asked = incoming_rules.asked
        return built

    def _read_all(
        self,
        items: Iterable[StagedFile | None],
        kind: DataType,
        cleaner: Cleaner,
        sorter: RowSorter,
    ) -> None:
        """Read files one after the other, each to its end.

        Args:
            items: as `_side_by_side` takes them.
        """
        with (
            ThreadPoolExecutor(self._workers, thread_name_prefix="read") as readers,
            # Rows are gathered on a thread of their own while DuckDB reads the next piece.
            ThreadPoolExecutor(1, thread_name_prefix="gather") as thread,
            cleaner.ending(),
        ):
            for reading in self._side_by_side(items, kind, cleaner, readers):
                item = reading.item
                try:
                    self._read(reading, kind, sorter, thread)
                except MixedSymbols:
                    pieces = self._cleaned(item, kind, cleaner, self._piece_bytes, read_ahead)
                    self._read(_Reading(item, pieces), kind, sorter, thread)
                if item.problem is None:
                    sorter.settle(item.file)
                    self._close_rejects(item, sorter)

    def _incoming_rules(
        self, kind: DataType, month: date, cleaner: Cleaner
    ) -> IncomingRules | None:
        rules = [rule for rule in self._rules if rule.on_ingest and kind.name in rule.data_types]
        if not rules:
            return None
        config_dir = self._layout.root / "config"
        config = self._config.validation
        conditions = self._layout.trade_conditions
        return IncomingRules(kind, month, rules, config, self._sql, config_dir, conditions, cleaner)

    def _reject(self, file: RawFile, rows: pa.RecordBatch) -> None:
        self._writers[file].add(rows, self._texts)

    def _taken(
        self,
        files: Sequence[RawFile],
        take: Take,
        is_here: Callable[[RawFile], bool],
        refused: Mapping[Path, str],
        staged: list[StagedFile],
    ) -> Iterator[StagedFile | None]:
        """Those of the files that are to be read, when their turn comes; they go into `staged`.

        Before one that is waited for there is None.
        """
        for file in files:
            if not is_here(file):
                yield None
            item = StagedFile(file, self._layout.raw_file(file))
            if take(item):
                staged.append(item)
                item.problem = refused.get(item.path)
                if item.problem is None:
                    yield item

    def _side_by_side(
        self,
        items: Iterable[StagedFile | None],
        kind: DataType,
        cleaner: Cleaner,
        readers: ThreadPoolExecutor,
    ) -> Iterator[_Reading]:
        """The files in their order; small ones are begun on all workers before they are due.

        Args:
            items: None: there is time for all that is begun.
        """
        workers = self._workers
        begun: deque[_Reading] = deque()
        for item in items:
            if item is not None and _is_small(item.path):
                pieces = self._cleaned(item, kind, cleaner, self._piece_bytes // workers, iter)
                begun.append(_Reading(item, pieces, readers.submit(next, pieces, None)))
                if len(begun) > workers:
                    yield begun.popleft()
                continue
            while begun:
                yield begun.popleft()
            if item is not None:
                pieces = self._cleaned(item, kind, cleaner, self._piece_bytes, read_ahead)
                yield _Reading(item, pieces)
        while begun:
            yield begun.popleft()

    def _cleaned(
        self,
        item: StagedFile,
        kind: DataType,
        cleaner: Cleaner,
        piece_bytes: int,
        inflate: Callable[[Iterator[Piece]], Iterator[Piece]],
    ) -> Generator[tuple[int, CleanedPiece], None, None]:
        """The pieces of a file, each with the compressed bytes that were read for all so far.

        Args:
            inflate: hands over each as it is wanted, or before.

        Raises:
            RawFileError: the file is not whole, or not what it should be.
        """
        chunk_rows = self._config.processing.chunk_size
        inflater = Inflater(item.path, kind.header, chunk_rows, piece_bytes, self._folder)
        item.facts = inflater.facts
        for piece in inflate(inflater.pieces()):
            try:
                cleaned = cleaner.clean(item.file, kind, item.path, piece)
            finally:
                piece.close()
            yield inflater.bytes_read, cleaned

    def _read(
        self,
        reading: _Reading,
        kind: DataType,
        sorter: RowSorter,
        thread: ThreadPoolExecutor,
    ) -> None:
        """Read a file's rows and put them in order."""
        item = reading.item
        writer = RejectsWriter(
            item.file, kind, self._folder / f"rejects-{len(self._writers)}.parquet"
        )
        self._writers[item.file] = writer
        sorter.open(item.file)
        gathering: Future[None] | None = None
        seen = 0
        try:
            self._progress.begin(item.file.key, _size(item.path))
            for bytes_read, cleaned in reading:
                self._origins[item.file] = Origin(
                    item.file, portable(item.etag), item.facts.sha256, writer.by_symbol
                )
                if gathering is not None:
                    gathering.result()
                gathering = thread.submit(self._gather, sorter, item.file, cleaned)
                self._progress.advance("ingest", bytes_read - seen)
                seen = bytes_read
            if gathering is not None:
                gathering.result()
        except MixedSymbols:
            self._progress.advance("ingest", -seen)
            reading.pieces.close()
            self._writers.pop(item.file).close()
            raise
        except RawFileError as error:
            item.problem = str(error)
            item.is_gone = isinstance(error.__cause__, FileNotFoundError)
            if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
                # The system did not let it be read, and its bytes may be sound: they are to be
                # asked for again, though the source has no others.
                item.etag = None
            if gathering is not None:
                with suppress(MixedSymbols):
                    gathering.result()
            sorter.discard(item.file)
            self._origins.pop(item.file, None)
            self._writers.pop(item.file).close()

    def _gather(self, sorter: RowSorter, file: RawFile, cleaned: CleanedPiece) -> None:
        self._texts = cleaned.texts
        if cleaned.malformed.num_rows:
            sorter.files[file].rejected[MALFORMED_LINE] += cleaned.malformed.num_rows
            self._writers[file].add_lines(cleaned.malformed)
        sorter.add(file, cleaned.rows)
        self._texts = LINES.empty_table()
        if sorter.is_full:
            sorter.spill()

    def _close_rejects(self, item: StagedFile, sorter: RowSorter) -> None:
        gathered, writer = sorter.files[item.file], self._writers[item.file]
        if self._selected and item.file.symbol is None:
            writer.carry(self._layout.rejects_of(item.file), self._selected)
        if writer.close():
            item.rejects = writer.path
        item.reasons, item.carried = gathered.rejected, writer.carried
        item.rows_rejected = writer.rows
        item.rows_unselected = gathered.unselected


def batch_of(
    data_type: str, month: date, items: list[StagedFile], built: BuiltRange
) -> StagedBatch:
    """What came of files that were read, now that the partitions of all their rows are written.

    Args:
        items: in their order; they are told what became of their rows.

    Raises:
        AccountingError: the rows of one do not add up.
    """
    merged = built.merged
    for item in items:
        if item.problem is None:
            _account(item, merged)
    return StagedBatch(
        data_type,
        month,
        built.folder,
        items,
        merged.written,
        merged.removed,
        merged.unchanged,
        built.findings,
        built.broken,
        built.asked,
    )


def _account(item: StagedFile, merged: Merged) -> None:
    """Lines = rows published + rows rejected (+ rows of symbols not asked for).

    Published rows are counted in what was written, not in what was meant to be.
    """
    item.rows_taken_over = merged.passed_over[item.file.key]
    item.rows_unselected += item.rows_taken_over
    item.rows_published = merged.brought[item.file.key]
    total = item.rows_published + item.rows_rejected + item.rows_unselected
    if total != item.facts.lines or item.rows_rejected != item.reasons.total():
        raise AccountingError(
            item.path,
            item.facts.lines,
            item.rows_published,
            item.rows_rejected,
            item.rows_unselected,
        )


def _empty(folder: Path, but: Collection[Path | None] = ()) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry not in but:
            entry.unlink()


def _is_small(path: Path) -> bool:
    try:
        return path.stat().st_size <= _SMALL_BYTES
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError as error:
        raise RawFileError(path, GONE) from error
    except OSError as error:
        raise RawFileError(path, f"cannot be read: {error.strerror}") from error
