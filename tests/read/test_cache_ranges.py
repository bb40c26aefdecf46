"""A question within a range already held is answered out of it, and only while it is still true."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import building
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from building import Made, MakeWarehouse, day_key, instant, trade
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from warehouse import Warehouse
from warehouse.errors import NoDataError
from warehouse.read import partition_reader
from warehouse.read.frames import size_of

SYMBOLS = ("AAPL", "MSFT", "é")
DAYS = (date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 2))
CLOCKS = ("04:00", "09:30", "12:00", "15:59:59", "19:59:59")
COLUMNS = ("symbol", "timestamp", "price", "size", "exchange", "conditions", "sequence_number")
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"to": "polars"},
    {"to": "arrow"},
    {"tz": "America/New_York"},
    {"index": "timestamp"},
    {"index": ("timestamp", "symbol")},
    {"categories": True, "downcast": True},
    {"index": ("timestamp", "symbol"), "categories": ["conditions"], "downcast": True},
    {"to": "polars", "categories": True},
    {"to": "arrow", "categories": True, "downcast": True},
)
IS_LONG = os.environ.get("WAREHOUSE_TEST_LONG") == "1"


def lines(day: date, version: int) -> list[str]:
    """A session's trades. Versions differ in their rows, times, and in which symbols traded."""
    dice = np.random.default_rng([day.toordinal(), version])
    found = []
    for symbol in SYMBOLS:
        if dice.random() < 0.2:
            continue
        low, high = sorted(dice.choice(len(CLOCKS), 2, replace=False))
        start, end = (instant(day, CLOCKS[place]) for place in (low, high))
        stamps = np.sort(dice.integers(start, end, int(dice.integers(1, 120))))
        stamps[dice.random(len(stamps)) < 0.3] = stamps[0]
        for sequence, stamp in enumerate(np.sort(stamps), 1):
            found.append(
                trade(
                    symbol,
                    int(stamp),
                    sequence,
                    price=round(float(dice.random()) * 100, 2) + 0.01 + version,
                    size=(100, 0.25)[int(dice.integers(2))],
                    exchange=int(dice.integers(1, 20)),
                    conditions=("", "12", '"12,37"')[int(dice.integers(3))],
                )
            )
    return found or [trade("AAPL", instant(day), 1, price=1 + version)]


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    warehouse = make_warehouse({day_key("trades", day): lines(day, 1) for day in DAYS})
    warehouse.update("trades")
    return warehouse


@pytest.fixture(scope="module")
def opened(made: Made) -> Iterator[tuple[Warehouse, Warehouse]]:
    with Warehouse(made.root) as first, Warehouse(made.root) as second:
        yield first, second


moments = st.one_of(
    st.sampled_from(DAYS),
    st.builds(
        lambda day, clock, extra: pd.Timestamp(instant(day, clock) + extra, tz="UTC"),
        st.sampled_from(DAYS),
        st.sampled_from(CLOCKS),
        st.integers(0, 3600 * 10**9),
    ),
)
some_symbols = st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True)
some_columns = st.none() | st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True)


def same(one: Any, other: Any) -> bool:
    """Equal in values, types and everything else."""
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
        assert one.attrs["fingerprint"] == other.attrs["fingerprint"]
        assert type(one.index) is type(other.index)
        return True
    if isinstance(one, pa.Table):
        one.validate(full=True)
        return bool(one.schema.equals(other.schema) and one.to_pylist() == other.to_pylist())
    return bool(one.schema == other.schema and one.equals(other))


def within(begin: Any, end: Any, question: tuple[Any, Any]) -> bool:
    return begin <= question[0] and question[1] <= end


