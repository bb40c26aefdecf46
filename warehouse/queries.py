"""Free-form SELECTs: what may run, with which values, and whether its answer may be kept.

DuckDB's own parser says what a statement is made of. Its statement type alone does not: since 2.0 a
SELECT may carry a COPY TO, an INSERT or a DELETE in a WITH clause.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from warehouse.catalognames import known
from warehouse.errors import QueryError
from warehouse.frames import distinct
from warehouse.layout import decode_symbol
from warehouse.schema import earlier_form
from warehouse.sessions import NEW_YORK
from warehouse.snapshot import Snapshot
from warehouse.syntax import function_name, is_stable, nodes, parse
from warehouse.syntax import names as names_in

_READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
# What else may stand in FROM with parentheses. Not here: those that run SQL given as text (which
# nobody has checked), that take addresses in memory, or that change how DuckDB runs.
_TABLE_FUNCTIONS = re.compile(
    r"range|generate_series|unnest|repeat|repeat_row|summary|glob|query_table|json_each|json_tree"
    r"|read_(parquet|text|blob|csv|csv_auto|json|json_auto|json_objects|ndjson|ndjson_objects)"
    r"|parquet_(scan|metadata|file_metadata|full_metadata|kv_metadata|schema|bloom_probe)|sniff_csv"
    r"|duckdb_(columns|constraints|databases|functions|keywords|memory|schemas|settings|tables"
    r"|types|views)|pragma_(table_info|version)|icu_calendar_names|pg_timezone_names"
)
# Types whose `repr` says all of a value.
_EXACT = frozenset(
    {
        *(str, bytes, int, float, bool, Decimal, UUID, type(None), date, time, timedelta, datetime),
        *(pd.Timestamp, pd.Timedelta, type(pd.NaT), type(pd.NA)),
    }
)


@dataclass(frozen=True)
class Query:
    """A SELECT that may run.

    Attributes:
        sql: its text.
        parameters: the names that need a value.
        stable: the same values give the same answer for as long as nothing is published.
        names: what it names that may be tables, views or macros, in lower case.
    """

    sql: str
    parameters: frozenset[str]
    stable: bool
    names: frozenset[str]


def check(snapshot: Snapshot, sql: str) -> Query:
    """A query, checked: exactly one SELECT that only reads.

    Raises:
        QueryError: it is something else, or cannot be parsed.
    """
    if not isinstance(sql, str):
        raise QueryError(repr(sql), f"a query is a text, not {type(sql).__name__}")
    return snapshot.once(("query", sql), lambda: _check(snapshot, sql))


def _check(snapshot: Snapshot, sql: str) -> Query:
    with snapshot.connection() as connection:
        try:
            statements = connection.extract_statements(sql)
        except duckdb.Error as error:
            raise QueryError(sql, one_line(error)) from error
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            kinds = ", ".join(_kind(statement) for statement in statements) or "nothing"
            hint = " (write out PIVOT's values: on x in ('a', 'b'))" if "MULTI" in kinds else ""
            raise QueryError(sql, f"a query is exactly one SELECT; this is {kinds}{hint}")
        names = frozenset(statements[0].named_parameters)
        tree = parse(connection, sql)
    positional = sorted(name for name in names if name.isdigit())
    if positional:
        raise QueryError(sql, "values go in by name: write $name where ? or $1 stands")
    names_known = known(snapshot)
    for node in nodes(tree):
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _READING_NODES:
            verb = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise QueryError(sql, f"a query is exactly one SELECT; this one holds a {verb}")
        if kind == "TABLE_FUNCTION":
            name = function_name(node["function"])
            if not _TABLE_FUNCTIONS.fullmatch(name) and name not in names_known.table_macros:
                raise QueryError(sql, f"a query may not select from {name}()")
    return Query(sql, names, is_stable(tree, names_known), frozenset(names_in(tree)))


def _kind(statement: duckdb.Statement) -> str:
    return str(statement.type).removeprefix("StatementType.")


def values(query: Query, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a query's parameters, as DuckDB takes them.

    A datetime becomes a TIMESTAMP_NS in UTC, as the columns are, without losing nanoseconds: naive
    it is New York time, aware it is what it says. A date stays a date, and so does a numpy day; a
    text stays a text.

    Raises:
        QueryError: a value is missing, or there is one too many, or of a type SQL has not.
    """
    missing = sorted(query.parameters - set(given))
    surplus = sorted(set(given) - query.parameters)
    if missing:
        near = [near for name in missing for near in get_close_matches(name, surplus, 1)]
        hint = f" (there is one for ${near[0]})" if near else ""
        raise QueryError(
            query.sql, f"no value is given for {_dollars(missing)}{hint}; add {missing[0]}=…"
        )
    if surplus:
        wants = _dollars(sorted(query.parameters)) or "none"
        hint = "; the answer's form goes second: query(sql, 'arrow')" if "to" in surplus else ""
        raise QueryError(
            query.sql, f"the query has no parameter {_dollars(surplus)}; it wants {wants}{hint}"
        )
    return {name: _value(query, name, value) for name, value in given.items()}


