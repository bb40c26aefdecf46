"""What the catalog of a snapshot knows by name, and which of it may be trusted to be stable."""

from __future__ import annotations

from dataclasses import replace

from warehouse.core.datatypes import DATA_TYPES, with_bars
from warehouse.core.paths import REFERENCE_TABLES
from warehouse.read.snapshot import ATTACHED_AS, Snapshot
from warehouse.sqlfolder.determinism import (
    SERIALIZED,
    STABLE_TABLE_FUNCTIONS,
    Definition,
    Known,
    are_met,
    builtin,
    in_each_form,
    needs_of,
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


_parsed: dict[str, str] = {}
_REMEMBERED = 1024


def _trees(snapshot: Snapshot, texts: list[str]) -> dict[str, str]:
    """DuckDB's syntax trees of SELECTs, in JSON; most are those of the catalog before."""
    found = {text: _parsed[text] for text in texts if text in _parsed}
    new = sorted({*texts} - {*found})
    asked = f"select text, {SERIALIZED.format('text')} from (select unnest($texts) as text)"
    found |= dict(snapshot.fetch(asked, texts=new)) if new else {}
    if len(_parsed) + len(new) > _REMEMBERED:
        _parsed.clear()
    _parsed.update(found)
    return found


def _gather(snapshot: Snapshot) -> Known:
    defined = snapshot.fetch(
        """
        select
            lower(function_name),
            function_type = 'table_macro',
            if(function_type = 'macro', 'select ', '') || macro_definition
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
    viewed = snapshot.fetch(
        """
        select lower(view_name), regexp_replace(sql, '^CREATE VIEW .*? AS ', '', 's')
        from duckdb_views()
        where database_name = $name and not internal
        """,
        name=ATTACHED_AS,
    )
    trees = _trees(snapshot, [sql for *_, sql in [*defined, *viewed]])
    macros = [(name, is_table, trees[sql], sql) for name, is_table, sql in defined]
    views = [(name, trees[sql], sql) for name, sql in viewed]
    tables = snapshot.fetch(
        "select lower(table_name) from duckdb_tables() where database_name = $name",
        name=ATTACHED_AS,
    )
    scalar = [
        (name, tree) for name, is_table, tree, _ in macros if not is_table and name not in PLACE
    ]
    names = frozenset(name for (name,) in tables)
    folders = frozenset({ATTACHED_AS, "main"})
    # In a select list they are functions as any other.
    functions = builtin() | STABLE_TABLE_FUNCTIONS
    # Others call those of the place: is_adjustment, and all that adjust by it.
    stable = with_macros(functions | PLACE, scalar, names) | files(snapshot).keys()
    found = Known(stable, names, folders=folders)
    # What the catalog's own SQL reads, partitions and rejects, changes by a publish alone.
    reading = STABLE_TABLE_FUNCTIONS | {"read_parquet"}
    tables_of = [(name, needs_of(tree)) for name, is_table, tree, _ in macros if is_table]
    needs_of_views = [(name, needs_of(tree)) for name, tree, _ in views]
    while True:
        # A macro may select from others, and from views.
        forms = [(name, are_met(needs, found, reading)) for name, needs in tables_of]
        stable_macros = in_each_form(forms)
        stable_views = {name for name, needs in needs_of_views if are_met(needs, found, reading)}
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
