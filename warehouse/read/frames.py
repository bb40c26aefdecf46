"""Arrow tables as the frames that callers ask for, and what those weigh.

Stamps of nanoseconds are instants, UTC: they come out in a time zone. Sessions, and any other DATE,
become midnights without a zone (`datetime64[s]` in pandas): a session is a label, no instant.

A frame's memory is handed out to many, and cannot be written to. pandas copies what it is about to
change, polars and Arrow always do, and who writes beneath them gets an error.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core import process
from warehouse.errors import RequestError
from warehouse.text import meant, one_of

_PINNED = 32
"""A view keeps alive at most so many times its own rows."""

FORMS = ("pandas", "polars", "arrow")

_STAMP = pa.timestamp("ns")
_OBJECTS = np.dtype(object)

# The stubs do not know the way that pandas and Arrow have agreed on for their extension types.
_TEXT: Any = pd.StringDtype(na_value=np.nan)
_NULLABLE: dict[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}

# 2^128 - 1 arrives as -1, bits with how many are padding, a time of day without its zone.
_NOT_IN_ARROW = frozenset({"uhugeint", "bit", "time with time zone", "bignum"})
_NESTED = frozenset({"list", "array", "struct", "map", "union"})


def check_form(form: str) -> str:
    """The form of an answer, checked.

    Raises:
        RequestError: it is unknown, or needs a package that is not installed.
    """
    if form not in FORMS:
        raise RequestError("to", form, one_of(form, FORMS))
    if form == "polars":
        try:
            import polars  # noqa: F401
        except ImportError:
            raise RequestError(
                "to", form, "it needs: pip install 'flatfile-warehouse[polars]'"
            ) from None
    return form


def check_zone(zone: str) -> str:
    """The name of a time zone, checked.

    Raises:
        RequestError: there is no such zone.
    """
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, TypeError, LookupError):
        raise RequestError(
            "tz",
            zone,
            "it must be a time zone's name, such as UTC or America/New_York"
            f"{meant(zone, available_timezones())}",
        ) from None
    return zone


def in_zone(table: pa.Table, zone: str) -> pa.Table:
    """The table with its stamps of nanoseconds as instants shown in `zone`; nothing is copied."""
    for place, field in enumerate(table.schema):
        # Column by column: to cast a whole table ends the process where it holds an empty MAP.
        aware = _aware(field.type, zone)
        if aware != field.type:
            table = table.set_column(place, field.name, table.column(place).cast(aware))
    return table


def _aware(kind: pa.DataType, zone: str) -> pa.DataType:
    """The type with its stamps, also those within lists and structs, as instants in `zone`."""
    if kind == _STAMP:
        return pa.timestamp("ns", zone)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_aware(kind.value_type, zone)))
    if pa.types.is_fixed_size_list(kind):
        element = kind.value_field.with_type(_aware(kind.value_type, zone))
        return pa.list_(element, kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_aware(field.type, zone)) for field in kind])
    return kind


def distinct(names: Iterable[str]) -> list[str]:
    """Names for columns, of which none stands twice: a second `n` becomes `n_1`."""
    taken: dict[str, None] = {}
    for name in names:
        label, count = name, 0
        while label in taken:
            count += 1
            label = f"{name}_{count}"
        taken[label] = None
    return list(taken)


def unfit_type(columns: Iterable[str], types: Iterable[Any]) -> str | None:
    """Which column of DuckDB's is of what Arrow has no type for; None: none is.

    DuckDB hands on other values than it computed.
    """
    for name, kind in zip(columns, types, strict=True):
        if found := next(_not_in_arrow(kind), None):
            return f"column {name} is of type {found}, which no answer can hold; cast it"
    return None


def _not_in_arrow(kind: Any) -> Iterator[str]:
    if kind.id in _NOT_IN_ARROW:
        yield str(kind)
    elif kind.id in _NESTED:
        for _, child in kind.children:
            if not isinstance(child, int):  # how many an array has
                yield from _not_in_arrow(child)


def infinite_time(table: pa.Table) -> str | None:
    """Which column has an infinite date or time; None: none has.

    Nobody but DuckDB has any: others read it as a day.
    """
    for name, column in zip(table.column_names, table.columns, strict=True):
        if any(map(_is_infinite, column.chunks)):
            return f"column {name} has an infinite date or time, which no answer can hold; cast it"
    return None


def _is_infinite(values: pa.Array) -> bool:
    kind = values.type
    if pa.types.is_date32(kind) or pa.types.is_timestamp(kind):
        bits = kind.bit_width
        ends = pc.min_max(values.cast(f"int{bits}")).as_py()
        return bool(ends["max"] == 2 ** (bits - 1) - 1 or ends["min"] == 1 - 2 ** (bits - 1))
    if pa.types.is_map(kind):
        return _is_infinite(values.keys) or _is_infinite(values.items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_infinite(values.flatten())
    if pa.types.is_struct(kind):
        return any(map(_is_infinite, values.flatten()))
    if pa.types.is_union(kind):
        return any(_is_infinite(values.field(index)) for index in range(kind.num_fields))
    return False


def as_form(table: pa.Table, form: str, zone: str | None = None) -> Any:
    """The table as a pandas or polars DataFrame, or as it is; see the module's text for stamps.

    The table's memory becomes the frame's: it is not to be used further.

    Args:
        zone: columns of stamps of nanoseconds are instants shown in it; None: as `in_zone` has
            made them, which also sees those within lists and structs.

    In pandas text is `str`, whole numbers stay what they are where none is absent, else they are
    pandas' nullable integers (no float ever holds one), and nested values are Python objects.
    """
    if form != "pandas":
        table = in_zone(table, zone) if zone is not None else table
        if form == "arrow":
            return sealed(table)
        import polars as pl

        # Of polars' threads, which put chunks together, a child of a fork has none.
        return pl.DataFrame(_Chunks(table)) if process.is_child() else pl.from_arrow(table)
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if zone is not None and column.type == _STAMP:
            # Through Arrow's own type this takes as long as the rest of the frame.
            columns[name] = _instants(column, zone)
        else:
            columns[name] = _values(column)
    return guarded(pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False))


class _Chunks:
    """A table that goes over chunk by chunk."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def _values(column: pa.ChunkedArray) -> Any:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _TEXT.__from_arrow__(column)
    if pa.types.is_dictionary(kind):
        return _categorical(column)
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
        kind = column.type
    if pa.types.is_decimal(kind) and (plain := _plain_numbers(column)) is not None:
        column, kind = plain, plain.type
    if pa.types.is_timestamp(kind):
        stamps = column.cast(pa.timestamp(kind.unit))
        return _own(stamps) if kind.tz is None else _instants(stamps, kind.tz)
    if column.null_count and kind in _NULLABLE:
        return _NULLABLE[kind].__from_arrow__(column)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _own(column)
    if pa.types.is_nested(kind) and "timestamp[ns" in str(kind):
        # Arrow's own way to pandas makes plain integers of those within a struct or a map.
        return pd.array(column.to_pylist(maps_as_pydicts="strict"), dtype=object)
    # Within lists, structs and maps too no float is to hold a whole number.
    return column.to_pandas(maps_as_pydicts="strict", integer_object_nulls=True).array


