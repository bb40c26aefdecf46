"""What would become another partition if it were made now: stale partitions, and why each is.

A session is stale where the SQL or a setting has changed since it was made, or its file has. A
comment or a line break in the SQL is no change.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from warehouse.core.datatypes import DataType
from warehouse.core.file_state import FileState
from warehouse.core.metrics import Silent
from warehouse.core.paths import PartitionKey, RawFile, month_of, parse_key
from warehouse.core.representation import Face
from warehouse.core.request import Request
from warehouse.ingest import raw_check
from warehouse.maintenance.refetch import plan, refetch
from warehouse.pipeline import batches
from warehouse.pipeline.bars.work import Scope, Work
from warehouse.pipeline.download_plan import files_to_ingest, of_other_machines
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.sqlfolder import transform_version
from warehouse.sqlfolder.transform_version import Recipe
from warehouse.store.catalog import Catalog, CatalogChange, SourceFile, of_run
from warehouse.store.partitions import Partition


@dataclass(repr=False)
class ChangedReport(Face):
    """What was stale, and what came of it.

    Attributes:
        reasons: why → the partitions that are stale for it. A file of which no row was published
            may be stale too: then there may be none.
        files: raw files that are read again.
        absent: raw files that would have to be, and are not there: pruned, or not to be had.
        why_absent: why `fetch` did not bring them; empty where it was not asked to.
        run: what was fetched and read.
    """

    run: RunReport
    reasons: dict[str, list[PartitionKey]] = field(default_factory=dict)
    files: list[RawFile] = field(default_factory=list)
    absent: list[RawFile] = field(default_factory=list)
    why_absent: dict[RawFile, str] = field(default_factory=dict)

    def _face(self) -> dict[str, Any]:
        return {
            "partitions": len(self.partitions),
            "files": len(self.files),
            "absent": len(self.absent),
            "reasons": len(self.reasons),
        }

    @property
    def partitions(self) -> set[PartitionKey]:
        return {key for keys in self.reasons.values() for key in keys}


def rebuild_changed(
    pipeline: Pipeline, request: Request, *, fetch: bool = False, dry_run: bool = False
) -> ChangedReport:
    """Make what is stale anew, and nothing else.

    Sessions whose raw file is not there stay as they are.

    Args:
        fetch: fetch such files again.

    Raises:
        LockedError: another process is writing to the warehouse.
        RequestError: an allowance is none.
        SqlFileError: a statement is missing or breaks the conventions.
    """
    bars = Scope(
        None if request.is_of_every_kind else request.kept_bars,
        month_of(request.first),
        request.last,
        request.symbols,
        by_recipe=True,
    )
    request = request.of_vendor
    pipeline.check_allowed(request)
    with pipeline.run("rebuild", dry_run) as run:
        report = ChangedReport(run)
        known = pipeline.known()
        waiting = frozenset(
            files_to_ingest(
                pipeline.layout,
                pipeline.config,
                request.kinds,
                request.first,
                request.last,
                known,
                run.copied,
            )
        )
        by_type = batches.ByType(pipeline.progress, pipeline.layout)
        found = _Search(pipeline, request, known, waiting).stale(by_type)
        report.reasons = {reason: sorted(keys) for reason, (keys, _) in sorted(found.items())}
        stale = {file for _, files in found.values() for file in files}
        pipeline.look_at_raw(run, request, known)
        unread = batches.unread_of(pipeline.layout, stale, run.raw_unread)
        here = {file for file in stale if os.path.exists(pipeline.layout.raw_file(file))}
        # A pipe or a folder is there, and no file.
        here -= of_other_machines(pipeline.layout, here, known) | set(unread)
        report.why_absent = {file: str(problem) for file, problem in unread.items()}
        absent = stale - here
        new_versions = set(waiting)
        if fetch and dry_run:
            report.why_absent |= plan(pipeline, run, absent - set(unread))
            absent = set(report.why_absent)
            here = stale - absent
        elif fetch:
            came = refetch(pipeline, report.run, absent - set(unread))
            report.why_absent |= came.why
            new_versions |= came.restated
            absent = set(report.why_absent)
            here = stale - absent
            known = pipeline.known()
        report.files = sorted(here, key=lambda file: file.sort_key)
        report.absent = sorted(absent, key=lambda file: file.sort_key)
        # Whoever builds them tells of those that are stopped.
        by_length = batches.ByType(pipeline.progress if dry_run else Silent(), pipeline.layout)
        for work in pipeline.bars.work(bars, by_length.work_on):
            for reason, keys in work.reasons.items():
                report.reasons.setdefault(reason, []).extend(keys)
        if dry_run:
            by_type.stopped |= by_length.stopped
            by_type.raise_stopped()
            return report
        run.metrics.begin("processing")
        sizes = batches.sizes_of(pipeline.layout, here)
        pipeline.progress.begin("ingest", sum(sizes.values()))
        gate = pipeline.gate(request)
        run.broken = list(gate.broken)
        for symbols, files in batches.by_selection(here, known, pipeline.configured):
            for batch in batches.batches(files, sizes):
                kind, month = batch[0].data_type, month_of(batch[0].day)
                if by_type.is_stopped(kind, month):
                    continue
                again = pipeline.configured if waiting & set(batch) else symbols
                with by_type.work_on(kind, month=month):
                    for portion in pipeline.portions(batch):
                        pipeline.ingest_batch(
                            report.run,
                            portion,
                            request.symbols or again,
                            known,
                            gate,
                            changed_only=True,
                            settled=set(portion) - new_versions,
                        )
        made: list[Work] = []
        with by_type.work_on("trades", batches.KEPT_BARS):
            made = pipeline.keep_bars(run, bars)
        if stale or run.copied or made:
            done = [of_run(run.metrics, run.state, run.problem)]
            read = {item.file for item in run.files}
            copied = [record for file, record in run.copied.items() if file not in read]
            pipeline.writer.publish(CatalogChange(files=copied, runs=done))
        by_type.raise_stopped()
        return report


_Stale = dict[str, tuple[set[PartitionKey], set[RawFile]]]


class _Search:
    def __init__(
        self,
        pipeline: Pipeline,
        request: Request,
        known: Mapping[RawFile, SourceFile],
        waiting: frozenset[RawFile],
    ) -> None:
        self._pipeline, self._request, self._known = pipeline, request, known
        self._waiting = waiting
        self._changes: dict[str, list[str]] = {}
        self._found: _Stale = defaultdict(lambda: (set(), set()))

    def stale(self, by_type: batches.ByType) -> _Stale:
        """Reason → stale partitions, and the raw files that those are to be made from."""
        for kind in self._request.kinds:
            with by_type.work_on(kind.name):
                now = self._pipeline.recipe(kind)
                published: set[RawFile] = set()
                for partition in self._partitions(kind):
                    published |= self._look_at(partition, now)
                self._look_at_files(kind, now, published)
        return self._found

    def _partitions(self, kind: DataType) -> Iterator[Partition]:
        request = self._request
        symbols = sorted(request.symbols) if request.symbols else None
        with Catalog(self._pipeline.layout) as catalog:
            months = catalog.rows(_MONTHS, data_type=kind.name)
            for month in sorted(row["month"] for row in months):
                if month_of(request.first) <= month <= request.last:
                    yield from catalog.partitions(kind.name, symbols, month, month)

    def _look_at(self, partition: Partition, now: Recipe) -> set[RawFile]:
        """Note why sessions of a partition are stale; returns the files it came from."""
        files = set()
        key = partition.key
        for session in partition.sessions:
            file = parse_key(session.source)
            if file is None or not self._request.first <= session.session <= self._request.last:
                continue
            files.add(file)
            reasons = self._why(session.fingerprint or partition.fingerprint, now)
            record = self._known.get(file)
            is_other = (
                record is not None
                and record.state == FileState.INGESTED
                and record.sha256 is not None
                and record.sha256 != session.sha256
            )
            if is_other or file in self._waiting:
                reasons = [*reasons, self._why_waiting(file, record)]
            for reason in reasons:
                self._found[reason][0].add(key)
                self._found[reason][1].add(file)
        return files

    def _look_at_files(self, kind: DataType, now: Recipe, published: set[RawFile]) -> None:
        """Files of which no row is published: of those too the rejects are made by the SQL."""
        if self._request.symbols:
            return
        for file, record in self._known.items():
            if (
                file.data_type != kind.name
                or file in published
                or record.state != FileState.INGESTED
                or not file.overlaps(self._request.first, self._request.last)
            ):
                continue
            reasons = self._why(record.fingerprint, now) if record.fingerprint else []
            if file in self._waiting:
                reasons = [*reasons, self._why_waiting(file, record)]
            for reason in reasons:
                self._found[reason][1].add(file)

    def _why(self, made_by: str, now: Recipe) -> list[str]:
        if made_by == now.fingerprint:
            return []
        if made_by not in self._changes:
            before = transform_version.load(self._pipeline.layout, made_by)
            kind = next(iter(now.statements)).partition("/")[2]
            unknown = f"{kind} were made by other SQL or settings, which are not kept ({made_by})"
            self._changes[made_by] = before.changes_to(now) if before is not None else [unknown]
        return self._changes[made_by]

    def _why_waiting(self, file: RawFile, record: SourceFile | None) -> str:
        what = f"{file.data_type} {file.day}{f' {file.symbol}' if file.symbol else ''}"
        path = self._pipeline.layout.raw_file(file)
        is_ingested = record is not None and record.state == FileState.INGESTED
        if record is not None and is_ingested and raw_check.is_recorded(path, record):
            if record.is_taken_over:
                layout = self._pipeline.config.source.layout
                return f"source.layout is {layout}, and files of the other bring its rows"
            return "source.symbols selects more than was published"
        return f"{what} has a new version"


_MONTHS = "select distinct month from partitions where data_type = $data_type"
