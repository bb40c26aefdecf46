"""Recipes: what a fingerprint stands for, and so what has changed since a partition was made.

Each is kept under its fingerprint, statements and settings in full, and published with the first
partitions that it made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.core import small_files
from warehouse.core.config import Config
from warehouse.core.datatypes import DataType
from warehouse.core.paths import Layout
from warehouse.sqlfolder.files import SqlFolder, words

_AGGS = "symbol timestamp open high low close volume vwap trades session"
_FIRST_COLUMNS = {
    "trades": "symbol timestamp price size exchange conditions correction id sequence_number"
    " participant_timestamp tape trf_id trf_timestamp session",
    "quotes": "symbol timestamp bid_price bid_size ask_price ask_size bid_exchange ask_exchange"
    " conditions indicators sequence_number participant_timestamp tape trf_timestamp session",
    "minute_aggs": _AGGS,
    "day_aggs": _AGGS,
}
"""Columns of the partitions of version 0.1.0, whose recipes do not name them."""

_STEPS = ("ingest", "clean", "sort", "dedupe")


def is_step_of(path: Path, kind: str) -> bool:
    """Whether a file of sql/ is a step that rows of this data type alone go through."""
    return path.stem == kind and path.parent.name in _STEPS


def is_bar_file(path: Path) -> bool:
    """Whether a file of sql/ is one that bars are made by, and nothing else."""
    return path.parent.name == "bars"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what becomes of a row of a data type.

    Attributes:
        fingerprint: of all of it. A comment or a line break changes nothing.
        statements: fingerprint and text of each SQL file, by its name.
        settings: values of the statements' parameters that come from the configuration.
        columns: of the partitions that it makes.
    """

    fingerprint: str
    statements: Mapping[str, tuple[str, str]]
    settings: Mapping[str, Any]
    columns: tuple[str, ...]

    def changes_to(self, later: Recipe) -> list[str]:
        """What differs in `later`, in words."""
        changes = [
            f"sql/{name} changed"
            for name, (_, text) in later.statements.items()
            if not _says_the_same(self.statements.get(name, ("", ""))[1], text)
        ]
        for name in sorted({*self.settings, *later.settings}):
            old, new = self.settings.get(name), later.settings.get(name)
            if old != new:
                changes.append(f"cleaning.{name} changed from {_said(old)} to {_said(new)}")
        kind = next(iter(later.statements)).partition("/")[2]
        changes += [f"{kind} have a new column {n}" for n in later.columns if n not in self.columns]
        changes += [f"{kind} lost column {n}" for n in self.columns if n not in later.columns]
        return changes


def _says_the_same(one: str, other: str) -> bool:
    """Whether two statements are the same, or have the same syntax tree.

    Fingerprints do not tell: an earlier version made them of the tree as its parser wrote it down.
    """
    try:
        if [*words(one)] == [*words(other)]:
            return True
    except ValueError:
        return False
    # Imported here: reading its dialects takes longer than most commands.
    import sqlglot

    try:
        trees = [sqlglot.parse(text, dialect="duckdb") for text in (one, other)]
    except (sqlglot.errors.SqlglotError, RecursionError):
        return False
    return trees[0] == trees[1]


def _said(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


def settings(config: Config) -> dict[str, Any]:
    """Values of parameters that statements may ask for."""
    return {"corrections": list(config.cleaning.corrections)}


def recipe(sql: SqlFolder, config: Config, kind: DataType) -> Recipe:
    """What rows of a data type would be made by now.

    Raises:
        SqlFileError: a statement is missing or breaks the conventions.
    """
    names = tuple(f"{step}/{kind.name}" for step in _STEPS)
    asked = frozenset().union(*(sql[name].parameters for name in names))
    used = {name: value for name, value in settings(config).items() if name in asked}
    columns = tuple(kind.columns.names)
    return Recipe(
        sql.fingerprint(names, {**used, "columns": columns}),
        {name: (sql.statement_fingerprint(name), sql[name].body) for name in names},
        used,
        columns,
    )


def path_of(layout: Layout, fingerprint: str) -> Path:
    return layout.recipes / f"{fingerprint}.json"


def stage(layout: Layout, made_by: Recipe) -> list[tuple[str, str]]:
    """Write a recipe that is not kept yet; returns (staged, final), or nothing."""
    final = path_of(layout, made_by.fingerprint)
    if final.exists():
        return []
    staged = layout.staging / final.name
    record = {
        "fingerprint": made_by.fingerprint,
        "statements": {
            name: {"fingerprint": each, "text": text}
            for name, (each, text) in made_by.statements.items()
        },
        "settings": made_by.settings,
        "columns": made_by.columns,
    }
    staged.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return [(str(staged), str(final))]


def load(layout: Layout, fingerprint: str) -> Recipe | None:
    """The recipe of a fingerprint; None where it is not kept, or cannot be read.

    What a stranger's rows name as theirs could be a path, of any file.
    """
    if not layout.is_published(f"{layout.recipes.name}/{fingerprint}.json"):
        return None
    try:
        record = small_files.load_json(path_of(layout, fingerprint))
        statements = {
            name: (entry["fingerprint"], entry["text"])
            for name, entry in record["statements"].items()
        }
        texts = {text for name, pair in statements.items() for text in (name, *pair)}
        if not all(isinstance(text, str) for text in texts):
            return None
        # What version 0.1.0 kept does not say.
        first = _FIRST_COLUMNS.get(next(iter(statements)).partition("/")[2], "").split()
        columns = tuple(map(str, record.get("columns", first)))
        return Recipe(fingerprint, statements, dict(record["settings"].items()), columns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None
