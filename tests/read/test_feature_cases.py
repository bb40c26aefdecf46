"""Golden cases of features: what a small tape comes to, worked out by hand.

A case is a folder `features/<feature>/<case>` with

    <data type>.csv   the tape: rows of one or several data types; stamps are nanoseconds since
                      the epoch, an empty field or a column that is left out is NULL
    trade_conditions.csv  where the case wants another table than the shipped one
    expected.csv      the rows, with the columns that the case is about
    values.json       where the case wants them: values of the feature's parameters
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from featuring import FEATURES, Bench, conditions, read_table

from warehouse.core.datatypes import DATA_TYPES

CASES = Path(__file__).parent / "feature_cases"
FOLDERS = sorted(path.parent for path in CASES.glob("*/*/expected.csv"))


def test_every_feature_has_a_case() -> None:
    assert {folder.parent.name for folder in FOLDERS} == set(FEATURES)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_tape_comes_to_these_rows(folder: Path) -> None:
    feature = FEATURES[folder.parent.name]
    tables = {
        kind: read_table(kind, folder / f"{kind}.csv")
        if (folder / f"{kind}.csv").exists()
        else DATA_TYPES[kind].columns.empty_table()
        for kind in feature.tables(feature.freq).values()
    }
    values = folder / "values.json"
    own = folder / "trade_conditions.csv"
    bench = Bench(rules=conditions(own) if own.exists() else None)
    try:
        rows = bench.rows(
            feature, tables, json.loads(values.read_text()) if values.exists() else {}
        )
    finally:
        bench.close()
    with open(folder / "expected.csv", encoding="utf-8") as lines:
        names, *expected = csv.reader(lines)
    assert rows.num_rows == len(expected)
    for name, wanted in zip(names, zip(*expected, strict=True), strict=True):
        column = rows[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        for found, text in zip(column.to_pylist(), wanted, strict=True):
            if text == "":
                assert found is None, name
            elif isinstance(found, bool):
                assert str(found).lower() == text, name
            elif isinstance(found, int):
                assert found == int(text), name
            else:
                assert math.isclose(found, float(text), rel_tol=1e-14, abs_tol=1e-15), name
