"""Whoever writes through a frame that was handed out changes no other answer, and may go on."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from building import Made, MakeWarehouse, bar, day_key, instant, trade

from warehouse import Warehouse
from warehouse.read.frames import guarded, shared

# Some of pandas' ways are on their way out.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The inplace keyword"),
    pytest.mark.filterwarnings("ignore:DatetimeIndex.values returning"),
]

DAY = date(2024, 1, 31)
ROWS = 600


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    lines = [
        trade(symbol, instant(DAY, "09:30", n), n + 1, price=n + 1, size=n % 3, id=str(n),
              conditions='"12,37"' if n % 2 else "")
        for symbol in ("AAPL", "MSFT")
        for n in range(ROWS)
    ]  # fmt: skip
    bars = [bar("AAPL", instant(DAY, f"09:{minute}")) for minute in range(30, 60)]
    made = make_warehouse({day_key("trades", DAY): lines, day_key("minute_aggs", DAY): bars})
    made.update()
    return made


@pytest.fixture
def wh(made: Made) -> Iterator[Warehouse]:
    with Warehouse(made.root) as opened:
        yield opened


NESTED = """
    select symbol, price, timestamp, session, size::decimal(18, 3) as size, price::hugeint as whole,
        if(price > 3, null, price)::tinyint as few, price > 3 as high, [price, size] as list,
        {'price': price} as struct, map {'price': price} as map, 'x'::blob as blob
    from trades order by timestamp, symbol limit 50
