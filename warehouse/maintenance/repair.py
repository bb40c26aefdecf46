"""Repair: what `verify` found wrong is made anew from the raw files, and those fetched again.

Nothing is deleted: what is damaged, and what nobody knows, goes to data/set_aside. What can be
mended from nothing that is left stays as it is, and the report says why.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from warehouse.core.calendar import last_day_of_month
from warehouse.core.datatypes import DATA_TYPES, data_type, is_kept_bars
from warehouse.core.file_state import FileState
from warehouse.core.metrics import Progress, Silent
from warehouse.core.paths import (
    ALL_SYMBOLS,
    Layout,
    PartitionKey,
    RawFile,
    month_of,
    parse_key,
)
from warehouse.core.representation import Face
from warehouse.core.request import Request
from warehouse.errors import CorruptPartitionError, ObjectStorageError, WarehouseError
from warehouse.maintenance import file_checks
from warehouse.maintenance.refetch import refetch
from warehouse.maintenance.verify import Fault, VerifyReport, verify
from warehouse.maintenance.verify_units import raw_problem
from warehouse.objects.generation import Content, record
from warehouse.pipeline import batches
from warehouse.pipeline.bars.work import Scope
from warehouse.pipeline.download_plan import files_to_ingest
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.store.catalog import Catalog, CatalogChange, SourceFile, of_run
from warehouse.store.partitions import Partition
from warehouse.store.publishing import kept_tables, schema_files
from warehouse.store.publishing.publish import misplaced
from warehouse.store.reference import reference_files
from warehouse.store.tier.pull import objects_amiss, sizes
from warehouse.store.tier.writing import put_back, restore


@dataclass(repr=False)
class RepairReport(Face):
    """What was wrong, and what came of it.

    Attributes:
        found: before.
        mended: faults that are no more.
        left: faults that remain, each with the reason.
        restored: partitions that have the bytes again that they had.
        remade: partitions made anew whose bytes are others, for the SQL, the settings, the
            vendor's file or this library's version have changed since.
        moved: (path, where it is now) of what was set aside.
        run: what was fetched and read.
    """

    found: VerifyReport
    run: RunReport
    mended: list[Fault] = field(default_factory=list)
    left: list[tuple[Fault, str]] = field(default_factory=list)
    restored: list[PartitionKey] = field(default_factory=list)
    remade: list[PartitionKey] = field(default_factory=list)
    moved: list[tuple[Path, Path]] = field(default_factory=list)

    def _face(self) -> dict[str, Any]:
        return {
            "found": len(self.found.faults),
            "mended": len(self.mended),
            "left": len(self.left),
            "restored": len(self.restored),
            "remade": len(self.remade),
            "moved": len(self.moved),
        }


def repair(pipeline: Pipeline, request: Request) -> RepairReport:
    """Verify what the request is about, and mend what is wrong. Recorded as a run.

    Raises:
        LockedError: another process is writing to the warehouse.
        StorageError: the disk refuses.
    """
    with pipeline.run("verify", dry_run=False) as run:
        layout, config = pipeline.layout, pipeline.config
        found = verify(layout, config, request, pipeline.progress)
        report = RepairReport(found, run)
        catalog = [fault for fault in found.faults if fault.kind == "catalog"]
        if catalog:
            # Whatever it would say of the files, it cannot be asked.
            if layout.catalog.exists():
                pipeline.writer.set_catalog_aside()
            pipeline.writer.recover_catalog()
            report.mended += catalog
            found = verify(layout, config, request, pipeline.progress)
        if found.faults and layout.tier is not None:
            # What the bucket alone has lost is here.
            put_back(layout, _as_published(layout, found.faults))
            objects = {one.path for one in found.faults if one.kind == "object"}
            if objects & {layout.catalog, layout.generation}:
                # The catalog that is here is of this folder, and what named all there is is made
                # with each generation.
                pipeline.writer.publish(CatalogChange())
        if found.faults and _restored(pipeline):
            # What is damaged on this disk alone is brought anew.
            before, found = found.faults, verify(layout, config, request, pipeline.progress)
            left = {(fault.path, fault.kind) for fault in found.faults}
            report.mended += [one for one in before if (one.path, one.kind) not in left]
        _Repair(pipeline, report, found.faults, request, without_catalog=bool(catalog)).work()
        pipeline.writer.publish(CatalogChange(runs=[of_run(run.metrics, "done")]))
        return report


def _restored(pipeline: Pipeline) -> bool:
    """Bring all that was published last; where the bucket has lost some of it: nothing."""
    try:
        return restore(pipeline.layout)
    except ObjectStorageError as error:
        pipeline.progress.note(f"nothing is brought from the bucket: {error}")
        return False


def _as_published(layout: Layout, faults: Sequence[Fault]) -> Iterator[tuple[Path, Content]]:
    """Files whose objects may be lost, and what they were published as."""
    known = record(layout)
    names = {os.path.relpath(fault.path, layout.data) for fault in faults}
    for name, content in known.files.items() if known is not None else ():
        if name in names:
            yield layout.data / name, content
    with Catalog(layout) as catalog:
        for fault in faults:
            if isinstance(fault.subject, PartitionKey):
                for one in _with_slices(catalog, fault.subject):
                    yield fault.path, Content(one.sha256, one.bytes)


class _Repair:
    def __init__(
        self,
        pipeline: Pipeline,
        report: RepairReport,
        faults: Sequence[Fault],
        request: Request,
        *,
        without_catalog: bool,
    ) -> None:
        self._pipeline, self._report, self._faults = pipeline, report, faults
        self._request, self._without_catalog = request, without_catalog
        self._layout = pipeline.layout
        self._why: dict[RawFile, str] = {}
        """Raw files that are not to be had, and why."""
        self._restated: set[RawFile] = set()
        self._why_bars: dict[PartitionKey, str] = {}
        """Partitions of bars that cannot be built anew, and why."""
        self._why_there: dict[Path, str] = {}
        """What nobody knows and stays where it is, and why."""
        self._by_type = batches.ByType(pipeline.progress, self._layout)

    def work(self) -> None:
        for fault in sorted(self._faults, key=_is_folder_of_file, reverse=True):
            # What is in such a folder goes with it, though nobody knows it either.
            is_there = fault.kind == "unknown" and os.path.lexists(fault.path)
            if is_there or _is_folder_of_file(fault):
                try:
                    self._set_aside(fault.path)
                except OSError as error:
                    why = f"it cannot be moved: {error.strerror or error}"
                    self._why_there[fault.path] = why
        broken = self._broken()
        whole = self._whole()
        self._fetch(broken, whole)
        self._write_ledger()
        if self._of("history"):
            self._pipeline.writer.publish(CatalogChange(is_history_anew=True))
        if self._of("schema"):
            # Each publish looks for them.
            self._pipeline.writer.publish(CatalogChange())
        self._partitions({key: one for key, one in broken.items() if not _is_of_bars(key)})
        self._files(whole | self._restated)
        self._bars([key for key in broken if _is_of_bars(key)])
        self._conclude(broken)
        self._look_again()

    def _set_aside(self, path: Path) -> None:
        """Move a file out of the way, under its path in the warehouse and the present moment."""
        layout = self._layout
        if problem := layout.leads_out(path.parent):
            # By a stranger's link it is the user's own, and would go into the stranger's folder.
            raise OSError(errno.EPERM, f"its folder {problem}")
        top = layout.raw if path.is_relative_to(layout.raw) else layout.data
        place = layout.set_aside / f"verify-{self._report.run.metrics.run_id}"
        target = place / top.name / path.relative_to(top)
        layout.make_aside(target.parent)
        while os.path.lexists(target):
            # Of one raw file there may be several.
            target = target.with_name(f"{target.name}.old")
        try:
            os.replace(path, target)
        except OSError:
            # Another disk.
            try:
                shutil.move(path, target)
            except OSError:
                if os.path.lexists(path) and target.is_file():
                    # A copy of what stays.
                    target.unlink()
                raise
        with suppress(OSError):
            path.parent.rmdir()
        self._report.moved.append((path, target))

    def _of(self, kind: str) -> list[Fault]:
        return [fault for fault in self._faults if fault.kind == kind]

    def _broken(self) -> dict[PartitionKey, Partition]:
        """Partitions to be made anew, as the catalog has them."""
        wanted: defaultdict[tuple[str, date], set[PartitionKey]] = defaultdict(set)
        for fault in self._of("partition"):
            assert isinstance(fault.subject, PartitionKey)
            wanted[fault.subject.data_type, fault.subject.month].add(fault.subject)
        found = {}
        with Catalog(self._layout) as catalog:
            for (name, month), keys in wanted.items():
                for one in catalog.partitions(name, None, month, month):
                    if one.key in keys:
                        found[one.key] = one
        return found

    def _whole(self) -> set[RawFile]:
        """Raw files to be read again for all of their symbols."""
        found = set()
        for fault in [*self._of("rejects"), *self._of("rows")]:
            assert isinstance(fault.subject, RawFile)
            found.add(fault.subject)
            if fault.kind == "rejects" and fault.path.exists():
                # What remains of it must not be carried into the next.
                self._set_aside(fault.path)
        if self._without_catalog:
            # Of a damaged partition nobody knows any more what it held: what is not known to be
            # published is read.
            request, pipeline = self._request, self._pipeline
            found |= set(
                files_to_ingest(
                    self._layout,
                    pipeline.config,
                    request.kinds,
                    request.first,
                    request.last,
                    pipeline.known(),
                )
            )
        return found

    def _fetch(self, broken: Mapping[PartitionKey, Partition], whole: set[RawFile]) -> None:
        """Bring the raw files that are damaged or missing, and those that are needed and gone."""
        known = self._pipeline.known()
        wanted = {fault.subject for fault in self._of("raw") if isinstance(fault.subject, RawFile)}
        for file in {*whole, *(file for one in broken.values() for file in _files_of(one))}:
            path = self._layout.raw_file(file)
            if raw_problem(path, known.get(file)) is not None:
                wanted.add(file)
        came = refetch(self._pipeline, self._report.run, wanted, self._set_aside)
        self._why, self._restated = came.why, came.restated

    def _write_ledger(self) -> None:
        """Publishing a record writes the page of the ledger that it is on."""
        pages = {fault.path for fault in self._of("ledger")}
        known = self._pipeline.known()
        files = [
            record
            for file, record in known.items()
            if self._layout.ledger_of(file.data_type, month_of(file.day)) in pages
        ]
        if files:
            self._pipeline.writer.publish(CatalogChange(files=files))

    def _partitions(self, broken: Mapping[PartitionKey, Partition]) -> None:
        """Make partitions anew, those of a month together."""
        months: defaultdict[tuple[str, date], list[Partition]] = defaultdict(list)
        for key, partition in broken.items():
            if not any(file in self._why for file in _files_of(partition)):
                months[key.data_type, key.month].append(partition)
        for partitions in months.values():
            files = {file for one in partitions for file in _files_of(one)}
            if any(one.symbol == ALL_SYMBOLS for one in partitions):
                # For whatever symbols they were read before.
                self._files(files)
                continue
            # They were let in when they first came: no rule is asked.
            self._read(
                sorted(files, key=lambda file: file.sort_key),
                frozenset(one.symbol for one in partitions),
                self._pipeline.known(),
            )

    def _bars(self, broken: Sequence[PartitionKey]) -> None:
        """Build bars anew from the trades, which are mended by now if anything could mend them."""
        for name, month in dict.fromkeys((key.data_type, key.month) for key in broken):
            keys = [key for key in broken if (key.data_type, key.month) == (name, month)]
            sessions = frozenset(key.session for key in keys if key.session is not None)
            symbols = frozenset(key.symbol for key in keys)
            scope = Scope((data_type(name),), month, month, symbols, sessions, anew=True)
            why = self._keep_bars(scope, Silent())
            if why is not None:
                rests = isinstance(why, CorruptPartitionError)
                words = "it rests on another" if rests else "it cannot be built"
                self._why_bars |= dict.fromkeys(keys, f"{words}: {why}")
        if self._without_catalog:
            self._keep_bars(Scope(), self._pipeline.progress)

    def _keep_bars(self, scope: Scope, progress: Progress) -> WarehouseError | None:
        """Build bars; why some of them cannot be built."""
        by_type = batches.ByType(progress, self._layout)
        with by_type.work_on("trades", batches.KEPT_BARS):
            self._pipeline.keep_bars(self._report.run, scope)
        return by_type.stopped.get(batches.KEPT_BARS)

    def _files(self, files: set[RawFile]) -> None:
        """Read raw files again for all that was published of them."""
        known = self._pipeline.known()
        for symbols, some in batches.by_selection(
            files - set(self._why), known, self._pipeline.configured
        ):
            for batch in batches.batches(some, batches.sizes_of(self._layout, some)):
                try:
                    self._read(batch, symbols, known)
                except CorruptPartitionError as error:
                    self._why |= dict.fromkeys(batch, f"it cannot be read again: {error}")

    def _read(
        self,
        files: Sequence[RawFile],
        symbols: frozenset[str],
        known: dict[RawFile, SourceFile],
    ) -> None:
        """Publish raw files of one data type and month anew, unless what is its own is broken."""
        kind, stopped = files[0].data_type, self._by_type.stopped
        if kind not in stopped:
            settled = {
                file
                for file in set(files) - self._restated
                if file in known and known[file].state == FileState.INGESTED
            }
            damaged: CorruptPartitionError | None = None
            with self._by_type.work_on(kind):
                try:
                    for portion in self._pipeline.portions(files):
                        self._pipeline.ingest_batch(
                            self._report.run, portion, symbols, known, None, settled=settled
                        )
                except CorruptPartitionError as error:
                    # What is damaged is what it is here for.
                    damaged = error
            if damaged is not None:
                raise damaged
        if kind in stopped:
            self._why |= dict.fromkeys(files, f"it cannot be read again: {stopped[kind]}")

    def _conclude(self, broken: Mapping[PartitionKey, Partition]) -> None:
        """Look again at what was wrong, and tell what is mended from what is left."""
        report, layout = self._report, self._layout
        known = self._pipeline.known()
        with Catalog(layout) as catalog:
            present = {one.key: one for key in broken for one in _with_slices(catalog, key)}
        for fault in self._faults:
            why = self._still(fault, present, known)
            if why is not None:
                report.left.append((fault, why))
                continue
            report.mended.append(fault)
            if fault.kind == "partition" and isinstance(fault.subject, PartitionKey):
                one = present.get(fault.subject)
                same = one is not None and one.sha256 == broken[fault.subject].sha256
                (report.restored if same else report.remade).append(fault.subject)

    def _look_again(self) -> None:
        """Verify what was touched: a fault that came up in mending is one that is left."""
        report = self._report
        touched: defaultdict[str, set[date]] = defaultdict(set)
        for item in report.run.files:
            touched[item.file.data_type].add(month_of(item.file.day))
        for fault in self._faults:
            if isinstance(fault.subject, PartitionKey):
                touched[fault.subject.data_type].add(fault.subject.month)
            elif isinstance(fault.subject, RawFile):
                touched[fault.subject.data_type].add(month_of(fault.subject.day))
        told = {(fault.path, fault.kind) for fault, _ in report.left}
        for name, months in touched.items():
            request = Request((data_type(name),), min(months), last_day_of_month(max(months)))
            again = verify(self._layout, self._pipeline.config, request, self._pipeline.progress)
            for fault in again.faults:
                if (fault.path, fault.kind) not in told:
                    told.add((fault.path, fault.kind))
                    report.left.append((fault, fault.problem))
                    same = [
                        f for f in report.mended if (f.path, f.kind) == (fault.path, fault.kind)
                    ]
                    for one in same:
                        report.mended.remove(one)

    def _still(
        self,
        fault: Fault,
        present: Mapping[PartitionKey, Partition],
        known: Mapping[RawFile, SourceFile],
    ) -> str | None:
        """Why a fault is still one; None: it is none any more."""
        problem = self._why_there.get(fault.path)
        files: list[RawFile] = []
        if isinstance(fault.subject, RawFile):
            files = [fault.subject]
            record = known.get(fault.subject)
            if fault.kind == "raw":
                problem = raw_problem(fault.path, record)
            elif fault.kind == "rejects" and record is not None:
                problem = file_checks.rejects(fault.path, record)
            elif fault.kind == "rows":
                problem = self._rows_of(fault.subject)
        elif fault.subject is not None:
            one = present.get(fault.subject)
            if one is None:
                problem = "damaged" if fault.path.exists() else None
            else:
                files = _files_of(one)
                problem = file_checks.partition(fault.path, one)
                if problem is not None and one.key in self._why_bars:
                    problem = f"{problem}; {self._why_bars[one.key]}"
        elif fault.kind == "folder":
            problem = dict(misplaced(self._layout)).get(fault.path)
        elif fault.kind == "source":
            problem = "it is not the warehouse's to move"
        elif fault.kind == "object":
            problem = self._lost.get(os.path.relpath(fault.path, self._layout.data))
        elif fault.kind == "ledger":
            problem = _page_problem(fault.path)
        elif fault.kind == "history":
            problem = _history_problem(self._layout, fault.path)
        elif fault.kind == "schema":
            problem = schema_files.problem_of(fault.path)
        elif fault.kind == "reference" and reference_files.problem(fault.path) is not None:
            problem = f"make it anew with: {fault.remedy}"
        if problem is None:
            return None
        why = [f"{file.key}: {self._why[file]}" for file in files if file in self._why]
        return "; ".join(why) or problem

    @cached_property
    def _lost(self) -> dict[str, str]:
        """What the bucket lacks once all is done; it is listed once for all that it lost."""
        return dict(objects_amiss(self._layout, sizes(self._layout)))

    def _rows_of(self, file: RawFile) -> str | None:
        """Whether the rows of a raw file still do not add up."""
        request = Request((DATA_TYPES[file.data_type],), file.day, file.day)
        pipeline = self._pipeline
        again = verify(self._layout, pipeline.config, request, pipeline.progress)
        same = (f.problem for f in again.faults if f.kind == "rows" and f.subject == file)
        return next(same, None)


def _is_folder_of_file(fault: Fault) -> bool:
    """Whether a folder stands where a file belongs, over which none can be written."""
    kinds = ("ledger", "history", "schema", "partition", "rejects")
    return fault.kind in kinds and fault.path.is_dir() and not fault.path.is_symlink()


def _with_slices(catalog: Catalog, key: PartitionKey) -> Iterator[Partition]:
    """The partition as the catalog has it; of one of all symbols, where each one's rows stand."""
    name, symbol, month, part = key
    session = month.replace(day=int(part[:2])) if part else None
    for one in catalog.partitions(name, [symbol] if symbol else None, month, month):
        if one.key == key:
            yield one if symbol else replace(one, slices=catalog.slices(name, month, session)[part])


def _is_of_bars(key: PartitionKey) -> bool:
    """Whether it is made from partitions of trades, not from raw files."""
    return is_kept_bars(key.data_type)


def _files_of(partition: Partition) -> list[RawFile]:
    """The raw files that a partition came from."""
    return [file for s in partition.sessions if (file := parse_key(s.source)) is not None]


def _page_problem(path: Path) -> str | None:
    try:
        kept_tables.read_ledger(path)
    except CorruptPartitionError as error:
        return error.problem
    return None


def _history_problem(layout: Layout, path: Path) -> str | None:
    """What is wrong with a page of the history; one that no row is on any more is gone."""
    for page in kept_tables.pages_there(layout):
        if page.path(layout) == path:
            try:
                kept_tables.read_page(layout, page)
            except CorruptPartitionError as error:
                return error.problem
    return None
