"""Bars of trades: the statements of sql/bars over the rows of one or more symbols."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars import kernel
from warehouse.bars.spec import BarSpec
from warehouse.bars.tape import is_in_order, on_tape, standing
from warehouse.core.calendar import Span, sessions_table
from warehouse.core.config import Config
from warehouse.core.duckdb_connection import connect, spill_folder, watched
from warehouse.errors import OversizedTradeError, SqlFileError
from warehouse.sqlfolder.bars.bar_file import BarFolder, Chain
from warehouse.sqlfolder.select_check import explained

READS = (
    *("symbol", "timestamp", "price", "size", "exchange", "conditions", "correction", "id"),
    *("sequence_number", "tape", "session"),
)
"""Columns of trades that bars rest on."""
FEWER = tuple(name for name in READS if name not in ("exchange", "id", "tape"))
"""Those that time bars need where no two trades are of one moment and sequence number."""
_BEYOND = 1e13
"""A price or a size from which on decimal(19, 6) does not hold it."""
KERNEL_STATEMENTS = ("tape", "eligible", "time", "bars", "unknown_conditions")
"""What the kernel, and `tape` before it, do as these statements do it."""


@dataclass(frozen=True)
class Unbarred:
    """What was traded in windows that have no bar: no trade there may set its prices.

    Attributes:
        shares, dollars: of the trades that count in the volume.
    """

    windows: int
    trades: int
    shares: float
    dollars: float


@dataclass(frozen=True)
class Bars:
    """Bars, and what is in none of them.

    Attributes:
        table: by symbol and time.
        unknown_conditions: codes that the table of conditions does not have, and of each how many
            trades of the tape carry it. They forbid nothing.
    """

    table: pa.Table
    unbarred: Unbarred
    unknown_conditions: Mapping[str, int]


@contextmanager
def engine(config: Config, conditions: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that computes and can reach nothing but what is handed to it.

    Args:
        conditions: of the columns `TRADE_CONDITIONS`.
    """
    with (
        spill_folder() as folder,
        connect(
            spill=folder,
            threads=config.processing.parallel_workers,
            memory_bytes=config.processing.memory_limit_bytes,
        ) as connection,
    ):
        connection.register("trade_conditions", conditions)
        yield connection


def bar_steps(spec: BarSpec, *, from_trades: bool) -> list[tuple[str, str]]:
    """The statements up to the bars, in turn, as (relation, name of the statement).

    Args:
        from_trades: they begin with the trades as stored, not with the tape.
    """
    steps = [("tape", "tape")] if from_trades else []
    return [*steps, ("eligible", "eligible"), *_windowing(spec), ("bars", "bars")]


def chain(folder: BarFolder, spec: BarSpec, *, from_trades: bool) -> Chain:
    """All statements that build such bars, in turn."""
    steps = bar_steps(spec, from_trades=from_trades)
    if spec.is_day:
        steps.append(("day_bars", "auctions"))
    elif spec.is_filled:
        steps.append(("filled_bars", "filled"))
    return folder.chain(steps)


def _windowing(spec: BarSpec) -> list[tuple[str, str]]:
    """The statements that put each trade into its window."""
    if spec.by == "time":
        return [("windowed", "day" if spec.is_day else "time")]
    if spec.by in ("tick", "volume", "dollar") and spec.excess != "drop":
        return [("measured", "measured"), ("windowed", "counted")]
    return [("measured", "measured"), ("ends", "ends"), ("windowed", "cut")]


def given(spec: BarSpec) -> dict[str, Any]:
    """Values of the statements' parameters."""
    return {
        "every_ns": spec.every_ns,
        "hours": spec.hours,
        "form_t_sets_extended": not spec.is_day,
        "by": spec.by,
        "threshold": spec.threshold,
        "excess": spec.excess,
        "span": spec.span,
    }


@contextmanager
def prepared(
    connection: duckdb.DuckDBPyConnection, folder: BarFolder, trades: pa.Table
) -> Iterator[bool]:
    """Show the connection the trades and the sessions they are of, while it is used.

    Trades that are in the order of the tape are shown as `tape`, numbered, unless the warehouse has
    a statement of its own for that; others as `trades`.

    Yields:
        Whether the statements have to begin with the trades.
    """
    is_numbered = folder.is_shipped("tape") and is_in_order(trades)
    tape = {"tape": on_tape(trades)} if is_numbered else {"trades": trades}
    with _shown(connection, sessions=sessions_of(trades), **tape):
        yield not is_numbered


@contextmanager
def _shown(connection: duckdb.DuckDBPyConnection, **tables: pa.Table) -> Iterator[None]:
    """Show the connection tables under their names."""
    for name, table in tables.items():
        connection.register(name, table)
    try:
        yield
    finally:
        for name in tables:
            connection.unregister(name)


