"""The tape of many symbols comes out in one order, whole, bounded, and of one generation."""

import gc
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import synthetic_partitions
from building import (
    REPOSITORY,
    Made,
    MakeWarehouse,
    bar,
    day_key,
    instant,
    quote,
    symbol_key,
    trade,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warehouse import Warehouse
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import (
    CorruptPartitionError,
    NoDataError,
    RequestError,
    StorageError,
    SupersededError,
)
from warehouse.read.models import Aggregate, Quote, Trade, rows
from warehouse.read.stream import pinned_file
from warehouse.read.stream import stream as streaming
from warehouse.read.stream.stream import ORDER
from warehouse.store import parquet_writer

SESSIONS = (date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 2))
SYMBOLS = ("B", "AAPL", "BCPC", "BCpC", "Z")
"""Not in byte order; the last has quotes in one session and no trades."""

SPAN = (SESSIONS[0], SESSIONS[-1])


def market(data_type: str, day: date) -> list[str]:
    """A session in which nearly every row shares its stamp with others, of its symbol and not."""
    dice = random.Random(f"{data_type} {day}")
    lines = []
    for symbol in SYMBOLS[:-1] if data_type == "trades" or day != SESSIONS[1] else SYMBOLS:
        sequences = dice.sample(range(1, 1_000), 60)
        stamps = sorted(
            instant(day, "09:30", max(0, dice.randrange(-3, 12))) for _ in sequences[:50]
        )
        stamps += sorted(instant(day, "19:59:59", dice.randrange(4)) for _ in sequences[50:])
        for number, (stamp, sequence) in enumerate(zip(stamps, sequences, strict=True)):
            if data_type == "trades":
                row = trade(symbol, stamp, sequence, price=number + 1, id=f"{symbol}{number}")
            else:
                row = quote(symbol, stamp, sequence, bid=number + 1, ask=number + 2)
            lines.append(row)
    return lines


def bars(data_type: str, day: date) -> list[str]:
    if data_type == "day_aggs":
        return [bar(symbol, instant(day, "00:00"), volume=7) for symbol in SYMBOLS]
    return [
        bar(symbol, instant(day, clock), volume=number)
        for symbol in SYMBOLS
        for number, clock in enumerate(("09:30", "09:31", "19:59"))
    ]


@pytest.fixture(scope="module")
def small(make_warehouse: MakeWarehouse) -> Made:
    """Row groups of 32 rows: each partition has several."""
    files: dict[str, Any] = {}
    for day in SESSIONS:
        for data_type in ("trades", "quotes"):
            files[day_key(data_type, day)] = market(data_type, day)
        for data_type in ("minute_aggs", "day_aggs"):
            files[day_key(data_type, day)] = bars(data_type, day)
    made = make_warehouse(files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_writer, "ROW_GROUP_ROWS", 32)
        made.update()
    return made


@pytest.fixture
def wh(small: Made) -> Iterator[Warehouse]:
    with Warehouse(small.root) as opened:
        yield opened


@pytest.fixture(scope="module")
def frames(small: Made) -> dict[str, pd.DataFrame]:
    """All rows of each data type, as `load` has them."""
    with Warehouse(small.root) as wh:
        return {
            name: wh.load(name, SYMBOLS, *SPAN, missing="ignore").assign(type=name)
            for name in DATA_TYPES
        }


def expected(frames: dict[str, pd.DataFrame], types: Sequence[str]) -> pd.DataFrame:
    """The rows of several data types in order: pandas' own sort by all that the order rests on."""
    frame = pd.concat([frames[name] for name in types], ignore_index=True)
    frame["rank"] = frame["type"].map({name: rank for rank, name in enumerate(ORDER)})
    frame["bytes"] = frame["symbol"].map(lambda symbol: symbol.encode())
    if "sequence_number" not in frame:
        frame["sequence_number"] = 0
    # The tape's order within the partition decides what all these leave open.
    by = ["timestamp", "bytes", "rank", "sequence_number"]
    return frame.sort_values(by, kind="stable", ignore_index=True)


def table(batches: Any) -> pa.Table:
    return pa.Table.from_batches(list(batches), batches.schema)


