"""The Python door: rows come out as they went in, whole, in order, and of one generation."""

import asyncio
import csv
import gzip
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import Made, MakeWarehouse, bar, day_key, instant, quote, symbol_key, trade

import warehouse
from warehouse import Warehouse, WarehouseError, rows
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import (
    ConfigError,
    CorruptPartitionError,
    NoDataError,
    NotAWarehouseError,
    RequestError,
    StorageError,
)
from warehouse.read import partition_reader
from warehouse.read import snapshot as snapshots
from warehouse.store import journal, parquet_writer
from warehouse.synthetic.files import write
from warehouse.synthetic.market import DEMO, Market

ODD = (
    *("NA", "TRUE", "NAN", "NULL", "1E5", "BRK.B", "ABRpD", "BCpC", "BCPC", "../../x", "A/B"),
    *("CON", ".", "..", "-", "_", "%41", "*", "a b", "'", "é", "🦆", "X" * 64),
)
# Around both clock changes of 2024, its half-day after Thanksgiving, and a winter month's end.
DAYS = tuple(
    date(2024, *day)
    for day in (*((1, 31), (2, 1), (3, 8), (3, 11), (11, 1), (11, 4), (11, 27), (11, 29), (12, 2)),)
)
CLOCKS = ("04:00", "09:30", "12:59:59", "13:00", "19:59:59")


def open_(made: Made) -> Warehouse:
    return Warehouse(made.root)


def ns(frame: pd.DataFrame, column: str = "timestamp") -> list[int]:
    stamps = frame[column].dt.tz_convert(None).to_numpy()
    assert stamps.dtype == "datetime64[ns]"
    return [int(stamp) for stamp in stamps.astype(np.int64)]


@pytest.fixture(scope="module")
def small(make_warehouse: MakeWarehouse) -> Iterator[Made]:
    """Two symbols over three sessions of January and one of February, one of them absent once."""
    files: dict[str, Any] = {}
    for number, day in enumerate(SESSIONS):
        lines = [
            trade("AAPL", instant(day, "09:30", n), n + 1, price=100 + n, id=str(n))
            for n in range(10)
        ]
        if number != 1:
            lines += [trade("MSFT", instant(day, "10:00", n), n + 1, price=n + 1) for n in range(5)]
        files[day_key("trades", day)] = lines
        files[day_key("day_aggs", day)] = [bar("AAPL", instant(day, "00:00"))]
    files[day_key("minute_aggs", SESSIONS[0])] = [bar("AAPL", instant(SESSIONS[0]))]
    files[day_key("quotes", SESSIONS[0])] = [quote("AAPL", instant(SESSIONS[0], "09:30"))]
    made = make_warehouse(files)
    made.update()
    return made


SESSIONS = (date(2024, 1, 29), date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1))


@pytest.fixture
def wh(small: Made) -> Iterator[Warehouse]:
    with open_(small) as opened:
        yield opened


# Rows


def test_nanoseconds_survive_both_clock_changes_a_half_day_and_a_winters_last_hour(
    make_warehouse: MakeWarehouse,
) -> None:
    expected: list[tuple[int, date]] = []
    files = {}
    for day in DAYS:
        stamps = [instant(day, clock, part) for clock in CLOCKS for part in (0, 1, 999_999_999)]
        files[day_key("trades", day)] = [
            trade("SPY", stamp, n) for n, stamp in enumerate(stamps, 1)
        ]
        expected += [(stamp, day) for stamp in stamps]
    made = make_warehouse(files)
    made.update()
    with open_(made) as wh:
        frame = wh.trades("SPY", DAYS[0], DAYS[-1], missing="ignore")
        assert list(zip(ns(frame), frame["session"].dt.date, strict=True)) == expected
        assert [row.timestamp.value for row in rows(frame)] == [stamp for stamp, _ in expected]
        new_york = wh.trades("SPY", DAYS[0], DAYS[-1], missing="ignore", tz="America/New_York")
        assert str(new_york["timestamp"].dtype) == "datetime64[ns, America/New_York]"
        assert ns(new_york) == ns(frame)
        clocks = {f"{stamp:%H:%M:%S}" for stamp in new_york["timestamp"]}
        assert clocks == {"04:00:00", "09:30:00", "12:59:59", "13:00:00", "19:59:59"}
        for day in DAYS:
            # The last hour of a winter session has the next UTC date, and perhaps month.
            last = wh.trades("SPY", f"{day} 19:00", f"{day} 20:00")
            assert ns(last) == [stamp for stamp, of in expected if of == day][-3:]
            assert set(last["session"].dt.date) == {day}
        for form in ("arrow", "polars"):
            other = wh.trades("SPY", DAYS[0], DAYS[-1], missing="ignore", to=form)
            stamps = other["timestamp"].cast(pl.Int64 if form == "polars" else pa.int64())
            assert (stamps.to_list if form == "polars" else stamps.to_pylist)() == ns(frame)


def test_odd_symbols_come_back_exactly(make_warehouse: MakeWarehouse) -> None:
    day = SESSIONS[0]
    lines = [
        trade(f'"{symbol}"', instant(day, "09:30", n), n + 1, price=n + 1)
        for n, symbol in enumerate(ODD)
    ]
    made = make_warehouse({day_key("trades", day): lines})
    made.update()
    with open_(made) as wh:
        assert wh.symbols("trades") == sorted(ODD)
        assert set(wh.catalog()["symbol"]) == set(ODD)
        for n, symbol in enumerate(ODD):
            # Alone and no list, "*" is all of them.
            frame = wh.trades([symbol] if symbol == "*" else symbol, day, day)
            assert list(frame["symbol"]) == [symbol]
            assert list(frame["price"]) == [n + 1]
            counted = wh.query("select count(*) as n from trades_of($s)", s=symbol)
            assert list(counted["n"]) == [1]
        frame = wh.trades(ODD[::-1], day, day)
        assert list(frame["symbol"]) == list(ODD[::-1])
        assert [row.symbol for row in rows(frame)] == list(ODD[::-1])


