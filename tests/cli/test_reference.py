"""`warehouse reference` says what came of each table, and ends as the other commands do."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path

import pytest
from building import Made, MakeWarehouse, bar, day_key, instant
from click.testing import CliRunner, Result

from warehouse.cli.main import cli

DAYS = (date(2024, 1, 29), date(2024, 1, 30))
HEADER = "id,ticker,execution_date,split_from,split_to,adjustment_type,historical_adjustment_factor"


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse(
        {day_key("day_aggs", day): [bar("A", instant(day, "00:00"))] for day in DAYS}
    )
    made.update()
    return made


def run(made: Made, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-C", str(made.root), "reference", *arguments])


def test_a_load_is_a_line_for_each_table_and_each_problem(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    lines = (f"E{n},A,{DAYS[1]},1,4,forward_split,1" for n in range(5))
    path.write_text("\n".join([HEADER, *lines, f"Z,Z,{DAYS[1]},1,2,forward_split,1"]) + "\n")
    assert "no split or dividend is held" in run(made, "show").stdout

    done = run(made, "load", str(path))
    assert done.exit_code == 0, done.output
    said = done.stdout.splitlines()
    assert said[0] == "splits     6 read, 6 new, 0 changed; 6 held, 1 count"
    assert said[1] == "not used   duplicate: 4 splits"
    assert len([line for line in said if "e.g. A 2024-01-30 E" in line]) == 4
    assert "not used   tape: 1 split" in said
    assert "noted      never held: 1 split" in said
    assert said[-1].startswith("done       splits: published, ")

    again = run(made, "load", str(path)).stdout.splitlines()
    assert again[0] == "splits     6 read, 0 new, 0 changed; 6 held, 1 count"
    assert again[-1].startswith("done       nothing is new, ")
    assert run(made, "check").exit_code == 0

    shown = run(made, "show", "A").stdout.splitlines()
    assert shown[-1] == "5 rows"
    assert run(made, "show", "A,Z").stdout.splitlines()[-1] == "6 rows"
    # Some are held, and loading them again would change nothing.
    (none,) = run(made, "show", "a").stdout.splitlines()
    assert none.startswith("no split or dividend of a is held (case counts); of all: warehouse -C")
    (one,) = json.loads(run(made, "show", "Z", "--json").stdout)["actions"]
    assert (one["id"], one["counts"], one["problem"]) == ("Z", True, "never held")


def test_a_file_that_is_no_export_is_one_line_and_exit_status_2(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text(f"{HEADER}\nE9,A,2024-13-01,1,4,forward_split,1\n")
    done = run(made, "load", str(path))
    assert (done.exit_code, done.stdout) == (2, "")
    problem = "'2024-13-01' is no day YYYY-MM-DD from 1900 to 2199"
    assert done.stderr == f"Error: {path}, line 2, execution_date: {problem}\n"
    assert run(made, "load").exit_code == 2


@pytest.mark.parametrize("name", ["load", "check", "show"])
def test_each_command_has_a_help_with_an_example(name: str) -> None:
    said = CliRunner().invoke(cli, ["reference", name, "--help"]).stdout
    assert f"Example:\n    warehouse reference {name}" in said
    assert max(map(len, said.splitlines())) <= 80


def test_the_vendors_list_of_conditions_becomes_the_table_that_the_next_run_takes_in(
    make_warehouse: MakeWarehouse, tmp_path: Path
) -> None:
    made = make_warehouse({day_key("day_aggs", DAYS[0]): [bar("A", instant(DAYS[0], "00:00"))]})
    rules = {"updates_high_low": True, "updates_open_close": False, "updates_volume": True}
    one = {
        "id": 77,
        "name": "Made Up",
        "asset_class": "stocks",
        "data_types": ["trade"],
        "update_rules": {"consolidated": rules},
    }
    export = tmp_path / "conditions.json"
    export.write_text(json.dumps({"results": [one]}))
    table = made.root / "config/trade_conditions.csv"

    done = run(made, "conditions", str(export), "-o", str(table))
    assert (done.exit_code, done.stderr) == (0, f"1 condition in {table}\n")
    made.update()
    asked = "select * exclude (valid_from, valid_to) from trade_conditions"
    assert made.sql(asked) == [(77, "Made Up", True, False, True)]

    link, pipe = tmp_path / "link.csv", tmp_path / "pipe"
    link.symlink_to(tmp_path / "own.csv")
    assert run(made, "conditions", str(export), "-o", str(link)).exit_code == 0
    assert link.is_symlink()
    assert link.read_bytes() == table.read_bytes()
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        assert run(made, "conditions", str(export), "-o", str(pipe)).exit_code == 0
        assert reader.read() == table.read_bytes()

    inside = run(made, "conditions", str(export), "-o", str(made.root / "data/warehouse.duckdb"))
    assert inside.exit_code == 2
    assert "where the warehouse keeps its own files" in inside.stderr
