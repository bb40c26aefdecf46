"""What the catalog of a snapshot knows by name, and which of it may be trusted to be stable."""

from __future__ import annotations

import json
from dataclasses import replace

from warehouse.core.datatypes import DATA_TYPES, with_bars
from warehouse.core.paths import REFERENCE_TABLES
from warehouse.read.snapshot import ATTACHED_AS, Snapshot
from warehouse.sqlfolder.determinism import (
    SERIALIZED,
    STABLE_TABLE_FUNCTIONS,
    Definition,
    Known,
    builtin,
    in_each_form,
    is_stable,
    with_macros,
)

PLACE = frozenset({"data_folder", "cache_name", "data_pattern", "is_in_place", "is_the_only_one"})
"""Macros of the catalog that say where it stands; what an answer is does not rest on them."""
_FILES = {f"{kind}_files{of}": kind for kind in (*DATA_TYPES, "rejects") for of in ("", "_of")}
_FILES |= {f"{kind}_market_files": kind for kind in DATA_TYPES}
_FILES |= {f"{table}_files": table for table in REFERENCE_TABLES}
_NAMES = [f"{kind}_names" for kind in (*DATA_TYPES, "rejects", *REFERENCE_TABLES)]
_NAMES += [f"{kind}_market_{of}" for kind in DATA_TYPES for of in ("names", "symbols")]


def bars(snapshot: Snapshot) -> tuple[str, ...]:
    """The data types of kept bars that are published."""
    return with_bars(one.data_type for one in snapshot.manifests or ())[len(DATA_TYPES) :]


def files(snapshot: Snapshot) -> dict[str, str]:
    """Macros of the catalog that list files: what of they are."""
    of_bars = {
        f"{kind}_{which}": kind
        for kind in bars(snapshot)
        for which in ("files", "files_of", "market_files")
    }
    return {**_FILES, **of_bars}


def _names(snapshot: Snapshot) -> list[str]:
    """Macros that say which files there are."""
    which = ("names", "market_names", "market_symbols")
    return [*_NAMES, *(f"{kind}_{of}" for kind in bars(snapshot) for of in which)]


def known(snapshot: Snapshot) -> Known:
    """What DuckDB and the snapshot's catalog know."""
    return snapshot.once("known", lambda: _gather(snapshot))


def _gather(snapshot: Snapshot) -> Known:
    definition = "if(function_type = 'macro', 'select ', '') || macro_definition"
    macros = snapshot.fetch(
        f"""
        select
            lower(function_name),
            function_type = 'table_macro',
            {SERIALIZED.format(definition)},
            {definition}
        from duckdb_functions()
        where
            database_name = $name
            and not internal
            -- The names of all partitions would be parsed, too.
            and function_name not in (select unnest($names))
        """,
        name=ATTACHED_AS,
        names=_names(snapshot),
    )
    definition = "regexp_replace(sql, '^CREATE VIEW .*? AS ', '', 's')"
    views = snapshot.fetch(
        f"""
        select lower(view_name), {SERIALIZED.format(definition)}, {definition}
        from duckdb_views()
        where database_name = $name and not internal
        """,
        name=ATTACHED_AS,
    )
    tables = snapshot.fetch(
        "select lower(table_name) from duckdb_tables() where database_name = $name",
        name=ATTACHED_AS,
    )
    scalar = [(name, tree) for name, is_table, tree, _ in macros if not is_table]
    names = frozenset(name for (name,) in tables)
    folders = frozenset({ATTACHED_AS, "main"})
    # In a select list they are functions as any other.
    functions = builtin() | STABLE_TABLE_FUNCTIONS
    stable = with_macros(functions, scalar, names) | PLACE | files(snapshot).keys()
    found = Known(stable, names, folders=folders)
    # What the catalog's own SQL reads, partitions and rejects, changes by a publish alone.
    reading = STABLE_TABLE_FUNCTIONS | {"read_parquet"}
    tables_of = [(name, json.loads(tree)) for name, is_table, tree, _ in macros if is_table]
    trees = [(name, json.loads(tree)) for name, tree, _ in views]
    while True:
        # A macro may select from others, and from views.
        forms = [(name, is_stable(tree, found, reading)) for name, tree in tables_of]
        stable_macros = in_each_form(forms)
        stable_views = {name for name, tree in trees if is_stable(tree, found, reading)}
        more = replace(found, stable_macros=stable_macros, tables=names | stable_views)
        if (more.stable_macros, more.tables) == (found.stable_macros, found.tables):
            break
        found = more
    definitions: dict[str, tuple[Definition, ...]] = {}
    for name, *_, tree, sql in sorted([*macros, *views]):
        definitions[name] = (*definitions.get(name, ()), Definition(sql, tree))
    return Known(
        found.functions,
        found.tables,
        frozenset(name for name, _ in forms),
        found.stable_macros,
        folders,
        definitions,
    )
