"""An answer as a file or on the screen: complete and exact, nanoseconds and all.

Forms: a table for people, CSV and TSV, JSON (one array) and NDJSON (an object a line), Parquet and
Arrow. All but the last two may be compressed by gzip.

DuckDB's own writers keep nanoseconds and decimals exact as well, but they write NaN into JSON,
letters that a terminal obeys, and nested values of CSV as texts that are no JSON.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import count as count_from
from pathlib import Path
from typing import IO, Any, TextIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from isal import igzip

from warehouse.api import Warehouse
from warehouse.cli.render.terminal import table
from warehouse.errors import QueryError, RequestError
from warehouse.report.output_file import replacing
from warehouse.text import count, escaped_json, printable

ENDINGS = {
    **{"csv": "csv", "tsv": "tsv", "tab": "tsv", "txt": "table", "json": "json"},
    **{"ndjson": "ndjson", "jsonl": "ndjson", "parquet": "parquet", "pq": "parquet"},
    **{"arrow": "arrow", "feather": "arrow"},
}
"""Endings of files, and the form that each stands for."""

FORMS = tuple(dict.fromkeys(("table", *ENDINGS.values())))
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_BINARY = frozenset({"parquet", "arrow"})
_PLAN = ["explain_key", "explain_value"]
_GZIP = frozenset({".gz", ".gzip"})
_OTHER_COMPRESSION = frozenset(
    {
        *(".zst", ".zstd", ".bz2", ".xz", ".lz4", ".zip", ".7z", ".z", ".br", ".lzma", ".sz"),
        *(".snappy", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".rar"),
    }
)
_ALL_ENDINGS = (
    ".csv, .tsv, .json, .jsonl, .ndjson or .txt, each with .gz too, .parquet, .pq, .arrow, .feather"
)
_ARMED = "^[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
"""What a spreadsheet takes for the beginning of a formula, in full width too."""
_json_text = partial(json.dumps, ensure_ascii=False)
_NO_TEXT = "<value out of range"
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
        return plain(warehouse.query(sql, "arrow", **parameters))


def plain(answer: pa.Table) -> pa.Table:
    """The answer with its stamps in UTC and without a zone, each column under a name of its own."""
    aware, naive = pa.timestamp("ns", "UTC"), pa.timestamp("ns")
    for place, field in enumerate(answer.schema):
        # Column by column: to cast a whole table ends the process where it holds an empty MAP.
        if field.type == aware:
            answer = answer.set_column(place, field.name, answer.column(place).cast(naive))
    return answer.rename_columns(_distinct(answer.column_names))


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names of which none stands twice: a second `n` becomes `n_1`."""
    taken: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}_{number}" for number in count_from(1))
        label = name if name not in taken else next(each for each in numbered if each not in taken)
        taken[label] = None
    return list(taken)


@dataclass(frozen=True)
class Form:
    """How an answer is written.

    Attributes:
        name: table, csv, tsv, json, ndjson, parquet or arrow.
        gzipped: compressed as a whole; never parquet or arrow, which do that themselves.
        safe: texts that a spreadsheet would take for a formula are disarmed; csv and tsv alone.
    """

    name: str
    gzipped: bool = False
    safe: bool = False


def chosen(named: str | None, path: Path | None, *, safe: bool = False) -> Form:
    """The form that is meant by --format and by the ending of the file's name.

    Raises:
        RequestError: the ending is of no form, or of another one than is named.
    """
    if path is None:
        return Form(named or "table", safe=safe)
    last = path.suffix.lower()
    gzipped = last in _GZIP
    ending = Path(path.stem).suffix.lower() if gzipped else last
    found = ENDINGS.get(ending.removeprefix("."))
    name = named or found
    problem = ""
    if name is None or {last, ending} & _OTHER_COMPRESSION:
        refused = (
            f"a file that ends in {path.suffix} cannot be written"
            if last
            else "its name has no ending"
        )
        problem = f"{refused}; it may end in {_ALL_ENDINGS}, or name a --format"
    elif found is not None and found != name:
        problem = f"it ends as {found} does, and --format is {named}"
    elif gzipped and name in _BINARY:
        problem = f"{name} is compressed within; leave {path.suffix} out"
    if problem or name is None:
        raise RequestError("-o", str(path), problem)
    return Form(name, gzipped, safe)


