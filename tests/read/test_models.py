"""Rows as Trade, Quote and Aggregate hold what the table holds."""

import math
from dataclasses import FrozenInstanceError, fields
from datetime import date
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import warehouse
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import RequestError
from warehouse.read.frames import as_form, in_zone
from warehouse.read.models import Aggregate, Quote, Trade, rows

STAMP = 1_706_749_199_999_999_999  # 2024-01-31 19:59:59.999999999 in New York


def table(data_type: str, *records: dict[str, Any]) -> pa.Table:
    schema = DATA_TYPES[data_type].columns
    columns = {name: [record.get(name) for record in records] for name in schema.names}
    return pa.Table.from_pydict(columns, schema)


def trades(*stamps: int, **values: Any) -> pa.Table:
    usual = {"symbol": "AAPL", "price": 10.5, "size": 0.25, "exchange": 4, **values}
    return table("trades", *({**usual, "timestamp": stamp} for stamp in stamps))


def test_the_models_have_the_fields_and_indexes_of_the_users_document() -> None:
    assert [field.name for field in fields(Trade)] == [
        *("timestamp", "symbol", "price", "size", "exchange", "conditions")
    ]
    assert [field.name for field in fields(Quote)] == [
        *("timestamp", "symbol", "bid_price", "bid_size", "ask_price", "ask_size"),
        *("bid_exchange", "ask_exchange"),
    ]
    assert [field.name for field in fields(Aggregate)] == [
        *("timestamp", "symbol", "open", "high", "low", "close", "volume", "vwap", "trades")
    ]
    for model in (Trade, Quote, Aggregate):
        assert model.Meta.indexes == ["timestamp", "symbol"]
        assert getattr(warehouse, model.__name__) is model


def test_a_row_cannot_be_changed_and_has_no_dictionary() -> None:
    row = next(rows(trades(STAMP)))
    with pytest.raises(FrozenInstanceError):
        row.symbol = "MSFT"  # type: ignore[misc]
    assert not hasattr(row, "__dict__")


@pytest.mark.parametrize("form", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_a_trade_comes_out_of_every_form_and_zone_the_same(form: str, zone: str) -> None:
    loaded = as_form(in_zone(trades(STAMP, conditions="14,37,41"), zone), form)
    (row,) = rows(loaded)
    stamp = pd.Timestamp("2024-02-01 00:59:59.999999999", tz="UTC")
    assert row == Trade(stamp, "AAPL", 10.5, 0.25, "4", (14, 37, 41))
    assert isinstance(row.timestamp, pd.Timestamp)
    assert (row.timestamp.value, str(row.timestamp.tz)) == (STAMP, "UTC")


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
def test_nanoseconds_survive(stamps: list[int]) -> None:
    loaded = as_form(in_zone(trades(*stamps), "UTC"), "pandas")
    assert [row.timestamp.value for row in rows(loaded)] == stamps


def test_the_index_may_hold_the_stamp_and_the_symbol() -> None:
    loaded = as_form(in_zone(trades(STAMP), "UTC"), "pandas")
    assert list(rows(loaded.set_index(["timestamp", "symbol"]))) == list(rows(loaded))


def test_conditions_are_codes() -> None:
    found = [
        next(rows(trades(STAMP, conditions=text))).conditions  # type: ignore[union-attr]
        for text in (None, "", "56", "12,37")
    ]
    assert found == [(), (), (56,), (12, 37)]


def test_exchanges_get_their_names_where_they_have_one() -> None:
    names = {4: "XADF"}
    found = [
        next(rows(trades(STAMP, exchange=number), names)).exchange  # type: ignore[union-attr]
        for number in (4, 99, None)
    ]
    assert found == ["XADF", "99", ""]


def test_categories_come_out_as_their_values_and_may_lack_one() -> None:
    plain = pa.concat_tables(
        [
            trades(STAMP, conditions="12,37"),
            trades(STAMP, conditions=None, exchange=None),
            trades(STAMP, symbol="MSFT", exchange=11),
        ]
    ).to_pandas()
    names = ["symbol", "conditions", "exchange"]
    categories = plain.astype(dict.fromkeys(names, "category"))
    assert categories["conditions"].isna().any()

    assert list(rows(categories)) == list(rows(plain))
    assert list(rows(pa.Table.from_pandas(categories))) == list(rows(plain))


def test_a_quote() -> None:
    record = {
        **{"symbol": "BCpC", "timestamp": STAMP, "bid_price": 0.0, "bid_size": 0.0},
        **{"ask_price": 10.25, "ask_size": 300.0, "bid_exchange": 0, "ask_exchange": 12},
    }
    (row,) = rows(table("quotes", record), {12: "XNAS"})
    stamp = pd.Timestamp(STAMP, tz="UTC")
    assert row == Quote(stamp, "BCpC", 0.0, 0.0, 10.25, 300.0, "0", "XNAS")


def test_an_aggregate_without_vwap_has_nan_there() -> None:
    record = {
        **{"symbol": "NA", "timestamp": STAMP, "open": 1.0, "high": 4.0, "low": 0.5},
        **{"close": 2.0, "volume": 0.5, "trades": 3, "session": date(2024, 1, 31)},
    }
    (row,) = rows(table("minute_aggs", record))
    assert isinstance(row, Aggregate)
    assert (row.open, row.high, row.low, row.close, row.volume, row.trades) == (
        1,
        4,
        0.5,
        2,
        0.5,
        3,
    )
    assert math.isnan(row.vwap)


def test_rows_come_in_the_tables_order_across_batches() -> None:
    stamps = list(range(40_000, 0, -1))
    assert [row.timestamp.value for row in rows(trades(*stamps))] == stamps


def test_an_empty_table_has_no_rows() -> None:
    assert list(rows(trades())) == []


def test_a_missing_column_is_named() -> None:
    with pytest.raises(RequestError, match=r"a Trade also needs conditions$"):
        rows(trades(STAMP).drop_columns(["conditions"]))


@pytest.mark.parametrize(
    "other", [pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]}), pa.table({"a": [1]}), [1], None]
)
def test_a_table_of_something_else_is_refused(other: Any) -> None:
    with pytest.raises(RequestError, match="table = "):
        rows(other)
