"""What kept bars are made of: the recipe, and the trades; so what has changed since they were made.

A fingerprint of kept bars is of two halves. The first is of the recipe: the statements of sql/bars,
the length, the rules of trade conditions. The second is of the trades, by what these were made of,
and of the hours of their session. An update looks at the second alone, as it does of all that is
published; `rebuild --changed` looks at both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from warehouse.bars.build import chain
from warehouse.bars.spec import BarSpec
from warehouse.core.datatypes import KEPT, DataType
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.transform_version import Recipe
from warehouse.store.partitions import OF_TRADES, SessionSource

_HALF = 16
"""Letters of a fingerprint that are of the recipe."""
_RULES = "trade_conditions"


def spec_of(kind: DataType) -> BarSpec:
    """The bars of a data type: of all hours, as the vendor's are."""
    return BarSpec.of(kind.name.removeprefix(KEPT), hours="all")


def recipe(folder: BarFolder, kind: DataType, rules: pa.Table) -> Recipe:
    """How bars would be made by now.

    Args:
        rules: the table of trade conditions; what one is called changes no bar.

    Raises:
        SqlFileError: a statement of sql/bars is missing or breaks the conventions.
    """
    spec = spec_of(kind)
    steps = chain(folder, spec, from_trades=True).steps
    statements = {each.file.name: (each.file.fingerprint(), each.file.body) for _, each in steps}
    settings: dict[str, Any] = {"every": spec.every, "hours": spec.hours, _RULES: _lines(rules)}
    columns = tuple(kind.columns.names)
    prints = {name: each for name, (each, _) in statements.items()}
    return Recipe(_digest([prints, settings, columns]), statements, settings, columns)


def _lines(rules: pa.Table) -> list[str]:
    """A line of each rule, in order."""
    rows = rules.drop_columns(["name"]).to_pylist()
    return sorted(",".join(map(str, row.values())) for row in rows)


def changes(kind: DataType, before: Recipe | None, now: Recipe) -> list[str]:
    """What differs since, in words; None: nobody knows what was before."""
    if before is None:
        return [f"{kind.name} were made by other SQL or rules, which are not kept"]
    found = [
        f"sql/{name} changed"
        for name, (each, _) in now.statements.items()
        if before.statements.get(name, ("",))[0] != each
    ]
    if before.settings.get(_RULES) != now.settings[_RULES]:
        found.append("the table of trade conditions changed")
    if before.columns != now.columns:
        found.append(f"{kind.name} have other columns")
    return found or [f"{kind.name} were made otherwise"]


def made_by(now: Recipe, trades: str) -> str:
    """The fingerprint of bars that the recipe makes of these trades."""
    return now.fingerprint + trades


def recipe_in(fingerprint: str) -> str:
    return fingerprint[:_HALF]


def trades_in(fingerprint: str) -> str:
    return fingerprint[_HALF:]


def of_trades(units: Iterable[tuple[str, SessionSource]], hours: dict[date, str]) -> str:
    """One id of trades, by what they were made of, and of the hours of their sessions.

    Args:
        units: symbols and sessions, each with what made it.
    """
    return _digest(
        [
            [symbol, str(one.session), one.source, one.sha256, one.fingerprint, one.rows,
             hours[one.session]]
            for symbol, one in units
        ]
    )  # fmt: skip


def note_of(kind: DataType, month: date, due: Mapping[str | date, str], *, by_recipe: bool) -> str:
    """What is kept of trades of which no bar comes, by name: else they would be read each time.

    Args:
        due: of each symbol or session that has none, the fingerprint that its bars would have.
        by_recipe: the recipe is told, too.
    """
    facts = [[str(place), each if by_recipe else trades_in(each)] for place, each in due.items()]
    return _digest([kind.name, str(month), by_recipe, sorted(facts)])


def source_of(trades: SessionSource) -> str:
    """What bars name as their source: no key of the vendor's, for their rows are none of its."""
    return f"{OF_TRADES}{trades.source}"


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:_HALF]
