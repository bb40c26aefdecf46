"""The SELECT of a feature file: what it may hold, what it reads, where its parameters stand.

The rules keep a row from resting on anything but the rows that are given to it, up to its own: only
the data types' tables and the statement's own WITH names, no files, no clock, no dice; every window
in an order and with a frame that is written out and ends where the row stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import QueryError, one_line
from warehouse.sqlfolder.determinism import (
    STABLE_TABLE_FUNCTIONS,
    Known,
    builtin,
    function_name,
    nodes,
    own_names,
    parse,
    unstable,
)

AGGS = "aggs"
"""The table of a feature that can read either data type of aggs: the question says which."""
CONDITIONS = "trade_conditions"
"""The one reference table that a feature may read."""
TABLES = (*DATA_TYPES, AGGS, CONDITIONS)

_READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE"})
_FRAMED = frozenset(
    {"WINDOW_AGGREGATE", "WINDOW_FIRST_VALUE", "WINDOW_LAST_VALUE", "WINDOW_NTH_VALUE"}
)
_UNFRAMED = frozenset({"WINDOW_ROW_NUMBER", "WINDOW_RANK", "WINDOW_RANK_DENSE", "WINDOW_LAG"})
# Which row these take is left to chance (in DuckDB: to the threads) where no order is given.
_ORDERED = frozenset(
    {
        *("first", "last", "any_value", "arbitrary", "list", "array_agg", "string_agg"),
        *("group_concat", "listagg", "mode", "approx_quantile", "approx_top_k"),
    }
)


class Breach(Exception):  # noqa: N818 (it becomes an error of the file that it is found in)
    """A rule that a statement does not keep, and what to do about it. Never leaves this library."""


@dataclass(frozen=True)
class Statement:
    """A SELECT that keeps the rules.

    Attributes:
        tables: what it reads.
        parameters: where each of its `$parameters` stands: name, first byte, byte after the last.
    """

    tables: tuple[str, ...]
    parameters: tuple[tuple[str, int, int], ...]


def complaint(error: duckdb.Error) -> str:
    """DuckDB's message with its hint, without the picture of the statement."""
    return one_line(Exception(re.sub(r"\n+LINE \d+:.*", "", str(error), flags=re.DOTALL)))


def columns_of(table: str) -> tuple[str, ...]:
    """The columns of a table that a feature can read, but for those of `trade_conditions`."""
    kind = DATA_TYPES["day_aggs" if table == AGGS else table]
    return tuple(kind.columns.names)


