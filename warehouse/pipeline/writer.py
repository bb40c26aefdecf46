"""The one writer: holds the lock, puts the catalog in order, publishes, records how a run ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from warehouse.core.config import Config
from warehouse.core.file_state import FileState
from warehouse.core.metrics import Progress
from warehouse.core.paths import Layout
from warehouse.errors import (
    DamagedCatalogError,
    OutdatedCatalogError,
    StorageError,
    WarehouseError,
    one_line,
)
from warehouse.pipeline.report import RunReport
from warehouse.pipeline.run_watch import outcome, watched
from warehouse.pipeline.watch.logs import RunLog
from warehouse.sqlfolder import shipped_files
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store import data_folder_id, journal
from warehouse.store.catalog import Catalog, CatalogChange
from warehouse.store.manifests import Key
from warehouse.store.publishing import catalog_sql, kept_tables
from warehouse.store.publishing.publish import Committer, remove
from warehouse.store.publishing.recover_catalog import take_inventory
from warehouse.store.publishing.set_aside import make_way, set_aside
from warehouse.store.reference import reference_lists
from warehouse.store.tier.writing import is_known, restore, writing
from warehouse.text import count, some

_NAMED = 5

Record = Callable[[RunReport, str, str], CatalogChange]
"""What the catalog is to say of a run that ended in a state, with a problem."""


class Writer:
    """Writes to one warehouse.

    Args:
        wait: seconds to wait for another writer to end; `math.inf`: as long as it takes.
    """

    def __init__(
        self, layout: Layout, config: Config, progress: Progress, log: RunLog, wait: float = 0
    ) -> None:
        self.layout, self.config = layout, config
        self.sql = SqlFolder(config.sql_dir(layout.root))
        self._committer = Committer(layout, self.sql)
        self._progress, self._log, self._wait = progress, log, wait
        self._noted: set[str] = set()

    @contextmanager
    def run(self, report: RunReport, record: Record) -> Iterator[None]:
        """Hold the lock for a run, with a word of how it ended in the log and in the catalog.

        Raises:
            LockedError: another process is writing.
            StorageError: the disk refuses, or the data folder is another's.
        """
        # Before a word of the run is written anywhere.
        data_folder_id.look(self.layout)
        with (
            watched(self.layout, self._log, report),
            self._disk_errors(),
            writing(self.layout, self.sql, self._wait) as self._committer,
        ):
            self._refresh_sql()
            self._mend_catalog()
            with self._recorded(report, record), self._disk_errors():
                yield

    def _refresh_sql(self) -> None:
        """Bring the shipped SQL up to date before any of it is used, and say what was done."""
        files = shipped_files.refresh_once(self.layout.root, self.config)
        if files.added or files.replaced or files.removed:
            self.sql.forget()
        for line in files.lines():
            self._progress.note(line)

    def publish(
        self,
        change: CatalogChange,
        moves: Iterable[tuple[str, str]] = (),
        removals: Iterable[Path] = (),
    ) -> None:
        """Make a change visible: files, the catalog that speaks of them, the ledger.

        Args:
            moves: (staged, final).
            removals: files that are no more.
        """
        for broken in catalog_sql.broken_features(self.sql):
            if str(broken) not in self._noted:
                self._progress.note(f"a feature is left out: {broken}")
                self._noted.add(str(broken))
        for name in catalog_sql.not_read(self.sql):
            told = (
                f"{self.sql.folder / 'catalog' / name}.sql is not read: the catalog is made of the"
                " files that come with the project; put what is yours into one of them"
            )
            if told not in self._noted:
                self._progress.note(told)
                self._noted.add(told)
        moves, removals = list(moves), list(removals)
        try:
            self._committer.commit(change, moves, removals)
        except DamagedCatalogError:
            # It was sound when the run began, but for manifests that only this change has read.
            self._make_anew()
            self._committer.commit(change, moves, removals)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # Not of a raw file, whose errors are its own: the disk refused our own work.
            place = error.filename or self.layout.data
            raise StorageError(place, f"cannot be written: {error.strerror or error}") from error
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            # The same, of what DuckDB wanted to put on disk.
            problem = f"DuckDB cannot go on: {one_line(error)}"
            raise StorageError(self.layout.data, problem) from error

    @contextmanager
    def _recorded(self, report: RunReport, record: Record) -> Iterator[None]:
        """Put a run that fails into the catalog, where the disk has room for it."""
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if journal.stands(self.layout):
                # It was published, and stands in the catalog that the next one puts in place.
                raise
            state, problem = outcome(error)
            report.metrics.failed = state == "failed"
            try:
                if isinstance(error, StorageError):
                    # What was staged may be what fills the disk.
                    remove(self.layout.staging)
                    self.layout.modes.make_folders(self.layout.staging)
                self.publish(record(report, state, problem))
            except (WarehouseError, OSError) as second:
                self._log.say(logging.ERROR, "the run cannot be recorded", problem=str(second))
            raise

    def _mend_catalog(self) -> None:
        """Make a lost catalog anew; adapt one written elsewhere, or by an older version."""
        # Before anything is fetched or read: no catalog can be made of lists that are none.
        config_dir = self.layout.root / "config"
        present = reference_lists.check(self.sql, config_dir, self.layout.trade_conditions)
        conditions: list[dict[str, Any]] = []
        try:
            with Catalog(self.layout, ()) as catalog:
                folder, features = catalog.folder(), catalog.features()
                made_of = catalog.made_of()
                conditions = catalog.trade_conditions()
                # Looked at before anything is built upon it.
                catalog.reference()
                is_older = folder is not None and not catalog.names_files()
        except OutdatedCatalogError as error:
            if error.may_be_carried_over:
                self.publish(CatalogChange())
                self._write_ledger()
                return
            self.set_catalog_aside(f"is of format {error.found}")
            folder, features, made_of, is_older = None, {}, None, False
        except DamagedCatalogError:
            self.set_catalog_aside()
            folder, features, made_of, is_older = None, {}, None, False
        if folder is None:
            self.recover_catalog()
        elif (
            is_older
            or self._is_new_to_bucket()
            or folder != str(self.layout.data)
            or features != catalog_sql.features(self.sql)
            or made_of != catalog_sql.made_of(self.sql)
            or (present is not None and _rules(conditions) != _rules(present.to_pylist()))
        ):
            # Its views read whatever stands in a folder; nothing of it is in the bucket yet; the
            # warehouse was moved, and they point to where it was; its SQL or its features are other
            # than what views and macros were made of, or its rules than those in the catalog.
            self.publish(CatalogChange())

    def _is_new_to_bucket(self) -> bool:
        """Whether the bucket that the cache has become is to get all that the folder holds."""
        return self.layout.tier is not None and not is_known(self.layout)

    def catalog_of(self, months: Collection[Key]) -> Catalog:
        """The catalog, with what is published of these data types and months; close it.

        Where what it says of them is damaged it is made anew from the files first.
        """
        try:
            return Catalog(self.layout, months)
        except DamagedCatalogError:
            self._make_anew()
            return Catalog(self.layout, months)

    def _make_anew(self) -> None:
        self.set_catalog_aside()
        self.recover_catalog()

    def _write_ledger(self) -> None:
        """The whole ledger: a catalog of an earlier version may have none."""
        with Catalog(self.layout, ()) as catalog:
            files = list(catalog.source_files().values())
        self.publish(CatalogChange(files=files))

    def set_catalog_aside(self, why: str = "is damaged") -> None:
        """Take a catalog that is of no use out of the way; make another with `recover_catalog`."""
        kept = set_aside(self.layout, self.layout.catalog)
        self._progress.note(f"the catalog {why}; it is kept as {kept}")

    def recover_catalog(self) -> None:
        """Make a lost catalog anew from the files, without which their rows would be forgotten.

        Where there is a bucket, all that it names is brought: here are some of the files only.
        """
        if restore(self.layout):
            self._progress.note("the catalog is brought anew from the bucket")
            return
        found, damaged = take_inventory(self.layout, self.config.processing.parallel_workers)
        found.history, lost = kept_tables.read_history(self.layout)
        for page in lost:
            # The next publish of its month would write another over it.
            kept = set_aside(self.layout, Path(page.path), "history")
            self._progress.note(
                f"{page.path} is damaged ({page.problem}): its part of the history is lost; it is"
                f" kept as {kept}"
            )
        for tier in (self.layout.manifests, self.layout.ledger):
            # No repair could begin while one stands there, whether it is written now or not.
            make_way(self.layout, sorted(tier.glob("*/*.parquet")))
        if found.partitions or found.files or found.history:
            self._progress.note("the catalog is made anew from the files")
            self.publish(found)
        if lost_rows := [one.source for one in found.files if one.state == FileState.ROWS_LOST]:
            self._progress.note(
                f"rows of {count(len(lost_rows), 'file')} that were published are in no partition"
                f" any more: {some(lost_rows, _NAMED)}; update reads what is here, or at the source"
            )
        for path in damaged:
            self._progress.note(f"{path} is damaged; mend it with: warehouse verify --repair")


def _rules(conditions: Iterable[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """What rules say; how a condition is called changes nothing."""
    return {tuple(value for name, value in row.items() if name != "name") for row in conditions}
