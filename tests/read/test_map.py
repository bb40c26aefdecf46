"""`wh.map`: what a plain loop over `wh.load` would come to, in order, and of one generation."""

from __future__ import annotations

import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from adjusting import know, split
from building import Made, MakeWarehouse, day_key, instant, make, random_trades, trade

from warehouse import Warehouse
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import FunctionError, NoDataError, RequestError

DAYS = (date(2024, 1, 2), date(2024, 1, 3), date(2024, 2, 1))
SYMBOLS = ("AAPL", "BCpC", "MSFT")


@pytest.fixture(scope="module", params=["symbol", "market"])
def wh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    files = {day_key("trades", day): random_trades(SYMBOLS, 200, day) for day in DAYS}
    # It did not trade on the other days.
    files[day_key("trades", DAYS[1])].append(trade("Z", instant(DAYS[1])))
    laid_out = dict.fromkeys(DATA_TYPES, request.param)
    made = make(tmp_path_factory.mktemp(request.param), files, storage__layout=laid_out)
    made.update()
    with Warehouse(made.root) as opened:
        yield opened


def mean_price(trades: pd.DataFrame) -> float:
    return float(trades["price"].mean())


def by_exchange(trades: pd.DataFrame) -> pd.DataFrame:
    return trades.groupby("exchange")[["size"]].sum()


def last_rows(trades: pd.DataFrame) -> pd.DataFrame:
    return trades.iloc[::-3]


def moments(trades: pd.DataFrame) -> pd.Series[Any]:
    return trades[["price", "size"]].std()


def two_values(trades: pd.DataFrame) -> dict[str, Any]:
    return {"rows": len(trades), "last": trades["timestamp"].iloc[-1]}


def looped(wh: Warehouse, function: Callable[..., Any], by: str) -> pd.DataFrame:
    """The answer by a plain loop, put together by pandas."""
    parts = []
    keys = [*SYMBOLS, "Z"] if by == "symbol" else list(DAYS)
    for key in keys:
        asked = (key, DAYS[0], DAYS[-1]) if by == "symbol" else ([*SYMBOLS, "Z"], key, key)
        found = function(wh.trades(*asked, missing="ignore"))
        if isinstance(found, float):
            found = {"value": found}
        if isinstance(found, pd.DataFrame):
            found = found.reset_index(drop=found.index.name is None)
        else:
            found = pd.DataFrame([dict(found)])
        found = found.drop(columns=[by], errors="ignore")
        label = key if isinstance(key, str) else np.datetime64(key, "s")
        found.insert(
            0, by, pd.Series([label] * len(found), dtype=None if by != "symbol" else "str")
        )
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("by", ["symbol", "session"])
@pytest.mark.parametrize("function", [mean_price, by_exchange, last_rows, moments, two_values])
def test_the_answer_is_that_of_a_plain_loop(
    by: Any, function: Callable[..., Any], wh: Warehouse
) -> None:
    asked = ("*" if by == "symbol" else [*SYMBOLS, "Z"], DAYS[0], DAYS[-1])
    found = wh.map(function, *asked, by=by, missing="ignore")
    pd.testing.assert_frame_equal(found, looped(wh, function, by))


def test_every_row_of_the_whole_market_comes_once_and_as_it_is_loaded(wh: Warehouse) -> None:
    for by in ("symbol", "session"):
        found = wh.map(
            lambda rows: rows, "*", DAYS[0], DAYS[-1], by=by, to="arrow", missing="ignore"
        )
        whole = wh.load("trades", "*", DAYS[0], DAYS[-1], to="arrow", missing="ignore")
        keys = [(name, "ascending") for name in ("symbol", "timestamp", "sequence_number")]
        assert found.select(whole.column_names).sort_by(keys).equals(whole.sort_by(keys))
        assert found.column_names[0] == by


def test_symbols_come_in_the_order_asked_and_those_without_rows_not_at_all(wh: Warehouse) -> None:
    found = wh.map(len, ["Z", "MSFT", "AAPL"], DAYS[0], DAYS[0])
    assert list(found["symbol"]) == ["MSFT", "AAPL"]
    assert found.dtypes.astype(str).to_dict() == {"symbol": "str", "value": "int64"}
    nothing = wh.map(len, ["Z"], DAYS[0], DAYS[0])
    assert (list(nothing.columns), len(nothing)) == (["symbol"], 0)