def write(answer: pa.Table, form: Form, file: TextIO, limit: int | None = None) -> None:
    """The answer on the screen, or wherever standard output goes.

    Args:
        limit: rows of a table that are shown; 0: all; None: as many as the terminal has lines.
    """
    _check_times(answer, form)
    if form.name == "table":
        is_terminal = file.isatty()
        screen = shutil.get_terminal_size((80, _SHOWN + _AROUND))
        if limit is None:
            limit = max(screen.lines - _AROUND, 5) if is_terminal else _SHOWN
        for line in table_lines(answer, limit, screen.columns if is_terminal else None):
            file.write(f"{line}\n")
        file.flush()
        return
    file.flush()
    if file.isatty() and form.name in _SEPARATORS:
        # What is read on a terminal is looked at, not parsed.
        drawn = io.BytesIO()
        _write(answer, form, drawn)
        for line in re.split(r"([\n\t])", drawn.getvalue().decode()):
            file.write(line if line in "\n\t" else printable(line))
        file.flush()
        return
    _write(answer, form, file.buffer)
    file.buffer.flush()


def save(answer: pa.Table, form: Form, path: Path, limit: int | None = None) -> int:
    """Write the answer to a file, whole or not at all; returns how many rows are in it.

    Args:
        limit: rows of a table; 0 or None: all.

    Raises:
        StorageError: the disk refuses.
        QueryError: the answer has a type that the form does not know.
    """
    with replacing(path) as file:
        if form.gzipped:
            # Neither a name nor a time in its head: the same answer gives the same bytes.
            with igzip.IGzipFile("", "wb", fileobj=file, mtime=0) as packed:
                _write(answer, form, cast(IO[bytes], packed), limit)
        else:
            _write(answer, form, file, limit)
    is_cut = form.name == "table" and limit
    return min(answer.num_rows, limit or 0) if is_cut else int(answer.num_rows)


def _write(answer: pa.Table, form: Form, file: IO[bytes], limit: int | None = None) -> None:
    _check_times(answer, form)
    if form.name == "table":
        for line in table_lines(answer, limit or 0):
            file.write(f"{line}\n".encode())
    elif form.name in _SEPARATORS:
        write_csv(answer, file, _SEPARATORS[form.name], safe=form.safe)
    else:
        writers = {"json": write_json, "ndjson": write_ndjson, "parquet": write_parquet}
        writers.get(form.name, write_arrow)(answer, file)


def _check_times(answer: pa.Table, form: Form) -> None:
    """Refuse dates and times that have no text: Arrow would write of what range they are out.

    Raises:
        QueryError: there is one, of a year far away.
    """
    if form.name in _BINARY:
        return
    for name, column in zip(answer.column_names, answer.columns, strict=True):
        if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            ends = pc.min_max(column)
            if any(str(ends[end].cast(pa.string())).startswith(_NO_TEXT) for end in ends):
                raise QueryError("", f"column {name} has a date or time that has no text; cast it")


def table_lines(answer: pa.Table, limit: int, width: int | None = None) -> list[str]:
    """The answer's first rows as a table, and how many rows there are.

    Args:
        limit: rows that are shown; 0: all.
        width: of the terminal; None: nothing is cut.
    """
    if answer.column_names == _PLAN:
        # A drawing of DuckDB's, which a table would take apart.
        return [printable(line) for text in answer[1].to_pylist() for line in text.splitlines()]
    shown = answer.slice(0, limit) if limit else answer
    lines, left_out = table(answer.column_names, cells(shown), numeric(answer), width)
    rows = count(answer.num_rows, "row")
    if shown.num_rows < answer.num_rows:
        rows += f", {shown.num_rows:,} shown (--limit 0 shows all)"
    if left_out:
        rows += f"; {left_out:,} of {count(answer.num_columns, 'column')} left out"
    return [*lines, rows]


def write_csv(
    answer: pa.Table, file: IO[bytes], separator: str = ",", *, safe: bool = False
) -> None:
    """The answer as CSV with a header; NULL is empty, an empty text `""`.

    Args:
        safe: put an apostrophe before texts that begin with `=`, `+`, `-`, `@` (in full width
            too), a tab or a line end, which a spreadsheet would take for formulas. Numbers stay
            as they are.
    """
    header = io.StringIO()
    names = [_disarmed(name) if safe else name for name in answer.column_names]
    csv.writer(header, delimiter=separator, lineterminator="\n").writerow(names)
    file.write(header.getvalue().encode())
    columns = [_csv_column(column, safe=safe) for column in answer.columns]
    table = pa.table(columns, [str(number) for number in range(len(columns))])
    # Of a first chunk without rows pyarrow writes what its buffer held before: whatever is there.
    chunks = [chunk for chunk in table.to_batches() if chunk.num_rows]
    if chunks:
        options = pyarrow.csv.WriteOptions(include_header=False, delimiter=separator)
        pyarrow.csv.write_csv(pa.Table.from_batches(chunks), file, options)


