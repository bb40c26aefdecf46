"""The vendor's exports of corporate actions and names, read from JSON or CSV.

JSON is a page as the vendor's API answers, or a list of such pages: an object with `results`. CSV
has the same field names in its first line. Unknown fields are passed over. What is missing, or of
another type, is an error that names the file and the place: an export is a stranger's word, and
what it says moves prices.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.core.paths import MAX_SYMBOL_BYTES
from warehouse.core.small_files import parsed_json, plain, up_to
from warehouse.errors import ReferenceFileError, one_line
from warehouse.store.reference.reference_files import SCHEMAS
from warehouse.text import is_utf8

MOST_BYTES = 64 << 20
"""Of a file: read as JSON it may take twenty times that."""
_MOST_TEXT = 200
_FIRST, _LAST = date(1900, 1, 1), date(2199, 12, 31)
"""Days outside of these are slips of a pen."""
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_SHOWN = 60

Place = Callable[[str], str]
"""Where a field of a record stands in its file, in words."""
Record = tuple[Mapping[str, Any], Place]


@dataclass(frozen=True)
class Export:
    """What one file says.

    Attributes:
        table: splits, dividends or securities.
        rows: the columns of that table that an export fills, in the order of the file: those of
            `FIELDS`; of securities `security`, `symbol`, `first_session` and `name`.
        is_last: the vendor's list ends with it; else each of its pages names one after it.
    """

    path: Path
    table: str
    rows: pa.Table
    is_last: bool = True


@dataclass(frozen=True)
class Field:
    """A field of an export.

    Attributes:
        name: the vendor's.
        column: ours; None: it must be there and is not kept, for each later action restates it.
        read: makes a value of ours; raises ValueError with what it is not.
        needed: each record has a value; else it may be null, or left out where others have it.
    """

    name: str
    column: str | None
    read: Callable[[Any], Any]
    needed: bool = False


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is no text")
    if len(value) > _MOST_TEXT or not is_utf8(value):
        raise ValueError(f"is no text of at most {_MOST_TEXT} letters")
    return value


def _symbol(value: Any) -> str:
    symbol = _text(value)
    if len(symbol.encode()) > MAX_SYMBOL_BYTES or not symbol.isprintable() or " " in symbol:
        raise ValueError("is no symbol")
    return symbol


def _day(value: Any) -> date:
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            day = date.fromisoformat(value)
            if _FIRST <= day <= _LAST:
                return day
    except ValueError:
        pass
    raise ValueError(f"is no day YYYY-MM-DD from {_FIRST.year} to {_LAST.year}")


def _number(value: Any) -> float:
    found = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            found = float(value)
    if not math.isfinite(found):
        raise ValueError("is no number")
    return found


def _whole(value: Any) -> int:
    found = _number(value)
    if not found.is_integer() or abs(found) >= 1 << 31:
        raise ValueError("is no whole number")
    return int(found)


FIELDS: Mapping[str, tuple[Field, ...]] = {
    "splits": (
        Field("id", "id", _text, needed=True),
        Field("ticker", "symbol", _symbol, needed=True),
        Field("execution_date", "execution_date", _day, needed=True),
        Field("split_from", "split_from", _number, needed=True),
        Field("split_to", "split_to", _number, needed=True),
        Field("adjustment_type", "adjustment_type", _text),
        Field("historical_adjustment_factor", None, _number),
    ),
    "dividends": (
        Field("id", "id", _text, needed=True),
        Field("ticker", "symbol", _symbol, needed=True),
        Field("ex_dividend_date", "ex_date", _day, needed=True),
        Field("declaration_date", "declaration_date", _day),
        Field("record_date", "record_date", _day),
        Field("pay_date", "pay_date", _day),
        Field("cash_amount", "cash_amount", _number, needed=True),
        Field("split_adjusted_cash_amount", None, _number),
        Field("currency", "currency", _text),
        Field("frequency", "frequency", _whole),
        Field("distribution_type", "distribution_type", _text),
        Field("historical_adjustment_factor", None, _number),
    ),
    "securities": (
        Field("name", "name", _text, needed=True),
        Field("type", "type", _text, needed=True),
        Field("date", "first_session", _day, needed=True),
        Field("ticker", "symbol", _symbol, needed=True),
    ),
}
"""What an export of each table has. Of ticker events these are an event's, with its name."""

