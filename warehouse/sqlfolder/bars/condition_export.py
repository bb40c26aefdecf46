"""The vendor's list of conditions (`/v3/reference/conditions`) as a table of trade conditions.

It is JSON: a page, whose `results` are conditions of all markets, or a list of such pages. Of each
condition of stocks that trades carry, `update_rules.consolidated` says what a trade may do to a bar
of the whole market. Those that are no longer in use (`legacy`) are taken too: old trades have them.
It states no dates: each rule is valid always.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.core.datatypes import TRADE_CONDITIONS
from warehouse.core.small_files import parsed_json, read_small
from warehouse.errors import ConfigError, one_line
from warehouse.sqlfolder.bars.condition_table import MOST_ID

_RULES = ("updates_high_low", "updates_open_close", "updates_volume")
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    bool: "a boolean",
}


def read(path: Path) -> pa.Table:
    """The rules of an export, of the columns `TRADE_CONDITIONS`, by id. Other fields are ignored.

    Raises:
        ConfigError: names the file, and the place in it at which something is missing or is not
            what it should be, as `results[3].update_rules`.
    """
    try:
        export = parsed_json(read_small(path))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or one_line(error)
        raise ConfigError(path, ConfigError.WHOLE, None, f"cannot be read: {problem}") from error
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for place, row in _rows(path, export):
        before, same = found.setdefault(row["id"], (place, row))
        if same != row:
            problem = f"{before} is of the same condition and says otherwise"
            raise ConfigError(path, f"{place}.id", row["id"], problem)
    if not found:
        raise ConfigError(
            path, ConfigError.WHOLE, None, "holds no condition of trades of stocks in its `results`"
        )
    return pa.Table.from_pylist([found[number][1] for number in sorted(found)], TRADE_CONDITIONS)


def _rows(path: Path, export: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each rule with the place of its condition."""
    is_many = isinstance(export, list)
    for number, page in enumerate(export if is_many else [export]):
        where = f"[{number}]." if is_many else ""
        if not isinstance(page, dict):
            at = where.removesuffix(".") or ConfigError.WHOLE
            raise ConfigError(path, at, page, "it must be a page: an object with `results`")
        for entry, condition in enumerate(_field(path, where, page, "results", list)):
            place = f"{where}results[{entry}]"
            if not isinstance(condition, dict):
                raise ConfigError(path, place, condition, "it must be an object")
            inside = f"{place}."
            market = _field(path, inside, condition, "asset_class", str)
            if market == "stocks" and "trade" in _field(
                path, inside, condition, "data_types", list
            ):
                yield place, _rule(path, inside, condition)


def _rule(path: Path, inside: str, condition: dict[str, Any]) -> dict[str, Any]:
    number = _field(path, inside, condition, "id", int)
    if not 0 <= number <= MOST_ID:
        raise ConfigError(path, f"{inside}id", number, f"it must lie from 0 to {MOST_ID}")
    name = _field(path, inside, condition, "name", str)
    rules = _field(path, inside, condition, "update_rules", dict)
    rules = _field(path, f"{inside}update_rules.", rules, "consolidated", dict)
    within = f"{inside}update_rules.consolidated."
    return {"id": number, "name": name} | {
        rule: _field(path, within, rules, rule, bool) for rule in _RULES
    }


def _field(path: Path, inside: str, fields: dict[str, Any], name: str, kind: type) -> Any:
    if name not in fields:
        raise ConfigError(path, f"{inside}{name}", None, "is missing")
    value = fields[name]
    # For Python true is a number.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(path, f"{inside}{name}", value, f"it must be {_KINDS[kind]}")
    return value
