"""Free-form SELECTs: what may run, with which values, and whether its answer may be kept."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from warehouse.core.calendar import in_new_york
from warehouse.core.datatypes import earlier_form
from warehouse.core.duckdb_connection import watched
from warehouse.errors import (
    MovedCatalogError,
    QueryError,
    WarehouseError,
)
from warehouse.read.frames import distinct, infinite_time, unfit_type
from warehouse.read.query import file_check
from warehouse.read.query.names import known
from warehouse.read.snapshot import Snapshot
from warehouse.sqlfolder.determinism import function_name, is_stable, nodes
from warehouse.sqlfolder.determinism import names as names_in
from warehouse.sqlfolder.select_check import check_select, explained
from warehouse.store.partitions import unreadable
from warehouse.text import is_utf8

# What may stand in FROM with parentheses. Not here: those that run SQL given as text (which nobody
# has checked), that take addresses in memory, that change how DuckDB runs, or never end (summary).
_TABLE_FUNCTIONS = frozenset(
    {
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "glob"),
        *("query_table", "json_each", "json_tree", "read_parquet", "read_text", "read_blob"),
        *("read_csv", "read_csv_auto", "read_json", "read_json_auto", "read_json_objects"),
        *("read_ndjson", "read_ndjson_objects", "parquet_scan", "parquet_metadata", "sniff_csv"),
        *("parquet_file_metadata", "parquet_full_metadata", "parquet_kv_metadata"),
        *("parquet_schema", "parquet_bloom_probe", "duckdb_columns", "duckdb_constraints"),
        *("duckdb_databases", "duckdb_functions", "duckdb_keywords", "duckdb_memory"),
        *("duckdb_schemas", "duckdb_settings", "duckdb_tables", "duckdb_types", "duckdb_views"),
        *("pragma_table_info", "pragma_version", "icu_calendar_names", "pg_timezone_names"),
    }
)
_EXPLAIN = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*explain(?:\s+analyze\b|\s*\([\w\s,]*\))?(?=[\s(])",
    re.IGNORECASE | re.DOTALL,
)
# Types whose `repr` says all of a value.
_EXACT = frozenset(
    {
        *(str, bytes, int, float, bool, Decimal, UUID, type(None), date, time, timedelta, datetime),
        *(pd.Timestamp, pd.Timedelta, type(pd.NaT), type(pd.NA)),
    }
)

_FINE = frozenset({"W", "D", "h", "m", "s", "ms", "us", "ns"})
"""Units of a duration that last as long always."""


_STAMPS = frozenset(
    {"datetime", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_us", "timestamp_ns"}
)
_INSTANTS = frozenset({"timestamptz", "timestamptz_ns", "timestamp with time zone"})
_ZONED = re.compile(
    r"\s*\d{4}[-/]\d\d?[-/]\d\d?(T|\s+)\d\d?:\d\d[\d:.]*\s*"
    r"([+-](?!00(:?00)*\s*$)\d\d?(:?\d\d)*|(?!(z|utc|gmt)\s*$)[a-z][\w/+-]*)\s*",
    re.IGNORECASE,
)
"""A text of an instant in a zone: beside a stamp SQL passes over the zone, without a word."""


@dataclass(frozen=True)
class Query:
    """A SELECT that may run.

    Attributes:
        sql: its text.
        parameters: the names that need a value.
        stable: the same values give the same answer for as long as nothing is published.
        names: what it names that may be tables, views or macros, in lower case.
        compared: parameters that something is compared with, or that are cast to a stamp.
        sessions: parameters that a session is compared with.
    """

    sql: str
    parameters: frozenset[str]
    stable: bool
    names: frozenset[str]
    compared: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()


def check(snapshot: Snapshot, sql: str) -> Query:
    """A query, checked: exactly one SELECT that only reads.

    Raises:
        QueryError: it is something else, or cannot be parsed.
    """
    if not isinstance(sql, str):
        raise QueryError(repr(sql), f"a query is a text, not {type(sql).__name__}")
    if not is_utf8(sql):
        raise QueryError(ascii(sql), "it is no UTF-8")
    return snapshot.once(("query", sql), lambda: _check(snapshot, sql))


def _check(snapshot: Snapshot, sql: str) -> Query:
    plan = _EXPLAIN.match(sql)
    if plan is not None:
        # The plan of what may run; with ANALYZE it does, and is no two times the same.
        return replace(_check(snapshot, sql[plan.end() :]), sql=sql, stable=False)
    names_known = known(snapshot)
    with snapshot.connection(about=()) as connection:
        select = check_select(connection, sql, _TABLE_FUNCTIONS | names_known.table_macros)
    names = select.parameters
    positional = sorted(name for name in names if name.isdigit())
    if positional:
        raise QueryError(sql, "values go in by name: write $name where ? or $1 stands")
    stable = is_stable(select.tree, names_known)
    sides = list(_made_stamps(select.tree))
    for side in sides:
        if side.get("class") == "CONSTANT" and isinstance(literal := side.get("literal"), dict):
            _check_zone(sql, "", literal.get("text"))
    compared, sessions = _parameters(sides), _parameters(_beside_a_session(select.tree))
    return Query(sql, names, stable, frozenset(names_in(select.tree)), compared, sessions)


def _parameters(found: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(node["identifier"] for node in found if node.get("class") == "PARAMETER")


def _compared(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a node of a syntax tree compares; nothing where it compares nothing."""
    if node.get("class") in ("COMPARISON", "BETWEEN"):
        found = list(node.values())
    elif node.get("type") in ("COMPARE_IN", "COMPARE_NOT_IN"):
        found = node["children"]
    else:
        return []
    return [one for one in found if isinstance(one, dict)]


