"""What a SELECT is made of, as DuckDB's own parser has it, and whether its answer can change.

An answer is stable where everything it rests on is known to be: DuckDB's functions but for those of
a list of our own, tables and views of the catalog, its macros. Whatever is not known counts as
unstable. What DuckDB itself says of its functions' stability is no help: it is another from version
to version, down to that of `+`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from threading import RLock
from typing import Any, Literal, NamedTuple

import duckdb

from warehouse.core import process
from warehouse.core.duckdb_connection import connect
from warehouse.core.small_files import json_value
from warehouse.errors import QueryError

# Functions and macros of DuckDB's own whose answer can be another although their arguments are the
# same. A test holds the list against what the installed DuckDB has.
CHANGING = frozenset(
    {
        # The clock.
        *("ago", "current_date", "current_localtime", "current_localtimestamp", "get_current_time"),
        *("get_current_timestamp", "now", "pg_conf_load_time", "pg_postmaster_start_time"),
        *("today", "transaction_timestamp"),
        # Dice.
        *("gen_random_uuid", "random", "reservoir_quantile", "setseed", "uuid", "uuidv4", "uuidv7"),
        # Who asks, over what, and by which settings.
        *("current_catalog", "current_connection_id", "current_database", "current_query"),
        *("current_query_id", "current_role", "current_schema", "current_schemas"),
        *("current_setting", "current_transaction_id", "current_user", "get_block_size"),
        *("getvariable", "in_search_path", "session_user", "txid_current", "user", "version"),
        # What has an effect, or counts calls.
        *("currval", "nextval", "pg_sleep", "setval", "sleep_ms", "write_log"),
        # How rows lie in memory, and what DuckDB holds.
        *("format_type", "pg_get_constraintdef", "pg_get_viewdef", "stats", "vector_type"),
    }
)
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
_one_at_a_time = RLock()


@lru_cache(maxsize=1)
def _parser() -> duckdb.DuckDBPyConnection:
    return connect(threads=1)


@contextmanager
def parser() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that can do nothing but parse and compute; it is asked by one thread at a time."""
    with process.answers, _one_at_a_time:
        yield _parser()


def _in_child() -> None:
    """After a fork: the parent's DuckDB is none of the child's."""
    global _one_at_a_time
    _one_at_a_time = RLock()
    if _parser.cache_info().currsize:
        process.abandon(_parser())
        _parser.cache_clear()


os.register_at_fork(after_in_child=_in_child)

SERIALIZED = "json_serialize_sql({}, skip_null := true, skip_empty := true)"


