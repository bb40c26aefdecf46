"""Partitions into Arrow: the columns asked, of the row groups that the span touches, verified.

Every page's checksum is verified. The footer has none, so what it says is held against what the
catalog and the data type say before any of it is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import CorruptPartitionError
from warehouse.frames import between, compact, symbol_column
from warehouse.layout import Layout
from warehouse.partitions import damaged, open_partition
from warehouse.schema import DataType
from warehouse.snapshot import Stored

_STAMP_TYPE = "INT64"


def read_partitions(
    layout: Layout,
    kind: DataType,
    stored: Sequence[Stored],
    columns: Sequence[str],
    start_ns: int,
    end_ns: int,
    pool: Executor | None,
) -> pa.Table:
    """Rows of [start_ns, end_ns) of several partitions, one after the other.

    Args:
        stored: at least part of each lies in the span.
        columns: of the data type, in the order wanted.
        pool: reads several at once; None: all on this thread.

    Raises:
        CorruptPartitionError: a file is damaged, or not the one the catalog knows.
    """

    def read(one: Stored, *, threads: bool = False) -> pa.Table:
        return _read(layout, kind, one, columns, start_ns, end_ns, threads)

    tables: Iterable[pa.Table]
    if pool is None:
        tables = map(read, stored)
    elif len(stored) == 1:
        tables = [read(stored[0], threads=True)]
    else:
        tables = pool.map(read, stored)
    empty = kind.columns.empty_table().select(list(columns))
    return pa.concat_tables([empty, *tables])


def _read(
    layout: Layout,
    kind: DataType,
    stored: Stored,
    columns: Sequence[str],
    start_ns: int,
    end_ns: int,
    threads: bool,
) -> pa.Table:
    path = layout.partition(stored.data_type, stored.symbol, stored.month)
    whole = start_ns <= stored.first_ns and stored.last_ns < end_ns
    # A partition has one symbol: reading it back from the file would take longer than the prices.
    names = [name for name in columns if name != "symbol"]
    if not whole and "timestamp" not in names:
        names.append("timestamp")
    try:
        with open_partition(path, stored.data_type, stored.symbol) as file:
            _check(path, kind, stored, file)
            groups = list(range(file.metadata.num_row_groups))
            if not whole:
                groups = _overlapping(file.metadata, stored, start_ns, end_ns)
            due = sum(file.metadata.row_group(group).num_rows for group in groups)
            if names:
                table = file.read_row_groups(groups, columns=names, use_threads=threads)
            else:
                table = pa.table({"symbol": symbol_column(stored.symbol, due)})
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged(path, stored.data_type, stored.symbol, error) from error
    if table.num_rows != due:
        _refuse(path, stored, f"{table.num_rows:,} rows came where {due:,} were due")
    if not whole:
        low, high = between(table["timestamp"], start_ns, end_ns)
        if high - low < due:
            table = compact(table.slice(low, high - low))
    if "symbol" in columns and "symbol" not in table.column_names:
        symbols = symbol_column(stored.symbol, table.num_rows)
        table = table.append_column("symbol", symbols)
    return table.select(list(columns))


def _check(path: Path, kind: DataType, stored: Stored, file: pq.ParquetFile) -> None:
    """Hold the footer against the catalog."""
    metadata = file.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if metadata.num_rows != stored.rows or sum(group.num_rows for group in groups) != stored.rows:
        _refuse(path, stored, f"{metadata.num_rows:,} rows, the catalog says {stored.rows:,}")
    if not file.schema_arrow.remove_metadata().equals(kind.columns):
        _refuse(path, stored, f"its columns are not those of {kind.name}")
    size = path.stat().st_size
    if size != stored.bytes:
        _refuse(path, stored, f"{size:,} bytes, the catalog says {stored.bytes:,}")


def _overlapping(
    metadata: pq.FileMetaData, stored: Stored, start_ns: int, end_ns: int
) -> list[int]:
    """Row groups that may hold rows of [start_ns, end_ns).

    Rows ascend, so the bounds of its neighbours, and the catalog's of the partition, bound a group
    as well as its own do. The wider of both is taken: no wrong number in a footer may hide a row.
    """
    bounds = [_bounds(metadata.row_group(group)) for group in range(metadata.num_row_groups)]
    found = []
    for group, (first, last) in enumerate(bounds):
        before = bounds[group - 1][1] if group else stored.first_ns
        after = bounds[group + 1][0] if group + 1 < len(bounds) else stored.last_ns
        if max(last, after) >= start_ns and min(first, before) < end_ns:
            found.append(group)
    return found


def _bounds(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """Stamps of a row group's first and last row; all of time where it does not say."""
    for place in range(group.num_columns):
        column = group.column(place)
        # Statistics of a column that is not of its type would end the process.
        if column.path_in_schema == "timestamp" and column.physical_type == _STAMP_TYPE:
            statistics = column.statistics
            if statistics is not None and statistics.has_min_max:
                return int(statistics.min_raw), int(statistics.max_raw)
    return -(2**63), 2**63 - 1


def _refuse(path: Path, stored: Stored, problem: str) -> NoReturn:
    raise CorruptPartitionError(
        path, problem, f"warehouse rebuild {stored.data_type} --symbols '{stored.symbol}'"
    )