def _beside_a_session(tree: Any) -> Iterator[dict[str, Any]]:
    """Nodes of a syntax tree that the column `session` is compared with, and that column."""
    for node in nodes(tree):
        sides = _compared(node)
        if any(map(_is_session, sides)):
            yield from sides


def _is_session(node: Mapping[str, Any]) -> bool:
    return node.get("class") == "COLUMN_REF" and node["column_names"][-1].lower() == "session"


def _made_stamps(tree: Any) -> Iterator[dict[str, Any]]:
    """Nodes of a syntax tree that SQL may make a stamp of where they are texts.

    They are compared with something, or cast. Beside an instant that has a zone their own counts.
    """
    for node in nodes(tree):
        if node.get("class") == "CAST":
            is_stamp = str(node["type_expr"].get("type_name")).lower() in _STAMPS
            sides = [node["child"]] if is_stamp else []
        else:
            sides = _compared(node)
        if not any(map(_is_instant, sides)):
            yield from sides


def _is_instant(node: Mapping[str, Any]) -> bool:
    """Whether the SQL says that a value has a zone, be it with AT TIME ZONE, of one without."""
    if node.get("class") == "CAST":
        return str(node["type_expr"].get("type_name")).lower() in _INSTANTS
    if node.get("class") == "FUNCTION" and function_name(node) == "timezone":
        given = [each["expression"] for each in node.get("arguments", ())]
        return len(given) == 2 and not _is_instant(given[1])
    return False