def build(
    connection: duckdb.DuckDBPyConnection,
    folder: BarFolder,
    spec: BarSpec,
    trades: pa.Table,
    span: Span | None = None,
) -> Bars:
    """The bars of these trades.

    Args:
        connection: of `engine`.
        trades: the columns READS; one symbol after the other, each by (timestamp, sequence_number),
            NULL first.
        span: only bars that lie wholly within its [start, end); None: all.

    Raises:
        SqlFileError: a statement is not what it should be, or fails on these rows.
        OversizedTradeError: it fails for a number that it does not hold.
    """
    trades = _on_tape(folder, trades)
    found = _if_kernels(connection, folder, spec, trades)
    if found is None:
        rows, unknown = _by_statements(connection, folder, spec, trades, chain)
        return _finished(spec, _split(rows), unknown, span)
    made, unknown = found
    if spec.is_filled:
        with _shown(connection, bars=made.rows, sessions=sessions_of(trades)):
            filled = run(connection, folder.chain([("filled_bars", "filled")]), given(spec))
        made = _split(filled)
    return _finished(spec, made, unknown, span)


def windows(
    connection: duckdb.DuckDBPyConnection, folder: BarFolder, spec: BarSpec, trades: pa.Table
) -> tuple[pa.Table, Mapping[str, int]]:
    """What was traded in each window, whether it makes a bar or not; arguments as for `build`.

    Returns:
        The rows of sql/bars/bars, in some order, and the unknown conditions as `Bars` has them.

    Raises:
        SqlFileError: a statement is not what it should be, or fails on these rows.
    """
    trades = _on_tape(folder, trades)
    found = _if_kernels(connection, folder, spec, trades)
    if found is None:
        return _by_statements(connection, folder, spec, trades, _chain_to_bars)
    made, unknown = found
    return made.rows, unknown


def _by_statements(
    connection: duckdb.DuckDBPyConnection,
    folder: BarFolder,
    spec: BarSpec,
    trades: pa.Table,
    steps: Callable[..., Chain],
) -> tuple[pa.Table, Mapping[str, int]]:
    """The rows of a chain, and the unknown conditions."""
    trades = plain(trades)
    with prepared(connection, folder, trades) as from_trades, oversized_named(trades):
        rows = run(connection, steps(folder, spec, from_trades=from_trades), given(spec))
    return rows, _unknown(connection, folder, trades["conditions"])


@contextmanager
def oversized_named(trades: pa.Table) -> Iterator[None]:
    """Where a statement fails for a number that its decimals do not hold, its trade is named.

    Raises:
        OversizedTradeError: so it is.
    """
    try:
        yield
    except SqlFileError as error:
        if isinstance(error.__cause__, duckdb.ConversionException):
            _check_sizes(trades, error.path)
        raise


def _check_sizes(trades: pa.Table, path: Path) -> None:
    """Name the first trade that the decimals of a statement do not hold.

    Raises:
        OversizedTradeError: there is one.
    """
    for name in ("price", "size"):
        beyond = trades.filter(pc.greater_equal(pc.abs(trades[name]), _BEYOND))
        for one in beyond.slice(0, 1).select(["symbol", "timestamp", name]).to_pylist():
            raise OversizedTradeError(
                path, one["symbol"], one["timestamp"], name, one[name], _BEYOND
            )


def _chain_to_bars(folder: BarFolder, spec: BarSpec, *, from_trades: bool) -> Chain:
    return folder.chain(bar_steps(spec, from_trades=from_trades))


def _on_tape(folder: BarFolder, trades: pa.Table) -> pa.Table:
    """The trades of the tape; where a warehouse's own statement says which these are, all."""
    return standing(trades) if folder.is_shipped("tape") else trades


def by_kernel(
    spec: BarSpec, trades: pa.Table, rules: pa.Table, threads: int, span: Span | None
) -> Bars | None:
    """What `build` gives, without a DuckDB; None: the statements have to be asked.

    Args:
        trades: the columns FEWER, in the order of the tape by `is_in_order`; texts may be
            dictionaries.
        rules: of the columns `TRADE_CONDITIONS`.
        threads: so many work side by side.
    """
    found = None if spec.is_filled else _by_kernel(spec, standing(trades), rules, threads)
    return None if found is None else _finished(spec, *found, span)


def _if_kernels(
    connection: duckdb.DuckDBPyConnection, folder: BarFolder, spec: BarSpec, tape: pa.Table
) -> tuple[kernel.Windows, Mapping[str, int]] | None:
    """As `_by_kernel`, where the bars are the kernel's and the trades in their order."""
    if not (needs_fewer(folder, spec) and is_in_order(tape)):
        return None
    rules = connection.table("trade_conditions").to_arrow_table()
    return _by_kernel(spec, tape, rules, _threads(connection))


