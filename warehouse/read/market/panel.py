"""Panels: one column of all symbols, a row for each session and a column for each symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.bars.securities import Bearing
from warehouse.core.calendar import Moment, Span, day_bounds_ns, parse_span, span_between
from warehouse.core.datatypes import DataType, is_kept_bars
from warehouse.core.process import available_bytes
from warehouse.errors import RequestError, TooLargeError
from warehouse.read.arguments import (
    ALL,
    Comparison,
    Question,
    choice,
    columns_of,
    comparison_of,
    kind_of,
    question,
    symbols_of,
)
from warehouse.read.availability import asked as described
from warehouse.read.frames import as_form, check_form, guarded, symbol_column
from warehouse.store.partitions import ranks_of

_MISSING = ("raise", "ignore")
_MINUTE_NS = 60_000_000_000
_OF_TAPE = ("trades", "quotes")
"""Of these a symbol has many rows at a time, of all others one at most."""


@dataclass(frozen=True)
class Panel:
    """What is asked, checked.

    Attributes:
        column: of numbers.
        symbols: the columns, in this order; None: all symbols that have a row, in byte order.
        by: what the rows are.
        whole: what is not there is an error, and not left out.
        comparison: what makes the rows comparable.
    """

    kind: DataType
    column: str
    symbols: tuple[str, ...] | None
    span: Span
    form: str
    whole: bool
    comparison: Comparison

    @property
    def by(self) -> Literal["session", "timestamp"]:
        return _by(self.kind)


def _by(kind: DataType) -> Literal["session", "timestamp"]:
    """What a symbol has one bar of at most."""
    return "session" if kind.monthly_by_symbol else "timestamp"


def panel(
    data_type: str,
    column: str,
    start: Moment,
    end: Moment | None = None,
    *,
    symbols: str | Sequence[str] = ALL,
    to: str = "pandas",
    missing: str = "raise",
    adjust: str = "none",
    as_of: Moment | None = None,
    follow_renames: bool = False,
) -> Panel:
    """What is asked of `Warehouse.panel`, whose arguments these are.

    Raises:
        RequestError: an argument is not one of the things it may be.
    """
    kind = bars_of(data_type)
    numbers = [field.name for field in kind.columns if _is_number(field.type)]
    name = choice("column", column, numbers)
    is_all = isinstance(symbols, str) and symbols == ALL
    named = None if is_all else symbols_of(symbols)
    whole = choice("missing", missing, _MISSING) == "raise"
    span = parse_span(start, end)
    comparison = comparison_of(span, adjust, as_of, follow_renames, is_all=is_all)
    return Panel(kind, name, named, span, check_form(to), whole, comparison)


def cross_section(
    data_type: str,
    at: Moment,
    *,
    columns: Sequence[str] | None = None,
    to: str = "pandas",
    missing: str = "raise",
    adjust: str = "none",
    as_of: Moment | None = None,
) -> Question:
    """What is asked of `Warehouse.cross_section`, whose arguments these are.

    Raises:
        RequestError: an argument is not one of the things it may be.
    """
    kind = bars_of(data_type)
    wanted = columns_of(kind, columns)
    names = ("symbol", *(name for name in wanted if name != "symbol"))
    asked = question(
        data_type, ALL, at, columns=names, to=to, missing=missing, adjust=adjust, as_of=as_of
    )
    is_session = asked.span.start_ns == day_bounds_ns(asked.span.first, asked.span.first)[0]
    if _by(kind) == "session":
        if not is_session:
            raise RequestError("at", str(at), "a bar is that of a session: name it, YYYY-MM-DD")
        return asked
    if is_session:
        raise RequestError("at", str(at), "name the minute: YYYY-MM-DD HH:MM")
    begin = asked.span.start_ns
    if is_kept_bars(kind.name):
        return replace(asked, span=span_between(begin, begin + 1))
    begin = begin // _MINUTE_NS * _MINUTE_NS
    return replace(asked, span=span_between(begin, begin + _MINUTE_NS))


def bars_of(data_type: str) -> DataType:
    """A data type of which a symbol has one row at a time.

    Raises:
        RequestError: it is none.
    """
    kind = kind_of(data_type)
    if kind.name in _OF_TAPE:
        raise RequestError(
            "data type",
            data_type,
            "a symbol has many rows at a time; take day_aggs, minute_aggs or kept bars, or load",
        )
    return kind


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


Renamed = Mapping[str, Sequence[Bearing]]
"""By symbol asked the symbols that its security had, and when: of those that were renamed."""


def with_series(table: pa.Table, symbols: Sequence[str] | None, renamed: Renamed) -> pa.Table:
    """The rows of each symbol's series, under the symbol that was asked for.

    Args:
        table: with `session`, where there are renamed symbols.
    """
    if symbols is None or not renamed:
        return table
    kept = pa.array([symbol for symbol in symbols if symbol not in renamed], pa.string())
    parts = [table.filter(pc.is_in(table["symbol"], kept))]
    place = table.schema.get_field_index("symbol")
    for symbol, pieces in renamed.items():
        for one in pieces:
            days = table["session"]
            is_its = pc.and_(
                pc.equal(table["symbol"], one.symbol),
                pc.and_(
                    pc.greater_equal(days, pa.scalar(one.first)),
                    pc.less_equal(days, pa.scalar(one.last)),
                ),
            )
            part = table.filter(is_its)
            name = symbol_column(symbol, part.num_rows)
            parts.append(part.set_column(place, table.schema.field(place), name))
    return pa.concat_tables(parts)


def as_panel(table: pa.Table, asked: Panel) -> Any:
    """Rows of `symbol`, the panel's `by` and its column as the frame that was asked for.

    A symbol that has no row at a time has NaN there.
    """
    if asked.symbols is not None:
        wanted = pa.array(asked.symbols, pa.string())
        table = table.filter(pc.is_in(table["symbol"], wanted))
        names = wanted
        places = pc.index_in(table["symbol"], wanted).to_numpy()
    else:
        places, names = ranks_of(table["symbol"])
    moments = table[asked.by]
    numbers = moments.cast(pa.int32() if asked.by == "session" else pa.int64()).to_numpy()
    labels, rows = np.unique(numbers, return_inverse=True)
    size = 8 * len(labels) * len(names)
    if size > (available := available_bytes()):
        of_whom = described(asked.kind, asked.symbols or (), asked.span)
        raise TooLargeError(of_whom, len(labels), size, size, available)
    values = np.full((len(labels), len(names)), np.nan)
    values[rows, places] = table[asked.column].cast(pa.float64()).to_numpy()
    index = pa.array(labels.astype(numbers.dtype)).cast(moments.type)
    if asked.form == "pandas":
        return _frame(values, index, names.to_pylist(), asked.by)
    if asked.by in names.to_pylist():
        problem = f"a symbol is called {asked.by!r}, as the first column is: take pandas"
        raise RequestError("to", asked.form, problem)
    columns = [index, *(pa.array(values[:, place]) for place in range(len(names)))]
    wide = pa.table(columns, names=[asked.by, *names.to_pylist()])
    return as_form(wide, asked.form, "UTC")


def _frame(
    values: np.ndarray[Any, Any], index: pa.Array, names: list[str], by: str
) -> pd.DataFrame:
    stamps = index.cast(pa.timestamp("s" if by == "session" else "ns")).to_numpy()
    rows = pd.DatetimeIndex(stamps, name=by)
    if by == "timestamp":
        rows = rows.tz_localize("UTC")
    frame = pd.DataFrame(values, rows, pd.Index(names, name="symbol", dtype="str"), copy=False)
    return guarded(frame)