def check(connection: duckdb.DuckDBPyConnection, sql: str) -> Statement:
    """The statement, checked.

    Raises:
        Breach: it does not keep the rules.
    """
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise Breach(f"cannot be parsed: {complaint(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Breach("a feature is exactly one SELECT")
    try:
        tree = parse(connection, sql)
    except QueryError as error:
        raise Breach(f"cannot be checked: {error.problem}") from error
    found = list(nodes(tree))
    _check_nodes(found)
    own = own_names(found)
    tables = _tables(found, own)
    allowed = Known(builtin(), frozenset(TABLES))
    if (reason := unstable(tree, allowed)) is not None:
        raise Breach(
            f"rests on {reason}; a feature reads {', '.join(TABLES)} and its own WITH names, by"
            " functions whose answer depends on their arguments alone"
        )
    for node in found:
        if node.get("class") == "WINDOW":
            _check_window(node)
    return Statement(
        tuple(tables), tuple(sorted(set(_parameters(found)), key=lambda place: place[1]))
    )


def _check_nodes(found: Sequence[Mapping[str, Any]]) -> None:
    for node in found:
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _READING_NODES:
            verb = kind.removesuffix("_NODE").removesuffix("_QUERY").replace("_", " ").lower()
            raise Breach(f"a feature is exactly one plain SELECT; this one holds a {verb}")
        if kind == "TABLE_FUNCTION":
            name = function_name(node["function"])
            if name not in STABLE_TABLE_FUNCTIONS:
                raise Breach(f"selects from {name}(); a feature reads {', '.join(TABLES)}")
        if node.get("class") == "FUNCTION" and not node.get("order_bys", {}).get("orders"):
            name = function_name(node)
            if name in _ORDERED:
                raise Breach(
                    f"{name}() takes rows in any order; write {name}(… order by …) with a unique"
                    " key, or arg_max and arg_min"
                )


def _check_window(node: Mapping[str, Any]) -> None:
    kind, name = str(node["type"]), function_name(node)
    start, end = str(node.get("start", "")), str(node.get("end", ""))
    if not node.get("orders"):
        raise Breach(f"{name}() over a window without ORDER BY; order it by a unique key")
    if kind not in _FRAMED | _UNFRAMED:
        raise Breach(f"looks ahead: {name}() over a window rests on rows after the present one")
    if "FOLLOWING" in start or "FOLLOWING" in end:
        raise Breach(
            f"looks ahead: the frame of {name}() ends after the present row; end it with CURRENT"
            " ROW, and stamp what is known only later with the time when it is known"
        )
    if kind in _UNFRAMED:
        return
    if (start, end) == ("UNBOUNDED_PRECEDING", "CURRENT_ROW_RANGE"):
        raise Breach(
            f"the frame of {name}() is not written out; write ROWS BETWEEN … PRECEDING AND CURRENT"
            " ROW"
        )
    if any(_is_interval(part) for part in nodes(node.get("start_expr", {}))):
        raise Breach(
            f"the frame of {name}() is an INTERVAL, which counts in microseconds; order the window"
            " by epoch_ns(timestamp) and write nanoseconds"
        )


def _is_interval(node: Mapping[str, Any]) -> bool:
    if node.get("class") == "FUNCTION":
        # What `interval 1 second` is to the parser.
        return function_name(node).startswith("to_")
    return node.get("class") == "CAST" and "INTERVAL" in str(node.get("cast_type")).upper()


def _tables(found: Sequence[Mapping[str, Any]], own: set[str]) -> list[str]:
    """Tables that are read, in the order of TABLES."""
    named = set()
    for node in found:
        if node.get("type") == "BASE_TABLE":
            path = [str(part).lower() for part in node["qualified_name"]["path"]]
            if len(path) > 1 or path[0] not in {*TABLES, *own}:
                raise Breach(
                    f"reads {'.'.join(path)}; a feature reads {', '.join(TABLES)} and its own WITH"
                    " names"
                )
            named.add(path[0])
    tables = [table for table in TABLES if table in named]
    if not set(tables) - {CONDITIONS}:
        raise Breach(f"reads none of {', '.join(TABLES[:-1])}")
    if AGGS in tables and {"minute_aggs", "day_aggs"} & set(tables):
        raise Breach("reads aggs and one of minute_aggs and day_aggs; read aggs, or name both")
    return tables


def columns_read(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    statement: Statement,
    values: Mapping[str, Any],
) -> dict[str, tuple[str, ...]]:
    """The columns that a checked statement may need, by table and in its order.

    Those that it names, and those that DuckDB's plan scans: `select *` names none of what it hands
    on.

    Raises:
        Breach: DuckDB refuses it.
    """
    try:
        plan = connection.execute(f"explain (format json) {sql}", values or None).fetchall()[0][1]
    except duckdb.Error as error:
        raise Breach(f"DuckDB refuses it: {complaint(error)}") from error
    named = names_in(connection, sql) | {"symbol", "timestamp", "session"}
    scans = 0
    for node in nodes(json.loads(plan)):
        if "ARROW_SCAN" in str(node.get("Function")):
            scans += 1
            found = node.get("Projections", [])
            named.update([found] if isinstance(found, str) else found)
    tables = [table for table in statement.tables if table != CONDITIONS]
    if scans < len(tables):
        # A plan of a form that is not known.
        return {table: columns_of(table) for table in tables}
    return {table: tuple(name for name in columns_of(table) if name in named) for table in tables}


def _parameters(found: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, int, int]]:
    """Each parameter and its place; those of a named window once for each use of it."""
    for node in found:
        if node.get("class") == "PARAMETER":
            name, start = str(node["identifier"]), int(node["query_location"])
            if name.isdigit():
                raise Breach("values go in by name: write $name where ? or $1 stands")
            yield name, start, start + int(node["query_location_length"])


def with_names(sql: str, parameters: Sequence[tuple[str, int, int]]) -> str:
    """The statement with the plain name in each parameter's place, as a macro's body has it."""
    text = sql.encode()
    for name, start, end in sorted(parameters, key=lambda place: place[1], reverse=True):
        text = text[:start] + name.encode() + text[end:]
    return text.decode()


def names_in(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Every name of a column, whole or in part, that a checked statement mentions or gives."""
    found = list(nodes(parse(connection, sql)))
    named = {str(node["alias"]).lower() for node in found if node.get("alias")}
    for node in found:
        if node.get("class") == "COLUMN_REF":
            named.update(str(part).lower() for part in node["column_names"])
        named.update(str(name).lower() for name in node.get("using_columns", ()))
    return named