def _by_kernel(
    spec: BarSpec, tape: pa.Table, rules: pa.Table, threads: int
) -> tuple[kernel.Windows, Mapping[str, int]] | None:
    """The windows of trades of the tape, and the unknown conditions."""
    conditions = kernel.Conditions(rules)
    made = kernel.time_bars(tape, conditions, sessions_of(tape), spec.every_ns, spec.hours, threads)
    if made is None:
        return None
    # To count is another look at all rows.
    return made, conditions.unknown(tape["conditions"]) if conditions.has_unknown else {}


def _threads(connection: duckdb.DuckDBPyConnection) -> int:
    found = connection.execute("select current_setting('threads')").fetchall()
    # More than there are cores would wait for each other.
    return min(int(found[0][0]), os.cpu_count() or 1)


def plain(trades: pa.Table) -> pa.Table:
    """The same with texts for dictionaries."""
    for place, field in enumerate(trades.schema):
        if pa.types.is_dictionary(field.type):
            texts = trades[field.name].cast(field.type.value_type)
            trades = trades.set_column(place, field.name, texts)
    return trades


def _finished(
    spec: BarSpec,
    windows: kernel.Windows,
    unknown_conditions: Mapping[str, int],
    span: Span | None,
) -> Bars:
    """The bars of the span, and what is in none of them."""
    bars, rest = windows
    if span is not None:
        bars, rest = (_within(each, span, is_open=spec.by == "time") for each in windows)
    if not rest.num_rows:
        return Bars(bars, Unbarred(0, 0, 0.0, 0.0), unknown_conditions)
    # As one piece: the last digit of a sum of doubles depends on where they are cut.
    columns = [rest[name].combine_chunks() for name in ("trades", "volume", "dollar_volume")]
    unbarred = Unbarred(rest.num_rows, *(pc.sum(each).as_py() for each in columns))
    return Bars(bars, unbarred, unknown_conditions)


def _split(rows: pa.Table) -> kernel.Windows:
    """Rows of the statements, by whether they are bars."""
    is_bar, windows = rows["is_bar"], rows.drop_columns(["is_bar"])
    if pc.all(is_bar, min_count=0).as_py():
        return kernel.Windows(windows, windows.slice(0, 0))
    return kernel.Windows(windows.filter(is_bar), windows.filter(pc.invert(is_bar)))


def needs_fewer(folder: BarFolder, spec: BarSpec) -> bool:
    """Whether such bars are the kernel's, and rest on the columns FEWER alone.

    A warehouse that has statements of its own may read any column.
    """
    return bool(spec.every_ns) and all(map(folder.is_shipped, KERNEL_STATEMENTS))


def _unknown(
    connection: duckdb.DuckDBPyConnection, folder: BarFolder, conditions: pa.ChunkedArray
) -> dict[str, int]:
    """Codes that the table of conditions does not have, and how many trades carry each."""
    listed = pa.table(pc.value_counts(conditions).flatten(), ["conditions", "trades"])
    with _shown(connection, listed=listed):
        codes = run(connection, folder.chain([("unknown", "unknown_conditions")]), {})
    return {each["condition"]: each["trades"] for each in codes.to_pylist()}


def run(
    connection: duckdb.DuckDBPyConnection, statements: Chain, values: Mapping[str, Any]
) -> pa.Table:
    """The rows of a chain.

    Args:
        values: of its parameters, and perhaps others.

    Raises:
        SqlFileError: DuckDB cannot run it.
    """
    params = {name: values[name] for name in statements.parameters}
    try:
        return watched(
            connection,
            statements.steps[-1][1].file.name,
            lambda: connection.sql(statements.sql, params=params).to_arrow_table(),
        )
    except duckdb.Error as error:
        path = statements.steps[-1][1].file.path
        raise SqlFileError(path, f"fails on these trades: {explained(error)}") from error


def _within(rows: pa.Table, span: Span, *, is_open: bool) -> pa.Table:
    """The bars that lie wholly within [start, end) of the span.

    Args:
        is_open: their `end_timestamp` is no instant of theirs, but the one after.
    """
    begins, ends = (rows[name].cast(pa.int64()) for name in ("timestamp", "end_timestamp"))
    ends_within = pc.less_equal if is_open else pc.less
    inside = pc.and_(
        pc.greater_equal(begins, pa.scalar(span.start_ns, pa.int64())),
        ends_within(ends, pa.scalar(span.end_ns, pa.int64())),
    )
    return rows if pc.all(inside, min_count=0).as_py() else rows.filter(inside)


def sessions_of(trades: pa.Table) -> pa.Table:
    """The calendar of the sessions in which there are trades, of the columns SESSIONS."""
    days = trades["session"].cast(pa.int32()).to_numpy()
    # They stand together by symbol: to look for the edges takes a tenth of the time.
    edges = np.flatnonzero(days[1:] != days[:-1]) + 1
    every = np.unique(np.append(days[:1], days[edges]))
    return sessions_table(pa.array(every).cast(pa.date32()).to_pylist())
