"""What stands between staging and publishing: the rules, and what is allowed though they find it.

A batch in which they find an error is refused: nothing of it is published, and what was staged is
kept to be looked at. Only the last run's: `refused/<run>-<batch>/` holds the partitions as they
would have been, and `refused.json`, which says what each file is and what was found.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from warehouse.core.calendar import last_day_of_month
from warehouse.core.paths import MARKET, Layout
from warehouse.core.representation import Face
from warehouse.errors import SqlFileError
from warehouse.ingest.stage import StagedBatch
from warehouse.sqlfolder import allow_list
from warehouse.sqlfolder.files import SqlFolder
from warehouse.sqlfolder.rule_file import BrokenRule, read_rules
from warehouse.store.catalog import CatalogChange, Checked
from warehouse.store.publishing.publish import remove
from warehouse.store.publishing.set_aside import rename
from warehouse.text import as_json
from warehouse.validation.evaluate import NAMED_SYMBOLS, ValidationResult, settle

RECORD = "refused.json"
_OF_NO_SYMBOL = (
    "finds what is of no symbol, and was shown some of the symbols at a time: write on_ingest: no"
)


@dataclass(frozen=True, repr=False)
class Refused(Face):
    """A batch that was not published.

    Attributes:
        month: its first day.
        folder: where what was staged is kept.
        errors: what was found, and nothing allows.
    """

    data_type: str
    month: date
    folder: Path
    errors: tuple[ValidationResult, ...]

    def _face(self) -> dict[str, Any]:
        return {
            "": self.data_type,
            "month": f"{self.month:%Y-%m}",
            "errors": len(self.errors),
            "folder": self.folder,
        }


class Gate:
    """The rules of a warehouse and its allowances.

    Args:
        allow: allowances of this run alone, each as "RULE=REASON".

    Attributes:
        rules: those that can be asked.
        broken: those that cannot.

    Raises:
        ConfigError: the allow-list cannot be used.
        RequestError: an allowance of this run is none.
    """

    def __init__(
        self, layout: Layout, sql: SqlFolder, config_dir: Path, allow: Sequence[str] = ()
    ) -> None:
        self._layout = layout
        self.rules, self.broken = read_rules(sql)
        names = {rule.name for rule in self.rules} | {one.name for one in self.broken}
        self.allowances = [allow_list.of_option(text, names) for text in allow]
        self.allowances += allow_list.load(config_dir, names)

    def judge(self, batch: StagedBatch, selected: frozenset[str]) -> list[ValidationResult]:
        """Mark what is allowed of what was found in a batch, and put it in order.

        Args:
            selected: the only symbols that are made anew; empty: all.
        """
        # Where all symbols come at once those found last can be told together, for all are found
        # anew the next time too.
        together = not selected and all(item.file.symbol is None for item in batch.files)
        named = NAMED_SYMBOLS if together else 0
        if batch.asked > 1:
            self._leave_to_validate(batch)
        batch.findings = settle(batch.findings, self.allowances, named=named)
        return batch.findings

    def _leave_to_validate(self, batch: StagedBatch) -> None:
        """Take out what was found of no symbol, where no one question was about all of them."""
        names = {found.rule for found in batch.findings if found.symbol is None}
        names -= {one.name for one in batch.broken}
        batch.findings = [found for found in batch.findings if found.symbol is not None]
        for rule in self.rules:
            if rule.name in names:
                error = SqlFileError(rule.file.path, _OF_NO_SYMBOL)
                batch.broken.append(BrokenRule(rule.name, error, rule.on_ingest))

    def refuse(self, run_id: str, batch: StagedBatch, name: str) -> Refused:
        """Move a staged batch to where it can be looked at, in place of what an earlier run left.

        Args:
            name: of the folder that is to hold it; begins with the run's id.
        """
        folder = batch.folder
        refused, modes = self._layout.refused, self._layout.modes
        modes.make_folders(refused)
        for old in refused.iterdir():
            # What is no batch of ours somebody else has put here.
            is_folder = old.is_dir() and not old.is_symlink()
            if is_folder and not old.name.startswith(f"{run_id}-") and (old / RECORD).is_file():
                remove(old)
        paths = {
            one.symbol or MARKET: os.path.relpath(path, folder) for one, path in batch.partitions
        }
        record = {
            "data_type": batch.data_type,
            "month": f"{batch.month:%Y-%m}",
            "raw_files": [item.file.key for item in batch.files],
            "partitions": paths,
            "findings": [asdict(found) for found in batch.findings],
        }
        with open(folder / RECORD, "w", encoding="utf-8", opener=modes.opener) as file:
            file.write(as_json(record, 1))
        for place, _, files in os.walk(folder):
            for file_name in files:
                modes.settle(f"{place}/{file_name}")
        target = refused / name
        rename(folder, target)
        errors = tuple(found for found in batch.findings if found.is_error)
        return Refused(batch.data_type, batch.month, target, errors)

    @staticmethod
    def note(
        change: CatalogChange, batch: StagedBatch, run_id: str, selected: frozenset[str]
    ) -> None:
        """Let the catalog keep what was found in a batch, in place of what was found before.

        Args:
            selected: the only symbols that are made anew; empty: all.
        """
        now = datetime.now(UTC).replace(tzinfo=None)
        change.findings += [found.as_finding(run_id, now) for found in batch.findings]
        for item in batch.files:
            file = item.file
            if item.problem is None:
                symbols = selected if file.symbol is None else (file.symbol,)
                last = last_day_of_month(file.day) if file.monthly else file.day
                change.checked.append(
                    Checked(None, file.data_type, tuple(sorted(symbols)) or None, file.day, last)
                )
