"""The vendor's list of conditions, as its pages are, and the table that is made of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from building import REPOSITORY

from warehouse.errors import ConfigError
from warehouse.sqlfolder.bars import condition_export, condition_table


def condition(number: int, name: str, flags: str, **more: Any) -> dict[str, Any]:
    """One of the vendor's; `flags` are of high/low, open/close and volume, as `yny`."""
    names = ("updates_high_low", "updates_open_close", "updates_volume")
    consolidated = {key: flag == "y" for key, flag in zip(names, flags, strict=True)}
    return {
        "id": number,
        "type": "sale_condition",
        "name": name,
        "asset_class": "stocks",
        "sip_mapping": {"CTA": "B", "UTP": "W"},
        "data_types": ["trade"],
        # Another of each: it must not be taken.
        "update_rules": {
            "consolidated": consolidated,
            "market_center": {key: not flag for key, flag in consolidated.items()},
        },
        **more,
    }


PAGE = {
    "status": "OK",
    "request_id": "31d59dda-80e5-4721-8496-d0d32a654afe",
    "count": 6,
    "next_url": "https://api.example.com/v3/reference/conditions?cursor=YXA9Mg",
    "results": [
        condition(37, "Odd Lot Trade", "nny"),
        condition(5, "Bunched Sold Trade", "yny", legacy=True),
        {
            "id": 1,
            "type": "quote_condition",
            "name": "Regular Two-Sided Open",
            "asset_class": "stocks",
            "sip_mapping": {"CTA": "R"},
            "data_types": ["bbo"],
        },
        condition(201, "Canceled", "nnn", asset_class="options"),
        condition(1, "Some Market", "nnn", asset_class="crypto", data_types=["trade", "nbbo"]),
        condition(38, "Corrected Consolidated Close (per listing market)", "yyn"),
    ],
}
SECOND = {"status": "OK", "results": [condition(2, "Average Price, Trade", "nny")]}


def export(folder: Path, content: Any) -> Path:
    path = folder / "conditions.json"
    path.write_text(json.dumps(content), "utf-8")
    return path


def rules(path: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in condition_export.read(path).to_pylist()]


def test_consolidated_rules_of_conditions_of_stock_trades_are_taken_by_id(tmp_path: Path) -> None:
    expected = [
        (5, "Bunched Sold Trade", True, False, True, None, None),
        (37, "Odd Lot Trade", False, False, True, None, None),
        (38, "Corrected Consolidated Close (per listing market)", True, True, False, None, None),
    ]
    assert rules(export(tmp_path, PAGE)) == expected
    second = (2, "Average Price, Trade", False, False, True, None, None)
    assert rules(export(tmp_path, [PAGE, SECOND])) == [second, *expected]


def test_the_table_made_of_it_is_the_same_whatever_the_order_of_its_pages(tmp_path: Path) -> None:
    turned = {**PAGE, "results": PAGE["results"][::-1]}  # type: ignore[index]
    made = []
    for pages in ([PAGE, SECOND], [SECOND, turned], [SECOND, PAGE, SECOND]):
        path = tmp_path / "trade_conditions.csv"
        rules = condition_export.read(export(tmp_path, pages))
        path.write_bytes(condition_table.as_csv(path, rules))
        made.append(path.read_bytes())
    assert made[0] == made[1] == made[2]
    shipped = (REPOSITORY / "config/trade_conditions.csv").read_text("utf-8").splitlines()
    lines = made[0].decode().splitlines()
    assert lines[0] == shipped[0]
    # What the vendor lists today of these is what is shipped.
    assert set(lines) - set(shipped) == {'2,"Average Price, Trade",false,false,true,,'}


def without(content: Any, *place: Any) -> Any:
    changed = copy.deepcopy(content)
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    del inner[place[-1]]
    return changed


def with_value(content: Any, value: Any, *place: Any) -> Any:
    changed = copy.deepcopy(content)
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return changed


FIRST = ("results", 0)
CONSOLIDATED = (*FIRST, "update_rules", "consolidated")
BAD = {
    "no results": (without(PAGE, "results"), "results = None: is missing"),
    "no id": (without(PAGE, *FIRST, "id"), "results[0].id = None: is missing"),
    "no name": (without(PAGE, *FIRST, "name"), "results[0].name = None: is missing"),
    "no market": (
        without(PAGE, "results", 5, "asset_class"),
        "results[5].asset_class = None: is missing",
    ),
    "no data types": (
        without(PAGE, *FIRST, "data_types"),
        "results[0].data_types = None: is missing",
    ),
    "no rules": (
        without(PAGE, *FIRST, "update_rules"),
        "results[0].update_rules = None: is missing",
    ),
    "no rules of the whole market": (
        without(PAGE, *CONSOLIDATED),
        "results[0].update_rules.consolidated = None: is missing",
    ),
    "a rule too few": (
        without(PAGE, *CONSOLIDATED, "updates_volume"),
        "results[0].update_rules.consolidated.updates_volume = None: is missing",
    ),
    "a rule that is a text": (
        with_value(PAGE, "true", *CONSOLIDATED, "updates_volume"),
        "updates_volume = 'true': it must be a boolean",
    ),
    "true for an id": (
        with_value(PAGE, True, *FIRST, "id"),
        "results[0].id = True: it must be a whole number",
    ),
    "an id too large": (
        with_value(PAGE, 40_000, *FIRST, "id"),
        "results[0].id = 40000: it must lie from 0 to 32767",
    ),
    "on its second page": (
        [PAGE, without(SECOND, *FIRST, "update_rules")],
        "[1].results[0].update_rules = None: is missing",
    ),
    "a condition that is none": (
        with_value(PAGE, 3, *FIRST),
        "results[0] = 3: it must be an object",
    ),
    "a page that is none": ([PAGE, 7], "[1] = 7: it must be a page"),
    "no page": ("conditions", "it must be a page"),
    "one id with two rules": (
        [PAGE, {"results": [condition(37, "Odd Lot Trade", "yny")]}],
        "[1].results[0].id = 37: [0].results[0] is of the same condition and says otherwise",
    ),
    "none of trades": ({"results": PAGE["results"][2:3]}, "holds no condition of trades of stocks"),  # type: ignore[index]
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    content, told = BAD[name]
    path = export(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        condition_export.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[", "{'a': 1}", '{"results": [], "results": []}', "[" * 9_000]
)
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "conditions.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        condition_export.read(path)
