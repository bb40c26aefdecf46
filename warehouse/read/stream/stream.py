"""Streams: rows of many symbols and data types in the order of time, in memory that is bounded.

The order is (timestamp, symbol, data type, sequence number), and within all these that of the
partition; it is total, and the same every time. Symbols are in byte order. Data types are in the
order of `ORDER`: at the same nanosecond a quote comes before the trades, as an as-of join by
`quote.timestamp <= trade.timestamp` has it, and a bar comes last.

A bar is stamped with its first instant and tells of what came after it: whoever must not look
ahead acts on it when it is over.

What is open, decoded and sorted stays within `processing.memory_limit_gb` (beside what the process
takes anyway), however long the span is. Partitions that are open, and those that a publish leaves
alone, are read as they were when the stream was asked for; of any other the stream says that it was
replaced.
"""

from __future__ import annotations

import inspect
import os
import resource
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import chain
from operator import index
from threading import Lock
from types import TracebackType
from typing import Any
from weakref import finalize

import pandas as pd
import pyarrow as pa

from warehouse.bars.adjustment import factors
from warehouse.core.calendar import Moment, Span, parse_span
from warehouse.core.config import Config
from warehouse.core.datatypes import DataType
from warehouse.core.process import Threads
from warehouse.core.representation import Face
from warehouse.errors import RequestError, SupersededError, WarehouseError
from warehouse.read import availability, models, partition_reader
from warehouse.read.arguments import (
    Comparison,
    choice,
    columns_of_all,
    comparison_of,
    kinds_of,
    symbols_of,
)
from warehouse.read.frames import check_zone
from warehouse.read.partition_reader import Piece, Series
from warehouse.read.snapshot import Snapshot, Snapshots, Stored
from warehouse.read.stream.held_object import Coming, HeldObject
from warehouse.read.stream.interleave import TYPE, Interleaved, Part, Shape, Slice
from warehouse.read.stream.partition_cursor import Tape
from warehouse.read.stream.pinned_file import Descriptors, HeldFile, Replaced
from warehouse.store.parquet_writer import ROW_GROUP_ROWS, WHOLE_SESSIONS_ROWS
from warehouse.store.partitions import damaged

ORDER = ("quotes", "trades", "minute_aggs", "day_aggs")
"""The order of rows of the same stamp and symbol."""

BATCH_ROWS = 65_536
MOST_BATCH_ROWS = 1_000_000

_FORMS = ("arrow", "rows")
_MISSING = ("raise", "ignore")

# Rows of each tape that are decoded at once, on average, and their bounds for a single tape.
_ROWS_AT_ONCE = 4_096
_FEWEST_AT_ONCE, _MOST_AT_ONCE = 256, 65_536
_FEWEST_AHEAD = 131_072
# Rows that are sorted together: few enough for the processor's caches, but of each tape enough that
# it is worth going through all. Of the sorted ones so many are gathered together.
_SLICE_ROWS, _SLICE_ROWS_OF_TAPE = 262_144, 1_024
_BLOCK_ROWS = 65_536

# What a partition costs while it is open, as measured: its pages of a row group, decompressed and
# with what decodes them, and the buffers; and, whatever columns are asked, what its footer says of
# each row group.
_PAGE_EXPANSION = 1.7
_OPEN_BYTES = 70_000
_GROUP_BYTES = 12_000
_MOST_SESSIONS = 23
# Of the memory limit: what open partitions and a batch may take, and what they and all rows may.
_MOST_FOR_OPEN, _MOST_IN_ALL = 0.5, 0.7
# How many times the rows of a slice are in memory (fetched, joined, and the slice given out), and
# those that are decoded ahead of it (a batch stays whole until its last row is taken).
_SLICE_COPIES, _AHEAD_COPIES = 3.5, 2
_MOST_DESCRIPTORS = 1_024
_TEXT_BYTES = 20
_ORDER_BYTES = 24


@dataclass(frozen=True)
class Question:
    """What is asked of `Warehouse.stream`, checked; see `arguments.Question`.

    Attributes:
        kinds: in the order of `ORDER`.
        columns: with `TYPE`, where there are several kinds.
    """

    kinds: tuple[DataType, ...]
    symbols: tuple[str, ...]
    span: Span
    columns: tuple[str, ...]
    batch_rows: int
    form: str
    zone: str
    whole: bool
    comparison: Comparison


