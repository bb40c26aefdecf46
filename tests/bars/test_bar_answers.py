"""`Warehouse.bars`: the same bars whatever is asked beside them and however the trades lie."""

from __future__ import annotations

import gzip
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import plain_bars
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from bar_cases import conditions
from building import Made, day_key, instant, trade
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warehouse import Warehouse
from warehouse.core.datatypes import DATA_TYPES, bar_type
from warehouse.errors import NoDataError, RequestError, SqlFileError
from warehouse.synthetic.files import write
from warehouse.synthetic.market import DEMO

MakeWarehouse = Callable[..., Made]
MARKET = replace(DEMO, sessions=DEMO.sessions[1:4], symbols=DEMO.symbols[:6],
                 trades_per_session=2_500)  # fmt: skip
FIRST, HALF_DAY, LAST = MARKET.sessions
LAYOUT = dict.fromkeys(DATA_TYPES, "symbol")
AGGS = ["symbol", "timestamp", "open", "high", "low", "close", "volume", "trades", "session"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Trades and the vendor's bars of a generated market, key → file."""
    folder = tmp_path_factory.mktemp("market")
    paths = write(MARKET, folder, ["trades", "minute_aggs", "day_aggs"])
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse, files: dict[str, bytes]) -> Made:
    made = make_warehouse(files, storage__layout={**LAYOUT, "trades": "symbol"})
    made.update()
    return made


@pytest.fixture(scope="module")
def of_market(make_warehouse: MakeWarehouse, files: dict[str, bytes]) -> Made:
    """The same trades in the other layout, from files whose lines are in no order."""
    dice = random.Random(15)
    mixed = {}
    for key, content in files.items():
        if "trades" in key:
            head, *lines = gzip.decompress(content).decode().splitlines()
            dice.shuffle(lines)
            mixed[key] = "\n".join([head, *lines]) + "\n"
    made = make_warehouse(mixed, storage__layout={**LAYOUT, "trades": "market"})
    made.update("trades")
    return made


@pytest.fixture(scope="module")
def wh(made: Made) -> Any:
    with Warehouse(made.root) as opened:
        yield opened


@pytest.fixture(scope="module")
def minutes(wh: Warehouse) -> pa.Table:
    """All minutes of the generated market."""
    return wh.bars(list(MARKET.symbols), FIRST, LAST, hours="all", to="arrow")


# --- against what is independent


@pytest.mark.parametrize(
    ("kind", "every", "hours"), [("minute_aggs", "1m", "all"), ("day_aggs", "1d", None)]
)
def test_a_vendor_that_keeps_the_rules_has_the_same_bars(
    wh: Warehouse, kind: str, every: str, hours: Any
) -> None:
    ours = wh.bars("*", FIRST, LAST, every=every, hours=hours, to="arrow")
    theirs = wh.load(kind, "*", FIRST, LAST, to="arrow")
    assert ours.num_rows > (1_000 if kind == "minute_aggs" else 15)
    assert ours.select(AGGS).to_pylist() == theirs.select(AGGS).to_pylist()


def test_bars_and_what_is_in_none_are_the_whole_tape(made: Made, wh: Warehouse) -> None:
    tape = made.table("trades").to_pylist()
    rules = conditions().to_pylist()
    for every, hours in (("1m", "all"), ("7m", "regular"), ("1h", "extended"), ("1d", "all")):
        bars = wh.bars("*", FIRST, LAST, every=every, hours=hours)
        rest = bars.attrs["unbarred"]
        every_ns = {"1m": 60, "7m": 420, "1h": 3600, "1d": 0}[every] * 10**9
        rows = [{**row, "timestamp": row["timestamp"].value} for row in tape]
        windows = plain_bars.windows(rows, rules, every_ns, hours)
        counted = [each for window in windows for each in window.trades if each[3]]
        shares = sum(plain_bars._exact(each[0]["size"]) for each in counted)
        assert bars["trades"].sum() + rest["trades"] == len(counted)
        assert bars["volume"].sum() + rest["shares"] == pytest.approx(float(shares), rel=1e-13)
        assert len(bars) + rest["windows"] == len(windows)


