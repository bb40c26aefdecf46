"""The shape of an answer: its package, zone and index, and how far it is made smaller.

To make a table smaller changes no value: texts and codes that repeat become categories, numbers the
narrowest type of their kind that holds every one of them exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.datatypes import DataType
from warehouse.read.frames import as_form, compact, guarded, size_of

INDEXES = ((), ("timestamp",), ("timestamp", "symbol"))
REPEATING = ("symbol", "exchange", "bid_exchange", "ask_exchange", "conditions", "indicators")
"""Columns that `categories=True` turns into categories."""

_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


@dataclass(frozen=True)
class Shape:
    """How an answer is handed out.

    Attributes:
        form, zone: as `frames.as_form` takes them.
        index: columns of a pandas index, one of INDEXES; () numbers the rows from 0.
        categories: columns whose values become categories.
        downcast: numbers get the narrowest type that holds them exactly.
    """

    form: str = "pandas"
    zone: str = "UTC"
    index: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    downcast: bool = False

    @property
    def by_time(self) -> bool:
        """Rows of several symbols are mixed, in the order of their stamps."""
        return len(self.index) > 1

    @property
    def depends_on_rows(self) -> bool:
        """Types follow from the values: those of a part may be others than those of the whole."""
        return bool(self.categories) or self.downcast


def shaped(table: pa.Table, shape: Shape) -> Any:
    """A table of a data type's columns as the frame that was asked for.

    The table's memory becomes the frame's: it is not to be used further. Of a pandas frame that was
    made smaller, `attrs["memory"]` says how many bytes it takes and how many it would.
    """
    is_smaller = shape.form == "pandas" and bool(shape.categories or shape.downcast)
    plain = _plain_bytes(table) if is_smaller else 0
    if shape.categories:
        # To polars numbers are no categories, and it would take them apart again.
        names = [
            name
            for name in shape.categories
            if name in table.column_names
            and (shape.form != "polars" or pa.types.is_string(table.schema.field(name).type))
        ]
        table = categorised(table, names)
    if shape.downcast:
        table = narrowed(table)
    frame = as_form(table, shape.form, shape.zone)
    if shape.by_time:
        frame = _by_time_and_symbol(frame)
    elif shape.index:
        frame = guarded(frame.set_index(list(shape.index)))
    if is_smaller:
        frame.attrs["memory"] = {"plain": plain, "now": size_of(frame)}
    return frame


def unshaped(frame: Any, kind: DataType, columns: Sequence[str]) -> pa.Table:
    """The rows of a frame as the table of a data type's columns that it was made from.

    Its memory is its own: what becomes of it shows nowhere else.
    """
    if isinstance(frame, pd.DataFrame):
        named = frame.reset_index() if frame.index.names != [None] else frame
        table = pa.Table.from_pandas(named, preserve_index=False, nthreads=1)
    else:
        table = frame if isinstance(frame, pa.Table) else frame.to_arrow()
    schema = kind.fields(columns)
    return compact(
        pa.table([_cast(table[field.name], field.type) for field in schema], schema=schema)
    )


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(kind)


def narrowed(table: pa.Table) -> pa.Table:
    """The table with its numbers in the narrowest types that hold every one of them exactly.

    Whole numbers stay whole and signed, others become float32 where none of them changes by it.
    """
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if pa.types.is_signed_integer(field.type):
            kind = _narrowest(column)
        elif pa.types.is_float64(field.type) and _is_float32(column):
            kind = pa.float32()
        else:
            continue
        table = table.set_column(place, field.name, column.cast(kind, safe=False))
    return table


def _narrowest(column: pa.ChunkedArray) -> pa.DataType:
    bounds = pc.min_max(column).as_py()
    if bounds["min"] is None:
        return column.type
    return next(
        kind
        for kind in _INTEGERS
        if -(1 << kind.bit_width - 1) <= bounds["min"] and bounds["max"] < 1 << kind.bit_width - 1
    )


def _is_float32(column: pa.ChunkedArray) -> bool:
    if column.null_count == len(column):
        return False
    for chunk in column.chunks:
        values = chunk.to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if not np.array_equal(narrow, values, equal_nan=True):
            return False
    return True


def categorised(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The table with these columns as dictionaries of the values that occur, ascending."""
    for name in columns:
        place = table.schema.get_field_index(name)
        whole = table[name].dictionary_encode().combine_chunks()
        order = pc.sort_indices(whole.dictionary).to_numpy()
        rank = np.empty(len(order), np.min_scalar_type(-len(order) - 1))
        rank[order] = np.arange(len(order))
        codes = pa.array(rank).take(whole.indices)
        ascending = pa.DictionaryArray.from_arrays(codes, whole.dictionary.take(pa.array(order)))
        table = table.set_column(place, name, ascending)
    return table


def _by_time_and_symbol(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame's rows by (timestamp, symbol), which become its index; ties keep their order."""
    stamps, names = frame["timestamp"].array.asi8, pd.Categorical(frame["symbol"])
    names = names.remove_unused_categories()
    if len(names.categories) > 1:
        order = np.lexsort((names.codes, stamps))
        frame, stamps, names = frame.take(order), stamps[order], names[order]
    rest = frame.drop(columns=["timestamp", "symbol"])
    rest.index = _index(frame["timestamp"].array, stamps, names)
    return guarded(rest)


def _index(times: Any, stamps: np.ndarray[Any, Any], names: pd.Categorical) -> pd.MultiIndex:
    """An index of times, which ascend (`stamps` as numbers), and symbols."""
    # pandas would look for the distinct ones as if they did not.
    is_first = np.ones(len(stamps), bool)
    np.not_equal(stamps[1:], stamps[:-1], out=is_first[1:])
    levels: Any = [pd.DatetimeIndex(times[is_first]), names.categories]
    codes: Any = [np.cumsum(is_first) - 1, names.codes]
    return pd.MultiIndex(
        levels,
        codes,
        names=["timestamp", "symbol"],
        verify_integrity=False,
    )


def selected(frame: pd.DataFrame, symbols: Collection[str]) -> pd.DataFrame:
    """Those rows of a frame indexed by (timestamp, symbol) that are of these symbols.

    Its index knows no other stamps and symbols than it has.
    """
    index: Any = frame.index
    (times, names), (where, which) = index.levels, index.codes
    if not set(names) <= set(symbols):
        wanted = names.isin(list(symbols))[which]
        frame, where, which = frame[wanted], where[wanted], which[wanted]
    found = pd.Categorical.from_codes(which, names, validate=False).remove_unused_categories()
    frame.index = _index(times.array[where], where, found)
    return frame


def _plain_bytes(table: pa.Table) -> int:
    """What `size_of` would say of the table's plain pandas frame."""
    total = size_of(pd.DataFrame(index=pd.RangeIndex(table.num_rows)))
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_string(field.type):
            total += size_of(as_form(pa.table([column], ["text"]), "pandas")["text"])
        elif pa.types.is_date(field.type):
            total += 8 * len(column)
        else:
            # Whole numbers of which some are absent have a mask beside them.
            is_masked = pa.types.is_integer(field.type) and column.null_count > 0
            total += (field.type.bit_width // 8 + is_masked) * len(column)
    return total