"""
ASKED: dict[str, Callable[[Warehouse, str], Any]] = {
    "load": lambda wh, to: wh.trades("AAPL", DAY, to=to),
    "several": lambda wh, to: wh.trades(["MSFT", "AAPL"], DAY, to=to),
    "smaller": lambda wh, to: wh.trades("AAPL", DAY, to=to, categories=True, downcast=True),
    "panel": lambda wh, to: wh.panel("minute_aggs", "close", DAY, to=to),
    "query": lambda wh, to: wh.query(NESTED if to != "polars" else "select * from trades", to),
    "features": lambda wh, to: wh.features("volume_ma", "AAPL", DAY, to=to),
}
INDEXED: dict[str, Callable[[Warehouse, str], Any]] = {
    "timestamp": lambda wh, to: wh.trades("AAPL", DAY, index="timestamp"),
    "both": lambda wh, to: wh.trades(["AAPL", "MSFT"], DAY, index=("timestamp", "symbol")),
}


def _deface(frame: Any) -> int:
    """Write to every piece of memory that the frame lets one have; how many were to be had."""
    pieces: list[Any] = []
    if isinstance(frame, pa.Table):
        pieces = list(frame.columns)
    elif isinstance(frame, pl.DataFrame):
        pieces = [*frame.to_arrow().columns, *frame.get_columns()]
        pieces += [column.to_numpy() for column in frame.get_columns() if column.dtype.is_numeric()]
    else:
        for place in range(frame.shape[1]):
            column = frame.iloc[:, place]
            pieces += [column.array, column.values, column.to_numpy(), column]
            if isinstance(column.array, pd.Categorical):
                pieces += [column.array.codes, column.array.categories.array]
        pieces += [frame.columns.array, frame.columns.values]
        index = frame.index
        if isinstance(index, pd.MultiIndex):
            pieces += [level.array for level in index.levels] + list(index.codes)
        elif not isinstance(index, pd.RangeIndex):
            pieces += [index.array, index.values, index.to_numpy()]
    for piece in pieces:
        with suppress(Exception):
            piece.flags.writeable = True
        with suppress(Exception):
            piece[0], piece[-1] = piece[-1], piece[0]
        with suppress(Exception):
            piece[0].append(7)
        with suppress(Exception):
            piece[0]["price"] = -1
        with suppress(Exception):
            piece[0][0] = -1
        with suppress(Exception):
            arrow = piece if isinstance(piece, pa.ChunkedArray) else pa.array(piece)
            chunks = arrow.chunks if isinstance(arrow, pa.ChunkedArray) else [arrow]
            for chunk in chunks:
                more = chunk.dictionary.buffers() if isinstance(chunk, pa.DictionaryArray) else []
                for buffer in filter(None, [*chunk.buffers(), *more]):
                    assert not (isinstance(piece, pa.ChunkedArray) and buffer.is_mutable)
                    if buffer.is_mutable:
                        np.frombuffer(buffer, np.uint8)[:] = 1
    if isinstance(frame, pd.DataFrame):
        frame.attrs.clear()
        with suppress(Exception):
            frame.iloc[0] = frame.iloc[1]
    return len(pieces)


def _content(frame: Any) -> Any:
    if isinstance(frame, pd.DataFrame):
        return str((frame.reset_index().to_dict("list"), frame.attrs))
    return str(frame.to_pydict() if isinstance(frame, pa.Table) else frame.to_dicts())


@pytest.mark.parametrize(
    ("ask", "to"),
    [
        *(pytest.param(ask, to, id=f"{name}-{to}") for name, ask in ASKED.items()
          for to in ("pandas", "polars", "arrow")),
        *(pytest.param(ask, "pandas", id=name) for name, ask in INDEXED.items()),
    ],
)  # fmt: skip
def test_what_is_written_through_a_frame_shows_in_no_other(
    made: Made, ask: Callable[[Warehouse, str], Any], to: str
) -> None:
    with Warehouse(made.root) as other:
        due = _content(ask(other, to))
    with Warehouse(made.root) as wh:
        first = ask(wh, to)
        assert _deface(first) > 0
        assert _content(ask(wh, to)) == due
        assert _deface(ask(wh, to)) > 0
        assert _content(ask(wh, to)) == due
        assert wh.cache.stats.hits == 3


def test_the_example_of_one_who_wrote_beneath_pandas(wh: Warehouse) -> None:
    frame = wh.trades("AAPL", DAY)
    with pytest.raises(ValueError, match="read-only"):
        frame["price"].array[0] = -1
    with pytest.raises(ValueError, match="read-only"):
        frame["price"].to_numpy()[0] = -1
    with pytest.raises(ValueError, match="read-only"):
        frame["symbol"].array[0] = "X"
    with pytest.raises(ValueError, match="WRITEABLE"):
        frame["price"].to_numpy().flags.writeable = True
    again = wh.trades("AAPL", "2024-01-31 09:00", "2024-01-31 10:00")
    assert (again["price"].iloc[0], again["symbol"].iloc[0]) == (1, "AAPL")


def test_batches_of_a_stream_share_nothing_that_can_be_written_to(wh: Warehouse) -> None:
    def ask() -> Any:
        return wh.stream(
            ["AAPL", "MSFT"],
            DAY,
            data_types=("trades", "minute_aggs"),
            batch_rows=100,
            missing="ignore",
        )

    due = [batch.to_pydict() for batch in ask()]
    count = 0
    for batch, expected in zip(ask(), due, strict=True):
        assert batch.to_pydict() == expected
        for column in batch.columns:
            more = column.dictionary.buffers() if isinstance(column, pa.DictionaryArray) else []
            for buffer in filter(None, [*column.buffers(), *more]):
                assert not buffer.is_mutable
                count += 1
    assert count


def _set(frame: pd.DataFrame, place: int) -> None:
    frame.iloc[0, place] = frame.iloc[1, place]


WAYS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "times": lambda frame: frame.__setitem__("price", frame["price"] * 2),
    "in place": lambda frame: frame.eval("price = price * 2", inplace=True),
    "cell of each column": lambda frame: [_set(frame, n) for n in range(frame.shape[1])],
    "mask": lambda frame: frame.loc.__setitem__((frame["price"] > 1, "price"), 0),
    "at": lambda frame: frame.at.__setitem__((0, "price"), 0),
    "sort": lambda frame: frame.sort_values("price", ascending=False, inplace=True),
    "fill": lambda frame: frame.fillna({"price": 0}, inplace=True),
    "replace": lambda frame: frame.replace(1.0, 2.0, inplace=True),
    "where": lambda frame: frame.mask(frame["price"] < 2, frame.iloc[5], inplace=True, axis=1),
    "update": lambda frame: frame.update(pd.DataFrame({"price": [9.0]})),
    "drop": lambda frame: frame.drop(columns="price", inplace=True),
    "index and back": lambda frame: _set(frame.set_index("timestamp").reset_index(), 0),
    "part": lambda frame: _set(frame[["price", "exchange"]], 1),
    "slice": lambda frame: _set(frame.iloc[5:10], 2),
    "numpy": lambda frame: frame["price"].to_numpy(copy=True).sort(),
    "deep copy": lambda frame: frame.copy()["price"].array.__setitem__(0, 5),
    "text of a copy": lambda frame: frame.copy()["symbol"].array.__setitem__(0, "X"),
    "unpickled": lambda frame: WAYS["cell of each column"](pickle.loads(pickle.dumps(frame))),
    "text of a pickle": lambda frame: pickle.loads(pickle.dumps(frame))["symbol"].array.__setitem__(
        0, "X"
    ),
    "names": lambda frame: frame.__setattr__("columns", frame.columns.str.upper()),
    "name": lambda frame: frame.rename(columns={"price": "last"}, inplace=True),
    "append": lambda frame: frame.loc.__setitem__(len(frame), frame.loc[0]),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("alone", [False, True], ids=["held by the cache", "alone"])
def test_pandas_changes_a_frame_as_ever(
    wh: Warehouse, way: Callable[[pd.DataFrame], Any], alone: bool
) -> None:
    frame = wh.trades("AAPL", DAY)
    due = wh.trades("AAPL", DAY).copy()
    if alone:
        wh.cache.clear()
    way(frame)
    way(due)
    pd.testing.assert_frame_equal(frame, due)
    assert wh.trades("AAPL", DAY)["price"].iloc[0] == 1


def test_a_column_that_outlives_its_frame_and_the_cache_can_be_changed(wh: Warehouse) -> None:
    prices = wh.trades("AAPL", DAY)["price"]
    wh.cache.clear()
    prices.iloc[0] = 5
    stamps = wh.trades("AAPL", DAY, index="timestamp").index.to_series().reset_index(drop=True)
    wh.cache.clear()
    stamps.iloc[0] = stamps.iloc[1]
    assert (prices.iloc[0], stamps.iloc[0]) == (5, stamps.iloc[1])


def test_a_frame_is_guarded_once_however_often_it_is_shared() -> None:
    frame = guarded(pd.DataFrame({"price": [1.0, 2.0]}))
    for _ in range(100):
        frame = guarded(shared(frame))
    (block,) = frame._mgr.blocks  # type: ignore[attr-defined]
    held = [one for one in block.refs.referenced_blocks if one() is not None]
    assert len(held) == 2