def values(query: Query, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a query's parameters, as DuckDB takes them.

    A datetime becomes a TIMESTAMP_NS in UTC, as the columns are, without losing nanoseconds: naive
    it is New York time, aware it is what it says. A date stays a date, and so does a numpy day; a
    text stays a text. A duration is an INTERVAL, which has no nanoseconds: they are refused. Within
    a list or a dict the same holds; Arrow's and polars' columns are lists.

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
    for name in query.compared:
        _check_zone(query.sql, f"${name} = ", given[name])
    for name in query.sessions:
        _check_session(query, name, given[name])
    return {name: _value(query, name, value) for name, value in given.items()}


def _check_zone(sql: str, name: str, value: object) -> None:
    if isinstance(value, str) and _ZONED.fullmatch(value):
        problem = (
            "beside a stamp SQL passes over the zone of a text; write the instant in UTC, without"
            " one, or cast both sides to timestamptz"
        )
        raise QueryError(sql, f"{name}{value!r}: {problem}")


def _check_session(query: Query, name: str, value: Any) -> None:
    """Refuse an instant where a session is asked for: SQL takes a session for midnight UTC."""
    value = _plain(value)
    for item in value if isinstance(value, list | tuple | set | frozenset) else [value]:
        if isinstance(item, datetime) and not pd.isna(item):
            problem = "a session is compared with it, and is a date; give its .date()"
            raise QueryError(query.sql, f"${name} = {item}: {problem}")


def _dollars(names: list[str]) -> str:
    return ", ".join(f"${name}" for name in names)


def _value(query: Query, name: str, value: Any) -> Any:
    value = _plain(value)
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            return None
        if np.datetime_data(value.dtype)[0] == "D":
            return value.item()
        raise QueryError(
            query.sql, f"${name}: a numpy.datetime64 has no time zone; give a pandas.Timestamp"
        )
    if isinstance(value, np.timedelta64 | pd.Timedelta):
        return _interval(query, name, value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _value(query, name, item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = _ordered(value) if isinstance(value, set | frozenset) else value
        if items and all(isinstance(item, datetime) and not pd.isna(item) for item in items):
            texts = [_stamp(query, name, item) for item in items]
            return duckdb.Value(texts, duckdb.list_type(duckdb.sqltypes.TIMESTAMP_NS))
        return [_value(query, name, item) for item in items]
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, datetime):
        return duckdb.Value(_stamp(query, name, value), duckdb.sqltypes.TIMESTAMP_NS)
    if isinstance(value, time) and value.tzinfo is not None and value.utcoffset() is None:
        raise QueryError(query.sql, f"${name} = {value}: without a day its zone has no offset")
    return value


def _plain(value: Any) -> Any:
    """A value of Arrow, polars, numpy or pandas as one of Python's: many as a list."""
    if hasattr(value, "as_py"):
        return value.as_py()
    if hasattr(value, "to_arrow") and not isinstance(value, pa.ChunkedArray):
        # Through Arrow, for polars' own lists have no nanoseconds.
        value = value.to_arrow()
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return value.to_pylist()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value[()]
    if isinstance(value, np.ndarray | pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return list(value)
    return value


def _ordered(values: Iterable[Any]) -> list[Any]:
    """A set's values, always in the same order."""
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=repr)


def _interval(query: Query, name: str, value: np.timedelta64 | pd.Timedelta) -> timedelta | None:
    """A duration as SQL has it: to the microsecond.

    Raises:
        QueryError: it is finer than that, or counts months, years or nothing in particular.
    """
    if pd.isna(value):
        return None
    problem = "an INTERVAL has no nanoseconds; give them as a number, beside epoch_ns(timestamp)"
    if (
        isinstance(value, np.timedelta64)
        and (unit := np.datetime_data(value.dtype)[0]) not in _FINE
    ):
        problem = f"of the unit {unit!r} there is no INTERVAL"
    else:
        try:
            length = pd.Timedelta(value)
            if not length.nanoseconds and value == length:
                return length.to_pytimedelta()
        except (ValueError, OverflowError) as error:
            problem = explained(error)
    raise QueryError(query.sql, f"${name} = {value} cannot be used: {problem}")


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
            stamp = in_new_york(stamp)
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
        CorruptPartitionError: a file that the catalog names is not there, or cannot be read.
    """
    bound = values(query, given)
    file_check.check(snapshot, query.names)
    with snapshot.connection(about=()) as connection:
        try:
            relation = connection.sql(query.sql, params=bound)
            if unfit := unfit_type(relation.columns, relation.types):
                raise QueryError(query.sql, unfit)
            table = watched(connection, "query", relation.to_arrow_table)
        except duckdb.Error as error:
            raise _explained(snapshot, query, error) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise QueryError(query.sql, f"a value cannot be used: {explained(error)}") from error
    table = table.rename_columns(distinct(table.column_names))
    if unfit := infinite_time(table):
        raise QueryError(query.sql, unfit)
    return table


def _explained(snapshot: Snapshot, query: Query, error: duckdb.Error) -> WarehouseError:
    """What it means that DuckDB cannot run a query."""
    text = explained(error)
    if unknown := re.search(r"there are no \w+ of .* \(case counts\)", text):
        return QueryError(query.sql, unknown[0])
    if told := earlier_form(error):
        return QueryError(query.sql, told)
    if isinstance(error, duckdb.PermissionException):
        if outside := re.search(r"Cannot access (?:file|directory) (\".*?\") - file system", text):
            if outside[1].strip('"') not in query.sql and (made_in := snapshot.made_elsewhere()):
                return MovedCatalogError(snapshot.layout.catalog, made_in)
            text = (
                f"{outside[1]} lies outside of the warehouse's folders, and a query reads what is"
                " in them; read it with a DuckDB of your own, which can open the catalog too:"
                " duckdb -readonly data/warehouse.duckdb"
            )
        return QueryError(query.sql, text)
    layout = snapshot.layout
    tiers = (layout.cache, layout.rejects)
    # Of a link to what is not there the link's own name is told.
    for place in [*tiers, *map(os.path.realpath, tiers)]:
        # A pattern is one that the query gives itself.
        named = re.escape(str(place))
        if found := re.search(rf"[\"']({named}/[^*?[\"']*\.parquet)[\"']", text):
            return unreadable(Path(found[1]), text)
    return QueryError(query.sql, text)
