"""Feature files: `sql/features/<name>.sql`, the shipped ones and the user's own.

A file is one SELECT under a header:

    -- features/volume_ma: the mean volume of the last bars, and each bar's volume over it.
    -- grain: symbol, timestamp
    -- params: $periods integer (1 or more) = 20
    -- lookback: $periods rows
    -- freq: minute
    -- columns: volume_ma shares, volume_ratio a multiple of volume_ma
    -- source: a simple moving average over $periods bars, the present one included

`grain` is the unique key of its rows. `lookback` says how far before a row the rows lie that it
rests on: `none`, `session` (since the start of the row's own), `N rows` or `N sessions` before; N
is a number or an integer parameter. `freq` stands where the SELECT reads `aggs`, and is the data
type of aggs that is read where the question names none. Each of `columns` is a name and its unit.
`source` is the paper or book. Parameters have a type, a default, and perhaps a least value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb

from warehouse.core import process
from warehouse.core.datatypes import DATA_TYPES, TRADE_CONDITIONS, is_data_type
from warehouse.core.duckdb_connection import connect
from warehouse.core.small_files import plain, read_small
from warehouse.errors import RequestError, SqlFileError, one_line
from warehouse.sqlfolder.feature import FREQUENCIES, KINDS, Feature, Lookback, Parameter
from warehouse.sqlfolder.feature_select import (
    AGGS,
    CONDITIONS,
    Breach,
    Statement,
    check,
    columns_of,
    columns_read,
    complaint,
    names_in,
)
from warehouse.sqlfolder.files import MOST_BYTES, SqlFile, as_text
from warehouse.text import one_of

MACRO_ARGUMENTS = ("of_symbol", "first_session", "last_session")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = frozenset(
    {
        *("bars", "counted_bars", "day_bars", "filled_bars", "eligible_trades", "factors"),
        *("trades_beyond_deviations", "trades_beyond_quantile"),
        *("files_named", "folder", "months", "numbers"),
        *(f"{name}_files" for name in DATA_TYPES),
    }
)
"""Names whose macro, NAME_of, is the catalog's own: a feature's would take its place."""
_SENTENCE = re.compile(r"features/(\w+): (.*?\.)(?: |$)")
_PARAMETER = re.compile(
    r"\$(?P<name>\w+) (?P<kind>\w+)(?: \((?P<least>[-\d.]+) or more\))? = (?P<default>\S+)"
)
_LOOKBACK = re.compile(r"none|session|(?P<count>\d+|\$\w+) (?P<unit>rows?|sessions?)")
_DEFAULTS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "double": float,
    "boolean": {"true": True, "false": False}.__getitem__,
}
ARGUMENTS = (
    *("name", "symbols", "start", "end", "to", "tz", "missing", "freq", "self"),
    *("adjust", "as_of", "follow_renames"),
)
"""What `Warehouse.features` takes by name: no parameter of a feature is called so."""
_KEY_TYPES = {"symbol": "VARCHAR", "timestamp": "TIMESTAMP_NS", "session": "DATE"}


class FeatureFolder:
    """The features of one warehouse. A file that is added or changed is noticed at once."""

    def __init__(self, sql_dir: Path) -> None:
        self.folder = sql_dir / "features"

    def __getitem__(self, name: str) -> Feature:
        """The feature of that name.

        Raises:
            RequestError: there is none.
            SqlFileError: its file does not keep the conventions.
        """
        if not isinstance(name, str):
            raise RequestError("feature", name, "it is the name of one feature, a text")
        is_name = _NAME.fullmatch(name)
        path = self.folder / (f"{name}.sql" if is_name else "")
        # To list the folder takes as long as all else that an answer from memory needs.
        if not os.path.isfile(path):
            paths = self._paths()
            if name not in paths:
                raise RequestError("feature", name, self._hint(name, paths))
            path = paths[name]
        found = self._read(path)
        if isinstance(found, SqlFileError):
            raise found
        return found

    def __iter__(self) -> Iterator[Feature | SqlFileError]:
        """Every feature by name; of a file that does not keep the conventions the error."""
        return map(self._read, self._paths().values())

    def items(self) -> Iterator[tuple[str, Feature | SqlFileError]]:
        """The same with the names."""
        return ((name, self._read(path)) for name, path in self._paths().items())

    def texts(self) -> dict[str, str]:
        """What stands in each file, by name; what cannot be read as text, as far as it can."""
        return {name: _lenient_text(path) for name, path in self._paths().items()}

    def _paths(self) -> dict[str, Path]:
        if not self.folder.is_dir():
            return {}
        found = (path for path in self.folder.glob("*.sql") if not path.name.startswith("."))
        return {as_text(path): path for path in sorted(found)}

    @staticmethod
    def _read(path: Path) -> Feature | SqlFileError:
        try:
            return _parsed(path, read_small(path, MOST_BYTES))
        except (OSError, ValueError) as error:
            return SqlFileError(path, f"cannot be read: {one_line(error)}")

    def _hint(self, name: Any, paths: Mapping[str, Path]) -> str:
        if not paths:
            return f"there are none in {self.folder}; `warehouse init DIR` adds those that ship"
        makers = [
            found.name for found in self if isinstance(found, Feature) and name in found.columns
        ]
        if makers:
            return f"it may be {', '.join(paths)}; {name} is a column of {' and '.join(makers)}"
        return one_of(name, paths)


def _lenient_text(path: Path) -> str:
    try:
        with open(plain(path), "rb") as file:
            return file.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


@lru_cache(maxsize=256)
def _parsed(path: Path, text: str) -> Feature | SqlFileError:
    file = SqlFile(path, f"features/{path.stem}", text)
    try:
        return replace(_checked(path.stem, text), file=file)
    except Breach as breach:
        return SqlFileError(path, str(breach))


@lru_cache(maxsize=256)
def _checked(name: str, text: str) -> Feature:
    """The same file is in many warehouses, and is checked once."""
    with process.answers, _one_at_a_time:
        return _feature(_checker(), SqlFile(Path(f"{name}.sql"), f"features/{name}", text))


_one_at_a_time = Lock()


@lru_cache(maxsize=1)
def _checker() -> duckdb.DuckDBPyConnection:
    """A DuckDB that can do nothing but compute, with the tables that features read, empty."""
    connection = connect(threads=1)
    for table in (*DATA_TYPES, AGGS):
        kind = DATA_TYPES["day_aggs" if table == AGGS else table]
        connection.register(table, kind.columns.empty_table())
    connection.register(CONDITIONS, TRADE_CONDITIONS.empty_table())
    return connection


def _in_child() -> None:
    """After a fork: the parent's DuckDB is none of the child's."""
    global _one_at_a_time
    _one_at_a_time = Lock()
    if _checker.cache_info().currsize:
        process.abandon(_checker())
        _checker.cache_clear()


os.register_at_fork(after_in_child=_in_child)


def _feature(connection: duckdb.DuckDBPyConnection, file: SqlFile) -> Feature:
    name, header = file.path.stem, file.header
    if not _NAME.fullmatch(name) or is_data_type(name) or name == AGGS:
        raise Breach(
            "the name of a feature is made of a-z, 0-9 and _, and is not a data type's; rename it"
        )
    if name in _TAKEN:
        raise Breach(f"its macro would take the place of the catalog's own {name}_of; rename it")
    sentence = _SENTENCE.match(" ".join(file.comment))
    if sentence is None or sentence[1] != name:
        raise Breach(f"begin it with a sentence that says what it is: -- features/{name}: ….")
    for key in ("grain", "lookback", "source"):
        if not header.get(key):
            raise Breach(
                f"its header has no `{key}:`; add one, as warehouse/sqlfolder/feature_file.py says"
            )
    parameters = _parameters(connection, header.get("params", ""))
    statement = check(connection, file.body)
    _check_parameters(connection, file, parameters, statement)
    freq = header.get("freq")
    if (freq is not None) != (AGGS in statement.tables) or (freq and freq not in FREQUENCIES):
        raise Breach(
            "a SELECT that reads aggs, and no other, has in its header `freq: minute` or `freq:"
            " day`, which is read where the question names none"
        )
    grain = tuple(part.strip() for part in header["grain"].split(","))
    columns = dict(_columns(header.get("columns", "")))
    values = {parameter.name: parameter.default for parameter in parameters}
    reads = columns_read(connection, file.body, statement, values)
    _check_answer(connection, file, values, grain, columns)
    return Feature(
        name,
        sentence[2],
        file,
        grain,
        parameters,
        _lookback(header["lookback"], parameters),
        header["source"],
        columns,
        freq,
        statement,
        reads,
    )


def _parameters(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[Parameter, ...]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _PARAMETER.fullmatch(part)
        if match is None or match["kind"] not in KINDS:
            raise Breach(
                f"params: {part!r} is not understood; write `$name type = default` with one of the"
                f" types {', '.join(KINDS)}, or `$name integer (1 or more) = 20`"
            )
        name, kind, default = match["name"], match["kind"], match["default"]
        if name in (*ARGUMENTS, *MACRO_ARGUMENTS):
            raise Breach(f"params: ${name} means something else already; rename it")
        try:
            connection.extract_statements(f"from f({name} := 1)")
        except duckdb.Error:
            raise Breach(f"params: {name} is a word of SQL's own; rename it") from None
        least = None if match["least"] is None else float(match["least"])
        try:
            parameter = Parameter(name, kind, _DEFAULTS[kind](default), least)
            parameter.check(parameter.default)
        except (KeyError, ValueError, RequestError):
            raise Breach(f"params: {default!r} cannot be the default of ${name}") from None
        found.append(parameter)
    return tuple(found)


def _check_parameters(
    connection: duckdb.DuckDBPyConnection,
    file: SqlFile,
    parameters: tuple[Parameter, ...],
    statement: Statement,
) -> None:
    declared = [parameter.name for parameter in parameters]
    used = sorted({name for name, _, _ in statement.parameters})
    if sorted(declared) != used:
        raise Breach(
            f"its header declares the params {sorted(declared)}, but the statement uses {used};"
            " make them agree"
        )
    columns = {name for table in (*DATA_TYPES,) for name in columns_of(table)}
    taken = columns | names_in(connection, file.body)
    # In a macro a parameter's name is that of a column, and goes before it.
    arguments = {*MACRO_ARGUMENTS, "freq", "adjust", "as_of"}
    if clash := sorted(taken & {*(name.lower() for name in declared), *arguments}):
        raise Breach(f"{clash[0]} is both a column and an argument of its macro; rename one")


def _columns(text: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, unit = part.partition(" ")
        yield name, unit


def _lookback(text: str, parameters: tuple[Parameter, ...]) -> Lookback:
    match = _LOOKBACK.fullmatch(text)
    if match is None:
        raise Breach(
            f"lookback: {text!r} is not understood; it may be none, session, N rows or N sessions,"
            " with a number or an integer parameter as N"
        )
    if match["count"] is None:
        return Lookback(text)
    unit = match["unit"].removesuffix("s") + "s"
    if match["count"].isdigit():
        return Lookback(unit, int(match["count"]))
    name = match["count"].removeprefix("$")
    if not any(item.name == name and item.kind == "integer" for item in parameters):
        raise Breach(f"lookback: ${name} is no integer parameter of its own")
    return Lookback(unit, name)


def _check_answer(
    connection: duckdb.DuckDBPyConnection,
    file: SqlFile,
    values: Mapping[str, Any],
    grain: tuple[str, ...],
    columns: Mapping[str, str],
) -> None:
    """Run it over no rows: DuckDB must take it, and its columns be those that are promised."""
    try:
        answer = connection.sql(file.body, params=values or None)
    except duckdb.Error as error:
        raise Breach(f"DuckDB refuses it: {complaint(error)}") from error
    found = dict(zip(answer.columns, map(str, answer.types), strict=True))
    for name, kind in _KEY_TYPES.items():
        if found.get(name) != kind:
            raise Breach(f"its rows have no column {name} of type {kind}; select it too")
    if missing := [name for name in grain if name not in found]:
        raise Breach(f"grain: its rows have no column {missing[0]}")
    if columns:
        promised = {*grain, *_KEY_TYPES, *columns}
        if odd := sorted(promised ^ set(found)):
            raise Breach(f"columns: {odd[0]} is in the header or in the rows, but not in both")