def test_the_function_is_handed_what_load_answers_in_the_form_that_is_asked_for(
    wh: Warehouse,
) -> None:
    options: dict[str, Any] = {"columns": ["timestamp", "price"], "tz": "America/New_York"}
    handed: list[Any] = []
    wh.map(handed.append, "AAPL", DAYS[0], index="timestamp", **options)
    pd.testing.assert_frame_equal(
        handed[0], wh.trades("AAPL", DAYS[0], index="timestamp", **options)
    )
    of_polars = wh.map(
        lambda rows: rows.select(pl.col("price").max()), SYMBOLS, DAYS[0], to="polars"
    )
    assert isinstance(of_polars, pl.DataFrame)
    of_arrow = wh.map(lambda rows: rows.slice(0, 1), SYMBOLS, DAYS[0], to="arrow")
    assert isinstance(of_arrow, pa.Table)
    assert of_polars["symbol"].to_list() == of_arrow["symbol"].to_pylist() == list(SYMBOLS)


def test_a_span_of_instants_is_cut_at_its_edges(wh: Warehouse) -> None:
    asked: tuple[Any, ...] = (SYMBOLS, "2024-01-02 11:00", "2024-01-03 10:00")
    found = wh.map(lambda rows: rows[["timestamp"]], *asked, by="session")
    expected = sorted(wh.trades(*asked)["timestamp"])
    assert sorted(found["timestamp"]) == expected
    assert list(found["session"].unique()) == [pd.Timestamp(day) for day in DAYS[:2]]


def test_results_of_several_types_and_columns_go_together(wh: Warehouse) -> None:
    results: dict[str, Any] = {
        "AAPL": {"n": 1, "only": "here"},
        "BCpC": {"n": 0.5, "kind": None},
        "MSFT": None,
        "Z": {"n": None, "kind": pd.Timestamp("2024-01-02")},
    }
    found = wh.map(
        lambda rows: results[rows["symbol"].iloc[0]], "*", DAYS[1], to="pandas", columns=["symbol"]
    )
    assert list(found["symbol"]) == ["AAPL", "BCpC", "Z"]
    assert found["n"].tolist()[:2] == [1.0, 0.5]
    assert found["only"].isna().tolist() == [False, True, True]
    assert found["kind"].tolist()[2] == pd.Timestamp("2024-01-02")


def test_categories_of_several_results_are_those_of_all(wh: Warehouse) -> None:
    found = wh.map(lambda rows: rows, SYMBOLS, DAYS[0], categories=["conditions"])
    plain = wh.map(lambda rows: rows, SYMBOLS, DAYS[0])
    assert isinstance(found["conditions"].dtype, pd.CategoricalDtype)
    assert found["conditions"].tolist() == plain["conditions"].tolist()


def raises(trades: pd.DataFrame) -> float:
    return 1 / (trades["symbol"].iloc[0] != "BCpC")


def test_what_the_function_raises_names_the_symbol_and_bears_the_traceback(wh: Warehouse) -> None:
    with pytest.raises(FunctionError) as told:
        wh.map(raises, "*", DAYS[0])
    error = told.value
    assert str(error) == "raises of the rows of BCpC: ZeroDivisionError: division by zero"
    assert (error.function, error.key) == ("raises", "BCpC")
    assert 'return 1 / (trades["symbol"].iloc[0] != "BCpC")' in error.__notes__[0]
    assert isinstance(error.__cause__, ZeroDivisionError)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ([1, 2], "it returned an object of type list, and not a frame"),
        (pd.Series([1, 2]), "type Series, whose labels are no text: it is one row"),
        ({1: 2}, "type dict, whose labels are no text"),
        (pd.DataFrame({"a": [object()]}), "it returned .*object"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "it returned Duplicate column names"),
    ],
)
def test_a_result_that_makes_no_rows_is_told(result: Any, told: str, wh: Warehouse) -> None:
    with pytest.raises(FunctionError, match=told):
        wh.map(lambda rows: result, "AAPL", DAYS[0])


def test_columns_that_do_not_go_together_are_told_with_the_first_that_does_not(
    wh: Warehouse,
) -> None:
    with pytest.raises(FunctionError, match=r"of BCpC: its columns do not go together.*value"):
        wh.map(lambda rows: {"AAPL": 1}.get(rows["symbol"].iloc[0], "text"), "*", DAYS[0])


