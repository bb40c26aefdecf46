"""Small tapes for features, made by hypothesis or read from CSV, and what comes of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
from building import REPOSITORY, instant
from hypothesis import strategies as st

from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES, TRADE_CONDITIONS
from warehouse.read.features.evaluate import engine, run
from warehouse.sqlfolder.feature import Feature
from warehouse.sqlfolder.feature_file import FeatureFolder

FOLDER = FeatureFolder(REPOSITORY / "sql")
FEATURES = {found.name: found for found in FOLDER if isinstance(found, Feature)}
DAYS = (date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1))
Tables = Mapping[str, pa.Table]


def conditions(path: Path = REPOSITORY / "config/trade_conditions.csv") -> pa.Table:
    """A condition table, by default the shipped one, as the catalog has it."""
    types = {field.name: field.type for field in TRADE_CONDITIONS}
    convert = pc_csv.ConvertOptions(column_types=types, null_values=[""])
    return pc_csv.read_csv(path, convert_options=convert)


class Bench:
    """Runs features over tables, in one DuckDB."""

    def __init__(self, threads: int = 2, rules: pa.Table | None = None) -> None:
        config = Config.model_validate({"processing": {"parallel_workers": threads}})
        self._engine = engine(config, conditions() if rules is None else rules)
        self._connection = self._engine.__enter__()

    def close(self) -> None:
        self._engine.__exit__(None, None, None)

    def rows(
        self, feature: Feature, tables: Tables, values: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """What the feature makes of tables that are named for the data types."""
        named = {name: tables[kind] for name, kind in feature.tables(feature.freq).items()}
        return run(self._connection, feature, named, feature.values(values or {}))


def until(tables: Tables, end: int) -> dict[str, pa.Table]:
    """The rows whose stamps lie before `end`, nanoseconds."""
    bound = pa.scalar(end, pa.int64())
    return {
        name: table.filter(pc.less(pc.cast(table["timestamp"], pa.int64()), bound))
        for name, table in tables.items()
    }


def table(kind: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a data type; what they leave out is NULL."""
    return pa.Table.from_pylist(rows, DATA_TYPES[kind].columns)


def read_table(kind: str, path: Path) -> pa.Table:
    """The same from a CSV; stamps are nanoseconds since the epoch, an empty field is NULL."""
    schema = DATA_TYPES[kind].columns
    types = {
        field.name: pa.int64() if pa.types.is_timestamp(field.type) else field.type
        for field in schema
    }
    convert = pc_csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    found = pc_csv.read_csv(path, convert_options=convert)
    columns = [
        found[field.name].cast(field.type)
        if field.name in found.column_names
        else pa.nulls(found.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


# Few prices, sizes and stamps, so that they tie; whole days, so that lookbacks cross sessions.

PRICES = st.sampled_from([9.99, 10.0, 10.005, 10.01, 10.02, 10.5])
SIZES = st.sampled_from([0.0, 0.25, 1.0, 100.0, 300.0])


def _stamps(draw: Any, most: int) -> list[tuple[date, int]]:
    count = draw(st.integers(0, most))
    picked = [
        (
            draw(st.sampled_from(DAYS)),
            draw(st.sampled_from([0, 1, 2, 10**9, 5 * 10**9, 3 * 10**11])),
        )
        for _ in range(count)
    ]
    return sorted((day, instant(day, "09:30", offset)) for day, offset in picked)


@st.composite
def trades(draw: Any, most: int = 12) -> pa.Table:
    rows = [
        {
            "symbol": "A",
            "timestamp": stamp,
            "price": draw(PRICES),
            "size": draw(SIZES),
            "exchange": draw(st.sampled_from([4, 11])),
            "conditions": draw(st.sampled_from([None, "12", "37", "16", "15, 12", "999"])),
            "id": str(number),
            "sequence_number": draw(st.sampled_from([None, -2, 1, 2, number])),
            "session": day,
        }
        for number, (day, stamp) in enumerate(_stamps(draw, most))
    ]
    return table("trades", rows)


@st.composite
def quotes(draw: Any, most: int = 12) -> pa.Table:
    rows = []
    for number, (day, stamp) in enumerate(_stamps(draw, most)):
        has_bid, has_ask = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (1, 0), (0, 1), (0, 0)]))
        rows.append(
            {
                "symbol": "A",
                "timestamp": stamp,
                "bid_price": draw(PRICES) * has_bid,
                "bid_size": draw(SIZES) * has_bid,
                "ask_price": draw(PRICES) * has_ask,
                "ask_size": draw(SIZES) * has_ask,
                "bid_exchange": draw(st.sampled_from([None, -2, 11, 12])),
                "ask_exchange": 8,
                "sequence_number": draw(st.sampled_from([None, number - 4])),
                "session": day,
            }
        )
    # Of one event a warehouse has one row.
    keys = ("timestamp", "sequence_number", "bid_exchange")
    events = {tuple(row[key] for key in keys): row for row in rows}
    return table("quotes", list(events.values()))


@st.composite
def bars(draw: Any, kind: str, most: int = 10) -> pa.Table:
    count = draw(st.integers(0, most))
    if kind == "day_aggs":
        days = [date(2024, 1, 2) + timedelta(days=number) for number in range(count)]
        stamps = [(day, instant(day, "00:00")) for day in days]
    else:
        offsets = st.tuples(st.sampled_from(DAYS), st.integers(0, 9))
        picked = sorted(draw(st.sets(offsets, max_size=most)))
        stamps = [(day, instant(day, "09:30", minute * 60 * 10**9)) for day, minute in picked]
    rows = []
    for day, stamp in stamps:
        low, *middle, high = sorted(draw(st.tuples(*[PRICES] * 4)))
        first, last = draw(st.permutations(middle))
        volume = draw(SIZES)
        values = {"open": first, "high": high, "low": low, "close": last, "volume": volume}
        rows.append({"symbol": "A", "timestamp": stamp, **values, "trades": 1, "session": day})
    return table(kind, rows)


@st.composite
def tapes(draw: Any) -> dict[str, pa.Table]:
    """All four data types of one symbol over three sessions."""
    return {
        "trades": draw(trades()),
        "quotes": draw(quotes()),
        "minute_aggs": draw(bars("minute_aggs")),
        "day_aggs": draw(bars("day_aggs")),
    }
