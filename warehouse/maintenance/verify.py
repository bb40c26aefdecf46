"""Verify: every file of the warehouse against what is recorded of it, and the records against each
other.

It takes no lock. What is published while it looks is looked at afterwards, and what seemed wrong
meanwhile is looked at again, until all that was found holds of one generation.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from warehouse.core.config import Config
from warehouse.core.datatypes import DataType, data_type, is_kept_bars, with_bars
from warehouse.core.file_state import FileState
from warehouse.core.metrics import Progress
from warehouse.core.paths import (
    ALL_SYMBOLS,
    THE_SOURCES_OWN,
    Layout,
    PartitionKey,
    RawFile,
    month_of,
    partition_paths,
)
from warehouse.core.representation import Face
from warehouse.core.request import Request
from warehouse.errors import (
    CorruptPartitionError,
    DamagedCatalogError,
    InterruptedPublishError,
    StorageError,
)
from warehouse.executors.engine import Engine
from warehouse.ingest import raw_check
from warehouse.maintenance.unknown_files import FILE_MANAGERS, strays
from warehouse.maintenance.verify_units import Check, looked_at
from warehouse.source.partfile import superseded
from warehouse.store import data_folder_id, journal
from warehouse.store.catalog import Catalog, SourceFile
from warehouse.store.journal import catalog_identity
from warehouse.store.partitions import Partition
from warehouse.store.publishing import kept_tables, schema_files
from warehouse.store.publishing.publish import misplaced
from warehouse.store.reference import reference_files
from warehouse.store.tier.pull import object_problem, objects_amiss, sizes

_ROUNDS = 50
MEND = "warehouse verify --repair"
BY_HAND = "mend it by hand, as it says there, then verify again"
READ_WHOLE = "warehouse update"
"""Of a file that was read for some symbols alone, beside partitions of others that had lost it."""


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Attributes:
        path: the file.
        kind: raw, partition, rejects, ledger, history, reference, schema, catalog or journal: what
            the file is; folder: what stands in the place of one, or leads nowhere; object: what
            other machines are to bring from a bucket; rows: its rows do not add up; source: a
            folder of the source; unknown: nobody knows what it is.
        problem: what was found.
        remedy: what to do.
        subject: the raw file, or the partition, that it is about.
    """

    path: Path
    kind: str
    problem: str
    remedy: str = MEND
    subject: RawFile | PartitionKey | None = field(default=None, repr=False)


@dataclass(repr=False)
class VerifyReport(Face):
    """What was looked at, and what is wrong.

    Attributes:
        generation: of the catalog that all was compared with.
        files, bytes: that were read to their end, by kind.
        waiting: raw files that are not ingested yet.
        pruned: ingested raw files that were pruned.
        elsewhere: raw files that came, are not here, and may be on another of the machines that
            share a bucket.
        faults: by path.
    """

    generation: int = 0
    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    pruned: int = 0
    elsewhere: int = 0
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0

    def _face(self) -> dict[str, Any]:
        return {
            "faults": len(self.faults),
            "files": self.files.total(),
            "bytes": self.bytes.total(),
            "waiting": self.waiting,
            "pruned": self.pruned,
            "elsewhere": self.elsewhere or None,
            "generation": self.generation,
        }


def verify(layout: Layout, config: Config, request: Request, progress: Progress) -> VerifyReport:
    """Look at all that the request is about.

    Files that nobody knows are looked for, and rows are added up, where no symbols are named.

    Raises:
        StorageError: the catalog cannot be read, or changes faster than the files can be; or the
            warehouse itself is gone.
    """
    data_folder_id.check_stands(layout)
    engine = Engine(config.processing)
    try:
        return _verify(layout, config, request, progress, engine)
    finally:
        engine.close()


def _verify(
    layout: Layout, config: Config, request: Request, progress: Progress, engine: Engine
) -> VerifyReport:
    began = time.monotonic()
    report = VerifyReport()
    seen: _Seen | None = None
    for _ in range(_ROUNDS):
        try:
            standing = journal.settle(layout)
        except InterruptedPublishError as error:
            report.faults = [Fault(layout.journal, "journal", error.problem)]
            return report
        identity = catalog_identity(layout)
        try:
            with Catalog(layout) as catalog:
                run = _Round(layout, config, request, catalog, report, seen, progress, engine)
                report.faults = sorted(run.faults(), key=lambda fault: (fault.path, fault.problem))
                # The journal first: it goes only after the catalog was replaced.
                still = journal.is_as_it_was(layout, standing)
                if still and catalog_identity(layout) == identity:
                    if standing is not None:
                        told = "a publish was broken off; the files are as they were"
                        if standing.progress == "done":
                            told = "a publish was broken off once all of it was done"
                        report.faults.append(Fault(layout.journal, "journal", told))
                    report.generation = catalog.generation()
                    report.seconds = time.monotonic() - began
                    return report
                seen = _Seen.by(catalog, report.faults)
        except DamagedCatalogError as error:
            report.faults = [*_folders(layout), Fault(layout.catalog, "catalog", error.problem)]
            return report
    raise StorageError(layout.catalog, "changes faster than the files can be read; try again later")