def parse(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """The syntax tree of a SELECT.

    Raises:
        QueryError: it is none, or is nested too deeply.
    """
    asked = f"select {SERIALIZED.format('$sql')}"
    ((text,),) = connection.execute(asked, {"sql": sql}).fetchall()
    try:
        tree = json_value(text)
    except ValueError:
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


class Definition(NamedTuple):
    """A view's or a macro's SELECT, as text and as DuckDB's syntax tree of it, in JSON.

    The tree is another from version to version of DuckDB; the text is the same.
    """

    sql: str
    tree: str


@dataclass(frozen=True)
class Known:
    """What is known by name, in lower case.

    Attributes:
        functions: stable functions and scalar macros, in each of their forms.
        tables: tables of the catalog, and its stable views.
        table_macros: the catalog's.
        stable_macros: those of them that are stable in each of their forms.
        folders: names of the catalog and its schema, that may stand before a table's.
        definitions: the catalog's views and macros by name, a macro's in each of its forms.
    """

    functions: frozenset[str]
    tables: frozenset[str] = frozenset()
    table_macros: frozenset[str] = frozenset()
    stable_macros: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    definitions: Mapping[str, tuple[Definition, ...]] = field(default_factory=dict)


@lru_cache(maxsize=1)
def builtin() -> frozenset[str]:
    """DuckDB's own stable functions and macros; they are the same for every warehouse."""
    with parser() as connection:
        found = connection.execute(
            """
            select distinct lower(function_name)
            from duckdb_functions()
            where function_type in ('scalar', 'aggregate', 'window', 'macro') and internal
            """
        ).fetchall()
    return frozenset(name for (name,) in found) - CHANGING


def names(tree: Any) -> Iterator[str]:
    """Names in a syntax tree that may be those of tables, views and macros, in lower case."""
    for node in nodes(tree):
        if node.get("type") == "BASE_TABLE":
            yield str(node["qualified_name"]["path"][-1]).lower()
        elif "function_name" in node:
            yield function_name(node)


@lru_cache(maxsize=1024)
def names_of(tree: str) -> tuple[str, ...]:
    """The same of a syntax tree in JSON: every question asks for those of a catalog's macros."""
    return tuple(names(json.loads(tree)))


def with_macros(
    stable: frozenset[str],
    macros: Sequence[tuple[str, str]],
    tables: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """The stable functions, and those macros that rest on stable ones, and `tables`, alone."""
    found = [(name, needs_of(tree)) for name, tree in macros]
    stable -= {name for name, _ in found}
    while True:
        now = Known(stable, tables)
        added = in_each_form([(name, are_met(needs, now)) for name, needs in found])
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
    unmet = (need for need in needs(tree) if not _is_met(need, known, table_functions))
    return next((need.problem for need in unmet), None)


class Need(NamedTuple):
    """What an answer rests on, which has to be known for it to be stable.

    Attributes:
        kind: "table", "table function", "function"; "never": of this nothing is to be known.
        name, folders: in lower case; before a table's name there may be folders.
        problem: what makes the answer change where it is not known, in words.
    """

    kind: Literal["table", "table function", "function", "never"]
    name: str
    problem: str
    folders: frozenset[str] = frozenset()


@lru_cache(maxsize=1024)
def needs_of(tree: str) -> tuple[Need, ...]:
    """The same of a syntax tree in JSON: a catalog's macros are those of the next one."""
    found = json.loads(tree)
    return (Need("never", "", "what cannot be parsed"),) if found["error"] else needs(found)


def are_met(
    found: Iterable[Need], known: Known, table_functions: frozenset[str] = STABLE_TABLE_FUNCTIONS
) -> bool:
    """Whether all that an answer rests on is known to be stable."""
    return all(_is_met(need, known, table_functions) for need in found)


def _is_met(need: Need, known: Known, table_functions: frozenset[str]) -> bool:
    if need.kind == "table":
        return need.name in known.tables and known.folders >= need.folders
    if need.kind == "table function":
        return need.name in table_functions or need.name in known.stable_macros
    return need.kind == "function" and need.name in known.functions


def needs(tree: Any) -> tuple[Need, ...]:
    """What the answer of a SELECT rests on, each once, in the order in which it stands there."""
    found = list(nodes(tree))
    own = own_names(found)
    in_from = {id(node["function"]) for node in found if node.get("type") == "TABLE_FUNCTION"}
    listed: dict[Need, None] = {}
    for node in found:
        kind = node.get("type")
        if "sample" in node:
            need = Need("never", "", "a sample")
        elif kind in ("SHOW_REF", "COLUMN_DATA"):
            need = Need("never", "", "a list of what DuckDB holds")
        elif kind == "BASE_TABLE":
            path = [str(part) for part in node["qualified_name"]["path"]]
            *folders, name = (part.lower() for part in path)
            # A name that is neither one of the statement's own WITH nor the catalog's may be that
            # of a file: FROM 'data/x.csv'.
            if name in own and not folders:
                continue
            need = Need("table", name, f"the table {'.'.join(path)}", frozenset(folders))
        elif kind == "TABLE_FUNCTION":
            name = function_name(node["function"])
            need = Need("table function", name, f"the function {name}()")
        elif kind == "COLUMN_REF":
            name = str(node["column_names"][-1]).lower()
            if name not in _VALUE_NAMES:
                continue
            need = Need("never", name, f"the name {name}")
        elif "function_name" in node and id(node) not in in_from:
            name = function_name(node)
            # Of one argument it is the age today.
            is_age_today = name == "age" and len(node.get("arguments", ())) == 1
            need = Need("never" if is_age_today else "function", name, f"the function {name}()")
        else:
            continue
        listed[need] = None
    return tuple(listed)


def own_names(found: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names that a SELECT gives to the parts of its WITH clauses, in lower case."""
    return {
        str(entry["key"]).lower()
        for node in found
        for entry in node.get("cte_map", {}).get("map", [])
    }