def test_symbols_stand_in_the_order_asked_each_in_that_of_the_tape(wh: Warehouse) -> None:
    frame = wh.trades(["MSFT", "AAPL", "MSFT"], SESSIONS[0], SESSIONS[-1])
    assert list(frame["symbol"]) == ["MSFT"] * 15 + ["AAPL"] * 40
    assert frame.index.equals(pd.RangeIndex(55))
    for symbol in ("MSFT", "AAPL"):
        assert frame.loc[frame["symbol"] == symbol, "timestamp"].is_monotonic_increasing


def test_columns_come_as_asked_and_typed(wh: Warehouse) -> None:
    frame = wh.trades("AAPL", SESSIONS[0], SESSIONS[0])
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        **{"symbol": "str", "timestamp": "datetime64[ns, UTC]", "price": "float64"},
        **{"size": "float64", "exchange": "int16", "conditions": "str", "correction": "int8"},
        **{"id": "str", "sequence_number": "int64", "tape": "int8", "trf_id": "int16"},
        **{"participant_timestamp": "datetime64[ns, UTC]", "session": "datetime64[s]"},
        **{"trf_timestamp": "datetime64[ns, UTC]"},
    }
    assert list(frame.columns) == DATA_TYPES["trades"].columns.names
    assert frame["trf_timestamp"].isna().all()
    some = wh.trades("AAPL", SESSIONS[0], SESSIONS[0], columns=["price", "symbol", "timestamp"])
    pd.testing.assert_frame_equal(some, frame[["price", "symbol", "timestamp"]])
    for column in frame.columns:
        only = wh.trades("AAPL", SESSIONS[0], SESSIONS[0], columns=[column])
        pd.testing.assert_frame_equal(only, frame[[column]])
        part = wh.trades("AAPL", "2024-01-29 09:30", "2024-01-29 10:00", columns=[column])
        pd.testing.assert_frame_equal(part, frame[[column]])


@pytest.mark.parametrize("data_type", list(DATA_TYPES))
@pytest.mark.parametrize("form", ["pandas", "polars", "arrow"])
def test_an_empty_answer_has_the_types_of_a_full_one(
    wh: Warehouse, data_type: str, form: str
) -> None:
    full = wh.load(data_type, "AAPL", SESSIONS[0], SESSIONS[0], to=form)
    nobody = wh.load(data_type, "NOBODY", SESSIONS[0], SESSIONS[0], to=form, missing="ignore")
    never = wh.load(data_type, "AAPL", "2020-01-02", "2020-01-03", to=form, missing="ignore")
    instant_ = wh.load(data_type, "AAPL", "2024-01-29 03:00", "2024-01-29 03:00", to=form)
    assert len(full) > 0
    for empty in (nobody, never, instant_):
        assert len(empty) == 0
        if form == "pandas":
            assert empty.dtypes.equals(full.dtypes)
        else:
            assert empty.schema == full.schema


def test_a_symbol_without_trades_in_an_ingested_session_is_no_error(wh: Warehouse) -> None:
    assert len(wh.trades("MSFT", SESSIONS[1], SESSIONS[1])) == 0
    assert len(wh.trades(["AAPL", "MSFT"], SESSIONS[1])) == 10


def test_a_symbol_of_another_data_type_is_an_error_that_names_what_there_is(wh: Warehouse) -> None:
    for ask in (
        lambda **options: wh.quotes("MSFT", SESSIONS[0], **options),
        lambda **options: wh.quotes(["AAPL", "MSFT"], SESSIONS[0], **options),
        lambda **options: wh.stream(
            "MSFT", SESSIONS[0], data_types=("trades", "quotes"), **options
        ),
    ):
        with pytest.raises(NoDataError, match=r"no quotes of 'MSFT' .* there are trades of") as no:
            ask()
        assert no.value.missing == ("MSFT",)
        ask(missing="ignore")
    assert len(wh.quotes("MSFT", SESSIONS[0], missing="ignore")) == 0


def test_instants_are_half_open_and_sessions_inclusive(wh: Warehouse) -> None:
    start = instant(SESSIONS[0], "09:30", 3)
    for begin, end, expected in (
        ("2024-01-29 09:30:00.000000003", "2024-01-29 09:30:00.000000007", [3, 4, 5, 6]),
        (pd.Timestamp(start, tz="UTC"), pd.Timestamp(start + 1, tz="UTC"), [3]),
        (pd.Timestamp(start, tz="UTC"), pd.Timestamp(start, tz="UTC"), []),
        ("2024-01-29 09:30:00.000000009", SESSIONS[0], [9]),
        (datetime(2024, 1, 29, 14, 30, tzinfo=UTC), "2024-01-29", list(range(10))),
        (datetime(2024, 1, 29, 9, 30), datetime(2024, 1, 29, 9, 31), list(range(10))),
        ("2024-01-29", "2024-01-29 09:30", []),
    ):
        frame = wh.trades("AAPL", begin, end)
        assert [int(stamp) - instant(SESSIONS[0]) for stamp in ns(frame)] == expected
    frame = wh.trades("AAPL", "2024-01-30", "2024-01-31")
    assert sorted(set(frame["session"].dt.date)) == [*SESSIONS[1:3]]