# --- what else is asked has no say


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_bar_does_not_depend_on_the_start_or_the_end(wh: Warehouse, data: st.DataObject) -> None:
    every = data.draw(st.sampled_from(["1m", "7m", "1h", "1d"]))
    fill = every != "1d" and data.draw(st.booleans())
    begins = (
        plain_bars.at(HALF_DAY, plain_bars.time(4)) + data.draw(st.integers(-3_600, 30_000)) * 10**9
    )
    ends = begins + data.draw(st.integers(1, 200_000)) * 10**9
    asked = {"every": every, "hours": "all", "fill": fill, "missing": "ignore", "to": "arrow"}
    whole = wh.bars(["F", "SPY"], FIRST, LAST, **asked)
    part = wh.bars(
        ["F", "SPY"], *(pd.Timestamp(each, tz="UTC") for each in (begins, ends)), **asked
    )
    stamps = {name: whole[name].cast(pa.int64()) for name in ("timestamp", "end_timestamp")}
    inside = pc.and_(
        pc.greater_equal(stamps["timestamp"], begins), pc.less_equal(stamps["end_timestamp"], ends)
    )
    assert part.to_pylist() == whole.filter(inside).to_pylist()


def test_a_symbols_bars_do_not_depend_on_other_symbols(wh: Warehouse, minutes: pa.Table) -> None:
    for symbol in MARKET.symbols:
        alone = wh.bars(symbol, FIRST, LAST, hours="all", to="arrow")
        assert alone.to_pylist() == minutes.filter(pc.equal(minutes["symbol"], symbol)).to_pylist()


def test_symbols_come_in_the_order_asked(wh: Warehouse) -> None:
    asked = ["SPY", "AAPL", "NA", "F"]
    bars = wh.bars(asked, FIRST, LAST, every="1h")
    assert bars["symbol"].drop_duplicates().tolist() == asked
    assert all(part["timestamp"].is_monotonic_increasing for _, part in bars.groupby("symbol"))


def test_all_symbols_are_the_symbols_by_name(wh: Warehouse, minutes: pa.Table) -> None:
    everything = wh.bars("*", FIRST, LAST, hours="all", to="arrow")
    by_name = minutes.sort_by([("symbol", "ascending"), ("timestamp", "ascending")])
    assert everything.to_pylist() == by_name.to_pylist()


@pytest.mark.parametrize("every", ["1m", "1h", "1d"])
def test_layouts_and_the_order_of_raw_lines_change_no_byte(
    wh: Warehouse, of_market: Made, every: str
) -> None:
    with Warehouse(of_market.root) as other:
        for symbols in ("*", ["SPY", "F", "BRK.B"]):
            one, two = (
                each.bars(symbols, FIRST, LAST, every=every, hours="all", to="arrow")
                for each in (wh, other)
            )
            assert content(one) == content(two)


