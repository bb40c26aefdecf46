"""Kept bars: looked at after each run, and brought up to date with the trades that are published.

What there is of them follows from the trades, the recipe and `bars.keep` alone. So a run that is
killed on the way leaves some months as they were, and the next run does the rest. A month of one
length is published at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from warehouse.bars.build import engine
from warehouse.core import calendar
from warehouse.core.config import Config
from warehouse.core.datatypes import TRADE_CONDITIONS, DataType, data_type, is_kept_bars
from warehouse.core.metrics import Progress
from warehouse.core.paths import Layout, PartitionKey, partition_name
from warehouse.pipeline.bars import origin
from warehouse.pipeline.bars.builder import Builder, Builds
from warehouse.pipeline.bars.trades import TRADES, MonthOfTrades
from warehouse.pipeline.bars.work import Scope, Work, look
from warehouse.sqlfolder import transform_version
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.files import SqlFolder
from warehouse.sqlfolder.transform_version import Recipe
from warehouse.store.catalog import Catalog, CatalogChange
from warehouse.store.manifests import Key, Manifest, followed
from warehouse.store.partitions import ENTRIES
from warehouse.store.reference import reference_lists


@dataclass
class Made:
    """What was built of a month, and waits to be published.

    Attributes:
        folder: of the staging tier, which is of no use afterwards.
        moves: (staged, final).
        removals: files that are no more.
    """

    folder: Path
    change: CatalogChange = field(default_factory=CatalogChange)
    moves: list[tuple[str, str]] = field(default_factory=list)
    removals: list[Path] = field(default_factory=list)


class BarKeeper:
    """Says what is to be done about the kept bars of one warehouse, and builds them."""

    def __init__(self, layout: Layout, config: Config, sql: SqlFolder, progress: Progress) -> None:
        self._layout, self._config, self._sql = layout, config, sql
        self._progress, self._folder = progress, BarFolder(sql)
        self._recipes: dict[str, Recipe | None] = {}

    def work(
        self, scope: Scope, work_on: Callable[[str], AbstractContextManager[None]]
    ) -> list[Work]:
        """What is to be done, in the order of the months; nothing is written.

        A month whose bars were compared with its present trades before is passed over, and so is
        all that its manifests say. One that is up to date, and was not compared, is among the work,
        with nothing due.

        Args:
            work_on: stands around what is of bars of one name; of those whose statements of
                sql/bars are missing or break the conventions it may take the error, and they are
                left out.
        """
        with Catalog(self._layout, ()) as catalog:
            rules = self._rules(catalog)
            published = {
                one.key: one for one in catalog.manifests if scope.first <= one.month <= scope.last
            }
        kept = self._config.bars.kept if scope.kinds is None else scope.kinds
        names = {name for name, _ in published if is_kept_bars(name)}
        dropped = names - {kind.name for kind in kept} if scope.kinds is None else set()
        follows = self._follows(published, kept)
        # Those of which there are bars and no trades any more are looked at, too.
        asked = [
            (month, kind)
            for month in sorted({month for _, month in published})
            for kind in kept
            if {(TRADES.name, month), (kind.name, month)} & published.keys()
            and not self._is_settled(scope, published.get((kind.name, month)), follows)
        ]
        kinds = dict.fromkeys(kind for _, kind in asked)
        recipes: dict[DataType, Recipe] = {}
        for kind in kinds:
            with work_on(kind.name):
                recipes[kind] = origin.recipe(self._folder, kind, rules)
        found = []
        for month, of_month in groupby(asked, key=lambda one: one[0]):
            some = [kind for _, kind in of_month if kind in recipes]
            months = {(name, month) for name in (TRADES.name, *(kind.name for kind in some))}
            with Catalog(self._layout, months) as catalog:
                trades = MonthOfTrades(self._layout, catalog, month)
                for kind in some:
                    work = self._of_month(catalog, scope, kind, month, trades, recipes[kind])
                    work.follows = follows.get(month) if work.is_whole else None
                    if work.is_due or (work.follows is not None and work.key in published):
                        found.append(work)
        gone = {key for key in published if key[0] in dropped}
        if gone:
            with Catalog(self._layout, gone) as catalog:
                for name, month in sorted(gone):
                    keys = [one.key for one in catalog.partitions(name, None, month, month)]
                    found.append(Work(data_type(name), month, "symbol", None, gone=keys))
        return sorted(found, key=lambda work: work.month)

    @staticmethod
    def _follows(published: Mapping[Key, Manifest], kept: Sequence[DataType]) -> dict[date, str]:
        """Of each month of trades the id that bars of it are to follow."""
        if not kept:
            return {}
        trades = [one for (name, _), one in published.items() if name == TRADES.name]
        hours = calendar.hours_of(session for one in trades for session in one.sessions)
        return {one.month: followed(one, hours) for one in trades}

    @staticmethod
    def _is_settled(scope: Scope, bars: Manifest | None, follows: Mapping[date, str]) -> bool:
        """Whether a month's bars need no look: of the recipe their manifest says nothing."""
        if scope.anew or scope.by_recipe or scope.place is not None or bars is None:
            return False
        return bars.follows is not None and bars.follows == follows.get(bars.month)

    def make(self, work: Work, run_id: str) -> Made:
        """Build what is stale of a month, in a folder of the staging tier.

        Raises:
            CorruptPartitionError: a partition of the trades is damaged.
            SqlFileError: a statement of sql/bars fails.
            StorageError: the disk refuses.
        """
        layout, kind = self._layout, work.kind
        folder = layout.staging / f"{run_id}-{kind.name}-{work.month:%Y_%m}"
        if folder.exists():
            # Of work that failed.
            shutil.rmtree(folder)
        layout.modes.make_folders(folder)
        layout.modes.make_folders(layout.cache / kind.name)
        self._progress.begin(f"{kind.name} {work.month:%Y-%m}", 0)
        made = Made(folder)
        if work.follows is not None:
            made.change.follows[work.key] = work.follows
        gone = set(work.gone)
        if work.stale and work.recipe is not None:
            with Catalog(layout, {(TRADES.name, work.month)}) as catalog:
                trades = MonthOfTrades(layout, catalog, work.month)
                rules = self._rules(catalog)
            with engine(self._config, rules) as connection:
                builds = Builds(connection, self._folder, kind)
                workers = self._config.processing.parallel_workers
                builder = Builder(layout, builds, work, trades, folder, workers)
                written = builder.write()
            gone |= builder.replaced - {one.key for one, _ in written}
            made.change.partitions = [one for one, _ in written]
            made.moves = transform_version.stage(layout, work.recipe)
            made.moves += self._notes(work, [one.key for one, _ in written], folder)
            made.moves += [
                (path, f"{layout.cache}/{partition_name(*one.key)}") for one, path in written
            ]
        made.change.removed = sorted(gone)
        made.removals = [layout.partition(*key) for key in made.change.removed]
        return made

    def _is_kept(self, note: str) -> bool:
        return transform_version.path_of(self._layout, note).exists()

    def _notes(
        self, work: Work, written: Sequence[PartitionKey], folder: Path
    ) -> list[tuple[str, str]]:
        """Keep of which trades no bar comes; returns (staged, final)."""
        due = work.barren(written)
        moves = []
        for by_recipe in (False, True) if due and work.is_whole else ():
            note = origin.note_of(work.kind, work.month, due, by_recipe=by_recipe)
            staged, final = folder / f"{note}.json", transform_version.path_of(self._layout, note)
            told = {
                "no": work.kind.name,
                "month": f"{work.month:%Y-%m}",
                "of": sorted(map(str, due)),
            }
            staged.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")
            if not final.exists():
                moves.append((str(staged), str(final)))
        return moves

    def _rules(self, catalog: Catalog) -> pa.Table:
        """The table of trade conditions as it is now, or as the catalog has it."""
        conditions = self._layout.trade_conditions
        present = reference_lists.present_conditions(self._sql, conditions)
        if present is not None:
            return present
        return pa.Table.from_pylist(catalog.trade_conditions(), TRADE_CONDITIONS)

    def _of_month(
        self,
        catalog: Catalog,
        scope: Scope,
        kind: DataType,
        month: date,
        trades: MonthOfTrades,
        recipe: Recipe,
    ) -> Work:
        is_laid_out = catalog.layout_of(kind.name, month)
        place = scope.place or is_laid_out or self._config.storage.layout.of(kind.name)
        present = catalog.partitions(kind.name, None, month, month)
        work = Work(kind, month, place, recipe, present, catalog.entries(kind.name, month))
        if is_laid_out not in (None, place):
            work.gone = [one.key for one in present]
            work.present, work.entries = [], ENTRIES.empty_table()
        elif scope.place is not None:
            work.is_whole = False
            return work
        look(work, scope, trades.units, self._is_kept)
        for fingerprint, trades_due, keys in work.others:
            for reason in self._why(work, fingerprint, trades_due):
                work.reasons.setdefault(reason, []).extend(keys)
        return work

    def _why(self, work: Work, fingerprint: str | None, trades: str) -> list[str]:
        """Why bars of this fingerprint are stale, where those of these trades are due."""
        assert work.recipe is not None
        if fingerprint is None:
            return [f"there are no {work.kind.name} of these trades yet"]
        by, now = origin.recipe_in(fingerprint), work.recipe
        reasons = []
        if by != now.fingerprint:
            if by not in self._recipes:
                self._recipes[by] = transform_version.load(self._layout, by)
            reasons += origin.changes(work.kind, self._recipes[by], now)
        if origin.trades_in(fingerprint) != trades:
            reasons.append(f"{work.kind.name} were made of other trades")
        return reasons
