"""The pipeline: plan → stage → validate → publish, one writer at a time.

A run is cut into batches of one data type and month. Each batch is staged whole and published
whole, unless validation finds an error in it; a run that is killed keeps the batches it has
published, and the next run does the rest. What comes of small files is staged side by side and
published together: a publish takes as long for a row as for millions.

An update reads a file as soon as it has come, while the next ones come down on other threads, in
the order in which they are read: so each month is whole, and published, as soon as it can be.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from warehouse.core.calendar import today
from warehouse.core.config import Config, PartitionLayout
from warehouse.core.datatypes import DATA_TYPES, KEPT, DataType, data_type
from warehouse.core.file_state import FileState
from warehouse.core.metrics import Progress, RunMetrics, Silent
from warehouse.core.paths import Layout, RawFile, month_of, parse_key, partition_name
from warehouse.core.request import Request
from warehouse.errors import (
    CorruptPartitionError,
    OversizedTradeError,
    RequestError,
    WarehouseError,
)
from warehouse.executors.engine import open_executor, whole
from warehouse.executors.work import AHEAD, Executor, Stages
from warehouse.ingest.market_builder import FILE_ROWS
from warehouse.ingest.stage import StagedBatch, StagedFile, Stager, Take
from warehouse.ingest.two_stages.batch_stages import LARGE_BYTES, batch_stages
from warehouse.pipeline import records
from warehouse.pipeline.arrivals import Arrivals, Incoming
from warehouse.pipeline.bars.keeper import BarKeeper
from warehouse.pipeline.bars.work import Scope, Work
from warehouse.pipeline.batches import (
    KEPT_BARS,
    ByType,
    batches,
    gone,
    narrowed,
    not_there,
    of_symbols,
    published,
    rows_lost,
    sizes_of,
)
from warehouse.pipeline.download_plan import (
    DownloadPlan,
    Source,
    address,
    files_to_ingest,
    is_ahead,
    of_another_source,
    of_other_machines,
    open_source,
    passed_over,
    plan_download,
    put_aside,
    raw_files,
    raw_there,
    replaced_here,
)
from warehouse.pipeline.estimate import estimate
from warehouse.pipeline.report import RunReport
from warehouse.pipeline.side_by_side import SMALL_BYTES, Portion, SideBySide
from warehouse.pipeline.validation_gate import Gate
from warehouse.pipeline.watch.logs import LoggedProgress, RunLog
from warehouse.pipeline.writer import Writer
from warehouse.source.file_identity import is_at
from warehouse.source.folder import vouches_for
from warehouse.source.partfile import superseded
from warehouse.sqlfolder import transform_version
from warehouse.sqlfolder.rule_file import Rule, chosen
from warehouse.sqlfolder.transform_version import Recipe
from warehouse.store import data_folder_id
from warehouse.store.catalog import (
    Catalog,
    CatalogChange,
    Reconciliation,
    SourceFile,
    of_run,
)
from warehouse.store.partitions import FileVersion, Partition, rows_by_file
from warehouse.store.publishing.publish import check_places
from warehouse.text import printable, some
from warehouse.validation.validate import ValidationReport, change_of, validate

_NAMED = 5
_MANY_FILES = 2_000
_TOGETHER_BYTES = 64 << 20
"""A publish takes some 0.5 s, whatever is in it: what comes of fewer bytes of raw files waits for
the next. They are read in some 5 s."""
_TOGETHER_ENTRIES = 1_000_000
"""Nor do more symbols and sessions wait: four months of a market's day bars."""
_TOGETHER_SECONDS = 30
"""Nor for longer: so much work at most is lost with a driver that is killed."""


Bring: TypeAlias = Callable[[RunReport, Sequence[RawFile]], Mapping[RawFile, str]]
"""Fetches raw files into the raw tier; of those that do not come it says why."""


@dataclass
class Staged:
    """What came of some batches, and waits to be published at once.

    Attributes:
        moves: (staged, final).
        removals: files that are no more.
        folders: of the staging tier, which are of no use afterwards.
        superseded: versions of raw files that were kept while their rows stood.
        raw_bytes: of the raw files.
        entries: how many symbols and sessions the catalog will name; each takes memory until then.
        since: when the first of it came, by the monotonic clock.
    """

    change: CatalogChange = field(default_factory=CatalogChange)
    moves: list[tuple[str, str]] = field(default_factory=list)
    removals: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    superseded: list[Path] = field(default_factory=list)
    raw_bytes: int = 0
    entries: int = 0
    since: float = 0.0

    @property
    def is_enough(self) -> bool:
        """Whether it is to be published now."""
        return (
            self.raw_bytes >= _TOGETHER_BYTES
            or self.entries >= _TOGETHER_ENTRIES
            or time.monotonic() - self.since >= _TOGETHER_SECONDS
        )

    def taken(self) -> Staged:
        """All of it; nothing waits here any more."""
        found = replace(self)
        self.change, self.raw_bytes, self.entries = CatalogChange(), 0, 0
        self.moves, self.removals, self.folders, self.superseded = [], [], [], []
        return found