def content(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_pylist(table.to_pylist(), table.schema)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def test_a_bar_is_in_the_answer_where_it_lies_wholly_within(wh: Warehouse) -> None:
    asked = f"{FIRST} 10:00", f"{FIRST} 11:00"
    bars = wh.bars("SPY", *asked, every="7m", tz="America/New_York")
    # The grid begins at 09:30: 09:58 is cut by the start, and 10:54 to 11:01 by the end.
    assert bars["timestamp"].iloc[0] >= pd.Timestamp(asked[0], tz="America/New_York")
    assert f"{bars['timestamp'].iloc[0]:%H:%M}" == "10:05"
    assert bars["end_timestamp"].iloc[-1] <= pd.Timestamp(asked[1], tz="America/New_York")


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_trades_of_one_stamp_and_number_go_by_exchange_and_id(
    make_warehouse: MakeWarehouse, layout: str
) -> None:
    day = date(2024, 1, 31)
    at = instant(day, "10:00")
    lines = [
        trade("AAPL", at, 5, price=3, exchange=12, id="a"),
        trade("AAPL", at, 5, price=2, exchange=4, id="b"),
        trade("AAPL", at, 5, price=1, exchange=4, id="a"),
        trade("MSFT", at, 5, price=7),
    ]
    for order in (lines, lines[::-1]):
        made = make_warehouse(
            {day_key("trades", day): order}, storage__layout={**LAYOUT, "trades": layout}
        )
        made.update("trades")
        with Warehouse(made.root) as wh:
            bars = wh.bars("*", day)
        assert bars[["open", "close"]].to_numpy().tolist() == [[1, 3], [7, 7]]


# --- forms and columns


@pytest.mark.parametrize("question", [{}, {"every": "1d"}, {"by": "tick", "every": 20}])
def test_an_answer_in_arrow_has_no_chunk_without_rows(
    wh: Warehouse, question: dict[str, Any]
) -> None:
    table = wh.bars("SPY", FIRST, to="arrow", **question)
    assert {len(chunk) == 0 for column in table.columns for chunk in column.chunks} == {False}


def test_columns_are_those_of_the_vendors_bars_and_more(wh: Warehouse) -> None:
    frame = wh.bars("SPY", FIRST, every="1d")
    assert list(frame.columns) == bar_type(is_day=True).columns.names
    assert set(wh.load("day_aggs", "SPY", FIRST).columns) <= set(frame.columns)
    minute = wh.bars("SPY", FIRST)
    assert list(minute.columns) == bar_type().columns.names
    filled = wh.bars("SPY", FIRST, fill=True)
    assert list(filled.columns) == bar_type(is_filled=True).columns.names


def test_columns_index_zone_and_form_are_as_for_load(wh: Warehouse) -> None:
    few = wh.bars("SPY", FIRST, columns=["close", "vwap"], index="timestamp", tz="America/New_York")
    assert list(few.columns) == ["close", "vwap"]
    assert few.index.name == "timestamp"
    assert str(few.index.tz) == "America/New_York"
    assert f"{few.index[0]:%H:%M}" == "09:30"
    whole = wh.bars("SPY", FIRST, to="arrow")
    polars = wh.bars("SPY", FIRST, to="polars")
    assert isinstance(whole, pa.Table)
    assert isinstance(polars, pl.DataFrame)
    assert polars.to_arrow().column_names == whole.column_names
    assert polars["close"].to_list() == whole["close"].to_pylist()
    assert few["close"].tolist() == whole["close"].to_pylist()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"every": "1w"}, "every = '1w'"),
        ({"every": 0}, "every = 0"),
        ({"every": "90x"}, "every = '90x'"),
        ({"every": "0m"}, "every = '0m'"),
        ({"every": "2d"}, "every = '2d'"),
        ({"every": "25h"}, "every = '25h'"),
        ({"every": "-1m"}, "every = '-1m'"),
        ({"every": "1 m"}, "every = '1 m'"),
        ({"every": None}, "every = None"),
        ({"every": 5}, "every = 5"),
        ({"hours": "rth"}, "hours = 'rth'"),
        ({"by": "ticks"}, "by = 'ticks'"),
        ({"excess": "keep"}, "excess = 'keep'"),
        ({"span": 0}, "span = 0"),
        ({"fill": True, "every": "1d"}, "fill = True"),
        ({"columns": ["bid"]}, "bid"),
        ({"to": "numpy"}, "to = 'numpy'"),
        ({"tz": "Mars"}, "tz = 'Mars'"),
        ({"missing": "skip"}, "missing = 'skip'"),
    ],
)
def test_an_argument_that_makes_no_sense_is_one_line(
    wh: Warehouse, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(RequestError) as caught:
        wh.bars("SPY", FIRST, **arguments)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_an_error_or_left_out(wh: Warehouse) -> None:
    with pytest.raises(NoDataError, match="NOPE"):
        wh.bars(["SPY", "NOPE"], FIRST)
    assert set(wh.bars(["SPY", "NOPE"], FIRST, missing="ignore")["symbol"]) == {"SPY"}
    with pytest.raises(NoDataError):
        wh.bars("SPY", FIRST - timedelta(days=30))
    empty = wh.bars("NOPE", FIRST, missing="ignore")
    assert len(empty) == 0
    assert list(empty.columns) == bar_type().columns.names


# --- what an answer rests on


@pytest.fixture
def own(make_warehouse: MakeWarehouse) -> Made:
    """Two sessions of one symbol: a plain trade, an odd lot, and one of an unknown condition."""
    days = (date(2024, 1, 30), date(2024, 1, 31))
    made = make_warehouse(
        {
            day_key("trades", day): [
                trade("AAPL", instant(day, "10:00"), 1, price=10),
                trade("AAPL", instant(day, "10:00"), 2, price=12, size=5, conditions="37"),
                trade("AAPL", instant(day, "10:00"), 3, price=11, conditions="14"),
                trade("AAPL", instant(day, "10:01"), 4, price=11, conditions="56"),
                trade("AAPL", instant(day, "10:00"), 5, price=99, correction=8, id="2"),
            ]
            for day in days
        },
        storage__layout={**LAYOUT, "trades": "symbol"},
    )
    made.update("trades")
    return made


def prints_of(made: Made) -> tuple[str, list[tuple[float, float]]]:
    with Warehouse(made.root) as wh:
        bars = wh.bars("AAPL", "2024-01-31")
        assert bars.equals(wh.bars("AAPL", "2024-01-31"))
        return bars.attrs["fingerprint"], [*zip(bars["high"], bars["close"], strict=True)]


def test_a_changed_rule_makes_old_answers_unreachable(own: Made) -> None:
    with Warehouse(own.root) as wh:
        old = wh.bars("AAPL", "2024-01-31")
        assert old["high"].tolist() == [11, 11]
        path = own.root / "config/trade_conditions.csv"
        text = path.read_text("utf-8")
        assert "37,Odd Lot Trade,false,false,true" in text
        path.write_text(text.replace("37,Odd Lot Trade,false,false", "37,Odd Lot Trade,true,true"))
        own.put(day_key("trades", date(2024, 1, 29)), [trade("MSFT", instant(date(2024, 1, 29)))])
        own.update("trades")
        new = wh.bars("AAPL", "2024-01-31")
        assert new["high"].tolist() == [12, 11]
        assert new.attrs["fingerprint"] != old.attrs["fingerprint"]


def test_a_changed_statement_makes_old_answers_unreachable_and_a_comment_does_not(
    own: Made,
) -> None:
    before, told = prints_of(own)
    path = own.root / "sql/bars/bars.sql"
    text = path.read_text("utf-8")
    path.write_text(text.replace("with\n", "-- a word of my own\nwith\n", 1), "utf-8")
    assert prints_of(own) == (before, told)
    path.write_text(text.replace("max(price) filter", "max(price + 1) filter"), "utf-8")
    after, changed = prints_of(own)
    assert after != before
    assert changed == [(12, 11), (12, 11)]
    path.write_text(text, "utf-8")
    assert prints_of(own) == (before, told)


def test_what_has_no_part_in_a_bar_changes_no_fingerprint(own: Made) -> None:
    before = prints_of(own)
    path = own.root / "sql/features/spread.sql"
    path.write_text(path.read_text("utf-8") + "\n-- changed\n", "utf-8")
    filled = own.root / "sql/bars/filled.sql"
    filled.write_text(filled.read_text("utf-8").replace("true as is_bar", "not false as is_bar"))
    own.put(day_key("trades", date(2024, 2, 1)), [trade("AAPL", instant(date(2024, 2, 1)))])
    own.put(day_key("trades", date(2024, 1, 29)), [trade("MSFT", instant(date(2024, 1, 29)))])
    own.update("trades")
    assert prints_of(own) == before


def test_what_another_answers_beside_it_has_another_fingerprint(own: Made) -> None:
    with Warehouse(own.root) as wh:
        asked: list[dict[str, Any]] = [
            {}, {"every": "5m"}, {"hours": "all"}, {"fill": True}, {"every": "1d"},
        ]  # fmt: skip
        marks = [wh.bars("AAPL", "2024-01-31", **each).attrs["fingerprint"] for each in asked]
        marks.append(wh.bars("AAPL", "2024-01-30").attrs["fingerprint"])
        assert len({*marks}) == len(marks)


def test_restated_trades_make_old_answers_unreachable(own: Made) -> None:
    before = prints_of(own)
    day = date(2024, 1, 31)
    own.put(day_key("trades", day), [trade("AAPL", instant(day, "10:00"), 1, price=20)])
    (own.root / f"data/raw/trades/{day:%Y/%m/%Y-%m-%d}.csv.gz").unlink()
    own.update("trades")
    after = prints_of(own)
    assert after[0] != before[0]
    assert after[1] == [(20, 20)]


def test_a_warehouse_without_the_statements_uses_the_shipped_ones(own: Made) -> None:
    before = prints_of(own)
    for path in (own.root / "sql/bars").iterdir():
        path.unlink()
    (own.root / "sql/bars").rmdir()
    assert prints_of(own) == before


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("read_csv('/etc/passwd')", "read_csv"),
        ("read_parquet('x.parquet')", "read_parquet"),
        ("'x.parquet'", "x.parquet"),
        ("partitions", "partitions"),
        ("quotes", "quotes"),
    ],
)
def test_a_statement_that_reads_anything_else_is_refused_by_name(
    own: Made, source: str, told: str
) -> None:
    path = own.root / "sql/bars/bars.sql"
    text = path.read_text("utf-8")
    assert "from windowed" in text
    path.write_text(text.replace("from windowed", f"from {source}"), "utf-8")
    with Warehouse(own.root) as wh, pytest.raises(SqlFileError) as caught:
        wh.bars("AAPL", "2024-01-31")
    assert "sql/bars/bars.sql" in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["random() * price", "now()", "getenv('HOME')"])