@settings(
    max_examples=1000 if IS_LONG else 150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    some_symbols,
    some_columns,
    st.tuples(moments, moments),
    st.tuples(moments, moments),
    st.sampled_from(SHAPES),
    st.data(),
)
def test_an_answer_cut_out_of_a_wider_one_is_the_one_that_would_be_read(
    opened: tuple[Warehouse, Warehouse],
    symbols: list[str],
    columns: list[str] | None,
    span: tuple[Any, Any],
    inner: tuple[Any, Any],
    shape: dict[str, Any],
    data: st.DataObject,
) -> None:
    held, cold = opened
    held.cache.clear()
    cold.cache.clear()
    all_bounds = sorted({bounds(moment, is_end=n % 2 == 1)
                         for n, moment in enumerate((*span, *inner))})  # fmt: skip
    stamps = [pd.Timestamp(bound, tz="UTC") for bound in all_bounds]
    begin, end = stamps[0], stamps[-1]
    wide = held.trades(symbols, begin, end, columns=columns, **shape)
    fewer = data.draw(st.lists(st.sampled_from(symbols), min_size=1, unique=True))
    names = columns or list(wide.columns if not isinstance(wide, pa.Table) else wide.column_names)
    names = [name for name in names if name not in shape.get("index", ())]
    part = None
    if names:
        part = data.draw(st.none() | st.lists(st.sampled_from(names), min_size=1, unique=True))
    part = part or names or columns
    middle = stamps[1:-1] or [begin, end]
    narrow = (fewer, middle[0], middle[-1])
    misses = held.cache.stats.misses
    bytes_held = held.cache.stats.bytes
    got = held.trades(*narrow, columns=part, **shape)
    expected = cold.trades(*narrow, columns=part, **shape)
    assert same(got, expected)
    has_stamps = columns is None or "timestamp" in columns or "timestamp" in shape.get("index", ())
    if has_stamps:
        assert held.cache.stats.misses == misses
        assert held.cache.stats.bytes == bytes_held == size_of(wide)
    # Whoever writes to it writes to nothing of anybody else's.
    if isinstance(got, pd.DataFrame) and got.size:
        for place in range(got.shape[1]):
            got.iloc[0, place] = got.iloc[-1, place]
        got["more"] = 1
        assert same(held.trades(*narrow, columns=part, **shape), expected)
        assert same(held.trades(symbols, begin, end, columns=columns, **shape), wide)


def bounds(moment: Any, *, is_end: bool) -> int:
    if isinstance(moment, pd.Timestamp):
        return int(moment.value)
    return instant(moment, "23:59:59", 999_999_999) + 1 if is_end else instant(moment, "00:00")