def _dollars(names: list[str]) -> str:
    return ", ".join(f"${name}" for name in names)


def _value(query: Query, name: str, value: Any) -> Any:
    if isinstance(value, np.datetime64):
        if np.datetime_data(value.dtype)[0] == "D" and not np.isnat(value):
            return value.item()
        raise QueryError(
            query.sql, f"${name}: a numpy.datetime64 has no time zone; give a pandas.Timestamp"
        )
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | pd.Series | pd.Index):
        value = list(value)
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        if items and all(isinstance(item, datetime) for item in items):
            texts = [_stamp(query, name, item) for item in items]
            return duckdb.Value(texts, duckdb.list_type(duckdb.sqltypes.TIMESTAMP_NS))
        return [_value(query, name, item) for item in items]
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, datetime):
        return duckdb.Value(_stamp(query, name, value), duckdb.sqltypes.TIMESTAMP_NS)
    return value


def _stamp(query: Query, name: str, value: datetime) -> str:
    try:
        stamp = pd.Timestamp(value)
        if stamp.tzinfo is None:
            if stamp == stamp.normalize():
                # SQL takes a session for midnight UTC: either reading is wrong beside some column.
                raise ValueError(
                    "a midnight without a zone may be a session or an instant; give its .date(),"
                    " or the zone"
                )
            stamp = stamp.tz_localize(NEW_YORK)
        return str(stamp.tz_convert("UTC").tz_localize(None).as_unit("ns"))
    except (ValueError, OverflowError) as error:
        raise QueryError(query.sql, f"${name} = {value} cannot be used: {error}") from error


def key_of(given: Mapping[str, Any]) -> Hashable | None:
    """Values as part of a cache key: equal keys, equal values.

    None where one is of a type that this cannot be said of, such as one of the caller's own.
    """
    try:
        return tuple((name, _exact(value)) for name, value in sorted(given.items()))
    except TypeError:
        return None


def _exact(value: Any) -> tuple[str, Any]:
    """A value told from every other: 1 from 1.0 and True, 0.0 from -0.0.

    Raises:
        TypeError: it is not known how.
    """
    kind = type(value)
    if isinstance(value, np.ndarray | pd.Series | pd.Index):
        kind, value = list, list(value)
    if kind in (list, tuple):
        return kind.__name__, tuple(_exact(item) for item in value)
    if kind in (set, frozenset):
        return "set", tuple(sorted(repr(_exact(item)) for item in value))
    if kind is dict:
        return "dict", tuple((_exact(key), _exact(item)) for key, item in value.items())
    if isinstance(value, np.generic) or kind in _EXACT:
        return kind.__name__, repr(value)
    raise TypeError(kind)


def run(snapshot: Snapshot, query: Query, given: Mapping[str, Any]) -> pa.Table:
    """The answer to a checked query.

    Raises:
        QueryError: DuckDB cannot run it.
    """
    bound = values(query, given)
    with snapshot.connection() as connection:
        try:
            table = connection.sql(query.sql, params=bound).to_arrow_table()
        except duckdb.Error as error:
            told = _no_rows(error) or earlier_form(error) or one_line(error)
            raise QueryError(query.sql, told) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise QueryError(query.sql, f"a value cannot be used: {one_line(error)}") from error
    return table.rename_columns(distinct(table.column_names))


def _no_rows(error: Exception) -> str | None:
    """What it means that DuckDB finds no file: a macro was asked for a symbol that is not there."""
    found = re.search(r'No files found.*/(\w+)/([^/"]+)/\*\.parquet"', str(error))
    if found is None:
        return None
    return f"there are no {found[1]} of {decode_symbol(found[2])!r} (case counts)"


def one_line(error: Exception) -> str:
    """DuckDB's message with its hint, without the picture of the statement."""
    text = re.sub(r"\n+LINE \d+:.*", "", str(error), flags=re.DOTALL)
    return " ".join(text.split())[:1000]