def _instants(stamps: pa.ChunkedArray, zone: str) -> Any:
    """Stamps without a zone as the instants, UTC, that they are, shown in a zone."""
    shown = pd.DatetimeTZDtype(stamps.type.unit, zone)
    return pd.array(_own(stamps).view(np.int64), shown, copy=False)


def _categorical(column: pa.ChunkedArray) -> pd.Categorical:
    whole = column.unify_dictionaries().combine_chunks()
    indices = whole.indices
    if pa.types.is_unsigned_integer(indices.type):  # of DuckDB's ENUM; pandas counts absent as -1
        indices = indices.cast(pa.int32())
    codes = _own(pa.chunked_array([indices.fill_null(-1)]))
    values = pd.Index(_values(pa.chunked_array([whole.dictionary])))
    return pd.Categorical.from_codes(codes, values, validate=False)


def _plain_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Decimals as int64 where they are whole (DuckDB sums integers into HUGEINT), else as float64.

    None where a whole number is too large for that.
    """
    if column.type.scale > 0:
        return column.cast(pa.float64())
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def _own(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """The values, in Arrow's memory where that is in one piece: a copy takes a tenth of reading."""
    values: np.ndarray[Any, Any] = column.to_numpy()
    return values


def sealed(table: pa.Table) -> pa.Table:
    """The same table; nobody can write to its memory, which Arrow allows in what it read itself."""
    # On its way through Arrow's C interface a buffer loses its leave to be written to.
    columns = [pa.chunked_array(column) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


class _Everybody:
    """Somebody else who holds all of our frames' memory, for ever."""


_EVERYBODY = _Everybody()
_HELD: Any = weakref.ref(_EVERYBODY)


class _Here:
    """True, but false in a pickle: what is unpickled is its holder's alone."""

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[type[bool], tuple[()]]:
        return bool, ()


def guarded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame; its memory is read-only, and pandas knows that it must copy what it changes.

    pandas writes in place to what nobody else holds any more, and could not: so it is told that
    there is always one more who does.
    """
    for block in frame._mgr.blocks:
        _make_read_only(block.values)
        _hold(block.refs)
    for axis in (frame.index, frame.columns):
        if not isinstance(axis, pd.RangeIndex):
            for index in _parts(axis):
                _make_read_only(index._data)
                if index._references is not None:
                    _hold(index._references)
    return frame


def _parts(index: Any) -> Iterator[Any]:
    """An index, or those that it is made of."""
    if not isinstance(index, pd.MultiIndex):
        yield index
        return
    for codes in index.codes:
        # The list hands out views.
        _make_read_only(codes)
    yield from index.levels


def _hold(references: Any) -> None:
    if not any(one is _HELD for one in references.referenced_blocks):
        references.referenced_blocks.append(_HELD)


def _make_read_only(values: Any) -> None:
    part: Any = values
    while isinstance(part, np.ndarray):
        part.flags.writeable = False
        part = part.base
    if isinstance(values, np.ndarray):
        return
    values._readonly = _Here()
    if isinstance(text := getattr(values, "_pa_array", None), pa.ChunkedArray):
        values._pa_array = pa.chunked_array(text)
    for name in ("_ndarray", "_data", "_mask"):
        if isinstance(held := getattr(values, name, None), np.ndarray):
            _make_read_only(held)
    if isinstance(values, pd.Categorical):
        categories: Any = values.categories
        _make_read_only(categories._data)


def compact(table: pa.Table) -> pa.Table:
    """The table's rows in memory of their own, where they were a small part of something larger."""
    return pa.table(
        [pa.concat_arrays([*column.chunks, pa.array([], column.type)]) for column in table.columns],
        schema=table.schema,
    )


def shared(frame: Any) -> Any:
    """Another frame of the same data, for somebody else; changes of either stay its own."""
    if isinstance(frame, pd.DataFrame):
        other = frame.copy(deep=False)
        if any(block.dtype == _OBJECTS for block in frame._mgr.blocks):
            # Lists and the like within are Python's, which cannot be made read-only.
            for place, kind in enumerate(frame.dtypes):
                if kind == _OBJECTS:
                    values = np.empty(len(frame), object)
                    for row, value in enumerate(frame.iloc[:, place].array):
                        values[row] = deepcopy(value)
                    other.isetitem(place, values)
        return other
    return frame if isinstance(frame, pa.Table) else frame.clone()


def size_of(frame: Any) -> int:
    """The bytes that a frame's data takes."""
    if isinstance(frame, pd.Series):
        return int(frame.memory_usage(index=False, deep=True))
    if isinstance(frame, pd.DataFrame):
        size = frame.index.memory_usage(deep=True)
        for place, kind in enumerate(frame.dtypes):
            if isinstance(kind, np.dtype) and kind.kind != "O":
                size += kind.itemsize * len(frame)
            elif isinstance(kind, pd.DatetimeTZDtype):
                size += 8 * len(frame)
            else:
                # Column by column: pandas takes as long to say it of all as to read an hour.
                size += frame.iloc[:, place].memory_usage(index=False, deep=True)
        return int(size)
    if isinstance(frame, pa.Table):
        return int(frame.get_total_buffer_size())
    return int(frame.estimated_size())


def first_at(frame: Any, bound_ns: int, low: int, high: int) -> int:
    """The first of the rows [low, high), whose stamps ascend, that is not before `bound_ns`."""
    if isinstance(frame, pd.DataFrame):
        index: Any = frame.index
        if index.nlevels > 1:
            bound = _place(index.levels[0].asi8, bound_ns)
            return low + _place(index.codes[0][low:high], bound)
        stamps: Any = index if index.name == "timestamp" else frame["timestamp"].array
        return low + _place(stamps.asi8[low:high], bound_ns)
    column = frame["timestamp"]
    if not isinstance(frame, pa.Table):
        # In a child of a fork polars' own search would wait for threads that are not there.
        return bisect_left(range(high), bound_ns, low, key=column.to_physical().__getitem__)
    for chunk in column.slice(low, high - low).chunks:
        if len(chunk) and chunk[-1].value >= bound_ns:
            return low + _place(nanoseconds(chunk), bound_ns)
        low += len(chunk)
    return low


def _place(ascending: np.ndarray[Any, Any], value: int) -> int:
    # As an integer of the same size, or numpy would compare as floats or copy.
    return int(np.searchsorted(ascending, ascending.dtype.type(value), side="left"))


def rows_of(frame: Any, pieces: Sequence[tuple[int, int]], columns: Sequence[str]) -> Any:
    """These rows [low, high) and columns of a frame, one piece after the other, as a new frame.

    It is a view, or where that would keep alive many times its own bytes, a copy. (A polars frame
    is always a view.)
    """
    count = sum(high - low for low, high in pieces)
    if not isinstance(frame, pd.DataFrame):
        parts = [frame.slice(low, high - low) for low, high in pieces] or [frame.slice(0, 0)]
        if isinstance(frame, pa.Table):
            table = pa.concat_tables(parts).select(list(columns))
            return compact(table) if count * _PINNED < len(frame) else table
        whole = parts[0].clone()
        for part in parts[1:]:
            whole.vstack(part, in_place=True)
        return whole[list(columns)]
    part = frame
    if list(columns) != list(frame.columns):
        # Four times as fast as frame[columns].
        names = list(frame.columns)
        part = part.take([names.index(name) for name in columns], axis=1)
    if len(pieces) == 1 and count * _PINNED >= len(frame):
        part = part.iloc[slice(*pieces[0])]
    else:
        places = [np.arange(low, high) for low, high in pieces]
        part = part.take(np.concatenate(places) if places else np.arange(0))
    if isinstance(frame.index, pd.RangeIndex):
        part.index = pd.RangeIndex(count)
    return part


def symbol_column(symbol: str, count: int) -> pa.Array:
    """One symbol, `count` times."""
    return pa.repeat(pa.scalar(symbol, pa.string()), count)


def nanoseconds(stamps: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Stamps as nanoseconds since the epoch, UTC."""
    return np.asarray(pc.cast(stamps, pa.int64()).to_numpy(zero_copy_only=False), np.int64)
