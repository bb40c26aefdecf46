"""One name for one thing: what the command line calls it, Python calls it too."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click
import pytest
from building import MakeWarehouse, day_key, instant, trade

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.read import arguments

METHODS = {
    "download": ("download",),
    "ingest": ("ingest",),
    "update": ("update",),
    "rebuild": ("rebuild", "rebuild_changed", "rebuild_layout"),
    "validate": ("validate",),
    "verify": ("verify", "repair"),
    "prune": ("prune",),
    "pull": ("pull",),
    "report": ("report",),
    "query": ("query",),
    "features": ("features",),
    "bars": ("bars",),
    "explain-bar": ("explain_bar",),
    "reconcile": ("reconcile",),
    "coverage": ("coverage",),
    "reference load": ("load_reference",),
    "reference check": ("check_reference",),
    "reference show": ("actions",),
}
"""The methods of `Warehouse` that do what a command does."""

OF_A_SCREEN = {
    *("as_json", "is_opened", "limit", "safe_csv", "form", "pairs", "help", "picture"),
}
"""Options that say how an answer is printed."""
BY_METHOD = {"changed", "is_repair"}
"""Options that are methods of their own."""
AS = {"types": "data_types"}


@pytest.mark.parametrize("command", METHODS)
def test_what_a_command_takes_its_methods_take_by_the_same_name(command: str) -> None:
    names = command.split()
    found = cli.commands[names[0]]
    if len(names) > 1:
        assert isinstance(found, click.Group)
        found = found.commands[names[1]]
    options = {AS.get(each.name or "", each.name or "") for each in found.params}
    wanted = options - OF_A_SCREEN - BY_METHOD
    if command != "report":
        wanted -= {"path"}  # a frame has its own ways to a file
    taken = {name for each in METHODS[command] for name in names_of(getattr(Warehouse, each))}
    assert wanted <= taken


def names_of(method: Callable[..., Any]) -> Iterator[str]:
    """The arguments of a method, those that stand in a dictionary of options too."""
    for name, parameter in inspect.signature(method).parameters.items():
        if found := re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation)):
            yield from getattr(arguments, found[1]).__annotations__
        else:
            yield name


def test_the_methods_do_what_the_commands_do(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    day = date(2024, 1, 31)
    made = make_warehouse({day_key("trades", day): [trade("AAPL", instant(day), 1)]})
    with Warehouse(made.root) as wh:
        assert wh.update("trades", dry_run=True).metrics.files_fetched == 0
        assert wh.download("trades").metrics.files_fetched == 1
        assert wh.ingest(wait=math.inf).metrics.rows_published == 1
        assert wh.update().did_nothing
        assert wh.rebuild("trades", symbols="AAPL").metrics.rows_published == 1
        assert wh.rebuild_changed().partitions == set()
        assert wh.verify().faults == []
        assert wh.validate("trades", rules=["zero_sizes"]).errors == []
        assert wh.prune(dry_run=True).removed == []
        facts = wh.report(tmp_path / "page.html", symbols="AAPL")
        assert facts.symbols[0]["symbol"] == "AAPL"
        assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")

        (partition,) = made.root.glob("data/cache/trades/AAPL/*.parquet")
        partition.write_bytes(b"")
        assert [fault.kind for fault in wh.verify().faults] == ["partition"]
        assert wh.repair().left == []
        assert len(wh.trades("AAPL", day)) == 1
