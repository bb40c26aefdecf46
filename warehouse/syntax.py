"""What a SELECT is made of, as DuckDB's own parser has it, and whether its answer can change.

An answer is stable where everything it rests on is known to be: functions that DuckDB calls
consistent, tables and views of the catalog, its macros. Whatever is not known counts as unstable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import duckdb

from warehouse.duckdb_connection import connect
from warehouse.errors import QueryError

# Table functions whose answer depends on their arguments alone.
STABLE_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat", "repeat_row"})
# Read like columns, are functions: DuckDB takes them for that where no column has the name.
_VALUE_NAMES = frozenset(
    {
        *("current_catalog", "current_database", "current_date", "current_role", "current_schema"),
        *("current_time", "current_timestamp", "current_user", "localtime", "localtimestamp"),
        *("session_user", "user"),
    }
)
SERIALIZED = "json_serialize_sql({}, skip_null := true, skip_empty := true)"


def parse(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """The syntax tree of a SELECT.

    Raises:
        QueryError: it is none, or is nested too deeply.
    """
    row = connection.execute(f"select {SERIALIZED.format('$sql')}", {"sql": sql}).fetchone()
    assert row is not None
    try:
        tree = json.loads(row[0])
    except RecursionError:
        raise QueryError(sql, "the query is nested too deeply") from None
    if tree["error"]:
        raise QueryError(sql, f"the query cannot be checked: {tree['error_message']}")
    return tree


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a syntax tree."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def function_name(node: Mapping[str, Any]) -> str:
    """A function's name in lower case."""
    return str(node["function_name"]).lower()


@dataclass(frozen=True)
class Known:
    """What is known by name, in lower case.

    Attributes:
        functions: stable functions and scalar macros, in each of their forms.
        tables: tables of the catalog, and its stable views.
        table_macros: the catalog's.
        stable_macros: those of them that are stable in each of their forms.
        folders: names of the catalog and its schema, that may stand before a table's.
        definitions: syntax trees of the catalog's views and macros, as JSON, by name.
    """

    functions: frozenset[str]
    tables: frozenset[str] = frozenset()
    table_macros: frozenset[str] = frozenset()
    stable_macros: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    definitions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@lru_cache(maxsize=1)
def builtin() -> frozenset[str]:
    """DuckDB's own stable functions and macros; they are the same for every warehouse."""
    with connect(threads=1) as connection:
        functions = connection.execute(
            """
            select lower(function_name)
            from duckdb_functions()
            where function_type in ('scalar', 'aggregate', 'window')
            group by all
            having bool_and(coalesce(stability, '') = 'CONSISTENT')
            """
        ).fetchall()
        macros = connection.execute(
            f"""
            select lower(function_name), {SERIALIZED.format("'select ' || macro_definition")}
            from duckdb_functions()
            where function_type = 'macro' and internal
            """
        ).fetchall()
    return with_macros(frozenset(name for (name,) in functions), macros)


def names(tree: Any) -> Iterator[str]:
    """Names in a syntax tree that may be those of tables, views and macros, in lower case."""
    for node in nodes(tree):
        if node.get("type") == "BASE_TABLE":
            yield str(node["qualified_name"]["path"][-1]).lower()
        elif "function_name" in node:
            yield function_name(node)


def with_macros(
    stable: frozenset[str],
    macros: Sequence[tuple[str, str]],
    tables: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """The stable functions, and those macros that rest on stable ones, and `tables`, alone."""
    trees = [(name, json.loads(tree)) for name, tree in macros]
    stable -= {name for name, _ in trees}
    while True:
        now = Known(stable, tables)
        added = in_each_form([(name, is_stable(tree, now)) for name, tree in trees])
        if added <= stable:
            return stable
        stable |= added


def in_each_form(forms: Sequence[tuple[str, bool]]) -> frozenset[str]:
    """Names of the macros all of whose forms are good: a macro may have several."""
    bad = {name for name, is_good in forms if not is_good}
    return frozenset(name for name, _ in forms if name not in bad)


def is_stable(
    tree: Any, known: Known, table_functions: frozenset[str] = STABLE_TABLE_FUNCTIONS
) -> bool:
    """Whether the same SELECT gives the same answer until something is published."""
    return not tree["error"] and unstable(tree, known, table_functions) is None


def unstable(
    tree: Any, known: Known, table_functions: frozenset[str] = STABLE_TABLE_FUNCTIONS
) -> str | None:
    """What in a SELECT may make its answer change by itself; None where nothing does."""
    found = list(nodes(tree))
    own = own_names(found)
    in_from = {id(node["function"]) for node in found if node.get("type") == "TABLE_FUNCTION"}
    for node in found:
        kind = node.get("type")
        if "sample" in node:
            return "a sample"
        if kind in ("SHOW_REF", "COLUMN_DATA"):
            return "a list of what DuckDB holds"
        if kind == "BASE_TABLE":
            if not _is_known_table(node, own, known):
                return f"the table {'.'.join(map(str, node['qualified_name']['path']))}"
        elif kind == "TABLE_FUNCTION":
            name = function_name(node["function"])
            if name not in table_functions and name not in known.stable_macros:
                return f"the function {name}()"
        elif kind == "COLUMN_REF":
            name = str(node["column_names"][-1]).lower()
            if name in _VALUE_NAMES:
                return f"the name {name}"
        elif "function_name" in node and id(node) not in in_from:
            name = function_name(node)
            if name not in known.functions:
                return f"the function {name}()"
    return None


def own_names(found: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names that a SELECT gives to the parts of its WITH clauses, in lower case."""
    return {
        str(entry["key"]).lower()
        for node in found
        for entry in node.get("cte_map", {}).get("map", [])
    }


def _is_known_table(node: Mapping[str, Any], own: set[str], known: Known) -> bool:
    """Whether the name is one of the statement's own WITH, or the catalog's.

    A name that is neither may be that of a file: FROM 'data/x.csv'.
    """
    *folders, name = (str(part).lower() for part in node["qualified_name"]["path"])
    return (name in own and not folders) or (name in known.tables and known.folders >= {*folders})