def _folders(layout: Layout) -> list[Fault]:
    return [Fault(path, "folder", problem, BY_HAND) for path, problem in misplaced(layout)]


@dataclass(frozen=True)
class _Seen:
    """What an earlier round found in order: the hashes of its catalog, but for what it faulted."""

    hashes: frozenset[str]
    faulted: frozenset[Path]

    @classmethod
    def by(cls, catalog: Catalog, faults: Iterable[Fault]) -> _Seen:
        rows = catalog.rows(
            "select sha256 from partitions union all select sha256 from source_files"
        )
        hashes = frozenset(row["sha256"] for row in rows if row["sha256"])
        return cls(hashes, frozenset(fault.path for fault in faults))

    def is_good(self, path: Path, sha256: str | None) -> bool:
        return sha256 in self.hashes and path not in self.faulted


class _Round:
    """One look at everything, with the catalog of one generation."""

    def __init__(
        self,
        layout: Layout,
        config: Config,
        request: Request,
        catalog: Catalog,
        report: VerifyReport,
        seen: _Seen | None,
        progress: Progress,
        engine: Engine,
    ) -> None:
        self._layout, self._request, self._catalog = layout, request, catalog
        self._engine = engine
        self._report, self._seen, self._progress = report, seen, progress
        self._workers = min(config.processing.parallel_workers, os.cpu_count() or 1)
        self._is_whole = not (request.symbols or request.start or request.end)
        self._kinds = with_kept(request, catalog)
        report.waiting = report.pruned = report.elsewhere = 0
        self._objects = None if layout.tier is None else sizes(layout)

    def faults(self) -> Iterator[Fault]:
        yield from (folders := _folders(self._layout))
        without_folder = {fault.path for fault in folders}
        if not self._layout.catalog.exists():
            if any(partition_paths(self._layout.cache)):
                yield Fault(self._layout.catalog, "catalog", "missing, and there are partitions")
            return
        known = self._catalog.source_files()
        found, unread = self._layout.raw_tier()
        raw = set(found)
        for name, entry in unread:
            begin, end = entry.span if entry.is_folder else (date.min, date.max)
            asked = begin <= self._request.last and self._request.first <= end
            if asked and any(name == kind.name for kind in self._request.kinds):
                place = self._layout.raw / name / entry.below
                if place in without_folder:
                    continue
                if entry.problem == THE_SOURCES_OWN:
                    what, remedy = "source", "verify again once it leads elsewhere"
                else:
                    what, remedy = "unknown", "let it be read, then verify again"
                yield Fault(place, what, entry.problem or "", remedy)
        by_month: defaultdict[tuple[str, date], dict[RawFile, SourceFile | None]]
        by_month = defaultdict(dict)
        for file in {*known, *raw}:
            by_month[file.data_type, month_of(file.day)][file] = known.get(file)
        for kind in self._kinds:
            months = {month for name, month in by_month if name == kind.name}
            months |= {row["month"] for row in self._catalog.rows(_MONTHS, data_type=kind.name)}
            size = self._bytes_of(kind)
            self._progress.begin("verify", size)
            amiss: list[Fault] = []
            checks = (
                self._month(kind, month, by_month[kind.name, month], raw, amiss)
                for month in sorted(months)
            )
            looked = looked_at(checks, size, self._layout, self._engine, self._workers)
            for check, (problem, read) in looked:
                if read is not None:
                    self._report.files[check.kind] += 1
                    self._report.bytes[check.kind] += read
                    self._progress.advance("verify", read)
                if problem is not None:
                    yield Fault(check.path, check.kind, problem, subject=check.subject)
            yield from amiss
        yield from self._schemas()
        yield from self._reference()
        if self._is_whole:
            yield from self._history()
            if self._objects is not None:
                for name, problem in objects_amiss(self._layout, self._objects):
                    yield Fault(self._layout.data / name, "object", problem)
            for path, problem in strays(self._layout, self._catalog, self._kinds, known):
                yield Fault(path, "unknown", problem)

    def _schemas(self) -> Iterator[Fault]:
        """Whether the files that views take their columns from are there, and no others."""
        with_reference = self._catalog.reference() is not None
        kinds = published_types(self._catalog)
        due = schema_files.listed(self._layout, kinds, with_reference=with_reference)
        cuts = self._catalog.cuts(kinds)
        due += [self._layout.schema_of_cut(kind, cut) for kind, cut in cuts.items()]
        for path in due:
            problem = schema_files.problem_of(path)
            if problem is not None:
                yield Fault(path, "schema", problem)
        if self._is_whole and self._layout.schema.is_dir():
            of_cuts = self._layout.schemas_of_cuts()
            for path in set(self._layout.schema.iterdir()) - set(due):
                if path.name in FILE_MANAGERS:
                    continue
                is_ours = is_kept_bars(path.stem) or path in of_cuts
                if is_ours and schema_files.problem_of(path) is None:
                    # Of bars that were kept once, or of a publish that was killed; it has no rows.
                    continue
                yield Fault(path, "unknown", "no file that a view takes its columns from")

    def _reference(self) -> Iterator[Fault]:
        """The files of corporate actions and names."""
        for name in (self._catalog.reference() or {}).values():
            path = self._layout.reference / name
            problem = reference_files.problem(path)
            self._report.files["reference"] += 1
            if problem is not None:
                yield Fault(path, "reference", problem, reference_files.LOAD)

    def _bytes_of(self, kind: DataType) -> int:
        rows = self._catalog.rows(_BYTES, data_type=kind.name)
        return int(rows[0]["bytes"] or 0)

    def _month(
        self,
        kind: DataType,
        month: date,
        files: Mapping[RawFile, SourceFile | None],
        raw: set[RawFile],
        amiss: list[Fault],
    ) -> list[Check]:
        """The files of a month that are to be read.

        Args:
            raw: raw files that are there.
            amiss: takes what is wrong with the records themselves.
        """
        slices = self._catalog.slices(kind.name, month)
        partitions = [
            one if one.symbol else replace(one, slices=slices[one.part])
            for one in self._catalog.partitions(kind.name, None, month, month)
        ]
        wanted = {
            file: record
            for file, record in files.items()
            if file.overlaps(self._request.first, self._request.last)
            and (not self._request.symbols or file.symbol in {None, *self._request.symbols})
        }
        if not self._request.symbols:
            amiss += self._rows(partitions, wanted)
            amiss += self._page(kind, month)
        partitions = self._in_bucket([one for one in partitions if self._is_wanted(one)], amiss)
        checks = [self._partition_check(one) for one in partitions]
        for file, record in wanted.items():
            checks += self._raw_checks(file, record, file in raw)
        return [one for one in checks if not self._was_good(one)]

    def _was_good(self, check: Check) -> bool:
        """Whether an earlier round found the file in order."""
        if self._seen is None or check.kind == "rejects":
            return False
        sha256 = check.record.sha256 if check.record is not None else None
        return self._seen.is_good(check.path, sha256)

    def _is_wanted(self, partition: Partition) -> bool:
        request = self._request
        if request.symbols and partition.symbol not in {ALL_SYMBOLS, *request.symbols}:
            return False
        return any(request.first <= s.session <= request.last for s in partition.sessions)

    def _partition_check(self, partition: Partition) -> Check:
        key = partition.key
        return Check("partition", self._layout.partition(*key), key, partition)

    def _in_bucket(self, partitions: Sequence[Partition], amiss: list[Fault]) -> list[Partition]:
        """Of partitions whose objects a bucket has those that are here too.

        Args:
            amiss: takes what is wrong with the objects, as the bucket lists them.
        """
        if self._objects is None:
            return list(partitions)
        here = []
        for one in partitions:
            path = self._layout.partition(*one.key)
            problem = object_problem(self._objects.get(one.sha256), one.bytes)
            if problem is not None:
                amiss.append(Fault(path, "partition", problem, subject=one.key))
            elif os.path.lexists(path):
                here.append(one)
            # Else a question would bring it.
        return here

    def _raw_checks(
        self, file: RawFile, record: SourceFile | None, is_there: bool
    ) -> Iterator[Check]:
        path = self._layout.raw_file(file)
        ingested = record is not None and record.state == FileState.INGESTED
        is_pruned = record is not None and record.raw_modified_ns is None
        is_due = record is not None and record.state.is_here
        if not is_there and ingested and is_pruned:
            self._report.pruned += 1
        elif not is_there and is_due and self._layout.tier is not None:
            # Of a bucket's warehouse each machine has raw files of its own.
            self._report.elsewhere += 1
        elif is_there or is_due:
            # A run that is killed once it has published leaves the version before beside it.
            if is_there and not (ingested and record is not None and _is_read(path, record)):
                self._report.waiting += 1
            yield Check("raw", path, file, record)
        rejects = self._layout.rejects_of(file)
        if record is not None and (ingested or rejects.exists()):
            yield Check("rejects", rejects, file, record)

    def _rows(
        self, partitions: Sequence[Partition], files: Mapping[RawFile, SourceFile | None]
    ) -> Iterator[Fault]:
        """Whether lines = rows published + rejected + left out, and those published are there."""
        # By source, then by version: for each file only its own versions are looked at.
        rows: defaultdict[str, Counter[str | None]] = defaultdict(Counter)
        symbols: defaultdict[tuple[str, str | None], set[str]] = defaultdict(set)
        for partition in partitions:
            for session in partition.sessions:
                rows[session.source][session.sha256] += session.rows
                symbols[session.source, session.sha256].add(partition.symbol)
        if any(partition.symbol == ALL_SYMBOLS for partition in partitions):
            first = partitions[0]
            entries = self._catalog.entries(first.data_type, first.month)
            others = entries.group_by(["source", "sha256"]).aggregate([("symbol", "distinct")])
            for row in others.to_pylist():
                symbols[row["source"], row["sha256"]] |= set(row["symbol_distinct"])
        for file, record in files.items():
            path, key = self._layout.raw_file(file), file.key
            versions = rows.get(key, Counter())
            if record is None:
                if versions:
                    told = "partitions have rows of it, and the catalog does not know it"
                    yield Fault(path, "rows", told, subject=file)
                continue
            rows_published = record.rows_published
            if not record.state.was_published or rows_published is None:
                continue
            problem: str | None = _imbalance(record, versions[record.sha256])
            for sha256 in versions.keys() - {record.sha256}:
                others = symbols[key, sha256]
                if record.symbols is None or others & set(record.symbols):
                    problem = "partitions have rows of another version of it than the catalog says"
            if problem is not None:
                is_more = record.symbols is not None and rows_published < versions[record.sha256]
                yield Fault(path, "rows", problem, READ_WHOLE if is_more else MEND, file)

    def _page(self, kind: DataType, month: date) -> Iterator[Fault]:
        path = self._layout.ledger_of(kind.name, month)
        due = kept_tables.page_of(self._catalog, (kind.name, month))
        if not due.num_rows and not path.exists():
            return
        try:
            found = kept_tables.read_ledger(path)
        except CorruptPartitionError as error:
            yield Fault(path, "ledger", error.problem if path.exists() else "missing")
            return
        self._report.files["ledger"] += 1
        if not found.equals(due):
            yield Fault(path, "ledger", "it does not say what the catalog says")

    def _history(self) -> Iterator[Fault]:
        """The pages of the history; of a warehouse of an earlier version there are none yet."""
        layout = self._layout
        if not kept_tables.has_history(layout):
            return
        for page, due in kept_tables.history_of(self._catalog, layout).items():
            path = page.path(layout)
            try:
                found = kept_tables.read_page(layout, page)
            except CorruptPartitionError as error:
                yield Fault(path, "history", error.problem)
                continue
            self._report.files["history"] += 1
            if not found.equals(due):
                yield Fault(path, "history", "it does not say what the catalog says")


