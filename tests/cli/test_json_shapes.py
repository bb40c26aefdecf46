"""What --json prints has the keys, and the kinds of values, that json_shapes.json says."""

from __future__ import annotations

import json
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from building import Made, bar, day_key, instant, make, trade
from click.testing import CliRunner

from warehouse.cli.main import cli

SHAPES = Path(__file__).with_name("json_shapes.json")
DAYS = tuple(date(2024, 1, day) for day in (29, 30, 31))
TEXTS = {
    r"\d{4}-\d\d-\d\d": "session",
    r"\d{4}-\d\d": "month",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ": "second",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z": "instant",
    r"us_stocks_sip/\S+": "key of the source",
    r"/\S+": "path",
}


def shape(value: Any) -> Any:
    """The value with its kind in the place of each leaf; of a list those of all its elements."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        kinds: list[Any] = []
        for item in map(shape, value):
            if item not in kinds:
                kinds.append(item)
        return kinds
    if isinstance(value, str):
        return next((kind for form, kind in TEXTS.items() if re.fullmatch(form, value)), "text")
    return type(value).__name__


def shapes(folder: Path) -> dict[str, Any]:
    """The shape of what each command prints, in a warehouse where all kinds of things go wrong."""
    made = make(
        folder,
        {
            day_key("trades", DAYS[0]): [trade("AAPL", instant(DAYS[0])), trade("A", 1)],
            day_key("trades", DAYS[1]): b"this is no gzip",
            day_key("day_aggs", DAYS[0]): [bar("AAPL", instant(DAYS[0], "00:00"))],
        },
    )
    found: dict[str, Any] = {}

    def ask(name: str, *arguments: str) -> None:
        done = CliRunner().invoke(cli, ["-C", str(made.root), *arguments, "--json"])
        assert done.exit_code in (0, 1), done.output
        found[name] = shape(json.loads(done.stdout))

    span = ("--start", str(DAYS[0]), "--end", str(DAYS[-1]))
    ask("update --dry-run", "update", *span, "--dry-run")
    ask("update", "update", *span)
    ask("update again", "update", *span)
    made.put(day_key("day_aggs", DAYS[1]), [f"BAD,100,10,10,9,11,{instant(DAYS[1], '00:00')},3"])
    ask("update with findings", "update", "day_aggs", *span)
    ask("validate", "validate", *span)
    ask("explain-bar", "explain-bar", "AAPL", f"{DAYS[0]} 09:30")
    ask("explain-bar without a bar", "explain-bar", "AAPL", f"{DAYS[0]} 11:00")
    ask("status", "status")
    ask("report", "report", "--symbols", "AAPL")
    export = folder / "splits.csv"
    export.write_text(
        "id,ticker,execution_date,split_from,split_to,adjustment_type,historical_adjustment_factor\n"
        f"E1,AAPL,{DAYS[1]},1,4,forward_split,0.25\n"
        f"E2,AAPL,{DAYS[1]},1,4,forward_split,0.25\n"
    )
    ask("reference load", "reference", "load", str(export))
    ask("reference check", "reference", "check")
    ask("reference show", "reference", "show")
    ask("reconcile", "reconcile", "day_aggs")
    ask("status, reconciled", "status")
    ask("verify", "verify")
    for path in made.partitions().values():
        path.write_bytes(b"")
    ask("verify, damaged", "verify")
    ask("verify --repair", "verify", "--repair")
    _change(made)
    ask("rebuild --changed --dry-run", "rebuild", "--changed", "--dry-run")
    ask("rebuild --changed", "rebuild", "--changed")
    ask("rebuild --layout", "rebuild", "day_aggs", "--layout", "symbol")
    made.configure(storage__retention_days=1)
    with duckdb.connect(str(made.layout.catalog)) as connection:
        connection.execute("update source_files set recorded_at = recorded_at - interval 9 day")
    made.layout.raw_file(next(iter(made.layout.raw_files()))).write_bytes(b"")
    ask("prune --dry-run", "prune", "--dry-run")
    ask("prune", "prune")
    return found


def _change(made: Made) -> None:
    path = made.root / "sql/clean/trades.sql"
    text = path.read_text("utf-8")
    assert "price <= 0" in text
    path.write_text(text.replace("price <= 0", "price <= 0.0001"), "utf-8")


def test_the_keys_and_the_kinds_of_values_stay(tmp_path: Path) -> None:
    assert shapes(tmp_path) == json.loads(SHAPES.read_text("utf-8"))


if __name__ == "__main__":
    SHAPES.write_text(json.dumps(shapes(Path(sys.argv[1])), indent=1) + "\n", "utf-8")
