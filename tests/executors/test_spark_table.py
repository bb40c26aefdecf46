"""Spark reads the partitions as they are: the same rows, to the nanosecond."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from building import Made, day_key, make, random_trades
from executors.engines import cluster

from warehouse import Warehouse
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import EngineError, NoDataError

DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 2, 1)]
SYMBOLS = ("AAPL", "BCpC", "CON", "a", "é")


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    with cluster("spark"):
        from pyspark.sql import SparkSession

        yield SparkSession.getActiveSession()


def market(folder: Path, layout: str) -> Made:
    files = {day_key("trades", day): random_trades(SYMBOLS, 200, day) for day in DAYS}
    return make(folder, files, storage__layout=dict.fromkeys(DATA_TYPES, layout))


@pytest.mark.torture
@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_all_rows_are_there_as_the_library_reads_them(
    layout: str, spark: Any, tmp_path: Path
) -> None:
    # Neither is a column of a partition, nor a pattern.
    made = market(tmp_path / "price=9" / "{a,b} [c]*", layout)
    made.update()
    with Warehouse(made.root) as wh:
        expected = wh.load("trades", "*", DAYS[0], DAYS[-1], to="arrow", missing="ignore")
        table = wh.spark_table(spark, "trades")
        one = wh.load("trades", "a", DAYS[1], to="arrow")
    assert table.columns == expected.column_names
    stamps = [field.name for field in expected.schema if pa.types.is_timestamp(field.type)]
    assert stamps
    for name in stamps:
        place = expected.column_names.index(name)
        expected = expected.set_column(place, name, expected[name].cast(pa.int64()))
    rows = sorted((tuple(row) for row in table.collect()), key=repr)
    assert rows == sorted((tuple(row.values()) for row in expected.to_pylist()), key=repr)
    asked = table.where(f"symbol = 'a' and session = date'{DAYS[1]}'")
    assert asked.count() == one.num_rows > 0


def test_nothing_published_is_told(tmp_path: Path) -> None:
    made = market(tmp_path, "symbol")
    made.update()
    with Warehouse(made.root) as wh, pytest.raises(NoDataError, match="warehouse update quotes"):
        wh.spark_table(None, "quotes")


def test_without_pyspark_it_says_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = market(tmp_path, "symbol")
    made.update()
    monkeypatch.setitem(__import__("sys").modules, "pyspark.sql.types", None)
    with Warehouse(made.root) as wh, pytest.raises(EngineError, match=r"\[spark\]"):
        wh.spark_table(None, "trades")
