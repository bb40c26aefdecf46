"""Every golden case comes to its bars: whatever the threads, and whatever the order of the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bar_cases import SHIPPED, Bench, Case, benches, conditions, content, folders, shuffled

FOLDERS = folders()
THREADS = (1, 2, 4)


@pytest.fixture(scope="module")
def some_benches() -> Iterator[list[Bench]]:
    with benches(*THREADS) as made:
        yield made


def _name(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}"


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_a_tape_comes_to_these_bars(folder: Path, some_benches: list[Bench]) -> None:
    case = Case.read(folder)
    found = some_benches[1].bars(case.spec, case.trades, case.conditions)
    case.check(found)
    unordered = [
        bench.from_any_order(case.spec, shuffled(case.trades, seed), case.conditions)
        for seed, bench in enumerate(some_benches)
    ]
    assert {content(table, case.spec) for table in unordered} == {content(found.table, case.spec)}


def test_every_condition_that_forbids_something_has_a_case() -> None:
    forbidding = {
        row["id"] for row in conditions().to_pylist()
        if not all(row[name] for name in row if name.startswith("updates_"))
    }  # fmt: skip
    own = [folder for folder in FOLDERS if folder.parent.name == "conditions"]
    assert {int(re.findall(r"_(\d+)_sets", folder.name)[0]) for folder in own} == forbidding
    assert SHIPPED.exists()