def question(
    symbols: str | Sequence[str],
    start: Moment,
    end: Moment | None,
    data_types: str | Sequence[str],
    *,
    columns: Sequence[str] | None = None,
    batch_rows: int = BATCH_ROWS,
    to: str = "arrow",
    tz: str = "UTC",
    missing: str = "raise",
    adjust: str = "none",
    as_of: Moment | None = None,
    follow_renames: bool = False,
) -> Question:
    """What is asked of `Warehouse.stream`, whose arguments these are.

    Raises:
        RequestError: an argument is not one of the things it may be.
    """
    kinds = kinds_of(data_types)
    names, span = symbols_of(symbols), parse_span(start, end)
    form, zone = choice("to", to, _FORMS), check_zone(tz)
    whole = choice("missing", missing, _MISSING) == "raise"
    wanted = columns_of_all(kinds, columns)
    try:
        rows = 0 if isinstance(batch_rows, bool) else index(batch_rows)
    except TypeError:
        rows = 0
    if not 1 <= rows <= MOST_BATCH_ROWS:
        raise RequestError("batch_rows", batch_rows, f"it may be 1 to {MOST_BATCH_ROWS:,}")
    if form == "rows":
        if columns is not None:
            raise RequestError("columns", columns, "rows have those of their model; leave it out")
        if zone != "UTC":
            raise RequestError("tz", tz, "the stamps of rows are in UTC; leave it out")
        needed = {name for kind in kinds for name in models.columns_of(kind.columns.names)}
        wanted = tuple(name for name in wanted if name in needed)
    if len(kinds) > 1:
        wanted = (TYPE, *wanted)
    kinds = tuple(sorted(kinds, key=lambda kind: ORDER.index(kind.name)))
    comparison = comparison_of(span, adjust, as_of, follow_renames)
    return Question(kinds, names, span, wanted, rows, form, zone, whole, comparison)


class Stream(Face):
    """Record batches of one generation of the warehouse; close it, or use `with`.

    It goes forward once; where several threads take from it, each batch goes to one of them.
    Leaving it early, and forgetting it, closes its files and ends its thread. Whatever takes an
    Arrow stream takes it: `pa.RecordBatchReader.from_stream`, `polars.DataFrame`, a DuckDB query.

    Attributes:
        schema: of every batch.
    """

    def __init__(self, rows: Interleaved, shape: Shape, batch_rows: int, ahead: bool) -> None:
        self.schema = shape.schema
        self._batch_rows = batch_rows
        self._process = os.getpid()
        # A generator refuses a second thread, and one that wants to close it.
        self._taking = Lock()
        thread = Threads(1, thread_name_prefix="warehouse-stream") if ahead else None
        # Neither of these knows this object: it goes when its last holder lets it go.
        self._finalizer = finalize(self, _let_go, thread, rows)
        self._batches = _batches(rows, shape, batch_rows, thread)

    def _face(self) -> dict[str, Any]:
        is_over = inspect.getgeneratorstate(self._batches) == inspect.GEN_CLOSED
        return {
            "": "ended" if is_over else "open",
            "batch_rows": self._batch_rows,
            "columns": ", ".join(self.schema.names),
        }

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> pa.RecordBatch:
        if os.getpid() != self._process:
            raise RequestError(
                "stream", f"of process {self._process}", "a child of a fork asks for its own"
            )
        with self._taking:
            return next(self._batches)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self.schema, self)
        return reader.__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """Close the files and end the thread; there are no more batches then.

        Where another thread is taking a batch, it gets that one.
        """
        with self._taking:
            self._batches.close()
        self._finalizer()


def _let_go(thread: ThreadPoolExecutor | None, rows: Interleaved) -> None:
    if thread is not None:
        # What it is about takes a fraction of a second.
        thread.shutdown(cancel_futures=True)
    rows.close()