_NUMBERS = {
    each.name for fields in FIELDS.values() for each in fields if each.read in (_number, _whole)
}
"""Fields that are numbers: in CSV they are texts as all others are."""

_TELLING = {
    "splits": {"execution_date", "split_from", "split_to", "adjustment_type"},
    "dividends": {"ex_dividend_date", "cash_amount", "pay_date", "record_date", "currency"},
    "securities": {"events", "type", "date"},
}
"""Fields that no other export has."""
_RENAMED = "ticker_change"
"""The type of an event that says a security's symbol from a day on."""
_OF = "\0of"
"""Of an event, which record of its file it is of; a line of CSV says no more than the name."""


def read_export(path: Path) -> Export:
    """What an export says; whose it is, its fields tell.

    Raises:
        ReferenceFileError: it cannot be read, is none, or a field is missing or of another type.
    """
    text = _read(path)
    is_json = text.lstrip()[:1] in ("{", "[")
    pages = _pages(path, text) if is_json else []
    records = list(_json_records(path, pages) if is_json else _csv_records(path, text))
    if not records:
        raise ReferenceFileError(path, "", "it holds no split, no dividend and no ticker event")
    table = _table_of(path, records[0][0])
    if table == "securities":
        if is_json:
            records = [event for record in records for event in _events(path, record)]
        records = [each for each in records if each[0].get("type") in (None, _RENAMED)]
        columns = _columns(path, FIELDS[table], records)
        return Export(path, table, _securities(columns, [str(r.get(_OF)) for r, _ in records]))
    columns = _columns(path, FIELDS[table], records)
    schema = pa.schema([SCHEMAS[table].field(name) for name in columns])
    is_last = not pages or not all(
        isinstance(page, dict) and page.get("next_url") for _, page in pages
    )
    return Export(path, table, pa.Table.from_pydict(columns, schema), is_last)


def _read(path: Path) -> str:
    try:
        with open(plain(path), "rb") as file:
            content = up_to(file, MOST_BYTES)
    except OSError as error:
        problem = f"it cannot be read: {error.strerror or error}"
        raise ReferenceFileError(path, "", problem) from error
    if len(content) > MOST_BYTES:
        problem = f"it is larger than {MOST_BYTES >> 20} MiB; give it in several files"
        raise ReferenceFileError(path, "", problem)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReferenceFileError(path, "", "it is not UTF-8; save it as UTF-8") from error


def _pages(path: Path, text: str) -> list[tuple[str, Any]]:
    """The pages of a file, each with what the places in it begin with."""
    try:
        found = parsed_json(text)
    except ValueError as error:
        problem = f"it is not whole, or no JSON: {one_line(error, 200)}"
        raise ReferenceFileError(path, "", problem) from error
    is_pages = isinstance(found, list) and all(
        isinstance(page, dict) and "results" in page for page in found
    )
    if is_pages:
        return [(f"[{number}].", page) for number, page in enumerate(found)]
    return [("", {"results": found} if isinstance(found, list) else found)]


def _json_records(path: Path, pages: Iterable[tuple[str, Any]]) -> Iterator[Record]:
    for lead, page in pages:
        if not isinstance(page, dict) or "results" not in page:
            raise ReferenceFileError(path, lead.rstrip("."), "it has no results")
        results = page["results"]
        if isinstance(results, dict):
            # Of ticker events: of one security.
            yield results, _in_object(f"{lead}results")
            continue
        if not isinstance(results, list):
            raise ReferenceFileError(path, f"{lead}results", "is no list of records")
        for number, record in enumerate(results):
            where = f"{lead}results[{number}]"
            if not isinstance(record, dict):
                raise ReferenceFileError(path, where, "is no record")
            yield record, _in_object(where)


def _in_object(lead: str) -> Place:
    return lambda name: f"{lead}.{name}" if name else lead