def test_arguments_that_make_no_sense_are_told(wh: Warehouse) -> None:
    with pytest.raises(RequestError, match="function = 'mean': it must be a function"):
        wh.map("mean", "AAPL", DAYS[0])  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="by = 'day'"):
        wh.map(len, "AAPL", DAYS[0], by="day")  # type: ignore[call-overload]
    with pytest.raises(RequestError, match="colums"):
        wh.map(len, "AAPL", DAYS[0], colums=["price"])  # type: ignore[call-overload]
    with pytest.raises(NoDataError, match="NOPE"):
        wh.map(len, ["AAPL", "NOPE"], DAYS[0])
    with pytest.raises(NoDataError, match="2024-01-04"):
        wh.map(len, "*", DAYS[0], DAYS[-1])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Made:
    symbols = [f"S{number:02}" for number in range(24)]
    files = {day_key("trades", DAYS[0]): random_trades(symbols, 500, DAYS[0])}
    made = make(tmp_path_factory.mktemp("many"), files, processing__parallel_workers=2)
    made.update()
    return made


def test_no_more_frames_are_in_use_at_a_time_than_there_are_threads(many: Made) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def counted(rows: pd.DataFrame) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return len(rows)

    with Warehouse(many.root) as wh:
        found = wh.map(counted, "*", DAYS[0])
    assert list(found["symbol"]) == [f"S{number:02}" for number in range(24)]
    assert most == 2


def test_once_it_fails_no_other_is_begun(many: Made) -> None:
    called = Counter[str]()

    def fails(rows: pd.DataFrame) -> None:
        called[rows["symbol"].iloc[0]] += 1
        raise KeyError

    with (
        Warehouse(many.root) as wh,
        pytest.raises(FunctionError, match=r"fails of the rows of S\d\d: KeyError"),
    ):
        wh.map(fails, "*", DAYS[0])
    # Those that were under way by then.
    assert called.total() <= 4


def test_a_session_that_it_fails_of_is_named(wh: Warehouse) -> None:
    with pytest.raises(FunctionError, match="<lambda> of the rows of 2024-01-03: KeyError") as told:
        wh.map(lambda rows: rows["no such column"], SYMBOLS, DAYS[1], by="session")
    assert told.value.key == DAYS[1]


def test_a_publish_in_between_has_those_asked_again_that_it_changed_and_no_others(
    make_warehouse: MakeWarehouse,
) -> None:
    days = (date(2024, 1, 31), date(2024, 2, 1))
    made = make_warehouse(
        {day_key("trades", day): [trade("AAPL", instant(day), price=1)] for day in days}
    )
    made.update()
    asked = Counter[date]()
    is_published = threading.Event()

    def price(rows: pd.DataFrame) -> float:
        day = rows["session"].iloc[0].date()
        asked[day] += 1
        if day == days[1] and not is_published.is_set():
            made.put(day_key("trades", day), [trade("AAPL", instant(day), price=2)])
            made.update()
            is_published.set()
        return float(rows["price"].iloc[0])

    with Warehouse(made.root) as wh:
        found = wh.map(price, "AAPL", *days, by="session")
    assert found["value"].tolist() == [1.0, 2.0]
    assert asked == {days[0]: 1, days[1]: 2}


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    days = (date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1))
    files = {}
    for number, day in enumerate(days):
        own = "OLD" if day < days[2] else "NEW"
        # Whoever was NEW before is another.
        other = [trade("NEW", instant(day), 9, price=99)] if day < days[2] else []
        files[day_key("trades", day)] = [*other, trade(own, instant(day), 1, price=number + 1)]
    made = make(tmp_path_factory.mktemp("renamed"), files)
    made.update()
    bearings = [
        ("one", "OLD", days[0], days[1]),
        ("one", "NEW", days[2], date.max),
        ("other", "NEW", days[0], days[1]),
    ]
    know(made, [split("OLD", days[1], 1, 2)], bearings)
    return made


@pytest.mark.parametrize("by", ["symbol", "session"])
def test_renames_are_followed_and_prices_adjusted_as_of_the_whole_span(
    by: Any, renamed: Made
) -> None:
    asked: tuple[Any, ...] = ("NEW", "2024-01-30", "2024-02-01")
    options: dict[str, Any] = {"follow_renames": True, "adjust": "splits"}
    with Warehouse(renamed.root) as wh:
        loaded = wh.trades(*asked, **options)
        found = wh.map(lambda rows: rows, *asked, by=by, **options)
    assert loaded["price"].tolist() == [0.5, 2.0, 3.0]
    assert found["price"].tolist() == loaded["price"].tolist()
    assert found["session"].tolist() == loaded["session"].tolist()
    if by == "symbol":
        assert found["symbol"].unique().tolist() == ["NEW"]
    else:
        assert found["symbol"].tolist() == loaded["symbol"].tolist()
