"""An answer as CSV, as JSON or as cells of a table: complete and exact, nanoseconds and all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import count as count_from
from pathlib import Path
from typing import IO, Any, TextIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from warehouse.console import count, table
from warehouse.errors import QueryError, StorageError
from warehouse.facade import Warehouse

_ROWS = 50_000
_SHOWN = 40
_AROUND = 6
"""Lines of a terminal that a table needs besides its rows."""


def ask(root: Path, sql: str, parameters: dict[str, str]) -> pa.Table:
    """The answer of the warehouse at `root`, its stamps as the partitions have them.

    They are UTC, and without a zone: DuckDB would cut those with a zone to microseconds when it
    reads them back from a file.
    """
    with Warehouse(root) as warehouse:
        answer: pa.Table = warehouse.query(sql, "arrow", **parameters)
    aware, naive = pa.timestamp("ns", "UTC"), pa.timestamp("ns")
    fields = [field.with_type(naive) if field.type == aware else field for field in answer.schema]
    return answer.cast(pa.schema(fields)).rename_columns(_distinct(answer.column_names))


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names of which none stands twice: a second `n` becomes `n_1`."""
    taken: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}_{number}" for number in count_from(1))
        label = name if name not in taken else next(each for each in numbered if each not in taken)
        taken[label] = None
    return list(taken)


def write(answer: pa.Table, form: str, file: TextIO, limit: int | None = None) -> None:
    """The answer in one of the forms table, csv, json and parquet.

    Args:
        limit: rows of a table that are shown; 0: all; None: as many as the terminal has lines.
    """
    if form == "table":
        is_terminal = file.isatty()
        screen = shutil.get_terminal_size((80, _SHOWN + _AROUND))
        if limit is None:
            limit = max(screen.lines - _AROUND, 5) if is_terminal else _SHOWN
        for line in table_lines(answer, limit, screen.columns if is_terminal else None):
            file.write(f"{line}\n")
        file.flush()
        return
    file.flush()
    {"csv": write_csv, "json": write_json, "parquet": write_parquet}[form](answer, file.buffer)
    file.buffer.flush()


def save(answer: pa.Table, form: str, path: Path, limit: int | None = None) -> None:
    """Write the answer to a file, whole or not at all.

    Raises:
        StorageError: the disk refuses.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device cannot be replaced.
            with open(path, "w", encoding="utf-8") as file:
                write(answer, form, file, limit)
            return
        try:
            with open(part, "w", encoding="utf-8") as file:
                write(answer, form, file, limit)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(path, f"cannot be written: {error.strerror or error}") from error


def table_lines(answer: pa.Table, limit: int, width: int | None = None) -> list[str]:
    """The answer's first rows as a table, and how many rows there are.

    Args:
        limit: rows that are shown; 0: all.
        width: of the terminal; None: nothing is cut.
    """
    shown = answer.slice(0, limit) if limit else answer
    lines, left_out = table(answer.column_names, cells(shown), numeric(answer), width)
    rows = count(answer.num_rows, "row")
    if shown.num_rows < answer.num_rows:
        rows += f", {shown.num_rows:,} shown (--limit 0 shows all)"
    if left_out:
        rows += f"; {left_out:,} of {count(answer.num_columns, 'column')} left out"
    return [*lines, rows]


def write_csv(answer: pa.Table, file: IO[bytes]) -> None:
    """The answer as CSV with a header; NULL is empty, an empty text `""`."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(answer.column_names)
    file.write(header.getvalue().encode())
    columns = [
        _texts(column) if pa.types.is_nested(column.type) or _is_odd(column.type) else column
        for column in answer.columns
    ]
    table = pa.table(columns, [str(number) for number in range(len(columns))])
    if table.num_rows:
        options = pyarrow.csv.WriteOptions(include_header=False)
        pyarrow.csv.write_csv(table, file, options)


def write_json(answer: pa.Table, file: IO[bytes]) -> None:
    """The answer as one array with an object a row, each on a line of its own."""
    names = answer.column_names
    between = "[\n"
    for rows in _batches(answer):
        columns = [_values(column) for column in rows.columns]
        lines = [
            json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
            for row in zip(*columns, strict=True)
        ]
        file.write((between + ",\n".join(lines)).encode())
        between = ",\n"
    file.write(b"[]\n" if between == "[\n" else b"\n]\n")


def write_parquet(answer: pa.Table, file: IO[bytes]) -> None:
    """The answer as Parquet.

    Raises:
        QueryError: it has a type that Parquet does not know.
    """
    try:
        pq.write_table(answer, file, compression="zstd")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise QueryError("", f"the answer cannot be written as Parquet: {error}") from error


def cells(answer: pa.Table) -> list[list[str | None]]:
    """Each row's values as text; None is NULL."""
    columns = [_texts(column).to_pylist() for column in answer.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def numeric(answer: pa.Table) -> list[bool]:
    """Which columns hold numbers."""
    return [
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        for kind in answer.schema.types
    ]


def _batches(answer: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, answer.num_rows, _ROWS):
        yield answer.slice(start, _ROWS)


def _is_odd(kind: pa.DataType) -> bool:
    """Whether Arrow itself has no text for values of the type."""
    return bool(pa.types.is_binary(kind) or kind == pa.month_day_nano_interval())


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_nested(kind) or _is_odd(kind):
        values = (_plain(kind, value) for value in column.to_pylist())
        texts = [
            value
            if value is None or isinstance(value, str)
            else json.dumps(value, ensure_ascii=False)
            for value in values
        ]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return column.cast(pa.string())


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values as JSON knows them; instants, dates and the like are text."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        values: list[Any] = column.to_pylist()
        return values
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_nested(kind):
        return [_plain(kind, value) for value in column.to_pylist()]
    texts: list[Any] = _texts(column).to_pylist()
    return texts


def _plain(kind: pa.DataType, value: Any) -> Any:
    """A value in terms of JSON: no NaN, whole decimals as integers, maps as objects."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if kind.scale == 0 else float(value)
    if isinstance(value, bytes):
        return value.hex()
    if pa.types.is_struct(kind):
        return {field.name: _plain(field.type, value[field.name]) for field in kind}
    if pa.types.is_map(kind):
        return {str(key): _plain(kind.item_type, item) for key, item in value}
    if isinstance(value, list):
        return [_plain(kind.value_type, item) for item in value]
    return str(value)