def test_a_statement_whose_answer_may_change_is_refused(own: Made, change: str) -> None:
    path = own.root / "sql/bars/bars.sql"
    text = path.read_text("utf-8")
    path.write_text(text.replace("max(price)", f"max({change})"), "utf-8")
    with Warehouse(own.root) as wh, pytest.raises(SqlFileError, match="rests on"):
        wh.bars("AAPL", "2024-01-31")


@pytest.mark.parametrize("large", [{"price": 1e13}, {"size": 1e15}], ids=["price", "size"])
def test_a_trade_that_bars_cannot_hold_is_named_and_keeps_no_other_symbol(
    make_warehouse: MakeWarehouse, large: dict[str, float]
) -> None:
    day = date(2024, 1, 31)
    trades = [
        trade("AAPL", instant(day, "10:00"), 1),
        trade("MSFT", instant(day, "11:00"), 2, **large),
    ]
    made = make_warehouse({day_key("trades", day): trades})
    made.update("trades")
    with Warehouse(made.root) as wh:
        named = r"the trade of MSFT at 2024-01-31 16:00:00 \(UTC\): its (price|size) is 1e\+1"
        with pytest.raises(SqlFileError, match=named):
            wh.bars(["AAPL", "MSFT"], day)
        assert len(wh.bars("AAPL", day)) == 1


