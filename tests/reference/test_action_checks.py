"""Whether an action counts: a folder for each claim, with what is held, the exports and verdicts.

`day_aggs.csv` and `trades.csv` are what is held (stamps are New York's clock), `splits.csv`,
`dividends.csv` and `events.csv` the vendor's exports, `expected.csv` the columns that the case is
about; of `problem` the kind is compared. All stand in one warehouse, each with symbols, ids and
names of its own.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from building import Made, MakeWarehouse, day_key, instant, trade

from warehouse import Warehouse
from warehouse.bars.action_checks import kind_of
from warehouse.pipeline.reference_load import ReferenceReport

CASES = Path(__file__).with_name("cases")
NAMES = sorted(path.parent.relative_to(CASES).as_posix() for path in CASES.rglob("expected.csv"))
EXPORTS = ("splits.csv", "dividends.csv", "events.csv")
TABLES = ("splits", "dividends", "securities")
OWN = ("symbol", "ticker", "id", "name", "security")
"""Columns whose values are a case's own."""

Row = dict[str, Any]


@dataclass
class Loaded:
    """The warehouse of all cases.

    Attributes:
        tables: what each holds after the load.
        again: what came of loading the same rows in another order.
    """

    made: Made
    tables: dict[str, list[Row]]
    again: ReferenceReport


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def of_case(name: str, file: str) -> list[dict[str, str]]:
    """The rows of a case's file, with symbols, ids and names that no other case has."""
    mark = f"C{NAMES.index(name):02}"
    return [
        {key: mark + value if key in OWN else value for key, value in row.items()}
        for row in rows(CASES / name / file)
    ]


def held() -> dict[str, list[str]]:
    """The vendor's files of what all cases hold: key → lines."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for name in NAMES:
        for row in of_case(name, "day_aggs.csv"):
            day = date.fromisoformat(row["session"])
            prices = float(row["open"]), float(row["close"])
            line = f"{row['symbol']},100,{prices[0]},{prices[1]},{max(prices)},{min(prices)}"
            files[day_key("day_aggs", day)].append(f"{line},{instant(day, '00:00')},3")
        for row in of_case(name, "trades.csv"):
            day, clock = date.fromisoformat(row["timestamp"][:10]), row["timestamp"][11:]
            stamp = instant(day, clock[:8], int(float(f"0{clock[8:]}") * 10**9))
            known = files[day_key("trades", day)]
            known.append(
                trade(
                    row["symbol"],
                    stamp,
                    len(known) + 1,
                    price=row["price"],
                    correction=row["correction"],
                    conditions=row["conditions"],
                )
            )
    return files


def exports(folder: Path, *, backwards: bool) -> list[Path]:
    """All cases' exports, each kind in a file, or in two, with the rows from behind."""
    paths = []
    for file in EXPORTS:
        some = [row for name in NAMES for row in of_case(name, file)]
        # A security is told whole by the file that names it.
        step = 2 if backwards and file != "events.csv" else 1
        parts = [some[start::step][:: -1 if backwards else 1] for start in range(step)]
        for number, part in enumerate(parts):
            path = folder / f"{backwards}{number}{file}"
            with open(path, "w", encoding="utf-8", newline="") as target:
                writer = csv.DictWriter(target, list(part[0]))
                writer.writeheader()
                writer.writerows(part)
            paths.append(path)
    return paths[::-1] if backwards else paths


@pytest.fixture(scope="module")
def loaded(make_warehouse: MakeWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    made = make_warehouse(held())
    made.update()
    folder = tmp_path_factory.mktemp("exports")
    with Warehouse(made.root) as wh:
        wh.load_reference(*exports(folder, backwards=False))
        tables = {}
        for table in TABLES:
            # As another process reads them, in their files' order.
            names = [name for (name,) in made.sql(f"select column_name from (describe {table})")]
            found = made.sql(f"from {table}")
            tables[table] = [dict(zip(names, row, strict=True)) for row in found]
        with made.unchanged():
            again = wh.load_reference(*exports(folder, backwards=True))
    return Loaded(made, tables, again)


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


@pytest.mark.parametrize("name", NAMES)
def test_a_case(name: str, loaded: Loaded) -> None:
    expected = of_case(name, "expected.csv")
    told = []
    exported = [row for file in EXPORTS for row in of_case(name, file)]
    of_this = {row.get("id", row["ticker"]) for row in exported}
    for table in TABLES:
        for row in loaded.tables[table]:
            if row.get("id", row["symbol"]) in of_this:
                problem = row.get("problem")
                kind = None if problem is None else kind_of(problem)
                told.append({**row, "table": table, "problem": kind})
    told = [{key: shown(row.get(key)) for key in expected[0]} for row in told]
    assert sorted(told, key=repr) == sorted(expected, key=repr)


def test_the_order_of_files_and_rows_changes_nothing(loaded: Loaded) -> None:
    assert loaded.again.published == ()
    assert [one.changed for one in loaded.again.tables] == [0, 0, 0]


def test_there_is_a_case_for_each_verdict() -> None:
    """As the headers of sql/reference name them."""
    told = {row.get("problem") for name in NAMES for row in of_case(name, "expected.csv")}
    assert told - {None, ""} == {
        *("ratio", "duplicate", "contradictory", "tape", "never held", "unchecked", "undecided"),
        *("cash", "currency", "no close"),
    }
