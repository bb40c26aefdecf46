"""A change of the warehouse as one publish: its files, the catalog that knows them, the ledger."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from warehouse.core.duckdb_connection import keep_copy
from warehouse.core.paths import STAGED_CATALOG, Layout
from warehouse.errors import StorageError
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store import catalog_writer, ledger
from warehouse.store.catalog import CatalogChange
from warehouse.store.journal import Change
from warehouse.store.publish import publish

logger = logging.getLogger("warehouse")


@dataclass(frozen=True)
class Committer:
    """Publishes to one warehouse; hold its writer's lock.

    Attributes:
        sql: the folder whose catalog/ makes the catalog.
    """

    layout: Layout
    sql: SqlFolder

    @property
    def _config_dir(self) -> Path:
        return self.layout.root / "config"

    def commit(
        self,
        change: CatalogChange,
        moves: Iterable[tuple[str, str]] = (),
        removals: Iterable[Path] = (),
    ) -> None:
        """Make a change visible, all of it or nothing.

        Args:
            moves: (staged, final), absolute.
            removals: files that are no more, absolute.

        Raises:
            StorageError: the disk refuses.
            SqlFileError: a file of sql/catalog or config/ fails.
        """
        layout = self.layout
        here = f"{layout.data}/"
        staged = layout.data / STAGED_CATALOG
        staged.unlink(missing_ok=True)
        others = catalog_writer.build(staged, layout, self.sql, self._config_dir, change)
        if others:
            self._keep(others)
        pages = [
            (str(start), str(end)) for start, end in ledger.stage(staged, layout, change.files)
        ]
        publish(
            layout,
            Change(
                catalog=STAGED_CATALOG,
                renames=[
                    (start.removeprefix(here), end.removeprefix(here))
                    for start, end in [*moves, *pages]
                ],
                removals=[str(path).removeprefix(here) for path in removals],
            ),
        )

    def _keep(self, others: list[str]) -> None:
        """Keep the catalog that is about to be replaced: somebody else made something in it."""
        layout = self.layout
        kept = layout.set_aside / f"warehouse-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.duckdb"
        try:
            layout.modes.make_folders(kept.parent)
            keep_copy(layout.catalog, kept)
            layout.modes.settle(kept)
        except OSError as error:
            raise StorageError(
                kept, f"cannot keep {', '.join(others)}: {error.strerror or error}"
            ) from error
        logger.warning(
            "%s in the catalog: each publish makes it anew, and takes nothing over that is not its"
            " own; kept in %s. Tables of your own go into a file of your own: duckdb mine.duckdb,"
            " then: attach 'data/warehouse.duckdb' as warehouse (read_only)",
            ", ".join(others),
            kept,
        )