def _csv_records(path: Path, text: str) -> Iterator[Record]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(rows, [])
        if len(set(header)) < len(header):
            raise ReferenceFileError(path, "line 1", "a field comes twice")
        if header:
            _table_of(path, header)  # before its lines: those of another kind of file are any
        for row in rows:
            if not row:
                continue
            line = rows.line_num
            if len(row) != len(header):
                problem = f"has {len(row)} values, not {len(header)}"
                raise ReferenceFileError(path, f"line {line}", problem)
            # An empty value is none.
            record: dict[str, Any] = dict(zip(header, row, strict=True))
            for name, value in record.items():
                if not value:
                    record[name] = None
                elif name in _NUMBERS and _NUMBER.fullmatch(value):
                    record[name] = float(value)
            yield record, _in_line(line)
    except csv.Error as error:
        raise ReferenceFileError(path, f"line {rows.line_num}", one_line(error, 200)) from error


def _in_line(line: int) -> Place:
    return lambda name: f"line {line}, {name}" if name else f"line {line}"


def _table_of(path: Path, fields: Iterable[str]) -> str:
    """The table that an export of these fields is of."""
    named = set(fields)
    scores = {table: len(telling & named) for table, telling in _TELLING.items()}
    best = max(scores, key=lambda table: scores[table])
    if not scores[best]:
        problem = "it is no export of splits, dividends or ticker events"
        raise ReferenceFileError(path, "", f"{problem}: it has {_shown(sorted(named))}")
    return best


def _events(path: Path, record: Record) -> Iterator[Record]:
    """The events of a security as records of their own, each with its name."""
    found, place = record
    events = found.get("events")
    if not isinstance(events, list):
        raise ReferenceFileError(path, place("events"), "is missing, or no list of events")
    for number, event in enumerate(events):
        where = place(f"events[{number}]")
        if not isinstance(event, dict):
            raise ReferenceFileError(path, where, "is no event")
        change = event.get(_RENAMED)
        ticker = change.get("ticker") if isinstance(change, dict) else None
        if event.get("type") == _RENAMED and ticker is None:
            raise ReferenceFileError(path, f"{where}.{_RENAMED}.ticker", "is missing")
        if found.get("name") is None:
            raise ReferenceFileError(path, place("name"), "is missing")
        told = {"ticker": ticker, "name": found["name"], _OF: place("")}
        yield {**event, **told}, _in_object(where)


def _columns(path: Path, fields: tuple[Field, ...], records: list[Record]) -> dict[str, list[Any]]:
    """The values of each column that is kept."""
    columns: dict[str, list[Any]] = {}
    for field in fields:
        values, is_there = [], False
        for record, place in records:
            value = record.get(field.name)
            is_there = is_there or field.name in record
            if value is None and field.needed:
                raise ReferenceFileError(path, place(field.name), "is missing")
            try:
                values.append(None if value is None else field.read(value))
            except ValueError as error:
                problem = f"{_shown(value)} {error}"
                raise ReferenceFileError(path, place(field.name), problem) from error
        if records and not is_there:
            raise ReferenceFileError(path, records[0][1](field.name), "is missing")
        if field.column is not None:
            columns[field.column] = values
    return columns


def _securities(columns: Mapping[str, list[Any]], groups: list[str]) -> pa.Table:
    """Each security's symbols, each with its first day; those of a group and a name are one's.

    No export has an id of a security, and names change: ours is the first symbol that it bore, and
    from when. A symbol is borne by one at a time, so no two securities are called the same.
    """
    borne: dict[tuple[str, str], set[tuple[date, str]]] = {}
    told = zip(groups, columns["name"], columns["first_session"], columns["symbol"], strict=True)
    for group, name, first, symbol in told:
        borne.setdefault((group, name), set()).add((first, symbol))
    found = []
    for (_, name), events in borne.items():
        first, symbol = min(events)
        security = f"{symbol} {first}"
        found += [(security, symbol, first, name) for first, symbol in sorted(events)]
    names = ("security", "symbol", "first_session", "name")
    return pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in found],
        pa.schema([SCHEMAS["securities"].field(name) for name in names]),
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
