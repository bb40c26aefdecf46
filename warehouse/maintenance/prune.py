"""Raw files that have done their work: published, verified, and kept as long as was asked for."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from warehouse.core.config import Config
from warehouse.core.file_state import FileState
from warehouse.core.metrics import RunMetrics
from warehouse.core.paths import THE_SOURCES_OWN, Layout, RawFile
from warehouse.core.representation import Face
from warehouse.errors import StorageError
from warehouse.pipeline.watch.logs import RunLog
from warehouse.source.file_identity import Stamp, is_at
from warehouse.source.partfile import superseded
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store import data_folder_id
from warehouse.store.catalog import Catalog, CatalogChange, SourceFile
from warehouse.store.publishing.publish import Committer, recover
from warehouse.store.tier.garbage import collect
from warehouse.store.tier.writing import writing


@dataclass(repr=False)
class PruneReport(Face):
    """What was removed from the raw tier, or in a dry run would be.

    Attributes:
        removed: raw files, in the order of work.
        bytes: what they took.
        kept: files that are old enough, and why they stay: they are others than were published,
            or the system does not let them be read or removed.
        refused: how many of them are of the latter kind.
        unread: places of the raw tier that cannot be looked at: what is in them stays.
        replaced, replaced_bytes: objects of a bucket that nobody reads any more; None: the cache is
            a folder.
    """

    removed: list[RawFile] = field(default_factory=list)
    bytes: int = 0
    kept: list[tuple[RawFile, str]] = field(default_factory=list)
    refused: int = 0
    unread: list[StorageError] = field(default_factory=list)
    replaced: int | None = None
    replaced_bytes: int | None = None

    def refuse(self, file: RawFile, error: OSError) -> None:
        self.refused += 1
        self.kept.append((file, f"it cannot be pruned: {error.strerror or error}"))

    def _face(self) -> dict[str, Any]:
        return {
            "removed": len(self.removed),
            "bytes": self.bytes,
            "kept": len(self.kept),
            "unread": len(self.unread) or None,
        }


def prune(
    layout: Layout,
    config: Config,
    *,
    dry_run: bool = False,
    wait: float = 0,
    now: datetime | None = None,
) -> PruneReport:
    """Remove raw files that were published more than `storage.retention_days` days ago.

    Of a bucket so are objects that were replaced `storage.keep_replaced_hours` ago, or more.

    A file goes only if its present bytes are those that were published: its SHA-256 is computed
    and compared with the catalog's. Its rows stay; `rebuild` needs it fetched again.

    Args:
        dry_run: remove nothing. Takes no lock.
        wait: seconds to wait for another writer to end; `math.inf`: as long as it takes.
        now: the present moment (UTC, naive), for tests.

    Raises:
        LockedError: another process is writing to the warehouse.
        StorageError: the disk refuses; what of the raw tier cannot be read or removed keeps no
            other.
    """
    try:
        return _prune(layout, config, dry_run, wait, now)
    except OSError as error:
        place = error.filename or layout.data
        raise StorageError(place, f"cannot be written: {error.strerror or error}") from error


def _prune(
    layout: Layout, config: Config, dry_run: bool, wait: float, now: datetime | None
) -> PruneReport:
    before = (now or datetime.now(UTC).replace(tzinfo=None)) - timedelta(
        days=config.storage.retention_days
    )
    report = PruneReport()
    log = RunLog(layout)
    with ExitStack() as stack:
        if not dry_run:
            data_folder_id.look(layout)
            stack.enter_context(log.opened(RunMetrics("prune").run_id))
            sql = SqlFolder(config.sql_dir(layout.root))
            committer = stack.enter_context(writing(layout, sql, wait))
        with Catalog(layout, ()) as catalog:
            known = catalog.source_files()
        hashed: dict[RawFile, Stamp] = {}
        files, places = layout.raw_tier()
        report.unread = [
            StorageError(layout.raw / name / entry.below, entry.problem or "")
            for name, entry in places
            if entry.stat is None and entry.problem != THE_SOURCES_OWN
        ]
        for file in files:
            record = known.get(file)
            if record is None or record.state != FileState.INGESTED or record.recorded_at > before:
                continue
            path = layout.raw_file(file)
            try:
                hashed[file], why = _look_at(path, record)
                if why is not None:
                    report.kept.append((file, why))
                    continue
                report.bytes += hashed[file].bytes
            except OSError as error:
                report.refuse(file, error)
                continue
            report.removed.append(file)
        if report.removed and not dry_run:
            # The catalog first: a file that is gone and was not pruned is one that is missing.
            pruned_files = set(report.removed)
            pruned = [
                replace(known[file], raw_modified_ns=None, raw_inode=None)
                for file in report.removed
            ]
            _commit(
                layout,
                committer,
                CatalogChange(files=pruned),
                {file: hashed[file] for file in report.removed},
            )
            for file in list(report.removed):
                # What has taken its name since it was hashed is another file.
                if is_at(layout.raw_file(file), hashed[file]):
                    try:
                        _remove(layout.raw_file(file), layout.raw)
                    except OSError as error:
                        report.removed.remove(file)
                        report.bytes -= hashed[file].bytes
                        report.refuse(file, error)
                        continue
                log.say(logging.INFO, "pruned", file=file.key, bytes=known[file].bytes)
            if report.refused:
                # They are there as they were.
                stay = [known[file] for file in pruned_files - set(report.removed)]
                committer.commit(CatalogChange(files=stay))
        if layout.tier is not None:
            moment = None if now is None else now.replace(tzinfo=UTC)
            garbage = collect(layout, None if dry_run else committer.prove, now=moment)
            report.replaced, report.replaced_bytes = garbage.objects, garbage.bytes
    return report


_NO_ROOM = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]


def _commit(
    layout: Layout, committer: Committer, change: CatalogChange, files: dict[RawFile, Stamp]
) -> None:
    """Record what is pruned; where a full disk has no room for the record, some of it goes first.

    Of what goes first a run that is killed at that moment leaves no record: it counts as missing,
    and its rows stay.
    """
    try:
        committer.commit(change)
    except StorageError as error:
        is_full = any(words in str(error) for words in _NO_ROOM)
        if not is_full or layout.tier is not None or not _make_room(layout, files):
            raise
        recover(layout)
        committer.commit(change)


def _make_room(layout: Layout, files: dict[RawFile, Stamp]) -> bool:
    """Remove the largest of these files, until a catalog has room beside its drafts."""
    device = os.stat(layout.data).st_dev
    wanted = 4 * os.stat(layout.catalog).st_size
    freed = 0
    for file, stamp in sorted(files.items(), key=lambda item: -item[1].bytes):
        path = layout.raw_file(file)
        with suppress(OSError):
            facts = os.stat(path)
            # A second name of a file, as a local source has, keeps its bytes where they are.
            if facts.st_nlink == 1 and facts.st_dev == device and is_at(path, stamp):
                _remove(path, layout.raw)
                freed += stamp.bytes
        if freed >= wanted:
            break
    return freed > 0


def _remove(path: Path, top: Path) -> None:
    path.unlink()
    with suppress(OSError):
        superseded(path).unlink(missing_ok=True)
    _remove_empty(path.parent, top)


def _look_at(path: Path, record: SourceFile) -> tuple[Stamp, str | None]:
    """Which file it is, and why it is to stay."""
    with open(path, "rb") as file:
        stamp = Stamp.of(os.fstat(file.fileno()))
        if record.bytes != stamp.bytes:
            return stamp, "it is not the version that was published; run: warehouse ingest"
        if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
            return stamp, "its bytes are not those that were published; run: warehouse ingest"
    return stamp, None


def _remove_empty(folder: Path, top: Path) -> None:
    with suppress(OSError):
        while folder != top:
            folder.rmdir()
            folder = folder.parent