def test_an_unknown_condition_is_told_once(own: Made, caplog: pytest.LogCaptureFixture) -> None:
    with Warehouse(own.root) as wh, caplog.at_level(logging.WARNING, "warehouse"):
        bars = wh.bars("AAPL", "2024-01-30", "2024-01-31")
        assert bars.attrs["unknown_conditions"] == {"56": 2}
        assert caplog.text.count("56 (2)") == 1
        wh.bars("AAPL", "2024-01-30", "2024-01-31")
        assert caplog.text.count("56 (2)") == 1
    assert bars["close"].tolist() == [11, 11, 11, 11]


def test_the_catalogs_older_table_of_conditions_has_no_dates(own: Made) -> None:
    before = prints_of(own)
    with duckdb.connect(str(own.layout.catalog)) as connection:
        names = [name for (name,) in connection.execute(
            "select column_name from duckdb_columns() where table_name = 'trade_conditions'"
            " and column_name like 'valid_%'"
        ).fetchall()]  # fmt: skip
        for name in names:
            connection.execute(f"alter table trade_conditions drop column {name}")
    assert prints_of(own)[1] == before[1]


def test_an_answer_can_be_written(wh: Warehouse, tmp_path: Path) -> None:
    table = wh.bars("SPY", FIRST, to="arrow")
    pq.write_table(table, tmp_path / "bars.parquet")
    assert pq.read_table(tmp_path / "bars.parquet").equals(table)


@pytest.mark.parametrize("every", ["7m", "47m", "5h", "12h", "24h"])
def test_no_window_reaches_beyond_its_session(make_warehouse: MakeWarehouse, every: str) -> None:
    first, second = date(2024, 1, 30), date(2024, 1, 31)
    lines = {
        day: [
            trade("A", instant(day, clock) + 7, price=n, size=10**n)
            for n, clock in enumerate(("00:00", "03:59", "10:00", "17:00", "20:00", "23:59"), 1)
        ]
        for day in (first, second)
    }
    made = make_warehouse({day_key("trades", day): rows for day, rows in lines.items()})
    made.configure(bars__keep=[every])
    made.update()
    with Warehouse(made.root) as wh:
        asked = {"every": every, "hours": "all", "to": "arrow"}
        both = wh.bars("A", first, second, **asked)
        single = [wh.bars("A", day, **asked) for day in (first, second)]
        assert [pc.sum(each["volume"]).as_py() for each in single] == [1_111_110] * 2
        assert both.to_pylist() == pa.concat_tables(single).to_pylist()
        stamps, ends = both["timestamp"].to_pylist(), both["end_timestamp"].to_pylist()
        assert all(end <= later for end, later in zip(ends, stamps[1:], strict=False))
        assert wh.load(f"bars_{every}", "A", first, second, to="arrow")["volume"].equals(
            both["volume"]
        )
        macro = f"from bars_of('A', '{first}', '{first}', every := '{every}', hours := 'all')"
        assert wh.query(macro).volume.tolist() == single[0]["volume"].to_pylist()
