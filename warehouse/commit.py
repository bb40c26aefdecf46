"""A change of the warehouse as one publish: its files, the catalog that knows them, the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from warehouse import catalogfile, ledger
from warehouse.catalog import CatalogChange
from warehouse.journal import Change
from warehouse.layout import STAGED_CATALOG, Layout
from warehouse.publish import publish
from warehouse.sqlfiles import SqlFolder


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

    def complete(self, staged: Path) -> None:
        """Finish a staged catalog once the files that it speaks of are in place."""
        catalogfile.complete(staged, self.layout, self.sql, self._config_dir)

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
        catalogfile.build(staged, layout, self.sql, self._config_dir, change)
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
            self.complete,
        )