def _batches(
    rows: Interleaved, shape: Shape, batch_rows: int, thread: ThreadPoolExecutor | None
) -> Generator[pa.RecordBatch, None, None]:
    """The rows in batches of so many; the last has what is left, before an error too."""
    failure: WarehouseError | None = None
    block_rows = batch_rows * max(1, _BLOCK_ROWS // batch_rows)
    held: list[pa.RecordBatch] = []
    count = 0
    try:
        for parts in _fetched(rows, thread):
            several = Slice(shape, parts)
            parts.clear()
            start = 0
            while start < several.rows:
                stop = min(start + (batch_rows - count if count else block_rows), several.rows)
                held.append(several.block(start, stop))
                count += stop - start
                start = stop
                if count < batch_rows:
                    continue
                block = _sealed(held)
                held.clear()
                left = count % batch_rows
                for at in range(0, count - left, batch_rows):
                    yield block.slice(at, batch_rows)
                if left:
                    held.append(block.slice(count - left))
                count = left
    except Replaced as gone:
        resume = pd.Timestamp(rows.reached_ns, tz="UTC")
        failure = SupersededError(gone.path, str(resume))
    except WarehouseError as error:
        failure = error
    finally:
        _let_go(thread, rows)
    if count:
        yield _sealed(held)
    if failure is not None:
        raise failure


def _sealed(held: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """All in one batch, whose memory nobody can write to: more than one is made of it."""
    whole = held[0] if len(held) == 1 else pa.concat_batches(held)
    # By the C interface, as `frames.sealed` does it.
    return pa.record_batch(whole)


def _fetched(rows: Interleaved, thread: ThreadPoolExecutor | None) -> Iterator[list[Part]]:
    """What the slices are made of; the next is fetched while the present one is sorted."""
    if thread is None:
        while parts := rows.next_parts():
            yield parts
        return
    coming = thread.submit(rows.next_parts)
    while parts := coming.result():
        coming = thread.submit(rows.next_parts)
        yield parts


def begin(
    snapshots: Snapshots, asked: Question, exchanges: Mapping[int, str]
) -> Stream | Iterator[models.Row]:
    """The stream that is asked for, of the present generation, as `Warehouse.stream` says.

    Args:
        exchanges: names of exchanges, for rows.
    """

    def hold(snapshot: Snapshot) -> Stream:
        series: Series | None = None
        if asked.comparison.follow_renames:
            series = partition_reader.series_of(snapshot, asked.symbols, asked.span)
        for kind in asked.kinds if asked.whole else ():
            if series is None:
                availability.check(snapshot, kind, asked.symbols, asked.span)
            else:
                availability.check_series(snapshot, kind, series)
        every = series or [(symbol, asked.span) for symbol in asked.symbols]
        return snapshots.whole(snapshot, lambda: _hold(snapshot, asked, every))

    stream = snapshots.read(hold)
    return stream if asked.form == "arrow" else _rows(stream, asked.kinds, exchanges)


def _hold(snapshot: Snapshot, asked: Question, series: Series) -> Stream:
    """The stream, with a note of every file that it will read, and the first of them open.

    Args:
        series: the symbols, and of which stretch of time each one's rows are given.
    """
    symbols = sorted({symbol for symbol, _ in series})
    places = {symbol: place for place, symbol in enumerate(symbols)}
    pieces: dict[tuple[int, int], list[Piece]] = {}
    for number, kind in enumerate(asked.kinds):
        for span, named in _by_span(series):
            stored = partition_reader.touched(snapshot, kind, named, span)
            for piece in partition_reader.pieces_of(snapshot, stored, span):
                pieces.setdefault((places[piece.stored.symbol], number), []).append(piece)
    keys = sorted(pieces)
    slice_rows, at_once = _plan([pieces[key] for key in keys], asked, snapshot.config)
    files: dict[Piece, HeldFile | HeldObject] = {}
    every = list(chain(*pieces.values()))
    coming = None if snapshot.objects is None else Coming(snapshot.objects, every)
    descriptors = Descriptors(_most_descriptors())
    try:
        for piece in sorted(every, key=lambda piece: piece.stored.month):
            try:
                if coming is None:
                    files[piece] = HeldFile(piece.path, descriptors)
                    files[piece].hold()
                else:
                    files[piece] = HeldObject(piece, coming, descriptors)
            except OSError as error:
                names = (piece.stored.data_type, piece.stored.whose)
                raise damaged(piece.path, *names, error) from error
    except BaseException:
        for file in files.values():
            file.close()
        raise
    how, span = asked.comparison, asked.span
    by = factors(snapshot, symbols, how.adjust, span.first, span.last, how.as_of)
    tapes = [
        Tape(
            asked.kinds[key[1]],
            [(piece, files[piece], at_once(piece.stored)) for piece in pieces[key]],
            asked.columns,
            asked.span.start_ns,
            by.steps.get(symbols[key[0]], ()),
        )
        for key in keys
    ]
    shape = Shape(asked.kinds, asked.columns, asked.zone, symbols)
    # Row by row the interpreter is what there is too little of: a thread would only wait for it.
    ahead = asked.form == "arrow" and snapshot.config.processing.parallel_workers > 1
    rows = Interleaved(tapes, keys, slice_rows)
    return Stream(rows, shape, asked.batch_rows, ahead)


def _by_span(series: Series) -> list[tuple[Span, list[str]]]:
    """The symbols of each stretch of time, in its order."""
    named: dict[Span, list[str]] = {}
    for symbol, span in sorted(series, key=lambda one: (one[1].start_ns, one[0])):
        named.setdefault(span, []).append(symbol)
    return list(named.items())


def _plan(
    pieces: Sequence[Sequence[Piece]], asked: Question, config: Config
) -> tuple[int, Callable[[Stored], int]]:
    """How many rows make a slice, and how many of a partition are decoded at once.

    Raises:
        RequestError: the open partitions alone would fill the memory.
    """
    limit = config.processing.memory_limit_bytes
    width = {kind.name: sum(map(_bytes_of, kind.columns)) for kind in asked.kinds}
    fields = {field.name: field for kind in asked.kinds for field in kind.columns}
    row_bytes = sum(_bytes_of(fields[name]) for name in asked.columns if name in fields)

    def pages(stored: Stored) -> float:
        share = min(1.0, row_bytes / width[stored.data_type])
        encoded = stored.bytes * min(1.0, ROW_GROUP_ROWS / stored.file_rows)
        groups = 1 + min(_MOST_SESSIONS, stored.file_rows // WHOLE_SESSIONS_ROWS)
        groups += stored.file_rows // ROW_GROUP_ROWS
        return share * (encoded * _PAGE_EXPANSION + _OPEN_BYTES) + groups * _GROUP_BYTES

    # A tape has one partition open at a time. A batch may be there in pieces, and then in one.
    open_bytes = sum(max(pages(piece.stored) for piece in some) for some in pieces)
    open_bytes += 2 * asked.batch_rows * row_bytes
    if open_bytes > _MOST_FOR_OPEN * limit:
        raise RequestError(
            "symbols",
            f"{len(asked.symbols):,} of them",
            f"a stream of so many would take {open_bytes / 1024**3:.2f} GiB for the pages and"
            " footers it has open and a batch, more than half of processing.memory_limit_gb"
            f" = {config.processing.memory_limit_gb:g}; raise it, or name fewer symbols or"
            " columns, or a smaller batch_rows",
        )
    half = (_MOST_IN_ALL * limit - open_bytes) / (2 * (row_bytes + _ORDER_BYTES))
    slice_rows = max(_SLICE_ROWS, _SLICE_ROWS_OF_TAPE * len(pieces))
    slice_rows = int(min(slice_rows, half / _SLICE_COPIES))
    ahead = int(min(max(_ROWS_AT_ONCE * len(pieces), _FEWEST_AHEAD), half / _AHEAD_COPIES))
    in_month = Counter[date]()
    for piece in chain(*pieces):
        in_month[piece.stored.month] += piece.stored.rows

    def at_once(stored: Stored) -> int:
        # In the measure of their rows, so that all come about as far.
        rows = ahead * stored.rows // in_month[stored.month]
        return min(max(rows, _FEWEST_AT_ONCE), _MOST_AT_ONCE)

    return slice_rows, at_once


def _bytes_of(field: pa.Field) -> int:
    return _TEXT_BYTES if field.type == pa.string() else field.type.bit_width // 8


def _most_descriptors() -> int:
    """A part of what the process may have open: others want some too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(sys.maxsize if soft == resource.RLIM_INFINITY else soft // 4, _MOST_DESCRIPTORS)


def _rows(
    stream: Stream, kinds: Sequence[DataType], exchanges: Mapping[int, str]
) -> Iterator[models.Row]:
    with stream:
        for batch in stream:
            table = pa.Table.from_batches([batch])
            if len(kinds) == 1:
                yield from models.rows(table, exchanges)
                continue
            places = batch.column(TYPE).indices.to_numpy()
            each = []
            for place, kind in enumerate(kinds):
                own = table.select(list(models.columns_of(kind.columns.names)))
                each.append(models.rows(own.filter(pa.array(places == place)), exchanges))
            for place in places.tolist():
                yield next(each[place])
