"""Golden cases of adjustment: what rows come to by the actions that are known, worked out by hand.

A case is a folder `adjust_cases/<claim>` with

    <data type>.csv   the rows as they were traded, all of one data type: `session` and, but for
                      day_aggs, `clock`, New York's
    actions.csv       the table `actions`
    securities.csv    the table `securities`, where the case is about one
    question.json     the arguments of `Warehouse.load`
    expected.csv      the rows, with the columns that the case is about
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from adjusting import know, rows_of, table_of, warehouse_of
from building import MakeWarehouse

from warehouse import Warehouse

CASES = Path(__file__).parent / "adjust_cases"
FOLDERS = sorted(path.parent for path in CASES.glob("*/expected.csv"))


QUESTIONS = {folder: json.loads((folder / "question.json").read_text()) for folder in FOLDERS}


@pytest.fixture(scope="module")
def case(
    request: pytest.FixtureRequest, make_warehouse: MakeWarehouse
) -> Iterator[tuple[Path, dict[str, Any], Warehouse]]:
    folder, layout = request.param
    data_type = QUESTIONS[folder]["data_type"]
    made = warehouse_of(make_warehouse, data_type, rows_of(folder / f"{data_type}.csv"), layout)
    know(made, table_of(folder / "actions.csv"), table_of(folder / "securities.csv"))
    with Warehouse(made.root) as wh:
        yield folder, QUESTIONS[folder], wh


def cases(*, of: str = "", follows: bool = True) -> pytest.MarkDecorator:
    """The cases, in both layouts.

    Args:
        of: of this data type alone.
        follows: those that follow renames too.
    """
    chosen = [
        folder
        for folder, question in QUESTIONS.items()
        if of in ("", question["data_type"]) and (follows or not question.get("follow_renames"))
    ]
    return pytest.mark.parametrize(
        "case",
        [(folder, layout) for folder in chosen for layout in ("symbol", "market")],
        ids=lambda each: f"{each[0].name}-{each[1]}",
        indirect=True,
    )


def arguments(question: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in question.items() if name != "data_type"}


@cases()
def test_rows_come_to_these(case: tuple[Path, dict[str, Any], Warehouse]) -> None:
    folder, question, wh = case
    expected = rows_of(folder / "expected.csv")
    columns = list(expected[0])
    found = wh.load(**question, columns=columns, to="arrow")
    assert found.column_names == columns
    assert found.num_rows == len(expected)
    for row, wanted in zip(found.to_pylist(), expected, strict=True):
        for name, text in wanted.items():
            if name in ("symbol", "session"):
                assert str(row[name]) == text
            else:
                assert math.isclose(row[name], float(text), rel_tol=1e-12), (name, row)


@cases()
def test_a_stream_gives_what_is_loaded(case: tuple[Path, dict[str, Any], Warehouse]) -> None:
    _, question, wh = case
    loaded = wh.load(**question, to="arrow")
    asked = arguments(question)
    with wh.stream(data_types=question["data_type"], batch_rows=2, **asked) as stream:
        streamed = pa.Table.from_batches(stream, stream.schema)
    order = [("timestamp", "ascending"), ("symbol", "ascending")]
    assert streamed.to_pylist() == loaded.sort_by(order).to_pylist()


@cases(follows=False)
def test_a_macro_gives_what_is_loaded_to_the_bit(
    case: tuple[Path, dict[str, Any], Warehouse],
) -> None:
    _, question, wh = case
    loaded = wh.load(**question, to="arrow")
    values = {"adjust": question.get("adjust", "none"), "as_of": question.get("as_of")}
    found = []
    for symbol in question["symbols"]:
        found += wh.query(
            f"select * from {question['data_type']}_of($symbol, $first, $last, adjust := $adjust,"
            " as_of := $as_of) order by timestamp",
            "arrow",
            symbol=symbol,
            first=question["start"],
            last=question["end"],
            **values,
        ).to_pylist()
    assert found == loaded.to_pylist()


@cases(of="day_aggs")
def test_a_panel_has_the_same_numbers(case: tuple[Path, dict[str, Any], Warehouse]) -> None:
    _, question, wh = case
    asked = arguments(question)
    loaded = wh.load(**question)
    for column in ("close", "volume"):
        panel = wh.panel("day_aggs", column, **asked)
        assert list(panel.columns) == question["symbols"]
        if len(question["symbols"]) == 1:
            assert panel.iloc[:, 0].dropna().tolist() == loaded[column].tolist()
        else:
            for symbol, own in loaded.groupby("symbol"):
                assert panel[symbol].dropna().tolist() == own[column].tolist()


@cases(follows=False)
def test_all_symbols_are_multiplied_as_each_is(
    case: tuple[Path, dict[str, Any], Warehouse],
) -> None:
    _, question, wh = case
    asked = arguments(question) | {"symbols": "*"}
    every = wh.load(question["data_type"], **asked, to="arrow")
    symbols = sorted(set(every["symbol"].to_pylist()))
    asked["symbols"] = symbols
    assert every.equals(wh.load(question["data_type"], **asked, to="arrow"))


@cases()
def test_what_is_not_adjusted_stays_as_it_was_traded(
    case: tuple[Path, dict[str, Any], Warehouse],
) -> None:
    folder, question, wh = case
    data_type = question["data_type"]
    found = wh.load(data_type, "*", "2024-01-29", "2024-02-01", to="arrow", missing="ignore")
    name = {"trades": "price", "quotes": "bid_price"}.get(data_type, "close")
    traded = [float(row[name.removesuffix("_price") if data_type == "quotes" else name])
              for row in rows_of(folder / f"{data_type}.csv")]  # fmt: skip
    assert sorted(found[name].to_pylist()) == sorted(traded)