def test_nothing_is_read_from_the_disk(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    with Warehouse(made.root) as wh:
        wh.trades(SYMBOLS, DAYS[0], DAYS[-1])

        def refuse(*_: Any) -> None:
            raise AssertionError("a partition was opened")

        monkeypatch.setattr(partition_reader, "open_partition", refuse)
        assert len(wh.trades("AAPL", DAYS[1], DAYS[1], columns=["price"])) > 0
        assert len(wh.trades(["é", "AAPL"], f"{DAYS[1]} 10:00", f"{DAYS[2]} 12:00")) > 0
        assert wh.cache.stats.entries == 1


@pytest.mark.parametrize("form", ["pandas", "arrow"])
def test_a_small_part_does_not_keep_a_large_answer_alive(
    make_warehouse: MakeWarehouse, form: str
) -> None:
    day = DAYS[0]
    rows = [trade("AAPL", instant(day, "10:00", n), n) for n in range(1, 20_001)]
    warehouse = make_warehouse({day_key("trades", day): rows})
    warehouse.update("trades")
    columns = ["timestamp", "price", "id"]
    with Warehouse(warehouse.root) as wh:
        wh.cache.clear()
        wide = wh.trades("AAPL", day, day, columns=columns, to=form)
        start = pd.Timestamp(instant(day, "10:00", 100), tz="UTC")
        part = wh.trades("AAPL", start, start + pd.Timedelta(50, "ns"), columns=columns, to=form)
        assert (len(part), wh.cache.stats.misses) == (50, 1)
        for name in columns:
            assert not set(buffers(part, name)) & set(buffers(wide, name))


def buffers(frame: Any, name: str) -> list[int]:
    """Addresses at which a column's memory begins."""
    if isinstance(frame, pd.DataFrame):
        values = frame[name].array
        if hasattr(values, "asi8"):
            values = values.asi8
        if isinstance(values, pd.arrays.NumpyExtensionArray | np.ndarray):
            array = np.asarray(values)
            while isinstance(array.base, np.ndarray):
                array = array.base
            return [array.ctypes.data]
        column = pa.chunked_array(values.__arrow_array__())
    else:
        column = frame[name]
    return [b.address for chunk in column.chunks for b in chunk.buffers() if b is not None]


def test_what_is_missing_is_missed_also_where_the_rest_is_held(made: Made) -> None:
    with Warehouse(made.root) as wh:
        wh.trades("AAPL", "2024-01-29", DAYS[-1], missing="ignore")
        with pytest.raises(NoDataError, match="never ingested: 2024-01-29"):
            wh.trades("AAPL", "2024-01-29", DAYS[0])
        with pytest.raises(NoDataError, match="no symbol 'AAPLE'"):
            wh.trades(["AAPL", "AAPLE"], DAYS[0], DAYS[0])
        assert len(wh.trades("AAPL", "2024-01-29", DAYS[0], missing="ignore")) > 0
        assert wh.cache.stats.misses == 1


def test_rows_that_a_restatement_moved_away_are_not_cut_out_of_the_old_answer(
    make_warehouse: MakeWarehouse,
) -> None:
    day = DAYS[0]
    key = day_key("trades", day)
    made = make_warehouse({key: [trade("AAPL", instant(day, "10:00"))]})
    made.update("trades")
    with Warehouse(made.root) as wh:
        assert len(wh.trades("AAPL", day, day)) == 1
        made.put(key, [trade("AAPL", instant(day, "15:00"))])
        made.update("trades")
        # The new partition has nothing before noon, so nothing of it is asked for.
        assert len(wh.trades("AAPL", f"{day} 09:00", f"{day} 12:00")) == 0
        assert len(wh.trades("AAPL", f"{day} 14:00", f"{day} 16:00")) == 1


@pytest.mark.torture
def test_eight_threads_beside_a_writer_get_no_wrong_frame(make_warehouse: MakeWarehouse) -> None:
    """They ask for days, hours and columns of a few symbols, and write to what they get."""
    day, count = DAYS[0], 600
    key = day_key("trades", day)

    def content(generation: int) -> list[str]:
        return [
            trade(symbol, instant(day, "10:00", n), n + 1, price=generation, size=n + 1)
            for symbol in SYMBOLS
            for n in range(count)
        ]

    made = make_warehouse({key: content(1)}, storage__max_cache_memory_gb=400_000 / 1024**3)
    made.update("trades")
    done = threading.Event()
    start = pd.Timestamp(instant(day, "10:00"), tz="UTC")

    def work(seed: int) -> int:
        dice = np.random.default_rng(seed)
        turns = 0
        while not done.is_set():
            symbols = list(dice.permutation(SYMBOLS)[: dice.integers(1, 4)])
            low, high = sorted(int(n) for n in dice.integers(0, count + 1, 2))
            begin, end = start + pd.Timedelta(low, "ns"), start + pd.Timedelta(high, "ns")
            if dice.random() < 0.3:
                low, high, begin, end = 0, count, day, day
            columns = ["timestamp", "symbol", "size", "price"][: dice.integers(3, 5)]
            shape = SHAPES[int(dice.integers(len(SHAPES)))]
            got = wh.trades(symbols, begin, end, columns=columns, **shape)
            values = plain(got)
            sizes = np.tile(np.arange(low + 1, high + 1), len(symbols)).astype(float)
            if shape.get("index") == ("timestamp", "symbol"):
                sizes.sort()
            np.testing.assert_array_equal(values["size"], sizes)
            if "price" in values:
                assert values["price"].nunique() <= 1
                generations.update(values["price"])
            if isinstance(got, pd.DataFrame):
                got["size"] *= -1
                got.loc[:, "size"] = 0
            if dice.random() < 0.02:
                wh.cache.clear()
            turns += 1
        return turns

    generations: set[float] = set()
    with Warehouse(made.root) as wh, ThreadPoolExecutor(8) as pool:
        workers = [pool.submit(work, seed) for seed in range(8)]
        until = time.monotonic() + (10 if IS_LONG else 0)
        generation = 1
        try:
            while generation < 4 or time.monotonic() < until:
                generation += 1
                made.put(key, content(generation))
                made.update("trades")
                time.sleep(0.2)
        finally:
            done.set()
        assert min(worker.result() for worker in workers) > 0
        assert wh.cache.stats.hits > 0
        assert wh.cache.stats.bytes <= 400_000
        assert set(wh.trades("AAPL", day, day)["price"]) == {float(generation)}
    assert len(generations) > 1


# The model


class Model(RuleBasedStateMachine):
    """A warehouse that is asked, published to and cleared, beside the plain lines of its files."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.version = dict.fromkeys(DAYS, 0)
        self.rows: dict[date, pd.DataFrame] = {}
        self.answers: list[tuple[Any, Any]] = []

    @initialize(version=st.integers(1, 50))
    def open(self, version: int) -> None:
        # It holds two or three answers: the oldest go all the time.
        self.made = building.make(
            Path(self.folder.name), storage__max_cache_memory_gb=60_000 / 1024**3
        )
        for number, day in enumerate(DAYS):
            self.write(day, version + number)
        self.made.update("trades")
        self.wh = Warehouse(self.made.root)

    def write(self, day: date, version: int) -> None:
        content = lines(day, version)
        self.made.put(day_key("trades", day), content)
        records = [line.replace('"12,37"', "12;37").split(",") for line in content]
        self.rows[day] = pd.DataFrame(
            {
                "symbol": [record[0] for record in records],
                "timestamp": [int(record[8]) for record in records],
                "price": [float(record[6]) for record in records],
                "size": [float(record[9]) for record in records],
                "exchange": [int(record[3]) for record in records],
                "conditions": [record[1].replace(";", ",") for record in records],
                "sequence_number": [int(record[7]) for record in records],
            }
        )

    @rule(day=st.sampled_from(DAYS), version=st.integers(1, 50))
    def publish(self, day: date, version: int) -> None:
        self.write(day, version)
        self.made.update("trades")

    @rule(
        symbols=some_symbols,
        columns=some_columns,
        start=moments,
        end=moments,
        shape=st.sampled_from(SHAPES),
    )
    def ask(
        self,
        symbols: list[str],
        columns: list[str] | None,
        start: Any,
        end: Any,
        shape: dict[str, Any],
    ) -> None:
        low, high = bounds(start, is_end=False), bounds(end, is_end=True)
        if high < low or (high == low and not isinstance(end, pd.Timestamp)):
            return
        got = self.wh.trades(symbols, start, end, columns=columns, missing="ignore", **shape)
        self.check(got, symbols, columns, low, high, shape)
        self.answers = [*self.answers[-3:], (got, plain(got).copy())]

    @rule(shape=st.sampled_from(SHAPES))
    def ask_all(self, shape: dict[str, Any]) -> None:
        self.ask(list(SYMBOLS), list(COLUMNS), DAYS[0], DAYS[-1], shape)

    @rule(factor=st.integers(2, 9))
    def mutate(self, factor: int) -> None:
        if self.answers and isinstance(self.answers[-1][0], pd.DataFrame):
            got = self.answers.pop()[0]
            for name in got.columns:
                if pd.api.types.is_numeric_dtype(got[name]):
                    got[name] *= factor
                    got.iloc[: len(got) // 2, got.columns.get_loc(name)] = 0
            got["more"] = factor

    @rule()
    def clear(self) -> None:
        self.wh.cache.clear()

    def check(
        self,
        got: Any,
        symbols: list[str],
        columns: list[str] | None,
        low: int,
        high: int,
        shape: dict[str, Any],
    ) -> None:
        every = pd.concat([self.rows[day] for day in DAYS], ignore_index=True)
        every = every[(every["timestamp"] >= low) & (every["timestamp"] < high)]
        every = every[every["symbol"].isin(symbols)]
        order = every["symbol"].map(symbols.index)
        if shape.get("index") == ("timestamp", "symbol"):
            order = every["timestamp"]
        keys = pd.DataFrame(
            {"first": order, **{k: every[k] for k in ("symbol", "timestamp", "sequence_number")}}
        )
        by = ["first", "symbol", "timestamp", "sequence_number"]
        expected = every.loc[keys.sort_values(by).index].reset_index(drop=True)
        names = [*shape.get("index", ())] if isinstance(shape.get("index"), tuple) else []
        names += ["timestamp"] if shape.get("index") == "timestamp" else []
        names += [name for name in columns or COLUMNS if name not in names]
        pd.testing.assert_frame_equal(plain(got)[names], expected[names])

    @invariant()
    def answers_given_stay_as_they_were(self) -> None:
        for got, before in self.answers:
            pd.testing.assert_frame_equal(plain(got), before)

    @invariant()
    def the_cache_keeps_to_its_bound_and_knows_what_it_holds(self) -> None:
        if hasattr(self, "wh"):
            cache = self.wh.cache
            held = [size_of(one.frame) for one, _ in cache._held.values()]
            assert cache.stats.bytes == sum(held) <= cache.stats.max_bytes
            covering = {key for keys in cache._covering.values() for key in keys}
            assert covering <= set(cache._held)

    def teardown(self) -> None:
        if hasattr(self, "wh"):
            self.wh.close()
        self.folder.cleanup()


def plain(got: Any) -> pd.DataFrame:
    """An answer's values in plain types, however it was shaped."""
    if isinstance(got, pa.Table):
        got = pl.from_arrow(got)
    if isinstance(got, pl.DataFrame):
        got = got.cast({pl.Categorical: pl.String}).to_pandas()
    if got.index.names != [None]:
        got = got.reset_index()
    found = {}
    for name in got.columns:
        column = got[name]
        if name == "timestamp":
            column = column.dt.tz_convert("UTC").dt.as_unit("ns").astype(np.int64)
        elif name in ("price", "size"):
            column = column.astype(np.float64)
        elif name in ("exchange", "sequence_number"):
            column = column.astype(np.int64)
        elif name in ("symbol", "conditions"):
            column = column.astype(object).fillna("").astype("str")
        found[name] = column
    return pd.DataFrame(found)


TestModel = pytest.mark.torture(Model.TestCase)
TestModel.settings = settings(
    max_examples=100 if IS_LONG else 6,
    stateful_step_count=100 if IS_LONG else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