def published_types(catalog: Catalog) -> tuple[str, ...]:
    """The vendor's data types, and those of kept bars that are published."""
    rows = catalog.rows("select distinct data_type from partitions")
    return with_bars(row["data_type"] for row in rows)


def with_kept(request: Request, catalog: Catalog) -> tuple[DataType, ...]:
    """The data types that a request is about; of one about all, kept bars too."""
    if not request.is_of_every_kind:
        return request.kinds
    return tuple(data_type(name) for name in published_types(catalog))


def _is_read(path: Path, record: SourceFile) -> bool:
    """Whether no later version of a file that was ingested stands at `path`."""
    return not os.path.exists(superseded(path)) or raw_check.is_recorded(path, record)


def _imbalance(record: SourceFile, in_partitions: int) -> str | None:
    if in_partitions != record.rows_published:
        return (
            f"{record.rows_published:,} rows of it were published, its partitions have"
            f" {in_partitions:,}"
        )
    if record.lines is None:
        return None
    total = sum(n or 0 for n in (record.rows_published, record.rows_rejected))
    total += record.rows_unselected or 0
    if total != record.lines:
        return f"{record.lines:,} lines, {total:,} published, rejected or left out"
    return None


_MONTHS = "select distinct month from partitions where data_type = $data_type"
_BYTES = """
    select
        (
            select sum(bytes)
            from (select distinct path, bytes from partitions where data_type = $data_type)
        )
        + (select coalesce(sum(bytes), 0) from source_files where data_type = $data_type) as bytes
"""