def _csv_column(column: pa.ChunkedArray, *, safe: bool) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_nested(kind) or _is_odd(kind):
        column = _texts(column)
    if not safe:
        return column
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    armed = pc.match_substring_regex(column, _ARMED)
    # Arrow joins texts of one type alone; those of pandas are large.
    mark, between = (pa.scalar(text, column.type) for text in ("'", ""))
    marked = pc.binary_join_element_wise(mark, column, between)
    return pc.if_else(armed, marked, column)


def _disarmed(name: str) -> str:
    return f"'{name}" if re.match(_ARMED, name) else name


def write_json(answer: pa.Table, file: IO[bytes]) -> None:
    """The answer as one array with an object a row, each on a line of its own."""
    between = "[\n"
    for lines in _objects(answer):
        file.write((between + ",\n".join(lines)).encode())
        between = ",\n"
    file.write(b"[]\n" if between == "[\n" else b"\n]\n")


def write_ndjson(answer: pa.Table, file: IO[bytes]) -> None:
    """The answer as an object a line, without an array around them (NDJSON, JSON lines)."""
    for lines in _objects(answer):
        file.write("".join(f"{line}\n" for line in lines).encode())


def _objects(answer: pa.Table) -> Iterator[list[str]]:
    """Each row as the text of a JSON object, in batches."""
    names = [_json_text(name) for name in answer.column_names]
    for rows in _batches(answer):
        columns = [_values(column) for column in rows.columns]
        yield [
            escaped_json("{" + ", ".join(map("{}: {}".format, names, row)) + "}")
            for row in zip(*columns, strict=True)
        ]


def write_parquet(answer: pa.Table, file: IO[bytes]) -> None:
    """The answer as Parquet.

    Raises:
        QueryError: it has a type that Parquet does not know.
    """
    try:
        pq.write_table(answer, file, compression="zstd")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise QueryError("", f"the answer cannot be written as Parquet: {error}") from error


def write_arrow(answer: pa.Table, file: IO[bytes]) -> None:
    """The answer as a file of Arrow's own format, which Feather is too; it can be mapped."""
    with pa.ipc.new_file(file, answer.schema) as writer:
        writer.write_table(answer)


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
        write = _json if pa.types.is_nested(kind) else _plain
        values = [None if value is None else write(kind, value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.string())])
    return column.cast(pa.string())


def _values(column: pa.ChunkedArray) -> list[str]:
    """The values as texts of JSON."""
    kind = column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if is_number or pa.types.is_boolean(kind) or pa.types.is_nested(kind) or _is_odd(kind):
        return [_json(kind, value) for value in column.to_pylist()]
    return ["null" if text is None else _json_text(text) for text in _texts(column).to_pylist()]


def _json(kind: pa.DataType, value: Any) -> str:
    """A value as JSON, exact: a decimal has all of its digits, what is no finite number is null."""
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "null"
    if isinstance(value, Decimal):
        return format(value, "f")
    if pa.types.is_union(kind):
        return json.dumps(value, ensure_ascii=False, default=partial(_plain, kind))
    if isinstance(value, list) and not pa.types.is_map(kind):
        return "[" + ", ".join(_json(kind.value_type, item) for item in value) + "]"
    pairs: list[tuple[str, str]]
    if pa.types.is_struct(kind):
        pairs = [(field.name, _json(field.type, value[field.name])) for field in kind]
    elif pa.types.is_map(kind):
        pairs = [(_plain(kind.key_type, key), _json(kind.item_type, item)) for key, item in value]
    else:
        return _json_text(_plain(kind, value))
    return "{" + ", ".join(f"{_json_text(name)}: {text}" for name, text in pairs) + "}"


def _plain(kind: pa.DataType, value: Any) -> str:
    """The text of a value for which Arrow has none, or that stands within another."""
    if isinstance(value, pa.MonthDayNano):
        return _interval(value)
    return value.hex() if isinstance(value, bytes) else str(value)


def _interval(value: pa.MonthDayNano) -> str:
    """An interval as DuckDB writes it: `1 year 2 months -3 days 04:05:06.789`."""
    years = abs(value.months) // 12 * (1 if value.months > 0 else -1)
    parts = [
        f"{number} {name}{'' if abs(number) == 1 else 's'}"
        for number, name in (
            (years, "year"),
            (value.months - 12 * years, "month"),
            (value.days, "day"),
        )
        if number
    ]
    if value.nanoseconds or not parts:
        seconds, rest = divmod(abs(value.nanoseconds) // 1_000, 1_000_000)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        fraction = f".{rest:06}".rstrip("0") if rest else ""
        parts.append(f"{'-' if value.nanoseconds < 0 else ''}{clock}{fraction}")
    return " ".join(parts)
