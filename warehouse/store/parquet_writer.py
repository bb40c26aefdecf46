"""Encoding: rows into the one Parquet file of a partition.

All partitions of a data type declare the same schema, so that whoever opens several of them without
us can put them together: a column is `required` where the data type promises a value, and takes a
fifth less time to decode. A footer names the other columns a second time, for a flipped bit there
would let a reader take levels for values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.core.datatypes import DataType
from warehouse.errors import SqlFileError

ROW_GROUP_ROWS = 32_768
"""A row group has no more rows. A column of it is one page, which a stream holds decompressed."""
MOST_GROUP_ROWS = 1 << 20
"""A row group with more rows is none of ours, whichever version wrote it."""
WHOLE_SESSIONS_ROWS = 8_192
"""So many rows are not joined with the next session's: a small group costs more than it saves."""
ABSENT_KEY = b"flatfile_warehouse.absent"
"""Under this a footer names the columns in which a value may be absent, with commas between them.
In a file of an earlier version these are fewer, or more: those in which one is."""

# Stamps and sequence numbers grow by little: as differences they take a third less room than in a
# dictionary. What repeats goes into a dictionary; an id never repeats.
_DELTA = ("timestamp", "sequence_number", "participant_timestamp", "trf_timestamp")
_PLAIN = ("id",)
# What a reader prunes by. Minima and maxima of all columns would take a tenth of the time a small
# partition takes, and a twentieth of its bytes.
_STATISTICS = frozenset(
    ("symbol", "timestamp", "session", "price", "bid_price", "ask_price", "high", "low")
)
# As small as snappy and quicker to read, ids in half the time. zstd would be an eighth smaller, and
# takes three times as long for the small partitions that most symbols have.
_COMPRESSION = "lz4"
# Places in a dictionary hardly shrink any more: a file is 2 to 5 % larger for it, and what
# everybody reads is read 6 % sooner.
_UNCOMPRESSED = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size")
# A dictionary is two pages instead of one: below this that costs more than it saves.
_SMALL_ROWS = 1_024
_NO_LIMIT = 1 << 30
_IN_SIGHT = 2 * ROW_GROUP_ROWS
"""So many rows tell where a row group ends, if more follow."""
# Bars of a row group share their stamps. Of prices and volumes hardly one repeats: in a dictionary
# they take a quarter more bytes, and twice the time to read.
_MARKET_DICTIONARY = ("symbol", "timestamp", "vwap", "session")
_MARKET_DELTA = ("trades",)


@dataclass
class Edges:
    """What was encoded: how many rows, and the earliest and the latest stamp."""

    rows: int = 0
    first_ns: int = 0
    last_ns: int = 0


def encode(
    sink: Any,
    kind: DataType,
    rows: Iterable[pa.RecordBatch],
    metadata: Mapping[bytes, bytes],
    sessions: Sequence[int],
) -> Edges:
    """Encode rows into a sink of pyarrow's, which stays open; returns their edges.

    Args:
        rows: in the order of the tape.
        sessions: how many rows of each session there will be.

    Raises:
        SqlFileError: a row lacks a value that every row of the data type has.
    """
    groups = _row_groups(rows, kind.columns.names, group_rows(sessions))
    return _encode(sink, kind, groups, metadata, _options(kind, sum(sessions) < _SMALL_ROWS))


def encode_market(
    sink: Any, kind: DataType, rows: Iterable[pa.RecordBatch], metadata: Mapping[bytes, bytes]
) -> Edges:
    """The same of rows of all symbols, by symbol and then in the order of the tape.

    Row groups end with a symbol, so that who asks for one decodes few other rows.

    Raises:
        SqlFileError: a row lacks a value that every row of the data type has.
    """
    groups = _market_groups(rows, kind.columns.names)
    return _encode(sink, kind, groups, metadata, _market_options(kind))


def _encode(
    sink: Any,
    kind: DataType,
    groups: Iterable[pa.Table],
    metadata: Mapping[bytes, bytes],
    options: Mapping[str, Any],
) -> Edges:
    edges = Edges()
    with pq.ParquetWriter(sink, kind.stored, **options) as writer:
        writer.add_key_value_metadata({**metadata, ABSENT_KEY: _optional(kind)})
        for group in groups:
            check_complete(kind, group)
            stamps = group.column("timestamp").chunk(0).to_numpy()
            first, last = int(stamps.min()), int(stamps.max())
            edges.first_ns = min(edges.first_ns, first) if edges.rows else first
            edges.last_ns = max(edges.last_ns, last) if edges.rows else last
            edges.rows += group.num_rows
            table = pa.Table.from_arrays(group.columns, schema=kind.stored)
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return edges


def check_complete(kind: DataType, rows: pa.Table | pa.RecordBatch) -> None:
    """Refuse kept rows that lack a value which every row of the data type has.

    Raises:
        SqlFileError: names the column.
    """
    for name in kind.required:
        if rows.column(name).null_count:
            raise SqlFileError(
                Path("sql", "clean", f"{kind.name}.sql"),
                f"keeps a row without {name}, which every row of {kind.name} has;"
                " give such rows a reason",
            )


@cache
def _optional(kind: DataType) -> bytes:
    return ",".join(name for name in kind.columns.names if name not in kind.required).encode()


@lru_cache(maxsize=256)
def _declared(kind: DataType, absent: frozenset[str]) -> pa.Schema:
    """The data type's columns, of which only these may lack a value."""
    return pa.schema([field.with_nullable(field.name in absent) for field in kind.columns])


