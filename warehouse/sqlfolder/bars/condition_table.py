"""The table of trade conditions: what a trade that carries one may do to a bar, and when.

A line of config/trade_conditions.csv, or of the user's own table in its place, is a rule:

    id,name,updates_high_low,updates_open_close,updates_volume,valid_from,valid_to
    12,Form T/Extended Hours,false,false,true,,

It is valid in the sessions from `valid_from` to `valid_to`, both inclusive; an empty one is open. A
condition may have several lines of disjoint periods. In a table without the two dates, as those of
earlier versions are, every rule is valid always.

The catalog's table is made by DuckDB, from the same file (sql/catalog/reference.sql). It is read
here first, since DuckDB would take a period that ends before it begins, two rules of one day, or
`yes` for true, and names no column; what is let through here both read alike.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.core.datatypes import TRADE_CONDITIONS
from warehouse.core.small_files import read_small
from warehouse.errors import ConfigError, one_line

_RULES = ("updates_high_low", "updates_open_close", "updates_volume")
_DATES = ("valid_from", "valid_to")
_DATED = ("id", "name", *_RULES, *_DATES)
_UNDATED = _DATED[: -len(_DATES)]
MOST_ID = 32_767

Rows = list[dict[str, Any]]


def is_id(text: str) -> bool:
    """Whether a text of a list is an id as the columns hold it: a whole number up to `MOST_ID`."""
    return bool(re.fullmatch("[0-9]{1,5}", text)) and int(text) <= MOST_ID


def read(path: Path) -> pa.Table:
    """The rules of a table, of the columns `TRADE_CONDITIONS`, in the order of its lines.

    Raises:
        ConfigError: names the line, the column, and what may stand there.
    """
    try:
        text = read_small(path)
    except FileNotFoundError:
        raise _unusable(
            path,
            "is missing; `warehouse init DIR` adds the one that is shipped, and"
            " bars.trade_conditions names another",
        ) from None
    except (OSError, ValueError) as error:
        raise _unusable(path, f"cannot be read: {one_line(error)}") from error
    if len(set(re.findall("\r\n|\r|\n", text))) > 1:
        raise _unusable(path, "its lines end in more than one way; save it with one")
    rows: Rows = []
    places: list[int] = []
    for line, row in _parsed(path, text):
        rows.append(row)
        places.append(line)
    _check_periods(path, rows, places)
    return pa.Table.from_pylist(rows, TRADE_CONDITIONS)


def as_csv(path: Path, rules: pa.Table) -> bytes:
    """A table of these rules as the file at a path has it; by id and first session.

    Args:
        rules: of the columns `TRADE_CONDITIONS`.

    Raises:
        ConfigError: it would not be read as it is written.
    """
    rows = rules.to_pylist()
    rows.sort(key=lambda row: (row["id"], row["valid_from"] or date.min))
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_DATED)
    for row in rows:
        lines.writerow([_written(row[name]) for name in _DATED])
    _check_periods(
        path, [row for _, row in _parsed(path, text.getvalue())], range(2, 2 + len(rows))
    )
    return text.getvalue().encode()


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _unusable(path: Path, problem: str) -> ConfigError:
    return ConfigError(path, ConfigError.WHOLE, None, problem)


def _parsed(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each rule with its line. Empty lines are passed over, as DuckDB passes over them."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: Sequence[str] = ()
    while True:
        line = lines.line_num + 1
        try:
            fields = next(lines, None)
        except csv.Error as error:
            raise ConfigError(path, f"line {line}", "", f"it is no CSV: {error}") from error
        if not names:
            names = tuple(fields or ())
            if names not in (_DATED, _UNDATED):
                raise ConfigError(path, "line 1", ",".join(names), f"it must be {','.join(_DATED)}")
        elif fields is None:
            return
        elif fields:
            if len(fields) != len(names):
                problem = f"it must have {len(names)} fields: {','.join(names)}"
                raise ConfigError(path, f"line {line}", ",".join(fields), problem)
            yield line, _rule(path, line, dict(zip(names, fields, strict=True)))


def _rule(path: Path, line: int, fields: dict[str, str]) -> dict[str, Any]:
    def refused(column: str, expected: str) -> ConfigError:
        return ConfigError(path, f"line {line}, {column}", fields[column], expected)

    if not is_id(fields["id"]):
        raise refused("id", f"it must be a whole number from 0 to {MOST_ID}")
    if not fields["name"].strip() or not fields["name"].isprintable():
        raise refused("name", "it must be a text of one line, and not empty")
    row: dict[str, Any] = {"id": int(fields["id"]), "name": fields["name"]}
    for column in _RULES:
        # A spreadsheet saves TRUE.
        told = fields[column].lower()
        if told not in ("true", "false"):
            raise refused(column, "it must be true or false")
        row[column] = told == "true"
    for column in _DATES:
        row[column] = None
        if text := fields.get(column, ""):
            try:
                row[column] = _day(text)
            except ValueError:
                raise refused(column, "it must be a day as 2024-01-31, or empty") from None
    first, last = row["valid_from"], row["valid_to"]
    if first is not None and last is not None and last < first:
        raise refused("valid_to", f"it lies before valid_from, which is {first}")
    return row


def _day(text: str) -> date:
    if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(text)
    return date.fromisoformat(text)


def _check_periods(path: Path, rows: Rows, lines: Iterable[int]) -> None:
    """Refuse two rules of one condition that hold in the same session."""
    periods: defaultdict[int, list[tuple[date, date, int]]] = defaultdict(list)
    for line, row in zip(lines, rows, strict=True):
        period = row["valid_from"] or date.min, row["valid_to"] or date.max
        periods[row["id"]].append((*period, line))
    overlaps = [
        (max(line, other), min(line, other), number)
        for number, found in periods.items()
        for (_, last, line), (first, _, other) in pairwise(sorted(found))
        if first <= last
    ]
    if overlaps:
        line, other, number = min(overlaps)
        raise ConfigError(
            path,
            f"line {line}, id",
            str(number),
            f"line {other} has a rule for it too, valid in the same sessions; let one end"
            " (valid_to) before the other begins (valid_from)",
        )