def records(found: pa.Table, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Rows with stamps as nanoseconds, and absent values as None."""
    columns = {}
    for name in names or found.column_names:
        column = found[name]
        is_stamp = pa.types.is_timestamp(column.type)
        columns[name] = (column.cast(pa.int64()) if is_stamp else column).to_pylist()
    by_row = zip(*columns.values(), strict=True)
    return [dict(zip(columns, values, strict=True)) for values in by_row]


def plain(frame: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    return records(pa.Table.from_pandas(frame[list(names)], preserve_index=False), names)


# The order


@pytest.mark.parametrize(
    "types",
    [
        *(("trades",), ("quotes",), ("minute_aggs",), ("day_aggs",)),
        *(("trades", "quotes"), ("quotes", "trades"), tuple(DATA_TYPES)),
    ],
)
def test_rows_come_in_the_order_of_an_independent_sort(
    types: tuple[str, ...], wh: Warehouse, frames: dict[str, pd.DataFrame]
) -> None:
    stream = wh.stream(SYMBOLS, *SPAN, types, missing="ignore")
    found = table(stream)
    names = [name for name in found.column_names if name != "session"]
    assert found.num_rows > 10
    assert records(found, names) == plain(expected(frames, types), names)


def test_at_one_nanosecond_a_quote_comes_before_the_trades_and_a_bar_last(
    wh: Warehouse,
) -> None:
    found = table(wh.stream("AAPL", *SPAN, tuple(DATA_TYPES)))
    at = found.filter(
        pa.compute.equal(found["timestamp"].cast(pa.int64()), instant(SESSIONS[0], "09:30"))
    )
    types = at["type"].to_pylist()
    assert list(dict.fromkeys(types)) == ["quotes", "trades", "minute_aggs"]
    # Each in the order of its sequence numbers.
    for name in ("quotes", "trades"):
        of = [row["sequence_number"] for row in records(at) if row["type"] == name]
        assert len(of) > 1
        assert of == sorted(of)


def test_symbols_of_one_stamp_come_in_byte_order(wh: Warehouse) -> None:
    found = table(wh.stream(SYMBOLS, SESSIONS[0], SESSIONS[0], "day_aggs"))
    assert found["symbol"].to_pylist() == ["AAPL", "B", "BCPC", "BCpC", "Z"]


small_numbers = st.integers(1, 40)
instants = st.tuples(
    st.sampled_from(SESSIONS), st.sampled_from(("09:30", "19:59:59")), st.integers(-1, 13)
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    symbols=st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True),
    types=st.lists(st.sampled_from(list(DATA_TYPES)), min_size=1, unique=True),
    bounds=st.tuples(instants, instants, instants),
    batch_rows=st.one_of(small_numbers, st.just(65_536)),
    held=small_numbers,
    at_once=small_numbers,
    descriptors=st.sampled_from((0, 1, 3, 100)),
    workers=st.sampled_from((1, 2)),
)
def test_any_stretch_is_that_of_the_whole_however_little_is_held(
    symbols: list[str],
    types: list[str],
    bounds: Sequence[tuple[date, str, int]],
    batch_rows: int,
    held: int,
    at_once: int,
    descriptors: int,
    workers: int,
    small: Made,
    frames: dict[str, pd.DataFrame],
) -> None:
    first, middle, last = sorted(instant(*bound) for bound in bounds)
    names = ["timestamp", "symbol", *(["sequence_number"] if "trades" in types else [])]
    whole = expected(frames, types)
    whole = whole[whole["symbol"].isin(symbols)]
    stamps = whole["timestamp"].astype("int64")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAREHOUSE_PROCESSING__PARALLEL_WORKERS", str(workers))
        patch.setattr(streaming, "_SLICE_ROWS", held)
        patch.setattr(streaming, "_SLICE_ROWS_OF_TAPE", 1)
        patch.setattr(streaming, "_FEWEST_AHEAD", at_once)
        patch.setattr(streaming, "_ROWS_AT_ONCE", at_once)
        patch.setattr(streaming, "_FEWEST_AT_ONCE", at_once)
        patch.setattr(streaming, "_BLOCK_ROWS", 7)
        patch.setattr(streaming, "_most_descriptors", lambda: descriptors)
        with Warehouse(small.root) as wh:
            for low, high in ((first, last), (first, middle), (middle, last)):
                start, end = (pd.Timestamp(bound, tz="UTC") for bound in (low, high))
                stream = wh.stream(
                    symbols, start, end, types,
                    columns=names, batch_rows=batch_rows, missing="ignore",
                )  # fmt: skip
                batches = list(stream)
                assert all(batch.num_rows == batch_rows for batch in batches[:-1])
                assert all(0 < batch.num_rows <= batch_rows for batch in batches[-1:])
                found = pa.Table.from_batches(batches, stream.schema)
                part = whole[(stamps >= low) & (stamps < high)]
                if len(types) > 1:
                    assert found["type"].to_pylist() == list(part["type"])
                assert records(found, names) == plain(part, names)


# What comes


def test_one_data_type_has_the_schema_and_rows_of_load(wh: Warehouse) -> None:
    for name in DATA_TYPES:
        loaded = wh.load(name, "AAPL", *SPAN, to="arrow", tz="America/New_York")
        stream = wh.stream("AAPL", *SPAN, name, tz="America/New_York")
        assert stream.schema == loaded.schema
        assert table(stream) == loaded


def test_several_data_types_have_the_union_of_columns_and_null_where_one_has_none(
    wh: Warehouse,
) -> None:
    stream = wh.stream("AAPL", *SPAN)
    both = [*DATA_TYPES["trades"].columns.names, *DATA_TYPES["quotes"].columns.names]
    assert stream.schema.names == ["type", *dict.fromkeys(both)]
    assert stream.schema.field("type").type == pa.dictionary(pa.int8(), pa.string())
    found = table(stream)
    for name in ("trades", "quotes"):
        loaded = wh.load(name, "AAPL", *SPAN, to="arrow")
        of = found.filter(pa.compute.equal(found["type"].cast(pa.string()), name))
        assert of.select(loaded.column_names) == loaded
        for column in set(both) - set(loaded.column_names):
            assert of[column].null_count == of.num_rows


def test_columns_come_in_the_order_asked(wh: Warehouse) -> None:
    stream = wh.stream("AAPL", *SPAN, "trades", columns=["price", "symbol"])
    assert stream.schema.names == ["price", "symbol"]
    loaded = wh.trades("AAPL", *SPAN, columns=["price", "symbol"], to="arrow")
    assert table(stream) == loaded
    mixed = wh.stream("AAPL", *SPAN, ("trades", "day_aggs"), columns=["close", "price"])
    assert mixed.schema.names == ["type", "close", "price"]


def test_a_data_type_may_have_the_columns_of_another_alone(wh: Warehouse) -> None:
    found = table(wh.stream("Z", *SPAN, missing="ignore", columns=["price", "bid_price"]))
    assert found["price"].null_count == found.num_rows == 60


def test_rows_are_those_of_load_in_the_same_order_with_names_of_exchanges(
    wh: Warehouse,
) -> None:
    found = list(wh.stream(SYMBOLS, *SPAN, tuple(DATA_TYPES), to="rows", missing="ignore"))
    keyed = []
    for name in DATA_TYPES:
        loaded = wh.load(name, SYMBOLS, *SPAN, missing="ignore")
        of = [(row.timestamp.value, row.symbol.encode(), ORDER.index(name), number, row)
              for number, row in enumerate(rows(loaded, wh.exchanges))]  # fmt: skip
        keyed += of
    keyed.sort(key=lambda item: item[:4])
    # As text, for no NaN equals another.
    assert list(map(repr, found)) == [repr(item[-1]) for item in keyed]
    assert {type(row) for row in found} == {Trade, Quote, Aggregate}
    assert {row.exchange for row in found if isinstance(row, Trade)} == {wh.exchanges[4]}


def test_bounds_are_half_open(wh: Warehouse) -> None:
    whole = table(wh.stream(SYMBOLS, *SPAN, missing="ignore", columns=["timestamp"]))
    stamps = whole["timestamp"].cast(pa.int64()).to_pylist()
    at = stamps[len(stamps) // 2]
    first, last = (pd.Timestamp(at + n, tz="UTC") for n in (0, 1))
    one = table(wh.stream(SYMBOLS, first, last, missing="ignore"))
    assert one.num_rows == stamps.count(at) > 1
    none = wh.stream(SYMBOLS, first, first, missing="ignore")
    assert list(none) == []


def test_nothing_in_range_is_no_batch_and_a_schema(wh: Warehouse) -> None:
    night = (f"{SESSIONS[0]} 21:00", f"{SESSIONS[0]} 22:00")
    stream = wh.stream("AAPL", *night, missing="ignore")
    assert list(stream) == []
    assert stream.schema.names[0] == "type"
    assert list(wh.stream("NOPE", *SPAN, missing="ignore")) == []
    assert list(wh.stream("AAPL", *night, to="rows", missing="ignore")) == []


def test_what_takes_arrow_streams_takes_a_stream(wh: Warehouse) -> None:
    count = len(wh.trades("AAPL", *SPAN))
    reader = pa.RecordBatchReader.from_stream(wh.stream("AAPL", *SPAN, "trades"))
    assert reader.read_all().num_rows == count
    assert pl.DataFrame(wh.stream("AAPL", *SPAN, "trades")).height == count
    stream = wh.stream("AAPL", *SPAN)
    with duckdb.connect() as connection:
        connection.register("tape", stream)
        found = connection.execute(
            "select type::varchar, count(*) from tape group by all order by 1"
        ).fetchall()
    assert found == [("quotes", len(wh.quotes("AAPL", *SPAN))), ("trades", count)]


# What is refused


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"data_types": "ticks"}, "data type = 'ticks': it may be trades"),
        ({"data_types": ()}, "data_types = (): name at least one of trades"),
        ({"columns": ["nope"]}, "columns = 'nope': trades and quotes have symbol, timestamp"),
        ({"data_types": "trades", "columns": ["bid_price"]}, "columns = 'bid_price': trades have"),
        ({"columns": ["price", "price"]}, "it stands twice"),
        ({"batch_rows": 0}, "batch_rows = 0: it may be 1 to 1,000,000"),
        ({"batch_rows": 1_000_001}, "it may be 1 to 1,000,000"),
        ({"batch_rows": 1.5}, "it may be 1 to 1,000,000"),
        ({"batch_rows": True}, "it may be 1 to 1,000,000"),
        ({"to": "pandas"}, "to = 'pandas': it may be arrow, rows"),
        ({"tz": "Mars"}, "tz = 'Mars'"),
        ({"missing": "maybe"}, "missing = 'maybe': it may be raise, ignore"),
        ({"to": "rows", "columns": ["price"]}, "rows have those of their model"),
        ({"to": "rows", "tz": "America/New_York"}, "the stamps of rows are in UTC"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused_at_once(
    options: dict[str, Any], text: str, wh: Warehouse
) -> None:
    with pytest.raises(RequestError) as caught:
        wh.stream("AAPL", *SPAN, **options)
    assert text in str(caught.value)


def test_what_is_not_there_is_told_at_once_as_load_tells_it(wh: Warehouse) -> None:
    with pytest.raises(NoDataError, match="no symbol 'aapl'"):
        wh.stream("aapl", *SPAN)
    with pytest.raises(NoDataError, match="never ingested: 2024-02-05"):
        wh.stream("AAPL", SESSIONS[0], "2024-02-05")


def test_more_symbols_than_the_memory_can_have_open_are_refused(
    small: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_OPEN_BYTES", 60_000_000)
    monkeypatch.setenv("WAREHOUSE_PROCESSING__MEMORY_LIMIT_GB", "0.5")
    with Warehouse(small.root) as wh:
        with pytest.raises(RequestError, match=r"5 of them.*processing\.memory_limit_gb = 0\.5"):
            wh.stream(SYMBOLS, *SPAN, missing="ignore")
        narrow = wh.stream(SYMBOLS, *SPAN, "trades", columns=["timestamp"], missing="ignore")
        assert table(narrow).num_rows == 4 * 4 * 60


# Leaving early


def open_partitions() -> int:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system does not tell which files are open")
    targets = []
    for link in folder.iterdir():
        try:
            targets.append(os.readlink(link))
        except OSError:
            continue
    return sum(target.split(" (")[0].endswith(".parquet") for target in targets)


def own_threads() -> list[str]:
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name.startswith("warehouse-stream")]


@pytest.fixture
def little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little is decoded at once that partitions stay open for a while."""
    monkeypatch.setattr(streaming, "_SLICE_ROWS", 8)
    monkeypatch.setattr(streaming, "_SLICE_ROWS_OF_TAPE", 1)
    monkeypatch.setattr(streaming, "_FEWEST_AHEAD", 8)
    monkeypatch.setattr(streaming, "_ROWS_AT_ONCE", 2)
    monkeypatch.setattr(streaming, "_FEWEST_AT_ONCE", 2)


def leave_by_close(wh: Warehouse) -> None:
    stream = wh.stream(SYMBOLS, *SPAN, missing="ignore", batch_rows=10)
    assert next(stream).num_rows == 10
    assert open_partitions() > 0
    assert own_threads()
    stream.close()
    assert list(stream) == []


def leave_by_with(wh: Warehouse) -> None:
    with wh.stream(SYMBOLS, *SPAN, missing="ignore", batch_rows=10) as stream:
        next(stream)


def leave_by_break(wh: Warehouse) -> None:
    for _ in wh.stream(SYMBOLS, *SPAN, missing="ignore", batch_rows=10):
        break


def leave_by_error(wh: Warehouse) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        for batch in wh.stream(SYMBOLS, *SPAN, missing="ignore", batch_rows=10):
            batch.num_rows / 0


def leave_rows_by_close(wh: Warehouse) -> None:
    stream = wh.stream(SYMBOLS, *SPAN, to="rows", missing="ignore", batch_rows=10)
    next(stream)
    assert open_partitions() > 0
    stream.close()


def leave_unbegun(wh: Warehouse) -> None:
    stream = wh.stream(SYMBOLS, *SPAN, missing="ignore")
    rows_ = wh.stream(SYMBOLS, *SPAN, to="rows", missing="ignore")
    assert open_partitions() > 0
    assert own_threads() == []
    del stream, rows_


def read_to_the_end(wh: Warehouse) -> None:
    stream = wh.stream(SYMBOLS, *SPAN, missing="ignore", batch_rows=10)
    for _ in stream:
        pass
    assert open_partitions() == 0
    assert own_threads() == []


@pytest.mark.usefixtures("little_at_once")
@pytest.mark.parametrize(
    "leave",
    [
        *(leave_by_close, leave_by_with, leave_by_break, leave_by_error, leave_rows_by_close),
        *(leave_unbegun, read_to_the_end),
    ],
)
def test_a_stream_that_is_left_lets_go_of_files_and_threads(
    leave: Callable[[Warehouse], None], wh: Warehouse
) -> None:
    gc.disable()  # it must not need the collector
    try:
        leave(wh)
        assert open_partitions() == 0
        assert own_threads() == []
    finally:
        gc.enable()


def test_threads_share_a_streams_batches_and_one_closes_it_for_another(wh: Warehouse) -> None:
    expected = sum(batch.num_rows for batch in wh.stream(SYMBOLS, *SPAN, missing="ignore"))
    counts: list[int] = []
    problems: list[BaseException] = []

    def take(stream: Iterator[pa.RecordBatch]) -> None:
        try:
            counts.extend(batch.num_rows for batch in stream)
        except BaseException as error:
            problems.append(error)

    shared = wh.stream(SYMBOLS, *SPAN, batch_rows=1, missing="ignore")
    threads = [threading.Thread(target=take, args=(shared,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(counts), problems) == (expected, [])

    for _ in range(20):
        left = wh.stream(SYMBOLS, *SPAN, batch_rows=1, missing="ignore")
        thread = threading.Thread(target=take, args=(left,))
        thread.start()
        left.close()
        thread.join()
        assert list(left) == []
    assert problems == []


def test_a_stream_outlives_its_warehouse(small: Made) -> None:
    with Warehouse(small.root) as wh:
        count = sum(batch.num_rows for batch in wh.stream("AAPL", *SPAN))
        stream = wh.stream("AAPL", *SPAN)
    assert sum(batch.num_rows for batch in stream) == count > 0


def test_no_more_files_are_open_than_may_be(small: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_most_descriptors", lambda: 3)
    with Warehouse(small.root) as wh, wh.stream(SYMBOLS, *SPAN, missing="ignore") as stream:
        assert open_partitions() == 3
        assert sum(batch.num_rows for batch in stream) == 4 * 4 * 60 * 2 + 60


def test_a_process_that_has_no_descriptor_left_can_still_begin(
    small: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Warehouse(small.root) as wh:
        whole = table(wh.stream("AAPL", *SPAN))
        opened = os.open

        def refuse(path: Any, *arguments: Any, **options: Any) -> int:
            if str(path).endswith(".parquet"):
                raise OSError(24, "Too many open files")
            return opened(path, *arguments, **options)

        monkeypatch.setattr(pinned_file.os, "open", refuse)
        stream = wh.stream("AAPL", *SPAN)
        monkeypatch.undo()
        assert open_partitions() == 0
        assert table(stream) == whole
        monkeypatch.setattr(pinned_file.os, "open", refuse)
        with pytest.raises(StorageError, match="cannot be opened: Too many open files"):
            list(wh.stream("AAPL", *SPAN))


# One generation


@pytest.fixture
def changing(make_warehouse: MakeWarehouse) -> Made:
    """Trades of two symbols in two months; what a test publishes it publishes here."""
    made = make_warehouse(
        {
            symbol_key("trades", day, symbol): priced(symbol, day, 1)
            for day in SESSIONS
            for symbol in ("A", "B")
        },
        source__layout="symbol",
    )
    made.update()
    return made


def priced(symbol: str, day: date, price: int) -> list[str]:
    return [trade(symbol, instant(day, "10:00", n), n, price=price) for n in range(1, 41)]


def restate(made: Made, symbol: str, day: date, price: int = 2) -> None:
    made.put(symbol_key("trades", day, symbol), priced(symbol, day, price))
    report = made.update()
    assert report.files


def prices(batches: Any) -> list[float]:
    return [price for batch in batches for price in batch.column("price").to_pylist()]


def test_a_publish_in_mid_stream_does_not_show_in_files_that_are_open(changing: Made) -> None:
    with Warehouse(changing.root) as wh:
        stream = wh.stream(["A", "B"], *SPAN, "trades", batch_rows=10)
        begun = prices([next(stream)])
        for day in SESSIONS:
            restate(changing, "A", day)
        assert set(begun + prices(stream)) == {1}
        again = prices(wh.stream(["A", "B"], *SPAN, "trades"))
        assert again.count(2) == again.count(1) == 160


@pytest.fixture
def few_descriptors(little_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are held: the first month's."""
    monkeypatch.setattr(streaming, "_most_descriptors", lambda: 2)


@pytest.mark.usefixtures("few_descriptors")
def test_a_partition_replaced_before_its_turn_ends_the_stream_and_tells_where(
    changing: Made,
) -> None:
    with Warehouse(changing.root) as wh:
        stream = wh.stream(["A", "B"], *SPAN, "trades", batch_rows=10, columns=["price"])
        given = prices([next(stream)])
        restate(changing, "B", SESSIONS[3])
        with pytest.raises(SupersededError) as caught:
            given.extend(price for batch in stream for price in prices([batch]))
        error = caught.value
        assert error.path == changing.layout.partition("trades", "B", date(2024, 2, 1))
        assert "was replaced by a publish before the stream got to it" in str(error)
        assert f"begin again with start={error.resume!r}" in str(error)
        assert list(stream) == []
        assert open_partitions() == 0

        # All of the old generation that lies before the replaced partition, and nothing else.
        assert given == [1.0] * 160
        assert pd.Timestamp(error.resume).value == instant(SESSIONS[2], "10:00", 1)
        # What begins again gives what is left, of the new generation.
        rest = wh.stream(["A", "B"], error.resume, SPAN[1], "trades")
        whole = table(wh.stream(["A", "B"], *SPAN, "trades"))
        assert table(rest) == whole.slice(160).combine_chunks()
        assert set(whole["price"].to_pylist()) == {1, 2}


@pytest.mark.usefixtures("few_descriptors")
def test_a_publish_of_other_partitions_does_not_matter(changing: Made) -> None:
    with Warehouse(changing.root) as wh:
        stream = wh.stream("A", SESSIONS[0], SESSIONS[1], "trades", batch_rows=10)
        next(stream)
        restate(changing, "B", SESSIONS[0])
        restate(changing, "A", SESSIONS[3])
        assert len(prices(stream)) == 70


@pytest.mark.usefixtures("few_descriptors")
def test_rows_say_it_too_and_so_does_a_stream_that_has_given_nothing(
    changing: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_most_descriptors", lambda: 0)
    with Warehouse(changing.root) as wh:
        found = wh.stream(["A", "B"], *SPAN, "trades", to="rows", batch_rows=10)
        given = [next(found)]
        unbegun = wh.stream("B", *SPAN, "trades")
        restate(changing, "B", SESSIONS[0])
        restate(changing, "B", SESSIONS[3])
        with pytest.raises(SupersededError) as caught:
            given.extend(found)
        resume = pd.Timestamp(caught.value.resume)
        assert {row.price for row in given} == {1}
        assert [row.timestamp for row in given if row.timestamp >= resume] == []
        with pytest.raises(SupersededError) as at_once:
            next(unbegun)
        assert pd.Timestamp(at_once.value.resume).value == instant(SESSIONS[0], "10:00", 1)


@pytest.mark.usefixtures("few_descriptors")
def test_a_partition_that_a_publish_removed_ends_the_stream_too(changing: Made) -> None:
    with Warehouse(changing.root) as wh:
        stream = wh.stream(["A", "B"], *SPAN, "trades", batch_rows=10)
        next(stream)
        changing.layout.partition("trades", "A", date(2024, 2, 1)).unlink()
        with pytest.raises(SupersededError):
            list(stream)


# Damage


def test_a_damaged_page_ends_the_stream_after_the_rows_before_it(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse()
    sessions = synthetic_partitions.weekdays(date(2024, 1, 2), date(2024, 2, 28))
    synthetic_partitions.catalog(
        made, synthetic_partitions.fill(made, "trades", sessions, {"A": 500, "B": 500})
    )
    path = made.layout.partition("trades", "B", date(2024, 2, 1))
    content = bytearray(path.read_bytes())
    with Warehouse(made.root) as wh:
        span = (sessions[0], sessions[-1])
        whole = table(wh.stream(["A", "B"], *span, "trades", batch_rows=1_000))
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        given: list[pa.RecordBatch] = []
        with pytest.raises(CorruptPartitionError, match="rebuild trades --symbols 'B'") as caught:
            given.extend(wh.stream(["A", "B"], *span, "trades", batch_rows=1_000))
        assert caught.value.path == path
        found = pa.Table.from_batches(given)
        # All of January and more: up to the damage.
        assert found.num_rows >= 22 * 1_000
        assert found == whole.slice(0, found.num_rows)
        path.write_bytes(content[: len(content) // 2])
        given.clear()
        with pytest.raises(CorruptPartitionError, match="is damaged"):
            given.extend(wh.stream(["A", "B"], *span, "trades", batch_rows=1_000))
        # Its end, which says where everything is, is gone; so what was before it is January.
        january = pa.Table.from_batches(given)
        first = instant(date(2024, 2, 1), "04:00")
        assert january == whole.filter(pa.compute.less(whole["timestamp"].cast(pa.int64()), first))
        path.unlink()
        with pytest.raises(CorruptPartitionError, match="is damaged"):
            wh.stream(["A", "B"], *span, "trades")
        assert open_partitions() == 0
        rest = wh.stream(["A", "B"], span[0], "2024-01-31", "trades")
        assert table(rest).num_rows == january.num_rows


def test_want_of_memory_is_not_taken_for_damage(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: pinned_file.HeldFile, count: int = -1) -> bytes:
        raise pa.ArrowMemoryError("malloc failed")

    monkeypatch.setattr(pinned_file.HeldFile, "read", refuse)
    with pytest.raises(MemoryError, match="malloc failed"):
        list(wh.stream("AAPL", *SPAN))


# Memory

PROGRAM = """
import json, resource, sys
from warehouse import Warehouse
root, start, end, room = sys.argv[1:]
def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))
with Warehouse(root) as wh:
    symbols = wh.symbols("trades")
    before = status("VmHWM")
    # The heap may grow by so much from here on; more, and the process is refused it.
    limit = status("VmData") + int(room)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    rows = last = 0
    for batch in wh.stream(symbols, start, end, "trades", columns=json.loads(sys.stdin.read())):
        stamps = batch.column("timestamp").cast("int64")
        assert stamps[0].as_py() >= last
        last = stamps[-1].as_py()
        rows += batch.num_rows
print(json.dumps({"rows": rows, "peak": status("VmHWM") - before}))
"""


def streamed(made: Made, start: date, end: date, room: int) -> dict[str, int]:
    """Rows, and by how much the peak of memory grew, of a process that may have so much more."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(made.root), str(start), str(end), str(room)],
        input="null",
        capture_output=True,
        text=True,
        timeout=1_800,
        cwd=REPOSITORY,
    )
    assert run.returncode == 0, run.stderr[-2_000:]
    found: dict[str, int] = json.loads(run.stdout)
    return found


@pytest.mark.torture
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on the heap is Linux's")
def test_a_range_five_times_as_long_takes_no_more_memory(make_warehouse: MakeWarehouse) -> None:
    limit_gb = 0.5
    made = make_warehouse(processing__memory_limit_gb=limit_gb, processing__parallel_workers=2)
    sessions = synthetic_partitions.weekdays(date(2024, 1, 1), date(2024, 10, 31))
    symbols = {f"S{number:03}": 1_200 for number in range(30)}
    synthetic_partitions.catalog(made, synthetic_partitions.fill(made, "trades", sessions, symbols))
    room = int(limit_gb * 1024**3)

    def least(last: date) -> dict[str, int]:
        # How the allocator happens to use its pages only ever adds to what is needed.
        return min(
            (streamed(made, sessions[0], last, room) for _ in range(3)),
            key=lambda found: found["peak"],
        )

    # Of one month alone not all is used that a stream may hold.
    two_months, whole = least(date(2024, 2, 29)), least(sessions[-1])

    assert two_months["rows"] == 44 * 1_200 * 30
    assert whole["rows"] == len(sessions) * 1_200 * 30
    assert whole["peak"] < 1.25 * two_months["peak"]
    assert whole["peak"] < room


@pytest.mark.torture
@pytest.mark.skipif("WAREHOUSE_TEST_LONG" not in os.environ, reason="takes minutes")
def test_500_symbols_of_a_year_stay_within_the_ceiling(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse(processing__memory_limit_gb=2, processing__parallel_workers=2)
    sessions = synthetic_partitions.weekdays(date(2024, 1, 1), date(2024, 12, 31))
    symbols = {f"S{number:03}": 40 + 100_000 // (number + 10) for number in range(500)}
    synthetic_partitions.catalog(made, synthetic_partitions.fill(made, "trades", sessions, symbols))

    whole = streamed(made, sessions[0], sessions[-1], 2_000_000_000)

    assert whole["rows"] == len(sessions) * sum(symbols.values())
    assert whole["peak"] < 2_000_000_000


# Real files

REAL_DAYS = (date(2013, 10, 7), date(2013, 10, 9))


@pytest.fixture(scope="module")
def real(real_flatfiles: Path, make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse(
        source__url=str(real_flatfiles), source__symbols=["BAC", "IBM"],
        processing__parallel_workers=2,
    )  # fmt: skip
    made.update("trades", "quotes", start=REAL_DAYS[0], end=REAL_DAYS[1])
    return made


def test_real_trades_and_quotes_come_as_polars_merges_the_vendors_files(
    real: Made, real_flatfiles: Path
) -> None:
    parts = []
    for rank, name in enumerate(("quotes", "trades")):
        for number, day in enumerate((7, 8, 9)):
            raw = pl.read_csv(
                real_flatfiles / day_key(name, date(2013, 10, day)), infer_schema=False
            )
            raw = raw.filter(pl.col("ticker").is_in(["BAC", "IBM"])).with_row_index("line")
            parts.append(
                raw.select(
                    pl.col("sip_timestamp").cast(pl.Int64).alias("timestamp"),
                    pl.col("ticker").alias("symbol"),
                    pl.lit(name).alias("type"),
                    pl.col("sequence_number").cast(pl.Int64),
                    (pl.col("price") if rank else pl.lit(None)).cast(pl.Float64).alias("price"),
                    (pl.lit(None) if rank else pl.col("bid_price"))
                    .cast(pl.Float64)
                    .alias("bid_price"),
                    pl.lit(rank).alias("rank"),
                    (pl.col("line").cast(pl.Int64) + number * 10_000_000).alias("line"),
                )
            )
    order = ["timestamp", "symbol", "rank", "sequence_number", "line"]
    merged = pl.concat(parts).sort(order).drop("rank", "line")
    assert merged.height > 1_000_000

    with Warehouse(real.root) as wh:
        stream = wh.stream(
            ["IBM", "BAC"], *REAL_DAYS, columns=merged.columns[:2] + merged.columns[3:]
        )
        found = table(stream)
        assert found.num_rows == merged.height
        for name in merged.columns:
            column = found[name]
            if name == "timestamp":
                column = column.cast(pa.int64())
            assert pl.from_arrow(column.cast(pa.string()) if name == "type" else column).equals(
                merged[name], null_equal=True
            ), name
