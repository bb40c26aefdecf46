"""Warehouses of many rows in a few seconds: partitions written directly, and a catalog of them.

What the pipeline does on the way is left out, so the rows are such as cleaning would have kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from building import Made, instant

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import FileState
from warehouse.core.paths import month_of
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store.catalog import CatalogChange, SourceFile
from warehouse.store.partitions import Partition, SessionSource, write_partition
from warehouse.store.publishing import next_catalog

_DAY_NS = 16 * 3600 * 10**9
_CONDITIONS = pa.array([None, "12", "12,37", "37", "14", "14,41", "14,37,41", "1"], pa.string())
_SATURDAY = 5


def weekdays(first: date, last: date) -> list[date]:
    """From first to last, both inclusive."""
    days = (first + timedelta(number) for number in range((last - first).days + 1))
    return [day for day in days if day.weekday() < _SATURDAY]


def rows_of(
    data_type: str, symbol: str, sessions: Sequence[date], rows: int, seed: int
) -> pa.RecordBatch:
    """Trades or quotes: so many rows in each session, from 04:00 on, no two alike."""
    dice = np.random.default_rng(seed)
    count = rows * len(sessions)
    stamps = np.concatenate(
        [np.sort(dice.integers(0, _DAY_NS, rows)) + instant(day, "04:00") for day in sessions]
    )
    price = np.round(100 + np.cumsum(dice.integers(-2, 3, count)) * 0.01, 2)
    values: dict[str, Any] = {
        "symbol": pa.repeat(pa.scalar(symbol), count),
        "timestamp": stamps,
        "sequence_number": np.tile(np.cumsum(dice.integers(1, 50, rows)), len(sessions)),
        "participant_timestamp": stamps - dice.integers(1_000, 900_000, count),
        "tape": np.ones(count),
        "conditions": _CONDITIONS.take(pa.array(dice.integers(0, len(_CONDITIONS), count))),
        "session": pa.array(np.repeat(np.array(sessions, "datetime64[D]"), rows)),
    }
    if data_type == "trades":
        off_exchange = dice.random(count) < 0.4
        values |= {
            "price": price,
            "size": dice.integers(1, 500, count),
            "exchange": dice.integers(1, 20, count),
            "correction": np.zeros(count),
            "id": np.arange(count).astype(str),
            "trf_id": pa.array(dice.integers(201, 204, count), mask=~off_exchange),
            "trf_timestamp": pa.array(stamps - 1_000, mask=~off_exchange),
        }
    elif data_type == "quotes":
        values |= {
            "bid_price": price - 0.01,
            "ask_price": price + 0.01,
            "bid_size": dice.integers(1, 20, count) * 100,
            "ask_size": dice.integers(1, 20, count) * 100,
            "bid_exchange": dice.integers(1, 20, count),
            "ask_exchange": dice.integers(1, 20, count),
        }
    else:
        values |= dict.fromkeys(("open", "high", "low", "close"), price)
        values |= {"volume": dice.integers(1, 500, count), "vwap": price, "trades": np.ones(count)}
    schema = DATA_TYPES[data_type].columns
    columns = []
    for field in schema:
        if field.name not in values:
            columns.append(pa.nulls(count, field.type))
            continue
        column = values[field.name]
        column = column if isinstance(column, pa.Array) else pa.array(column)
        columns.append(column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def fill(
    made: Made, data_type: str, sessions: Sequence[date], rows: Mapping[str, int]
) -> list[Partition]:
    """Write the partitions of some symbols, each with so many rows a session."""
    months: dict[date, list[date]] = {}
    for session in sessions:
        months.setdefault(month_of(session), []).append(session)
    found = []
    for number, (symbol, count) in enumerate(rows.items()):
        for month, days in months.items():
            path = made.layout.partition(data_type, symbol, month)
            path.parent.mkdir(parents=True, exist_ok=True)
            batch = rows_of(data_type, symbol, days, count, seed=number * 1_000 + month.toordinal())
            sources = tuple(SessionSource(day, count, 0, "made", None, "0" * 64) for day in days)
            kind = DATA_TYPES[data_type]
            found.append(write_partition(str(path), kind, [batch], symbol, month, sources, "made"))
    return found


def catalog(made: Made, partitions: Iterable[Partition]) -> None:
    """Write the catalog that knows these partitions, and their sessions as ingested."""
    listed = list(partitions)
    days = {(one.data_type, source.session) for one in listed for source in one.sessions}
    files = [SourceFile(name, day, None, "made", FileState.INGESTED) for name, day in sorted(days)]
    layout, sql = made.layout, SqlFolder(made.config.sql_dir(made.root))
    layout.staging.mkdir(parents=True, exist_ok=True)
    staged, config = layout.staging / "warehouse.duckdb", made.root / "config"
    change = CatalogChange(partitions=listed, files=files)
    with next_catalog.build(staged, layout, sql, config, change) as (_, built):
        pass
    for source, target in built.moves:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    staged.replace(layout.catalog)
