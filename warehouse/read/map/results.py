"""What a function of the caller's returns, as a table; and all such tables as one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pandas as pd
import pyarrow as pa

from warehouse.errors import FunctionError, one_line

VALUE = "value"
"""The column of a result that is one value."""
_KEYS = {"symbol": pa.string(), "session": pa.date32()}
_EXPECTED = "a frame, a dict or a Series (a row), a value, or None (no row)"


def as_table(result: Any) -> pa.Table | None:
    """The rows of a result; None: it has none.

    Raises:
        TypeError, ValueError, pa.ArrowException: it makes no rows.
    """
    if result is None:
        return None
    if isinstance(result, pd.DataFrame):
        plain = result.index.names == [None] and pd.api.types.is_integer_dtype(result.index)
        table = _of_pandas(result.reset_index(drop=bool(plain)))
    elif isinstance(result, pa.Table):
        table = result
    elif _is_of_polars(result):
        table = result.to_arrow()
    elif isinstance(result, Mapping | pd.Series):
        row = dict(result.items())
        if not all(isinstance(name, str) for name in row):
            told = "whose labels are no text: it is one row, and they name its columns"
            raise TypeError(f"an object of type {type(result).__name__}, {told}")
        table = _of_pandas(pd.DataFrame([row]))
    elif pd.api.types.is_scalar(result):
        table = _of_pandas(pd.DataFrame({VALUE: [result]}))
    else:
        raise TypeError(f"an object of type {type(result).__name__}, and not {_EXPECTED}")
    return _plain(table)


def _of_pandas(frame: pd.DataFrame) -> pa.Table:
    # Single values go this way, too: Arrow takes the nanoseconds from a Timestamp.
    return pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)


def _is_of_polars(result: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(result, polars.DataFrame)


def _plain(table: pa.Table) -> pa.Table:
    """Without what pandas notes of it, and with categories that go together with others."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            kind = pa.dictionary(pa.int32(), field.type.value_type)
            table = table.set_column(place, field.name, table.column(place).cast(kind))
    return table.replace_schema_metadata()


def combined(
    function: str, by: str, keyed: Sequence[tuple[str | date, pa.Table | None]]
) -> pa.Table:
    """All results, one after the other, the key as their first column.

    A column of theirs that is named as the key gives way to it. What a result lacks of the others'
    columns is NULL in its rows.

    Raises:
        FunctionError: a column has types that do not go together.
    """
    kind = _KEYS[by]
    schema = pa.schema([(by, kind)])
    tables = [schema.empty_table()]
    for key, table in keyed:
        if table is None:
            continue
        if by in table.column_names:
            table = table.drop_columns([by])
        table = table.add_column(0, by, pa.repeat(pa.scalar(key, kind), table.num_rows))
        try:
            schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
        except pa.ArrowException as error:
            told = f"its columns do not go together with those before: {one_line(error)}"
            raise FunctionError(function, key, told) from error
        tables.append(table)
    return pa.concat_tables(tables, promote_options="permissive")
