"""The vendor's four data types and those of kept bars: what partitions, and files, hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import pyarrow as pa

from warehouse.errors import RequestError
from warehouse.text import one_of

_BARRED = ("high_low_barred", "open_close_barred", "volume_barred")
"""Rules of a bar: of each what it kept out, in trades and dollars."""

PRICES = (
    *("price", "open", "high", "low", "close", "vwap", "bid_price", "ask_price"),
    *("official_open", "official_close"),
)
"""Columns in dollars a share: a split or a dividend multiplies them."""
SIZES = ("size", "volume", "bid_size", "ask_size")
"""Columns in shares: a split multiplies them the other way."""
DOLLARS = ("dollar_volume", *(f"{rule}_dollars" for rule in _BARRED))
"""Columns in dollars: a dividend alone multiplies them, as it does prices."""

_STAMP = pa.timestamp("ns")


@dataclass(frozen=True, eq=False)
class DataType:
    """One of the vendor's data types.

    Attributes:
        name: ours everywhere: `trades`, `quotes`, `minute_aggs`, `day_aggs`.
        vendor_folder: its folder in the vendor's bucket (one file a day).
        symbol_folder: its folder where files are laid out one a symbol.
        monthly_by_symbol: in that layout one file holds a month, not a session.
        header: the columns a raw file must name, in any order, among others.
        columns: what a partition holds, in this order.
        required: columns in which no row lacks a value: sql/clean gives a row without one a reason.
        order: the columns that put the rows of one symbol in the order of the tape.
    """

    name: str
    vendor_folder: str
    symbol_folder: str
    monthly_by_symbol: bool
    header: tuple[str, ...]
    columns: pa.Schema
    required: frozenset[str]
    order: tuple[str, ...]

    @cached_property
    def stored(self) -> pa.Schema:
        """The columns as every partition declares them, whatever its rows hold."""
        return pa.schema(
            [field.with_nullable(field.name not in self.required) for field in self.columns]
        )

    @property
    def coded(self) -> list[str]:
        """The columns that are dictionaries in memory; see `with_codes`."""
        return [field.name for field in self.columns if pa.types.is_dictionary(field.type)]

    def with_codes(self, names: Collection[str]) -> DataType:
        """The same, whose texts of these columns are read as dictionaries: a number a row."""
        coded = pa.dictionary(pa.int32(), pa.string())
        fields = [each.with_type(coded) if each.name in names else each for each in self.columns]
        return replace(self, columns=pa.schema(fields))

    @property
    def by_session(self) -> bool:
        """In the layout `market` each session has files of its own; else a month is one file."""
        return not self.monthly_by_symbol

    def fields(self, names: Iterable[str]) -> pa.Schema:
        """Some of the columns, in the order of the names."""
        return pa.schema([self.columns.field(name) for name in names])

    @property
    def rejects_columns(self) -> pa.Schema:
        """Columns of the rejects tier: ours first, then the row as far as it could be read."""
        return pa.schema(
            [
                ("data_type", pa.string()),
                ("reason", pa.string()),
                ("source", pa.string()),
                ("line_number", pa.int64()),
                ("line", pa.string()),
                *self.columns,
            ]
        )


def completed(table: pa.Table, columns: pa.Schema) -> pa.Table:
    """The table in these columns and types. What an earlier version wrote lacks those that came
    since: they are NULL in each of its rows.

    Raises:
        pa.ArrowException: it has others, or they are of another kind.
    """
    if table.column_names != columns.names:
        if surplus := [name for name in table.column_names if name not in columns.names]:
            raise pa.ArrowInvalid(f"there is no column {surplus[0]}")
        arrays = [
            table.column(field.name)
            if field.name in table.column_names
            else pa.nulls(table.num_rows, field.type)
            for field in columns
        ]
        table = pa.Table.from_arrays(arrays, names=columns.names)
    return table.cast(columns)


def earlier_form(error: Exception) -> str | None:
    """What it means that DuckDB misses a column in some of many files; None: it is no such error.

    Python's answers have NULL there. A view would have to open every file to know.
    """
    found = re.search(r'column "([^"]+)" was read from .* could not be found in file', str(error))
    if found is None:
        return None
    return (
        f"partitions of an earlier version have no column {found[1]};"
        " make them anew with: warehouse rebuild --changed"
    )


_ALWAYS = ("symbol", "timestamp", "session")

_TRADES = pa.schema(
    [
        ("symbol", pa.string()),
        ("timestamp", _STAMP),
        ("price", pa.float64()),
        ("size", pa.float64()),
        ("exchange", pa.int16()),
        ("conditions", pa.string()),
        ("correction", pa.int8()),
        ("id", pa.string()),
        ("sequence_number", pa.int64()),
        ("participant_timestamp", _STAMP),
        ("tape", pa.int8()),
        ("trf_id", pa.int16()),
        ("trf_timestamp", _STAMP),
        ("session", pa.date32()),
    ]
)
_QUOTES = pa.schema(
    [
        ("symbol", pa.string()),
        ("timestamp", _STAMP),
        ("bid_price", pa.float64()),
        ("bid_size", pa.float64()),
        ("ask_price", pa.float64()),
        ("ask_size", pa.float64()),
        ("bid_exchange", pa.int16()),
        ("ask_exchange", pa.int16()),
        ("conditions", pa.string()),
        ("indicators", pa.string()),
        ("sequence_number", pa.int64()),
        ("participant_timestamp", _STAMP),
        ("tape", pa.int8()),
        ("trf_timestamp", _STAMP),
        ("session", pa.date32()),
    ]
)
_AGGS = pa.schema(
    [
        ("symbol", pa.string()),
        ("timestamp", _STAMP),
        ("open", pa.float64()),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("close", pa.float64()),
        ("volume", pa.float64()),
        ("vwap", pa.float64()),
        ("trades", pa.int32()),
        ("session", pa.date32()),
    ]
)
_AGGS_REQUIRED = frozenset((*_ALWAYS, "open", "high", "low", "close", "volume"))
_AGGS_HEADER = (
    "ticker",
    "volume",
    "open",
    "close",
    "high",
    "low",
    "window_start",
    "transactions",
)


def bar_type(*, is_day: bool = False, is_filled: bool = False) -> DataType:
    """What bars that are built from trades hold, laid out as a data type's rows are.

    Args:
        is_day: of a session each, with the official prices of its auctions.
        is_filled: windows without a bar are filled forward.
    """
    fields = [
        *[_AGGS.field(name) for name in _AGGS.names[:-1]],
        ("dollar_volume", pa.float64()),
        ("end_timestamp", _STAMP),
        ("is_short", pa.bool_()),
        *[
            (f"{rule}_{what}", kind)
            for rule in _BARRED
            for what, kind in (("trades", pa.int32()), ("dollars", pa.float64()))
        ],
        *([("official_open", pa.float64()), ("official_close", pa.float64())] if is_day else []),
        *([("is_filled", pa.bool_())] if is_filled else []),
        _AGGS.field("session"),
    ]
    columns = pa.schema(fields)
    lacking = {"vwap", "official_open", "official_close"}
    return DataType(
        name="bars",
        vendor_folder="",
        symbol_folder="",
        monthly_by_symbol=is_day,
        header=(),
        columns=columns,
        required=frozenset(columns.names) - lacking,
        order=("timestamp",),
    )


DATA_TYPES: dict[str, DataType] = {
    data_type.name: data_type
    for data_type in (
        DataType(
            name="trades",
            vendor_folder="trades_v1",
            symbol_folder="trades",
            monthly_by_symbol=False,
            header=(
                "ticker",
                "conditions",
                "correction",
                "exchange",
                "id",
                "participant_timestamp",
                "price",
                "sequence_number",
                "sip_timestamp",
                "size",
                "tape",
                "trf_id",
                "trf_timestamp",
            ),
            columns=_TRADES,
            required=frozenset((*_ALWAYS, "price", "size")),
            order=("timestamp", "sequence_number"),
        ),
        DataType(
            name="quotes",
            vendor_folder="quotes_v1",
            symbol_folder="quotes",
            monthly_by_symbol=False,
            header=(
                "ticker",
                "ask_exchange",
                "ask_price",
                "ask_size",
                "bid_exchange",
                "bid_price",
                "bid_size",
                "conditions",
                "indicators",
                "participant_timestamp",
                "sequence_number",
                "sip_timestamp",
                "tape",
                "trf_timestamp",
            ),
            columns=_QUOTES,
            required=frozenset((*_ALWAYS, "bid_price", "bid_size", "ask_price", "ask_size")),
            order=("timestamp", "sequence_number"),
        ),
        DataType(
            name="minute_aggs",
            vendor_folder="minute_aggs_v1",
            symbol_folder="aggregates/minute",
            monthly_by_symbol=False,
            header=_AGGS_HEADER,
            columns=_AGGS,
            required=_AGGS_REQUIRED,
            order=("timestamp",),
        ),
        DataType(
            name="day_aggs",
            vendor_folder="day_aggs_v1",
            symbol_folder="aggregates/day",
            monthly_by_symbol=True,
            header=_AGGS_HEADER,
            columns=_AGGS,
            required=_AGGS_REQUIRED,
            order=("timestamp",),
        ),
    )
}

SESSIONS = pa.schema(
    [
        ("session", pa.date32()),
        ("midnight_ns", pa.int64()),
        ("next_midnight_ns", pa.int64()),
        ("open_ns", pa.int64()),
        ("close_ns", pa.int64()),
        ("is_half_day", pa.bool_()),
    ]
)
"""What of the calendar bars rest on; instants are nanoseconds UTC, [open_ns, close_ns)."""
TRADE_CONDITIONS = pa.schema(
    [
        ("id", pa.int16()),
        ("name", pa.string()),
        ("updates_high_low", pa.bool_()),
        ("updates_open_close", pa.bool_()),
        ("updates_volume", pa.bool_()),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
    ]
)
"""The table of trade conditions: rules, and the sessions (both inclusive) in which they are valid;
NULL: open."""


def data_type(name: str) -> DataType:
    """The data type of that name: one of the vendor's, or of kept bars.

    Raises:
        RequestError: there is no such data type.
    """
    found = DATA_TYPES.get(name) or _kept_bars(name)
    if found is None:
        raise RequestError("data type", name, one_of(name, DATA_TYPES))
    return found


KEPT = "bars_"
"""How data types of bars that are kept begin; what follows is the length of a bar: `bars_1m`."""
_EVERY = re.compile(r"1d|([1-9]\d{0,5})([smh])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3_600}
_DAY = 86_400


def is_length(every: str) -> bool:
    """Whether bars of such a length can be kept: seconds, minutes or hours up to a day, or `1d`."""
    found = _EVERY.fullmatch(every)
    return found is not None and (found[1] is None or int(found[1]) * _SECONDS[found[2]] <= _DAY)


@lru_cache(maxsize=256)
def _kept_bars(name: str) -> DataType | None:
    every = name.removeprefix(KEPT)
    if every == name or not is_length(every):
        return None
    return replace(bar_type(is_day=every == "1d"), name=name)


def is_kept_bars(name: str) -> bool:
    """Whether a data type of that name is of bars that we built from trades."""
    return _kept_bars(name) is not None


def is_data_type(name: str) -> bool:
    """Whether there can be partitions of a data type of that name."""
    return name in DATA_TYPES or is_kept_bars(name)


def with_bars(names: Iterable[str]) -> tuple[str, ...]:
    """The vendor's data types, and those of kept bars that are among the names."""
    return (*DATA_TYPES, *sorted({name for name in names if is_kept_bars(name)}))
