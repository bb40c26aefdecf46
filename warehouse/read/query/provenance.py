"""What stands behind an answer of SQL, by content: the same content, the same facts, anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from warehouse.core.datatypes import DATA_TYPES, is_data_type
from warehouse.core.paths import REFERENCE_TABLES
from warehouse.read.query.names import PLACE, bars, files, known
from warehouse.read.snapshot import Snapshot
from warehouse.sqlfolder.determinism import Known, names_of
from warehouse.sqlfolder.files import words

_OF_THE_WAREHOUSE = frozenset({"warehouse", "partitions", "source_files", "runs"})
"""Tables that no two warehouses, and no two generations of one, have alike."""

_OF_A_STAR = frozenset({"exclude", "replace", "rename"})
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def behind(snapshot: Snapshot, named: Iterable[str]) -> dict[str, Any]:
    """What the catalog's tables, views and macros of these names rest on, by name.

    A table rests on its rows, a view or a macro on its SQL and what that names; one that reads
    partitions on those of each data type that it may read. Other names are passed over.
    """
    catalog, listing = known(snapshot), files(snapshot)
    facts: dict[str, Any] = {}
    waiting = sorted(named)
    while waiting:
        name = waiting.pop()
        if name in facts or name in PLACE:
            continue
        if name in listing:
            facts[name] = _files(snapshot, listing[name])
            continue
        if name in catalog.definitions:
            facts[name] = _definition(snapshot, catalog, name)
            for one in catalog.definitions[name]:
                waiting.extend(names_of(one.tree))
        elif name in catalog.tables:
            facts[name] = _rows(snapshot, name)
    return facts


def partitions_of(snapshot: Snapshot, data_type: str) -> str:
    """One id of all partitions of a data type, by symbol, month and content."""
    if snapshot.manifests is not None:
        of_type = (one for one in snapshot.manifests if one.data_type == data_type)
        lines = "\n".join(f"{one.month} {one.sha256}" for one in of_type)
        return hashlib.sha256(lines.encode()).hexdigest()
    return snapshot.once(
        ("partitions of", data_type),
        lambda: str(
            snapshot.fetch(
                """
                select
                    sha256(
                        coalesce(
                            string_agg(
                                concat_ws(' ', symbol, month, sha256), e'\\n'
                                order by symbol, month, sha256
                            ),
                            ''
                        )
                    )
                from partitions
                where data_type = $data_type
                """,
                data_type=data_type,
            )[0][0]
        ),
    )


def _files(snapshot: Snapshot, kind: str) -> str:
    if kind in REFERENCE_TABLES:
        # Its name is the hash of what it says.
        return (snapshot.reference or {}).get(kind, "")
    # Of files of rejects the catalog has no hashes.
    return partitions_of(snapshot, kind) if is_data_type(kind) else _rows(snapshot, "warehouse")


def _definition(snapshot: Snapshot, catalog: Known, name: str) -> list[Any]:
    """The words of a view or macro, whatever DuckDB wrote them out, and the files it reads."""
    layout = snapshot.layout
    definitions = catalog.definitions[name]
    sql = "; ".join(in_words(one.sql) for one in definitions)
    facts: list[Any] = []
    if "read_parquet" in sql:
        kinds = [kind for kind in (*DATA_TYPES, *bars(snapshot)) if f"/{kind}/" in sql]
        facts += [(kind, partitions_of(snapshot, kind)) for kind in kinds]
        found = (files(snapshot).keys() & set(names_of(one.tree)) for one in definitions)
        if not kinds and not any(found):
            # Files that the catalog has no hashes of.
            facts.append(_rows(snapshot, "warehouse"))
    for folder, short in (
        (layout.cache, "cache"),
        (layout.schema, "schema"),
        (layout.data, "data"),
    ):
        sql = sql.replace(str(folder), short)
    return [sql, *facts]


@lru_cache(maxsize=1024)
def in_words(sql: str) -> str:
    """The words of what DuckDB wrote out; where it keeps no order they stand in one."""
    return " ".join(_in_order(list(words(sql))))


def _in_order(found: list[str]) -> list[str]:
    """Words in which what a star leaves out, replaces or renames is sorted.

    DuckDB keeps these in a table of hashes, and writes them out now so, now so.
    """
    told: list[str] = []
    place = 0
    while place < len(found):
        told.append(found[place])
        place += 1
        is_list = told[-1] in _OF_A_STAR and found[place : place + 1] == ["("]
        if is_list and told[-2:-1] in (["*"], [")"]):
            entries, place = _entries(found, place)
            told += ["(", " , ".join(sorted(entries)), ")"]
    return told


def _entries(found: list[str], start: int) -> tuple[list[str], int]:
    """What stands between commas in the list that begins at a place, and the place after it."""
    entries: list[list[str]] = [[]]
    depth = 0
    for place in range(start, len(found)):
        word = found[place]
        depth += (word in _OPENING) - (word in _CLOSING)
        if not depth:
            return [" ".join(_in_order(each)) for each in entries], place + 1
        if depth == 1 and word == ",":
            entries.append([])
        elif place > start:
            entries[-1].append(word)
    return [" ".join(each) for each in entries], len(found)


def _rows(snapshot: Snapshot, table: str) -> str:
    """One id of a table's rows; the catalog's tables about itself are one with its generation."""
    of = "warehouse" if table in _OF_THE_WAREHOUSE else table
    return snapshot.once(
        ("rows of", of),
        lambda: str(
            snapshot.fetch(
                f"""
                select sha256(coalesce(string_agg(line, e'\\n' order by line), ''))
                from (select entry::varchar as line from "{of}" as entry)
                """
            )[0][0]
        ),
    )