def declared_by(kind: DataType, metadata: Mapping[bytes, bytes]) -> pa.Schema:
    """The columns that a partition has which says this in its footer."""
    told = metadata.get(ABSENT_KEY)
    if told is None:  # by a version for which every column may lack values
        return kind.columns
    return _declared(kind, frozenset(told.decode(errors="replace").split(",")))


@cache
def _options(kind: DataType, is_small: bool) -> dict[str, Any]:
    names = kind.columns.names
    dictionary = [n for n in names if n not in _DELTA and n not in _PLAIN]
    return {
        "compression": {n: _compression(n, is_small) for n in names},
        "use_dictionary": False if is_small else dictionary,
        "column_encoding": {n: "DELTA_BINARY_PACKED" for n in names if n in _DELTA},
        "write_statistics": [n for n in names if n in _STATISTICS],
        "write_page_checksum": True,
        # One page each: of the header, which has no checksum, a flipped bit could let the decoder
        # take a value more or less of one page, and shift all those of the next.
        "max_rows_per_page": _NO_LIMIT,
        "data_page_size": _NO_LIMIT,
        "dictionary_pagesize_limit": _NO_LIMIT,
        # The Arrow schema would say again what the Parquet schema says, in 2 KB a file.
        "store_schema": False,
    }


@cache
def _market_options(kind: DataType) -> dict[str, Any]:
    options = {**_options(kind, False), "compression": "zstd", "compression_level": 3}
    if "vwap" not in kind.columns.names:
        return options
    return {
        **options,
        "use_dictionary": [n for n in kind.columns.names if n in _MARKET_DICTIONARY],
        "column_encoding": dict.fromkeys(_MARKET_DELTA, "DELTA_BINARY_PACKED"),
    }


def _compression(name: str, is_small: bool) -> str:
    return "none" if name in _UNCOMPRESSED and not is_small else _COMPRESSION


def group_rows(sessions: Iterable[int]) -> list[int]:
    """How many rows each row group has, of sessions with so many rows.

    A group holds several small sessions, or a session, or an equal part of a large one; a large
    one is joined with the small ones before it. So who asks for a session decodes few other rows.
    """
    groups: list[int] = []
    held = 0
    for count in sessions:
        held += count
        if held >= WHOLE_SESSIONS_ROWS:
            groups += _parts(held)
            held = 0
    return groups + _parts(held)


def _parts(rows: int) -> list[int]:
    """So many rows in as few row groups as can be, of equal size but for one row."""
    number = -(-rows // ROW_GROUP_ROWS)
    return [rows * (part + 1) // number - rows * part // number for part in range(number)]


def _row_groups(
    parts: Iterable[pa.RecordBatch], names: list[str], sizes: Iterable[int]
) -> Iterator[pa.Table]:
    """The rows in tables of one row group each, every column in one piece; what is left, last.

    How an encoder cuts pages depends on the pieces it is given, and the bytes must not.
    """
    held: list[pa.RecordBatch] = []
    count = 0
    due = iter(sizes)
    size = next(due, ROW_GROUP_ROWS)
    for part in parts:
        part = part.select(names)
        while count + part.num_rows >= size:
            head = part.slice(0, size - count)
            part = part.slice(head.num_rows)
            yield _one_piece([*held, head])
            held, count = [], 0
            size = next(due, ROW_GROUP_ROWS)
        if part.num_rows:
            held.append(part)
            count += part.num_rows
    if held:
        yield _one_piece(held)


def _market_groups(parts: Iterable[pa.RecordBatch], names: list[str]) -> Iterator[pa.Table]:
    """Rows of all symbols in tables of one row group each, every column in one piece.

    A group ends with the symbol that makes it large enough. A symbol with which it would be too
    large begins a group of its own, or several, of which the last takes in what follows. So groups
    follow from the rows alone.
    """
    coming = iter(parts)
    held: list[pa.RecordBatch] = []
    count = 0
    is_more = True
    while is_more or count:
        while is_more and count < _IN_SIGHT:
            part = next(coming, None)
            is_more = part is not None
            if part is not None and part.num_rows:
                held.append(part.select(names))
                count += part.num_rows
        if not count:
            return
        rows = pa.Table.from_batches(held).combine_chunks()
        while rows.num_rows >= _IN_SIGHT or (rows.num_rows and not is_more):
            symbols = rows["symbol"].chunk(0).slice(0, _IN_SIGHT)
            end = _end_of_group(symbols, is_more or rows.num_rows > _IN_SIGHT)
            yield rows.slice(0, end)
            rows = rows.slice(end)
        held, count = rows.to_batches(), rows.num_rows


def _end_of_group(symbols: pa.Array, is_more: bool) -> int:
    """How many of these rows make the next row group.

    Args:
        is_more: more rows follow; then there are two groups' worth at least.
    """
    changed = pc.not_equal(symbols[1:], symbols[:-1]).to_numpy(zero_copy_only=False)
    edges = np.flatnonzero(changed) + 1
    if not is_more:
        edges = np.append(edges, len(symbols))
    large = edges[edges >= WHOLE_SESSIONS_ROWS]
    if len(large) and large[0] <= ROW_GROUP_ROWS:
        return int(large[0])
    if not is_more and len(symbols) <= ROW_GROUP_ROWS:
        return len(symbols)
    small = edges[edges < WHOLE_SESSIONS_ROWS]
    return int(small[-1]) if len(small) else ROW_GROUP_ROWS


def _one_piece(batches: list[pa.RecordBatch]) -> pa.Table:
    table = pa.Table.from_batches(batches)
    return table if len(batches) == 1 else table.combine_chunks()
