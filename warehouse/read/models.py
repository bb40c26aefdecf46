"""Trade, Quote and Aggregate: one row each, for code that goes through the tape row by row.

A DataFrame is the fast way; these are the readable one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.errors import RequestError

_NO_NAMES: Mapping[int, str] = MappingProxyType({})
_BATCH_ROWS = 16_384
# When there are some 700 more objects than before, Python looks for garbage among all of them: with
# more at a time a row takes twice as long.
_OBJECTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade.

    Attributes:
        timestamp: the SIP's stamp, UTC, nanoseconds.
        symbol: case-sensitive.
        price: dollars, as printed (not adjusted for splits).
        size: shares; fractional since 2026-02-23.
        exchange: where; see `rows`.
        conditions: the sale conditions' codes (`trade_conditions` says what they mean).
    """

    timestamp: pd.Timestamp
    symbol: str
    price: float
    size: float
    exchange: str
    conditions: tuple[int, ...]

    class Meta:
        indexes: ClassVar[list[str]] = ["timestamp", "symbol"]


@dataclass(frozen=True, slots=True)
class Quote:
    """One change of the national best bid and offer; a side without an offer has price and size 0.

    Attributes:
        timestamp: the SIP's stamp, UTC, nanoseconds.
        symbol: case-sensitive.
        bid_price, ask_price: dollars.
        bid_size, ask_size: as the vendor gives them (shares since 2025-11-03).
        bid_exchange, ask_exchange: where; see `rows`.
    """

    timestamp: pd.Timestamp
    symbol: str
    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float
    bid_exchange: str
    ask_exchange: str

    class Meta:
        indexes: ClassVar[list[str]] = ["timestamp", "symbol"]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One bar of a minute or a day.

    Attributes:
        timestamp: the bar's first instant, UTC; of a day, midnight in New York.
        symbol: case-sensitive.
        open, high, low, close: dollars.
        volume: shares; fractional since 2026-02-23.
        vwap: volume-weighted average price, dollars; NaN where the vendor gives none.
        trades: how many trades the bar is made of.
    """

    timestamp: pd.Timestamp
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float
    trades: int

    class Meta:
        indexes: ClassVar[list[str]] = ["timestamp", "symbol"]


Row = Trade | Quote | Aggregate

# The column that only this model has, the model, and what it is made from, in its own order.
_MODELS: tuple[tuple[str, type[Row], tuple[str, ...]], ...] = (
    ("bid_price", Quote, tuple(Quote.__annotations__)),
    ("open", Aggregate, tuple(Aggregate.__annotations__)),
    ("price", Trade, tuple(Trade.__annotations__)),
)


def columns_of(names: Sequence[str]) -> tuple[str, ...]:
    """Those of a data type's columns that its model is made of."""
    return next((columns for mark, _, columns in _MODELS if mark in names), ())


def rows(table: Any, exchanges: Mapping[int, str] = _NO_NAMES) -> Iterator[Row]:
    """The rows of a loaded table as `Trade`, `Quote` or `Aggregate`, in the table's order.

    Args:
        table: a pandas or polars DataFrame or an Arrow table, as `Warehouse.load` returns it, with
            the model's columns (others are passed over). Which model it is, its columns tell.
        exchanges: names by the vendor's id, as `Warehouse.exchanges` gives them. The data holds
            the id alone; one without a name here becomes the id in digits ("4"), an absent id "".

    Stamps are exact to the nanosecond and come out in UTC, whatever the table's zone. An absent
    number is NaN, an absent count 0, absent conditions are ().

    Raises:
        RequestError: an argument is of another kind, or a column is missing.
    """
    names = _column_names(table)
    if not isinstance(exchanges, Mapping):
        told = "it must be names by the vendor's id, as Warehouse.exchanges gives them"
        raise RequestError("exchanges", exchanges, told)
    for mark, model, columns in _MODELS:
        if mark in names:
            missing = [name for name in columns if name not in names]
            if missing:
                raise RequestError(
                    "table", names, f"a {model.__name__} also needs {', '.join(missing)}"
                )
            return _rows(table, model, columns, exchanges)
    raise RequestError("table", names, "it holds neither trades nor quotes nor aggregates")


def _column_names(table: Any) -> list[str]:
    if isinstance(table, pd.DataFrame):
        return [str(name) for name in (*filter(None, table.index.names), *table.columns)]
    if isinstance(table, pa.Table):
        return list(table.column_names)
    if hasattr(table, "to_arrow"):
        return list(table.columns)
    kind = type(table).__name__
    raise RequestError("table", kind, "it may be a pandas or polars DataFrame or an Arrow table")


def _rows(
    table: Any, model: type[Row], columns: tuple[str, ...], exchanges: Mapping[int, str]
) -> Iterator[Row]:
    size = table.num_rows if isinstance(table, pa.Table) else len(table)
    for start in range(0, size, _BATCH_ROWS):
        part = _part(table, start, columns)
        values = [(name, _values(part[name], name, exchanges)) for name in columns]
        for low in range(0, part.num_rows, _OBJECTS_AT_ONCE):
            high = min(low + _OBJECTS_AT_ONCE, part.num_rows)
            made: list[Row] = [model.__new__(model) for _ in range(high - low)]
            # Column by column: to set the fields of a frozen object one by one takes twice as long.
            for name, column in values:
                deque(map(getattr(model, name).__set__, made, column[low:high]), maxlen=0)
            yield from made


def _part(table: Any, start: int, columns: tuple[str, ...]) -> pa.Table:
    """A batch of the table's rows as Arrow, so that the whole is never there twice."""
    if isinstance(table, pd.DataFrame):
        frame = table.iloc[start : start + _BATCH_ROWS]
        # The model's (timestamp, symbol) may stand in the index.
        if any(name in columns for name in frame.index.names):
            frame = frame.reset_index()
        return pa.Table.from_pandas(frame[list(columns)], preserve_index=False)
    part = table.slice(start, _BATCH_ROWS)
    return (part if isinstance(part, pa.Table) else part.to_arrow()).select(list(columns))


def _values(column: pa.ChunkedArray, name: str, exchanges: Mapping[int, str]) -> Any:
    if name == "timestamp":
        zone = pa.timestamp("ns", "UTC")
        return pd.DatetimeIndex(column.cast(zone).to_pandas()).array
    if name == "conditions":
        return _by_value(column, _codes)
    if name.endswith("exchange"):
        return _by_value(column, lambda number: _exchange(exchanges, number))
    if pa.types.is_floating(column.type):
        # An absent value becomes NaN.
        return list(column.to_numpy().tolist())
    if name == "trades":
        return list(pc.fill_null(column, 0).to_numpy().tolist())
    return _by_value(column, lambda value: value)


def _by_value(column: pa.ChunkedArray, made_of: Callable[[Any], Any]) -> list[Any]:
    """What is made of each value, which is made once for all rows that have it."""
    if pa.types.is_dictionary(column.type):
        # A category has no place for an absent value.
        column = column.cast(column.type.value_type)
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    values = np.fromiter(map(made_of, encoded.dictionary.to_pylist()), np.object_)
    return list(values[encoded.indices.to_numpy()].tolist())


def _exchange(exchanges: Mapping[int, str], number: int | None) -> str:
    if number is None:
        return ""
    return exchanges.get(int(number)) or str(int(number))


def _codes(text: str | None) -> tuple[int, ...]:
    """Condition codes as the vendor writes them: nothing, a number, or numbers and commas."""
    return tuple(int(code) for code in text.split(",")) if text else ()
