"""What a SELECT is made of, as DuckDB's own parser has it, and whether its answer can change.

An answer is stable where everything it rests on is known to be: functions that DuckDB calls
consistent, tables and views of the catalog, its macros. Whatever is not known counts as unstable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import duckdb

from warehouse.errors import QueryError
from warehouse.snapshot import ATTACHED_AS, Snapshot

# Table functions whose answer depends on their arguments alone.
_STABLE_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat", "repeat_row"})
# Read like columns, are functions: DuckDB takes them for that where no column has the name.
_VALUE_NAMES = frozenset(
    {
        *("current_catalog", "current_database", "current_date", "current_role", "current_schema"),
        *("current_time", "current_timestamp", "current_user", "localtime", "localtimestamp"),
        *("session_user", "user"),
    }
)
_SERIALIZED = "json_serialize_sql({}, skip_null := true, skip_empty := true)"


def parse(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """The syntax tree of a SELECT.

    Raises:
        QueryError: it is none, or is nested too deeply.
    """
    row = connection.execute(f"select {_SERIALIZED.format('$sql')}", {"sql": sql}).fetchone()
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
        definitions: syntax trees of the catalog's views and macros, as JSON, by name.
    """

    functions: frozenset[str]
    tables: frozenset[str] = frozenset()
    table_macros: frozenset[str] = frozenset()
    stable_macros: frozenset[str] = frozenset()
    definitions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def known(snapshot: Snapshot) -> Known:
    """What DuckDB and the snapshot's catalog know."""
    return snapshot.once("known", lambda: _gather(snapshot))


@lru_cache(maxsize=1)
def _builtin() -> frozenset[str]:
    """DuckDB's own stable functions and macros; they are the same for every warehouse."""
    with duckdb.connect() as connection:
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
            select lower(function_name), {_SERIALIZED.format("'select ' || macro_definition")}
            from duckdb_functions()
            where function_type = 'macro' and internal
            """
        ).fetchall()
    return _with_macros(frozenset(name for (name,) in functions), macros)


def _gather(snapshot: Snapshot) -> Known:
    definition = "if(function_type = 'macro', 'select ', '') || macro_definition"
    macros = snapshot.fetch(
        f"""
        select
            lower(function_name),
            function_type = 'table_macro',
            {_SERIALIZED.format(definition)}
        from duckdb_functions()
        where database_name = $name and not internal
        """,
        name=ATTACHED_AS,
    )
    definition = "regexp_replace(sql, '^CREATE VIEW .*? AS ', '', 's')"
    views = snapshot.fetch(
        f"""
        select lower(view_name), {_SERIALIZED.format(definition)}
        from duckdb_views()
        where database_name = $name and not internal
        """,
        name=ATTACHED_AS,
    )
    tables = snapshot.fetch(
        "select lower(table_name) from duckdb_tables() where database_name = $name",
        name=ATTACHED_AS,
    )
    scalar = [(name, tree) for name, is_table, tree in macros if not is_table]
    found = Known(_with_macros(_builtin(), scalar))
    # What the catalog's own SQL reads, partitions and rejects, changes by a publish alone.
    reading = _STABLE_TABLE_FUNCTIONS | {"read_parquet"}
    forms = [
        (name, is_stable(json.loads(tree), found, reading))
        for name, is_table, tree in macros
        if is_table
    ]
    stable_views = {name for name, tree in views if is_stable(json.loads(tree), found, reading)}
    definitions: dict[str, tuple[str, ...]] = {}
    for name, *_, tree in sorted([*macros, *views]):
        definitions[name] = (*definitions.get(name, ()), tree)
    return Known(
        found.functions,
        frozenset(name for (name,) in tables) | stable_views,
        frozenset(name for name, _ in forms),
        _in_each_form(forms),
        definitions,
    )


def names(tree: Any) -> Iterator[str]:
    """Names in a syntax tree that may be those of tables, views and macros, in lower case."""
    for node in nodes(tree):
        if node.get("type") == "BASE_TABLE":
            yield str(node["qualified_name"]["path"][-1]).lower()
        elif "function_name" in node:
            yield function_name(node)


def _with_macros(stable: frozenset[str], macros: Sequence[tuple[str, str]]) -> frozenset[str]:
    """The stable functions, and those macros that rest on stable ones alone."""
    trees = [(name, json.loads(tree)) for name, tree in macros]
    stable -= {name for name, _ in trees}
    while True:
        now = Known(stable)
        added = _in_each_form([(name, is_stable(tree, now)) for name, tree in trees])
        if added <= stable:
            return stable
        stable |= added


def _in_each_form(forms: Sequence[tuple[str, bool]]) -> frozenset[str]:
    """Names of the macros all of whose forms are good: a macro may have several."""
    bad = {name for name, is_good in forms if not is_good}
    return frozenset(name for name, _ in forms if name not in bad)


def is_stable(
    tree: Any, known: Known, table_functions: frozenset[str] = _STABLE_TABLE_FUNCTIONS
) -> bool:
    """Whether the same SELECT gives the same answer until something is published."""
    if tree["error"]:
        return False
    found = list(nodes(tree))
    own = {
        str(entry["key"]).lower()
        for node in found
        for entry in node.get("cte_map", {}).get("map", [])
    }
    in_from = {id(node["function"]) for node in found if node.get("type") == "TABLE_FUNCTION"}
    for node in found:
        kind = node.get("type")
        if "sample" in node or kind in ("SHOW_REF", "COLUMN_DATA"):
            return False
        if kind == "BASE_TABLE":
            if not _is_known_table(node, own, known.tables):
                return False
        elif kind == "TABLE_FUNCTION":
            name = function_name(node["function"])
            if name not in table_functions and name not in known.stable_macros:
                return False
        elif kind == "COLUMN_REF":
            if str(node["column_names"][-1]).lower() in _VALUE_NAMES:
                return False
        elif "function_name" in node and id(node) not in in_from:  # noqa: SIM102
            if function_name(node) not in known.functions:
                return False
    return True


def _is_known_table(node: Mapping[str, Any], own: set[str], tables: frozenset[str]) -> bool:
    """Whether the name is one of the statement's own WITH, or the catalog's.

    A name that is neither may be that of a file: FROM 'data/x.csv'.
    """
    *folders, name = (str(part).lower() for part in node["qualified_name"]["path"])
    return (name in own and not folders) or (
        name in tables and set(folders) <= {ATTACHED_AS, "main"}
    )