def test_a_span_over_months_reads_each_partition_once_in_order(wh: Warehouse) -> None:
    frame = wh.trades("AAPL", "2024-01-31 09:30:00.000000005", "2024-02-01 09:30:00.000000005")
    assert [int(price) for price in frame["price"]] == [105, 106, 107, 108, 109, *range(100, 105)]


@pytest.mark.parametrize("rows_a_group", [1, 2, 7])
def test_row_groups_outside_the_span_are_not_read_and_nothing_is_lost(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch, rows_a_group: int
) -> None:
    monkeypatch.setattr(parquet_writer, "ROW_GROUP_ROWS", rows_a_group)
    day = SESSIONS[0]
    # Several trades share a stamp, also across the edges of row groups.
    offsets = [0, 1, 1, 1, 2, 5, 5, 5, 5, 5, 5, 5, 5, 8, 9, 9]
    stamps = [instant(day, "10:00", offset) for offset in offsets]
    lines = [trade("SPY", stamp, n) for n, stamp in enumerate(stamps, 1)]
    made = make_warehouse({day_key("trades", day): lines})
    made.update()
    (path,) = made.partitions().values()
    assert pq.read_metadata(path).num_row_groups == -(-16 // rows_a_group)
    with open_(made) as wh:
        for low in range(-1, 11):
            for high in range(low, 11):
                start, end = (
                    pd.Timestamp(instant(day, "10:00") + bound, tz="UTC") for bound in (low, high)
                )
                frame = wh.trades("SPY", start, end)
                expected = [n for n, o in enumerate(offsets, 1) if low <= o < high]
                assert list(frame["sequence_number"]) == expected


@pytest.fixture(scope="module")
def market(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse()
    write(replace(DEMO, trades_per_session=3_000, quotes_per_session=2_000), made.source)
    made.update(start=DEMO.sessions[0], end=DEMO.sessions[-1])
    return made


def test_a_markets_rows_are_those_of_its_files(market: Made) -> None:
    expected: dict[str, list[tuple[int, float]]] = {}
    for session in DEMO.sessions:
        path = market.source / day_key("minute_aggs", session)
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                stamps = expected.setdefault(row["ticker"], [])
                stamps.append((int(row["window_start"]), float(row["volume"])))
    with open_(market) as wh:
        first, last = DEMO.sessions[0], DEMO.sessions[-1]
        assert wh.symbols("minute_aggs") == sorted(expected)
        for symbol, bars in expected.items():
            frame = wh.aggs(symbol, first, last)
            assert list(zip(ns(frame), frame["volume"], strict=True)) == sorted(bars)
        everything = wh.aggs(sorted(expected), first, last, columns=["symbol", "timestamp"])
        assert len(everything) == sum(map(len, expected.values()))
        assert wh.sessions("minute_aggs") == list(DEMO.sessions)


def test_python_and_the_query_door_give_the_same_rows(market: Made) -> None:
    with open_(market) as wh:
        for kind in DATA_TYPES:
            loaded = wh.load(kind, "BCpC", DEMO.sessions[0], DEMO.sessions[-1])
            order = "timestamp, sequence_number" if kind in ("trades", "quotes") else "timestamp"
            asked = wh.query(f"from {kind}_of($s) order by {order}", s="BCpC")
            assert len(loaded) > 0
            pd.testing.assert_frame_equal(loaded, asked)


def test_one_thread_and_many_give_the_same(market: Made, tmp_path: Path) -> None:
    with open_(market) as wh:
        many = wh.trades(wh.symbols(), DEMO.sessions[0], DEMO.sessions[-1])
    text = (market.root / "config/data_config.yaml").read_text("utf-8")
    single = market.root / "config" / "single.yaml"
    single.write_text(text.replace("parallel_workers: 4", "parallel_workers: 1"), "utf-8")
    with Warehouse(single) as wh:
        one = wh.trades(wh.symbols(), DEMO.sessions[0], DEMO.sessions[-1])
    pd.testing.assert_frame_equal(one, many)


# What is not there


@pytest.mark.parametrize(
    ("symbol", "hint"),
    [
        ("aapl", "near it: AAPL"),
        ("AAPLE", "near it: AAPL"),
        ("MSTF", "near it: MSFT"),
        ("AAPL, MSFT", "near it: AAPL, MSFT;"),
        ("MSFT AAPL", "near it: MSFT, AAPL;"),
        (" MSFT", "near it: MSFT;"),
    ],
)
def test_an_unknown_symbol_is_an_error_that_suggests_near_ones(
    wh: Warehouse, symbol: str, hint: str
) -> None:
    with pytest.raises(NoDataError) as caught:
        wh.trades(symbol, SESSIONS[0], SESSIONS[-1])
    assert f"no symbol {symbol!r} in the warehouse (case counts); {hint}" in str(caught.value)
    assert "warehouse update --start 2024-01-29 --end 2024-02-01" in str(caught.value)
    assert caught.value.missing == (symbol,)
    assert "\n" not in str(caught.value)


def test_sessions_never_ingested_are_named_with_the_command_that_gets_them(wh: Warehouse) -> None:
    with pytest.raises(NoDataError) as caught:
        wh.trades(["AAPL", "MSFT"], "2024-01-26", "2024-02-05")
    assert caught.value.missing == ("2024-01-26", "2024-02-02", "2024-02-05")
    assert str(caught.value) == (
        "trades of 'AAPL', 'MSFT', 2024-01-26 to 2024-02-05: never ingested: 2024-01-26,"
        " 2024-02-02, 2024-02-05; there are trades from 2024-01-29 to 2024-02-01; get the rest"
        " with: warehouse update --start 2024-01-26 --end 2024-02-05, or take what is there with"
        " missing='ignore'"
    )
    frame = wh.trades(["AAPL", "MSFT"], "2024-01-26", "2024-02-05", missing="ignore")
    assert len(frame) == 55


def test_why_a_session_is_not_there_is_said_where_it_is_known(
    make_warehouse: MakeWarehouse,
) -> None:
    files = {
        day_key("trades", SESSIONS[0]): [trade("AAPL", instant(SESSIONS[0]))],
        day_key("trades", SESSIONS[1]): b"this is no gzip",
    }
    made = make_warehouse(files)
    made.update("trades", start=SESSIONS[0], end=SESSIONS[2])
    with open_(made) as wh, pytest.raises(NoDataError) as caught:
        wh.trades("AAPL", SESSIONS[0], SESSIONS[2])
    assert "2024-01-30 (set aside), 2024-01-31 (missing at the vendor);" in str(caught.value)


def test_a_weekend_within_is_no_gap_and_one_outside_is(wh: Warehouse) -> None:
    assert len(wh.trades("AAPL", "2024-01-27", "2024-01-29")) == 10
    for start, end, said in (
        ("2024-01-27", "2024-01-28", "the exchange has no session then; "),
        ("2090-01-02", "2090-01-05", "those days are still to come; "),
        ("1999-01-02", "1999-01-05", "the vendor's files begin on 2003-09-10; "),
    ):
        told = f": {said}there are trades from 2024-01-29 to 2024-02-01; "
        with pytest.raises(NoDataError, match=told) as caught:
            wh.trades("AAPL", start, end)
        # No update brings what is no session, or none yet.
        assert "warehouse update" not in str(caught.value)
    with pytest.raises(NoDataError, match=r"never ingested: .*warehouse update --start 2010"):
        wh.trades("AAPL", "2010-01-04", "2010-01-05")


def test_a_session_whose_file_came_down_anew_still_counts_as_ingested(
    make_warehouse: MakeWarehouse,
) -> None:
    day = SESSIONS[0]
    files = {
        day_key("trades", day): [trade("AAPL", instant(day))],
        day_key("quotes", day): [quote("MSFT", instant(day))],
    }
    made = make_warehouse(files)
    made.update()
    made.put(day_key("trades", day), b"this is no gzip")
    made.update()
    with open_(made) as wh:
        assert {"ingested", "set_aside"} <= set(wh.catalog("source_files")["state"])
        assert len(wh.trades("AAPL", day, day)) == 1
        assert len(wh.trades("MSFT", day, day, missing="ignore")) == 0


def test_files_of_one_symbol_each_count_for_their_symbol(make_warehouse: MakeWarehouse) -> None:
    first, second = SESSIONS[:2]
    files = {
        symbol_key("trades", first, "AAPL"): [trade("AAPL", instant(first))],
        symbol_key("trades", first, "MSFT"): [trade("MSFT", instant(first))],
        symbol_key("trades", second, "AAPL"): [trade("AAPL", instant(second))],
        symbol_key("day_aggs", first, "AAPL"): [
            bar("AAPL", instant(day, "00:00")) for day in SESSIONS[:3]
        ],
    }
    made = make_warehouse(files, source__layout="symbol")
    made.update()
    with open_(made) as wh:
        assert len(wh.trades("AAPL", first, second)) == 2
        with pytest.raises(NoDataError) as caught:
            wh.trades(["AAPL", "MSFT"], first, second)
        assert caught.value.missing == ("2024-01-30",)
        assert len(wh.aggs("AAPL", first, SESSIONS[2], freq="day")) == 3
        with pytest.raises(NoDataError) as caught:
            wh.aggs("AAPL", first, "2024-02-01", freq="day")
        assert caught.value.missing == ("2024-02-01",)


def test_a_symbol_that_the_configuration_leaves_out_says_so(make_warehouse: MakeWarehouse) -> None:
    day = SESSIONS[0]
    lines = [trade("AAPL", instant(day)), trade("MSFT", instant(day))]
    made = make_warehouse({day_key("trades", day): lines}, source__symbols=["AAPL"])
    made.update()
    with open_(made) as wh:
        assert len(wh.trades("AAPL", day, day)) == 1
        with pytest.raises(NoDataError, match=r"source.symbols leaves 'MSFT' out: add it there"):
            wh.trades("MSFT", day, day)


def test_a_warehouse_where_nothing_was_ingested_says_so(make_warehouse: MakeWarehouse) -> None:
    with open_(make_warehouse()) as wh:
        with pytest.raises(NoDataError, match=r"nothing has been ingested yet; .*warehouse up"):
            wh.trades("AAPL", SESSIONS[0], SESSIONS[0])
        for ask in (wh.catalog, lambda: wh.query("select 1")):
            with pytest.raises(NoDataError, match="nothing has been ingested yet"):
                ask()
        assert len(wh.trades("AAPL", SESSIONS[0], SESSIONS[0], missing="ignore")) == 0
        assert (wh.symbols(), wh.sessions("trades"), wh.exchanges) == ([], [], {})


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda wh: wh.load("bars", "A", DAY, DAY), "it may be trades, quotes, minute_aggs, day_"),
        (lambda wh: wh.load(None, "A", DAY, DAY), "it may be trades, quotes, minute_aggs, day_"),
        (lambda wh: wh.aggs("A", DAY, DAY, freq="5m"), "freq = '5m': it may be minute, day"),
        (lambda wh: wh.trades("A", DAY, DAY, columns=["prise"]), "'prise': trades have symbol, ti"),
        (lambda wh: wh.trades("A", DAY, DAY, columns=["id", "id"]), "'id': it stands twice"),
        (lambda wh: wh.trades("A", DAY, DAY, columns=[]), "name at least one of symbol, timestamp"),
        (lambda wh: wh.trades("A", DAY, DAY, to="numpy"), "it may be pandas, polars, arrow"),
        (lambda wh: wh.query("select 1", "numpy"), "it may be pandas, polars, arrow"),
        (lambda wh: wh.trades("A", DAY, DAY, tz="Mars/Base"), "tz = 'Mars/Base': it must be a ti"),
        (lambda wh: wh.trades("A", DAY, DAY, missing="no"), "it may be raise, ignore"),
        (lambda wh: wh.trades([], DAY, DAY), "it must be a symbol, or several of them"),
        (lambda wh: wh.trades("", DAY, DAY), "it must be a symbol, or several of them"),
        (lambda wh: wh.trades(["A", 1], DAY, DAY), "it must be a symbol, or several of them"),
        (lambda wh: wh.trades(1, DAY, DAY), "it must be a symbol, or several of them"),
        (lambda wh: wh.trades("A", "2024-01-31", "2024-01-29"), "it lies before start"),
        (lambda wh: wh.trades("A", "yesterday", DAY), "start = 'yesterday': it must be a session"),
        (lambda wh: wh.trades("A", DAY, "2024-03-10 02:30"), "end = .*it must be a session"),
        (
            lambda wh: wh.catalog("trades"),
            "it may be partitions, source_files, runs, findings, reconciliations, features",
        ),
        (lambda wh: wh.symbols("bars"), "it may be trades, quotes, minute_aggs, day_aggs"),
    ],
)
def test_an_argument_that_makes_no_sense_is_an_error_that_lists_what_does(
    wh: Warehouse, ask: Callable[[Warehouse], Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        ask(wh)
    assert "\n" not in str(caught.value)


def test_every_method_lists_its_arguments_to_who_misspells_one(wh: Warehouse) -> None:
    # What the others are given beside their arguments are a feature's or a query's own.
    others = {"close", "features", "check_feature", "query"}
    for name, method in inspect.getmembers(type(wh), inspect.isfunction):
        if name.startswith("_") or name in others or inspect.iscoroutinefunction(method):
            continue
        with pytest.raises(RequestError, match="the arguments are") as caught:
            getattr(wh, name)(nonsense=1)
        assert caught.value.parameter == "nonsense", name


DAY = SESSIONS[0]


# Opening and closing


def test_the_folder_a_folder_within_and_the_file_itself_open_the_same(small: Made) -> None:
    for path in (
        small.root,
        str(small.root),
        small.root / "data",
        small.root / "config" / "data_config.yaml",
    ):
        with Warehouse(path) as wh:
            assert wh.symbols() == ["AAPL", "MSFT"]


def test_what_is_no_warehouse_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotAWarehouseError):
            Warehouse(path)
    (tmp_path / "mine.yaml").write_text("storage: {typo: 1}")
    with pytest.raises(ConfigError, match=r"storage\.typo"):
        Warehouse(tmp_path / "mine.yaml")


def test_a_closed_warehouse_answers_no_more_and_its_frames_live_on(small: Made) -> None:
    wh = open_(small)
    frame = wh.trades("AAPL", DAY, DAY)
    wh.close()
    wh.close()
    frame.loc[0, "price"] = 1.0
    for ask in (
        lambda: wh.trades("AAPL", DAY, DAY),
        lambda: wh.query("select 1"),
        lambda: wh.symbols(),
    ):
        with pytest.raises(RequestError, match="it is closed"):
            ask()


def test_the_package_loads_pandas_and_duckdb_only_when_they_are_wanted() -> None:
    code = (
        "import sys, warehouse; from warehouse import WarehouseError, __version__\n"
        "assert not {'pandas', 'duckdb', 'pyarrow'} & set(sys.modules)\n"
        "assert 'Warehouse' in dir(warehouse) and __version__"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert issubclass(NoDataError, WarehouseError)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        warehouse.Nothing  # noqa: B018


def test_who_is_answered_while_another_thread_closes_it_is_told_so(
    small: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = partition_reader.read

    def closing(*arguments: Any) -> Any:
        closer = threading.Thread(target=wh.close)
        closer.start()
        closer.join()
        return read(*arguments)

    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(partition_reader, "_WORTH_A_THREAD", 0)
    with open_(small) as wh:
        monkeypatch.setattr(partition_reader, "read", closing)
        with pytest.raises(RequestError, match="it is closed; open it anew"):
            wh.trades("AAPL", SESSIONS[0], SESSIONS[-1])


ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"


def test_what_another_thread_asks_of_a_warehouse_that_is_closed_ends(small: Made) -> None:
    came: SimpleQueue[object] = SimpleQueue()

    def ask() -> None:
        try:
            came.put(wh.query(ENDLESS))
        except Exception as error:
            came.put(error)

    wh = open_(small)
    wh.query("select 1")
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    while not any(one.name == "warehouse-query" for one in threading.enumerate()):
        time.sleep(0.01)
    wh.close()
    error = came.get(timeout=20)
    assert isinstance(error, RequestError)
    assert str(error).endswith("it is closed; open it anew")
    asking.join(timeout=20)
    assert repr(wh) == f"Warehouse('{small.root}', closed=True)"


def test_what_a_signal_handler_raises_comes_out_of_a_query_and_is_no_damage(small: Made) -> None:
    program = """
import signal, sys
from warehouse import Warehouse
from warehouse.store.partitions import damaged

class Mine(Exception):
    pass

def late(*_):
    raise Mine("late")

signal.signal(signal.SIGALRM, late)
with Warehouse(sys.argv[1]) as wh:
    wh.query("select 1")
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        wh.query(sys.argv[2])
    except Mine as error:
        print(error)
    try:
        damaged("file", "trades", "AAPL", TimeoutError("late"))
    except TimeoutError as error:
        print(error)
    print(*wh.query("select 'goes on'").iloc[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, small.root, ENDLESS],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("late\nlate\ngoes on\n", "")


def test_a_handler_of_atexit_is_answered_and_writes_nothing(small: Made) -> None:
    program = """
import atexit, sys
from warehouse import Warehouse
from warehouse.read import partition_reader
partition_reader._WORTH_A_THREAD = 0
DAYS = "2024-01-29", "2024-02-01"

def last():
    for ask in (
        lambda: len(wh.trades(["AAPL", "MSFT"], *DAYS)),
        lambda: sum(map(len, wh.stream(["AAPL", "MSFT"], *DAYS, data_types="trades"))),
        lambda: len(wh.verify().faults),
        lambda: wh.rebuild("trades"),
        lambda: wh.update(),
    ):
        try:
            print(ask())
        except Exception as error:
            print(type(error).__name__, error)

wh = Warehouse(sys.argv[1])
atexit.register(last)
"""
    with open_(small) as wh:
        rows = len(wh.trades(["AAPL", "MSFT"], "2024-01-29", "2024-02-01"))
    done = subprocess.run(
        [sys.executable, "-c", program, small.root], check=True, capture_output=True, text=True
    )
    *answers, rebuilt, updated = done.stdout.splitlines()
    assert answers == [str(rows), str(rows), "0"]
    assert rebuilt == updated
    assert rebuilt.startswith("RequestError warehouse = ")
    assert rebuilt.endswith("write before the program ends, or there in a process of its own")


def test_what_is_of_a_wrong_type_is_refused_by_name(small: Made) -> None:
    for path in (3, None, [small.root], bytes(small.root)):
        with pytest.raises(RequestError, match=r"path = .*: it must be that of a warehouse"):
            Warehouse(path)  # type: ignore[arg-type]
    with open_(small) as wh:
        frame = wh.trades("AAPL", DAY)
        with pytest.raises(RequestError, match="exchanges = 'trades': it must be names"):
            rows(frame, "trades")  # type: ignore[arg-type]
        for run in (wh.download_async, wh.update_async):
            assert inspect.iscoroutinefunction(run)
            with pytest.raises(RequestError, match=r"strat = '2024-01-02'.*did you mean start"):
                asyncio.run(run(strat="2024-01-02"))  # type: ignore[call-arg]
        for wait in ("x", -1, float("nan"), True):
            with pytest.raises(RequestError, match=r"wait = .*: it must be a number of seconds"):
                wh.update(wait=wait)  # type: ignore[arg-type]


def test_a_process_that_forgets_to_close_ends_quietly(small: Made) -> None:
    code = (
        "import sys; from warehouse import Warehouse; wh = Warehouse(sys.argv[1])\n"
        "wh.trades(['AAPL', 'MSFT'], '2024-01-29', '2024-02-01'); wh.query('select 1')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, small.root], check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "")


# The cache and publishing


def test_the_same_question_is_answered_from_memory(wh: Warehouse) -> None:
    first = wh.trades("AAPL", DAY, DAY)
    first.loc[:, "price"] = 0.0
    second = wh.trades(["AAPL"], "2024-01-29", "2024-01-29")
    assert (wh.cache.stats.hits, wh.cache.stats.misses) == (1, 1)
    assert list(second["price"]) == [100.0 + n for n in range(10)]
    for other in ({"tz": "America/New_York"}, {"to": "arrow"}, {"index": "timestamp"}):
        wh.trades("AAPL", DAY, DAY, **other)
    wh.trades("AAPL", DAY, SESSIONS[1])
    assert (wh.cache.stats.hits, wh.cache.stats.misses) == (1, 5)
    wh.cache.clear()
    assert wh.cache.stats.bytes == 0


def test_the_cache_keeps_to_its_bound(make_warehouse: MakeWarehouse) -> None:
    day = SESSIONS[0]
    lines = [
        trade(symbol, instant(day, "10:00", n), n)
        for symbol in ("A", "B", "C")
        for n in range(1, 1001)
    ]
    made = make_warehouse(
        {day_key("trades", day): lines}, storage__max_cache_memory_gb=200_000 / 1024**3
    )
    made.update()
    with open_(made) as wh:
        for symbol in "ABCABC":
            assert len(wh.trades(symbol, day, day)) == 1000
            assert wh.cache.stats.bytes <= wh.cache.stats.max_bytes == 200_000
        assert wh.cache.stats.evictions > 0


def test_a_publish_between_two_questions_makes_the_old_answer_unreachable(
    make_warehouse: MakeWarehouse,
) -> None:
    first, second = SESSIONS[:2]
    made = make_warehouse({day_key("trades", first): [trade("AAPL", instant(first), price=1)]})
    made.update()
    count = "select count(*) as n from trades"
    with open_(made) as wh:
        before = wh.trades("AAPL", first, first)
        assert list(wh.query(count)["n"]) == [1]
        made.put(day_key("trades", first), [trade("AAPL", instant(first), price=2)])
        made.put(day_key("trades", second), [trade("MSFT", instant(second))])
        made.update()
        after = wh.trades("AAPL", first, first)
        assert (list(before["price"]), list(after["price"])) == ([1.0], [2.0])
        assert list(wh.query(count)["n"]) == [2]
        assert wh.symbols() == ["AAPL", "MSFT"]
        assert len(wh.trades(["AAPL", "MSFT"], first, second)) == 2
        assert len(wh.catalog("runs")) == 2
        assert wh.cache.stats.hits == 0
        # What the publish left alone is still answered from memory.
        made.put(day_key("trades", second), [trade("MSFT", instant(second), price=3)])
        made.update()
        assert list(wh.trades("AAPL", first, first)["price"]) == [2.0]


@pytest.mark.torture
def test_readers_beside_a_writer_see_one_generation_or_the_next(
    make_warehouse: MakeWarehouse,
) -> None:
    day = SESSIONS[0]
    symbols = [f"S{n}" for n in range(12)]

    def lines(generation: int) -> list[str]:
        return [trade(s, instant(day, "10:00", n), n + 1, price=generation)
                for s in symbols for n in range(50)]  # fmt: skip

    made = make_warehouse({day_key("trades", day): lines(1)})
    made.update()
    done = threading.Event()
    seen: list[set[float]] = []

    def read(wh: Warehouse) -> None:
        while not done.is_set():
            frame = wh.trades(symbols, day, day)
            assert len(frame) == 600
            seen.append(set(frame["price"]))
            asked = wh.query("select distinct price from trades")
            seen.append(set(asked["price"]))

    with open_(made) as wh, ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, wh) for _ in range(3)]
        for generation in range(2, 6):
            made.put(day_key("trades", day), lines(generation))
            made.update()
        done.set()
        for reader in readers:
            reader.result()
        assert set(wh.trades(symbols, day, day)["price"]) == {5.0}
    assert all(len(prices) == 1 for prices in seen)
    assert len({price for prices in seen for price in prices}) > 1


def test_a_reader_waits_for_a_publish_that_is_under_way(
    small: Made, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = wh.trades("AAPL", DAY, DAY)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, small.layout.lock, small.layout.journal],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        # From memory there is no need to wait.
        assert wh.trades("AAPL", DAY, DAY).equals(frame)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(wh.trades, "MSFT", DAY, DAY)
            time.sleep(0.2)
            assert not answer.done()
            monkeypatch.setattr(journal, "WAIT_SECONDS", 0.1)
            with pytest.raises(StorageError, match=r"a publish by .* is not done after 0 s"):
                wh.query("select 3")
            holder.stdin.write(b"\n")
            holder.stdin.flush()
            assert len(answer.result(timeout=10)) == 5
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()
        small.layout.journal.unlink(missing_ok=True)


HOLD = """
import sys
from pathlib import Path
from filelock import FileLock
with FileLock(sys.argv[1]):
    Path(sys.argv[2]).write_text('{}')
    print('held', flush=True)
    sys.stdin.readline()
    Path(sys.argv[2]).unlink()
"""


def test_a_partition_swapped_in_mid_publish_is_read_again_and_not_called_damaged(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = SESSIONS[0]
    made = make_warehouse({day_key("trades", day): [trade("AAPL", instant(day), price=1)]})
    made.update()
    with open_(made) as wh:
        wh.symbols()
        real = snapshots.Snapshots.settle
        turns: list[int] = []

        def settle(self: Any) -> Any:
            standing = real(self)
            if not turns:
                # The catalog has been looked at; the files change before they are read.
                turns.append(1)
                two = [trade("AAPL", instant(day, "10:00", n), n + 1, price=2) for n in range(2)]
                made.put(day_key("trades", day), two)
                made.update()
            return standing

        monkeypatch.setattr(snapshots.Snapshots, "settle", settle)
        assert list(wh.trades("AAPL", day, day)["price"]) == [2.0, 2.0]


# Damage


@pytest.fixture(scope="module")
def fragile(make_warehouse: MakeWarehouse) -> Made:
    day = SESSIONS[0]
    lines = [
        trade("AAPL", instant(day, "10:00", n * n), n + 1, price=100 + n % 7, id=str(n * 7919))
        for n in range(200)
    ]
    made = make_warehouse({day_key("trades", day): lines})
    made.update()
    return made


REMEDY = "warehouse rebuild trades --symbols 'AAPL'"


def test_a_flipped_bit_is_an_error_or_changes_nothing(fragile: Made) -> None:
    (path,) = fragile.partitions().values()
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    start, end = "2024-01-29 10:00", "2024-01-29 10:00:00.000030"
    dice = np.random.default_rng(7)
    places = [*dice.integers(0, footer * 8, 150), *dice.integers(footer * 8, len(whole) * 8, 350)]
    refused = {"pages": 0, "footer": 0}
    with open_(fragile) as wh:
        expected = (wh.trades("AAPL", DAY, DAY), wh.trades("AAPL", start, end))
        assert len(expected[0]) > len(expected[1]) > 100
        try:
            for place in map(int, places):
                flipped = bytearray(whole)
                flipped[place // 8] ^= 1 << place % 8
                path.write_bytes(flipped)
                wh.cache.clear()
                try:
                    found = (wh.trades("AAPL", DAY, DAY), wh.trades("AAPL", start, end))
                except CorruptPartitionError as error:
                    if error.path == path and REMEDY in str(error):
                        refused["footer" if place // 8 >= footer else "pages"] += 1
                else:
                    for got, right in zip(found, expected, strict=True):
                        pd.testing.assert_frame_equal(got, right)
        finally:
            path.write_bytes(whole)
    assert refused["pages"] > 100
    assert refused["footer"] > 50


def test_no_flipped_bit_makes_values_of_levels(fragile: Made) -> None:
    """A column that is said to lack no value has no levels before its values, and others have."""
    (path,) = fragile.partitions().values()
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    schema_end = whole.index(b"session", footer) + 16
    misread = 0
    with open_(fragile) as wh:
        expected = wh.trades("AAPL", DAY, DAY)
        assert 0 < expected.isna().all().sum() < len(expected.columns)
        try:
            for place in range(footer, schema_end):
                for bit in range(3):
                    flipped = bytearray(whole)
                    flipped[place] ^= 1 << bit
                    path.write_bytes(flipped)
                    with suppress(OSError, pa.ArrowException, UnicodeDecodeError, OverflowError):
                        told = pq.read_schema(path)
                        misread += [field.nullable for field in told] != nullable(whole)
                    wh.cache.clear()
                    with suppress(CorruptPartitionError):
                        pd.testing.assert_frame_equal(wh.trades("AAPL", DAY, DAY), expected)
        finally:
            path.write_bytes(whole)
    assert misread >= len(expected.columns)


def nullable(file: bytes) -> list[bool]:
    return [field.nullable for field in pq.read_schema(pa.BufferReader(file))]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PAR1"),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes() + path.read_bytes()),
    ],
)
def test_a_partition_that_is_not_what_was_written_is_an_error(
    fragile: Made, damage: Callable[[Path], None]
) -> None:
    (path,) = fragile.partitions().values()
    whole = path.read_bytes()
    try:
        damage(path)
        with open_(fragile) as wh, pytest.raises(CorruptPartitionError) as caught:
            wh.trades("AAPL", DAY, DAY)
        assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(whole)


def test_a_catalog_that_is_none_is_an_error_in_one_line(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", DAY): [trade("AAPL", instant(DAY))]})
    made.update()
    made.layout.catalog.write_bytes(b"this is no catalog" * 1000)
    with open_(made) as wh, pytest.raises(StorageError, match="cannot be read") as caught:
        wh.trades("AAPL", DAY, DAY)
    assert "\n" not in str(caught.value)


# Many at once


def test_eight_threads_get_what_one_gets(market: Made) -> None:
    symbols = ["SPY", "AAPL", "BCpC", "BCPC", "NA"]
    first = DEMO.sessions[0]
    with open_(market) as wh:
        expected = {symbol: wh.trades(symbol, first, first) for symbol in symbols}
        wh.cache.clear()
        until = time.monotonic() + 2

        def work(seed: int) -> int:
            dice = np.random.default_rng(seed)
            turns = 0
            while time.monotonic() < until:
                symbol = symbols[int(dice.integers(len(symbols)))]
                frame = wh.trades(symbol, first, first)
                pd.testing.assert_frame_equal(frame, expected[symbol])
                frame["price"] *= -1
                frame.loc[0, "size"] = -1.0
                asked = wh.query("select count(*) as n from trades_of($s)", s=symbol)
                assert int(asked["n"][0]) >= len(frame)
                if dice.random() < 0.1:
                    wh.cache.clear()
                turns += 1
            return turns

        with ThreadPoolExecutor(8) as pool:
            assert min(pool.map(work, range(8))) > 0


def test_exchanges_name_the_ids_of_the_data(wh: Warehouse) -> None:
    assert wh.exchanges[12] == "XNAS"
    row = next(rows(wh.trades("AAPL", DAY, DAY), wh.exchanges))
    assert row.exchange == "XADF"  # type: ignore[union-attr]


def test_the_catalog_is_a_frame(wh: Warehouse) -> None:
    frame = wh.catalog()
    assert set(frame["data_type"]) == set(DATA_TYPES)
    assert int(frame.loc[frame["data_type"] == "trades", "rows"].sum()) == 55
    files = wh.catalog("source_files")
    ingested = files[files["state"] == "ingested"]
    assert ingested["day"].min() == pd.Timestamp(SESSIONS[0])
    assert list(wh.catalog("runs")["command"]) == ["update"]


def test_the_real_files_come_out_to_the_row(
    make_warehouse: MakeWarehouse, real_flatfiles: Path
) -> None:
    made = make_warehouse()
    made.configure(source__url=str(real_flatfiles))
    day = date(2013, 10, 8)
    made.update("minute_aggs", "day_aggs", start=day, end=day)
    expected: dict[str, list[tuple[int, float]]] = {}
    with gzip.open(real_flatfiles / day_key("minute_aggs", day), "rt") as lines:
        for row in csv.DictReader(lines):
            stamps = expected.setdefault(row["ticker"], [])
            stamps.append((int(row["window_start"]), float(row["close"])))
    with open_(made) as wh:
        assert wh.symbols("minute_aggs") == sorted(expected)
        for symbol, bars in expected.items():
            frame = wh.aggs(symbol, day, day)
            assert list(zip(ns(frame), frame["close"], strict=True)) == bars
            midnight = wh.aggs(symbol, day, day, freq="day", tz="America/New_York")
            assert [f"{stamp:%F %T}" for stamp in midnight["timestamp"]] == ["2013-10-08 00:00:00"]


def test_a_market_over_a_clock_change_keeps_its_days(make_warehouse: MakeWarehouse) -> None:
    days = (date(2025, 10, 31), date(2025, 11, 3))
    made = make_warehouse()
    write(Market(days, frozenset(), ("AAPL",), 400, 0, seed=3), made.source)
    made.update("trades", "day_aggs", start=days[0], end=days[1])
    with open_(made) as wh:
        opened = wh.aggs("AAPL", *days, freq="day")
        assert (opened["timestamp"].diff().iloc[1]) == timedelta(days=3, hours=1)
        for day in days:
            hour = wh.trades("AAPL", f"{day} 09:30", f"{day} 16:00", tz="America/New_York")
            clock = hour["timestamp"].dt.time
            assert len(hour) > 100
            assert clock.min() >= pd.Timestamp("09:30").time()
            assert clock.max() < pd.Timestamp("16:00").time()
