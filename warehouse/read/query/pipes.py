"""Looks for a pipe in the place of a file that a query reads: DuckDB would wait for it for ever."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import RawFile
from warehouse.core.small_files import plain
from warehouse.errors import CorruptPartitionError
from warehouse.read.query.names import FILES, known
from warehouse.read.snapshot import Snapshot
from warehouse.sqlfolder.determinism import names

_ANY = "query_table"
"""A function that is told by a text what it reads."""


def check(snapshot: Snapshot, named: Iterable[str]) -> None:
    """Refuse it among the files that the catalog's views and macros of these names read.

    The files of a generation are looked at once.

    Raises:
        CorruptPartitionError: names the file.
    """
    for kind in sorted(_kinds(snapshot, named)):
        snapshot.once(("no pipes", kind), partial(_check_kind, snapshot, kind))


def _kinds(snapshot: Snapshot, named: Iterable[str]) -> set[str]:
    """Data types whose files are read, and "rejects" where theirs are."""
    definitions = known(snapshot).definitions
    waiting, seen, kinds = set(named), set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name == _ANY:
            return set(FILES.values())
        if name in FILES:
            kinds.add(FILES[name])
            continue
        for one in definitions.get(name, ()):
            waiting |= set(names(json.loads(one.tree))) - seen
    return kinds


def _check_kind(snapshot: Snapshot, kind: str) -> None:
    for path in _rejects(snapshot) if kind == "rejects" else _partitions(snapshot, kind):
        try:
            plain(path)
        except OSError as error:
            problem = error.strerror or str(error)
            raise CorruptPartitionError(path, problem, "warehouse verify --repair") from None


def _partitions(snapshot: Snapshot, kind: str) -> Iterator[Path]:
    sql = "select symbol, month from partitions where data_type = $data_type"
    for symbol, month in snapshot.fetch(sql, data_type=kind):
        yield snapshot.layout.partition(kind, symbol, month)


def _rejects(snapshot: Snapshot) -> Iterator[Path]:
    sql = "select data_type, day, symbol from source_files where rows_rejected > 0"
    for data_type, day, symbol in snapshot.fetch(sql):
        kind = DATA_TYPES.get(data_type)
        if kind is not None:
            is_monthly = symbol is not None and kind.monthly_by_symbol
            yield snapshot.layout.rejects_of(RawFile(data_type, day, symbol, monthly=is_monthly))