@dataclass(frozen=True)
class _Known:
    """Takes every file, by the etag that it is known by."""

    etags: Mapping[RawFile, str | None]

    def __call__(self, item: StagedFile) -> bool:
        item.etag = self.etags.get(item.file)
        return True


@dataclass(frozen=True)
class _Awaited:
    """Takes those of the files that come, each when it is here."""

    incoming: Incoming
    known: Mapping[RawFile, SourceFile]

    def __call__(self, item: StagedFile) -> bool:
        if not self.incoming.is_to_be_read(item.file):
            return False
        record = self.known.get(item.file)
        item.etag = record.etag if record is not None else None
        return True


def _is_here(file: RawFile) -> bool:
    return True


class Pipeline:
    """Writes to one warehouse.

    Args:
        wait: seconds to wait for another writer to end; `math.inf`: as long as it takes.
    """

    def __init__(
        self, layout: Layout, config: Config, progress: Progress | None = None, wait: float = 0
    ) -> None:
        self.layout, self.config = layout, config
        log = RunLog(layout)
        self.progress = LoggedProgress(progress or Silent(), log)
        self.writer = Writer(layout, config, self.progress, log, wait)
        self.sql = self.writer.sql
        self.bars = BarKeeper(layout, config, self.sql, self.progress)

    def download(self, request: Request, *, dry_run: bool = False) -> RunReport:
        """Bring new and changed files of the source into the raw tier."""
        request.check_of_vendor("download")
        with self.run("download", dry_run) as report:
            source, found, known = self._plan(request, report, dry_run=dry_run)
            if not dry_run:
                self.fetch(source, report, found, known)
                if found.records:
                    self._publish(report, self._record(report, "done"))
            return report

    def ingest(self, request: Request, *, dry_run: bool = False) -> RunReport:
        """Publish what the raw tier holds and the warehouse does not."""
        request.check_of_vendor("ingest")
        self.check_allowed(request)
        with self.run("ingest", dry_run) as report:
            known = self.known()
            left: list[RawFile] = []
            report.planned = files_to_ingest(
                self.layout,
                self.config,
                request.kinds,
                request.first,
                request.last,
                known,
                report.copied,
                left,
            )
            self._tell_of_left(left)
            self.look_at_raw(report, request, known)
            present = set(published(request, known))
            report.metrics.files_here = len(present.difference(report.planned))
            self._ingest(report, request, self.configured, known, dry_run=dry_run)
            report.rows_lost = self._rows_lost(report, request, known, dry_run=dry_run)
            return report

    def update(self, request: Request, *, dry_run: bool = False) -> RunReport:
        """Download and ingest what is new, restated, or failed before, both at the same time.

        Where symbols are named, only their rows are published; of a file that holds all symbols
        the others follow with the next update of all.

        Raises:
            SourceError: the source cannot be spoken to (any more); what had come by then is
                published.
        """
        request.check_of_vendor("update")
        self.check_allowed(request)
        with self.run("update", dry_run) as report:
            source, found, known = self._plan(request, report, dry_run=dry_run)
            known |= dict(found.restamped)
            coming = {item.file for item in found.fetch}
            left: list[RawFile] = []
            here = set(
                files_to_ingest(
                    self.layout,
                    narrowed(self.config, request.symbols),
                    request.kinds,
                    request.first,
                    request.last,
                    known,
                    report.copied,
                    left,
                )
            )
            self._tell_of_left([file for file in left if file not in coming])
            # What took the place of a file that came is not what the source has, or had.
            found.replaced_left = replaced_here(self.layout, here - coming, known)
            here -= {
                item.file
                for item in found.replaced
                if (record := known.get(item.file)) and record.state.is_here and record.etag
            }
            here -= set(found.replaced_left)
            for file in coming:
                report.copied.pop(file, None)
            self.look_at_raw(report, request, known)
            report.planned = sorted(coming | here, key=lambda file: file.sort_key)
            selected = request.symbols or self.configured
            self._ingest(
                report, request, selected, known, dry_run=dry_run, source=source, here=here
            )
            report.rows_lost = self._rows_lost(report, request, known, dry_run=dry_run)
            if not dry_run:
                report.without_rows = self._without_rows(request)
            return report

    @staticmethod
    def _rows_lost(
        report: RunReport,
        request: Request,
        known: Mapping[RawFile, SourceFile],
        *,
        dry_run: bool,
    ) -> list[RawFile]:
        """The files of which rows are lost still, or would be."""
        would_be_read = set(report.planned) if dry_run else set()
        return [file for file in rows_lost(request, known) if file not in would_be_read]

    def _tell_of_left(self, left: Sequence[RawFile]) -> None:
        """Say which raw files of this machine are not what was published to the bucket."""
        if left:
            what = "raw file here is" if len(left) == 1 else "raw files here are"
            self.progress.note(
                f"{len(left):,} {what} not what was published, and not read:"
                f" {some((file.key for file in left), _NAMED)}; update fetches what the source has"
            )

    def _without_rows(self, request: Request) -> list[str]:
        """Symbols that are asked for, and of which nothing is published: misspelt, most likely."""
        if not request.symbols:
            return []
        with Catalog(self.layout, ()) as catalog:
            found = {symbol for kind in request.kinds for symbol in catalog.symbols(kind.name)}
        return sorted(request.symbols - found)

    def rebuild(
        self, request: Request, *, dry_run: bool = False, bring: Bring | None = None
    ) -> RunReport:
        """Make partitions anew from the raw tier, whether anything has changed or not.

        Args:
            bring: fetches raw files of published sessions that are gone; of a dry run it tells
                the report which it would fetch. What is published of those that it does not
                bring stands, and the rest is made anew.

        Raises:
            NoDataError: they are, and nothing was to bring them; or no other is there either.
            RequestError: bars are named that are not kept.
        """
        kept = {kind.name for kind in self.config.bars.kept}
        for kind in request.kept_bars:
            if kind.name not in kept:
                every = kind.name.removeprefix(KEPT)
                hint = f"such bars are not kept; name {every} in bars.keep, which has"
                kept_now = ", ".join(self.config.bars.keep) or "none"
                raise RequestError("data type", kind.name, f"{hint} {kept_now}")
        self.check_allowed(request)
        with self.run("rebuild", dry_run) as report:
            named, request = request, request.of_vendor
            by_type = ByType(self.progress, self.layout)
            scope = Scope(
                named.kept_bars, month_of(named.first), named.last, named.symbols, anew=True
            )
            if named.kept_bars and dry_run:
                work = self.bars.work(scope, by_type.work_on)
                by_type.raise_stopped()
                report.bars = [(one.kind.name, one.month) for one in work]
            elif request.kinds and named.kept_bars:
                with by_type.work_on("trades", KEPT_BARS):
                    self.keep_bars(report, scope)
            elif named.kept_bars:
                self.keep_bars(report, scope)
            if not request.kinds:
                return report
            known = self.known()
            report.planned, absent = self._own_raw_files(report, request, known)
            why: Mapping[RawFile, str] = {}
            errors = report.metrics.errors
            if absent and bring is not None:
                why = bring(report, absent)
                known = self.known()
                if dry_run:
                    coming = set(absent).difference(why)
                    planned = coming.union(report.planned)
                    report.planned = sorted(planned, key=lambda file: file.sort_key)
                    absent = [file for file in absent if file in why]
                else:
                    report.planned, absent = self._own_raw_files(report, request, known)
            if absent and not (why and report.planned):
                raise not_there(self.layout, request, absent, why)
            report.why_absent = {file: why.get(file, "is gone again") for file in absent}
            # Those that failed on the way are counted already.
            report.metrics.errors = errors + len(absent)
            if not report.planned:
                report.raw_there = raw_there(self.layout, self.config, request.kinds)
            selected = request.symbols or self.configured
            self._ingest(report, request, selected, known, dry_run=dry_run)
            if by_type.stopped:
                # The trades that they rest on may be whole by now.
                self.keep_bars(report, scope)
            return report

    def _own_raw_files(
        self, report: RunReport, request: Request, known: dict[RawFile, SourceFile]
    ) -> tuple[list[RawFile], list[RawFile]]:
        """What a rebuild may read of what is asked, and what of it is not to be had here."""
        found = [file for file in self._raw_files(request) if not is_ahead(file, known)]
        other = of_other_machines(self.layout, found, known)
        self.look_at_raw(report, request, known)
        absent = gone(self.layout, request, known, found, report.raw_unread)
        own = [file for file in found if file not in other]
        return own, sorted({*absent, *other}, key=lambda file: file.sort_key)

    def _raw_files(self, request: Request) -> list[RawFile]:
        found = raw_files(self.layout, self.config, request.kinds, request.first, request.last)
        return of_symbols(found, request.symbols)

    def validate(self, request: Request, names: Sequence[str] = ()) -> ValidationReport:
        """Ask the rules about what is published; the catalog keeps what they find.

        Args:
            names: only these rules; none: all.

        Raises:
            RequestError: there is no such rule.
            SqlFileError: a rule that is named breaks the conventions, or fails.
            StorageError: the warehouse is gone from where it was opened.
        """
        request.check_of_vendor("validate")
        data_folder_id.check_stands(self.layout)
        gate = self.gate(request)
        asked = chosen(gate.rules, names, gate.broken)
        if names:
            request = _of_rules(request, asked)
        with self.run("validate", dry_run=False) as run:
            layout, allowed = self.layout, gate.allowances
            report = validate(layout, self.config, asked, request, allowed, self.progress)
            report.metrics = run.metrics
            if names and report.broken:
                raise report.broken[0].error
            if layout.catalog.exists():
                asked_all = set(asked) == set(gate.rules) and not (gate.broken or report.broken)
                is_whole = request.is_of_all and asked_all and not report.unread
                self.writer.publish(change_of(report, asked, is_whole=is_whole))
            report.broken += [] if names else gate.broken
        return report

    def keep_bars(self, report: RunReport, scope: Scope) -> list[Work]:
        """Bring kept bars up to date with the trades. Within `run`; returns what was done.

        A month whose trades make no bars stays as it was, and stops no other, nor do bars of one
        length whose SQL fails, or whose part of the disk refuses: it is told when all is done.

        Raises:
            CorruptPartitionError: a partition of the trades is damaged.
            SqlFileError: a statement of sql/bars is missing, breaks the conventions, or fails.
            OversizedTradeError: no bar holds a trade.
            StorageError: the disk refuses.
        """
        by_length = ByType(Silent(), self.layout)
        found = self.bars.work(scope, by_length.work_on)
        due = [work for work in found if work.is_due]
        follows = {work.key: work.follows for work in found if work.follows and not work.is_due}
        if follows:
            # They will not be compared again.
            state = "running" if due else report.state
            run = of_run(report.metrics, state, report.problem)
            self.writer.publish(CatalogChange(follows=follows, runs=[run]))
        failed: list[WarehouseError] = []
        for number, work in enumerate(due, 1):
            if by_length.is_stopped(work.kind.name, work.month):
                continue
            is_last = number == len(due) and not failed and not by_length.stopped
            with by_length.work_on(work.kind.name):
                try:
                    self.publish_bars(report, work, report.state if is_last else "running")
                except (CorruptPartitionError, OversizedTradeError) as error:
                    failed.append(error)
        failed += [error for error in by_length.stopped.values() if error not in failed]
        for other in list(dict.fromkeys(map(str, failed)))[1:]:
            failed[0].add_note(other)
            # A command shows no notes of an error.
            self.progress.note(f"{KEPT_BARS}: stopped, too: {other}")
        if failed:
            raise failed[0]
        return due

    def publish_bars(self, report: RunReport, work: Work, state: str) -> None:
        """Build what is stale of a month's bars, and publish it with the state of the run."""
        made = self.bars.make(work, report.metrics.run_id)
        check_places(self.layout, made.moves, removals=made.removals)
        made.change.runs = [of_run(report.metrics, state, report.problem)]
        self.writer.publish(made.change, made.moves, made.removals)
        if work.stale and work.key not in report.bars:
            report.bars.append(work.key)
        shutil.rmtree(made.folder)

    def keep_reconciliation(self, rows: Sequence[Reconciliation]) -> None:
        """Let the catalog keep what came of holding our bars against the vendor's.

        Args:
            rows: of one reconciliation; the run is noted in them.
        """
        with self.run("reconcile", dry_run=False) as run:
            run_id = run.metrics.run_id
            self.writer.publish(
                CatalogChange(
                    reconciliations=[replace(row, run_id=run_id) for row in rows],
                    runs=[of_run(run.metrics, "done", None)],
                )
            )

    def check_allowed(self, request: Request) -> None:
        """Refuse what the request allows and no rule finds, before a run begins.

        Raises:
            RequestError: there is no such rule, or no reason.
        """
        if request.allow:
            self._gate(request)

    def _gate(self, request: Request) -> Gate:
        return Gate(self.layout, self.sql, self.layout.root / "config", request.allow)

    def gate(self, request: Request) -> Gate:
        """The rules that incoming rows are asked by, and what the request allows."""
        gate = self._gate(request)
        for one in gate.broken:
            self.progress.note(f"a rule cannot be asked, and is left out: {one.error}")
        return gate

    @property
    def configured(self) -> frozenset[str]:
        """The symbols that the configuration selects; empty: all."""
        return frozenset(self.config.source.symbols)

    @contextmanager
    def run(self, command: str, dry_run: bool) -> Iterator[RunReport]:
        """The report of a run, which is the one writer's unless it is a dry one."""
        report = RunReport(RunMetrics(command))
        if dry_run:
            yield report
            return
        with self.writer.run(report, self._record):
            yield report

    def known(self) -> dict[RawFile, SourceFile]:
        """What is known of each of the vendor's files."""
        with Catalog(self.layout, ()) as catalog:
            return catalog.source_files()

    def _plan(
        self, request: Request, report: RunReport, *, dry_run: bool
    ) -> tuple[Source, DownloadPlan, dict[RawFile, SourceFile]]:
        """What is to be fetched, where from, and what is known of each of the vendor's files."""
        report.metrics.begin("download")
        source = open_source(self.config, self.layout.root)
        known = self.known()
        report.download = plan_download(
            source,
            self.layout,
            narrowed(self.config, request.symbols),
            request.kinds,
            request.first,
            request.end or today(),
            known,
            open_start=request.start is None,
            open_end=request.end is None,
        )
        self._check_source(report.download, source, known, dry_run=dry_run)
        return source, report.download, known

    def _check_source(
        self,
        plan: DownloadPlan,
        source: Source,
        known: Mapping[RawFile, SourceFile],
        *,
        dry_run: bool,
    ) -> None:
        """See that the source is the one that the rows came from; a run that writes notes it.

        Raises:
            SourceError: it is another, and has other files under the names of published ones.
        """
        copied = {file for file, _ in plan.restamped}
        items = [item for item in plan.fetch if item.file not in copied]
        items += plan.changed_before
        error = of_another_source(self.layout, self.config, source, items, known)
        if error is not None:
            raise error
        here, before = address(self.config, source), data_folder_id.source_of(self.layout)
        if before != here and not dry_run and (plan.fetch or plan.have):
            if before is not None:
                self.progress.note(f"files come from {here} now; before: {printable(before)}")
            data_folder_id.note_source(self.layout, here)

    def fetch(
        self,
        source: Source,
        report: RunReport,
        found: DownloadPlan,
        known: Mapping[RawFile, SourceFile],
    ) -> None:
        """Bring what is planned into the raw tier. Within `run`.

        Raises:
            SourceError: the source cannot be spoken to any more.
            StorageError: the disk refuses.
        """
        with self._arriving(source, report, found, dict(known)) as arrivals:
            arrivals.wait_for_all()
            if arrivals.error is not None:
                raise arrivals.error

    @contextmanager
    def _arriving(
        self,
        source: Source,
        report: RunReport,
        found: DownloadPlan,
        known: dict[RawFile, SourceFile],
    ) -> Iterator[Arrivals]:
        """Files on their way into the raw tier; what has not come at the end is stopped.

        Args:
            known: what is known of each file; takes the records of those that came.
        """
        metrics = report.metrics
        self.progress.begin("download", found.bytes)
        wanted = [(item, self.layout.raw_file(item.file)) for item in found.fetch]
        begin = partial(
            source.fetch_all,
            wanted,
            partial(self.progress.advance, "download"),
            partial(metrics.end, "download"),
        )
        try:
            with Arrivals(begin, found, self.layout, known, metrics) as arrivals:
                yield arrivals
        finally:
            metrics.retries += source.retries

    @staticmethod
    def _fetched_records(report: RunReport) -> dict[RawFile, SourceFile]:
        return report.download.records if report.download else {}

    def _ingest(
        self,
        report: RunReport,
        request: Request,
        selected: frozenset[str],
        known: dict[RawFile, SourceFile],
        *,
        dry_run: bool,
        source: Source | None = None,
        here: AbstractSet[RawFile] = frozenset(),
    ) -> RunReport:
        """Read and publish what is planned.

        Args:
            source: where those of the planned files come from that the download plan has.
            here: files that are read whether a newer version comes or not.
        """
        gate = self.gate(request)
        report.broken = list(gate.broken)
        sizes = self._sizes(report)
        if dry_run:
            self._estimate(report, sizes, selected)
            return report
        with ExitStack() as opened:
            arrivals = None
            if source is not None and report.download is not None:
                arriving = self._arriving(source, report, report.download, known)
                arrivals = opened.enter_context(arriving)
            report.metrics.begin("processing")
            if sizes:
                self.progress.begin("ingest", sum(sizes.values()), len(sizes))
            incoming = Incoming(report, sizes, self.progress, arrivals, here)
            by_type = self._publish_planned(report, selected, known, gate, sizes, incoming)
            if any(kind.name == "trades" for kind in request.kinds):
                with by_type.work_on("trades", KEPT_BARS):
                    self.keep_bars(report, Scope())
            by_type.raise_stopped()
        if report.broken_off is not None:
            raise report.broken_off
        return report

    def _publish_planned(
        self,
        report: RunReport,
        selected: frozenset[str],
        known: dict[RawFile, SourceFile],
        gate: Gate,
        sizes: Mapping[RawFile, int],
        incoming: Incoming,
    ) -> ByType:
        """Portion by portion, with a record of the run's end in the last one.

        Returns:
            The data types of which nothing more is done, and why.
        """
        by_type = ByType(self.progress, self.layout)
        staged = Staged()
        is_recorded = False

        def take_in(portion: Portion, batch: StagedBatch) -> None:
            nonlocal is_recorded
            if not executor.is_here:
                self.progress.advance("ingest", sum(sizes[item.file] for item in batch.files))
            is_last = portion.is_last and not by_type.stopped
            self._take_in(report, portion, batch, selected, known, gate, staged, is_last)
            is_recorded = is_last

        try:
            with ExitStack() as opened:
                executor = opened.enter_context(open_executor(self.config.processing))
                places = 1 if executor.is_here else max(executor.at_once // AHEAD, 1)
                cut = batches(report.planned, sizes, places)
                planned = [one for some in cut for one in self.portions(some)]
                is_small = [sum(sizes[file] for file in files) <= SMALL_BYTES for files in planned]
                is_many = executor.at_once > 1 and sum(is_small) > 1
                share = whole(self.config.processing)
                staging = SideBySide(self.layout, take_in, executor, share, by_type)
                for files, small in zip(planned, is_small, strict=True):
                    is_here = all(map(incoming.is_here, files))
                    if not is_here:
                        staging.pause()
                        self._publish_staged(report, staged, "running")
                    kind, month = data_type(files[0].data_type), month_of(files[0].day)
                    if by_type.is_stopped(kind.name, month):
                        continue
                    if not any(map(incoming.is_to_be_read, files)):
                        continue
                    with by_type.work_on(kind.name, month=month):
                        is_alone = executor.is_here and not (is_many and small and is_here)
                        if staging.is_staging(kind, month) and not self._by_session(kind, month):
                            # It is merged with what the one before it publishes.
                            staging.finish()
                            self._publish_staged(report, staged, "running")
                        portion = self._portion(
                            report,
                            files,
                            selected,
                            known,
                            gate,
                            incoming,
                            None if is_alone else executor,
                            # On a cluster others may be taken in after it.
                            is_last=files is planned[-1] and executor.is_here,
                        )
                        staging.add(portion, is_alone=is_alone)
                staging.finish()
        except (WarehouseError, OSError) as error:
            try:
                # It is whole, whatever came after it.
                self._publish_staged(report, staged, "running")
            except (WarehouseError, OSError) as second:
                error.add_note(f"what was read before could not be published: {second}")
            raise
        self._publish_staged(report, staged, "running")
        incoming.finish()
        is_to_be_recorded = report.read or self._unread_records(report)
        if is_to_be_recorded and not (is_recorded or by_type.stopped):
            self._publish(report, self._record(report, report.state, report.problem))
        return by_type

    def _sizes(self, report: RunReport) -> dict[RawFile, int]:
        """Bytes of the planned files, of which some are still to be fetched."""
        fetch = report.download.fetch if report.download else []
        coming = {item.file: item.size for item in fetch}
        here = sizes_of(self.layout, (file for file in report.planned if file not in coming))
        return {file: coming[file] if file in coming else here[file] for file in report.planned}

    def _estimate(
        self, report: RunReport, sizes: Mapping[RawFile, int], selected: frozenset[str]
    ) -> None:
        fetch = [item.size for item in report.download.fetch] if report.download else []
        with Catalog(self.layout) as catalog:
            report.estimate = estimate(catalog, sizes, fetch, selected)

    def ingest_batch(
        self,
        report: RunReport,
        files: Sequence[RawFile],
        selected: frozenset[str],
        known: dict[RawFile, SourceFile],
        gate: Gate | None,
        *,
        changed_only: bool = False,
        settled: AbstractSet[RawFile] = frozenset(),
    ) -> None:
        """Stage and publish raw files that `portions` says are published together. Within `run`.

        Args:
            selected: the only symbols that are made anew; empty: all.
            known: what is known of the files; brought up to date.
            gate: keeps the batch out if rules find an error in it; None: they are not asked.
            changed_only: leave a partition alone that would become what it is.
            settled: files that take over no session that another brings.
        """
        portion = self._portion(
            report, files, selected, known, gate, None, changed_only=changed_only, settled=settled
        )
        batch = portion.stage(whole(self.config.processing))
        self._take_in(report, portion, batch, selected, known, gate, None)

    def _portion(
        self,
        report: RunReport,
        files: Sequence[RawFile],
        selected: frozenset[str],
        known: Mapping[RawFile, SourceFile],
        gate: Gate | None,
        incoming: Incoming | None,
        executor: Executor | None = None,
        *,
        is_last: bool = False,
        changed_only: bool = False,
        settled: AbstractSet[RawFile] = frozenset(),
    ) -> Portion:
        """What is to be done with raw files, each read when its turn comes, once it is here.

        Args:
            known: what is known of the files; looked at when a file's turn comes.
            incoming: says which are to be read; None: all, they are here.
            executor: what is to stage it; all its files are here then. None: this thread.
            is_last: the run is done with it.
        """
        kind, month = data_type(files[0].data_type), month_of(files[0].day)
        folder = self.layout.staging / f"{report.metrics.run_id}-{kind.name}-{files[0].day}"
        if folder.exists():
            # Of a batch that failed.
            shutil.rmtree(folder)
        self.layout.modes.make_folders(folder)
        stager = Stager(
            self.layout,
            self.config,
            self.sql,
            self.recipe(kind).fingerprint,
            selected,
            folder,
            self.progress if executor is None or executor.is_here else Silent(),
            gate.rules if gate else (),
            changed_only=changed_only,
            settled=settled,
        )
        with self.writer.catalog_of([(kind.name, month)]) as catalog:
            place = self._place(catalog, kind, month)
            session = files[0].day if place == "market" and kind.by_session else None
            present = catalog.partitions(kind.name, None, month, month, session)
            entries = catalog.entries(kind.name, month, session)
        if incoming is not None and executor is not None:
            # Downloads are looked at by one thread alone.
            files, incoming = [file for file in files if incoming.is_to_be_read(file)], None
        if incoming is None:
            take: Take = _Known({file: known[file].etag for file in files if file in known})
            is_here: Callable[[RawFile], bool] = _is_here
        else:
            take, is_here = _Awaited(incoming, known), incoming.is_here
        stage = partial(stager.stage, files, present, place, entries, take, is_here)
        stages: Stages[StagedBatch] | None = None
        if executor is not None and not executor.is_here and place == "symbol":
            size = sum(sizes_of(self.layout, files).values()) + sum(one.bytes for one in present)
            if size > LARGE_BYTES:
                items = stager.items(files, take)
                stages = batch_stages(stager, items, present, folder, executor.at_once)
        return Portion(kind, month, folder, place, present, entries, stage, stages, is_last)

    def _take_in(
        self,
        report: RunReport,
        portion: Portion,
        batch: StagedBatch,
        selected: frozenset[str],
        known: dict[RawFile, SourceFile],
        gate: Gate | None,
        staged: Staged | None,
        is_last: bool = False,
    ) -> None:
        """Ask the gate, and publish what was staged, now or with what follows.

        Args:
            staged: what was staged of other months, or sessions, and is to be published with it;
                where it is little still, so is this with what follows. None: it is published.
            is_last: the run is done with it.
        """
        if portion.place == "symbol":
            self._tell_of_market(batch)
        found = gate.judge(batch, selected) if gate else []
        report.findings += found
        told = {one.name for one in report.broken}
        report.broken += [one for one in batch.broken if one.name not in told]
        if gate is not None and any(one.is_error for one in found):
            if staged is not None:
                self._publish_staged(report, staged, "running")
            refused = gate.refuse(report.metrics.run_id, batch, portion.folder.name)
            report.refuse(refused)
            if batch.folder != portion.folder:  # else it is the one that is kept
                shutil.rmtree(portion.folder)
            change = self._record(report, report.state if is_last else "running", report.problem)
            gate.note(change, batch, report.metrics.run_id, selected)
            self._publish(report, change)
            return
        waiting = staged.moves if staged is not None else []
        check_places(self.layout, _moves(self.layout, batch), waiting, _gone(self.layout, batch))
        report.files += batch.files
        before = rows_by_file(portion.present, portion.entries, selected)
        is_alone = staged is None
        staged = Staged() if staged is None else staged
        if not staged.folders:
            staged.since = time.monotonic()
        self._add(staged, report, batch, selected, known, portion.present, before, gate)
        staged.folders.append(portion.folder)
        if is_alone or is_last or staged.is_enough:
            self._publish_staged(report, staged, report.state if is_last else "running")

    def portions(self, files: Sequence[RawFile]) -> list[list[RawFile]]:
        """Raw files of one data type and month, in the order of work, by what is published at once.

        A session whose symbols share files is final when it is written: nothing of it is merged
        with the rest of the month.
        """
        kind, month = data_type(files[0].data_type), month_of(files[0].day)
        if not self._by_session(kind, month):
            return [list(files)]
        return [list(group) for _, group in groupby(files, key=lambda file: file.day)]

    def _by_session(self, kind: DataType, month: date) -> bool:
        """Whether each session of a month has partitions of its own."""
        if not kind.by_session:
            return False
        with self.writer.catalog_of([(kind.name, month)]) as catalog:
            return self._place(catalog, kind, month) == "market"

    def _place(self, catalog: Catalog, kind: DataType, month: date) -> PartitionLayout:
        """How a month is laid out. It stays so: only `rebuild --layout` changes that."""
        return catalog.layout_of(kind.name, month) or self.config.storage.layout.of(kind.name)

    def _tell_of_market(self, batch: StagedBatch) -> None:
        """Say what the other layout would save, where symbols are many."""
        files = len(batch.partitions)
        if files > _MANY_FILES:
            rows = sum(partition.rows for partition, _ in batch.partitions)
            sessions = {one.session for item, _ in batch.partitions for one in item.sessions}
            instead = "it is one"
            if data_type(batch.data_type).by_session:
                instead = f"it is some {max(len(sessions), 2 * rows // FILE_ROWS):,}"
            self.progress.note(
                f"{batch.data_type} {batch.month:%Y-%m}: {files:,} files of {rows // files:,} rows"
                f" each; in the layout market {instead}, written and read many times as fast:"
                f" warehouse rebuild {batch.data_type} --layout market"
            )

    def look_at_raw(
        self, report: RunReport, request: Request, known: Mapping[RawFile, SourceFile]
    ) -> None:
        """Note what of the raw tier is not read; the rest goes on."""
        report.raw_unread, report.other_layout = passed_over(
            self.layout, self.config, request, known
        )
        report.metrics.errors += len(report.raw_unread)

    def recipe(self, kind: DataType) -> Recipe:
        """Everything that decides what becomes of a row: SQL and settings."""
        return transform_version.recipe(self.sql, self.config, kind)

    def _add(
        self,
        staged: Staged,
        report: RunReport,
        batch: StagedBatch,
        selected: frozenset[str],
        known: dict[RawFile, SourceFile],
        present: Sequence[Partition],
        before: Counter[FileVersion],
        gate: Gate | None,
    ) -> None:
        """Put a batch to what is staged: its files, and what the catalog is to say of it."""
        metrics, layout, change = report.metrics, self.layout, staged.change
        whole = selected == self.configured
        made_by = self.recipe(data_type(batch.data_type))
        change.partitions += [partition for partition, _ in batch.partitions]
        change.removed += batch.removed
        staged.entries += sum(
            len(one.sessions) * (1 if one.slices is None else one.slices.num_rows)
            for one, _ in batch.partitions
        )
        staged.moves += _moves(layout, batch)
        staged.moves += [
            move for move in transform_version.stage(layout, made_by) if move not in staged.moves
        ]
        staged.removals += _gone(layout, batch)
        records_of: list[SourceFile] = []
        for item in batch.files:
            metrics.files += 1
            if item.problem is not None:
                metrics.files_set_aside += 1
                metrics.errors += 1
                what = "gone" if item.is_gone else "set aside"
                self.progress.note(f"{what}: {item.file.key}: {item.problem}")
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
                name = target.relative_to(layout.rejects).as_posix()
                change.rejects[name] = item.rejects is not None
                staged.raw_bytes += item.facts.bytes
                if whole:
                    staged.superseded.append(superseded(layout.raw_file(item.file)))
            # Rows of an earlier version are not among those that the record counts.
            record = known.get(item.file)
            if item.is_gone and record is not None and record.state == FileState.INGESTED:
                # What is published of it stands.
                continue
            told = records.of_file(
                item,
                selected,
                metrics.run_id,
                made_by.fingerprint,
                record,
                before[item.file.key, record.sha256] if record and record.sha256 else 0,
            )
            records_of.append(told)
            if told.etag != item.etag:
                report.replaced.append(item.file)
        records_of += records.taken_over(known, *_of_others(batch, present))
        for told in records_of:
            if (file := parse_key(told.source)) is not None:
                known[file] = told
        change.files += records_of
        metrics.partitions += len(batch.partitions)
        metrics.bytes_written += sum(partition.bytes for partition, _ in batch.partitions)
        if gate is not None:
            gate.note(change, batch, metrics.run_id, selected)

    def _publish_staged(self, report: RunReport, staged: Staged, state: str) -> None:
        """Publish what is staged, if anything, and leave nothing of it."""
        if not staged.folders:
            return
        # What a publish that fails leaves is for the next writer.
        found = staged.taken()
        found.change.files += self._unread_records(report)
        found.change.runs = [of_run(report.metrics, state, report.problem)]
        self._publish(report, found.change, found.moves, found.removals)
        for path in found.superseded:
            path.unlink(missing_ok=True)
        for folder in found.folders:
            shutil.rmtree(folder)

    def _publish(
        self,
        report: RunReport,
        change: CatalogChange,
        moves: Iterable[tuple[str, str]] = (),
        removals: Iterable[Path] = (),
    ) -> None:
        """Publish a change that holds `_unread_records`: the next one need not say them again."""
        self.writer.publish(change, moves, removals)
        self._fetched_records(report).clear()
        report.copied.clear()

    def _record(self, report: RunReport, state: str, problem: str | None = None) -> CatalogChange:
        """What the catalog is to say of a run beside what it has published."""
        return CatalogChange(
            files=self._unread_records(report),
            runs=[of_run(report.metrics, state, problem)],
        )

    def _unread_records(self, report: RunReport) -> list[SourceFile]:
        """Of what was fetched and is still to be read: what was read has one that says more."""
        read = {item.file.key for item in report.files}
        records = (self._fetched_records(report) | report.copied).values()
        return [record for record in records if record.source not in read]

    def _set_aside(self, item: StagedFile) -> None:
        """Move a file that failed out of the raw tier, with a record of why beside it.

        Another that has taken its name since it was read stays: the next run reads it.
        """
        if item.is_gone:
            return
        if item.facts.stamp is None or is_at(item.path, item.facts.stamp):
            put_aside(self.layout, item.file, item.path, str(item.problem), item.etag)


def _of_rules(request: Request, rules: Sequence[Rule]) -> Request:
    """The request about those of its data types that the rules are of, which were named.

    Raises:
        RequestError: they are of none of them: nothing would be asked, and nothing found.
    """
    of = {name for rule in rules for name in rule.data_types}
    kinds = tuple(kind for kind in request.kinds if kind.name in of)
    if not kinds:
        names = ", ".join(kind.name for kind in request.kinds)
        told = ", ".join(name for name in DATA_TYPES if name in of)
        problem = f"{'it is' if len(rules) == 1 else 'they are'} of {told}, not of {names}"
        raise RequestError("rule", ", ".join(rule.name for rule in rules), problem)
    return replace(request, kinds=kinds)


def _moves(layout: Layout, batch: StagedBatch) -> list[tuple[str, str]]:
    """A batch's partitions and rejects: (staged, final)."""
    moves = [
        (str(path), f"{layout.cache}/{partition_name(*found.key)}")
        for found, path in batch.partitions
    ]
    return moves + [
        (str(item.rejects), str(layout.rejects_of(item.file)))
        for item in batch.files
        if item.problem is None and item.rejects is not None
    ]


def _gone(layout: Layout, batch: StagedBatch) -> list[Path]:
    """A batch's partitions and rejects of which there are no rows any more."""
    gone = [layout.partition(*key) for key in batch.removed]
    rejects = [
        layout.rejects_of(item.file)
        for item in batch.files
        if item.problem is None and item.rejects is None
    ]
    return gone + [path for path in rejects if path.exists()]


def _all_rows(partitions: Iterable[Partition]) -> Counter[FileVersion]:
    """How many rows came from each version of the vendor's files."""
    rows: Counter[FileVersion] = Counter()
    for partition in partitions:
        for session in partition.sessions:
            rows[session.source, session.sha256] += session.rows
    return rows


def _of_others(
    batch: StagedBatch, present: Sequence[Partition]
) -> tuple[Counter[FileVersion], Counter[FileVersion]]:
    """Rows of a month by the version of their file, before and after; not of the batch's own."""
    later = {one.key: one for one in present}
    later |= {partition.key: partition for partition, _ in batch.partitions}
    for key in batch.removed:
        later.pop(key, None)
    own = {item.file.key for item in batch.files}
    before, after = _all_rows(present), _all_rows(later.values())
    for rows in (before, after):
        for version in [version for version in rows if version[0] in own]:
            del rows[version]
    return before, after
